//! What the levels of `audit` cost, by turns: as many events a second as are taken in and committed, beside `none`. Then how soon an event and a story are
//! found by their ids in the log that the last job with bitmaps has.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Instant;

use caudal::pipeline::Pipelines;
use serde_json::Value;

use crate::batch::median;
use crate::job::Job;
use crate::load::{Load, histogram};
use crate::{BODY_BYTES, span};

const ROUNDS: usize = 3;
const LEVELS: [&str; 3] = ["none", "compact", "full"];
/// Ids that are looked for.
const LOOKED_FOR: u64 = 500;

pub fn run(dir: &Path, path: &Path, pipeline: &Pipelines) {
    let files = LEVELS.map(|level| with_audit(path, level));
    let mut load = Load::render(pipeline, BODY_BYTES);
    let mut rates = [(); 3].map(|()| Vec::new());
    for round in 0..ROUNDS {
        for (level, rates) in rates.iter_mut().enumerate() {
            let fresh = tempfile::TempDir::new_in(dir).expect("a directory");
            let job = Job::start(3, fresh.path(), &files[level]);
            let begun = Instant::now();
            let sent = load.send(job.port, None, span() / 5);
            job.settle();
            rates.push(sent.events as f64 / begun.elapsed().as_secs_f64());
            if LEVELS[level] == "compact" && round + 1 == ROUNDS {
                look(&job);
            }
        }
    }
    let [none, compact, full] = rates.map(|mut rates| median(&mut rates));
    println!(
        "audit: none {none:.0} events/s; compact {compact:.0} = {:.2} x; full {full:.0} = {:.2} x",
        compact / none,
        full / none
    );
}

fn with_audit(path: &Path, level: &str) -> PathBuf {
    let text = fs::read_to_string(path).expect("the pipeline file");
    assert!(text.contains("audit: none"), "the pipeline file has no audit");
    let text = text.replace("audit: none", &format!("audit: {level}\ncorrelation: correlation_id"));
    let path = path.with_file_name(format!("{level}.yaml"));
    fs::write(&path, text).expect("a file");
    path
}

fn look(job: &Job) {
    let events = job.ledger("accepted");
    let json = |path: &str| -> Value {
        let (status, body) = job.get(path).expect("the job answers");
        assert_eq!(status, 200, "{path}: {body}");
        serde_json::from_str(&body).expect("JSON")
    };
    let (mut by_id, mut by_correlation) = (histogram(), histogram());
    for number in 0..LOOKED_FOR {
        let from = events / LOOKED_FOR * number;
        let page = json(&format!("/topics/security.incident/events?limit=1&from={from}"));
        let event = &page["events"][0]["event"];
        let timed = |path: String| {
            let begun = Instant::now();
            assert!(!json(&path)["events"].as_array().expect("events").is_empty(), "{path} is not found");
            begun.elapsed().as_micros() as u64
        };
        let (Some(id), Some(correlation)) = (event["event_id"].as_str(), event["correlation_id"].as_str()) else {
            continue;
        };
        by_id.saturating_record(timed(format!("/events/{id}")));
        by_correlation.saturating_record(timed(format!("/events?correlation={correlation}")));
    }
    for (what, times) in [("an event", by_id), ("a story", by_correlation)] {
        let [p50, p99] = [0.5, 0.99].map(|q| times.value_at_quantile(q) as f64 / 1e3);
        println!("lookup: {what} among {events}: {p50:.1} ms, 99 % within {p99:.1} ms");
    }
}
