//! A backfill, step by step: what is to be done for it next. Whoever does it has the store, the mark and the time.

use std::sync::Arc;

use crate::coordinator::backfill::error::ReplayError;
use crate::coordinator::backfill::{Epochs, Filling, Keeps};
use crate::coordinator::checkpoint::needed_from;
use crate::core::columns::GroupValue;
use crate::core::epoch::Backfill;
use crate::core::plan::Plan;
use crate::core::row::{Value, WindowRow};
use crate::core::units::{Epoch, Generation, LogId, Offset};
use crate::log::{Access, LogError};
use crate::store::Commit;
use crate::store::writer::merge;
use crate::wire::Past;

/// What a row or an entry takes, beside its texts.
const ROW_BYTES: usize = 300;

/// Whether what is published may be missing in the store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stores {
    /// It is all there.
    Nothing,
    /// The pipeline is the job's: nothing of it is ever to be taken out.
    Logged,
    /// The pipeline is not the job's yet: a mark says what is to be taken out if it never is.
    Marked,
}

impl Stores {
    #[must_use]
    pub fn of_logged(may_lack: bool) -> Self {
        if may_lack { Self::Logged } else { Self::Nothing }
    }
}

/// What is to be done before the next step.
pub enum Next {
    /// Put the mark.
    Mark,
    /// Commit it, as often as it takes.
    Store(Box<Commit>),
    /// Nothing; there is more.
    More,
    /// Say that it has come to the log's end: the pipeline can become the job's.
    Near,
    /// Wait for more of the log, or for the last epoch's number.
    Wait,
    /// It was cancelled: take out of the store what the mark names.
    Forget,
    /// This is the pipeline's state after the last epoch, and what it published is stored.
    Done(Past),
}

/// A past in the making.
pub struct Making {
    filling: Filling,
    epochs: Epochs,
    access: Access,
    from: Offset,
    stores: Stores,
    /// Bytes that one transaction takes, about.
    stored_at_once: usize,
    is_marked: bool,
    waiting: Vec<Commit>,
    waiting_bytes: usize,
    told: bool,
}

impl Making {
    #[must_use]
    pub fn new(
        plan: &Arc<Plan>,
        backfill: Backfill,
        (keeps, log, generation): (&Keeps, LogId, Generation),
        access: &Access,
        (stores, stored_at_once): (Stores, usize),
    ) -> Self {
        Self {
            filling: Filling::new(Arc::clone(plan), keeps, (log, generation), backfill),
            epochs: Epochs::new(access, backfill),
            access: access.clone(),
            from: needed_from(backfill.from),
            stores,
            stored_at_once,
            is_marked: stores != Stores::Marked,
            waiting: Vec::new(),
            waiting_bytes: 0,
            told: false,
        }
    }

    /// Events before it are in.
    #[must_use]
    pub fn at(&self) -> Offset {
        self.filling.at().1
    }

    /// The next step; what the one before asked for is done. `until` is the last epoch, once that is known.
    ///
    /// # Errors
    /// As the log's readers say; `Mismatch` where what a job that begins anew would need is retained no longer.
    pub fn next(&mut self, until: Option<Epoch>, is_cancelled: bool) -> Result<Next, ReplayError> {
        if !std::mem::replace(&mut self.is_marked, true) {
            return Ok(Next::Mark);
        }
        // What is the job's already cannot be.
        if is_cancelled && self.stores == Stores::Marked {
            return Ok(Next::Forget);
        }
        let is_there = until.is_some_and(|until| self.filling.at().0 >= until);
        let next = if is_there { None } else { self.epochs.next_epoch()? };
        if let Some((cut, slabs)) = &next {
            // Before it is known no epoch comes after it.
            let last = until.unwrap_or(Epoch(u64::MAX));
            let commit = self.filling.epoch(*cut, slabs, last)?;
            if self.stores != Stores::Nothing {
                self.waiting_bytes += size_of(&commit);
                self.waiting.push(commit);
            }
        }
        if (next.is_none() && !self.waiting.is_empty()) || self.waiting_bytes > self.stored_at_once {
            self.waiting_bytes = 0;
            return Ok(Next::Store(Box::new(merge(std::mem::take(&mut self.waiting)))));
        }
        if is_there {
            return Ok(Next::Done(self.filling.past()));
        }
        if next.is_some() {
            return Ok(Next::More);
        }
        if until.is_some() || std::mem::replace(&mut self.told, true) {
            return Ok(Next::Wait);
        }
        if self.access.begin() > self.from {
            let why =
                format!("the log from {} on, which a job that dies now would need, is no longer retained", self.from);
            return Err(LogError::Mismatch(why).into());
        }
        Ok(Next::Near)
    }
}

fn size_of(commit: &Commit) -> usize {
    let Commit { rows, views, history, alerts, events, lineage, .. } = commit;
    let count = 1 + rows.len() + views.len() + history.len() + alerts.len() + events.len() + lineage.len();
    let texts = [
        rows.iter().map(text_of).sum::<usize>(),
        views.iter().map(|row| row.key.len() + row.value.len()).sum(),
        history.iter().map(|change| change.key.len() + change.value.len()).sum(),
        alerts.iter().map(|alert| alert.details.len()).sum(),
        events.iter().map(|event| event.body.len()).sum(),
        lineage.iter().map(|lineage| lineage.offsets.serialized_size()).sum(),
    ];
    count * ROW_BYTES + texts.into_iter().sum::<usize>()
}

/// Bytes of the texts of its group and its metrics.
fn text_of(row: &WindowRow) -> usize {
    let in_group = row.group.iter().map(|value| if let GroupValue::Text(text) = value { text.len() } else { 0 });
    let in_values = row.values.iter().map(|value| if let Value::Text(text) = value { text.len() } else { 0 });
    in_group.chain(in_values).sum()
}
