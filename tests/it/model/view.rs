//! Views: for each key what its events have said, field by field.

use std::collections::BTreeMap;

use caudal::core::columns::GroupValue;
use caudal::core::plan::{Plan, ViewPlan};
use serde_json::{Map, Value};

use super::event::{Row, Valid};
use crate::scalar::Scalar;

/// (view, key).
pub type Place = (usize, String);

/// An entry as it was last published.
#[derive(Clone, Debug, PartialEq)]
pub struct Entry {
    pub events: u64,
    /// Time and offset of the latest event.
    pub newest: (i64, u64),
    /// By name: what said it when, and the value.
    pub fields: BTreeMap<String, ((i64, u64), Value)>,
    /// The epoch in which it last changed.
    pub epoch: u64,
}

impl Entry {
    pub fn value(&self) -> Value {
        self.fields.iter().map(|(name, (_, value))| (name.clone(), value.clone())).collect()
    }
}

/// A group's value as a key.
pub fn key(value: &GroupValue) -> Option<String> {
    let key = match value {
        GroupValue::Null => return None,
        GroupValue::Bool(value) => value.to_string(),
        GroupValue::Integer(value) => value.to_string(),
        GroupValue::Text(text) => text.to_string(),
    };
    (1..=1_024).contains(&key.len()).then_some(key)
}

/// What one event says to the view: a key and the fields that it has; None if it goes into no entry.
pub fn said(plan: &Plan, view: &ViewPlan, valid: &Valid, row: &Row) -> Option<(String, Map<String, Value>)> {
    if let Some(when) = view.when
        && row.scalars[when.0] != Some(Scalar::Boolean(true))
    {
        return None;
    }
    let key = key(&row.groups[view.key.0])?;
    let mut fields = Map::new();
    for (name, column) in &view.latest {
        let value = match plan.columns.get(column.0) {
            Some(column) => valid.event.at(&column.path).map(super::json::Json::to_value),
            None => row.scalars[column.0].as_ref().map(|scalar| match scalar {
                Scalar::Text(text) => Value::from(text.as_str()),
                Scalar::Integer(integer) | Scalar::Timestamp(integer) => Value::from(*integer),
                Scalar::Number(number) => Value::from(*number),
                Scalar::Boolean(boolean) => Value::from(*boolean),
            }),
        };
        fields.extend(value.map(|value| (name.clone(), value)));
    }
    Some((key, fields))
}

/// Adds what an event says.
pub fn add(entries: &mut BTreeMap<Place, Entry>, place: Place, at: (i64, u64), fields: Map<String, Value>, epoch: u64) {
    let new = || Entry { events: 0, newest: at, fields: BTreeMap::new(), epoch };
    let entry = entries.entry(place).or_insert_with(new);
    entry.events += 1;
    entry.newest = entry.newest.max(at);
    entry.epoch = epoch;
    for (name, value) in fields {
        let known = entry.fields.entry(name).or_insert_with(|| (at, value.clone()));
        if at > known.0 {
            *known = (at, value);
        }
    }
}
