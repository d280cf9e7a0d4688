//! Which events went into which rows, kept small: for each slice of a window and group, and each epoch, one bitmap of offsets. `docs/semantics.md`, "Audit".
//!
//! A hopping window's slices go into several of its rows; each event stands in one slice's bitmap.

use roaring::RoaringBitmap;
use uuid::{Builder, Uuid};
use xxhash_rust::xxh3::xxh3_128;

use crate::core::columns::GroupValue;
use crate::core::encoding::put_text;
use crate::core::units::{Epoch, Micros, Offset};

/// The events of an epoch that went into a slice of a window, for one group.
#[derive(Clone, Debug, PartialEq)]
pub struct Lineage {
    /// The window's place in `Plan::windows`.
    pub window: usize,
    pub slice: Micros,
    /// In the order of `WindowPlan::group`.
    pub group: Vec<GroupValue>,
    pub epoch: Epoch,
    /// The epoch's first offset.
    pub first: Offset,
    /// Rows of the slice that end by then took none of them: they were late.
    pub late_to: Micros,
    /// Relative to `first`; never empty.
    pub offsets: RoaringBitmap,
}

/// What an epoch's lineage is told from, before its epoch is known.
#[derive(Clone, Debug, PartialEq)]
pub struct Slice {
    pub window: usize,
    pub start: Micros,
    pub group: Vec<GroupValue>,
    /// As in `Lineage`.
    pub late_to: Micros,
    pub offsets: Vec<Offset>,
}

impl Lineage {
    #[must_use]
    pub fn of(slice: Slice, epoch: Epoch, first: Offset) -> Self {
        let Slice { window, start, group, late_to, offsets } = slice;
        // An epoch has far fewer events than 2^32.
        let relative = offsets.iter().map(|offset| (offset.0 - first.0) as u32);
        Self { window, slice: start, group, epoch, first, late_to, offsets: relative.collect() }
    }

    /// What it is the same as with another worker: those are one.
    pub fn key(&self) -> (usize, Micros, &[GroupValue]) {
        (self.window, self.slice, &self.group)
    }

    /// The last of the events.
    #[must_use]
    pub fn last(&self) -> Offset {
        Offset(self.first.0 + u64::from(self.offsets.max().unwrap_or_default()))
    }
}

/// The name of a window's rows of one group, whatever their start: a UUID (version 8) from a 128-bit xxh3 of (pipeline, window, group as JSON).
#[must_use]
pub fn series_id(pipeline: &str, window: &str, group: &str) -> Uuid {
    let mut bytes = Vec::new();
    put_text(pipeline, &mut bytes);
    put_text(window, &mut bytes);
    put_text(group, &mut bytes);
    Builder::from_custom_bytes(xxh3_128(&bytes).to_be_bytes()).into_uuid()
}
