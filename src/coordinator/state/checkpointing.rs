//! Checkpoints: when the next one is taken, what it brings, and that none is built upon before the store has come past it.

use std::sync::Arc;

use crate::coordinator::gather::Draft;
use crate::coordinator::state::{Limits, Now, State};
use crate::coordinator::totals::Totals;
use crate::core::epoch::Cut;
use crate::core::keygroup::Share;
use crate::core::ledger::Counts;
use crate::core::units::{Epoch, Millis, TopicId};
use crate::wire::Section;

/// A checkpoint waits while more epochs than this await their commit, so that it is not ahead of the store when it is needed.
const CHECKPOINT_LAG_MAX: usize = 8;

/// The checkpoint in the making, and what is known of the next.
#[derive(Debug)]
pub(super) struct Checkpointing {
    bytes_max: u64,
    age_max: Millis,
    /// It is written when the store has come past it: a checkpoint ahead of the store would be no use to a start, and one of a cut that never came to the disk
    /// would be wrong.
    draft: Option<Draft>,
    /// Dispatched since the last one began; with none the next one is not owed.
    bytes: u64,
    /// When the last one began. None: the next one waits for no time.
    begun: Option<Millis>,
    /// The share of which the next one is to bring all ids.
    share: Share,
    /// Topics whose ids were forgotten since the last one.
    retired: Vec<TopicId>,
}

impl Checkpointing {
    /// After the epoch of a checkpoint, if there is one; `share` is the next one's.
    pub(super) fn new(limits: Limits, after: Epoch, share: Share) -> Self {
        Self {
            bytes_max: limits.checkpoint_bytes,
            age_max: limits.checkpoint_age,
            draft: None,
            // Of the last life's two one is loaded; the log lets go of segments when there are two again.
            bytes: u64::from(after > Epoch(0)),
            begun: Some(Millis(0)),
            share,
            retired: Vec::new(),
        }
    }

    pub(super) fn dispatched(&mut self, bytes: u64) {
        self.bytes += bytes;
    }

    /// The next one is to be taken in time, whether or not events come.
    fn owe(&mut self) {
        self.bytes = self.bytes.max(1);
    }

    /// Another plan holds, which no checkpoint is of yet; with it the ids of these topics are forgotten.
    pub(super) fn changed(&mut self, forgotten: Vec<TopicId>) {
        self.retired.extend(forgotten);
        self.owe();
    }

    /// Whether it is time for one that is owed. Nothing is waited for in a drain.
    pub(super) fn is_overdue(&self, now: Now, draining: bool) -> bool {
        let is_old = |begun: Millis| now.awake.0.saturating_sub(begun.0) >= self.age_max.0;
        self.bytes > 0 && (draining || self.begun.is_none_or(is_old))
    }

    fn is_large(&self) -> bool {
        self.bytes >= self.bytes_max
    }

    /// Begins one of the state after this cut; gives the share of which it brings all ids.
    pub(super) fn begin(&mut self, cut: Cut, workers: usize, bundle: Arc<str>, now: Now) -> Share {
        let share = self.share;
        let mut draft = Draft::new(cut, share, workers, bundle);
        draft.retired = std::mem::take(&mut self.retired);
        self.draft = Some(draft);
        self.share = share.next();
        (self.bytes, self.begun) = (0, Some(now.awake));
        share
    }

    /// A worker's part.
    pub(super) fn take(&mut self, epoch: u64, common: Vec<u8>, sections: Vec<Section>, last: bool) {
        let draft = self.draft.as_mut().filter(|draft| draft.cut.epoch.0 == epoch);
        let Some(draft) = draft else { panic!("a part of checkpoint {epoch}, which was not asked for") };
        draft.take(common, sections, last);
    }

    /// An epoch has come to its results; the events up to it to these fates and totals, which a checkpoint of it says.
    pub(super) fn count(&mut self, epoch: Epoch, counts: Counts, totals: &Totals) {
        if let Some(draft) = self.draft.as_mut().filter(|draft| draft.cut.epoch == epoch) {
            draft.counts = Some(counts);
            draft.totals = totals.clone();
        }
    }

    /// The one in the making, if it is whole and the store has come past it.
    pub(super) fn pop_whole(&mut self, committed: Epoch) -> Option<Draft> {
        self.draft.take_if(|draft| draft.complete() && draft.cut.epoch <= committed)
    }

    pub(super) fn is_under_way(&self) -> bool {
        self.draft.is_some()
    }
}

impl State {
    /// Whether one is taken of the state after this cut.
    pub(super) fn is_checkpoint_due(&self, cut: Cut, now: Now) -> bool {
        let behind = self.committing.len() > CHECKPOINT_LAG_MAX || cut.epoch < self.committing.finished_to().epoch;
        let next = &self.checkpointing;
        !next.is_under_way() && !behind && (next.is_large() || next.is_overdue(now, self.draining))
    }

    /// One more checkpoint is to be taken in time, whether or not events come.
    pub fn owe_checkpoint(&mut self) {
        self.checkpointing.owe();
    }

    /// The next checkpoint does not wait until the last is old: the log has no room, and lets go only of what checkpoints have passed.
    pub fn hurry_checkpoint(&mut self) {
        self.checkpointing.begun = None;
    }

    /// A checkpoint could not be written: the next one is to bring all ids of its share again.
    pub fn repeat_share(&mut self) {
        self.checkpointing.share = self.checkpointing.share.before();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::coordinator::state::Action;
    use crate::coordinator::state::tests::{at, beginning, logged, report, slab, state};
    use crate::core::units::Offset;
    use crate::store::Progress;
    use crate::wire::{Facts, Message};

    /// What a start may build upon is never ahead of the store.
    #[test]
    fn a_checkpoint_is_written_when_the_store_has_come_past_it() {
        let mut state = state(beginning());
        state.dispatch(&slab(Millis(0)), at(40_000));
        let cut = logged(&state.tick(at(50_000), true)).expect("an old epoch is cut");
        let part = Message::CheckpointPart { epoch: 1, common: Vec::new(), sections: Vec::new(), last: true };
        let Message::Report(mut first) = report(1, Facts::default()) else { unreachable!() };
        first.counts[0] = 1;
        assert!(state.message(0, Message::Report(first)).expect("a message").is_empty(), "its cut is not on disk");
        assert!(state.message(0, part).expect("a message").is_empty(), "nor is it stored");
        let [Action::Commit(commit)] = &state.durable(Some(cut.epoch), None, Offset(1))[..] else {
            panic!("now it may be stored")
        };
        let to = commit.to;
        assert!(!state.at_rest());
        let [Action::Checkpoint(draft)] = &state.committed(to)[..] else { panic!("and then be built upon") };
        assert_eq!(draft.cut, cut);

        // Nothing more comes. A second one is taken only where it is owed, and not before its time: without it a full log would stay full.
        assert_eq!(logged(&state.tick(at(90_000), true)), None);
        state.owe_checkpoint();
        assert_eq!(logged(&state.tick(at(79_999), true)), None);
        let actions = state.tick(at(80_000), true);
        assert_eq!(logged(&actions).map(|c| (c.epoch, c.end)), Some((Epoch(2), Offset(1))));
        let asked = |a: &Action| matches!(a, Action::Send(_, Message::EndEpoch { checkpoint: Some(_), .. }));
        assert!(actions.iter().any(asked), "the empty epoch takes it");

        // Where the log has no room it is taken before its time.
        state.message(0, report(2, Facts::default())).expect("a message");
        let part = Message::CheckpointPart { epoch: 2, common: Vec::new(), sections: Vec::new(), last: true };
        state.message(0, part).expect("a message");
        state.durable(Some(Epoch(2)), None, Offset(1));
        state.committed(Progress { epoch: Epoch(2), ..to });
        state.owe_checkpoint();
        assert_eq!(logged(&state.tick(at(80_001), true)), None);
        state.hurry_checkpoint();
        assert!(state.tick(at(80_001), true).iter().any(asked));
    }
}
