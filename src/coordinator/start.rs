//! Where a life of the job begins, from three facts: how far the store has come, which checkpoint is on disk, what the log holds.
//!
//! It reads checkpoints through the Disk seam and decides the rest purely; it knows no transport, no store's connection and no clock. The order is
//! the store's progress (while it is away, the one that the newest checkpoint tells), then `prepare`, then `Log::open` with what that says, then `Prepared::begin`.

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;

use crate::coordinator::change::Change;
use crate::coordinator::checkpoint::{Checkpoint, Checkpoints, needed_from};
use crate::coordinator::state::Beginning;
use crate::core::epoch::Cut;
use crate::core::keyed::Logged;
use crate::core::ledger::Counts;
use crate::core::plan::Plan;
use crate::core::units::{Epoch, Generation, LogId, Millis, Offset};
use crate::log::disk::Disk;
use crate::log::{Proof, Recovered};
use crate::store::Progress;

/// Why the job must not start on what it found. Exit 78.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StartError {
    #[error(
        "the store holds the results of log {store}, but DATA_DIR holds log {log}: name the store and the DATA_DIR that belong together"
    )]
    OtherLog { store: LogId, log: LogId },
    #[error(
        "the store has the results of {stored} events up to epoch {epoch}, which the log does not hold (it ends with {end} events, epoch {last}): \
         DATA_DIR is older than the store; restore the newest copy of it"
    )]
    Ahead { stored: Offset, epoch: Epoch, end: Offset, last: Epoch },
    #[error(
        "the store's epoch {epoch} ended with {stored} events, the log's with {logged}: they do not belong together"
    )]
    Different { epoch: Epoch, stored: Offset, logged: Offset },
    #[error(
        "the store stands at epoch {epoch}, and had come to {least} before it was away: if it is the right one, start again, and what it lacks is replayed"
    )]
    Behind { epoch: Epoch, least: Epoch },
    #[error(
        "the store needs the log from event {needed} (epoch {epoch}) on, but it is retained only from event {begin}: name the store that belongs to it, \
         or begin with a new DATA_DIR and an empty store"
    )]
    Gone { needed: Offset, epoch: Epoch, begin: Offset },
}

/// Whether a store that was away at the start, and is met now, is the one that this life began with: it has at least what was known of it.
///
/// # Errors
/// If it is not.
pub fn meets(recovered: &Recovered, began: &Beginning, stored: Option<&Progress>) -> Result<(), StartError> {
    let least = began.progress;
    match stored {
        Some(stored) if stored.epoch >= least.epoch => check(recovered, stored, began.checkpoint),
        _ if !began.stored => Ok(()),
        _ => Err(StartError::Behind { epoch: stored.map_or(Epoch(0), |s| s.epoch), least: least.epoch }),
    }
}

/// What is known before the log is open.
pub struct Prepared {
    disk: Arc<dyn Disk>,
    progress: Option<Progress>,
    /// With the log's name known from the store.
    found: Option<(Checkpoints, Option<Checkpoint>)>,
}

/// Everything that a life begins with.
pub struct Start {
    /// For the START record, which must be on disk before anything else is written under this generation.
    pub generation: Generation,
    pub beginning: Beginning,
    /// The bundle that holds where the life begins; None: the log has none yet.
    pub bundle: Option<Arc<str>>,
    /// The log's changes of it from there on, each with the epoch after which it holds; `beginning.changes` has them when they are planned.
    pub changes: Vec<(Epoch, Arc<str>)>,
    /// What the workers are given of it, between `Open` and `Begin`; None: they begin with nothing.
    pub checkpoint: Option<Checkpoint>,
    /// Where the checkpoints to come are written.
    pub checkpoints: Checkpoints,
    /// Requests that came with an Idempotency-Key, in the order of the log, some of them perhaps twice.
    pub keys: Vec<Logged>,
    /// Time the job was up and willing to take events in the lives before: what this life's up time is added to.
    pub up: Millis,
    /// The first slab to read is the one that holds this offset.
    pub read_from: Offset,
}

/// Takes up the newest checkpoint that the store has come past. `disk` is the checkpoints' directory.
///
/// # Errors
/// If the directory cannot be listed.
pub fn prepare(disk: Arc<dyn Disk>, progress: Option<Progress>) -> io::Result<Prepared> {
    let Some(stored) = progress else {
        // Without results every epoch must be written: nothing can be left out of the replay.
        return Ok(Prepared { disk, progress, found: None });
    };
    let mut checkpoints = Checkpoints::new(disk.clone(), stored.log);
    let checkpoint = checkpoints.load(stored.epoch)?;
    Ok(Prepared { disk, progress, found: Some((checkpoints, checkpoint)) })
}

/// Takes up the oldest checkpoint, for whoever replays as much as the log has.
///
/// # Errors
/// If the directory cannot be listed.
pub fn prepare_oldest(disk: Arc<dyn Disk>, progress: Progress) -> io::Result<Prepared> {
    let checkpoints = Checkpoints::new(disk.clone(), progress.log);
    let checkpoint = checkpoints.oldest()?;
    Ok(Prepared { disk, progress: Some(progress), found: Some((checkpoints, checkpoint)) })
}

impl Start {
    /// Plans the bundle that holds where the life begins, and the changes that the replay meets; gives the first plan. `own` is the bundle of a log
    /// that has none yet.
    ///
    /// # Errors
    /// What `plan` says.
    pub fn plan<E>(&mut self, own: &str, plan: impl Fn(&Arc<str>) -> Result<Change, E>) -> Result<Arc<Plan>, E> {
        let bundle = self.bundle.get_or_insert_with(|| Arc::from(own));
        self.beginning.bundle = Arc::clone(bundle);
        let first = plan(bundle)?.plan;
        for (epoch, bundle) in &self.changes {
            self.beginning.changes.push_back((*epoch, plan(bundle)?));
        }
        Ok(first)
    }

    /// The bundle that holds when the log has been replayed.
    #[must_use]
    pub fn in_force(&self) -> Option<&Arc<str>> {
        self.changes.last().map(|(_, bundle)| bundle).or(self.bundle.as_ref())
    }
}

impl Prepared {
    /// What `Log::open` is to hold against the log.
    #[must_use]
    pub fn proof(&self) -> Option<Proof> {
        self.progress.map(|p| Proof { log: p.log, end: p.end })
    }

    /// From where on the log must be verified and its cuts be known.
    #[must_use]
    pub fn verify_from(&self) -> Offset {
        self.checkpoint().map_or(Offset(0), |c| needed_from(c.at().1))
    }

    fn checkpoint(&self) -> Option<&Checkpoint> {
        self.found.as_ref()?.1.as_ref()
    }

    /// Puts the three together.
    ///
    /// # Errors
    /// If they do not belong together.
    pub fn begin(self, recovered: &Recovered) -> Result<Start, StartError> {
        let at = self.checkpoint().map_or((Epoch(0), Offset(0)), Checkpoint::at);
        let generation = Generation(recovered.start.as_ref().map_or(0, |s| s.generation.0) + 1);
        let nothing =
            Progress { log: recovered.id, generation, epoch: Epoch(0), end: Offset(0), counts: Counts::default() };
        let progress = Progress { generation, ..self.progress.unwrap_or(nothing) };
        check(recovered, &progress, at)?;
        let cuts: VecDeque<Cut> = recovered.cuts.iter().copied().filter(|c| c.epoch > at.0).collect();
        // Nothing is committed before what it emits is in the log.
        let emitted = recovered.emits.last().map_or(progress.epoch, |(epoch, _)| progress.epoch.max(*epoch));
        // Also what epochs before the checkpoint have emitted may lie behind it in the log.
        let emits = recovered.emits.iter().copied().filter(|(_, end)| *end > at.1).collect();
        let (checkpoints, checkpoint) = self.found.unwrap_or_else(|| (Checkpoints::new(self.disk, recovered.id), None));
        let bundle = checkpoint.as_ref().map(|c| Arc::from(c.bundle())).or_else(|| recovered.first_bundle.clone());
        let mut keys = checkpoint.as_ref().map(Checkpoint::keys).unwrap_or_default();
        keys.extend(recovered.keys.iter().cloned());
        let changes = recovered.changes.iter().filter(|(epoch, _)| *epoch > at.0).cloned().collect();
        Ok(Start {
            generation,
            beginning: Beginning {
                progress,
                stored: self.progress.is_some(),
                checkpoint: at,
                cuts,
                bundle: bundle.clone().unwrap_or_default(),
                changes: VecDeque::new(),
                emitted,
                emits,
                mends: recovered.mends.after(at.0, at.1),
                ingest: recovered.ingest,
                share: checkpoints.next_share(),
                totals: checkpoint.as_ref().map(Checkpoint::totals).unwrap_or_default(),
            },
            bundle,
            changes,
            checkpoint,
            checkpoints,
            keys,
            up: recovered.cuts.last().map_or(Millis(0), |c| c.up),
            read_from: at.1,
        })
    }
}

/// Whether the log has what follows on the checkpoint, and what the store says it has seen.
fn check(recovered: &Recovered, progress: &Progress, at: (Epoch, Offset)) -> Result<(), StartError> {
    if progress.log != recovered.id {
        return Err(StartError::OtherLog { store: progress.log, log: recovered.id });
    }
    let last = recovered.cuts.last().map_or(at.0, |c| c.epoch);
    if progress.end > recovered.end || progress.epoch > last {
        let (stored, epoch) = (progress.end, progress.epoch);
        return Err(StartError::Ahead { stored, epoch, end: recovered.end, last });
    }
    let first = recovered.cuts.iter().find(|c| c.epoch > at.0);
    if recovered.begin > at.1 || first.is_some_and(|c| c.epoch != at.0.next()) {
        return Err(StartError::Gone { needed: at.1, epoch: at.0.next(), begin: recovered.begin });
    }
    match recovered.cuts.iter().find(|c| c.epoch == progress.epoch) {
        Some(cut) if cut.end != progress.end => {
            Err(StartError::Different { epoch: progress.epoch, stored: progress.end, logged: cut.end })
        }
        _ => Ok(()),
    }
}
