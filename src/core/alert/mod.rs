//! Alerts: raised once, by a window's row or by a key's events, and cleared. `docs/semantics.md`, "Alerts".
//!
//! Their state lives with the key groups: what is known of a group lies with the owner of its rows, what is known of a key with the key's.
//! Rows are judged in order of their windows' ends (`rows`), events in order of time (`pattern`).

mod rows;
mod pattern;

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use crate::core::aggregate::PaneKey;
use crate::core::alert::pattern::Counted;
use crate::core::alert::rows::Watched;
use crate::core::columns::GroupValue;
use crate::core::encoding::{
    NotAPane, put_count, put_group_value, put_text, take, take_count, take_group_value, take_micros, take_text,
};
use crate::core::plan::{AlertPlan, Plan, Rule, WindowPlan};
use crate::core::row::{AlertRow, WindowRow};
use crate::core::units::{Epoch, Micros};
use crate::core::view::{Moment, put_moment, take_moment};
use crate::core::window::owner_bytes;

/// A tuple of group values; of a pattern its key alone.
type Key = Vec<GroupValue>;

/// An event that a pattern counts, or by which its count begins anew.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mark {
    /// The alert's place in `Plan::alerts`.
    pub alert: usize,
    pub key: GroupValue,
    pub moment: Moment,
    /// The count begins anew.
    pub ends: bool,
}

impl Mark {
    /// Canonical bytes of (alert, key): the same for all that must meet at one owner.
    pub fn owner_bytes(&self, into: &mut Vec<u8>) {
        pattern_owner(self.alert, &self.key, into);
    }

    /// Self-delimiting bytes.
    pub fn encode(&self, into: &mut Vec<u8>) {
        self.owner_bytes(into);
        put_moment(self.moment, into);
        into.push(u8::from(self.ends));
    }

    /// Takes one off the front of `rest`.
    ///
    /// # Errors
    /// If the bytes are no mark of this plan.
    pub fn decode(plan: &Plan, rest: &mut &[u8]) -> Result<Self, NotAPane> {
        let (alert, _) = take_alert(plan, rest)?;
        let key = take_group_value(rest)?;
        let moment = take_moment(rest)?;
        let [ends] = take(rest)?;
        Ok(Self { alert, key, moment, ends: ends != 0 })
    }
}

fn pattern_owner(alert: usize, key: &GroupValue, into: &mut Vec<u8>) {
    put_count(alert as u64, into);
    put_group_value(key, into);
}

fn take_alert<'p>(plan: &'p Plan, rest: &mut &[u8]) -> Result<(usize, &'p AlertPlan), NotAPane> {
    let alert = usize::try_from(take_count(rest)?).map_err(|_| NotAPane("an alert's number out of range"))?;
    let of_plan = plan.alerts.get(alert).ok_or(NotAPane("an alert that the plan does not have"))?;
    Ok((alert, of_plan))
}

/// What is known of one key of an alert.
#[derive(Clone, Debug, PartialEq)]
enum Known {
    Watched(Watched),
    Counted(Counted),
}

/// When time alone changes something of a key: the alert is cleared, or what is known is of no use any more.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Deadlines {
    clear: Option<Micros>,
    forget: Option<Micros>,
}

/// One alert's keys.
#[derive(Debug, Default)]
struct OfAlert {
    known: HashMap<Arc<Key>, Known, foldhash::fast::RandomState>,
    clears: BTreeSet<(Micros, Arc<Key>)>,
    forgets: BTreeSet<(Micros, Arc<Key>)>,
}

/// All that one worker knows of alerts.
#[derive(Debug)]
pub struct Alerts {
    plan: Arc<Plan>,
    alerts: Vec<OfAlert>,
}

impl Alerts {
    #[must_use]
    pub fn new(plan: Arc<Plan>) -> Self {
        Self { alerts: plan.alerts.iter().map(|_| OfAlert::default()).collect(), plan }
    }

    /// Ends an epoch, with the rows that it published and what patterns count of its events. `closing` says, by pipeline, up to where windows are closed. Gives what
    /// was raised and cleared, in order of time for each key. `leaves` says which alerts go with this epoch: what of them stands is cleared.
    pub fn finish(
        &mut self,
        epoch: Epoch,
        mut marks: Vec<Mark>,
        rows: &[WindowRow],
        closing: impl Fn(usize) -> Micros,
        leaves: impl Fn(usize) -> bool,
    ) -> Vec<AlertRow> {
        // What one alert counts stands together, by key, each key's in order.
        marks.sort_by(|a, b| (a.alert, &a.key, a.moment).cmp(&(b.alert, &b.key, b.moment)));
        let mut all = Vec::new();
        for (index, (of_alert, alert)) in self.alerts.iter_mut().zip(&self.plan.alerts).enumerate() {
            let mut ending =
                Ending { plan: &self.plan, index, alert, epoch, closing: closing(alert.pipeline), changes: Vec::new() };
            match &alert.rule {
                Rule::Condition { .. } | Rule::Anomaly(_) => rows::judge(of_alert, &mut ending, rows),
                Rule::Pattern(pattern) => {
                    let from = marks.partition_point(|mark| mark.alert < index);
                    let to = marks.partition_point(|mark| mark.alert <= index);
                    pattern::count(of_alert, pattern, &mut ending, marks.get(from..to).unwrap_or_default());
                }
            }
            of_alert.pass(&mut ending);
            if leaves(index) {
                of_alert.leave(&mut ending);
            }
            all.append(&mut ending.changes);
        }
        all
    }

    /// The earliest moment at which the watermark alone clears an alert of this pipeline.
    #[must_use]
    pub fn next_clear(&self, pipeline: usize) -> Option<Micros> {
        let mine = self.alerts.iter().zip(&self.plan.alerts).filter(|(_, alert)| alert.pipeline == pipeline);
        mine.filter_map(|(of_alert, _)| of_alert.clears.first().map(|(at, _)| *at)).min()
    }

    /// For a checkpoint: calls `entry` with the owner's bytes and the encoded entry of each key, in no particular order.
    pub fn save(&self, entry: impl FnMut(&[u8], &[u8])) {
        self.save_as(&self.plan, Some, entry);
    }

    /// The same for another plan, in which `place` says where each alert is, if it is there.
    pub fn save_as(&self, plan: &Plan, place: impl Fn(usize) -> Option<usize>, mut entry: impl FnMut(&[u8], &[u8])) {
        for (of_alert, index) in self.alerts.iter().zip((0..).map(place)) {
            let Some((index, alert)) = index.and_then(|index| Some((index, plan.alerts.get(index)?))) else {
                continue;
            };
            for (key, known) in &of_alert.known {
                let (mut owner, mut bytes) = (Vec::new(), Vec::new());
                owner_of(plan, index, alert, key, &mut owner);
                put_count(index as u64, &mut bytes);
                put_key(key, &mut bytes);
                match known {
                    Known::Watched(watched) => watched.encode(&mut bytes),
                    Known::Counted(counted) => counted.encode(&mut bytes),
                }
                entry(&owner, &bytes);
            }
        }
    }

    /// Takes one entry of a checkpoint off the front of `rest` and puts it in its place.
    ///
    /// # Errors
    /// If the bytes are no entry of this plan.
    pub fn restore(&mut self, rest: &mut &[u8]) -> Result<(), NotAPane> {
        let plan = Arc::clone(&self.plan);
        let (index, alert) = take_alert(&plan, rest)?;
        let key = Arc::new(take_key(rest)?);
        let known = match &alert.rule {
            Rule::Condition { .. } | Rule::Anomaly(_) => Known::Watched(Watched::decode(index, &key, rest)?),
            Rule::Pattern(_) => Known::Counted(Counted::decode(index, &key, rest)?),
        };
        let deadlines = known.deadlines(&plan, alert);
        let Some(of_alert) = self.alerts.get_mut(index) else { panic!("alert {index} is none of the plan's") };
        of_alert.put(key, Some(known), Deadlines::default(), deadlines);
        Ok(())
    }
}

/// Where what is known of the key lives: with the rows of its group, or where its events are counted.
fn owner_of(plan: &Plan, index: usize, alert: &AlertPlan, key: &Key, into: &mut Vec<u8>) {
    match alert.rule.window() {
        Some(window) => {
            let of_plan = window_of(plan, window);
            owner_bytes(of_plan, &PaneKey { window, start: Micros(0), group: key.clone() }, into);
        }
        None => pattern_owner(index, key.first().unwrap_or(&GroupValue::Null), into),
    }
}

fn window_of(plan: &Plan, window: usize) -> &WindowPlan {
    plan.windows.get(window).unwrap_or_else(|| panic!("window {window} is none of the plan's"))
}

/// An epoch's end for one alert.
struct Ending<'a> {
    plan: &'a Plan,
    index: usize,
    alert: &'a AlertPlan,
    epoch: Epoch,
    closing: Micros,
    changes: Vec<AlertRow>,
}

impl Ending<'_> {
    fn raise(&mut self, row: AlertRow) -> AlertRow {
        self.changes.push(row.clone());
        row
    }

    /// Clears what was raised at this moment.
    fn clear(&mut self, active: &mut Option<AlertRow>, at: Micros) {
        let Some(row) = active.take() else { return };
        self.changes.push(AlertRow { cleared: Some(at), epoch: self.epoch, ..row });
    }
}

impl Known {
    fn deadlines(&self, plan: &Plan, alert: &AlertPlan) -> Deadlines {
        match (self, &alert.rule) {
            (Self::Watched(watched), Rule::Condition { window, .. }) => {
                watched.deadlines(window_of(plan, *window), None)
            }
            (Self::Watched(watched), Rule::Anomaly(anomaly)) => {
                watched.deadlines(window_of(plan, anomaly.window), Some(anomaly.remember))
            }
            (Self::Counted(counted), Rule::Pattern(pattern)) => counted.deadlines(pattern),
            _ => panic!("what is known of {} is of another kind of alert", alert.name),
        }
    }
}

impl OfAlert {
    /// Changes what is known of a key; what comes out as of no use is forgotten.
    fn change(
        &mut self,
        ending: &mut Ending,
        key: &Key,
        change: impl FnOnce(Option<Known>, &mut Ending) -> Option<Known>,
    ) {
        let (key, before) = match self.known.remove_entry(key) {
            Some((key, known)) => (key, Some(known)),
            None => (Arc::new(key.clone()), None),
        };
        let deadlines = |known: &Option<Known>, ending: &Ending| {
            known.as_ref().map(|known| known.deadlines(ending.plan, ending.alert)).unwrap_or_default()
        };
        let old = deadlines(&before, ending);
        let after = change(before, ending);
        let new = deadlines(&after, ending);
        self.put(key, after, old, new);
    }

    fn put(&mut self, key: Arc<Key>, known: Option<Known>, old: Deadlines, new: Deadlines) {
        for (index, old, new) in [(&mut self.clears, old.clear, new.clear), (&mut self.forgets, old.forget, new.forget)]
        {
            if old != new {
                if let Some(old) = old {
                    index.remove(&(old, Arc::clone(&key)));
                }
                index.extend(new.map(|new| (new, Arc::clone(&key))));
            }
        }
        if let Some(known) = known {
            self.known.insert(key, known);
        }
    }

    /// Time passes: what is due by then is cleared, and what is of no use forgotten.
    fn pass(&mut self, ending: &mut Ending) {
        while let Some((at, key)) = self.clears.first().filter(|(at, _)| *at <= ending.closing).cloned() {
            self.change(ending, &key, |known, ending| {
                known.map(|known| match known {
                    Known::Watched(watched) => Known::Watched(watched.cleared(ending, at)),
                    Known::Counted(counted) => Known::Counted(counted.cleared(ending, at)),
                })
            });
        }
        while let Some((_, key)) = self.forgets.first().filter(|(at, _)| *at <= ending.closing).cloned() {
            self.change(ending, &key, |_, _| None);
        }
    }
}

impl OfAlert {
    /// The alert is no more: what stands is cleared where time has come to, but not before it was raised.
    fn leave(&mut self, ending: &mut Ending) {
        for known in std::mem::take(self).known.into_values() {
            let (Known::Watched(Watched { mut active, .. }) | Known::Counted(Counted { mut active, .. })) = known;
            let raised = active.as_ref().map_or(Micros::MIN, |row| row.raised);
            ending.clear(&mut active, ending.closing.max(raised));
        }
    }
}

fn put_key(key: &Key, into: &mut Vec<u8>) {
    put_count(key.len() as u64, into);
    for value in key {
        put_group_value(value, into);
    }
}

fn take_key(rest: &mut &[u8]) -> Result<Key, NotAPane> {
    (0..take_count(rest)?).map(|_| take_group_value(rest)).collect()
}

/// An alert that is raised, with its row's facts; its key and number are known already.
fn put_active(active: Option<&AlertRow>, into: &mut Vec<u8>) {
    into.push(u8::from(active.is_some()));
    let Some(row) = active else { return };
    into.extend_from_slice(row.alert_id.as_bytes());
    for moment in [row.raised, row.from, row.to] {
        into.extend_from_slice(&moment.0.to_le_bytes());
    }
    put_text(&row.details, into);
    into.extend_from_slice(&row.epoch.0.to_le_bytes());
}

fn take_active(alert: usize, key: &Key, rest: &mut &[u8]) -> Result<Option<AlertRow>, NotAPane> {
    let [is_there] = take(rest)?;
    if is_there == 0 {
        return Ok(None);
    }
    let alert_id = uuid::Uuid::from_bytes(take(rest)?);
    let (raised, from, to) = (take_micros(rest)?, take_micros(rest)?, take_micros(rest)?);
    let details = take_text(rest)?.to_string();
    let epoch = Epoch(u64::from_le_bytes(take(rest)?));
    Ok(Some(AlertRow { alert_id, alert, key: key.clone(), from, to, raised, cleared: None, details, epoch }))
}
