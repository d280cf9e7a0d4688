//! JSON as the engine writes it: members in a given order, numbers of any length.

use std::fmt::{Display, Write};

use crate::core::columns::GroupValue;
use crate::core::row::Value;

/// One object, written member by member.
#[derive(Debug)]
pub struct Object(String);

impl Object {
    #[must_use]
    #[expect(clippy::new_without_default, reason = "an object is begun, not defaulted")]
    pub fn new() -> Self {
        Self(String::from("{"))
    }

    /// `json` is a JSON value.
    pub fn member(&mut self, name: &str, json: impl Display) {
        let comma = if self.0.len() > 1 { "," } else { "" };
        // A String takes all that is written.
        let _ = write!(self.0, "{comma}{}:{json}", string(name));
    }

    #[must_use]
    pub fn finish(mut self) -> String {
        self.0.push('}');
        self.0
    }
}

/// A JSON string.
#[must_use]
pub fn string(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

/// A group's value; `text` writes its texts.
#[must_use]
pub fn group_value(value: &GroupValue, text: impl Fn(&str) -> String) -> String {
    match value {
        GroupValue::Null => "null".to_owned(),
        GroupValue::Bool(value) => value.to_string(),
        GroupValue::Integer(value) => value.to_string(),
        GroupValue::Text(value) => text(value),
    }
}

/// A metric's value; `text` writes its texts.
#[must_use]
pub fn metric_value(value: &Value, text: impl Fn(&str) -> String) -> String {
    match value {
        Value::Null => "null".to_owned(),
        // A number literal of any length is JSON, so that an integer past 64 bits stays exact.
        Value::Integer(value) => value.to_string(),
        Value::Number(value) => serde_json::Value::from(*value).to_string(),
        Value::Boolean(value) => value.to_string(),
        Value::Text(value) => text(value),
    }
}
