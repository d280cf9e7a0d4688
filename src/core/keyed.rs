//! Requests that name themselves by an `Idempotency-Key`: which one it was, and what it was answered. It goes into the log with the request's events, so that
//! both are there or neither.

use std::sync::Arc;

use xxhash_rust::xxh3::{Xxh3, xxh3_128};

use crate::core::units::{Millis, Offset};

/// A key, by a 128-bit hash: keys are of any length, and perhaps not for everyone to read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct KeyHash(pub u128);

/// What a request asks for: its path and its events as they would stand in the log, hashed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fingerprint(pub u128);

/// A request that is in the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Keyed {
    pub key: KeyHash,
    pub body: Fingerprint,
    /// Its events.
    pub first: Offset,
    pub count: u32,
    /// What was filled in for it: a JSON object, in which null stands for what the request says itself; or empty.
    pub made: Arc<str>,
}

/// With when it was taken in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Logged {
    pub request: Keyed,
    pub at: Millis,
}

impl KeyHash {
    #[must_use]
    pub fn of(key: &str) -> Self {
        Self(xxh3_128(key.as_bytes()))
    }
}

impl Fingerprint {
    #[must_use]
    pub fn of(path: &str, lines: &[u8]) -> Self {
        let mut hash = Xxh3::new();
        // No path holds a line end, so none is taken for the beginning of the events.
        hash.update(path.as_bytes());
        hash.update(b"\n");
        hash.update(lines);
        Self(hash.digest128())
    }
}
