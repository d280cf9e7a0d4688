//! Remembered ids. An owner decides an epoch's ids only when every worker has sent its own, in the order of their offsets: of two events
//! with one identity the lower offset wins, whichever arrived first. `docs/semantics.md`, "Remembering ids", is the rule carried out here.

use crate::core::columns::EventId;
use crate::core::keygroup::{KEY_GROUPS, KeyGroup, mix};
use crate::core::plan::TopicPlan;
use crate::core::units::{Micros, TopicId};

/// The narrowest time bucket: 120 s, so that a bucket's number fits 32 bits over the years 0 to 9999.
const BUCKET_WIDTH_MIN: i64 = 120_000_000;
/// A topic's memory is cut into about this many buckets, which are forgotten whole.
const BUCKETS_IN_MEMORY: i64 = 32;
/// 0000-01-01T00:00:00Z: no event is older.
const YEAR_ZERO: i64 = -62_167_219_200_000_000;

/// Which bucket of its topic's time an id falls into, counted from the year 0.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Bucket(pub u32);

/// How a topic's ids are put into buckets and when these are forgotten.
#[derive(Clone, Copy, Debug)]
pub struct Memory {
    width: i64,
    remember: Micros,
}

impl Memory {
    #[must_use]
    pub fn of(topic: &TopicPlan) -> Self {
        Self::lasting(topic.remember)
    }

    /// Of a topic whose ids are remembered so long.
    #[must_use]
    pub fn lasting(remember: Micros) -> Self {
        let share = remember.0.div_euclid(BUCKETS_IN_MEMORY) + i64::from(remember.0.rem_euclid(BUCKETS_IN_MEMORY) > 0);
        Self { width: share.max(BUCKET_WIDTH_MIN), remember }
    }

    /// The bucket of an event of this time.
    #[must_use]
    pub fn bucket(&self, time: Micros) -> Bucket {
        let number = time.0.div_euclid(self.width) - YEAR_ZERO.div_euclid(self.width);
        Bucket(u32::try_from(number.max(0)).unwrap_or(u32::MAX - 1))
    }

    /// The first bucket that is still remembered when the topic's watermark (its largest time minus `out_of_order`) stands here.
    #[must_use]
    pub fn first_remembered(&self, watermark: Micros) -> Bucket {
        if watermark == Micros::MIN {
            return Bucket(0);
        }
        // Forgotten iff (bucket + 1) * width + remember <= watermark.
        let ended = watermark.minus(self.remember).0.div_euclid(self.width) - YEAR_ZERO.div_euclid(self.width);
        Bucket(u32::try_from(ended.max(0)).unwrap_or(u32::MAX))
    }
}

/// One remembered id, as checkpoints hold it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SeenId {
    pub topic: TopicId,
    pub id: EventId,
    pub bucket: Bucket,
}

/// The ids of the key groups that one worker owns.
#[derive(Debug)]
pub struct Seen {
    /// By topic, then by key group; those of other owners stay empty.
    tables: Vec<Vec<IdTable>>,
    /// Ids that came since the last seal: what the next checkpoint writes.
    fresh: Vec<SeenId>,
    len: usize,
}

impl Seen {
    #[must_use]
    pub fn new(topics: usize) -> Self {
        let topic = || (0..KEY_GROUPS).map(|_| IdTable::default()).collect();
        Self { tables: (0..topics).map(|_| topic()).collect(), fresh: Vec::new(), len: 0 }
    }

    /// Remembers the id; false if it was remembered already: the event is a duplicate.
    pub fn insert(&mut self, group: KeyGroup, seen: SeenId) -> bool {
        let new = self.table(group, seen.topic).insert(seen.id, seen.bucket);
        if new {
            self.len += 1;
            self.fresh.push(seen);
        }
        new
    }

    /// Remembers an id out of a checkpoint, which needs no sealing again. An id that was forgotten and came anew is in two sealed files:
    /// the later one counts.
    pub fn restore(&mut self, group: KeyGroup, seen: SeenId) {
        let new = self.table(group, seen.topic).replace(seen.id, seen.bucket);
        self.len += usize::from(new);
    }

    fn table(&mut self, group: KeyGroup, topic: TopicId) -> &mut IdTable {
        let table = self.tables.get_mut(usize::from(topic.0)).and_then(|t| t.get_mut(usize::from(group.0)));
        table.unwrap_or_else(|| panic!("topic {} is none of the plan's", topic.0))
    }

    /// Forgets the topic's buckets before this one.
    pub fn forget(&mut self, topic: TopicId, first_remembered: Bucket) {
        let Some(tables) = self.tables.get_mut(usize::from(topic.0)) else { return };
        let mut forgotten = 0;
        for table in tables.iter_mut().filter(|t| t.is_older(first_remembered)) {
            forgotten += table.forget(first_remembered);
        }
        self.len -= forgotten;
        if forgotten > 0 {
            self.fresh.retain(|s| s.topic != topic || s.bucket >= first_remembered);
        }
    }

    /// Makes room for so many topics, and forgets all ids of these.
    pub fn carry(&mut self, topics: usize, forgotten: &[TopicId]) {
        let fresh = || (0..KEY_GROUPS).map(|_| IdTable::default()).collect::<Vec<_>>();
        for topic in forgotten {
            if let Some(tables) = self.tables.get_mut(usize::from(topic.0)) {
                self.len -= tables.iter().map(|table| table.len).sum::<usize>();
                *tables = fresh();
            }
        }
        self.fresh.retain(|seen| !forgotten.contains(&seen.topic));
        self.tables.resize_with(topics.max(self.tables.len()), fresh);
    }

    /// Number of remembered ids.
    #[must_use]
    pub fn len(&self) -> usize {
        self.len
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Takes the ids that came since the last call.
    pub fn seal(&mut self) -> Vec<SeenId> {
        std::mem::take(&mut self.fresh)
    }

    /// Every remembered id.
    pub fn iter(&self) -> impl Iterator<Item = SeenId> + '_ {
        self.tables.iter().enumerate().flat_map(|(topic, tables)| {
            let topic = TopicId(topic as u16);
            tables.iter().flat_map(move |t| t.iter().map(move |(id, bucket)| SeenId { topic, id, bucket }))
        })
    }
}

/// Slots a table begins with.
const SLOTS_MIN: usize = 16;

/// An open-addressing set of ids with their buckets: 20 bytes a slot, 64 to 80 % of the slots in use once it has grown. What is forgotten
/// stays in its slot until the table is rebuilt, at the latest when it is more than a fifth of what is there: so at most 20 / (0.64 · 0.8)
/// = 39 bytes an id, and an id is moved a few times in its life, not once for each bucket that is forgotten. A general hash map grows by
/// doubling and would pass the 40 bytes an id may cost.
#[derive(Debug, Default)]
struct IdTable {
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
    fn insert(&mut self, id: EventId, bucket: Bucket) -> bool {
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

    fn replace(&mut self, id: EventId, bucket: Bucket) -> bool {
        let new = self.insert(id, bucket);
        if !new {
            let slot = self.slot_of(id);
            let before = Bucket(self.buckets[slot] - 1);
            self.buckets[slot] = bucket.0 + 1;
            self.count(bucket);
            if let Some((_, count)) = self.by_bucket.iter_mut().find(|(b, _)| *b == before) {
                *count -= 1;
            }
            self.by_bucket.retain(|&(_, count)| count > 0);
        }
        new
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
    fn is_older(&self, first_remembered: Bucket) -> bool {
        self.by_bucket.first().is_some_and(|&(oldest, _)| oldest < first_remembered)
    }

    fn forget(&mut self, first_remembered: Bucket) -> usize {
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

    fn iter(&self) -> impl Iterator<Item = (EventId, Bucket)> + '_ {
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
                    let new = model.insert(id, bucket).is_none();
                    prop_assert_eq!(table.replace(EventId(id), Bucket(bucket)), new);
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
    fn an_id_is_forgotten_exactly_when_its_bucket_ends() {
        let memory = Memory { width: 120_000_000, remember: Micros(3_600_000_000) };
        let bucket = memory.bucket(Micros(-1));
        // It ends at 0, and is remembered an hour longer.
        assert!(memory.first_remembered(Micros(3_599_999_999)) <= bucket);
        assert!(memory.first_remembered(Micros(3_600_000_000)) > bucket);
        assert_eq!(memory.first_remembered(Micros::MIN), Bucket(0));
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
