//! Changes of the pipelines while the job runs: from whoever asks, to the loop that has them logged.

use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::oneshot;

use crate::core::epoch::Backfill;
use crate::core::plan::Plan;
use crate::core::units::Epoch;

/// The pipelines from some epoch on: as the log has them, and planned.
#[derive(Clone, Debug)]
pub struct Change {
    /// As `pipeline::Bundle` writes it.
    pub bundle: Arc<str>,
    pub plan: Arc<Plan>,
    /// Of a new pipeline of the plan that begins with the log's past.
    pub backfill: Option<Backfill>,
}

/// A change, and who waits until it is on disk. It holds from the epoch after the one that is told.
#[derive(Debug)]
pub struct Asked {
    pub change: Change,
    pub durable: oneshot::Sender<Epoch>,
}

/// The way to rank 0's loop, for one change at a time.
#[derive(Clone, Debug, Default)]
pub struct Changes {
    asked: Arc<Mutex<Option<Asked>>>,
}

impl Changes {
    /// Hands a change over; the answer is the epoch after which it holds, once that is on disk. Whoever asks waits for it before the next one.
    #[must_use]
    pub fn ask(&self, change: Change) -> oneshot::Receiver<Epoch> {
        let (durable, answer) = oneshot::channel();
        self.put(Asked { change, durable });
        answer
    }

    /// The same, for whom the answer goes elsewhere.
    pub fn put(&self, asked: Asked) {
        // A value that is put and taken whole: a thread that died has harmed nothing.
        *self.asked.lock().unwrap_or_else(PoisonError::into_inner) = Some(asked);
    }

    /// What was asked for since the last call.
    #[must_use]
    pub fn take(&self) -> Option<Asked> {
        self.asked.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}
