//! Column by column is row by row, whatever the dictionary and however the rows are cut.

use proptest::prelude::*;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

use caudal::core::columns::{Column, GroupValue};
use caudal::core::expression::{Expr, Inputs, Type, as_group, truths};

use super::generate::{Maker, row};
use super::{Row, columns, evaluate, read, same, values};
use crate::scalar::{Scalar, scalar};

fn expected(expr: &Expr, rows: &[Row]) -> (Vec<Option<Scalar>>, u64) {
    let each: Vec<(Option<Scalar>, bool)> = rows.iter().map(|(row, time)| scalar(expr, row, *time)).collect();
    let errors = each.iter().filter(|(_, error)| *error).count() as u64;
    (each.into_iter().map(|(value, _)| value).collect(), errors)
}

fn alike(a: &[Option<Scalar>], b: &[Option<Scalar>]) -> bool {
    a.len() == b.len() && a.iter().zip(b).all(|(a, b)| same(a.as_ref(), b.as_ref()))
}

/// The same texts by another dictionary: shuffled, with entries that do not occur, that occur twice and that are no texts.
fn disturb(column: &mut Column, random: &mut ChaCha8Rng) {
    let Column::Group { codes, dictionary } = column else { return };
    let mut other = vec![GroupValue::Integer(7), GroupValue::Bool(true), GroupValue::Text("nowhere".into())];
    if random.random() {
        other.extend((0..200).map(|n| GroupValue::Text(format!("unused {n}").into())));
    }
    let first = other.len() as u32;
    other.extend(dictionary.iter().cloned());
    let second = other.len() as u32;
    other.extend(dictionary.iter().cloned());
    for code in codes {
        let null = dictionary[*code as usize] == GroupValue::Null;
        *code = match random.random_range(0..3) {
            0 if null => 0,
            1 => *code + first,
            _ => *code + second,
        };
    }
    *dictionary = other;
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 3000, ..ProptestConfig::default() })]

    #[test]
    fn whole_columns_are_worth_what_their_rows_are(seed: u64, count in 0usize..40, depth in 0u32..5) {
        let mut random = ChaCha8Rng::seed_from_u64(seed);
        let rows: Vec<Row> = (0..count).map(|_| row(&mut random)).collect();
        let (of, made) = Maker { random: &mut random }.any(depth);
        let expr = read(&made.ours).map_err(|fault| TestCaseError::fail(format!("{}: {fault}", made.ours)));
        // Deep ones may be longer than a text may be.
        prop_assume!(made.ours.len() <= 4096);
        let expr = expr?;
        prop_assert_eq!(expr.of_type(), of);
        let (wanted, errors) = expected(&expr, &rows);
        let found = evaluate(&expr, &rows);
        prop_assert!(alike(&found.0, &wanted), "{}\n{:?}\n{:?}\n{:?}", made.ours, rows, found.0, wanted);
        prop_assert_eq!(found.1, errors, "{}\n{:?}", made.ours, rows);

        // Another dictionary.
        let (mut fields, time) = columns(&rows);
        for column in &mut fields {
            disturb(column, &mut random);
        }
        let evaluated = expr.evaluate(&Inputs { fields: &fields, time: &time });
        prop_assert!(alike(&values(of, &evaluated.column), &wanted), "{}", made.ours);
        prop_assert_eq!(evaluated.errors, errors, "{}", made.ours);

        // Cut in two.
        let (head, tail) = rows.split_at(random.random_range(0..=count));
        let (head, tail) = (evaluate(&expr, head), evaluate(&expr, tail));
        prop_assert!(alike(&[head.0, tail.0].concat(), &wanted), "{}", made.ours);
        prop_assert_eq!(head.1 + tail.1, errors, "{}", made.ours);
    }
}

#[test]
fn inexact_functions_too() {
    let mut random = ChaCha8Rng::seed_from_u64(11);
    let rows: Vec<Row> = (0..500).map(|_| row(&mut random)).collect();
    for text in [
        "EXP(x)",
        "LN(x)",
        "LOG10(x)",
        "POWER(x, y)",
        "ROUND(x, 2)",
        "ROUND(x / 3, 17)",
        "ROUND(y, 0)",
        "ROUND(i, 3)",
        "CAST(t AS TIMESTAMP)",
        "CAST(at AS TEXT)",
        "'at ' || at || ' ' || x || b || i",
        "CAST(CAST(at AS TEXT) AS TIMESTAMP)",
    ] {
        let expr = read(text).unwrap();
        let (wanted, errors) = expected(&expr, &rows);
        let found = evaluate(&expr, &rows);
        assert!(alike(&found.0, &wanted), "{text}");
        assert_eq!(found.1, errors, "{text}");
        assert!(wanted.iter().any(Option::is_some) || text == "CAST(t AS TIMESTAMP)", "{text} has a value somewhere");
    }
}

#[test]
fn long_texts_are_errors() {
    let long = |length: usize| (vec![Some(Scalar::Text("a".repeat(length))); 9], 0);
    for (text, length, errors) in [
        ("t || 'b'", 65_535, 0),
        ("t || 'b'", 65_536, 1),
        ("CONCAT(t, 'b')", 65_536, 1),
        ("REPLACE(t, 'a', 'bb')", 32_768, 0),
        ("REPLACE(t, 'a', 'bb')", 32_769, 1),
        ("UPPER(t)", 65_537, 1),
        ("LEFT(t, 3)", 1_000_000, 0),
        ("LENGTH(t)", 1_000_000, 0),
    ] {
        let expr = read(text).unwrap();
        let mut row: Row = long(length);
        row.0[2..].fill(None);
        let found = evaluate(&expr, std::slice::from_ref(&row));
        assert_eq!(found.1, errors, "{text} of {length}");
        assert_eq!(found.0[0].is_none(), errors > 0);
        assert!(alike(&found.0, &expected(&expr, &[row]).0));
    }
}

#[test]
fn values_become_groups_and_conditions_pass_rows() {
    let group = as_group(Column::Integer(vec![Some(3), None, Some(3), Some(-1)]));
    let Column::Group { codes, dictionary } = group else { panic!("{group:?}") };
    assert_eq!(codes, [0, 1, 0, 2]);
    assert_eq!(dictionary, [GroupValue::Integer(3), GroupValue::Null, GroupValue::Integer(-1)]);
    let condition = Column::Boolean(vec![Some(true), None, Some(false)]);
    assert_eq!(truths(&condition), [true, false, false]);
    let group = as_group(condition);
    let Column::Group { codes, dictionary } = group else { panic!("{group:?}") };
    assert_eq!(codes, [0, 1, 2]);
    assert_eq!(dictionary, [GroupValue::Bool(true), GroupValue::Null, GroupValue::Bool(false)]);
    assert_eq!(Type::Text.describe(), "text");
}
