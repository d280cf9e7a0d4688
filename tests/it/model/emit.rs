//! Events that the job makes: of events, and of closed rows.

use std::collections::BTreeMap;

use caudal::core::columns::GroupValue;
use caudal::core::expression::Type;
use caudal::core::identity::{alert_event_id, delivery_id, emitted_id, joined_id, metric_id, row_event_id};
use caudal::core::plan::{AlertPlan, BodyField, ColumnId, ColumnKind, EmitPlan, Plan, Source, WindowPlan};
use caudal::core::row::Value as Metered;
use caudal::core::time::format;
use caudal::core::units::{Micros, Offset, TopicId};
use serde_json::{Map, Value, json};
use uuid::Uuid;

use super::alert::{self, Told};
use super::event::{Row, Valid};
use super::json::{Json, parse};
use super::window::Published;
use crate::scalar::Scalar;

/// An event of an emitted topic, its fields in no particular order.
#[derive(Clone, Debug, PartialEq)]
pub struct Emitted {
    pub topic: usize,
    pub event: Value,
}

impl Emitted {
    /// As the log has it.
    pub fn read(topic: usize, line: &[u8]) -> Self {
        Self { topic, event: parse(line).expect("what the job emits is JSON").to_value() }
    }
}

/// What `emit` makes of an event that its pipeline let through.
pub fn of_event(plan: &Plan, emit: &EmitPlan, valid: &Valid, offset: u64, row: &Row) -> Option<Emitted> {
    let Source::Events { from, when } = &emit.source else { return None };
    if !from.contains(&TopicId(valid.topic as u16)) || !is_wanted(*when, row) {
        return None;
    }
    let topic = usize::from(emit.topic.0);
    let time = Micros(valid.time as i64);
    let mut event = Map::new();
    event.insert("event_id".to_owned(), json!(emitted_id(&plan.topics[topic].name, time, Offset(offset)).to_string()));
    event.insert("timestamp".to_owned(), json!(format(time)));
    body(plan, &emit.body, valid, row, &mut event);
    Some(Emitted { topic, event: Value::Object(event) })
}

fn is_wanted(when: Option<ColumnId>, row: &Row) -> bool {
    when.is_none_or(|when| row.scalars[when.0] == Some(Scalar::Boolean(true)))
}

fn body<'a>(
    plan: &Plan,
    fields: impl IntoIterator<Item = &'a BodyField>,
    valid: &Valid,
    row: &Row,
    event: &mut Map<String, Value>,
) {
    for field in fields {
        let value = match plan.columns.get(field.column.0) {
            Some(column) if column.kind == ColumnKind::Json => valid.event.at(&column.path).map(Json::to_value),
            _ => row.scalars[field.column.0].as_ref().map(|scalar| match scalar {
                Scalar::Text(text) => json!(text),
                Scalar::Timestamp(moment) => json!(format(Micros(*moment))),
                Scalar::Integer(integer) => json!(integer),
                // −0 counts as +0.
                Scalar::Number(number) => json!(number + 0.0),
                Scalar::Boolean(boolean) => json!(boolean),
            }),
        };
        event.extend(value.map(|value| (field.name.clone(), value)));
    }
}

/// An event on one side of a join.
#[derive(Clone)]
pub struct Half {
    side: usize,
    key: String,
    time: i64,
    offset: u64,
    fields: Map<String, Value>,
}

/// What an event that its pipeline let through is to a join: a half of its topic's side, if it has a key.
pub fn halves(plan: &Plan, emit: &EmitPlan, valid: &Valid, offset: u64, row: &Row) -> Vec<Half> {
    let Source::Join(join) = &emit.source else { return Vec::new() };
    let mut halves = Vec::new();
    for (side, of_side) in join.sides.iter().enumerate() {
        let key = super::view::key(&row.groups[of_side.key.0]);
        let is_of_it = usize::from(of_side.topic.0) == valid.topic && is_wanted(of_side.when, row);
        if let Some(key) = key.filter(|_| is_of_it) {
            let mut fields = Map::new();
            body(plan, emit.body.iter().filter(|field| field.side == side), valid, row, &mut fields);
            halves.push(Half { side, key, time: valid.time as i64, offset, fields });
        }
    }
    halves
}

/// What comes of a join's new halves and of those that are kept, every two that meet, by the greater offset, then the lesser one. `passed`: W(e−1), by which
/// halves are forgotten.
pub fn join(
    plan: &Plan,
    emit: &EmitPlan,
    kept: &mut Vec<Half>,
    new: Vec<Half>,
    passed: Option<i128>,
) -> BTreeMap<(u64, u64), Emitted> {
    let Source::Join(join) = &emit.source else { return BTreeMap::new() };
    let before = kept.len();
    for half in new {
        let waiting = kept.iter().filter(|other| other.side == half.side && other.key == half.key).count();
        if waiting < 100 {
            kept.push(half);
        }
    }
    let mut made = BTreeMap::new();
    for (at, one) in kept.iter().enumerate() {
        for (other_at, other) in kept.iter().enumerate() {
            let is_new = at >= before || other_at >= before;
            let meet = one.key == other.key && (one.time - other.time).abs() <= join.within.0;
            if one.side == 0 && other.side == 1 && is_new && meet {
                let topic = usize::from(emit.topic.0);
                let moment = |half: &Half| (Micros(half.time), Offset(half.offset));
                let id = joined_id(&plan.topics[topic].name, moment(one), moment(other));
                let mut event = Map::new();
                event.insert("event_id".to_owned(), json!(id.to_string()));
                event.insert("timestamp".to_owned(), json!(format(Micros(one.time.max(other.time)))));
                event.extend(one.fields.clone());
                event.extend(other.fields.clone());
                let place = (one.offset.max(other.offset), one.offset.min(other.offset));
                made.insert(place, Emitted { topic, event: Value::Object(event) });
            }
        }
    }
    kept.retain(|half| passed.is_none_or(|passed| i128::from(half.time) + i128::from(join.within.0) >= passed));
    made
}

/// The event that a closed row is.
pub fn of_row(pipeline: &str, window: &WindowPlan, topic: usize, row: &Published) -> Emitted {
    let (start, group) = &row.place;
    let id = metric_id(pipeline, &window.name, Micros(*start), group);
    let mut event = Map::new();
    let mut set = |name: &str, value: Value| event.insert(name.to_owned(), value);
    set("event_id", json!(row_event_id(id, row.revision).to_string()));
    set("timestamp", json!(format(Micros(row.end - 1))));
    set("metric_id", json!(id.to_string()));
    set("window_start", json!(format(Micros(*start))));
    set("window_end", json!(format(Micros(row.end))));
    for (field, value) in window.group.iter().zip(group) {
        set(&field.name, of_group(value, field.of_type));
    }
    for ((name, _), value) in window.metrics.iter().zip(&row.values) {
        set(name, of_metric(value));
    }
    set("event_count", json!(row.event_count));
    set("revision", json!(row.revision));
    Emitted { topic, event: Value::Object(event) }
}

/// The event that tells of an alert.
pub fn of_alert(plan: &Plan, alert: &AlertPlan, topic: usize, told: &Told) -> Emitted {
    let cleared = told.cleared.is_some();
    let moment = |at: i64| json!(format(Micros(at)));
    let fields = alert::key_fields(plan, alert).iter().zip(&told.key);
    let key: Map<String, Value> =
        fields.map(|(field, value)| (field.name.clone(), of_group(value, field.of_type))).collect();
    let event = json!({
        "event_id": alert_event_id(told.id, cleared).to_string(),
        "timestamp": moment(told.cleared.unwrap_or(told.raised)),
        "alert_id": told.id.to_string(),
        "pipeline": plan.pipelines[alert.pipeline].name,
        "alert": alert.name,
        "state": if cleared { "cleared" } else { "raised" },
        "key": key,
        "window_start": moment(told.from),
        "window_end": moment(told.to),
        "raised_at": moment(told.raised),
        "details": told.details,
    });
    Emitted { topic, event }
}

/// The id of what a webhook is sent.
pub fn delivery_of(pipeline: &str, webhook: &str, event: &Value) -> Uuid {
    delivery_id(pipeline, webhook, event["event_id"].as_str().unwrap().parse().unwrap())
}

fn of_group(value: &GroupValue, of_type: Type) -> Value {
    match (value, of_type) {
        (GroupValue::Null, _) => Value::Null,
        (GroupValue::Text(text), _) => json!(text.as_ref()),
        (GroupValue::Bool(value), Type::Text) => json!(value.to_string()),
        (GroupValue::Integer(value), Type::Text) => json!(value.to_string()),
        (GroupValue::Bool(value), _) => json!(value),
        (GroupValue::Integer(value), _) => json!(value),
    }
}

/// A metric's value as JSON.
pub fn of_metric(value: &Metered) -> Value {
    match value {
        Metered::Null => Value::Null,
        Metered::Integer(integer) => parse(integer.to_string().as_bytes()).unwrap().to_value(),
        Metered::Number(number) => json!(number),
        Metered::Boolean(boolean) => json!(boolean),
        Metered::Text(text) => json!(text.as_ref()),
    }
}
