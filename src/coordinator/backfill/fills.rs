//! The loop's side of backfills: which one is under way, and what is to be done for it next.

use std::sync::Arc;
use std::sync::mpsc::{self, Receiver, Sender};

use tokio::sync::oneshot;

use crate::coordinator::backfill::Backfills;
use crate::coordinator::backfill::error::FillError;
use crate::coordinator::backfill::thread::{Fill, Filler, Note, Stores};
use crate::coordinator::change::{Asked, Change, Changes};
use crate::coordinator::checkpoint::needed_from;
use crate::coordinator::state::{Action, State};
use crate::core::plan::Plan;
use crate::core::units::{Epoch, Offset};
use crate::wire::Past;

/// At most one at a time.
pub struct Fills {
    filler: Arc<Filler>,
    asked: Backfills,
    notes: (Sender<Note>, Receiver<Note>),
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
    fill: Fill,
    /// None: a leftover is taken out of the store.
    change: Option<Change>,
    /// Before the change is handed over: who waits until it is on disk.
    durable: Option<oneshot::Sender<Epoch>>,
    past: Option<Past>,
    /// Why it comes to nothing.
    why: String,
}

impl Now {
    /// The place of its pipeline in the change's plan.
    fn pipeline(&self) -> usize {
        self.change.as_ref().and_then(|change| change.backfill).map_or(0, |backfill| backfill.pipeline)
    }
}

impl Fills {
    /// Takes out what a backfill that came to nothing left in the store: one whose pipeline is none of those that hold now. `logged` are the log's changes
    /// that are still to be followed.
    ///
    /// # Errors
    /// As `FillError` says.
    pub fn new<'c>(
        filler: Filler,
        holds: &Arc<Plan>,
        logged: impl Iterator<Item = &'c Change>,
    ) -> Result<Self, FillError> {
        let (filler, notes) = (Arc::new(filler), mpsc::channel());
        let is_held = |name: &str| holds.pipelines.iter().any(|pipeline| pipeline.name == name);
        let now = match filler.mark.read(filler.log)? {
            Some(left) if !is_held(&left.pipeline) => {
                filler.asked.leaving(&left.pipeline);
                let fill = filler.forget(holds, notes.0.clone())?;
                Some(Now { fill, change: None, durable: None, past: None, why: "the job ended before".to_owned() })
            }
            _ => {
                filler.mark.remove()?;
                None
            }
        };
        let pasts =
            logged.filter_map(|change| Some((change.plan.pipeline_name(change.backfill?.pipeline), change.backfill?)));
        let pasts: Vec<_> = pasts.collect();
        if let Some((pipeline, backfill)) = pasts.last() {
            filler.asked.logged(pipeline, backfill.from);
        }
        Ok(Self { asked: filler.asked.clone(), filler, notes, now, keep: None, covered: None, logged: pasts.len() })
    }

    /// Takes up what has come, and gives what is to be done. A change whose pipeline has come near is handed to `changes`.
    ///
    /// # Errors
    /// If the past of a pipeline that is the job's already cannot be made: the job cannot go on.
    pub fn turn(&mut self, state: &mut State, changes: &Changes) -> Result<Vec<Action>, FillError> {
        self.begin(state)?;
        while let Ok(note) = self.notes.1.try_recv() {
            let Some(now) = &mut self.now else { continue };
            match note {
                Note::Near if !self.asked.join() => {}
                Note::Near => {
                    if let (Some(change), Some(durable)) = (now.change.clone(), now.durable.take()) {
                        changes.put(Asked { change, durable });
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
                    self.asked.leaving(plan.pipeline_name(now.pipeline()));
                    let fill = self.filler.forget(plan, self.notes.0.clone())?;
                    self.now = Some(Now { fill, change: None, durable: None, past: None, why: error.to_string() });
                }
            }
        }
        let past = self.now.as_mut().filter(|_| state.takes_backfill()).and_then(|now| now.past.take());
        let Some(past) = past else { return Ok(Vec::new()) };
        (self.now, self.covered) = (None, Some(state.dispatched()));
        self.filler.mark.remove()?;
        self.logged = self.logged.saturating_sub(1);
        if self.logged == 0 {
            self.asked.adopted();
        }
        Ok(state.adopt(&past))
    }

    fn begin(&mut self, state: &State) -> Result<(), FillError> {
        if self.now.is_some() || !state.has_stored_changes() {
            return Ok(());
        }
        let logged = state.backfill().map(|(epoch, change, backfill)| (epoch, change.clone(), backfill));
        let notes = self.notes.0.clone();
        if let Some((epoch, change, backfill)) = logged {
            let fill = self.filler.fill(&change, backfill, Stores::of_logged(state.stores_backfill()), notes)?;
            fill.end_with(epoch);
            self.keep_from(needed_from(backfill.from));
            self.now = Some(Now { fill, change: Some(change), durable: None, past: None, why: String::new() });
        } else if state.has_changes_ahead() {
            // What a change takes away must be gone from the store before a past brings what has its name.
        } else if let Some(Asked { change, durable }) = self.asked.take() {
            let Some(backfill) = change.backfill else { panic!("what is asked for here has a past") };
            let fill = self.filler.fill(&change, backfill, Stores::Marked, notes)?;
            self.keep_from(needed_from(backfill.from));
            let why = "it was cancelled".to_owned();
            self.now = Some(Now { fill, change: Some(change), durable: Some(durable), past: None, why });
        }
        Ok(())
    }

    /// The change that was handed over is logged with the cut of this epoch.
    pub fn logged(&self, epoch: Epoch) {
        if let Some(now) = &self.now {
            now.fill.end_with(epoch);
        }
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
