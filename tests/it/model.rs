//! The sequential model: the whole meaning of a pipeline in the plainest code there is, written from `docs/semantics.md` alone. A list of lines in, rows,
//! dead letters and counts out; no epoch overlaps another, nothing is partial, every sum is an exact rational.
//!
//! It knows the plan's and the rows' types, and nothing of how the engine works.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use caudal::core::columns::{GroupValue, Numbering, Reason, Slab};
use caudal::core::epoch::Cut;
use caudal::core::ledger::Counts;
use caudal::core::plan::{Audit, ColumnKind, FieldPath, Metric, Plan, TopicPlan, WindowPlan};
use caudal::core::row::Value as Metered;
use caudal::core::schema::Schema;
use caudal::core::units::{Epoch, Micros, Millis, Offset, TopicId};
use num_bigint::BigInt;
use num_rational::BigRational;
use num_traits::{Signed, ToPrimitive};
use serde_json::{Map, Value};

/// A record of the log, as far as results depend on it.
#[derive(Clone, Debug)]
pub enum Entry {
    Slab(Slab),
    Cut(Cut),
}

/// A row's identity: (window, start, group).
pub type Key = (usize, i64, Vec<GroupValue>);

/// A row as it was last published.
#[derive(Clone, Debug, PartialEq)]
pub struct Row {
    pub end: i64,
    pub values: Vec<Metered>,
    pub event_count: u64,
    pub revision: u32,
    pub closed: bool,
    pub epoch: u64,
}

/// A dead letter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Letter {
    pub topic: Option<String>,
    pub reason: Reason,
    pub body: Vec<u8>,
    pub received_ms: u64,
}

/// A counted event: (topic, id text, time, rows it went into).
pub type Counted = (String, Option<String>, i64, Vec<Key>);

/// Everything that a log means.
#[derive(Debug, Default)]
pub struct Outcome {
    pub rows: BTreeMap<Key, Row>,
    /// By offset.
    pub dead_letters: BTreeMap<u64, Letter>,
    pub duplicates: Vec<u64>,
    /// By offset.
    pub counted: BTreeMap<u64, Counted>,
    /// By epoch, from 1.
    pub epochs: Vec<Counts>,
}

/// What a live job makes of a log. Events after the last cut have no fate yet.
pub fn live(plan: &Plan, schemas: &[String], log: &[Entry]) -> Outcome {
    let mut model = Model::new(plan, schemas, false);
    let mut waiting: Vec<(u64, u64, Option<usize>, Vec<u8>)> = Vec::new();
    for entry in log {
        match entry {
            Entry::Slab(slab) => {
                let topic = slab.topic.map(|t| usize::from(t.0));
                let lines =
                    slab.bytes.split_inclusive(|&b| b == b'\n').map(|l| l.strip_suffix(b"\n").unwrap_or(l).to_vec());
                waiting.extend((slab.first_offset.0..).zip(lines).map(|(o, line)| (o, slab.ingest.0, topic, line)));
            }
            Entry::Cut(cut) => {
                let rest = waiting.iter().position(|w| w.0 >= cut.end.0).unwrap_or(waiting.len());
                let events: Vec<_> = waiting.drain(..rest).collect();
                model.epoch(&events, cut);
            }
        }
    }
    model.finish()
}

/// What a batch makes of lines: (offset, line), blank ones left out.
pub fn batch(plan: &Plan, schemas: &[String], topic: Option<usize>, lines: Vec<(u64, Vec<u8>)>) -> Outcome {
    let mut model = Model::new(plan, schemas, true);
    let events: Vec<_> = lines.into_iter().map(|(offset, line)| (offset, 0, topic, line)).collect();
    let cut = Cut { epoch: Epoch(1), end: Offset(u64::MAX), ingest: Millis(0), up: Millis(0), idle: None };
    model.epoch(&events, &cut);
    model.finish()
}

/// A valid event as the plan reads it.
#[derive(Clone, Debug, PartialEq)]
pub struct Reading {
    pub topic: usize,
    pub time: i64,
    pub id: Option<String>,
    /// Of an id that is one.
    pub uuid: Option<u128>,
    /// By the plan's columns.
    pub fields: Vec<Field>,
}

#[derive(Clone, Debug, PartialEq)]
pub enum Field {
    Group(GroupValue),
    Integer(Option<i64>),
    Number(Option<f64>),
}

/// What rules 1 to 7 make of each line: an event, or a topic (if it is known) and a reason. `taken` is when a live job took them; None: a batch.
pub fn read(
    plan: &Plan,
    schemas: &[String],
    taken: Option<Millis>,
    topic: Option<usize>,
    lines: &[Vec<u8>],
) -> Vec<Result<Reading, (Option<usize>, Reason)>> {
    let model = Model::new(plan, schemas, taken.is_none());
    let reading = |line: &Vec<u8>| {
        let valid = model.validate(taken.unwrap_or(Millis(0)).0, topic, line)?;
        let fields = plan.columns.iter().map(|column| {
            let value = field(&valid.event, &column.path);
            match column.kind {
                ColumnKind::Group => Field::Group(group_value(value)),
                ColumnKind::Integer => Field::Integer(value.and_then(integer)),
                ColumnKind::Number => Field::Number(value.and_then(Value::as_f64)),
            }
        });
        let fields = fields.collect();
        let uuid = valid.id.as_ref().and_then(|(id, _)| if let Identity::Uuid(uuid) = id { Some(*uuid) } else { None });
        Ok(Reading { topic: valid.topic, time: valid.time as i64, id: valid.id.map(|(_, text)| text), uuid, fields })
    };
    lines.iter().map(reading).collect()
}

struct Model<'a> {
    plan: &'a Plan,
    schemas: Vec<jsonschema::Validator>,
    batch: bool,
    /// Per topic: identity → bucket of its winner.
    ids: Vec<HashMap<Identity, i128>>,
    /// Per topic: (max, last_up), once seen.
    seen: Vec<Option<(i128, u64)>>,
    /// W(e−1) and W(e−2) while epoch e is worked on; None is minus infinity.
    watermarks: (Option<i128>, Option<i128>),
    last_emit: Vec<u64>,
    panes: BTreeMap<Key, Pane>,
    published: BTreeMap<Key, Published>,
    outcome: Outcome,
}

#[derive(Clone, PartialEq, Eq, Hash)]
enum Identity {
    Uuid(u128),
    Text(String),
}

/// A pane that is not forgotten: how many of its key's events are in it, and how it stands.
#[derive(Clone, Default)]
struct Pane {
    events: Vec<Vec<Option<Number>>>,
    published: usize,
    closed: bool,
    revision: u32,
}

/// A row of the store, its values still to be computed.
struct Published {
    events: Vec<Vec<Option<Number>>>,
    closed: bool,
    revision: u32,
    epoch: u64,
}

#[derive(Clone, Copy, Debug)]
enum Number {
    Integer(i64),
    Double(f64),
}

/// An event that is valid.
struct Valid {
    topic: usize,
    time: i128,
    id: Option<(Identity, String)>,
    event: Value,
}

impl<'a> Model<'a> {
    fn new(plan: &'a Plan, schemas: &[String], batch: bool) -> Self {
        let compile = |text: &String| {
            let schema: Value = serde_json::from_str(text).unwrap();
            let options =
                jsonschema::options().with_draft(jsonschema::Draft::Draft202012).should_validate_formats(true);
            options.build(&schema).unwrap()
        };
        Self {
            plan,
            schemas: schemas.iter().map(compile).collect(),
            batch,
            ids: plan.topics.iter().map(|_| HashMap::new()).collect(),
            seen: vec![None; plan.topics.len()],
            watermarks: (None, None),
            last_emit: vec![0; plan.windows.len()],
            panes: BTreeMap::new(),
            published: BTreeMap::new(),
            outcome: Outcome::default(),
        }
    }

    fn epoch(&mut self, events: &[(u64, u64, Option<usize>, Vec<u8>)], cut: &Cut) {
        self.forget_ids();
        let mut counts = Counts::default();
        let mut newest: Vec<Option<i128>> = vec![None; self.plan.topics.len()];
        let mut changed: HashSet<Key> = HashSet::new();
        for (offset, ingest_ms, topic, line) in events {
            let letter = |topic: Option<usize>, reason| Letter {
                topic: topic.map(|t| self.plan.topics[t].name.clone()),
                reason,
                body: line.clone(),
                received_ms: *ingest_ms,
            };
            let valid = match self.validate(*ingest_ms, *topic, line) {
                Ok(valid) => valid,
                Err((topic, reason)) => {
                    counts.invalid += 1;
                    self.outcome.dead_letters.insert(*offset, letter(topic, reason));
                    continue;
                }
            };
            newest[valid.topic] = newest[valid.topic].max(Some(valid.time));
            if let Some((identity, _)) = &valid.id {
                let bucket = valid.time.div_euclid(width(&self.plan.topics[valid.topic]));
                let ids = &mut self.ids[valid.topic];
                if ids.contains_key(identity) {
                    counts.duplicate += 1;
                    self.outcome.duplicates.push(*offset);
                    continue;
                }
                ids.insert(identity.clone(), bucket);
            }
            let keys = self.keys(&valid);
            if keys.is_empty() {
                counts.late += 1;
                self.outcome.dead_letters.insert(*offset, letter(Some(valid.topic), Reason::Late));
                continue;
            }
            counts.counted += 1;
            for key in &keys {
                let values = self.arguments(&self.plan.windows[key.0], &valid.event);
                self.panes.entry(key.clone()).or_default().events.push(values);
                changed.insert(key.clone());
            }
            let name = self.plan.topics[valid.topic].name.clone();
            self.outcome.counted.insert(*offset, (name, valid.id.map(|i| i.1), valid.time as i64, keys));
        }
        self.outcome.epochs.push(counts);
        self.publish(cut, &changed);
        self.move_watermark(cut, &newest);
    }

    fn forget_ids(&mut self) {
        if self.batch {
            return;
        }
        for ((topic, ids), seen) in self.plan.topics.iter().zip(&mut self.ids).zip(&self.seen) {
            let Some((max, _)) = *seen else { continue };
            let until = max - i128::from(topic.out_of_order.0);
            ids.retain(|_, bucket| (*bucket + 1) * width(topic) + i128::from(topic.remember.0) > until);
        }
    }

    /// Rules 1 to 7.
    fn validate(&self, ingest_ms: u64, topic: Option<usize>, line: &[u8]) -> Result<Valid, (Option<usize>, Reason)> {
        let event = json(line).filter(Value::is_object).ok_or((topic, Reason::Json))?;
        let named = || {
            let name = event.get(&self.plan.topic_field).and_then(Value::as_str);
            self.plan.topics.iter().position(|t| Some(t.name.as_str()) == name)
        };
        let topic = topic.or_else(named).ok_or((None, Reason::Topic))?;
        let refused = |reason| (Some(topic), reason);
        let plan = &self.plan.topics[topic];
        if !self.schemas[topic].is_valid(&event) {
            return Err(refused(Reason::Schema));
        }
        let id = match &plan.id {
            None => None,
            Some(path) => {
                let text = field(&event, path).and_then(Value::as_str).ok_or(refused(Reason::Id))?;
                if text.is_empty() || text.len() > 1024 {
                    return Err(refused(Reason::Id));
                }
                Some((identity(text), text.to_owned()))
            }
        };
        let time = field(&event, &plan.time).and_then(Value::as_str).and_then(rfc3339).ok_or(refused(Reason::Time))?;
        for column in &self.plan.columns {
            let readable = match (column.kind, field(&event, &column.path)) {
                (_, None | Some(Value::Null)) | (ColumnKind::Group, Some(Value::String(_) | Value::Bool(_))) => true,
                (ColumnKind::Number, Some(value)) => value.is_number(),
                (ColumnKind::Integer | ColumnKind::Group, Some(value)) => integer(value).is_some(),
            };
            if !readable {
                return Err(refused(Reason::Number));
            }
        }
        if !self.batch && time > i128::from(ingest_ms) * 1000 + i128::from(plan.max_future.0) {
            return Err(refused(Reason::Future));
        }
        Ok(Valid { topic, time, id, event })
    }

    /// The panes that take this event.
    fn keys(&self, valid: &Valid) -> Vec<Key> {
        let mut keys = Vec::new();
        for (at, window) in self.plan.windows.iter().enumerate() {
            let every = i128::from(window.every.0);
            let start = valid.time.div_euclid(every) * every;
            let limit = start + every + i128::from(window.late_allow.0);
            if self.watermarks.1.is_some_and(|w| limit <= w) {
                continue;
            }
            let group = window
                .group
                .iter()
                .map(|(_, column)| group_value(field(&valid.event, &self.plan.columns[column.0].path)));
            keys.push((at, start as i64, group.collect()));
        }
        keys
    }

    /// What each metric of the window reads; None where it reads nothing.
    fn arguments(&self, window: &WindowPlan, event: &Value) -> Vec<Option<Number>> {
        let read = |(_, metric): &(String, Metric)| {
            let (Metric::Sum(c) | Metric::Mean(c) | Metric::Min(c) | Metric::Max(c)) = metric else { return None };
            let column = &self.plan.columns[c.0];
            let value = field(event, &column.path)?;
            match column.kind {
                ColumnKind::Integer => integer(value).map(Number::Integer),
                _ => value.as_f64().map(Number::Double),
            }
        };
        window.metrics.iter().map(read).collect()
    }

    fn publish(&mut self, cut: &Cut, changed: &HashSet<Key>) {
        let passed = |limit: i128| self.batch || self.watermarks.0.is_some_and(|w| limit <= w);
        let mut emits = Vec::new();
        for (window, last_emit) in self.plan.windows.iter().zip(&mut self.last_emit) {
            let since = i128::from(cut.ingest.0) - i128::from(*last_emit);
            let emit = cut.idle.is_some() || since * 1000 >= i128::from(window.emit.0);
            if emit {
                *last_emit = cut.ingest.0;
            }
            emits.push(emit);
        }
        for (key, pane) in &mut self.panes {
            let end = i128::from(key.1) + i128::from(self.plan.windows[key.0].every.0);
            let publish = if passed(end) {
                let again = pane.closed && changed.contains(key);
                let first = !pane.closed;
                pane.closed = true;
                pane.revision += u32::from(again);
                first || again
            } else {
                emits[key.0] && pane.published < pane.events.len()
            };
            if publish {
                pane.published = pane.events.len();
                let row = Published {
                    events: pane.events.clone(),
                    closed: pane.closed,
                    revision: pane.revision,
                    epoch: cut.epoch.0,
                };
                self.published.insert(key.clone(), row);
            }
        }
        let windows = &self.plan.windows;
        self.panes.retain(|key, _| {
            let window = &windows[key.0];
            !passed(i128::from(key.1) + i128::from(window.every.0) + i128::from(window.late_allow.0))
        });
    }

    fn move_watermark(&mut self, cut: &Cut, newest: &[Option<i128>]) {
        for (seen, newest) in self.seen.iter_mut().zip(newest) {
            if let Some(newest) = *newest {
                *seen = Some((seen.map_or(newest, |s| s.0.max(newest)), cut.up.0));
            }
        }
        let topics = self.plan.topics.iter().zip(&self.seen).filter_map(|(plan, seen)| seen.map(|s| (plan, s)));
        let all: Vec<_> = topics
            .map(|(plan, (max, last_up))| {
                let silent = i128::from(cut.up.0) - i128::from(last_up);
                (max - i128::from(plan.out_of_order.0), silent * 1000 < i128::from(plan.idle_after.0))
            })
            .collect();
        let active = all.iter().filter(|(_, active)| *active).map(|(w, _)| *w).min();
        let silent = cut.idle.and_then(|idle| Some(all.iter().map(|(w, _)| *w).max()? + i128::from(idle.0) * 1000));
        let candidate = active.or(silent);
        self.watermarks = (self.watermarks.0.max(candidate), self.watermarks.0);
    }

    fn finish(mut self) -> Outcome {
        for (key, published) in self.published {
            let window = &self.plan.windows[key.0];
            let values = window.metrics.iter().enumerate().map(|(at, (_, metric))| {
                let numbers: Vec<Number> = published.events.iter().filter_map(|e| e[at]).collect();
                value(*metric, published.events.len(), &numbers)
            });
            let row = Row {
                end: key.1 + window.every.0,
                values: values.collect(),
                event_count: published.events.len() as u64,
                revision: published.revision,
                closed: published.closed,
                epoch: published.epoch,
            };
            self.outcome.rows.insert(key, row);
        }
        self.outcome
    }
}

fn width(topic: &TopicPlan) -> i128 {
    let remember = i128::from(topic.remember.0);
    ((remember + 31) / 32).max(120_000_000)
}

fn field<'v>(event: &'v Value, path: &FieldPath) -> Option<&'v Value> {
    path.0.iter().try_fold(event, |value, name| value.as_object()?.get(name))
}

fn identity(text: &str) -> Identity {
    let hyphens = [8, 13, 18, 23];
    let right = |(at, b): (usize, u8)| if hyphens.contains(&at) { b == b'-' } else { b.is_ascii_hexdigit() };
    if text.len() == 36 && text.bytes().enumerate().all(right) {
        return Identity::Uuid(u128::from_str_radix(&text.replace('-', ""), 16).unwrap());
    }
    Identity::Text(text.to_owned())
}

fn group_value(value: Option<&Value>) -> GroupValue {
    match value {
        Some(Value::Bool(b)) => GroupValue::Bool(*b),
        Some(Value::String(s)) => GroupValue::Text(s.as_str().into()),
        Some(value) => integer(value).map_or(GroupValue::Null, GroupValue::Integer),
        None => GroupValue::Null,
    }
}

/// The value as an integer of 64 bits, if it is one.
fn integer(value: &Value) -> Option<i64> {
    if let Some(exact) = value.as_i64() {
        return Some(exact);
    }
    // −2⁶³ counts only where it is written as an integer, 2⁶³ never.
    let double = value.as_f64().filter(|d| value.is_f64() && d.fract() == 0.0)?;
    (double.abs() < 9_223_372_036_854_775_808.0).then_some(double as i64)
}

/// A metric over an exact list.
fn value(metric: Metric, events: usize, numbers: &[Number]) -> Metered {
    if metric == Metric::Count {
        return Metered::Integer(events as i128);
    }
    if numbers.is_empty() {
        return Metered::Null;
    }
    let integers: Option<Vec<i64>> =
        numbers.iter().map(|n| if let Number::Integer(i) = n { Some(*i) } else { None }).collect();
    let doubles: Vec<f64> =
        numbers.iter().filter_map(|n| if let Number::Double(d) = n { Some(*d) } else { None }).collect();
    let sum = || {
        integers.as_ref().map_or_else(
            || exact_sum(&doubles),
            |i| BigRational::from(i.iter().copied().map(BigInt::from).sum::<BigInt>()),
        )
    };
    let rounded = |exact: &BigRational| nearest(exact).map_or(Metered::Null, Metered::Number);
    match metric {
        Metric::Count => unreachable!(),
        Metric::Sum(_) => match &integers {
            Some(integers) => Metered::Integer(integers.iter().map(|&i| i128::from(i)).sum()),
            None => rounded(&sum()),
        },
        Metric::Mean(_) => rounded(&(sum() / BigInt::from(numbers.len()))),
        Metric::Min(_) | Metric::Max(_) => {
            let least = matches!(metric, Metric::Min(_));
            if let Some(integers) = integers {
                let found = if least { integers.iter().min() } else { integers.iter().max() };
                return Metered::Integer(i128::from(*found.unwrap()));
            }
            let fold = |a: f64, b: f64| if (b < a) == least { b } else { a };
            // Adding +0 makes −0 to +0.
            Metered::Number(doubles.into_iter().reduce(fold).unwrap() + 0.0)
        }
    }
}

/// The sum as a multiple of 2⁻¹⁰⁷⁴, which every double is.
fn exact_sum(doubles: &[f64]) -> BigRational {
    let scaled = |d: &f64| {
        let (mantissa, exponent) = (d.to_bits() & ((1 << 52) - 1), (d.to_bits() >> 52) & 0x7ff);
        let (mantissa, shift) = if exponent == 0 { (mantissa, 0) } else { (mantissa | (1 << 52), exponent - 1) };
        let magnitude = BigInt::from(mantissa) << shift;
        if d.is_sign_negative() { -magnitude } else { magnitude }
    };
    BigRational::new(doubles.iter().map(scaled).sum(), BigInt::from(1) << 1074)
}

/// The nearest double, ties to even, a zero always +0; None if that is not finite.
fn nearest(exact: &BigRational) -> Option<f64> {
    let rational = |d: f64| BigRational::from_float(d).unwrap();
    let magnitude = exact.abs();
    let signed = |d: f64| if exact.is_negative() && d != 0.0 { -d } else { d };
    if magnitude >= rational(f64::MAX) {
        // Half a step beyond the greatest double a tie would go to the even one, which is no longer finite.
        let limit = rational(f64::MAX) + BigRational::from(BigInt::from(1) << 970);
        return (magnitude < limit).then_some(signed(f64::MAX));
    }
    // Any first guess will do: it is walked to the greatest double that is not above the value.
    let mut below = magnitude.to_f64().filter(|d| d.is_finite()).unwrap_or(0.0).abs().min(f64::MAX.next_down());
    while rational(below) > magnitude {
        below = below.next_down();
    }
    while rational(below.next_up()) <= magnitude {
        below = below.next_up();
    }
    let (under, over) = (&magnitude - rational(below), rational(below.next_up()) - &magnitude);
    let even = below.to_bits() % 2 == 0;
    Some(signed(if under < over || (under == over && even) { below } else { below.next_up() }))
}

/// Microseconds of an RFC 3339 date-time.
fn rfc3339(text: &str) -> Option<i128> {
    let bytes = text.as_bytes();
    let number = |range: std::ops::Range<usize>| -> Option<i128> {
        let digits = bytes.get(range)?;
        digits.iter().all(u8::is_ascii_digit).then(|| std::str::from_utf8(digits).unwrap().parse().unwrap())
    };
    let is = |at: usize, one_of: &[u8]| bytes.get(at).is_some_and(|b| one_of.contains(b));
    if !(is(4, b"-") && is(7, b"-") && is(10, b"Tt") && is(13, b":") && is(16, b":")) {
        return None;
    }
    let (year, month, day) = (number(0..4)?, number(5..7)?, number(8..10)?);
    let (hour, minute, second) = (number(11..13)?, number(14..16)?, number(17..19)?);
    let leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    let days = [31, if leap { 29 } else { 28 }, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];
    let days_of_month = *days.get(usize::try_from(month - 1).ok()?)?;
    if day < 1 || day > days_of_month || hour > 23 || minute > 59 || second > 60 {
        return None;
    }
    let mut at = 19;
    let mut micros = 0;
    if is(at, b".") {
        let digits = bytes[at + 1..].iter().take_while(|b| b.is_ascii_digit()).count();
        if digits == 0 {
            return None;
        }
        for place in 0..6 {
            micros = micros * 10 + if place < digits { i128::from(bytes[at + 1 + place] - b'0') } else { 0 };
        }
        at += 1 + digits;
    }
    let offset_minutes = match *bytes.get(at)? {
        b'Z' | b'z' if bytes.len() == at + 1 => 0,
        sign @ (b'+' | b'-') if bytes.len() == at + 6 && is(at + 3, b":") => {
            let (hours, minutes) = (number(at + 1..at + 3)?, number(at + 4..at + 6)?);
            if hours > 23 || minutes > 59 {
                return None;
            }
            (hours * 60 + minutes) * if sign == b'+' { 1 } else { -1 }
        }
        _ => return None,
    };
    // Days before the year, counted from the year 1, then to 1970.
    let before = |y: i128| (y - 1) * 365 + (y - 1).div_euclid(4) - (y - 1).div_euclid(100) + (y - 1).div_euclid(400);
    let days = before(year) - before(1970) + days[..month as usize - 1].iter().sum::<i128>() + day - 1;
    let seconds = ((days * 24 + hour) * 60 + minute - offset_minutes) * 60 + second;
    let first = (before(1) - before(1970)) * 86_400;
    let end = (before(10_000) - before(1970)) * 86_400;
    (first..end).contains(&seconds).then_some(seconds * 1_000_000 + micros)
}

/// The line as JSON by rule 1: strict, no key twice, at most 128 deep, every number near a finite double.
fn json(line: &[u8]) -> Option<Value> {
    let text = std::str::from_utf8(line).ok()?;
    let mut parser = Json { rest: text };
    let value = parser.value(0)?;
    parser.blanks();
    parser.rest.is_empty().then_some(value)
}

struct Json<'t> {
    rest: &'t str,
}

impl Json<'_> {
    fn blanks(&mut self) {
        self.rest = self.rest.trim_start_matches([' ', '\t', '\n', '\r']);
    }

    fn eat(&mut self, token: &str) -> bool {
        let rest = self.rest.strip_prefix(token);
        self.rest = rest.unwrap_or(self.rest);
        rest.is_some()
    }

    /// `depth`: how many arrays and objects it stands in.
    fn value(&mut self, depth: usize) -> Option<Value> {
        self.blanks();
        match self.rest.bytes().next()? {
            b'{' | b'[' if depth == 128 => None,
            b'{' => self.object(depth + 1),
            b'[' => self.array(depth + 1),
            b'"' => self.string().map(Value::String),
            b't' => self.eat("true").then_some(Value::Bool(true)),
            b'f' => self.eat("false").then_some(Value::Bool(false)),
            b'n' => self.eat("null").then_some(Value::Null),
            _ => self.number(),
        }
    }

    fn object(&mut self, depth: usize) -> Option<Value> {
        let mut object = Map::new();
        self.eat("{");
        self.blanks();
        if self.eat("}") {
            return Some(Value::Object(object));
        }
        loop {
            self.blanks();
            let key = self.string()?;
            self.blanks();
            if !self.eat(":") {
                return None;
            }
            if object.insert(key, self.value(depth)?).is_some() {
                return None;
            }
            self.blanks();
            if self.eat("}") {
                return Some(Value::Object(object));
            }
            if !self.eat(",") {
                return None;
            }
        }
    }

    fn array(&mut self, depth: usize) -> Option<Value> {
        let mut array = Vec::new();
        self.eat("[");
        self.blanks();
        if self.eat("]") {
            return Some(Value::Array(array));
        }
        loop {
            array.push(self.value(depth)?);
            self.blanks();
            if self.eat("]") {
                return Some(Value::Array(array));
            }
            if !self.eat(",") {
                return None;
            }
        }
    }

    fn string(&mut self) -> Option<String> {
        if !self.eat("\"") {
            return None;
        }
        let mut units: Vec<u16> = Vec::new();
        loop {
            let c = self.rest.chars().next()?;
            self.rest = &self.rest[c.len_utf8()..];
            match c {
                '"' => return String::from_utf16(&units).ok(),
                '\u{0}'..='\u{1f}' => return None,
                '\\' => {
                    let escape = self.rest.chars().next()?;
                    self.rest = &self.rest[escape.len_utf8()..];
                    units.push(match escape {
                        '"' | '\\' | '/' => escape as u16,
                        'b' => 8,
                        'f' => 12,
                        'n' => 10,
                        'r' => 13,
                        't' => 9,
                        'u' => {
                            let digits = self.rest.get(..4)?;
                            self.rest = &self.rest[4..];
                            let hex = digits.bytes().all(|b| b.is_ascii_hexdigit());
                            hex.then(|| u16::from_str_radix(digits, 16).unwrap())?
                        }
                        _ => return None,
                    });
                }
                c => units.extend(c.encode_utf16(&mut [0; 2]).iter()),
            }
        }
    }

    fn digits(&self, from: usize) -> usize {
        self.rest.as_bytes()[from..].iter().take_while(|b| b.is_ascii_digit()).count()
    }

    fn number(&mut self) -> Option<Value> {
        let bytes = self.rest.as_bytes();
        let is = |at: usize, one_of: &[u8]| bytes.get(at).is_some_and(|b| one_of.contains(b));
        let sign = usize::from(is(0, b"-"));
        let whole = self.digits(sign);
        if whole == 0 || (whole > 1 && is(sign, b"0")) {
            return None;
        }
        let mut end = sign + whole;
        let mut plain = true;
        if is(end, b".") {
            let fraction = self.digits(end + 1);
            if fraction == 0 {
                return None;
            }
            (end, plain) = (end + 1 + fraction, false);
        }
        if is(end, b"eE") {
            let from = end + 1 + usize::from(is(end + 1, b"+-"));
            let exponent = self.digits(from);
            if exponent == 0 {
                return None;
            }
            (end, plain) = (from + exponent, false);
        }
        let (text, rest) = self.rest.split_at(end);
        self.rest = rest;
        if let (true, Ok(exact)) = (plain, text.parse::<i64>()) {
            return Some(Value::from(exact));
        }
        if let (true, Ok(exact)) = (plain, text.parse::<u64>()) {
            return Some(Value::from(exact));
        }
        let double: f64 = text.parse().ok()?;
        serde_json::Number::from_f64(double).map(Value::Number)
    }
}

#[test]
fn the_nearest_double() {
    let check = |numerator: BigInt, denominator: BigInt, expected: Option<f64>| {
        assert_eq!(nearest(&BigRational::new(numerator, denominator)).map(f64::to_bits), expected.map(f64::to_bits));
    };
    let one = || BigInt::from(1);
    check(0.into(), one(), Some(0.0));
    check(one(), 3.into(), Some(1.0 / 3.0));
    check((-2).into(), 3.into(), Some(-2.0 / 3.0));
    // 2⁵³ + 1 lies half way and goes to the even neighbour; so does 2⁵³ + 3.
    check(9_007_199_254_740_993_i64.into(), one(), Some(9_007_199_254_740_992.0));
    check(9_007_199_254_740_995_i64.into(), one(), Some(9_007_199_254_740_996.0));
    // Half of the smallest double is a tie with zero, and no −0 comes of it.
    check((-1).into(), one() << 1075, Some(0.0));
    check(3.into(), one() << 1075, Some(1e-323));
    check((one() << 1024) - (one() << 971), one(), Some(f64::MAX));
    check((one() << 1024) - (one() << 970) - 1, one(), Some(f64::MAX));
    check((one() << 1024) - (one() << 970), one(), None);
}

#[test]
fn times() {
    let check = |text: &str, expected: Option<i128>| assert_eq!(rfc3339(text), expected, "{text}");
    check("1970-01-01T00:00:00Z", Some(0));
    check("2026-11-22T12:00:00.123Z", Some(1_795_348_800_123_000));
    check("1969-12-31t23:59:59.9999999z", Some(-1));
    check("2000-02-29T23:59:60+23:59", Some(951_868_800_000_000 - (23 * 60 + 59) * 60_000_000));
    check("0001-01-01T00:00:00Z", Some(-62_135_596_800_000_000));
    check("0001-01-01T00:00:00+00:01", None);
    check("9999-12-31T23:59:59.999999Z", Some(253_402_300_799_999_999));
    check("9999-12-31T23:59:60Z", None);
    check("0000-12-31T23:59:59Z", None);
    for wrong in [
        "1900-02-29T00:00:00Z",
        "2026-11-22T12:00:00",
        "2026-11-22 12:00:00Z",
        "2026-11-22T12:00:00.Z",
        "2026-11-22T24:00:00Z",
    ] {
        check(wrong, None);
    }
}

#[test]
fn strict_json() {
    let check = |text: &[u8], valid: bool| assert_eq!(json(text).is_some(), valid, "{}", String::from_utf8_lossy(text));
    let nested = |depth: usize| format!("{}1{}", "[".repeat(depth), "]".repeat(depth));
    check(nested(128).as_bytes(), true);
    check(nested(129).as_bytes(), false);
    for valid in [r#"{"a":{"a":1},"b":[]}"#, r#""\ud83d\ude00""#, " -0.0e-5 ", "1e308", r#""\u0000""#, "1e-999"] {
        check(valid.as_bytes(), true);
    }
    for wrong in [
        "",
        r#"{"a":1,"\u0061":2}"#,
        r#""\ud83d""#,
        "1e309",
        "01",
        "1.",
        "[1,]",
        "{} {}",
        "\u{feff}{}",
        "NaN",
        "\"\t\"",
        "+1",
        ".5",
        "tru",
    ] {
        check(wrong.as_bytes(), false);
    }
    check(b"\"\xff\"", false);
}

/// A log small enough to be followed by hand: lateness at its exact boundary, a revision, silence, a forgotten id.
#[test]
fn a_log_by_hand() {
    let (plan, schemas) = hand_made();
    let mut log = Vec::new();
    let (mut offset, mut epoch) = (0, 0);
    let mut add = |id: Option<(&str, u64)>, up_ms: u64, idle_ms: Option<u64>| {
        if let Some((id, time_ms)) = id {
            let (second, ms) = (time_ms / 1000, time_ms % 1000);
            let line =
                format!(r#"{{"id":"{id}","at":"1970-01-01T00:{:02}:{:02}.{ms:03}Z"}}"#, second / 60, second % 60);
            log.push(Entry::Slab(Slab {
                first_offset: Offset(offset),
                count: 1,
                ingest: Millis(900_000 + up_ms),
                topic: Some(TopicId(0)),
                bytes: (line + "\n").into(),
                numbering: Numbering::Dense,
            }));
            offset += 1;
        }
        epoch += 1;
        let (ingest, up) = (Millis(900_000 + up_ms), Millis(up_ms));
        log.push(Entry::Cut(Cut { epoch: Epoch(epoch), end: Offset(offset), ingest, up, idle: idle_ms.map(Millis) }));
    };
    add(Some(("a", 4_900)), 0, None); // W = 2.9
    add(Some(("b", 8_000)), 1, None); // W = 6
    add(Some(("c", 1_000)), 2, None); // [0, 5) closes by W(2) = 6; `exact` forgets it, for 5 + 1 <= 6
    add(Some(("d", 2_000)), 3, None); // late for `exact`, revises `loose`
    add(Some(("d", 3_000)), 4, None); // a duplicate
    add(None, 5_004, Some(5_000)); // W = 8 - 2 + 5 = 11
    add(None, 5_005, None); // [5, 10) closes
    add(Some(("e", 600_000)), 7_000, None); // W = 598; shown open
    add(Some(("d", 600_001)), 7_001, None); // forgotten: its bucket ended at 120, a second longer is before 598
    let outcome = live(&plan, &schemas, &log);

    let row = |start: i64, n: i128, revision: u32, closed: bool, epoch: u64| {
        let row = Row {
            end: start + 5_000_000,
            values: vec![Metered::Integer(n)],
            event_count: n as u64,
            revision,
            closed,
            epoch,
        };
        (start, row)
    };
    let of_window = |window: usize| -> Vec<(i64, Row)> {
        outcome.rows.iter().filter(|(key, _)| key.0 == window).map(|(key, row)| (key.1, row.clone())).collect()
    };
    let newest = row(600_000_000, 1, 0, false, 8);
    assert_eq!(of_window(0), [row(0, 2, 0, true, 3), row(5_000_000, 1, 0, true, 7), newest.clone()], "exact");
    assert_eq!(of_window(1), [row(0, 3, 1, true, 4), row(5_000_000, 1, 0, true, 7), newest], "loose");
    assert_eq!(outcome.duplicates, [4]);
    assert!(outcome.dead_letters.is_empty());
    let counted: Vec<u64> = outcome.epochs.iter().map(|c| c.counted).collect();
    assert_eq!(counted, [1, 1, 1, 1, 0, 0, 0, 1, 1]);
}

/// One topic; two windows of 5 s, which differ in what they allow.
fn hand_made() -> (Plan, Vec<String>) {
    let schema = r#"{"type": "object"}"#;
    let path = |name: &str| FieldPath(vec![name.to_owned()]);
    let window = |name: &str, late_allow: i64| WindowPlan {
        name: name.to_owned(),
        every: Micros(5_000_000),
        group: Vec::new(),
        late_allow: Micros(late_allow),
        emit: Micros(1_000_000),
        metrics: vec![("n".to_owned(), Metric::Count)],
    };
    let topic = TopicPlan {
        name: "t".to_owned(),
        schema: Arc::new(Schema::compile(schema).unwrap()),
        id: Some(path("id")),
        time: path("at"),
        out_of_order: Micros(2_000_000),
        max_future: Micros(60_000_000),
        idle_after: Micros(5_000_000),
        remember: Micros(1_000_000),
    };
    let plan = Plan {
        pipeline: "by_hand".to_owned(),
        topic_field: "source".to_owned(),
        topics: vec![topic],
        columns: Vec::new(),
        windows: vec![window("exact", 1_000_000), window("loose", 2_000_000)],
        audit: Audit::None,
    };
    (plan, vec![schema.to_owned()])
}
