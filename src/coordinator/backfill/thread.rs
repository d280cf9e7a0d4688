//! Carries out the orders: a thread makes a new pipeline's past beside the job while another stores what it publishes, or takes out what one has left.

use std::io;
use std::sync::mpsc::{self, Receiver, Sender, SyncSender};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use rayon::{ThreadPool, ThreadPoolBuilder};

use crate::coordinator::backfill::error::FillError;
use crate::coordinator::backfill::making::{Making, Next, Stores};
use crate::coordinator::backfill::mark::Mark;
use crate::coordinator::backfill::{Backfills, Keeps, Note};
use crate::coordinator::change::Change;
use crate::core::epoch::Backfill;
use crate::core::plan::Plan;
use crate::core::units::{Epoch, Generation, LogId};
use crate::log::Access;
use crate::store::{Commit, Store, StoreError};
use crate::wire::Past;

/// Bytes that one transaction takes, about; as many again are gathered meanwhile. Rows fall all over the store's indexes: the fewer transactions there are, the fewer
/// pages are written. But the job's own results wait until one has ended.
const STORED_AT_ONCE: usize = 8 << 20;
/// Nothing is stored for so long after each transaction: in SQLite whoever waits looks only this often whether it is its turn.
const TURN: Duration = Duration::from_millis(150);
/// At the log's end it is looked this often whether there is more.
const LOOK_EVERY: Duration = Duration::from_millis(5);
/// A past is decoded by so many threads at least: a launcher divides the cores among the ranks, but while a past is made few others have work.
const DECODERS_MIN: usize = 2;
/// A store that is away is tried again after this.
const STORE_RETRY: Duration = Duration::from_millis(500);

/// Opens a connection to the store for results of this plan.
pub type Open = Arc<dyn Fn(&Arc<Plan>) -> Result<Box<dyn Store>, StoreError> + Send + Sync>;

/// What threads work with.
pub struct Filler {
    pub access: Access,
    pub keeps: Keeps,
    pub log: LogId,
    pub generation: Generation,
    pub open: Open,
    pub mark: Mark,
    pub asked: Backfills,
    pub wake: Arc<dyn Fn() + Send + Sync>,
}

/// The thread that is at work, if one is.
pub struct Thread {
    filler: Arc<Filler>,
    notes: (Sender<Note>, Receiver<Note>),
    fill: Option<Fill>,
}

/// What the loop wants of the thread.
#[derive(Clone, Copy, Debug, Default)]
struct Goal {
    /// The last epoch of the past, once it is known.
    until: Option<Epoch>,
    stopped: bool,
}

/// Dropped, it ends as soon as it can, and what it stored is left to the next start.
struct Fill {
    goal: Arc<(Mutex<Goal>, Condvar)>,
    thread: Option<JoinHandle<()>>,
}

impl Fill {
    fn change(&self, change: impl FnOnce(&mut Goal)) {
        change(&mut lock(&self.goal.0));
        self.goal.1.notify_all();
    }
}

impl Drop for Fill {
    fn drop(&mut self) {
        self.change(|goal| goal.stopped = true);
        // A thread that panicked has said so.
        drop(self.thread.take().map(JoinHandle::join));
    }
}

fn lock(goal: &Mutex<Goal>) -> MutexGuard<'_, Goal> {
    goal.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Thread {
    #[must_use]
    pub fn new(filler: Filler) -> Self {
        Self { filler: Arc::new(filler), notes: mpsc::channel(), fill: None }
    }

    /// What it has to say.
    pub fn note(&self) -> Option<Note> {
        self.notes.1.try_recv().ok()
    }

    /// Makes the past of a change's new pipeline.
    ///
    /// # Errors
    /// If there can be no further thread.
    pub fn fill(&mut self, change: &Change, backfill: Backfill, stores: Stores) -> Result<(), FillError> {
        let plan = Arc::clone(&change.plan);
        self.start(plan, move |work| {
            let Filler { access, keeps, log, generation, .. } = work.filler;
            let names = (keeps, *log, *generation);
            let making = Making::new(work.plan, backfill, names, access, (stores, STORED_AT_ONCE));
            decoders()?.install(|| work.fill(backfill.pipeline, making))
        })
    }

    /// The past ends with this epoch.
    pub fn end_with(&self, epoch: Epoch) {
        if let Some(fill) = &self.fill {
            fill.change(|goal| goal.until = Some(epoch));
        }
    }

    /// Takes out of the store what a backfill left there, and then the mark.
    ///
    /// # Errors
    /// As `fill`.
    pub fn forget(&mut self, plan: &Arc<Plan>) -> Result<(), FillError> {
        self.start(
            Arc::clone(plan),
            #[expect(clippy::redundant_closure_for_method_calls, reason = "it is for one lifetime only")]
            |work| work.forget(),
        )
    }

    /// # Errors
    /// `Mark`.
    pub fn remove_mark(&self) -> Result<(), FillError> {
        self.filler.mark.remove()
    }

    fn start(
        &mut self,
        plan: Arc<Plan>,
        work: impl FnOnce(Work<'_>) -> Result<Option<Note>, FillError> + Send + 'static,
    ) -> Result<(), FillError> {
        // The one before has ended, or ends now.
        self.fill = None;
        let goal: Arc<(Mutex<Goal>, Condvar)> = Arc::default();
        let (of_thread, notes, filler) = (Arc::clone(&goal), self.notes.0.clone(), Arc::clone(&self.filler));
        let run = move || {
            let last = work(Work { filler: &filler, plan: &plan, goal: &of_thread, notes: &notes });
            if let Some(last) = last.unwrap_or_else(|error| Some(Note::Failed(error))) {
                // Who does not listen any more wants nothing.
                drop(notes.send(last));
                (filler.wake)();
            }
        };
        let thread = std::thread::Builder::new().name("backfill".to_owned()).spawn(run).map_err(FillError::Thread)?;
        self.fill = Some(Fill { goal, thread: Some(thread) });
        Ok(())
    }
}

/// The threads that decode a past.
fn decoders() -> Result<ThreadPool, FillError> {
    let threads = rayon::current_num_threads().max(DECODERS_MIN);
    let pool = ThreadPoolBuilder::new().num_threads(threads).thread_name(|_| "decode".to_owned()).build();
    pool.map_err(|error| FillError::Thread(io::Error::other(error)))
}

/// What is to be done, and for whom.
#[derive(Clone, Copy)]
struct Work<'a> {
    filler: &'a Filler,
    plan: &'a Arc<Plan>,
    goal: &'a (Mutex<Goal>, Condvar),
    notes: &'a Sender<Note>,
}

/// None has nothing to store; who hands it over only waits until all before it is.
type ToStore = Option<Box<Commit>>;

/// How the making of a past ends; what it published before is stored, unless it was stopped.
enum End {
    Stopped,
    Forget,
    Done(Past),
}

impl Work<'_> {
    /// None where it was stopped. `pipeline` is its place in the plan.
    fn fill(self, pipeline: usize, making: Making) -> Result<Option<Note>, FillError> {
        let (made, stored) = std::thread::scope(|scope| {
            // What is handed over is taken when the commit before it is stored.
            let (hand, handed) = mpsc::sync_channel(0);
            let store = move || Storing::new(self).all(&handed);
            let named = std::thread::Builder::new().name("store".to_owned());
            let storing = named.spawn_scoped(scope, store).map_err(FillError::Thread)?;
            let made = self.make(pipeline, making, &hand);
            drop(hand);
            let stored = storing.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
            Ok::<_, FillError>((made, stored))
        })?;
        // Where storing ended early, making was only stopped by it.
        let all_stored = stored?;
        match made? {
            End::Done(past) if all_stored => Ok(Some(Note::Done(past))),
            End::Forget if all_stored => self.forget(),
            End::Stopped | End::Done(_) | End::Forget => Ok(None),
        }
    }

    fn make(self, pipeline: usize, mut making: Making, hand: &SyncSender<ToStore>) -> Result<End, FillError> {
        loop {
            let Goal { until, stopped } = *lock(&self.goal.0);
            if stopped {
                return Ok(End::Stopped);
            }
            match making.next(until, self.filler.asked.is_cancelled())? {
                Next::Mark => self.filler.mark.put(self.plan, pipeline)?,
                Next::Store(commit) => {
                    if hand.send(Some(commit)).is_err() {
                        return Ok(End::Stopped);
                    }
                }
                Next::More => {}
                Next::Near => {
                    // While it joins, the job waits for it: not for rows of long ago as well.
                    if hand.send(None).is_err() {
                        return Ok(End::Stopped);
                    }
                    drop(self.notes.send(Note::Near));
                    (self.filler.wake)();
                }
                Next::Wait => drop(self.wait(LOOK_EVERY)),
                Next::Forget => return Ok(End::Forget),
                Next::Done(past) => return Ok(End::Done(past)),
            }
            self.filler.asked.came_to(making.at());
        }
    }

    fn forget(self) -> Result<Option<Note>, FillError> {
        if let Some(left) = self.filler.mark.read(self.filler.log)? {
            let generation = self.filler.generation;
            if !Storing::new(self).write(|store| store.forget(generation, &left))? {
                return Ok(None);
            }
        }
        self.filler.mark.remove()?;
        Ok(Some(Note::Forgotten))
    }

    /// Until there is something new to know, or so long; whether it is to stop.
    fn wait(&self, time: Duration) -> bool {
        let goal = lock(&self.goal.0);
        let before = goal.until;
        let waited = self.goal.1.wait_timeout_while(goal, time, |goal| !goal.stopped && goal.until == before);
        waited.unwrap_or_else(PoisonError::into_inner).0.stopped
    }
}

/// Work that is done in the store.
struct Storing<'a> {
    work: Work<'a>,
    store: Option<Box<dyn Store>>,
}

impl<'a> Storing<'a> {
    fn new(work: Work<'a>) -> Self {
        Self { work, store: None }
    }

    /// Commits what is handed over, one after the other, to the end; false if it was stopped before.
    fn all(mut self, handed: &Receiver<ToStore>) -> Result<bool, FillError> {
        while let Ok(commit) = handed.recv() {
            let Some(commit) = commit else { continue };
            if lock(&self.work.goal.0).stopped || !self.write(|store| store.commit(&commit))? {
                return Ok(false);
            }
            self.work.wait(TURN);
        }
        Ok(true)
    }

    /// Tries until it is done, which happens once or again and comes to the same; false if it was stopped before.
    fn write(&mut self, task: impl Fn(&mut dyn Store) -> Result<(), StoreError>) -> Result<bool, FillError> {
        loop {
            let store = match self.store.take() {
                Some(store) => Ok(store),
                None => (self.work.filler.open)(self.work.plan),
            };
            let done = store.and_then(|mut store| {
                task(store.as_mut())?;
                self.store = Some(store);
                Ok(())
            });
            match done {
                Ok(()) => return Ok(true),
                Err(StoreError::Unavailable(_) | StoreError::Indeterminate(_)) => {}
                Err(error) => return Err(error.into()),
            }
            if self.work.wait(STORE_RETRY) {
                return Ok(false);
            }
        }
    }
}
