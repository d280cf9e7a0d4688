//! What leaves the engine: rows of windows, dead letters, and the facts that the audit tables keep.

use uuid::{Builder, Uuid};
use xxhash_rust::xxh3::{xxh3_64, xxh3_128};

use crate::core::aggregate::{encode_group, put_text};
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

/// The name of a row, the same on every replay and for ever: a UUID (version 8) from a 128-bit xxh3 of (pipeline, window, start, group).
#[must_use]
pub fn metric_id(pipeline: &str, window: &str, start: Micros, group: &[GroupValue]) -> Uuid {
    let mut bytes = Vec::new();
    put_text(pipeline, &mut bytes);
    put_text(window, &mut bytes);
    bytes.extend_from_slice(&start.0.to_le_bytes());
    encode_group(group, &mut bytes);
    Builder::from_custom_bytes(xxh3_128(&bytes).to_be_bytes()).into_uuid()
}

/// Of a closed row: covers metric_id, values and event count. Never 0. The same for ever.
#[must_use]
pub fn digest(metric_id: Uuid, values: &[Value], event_count: u64) -> u64 {
    let mut bytes = metric_id.as_bytes().to_vec();
    for value in values {
        match value {
            Value::Null => bytes.push(0),
            Value::Integer(integer) => {
                bytes.push(1);
                bytes.extend_from_slice(&integer.to_le_bytes());
            }
            Value::Number(number) => {
                bytes.push(2);
                bytes.extend_from_slice(&number.to_bits().to_le_bytes());
            }
        }
    }
    bytes.extend_from_slice(&event_count.to_le_bytes());
    xxh3_64(&bytes).max(1)
}
