//! Metrics over exact lists.

use std::rc::Rc;

use caudal::core::plan::Metric;
use caudal::core::row::Value;
use num_bigint::BigInt;
use num_rational::BigRational;
use num_traits::{Signed, ToPrimitive};

use super::window::Taken;
use crate::aggregate::{deviation, in_smallest, quantile};
use crate::scalar::Scalar;

/// What the window's metric of this number gives over events.
pub fn value(metric: &Metric, number: usize, events: &[Rc<Taken>]) -> Value {
    // Absent and null fields are skipped.
    let values: Vec<&Scalar> = events.iter().filter_map(|event| event.arguments[number].as_ref()).collect();
    match metric {
        Metric::Count => Value::Integer(events.len() as i128),
        Metric::CountIf(_) => {
            Value::Integer(values.iter().filter(|value| ***value == Scalar::Boolean(true)).count() as i128)
        }
        Metric::Distinct(_) => Value::Integer(distinct(&values) as i128),
        _ if values.is_empty() => Value::Null,
        Metric::Sum(_) => match integers(&values) {
            Some(integers) => Value::Integer(integers.into_iter().map(i128::from).sum()),
            None => rounded(&sum(&values)),
        },
        Metric::Mean(_) => rounded(&(sum(&values) / BigInt::from(values.len()))),
        Metric::Min(_) => extreme(&values, true),
        Metric::Max(_) => extreme(&values, false),
        Metric::Stddev(_) => {
            // Counted in the smallest double.
            let exact = |value: &&Scalar| match value {
                Scalar::Integer(integer) => BigInt::from(*integer) << 1074,
                Scalar::Number(number) => in_smallest(*number),
                other => panic!("a metric over numbers takes {other:?}"),
            };
            deviation(&values.iter().map(exact).collect::<Vec<_>>()).map_or(Value::Null, Value::Number)
        }
        Metric::Quantile(_, fraction) => {
            let doubles = match integers(&values) {
                Some(integers) => integers.into_iter().map(|integer| integer as f64).collect(),
                None => doubles(&values).into_iter().map(|double| double + 0.0).collect::<Vec<_>>(),
            };
            quantile(&doubles, fraction.get()).map_or(Value::Null, Value::Number)
        }
        Metric::First(_) | Metric::Last(_) => {
            let with_value = events.iter().filter(|event| event.arguments[number].is_some());
            let of = if matches!(metric, Metric::First(_)) {
                with_value.min_by_key(|event| (event.time, event.offset))
            } else {
                with_value.max_by_key(|event| (event.time, event.offset))
            };
            of.and_then(|event| event.arguments[number].as_ref()).map_or(Value::Null, plain)
        }
    }
}

/// How many different values there are; far fewer than are estimated.
fn distinct(values: &[&Scalar]) -> usize {
    let shown = |value: &&Scalar| match value {
        // An integer and a number of equal value are the same.
        Scalar::Number(number) if number.fract() == 0.0 && number.abs() < 9e18 => format!("{}", *number as i64),
        Scalar::Number(number) => format!("{:x}", number.to_bits()),
        Scalar::Integer(integer) => format!("{integer}"),
        other => format!("{other:?}"),
    };
    values.iter().map(shown).collect::<std::collections::HashSet<_>>().len()
}

fn plain(value: &Scalar) -> Value {
    match value {
        Scalar::Text(text) => Value::Text(text.as_str().into()),
        Scalar::Integer(integer) => Value::Integer(i128::from(*integer)),
        Scalar::Number(number) => Value::Number(number + 0.0),
        Scalar::Boolean(boolean) => Value::Boolean(*boolean),
        Scalar::Timestamp(_) => panic!("no metric takes timestamps"),
    }
}

/// The values as integers, if they are: those of one argument are all of one type.
fn integers(values: &[&Scalar]) -> Option<Vec<i64>> {
    values.iter().map(|value| if let Scalar::Integer(integer) = value { Some(*integer) } else { None }).collect()
}

fn doubles(values: &[&Scalar]) -> Vec<f64> {
    let double = |value: &&Scalar| match value {
        Scalar::Number(double) => *double,
        other => panic!("a metric over numbers takes {other:?}"),
    };
    values.iter().map(double).collect()
}

fn sum(values: &[&Scalar]) -> BigRational {
    match integers(values) {
        Some(integers) => BigRational::from(integers.into_iter().map(BigInt::from).sum::<BigInt>()),
        None => exact_sum(&doubles(values)),
    }
}

fn rounded(exact: &BigRational) -> Value {
    nearest(exact).map_or(Value::Null, Value::Number)
}

fn extreme(values: &[&Scalar], least: bool) -> Value {
    if let Some(integers) = integers(values) {
        let found = if least { integers.into_iter().min() } else { integers.into_iter().max() };
        return found.map_or(Value::Null, |integer| Value::Integer(integer.into()));
    }
    let found = doubles(values).into_iter().reduce(|a, b| if (b < a) == least { b } else { a });
    // Adding +0 makes −0 to +0.
    found.map_or(Value::Null, |double| Value::Number(double + 0.0))
}

/// The sum as a multiple of 2⁻¹⁰⁷⁴, which every double is.
fn exact_sum(doubles: &[f64]) -> BigRational {
    let scaled = |d: &f64| {
        let (mantissa, exponent) = (d.to_bits() & ((1 << 52) - 1), (d.to_bits() >> 52) & 0x7ff);
        let (mantissa, shift) = if exponent == 0 { (mantissa, 0) } else { (mantissa | (1 << 52), exponent - 1) };
        let magnitude = BigInt::from(mantissa) << shift;
        if d.is_sign_negative() { -magnitude } else { magnitude }
    };
    BigRational::new(doubles.iter().map(scaled).sum(), BigInt::from(1) << 1074)
}

/// The nearest double, ties to even, a zero always +0; None if that is not finite.
fn nearest(exact: &BigRational) -> Option<f64> {
    let rational = |d: f64| BigRational::from_float(d).unwrap();
    let magnitude = exact.abs();
    let signed = |d: f64| if exact.is_negative() && d != 0.0 { -d } else { d };
    if magnitude >= rational(f64::MAX) {
        // Half a step beyond the greatest double a tie would go to the even one, which is no longer finite.
        let limit = rational(f64::MAX) + BigRational::from(BigInt::from(1) << 970);
        return (magnitude < limit).then_some(signed(f64::MAX));
    }
    // Any first guess will do: it is walked to the greatest double that is not above the value.
    let mut below = magnitude.to_f64().filter(|d| d.is_finite()).unwrap_or(0.0).abs().min(f64::MAX.next_down());
    while rational(below) > magnitude {
        below = below.next_down();
    }
    while rational(below.next_up()) <= magnitude {
        below = below.next_up();
    }
    let (under, over) = (&magnitude - rational(below), rational(below.next_up()) - &magnitude);
    let even = below.to_bits() % 2 == 0;
    Some(signed(if under < over || (under == over && even) { below } else { below.next_up() }))
}

#[test]
fn the_nearest_double() {
    let check = |numerator: BigInt, denominator: BigInt, expected: Option<f64>| {
        assert_eq!(nearest(&BigRational::new(numerator, denominator)).map(f64::to_bits), expected.map(f64::to_bits));
    };
    let one = || BigInt::from(1);
    check(0.into(), one(), Some(0.0));
    check(one(), 3.into(), Some(1.0 / 3.0));
    check((-2).into(), 3.into(), Some(-2.0 / 3.0));
    // 2⁵³ + 1 lies half way and goes to the even neighbour; so does 2⁵³ + 3.
    check(9_007_199_254_740_993_i64.into(), one(), Some(9_007_199_254_740_992.0));
    check(9_007_199_254_740_995_i64.into(), one(), Some(9_007_199_254_740_996.0));
    // Half of the smallest double is a tie with zero, and no −0 comes of it.
    check((-1).into(), one() << 1075, Some(0.0));
    check(3.into(), one() << 1075, Some(1e-323));
    check((one() << 1024) - (one() << 971), one(), Some(f64::MAX));
    check((one() << 1024) - (one() << 970) - 1, one(), Some(f64::MAX));
    check((one() << 1024) - (one() << 970), one(), None);
}
