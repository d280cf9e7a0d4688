//! Functions that need all their operands.

use polars::prelude::{BooleanChunked, Float64Chunked, Int64Chunked, StringChunked};

use crate::core::expression::kernel::{choose, compare, each, each_two, is_false, is_true, map, map_three, map_two};
use crate::core::expression::lane::{Errors, Values};
use crate::core::expression::number::{self, finite};
use crate::core::expression::{Function, Part, Type, cast, moment, text};
use crate::core::time;
use crate::core::units::Micros;

/// Its value, and where that has none of its own fault.
pub(super) fn strict(function: &Function, operands: &[&Values]) -> (Values, Errors) {
    match function {
        Function::Negate
        | Function::Add
        | Function::Subtract
        | Function::Multiply
        | Function::Modulo
        | Function::Divide
        | Function::Elapsed
        | Function::Power => arithmetic(function, operands),
        Function::Equal
        | Function::NotEqual
        | Function::Less
        | Function::LessOrEqual
        | Function::Greater
        | Function::GreaterOrEqual
        | Function::Distinct
        | Function::NotDistinct => {
            let [a, b] = operands else { panic!("two operands") };
            (Values::Boolean(compare(function, a, b)), None)
        }
        Function::IsNull
        | Function::IsNotNull
        | Function::IsTrue
        | Function::IsNotTrue
        | Function::IsFalse
        | Function::IsNotFalse
        | Function::Not => (Values::Boolean(tested(function, one(operands))), None),
        Function::NullIf => {
            let [a, b] = operands else { panic!("two operands") };
            let same = is_true(&compare(&Function::Equal, a, b));
            (choose(&same, &a.nulls(), a), None)
        }
        Function::Greatest => (outermost(&Function::Greater, operands), None),
        Function::Least => (outermost(&Function::Less, operands), None),
        Function::Absolute
        | Function::Sign
        | Function::Round
        | Function::RoundTo(_)
        | Function::Floor
        | Function::Ceiling
        | Function::Truncate
        | Function::SquareRoot
        | Function::Exponential
        | Function::NaturalLogarithm
        | Function::Logarithm10 => of_number(function, one(operands)),
        Function::Lower
        | Function::Upper
        | Function::Length
        | Function::Trim(_)
        | Function::Substring
        | Function::Left
        | Function::Right
        | Function::Replace
        | Function::Join
        | Function::Concat
        | Function::StartsWith
        | Function::Position
        | Function::SplitPart
        | Function::Matches(_) => of_text(function, operands),
        Function::Cast(from, to) => converted(*from, *to, one(operands)),
        Function::Extract(_) | Function::DateTruncate(_) => of_time(function, one(operands)),
        Function::And | Function::Or | Function::In | Function::Between | Function::Coalesce => {
            panic!("{function:?} does not need all its operands")
        }
    }
}

fn one<'a>(operands: &[&'a Values]) -> &'a Values {
    let [operand] = operands else { panic!("one operand") };
    operand
}

fn arithmetic(function: &Function, operands: &[&Values]) -> (Values, Errors) {
    match operands {
        [Values::Integer(a)] => integer(each(a, |a: i64| a.checked_neg())),
        [Values::Number(a)] => decimal(each(a, |a: f64| finite(-a))),
        [Values::Integer(a), Values::Integer(b)] => match function {
            Function::Add => integer(each_two(a, b, |a: i64, b: i64| a.checked_add(b))),
            Function::Subtract => integer(each_two(a, b, |a: i64, b: i64| a.checked_sub(b))),
            Function::Multiply => integer(each_two(a, b, |a: i64, b: i64| a.checked_mul(b))),
            Function::Modulo => integer(each_two(a, b, number::modulo)),
            Function::Elapsed => decimal(each_two(a, b, |a: i64, b: i64| Some(moment::seconds(a.saturating_sub(b))))),
            _ => panic!("{function:?} of integers"),
        },
        [Values::Number(a), Values::Number(b)] => match function {
            Function::Add => decimal(each_two(a, b, |a: f64, b: f64| finite(a + b))),
            Function::Subtract => decimal(each_two(a, b, |a: f64, b: f64| finite(a - b))),
            Function::Multiply => decimal(each_two(a, b, |a: f64, b: f64| finite(a * b))),
            Function::Divide => decimal(each_two(a, b, number::divide)),
            Function::Power => decimal(each_two(a, b, number::power)),
            _ => panic!("{function:?} of numbers"),
        },
        _ => panic!("{function:?} of {operands:?}"),
    }
}

fn integer((values, errors): (Int64Chunked, Errors)) -> (Values, Errors) {
    (Values::Integer(values), errors)
}

fn decimal((values, errors): (Float64Chunked, Errors)) -> (Values, Errors) {
    (Values::Number(values), errors)
}

fn boolean((values, errors): (BooleanChunked, Errors)) -> (Values, Errors) {
    (Values::Boolean(values), errors)
}

fn texts((values, errors): (StringChunked, Errors)) -> (Values, Errors) {
    (Values::Text(values), errors)
}

fn tested(function: &Function, operand: &Values) -> BooleanChunked {
    match (function, operand) {
        (Function::IsNull, operand) => !&operand.is_not_null(),
        (Function::IsNotNull, operand) => operand.is_not_null(),
        (Function::IsTrue, Values::Boolean(values)) => is_true(values),
        (Function::IsNotTrue, Values::Boolean(values)) => !&is_true(values),
        (Function::IsFalse, Values::Boolean(values)) => is_false(values),
        (Function::IsNotFalse, Values::Boolean(values)) => !&is_false(values),
        (Function::Not, Values::Boolean(values)) => !values,
        _ => panic!("{function:?} of {operand:?}"),
    }
}

/// The operand that stands in this relation to all others; nulls are skipped.
fn outermost(relation: &Function, operands: &[&Values]) -> Values {
    let Some((first, rest)) = operands.split_first() else { panic!("no operand") };
    rest.iter().fold((*first).clone(), |sofar, next| {
        let better = is_true(&compare(relation, next, &sofar));
        let better = &better | &(&!&sofar.is_not_null() & &next.is_not_null());
        choose(&better, next, &sofar)
    })
}

fn of_number(function: &Function, operand: &Values) -> (Values, Errors) {
    match operand {
        Values::Integer(values) => match function {
            Function::Absolute => integer(each(values, |a: i64| a.checked_abs())),
            Function::Sign => integer(each(values, |a: i64| Some(a.signum()))),
            Function::Round | Function::Floor | Function::Ceiling | Function::Truncate => (operand.clone(), None),
            _ => panic!("{function:?} of integers"),
        },
        Values::Number(values) => {
            let with = |of: fn(f64) -> Option<f64>| decimal(each(values, of));
            match function {
                Function::Absolute => with(|a| finite(a.abs())),
                Function::Sign => with(|a| Some(number::sign(a))),
                Function::Round => with(|a| finite(a.round_ties_even())),
                Function::RoundTo(digits) => decimal(each(values, |a: f64| number::round_to(a, *digits))),
                Function::Floor => with(|a| finite(a.floor())),
                Function::Ceiling => with(|a| finite(a.ceil())),
                Function::Truncate => with(|a| finite(a.trunc())),
                Function::SquareRoot => with(number::square_root),
                Function::Exponential => with(number::exponential),
                Function::NaturalLogarithm => with(number::natural_logarithm),
                Function::Logarithm10 => with(number::logarithm_10),
                _ => panic!("{function:?} of numbers"),
            }
        }
        Values::Boolean(_) | Values::Text(_) => panic!("{function:?} of {operand:?}"),
    }
}

fn of_text(function: &Function, operands: &[&Values]) -> (Values, Errors) {
    match (function, operands) {
        (Function::Lower, [Values::Text(a)]) => texts(map(a, |a: &str| text::bounded(a.to_lowercase()))),
        (Function::Upper, [Values::Text(a)]) => texts(map(a, |a: &str| text::bounded(a.to_uppercase()))),
        (Function::Length, [Values::Text(a)]) => integer(map(a, |a: &str| Some(a.chars().count() as i64))),
        (Function::Trim(ends), [Values::Text(a)]) => {
            texts(map(a, |a: &str| Some(text::trim(a, " ", *ends).to_owned())))
        }
        (Function::Trim(ends), [Values::Text(a), Values::Text(b)]) => {
            texts(map_two(a, b, |a: &str, b: &str| Some(text::trim(a, b, *ends).to_owned())))
        }
        (Function::Substring, [Values::Text(a), Values::Integer(from)]) => {
            texts(map_two(a, from, |a: &str, from: i64| Some(text::substring(a, from, None)?.to_owned())))
        }
        (Function::Substring, [Values::Text(a), Values::Integer(from), Values::Integer(length)]) => {
            let cut = |a: &str, from: i64, length: i64| Some(text::substring(a, from, Some(length))?.to_owned());
            texts(map_three(a, from, length, cut))
        }
        (Function::Left, [Values::Text(a), Values::Integer(count)]) => {
            texts(map_two(a, count, |a: &str, count: i64| Some(text::left(a, count).to_owned())))
        }
        (Function::Right, [Values::Text(a), Values::Integer(count)]) => {
            texts(map_two(a, count, |a: &str, count: i64| Some(text::right(a, count).to_owned())))
        }
        (Function::Replace, [Values::Text(a), Values::Text(what), Values::Text(with)]) => {
            texts(map_three(a, what, with, |a: &str, what: &str, with: &str| text::replace(a, what, with)))
        }
        (Function::Join, parts) => joined(parts, Clone::clone),
        (Function::Concat, parts) => joined(parts, |part| part.iter().map(|text| Some(text.unwrap_or(""))).collect()),
        (Function::StartsWith, [Values::Text(a), Values::Text(b)]) => {
            boolean(map_two(a, b, |a: &str, b: &str| Some(a.starts_with(b))))
        }
        (Function::Position, [Values::Text(a), Values::Text(b)]) => {
            integer(map_two(a, b, |a: &str, b: &str| Some(text::position(a, b))))
        }
        (Function::SplitPart, [Values::Text(a), Values::Text(by), Values::Integer(number)]) => {
            let part = |a: &str, by: &str, number: i64| Some(text::split_part(a, by, number)?.to_owned());
            texts(map_three(a, by, number, part))
        }
        (Function::Matches(pattern), [Values::Text(a)]) => boolean(map(a, |a: &str| Some(pattern.matches(a)))),
        _ => panic!("{function:?} of {operands:?}"),
    }
}

/// The parts one after the other, after `prepared` has looked at each.
fn joined(parts: &[&Values], prepared: fn(&StringChunked) -> StringChunked) -> (Values, Errors) {
    let part = |values: &Values| match values {
        Values::Text(texts) => prepared(texts),
        _ => panic!("a text is needed: {values:?}"),
    };
    let Some((first, rest)) = parts.split_first() else { panic!("no operand") };
    rest.iter().fold((Values::Text(part(first)), None), |(sofar, errors), next| {
        let Values::Text(sofar) = sofar else { panic!("it is text") };
        let (values, met) = map_two(&sofar, &part(next), text::join);
        (Values::Text(values), super::kernel::either(errors, met))
    })
}

fn converted(from: Type, to: Type, operand: &Values) -> (Values, Errors) {
    match (from, to, operand) {
        (Type::Timestamp, Type::Text, Values::Integer(a)) => texts(map(a, |a: i64| Some(time::format(Micros(a))))),
        (Type::Integer, Type::Text, Values::Integer(a)) => texts(map(a, |a: i64| Some(a.to_string()))),
        (Type::Number, Type::Text, Values::Number(a)) => texts(map(a, |a: f64| Some(cast::number_to_text(a)))),
        (Type::Boolean, Type::Text, Values::Boolean(a)) => texts(map(a, |a: bool| Some(a.to_string()))),
        (Type::Number, Type::Integer, Values::Number(a)) => integer(each(a, cast::number_to_integer)),
        (Type::Boolean, Type::Integer, Values::Boolean(a)) => integer(map(a, |a: bool| Some(i64::from(a)))),
        (Type::Text, Type::Integer, Values::Text(a)) => integer(map(a, cast::text_to_integer)),
        (Type::Integer, Type::Number, Values::Integer(a)) => decimal(each(a, |a: i64| Some(a as f64))),
        (Type::Text, Type::Number, Values::Text(a)) => decimal(map(a, cast::text_to_number)),
        (Type::Text, Type::Boolean, Values::Text(a)) => boolean(map(a, cast::text_to_boolean)),
        (Type::Text, Type::Timestamp, Values::Text(a)) => {
            integer(map(a, |a: &str| time::parse(a.as_bytes()).map(|time| time.0)))
        }
        _ => panic!("no cast from {from:?} to {to:?} of {operand:?}"),
    }
}

fn of_time(function: &Function, operand: &Values) -> (Values, Errors) {
    let Values::Integer(times) = operand else { panic!("{function:?} of {operand:?}") };
    match function {
        Function::Extract(part @ (Part::Second | Part::Epoch)) => {
            decimal(each(times, |time: i64| Some(moment::extract_number(*part, time))))
        }
        Function::Extract(part) => integer(each(times, |time: i64| Some(moment::extract(*part, time)))),
        Function::DateTruncate(unit) => integer(each(times, |time: i64| Some(moment::truncate(*unit, time)))),
        _ => panic!("{function:?} of times"),
    }
}
