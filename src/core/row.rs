//! What leaves the engine: rows of windows, dead letters, and the facts that the audit tables keep.

use std::cmp::Ordering;
use std::sync::Arc;

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
    Boolean(bool),
    Text(Arc<str>),
}

impl Value {
    /// The order of a metric's values: null, booleans, numbers by their value, texts.
    #[must_use]
    pub fn order(&self, other: &Self) -> Ordering {
        let class = |value: &Self| match value {
            Self::Null => 0,
            Self::Boolean(_) => 1,
            Self::Integer(_) | Self::Number(_) => 2,
            Self::Text(_) => 3,
        };
        match (self, other) {
            (Self::Boolean(a), Self::Boolean(b)) => a.cmp(b),
            (Self::Integer(a), Self::Integer(b)) => a.cmp(b),
            (Self::Number(a), Self::Number(b)) => a.total_cmp(b),
            (Self::Integer(a), Self::Number(b)) => (*a as f64).total_cmp(b),
            (Self::Number(a), Self::Integer(b)) => a.total_cmp(&(*b as f64)),
            (Self::Text(a), Self::Text(b)) => a.cmp(b),
            _ => class(self).cmp(&class(other)),
        }
    }
}

/// A key's entry in a view as it stands after an epoch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ViewRow {
    /// The view's place in `Plan::views`.
    pub view: usize,
    pub key: Arc<str>,
    /// A JSON object: the latest value of each field that any event had.
    pub value: String,
    /// How many events it comes of.
    pub events: u64,
    /// Time and offset of the latest of them.
    pub time: Micros,
    pub offset: Offset,
    pub epoch: Epoch,
}

/// What one event said to a view that keeps its history.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ViewChange {
    pub view: usize,
    pub key: Arc<str>,
    pub offset: Offset,
    pub time: Micros,
    /// A JSON object: the view's fields that the event has.
    pub value: String,
}

/// An alert as it stands after an epoch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AlertRow {
    pub alert_id: Uuid,
    /// The alert's place in `Plan::alerts`.
    pub alert: usize,
    /// The group of the row that raised it, or of a pattern its key alone.
    pub key: Vec<GroupValue>,
    /// The window of the row that raised it, or from the first of the events to just behind the last.
    pub from: Micros,
    pub to: Micros,
    /// In event time.
    pub raised: Micros,
    /// None: it stands.
    pub cleared: Option<Micros>,
    /// A JSON object: what raised it.
    pub details: String,
    pub epoch: Epoch,
}

impl AlertRow {
    /// The order in which an epoch's changes are told. Those of one alert and key are told in the order in which they come; a stable sort keeps it.
    #[must_use]
    pub fn order(&self, other: &Self) -> Ordering {
        (self.alert, &self.key).cmp(&(other.alert, &other.key))
    }

    /// When this was so: the moment at which it was cleared, or else raised.
    #[must_use]
    pub fn at(&self) -> Micros {
        self.cleared.unwrap_or(self.raised)
    }
}

/// What a webhook is to be sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Delivery {
    pub id: Uuid,
    /// The webhook's place in `Plan::webhooks`.
    pub webhook: usize,
    /// A JSON object.
    pub body: String,
    pub epoch: Epoch,
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
