//! What a frame holds, and what of it is said of the frame's own events.

use std::ops::Range;
use std::sync::Arc;

use crate::core::columns::Slab;
use crate::core::epoch::Cut;
use crate::core::keyed::Keyed;
use crate::core::mend::{Discards, Retry};
use crate::core::trace::Traced;
use crate::core::units::{Epoch, Generation, Offset};

/// What a frame holds, in order.
#[derive(Clone, Debug)]
pub enum Record {
    Slab(Slab),
    /// With `idle` it is a TIME record.
    Cut(Cut),
    /// The slabs after it in its frame, up to the next such record, are what this epoch has emitted, all of it.
    Emit(Epoch),
    Start(Start),
    /// These events of the frame are retries of dead letters.
    Retries(Vec<Retry>),
    /// These events of the frame came with an Idempotency-Key.
    Key(Keyed),
    /// These events of the frame came with a trace context.
    Trace(Traced),
    /// Stands before the cut of its epoch, in one frame with it.
    Discards(Discards),
    /// Likewise.
    Config(Config),
}

/// The pipelines change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// They hold after this epoch.
    pub epoch: Epoch,
    /// As in `Start`.
    pub bundle: Arc<str>,
}

/// Begins a generation. A copy of the newest one stands at the head of every segment, with the bundle that holds there, so that deleting old segments loses nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Start {
    pub generation: Generation,
    /// The pipeline's and its schemas' text, as `pipeline::Bundle` writes it.
    pub bundle: String,
}

pub(super) fn check_of_frame(records: &[Record], first: Offset, count: u32) {
    let events = first..Offset(first.0 + u64::from(count));
    assert!(records.iter().all(|record| record.speaks_of(&events)), "a record speaks of its frame's events");
}

impl Record {
    /// Whether what it says is said of events of its frame alone, where it is to be so.
    pub(super) fn speaks_of(&self, events: &Range<Offset>) -> bool {
        let within = |first: Offset, count: u32| {
            let end = first.0.checked_add(u64::from(count));
            first >= events.start && count > 0 && end.is_some_and(|end| end <= events.end.0)
        };
        match self {
            Self::Retries(retries) => retries.iter().all(|retry| events.contains(&retry.event)),
            Self::Key(Keyed { first, count, .. }) | Self::Trace(Traced { first, count, .. }) => within(*first, *count),
            Self::Slab(_) | Self::Cut(_) | Self::Emit(_) | Self::Start(_) | Self::Discards(_) | Self::Config(_) => true,
        }
    }
}

/// Whether the frame has slabs that somebody submitted: what the job makes itself is owed to what is in the log already, and must go in so that epochs
/// can end and room come.
pub(super) fn holds_submitted(records: &[Record]) -> bool {
    let before_emits = records.iter().take_while(|record| !matches!(record, Record::Emit(_)));
    before_emits.into_iter().any(|record| matches!(record, Record::Slab(_)))
}
