//! One window: the panes that it has, when their rows are published, and which rows stand in the store.

use std::cmp::{Ordering, Reverse};
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use caudal::core::columns::GroupValue;
use caudal::core::epoch::Cut;
use caudal::core::expression::{Expr, Type};
use caudal::core::plan::{Metric, WindowKind, WindowPlan};
use caudal::core::row::Value;

use super::event::Row as Fields;
use super::session;
use super::{Happened, Row, metric};
use crate::scalar::{Scalar, scalar};

/// A row's place in its window: (start, group).
pub type Place = (i64, Vec<GroupValue>);

/// An event that went into the window.
pub struct Taken {
    pub time: i64,
    pub offset: u64,
    /// By the window's metrics: what each takes of the event.
    pub arguments: Vec<Option<Scalar>>,
}

/// A pane that is not forgotten.
pub struct Pane {
    pub end: i128,
    pub events: Vec<Rc<Taken>>,
    /// How many of the events were there when its row was last due.
    pub shown: usize,
    /// It was due as a closed row then.
    pub shown_closed: bool,
    /// It was ever due as a closed row, or one of the sessions that it comes of was.
    pub was_closed: bool,
    pub revision: u32,
    /// Of a session: starts under which there may be rows of what has become part of it.
    pub replaced: BTreeSet<i64>,
}

/// A row as it stands in the store; its values are computed when they are asked for.
struct Stored {
    end: i64,
    events: Vec<Rc<Taken>>,
    revision: u32,
    closed: bool,
    epoch: u64,
}

pub struct Window<'a> {
    plan: &'a WindowPlan,
    panes: BTreeMap<Place, Pane>,
    /// Of session windows: the epoch's events by group.
    arrived: BTreeMap<Vec<GroupValue>, Vec<Rc<Taken>>>,
    last_emit: u64,
    rows: BTreeMap<Place, Stored>,
    /// Every row that was ever published or removed.
    touched: BTreeSet<Place>,
    /// Rows that this epoch published; with their values where somebody asks.
    published: BTreeMap<Place, Published>,
}

/// A row as it is published.
pub struct Published {
    pub place: Place,
    pub end: i64,
    pub values: Vec<Value>,
    pub event_count: u64,
    pub revision: u32,
    pub closed: bool,
}

/// Which moments the watermark, or a batch's end, has passed.
#[derive(Clone, Copy)]
pub enum Passed {
    Everything,
    Until(Option<i128>),
}

impl Passed {
    pub fn is(self, moment: i128) -> bool {
        match self {
            Self::Everything => true,
            Self::Until(watermark) => watermark.is_some_and(|watermark| moment <= watermark),
        }
    }
}

impl Pane {
    pub fn new(end: i128) -> Self {
        Self {
            end,
            events: Vec::new(),
            shown: 0,
            shown_closed: false,
            was_closed: false,
            revision: 0,
            replaced: BTreeSet::new(),
        }
    }

    /// Whether its row is due, and if so, how it stands from now on.
    fn publish(&mut self, closed: bool, emits: bool) -> bool {
        let changed = self.shown < self.events.len();
        let due = if closed { changed || !self.shown_closed } else { changed && emits };
        if due {
            self.revision += u32::from(self.was_closed);
            self.was_closed |= closed;
            self.shown_closed = closed;
            self.shown = self.events.len();
        }
        due
    }
}

impl<'a> Window<'a> {
    /// What it has stays, and this holds from now on.
    pub fn says(&mut self, plan: &'a WindowPlan) {
        self.plan = plan;
    }

    pub fn new(plan: &'a WindowPlan) -> Self {
        Self {
            plan,
            panes: BTreeMap::new(),
            arrived: BTreeMap::new(),
            last_emit: 0,
            rows: BTreeMap::new(),
            touched: BTreeSet::new(),
            published: BTreeMap::new(),
        }
    }

    /// The starts of the panes that take an event of this time, of a session window none; None if it is late for the window.
    pub fn takes(&self, time: i128, late: Passed) -> Option<Vec<i64>> {
        let (size, every) = match self.plan.kind {
            WindowKind::Tumbling { every } => (i128::from(every.0), i128::from(every.0)),
            WindowKind::Hopping { size, every } => (i128::from(size.0), i128::from(every.0)),
            WindowKind::Session { gap } => {
                return (!late.is(time + i128::from(gap.0) + self.late_allow())).then(Vec::new);
            }
        };
        let mut starts = Vec::new();
        let mut start = time.div_euclid(every) * every;
        while start + size > time {
            if !late.is(start + size + self.late_allow()) {
                starts.push(start as i64);
            }
            start -= every;
        }
        (!starts.is_empty()).then_some(starts)
    }

    fn late_allow(&self) -> i128 {
        i128::from(self.plan.late_allow.0)
    }

    /// The event's group.
    pub fn group(&self, fields: &Fields) -> Vec<GroupValue> {
        self.plan.group.iter().map(|field| fields.groups[field.column.0].clone()).collect()
    }

    pub fn add(&mut self, time: i64, offset: u64, fields: &Fields, starts: &[i64]) {
        let argument = |(_, metric): &(String, Metric)| fields.scalars[metric.argument()?.0].clone();
        let taken = Rc::new(Taken { time, offset, arguments: self.plan.metrics.iter().map(argument).collect() });
        let group = self.group(fields);
        let size = match self.plan.kind {
            WindowKind::Tumbling { every: size } | WindowKind::Hopping { size, .. } => i128::from(size.0),
            WindowKind::Session { .. } => {
                self.arrived.entry(group).or_default().push(taken);
                return;
            }
        };
        for &start in starts {
            let pane = self.panes.entry((start, group.clone()));
            pane.or_insert_with(|| Pane::new(i128::from(start) + size)).events.push(taken.clone());
        }
    }

    /// The end of an epoch. `passed`: what W(e−1) has.
    pub fn end_epoch(&mut self, cut: &Cut, passed: Passed, happened: &mut Happened) {
        self.settle_sessions(passed, happened);
        let since = i128::from(cut.ingest.0) - i128::from(self.last_emit);
        let emits = match self.plan.emit {
            Some(emit) => cut.idle.is_some() || since * 1000 >= i128::from(emit.0),
            None => false,
        };
        if emits {
            self.last_emit = cut.ingest.0;
        }
        let due: BTreeSet<Place> = self
            .panes
            .iter_mut()
            .filter_map(|(place, pane)| pane.publish(passed.is(pane.end), emits).then(|| place.clone()))
            .collect();
        for place in &due {
            let replaced = std::mem::take(&mut self.panes.get_mut(place).unwrap().replaced);
            for start in replaced.into_iter().filter(|start| *start != place.0) {
                self.touched.insert((start, place.1.clone()));
                let removed = self.rows.remove(&(start, place.1.clone()));
                happened.note("session rows replaced", u64::from(removed.is_some()));
            }
        }
        if self.plan.top.is_some() {
            self.publish_ranked(&due, cut.epoch.0, happened);
        } else {
            self.publish_all(&due, cut.epoch.0, happened);
        }
        let gap = self.plan.kind.gap().map_or(0, |gap| i128::from(gap.0));
        let allow = self.late_allow();
        self.panes.retain(|_, pane| !passed.is(pane.end + gap + allow));
    }

    /// Of the groups that have new events, the sessions are made anew.
    fn settle_sessions(&mut self, passed: Passed, happened: &mut Happened) {
        let Some(gap) = self.plan.kind.gap() else { return };
        for (group, arrived) in std::mem::take(&mut self.arrived) {
            let (before, others) = std::mem::take(&mut self.panes).into_iter().partition(|((_, of), _)| *of == group);
            self.panes = others;
            let before: BTreeMap<Place, Pane> = before;
            let before = before.into_iter().map(|((start, _), pane)| (start, pane)).collect();
            for (start, pane) in session::sessions(gap.0, before, arrived, passed, happened) {
                self.panes.insert((start, group.clone()), pane);
            }
        }
    }

    fn publish_all(&mut self, due: &BTreeSet<Place>, epoch: u64, happened: &mut Happened) {
        for place in due {
            if self.having(place) {
                self.store(place, epoch);
            } else {
                let removed = self.rows.remove(place);
                happened.note("rows removed by having", u64::from(removed.is_some()));
            }
        }
    }

    /// All rows of each start that a row of is due are decided anew.
    fn publish_ranked(&mut self, due: &BTreeSet<Place>, epoch: u64, happened: &mut Happened) {
        let top = self.plan.top.unwrap();
        let starts: BTreeSet<i64> = due.iter().map(|(start, _)| *start).collect();
        for start in starts {
            let places: Vec<Place> = self.panes.keys().filter(|(of, _)| *of == start).cloned().collect();
            let mut ranking = Vec::new();
            for place in &places {
                if self.having(place) {
                    let by = metric::value(&self.plan.metrics[top.by].1, top.by, &self.panes[place].events);
                    ranking.push((Reverse(Rank(by)), place));
                }
            }
            ranking.sort();
            let first: BTreeSet<&Place> = ranking.iter().take(top.n).map(|(_, place)| *place).collect();
            for place in &places {
                let stands = self.rows.contains_key(place);
                if !first.contains(place) {
                    self.rows.remove(place);
                    let ranked = ranking.iter().any(|(_, of)| *of == place);
                    let by = if ranked { "rows removed by top" } else { "rows removed by having" };
                    happened.note(by, u64::from(stands));
                } else if due.contains(place) || !stands {
                    happened.note("rows that moved up", u64::from(!due.contains(place)));
                    self.store(place, epoch);
                }
            }
        }
    }

    fn store(&mut self, place: &Place, epoch: u64) {
        let pane = &self.panes[place];
        let stored = Stored {
            end: pane.end as i64,
            events: pane.events.clone(),
            revision: pane.revision,
            closed: pane.shown_closed,
            epoch,
        };
        let is_asked = self.plan.topic.is_some() || self.plan.watched;
        let published = Published {
            place: place.clone(),
            end: stored.end,
            values: if is_asked { values(self.plan, &stored.events) } else { Vec::new() },
            event_count: stored.events.len() as u64,
            revision: stored.revision,
            closed: stored.closed,
        };
        self.published.insert(place.clone(), published);
        self.touched.insert(place.clone());
        self.rows.insert(place.clone(), stored);
    }

    /// The rows that the epoch has published, in order.
    pub fn take_published(&mut self) -> Vec<Published> {
        std::mem::take(&mut self.published).into_values().collect()
    }

    /// Whether the condition on rows is true of a pane's row.
    fn having(&self, place: &Place) -> bool {
        let Some(having) = &self.plan.having else { return true };
        let pane = &self.panes[place];
        let values = values(self.plan, &pane.events);
        is_true(having, self.plan, place, pane.end as i64, &values, pane.events.len() as u64)
    }

    pub fn touched(&self) -> impl Iterator<Item = &Place> {
        self.touched.iter()
    }

    /// The rows that stand in the store.
    pub fn rows(self) -> impl Iterator<Item = (Place, Row)> {
        let plan = self.plan;
        self.rows.into_iter().map(move |(place, stored)| {
            let row = Row {
                end: stored.end,
                values: values(plan, &stored.events),
                event_count: stored.events.len() as u64,
                revision: stored.revision,
                closed: stored.closed,
                epoch: stored.epoch,
            };
            (place, row)
        })
    }
}

/// Whether a condition on rows is true of one.
pub fn is_true(
    condition: &Expr,
    plan: &WindowPlan,
    (start, group): &Place,
    end: i64,
    values: &[Value],
    event_count: u64,
) -> bool {
    let of_group = plan.group.iter().zip(group).map(|(field, value)| match (field.of_type, value) {
        (Type::Text, GroupValue::Text(text)) => Some(Scalar::Text(text.to_string())),
        (Type::Integer, GroupValue::Integer(integer)) => Some(Scalar::Integer(*integer)),
        (Type::Boolean, GroupValue::Bool(boolean)) => Some(Scalar::Boolean(*boolean)),
        _ => None,
    });
    let metrics = values.iter().map(|value| match value {
        Value::Null => None,
        // An integer past 64 bits is no value to an expression.
        Value::Integer(integer) => i64::try_from(*integer).ok().map(Scalar::Integer),
        Value::Number(number) => Some(Scalar::Number(*number)),
        Value::Boolean(boolean) => Some(Scalar::Boolean(*boolean)),
        Value::Text(text) => Some(Scalar::Text(text.to_string())),
    });
    let facts = [Scalar::Integer(event_count as i64), Scalar::Timestamp(*start), Scalar::Timestamp(end)];
    let row: Vec<Option<Scalar>> = of_group.chain(metrics).chain(facts.map(Some)).collect();
    scalar(condition, &row, *start).0 == Some(Scalar::Boolean(true))
}

fn values(plan: &WindowPlan, events: &[Rc<Taken>]) -> Vec<Value> {
    let metrics = plan.metrics.iter().enumerate();
    metrics.map(|(at, (_, metric))| metric::value(metric, at, events)).collect()
}

/// The order by which rows are ranked: null before everything; of one metric all others are of one type.
#[derive(PartialEq)]
struct Rank(Value);

impl Eq for Rank {}

impl PartialOrd for Rank {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Rank {
    fn cmp(&self, other: &Self) -> Ordering {
        match (&self.0, &other.0) {
            (Value::Null, Value::Null) => Ordering::Equal,
            (Value::Null, _) => Ordering::Less,
            (_, Value::Null) => Ordering::Greater,
            (Value::Integer(a), Value::Integer(b)) => a.cmp(b),
            (Value::Number(a), Value::Number(b)) => a.total_cmp(b),
            (Value::Boolean(a), Value::Boolean(b)) => a.cmp(b),
            (Value::Text(a), Value::Text(b)) => a.cmp(b),
            (a, b) => panic!("{a:?} and {b:?} are values of one metric"),
        }
    }
}
