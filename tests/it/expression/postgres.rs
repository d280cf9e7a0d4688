//! PostgreSQL as the judge: the same expressions over the same rows. Where an expression fails on a row there, Caudal must count an error there, and nowhere
//! else; everywhere else the values are equal to the bit. Known differences are spelled out where the two texts are made.

use postgres::Client;
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;

use caudal::core::expression::Type;

use super::generate::{Made, Maker, row, theirs};
use super::{FIELDS, Row, evaluate, read, same};
use crate::scalar::Scalar;
use crate::support::postgres::Cluster;

/// What PostgreSQL says of one row.
#[derive(Debug)]
enum Answer {
    Value(Option<Scalar>),
    Error,
    /// A result so small that PostgreSQL refuses it; Caudal rounds it, to 0 at last.
    Underflow,
}

/// The value as a text that loses nothing. An error of the data is an answer; one of the text (class 42) is the test's fault.
const ASK: &str = r#"
    SET TIME ZONE 'UTC';
    CREATE FUNCTION lit(anyelement) RETURNS anyelement LANGUAGE plpgsql VOLATILE AS $$ BEGIN RETURN $1; END $$;
    CREATE FUNCTION unicode_lower(text) RETURNS text LANGUAGE plpgsql STRICT AS $$ BEGIN RETURN lower($1 COLLATE "und-x-icu"); END $$;
    CREATE FUNCTION unicode_upper(text) RETURNS text LANGUAGE plpgsql STRICT AS $$ BEGIN RETURN upper($1 COLLATE "und-x-icu"); END $$;
    CREATE FUNCTION ask(expression text, number int) RETURNS text LANGUAGE plpgsql AS $$
    DECLARE answer text;
    BEGIN
        EXECUTE format('SELECT %s FROM rows WHERE n = %s', expression, number) INTO answer;
        RETURN coalesce('=' || answer, '');
    EXCEPTION WHEN data_exception THEN
        RETURN '!' || SQLERRM;
    END $$;
    CREATE TABLE rows (n int, et timestamptz, t text, u text, i int8, j int8, x float8, y float8, b bool, c bool, at timestamptz);
"#;

struct Judge {
    client: Client,
    rows: Vec<Row>,
    _cluster: Cluster,
}

fn time(micros: i64) -> String {
    caudal::core::time::format(caudal::core::units::Micros(micros))
}

impl Judge {
    fn of(rows: Vec<Row>) -> Self {
        let cluster = Cluster::start();
        let database = cluster.create_database();
        let mut client = cluster.client(&database.name);
        client.batch_execute(ASK).unwrap();
        for (n, (row, et)) in rows.iter().enumerate() {
            let fields = row.iter().zip(FIELDS).map(|(value, (_, of))| {
                let written = match value {
                    None => return "NULL".to_owned(),
                    Some(Scalar::Text(text)) => text.clone(),
                    Some(Scalar::Integer(integer)) => integer.to_string(),
                    Some(Scalar::Number(number)) => format!("{number:?}"),
                    Some(Scalar::Boolean(boolean)) => boolean.to_string(),
                    Some(Scalar::Timestamp(micros)) => time(*micros),
                };
                format!("{}::{}", super::generate::quoted(&written), theirs(of))
            });
            let fields = fields.collect::<Vec<_>>().join(", ");
            client.batch_execute(&format!("INSERT INTO rows VALUES ({n}, '{}', {fields})", time(*et))).unwrap();
        }
        Self { client, rows, _cluster: cluster }
    }

    fn ask(&mut self, of: Type, expression: &str) -> Vec<Answer> {
        let exact = match of {
            Type::Text | Type::Integer | Type::Boolean => format!("({expression})::text"),
            Type::Number => format!("encode(float8send({expression}), 'hex')"),
            Type::Timestamp => format!("(extract(epoch from ({expression})) * 1000000)::int8::text"),
        };
        let sql = "SELECT ask($1, n) FROM rows ORDER BY n";
        let answers = self.client.query(sql, &[&exact]).unwrap_or_else(|error| panic!("{error:?}\n{expression}"));
        answers.iter().map(|answer| understood(of, answer.get(0))).collect()
    }

    /// Everything about one expression. Gives how many rows have a value, and how many an error.
    fn check(&mut self, of: Type, made: &Made) -> (usize, usize) {
        let (mut with_value, mut with_error) = (0, 0);
        let expr = read(&made.ours).unwrap_or_else(|fault| panic!("{fault}\n{}", made.ours));
        assert_eq!(expr.of_type(), of, "{}", made.ours);
        for (row, answer) in self.rows.clone().iter().zip(self.ask(of, &made.theirs)) {
            let (values, errors) = evaluate(&expr, std::slice::from_ref(row));
            let context =
                || format!("{}\n{}\n{row:?}\n{values:?} with {errors} errors, but {answer:?}", made.ours, made.theirs);
            match &answer {
                Answer::Value(value) => {
                    assert!(
                        errors == 0 && same(values[0].as_ref(), plus_zero(value.as_ref()).as_ref()),
                        "{}",
                        context()
                    );
                    with_value += usize::from(value.is_some());
                }
                Answer::Error => {
                    assert!(errors == 1, "{}", context());
                    with_error += 1;
                }
                Answer::Underflow => {}
            }
        }
        (with_value, with_error)
    }
}

fn plus_zero(value: Option<&Scalar>) -> Option<Scalar> {
    match value {
        Some(Scalar::Number(number)) if *number == 0.0 => Some(Scalar::Number(0.0)),
        other => other.cloned(),
    }
}

fn understood(of: Type, answer: &str) -> Answer {
    if let Some(error) = answer.strip_prefix('!') {
        return if error.contains("underflow") { Answer::Underflow } else { Answer::Error };
    }
    let Some(value) = answer.strip_prefix('=') else { return Answer::Value(None) };
    Answer::Value(Some(match of {
        Type::Text => Scalar::Text(value.to_owned()),
        Type::Integer => Scalar::Integer(value.parse().unwrap()),
        Type::Number => Scalar::Number(f64::from_bits(u64::from_str_radix(value, 16).unwrap())),
        Type::Boolean => Scalar::Boolean(value.parse().unwrap()),
        Type::Timestamp => Scalar::Timestamp(value.parse().unwrap()),
    }))
}

fn rows(seed: u64, count: usize) -> Vec<Row> {
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    (0..count).map(|_| row(&mut random)).collect()
}

#[test]
fn random_expressions_are_worth_what_postgresql_says() {
    const EXPRESSIONS: u64 = 1_200;
    let mut judge = Judge::of(rows(1, 24));
    let (mut with_value, mut with_error) = (0, 0);
    for seed in 0..EXPRESSIONS {
        let mut random = ChaCha8Rng::seed_from_u64(seed);
        let (of, made) = Maker { random: &mut random }.any(1 + (seed % 3) as u32);
        let (values, errors) = judge.check(of, &made);
        with_value += values;
        with_error += errors;
    }
    // They are expressions about something.
    assert!(with_value > 10_000 && with_error > 1_000, "{with_value} values, {with_error} errors");
}

#[test]
fn written_expressions_are_worth_what_postgresql_says() {
    let mut judge = Judge::of(rows(2, 60));
    // Caudal's text, and PostgreSQL's where it differs.
    for (of, ours, theirs) in [
        (
            Type::Integer,
            "CASE t WHEN 'high' THEN 3 WHEN 'abc' THEN 2 ELSE 1 END",
            "CASE t WHEN 'high' THEN 3 WHEN 'abc' THEN 2 ELSE 1 END::int8",
        ),
        (Type::Boolean, "t = 'high' AND i > 2 OR NOT b", ""),
        (Type::Boolean, "NOT b AND c OR b AND NOT c", ""),
        (Type::Boolean, "i = 1 IS TRUE", ""),
        (Type::Boolean, "NOT i BETWEEN 0 AND 5 AND b", ""),
        (Type::Boolean, "t || u LIKE 'a%' AND b", ""),
        (Type::Boolean, "i + 1.5 > x * 2 - 1", "i::float8 + 1.5::float8 > x * 2::float8 - 1::float8"),
        (Type::Integer, "-i % 3 + j % 7 * 2", "-i % 3::int8 + j % 7::int8 * 2::int8"),
        (Type::Boolean, "i IN (1, 2, 3)", ""),
        (Type::Boolean, "i NOT IN (1, NULL, 3)", ""),
        (Type::Boolean, "t IN ('a', u, NULL)", ""),
        (Type::Boolean, "t ILIKE '%B%'", ""),
        (Type::Boolean, "t NOT LIKE 'a\\%'", ""),
        (Type::Text, "TRIM(BOTH 'a ' FROM t)", ""),
        (Type::Text, "TRIM(TRAILING FROM t)", "TRIM(TRAILING ' ' FROM t)"),
        (Type::Text, "LTRIM(t) || RTRIM(u)", ""),
        (Type::Text, "SUBSTRING(t FROM 2)", ""),
        (Type::Text, "SUBSTRING(t FOR 2)", ""),
        (Type::Text, "SUBSTR(t, 0, 3)", ""),
        (Type::Text, "SPLIT_PART(t, ',', 2)", ""),
        (Type::Text, "SPLIT_PART(t, ',', -1)", ""),
        (Type::Integer, "STRPOS(t, 'b') + POSITION('c' IN t)", "(STRPOS(t, 'b') + POSITION('c' IN t))::int8"),
        (Type::Integer, "CHAR_LENGTH(t)", "CHAR_LENGTH(t)::int8"),
        (Type::Number, "SQRT(ABS(x))", ""),
        (Type::Number, "ROUND(x) + CEILING(y) + FLOOR(x) + TRUNC(y)", ""),
        (
            Type::Number,
            "(at - TIMESTAMP '2000-01-01T00:00:00Z') / 86400",
            "extract(epoch from (at - timestamptz '2000-01-01T00:00:00Z'))::float8 / 86400::float8",
        ),
        (Type::Boolean, "at > '2020-02-29T12:00:00+02:00'", ""),
        (Type::Boolean, "event_time() >= at", "et >= at"),
        (Type::Boolean, "b IS DISTINCT FROM c", ""),
        (Type::Boolean, "b < c", ""),
        (Type::Text, "COALESCE(t, u, 'none')", ""),
        (Type::Number, "COALESCE(x, i, 0)", "COALESCE(x, i::float8, 0)"),
        (Type::Number, "GREATEST(x, i, 3)", "GREATEST(x, i::float8, 3)"),
        (Type::Integer, "NULLIF(i, 0)", ""),
        (Type::Text, "CASE WHEN x > 0 THEN 'positive' WHEN x < 0 THEN 'negative' END", ""),
    ] {
        let theirs = if theirs.is_empty() { ours } else { theirs };
        judge.check(of, &Made { ours: ours.to_owned(), theirs: theirs.to_owned() });
    }
}

/// The platform's library there, `libm` here: neither is exact, both are within one unit of the last place.
#[test]
fn transcendental_functions_are_within_one_unit_of_postgresql() {
    let mut judge = Judge::of(rows(3, 80));
    for (ours, theirs) in [
        ("EXP(x)", "EXP(x)"),
        ("LN(x)", "LN(x)"),
        ("LOG10(x)", "LOG(x)"),
        ("POWER(x, 0.3)", "POWER(x, 0.3::float8)"),
        ("POW(x, y)", "POWER(x, y)"),
        ("EXP(y / 1e307)", "EXP(y / 1e307::float8)"),
    ] {
        let expr = read(ours).unwrap();
        for (row, answer) in judge.rows.clone().iter().zip(judge.ask(Type::Number, theirs)) {
            let (values, errors) = evaluate(&expr, std::slice::from_ref(row));
            match answer {
                Answer::Value(None) => assert_eq!((&values[0], errors), (&None, 0), "{ours} {row:?}"),
                Answer::Value(Some(Scalar::Number(theirs))) => {
                    let Some(Scalar::Number(found)) = values[0] else {
                        panic!("{ours} {row:?}: {values:?}, not {theirs}")
                    };
                    let apart = (found.to_bits() as i64).abs_diff((theirs + 0.0).to_bits() as i64);
                    assert!(apart <= 1, "{ours} {row:?}: {found} is {apart} from {theirs}");
                }
                Answer::Value(other) => panic!("{other:?}"),
                Answer::Error => assert_eq!(errors, 1, "{ours} {row:?}"),
                Answer::Underflow => assert_eq!(errors, 0, "{ours} {row:?}"),
            }
        }
    }
}
