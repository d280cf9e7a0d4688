//! What epochs have emitted, from their end until it has come out of the log again.

use std::collections::VecDeque;

use crate::core::emit::{Emission, Emitted, emission};
use crate::core::plan::Plan;
use crate::core::row::{AlertRow, WindowRow};
use crate::core::units::{Epoch, Offset};

/// The emissions under way.
#[derive(Clone, Debug)]
pub(super) struct Emitting {
    /// What epochs up to this one have emitted is in the log: replayed, they emit nothing.
    logged: Epoch,
    /// The last epoch of which it is known what it emits.
    finished: Epoch,
    /// Epochs whose events were not handed out yet; with the end of their frame, once it is on disk.
    pending: VecDeque<(Epoch, Option<Offset>)>,
}

impl Emitting {
    /// After the epoch of a checkpoint; `found` are the log's emissions, each with the end of its frame.
    pub(super) fn new(checkpoint: Epoch, logged: Epoch, found: Vec<(Epoch, Offset)>) -> Self {
        let pending = found.into_iter().map(|(epoch, end)| (epoch, Some(end))).collect();
        Self { logged, finished: checkpoint, pending }
    }

    /// An epoch has come to its results: what is to be logged of them.
    pub(super) fn finish(
        &mut self,
        plan: &Plan,
        epoch: Epoch,
        rows: &[WindowRow],
        alerts: &[AlertRow],
        emitted: Vec<Emitted>,
    ) -> Option<Emission> {
        self.finished = epoch;
        if epoch <= self.logged {
            return None;
        }
        let emission = emission(plan, epoch, rows, alerts, emitted)?;
        self.pending.push_back((epoch, None));
        Some(emission)
    }

    /// What epochs up to this one have emitted is on disk, before `end`.
    pub(super) fn durable(&mut self, upto: Epoch, end: Offset) {
        for (_, on_disk) in self.pending.iter_mut().filter(|(epoch, _)| *epoch <= upto) {
            on_disk.get_or_insert(end);
        }
    }

    /// Slabs up to here were handed out.
    pub(super) fn dispatched(&mut self, to: Offset) {
        while self.pending.pop_front_if(|(_, end)| end.is_some_and(|end| end <= to)).is_some() {}
    }

    /// The last epoch such that all that epochs up to it emit was handed out.
    pub(super) fn upto(&self) -> Epoch {
        let before_pending = self.pending.front().map(|(epoch, _)| Epoch(epoch.0 - 1));
        before_pending.map_or(self.finished, |before| before.min(self.finished))
    }

    /// Whether everything that epochs up to this one emit is on disk.
    pub(super) fn is_on_disk(&self, epoch: Epoch) -> bool {
        !self.pending.iter().any(|(of, end)| *of <= epoch && end.is_none())
    }

    /// Whether something is still to be handed out.
    pub(super) fn is_under_way(&self) -> bool {
        !self.pending.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn emitting(pending: &[(u64, Option<u64>)]) -> Emitting {
        let pending = pending.iter().map(|&(epoch, end)| (Epoch(epoch), end.map(Offset))).collect();
        Emitting { logged: Epoch(0), finished: Epoch(9), pending }
    }

    #[test]
    fn a_cut_tells_of_what_was_handed_out_and_no_more() {
        let mut some = emitting(&[(3, Some(10)), (5, None), (7, None)]);
        assert_eq!(some.upto(), Epoch(2));
        some.dispatched(Offset(9));
        assert_eq!(some.upto(), Epoch(2));
        some.dispatched(Offset(10));
        assert_eq!((some.upto(), some.is_on_disk(Epoch(4)), some.is_on_disk(Epoch(5))), (Epoch(4), true, false));
        some.durable(Epoch(6), Offset(20));
        assert_eq!((some.is_on_disk(Epoch(6)), some.is_on_disk(Epoch(7))), (true, false));
        some.dispatched(Offset(30));
        assert_eq!((some.upto(), some.is_under_way()), (Epoch(6), true));
        some.durable(Epoch(7), Offset(40));
        some.dispatched(Offset(40));
        assert_eq!((some.upto(), some.is_under_way()), (Epoch(9), false));
    }

    #[test]
    fn emissions_in_the_log_ahead_of_a_replay_are_not_told_of_before_their_epochs_are_finished() {
        let mut replaying = Emitting::new(Epoch(1), Epoch(8), vec![(Epoch(6), Offset(5))]);
        replaying.dispatched(Offset(5));
        assert_eq!(replaying.upto(), Epoch(1));
    }
}
