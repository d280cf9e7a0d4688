//! Alerts: by what rows and events they are raised, and by what they are cleared.

use std::collections::BTreeMap;

use caudal::core::columns::GroupValue;
use caudal::core::identity::{metric_id, pattern_alert_id, row_alert_id};
use caudal::core::plan::{AlertPlan, Anomaly, Detector, GroupField, Pattern, Plan, Rule, WindowKind};
use caudal::core::row::Value as Metered;
use caudal::core::time::format;
use caudal::core::units::{Epoch, Micros, Offset};
use serde_json::{Map, Value, json};
use uuid::Uuid;

use super::emit::of_metric;
use super::event::Row;
use super::window::{Published, is_true};
use crate::scalar::Scalar;

/// An alert as it is told of.
#[derive(Clone, Debug, PartialEq)]
pub struct Told {
    pub id: Uuid,
    pub alert: usize,
    pub key: Vec<GroupValue>,
    pub from: i64,
    pub to: i64,
    pub raised: i64,
    pub cleared: Option<i64>,
    pub details: Value,
    pub epoch: u64,
}

/// Time and offset of an event.
type Moment = (i64, u64);

/// What an event is to a pattern.
#[derive(Clone, Copy, PartialEq)]
enum Mark {
    Counts,
    Ends,
}

/// One alert of the plan.
pub struct Alert<'a> {
    plan: &'a Plan,
    number: usize,
    of_plan: &'a AlertPlan,
    keys: BTreeMap<Vec<GroupValue>, Known>,
    /// The epoch's events by key.
    marks: BTreeMap<Vec<GroupValue>, BTreeMap<Moment, Mark>>,
}

#[derive(Default)]
struct Known {
    /// Every value that was judged, since the group was last forgotten.
    values: Vec<f64>,
    /// End and start of the last row that was.
    last: Option<(i64, i64)>,
    /// The end of the last row by which it stands.
    until: i64,
    /// Of a pattern, what counts, and the last event that began anew.
    counted: Vec<Moment>,
    anew: Option<Moment>,
    active: Option<Told>,
}

/// What a comparison says.
struct Compared {
    mean: f64,
    deviation: f64,
    score: Option<f64>,
}

pub fn key_fields<'a>(plan: &'a Plan, alert: &'a AlertPlan) -> &'a [GroupField] {
    match &alert.rule {
        Rule::Condition { window, .. } => &plan.windows[*window].group,
        Rule::Anomaly(anomaly) => &plan.windows[anomaly.window].group,
        Rule::Pattern(pattern) => std::slice::from_ref(&pattern.key),
    }
}

/// For the simulation's book of what it has tried.
pub fn happened(alert: &AlertPlan, told: &Told) -> &'static str {
    match (&alert.rule, told.cleared.is_some()) {
        (Rule::Condition { .. }, false) => "conditions raised",
        (Rule::Condition { .. }, true) => "conditions cleared",
        (Rule::Anomaly(_), false) => "anomalies raised",
        (Rule::Anomaly(_), true) => "anomalies cleared",
        (Rule::Pattern(_), false) => "patterns raised",
        (Rule::Pattern(_), true) => "patterns cleared",
    }
}

impl<'a> Alert<'a> {
    /// What it has stays, and this holds from now on.
    pub fn says(&mut self, plan: &'a Plan) {
        (self.plan, self.of_plan) = (plan, &plan.alerts[self.number]);
    }

    pub fn new(plan: &'a Plan, number: usize) -> Self {
        Self { plan, number, of_plan: &plan.alerts[number], keys: BTreeMap::new(), marks: BTreeMap::new() }
    }

    pub fn is_pattern(&self) -> bool {
        matches!(self.of_plan.rule, Rule::Pattern(_))
    }

    /// An event that the pipeline lets through.
    pub fn add(&mut self, moment: Moment, row: &Row) {
        let Rule::Pattern(pattern) = &self.of_plan.rule else { return };
        let is = |column: usize| row.scalars[column] == Some(Scalar::Boolean(true));
        let key = &row.groups[pattern.key.column.0];
        let usable = match key {
            GroupValue::Null => false,
            GroupValue::Text(text) => (1..=1_024).contains(&text.len()),
            GroupValue::Bool(_) | GroupValue::Integer(_) => true,
        };
        let mark = if pattern.unless.is_some_and(|unless| is(unless.0)) {
            Mark::Ends
        } else if is(pattern.count.0) {
            Mark::Counts
        } else {
            return;
        };
        if usable {
            self.marks.entry(vec![key.clone()]).or_default().insert(moment, mark);
        }
    }

    /// What the end of an epoch raises and clears, key by key. `passed`: W(e−1).
    pub fn end_epoch(&mut self, epoch: u64, rows: &[Published], passed: Option<i128>, identity: &str) -> Vec<Told> {
        let passed = passed.map_or(i64::MIN, |passed| passed as i64);
        let mut by_key: BTreeMap<Vec<GroupValue>, Vec<Told>> = BTreeMap::new();
        let mut rows: Vec<&Published> = rows.iter().collect();
        rows.sort_by_key(|row| (row.end, row.place.0));
        for row in rows {
            let group = &row.place.1;
            let mut told = self.judge(epoch, row, passed, identity);
            by_key.entry(group.clone()).or_default().append(&mut told);
        }
        for (key, marks) in std::mem::take(&mut self.marks) {
            let told = by_key.entry(key.clone()).or_default();
            if let Rule::Pattern(pattern) = &self.of_plan.rule {
                let known = self.keys.entry(key.clone()).or_default();
                known.counted.retain(|(time, _)| time.saturating_add(pattern.within.0) >= passed);
            }
            for (moment, mark) in marks {
                self.count(epoch, &key, moment, mark, passed, told);
            }
        }
        let (alert, plan) = (self.of_plan, self.plan);
        for (key, known) in &mut self.keys {
            let over = match &alert.rule {
                Rule::Pattern(pattern) => known.lasts_until(pattern),
                _ => known.active.as_ref().map(|_| known.until + step(plan, alert)),
            };
            if let Some(over) = over.filter(|over| *over <= passed) {
                let at = if matches!(alert.rule, Rule::Pattern(_)) { over } else { over - 1 };
                by_key.entry(key.clone()).or_default().extend(known.clear(epoch, at));
            }
        }
        self.keys.retain(|_, known| known.active.is_some() || !known.is_forgotten(&alert.rule, passed));
        by_key.into_values().flatten().collect()
    }

    /// The alert is gone: what stands is cleared where W(e−1) has come to, but not before it was raised.
    pub fn leave(&mut self, epoch: u64, passed: Option<i128>) -> Vec<Told> {
        let passed = passed.map_or(i64::MIN, |passed| passed as i64);
        let clear = |known: &mut Known| {
            let raised = known.active.as_ref()?.raised;
            known.clear(epoch, passed.max(raised))
        };
        self.keys.values_mut().filter_map(clear).collect()
    }

    fn judge(&mut self, epoch: u64, row: &Published, passed: i64, identity: &str) -> Vec<Told> {
        let window = &self.plan.windows[self.of_plan.rule.window().unwrap()];
        let step = step(self.plan, self.of_plan);
        let known = self.keys.entry(row.place.1.clone()).or_default();
        let mut details = Map::new();
        let metrics = window.metrics.iter().zip(&row.values);
        let metrics: Map<String, Value> = metrics.map(|((name, _), value)| (name.clone(), of_metric(value))).collect();
        details.insert("metrics".to_owned(), metrics.into());
        details.insert("event_count".to_owned(), json!(row.event_count));
        let stands = match &self.of_plan.rule {
            Rule::Condition { when, .. } => is_true(when, window, &row.place, row.end, &row.values, row.event_count),
            Rule::Anomaly(anomaly) => {
                let value = match row.values[anomaly.metric] {
                    Metered::Integer(integer) => integer as f64,
                    Metered::Number(number) => number,
                    _ => return Vec::new(),
                };
                let at = (row.end, row.place.0);
                if !row.closed || known.last.is_some_and(|(_, start)| row.place.0 <= start) {
                    return Vec::new();
                }
                let compared = compare(anomaly, &known.values, value);
                known.values.push(value);
                known.last = Some(at);
                if let Some(Compared { mean, deviation, score }) = &compared {
                    details.insert("metric".to_owned(), json!(window.metrics[anomaly.metric].0));
                    let numbers = [("value", value), ("mean", *mean), ("deviation", *deviation)];
                    details.extend(numbers.map(|(name, number)| (name.to_owned(), json!(number + 0.0))));
                    details.insert("score".to_owned(), score.map_or(Value::Null, |score| json!(score + 0.0)));
                }
                let limit = match anomaly.detector {
                    Detector::ZScore(limit) => limit,
                    Detector::Ewma { deviations, .. } => deviations,
                };
                compared.is_some_and(|compared| compared.score.is_none_or(|score| score.abs() >= limit))
            }
            Rule::Pattern(_) => unreachable!("a pattern has no window"),
        };
        let mut told = Vec::new();
        // A closed row that does not follow on those before it: there was silence between.
        if row.closed && known.active.is_some() && row.end > known.until + step {
            told.extend(known.clear(epoch, known.until + step - 1));
        }
        if stands && known.active.is_some() {
            known.until = known.until.max(row.end);
        } else if stands {
            let last_moment = row.end - 1;
            let raised = if row.closed { last_moment } else { passed.clamp(row.place.0, last_moment) };
            let of_row = metric_id(identity, &window.name, Micros(row.place.0), &row.place.1);
            let raised = Told {
                id: row_alert_id(&self.of_plan.name, of_row, Epoch(epoch)),
                alert: self.number,
                key: row.place.1.clone(),
                from: row.place.0,
                to: row.end,
                raised,
                cleared: None,
                details: Value::Object(details),
                epoch,
            };
            known.until = row.end;
            known.active = Some(raised.clone());
            told.push(raised);
        } else if row.closed && row.end >= known.until {
            told.extend(known.clear(epoch, row.end - 1));
        }
        told
    }

    fn count(&mut self, epoch: u64, key: &[GroupValue], moment: Moment, mark: Mark, passed: i64, told: &mut Vec<Told>) {
        let Rule::Pattern(pattern) = &self.of_plan.rule else { unreachable!("rows have no marks") };
        if moment.0.saturating_add(pattern.within.0) < passed {
            return;
        }
        let known = self.keys.entry(key.to_vec()).or_default();
        if let Some(over) = known.lasts_until(pattern).filter(|over| *over <= moment.0) {
            told.extend(known.clear(epoch, over));
        }
        if mark == Mark::Ends {
            known.anew = known.anew.max(Some(moment));
            known.counted.retain(|counted| *counted > moment);
            if let Some(raised) = known.active.as_ref().filter(|active| active.from <= moment.0).map(|a| a.raised) {
                told.extend(known.clear(epoch, moment.0.max(passed).max(raised)));
            }
            return;
        }
        if known.active.is_some() || known.anew > Some(moment) {
            return;
        }
        known.counted.push(moment);
        known.counted.sort_unstable();
        let n = pattern.at_least;
        let runs = (n..=known.counted.len()).map(|end| (known.counted[end - n], known.counted[end - 1]));
        let Some((first, last)) = runs.into_iter().find(|(first, last)| last.0 - first.0 <= pattern.within.0) else {
            return;
        };
        let pipeline = &self.plan.pipelines[self.of_plan.pipeline].name;
        let raised = Told {
            id: pattern_alert_id(pipeline, &self.of_plan.name, key, (Micros(last.0), Offset(last.1))),
            alert: self.number,
            key: key.to_vec(),
            from: first.0,
            to: last.0 + 1,
            raised: last.0.max(passed),
            cleared: None,
            details: json!({"count": n, "first": format(Micros(first.0)), "last": format(Micros(last.0))}),
            epoch,
        };
        known.counted.clear();
        known.active = Some(raised.clone());
        told.push(raised);
    }
}

impl Known {
    fn clear(&mut self, epoch: u64, at: i64) -> Option<Told> {
        self.active.take().map(|active| Told { cleared: Some(at), epoch, ..active })
    }

    fn lasts_until(&self, pattern: &Pattern) -> Option<i64> {
        Some(self.active.as_ref()?.raised + pattern.lasts?.0)
    }

    fn is_forgotten(&self, rule: &Rule, passed: i64) -> bool {
        match rule {
            Rule::Condition { .. } => true,
            Rule::Anomaly(anomaly) => self.last.is_none_or(|(end, _)| end + anomaly.remember.0 <= passed),
            Rule::Pattern(pattern) => {
                let newest = self.counted.iter().copied().chain(self.anew).max();
                newest.is_none_or(|(time, _)| time + pattern.within.0 < passed)
            }
        }
    }
}

fn step(plan: &Plan, alert: &AlertPlan) -> i64 {
    match plan.windows[alert.rule.window().unwrap()].kind {
        WindowKind::Tumbling { every } | WindowKind::Hopping { every, .. } => every.0,
        WindowKind::Session { gap } => gap.0,
    }
}

/// A value and those before it; None while those are too few.
fn compare(anomaly: &Anomaly, before: &[f64], value: f64) -> Option<Compared> {
    if before.len() < anomaly.history {
        return None;
    }
    let (mean, variance) = match anomaly.detector {
        Detector::ZScore(_) => {
            let last = &before[before.len() - anomaly.history..];
            let mut sum = 0.0;
            for known in last {
                sum += known;
            }
            let mean = sum / last.len() as f64;
            let mut squares = 0.0;
            for known in last {
                squares += (known - mean) * (known - mean);
            }
            (mean, squares / (last.len() - 1) as f64)
        }
        Detector::Ewma { weight, .. } => {
            let (mut mean, mut variance) = (before[0], 0.0);
            for known in &before[1..] {
                let difference = known - mean;
                let step = weight * difference;
                mean += step;
                variance = (1.0 - weight) * (variance + difference * step);
            }
            (mean, variance)
        }
    };
    let deviation = variance.sqrt();
    let score = if value - mean == 0.0 {
        Some(0.0)
    } else if deviation == 0.0 {
        None
    } else {
        Some((value - mean) / deviation)
    };
    Some(Compared { mean, deviation, score })
}
