//! Expressions once more, for one row, in the plainest code there is: written from `docs/expressions.md` and not from the engine, with which it shares the tree
//! alone. The sequential model uses it, and column-wise evaluation is compared with it.

use std::cmp::Ordering;

use caudal::core::expression::{Ends, Expr, Function, Literal, Part, Pattern, PatternKind, Type, Unit};
use chrono::{DateTime, Datelike, Months, NaiveDate, NaiveDateTime, TimeDelta, Timelike};
use num_bigint::BigInt;
use num_rational::BigRational;
use num_traits::{Signed, ToPrimitive, Zero};

#[derive(Clone, Debug, PartialEq)]
pub enum Scalar {
    Text(String),
    Integer(i64),
    Number(f64),
    Boolean(bool),
    /// Microseconds.
    Timestamp(i64),
}

/// The expression's value for one row, and whether something that it asked for has none. `row` is by column.
pub fn scalar(expr: &Expr, row: &[Option<Scalar>], time: i64) -> (Option<Scalar>, bool) {
    let mut walk = Walk { row, time, error: false };
    let value = walk.value(expr);
    (value, walk.error)
}

struct Walk<'a> {
    row: &'a [Option<Scalar>],
    time: i64,
    error: bool,
}

use Scalar::{Boolean, Integer, Number, Text, Timestamp};

impl Walk<'_> {
    fn value(&mut self, expr: &Expr) -> Option<Scalar> {
        match expr {
            Expr::Column(id, _) => match self.row[id.0].clone()? {
                Number(number) => Some(Number(plus_zero(number))),
                other => Some(other),
            },
            Expr::EventTime => Some(Timestamp(self.time)),
            Expr::Literal(Literal::Null(_)) => None,
            Expr::Literal(Literal::Text(text)) => Some(Text(text.to_string())),
            Expr::Literal(Literal::Integer(integer)) => Some(Integer(*integer)),
            Expr::Literal(Literal::Number(number)) => Some(Number(*number)),
            Expr::Literal(Literal::Boolean(boolean)) => Some(Boolean(*boolean)),
            Expr::Literal(Literal::Timestamp(time)) => Some(Timestamp(time.0)),
            Expr::Case { operand, arms, otherwise } => {
                let operand = operand.as_ref().map(|operand| self.value(operand));
                for (condition, result) in arms {
                    let condition = self.value(condition);
                    let holds = match &operand {
                        None => condition == Some(Boolean(true)),
                        Some(operand) => equal(operand.as_ref(), condition.as_ref()) == Some(true),
                    };
                    if holds {
                        return self.value(result);
                    }
                }
                self.value(otherwise.as_ref()?)
            }
            Expr::Call(function, operands) => self.call(function, operands),
        }
    }

    fn truth(&mut self, expr: &Expr) -> Option<bool> {
        match self.value(expr)? {
            Boolean(truth) => Some(truth),
            other => panic!("{other:?} is no boolean"),
        }
    }

    /// Those that may not need all their operands.
    fn call(&mut self, function: &Function, operands: &[Expr]) -> Option<Scalar> {
        match function {
            Function::And | Function::Or => {
                let decides = *function == Function::Or;
                let mut unknown = false;
                for operand in operands {
                    match self.truth(operand) {
                        Some(truth) if truth == decides => return Some(Boolean(decides)),
                        Some(_) => {}
                        None => unknown = true,
                    }
                }
                if unknown { None } else { Some(Boolean(!decides)) }
            }
            Function::In => {
                let value = self.value(&operands[0]);
                let mut unknown = false;
                for candidate in &operands[1..] {
                    let candidate = self.value(candidate);
                    match equal(value.as_ref(), candidate.as_ref()) {
                        Some(true) => return Some(Boolean(true)),
                        Some(false) => {}
                        None => unknown = true,
                    }
                }
                if unknown { None } else { Some(Boolean(false)) }
            }
            Function::Between => {
                let (value, low) = (self.value(&operands[0]), self.value(&operands[1]));
                let above = order(value.as_ref(), low.as_ref()).map(Ordering::is_ge);
                if above == Some(false) {
                    return Some(Boolean(false));
                }
                let high = self.value(&operands[2]);
                let below = order(value.as_ref(), high.as_ref()).map(Ordering::is_le);
                match (above, below) {
                    (_, Some(false)) => Some(Boolean(false)),
                    (Some(true), Some(true)) => Some(Boolean(true)),
                    _ => None,
                }
            }
            Function::Coalesce => operands.iter().find_map(|operand| self.value(operand)),
            _ => {
                let values: Vec<Option<Scalar>> = operands.iter().map(|operand| self.value(operand)).collect();
                if let Some(answer) = with_nulls(function, &values) {
                    return self.checked(answer);
                }
                let values: Vec<Scalar> = values.into_iter().collect::<Option<_>>()?;
                let answer = without_nulls(function, &values);
                self.checked(answer.ok_or(()).map(Some))
            }
        }
    }

    fn checked(&mut self, answer: Result<Option<Scalar>, ()>) -> Option<Scalar> {
        answer.unwrap_or_else(|()| {
            self.error = true;
            None
        })
    }
}

fn plus_zero(number: f64) -> f64 {
    if number == 0.0 { 0.0 } else { number }
}

fn order(a: Option<&Scalar>, b: Option<&Scalar>) -> Option<Ordering> {
    Some(match (a?, b?) {
        (Text(a), Text(b)) => a.as_bytes().cmp(b.as_bytes()),
        (Integer(a), Integer(b)) | (Timestamp(a), Timestamp(b)) => a.cmp(b),
        (Number(a), Number(b)) => a.partial_cmp(b).unwrap(),
        (Boolean(a), Boolean(b)) => a.cmp(b),
        (a, b) => panic!("{a:?} and {b:?} are not compared"),
    })
}

fn equal(a: Option<&Scalar>, b: Option<&Scalar>) -> Option<bool> {
    order(a, b).map(Ordering::is_eq)
}

/// Functions that give something for nulls; None if it is none of them. An error has no value.
fn with_nulls(function: &Function, values: &[Option<Scalar>]) -> Option<Result<Option<Scalar>, ()>> {
    let first = values[0].as_ref();
    let truth = |truth: bool| Some(Boolean(truth));
    let answer = match function {
        Function::IsNull => truth(first.is_none()),
        Function::IsNotNull => truth(first.is_some()),
        Function::IsTrue => truth(values[0] == truth(true)),
        Function::IsNotTrue => truth(values[0] != truth(true)),
        Function::IsFalse => truth(values[0] == truth(false)),
        Function::IsNotFalse => truth(values[0] != truth(false)),
        Function::Distinct => truth(values[0] != values[1]),
        Function::NotDistinct => truth(values[0] == values[1]),
        Function::NullIf if equal(first, values[1].as_ref()) == Some(true) => None,
        Function::NullIf => values[0].clone(),
        Function::Greatest => values.iter().flatten().max_by(|a, b| order(Some(a), Some(b)).unwrap()).cloned(),
        Function::Least => values.iter().flatten().min_by(|a, b| order(Some(a), Some(b)).unwrap()).cloned(),
        Function::Concat => {
            let joined: String = values.iter().flatten().map(text).collect();
            return Some(short(joined).map(Text).ok_or(()).map(Some));
        }
        _ => return None,
    };
    Some(Ok(answer))
}

fn text(value: &Scalar) -> &str {
    let Text(text) = value else { panic!("{value:?} is no text") };
    text
}

fn short(text: String) -> Option<String> {
    (text.len() <= 65_536).then_some(text)
}

/// Strict functions; None is an error.
fn without_nulls(function: &Function, values: &[Scalar]) -> Option<Scalar> {
    let ordering = || order(values.first(), values.get(1)).unwrap();
    let truth = |truth: bool| Some(Boolean(truth));
    match function {
        Function::Equal => truth(ordering().is_eq()),
        Function::NotEqual => truth(ordering().is_ne()),
        Function::Less => truth(ordering().is_lt()),
        Function::LessOrEqual => truth(ordering().is_le()),
        Function::Greater => truth(ordering().is_gt()),
        Function::GreaterOrEqual => truth(ordering().is_ge()),
        Function::Cast(from, to) => cast(*from, *to, &values[0]),
        _ => match values {
            [Text(_), ..] => of_text(function, values),
            [Integer(a)] => of_integers(function, *a, 0),
            [Integer(a), Integer(b)] => of_integers(function, *a, *b),
            [Number(a)] => of_numbers(function, *a, 0.0),
            [Number(a), Number(b)] => of_numbers(function, *a, *b),
            [Boolean(a)] if *function == Function::Not => truth(!a),
            [Timestamp(a)] => of_time(function, *a),
            [Timestamp(a), Timestamp(b)] if *function == Function::Elapsed => {
                Some(Number(seconds(i128::from(*a) - i128::from(*b))))
            }
            _ => panic!("{function:?} of {values:?}"),
        },
    }
}

fn of_integers(function: &Function, a: i64, b: i64) -> Option<Scalar> {
    let (a, b) = (i128::from(a), i128::from(b));
    let value = match function {
        Function::Negate => -a,
        Function::Add => a + b,
        Function::Subtract => a - b,
        Function::Multiply => a * b,
        Function::Modulo if b == 0 => return None,
        Function::Modulo => a % b,
        Function::Absolute => a.abs(),
        Function::Sign => a.signum(),
        Function::Round | Function::Floor | Function::Ceiling | Function::Truncate => a,
        _ => panic!("{function:?} of integers"),
    };
    i64::try_from(value).ok().map(Integer)
}

fn of_numbers(function: &Function, a: f64, b: f64) -> Option<Scalar> {
    let value = match function {
        Function::Negate => -a,
        Function::Add => a + b,
        Function::Subtract => a - b,
        Function::Multiply => a * b,
        Function::Divide => a / b,
        Function::Power => libm::pow(a, b),
        Function::Absolute => a.abs(),
        Function::Sign if a == 0.0 => 0.0,
        Function::Sign => a.signum(),
        Function::Round => rounded(a, 0),
        Function::RoundTo(digits) => rounded(a, *digits),
        Function::Floor => a.floor(),
        Function::Ceiling => a.ceil(),
        Function::Truncate => a.trunc(),
        Function::SquareRoot => a.sqrt(),
        Function::Exponential => libm::exp(a),
        Function::NaturalLogarithm => libm::log(a),
        Function::Logarithm10 => libm::log10(a),
        _ => panic!("{function:?} of numbers"),
    };
    value.is_finite().then(|| Number(plus_zero(value)))
}

/// By exact rationals: the nearest multiple of 10^-digits, ties to the even one.
fn rounded(value: f64, digits: u8) -> f64 {
    let scale = BigRational::from(BigInt::from(10).pow(u32::from(digits)));
    let scaled = BigRational::from_float(value).unwrap() * &scale;
    let below = scaled.floor();
    let rest = &scaled - &below;
    let half = BigRational::new(1.into(), 2.into());
    let up = rest > half || (rest == half && !(below.to_integer() % BigInt::from(2)).is_zero());
    let whole = if up { below + BigRational::from(BigInt::from(1)) } else { below };
    nearest(&(whole / scale))
}

/// The double nearest to a rational, by its decimal expansion, which is finite here.
fn nearest(exact: &BigRational) -> f64 {
    let mut digits = String::from(if exact.is_negative() { "-" } else { "" });
    let exact = exact.abs();
    digits.push_str(&exact.to_integer().to_string());
    digits.push('.');
    let mut rest = exact.fract();
    while !rest.is_zero() {
        rest *= BigRational::from(BigInt::from(10));
        digits.push_str(&rest.to_integer().to_string());
        rest = rest.fract();
    }
    digits.push('0');
    digits.parse().unwrap()
}

fn seconds(micros: i128) -> f64 {
    nearest(&BigRational::new(BigInt::from(micros), 1_000_000.into()))
}

fn of_text(function: &Function, values: &[Scalar]) -> Option<Scalar> {
    let characters: Vec<char> = text(&values[0]).chars().collect();
    let taken = |characters: &[char]| Some(Text(characters.iter().collect()));
    let length = characters.len() as i64;
    match (function, values) {
        (Function::Lower, [Text(a)]) => short(a.to_lowercase()).map(Text),
        (Function::Upper, [Text(a)]) => short(a.to_uppercase()).map(Text),
        (Function::Length, [_]) => Some(Integer(length)),
        (Function::Trim(ends), [_, rest @ ..]) => {
            let cut: Vec<char> = rest.first().map_or(vec![' '], |rest| text(rest).chars().collect());
            let (mut from, mut to) = (0, characters.len());
            while *ends != Ends::Trailing && from < to && cut.contains(&characters[from]) {
                from += 1;
            }
            while *ends != Ends::Leading && from < to && cut.contains(&characters[to - 1]) {
                to -= 1;
            }
            taken(&characters[from..to])
        }
        (Function::Substring, [_, Integer(from), rest @ ..]) => {
            let count = match rest {
                [Integer(count)] => i128::from(*count),
                _ => i128::from(i64::MAX),
            };
            if count < 0 {
                return None;
            }
            let end = i128::from(*from) + count;
            let within = |place: i128| (i128::from(*from)..end).contains(&place);
            // Without a length there is no end.
            let all = rest.is_empty();
            let kept: Vec<char> = (1i128..)
                .zip(&characters)
                .filter(|(place, _)| if all { *place >= i128::from(*from) } else { within(*place) })
                .map(|(_, c)| *c)
                .collect();
            taken(&kept)
        }
        (Function::Left, [_, Integer(count)]) => {
            let kept = if *count < 0 { length.saturating_add(*count).max(0) } else { length.min(*count) };
            taken(&characters[..kept as usize])
        }
        (Function::Right, [_, Integer(count)]) => {
            let kept = if *count < 0 { length.saturating_add(*count).max(0) } else { length.min(*count) };
            taken(&characters[(length - kept) as usize..])
        }
        (Function::Replace, [Text(a), Text(what), Text(with)]) => {
            let whole = if what.is_empty() { a.clone() } else { a.split(what.as_str()).collect::<Vec<_>>().join(with) };
            short(whole).map(Text)
        }
        (Function::Join, parts) => short(parts.iter().map(text).collect()).map(Text),
        (Function::StartsWith, [Text(a), Text(b)]) => Some(Boolean(a.as_bytes().get(..b.len()) == Some(b.as_bytes()))),
        (Function::Position, [_, Text(b)]) => {
            let wanted: Vec<char> = b.chars().collect();
            let found = (0..=characters.len()).find(|&at| characters[at..].starts_with(&wanted));
            Some(Integer(found.map_or(0, |at| at as i64 + 1)))
        }
        (Function::SplitPart, [Text(a), Text(by), Integer(number)]) => {
            let parts: Vec<&str> = if by.is_empty() { vec![a] } else { a.split(by.as_str()).collect() };
            let count = parts.len() as i128;
            let at = match i128::from(*number) {
                0 => return None,
                number if number > 0 => number - 1,
                number => count + number,
            };
            let part = usize::try_from(at).ok().and_then(|at| parts.get(at)).copied();
            Some(Text(part.unwrap_or_default().to_owned()))
        }
        (Function::Matches(pattern), [Text(a)]) => Some(Boolean(matches(pattern, a))),
        _ => panic!("{function:?} of {values:?}"),
    }
}

fn matches(pattern: &Pattern, text: &str) -> bool {
    let characters = |text: &str| text.chars().collect::<Vec<char>>();
    match pattern.kind() {
        PatternKind::Like => like(&characters(pattern.text()), &characters(text)),
        PatternKind::CaselessLike => {
            like(&characters(&pattern.text().to_lowercase()), &characters(&text.to_lowercase()))
        }
        PatternKind::Regex => regex::Regex::new(pattern.text()).unwrap().is_match(text),
    }
}

fn like(pattern: &[char], text: &[char]) -> bool {
    match pattern {
        [] => text.is_empty(),
        ['%', rest @ ..] => (0..=text.len()).any(|skipped| like(rest, &text[skipped..])),
        ['_', rest @ ..] => !text.is_empty() && like(rest, &text[1..]),
        ['\\', literal, rest @ ..] | [literal, rest @ ..] => text.first() == Some(literal) && like(rest, &text[1..]),
    }
}

fn cast(from: Type, to: Type, value: &Scalar) -> Option<Scalar> {
    match (from, to, value) {
        (Type::Integer, Type::Text, Integer(a)) => Some(Text(a.to_string())),
        (Type::Number, Type::Text, Number(a)) => Some(Text(shortest(*a))),
        (Type::Boolean, Type::Text, Boolean(a)) => Some(Text(String::from(if *a { "true" } else { "false" }))),
        (Type::Timestamp, Type::Text, Timestamp(a)) => {
            let zone = moment(*a).and_utc();
            let digits = match a.rem_euclid(1_000_000) {
                0 => chrono::SecondsFormat::Secs,
                micros if micros % 1000 == 0 => chrono::SecondsFormat::Millis,
                _ => chrono::SecondsFormat::Micros,
            };
            Some(Text(zone.to_rfc3339_opts(digits, true)))
        }
        (Type::Integer, Type::Number, Integer(a)) => Some(Number(*a as f64)),
        (Type::Number, Type::Integer, Number(a)) => {
            let whole = BigRational::from_float(rounded(*a, 0)).unwrap().to_integer();
            whole.to_i64().map(Integer)
        }
        (Type::Boolean, Type::Integer, Boolean(a)) => Some(Integer(i64::from(*a))),
        (Type::Text, Type::Integer, Text(a)) => {
            let a = a.trim_matches(BLANKS);
            let digits = a.strip_prefix(['+', '-']).unwrap_or(a);
            let whole = !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit());
            let sign = BigInt::from(if a.starts_with('-') { -1 } else { 1 });
            let value: BigInt = whole.then(|| digits.parse::<BigInt>().unwrap() * sign)?;
            value.to_i64().map(Integer)
        }
        (Type::Text, Type::Number, Text(a)) => {
            let decimal = regex::Regex::new(r"\A[+-]?([0-9]+(\.[0-9]*)?|\.[0-9]+)([eE][+-]?[0-9]+)?\z").unwrap();
            let a = a.trim_matches(BLANKS);
            let number = decimal.is_match(a).then(|| a.parse::<f64>().unwrap())?;
            number.is_finite().then(|| Number(plus_zero(number)))
        }
        (Type::Text, Type::Boolean, Text(a)) => {
            let a = a.trim_matches(BLANKS).to_ascii_lowercase();
            // "o" begins both "on" and "off".
            let begins = |words: &[&str]| words.iter().any(|word| word.starts_with(&a)) && !a.is_empty() && a != "o";
            match (begins(&["true", "yes", "on", "1"]), begins(&["false", "no", "off", "0"])) {
                (true, false) => Some(Boolean(true)),
                (false, true) => Some(Boolean(false)),
                _ => None,
            }
        }
        (Type::Text, Type::Timestamp, Text(a)) => {
            // A leap second is written as 60 and is the next minute's first.
            let time = caudal::core::time::parse(a.as_bytes())?;
            Some(Timestamp(time.0))
        }
        _ => panic!("{value:?} is not cast from {from:?} to {to:?}"),
    }
}

const BLANKS: [char; 6] = [' ', '\t', '\n', '\r', '\x0b', '\x0c'];

/// As PostgreSQL writes a double: the shortest digits, with an exponent below 1e-4 and from 1e15 on.
fn shortest(value: f64) -> String {
    if value == 0.0 {
        return String::from("0");
    }
    if (1e-4..1e15).contains(&value.abs()) {
        return value.to_string();
    }
    let written = format!("{value:e}");
    let (digits, exponent) = written.split_once('e').unwrap();
    let exponent: i32 = exponent.parse().unwrap();
    format!("{digits}e{}{:02}", if exponent < 0 { '-' } else { '+' }, exponent.abs())
}

fn moment(micros: i64) -> NaiveDateTime {
    DateTime::from_timestamp_micros(micros).unwrap().naive_utc()
}

fn of_time(function: &Function, micros: i64) -> Option<Scalar> {
    let at = moment(micros);
    let midnight = |date: NaiveDate| date.and_hms_opt(0, 0, 0).unwrap();
    let first_of = |month: u32| midnight(NaiveDate::from_ymd_opt(at.year(), month, 1).unwrap());
    let integer = |value: i64| Some(Integer(value));
    match function {
        Function::Extract(part) => match part {
            Part::Year => integer(i64::from(at.year())),
            Part::Month => integer(i64::from(at.month())),
            Part::Day => integer(i64::from(at.day())),
            Part::Hour => integer(i64::from(at.hour())),
            Part::Minute => integer(i64::from(at.minute())),
            Part::DayOfWeek => integer(i64::from(at.weekday().num_days_from_sunday())),
            Part::DayOfYear => integer(i64::from(at.ordinal())),
            Part::Second => {
                let micros = i128::from(at.second()) * 1_000_000 + i128::from(at.nanosecond() / 1000);
                Some(Number(seconds(micros)))
            }
            Part::Epoch => Some(Number(plus_zero(seconds(i128::from(micros))))),
        },
        Function::DateTruncate(unit) => {
            let cut = match unit {
                Unit::Second => at.with_nanosecond(0).unwrap(),
                Unit::Minute => at.date().and_hms_opt(at.hour(), at.minute(), 0).unwrap(),
                Unit::Hour => at.date().and_hms_opt(at.hour(), 0, 0).unwrap(),
                Unit::Day => midnight(at.date()),
                Unit::Week => midnight(at.date()) - TimeDelta::days(i64::from(at.weekday().num_days_from_monday())),
                Unit::Month => first_of(at.month()),
                Unit::Quarter => first_of(1).checked_add_months(Months::new((at.month() - 1) / 3 * 3)).unwrap(),
                Unit::Year => first_of(1),
            };
            Some(Timestamp(cut.and_utc().timestamp_micros()))
        }
        _ => panic!("{function:?} of a timestamp"),
    }
}
