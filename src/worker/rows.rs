//! The valid events of one epoch, laid end to end over its slabs, with one dictionary a group column.

use std::collections::HashMap;

use crate::core::columns::{Column, Columns, EventId, GroupValue, Slab};
use crate::core::decode::Decoded;
use crate::core::plan::{ColumnKind, Plan};
use crate::core::units::{Micros, Offset, TopicId};

/// One slab with what decode made of it.
#[derive(Debug)]
pub struct DecodedSlab {
    pub slab: Slab,
    pub decoded: Decoded,
}

impl DecodedSlab {
    /// The bytes of a line that decode has found.
    #[must_use]
    pub fn line(&self, (start, len): (u32, u32)) -> &[u8] {
        let start = start as usize;
        let line = self.slab.bytes.get(start..start + len as usize);
        line.unwrap_or_else(|| panic!("decode gave a line outside its slab"))
    }
}

/// All vectors have one entry an event, in the order of the slabs.
#[derive(Debug, Default)]
pub struct EpochRows {
    pub offset: Vec<Offset>,
    pub topic: Vec<TopicId>,
    pub time: Vec<Micros>,
    /// (slab, row in that slab).
    pub place: Vec<(u32, u32)>,
    /// The row's number among the epoch's rows that are judged: its place here, unless these are a selection.
    pub number: Vec<u32>,
    /// One for each of the plan's columns.
    pub fields: Vec<Column>,
}

impl EpochRows {
    /// And the rows' ids.
    #[must_use]
    pub fn gather(plan: &Plan, slabs: &mut [DecodedSlab]) -> (Self, Vec<Option<EventId>>) {
        let count = slabs.iter().map(|slab| slab.decoded.columns.offset.len()).sum();
        let mut rows = Self {
            offset: Vec::with_capacity(count),
            topic: Vec::with_capacity(count),
            time: Vec::with_capacity(count),
            place: Vec::with_capacity(count),
            number: (0..count as u32).collect(),
            fields: Vec::with_capacity(plan.columns.len()),
        };
        let mut ids = Vec::with_capacity(count);
        let mut fields: Vec<Gather> = plan.columns.iter().map(|c| Gather::new(c.kind, count)).collect();
        for (number, slab) in slabs.iter_mut().enumerate() {
            let columns: &mut Columns = &mut slab.decoded.columns;
            rows.offset.append(&mut columns.offset);
            rows.topic.append(&mut columns.topic);
            rows.time.append(&mut columns.time);
            ids.append(&mut columns.id);
            rows.place.extend((0..columns.line.len()).map(|row| (number as u32, row as u32)));
            assert_eq!(fields.len(), columns.fields.len(), "decode gives every column of the plan");
            for (gather, column) in fields.iter_mut().zip(columns.fields.drain(..)) {
                gather.append(column);
            }
        }
        rows.fields.extend(fields.into_iter().map(|g| g.column));
        (rows, ids)
    }

    /// Keeps the rows for which `keep` says so, and numbers them anew.
    pub fn keep(&mut self, keep: impl Fn(usize) -> bool) {
        fn retain<T>(values: &mut Vec<T>, rows: &[u32]) {
            // Rows come in order, so what is kept moves only forward, into the place of what is not.
            for (to, &from) in rows.iter().enumerate() {
                values.swap(to, from as usize);
            }
            values.truncate(rows.len());
        }
        let kept: Vec<u32> = (0..self.len() as u32).filter(|&row| keep(row as usize)).collect();
        retain(&mut self.offset, &kept);
        retain(&mut self.topic, &kept);
        retain(&mut self.time, &kept);
        retain(&mut self.place, &kept);
        self.number.clear();
        self.number.extend(0..kept.len() as u32);
        for field in &mut self.fields {
            match field {
                Column::Group { codes, .. } => retain(codes, &kept),
                Column::Integer(values) => retain(values, &kept),
                Column::Number(values) => retain(values, &kept),
                Column::Boolean(values) => retain(values, &kept),
                Column::Json(values) => retain(values, &kept),
            }
        }
    }

    /// The rows whose flag is set, as a copy; they keep their numbers.
    #[must_use]
    pub fn select(&self, selected: &[bool]) -> Self {
        fn of<T: Copy>(values: &[T], rows: &[u32]) -> Vec<T> {
            rows.iter().map(|&row| values[row as usize]).collect()
        }
        let rows: Vec<u32> = (0..).zip(selected).filter(|(_, selected)| **selected).map(|(row, _)| row).collect();
        let field = |column: &Column| match column {
            Column::Group { codes, dictionary } => {
                Column::Group { codes: of(codes, &rows), dictionary: dictionary.clone() }
            }
            Column::Integer(values) => Column::Integer(of(values, &rows)),
            Column::Number(values) => Column::Number(of(values, &rows)),
            Column::Boolean(values) => Column::Boolean(of(values, &rows)),
            Column::Json(values) => Column::Json(rows.iter().map(|&row| values[row as usize].clone()).collect()),
        };
        Self {
            offset: of(&self.offset, &rows),
            topic: of(&self.topic, &rows),
            time: of(&self.time, &rows),
            place: of(&self.place, &rows),
            number: of(&self.number, &rows),
            fields: self.fields.iter().map(field).collect(),
        }
    }

    /// The slab and the line of a row.
    #[must_use]
    pub fn source<'a>(&self, slabs: &'a [DecodedSlab], row: usize) -> (&'a DecodedSlab, &'a [u8]) {
        let (slab, at) = self.place[row];
        let slab = &slabs[slab as usize];
        (slab, slab.line(slab.decoded.columns.line[at as usize]))
    }

    #[must_use]
    pub fn len(&self) -> usize {
        self.offset.len()
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.offset.is_empty()
    }
}

/// A column that grows slab by slab; group codes are translated into its own dictionary.
struct Gather {
    column: Column,
    codes: HashMap<GroupValue, u32, foldhash::fast::RandomState>,
}

impl Gather {
    fn new(kind: ColumnKind, rows: usize) -> Self {
        let column = match kind {
            ColumnKind::Group => Column::Group { codes: Vec::with_capacity(rows), dictionary: Vec::new() },
            ColumnKind::Integer => Column::Integer(Vec::with_capacity(rows)),
            ColumnKind::Number => Column::Number(Vec::with_capacity(rows)),
            ColumnKind::Boolean => Column::Boolean(Vec::with_capacity(rows)),
            ColumnKind::Json => Column::Json(Vec::with_capacity(rows)),
        };
        Self { column, codes: HashMap::default() }
    }

    fn append(&mut self, from: Column) {
        match (&mut self.column, from) {
            (Column::Group { codes, dictionary }, Column::Group { codes: more, dictionary: values }) => {
                let translated: Vec<u32> = values
                    .into_iter()
                    .map(|value| {
                        *self.codes.entry(value).or_insert_with_key(|value| {
                            dictionary.push(value.clone());
                            (dictionary.len() - 1) as u32
                        })
                    })
                    .collect();
                codes.extend(more.into_iter().map(|code| translated[code as usize]));
            }
            (Column::Integer(values), Column::Integer(mut more)) => values.append(&mut more),
            (Column::Number(values), Column::Number(mut more)) => values.append(&mut more),
            (Column::Boolean(values), Column::Boolean(mut more)) => values.append(&mut more),
            (Column::Json(values), Column::Json(mut more)) => values.append(&mut more),
            _ => panic!("decode gives columns of the planned kind"),
        }
    }
}
