//! From the log to the coordinator: slabs in the log's order. What waits for credit waits in the log, not in memory: up to `FEED_BYTES_MAX` are
//! kept, older ones are read back from the disk.

use tokio::sync::oneshot;

use crate::core::columns::Slab;
use crate::core::units::Offset;
use crate::ingest::Fate;
use crate::log::{LogError, Reader};

/// Newest slabs kept in memory.
pub const FEED_BYTES_MAX: usize = 32 << 20;

/// A request that waits for its events' fates (`?ack=applied`).
#[derive(Debug)]
pub struct Waiting {
    pub first: Offset,
    pub count: u32,
    pub to: oneshot::Sender<Vec<Fate>>,
}

/// The coordinator's end.
pub struct Feed {}

/// The writer's end.
#[derive(Clone)]
pub struct FeedIn {}

/// A feed whose first slab is the one that holds `from`; the reader stands there too, and reads what the writer's end has not been given
/// (the log as it was found at the start) or has dropped.
#[must_use]
pub fn feed(_reader: Reader, _from: Offset) -> (FeedIn, Feed) {
    unimplemented!()
}

impl FeedIn {
    /// Slabs that are on disk now, in order, and the requests that wait for them.
    pub fn push(&self, _slabs: Vec<Slab>, _waiting: Vec<Waiting>) {
        unimplemented!()
    }
}

impl Feed {
    /// The next slab, if the log has one.
    ///
    /// # Errors
    /// As the log's reader says.
    pub fn next(&mut self) -> Result<Option<Slab>, LogError> {
        unimplemented!()
    }

    /// Requests that wait for events of slabs given out or still to come; each once, before or with its first slab.
    pub fn waiting(&mut self) -> Vec<Waiting> {
        unimplemented!()
    }
}
