//! `GET /cluster` beside what is known from elsewhere: the ledger, the store's rows, what was killed.

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::support::job::{Job, Setup, until};
use crate::support::traffic::{civic_safety, events, send_all};

const FATES: [&str; 5] = ["counted", "duplicate", "filtered", "invalid", "late"];

fn whole(value: &Value) -> u64 {
    value.as_u64().unwrap_or_else(|| panic!("{value} is no whole number"))
}

fn list(value: &Value) -> &[Value] {
    value.as_array().unwrap_or_else(|| panic!("{value} is no list"))
}

/// Totals by topic and by window, once everything that was accepted is committed.
fn totals(job: &Job) -> (Value, Value) {
    job.wait_settled();
    let mut cluster = Value::Null;
    // The ledger that was settled is told with the totals that go with it.
    until("the job serves", || {
        cluster = job.client.json("/cluster");
        cluster["phase"] == "serving"
    });
    let ledger = job.client.json("/ledger");
    for fate in FATES {
        let sum: u64 = list(&cluster["topics"]).iter().map(|topic| whole(&topic[fate])).sum();
        assert_eq!(sum, whole(&ledger[fate]), "{fate} of all topics: {cluster}");
    }
    let topics = list(&cluster["topics"]).iter().map(|topic| {
        let mut topic = topic.clone();
        topic.as_object_mut().expect("an object").remove("per_second");
        topic
    });
    let windows = list(&cluster["pipelines"]).iter().flat_map(|p| list(&p["windows"])).map(|window| {
        assert!(window["open_panes"].is_u64(), "{window}");
        json!({"window": window["window"], "rows": window["rows"]})
    });
    (topics.collect(), windows.collect())
}

#[test]
fn figures_are_the_ledgers_and_survive_a_kill() {
    let dir = TempDir::new().expect("a directory");
    let setup = Setup::new(3, dir.path());
    let job = Job::start_in(dir, setup);
    let pipeline = civic_safety();
    let bodies = events(&pipeline, 11, 5_000);
    send_all(&job.client, &bodies);
    // An event that names no topic of the job's.
    let (status, _) = job.client.post_json("/events", "{\"source\":\"no.such\"}");
    assert_eq!(status, 202);
    let (topics, _) = totals(&job);
    let names: Vec<&Value> = list(&topics).iter().map(|topic| &topic["topic"]).collect();
    assert_eq!(
        names,
        [&Value::Null, &json!("migration.case"), &json!("security.incident"), &json!("survey.victimization")]
    );
    assert!(whole(&topics[0]["invalid"]) >= 1 && topics[0]["counted"] == 0, "{topics}");
    // Duplicates are of one topic's ids, so each topic has its share of them.
    assert!(list(&topics)[1..].iter().all(|topic| whole(&topic["duplicate"]) > 0), "{topics}");

    let mut cluster = Value::Null;
    let accepted = whole(&job.client.json("/ledger")["accepted"]);
    until("both workers have said what they use, and are at rest", || {
        cluster = job.client.json("/cluster");
        let ranks = list(&cluster["ranks"]);
        let at_rest = |rank: &Value| rank["memory_bytes"].as_u64() > Some(0) && rank["queue_bytes"] == 0;
        ranks.iter().all(at_rest) && ranks.iter().map(|rank| whole(&rank["events"])).sum::<u64>() == accepted
    });
    assert_eq!(cluster["store"]["kind"], "sqlite");
    assert!(whole(&cluster["store"]["bytes"]) > 0 && cluster["store"]["commit"]["rows"].is_u64(), "{cluster}");
    assert_eq!(cluster["log"]["next_offset"], accepted);
    assert_eq!((whole(&cluster["log"]["segments"]), whole(&cluster["log"]["oldest_offset"])), (1, 0));
    assert_eq!(cluster["log"]["bytes"], cluster["log_bytes"]);
    assert!(whole(&cluster["rank0"]["memory_bytes"]) > 0 && cluster["rank0"]["up_since"].is_string(), "{cluster}");
    for rank in list(&cluster["ranks"]) {
        assert_eq!(rank["back_pressure_level"], "OK", "{rank}");
        assert_eq!(rank["credit_free_bytes"], rank["credit_bytes"], "{rank}");
        assert!(rank["up_since"].is_string() && rank["cpu_seconds"].is_f64(), "{rank}");
    }
    assert!(cluster["pipelines"][0]["watermark_lag_ms"].is_i64(), "{cluster}");
    let starts = list(&cluster["starts"]);
    assert_eq!((starts.len(), &starts[0]["why"], &starts[0]["replayed"]), (1, &Value::Null, &json!(0)));

    job.kill_rank(2);
    job.wait_back();
    let (after, _) = totals(&job);
    assert_eq!(after, topics, "nothing is lost or counted twice");
    let cluster = job.client.json("/cluster");
    let start = list(&cluster["starts"]).last().expect("a start").clone();
    assert_eq!(start["why"], "rank 2 was killed by signal 9", "{}\n{}", cluster["starts"], job.output());
    assert_eq!((whole(&start["generation"]), &start["ready_at"].is_string()), (2, &true), "{start}");

    // A drain checkpoints, so that the next life begins with figures that it did not count itself.
    let (rows_before, epoch) = (totals(&job), whole(&job.client.json("/cluster")["epoch_committed"]));
    let (dir, setup, status) = job.stop();
    assert_eq!(status.code(), Some(0));
    let job = Job::start_in(dir, setup);
    let cluster = job.client.json("/cluster");
    let checkpoint = &cluster["checkpoint"];
    assert!(whole(&checkpoint["epoch"]) >= epoch && checkpoint["at"].is_string(), "{checkpoint}");
    let start = list(&cluster["starts"]).last().expect("a start").clone();
    assert_eq!((&start["why"], whole(&start["replayed"])), (&Value::Null, 0), "{start}");
    assert_eq!(list(&cluster["starts"])[1]["drained"], true, "{cluster}");
    let rows_after = totals(&job);
    assert_eq!(rows_after.0, rows_before.0);
    for (before, after) in list(&rows_before.1).iter().zip(list(&rows_after.1)) {
        assert!(whole(&before["rows"]) > 0 && whole(&after["rows"]) >= whole(&before["rows"]), "{before} {after}");
    }
    job.stop();
}

/// Whatever the number of ranks: the figures are a function of the log.
#[test]
fn figures_do_not_depend_on_the_ranks() {
    let pipeline = civic_safety();
    let bodies = events(&pipeline, 12, 2_000);
    let mut all = Vec::new();
    for ranks in [1, 3] {
        let job = Job::start(ranks);
        send_all(&job.client, &bodies);
        all.push(totals(&job).0);
        job.stop();
    }
    assert_eq!(all[0], all[1]);
}
