//! The file's `windows`: how each is written. What its names refer to is `plan`'s business.

use crate::core::plan::{FieldPath, WindowKind};
use crate::core::units::Micros;
use crate::pipeline::file::{MILLISECOND, ZERO, bounded, set_span, sql};
use crate::pipeline::names::{NAME_ALLOWED, is_name, path, topic_name};
use crate::pipeline::section::{At, Faulty, Keys, Section, mapping, number, span, text, whole};
use crate::pipeline::yaml::{Node, Value, quote};

const LATE_ALLOW_DEFAULT: Micros = Micros(0);
const EMIT_DEFAULT: Micros = Micros(1_000_000);

/// Of one pipeline; every event is put into every window.
pub const WINDOWS_MAX: usize = 200;
/// Of one window; they become columns of one SQL view, of which SQLite allows 2,000 and PostgreSQL 1,600.
pub const METRICS_MAX: usize = 500;
/// Fields of one window's group.
pub const GROUP_MAX: usize = 30;
/// Slices that a hopping window may be made of; each is merged when a pane is published.
const SLICES_MAX: i64 = 10_000;
/// Rows that a ranking may keep of each start.
const TOP_MAX: f64 = 100_000.0;

const WINDOW: Keys = Keys {
    section: "a window",
    known: &["every", "group", "late", "emit", "metrics", "having", "top", "topic"],
    later: &[],
};
const EVERY: Keys = Keys { section: "every", known: &["size", "every", "gap"], later: &[] };
const LATE: Keys = Keys { section: "late", known: &["allow"], later: &[] };
const TOP: Keys = Keys { section: "top", known: &["n", "by"], later: &[] };
const EVERY_ALLOWED: &str = "every: a duration, {size: DURATION, every: DURATION} or {gap: DURATION}";

#[derive(Debug)]
pub struct Window {
    pub name: At<String>,
    /// It was read without a fault: what is wrong with its use is worth saying.
    pub is_whole: bool,
    /// None was noted.
    pub kind: Option<WindowKind>,
    pub group: Vec<At<FieldPath>>,
    pub late_allow: Micros,
    /// None: never.
    pub emit: Option<Micros>,
    /// Names and calls such as `mean(payload.age)`.
    pub metrics: Vec<(At<String>, At<String>)>,
    pub having: Option<At<String>>,
    pub top: Option<Top>,
    /// Where closed rows go as events.
    pub topic: Option<At<String>>,
}

#[derive(Debug)]
pub struct Top {
    pub n: usize,
    /// A metric's name.
    pub by: At<String>,
}

pub fn windows(node: &Node, faults: &mut Faulty) -> Vec<Window> {
    let entries = mapping(node, "windows: a mapping from a window's name to {every: DURATION, …}", faults);
    bounded(entries.len(), (1, WINDOWS_MAX), "windows", node, faults);
    let mut windows = Vec::new();
    for (key, node) in entries {
        if !is_name(&key.name) {
            faults.note(key.place, format!("{} is no window's name: it is {NAME_ALLOWED}", quote(&key.name)));
        }
        windows.push(window(At { place: key.place, it: key.name.clone() }, node, faults));
    }
    windows
}

fn window(name: At<String>, node: &Node, faults: &mut Faulty) -> Window {
    let before = faults.found.len();
    let section = Section::read(node, &WINDOW, faults);
    let kind = match section.get("every") {
        Some(node) => kind(node, faults),
        None => section.missing("every: DURATION", "is the window's size", faults),
    };
    let mut late_allow = LATE_ALLOW_DEFAULT;
    if let Some(node) = section.get("late") {
        let late = Section::read(node, &LATE, faults);
        set_span(&mut late_allow, &late, "allow", ZERO, faults);
    }
    let emit = match section.get("emit") {
        Some(Node { value: Value::Text(word), .. }) if word == "never" => None,
        Some(node) => span(node, "emit (or never)", MILLISECOND, faults),
        None => Some(EMIT_DEFAULT),
    };
    let metrics = match section.get("metrics") {
        Some(node) => metrics(node, faults),
        None => section.missing("metrics: {NAME: FUNCTION}", "says what is computed", faults),
    };
    let top = section.get("top").and_then(|node| top(node, faults).map(|top| (node, top)));
    if let Some((node, _)) = top.as_ref().filter(|_| matches!(kind, Some(WindowKind::Session { .. }))) {
        faults.note(node.place, "top: sessions begin when their events do, so there is nothing to rank them among");
    }
    let group = section.get("group").map(|node| group(node, faults)).unwrap_or_default();
    let having = section.get("having").and_then(|node| sql(node, faults));
    Window {
        name,
        is_whole: faults.found.len() == before,
        kind,
        group,
        late_allow,
        emit,
        metrics,
        having,
        top: top.map(|(_, top)| top),
        topic: section.get("topic").and_then(|node| {
            let name = text(node, "a topic's name", faults)?;
            Some(topic_name(name, node.place, faults))
        }),
    }
}

fn kind(node: &Node, faults: &mut Faulty) -> Option<WindowKind> {
    if !matches!(node.value, Value::Map(_)) {
        let every = span(node, "every", MILLISECOND, faults)?;
        return Some(WindowKind::Tumbling { every });
    }
    let section = Section::read(node, &EVERY, faults);
    let mut given = |key| section.get(key).map(|node| span(node, key, MILLISECOND, faults));
    match (given("size"), given("every"), given("gap")) {
        (Some(size), Some(every), None) => hopping(node, size?, every?, faults),
        (None, None, Some(gap)) => Some(WindowKind::Session { gap: gap? }),
        _ => {
            faults.note(node.place, format!("this is allowed: {EVERY_ALLOWED}"));
            None
        }
    }
}

fn hopping(node: &Node, size: Micros, every: Micros, faults: &mut Faulty) -> Option<WindowKind> {
    if every > size {
        faults.note(node.place, "every: `every` is longer than `size`, so events between the windows would be in none");
        return None;
    }
    let kind = WindowKind::Hopping { size, every };
    let slices = kind.slice().map_or(0, |slice| size.0 / slice.0);
    if slices > SLICES_MAX {
        let message = format!(
            "every: windows of this size and step have {slices} common parts; at most {SLICES_MAX} are allowed: choose a `size` that is a \
             multiple of `every`, or a longer `every`"
        );
        faults.note(node.place, message);
        return None;
    }
    Some(kind)
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

fn metrics(node: &Node, faults: &mut Faulty) -> Vec<(At<String>, At<String>)> {
    let entries = mapping(node, "metrics: a mapping from a metric's name to its function", faults);
    bounded(entries.len(), (1, METRICS_MAX), "metrics", node, faults);
    let entries = whole(entries, faults);
    let mut metrics = Vec::new();
    for (key, node) in entries {
        if !is_name(&key.name) {
            faults.note(key.place, format!("{} is no metric's name: it is {NAME_ALLOWED}", quote(&key.name)));
        }
        let call = text(node, "a function, such as count() or mean(payload.age)", faults);
        let call = call.map(|call| At { place: node.place, it: call.to_owned() });
        metrics.extend(call.map(|call| (At { place: key.place, it: key.name.clone() }, call)));
    }
    metrics
}

fn top(node: &Node, faults: &mut Faulty) -> Option<Top> {
    let section = Section::read(node, &TOP, faults);
    let n = match section.get("n") {
        Some(node) => number(node, "n", (1.0, TOP_MAX), faults),
        None => section.missing("n: NUMBER", "is how many groups of each window have rows", faults),
    };
    if n.is_some_and(|n| n.fract() != 0.0) {
        faults.note(node.place, "top: n is a whole number");
    }
    let by = match section.get("by") {
        Some(node) => text(node, "a metric's name", faults).map(|it| At { place: node.place, it: it.to_owned() }),
        None => section.missing("by: METRIC", "is the metric that ranks them", faults),
    };
    Some(Top { n: n? as usize, by: by? })
}
