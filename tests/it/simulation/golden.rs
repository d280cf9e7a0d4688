//! Golden cases: `tests/golden/NAME` holds a pipeline file, events, and the rows that must come of them, small enough to be read. A blank line among the
//! events ends an epoch; the next one's are taken in ten seconds later. Each case is run with 1, 2, 3 and 5 workers whose messages come in random order,
//! with and without a crash after each epoch, and the sequential model must say the same.
//!
//! `CAUDAL_GOLDEN=write` writes what the model says into the folders anew; read the difference before you believe it.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::slice::from_ref;

use bytes::Bytes;
use caudal::core::columns::{GroupValue, Numbering, Slab};
use caudal::core::epoch::Cut;
use caudal::core::plan::Plan;
use caudal::core::row::Value;
use caudal::core::time;
use caudal::core::units::{Epoch, LogId, Micros, Millis, Offset, TopicId};
use caudal::pipeline::{Bundle, Pipelines};
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;

use super::check::{compare, live};
use crate::memory_store::MemoryStore;
use crate::model::{self, Entry, Outcome};
use crate::support::job::root;

const LOG: LogId = LogId(7);
const WORKERS: [usize; 4] = [1, 2, 3, 5];
/// 2026-11-22T12:00:00Z.
const BEGIN_MS: u64 = 1_795_348_800_000;
const EPOCH_MS: u64 = 10_000;

fn folders() -> Vec<PathBuf> {
    let mut folders: Vec<_> =
        fs::read_dir(root().join("tests/golden")).unwrap().map(|entry| entry.unwrap().path()).collect();
    folders.sort();
    folders
}

/// The log: a slab and a cut for each block of lines.
fn log(events: &str) -> Vec<Entry> {
    let mut entries = Vec::new();
    let mut end = Offset(0);
    for (epoch, block) in (1..).zip(events.trim_end().split("\n\n")) {
        let (first_offset, count) = (end, block.lines().count());
        end = Offset(first_offset.0 + count as u64);
        let ingest = Millis(BEGIN_MS + EPOCH_MS * epoch);
        let lines = Bytes::from(format!("{block}\n"));
        let slab = Slab {
            first_offset,
            count: count as u32,
            ingest,
            topic: Some(TopicId(0)),
            bytes: lines,
            numbering: Numbering::Dense,
        };
        entries.push(Entry::Slab(slab));
        entries.push(Entry::Cut(Cut {
            epoch: Epoch(epoch),
            end,
            ingest,
            up: Millis(EPOCH_MS * epoch),
            idle: None,
            emitted: Epoch(0),
        }));
    }
    entries
}

/// What stands in `expected/`, by file name.
fn shown(plan: &Plan, outcome: &Outcome) -> BTreeMap<String, String> {
    let mut files = BTreeMap::new();
    for (index, window) in plan.windows.iter().enumerate() {
        let named = window.group.iter().map(|field| &field.name).chain(window.metrics.iter().map(|(name, _)| name));
        let named: Vec<&str> = named.map(String::as_str).collect();
        let mut text = format!("window_start,window_end,{},event_count,revision,closed,epoch\n", named.join(","));
        for ((_, start, group, _), row) in outcome.rows.iter().filter(|((of, ..), _)| *of == index) {
            let moment = |micros| time::format(Micros(micros));
            let group = group.iter().map(group_text);
            let cells: Vec<String> = group.chain(row.values.iter().map(value_text)).collect();
            let facts = format!("{},{},{},{}", row.event_count, row.revision, row.closed, row.epoch);
            writeln!(text, "{},{},{},{facts}", moment(*start), moment(row.end), cells.join(",")).unwrap();
        }
        files.insert(format!("{}.csv", window.name), text);
    }
    let letters = outcome.dead_letters.iter().map(|(offset, letter)| format!("{offset},{}\n", letter.reason.name()));
    let duplicates = outcome.duplicates.iter().map(|offset| format!("{offset},duplicate\n"));
    let filtered = outcome.filtered.iter().map(|offset| format!("{offset},filtered\n"));
    let mut lines: Vec<String> = letters.chain(duplicates).chain(filtered).collect();
    lines.sort_by_key(|line| line.split(',').next().unwrap().parse::<u64>().unwrap());
    files.insert("not_counted.csv".to_owned(), "event,fate\n".to_owned() + &lines.concat());
    files
}

fn group_text(value: &GroupValue) -> String {
    match value {
        GroupValue::Null => "null".to_owned(),
        GroupValue::Bool(value) => value.to_string(),
        GroupValue::Integer(value) => value.to_string(),
        GroupValue::Text(text) => text.to_string(),
    }
}

fn value_text(value: &Value) -> String {
    match value {
        Value::Null => "null".to_owned(),
        Value::Integer(value) => value.to_string(),
        Value::Number(value) => format!("{value:?}"),
        Value::Boolean(value) => value.to_string(),
        Value::Text(text) => text.to_string(),
    }
}

fn check(folder: &Path) {
    let name = folder.file_name().unwrap().to_string_lossy();
    let read = Bundle::read(from_ref(&folder.join("pipeline.yaml"))).and_then(|bundle| bundle.pipelines());
    let Pipelines { plan, schemas, .. } = read.unwrap_or_else(|faults| panic!("{faults}"));
    let entries = log(&fs::read_to_string(folder.join("events.ndjson")).unwrap());
    let outcome = model::live(&plan, &schemas, &entries);
    for (file, text) in shown(&plan, &outcome) {
        let path = folder.join("expected").join(file);
        if std::env::var("CAUDAL_GOLDEN").is_ok_and(|what| what == "write") {
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(&path, &text).unwrap();
        }
        let expected = fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        assert_eq!(text, expected, "{}", path.display());
    }
    let epochs = entries.len() as u64 / 2;
    for workers in WORKERS {
        for crash in (0..epochs).map(|epoch| (epoch > 0).then_some(Epoch(epoch))) {
            let mut rng = ChaCha8Rng::seed_from_u64(workers as u64 * 100 + crash.map_or(0, |epoch| epoch.0));
            let mut store = MemoryStore::new(plan.clone());
            if crash.is_some() {
                live(&plan, LOG, &entries, workers, &mut store, crash, &mut rng);
                assert_eq!(store.tables().progress.map(|progress| progress.epoch), crash);
            }
            // After the crash the job comes back with other workers.
            let again = if crash.is_some() { workers % 3 + 1 } else { workers };
            live(&plan, LOG, &entries, again, &mut store, None, &mut rng);
            println!("{name}: {workers} workers, a crash after {crash:?}");
            compare(&plan, &outcome, &store.tables());
        }
    }
}

#[test]
fn golden_cases() {
    let folders = folders();
    assert!(folders.len() >= 13, "{folders:?}");
    for folder in folders {
        check(&folder);
    }
}
