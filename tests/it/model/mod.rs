//! The sequential model: the whole meaning of a job's pipelines in the plainest code there is, written from `docs/semantics.md` alone. A list of lines
//! in, rows, dead letters and counts out; no epoch overlaps another, nothing is partial, every sum is an exact rational, every session is made anew from
//! its events.
//!
//! It knows the plan's and the rows' types, and nothing of how the engine works.

mod event;
pub mod alert;
mod emit;
pub mod json;
mod metric;
pub mod view;
mod session;
pub mod shape;
mod tests;
mod time;
mod window;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::rc::Rc;

use caudal::core::columns::{GroupValue, Reason, Slab};
use caudal::core::epoch::Cut;
use caudal::core::identity::metric_id;
use caudal::core::ledger::Counts;
use caudal::core::mend::{Discards, Retry};
use caudal::core::plan::{Audit, ColumnKind, ColumnPlan, Plan, TopicPlan};
use caudal::core::row::Value as Metered;
use caudal::core::units::{Epoch, Micros, Millis, Offset, TopicId};

use alert::{Alert, Told};
pub use emit::Emitted;
use emit::Half;
use event::{Identity, Rules, Valid};
pub use event::{Schemas, compile, is_read};
use json::Json;
use shape::Shape;
use uuid::Uuid;
use window::{Passed, Published, Window};

/// A record of the log, as far as results depend on it.
#[derive(Clone, Debug)]
pub enum Entry {
    Slab(Slab),
    Cut(Cut),
    /// The slabs after it, up to a record of another kind or a slab of a topic from outside, are what this epoch emitted.
    Emit(Epoch),
    Retries(Vec<Retry>),
    Discards(Discards),
    /// After this epoch, whose cut comes next, the pipelines have this shape.
    Config(Epoch, Rc<Shape>),
}

/// A row's identity: (window, start, group, the epoch after which its pipeline was begun anew, or 0).
pub type Key = (usize, i64, Vec<GroupValue>, u64);

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

/// A counted event: (topic, id text, time, rows it went into). Which session takes an event is not traced: rows of session windows are left out.
pub type Counted = (String, Option<String>, i64, Vec<Key>);

/// Everything that a log means.
#[derive(Debug, Default)]
pub struct Outcome {
    pub rows: BTreeMap<Key, Row>,
    /// By offset; those that were discarded too.
    pub dead_letters: BTreeMap<u64, Letter>,
    /// By letter: its retry.
    pub retried: BTreeMap<u64, u64>,
    pub discarded: BTreeSet<u64>,
    pub duplicates: Vec<u64>,
    /// Offsets of the events that no pipeline lets through.
    pub filtered: Vec<u64>,
    /// By offset.
    pub counted: BTreeMap<u64, Counted>,
    /// Offsets of the counted events that the audit keeps.
    pub audited: BTreeSet<u64>,
    /// Rows that events went into in pasts.
    pub past_keys: BTreeMap<u64, Vec<Key>>,
    /// Events that pasts of audited pipelines count, and the rows of theirs that they went into.
    pub past: BTreeMap<u64, Counted>,
    /// By epoch, from 1.
    pub epochs: Vec<Counts>,
    /// By pipeline: values that expressions could not give.
    pub expression_errors: Vec<u64>,
    /// By view and key.
    pub views: BTreeMap<view::Place, view::Entry>,
    /// By offset and view: the key, and the fields that the event has.
    pub history: BTreeMap<(u64, usize), (String, serde_json::Map<String, serde_json::Value>)>,
    /// As they were last told of.
    pub alerts: BTreeMap<Uuid, Told>,
    /// By epoch and `metric_id`, the rows that it publishes, open ones too, without their values; not those of pasts.
    pub published: BTreeMap<u64, BTreeMap<Uuid, Row>>,
    /// What webhooks are to be sent: which of them, the event, the epoch.
    pub outbox: BTreeMap<Uuid, (usize, serde_json::Value, u64)>,
    /// By epoch, in order.
    pub emitted: BTreeMap<u64, Vec<Emitted>>,
    /// Topics that take nothing from outside.
    pub emitted_topics: Vec<usize>,
    pub happened: Happened,
}

impl Outcome {
    /// The letters that there are, and which event is the retry of each.
    pub fn letters(&self) -> BTreeMap<u64, (Letter, Option<u64>)> {
        let kept = self.dead_letters.iter().filter(|(offset, _)| !self.discarded.contains(offset));
        kept.map(|(offset, letter)| (*offset, (letter.clone(), self.retried.get(offset).copied()))).collect()
    }

    pub fn emits_to(&self, topic: TopicId) -> bool {
        self.emitted_topics.contains(&usize::from(topic.0))
    }
}

/// What happened how often on the way: a comparison in which something never happens proves nothing about it.
#[derive(Debug, Default)]
pub struct Happened(pub BTreeMap<&'static str, u64>);

impl Happened {
    fn note(&mut self, what: &'static str, times: u64) {
        *self.0.entry(what).or_default() += times;
    }
}

/// What a live job makes of a log. Events after the last cut have no fate yet.
pub fn live(plan: &Plan, schemas: &[String], log: &[Entry]) -> Outcome {
    live_of(plan, schemas, &Shape::whole(plan), log)
}

/// The same of a job that begins with this shape of the plan.
pub fn live_of(plan: &Plan, schemas: &[String], first: &Shape, log: &[Entry]) -> Outcome {
    let schemas = &compile(schemas);
    let mut model = Model::new(first.plan(plan), schemas, false, first.clone());
    let mut next: Option<&Shape> = None;
    let mut waiting: Vec<Event> = Vec::new();
    let (mut retries, mut discards): (Vec<Retry>, Vec<Discards>) = (Vec::new(), Vec::new());
    let mut epochs: Vec<(Vec<Event>, Cut)> = Vec::new();
    for entry in log {
        match entry {
            Entry::Slab(slab) => {
                let topic = slab.topic.map(|t| usize::from(t.0));
                let lines =
                    slab.bytes.split_inclusive(|&b| b == b'\n').map(|l| l.strip_suffix(b"\n").unwrap_or(l).to_vec());
                waiting.extend((slab.first_offset.0..).zip(lines).map(|(o, line)| (o, slab.ingest.0, topic, line)));
            }
            Entry::Emit(_) => {}
            Entry::Retries(more) => retries.extend(more),
            Entry::Discards(more) => discards.push(more.clone()),
            Entry::Config(_, shape) => next = Some(shape),
            Entry::Cut(cut) => {
                let rest = waiting.iter().position(|w| w.0 >= cut.end.0).unwrap_or(waiting.len());
                let events: Vec<_> = waiting.drain(..rest).collect();
                model.epoch(&events, cut, next);
                epochs.push((events, *cut));
                if let Some(next) = next.take() {
                    model.change(next, next.plan(plan), cut.epoch.0);
                    if let Some((pipeline, after)) = next.past {
                        model.adopt(pipeline, past(next.plan(plan), schemas, next, pipeline, after, &epochs));
                    }
                }
                let outcome = &mut model.outcome;
                for retry in retries.extract_if(.., |retry| retry.event < cut.end) {
                    outcome.retried.insert(retry.letter.0, retry.event.0);
                }
                for of_epoch in discards.extract_if(.., |discards| discards.epoch == cut.epoch) {
                    outcome.discarded.extend(of_epoch.letters.iter().map(|letter| letter.0));
                }
            }
        }
    }
    model.finish()
}

/// The job as it would be if it had begun with this shape after that epoch, and with no other pipeline doing anything.
fn past<'a>(
    plan: &'a Plan,
    schemas: &Schemas,
    shape: &Shape,
    pipeline: usize,
    after: u64,
    epochs: &[(Vec<Event>, Cut)],
) -> Model<'a> {
    let mut model = Model::new(plan, schemas, false, shape.clone());
    model.only = Some(pipeline);
    model.all_watermarks.iter_mut().for_each(|all| all.resize(after as usize, None));
    model.outcome.epochs.resize(after as usize, Counts::default());
    for (events, cut) in &epochs[after as usize..] {
        model.epoch(events, cut, None);
    }
    model
}

/// What a batch makes of lines: (offset, line), blank ones left out.
pub fn batch(plan: &Plan, schemas: &[String], topic: Option<usize>, lines: Vec<(u64, Vec<u8>)>) -> Outcome {
    let mut model = Model::new(plan, &compile(schemas), true, Shape::whole(plan));
    let events: Vec<_> = lines.into_iter().map(|(offset, line)| (offset, 0, topic, line)).collect();
    let cut =
        Cut { epoch: Epoch(1), end: Offset(u64::MAX), ingest: Millis(0), up: Millis(0), idle: None, emitted: Epoch(0) };
    model.epoch(&events, &cut, None);
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
    /// By the plan's columns; null where no pipeline of the topic reads one.
    pub fields: Vec<Field>,
}

#[derive(Clone, Debug, PartialEq)]
pub enum Field {
    Group(GroupValue),
    Integer(Option<i64>),
    Number(Option<f64>),
    Boolean(Option<bool>),
}

/// What rules 1 to 7 make of each line: an event, or a topic (if it is known) and a reason. `taken` is when a live job took them; None: a batch.
pub fn read(
    plan: &Plan,
    schemas: &[String],
    taken: Option<Millis>,
    topic: Option<usize>,
    lines: &[Vec<u8>],
) -> Vec<Result<Reading, (Option<usize>, Reason)>> {
    let rules = Rules::new(plan, &compile(schemas), taken.is_none(), &Shape::whole(plan));
    let reading = |line: &Vec<u8>| {
        let valid = rules.validate(taken.unwrap_or(Millis(0)).0, topic, line)?;
        let columns = plan.columns.iter().enumerate();
        let fields = columns.map(|(at, column)| {
            let value = valid.event.at(&column.path).filter(|_| event::is_read(plan, valid.topic, at));
            field(column, value)
        });
        let fields = fields.collect();
        let uuid = valid.id.as_ref().and_then(|(id, _)| if let Identity::Uuid(uuid) = id { Some(*uuid) } else { None });
        Ok(Reading { topic: valid.topic, time: valid.time as i64, id: valid.id.map(|(_, text)| text), uuid, fields })
    };
    lines.iter().map(reading).collect()
}

/// The time of each line that is a valid event of a batch.
pub fn times(plan: &Plan, schemas: &[String], lines: &[Vec<u8>]) -> Vec<Option<i64>> {
    let rules = Rules::new(plan, &compile(schemas), true, &Shape::whole(plan));
    let time = |line: &Vec<u8>| Some(rules.validate(0, None, line).ok()?.time as i64);
    lines.iter().map(time).collect()
}

/// The topics that these lines are valid events of, in a job of this shape: when each was taken, its topic if that is said, itself.
pub fn topics<'l>(
    plan: &Plan,
    schemas: &Schemas,
    shape: &Shape,
    lines: impl Iterator<Item = (Millis, Option<TopicId>, &'l [u8])>,
) -> Vec<Option<TopicId>> {
    let rules = Rules::new(shape.plan(plan), schemas, false, shape);
    let topic = |(taken, topic, line): (Millis, Option<TopicId>, &[u8])| {
        let valid = rules.validate(taken.0, topic.map(|topic| usize::from(topic.0)), line);
        valid.ok().map(|valid| TopicId(valid.topic as u16))
    };
    lines.map(topic).collect()
}

fn field(column: &ColumnPlan, value: Option<&Json>) -> Field {
    match column.kind {
        ColumnKind::Group => Field::Group(event::group_value(value)),
        ColumnKind::Integer => Field::Integer(value.and_then(Json::integer)),
        ColumnKind::Number => Field::Number(value.and_then(Json::number)),
        ColumnKind::Boolean => Field::Boolean(value.and_then(Json::boolean)),
        ColumnKind::Json => panic!("views are read elsewhere"),
    }
}

/// A line of the log: its offset, when it was taken in, its topic if that is said, itself.
type Event = (u64, u64, Option<usize>, Vec<u8>);

/// W(e−1) and W(e−2) while epoch e is worked on; None is minus infinity.
#[derive(Clone, Copy, Default)]
struct Watermark {
    before: Option<i128>,
    before_that: Option<i128>,
}

struct Model<'a> {
    plan: &'a Plan,
    schemas: Schemas,
    /// What there is now.
    shape: Shape,
    /// Of its pipelines the only one that does anything.
    only: Option<usize>,
    /// Rows of windows that were gone, and that no row of a later window of the name has replaced or removed.
    past_rows: BTreeMap<Key, Row>,
    rules: Rules<'a>,
    batch: bool,
    /// Per topic: identity → bucket of its winner.
    ids: Vec<HashMap<Identity, i128>>,
    /// Per topic: (max, last_up), once seen.
    seen: Vec<Option<(i128, u64)>>,
    /// Per pipeline.
    watermarks: Vec<Watermark>,
    /// Per pipeline, W after each epoch, from 1.
    all_watermarks: Vec<Vec<Option<i128>>>,
    /// Per `emit`: what the epoch's events come to, by offset, of a join's by the greater one, then the lesser.
    made: Vec<BTreeMap<(u64, u64), Emitted>>,
    /// Likewise: of joins, what may still meet another, and the epoch's.
    halves: Vec<Vec<Half>>,
    new_halves: Vec<Vec<Half>>,
    windows: Vec<Window<'a>>,
    alerts: Vec<Alert<'a>>,
    outcome: Outcome,
}

/// What becomes of a valid event that is no duplicate.
enum Fate {
    Filtered,
    Late,
    Counted(Vec<Key>),
}

impl<'a> Model<'a> {
    fn new(plan: &'a Plan, schemas: &Schemas, batch: bool, shape: Shape) -> Self {
        Self {
            plan,
            schemas: schemas.clone(),
            rules: Rules::new(plan, schemas, batch, &shape),
            shape,
            only: None,
            past_rows: BTreeMap::new(),
            batch,
            ids: plan.topics.iter().map(|_| HashMap::new()).collect(),
            seen: vec![None; plan.topics.len()],
            watermarks: vec![Watermark::default(); plan.pipelines.len()],
            all_watermarks: vec![Vec::new(); plan.pipelines.len()],
            made: vec![BTreeMap::new(); plan.emits.len()],
            halves: vec![Vec::new(); plan.emits.len()],
            new_halves: vec![Vec::new(); plan.emits.len()],
            windows: plan.windows.iter().map(Window::new).collect(),
            alerts: (0..plan.alerts.len()).map(|at| Alert::new(plan, at)).collect(),
            outcome: Outcome {
                expression_errors: vec![0; plan.pipelines.len()],
                emitted_topics: (0..plan.topics.len()).filter(|&at| plan.topics[at].emitted.is_some()).collect(),
                ..Outcome::default()
            },
        }
    }

    /// `next`: what there is after it, if that changes.
    fn epoch(&mut self, events: &[Event], cut: &Cut, next: Option<&Shape>) {
        self.forget_ids();
        let mut counts = Counts::default();
        let mut newest: Vec<Option<i128>> = vec![None; self.plan.topics.len()];
        for (offset, ingest_ms, topic, line) in events {
            let letter = |topic: Option<&TopicPlan>, reason| Letter {
                topic: topic.map(|topic| topic.name.clone()),
                reason,
                body: line.clone(),
                received_ms: *ingest_ms,
            };
            let valid = match self.rules.validate(*ingest_ms, *topic, line) {
                Ok(valid) => valid,
                Err((topic, reason)) => {
                    counts.invalid += 1;
                    let letter = letter(topic.map(|topic| &self.plan.topics[topic]), reason);
                    self.outcome.dead_letters.insert(*offset, letter);
                    continue;
                }
            };
            newest[valid.topic] = newest[valid.topic].max(Some(valid.time));
            if self.is_duplicate(&valid) {
                counts.duplicate += 1;
                self.outcome.duplicates.push(*offset);
                continue;
            }
            let topic = &self.plan.topics[valid.topic];
            match self.take(*offset, &valid) {
                Fate::Filtered => {
                    counts.filtered += 1;
                    self.outcome.filtered.push(*offset);
                }
                Fate::Late => {
                    counts.late += 1;
                    self.outcome.dead_letters.insert(*offset, letter(Some(topic), Reason::Late));
                }
                Fate::Counted(keys) => {
                    counts.counted += 1;
                    let id = valid.id.map(|(_, text)| text);
                    if self.is_audited(valid.topic) {
                        self.outcome.audited.insert(*offset);
                    }
                    self.outcome.counted.insert(*offset, (topic.name.clone(), id, valid.time as i64, keys));
                }
            }
        }
        self.outcome.epochs.push(counts);
        for (at, (window, plan)) in self.windows.iter_mut().zip(&self.plan.windows).enumerate() {
            let watermark = self.watermarks[plan.pipeline].before;
            let leaves = next.is_some_and(|next| {
                self.shape.windows[at] && (!next.windows[at] || self.shape.renews(next, plan.pipeline))
            });
            let passed = if self.batch || leaves { Passed::Everything } else { Passed::Until(watermark) };
            window.end_epoch(cut, passed, &mut self.outcome.happened);
        }
        if !self.batch {
            self.emit(cut.epoch.0, next);
        }
        self.move_watermarks(cut, &newest);
    }

    fn emit(&mut self, epoch: u64, next: Option<&Shape>) {
        for (at, emit) in self.plan.emits.iter().enumerate() {
            let new = std::mem::take(&mut self.new_halves[at]);
            let passed = self.watermarks[emit.pipeline].before;
            let joined = emit::join(self.plan, emit, &mut self.halves[at], new, passed);
            self.outcome.happened.note("joined", joined.len() as u64);
            self.made[at].extend(joined);
        }
        let made = self.made.iter_mut().flat_map(|made| std::mem::take(made).into_values());
        let mut emitted: Vec<Emitted> = made.collect();
        let published: Vec<Vec<Published>> = self.windows.iter_mut().map(Window::take_published).collect();
        for (rows, plan) in published.iter().zip(&self.plan.windows) {
            let pipeline = self.shape.identity(self.plan, plan.pipeline);
            let of_epoch = rows.iter().map(|row| {
                let id = metric_id(&pipeline, &plan.name, Micros(row.place.0), &row.place.1);
                let Published { end, event_count, revision, closed, .. } = *row;
                (id, Row { end, values: Vec::new(), event_count, revision, closed, epoch })
            });
            self.outcome.published.entry(epoch).or_default().extend(of_epoch);
            if let Some(topic) = plan.topic {
                let pipeline = self.shape.identity(self.plan, plan.pipeline);
                let closed = rows.iter().filter(|row| row.closed);
                emitted.extend(closed.map(|row| emit::of_row(&pipeline, plan, usize::from(topic.0), row)));
            }
        }
        for (at, (alert, plan)) in self.alerts.iter_mut().zip(&self.plan.alerts).enumerate() {
            if !self.shape.alerts[at] {
                continue;
            }
            let rows = plan.rule.window().map_or(&[][..], |window| &published[window]);
            let identity = self.shape.identity(self.plan, plan.pipeline);
            let mut told = alert.end_epoch(epoch, rows, self.watermarks[plan.pipeline].before, &identity);
            if next.is_some_and(|next| !next.alerts[at] || self.shape.renews(next, plan.pipeline)) {
                let left = alert.leave(epoch, self.watermarks[plan.pipeline].before);
                self.outcome.happened.note("alerts cleared because they are gone", left.len() as u64);
                told.extend(left);
                told.sort_by(|a, b| a.key.cmp(&b.key));
            }
            for told in told {
                self.outcome.happened.note(alert::happened(plan, &told), 1);
                emitted.extend(plan.topic.map(|topic| emit::of_alert(self.plan, plan, usize::from(topic.0), &told)));
                for (at, webhook) in self.plan.webhooks.iter().enumerate() {
                    if self.shape.webhooks[at] && webhook.alerts.contains(&told.alert) {
                        let event = emit::of_alert(self.plan, plan, 0, &told).event;
                        let id = emit::delivery_of(&self.plan.pipelines[webhook.pipeline].name, &webhook.name, &event);
                        self.outcome.outbox.insert(id, (at, event, epoch));
                    }
                }
                self.outcome.alerts.insert(told.id, told);
            }
        }
        if !emitted.is_empty() {
            self.outcome.emitted.insert(epoch, emitted);
        }
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

    /// Whether the event's id is known; from now on it is.
    fn is_duplicate(&mut self, valid: &Valid) -> bool {
        let Some((identity, _)) = &valid.id else { return false };
        let ids = &mut self.ids[valid.topic];
        if ids.contains_key(identity) {
            return true;
        }
        ids.insert(identity.clone(), valid.time.div_euclid(width(&self.plan.topics[valid.topic])));
        false
    }

    /// Lets the event into each window that takes it.
    fn take(&mut self, offset: u64, valid: &Valid) -> Fate {
        let plan = self.plan;
        // What the job emits and nobody reads is there for others.
        let unread = plan.topics[valid.topic].emitted.is_some()
            && self.shape.is_made(plan, valid.topic)
            && self.shape.readers(plan, valid.topic).next().is_none();
        let (mut through, mut counted) = (unread, unread);
        let mut late_somewhere = false;
        let mut keys = Vec::new();
        let shape = self.shape.clone();
        let only = self.only;
        let does = |number: usize| only.is_none_or(|only| only == number);
        for (number, pipeline) in shape.readers(plan, valid.topic).filter(|(number, _)| does(*number)) {
            let (row, errors) = event::row(plan, pipeline, valid);
            self.outcome.expression_errors[number] += errors;
            let Some(row) = row else { continue };
            through = true;
            // A pipeline without windows counts what it lets through, and so does one with views, patterns or `emit`.
            let windows = pipeline.windows.clone().filter(|at| shape.windows[*at]);
            let views = pipeline.views.clone().filter(|at| shape.views[*at]);
            let emits = pipeline.emits.clone().filter(|at| shape.emits[*at]);
            counted |= windows.clone().count() == 0 || views.clone().count() > 0 || emits.clone().count() > 0;
            for at in pipeline.alerts.clone().filter(|at| shape.alerts[*at]) {
                counted |= self.alerts[at].is_pattern();
                if !self.batch {
                    self.alerts[at].add((valid.time as i64, offset), &row);
                }
            }
            for at in emits {
                let emitted = emit::of_event(plan, &plan.emits[at], valid, offset, &row);
                self.made[at].extend(emitted.map(|emitted| ((offset, 0), emitted)));
                if !self.batch {
                    self.new_halves[at].extend(emit::halves(plan, &plan.emits[at], valid, offset, &row));
                }
            }
            for at in views {
                let view = &plan.views[at];
                let Some((key, fields)) = view::said(plan, view, valid, &row) else { continue };
                if view.history {
                    self.outcome.history.insert((offset, at), (key.clone(), fields.clone()));
                }
                let epoch = self.outcome.epochs.len() as u64 + 1;
                view::add(&mut self.outcome.views, (at, key), (valid.time as i64, offset), fields, epoch);
            }
            let watermark = self.watermarks[number].before_that;
            let late = if self.batch { Passed::Until(None) } else { Passed::Until(watermark) };
            for at in windows {
                let window = &mut self.windows[at];
                let Some(starts) = window.takes(valid.time, late) else {
                    late_somewhere = true;
                    continue;
                };
                counted = true;
                window.add(valid.time as i64, offset, &row, &starts);
                let group = window.group(&row);
                let life = shape.lives[number];
                keys.extend(starts.into_iter().map(|start| (at, start, group.clone(), life)));
            }
        }
        self.outcome.happened.note("late for some windows", u64::from(counted && late_somewhere));
        match (through, counted) {
            (false, _) => Fate::Filtered,
            (true, false) => Fate::Late,
            (true, true) => Fate::Counted(keys),
        }
    }

    fn move_watermarks(&mut self, cut: &Cut, newest: &[Option<i128>]) {
        for (seen, newest) in self.seen.iter_mut().zip(newest) {
            if let Some(newest) = *newest {
                *seen = Some((seen.map_or(newest, |s| s.0.max(newest)), cut.up.0));
            }
        }
        let up_ms = i128::from(cut.up.0);
        for (number, pipeline) in self.plan.pipelines.iter().enumerate() {
            if !self.shape.pipelines[number] {
                self.all_watermarks[number].push(None);
                continue;
            }
            let topics = || pipeline.topics.iter().map(|topic| usize::from(topic.0));
            // Of the pipeline's topics from outside that were seen: how far each is, its last_up, whether it is active.
            let seen = topics().filter(|&topic| self.plan.topics[topic].emitted.is_none()).filter_map(|topic| {
                let plan = &self.plan.topics[topic];
                let (max, last_up) = self.seen[topic]?;
                let active = (up_ms - i128::from(last_up)) * 1000 < i128::from(plan.idle_after.0);
                Some((max - i128::from(plan.out_of_order.0), i128::from(last_up), active))
            });
            let seen: Vec<(i128, i128, bool)> = seen.collect();
            let active = seen.iter().filter(|(_, _, active)| *active).map(|(far, ..)| Some(*far));
            // Of those that other pipelines emit: how far those were when all that they emitted is here.
            let emitted = topics().filter_map(|topic| self.plan.topics[topic].emitted).map(|by| {
                let then = cut.emitted.0.checked_sub(2).map(|at| self.all_watermarks[by.pipeline][at as usize]);
                then.flatten().map(|then| then - i128::from(by.behind.0))
            });
            let candidate = active.chain(emitted).min().unwrap_or_else(|| {
                let furthest = seen.iter().map(|(far, ..)| *far).max();
                let last_up = seen.iter().map(|(_, last_up, _)| *last_up).max();
                furthest.zip(last_up).map(|(far, last_up)| far + (up_ms - last_up) * 1000)
            });
            let watermark = &mut self.watermarks[number];
            *watermark = Watermark { before: watermark.before.max(candidate), before_that: watermark.before };
            self.all_watermarks[number].push(watermark.before);
        }
        let differ = self.watermarks.windows(2).any(|two| two[0].before != two[1].before);
        self.outcome.happened.note("pipelines with different watermarks", u64::from(differ));
    }

    /// Whether the audit keeps a counted event of the topic.
    fn is_audited(&self, topic: usize) -> bool {
        let full = |pipeline: &caudal::core::plan::PipelinePlan| pipeline.audit == Audit::Full;
        let mut readers = self.shape.readers(self.plan, topic).peekable();
        match (readers.peek(), self.plan.topics[topic].emitted) {
            (None, Some(by)) => self.does(by.pipeline) && full(&self.plan.pipelines[by.pipeline]),
            _ => readers.any(|(number, pipeline)| self.does(number) && full(pipeline)),
        }
    }

    fn does(&self, pipeline: usize) -> bool {
        self.only.is_none_or(|only| only == pipeline)
    }

    /// A pipeline that has just come goes on as if it had been there in its past.
    fn adopt(&mut self, pipeline: usize, mut past: Model<'a>) {
        let plan = &self.plan.pipelines[pipeline];
        for at in plan.windows.clone() {
            std::mem::swap(&mut self.windows[at], &mut past.windows[at]);
        }
        for at in plan.alerts.clone() {
            std::mem::swap(&mut self.alerts[at], &mut past.alerts[at]);
        }
        for at in plan.emits.clone() {
            self.halves[at] = std::mem::take(&mut past.halves[at]);
        }
        self.watermarks[pipeline] = past.watermarks[pipeline];
        self.all_watermarks[pipeline] = std::mem::take(&mut past.all_watermarks[pipeline]);
        let Outcome { views, history, alerts, counted, audited, .. } = past.outcome;
        self.outcome.views.extend(views);
        self.outcome.history.extend(history);
        self.outcome.alerts.extend(alerts);
        self.outcome.happened.note("events of pasts counted", counted.len() as u64);
        for (offset, (.., keys)) in &counted {
            self.outcome.past_keys.entry(*offset).or_default().extend(keys.iter().cloned());
        }
        for (offset, (topic, id, time, keys)) in counted.into_iter().filter(|(offset, _)| audited.contains(offset)) {
            let known = self.outcome.past.entry(offset).or_insert((topic, id, time, Vec::new()));
            known.3.extend(keys);
        }
    }

    /// After the epoch there is something else: what is gone leaves nothing but its rows, what comes begins anew, and what goes on is as the plan says now.
    fn change(&mut self, next: &Shape, plan: &'a Plan, epoch: u64) {
        self.outcome.happened.note("changes of what is said", u64::from(!std::ptr::eq(self.plan, plan)));
        let plan_before = std::mem::replace(&mut self.plan, plan);
        self.windows.iter_mut().zip(&plan.windows).for_each(|(window, plan)| window.says(plan));
        self.alerts.iter_mut().for_each(|alert| alert.says(plan));
        let before = std::mem::replace(&mut self.shape, next.clone());
        let differ = |before: &[bool], next: &[bool]| -> Vec<usize> {
            (0..before.len()).filter(|at| before[*at] != next[*at]).collect()
        };
        let renewed: Vec<usize> = (0..plan.pipelines.len()).filter(|at| before.renews(next, *at)).collect();
        self.outcome.happened.note("pipelines begun anew", renewed.len() as u64);
        // What a pipeline that begins anew had is gone, and comes back with nothing.
        let differ = |all: &dyn Fn(&Shape) -> Vec<bool>, pipeline: &dyn Fn(usize) -> usize| -> Vec<usize> {
            let mut places = differ(&all(&before), &all(next));
            let there =
                all(&before).into_iter().enumerate().filter(|(at, there)| *there && renewed.contains(&pipeline(*at)));
            places.extend(there.map(|(at, _)| at));
            places.sort_unstable();
            places.dedup();
            places
        };
        for at in differ(&|shape| shape.windows.clone(), &|at| plan.windows[at].pipeline) {
            let window = std::mem::replace(&mut self.windows[at], Window::new(&plan.windows[at]));
            let happened = if before.windows[at] { "windows gone" } else { "windows added" };
            self.outcome.happened.note(happened, 1);
            self.keep_rows(at, window, before.lives[plan.windows[at].pipeline]);
        }
        for at in differ(&|shape| shape.views.clone(), &|at| plan.views[at].pipeline) {
            self.outcome.happened.note(if before.views[at] { "views gone" } else { "views added" }, 1);
            self.outcome.views.retain(|(view, _), _| *view != at);
            self.outcome.history.retain(|(_, view), _| *view != at);
        }
        for at in differ(&|shape| shape.alerts.clone(), &|at| plan.alerts[at].pipeline) {
            self.alerts[at] = Alert::new(plan, at);
        }
        for at in differ(&|shape| shape.emits.clone(), &|at| plan.emits[at].pipeline) {
            self.halves[at].clear();
        }
        for at in differ(&|shape| shape.pipelines.clone(), &|at| at) {
            self.outcome.happened.note(if before.pipelines[at] { "pipelines gone" } else { "pipelines added" }, 1);
            self.watermarks[at] = Watermark::default();
            self.all_watermarks[at] = vec![None; epoch as usize];
        }
        for topic in 0..plan.topics.len() {
            if before.has(plan_before, topic) && !next.has(plan, topic) {
                self.outcome.happened.note("topics retired", 1);
                self.ids[topic].clear();
                self.seen[topic] = None;
            }
        }
        self.rules = Rules::new(plan, &self.schemas, false, next);
        self.outcome.happened.note("changes", 1);
    }

    /// The window is done: its rows stay, in the place of those of an earlier one of its name.
    fn keep_rows(&mut self, at: usize, window: Window, life: u64) {
        for (start, group) in window.touched() {
            self.past_rows.remove(&(at, *start, group.clone(), life));
        }
        self.past_rows.extend(window.rows().map(|((start, group), row)| ((at, start, group, life), row)));
    }

    fn finish(mut self) -> Outcome {
        for (at, window) in std::mem::take(&mut self.windows).into_iter().enumerate() {
            self.keep_rows(at, window, self.shape.lives[self.plan.windows[at].pipeline]);
        }
        self.outcome.rows = self.past_rows;
        self.outcome
    }
}

fn width(topic: &TopicPlan) -> i128 {
    let remember = i128::from(topic.remember.0);
    ((remember + 31) / 32).max(120_000_000)
}
