//! Schema to compiled check. Whatever is not surely understood makes no check at all: the reference then judges.

use std::sync::Arc;

use serde_json::{Map, Value, json};

use super::check::{Format, Literals, Num, Pattern, Shape, Types};
use super::names::Names;
use super::reference;

/// A schema nested deeper is left to the reference; events nest no deeper than this either.
const DEPTH_MAX: usize = 128;
/// A pattern longer than this is left to the reference.
const PATTERN_BYTES_MAX: usize = 1_000;

/// The check of a schema; None if it holds a keyword beyond those known here.
pub(super) fn shape(schema: &Value) -> Option<Shape> {
    nested(schema, 1)
}

fn nested(schema: &Value, depth: usize) -> Option<Shape> {
    let keywords = match schema {
        Value::Bool(true) => return Some(Shape::default()),
        Value::Bool(false) => return Some(Shape::nothing()),
        Value::Object(keywords) if depth <= DEPTH_MAX => keywords,
        _ => return None,
    };
    let mut shape = Shape::default();
    for (keyword, value) in keywords {
        apply(&mut shape, keyword, value, depth)?;
    }
    Some(shape)
}

fn apply(shape: &mut Shape, keyword: &str, value: &Value, depth: usize) -> Option<()> {
    let rules = &mut shape.rules;
    match keyword {
        "$schema" | "$id" | "$comment" | "title" | "description" | "default" | "examples" | "deprecated"
        | "readOnly" | "writeOnly" => {}
        "type" => rules.types = types(value)?,
        "enum" => rules.literals.push(literals(value.as_array()?)?),
        "const" => rules.literals.push(literals(std::slice::from_ref(value))?),
        "minimum" => rules.minimum = Some(limit(value)?),
        "maximum" => rules.maximum = Some(limit(value)?),
        "minLength" => rules.length_min = value.as_u64()?,
        "maxLength" => rules.length_max = Some(value.as_u64()?),
        "pattern" => rules.pattern = Some(pattern(value.as_str()?)?),
        "format" => rules.format = Some(format(value.as_str()?)?),
        "required" => {
            shape.required =
                value.as_array()?.iter().map(|name| name.as_str().map(str::to_owned)).collect::<Option<_>>()?;
        }
        "properties" => shape.properties = properties(value.as_object()?, depth)?,
        "additionalProperties" => shape.additional = Some(Box::new(nested(value, depth + 1)?)),
        "items" => shape.items = Some(Box::new(nested(value, depth + 1)?)),
        _ => return None,
    }
    Some(())
}

fn properties(members: &Map<String, Value>, depth: usize) -> Option<Vec<(String, Shape)>> {
    members.iter().map(|(name, schema)| Some((name.clone(), nested(schema, depth + 1)?))).collect()
}

fn types(value: &Value) -> Option<Types> {
    let one = |name: &Value| {
        Some(match name.as_str()? {
            "null" => Types::NULL,
            "boolean" => Types::BOOLEAN,
            "integer" => Types::INTEGER,
            "number" => Types::NUMBER,
            "string" => Types::STRING,
            "array" => Types::ARRAY,
            "object" => Types::OBJECT,
            _ => return None,
        })
    };
    match value {
        Value::Array(names) => names.iter().try_fold(Types::NONE, |set, name| Some(set.with(one(name)?))),
        name => one(name),
    }
}

/// None if one of the values is an array or an object.
fn literals(values: &[Value]) -> Option<Literals> {
    let mut set = Literals::default();
    let mut texts = Vec::new();
    for value in values {
        match value {
            Value::Null => set.null = true,
            Value::Bool(true) => set.yes = true,
            Value::Bool(false) => set.no = true,
            Value::Number(number) => set.numbers.push(Num::of(number)?),
            Value::String(text) => texts.push(text.as_str()),
            Value::Array(_) | Value::Object(_) => return None,
        }
    }
    texts.sort_unstable();
    texts.dedup();
    set.texts = Names::new(&texts);
    Some(set)
}

fn limit(value: &Value) -> Option<Num> {
    match value {
        Value::Number(number) => Num::of(number),
        _ => None,
    }
}

fn format(name: &str) -> Option<Format> {
    match name {
        "uuid" => Some(Format::Uuid),
        "date-time" => Some(Format::DateTime(Arc::new(reference(&json!({"format": name})).ok()?))),
        _ => None,
    }
}

fn pattern(pattern: &str) -> Option<Pattern> {
    if is_plain(pattern)
        && let Ok(regex) = regex::bytes::Regex::new(pattern)
    {
        return Some(Pattern::Plain(regex));
    }
    Some(Pattern::Reference(Arc::new(reference(&json!({"pattern": pattern})).ok()?)))
}

/// Whether a pattern is built only of what ECMA-262 and the regex crate read alike: ASCII letters, digits and some punctuation as themselves, escaped
/// punctuation, classes without nesting or set operators, groups without `(?`, and the usual repetitions.
fn is_plain(pattern: &str) -> bool {
    let bytes = pattern.as_bytes();
    let mut at = 0;
    let mut in_class = false;
    while let Some(&byte) = bytes.get(at) {
        let next = bytes.get(at + 1).copied();
        match byte {
            b'\\' => {
                if !matches!(
                    next,
                    Some(
                        b'.' | b'/'
                            | b'-'
                            | b'+'
                            | b'*'
                            | b'?'
                            | b'('
                            | b')'
                            | b'['
                            | b']'
                            | b'{'
                            | b'}'
                            | b'^'
                            | b'$'
                            | b'|'
                            | b'\\'
                    )
                ) {
                    return false;
                }
                at += 1;
            }
            b'[' if !in_class => {
                in_class = true;
                // An empty class, or one that begins with a bracket, is read differently.
                let first = if next == Some(b'^') { 2 } else { 1 };
                if matches!(bytes.get(at + first), Some(b']' | b'[')) {
                    return false;
                }
                at += first - 1;
            }
            b']' if in_class => in_class = false,
            b'-' if in_class && next == Some(b'-') => return false,
            // Possessive and doubled repetitions, and `{,n}`.
            b'*' | b'+' | b'?' | b'}' if !in_class && matches!(next, Some(b'*' | b'+')) => return false,
            // A group with an extension, a lazy repetition.
            b'(' | b'?' if !in_class && next == Some(b'?') => return false,
            b'{' if !in_class && !next.is_some_and(|b| b.is_ascii_digit()) => return false,
            b'(' | b')' | b'|' | b'*' | b'+' | b'?' | b'{' | b'}' | b'^' | b'$' if !in_class => {}
            b'a'..=b'z'
            | b'A'..=b'Z'
            | b'0'..=b'9'
            | b'_'
            | b'-'
            | b' '
            | b':'
            | b'/'
            | b'@'
            | b','
            | b';'
            | b'='
            | b'!'
            | b'#'
            | b'%' => {}
            _ => return false,
        }
        at += 1;
    }
    !in_class && pattern.len() <= PATTERN_BYTES_MAX
}
