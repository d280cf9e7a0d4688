//! With which exit code a job ends for what went wrong in it.

use crate::cli::exit::{Exit, Failure};
use crate::coordinator::backfill::error::{FillError, ReplayError};
use crate::coordinator::run::RunError;
use crate::log::LogError;
use crate::store::StoreError;

pub fn log_failure(error: LogError) -> Failure {
    let exit = match error {
        LogError::Mismatch(_) => Exit::Config,
        LogError::Damaged { .. } | LogError::Io { .. } => Exit::Damaged,
        LogError::Full | LogError::DiskFull | LogError::Unproven { .. } => Exit::TryAgain,
    };
    Failure::new(exit, error)
}

pub fn store_failure(error: &StoreError) -> Failure {
    let exit = match error {
        StoreError::Unavailable(_) | StoreError::Indeterminate(_) => Exit::Unavailable,
        StoreError::Fenced { .. } => Exit::Fenced,
        StoreError::Mismatch(_) => Exit::Config,
        StoreError::Broken(_) => Exit::Damaged,
    };
    Failure::new(exit, error)
}

pub fn fill_failure(error: FillError) -> Failure {
    match error {
        FillError::Replay(error) => replay_failure(error),
        FillError::Store(error) => store_failure(&error),
        FillError::Left(_) => Failure::new(Exit::Config, error),
        FillError::Mark { .. } => Failure::new(Exit::Damaged, error),
        FillError::Thread(_) => Failure::new(Exit::TryAgain, error),
    }
}

/// A replay of the log ends early.
pub fn replay_failure(error: ReplayError) -> Failure {
    match error {
        ReplayError::Log(error) => log_failure(error),
        // The next start takes up what it can read then.
        ReplayError::Wire(_) | ReplayError::Ids(_) | ReplayError::Checkpoint(_) => Failure::new(Exit::TryAgain, error),
    }
}

pub fn run_failure(error: RunError) -> Failure {
    match error {
        RunError::Backfill(error) => fill_failure(error),
        RunError::Log(error) => log_failure(error),
        RunError::Store(error) => store_failure(&error),
        RunError::Transport(_) | RunError::Wire(_) => Failure::new(Exit::TryAgain, error),
    }
}
