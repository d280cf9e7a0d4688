//! Rows of a columnar batch (Arrow) as events: what a Parquet file has. A row is the event that its JSON would be; `docs/batch.md` says which JSON that is.

mod column;

use arrow_array::{Array, RecordBatch, StructArray};
use bytes::Bytes;

use crate::core::columns::{Numbering, Slab};
use crate::core::decode::table::column::Column;
use crate::core::decode::{Decoded, Decoder};
use crate::core::path::FieldPath;
use crate::core::plan::{Plan, TimeFormat, TopicPlan, Unit};
use crate::core::units::{Millis, Offset, TopicId};

pub use column::readable;

impl Decoder {
    /// Decodes the rows of a batch, the first of which has the position `first`. The slab has the lines that the rejects are.
    #[must_use]
    pub fn decode_table(&self, batch: &RecordBatch, first: Offset, topic: Option<TopicId>) -> (Slab, Decoded) {
        let rows = StructArray::from(batch.clone());
        let root = Column::of(&rows, &Fields::of(&self.plan, topic), &FieldPath(Vec::new()));
        let mut text = Vec::with_capacity(rows.len() * ROW_BYTES_USUAL);
        for row in 0..rows.len() {
            root.write(row, &mut text);
            text.push(b'\n');
        }
        let slab = Slab {
            first_offset: first,
            // Batches have some thousands of rows.
            count: rows.len() as u32,
            ingest: Millis(0),
            topic,
            bytes: Bytes::from(text),
            numbering: Numbering::Rows,
        };
        let decoded = self.decode(&slab);
        (slab, decoded)
    }
}

/// For the first guess at a text's size.
const ROW_BYTES_USUAL: usize = 256;

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
