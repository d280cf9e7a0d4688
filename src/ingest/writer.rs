//! The log's one writer: takes submissions and cuts, puts what waits into one frame, syncs it, then acknowledges.

use std::sync::Arc;
use std::thread::JoinHandle;

use crate::clock::Clock;
use crate::core::epoch::Cut;
use crate::core::units::{Epoch, Millis, Offset};
use crate::ingest::feed::FeedIn;
use crate::ingest::{Receipt, Refusal, Submission};
use crate::log::{Log, LogError};

/// What the writer tells the coordinator.
#[derive(Debug)]
pub enum Note {
    /// Everything up to here is on disk: `end` events, the cuts up to `cut`, in a log of `bytes`.
    Durable { end: Offset, cut: Option<Epoch>, bytes: u64 },
    /// Nothing more is acknowledged; the process must be ended.
    Failed(LogError),
}

/// The way in for HTTP and the generator. It exists before the log is open; until then it refuses.
#[derive(Clone)]
pub struct Ingest {}

/// The coordinator's way to the writer.
#[derive(Clone)]
pub struct Cutter {}

/// The writer's end of the queue.
pub struct Queue {}

/// At most `queue_max` submissions wait (INGEST_QUEUE_MAX), and `queue_bytes_max` of their bytes.
#[must_use]
pub fn queue(_queue_max: usize, _queue_bytes_max: usize) -> (Ingest, Cutter, Queue) {
    unimplemented!()
}

impl Ingest {
    /// Waits until the events are on disk.
    ///
    /// # Errors
    /// The reason why nothing of it was taken.
    pub async fn submit(&self, _submission: Submission) -> Result<Receipt, Refusal> {
        unimplemented!()
    }

    /// Refuses everything from now on with this reason, or with None nothing more. At first it is `Some(Refusal::Starting)`.
    pub fn gate(&self, _closed: Option<Refusal>) {
        unimplemented!()
    }

    /// Why submissions are refused now, if they are.
    #[must_use]
    pub fn gated(&self) -> Option<Refusal> {
        unimplemented!()
    }
}

impl Cutter {
    /// Has this cut logged with the next frame; a `Note::Durable` tells when it is on disk.
    pub fn cut(&self, _cut: Cut) {
        unimplemented!()
    }

    /// Deletes what `Log::retain` may.
    pub fn retain(&self, _needed_from: Offset, _keep_since: Option<Millis>) {
        unimplemented!()
    }

    /// Writes what still waits, then ends the thread.
    pub fn close(&self) {
        unimplemented!()
    }
}

/// Starts the writer's thread. `note` is called on it: after each sync and before the receipts are given out, so that whoever has a receipt finds
/// the ledger raised.
#[must_use]
pub fn spawn(
    _log: Log,
    _queue: Queue,
    _feed: FeedIn,
    _clock: Arc<dyn Clock>,
    _note: impl Fn(Note) + Send + 'static,
) -> JoinHandle<()> {
    unimplemented!()
}
