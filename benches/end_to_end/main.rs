//! End to end: `./run_mpi.sh bench` (or `cargo bench --bench end_to_end`). Real jobs under mpirun, loaded from this process.
//!
//! `live`: the highest rate whose backlog does not grow, then latencies at half of it. `batch`: two workers beside a single-threaded loop that
//! only decodes the same lines. `formats`: the same events compressed and as Parquet. `language`: what windows, metrics, filters and open groups cost. `tail`: what one reader
//! of a topic takes. `post`: requests of one event each, beside a server that does nothing with them. `audit`: what its levels cost, and how soon an event is found by its id. `idle`: what a job without events uses.

mod batch;
mod formats;
mod language;
mod audit;
mod job;
mod tail;
mod load;
mod post;

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use caudal::pipeline::{Bundle, Pipelines};
use hdrhistogram::Histogram;

use crate::job::Job;
use crate::load::Load;

/// A rate must be held for this long (`CAUDAL_BENCH_SECONDS` shortens it for a trial).
const SPAN_S: u64 = 30;
/// A backlog that has grown by less than this many seconds' worth of events has not grown.
const BACKLOG_S: f64 = 0.5;
/// The rate is found to within this factor.
const PRECISION: f64 = 1.05;
/// Each probe sends so often; it must be answered sooner, or it measures its own queue.
const PROBE_EVERY: Duration = Duration::from_millis(400);
const BODY_BYTES: usize = 256 << 10;

fn main() {
    if let Ok(port) = std::env::var(post::NOTHING) {
        return post::serve_nothing(&port);
    }
    let wanted: Vec<String> = std::env::args().skip(1).filter(|a| !a.starts_with("--")).collect();
    let all = wanted.is_empty();
    let runs = |name: &str| all || wanted.iter().any(|w| w == name);
    // Another disk, or one in memory, shows what of a figure is the disk's.
    let place = std::env::var("CAUDAL_BENCH_DIR").unwrap_or_else(|_| env!("CARGO_TARGET_TMPDIR").to_owned());
    let dir = tempfile::TempDir::new_in(place).expect("a directory");
    let path = without_audit(dir.path());
    let bundle = Bundle::read(std::slice::from_ref(&path)).expect("a pipeline file");
    let pipeline = bundle.pipelines().expect("a pipeline");
    if runs("batch") {
        batch::run(dir.path(), &path, &pipeline);
    }
    if runs("formats") {
        formats::run(dir.path(), &path, &pipeline);
    }
    if runs("language") {
        language::run(dir.path(), &path, &pipeline);
    }
    if runs("live") {
        live(dir.path(), &path, &pipeline);
    }
    if runs("post") {
        post::run(dir.path(), &path, &pipeline);
    }
    if runs("tail") {
        tail::run(dir.path(), &path, &pipeline);
    }
    if runs("audit") {
        audit::run(dir.path(), &path, &pipeline);
    }
    if runs("idle") {
        idle(dir.path(), &path);
    }
}

/// The pipeline with `audit: none`.
fn without_audit(dir: &Path) -> PathBuf {
    let from = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/pipelines/civic_safety");
    let text = fs::read_to_string(from.join("pipeline.yaml")).expect("the pipeline file");
    let lines: Vec<&str> = text.lines().map(|l| if l.starts_with("audit:") { "audit: none" } else { l }).collect();
    assert!(lines.contains(&"audit: none"), "the pipeline file has an audit key");
    fs::create_dir(dir.join("schemas")).expect("a directory");
    for schema in fs::read_dir(from.join("schemas")).expect("schemas").filter_map(Result::ok) {
        fs::copy(schema.path(), dir.join("schemas").join(schema.file_name())).expect("a schema");
    }
    let path = dir.join("pipeline.yaml");
    fs::write(&path, lines.join("\n")).expect("a file");
    path
}

fn span() -> Duration {
    let seconds = std::env::var("CAUDAL_BENCH_SECONDS").ok().and_then(|s| s.parse().ok());
    Duration::from_secs(seconds.unwrap_or(SPAN_S))
}

fn live(dir: &Path, path: &Path, pipeline: &Pipelines) {
    let mut load = Load::render(pipeline, BODY_BYTES);
    // As fast as it goes: an upper bound to begin from.
    let (_, peak) = try_rate(dir, path, &mut load, None);
    println!("live: {peak:.0} events/s taken in while the backlog may grow");
    let (mut holds, mut fails) = (0.0, peak * PRECISION);
    let mut next = peak * 0.95;
    while fails / f64::max(holds, peak / 8.0) > PRECISION {
        let (held, rate) = try_rate(dir, path, &mut load, Some(next));
        println!("live: {next:.0} events/s meant, {rate:.0} sent: {}", if held { "held" } else { "the backlog grows" });
        if held {
            holds = next;
        } else {
            fails = next;
        }
        next = (f64::max(holds, peak / 8.0) * fails).sqrt();
    }
    println!("live: sustained {holds:.0} events/s for {} s, the sender included", span().as_secs());
    half_load(dir, path, pipeline, &mut load, holds / 2.0);
}

/// Whether the job keeps up with this rate, and the rate that was really sent.
fn try_rate(dir: &Path, path: &Path, load: &mut Load, rate: Option<f64>) -> (bool, f64) {
    let fresh = tempfile::TempDir::new_in(dir).expect("a directory");
    let job = Job::start(3, fresh.path(), path);
    // The first seconds fill caches and queues.
    load.send(job.port, rate, span() / 10);
    let before = job.ledger("in_flight");
    let sent = load.send(job.port, rate, span());
    let after = job.ledger("in_flight");
    let got = sent.events as f64 / sent.seconds;
    let settled = job.settle();
    let used = job.usage();
    let events = job.ledger("accepted") as f64;
    for u in &used {
        println!(
            "      rank {}: {:.2} CPU s per million events, {:.0} MB at most",
            u.rank,
            u.cpu_seconds / events * 1e6,
            u.peak_bytes as f64 / 1e6
        );
    }
    println!(
        "      backlog {before} -> {after} events, gone {:.2} s after the last; {} refused",
        settled.as_secs_f64(),
        sent.refused
    );
    let grown = after.saturating_sub(before) as f64 > got * BACKLOG_S;
    (!grown && rate.is_none_or(|rate| got > rate / PRECISION), got)
}

fn half_load(dir: &Path, path: &Path, pipeline: &Pipelines, load: &mut Load, rate: f64) {
    let fresh = tempfile::TempDir::new_in(dir).expect("a directory");
    let job = Job::start(3, fresh.path(), path);
    let port = job.port;
    load.send(port, Some(rate), span() / 10);
    let (sent, applied, synced) = std::thread::scope(|scope| {
        let applied = scope.spawn(|| Load::probe(pipeline, port, PROBE_EVERY, span()));
        let synced = scope.spawn(|| bare_sync(fresh.path(), span()));
        let sent = load.send(port, Some(rate), span());
        (sent, applied.join().expect("the probe"), synced.join().expect("the syncs"))
    });
    print_quantiles(&format!("live: at {rate:.0} events/s, ack"), &sent.ack_us);
    print_quantiles("live: receipt to committed", &applied);
    print_quantiles("live: a bare fdatasync in the same run", &synced);
}

/// A small write and its sync, 50 times a second, beside the load.
fn bare_sync(dir: &Path, span: Duration) -> Histogram<u64> {
    let mut file = fs::File::create(dir.join("sync")).expect("a file");
    let (begun, mut synced) = (Instant::now(), load::histogram());
    while begun.elapsed() < span {
        std::thread::sleep(Duration::from_millis(20));
        file.write_all(&[0; 4096]).expect("a write");
        let before = Instant::now();
        file.sync_data().expect("a sync");
        synced.saturating_record(before.elapsed().as_micros() as u64);
    }
    synced
}

fn print_quantiles(what: &str, us: &Histogram<u64>) {
    let at = |share: f64| us.value_at_quantile(share) as f64 / 1000.0;
    println!("{what}: p50 {:.1} ms, p99 {:.1} ms, p99.9 {:.1} ms ({} samples)", at(0.5), at(0.99), at(0.999), us.len());
}

fn idle(dir: &Path, path: &Path) {
    let fresh = tempfile::TempDir::new_in(dir).expect("a directory");
    let job = Job::start(4, fresh.path(), path);
    // What starting cost is not what resting costs.
    std::thread::sleep(Duration::from_secs(2));
    let before = job.usage();
    std::thread::sleep(span());
    for (u, b) in job.usage().iter().zip(&before) {
        let share = (u.cpu_seconds - b.cpu_seconds) / span().as_secs_f64() * 100.0;
        println!("idle: rank {}: {share:.1} % of a core, {:.0} MB", u.rank, u.peak_bytes as f64 / 1e6);
    }
}
