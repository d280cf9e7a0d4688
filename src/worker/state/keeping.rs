//! What a worker takes up from a checkpoint, and where it keeps remembered ids.

use crate::core::dedup::runs::RunsError;
use crate::core::dedup::{IdMemory, Seen};
use crate::core::join::Half;
use crate::core::view::Keyed;
use crate::wire::{Kind, Restore, Section};
use crate::worker::snapshot;
use crate::worker::state::State;

impl State {
    /// One that keeps ids like this.
    #[must_use]
    pub fn sealing(self, ids: IdMemory) -> Self {
        assert!(self.seen.is_empty(), "where ids are kept is said before there are any");
        let owned = self.owners.range(self.me);
        let seen = Seen::sealing(self.plan.topics.len(), owned, ids);
        Self { seen, ..self }
    }

    /// One of which no checkpoint is ever asked, with ids kept like this.
    #[must_use]
    pub fn without_checkpoints(self, ids: IdMemory) -> Self {
        let state = self.sealing(ids);
        Self { seen: state.seen.without_checkpoints(), ..state }
    }

    /// Why it decides nothing more, if that is so: whoever steps it must end it.
    #[must_use]
    pub fn fault(&self) -> Option<&RunsError> {
        self.fault.as_ref()
    }

    pub(super) fn bear<T>(&mut self, result: Result<T, RunsError>) -> Option<T> {
        result.map_err(|fault| self.fault = Some(fault)).ok()
    }

    pub(super) fn restore(&mut self, restore: Restore) {
        match restore {
            Restore::Common(bytes) => {
                let epoch = snapshot::restore_common(&bytes, &mut self.watermarks, &mut self.panes);
                (self.decided, self.finished) = (epoch, epoch);
                if self.batch {
                    // Its watermarks go on, but nothing closes by them.
                    self.panes.closed_none();
                }
            }
            Restore::Section(section) => self.restore_section(&section),
        }
    }

    pub(super) fn restore_section(&mut self, section: &Section) {
        match section.kind {
            Kind::Panes => snapshot::restore(section, |rest| self.panes.restore(rest)),
            Kind::Views => {
                snapshot::restore(section, |rest| {
                    Keyed::decode(&self.plan, rest).map(|keyed| self.views.restore(keyed))
                });
            }
            Kind::Joins => {
                snapshot::restore(section, |rest| Half::decode(&self.plan, rest).map(|half| self.joins.restore(half)));
            }
            Kind::Alerts => snapshot::restore(section, |rest| self.alerts.restore(rest)),
            Kind::Ids => {
                let restored = snapshot::restore_ids(section, &mut self.seen);
                self.bear(restored);
            }
        }
    }
}
