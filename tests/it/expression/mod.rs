//! Expressions: what texts are read as, what they are worth by the plain interpreter of `scalar.rs`, and by PostgreSQL.

mod generate;
mod postgres;
mod reading;
mod columns;

use caudal::core::columns::{Column, GroupValue};
use caudal::core::expression::{Expr, Inputs, Type};
use caudal::core::path::{FieldPath, Step};
use caudal::core::plan::ColumnId;
use caudal::core::units::Micros;
use caudal::pipeline::sql::{Scope, SqlFault, condition, expression};

use crate::scalar::Scalar;

/// The fields of these tests, by column.
const FIELDS: [(&str, Type); 9] = [
    ("t", Type::Text),
    ("u", Type::Text),
    ("i", Type::Integer),
    ("j", Type::Integer),
    ("x", Type::Number),
    ("y", Type::Number),
    ("b", Type::Boolean),
    ("c", Type::Boolean),
    ("at", Type::Timestamp),
];

/// A row: the fields' values, and the event's time.
type Row = (Vec<Option<Scalar>>, i64);

fn resolve(path: &[Step]) -> Result<(ColumnId, Type), String> {
    let name = FieldPath(path.to_vec()).to_string();
    match FIELDS.iter().position(|(field, _)| *field == name) {
        Some(at) => Ok((ColumnId(at), FIELDS[at].1)),
        None => Err(format!("no field `{name}`")),
    }
}

fn read(text: &str) -> Result<Expr, SqlFault> {
    expression(text, &mut Scope { resolve: &mut resolve, event_time: true })
}

fn read_condition(text: &str) -> Result<Expr, SqlFault> {
    condition(text, &mut Scope { resolve: &mut resolve, event_time: true })
}

/// The rows as columns; every text column has a dictionary of its distinct values.
fn columns(rows: &[Row]) -> (Vec<Column>, Vec<Micros>) {
    let column = |at: usize, of: Type| {
        let values = rows.iter().map(|(row, _)| row[at].clone());
        match of {
            Type::Integer | Type::Timestamp => Column::Integer(values.map(|v| v.as_ref().map(integer)).collect()),
            Type::Number => Column::Number(values.map(|v| v.as_ref().map(number)).collect()),
            Type::Boolean => Column::Boolean(values.map(|v| v.map(|v| v == Scalar::Boolean(true))).collect()),
            Type::Text => {
                let mut dictionary = Vec::new();
                let codes = values.map(|value| {
                    let value = value.map_or(GroupValue::Null, |value| GroupValue::Text(text(&value).into()));
                    dictionary.iter().position(|known| *known == value).unwrap_or_else(|| {
                        dictionary.push(value);
                        dictionary.len() - 1
                    }) as u32
                });
                Column::Group { codes: codes.collect(), dictionary }
            }
        }
    };
    let fields = FIELDS.iter().enumerate().map(|(at, (_, of))| column(at, *of)).collect();
    (fields, rows.iter().map(|(_, time)| Micros(*time)).collect())
}

fn integer(value: &Scalar) -> i64 {
    match value {
        Scalar::Integer(value) | Scalar::Timestamp(value) => *value,
        other => panic!("{other:?}"),
    }
}

fn number(value: &Scalar) -> f64 {
    let Scalar::Number(number) = value else { panic!("{value:?}") };
    *number
}

fn text(value: &Scalar) -> &str {
    let Scalar::Text(text) = value else { panic!("{value:?}") };
    text
}

/// A column's values, one a row.
fn values(of: Type, column: &Column) -> Vec<Option<Scalar>> {
    match (of, column) {
        (Type::Integer, Column::Integer(values)) => values.iter().map(|v| v.map(Scalar::Integer)).collect(),
        (Type::Timestamp, Column::Integer(values)) => values.iter().map(|v| v.map(Scalar::Timestamp)).collect(),
        (Type::Number, Column::Number(values)) => values.iter().map(|v| v.map(Scalar::Number)).collect(),
        (Type::Boolean, Column::Boolean(values)) => values.iter().map(|v| v.map(Scalar::Boolean)).collect(),
        (Type::Text, Column::Group { codes, dictionary }) => {
            let value = |code: &u32| match &dictionary[*code as usize] {
                GroupValue::Null => None,
                GroupValue::Text(text) => Some(Scalar::Text(text.to_string())),
                other => panic!("{other:?} is no text"),
            };
            codes.iter().map(value).collect()
        }
        _ => panic!("{of:?} as {column:?}"),
    }
}

/// Evaluates over all rows at once: values and errors.
fn evaluate(expr: &Expr, rows: &[Row]) -> (Vec<Option<Scalar>>, u64) {
    let (fields, time) = columns(rows);
    let evaluated = expr.evaluate(&Inputs { fields: &fields, time: &time });
    (values(expr.of_type(), &evaluated.column), evaluated.errors)
}

/// To the bit: −0 and 0 differ.
fn same(a: Option<&Scalar>, b: Option<&Scalar>) -> bool {
    match (a, b) {
        (Some(Scalar::Number(a)), Some(Scalar::Number(b))) => a.to_bits() == b.to_bits(),
        (a, b) => a == b,
    }
}
