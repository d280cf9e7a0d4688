//! Partial aggregates: an epoch's rows are grouped by Polars, their sums kept exact; merging is commutative and associative to the bit.
//! Knows no watermark and no lateness: which rows go in is said to it.
//!
//! Encodings. A *count* is an unsigned LEB128 of the least length; integers are little-endian.
//!
//! ```text
//! key      = window (count), start (i64), number of values (count), value…
//! value    = 0 (null) | 1 (false) | 2 (true) | 3, i64 | 4, length (count), UTF-8
//! partial  = event count (count), then for each metric but count():
//!            sum, mean of integers   number of values n (count); unless n = 0 the sum (i128)
//!            sum, mean of numbers    n (count); unless n = 0 the sum (ExactSum::encode)
//!            min, max                0 | 1, i64 or the double's bits
//! ```

use std::sync::Arc;

use polars::prelude::{GroupsIdx, IdxSize, IntoGroupsType, UInt64Chunked};

use crate::core::columns::{Column, GroupValue};
use crate::core::exact::{ExactSum, integer_mean};
use crate::core::plan::{ColumnId, ColumnKind, Metric, Plan, WindowPlan};
use crate::core::row::Value;
use crate::core::units::Micros;

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

/// What a metric needs to know of the values it saw. Numbers are finite and never −0.
#[derive(Clone, Debug, PartialEq)]
enum Accumulator {
    IntegerSum { count: u64, sum: i128 },
    NumberSum { count: u64, sum: ExactSum },
    IntegerMin(Option<i64>),
    IntegerMax(Option<i64>),
    NumberMin(Option<f64>),
    NumberMax(Option<f64>),
}

/// Bytes that are no pane.
#[derive(Debug, thiserror::Error)]
#[error("not a pane: {0}")]
pub struct NotAPane(pub &'static str);

/// One epoch's events for one window; all slices have one entry an event.
#[derive(Debug)]
pub struct Rows<'a> {
    /// The number of the window that each event falls into; its start is `number * every`.
    pub numbers: &'a [i64],
    /// One for each of the plan's columns.
    pub fields: &'a [Column],
    /// Events that do not go into this window (they are late for it).
    pub skip: Option<&'a [bool]>,
}

/// The partial panes of an epoch's rows for one window, one for each (start, group) that occurs, in no particular order.
#[must_use]
pub fn preaggregate(plan: &Plan, window: usize, rows: &Rows) -> Vec<(PaneKey, Partial)> {
    let Some(window_plan) = plan.windows.get(window) else { panic!("window {window} is none of the plan's") };
    let dimensions: Vec<Dimension> = window_plan.group.iter().map(|(_, column)| Dimension::of(rows, *column)).collect();
    let Some(keys) = pack_keys(rows, &dimensions) else { return Vec::new() };
    let groups = group(keys);
    let mut panes = Vec::with_capacity(groups.first().len());
    for (first, members) in &groups {
        let first = first as usize;
        if rows.skip.is_some_and(|skip| skip[first]) {
            // The skipped rows are a group by themselves.
            continue;
        }
        let start = Micros(rows.numbers[first] * window_plan.every.0);
        let group = dimensions.iter().map(|d| d.dictionary[d.codes[first] as usize].clone()).collect();
        panes.push((PaneKey { window, start, group }, Partial::of_rows(plan, window_plan, rows, members)));
    }
    panes
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

/// The key of the skipped rows; no pane has it.
const SKIPPED: u64 = u64::MAX;

/// Window number and group codes of each row as one integer. None where there are no rows.
fn pack_keys(rows: &Rows, dimensions: &[Dimension]) -> Option<Vec<u64>> {
    let (first, last) = (*rows.numbers.iter().min()?, *rows.numbers.iter().max()?);
    let mut keys: Vec<u64> = rows.numbers.iter().map(|number| number.wrapping_sub(first) as u64).collect();
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
        (keys, _) = renumber(keys);
    }
    if let Some(skip) = rows.skip {
        keys.iter_mut().zip(skip).filter(|&(_, &skip)| skip).for_each(|(key, _)| *key = SKIPPED);
    }
    Some(keys)
}

/// Makes keys dense that would leave no room for another dimension. Gives their bound too.
fn renumber(mut keys: Vec<u64>) -> (Vec<u64>, u128) {
    let groups = group(keys.clone());
    for (dense, members) in groups.all().iter().enumerate() {
        for &row in members.iter() {
            keys[row as usize] = dense as u64;
        }
    }
    (keys, groups.all().len() as u128)
}

/// Polars finds the rows of each key. On one thread: that was the faster way up to 65,000 rows.
fn group(keys: Vec<u64>) -> GroupsIdx {
    let keys = UInt64Chunked::from_vec("key".into(), keys);
    let groups = keys.group_tuples(false, true);
    groups.unwrap_or_else(|error| panic!("Polars refused to group integers: {error}")).into_idx()
}

impl Partial {
    /// Of no events.
    #[must_use]
    pub fn new(plan: &Plan, window: &WindowPlan) -> Self {
        let accumulators = window.metrics.iter().filter_map(|(_, metric)| Accumulator::new(plan, *metric));
        Self { event_count: 0, accumulators: accumulators.collect() }
    }

    fn of_rows(plan: &Plan, window: &WindowPlan, rows: &Rows, members: &[IdxSize]) -> Self {
        let mut partial = Self::new(plan, window);
        partial.event_count = members.len() as u64;
        let columns = window.metrics.iter().filter_map(|(_, metric)| argument(*metric));
        for (accumulator, column) in partial.accumulators.iter_mut().zip(columns) {
            let Some(column) = rows.fields.get(column.0) else { panic!("decode gives every column of the plan") };
            accumulator.add(column, members);
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

/// The column that a metric reads.
fn argument(metric: Metric) -> Option<ColumnId> {
    match metric {
        Metric::Count => None,
        Metric::Sum(column) | Metric::Mean(column) | Metric::Min(column) | Metric::Max(column) => Some(column),
    }
}

impl Accumulator {
    /// None for `count()`.
    fn new(plan: &Plan, metric: Metric) -> Option<Self> {
        let Some(column) = plan.columns.get(argument(metric)?.0) else {
            panic!("a metric's column is one of the plan's")
        };
        Some(match (metric, column.kind) {
            (Metric::Sum(_) | Metric::Mean(_), ColumnKind::Integer) => Self::IntegerSum { count: 0, sum: 0 },
            (Metric::Sum(_) | Metric::Mean(_), ColumnKind::Number) => {
                Self::NumberSum { count: 0, sum: ExactSum::default() }
            }
            (Metric::Min(_), ColumnKind::Integer) => Self::IntegerMin(None),
            (Metric::Max(_), ColumnKind::Integer) => Self::IntegerMax(None),
            (Metric::Min(_), ColumnKind::Number) => Self::NumberMin(None),
            (Metric::Max(_), ColumnKind::Number) => Self::NumberMax(None),
            (Metric::Count, _) | (_, ColumnKind::Group) => panic!("a metric reads a column of kind Integer or Number"),
        })
    }

    /// Adds the column's values in these rows.
    fn add(&mut self, column: &Column, members: &[IdxSize]) {
        let rows = members.iter().map(|&row| row as usize);
        match (self, column) {
            (Self::IntegerSum { count, sum }, Column::Integer(values)) => {
                for value in rows.filter_map(|row| values[row]) {
                    *count += 1;
                    *sum += i128::from(value);
                }
            }
            (Self::NumberSum { count, sum }, Column::Number(values)) => {
                for value in rows.filter_map(|row| values[row]) {
                    *count += 1;
                    sum.add(value);
                }
            }
            (Self::IntegerMin(least), Column::Integer(values)) => *least = rows.filter_map(|row| values[row]).min(),
            (Self::IntegerMax(most), Column::Integer(values)) => *most = rows.filter_map(|row| values[row]).max(),
            (Self::NumberMin(least), Column::Number(values)) => {
                *least = rows.filter_map(|row| values[row]).map(unsigned_zero).min_by(f64::total_cmp);
            }
            (Self::NumberMax(most), Column::Number(values)) => {
                *most = rows.filter_map(|row| values[row]).map(unsigned_zero).max_by(f64::total_cmp);
            }
            _ => panic!("decode gives columns of the planned kind"),
        }
    }

    fn merge(&mut self, other: &Self) {
        match (self, other) {
            (Self::IntegerSum { count, sum }, Self::IntegerSum { count: more, sum: other }) => {
                *count += more;
                *sum += other;
            }
            (Self::NumberSum { count, sum }, Self::NumberSum { count: more, sum: other }) => {
                *count += more;
                sum.merge(other);
            }
            (Self::IntegerMin(a), Self::IntegerMin(b)) => *a = a.iter().chain(b).copied().min(),
            (Self::IntegerMax(a), Self::IntegerMax(b)) => *a = a.iter().chain(b).copied().max(),
            (Self::NumberMin(a), Self::NumberMin(b)) => *a = a.iter().chain(b).copied().min_by(f64::total_cmp),
            (Self::NumberMax(a), Self::NumberMax(b)) => *a = a.iter().chain(b).copied().max_by(f64::total_cmp),
            _ => panic!("panes of two windows"),
        }
    }

    fn value(&self, metric: Metric) -> Value {
        let mean = matches!(metric, Metric::Mean(_));
        match self {
            Self::IntegerSum { count: 0, .. } | Self::NumberSum { count: 0, .. } => Value::Null,
            Self::IntegerSum { count, sum } if mean => number(integer_mean(*sum, *count)),
            Self::IntegerSum { sum, .. } => Value::Integer(*sum),
            Self::NumberSum { count, sum } if mean => number(sum.mean(*count)),
            Self::NumberSum { sum, .. } => number(sum.value()),
            Self::IntegerMin(value) | Self::IntegerMax(value) => {
                value.map_or(Value::Null, |v| Value::Integer(i128::from(v)))
            }
            Self::NumberMin(value) | Self::NumberMax(value) => number(*value),
        }
    }

    fn encode(&self, into: &mut Vec<u8>) {
        match self {
            Self::IntegerSum { count, sum } => {
                put_count(*count, into);
                if *count > 0 {
                    into.extend_from_slice(&sum.to_le_bytes());
                }
            }
            Self::NumberSum { count, sum } => {
                put_count(*count, into);
                if *count > 0 {
                    sum.encode(into);
                }
            }
            Self::IntegerMin(value) | Self::IntegerMax(value) => put_option(value.map(i64::to_le_bytes), into),
            Self::NumberMin(value) | Self::NumberMax(value) => {
                put_option(value.map(|v| v.to_bits().to_le_bytes()), into);
            }
        }
    }

    /// Reads itself from the bytes; before, it is one of no values.
    fn decode(&mut self, event_count: u64, rest: &mut &[u8]) -> Result<(), NotAPane> {
        match self {
            Self::IntegerSum { count, sum } => {
                *count = take_value_count(event_count, rest)?;
                if *count > 0 {
                    *sum = i128::from_le_bytes(take(rest)?);
                }
                // So that no merge of fewer than 2^64 events overflows.
                if sum.unsigned_abs() > u128::from(*count) << 63 {
                    return Err(NotAPane("a sum too large for its count"));
                }
            }
            Self::NumberSum { count, sum } => {
                *count = take_value_count(event_count, rest)?;
                if *count > 0 {
                    *sum = ExactSum::decode(rest).ok_or(NotAPane("no exact sum"))?;
                }
            }
            Self::IntegerMin(value) | Self::IntegerMax(value) => *value = take_option(rest)?.map(i64::from_le_bytes),
            Self::NumberMin(value) | Self::NumberMax(value) => {
                *value = take_option(rest)?.map(|bytes| f64::from_bits(u64::from_le_bytes(bytes)));
                if value.is_some_and(|v| !v.is_finite() || (v == 0.0 && v.is_sign_negative())) {
                    return Err(NotAPane("a number that is not finite, or -0"));
                }
            }
        }
        Ok(())
    }
}

/// −0 becomes +0.
fn unsigned_zero(value: f64) -> f64 {
    value + 0.0
}

fn number(value: Option<f64>) -> Value {
    value.map_or(Value::Null, Value::Number)
}

impl PaneKey {
    /// Canonical, self-delimiting bytes: equal keys have equal bytes. They stand in messages and checkpoints.
    pub fn encode(&self, into: &mut Vec<u8>) {
        put_count(self.window as u64, into);
        into.extend_from_slice(&self.start.0.to_le_bytes());
        encode_group(&self.group, into);
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
        let group = (0..values).map(|_| take_group_value(rest)).collect::<Result<_, _>>()?;
        Ok(Self { window, start, group })
    }
}

/// The group's part of a key's bytes; names of rows are made from them too, so they never change.
pub(crate) fn encode_group(group: &[GroupValue], into: &mut Vec<u8>) {
    put_count(group.len() as u64, into);
    for value in group {
        match value {
            GroupValue::Null => into.push(0),
            GroupValue::Bool(false) => into.push(1),
            GroupValue::Bool(true) => into.push(2),
            GroupValue::Integer(integer) => {
                into.push(3);
                into.extend_from_slice(&integer.to_le_bytes());
            }
            GroupValue::Text(text) => {
                into.push(4);
                put_text(text, into);
            }
        }
    }
}

fn take_group_value(rest: &mut &[u8]) -> Result<GroupValue, NotAPane> {
    let [tag] = take(rest)?;
    match tag {
        0 => Ok(GroupValue::Null),
        1 => Ok(GroupValue::Bool(false)),
        2 => Ok(GroupValue::Bool(true)),
        3 => Ok(GroupValue::Integer(i64::from_le_bytes(take(rest)?))),
        4 => {
            let length = usize::try_from(take_count(rest)?).map_err(|_| NotAPane("it ends too early"))?;
            let (text, after) = rest.split_at_checked(length).ok_or(NotAPane("it ends too early"))?;
            *rest = after;
            let text = std::str::from_utf8(text).map_err(|_| NotAPane("text that is no UTF-8"))?;
            Ok(GroupValue::Text(Arc::from(text)))
        }
        _ => Err(NotAPane("an unknown kind of group value")),
    }
}

/// Length (count) and UTF-8.
pub(crate) fn put_text(text: &str, into: &mut Vec<u8>) {
    put_count(text.len() as u64, into);
    into.extend_from_slice(text.as_bytes());
}

fn put_count(mut count: u64, into: &mut Vec<u8>) {
    while count >= 0x80 {
        into.push(count as u8 | 0x80);
        count >>= 7;
    }
    into.push(count as u8);
}

fn take_count(rest: &mut &[u8]) -> Result<u64, NotAPane> {
    let mut count = 0;
    for shift in (0..64).step_by(7) {
        let [byte] = take(rest)?;
        let bits = u64::from(byte & 0x7f);
        count |= bits << shift;
        if byte & 0x80 == 0 {
            // Of a longer form than it needs, or over 64 bits: no count has two forms.
            let canonical = (byte != 0 || shift == 0) && bits << shift >> shift == bits;
            return canonical.then_some(count).ok_or(NotAPane("a count in another form"));
        }
    }
    Err(NotAPane("a count over 64 bits"))
}

/// How many of the events had a value.
fn take_value_count(event_count: u64, rest: &mut &[u8]) -> Result<u64, NotAPane> {
    let count = take_count(rest)?;
    if count > event_count { Err(NotAPane("more values than events")) } else { Ok(count) }
}

fn put_option(value: Option<[u8; 8]>, into: &mut Vec<u8>) {
    into.push(u8::from(value.is_some()));
    into.extend_from_slice(value.as_ref().map_or(&[], |v| v.as_slice()));
}

fn take_option(rest: &mut &[u8]) -> Result<Option<[u8; 8]>, NotAPane> {
    match take(rest)? {
        [0] => Ok(None),
        [1] => Ok(Some(take(rest)?)),
        _ => Err(NotAPane("neither a value nor none")),
    }
}

fn take<const N: usize>(rest: &mut &[u8]) -> Result<[u8; N], NotAPane> {
    let (bytes, after) = rest.split_first_chunk().ok_or(NotAPane("it ends too early"))?;
    *rest = after;
    Ok(*bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A million panes: with its key, its place in a map and one metric some 200 bytes each.
    #[test]
    fn a_metric_costs_a_pane_at_most_48_bytes() {
        assert!(size_of::<Accumulator>() <= 48, "{} bytes", size_of::<Accumulator>());
    }
}
