//! Replays logged epochs through one worker in this thread, for whoever wants the results again: no transport, no store, no clock.

use std::collections::VecDeque;
use std::sync::Arc;

use crate::coordinator::backfill::error::ReplayError;
use crate::coordinator::backfill::{Epochs, Filling, Keeps};
use crate::coordinator::start::Start;
use crate::coordinator::state::{Action, Beginning, Limits, Now, State};
use crate::core::dedup::runs::RunsError;
use crate::core::keygroup::Owners;
use crate::core::ledger::Counts;
use crate::core::plan::Plan;
use crate::core::units::{Epoch, Millis};
use crate::log::Log;
use crate::store::{Commit, Progress};
use crate::wire::Message;
use crate::worker::state::{State as Worker, To};

/// Follows the cuts of `start` up to `until`, by the plan that holds where it begins and the changes that are planned in it; `each` takes every epoch's results, in order.
///
/// # Errors
/// As `ReplayError` says.
pub fn replay(
    plan: &Arc<Plan>,
    keeps: &Keeps,
    start: Start,
    log: &Log,
    until: Epoch,
    mut each: impl FnMut(Commit),
) -> Result<(), ReplayError> {
    let mut worker = keeps.worker(plan, "a-replay");
    for restore in start.checkpoint.into_iter().flat_map(|checkpoint| checkpoint.restores(Owners::new(1))) {
        answers(&mut worker, restore?.1)?;
    }
    let (access, mut reader) = (log.access(), log.reader(start.read_from));
    let names = (start.beginning.progress.log, start.generation);
    let changes = start.beginning.changes.clone();
    let mut state = State::new(plan.clone(), 1, limits(), beginning(start.beginning, until));
    let now = Now { unix: Millis(0), up: Millis(0), awake: Millis(0) };
    while !state.caught_up() {
        let mut actions = VecDeque::new();
        if let Some((epoch, change, backfill)) = state.backfill().filter(|_| state.takes_backfill()) {
            let mut filling = Filling::new(Arc::clone(&change.plan), keeps, names, backfill);
            let mut epochs = Epochs::new(&access, backfill);
            while filling.at().0 < epoch {
                let Some((cut, slabs)) = epochs.next_epoch()? else {
                    panic!("epoch {epoch} is followed, so it is logged")
                };
                each(filling.epoch(cut, &slabs, epoch)?);
            }
            actions.extend(state.adopt(&filling.past()));
        }
        while !state.caught_up() && state.wants_slab() {
            let Some(slab) = reader.next_slab()? else { break };
            actions.push_back(state.dispatch(&slab, now));
        }
        actions.extend(state.tick(now, false));
        while let Some(action) = actions.pop_front() {
            match action {
                Action::Send(_, Message::Configure { epoch, .. }) => {
                    let announced = changes.iter().find(|(of, _)| of.0 == epoch);
                    let Some((epoch, change)) = announced else { panic!("a change that the log does not have") };
                    worker.configure(*epoch, Arc::clone(&change.plan));
                }
                Action::Send(_, message) => {
                    for reply in answers(&mut worker, message)? {
                        actions.extend(state.message(0, reply)?);
                    }
                }
                Action::Commit(commit) => {
                    actions.extend(state.committed(commit.to));
                    each(*commit);
                }
                Action::Log(..) | Action::Emit(_) | Action::Checkpoint(_) | Action::Answer(..) => {}
            }
        }
    }
    Ok(())
}

/// As if the store had nothing after the checkpoint, so that every epoch's results come out; what they emitted is in the log.
fn beginning(found: Beginning, until: Epoch) -> Beginning {
    let (epoch, end) = found.checkpoint;
    let cuts = found.cuts.into_iter().filter(|cut| cut.epoch <= until).collect();
    Beginning {
        progress: Progress { epoch, end, counts: Counts::default(), ..found.progress },
        cuts,
        emitted: until,
        ..found
    }
}

/// No checkpoints are taken.
fn limits() -> Limits {
    Limits { checkpoint_bytes: u64::MAX, checkpoint_age: Millis(u64::MAX), ..Limits::default() }
}

fn answers(worker: &mut Worker, message: Message) -> Result<Vec<Message>, RunsError> {
    let replies = worker.step(To::Coordinator, message).into_iter().map(|(_, reply)| reply).collect();
    worker.fault().cloned().map_or(Ok(replies), Err)
}
