//! Dead letters, entries of views and audited events as messages have them.

use std::sync::Arc;

use bincode::{Decode, Encode};
use uuid::Uuid;

use crate::core::columns::{GroupValue, Reason};
use crate::core::emit::Emitted;
use crate::core::ledger::Counts;
use crate::core::lineage::{Part, Slices};
use crate::core::row::{AlertRow, AuditEvent, DeadLetter, ViewChange, ViewRow};
use crate::core::units::{Epoch, Micros, Millis, Offset};
use crate::wire::WireError;

#[derive(Debug, Encode, Decode)]
enum WireGroup {
    Null,
    Bool(bool),
    Integer(i64),
    Text(String),
}

#[derive(Debug, Encode, Decode)]
pub struct WireViewRow {
    view: u32,
    key: String,
    value: String,
    events: u64,
    time_us: i64,
    offset: u64,
    epoch: u64,
}

#[derive(Debug, Encode, Decode)]
pub struct WireViewChange {
    view: u32,
    key: String,
    offset: u64,
    time_us: i64,
    value: String,
}

#[derive(Debug, Encode, Decode)]
pub struct WireAlert {
    alert_id: u128,
    alert: u32,
    key: Vec<WireGroup>,
    from_us: i64,
    to_us: i64,
    raised_us: i64,
    cleared_us: Option<i64>,
    details: String,
    epoch: u64,
}

#[derive(Debug, Encode, Decode)]
pub struct WireEmitted {
    emit: u32,
    offset: u64,
    other: Option<u64>,
    line: String,
}

#[derive(Debug, Encode, Decode)]
pub struct WireDeadLetter {
    offset: u64,
    topic: Option<String>,
    reason: u8,
    detail: String,
    body: Vec<u8>,
    received_ms: u64,
}

#[derive(Debug, Encode, Decode)]
pub struct WireAuditEvent {
    offset: u64,
    topic: String,
    event_id: String,
    time_us: i64,
    received_ms: u64,
    body: Vec<u8>,
    metrics: Vec<u128>,
}

#[derive(Debug, Encode, Decode)]
pub struct WireSlices {
    window: u32,
    late_to_us: i64,
    groups: Vec<Vec<WireGroup>>,
    /// Slice, group, number of events.
    parts: Vec<(i64, u32, u32)>,
    offsets: Vec<u64>,
}

impl From<Slices> for WireSlices {
    fn from(slices: Slices) -> Self {
        let (window, late_to_us) = (slices.window as u32, slices.late_to.0);
        let (groups, parts, offsets) = slices.into_parts();
        Self {
            window,
            late_to_us,
            groups: groups.iter().map(|group| group.iter().cloned().map(WireGroup::from).collect()).collect(),
            parts: parts.into_iter().map(|part| (part.slice.0, part.group, part.events)).collect(),
            offsets: offsets.into_iter().map(|offset| offset.0).collect(),
        }
    }
}

impl TryFrom<WireSlices> for Slices {
    type Error = WireError;

    fn try_from(slices: WireSlices) -> Result<Self, WireError> {
        let group = |group: Vec<WireGroup>| group.into_iter().map(GroupValue::from).collect();
        let part = |(slice, group, events)| Part { slice: Micros(slice), group, events };
        Self::of_parts(
            (slices.window as usize, Micros(slices.late_to_us)),
            slices.groups.into_iter().map(group).collect(),
            slices.parts.into_iter().map(part).collect(),
            slices.offsets.into_iter().map(Offset).collect(),
        )
        .ok_or_else(|| WireError("slices of other groups or events".to_owned()))
    }
}

impl From<Counts> for WireCounts {
    fn from(c: Counts) -> Self {
        Self([c.counted, c.duplicate, c.filtered, c.invalid, c.late])
    }
}

/// Fates as an array, in the order of `Counts`' fields.
pub struct WireCounts(pub [u64; 5]);

impl From<WireCounts> for Counts {
    fn from(WireCounts([counted, duplicate, filtered, invalid, late]): WireCounts) -> Self {
        Self { counted, duplicate, filtered, invalid, late }
    }
}

impl From<GroupValue> for WireGroup {
    fn from(value: GroupValue) -> Self {
        match value {
            GroupValue::Null => Self::Null,
            GroupValue::Bool(b) => Self::Bool(b),
            GroupValue::Integer(i) => Self::Integer(i),
            GroupValue::Text(t) => Self::Text(t.to_string()),
        }
    }
}

impl From<WireGroup> for GroupValue {
    fn from(value: WireGroup) -> Self {
        match value {
            WireGroup::Null => Self::Null,
            WireGroup::Bool(b) => Self::Bool(b),
            WireGroup::Integer(i) => Self::Integer(i),
            WireGroup::Text(t) => Self::Text(Arc::from(t)),
        }
    }
}

impl From<ViewRow> for WireViewRow {
    fn from(row: ViewRow) -> Self {
        Self {
            view: row.view as u32,
            key: row.key.to_string(),
            value: row.value,
            events: row.events,
            time_us: row.time.0,
            offset: row.offset.0,
            epoch: row.epoch.0,
        }
    }
}

impl From<WireViewRow> for ViewRow {
    fn from(row: WireViewRow) -> Self {
        Self {
            view: row.view as usize,
            key: row.key.into(),
            value: row.value,
            events: row.events,
            time: Micros(row.time_us),
            offset: Offset(row.offset),
            epoch: Epoch(row.epoch),
        }
    }
}

impl From<ViewChange> for WireViewChange {
    fn from(change: ViewChange) -> Self {
        Self {
            view: change.view as u32,
            key: change.key.to_string(),
            offset: change.offset.0,
            time_us: change.time.0,
            value: change.value,
        }
    }
}

impl From<WireViewChange> for ViewChange {
    fn from(change: WireViewChange) -> Self {
        Self {
            view: change.view as usize,
            key: change.key.into(),
            offset: Offset(change.offset),
            time: Micros(change.time_us),
            value: change.value,
        }
    }
}

impl From<AlertRow> for WireAlert {
    fn from(row: AlertRow) -> Self {
        Self {
            alert_id: row.alert_id.as_u128(),
            alert: row.alert as u32,
            key: row.key.into_iter().map(WireGroup::from).collect(),
            from_us: row.from.0,
            to_us: row.to.0,
            raised_us: row.raised.0,
            cleared_us: row.cleared.map(|at| at.0),
            details: row.details,
            epoch: row.epoch.0,
        }
    }
}

impl From<WireAlert> for AlertRow {
    fn from(row: WireAlert) -> Self {
        Self {
            alert_id: Uuid::from_u128(row.alert_id),
            alert: row.alert as usize,
            key: row.key.into_iter().map(GroupValue::from).collect(),
            from: Micros(row.from_us),
            to: Micros(row.to_us),
            raised: Micros(row.raised_us),
            cleared: row.cleared_us.map(Micros),
            details: row.details,
            epoch: Epoch(row.epoch),
        }
    }
}

impl From<Emitted> for WireEmitted {
    fn from(event: Emitted) -> Self {
        Self { emit: event.emit as u32, offset: event.offset.0, other: event.other.map(|o| o.0), line: event.line }
    }
}

impl From<WireEmitted> for Emitted {
    fn from(event: WireEmitted) -> Self {
        Self {
            emit: event.emit as usize,
            offset: Offset(event.offset),
            other: event.other.map(Offset),
            line: event.line,
        }
    }
}

impl From<DeadLetter> for WireDeadLetter {
    fn from(letter: DeadLetter) -> Self {
        let reason = Reason::ALL.iter().position(|r| *r == letter.reason).unwrap_or_default() as u8;
        Self {
            offset: letter.offset.0,
            topic: letter.topic,
            reason,
            detail: letter.detail,
            body: letter.body,
            received_ms: letter.received.0,
        }
    }
}

impl TryFrom<WireDeadLetter> for DeadLetter {
    type Error = WireError;

    fn try_from(letter: WireDeadLetter) -> Result<Self, WireError> {
        let reason = Reason::ALL.get(usize::from(letter.reason));
        Ok(Self {
            offset: Offset(letter.offset),
            topic: letter.topic,
            reason: *reason.ok_or_else(|| WireError(format!("reason {} of a dead letter", letter.reason)))?,
            detail: letter.detail,
            body: letter.body,
            received: Millis(letter.received_ms),
        })
    }
}

impl From<AuditEvent> for WireAuditEvent {
    fn from(event: AuditEvent) -> Self {
        Self {
            offset: event.offset.0,
            topic: event.topic,
            event_id: event.event_id,
            time_us: event.time.0,
            received_ms: event.received.0,
            body: event.body,
            metrics: event.metrics.iter().map(Uuid::as_u128).collect(),
        }
    }
}

impl From<WireAuditEvent> for AuditEvent {
    fn from(event: WireAuditEvent) -> Self {
        Self {
            offset: Offset(event.offset),
            topic: event.topic,
            event_id: event.event_id,
            time: Micros(event.time_us),
            received: Millis(event.received_ms),
            body: event.body,
            metrics: event.metrics.into_iter().map(Uuid::from_u128).collect(),
        }
    }
}
