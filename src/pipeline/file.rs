//! The pipeline file as it is written: keys and values of the right kinds, each with its place. What the names in it refer to is `plan`'s business.

use crate::core::plan::{FieldPath, TimeFormat, Unit};
use crate::core::time;
use crate::core::units::Micros;
use crate::pipeline::alerts::{Alert, alerts};
use crate::pipeline::audit::{self, audit};
use crate::pipeline::cases::{Case, cases};
use crate::pipeline::emits::{Emit, emits};
use crate::pipeline::names::{NAME_ALLOWED, is_name, name, path, schema_path, top_level_name, topic_name};
use crate::pipeline::routes::{Written, routes};
use crate::pipeline::section::{At, Faulty, Keys, Section, hint, mapping, number, span, text, whole};
use crate::pipeline::views::{View, views};
use crate::pipeline::webhooks::{Webhook, webhooks};
use crate::pipeline::windows::{Window, windows};
use crate::pipeline::yaml::{Node, Value, quote};

/// The field by which a mixed slab's events name their topic, where the file does not say.
pub const TOPIC_FIELD_DEFAULT: &str = "source";
/// Senders on a network overtake each other by some hundred milliseconds; less would call ordinary events late.
const OUT_OF_ORDER_DEFAULT: Micros = Micros(2_000_000);
const MAX_FUTURE_DEFAULT: Micros = Micros(60_000_000);
const IDLE_AFTER_DEFAULT: Micros = Micros(5_000_000);
const REMEMBER_DEFAULT: Micros = Micros(24 * 3_600_000_000);

pub(super) const ZERO: Micros = Micros(0);
/// The shortest duration where zero has no meaning.
pub(super) const MILLISECOND: Micros = Micros(1_000);

/// A topic's id numbers it in 16 bits, and each topic has its own tables of remembered ids.
pub const TOPICS_MAX: usize = 1_000;
/// Each is computed for every event of the pipeline's topics.
const DERIVED_MAX: usize = 200;
/// A volley is written in one go.
const BURST_SIZE_MAX: f64 = 100_000.0;
const WEIGHT_MAX: f64 = 1_000_000.0;
/// Events a second: from one in a quarter of an hour to more than a machine takes.
const RATE: (f64, f64) = (0.001, 200_000.0);

const FILE: Keys = Keys {
    section: "a pipeline file",
    known: &[
        "pipeline",
        "topic_field",
        "topics",
        "id",
        "correlation",
        "time",
        "dedup",
        "derive",
        "filter",
        "windows",
        "views",
        "alerts",
        "webhooks",
        "emit",
        "audit",
        "generate",
        "routes",
        "tests",
    ],
    later: &[],
};
const TOPIC: Keys = Keys { section: "a topic", known: &["schema", "id", "correlation", "time", "dedup"], later: &[] };
const TIME: Keys = Keys {
    section: "time",
    known: &["field", "format", "zone", "out_of_order", "max_future", "idle_after"],
    later: &[],
};
const DEDUP: Keys = Keys { section: "dedup", known: &["remember"], later: &[] };
const GENERATE: Keys = Keys { section: "generate", known: &["rate", "weights", "burst"], later: &[] };
const BURST: Keys = Keys { section: "burst", known: &["topic", "probability", "size"], later: &[] };
/// A pipeline file, read. What was refused is absent or has its default: only a file without faults may be planned.
#[derive(Debug)]
pub struct File {
    pub pipeline: At<String>,
    /// None: another file says it, or it has its default.
    pub topic_field: Option<At<String>>,
    /// Of all its topics that say nothing else, and of those that it makes.
    pub correlation: Option<At<FieldPath>>,
    pub topics: Vec<Topic>,
    /// Names and expressions, in the file's order.
    pub derived: Vec<(At<String>, At<String>)>,
    pub filter: Option<At<String>>,
    pub windows: Vec<Window>,
    pub views: Vec<View>,
    pub alerts: Vec<Alert>,
    pub webhooks: Vec<Webhook>,
    pub emits: Vec<Emit>,
    pub audit: audit::Written,
    pub generate: Generate,
    pub routes: Vec<Written>,
    pub cases: Vec<Case>,
}

/// A topic as the file names it.
#[derive(Debug)]
pub struct Topic {
    pub name: At<String>,
    /// None: another file describes it.
    pub described: Option<Description>,
}

/// What a file says of a topic that it describes.
#[derive(Debug)]
pub struct Description {
    /// As the file writes it; None was noted.
    pub schema: Option<At<String>>,
    /// None: events have no identity.
    pub id: Option<At<FieldPath>>,
    /// None: events tell no story.
    pub correlation: Option<At<FieldPath>>,
    /// None was noted.
    pub time: Option<At<FieldPath>>,
    /// None: what the field's type suggests.
    pub format: Option<At<TimeFormat>>,
    pub out_of_order: Micros,
    pub max_future: Micros,
    pub idle_after: Micros,
    pub remember: Micros,
}

/// Hints for the generator.
#[derive(Debug, Default)]
pub struct Generate {
    /// Events a second.
    pub rate: Option<f64>,
    pub weights: Vec<(At<String>, f64)>,
    pub burst: Option<Burst>,
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
    correlation: Option<At<FieldPath>>,
    time: Option<At<FieldPath>>,
    format: Option<At<TimeFormat>>,
    zone: Option<At<i32>>,
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
            Some(node) => name(node, "pipeline", faults).map(|it| At { place: node.place, it }),
            None => section.missing("pipeline: NAME", "names the pipeline", faults),
        };
        let topic_field = section.get("topic_field").and_then(|node| top_level_name("topic_field", node, faults));
        let facts = TopicFacts {
            id: None,
            correlation: None,
            time: None,
            format: None,
            zone: None,
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
            None if ["views", "alerts", "emit"].iter().any(|key| section.get(key).is_some()) => Vec::new(),
            None => section.missing(
                "windows: {NAME: {…}}",
                "says what is counted (a file needs windows, views, alerts or emit)",
                faults,
            ),
        };
        Self {
            pipeline: pipeline.unwrap_or(At { place: root.place, it: String::new() }),
            topic_field,
            correlation: facts.correlation,
            topics,
            derived: section.get("derive").map(|node| derived(node, faults)).unwrap_or_default(),
            filter: section.get("filter").and_then(|node| sql(node, faults)),
            windows,
            views: section.get("views").map(|node| views(node, faults)).unwrap_or_default(),
            alerts: section.get("alerts").map(|node| alerts(node, faults)).unwrap_or_default(),
            webhooks: section.get("webhooks").map(|node| webhooks(node, faults)).unwrap_or_default(),
            emits: section.get("emit").map(|node| emits(node, faults)).unwrap_or_default(),
            audit: section.get("audit").map(|node| audit(node, faults)).unwrap_or_default(),
            generate: section.get("generate").map(|node| generate(node, faults)).unwrap_or_default(),
            routes: section.get("routes").map(|node| routes(node, faults)).unwrap_or_default(),
            cases: section.get("tests").map(|node| cases(node, faults)).unwrap_or_default(),
        }
    }
}

impl File {
    /// The topics whose events it makes.
    pub fn emitted(&self) -> impl Iterator<Item = &At<String>> {
        let windows = self.windows.iter().filter_map(|window| window.topic.as_ref());
        self.emits.iter().map(|emit| &emit.topic).chain(windows).chain(self.alert_topics())
    }

    /// The topics to which alerts go, each once.
    pub fn alert_topics(&self) -> impl Iterator<Item = &At<String>> {
        let topics = || self.alerts.iter().filter_map(|alert| alert.topic.as_ref());
        topics()
            .enumerate()
            .filter(move |(at, topic)| !topics().take(*at).any(|before| before.it == topic.it))
            .map(|(_, topic)| topic)
    }
}

impl TopicFacts {
    /// These facts, with those that the section states in their place.
    fn overridden(mut self, section: &Section, faults: &mut Faulty) -> Self {
        for (key, fact) in [("id", &mut self.id), ("correlation", &mut self.correlation)] {
            if let Some(node) = section.get(key) {
                *fact = match node.value {
                    Value::Null => None,
                    _ => path(node, faults),
                };
            }
        }
        if let Some(node) = section.get("time") {
            let time = Section::read(node, &TIME, faults);
            self.time = time.get("field").and_then(|node| path(node, faults)).or(self.time);
            self.format = time.get("format").and_then(|node| time_format(node, faults)).or(self.format);
            self.zone = time.get("zone").and_then(|node| zone(node, faults)).or(self.zone);
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

    /// The format with its zone.
    fn format(&self, faults: &mut Faulty) -> Option<At<TimeFormat>> {
        let Some(zone) = &self.zone else { return self.format.clone() };
        match &self.format {
            Some(At { it: TimeFormat::Unix(_), .. }) => {
                faults.note(zone.place, "time: a Unix time has no zone; leave `zone` out");
                None
            }
            Some(At { place, it: TimeFormat::Rfc3339 { .. } }) => {
                Some(At { place: *place, it: TimeFormat::Rfc3339 { zone: Some(zone.it) } })
            }
            None => Some(At { place: zone.place, it: TimeFormat::Rfc3339 { zone: Some(zone.it) } }),
        }
    }
}

fn time_format(node: &Node, faults: &mut Faulty) -> Option<At<TimeFormat>> {
    const FORMATS: [(&str, TimeFormat); 5] = [
        ("rfc3339", TimeFormat::Rfc3339 { zone: None }),
        ("unix_s", TimeFormat::Unix(Unit::Seconds)),
        ("unix_ms", TimeFormat::Unix(Unit::Milliseconds)),
        ("unix_us", TimeFormat::Unix(Unit::Microseconds)),
        ("unix_ns", TimeFormat::Unix(Unit::Nanoseconds)),
    ];
    let names = FORMATS.map(|(name, _)| name);
    let allowed = format!("a time format: {}", names.join(", "));
    let written = text(node, &allowed, faults)?;
    let found = FORMATS.iter().find(|(name, _)| *name == written);
    if found.is_none() {
        let hint = hint(written, names.into_iter());
        faults.note(
            node.place,
            format!("format: {} is no time format; there is {}{hint}", quote(written), names.join(", ")),
        );
    }
    // What people write instead is a Unix time more often than not: a number in the field is then no second fault.
    let it = found.map_or(TimeFormat::Unix(Unit::Seconds), |(_, it)| *it);
    Some(At { place: node.place, it })
}

/// `UTC` or an offset, in seconds east.
fn zone(node: &Node, faults: &mut Faulty) -> Option<At<i32>> {
    const ALLOWED: &str = "UTC or an offset such as +01:00 (a zone with summer time has no one offset)";
    let written = text(node, ALLOWED, faults)?;
    let east = if written.eq_ignore_ascii_case("utc") { Some(0) } else { offset(written) };
    if east.is_none() {
        faults.note(node.place, format!("zone: {} is no zone; it is {ALLOWED}", quote(written)));
    }
    east.map(|it| At { place: node.place, it })
}

fn offset(text: &str) -> Option<i32> {
    let east = time::offset(text.as_bytes())?;
    i32::try_from(east).ok()
}

fn derived(node: &Node, faults: &mut Faulty) -> Vec<(At<String>, At<String>)> {
    let entries = mapping(node, "derive: a mapping from a new field's name to an SQL expression", faults);
    bounded(entries.len(), (0, DERIVED_MAX), "derived fields", node, faults);
    let entries = whole(entries, faults);
    let mut derived = Vec::new();
    for (key, node) in entries {
        if !is_name(&key.name) {
            faults.note(key.place, format!("{} is no field's name here: it is {NAME_ALLOWED}", quote(&key.name)));
        }
        derived.extend(sql(node, faults).map(|it| (At { place: key.place, it: key.name.clone() }, it)));
    }
    derived
}

/// The text of an SQL expression, which the planner reads. A number or a boolean is one too.
pub(super) fn sql(node: &Node, faults: &mut Faulty) -> Option<At<String>> {
    let written = match &node.value {
        Value::Number(number) => number.to_string(),
        Value::Bool(value) => value.to_string(),
        _ => text(node, "an SQL expression", faults)?.to_owned(),
    };
    Some(At { place: node.place, it: written })
}

pub(super) fn set_span(target: &mut Micros, section: &Section, key: &str, least: Micros, faults: &mut Faulty) {
    if let Some(value) = section.get(key).and_then(|node| span(node, key, least, faults)) {
        *target = value;
    }
}

fn topics(node: &Node, facts: &TopicFacts, faults: &mut Faulty) -> Vec<Topic> {
    let entries = mapping(node, "topics: a mapping from a topic's name to {schema: FILE}", faults);
    bounded(entries.len(), (1, TOPICS_MAX), "topics", node, faults);
    let mut topics = Vec::new();
    for (key, node) in entries {
        let name = topic_name(&key.name, key.place, faults);
        let described = (!is_empty(node)).then(|| describe(&name, node, facts, faults));
        topics.push(Topic { name, described });
    }
    topics
}

/// A topic that is only named.
fn is_empty(node: &Node) -> bool {
    match &node.value {
        Value::Null => true,
        Value::Map(entries) => entries.is_empty(),
        _ => false,
    }
}

fn describe(name: &At<String>, node: &Node, facts: &TopicFacts, faults: &mut Faulty) -> Description {
    let section = Section::read(node, &TOPIC, faults);
    let schema = match section.get("schema") {
        Some(node) => schema_path(node, faults),
        None => section.missing("schema: FILE", "names the topic's JSON Schema", faults),
    };
    let own = facts.clone().overridden(&section, faults);
    if own.time.is_none() && !section.get("time").is_some_and(says_field) {
        let message =
            format!("the topic {} has no time: say `time: {{field: NAME}}` for the file or the topic", quote(&name.it));
        faults.note(name.place, message);
    }
    Description {
        schema,
        format: own.format(faults),
        id: own.id,
        correlation: own.correlation,
        time: own.time,
        out_of_order: own.out_of_order,
        max_future: own.max_future,
        idle_after: own.idle_after,
        remember: own.remember,
    }
}

fn says_field(time: &Node) -> bool {
    matches!(&time.value, Value::Map(entries) if entries.iter().any(|(key, _)| key.name == "field"))
}

fn generate(node: &Node, faults: &mut Faulty) -> Generate {
    let section = Section::read(node, &GENERATE, faults);
    let mut weights = Vec::new();
    if let Some(node) = section.get("weights") {
        for (key, node) in mapping(node, "weights: a mapping from a topic's name to a number", faults) {
            if let Some(weight) = number(node, "weight", (0.0, WEIGHT_MAX), faults) {
                weights.push((At { place: key.place, it: key.name.clone() }, weight));
            }
        }
    }
    Generate {
        rate: section.get("rate").and_then(|node| number(node, "rate", RATE, faults)),
        weights,
        burst: section.get("burst").and_then(|node| burst(node, faults)),
    }
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

pub(super) fn bounded(count: usize, (least, most): (usize, usize), what: &str, node: &Node, faults: &mut Faulty) {
    if matches!(node.value, Value::Map(_) | Value::List(_)) && !(least..=most).contains(&count) {
        faults.note(node.place, format!("{count} {what}: {least} to {most} are allowed"));
    }
}
