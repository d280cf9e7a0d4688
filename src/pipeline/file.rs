//! The pipeline file as it is written: keys and values of the right kinds, each with its place. What the names in it refer to is `plan`'s business.

use std::path::{Component, Path};

use crate::core::plan::{Audit, FieldPath};
use crate::core::units::Micros;
use crate::pipeline::section::{Faulty, Keys, Section, hint, mapping, number, span, text};
use crate::pipeline::yaml::{Node, Place, Value, quote};

/// The field by which a mixed slab's events name their topic, where the file does not say.
const TOPIC_FIELD_DEFAULT: &str = "source";
/// Senders on a network overtake each other by some hundred milliseconds; less would call ordinary events late.
const OUT_OF_ORDER_DEFAULT: Micros = Micros(2_000_000);
const MAX_FUTURE_DEFAULT: Micros = Micros(60_000_000);
const IDLE_AFTER_DEFAULT: Micros = Micros(5_000_000);
const REMEMBER_DEFAULT: Micros = Micros(24 * 3_600_000_000);
const LATE_ALLOW_DEFAULT: Micros = Micros(0);
const EMIT_DEFAULT: Micros = Micros(1_000_000);

const ZERO: Micros = Micros(0);
/// The shortest duration where zero has no meaning.
const MILLISECOND: Micros = Micros(1_000);

/// A topic's id numbers it in 16 bits, and each topic has its own tables of remembered ids.
pub const TOPICS_MAX: usize = 1_000;
/// Every event is put into every window.
pub const WINDOWS_MAX: usize = 200;
/// Of one window; they become columns of one SQL view, of which SQLite allows 2,000 and PostgreSQL 1,600.
pub const METRICS_MAX: usize = 500;
/// Fields of one window's group.
pub const GROUP_MAX: usize = 30;
/// PostgreSQL cuts longer names.
pub const NAME_BYTES_MAX: usize = 63;
/// Of a topic's name; it stands in addresses.
const TOPIC_BYTES_MAX: usize = 200;
/// Names in a path, and bytes of one name.
const PATH_PARTS_MAX: usize = 16;
const PATH_PART_BYTES_MAX: usize = 100;
/// A volley is written in one go.
const BURST_SIZE_MAX: f64 = 100_000.0;
const WEIGHT_MAX: f64 = 1_000_000.0;

const NAME_ALLOWED: &str = "a small letter, then small letters, digits and _, at most 63 in all";
const TOPIC_ALLOWED: &str = "a small letter or digit, then small letters, digits, '.', '_' and '-', at most 200 in all";
const PATH_ALLOWED: &str = "names joined by dots, such as payload.age";
const METRIC_ALLOWED: &str = "count(), sum(FIELD), mean(FIELD), min(FIELD) or max(FIELD)";

const FILE: Keys = Keys {
    section: "a pipeline file",
    known: &["pipeline", "topic_field", "topics", "id", "time", "dedup", "windows", "audit", "generate"],
    later: &["derive", "filter", "alerts", "views", "emit", "webhooks", "routes", "tests"],
};
const TOPIC: Keys = Keys { section: "a topic", known: &["schema", "id", "time", "dedup"], later: &[] };
const TIME: Keys =
    Keys { section: "time", known: &["field", "out_of_order", "max_future", "idle_after"], later: &["format"] };
const DEDUP: Keys = Keys { section: "dedup", known: &["remember"], later: &[] };
const WINDOW: Keys = Keys {
    section: "a window",
    known: &["every", "group", "late", "emit", "metrics"],
    later: &["size", "gap", "topic", "filter", "derive"],
};
const LATE: Keys = Keys { section: "late", known: &["allow"], later: &[] };
const GENERATE: Keys = Keys { section: "generate", known: &["weights", "burst"], later: &[] };
const BURST: Keys = Keys { section: "burst", known: &["topic", "probability", "size"], later: &[] };
const LATER_METRICS: [&str; 9] =
    ["first", "last", "stddev", "variance", "median", "quantile", "percentile", "distinct", "top"];

/// Something and where it stands.
#[derive(Clone, Debug)]
pub struct At<T> {
    pub place: Place,
    pub it: T,
}

/// A pipeline file, read. What was refused is absent or has its default: only a file without faults may be planned.
#[derive(Debug)]
pub struct File {
    pub pipeline: String,
    pub topic_field: String,
    pub topics: Vec<Topic>,
    pub windows: Vec<Window>,
    pub audit: Audit,
    pub weights: Vec<(At<String>, f64)>,
    pub burst: Option<Burst>,
}

#[derive(Debug)]
pub struct Topic {
    pub name: At<String>,
    /// As the file writes it; None was noted.
    pub schema: Option<At<String>>,
    /// None: events have no identity.
    pub id: Option<At<FieldPath>>,
    /// None was noted.
    pub time: Option<At<FieldPath>>,
    pub out_of_order: Micros,
    pub max_future: Micros,
    pub idle_after: Micros,
    pub remember: Micros,
}

#[derive(Debug)]
pub struct Window {
    pub name: At<String>,
    pub every: Micros,
    pub group: Vec<At<FieldPath>>,
    pub late_allow: Micros,
    pub emit: Micros,
    pub metrics: Vec<(At<String>, Function, Option<At<FieldPath>>)>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Function {
    Count,
    Sum,
    Mean,
    Min,
    Max,
}

#[derive(Debug)]
pub struct Burst {
    pub topic: At<String>,
    pub probability: f64,
    pub size: u32,
}

/// What a file says for all its topics, and a topic for itself.
#[derive(Clone, Debug)]
struct TopicFacts {
    id: Option<At<FieldPath>>,
    time: Option<At<FieldPath>>,
    out_of_order: Micros,
    max_future: Micros,
    idle_after: Micros,
    remember: Micros,
}

impl File {
    /// Reads the tree; what is wrong is noted.
    pub fn read(root: &Node, faults: &mut Faulty) -> Self {
        let section = Section::read(root, &FILE, faults);
        let pipeline = match section.get("pipeline") {
            Some(node) => name(node, "pipeline", faults).unwrap_or_default(),
            None => section.missing("pipeline: NAME", "names the pipeline", faults),
        };
        let topic_field = section.get("topic_field").and_then(|node| top_level_name(node, faults));
        let facts = TopicFacts {
            id: None,
            time: None,
            out_of_order: OUT_OF_ORDER_DEFAULT,
            max_future: MAX_FUTURE_DEFAULT,
            idle_after: IDLE_AFTER_DEFAULT,
            remember: REMEMBER_DEFAULT,
        };
        let facts = facts.overridden(&section, faults);
        let topics = match section.get("topics") {
            Some(node) => topics(node, &facts, faults),
            None => section.missing("topics: {NAME: {schema: FILE}}", "names the topics and their schemas", faults),
        };
        let windows = match section.get("windows") {
            Some(node) => windows(node, faults),
            None => section.missing("windows: {NAME: {…}}", "says what is counted", faults),
        };
        let audit = section.get("audit").map_or(Audit::Full, |node| audit(node, faults));
        let (weights, burst) = section.get("generate").map(|node| generate(node, faults)).unwrap_or_default();
        Self {
            pipeline,
            topic_field: topic_field.unwrap_or_else(|| TOPIC_FIELD_DEFAULT.to_owned()),
            topics,
            windows,
            audit,
            weights,
            burst,
        }
    }
}

impl TopicFacts {
    /// These facts, with those that the section states in their place.
    fn overridden(mut self, section: &Section, faults: &mut Faulty) -> Self {
        if let Some(node) = section.get("id") {
            self.id = match node.value {
                Value::Null => None,
                _ => path(node, faults),
            };
        }
        if let Some(node) = section.get("time") {
            let time = Section::read(node, &TIME, faults);
            self.time = time.get("field").and_then(|node| path(node, faults)).or(self.time);
            set_span(&mut self.out_of_order, &time, "out_of_order", ZERO, faults);
            set_span(&mut self.max_future, &time, "max_future", ZERO, faults);
            set_span(&mut self.idle_after, &time, "idle_after", MILLISECOND, faults);
        }
        if let Some(node) = section.get("dedup") {
            let dedup = Section::read(node, &DEDUP, faults);
            set_span(&mut self.remember, &dedup, "remember", MILLISECOND, faults);
        }
        self
    }
}

fn set_span(target: &mut Micros, section: &Section, key: &str, least: Micros, faults: &mut Faulty) {
    if let Some(value) = section.get(key).and_then(|node| span(node, key, least, faults)) {
        *target = value;
    }
}

fn topics(node: &Node, facts: &TopicFacts, faults: &mut Faulty) -> Vec<Topic> {
    let entries = mapping(node, "topics: a mapping from a topic's name to {schema: FILE}", faults);
    bounded(entries.len(), (1, TOPICS_MAX), "topics", node, faults);
    let mut topics = Vec::new();
    for (key, node) in entries {
        if !is_topic_name(&key.name) {
            faults.note(key.place, format!("{} is no topic's name: it is {TOPIC_ALLOWED}", quote(&key.name)));
        }
        let section = Section::read(node, &TOPIC, faults);
        let schema = match section.get("schema") {
            Some(node) => schema_path(node, faults),
            None => section.missing("schema: FILE", "names the topic's JSON Schema", faults),
        };
        let own = facts.clone().overridden(&section, faults);
        if own.time.is_none() && !section.get("time").is_some_and(says_field) {
            faults.note(
                key.place,
                format!(
                    "the topic {} has no time: say `time: {{field: NAME}}` for the file or the topic",
                    quote(&key.name)
                ),
            );
        }
        topics.push(Topic {
            name: At { place: key.place, it: key.name.clone() },
            schema,
            id: own.id,
            time: own.time,
            out_of_order: own.out_of_order,
            max_future: own.max_future,
            idle_after: own.idle_after,
            remember: own.remember,
        });
    }
    topics
}

fn says_field(time: &Node) -> bool {
    matches!(&time.value, Value::Map(entries) if entries.iter().any(|(key, _)| key.name == "field"))
}

fn windows(node: &Node, faults: &mut Faulty) -> Vec<Window> {
    let entries = mapping(node, "windows: a mapping from a window's name to {every: DURATION, …}", faults);
    bounded(entries.len(), (1, WINDOWS_MAX), "windows", node, faults);
    let mut windows = Vec::new();
    for (key, node) in entries {
        if !is_name(&key.name) {
            faults.note(key.place, format!("{} is no window's name: it is {NAME_ALLOWED}", quote(&key.name)));
        }
        let section = Section::read(node, &WINDOW, faults);
        let mut window = Window {
            name: At { place: key.place, it: key.name.clone() },
            every: ZERO,
            group: section.get("group").map(|node| group(node, faults)).unwrap_or_default(),
            late_allow: LATE_ALLOW_DEFAULT,
            emit: EMIT_DEFAULT,
            metrics: Vec::new(),
        };
        match section.get("every") {
            Some(node @ Node { value: Value::Map(_), .. }) => {
                let message = "every: this version of Caudal does not have hopping and session windows yet; a duration is allowed";
                faults.note(node.place, message);
            }
            Some(_) => set_span(&mut window.every, &section, "every", MILLISECOND, faults),
            None => section.missing("every: DURATION", "is the window's size", faults),
        }
        if let Some(node) = section.get("late") {
            let late = Section::read(node, &LATE, faults);
            set_span(&mut window.late_allow, &late, "allow", ZERO, faults);
        }
        set_span(&mut window.emit, &section, "emit", MILLISECOND, faults);
        window.metrics = match section.get("metrics") {
            Some(node) => metrics(node, faults),
            None => section.missing("metrics: {NAME: FUNCTION}", "says what is computed", faults),
        };
        windows.push(window);
    }
    windows
}

fn group(node: &Node, faults: &mut Faulty) -> Vec<At<FieldPath>> {
    let Value::List(items) = &node.value else {
        let allowed = "a list of fields, such as [source, region]";
        faults.note(node.place, format!("group: {} stands where {allowed} is allowed", node.value.describe()));
        return Vec::new();
    };
    bounded(items.len(), (0, GROUP_MAX), "fields in a group", node, faults);
    let mut group: Vec<At<FieldPath>> = Vec::new();
    for item in items {
        let Some(field) = path(item, faults) else { continue };
        if group.iter().any(|g| g.it == field.it) {
            faults.note(field.place, format!("{} stands in the group twice", quote(&field.it.to_string())));
        } else {
            group.push(field);
        }
    }
    group
}

fn metrics(node: &Node, faults: &mut Faulty) -> Vec<(At<String>, Function, Option<At<FieldPath>>)> {
    let entries = mapping(node, "metrics: a mapping from a metric's name to its function", faults);
    bounded(entries.len(), (1, METRICS_MAX), "metrics", node, faults);
    let mut metrics = Vec::new();
    for (key, node) in entries {
        if !is_name(&key.name) {
            faults.note(key.place, format!("{} is no metric's name: it is {NAME_ALLOWED}", quote(&key.name)));
        }
        if let Some((function, argument)) = metric(node, faults) {
            metrics.push((At { place: key.place, it: key.name.clone() }, function, argument));
        }
    }
    metrics
}

/// `count()` or `FUNCTION(FIELD)`.
fn metric(node: &Node, faults: &mut Faulty) -> Option<(Function, Option<At<FieldPath>>)> {
    let written = text(node, METRIC_ALLOWED, faults)?;
    let call = written.trim().strip_suffix(')').and_then(|rest| rest.split_once('('));
    let Some((name, argument)) = call.map(|(name, argument)| (name.trim(), argument.trim())) else {
        faults.note(node.place, format!("{} is no metric: it is {METRIC_ALLOWED}", quote(written)));
        return None;
    };
    let function = match name {
        "count" => Function::Count,
        "sum" => Function::Sum,
        "mean" => Function::Mean,
        "min" => Function::Min,
        "max" => Function::Max,
        _ if LATER_METRICS.contains(&name) => {
            faults.note(
                node.place,
                format!("this version of Caudal does not have {name}(…) yet; it has {METRIC_ALLOWED}"),
            );
            return None;
        }
        _ => {
            let hint = hint(name, ["count", "sum", "mean", "min", "max"].into_iter());
            faults.note(node.place, format!("unknown function {}; there is {METRIC_ALLOWED}{hint}", quote(name)));
            return None;
        }
    };
    match (function, argument) {
        (Function::Count, "") => Some((function, None)),
        (Function::Count, _) => {
            faults.note(node.place, "count() takes no field: it counts every event of the window");
            None
        }
        _ => Some((function, Some(path_of(argument, node.place, faults)?))),
    }
}

fn audit(node: &Node, faults: &mut Faulty) -> Audit {
    match &node.value {
        Value::Text(word) if word == "full" => Audit::Full,
        Value::Text(word) if word == "none" => Audit::None,
        Value::Text(word) if word == "compact" => {
            faults
                .note(node.place, "audit: this version of Caudal does not have \"compact\" yet; it has full and none");
            Audit::Full
        }
        other => {
            faults.note(node.place, format!("audit: {} stands where full or none is allowed", other.describe()));
            Audit::Full
        }
    }
}

fn generate(node: &Node, faults: &mut Faulty) -> (Vec<(At<String>, f64)>, Option<Burst>) {
    let section = Section::read(node, &GENERATE, faults);
    let mut weights = Vec::new();
    if let Some(node) = section.get("weights") {
        for (key, node) in mapping(node, "weights: a mapping from a topic's name to a number", faults) {
            if let Some(weight) = number(node, "weight", (0.0, WEIGHT_MAX), faults) {
                weights.push((At { place: key.place, it: key.name.clone() }, weight));
            }
        }
    }
    (weights, section.get("burst").and_then(|node| burst(node, faults)))
}

fn burst(node: &Node, faults: &mut Faulty) -> Option<Burst> {
    let section = Section::read(node, &BURST, faults);
    let topic = section
        .get("topic")
        .and_then(|node| text(node, "a topic's name", faults).map(|it| At { place: node.place, it: it.to_owned() }));
    let probability = section.get("probability").and_then(|node| number(node, "probability", (0.0, 1.0), faults));
    let size = section.get("size").and_then(|node| number(node, "size", (1.0, BURST_SIZE_MAX), faults));
    let whole = |size: &f64| size.fract() == 0.0;
    if size.is_some_and(|size| !whole(&size)) {
        faults.note(node.place, "burst: size is a whole number");
    }
    for key in ["topic", "probability", "size"].into_iter().filter(|key| section.get(key).is_none()) {
        section.missing::<()>(key, "belongs to a burst, like topic, probability and size", faults);
    }
    Some(Burst { topic: topic?, probability: probability?, size: size.filter(whole)? as u32 })
}

fn bounded(count: usize, (least, most): (usize, usize), what: &str, node: &Node, faults: &mut Faulty) {
    if matches!(node.value, Value::Map(_) | Value::List(_)) && !(least..=most).contains(&count) {
        faults.note(node.place, format!("{count} {what}: {least} to {most} are allowed"));
    }
}

fn name(node: &Node, what: &str, faults: &mut Faulty) -> Option<String> {
    let written = text(node, &format!("a name: {NAME_ALLOWED}"), faults)?;
    if is_name(written) {
        return Some(written.to_owned());
    }
    faults.note(node.place, format!("{what}: {} is no name: it is {NAME_ALLOWED}", quote(written)));
    None
}

fn is_name(text: &str) -> bool {
    text.len() <= NAME_BYTES_MAX
        && text.starts_with(|c: char| c.is_ascii_lowercase())
        && text.chars().all(|c| matches!(c, 'a'..='z' | '0'..='9' | '_'))
}

fn is_topic_name(text: &str) -> bool {
    text.len() <= TOPIC_BYTES_MAX
        && text.starts_with(|c: char| c.is_ascii_lowercase() || c.is_ascii_digit())
        && text.chars().all(|c| matches!(c, 'a'..='z' | '0'..='9' | '.' | '_' | '-'))
}

fn top_level_name(node: &Node, faults: &mut Faulty) -> Option<String> {
    let path = path(node, faults)?;
    if let [name] = path.it.0.as_slice() {
        return Some(name.clone());
    }
    faults.note(node.place, "topic_field: a name at the top of the event is allowed, no path");
    None
}

fn path(node: &Node, faults: &mut Faulty) -> Option<At<FieldPath>> {
    path_of(text(node, PATH_ALLOWED, faults)?, node.place, faults)
}

/// The names become column names and parts of messages: quotes, blanks and what is invisible are kept out.
fn path_of(written: &str, place: Place, faults: &mut Faulty) -> Option<At<FieldPath>> {
    let plain = |c: char| c.is_alphanumeric() || matches!(c, '_' | '-' | '@' | '$' | '#' | '/' | ':');
    let part = |part: &str| !part.is_empty() && part.len() <= PATH_PART_BYTES_MAX && part.chars().all(plain);
    let parts: Vec<&str> = written.split('.').collect();
    if parts.len() <= PATH_PARTS_MAX && parts.iter().all(|p| part(p)) {
        return Some(At { place, it: FieldPath(parts.into_iter().map(str::to_owned).collect()) });
    }
    faults.note(place, format!("{} is no field: it is {PATH_ALLOWED}", quote(written)));
    None
}

/// A path that stays in the pipeline file's directory.
fn schema_path(node: &Node, faults: &mut Faulty) -> Option<At<String>> {
    let allowed = "a file beside the pipeline file or below it, such as schemas/order.json";
    let written = text(node, allowed, faults)?;
    if stays_inside(written) {
        return Some(At { place: node.place, it: written.to_owned() });
    }
    faults.note(node.place, format!("schema: {} is not allowed; it is {allowed}", quote(written)));
    None
}

fn stays_inside(path: &str) -> bool {
    let parts = Path::new(path).components();
    !path.is_empty()
        && !path.contains(['\0', '\\'])
        && parts.into_iter().all(|p| matches!(p, Component::Normal(_) | Component::CurDir))
}
