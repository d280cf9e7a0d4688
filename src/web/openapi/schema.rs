//! Topics' JSON Schemas as parts of the document. A reference within one begins at its root, which is now a part of a larger whole.

use serde_json::{Map, Value, json};

/// Whose values are no schemas, so that a `$ref` in them is none.
const DATA: [&str; 5] = ["const", "enum", "default", "examples", "example"];
/// Whose members are schemas, under names that mean nothing else.
const NAMED: [&str; 5] = ["properties", "patternProperties", "$defs", "definitions", "dependentSchemas"];
/// What says of which draft and where a schema is; neither holds within the document.
const OF_A_ROOT: [&str; 2] = ["$schema", "$id"];

/// The schema of this text at this place of the document.
pub fn placed(text: &str, place: &str) -> Value {
    let mut schema: Value = serde_json::from_str(text).unwrap_or_else(|_| json!({}));
    if let Some(root) = schema.as_object_mut() {
        root.retain(|name, _| !OF_A_ROOT.contains(&name.as_str()));
    }
    refer(&mut schema, place);
    schema
}

fn refer(schema: &mut Value, place: &str) {
    match schema {
        Value::Array(items) => items.iter_mut().for_each(|item| refer(item, place)),
        Value::Object(members) => {
            for (name, value) in members {
                match value {
                    Value::String(to) if name == "$ref" => {
                        if let Some(within) = to.strip_prefix('#') {
                            *to = format!("{place}{within}");
                        }
                    }
                    Value::Object(named) if NAMED.contains(&name.as_str()) => {
                        named.values_mut().for_each(|schema| refer(schema, place));
                    }
                    value if !DATA.contains(&name.as_str()) => refer(value, place),
                    _ => {}
                }
            }
        }
        _ => {}
    }
}

/// The schema with these members not asked for: a route fills them.
pub fn without_asking(mut schema: Value, filled: &[&str]) -> Value {
    if let Some(required) = schema.get_mut("required").and_then(Value::as_array_mut) {
        required.retain(|name| !filled.iter().any(|filled| name == filled));
    }
    schema
}

/// The schema without this member: the path says what it is.
pub fn without(mut schema: Value, member: &str) -> Value {
    if let Some(members) = schema.get_mut("properties").and_then(Value::as_object_mut) {
        members.retain(|name, _| name != member);
    }
    without_asking(schema, &[member])
}

/// A closed object with these members, all of them asked for.
pub fn closed(members: &Map<String, Value>) -> Value {
    let names: Vec<&String> = members.keys().collect();
    json!({"type": "object", "properties": members, "required": names, "additionalProperties": false})
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn references_go_where_the_schema_is() {
        let check = |text: Value, expected: Value| {
            assert_eq!(placed(&text.to_string(), "#/components/schemas/t"), expected, "{text}");
        };
        check(json!({"$schema": "x", "$id": "y", "type": "object"}), json!({"type": "object"}));
        check(
            json!({"$defs": {"a": {"type": "string"}}, "properties": {"x": {"$ref": "#/$defs/a"}, "me": {"$ref": "#"}}}),
            json!({"$defs": {"a": {"type": "string"}}, "properties": {
                "x": {"$ref": "#/components/schemas/t/$defs/a"}, "me": {"$ref": "#/components/schemas/t"}}}),
        );
        check(
            json!({"allOf": [{"$ref": "#/$defs/a"}]}),
            json!({"allOf": [{"$ref": "#/components/schemas/t/$defs/a"}]}),
        );
        // Data that looks like one, and a member of that name.
        check(json!({"const": {"$ref": "#/a"}}), json!({"const": {"$ref": "#/a"}}));
        check(json!({"properties": {"$ref": {"type": "string"}}}), json!({"properties": {"$ref": {"type": "string"}}}));
        check(
            json!({"properties": {"default": {"$ref": "#/a"}}}),
            json!({"properties": {"default": {"$ref": "#/components/schemas/t/a"}}}),
        );
        check(json!(true), json!(true));
    }
}
