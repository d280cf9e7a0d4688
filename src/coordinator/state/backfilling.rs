//! What a pipeline that begins with the log's past asks of the coordinator: when its state can be taken up, and that it is.

use crate::coordinator::change::Change;
use crate::coordinator::checkpoint::needed_from;
use crate::coordinator::state::{Action, State};
use crate::core::epoch::Backfill;
use crate::core::keygroup::Owners;
use crate::core::units::{Epoch, Offset};
use crate::wire::{Message, Past, Section, by_owner, in_parts};

impl State {
    /// The change that cannot be made before its new pipeline's state as it is after this epoch is there: to be had out of the log.
    #[must_use]
    pub fn backfill(&self) -> Option<(Epoch, &Change, Backfill)> {
        self.changing.backfill()
    }

    /// Whether that state can be handed over now.
    #[must_use]
    pub fn takes_backfill(&self) -> bool {
        self.changing.takes_backfill()
    }

    /// Whether a change is asked for, under way, or still to be followed in the log.
    #[must_use]
    pub fn has_changes_ahead(&self) -> bool {
        self.is_changing() || self.changing.has_logged()
    }

    /// The last epoch after which the pipelines changed.
    #[must_use]
    pub fn changed(&self) -> Epoch {
        self.changed
    }

    /// Whether the store has all that the changes so far have taken away: what a past brings must not go with it.
    #[must_use]
    pub fn has_stored_changes(&self) -> bool {
        self.committing.committed_to().epoch >= self.changed
    }

    /// From where on the pasts that are still to be made need the log.
    #[must_use]
    pub fn pasts_need(&self) -> Option<Offset> {
        self.changing.pasts_begin().map(needed_from)
    }

    /// Whether the store may lack what the pipeline published up to that epoch: what comes after it is there only if that is.
    #[must_use]
    pub fn stores_backfill(&self) -> bool {
        self.changing.backfill().is_some_and(|(epoch, ..)| self.committing.finished_to().epoch <= epoch)
    }

    /// Hands it over. Only where `takes_backfill`.
    pub fn adopt(&mut self, past: &Past) -> Vec<Action> {
        let workers = self.workers.len();
        let Some((_, _, backfill)) = self.changing.backfill() else { panic!("no change waits for a past") };
        self.changing.adopt(workers);
        let Past { common, sections } = past;
        let pipeline = backfill.pipeline as u16;
        let adopt = |sections, last| Message::Adopt { pipeline, common: common.clone(), sections, last };
        let by_owner = by_owner(sections.iter().cloned(), Owners::new(workers)).into_iter().enumerate();
        let to_owner = |(worker, sections): (usize, Vec<Section>)| {
            in_parts(sections.into_iter(), adopt).into_iter().map(move |message| Action::Send(worker, message))
        };
        by_owner.flat_map(to_owner).collect()
    }
}
