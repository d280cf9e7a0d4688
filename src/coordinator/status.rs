//! What rank 0 knows of the job, for pages and metrics: written by the coordinator's thread, read by the web.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError, TryLockError};
use std::time::Duration;

pub use crate::coordinator::histogram::{Durations, Histogram, SCHEMA};
pub use crate::coordinator::totals::{Named, Totals};
use crate::core::ledger::Ledger;
use crate::core::units::{Epoch, Generation, Micros, Millis, Offset};
use crate::log::Extent;

/// A process of the job.
#[derive(Clone, Debug, Default)]
pub struct ProcessStatus {
    pub host: String,
    pub pid: u32,
    /// None before it has told.
    pub up_since: Option<Millis>,
    /// Time on a core, of all its threads.
    pub cpu: Duration,
    pub memory_bytes: u64,
}

/// One worker as `GET /cluster` shows it.
#[derive(Clone, Debug, Default)]
pub struct RankStatus {
    pub rank: usize,
    pub process: ProcessStatus,
    /// Events decoded in this life.
    pub events: u64,
    /// Bytes dispatched to it and not yet decoded.
    pub queue_bytes: u64,
    /// As many as it may have.
    pub credit_bytes: u64,
    /// Share of the last second in which it had no credit left, 0 to 1.
    pub back_pressure: f64,
    pub key_groups: u32,
    pub ids: u64,
    pub panes: u64,
    /// Keys in views.
    pub keys: u64,
}

/// One pipeline as `GET /cluster` shows it.
#[derive(Clone, Debug, Default)]
pub struct PipelineStatus {
    pub name: String,
    /// None before its first event.
    pub watermark: Option<Micros>,
    /// Values that its expressions could not give, in this life.
    pub expression_errors: u64,
    pub windows: Vec<WindowStatus>,
}

#[derive(Clone, Debug, Default)]
pub struct WindowStatus {
    pub name: String,
    /// Events that were late for it, whether or not another took them, in this life.
    pub late: u64,
    /// Slices and sessions that are kept.
    pub panes: u64,
}

/// The newest checkpoint.
#[derive(Clone, Copy, Debug, Default)]
pub struct CheckpointStatus {
    /// 0: there is none.
    pub epoch: Epoch,
    /// Time of its cut.
    pub at: Option<Millis>,
    /// None: this life has not written it.
    pub written: Option<Written>,
}

#[derive(Clone, Copy, Debug)]
pub struct Written {
    pub bytes: u64,
    pub took: Duration,
}

/// The newest transaction of the store.
#[derive(Clone, Copy, Debug)]
pub struct CommitStatus {
    pub at: Millis,
    pub rows: u64,
    pub took: Duration,
}

/// One start of the job.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StartStatus {
    pub generation: Generation,
    pub at: Millis,
    /// Why the job began anew, as far as it is known; None: it is the first start, or the one before was drained.
    pub why: Option<String>,
    /// When it took events; None: it has not yet, or never did.
    pub ready: Option<Millis>,
    /// Events of the log that were read again, and how long it took until events were taken.
    pub replayed: u64,
    pub replay: Duration,
    /// It ended because it was asked to, with nothing left to do.
    pub drained: bool,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Phase {
    /// Reading the log; POST answers 503.
    #[default]
    Replaying,
    Serving,
    Draining,
}

/// A snapshot, consistent in itself.
#[derive(Clone, Debug, Default)]
pub struct Status {
    pub phase: Phase,
    pub generation: Generation,
    /// While replaying: the offset reached and the one to reach.
    pub replayed: Offset,
    pub replay_until: Offset,
    pub ledger: Ledger,
    pub committed: Epoch,
    /// The last epoch after which the pipelines changed.
    pub changed: Epoch,
    pub checkpoint: CheckpointStatus,
    pub pipelines: Vec<PipelineStatus>,
    pub rank0: ProcessStatus,
    pub ranks: Vec<RankStatus>,
    /// Receipt to committed of the newest epochs: milliseconds.
    pub latency_p50: Option<Millis>,
    pub latency_p99: Option<Millis>,
    pub log: Extent,
    /// LOG_BYTES_MAX.
    pub log_bytes_max: u64,
    pub store_away_since: Option<Millis>,
    /// None: this life has written nothing yet.
    pub commit: Option<CommitStatus>,
    /// What the committed events have come to since the log began. None until the replay has caught up, so that it never goes back from one life to the next.
    pub totals: Option<Arc<Totals>>,
    /// The newest starts of the job, oldest first; the last one is this life's.
    pub starts: Arc<Vec<StartStatus>>,
}

impl Status {
    /// The watermark of the pipeline that has come least far; None before the first event.
    #[must_use]
    pub fn watermark(&self) -> Option<Micros> {
        self.pipelines.iter().filter_map(|pipeline| pipeline.watermark).min()
    }
}

/// How long things took in this life.
#[derive(Debug, Default)]
pub struct Took {
    /// One group commit of the log: written and synced.
    pub log_commit: Histogram,
    /// One transaction of the store.
    pub store_commit: Histogram,
    pub checkpoint: Histogram,
    /// From an event's receipt to its commit, by event; not of events that were replayed.
    pub receipt_to_committed: Histogram,
}

/// The snapshot's place.
#[derive(Debug, Default)]
pub struct SharedStatus {
    snapshot: Mutex<Status>,
    pub took: Took,
}

impl SharedStatus {
    /// Changes the snapshot in one step.
    pub fn update(&self, change: impl FnOnce(&mut Status)) {
        change(&mut self.lock());
    }

    #[must_use]
    pub fn get(&self) -> Status {
        self.lock().clone()
    }

    /// Of the snapshot the ledger alone: who asks often has nothing else copied while others wait.
    #[must_use]
    pub fn ledger(&self) -> Ledger {
        self.lock().ledger
    }

    /// The generation and the newest committed epoch, once the log is open. It waits for nobody: whoever logs may be the one who changes the status.
    #[must_use]
    pub fn stand(&self) -> Option<(Generation, Epoch)> {
        let status = match self.snapshot.try_lock() {
            Ok(status) => status,
            Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
            Err(TryLockError::WouldBlock) => return None,
        };
        (status.generation > Generation(0)).then_some((status.generation, status.committed))
    }

    fn lock(&self) -> MutexGuard<'_, Status> {
        self.snapshot.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
