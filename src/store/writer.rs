//! The store's writer: takes every finished epoch that waits into one transaction, and finds out what happened when an answer is lost.
//! Files that are to have a line of each event and row have it before. It knows no database.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use uuid::Uuid;

use crate::core::plan::Plan;
use crate::core::units::{Epoch, Generation};
use crate::store::jsonl::Copies;
use crate::store::{Commit, Progress, Store, StoreError};

/// Commits taken into one transaction: as many as the coordinator lets wait.
const MERGED_MAX: usize = 64;

/// The wait after the first failure, doubled with each further one …
const RETRY_WAIT: Duration = Duration::from_millis(20);

/// … up to this: how long after its return a store may go unnoticed.
const RETRY_WAIT_MAX: Duration = Duration::from_secs(2);

/// Tries that are left to a store that is away once the writer is closed: the log has everything, so the job may end without it.
const TRIES_AFTER_CLOSE: u32 = 5;

/// What the writer tells the coordinator.
#[derive(Debug)]
pub enum Note {
    /// Everything up to here is in the store, by this work; None: it was there already.
    Committed(Progress, Option<Work>),
    /// It is away and is tried again; the first failure since the last commit says so.
    Away(String),
    /// It was away at the start, and is there; nothing was to be written yet.
    Back,
    /// It cannot go on: fenced, another log's store, broken, or still away when it was closed.
    Failed(StoreError),
}

/// What a transaction was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Work {
    /// Written or removed, in all tables; an event's row counts once, whatever it went into.
    pub rows: u64,
    /// Attempts that failed and pauses between them included.
    pub took: Duration,
}

/// Commits in order, handed over by the coordinator. What may wait is bounded by the coordinator.
#[derive(Clone)]
pub struct Commits {
    queue: Arc<Queue>,
}

#[derive(Default)]
struct Queue {
    waiting: Mutex<Waiting>,
    changed: Condvar,
}

#[derive(Default)]
struct Waiting {
    commits: VecDeque<Commit>,
    closed: bool,
}

/// What the writer works on next.
struct Taken {
    /// The last of the commits that the store has already.
    passed: Option<Progress>,
    commits: Vec<Commit>,
}

/// What is tried until it is done.
#[derive(Clone, Copy)]
enum Task<'a> {
    /// The first meeting with the store.
    Meet,
    /// The lines of these commits into the audit's files.
    Copy(&'a [Commit]),
    Commit(&'a Commit),
}

impl Commits {
    pub fn push(&self, commit: Commit) {
        self.queue.lock().commits.push_back(commit);
        self.queue.changed.notify_all();
    }

    /// Commits what waits, then ends the thread.
    pub fn close(&self) {
        self.queue.lock().closed = true;
        self.queue.changed.notify_all();
    }
}

impl Queue {
    fn lock(&self) -> MutexGuard<'_, Waiting> {
        // A list and a flag: there is no state in between that a panic could leave.
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn is_empty(&self) -> bool {
        self.lock().commits.is_empty()
    }

    /// Everything that waits; None when the queue is closed and empty.
    fn take(&self, stands: Epoch) -> Option<Taken> {
        let idle = |waiting: &mut Waiting| waiting.commits.is_empty() && !waiting.closed;
        let mut waiting = self.changed.wait_while(self.lock(), idle).unwrap_or_else(PoisonError::into_inner);
        let passed = pass_over(&mut waiting.commits, stands);
        let taken = of_one_plan(&waiting.commits).min(MERGED_MAX);
        let commits: Vec<Commit> = waiting.commits.drain(..taken).collect();
        drop(waiting);
        if passed.is_none() && commits.is_empty() { None } else { Some(Taken { passed, commits }) }
    }

    /// Waits; a wait that has begun ends when the queue is closed. Gives whether it is.
    fn pause(&self, wait: Duration) -> bool {
        let waiting = self.lock();
        let before = waiting.closed;
        let waited = self.changed.wait_timeout_while(waiting, wait, |waiting| waiting.closed == before);
        waited.unwrap_or_else(PoisonError::into_inner).0.closed
    }
}

/// How many of the first commits are of one plan, and so can be one.
#[must_use]
pub fn of_one_plan(commits: &VecDeque<Commit>) -> usize {
    let same = |a: &Option<Arc<Plan>>, b: &Option<Arc<Plan>>| match (a, b) {
        (Some(a), Some(b)) => Arc::ptr_eq(a, b),
        (a, b) => a.is_none() && b.is_none(),
    };
    let first = commits.front().map(|commit| &commit.plan);
    commits.iter().take_while(|commit| first.is_some_and(|first| same(first, &commit.plan))).count()
}

fn rows_of(commit: &Commit) -> u64 {
    let Commit { rows, removed, views, history, alerts, outbox, dead_letters, events, lineage, .. } = commit;
    let results = rows.len() + removed.len() + views.len() + history.len() + alerts.len() + outbox.len();
    (results + dead_letters.len() + events.len() + lineage.len()) as u64
}

/// Several consecutive commits of one plan as one: the last state of each row, all dead letters and events.
///
/// # Panics
/// If they are none, or not consecutive.
#[must_use]
pub fn merge(commits: Vec<Commit>) -> Commit {
    let mut commits = commits.into_iter();
    let Some(mut merged) = commits.next() else { panic!("there is nothing to merge") };
    let mut places: HashMap<Uuid, usize> = merged.rows.iter().zip(0..).map(|(row, at)| (row.metric_id, at)).collect();
    let mut keys: HashMap<(usize, Arc<str>), usize> =
        merged.views.iter().zip(0..).map(|(row, at)| ((row.view, row.key.clone()), at)).collect();
    let mut alerts: HashMap<Uuid, usize> = merged.alerts.iter().zip(0..).map(|(row, at)| (row.alert_id, at)).collect();
    for commit in commits {
        assert_eq!(commit.after, Some(merged.to.epoch), "a commit continues the one before it");
        assert_eq!(commit.to.log, merged.to.log, "commits are of one log");
        merged.to = commit.to;
        for id in &commit.removed {
            if let Some(place) = places.remove(id) {
                merged.rows.swap_remove(place);
                places.extend(merged.rows.get(place).map(|moved| (moved.metric_id, place)));
            }
        }
        merged.removed.extend(commit.removed);
        for row in commit.rows {
            let place = *places.entry(row.metric_id).or_insert(merged.rows.len());
            match merged.rows.get_mut(place) {
                Some(before) => *before = row,
                None => merged.rows.push(row),
            }
        }
        for row in commit.views {
            let place = *keys.entry((row.view, row.key.clone())).or_insert(merged.views.len());
            match merged.views.get_mut(place) {
                Some(before) => *before = row,
                None => merged.views.push(row),
            }
        }
        for row in commit.alerts {
            let place = *alerts.entry(row.alert_id).or_insert(merged.alerts.len());
            match merged.alerts.get_mut(place) {
                Some(before) => *before = row,
                None => merged.alerts.push(row),
            }
        }
        merged.outbox.extend(commit.outbox);
        merged.history.extend(commit.history);
        merged.dead_letters.extend(commit.dead_letters);
        merged.events.extend(commit.events);
        merged.lineage.extend(commit.lineage);
        merged.mended.extend(commit.mended);
        // The last of a plan's commits has them.
        merged.gone.extend(commit.gone);
    }
    // A row that came back is not removed.
    merged.removed.retain(|id| !places.contains_key(id));
    merged
}

/// A life's first meeting with its store, which may have been away until now: asks whether it fits, claims it, and gives the epoch to which it has come;
/// 0 where it has nothing.
///
/// # Errors
/// What `fits` says, and what the store does.
pub fn meet(
    store: &mut dyn Store,
    fits: &impl Fn(Option<&Progress>) -> Result<(), StoreError>,
    mine: Generation,
) -> Result<Epoch, StoreError> {
    // Before anything is written, the generation included: it may be another job's.
    fits(store.progress()?.as_ref())?;
    let progress = store.claim(mine)?;
    // An older generation may have committed between the two.
    fits(progress.as_ref())?;
    Ok(progress.map_or(Epoch(0), |p| p.epoch))
}

/// Takes away the commits that are in a store which has come to this epoch, and gives the last of them: a life that began while the store was away
/// computes again what is in it.
pub fn pass_over(commits: &mut VecDeque<Commit>, stands: Epoch) -> Option<Progress> {
    let mut last = None;
    while let Some(commit) = commits.pop_front_if(|commit| commit.to.epoch <= stands) {
        last = Some(commit.to);
    }
    last
}

/// One try to commit this. A commit whose answer was lost, now or in an earlier try, is known by the store's progress, read under the generation row's
/// lock: so a commit may be tried again and again, and happens once.
///
/// # Errors
/// What cannot be mended by trying again.
pub fn commit_once(store: &mut dyn Store, mine: Generation, commit: &Commit) -> Result<Outcome, StoreError> {
    let (lost, unfit) = match store.commit(commit) {
        Ok(()) => return Ok(Outcome::Committed),
        Err(StoreError::Unavailable(why)) => return Ok(Outcome::Away(why)),
        Err(StoreError::Indeterminate(why)) => (Some(why), None),
        Err(unfit @ StoreError::Mismatch(_)) => (None, Some(unfit)),
        Err(error) => return Err(error),
    };
    let progress = match store.claim(mine) {
        Ok(progress) => progress,
        Err(StoreError::Unavailable(why) | StoreError::Indeterminate(why)) => {
            return Ok(Outcome::Away(lost.unwrap_or(why)));
        }
        Err(error) => return Err(error),
    };
    if progress == Some(commit.to) {
        return Ok(Outcome::Committed);
    }
    match (lost, unfit) {
        (_, Some(unfit)) => Err(unfit),
        (lost, None) => Ok(Outcome::Away(lost.unwrap_or_default())),
    }
}

/// How one try ended.
#[derive(Debug, PartialEq, Eq)]
pub enum Outcome {
    Committed,
    /// Try again later, with the same commit.
    Away(String),
}

/// Starts the writer's thread. It opens its connection by `open`, again after each loss, and claims the store for `mine` each time. The first time `fits`
/// says whether what the store has belongs to this log.
#[must_use]
pub fn spawn(
    open: impl Fn() -> Result<Box<dyn Store>, StoreError> + Send + 'static,
    fits: impl Fn(Option<&Progress>) -> Result<(), StoreError> + Send + 'static,
    copies: Option<Copies>,
    mine: Generation,
    note: impl Fn(Note) + Send + 'static,
) -> (Commits, JoinHandle<()>) {
    let queue = Arc::new(Queue::default());
    let commits = Commits { queue: queue.clone() };
    let writer = Writer { queue, open, fits, copies, note, mine, stands: None, store: None };
    (commits, std::thread::spawn(move || writer.run()))
}

struct Writer<O, F, N> {
    queue: Arc<Queue>,
    open: O,
    fits: F,
    copies: Option<Copies>,
    note: N,
    mine: Generation,
    /// How far the store had come when it was first met; None: it has been away from the beginning.
    stands: Option<Epoch>,
    store: Option<Box<dyn Store>>,
}

impl<O, F, N> Writer<O, F, N>
where
    O: Fn() -> Result<Box<dyn Store>, StoreError>,
    F: Fn(Option<&Progress>) -> Result<(), StoreError>,
    N: Fn(Note),
{
    fn run(mut self) {
        // Claimed before there is anything to write, so that an older generation is fenced off from now on.
        let mut ended = self.insist(Task::Meet);
        while ended.is_ok() {
            // Closed, with nothing to write, before the store was met.
            let Some(stands) = self.stands else { return };
            let Some(Taken { passed, commits }) = self.queue.take(stands) else { return };
            if let Some(passed) = passed {
                (self.note)(Note::Committed(passed, None));
            }
            if !commits.is_empty() {
                ended = self.apply(commits);
            }
        }
        if let Err(error) = ended {
            (self.note)(Note::Failed(error));
        }
    }

    /// The audit's files first: what the store has, they have too, whatever dies in between.
    fn apply(&mut self, commits: Vec<Commit>) -> Result<(), StoreError> {
        self.insist(Task::Copy(&commits))?;
        let begun = Instant::now();
        let commit = merge(commits);
        self.insist(Task::Commit(&commit))?;
        let work = Work { rows: rows_of(&commit), took: begun.elapsed() };
        (self.note)(Note::Committed(commit.to, Some(work)));
        Ok(())
    }

    /// Tries until it is done, or cannot be done. With nothing to write it is done as well when the queue is closed: nobody is to be fenced off any more.
    fn insist(&mut self, task: Task) -> Result<(), StoreError> {
        let only_meets = matches!(task, Task::Meet);
        let (mut wait, mut tries_left, mut told) = (RETRY_WAIT, TRIES_AFTER_CLOSE, false);
        loop {
            let Outcome::Away(why) = self.attempt(task)? else {
                if told && only_meets {
                    (self.note)(Note::Back);
                }
                return Ok(());
            };
            if !matches!(task, Task::Copy(_)) {
                self.store = None;
            }
            if !told {
                (self.note)(Note::Away(why.clone()));
                told = true;
            }
            if self.queue.pause(wait) {
                if only_meets && self.queue.is_empty() {
                    return Ok(());
                }
                if tries_left == 0 {
                    return Err(StoreError::Unavailable(why));
                }
                tries_left -= 1;
            }
            wait = (wait * 2).min(RETRY_WAIT_MAX);
        }
    }

    fn attempt(&mut self, task: Task) -> Result<Outcome, StoreError> {
        match self.try_once(task) {
            Err(StoreError::Unavailable(why) | StoreError::Indeterminate(why)) => Ok(Outcome::Away(why)),
            other => other,
        }
    }

    fn try_once(&mut self, task: Task) -> Result<Outcome, StoreError> {
        if let Task::Copy(commits) = task {
            self.copies.as_mut().map_or(Ok(()), |copies| copies.write(commits))?;
            return Ok(Outcome::Committed);
        }
        let store = if let Some(store) = &mut self.store {
            store
        } else {
            let store = self.connect()?;
            self.store.insert(store)
        };
        match task {
            Task::Commit(commit) => commit_once(store.as_mut(), self.mine, commit),
            Task::Meet | Task::Copy(_) => Ok(Outcome::Committed),
        }
    }

    fn connect(&mut self) -> Result<Box<dyn Store>, StoreError> {
        let mut store = (self.open)()?;
        if self.stands.is_none() {
            self.stands = Some(meet(store.as_mut(), &self.fits, self.mine)?);
        } else {
            store.claim(self.mine)?;
        }
        Ok(store)
    }
}
