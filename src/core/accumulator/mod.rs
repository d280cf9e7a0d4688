//! What each metric needs to know of the values it saw, and nothing of their order: merging is commutative and associative to the bit, and equal
//! states have equal bytes. Knows neither panes nor windows.
//!
//! Encodings, with the terms of `core::encoding`. n is a number of values (count).
//!
//! ```text
//! count_if                n, of those that are true
//! sum, mean of integers   n; unless n = 0 the sum (i128)
//! sum, mean of numbers    n; unless n = 0 the sum (ExactSum::encode)
//! min, max                0 | 1, i64 or the double's bits
//! stddev of integers      n; unless n = 0 the sum (i128) and the sum of the squares (24 bytes)
//! stddev of numbers       n; unless n = 0 the sum (ExactSum::encode) and the sum of the squares (SquareSum::encode)
//! first, last             0 | 1, time (i64), offset (u64), the value, or 5 and the bits of a double
//! quantile                `quantile`
//! distinct                `distinct`
//! ```

mod scalar;
mod moments;
mod edge;
mod quantile;
mod distinct;

use polars::prelude::IdxSize;

use crate::core::accumulator::distinct::Distinct;
use crate::core::accumulator::edge::Edge;
use crate::core::accumulator::moments::{IntegerMoments, NumberMoments};
use crate::core::accumulator::quantile::Sketch;
use crate::core::columns::Column;
use crate::core::encoding::{NotAPane, put_count, put_option, take, take_option, take_value_count};
use crate::core::exact::{ExactSum, integer_mean};
use crate::core::plan::{ColumnKind, Metric, Plan, WindowPlan};
use crate::core::row::Value;
use crate::core::units::{Micros, Offset};

/// A metric's state. What is large stands in a box: a million panes hold some of these each. Numbers are finite and never −0.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Accumulator {
    CountIf(u64),
    IntegerSum { count: u64, sum: Total },
    NumberSum { count: u64, sum: ExactSum },
    IntegerMin(Option<i64>),
    IntegerMax(Option<i64>),
    NumberMin(Option<f64>),
    NumberMax(Option<f64>),
    IntegerStddev(Box<IntegerMoments>),
    NumberStddev(Box<NumberMoments>),
    Edge(Edge),
    Quantile(Box<Sketch>),
    Distinct(Distinct),
}

/// An `i128` that is aligned to 8 bytes, as all else in an accumulator.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
#[repr(Rust, packed(8))]
pub(super) struct Total(i128);

/// The values of a column in some rows.
pub(super) struct Members<'a> {
    pub column: &'a Column,
    pub rows: &'a [IdxSize],
    pub time: &'a [Micros],
    pub offset: &'a [Offset],
}

impl Members<'_> {
    /// Those of the rows' values that are not null.
    fn of<T: Copy>(&self, values: &[Option<T>]) -> impl Iterator<Item = T> {
        self.rows.iter().filter_map(|&row| values[row as usize])
    }
}

impl Accumulator {
    /// Of no values. None for `count()`.
    pub(super) fn new(plan: &Plan, window: &WindowPlan, metric: Metric) -> Option<Self> {
        let kind = plan.kind(plan.pipeline_of(window), metric.argument()?);
        Some(match (metric, kind) {
            (Metric::CountIf(_), ColumnKind::Boolean) => Self::CountIf(0),
            (Metric::Sum(_) | Metric::Mean(_), ColumnKind::Integer) => {
                Self::IntegerSum { count: 0, sum: Total::default() }
            }
            (Metric::Sum(_) | Metric::Mean(_), ColumnKind::Number) => {
                Self::NumberSum { count: 0, sum: ExactSum::default() }
            }
            (Metric::Min(_), ColumnKind::Integer) => Self::IntegerMin(None),
            (Metric::Max(_), ColumnKind::Integer) => Self::IntegerMax(None),
            (Metric::Min(_), ColumnKind::Number) => Self::NumberMin(None),
            (Metric::Max(_), ColumnKind::Number) => Self::NumberMax(None),
            (Metric::Stddev(_), ColumnKind::Integer) => Self::IntegerStddev(Box::default()),
            (Metric::Stddev(_), ColumnKind::Number) => Self::NumberStddev(Box::default()),
            (Metric::First(_), _) => Self::Edge(Edge::first(kind)),
            (Metric::Last(_), _) => Self::Edge(Edge::last(kind)),
            (Metric::Quantile(..), ColumnKind::Integer | ColumnKind::Number) => Self::Quantile(Box::default()),
            (Metric::Distinct(_), _) => Self::Distinct(Distinct::default()),
            (Metric::Count, _) => return None,
            (
                _,
                ColumnKind::Group | ColumnKind::Boolean | ColumnKind::Integer | ColumnKind::Number | ColumnKind::Json,
            ) => {
                panic!("{metric:?} does not read a column of kind {kind:?}")
            }
        })
    }

    /// Adds values that are not null.
    pub(super) fn add(&mut self, members: &Members) {
        match (self, members.column) {
            (Self::CountIf(count), Column::Boolean(values)) => {
                *count += members.of(values).filter(|&value| value).count() as u64;
            }
            (Self::IntegerSum { count, sum }, Column::Integer(values)) => {
                for value in members.of(values) {
                    *count += 1;
                    sum.0 += i128::from(value);
                }
            }
            (Self::NumberSum { count, sum }, Column::Number(values)) => {
                for value in members.of(values) {
                    *count += 1;
                    sum.add(value);
                }
            }
            (Self::IntegerMin(least), Column::Integer(values)) => *least = members.of(values).chain(*least).min(),
            (Self::IntegerMax(most), Column::Integer(values)) => *most = members.of(values).chain(*most).max(),
            (Self::NumberMin(least), Column::Number(values)) => {
                *least = members.of(values).map(unsigned_zero).chain(*least).min_by(f64::total_cmp);
            }
            (Self::NumberMax(most), Column::Number(values)) => {
                *most = members.of(values).map(unsigned_zero).chain(*most).max_by(f64::total_cmp);
            }
            (Self::IntegerStddev(moments), Column::Integer(values)) => {
                members.of(values).for_each(|value| moments.add(value));
            }
            (Self::NumberStddev(moments), Column::Number(values)) => {
                members.of(values).for_each(|value| moments.add(value));
            }
            (Self::Edge(edge), _) => edge.add(members),
            (Self::Quantile(sketch), Column::Integer(values)) => sketch.add(members.of(values).map(|v| v as f64)),
            (Self::Quantile(sketch), Column::Number(values)) => sketch.add(members.of(values).map(unsigned_zero)),
            (Self::Distinct(distinct), _) => distinct.add(members),
            _ => panic!("decode gives columns of the planned kind"),
        }
    }

    pub(super) fn merge(&mut self, other: &Self) {
        match (self, other) {
            (Self::CountIf(count), Self::CountIf(more)) => *count += more,
            (Self::IntegerSum { count, sum }, Self::IntegerSum { count: more, sum: other }) => {
                *count += more;
                sum.0 += other.0;
            }
            (Self::NumberSum { count, sum }, Self::NumberSum { count: more, sum: other }) => {
                *count += more;
                sum.merge(other);
            }
            (Self::IntegerMin(a), Self::IntegerMin(b)) => *a = a.iter().chain(b).copied().min(),
            (Self::IntegerMax(a), Self::IntegerMax(b)) => *a = a.iter().chain(b).copied().max(),
            (Self::NumberMin(a), Self::NumberMin(b)) => *a = a.iter().chain(b).copied().min_by(f64::total_cmp),
            (Self::NumberMax(a), Self::NumberMax(b)) => *a = a.iter().chain(b).copied().max_by(f64::total_cmp),
            (Self::IntegerStddev(moments), Self::IntegerStddev(other)) => moments.merge(other),
            (Self::NumberStddev(moments), Self::NumberStddev(other)) => moments.merge(other),
            (Self::Edge(edge), Self::Edge(other)) => edge.merge(other),
            (Self::Quantile(sketch), Self::Quantile(other)) => sketch.merge(other),
            (Self::Distinct(distinct), Self::Distinct(other)) => distinct.merge(other),
            _ => panic!("panes of two windows"),
        }
    }

    pub(super) fn value(&self, metric: Metric) -> Value {
        let mean = matches!(metric, Metric::Mean(_));
        match self {
            Self::IntegerSum { count: 0, .. } | Self::NumberSum { count: 0, .. } => Value::Null,
            Self::CountIf(count) => Value::Integer(i128::from(*count)),
            Self::IntegerSum { count, sum } if mean => number(integer_mean(sum.0, *count)),
            Self::IntegerSum { sum, .. } => Value::Integer(sum.0),
            Self::NumberSum { count, sum } if mean => number(sum.mean(*count)),
            Self::NumberSum { sum, .. } => number(sum.value()),
            Self::IntegerMin(value) | Self::IntegerMax(value) => {
                value.map_or(Value::Null, |v| Value::Integer(i128::from(v)))
            }
            Self::NumberMin(value) | Self::NumberMax(value) => number(*value),
            Self::IntegerStddev(moments) => number(moments.deviation()),
            Self::NumberStddev(moments) => number(moments.deviation()),
            Self::Edge(edge) => edge.value(),
            Self::Quantile(sketch) => {
                let Metric::Quantile(_, fraction) = metric else { panic!("a pane of another window") };
                number(sketch.quantile(fraction))
            }
            Self::Distinct(distinct) => Value::Integer(i128::from(distinct.count())),
        }
    }

    pub(super) fn encode(&self, into: &mut Vec<u8>) {
        match self {
            Self::CountIf(count) => put_count(*count, into),
            Self::IntegerSum { count, sum } => {
                put_count(*count, into);
                if *count > 0 {
                    into.extend_from_slice(&{ sum.0 }.to_le_bytes());
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
            Self::IntegerStddev(moments) => moments.encode(into),
            Self::NumberStddev(moments) => moments.encode(into),
            Self::Edge(edge) => edge.encode(into),
            Self::Quantile(sketch) => sketch.encode(into),
            Self::Distinct(distinct) => distinct.encode(into),
        }
    }

    /// Reads itself from the bytes; before, it is one of no values.
    pub(super) fn decode(&mut self, event_count: u64, rest: &mut &[u8]) -> Result<(), NotAPane> {
        match self {
            Self::CountIf(count) => *count = take_value_count(event_count, rest)?,
            Self::IntegerSum { count, sum } => {
                *count = take_value_count(event_count, rest)?;
                if *count > 0 {
                    sum.0 = i128::from_le_bytes(take(rest)?);
                }
                // So that no merge of fewer than 2^64 events overflows.
                if { sum.0 }.unsigned_abs() > u128::from(*count) << 63 {
                    return Err(NotAPane("a sum too large for its count"));
                }
            }
            Self::NumberSum { count, sum } => {
                *count = take_value_count(event_count, rest)?;
                if *count > 0 {
                    *sum = ExactSum::decode(*count, rest).ok_or(NotAPane("no exact sum"))?;
                }
            }
            Self::IntegerMin(value) | Self::IntegerMax(value) => {
                *value = take_option(event_count, rest)?.map(i64::from_le_bytes);
            }
            Self::NumberMin(value) | Self::NumberMax(value) => {
                *value = take_option(event_count, rest)?.map(number_of).transpose()?;
            }
            Self::IntegerStddev(moments) => **moments = IntegerMoments::decode(event_count, rest)?,
            Self::NumberStddev(moments) => **moments = NumberMoments::decode(event_count, rest)?,
            Self::Edge(edge) => edge.decode(event_count, rest)?,
            Self::Quantile(sketch) => **sketch = Sketch::decode(event_count, rest)?,
            Self::Distinct(distinct) => *distinct = Distinct::decode(event_count, rest)?,
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

/// A double from its bits.
fn number_of(bits: [u8; 8]) -> Result<f64, NotAPane> {
    let value = f64::from_bits(u64::from_le_bytes(bits));
    if !value.is_finite() || (value == 0.0 && value.is_sign_negative()) {
        return Err(NotAPane("a number that is not finite, or -0"));
    }
    Ok(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A million panes: with its key and its place in a map each takes some 200 bytes, and so much more for each metric.
    #[test]
    fn a_metric_costs_a_pane_at_most_32_bytes() {
        assert!(size_of::<Accumulator>() <= 32, "{} bytes", size_of::<Accumulator>());
    }
}
