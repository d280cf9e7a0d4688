//! Key groups: the fixed hash ranges by which ids and groups are spread over workers. The number of workers only decides who owns a
//! key group, so state written by three workers is read by two or eight.

use std::ops::Range;

use xxhash_rust::xxh3::xxh3_64;

use crate::core::columns::EventId;

/// How many key groups a key space has; also the most workers a job can use.
pub const KEY_GROUPS: usize = 128;

/// One of the `KEY_GROUPS` hash ranges of a key space.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct KeyGroup(pub u8);

impl KeyGroup {
    /// The key group of an event's identity. Stable: it stands in checkpoints.
    #[must_use]
    pub fn of_id(id: EventId) -> Self {
        Self::from_hash(mix(id))
    }

    /// The key group of a window's group, by its canonical bytes.
    #[must_use]
    pub fn of_group(canonical: &[u8]) -> Self {
        Self::from_hash(xxh3_64(canonical))
    }

    fn from_hash(hash: u64) -> Self {
        // The top seven bits: always below 128.
        Self((hash >> 57) as u8)
    }
}

/// How many shares the key groups are cut into.
pub const SHARES: usize = 64;

/// The key groups whose remembered ids one checkpoint brings whole: every `SHARES`th of them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Share(pub u8);

impl Share {
    /// The share that a key group is in.
    #[must_use]
    pub fn of(group: KeyGroup) -> Self {
        Self(group.0 % SHARES as u8)
    }

    #[must_use]
    pub fn next(self) -> Self {
        Self((self.0 + 1) % SHARES as u8)
    }

    #[must_use]
    pub fn before(self) -> Self {
        Self((self.0 + SHARES as u8 - 1) % SHARES as u8)
    }

    pub fn groups(self) -> impl Iterator<Item = KeyGroup> {
        (self.0..KEY_GROUPS as u8).step_by(SHARES).map(KeyGroup)
    }
}

/// A well-mixed 64-bit hash of an id whose bits may be no hash themselves (time-ordered UUIDs). Stable.
#[must_use]
pub fn mix(id: EventId) -> u64 {
    let (high, low) = ((id.0 >> 64) as u64, id.0 as u64);
    let product = u128::from(high ^ 0x9e37_79b9_7f4a_7c15) * u128::from(low ^ 0xd1b5_4a32_d192_ed03);
    let folded = (product >> 64) as u64 ^ product as u64 ^ high.rotate_left(32) ^ low;
    folded.wrapping_mul(0x9fb2_1c65_1e98_df25) ^ (folded >> 29)
}

/// Who owns which key group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Owners {
    workers: usize,
}

impl Owners {
    /// # Panics
    /// If `workers` is 0 or more than `KEY_GROUPS`: configuration has refused both.
    #[must_use]
    pub fn new(workers: usize) -> Self {
        assert!((1..=KEY_GROUPS).contains(&workers), "{workers} workers: 1 to {KEY_GROUPS} are possible");
        Self { workers }
    }

    #[must_use]
    pub fn workers(self) -> usize {
        self.workers
    }

    /// The worker (from 0) that owns this key group.
    #[must_use]
    pub fn owner(self, group: KeyGroup) -> usize {
        usize::from(group.0) * self.workers / KEY_GROUPS
    }

    /// The key groups that a worker owns: a contiguous range.
    #[must_use]
    pub fn range(self, worker: usize) -> Range<u8> {
        let first = |w: usize| (w * KEY_GROUPS).div_ceil(self.workers) as u8;
        first(worker)..first(worker + 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_key_group_has_one_owner_for_any_number_of_workers() {
        for workers in 1..=KEY_GROUPS {
            let owners = Owners::new(workers);
            let mut seen = 0;
            for worker in 0..workers {
                for group in owners.range(worker) {
                    assert_eq!(owners.owner(KeyGroup(group)), worker);
                    seen += 1;
                }
            }
            assert_eq!(seen, KEY_GROUPS);
        }
    }

    #[test]
    fn time_ordered_ids_spread_over_all_key_groups() {
        let mut hits = [0u32; KEY_GROUPS];
        for n in 0..128_000u128 {
            hits[usize::from(KeyGroup::of_id(EventId((n << 80) + (7 << 76) + 42)).0)] += 1;
        }
        assert!(hits.iter().all(|&h| (700..1300).contains(&h)), "{hits:?}");
    }
}
