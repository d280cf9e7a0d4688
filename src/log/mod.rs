//! The durable record of everything that came in: segments of frames, a frame being one group commit. The truth; all else can be recomputed.
//!
//! It knows no thread and no clock: `ingest::writer` owns the one `Log` and calls `append`; readers read beside it.

pub mod disk;

use std::io;
use std::sync::Arc;

use crate::core::columns::Slab;
use crate::core::epoch::Cut;
use crate::core::units::{Generation, LogId, Millis, Offset};
use crate::log::disk::Disk;

/// What a frame holds, in order.
#[derive(Clone, Debug)]
pub enum Record {
    Slab(Slab),
    /// With `idle` it is a TIME record.
    Cut(Cut),
    Start(Start),
}

/// Begins a generation. A copy of the newest one stands at the head of every segment, so that deleting old segments loses nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Start {
    pub generation: Generation,
    /// The pipeline's and its schemas' text, as `pipeline::Bundle` writes it.
    pub bundle: String,
}

#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// A segment's size; a frame larger than that gets a segment of its own size.
    pub segment_bytes: u64,
    /// Segments of more than this in all: `append` refuses slabs with `LogError::Full` (cuts and starts still go in).
    pub bytes_max: u64,
    /// Free space on the disk below which `append` refuses slabs with `LogError::DiskFull`.
    pub low_water_bytes: u64,
}

/// What the log is known to hold from elsewhere: where the store says that events were committed.
#[derive(Clone, Copy, Debug)]
pub struct Proof {
    pub log: LogId,
    pub end: Offset,
}

#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// Exit 74: never a silent gap.
    #[error("the log is damaged: {file} at byte {at}: {why}; restore DATA_DIR from a copy, nothing was changed")]
    Damaged { file: String, at: u64, why: String },
    /// Exit 78.
    #[error("the log does not fit: {0}")]
    Mismatch(String),
    /// Nothing of it was written; may be tried again.
    #[error("the log has reached LOG_BYTES_MAX")]
    Full,
    /// Nothing of it was written; may be tried again.
    #[error("the disk is nearly full")]
    DiskFull,
    /// After this nothing is known of what is on the disk: acknowledge nothing, abort. Exit 74.
    #[error("{file}: {error}")]
    Io { file: String, error: io::Error },
}

/// What opening found.
#[derive(Debug)]
pub struct Recovered {
    pub id: LogId,
    /// The newest START; None in a new log.
    pub start: Option<Start>,
    /// The first offset that is still retained.
    pub begin: Offset,
    /// The number of events ever appended.
    pub end: Offset,
    /// All cuts in the verified part (from the segment that holds `verify_from` on), in order.
    pub cuts: Vec<Cut>,
    /// The newest `ingest` of any frame.
    pub ingest: Millis,
    /// Bytes cut off the tail because they were never acknowledged.
    pub truncated_bytes: u64,
}

/// The one writer of a log.
pub struct Log {}

/// Where an appended frame stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Appended {
    /// After it, the number of events in the log.
    pub end: Offset,
    pub bytes: u64,
}

impl Log {
    /// Opens the log, or makes a new one with the id `new_id` where the directory has none. Recovers as `reliability.md` says. Segments before the one
    /// that holds `verify_from` are only looked at by their headers.
    ///
    /// # Errors
    /// `Damaged`, `Mismatch` (the proof is of another log, or lies before `begin` or after the end), `Io`.
    pub fn open(
        _disk: Arc<dyn Disk>,
        _options: Options,
        _new_id: LogId,
        _proof: Option<Proof>,
        _verify_from: Offset,
    ) -> Result<(Self, Recovered), LogError> {
        unimplemented!()
    }

    /// Writes the records as one frame and syncs it: when it returns, they are on disk, whole. A slab's `first_offset` must follow on.
    ///
    /// # Errors
    /// `Full`, `DiskFull`: nothing happened. `Io`: abort the process.
    pub fn append(&mut self, _records: &[Record], _ingest: Millis) -> Result<Appended, LogError> {
        unimplemented!()
    }

    /// Reads from the segment that holds `from`, beside the writer, up to what has been appended so far.
    #[must_use]
    pub fn reader(&self, _from: Offset) -> Reader {
        unimplemented!()
    }

    /// Deletes whole segments whose events all lie before `needed_from` and, if `keep_since` is given, whose last frame was taken in before it.
    ///
    /// # Errors
    /// `Io`.
    pub fn retain(&mut self, _needed_from: Offset, _keep_since: Option<Millis>) -> Result<(), LogError> {
        unimplemented!()
    }

    /// Bytes of all segments.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        unimplemented!()
    }

    #[must_use]
    pub fn begin(&self) -> Offset {
        unimplemented!()
    }

    #[must_use]
    pub fn end(&self) -> Offset {
        unimplemented!()
    }
}

/// Reads slabs in order. It is Send, and holds no lock on the writer.
pub struct Reader {}

impl Reader {
    /// The next slab with events from `from` on; None where the log, as appended so far, ends. A later call sees what was appended since.
    ///
    /// # Errors
    /// `Damaged`, `Io`; `Mismatch` where the offset is no longer retained.
    pub fn next_slab(&mut self) -> Result<Option<Slab>, LogError> {
        unimplemented!()
    }
}
