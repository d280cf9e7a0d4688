//! The audit's files: each line once and whole, wherever a life ends, and what is refused.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::mpsc::channel;
use std::time::Duration;

use caudal::core::plan::Plan;
use caudal::core::row::{Value as Metric, WindowRow};
use caudal::core::units::{Epoch, Generation, LogId};
use caudal::store::jsonl::{Asked, Copies, Known};
use caudal::store::writer::{Note, spawn};
use caudal::store::{Commit, StoreError};
use serde_json::{Value, json};
use tempfile::TempDir;
use uuid::Uuid;

use super::{LOG, commit, event, row, text};
use crate::memory_store::MemoryStore;
use crate::support::traffic::civic_safety;

const FILE: &str = "own/civic.jsonl";
/// No file gets there.
const LARGE: u64 = 1 << 40;

/// The epochs of a log; every third one has nothing.
fn epoch(number: u64) -> Commit {
    let mut empty = commit((number > 1).then(|| number - 1), number);
    if number.is_multiple_of(3) {
        return empty;
    }
    let row = |id: u128, hour: i64| WindowRow {
        group: vec![text("security.incident"), text("RM")],
        values: vec![Metric::Integer(i128::from(number)), Metric::Number(0.5)],
        epoch: Epoch(number),
        ..row(id, hour, "RM")
    };
    // Ranks finish in any order.
    empty.rows = vec![row(9, 1), row(7, 0), row(8, 0)];
    empty.events =
        vec![event(number * 10, &format!("id \"{number}\""), &[8, 7]), event(number * 10 + 1, "plain", &[9])];
    empty.removed = vec![Uuid::from_u128(6), Uuid::from_u128(5)];
    empty
}

fn epochs(from: u64, to: u64) -> Vec<Commit> {
    (from..=to).map(epoch).collect()
}

struct Place {
    directory: TempDir,
    plan: Arc<Plan>,
}

impl Place {
    fn new() -> Self {
        Self { directory: TempDir::new().unwrap(), plan: civic_safety().plan }
    }

    fn path(&self) -> PathBuf {
        self.directory.path().join(FILE)
    }

    fn open(&self, bytes_max: u64, stored: u64, last: u64) -> Result<Copies, StoreError> {
        open(self.directory.path(), &self.plan, bytes_max, stored, last)
    }

    /// All that was ever written, in order.
    fn all(&self) -> Vec<u8> {
        let mut files: Vec<PathBuf> =
            fs::read_dir(self.path().parent().unwrap()).unwrap().map(|entry| entry.unwrap().path()).collect();
        files.sort_by_key(|path| (*path == self.path(), path.clone()));
        files.iter().flat_map(|path| fs::read(path).unwrap()).collect()
    }
}

fn open(directory: &Path, plan: &Arc<Plan>, bytes_max: u64, stored: u64, last: u64) -> Result<Copies, StoreError> {
    let asked = [Asked { pipeline: "civic_safety".to_owned(), file: FILE.into(), begins: false }];
    let known = Known { progress: commit(None, stored).to, last: Epoch(last) };
    Copies::open(directory, &asked, plan.clone(), bytes_max, known)
}

/// What a life without any trouble writes.
fn whole(to: u64) -> Vec<u8> {
    let place = Place::new();
    place.open(LARGE, 0, to).unwrap().write(&epochs(1, to)).unwrap();
    place.all()
}

#[test]
fn a_line_says_what_the_tables_say() {
    let lines: Vec<Value> =
        String::from_utf8(whole(3)).unwrap().lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let kinds: Vec<&str> = lines.iter().map(|line| line["kind"].as_str().unwrap()).collect();
    let of_epoch = ["event", "event", "metric", "metric", "metric", "removed", "removed", "epoch"];
    assert_eq!(
        kinds,
        [&of_epoch[..], &of_epoch, &["epoch"]].concat(),
        "an epoch in which nothing was has its end only"
    );
    let id = |id: u128| Uuid::from_u128(id).to_string();
    assert_eq!(
        lines[0],
        json!({"kind": "event", "epoch": 1, "log_offset": 10, "topic": "security.incident", "event_id": "id \"1\"",
            "event_time": "2025-11-24T16:00:00.123456Z", "received_at": "2025-11-24T16:00:00.789Z", "metrics": [id(7), id(8)],
            "body": {"event_id": "x", "region": "RM"}})
    );
    assert_eq!(
        lines[2],
        json!({"kind": "metric", "epoch": 1, "metric_id": id(7), "pipeline": "civic_safety", "window_name": "by_region",
            "window_start": "1970-01-01T00:00:00Z", "window_end": "1970-01-01T01:00:00Z",
            "group_key": {"source": "security.incident", "region": "RM"}, "metrics": {"n": 1, "mean_age": 0.5}, "event_count": 3,
            "revision": 0, "closed": true})
    );
    assert_eq!(lines[3]["metric_id"], id(8), "by window, start and id, whoever finished first");
    assert_eq!(lines[5], json!({"kind": "removed", "epoch": 1, "metric_id": id(5)}));
    assert_eq!(
        (&lines[7]["epoch"], &lines[7]["lines"], &lines[7]["log"]),
        (&json!(1), &json!(7), &json!(LOG.to_string()))
    );
}

/// A life ends after any byte; the next one begins where the store stands, and the file is what it would have been.
#[test]
fn wherever_a_life_ends_each_line_is_there_once() {
    let (whole, place) = (whole(5), Place::new());
    fs::create_dir_all(place.path().parent().unwrap()).unwrap();
    for end in 0..=whole.len() {
        fs::write(place.path(), &whole[..end]).unwrap();
        let mut copies = place.open(LARGE, 0, 5).unwrap();
        for commit in epochs(1, 5) {
            copies.write(&[commit]).unwrap();
        }
        assert_eq!(place.all(), whole, "ended after byte {end}");
    }
    // What the page cache never wrote reads as zeros, with whole lines behind them.
    for at in (0..whole.len()).step_by(7) {
        let mut torn = whole.clone();
        torn[at] = 0;
        fs::write(place.path(), torn).unwrap();
        place.open(LARGE, 0, 5).unwrap().write(&epochs(1, 5)).unwrap();
        assert_eq!(place.all(), whole, "a zero at byte {at}");
    }
}

#[test]
fn it_does_not_matter_how_many_epochs_are_written_at_once_nor_how_often() {
    let (whole, place) = (whole(8), Place::new());
    let mut copies = place.open(LARGE, 0, 8).unwrap();
    copies.write(&epochs(1, 4)).unwrap();
    copies.write(&epochs(1, 2)).unwrap();
    copies.write(&epochs(3, 6)).unwrap();
    drop(copies);
    place.open(LARGE, 4, 8).unwrap().write(&epochs(5, 8)).unwrap();
    assert_eq!(place.all(), whole);
}

#[test]
fn full_files_are_kept_under_the_name_of_their_last_epoch() {
    let whole = whole(8);
    for life in 1..=8 {
        let place = Place::new();
        for begin in (1..=8).step_by(life) {
            let mut copies = place.open(1_500, begin - 1, 8).unwrap();
            // Begins with what the store has perhaps not taken.
            copies.write(&epochs(begin.saturating_sub(2).max(1), (begin + life as u64 - 1).min(8))).unwrap();
        }
        assert_eq!(place.all(), whole, "lives of {life} epochs");
        let names: Vec<String> = fs::read_dir(place.path().parent().unwrap())
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        assert!(names.len() > 2 || life == 8, "{names:?}");
        assert!(names.iter().all(|name| name == "civic.jsonl" || name.len() == "civic..jsonl".len() + 20), "{names:?}");
    }
    // A death between the two steps of beginning a new file: the full one tells where it stands.
    let place = Place::new();
    place.open(1, 0, 8).unwrap().write(&epochs(1, 5)).unwrap();
    fs::remove_file(place.path()).unwrap();
    place.open(LARGE, 5, 8).unwrap().write(&epochs(1, 8)).unwrap();
    assert_eq!(place.all(), whole);
}

#[test]
fn a_file_that_does_not_belong_to_the_log_is_refused() {
    let check = |place: &Place, stored: u64, last: u64, says: &str| match place.open(LARGE, stored, last) {
        Err(StoreError::Broken(why)) => {
            assert!(why.contains(says) && why.contains(FILE), "{why:?} does not say {says:?}");
        }
        other => panic!("{:?}", other.map(|_| ())),
    };
    let place = Place::new();
    place.open(LARGE, 0, 8).unwrap().write(&epochs(1, 5)).unwrap();
    check(&place, 3, 4, "the log only to 4");
    // Damage behind which nothing can be written again: the store has it, so it is not computed any more.
    let mut bytes = place.all();
    bytes[100] ^= 1;
    fs::write(place.path(), &bytes[..bytes.len() - 1]).unwrap();
    fs::write(place.path(), [&whole(1)[..], &bytes].concat()).unwrap();
    check(&place, 5, 5, "it was damaged");
    let other = Place::new();
    let asked = [Asked { pipeline: "civic_safety".to_owned(), file: FILE.into(), begins: false }];
    let mut progress = commit(None, 1).to;
    progress.log = LogId(7);
    let known = Known { progress, last: Epoch(5) };
    let mut copies = Copies::open(other.directory.path(), &asked, other.plan.clone(), LARGE, known).unwrap();
    copies.write(&epochs(1, 2)).unwrap();
    drop(copies);
    check(&other, 1, 5, "a copy of log");
}

/// A start may bring the pipeline, or take it away, while epochs of other plans are still to be written.
#[test]
fn epochs_without_the_pipeline_are_told_and_empty() {
    let place = Place::new();
    let asked = [Asked { pipeline: "of_later".to_owned(), file: FILE.into(), begins: false }];
    let known = Known { progress: commit(None, 0).to, last: Epoch(5) };
    let mut copies = Copies::open(place.directory.path(), &asked, place.plan.clone(), LARGE, known).unwrap();
    copies.write(&epochs(1, 4)).unwrap();
    let text = String::from_utf8(place.all()).unwrap();
    let lines: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(lines.iter().map(|line| line["epoch"].as_u64().unwrap()).collect::<Vec<_>>(), [1, 2, 3, 4]);
    assert!(lines.iter().all(|line| line["kind"] == "epoch" && line["lines"] == 0), "{text}");
}

/// On a disk of 64 KiB, in a namespace of its own: what finds no room is refused as a whole, and taken when there is some.
#[test]
fn a_full_disk_loses_nothing() {
    let directory = TempDir::new().unwrap();
    let this = std::env::current_exe().unwrap();
    let script = "mount -t tmpfs -o size=64k tmpfs \"$0\" && CAUDAL_TEST_SMALL_DISK=\"$0\" exec \"$1\" \
                  store::jsonl::on_a_small_disk --exact --ignored --nocapture";
    let done = Command::new("unshare")
        .args(["-Urm", "sh", "-c", script])
        .args([directory.path(), &this])
        .output()
        .expect("unshare is there");
    let said = String::from_utf8_lossy(&done.stdout);
    assert!(done.status.success() && said.contains("1 passed"), "{said}{}", String::from_utf8_lossy(&done.stderr));
}

#[test]
#[ignore = "a_full_disk_loses_nothing runs it"]
fn on_a_small_disk() {
    let directory = PathBuf::from(std::env::var_os("CAUDAL_TEST_SMALL_DISK").unwrap());
    let place = Place::new();
    let filler = directory.join("filler");
    fs::write(&filler, vec![1; 48 << 10]).unwrap();
    let mut copies = open(&directory, &place.plan, LARGE, 0, 99).unwrap();
    let written = |to: u64| assert_eq!(fs::read(directory.join(FILE)).unwrap(), whole(to), "up to epoch {to}");
    copies.write(&epochs(1, 2)).unwrap();
    let full = copies.write(&epochs(3, 40));
    let Err(StoreError::Unavailable(why)) = full else { panic!("{full:?}") };
    assert!(why.contains(FILE) && why.contains("No space left"), "{why}");
    written(2);
    assert!(copies.write(&epochs(3, 40)).is_err(), "there is still no room");
    fs::remove_file(filler).unwrap();
    copies.write(&epochs(3, 40)).unwrap();
    written(40);
    fs::remove_file(directory.join(FILE)).unwrap();
    drop(copies);
    the_writer_waits_for_room(&directory, &place.plan);
}

/// The writer's thread commits nothing whose lines found no room, says why, and goes on when there is some.
fn the_writer_waits_for_room(directory: &Path, plan: &Arc<Plan>) {
    let filler = directory.join("filler");
    fs::write(&filler, vec![1; 60 << 10]).unwrap();
    let memory = MemoryStore::new(plan.clone());
    let (sender, notes) = channel();
    let store = memory.clone();
    let copies = open(directory, plan, LARGE, 0, 99).unwrap();
    let (commits, thread) = spawn(
        move || Ok(Box::new(store.clone())),
        |_| Ok(()),
        Some(copies),
        Generation(1),
        move |note| drop(sender.send(note)),
    );
    for commit in epochs(1, 20) {
        commits.push(commit);
    }
    let note = || notes.recv_timeout(Duration::from_mins(1)).expect("the writer says something");
    let why = loop {
        match note() {
            Note::Away(why) => break why,
            Note::Committed(to, _) => assert!(to.epoch < Epoch(20), "all of it was committed"),
            other => panic!("{other:?}"),
        }
    };
    assert!(why.contains(FILE) && why.contains("No space left"), "{why}");
    assert!(memory.tables().progress.is_none_or(|progress| progress.epoch < Epoch(20)));
    fs::remove_file(filler).unwrap();
    while !matches!(note(), Note::Committed(to, _) if to.epoch == Epoch(20)) {}
    commits.close();
    thread.join().unwrap();
    assert_eq!(fs::read(directory.join(FILE)).unwrap(), whole(20));
}

/// A start took it away, the store went on, and another start gives it back: what was written stays, and a new file begins.
#[test]
fn one_that_is_asked_for_again_begins_a_new_file() {
    let place = Place::new();
    place.open(LARGE, 0, 4).unwrap().write(&epochs(1, 4)).unwrap();
    let before = place.all();
    let again = |stored: u64, last: u64, begins: bool| {
        let asked = [Asked { pipeline: "civic_safety".to_owned(), file: FILE.into(), begins }];
        let known = Known { progress: commit(None, stored).to, last: Epoch(last) };
        Copies::open(place.directory.path(), &asked, place.plan.clone(), LARGE, known)
    };
    let damaged = again(9, 12, false).err();
    assert!(matches!(&damaged, Some(StoreError::Broken(why)) if why.contains("damaged")), "{damaged:?}");
    // It dies before the log says so, as often as may be; afterwards the file is one like others.
    for begins in [true, true, false] {
        drop(again(9, 12, begins).unwrap());
        assert_eq!(place.all(), before);
    }
    again(9, 12, false).unwrap().write(&epochs(10, 12)).unwrap();
    let full = place.path().with_file_name("civic.00000000000000000004.jsonl");
    assert_eq!(fs::read(&full).unwrap(), before);
    let new = fs::read(place.path()).unwrap();
    assert_eq!([whole(9), new].concat(), whole(12), "what the store had is not in it");
    // One that still has what the store lacks goes on.
    again(12, 12, true).unwrap().write(&epochs(12, 14)).unwrap();
    again(11, 14, true).unwrap();
    assert_eq!(fs::read_dir(full.parent().unwrap()).unwrap().count(), 2);
}
