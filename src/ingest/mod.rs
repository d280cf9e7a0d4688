//! From bytes of a request to slabs in the log: admission, limits, line cutting, the writer thread with its group commit, and the feed
//! from which the coordinator takes slabs in the log's order.

pub mod lines;
pub mod queue;
mod gather;
pub mod owed;
mod slabs;
mod frame;
pub mod writer;
pub mod feed;
pub mod letters;
pub mod keys;

use bytes::Bytes;
use tokio::sync::oneshot;

use crate::core::columns::Reason;
use crate::core::row::DeadLetter;
use crate::core::trace::Trace;
use crate::core::units::{Offset, TopicId};
use crate::ingest::letters::Claim;

/// Events cut from one request body, on their way to the writer thread. They go into one frame: all or none of them are accepted.
#[derive(Debug)]
pub struct Submission {
    /// None: mixed.
    pub topic: Option<TopicId>,
    /// The lines, each ended by one `\n`; no blank ones.
    pub lines: Bytes,
    pub count: u32,
    /// Answered with the events' fates, in input order, once their epoch is committed (`?ack=applied`). It travels with the slab to the coordinator.
    pub applied: Option<oneshot::Sender<Vec<Fate>>>,
    /// Each line is the retry of the dead letter that was claimed in its place.
    pub retries: Option<Claim>,
    pub kept: Kept,
}

/// What of a request is kept in the log beside its events.
#[derive(Debug, Default)]
pub struct Kept {
    /// It is answered once under this key.
    pub key: Option<keys::Claim>,
    pub trace: Option<Trace>,
}

/// What became of one event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fate {
    pub offset: Offset,
    pub status: FateStatus,
    /// Of an invalid or late one: the reason's name and its detail.
    pub reason: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FateStatus {
    Counted,
    Duplicate,
    Filtered,
    Invalid,
    Late,
}

/// What an acknowledgement says: these offsets are on disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Receipt {
    pub first: Offset,
    pub count: u32,
}

/// Why events were not taken; nothing of the request is in the log. All may be tried again: 503 with Retry-After.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    #[error("the job is starting: its log is being replayed")]
    Starting,
    #[error("the job is draining before it stops")]
    Draining,
    #[error(
        "the log has reached LOG_BYTES_MAX: results are not stored as fast as events come; it heals when the store catches up"
    )]
    LogFull,
    #[error("the disk under DATA_DIR is nearly full; it heals when there is room")]
    DiskFull,
    #[error("IDS_MAX ids are remembered; it heals as they expire: raise IDS_MAX or shorten dedup.remember")]
    IdsFull,
    #[error("more requests are waiting than INGEST_QUEUE_MAX")]
    Busy,
}

impl Fate {
    #[must_use]
    pub fn counted(offset: Offset) -> Self {
        Self { offset, status: FateStatus::Counted, reason: None }
    }

    #[must_use]
    pub fn duplicate(offset: Offset) -> Self {
        Self { offset, status: FateStatus::Duplicate, reason: None }
    }

    #[must_use]
    pub fn filtered(offset: Offset) -> Self {
        Self { offset, status: FateStatus::Filtered, reason: None }
    }

    /// Of an event that became a dead letter.
    #[must_use]
    pub fn of(letter: &DeadLetter) -> Self {
        let status = if letter.reason == Reason::Late { FateStatus::Late } else { FateStatus::Invalid };
        Self { offset: letter.offset, status, reason: Some(format!("{}: {}", letter.reason.name(), letter.detail)) }
    }
}
