//! What the log cannot do, and what that means for who asked.

use std::io;

use crate::log::disk::Disk;

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
    /// Nothing was changed; may be tried again when the store is back.
    #[error("{file} has a torn tail, and the store, which knows whether it was committed, is away")]
    Unproven { file: String },
    /// After this nothing is known of what is on the disk: acknowledge nothing, abort. Exit 74.
    #[error("{file}: {error}")]
    Io { file: String, error: io::Error },
}

impl LogError {
    pub(super) fn io(disk: &dyn Disk, name: &str, error: io::Error) -> Self {
        Self::Io { file: disk.path(name), error }
    }

    /// Of a file that could not be made: for want of space nothing is lost by it.
    pub(super) fn of_create(disk: &dyn Disk, name: &str, error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Self::DiskFull,
            _ => Self::io(disk, name, error),
        }
    }

    pub(super) fn damaged(disk: &dyn Disk, name: &str, at: u64, why: &str) -> Self {
        Self::Damaged { file: disk.path(name), at, why: why.to_owned() }
    }
}
