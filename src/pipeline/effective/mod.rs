//! A pipeline file with every default spelled out: a file that `check` accepts and that means the very same. Structs are taken apart field by field here,
//! so that what is added to one cannot be forgotten.

pub(super) mod text;

use crate::core::json::Object;
use crate::core::plan::{Audit, Detector, FieldPath, TimeFormat, TopicPlan, Unit, WindowKind};
use crate::core::units::Micros;
use crate::pipeline::Pipelines;
use crate::pipeline::alerts::{Alert, WrittenAnomaly, WrittenPattern, WrittenRule};
use crate::pipeline::audit;
use crate::pipeline::cases::{Case, Expected, Given};
use crate::pipeline::duration;
use crate::pipeline::effective::text::{Item, document};
use crate::pipeline::emits::{Emit, Written};
use crate::pipeline::file::{Burst, File, Generate, Topic};
use crate::pipeline::joins::{Join, Side};
use crate::pipeline::routes::{self, Method};
use crate::pipeline::section::At;
use crate::pipeline::views::View;
use crate::pipeline::webhooks::Webhook;
use crate::pipeline::windows::{Top, Window};

/// The file as text. Its schemas are relative to the file's own place, as they were.
pub fn effective(file: &File, pipelines: &Pipelines) -> String {
    let File {
        pipeline,
        topic_field: _,
        correlation,
        topics,
        derived,
        filter,
        windows,
        views,
        alerts,
        webhooks,
        emits,
        audit,
        generate,
        routes,
        cases,
    } = file;
    let described = topics.iter().map(|topic| (topic.name.it.clone(), described(topic, pipelines)));
    let derived: Vec<_> = derived.iter().map(|(name, sql)| (name.it.clone(), text(&sql.it))).collect();
    let windows: Vec<_> = windows.iter().map(|w| (w.name.it.clone(), window(w))).collect();
    let views: Vec<_> = views.iter().map(|v| (v.name.it.clone(), view(v))).collect();
    let alerts: Vec<_> = alerts.iter().map(|a| (a.name.it.clone(), alert(a))).collect();
    let webhooks: Vec<_> = webhooks.iter().map(|w| (w.name.it.clone(), webhook(w))).collect();
    let emits: Vec<_> = emits.iter().map(|e| (e.topic.it.clone(), emit(e))).collect();
    let routes: Vec<_> = routes.iter().map(route).collect();
    let cases: Vec<_> = cases.iter().map(case).collect();
    document(&[
        entry("pipeline", text(&pipeline.it)),
        entry("topic_field", text(&pipelines.plan.topic_field)),
        entry("topics", Item::Map(described.collect())),
        entry("correlation", or(correlation.as_ref(), |of| path(&of.it), "events tell no stories")),
        entry("derive", if derived.is_empty() { Item::Absent("no computed fields") } else { Item::Map(derived) }),
        entry("filter", or(filter.as_ref(), |sql| text(&sql.it), "every event passes")),
        entry(
            "windows",
            if windows.is_empty() { Item::Absent("nothing is counted in windows") } else { Item::Map(windows) },
        ),
        entry("views", if views.is_empty() { Item::Absent("no view is kept") } else { Item::Map(views) }),
        entry("alerts", if alerts.is_empty() { Item::Absent("nobody is told of anything") } else { Item::Map(alerts) }),
        entry(
            "webhooks",
            if webhooks.is_empty() { Item::Absent("no address is told of alerts") } else { Item::Map(webhooks) },
        ),
        entry("emit", if emits.is_empty() { Item::Absent("no events are made") } else { Item::Map(emits) }),
        entry("audit", audit_of(audit)),
        entry("generate", generate_of(topics, generate, pipelines)),
        entry("routes", if routes.is_empty() { Item::Absent("no addresses of its own") } else { Item::Items(routes) }),
        entry("tests", if cases.is_empty() { Item::Absent("nothing is tried") } else { Item::Items(cases) }),
    ])
}

fn entry(key: &str, item: Item) -> (String, Item) {
    (key.to_owned(), item)
}

fn text(text: &str) -> Item {
    Item::Text(text.to_owned())
}

fn plain(value: &(impl ToString + ?Sized)) -> Item {
    Item::Plain(value.to_string())
}

fn span(span: Micros) -> Item {
    Item::Plain(duration::format(span))
}

fn or<T>(value: Option<T>, of: impl Fn(T) -> Item, absent: &'static str) -> Item {
    value.map_or(Item::Absent(absent), of)
}

fn path(path: &FieldPath) -> Item {
    text(&path.to_string())
}

fn paths(fields: &[At<FieldPath>]) -> Item {
    Item::List(fields.iter().map(|field| path(&field.it)).collect())
}

/// What holds for the topic, whether the file said it for all topics or for this one.
fn described(topic: &Topic, pipelines: &Pipelines) -> Item {
    let plan = pipelines.plan.topics.iter().find(|plan| plan.name == topic.name.it);
    let schema = topic.described.as_ref().and_then(|description| description.schema.as_ref());
    let (Some(plan), Some(schema)) = (plan, schema) else { return plain("~  # another file describes or makes it") };
    let TopicPlan {
        name: _,
        schema: _,
        id,
        correlation,
        time,
        time_format,
        out_of_order,
        max_future,
        idle_after,
        remember,
        emitted: _,
        retired: _,
    } = plan;
    let zone = match time_format {
        TimeFormat::Rfc3339 { zone: None } => Item::Absent("a time without a zone is invalid"),
        TimeFormat::Rfc3339 { zone: Some(east) } => Item::Text(zone_name(*east)),
        TimeFormat::Unix(_) => Item::Absent("a Unix time has none"),
    };
    Item::Map(vec![
        entry("schema", text(&schema.it)),
        entry("id", id.as_ref().map_or_else(|| plain("~"), path)),
        entry("correlation", correlation.as_ref().map_or_else(|| plain("~"), path)),
        entry(
            "time",
            Item::Map(vec![
                entry("field", path(time)),
                entry("format", plain(format_name(*time_format))),
                entry("zone", zone),
                entry("out_of_order", span(*out_of_order)),
                entry("max_future", span(*max_future)),
                entry("idle_after", span(*idle_after)),
            ]),
        ),
        entry("dedup", Item::Line(vec![("remember", span(*remember))])),
    ])
}

/// As the file writes it.
#[must_use]
pub fn format_name(format: TimeFormat) -> &'static str {
    match format {
        TimeFormat::Rfc3339 { .. } => "rfc3339",
        TimeFormat::Unix(Unit::Seconds) => "unix_s",
        TimeFormat::Unix(Unit::Milliseconds) => "unix_ms",
        TimeFormat::Unix(Unit::Microseconds) => "unix_us",
        TimeFormat::Unix(Unit::Nanoseconds) => "unix_ns",
    }
}

/// As the file writes it: a zone so many seconds east.
#[must_use]
pub fn zone_name(east: i32) -> String {
    let minutes = east.unsigned_abs() / 60;
    format!("{}{:02}:{:02}", if east < 0 { '-' } else { '+' }, minutes / 60, minutes % 60)
}

fn window(window: &Window) -> Item {
    let Window { name: _, is_whole: _, kind, group, late_allow, emit, metrics, having, top, topic } = window;
    let every = match kind {
        Some(WindowKind::Tumbling { every }) => span(*every),
        Some(WindowKind::Hopping { size, every }) => Item::Line(vec![("size", span(*size)), ("every", span(*every))]),
        Some(WindowKind::Session { gap }) => Item::Line(vec![("gap", span(*gap))]),
        None => Item::Absent("it has a fault"),
    };
    let metrics = metrics.iter().map(|(name, call)| (name.it.clone(), text(&call.it)));
    let top_of = |Top { n, by }: &Top| Item::Line(vec![("n", plain(n)), ("by", text(&by.it))]);
    Item::Map(vec![
        entry("every", every),
        entry("group", paths(group)),
        entry("late", Item::Line(vec![("allow", span(*late_allow))])),
        entry("emit", emit.map_or_else(|| plain("never"), span)),
        entry("metrics", Item::Map(metrics.collect())),
        entry("having", or(having.as_ref(), |sql| text(&sql.it), "every row is there")),
        entry("top", or(top.as_ref(), top_of, "every group has its row")),
        entry("topic", or(topic.as_ref(), |topic| text(&topic.it), "closed rows are no events")),
    ])
}

fn view(view: &View) -> Item {
    let View { name: _, key, latest, when, history } = view;
    Item::Map(vec![
        entry("key", or(key.as_ref(), |key| path(&key.it), "it has a fault")),
        entry("latest", paths(latest)),
        entry("when", or(when.as_ref(), |sql| text(&sql.it), "every event goes into it")),
        entry("history", plain(history)),
    ])
}

pub(super) fn alert(alert: &Alert) -> Item {
    let Alert { name: _, rule, topic } = alert;
    let topic = entry("topic", or(topic.as_ref(), |topic| text(&topic.it), "it is no event"));
    let mut items = match rule {
        None => vec![entry("on", Item::Absent("it has a fault"))],
        Some(WrittenRule::Condition { on, when }) => vec![entry("on", text(&on.it)), entry("when", text(&when.it))],
        Some(WrittenRule::Anomaly { on, anomaly }) => {
            let WrittenAnomaly { metric, history, detector, remember } = anomaly;
            let mut line = vec![("metric", text(&metric.it)), ("history", plain(history))];
            match detector {
                Detector::ZScore(limit) => line.push(("zscore", plain(limit))),
                Detector::Ewma { weight, deviations } => {
                    line.extend([("ewma", plain(weight)), ("deviations", plain(deviations))]);
                }
            }
            line.push(("remember", span(remember.it)));
            vec![entry("on", text(&on.it)), entry("anomaly", Item::Line(line))]
        }
        Some(WrittenRule::Pattern(pattern)) => {
            let WrittenPattern { key, count, unless, at_least, within, lasts } = pattern;
            vec![
                entry("key", path(&key.it)),
                entry("count", text(&count.it)),
                entry("unless", or(unless.as_ref(), |sql| text(&sql.it), "no event begins the count anew")),
                entry("at_least", plain(at_least)),
                entry("within", span(*within)),
                entry("for", or(*lasts, span, "until an event clears it")),
            ]
        }
    };
    items.push(topic);
    Item::Map(items)
}

pub(super) fn webhook(webhook: &Webhook) -> Item {
    let Webhook { name: _, on, url, retry } = webhook;
    Item::Map(vec![
        entry("on", Item::List(on.iter().map(|alert| text(&alert.it)).collect())),
        entry("url", or(url.as_ref(), |url| text(&url.it), "it has a fault")),
        entry("retry", span(*retry)),
    ])
}

pub(super) fn emit(emit: &Emit) -> Item {
    let Emit { topic: _, source, body } = emit;
    let mut items = match source {
        None => vec![entry("from", Item::Absent("it has a fault"))],
        Some(Written::Events { from, when }) => vec![
            entry("from", Item::List(from.iter().map(|topic| text(&topic.it)).collect())),
            entry("when", or(when.as_ref(), |sql| text(&sql.it), "of every event")),
        ],
        Some(Written::Join(join)) => {
            let Join { sides, within } = &**join;
            let named = |of: fn(&Side) -> String| {
                Item::Map(sides.iter().map(|side| (side.alias.it.clone(), text(&of(side)))).collect())
            };
            let conditions: Vec<(String, Item)> =
                sides.iter().filter_map(|side| Some((side.alias.it.clone(), text(&side.when.as_ref()?.it)))).collect();
            let absent = conditions.is_empty();
            vec![
                entry("join", named(|side| side.topic.it.clone())),
                entry("on", named(|side| side.on.it.to_string())),
                entry("within", span(*within)),
                entry("when", if absent { Item::Absent("of every two events") } else { Item::Map(conditions) }),
            ]
        }
    };
    items.push(entry("body", Item::Map(body.iter().map(|(name, field)| (name.it.clone(), text(&field.it))).collect())));
    Item::Map(items)
}

fn audit_of(audit::Written { level, jsonl }: &audit::Written) -> Item {
    let level = plain(match level {
        Audit::Full => "full",
        Audit::Compact => "compact",
        Audit::None => "none",
    });
    match jsonl {
        None => level,
        Some(file) => Item::Line(vec![("level", level), ("jsonl", text(&file.it))]),
    }
}

fn route(route: &routes::Written) -> Item {
    let routes::Written { place: _, method, path, windows, view, history, alerts, list, field, topic, key, fill } =
        route;
    let verb = match method {
        Method::Get => "get",
        Method::Post => "post",
        Method::Put => "put",
        Method::Patch => "patch",
    };
    let named = [("windows", windows), ("view", view), ("history", history), ("as", list), ("field", field)];
    let named = named.into_iter().chain([("alerts", alerts), ("topic", topic), ("key", key)]);
    let named = named.filter_map(|(name, value)| Some((name, text(&value.as_ref()?.it))));
    let mut items: Vec<(&'static str, Item)> = vec![(verb, text(&path.it))];
    items.extend(named);
    if !fill.is_empty() {
        let mut filled = Object::new();
        for (name, value) in fill {
            filled.member(&name.it, value.to_json());
        }
        items.push(("fill", Item::Plain(filled.finish())));
    }
    Item::Line(items)
}

fn generate_of(topics: &[Topic], Generate { rate, weights: _, burst }: &Generate, pipelines: &Pipelines) -> Item {
    let hints = &pipelines.hints.weights;
    let weight = |topic: &Topic| {
        let at = pipelines.plan.topic(&topic.name.it).map(|id| usize::from(id.0));
        (topic.name.it.clone(), plain(at.and_then(|at| hints.get(at)).unwrap_or(&1.0)))
    };
    let from_outside = |topic: &&Topic| pipelines.plan.topic_from_outside(&topic.name.it).is_ok();
    let burst_of = |Burst { topic, probability, size }: &Burst| {
        Item::Line(vec![("topic", text(&topic.it)), ("probability", plain(probability)), ("size", plain(size))])
    };
    Item::Map(vec![
        entry("rate", or(rate.as_ref(), plain, "whoever starts it says how fast")),
        entry("weights", Item::Map(topics.iter().filter(from_outside).map(weight).collect())),
        entry("burst", or(burst.as_ref(), burst_of, "no volleys")),
    ])
}

fn case(case: &Case) -> Item {
    let Case { name, topic, given, expected } = case;
    let given = match given {
        Given::File(file) => text(&file.it),
        Given::Events(events) if events.is_empty() => Item::List(Vec::new()),
        Given::Events(events) => Item::Items(events.iter().cloned().map(Item::Json).collect()),
    };
    let expected = expected.iter().map(|(what, expected)| {
        let item = match expected {
            Expected::Number(number) => plain(number),
            Expected::Rows(rows) => Item::Items(rows.iter().map(|row| Item::Json(row.it.clone().into())).collect()),
        };
        (what.it.clone(), item)
    });
    Item::Map(vec![
        entry("name", text(name)),
        entry("topic", or(topic.as_ref(), |topic| text(&topic.it), "events name theirs")),
        entry("given", given),
        entry("expect", Item::Map(expected.collect())),
    ])
}
