//! The boundary of an epoch, as the log has it.

use crate::core::units::{Epoch, Millis, Offset};

/// Ends an epoch. With `idle` it is a TIME record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cut {
    pub epoch: Epoch,
    /// The number of events up to this epoch's end: the epoch has the offsets from the previous cut's `end` to below this one's.
    /// (`last_offset + 1`, so that an empty log needs no special case.)
    pub end: Offset,
    pub ingest: Millis,
    /// Up and willing to take events, over all generations.
    pub up: Millis,
    /// Silence so far, of that time.
    pub idle: Option<Millis>,
    /// What the epochs up to this one have emitted lies before `end`, all of it; 0 where nothing can be said.
    pub emitted: Epoch,
}

/// What has gone by when a pipeline begins, and is to be as if it had been there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Backfill {
    /// Its place in the plan.
    pub pipeline: usize,
    /// The last epoch that it knows nothing of.
    pub after: Epoch,
    /// Where that one ended.
    pub from: Offset,
}
