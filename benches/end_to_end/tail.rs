//! What one reader takes: `caudal tail` of a topic from its beginning, on a job that rests, until an event that was sent last.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Instant;

use caudal::core::units::TopicId;
use caudal::generate::Generator;
use caudal::pipeline::Pipelines;

use crate::batch::median;
use crate::job::Job;
use crate::load::{Load, orderly, post_line};
use crate::{BODY_BYTES, span};

const ROUNDS: usize = 5;

pub fn run(dir: &Path, path: &Path, pipeline: &Pipelines) {
    let fresh = tempfile::TempDir::new_in(dir).expect("a directory");
    let mut load = Load::render(pipeline, BODY_BYTES);
    let job = Job::start(3, fresh.path(), path);
    load.send(job.port, None, span() / 5);
    let topic = &pipeline.plan.topics[0].name;
    let generator = Generator::new(pipeline, orderly(1.0)).expect("the pipeline's events can be generated");
    let last = generator.example(TopicId(0)).expect("an event");
    post_line(job.port, &format!("/topics/{topic}/events"), &last);
    job.settle();
    let rounds: Vec<(u64, u64, f64)> = (0..ROUNDS).map(|_| read(job.port, topic, &last)).collect();
    let (events, bytes, _) = rounds[0];
    let seconds = median(&mut rounds.iter().map(|(_, _, seconds)| *seconds).collect::<Vec<_>>());
    println!(
        "tail: one reader: {:.0} events/s, {:.0} MB/s ({events} events of a topic in a log of {}, medians of {ROUNDS}, its start included)",
        events as f64 / seconds,
        bytes as f64 / seconds / 1e6,
        job.ledger("accepted"),
    );
}

/// Events and bytes that were printed up to the last one, and the seconds that took.
fn read(port: u16, topic: &str, last: &[u8]) -> (u64, u64, f64) {
    let begun = Instant::now();
    let mut child = Command::new(env!("CARGO_BIN_EXE_caudal"))
        .args(["tail", topic, "--from-beginning", "--url", &format!("http://127.0.0.1:{port}")])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .expect("caudal starts");
    let mut output = BufReader::with_capacity(1 << 20, child.stdout.take().expect("a pipe"));
    let (mut events, mut bytes, mut line) = (0, 0, Vec::new());
    while !line.starts_with(last) {
        line.clear();
        let read = output.read_until(b'\n', &mut line).expect("the output");
        assert!(read > 0, "the last event was sent, and is not read");
        events += 1;
        bytes += read as u64;
    }
    let seconds = begun.elapsed().as_secs_f64();
    child.kill().and_then(|()| child.wait()).expect("it ends");
    (events, bytes, seconds)
}
