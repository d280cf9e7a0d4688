//! Which events went into which rows, kept small: for each slice of a window and group, and each epoch, one bitmap of offsets. `docs/semantics.md`, "Audit".
//!
//! A hopping window's slices go into several of its rows; each event stands in one slice's bitmap.

use std::collections::HashMap;
use std::ops::Range;
use std::sync::Arc;

use roaring::RoaringBitmap;
use uuid::{Builder, Uuid};
use xxhash_rust::xxh3::xxh3_128;

use crate::core::columns::GroupValue;
use crate::core::encoding::put_text;
use crate::core::units::{Epoch, Micros, Offset};

/// The events of an epoch that went into a slice of a window, for one group.
#[derive(Clone, Debug, PartialEq)]
pub struct Lineage {
    /// The window's place in `Plan::windows`.
    pub window: usize,
    pub slice: Micros,
    /// In the order of `WindowPlan::group`; many slices share one.
    pub group: Arc<[GroupValue]>,
    pub epoch: Epoch,
    /// The epoch's first offset.
    pub first: Offset,
    /// Rows of the slice that end by then took none of them: they were late.
    pub late_to: Micros,
    /// Relative to `first`; never empty.
    pub offsets: RoaringBitmap,
}

/// What a worker's events of an epoch went into, of one window.
#[derive(Clone, Debug, PartialEq)]
pub struct Slices {
    pub window: usize,
    /// As in `Lineage`.
    pub late_to: Micros,
    /// In ascending order.
    groups: Vec<Arc<[GroupValue]>>,
    /// By slice and group, each once.
    parts: Vec<Part>,
    /// Of one part behind the other.
    offsets: Vec<Offset>,
}

/// The events of one slice and group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Part {
    pub slice: Micros,
    /// Its place in `groups`.
    pub group: u32,
    /// How many there are.
    pub events: u32,
}

/// Slices that are being noted, in no order.
#[derive(Debug, Default)]
pub struct Noted {
    numbers: HashMap<Arc<[GroupValue]>, usize, foldhash::fast::RandomState>,
    /// With the number of the group, and where its events are.
    parts: Vec<(Micros, usize, Range<usize>)>,
    offsets: Vec<Offset>,
}

impl Noted {
    /// The events of a slice and group; each is told of once.
    pub fn add(&mut self, slice: Micros, group: &[GroupValue], offsets: impl Iterator<Item = Offset>) {
        let number = self.numbers.get(group).copied().unwrap_or_else(|| {
            let next = self.numbers.len();
            self.numbers.insert(group.into(), next);
            next
        });
        let begin = self.offsets.len();
        self.offsets.extend(offsets);
        self.parts.push((slice, number, begin..self.offsets.len()));
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.parts.is_empty()
    }

    #[must_use]
    pub fn in_order(self, window: usize, late_to: Micros) -> Slices {
        let mut groups: Vec<(Arc<[GroupValue]>, usize)> = self.numbers.into_iter().collect();
        groups.sort_unstable();
        let mut places = vec![0; groups.len()];
        groups.iter().zip(0..).for_each(|((_, number), place)| places[*number] = place);
        let mut parts = self.parts;
        parts.sort_unstable_by_key(|(slice, number, _)| (*slice, places[*number]));
        let offsets = parts.iter().flat_map(|(.., events)| &self.offsets[events.clone()]).copied().collect();
        // A worker's share of an epoch has far fewer events than 2^32.
        let part = |(slice, number, events): (Micros, usize, Range<usize>)| Part {
            slice,
            group: places[number],
            events: events.len() as u32,
        };
        let parts = parts.into_iter().map(part).collect();
        Slices { window, late_to, groups: groups.into_iter().map(|(group, _)| group).collect(), parts, offsets }
    }
}

impl Slices {
    /// None if the parts are of other groups or events than these.
    #[must_use]
    pub fn of_parts(
        (window, late_to): (usize, Micros),
        groups: Vec<Arc<[GroupValue]>>,
        parts: Vec<Part>,
        offsets: Vec<Offset>,
    ) -> Option<Self> {
        let events = parts.iter().map(|part| u64::from(part.events)).sum::<u64>();
        let fits = events == offsets.len() as u64 && parts.iter().all(|part| (part.group as usize) < groups.len());
        fits.then_some(Self { window, late_to, groups, parts, offsets })
    }

    #[must_use]
    pub fn into_parts(self) -> (Vec<Arc<[GroupValue]>>, Vec<Part>, Vec<Offset>) {
        (self.groups, self.parts, self.offsets)
    }

    fn told(&self) -> impl Iterator<Item = Told<'_>> {
        let mut rest = self.offsets.as_slice();
        self.parts.iter().map(move |part| {
            let (offsets, behind) = rest.split_at(part.events as usize);
            rest = behind;
            let group = &self.groups[part.group as usize];
            Told { window: self.window, slice: part.slice, group, late_to: self.late_to, offsets }
        })
    }
}

/// What one worker tells of a slice and group.
#[derive(Clone, Copy)]
struct Told<'a> {
    window: usize,
    slice: Micros,
    group: &'a Arc<[GroupValue]>,
    late_to: Micros,
    offsets: &'a [Offset],
}

/// What the workers tell of an epoch, as one: by window, slice and group, each once.
#[must_use]
pub fn join(slices: &[Slices], epoch: Epoch, first: Offset) -> Vec<Lineage> {
    let mut told: Vec<Told> = slices.iter().flat_map(Slices::told).collect();
    let key = |told: &Told<'_>| (told.window, told.slice);
    // Each worker's are in order, which this sort makes use of.
    told.sort_by(|a, b| key(a).cmp(&key(b)).then_with(|| a.group.cmp(b.group)));
    let of_one = |same: &[Told<'_>]| {
        let one = same.first()?;
        // An epoch has far fewer events than 2^32.
        let mut offsets: Vec<u32> =
            same.iter().flat_map(|told| told.offsets).map(|offset| (offset.0 - first.0) as u32).collect();
        offsets.sort_unstable();
        let Told { window, slice, group, late_to, .. } = *one;
        Some(Lineage {
            window,
            slice,
            group: Arc::clone(group),
            epoch,
            first,
            late_to,
            offsets: RoaringBitmap::from_sorted_iter(offsets)
                .unwrap_or_else(|_| panic!("an event goes into a slice once")),
        })
    };
    told.chunk_by(|a, b| key(a) == key(b) && a.group == b.group).filter_map(of_one).collect()
}

impl Lineage {
    /// The last of the events.
    #[must_use]
    pub fn last(&self) -> Offset {
        Offset(self.first.0 + u64::from(self.offsets.max().unwrap_or_default()))
    }
}

/// The name of a window's rows of one group, whatever their start: a UUID (version 8) from a 128-bit xxh3 of (pipeline, window, group as JSON).
#[must_use]
pub fn series_id(pipeline: &str, window: &str, group: &str) -> Uuid {
    let mut bytes = Vec::new();
    put_text(pipeline, &mut bytes);
    put_text(window, &mut bytes);
    put_text(group, &mut bytes);
    Builder::from_custom_bytes(xxh3_128(&bytes).to_be_bytes()).into_uuid()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    fn group(number: usize) -> Vec<GroupValue> {
        let text = |text: &str| GroupValue::Text(text.into());
        [
            vec![text("b"), GroupValue::Null],
            vec![text("a"), GroupValue::Integer(1)],
            vec![text("a"), GroupValue::Bool(true)],
        ][number]
            .clone()
    }

    proptest! {
        #[test]
        fn workers_together_tell_what_one_would(events in prop::collection::vec((0..2_usize, 0..3_i64, 0..3_usize, 0..3_usize), 0..60)) {
            let (first, late_to) = (Offset(1000), Micros(5));
            let mut expected: BTreeMap<(usize, Micros, Vec<GroupValue>), Vec<u32>> = BTreeMap::new();
            let mut by_worker: BTreeMap<(usize, usize), BTreeMap<(i64, usize), _>> = BTreeMap::new();
            for (bit, &(window, slice, of, worker)) in (0..).zip(&events) {
                expected.entry((window, Micros(slice), group(of))).or_default().push(bit);
                let of_worker = by_worker.entry((worker, window)).or_default();
                of_worker.entry((slice, of)).or_insert_with(Vec::new).push(Offset(first.0 + u64::from(bit)));
            }
            let told: Vec<Slices> = by_worker.into_iter().map(|((_, window), of_worker)| {
                let mut noted = Noted::default();
                // In another order than they are to come in.
                for ((slice, of), offsets) in of_worker.into_iter().rev() {
                    noted.add(Micros(slice), &group(of), offsets.into_iter());
                }
                noted.in_order(window, late_to)
            }).collect();
            let found = join(&told, Epoch(3), first);
            prop_assert!(found.iter().all(|of| (of.epoch, of.first, of.late_to) == (Epoch(3), first, late_to)));
            let found: Vec<_> = found.into_iter().map(|of| ((of.window, of.slice, of.group.to_vec()), of.offsets.iter().collect::<Vec<_>>())).collect();
            prop_assert_eq!(found, expected.into_iter().collect::<Vec<_>>());
        }
    }

    #[test]
    fn parts_that_do_not_fit_are_none() {
        let of = |group, events, offsets: &[u64]| {
            let parts = vec![Part { slice: Micros(0), group, events }];
            let offsets = offsets.iter().copied().map(Offset).collect();
            Slices::of_parts((0, Micros(0)), vec![[GroupValue::Null].into()], parts, offsets).is_some()
        };
        assert_eq!(
            [of(0, 2, &[1, 2]), of(1, 2, &[1, 2]), of(0, 1, &[1, 2]), of(0, 3, &[1, 2])],
            [true, false, false, false]
        );
    }
}
