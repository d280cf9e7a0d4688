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

/// All vectors have one entry an event, in the order of the slabs.
#[derive(Debug, Default)]
pub struct EpochRows {
    pub offset: Vec<Offset>,
    pub topic: Vec<TopicId>,
    pub time: Vec<Micros>,
    pub id: Vec<Option<EventId>>,
    /// (slab, row in that slab).
    pub place: Vec<(u32, u32)>,
    /// One for each of the plan's columns.
    pub fields: Vec<Column>,
}

impl EpochRows {
    #[must_use]
    pub fn gather(plan: &Plan, slabs: &mut [DecodedSlab]) -> Self {
        let mut rows = Self::default();
        let mut fields: Vec<Gather> = plan.columns.iter().map(|c| Gather::new(c.kind)).collect();
        for (number, slab) in slabs.iter_mut().enumerate() {
            let columns: &mut Columns = &mut slab.decoded.columns;
            rows.offset.append(&mut columns.offset);
            rows.topic.append(&mut columns.topic);
            rows.time.append(&mut columns.time);
            rows.id.append(&mut columns.id);
            rows.place.extend((0..columns.line.len()).map(|row| (number as u32, row as u32)));
            assert_eq!(fields.len(), columns.fields.len(), "decode gives every column of the plan");
            for (gather, column) in fields.iter_mut().zip(columns.fields.drain(..)) {
                gather.append(column);
            }
        }
        rows.fields = fields.into_iter().map(|g| g.column).collect();
        rows
    }

    /// Keeps the rows for which `keep` says so.
    pub fn keep(&mut self, keep: impl Fn(usize) -> bool) {
        fn filter<T>(values: &mut Vec<T>, keep: &impl Fn(usize) -> bool) {
            let mut row = 0;
            values.retain(|_| {
                row += 1;
                keep(row - 1)
            });
        }
        filter(&mut self.offset, &keep);
        filter(&mut self.topic, &keep);
        filter(&mut self.time, &keep);
        filter(&mut self.id, &keep);
        filter(&mut self.place, &keep);
        for field in &mut self.fields {
            match field {
                Column::Group { codes, .. } => filter(codes, &keep),
                Column::Integer(values) => filter(values, &keep),
                Column::Number(values) => filter(values, &keep),
            }
        }
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
    fn new(kind: ColumnKind) -> Self {
        let column = match kind {
            ColumnKind::Group => Column::Group { codes: Vec::new(), dictionary: Vec::new() },
            ColumnKind::Integer => Column::Integer(Vec::new()),
            ColumnKind::Number => Column::Number(Vec::new()),
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
            _ => panic!("decode gives columns of the planned kind"),
        }
    }
}
