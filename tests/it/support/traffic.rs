//! A client that knows what it sent: batches from the generator, resent until they are acknowledged, and what must come of them by the sequential
//! model.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

use caudal::clock::{Clock, SystemClock};
use caudal::core::columns::GroupValue;
use caudal::core::row::Value as Metered;
use caudal::core::time;
use caudal::core::units::Micros;
use caudal::generate::{Generator, Settings};
use caudal::pipeline::{Bundle, Pipelines};
use serde_json::{Map, Value, json};

use crate::model;
use crate::support::client::Client;
use crate::support::job::{Job, root, until, wait_settled};

/// Requests that a load is sent in, and the events of one at least.
const BATCHES: usize = 400;
const BATCH_MIN: usize = 50;

/// The civic-safety events, counted in two windows. (The shipped application makes events of its own too.)
pub fn civic_safety() -> Pipelines {
    let path = root().join("tests/pipelines/civic_safety/pipeline.yaml");
    let bundle = Bundle::read(&[path]).unwrap_or_else(|faults| panic!("{faults}"));
    bundle.pipelines().unwrap_or_else(|faults| panic!("{faults}"))
}

/// `count` events from now on, 2 % duplicates, 1 % invalid, 1 s of disorder; as bodies of NDJSON.
pub fn events(pipeline: &Pipelines, seed: u64, count: usize) -> Vec<Vec<u8>> {
    let settings = Settings {
        seed,
        start: SystemClock::default().unix().micros(),
        // All of them within some seconds of event time: nothing is late, nothing in the future.
        rate: count as f64 / 8.0,
        duplicates: 0.02,
        invalid: 0.01,
        late: 0.0,
        late_by: Micros(0),
        out_of_order: Micros(1_000_000),
        burst: None,
    };
    let mut generator = Generator::new(pipeline, settings).expect("the pipeline's events can be generated");
    let lines: Vec<Vec<u8>> = (0..count).map(|_| generator.generate().line).collect();
    lines.chunks(BATCH_MIN.max(count / BATCHES)).map(|lines| [lines.join(&b'\n'), b"\n".to_vec()].concat()).collect()
}

/// Sends every body until it is acknowledged, in order. A body whose answer was lost is sent again: ids make that harmless.
pub fn send_all(client: &Client, bodies: &[Vec<u8>]) {
    for body in bodies {
        let begun = Instant::now();
        while !matches!(client.try_post("/events", "application/x-ndjson", body), Ok((202, _))) {
            assert!(begun.elapsed().as_secs() < 60, "a body is not taken for a minute");
            std::thread::sleep(std::time::Duration::from_millis(10));
        }
    }
}

/// A row's values and its number of events, by (window, start, group as JSON).
pub type Rows = BTreeMap<(String, String, String), (Value, u64)>;

/// What the model makes of these events where none is late.
pub fn expected(pipeline: &Pipelines, bodies: &[Vec<u8>]) -> Rows {
    let lines = bodies.iter().flat_map(|b| b.split(|&b| b == b'\n')).filter(|l| !l.is_empty());
    let lines = lines.enumerate().map(|(n, line)| (n as u64, line.to_vec())).collect();
    let outcome = model::batch(&pipeline.plan, &pipeline.schemas, None, lines);
    let rows = outcome.rows.into_iter().map(|((window, start, group, _), row)| {
        let window = &pipeline.plan.windows[window];
        let names = window.group.iter().map(|field| field.name.clone());
        let group: Map<String, Value> = names.zip(group.iter().map(group_json)).collect();
        let names = window.metrics.iter().map(|(name, _)| name.clone());
        let values: Map<String, Value> = names.zip(row.values.iter().map(value_json)).collect();
        let key = (window.name.clone(), time::format(Micros(start)), Value::Object(group).to_string());
        (key, (Value::Object(values), row.event_count))
    });
    rows.collect()
}

fn group_json(value: &GroupValue) -> Value {
    match value {
        GroupValue::Null => Value::Null,
        GroupValue::Bool(b) => json!(b),
        GroupValue::Integer(i) => json!(i),
        GroupValue::Text(text) => json!(text.as_ref()),
    }
}

fn value_json(value: &Metered) -> Value {
    match value {
        Metered::Null => Value::Null,
        Metered::Integer(i) => json!(i64::try_from(*i).expect("a small number")),
        Metered::Number(n) => json!(n),
        Metered::Boolean(b) => json!(b),
        Metered::Text(text) => json!(text.as_ref()),
    }
}

/// What the job says it counted.
pub fn counted(client: &Client) -> Rows {
    let rows = client.windows("").into_iter().map(|row| {
        let text = |field: &str| row[field].as_str().expect("a text").to_owned();
        let key = (text("window"), text("window_start"), row["group"].to_string());
        (key, (row["values"].clone(), row["event_count"].as_u64().expect("a count")))
    });
    rows.collect()
}

/// Compares the job's rows with the model's.
fn assert_counted(client: &Client, expected: &Rows) {
    let counted = counted(client);
    for (key, row) in expected {
        assert_eq!(counted.get(key), Some(row), "{key:?}");
    }
    assert_eq!(
        counted.len(),
        expected.len(),
        "rows that nobody expected: {:?}",
        counted.keys().find(|k| !expected.contains_key(*k))
    );
}

/// Waits until all of these civic-safety events are committed and their rows shown, and compares the rows with the model's.
pub fn assert_results(job: &Job, bodies: &[Vec<u8>]) {
    assert_results_at(&job.client, bodies);
}

/// The same of a job that somebody else started.
pub fn assert_results_at(client: &Client, bodies: &[Vec<u8>]) {
    wait_settled(client);
    // Rows that are still open are shown at the latest when the input has been silent for a while.
    let expected = expected(&civic_safety(), bodies);
    let shown: u64 = expected.values().map(|(_, events)| events).sum();
    until("all rows are shown", || {
        let rows = client.windows("");
        rows.iter().filter_map(|row| row["event_count"].as_u64()).sum::<u64>() == shown
    });
    assert_counted(client, &expected);
}

/// Watches the ledger from another thread until dropped: it must balance every time it answers, and nothing of it may go back.
pub struct LedgerWatch {
    stop: Arc<std::sync::atomic::AtomicBool>,
    thread: Option<std::thread::JoinHandle<u64>>,
}

impl LedgerWatch {
    pub fn start(client: Client) -> Self {
        let stop = Arc::new(std::sync::atomic::AtomicBool::new(false));
        let stopped = stop.clone();
        let thread = std::thread::spawn(move || {
            let (mut answers, mut accepted) = (0, 0);
            while !stopped.load(std::sync::atomic::Ordering::Relaxed) {
                if let Ok((200, body)) = client.try_get("/ledger") {
                    let ledger: Value = serde_json::from_str(&body).expect("the ledger is JSON");
                    let of = |field: &str| ledger[field].as_u64().unwrap_or_else(|| panic!("{field} in {ledger}"));
                    let fates = ["counted", "duplicate", "filtered", "invalid", "late", "in_flight"].map(of);
                    assert_eq!(of("accepted"), fates.iter().sum::<u64>(), "{ledger}");
                    assert!(of("accepted") >= accepted, "{accepted} were accepted before: {ledger}");
                    accepted = of("accepted");
                    answers += 1;
                }
                std::thread::sleep(std::time::Duration::from_millis(100));
            }
            answers
        });
        Self { stop, thread: Some(thread) }
    }

    /// How often the ledger was seen, balanced.
    pub fn end(mut self) -> u64 {
        self.stop.store(true, std::sync::atomic::Ordering::Relaxed);
        let thread = self.thread.take().expect("it runs");
        thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    }
}
