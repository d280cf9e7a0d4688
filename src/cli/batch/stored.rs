//! `--store`: the results of a batch go to the store that the `DB_…` variables name. It is the batch's own: its progress bears the batch's name.

use std::sync::Arc;

use crate::cli::exit::{Exit, Failure};
use crate::cli::failures::store_failure;
use crate::coordinator::batch::keep::Stand;
use crate::coordinator::gather::Results;
use crate::core::identity::digest_of_all;
use crate::core::ledger::Counts;
use crate::core::plan::Plan;
use crate::core::row::{ViewRow, WindowRow};
use crate::core::units::{Epoch, Generation, LogId, Offset};
use crate::store::target::Target;
use crate::store::{Commit, Progress, Store, StoreError};

/// Rows of one transaction: they fall all over the store's indexes, of which each transaction writes what it touches.
const COMMIT_ROWS: usize = 50_000;

pub struct Stored {
    store: Box<dyn Store>,
    /// What the store has, and what it would have if it has nothing yet.
    has_some: bool,
    at: Progress,
    counts: Counts,
    rows: Vec<WindowRow>,
    views: Vec<ViewRow>,
}

impl Stored {
    /// # Errors
    /// 69 if the store is away, 78 if it holds the results of a log or of another batch.
    pub fn open(target: &Target, plan: &Arc<Plan>, batch: u128, begun: Option<&Stand>) -> Result<Self, Failure> {
        let failed = |error| store_failure(&error);
        let mut store = target.store(plan).map_err(failed)?;
        let found = store.progress().map_err(failed)?;
        if let Some(other) = found.filter(|found| found.log != LogId(batch)) {
            let why = format!(
                "the store holds the results of log {}, not of this batch (the same pipelines, files and limit): name a store of its own in DB_NAME or DATA_DIR",
                other.log
            );
            return Err(Failure::new(Exit::Config, why));
        }
        let generation = Generation(found.map_or(0, |found| found.generation.0) + 1);
        store.claim(generation).map_err(failed)?;
        let counts = begun.map(Stand::counts).unwrap_or_default();
        let nothing =
            Progress { log: LogId(batch), generation, epoch: Epoch(0), end: Offset(0), counts: Counts::default() };
        let at = Progress { generation, ..found.unwrap_or(nothing) };
        Ok(Self { store, has_some: found.is_some(), at, counts, rows: Vec::new(), views: Vec::new() })
    }

    /// Takes a round's results. Refused events are stored at once.
    ///
    /// # Errors
    /// As the store says.
    pub fn take(&mut self, results: Results) -> Result<(), StoreError> {
        self.counts += results.counts;
        self.rows.extend(results.rows);
        self.views.extend(results.views);
        if results.dead_letters.is_empty() {
            return Ok(());
        }
        let mut commit = self.next();
        commit.dead_letters = results.dead_letters;
        self.commit(&commit)
    }

    /// Stores the rest; gives the counts and a digest of all rows.
    ///
    /// # Errors
    /// As `open`.
    pub fn finish(mut self) -> Result<(Counts, u64), Failure> {
        let digest = digest_of_all(self.rows.iter());
        self.store_rest().map_err(|error| store_failure(&error))?;
        Ok((self.counts, digest))
    }

    fn store_rest(&mut self) -> Result<(), StoreError> {
        let (mut rows, mut views) = (std::mem::take(&mut self.rows), std::mem::take(&mut self.views));
        rows.sort_unstable_by_key(|row| row.metric_id);
        while !(rows.is_empty() && views.is_empty()) {
            let mut commit = self.next();
            commit.rows = rows.split_off(rows.len().saturating_sub(COMMIT_ROWS));
            commit.views = views.split_off(views.len().saturating_sub(COMMIT_ROWS));
            self.commit(&commit)?;
        }
        let mut last = self.next();
        last.to.counts = self.counts;
        self.commit(&last)
    }

    fn next(&self) -> Commit {
        let to = Progress { epoch: self.at.epoch.next(), ..self.at };
        Commit::new(self.has_some.then_some(self.at.epoch), to)
    }

    fn commit(&mut self, commit: &Commit) -> Result<(), StoreError> {
        self.store.commit(commit)?;
        (self.at, self.has_some) = (commit.to, true);
        Ok(())
    }
}
