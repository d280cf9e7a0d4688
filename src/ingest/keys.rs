//! Idempotency keys: which requests with one are in the log, and which are on their way there, so that a request that is sent again is answered and not
//! taken again. A key is durable with its events, in one frame; after a restart it is found in the newest checkpoint and in the log behind it.
//!
//! A key is forgotten when it has expired, and never before: where there is no room for another, the request is refused.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::core::keyed::{Fingerprint, KeyHash, Keyed, Logged};
use crate::core::units::Millis;
use crate::ingest::Receipt;

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
    /// Those that are logged, oldest first: a key that came anew after it had expired stands here again.
    logged: VecDeque<(Millis, KeyHash)>,
}

#[derive(Debug)]
enum Stage {
    /// Its request is on its way into the log.
    InFlight(Fingerprint),
    Logged(Logged),
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

    /// Takes the key for a request that is about to be submitted; `made` is kept with it.
    ///
    /// # Errors
    /// What is known of it already.
    pub fn claim(
        self: &Arc<Self>,
        key: KeyHash,
        body: Fingerprint,
        made: Arc<str>,
        now: Millis,
    ) -> Result<Claim, Known> {
        let all = &mut *self.lock();
        all.expire(now, self.limits.expiry);
        match all.stages.get(&key) {
            None if all.stages.len() >= self.limits.keys => return Err(Known::Full(self.limits.keys)),
            None => {}
            Some(stage) if stage.body() != body => return Err(Known::OtherBody),
            Some(Stage::InFlight(_)) => return Err(Known::InFlight),
            Some(Stage::Logged(logged)) => return Err(Known::Answered(Answered::of(&logged.request))),
        }
        all.stages.insert(key, Stage::InFlight(body));
        Ok(Claim { of: Arc::clone(self), key, body, made, is_logged: false })
    }

    /// What came of the request with this key and body, if it is in the log.
    #[must_use]
    pub fn answered(&self, key: KeyHash, body: Fingerprint, now: Millis) -> Option<Answered> {
        let all = &mut *self.lock();
        all.expire(now, self.limits.expiry);
        match all.stages.get(&key) {
            Some(Stage::Logged(logged)) if logged.request.body == body => Some(Answered::of(&logged.request)),
            _ => None,
        }
    }

    /// What a checkpoint and the log behind it have, as a life begins; in the order in which it was logged, some of it perhaps twice.
    pub fn found(&self, found: impl IntoIterator<Item = Logged>) {
        let all = &mut *self.lock();
        for logged in found {
            all.put(logged);
        }
    }

    /// All that are logged, in that order, for a checkpoint: everything that is on disk when this is called.
    #[must_use]
    pub fn kept(&self) -> Vec<Logged> {
        let all = &*self.lock();
        let newest = |(at, key): &(Millis, KeyHash)| match all.stages.get(key) {
            Some(Stage::Logged(logged)) if logged.at == *at => Some(logged.clone()),
            _ => None,
        };
        all.logged.iter().filter_map(newest).collect()
    }

    /// How many are remembered, those in flight among them.
    #[must_use]
    pub fn len(&self) -> usize {
        self.lock().stages.len()
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl All {
    fn put(&mut self, logged: Logged) {
        let key = logged.request.key;
        let is_known = |stage: &Stage| match stage {
            Stage::Logged(known) => known.request.first >= logged.request.first,
            Stage::InFlight(_) => false,
        };
        if self.stages.get(&key).is_some_and(is_known) {
            return;
        }
        self.logged.push_back((logged.at, key));
        self.stages.insert(key, Stage::Logged(logged));
    }

    fn expire(&mut self, now: Millis, expiry: Duration) {
        let expiry = u64::try_from(expiry.as_millis()).unwrap_or(u64::MAX);
        while let Some((at, key)) = self.logged.pop_front_if(|(at, _)| at.0.saturating_add(expiry) <= now.0) {
            if self.stages.get(&key).is_some_and(|stage| matches!(stage, Stage::Logged(logged) if logged.at == at)) {
                self.stages.remove(&key);
            }
        }
    }
}

impl Stage {
    fn body(&self) -> Fingerprint {
        match self {
            Self::InFlight(body) => *body,
            Self::Logged(logged) => logged.request.body,
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
        self.of.lock().put(Logged { request: self.request(receipt), at });
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

    fn claim(keys: &Arc<Keys>, key: u128, body: u128, now: u64) -> Result<Claim, Known> {
        keys.claim(KeyHash(key), Fingerprint(body), "".into(), Millis(now))
    }

    fn receipt(first: u64) -> Receipt {
        Receipt { first: Offset(first), count: 2 }
    }

    fn firsts(all: &[Logged]) -> Vec<u64> {
        all.iter().map(|logged| logged.request.first.0).collect()
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
        let again = claim(&keys, 1, 8, 0).unwrap();
        again.logged(receipt(5), Millis(100));
        assert_eq!(claim(&keys, 1, 8, HOUR + 99).err(), Some(answered(5)));
        assert_eq!(claim(&keys, 1, 7, HOUR + 99).err(), Some(Known::OtherBody));
        assert!(claim(&keys, 1, 7, HOUR + 100).is_ok(), "it has expired");
        assert!(keys.is_empty());
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
            claim(&before, u128::from(n), 0, 0).unwrap().logged(receipt(n * 10), Millis(n));
        }
        let kept = before.kept();
        // The first one came again after it had expired.
        claim(&before, 1, 9, HOUR + 2).unwrap().logged(receipt(50), Millis(HOUR + 2));
        let all = before.kept();
        assert_eq!(firsts(&all), [30, 40, 50]);
        let after = keys(10);
        after.found(kept.into_iter().chain(all.clone()));
        assert_eq!(firsts(&after.kept()), [20, 30, 40, 50]);
        assert_eq!(claim(&after, 1, 9, HOUR + 2).err(), Some(answered(50)));
        assert_eq!(after.kept(), all, "what has expired is forgotten");
    }
}
