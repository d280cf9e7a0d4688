//! Partial aggregates: an epoch's rows are grouped by Polars, their sums kept exact; merging is commutative and associative to the bit.

use crate::core::columns::{Column, GroupValue};
use crate::core::plan::{Plan, WindowPlan};
use crate::core::row::Value;
use crate::core::units::Micros;

/// Which pane: window, start, group.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PaneKey {
    /// The window's place in `Plan::windows`.
    pub window: usize,
    pub start: Micros,
    /// In the order of `WindowPlan::group`.
    pub group: Vec<GroupValue>,
}

/// One pane's partial aggregate: an event count and one accumulator a metric. `merge(a, b) == merge(b, a)`, to the bit.
#[derive(Clone, Debug, PartialEq)]
pub struct Partial {}

/// Bytes that are no pane.
#[derive(Debug, thiserror::Error)]
#[error("not a pane: {0}")]
pub struct NotAPane(pub &'static str);

/// One epoch's events for one window; all slices have one entry an event.
#[derive(Debug)]
pub struct Rows<'a> {
    /// The number of the window that each event falls into; its start is `number * every`.
    pub numbers: &'a [i64],
    /// One for each of the plan's columns.
    pub fields: &'a [Column],
    /// Events that do not go into this window (they are late for it).
    pub skip: Option<&'a [bool]>,
}

impl PaneKey {
    /// Canonical, self-delimiting bytes: equal keys have equal bytes. They stand in messages and checkpoints.
    pub fn encode(&self, _into: &mut Vec<u8>) {
        unimplemented!()
    }

    /// Takes one key off the front of `rest`.
    ///
    /// # Errors
    /// If the bytes are no key.
    pub fn decode(_rest: &mut &[u8]) -> Result<Self, NotAPane> {
        unimplemented!()
    }
}

impl Partial {
    /// Of no events.
    #[must_use]
    pub fn new(_plan: &Plan, _window: &WindowPlan) -> Self {
        unimplemented!()
    }

    pub fn merge(&mut self, _other: &Self) {
        unimplemented!()
    }

    #[must_use]
    pub fn event_count(&self) -> u64 {
        unimplemented!()
    }

    /// The metrics' values, in the order of `window.metrics`, each rounded once.
    #[must_use]
    pub fn values(&self, _window: &WindowPlan) -> Vec<Value> {
        unimplemented!()
    }

    /// Self-delimiting bytes, given the plan. Equal partials have equal bytes.
    pub fn encode(&self, _into: &mut Vec<u8>) {
        unimplemented!()
    }

    /// Takes one partial off the front of `rest`.
    ///
    /// # Errors
    /// If the bytes are no partial of this window.
    pub fn decode(_plan: &Plan, _window: &WindowPlan, _rest: &mut &[u8]) -> Result<Self, NotAPane> {
        unimplemented!()
    }
}

/// The partial panes of an epoch's rows for one window, one for each (start, group) that occurs, in no particular order.
#[must_use]
pub fn preaggregate(_plan: &Plan, _window: usize, _rows: &Rows) -> Vec<(PaneKey, Partial)> {
    unimplemented!()
}
