//! What answers look like as JSON. The rows' own JSON (group, values) and events' bodies go in as they stand, digit for digit.

use std::borrow::Cow;
use std::collections::BTreeMap;

use serde::{Serialize, Serializer};
use sonic_rs::LazyValue;

use crate::coordinator::status::Phase;
use crate::core::columns::Reason;
use crate::core::ledger::Ledger;
use crate::core::row::AuditEvent;
use crate::core::time;
use crate::core::trace::Trace;
use crate::core::units::{Millis, Offset};
use crate::ingest::{Fate, FateStatus, Receipt};
use crate::store::{StoredLetter, StoredRow};

#[derive(Serialize)]
pub struct FateView<'a> {
    offset: u64,
    status: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<&'a str>,
}

impl<'a> FateView<'a> {
    pub fn of(fate: &'a Fate) -> Self {
        Self { offset: fate.offset.0, status: status_name(fate.status), reason: fate.reason.as_deref() }
    }
}

pub fn status_name(status: FateStatus) -> &'static str {
    match status {
        FateStatus::Counted => "counted",
        FateStatus::Duplicate => "duplicate",
        FateStatus::Filtered => "filtered",
        FateStatus::Invalid => "invalid",
        FateStatus::Late => "late",
    }
}

/// Events are on disk.
#[derive(Serialize)]
pub struct AcceptedView<'a> {
    pub accepted: u32,
    pub first_offset: u64,
    pub last_offset: u64,
    /// What a route has filled, as the event has it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub filled: Option<Pairs<'a>>,
}

/// Events are applied.
#[derive(Serialize)]
pub struct AppliedView<'a> {
    accepted: u32,
    counted: usize,
    duplicate: usize,
    filtered: usize,
    invalid: usize,
    late: usize,
    items: Vec<FateView<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    filled: Option<Pairs<'a>>,
}

impl<'a> AppliedView<'a> {
    pub fn of(receipt: Receipt, fates: &'a [Fate], filled: Option<Pairs<'a>>) -> Self {
        let of = |status| fates.iter().filter(|fate| fate.status == status).count();
        Self {
            accepted: receipt.count,
            counted: of(FateStatus::Counted),
            duplicate: of(FateStatus::Duplicate),
            filtered: of(FateStatus::Filtered),
            invalid: of(FateStatus::Invalid),
            late: of(FateStatus::Late),
            items: fates.iter().map(FateView::of).collect(),
            filled,
        }
    }
}

/// An object whose names are not known here, in this order.
pub struct Pairs<'a>(pub Vec<(&'a str, Raw<'a>)>);

impl Serialize for Pairs<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.iter().map(|(name, value)| (name, value)))
    }
}

#[derive(Serialize)]
pub struct RowView<'a> {
    metric_id: String,
    pipeline: &'a str,
    window: &'a str,
    window_start: String,
    window_end: String,
    group: Raw<'a>,
    values: Raw<'a>,
    event_count: u64,
    revision: u32,
    closed: bool,
}

impl<'a> RowView<'a> {
    pub fn of(row: &'a StoredRow) -> Self {
        Self {
            metric_id: row.metric_id.to_string(),
            pipeline: &row.pipeline,
            window: &row.window,
            window_start: time::format(row.start),
            window_end: time::format(row.end),
            group: Raw::of(row.group.as_bytes()),
            values: Raw::of(row.values.as_bytes()),
            event_count: row.event_count,
            revision: row.revision,
            closed: row.closed,
        }
    }
}

/// An audited event.
#[derive(Serialize)]
pub struct EventView<'a> {
    offset: u64,
    topic: &'a str,
    event_id: &'a str,
    time: String,
    received_at: String,
    event: Raw<'a>,
    metrics: Vec<String>,
}

impl<'a> EventView<'a> {
    pub fn of(event: &'a AuditEvent) -> Self {
        Self {
            offset: event.offset.0,
            topic: &event.topic,
            event_id: &event.event_id,
            time: time::format(event.time),
            received_at: moment(event.received),
            event: Raw::of(&event.body),
            metrics: event.metrics.iter().map(ToString::to_string).collect(),
        }
    }

    /// The beginning of a large one, as text, for a table.
    pub fn short(event: &'a AuditEvent) -> Self {
        let whole = event.body.len() <= SHORT_BYTES_MAX;
        let Some(bytes) = event.body.get(..SHORT_BYTES_MAX).filter(|_| !whole) else { return Self::of(event) };
        Self { event: Raw::Text(Cow::Owned(format!("{}…", String::from_utf8_lossy(bytes)))), ..Self::of(event) }
    }
}

#[derive(Serialize)]
pub struct DeadLetterView<'a> {
    offset: u64,
    topic: Option<&'a str>,
    reason: &'static str,
    detail: Cow<'a, str>,
    /// Text: it need not be JSON. What is no UTF-8 shows as U+FFFD.
    body: Cow<'a, str>,
    received_at: String,
    /// The event that is its retry.
    retried_as: Option<u64>,
}

impl<'a> DeadLetterView<'a> {
    pub fn of(stored: &'a StoredLetter) -> Self {
        let letter = &stored.letter;
        Self {
            offset: letter.offset.0,
            topic: letter.topic.as_deref(),
            reason: letter.reason.name(),
            detail: Cow::Borrowed(&letter.detail),
            body: String::from_utf8_lossy(&letter.body),
            received_at: moment(letter.received),
            retried_as: stored.retried_as.map(|event| event.0),
        }
    }

    /// The beginning of what it holds, for a table.
    pub fn short(stored: &'a StoredLetter) -> Self {
        let letter = &stored.letter;
        let bytes = letter.body.get(..SHORT_BYTES_MAX).unwrap_or(&letter.body);
        let body = String::from_utf8_lossy(bytes);
        let body = if bytes.len() < letter.body.len() { Cow::Owned(format!("{body}…")) } else { body };
        Self { detail: beginning(&letter.detail), body, ..Self::of(stored) }
    }
}

/// What a live snapshot shows of one event: snapshots go out each second, and events may be large.
const SHORT_BYTES_MAX: usize = 2 << 10;

fn beginning(text: &str) -> Cow<'_, str> {
    if text.len() <= SHORT_BYTES_MAX {
        return Cow::Borrowed(text);
    }
    let end = text.floor_char_boundary(SHORT_BYTES_MAX);
    Cow::Owned(format!("{}…", text.get(..end).unwrap_or_default()))
}

#[derive(Serialize)]
pub struct WindowsView<'a> {
    pub windows: Vec<RowView<'a>>,
    pub next: Option<String>,
}

#[derive(Serialize)]
pub struct EventsView<'a> {
    pub audit: &'static str,
    pub events: Vec<EventView<'a>>,
    pub next: Option<String>,
}

#[derive(Serialize)]
pub struct DeadLettersView<'a> {
    pub dead_letters: Vec<DeadLetterView<'a>>,
    pub next: Option<String>,
}

#[derive(Serialize)]
pub struct TopicsView<'a> {
    pub topics: Vec<TopicView<'a>>,
    /// By which events of `POST /events` name their topic.
    pub topic_field: &'a str,
}

/// What a form for a topic's events needs.
#[derive(Serialize)]
pub struct TopicView<'a> {
    pub name: &'a str,
    /// Paths of the fields.
    pub id: Option<String>,
    pub time: String,
    /// Where its events are posted; null where the job makes them itself.
    pub post: Option<String>,
    /// The pipeline that makes them.
    pub emitted_by: Option<&'a str>,
    /// As it was written, its fields in their order.
    pub schema: Raw<'a>,
    /// An event that the schema accepts; null where none can be made from it.
    pub example: Option<Raw<'a>>,
}

/// By pipeline and window.
#[derive(Serialize)]
pub struct DataView<'a> {
    pub pipelines: BTreeMap<&'a str, BTreeMap<&'a str, Vec<RowView<'a>>>>,
}

/// What became of the events with one id.
#[derive(Serialize)]
pub struct FatesView<'a> {
    pub event_id: &'a str,
    pub events: Vec<CountedView<'a>>,
    pub dead_letters: Vec<DeadView<'a>>,
}

#[derive(Serialize)]
pub struct CountedView<'a> {
    fate: &'static str,
    #[serde(flatten)]
    event: EventView<'a>,
    #[serde(flatten)]
    trace: Option<TraceView<'a>>,
}

/// Of the request that an event came with.
#[derive(Serialize)]
pub struct TraceView<'a> {
    traceparent: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    tracestate: Option<&'a str>,
}

impl<'a> TraceView<'a> {
    fn of(traces: &'a Traces, offset: Offset) -> Option<Self> {
        let trace = traces.get(&offset)?;
        Some(Self { traceparent: trace.parent(), tracestate: trace.state() })
    }
}

/// Traces by their events' offsets.
pub type Traces = BTreeMap<Offset, Trace>;

impl<'a> CountedView<'a> {
    pub fn of(event: &'a AuditEvent, traces: &'a Traces) -> Self {
        Self { fate: "counted", event: EventView::of(event), trace: TraceView::of(traces, event.offset) }
    }

    /// Of the log's events those were counted for certain that went into rows; others may be duplicates, filtered, or not committed yet.
    pub fn of_log(event: &'a AuditEvent, traces: &'a Traces) -> Self {
        let fate = if event.metrics.is_empty() { "taken" } else { "counted" };
        Self { fate, ..Self::of(event, traces) }
    }
}

#[derive(Serialize)]
pub struct DeadView<'a> {
    fate: &'static str,
    #[serde(flatten)]
    letter: DeadLetterView<'a>,
    #[serde(flatten)]
    trace: Option<TraceView<'a>>,
}

impl<'a> DeadView<'a> {
    pub fn of(stored: &'a StoredLetter, traces: &'a Traces) -> Self {
        let fate = if stored.letter.reason == Reason::Late { "late" } else { "invalid" };
        Self { fate, letter: DeadLetterView::of(stored), trace: TraceView::of(traces, stored.letter.offset) }
    }
}

#[derive(Serialize)]
pub struct LedgerView {
    accepted: u64,
    counted: u64,
    duplicate: u64,
    filtered: u64,
    invalid: u64,
    late: u64,
    in_flight: u64,
}

impl LedgerView {
    pub fn of(ledger: &Ledger) -> Self {
        let counts = ledger.counts;
        Self {
            accepted: ledger.accepted,
            counted: counts.counted,
            duplicate: counts.duplicate,
            filtered: counts.filtered,
            invalid: counts.invalid,
            late: counts.late,
            in_flight: ledger.in_flight,
        }
    }
}

pub fn phase(phase: Phase) -> &'static str {
    match phase {
        Phase::Replaying => "replaying",
        Phase::Serving => "serving",
        Phase::Draining => "draining",
    }
}

pub fn moment(at: Millis) -> String {
    time::format(at.micros())
}

/// JSON that is put into an answer as it stands; text where it is none.
#[derive(Serialize)]
#[serde(untagged)]
pub enum Raw<'a> {
    Json(LazyValue<'a>),
    Text(Cow<'a, str>),
    List(Vec<Raw<'a>>),
    Null(()),
}

impl<'a> Raw<'a> {
    pub fn of(bytes: &'a [u8]) -> Self {
        match sonic_rs::from_slice(bytes) {
            Ok(json) => Self::Json(json),
            Err(_) => Self::Text(String::from_utf8_lossy(bytes)),
        }
    }
}
