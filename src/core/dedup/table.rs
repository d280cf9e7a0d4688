//! Ids of one topic and key group in memory.

use crate::core::columns::EventId;
use crate::core::dedup::bucket::Bucket;
use crate::core::dedup::run::Entry;
use crate::core::keygroup::mix;

/// Slots a table begins with.
const SLOTS_MIN: usize = 16;

/// An open-addressing set of ids with their buckets: 20 bytes a slot, 64 to 80 % of the slots in use once it has grown. What is forgotten
/// stays in its slot until the table is rebuilt, at the latest when it is more than a fifth of what is there: so at most 20 / (0.64 · 0.8)
/// = 39 bytes an id, and an id is moved a few times in its life, not once for each bucket that is forgotten. A general hash map grows by
/// doubling and would pass the 40 bytes an id may cost.
#[derive(Debug, Default)]
pub(super) struct IdTable {
    ids: Vec<u128>,
    /// The id's bucket + 1; 0: the slot is free.
    buckets: Vec<u32>,
    /// Slots that are not free, those of forgotten ids included.
    used: usize,
    /// Remembered ids.
    len: usize,
    /// Ids in older buckets are forgotten.
    first_remembered: Bucket,
    /// How many ids are remembered of each bucket, in order; never 0 of one.
    by_bucket: Vec<(Bucket, usize)>,
}

impl IdTable {
    pub(super) fn insert(&mut self, id: EventId, bucket: Bucket) -> bool {
        if bucket < self.first_remembered {
            // It is remembered until ids are forgotten the next time: what was forgotten before must be gone by then.
            self.rebuild();
            self.first_remembered = bucket;
        }
        if self.used * 5 >= self.ids.len() * 4 {
            self.rebuild();
        }
        let slot = self.slot_of(id);
        let before = self.buckets[slot];
        if self.remembers(before) {
            return false;
        }
        self.used += usize::from(before == 0);
        self.ids[slot] = id.0;
        self.buckets[slot] = bucket.0 + 1;
        self.len += 1;
        self.count(bucket);
        true
    }

    /// Remembers the id in the later of this bucket and the one that it is remembered in; false if there was one.
    pub(super) fn raise(&mut self, id: EventId, bucket: Bucket) -> bool {
        let Some(before) = self.get(id) else { return self.insert(id, bucket) };
        if bucket > before {
            let slot = self.slot_of(id);
            self.buckets[slot] = bucket.0 + 1;
            self.count(bucket);
            if let Some((_, count)) = self.by_bucket.iter_mut().find(|(b, _)| *b == before) {
                *count -= 1;
            }
            self.by_bucket.retain(|&(_, count)| count > 0);
        }
        false
    }

    /// The bucket in which an id is remembered.
    pub(super) fn get(&self, id: EventId) -> Option<Bucket> {
        if self.ids.is_empty() {
            return None;
        }
        let bucket = self.buckets[self.slot_of(id)];
        self.remembers(bucket).then(|| Bucket(bucket - 1))
    }

    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// Takes what it remembers of this bucket and later ones, in order; the rest stays.
    pub(super) fn take(&mut self, from: Bucket) -> Vec<Entry> {
        let all = std::mem::take(self);
        let mut taken = Vec::with_capacity(all.len);
        for (id, bucket) in all.iter() {
            if bucket < from {
                self.insert(id, bucket);
            } else {
                taken.push(Entry::of(id, bucket));
            }
        }
        taken.sort_unstable();
        taken
    }

    fn remembers(&self, slot: u32) -> bool {
        slot > self.first_remembered.0
    }

    fn count(&mut self, bucket: Bucket) {
        // Nearly always the newest.
        let at = self.by_bucket.iter().rposition(|&(b, _)| b <= bucket);
        match at.map(|at| &mut self.by_bucket[at]) {
            Some((known, count)) if *known == bucket => *count += 1,
            _ => self.by_bucket.insert(at.map_or(0, |at| at + 1), (bucket, 1)),
        }
    }

    /// The slot that holds the id, or the free one where it belongs. There is always a free slot.
    fn slot_of(&self, id: EventId) -> usize {
        let slots = self.ids.len();
        // The key group took the hash's top bits; the next ones choose the slot.
        let hash = mix(id) << 7;
        let mut slot = ((u128::from(hash) * slots as u128) >> 64) as usize;
        while self.buckets[slot] != 0 && self.ids[slot] != id.0 {
            slot += 1;
            if slot == slots {
                slot = 0;
            }
        }
        slot
    }

    /// Whether an id is in an older bucket than this.
    pub(super) fn is_older(&self, first_remembered: Bucket) -> bool {
        self.by_bucket.first().is_some_and(|&(oldest, _)| oldest < first_remembered)
    }

    pub(super) fn forget(&mut self, first_remembered: Bucket) -> usize {
        let buckets = self.by_bucket.partition_point(|&(b, _)| b < first_remembered);
        let forgotten = self.by_bucket.drain(..buckets).map(|(_, count)| count).sum();
        self.first_remembered = self.first_remembered.max(first_remembered);
        self.len -= forgotten;
        if self.len * 5 < self.used * 4 {
            self.rebuild();
        }
        forgotten
    }

    /// Drops what is forgotten and leaves 64 % of the slots in use.
    fn rebuild(&mut self) {
        let slots = (self.len * 25 / 16).max(SLOTS_MIN);
        let ids = std::mem::replace(&mut self.ids, vec![0; slots]);
        let buckets = std::mem::replace(&mut self.buckets, vec![0; slots]);
        for (id, bucket) in ids.into_iter().zip(buckets) {
            if !self.remembers(bucket) {
                continue;
            }
            let slot = self.slot_of(EventId(id));
            self.ids[slot] = id;
            self.buckets[slot] = bucket;
        }
        self.used = self.len;
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (EventId, Bucket)> + '_ {
        let slots = self.ids.iter().zip(&self.buckets).filter(|&(_, &b)| self.remembers(b));
        slots.map(|(&id, &b)| (EventId(id), Bucket(b - 1)))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_table_is_a_map_that_forgets_old_buckets(
            steps in prop::collection::vec((0u128..400, 0u32..20, prop::bool::weighted(0.02), prop::bool::weighted(0.05)), 0..2000),
        ) {
            let mut table = IdTable::default();
            let mut model: HashMap<u128, u32> = HashMap::new();
            for (id, bucket, forget, restore) in steps {
                if forget {
                    let gone = model.values().filter(|&&b| b < bucket).count();
                    model.retain(|_, b| *b >= bucket);
                    prop_assert_eq!(table.forget(Bucket(bucket)), gone);
                } else if restore {
                    let new = !model.contains_key(&id);
                    let later = model.entry(id).or_insert(bucket);
                    *later = bucket.max(*later);
                    prop_assert_eq!(table.raise(EventId(id), Bucket(bucket)), new);
                } else {
                    let new = !model.contains_key(&id);
                    model.entry(id).or_insert(bucket);
                    prop_assert_eq!(table.insert(EventId(id), Bucket(bucket)), new);
                }
                prop_assert_eq!(table.len, model.len());
                prop_assert_eq!(table.is_older(Bucket(7)), model.values().any(|&b| b < 7));
            }
            let mut left: Vec<_> = table.iter().map(|(i, b)| (i.0, b.0)).collect();
            left.sort_unstable();
            let mut expected: Vec<_> = model.into_iter().collect();
            expected.sort_unstable();
            prop_assert_eq!(left, expected);
        }
    }

    #[test]
    fn an_id_costs_at_most_forty_bytes() {
        let mut table = IdTable::default();
        let check = |table: &IdTable| {
            if table.len > 1000 {
                assert!(table.ids.len() * 20 <= table.len * 40, "{} slots for {} ids", table.ids.len(), table.len);
            }
        };
        for n in 0..200_000u32 {
            table.insert(EventId(u128::from(n) * 0x9e37_79b9_7f4a_7c15), Bucket(n / 1000));
            check(&table);
            if n % 1000 == 0 && n > 100_000 {
                table.forget(Bucket(n / 1000 - 100));
                check(&table);
            }
        }
        for bucket in 100..200 {
            table.forget(Bucket(bucket));
            check(&table);
        }
    }
}
