//! Pipelines that are to begin with the log's past: from whoever asks, to the loop that has them filled, and back how far that has come.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::oneshot;

use crate::coordinator::change::{Asked, Change};
use crate::core::units::{Epoch, Offset};

/// One at a time.
#[derive(Clone, Debug, Default)]
pub struct Backfills {
    shared: Arc<Mutex<Shared>>,
}

#[derive(Debug, Default)]
struct Shared {
    asked: Option<Asked>,
    now: Option<Backfilling>,
    cancelled: bool,
    /// The workers have its state.
    adopted: bool,
    /// Whoever serves knows the pipeline.
    shown: bool,
}

/// How far one has come.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Backfilling {
    pub pipeline: String,
    pub from: Offset,
    /// Events before it are in.
    pub at: Offset,
    pub state: Stand,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Stand {
    /// Beside the job, which goes on without the pipeline.
    Filling,
    /// The pipeline is the job's; what is left of its past comes before the next epoch.
    Joining,
    /// It came to nothing, and what it has stored is taken out.
    Leaving,
    /// It ended, and nothing of it is left.
    Failed(String),
}

impl Backfills {
    fn lock(&self) -> MutexGuard<'_, Shared> {
        // Values that are put and taken whole: a thread that died has harmed nothing.
        self.shared.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Hands one over; the answer is the epoch after which the pipeline is the job's, once that is on disk. It never comes where the backfill ends before.
    /// None while another one is under way.
    #[must_use]
    pub fn ask(&self, pipeline: &str, from: Offset, change: Change) -> Option<oneshot::Receiver<Epoch>> {
        let mut shared = self.lock();
        if shared.is_under_way() {
            return None;
        }
        let (durable, answer) = oneshot::channel();
        let now = Backfilling { pipeline: pipeline.to_owned(), from, at: from, state: Stand::Filling };
        *shared = Shared { asked: Some(Asked { change, durable }), now: Some(now), ..Shared::default() };
        Some(answer)
    }

    /// The one that is under way, or that failed last.
    #[must_use]
    pub fn now(&self) -> Option<Backfilling> {
        self.lock().now.clone()
    }

    /// The one that is under way.
    #[must_use]
    pub fn under_way(&self) -> Option<Backfilling> {
        self.now().filter(|now| !matches!(now.state, Stand::Failed(_)))
    }

    /// Ends this pipeline's before the pipeline is the job's; whether that can be done still.
    #[must_use]
    pub fn cancel(&self, pipeline: &str) -> bool {
        let mut shared = self.lock();
        let can = shared.now.as_ref().is_some_and(|now| now.pipeline == pipeline && now.state == Stand::Filling);
        shared.cancelled |= can;
        can
    }

    /// The log has this pipeline, and not all workers have its past yet.
    pub(super) fn logged(&self, pipeline: &str, from: Offset) {
        let now = Backfilling { pipeline: pipeline.to_owned(), from, at: from, state: Stand::Joining };
        *self.lock() = Shared { now: Some(now), shown: true, ..Shared::default() };
    }

    /// What this pipeline has stored is taken out.
    pub(super) fn leaving(&self, pipeline: &str) {
        let mut shared = self.lock();
        shared.asked = None;
        let from = Offset(0);
        let now = Backfilling { pipeline: pipeline.to_owned(), from, at: from, state: Stand::Leaving };
        shared.now.get_or_insert(now).state = Stand::Leaving;
    }

    pub(super) fn take(&self) -> Option<Asked> {
        self.lock().asked.take()
    }

    /// Whether it was ended before it was the job's.
    #[must_use]
    pub fn is_cancelled(&self) -> bool {
        self.lock().cancelled
    }

    pub(super) fn came_to(&self, at: Offset) {
        if let Some(now) = &mut self.lock().now {
            now.at = at;
        }
    }

    /// It joins the job; false if it was cancelled before.
    pub(super) fn join(&self) -> bool {
        let mut shared = self.lock();
        if shared.cancelled {
            return false;
        }
        if let Some(now) = &mut shared.now {
            now.state = Stand::Joining;
        }
        true
    }

    pub(super) fn failed(&self, why: String) {
        let mut shared = self.lock();
        shared.asked = None;
        if let Some(now) = &mut shared.now {
            now.state = Stand::Failed(why);
        }
    }

    pub(super) fn adopted(&self) {
        let mut shared = self.lock();
        shared.adopted = true;
        shared.end();
    }

    /// From now on the pipelines that are shown have it.
    pub fn shown(&self) {
        let mut shared = self.lock();
        shared.shown = true;
        shared.end();
    }
}

impl Shared {
    /// It is under way until nobody can take what held before it for what holds.
    fn end(&mut self) {
        if self.adopted && self.shown {
            *self = Self::default();
        }
    }

    fn is_under_way(&self) -> bool {
        self.now.as_ref().is_some_and(|now| !matches!(now.state, Stand::Failed(_)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Whoever gives up one that has ended meanwhile does not end the next one.
    #[test]
    fn a_backfill_is_cancelled_by_its_name() {
        let backfills = Backfills::default();
        assert!(!backfills.cancel("a"));
        let now = Backfilling { pipeline: "a".to_owned(), from: Offset(0), at: Offset(0), state: Stand::Filling };
        *backfills.lock() = Shared { now: Some(now), ..Shared::default() };
        assert!(!backfills.cancel("b") && !backfills.is_cancelled());
        assert!(backfills.cancel("a") && backfills.is_cancelled());
        backfills.leaving("a");
        assert!(!backfills.cancel("a"), "it is too late");
    }
}
