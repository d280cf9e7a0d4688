//! From what the file says to what the engine runs: schemas are compiled, fields looked up in them, names resolved.

use std::collections::HashMap;
use std::sync::Arc;

use crate::core::plan::{ColumnId, ColumnKind, ColumnPlan, FieldPath, Metric, Plan, TopicPlan, WindowPlan};
use crate::core::schema::{FieldType, Schema};
use crate::pipeline::file::{At, File, Function, NAME_BYTES_MAX, Topic, Window};
use crate::pipeline::section::{Faulty, hint};
use crate::pipeline::yaml::{Place, quote};
use crate::pipeline::{BurstHint, Hints, Pipeline};

/// Columns that every window's SQL view and CSV file has; metrics and group fields need other names.
const ROW_COLUMNS: [&str; 6] = ["metric_id", "window_start", "window_end", "event_count", "revision", "closed"];
/// Names that the store's tables have: no window's view may be called so.
const TABLES: [&str; 12] = [
    "events_in",
    "metrics_out",
    "trace",
    "dead_letters",
    "alerts",
    "views",
    "consumer_offsets",
    "outbox",
    "progress",
    "generation",
    "schema_version",
    "window_views",
];
/// A pattern longer than this costs more to compile than any schema is worth.
const PATTERN_BYTES_MAX: usize = 4_096;
/// Levels of `properties` that are listed for suggestions.
const DESCRIBED_DEPTH_MAX: usize = 8;

/// A schema's text, or why it could not be read; by the path that the file writes.
pub type Texts<'a> = HashMap<&'a str, Result<&'a str, &'a str>>;

/// A topic's schema with what messages need of it.
struct Described {
    topic: String,
    text: String,
    schema: Arc<Schema>,
    /// Every path it describes.
    paths: Vec<String>,
}

/// Resolves a file; what is wrong is noted, and None then comes out.
pub fn plan(file: File, texts: &Texts, faults: &mut Faulty) -> Option<Pipeline> {
    let schemas: Vec<Option<Described>> = file.topics.iter().map(|topic| describe(topic, texts, faults)).collect();
    let whole = schemas.iter().all(Option::is_some);
    let described: Vec<Described> = schemas.into_iter().flatten().collect();
    for topic in &file.topics {
        if let Some(about) = described.iter().find(|d| d.topic == topic.name.it) {
            check_topic(topic, about, faults);
        }
    }
    let mut columns = Columns { schemas: &described, whole, planned: Vec::new() };
    let windows = file.windows.iter().map(|window| plan_window(&file.pipeline, window, &mut columns, faults)).collect();
    let columns = columns.planned;
    let hints = hints(&file, faults);
    if !faults.found.is_empty() {
        return None;
    }
    let (mut topics, mut texts) = (Vec::new(), Vec::new());
    for (topic, about) in file.topics.into_iter().zip(described) {
        texts.push(about.text);
        topics.push(TopicPlan {
            name: topic.name.it,
            schema: about.schema,
            id: topic.id.map(|id| id.it),
            time: topic.time?.it,
            out_of_order: topic.out_of_order,
            max_future: topic.max_future,
            idle_after: topic.idle_after,
            remember: topic.remember,
        });
    }
    let plan =
        Plan { pipeline: file.pipeline, topic_field: file.topic_field, topics, columns, windows, audit: file.audit };
    Some(Pipeline { plan: Arc::new(plan), schemas: texts, hints })
}

fn describe(topic: &Topic, texts: &Texts, faults: &mut Faulty) -> Option<Described> {
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
    match Schema::compile(text) {
        Ok(schema) => {
            let mut paths = Vec::new();
            list_paths(&json, "", DESCRIBED_DEPTH_MAX, &mut paths);
            Some(Described { topic: topic.name.it.clone(), text: text.to_owned(), schema: Arc::new(schema), paths })
        }
        Err(error) => note(&mut refuse, error.to_string()),
    }
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

/// Id and time are texts of every event of the topic.
fn check_topic(topic: &Topic, about: &Described, faults: &mut Faulty) {
    for (what, field) in [("id", &topic.id), ("time", &topic.time)] {
        let Some(At { place, it: path }) = field else { continue };
        // What the file says for all topics is told of the first that it does not fit.
        if faults.has(*place) {
            continue;
        }
        let (field, name) = (quote(&path.to_string()), quote(&topic.name.it));
        match about.schema.field(path) {
            Some(FieldType::String | FieldType::Other) => {}
            Some(FieldType::Integer | FieldType::Number) if what == "time" => faults.note(
                *place,
                format!(
                    "time: {field} is a number in {name}: this version of Caudal reads only RFC 3339 texts as times"
                ),
            ),
            Some(_) => {
                faults.note(*place, format!("{what}: {field} is no string in {name}, and only a string is allowed"));
            }
            None => {
                let hint = hint(&path.to_string(), about.paths.iter().map(String::as_str));
                faults.note(*place, format!("{what}: the schema of {name} does not describe {field}{hint}"));
            }
        }
    }
}

/// The plan's columns, each (path, kind) once.
struct Columns<'a> {
    schemas: &'a [Described],
    /// Every topic's schema is there; otherwise nothing is said about what none describes.
    whole: bool,
    planned: Vec<ColumnPlan>,
}

impl Columns<'_> {
    fn column(&mut self, path: &FieldPath, kind: ColumnKind) -> ColumnId {
        let wanted = ColumnPlan { path: path.clone(), kind };
        let at = self.planned.iter().position(|c| *c == wanted).unwrap_or_else(|| {
            self.planned.push(wanted);
            self.planned.len() - 1
        });
        ColumnId(at)
    }

    /// What the topics' schemas say of the field: one type for all that describe it.
    fn field_type(&self, field: &At<FieldPath>, faults: &mut Faulty) -> Option<FieldType> {
        let path = &field.it;
        let shown = quote(&path.to_string());
        let mut found: Option<(FieldType, &str)> = None;
        for about in self.schemas {
            match (about.schema.field(path), found) {
                (None, _) => {}
                (Some(kind), None) => found = Some((kind, &about.topic)),
                (Some(kind), Some((first, _))) if kind == first => {}
                (Some(kind), Some((first, topic))) => {
                    let message = format!(
                        "{shown} is {} in {} but {} in {}: all topics that have it must agree",
                        article(first),
                        quote(topic),
                        article(kind),
                        quote(&about.topic),
                    );
                    faults.note(field.place, message);
                    return None;
                }
            }
        }
        if found.is_none() && self.whole {
            let paths = self.schemas.iter().flat_map(|about| about.paths.iter().map(String::as_str));
            faults.note(field.place, format!("no topic's schema describes {shown}{}", hint(&path.to_string(), paths)));
        }
        found.map(|(kind, _)| kind)
    }

    fn group(&mut self, field: &At<FieldPath>, faults: &mut Faulty) -> Option<ColumnId> {
        match self.field_type(field, faults)? {
            FieldType::String | FieldType::Integer | FieldType::Boolean => {
                Some(self.column(&field.it, ColumnKind::Group))
            }
            kind @ (FieldType::Number | FieldType::Other) => {
                let shown = quote(&field.it.to_string());
                let allowed = "a group's field is described as string, integer or boolean";
                faults.note(field.place, format!("group: {shown} is {}: {allowed}", article(kind)));
                None
            }
        }
    }

    fn argument(&mut self, field: &At<FieldPath>, faults: &mut Faulty) -> Option<ColumnId> {
        match self.field_type(field, faults)? {
            FieldType::Integer => Some(self.column(&field.it, ColumnKind::Integer)),
            FieldType::Number => Some(self.column(&field.it, ColumnKind::Number)),
            kind @ (FieldType::String | FieldType::Boolean | FieldType::Other) => {
                let shown = quote(&field.it.to_string());
                let allowed = "a metric's field is described as integer or number";
                faults.note(field.place, format!("{shown} is {}: {allowed}", article(kind)));
                None
            }
        }
    }
}

fn article(kind: FieldType) -> &'static str {
    match kind {
        FieldType::String => "a string",
        FieldType::Integer => "an integer",
        FieldType::Number => "a number",
        FieldType::Boolean => "a boolean",
        FieldType::Other => "of no single simple type",
    }
}

fn plan_window(pipeline: &str, window: &Window, columns: &mut Columns, faults: &mut Faulty) -> WindowPlan {
    check_view_name(pipeline, window, faults);
    let names = group_names(&window.group);
    let mut taken: Vec<&str> = ROW_COLUMNS.to_vec();
    let mut group = Vec::new();
    for (field, name) in window.group.iter().zip(&names) {
        claim_column(name, field.place, &mut taken, faults);
        if let Some(column) = columns.group(field, faults) {
            group.push((name.clone(), column));
        }
    }
    let mut metrics = Vec::new();
    for (name, function, argument) in &window.metrics {
        claim_column(&name.it, name.place, &mut taken, faults);
        let metric = match argument {
            None => Some(Metric::Count),
            Some(field) => columns.argument(field, faults).map(|column| of_column(*function, column)),
        };
        metrics.extend(metric.map(|metric| (name.it.clone(), metric)));
    }
    WindowPlan {
        name: window.name.it.clone(),
        every: window.every,
        group,
        late_allow: window.late_allow,
        emit: window.emit,
        metrics,
    }
}

fn of_column(function: Function, column: ColumnId) -> Metric {
    match function {
        Function::Count => Metric::Count,
        Function::Sum => Metric::Sum(column),
        Function::Mean => Metric::Mean(column),
        Function::Min => Metric::Min(column),
        Function::Max => Metric::Max(column),
    }
}

fn check_view_name(pipeline: &str, window: &Window, faults: &mut Faulty) {
    let view = format!("{pipeline}_{}", window.name.it);
    if view.len() > NAME_BYTES_MAX {
        let message = format!(
            "the window's SQL view would be called {}: at most {NAME_BYTES_MAX} bytes are allowed",
            quote(&view)
        );
        faults.note(window.name.place, message);
    }
    if TABLES.contains(&view.as_str()) {
        faults.note(
            window.name.place,
            format!("the window's SQL view would be called {view}, which is a table of Caudal's"),
        );
    }
}

/// SQL compares column names without regard to case.
fn claim_column<'n>(name: &'n str, place: Place, taken: &mut Vec<&'n str>, faults: &mut Faulty) {
    if taken.iter().any(|t| t.eq_ignore_ascii_case(name)) {
        let message = format!(
            "{} is taken: a window's group fields, metrics and {} need different names",
            quote(name),
            ROW_COLUMNS.join(", ")
        );
        faults.note(place, message);
    }
    if name.len() > NAME_BYTES_MAX {
        faults
            .note(place, format!("the column {} is too long: at most {NAME_BYTES_MAX} bytes are allowed", quote(name)));
    }
    taken.push(name);
}

/// The last part of each path, or the whole path where another field of the group ends alike.
fn group_names(group: &[At<FieldPath>]) -> Vec<String> {
    let last = |field: &At<FieldPath>| field.it.0.last().map(|part| part.to_lowercase());
    let alone = |field: &At<FieldPath>| group.iter().filter(|other| last(other) == last(field)).count() == 1;
    let name = |field: &At<FieldPath>| match field.it.0.last() {
        Some(part) if alone(field) => part.clone(),
        _ => field.it.to_string(),
    };
    group.iter().map(name).collect()
}

fn hints(file: &File, faults: &mut Faulty) -> Hints {
    let names = || file.topics.iter().map(|topic| topic.name.it.as_str());
    let place_of = |topic: &At<String>, faults: &mut Faulty| {
        let at = names().position(|name| name == topic.it);
        if at.is_none() {
            faults.note(topic.place, format!("no topic is called {}{}", quote(&topic.it), hint(&topic.it, names())));
        }
        at
    };
    let mut weights = vec![1.0; file.topics.len()];
    for (topic, weight) in &file.weights {
        if let Some(slot) = place_of(topic, faults).and_then(|at| weights.get_mut(at)) {
            *slot = *weight;
        }
    }
    if let Some((topic, _)) = file.weights.first().filter(|_| weights.iter().all(|&w| w == 0.0)) {
        faults.note(topic.place, "weights: at least one topic needs a weight above 0");
    }
    let burst = file.burst.as_ref().and_then(|burst| {
        let topic = place_of(&burst.topic, faults)?;
        Some(BurstHint { topic, probability: burst.probability, size: burst.size })
    });
    Hints { weights, burst }
}
