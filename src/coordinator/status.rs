//! What rank 0 knows of the job, for pages and metrics: written by the coordinator's thread, read by the web.

use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::core::ledger::Ledger;
use crate::core::units::{Epoch, Generation, Micros, Millis, Offset};

/// One rank as `GET /cluster` shows it.
#[derive(Clone, Debug, Default)]
pub struct RankStatus {
    pub rank: usize,
    pub host: String,
    pub pid: u32,
    /// Events decoded in this life.
    pub events: u64,
    /// Bytes dispatched to it and not yet decoded.
    pub queue_bytes: u64,
    /// Share of the last second in which it had no credit left, 0 to 1.
    pub back_pressure: f64,
    pub key_groups: u32,
    pub ids: u64,
    pub panes: u64,
    /// Keys in views.
    pub keys: u64,
    pub memory_bytes: u64,
}

/// One pipeline as `GET /cluster` shows it.
#[derive(Clone, Debug, Default)]
pub struct PipelineStatus {
    pub name: String,
    /// None before its first event.
    pub watermark: Option<Micros>,
    /// Values that its expressions could not give, in this life.
    pub expression_errors: u64,
    /// Events that were late for a window, by window, whether or not another took them, in this life.
    pub late: Vec<(String, u64)>,
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
    pub checkpoint: Epoch,
    pub pipelines: Vec<PipelineStatus>,
    pub ranks: Vec<RankStatus>,
    /// Receipt to committed of the newest epochs: milliseconds.
    pub latency_p50: Option<Millis>,
    pub latency_p99: Option<Millis>,
    pub log_bytes: u64,
    pub store_away_since: Option<Millis>,
}

impl Status {
    /// The watermark of the pipeline that has come least far; None before the first event.
    #[must_use]
    pub fn watermark(&self) -> Option<Micros> {
        self.pipelines.iter().filter_map(|pipeline| pipeline.watermark).min()
    }
}

/// The snapshot's place.
#[derive(Debug, Default)]
pub struct SharedStatus(Mutex<Status>);

impl SharedStatus {
    /// Changes the snapshot in one step.
    pub fn update(&self, change: impl FnOnce(&mut Status)) {
        change(&mut self.lock());
    }

    #[must_use]
    pub fn get(&self) -> Status {
        self.lock().clone()
    }

    fn lock(&self) -> MutexGuard<'_, Status> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
