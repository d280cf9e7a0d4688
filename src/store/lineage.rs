//! Lineage as bitmaps (`audit: compact`): what is written, and the two questions that are asked of it.

use std::collections::HashMap;
use std::ops::Range;

use roaring::RoaringBitmap;
use uuid::Uuid;

use crate::core::columns::GroupValue;
use crate::core::identity::{group_key, metric_id, metric_id_of};
use crate::core::lineage::{Lineage, series_id};
use crate::core::plan::{Plan, WindowKind, WindowPlan};
use crate::core::units::{Epoch, Micros, Offset};
use crate::store::sql::{Ask, Param, Query, Row};
use crate::store::text::group_json;
use crate::store::{StoreError, StoredRow};

/// Rows read at a time; each is of one epoch, so a page of events needs few of them or many.
const ROWS_READ: usize = 512;

/// What a row's entries take, about: more are several rows, so that who asks for one group reads few of the others.
const PART_BYTES: usize = 8 << 10;

/// A slice of an epoch is in no more rows than two to this power.
const PART_BITS_MAX: u32 = 20;

/// A row of the table: what an epoch added to a slice, of all groups or of some of them.
pub struct StoredSlice<'a> {
    pub pipeline: &'a str,
    pub window: &'a str,
    pub start: Micros,
    pub epoch: Epoch,
    pub part: u64,
    pub first: Offset,
    pub last: Offset,
    pub late_to: Micros,
    pub entries: Vec<u8>,
}

impl<'a> StoredSlice<'a> {
    /// The rows of these; which epochs come in one commit makes no difference.
    pub fn of(plan: &'a Plan, lineage: &[Lineage]) -> Vec<Self> {
        let slice = |of: &&Lineage| (of.epoch, of.window, of.slice);
        let mut all: Vec<&Lineage> = lineage.iter().collect();
        all.sort_by_key(slice);
        let mut packing = Packing { plan, series: HashMap::default() };
        all.chunk_by(|a, b| slice(a) == slice(b)).flat_map(|of_slice| packing.rows(of_slice)).collect()
    }
}

/// What makes rows.
struct Packing<'a, 'l> {
    plan: &'a Plan,
    /// Of each window's groups: they come in many slices.
    series: HashMap<(usize, &'l [GroupValue]), Uuid, foldhash::fast::RandomState>,
}

impl<'a, 'l> Packing<'a, 'l> {
    /// Those of one slice and epoch.
    fn rows(&mut self, of_slice: &[&'l Lineage]) -> Vec<StoredSlice<'a>> {
        let Some(Lineage { window: at, slice: start, epoch, first, late_to, .. }) = of_slice.first().copied() else {
            return Vec::new();
        };
        assert!(of_slice.iter().all(|of| of.late_to == *late_to), "an epoch has one watermark");
        let Some(window) = self.plan.windows.get(*at) else { panic!("window {at} is none of the plan's") };
        let pipeline = self.plan.pipeline_of(window).name.as_str();
        let identity = self.plan.identity(window.pipeline);
        let bytes: usize = of_slice.iter().map(|of| entry_bytes(window, of)).sum();
        let bits = part_bits(bytes, of_slice.len());
        let mut parts: Vec<(u64, &Lineage)> =
            of_slice.iter().map(|of| (part(self.series(pipeline, window, of), bits), *of)).collect();
        parts.sort_by_key(|(part, _)| *part);
        let row = |of_part: &[(u64, &Lineage)]| {
            let (part, _) = of_part.first()?;
            let mut entries = Vec::new();
            for (_, of) in of_part {
                put_entry(&identity, window, of, &mut entries);
            }
            let last = of_part.iter().map(|(_, of)| of.last()).max()?;
            Some(StoredSlice {
                pipeline,
                window: &window.name,
                start: *start,
                epoch: *epoch,
                part: *part,
                first: *first,
                last,
                late_to: *late_to,
                entries,
            })
        };
        parts.chunk_by(|(a, _), (b, _)| a == b).filter_map(row).collect()
    }

    fn series(&mut self, pipeline: &str, window: &WindowPlan, of: &'l Lineage) -> Uuid {
        let name = || series_id(pipeline, &window.name, &group_json(window, &of.group));
        *self.series.entry((of.window, &of.group)).or_insert_with(name)
    }
}

/// How many bits of their series tell in which row entries are.
fn part_bits(bytes: usize, entries: usize) -> u32 {
    // Of one entry there is one row, however large it is.
    let fits = |bits: &u32| bytes >> bits <= PART_BYTES || entries >> bits <= 1;
    (0..PART_BITS_MAX).find(fits).unwrap_or(PART_BITS_MAX)
}

/// A row's number: 1 where all is in one; a row with the number n could be two, 2n and 2n + 1.
fn part(series: Uuid, bits: u32) -> u64 {
    let (high, _) = series.as_u64_pair();
    (1 << bits) | high.checked_shr(u64::BITS - bits).unwrap_or_default()
}

/// What an entry takes besides its group and bitmap.
const ENTRY_BYTES: usize = 16 + 4 + 4;

fn entry_bytes(window: &WindowPlan, of: &Lineage) -> usize {
    ENTRY_BYTES + named_group(window, of).len() + of.offsets.serialized_size()
}

/// The group's bytes where the slice is not the only one of its rows.
fn named_group(window: &WindowPlan, of: &Lineage) -> Vec<u8> {
    let is_alone = !matches!(window.kind, WindowKind::Hopping { .. });
    if is_alone { Vec::new() } else { group_key(&of.group) }
}

/// An entry: the id that a row which begins with the slice would have (16), the group's bytes where that is not the slice's only row (length, bytes), the
/// bitmap (length, bytes). Lengths are of 4 bytes, little-endian.
fn put_entry(identity: &str, window: &WindowPlan, of: &Lineage, into: &mut Vec<u8>) {
    let group = named_group(window, of);
    into.extend_from_slice(metric_id(identity, &window.name, of.slice, &of.group).as_bytes());
    into.extend_from_slice(&(group.len() as u32).to_le_bytes());
    into.extend_from_slice(&group);
    into.extend_from_slice(&(of.offsets.serialized_size() as u32).to_le_bytes());
    if let Err(error) = of.offsets.serialize_into(&mut *into) {
        panic!("a vector takes all that is written: {error}");
    }
}

/// As it is written.
struct Entry<'b> {
    id: Uuid,
    group: Option<&'b [u8]>,
    bits: &'b [u8],
}

impl<'b> Entry<'b> {
    fn take(rest: &mut &'b [u8]) -> Option<Self> {
        let mut take = |length: usize| {
            let (bytes, behind) = rest.split_at_checked(length)?;
            *rest = behind;
            Some(bytes)
        };
        let id = Uuid::from_slice(take(16)?).ok()?;
        let mut sized = || {
            let length = u32::from_le_bytes(take(4)?.try_into().ok()?);
            take(length as usize)
        };
        // A group's bytes are never none.
        let group = sized()?;
        Some(Self { id, group: (!group.is_empty()).then_some(group), bits: sized()? })
    }

    fn all(mut bytes: &'b [u8]) -> Result<Vec<Self>, StoreError> {
        let mut entries = Vec::new();
        while !bytes.is_empty() {
            let damaged = || StoreError::Broken("entries of lineage are damaged".to_owned());
            entries.push(Self::take(&mut bytes).ok_or_else(damaged)?);
        }
        Ok(entries)
    }

    /// Whether it is of the row's group.
    fn is_of(&self, identity: &str, row: &StoredRow) -> bool {
        self.group.map_or(self.id, |group| metric_id_of(identity, &row.window, row.start, group)) == row.metric_id
    }

    fn read(&self) -> Result<RoaringBitmap, StoreError> {
        RoaringBitmap::deserialize_from(self.bits)
            .map_err(|error| StoreError::Broken(format!("a bitmap of lineage: {error}")))
    }
}

/// The events behind a row, from `after` on.
pub fn offsets(
    from: &mut impl Ask,
    plan: &Plan,
    row: &StoredRow,
    after: Option<Offset>,
    limit: u32,
) -> Result<Vec<Offset>, StoreError> {
    let mut found = Vec::new();
    // What went into a row of the same start in another life of the pipeline went into another row.
    let (begun, _) = plan.lives.around(&row.pipeline, row.epoch);
    let mut epoch = if begun > Epoch(0) { begun.0.cast_signed() } else { -1 };
    let identity = plan.lives.identity_at(&row.pipeline, row.epoch);
    while found.len() < limit as usize {
        let mut rows = added(from, plan, row, after, Of::Behind(epoch))?;
        let Some(last) = rows.last().map(|added| added.epoch) else { break };
        let is_whole = rows.len() < ROWS_READ;
        if !is_whole {
            // Of the last epoch there may be more: it comes with the next ones, or by itself.
            rows.retain(|added| added.epoch != last);
            if rows.is_empty() {
                rows = added(from, plan, row, after, Of::Only(last))?;
            }
        }
        for of_epoch in rows.chunk_by(|a, b| a.epoch == b.epoch) {
            epoch = of_epoch.last().map_or(epoch, |added| added.epoch);
            let mut offsets = Vec::new();
            for added in of_epoch.iter().filter(|added| row.end > added.late_to) {
                for entry in Entry::all(&added.entries)?.iter().filter(|entry| entry.is_of(&identity, row)) {
                    let bits = entry.read()?;
                    let of_entry = bits.iter().map(|bit| Offset(added.first.0 + u64::from(bit)));
                    offsets.extend(of_entry.filter(|offset| Some(*offset) > after));
                }
            }
            offsets.sort_unstable();
            // A pipeline that came again with a past told of the epoch twice, perhaps in other rows.
            offsets.dedup();
            found.append(&mut offsets);
        }
        if is_whole {
            break;
        }
    }
    found.truncate(limit as usize);
    Ok(found)
}

/// What one epoch added to a slice, among others of the row's group.
struct Added {
    epoch: i64,
    first: Offset,
    late_to: Micros,
    entries: Vec<u8>,
}

/// Which epochs' rows.
#[derive(Clone, Copy)]
enum Of {
    /// In order, at most `ROWS_READ`.
    Behind(i64),
    Only(i64),
}

fn added(
    from: &mut impl Ask,
    plan: &Plan,
    row: &StoredRow,
    after: Option<Offset>,
    of: Of,
) -> Result<Vec<Added>, StoreError> {
    let mut query = Query::new("SELECT epoch, first_offset, late_to, entries FROM lineage WHERE pipeline = ");
    query.bind(Param::text(&row.pipeline)).push(" AND window_name = ").bind(Param::text(&row.window));
    if is_slice(plan, row) {
        // Then the table's key has them in order.
        query.push(" AND slice_start = ").bind(Param::Time(row.start));
    } else {
        query.push(" AND slice_start >= ").bind(Param::Time(row.start));
        query.push(" AND slice_start < ").bind(Param::Time(row.end));
    }
    let series = series_id(&row.pipeline, &row.window, &row.group);
    for bits in 0..=PART_BITS_MAX {
        query.push(if bits == 0 { " AND part IN (" } else { ", " }).bind(Param::int(part(series, bits)));
    }
    query.push(")");
    if let Some(after) = after {
        query.push(" AND last_offset > ").bind(Param::int(after.0));
    }
    let (_, upto) = plan.lives.around(&row.pipeline, row.epoch);
    if upto < Epoch(u64::MAX) {
        query.push(" AND epoch <= ").bind(Param::int(upto.0));
    }
    match of {
        Of::Only(epoch) => query.push(" AND epoch = ").bind(Param::Int(epoch)),
        Of::Behind(epoch) => {
            query.push(" AND epoch > ").bind(Param::Int(epoch));
            query.push(" ORDER BY epoch LIMIT ").bind(Param::int(ROWS_READ as u64))
        }
    };
    let read = |mut row: Row| {
        let (epoch, first, late_to) = (row.int()?, Offset(row.unsigned()?), Micros(row.int()?));
        Ok(Added { epoch, first, late_to, entries: row.bytes()? })
    };
    from.ask(&query)?.into_iter().map(read).collect()
}

fn is_slice(plan: &Plan, row: &StoredRow) -> bool {
    let window = find(plan, &row.pipeline, &row.window);
    window.is_some_and(|window| matches!(window.kind, WindowKind::Tumbling { .. }))
}

/// For each of the offsets the rows that it went into, by their ids.
pub fn metrics(from: &mut impl Ask, plan: &Plan, offsets: &[Offset]) -> Result<Vec<Vec<Uuid>>, StoreError> {
    let mut epoch = OfEpoch { range: Offset(0)..Offset(0), slices: Vec::new() };
    let mut all = Vec::with_capacity(offsets.len());
    for offset in offsets {
        if !epoch.range.contains(offset) {
            epoch = OfEpoch::holding(from, *offset)?;
        }
        let bit = u32::try_from(offset.0.wrapping_sub(epoch.range.start.0)).unwrap_or(u32::MAX);
        let mut found: Vec<Uuid> = epoch.slices.iter().flat_map(|slice| slice.rows(plan, bit)).collect();
        found.sort_unstable();
        found.dedup();
        all.push(found);
    }
    Ok(all)
}

/// The slices that an epoch's events went into.
struct OfEpoch {
    range: Range<Offset>,
    slices: Vec<Slice>,
}

/// A slice of one window, with what went into it of each group.
struct Slice {
    start: Micros,
    epoch: Epoch,
    pipeline: String,
    window: String,
    late_to: Micros,
    groups: Vec<OfGroup>,
}

struct OfGroup {
    id: Uuid,
    group: Option<Vec<u8>>,
    bits: RoaringBitmap,
}

impl OfEpoch {
    fn holding(from: &mut impl Ask, offset: Offset) -> Result<Self, StoreError> {
        let mut bound = |sql: &str| -> Result<Option<u64>, StoreError> {
            let rows = from.ask(&Query::with(sql, [Param::int(offset.0)]))?;
            rows.into_iter().next().map_or(Ok(None), |mut row| row.unsigned_or_null())
        };
        let first = bound("SELECT max(first_offset) FROM lineage WHERE first_offset <= $1")?;
        let next = bound("SELECT min(first_offset) FROM lineage WHERE first_offset > $1")?;
        let range = Offset(first.unwrap_or_default())..Offset(next.unwrap_or(u64::MAX));
        let sql =
            "SELECT slice_start, epoch, pipeline, window_name, late_to, entries FROM lineage WHERE first_offset = $1";
        let read = |mut row: Row| {
            let (start, epoch) = (row.time()?, Epoch(row.unsigned()?));
            let (pipeline, window) = (row.text()?, row.text()?);
            let (late_to, entries) = (Micros(row.int()?), row.bytes()?);
            let of_group = |entry: &Entry<'_>| {
                Ok(OfGroup { id: entry.id, group: entry.group.map(<[u8]>::to_vec), bits: entry.read()? })
            };
            let groups = Entry::all(&entries)?.iter().map(of_group).collect::<Result<_, StoreError>>()?;
            Ok(Slice { start, epoch, pipeline, window, late_to, groups })
        };
        let rows = from.ask(&Query::with(sql, [Param::int(range.start.0)]))?;
        Ok(Self { range, slices: rows.into_iter().map(read).collect::<Result<_, _>>()? })
    }
}

impl Slice {
    /// The rows that an event went into; of a hopping window only while that is one of the plan's, and its pipeline the same life.
    fn rows(&self, plan: &Plan, bit: u32) -> Vec<Uuid> {
        let mut rows = Vec::new();
        for OfGroup { id, group, .. } in self.groups.iter().filter(|of_group| of_group.bits.contains(bit)) {
            match group {
                None => rows.push(*id),
                Some(group) => rows.extend(self.hops(plan, group)),
            }
        }
        rows
    }

    fn hops(&self, plan: &Plan, group: &[u8]) -> Vec<Uuid> {
        let (begun, _) = plan.lives.around(&self.pipeline, Epoch(u64::MAX));
        let Some(window) = find(plan, &self.pipeline, &self.window).filter(|_| self.epoch > begun) else {
            return Vec::new();
        };
        let identity = plan.lives.identity(&self.pipeline);
        let took = window.kind.starts(self.start).filter(|start| window.kind.end(*start) > self.late_to);
        took.map(|start| metric_id_of(&identity, &self.window, start, group)).collect()
    }
}

fn find<'a>(plan: &'a Plan, pipeline: &str, window: &str) -> Option<&'a WindowPlan> {
    plan.windows.iter().find(|of_plan| of_plan.name == window && plan.pipeline_of(of_plan).name == pipeline)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_that_is_two_is_told_by_one_bit_more() {
        let series = Uuid::from_u128(0xa5a5_0123_4567_89ab_cdef_0123_4567_89ab);
        assert_eq!([0, 1, 4].map(|bits| part(series, bits)), [1, 0b11, 0b1_1010]);
        for bits in 1..=PART_BITS_MAX {
            assert_eq!(part(series, bits) >> 1, part(series, bits - 1));
        }
    }

    #[test]
    fn rows_are_of_some_kilobytes() {
        let cases = [(0, 0, 0), (PART_BYTES, 300, 0), (PART_BYTES * 2, 300, 1), (PART_BYTES * 9, 300, 4)];
        for (bytes, entries, bits) in cases.into_iter().chain([(PART_BYTES * 1000, 1, 0), (PART_BYTES * 1000, 4, 2)]) {
            assert_eq!(part_bits(bytes, entries), bits, "{bytes} bytes in {entries} entries");
        }
        assert_eq!(part_bits(usize::MAX, usize::MAX), PART_BITS_MAX);
    }

    #[test]
    fn damaged_entries_are_said_to_be() {
        for length in [1, 15, 19, 20, 23, 24] {
            let bytes = [1; 24];
            assert!(matches!(Entry::all(&bytes[..length]), Err(StoreError::Broken(_))), "{length} bytes");
        }
    }
}
