//! Requests that wait until their events' epochs are committed, and are then told what became of each event.

use std::collections::{BTreeMap, VecDeque};

use tokio::sync::oneshot;

use crate::core::row::DeadLetter;
use crate::core::units::Offset;
use crate::ingest::Fate;

/// By their first offsets.
#[derive(Debug, Default)]
pub struct Waiters(VecDeque<Waiter>);

#[derive(Debug)]
struct Waiter {
    first: Offset,
    end: Offset,
    /// Fates other than counted, so far.
    exceptions: BTreeMap<Offset, Fate>,
    to: oneshot::Sender<Vec<Fate>>,
}

impl Waiters {
    /// Called before the offsets' slab is dispatched, in the order of the offsets.
    pub fn wait_for(&mut self, first: Offset, count: u32, to: oneshot::Sender<Vec<Fate>>) {
        let end = Offset(first.0 + u64::from(count));
        self.0.push_back(Waiter { first, end, exceptions: BTreeMap::new(), to });
    }

    /// An epoch that ended with `end` events had these that were not counted.
    pub fn tell(&mut self, end: Offset, duplicates: &[u64], filtered: &[u64], dead_letters: &[DeadLetter]) {
        for waiter in self.0.iter_mut().take_while(|w| w.first < end) {
            let mine = waiter.first..waiter.end;
            let duplicates = duplicates.iter().map(|&o| Fate::duplicate(Offset(o)));
            let filtered = filtered.iter().map(|&o| Fate::filtered(Offset(o)));
            let fates = duplicates.chain(filtered).chain(dead_letters.iter().map(Fate::of));
            waiter.exceptions.extend(fates.filter(|f| mine.contains(&f.offset)).map(|f| (f.offset, f)));
        }
    }

    /// The next whose events are all committed, `end` being how many are; with its answer.
    pub fn pop_committed(&mut self, end: Offset) -> Option<(oneshot::Sender<Vec<Fate>>, Vec<Fate>)> {
        let mut waiter = self.0.pop_front_if(|w| w.end <= end)?;
        let offsets = (waiter.first.0..waiter.end.0).map(Offset);
        let fates = offsets.map(|o| waiter.exceptions.remove(&o).unwrap_or_else(|| Fate::counted(o))).collect();
        Some((waiter.to, fates))
    }

    /// Forgets requests whose clients have stopped waiting.
    pub fn forget_the_gone(&mut self) {
        self.0.retain(|w| !w.to.is_closed());
    }
}
