//! What people do to dead letters, from their asking, or from the log, until the epoch that it belongs to is finished.

use std::collections::VecDeque;

use crate::core::epoch::Cut;
use crate::core::mend::{DISCARDS_MAX, Discards, Mended, Mends, Retry};
use crate::core::units::Offset;

/// Retries belong to the epoch of their event. A discard has no offset by which it would belong to one: so it is given to the next epoch that is cut, which
/// the log then says with the cut.
#[derive(Clone, Debug)]
pub(super) struct Mending {
    /// To be discarded, in no epoch yet.
    asked: VecDeque<Offset>,
    /// Of events that no finished epoch holds.
    retries: VecDeque<Retry>,
    /// Of epochs that are cut and not finished.
    discards: VecDeque<Discards>,
}

impl Mending {
    /// With what the log has after the checkpoint.
    pub(super) fn new(found: Mends) -> Self {
        let Mends { retries, discards } = found;
        Self { asked: VecDeque::new(), retries: retries.into(), discards: discards.into() }
    }

    pub(super) fn ask(&mut self, letters: Vec<Offset>) {
        self.asked.extend(letters);
    }

    pub(super) fn retried(&mut self, retries: Vec<Retry>) {
        self.retries.extend(retries);
    }

    /// Whether an epoch is wanted, if only for what it discards.
    pub(super) fn is_waiting(&self) -> bool {
        !self.asked.is_empty()
    }

    /// A new cut is made: what its epoch discards.
    pub(super) fn cut(&mut self, cut: Cut) -> Vec<Offset> {
        let letters: Vec<Offset> = self.asked.drain(..self.asked.len().min(DISCARDS_MAX)).collect();
        if !letters.is_empty() {
            self.discards.push_back(Discards { epoch: cut.epoch, letters: letters.clone() });
        }
        letters
    }

    /// An epoch has come to its results: what it does to letters.
    pub(super) fn finish(&mut self, cut: Cut) -> Mended {
        let mut mended = Mended::default();
        while let Some(retry) = self.retries.pop_front_if(|retry| retry.event < cut.end) {
            mended.retried.push(retry);
        }
        while let Some(discards) = self.discards.pop_front_if(|discards| discards.epoch <= cut.epoch) {
            mended.discarded.extend(discards.letters);
        }
        mended
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::coordinator::state::Action;
    use crate::coordinator::state::tests::{at, beginning, report, state};
    use crate::core::units::{Epoch, Millis};
    use crate::wire::Facts;

    fn cut(epoch: u64, end: u64) -> Cut {
        let (epoch, end, emitted) = (Epoch(epoch), Offset(end), Epoch(0));
        Cut { epoch, end, ingest: Millis(0), up: Millis(0), idle: None, emitted }
    }

    fn retry(letter: u64, event: u64) -> Retry {
        Retry { letter: Offset(letter), event: Offset(event) }
    }

    #[test]
    fn each_epoch_has_the_retries_of_its_events_and_the_discards_it_was_cut_with() {
        let mut mending = Mending::new(Mends {
            retries: vec![retry(1, 10), retry(2, 20)],
            discards: vec![Discards { epoch: Epoch(5), letters: vec![Offset(3)] }],
        });
        assert!(!mending.is_waiting(), "what is in the log has its epoch");
        mending.ask(vec![Offset(4)]);
        mending.retried(vec![retry(6, 21)]);
        assert!(mending.is_waiting());
        assert_eq!(mending.cut(cut(6, 21)), [Offset(4)]);
        assert!(!mending.is_waiting());
        let done = |retried: &[Retry], discarded: &[u64]| Mended {
            retried: retried.to_vec(),
            discarded: discarded.iter().copied().map(Offset).collect(),
        };
        assert_eq!(mending.finish(cut(4, 10)), done(&[], &[]));
        assert_eq!(mending.finish(cut(5, 20)), done(&[retry(1, 10)], &[3]));
        assert_eq!(mending.finish(cut(6, 21)), done(&[retry(2, 20)], &[4]));
        assert_eq!(mending.finish(cut(7, 30)), done(&[retry(6, 21)], &[]));
    }

    #[test]
    fn an_epoch_discards_no_more_than_its_share() {
        let mut mending = Mending::new(Mends::default());
        mending.ask((0..=DISCARDS_MAX as u64).map(Offset).collect());
        assert_eq!(mending.cut(cut(1, 0)).len(), DISCARDS_MAX);
        assert!(mending.is_waiting());
        assert_eq!(mending.cut(cut(2, 0)), [Offset(DISCARDS_MAX as u64)]);
        assert!(!mending.is_waiting());
    }

    /// Nothing else happens, and who asked waits.
    #[test]
    fn a_discard_is_cut_an_epoch_of_its_own() {
        let mut state = state(beginning());
        let letters = vec![Offset(7), Offset(3)];
        state.discard(letters.clone());
        assert!(!state.at_rest());
        let actions = state.tick(at(0), false);
        let [Action::Log(cut, discards, None), Action::Send(..)] = &actions[..] else { panic!("{actions:?}") };
        assert_eq!((cut.epoch, discards), (Epoch(1), &letters));
        assert!(state.tick(at(0), true).is_empty(), "one epoch is enough");
        state.message(0, report(1, Facts::default())).expect("a message");
        let [Action::Commit(commit)] = &state.durable(Some(Epoch(1)), None, Offset(0))[..] else {
            panic!("it is stored when it is on disk")
        };
        assert_eq!(commit.mended.discarded, letters);
    }
}
