//! Ids beyond memory: sealed into runs, found again in them, merged and forgotten.
//!
//! A worker's key groups are cut into shards, each with runs of its own, so that what is sealed or merged at once is a part of what there is.
//! In a shard `FAN_IN` runs of about one size become one: an id is written again once for each such step, as often as the logarithm of how
//! many there are says. An id may stand in several runs, if it was restored from several files or came anew after it was forgotten; the latest
//! bucket counts. Nothing is taken out of a run: what is forgotten is passed over, and gone with the next merge.

use std::collections::BTreeMap;
use std::ops::Range;

use crate::core::columns::EventId;
use crate::core::dedup::Bucket;
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
