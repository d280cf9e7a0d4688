//! Lineage as bitmaps (`audit: compact`): what is written, and the two questions that are asked of it.

use roaring::RoaringBitmap;
use uuid::Uuid;

use crate::core::identity::{group_key, metric_id, metric_id_of};
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
    pub pipeline: String,
    pub window: String,
    /// The id that a row which begins with the slice would have.
    pub id: Uuid,
    /// Where that is not the slice's only row, the group's bytes.
    pub group: Option<Vec<u8>>,
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
            pipeline: pipeline.clone(),
            window: window.name.clone(),
            id: metric_id(&plan.identity(window.pipeline), &window.name, lineage.slice, &lineage.group),
            group: (!alone).then(|| group_key(&lineage.group)),
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
            let took = of_epoch.iter().filter(|bitmap| bitmap.is_of(plan, row) && row.end > bitmap.late_to);
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
    id: Uuid,
    group: Option<Vec<u8>>,
    first: Offset,
    late_to: Micros,
    bits: RoaringBitmap,
}

impl Bitmap {
    /// Whether it is of the row's group: another one may read the same.
    fn is_of(&self, plan: &Plan, row: &StoredRow) -> bool {
        let identity = plan.lives.identity_at(&row.pipeline, row.epoch);
        let of_group = |group| metric_id_of(&identity, &row.window, row.start, group);
        self.group.as_deref().map_or(self.id, of_group) == row.metric_id
    }

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
    let mut query =
        Query::new("SELECT epoch, slice_id, group_key, first_offset, late_to, offsets FROM lineage WHERE series_id = ");
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
        let (epoch, id, group) = (row.int()?, row.uuid()?, row.bytes_or_null()?);
        let (first, late_to) = (Offset(row.unsigned()?), Micros(row.int()?));
        Ok(Bitmap { epoch, id, group, first, late_to, bits: read_bits(&row.bytes()?)? })
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
        let of_offset = epoch.slices.iter().filter(|slice| slice.bits.contains(bit));
        let mut found: Vec<Uuid> = of_offset.flat_map(|slice| slice.rows(plan)).collect();
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
    start: Micros,
    epoch: Epoch,
    pipeline: String,
    window: String,
    id: Uuid,
    group: Option<Vec<u8>>,
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
        let sql = "SELECT slice_start, epoch, pipeline, window_name, slice_id, group_key, late_to, offsets
                   FROM lineage WHERE first_offset = $1";
        let read = |mut row: Row| {
            let (start, epoch) = (row.time()?, Epoch(row.unsigned()?));
            let (pipeline, window) = (row.text()?, row.text()?);
            let (id, group) = (row.uuid()?, row.bytes_or_null()?);
            let (late_to, bits) = (Micros(row.int()?), read_bits(&row.bytes()?)?);
            Ok(Slice { start, epoch, pipeline, window, id, group, late_to, bits })
        };
        let rows = from.ask(&Query::with(sql, [Param::int(range.start.0)]))?;
        Ok(Self { range, slices: rows.into_iter().map(read).collect::<Result<_, _>>()? })
    }
}

impl Slice {
    /// The rows that it went into; of a hopping window only while that is one of the plan's, and its pipeline the same life.
    fn rows<'a>(&'a self, plan: &'a Plan) -> impl Iterator<Item = Uuid> + 'a {
        let (begun, _) = plan.lives.around(&self.pipeline, Epoch(u64::MAX));
        let window = find(plan, &self.pipeline, &self.window).filter(|_| self.epoch > begun);
        let (kind, identity) = (window.map(|window| window.kind), plan.lives.identity(&self.pipeline));
        let hops = self.group.as_deref().zip(kind).into_iter().flat_map(move |(group, kind)| {
            let took = kind.starts(self.start).filter(move |start| kind.end(*start) > self.late_to);
            let ids: Vec<Uuid> = took.map(|start| metric_id_of(&identity, &self.window, start, group)).collect();
            ids
        });
        let alone = self.group.is_none().then_some(self.id);
        alone.into_iter().chain(hops)
    }
}

fn find<'a>(plan: &'a Plan, pipeline: &str, window: &str) -> Option<&'a WindowPlan> {
    plan.windows.iter().find(|of_plan| of_plan.name == window && plan.pipeline_of(of_plan).name == pipeline)
}
