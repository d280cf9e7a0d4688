//! A job's data directory: locked by the one process that may write to it.

use std::fs::{self, File, TryLockError};
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use crate::cli::exit::{Exit, Failure};
use crate::coordinator::backfill::mark::Mark;
use crate::core::units::LogId;

/// A directory that another process holds for longer than this is that process's.
const LOCK_WAIT_MAX: Duration = Duration::from_secs(3);
const LOCK_RETRY: Duration = Duration::from_millis(50);

/// What to do where another job has it.
pub const TWO_JOBS: &str = "stop that one, or give this one a directory of its own";

/// Held for as long as the process uses the directory.
pub struct DataDir {
    path: PathBuf,
    _lock: File,
}

impl DataDir {
    /// Makes the directory if it is missing, and locks it. `cure` is what to do where another job has it.
    ///
    /// # Errors
    /// 78 if another job has it, or if it cannot be made or written; 74 if it cannot be locked.
    pub fn lock(path: &Path, cure: &str) -> Result<Self, Failure> {
        let log = path.join("log");
        let refuse = |what: &str, e: io::Error| {
            let path = path.display();
            Failure::new(
                Exit::Config,
                format!("DATA_DIR {path} cannot be {what}: {e}; name a directory that this user may write to"),
            )
        };
        fs::create_dir_all(&log).map_err(|e| refuse("made", e))?;
        let lock = File::options().create(true).truncate(false).write(true).open(path.join("lock"));
        let lock = lock.map_err(|e| refuse("written", e))?;
        match lock_in_time(&lock) {
            Ok(()) => Ok(Self { path: path.to_owned(), _lock: lock }),
            Err(TryLockError::WouldBlock) => {
                Err(Failure::new(Exit::Config, format!("DATA_DIR {} is in use by another job: {cure}", path.display())))
            }
            Err(TryLockError::Error(error)) => {
                Err(Failure::new(Exit::Damaged, format!("DATA_DIR {} cannot be locked: {error}", path.display())))
            }
        }
    }

    /// Where segments and checkpoints lie.
    #[must_use]
    pub fn log(&self) -> PathBuf {
        self.path.join("log")
    }

    /// Where the files lie by which events are found by their ids.
    #[must_use]
    pub fn index(&self) -> PathBuf {
        self.path.join("index")
    }

    /// Where workers keep what is of no use once they end.
    #[must_use]
    pub fn scratch(&self) -> PathBuf {
        self.path.join("scratch")
    }

    /// What names a pipeline's past of which the store may have a part.
    #[must_use]
    pub fn backfill_mark(&self) -> Mark {
        Mark(self.path.join("backfill"))
    }

    /// What is known of the job's newest starts.
    #[must_use]
    pub fn starts(&self) -> PathBuf {
        self.path.join("starts.json")
    }

    /// Where files with a line of each event and row lie.
    #[must_use]
    pub fn audit(&self) -> PathBuf {
        self.path.join("audit")
    }
}

/// A process that was killed keeps its lock until the kernel has ended it, which a sync under way holds up.
pub fn lock_in_time(lock: &File) -> Result<(), TryLockError> {
    let begun = Instant::now();
    loop {
        match lock.try_lock() {
            Err(TryLockError::WouldBlock) if begun.elapsed() < LOCK_WAIT_MAX => std::thread::sleep(LOCK_RETRY),
            result => return result,
        }
    }
}

/// The name of a new log.
///
/// # Errors
/// If the system has no randomness.
pub fn random_log_id() -> io::Result<LogId> {
    let mut bytes = [0; 16];
    getrandom::fill(&mut bytes)?;
    Ok(LogId(u128::from_le_bytes(bytes)))
}
