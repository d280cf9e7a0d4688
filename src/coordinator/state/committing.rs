//! Results of finished epochs, until the store has them: handed to its writer in order, each when its cut and what it emits are on disk. Their bound is how
//! far the job may run ahead of the store.

use std::collections::VecDeque;

use crate::coordinator::state::emitting::Emitting;
use crate::core::epoch::Cut;
use crate::core::ledger::Counts;
use crate::core::units::Epoch;
use crate::store::{Commit, Progress};

/// Epochs whose results may await their commit; beyond it nothing more is dispatched.
const RESULTS_MAX: usize = 64;
/// Bytes of results that may await their commit.
const RESULTS_BYTES_MAX: usize = 64 << 20;

/// The commits under way.
#[derive(Debug)]
pub(super) struct Committing {
    /// Cuts up to this epoch are on disk.
    durable: Epoch,
    /// What the store has when it has all that is finished.
    progress: Progress,
    /// Whether it has any progress row then.
    stored: bool,
    /// Finished, waiting for their cut to be durable, and what they emit; with their bytes.
    finished: VecDeque<(Commit, usize)>,
    /// With the store's writer: epoch, bytes.
    handed_over: VecDeque<(Epoch, usize)>,
    waiting_bytes: usize,
    committed: Progress,
}

impl Committing {
    /// Of a store that has this, `stored` saying whether it has any progress row, and a log with the cuts up to `durable`.
    pub(super) fn new(progress: Progress, stored: bool, durable: Epoch) -> Self {
        let (finished, handed_over) = (VecDeque::new(), VecDeque::new());
        Self { durable, progress, stored, finished, handed_over, waiting_bytes: 0, committed: progress }
    }

    /// An epoch has come to its results: from which epoch, and to what, their commit moves the store. None if the store has them: a replay computes them again.
    pub(super) fn advance(&mut self, cut: Cut, counts: Counts) -> Option<(Option<Epoch>, Progress)> {
        if cut.epoch <= self.progress.epoch {
            return None;
        }
        self.progress.epoch = cut.epoch;
        self.progress.end = cut.end;
        self.progress.counts += counts;
        let after = self.stored.then_some(Epoch(cut.epoch.0 - 1));
        self.stored = true;
        Some((after, self.progress))
    }

    /// The results of the epoch that was advanced to.
    pub(super) fn finished(&mut self, commit: Commit, bytes: usize) {
        self.waiting_bytes += bytes;
        self.finished.push_back((commit, bytes));
    }

    /// The cuts up to this epoch are on disk.
    pub(super) fn durable(&mut self, cut: Epoch) {
        self.durable = self.durable.max(cut);
    }

    /// The next results whose cut is on disk, and what they emit; from then on they are with the store's writer.
    pub(super) fn pop_durable(&mut self, emitting: &Emitting) -> Option<Commit> {
        let is_on_disk = |epoch| epoch <= self.durable && emitting.is_on_disk(epoch);
        let (commit, bytes) = self.finished.pop_front_if(|(commit, _)| is_on_disk(commit.to.epoch))?;
        self.handed_over.push_back((commit.to.epoch, bytes));
        Some(commit)
    }

    /// The store has committed everything up to here.
    pub(super) fn committed(&mut self, to: Progress) {
        while let Some((_, bytes)) = self.handed_over.pop_front_if(|(epoch, _)| *epoch <= to.epoch) {
            self.waiting_bytes -= bytes;
        }
        self.committed = to;
    }

    pub(super) fn committed_to(&self) -> Progress {
        self.committed
    }

    /// What the store has when it has all that is finished.
    pub(super) fn finished_to(&self) -> Progress {
        self.progress
    }

    /// Epochs whose results the store does not have yet.
    pub(super) fn len(&self) -> usize {
        self.finished.len() + self.handed_over.len()
    }

    /// Whether the results of one more epoch may be kept.
    pub(super) fn has_room(&self) -> bool {
        self.len() < RESULTS_MAX && self.waiting_bytes < RESULTS_BYTES_MAX
    }
}

#[cfg(test)]
mod tests {
    use std::ops::RangeInclusive;

    use super::*;
    use crate::coordinator::state::tests::{at, beginning, report, state};
    use crate::coordinator::state::{Beginning, State};
    use crate::core::units::{Millis, Offset};
    use crate::wire::Facts;

    fn cut(epoch: u64) -> Cut {
        let (epoch, end, emitted) = (Epoch(epoch), Offset(0), Epoch(0));
        Cut { epoch, end, ingest: Millis(0), up: Millis(0), idle: None, emitted }
    }

    #[test]
    fn results_go_out_when_they_are_on_disk_and_make_room_when_they_are_stored() {
        let emitting = Emitting::new(Epoch(0), Epoch(0), Vec::new());
        let mut committing = Committing::new(beginning().progress, false, Epoch(0));
        let finish = |committing: &mut Committing, epoch: u64, bytes: usize| {
            let (after, to) = committing.advance(cut(epoch), Counts::default()).expect("it is new");
            committing.finished(Commit::new(after, to), bytes);
            after
        };
        let pop = |committing: &mut Committing| committing.pop_durable(&emitting).map(|commit| commit.to);
        assert_eq!(finish(&mut committing, 1, RESULTS_BYTES_MAX - 1), None, "the store is empty");
        assert!(committing.has_room());
        assert_eq!(finish(&mut committing, 2, 1), Some(Epoch(1)));
        assert!(!committing.has_room(), "so many bytes may wait");
        assert_eq!(pop(&mut committing), None, "no cut is on disk");
        committing.durable(Epoch(1));
        let first = pop(&mut committing).expect("a commit");
        assert_eq!((first.epoch, pop(&mut committing)), (Epoch(1), None));
        assert!(!committing.has_room(), "it is not stored yet");
        committing.committed(first);
        assert_eq!((committing.has_room(), committing.len(), committing.committed_to()), (true, 1, first));
        committing.durable(Epoch(2));
        assert_eq!(pop(&mut committing).map(|to| to.epoch), Some(Epoch(2)));
        assert_eq!(committing.advance(cut(2), Counts::default()), None, "a replay of it has nothing to store");
    }

    /// A replay without the store stops at the results that may wait; events are taken then, and it goes on when the store does.
    #[test]
    fn a_replay_that_waits_for_the_store_stops_no_event() {
        let last = RESULTS_MAX as u64 + 10;
        let beginning = Beginning { stored: true, cuts: (1..=last).map(cut).collect(), ..beginning() };
        let begin = beginning.progress;
        let mut state = state(beginning);
        let follow = |state: &mut State, epochs: RangeInclusive<u64>| {
            for epoch in epochs {
                assert!(!state.may_serve(), "epoch {epoch} is still to be followed");
                assert!(!state.tick(at(0), true).is_empty());
                state.message(0, report(epoch, Facts::default())).expect("a message");
            }
        };
        let stalls = RESULTS_MAX as u64;
        follow(&mut state, 1..=stalls);
        assert!(state.may_serve() && !state.caught_up());
        assert!(state.tick(at(1_000_000), true).is_empty(), "no new cut comes before those in the log");
        state.committed(Progress { epoch: Epoch(stalls), ..begin });
        follow(&mut state, stalls + 1..=last);
        assert!(state.caught_up());
    }
}
