//! Each metric by itself: accuracy on distributions of every kind, states at their bounds, bytes that nobody wrote.

use std::collections::HashSet;

use num_bigint::BigInt;
use proptest::prelude::*;
use rand::seq::SliceRandom;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

use caudal::core::aggregate::Partial;
use caudal::core::columns::GroupValue;
use caudal::core::plan::{Fraction, Metric, Plan};
use caudal::core::row::Value;

use crate::aggregate::{
    EVERY, Event, FLAG, INTEGER, MIXED, NUMBER, aggregate, all_metrics, deviation, fraction, hex, in_smallest, numbers,
    plan_of, rank, shown,
};

/// The relative error of a quantile.
const QUANTILE_ERROR_MAX: f64 = 1.0 / 256.0;
/// Up to here distinct values are counted one by one.
const DISTINCT_EXACT_MAX: usize = 1_024;
/// The standard error beyond.
const DISTINCT_ERROR: f64 = 1.04 / 64.0;

fn plan(metric: Metric) -> Plan {
    plan_of(EVERY, &[], &[metric])
}

/// Of the events as one pane; of no events an empty one.
fn partial(plan: &Plan, events: &[Event]) -> Partial {
    let pane = aggregate(plan, events).pop();
    pane.map_or_else(|| Partial::new(plan, &plan.windows[0]), |(_, partial)| partial)
}

fn value(plan: &Plan, partial: &Partial) -> Value {
    let [value] = partial.values(&plan.windows[0]).try_into().expect("one metric");
    value
}

fn encoded(partial: &Partial) -> Vec<u8> {
    let mut bytes = Vec::new();
    partial.encode(&mut bytes);
    bytes
}

fn of_integer(integer: i64) -> Event {
    Event { integer: Some(integer), ..Event::NONE }
}

fn of_number(number: f64) -> Event {
    Event { value: Some(number), ..Event::NONE }
}

// ---- stddev

#[track_caller]
fn check_deviation(metric: Metric, events: &[Event], expected: Option<f64>) {
    let plan = plan(metric);
    let value = value(&plan, &partial(&plan, events));
    assert_eq!(shown(&[value]), shown(&[expected.map_or(Value::Null, Value::Number)]));
}

fn check_integer_deviation(integers: &[i64]) {
    let events: Vec<Event> = integers.iter().copied().map(of_integer).collect();
    let exact: Vec<BigInt> = integers.iter().map(|&i| BigInt::from(i) << 1074).collect();
    check_deviation(Metric::Stddev(INTEGER), &events, deviation(&exact));
}

fn check_number_deviation(numbers: &[f64]) {
    let events: Vec<Event> = numbers.iter().copied().map(of_number).collect();
    let exact: Vec<BigInt> = numbers.iter().map(|&v| in_smallest(v)).collect();
    check_deviation(Metric::Stddev(NUMBER), &events, deviation(&exact));
}

#[test]
fn deviations_are_those_of_textbooks() {
    #[track_caller]
    fn check(values: &[f64], expected: Option<f64>) {
        let events: Vec<Event> = values.iter().copied().map(of_number).collect();
        check_deviation(Metric::Stddev(NUMBER), &events, expected);
        if values.iter().all(|v| v.fract() == 0.0 && v.abs() < 1e15) {
            let events: Vec<Event> = values.iter().map(|&v| of_integer(v as i64)).collect();
            check_deviation(Metric::Stddev(INTEGER), &events, expected);
        }
    }
    let tiny = 5e-324;
    check(&[], None);
    check(&[7.0], None);
    check(&[7.0, 7.0, 7.0], Some(0.0));
    check(&[1.0, 2.0, 3.0, 4.0, 5.0], Some(2.5f64.sqrt()));
    check(&[2.0, 4.0, 4.0, 4.0, 5.0, 5.0, 7.0, 9.0], Some(2.138_089_935_299_395));
    // The mean is far away: what is squared and subtracted has lost nothing.
    check(&[4.0, 7.0, 13.0, 16.0].map(|v| v + 1e9), Some(30f64.sqrt()));
    check(&[1e15 + 0.25, 1e15 + 0.5, 1e15 + 0.75], Some(0.25));
    check(&[1.0, 1.0 + f64::EPSILON], Some(f64::EPSILON * 0.5f64.sqrt()));
    check(&[f64::MAX, -f64::MAX], None);
    check(&[f64::MAX, -f64::MAX, 0.0], Some(f64::MAX));
    check(&[1e200, 1e200, 1e200], Some(0.0));
    check(&[3e200, -3e200, 0.0], Some(3e200));
    check(&[tiny, -tiny, 0.0], Some(tiny));
    // 0.7 of the smallest double, and 0.5 of it: a tie, to zero, which is even.
    check(&[tiny, 0.0], Some(tiny));
    check(&[tiny, 0.0, 0.0, 0.0], Some(0.0));
}

#[test]
fn deviations_of_the_longest_integers_do_not_overflow() {
    for count in [2, 3, 1000] {
        check_integer_deviation(&vec![i64::MIN; count]);
        let ends: Vec<i64> = [i64::MIN, i64::MAX].into_iter().cycle().take(count).collect();
        check_integer_deviation(&ends);
    }
    // Merged with itself until it counts 2^63 values.
    let plan = plan(Metric::Stddev(INTEGER));
    let mut pane = partial(&plan, &[of_integer(i64::MIN), of_integer(0)]);
    for _ in 0..62 {
        pane.merge(&pane.clone());
    }
    assert_eq!(pane.event_count(), 1 << 63);
    assert_eq!(value(&plan, &pane), Value::Number(2f64.powi(62)));
    let mut rest = encoded(&pane);
    assert_eq!(Partial::decode(&plan, &plan.windows[0], &mut rest.as_slice()).expect("its own bytes"), pane);
    *rest.last_mut().expect("bytes") = 0xff;
    assert!(Partial::decode(&plan, &plan.windows[0], &mut rest.as_slice()).is_err(), "squares too large");
}

#[test]
fn deviations_of_the_longest_doubles_do_not_overflow() {
    let plan = plan(Metric::Stddev(NUMBER));
    for size in [f64::MAX, 1.0, 5e-324] {
        let mut pane = partial(&plan, &[of_number(size), of_number(-size)]);
        for _ in 0..62 {
            pane.merge(&pane.clone());
        }
        assert_eq!(value(&plan, &pane), Value::Number(size), "{size:e}");
        let bytes = encoded(&pane);
        let again = Partial::decode(&plan, &plan.windows[0], &mut bytes.as_slice()).expect("its own bytes");
        assert_eq!((&again, encoded(&again)), (&pane, bytes));
    }
}

proptest! {
    #[test]
    fn deviations_of_integers_are_those_of_exact_arithmetic(
        values in prop_oneof![
            prop::collection::vec(any::<i64>(), 2..40),
            prop::collection::vec(-5i64..5, 2..40),
            (any::<i64>(), prop::collection::vec(-5i64..5, 2..40))
                .prop_map(|(far, near)| near.iter().map(|n| far.saturating_add(*n)).collect()),
        ],
    ) {
        check_integer_deviation(&values);
    }

    #[test]
    fn deviations_of_numbers_are_those_of_exact_arithmetic(
        values in prop_oneof![
            3 => numbers(40),
            1 => (any::<f64>(), prop::collection::vec(-3i64..3, 2..40)).prop_map(|(far, near)| {
                // A few steps apart, anywhere: nearly all cancels.
                let far = if far.is_finite() { far } else { 1.0 };
                let step = |n: i64| f64::from_bits(far.to_bits().wrapping_add_signed(n));
                near.into_iter().map(step).filter(|v| v.is_finite()).collect()
            }),
            1 => (-540i32..540, prop::collection::vec(any::<i32>(), 2..40))
                .prop_map(|(power, values)| values.iter().map(|&v| f64::from(v) * 2f64.powi(power)).collect()),
        ],
    ) {
        check_number_deviation(&values);
    }
}

// ---- quantile

fn uniform(random: &mut ChaCha8Rng) -> f64 {
    random.random_range(-1000.0..1000.0)
}

fn every_size(random: &mut ChaCha8Rng) -> f64 {
    let sign = if random.random_bool(0.5) { 1.0 } else { -1.0 };
    sign * 10f64.powf(random.random_range(-300.0..308.0))
}

fn latency(random: &mut ChaCha8Rng) -> f64 {
    -random.random_range(1e-9..1.0f64).ln() * 250.0
}

fn mostly_zero(random: &mut ChaCha8Rng) -> f64 {
    if random.random_bool(0.9) { 0.0 } else { random.random_range(-1.0..1.0) }
}

fn subnormal(random: &mut ChaCha8Rng) -> f64 {
    let length = random.random_range(1..53);
    let bits = random.random_range(0..1u64 << length);
    f64::from_bits(bits) * if random.random_bool(0.5) { -1.0 } else { 1.0 }
}

fn huge(random: &mut ChaCha8Rng) -> f64 {
    random.random_range(-1.0..1.0) * f64::MAX
}

fn any_bits(random: &mut ChaCha8Rng) -> f64 {
    Some(f64::from_bits(random.random())).filter(|v| v.is_finite()).unwrap_or(1e308)
}

#[test]
fn quantiles_are_as_near_as_they_promise() {
    let kinds: [fn(&mut ChaCha8Rng) -> f64; 7] = [uniform, every_size, latency, mostly_zero, subnormal, huge, any_bits];
    for (seed, kind) in (0..).zip(kinds) {
        let mut random = ChaCha8Rng::seed_from_u64(seed);
        for len in [1, 2, 3, 10, 101, 5_000] {
            let values: Vec<f64> = (0..len).map(|_| kind(&mut random)).collect();
            let events: Vec<Event> = values.iter().copied().map(of_number).collect();
            check_quantiles(NUMBER, &events, values, &format!("kind {seed}, {len} values"));
        }
    }
}

#[test]
fn quantiles_of_integers_are_as_near_as_they_promise() {
    let mut random = ChaCha8Rng::seed_from_u64(1);
    for span in [3, 1000, i64::MAX] {
        let integers: Vec<i64> = (0..1000).map(|_| random.random_range(-span..span)).chain([-span]).collect();
        let events: Vec<Event> = integers.iter().copied().map(of_integer).collect();
        check_quantiles(INTEGER, &events, integers.iter().map(|&i| i as f64).collect(), &format!("span {span}"));
    }
}

fn check_quantiles(column: caudal::core::plan::ColumnId, events: &[Event], mut sorted: Vec<f64>, what: &str) {
    sorted.sort_by(f64::total_cmp);
    for q in [0.0, 1e-9, 0.01, 0.07, 0.25, 0.29, 0.5, 0.57, 0.75, 0.95, 0.99, 0.999, 1.0] {
        let plan = plan(Metric::Quantile(column, fraction(q)));
        let Value::Number(found) = value(&plan, &partial(&plan, events)) else { panic!("{what}: no number") };
        let expected = sorted[rank(q, sorted.len())];
        // The difference of two doubles of that size may be beyond the doubles, half of it is not.
        let error = (found / 2.0 - expected / 2.0).abs();
        assert!(error <= expected.abs() / 2.0 * QUANTILE_ERROR_MAX, "{what}, q = {q}: {found:e}, but {expected:e}");
        assert!((sorted[0]..=sorted[sorted.len() - 1]).contains(&found), "{what}, q = {q}: {found:e}");
        assert!(found != 0.0 || found.is_sign_positive(), "-0");
        if q == 0.0 || q.to_bits() == 1f64.to_bits() {
            assert_eq!(found.to_bits(), (expected + 0.0).to_bits(), "{what}: the ends are exact");
        }
    }
}

/// The double 0.29 lies below 29/100: its rank among 101 values would be 28.
#[test]
fn a_quantile_is_of_the_decimal_that_was_written() {
    let events: Vec<Event> = (0..=100).map(of_integer).collect();
    for percent in 1..100u32 {
        let plan = plan(Metric::Quantile(INTEGER, fraction(f64::from(percent) / 100.0)));
        let Value::Number(found) = value(&plan, &partial(&plan, &events)) else { panic!("no number") };
        assert_eq!(found.floor() as u32, percent, "a bucket below 128 holds one integer");
    }
    assert_eq!(Fraction::new(-0.0).map(|q| q.get().to_bits()), Some(0));
    for outside in [-0.001, 1.001, f64::NAN, f64::INFINITY] {
        assert_eq!(Fraction::new(outside), None);
    }
}

// ---- distinct

fn seeded(seed: u64, len: usize) -> Vec<i64> {
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    let mut values: HashSet<i64> = HashSet::new();
    while values.len() < len {
        values.insert(random.random());
    }
    let mut values: Vec<i64> = values.into_iter().collect();
    values.sort_unstable();
    values
}

fn distinct_of(integers: &[i64]) -> i128 {
    let plan = plan(Metric::Distinct(INTEGER));
    let events: Vec<Event> = integers.iter().copied().map(of_integer).collect();
    let Value::Integer(count) = value(&plan, &partial(&plan, &events)) else { panic!("no integer") };
    count
}

#[test]
fn distinct_values_are_counted_one_by_one_up_to_the_bound() {
    for len in [0, 1, 2, 1000, DISTINCT_EXACT_MAX - 1, DISTINCT_EXACT_MAX] {
        let values = seeded(len as u64, len);
        // Each twice.
        assert_eq!(distinct_of(&[values.clone(), values].concat()), len as i128);
    }
}

#[test]
fn distinct_values_beyond_the_bound_are_estimated_within_five_standard_errors() {
    let counts = [(2_000, 20), (10_000, 20), (100_000, 5), (1_000_000, 3)];
    for (len, seeds) in counts {
        for seed in 0..seeds {
            let error = distinct_of(&seeded(seed, len)) as f64 / len as f64 - 1.0;
            assert!(error.abs() <= 5.0 * DISTINCT_ERROR, "{len} values, seed {seed}: {error}");
        }
    }
    // Consecutive integers are not random; their hashes are.
    let error = distinct_of(&(0..300_000).collect::<Vec<_>>()) as f64 / 300_000.0 - 1.0;
    assert!(error.abs() <= 5.0 * DISTINCT_ERROR, "{error}");
}

/// As large as it is documented, neither larger nor smaller, and centred: of 300 sets the mean square has a standard error of 8 %, their mean one of 6 %
/// of a standard error.
#[test]
fn the_standard_error_of_distinct_is_as_documented() {
    const SETS: u64 = 300;
    let errors = (0..SETS).map(|seed| {
        let from = seed as i64 * 1_000_000;
        (distinct_of(&(from..from + 20_000).collect::<Vec<_>>()) as f64 / 20_000.0 - 1.0) / DISTINCT_ERROR
    });
    let errors: Vec<f64> = errors.collect();
    let mean = errors.iter().sum::<f64>() / SETS as f64;
    let mean_square = errors.iter().map(|e| e * e).sum::<f64>() / SETS as f64;
    assert!((0.75..1.25).contains(&mean_square), "{mean_square}");
    assert!(mean.abs() < 0.25, "{mean}");
}

#[test]
fn what_distinct_keeps_depends_on_the_set_alone() {
    let plan = plan(Metric::Distinct(INTEGER));
    for (len, seed) in [(1, 1), (1_023, 2), (1_024, 3), (1_025, 4), (1_026, 5), (3_000, 6)] {
        let mut random = ChaCha8Rng::seed_from_u64(seed);
        let values = seeded(seed, len);
        let whole = partial(&plan, &values.iter().copied().map(of_integer).collect::<Vec<_>>());
        for parts in [1, 2, 3, 10] {
            // Each value once, and half of them once more, anywhere; as many events as there are, so that the bytes can be equal.
            let mut shuffled = values.clone();
            shuffled.shuffle(&mut random);
            let mut pieces: Vec<Vec<Event>> = vec![Vec::new(); parts];
            for value in shuffled {
                pieces[random.random_range(0..parts)].push(of_integer(value));
            }
            let mut merged = Partial::new(&plan, &plan.windows[0]);
            for piece in &pieces {
                let mut piece = partial(&plan, piece);
                if random.random_bool(0.5) {
                    let bytes = encoded(&piece);
                    piece = Partial::decode(&plan, &plan.windows[0], &mut bytes.as_slice()).expect("its own bytes");
                }
                if random.random_bool(0.5) {
                    merged.merge(&piece);
                } else {
                    piece.merge(&merged);
                    merged = piece;
                }
            }
            assert_eq!(merged, whole, "{len} values in {parts} parts");
            assert_eq!(encoded(&merged), encoded(&whole));
            // Merged with itself: of twice the events, all else is the same.
            let mut twice = whole.clone();
            twice.merge(&merged);
            assert_eq!(value(&plan, &twice), value(&plan, &whole));
        }
    }
}

/// What is equal has one hash, whatever the column: so a schema may turn from integers to numbers.
#[test]
fn equal_values_have_one_hash_and_others_have_others() {
    let hash = |metric, event: Event| {
        let plan = plan(metric);
        hex(&encoded(&partial(&plan, &[event])))
    };
    let of_integers = |integer| hash(Metric::Distinct(INTEGER), of_integer(integer));
    let of_numbers = |number| hash(Metric::Distinct(NUMBER), of_number(number));
    let mixed = |value| {
        hash(Metric::Distinct(MIXED), Event { group: [GroupValue::Null, GroupValue::Null, value], ..Event::NONE })
    };
    let flag = |value| hash(Metric::Distinct(FLAG), Event { flag: Some(value), ..Event::NONE });
    let two_63 = 2f64.powi(63);
    for (integer, number) in [(5, 5.0), (0, 0.0), (0, -0.0), (-7, -7.0), (i64::MIN, -two_63), (1 << 60, 2f64.powi(60))]
    {
        assert_eq!(of_integers(integer), of_numbers(number));
        assert_eq!(of_integers(integer), mixed(GroupValue::Integer(integer)));
    }
    assert_eq!(mixed(GroupValue::Bool(true)), flag(true));
    let text = |text: &str| mixed(GroupValue::Text(text.into()));
    let others = [
        of_integers(1),
        of_integers(0),
        of_integers(i64::MAX),
        of_numbers(two_63),
        of_numbers(0.5),
        of_numbers(-0.5),
        flag(true),
        flag(false),
        text(""),
        text("1"),
        text("true"),
        text("0"),
    ];
    assert_eq!(others.iter().collect::<HashSet<_>>().len(), others.len());
}

// ---- first, last

#[test]
fn the_offset_decides_between_equal_times_and_null_never_wins() {
    #[track_caller]
    fn check(events: &[(i64, u64, Option<i64>)], first: Option<i64>, last: Option<i64>) {
        let of = |&(time, offset, integer): &(i64, u64, Option<i64>)| Event { time, offset, integer, ..Event::NONE };
        for (metric, expected) in [(Metric::First(INTEGER), first), (Metric::Last(INTEGER), last)] {
            let plan = plan(metric);
            let expected = expected.map_or(Value::Null, |v| Value::Integer(v.into()));
            let mut forwards = Partial::new(&plan, &plan.windows[0]);
            let mut backwards = forwards.clone();
            for event in events {
                let piece = partial(&plan, &[of(event)]);
                forwards.merge(&piece);
                let mut piece = piece;
                piece.merge(&backwards);
                backwards = piece;
            }
            let whole = partial(&plan, &events.iter().map(of).collect::<Vec<_>>());
            assert_eq!(value(&plan, &whole), expected, "{metric:?} of {events:?}");
            assert_eq!((&forwards, &backwards), (&whole, &whole), "{metric:?} of {events:?}");
        }
    }
    check(&[], None, None);
    check(&[(1, 1, None)], None, None);
    check(&[(1, 1, Some(10))], Some(10), Some(10));
    check(&[(5, 2, Some(10)), (5, 1, Some(20)), (5, 3, Some(30))], Some(20), Some(30));
    check(&[(4, 9, Some(10)), (5, 1, Some(20)), (3, 8, Some(30))], Some(30), Some(20));
    check(&[(1, 1, None), (2, 2, Some(10)), (3, 3, Some(20)), (4, 4, None)], Some(10), Some(20));
    check(&[(0, u64::MAX, Some(1)), (EVERY - 1, 0, Some(2))], Some(1), Some(2));
    check(&[(1, 5, Some(1)), (2, 4, Some(2))], Some(1), Some(2));
}

// ---- bytes

/// An event with something in every field; of many of them no two are alike.
fn full(random: &mut ChaCha8Rng, row: u64) -> Event {
    let texts = ["", "RM", "a longer text than the others"];
    let value = match random.random_range(0..4) {
        0 => GroupValue::Bool(random.random()),
        1 => GroupValue::Integer(random.random()),
        _ => GroupValue::Text(texts[random.random_range(0..3)].into()),
    };
    Event {
        time: random.random_range(0..6),
        offset: row,
        group: [GroupValue::Null, GroupValue::Null, value],
        integer: Some(random.random_range(-1000..1000)),
        value: Some(if random.random_bool(0.2) { any_bits(random) } else { uniform(random) }),
        flag: Some(random.random()),
        ..Event::NONE
    }
}

/// What is read is written the same, has values, and merges both ways alike.
fn check_decoded(plan: &Plan, other: &Partial, bytes: &[u8]) -> bool {
    let mut rest = bytes;
    let Ok(partial) = Partial::decode(plan, &plan.windows[0], &mut rest) else { return false };
    assert_eq!(encoded(&partial), bytes[..bytes.len() - rest.len()], "no partial has two forms");
    assert_eq!(partial.values(&plan.windows[0]).len(), plan.windows[0].metrics.len());
    // So many events no log has; from here on counts would overflow.
    if partial.event_count() < 1 << 62 {
        let (mut one, mut two) = (partial.clone(), other.clone());
        one.merge(other);
        two.merge(&partial);
        assert_eq!(encoded(&one), encoded(&two));
        assert_eq!(shown(&one.values(&plan.windows[0])), shown(&two.values(&plan.windows[0])));
        one.merge(&partial);
        assert!(!encoded(&one).is_empty());
    }
    true
}

#[test]
fn bytes_that_were_changed_are_refused_or_read_as_what_they_say() {
    let mut random = ChaCha8Rng::seed_from_u64(7);
    for metric in all_metrics() {
        let plan = plan(metric);
        let other = partial(&plan, &(0..5).map(|row| full(&mut random, 1_000_000 + row)).collect::<Vec<_>>());
        // The last is long enough for registers.
        for len in [0, 1, 2, 30, 1_500] {
            let events: Vec<Event> = (0..len).map(|row| full(&mut random, row)).collect();
            let bytes = encoded(&partial(&plan, &events));
            assert!(check_decoded(&plan, &other, &bytes), "{metric:?}: its own bytes");
            for end in 0..bytes.len() {
                assert!(!check_decoded(&plan, &other, &bytes[..end]), "{metric:?}: cut off after {end}");
            }
            for at in 0..bytes.len().min(400) {
                for byte in [0, 1, 0x7f, 0x80, 0xff, bytes[at] ^ 1, bytes[at].wrapping_add(1), random.random()] {
                    let mut changed = bytes.clone();
                    changed[at] = byte;
                    check_decoded(&plan, &other, &changed);
                }
            }
        }
    }
}

proptest! {
    #[test]
    fn bytes_that_nobody_wrote_do_no_harm(
        which in any::<prop::sample::Index>(),
        head in prop::collection::vec(prop_oneof![0u8..4, any::<u8>()], 0..8),
        tail in prop::collection::vec(prop_oneof![3 => Just(0u8), 1 => 0u8..10, 1 => any::<u8>()], 0..80),
    ) {
        let metrics = all_metrics();
        let plan = plan(*which.get(&metrics));
        let other = Partial::new(&plan, &plan.windows[0]);
        check_decoded(&plan, &other, &[head, tail].concat());
    }
}

#[test]
fn states_that_no_values_leave_are_refused() {
    #[track_caller]
    fn check(metric: Metric, bytes: &[&[u8]], good: bool) {
        let plan = plan(metric);
        let bytes = bytes.concat();
        let mut rest = bytes.as_slice();
        let read = Partial::decode(&plan, &plan.windows[0], &mut rest);
        assert_eq!(read.is_ok(), good, "{metric:?}: {bytes:x?} {read:?}");
        assert!(!good || rest.is_empty());
    }
    let number = |value: f64| value.to_bits().to_le_bytes();
    let integer = |value: i64| value.to_le_bytes();

    check(Metric::CountIf(FLAG), &[&[2, 2]], true);
    check(Metric::CountIf(FLAG), &[&[2, 3]], false);

    // One event with the sum 3 has the squares 9; two may have 5 (1 and 2) but not 4.
    let moments =
        |sum: i64, squares: u64| [i128::from(sum).to_le_bytes().as_slice(), &squares.to_le_bytes(), &[0; 16]].concat();
    check(Metric::Stddev(INTEGER), &[&[1, 1], &moments(3, 9)], true);
    check(Metric::Stddev(INTEGER), &[&[1, 1], &moments(-3, 9)], true);
    check(Metric::Stddev(INTEGER), &[&[1, 1], &moments(3, 10)], false);
    check(Metric::Stddev(INTEGER), &[&[2, 2], &moments(3, 5)], true);
    check(Metric::Stddev(INTEGER), &[&[2, 2], &moments(3, 4)], false);
    check(Metric::Stddev(INTEGER), &[&[1, 2], &moments(3, 5)], false);
    check(Metric::Stddev(NUMBER), &[&[2, 2, 0, 0]], true);
    check(Metric::Stddev(NUMBER), &[&[2, 2, 0x80, 0]], false);
    // 2^-76 is digit 32 of a sum, its square digit 64 of a sum of squares.
    check(Metric::Stddev(NUMBER), &[&[1, 1, 1, 32, 3, 0, 0, 0, 1, 64, 9, 0, 0, 0]], true);
    check(Metric::Stddev(NUMBER), &[&[1, 1, 1, 32, 3, 0, 0, 0, 1, 64, 8, 0, 0, 0]], false);
    check(Metric::Stddev(NUMBER), &[&[1, 1, 1, 32, 3, 0, 0, 0, 1, 65, 9, 0, 0, 0]], false);
    check(Metric::Stddev(NUMBER), &[&[2, 2, 0, 1, 134, 1, 0, 0, 0]], false);

    check(Metric::First(INTEGER), &[&[1, 1], &[0; 16], &[3], &integer(5)], true);
    check(Metric::First(INTEGER), &[&[0, 1], &[0; 16], &[3], &integer(5)], false);
    check(Metric::First(INTEGER), &[&[1, 1], &[0; 16], &[0]], false);
    check(Metric::First(INTEGER), &[&[1, 1], &[0; 16], &[2]], false);
    check(Metric::First(INTEGER), &[&[1, 1], &[0; 16], &[5], &number(5.0)], false);
    check(Metric::First(NUMBER), &[&[1, 1], &[0; 16], &[5], &number(5.0)], true);
    check(Metric::First(NUMBER), &[&[1, 1], &[0; 16], &[5], &number(-0.0)], false);
    check(Metric::First(NUMBER), &[&[1, 1], &[0; 16], &[5], &number(f64::NAN)], false);
    check(Metric::First(NUMBER), &[&[1, 1], &[0; 16], &[3], &integer(5)], false);
    check(Metric::First(FLAG), &[&[1, 1], &[0; 16], &[2]], true);
    check(Metric::First(FLAG), &[&[1, 1], &[0; 16], &[3], &integer(1)], false);
    check(Metric::First(MIXED), &[&[1, 1], &[0; 16], &[4, 1, b'a']], true);
    check(Metric::First(MIXED), &[&[1, 1], &[0; 16], &[4, 1, 0xff]], false);
    check(Metric::First(MIXED), &[&[1, 1], &[0; 16], &[0]], false);

    // The key of zero is 0: 268,544 after the least.
    let zero = [0x80, 0xb2, 0x10];
    let median = Metric::Quantile(NUMBER, fraction(0.5));
    check(median, &[&[1, 1], &zero, &[1], &number(0.0), &number(0.0)], true);
    check(median, &[&[1, 1], &zero, &[2], &number(0.0), &number(0.0)], false);
    check(median, &[&[1, 1], &zero, &[0], &number(0.0), &number(0.0)], false);
    check(median, &[&[1, 1], &zero, &[1], &number(0.0), &number(1.0)], false);
    check(median, &[&[1, 1], &zero, &[1], &number(-0.0), &number(0.0)], false);
    check(median, &[&[2, 2], &zero, &[1, 0, 1], &number(0.0), &number(0.0)], false);
    check(median, &[&[2, 2], &zero, &[1, 1, 1], &number(0.0), &number(5e-324)], true);
    // 1 is bucket 1,074 · 128 + 1, whose end is 1 + 2^-7. A single value is both the least and the greatest.
    let one = [0x81, 0xe4, 0x18];
    check(median, &[&[2, 1], &one, &[2], &number(1.0), &number(1.007)], true);
    check(median, &[&[2, 1], &one, &[2], &number(1.007), &number(1.0)], false);
    check(median, &[&[2, 1], &one, &[2], &number(1.0), &number(1.008)], false);
    check(median, &[&[1, 1], &one, &[1], &number(1.0), &number(1.007)], false);
    // Far more buckets than there are bytes.
    let count_max = [0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1];
    check(median, &[&count_max, &count_max], false);

    let distinct = Metric::Distinct(MIXED);
    check(distinct, &[&[2, 2], &integer(1), &integer(2)], true);
    check(distinct, &[&[2, 2], &integer(2), &integer(1)], false);
    check(distinct, &[&[2, 2], &integer(1), &integer(1)], false);
    check(distinct, &[&[1, 2], &integer(1), &integer(2)], false);
    // 1,025 in two bytes, as a count and before registers.
    let registers = |head: [u8; 4], rank: u8| [head.as_slice(), &[rank], &[0; 4_095]].concat();
    check(distinct, &[&registers([0x81, 8, 0x81, 8], 53)], true);
    check(distinct, &[&registers([0x81, 8, 0x81, 8], 54)], false);
    check(distinct, &[&registers([0x81, 8, 0x81, 8], 0)], false);
    check(distinct, &[&registers([0x80, 8, 0x81, 8], 53)], false);
    check(distinct, &[&registers([0x82, 8, 0x82, 8], 53)], false);
}
