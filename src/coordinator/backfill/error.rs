//! Why the log's past cannot be gone through again.

use std::io;
use std::path::PathBuf;

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
    #[error("a thread cannot be started: {0}")]
    Thread(io::Error),
}
