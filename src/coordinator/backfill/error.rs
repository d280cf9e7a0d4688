//! Why the log's past cannot be gone through again.

use std::io;
use std::path::PathBuf;

use crate::core::dedup::runs::RunsError;
use crate::log::LogError;
use crate::store::StoreError;
use crate::wire::WireError;

/// Why a replay ends early.
#[derive(Debug, thiserror::Error)]
pub enum ReplayError {
    #[error(transparent)]
    Log(#[from] LogError),
    #[error(transparent)]
    Wire(#[from] WireError),
    #[error(transparent)]
    Ids(#[from] RunsError),
    #[error("a checkpoint that was whole can no longer be read: {0}")]
    Checkpoint(#[from] io::Error),
}

/// Why there is no past.
#[derive(Debug, thiserror::Error)]
pub enum FillError {
    #[error(transparent)]
    Replay(#[from] ReplayError),
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error("{}: {error}", .mark.display())]
    Mark { mark: PathBuf, error: io::Error },
    /// Rows that are to be taken out and rows that are to come would have one name.
    #[error(
        "a replay of {0:?} never came to its end: start once without --accept-changes, which takes out what it has left, and then with it"
    )]
    Left(String),
    #[error("a thread cannot be started: {0}")]
    Thread(io::Error),
}
