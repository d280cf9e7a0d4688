//! The writer's thread, over a store in memory that fails as it is told.

use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use caudal::core::units::{Epoch, Generation};
use caudal::store::writer::{Commits, Note, Outcome, commit_once, merge, spawn};
use caudal::store::{Commit, Progress, Store, StoreError};
use uuid::Uuid;

use super::{commit, numbered, plan, row};
use crate::memory_store::MemoryStore;

/// Far longer than anything here takes: a test that waits so long has failed.
const PATIENCE: Duration = Duration::from_mins(1);

#[test]
fn merging_keeps_the_last_state_of_each_row_and_everything_else() {
    let merged = merge((3..=6).map(numbered).collect());
    assert_eq!(merged.after, Some(Epoch(2)));
    assert_eq!(merged.to, commit(None, 6).to);
    let counts: Vec<(u128, u64)> = merged.rows.iter().map(|r| (r.metric_id.as_u128(), r.event_count)).collect();
    assert_eq!(counts, [(1, 6), (1003, 3), (1004, 4), (1005, 5), (1006, 6)]);
    assert_eq!(merged.dead_letters.iter().map(|d| d.offset.0).collect::<Vec<_>>(), [3, 4, 5, 6]);
    assert_eq!(merged.events.iter().map(|e| e.offset.0).collect::<Vec<_>>(), [3, 4, 5, 6]);
    assert_eq!(merge(vec![numbered(1)]).after, None);
}

/// A row that is removed and comes back stands, one that comes and is removed does not.
#[test]
fn merging_keeps_what_became_of_each_row_in_the_end() {
    let id = Uuid::from_u128;
    let removes = |epoch: u64, ids: &[u128], rows: &[u128]| Commit {
        removed: ids.iter().copied().map(id).collect(),
        rows: rows.iter().map(|&id| row(id, 0, "RM")).collect(),
        ..commit(Some(epoch - 1), epoch)
    };
    let merged = merge(vec![removes(2, &[1, 2], &[3, 4]), removes(3, &[3], &[2]), removes(4, &[5], &[])]);
    let mut rows: Vec<Uuid> = merged.rows.iter().map(|row| row.metric_id).collect();
    rows.sort_unstable();
    assert_eq!(rows, [id(2), id(4)]);
    let mut removed = merged.removed;
    removed.sort_unstable();
    assert_eq!(removed, [id(1), id(3), id(5)]);
}

#[test]
#[should_panic(expected = "a commit continues the one before it")]
fn merging_a_gap_is_a_bug() {
    let _ = merge(vec![numbered(1), numbered(3)]);
}

#[test]
fn merged_or_one_by_one_the_tables_are_the_same() {
    let (one_by_one, merged) = (MemoryStore::new(plan()), MemoryStore::new(plan()));
    for epoch in 1..=9 {
        one_by_one.clone().commit(&numbered(epoch)).unwrap();
    }
    merged.clone().commit(&merge((1..=4).map(numbered).collect())).unwrap();
    merged.clone().commit(&merge((5..=9).map(numbered).collect())).unwrap();
    assert_eq!(one_by_one.tables(), merged.tables());
}

#[test]
fn one_try() {
    let away = |outcome: Result<Outcome, StoreError>| matches!(outcome, Ok(Outcome::Away(_)));
    let committed = |outcome: Result<Outcome, StoreError>| matches!(outcome, Ok(Outcome::Committed));
    let memory = MemoryStore::new(plan());
    let mut store = memory.clone();
    let mut attempt = |epoch| commit_once(&mut store, Generation(1), &numbered(epoch));

    memory.away(1);
    assert!(away(attempt(1)));
    assert_eq!(memory.tables().progress, None);
    assert!(committed(attempt(1)));
    memory.lose_answer(true);
    assert!(committed(attempt(2)), "it was done, and the store says so");
    memory.lose_answer(false);
    assert!(away(attempt(3)), "it was not done, and the store says so");
    assert!(committed(attempt(3)));
    // Nobody knows whether it was done, until the store is back.
    memory.lose_answer_then_away(true, 2);
    assert!(away(attempt(4)));
    assert!(away(attempt(4)));
    assert!(committed(attempt(4)));
    assert_eq!(memory.tables().progress, Some(numbered(4).to));

    memory.clone().claim(Generation(2)).unwrap();
    assert!(matches!(attempt(5), Err(StoreError::Fenced { .. })));
    assert!(matches!(attempt(9), Err(StoreError::Fenced { .. })));
    let gap = commit_once(&mut memory.clone(), Generation(2), &numbered(9));
    assert!(matches!(gap, Err(StoreError::Fenced { .. })), "the commit is of generation 1: {gap:?}");
}

struct Thread {
    commits: Commits,
    notes: Receiver<Note>,
    join: std::thread::JoinHandle<()>,
}

fn start(open: impl Fn() -> Result<Box<dyn Store>, StoreError> + Send + 'static) -> Thread {
    let (sender, notes) = channel();
    let (commits, join) = spawn(open, |_| Ok(()), None, Generation(1), move |note| drop(sender.send(note)));
    Thread { commits, notes, join }
}

fn over(memory: &MemoryStore) -> Thread {
    let memory = memory.clone();
    start(move || Ok(Box::new(memory.clone())))
}

impl Thread {
    fn note(&self) -> Note {
        self.notes.recv_timeout(PATIENCE).expect("the writer says something")
    }

    /// The last epoch that it says is committed, once it is this one; and how often it said that the store was away.
    fn committed(&self, to: u64) -> u32 {
        let mut away = 0;
        loop {
            match self.note() {
                Note::Committed(progress, _) if progress.epoch.0 < to => {}
                Note::Committed(progress, _) => {
                    assert_eq!(progress, numbered(to).to);
                    return away;
                }
                Note::Away(_) => away += 1,
                Note::Back => {}
                Note::Failed(error) => panic!("{error}"),
            }
        }
    }

    fn end(self) -> Vec<Note> {
        self.commits.close();
        self.join.join().expect("the writer does not panic");
        self.notes.iter().collect()
    }
}

#[test]
fn everything_is_committed_in_order_and_close_waits_for_it() {
    let memory = MemoryStore::new(plan());
    let thread = over(&memory);
    thread.commits.push(numbered(1));
    assert_eq!(thread.committed(1), 0);
    for epoch in 2..=300 {
        thread.commits.push(numbered(epoch));
    }
    let mut last = 1;
    for note in thread.end() {
        let Note::Committed(progress, _) = note else { panic!("{note:?}") };
        assert!(progress.epoch.0 > last && progress.epoch.0 <= last + 64, "{} after {last}", progress.epoch);
        last = progress.epoch.0;
    }
    assert_eq!(last, 300);
    let expected = MemoryStore::new(plan());
    (1..=300).for_each(|epoch| expected.clone().commit(&numbered(epoch)).unwrap());
    assert_eq!(memory.tables(), expected.tables());
}

#[test]
fn a_store_that_comes_and_goes_gets_everything_once() {
    let (memory, expected) = (MemoryStore::new(plan()), MemoryStore::new(plan()));
    // Away when the thread starts: the job goes on, and is told once.
    memory.away(3);
    let thread = over(&memory);
    assert!(matches!(thread.note(), Note::Away(_)));
    for epoch in 1..=24 {
        match epoch % 4 {
            0 => memory.away(2),
            1 => memory.lose_answer(true),
            2 => memory.lose_answer(false),
            _ => memory.lose_answer_then_away(epoch % 8 == 3, 2),
        }
        thread.commits.push(numbered(epoch));
        expected.clone().commit(&numbered(epoch)).unwrap();
        // Told at most once a commit; not at all where the answer that was lost is found at once.
        let told = thread.committed(epoch);
        assert_eq!(told, u32::from(epoch % 4 != 1), "epoch {epoch}");
    }
    assert!(thread.end().is_empty());
    assert_eq!(memory.tables(), expected.tables());
}

#[test]
fn what_cannot_be_mended_ends_the_thread() {
    let memory = MemoryStore::new(plan());
    let thread = over(&memory);
    thread.commits.push(numbered(1));
    thread.committed(1);
    memory.clone().claim(Generation(2)).unwrap();
    thread.commits.push(numbered(2));
    let note = thread.note();
    assert!(matches!(note, Note::Failed(StoreError::Fenced { .. })), "{note:?}");
    assert!(thread.end().is_empty());

    let thread = over(&memory);
    let note = thread.note();
    assert!(matches!(note, Note::Failed(StoreError::Fenced { .. })), "fenced before it writes: {note:?}");

    let memory = MemoryStore::new(plan());
    let thread = over(&memory);
    thread.commits.push(numbered(5));
    let note = thread.note();
    assert!(matches!(note, Note::Failed(StoreError::Mismatch(_))), "{note:?}");

    let thread = start(|| Err(StoreError::Broken("no".to_owned())));
    let note = thread.note();
    assert!(matches!(note, Note::Failed(StoreError::Broken(_))), "{note:?}");
}

#[test]
fn closing_does_not_wait_for_ever_for_a_store_that_is_away() {
    let away = || -> Result<Box<dyn Store>, StoreError> { Err(StoreError::Unavailable("nobody there".to_owned())) };
    // Nothing to write: nothing is lost.
    let notes = start(away).end();
    assert!(matches!(notes[..], [Note::Away(_)] | []), "{notes:?}");

    let thread = start(away);
    thread.commits.push(numbered(1));
    let notes = thread.end();
    assert!(matches!(notes.last(), Some(Note::Failed(StoreError::Unavailable(_)))), "{notes:?}");
}

#[test]
fn what_the_store_has_already_is_passed_over_once_it_is_met() {
    let memory = MemoryStore::new(plan());
    (1..=5).for_each(|epoch| memory.clone().commit(&numbered(epoch)).unwrap());
    // Away at the start: the life began at epoch 2, and computes on.
    memory.away(2);
    let thread = over(&memory);
    (3..=8).for_each(|epoch| thread.commits.push(numbered(epoch)));
    assert!(matches!(thread.note(), Note::Away(_)));
    assert!(matches!(thread.note(), Note::Back));
    let Note::Committed(passed, _) = thread.note() else { panic!("nothing is passed over") };
    assert_eq!(passed, numbered(5).to);
    assert_eq!(thread.committed(8), 0);
    assert!(thread.end().is_empty());
    let expected = MemoryStore::new(plan());
    (1..=8).for_each(|epoch| expected.clone().commit(&numbered(epoch)).unwrap());
    assert_eq!(memory.tables(), expected.tables());
}

#[test]
fn a_store_that_does_not_fit_is_written_nothing() {
    let memory = MemoryStore::new(plan());
    memory.clone().commit(&numbered(1)).unwrap();
    let before = memory.tables();
    let (sender, notes) = channel();
    let opened = memory.clone();
    let fits = |stored: Option<&Progress>| Err(StoreError::Mismatch(format!("epoch {}", stored.unwrap().epoch)));
    let note = move |note| drop(sender.send(note));
    let (commits, join) = spawn(move || Ok(Box::new(opened.clone())), fits, None, Generation(9), note);
    commits.push(numbered(2));
    join.join().unwrap();
    let notes: Vec<Note> = notes.iter().collect();
    assert!(matches!(&notes[..], [Note::Failed(StoreError::Mismatch(why))] if why == "epoch 1"), "{notes:?}");
    assert_eq!(memory.tables(), before, "its generation is not raised either");
}
