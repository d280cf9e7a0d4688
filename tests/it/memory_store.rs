//! A store in memory: what the simulation commits to, and the plainest form of what every store means (the conformance suite holds it to the
//! databases' behaviour). Clones share the tables, as connections share a database. It fails when it is told to, never by itself.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard};

use caudal::core::columns::GroupValue;
use caudal::core::identity::metric_id;
use caudal::core::lineage::Lineage;
use caudal::core::mend::Retry;
use caudal::core::plan::Plan;
use caudal::core::row::{AlertRow, AuditEvent, DeadLetter, Delivery, ViewChange, ViewRow, WindowRow};
use caudal::core::units::{Epoch, Generation, Micros, Offset};
use caudal::store::text::clean;
use caudal::store::{
    AlertQuery, Commit, DeadLetterQuery, DeliveryMend, DeliveryQuery, DeliveryState, EventQuery, GroupPosition,
    Leftover, OpenQuery, Progress, Reader, Settled, Store, StoreError, StoredAlert, StoredChange, StoredDelivery,
    StoredEntry, StoredLetter, StoredRow, ViewQuery, WindowQuery,
};
use uuid::Uuid;

/// Everything that is stored, for comparison. `generation` and `progress.generation` tell how often a job was started; the rest is a
/// function of the log alone.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Tables {
    pub generation: Generation,
    pub progress: Option<Progress>,
    pub rows: BTreeMap<Uuid, WindowRow>,
    pub views: BTreeMap<(usize, Arc<str>), ViewRow>,
    pub history: BTreeMap<(Offset, usize), ViewChange>,
    pub alerts: BTreeMap<Uuid, AlertRow>,
    pub outbox: BTreeMap<Uuid, (Delivery, Option<Settled>)>,
    pub dead_letters: BTreeMap<Offset, DeadLetter>,
    pub events: BTreeMap<Offset, AuditEvent>,
    /// By epoch, window, slice and group.
    pub lineage: BTreeMap<(Epoch, usize, Micros, Vec<GroupValue>), Lineage>,
    /// By letter: the event that is its retry.
    pub retried: BTreeMap<Offset, Offset>,
    /// Positions of consumer groups, by topic and name.
    pub groups: BTreeMap<(String, String), Offset>,
    /// Of which pipeline's past alone an event is, or a row that events went into.
    past_events: BTreeMap<Offset, String>,
    past_metrics: BTreeMap<Uuid, String>,
}

/// ```ignore
/// let store = MemoryStore::new(plan);
/// store.lose_answer(true);             // the next commit is done, but its answer is lost: Indeterminate
/// store.lose_answer(false);            // the next commit is not done, and its answer is lost: Indeterminate
/// store.lose_answer_then_away(true, 2); // the same, and the 2 calls after that find it away
/// store.away(3);                       // the next 3 calls of Store find it away: Unavailable
/// commit_once(&mut store.clone(), generation, &commit)?;
/// store.tables();                      // a copy of everything
/// ```
/// What is told comes in this order: away first, a lost answer at the first commit after that. A refusal (`Fenced`, `Mismatch`) is an answer that is
/// not lost. Reading (`Reader`) never fails.
#[derive(Clone)]
pub struct MemoryStore {
    plan: Arc<Plan>,
    shared: Arc<Mutex<Shared>>,
}

#[derive(Default)]
struct Shared {
    tables: Tables,
    away_calls: u32,
    lose_answer: Option<Lost>,
    /// The same of the next move of a group.
    lose_group_answer: Option<bool>,
}

#[derive(Clone, Copy)]
struct Lost {
    applied: bool,
    then_away_calls: u32,
}

impl MemoryStore {
    pub fn new(plan: Arc<Plan>) -> Self {
        Self { plan, shared: Arc::default() }
    }

    /// The next commit's answer is lost, whether the commit was `applied` or not.
    pub fn lose_answer(&self, applied: bool) {
        self.lose_answer_then_away(applied, 0);
    }

    /// The same, and the `calls` after that commit find it away: so that nobody can ask at once what became of it.
    pub fn lose_answer_then_away(&self, applied: bool, calls: u32) {
        self.lock().lose_answer = Some(Lost { applied, then_away_calls: calls });
    }

    /// The next `calls` of claim, progress or commit find it away.
    pub fn away(&self, calls: u32) {
        self.lock().away_calls = calls;
    }

    /// The next answer about a group is lost, whether what was asked is `applied` or not.
    pub fn lose_group_answer(&self, applied: bool) {
        self.lock().lose_group_answer = Some(applied);
    }

    /// Answers about groups are not lost.
    pub fn answer_groups(&self) {
        self.lock().lose_group_answer = None;
    }

    pub fn generation(&self) -> Generation {
        self.lock().tables.generation
    }

    /// A copy of everything.
    pub fn tables(&self) -> Tables {
        self.lock().tables.clone()
    }

    fn lock(&self) -> MutexGuard<'_, Shared> {
        self.shared.lock().expect("no test panics while it holds the tables")
    }
}

impl Shared {
    fn arrive(&mut self) -> Result<(), StoreError> {
        if self.away_calls == 0 {
            return Ok(());
        }
        self.away_calls -= 1;
        Err(StoreError::Unavailable("away, as the test said".to_owned()))
    }

    fn about_groups<T>(&mut self, mine: Generation, act: impl FnOnce(&mut Tables) -> T) -> Result<T, StoreError> {
        let lost = self.lose_group_answer.take();
        let lost_answer = || StoreError::Indeterminate("the answer was lost, as the test said".to_owned());
        if lost == Some(false) {
            return Err(lost_answer());
        }
        self.tables.generation = mine;
        let done = act(&mut self.tables);
        if lost.is_some() { Err(lost_answer()) } else { Ok(done) }
    }
}

impl Tables {
    fn check_generation(&self, mine: Generation) -> Result<(), StoreError> {
        if self.generation > mine {
            return Err(StoreError::Fenced { mine, theirs: self.generation });
        }
        Ok(())
    }

    fn check(&self, commit: &Commit) -> Result<(), StoreError> {
        self.check_generation(commit.to.generation)?;
        let log = self.progress.map_or(commit.to.log, |p| p.log);
        let continues = commit.past.is_some() || self.progress.map(|p| p.epoch) == commit.after;
        if !continues || log != commit.to.log {
            return Err(StoreError::Mismatch(format!("progress is {:?}, the commit {:?}", self.progress, commit.to)));
        }
        Ok(())
    }

    fn apply(&mut self, commit: &Commit) {
        self.generation = commit.to.generation;
        match &commit.past {
            None => self.progress = Some(commit.to),
            Some(past) if self.progress.is_some_and(|progress| progress.epoch > past.last) => return,
            Some(_) => {}
        }
        for id in &commit.removed {
            self.rows.remove(id);
        }
        self.rows.extend(commit.rows.iter().map(|r| (r.metric_id, r.clone())));
        self.dead_letters.extend(commit.dead_letters.iter().map(|d| (d.offset, d.clone())));
        self.views.extend(commit.views.iter().map(|row| ((row.view, row.key.clone()), row.clone())));
        self.alerts.extend(commit.alerts.iter().map(|row| (row.alert_id, row.clone())));
        for delivery in &commit.outbox {
            self.outbox.entry(delivery.id).or_insert_with(|| (delivery.clone(), None));
        }
        for change in &commit.history {
            self.history.entry((change.offset, change.view)).or_insert_with(|| change.clone());
        }
        for event in &commit.events {
            match &commit.past {
                None => drop(self.past_events.remove(&event.offset)),
                Some(past) => {
                    if !self.events.contains_key(&event.offset) {
                        self.past_events.insert(event.offset, past.pipeline.clone());
                    }
                    self.past_metrics.extend(event.metrics.iter().map(|id| (*id, past.pipeline.clone())));
                }
            }
            let known = self.events.entry(event.offset).or_insert_with(|| event.clone());
            known.metrics.extend(&event.metrics);
            known.metrics.sort_unstable();
            known.metrics.dedup();
        }
        self.lineage.extend(commit.lineage.iter().map(|l| ((l.epoch, l.window, l.slice, l.group.to_vec()), l.clone())));
        self.views.retain(|(view, _), _| !commit.gone.contains(view));
        self.history.retain(|(_, view), _| !commit.gone.contains(view));
        for &Retry { letter, event } in &commit.mended.retried {
            if self.dead_letters.contains_key(&letter) {
                self.retried.insert(letter, event);
            }
        }
        for letter in &commit.mended.discarded {
            self.dead_letters.remove(letter);
            self.retried.remove(letter);
        }
    }

    fn letter(&self, letter: &DeadLetter) -> StoredLetter {
        let shown = DeadLetter { detail: clean(&letter.detail).into_owned(), ..letter.clone() };
        StoredLetter { letter: shown, retried_as: self.retried.get(&letter.offset).copied() }
    }

    fn open<'a>(&'a self, query: &'a OpenQuery) -> impl Iterator<Item = &'a DeadLetter> {
        self.dead_letters.values().filter(|d| {
            !self.retried.contains_key(&d.offset)
                && d.reason == query.reason
                && query.topic.as_ref().is_none_or(|t| d.topic.as_ref() == Some(t))
                && d.topic.as_ref().is_none_or(|t| !query.not_topics.contains(t))
                && query.before.is_none_or(|b| d.offset < b)
        })
    }
}

/// The commit with the places of this plan, which has everything that is in the commit's own.
fn placed(commit: &Commit, of: &Plan, plan: &Plan) -> Commit {
    // By the names, whichever life of its pipeline it is of.
    let place = |named: &dyn Fn(&Plan) -> Vec<(usize, String)>| -> Vec<Option<usize>> {
        let names = |of: &Plan| -> Vec<(String, String)> {
            named(of).into_iter().map(|(pipeline, name)| (of.pipeline_name(pipeline).to_owned(), name)).collect()
        };
        let all = names(plan);
        names(of).iter().map(|name| all.iter().position(|other| other == name)).collect()
    };
    let windows = place(&|of| of.windows.iter().map(|it| (it.pipeline, it.name.clone())).collect());
    let views = place(&|of| of.views.iter().map(|it| (it.pipeline, it.name.clone())).collect());
    let alerts = place(&|of| of.alerts.iter().map(|it| (it.pipeline, it.name.clone())).collect());
    let webhook = |at: usize| {
        let name = |plan: &Plan, at: usize| {
            let webhook = &plan.webhooks[at];
            (plan.pipeline_name(webhook.pipeline).to_owned(), webhook.name.clone())
        };
        let wanted = name(of, at);
        (0..plan.webhooks.len()).find(|at| name(plan, *at) == wanted).unwrap()
    };
    let mut placed = commit.clone();
    placed.rows.iter_mut().for_each(|row| row.window = windows[row.window].unwrap());
    placed.lineage.iter_mut().for_each(|lineage| lineage.window = windows[lineage.window].unwrap());
    placed.views.iter_mut().for_each(|row| row.view = views[row.view].unwrap());
    placed.history.iter_mut().for_each(|change| change.view = views[change.view].unwrap());
    placed.alerts.iter_mut().for_each(|row| row.alert = alerts[row.alert].unwrap());
    placed.outbox.iter_mut().for_each(|delivery| delivery.webhook = webhook(delivery.webhook));
    placed.gone.iter_mut().for_each(|view| *view = views[*view].unwrap());
    placed
}

impl Store for MemoryStore {
    fn claim(&mut self, mine: Generation) -> Result<Option<Progress>, StoreError> {
        let mut shared = self.lock();
        shared.arrive()?;
        shared.tables.check_generation(mine)?;
        shared.tables.generation = mine;
        Ok(shared.tables.progress)
    }

    fn progress(&mut self) -> Result<Option<Progress>, StoreError> {
        let mut shared = self.lock();
        shared.arrive()?;
        Ok(shared.tables.progress)
    }

    fn commit(&mut self, commit: &Commit) -> Result<(), StoreError> {
        let mut shared = self.lock();
        shared.arrive()?;
        shared.tables.check(commit)?;
        let lost = shared.lose_answer.take();
        if lost.is_none_or(|lost| lost.applied) {
            let commit = commit.plan.as_ref().map_or_else(|| commit.clone(), |of| placed(commit, of, &self.plan));
            shared.tables.apply(&commit);
        }
        let Some(lost) = lost else { return Ok(()) };
        shared.away_calls = lost.then_away_calls;
        Err(StoreError::Indeterminate("the answer was lost, as the test said".to_owned()))
    }

    fn mend_delivery(&mut self, mine: Generation, id: Uuid, mend: DeliveryMend) -> Result<bool, StoreError> {
        let mut shared = self.lock();
        shared.arrive()?;
        shared.tables.check_generation(mine)?;
        shared.tables.generation = mine;
        let outbox = &mut shared.tables.outbox;
        let given_up = |known: &(Delivery, Option<Settled>)| {
            known.1.as_ref().is_some_and(|settled| settled.state == DeliveryState::GivenUp)
        };
        let Some((delivery, _)) = outbox.get(&id).filter(|known| given_up(known)).cloned() else { return Ok(false) };
        outbox.remove(&id);
        if mend == DeliveryMend::Retry {
            outbox.insert(id, (delivery, None));
        }
        Ok(true)
    }

    fn move_group(&mut self, mine: Generation, group: &GroupPosition) -> Result<(), StoreError> {
        let mut shared = self.lock();
        shared.arrive()?;
        shared.tables.check_generation(mine)?;
        shared.about_groups(mine, |tables| {
            tables.groups.insert((group.topic.clone(), group.group.clone()), group.position);
        })
    }

    fn forget(&mut self, mine: Generation, left: &Leftover) -> Result<(), StoreError> {
        let mut shared = self.lock();
        shared.arrive()?;
        shared.tables.check_generation(mine)?;
        if let Some(theirs) = shared.tables.progress.filter(|progress| progress.log != left.log) {
            return Err(StoreError::Mismatch(format!("it has the results of log {}", theirs.log)));
        }
        let Tables { rows, events, lineage, alerts, views, history, generation, past_events, past_metrics, .. } =
            &mut shared.tables;
        *generation = mine;
        let of_it = |pipeline: usize| self.plan.pipeline_name(pipeline) == left.pipeline;
        let is_view = |view: usize| left.views.contains(&self.plan.views[view].name);
        rows.retain(|_, row| !of_it(self.plan.windows[row.window].pipeline));
        let gone = past_events.extract_if(.., |_, pipeline| *pipeline == left.pipeline);
        for (offset, _) in gone {
            events.remove(&offset);
        }
        let gone: BTreeSet<Uuid> =
            past_metrics.extract_if(.., |_, pipeline| *pipeline == left.pipeline).map(|(id, _)| id).collect();
        for event in events.values_mut() {
            event.metrics.retain(|id| !gone.contains(id));
        }
        lineage.retain(|_, lineage| !of_it(self.plan.windows[lineage.window].pipeline));
        alerts.retain(|_, row| !of_it(self.plan.alerts[row.alert].pipeline));
        views.retain(|(view, _), _| !is_view(*view));
        history.retain(|(_, view), _| !is_view(*view));
        Ok(())
    }

    fn drop_group(&mut self, mine: Generation, topic: &str, group: &str) -> Result<bool, StoreError> {
        let mut shared = self.lock();
        shared.arrive()?;
        shared.tables.check_generation(mine)?;
        shared.about_groups(mine, |tables| tables.groups.remove(&(topic.to_owned(), group.to_owned())).is_some())
    }

    fn settle(&mut self, mine: Generation, settled: &Settled) -> Result<(), StoreError> {
        let mut shared = self.lock();
        shared.arrive()?;
        shared.tables.check_generation(mine)?;
        shared.tables.generation = mine;
        if let Some((_, known)) = shared.tables.outbox.get_mut(&settled.id) {
            *known = Some(settled.clone());
        }
        Ok(())
    }
}

/// Whether the row has the events of the slice.
pub fn has(row: &WindowRow, lineage: &Lineage) -> bool {
    (row.window, &row.group[..]) == (lineage.window, &lineage.group[..])
        && (row.start..row.end).contains(&lineage.slice)
        && row.end > lineage.late_to
}

pub fn offsets_of(lineage: &Lineage) -> impl Iterator<Item = Offset> {
    lineage.offsets.iter().map(|bit| Offset(lineage.first.0 + u64::from(bit)))
}

fn entry(row: &ViewRow) -> StoredEntry {
    StoredEntry {
        key: row.key.to_string(),
        value: row.value.clone(),
        events: row.events,
        time: row.time,
        offset: row.offset,
    }
}

impl Reader for MemoryStore {
    fn knows(&mut self, pipeline: &str) -> Result<bool, StoreError> {
        let shared = self.lock();
        let Tables { rows, alerts, lineage, past_events, .. } = &shared.tables;
        let of_it = |of: usize| self.plan.pipeline_name(of) == pipeline;
        Ok(rows.values().any(|row| of_it(self.plan.windows[row.window].pipeline))
            || alerts.values().any(|row| of_it(self.plan.alerts[row.alert].pipeline))
            || lineage.values().any(|lineage| of_it(self.plan.windows[lineage.window].pipeline))
            || past_events.values().any(|of| of == pipeline))
    }

    fn compact_lineage(
        &mut self,
        row: &StoredRow,
        after: Option<Offset>,
        limit: u32,
    ) -> Result<Vec<Offset>, StoreError> {
        let shared = self.lock();
        let Some(row) = shared.tables.rows.get(&row.metric_id) else { return Ok(Vec::new()) };
        let of_row = shared.tables.lineage.values().filter(|lineage| has(row, lineage));
        let mut offsets: Vec<Offset> = of_row.flat_map(offsets_of).filter(|offset| Some(*offset) > after).collect();
        offsets.sort_unstable();
        offsets.truncate(limit as usize);
        Ok(offsets)
    }

    fn compact_metrics(&mut self, offsets: &[Offset]) -> Result<Vec<Vec<Uuid>>, StoreError> {
        let shared = self.lock();
        let of_offset = |offset: &Offset| {
            let slices = shared.tables.lineage.values().filter(|lineage| offsets_of(lineage).any(|of| of == *offset));
            let metrics = slices.flat_map(|lineage| {
                let window = &self.plan.windows[lineage.window];
                let took = window.kind.starts(lineage.slice).filter(|start| window.kind.end(*start) > lineage.late_to);
                let pipeline = &self.plan.pipeline_of(window).name;
                took.map(move |start| metric_id(pipeline, &window.name, start, &lineage.group))
            });
            let mut metrics: Vec<Uuid> = metrics.collect();
            metrics.sort_unstable();
            metrics
        };
        Ok(offsets.iter().map(of_offset).collect())
    }

    fn windows(&mut self, query: &WindowQuery) -> Result<Vec<StoredRow>, StoreError> {
        let mut rows: Vec<StoredRow> = self.lock().tables.rows.values().map(|r| StoredRow::of(&self.plan, r)).collect();
        let key = |r: &StoredRow| (r.start, r.window.clone(), r.metric_id);
        rows.sort_by_key(key);
        if query.newest_first {
            rows.reverse();
        }
        rows.retain(|row| {
            query.pipeline.as_ref().is_none_or(|p| *p == row.pipeline)
                && query.window.as_ref().is_none_or(|w| *w == row.window)
                && query.from.is_none_or(|from| row.start >= from)
                && query.to.is_none_or(|to| row.start < to)
                && query.closed.is_none_or(|closed| closed == row.closed)
                && query.after.as_ref().is_none_or(|a| if query.newest_first { key(row) < *a } else { key(row) > *a })
                && query.group.iter().all(|(name, value)| reads_as(&row.group, name, value))
        });
        rows.truncate(query.limit as usize);
        Ok(rows)
    }

    fn alerts(&mut self, query: &AlertQuery) -> Result<Vec<StoredAlert>, StoreError> {
        let stored = |row| StoredAlert::of(&self.plan, row);
        let mut alerts: Vec<StoredAlert> = self.lock().tables.alerts.values().map(stored).collect();
        let key = |alert: &StoredAlert| (alert.raised, alert.alert_id);
        alerts.sort_by_key(|alert| std::cmp::Reverse(key(alert)));
        alerts.retain(|alert| {
            query.pipeline.as_ref().is_none_or(|p| *p == alert.pipeline)
                && query.alert.as_ref().is_none_or(|a| *a == alert.alert)
                && query.active.is_none_or(|active| active == alert.cleared.is_none())
                && query.after.is_none_or(|after| key(alert) < after)
        });
        alerts.truncate(query.limit as usize);
        Ok(alerts)
    }

    fn deliveries(&mut self, query: &DeliveryQuery) -> Result<Vec<StoredDelivery>, StoreError> {
        let stored = |(delivery, settled): &(Delivery, Option<Settled>)| {
            let webhook = &self.plan.webhooks[delivery.webhook];
            let settled = settled.as_ref();
            StoredDelivery {
                id: delivery.id,
                pipeline: self.plan.pipelines[webhook.pipeline].name.clone(),
                webhook: webhook.name.clone(),
                body: delivery.body.clone(),
                epoch: delivery.epoch,
                state: settled.map_or(DeliveryState::Waiting, |s| s.state),
                attempts: settled.map_or(0, |s| s.attempts),
                first: settled.map(|s| s.first),
                last: settled.map(|s| s.last),
                next: settled.and_then(|s| s.next),
                error: settled.and_then(|s| s.error.clone()),
            }
        };
        let mut all: Vec<StoredDelivery> = self.lock().tables.outbox.values().map(stored).collect();
        let key = |delivery: &StoredDelivery| (delivery.epoch, delivery.id);
        all.sort_by_key(|delivery| (query.due_by.map_or(0, |_| delivery.attempts), key(delivery)));
        if query.newest_first {
            all.reverse();
        }
        all.retain(|delivery| {
            let place = key(delivery);
            query.pipeline.as_ref().is_none_or(|p| *p == delivery.pipeline)
                && query.webhook.as_ref().is_none_or(|w| *w == delivery.webhook)
                && query.state.is_none_or(|state| state == delivery.state)
                && query.due_by.is_none_or(|by| delivery.next.is_none_or(|next| next <= by))
                && query.after.is_none_or(|after| if query.newest_first { place < after } else { place > after })
        });
        all.truncate(query.limit as usize);
        Ok(all)
    }

    fn view(&mut self, query: &ViewQuery) -> Result<Vec<StoredEntry>, StoreError> {
        let tables = &self.lock().tables;
        let mut entries: Vec<StoredEntry> = tables
            .views
            .values()
            .filter(|row| self.plan.views[row.view].name == query.view)
            .filter(|row| query.after.as_ref().is_none_or(|after| row.key.as_ref() > after.as_str()))
            .map(entry)
            .collect();
        entries.sort_by(|a, b| a.key.cmp(&b.key));
        entries.truncate(query.limit as usize);
        Ok(entries)
    }

    fn view_entry(&mut self, view: &str, key: &str) -> Result<Option<StoredEntry>, StoreError> {
        let tables = &self.lock().tables;
        let mut rows = tables.views.values().filter(|row| self.plan.views[row.view].name == view);
        Ok(rows.find(|row| row.key.as_ref() == key).map(entry))
    }

    fn view_history(
        &mut self,
        view: &str,
        key: &str,
        before: Option<Offset>,
        limit: u32,
    ) -> Result<Vec<StoredChange>, StoreError> {
        let tables = &self.lock().tables;
        let changes = tables.history.values().rev();
        let mine = changes.filter(|c| self.plan.views[c.view].name == view && c.key.as_ref() == key);
        let earlier = mine.filter(|c| before.is_none_or(|before| c.offset < before));
        let change = |c: &ViewChange| StoredChange { offset: c.offset, time: c.time, value: c.value.clone() };
        Ok(earlier.take(limit as usize).map(change).collect())
    }

    fn window(&mut self, id: Uuid) -> Result<Option<StoredRow>, StoreError> {
        Ok(self.lock().tables.rows.get(&id).map(|r| StoredRow::of(&self.plan, r)))
    }

    fn lineage(&mut self, id: Uuid, after: Option<Offset>, limit: u32) -> Result<Vec<AuditEvent>, StoreError> {
        let shared = self.lock();
        let events = shared.tables.events.values().filter(|e| e.metrics.contains(&id));
        Ok(events.filter(|e| after.is_none_or(|a| e.offset > a)).take(limit as usize).map(stored_event).collect())
    }

    fn event(&mut self, event_id: &str) -> Result<Vec<AuditEvent>, StoreError> {
        let shared = self.lock();
        let events = shared.tables.events.values().map(stored_event);
        Ok(events.filter(|e| e.event_id == clean(event_id)).collect())
    }

    fn events(&mut self, query: &EventQuery) -> Result<Vec<AuditEvent>, StoreError> {
        let shared = self.lock();
        let events = shared.tables.events.values().rev().filter(|e| {
            query.topic.as_ref().is_none_or(|t| *t == e.topic) && query.before.is_none_or(|b| e.offset < b)
        });
        Ok(events.take(query.limit as usize).map(stored_event).collect())
    }

    fn dead_letters(&mut self, query: &DeadLetterQuery) -> Result<Vec<StoredLetter>, StoreError> {
        let tables = &self.lock().tables;
        let letters = tables.dead_letters.values().rev().filter(|d| {
            query.reason.is_none_or(|r| r == d.reason)
                && query.topic.as_ref().is_none_or(|t| d.topic.as_ref() == Some(t))
                && query.retried.is_none_or(|r| r == tables.retried.contains_key(&d.offset))
                && query.before.is_none_or(|b| d.offset < b)
        });
        Ok(letters.take(query.limit as usize).map(|letter| tables.letter(letter)).collect())
    }

    fn dead_letter(&mut self, offset: Offset) -> Result<Option<StoredLetter>, StoreError> {
        let tables = &self.lock().tables;
        Ok(tables.dead_letters.get(&offset).map(|letter| tables.letter(letter)))
    }

    fn open_letters(&mut self, query: &OpenQuery, limit: u32) -> Result<Vec<Offset>, StoreError> {
        let tables = &self.lock().tables;
        Ok(tables.open(query).map(|d| d.offset).take(limit as usize).collect())
    }

    fn count_open_letters(&mut self, query: &OpenQuery) -> Result<u64, StoreError> {
        Ok(self.lock().tables.open(query).count() as u64)
    }

    fn groups(&mut self) -> Result<Vec<GroupPosition>, StoreError> {
        let groups = self.lock().tables.groups.clone().into_iter();
        Ok(groups.map(|((topic, group), position)| GroupPosition { topic, group, position }).collect())
    }
}

fn stored_event(event: &AuditEvent) -> AuditEvent {
    let mut event = event.clone();
    event.event_id = clean(&event.event_id).into_owned();
    event.metrics.sort_unstable();
    event
}

fn reads_as(group: &str, name: &str, value: &str) -> bool {
    let group: serde_json::Value = serde_json::from_str(group).expect("a group is JSON");
    match group.get(name) {
        None | Some(serde_json::Value::Null) => false,
        Some(serde_json::Value::String(text)) => *text == clean(value),
        Some(other) => {
            let shown = other.to_string();
            shown == value
        }
    }
}
