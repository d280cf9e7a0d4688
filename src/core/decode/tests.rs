//! The pass against the reference: the same verdict on any schema and any line.

use proptest::prelude::*;
use serde_json::{Map, Value, json};

use super::*;
use crate::core::schema::Schema;

/// The compiled check's verdict and the reference's, on `{"v": instance}` under a schema for `v`.
fn verdicts(schema: &Value, instance: &str) -> (bool, bool) {
    let schema = Schema::compile(&json!({"properties": {"v": schema}}).to_string()).unwrap();
    assert!(schema.is_compiled(), "{schema:?}");
    let line = format!("{{\"v\":{instance}}}");
    let program = Program::new(&Wanted { shape: schema.shape(), paths: &[] }, 0);
    let compiled = walk(line.as_bytes(), &program, &mut Scratch::default()).unwrap();
    (compiled, schema.accepts(&serde_json::from_str(&line).unwrap()))
}

#[test]
fn the_compiled_check_is_the_reference_in_the_details() {
    let date = json!({"format": "date-time"});
    let uuid = json!({"format": "uuid"});
    let cases = [
        (json!({"type": "integer"}), "5.0", true),
        (json!({"type": "integer"}), "5e0", true),
        (json!({"type": "integer"}), "1e300", true),
        (json!({"type": "integer"}), "-0", true),
        (json!({"type": "integer"}), "5.5", false),
        (json!({"type": "integer"}), "18446744073709551616", true),
        (json!({"type": "number"}), "5", true),
        (json!({"type": ["integer", "null"]}), "5.5", false),
        (json!({"type": ["null", "string"]}), "null", true),
        (json!({"const": 1}), "1.0", true),
        (json!({"const": 1.0}), "1", true),
        (json!({"const": 0}), "-0.0", true),
        (json!({"const": 9_007_199_254_740_993_u64}), "9007199254740993", true),
        (json!({"const": 9_007_199_254_740_993_u64}), "9007199254740992", false),
        (json!({"const": 9_007_199_254_740_993_u64}), "9007199254740992.0", false),
        (json!({"const": 18_446_744_073_709_551_615_u64}), "18446744073709551616", false),
        (json!({"enum": ["a", null, 2, true]}), "\"\\u0061\"", true),
        (json!({"enum": ["a", null, 2, true]}), "2e0", true),
        (json!({"enum": ["a", null, 2, true]}), "false", false),
        (json!({"enum": ["a", null, 2, true]}), "[]", false),
        (json!({"enum": []}), "1", false),
        (json!({"minimum": 3}), "3.0", true),
        (json!({"minimum": 3}), "2.9999999999999999999", true),
        (json!({"minimum": 3}), "\"1\"", true),
        (json!({"maximum": 9_007_199_254_740_993_u64}), "9007199254740994.0", false),
        (json!({"minLength": 2}), "\"\u{1F600}\"", false),
        (json!({"maxLength": 1}), "\"\\uD83D\\uDE00\"", true),
        (json!({"maxLength": 1}), "\"e\u{301}\"", false),
        (json!({"pattern": "b+"}), "\"abc\"", true),
        (json!({"pattern": "^[0-9]+\\.[0-9]+$"}), "\"1.0\\n\"", false),
        (json!({"pattern": "^\\d$"}), "\"\u{0662}\"", false),
        (json!({"pattern": "^.$"}), "\"\\u2028\"", false),
        (date.clone(), "\"2026-11-22T12:00:00Z\"", true),
        (date.clone(), "\"2016-12-31T23:59:60Z\"", true),
        (date.clone(), "\"2016-12-31T23:58:60Z\"", false),
        (date.clone(), "\"0000-01-01T00:00:00Z\"", true),
        (date.clone(), "\"2026-11-22 12:00:00Z\"", false),
        (date.clone(), "\"2026-11-22t12:00:00.000000001z\"", true),
        (date, "7", true),
        (uuid.clone(), "\"9531985D-5d9d-49f8-9818-e811892f902b\"", true),
        (uuid.clone(), "\"9531985d5d9d49f89818e811892f902b\"", false),
        (uuid.clone(), "\"{531985d-5d9d-49f8-9818-e811892f902b\"", false),
        (uuid, "\"00000000-0000-0000-0000-000000000000\"", true),
        (json!({"required": ["a"]}), "{\"\\u0061\":1}", true),
        (json!({"required": ["a"]}), "{\"b\":1}", false),
        (json!({"required": ["a"]}), "[]", true),
        (json!({"additionalProperties": false, "required": ["a"]}), "{\"a\":1}", false),
        (json!({"additionalProperties": {"type": "string"}}), "{\"a\":\"\",\"b\":1}", false),
        (json!({"items": {"type": "string"}}), "[\"\",1]", false),
        (json!({"items": false}), "[]", true),
        (json!(true), "{}", true),
        (json!(false), "null", false),
    ];
    for (schema, instance, expected) in cases {
        assert_eq!(verdicts(&schema, instance), (expected, expected), "{schema} {instance}");
    }
}

/// Few names and values, so that schemas and events meet.
fn scalar() -> impl Strategy<Value = Value> {
    prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        (-3i64..4).prop_map(Value::from),
        (-6i32..7).prop_map(|n| Value::from(f64::from(n) / 2.0)),
        prop_oneof![Just(i64::MAX), Just(i64::MIN), Just((1 << 53) + 1)].prop_map(Value::from),
        Just(Value::from(u64::MAX)),
        any::<f64>().prop_filter("JSON holds finite numbers", |f| f.is_finite()).prop_map(Value::from),
        "[ab0-9é😀\n\"\\\\]{0,3}".prop_map(Value::from),
        "20(16|2[0-9])-(0[0-9]|1[0-3])-([0-2][0-9]|3[01])[Tt ](2[0-4]|1[0-9]):[0-6][0-9]:(59|60)(\\.[0-9]{0,8})?([Zz]|[+-]0[0-9]:[0-6][0-9])"
            .prop_map(Value::from),
        "[0-9a-fA-Fg]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}[-0][0-9a-f]{12}".prop_map(Value::from),
    ]
}

fn name() -> impl Strategy<Value = String> {
    "[abc]|dé|long_name"
}

fn instance() -> impl Strategy<Value = Value> {
    scalar().prop_recursive(3, 20, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::btree_map(name(), inner, 0..5).prop_map(|m| Value::Object(m.into_iter().collect())),
        ]
    })
}

fn keyword() -> impl Strategy<Value = (&'static str, Value)> {
    let kind = || prop::sample::select(vec!["null", "boolean", "integer", "number", "string", "array", "object"]);
    let pattern = prop::sample::select(vec![
        "a",
        "^a",
        "b$",
        "^[ab]+$",
        "^[^a]*$",
        "^(a|b){1,2}$",
        "\\d",
        "^\\w+$",
        "^.$",
        ".",
        "\\.",
        "\\s",
        "^\\S*$",
        "",
        "a??",
        "(?=a)a",
        "^[0-9]{4}-",
        "[\\]a]",
        "é",
        "^\\p{L}",
    ]);
    prop_oneof![
        3 => kind().prop_map(|t| ("type", Value::from(t))),
        1 => prop::collection::btree_set(kind(), 1..4).prop_map(|t| ("type", Value::from(t.into_iter().collect::<Vec<_>>()))),
        2 => prop::collection::vec(scalar(), 0..5).prop_map(|v| ("enum", Value::from(v))),
        1 => scalar().prop_map(|v| ("const", v)),
        1 => scalar().prop_filter("a limit is a number", Value::is_number).prop_map(|v| ("minimum", v)),
        1 => scalar().prop_filter("a limit is a number", Value::is_number).prop_map(|v| ("maximum", v)),
        1 => (0u64..4).prop_map(|n| ("minLength", Value::from(n))),
        1 => (0u64..4).prop_map(|n| ("maxLength", Value::from(n))),
        1 => pattern.prop_map(|p| ("pattern", Value::from(p))),
        1 => prop::sample::select(vec!["date-time", "uuid"]).prop_map(|f| ("format", Value::from(f))),
        2 => prop::collection::btree_set(name(), 0..4).prop_map(|n| ("required", Value::from(n.into_iter().collect::<Vec<_>>()))),
        1 => Just(("description", Value::from("said"))),
    ]
}

fn schema() -> impl Strategy<Value = Value> {
    let flat = prop_oneof![
        8 => prop::collection::vec(keyword(), 0..4).prop_map(object),
        1 => any::<bool>().prop_map(Value::from),
    ];
    flat.prop_recursive(3, 20, 4, |inner| {
        let properties = prop::collection::btree_map(name(), inner.clone(), 0..4);
        (
            prop::collection::vec(keyword(), 0..2),
            prop::option::of(properties),
            prop::option::of(inner.clone()),
            prop::option::of(inner),
        )
            .prop_map(|(keywords, properties, additional, items)| {
                let nested = [
                    properties.map(|p| ("properties", Value::Object(p.into_iter().collect()))),
                    additional.map(|a| ("additionalProperties", a)),
                    items.map(|i| ("items", i)),
                ];
                object(keywords.into_iter().chain(nested.into_iter().flatten()).collect())
            })
    })
}

fn object(members: Vec<(&'static str, Value)>) -> Value {
    Value::Object(members.into_iter().map(|(name, value)| (name.to_owned(), value)).collect::<Map<_, _>>())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4_000))]

    #[test]
    fn the_compiled_check_and_the_reference_agree(schema in schema(), instances in prop::collection::vec(instance(), 8)) {
        for instance in instances {
            let (compiled, reference) = verdicts(&schema, &instance.to_string());
            prop_assert_eq!(compiled, reference, "{} on {}", schema, instance);
        }
    }

    #[test]
    fn an_accepted_line_is_the_same_tree_as_the_reference_parser_makes(instance in instance()) {
        let line = json!({"v": instance}).to_string();
        let program = Program::new(&Wanted { shape: None, paths: &[] }, 0);
        prop_assert_eq!(walk(line.as_bytes(), &program, &mut Scratch::default()), Ok(true));
        prop_assert_eq!(value(line.as_bytes()), serde_json::from_str::<Value>(&line).unwrap());
    }
}
