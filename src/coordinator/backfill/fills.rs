//! The loop's side of backfills, pure: which one is under way, and what is to be done for it next. It knows no thread, no file and no store.

use std::sync::Arc;

use tokio::sync::oneshot;

use crate::coordinator::backfill::error::FillError;
use crate::coordinator::backfill::making::Stores;
use crate::coordinator::backfill::{Backfills, Note};
use crate::coordinator::change::{Asked, Change};
use crate::coordinator::checkpoint::needed_from;
use crate::coordinator::state::State;
use crate::core::epoch::Backfill;
use crate::core::plan::Plan;
use crate::core::units::{Epoch, Offset};
use crate::wire::Past;

/// What is to be done. At most one past is made, or one pipeline's leftover taken out, at a time: an order for it ends what went before.
pub enum Order {
    Fill {
        change: Change,
        backfill: Backfill,
        stores: Stores,
    },
    /// The past that is made ends with this epoch.
    EndWith(Epoch),
    /// Take out of the store what the mark names, and then the mark.
    Forget(Arc<Plan>),
    RemoveMark,
    /// The change can be logged: its pipeline has come near.
    Change(Asked),
    /// The workers take it up.
    Adopt(Past),
}

/// At most one at a time.
pub struct Fills {
    asked: Backfills,
    /// What a start has to do.
    first: Option<Order>,
    now: Option<Now>,
    /// The log is kept from here on …
    keep: Option<Offset>,
    /// … until the checkpoints that are kept have passed this one.
    covered: Option<Offset>,
    /// Pasts that the log has, and that are still to be made.
    logged: usize,
}

/// What is under way.
struct Now {
    /// None: a leftover is taken out of the store.
    change: Option<Change>,
    /// Before the change is handed over: who waits until it is on disk.
    durable: Option<oneshot::Sender<Epoch>>,
    past: Option<Past>,
    /// Why it comes to nothing.
    why: String,
}

impl Now {
    fn forgetting(why: impl Into<String>) -> Self {
        Self { change: None, durable: None, past: None, why: why.into() }
    }

    /// The place of its pipeline in the change's plan.
    fn pipeline(&self) -> usize {
        self.change.as_ref().and_then(|change| change.backfill).map_or(0, |backfill| backfill.pipeline)
    }
}

impl Fills {
    /// At a start. A backfill that came to nothing is taken out, as the mark that was `left` names it: one whose pipeline is none of those that hold at the log's
    /// end. `next` is what holds after the change that the life begins with, or at the log's end. `logged` are the log's changes that are still to be followed.
    ///
    /// # Errors
    /// `Left`.
    pub fn begin<'c>(
        asked: Backfills,
        left: Option<&str>,
        (holds, next): (&Plan, &Arc<Plan>),
        logged: impl Iterator<Item = &'c Change>,
    ) -> Result<Self, FillError> {
        let has = |plan: &Plan, name: &str| plan.pipelines.iter().any(|pipeline| pipeline.name == name);
        let (now, first) = match left {
            Some(left) if !has(holds, left) && has(next, left) => return Err(FillError::Left(left.to_owned())),
            Some(left) if !has(holds, left) => {
                asked.leaving(left);
                (Some(Now::forgetting("the job ended before")), Order::Forget(Arc::clone(next)))
            }
            _ => (None, Order::RemoveMark),
        };
        let pasts =
            logged.filter_map(|change| Some((change.plan.pipeline_name(change.backfill?.pipeline), change.backfill?)));
        let pasts: Vec<_> = pasts.collect();
        if let Some((pipeline, backfill)) = pasts.last() {
            asked.logged(pipeline, backfill.from);
        }
        Ok(Self { asked, first: Some(first), now, keep: None, covered: None, logged: pasts.len() })
    }

    /// Takes up what whoever carries out the orders says.
    ///
    /// # Errors
    /// If the past of a pipeline that is the job's already cannot be made: the job cannot go on.
    pub fn take(&mut self, note: Note, state: &State) -> Result<Option<Order>, FillError> {
        let Some(now) = &mut self.now else { return Ok(None) };
        match note {
            Note::Near if !self.asked.join() => {}
            Note::Near => {
                if let (Some(change), Some(durable)) = (now.change.clone(), now.durable.take()) {
                    return Ok(Some(Order::Change(Asked { change, durable })));
                }
            }
            Note::Done(past) => now.past = Some(past),
            Note::Forgotten => {
                if self.logged == 0 {
                    self.asked.failed(std::mem::take(&mut now.why));
                }
                // What an earlier one needs of the log it needs until then at the latest.
                (self.now, self.covered) = (None, Some(state.dispatched()));
            }
            Note::Failed(error) => {
                let Some(plan) = now.durable.as_ref().and(now.change.as_ref()).map(|change| &change.plan) else {
                    return Err(error);
                };
                tracing::warn!(%error, "a pipeline's replay failed; what it has stored is taken out again");
                let plan = Arc::clone(plan);
                self.asked.leaving(plan.pipeline_name(now.pipeline()));
                self.now = Some(Now::forgetting(error.to_string()));
                return Ok(Some(Order::Forget(plan)));
            }
        }
        Ok(None)
    }

    /// What is to be done as the state is now.
    pub fn turn(&mut self, state: &State) -> Vec<Order> {
        let mut orders: Vec<Order> = self.first.take().into_iter().collect();
        orders.extend(self.begin_next(state));
        let past = self.now.as_mut().filter(|_| state.takes_backfill()).and_then(|now| now.past.take());
        if let Some(past) = past {
            (self.now, self.covered) = (None, Some(state.dispatched()));
            self.logged = self.logged.saturating_sub(1);
            if self.logged == 0 {
                self.asked.adopted();
            }
            orders.extend([Order::RemoveMark, Order::Adopt(past)]);
        }
        orders
    }

    fn begin_next(&mut self, state: &State) -> Vec<Order> {
        if self.now.is_some() || !state.has_stored_changes() {
            return Vec::new();
        }
        let logged = state.backfill().map(|(epoch, change, backfill)| (epoch, change.clone(), backfill));
        if let Some((epoch, change, backfill)) = logged {
            self.keep_from(needed_from(backfill.from));
            self.now = Some(Now { change: Some(change.clone()), ..Now::forgetting("") });
            let stores = Stores::of_logged(state.stores_backfill());
            vec![Order::Fill { change, backfill, stores }, Order::EndWith(epoch)]
        } else if state.has_changes_ahead() {
            // What a change takes away must be gone from the store before a past brings what has its name.
            Vec::new()
        } else if let Some(Asked { change, durable }) = self.asked.take() {
            let Some(backfill) = change.backfill else { panic!("what is asked for here has a past") };
            self.keep_from(needed_from(backfill.from));
            let why = "it was cancelled".to_owned();
            self.now = Some(Now { change: Some(change.clone()), durable: Some(durable), past: None, why });
            vec![Order::Fill { change, backfill, stores: Stores::Marked }]
        } else {
            Vec::new()
        }
    }

    /// The change that was handed over is logged with the cut of this epoch.
    #[must_use]
    pub fn logged(&self, epoch: Epoch) -> Option<Order> {
        self.now.as_ref().map(|_| Order::EndWith(epoch))
    }

    /// An earlier one may need the log still.
    fn keep_from(&mut self, from: Offset) {
        self.keep = Some(self.keep.map_or(from, |keep| keep.min(from)));
        self.covered = None;
    }

    /// From where on the log is kept for a backfill.
    #[must_use]
    pub fn keeps(&self) -> Option<Offset> {
        self.keep
    }

    /// From where on the log must be kept, when the checkpoints that are kept need it from `checkpoints` on.
    #[must_use]
    pub fn needed_from(&mut self, state: &State, checkpoints: Offset) -> Offset {
        if self.covered.is_some_and(|end| checkpoints >= end) {
            (self.keep, self.covered) = (None, None);
        }
        [self.keep, state.pasts_need()].into_iter().flatten().fold(checkpoints, Offset::min)
    }
}
