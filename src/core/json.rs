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

/// Writes a JSON string. Bytes that are no UTF-8 are written as they are: the decoder refuses them, and says where.
pub fn write_string(out: &mut Vec<u8>, text: &[u8]) {
    out.push(b'"');
    let mut rest = text;
    while let Some(at) = rest.iter().position(|&byte| byte < 0x20 || byte == b'"' || byte == b'\\') {
        let (plain, special) = rest.split_at(at);
        out.extend_from_slice(plain);
        let Some((&byte, more)) = special.split_first() else { break };
        match byte {
            b'"' | b'\\' => out.extend_from_slice(&[b'\\', byte]),
            b'\n' => out.extend_from_slice(b"\\n"),
            b'\r' => out.extend_from_slice(b"\\r"),
            b'\t' => out.extend_from_slice(b"\\t"),
            other => out.extend_from_slice(format!("\\u{other:04x}").as_bytes()),
        }
        rest = more;
    }
    out.extend_from_slice(rest);
    out.push(b'"');
}

/// Writes an array of strings.
pub fn write_strings<'a>(out: &mut Vec<u8>, texts: impl Iterator<Item = &'a [u8]>) {
    out.push(b'[');
    for (number, text) in texts.enumerate() {
        if number > 0 {
            out.push(b',');
        }
        write_string(out, text);
    }
    out.push(b']');
}

/// Whether this is a number as JSON writes one.
#[must_use]
pub fn is_number(text: &[u8]) -> bool {
    fn digits(text: &[u8]) -> (&[u8], &[u8]) {
        text.split_at(text.iter().take_while(|byte| byte.is_ascii_digit()).count())
    }
    let (whole, rest) = digits(text.strip_prefix(b"-").unwrap_or(text));
    if whole.is_empty() || (whole.len() > 1 && whole.starts_with(b"0")) {
        return false;
    }
    let rest = match rest.strip_prefix(b".").map(digits) {
        Some((fraction, rest)) if !fraction.is_empty() => rest,
        Some(_) => return false,
        None => rest,
    };
    let Some(exponent) = rest.strip_prefix(b"e").or_else(|| rest.strip_prefix(b"E")) else { return rest.is_empty() };
    let exponent = exponent.strip_prefix(b"-").or_else(|| exponent.strip_prefix(b"+")).unwrap_or(exponent);
    let (digits, rest) = digits(exponent);
    !digits.is_empty() && rest.is_empty()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_text_is_read_back_as_it_was(text in any::<String>()) {
            let mut out = Vec::new();
            write_string(&mut out, text.as_bytes());
            prop_assert_eq!(serde_json::from_slice::<String>(&out).unwrap(), text);
        }

        #[test]
        fn numbers_are_those_of_json(text in "[-+]?[0-9.eE+-]{0,6}") {
            // A value past what a double holds is a number in JSON's grammar, and no digits here make one.
            let json = serde_json::from_str::<serde_json::Value>(&text);
            let huge = text.contains(['e', 'E']);
            prop_assert!(is_number(text.as_bytes()) == json.is_ok() || huge && is_number(text.as_bytes()), "{}", text);
        }
    }
}
