//! An epoch's end: when all workers have reported it, its results become a commit, and what they emit, discard or change moves on.

use std::sync::Arc;

use crate::coordinator::gather::{InFlight, add, last_states};
use crate::coordinator::state::{Action, State};
use crate::coordinator::totals::Totals;
use crate::core::emit::deliveries;
use crate::core::plan::carry::Carry;
use crate::core::units::Epoch;
use crate::store::Commit;
use crate::wire::WireError;

impl State {
    /// Moves on the epochs that all workers have reported.
    pub(super) fn finish(&mut self, actions: &mut Vec<Action>) -> Result<(), WireError> {
        while self.in_flight.front().is_some_and(InFlight::complete) {
            let Some(in_flight) = self.in_flight.pop_front() else { break };
            self.facts = self.workers.facts();
            let (cut, base) = (in_flight.cut, in_flight.base);
            let results = in_flight.results()?;
            add(&mut self.late_by_window, &results.late_by_window);
            add(&mut self.expression_errors, &results.expression_errors);
            self.waiters.tell(cut.end, &results.duplicates, &results.filtered, &results.dead_letters);
            let plan = Arc::clone(&self.plan);
            let totals = Totals::of(&plan, &results);
            let emission = self.emitting.finish(&plan, cut.epoch, &results.rows, &results.alerts, results.emitted);
            actions.extend(emission.map(|emission| Action::Emit(Box::new(emission))));
            let mended = self.mending.finish(cut);
            let gone = self.change_after(cut.epoch);
            let advance = self.committing.advance(cut, results.counts);
            self.totals.finish(cut.epoch, totals, advance.is_none());
            self.checkpointing.count(cut.epoch, self.committing.finished_to().counts, self.totals.finished());
            let Some((after, to)) = advance else { continue };
            assert_eq!(results.counts.total(), cut.end.0 - base.0, "every event of an epoch has one fate");
            let commit = Commit {
                after,
                to,
                rows: results.rows,
                removed: results.removed,
                views: results.views,
                history: results.history,
                outbox: deliveries(&plan, &results.alerts),
                alerts: last_states(results.alerts),
                dead_letters: results.dead_letters,
                events: results.events,
                lineage: results.lineage,
                mended,
                gone,
                past: None,
                plan: Some(plan),
            };
            self.committing.finished(commit, results.bytes);
        }
        self.release(actions);
        Ok(())
    }

    /// The plan that holds after this epoch, if another one does; gives the views that are gone with the one before.
    fn change_after(&mut self, epoch: Epoch) -> Vec<usize> {
        let Some(change) = self.changing.finish(epoch).cloned() else { return Vec::new() };
        self.changed = epoch;
        let carry = Carry::between(&self.plan, &change.plan);
        let (windows, pipelines) = (change.plan.windows.len(), change.plan.pipelines.len());
        self.late_by_window = Carry::moved(&carry.windows, &self.late_by_window, windows, 0);
        self.expression_errors = Carry::moved(&carry.pipelines, &self.expression_errors, pipelines, 0);
        // They are of the pipelines before; the workers tell new ones before anything is decided by them.
        self.facts.clocks.clear();
        self.facts.panes.clear();
        self.checkpointing.changed(carry.forgotten);
        (self.plan, self.bundle) = (change.plan, change.bundle);
        carry.views.iter().enumerate().filter(|(_, to)| to.is_none()).map(|(at, _)| at).collect()
    }
}
