//! What people do to dead letters: send one anew, or throw it away. `docs/semantics.md`, "Dead letters, mended".

use crate::core::units::{Epoch, Offset};

/// Letters that one epoch discards, at most: what its record, and its transaction, grow by stays small.
pub const DISCARDS_MAX: usize = 1_000;

/// The event at the offset `event` is the retry of a dead letter.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Retry {
    pub letter: Offset,
    pub event: Offset,
}

/// Dead letters that are discarded at the end of an epoch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Discards {
    pub epoch: Epoch,
    pub letters: Vec<Offset>,
}

/// What a log holds of both, or a part of it: retries by their events, discards by their epochs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Mends {
    pub retries: Vec<Retry>,
    pub discards: Vec<Discards>,
}

/// What one or several epochs do to letters that were there before, or came in them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Mended {
    /// Each of these letters says from now on which event is its retry.
    pub retried: Vec<Retry>,
    /// These letters are no more.
    pub discarded: Vec<Offset>,
}

impl Mends {
    /// What belongs to epochs after this one, which ended with `end` events.
    #[must_use]
    pub fn after(&self, epoch: Epoch, end: Offset) -> Self {
        let retries = self.retries.iter().copied().filter(|retry| retry.event >= end);
        let discards = self.discards.iter().filter(|discards| discards.epoch > epoch);
        Self { retries: retries.collect(), discards: discards.cloned().collect() }
    }
}

impl Mended {
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.retried.is_empty() && self.discarded.is_empty()
    }

    /// With what later epochs do.
    pub fn extend(&mut self, later: Self) {
        self.retried.extend(later.retried);
        self.discarded.extend(later.discarded);
    }
}
