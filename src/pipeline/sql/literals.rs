//! Constants as they stand in the text.

use sqlparser::ast::{DateTimeField, Expr as Ast, UnaryOperator, Value};
use sqlparser::tokenizer::Location;

use crate::core::expression::{Expr, Literal, Part};
use crate::core::time;
use crate::pipeline::sql::SqlFault;
use crate::pipeline::yaml::quote;

/// A number as it stands, with or without a sign.
pub(super) fn number(ast: &Ast) -> Option<f64> {
    match ast {
        Ast::Value(value) => match &value.value {
            Value::Number(digits, _) => digits.parse().ok(),
            _ => None,
        },
        Ast::UnaryOp { op: UnaryOperator::Minus, expr } => number(expr).map(|number| -number),
        Ast::Nested(inner) => number(inner),
        _ => None,
    }
}

/// A text as it stands.
pub(super) fn text(ast: &Ast) -> Option<&str> {
    match ast {
        Ast::Value(value) => match &value.value {
            Value::SingleQuotedString(text) => Some(text),
            _ => None,
        },
        _ => None,
    }
}

/// None: NULL.
pub(super) fn literal(value: &Value, at: Location) -> Result<Option<Expr>, SqlFault> {
    let literal = match value {
        Value::Null => return Ok(None),
        Value::Boolean(boolean) => Literal::Boolean(*boolean),
        Value::SingleQuotedString(text) => Literal::Text(text.as_str().into()),
        Value::Number(digits, false) => return number_literal(digits, at).map(Some),
        other => return Err(SqlFault::at(at, format!("{other} is no value here; a text stands in single quotes"))),
    };
    Ok(Some(Expr::Literal(literal)))
}

/// With a point or an exponent it is a number, otherwise an integer.
pub(super) fn number_literal(digits: &str, at: Location) -> Result<Expr, SqlFault> {
    if !digits.contains(['.', 'e', 'E']) {
        let outside = || SqlFault::at(at, format!("{digits} is no integer of 64 bits; {digits}.0 is a number"));
        return digits.parse().map(|integer| Expr::Literal(Literal::Integer(integer))).map_err(|_| outside());
    }
    let number = digits.parse::<f64>().ok().filter(|number| number.is_finite());
    let number = number.ok_or_else(|| SqlFault::at(at, format!("{digits} is no finite double")))?;
    Ok(Expr::Literal(Literal::Number(number + 0.0)))
}

pub(super) fn timestamp(text: &str, at: Location) -> Result<Expr, SqlFault> {
    let time = time::parse(text.as_bytes())
        .ok_or_else(|| SqlFault::at(at, format!("{} is no timestamp; one is '2026-11-22T12:00:00Z'", quote(text))))?;
    Ok(Expr::Literal(Literal::Timestamp(time)))
}

pub(super) fn part(field: &DateTimeField, at: Location) -> Result<Part, SqlFault> {
    let word = field.to_string().to_uppercase();
    Ok(match word.as_str() {
        "YEAR" => Part::Year,
        "MONTH" => Part::Month,
        "DAY" => Part::Day,
        "HOUR" => Part::Hour,
        "MINUTE" => Part::Minute,
        "SECOND" => Part::Second,
        "DOW" => Part::DayOfWeek,
        "DOY" => Part::DayOfYear,
        "EPOCH" => Part::Epoch,
        _ => {
            let allowed = "YEAR, MONTH, DAY, HOUR, MINUTE, SECOND, DOW, DOY or EPOCH";
            return Err(SqlFault::at(at, format!("EXTRACT takes {allowed}, not {word}")));
        }
    })
}
