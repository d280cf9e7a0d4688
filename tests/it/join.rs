//! Joins at their edges, which random traffic seldom meets to the microsecond. `docs/semantics.md`, "Joins".

use std::sync::Arc;

use caudal::core::join::{HALVES_MAX, Half, Joins};
use caudal::core::plan::Plan;
use caudal::core::units::{Micros, Offset};
use serde_json::{Value, json};

use crate::support::plan;

const WITHIN: i64 = 2_000_000;
/// Before any watermark.
const EVERYTHING_IS_EXPECTED: Micros = Micros(i64::MIN);

fn both() -> Arc<Plan> {
    let text = "\
pipeline: pairs
topics: {left: {schema: half.json}, right: {schema: half.json}}
id: id
time: {field: at, out_of_order: 0s}
emit:
  both: {join: {l: left, r: right}, on: key, within: 2s, body: {l: l.id, r: r.id}}
";
    let name = json!({"type": "string"});
    let schema = json!({"type": "object", "properties": {"id": name, "key": name, "at": {"type": "string", "format": "date-time"}}});
    plan::of_file(text, ("half.json", &schema))
}

fn half(side: usize, time: i64, offset: u64) -> Half {
    let name: Arc<str> = format!("\"{offset}\"").into();
    Half { emit: 0, key: "k".into(), side, moment: (Micros(time), Offset(offset)), fields: [Some(name)].into() }
}

/// What one epoch's halves make: the names on the left and on the right.
fn pairs(joins: &mut Joins, halves: Vec<Half>, closing: Micros) -> Vec<(String, String)> {
    let emitted = joins.finish(halves, |_| closing);
    let pair = |line: &str| {
        let event: Value = serde_json::from_str(line).unwrap();
        let name = |field: &str| event[field].as_str().unwrap().to_owned();
        (name("l"), name("r"))
    };
    emitted.iter().map(|emitted| pair(&emitted.line)).collect()
}

fn named(left: u64, right: u64) -> (String, String) {
    (left.to_string(), right.to_string())
}

/// Events exactly `within` apart meet, whichever comes first, and a microsecond further they do not.
#[test]
fn within_is_inclusive_to_the_microsecond() {
    for (far, expected) in [(WITHIN, vec![named(1, 0)]), (WITHIN + 1, vec![])] {
        for time in [far, -far] {
            let mut joins = Joins::new(both());
            assert_eq!(pairs(&mut joins, vec![half(1, 0, 0)], EVERYTHING_IS_EXPECTED), []);
            assert_eq!(pairs(&mut joins, vec![half(0, time, 1)], EVERYTHING_IS_EXPECTED), expected, "{time}");
        }
    }
}

/// A half is kept as long as one may come that it can meet: an event of the watermark's own time still may.
#[test]
fn a_half_is_forgotten_when_nothing_can_meet_it() {
    for (closing, kept) in [(WITHIN, 1), (WITHIN + 1, 0)] {
        let mut joins = Joins::new(both());
        assert_eq!(pairs(&mut joins, vec![half(1, 0, 0)], Micros(closing)), []);
        assert_eq!(joins.iter().count(), kept, "{closing}");
        let expected = if kept == 1 { vec![named(1, 0)] } else { vec![] };
        assert_eq!(pairs(&mut joins, vec![half(0, WITHIN, 1)], Micros(closing)), expected, "{closing}");
    }
}

/// Of one side and key a bounded number waits; those beyond it meet nothing, the others meet as if they were not there.
#[test]
fn halves_beyond_the_limit_meet_nothing() {
    let mut joins = Joins::new(both());
    let limit = HALVES_MAX as u64;
    let many = (0..=limit).map(|offset| half(0, 0, offset)).collect();
    assert_eq!(pairs(&mut joins, many, EVERYTHING_IS_EXPECTED), []);
    assert_eq!(joins.iter().count(), HALVES_MAX);
    let met = pairs(&mut joins, vec![half(1, 0, limit + 1)], EVERYTHING_IS_EXPECTED);
    assert_eq!(met, (0..limit).map(|left| named(left, limit + 1)).collect::<Vec<_>>());
}
