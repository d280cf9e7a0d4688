//! Files of events, read for a batch: NDJSON and CSV, plain or compressed, and Parquet. It makes slabs of lines, as ingest does of bodies; it knows
//! no rank, no message and no pipeline beyond what a topic's fields are. `docs/batch.md` says what each format means.
//!
//! An input has *positions*: those of an NDJSON file are the bytes of its text (as inflated), those of a CSV or Parquet file its rows. What cannot be cut
//! without reading it from its beginning (CSV, and whatever is compressed) is read as a `Stream`; ranges of plain NDJSON and row groups of Parquet
//! are read by whoever they are given to.

mod format;
mod lines;
mod stream;
mod records;
mod cells;
mod parquet;

use std::io;
use std::os::unix::fs::MetadataExt;

use bytes::Bytes;

use crate::core::columns::{Numbering, Slab};
use crate::core::units::{Millis, Offset, TopicId};

pub use cells::Layout;
pub use format::{Compression, Format, Kind};
pub use lines::{lines_of, read_range};
pub use parquet::{Group, Groups, Table, groups, panics_are_caught};
pub use stream::{Piece, Stream};

/// An input file, as it was when the batch was planned.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Input {
    pub path: String,
    /// The topic of all its events; None: each names its own.
    pub topic: Option<TopicId>,
    pub kind: Kind,
    pub bytes: u64,
    /// When it was changed last: seconds and nanoseconds of Unix time.
    pub modified: (i64, i64),
}

/// Why an input cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum InputError {
    #[error("{path}: {error}")]
    Io { path: String, error: io::Error },
    /// What is there is not what its format asks for.
    #[error("{path}: {why}")]
    Unreadable { path: String, why: String },
    #[error(
        "{path} was changed while it was read: nothing that was made of it can be trusted; run the batch again when it is whole"
    )]
    Changed { path: String },
}

/// Whole records of one file, each with its line end, but perhaps the file's last.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Records {
    pub text: Bytes,
    /// How many are no blank lines.
    pub count: u32,
    /// The only record, and why it is none.
    pub refused: Option<String>,
}

/// Lines to be decoded, and what is known of some before.
#[derive(Debug)]
pub struct Lines {
    pub slab: Slab,
    /// Rows that are no events, by their place in the slab, and why. Their lines are no objects.
    pub refused: Vec<(u32, String)>,
}

impl Input {
    /// # Errors
    /// If the file is not there, or not a file.
    pub fn of(path: &str, topic: Option<TopicId>, kind: Kind) -> Result<Self, InputError> {
        let facts = std::fs::metadata(path).map_err(|error| InputError::Io { path: path.to_owned(), error })?;
        if !facts.is_file() {
            let why = "it is no regular file: pipes and folders are not read".to_owned();
            return Err(InputError::Unreadable { path: path.to_owned(), why });
        }
        let modified = (facts.mtime(), facts.mtime_nsec());
        Ok(Self { path: path.to_owned(), topic, kind, bytes: facts.len(), modified })
    }

    /// Whether the file is still as it was.
    ///
    /// # Errors
    /// `Changed`; `Io` where it cannot be asked.
    pub fn unchanged(&self) -> Result<(), InputError> {
        let now = Self::of(&self.path, self.topic, self.kind)?;
        if now == *self { Ok(()) } else { Err(InputError::Changed { path: self.path.clone() }) }
    }
}

/// A slab of lines whose first has this position.
fn slab(position: Offset, topic: Option<TopicId>, bytes: impl Into<Bytes>, numbering: Numbering, count: u32) -> Slab {
    Slab { first_offset: position, count, ingest: Millis(0), topic, bytes: bytes.into(), numbering }
}
