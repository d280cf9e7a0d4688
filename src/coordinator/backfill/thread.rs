//! The thread that makes a new pipeline's past beside the job, and stores what it publishes.

use std::sync::mpsc::Sender;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use crate::coordinator::backfill::error::{FillError, ReplayError};
use crate::coordinator::backfill::mark::Mark;
use crate::coordinator::backfill::{Backfills, Epochs, Filling};
use crate::coordinator::change::Change;
use crate::core::epoch::Backfill;
use crate::core::plan::Plan;
use crate::core::units::{Epoch, Generation, LogId};
use crate::log::Access;
use crate::store::writer::merge;
use crate::store::{Commit, Store, StoreError};
use crate::wire::Past;

/// Bytes that one transaction takes, about.
const STORED_AT_ONCE: usize = 4 << 20;
/// What a row or an entry takes.
const ROW_BYTES: usize = 300;
/// At the log's end it is looked this often whether there is more.
const LOOK_EVERY: Duration = Duration::from_millis(5);
/// A store that is away is tried again after this.
const STORE_RETRY: Duration = Duration::from_millis(500);

/// Opens a connection to the store for results of this plan.
pub type Open = Arc<dyn Fn(&Arc<Plan>) -> Result<Box<dyn Store>, StoreError> + Send + Sync>;

/// What the loop is told.
#[derive(Debug)]
pub enum Note {
    /// It has come to the log's end: the pipeline can become the job's.
    Near,
    /// The pipeline's state after the epoch that was asked for; what it published is stored.
    Done(Past),
    /// What was stored is taken out again.
    Forgotten,
    Failed(FillError),
}

/// What threads work with.
pub struct Filler {
    pub access: Access,
    pub id_key: u64,
    pub log: LogId,
    pub generation: Generation,
    pub open: Open,
    pub mark: Mark,
    pub asked: Backfills,
    pub wake: Arc<dyn Fn() + Send + Sync>,
}

/// Whether what is published may be missing in the store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stores {
    /// It is all there.
    Nothing,
    /// The pipeline is the job's: nothing of it is ever to be taken out.
    Logged,
    /// The pipeline is not the job's yet: a mark says what is to be taken out if it never is.
    Marked,
}

impl Stores {
    #[must_use]
    pub fn of_logged(may_lack: bool) -> Self {
        if may_lack { Self::Logged } else { Self::Nothing }
    }
}

/// What the loop wants of the thread.
#[derive(Clone, Copy, Debug, Default)]
struct Goal {
    /// The last epoch of the past, once it is known.
    until: Option<Epoch>,
    stopped: bool,
}

/// A thread at work. Dropped, it ends as soon as it can, and what it stored is left to the next start.
pub struct Fill {
    goal: Arc<(Mutex<Goal>, Condvar)>,
    thread: Option<JoinHandle<()>>,
}

impl Fill {
    /// The past ends with this epoch.
    pub fn end_with(&self, epoch: Epoch) {
        lock(&self.goal.0).until = Some(epoch);
        self.goal.1.notify_all();
    }
}

impl Drop for Fill {
    fn drop(&mut self) {
        lock(&self.goal.0).stopped = true;
        self.goal.1.notify_all();
        // A thread that panicked has said so.
        drop(self.thread.take().map(JoinHandle::join));
    }
}

fn lock(goal: &Mutex<Goal>) -> MutexGuard<'_, Goal> {
    goal.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Filler {
    /// Makes the past of a change's new pipeline.
    ///
    /// # Errors
    /// If there can be no further thread.
    pub fn fill(
        self: &Arc<Self>,
        change: &Change,
        backfill: Backfill,
        stores: Stores,
        notes: Sender<Note>,
    ) -> Result<Fill, FillError> {
        let (plan, filler) = (Arc::clone(&change.plan), Arc::clone(self));
        self.start(notes, move |goal, notes| {
            let names = (filler.log, filler.generation);
            let filling = Filling::new(Arc::clone(&plan), filler.id_key, names, backfill);
            let work =
                Work { filler: &filler, plan: &plan, pipeline: backfill.pipeline, goal, notes, stores, store: None };
            work.run(filling, Epochs::new(&filler.access, backfill))
        })
    }

    /// Takes out of the store what a backfill left there.
    ///
    /// # Errors
    /// As `fill`.
    pub fn forget(self: &Arc<Self>, plan: &Arc<Plan>, notes: Sender<Note>) -> Result<Fill, FillError> {
        let (plan, filler) = (Arc::clone(plan), Arc::clone(self));
        self.start(notes, move |goal, notes| {
            Work { filler: &filler, plan: &plan, pipeline: 0, goal, notes, stores: Stores::Marked, store: None }
                .forget()
        })
    }

    fn start(
        &self,
        notes: Sender<Note>,
        work: impl FnOnce(&(Mutex<Goal>, Condvar), &Sender<Note>) -> Result<Option<Note>, FillError> + Send + 'static,
    ) -> Result<Fill, FillError> {
        let goal: Arc<(Mutex<Goal>, Condvar)> = Arc::default();
        let (of_thread, wake) = (Arc::clone(&goal), Arc::clone(&self.wake));
        let run = move || {
            let last = work(&of_thread, &notes).unwrap_or_else(|error| Some(Note::Failed(error)));
            if let Some(last) = last {
                // Who does not listen any more wants nothing.
                drop(notes.send(last));
                wake();
            }
        };
        let thread = std::thread::Builder::new().name("backfill".to_owned()).spawn(run).map_err(FillError::Thread)?;
        Ok(Fill { goal, thread: Some(thread) })
    }
}

/// One thread's work.
struct Work<'a> {
    filler: &'a Filler,
    plan: &'a Arc<Plan>,
    /// Its place in the plan.
    pipeline: usize,
    goal: &'a (Mutex<Goal>, Condvar),
    notes: &'a Sender<Note>,
    stores: Stores,
    store: Option<Box<dyn Store>>,
}

impl Work<'_> {
    /// None where it was stopped.
    fn run(mut self, mut filling: Filling, mut epochs: Epochs) -> Result<Option<Note>, FillError> {
        let (mut waiting, mut size, mut told) = (Vec::new(), 0, false);
        if self.stores == Stores::Marked {
            self.filler.mark.put(self.plan, self.pipeline)?;
        }
        loop {
            let Goal { until, stopped } = *lock(&self.goal.0);
            if stopped {
                return Ok(None);
            }
            if self.filler.asked.is_cancelled() {
                return self.forget();
            }
            let is_there = until.is_some_and(|until| filling.at().0 >= until);
            let next = if is_there { None } else { epochs.next_epoch()? };
            if let Some((cut, slabs)) = &next {
                // Before it is known no epoch comes after it.
                let last = until.unwrap_or(Epoch(u64::MAX));
                let commit = filling.epoch(*cut, slabs, last).map_err(ReplayError::from)?;
                if self.stores != Stores::Nothing {
                    size += size_of(&commit);
                    waiting.push(commit);
                }
            }
            if (next.is_none() && !waiting.is_empty()) || size > STORED_AT_ONCE {
                size = 0;
                if !self.write(|store, commit| store.commit(commit), &merge(std::mem::take(&mut waiting)))? {
                    return Ok(None);
                }
            }
            self.filler.asked.came_to(filling.at().1);
            if is_there {
                return Ok(Some(Note::Done(filling.past())));
            }
            if next.is_none() {
                if !std::mem::replace(&mut told, true) && until.is_none() {
                    drop(self.notes.send(Note::Near));
                    (self.filler.wake)();
                }
                self.wait(LOOK_EVERY);
            }
        }
    }

    fn forget(mut self) -> Result<Option<Note>, FillError> {
        if let Some(left) = self.filler.mark.read(self.filler.log)? {
            let generation = self.filler.generation;
            let forget = |store: &mut dyn Store, left: &_| store.forget(generation, left);
            if !self.write(forget, &left)? {
                return Ok(None);
            }
        }
        self.filler.mark.remove()?;
        Ok(Some(Note::Forgotten))
    }

    /// Tries until it is done, which happens once or again and comes to the same; false if it was stopped before.
    fn write<T>(
        &mut self,
        work: impl Fn(&mut dyn Store, &T) -> Result<(), StoreError>,
        of: &T,
    ) -> Result<bool, FillError> {
        loop {
            let store = match self.store.take() {
                Some(store) => Ok(store),
                None => (self.filler.open)(self.plan),
            };
            let done = store.and_then(|mut store| {
                work(store.as_mut(), of)?;
                self.store = Some(store);
                Ok(())
            });
            match done {
                Ok(()) => return Ok(true),
                Err(StoreError::Unavailable(_) | StoreError::Indeterminate(_)) => {}
                Err(error) => return Err(error.into()),
            }
            if self.wait(STORE_RETRY) {
                return Ok(false);
            }
        }
    }

    /// Until there is something new to know, or so long; whether it is to stop.
    fn wait(&self, time: Duration) -> bool {
        let goal = lock(&self.goal.0);
        let before = goal.until;
        let waited = self.goal.1.wait_timeout_while(goal, time, |goal| !goal.stopped && goal.until == before);
        waited.unwrap_or_else(PoisonError::into_inner).0.stopped
    }
}

fn size_of(commit: &Commit) -> usize {
    let Commit { rows, views, history, alerts, events, lineage, .. } = commit;
    let count = 1 + rows.len() + views.len() + history.len() + alerts.len() + events.len() + lineage.len();
    count * ROW_BYTES
        + events.iter().map(|event| event.body.len()).sum::<usize>()
        + lineage.iter().map(|lineage| lineage.offsets.serialized_size()).sum::<usize>()
}
