//! The file's own `tests`: events that are given, and what is expected of them. They are no part of the plan; `caudal check` runs them.

use serde_json::{Map, Value as Json};

use crate::pipeline::file::{File, bounded};
use crate::pipeline::section::{At, Faulty, Keys, Section, hint, mapping, number, text};
use crate::pipeline::yaml::{Node, Place, Value, quote};

/// Tests of one file.
const CASES_MAX: usize = 1_000;
/// Events that a test writes into the file itself; more belong into a file of their own.
const EVENTS_MAX: usize = 10_000;

const CASE: Keys = Keys { section: "a test", known: &["name", "topic", "given", "expect"], later: &[] };

/// What a test may expect beside rows: how many events had this fate.
pub const FATES: [&str; 5] = ["counted", "duplicate", "filtered", "invalid", "late"];

/// One test.
#[derive(Clone, Debug)]
pub struct Case {
    pub name: String,
    /// The topic of events that name none.
    pub topic: Option<At<String>>,
    pub given: Given,
    pub expected: Vec<(At<String>, Expected)>,
}

#[derive(Clone, Debug)]
pub enum Given {
    /// NDJSON, relative to the pipeline file.
    File(At<String>),
    Events(Vec<Json>),
}

/// Of a window or a fate.
#[derive(Clone, Debug)]
pub enum Expected {
    /// So many rows or events.
    Number(u64),
    /// At least these rows, each with these values.
    Rows(Vec<At<Map<String, Json>>>),
}

pub fn cases(node: &Node, faults: &mut Faulty) -> Vec<Case> {
    let Value::List(items) = &node.value else {
        let allowed = "a list of {name: …, given: …, expect: …}";
        faults.note(node.place, format!("tests: {} stands where {allowed} is allowed", node.value.describe()));
        return Vec::new();
    };
    bounded(items.len(), (0, CASES_MAX), "tests", node, faults);
    items.iter().filter_map(|item| case(item, faults)).collect()
}

fn case(node: &Node, faults: &mut Faulty) -> Option<Case> {
    let section = Section::read(node, &CASE, faults);
    let name = match section.get("name") {
        Some(node) => text(node, "what the test shows", faults).map(str::to_owned),
        None => section.missing("name: TEXT", "says what the test shows", faults),
    };
    let topic = section
        .get("topic")
        .and_then(|node| text(node, "a topic's name", faults).map(|it| At { place: node.place, it: it.to_owned() }));
    let given = match section.get("given") {
        Some(node) => given(node, faults),
        None => section.missing("given: FILE", "names the events: an NDJSON file or a list of them", faults),
    };
    let expected = match section.get("expect") {
        Some(node) => expected(node, faults),
        None => section.missing("expect: {WINDOW: [ROW, …], counted: N}", "says what must come out", faults),
    };
    Some(Case { name: name?, topic, given: given?, expected })
}

fn given(node: &Node, faults: &mut Faulty) -> Option<Given> {
    match &node.value {
        Value::Text(path) => Some(Given::File(At { place: node.place, it: path.clone() })),
        Value::List(events) => {
            bounded(events.len(), (0, EVENTS_MAX), "events in a test", node, faults);
            Some(Given::Events(events.iter().map(|node| node.value.to_json()).collect()))
        }
        other => {
            let allowed = "an NDJSON file or a list of events";
            faults.note(node.place, format!("given: {} stands where {allowed} is allowed", other.describe()));
            None
        }
    }
}

fn expected(node: &Node, faults: &mut Faulty) -> Vec<(At<String>, Expected)> {
    let allowed = "expect: a mapping from a window or a fate to rows or a number";
    let mut all = Vec::new();
    for (key, node) in mapping(node, allowed, faults) {
        let expected = match &node.value {
            Value::List(rows) => Expected::Rows(rows.iter().filter_map(|row| object(row, faults)).collect()),
            _ => match number(node, &key.name, (0.0, 1e15), faults) {
                Some(count) => Expected::Number(count as u64),
                None => continue,
            },
        };
        all.push((At { place: key.place, it: key.name.clone() }, expected));
    }
    if all.is_empty() && !matches!(&node.value, Value::Map(entries) if !entries.is_empty()) {
        faults.note(node.place, "expect: a test that expects nothing cannot fail");
    }
    all
}

fn object(node: &Node, faults: &mut Faulty) -> Option<At<Map<String, Json>>> {
    if let Json::Object(it) = node.value.to_json() {
        return Some(At { place: node.place, it });
    }
    faults.note(node.place, format!("expect: {} stands where a row is allowed", node.value.describe()));
    None
}

/// Notes what a test names and the pipeline does not have. `columns` gives a window's columns; none of them are known where the window has a fault.
pub fn check(file: &File, columns: impl Fn(&str) -> Option<Vec<String>>, faults: &mut Faulty) {
    let windows = || file.windows.iter().map(|window| window.name.it.as_str());
    for case in &file.cases {
        for (what, expected) in &case.expected {
            let is_fate = FATES.contains(&what.it.as_str());
            match (columns(&what.it), expected) {
                (Some(columns), Expected::Rows(rows)) => rows.iter().for_each(|row| check_row(row, &columns, faults)),
                (Some(_), Expected::Number(_)) => {}
                (None, Expected::Number(_)) if is_fate => {}
                (None, Expected::Rows(_)) if is_fate => {
                    faults.note(what.place, format!("expect: {} is a number of events", what.it));
                }
                (None, _) => {
                    let hint = hint(&what.it, windows().chain(FATES));
                    let fates = FATES.join(", ");
                    faults.note(
                        what.place,
                        format!("expect: {} is no window and none of {fates}{hint}", quote(&what.it)),
                    );
                }
            }
        }
        if let Some(topic) = &case.topic {
            let names = || file.topics.iter().map(|topic| topic.name.it.as_str());
            if !names().any(|name| name == topic.it) {
                let hint = hint(&topic.it, names());
                faults.note(topic.place, format!("topic: this file has no topic {}{hint}", quote(&topic.it)));
            }
        }
    }
}

fn check_row(row: &At<Map<String, Json>>, columns: &[String], faults: &mut Faulty) {
    for name in row.it.keys().filter(|name| !columns.is_empty() && !columns.contains(name)) {
        let hint = hint(name, columns.iter().map(String::as_str));
        let place: Place = row.place;
        faults.note(place, format!("expect: a row has no {}{hint}; it has {}", quote(name), columns.join(", ")));
    }
}
