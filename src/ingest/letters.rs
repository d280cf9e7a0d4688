//! Which dead letters somebody is mending at this time. Of two who ask at once one is told no, and a letter whose retry or discard is in the log is not
//! mended again before the store says the same. What stands here is lost with the process; what of it was logged is found again in the log.
//!
//! Who wants to mend a letter claims it first, and only then looks into the store: what was committed before the claim is seen there, and what comes after
//! it finds the claim.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::oneshot;

use crate::core::mend::{Mends, Retry};
use crate::core::units::{Epoch, Offset};

/// Letters that may be claimed, or logged and not committed, at once. A store that is away for long makes no more of them: without it nobody reads one.
const UNDER_WAY_MAX: usize = 1 << 16;

/// All of them.
#[derive(Debug, Default)]
pub struct Letters(Mutex<All>);

#[derive(Debug, Default)]
struct All {
    stages: BTreeMap<Offset, Stage>,
    /// To be discarded; the coordinator has not heard of them yet.
    asked: Vec<Offset>,
}

/// How far a letter has come.
#[derive(Debug)]
enum Stage {
    /// A request holds it.
    Claimed,
    /// Its retry is this event of the log.
    Retried(Offset),
    /// To be discarded with the next epoch that has room for it.
    Waiting(Waiter),
    /// Discarded with this epoch, whose cut may not be on disk yet.
    Discarded(Epoch, Option<Waiter>),
}

#[derive(Debug)]
struct Waiter {
    /// Waits for the epoch's commit, not only for the disk.
    applied: bool,
    to: oneshot::Sender<()>,
}

/// Why a letter cannot be claimed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Busy {
    /// By a request whose end is not known yet.
    Claimed,
    Retried(Offset),
    Discarded,
    /// Too many others are.
    Full,
}

/// The right to mend these letters; given back when it is dropped, unless something came of it.
#[derive(Debug)]
pub struct Claim {
    of: Arc<Letters>,
    letters: Vec<Offset>,
}

impl Letters {
    /// A change of one entry is whole, so a thread that died with the lock held has harmed nothing.
    fn lock(&self) -> MutexGuard<'_, All> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// # Errors
    /// If somebody is mending it.
    pub fn claim(self: &Arc<Self>, letter: Offset) -> Result<Claim, Busy> {
        let all = &mut self.lock().stages;
        match all.get(&letter) {
            None if all.len() >= UNDER_WAY_MAX => return Err(Busy::Full),
            None => {}
            Some(Stage::Claimed) => return Err(Busy::Claimed),
            Some(Stage::Retried(event)) => return Err(Busy::Retried(*event)),
            Some(Stage::Waiting(_) | Stage::Discarded(..)) => return Err(Busy::Discarded),
        }
        all.insert(letter, Stage::Claimed);
        Ok(Claim { of: Arc::clone(self), letters: vec![letter] })
    }

    /// Claims those of these that nobody is mending, as many as there is room for.
    #[must_use]
    pub fn claim_free(self: &Arc<Self>, letters: &[Offset]) -> Claim {
        let all = &mut self.lock().stages;
        let mut claimed = Vec::new();
        for &letter in letters {
            if all.len() < UNDER_WAY_MAX && !all.contains_key(&letter) {
                all.insert(letter, Stage::Claimed);
                claimed.push(letter);
            }
        }
        Claim { of: Arc::clone(self), letters: claimed }
    }

    /// How many of these have their retry or discard in the log, or on its way there for certain.
    #[must_use]
    pub fn logged(&self, letters: &[Offset]) -> usize {
        let all = &self.lock().stages;
        let is_logged = |letter: &&Offset| all.get(letter).is_some_and(|stage| !matches!(stage, Stage::Claimed));
        letters.iter().filter(is_logged).count()
    }

    /// What the log has beyond the store's progress, as a life begins.
    pub fn found(&self, mends: &Mends) {
        let all = &mut self.lock().stages;
        all.extend(mends.retries.iter().map(|&Retry { letter, event }| (letter, Stage::Retried(event))));
        for discards in &mends.discards {
            all.extend(discards.letters.iter().map(|&letter| (letter, Stage::Discarded(discards.epoch, None))));
        }
    }

    /// The letters whose discard was asked for since the last call, for the coordinator.
    #[must_use]
    pub fn take_discards(&self) -> Vec<Offset> {
        std::mem::take(&mut self.lock().asked)
    }

    /// The coordinator discards these with an epoch.
    pub fn cut(&self, epoch: Epoch, letters: &[Offset]) {
        let all = &mut self.lock().stages;
        for letter in letters {
            let waiter = match all.remove(letter) {
                Some(Stage::Waiting(waiter)) => Some(waiter),
                _ => None,
            };
            all.insert(*letter, Stage::Discarded(epoch, waiter));
        }
    }

    /// The cuts up to this epoch are on disk, with what they discard.
    pub fn durable(&self, epoch: Epoch) {
        self.change_each(|stage| match stage {
            Stage::Discarded(of, Some(waiter)) if of <= epoch && !waiter.applied => {
                // Who asked may be gone.
                let _ = waiter.to.send(());
                Some(Stage::Discarded(of, None))
            }
            other => Some(other),
        });
    }

    /// The store has everything up to this epoch, which ended with `end` events.
    pub fn committed(&self, epoch: Epoch, end: Offset) {
        self.change_each(|stage| match stage {
            Stage::Retried(event) if event < end => None,
            Stage::Discarded(of, waiter) if of <= epoch => {
                if let Some(waiter) = waiter {
                    let _ = waiter.to.send(());
                }
                None
            }
            other => Some(other),
        });
    }

    fn change_each(&self, mut change: impl FnMut(Stage) -> Option<Stage>) {
        let all = &mut self.lock().stages;
        if !all.is_empty() {
            let changed = std::mem::take(all).into_iter();
            *all = changed.filter_map(|(letter, stage)| Some((letter, change(stage)?))).collect();
        }
    }
}

impl Claim {
    /// In the order in which they were claimed.
    #[must_use]
    pub fn letters(&self) -> &[Offset] {
        &self.letters
    }

    /// The claim on some of them alone, in this order; what is left stays with this one.
    #[must_use]
    pub fn split(&mut self, letters: &[Offset]) -> Self {
        assert!(letters.iter().all(|letter| self.letters.contains(letter)), "only what was claimed can be split off");
        self.letters.retain(|letter| !letters.contains(letter));
        Self { of: Arc::clone(&self.of), letters: letters.to_vec() }
    }

    /// What they come to if the events from `first` on are their retries.
    pub fn retries(&self, first: Offset) -> impl Iterator<Item = Retry> {
        self.letters.iter().zip(first.0..).map(|(&letter, event)| Retry { letter, event: Offset(event) })
    }

    /// Their retries are in the log: the events from `first` on, one each.
    #[must_use]
    pub fn retried(mut self, first: Offset) -> Vec<Retry> {
        let retries: Vec<Retry> = self.retries(first).collect();
        self.letters.clear();
        let all = &mut self.of.lock().stages;
        all.extend(retries.iter().map(|retry| (retry.letter, Stage::Retried(retry.event))));
        retries
    }

    /// Has them discarded. The answer comes when that is on disk; with `applied` when the store has done it. It is a claim on one letter.
    pub fn discard(mut self, applied: bool) -> oneshot::Receiver<()> {
        let (to, answer) = oneshot::channel();
        let letters = std::mem::take(&mut self.letters);
        let &[letter] = &letters[..] else { panic!("a discard is of one letter, not of {letters:?}") };
        let mut all = self.of.lock();
        all.stages.insert(letter, Stage::Waiting(Waiter { applied, to }));
        all.asked.push(letter);
        drop(all);
        answer
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        if !self.letters.is_empty() {
            let all = &mut self.of.lock().stages;
            for letter in &self.letters {
                all.remove(letter);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::mend::Discards;

    fn busy(letters: &Arc<Letters>, letter: u64) -> Option<Busy> {
        letters.claim(Offset(letter)).err()
    }

    #[test]
    fn one_of_two_gets_a_letter_until_the_store_has_what_became_of_it() {
        let letters = Arc::new(Letters::default());
        let claim = letters.claim(Offset(5)).unwrap();
        assert_eq!(busy(&letters, 5), Some(Busy::Claimed));
        drop(claim);
        assert_eq!(busy(&letters, 5), None, "given back");

        let claim = letters.claim(Offset(5)).unwrap();
        let retry = Retry { letter: Offset(5), event: Offset(40) };
        assert_eq!(claim.retried(Offset(40)), [retry]);
        letters.committed(Epoch(9), Offset(40));
        assert_eq!(busy(&letters, 5), Some(Busy::Retried(Offset(40))), "its epoch is not committed");
        letters.committed(Epoch(10), Offset(41));
        assert_eq!(busy(&letters, 5), None, "the store says it now");
    }

    #[test]
    fn of_several_those_are_claimed_that_are_free() {
        let letters = Arc::new(Letters::default());
        let held = letters.claim(Offset(2)).unwrap();
        let mut claim = letters.claim_free(&[1, 2, 3, 4].map(Offset));
        assert_eq!(claim.letters(), [1, 3, 4].map(Offset));
        let part = claim.split(&[4, 1].map(Offset));
        drop(claim);
        assert_eq!([1, 2, 3, 4].map(|n| busy(&letters, n).is_some()), [true, true, false, true]);
        let retries = part.retried(Offset(9));
        let expected = [(4, 9), (1, 10)];
        assert_eq!(retries.iter().map(|r| (r.letter.0, r.event.0)).collect::<Vec<_>>(), expected);
        drop(held);
        assert_eq!(busy(&letters, 2), None);
    }

    #[test]
    fn a_discard_is_answered_when_it_is_on_disk_or_when_it_is_done() {
        let letters = Arc::new(Letters::default());
        let discard = |letter, applied| letters.claim(Offset(letter)).unwrap().discard(applied);
        let (mut first, mut second) = (discard(1, false), discard(2, true));
        assert_eq!(letters.take_discards(), [1, 2].map(Offset));
        assert!(letters.take_discards().is_empty(), "each once");
        assert_eq!(busy(&letters, 1), Some(Busy::Discarded));
        letters.cut(Epoch(7), &[1, 2].map(Offset));
        letters.durable(Epoch(6));
        assert!(first.try_recv().is_err());
        letters.durable(Epoch(7));
        assert!(first.try_recv().is_ok() && second.try_recv().is_err());
        assert_eq!(busy(&letters, 1), Some(Busy::Discarded));
        letters.committed(Epoch(8), Offset(0));
        assert!(second.try_recv().is_ok());
        assert_eq!(busy(&letters, 1), None);
    }

    /// After a crash: what the log has, and the store not yet, is not done twice.
    #[test]
    fn what_the_log_has_is_under_way() {
        let mends = Mends {
            retries: vec![
                Retry { letter: Offset(1), event: Offset(50) },
                Retry { letter: Offset(2), event: Offset(60) },
            ],
            discards: vec![Discards { epoch: Epoch(3), letters: vec![Offset(9)] }],
        };
        let letters = Arc::new(Letters::default());
        letters.found(&mends.after(Epoch(3), Offset(55)));
        let found = [1, 2, 9].map(|n| busy(&letters, n));
        assert_eq!(found, [None, Some(Busy::Retried(Offset(60))), None]);
        letters.found(&mends.after(Epoch(2), Offset(50)));
        let found = [1, 2, 9].map(|n| busy(&letters, n));
        assert_eq!(found, [Some(Busy::Retried(Offset(50))), Some(Busy::Retried(Offset(60))), Some(Busy::Discarded)]);
    }
}
