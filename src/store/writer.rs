//! The store's writer: takes every finished epoch that waits into one transaction, and finds out what happened when an answer is lost.

use std::thread::JoinHandle;

use crate::core::units::Generation;
use crate::store::{Commit, Progress, Store, StoreError};

/// What the writer tells the coordinator.
#[derive(Debug)]
pub enum Note {
    /// Everything up to here is in the store.
    Committed(Progress),
    /// It is away and is tried again; the first failure since the last commit says so.
    Away(String),
    /// It cannot go on: fenced, another log's store, broken.
    Failed(StoreError),
}

/// Commits in order, handed over by the coordinator. What may wait is bounded by the coordinator.
#[derive(Clone)]
pub struct Commits {}

impl Commits {
    pub fn push(&self, _commit: Commit) {
        unimplemented!()
    }

    /// Commits what waits, then ends the thread.
    pub fn close(&self) {
        unimplemented!()
    }
}

/// Several consecutive commits as one: the last state of each row, all dead letters and events.
///
/// # Panics
/// If they are none, or not consecutive.
#[must_use]
pub fn merge(_commits: Vec<Commit>) -> Commit {
    unimplemented!()
}

/// Commits this, whatever it takes: after `Unavailable` or `Indeterminate` it claims again and compares progress before it tries again. Gives the
/// time to wait before another call where the store is away.
///
/// # Errors
/// What cannot be mended by trying again.
pub fn commit_once(_store: &mut dyn Store, _mine: Generation, _commit: &Commit) -> Result<Outcome, StoreError> {
    unimplemented!()
}

/// How one try ended.
#[derive(Debug, PartialEq, Eq)]
pub enum Outcome {
    Committed,
    /// Try again later.
    Away(String),
}

/// Starts the writer's thread. It opens its connection by `open`, again after each loss.
#[must_use]
pub fn spawn(
    _open: impl Fn() -> Result<Box<dyn Store>, StoreError> + Send + 'static,
    _mine: Generation,
    _note: impl Fn(Note) + Send + 'static,
) -> (Commits, JoinHandle<()>) {
    unimplemented!()
}
