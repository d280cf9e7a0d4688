//! From one plan to the next, between two epochs: what goes on goes to its owners, and a pipeline that begins with the log's past is taken up.

use std::sync::Arc;

use crate::core::alert::Alerts;
use crate::core::decode::Decoder;
use crate::core::dedup::bucket::Memory;
use crate::core::join::Joins;
use crate::core::plan::carry::Carry;
use crate::core::units::{Epoch, Millis};
use crate::core::view::Views;
use crate::core::watermark::Watermarks;
use crate::core::window::Panes;
use crate::wire::{Message, Section};
use crate::worker::snapshot;
use crate::worker::state::{State, To};

impl State {
    /// The epoch before which a change was announced is finished: from now on the next plan holds. What goes on goes to its owners by that plan.
    pub(super) fn move_on(&mut self, epoch: Epoch) {
        let Some((_, plan, carry)) = self.next.take_if(|(of, ..)| *of == epoch) else { return };
        let moved = snapshot::moved(epoch, &self.owned(), &carry, &plan, self.owners);
        let last_emits = Carry::moved(&carry.windows, &self.panes.last_emits(), plan.windows.len(), Millis(0));

        self.decoder = Decoder::new(Arc::clone(&plan), self.id_key);
        self.memories = plan.topics.iter().map(Memory::of).collect();
        let before = std::mem::replace(&mut self.watermarks, Watermarks::new(&plan));
        self.watermarks = before.carried(&plan, &carry);
        let carried = self.seen.carry(plan.topics.len(), &carry.forgotten);
        self.bear(carried);
        self.panes = Panes::new(Arc::clone(&plan));
        self.panes.restore_common(&last_emits, |pipeline| self.watermarks.of(pipeline).closing);
        self.views = Views::new(Arc::clone(&plan));
        self.alerts = Alerts::new(Arc::clone(&plan));
        self.joins = Joins::new(Arc::clone(&plan));
        self.plan = plan;

        self.moving = self.owners.workers();
        for (owner, messages) in moved.into_iter().enumerate() {
            for message in messages {
                self.send(owner, message);
            }
        }
        for (sections, last) in self.early.remove(&epoch).unwrap_or_default() {
            self.settle_in(&sections, last);
        }
    }

    /// Takes up state of the plan that holds now.
    pub(super) fn settle_in(&mut self, sections: &[Section], last: bool) {
        for section in sections {
            self.restore_section(section);
        }
        self.moving -= usize::from(last);
        if self.moving == 0 {
            self.tell_configured();
        }
    }

    /// Takes up the state of a pipeline that is new with the plan that holds now.
    pub(super) fn adopt(&mut self, pipeline: usize, common: &[u8], sections: &[Section], last: bool) {
        assert!(
            self.moving == 0 && self.next.is_none(),
            "a pipeline is adopted where its plan holds, between two epochs"
        );
        snapshot::adopt_common(common, pipeline, &self.plan, &mut self.watermarks, &mut self.panes);
        for section in sections {
            self.restore_section(section);
        }
        if last {
            self.tell_configured();
        }
    }

    fn tell_configured(&mut self) {
        let configured = Message::Configured { epoch: self.finished.0, facts: self.facts() };
        self.out.push((To::Coordinator, configured));
    }
}
