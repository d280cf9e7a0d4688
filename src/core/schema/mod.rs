//! A topic's JSON Schema: the `jsonschema` crate as the reference, and a check compiled from the schema for the keywords that the hot path knows.

mod check;
mod compile;
mod names;
mod uuid;

use std::fmt;

use jsonschema::{Draft, Validator};
use serde_json::Value;

pub(in crate::core) use check::{Num, Parsed, Rules, Shape};
pub(in crate::core) use names::Names;
pub(in crate::core) use uuid::uuid;

use crate::core::path::{FieldPath, Step};

/// A compiled schema, draft 2020-12, formats asserted.
pub struct Schema {
    text: Value,
    reference: Validator,
    shape: Option<Shape>,
}

/// Why a schema's text is refused.
#[derive(Debug, thiserror::Error)]
#[error("not a usable JSON Schema: {0}")]
pub struct SchemaError(pub String);

/// What a schema says about one field.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FieldType {
    String,
    Integer,
    Number,
    Boolean,
    /// Described, but as anything else (an object, an array, several types).
    Other,
}

/// A chain of `$ref` longer than this describes nothing: it is a circle.
const REFERENCES_MAX: usize = 16;
/// A refusal's text is cut here: it may quote the event's values, and those may be large.
const DETAIL_CHARS_MAX: usize = 500;

impl Schema {
    /// # Errors
    /// If the text is no JSON, or no schema of draft 2020-12, or refers to what is not in it.
    pub fn compile(text: &str) -> Result<Self, SchemaError> {
        let text: Value = serde_json::from_str(text).map_err(|e| SchemaError(e.to_string()))?;
        let reference = reference(&text)?;
        let shape = compile::shape(&text);
        Ok(Self { text, reference, shape })
    }

    /// The type of the field at this path; None where the schema does not describe it.
    #[must_use]
    pub fn field(&self, path: &FieldPath) -> Option<FieldType> {
        let place = self.place(path)?;
        let kind = match place.get("type") {
            // A field that may also be null is what it is otherwise.
            Some(Value::Array(types)) => {
                let mut others = types.iter().filter(|kind| kind.as_str() != Some("null"));
                others.next().filter(|_| others.next().is_none())
            }
            other => other,
        };
        Some(match kind.and_then(Value::as_str) {
            Some("string") => FieldType::String,
            Some("integer") => FieldType::Integer,
            Some("number") => FieldType::Number,
            Some("boolean") => FieldType::Boolean,
            _ => FieldType::Other,
        })
    }

    /// Whether the schema says that the field at this path may be null; None where it does not describe the field.
    #[must_use]
    pub fn nullable(&self, path: &FieldPath) -> Option<bool> {
        let null = Some("null");
        Some(match self.place(path)?.get("type") {
            Some(Value::Array(types)) => types.iter().any(|kind| kind.as_str() == null),
            other => other.and_then(Value::as_str) == null,
        })
    }

    /// What the schema says about the field at this path.
    fn place(&self, path: &FieldPath) -> Option<&Value> {
        let mut place = self.resolve(&self.text)?;
        for step in &path.0 {
            let below = match step {
                Step::Name(name) => place.get("properties")?.get(name)?,
                Step::Item(item) => {
                    let own = place.get("prefixItems").and_then(|items| items.get(*item as usize));
                    own.or_else(|| place.get("items"))?
                }
            };
            place = self.resolve(below)?;
        }
        Some(place)
    }

    /// Whether the hot path's compiled check covers every keyword of the schema; if not, the crate judges each event.
    #[must_use]
    pub fn is_compiled(&self) -> bool {
        self.shape.is_some()
    }

    /// The compiled check; None as `is_compiled` says.
    pub(in crate::core) fn shape(&self) -> Option<&Shape> {
        self.shape.as_ref()
    }

    /// The reference's verdict.
    pub(in crate::core) fn accepts(&self, event: &Value) -> bool {
        self.reference.is_valid(event)
    }

    /// The JSON pointer of the first place that the reference refuses, and what is wrong there; of the event itself, which has no pointer to be
    /// shown, only what is wrong.
    pub(in crate::core) fn refusal(&self, event: &Value) -> String {
        let error = self.reference.iter_errors(event).next();
        let detail = error.map(|error| match error.instance_path().as_str() {
            "" => error.to_string(),
            place => format!("{place}: {error}"),
        });
        let detail = detail.unwrap_or_default();
        match detail.char_indices().nth(DETAIL_CHARS_MAX) {
            None => detail,
            Some((end, _)) => format!("{}…", detail.get(..end).unwrap_or_default()),
        }
    }

    /// Follows `$ref` within the schema.
    fn resolve<'a>(&'a self, mut place: &'a Value) -> Option<&'a Value> {
        for _ in 0..REFERENCES_MAX {
            let Some(reference) = place.get("$ref") else { return Some(place) };
            place = self.text.pointer(reference.as_str()?.strip_prefix('#')?)?;
        }
        None
    }
}

impl fmt::Debug for Schema {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Schema")
            .field("text", &self.text)
            .field("is_compiled", &self.is_compiled())
            .finish_non_exhaustive()
    }
}

/// The crate's validator, as every schema of a topic is judged.
fn reference(schema: &Value) -> Result<Validator, SchemaError> {
    jsonschema::options().with_draft(Draft::Draft202012).should_validate_formats(true).build(schema).map_err(
        |e| match e.instance_path().as_str() {
            "" => SchemaError(e.to_string()),
            place => SchemaError(format!("{place}: {e}")),
        },
    )
}
