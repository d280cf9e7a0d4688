//! `caudal replay`: pipelines that begin with the past of a real job's log.

use std::path::Path;
use std::process::{Command, Output};
use std::sync::Arc;

use caudal::coordinator::backfill::Backfills;
use caudal::coordinator::backfill::asked::Stand;
use caudal::coordinator::backfill::fills::Fills;
use caudal::core::plan::Plan;
use caudal::pipeline::{Bundle, FileText};
use rusqlite::Connection;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::changes::{SEVERITIES, against_the_model, names, put};
use crate::mpi::{assert_identical, verify};
use crate::support::job::{Job, Setup, caudal, until};
use crate::support::traffic::{civic_safety, events, send_all};

/// The command, of this pipeline file.
fn replay(dir: &Path, url: &str, file: &str, from: &str) -> Command {
    let path = dir.join("replayed.yaml");
    std::fs::write(&path, file).unwrap();
    let mut command = Command::new(caudal());
    command.args(["replay", "--json", "--url", url, "--from", from, "--pipeline"]).arg(path);
    command
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&[&output.stdout[..], &output.stderr].concat()).into_owned()
}

/// Events come before, while and after it is replayed; then rank 0 dies, and the past is made again or comes out of a checkpoint.
#[test]
fn a_replayed_pipeline_has_what_it_would_have_had() {
    let bodies = events(&civic_safety(), 31, 40_000);
    let job = Job::start(3);
    let parts: Vec<&[Vec<u8>]> = bodies.chunks(bodies.len().div_ceil(4)).collect();
    send_all(&job.client, parts[0]);
    job.wait_settled();
    let middle = job.client.json("/ledger")["accepted"].as_u64().unwrap() + 7;
    std::thread::scope(|scope| {
        let sender = scope.spawn(|| send_all(&job.client, parts[1]));
        let output = replay(job.dir.path(), &job.client.base, SEVERITIES, "beginning").output().unwrap();
        assert!(output.status.success(), "{}", said(&output));
        let answer: Value = serde_json::from_slice(&output.stdout).unwrap();
        assert_eq!((&answer["pipeline"], &answer["from"]), (&json!("severities"), &json!(0)));
        job.kill_rank(0);
        job.wait_back();
        sender.join().unwrap();
    });
    assert_eq!(names(&job.client), ["civic_safety", "severities"]);
    until("its past is there", || job.client.json("/pipelines")["replay"].is_null());
    // One that begins in the middle, and reads what the first one makes.
    let crimes = "pipeline: crimes_seen\ntopics: {crimes: ~, security.incident: ~}\nwindows:\n  hourly: {every: 1h, metrics: {n: count()}}\n";
    let output = replay(job.dir.path(), &job.client.base, crimes, &middle.to_string()).output().unwrap();
    assert!(output.status.success(), "{}", said(&output));
    let answer: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert!((1..=middle).contains(&answer["from"].as_u64().unwrap()), "{answer}");
    send_all(&job.client, parts[2]);
    job.kill_rank(1);
    job.wait_back();
    send_all(&job.client, parts[3]);
    job.wait_settled();
    let (_dir, setup, status) = job.stop();
    assert_eq!(status.code(), Some(0));

    let (whole, outcome, changes) = against_the_model(&setup);
    assert_eq!(changes, 2);
    let severities = whole.plan.windows.iter().position(|window| window.name == "by_severity").unwrap();
    let counted: u64 =
        outcome.rows.iter().filter(|((w, ..), _)| *w == severities).map(|(_, row)| row.event_count).sum();
    assert!(counted > 10_000, "{counted} security incidents");
    assert!(!setup.data.join("backfill").exists());
    assert_identical(&setup);
}

#[test]
fn what_cannot_be_replayed_is_refused() {
    let job = Job::start(2);
    send_all(&job.client, &events(&civic_safety(), 32, 500));
    job.wait_settled();
    let (dir, url) = (job.dir.path(), job.client.base.as_str());
    let refused = |file: &str, from: &str, code: i32, why: &str| {
        let output = replay(dir, url, file, from).output().unwrap();
        assert!(output.status.code() == Some(code) && said(&output).contains(why), "{why}: {}", said(&output));
    };
    refused(SEVERITIES, "yesterday", 65, "an RFC 3339 time");
    refused(SEVERITIES, "1000000000", 65, "it ends at");
    refused(&SEVERITIES.replace("count()", "coumt()"), "0", 65, "2 faults");
    // Each is shown, and not only counted.
    refused(&SEVERITIES.replace("count()", "coumt()"), "0", 65, ":5:");
    refused("pipeline: [", "0", 2, "");
    refused(&SEVERITIES.replace("severities", "civic_safety"), "0", 65, "a name that is new");
    let nobody = replay(dir, "http://127.0.0.1:1", SEVERITIES, "0").output().unwrap();
    assert_eq!(nobody.status.code(), Some(69), "{}", said(&nobody));
    assert_eq!(names(&job.client), ["civic_safety"]);
    // At the end there is no past.
    let output = replay(dir, url, SEVERITIES, "end").output().unwrap();
    assert!(output.status.success(), "{}", said(&output));
    // A name whose rows are still there is not new.
    send_all(&job.client, &events(&civic_safety(), 33, 500));
    until("it has rows", || !job.client.windows("&pipeline=severities").is_empty());
    assert_eq!(job.client.delete("/pipelines/severities").0, 200);
    job.wait_settled();
    refused(SEVERITIES, "0", 65, "of an earlier pipeline");
}

/// While the store takes nothing the replay waits; it can be given up, and what one that died had stored is taken out at the next start.
#[test]
fn a_replay_that_is_given_up_leaves_nothing() {
    let job = Job::start(2);
    send_all(&job.client, &events(&civic_safety(), 34, 5_000));
    job.wait_settled();
    let database = job.setup.data.join("caudal.sqlite");
    let store = Connection::open(&database).unwrap();
    store.busy_timeout(std::time::Duration::from_secs(20)).unwrap();
    store.execute_batch("BEGIN IMMEDIATE").unwrap();
    let (status, answer) =
        job.client.try_put("/pipelines/severities?from=0", "application/yaml", SEVERITIES.as_bytes()).unwrap();
    assert_eq!(status, 202, "{answer}");
    let shown = || job.client.json("/pipelines/severities")["replay"].clone();
    assert_eq!(shown()["state"], "filling");
    let (status, answer) = put(&job.client, "other", &SEVERITIES.replace("severities", "other"));
    assert!(status == 409 && answer.to_string().contains("is being replayed"), "{answer}");
    assert_eq!(names(&job.client), ["civic_safety"]);
    assert_eq!(job.client.json("/pipelines")["replay"]["pipeline"], "severities");
    let (status, answer) = job.client.delete("/pipelines/severities");
    assert_eq!(status, 202, "{answer}");
    store.execute_batch("COMMIT").unwrap();
    until("it is given up", || shown()["state"] == "failed");
    assert_eq!(shown()["reason"], "it was cancelled");
    let count =
        |of: &str| store.query_row(&format!("SELECT count(*) FROM {of}"), [], |row| row.get::<_, i64>(0)).unwrap();
    assert_eq!(count("metrics_out WHERE pipeline = 'severities'") + count("views WHERE view = 'last'"), 0);
    assert!(!job.setup.data.join("backfill").exists());

    // As it is where rank 0 died in the middle.
    let (dir, setup, _) = job.stop();
    let rows = count("metrics_out");
    std::fs::write(setup.data.join("backfill"), r#"{"pipeline":"severities","views":["last"]}"#).unwrap();
    let left = "INSERT INTO metrics_out SELECT '00000000' || substr(metric_id, 9), 'severities', window_name, window_start, window_end, group_key, metrics, event_count,
                                               revision, closed, digest, epoch FROM metrics_out LIMIT 10;
                INSERT INTO views VALUES ('last', 'RM', '{}', 1, 0, 0, 1)";
    store.execute_batch(left).unwrap();
    assert_eq!(count("metrics_out"), rows + 10);
    let (code, verdict) = verify(&setup);
    assert!(code == 0 && verdict.contains("\"not_covered\":10"), "{verdict}");
    let job = Job::start_in(dir, setup);
    until("it is gone", || !job.setup.data.join("backfill").exists());
    assert_eq!((count("metrics_out"), count("views WHERE view = 'last'")), (rows, 0));
    let output = replay(job.dir.path(), &job.client.base, SEVERITIES, "0").output().unwrap();
    assert!(output.status.success(), "{}", said(&output));
    job.wait_settled();
    let (_dir, setup, _) = job.stop();
    assert!(count("metrics_out WHERE pipeline = 'severities'") > 0);
    assert_identical(&setup);
}

/// A job that never saw an event, and one that has not counted any yet.
#[test]
fn a_past_may_be_empty() {
    let dir = TempDir::new().unwrap();
    let setup = Setup::new(1, dir.path());
    let job = Job::start_in(dir, setup);
    let output = replay(job.dir.path(), &job.client.base, SEVERITIES, "beginning").output().unwrap();
    assert!(output.status.success(), "{}", said(&output));
    send_all(&job.client, &events(&civic_safety(), 35, 1_000));
    job.wait_settled();
    let (_dir, setup, _) = job.stop();
    assert_identical(&setup);
}

/// Rows that a deletion closes are on their way to the store: until they are there, nobody knows whether the name is new.
#[test]
fn a_name_is_new_when_the_store_has_what_was_taken_away() {
    let job = Job::start(2);
    let url = &format!("http://127.0.0.1:{}", job.setup.port);
    let days = "pipeline: days\ntopics: {security.incident: ~}\nwindows: {w: {every: 1d, emit: never, metrics: {n: count()}}}\n";
    assert_eq!(put(&job.client, "days", days).0, 201);
    send_all(&job.client, &events(&civic_safety(), 35, 500));
    job.wait_settled();
    assert_eq!(job.client.windows("&pipeline=days"), Vec::<Value>::new(), "the day is open, and not shown");
    let store = Connection::open(job.setup.data.join("caudal.sqlite")).unwrap();
    store.busy_timeout(std::time::Duration::from_secs(20)).unwrap();
    store.execute_batch("BEGIN IMMEDIATE").unwrap();
    assert_eq!(job.client.delete("/pipelines/days").0, 200);
    let begin = || job.client.try_put("/pipelines/days?from=0", "application/yaml", days.as_bytes()).unwrap();
    let (status, answer) = begin();
    assert!(status == 503 && answer.contains("all that the last change takes away"), "{status} {answer}");
    store.execute_batch("COMMIT").unwrap();
    // The command waits for that.
    let late = replay(job.dir.path(), url, days, "0").output().unwrap();
    assert_eq!(late.status.code(), Some(65), "{}", said(&late));
    assert!(said(&late).contains("of an earlier pipeline"), "{}", said(&late));
    job.stop();
}

/// What a replay has left is taken out, unless its pipeline is the job's; where the files of the start bring one of its name, neither is done.
#[test]
fn what_a_replay_has_left_is_decided_at_the_start() {
    let plan = |files: &[&str]| {
        let schema = json!({"type": "object", "properties": {"at": {"type": "string"}}}).to_string();
        let file = |name: &&str| {
            let (topic, windows) =
                (if *name == "a" { "{schema: t.json}" } else { "~" }, "{w: {every: 1h, metrics: {n: count()}}}");
            FileText {
                file: format!("{name}.yaml"),
                text: format!("pipeline: {name}\ntopics: {{t: {topic}}}\ntime: {{field: at}}\nwindows: {windows}\n"),
                schemas: vec![("t.json".to_owned(), schema.clone())],
            }
        };
        let bundle = Bundle(files.iter().map(file).collect());
        bundle.pipelines().unwrap_or_else(|faults| panic!("{faults}")).plan
    };
    let (alone, both) = (plan(&["a"]), plan(&["a", "b"]));
    let stands = |left: Option<&str>, holds: &Arc<Plan>, next: &Arc<Plan>| {
        let asked = Backfills::default();
        let begun = Fills::begin(asked.clone(), left, (holds, next), std::iter::empty());
        begun.map(|_| asked.now().map(|now| (now.pipeline, now.state)))
    };
    let leaving = Some(("b".to_owned(), Stand::Leaving));
    assert_eq!(stands(None, &alone, &both).unwrap(), None);
    assert_eq!(stands(Some("b"), &alone, &alone).unwrap(), leaving);
    assert_eq!(stands(Some("b"), &both, &both).unwrap(), None);
    assert_eq!(stands(Some("b"), &both, &alone).unwrap(), None);
    let refused = stands(Some("b"), &alone, &both).unwrap_err().to_string();
    assert!(refused.contains("\"b\"") && refused.contains("start once without --accept-changes"), "{refused}");
}
