//! What rank 0 owes the log: cuts, and what epochs emitted. It is of events that are in the log already and lets epochs end, so it goes in whatever room there
//! is for others.

use std::sync::Arc;

use crate::core::emit::Emission;
use crate::core::epoch::Cut;
use crate::core::mend::Discards;
use crate::core::units::Offset;
use crate::log::{Config, Record};

/// What is in no frame yet.
#[derive(Debug, Default)]
pub struct Owed {
    pub cuts: Vec<Ended>,
    /// In the order of their epochs.
    pub emissions: Vec<Emission>,
}

/// A cut and what stands before it in its frame.
#[derive(Debug)]
pub struct Ended {
    pub cut: Cut,
    /// Dead letters that its epoch discards.
    pub discards: Vec<Offset>,
    /// The bundle that holds after it, if another one does.
    pub bundle: Option<Arc<str>>,
}

impl Ended {
    /// What stands before the cut, and the cut.
    pub(super) fn records(&self) -> Vec<Record> {
        let Self { cut, discards, bundle } = self;
        let discards = Discards { epoch: cut.epoch, letters: discards.clone() };
        let config = bundle.clone().map(|bundle| Record::Config(Config { epoch: cut.epoch, bundle }));
        let discards = (!discards.letters.is_empty()).then_some(Record::Discards(discards));
        discards.into_iter().chain(config).chain([Record::Cut(*cut)]).collect()
    }
}

impl Owed {
    pub(super) fn is_empty(&self) -> bool {
        self.cuts.is_empty() && self.emissions.is_empty()
    }

    /// With what came after it.
    pub(super) fn then(mut self, later: Self) -> Self {
        self.cuts.extend(later.cuts);
        self.emissions.extend(later.emissions);
        self
    }
}
