//! One run: ids that were sealed together, in a file that is written once.
//!
//! A run is made of parts, each of one topic and key group, one after the other. A part is its entries, ordered by (hash, id), 20 bytes each,
//! little-endian: bucket (u32), id (u128). Memory keeps of a part a filter, and of each `BLOCK_IDS` entries where their hashes begin and their
//! checksum: some 14 bits an id. An id that passes the filter costs a read of one block.

use std::collections::BTreeMap;
use std::ops::Range;

use crate::core::columns::EventId;
use crate::core::dedup::bucket::Bucket;
use crate::core::dedup::filter::Filter;
use crate::core::dedup::runs::{RunId, Runs, RunsError};
use crate::core::keygroup::{KeyGroup, mix};
use crate::core::units::TopicId;

const ENTRY_BYTES: usize = 20;
/// Entries that are read for one id.
const BLOCK_IDS: usize = 32;
const BLOCK_BYTES: usize = BLOCK_IDS * ENTRY_BYTES;
/// What is read or written at once where a run is gone through from its beginning to its end.
const CHUNK_BYTES: usize = 128 * BLOCK_BYTES;
/// Buckets that a run counts its ids by; with more, several count as the latest of them.
const AGES_MAX: usize = 1_024;

/// Whose ids a part has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Cell {
    pub(super) topic: TopicId,
    pub(super) group: KeyGroup,
}

/// An id as it is ordered, and its bucket.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Entry {
    pub(super) hash: u64,
    pub(super) id: EventId,
    pub(super) bucket: Bucket,
}

impl Entry {
    pub(super) fn of(id: EventId, bucket: Bucket) -> Self {
        Self { hash: mix(id), id, bucket }
    }

    fn read(bytes: &[u8; ENTRY_BYTES]) -> Self {
        let (mut bucket, mut id) = ([0; 4], [0; 16]);
        bucket.copy_from_slice(&bytes[..4]);
        id.copy_from_slice(&bytes[4..]);
        Self::of(EventId(u128::from_le_bytes(id)), Bucket(u32::from_le_bytes(bucket)))
    }
}

/// An id that may be in runs, and its place among those that are asked for.
#[derive(Clone, Copy, Debug)]
pub(super) struct Suspect {
    pub(super) place: usize,
    pub(super) hash: u64,
    pub(super) id: EventId,
}

#[derive(Debug)]
pub(super) struct Run {
    id: RunId,
    parts: BTreeMap<Cell, Part>,
    ages: Ages,
    /// Entries in the file.
    ids: u64,
}

#[derive(Debug)]
struct Part {
    /// The first byte in the run.
    at: u64,
    ids: usize,
    filter: Filter,
    blocks: Vec<Block>,
}

#[derive(Clone, Copy, Debug)]
struct Block {
    /// The first entry's hash, as far as the part's hashes differ in their first bits.
    begins: u32,
    crc: u32,
}

/// Bits of a hash that follow those of the key group.
fn beginning(hash: u64) -> u32 {
    ((hash << 7) >> 32) as u32
}

impl Run {
    pub(super) fn id(&self) -> RunId {
        self.id
    }

    /// Entries that are not known to be forgotten.
    pub(super) fn live(&self) -> u64 {
        self.ages.ids
    }

    /// Whether most of its entries, three of four, are forgotten.
    pub(super) fn is_mostly_forgotten(&self) -> bool {
        self.live() * 4 < self.ids
    }

    pub(super) fn cells(&self) -> impl Iterator<Item = Cell> + '_ {
        self.parts.keys().copied()
    }

    /// Entries of the cell, forgotten or not.
    pub(super) fn ids(&self, cell: Cell) -> usize {
        self.parts.get(&cell).map_or(0, |part| part.ids)
    }

    /// The topic's buckets before this one are forgotten.
    pub(super) fn forget(&mut self, topic: TopicId, first_remembered: Bucket) {
        self.ages.forget(topic, first_remembered);
    }

    /// None of the topic's ids counts any more, whatever its bucket.
    pub(super) fn retire(&mut self, topic: TopicId) {
        self.parts.retain(|cell, _| cell.topic != topic);
        self.ages.forget(topic, Bucket(u32::MAX));
    }

    /// Raises what was found of each suspect to its bucket here, forgotten or not.
    pub(super) fn find(
        &self,
        runs: &dyn Runs,
        cell: Cell,
        suspects: &[Suspect],
        found: &mut [Option<Bucket>],
    ) -> Result<(), RunsError> {
        let Some(part) = self.parts.get(&cell) else { return Ok(()) };
        // Step by step for all of them, so that the memory of many is waited for at once.
        let held: Vec<&Suspect> = suspects.iter().filter(|suspect| part.filter.may_hold(suspect.hash)).collect();
        let blocks: Vec<Range<usize>> = held.iter().map(|suspect| part.blocks_of(beginning(suspect.hash))).collect();
        for (suspect, blocks) in held.into_iter().zip(blocks) {
            if let Some(bucket) = part.search(runs, self.id, blocks, suspect)? {
                found[suspect.place] = found[suspect.place].max(Some(bucket));
            }
        }
        Ok(())
    }
}

impl Part {
    /// Blocks that may have an entry whose hash begins so: nearly always one.
    fn blocks_of(&self, begins: u32) -> Range<usize> {
        // Hashes are evenly spread, so this is nearly right, and what is near lies in the same memory.
        let guess = ((u64::from(begins) * self.blocks.len() as u64) >> 32) as usize;
        let before = |at: &usize| self.blocks[*at].begins < begins;
        let mut from = guess;
        while from > 0 && !before(&from) {
            from -= 1;
        }
        while from + 1 < self.blocks.len() && before(&(from + 1)) {
            from += 1;
        }
        let more = self.blocks[from + 1..].iter().take_while(|block| block.begins == begins).count();
        from..from + 1 + more
    }

    fn search(
        &self,
        runs: &dyn Runs,
        run: RunId,
        blocks: Range<usize>,
        suspect: &Suspect,
    ) -> Result<Option<Bucket>, RunsError> {
        let mut bytes = [0; BLOCK_BYTES];
        for block in blocks {
            let (entries, _) = self.read(runs, run, block..block + 1, &mut bytes)?.as_chunks();
            let at = entries.partition_point(|entry| {
                let entry = Entry::read(entry);
                (entry.hash, entry.id) < (suspect.hash, suspect.id)
            });
            if let Some(found) = entries.get(at).map(Entry::read).filter(|found| found.id == suspect.id) {
                return Ok(Some(found.bucket));
            }
        }
        Ok(None)
    }

    /// The bytes of these blocks, which are what was written.
    fn read<'a>(
        &self,
        runs: &dyn Runs,
        run: RunId,
        blocks: Range<usize>,
        into: &'a mut [u8],
    ) -> Result<&'a [u8], RunsError> {
        let (from, until) = (blocks.start * BLOCK_BYTES, (blocks.end * BLOCK_BYTES).min(self.ids * ENTRY_BYTES));
        let into = &mut into[..until - from];
        runs.read(run, self.at + from as u64, into)?;
        let whole = |(bytes, block): (&[u8], &Block)| crc32c::crc32c(bytes) == block.crc;
        if into.chunks(BLOCK_BYTES).zip(&self.blocks[blocks]).all(whole) {
            Ok(into)
        } else {
            Err(RunsError::Damaged(run))
        }
    }
}

/// Goes through one part of a run.
pub(super) struct Cursor<'a> {
    run: RunId,
    part: &'a Part,
    next_block: usize,
    /// Entries that are read and not yet given.
    read: Vec<u8>,
    at: usize,
}

impl<'a> Cursor<'a> {
    pub(super) fn new(run: &'a Run, cell: Cell) -> Option<Self> {
        let part = run.parts.get(&cell)?;
        Some(Self { run: run.id, part, next_block: 0, read: Vec::new(), at: 0 })
    }

    /// The next entry, in order.
    pub(super) fn next(&mut self, runs: &dyn Runs) -> Result<Option<Entry>, RunsError> {
        if self.at == self.read.len() {
            let from = self.next_block;
            self.next_block = (from + CHUNK_BYTES / BLOCK_BYTES).min(self.part.blocks.len());
            if from == self.next_block {
                return Ok(None);
            }
            let mut bytes = std::mem::take(&mut self.read);
            bytes.resize(CHUNK_BYTES, 0);
            let len = self.part.read(runs, self.run, from..self.next_block, &mut bytes)?.len();
            bytes.truncate(len);
            (self.read, self.at) = (bytes, 0);
        }
        let entry = self.read[self.at..].first_chunk().map(Entry::read);
        self.at += ENTRY_BYTES;
        Ok(entry)
    }
}

/// Gives the entries of one cell of several runs, in order; of an id that several have, the latest bucket.
pub(super) struct Merge<'a> {
    cursors: Vec<(Entry, Cursor<'a>)>,
}

impl<'a> Merge<'a> {
    pub(super) fn new(of: impl Iterator<Item = &'a Run>, cell: Cell, runs: &dyn Runs) -> Result<Self, RunsError> {
        let mut cursors = Vec::new();
        for mut cursor in of.filter_map(|run| Cursor::new(run, cell)) {
            if let Some(entry) = cursor.next(runs)? {
                cursors.push((entry, cursor));
            }
        }
        Ok(Self { cursors })
    }

    pub(super) fn next(&mut self, runs: &dyn Runs) -> Result<Option<Entry>, RunsError> {
        let Some(mut least) = self.cursors.iter().map(|(entry, _)| *entry).min() else { return Ok(None) };
        let mut at = 0;
        while let Some((entry, cursor)) = self.cursors.get_mut(at) {
            if entry.id == least.id {
                least.bucket = least.bucket.max(entry.bucket);
                let Some(next) = cursor.next(runs)? else {
                    self.cursors.swap_remove(at);
                    continue;
                };
                *entry = next;
            }
            at += 1;
        }
        Ok(Some(least))
    }
}

/// Writes a run: for each cell, in any order, its entries in order.
pub(super) struct Builder {
    id: RunId,
    parts: BTreeMap<Cell, Part>,
    ages: Ages,
    ids: u64,
    /// Bytes in the file.
    written: u64,
    /// What is not there yet; the last bytes are a block that is not full.
    bytes: Vec<u8>,
    block: usize,
    blocks: Vec<Block>,
    hashes: Vec<u64>,
}

impl Builder {
    pub(super) fn begin(runs: &mut dyn Runs) -> Result<Self, RunsError> {
        Ok(Self {
            id: runs.begin()?,
            parts: BTreeMap::new(),
            ages: Ages::default(),
            ids: 0,
            written: 0,
            bytes: Vec::with_capacity(CHUNK_BYTES),
            block: 0,
            blocks: Vec::new(),
            hashes: Vec::new(),
        })
    }

    pub(super) fn push(&mut self, runs: &mut dyn Runs, cell: Cell, entry: &Entry) -> Result<(), RunsError> {
        if self.block == 0 {
            self.blocks.push(Block { begins: beginning(entry.hash), crc: 0 });
        }
        self.bytes.extend_from_slice(&entry.bucket.0.to_le_bytes());
        self.bytes.extend_from_slice(&entry.id.0.to_le_bytes());
        self.hashes.push(entry.hash);
        self.ages.count(cell.topic, entry.bucket);
        self.block += 1;
        if self.block == BLOCK_IDS {
            self.end_block();
            if self.bytes.len() >= CHUNK_BYTES {
                self.flush(runs)?;
            }
        }
        Ok(())
    }

    fn end_block(&mut self) {
        let bytes = &self.bytes[self.bytes.len() - self.block * ENTRY_BYTES..];
        if let Some(block) = self.blocks.last_mut() {
            block.crc = crc32c::crc32c(bytes);
        }
        self.block = 0;
    }

    fn flush(&mut self, runs: &mut dyn Runs) -> Result<(), RunsError> {
        runs.append(self.id, &self.bytes)?;
        self.written += self.bytes.len() as u64;
        self.bytes.clear();
        Ok(())
    }

    /// The cell's entries are complete.
    pub(super) fn end(&mut self, cell: Cell) {
        if self.block > 0 {
            self.end_block();
        }
        if self.hashes.is_empty() {
            return;
        }
        let ids = self.hashes.len();
        let at = self.written + self.bytes.len() as u64 - (ids * ENTRY_BYTES) as u64;
        let part = Part { at, ids, filter: Filter::of(&self.hashes), blocks: std::mem::take(&mut self.blocks) };
        self.parts.insert(cell, part);
        self.ids += ids as u64;
        self.hashes.clear();
    }

    /// None if it would be empty: then there is no run.
    pub(super) fn finish(mut self, runs: &mut dyn Runs) -> Result<Option<Run>, RunsError> {
        if self.ids == 0 {
            runs.remove(self.id)?;
            return Ok(None);
        }
        self.flush(runs)?;
        Ok(Some(Run { id: self.id, parts: self.parts, ages: self.ages, ids: self.ids }))
    }
}

/// How many ids of each bucket a run has.
#[derive(Debug, Default)]
struct Ages {
    of: BTreeMap<(TopicId, Bucket), u64>,
    /// All of them together.
    ids: u64,
    /// With more buckets than this there will be fewer; 0: there were never that many, and each counts for itself.
    most: usize,
}

impl Ages {
    fn count(&mut self, topic: TopicId, bucket: Bucket) {
        self.ids += 1;
        if let Some(ids) = self.of.get_mut(&(topic, bucket)) {
            *ids += 1;
            return;
        }
        let later = self.of.range_mut((topic, bucket)..=(topic, Bucket(u32::MAX))).next();
        if let Some((_, ids)) = later.filter(|_| self.most > 0) {
            *ids += 1;
            return;
        }
        self.of.insert((topic, bucket), 1);
        if self.of.len() > self.most.max(AGES_MAX) {
            self.coarsen();
        }
    }

    /// Halves the buckets of each topic.
    fn coarsen(&mut self) {
        let mut halved = BTreeMap::new();
        let mut carried = None;
        for (key, ids) in std::mem::take(&mut self.of) {
            match carried.take() {
                Some(((topic, _), before)) if topic == key.0 => {
                    halved.insert(key, before + ids);
                }
                Some((other, before)) => {
                    halved.insert(other, before);
                    carried = Some((key, ids));
                }
                None => carried = Some((key, ids)),
            }
        }
        halved.extend(carried);
        // Of many topics each keeps one.
        self.most = halved.len() * 2;
        self.of = halved;
    }

    fn forget(&mut self, topic: TopicId, first_remembered: Bucket) {
        while let Some((&key, &ids)) = self.of.range((topic, Bucket(0))..(topic, first_remembered)).next() {
            self.of.remove(&key);
            self.ids -= ids;
        }
    }
}
