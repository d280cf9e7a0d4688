//! Alerts on a window's rows: conditions, and values unlike those before them. One group's rows are judged in order of their ends.

use std::collections::VecDeque;

use crate::core::alert::{Deadlines, Ending, Key, Known, OfAlert, put_active, take_active, window_of};
use crate::core::condition;
use crate::core::encoding::{NotAPane, put_count, take, take_count, take_micros};
use crate::core::identity::row_alert_id;
use crate::core::json::{self, Object};
use crate::core::plan::{Anomaly, Detector, Rule, WindowPlan};
use crate::core::row::{AlertRow, Value, WindowRow};
use crate::core::units::Micros;

/// What is known of one group.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Watched {
    history: History,
    /// Of the last row that went into the history: its end and its start.
    last: Option<(Micros, Micros)>,
    pub(super) active: Option<AlertRow>,
    /// The end of the last row by which the alert stands.
    until: Micros,
}

/// What an anomaly is measured by.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct History {
    /// For a z-score the last values, the oldest first.
    values: VecDeque<f64>,
    /// For a moving average how many rows there were, the average and the variance.
    average: (u64, f64, f64),
}

/// How far a value lies from those before it.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Distance {
    mean: f64,
    deviation: f64,
    /// In standard deviations; None where all values before it are one, and it is another.
    score: Option<f64>,
}

/// Judges the epoch's rows of the alert's window.
pub(super) fn judge(of_alert: &mut OfAlert, ending: &mut Ending, rows: &[WindowRow]) {
    let Some(index) = ending.alert.rule.window() else { return };
    let mut rows: Vec<&WindowRow> = rows.iter().filter(|row| row.window == index).collect();
    rows.sort_by(|a, b| (a.end, a.start, &a.group).cmp(&(b.end, b.start, &b.group)));
    let window = window_of(ending.plan, index);
    match &ending.alert.rule {
        Rule::Condition { when, .. } => {
            let holds = condition::holds(when, ending.plan, window, &rows);
            for (row, holds) in rows.into_iter().zip(holds) {
                // Of a group that has no alert, a row for which it does not hold says nothing.
                if holds || of_alert.known.contains_key(&row.group) {
                    of_alert.change(ending, &row.group, |known, ending| {
                        let mut watched = watched(known);
                        let details = details(window, row, None);
                        watched.judged(ending, window, row, holds, details);
                        watched.active.is_some().then_some(Known::Watched(watched))
                    });
                }
            }
        }
        Rule::Anomaly(anomaly) => {
            let closed = rows.into_iter().filter(|row| row.closed);
            let valued = closed.filter_map(|row| Some((row, number(row.values.get(anomaly.metric)?)?)));
            for (row, value) in valued {
                of_alert.change(ending, &row.group, |known, ending| {
                    let mut watched = watched(known);
                    watched.compare(ending, window, anomaly, row, value);
                    Some(Known::Watched(watched))
                });
            }
        }
        Rule::Pattern(_) => panic!("a pattern has no window"),
    }
}

fn watched(known: Option<Known>) -> Watched {
    match known {
        None => Watched::default(),
        Some(Known::Watched(watched)) => watched,
        Some(Known::Counted(_)) => panic!("what is known of a key is of another kind of alert"),
    }
}

fn number(value: &Value) -> Option<f64> {
    match value {
        Value::Integer(value) => Some(*value as f64),
        Value::Number(value) => Some(*value),
        Value::Null | Value::Boolean(_) | Value::Text(_) => None,
    }
}

impl Watched {
    /// A row that the alert stands by, or does not. An open row raises it, only closed ones clear it: a window that has just begun says nothing yet.
    fn judged(&mut self, ending: &mut Ending, window: &WindowPlan, row: &WindowRow, stands: bool, details: String) {
        if row.closed {
            self.pass_gap(ending, window, row.end);
        }
        let last_moment = row.end.minus(Micros(1));
        match (stands, &mut self.active) {
            (true, Some(_)) => self.until = self.until.max(row.end),
            (true, None) => {
                // Of an open window as far as it is known to have come.
                let raised = if row.closed { last_moment } else { ending.closing.max(row.start).min(last_moment) };
                let alert_id = row_alert_id(&ending.alert.name, row.metric_id, ending.epoch);
                self.until = row.end;
                self.active = Some(ending.raise(AlertRow {
                    alert_id,
                    alert: ending.index,
                    key: row.group.clone(),
                    from: row.start,
                    to: row.end,
                    raised,
                    cleared: None,
                    details,
                    epoch: ending.epoch,
                }));
            }
            (false, active) if row.closed && row.end >= self.until => ending.clear(active, last_moment),
            (false, _) => {}
        }
    }

    /// Where a row closes that is not the next one after those by which the alert stands, silence has cleared it before.
    fn pass_gap(&mut self, ending: &mut Ending, window: &WindowPlan, end: Micros) {
        let silent = self.until.plus(window.kind.step());
        if self.active.is_some() && silent < end {
            ending.clear(&mut self.active, silent.minus(Micros(1)));
        }
    }

    /// Judges a closed row by those before it, and adds it to them. A row is judged once: a revision changes nothing.
    fn compare(&mut self, ending: &mut Ending, window: &WindowPlan, anomaly: &Anomaly, row: &WindowRow, value: f64) {
        if self.last.is_some_and(|(_, last)| row.start <= last) {
            return;
        }
        self.last = Some((row.end, row.start));
        let distance = self.history.distance(anomaly, value);
        self.history.add(anomaly, value);
        let limit = match anomaly.detector {
            Detector::ZScore(limit) | Detector::Ewma { deviations: limit, .. } => limit,
        };
        let stands = distance.is_some_and(|distance| distance.score.is_none_or(|score| score.abs() >= limit));
        let name = window.metrics.get(anomaly.metric).map_or("", |(name, _)| name);
        let details = details(window, row, distance.map(|distance| (name, value, distance)));
        self.judged(ending, window, row, stands, details);
    }

    /// Silence clears it.
    pub(super) fn cleared(mut self, ending: &mut Ending, at: Micros) -> Self {
        ending.clear(&mut self.active, at.minus(Micros(1)));
        self
    }

    /// `remember`: how long the history is kept; without one nothing is left when the alert is cleared.
    pub(super) fn deadlines(&self, window: &WindowPlan, remember: Option<Micros>) -> Deadlines {
        let clear = self.active.is_some().then(|| self.until.plus(window.kind.step()));
        let forget = match (remember, self.last) {
            (Some(remember), Some((end, _))) if self.active.is_none() => Some(end.plus(remember)),
            (None, _) if self.active.is_none() => Some(Micros::MIN),
            _ => None,
        };
        Deadlines { clear, forget }
    }

    pub(super) fn encode(&self, into: &mut Vec<u8>) {
        let History { values, average: (rows, mean, variance) } = &self.history;
        put_count(values.len() as u64, into);
        for value in values {
            into.extend_from_slice(&value.to_le_bytes());
        }
        into.extend_from_slice(&rows.to_le_bytes());
        into.extend_from_slice(&mean.to_le_bytes());
        into.extend_from_slice(&variance.to_le_bytes());
        into.push(u8::from(self.last.is_some()));
        let (end, start) = self.last.unwrap_or_default();
        for moment in [end, start, self.until] {
            into.extend_from_slice(&moment.0.to_le_bytes());
        }
        put_active(self.active.as_ref(), into);
    }

    pub(super) fn decode(alert: usize, key: &Key, rest: &mut &[u8]) -> Result<Self, NotAPane> {
        let double = |rest: &mut &[u8]| Ok(f64::from_le_bytes(take(rest)?));
        let values = (0..take_count(rest)?).map(|_| double(rest)).collect::<Result<_, NotAPane>>()?;
        let average = (u64::from_le_bytes(take(rest)?), double(rest)?, double(rest)?);
        let [has_last] = take(rest)?;
        let (end, start, until) = (take_micros(rest)?, take_micros(rest)?, take_micros(rest)?);
        let active = take_active(alert, key, rest)?;
        Ok(Self { history: History { values, average }, last: (has_last != 0).then_some((end, start)), active, until })
    }
}

impl History {
    /// None while there are too few rows.
    fn distance(&self, anomaly: &Anomaly, value: f64) -> Option<Distance> {
        let (rows, mean, variance) = match anomaly.detector {
            Detector::ZScore(_) => {
                let count = self.values.len();
                let mean = self.values.iter().sum::<f64>() / count as f64;
                let squares: f64 = self.values.iter().map(|known| (known - mean) * (known - mean)).sum();
                (count as u64, mean, squares / (count as f64 - 1.0))
            }
            Detector::Ewma { .. } => self.average,
        };
        if rows < anomaly.history as u64 {
            return None;
        }
        let deviation = variance.sqrt();
        let score = match value - mean {
            0.0 => Some(0.0),
            _ if deviation == 0.0 => None,
            difference => Some(difference / deviation),
        };
        Some(Distance { mean, deviation, score })
    }

    fn add(&mut self, anomaly: &Anomaly, value: f64) {
        match anomaly.detector {
            Detector::ZScore(_) => {
                if self.values.len() >= anomaly.history {
                    self.values.pop_front();
                }
                self.values.push_back(value);
            }
            Detector::Ewma { weight, .. } => {
                let (rows, mean, variance) = self.average;
                self.average = if rows == 0 {
                    (1, value, 0.0)
                } else {
                    let difference = value - mean;
                    let step = weight * difference;
                    (rows + 1, mean + step, (1.0 - weight) * (variance + difference * step))
                };
            }
        }
    }
}

/// What the alert tells of the row that raised it, as JSON.
fn details(window: &WindowPlan, row: &WindowRow, anomaly: Option<(&str, f64, Distance)>) -> String {
    let mut metrics = Object::new();
    for ((name, _), value) in window.metrics.iter().zip(&row.values) {
        metrics.member(name, json::metric_value(value, json::string));
    }
    let mut details = Object::new();
    details.member("metrics", metrics.finish());
    details.member("event_count", row.event_count);
    if let Some((name, value, Distance { mean, deviation, score })) = anomaly {
        let number = |number: f64| json::metric_value(&Value::Number(number + 0.0), json::string);
        details.member("metric", json::string(name));
        details.member("value", number(value));
        details.member("mean", number(mean));
        details.member("deviation", number(deviation));
        details.member("score", score.map_or_else(|| "null".to_owned(), number));
    }
    details.finish()
}
