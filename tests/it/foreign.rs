//! Pipelines unlike those that are shipped (taxi trips, a web server's log, thermometers), as their users would write them: `check` takes them, and a batch
//! gives what `tests/pipelines/expected.py` computes without Caudal.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;

use crate::support::job::{Job, Setup, caudal, root, until};

/// Metrics of which Caudal promises no more than being this near.
const APPROXIMATE: [&str; 2] = ["p95", "median"];
const QUANTILE_ERROR_MAX: f64 = 1.0 / 256.0;

fn csv_files(folder: &Path) -> BTreeSet<String> {
    let files = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let csv = files.filter(|path| path.extension().is_some_and(|extension| extension == "csv"));
    csv.map(|path| path.file_name().unwrap().to_str().unwrap().to_owned()).collect()
}

fn rows(file: &Path) -> Vec<Vec<String>> {
    let mut csv = csv::ReaderBuilder::new().has_headers(false).from_path(file).unwrap();
    csv.records().map(|record| record.unwrap().iter().map(str::to_owned).collect()).collect()
}

/// The same text, or the same double; a quantile within its error.
fn agree(column: &str, found: &str, expected: &str) -> bool {
    match (found.parse::<f64>(), expected.parse::<f64>()) {
        (Ok(found), Ok(expected)) if APPROXIMATE.contains(&column) => {
            (found - expected).abs() <= expected.abs() * QUANTILE_ERROR_MAX
        }
        (Ok(found), Ok(expected)) => found.to_bits() == expected.to_bits(),
        _ => found == expected,
    }
}

/// The same events in each format that a batch reads: plain and compressed lines, and what `formats.py` wrote.
fn inputs(folder: &Path, made: &Path) -> Vec<PathBuf> {
    let lines = folder.join("events.ndjson");
    let (gzip, zstd) = (made.join("events.ndjson.gz"), made.join("events.ndjson.zst"));
    let packed = Command::new("gzip").arg("-c").arg(&lines).output().unwrap();
    assert!(packed.status.success());
    fs::write(&gzip, packed.stdout).unwrap();
    fs::write(&zstd, zstd::encode_all(fs::File::open(&lines).unwrap(), 0).unwrap()).unwrap();
    vec![lines, gzip, zstd, folder.join("events.csv"), folder.join("events.parquet")]
}

fn comes_out_as_computed(pipeline: &str, topic: &str) {
    let folder = root().join("tests/pipelines").join(pipeline);
    let file = folder.join("pipeline.yaml");
    let check = Command::new(caudal()).arg("check").arg(&file).output().unwrap();
    assert!(check.status.success(), "{}", String::from_utf8_lossy(&check.stderr));
    let made = TempDir::new().unwrap();
    for input in inputs(&folder, made.path()) {
        let out = TempDir::new().unwrap();
        let batch = Command::new(caudal())
            .args(["batch", "--topic", topic, "--pipeline"])
            .arg(&file)
            .arg("--input")
            .arg(&input)
            .arg("--output")
            .arg(out.path())
            .output()
            .unwrap();
        assert!(batch.status.success(), "{}", String::from_utf8_lossy(&batch.stderr));
        tables_are_as_expected(&folder.join("expected"), out.path(), &input.display().to_string());
    }
}

fn tables_are_as_expected(expected: &Path, found: &Path, of: &str) {
    assert_eq!(csv_files(found), csv_files(expected));
    for name in csv_files(expected) {
        let (found, expected) = (rows(&found.join(&name)), rows(&expected.join(&name)));
        assert!(expected.len() > 4 && found.first() == expected.first(), "{of}: {name}: {found:#?}");
        assert_eq!(found.len(), expected.len(), "{of}: {name}: {found:#?}");
        let header = &expected[0];
        for (found, expected) in found.iter().zip(&expected).skip(1) {
            let cells = header.iter().zip(found).zip(expected);
            let wrong: Vec<_> = cells.filter(|((column, found), expected)| !agree(column, found, expected)).collect();
            assert!(wrong.is_empty(), "{of}: {name}: {wrong:?} in {found:?}, expected {expected:?}");
        }
    }
}

#[test]
fn taxi_trips() {
    comes_out_as_computed("taxi", "trip");
}

#[test]
fn access_log() {
    comes_out_as_computed("access_log", "request");
}

#[test]
fn sensors() {
    comes_out_as_computed("sensors", "reading");
}

/// One live job runs several files, each with its own topics and watermark.
#[test]
fn two_pipelines_in_one_job() {
    let folder = |name: &str| root().join("tests/pipelines").join(name);
    let files = ["taxi", "sensors"].map(|name| folder(name).join("pipeline.yaml").display().to_string());
    let dir = TempDir::new().unwrap();
    let setup = Setup::new(3, dir.path()).with("PIPELINES", &files.join(","));
    let job = Job::start_in(dir, setup);
    for (name, topic, lines) in [("taxi", "trip", 165), ("sensors", "reading", 138)] {
        let events = fs::read(folder(name).join("events.ndjson")).unwrap();
        let (status, answer) = job.client.post_lines(&format!("/topics/{topic}/events"), &events);
        assert_eq!((status, &answer["accepted"]), (202, &lines.into()), "{answer}");
    }
    job.wait_settled();
    // Open rows are shown within a second.
    for (query, counted) in [("&pipeline=taxi&window=earnings", 161), ("&pipeline=sensors&window=doors", 134)] {
        let events = || {
            let rows = job.client.windows(query);
            rows.iter().map(|row| row["event_count"].as_u64().unwrap()).sum::<u64>()
        };
        until(query, || events() == counted);
    }
    let ledger = job.client.json("/ledger");
    assert_eq!((&ledger["counted"], &ledger["duplicate"], &ledger["invalid"]), (&295.into(), &5.into(), &3.into()));
    let (_, _, status) = job.stop();
    assert!(status.success());
}

#[test]
fn a_topic_that_a_batch_does_not_know_is_refused() {
    let batch = Command::new(caudal())
        .args(["batch", "--pipeline", "tests/pipelines/taxi/pipeline.yaml", "--topic", "trips"])
        .args(["--input", "tests/pipelines/taxi/events.ndjson", "--output", "target/never"])
        .current_dir(root())
        .output()
        .unwrap();
    assert_eq!(batch.status.code(), Some(2));
    let said = String::from_utf8_lossy(&batch.stderr);
    assert!(said.contains("--topic: there is no topic \"trips\"; events are taken for trip"), "{said}");
}
