//! Columns as they stand between two steps of an evaluation: Polars arrays, and over what they are laid out.

use std::collections::HashMap;
use std::sync::Arc;

use foldhash::fast::FixedState;
use polars::prelude::{
    BooleanChunked, ChunkFull, ChunkFullNull, ChunkTake, ChunkedArray, Float64Chunked, Int64Chunked, PolarsNumericType,
    StringChunked,
};

use crate::core::columns::{Column, GroupValue};
use crate::core::expression::kernel::NO_NAME;
use crate::core::expression::number::finite;
use crate::core::expression::{Literal, Type};
use crate::core::plan::ColumnId;

/// What the entries of a lane stand for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Frame {
    /// One value for all rows.
    Constant,
    /// One for each entry of this column's dictionary.
    Dictionary(ColumnId),
    /// One for each row.
    Rows,
}

/// Timestamps are integers here. One chunk each.
#[derive(Clone, Debug)]
pub(super) enum Values {
    Integer(Int64Chunked),
    Number(Float64Chunked),
    Boolean(BooleanChunked),
    Text(StringChunked),
}

/// The values of a subexpression, and where computing them failed.
#[derive(Clone, Debug)]
pub(super) struct Lane {
    pub frame: Frame,
    pub values: Values,
    pub errors: Errors,
}

/// Where an error was met; None: nowhere. No entry is null. As long as the values it stands beside, or one entry for all.
pub(super) type Errors = Option<BooleanChunked>;

impl Lane {
    pub(super) fn literal(literal: &Literal) -> Self {
        let name = NO_NAME;
        let values = match literal {
            Literal::Null(Type::Integer | Type::Timestamp) => Values::Integer(Int64Chunked::full_null(name, 1)),
            Literal::Null(Type::Number) => Values::Number(Float64Chunked::full_null(name, 1)),
            Literal::Null(Type::Boolean) => Values::Boolean(BooleanChunked::full_null(name, 1)),
            Literal::Null(Type::Text) => Values::Text(StringChunked::full_null(name, 1)),
            Literal::Text(text) => Values::Text(StringChunked::full(name, text, 1)),
            Literal::Integer(integer) => Values::Integer(Int64Chunked::full(name, *integer, 1)),
            Literal::Timestamp(time) => Values::Integer(Int64Chunked::full(name, time.0, 1)),
            Literal::Number(number) => Values::Number(Float64Chunked::full(name, *number, 1)),
            Literal::Boolean(boolean) => Values::Boolean(BooleanChunked::full(name, *boolean, 1)),
        };
        Self { frame: Frame::Constant, values, errors: None }
    }

    /// A field. A dictionary that is longer than its column is not worth computing with.
    pub(super) fn field(id: ColumnId, column: &Column) -> Self {
        let (frame, values) = match column {
            Column::Integer(values) => (Frame::Rows, Values::Integer(array(values, |value| value))),
            Column::Number(values) => (Frame::Rows, Values::Number(array(values, |value| value.and_then(finite)))),
            Column::Boolean(values) => (Frame::Rows, Values::Boolean(values.iter().copied().collect())),
            Column::Json(_) => panic!("no expression reads what a view keeps"),
            Column::Group { codes, dictionary } if dictionary.len() <= codes.len() => {
                (Frame::Dictionary(id), Values::Text(dictionary.iter().map(as_text).collect()))
            }
            Column::Group { codes, dictionary } => {
                let texts = codes.iter().map(|&code| dictionary.get(code as usize).and_then(as_text));
                (Frame::Rows, Values::Text(texts.collect()))
            }
        };
        Self { frame, values, errors: None }
    }

    /// One value for each row.
    pub(super) fn gathered(self, codes: &[u32]) -> Self {
        let errors = self.errors.map(|errors| if errors.len() == 1 { errors } else { take(&errors, codes) });
        let values = match &self.values {
            Values::Integer(values) => Values::Integer(take(values, codes)),
            Values::Number(values) => Values::Number(take(values, codes)),
            Values::Boolean(values) => Values::Boolean(take(values, codes)),
            Values::Text(values) => Values::Text(take(values, codes)),
        };
        Self { frame: Frame::Rows, values, errors }
    }

    pub(super) fn booleans(&self) -> &BooleanChunked {
        let Values::Boolean(values) = &self.values else { panic!("a boolean is needed: {:?}", self.values) };
        values
    }
}

/// An array of numbers, after `read` has looked at each.
fn array<T: PolarsNumericType>(
    values: &[Option<T::Native>],
    read: impl Fn(Option<T::Native>) -> Option<T::Native>,
) -> ChunkedArray<T> {
    let there: BooleanChunked = values.iter().map(|value| read(*value).is_some()).collect();
    let validity = there.downcast_as_array().values().clone();
    let values = values.iter().map(|value| read(*value).unwrap_or_default()).collect();
    ChunkedArray::from_vec_validity(NO_NAME, values, Some(validity))
}

/// The way back.
fn options<T: PolarsNumericType>(values: &ChunkedArray<T>) -> Vec<Option<T::Native>> {
    let whole = values.rechunk();
    let array = whole.downcast_as_array();
    match array.validity().filter(|validity| validity.unset_bits() > 0) {
        None => array.values().iter().map(|value| Some(*value)).collect(),
        Some(validity) => {
            array.values().iter().zip(validity.iter()).map(|(value, there)| there.then_some(*value)).collect()
        }
    }
}

fn boolean_options(values: &BooleanChunked) -> Vec<Option<bool>> {
    let whole = values.rechunk();
    let array = whole.downcast_as_array();
    match array.validity().filter(|validity| validity.unset_bits() > 0) {
        None => array.values().iter().map(Some).collect(),
        Some(validity) => {
            array.values().iter().zip(validity.iter()).map(|(value, there)| there.then_some(value)).collect()
        }
    }
}

fn take<T>(values: &T, codes: &[u32]) -> T
where
    T: ChunkTake<[u32]>,
{
    let Ok(taken) = values.take(codes) else { panic!("a code beyond its dictionary") };
    taken
}

fn as_text(value: &GroupValue) -> Option<&str> {
    match value {
        GroupValue::Text(text) => Some(text),
        GroupValue::Null | GroupValue::Bool(_) | GroupValue::Integer(_) => None,
    }
}

impl Values {
    pub(super) fn len(&self) -> usize {
        match self {
            Self::Integer(values) => values.len(),
            Self::Number(values) => values.len(),
            Self::Boolean(values) => values.len(),
            Self::Text(values) => values.len(),
        }
    }

    /// Never null.
    pub(super) fn is_not_null(&self) -> BooleanChunked {
        match self {
            Self::Integer(values) => values.is_not_null(),
            Self::Number(values) => values.is_not_null(),
            Self::Boolean(values) => values.is_not_null(),
            Self::Text(values) => values.is_not_null(),
        }
    }

    /// One null of the same type.
    pub(super) fn nulls(&self) -> Self {
        let of = match self {
            Self::Integer(_) => Type::Integer,
            Self::Number(_) => Type::Number,
            Self::Boolean(_) => Type::Boolean,
            Self::Text(_) => Type::Text,
        };
        Lane::literal(&Literal::Null(of)).values
    }

    /// As a column of so many rows; a single value is repeated.
    pub(super) fn into_column(self, rows: usize) -> Column {
        match self {
            Self::Integer(values) => Column::Integer(repeated(options(&values), rows)),
            Self::Number(values) => Column::Number(repeated(options(&values), rows)),
            Self::Boolean(values) => Column::Boolean(repeated(boolean_options(&values), rows)),
            Self::Text(values) => {
                let (codes, dictionary) = intern(values.iter(), |text| GroupValue::Text(Arc::from(text)));
                Column::Group { codes: repeated(codes, rows), dictionary }
            }
        }
    }
}

fn repeated<T: Clone>(values: Vec<T>, rows: usize) -> Vec<T> {
    match values.as_slice() {
        [one] if rows != 1 => vec![one.clone(); rows],
        _ => values,
    }
}

/// Codes and the dictionary of their distinct values, in order of first occurrence.
pub(super) fn intern<T>(
    values: impl Iterator<Item = Option<T>>,
    value: impl Fn(T) -> GroupValue,
) -> (Vec<u32>, Vec<GroupValue>)
where
    T: Copy + Eq + std::hash::Hash,
{
    /// A handful is compared faster than hashed.
    const HANDFUL: usize = 8;
    let mut few: Vec<Option<T>> = Vec::with_capacity(HANDFUL);
    // Looked up only, never iterated: the seed does not show.
    let mut known: HashMap<Option<T>, u32, FixedState> = HashMap::default();
    let mut dictionary = Vec::new();
    let code = |found: Option<T>| {
        if dictionary.len() <= HANDFUL
            && let Some(at) = few.iter().position(|few| *few == found)
        {
            return at as u32;
        }
        *known.entry(found).or_insert_with(|| {
            if few.len() < HANDFUL {
                few.push(found);
            }
            dictionary.push(found.map_or(GroupValue::Null, &value));
            dictionary.len() as u32 - 1
        })
    };
    (values.map(code).collect(), dictionary)
}

/// The column as group keys: codes and a dictionary.
///
/// # Panics
/// If it is of numbers: they are no group's values.
#[must_use]
pub fn as_group(column: Column) -> Column {
    let (codes, dictionary) = match column {
        Column::Group { .. } => return column,
        Column::Integer(values) => intern(values.into_iter(), GroupValue::Integer),
        Column::Boolean(values) => intern(values.into_iter(), GroupValue::Bool),
        Column::Number(_) | Column::Json(_) => panic!("numbers and JSON are no group's values"),
    };
    Column::Group { codes, dictionary }
}

/// Which rows a condition lets pass: null is false.
///
/// # Panics
/// If the column is not of booleans.
#[must_use]
pub fn truths(column: &Column) -> Vec<bool> {
    let Column::Boolean(values) = column else { panic!("a condition is a boolean") };
    values.iter().map(|value| *value == Some(true)).collect()
}
