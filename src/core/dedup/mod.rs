//! Remembered ids. An owner decides an epoch's ids only when every worker has sent its own, in the order of their offsets: of two events
//! with one identity the lower offset wins, whichever arrived first. `docs/semantics.md`, "Remembering ids", is the rule carried out here.
//!
//! Ids stay in memory up to a limit (`tables`); beyond it they are sealed into runs (`sealed`, `run`), which lie wherever `runs::Runs` puts them.
//! Which of them are sealed changes no verdict.

pub mod bucket;
mod tables;
mod table;
mod sealed;
mod run;
mod filter;
pub mod runs;

use std::ops::Range;

use crate::core::columns::EventId;
use crate::core::dedup::bucket::Bucket;
use crate::core::dedup::run::{Cell, Entry};
use crate::core::dedup::runs::{MemoryRuns, Runs, RunsError};
use crate::core::dedup::sealed::Sealed;
use crate::core::dedup::tables::Tables;
use crate::core::keygroup::{KEY_GROUPS, KeyGroup};
use crate::core::units::TopicId;

/// One remembered id, as checkpoints hold it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SeenId {
    pub topic: TopicId,
    pub id: EventId,
    pub bucket: Bucket,
}

/// How many ids a worker keeps in memory, and where the others are sealed.
#[derive(Debug)]
pub struct IdMemory {
    pub in_memory_max: usize,
    pub runs: Box<dyn Runs>,
}

impl IdMemory {
    /// All in memory.
    #[must_use]
    pub fn unbounded() -> Self {
        Self { in_memory_max: usize::MAX, runs: Box::<MemoryRuns>::default() }
    }
}

impl SeenId {
    /// How long one is in a checkpoint: topic (u16), bucket (u32), id (u128), little-endian.
    pub const BYTES: usize = 22;

    pub fn put(&self, into: &mut Vec<u8>) {
        into.extend_from_slice(&self.topic.0.to_le_bytes());
        into.extend_from_slice(&self.bucket.0.to_le_bytes());
        into.extend_from_slice(&self.id.0.to_le_bytes());
    }

    /// Those in these bytes; what is left over at the end is none.
    pub fn all(bytes: &[u8]) -> impl Iterator<Item = Self> + '_ {
        bytes.chunks_exact(Self::BYTES).filter_map(|bytes| {
            let (topic, rest) = bytes.split_first_chunk()?;
            let (bucket, rest) = rest.split_first_chunk()?;
            let (id, _) = rest.split_first_chunk()?;
            let (topic, bucket) = (TopicId(u16::from_le_bytes(*topic)), Bucket(u32::from_le_bytes(*bucket)));
            Some(Self { topic, id: EventId(u128::from_le_bytes(*id)), bucket })
        })
    }
}

/// The ids of the key groups that one worker owns.
///
/// After an error nothing that it says may be trusted: some ids may be neither here nor there.
#[derive(Debug)]
pub struct Seen {
    tables: Tables,
    /// Beyond this ids are sealed.
    in_memory_max: usize,
    /// So many can be where all that could be sealed is.
    stays: usize,
    sealed: Sealed,
    /// Ids that came since the last checkpoint, which the next one has; None: there are none.
    fresh: Option<Vec<SeenId>>,
    /// Room for what is found of the ids of one cell.
    found: Vec<Option<Bucket>>,
}

impl Seen {
    /// All in memory, of whatever key groups.
    #[must_use]
    pub fn new(topics: usize) -> Self {
        Self::sealing(topics, 0..KEY_GROUPS as u8, IdMemory::unbounded())
    }

    /// Of these key groups.
    #[must_use]
    pub fn sealing(topics: usize, owned: Range<u8>, IdMemory { in_memory_max, runs }: IdMemory) -> Self {
        Self {
            tables: Tables::new(topics),
            in_memory_max,
            stays: 0,
            sealed: Sealed::new(topics, &owned, runs),
            fresh: Some(Vec::new()),
            found: Vec::new(),
        }
    }

    /// No checkpoint asks for what came since the last one.
    #[must_use]
    pub fn without_checkpoints(self) -> Self {
        Self { fresh: None, ..self }
    }

    /// Remembers ids of a cell, one after the other, and tells the places of those that were remembered already: duplicates.
    ///
    /// # Errors
    /// If sealed ids cannot be had; likewise below.
    pub fn insert(
        &mut self,
        group: KeyGroup,
        topic: TopicId,
        ids: &[(EventId, Bucket)],
        mut duplicate: impl FnMut(usize),
    ) -> Result<(), RunsError> {
        let cell = Cell { topic, group };
        self.sealed.find(cell, ids, &mut self.found)?;
        let mut table = self.tables.cell(cell);
        for (place, &(id, bucket)) in ids.iter().enumerate() {
            let is_sealed = self.found.get(place).is_some_and(Option::is_some);
            if !is_sealed && table.insert(id, bucket) {
                if let Some(fresh) = &mut self.fresh {
                    fresh.push(SeenId { topic, id, bucket });
                }
            } else {
                duplicate(place);
            }
        }
        self.spill()
    }

    /// Remembers an id out of a checkpoint's files, for which it is not fresh. An id that was forgotten and came anew is in two of them: the
    /// later bucket counts.
    pub fn restore(&mut self, group: KeyGroup, seen: SeenId) -> Result<(), RunsError> {
        let SeenId { topic, id, bucket } = seen;
        let cell = Cell { topic, group };
        let mut table = self.tables.cell(cell);
        if table.get(id).is_none() {
            self.sealed.find(cell, &[(id, bucket)], &mut self.found)?;
            match self.found.first().copied().flatten() {
                Some(before) if before >= bucket => return Ok(()),
                Some(before) => self.sealed.gave(topic, before),
                None => {}
            }
        }
        table.raise(id, bucket);
        self.spill()
    }

    /// Seals shards, the one with most ids in memory first, until the others fit.
    fn spill(&mut self) -> Result<(), RunsError> {
        if self.in_memory() <= self.in_memory_max.max(self.stays) {
            return Ok(());
        }
        let mut tried = vec![false; self.sealed.shards()];
        while self.in_memory() > self.in_memory_max {
            let in_shard = |shard: &usize| self.tables.len_of(self.sealed.groups(*shard));
            let Some(shard) = (0..self.sealed.shards()).filter(|shard| !tried[*shard]).max_by_key(in_shard) else {
                // All that is left came so late that it is forgotten with the next epoch.
                self.stays = self.in_memory() + self.in_memory_max / 8;
                return Ok(());
            };
            tried[shard] = true;
            let groups = self.sealed.groups(shard);
            let topics = self.tables.topics();
            let from: Vec<(TopicId, Bucket)> =
                topics.map(|topic| (topic, self.sealed.first_remembered(topic))).collect();
            let cells = from.into_iter().flat_map(|(topic, from)| {
                groups.clone().map(move |group| (Cell { topic, group: KeyGroup(group) }, from))
            });
            self.sealed.seal(shard, cells.map(|(cell, from)| (cell, self.tables.cell(cell).take(from))))?;
        }
        Ok(())
    }

    /// Forgets the topic's buckets before this one.
    pub fn forget(&mut self, topic: TopicId, first_remembered: Bucket) -> Result<(), RunsError> {
        self.stays = 0;
        let Some(forgotten) = self.tables.forget(topic, first_remembered) else { return Ok(()) };
        let before = self.sealed.len();
        self.sealed.forget(topic, first_remembered)?;
        if forgotten > 0 || self.sealed.len() < before {
            self.keep_fresh(|s| s.topic != topic || s.bucket >= first_remembered);
        }
        Ok(())
    }

    /// Makes room for so many topics, and forgets all ids of these.
    pub fn carry(&mut self, topics: usize, forgotten: &[TopicId]) -> Result<(), RunsError> {
        self.stays = 0;
        for &topic in forgotten {
            self.tables.retire(topic);
            self.sealed.retire(topic)?;
        }
        self.keep_fresh(|seen| !forgotten.contains(&seen.topic));
        self.tables.make_room(topics);
        self.sealed.make_room(topics);
        Ok(())
    }

    fn keep_fresh(&mut self, which: impl FnMut(&SeenId) -> bool) {
        if let Some(fresh) = &mut self.fresh {
            fresh.retain(which);
        }
    }

    /// Number of remembered ids.
    #[must_use]
    pub fn len(&self) -> usize {
        self.in_memory() + self.sealed.len()
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// How many of them are in memory.
    fn in_memory(&self) -> usize {
        self.tables.len()
    }

    /// Takes the ids that came since the last call: a checkpoint's.
    pub fn take_fresh(&mut self) -> Vec<SeenId> {
        self.fresh.as_mut().map(std::mem::take).unwrap_or_default()
    }

    /// Every remembered id of a key group.
    pub fn each(&self, group: KeyGroup, mut each: impl FnMut(SeenId)) -> Result<(), RunsError> {
        for (topic, table) in self.tables.of_group(group) {
            table.iter().for_each(|(id, bucket)| each(SeenId { topic, id, bucket }));
            self.sealed.each(Cell { topic, group }, |Entry { id, bucket, .. }| {
                // Memory's bucket is the later one.
                if table.get(id).is_none() {
                    each(SeenId { topic, id, bucket });
                }
            })?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;
    use std::collections::hash_map::Entry;

    use proptest::prelude::*;

    use super::*;

    const TOPICS: u16 = 2;
    const IDS: u128 = 100;
    /// Few, so that cells have several ids.
    const GROUPS: Range<u8> = 0..3;

    /// Something that is done to remembered ids.
    #[derive(Clone, Debug)]
    enum Step {
        /// Ids of one epoch, by what numbers them, with their topics and buckets.
        Insert(Vec<(u128, u16, u32)>),
        Restore(u128, u16, u32),
        Forget(u16, u32),
        Retire(u16),
        /// What came since the last time.
        TakeFresh,
        /// All are given out, and taken up by a worker that knows none, as from a checkpoint; with its limit.
        Move(usize),
    }

    fn step() -> impl Strategy<Value = Step> {
        let entry = || (0..IDS, 0..TOPICS, 0u32..30);
        prop_oneof![
            20 => prop::collection::vec(entry(), 1..40).prop_map(Step::Insert),
            40 => entry().prop_map(|(id, topic, bucket)| Step::Restore(id, topic, bucket)),
            4 => (0..TOPICS, 0u32..30).prop_map(|(topic, bucket)| Step::Forget(topic, bucket)),
            1 => (0..TOPICS).prop_map(Step::Retire),
            2 => Just(Step::TakeFresh),
            1 => limit().prop_map(Step::Move),
        ]
    }

    fn limit() -> impl Strategy<Value = usize> {
        prop_oneof![2 => 0usize..5, 4 => 5usize..60, 1 => Just(usize::MAX)]
    }

    /// Numbers are no hashes.
    pub(super) fn id(number: u128) -> EventId {
        (number << 40..(number + 1) << 40).map(EventId).find(|&id| GROUPS.contains(&KeyGroup::of_id(id).0)).unwrap()
    }

    fn sealing(limit: usize) -> Seen {
        Seen::sealing(usize::from(TOPICS), 0..64, IdMemory { in_memory_max: limit, ..IdMemory::unbounded() })
    }

    fn all(seen: &Seen) -> HashMap<(TopicId, EventId), Bucket> {
        let mut all = HashMap::new();
        for group in GROUPS.map(KeyGroup) {
            let each =
                |seen: SeenId| assert_eq!(all.insert((seen.topic, seen.id), seen.bucket), None, "{seen:?} twice");
            seen.each(group, each).unwrap();
        }
        all
    }

    /// The places of duplicates.
    pub(super) fn insert(seen: &mut Seen, topic: TopicId, ids: &[(EventId, Bucket)]) -> Vec<usize> {
        let mut duplicates = Vec::new();
        let mut groups: Vec<KeyGroup> = ids.iter().map(|(id, _)| KeyGroup::of_id(*id)).collect();
        groups.sort_unstable();
        groups.dedup();
        for group in groups {
            let (places, ids): (Vec<usize>, Vec<_>) =
                ids.iter().copied().enumerate().filter(|(_, (id, _))| KeyGroup::of_id(*id) == group).unzip();
            seen.insert(group, topic, &ids, |place| duplicates.push(places[place])).unwrap();
        }
        duplicates.sort_unstable();
        duplicates
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(128))]

        #[test]
        fn wherever_they_are_kept_ids_are_a_map_that_forgets(
            first in limit(),
            steps in prop::collection::vec(step(), 1..120),
        ) {
            let mut seen = sealing(first);
            let mut limit = first;
            let mut model: HashMap<(TopicId, EventId), Bucket> = HashMap::new();
            let mut fresh: Vec<SeenId> = Vec::new();
            // Late ids, at most, at any time.
            let mut late_most = 0;
            for step in steps {
                match step {
                    Step::Insert(entries) => {
                        for topic in (0..TOPICS).map(TopicId) {
                            let of_topic = entries.iter().filter(|(_, of, _)| *of == topic.0);
                            let ids: Vec<_> = of_topic.map(|&(n, _, b)| (id(n), Bucket(b))).collect();
                            let mut expected = Vec::new();
                            for (place, &(id, bucket)) in ids.iter().enumerate() {
                                if let Entry::Vacant(new) = model.entry((topic, id)) {
                                    new.insert(bucket);
                                    fresh.push(SeenId { topic, id, bucket });
                                } else {
                                    expected.push(place);
                                }
                            }
                            prop_assert_eq!(insert(&mut seen, topic, &ids), expected);
                        }
                    }
                    Step::Restore(n, topic, bucket) => {
                        let (topic, id, bucket) = (TopicId(topic), id(n), Bucket(bucket));
                        // What comes out of a checkpoint came before what is fresh.
                        if fresh.iter().any(|seen| (seen.topic, seen.id) == (topic, id)) {
                            continue;
                        }
                        seen.restore(KeyGroup::of_id(id), SeenId { topic, id, bucket }).unwrap();
                        let later = model.entry((topic, id)).or_insert(bucket);
                        *later = bucket.max(*later);
                    }
                    Step::Forget(topic, first) => {
                        let forgets = |of: TopicId, bucket: Bucket| of.0 == topic && bucket < Bucket(first);
                        seen.forget(TopicId(topic), Bucket(first)).unwrap();
                        model.retain(|&(of, _), bucket| !forgets(of, *bucket));
                        fresh.retain(|s| !forgets(s.topic, s.bucket));
                    }
                    Step::Retire(topic) => {
                        seen.carry(usize::from(TOPICS), &[TopicId(topic)]).unwrap();
                        model.retain(|(of, _), _| of.0 != topic);
                        fresh.retain(|s| s.topic.0 != topic);
                    }
                    Step::TakeFresh => {
                        let mut taken = seen.take_fresh();
                        let order = |s: &SeenId| (s.topic, s.id, s.bucket);
                        taken.sort_unstable_by_key(order);
                        fresh.sort_unstable_by_key(order);
                        prop_assert_eq!(taken, std::mem::take(&mut fresh));
                    }
                    Step::Move(to) => {
                        let mut next = sealing(to);
                        for ((topic, id), bucket) in all(&seen) {
                            next.restore(KeyGroup::of_id(id), SeenId { topic, id, bucket }).unwrap();
                        }
                        (seen, limit) = (next, to);
                        fresh.clear();
                    }
                }
                prop_assert_eq!(seen.len(), model.len());
                // But for what is forgotten with the next epoch, and a share more.
                let late = |((topic, _), bucket): &((TopicId, EventId), Bucket)| *bucket < seen.sealed.first_remembered(*topic);
                let late = model.iter().map(|(key, bucket)| (*key, *bucket)).filter(late).count();
                late_most = late_most.max(late);
                let most = limit.saturating_add(limit / 8 + late_most);
                prop_assert!(seen.in_memory() <= most, "{} in memory, of {limit} and {late_most} late", seen.in_memory());
            }
            prop_assert_eq!(all(&seen), model);
        }
    }
}
