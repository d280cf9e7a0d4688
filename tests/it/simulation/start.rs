//! What a life begins with, as tables of cases: store, log and checkpoints that belong together, and those that do not.

use std::sync::Arc;

use caudal::coordinator::checkpoint::{Checkpoints, least_progress};
use caudal::coordinator::gather::Draft;
use caudal::coordinator::start::{StartError, meets, prepare};
use caudal::core::epoch::Cut;
use caudal::core::keygroup::{Owners, SHARES, Share};
use caudal::core::ledger::Counts;
use caudal::core::mend::Mends;
use caudal::core::units::{Epoch, Generation, LogId, Millis, Offset};
use caudal::log::disk::Disk;
use caudal::log::{Recovered, Start as LogStart};
use caudal::store::Progress;
use caudal::wire::{Kind, Message, Restore, Section};

use crate::sim_disk::SimDisk;

const LOG: LogId = LogId(1);

fn cut(epoch: u64, end: u64) -> Cut {
    Cut {
        epoch: Epoch(epoch),
        end: Offset(end),
        ingest: Millis(0),
        up: Millis(epoch * 10),
        idle: None,
        emitted: Epoch(0),
    }
}

fn progress(log: LogId, epoch: u64, end: u64) -> Progress {
    let counts = Counts { counted: end, ..Counts::default() };
    Progress { log, generation: Generation(4), epoch: Epoch(epoch), end: Offset(end), counts }
}

fn recovered(begin: u64, end: u64, cuts: Vec<Cut>) -> Recovered {
    Recovered {
        id: LOG,
        start: Some(LogStart { generation: Generation(6), bundle: String::new() }),
        first_bundle: None,
        changes: Vec::new(),
        begin: Offset(begin),
        end: Offset(end),
        cuts,
        emits: Vec::new(),
        mends: Mends::default(),
        keys: Vec::new(),
        ingest: Millis(77),
        truncated_bytes: 0,
    }
}

/// As long as an id.
fn ids(epoch: u64) -> String {
    format!("ids of {epoch:15}")
}

/// A checkpoint of one worker after the epoch.
fn draft(cut: Cut) -> Draft {
    let mut draft = Draft::new(cut, Share(0), 1, "a pipeline".into());
    let section = |kind, bytes: &str| Section { kind, key_group: 3, bytes: bytes.as_bytes().to_vec() };
    draft.counts = Some(Counts { counted: cut.end.0, ..Counts::default() });
    draft.take(
        b"common".to_vec(),
        vec![
            section(Kind::Panes, "panes"),
            section(Kind::Views, "views"),
            section(Kind::Alerts, "alerts"),
            section(Kind::Joins, "joins"),
            section(Kind::Ids, &ids(cut.epoch.0)),
        ],
        true,
    );
    draft
}

fn sharing(share: Share, mut draft: Draft) -> Draft {
    draft.share = share;
    draft
}

#[test]
fn what_does_not_belong_together_is_refused() {
    let cuts = || vec![cut(1, 10), cut(2, 10), cut(3, 25)];
    let check = |progress: Option<Progress>, recovered: Recovered, expected: Option<StartError>| {
        let prepared = prepare(SimDisk::new(0), progress).unwrap();
        let found = prepared.begin(&recovered).err();
        assert_eq!(found, expected, "{progress:?} {recovered:?}");
    };
    check(None, recovered(0, 0, vec![]), None);
    check(None, recovered(0, 30, cuts()), None);
    check(Some(progress(LOG, 3, 25)), recovered(0, 30, cuts()), None);
    check(Some(progress(LOG, 2, 10)), recovered(0, 30, cuts()), None);
    let other = LogId(2);
    check(
        Some(progress(other, 1, 10)),
        recovered(0, 30, cuts()),
        Some(StartError::OtherLog { store: other, log: LOG }),
    );
    let ahead = |stored: u64, epoch: u64| {
        Some(StartError::Ahead { stored: Offset(stored), epoch: Epoch(epoch), end: Offset(30), last: Epoch(3) })
    };
    check(Some(progress(LOG, 3, 31)), recovered(0, 30, cuts()), ahead(31, 3));
    check(Some(progress(LOG, 4, 30)), recovered(0, 30, cuts()), ahead(30, 4));
    let different = StartError::Different { epoch: Epoch(1), stored: Offset(9), logged: Offset(10) };
    check(Some(progress(LOG, 1, 9)), recovered(0, 30, cuts()), Some(different));
    let gone = |begin: u64| StartError::Gone { needed: Offset(0), epoch: Epoch(1), begin: Offset(begin) };
    check(None, recovered(10, 30, cuts()), Some(gone(10)));
    check(Some(progress(LOG, 3, 25)), recovered(10, 30, cuts()), Some(gone(10)));
    check(Some(progress(LOG, 3, 25)), recovered(0, 30, cuts()[1..].to_vec()), Some(gone(0)));
}

#[test]
fn a_life_follows_on_its_checkpoint() {
    let disk = SimDisk::new(0);
    let mut checkpoints = Checkpoints::new(disk.clone(), LOG);
    checkpoints.write(draft(cut(2, 10))).unwrap();
    let prepared = prepare(disk, Some(progress(LOG, 3, 25))).unwrap();
    // The cuts after epoch 2 may share a segment with its last event.
    assert_eq!(prepared.verify_from(), Offset(9));
    let cuts = vec![cut(1, 10), cut(2, 10), cut(3, 25), cut(4, 30)];
    let start = prepared.begin(&recovered(5, 33, cuts)).unwrap();
    assert_eq!((start.generation, start.up, start.read_from), (Generation(7), Millis(40), Offset(10)));
    let beginning = start.beginning;
    assert_eq!(beginning.checkpoint, (Epoch(2), Offset(10)));
    assert_eq!(Vec::from(beginning.cuts), [cut(3, 25), cut(4, 30)]);
    assert_eq!(beginning.progress, Progress { generation: Generation(7), ..progress(LOG, 3, 25) });
    assert!(beginning.stored);
    // What all share goes to each, a key group's state to its owner.
    let to: Vec<usize> = start.checkpoint.unwrap().restores(Owners::new(3)).map(|restore| restore.unwrap().0).collect();
    assert_eq!(to, [0, 1, 2, 0, 0, 0, 0, 0]);
}

/// A life that began on a checkpoint's word, of epoch 2, meets its store.
#[test]
fn a_store_that_is_met_late_has_at_least_what_was_known_of_it() {
    let disk = SimDisk::new(0);
    let mut checkpoints = Checkpoints::new(disk.clone(), LOG);
    checkpoints.write(draft(cut(2, 10))).unwrap();
    let disk: Arc<dyn Disk> = disk;
    let known = least_progress(&disk).unwrap().unwrap();
    assert_eq!(known, Progress { generation: Generation(0), ..progress(LOG, 2, 10) });
    let log = recovered(5, 33, vec![cut(2, 10), cut(3, 25), cut(4, 30)]);
    let began = prepare(disk, Some(known)).unwrap().begin(&log).unwrap().beginning;
    let check = |stored: Option<Progress>, expected: Option<StartError>| {
        assert_eq!(meets(&log, &began, stored.as_ref()).err(), expected, "{stored:?}");
    };
    let behind = |epoch: u64| Some(StartError::Behind { epoch: Epoch(epoch), least: Epoch(2) });
    check(None, behind(0));
    check(Some(progress(LOG, 1, 5)), behind(1));
    check(Some(progress(LOG, 2, 10)), None);
    check(Some(progress(LOG, 4, 30)), None);
    let ahead = StartError::Ahead { stored: Offset(40), epoch: Epoch(5), end: Offset(33), last: Epoch(4) };
    check(Some(progress(LOG, 5, 40)), Some(ahead));
    check(Some(progress(LogId(2), 3, 25)), Some(StartError::OtherLog { store: LogId(2), log: LOG }));

    // Where nothing was known, an empty store is as good as one with results.
    let log = recovered(0, 33, vec![cut(1, 10)]);
    let began = prepare(SimDisk::new(0), None).unwrap().begin(&log).unwrap().beginning;
    for stored in [None, Some(progress(LOG, 1, 10))] {
        assert_eq!(meets(&log, &began, stored.as_ref()).err(), None, "{stored:?}");
    }
}

/// The epoch of the checkpoint that a start takes up.
fn loaded(disk: &Arc<SimDisk>, newest: u64) -> Option<u64> {
    let mut checkpoints = Checkpoints::new(disk.clone(), LOG);
    checkpoints.load(Epoch(newest)).unwrap().map(|c| c.at().0.0)
}

fn names(disk: &SimDisk) -> Vec<String> {
    let short = |name: String| name.replace("00000000000000", "");
    disk.files().into_keys().map(short).collect()
}

#[test]
fn two_checkpoints_are_kept_and_what_they_name() {
    let disk = SimDisk::new(0);
    let mut checkpoints = Checkpoints::new(disk.clone(), LOG);
    assert_eq!(loaded(&disk, 100), None);
    for (epoch, needed) in [(2, 0), (4, 19), (6, 39)] {
        checkpoints.write(draft(cut(epoch, epoch * 10))).unwrap();
        assert_eq!(checkpoints.needed_from(Offset(1000)), Offset(needed));
    }
    assert_eq!(checkpoints.needed_from(Offset(30)), Offset(29), "what the store has not committed is needed too");
    let ids = ["ids-000002", "ids-000004", "ids-000006"];
    assert_eq!(names(&disk), [&["checkpoint-000004", "checkpoint-000006"][..], &ids].concat());
    for (newest, expected) in [(100, Some(6)), (6, Some(6)), (5, Some(4)), (3, None)] {
        assert_eq!(loaded(&disk, newest), expected, "not after {newest}");
    }
    // A file goes when each share has been brought whole since, and no checkpoint that is kept names it.
    for epoch in 7..7 + SHARES as u64 {
        let share = checkpoints.next_share();
        checkpoints.write(sharing(share, draft(cut(epoch, epoch * 10)))).unwrap();
    }
    let kept = names(&disk);
    assert_eq!(&kept[..3], ["checkpoint-000069", "checkpoint-000070", "ids-000006"], "share 0 was brought whole then");
    assert_eq!(kept.len(), 2 + SHARES + 1, "{kept:?}");
}

#[test]
fn an_older_checkpoint_is_taken_where_the_newest_is_damaged() {
    let disk = SimDisk::new(0);
    let mut checkpoints = Checkpoints::new(disk.clone(), LOG);
    for epoch in [2, 4] {
        checkpoints.write(draft(cut(epoch, epoch * 10))).unwrap();
    }
    let whole = disk.files();
    for name in whole.keys().filter(|n| n.ends_with('4')) {
        for at in 0..whole[name].len() {
            let mut files = whole.clone();
            files.get_mut(name).unwrap()[at] ^= 1;
            assert_eq!(loaded(&SimDisk::with_files(0, files), 100), Some(2), "byte {at} of {name} is flipped");
        }
        let mut files = whole.clone();
        files.remove(name);
        assert_eq!(loaded(&SimDisk::with_files(0, files), 100), Some(2), "{name} is missing");
    }
    assert_eq!(Checkpoints::new(disk, LogId(2)).load(Epoch(100)).unwrap().map(|c| c.at()), None, "another log's");
}

fn ids_in(message: Message) -> Option<Vec<u8>> {
    let Message::Restore(Restore::Section(section)) = message else { return None };
    (section.kind == Kind::Ids).then_some(section.bytes)
}

#[test]
fn after_a_failed_write_the_next_checkpoint_has_its_ids_too() {
    // Two files of a checkpoint, a sync of the file and of the directory each.
    for fails_at in 0..4 {
        let disk = SimDisk::new(0);
        let mut checkpoints = Checkpoints::new(disk.clone(), LOG);
        checkpoints.write(draft(cut(2, 20))).unwrap();
        disk.fail_sync_after(fails_at);
        assert!(checkpoints.write(sharing(Share(1), draft(cut(4, 40)))).is_err());
        assert_eq!(loaded(&disk, 3), Some(2), "what was there is there");
        checkpoints.write(sharing(Share(1), draft(cut(6, 60)))).unwrap();
        let mut again = Checkpoints::new(disk.clone(), LOG);
        let restores = again.load(Epoch(100)).unwrap().unwrap().restores(Owners::new(1));
        let found: Vec<Vec<u8>> = restores.filter_map(|restore| ids_in(restore.unwrap().1)).collect();
        assert_eq!(found, [2, 4, 6].map(|epoch| ids(epoch).into_bytes()), "the write failed at sync {fails_at}");
    }
}
