//! What rank 0's thread does for pasts, a step at a time: the real steps, with a store that is away and a mark that outlives the job.

use std::sync::Arc;

use caudal::coordinator::backfill::error::{FillError, ReplayError};
use caudal::coordinator::backfill::fills::{Fills, Order};
use caudal::coordinator::backfill::making::{Making, Next, Stores};
use caudal::coordinator::backfill::{Backfills, Keeps, Note};
use caudal::coordinator::change::Change;
use caudal::coordinator::state::State;
use caudal::core::plan::Plan;
use caudal::core::units::{Epoch, Generation, LogId};
use caudal::log::{Access, LogError};
use caudal::store::{Commit, Leftover, Store, StoreError};
use rand::Rng;

use super::cluster::{Died, World, died};

/// The loop's side, and the thread's.
pub struct Pasts {
    pub fills: Fills,
    pub asked: Backfills,
    access: Access,
    keeps: Keeps,
    names: (LogId, Generation),
    doing: Option<Doing>,
    until: Option<Epoch>,
    notes: Vec<Note>,
    /// It waits for more than this many entries of the log, or for its last epoch.
    waits: Option<(usize, Option<Epoch>)>,
}

enum Doing {
    Making {
        making: Box<Making>,
        plan: Arc<Plan>,
        /// Its place in the plan.
        pipeline: usize,
        /// Until the store has it.
        commit: Option<Box<Commit>>,
    },
    Forgetting,
}

impl Pasts {
    /// None: what a past has left, and what is to hold, have one name.
    pub fn begin<'c>(
        world: &mut World,
        access: Access,
        (keeps, log, generation): (Keeps, LogId, Generation),
        plans: (&Plan, &Arc<Plan>),
        logged: impl Iterator<Item = &'c Change>,
    ) -> Option<Self> {
        let (asked, left) = (Backfills::default(), world.mark.as_ref().map(|left| left.pipeline.as_str()));
        world.seen.note("pasts left at a start", u64::from(left.is_some()));
        let fills = match Fills::begin(asked.clone(), left, plans, logged) {
            Ok(fills) => fills,
            Err(FillError::Left(_)) => return None,
            Err(error) => panic!("{error}"),
        };
        let names = (log, generation);
        Some(Self { fills, asked, access, keeps, names, doing: None, until: None, notes: Vec::new(), waits: None })
    }

    /// A turn of the loop. What concerns the rest of the job is given back.
    pub fn turn(&mut self, world: &mut World, state: &State) -> (bool, Vec<Order>) {
        let mut orders = Vec::new();
        for note in std::mem::take(&mut self.notes) {
            orders.extend(self.fills.take(note, state).unwrap_or_else(|error| panic!("{error}")));
        }
        orders.extend(self.fills.turn(state));
        let busy = !orders.is_empty();
        (busy, orders.into_iter().filter_map(|order| self.carry_out(world, order)).collect())
    }

    /// The log has, or is to have, a change after this epoch that was asked for.
    pub fn logged(&mut self, world: &mut World, epoch: Epoch) {
        let order = self.fills.logged(epoch);
        assert!(order.and_then(|order| self.carry_out(world, order)).is_none());
    }

    fn carry_out(&mut self, world: &mut World, order: Order) -> Option<Order> {
        match order {
            Order::Fill { change, backfill, stores } => {
                world.seen.note("pasts", 1);
                let what = match stores {
                    Stores::Nothing => "pasts made again and not stored",
                    Stores::Logged => "pasts of the job's own",
                    Stores::Marked => "pasts of pipelines that are not the job's yet",
                };
                world.seen.note(what, 1);
                let at_once = world.rng.random_range(0..3000);
                let names = (&self.keeps, self.names.0, self.names.1);
                let making = Making::new(&change.plan, backfill, names, &self.access, (stores, at_once));
                let (making, pipeline) = (Box::new(making), backfill.pipeline);
                self.doing = Some(Doing::Making { making, plan: change.plan, pipeline, commit: None });
                (self.until, self.waits) = (None, None);
            }
            Order::EndWith(epoch) => self.until = Some(epoch),
            Order::Forget(_) => self.doing = Some(Doing::Forgetting),
            Order::RemoveMark => world.mark = None,
            other @ (Order::Change(_) | Order::Adopt(_)) => return Some(other),
        }
        None
    }

    /// Whether the thread has something to do.
    pub fn may_step(&self, entries: usize) -> bool {
        match &self.doing {
            None => false,
            Some(Doing::Forgetting) => true,
            Some(Doing::Making { .. }) => self.waits != Some((entries, self.until)) || self.asked.is_cancelled(),
        }
    }

    /// A step of the thread.
    pub fn step(&mut self, world: &mut World) -> Result<(), Died> {
        match &mut self.doing {
            None => {}
            Some(Doing::Forgetting) => {
                if let Some(left) = &world.mark
                    && !is_done(world.store.forget(self.names.1, left))
                {
                    world.seen.note("pasts to be taken out again", 1);
                    return Ok(());
                }
                world.seen.note("pasts taken out", u64::from(world.mark.is_some()));
                world.mark = None;
                self.say(Note::Forgotten);
            }
            Some(Doing::Making { commit: waiting @ Some(_), .. }) => {
                if waiting.as_ref().is_none_or(|commit| is_done(world.store.commit(commit))) {
                    *waiting = None;
                } else {
                    world.seen.note("pasts to be stored again", 1);
                }
            }
            Some(Doing::Making { making, plan, pipeline, commit: waiting }) => {
                match making.next(self.until, self.asked.is_cancelled()) {
                    Ok(Next::Mark) => {
                        let views = plan.views.iter().filter(|view| view.pipeline == *pipeline);
                        let views = views.map(|view| view.name.clone()).collect();
                        let pipeline = plan.pipeline_name(*pipeline).to_owned();
                        world.mark = Some(Leftover { log: self.names.0, pipeline, views });
                    }
                    Ok(Next::Store(commit)) => {
                        world.seen.note("rows of pasts", commit.rows.len() as u64);
                        *waiting = Some(commit);
                    }
                    Ok(Next::More) => {}
                    Ok(Next::Near) => self.notes.push(Note::Near),
                    Ok(Next::Wait) => self.waits = Some((world.log.len(), self.until)),
                    Ok(Next::Forget) => {
                        world.seen.note("pasts given up", 1);
                        self.doing = Some(Doing::Forgetting);
                    }
                    Ok(Next::Done(past)) => self.say(Note::Done(past)),
                    Err(ReplayError::Log(error @ LogError::Io { .. })) => return Err(died(error)),
                    Err(error) => {
                        world.seen.note("pasts that failed", 1);
                        self.say(Note::Failed(FillError::Replay(error)));
                    }
                }
            }
        }
        Ok(())
    }

    /// The thread's last words.
    fn say(&mut self, note: Note) {
        self.doing = None;
        self.notes.push(note);
    }
}

fn is_done(done: Result<(), StoreError>) -> bool {
    match done {
        Ok(()) => true,
        Err(StoreError::Unavailable(_) | StoreError::Indeterminate(_)) => false,
        Err(error) => panic!("{error}"),
    }
}
