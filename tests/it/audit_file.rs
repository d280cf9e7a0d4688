//! `audit: {jsonl: FILE}` of a real job under mpirun: whatever is killed, each event and each published row is there once.

use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::path::{Path, PathBuf};

use rustix::process::Signal;
use serde_json::Value;
use tempfile::TempDir;

use crate::support::client::Client;
use crate::support::job::{Job, Setup, root, until};
use crate::support::traffic::{assert_results, civic_safety, events, send_all};

/// Enough to be under way while ranks are killed.
const EVENTS: usize = 40_000;

/// The civic-safety pipeline with a file of lines, in `dir`.
fn pipeline(dir: &Path) -> PathBuf {
    let from = root().join("tests/pipelines/civic_safety");
    let to = dir.join("civic_safety");
    fs::create_dir_all(to.join("schemas")).unwrap();
    for schema in fs::read_dir(from.join("schemas")).unwrap() {
        let schema = schema.unwrap();
        fs::copy(schema.path(), to.join("schemas").join(schema.file_name())).unwrap();
    }
    let text = fs::read_to_string(from.join("pipeline.yaml")).unwrap();
    // Its own tests name a file that is not copied, and are not run here.
    let text: String =
        text.lines().filter(|line| !line.starts_with("audit:")).map(|line| format!("{line}\n")).collect();
    fs::write(to.join("pipeline.yaml"), text + "audit: {level: full, jsonl: civic.jsonl}\n").unwrap();
    to.join("pipeline.yaml")
}

/// The lines of all files, oldest file first; every epoch whole, later than the one before, and its checksum right.
fn lines(audit: &Path) -> Vec<Value> {
    let newest = audit.join("civic.jsonl");
    let mut files: Vec<PathBuf> = fs::read_dir(audit).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort_by_key(|path| (*path == newest, path.clone()));
    assert!(files.len() > 1, "files were filled: {files:?}");
    let (mut all, mut epoch) = (Vec::new(), 0);
    for file in files {
        let (mut count, mut sum) = (0, 0);
        for line in fs::read(&file).unwrap().split_inclusive(|&byte| byte == b'\n') {
            let value: Value = serde_json::from_slice(line).unwrap_or_else(|e| panic!("{e} in {}", file.display()));
            if value["kind"] != "epoch" {
                (count, sum) = (count + 1, crc32c::crc32c_append(sum, line));
                assert!(value["epoch"].as_u64() > Some(epoch), "{value}");
                all.push(value);
                continue;
            }
            assert_eq!(
                (value["lines"].as_u64(), value["crc32c"].as_str()),
                (Some(count), Some(&*format!("{sum:08x}")))
            );
            (epoch, count, sum) = (value["epoch"].as_u64().unwrap(), 0, 0);
        }
        assert_eq!(count, 0, "{} ends within an epoch", file.display());
    }
    all
}

/// Every counted event that the job's store has, by offset.
fn stored_events(client: &Client) -> BTreeMap<u64, Value> {
    let (mut events, mut next) = (BTreeMap::new(), Some("/events?limit=1000".to_owned()));
    while let Some(path) = next {
        let page = client.json(&path);
        for event in page["events"].as_array().unwrap() {
            events.insert(event["offset"].as_u64().unwrap(), event["event"].clone());
        }
        next = page["next"].as_str().map(str::to_owned);
    }
    events
}

#[test]
fn kills_leave_each_line_there_once() {
    let dir = TempDir::new().unwrap();
    let file = pipeline(dir.path());
    let setup = Setup::new(4, dir.path()).with("PIPELINES", file.to_str().unwrap()).with("AUDIT_FILE_BYTES", "2MiB");
    let bodies = events(&civic_safety(), 21, EVENTS);
    let job = Job::start_in(dir, setup);
    std::thread::scope(|scope| {
        let sender = scope.spawn(|| send_all(&job.client, &bodies));
        // Rank 0 writes the file: it dies in whatever it is doing, more often than the others.
        for victim in [0, 1, 0, 3, 0, 0] {
            job.kill_rank(victim);
            job.wait_back();
        }
        until("the launcher runs", || job.mpirun().is_some());
        Job::signal(job.mpirun().unwrap(), Signal::KILL);
        job.wait_back();
        sender.join().expect("the sender");
    });
    assert_results(&job, &bodies);
    // Windows close when the input has been silent; then nothing is published any more.
    until("all windows of 5 s are closed", || job.client.windows("&window=by_region&closed=false").is_empty());
    // The last epochs had nothing to write: the file knows that it is whole all the same.
    job.kill_rank(0);
    job.wait_back();
    let stored = stored_events(&job.client);
    let rows = job.client.windows("");
    let (_dir, setup, status) = job.stop();
    assert_eq!(status.code(), Some(0));

    let lines = lines(&setup.data.join("audit"));
    let mut written = BTreeMap::new();
    for line in lines.iter().filter(|line| line["kind"] == "event") {
        let offset = line["log_offset"].as_u64().unwrap();
        assert!(written.insert(offset, line["body"].clone()).is_none(), "twice: {line}");
    }
    assert_eq!(written.len(), stored.len());
    assert!(written == stored, "the same events as in the store");
    // The last line of a row is the row, and its revisions are there one after the other.
    let mut last: HashMap<String, &Value> = HashMap::new();
    for line in lines.iter().filter(|line| line["kind"] == "metric") {
        let before = last.insert(line["metric_id"].as_str().unwrap().to_owned(), line);
        let closed = |line: &Value| line["closed"] == true;
        if let Some(before) = before.filter(|before| closed(before)) {
            assert_eq!(line["revision"].as_u64(), before["revision"].as_u64().map(|r| r + 1), "{before} {line}");
        }
    }
    assert_eq!(last.len(), rows.len());
    for row in &rows {
        let line = last[row["metric_id"].as_str().unwrap()];
        let same = [
            ("window", "window_name"),
            ("window_start", "window_start"),
            ("window_end", "window_end"),
            ("group", "group_key"),
            ("values", "metrics"),
            ("event_count", "event_count"),
            ("revision", "revision"),
            ("closed", "closed"),
        ];
        for (of_row, of_line) in same {
            assert_eq!(row[of_row], line[of_line], "{of_row}: {row} {line}");
        }
    }
}
