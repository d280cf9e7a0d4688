//! Bytes to columns: the only maker of valid events. `docs/semantics.md`, "The fate of one event", rules 1 to 7.

use std::sync::Arc;

use crate::core::columns::{Columns, Reject, Slab};
use crate::core::plan::Plan;
use crate::core::units::TopicId;

/// What one slab holds.
#[derive(Debug, Default)]
pub struct Decoded {
    pub columns: Columns,
    /// In order of offset.
    pub rejects: Vec<Reject>,
}

/// Decodes and validates slabs of one plan. Shared by the threads of a rank.
#[derive(Debug)]
pub struct Decoder {}

impl Decoder {
    /// `id_key` keys the hash of ids that are no UUIDs; it is the log's, so that replays agree.
    #[must_use]
    pub fn new(_plan: Arc<Plan>, _id_key: u64) -> Self {
        unimplemented!()
    }

    /// Every line of the slab is either a row of the columns or a reject. Blank lines (batch only) are neither.
    #[must_use]
    pub fn decode(&self, _slab: &Slab) -> Decoded {
        unimplemented!()
    }

    /// The id of a valid event as it is written there, unescaped; None where the topic has no id field.
    #[must_use]
    pub fn id_text(&self, _topic: TopicId, _line: &[u8]) -> Option<String> {
        unimplemented!()
    }
}
