//! The seam beneath sealed ids: where the bytes of runs lie. `worker::scratch` has them in files. What lies there is no truth: it is gone with
//! the worker, and a worker that starts is told all ids by a checkpoint and the log.

use std::collections::BTreeMap;
use std::fmt;

/// One of a worker's runs; never used again for another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct RunId(pub u64);

/// Why sealed ids cannot be had. After it no id can be judged any more: the worker ends, and the job starts again.
#[derive(Clone, Debug, thiserror::Error)]
pub enum RunsError {
    /// As whoever keeps them says, with the place.
    #[error("remembered ids beyond IDS_IN_MEMORY_MAX cannot be kept: {0}")]
    Unusable(String),
    #[error("run {} of remembered ids is damaged: it is not what was written to it", .0.0)]
    Damaged(RunId),
}

/// Where the runs of one worker lie.
pub trait Runs: fmt::Debug + Send {
    /// Begins a run, empty.
    ///
    /// # Errors
    /// If there is no room or the place fails; likewise below.
    fn begin(&mut self) -> Result<RunId, RunsError>;
    /// Appends to a run.
    fn append(&mut self, run: RunId, bytes: &[u8]) -> Result<(), RunsError>;
    /// Fills `into` with what was written at this byte of the run; more than was written is an error.
    fn read(&self, run: RunId, at: u64, into: &mut [u8]) -> Result<(), RunsError>;
    /// Ends a run, which nobody reads any more.
    fn remove(&mut self, run: RunId) -> Result<(), RunsError>;
}

/// In memory: where nothing is sealed, and for tests.
#[derive(Debug, Default)]
pub struct MemoryRuns {
    runs: BTreeMap<RunId, Vec<u8>>,
    begun: u64,
}

impl MemoryRuns {
    /// What lies in all runs.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.runs.values().map(Vec::len).sum()
    }
}

fn unknown(run: RunId) -> RunsError {
    RunsError::Unusable(format!("there is no run {}", run.0))
}

impl Runs for MemoryRuns {
    fn begin(&mut self) -> Result<RunId, RunsError> {
        self.begun += 1;
        self.runs.insert(RunId(self.begun), Vec::new());
        Ok(RunId(self.begun))
    }

    fn append(&mut self, run: RunId, bytes: &[u8]) -> Result<(), RunsError> {
        self.runs.get_mut(&run).ok_or_else(|| unknown(run))?.extend_from_slice(bytes);
        Ok(())
    }

    fn read(&self, run: RunId, at: u64, into: &mut [u8]) -> Result<(), RunsError> {
        let bytes = self.runs.get(&run).ok_or_else(|| unknown(run))?;
        let bytes = bytes.get(at as usize..at as usize + into.len()).ok_or(RunsError::Damaged(run))?;
        into.copy_from_slice(bytes);
        Ok(())
    }

    fn remove(&mut self, run: RunId) -> Result<(), RunsError> {
        self.runs.remove(&run).map(drop).ok_or_else(|| unknown(run))
    }
}
