//! Valid events as columns, and the rejects beside them: what decode makes of one slab.
//! Only decode makes these; everything behind it trusts them.

use std::sync::Arc;

use bytes::Bytes;

use crate::core::units::{Micros, Millis, Offset, TopicId};

/// A run of NDJSON lines as the log has it: the unit of dispatch.
#[derive(Clone, Debug)]
pub struct Slab {
    pub first_offset: Offset,
    /// Number of lines; blank ones are not in a slab.
    pub count: u32,
    pub ingest: Millis,
    /// None: mixed, each event names its topic.
    pub topic: Option<TopicId>,
    /// The lines, each ended by one `\n`.
    pub bytes: Bytes,
    pub numbering: Numbering,
}

impl Slab {
    /// The offset after its last event; of a slab of the log, whose offsets are dense.
    #[must_use]
    pub fn end(&self) -> Offset {
        Offset(self.first_offset.0 + u64::from(self.count))
    }
}

/// How a slab's lines get their offsets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Numbering {
    /// The log's: first_offset + the line's number.
    Dense,
    /// Batch: first_offset + the position of the line's first byte in the slab. Blank lines may stand in it, and the last line may lack its `\n`;
    /// no future rule.
    Bytes,
    /// As `Bytes`, and before each event stand its topic's name, or nothing, and a tab.
    Addressed,
    /// Batch: first_offset + the line's number; no future rule.
    Rows,
}

/// The valid events of one slab; all vectors have one entry an event, in order of offset.
#[derive(Debug, Default)]
pub struct Columns {
    pub offset: Vec<Offset>,
    pub topic: Vec<TopicId>,
    pub time: Vec<Micros>,
    /// The identity within its topic. None where the topic has no id.
    pub id: Vec<Option<EventId>>,
    /// Where the event's line stands in the slab's bytes, without its line end: (start, length).
    pub line: Vec<(u32, u32)>,
    /// One for each of the plan's columns.
    pub fields: Vec<Column>,
}

/// An event's identity within its topic: a UUID's 16 bytes, or a 128-bit hash of any other id.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EventId(pub u128);

#[derive(Debug)]
pub enum Column {
    /// Codes into this slab's dictionary.
    Group {
        codes: Vec<u32>,
        dictionary: Vec<GroupValue>,
    },
    /// None: absent or null.
    Integer(Vec<Option<i64>>),
    Number(Vec<Option<f64>>),
    Boolean(Vec<Option<bool>>),
    /// JSON texts. None: absent; null is a text.
    Json(Vec<Option<Arc<str>>>),
}

/// One value of a group's tuple.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum GroupValue {
    Null,
    Bool(bool),
    Integer(i64),
    Text(Arc<str>),
}

/// An event that is no valid event, with its reason. Its bytes are kept by whoever has the slab.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reject {
    pub offset: Offset,
    pub topic: Option<TopicId>,
    pub reason: Reason,
    /// For people: the JSON pointer of the place, then what is wrong there.
    pub detail: String,
    pub line: (u32, u32),
}

/// Why an event is a dead letter; `docs/semantics.md` has the rule of each.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Reason {
    Json,
    Topic,
    Schema,
    Id,
    Time,
    Type,
    Future,
    Late,
}

impl Reason {
    pub const ALL: [Self; 8] =
        [Self::Json, Self::Topic, Self::Schema, Self::Id, Self::Time, Self::Type, Self::Future, Self::Late];

    /// As it stands in tables and answers.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Json => "json",
            Self::Topic => "topic",
            Self::Schema => "schema",
            Self::Id => "id",
            Self::Time => "time",
            Self::Type => "type",
            Self::Future => "future",
            Self::Late => "late",
        }
    }
}
