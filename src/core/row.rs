//! What leaves the engine: rows of windows, dead letters, and the facts that the audit tables keep.

use uuid::Uuid;

use crate::core::columns::{GroupValue, Reason};
use crate::core::units::{Epoch, Micros, Millis, Offset};

/// One row of a window as it stands after an epoch: absolute values, never increments.
#[derive(Clone, Debug, PartialEq)]
pub struct WindowRow {
    pub metric_id: Uuid,
    /// The window's place in `Plan::windows`.
    pub window: usize,
    pub start: Micros,
    pub end: Micros,
    /// In the order of `WindowPlan::group`.
    pub group: Vec<GroupValue>,
    /// In the order of `WindowPlan::metrics`.
    pub values: Vec<Value>,
    pub event_count: u64,
    pub revision: u32,
    pub closed: bool,
    /// Of metric_id, values and event_count; 0 while the row is open.
    pub digest: u64,
    pub epoch: Epoch,
}

/// A metric's value.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    Null,
    /// Counts and integer sums: exact, may pass 64 bits.
    Integer(i128),
    /// Always finite, never −0.
    Number(f64),
}

/// An event that was refused or came late, whole.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeadLetter {
    pub offset: Offset,
    /// None where no known topic could be read.
    pub topic: Option<String>,
    pub reason: Reason,
    pub detail: String,
    pub body: Vec<u8>,
    pub received: Millis,
}

/// A counted event as `audit: full` keeps it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuditEvent {
    pub offset: Offset,
    pub topic: String,
    /// The id as the event wrote it; the offset in decimal where the topic has no id.
    pub event_id: String,
    pub time: Micros,
    pub received: Millis,
    pub body: Vec<u8>,
    /// The rows it went into.
    pub metrics: Vec<Uuid>,
}
