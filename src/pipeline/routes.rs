//! The file's `routes`: an application's own short addresses. How each is written, and what it stands for.

use crate::core::plan::{AlertPlan, FieldPath, TimeFormat, TopicPlan, ViewPlan, WindowPlan};
use crate::core::units::TopicId;
use crate::pipeline::alerts::Alert;
use crate::pipeline::file::bounded;
use crate::pipeline::names::top_level_name;
use crate::pipeline::section::{At, Faulty, Keys, Section, hint, mapping, text};
use crate::pipeline::topics::Topics;
use crate::pipeline::views::View;
use crate::pipeline::yaml::{Node, Place, Value, quote};

/// Of one pipeline.
const ROUTES_MAX: usize = 200;
/// Fields that a route fills.
const FILL_MAX: usize = 50;
const PATH_BYTES_MAX: usize = 200;
const PATH_SEGMENTS_MAX: usize = 8;
/// Of the name under which a list is answered.
const LIST_NAME_BYTES_MAX: usize = 100;

/// The segment of a path that holds a view's key or an event's.
const KEY: &str = "{key}";
const PATH_ALLOWED: &str = "a / before each part, parts of letters, digits, '-', '_' and '.', one of them perhaps {key}, such as /orders/{key}";

/// What the engine's own addresses begin with; no route may. (A test compares it with what is served.)
pub const ENGINE: [&str; 20] = [
    "alerts",
    "assets",
    "cluster",
    "data",
    "dead-letters",
    "events",
    "favicon.svg",
    "generator",
    "healthz",
    "ledger",
    "live",
    "log",
    "metrics",
    "openapi.json",
    "pipelines",
    "readyz",
    "topics",
    "views",
    "webhooks",
    "windows",
];

const METHODS: [(&str, Method); 4] =
    [("get", Method::Get), ("post", Method::Post), ("put", Method::Put), ("patch", Method::Patch)];
const ROUTE: Keys = Keys {
    section: "a route",
    known: &[
        "get", "post", "put", "patch", "windows", "view", "history", "alerts", "as", "field", "topic", "key", "fill",
    ],
    later: &[],
};
/// Only a route that reads has these, …
const READING: [&str; 6] = ["windows", "view", "history", "alerts", "as", "field"];
/// … and only one that takes events these.
const TAKING: [&str; 3] = ["topic", "key", "fill"];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Method {
    Get,
    Post,
    Put,
    Patch,
}

/// An address and what it does, resolved.
#[derive(Clone, Debug, PartialEq)]
pub struct Route {
    pub method: Method,
    /// Begins with `/`; a segment `{key}` stands for any text.
    pub path: String,
    pub does: Does,
}

#[derive(Clone, Debug, PartialEq)]
pub enum Does {
    /// Rows of the window at this place of `Plan::windows`.
    Windows { window: usize, list: Option<List> },
    /// Entries of the view at this place of `Plan::views`.
    View { view: usize, list: Option<List> },
    /// The entry of a view whose key is in the path.
    Entry { view: usize },
    /// Those of the alert at this place of `Plan::alerts`.
    Alerts { alert: usize, list: Option<List> },
    /// What the events said to it.
    History { view: usize },
    /// Takes one event.
    Event(Taking),
}

/// One value of each row or entry, under a name of the application's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct List {
    pub name: String,
    /// None: the entry's key. Of alerts it is always said.
    pub field: Option<String>,
}

/// How a route makes an event of a request's body.
#[derive(Clone, Debug, PartialEq)]
pub struct Taking {
    pub topic: TopicId,
    /// The field that the path's `{key}` is put into.
    pub key: Option<String>,
    /// Fields, at the top of the event, that are filled where they are absent or null.
    pub fill: Vec<(String, Fill)>,
}

#[derive(Clone, Debug, PartialEq)]
pub enum Fill {
    /// A fresh random UUID.
    Uuid,
    /// The time of the request, as fields of this format hold it.
    Now(TimeFormat),
    /// A JSON value as it stands.
    Constant(String),
}

/// A route as the file writes it.
#[derive(Debug)]
pub struct Written {
    pub place: Place,
    pub method: Method,
    pub path: At<String>,
    pub windows: Option<At<String>>,
    pub view: Option<At<String>>,
    pub history: Option<At<String>>,
    pub alerts: Option<At<String>>,
    pub list: Option<At<String>>,
    pub field: Option<At<String>>,
    pub topic: Option<At<String>>,
    pub key: Option<At<String>>,
    pub fill: Vec<(At<String>, Value)>,
}

impl Written {
    fn has_key(&self) -> bool {
        self.path.it.split('/').any(|part| part == KEY)
    }
}

pub fn routes(node: &Node, faults: &mut Faulty) -> Vec<Written> {
    let Value::List(items) = &node.value else {
        let allowed = "a list of routes, such as [{get: /counts, windows: by_region}]";
        faults.note(node.place, format!("routes: {} stands where {allowed} is allowed", node.value.describe()));
        return Vec::new();
    };
    bounded(items.len(), (0, ROUTES_MAX), "routes", node, faults);
    items.iter().filter_map(|item| route(item, faults)).collect()
}

fn route(node: &Node, faults: &mut Faulty) -> Option<Written> {
    let section = Section::read(node, &ROUTE, faults);
    let mut methods = METHODS.iter().filter_map(|&(name, method)| Some((name, method, section.get(name)?)));
    let Some((verb, method, path)) = methods.next() else {
        return section.missing("get: PATH", "says the address (get, post, put or patch)", faults);
    };
    if let Some((other, _, node)) = methods.next() {
        faults.note(node.place, format!("a route has one method: {verb} stands here too; give {other} its own route"));
    }
    refuse_foreign(&section, method, faults);
    let mut name = |key: &str| {
        let node = section.get(key)?;
        let it = text(node, &format!("{key}: a name"), faults)?.to_owned();
        Some(At { place: node.place, it })
    };
    let (windows, view, history, alerts) = (name("windows"), name("view"), name("history"), name("alerts"));
    let (field, topic) = (name("field"), name("topic"));
    Some(Written {
        place: node.place,
        method,
        path: address(path, faults)?,
        windows,
        view,
        history,
        alerts,
        list: section.get("as").and_then(|node| list_name(node, faults)),
        field,
        topic,
        key: section.get("key").and_then(|node| top_level_name("key", node, faults)),
        fill: section.get("fill").map(|node| fill(node, faults)).unwrap_or_default(),
    })
}

/// Notes keys that belong to routes of the other kind.
fn refuse_foreign(section: &Section, method: Method, faults: &mut Faulty) {
    let (what, own, foreign): (_, &[&str], &[&str]) = match method {
        Method::Get => ("a route that reads", &READING, &TAKING),
        Method::Post | Method::Put | Method::Patch => ("a route that takes events", &TAKING, &READING),
    };
    for &name in foreign {
        if let Some(node) = section.get(name) {
            faults.note(node.place, format!("{what} has no `{name}`; it has {}", own.join(", ")));
        }
    }
}

/// A path of the application's own.
fn address(node: &Node, faults: &mut Faulty) -> Option<At<String>> {
    let written = text(node, PATH_ALLOWED, faults)?;
    let parts: Vec<&str> = written.strip_prefix('/').unwrap_or_default().split('/').collect();
    let plain = |part: &str| {
        part.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.')) && !part.starts_with('.')
    };
    let allowed = written.len() <= PATH_BYTES_MAX
        && parts.len() <= PATH_SEGMENTS_MAX
        && parts.iter().all(|part| !part.is_empty() && (*part == KEY || plain(part)))
        && parts.iter().filter(|part| **part == KEY).count() <= 1;
    if !allowed {
        faults.note(node.place, format!("{} is no path of a route; it is {PATH_ALLOWED}", quote(written)));
        return None;
    }
    match parts.first() {
        Some(&KEY) => {
            faults.note(node.place, "a route's path begins with a part of its own, not with {key}");
            None
        }
        Some(first) if ENGINE.contains(first) => {
            let message = format!(
                "/{first} is an address of Caudal's own: a route begins with another part, such as /{first}-of-mine"
            );
            faults.note(node.place, message);
            None
        }
        _ => Some(At { place: node.place, it: written.to_owned() }),
    }
}

/// The name of a list in the answer; anything that is readable.
fn list_name(node: &Node, faults: &mut Faulty) -> Option<At<String>> {
    const ALLOWED: &str = "the list's name in the answer: 1 to 100 bytes without control characters, not next";
    let written = text(node, ALLOWED, faults)?;
    let length = 1..=LIST_NAME_BYTES_MAX;
    if length.contains(&written.len()) && !written.chars().any(char::is_control) && written != "next" {
        return Some(At { place: node.place, it: written.to_owned() });
    }
    faults.note(node.place, format!("as: {} is not allowed; it is {ALLOWED}", quote(written)));
    None
}

fn fill(node: &Node, faults: &mut Faulty) -> Vec<(At<String>, Value)> {
    let entries = mapping(node, "fill: a mapping from a field to uuid(), now() or a constant", faults);
    bounded(entries.len(), (1, FILL_MAX), "fields to fill", node, faults);
    let mut fill = Vec::new();
    for (key, node) in entries {
        let named = Node { place: key.place, value: Value::Text(key.name.clone()) };
        let Some(name) = top_level_name("fill", &named, faults) else { continue };
        match &node.value {
            Value::Text(written) if is_call(written) && !["uuid()", "now()"].contains(&written.as_str()) => {
                let hint = hint(written, ["uuid()", "now()"].into_iter());
                faults
                    .note(node.place, format!("fill: there is no {}; there is uuid() and now(){hint}", quote(written)));
            }
            Value::Text(_) | Value::Bool(_) | Value::Number(_) => fill.push((name, node.value.clone())),
            other => faults.note(
                node.place,
                format!(
                    "fill: {} stands where uuid(), now() or a constant (a text, a number, true, false) is allowed",
                    other.describe()
                ),
            ),
        }
    }
    fill
}

fn is_call(written: &str) -> bool {
    let name = written.strip_suffix(')').and_then(|call| call.split_once('('));
    name.is_some_and(|(name, _)| !name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_'))
}

/// What one file's routes may name.
pub struct Named<'a> {
    /// All windows and views of the job, and where the file's own begin.
    pub windows: (&'a [WindowPlan], usize),
    pub views: (&'a [ViewPlan], usize),
    pub alerts: (&'a [AlertPlan], usize),
    /// The file's alerts as it writes them, likewise.
    pub written_alerts: &'a [Alert],
    /// The file's views as it writes them: one with a fault is not among those above.
    pub written_views: &'a [View],
    pub topics: &'a Topics,
    /// Those that the file reads.
    pub read: &'a [TopicId],
}

impl Named<'_> {
    /// The place of the file's own window of this name.
    fn window(&self, wanted: &At<String>, faults: &mut Faulty) -> Option<usize> {
        let (all, first) = self.windows;
        let own = || all.iter().skip(first).map(|window| window.name.as_str());
        let at = own().position(|name| name == wanted.it);
        if at.is_none() {
            let hint = hint(&wanted.it, own());
            faults.note(wanted.place, format!("this file has no window {}{hint}", quote(&wanted.it)));
        }
        at.map(|at| first + at)
    }

    /// The place of the file's own view of this name.
    fn view(&self, wanted: &At<String>, faults: &mut Faulty) -> Option<usize> {
        let written = || self.written_views.iter().map(|view| view.name.it.as_str());
        if !written().any(|name| name == wanted.it) {
            let hint = hint(&wanted.it, written());
            faults.note(wanted.place, format!("this file has no view {}{hint}", quote(&wanted.it)));
        }
        let (all, first) = self.views;
        all.iter().skip(first).position(|view| view.name == wanted.it).map(|at| first + at)
    }

    /// The place of the file's own alert of this name.
    fn alert(&self, wanted: &At<String>, faults: &mut Faulty) -> Option<usize> {
        let written = || self.written_alerts.iter().map(|alert| alert.name.it.as_str());
        if !written().any(|name| name == wanted.it) {
            let hint = hint(&wanted.it, written());
            faults.note(wanted.place, format!("this file has no alert {}{hint}", quote(&wanted.it)));
        }
        let (all, first) = self.alerts;
        all.iter().skip(first).position(|alert| alert.name == wanted.it).map(|at| first + at)
    }
}

/// Resolves a file's routes, after those of the files before; what is wrong is noted.
pub fn plan(written: &[Written], named: &Named, routes: &mut Vec<Route>, faults: &mut Faulty) {
    for route in written {
        if routes.iter().any(|other| other.method == route.method && other.path == route.path.it) {
            let message = format!("another route of this job has the same method and path {}", quote(&route.path.it));
            faults.note(route.path.place, message);
        }
        let does =
            if route.method == Method::Get { reading(route, named, faults) } else { taking(route, named, faults) };
        routes.extend(does.map(|does| Route { method: route.method, path: route.path.it.clone(), does }));
    }
}

fn reading(route: &Written, named: &Named, faults: &mut Faulty) -> Option<Does> {
    let does = match (&route.windows, &route.view, &route.history, &route.alerts) {
        (Some(window), None, None, None) => {
            let window = named.window(window, faults)?;
            if route.has_key() {
                faults.note(route.path.place, "windows: rows have no key in the path; ?group.FIELD=VALUE chooses them");
            }
            let fields = named.windows.0.get(window).map(row_fields).unwrap_or_default();
            if let (Some(list), None) = (&route.list, &route.field) {
                faults.note(list.place, "as: say `field: NAME`, the group field or metric that the list holds");
            }
            Does::Windows { window, list: list(route, &fields, faults) }
        }
        (None, Some(view), None, None) => {
            let view = named.view(view, faults)?;
            if route.has_key() {
                for said in [&route.list, &route.field].into_iter().flatten() {
                    faults.note(said.place, "as, field: a route to one key answers its entry; they are for lists");
                }
                return Some(Does::Entry { view });
            }
            let latest = named.views.0.get(view).map(|view| view.latest.as_slice()).unwrap_or_default();
            let kept: Vec<&str> = latest.iter().map(|(name, _)| name.as_str()).collect();
            Does::View { view, list: list(route, &kept, faults) }
        }
        (None, None, Some(history), None) => {
            let view = named.view(history, faults)?;
            if !route.has_key() {
                faults.note(route.path.place, "history: it is that of one key, so the path needs a part {key}");
            }
            if named.views.0.get(view).is_some_and(|view| !view.history) {
                let message = format!("history: the view {} keeps none: say `history: true` there", quote(&history.it));
                faults.note(history.place, message);
            }
            Does::History { view }
        }
        (None, None, None, Some(alert)) => {
            let alert = named.alert(alert, faults)?;
            if route.has_key() {
                faults.note(route.path.place, "alerts: they have no key in the path");
            }
            let fields = named.alerts.0.get(alert).map_or(&[][..], |alert| alert.key_fields(named.windows.0));
            let fields: Vec<&str> = fields.iter().map(|field| field.name.as_str()).collect();
            let mut list = list(route, &fields, faults);
            match (&mut list, fields.as_slice()) {
                (Some(List { field: field @ None, .. }), [only]) => *field = Some((*only).to_owned()),
                (Some(List { field: None, .. }), _) => {
                    faults.note(route.place, "as: say `field: NAME`, the field of the group that the list holds");
                }
                _ => {}
            }
            Does::Alerts { alert, list }
        }
        _ => {
            faults.note(route.place, "a route that reads says what: one of windows, view, history and alerts");
            return None;
        }
    };
    Some(does)
}

/// What a list can hold of a window's rows.
fn row_fields(window: &WindowPlan) -> Vec<&str> {
    let group = window.group.iter().map(|field| field.name.as_str());
    group.chain(window.metrics.iter().map(|(name, _)| name.as_str())).collect()
}

fn list(route: &Written, fields: &[&str], faults: &mut Faulty) -> Option<List> {
    let field = route.field.as_ref();
    if let Some(At { place, it }) = field.filter(|field| !fields.contains(&field.it.as_str())) {
        let hint = hint(it, fields.iter().copied());
        faults.note(*place, format!("field: there is no {}{hint}; there is {}", quote(it), fields.join(", ")));
    }
    match (&route.list, field) {
        (Some(name), field) => Some(List { name: name.it.clone(), field: field.map(|field| field.it.clone()) }),
        (None, Some(field)) => {
            faults.note(field.place, "field: say `as: NAME` too, the list's name in the answer");
            None
        }
        (None, None) => None,
    }
}

fn taking(route: &Written, named: &Named, faults: &mut Faulty) -> Option<Does> {
    let Some(wanted) = &route.topic else {
        faults.note(route.place, "`topic: NAME` is missing: it names the topic whose events this route takes");
        return None;
    };
    let of = |topic: &TopicId| named.topics.all.get(usize::from(topic.0));
    let Some(topic) = named.read.iter().find(|topic| of(topic).is_some_and(|(name, _)| *name == wanted.it)) else {
        let own = named.read.iter().filter_map(of).map(|(name, _)| name.as_str());
        let hint = hint(&wanted.it, own);
        faults.note(wanted.place, format!("no topic of this file is called {}{hint}", quote(&wanted.it)));
        return None;
    };
    if route.has_key() != route.key.is_some() {
        let message = "key: FIELD and a part {key} of the path belong together: the field takes what the path says";
        faults.note(route.key.as_ref().map_or(route.path.place, |key| key.place), message);
    }
    // A topic with a fault has been told of.
    let described = of(topic)?.1.as_ref()?;
    let filled = route.fill.iter().map(|(field, _)| field);
    for field in route.key.iter().chain(filled) {
        if described.plan.schema.field(&FieldPath::top(&field.it)).is_none() {
            let hint = hint(&field.it, described.paths.iter().map(String::as_str));
            let message = format!("the schema of {} does not describe {}{hint}", quote(&wanted.it), quote(&field.it));
            faults.note(field.place, message);
        }
    }
    let key = route.key.as_ref().map(|key| key.it.clone());
    if let Some((field, _)) = route.fill.iter().find(|(field, _)| Some(&field.it) == key.as_ref()) {
        faults.note(field.place, format!("fill: {} is taken from the path", quote(&field.it)));
    }
    let fill = route.fill.iter().map(|(field, value)| (field.it.clone(), filling(&field.it, value, &described.plan)));
    Some(Does::Event(Taking { topic: *topic, key, fill: fill.collect() }))
}

fn filling(field: &str, value: &Value, topic: &TopicPlan) -> Fill {
    match value {
        Value::Text(call) if call == "uuid()" => Fill::Uuid,
        Value::Text(call) if call == "now()" => {
            let is_time = topic.time == FieldPath::top(field);
            Fill::Now(if is_time { topic.time_format } else { TimeFormat::Rfc3339 { zone: None } })
        }
        Value::Text(constant) => Fill::Constant(serde_json::Value::from(constant.as_str()).to_string()),
        other => Fill::Constant(other.describe()),
    }
}
