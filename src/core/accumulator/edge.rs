//! The first or the last value, in order of (event time, offset): no two events have the same offset, so there is no tie.

use crate::core::accumulator::Members;
use crate::core::accumulator::scalar::{Scalar, is_null};
use crate::core::encoding::{NotAPane, take};
use crate::core::plan::ColumnKind;
use crate::core::row::Value;
use crate::core::units::{Micros, Offset};

#[derive(Clone, Debug, PartialEq)]
pub(in crate::core) struct Edge {
    last: bool,
    /// Of the column, which gives the value its kind.
    kind: ColumnKind,
    seen: Option<Box<Seen>>,
}

#[derive(Clone, Debug, PartialEq)]
struct Seen {
    at: (Micros, Offset),
    value: Scalar,
}

impl Edge {
    pub(super) fn first(kind: ColumnKind) -> Self {
        Self { last: false, kind, seen: None }
    }

    pub(super) fn last(kind: ColumnKind) -> Self {
        Self { last: true, kind, seen: None }
    }

    pub(super) fn add(&mut self, members: &Members) {
        let at = |row: usize| (members.time[row], members.offset[row]);
        let rows = members.rows.iter().map(|&row| row as usize).filter(|&row| !is_null(members.column, row));
        let row = if self.last { rows.max_by_key(|&row| at(row)) } else { rows.min_by_key(|&row| at(row)) };
        if let Some(row) = row
            && self.is_beaten_by(at(row))
            && let Some(value) = Scalar::of(members.column, row)
        {
            self.seen = Some(Box::new(Seen { at: at(row), value }));
        }
    }

    pub(super) fn merge(&mut self, other: &Self) {
        assert_eq!((self.last, self.kind), (other.last, other.kind), "panes of two windows");
        if let Some(seen) = &other.seen
            && self.is_beaten_by(seen.at)
        {
            self.seen = Some(seen.clone());
        }
    }

    fn is_beaten_by(&self, at: (Micros, Offset)) -> bool {
        self.seen.as_ref().is_none_or(|seen| if self.last { seen.at < at } else { at < seen.at })
    }

    pub(super) fn value(&self) -> Value {
        self.seen.as_ref().map_or(Value::Null, |seen| seen.value.value())
    }

    pub(super) fn encode(&self, into: &mut Vec<u8>) {
        into.push(u8::from(self.seen.is_some()));
        if let Some(seen) = &self.seen {
            let (time, offset) = seen.at;
            into.extend_from_slice(&time.0.to_le_bytes());
            into.extend_from_slice(&offset.0.to_le_bytes());
            seen.value.encode(into);
        }
    }

    pub(super) fn decode(&mut self, event_count: u64, rest: &mut &[u8]) -> Result<(), NotAPane> {
        self.seen = match take(rest)? {
            [0] => None,
            [1] if event_count > 0 => {
                let at = (Micros(i64::from_le_bytes(take(rest)?)), Offset(u64::from_le_bytes(take(rest)?)));
                Some(Box::new(Seen { at, value: Scalar::decode(self.kind, rest)? }))
            }
            _ => return Err(NotAPane("neither a value nor none")),
        };
        Ok(())
    }
}
