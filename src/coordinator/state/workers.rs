//! The workers as rank 0 sees them: what each has in hand of its credit, and what it told last.

use crate::coordinator::gather::facts_of_all;
use crate::wire::{Facts, Figures};

/// All of them; there is at least one.
#[derive(Clone, Debug)]
pub(super) struct Workers {
    all: Vec<Worker>,
    /// Bytes of slabs that may be with one of them, dispatched and not decoded.
    credit_bytes: u64,
}

#[derive(Clone, Debug, Default)]
struct Worker {
    /// Dispatched and not decoded.
    queued: u64,
    events: u64,
    facts: Facts,
    figures: Figures,
}

/// A worker as it is shown.
#[derive(Clone, Copy, Debug)]
pub struct Shown<'a> {
    /// Bytes in hand: dispatched and not decoded.
    pub queued: u64,
    /// Decoded in this life.
    pub events: u64,
    pub facts: &'a Facts,
    pub figures: Figures,
}

impl Workers {
    pub(super) fn new(workers: usize, credit_bytes: u64) -> Self {
        Self { all: vec![Worker::default(); workers], credit_bytes }
    }

    pub(super) fn len(&self) -> usize {
        self.all.len()
    }

    /// By worker, whether it has credit left.
    pub(super) fn with_credit(&self) -> impl Iterator<Item = bool> {
        self.all.iter().map(|worker| worker.queued < self.credit_bytes)
    }

    /// Gives the worker that is to have a slab of so many bytes: the one that has least in hand.
    pub(super) fn dispatch(&mut self, bytes: u64) -> usize {
        let emptiest = self.all.iter_mut().enumerate().min_by_key(|(_, worker)| worker.queued);
        let Some((index, worker)) = emptiest else { panic!("a job has at least one worker") };
        worker.queued += bytes;
        index
    }

    /// A worker has decoded so much.
    pub(super) fn consumed(&mut self, worker: usize, bytes: u64, events: u64) {
        let worker = &mut self.all[worker];
        worker.queued -= bytes;
        worker.events += events;
    }

    pub(super) fn told(&mut self, worker: usize, facts: Facts) {
        self.all[worker].facts = facts;
    }

    /// What holds for the job by what they told last.
    pub(super) fn facts(&self) -> Facts {
        facts_of_all(self.all.iter().map(|worker| worker.facts.clone()))
    }

    /// What its process uses.
    pub(super) fn measured(&mut self, worker: usize, figures: Figures) {
        self.all[worker].figures = figures;
    }

    pub(super) fn each(&self) -> impl Iterator<Item = Shown<'_>> {
        self.all.iter().map(|Worker { queued, events, facts, figures }| Shown {
            queued: *queued,
            events: *events,
            facts,
            figures: *figures,
        })
    }

    /// Bytes that one of them may have in hand.
    pub(super) fn credit_bytes(&self) -> u64 {
        self.credit_bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slab_goes_to_who_has_least_in_hand_and_credit_comes_back() {
        let mut workers = Workers::new(3, 100);
        assert_eq!([50, 60, 40, 10, 49].map(|bytes| workers.dispatch(bytes)), [0, 1, 2, 2, 0]);
        let with_credit = |workers: &Workers| workers.with_credit().collect::<Vec<_>>();
        assert_eq!(with_credit(&workers), [true, true, true], "99, 60 and 50 of 100");
        assert_eq!([50, 40].map(|bytes| workers.dispatch(bytes)), [2, 1]);
        assert_eq!(with_credit(&workers), [true, false, false], "99, 100 and 100 of 100");
        workers.consumed(2, 1, 7);
        assert_eq!(with_credit(&workers), [true, false, true]);
        let shown: Vec<_> = workers.each().map(|shown| (shown.queued, shown.events)).collect();
        assert_eq!(shown, [(99, 0), (100, 0), (99, 7)]);
    }
}
