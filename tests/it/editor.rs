//! The JSON Schema of the pipeline file: an independent validator takes every pipeline file there is and refuses what `check` refuses; it names the very
//! keys that the reader knows, and the defaults that hold.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::process::Command;

use caudal::pipeline::{Bundle, FILE_SCHEMA, FileText, duration};
use jsonschema::Validator;
use serde_json::{Value, json};

use crate::support::job::caudal;
use crate::support::keys::{pipeline_files, sections};

fn schema() -> Value {
    serde_json::from_str(FILE_SCHEMA).unwrap()
}

fn validator() -> Validator {
    jsonschema::draft202012::options().should_validate_formats(true).build(&schema()).unwrap()
}

fn yaml(text: &str) -> Value {
    // As YAML 1.2 has it, and the reader: `n` is a text, such as a metric's name.
    let options = serde_saphyr::options! { strict_booleans: true };
    serde_saphyr::from_str_with_options(text, options).unwrap_or_else(|error| panic!("{error}\n{text}"))
}

/// Every part of the schema that lists keys, with its title.
fn listed<'a>(schema: &'a Value, into: &mut Vec<(&'a str, &'a serde_json::Map<String, Value>)>) {
    if let Value::Object(map) = schema {
        if let Some(properties) = map.get("properties").and_then(Value::as_object) {
            let title = map.get("title").and_then(Value::as_str);
            into.push((title.unwrap_or_else(|| panic!("without a title: {schema}")), properties));
        }
        for below in map.values() {
            listed(below, into);
        }
    } else if let Value::Array(items) = schema {
        for below in items {
            listed(below, into);
        }
    }
}

#[test]
fn it_names_exactly_the_keys_that_the_reader_knows() {
    let schema = schema();
    let mut parts = Vec::new();
    listed(&schema, &mut parts);
    let mut named: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for (title, properties) in parts {
        named.entry(title.to_owned()).or_default().extend(properties.keys().cloned());
    }
    assert!(named.len() > 8, "{named:?}");
    assert_eq!(named, sections());
}

#[test]
fn it_takes_every_pipeline_file_there_is() {
    let validator = validator();
    for file in pipeline_files() {
        let refused = |text: &str| -> Vec<String> {
            let file = yaml(text);
            validator.iter_errors(&file).map(|error| format!("{}: {error}", error.instance_path())).collect()
        };
        let text = fs::read_to_string(&file).unwrap();
        assert_eq!(refused(&text), [""; 0], "{}", file.display());
        let (_, spelled) = Bundle::read(&[file]).unwrap().explained().unwrap();
        assert_eq!(refused(&spelled[0].yaml), [""; 0], "{}", spelled[0].yaml);
    }
}

const RIGHT: &str = "\
pipeline: p
topics:
  a: {schema: a.json}
  b: {schema: a.json, id: ~}
id: id
time: {field: at}
windows:
  w:
    every: 5s
    group: [region]
    metrics: {n: count()}
views:
  v: {key: region, latest: [at]}
alerts:
  odd: {on: w, anomaly: {metric: \"n\", history: 5, ewma: 0.5}}
webhooks:
  ops: {on: [odd], url: http://ops.example.com/}
";

fn bundle(text: &str) -> Bundle {
    let properties = json!({"id": {"type": "string"}, "at": {"type": "string"}, "region": {"type": "string"}});
    let schema = json!({"properties": properties}).to_string();
    let file =
        FileText { file: "p.yaml".to_owned(), text: text.to_owned(), schemas: vec![("a.json".to_owned(), schema)] };
    Bundle(vec![file])
}

/// What of `RIGHT`, what in its place: refused by the schema, and by `check` too.
#[test]
fn it_refuses_what_check_refuses() {
    let validator = validator();
    let errors: Vec<String> = validator.iter_errors(&yaml(RIGHT)).map(|error| error.to_string()).collect();
    assert_eq!(errors, [""; 0]);
    assert!(bundle(RIGHT).pipelines().is_ok());
    for (part, instead) in [
        ("pipeline: p\n", ""),
        ("pipeline: p", "pipeline: Civic"),
        ("pipeline: p", "pipeline: 5"),
        ("pipeline: p", "pipelin: p"),
        ("pipeline: p", "pipeline: p\naudit: some"),
        ("pipeline: p", "pipeline: p\ndedup: {remember: 5}"),
        ("pipeline: p", "pipeline: p\ndedup: {forget: 5s}"),
        ("pipeline: p", "pipeline: p\nderive: {Big: 1}"),
        ("pipeline: p", "pipeline: p\nderive: {big: [1]}"),
        ("pipeline: p", "pipeline: p\nfilter: ~"),
        ("pipeline: p", "pipeline: p\ntopic_field: 1"),
        ("pipeline: p", "pipeline: p\ngenerate: {weights: {a: -1}}"),
        ("pipeline: p", "pipeline: p\ngenerate: {burst: {topic: a, probability: 2, size: 1}}"),
        ("pipeline: p", "pipeline: p\ngenerate: {burst: {topic: a, size: 1}}"),
        ("pipeline: p", "pipeline: p\ntests: [{name: x, given: [], expect: {}}]"),
        ("pipeline: p", "pipeline: p\ntests: [{name: x, expect: {w: 1}}]"),
        ("pipeline: p", "pipeline: p\ntests: {}"),
        ("a: {schema: a.json}", "A b: {schema: a.json}"),
        ("a: {schema: a.json}", "a: {id: id}"),
        ("a: {schema: a.json}", "a: a.json"),
        ("id: id", "id: 7"),
        ("{field: at}", "{field: at, out_of_order: 2}"),
        ("{field: at}", "{field: at, max_futre: 1m}"),
        ("{field: at}", "{field: at, format: unix}"),
        ("{field: at}", "{field: at, zone: Chile}"),
        ("every: 5s", "every: 5"),
        ("every: 5s", "every: 1.5s"),
        ("every: 5s", "every: {size: 10s}"),
        ("every: 5s", "every: {size: 10s, every: 5s, gap: 1s}"),
        ("    every: 5s\n", ""),
        ("every: 5s", "every: 5s\n    late: {within: 1s}"),
        ("every: 5s", "every: 5s\n    emit: sometimes"),
        ("every: 5s", "every: 5s\n    top: {n: 1.5, by: n}"),
        ("every: 5s", "every: 5s\n    top: {n: 3}"),
        ("every: 5s", "gap: 30s\n    every: 5s"),
        ("[region]", "region"),
        ("{n: count()}", "{}"),
        ("{n: count()}", "{N: count()}"),
        ("{n: count()}", "{n: 1}"),
        ("latest: [at]", "latest: []"),
        ("latest: [at]", "latest: [at], history: sometimes"),
        ("key: region, ", ""),
        ("odd: {on: w", "Odd: {on: w"),
        ("odd: {on: w, ", "odd: {"),
        ("odd: {on: w, ", "odd: {on: w, when: n > 1, "),
        ("odd: {on: w, ", "odd: {on: w, key: region, "),
        ("history: 5", "history: 1"),
        ("history: 5, ", ""),
        ("ewma: 0.5", "ewma: 1"),
        ("ewma: 0.5", "zscore: 3, ewma: 0.5"),
        ("ewma: 0.5", "zscore: 3, deviations: 3"),
        (", ewma: 0.5", ""),
        ("anomaly: {metric: \"n\", history: 5, ewma: 0.5}", "topic: told"),
        (
            "on: w, anomaly: {metric: \"n\", history: 5, ewma: 0.5}",
            "key: region, count: \"TRUE\", at_least: 2, within: 1s",
        ),
        (
            "on: w, anomaly: {metric: \"n\", history: 5, ewma: 0.5}",
            "key: region, count: \"TRUE\", at_least: 2, for: 1s",
        ),
        ("on: w, anomaly: {metric: \"n\", history: 5, ewma: 0.5}", "key: region, at_least: 2, within: 1s, for: 1s"),
        ("url: http://ops.example.com/", "url: ftp://ops.example.com/"),
        ("url: http://ops.example.com/", "url: \"http://ops.example.com/${KEY}\""),
        ("url: http://ops.example.com/", "url: \"${key}\""),
        ("url: http://ops.example.com/", "retry: 1s"),
        ("on: [odd], ", ""),
        ("on: [odd]", "on: odd"),
        ("on: [odd]", "on: []"),
        ("ops: {", "Ops: {"),
        ("views:", "emit: {c: {from: a}}\nviews:"),
        ("views:", "emit: {c: {body: {r: region}}}\nviews:"),
        ("views:", "emit: {c: {from: a, body: {}}}\nviews:"),
        ("views:", "emit: {c: {join: {x: a, y: b}, on: id, body: {r: x.region}}}\nviews:"),
        ("views:", "emit: {c: {join: {x: a, y: b}, within: 1s, body: {r: x.region}}}\nviews:"),
        ("views:", "emit: {c: {join: {x: a}, on: id, within: 1s, body: {r: x.region}}}\nviews:"),
        ("views:", "emit: {c: {join: {x: a, Y: b}, on: id, within: 1s, body: {r: x.region}}}\nviews:"),
        ("views:", "emit: {c: {join: {x: a, y: b}, from: a, on: id, within: 1s, body: {r: x.region}}}\nviews:"),
        ("views:", "emit: {c: {from: a, within: 1s, body: {r: region}}}\nviews:"),
        ("views:", "emit: {c: {from: [], body: {r: region}}}\nviews:"),
        ("views:", "emit: {c: {from: a, body: {event_id: id}}}\nviews:"),
        ("views:", "emit: {C: {from: a, body: {r: region}}}\nviews:"),
        ("group: [region]", "group: [region]\n    topic: C"),
    ] {
        assert!(RIGHT.contains(part), "{part}");
        let text = RIGHT.replacen(part, instead, 1);
        assert!(!validator.is_valid(&yaml(&text)), "the schema takes\n{text}");
        assert!(bundle(&text).pipelines().is_err(), "check takes\n{text}");
    }
}

/// The schema's defaults are those that `explain` spells out for a file that says nothing of them.
#[test]
fn its_defaults_are_those_that_hold() {
    let (_, spelled) = bundle(RIGHT).explained().unwrap();
    let effective = yaml(&spelled[0].yaml);
    let schema = schema();
    let mut parts = Vec::new();
    listed(&schema, &mut parts);
    let mut compared = BTreeSet::new();
    for (title, properties) in parts {
        let place = match title {
            "a pipeline file" => "",
            "time" => "/topics/a/time",
            "dedup" => "/topics/a/dedup",
            "a window" => "/windows/w",
            "late" => "/windows/w/late",
            "a view" => "/views/v",
            "a webhook" => "/webhooks/ops",
            "anomaly" => "/alerts/odd/anomaly",
            _ => "/nowhere",
        };
        for (key, property) in properties {
            let Some(default) = property.get("default") else { continue };
            let holds = effective.pointer(&format!("{place}/{key}"));
            let holds = holds.unwrap_or_else(|| panic!("{title}: {key} of {place} is not in\n{effective:#}"));
            let span = |value: &Value| value.as_str().and_then(duration::parse);
            let same = if key == "group" { holds == &json!(["region"]) } else { holds == default };
            assert!(
                same || (span(holds).is_some() && span(holds) == span(default)),
                "{title}: {key}: {holds}, {default}"
            );
            compared.insert(format!("{title}.{key}"));
        }
    }
    assert!(compared.len() >= 14, "{compared:?}");
}

#[test]
fn check_prints_it() {
    let output = Command::new(caudal()).args(["check", "--schema"]).output().unwrap();
    assert!(output.status.success());
    assert_eq!(String::from_utf8(output.stdout).unwrap(), FILE_SCHEMA);
    let both = Command::new(caudal()).args(["check", "--schema", "p.yaml"]).output().unwrap();
    assert_eq!(both.status.code(), Some(2));
    let neither = Command::new(caudal()).arg("check").output().unwrap();
    assert_eq!(neither.status.code(), Some(2));
}
