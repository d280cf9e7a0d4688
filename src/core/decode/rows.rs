//! Captures to a row: identity, time, the plan's columns, and the rules that are left once the schema accepts: `id`, `time`, `number`, `future`.

use std::sync::Arc;

use crate::core::columns::{Column, Columns, EventId, GroupValue, Numbering, Reason, Slab};
use crate::core::decode::dictionary::Dictionary;
use crate::core::decode::identities::identity;
use crate::core::decode::walk::Capture;
use crate::core::decode::{Reader, Refusal, quoted};
use crate::core::plan::{ColumnKind, FieldPath, Plan, TimeFormat};
use crate::core::schema::{Num, Parsed};
use crate::core::time;
use crate::core::units::{Micros, Millis, Offset, TopicId};

/// An id has at most so many bytes.
const ID_BYTES_MAX: usize = 1_024;
/// What an event of a batch has at least, about: only for the first guess at the columns' size.
const EVENT_BYTES_USUAL: usize = 256;

/// The rows of one slab as they grow.
pub(super) struct Rows<'a> {
    pub columns: Columns,
    plan: &'a Plan,
    id_key: u64,
    /// By the plan's columns; those that are no groups use none.
    dictionaries: Vec<Dictionary>,
    /// None: no future rule.
    taken: Option<Millis>,
    room: Vec<u8>,
}

impl<'a> Rows<'a> {
    pub fn new(plan: &'a Plan, id_key: u64, slab: &Slab) -> Self {
        let (taken, rows) = match slab.numbering {
            // A line has two bytes at least, whatever the count says.
            Numbering::Dense => (Some(slab.ingest), (slab.count as usize).min(slab.bytes.len() / 2 + 1)),
            Numbering::Rows => (None, slab.count as usize),
            Numbering::Bytes | Numbering::Addressed => (None, slab.bytes.len() / EVENT_BYTES_USUAL + 1),
        };
        let fields = plan.columns.iter().map(|column| match column.kind {
            ColumnKind::Group => Column::Group { codes: Vec::with_capacity(rows), dictionary: Vec::new() },
            ColumnKind::Integer => Column::Integer(Vec::with_capacity(rows)),
            ColumnKind::Number => Column::Number(Vec::with_capacity(rows)),
            ColumnKind::Boolean => Column::Boolean(Vec::with_capacity(rows)),
            ColumnKind::Json => Column::Json(Vec::with_capacity(rows)),
        });
        let columns = Columns {
            offset: Vec::with_capacity(rows),
            topic: Vec::with_capacity(rows),
            time: Vec::with_capacity(rows),
            id: Vec::with_capacity(rows),
            line: Vec::with_capacity(rows),
            fields: fields.collect(),
        };
        let dictionaries = plan.columns.iter().map(|_| Dictionary::new(id_key)).collect();
        Self { columns, plan, id_key, dictionaries, taken, room: Vec::new() }
    }

    /// Adds the row of an event that its schema accepts.
    pub fn add(
        &mut self,
        topic: TopicId,
        reader: &Reader,
        line: &[u8],
        captures: &[Capture],
        offset: Offset,
        place: (u32, u32),
    ) -> Result<(), Refusal> {
        let of = &self.plan.topics[usize::from(topic.0)];
        let refusal = |reason, path: &FieldPath, what: &str| Refusal {
            topic: Some(topic),
            reason,
            detail: format!("{}: {what}", path.pointer()),
        };
        let id = match (reader.id, &of.id) {
            (Some(capture), Some(path)) => {
                let id = self.id(captures[capture], line);
                Some(id.map_err(|what| refusal(Reason::Id, path, what))?)
            }
            _ => None,
        };
        let time = self.time(of.time_format, captures[reader.time], line);
        let time = time.map_err(|what| refusal(Reason::Time, &of.time, &what))?;
        for (column, &capture) in self.plan.columns.iter().zip(&reader.columns) {
            let value = capture.map_or(Capture::Absent, |capture| captures[capture]);
            readable(column.kind, value).map_err(|what| refusal(Reason::Type, &column.path, what))?;
        }
        if let Some(taken) = self.taken
            && time > taken.micros().plus(of.max_future)
        {
            let what = format!("{} is further ahead than the topic's max_future allows", time::format(time));
            return Err(refusal(Reason::Future, &of.time, &what));
        }
        self.columns.offset.push(offset);
        self.columns.topic.push(topic);
        self.columns.time.push(time);
        self.columns.id.push(id);
        self.columns.line.push(place);
        for (at, &capture) in reader.columns.iter().enumerate() {
            self.field(at, capture.map_or(Capture::Absent, |capture| captures[capture]), line);
        }
        Ok(())
    }

    fn id(&mut self, capture: Capture, line: &[u8]) -> Result<EventId, &'static str> {
        match capture {
            Capture::Text(text, parsed) => identified(text.plain(line, &mut self.room), parsed, self.id_key),
            Capture::Absent => Err("missing; it is the event's id"),
            _ => Err("no string; it is the event's id"),
        }
    }

    fn time(&mut self, format: TimeFormat, capture: Capture, line: &[u8]) -> Result<Micros, String> {
        let text = match (capture, format) {
            (Capture::Text(_, Parsed::Time(time)), TimeFormat::Rfc3339 { .. }) => return Ok(time),
            (Capture::Text(text, _), _) => text.plain(line, &mut self.room),
            (Capture::Number(_, (start, end)), TimeFormat::Unix(_)) => {
                line.get(start as usize..end as usize).unwrap_or_default()
            }
            (Capture::Absent, _) => return Err("missing; it is the event's time".into()),
            (_, TimeFormat::Rfc3339 { .. }) => return Err("no string; it is the event's time".into()),
            (_, TimeFormat::Unix(_)) => return Err("neither a number nor a string; it is the event's time".into()),
        };
        time::read(format, text).ok_or_else(|| format!("{} is {}", quoted(text), time::refused(format)))
    }

    /// One of the plan's columns; of a group also how its codes are found.
    pub fn field_of(&mut self, at: usize) -> (&mut Column, &mut Dictionary) {
        (&mut self.columns.fields[at], &mut self.dictionaries[at])
    }

    /// Adds the value that `readable` has found good.
    fn field(&mut self, at: usize, capture: Capture, line: &[u8]) {
        match &mut self.columns.fields[at] {
            Column::Integer(values) => values.push(match capture {
                Capture::Number(number, _) => integer(number),
                _ => None,
            }),
            Column::Number(values) => values.push(match capture {
                Capture::Number(number, _) => Some(number.double()),
                _ => None,
            }),
            Column::Boolean(values) => values.push(match capture {
                Capture::Boolean(value) => Some(value),
                _ => None,
            }),
            Column::Json(values) => values.push(written(capture, line)),
            Column::Group { codes, dictionary } => {
                let known = &mut self.dictionaries[at];
                codes.push(match capture {
                    Capture::Text(text, _) => known.text(text.plain(line, &mut self.room), dictionary),
                    Capture::Boolean(value) => known.other(GroupValue::Bool(value), dictionary),
                    Capture::Number(number, _) => {
                        known.other(integer(number).map_or(GroupValue::Null, GroupValue::Integer), dictionary)
                    }
                    Capture::Absent | Capture::Null | Capture::Nested(..) => known.other(GroupValue::Null, dictionary),
                });
            }
        }
    }
}

/// The id that a text is, of which a format's check may have read something; if it is none, what is wrong with it.
pub(super) fn identified(text: &[u8], parsed: Parsed, key: u64) -> Result<EventId, &'static str> {
    match (parsed, text.len()) {
        (Parsed::Uuid(value), _) => Ok(EventId(value)),
        (_, 0) => Err("empty; it is the event's id"),
        (_, 1..=ID_BYTES_MAX) => Ok(identity(text, key)),
        _ => Err("longer than 1,024 bytes; it is the event's id"),
    }
}

/// The value as the event writes it; None where there is none.
fn written(capture: Capture, line: &[u8]) -> Option<Arc<str>> {
    let (start, end) = match capture {
        Capture::Absent => return None,
        Capture::Null => return Some("null".into()),
        Capture::Boolean(value) => return Some(if value { "true" } else { "false" }.into()),
        Capture::Number(_, (start, end)) | Capture::Nested(start, end) => (start as usize, end as usize),
        // With its quotes.
        Capture::Text(text, _) => (text.start - 1, text.end + 1),
    };
    let text = line.get(start..end).and_then(|text| std::str::from_utf8(text).ok());
    Some(text.unwrap_or_else(|| panic!("a pass has accepted the line, so it is UTF-8")).into())
}

/// Whether a column of this kind can hold the value; if not, what is wrong with it.
fn readable(kind: ColumnKind, capture: Capture) -> Result<(), &'static str> {
    match (kind, capture) {
        (_, Capture::Absent | Capture::Null)
        | (ColumnKind::Json, _)
        | (ColumnKind::Group, Capture::Boolean(_) | Capture::Text(..))
        | (ColumnKind::Number, Capture::Number(..))
        | (ColumnKind::Boolean, Capture::Boolean(_)) => Ok(()),
        (ColumnKind::Group | ColumnKind::Integer, Capture::Number(number, _)) if integer(number).is_some() => Ok(()),
        (ColumnKind::Group, Capture::Number(..)) => Err("a group's number must be an integer of 64 bits"),
        (ColumnKind::Group, Capture::Nested(..)) => Err("a group's value must be no array or object"),
        (ColumnKind::Integer, _) => Err("the pipeline needs an integer of 64 bits here"),
        (ColumnKind::Number, _) => Err("the pipeline needs a number here"),
        (ColumnKind::Boolean, _) => Err("the pipeline needs a boolean here"),
    }
}

/// The number as an integer of 64 bits, if it is one.
pub(super) fn integer(number: Num) -> Option<i64> {
    match number {
        Num::Integer(value) => Some(value),
        Num::Large(_) => None,
        // Whole doubles between −2⁶³ and 2⁶³ are exact here. −2⁶³ itself may stand for a lesser integer that was rounded to it.
        Num::Float(value) => {
            (value.fract() == 0.0 && value.abs() < 9_223_372_036_854_775_808.0).then_some(value as i64)
        }
    }
}
