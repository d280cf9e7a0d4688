//! Idempotency keys: which requests with one are in the log, and which are on their way there, so that a request that is sent again is answered and not
//! taken again. A key is durable with its events, in one frame; after a restart it is found in the newest checkpoint and in the log behind it.
//!
//! A key is forgotten when it has expired, and never before: where there is no room for another, the request is refused. While the job runs, keys age by the
//! time that it has been up, so that no step of the wall clock makes them older; how old those were that a start finds, only the wall clock can say.

use std::collections::{BTreeMap, VecDeque};
use std::iter;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::core::keyed::{Fingerprint, KeyHash, Keyed, Logged};
use crate::core::units::Millis;
use crate::ingest::Receipt;

/// So many are copied for a checkpoint while those wait who claim one.
const COPIED_AT_ONCE: usize = 1_024;

/// What is remembered.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Keys at once (IDEMPOTENCY_KEYS_MAX).
    pub keys: usize,
    /// From when their events were taken in (IDEMPOTENCY_EXPIRY).
    pub expiry: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self { keys: 1_000_000, expiry: Duration::from_hours(24) }
    }
}

/// All of them.
#[derive(Debug, Default)]
pub struct Keys {
    limits: Limits,
    all: Mutex<All>,
}

#[derive(Debug, Default)]
struct All {
    stages: BTreeMap<KeyHash, Stage>,
    /// Those that are logged, oldest first: one that a start found twice stands here twice.
    logged: VecDeque<Entry>,
    /// How many were taken from the front of `logged`.
    gone: u64,
}

#[derive(Debug)]
enum Stage {
    /// Its request is on its way into the log.
    InFlight(Fingerprint),
    /// Its place in `logged`, counted from the first that ever was there.
    Logged(u64),
}

#[derive(Debug)]
struct Entry {
    logged: Logged,
    /// When it expires, in the job's time up.
    due: Millis,
}

/// Why a request with a key is not taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Known {
    /// It was: this is what came of it.
    Answered(Answered),
    /// It is on its way.
    InFlight,
    /// The key is another request's.
    OtherBody,
    /// Nothing is known of it, and so many keys are remembered already.
    Full(usize),
}

/// What a request was answered that is in the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answered {
    pub receipt: Receipt,
    pub made: Arc<str>,
}

/// The right to log a request under its key; given back when it is dropped, unless that has been done.
#[derive(Debug)]
pub struct Claim {
    of: Arc<Keys>,
    key: KeyHash,
    body: Fingerprint,
    made: Arc<str>,
    due: Millis,
    is_logged: bool,
}

impl Keys {
    #[must_use]
    pub fn new(limits: Limits) -> Self {
        Self { limits, all: Mutex::default() }
    }

    /// A change of one entry is whole, so a thread that died with the lock held has harmed nothing.
    fn lock(&self) -> MutexGuard<'_, All> {
        self.all.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn due(&self, up: Millis, age: u64) -> Millis {
        let expiry = u64::try_from(self.limits.expiry.as_millis()).unwrap_or(u64::MAX);
        Millis(up.0.saturating_add(expiry.saturating_sub(age)))
    }

    /// Takes the key for a request that is about to be submitted; `made` is kept with it. `up`: of the job's clock.
    ///
    /// # Errors
    /// What is known of it already.
    pub fn claim(
        self: &Arc<Self>,
        key: KeyHash,
        body: Fingerprint,
        made: Arc<str>,
        up: Millis,
    ) -> Result<Claim, Known> {
        let all = &mut *self.lock();
        all.expire(up);
        match all.stages.get(&key) {
            None if all.stages.len() >= self.limits.keys => return Err(Known::Full(self.limits.keys)),
            None => {}
            Some(Stage::InFlight(of)) if *of == body => return Err(Known::InFlight),
            Some(Stage::InFlight(_)) => return Err(Known::OtherBody),
            Some(Stage::Logged(at)) => match &all.entry(*at).logged.request {
                request if request.body == body => return Err(Known::Answered(Answered::of(request))),
                _ => return Err(Known::OtherBody),
            },
        }
        all.stages.insert(key, Stage::InFlight(body));
        Ok(Claim { of: Arc::clone(self), key, body, made, due: self.due(up, 0), is_logged: false })
    }

    /// What a checkpoint and the log behind it have, as a life begins; in the order in which it was logged, some of it perhaps twice. `unix` and `up`: of the
    /// job's clock at this moment. What was taken in later than now, by that clock, is as new as can be.
    pub fn found(&self, found: impl IntoIterator<Item = Logged>, unix: Millis, up: Millis) {
        let all = &mut *self.lock();
        for logged in found {
            let due = self.due(up, unix.0.saturating_sub(logged.at.0));
            all.put(logged, due);
        }
    }

    /// All that are logged, in that order, for a checkpoint: everything that is on disk when this is called and does not expire before it comes by. They are
    /// taken piece by piece, so that nobody waits for long who claims one.
    pub fn kept(&self) -> impl Iterator<Item = Logged> {
        let (mut next, end) = {
            let all = self.lock();
            (all.gone, all.gone + all.logged.len() as u64)
        };
        let mut piece = Vec::new().into_iter();
        iter::from_fn(move || {
            if piece.as_slice().is_empty() {
                let all = self.lock();
                let from = next.max(all.gone);
                let place = |n: u64| usize::try_from(n.saturating_sub(all.gone)).unwrap_or(usize::MAX);
                let here = place(from)..place(end).min(place(from) + COPIED_AT_ONCE);
                let entries = all.logged.range(here.start..here.end.max(here.start));
                let copied: Vec<Logged> = entries.map(|entry| entry.logged.clone()).collect();
                next = from + copied.len() as u64;
                piece = copied.into_iter();
            }
            piece.next()
        })
    }

    /// How many are remembered, those in flight among them. `up`: of the job's clock.
    #[must_use]
    pub fn count(&self, up: Millis) -> usize {
        let mut all = self.lock();
        all.expire(up);
        all.stages.len()
    }

    /// How many may be.
    #[must_use]
    pub fn max(&self) -> usize {
        self.limits.keys
    }
}

impl All {
    /// What stands in `stages` as logged is in `logged`: both change together.
    fn entry(&self, at: u64) -> &Entry {
        &self.logged[(at - self.gone) as usize]
    }

    fn put(&mut self, logged: Logged, due: Millis) {
        let key = logged.request.key;
        if let Some(Stage::Logged(at)) = self.stages.get(&key)
            && self.entry(*at).logged.request.first >= logged.request.first
        {
            return;
        }
        self.stages.insert(key, Stage::Logged(self.gone + self.logged.len() as u64));
        self.logged.push_back(Entry { logged, due });
    }

    fn expire(&mut self, up: Millis) {
        while let Some(Entry { logged, .. }) = self.logged.pop_front_if(|entry| entry.due <= up) {
            let key = logged.request.key;
            if self.stages.get(&key).is_some_and(|stage| matches!(stage, Stage::Logged(at) if *at == self.gone)) {
                self.stages.remove(&key);
            }
            self.gone += 1;
        }
    }
}

impl Answered {
    fn of(request: &Keyed) -> Self {
        let receipt = Receipt { first: request.first, count: request.count };
        Self { receipt, made: Arc::clone(&request.made) }
    }
}

impl Claim {
    /// What the log is to say of it, if these are its events.
    #[must_use]
    pub fn request(&self, Receipt { first, count }: Receipt) -> Keyed {
        Keyed { key: self.key, body: self.body, first, count, made: Arc::clone(&self.made) }
    }

    /// It is on disk, and was taken in at this time.
    pub fn logged(mut self, receipt: Receipt, at: Millis) {
        self.is_logged = true;
        self.of.lock().put(Logged { request: self.request(receipt), at }, self.due);
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        if !self.is_logged {
            self.of.lock().stages.remove(&self.key);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::units::Offset;

    const HOUR: u64 = 3_600_000;

    fn keys(max: usize) -> Arc<Keys> {
        Arc::new(Keys::new(Limits { keys: max, expiry: Duration::from_hours(1) }))
    }

    fn claim(keys: &Arc<Keys>, key: u128, body: u128, up: u64) -> Result<Claim, Known> {
        keys.claim(KeyHash(key), Fingerprint(body), "".into(), Millis(up))
    }

    fn receipt(first: u64) -> Receipt {
        Receipt { first: Offset(first), count: 2 }
    }

    fn firsts(keys: &Keys) -> Vec<u64> {
        keys.kept().map(|logged| logged.request.first.0).collect()
    }

    fn answered(first: u64) -> Known {
        Known::Answered(Answered { receipt: receipt(first), made: "".into() })
    }

    #[test]
    fn a_key_is_one_requests_until_it_expires() {
        let keys = keys(10);
        let first = claim(&keys, 1, 7, 0).unwrap();
        assert_eq!(claim(&keys, 1, 7, 0).err(), Some(Known::InFlight));
        assert_eq!(claim(&keys, 1, 8, 0).err(), Some(Known::OtherBody));
        drop(first);
        let again = claim(&keys, 1, 8, 100).unwrap();
        // Whatever the wall clock says.
        again.logged(receipt(5), Millis(999 * HOUR));
        assert_eq!(claim(&keys, 1, 8, HOUR + 99).err(), Some(answered(5)));
        assert_eq!(claim(&keys, 1, 7, HOUR + 99).err(), Some(Known::OtherBody));
        assert_eq!([HOUR + 99, HOUR + 100].map(|up| keys.count(Millis(up))), [1, 0]);
        assert!(claim(&keys, 1, 7, HOUR + 100).is_ok(), "it has expired");
    }

    #[test]
    fn no_key_is_forgotten_for_want_of_room() {
        let keys = keys(2);
        claim(&keys, 1, 1, 0).unwrap().logged(receipt(0), Millis(0));
        let held = claim(&keys, 2, 2, 0).unwrap();
        assert_eq!(claim(&keys, 3, 3, 0).err(), Some(Known::Full(2)));
        assert_eq!(claim(&keys, 1, 1, 0).err(), Some(answered(0)));
        drop(held);
        assert!(claim(&keys, 3, 3, 0).is_ok());
    }

    /// A checkpoint has what was logged before it and a part of what came after, the log all of the latter.
    #[test]
    fn a_start_finds_them_again() {
        let before = keys(10);
        for n in 1..5 {
            claim(&before, u128::from(n), 0, n).unwrap().logged(receipt(n * 10), Millis(n));
        }
        let kept: Vec<Logged> = before.kept().collect();
        // The first one came again after it had expired.
        claim(&before, 1, 9, HOUR + 2).unwrap().logged(receipt(50), Millis(HOUR + 2));
        let all: Vec<Logged> = before.kept().collect();
        assert_eq!(firsts(&before), [30, 40, 50]);
        let after = keys(10);
        after.found(kept.into_iter().chain(all), Millis(HOUR + 2), Millis(0));
        assert_eq!(claim(&after, 1, 9, 0).err(), Some(answered(50)));
        assert_eq!(firsts(&after), [30, 40, 50], "what has expired is forgotten");
    }

    /// At a start the wall clock says how old they are, and then it may step as it likes.
    #[test]
    fn what_a_start_finds_ages_on() {
        let logged = |key: u128, at: u64| {
            let request =
                Keyed { key: KeyHash(key), body: Fingerprint(0), first: Offset(at), count: 2, made: "".into() };
            Logged { request, at: Millis(at) }
        };
        let keys = keys(10);
        keys.found([logged(1, 100), logged(2, HOUR), logged(3, 5 * HOUR)], Millis(HOUR), Millis(7));
        assert_eq!(claim(&keys, 1, 0, 106).err(), Some(answered(100)));
        assert!(claim(&keys, 1, 0, 107).is_ok());
        // The last one is of the future: as if it had come just now.
        assert_eq!([2, 3].map(|key| claim(&keys, key, 0, HOUR + 6).is_ok()), [false, false]);
        assert_eq!([2, 3].map(|key| claim(&keys, key, 0, HOUR + 7).is_ok()), [true, true]);
    }

    /// A checkpoint is written beside those who claim and log keys, and beside the end of old ones.
    #[test]
    fn a_checkpoint_has_all_that_is_there_when_it_is_begun() {
        let keys = keys(usize::MAX);
        let count = 3 * COPIED_AT_ONCE as u64 + 5;
        let log = |n: u64, up: u64| claim(&keys, u128::from(n), 0, up).unwrap().logged(receipt(n), Millis(up));
        (0..count).for_each(|n| log(n, n));
        let mut kept = keys.kept();
        let mut found: Vec<u64> = kept.by_ref().take(10).map(|logged| logged.request.first.0).collect();
        // This makes most of the second piece expire, and is not part of it.
        let gone = 2 * COPIED_AT_ONCE as u64 - 7;
        log(count, HOUR + gone - 1);
        found.extend(kept.map(|logged| logged.request.first.0));
        let expected: Vec<u64> = (0..COPIED_AT_ONCE as u64).chain(gone..count).collect();
        assert!(found == expected, "{} are found, {} were expected", found.len(), expected.len());
        assert!(firsts(&keys).into_iter().eq(gone..=count));
    }
}
