//! Events that the job makes itself: what stands in their lines. `docs/semantics.md`, "Emitted events".

use std::sync::Arc;

use crate::core::columns::{Column, GroupValue};
use crate::core::expression::Type;
use crate::core::identity::{alert_event_id, delivery_id, emitted_id, joined_id, row_event_id};
use crate::core::json::{self, Object};
use crate::core::plan::{AlertPlan, BodyField, EmitPlan, GroupField, Plan};
use crate::core::row::{AlertRow, Delivery, WindowRow};
use crate::core::time;
use crate::core::units::{Epoch, Micros, Offset, TopicId};
use crate::core::view::{self, Moment};

/// The fields that every emitted event has: its id and its time.
pub const ID: &str = "event_id";
pub const TIME: &str = "timestamp";

/// What an event has that tells of an alert.
pub const ALERT_FIELDS: [&str; 9] =
    ["alert_id", "pipeline", "alert", "state", "key", "window_start", "window_end", "raised_at", "details"];

/// An event made of one event, or of two.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Emitted {
    /// Its place in `Plan::emits`.
    pub emit: usize,
    /// Of the event it is made of; of two the greater.
    pub offset: Offset,
    /// Of two the lesser.
    pub other: Option<Offset>,
    /// JSON, without a line's end.
    pub line: String,
}

/// What one of a join's two events gives to the body: of its side's fields, in their order, the JSON; None where it does not have one.
pub type Fields = Arc<[Option<Arc<str>>]>;

/// What an epoch has made, topic by topic, in the order in which it goes into the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Emission {
    pub epoch: Epoch,
    pub lines: Vec<(TopicId, Vec<String>)>,
}

/// The event that `emit` makes of a row of its pipeline, whose columns are `fields`.
#[must_use]
pub fn of_event(
    plan: &Plan,
    emit: &EmitPlan,
    fields: &[Column],
    row: usize,
    (time, offset): (Micros, Offset),
) -> String {
    let mut event = begin(emitted_id(topic_name(plan, emit.topic), time, offset), time);
    for field in &emit.body {
        if let Some(value) = body_value(field, fields, row) {
            event.member(&field.name, value);
        }
    }
    event.finish()
}

/// What a field of the body is of this row, as JSON; None where the row does not have it.
#[must_use]
pub fn body_value(BodyField { column, moment, .. }: &BodyField, fields: &[Column], row: usize) -> Option<Arc<str>> {
    let value = view::json(&fields[column.0], row)?;
    match value.parse().map(Micros) {
        Ok(at) if *moment => Some(json::string(&time::format(at)).into()),
        _ => Some(value),
    }
}

/// The event that a join makes of an event of each of its sides. Its time is that of the later one.
#[must_use]
pub fn of_pair(plan: &Plan, emit: &EmitPlan, left: (Moment, &Fields), right: (Moment, &Fields)) -> String {
    let time = left.0.0.max(right.0.0);
    let mut event = begin(joined_id(topic_name(plan, emit.topic), left.0, right.0), time);
    let (mut of_left, mut of_right) = (left.1.iter(), right.1.iter());
    for field in &emit.body {
        let value = if field.side == 0 { of_left.next() } else { of_right.next() };
        if let Some(value) = value.and_then(Option::as_ref) {
            event.member(&field.name, value);
        }
    }
    event.finish()
}

/// What an epoch emits: what `emitted` holds, closed rows of windows that have a topic, and alerts that have one, which come in the order of `AlertRow::order`.
/// None where that is nothing.
#[must_use]
pub fn emission(
    plan: &Plan,
    epoch: Epoch,
    rows: &[WindowRow],
    alerts: &[AlertRow],
    mut emitted: Vec<Emitted>,
) -> Option<Emission> {
    emitted.sort_by_key(|event| (event.emit, event.offset, event.other));
    let mut lines: Vec<(TopicId, Vec<String>)> = Vec::new();
    let mut push = |topic: TopicId, line: String| match lines.last_mut() {
        Some((last, lines)) if *last == topic => lines.push(line),
        _ => lines.push((topic, vec![line])),
    };
    for event in emitted {
        let Some(emit) = plan.emits.get(event.emit) else { panic!("emit {} is none of the plan's", event.emit) };
        push(emit.topic, event.line);
    }
    let topic = |row: &WindowRow| plan.windows.get(row.window).and_then(|window| window.topic);
    let mut closed: Vec<(&WindowRow, TopicId)> =
        rows.iter().filter(|row| row.closed).filter_map(|row| Some((row, topic(row)?))).collect();
    closed.sort_by(|(a, _), (b, _)| {
        (a.window, a.start, &a.group, a.revision).cmp(&(b.window, b.start, &b.group, b.revision))
    });
    for (row, topic) in closed {
        push(topic, of_row(plan, row));
    }
    for row in alerts {
        let alert = alert_of(plan, row);
        if let Some(topic) = alert.topic {
            push(topic, of_alert(plan, alert, row));
        }
    }
    (!lines.is_empty()).then_some(Emission { epoch, lines })
}

/// The event that a closed row is. Its time is the last moment of the window.
fn of_row(plan: &Plan, row: &WindowRow) -> String {
    let Some(window) = plan.windows.get(row.window) else { panic!("window {} is none of the plan's", row.window) };
    let mut event = begin(row_event_id(row.metric_id, row.revision), row.end.minus(Micros(1)));
    event.member("metric_id", json::string(&row.metric_id.to_string()));
    event.member("window_start", json::string(&time::format(row.start)));
    event.member("window_end", json::string(&time::format(row.end)));
    for (field, value) in window.group.iter().zip(&row.group) {
        event.member(&field.name, group_member(field, value));
    }
    for ((name, _), value) in window.metrics.iter().zip(&row.values) {
        event.member(name, json::metric_value(value, json::string));
    }
    event.member("event_count", row.event_count);
    event.member("revision", row.revision);
    event.finish()
}

/// The event that tells of an alert, raised or cleared. Its time is when that was.
fn of_alert(plan: &Plan, alert: &AlertPlan, row: &AlertRow) -> String {
    let cleared = row.cleared.is_some();
    let mut event = begin(alert_event_id(row.alert_id, cleared), row.at());
    let pipeline = plan.pipeline_name(alert.pipeline);
    event.member("alert_id", json::string(&row.alert_id.to_string()));
    event.member("pipeline", json::string(pipeline));
    event.member("alert", json::string(&alert.name));
    event.member("state", json::string(if cleared { "cleared" } else { "raised" }));
    event.member("key", alert_key(plan, alert, &row.key, group_member));
    for (name, moment) in [("window_start", row.from), ("window_end", row.to), ("raised_at", row.raised)] {
        event.member(name, json::string(&time::format(moment)));
    }
    event.member("details", &row.details);
    event.finish()
}

/// What webhooks are to be sent of these alerts, as they were raised and cleared: to each that is told of one the event that it is.
#[must_use]
pub fn deliveries(plan: &Plan, alerts: &[AlertRow]) -> Vec<Delivery> {
    let mut deliveries = Vec::new();
    for row in alerts {
        let told = plan.webhooks.iter().enumerate().filter(|(_, webhook)| webhook.alerts.contains(&row.alert));
        for (at, webhook) in told {
            let event = alert_event_id(row.alert_id, row.cleared.is_some());
            let id = delivery_id(plan.pipeline_name(webhook.pipeline), &webhook.name, event);
            let body = of_alert(plan, alert_of(plan, row), row);
            deliveries.push(Delivery { id, webhook: at, body, epoch: row.epoch });
        }
    }
    deliveries
}

/// The alert that this is one of.
#[must_use]
pub fn alert_of<'p>(plan: &'p Plan, row: &AlertRow) -> &'p AlertPlan {
    plan.alerts.get(row.alert).unwrap_or_else(|| panic!("alert {} is none of the plan's", row.alert))
}

/// A group's value as events have it.
fn group_member(field: &GroupField, value: &GroupValue) -> String {
    let value = json::group_value(value, json::string);
    // A topic that does not describe a field of text may have other values in it.
    let as_text = field.of_type == Type::Text && value != "null" && !value.starts_with('"');
    if as_text { json::string(&value) } else { value }
}

/// An alert's key as a JSON object, by the names of the group's fields; `member` writes its values.
#[must_use]
pub fn alert_key(
    plan: &Plan,
    alert: &AlertPlan,
    key: &[GroupValue],
    member: impl Fn(&GroupField, &GroupValue) -> String,
) -> String {
    let fields = alert.key_fields(&plan.windows);
    assert_eq!(fields.len(), key.len(), "a key has a value for each of its names");
    let mut object = Object::new();
    for (field, value) in fields.iter().zip(key) {
        object.member(&field.name, member(field, value));
    }
    object.finish()
}

fn begin(id: uuid::Uuid, time: Micros) -> Object {
    let mut event = Object::new();
    event.member(ID, json::string(&id.to_string()));
    event.member(TIME, json::string(&time::format(time)));
    event
}

fn topic_name(plan: &Plan, topic: TopicId) -> &str {
    let of_plan = plan.topics.get(usize::from(topic.0));
    of_plan.map_or_else(|| panic!("{topic:?} is none of the plan's"), |topic| topic.name.as_str())
}
