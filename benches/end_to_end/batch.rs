//! `caudal batch` with two workers beside a loop on one thread that only decodes the same lines.

use std::fs::{self, File};
use std::hint::black_box;
use std::io::{BufWriter, Write};
use std::path::Path;
use std::time::Instant;

use caudal::generate::Generator;
use caudal::pipeline::Pipelines;
use serde::Deserialize;

use crate::job::run_mpi;
use crate::load::orderly;

pub const EVENTS: u64 = 2_000_000;
/// Both are run so often, in turn.
const ROUNDS: usize = 5;

/// The envelope, and of the payload what metrics read.
#[derive(Deserialize)]
#[allow(dead_code, clippy::struct_field_names, reason = "the loop only decodes; the names are the events'")]
struct Event<'a> {
    #[serde(borrow)]
    event_id: &'a str,
    timestamp: &'a str,
    region: &'a str,
    source: &'a str,
    schema_version: &'a str,
    correlation_id: &'a str,
    payload: Payload,
}

#[derive(Deserialize)]
#[allow(dead_code, reason = "the loop only decodes")]
struct Payload {
    age: Option<i64>,
}

pub fn run(dir: &Path, pipeline_file: &Path, pipeline: &Pipelines) {
    let input = dir.join("events.ndjson");
    let bytes = generate(&input, pipeline);
    let (mut batches, mut loops) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        batches.push(batch(dir, pipeline_file, &input));
        loops.push(decode_only(&input));
    }
    let (batch, only) = (median(&mut batches), median(&mut loops));
    println!(
        "batch: {EVENTS} events ({} MB): {batch:.2} s = {:.0} events/s; decode only, one thread: {only:.2} s; {:.2} x that loop (medians of {ROUNDS})",
        bytes / 1_000_000,
        EVENTS as f64 / batch,
        only / batch
    );
    fs::remove_file(&input).expect("the input");
}

pub fn generate(path: &Path, pipeline: &Pipelines) -> u64 {
    let mut generator = Generator::new(pipeline, orderly(10_000.0)).expect("the pipeline's events can be generated");
    let mut file = BufWriter::new(File::create(path).expect("a file"));
    let mut bytes = 0;
    for _ in 0..EVENTS {
        let mut line = generator.generate().line;
        line.push(b'\n');
        bytes += line.len() as u64;
        file.write_all(&line).expect("a write");
    }
    file.flush().expect("a write");
    bytes
}

/// Seconds by the batch's own clock, from its first look at the pipeline file to its last result.
pub fn batch(dir: &Path, pipeline_file: &Path, input: &Path) -> f64 {
    batch_with(3, dir, pipeline_file, input)
}

/// Likewise, with so many ranks.
pub fn batch_with(ranks: usize, dir: &Path, pipeline_file: &Path, input: &Path) -> f64 {
    let output = run_mpi(ranks, &["batch", "--json", "--pipeline"])
        .arg(pipeline_file)
        .arg("--input")
        .arg(input)
        .arg("--output")
        .arg(dir.join("out"))
        .output()
        .expect("run_mpi.sh runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8_lossy(&output.stdout);
    let summary: serde_json::Value = serde_json::from_str(text.lines().last().expect("a summary")).expect("JSON");
    assert_eq!(summary["counted"].as_u64(), Some(EVENTS), "{summary}");
    summary["seconds"].as_f64().expect("seconds")
}

fn decode_only(input: &Path) -> f64 {
    let begun = Instant::now();
    let bytes = fs::read(input).expect("the input");
    let mut events = 0;
    let mut from = 0;
    for end in memchr::memchr_iter(b'\n', &bytes) {
        let event: Event = sonic_rs::from_slice(&bytes[from..end]).expect("an event");
        black_box(event);
        events += 1;
        from = end + 1;
    }
    assert_eq!(events, EVENTS);
    begun.elapsed().as_secs_f64()
}

pub fn median(values: &mut [f64]) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}
