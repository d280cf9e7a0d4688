//! Functions by name: how many operands of which types each takes.

use sqlparser::ast::{Expr as Ast, FunctionArg, FunctionArgExpr, FunctionArguments, Ident, ObjectNamePart};
use sqlparser::tokenizer::Location;

use crate::core::expression::{Ends, Expr, Function, PatternKind, Type, Unit};
use crate::pipeline::section::hint;
use crate::pipeline::sql::literals::{number, text};
use crate::pipeline::sql::operand::Operand;
use crate::pipeline::sql::typing::Typing;
use crate::pipeline::sql::{SqlFault, place};

/// What is suggested for a name that is none; those with a syntax of their own too.
const NAMES: [&str; 47] = [
    "ABS",
    "BTRIM",
    "CAST",
    "CEIL",
    "CEILING",
    "CHAR_LENGTH",
    "COALESCE",
    "CONCAT",
    "DATE_TRUNC",
    "EVENT_TIME",
    "EXP",
    "EXTRACT",
    "FLOOR",
    "GREATEST",
    "LEAST",
    "LEFT",
    "LENGTH",
    "LN",
    "LOG10",
    "LOWER",
    "LTRIM",
    "MOD",
    "NULLIF",
    "POSITION",
    "POW",
    "POWER",
    "REGEXP_LIKE",
    "REPLACE",
    "RIGHT",
    "ROUND",
    "RTRIM",
    "SIGN",
    "SPLIT_PART",
    "SQRT",
    "STARTS_WITH",
    "STRPOS",
    "SUBSTR",
    "SUBSTRING",
    "TRIM",
    "TRUNC",
    "UPPER",
    "CASE",
    "BETWEEN",
    "LIKE",
    "ILIKE",
    "IN",
    "NOT",
];
/// Functions of many events.
const AGGREGATES: [&str; 18] = [
    "COUNT",
    "SUM",
    "AVG",
    "MEAN",
    "MIN",
    "MAX",
    "FIRST",
    "LAST",
    "STDDEV",
    "VARIANCE",
    "MEDIAN",
    "QUANTILE",
    "PERCENTILE",
    "DISTINCT",
    "TOP",
    "ARRAY_AGG",
    "STRING_AGG",
    "ROW_NUMBER",
];
/// A double has no more digits than this that mean anything.
const DIGITS_MAX: u8 = 17;

/// Name in capitals, its place, and arguments.
pub(super) type Parts = (String, Location, Vec<Ast>);

/// The parts of a call; None if it is none.
pub(super) fn parts(ast: &Ast) -> Option<Result<Parts, SqlFault>> {
    let Ast::Function(function) = ast else { return None };
    let whole = place(ast, super::START);
    let [ObjectNamePart::Identifier(Ident { value, quote_style: None, span })] = function.name.0.as_slice() else {
        return Some(Err(SqlFault::at(whole, "a function's name is one word, without quotes")));
    };
    let FunctionArguments::List(list) = &function.args else {
        return Some(Err(SqlFault::at(whole, "a function's operands stand in parentheses")));
    };
    if list.duplicate_treatment.is_some() {
        return Some(Err(SqlFault::at(span.start, "DISTINCT and ALL are not allowed in a function")));
    }
    if !list.clauses.is_empty() || function.null_treatment.is_some() || function.over.is_some() {
        return Some(Err(SqlFault::at(span.start, "only operands are allowed in a function")));
    }
    let mut arguments = Vec::new();
    for argument in &list.args {
        match argument {
            FunctionArg::Unnamed(FunctionArgExpr::Expr(ast)) => arguments.push(ast.clone()),
            FunctionArg::Unnamed(FunctionArgExpr::Wildcard) => {
                let token = sqlparser::tokenizer::TokenWithSpan::wrap(sqlparser::tokenizer::Token::Mul);
                arguments.push(Ast::Wildcard(token.into()));
            }
            _ => return Some(Err(SqlFault::at(span.start, "a function's operands have no names"))),
        }
    }
    Some(Ok((value.to_uppercase(), span.start, arguments)))
}

impl Typing<'_, '_> {
    /// A call by name.
    pub(super) fn call(&mut self, name: &str, at: Location, arguments: &[Ast]) -> Result<Expr, SqlFault> {
        if let [Ast::Wildcard(_)] = arguments {
            return Err(SqlFault::at(at, "`*` is not allowed: an expression names its fields one by one"));
        }
        if let Some(expr) = self.constant_call(name, at, arguments)? {
            return Ok(expr);
        }
        let (shape, function) = shape(name, arguments.len()).ok_or_else(|| unknown(name, at))?;
        let operands: Vec<Operand> =
            arguments.iter().map(|argument| self.operand(argument, at)).collect::<Result<_, _>>()?;
        let count = |allowed: &str| SqlFault::at(at, format!("{name} takes {allowed}, not {}", operands.len()));
        match shape {
            Shape::Fixed(types) if types.len() != operands.len() => Err(count(&plural(types.len()))),
            Shape::Fixed(types) => {
                let typed = operands.into_iter().zip(types).map(|(operand, of)| operand.require(name, *of));
                Ok(Expr::Call(function, typed.collect::<Result<_, _>>()?))
            }
            Shape::Numeric if operands.len() != 1 => Err(count(&plural(1))),
            Shape::Numeric => {
                let (_, operands) = Operand::numeric(name, operands)?;
                Ok(Expr::Call(function, operands))
            }
            Shape::Alike(least) if operands.len() < least => Err(count(&format!("{least} operands or more"))),
            Shape::Alike(_) if name == "NULLIF" && operands.len() != 2 => Err(count(&plural(2))),
            Shape::Alike(_) => {
                let (_, operands) = Operand::alike(name, operands, at)?;
                Ok(Expr::Call(function, operands))
            }
            Shape::Texts if operands.is_empty() => Err(count("one operand or more")),
            Shape::Texts => {
                let texts = operands.into_iter().map(Operand::into_text);
                Ok(Expr::Call(function, texts.collect::<Result<_, _>>()?))
            }
        }
    }

    /// Calls with an operand that must be a constant, or with none.
    fn constant_call(&mut self, name: &str, at: Location, arguments: &[Ast]) -> Result<Option<Expr>, SqlFault> {
        match (name, arguments) {
            ("EVENT_TIME", []) if self.scope.event_time => Ok(Some(Expr::EventTime)),
            ("EVENT_TIME", []) => Err(SqlFault::at(at, "there is no event here whose time event_time() could be")),
            ("EVENT_TIME", _) => Err(SqlFault::at(at, "EVENT_TIME takes no operand")),
            ("ROUND", [value, digits]) => {
                let wanted = format!("ROUND's digits are a whole number from 0 to {DIGITS_MAX} as it stands");
                let fault = || SqlFault::at(place(digits, at), wanted);
                let digits = number(digits).filter(|d| (0.0..=f64::from(DIGITS_MAX)).contains(d));
                let digits = digits.filter(|d| d.fract() == 0.0).ok_or_else(fault)? as u8;
                let value = self.operand(value, at)?;
                let (of, mut values) = Operand::numeric(name, vec![value])?;
                // An integer has no digits after the point.
                Ok(if of == Type::Integer { values.pop() } else { Some(Expr::Call(Function::RoundTo(digits), values)) })
            }
            ("REGEXP_LIKE", [value, pattern]) => self.matches(PatternKind::Regex, value, pattern, name, at).map(Some),
            ("REGEXP_LIKE", _) => Err(SqlFault::at(at, "REGEXP_LIKE takes 2 operands: a text and a pattern")),
            ("DATE_TRUNC", [unit, time]) => {
                let word = text(unit).map(str::to_lowercase);
                let unit = word.as_deref().and_then(unit_named).ok_or_else(|| {
                    let allowed = "'second', 'minute', 'hour', 'day', 'week', 'month', 'quarter' or 'year'";
                    SqlFault::at(place(unit, at), format!("DATE_TRUNC's first operand is {allowed}"))
                })?;
                let time = self.operand(time, at)?.require(name, Type::Timestamp)?;
                Ok(Some(Expr::Call(Function::DateTruncate(unit), vec![time])))
            }
            ("DATE_TRUNC", _) => Err(SqlFault::at(at, "DATE_TRUNC takes 2 operands: a unit and a timestamp")),
            _ => Ok(None),
        }
    }
}

fn unit_named(word: &str) -> Option<Unit> {
    Some(match word {
        "second" => Unit::Second,
        "minute" => Unit::Minute,
        "hour" => Unit::Hour,
        "day" => Unit::Day,
        "week" => Unit::Week,
        "month" => Unit::Month,
        "quarter" => Unit::Quarter,
        "year" => Unit::Year,
        _ => return None,
    })
}

fn plural(count: usize) -> String {
    if count == 1 { "one operand".to_owned() } else { format!("{count} operands") }
}

/// What operands a function takes.
enum Shape {
    Fixed(&'static [Type]),
    /// One Integer or Number.
    Numeric,
    /// So many or more of one type.
    Alike(usize),
    /// One or more, of any type, as texts.
    Texts,
}

fn shape(name: &str, operands: usize) -> Option<(Shape, Function)> {
    use Type::{Integer, Number, Text};
    Some(match name {
        "COALESCE" => (Shape::Alike(1), Function::Coalesce),
        "NULLIF" => (Shape::Alike(2), Function::NullIf),
        "GREATEST" => (Shape::Alike(1), Function::Greatest),
        "LEAST" => (Shape::Alike(1), Function::Least),
        "CONCAT" => (Shape::Texts, Function::Concat),
        "ABS" => (Shape::Numeric, Function::Absolute),
        "SIGN" => (Shape::Numeric, Function::Sign),
        "ROUND" => (Shape::Numeric, Function::Round),
        "FLOOR" => (Shape::Numeric, Function::Floor),
        "CEIL" | "CEILING" => (Shape::Numeric, Function::Ceiling),
        "TRUNC" => (Shape::Numeric, Function::Truncate),
        "SQRT" => (Shape::Fixed(&[Number]), Function::SquareRoot),
        "EXP" => (Shape::Fixed(&[Number]), Function::Exponential),
        "LN" => (Shape::Fixed(&[Number]), Function::NaturalLogarithm),
        "LOG10" => (Shape::Fixed(&[Number]), Function::Logarithm10),
        "POWER" | "POW" => (Shape::Fixed(&[Number, Number]), Function::Power),
        "MOD" => (Shape::Fixed(&[Integer, Integer]), Function::Modulo),
        "LOWER" => (Shape::Fixed(&[Text]), Function::Lower),
        "UPPER" => (Shape::Fixed(&[Text]), Function::Upper),
        "LENGTH" | "CHAR_LENGTH" => (Shape::Fixed(&[Text]), Function::Length),
        "TRIM" | "BTRIM" if operands == 2 => (Shape::Fixed(&[Text, Text]), Function::Trim(Ends::Both)),
        "LTRIM" if operands == 2 => (Shape::Fixed(&[Text, Text]), Function::Trim(Ends::Leading)),
        "RTRIM" if operands == 2 => (Shape::Fixed(&[Text, Text]), Function::Trim(Ends::Trailing)),
        "TRIM" | "BTRIM" => (Shape::Fixed(&[Text]), Function::Trim(Ends::Both)),
        "LTRIM" => (Shape::Fixed(&[Text]), Function::Trim(Ends::Leading)),
        "RTRIM" => (Shape::Fixed(&[Text]), Function::Trim(Ends::Trailing)),
        "SUBSTRING" | "SUBSTR" if operands == 3 => (Shape::Fixed(&[Text, Integer, Integer]), Function::Substring),
        "SUBSTRING" | "SUBSTR" => (Shape::Fixed(&[Text, Integer]), Function::Substring),
        "LEFT" => (Shape::Fixed(&[Text, Integer]), Function::Left),
        "RIGHT" => (Shape::Fixed(&[Text, Integer]), Function::Right),
        "REPLACE" => (Shape::Fixed(&[Text, Text, Text]), Function::Replace),
        "STARTS_WITH" => (Shape::Fixed(&[Text, Text]), Function::StartsWith),
        "STRPOS" => (Shape::Fixed(&[Text, Text]), Function::Position),
        "SPLIT_PART" => (Shape::Fixed(&[Text, Text, Integer]), Function::SplitPart),
        _ => return None,
    })
}

fn unknown(name: &str, at: Location) -> SqlFault {
    if AGGREGATES.contains(&name) {
        let message =
            format!("{name} is a function of many events: it belongs under `metrics`, not into an expression");
        return SqlFault::at(at, message);
    }
    if name == "POSITION" {
        return SqlFault::at(at, "POSITION is written POSITION(what IN text); STRPOS(text, what) is the same");
    }
    let near = hint(name, NAMES.into_iter());
    SqlFault::at(at, format!("there is no function {}{near}", crate::pipeline::yaml::quote(name)))
}
