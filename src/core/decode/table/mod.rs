//! Rows of a columnar batch (Arrow) as events: what a Parquet file has. A row is the event that its JSON would be; `docs/batch.md` says which JSON that is.

mod column;
mod row;

use arrow_array::{Array, RecordBatch, StructArray};
use bytes::Bytes;

use crate::core::columns::{Numbering, Reason, Reject, Slab};
use crate::core::decode::rows::Rows;
use crate::core::decode::table::column::Column;
use crate::core::decode::table::row::Aligned;
use crate::core::decode::walk::Scratch;
use crate::core::decode::{Decoded, Decoder, FILE_LINE_BYTES_MAX, Refusal};
use crate::core::path::FieldPath;
use crate::core::plan::{ColumnKind, Plan, TimeFormat, TopicPlan, Unit};
use crate::core::units::{Millis, Offset, TopicId};

pub use column::readable;

impl Decoder {
    /// Decodes the rows of a batch, the first of which has the position `first`. The slab has lines for those rows that had to be written as lines, the rejects
    /// among them.
    #[must_use]
    pub fn decode_table(&self, batch: &RecordBatch, first: Offset, topic: Option<TopicId>) -> (Slab, Decoded) {
        let array = StructArray::from(batch.clone());
        let root = Column::of(&array, &Fields::of(&self.plan, topic), &FieldPath(Vec::new()));
        // Batches have some thousands of rows.
        let count = array.len() as u32;
        let slab =
            |bytes| Slab { first_offset: first, count, ingest: Millis(0), topic, bytes, numbering: Numbering::Rows };
        let mut rows = Rows::new(&self.plan, self.id_key, &slab(Bytes::new()));
        let mut rejects = Vec::new();
        let topics = Topics::of(self, topic, &root);
        let (mut scratch, mut quick, mut text) = (Scratch::default(), Vec::new(), Vec::new());
        for row in 0..array.len() {
            let offset = Offset(first.0 + row as u64);
            if let Some((topic, aligned)) = topics.of_row(self, row) {
                let reader = self.reader(topic);
                let read = aligned.read(row, &reader.program, &mut scratch.captures, &mut quick);
                let captures = &scratch.captures;
                if read.is_ok() && rows.add(topic, reader, &quick, captures, offset, (0, 0)).is_ok() {
                    continue;
                }
            }
            let start = text.len();
            root.write(row, &mut text);
            let too_long = text.len() - start > FILE_LINE_BYTES_MAX;
            text.truncate(start + FILE_LINE_BYTES_MAX);
            // A batch of rows that are all as long as may be has less than 4 GiB.
            let place = (start as u32, (text.len() - start) as u32);
            let line = text.get(start..).unwrap_or_default();
            let added = if too_long {
                let detail = format!("longer than {FILE_LINE_BYTES_MAX} bytes as JSON");
                Err(Refusal { topic, reason: Reason::Json, detail })
            } else {
                let event = self.event(topic, line, &mut scratch);
                event.and_then(|topic| rows.add(topic, self.reader(topic), line, &scratch.captures, offset, place))
            };
            text.push(b'\n');
            if let Err(Refusal { topic, reason, detail }) = added {
                rejects.push(Reject { offset, topic, reason, detail, line: place });
            }
        }
        (slab(Bytes::from(text)), Decoded { columns: rows.columns, rejects })
    }
}

/// By topic, how its rows are read quickly; None: they are not.
struct Topics<'a> {
    only: Option<TopicId>,
    /// The column that names a row's topic.
    name: Option<&'a Column<'a>>,
    aligned: Vec<Option<Aligned<'a>>>,
}

impl<'a> Topics<'a> {
    fn of(decoder: &Decoder, only: Option<TopicId>, root: &'a Column<'a>) -> Self {
        let members = if let Column::Object(_, members) = root { members.as_slice() } else { &[] };
        let name = members.iter().find(|member| member.name == decoder.plan.topic_field).map(|member| &member.column);
        let aligned = decoder.readers.iter().enumerate().map(|(topic, reader)| {
            let wanted = only.is_none_or(|only| usize::from(only.0) == topic);
            // What is kept as JSON needs its text.
            let mut columns = decoder.plan.columns.iter().zip(&reader.columns);
            let as_json = columns.any(|(column, capture)| capture.is_some() && column.kind == ColumnKind::Json);
            let compiled = decoder.plan.topics.get(topic).is_some_and(|topic| topic.schema.is_compiled());
            (wanted && compiled && !as_json).then(|| Aligned::of(root, &reader.program)).flatten()
        });
        Self { only, name, aligned: aligned.collect() }
    }

    fn of_row(&self, decoder: &Decoder, row: usize) -> Option<(TopicId, &Aligned<'a>)> {
        let topic = match (self.only, self.name) {
            (Some(only), _) => only,
            (None, Some(Column::Text(array))) if array.is_valid(row) => decoder.outside(array.value(row).as_bytes())?,
            (None, _) => return None,
        };
        Some((topic, self.aligned.get(usize::from(topic.0))?.as_ref()?))
    }
}

/// What the topics of a batch's rows say about fields.
pub(super) struct Fields<'a>(&'a [TopicPlan]);

impl<'a> Fields<'a> {
    fn of(plan: &'a Plan, topic: Option<TopicId>) -> Self {
        match topic.map(|topic| usize::from(topic.0)) {
            Some(topic) => Self(plan.topics.get(topic..=topic).unwrap_or_default()),
            None => Self(&plan.topics),
        }
    }

    /// Whether a row without a value has null here; else it does not have the field. (Of events that name their topics: where all topics that know the field say so.)
    fn nullable(&self, path: &FieldPath) -> bool {
        let mut said = self.0.iter().filter_map(|topic| topic.schema.nullable(path)).peekable();
        said.peek().is_some() && said.all(|nullable| nullable)
    }

    /// What a timestamp is written in here; None: as a text.
    fn unit(&self, path: &FieldPath) -> Option<Unit> {
        let of = |topic: &TopicPlan| match topic.time_format {
            TimeFormat::Unix(unit) if topic.time == *path => Some(unit),
            TimeFormat::Unix(_) | TimeFormat::Rfc3339 { .. } => None,
        };
        let first = of(self.0.first()?)?;
        self.0.iter().all(|topic| of(topic) == Some(first)).then_some(first)
    }
}
