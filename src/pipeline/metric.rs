//! A window's metrics as they are written, `mean(payload.age)`, and what they may be taken of.

use crate::core::expression::Type;
use crate::core::plan::{ColumnId, Fraction, Metric};
use crate::pipeline::columns::Columns;
use crate::pipeline::plan::of_event;
use crate::pipeline::section::hint;
use crate::pipeline::sql::{self, Call, SqlFault};
use crate::pipeline::yaml::quote;

const ALLOWED: &str = "count(), count_if(CONDITION), sum(X), mean(X), min(X), max(X), stddev(X), first(X), last(X), quantile(X, 0.95), distinct(X)";
const NAMES: [&str; 11] =
    ["count", "count_if", "sum", "mean", "min", "max", "stddev", "first", "last", "quantile", "distinct"];

/// What people know some metrics as elsewhere.
const ELSEWHERE: [(&str, &str); 12] = [
    ("average", "mean(X)"),
    ("total", "sum(X)"),
    ("minimum", "min(X)"),
    ("maximum", "max(X)"),
    ("median", "quantile(X, 0.5)"),
    ("percentile", "quantile(X, 0.95)"),
    ("percentile_cont", "quantile(X, 0.95)"),
    ("approx_quantile", "quantile(X, 0.95)"),
    ("count_distinct", "distinct(X)"),
    ("approx_distinct", "distinct(X)"),
    ("stddev_samp", "stddev(X)"),
    ("countif", "count_if(CONDITION)"),
];

/// What a metric takes.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Takes {
    Condition,
    Numbers,
    Anything,
}

/// Reads a metric.
///
/// # Errors
/// The first thing that is wrong.
pub fn plan(written: &str, columns: &mut Columns) -> Result<Metric, SqlFault> {
    let call = sql::call(written)?;
    let (metric, takes): (fn(ColumnId) -> Metric, Takes) = match call.name.as_str() {
        "count" if call.arguments.is_empty() => return Ok(Metric::Count),
        "count" => {
            return fault(
                "count() takes no argument: it counts every event of the window; count_if(CONDITION) counts some",
            );
        }
        "quantile" => return quantile(&call, columns),
        "count_if" => (Metric::CountIf, Takes::Condition),
        "sum" => (Metric::Sum, Takes::Numbers),
        "mean" | "avg" => (Metric::Mean, Takes::Numbers),
        "min" => (Metric::Min, Takes::Numbers),
        "max" => (Metric::Max, Takes::Numbers),
        "stddev" => (Metric::Stddev, Takes::Numbers),
        "first" => (Metric::First, Takes::Anything),
        "last" => (Metric::Last, Takes::Anything),
        "distinct" => (Metric::Distinct, Takes::Anything),
        other => {
            let known = ELSEWHERE.iter().find(|(name, _)| *name == other);
            let known = known.map(|(_, metric)| format!("; did you mean {metric}?"));
            let hint = known.unwrap_or_else(|| hint(other, NAMES.into_iter()));
            return fault(format!("there is no metric {}; there is {ALLOWED}{hint}", quote(other)));
        }
    };
    if call.arguments.len() != 1 {
        return fault(format!("{}() takes one argument, and here are {}", call.name, call.arguments.len()));
    }
    Ok(metric(argument(&call, takes, columns)?))
}

fn quantile(call: &Call, columns: &mut Columns) -> Result<Metric, SqlFault> {
    let fraction = call.arguments.get(1).and_then(|argument| Fraction::new(argument.number()?));
    match (call.arguments.len(), fraction) {
        (2, Some(fraction)) => Ok(Metric::Quantile(argument(call, Takes::Numbers, columns)?, fraction)),
        _ => fault("quantile() takes what to take it of and a number from 0 to 1, such as quantile(latency, 0.95)"),
    }
}

/// The column of the call's first argument.
fn argument(call: &Call, takes: Takes, columns: &mut Columns) -> Result<ColumnId, SqlFault> {
    let Some(argument) = call.arguments.first() else {
        return fault("it needs something to be taken of");
    };
    let expression = of_event(columns, |scope| argument.expression(scope))?;
    let of_type = expression.of_type();
    let fits = match takes {
        Takes::Condition => of_type == Type::Boolean,
        Takes::Numbers => matches!(of_type, Type::Integer | Type::Number),
        Takes::Anything => of_type != Type::Timestamp,
    };
    if !fits {
        let wanted = match takes {
            Takes::Condition => "a condition",
            Takes::Numbers => "integers or numbers",
            Takes::Anything => "a text, a number or a boolean (CAST a timestamp to text)",
        };
        return Err(argument.fault(format!("{}() takes {wanted}, and this is {}", call.name, of_type.describe())));
    }
    Ok(columns.of(expression))
}

/// What is wrong with the call as a whole.
fn fault<T>(message: impl Into<String>) -> Result<T, SqlFault> {
    Err(SqlFault { line: 1, column: 1, message: message.into() })
}
