//! Rows of a columnar batch (Arrow) as events: what a Parquet file has. A row is the event that its JSON would be; `docs/batch.md` says which JSON that is.

mod column;
mod mask;
mod size;
mod judge;
mod fill;

use arrow_array::{Array, RecordBatch, StructArray};
use bytes::Bytes;

use crate::core::columns::{Numbering, Reason, Reject, Slab};
use crate::core::decode::rows::Rows;
use crate::core::decode::table::column::Column;
use crate::core::decode::table::fill::{Source, fill, readable as readable_fields, sources};
use crate::core::decode::table::judge::{Aligned, Found, Judge, Wanted};
use crate::core::decode::table::mask::Mask;
use crate::core::decode::walk::Scratch;
use crate::core::decode::{Decoded, Decoder, FILE_LINE_BYTES_MAX, Reader, Refusal};
use crate::core::path::FieldPath;
use crate::core::plan::{ColumnKind, Plan, TimeFormat, TopicPlan, Unit};
use crate::core::units::{Millis, Offset, TopicId};

pub use column::readable;

/// The rows of a batch that are surely well, and what they are.
struct Well<'a> {
    rows: Mask,
    /// By row, where it is well.
    topics: Vec<TopicId>,
    found: Found,
    sources: Vec<Source<'a>>,
}

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
        let mut well = self.well(&root, array.len(), topic);
        let (mut scratch, mut text) = (Scratch::default(), Vec::new());
        let mut run = Vec::with_capacity(array.len());
        for row in 0..count {
            if well.rows.has(row as usize) {
                run.push(row);
                continue;
            }
            self.add(&mut rows, &mut well, first, &mut run);
            let offset = Offset(first.0 + u64::from(row));
            let start = text.len();
            root.write_up_to(start + FILE_LINE_BYTES_MAX, row as usize, &mut text);
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
        self.add(&mut rows, &mut well, first, &mut run);
        (slab(Bytes::from(text)), Decoded { columns: rows.columns, rejects })
    }

    /// Judges all rows.
    fn well<'a>(&self, root: &'a Column<'a>, count: usize, only: Option<TopicId>) -> Well<'a> {
        let (topics, by_topic) = self.by_topic(root, count, only);
        let mut well = Well {
            rows: Mask::none(count),
            topics,
            found: Found::new(count),
            sources: sources(&self.plan, root, count),
        };
        for ((reader, of), rows) in self.readers.iter().zip(&self.plan.topics).zip(by_topic) {
            if rows.is_empty() || !of.schema.is_compiled() || self.keeps_json(reader) {
                continue;
            }
            let Some(aligned) = Aligned::of(root, &reader.program) else { continue };
            let wanted = Wanted { id: reader.id, time: reader.time, format: of.time_format, id_key: self.id_key };
            let mut judge = Judge::new(&reader.program, rows.clone(), Some((wanted, &mut well.found)));
            judge.column(&aligned, &rows);
            let mut sure = judge.sure.and(&well.found.has_time);
            if reader.id.is_some() {
                sure = sure.and(&well.found.has_id);
            }
            well.rows.add(&readable_fields(&mut well.sources, reader, sure));
        }
        if root.bytes_max() > FILE_LINE_BYTES_MAX {
            well.rows = well.rows.filter(|row| root.bytes_max_of(row) <= FILE_LINE_BYTES_MAX);
        }
        well
    }

    /// By row its topic, and by topic its rows; those whose topic is not surely known are in none.
    fn by_topic(&self, root: &Column<'_>, count: usize, only: Option<TopicId>) -> (Vec<TopicId>, Vec<Mask>) {
        let mut by_topic = vec![Mask::none(count); self.readers.len()];
        if let Some(only) = only {
            if let Some(rows) = by_topic.get_mut(usize::from(only.0)) {
                *rows = Mask::all(count);
            }
            return (vec![only; count], by_topic);
        }
        let members = if let Column::Object(_, members) = root { members.as_slice() } else { &[] };
        let name = members.iter().find(|member| member.name == self.plan.topic_field).map(|member| &member.column);
        let mut topics = vec![TopicId(0); count];
        let (mut room, mut known) = (Vec::new(), Vec::new());
        if let Some(Column::Dictionary(_, texts)) = name {
            known = texts.iter().map(|text| self.outside(text?.as_bytes())).collect();
        }
        for row in name.map(|name| name.present(&Mask::all(count))).iter().flat_map(Mask::iter) {
            let topic = match name {
                Some(Column::Dictionary(keys, _)) => known.get(column::place(keys, row)).copied().flatten(),
                _ => name.and_then(|name| name.text(row, &mut room)).and_then(|text| self.outside(text)),
            };
            let of_topic = topic.and_then(|topic| by_topic.get_mut(usize::from(topic.0)));
            if let (Some(topic), Some(slot), Some(rows)) = (topic, topics.get_mut(row), of_topic) {
                *slot = topic;
                rows.insert(row);
            }
        }
        (topics, by_topic)
    }

    /// What is kept as JSON needs its text.
    fn keeps_json(&self, reader: &Reader) -> bool {
        let mut columns = self.plan.columns.iter().zip(&reader.columns);
        columns.any(|(column, capture)| capture.is_some() && column.kind == ColumnKind::Json)
    }

    /// Adds a run of rows that are well, and empties it.
    fn add(&self, rows: &mut Rows<'_>, well: &mut Well<'_>, first: Offset, run: &mut Vec<u32>) {
        let Well { topics, found, sources, .. } = well;
        let each = || run.iter().map(|row| *row as usize);
        rows.columns.offset.extend(each().map(|row| Offset(first.0 + row as u64)));
        rows.columns.topic.extend(each().map(|row| topics[row]));
        rows.columns.time.extend(each().map(|row| found.time[row]));
        let has_id = |row: usize| self.reader(topics[row]).id.is_some();
        rows.columns.id.extend(each().map(|row| has_id(row).then(|| found.id[row])));
        rows.columns.line.extend(run.iter().map(|_| (0, 0)));
        fill(sources, rows, run);
        run.clear();
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
