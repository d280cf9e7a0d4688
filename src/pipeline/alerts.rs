//! The file's `alerts`: how each is written, what raises it, and how the events look that tell of it.

use serde_json::{Map, Value as Json, json};

use crate::core::expression::Type;
use crate::core::plan::{AlertPlan, Anomaly, Detector, FieldPath, GroupField, Pattern, Rule, Step, WindowPlan};
use crate::core::units::Micros;
use crate::pipeline::columns::Columns;
use crate::pipeline::duration;
use crate::pipeline::emits::{nullable, schema_of, type_schema};
use crate::pipeline::file::{MILLISECOND, bounded, sql};
use crate::pipeline::names::{NAME_ALLOWED, is_name, path, topic_name};
use crate::pipeline::plan::{of_event, of_row, ranked};
use crate::pipeline::section::{At, Faulty, Keys, Section, hint, mapping, number, span, text};
use crate::pipeline::sql as expressions;
use crate::pipeline::windows::Window;
use crate::pipeline::yaml::{Node, quote};

/// Of one pipeline; every row and every event is looked at for each.
pub const ALERTS_MAX: usize = 100;
/// Values that are kept for each group, and gone through for each row.
const HISTORY: (f64, f64) = (2.0, 1_000.0);
/// Events that are kept for each key.
const AT_LEAST: (f64, f64) = (1.0, 1_000.0);
/// In standard deviations.
const DEVIATIONS: (f64, f64) = (0.1, 1_000.0);
const DEVIATIONS_DEFAULT: f64 = 3.0;
const WEIGHT: (f64, f64) = (0.001, 0.999);
/// A group that has had no row for so long begins anew.
const REMEMBER_DEFAULT: Micros = Micros(7 * 86_400_000_000);

const ALERT: Keys = Keys {
    section: "an alert",
    known: &["on", "when", "anomaly", "key", "count", "unless", "at_least", "within", "for", "topic"],
    later: &[],
};
const ANOMALY: Keys =
    Keys { section: "anomaly", known: &["metric", "history", "zscore", "ewma", "deviations", "remember"], later: &[] };
/// What belongs to a pattern alone.
const OF_A_PATTERN: [&str; 6] = ["key", "count", "unless", "at_least", "within", "for"];

#[derive(Debug)]
pub struct Alert {
    pub name: At<String>,
    /// None was noted.
    pub rule: Option<WrittenRule>,
    pub topic: Option<At<String>>,
}

#[derive(Debug)]
pub enum WrittenRule {
    Condition { on: At<String>, when: At<String> },
    Anomaly { on: At<String>, anomaly: WrittenAnomaly },
    Pattern(WrittenPattern),
}

#[derive(Debug)]
pub struct WrittenAnomaly {
    pub metric: At<String>,
    pub history: usize,
    pub detector: Detector,
    pub remember: At<Micros>,
}

#[derive(Debug)]
pub struct WrittenPattern {
    pub key: At<FieldPath>,
    pub count: At<String>,
    pub unless: Option<At<String>>,
    pub at_least: usize,
    pub within: Micros,
    pub lasts: Option<Micros>,
}

pub fn alerts(node: &Node, faults: &mut Faulty) -> Vec<Alert> {
    let entries = mapping(node, "alerts: a mapping from an alert's name to {on: WINDOW, when: CONDITION}", faults);
    bounded(entries.len(), (0, ALERTS_MAX), "alerts", node, faults);
    let mut alerts = Vec::new();
    for (key, node) in entries {
        if !is_name(&key.name) {
            faults.note(key.place, format!("{} is no alert's name: it is {NAME_ALLOWED}", quote(&key.name)));
        }
        let section = Section::read(node, &ALERT, faults);
        let rule = rule(node, &section, faults);
        let topic = section.get("topic").and_then(|node| {
            let name = text(node, "a topic's name", faults)?;
            Some(topic_name(name, node.place, faults))
        });
        alerts.push(Alert { name: At { place: key.place, it: key.name.clone() }, rule, topic });
    }
    alerts
}

fn rule(node: &Node, section: &Section, faults: &mut Faulty) -> Option<WrittenRule> {
    let has = |key: &str| section.get(key).is_some();
    if !has("on") {
        if ["when", "anomaly"].into_iter().any(has) || !OF_A_PATTERN.into_iter().any(has) {
            return section.missing(
                "on: WINDOW",
                "names the window whose rows are looked at (a pattern of events has `key` and `count` instead)",
                faults,
            );
        }
        return pattern(section, faults).map(WrittenRule::Pattern);
    }
    for (key, node) in OF_A_PATTERN.iter().filter_map(|key| Some((key, section.get(key)?))) {
        faults.note(node.place, format!("{key}: that is said of a pattern of events, and this alert is on a window"));
    }
    let on = section.get("on").and_then(|node| named(node, "a window's name", faults));
    match (section.get("when"), section.get("anomaly")) {
        (Some(when), None) => {
            let when = sql(when, faults);
            Some(WrittenRule::Condition { on: on?, when: when? })
        }
        (None, Some(node)) => {
            let anomaly = anomaly(node, faults);
            Some(WrittenRule::Anomaly { on: on?, anomaly: anomaly? })
        }
        _ => {
            faults.note(node.place, "an alert on a window says when: one of `when` and `anomaly`");
            None
        }
    }
}

fn named(node: &Node, what: &str, faults: &mut Faulty) -> Option<At<String>> {
    text(node, what, faults).map(|it| At { place: node.place, it: it.to_owned() })
}

fn anomaly(node: &Node, faults: &mut Faulty) -> Option<WrittenAnomaly> {
    let section = Section::read(node, &ANOMALY, faults);
    let metric = match section.get("metric") {
        Some(node) => named(node, "a metric's name", faults),
        None => section.missing("metric: METRIC", "is the metric whose values are compared", faults),
    };
    let history = match section.get("history") {
        Some(node) => whole_number(node, "history", HISTORY, faults),
        None => section.missing("history: NUMBER", "is how many rows of a group must be known first", faults),
    };
    let mut of = |key: &str, bounds| section.get(key).map(|node| number(node, key, bounds, faults));
    let (zscore, ewma, deviations) = (of("zscore", DEVIATIONS), of("ewma", WEIGHT), of("deviations", DEVIATIONS));
    let detector = match (zscore, ewma, deviations) {
        (Some(limit), None, None) => limit.map(Detector::ZScore),
        (None, Some(weight), deviations) => {
            let deviations = deviations.unwrap_or(Some(DEVIATIONS_DEFAULT));
            weight.zip(deviations).map(|(weight, deviations)| Detector::Ewma { weight, deviations })
        }
        _ => {
            let allowed = "`zscore: NUMBER`, or `ewma: WEIGHT` and perhaps `deviations: NUMBER`";
            faults.note(node.place, format!("anomaly: how far is too far: {allowed}"));
            None
        }
    };
    let remember = match section.get("remember") {
        Some(node) => span(node, "remember", MILLISECOND, faults).map(|it| At { place: node.place, it }),
        None => Some(At { place: node.place, it: REMEMBER_DEFAULT }),
    };
    Some(WrittenAnomaly { metric: metric?, history: history?, detector: detector?, remember: remember? })
}

fn whole_number(node: &Node, what: &str, bounds: (f64, f64), faults: &mut Faulty) -> Option<usize> {
    let number = number(node, what, bounds, faults)?;
    if number.fract() != 0.0 {
        faults.note(node.place, format!("{what}: it is a whole number"));
    }
    Some(number as usize)
}

fn pattern(section: &Section, faults: &mut Faulty) -> Option<WrittenPattern> {
    let key = match section.get("key") {
        Some(node) => path(node, faults),
        None => section.missing("key: FIELD", "is the field for each of whose values events are counted", faults),
    };
    let count = match section.get("count") {
        Some(node) => sql(node, faults),
        None => section.missing("count: CONDITION", "says which events count", faults),
    };
    let at_least = match section.get("at_least") {
        Some(node) => whole_number(node, "at_least", AT_LEAST, faults),
        None => section.missing("at_least: NUMBER", "is how many of them are enough", faults),
    };
    let within = match section.get("within") {
        Some(node) => span(node, "within", MILLISECOND, faults),
        None => section.missing("within: DURATION", "is the time in which they must lie", faults),
    };
    let unless = section.get("unless").and_then(|node| sql(node, faults));
    let lasts = section.get("for").and_then(|node| span(node, "for", MILLISECOND, faults));
    if section.get("unless").is_none() && section.get("for").is_none() {
        section.missing::<()>(
            "for: DURATION",
            "is how long the alert lasts (`unless: CONDITION` says which events clear it; one of them, or both)",
            faults,
        );
    }
    Some(WrittenPattern { key: key?, count: count?, unless, at_least: at_least?, within: within?, lasts })
}

/// The pipeline's own windows: as planned, where they begin among all, and as the file writes them.
pub struct Windows<'a> {
    pub planned: &'a [WindowPlan],
    pub first: usize,
    pub written: &'a [Window],
}

impl Windows<'_> {
    /// The place of the window of this name, if it has no fault.
    fn named(&self, wanted: &At<String>, faults: &mut Faulty) -> Option<(usize, &WindowPlan)> {
        let names = || self.planned.iter().map(|window| window.name.as_str());
        let Some(at) = names().position(|name| name == wanted.it) else {
            let hint = hint(&wanted.it, names());
            faults.note(wanted.place, format!("on: this file has no window {}{hint}", quote(&wanted.it)));
            return None;
        };
        let (planned, written) = (self.planned.get(at)?, self.written.get(at)?);
        crate::pipeline::plan::is_whole(written, planned).then_some((self.first + at, planned))
    }
}

/// Resolves one; what is wrong is noted.
pub fn plan(
    pipeline: usize,
    alert: &Alert,
    windows: &Windows,
    columns: &mut Columns,
    faults: &mut Faulty,
) -> Option<AlertPlan> {
    let rule = match alert.rule.as_ref()? {
        WrittenRule::Condition { on, when } => {
            let (window, of_plan) = windows.named(on, faults)?;
            Rule::Condition { window, when: of_row(when, "when", of_plan, columns, faults)? }
        }
        WrittenRule::Anomaly { on, anomaly: WrittenAnomaly { metric, history, detector, remember } } => {
            let (window, of_plan) = windows.named(on, faults)?;
            let step = of_plan.kind.step();
            if remember.it < step {
                let every = duration::format(step);
                faults.note(remember.place, format!("remember: the window has a row every {every}: say that or more"));
            }
            let metric = ranked(metric, "metric", of_plan, columns, faults)?;
            Rule::Anomaly(Anomaly { window, metric, history: *history, detector: *detector, remember: remember.it })
        }
        WrittenRule::Pattern(written) => Rule::Pattern(plan_pattern(written, columns, faults)?),
    };
    Some(AlertPlan { pipeline, name: alert.name.it.clone(), rule, topic: None })
}

fn plan_pattern(written: &WrittenPattern, columns: &mut Columns, faults: &mut Faulty) -> Option<Pattern> {
    let WrittenPattern { key, count, unless, at_least, within, lasts } = written;
    let field = match columns.group(&key.it) {
        Ok((column, of_type)) => Some(GroupField { name: name_of(&key.it), column, of_type }),
        Err(why) => {
            faults.note(key.place, why.replacen("group", "key", 1));
            None
        }
    };
    let mut condition =
        |text: &At<String>, key: &str| match of_event(columns, |scope| expressions::condition(&text.it, scope)) {
            Ok(condition) => Some(columns.of(condition)),
            Err(fault) => {
                faults.note_in(text, key, &fault);
                None
            }
        };
    let count = condition(count, "count");
    let unless = match unless {
        Some(text) => Some(condition(text, "unless")?),
        None => None,
    };
    Some(Pattern { key: field?, count: count?, unless, at_least: *at_least, within: *within, lasts: *lasts })
}

/// The last name of the path.
fn name_of(path: &FieldPath) -> String {
    match path.0.last() {
        Some(Step::Name(name)) => name.clone(),
        _ => path.to_string(),
    }
}

/// The JSON Schema of the events that tell of these alerts. A field of the key that is of two types is anything.
pub fn schema<'a>(alerts: impl Iterator<Item = (&'a AlertPlan, &'a [GroupField])>) -> String {
    let mut key: Map<String, Json> = Map::new();
    for (_, fields) in alerts {
        for field in fields {
            let schema = nullable(field.of_type);
            let known = key.entry(field.name.clone()).or_insert_with(|| schema.clone());
            if *known != schema {
                *known = json!({});
            }
        }
    }
    let moment = || type_schema(Type::Timestamp);
    let mut properties = Map::new();
    properties.insert("alert_id".to_owned(), json!({"type": "string", "format": "uuid"}));
    for name in ["pipeline", "alert"] {
        properties.insert(name.to_owned(), type_schema(Type::Text));
    }
    properties.insert("state".to_owned(), json!({"type": "string", "enum": ["raised", "cleared"]}));
    properties.insert("key".to_owned(), json!({"type": "object", "properties": key}));
    for name in ["window_start", "window_end", "raised_at"] {
        properties.insert(name.to_owned(), moment());
    }
    properties.insert("details".to_owned(), json!({"type": "object"}));
    schema_of(properties)
}
