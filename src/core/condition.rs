//! Conditions on rows of windows: what they can name, and for which rows they hold.

use std::collections::HashMap;
use std::sync::Arc;

use crate::core::columns::{Column, GroupValue};
use crate::core::expression::{Expr, Inputs, Type, truths};
use crate::core::plan::{ColumnId, ColumnKind, Plan, ROW_FACTS, WindowPlan};
use crate::core::row::{Value, WindowRow};
use crate::core::units::Micros;

/// What a condition on the window's rows can name: the group's fields, the metrics, `ROW_FACTS`. A name's place in the list is its column. `kind` tells what the
/// columns of the pipeline's rows hold.
#[must_use]
pub fn names(window: &WindowPlan, kind: impl Fn(ColumnId) -> ColumnKind) -> Vec<(String, Type)> {
    let group = window.group.iter().map(|field| (field.name.clone(), field.of_type));
    let metrics = window.metrics.iter().map(|(name, metric)| {
        let argument = metric.argument().map(&kind);
        (name.clone(), type_of(metric.kind(argument)))
    });
    let facts = ROW_FACTS.into_iter().zip([Type::Integer, Type::Timestamp, Type::Timestamp]);
    group.chain(metrics).chain(facts.map(|(name, of_type)| (name.to_owned(), of_type))).collect()
}

fn type_of(kind: ColumnKind) -> Type {
    match kind {
        ColumnKind::Group | ColumnKind::Json => Type::Text,
        ColumnKind::Integer => Type::Integer,
        ColumnKind::Number => Type::Number,
        ColumnKind::Boolean => Type::Boolean,
    }
}

/// For which of the window's rows the condition is true.
#[must_use]
pub fn holds(condition: &Expr, plan: &Plan, window: &WindowPlan, rows: &[&WindowRow]) -> Vec<bool> {
    let names = names(window, |column| plan.kind(plan.pipeline_of(window), column));
    let used = condition.columns();
    // A column that the condition does not name needs no values.
    let wanted = |at: usize| used.contains(&ColumnId(at));
    let fields: Vec<Column> = names
        .iter()
        .enumerate()
        .map(|(at, (_, of_type))| column(if wanted(at) { rows } else { &[] }, at, *of_type))
        .collect();
    let time: Vec<Micros> = rows.iter().map(|row| row.start).collect();
    truths(&condition.evaluate(&Inputs { fields: &fields, time: &time }).column)
}

/// The rows' values in one place; a sum past 64 bits is null.
fn column(rows: &[&WindowRow], at: usize, of_type: Type) -> Column {
    let values = rows.iter().map(|row| value(row, at));
    match of_type {
        Type::Integer | Type::Timestamp => Column::Integer(
            values
                .map(|value| match value {
                    Value::Integer(value) => i64::try_from(value).ok(),
                    _ => None,
                })
                .collect(),
        ),
        Type::Number => Column::Number(
            values
                .map(|value| match value {
                    Value::Number(value) => Some(value),
                    _ => None,
                })
                .collect(),
        ),
        Type::Boolean => Column::Boolean(
            values
                .map(|value| match value {
                    Value::Boolean(value) => Some(value),
                    _ => None,
                })
                .collect(),
        ),
        Type::Text => texts(values),
    }
}

fn texts(values: impl Iterator<Item = Value>) -> Column {
    let mut dictionary = vec![GroupValue::Null];
    let mut known: HashMap<Arc<str>, u32> = HashMap::new();
    let codes = values.map(|value| match value {
        Value::Text(text) => *known.entry(text).or_insert_with_key(|text| {
            dictionary.push(GroupValue::Text(Arc::clone(text)));
            (dictionary.len() - 1) as u32
        }),
        _ => 0,
    });
    let codes = codes.collect();
    Column::Group { codes, dictionary }
}

fn value(row: &WindowRow, at: usize) -> Value {
    let of_group = |value: &GroupValue| match value {
        GroupValue::Null => Value::Null,
        GroupValue::Bool(value) => Value::Boolean(*value),
        GroupValue::Integer(value) => Value::Integer(i128::from(*value)),
        GroupValue::Text(text) => Value::Text(Arc::clone(text)),
    };
    let facts = || [i128::from(row.event_count), i128::from(row.start.0), i128::from(row.end.0)].map(Value::Integer);
    let all = row.group.iter().map(of_group).chain(row.values.iter().cloned()).chain(facts());
    all.into_iter().nth(at).unwrap_or(Value::Null)
}
