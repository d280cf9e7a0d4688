//! A new pipeline's past: what it makes of epochs that have gone by, by one worker in this thread, so that it goes on as if it had been there. It knows no
//! transport and no clock. What it would have emitted, and webhooks would have been sent, is left out.

pub mod error;
pub mod asked;
pub mod mark;
pub mod making;
pub mod fills;
pub mod thread;

use std::sync::Arc;

use crate::coordinator::backfill::error::{FillError, ReplayError};
use crate::coordinator::checkpoint::needed_from;
use crate::coordinator::gather::{InFlight, last_states};
use crate::core::columns::Slab;
use crate::core::dedup::IdMemory;
use crate::core::epoch::{Backfill, Cut};
use crate::core::ledger::Counts;
use crate::core::plan::Plan;
use crate::core::units::{Epoch, Generation, LogId, Offset};
use crate::log::{Access, Cuts, LogError, Reader};
use crate::store::{Commit, PastOf, Progress};
use crate::wire::{Message, Open, Past};
use crate::worker::state::{State as Worker, To};

pub use crate::coordinator::backfill::asked::Backfills;

/// What the loop is told of a past in the making.
#[derive(Debug)]
pub enum Note {
    /// It has come to the log's end: the pipeline can become the job's.
    Near,
    /// The pipeline's state after the epoch that was asked for; what it published is stored.
    Done(Past),
    /// What was stored is taken out again.
    Forgotten,
    Failed(FillError),
}

/// How the worker that makes a past keeps ids.
pub struct Keeps {
    /// As the job's workers have it.
    pub id_key: u64,
    /// Where those of one that is called like this lie.
    pub ids: Box<dyn Fn(&str) -> IdMemory + Send + Sync>,
}

impl Keeps {
    /// A worker alone, of which no checkpoint is taken. No two that live at once are called the same.
    #[must_use]
    pub fn worker(&self, plan: &Arc<Plan>, whose: &str) -> Worker {
        let id_key = self.id_key;
        let open = Open { worker: 0, workers: 1, bundle: String::new(), id_key, batch: false, sealing: None };
        Worker::new(&open, Arc::clone(plan)).without_checkpoints((self.ids)(whose))
    }
}

/// Makes a past, epoch by epoch.
pub struct Filling {
    plan: Arc<Plan>,
    /// Its place in the plan.
    pipeline: usize,
    worker: Worker,
    log: LogId,
    generation: Generation,
    /// The last epoch, and its end.
    at: (Epoch, Offset),
}

impl Filling {
    #[must_use]
    pub fn new(plan: Arc<Plan>, keeps: &Keeps, (log, generation): (LogId, Generation), backfill: Backfill) -> Self {
        let worker = keeps.worker(&plan, "a-past").alone(backfill.pipeline, backfill.after);
        Self { plan, pipeline: backfill.pipeline, worker, log, generation, at: (backfill.after, backfill.from) }
    }

    /// The last epoch that was made, and its end.
    #[must_use]
    pub fn at(&self) -> (Epoch, Offset) {
        self.at
    }

    /// The next epoch, which has these slabs: what it changes in the store, as long as that has not come beyond `last`.
    ///
    /// # Errors
    /// If remembered ids cannot be had, or the worker says what no worker of this build says.
    pub fn epoch(&mut self, cut: Cut, slabs: &[Slab], last: Epoch) -> Result<Commit, ReplayError> {
        let base = self.at.1;
        for slab in slabs {
            self.worker.step(To::Coordinator, Message::Slab(slab.into()));
        }
        let mut epoch = InFlight::new(cut, base, 1);
        let end = Message::EndEpoch { cut: cut.into(), base: base.0, checkpoint: None };
        for (_, message) in self.worker.step(To::Coordinator, end) {
            if let Message::Report(report) = message {
                epoch.take(0, *report);
            }
        }
        if let Some(fault) = self.worker.fault() {
            return Err(fault.clone().into());
        }
        assert!(epoch.complete(), "a worker alone reports at the end of the epoch");
        let results = epoch.results()?;
        let before = self.at.0;
        self.at = (cut.epoch, cut.end);
        let (log, generation) = (self.log, self.generation);
        let to = Progress { log, generation, epoch: cut.epoch, end: cut.end, counts: Counts::default() };
        Ok(Commit {
            rows: results.rows,
            removed: results.removed,
            views: results.views,
            history: results.history,
            alerts: last_states(results.alerts),
            events: results.events,
            lineage: results.lineage,
            plan: Some(Arc::clone(&self.plan)),
            past: Some(PastOf { pipeline: self.plan.pipeline_name(self.pipeline).to_owned(), last }),
            ..Commit::new(Some(before), to)
        })
    }

    /// The pipeline's state after the last epoch.
    #[must_use]
    pub fn past(&self) -> Past {
        self.worker.past()
    }
}

/// The log's epochs from some epoch on, as they were cut.
pub struct Epochs {
    cuts: Cuts,
    slabs: Reader,
    /// Read, and of a later epoch.
    next: Option<Slab>,
    at: Epoch,
}

impl Epochs {
    #[must_use]
    pub fn new(access: &Access, backfill: Backfill) -> Self {
        let cuts = access.cuts(needed_from(backfill.from).max(access.begin()));
        Self { cuts, slabs: access.reader(backfill.from), next: None, at: backfill.after }
    }

    /// The next epoch; None where the log, as far as it is on disk, has no further one.
    ///
    /// # Errors
    /// As the log's readers say.
    pub fn next_epoch(&mut self) -> Result<Option<(Cut, Vec<Slab>)>, ReplayError> {
        while let Some(cut) = self.cuts.next_cut()? {
            if cut.epoch <= self.at {
                continue;
            }
            if cut.epoch != self.at.next() {
                return Err(
                    LogError::Mismatch(format!("the cut of epoch {} is no longer retained", self.at.next())).into()
                );
            }
            self.at = cut.epoch;
            let mut slabs = Vec::new();
            while let Some(slab) = self.next_slab()? {
                if slab.first_offset >= cut.end {
                    self.next = Some(slab);
                    break;
                }
                let is_last = slab.end() == cut.end;
                slabs.push(slab);
                if is_last {
                    break;
                }
            }
            return Ok(Some((cut, slabs)));
        }
        Ok(None)
    }

    fn next_slab(&mut self) -> Result<Option<Slab>, ReplayError> {
        match self.next.take() {
            Some(slab) => Ok(Some(slab)),
            None => Ok(self.slabs.next_slab()?),
        }
    }
}
