//! What a file emits: events made of events (`emit`) and of closed rows (a window's `topic`), and how the topics look that come of it.

use serde_json::{Map, Value as Json, json};

use crate::core::condition;
use crate::core::emit::{ID, TIME};
use crate::core::expression::Type;
use crate::core::plan::{BodyField, EmitPlan, FieldPath, Source, Step, WindowPlan};
use crate::core::units::TopicId;
use crate::pipeline::columns::Columns;
use crate::pipeline::file::{TOPICS_MAX, bounded, sql};
use crate::pipeline::joins::{self, Join, join};
use crate::pipeline::names::{path_of, topic_name};
use crate::pipeline::plan::of_event;
use crate::pipeline::section::{At, Faulty, Keys, Section, hint, mapping, text};
use crate::pipeline::sql;
use crate::pipeline::topics::{Described, Topics};
use crate::pipeline::yaml::{Node, Value, quote};

/// Of one pipeline; every event is looked at for each.
const EMITS_MAX: usize = 100;
/// Fields of an event that is emitted.
const BODY_MAX: usize = 200;

const EMIT: Keys =
    Keys { section: "an entry of emit", known: &["from", "when", "join", "on", "within", "body"], later: &[] };

#[derive(Debug)]
pub struct Emit {
    pub topic: At<String>,
    /// None was noted.
    pub source: Option<Written>,
    /// Names, and fields or expressions.
    pub body: Vec<(At<String>, At<String>)>,
}

/// What the events are made of.
#[derive(Debug)]
pub enum Written {
    Events { from: Vec<At<String>>, when: Option<At<String>> },
    Join(Box<Join>),
}

pub fn emits(node: &Node, faults: &mut Faulty) -> Vec<Emit> {
    let entries = mapping(node, "emit: a mapping from a topic's name to {from: TOPIC, body: {…}}", faults);
    bounded(entries.len(), (0, EMITS_MAX), "entries of emit", node, faults);
    let mut emits = Vec::new();
    for (key, node) in entries {
        let topic = topic_name(&key.name, key.place, faults);
        let section = Section::read(node, &EMIT, faults);
        let source = match section.get("join") {
            Some(node) => {
                if let Some(node) = section.get("from") {
                    faults.note(node.place, "from: a join names its topics itself");
                }
                join(node, &section, faults).map(|join| Written::Join(Box::new(join)))
            }
            None => Some(events(&section, faults)),
        };
        let body = match section.get("body") {
            Some(node) => body(node, faults),
            None => section.missing("body: {NAME: FIELD}", "says what stands in the event", faults),
        };
        emits.push(Emit { topic, source, body });
    }
    emits
}

fn events(section: &Section, faults: &mut Faulty) -> Written {
    for (key, node) in ["on", "within"].iter().filter_map(|key| Some((key, section.get(key)?))) {
        faults.note(node.place, format!("{key}: that is said of a `join`, and this has none"));
    }
    let from = match section.get("from") {
        Some(node) => from(node, faults),
        None => section.missing("from: TOPIC", "names the topic whose events it is made of (`join` names two)", faults),
    };
    Written::Events { from, when: section.get("when").and_then(|node| sql(node, faults)) }
}

fn from(node: &Node, faults: &mut Faulty) -> Vec<At<String>> {
    let of_topic = |node: &Node, faults: &mut Faulty| {
        let name = text(node, "a topic's name, or a list of them", faults)?;
        Some(At { place: node.place, it: name.to_owned() })
    };
    match &node.value {
        Value::List(items) => {
            bounded(items.len(), (1, TOPICS_MAX), "topics in `from`", node, faults);
            items.iter().filter_map(|item| of_topic(item, faults)).collect()
        }
        _ => of_topic(node, faults).into_iter().collect(),
    }
}

fn body(node: &Node, faults: &mut Faulty) -> Vec<(At<String>, At<String>)> {
    let entries = mapping(node, "body: a mapping from a field's name to a field or an SQL expression", faults);
    bounded(entries.len(), (1, BODY_MAX), "fields of an event that is emitted", node, faults);
    let mut body = Vec::new();
    for (key, node) in entries {
        if path_of(&key.name).is_none_or(|path| path.0.len() > 1) {
            let allowed = "letters, digits and _ - @ $ # / :, without a path";
            faults.note(key.place, format!("{} is no name of a field here: it is {allowed}", quote(&key.name)));
        }
        if [ID, TIME].contains(&key.name.as_str()) {
            faults.note(
                key.place,
                format!("body: every event that is emitted has {ID} and {TIME} already; choose another name"),
            );
        }
        body.extend(sql(node, faults).map(|it| (At { place: key.place, it: key.name.clone() }, it)));
    }
    body
}

/// Resolves one; what is wrong is noted. Gives the JSON Schema of its topic too.
pub fn plan(
    pipeline: usize,
    emit: &Emit,
    topics: &Topics,
    own: &[TopicId],
    columns: &mut Columns,
    faults: &mut Faulty,
) -> Option<(EmitPlan, String)> {
    let written = emit.source.as_ref()?;
    let mut properties = Map::new();
    let mut fields = Vec::new();
    let source = match written {
        Written::Events { from, when } => {
            let from = own_topics(from, topics, own, faults);
            let described: Vec<&Described> = from.iter().filter_map(|topic| topics.described(*topic)).collect();
            for (name, text) in &emit.body {
                let Some((field, schema)) = body_field(&name.it, text, &described, columns, faults) else { continue };
                properties.insert(name.it.clone(), schema);
                fields.push(field);
            }
            let when =
                when.as_ref().and_then(|text| match of_event(columns, |scope| sql::condition(&text.it, scope)) {
                    Ok(condition) => Some(columns.of(condition)),
                    Err(fault) => {
                        faults.note_in(text, "when", &fault);
                        None
                    }
                });
            Source::Events { from, when }
        }
        Written::Join(join) => {
            let plan = joins::plan(join, topics, own, columns, faults);
            for (name, text) in &emit.body {
                let Some((field, schema)) = joined_field(&name.it, text, join, topics, columns, faults) else {
                    continue;
                };
                properties.insert(name.it.clone(), schema);
                fields.push(field);
            }
            Source::Join(plan?)
        }
    };
    let topic = topics.number(&emit.topic.it)?;
    Some((EmitPlan { pipeline, topic, source, body: fields }, schema_of(properties)))
}

/// The topics of these names, in order.
fn own_topics(names: &[At<String>], topics: &Topics, own: &[TopicId], faults: &mut Faulty) -> Vec<TopicId> {
    let mut from = Vec::new();
    for name in names {
        let named = topics.number(&name.it).filter(|topic| own.contains(topic));
        if named.is_none() {
            let names = own.iter().filter_map(|topic| topics.name(*topic));
            let hint = hint(&name.it, names);
            faults.note(name.place, format!("from: no topic of this file is called {}{hint}", quote(&name.it)));
        }
        from.extend(named);
    }
    from.sort_unstable();
    from.dedup();
    from
}

/// Likewise, of one of a join's two events.
fn joined_field(
    name: &str,
    text: &At<String>,
    join: &Join,
    topics: &Topics,
    columns: &mut Columns,
    faults: &mut Faulty,
) -> Option<(BodyField, Json)> {
    let name = name.to_owned();
    if let Some((side, path)) = join.written(&text.it, topics, columns)
        && columns.derived_field(&path.0).is_none()
        && let Ok(column) = columns.written(&path)
    {
        let schema = written_schema(join.described(side, topics).as_slice(), &path);
        return Some((BodyField { name, column, moment: false, side }, schema));
    }
    match join.expression(&text.it, topics, columns) {
        Ok((side, expression)) => {
            let of_type = expression.of_type();
            let moment = of_type == Type::Timestamp;
            Some((BodyField { name, column: columns.of(expression), moment, side }, type_schema(of_type)))
        }
        Err(fault) => {
            faults.note_in(text, "body", &fault);
            None
        }
    }
}

/// A field of the body: a field of the events as they write it, or what an expression gives.
fn body_field(
    name: &str,
    text: &At<String>,
    from: &[&Described],
    columns: &mut Columns,
    faults: &mut Faulty,
) -> Option<(BodyField, Json)> {
    let name = name.to_owned();
    let path = path_of(&text.it).filter(|path| columns.derived_field(&path.0).is_none());
    if let Some(path) = path
        && let Ok(column) = columns.written(&path)
    {
        return Some((BodyField { name, column, moment: false, side: 0 }, written_schema(from, &path)));
    }
    match of_event(columns, |scope| sql::expression(&text.it, scope)) {
        Ok(expression) => {
            let of_type = expression.of_type();
            let field = BodyField { name, column: columns.of(expression), moment: of_type == Type::Timestamp, side: 0 };
            Some((field, type_schema(of_type)))
        }
        Err(fault) => {
            faults.note_in(text, "body", &fault);
            None
        }
    }
}

/// The JSON Schema of the events that the window's rows are.
pub fn window_schema(window: &WindowPlan, columns: &Columns) -> String {
    let moment = || type_schema(Type::Timestamp);
    let mut properties = Map::new();
    properties.insert("metric_id".to_owned(), json!({"type": "string", "format": "uuid"}));
    properties.insert("window_start".to_owned(), moment());
    properties.insert("window_end".to_owned(), moment());
    for (name, of_type) in condition::names(window, |column| columns.kind(column)) {
        if of_type != Type::Timestamp {
            properties.insert(name, nullable(of_type));
        }
    }
    properties.insert("revision".to_owned(), json!({"type": "integer"}));
    schema_of(properties)
}

/// Of a value that may be null.
pub fn nullable(of_type: Type) -> Json {
    let mut schema = type_schema(of_type);
    if let Some(of_type) = schema.get_mut("type") {
        *of_type = json!([of_type.take(), "null"]);
    }
    schema
}

pub fn schema_of(own: Map<String, Json>) -> String {
    let mut properties = Map::new();
    properties.insert(ID.to_owned(), json!({"type": "string", "format": "uuid"}));
    properties.insert(TIME.to_owned(), type_schema(Type::Timestamp));
    properties.extend(own);
    json!({"type": "object", "required": [ID, TIME], "properties": properties}).to_string()
}

pub fn type_schema(of_type: Type) -> Json {
    match of_type {
        Type::Text => json!({"type": "string"}),
        Type::Integer => json!({"type": "integer"}),
        Type::Number => json!({"type": "number"}),
        Type::Boolean => json!({"type": "boolean"}),
        Type::Timestamp => json!({"type": "string", "format": "date-time"}),
    }
}

/// What the topics say of a field that is taken over as it is: their own words where they agree and refer to nothing else; else anything.
fn written_schema(from: &[&Described], path: &FieldPath) -> Json {
    let mut said = from.iter().filter_map(|topic| said_of(&topic.text, path));
    let first = said.next().filter(|schema| !refers(schema));
    first.filter(|first| said.all(|other| other == *first)).unwrap_or_else(|| json!({}))
}

fn said_of(schema: &str, path: &FieldPath) -> Option<Json> {
    let mut place: Json = serde_json::from_str(schema).ok()?;
    for step in &path.0 {
        let Step::Name(name) = step else { return None };
        place = place.get_mut("properties")?.get_mut(name)?.take();
    }
    Some(place)
}

fn refers(schema: &Json) -> bool {
    match schema {
        Json::Object(members) => members.iter().any(|(key, below)| key.starts_with('$') || refers(below)),
        Json::Array(items) => items.iter().any(refers),
        _ => false,
    }
}
