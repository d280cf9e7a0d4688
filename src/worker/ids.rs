//! The two-step dedup's messages: a worker's ids of one epoch, sorted by key group and cut by owner, and the owner's verdicts on them.
//!
//! Entries of one owner, little-endian: for each of its key groups, for each topic: a count (u32); then for each entry, in that
//! order, its id (u128), its offset less the epoch's base (u32) and its bucket (u32).

use crate::core::columns::EventId;
use crate::core::dedup::Seen;
use crate::core::dedup::bucket::{Bucket, Memory};
use crate::core::dedup::runs::RunsError;
use crate::core::keygroup::{KEY_GROUPS, KeyGroup, Owners};
use crate::core::units::{Offset, TopicId};
use crate::worker::rows::EpochRows;

const ENTRY_BYTES: usize = 24;
const COUNT_BYTES: usize = 4;

/// One worker's ids of one epoch, ready to be sent.
#[derive(Debug)]
pub struct IdsByOwner {
    /// One for each owner.
    pub entries: Vec<Vec<u8>>,
    /// For each owner, the rows in the order of their entries.
    pub rows: Vec<Vec<u32>>,
}

/// Sorts the epoch's ids, one a row, by (key group, topic), keeping the order of offsets, and packs them by owner.
#[must_use]
pub fn pack(
    rows: &EpochRows,
    ids: &[Option<EventId>],
    base: Offset,
    memories: &[Memory],
    owners: Owners,
) -> IdsByOwner {
    assert_eq!(ids.len(), rows.topic.len(), "a row has an id or none");
    let topics = memories.len();
    let cells = KEY_GROUPS * topics;
    let cell_of = |id: EventId, topic: TopicId| usize::from(KeyGroup::of_id(id).0) * topics + usize::from(topic.0);
    let mut counts = vec![0u32; cells + 1];
    let cell: Vec<u32> = ids
        .iter()
        .zip(&rows.topic)
        .map(|(id, &topic)| {
            let cell = id.map_or(cells, |id| cell_of(id, topic));
            counts[cell] += 1;
            cell as u32
        })
        .collect();
    let mut packed = IdsByOwner { entries: Vec::new(), rows: Vec::new() };
    // By cell: whose it is, and how many entries of the owner stand before its next one.
    let mut next: Vec<(usize, usize)> = Vec::with_capacity(cells);
    for owner in 0..owners.workers() {
        let groups = owners.range(owner);
        let of_owner = &counts[usize::from(groups.start) * topics..usize::from(groups.end) * topics];
        let mut count = 0;
        for of_cell in of_owner {
            next.push((owner, count));
            count += *of_cell as usize;
        }
        let mut entries = Vec::with_capacity(of_owner.len() * COUNT_BYTES + count * ENTRY_BYTES);
        entries.extend(of_owner.iter().flat_map(|count| count.to_le_bytes()));
        entries.resize(entries.len() + count * ENTRY_BYTES, 0);
        packed.entries.push(entries);
        packed.rows.push(vec![0; count]);
    }
    // Row by row, because they lie in memory so: the cells' ends are few enough to stay in the cache.
    for (row, cell) in cell.into_iter().enumerate() {
        let (Some(id), Some((owner, at))) = (ids[row], next.get_mut(cell as usize)) else { continue };
        let (entries, of_owner) = (&mut packed.entries[*owner], &mut packed.rows[*owner]);
        of_owner[*at] = row as u32;
        let from = entries.len() - (of_owner.len() - *at) * ENTRY_BYTES;
        *at += 1;
        let Ok(offset) = u32::try_from(rows.offset[row].0 - base.0) else {
            panic!("an epoch spans under 2^32 offsets")
        };
        let bucket = memories[usize::from(rows.topic[row].0)].bucket(rows.time[row]);
        entries[from..from + 16].copy_from_slice(&id.0.to_le_bytes());
        entries[from + 16..from + 20].copy_from_slice(&offset.to_le_bytes());
        entries[from + 20..from + ENTRY_BYTES].copy_from_slice(&bucket.0.to_le_bytes());
    }
    packed
}

/// Decides an epoch's ids: of the workers' entries (one list a worker) and what is remembered, the lower offset wins. Gives each worker's
/// verdicts: a bit an entry, in the order of its entries, set for a duplicate.
///
/// # Errors
/// If what is remembered cannot be had; then there is no verdict.
pub fn decide(
    entries: &[Vec<u8>],
    topics: usize,
    owners: Owners,
    owner: usize,
    seen: &mut Seen,
) -> Result<Vec<Vec<u8>>, RunsError> {
    let groups = owners.range(owner);
    let cells = groups.len() * topics;
    let mut lists: Vec<Entries> = entries.iter().map(|bytes| Entries::new(bytes, cells)).collect();
    let mut verdicts: Vec<Vec<u8>> = lists.iter().map(|l| vec![0; l.len().div_ceil(8)]).collect();
    let mut merged: Vec<(u32, u32, u32)> = Vec::new();
    let mut ids: Vec<(EventId, Bucket)> = Vec::new();
    for cell in 0..cells {
        let group = KeyGroup(groups.start + (cell / topics) as u8);
        let topic = TopicId((cell % topics) as u16);
        merged.clear();
        for (worker, list) in lists.iter_mut().enumerate() {
            for at in list.cell(cell) {
                merged.push((list.offset(at), worker as u32, at as u32));
            }
        }
        #[expect(clippy::stable_sort_primitive, reason = "it finds the sorted runs and merges them")]
        merged.sort();
        ids.clear();
        ids.extend(merged.iter().map(|&(_, worker, at)| lists[worker as usize].id(at as usize)));
        seen.insert(group, topic, &ids, |place| {
            let (_, worker, at) = merged[place];
            verdicts[worker as usize][at as usize / 8] |= 1 << (at % 8);
        })?;
    }
    Ok(verdicts)
}

/// One worker's entries for one owner.
struct Entries<'a> {
    counts: &'a [u8],
    packed: &'a [u8],
    next: usize,
}

impl<'a> Entries<'a> {
    fn new(bytes: &'a [u8], cells: usize) -> Self {
        let (counts, packed) = bytes.split_at(cells * COUNT_BYTES);
        Self { counts, packed, next: 0 }
    }

    fn len(&self) -> usize {
        self.packed.len() / ENTRY_BYTES
    }

    /// The entries of the next cell; cells must be asked for in order.
    fn cell(&mut self, cell: usize) -> std::ops::Range<usize> {
        let from = self.next;
        self.next += u32_at(self.counts, cell * COUNT_BYTES) as usize;
        from..self.next
    }

    fn offset(&self, at: usize) -> u32 {
        u32_at(self.packed, at * ENTRY_BYTES + 16)
    }

    fn id(&self, at: usize) -> (EventId, Bucket) {
        let mut id = [0; 16];
        id.copy_from_slice(&self.packed[at * ENTRY_BYTES..at * ENTRY_BYTES + 16]);
        (EventId(u128::from_le_bytes(id)), Bucket(u32_at(self.packed, at * ENTRY_BYTES + 20)))
    }
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    let mut word = [0; 4];
    word.copy_from_slice(&bytes[at..at + 4]);
    u32::from_le_bytes(word)
}
