//! Changes of the pipelines, from their asking, or from the log, until all workers work by them.

use std::collections::VecDeque;

use crate::coordinator::change::Change;
use crate::core::epoch::Backfill;
use crate::core::units::{Epoch, Offset};

/// A change belongs to the epoch with whose cut it is logged, and holds after it. While that epoch is in flight no other begins: an epoch is of one plan.
#[derive(Clone, Debug)]
pub(super) struct Changing {
    asked: Option<Change>,
    /// Of cuts that are still to be followed.
    logged: VecDeque<(Epoch, Change)>,
    under_way: Option<UnderWay>,
    /// The life begins with a change that is not made yet.
    starting: bool,
}

/// The epoch's end is told to the workers.
#[derive(Clone, Debug)]
struct UnderWay {
    epoch: Epoch,
    change: Change,
    stage: Stage,
    /// Workers that have not answered in this stage.
    missing: usize,
}

/// Without a backfill the first is all there is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// The workers come to work by the plan.
    Configuring,
    /// The new pipeline's state is still to come.
    Waiting,
    /// The workers take it up.
    Adopting,
}

impl Changing {
    /// With what the log has after the checkpoint.
    pub(super) fn new(logged: VecDeque<(Epoch, Change)>) -> Self {
        Self { asked: None, logged, under_way: None, starting: false }
    }

    pub(super) fn ask(&mut self, change: Change) {
        self.asked = Some(change);
    }

    /// Of a life that begins with it.
    pub(super) fn ask_at_start(&mut self, change: Change) {
        (self.asked, self.starting) = (Some(change), true);
    }

    pub(super) fn is_starting(&self) -> bool {
        self.starting
    }

    /// Whether an epoch is wanted, if only to be changed after.
    pub(super) fn is_asked(&self) -> bool {
        self.asked.is_some()
    }

    pub(super) fn is_under_way(&self) -> bool {
        self.under_way.is_some()
    }

    /// A new cut is made: what is logged with it.
    pub(super) fn cut(&mut self) -> Option<Change> {
        self.asked.take()
    }

    /// A logged cut is followed: what was logged with it.
    pub(super) fn followed(&mut self, epoch: Epoch) -> Option<Change> {
        while self.logged.front().is_some_and(|(of, _)| *of < epoch) {
            self.logged.pop_front();
        }
        self.logged.pop_front_if(|(of, _)| *of == epoch).map(|(_, change)| change)
    }

    /// The epoch's end is told to so many workers.
    pub(super) fn begin(&mut self, epoch: Epoch, change: Change, workers: usize) {
        self.under_way = Some(UnderWay { epoch, change, stage: Stage::Configuring, missing: workers });
    }

    /// An epoch has come to its results: what holds after it.
    pub(super) fn finish(&self, epoch: Epoch) -> Option<&Change> {
        self.under_way.as_ref().filter(|it| it.epoch == epoch).map(|it| &it.change)
    }

    /// The change whose new pipeline's state, as it is after the epoch, is still to come.
    pub(super) fn backfill(&self) -> Option<(Epoch, &Change, Backfill)> {
        let it = self.under_way.as_ref().filter(|it| it.stage != Stage::Adopting)?;
        it.change.backfill.map(|backfill| (it.epoch, &it.change, backfill))
    }

    pub(super) fn has_logged(&self) -> bool {
        !self.logged.is_empty()
    }

    /// Where the pasts begin that are still to be made.
    pub(super) fn pasts_begin(&self) -> Option<Offset> {
        let under_way = self.under_way.as_ref().filter(|it| it.stage != Stage::Adopting).map(|it| &it.change);
        let changes = self.logged.iter().map(|(_, change)| change).chain(&self.asked).chain(under_way);
        changes.filter_map(|change| change.backfill).map(|backfill| backfill.from).min()
    }

    /// Whether the workers can take it up.
    pub(super) fn takes_backfill(&self) -> bool {
        self.under_way.as_ref().is_some_and(|it| it.stage == Stage::Waiting)
    }

    /// So many workers are sent it.
    pub(super) fn adopt(&mut self, workers: usize) {
        let Some(it) = self.under_way.as_mut().filter(|it| it.stage == Stage::Waiting) else {
            panic!("no change waits for a pipeline's state")
        };
        (it.stage, it.missing) = (Stage::Adopting, workers);
    }

    /// A worker works by it; true if it was the last one.
    pub(super) fn configured(&mut self, epoch: Epoch) -> bool {
        let Some(it) = &mut self.under_way else { panic!("no change is under way") };
        assert_eq!(it.epoch, epoch, "a worker is configured for the change that is under way");
        it.missing -= 1;
        if it.missing > 0 {
            return false;
        }
        if it.stage == Stage::Configuring && it.change.backfill.is_some() {
            it.stage = Stage::Waiting;
            return false;
        }
        self.under_way = None;
        // Changes that are logged come before it.
        self.starting &= self.asked.is_some();
        true
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::coordinator::state::Action;
    use crate::coordinator::state::tests::{at, beginning, logged, plan, report, state};
    use crate::wire::{Facts, Message};

    /// An epoch is of one plan, and so is a checkpoint.
    #[test]
    fn a_change_is_logged_with_a_cut_and_nothing_begins_before_it_is_made() {
        let mut state = state(beginning());
        state.owe_checkpoint();
        state.configure(Change { bundle: "another".into(), plan: Arc::new(plan()), backfill: None });
        assert!(!state.at_rest());
        let actions = state.tick(at(50_000), false);
        let [Action::Log(cut, _, Some(bundle)), Action::Send(0, configure), Action::Send(0, end)] = &actions[..] else {
            panic!("{actions:?}")
        };
        assert_eq!((cut.epoch, bundle.as_ref()), (Epoch(1), "another"));
        assert!(matches!(configure, Message::Configure { epoch: 1, .. }));
        assert!(matches!(end, Message::EndEpoch { checkpoint: None, .. }), "a checkpoint is due, and waits");
        assert!(!state.wants_slab(), "an epoch of the new plan must not begin");
        state.message(0, report(1, Facts::default())).expect("a message");
        assert!(!state.wants_slab() && state.tick(at(90_000), true).is_empty(), "the worker is not ready for it");
        let [Action::Commit(_)] = &state.durable(Some(Epoch(1)), None, Offset(0))[..] else { panic!("it is stored") };
        state.message(0, Message::Configured { epoch: 1, facts: Facts::default() }).expect("a message");
        assert!(state.wants_slab() && !state.is_changing());
    }

    /// Events that come are counted by what it brings.
    #[test]
    fn a_life_that_begins_with_a_change_takes_events_when_it_is_made() {
        let mut state = state(beginning());
        assert!(state.may_serve());
        state.configure_at_start(Change { bundle: "another".into(), plan: Arc::new(plan()), backfill: None });
        assert!(!state.may_serve());
        assert_eq!(logged(&state.tick(at(0), false)).map(|cut| cut.epoch), Some(Epoch(1)));
        state.message(0, report(1, Facts::default())).expect("a message");
        assert!(!state.may_serve(), "the worker is not ready for it");
        state.message(0, Message::Configured { epoch: 1, facts: Facts::default() }).expect("a message");
        assert!(state.may_serve());
        // One that is asked for later stops no event.
        state.configure(Change { bundle: "a third".into(), plan: Arc::new(plan()), backfill: None });
        assert!(state.may_serve());
    }
}
