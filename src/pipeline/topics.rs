//! The job's topics: each described by one file, its schema compiled, its id and time looked up in it.

use std::collections::HashMap;
use std::sync::Arc;

use crate::core::emit::TIME;
use crate::core::plan::{EmittedBy, FieldPath, TimeFormat, TopicPlan};
use crate::core::schema::{FieldType, Schema};
use crate::core::units::{Micros, TopicId};
use crate::pipeline::TopicName;
use crate::pipeline::columns::article;
use crate::pipeline::file::{Description, File, TOPICS_MAX};
use crate::pipeline::section::{At, Faulty, hint};
use crate::pipeline::yaml::{Place, quote};

/// A pattern longer than this costs more to compile than any schema is worth.
const PATTERN_BYTES_MAX: usize = 4_096;
/// Levels of `properties` that are listed for suggestions.
const DESCRIBED_DEPTH_MAX: usize = 8;

/// A file's schemas, or why one could not be read; by the path that the file writes.
pub type Texts<'a> = HashMap<&'a str, Result<&'a str, &'a str>>;

/// A topic, resolved, with what messages need of it.
#[derive(Debug)]
pub struct Described {
    pub plan: TopicPlan,
    pub text: String,
    /// Every path that the schema describes.
    pub paths: Vec<String>,
}

/// Which file says what of which topics.
#[derive(Debug)]
pub struct Topics {
    /// None: it has a fault, which was noted.
    pub all: Vec<(String, Option<Described>)>,
    /// By file, the topics that it reads.
    pub read: Vec<Vec<TopicId>>,
}

impl Topics {
    pub fn number(&self, name: &str) -> Option<TopicId> {
        let at = self.all.iter().position(|(other, _)| other == name)?;
        u16::try_from(at).ok().map(TopicId)
    }

    pub fn name(&self, topic: TopicId) -> Option<&str> {
        self.all.get(usize::from(topic.0)).map(|(name, _)| name.as_str())
    }

    pub fn described(&self, topic: TopicId) -> Option<&Described> {
        self.all.get(usize::from(topic.0)).and_then(|(_, described)| described.as_ref())
    }

    /// A topic that a pipeline makes is as it says.
    pub fn emit(&mut self, name: &str, described: Option<Described>) {
        if let Some((_, slot)) = self.all.iter_mut().find(|(other, _)| other == name) {
            *slot = described;
        }
    }
}

/// The files' places, those that make topics before those that read them; files that read what comes of themselves are noted.
pub fn order(files: &[(File, Texts)], faults: &mut [Faulty]) -> Vec<usize> {
    let makes = |at: usize, topic: &str| {
        files.get(at).is_some_and(|(file, _)| file.emitted().any(|emitted| emitted.it == topic))
    };
    // What a file reads of what one of the others, or it itself, makes.
    let waits = |at: usize, left: &[usize]| {
        let (file, _) = files.get(at)?;
        file.topics.iter().find(|topic| left.iter().any(|&other| makes(other, &topic.name.it)))
    };
    let mut order: Vec<usize> = Vec::new();
    let mut left: Vec<usize> = (0..files.len()).collect();
    while let Some(next) = left.iter().position(|&at| waits(at, &left).is_none()) {
        order.push(left.remove(next));
    }
    for &at in &left {
        let (Some(topic), Some(faults)) = (waits(at, &left), faults.get_mut(at)) else { continue };
        let name = quote(&topic.name.it);
        let message = if makes(at, &topic.name.it) {
            format!("{name} is made by this file itself: let another file read it")
        } else {
            format!("{name} is made of what this file makes in turn: topics cannot go in a circle")
        };
        faults.note(topic.name.place, message);
    }
    order.extend(left);
    order
}

/// Resolves the topics of all files: first those that have their numbers already, then the others in the order in which they are first named.
pub fn resolve(files: &[(File, Texts)], numbered: &[TopicName], faults: &mut [Faulty]) -> Topics {
    let mut names: Vec<&str> = numbered.iter().map(|topic| topic.name.as_str()).collect();
    for topic in files.iter().flat_map(|(file, _)| &file.topics) {
        if !names.contains(&topic.name.it.as_str()) {
            names.push(&topic.name.it);
        }
    }
    names.extend(emitted(files, faults).into_iter().filter(|name| !names.contains(name)).collect::<Vec<_>>());
    let is_live = |name: &str| {
        let mut named =
            files.iter().flat_map(|(file, _)| file.topics.iter().map(|topic| &topic.name).chain(file.emitted()));
        named.any(|topic| topic.it == name)
    };
    let mut described = |name: &str| {
        let number = numbered.iter().find(|topic| topic.name == name && !is_live(name));
        number.map_or_else(|| of_name(name, files, faults), |topic| Some(retired(topic)))
    };
    let all = names.iter().map(|name| ((*name).to_owned(), described(name))).collect();
    let number = |name: &str| names.iter().position(|other| *other == name).and_then(|at| u16::try_from(at).ok());
    let read = files.iter().map(|(file, _)| {
        let mut read: Vec<TopicId> = file.topics.iter().filter_map(|t| number(&t.name.it)).map(TopicId).collect();
        read.sort_unstable();
        read
    });
    let read = read.collect();
    if let (true, Some(faults)) = (names.len() > TOPICS_MAX, faults.last_mut()) {
        let message = format!("{} topics in all pipelines together: at most {TOPICS_MAX} are allowed", names.len());
        faults.note(Place::default(), message);
    }
    Topics { all, read }
}

/// The topics that the files make.
fn emitted<'a>(files: &'a [(File, Texts)], faults: &mut [Faulty]) -> Vec<&'a str> {
    let described = |name: &str| {
        let mut topics = files.iter().flat_map(|(file, _)| &file.topics);
        topics.any(|topic| topic.name.it == name && topic.described.is_some())
    };
    let mut names: Vec<&str> = Vec::new();
    for ((file, _), faults) in files.iter().zip(faults) {
        for name in file.emitted() {
            if names.contains(&name.it.as_str()) {
                faults.note(name.place, format!("something else makes the topic {} already", quote(&name.it)));
            } else {
                names.push(&name.it);
            }
            if described(&name.it) {
                let name_shown = quote(&name.it);
                let message =
                    format!("the topic {name_shown} is described with a schema: what is made here needs another name");
                faults.note(name.place, message);
            }
        }
    }
    names
}

/// The topic as the one file that describes it says; None, without a fault, where one makes it.
fn of_name(name: &str, files: &[(File, Texts)], faults: &mut [Faulty]) -> Option<Described> {
    let mut first: Option<(String, Option<Described>)> = None;
    let mut named = Vec::new();
    for ((file, texts), faults) in files.iter().zip(faults.iter_mut()) {
        let Some(topic) = file.topics.iter().find(|topic| topic.name.it == name) else { continue };
        match (&topic.described, &first) {
            (None, _) => named.push((topic.name.place, faults)),
            (Some(description), None) => {
                first = Some((faults.file.to_owned(), describe(&topic.name, description, texts, faults)));
            }
            (Some(_), Some((other, _))) => faults.note(
                topic.name.place,
                format!(
                    "{} is described in {other} too: one file describes a topic, the others just name it",
                    quote(name)
                ),
            ),
        }
    }
    if first.is_none() && !files.iter().any(|(file, _)| file.emitted().any(|emitted| emitted.it == name)) {
        for (place, faults) in named {
            faults.note(place, format!("no file describes the topic {}: say `{{schema: FILE}}` here", quote(name)));
        }
    }
    first?.1
}

fn describe(name: &At<String>, topic: &Description, texts: &Texts, faults: &mut Faulty) -> Option<Described> {
    let At { place, it: path } = topic.schema.as_ref()?;
    let mut refuse = |why: String| faults.note(*place, format!("schema {}: {why}", quote(path)));
    let text = match texts.get(path.as_str()) {
        Some(Ok(text)) => *text,
        Some(Err(why)) => return note(&mut refuse, (*why).to_owned()),
        None => return note(&mut refuse, "its text is not there".to_owned()),
    };
    let json: serde_json::Value = match serde_json::from_str(text) {
        Ok(json) => json,
        Err(error) => return note(&mut refuse, format!("no JSON: {error}")),
    };
    if let Some(length) = longest_pattern(&json).filter(|&l| l > PATTERN_BYTES_MAX) {
        return note(&mut refuse, format!("a pattern of {length} bytes: at most {PATTERN_BYTES_MAX} are allowed"));
    }
    let schema = match Schema::compile(text) {
        Ok(schema) => schema,
        Err(error) => return note(&mut refuse, error.to_string()),
    };
    let mut paths = Vec::new();
    list_paths(&json, "", DESCRIBED_DEPTH_MAX, &mut paths);
    check_text("id", topic.id.as_ref(), name, &schema, &paths, faults);
    check_text("correlation", topic.correlation.as_ref(), name, &schema, &paths, faults);
    // Without them nothing is run; but what else is wrong with the use of the topic's fields is told too.
    let time_format = time_format(name, topic, &schema, &paths, faults).unwrap_or(TimeFormat::Rfc3339 { zone: None });
    let time = topic.time.as_ref().map_or_else(|| FieldPath::top("time"), |time| time.it.clone());
    let plan = TopicPlan {
        name: name.it.clone(),
        schema: Arc::new(schema),
        id: topic.id.as_ref().map(|id| id.it.clone()),
        correlation: topic.correlation.as_ref().map(|of| of.it.clone()),
        time,
        time_format,
        out_of_order: topic.out_of_order,
        max_future: topic.max_future,
        idle_after: topic.idle_after,
        remember: topic.remember,
        emitted: None,
        retired: false,
    };
    Some(Described { plan, text: text.to_owned(), paths })
}

/// A topic that a pipeline makes: what it says of itself in `schema`.
pub fn made(name: &str, schema: &str, emitted: EmittedBy, idle_after: Micros) -> Described {
    let compiled = Schema::compile(schema).unwrap_or_else(|error| panic!("the schema of {name}: {error}"));
    let mut paths = Vec::new();
    let json = serde_json::from_str(schema).unwrap_or_default();
    list_paths(&json, "", DESCRIBED_DEPTH_MAX, &mut paths);
    let plan = TopicPlan {
        name: name.to_owned(),
        schema: Arc::new(compiled),
        id: None,
        correlation: None,
        time: FieldPath::top(TIME),
        time_format: TimeFormat::Rfc3339 { zone: None },
        out_of_order: Micros(0),
        // The pipeline that makes it has judged the times that they come of.
        max_future: Micros(i64::MAX),
        idle_after,
        remember: Micros(0),
        emitted: Some(emitted),
        retired: false,
    };
    Described { plan, text: schema.to_owned(), paths }
}

impl Described {
    /// With this field for a correlation, if its events have it.
    pub fn telling(mut self, correlation: Option<&FieldPath>) -> Self {
        let is_there = |path: &&FieldPath| self.paths.contains(&path.to_string());
        self.plan.correlation = correlation.filter(is_there).cloned();
        self
    }
}

/// A topic that no pipeline reads or makes any more.
fn retired(topic: &TopicName) -> Described {
    let nobody = EmittedBy { pipeline: usize::MAX, behind: Micros(0) };
    let described = made(&topic.name, "{}", nobody, Micros(0));
    let plan = TopicPlan { emitted: topic.made.then_some(nobody), retired: true, ..described.plan };
    Described { plan, ..described }
}

fn note<T>(refuse: &mut impl FnMut(String), why: String) -> Option<T> {
    refuse(why);
    None
}

/// Length of the longest regular expression in a schema.
fn longest_pattern(json: &serde_json::Value) -> Option<usize> {
    match json {
        serde_json::Value::Object(map) => {
            let own = map.get("pattern").and_then(serde_json::Value::as_str).map(str::len);
            let keys = map.get("patternProperties").and_then(serde_json::Value::as_object);
            let keys = keys.and_then(|k| k.keys().map(String::len).max());
            own.max(keys).max(map.values().filter_map(longest_pattern).max())
        }
        serde_json::Value::Array(items) => items.iter().filter_map(longest_pattern).max(),
        _ => None,
    }
}

fn list_paths(schema: &serde_json::Value, prefix: &str, depth: usize, into: &mut Vec<String>) {
    let Some(properties) = schema.get("properties").and_then(serde_json::Value::as_object) else { return };
    if depth == 0 {
        return;
    }
    for (name, below) in properties {
        let path = if prefix.is_empty() { name.clone() } else { format!("{prefix}.{name}") };
        list_paths(below, &path, depth - 1, into);
        into.push(path);
    }
}

/// Ids are texts.
fn check_text(
    key: &str,
    field: Option<&At<FieldPath>>,
    name: &At<String>,
    schema: &Schema,
    paths: &[String],
    faults: &mut Faulty,
) {
    let Some(At { place, it: path }) = field else { return };
    // What the file says for all topics is told of the first that it does not fit.
    if faults.has(*place) {
        return;
    }
    let (field, name) = (quote(&path.to_string()), quote(&name.it));
    match schema.field(path) {
        Some(FieldType::String | FieldType::Other) => {}
        Some(_) => faults.note(*place, format!("{key}: {field} is no string in {name}, and only a string is allowed")),
        None => {
            let hint = hint(&path.to_string(), paths.iter().map(String::as_str));
            faults.note(*place, format!("{key}: the schema of {name} does not describe {field}{hint}"));
        }
    }
}

/// How the time is read: as the file says, if the schema's type allows it; RFC 3339 where it says nothing and the field is a string.
fn time_format(
    name: &At<String>,
    topic: &Description,
    schema: &Schema,
    paths: &[String],
    faults: &mut Faulty,
) -> Option<TimeFormat> {
    let At { place, it: path } = topic.time.as_ref()?;
    let (field, name) = (quote(&path.to_string()), quote(&name.it));
    let format = topic.format.as_ref().map(|format| format.it);
    let message = match (schema.field(path), format) {
        (None, _) => {
            let hint = hint(&path.to_string(), paths.iter().map(String::as_str));
            format!("time: the schema of {name} does not describe {field}{hint}")
        }
        (Some(FieldType::String | FieldType::Other), format) => {
            return Some(format.unwrap_or(TimeFormat::Rfc3339 { zone: None }));
        }
        (Some(FieldType::Integer | FieldType::Number), Some(format @ TimeFormat::Unix(_))) => return Some(format),
        (Some(FieldType::Integer | FieldType::Number), _) => format!(
            "time: {field} is a number in {name}: say what it counts from 1970 on, `format: unix_s`, unix_ms, unix_us or unix_ns"
        ),
        (Some(kind @ FieldType::Boolean), _) => {
            format!("time: {field} is {} in {name}, and only a string or a number is allowed", article(kind))
        }
    };
    // What the file says for all topics is told of the first that it does not fit.
    if !faults.has(*place) {
        faults.note(*place, message);
    }
    None
}
