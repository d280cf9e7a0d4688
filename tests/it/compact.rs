//! `audit: compact` and the index of the log, in a real job: from a row to its events and back, and events by the ids that they have.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;

use caudal::core::identity::metric_id;
use caudal::core::plan::Plan;
use caudal::core::units::Micros;
use caudal::pipeline::Bundle;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::changes::entries;
use crate::model::{self, Entry, Key};
use crate::mpi::assert_identical;
use crate::support::client::Client;
use crate::support::job::{Job, Setup, root, until};
use crate::support::traffic::{events, send_all};

/// That of civic safety, with a hopping window whose size is no multiple of its step.
pub fn pipeline(dir: &std::path::Path) -> std::path::PathBuf {
    let from = root().join("tests/pipelines/civic_safety");
    let text = fs::read_to_string(from.join("pipeline.yaml")).unwrap();
    let text = text
        .replace("audit: full", "audit: compact")
        .replace("id:    event_id", "id: event_id\ncorrelation: correlation_id");
    let hopping = "windows:\n  sliding: {every: {size: 3s, every: 2s}, group: [region], metrics: {n: count()}}";
    let text = text.replace("windows:", hopping);
    let path = dir.join("pipeline.yaml");
    fs::write(&path, text).unwrap();
    fs::create_dir(dir.join("schemas")).unwrap();
    for schema in fs::read_dir(from.join("schemas")).unwrap() {
        let schema = schema.unwrap();
        fs::copy(schema.path(), dir.join("schemas").join(schema.file_name())).unwrap();
    }
    path
}

/// All events behind a row, in pages.
pub fn events_of(client: &Client, id: &str, limit: u32) -> Vec<Value> {
    let (mut path, mut all) = (format!("/windows/{id}/events?limit={limit}"), Vec::new());
    loop {
        let page = client.json(&path);
        assert_eq!(page["audit"], "compact");
        all.extend(page["events"].as_array().unwrap().iter().cloned());
        let Some(next) = page["next"].as_str() else { return all };
        next.clone_into(&mut path);
    }
}

fn offsets(events: &[Value]) -> Vec<u64> {
    events.iter().map(|event| event["offset"].as_u64().unwrap()).collect()
}

fn id(plan: &Plan, (window, start, group, _): &Key) -> String {
    let of = &plan.windows[*window];
    metric_id(&plan.pipeline_of(of).name, &of.name, Micros(*start), group).to_string()
}

/// One that was sent broken many times over before it was sent as it should be.
fn a_mended_event_is_found(client: &Client, like: &[u8]) {
    let id = "00000000-0000-4000-8000-00000000d1ed";
    let mut event: Value = serde_json::from_slice(like).unwrap();
    event["event_id"] = json!(id);
    let well = event.to_string();
    event["payload"] = json!("broken");
    send_all(client, &[format!("{event}\n").repeat(250).into_bytes(), well.into_bytes()]);
    until("the mended event is counted", || {
        let (status, answer) = client.get(&format!("/events/{id}"));
        let answer: Value = serde_json::from_str(&answer).unwrap();
        status == 200 && answer["events"].as_array().unwrap().iter().any(|event| event["fate"] == "counted")
    });
    let answer = client.json(&format!("/events/{id}"));
    assert_eq!(
        (answer["events"].as_array().unwrap().len(), answer["dead_letters"][0]["reason"].as_str()),
        (1, Some("schema"))
    );
}

#[test]
fn a_row_has_its_events_and_an_event_its_rows() {
    let dir = TempDir::new().unwrap();
    let path = pipeline(dir.path());
    let pipelines = Bundle::read(std::slice::from_ref(&path)).unwrap().pipelines().unwrap();
    let setup = Setup::new(3, dir.path())
        .with("PIPELINES", path.to_str().unwrap())
        .with("LOG_SEGMENT_BYTES", "1MiB")
        .with("LOG_BYTES_MAX", "1GiB");
    let bodies = events(&pipelines, 41, 16_000);
    let job = Job::start_in(dir, setup);
    let (before, after) = bodies.split_at(bodies.len() / 2);
    send_all(&job.client, before);
    job.kill_rank(0);
    job.wait_back();
    send_all(&job.client, after);
    job.wait_settled();
    let indexed = || fs::read_dir(job.setup.data.join("index")).unwrap().count();
    until("sealed segments are indexed", || indexed() >= 4);
    // The day is shown less often than all others, and has every event.
    let in_day =
        || job.client.windows("&window=daily").iter().map(|row| row["event_count"].as_u64().unwrap()).sum::<u64>();
    until("every row is shown", || json!(in_day()) == job.client.json("/ledger")["counted"]);
    until("every window is closed", || job.client.windows("&window=sliding&closed=false").is_empty());
    let client = job.client.clone();

    // What the sequential model makes of the log, which a stopped job leaves.
    let (dir, setup, status) = job.stop();
    assert_eq!(status.code(), Some(0));
    let (log_entries, first) = entries(&setup, &pipelines);
    let plan = &pipelines.plan;
    let outcome = model::live_of(plan, &pipelines.schemas, &first, &log_entries);
    let mut lines: BTreeMap<u64, Vec<u8>> = BTreeMap::new();
    for entry in &log_entries {
        if let Entry::Slab(slab) = entry {
            lines.extend(
                (slab.first_offset.0..)
                    .zip(slab.bytes.split(|b| *b == b'\n').map(<[u8]>::to_vec))
                    .take(slab.count as usize),
            );
        }
    }
    let mut of_row: BTreeMap<String, Vec<u64>> = BTreeMap::new();
    for (offset, (.., keys)) in &outcome.counted {
        for key in keys {
            of_row.entry(id(plan, key)).or_default().push(*offset);
        }
    }
    assert!(of_row.len() > 60, "{} rows", of_row.len());

    let job = Job::start_in(dir, setup);
    assert_eq!(job.client.base, client.base);
    for (number, (row, expected)) in of_row.iter().enumerate() {
        let found = events_of(&client, row, if number % 5 == 0 { 37 } else { 1000 });
        assert_eq!(offsets(&found), *expected, "row {row}");
        for event in &found {
            let line: Value = serde_json::from_slice(&lines[&event["offset"].as_u64().unwrap()]).unwrap();
            assert_eq!(
                (&event["event"], &event["event_id"], &event["topic"]),
                (&line, &line["event_id"], &line["source"])
            );
        }
    }
    assert_eq!(client.get("/windows/00000000-0000-0000-0000-000000000000/events").0, 404);

    // Some events by their ids, one of them written in capitals.
    for (number, (offset, (.., keys))) in outcome.counted.iter().step_by(997).enumerate() {
        let line: Value = serde_json::from_slice(&lines[offset]).unwrap();
        let text = line["event_id"].as_str().unwrap();
        let asked = if number % 2 == 0 { text.to_uppercase() } else { text.to_owned() };
        let answer = client.json(&format!("/events/{asked}"));
        let found: Vec<&Value> =
            answer["events"].as_array().unwrap().iter().filter(|event| event["offset"] == *offset).collect();
        let [event] = found[..] else { panic!("{answer}") };
        let metrics: BTreeSet<&str> =
            event["metrics"].as_array().unwrap().iter().map(|id| id.as_str().unwrap()).collect();
        let expected: BTreeSet<String> = keys.iter().map(|key| id(plan, key)).collect();
        assert_eq!(metrics, expected.iter().map(String::as_str).collect(), "event {offset}");
        assert_eq!(event["fate"], "counted");
    }
    // A duplicate went into no row.
    let duplicate = outcome.duplicates.last().unwrap();
    let line: Value = serde_json::from_slice(&lines[duplicate]).unwrap();
    let answer = client.json(&format!("/events/{}", line["event_id"].as_str().unwrap()));
    let fates: Vec<&str> =
        answer["events"].as_array().unwrap().iter().map(|event| event["fate"].as_str().unwrap()).collect();
    assert!(fates.len() == 2 && fates[0] == "counted" && fates[1] == "taken", "{answer}");
    // A dead letter, of the oldest: it is not among the newest that are looked through.
    let refused = outcome.dead_letters.keys().find_map(|offset| {
        let line: Value = serde_json::from_slice(&lines[offset]).ok()?;
        let id = line["event_id"].as_str().filter(|id| uuid::Uuid::parse_str(id).is_ok())?.to_owned();
        Some((*offset, id))
    });
    let (offset, text) = refused.unwrap();
    let answer = client.json(&format!("/events/{text}"));
    assert!(answer["dead_letters"].as_array().unwrap().iter().any(|letter| letter["offset"] == offset), "{answer}");
    assert_eq!(client.get("/events/9531985d-5d9d-49f8-9818-e811892f902b").0, 404);
    let counted = outcome.counted.keys().next_back().unwrap();
    a_mended_event_is_found(&client, &lines[counted]);

    // Stories: the generator gives each event a correlation, and duplicates share it.
    let mut stories: BTreeMap<String, Vec<u64>> = BTreeMap::new();
    for (offset, line) in lines.iter().filter(|(offset, _)| !outcome.dead_letters.contains_key(offset)) {
        let line: Value = serde_json::from_slice(line).unwrap();
        stories.entry(line["correlation_id"].as_str().unwrap().to_owned()).or_default().push(*offset);
    }
    let long = stories.iter().max_by_key(|(_, offsets)| offsets.len()).unwrap();
    assert!(long.1.len() > 1, "{long:?}");
    for (correlation, expected) in stories.iter().step_by(1_499).chain([long]) {
        let answer = client.json(&format!("/events?correlation={correlation}"));
        assert_eq!(offsets(answer["events"].as_array().unwrap()), *expected, "{correlation}");
        let first = client.json(&format!("/events?correlation={correlation}&limit=1"));
        assert_eq!(offsets(first["events"].as_array().unwrap()), expected[..1]);
        assert_eq!(first["next"].is_null(), expected.len() == 1, "{first}");
    }
    assert_eq!(client.json("/events?correlation=nobody")["events"], serde_json::json!([]));
    let (_dir, setup, _) = job.stop();
    assert_identical(&setup);
}
