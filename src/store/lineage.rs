//! Lineage as bitmaps (`audit: compact`): what is written, and the two questions that are asked of it.

use std::collections::HashMap;
use std::collections::hash_map::Entry;

use roaring::RoaringBitmap;
use uuid::Uuid;

use crate::core::identity::metric_id;
use crate::core::lineage::{Lineage, series_id};
use crate::core::plan::{Plan, WindowKind, WindowPlan};
use crate::core::units::{Epoch, Micros, Offset};
use crate::store::sql::{Ask, Param, Query, Row};
use crate::store::text::group_json;
use crate::store::{StoreError, StoredRow};

/// Bitmaps read at a time; each is of one epoch, so a page of events needs few of them or many.
const BITMAPS_READ: usize = 512;

/// A row of the table.
pub struct StoredSlice {
    pub series: Uuid,
    pub start: Micros,
    pub epoch: Epoch,
    pub metric: Option<Uuid>,
    pub first: Offset,
    pub last: Offset,
    pub late_to: Micros,
    pub offsets: Vec<u8>,
}

impl StoredSlice {
    pub fn of(plan: &Plan, lineage: &Lineage) -> Self {
        let Some(window) = plan.windows.get(lineage.window) else {
            panic!("window {} is none of the plan's", lineage.window)
        };
        let pipeline = &plan.pipeline_of(window).name;
        let alone = !matches!(window.kind, WindowKind::Hopping { .. });
        let mut offsets = Vec::with_capacity(lineage.offsets.serialized_size());
        if let Err(error) = lineage.offsets.serialize_into(&mut offsets) {
            panic!("a vector takes all that is written: {error}");
        }
        Self {
            series: series_id(pipeline, &window.name, &group_json(window, &lineage.group)),
            start: lineage.slice,
            epoch: lineage.epoch,
            metric: alone
                .then(|| metric_id(&plan.identity(window.pipeline), &window.name, lineage.slice, &lineage.group)),
            first: lineage.first,
            last: lineage.last(),
            late_to: lineage.late_to,
            offsets,
        }
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
    while found.len() < limit as usize {
        let mut bitmaps = bitmaps(from, plan, row, after, Of::Behind(epoch))?;
        let Some(last) = bitmaps.last().map(|bitmap| bitmap.epoch) else { break };
        let is_whole = bitmaps.len() < BITMAPS_READ;
        if !is_whole {
            // Of the last epoch there may be more: it comes with the next ones, or by itself.
            bitmaps.retain(|bitmap| bitmap.epoch != last);
            if bitmaps.is_empty() {
                bitmaps = self::bitmaps(from, plan, row, after, Of::Only(last))?;
            }
        }
        for of_epoch in bitmaps.chunk_by(|a, b| a.epoch == b.epoch) {
            epoch = of_epoch.last().map_or(epoch, |bitmap| bitmap.epoch);
            let took = of_epoch.iter().filter(|bitmap| row.end > bitmap.late_to);
            let mut offsets: Vec<Offset> = took.flat_map(Bitmap::offsets).filter(|o| Some(*o) > after).collect();
            offsets.sort_unstable();
            found.append(&mut offsets);
        }
        if is_whole {
            break;
        }
    }
    found.truncate(limit as usize);
    Ok(found)
}

/// What one epoch added to a slice.
struct Bitmap {
    epoch: i64,
    first: Offset,
    late_to: Micros,
    bits: RoaringBitmap,
}

impl Bitmap {
    fn offsets(&self) -> impl Iterator<Item = Offset> {
        self.bits.iter().map(|bit| Offset(self.first.0 + u64::from(bit)))
    }
}

fn read_bits(bytes: &[u8]) -> Result<RoaringBitmap, StoreError> {
    RoaringBitmap::deserialize_from(bytes).map_err(|error| StoreError::Broken(format!("a bitmap of lineage: {error}")))
}

/// Which epochs' bitmaps.
#[derive(Clone, Copy)]
enum Of {
    /// In order, at most `BITMAPS_READ`.
    Behind(i64),
    Only(i64),
}

fn bitmaps(
    from: &mut impl Ask,
    plan: &Plan,
    row: &StoredRow,
    after: Option<Offset>,
    of: Of,
) -> Result<Vec<Bitmap>, StoreError> {
    let mut query = Query::new("SELECT epoch, first_offset, late_to, offsets FROM lineage WHERE series_id = ");
    query.bind(Param::Uuid(series_id(&row.pipeline, &row.window, &row.group)));
    if is_slice(plan, row) {
        // Then the table's key has them in order.
        query.push(" AND slice_start = ").bind(Param::Time(row.start));
    } else {
        query.push(" AND slice_start >= ").bind(Param::Time(row.start));
        query.push(" AND slice_start < ").bind(Param::Time(row.end));
    }
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
            query.push(" ORDER BY epoch LIMIT ").bind(Param::int(BITMAPS_READ as u64))
        }
    };
    let read = |mut row: Row| {
        let (epoch, first, late_to) = (row.int()?, Offset(row.unsigned()?), Micros(row.int()?));
        Ok(Bitmap { epoch, first, late_to, bits: read_bits(&row.bytes()?)? })
    };
    from.ask(&query)?.into_iter().map(read).collect()
}

fn is_slice(plan: &Plan, row: &StoredRow) -> bool {
    let mut windows = plan.windows.iter();
    let window = windows.find(|window| window.name == row.window && plan.pipeline_of(window).name == row.pipeline);
    window.is_some_and(|window| matches!(window.kind, WindowKind::Tumbling { .. }))
}

/// For each of the offsets the rows that it went into, by their ids.
pub fn metrics(from: &mut impl Ask, plan: &Plan, offsets: &[Offset]) -> Result<Vec<Vec<Uuid>>, StoreError> {
    let mut rows = Rows { known: HashMap::new() };
    let mut epoch = OfEpoch { range: Offset(0)..Offset(0), slices: Vec::new() };
    let mut all = Vec::with_capacity(offsets.len());
    for offset in offsets {
        if !epoch.range.contains(offset) {
            epoch = OfEpoch::holding(from, *offset)?;
        }
        let bit = u32::try_from(offset.0.wrapping_sub(epoch.range.start.0)).unwrap_or(u32::MAX);
        let mut found = Vec::new();
        for slice in epoch.slices.iter().filter(|slice| slice.bits.contains(bit)) {
            match slice.metric {
                Some(metric) => found.push(metric),
                None => found.extend(rows.of_slice(from, plan, slice)?),
            }
        }
        found.sort_unstable();
        all.push(found);
    }
    Ok(all)
}

/// The slices that an epoch's events went into.
struct OfEpoch {
    range: std::ops::Range<Offset>,
    slices: Vec<Slice>,
}

struct Slice {
    series: Uuid,
    start: Micros,
    epoch: Epoch,
    metric: Option<Uuid>,
    late_to: Micros,
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
            "SELECT series_id, slice_start, epoch, metric_id, late_to, offsets FROM lineage WHERE first_offset = $1";
        let read = |mut row: Row| {
            let (series, start, epoch) = (row.uuid()?, row.time()?, Epoch(row.unsigned()?));
            let metric = row.uuid_or_null()?;
            Ok(Slice { series, start, epoch, metric, late_to: Micros(row.int()?), bits: read_bits(&row.bytes()?)? })
        };
        let rows = from.ask(&Query::with(sql, [Param::int(range.start.0)]))?;
        Ok(Self { range, slices: rows.into_iter().map(read).collect::<Result<_, _>>()? })
    }
}

/// Rows of hopping windows, by slice.
struct Rows {
    known: HashMap<Micros, Vec<Hop>>,
}

/// A row of a hopping window.
struct Hop {
    series: Uuid,
    metric: Uuid,
    end: Micros,
    /// The epochs of its pipeline's life.
    life: (Epoch, Epoch),
}

impl Hop {
    fn took(&self, slice: &Slice) -> bool {
        let (after, upto) = self.life;
        self.series == slice.series && self.end > slice.late_to && after < slice.epoch && slice.epoch <= upto
    }
}

impl Rows {
    fn of_slice(&mut self, from: &mut impl Ask, plan: &Plan, slice: &Slice) -> Result<Vec<Uuid>, StoreError> {
        let hops = match self.known.entry(slice.start) {
            Entry::Occupied(known) => known.into_mut(),
            Entry::Vacant(place) => {
                let mut hops = Vec::new();
                for window in plan.windows.iter().filter(|window| matches!(window.kind, WindowKind::Hopping { .. })) {
                    hops.append(&mut read_hops(from, plan, window, slice.start)?);
                }
                place.insert(hops)
            }
        };
        let took = hops.iter().filter(|hop| hop.took(slice));
        Ok(took.map(|hop| hop.metric).collect())
    }
}

/// The window's rows that have this slice.
fn read_hops(from: &mut impl Ask, plan: &Plan, window: &WindowPlan, slice: Micros) -> Result<Vec<Hop>, StoreError> {
    let pipeline = &plan.pipeline_of(window).name;
    let mut query = Query::new("SELECT metric_id, window_end, epoch, group_key FROM metrics_out WHERE window_name = ");
    query.bind(Param::text(&window.name)).push(" AND pipeline = ").bind(Param::text(pipeline));
    query.push(" AND window_start <= ").bind(Param::Time(slice));
    query.push(" AND window_start > ").bind(Param::Time(slice.minus(window.kind.end(Micros(0)))));
    let read = |mut row: Row| {
        let (metric, end) = (row.uuid()?, row.time()?);
        let life = plan.lives.around(pipeline, Epoch(row.unsigned()?));
        Ok(Hop { series: series_id(pipeline, &window.name, &row.text()?), metric, end, life })
    };
    from.ask(&query)?.into_iter().map(read).collect()
}
