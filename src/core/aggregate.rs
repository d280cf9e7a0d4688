//! Partial aggregates: an epoch's rows are grouped (`groups`), their sums kept exact; merging is commutative and associative to the bit.
//! Knows no watermark and no lateness: which rows go in is said to it.
//!
//! Encodings, with the terms of `core::encoding`:
//!
//! ```text
//! key      = window (count), start (i64), number of values (count), value…
//! partial  = event count (count), then an accumulator for each metric but count(): `core::accumulator`
//! ```

mod groups;

use polars::prelude::IdxSize;

use crate::core::accumulator::{Accumulator, Members};
use crate::core::aggregate::groups::{Groups, SKIPPED};
use crate::core::columns::{Column, GroupValue};
use crate::core::encoding::{NotAPane, put_count, put_group_value, take, take_count, take_group_value};
use crate::core::plan::{ColumnId, Metric, Plan, WindowPlan};
use crate::core::row::Value;
use crate::core::units::{Micros, Offset};

/// Which pane: window, start, group.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PaneKey {
    /// The window's place in `Plan::windows`.
    pub window: usize,
    pub start: Micros,
    /// In the order of `WindowPlan::group`.
    pub group: Vec<GroupValue>,
}

/// One pane's partial aggregate: an event count and one accumulator a metric. `merge(a, b) == merge(b, a)`, to the bit.
#[derive(Clone, Debug, PartialEq)]
pub struct Partial {
    event_count: u64,
    /// One for each metric but `count()`, in their order.
    accumulators: Box<[Accumulator]>,
}

/// One epoch's events for one window; all slices have one entry an event.
#[derive(Debug)]
pub struct Rows<'a> {
    pub time: &'a [Micros],
    /// No two events have the same.
    pub offset: &'a [Offset],
    /// One for each of the pipeline's columns.
    pub fields: &'a [Column],
    /// Events that do not go into this window (they are late for it).
    pub skip: Option<&'a [bool]>,
}

/// What a worker found for an owner: the partial aggregate of a slice or of a run of events that is (part of) a session.
#[derive(Clone, Debug, PartialEq)]
pub struct Contribution {
    /// Its start is the slice's, or the time of the run's first event.
    pub key: PaneKey,
    /// The time of the run's last event; of a slice, its start.
    pub last: Micros,
    pub partial: Partial,
}

/// The partial panes of an epoch's rows for one window, in no particular order: one for each (slice, group) that occurs, or for each run of a group's events
/// that lie less than the session's gap apart.
#[must_use]
pub fn preaggregate(plan: &Plan, window: usize, rows: &Rows) -> Vec<Contribution> {
    preaggregate_with(plan, window, rows, |_, _, _| {})
}

/// The same; `slice_of` is told of each slice and its rows.
#[must_use]
pub fn preaggregate_with(
    plan: &Plan,
    window: usize,
    rows: &Rows,
    mut slice_of: impl FnMut(Micros, &[GroupValue], &[IdxSize]),
) -> Vec<Contribution> {
    let Some(window_plan) = plan.windows.get(window) else { panic!("window {window} is none of the plan's") };
    let slice = window_plan.kind.slice();
    let number = |time: &Micros| slice.map_or(0, |slice| time.0.div_euclid(slice.0));
    let numbers: Vec<i64> = rows.time.iter().map(number).collect();
    let dimensions: Vec<Dimension> = window_plan.group.iter().map(|field| Dimension::of(rows, field.column)).collect();
    let Some((keys, bound)) = pack_keys(&numbers, rows.skip, &dimensions) else { return Vec::new() };
    let mut found = Vec::new();
    Groups::of(keys, bound).each(|members| {
        let Some(&first) = members.first() else { return };
        let first = first as usize;
        let group: Vec<GroupValue> = dimensions.iter().map(|d| d.dictionary[d.codes[first] as usize].clone()).collect();
        let contribution = |start, last, group, members: &[IdxSize]| Contribution {
            key: PaneKey { window, start, group },
            last,
            partial: Partial::of_rows(plan, window_plan, rows, members),
        };
        match (slice, window_plan.kind.gap()) {
            (Some(slice), _) => {
                let start = Micros(numbers[first] * slice.0);
                slice_of(start, &group, members);
                found.push(contribution(start, start, group, members));
            }
            (None, gap) => {
                for (start, last, run) in runs(members, rows.time, gap.unwrap_or_default()) {
                    found.push(contribution(start, last, group.clone(), &run));
                }
            }
        }
    });
    found
}

/// The runs of events that lie less than the gap apart: first and last time, rows.
fn runs(members: &[IdxSize], times: &[Micros], gap: Micros) -> Vec<(Micros, Micros, Vec<IdxSize>)> {
    let mut by_time: Vec<(Micros, IdxSize)> = members.iter().map(|&row| (times[row as usize], row)).collect();
    by_time.sort_unstable();
    let runs = by_time.chunk_by(|(before, _), (after, _)| *after < before.plus(gap));
    let run = |run: &[(Micros, IdxSize)]| {
        let (first, last) = (run.first()?.0, run.last()?.0);
        Some((first, last, run.iter().map(|(_, row)| *row).collect()))
    };
    runs.filter_map(run).collect()
}

/// A column by which a window groups.
#[derive(Clone, Copy)]
struct Dimension<'a> {
    codes: &'a [u32],
    dictionary: &'a [GroupValue],
}

impl<'a> Dimension<'a> {
    fn of(rows: &Rows<'a>, column: ColumnId) -> Self {
        match rows.fields.get(column.0) {
            Some(Column::Group { codes, dictionary }) => Self { codes, dictionary },
            _ => panic!("the plan groups by columns of kind Group"),
        }
    }
}

/// Slice number and group codes of each row as one integer, and what all are below; skipped rows have the key `SKIPPED`. None where there are no rows.
fn pack_keys(numbers: &[i64], skip: Option<&[bool]>, dimensions: &[Dimension]) -> Option<(Vec<u64>, u128)> {
    let (first, last) = (*numbers.iter().min()?, *numbers.iter().max()?);
    let mut keys: Vec<u64> = numbers.iter().map(|number| number.wrapping_sub(first) as u64).collect();
    // Every key is below it.
    let mut bound = (i128::from(last) - i128::from(first)) as u128 + 1;
    for dimension in dimensions {
        let values = dimension.dictionary.len() as u128;
        if bound.saturating_mul(values) > u128::from(SKIPPED) {
            (keys, bound) = renumber(keys);
        }
        // Fewer rows than 2^32 times fewer values than 2^32.
        bound *= values;
        for (key, &code) in keys.iter_mut().zip(dimension.codes) {
            *key = *key * values as u64 + u64::from(code);
        }
    }
    if bound > u128::from(SKIPPED) {
        (keys, bound) = renumber(keys);
    }
    if let Some(skip) = skip {
        keys.iter_mut().zip(skip).filter(|&(_, &skip)| skip).for_each(|(key, _)| *key = SKIPPED);
    }
    Some((keys, bound))
}

/// Makes keys dense that would leave no room for another dimension. Gives their bound too.
fn renumber(mut keys: Vec<u64>) -> (Vec<u64>, u128) {
    let mut dense = 0;
    // No row is skipped yet, whatever its key.
    Groups::of_all(keys.clone()).each(|members| {
        for &row in members {
            keys[row as usize] = dense;
        }
        dense += 1;
    });
    (keys, u128::from(dense))
}

impl Partial {
    /// Of no events.
    #[must_use]
    pub fn new(plan: &Plan, window: &WindowPlan) -> Self {
        // Of the right size from the start: a vector that grew and is cut to size leaves a hole in the heap, a million panes a million holes.
        let mut accumulators =
            Vec::with_capacity(window.metrics.iter().filter(|(_, m)| m.argument().is_some()).count());
        accumulators.extend(window.metrics.iter().filter_map(|(_, metric)| Accumulator::new(plan, window, *metric)));
        Self { event_count: 0, accumulators: accumulators.into_boxed_slice() }
    }

    fn of_rows(plan: &Plan, window: &WindowPlan, rows: &Rows, members: &[IdxSize]) -> Self {
        let mut partial = Self::new(plan, window);
        partial.event_count = members.len() as u64;
        let columns = window.metrics.iter().filter_map(|(_, metric)| metric.argument());
        for (accumulator, column) in partial.accumulators.iter_mut().zip(columns) {
            let Some(column) = rows.fields.get(column.0) else { panic!("decode gives every column of the plan") };
            accumulator.add(&Members { column, rows: members, time: rows.time, offset: rows.offset });
        }
        partial
    }

    pub fn merge(&mut self, other: &Self) {
        assert_eq!(self.accumulators.len(), other.accumulators.len(), "panes of two windows");
        self.event_count += other.event_count;
        for (accumulator, other) in self.accumulators.iter_mut().zip(&other.accumulators) {
            accumulator.merge(other);
        }
    }

    #[must_use]
    pub fn event_count(&self) -> u64 {
        self.event_count
    }

    /// The metrics' values, in the order of `window.metrics`, each rounded once.
    #[must_use]
    pub fn values(&self, window: &WindowPlan) -> Vec<Value> {
        let mut accumulators = self.accumulators.iter();
        let value = |(_, metric): &(String, Metric)| {
            if *metric == Metric::Count {
                return Value::Integer(i128::from(self.event_count));
            }
            let Some(accumulator) = accumulators.next() else { panic!("a pane of another window") };
            accumulator.value(*metric)
        };
        window.metrics.iter().map(value).collect()
    }

    /// Self-delimiting bytes, given the plan. Equal partials have equal bytes.
    pub fn encode(&self, into: &mut Vec<u8>) {
        put_count(self.event_count, into);
        self.accumulators.iter().for_each(|accumulator| accumulator.encode(into));
    }

    /// Takes one partial off the front of `rest`.
    ///
    /// # Errors
    /// If the bytes are no partial of this window.
    pub fn decode(plan: &Plan, window: &WindowPlan, rest: &mut &[u8]) -> Result<Self, NotAPane> {
        let mut partial = Self::new(plan, window);
        partial.event_count = take_count(rest)?;
        for accumulator in &mut partial.accumulators {
            accumulator.decode(partial.event_count, rest)?;
        }
        Ok(partial)
    }
}

impl Contribution {
    /// Self-delimiting bytes, given the plan: the key, of a session's run the last time (i64), the partial.
    pub fn encode(&self, plan: &Plan, into: &mut Vec<u8>) {
        self.key.encode(into);
        if is_run(plan, &self.key) {
            into.extend_from_slice(&self.last.0.to_le_bytes());
        }
        self.partial.encode(into);
    }

    /// Takes one contribution off the front of `rest`.
    ///
    /// # Errors
    /// If the bytes are none of this plan.
    pub fn decode(plan: &Plan, rest: &mut &[u8]) -> Result<Self, NotAPane> {
        let key = PaneKey::decode(rest)?;
        let window = plan.windows.get(key.window).ok_or(NotAPane("a window that the plan does not have"))?;
        let last = if is_run(plan, &key) { Micros(i64::from_le_bytes(take(rest)?)) } else { key.start };
        let partial = Partial::decode(plan, window, rest)?;
        Ok(Self { key, last, partial })
    }
}

fn is_run(plan: &Plan, key: &PaneKey) -> bool {
    plan.windows.get(key.window).is_some_and(|window| window.kind.slice().is_none())
}

impl PaneKey {
    /// Canonical, self-delimiting bytes: equal keys have equal bytes. They stand in messages and checkpoints.
    pub fn encode(&self, into: &mut Vec<u8>) {
        encode_key(self.window, self.start, &self.group, into);
    }

    /// Takes one key off the front of `rest`.
    ///
    /// # Errors
    /// If the bytes are no key.
    pub fn decode(rest: &mut &[u8]) -> Result<Self, NotAPane> {
        let window = usize::try_from(take_count(rest)?).map_err(|_| NotAPane("a window's number out of range"))?;
        let start = Micros(i64::from_le_bytes(take(rest)?));
        let values = take_count(rest)?;
        // A value has at least one byte: nothing is allocated for more than there can be.
        if values > rest.len() as u64 {
            return Err(NotAPane("it ends too early"));
        }
        // No larger than it needs to be: an owner keeps it.
        let mut group = Vec::with_capacity(values as usize);
        for _ in 0..values {
            group.push(take_group_value(rest)?);
        }
        Ok(Self { window, start, group })
    }
}

/// A key's bytes, of its parts.
pub(crate) fn encode_key(window: usize, start: Micros, group: &[GroupValue], into: &mut Vec<u8>) {
    put_count(window as u64, into);
    into.extend_from_slice(&start.0.to_le_bytes());
    encode_group(group, into);
}

/// The group's part of a key's bytes; names of rows are made from them too, so they never change.
pub(crate) fn encode_group(group: &[GroupValue], into: &mut Vec<u8>) {
    put_count(group.len() as u64, into);
    for value in group {
        put_group_value(value, into);
    }
}
