//! Changes of the pipelines, from their asking, or from the log, until all workers work by them.

use std::collections::VecDeque;

use crate::coordinator::change::Change;
use crate::core::units::Epoch;

/// A change belongs to the epoch with whose cut it is logged, and holds after it. While that epoch is in flight no other begins: an epoch is of one plan.
#[derive(Clone, Debug)]
pub(super) struct Changing {
    asked: Option<Change>,
    /// Of cuts that are still to be followed.
    logged: VecDeque<(Epoch, Change)>,
    /// With how many workers do not work by it yet.
    under_way: Option<(Epoch, Change, usize)>,
}

impl Changing {
    /// With what the log has after the checkpoint.
    pub(super) fn new(logged: VecDeque<(Epoch, Change)>) -> Self {
        Self { asked: None, logged, under_way: None }
    }

    pub(super) fn ask(&mut self, change: Change) {
        self.asked = Some(change);
    }

    /// Whether an epoch is wanted, if only to be changed after.
    pub(super) fn is_asked(&self) -> bool {
        self.asked.is_some()
    }

    pub(super) fn is_under_way(&self) -> bool {
        self.under_way.is_some()
    }

    /// A new cut is made: what is logged with it.
    pub(super) fn cut(&mut self) -> Option<Change> {
        self.asked.take()
    }

    /// A logged cut is followed: what was logged with it.
    pub(super) fn followed(&mut self, epoch: Epoch) -> Option<Change> {
        while self.logged.front().is_some_and(|(of, _)| *of < epoch) {
            self.logged.pop_front();
        }
        self.logged.pop_front_if(|(of, _)| *of == epoch).map(|(_, change)| change)
    }

    /// The epoch's end is told to so many workers.
    pub(super) fn begin(&mut self, epoch: Epoch, change: Change, workers: usize) {
        self.under_way = Some((epoch, change, workers));
    }

    /// An epoch has come to its results: what holds after it.
    pub(super) fn finish(&self, epoch: Epoch) -> Option<&Change> {
        self.under_way.as_ref().filter(|(of, ..)| *of == epoch).map(|(_, change, _)| change)
    }

    /// A worker works by it; true if it was the last one.
    pub(super) fn configured(&mut self, epoch: Epoch) -> bool {
        let Some((of, _, missing)) = &mut self.under_way else { panic!("no change is under way") };
        assert_eq!(*of, epoch, "a worker is configured for the change that is under way");
        *missing -= 1;
        let all = *missing == 0;
        if all {
            self.under_way = None;
        }
        all
    }
}
