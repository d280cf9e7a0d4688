//! Ids beyond memory: sealed into runs, found again in them, merged and forgotten.
//!
//! A worker's key groups are cut into shards, each with runs of its own, so that what is sealed or merged at once is a part of what there is.
//! In a shard `FAN_IN` runs of about one size become one: an id is written again once for each such step, as often as the logarithm of how
//! many there are says. An id may stand in several runs, if it was restored from several files or came anew after it was forgotten; the latest
//! bucket counts. Nothing is taken out of a run: what is forgotten is passed over, and gone with the next merge.

use std::collections::BTreeMap;
use std::ops::Range;

use crate::core::columns::EventId;
use crate::core::dedup::bucket::Bucket;
use crate::core::dedup::filter::Filter;
use crate::core::dedup::run::{Builder, Cell, Entry, Merge, Run, Suspect};
use crate::core::dedup::runs::{Runs, RunsError};
use crate::core::keygroup::{KEY_GROUPS, KeyGroup, mix};
use crate::core::units::TopicId;

/// Parts into which a worker's key groups are cut, about.
const SHARDS: usize = 16;
/// So many runs of one size are merged.
const FAN_IN: usize = 4;
/// Room that a filter has at the least.
const FILTER_ROOM_MIN: usize = 256;

#[derive(Debug)]
pub(super) struct Sealed {
    runs: Box<dyn Runs>,
    groups_in_shard: usize,
    shards: Vec<Vec<Run>>,
    /// Of all runs together: by them an id that is nowhere, as most are, is told by one look.
    filters: BTreeMap<Cell, Filter>,
    /// By topic.
    topics: Vec<Topic>,
    len: usize,
}

#[derive(Debug, Default)]
struct Topic {
    /// Ids in older buckets are forgotten.
    first_remembered: Bucket,
    /// How many ids are remembered here of each bucket; an id that memory knows by a later one is not among them.
    by_bucket: BTreeMap<Bucket, usize>,
}

impl Sealed {
    /// Of a worker with these key groups.
    pub(super) fn new(topics: usize, owned: &Range<u8>, runs: Box<dyn Runs>) -> Self {
        let groups_in_shard = owned.len().div_ceil(SHARDS).max(1);
        let shards = (0..KEY_GROUPS.div_ceil(groups_in_shard)).map(|_| Vec::new()).collect();
        let topics = (0..topics).map(|_| Topic::default()).collect();
        Self { runs, groups_in_shard, shards, filters: BTreeMap::new(), topics, len: 0 }
    }

    pub(super) fn len(&self) -> usize {
        self.len
    }

    pub(super) fn shards(&self) -> usize {
        self.shards.len()
    }

    pub(super) fn groups(&self, shard: usize) -> Range<u8> {
        let first = shard * self.groups_in_shard;
        first as u8..(first + self.groups_in_shard).min(KEY_GROUPS) as u8
    }

    fn shard(&self, group: KeyGroup) -> &[Run] {
        &self.shards[usize::from(group.0) / self.groups_in_shard]
    }

    /// The first bucket of the topic that may be sealed: what is older is forgotten at once.
    pub(super) fn first_remembered(&self, topic: TopicId) -> Bucket {
        self.topics[usize::from(topic.0)].first_remembered
    }

    /// The buckets in which the cell's ids are remembered here; empty if none is.
    pub(super) fn find(
        &self,
        cell: Cell,
        ids: &[(EventId, Bucket)],
        found: &mut Vec<Option<Bucket>>,
    ) -> Result<(), RunsError> {
        found.clear();
        let Some(filter) = self.filters.get(&cell) else { return Ok(()) };
        let all = ids.iter().enumerate().map(|(place, &(id, _))| Suspect { place, hash: mix(id), id });
        let suspects: Vec<Suspect> = all.filter(|suspect| filter.may_hold(suspect.hash)).collect();
        if suspects.is_empty() {
            return Ok(());
        }
        found.resize(ids.len(), None);
        for run in self.shard(cell.group) {
            run.find(&*self.runs, cell, &suspects, found)?;
        }
        let first_remembered = Some(self.first_remembered(cell.topic));
        found.iter_mut().filter(|bucket| **bucket < first_remembered).for_each(|bucket| *bucket = None);
        Ok(())
    }

    /// The id is remembered in memory now, in a later bucket than here.
    pub(super) fn gave(&mut self, topic: TopicId, bucket: Bucket) {
        self.len -= 1;
        let by_bucket = &mut self.topics[usize::from(topic.0)].by_bucket;
        if let Some(count) = by_bucket.get_mut(&bucket) {
            *count -= 1;
        }
    }

    /// Seals what `cells` gives of a shard: cells with their entries in order.
    pub(super) fn seal(
        &mut self,
        shard: usize,
        cells: impl Iterator<Item = (Cell, Vec<Entry>)>,
    ) -> Result<(), RunsError> {
        let mut builder = Builder::begin(&mut *self.runs)?;
        let mut full = Vec::new();
        for (cell, entries) in cells {
            if entries.is_empty() {
                continue;
            }
            match self.filters.get_mut(&cell).filter(|filter| filter.room() >= entries.len()) {
                Some(filter) => entries.iter().for_each(|entry| filter.add(entry.hash)),
                None => full.push(cell),
            }
            let by_bucket = &mut self.topics[usize::from(cell.topic.0)].by_bucket;
            for entry in &entries {
                builder.push(&mut *self.runs, cell, entry)?;
                *by_bucket.entry(entry.bucket).or_default() += 1;
            }
            builder.end(cell);
            self.len += entries.len();
        }
        let run = builder.finish(&mut *self.runs)?;
        self.shards[shard].extend(run);
        self.merge_crowded(shard)?;
        full.into_iter().try_for_each(|cell| self.filter(cell))
    }

    /// Makes a cell's filter anew, with room for as many ids again: so an id is read a few times for it.
    fn filter(&mut self, cell: Cell) -> Result<(), RunsError> {
        let ids: usize = self.shard(cell.group).iter().map(|run| run.ids(cell)).sum();
        let mut filter = Filter::new((2 * ids).max(FILTER_ROOM_MIN));
        self.each(cell, |entry| filter.add(entry.hash))?;
        self.filters.insert(cell, filter);
        Ok(())
    }

    fn merge_crowded(&mut self, shard: usize) -> Result<(), RunsError> {
        loop {
            let mut sizes: BTreeMap<u32, usize> = BTreeMap::new();
            for run in &self.shards[shard] {
                *sizes.entry(size(run)).or_default() += 1;
            }
            let crowded = sizes.into_iter().find(|&(_, runs)| runs >= FAN_IN);
            let Some((crowded, _)) = crowded else { return Ok(()) };
            self.merge(shard, |run| size(run) == crowded)?;
        }
    }

    /// Makes one run of these.
    fn merge(&mut self, shard: usize, which: impl Fn(&Run) -> bool) -> Result<(), RunsError> {
        let (merged, kept): (Vec<Run>, Vec<Run>) = std::mem::take(&mut self.shards[shard]).into_iter().partition(which);
        self.shards[shard] = kept;
        let mut cells: Vec<Cell> = merged.iter().flat_map(Run::cells).collect();
        cells.sort_unstable();
        cells.dedup();
        let mut builder = Builder::begin(&mut *self.runs)?;
        for cell in cells {
            let first_remembered = self.first_remembered(cell.topic);
            let mut entries = Merge::new(merged.iter(), cell, &*self.runs)?;
            while let Some(entry) = entries.next(&*self.runs)? {
                if entry.bucket >= first_remembered {
                    builder.push(&mut *self.runs, cell, &entry)?;
                }
            }
            builder.end(cell);
        }
        let run = builder.finish(&mut *self.runs)?;
        self.shards[shard].extend(run);
        merged.iter().try_for_each(|run| self.runs.remove(run.id()))
    }

    /// Forgets the topic's buckets before this one.
    pub(super) fn forget(&mut self, topic: TopicId, first_remembered: Bucket) -> Result<(), RunsError> {
        let of = &mut self.topics[usize::from(topic.0)];
        if first_remembered <= of.first_remembered {
            return Ok(());
        }
        of.first_remembered = first_remembered;
        let remembered = of.by_bucket.split_off(&first_remembered);
        self.len -= std::mem::replace(&mut of.by_bucket, remembered).into_values().sum::<usize>();
        self.shards.iter_mut().flatten().for_each(|run| run.forget(topic, first_remembered));
        self.shrink()
    }

    /// Forgets all ids of a topic, which may begin anew.
    pub(super) fn retire(&mut self, topic: TopicId) -> Result<(), RunsError> {
        let Some(of) = self.topics.get_mut(usize::from(topic.0)) else { return Ok(()) };
        self.len -= std::mem::take(of).by_bucket.into_values().sum::<usize>();
        self.filters.retain(|cell, _| cell.topic != topic);
        self.shards.iter_mut().flatten().for_each(|run| run.retire(topic));
        self.shrink()
    }

    /// There are at least so many topics.
    pub(super) fn make_room(&mut self, topics: usize) {
        self.topics.resize_with(topics.max(self.topics.len()), Topic::default);
    }

    /// Ends runs of which all is forgotten, and writes those again of which most is.
    fn shrink(&mut self) -> Result<(), RunsError> {
        for shard in 0..self.shards.len() {
            let gone: Vec<Run> = self.shards[shard].extract_if(.., |run| run.live() == 0).collect();
            gone.iter().try_for_each(|run| self.runs.remove(run.id()))?;
            while let Some(id) = self.shards[shard].iter().find(|run| run.is_mostly_forgotten()).map(Run::id) {
                self.merge(shard, |run| run.id() == id)?;
            }
        }
        Ok(())
    }

    /// What is sealed of a cell, each id once, in order.
    pub(super) fn each(&self, cell: Cell, mut each: impl FnMut(Entry)) -> Result<(), RunsError> {
        let first_remembered = self.first_remembered(cell.topic);
        let mut entries = Merge::new(self.shard(cell.group).iter(), cell, &*self.runs)?;
        while let Some(entry) = entries.next(&*self.runs)? {
            if entry.bucket >= first_remembered {
                each(entry);
            }
        }
        Ok(())
    }
}

/// Runs of one size are merged: each is a quarter to the whole of a power of `FAN_IN`.
fn size(run: &Run) -> u32 {
    run.live().max(1).ilog(FAN_IN as u64)
}

/// By way of `Seen`, which seals what memory has no room for.
#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, Ordering};
    use std::sync::{Arc, Mutex};

    use super::*;
    use crate::core::dedup::runs::{MemoryRuns, RunId};
    use crate::core::dedup::tests::{id, insert};
    use crate::core::dedup::{IdMemory, Seen};

    /// Runs of which bytes are counted: those that lie there, and all that were ever written.
    #[derive(Debug, Default)]
    struct Counted {
        runs: MemoryRuns,
        counts: Arc<Mutex<(usize, usize)>>,
    }

    impl Counted {
        fn count(&self, written: usize) {
            let mut counts = self.counts.lock().unwrap();
            *counts = (self.runs.bytes(), counts.1 + written);
        }
    }

    impl Runs for Counted {
        fn begin(&mut self) -> Result<RunId, RunsError> {
            self.runs.begin()
        }

        fn append(&mut self, run: RunId, bytes: &[u8]) -> Result<(), RunsError> {
            self.runs.append(run, bytes)?;
            self.count(bytes.len());
            Ok(())
        }

        fn read(&self, run: RunId, at: u64, into: &mut [u8]) -> Result<(), RunsError> {
            self.runs.read(run, at, into)
        }

        fn remove(&mut self, run: RunId) -> Result<(), RunsError> {
            self.runs.remove(run)?;
            self.count(0);
            Ok(())
        }
    }

    const ENTRY_BYTES: usize = 20;

    #[test]
    fn what_is_forgotten_leaves_the_runs() {
        let counted = Counted::default();
        let counts = Arc::clone(&counted.counts);
        let mut seen = Seen::sealing(2, 0..128, IdMemory { in_memory_max: 1_000, runs: Box::new(counted) });
        let (mut number, mut most) = (0u128, 0);
        for epoch in 0..400u32 {
            // The second topic's ids are few, and remembered ten times as long.
            for (topic, ids) in [(TopicId(0), 200), (TopicId(1), 10)] {
                let ids: Vec<_> = (number..number + ids).map(|n| (EventId(n << 50), Bucket(epoch))).collect();
                number += ids.len() as u128;
                assert!(insert(&mut seen, topic, &ids).is_empty());
            }
            seen.forget(TopicId(0), Bucket(epoch.saturating_sub(20))).unwrap();
            seen.forget(TopicId(1), Bucket(epoch.saturating_sub(200))).unwrap();
            seen.take_fresh();
            most = most.max(counts.lock().unwrap().0);
        }
        assert_eq!(seen.len(), 21 * 200 + 201 * 10);
        assert!(most > 0 && most < 3 * seen.len() * ENTRY_BYTES, "{most} bytes");
        seen.forget(TopicId(0), Bucket(400)).unwrap();
        seen.forget(TopicId(1), Bucket(400)).unwrap();
        assert_eq!((seen.len(), counts.lock().unwrap().0), (0, 0));
    }

    #[test]
    fn an_id_is_written_as_often_as_the_logarithm_says() {
        let ids = 60_000;
        let counted = Counted::default();
        let counts = Arc::clone(&counted.counts);
        let mut seen = Seen::sealing(1, 0..16, IdMemory { in_memory_max: 160, runs: Box::new(counted) });
        for number in 0..ids as u128 {
            let id = (number << 64..(number + 1) << 64).map(EventId).find(|&id| KeyGroup::of_id(id).0 < 16).unwrap();
            seen.insert(KeyGroup::of_id(id), TopicId(0), &[(id, Bucket(1))], |_| panic!("it is new")).unwrap();
        }
        assert!(seen.in_memory() <= 160);
        // A shard's 3,750 ids are sealed by ten or more: merged by four, five times at most.
        let (present, written) = *counts.lock().unwrap();
        assert_eq!(present, (ids - seen.in_memory()) * ENTRY_BYTES);
        assert!(written < 6 * present, "{} times", written as f64 / present as f64);
    }

    /// An id that is damaged in its run is no other id, and none.
    #[test]
    fn a_damaged_run_is_an_error_and_no_verdict() {
        #[derive(Debug, Default)]
        struct Damaging(MemoryRuns, Arc<AtomicBool>);
        impl Runs for Damaging {
            fn begin(&mut self) -> Result<RunId, RunsError> {
                self.0.begin()
            }

            fn append(&mut self, run: RunId, bytes: &[u8]) -> Result<(), RunsError> {
                self.0.append(run, bytes)
            }

            fn read(&self, run: RunId, at: u64, into: &mut [u8]) -> Result<(), RunsError> {
                self.0.read(run, at, into)?;
                into[0] ^= u8::from(self.1.load(Ordering::Relaxed));
                Ok(())
            }

            fn remove(&mut self, run: RunId) -> Result<(), RunsError> {
                self.0.remove(run)
            }
        }
        let runs = Damaging::default();
        let damages = Arc::clone(&runs.1);
        let mut seen = Seen::sealing(1, 0..128, IdMemory { in_memory_max: 0, runs: Box::new(runs) });
        let ids = [(id(1), Bucket(1))];
        let group = KeyGroup::of_id(id(1));
        seen.insert(group, TopicId(0), &ids, |_| panic!("it is new")).unwrap();
        damages.store(true, Ordering::Relaxed);
        let again = seen.insert(group, TopicId(0), &ids, |_| panic!("nothing can be said of it"));
        assert!(matches!(again, Err(RunsError::Damaged(_))), "{again:?}");
        assert!(seen.each(group, |_| panic!("nor given out")).is_err());
    }
}
