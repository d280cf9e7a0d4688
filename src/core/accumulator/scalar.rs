//! One value of a column of any kind.

use crate::core::accumulator::{number_of, unsigned_zero};
use crate::core::columns::{Column, GroupValue};
use crate::core::encoding::{NUMBER, NotAPane, put_group_value, take, take_group_value};
use crate::core::plan::ColumnKind;
use crate::core::row::Value;

/// Never null.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Scalar {
    /// What a group may hold: a text, an integer or a boolean.
    Plain(GroupValue),
    /// Finite and never −0.
    Number(f64),
}

/// Whether the row has no value in this column.
pub(super) fn is_null(column: &Column, row: usize) -> bool {
    match column {
        Column::Group { codes, dictionary } => dictionary[codes[row] as usize] == GroupValue::Null,
        Column::Integer(values) => values[row].is_none(),
        Column::Number(values) => values[row].is_none(),
        Column::Boolean(values) => values[row].is_none(),
        Column::Json(_) => panic!("no metric reads what a view keeps"),
    }
}

impl Scalar {
    /// The row's value in this column.
    pub(super) fn of(column: &Column, row: usize) -> Option<Self> {
        match column {
            Column::Group { codes, dictionary } => {
                let value = &dictionary[codes[row] as usize];
                (*value != GroupValue::Null).then(|| Self::Plain(value.clone()))
            }
            Column::Integer(values) => values[row].map(|value| Self::Plain(GroupValue::Integer(value))),
            Column::Number(values) => values[row].map(|value| Self::Number(unsigned_zero(value))),
            Column::Boolean(values) => values[row].map(|value| Self::Plain(GroupValue::Bool(value))),
            Column::Json(_) => panic!("no metric reads what a view keeps"),
        }
    }

    pub(super) fn value(&self) -> Value {
        match self {
            Self::Plain(GroupValue::Null) => Value::Null,
            Self::Plain(GroupValue::Bool(value)) => Value::Boolean(*value),
            Self::Plain(GroupValue::Integer(value)) => Value::Integer(i128::from(*value)),
            Self::Plain(GroupValue::Text(value)) => Value::Text(value.clone()),
            Self::Number(value) => Value::Number(*value),
        }
    }

    pub(super) fn encode(&self, into: &mut Vec<u8>) {
        match self {
            Self::Plain(value) => put_group_value(value, into),
            Self::Number(value) => {
                into.push(NUMBER);
                into.extend_from_slice(&value.to_bits().to_le_bytes());
            }
        }
    }

    /// Takes a value of a column of this kind off the front of `rest`.
    pub(super) fn decode(kind: ColumnKind, rest: &mut &[u8]) -> Result<Self, NotAPane> {
        if kind == ColumnKind::Number {
            return match take(rest)? {
                [NUMBER] => Ok(Self::Number(number_of(take(rest)?)?)),
                _ => Err(NotAPane("a value of another kind")),
            };
        }
        let value = take_group_value(rest)?;
        let fits = match value {
            GroupValue::Null => false,
            GroupValue::Bool(_) => kind != ColumnKind::Integer,
            GroupValue::Integer(_) => kind != ColumnKind::Boolean,
            GroupValue::Text(_) => kind == ColumnKind::Group,
        };
        if fits { Ok(Self::Plain(value)) } else { Err(NotAPane("a value of another kind")) }
    }
}
