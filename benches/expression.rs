//! Expressions over 65,536 rows: a CASE and a filter over fields with dictionaries, which are worked out once for each distinct value; the same CASE where every
//! row has a text of its own; arithmetic; and a text that a CASE chooses row by row.

use std::hint::black_box;
use std::sync::Arc;

use criterion::{Criterion, Throughput};

use caudal::core::columns::{Column, GroupValue};
use caudal::core::expression::{Inputs, Type, truths};
use caudal::core::path::{FieldPath, Step};
use caudal::core::plan::ColumnId;
use caudal::core::units::Micros;
use caudal::pipeline::sql::{Scope, expression};

const ROWS: usize = 65_536;
const FIELDS: [(&str, Type); 5] = [
    ("severity", Type::Text),
    ("region", Type::Text),
    ("message", Type::Text),
    ("age", Type::Integer),
    ("amount", Type::Number),
];

const CASES: [(&str, &str); 6] = [
    ("CASE of a text", "CASE severity WHEN 'high' THEN 3 WHEN 'medium' THEN 2 ELSE 1 END"),
    ("filter of a text and an integer", "severity = 'high' AND age BETWEEN 18 AND 65"),
    ("filter of two texts", "severity <> 'low' AND region LIKE 'n%'"),
    ("arithmetic", "amount * 1.19 + age / 10"),
    ("CASE of an integer, as text", "CASE WHEN age < 18 THEN 'minor' ELSE 'adult' END"),
    ("CASE of a text that is never the same", "CASE message WHEN 'high' THEN 3 WHEN 'medium' THEN 2 ELSE 1 END"),
];

fn text(codes: impl Iterator<Item = usize>, dictionary: Vec<String>) -> Column {
    let dictionary = dictionary.into_iter().map(|text| GroupValue::Text(Arc::from(text))).collect();
    Column::Group { codes: codes.map(|code| code as u32).collect(), dictionary }
}

fn fields() -> Vec<Column> {
    // Scattered, but the same each time.
    let scattered = |row: usize, of: usize| (row.wrapping_mul(2_654_435_761) >> 7) % of;
    let words = |words: &[&str]| words.iter().map(|&word| word.to_owned()).collect();
    vec![
        text((0..ROWS).map(|row| scattered(row, 3)), words(&["low", "medium", "high"])),
        text((0..ROWS).map(|row| scattered(row, 4)), words(&["north", "south", "east", "west"])),
        text(0..ROWS, (0..ROWS).map(|row| format!("message number {row}")).collect()),
        Column::Integer((0..ROWS).map(|row| (row % 50 != 0).then(|| scattered(row, 90) as i64)).collect()),
        Column::Number((0..ROWS).map(|row| Some(scattered(row, 10_000) as f64 / 100.0)).collect()),
    ]
}

pub fn bench(c: &mut Criterion) {
    let (fields, time) = (fields(), vec![Micros(0); ROWS]);
    let inputs = Inputs { fields: &fields, time: &time };
    let mut resolve = |path: &[Step]| {
        let name = FieldPath(path.to_vec()).to_string();
        let at = FIELDS.iter().position(|(field, _)| *field == name).ok_or(name)?;
        Ok((ColumnId(at), FIELDS[at].1))
    };
    let mut group = c.benchmark_group("expression");
    group.throughput(Throughput::Elements(ROWS as u64));
    for (name, text) in CASES {
        let expr = expression(text, &mut Scope { resolve: &mut resolve, event_time: true }).expect("it is one");
        group.bench_function(name, |b| {
            b.iter(|| {
                let evaluated = black_box(&expr).evaluate(black_box(&inputs));
                // A filter is used as a mask.
                if expr.of_type() == Type::Boolean {
                    truths(&evaluated.column).len()
                } else {
                    evaluated.errors as usize
                }
            });
        });
    }
    group.finish();
}
