//! Operands and the types that their operator needs.

use sqlparser::tokenizer::Location;

use crate::core::expression::{Expr, Function, Literal, Type};
use crate::pipeline::sql::SqlFault;
use crate::pipeline::sql::literals::timestamp;

/// An operand that was typed.
pub(super) struct Operand {
    /// None: NULL, whose type is what is needed.
    pub expr: Option<Expr>,
    pub place: Location,
    pub shown: String,
}

impl Operand {
    pub(super) fn of_type(&self) -> Option<Type> {
        self.expr.as_ref().map(Expr::of_type)
    }

    /// As a value of this type, which an integer is for a number.
    pub(super) fn require(self, name: &str, wanted: Type) -> Result<Expr, SqlFault> {
        match (self.expr, wanted) {
            (None, _) => Ok(null(wanted)),
            (Some(expr), _) if expr.of_type() == wanted => Ok(expr),
            (Some(expr), Type::Number) if expr.of_type() == Type::Integer => Ok(widened(expr)),
            (Some(Expr::Literal(Literal::Text(text))), Type::Timestamp) => timestamp(&text, self.place),
            (Some(expr), _) => {
                let needed = many(wanted);
                let message = format!("{name} needs {needed}, but {} is {}", self.shown, expr.of_type().describe());
                Err(SqlFault::at(self.place, message))
            }
        }
    }

    /// All as integers, or all as numbers.
    pub(super) fn numeric(name: &str, operands: Vec<Self>) -> Result<(Type, Vec<Expr>), SqlFault> {
        for operand in &operands {
            if let Some(other @ (Type::Text | Type::Boolean | Type::Timestamp)) = operand.of_type() {
                let message = format!("{name} needs numbers, but {} is {}", operand.shown, other.describe());
                return Err(SqlFault::at(operand.place, message));
            }
        }
        let known: Vec<Type> = operands.iter().filter_map(Self::of_type).collect();
        let common =
            if !known.is_empty() && known.iter().all(|of| *of == Type::Integer) { Type::Integer } else { Type::Number };
        let typed = operands.into_iter().map(|operand| operand.require(name, common));
        Ok((common, typed.collect::<Result<_, _>>()?))
    }

    /// All as values of one type.
    pub(super) fn alike(name: &str, operands: Vec<Self>, at: Location) -> Result<(Type, Vec<Expr>), SqlFault> {
        let known: Vec<Type> = operands.iter().filter_map(Self::of_type).collect();
        let Some(&first) = known.first() else {
            return Err(untyped(operands.first().map_or(at, |operand| operand.place)));
        };
        let common = if first == Type::Integer && known.contains(&Type::Number) {
            Type::Number
        } else if first == Type::Text && known.contains(&Type::Timestamp) {
            Type::Timestamp
        } else {
            first
        };
        let first = operands.iter().find(|operand| operand.expr.is_some()).map(|operand| operand.shown.clone());
        let mut typed = Vec::new();
        for operand in operands {
            let (place, shown, of) = (operand.place, operand.shown.clone(), operand.of_type());
            let fault = |_| {
                let (first, of) = (first.as_deref().unwrap_or_default(), of.map_or("null", Type::describe));
                let message = if shown == first {
                    format!("{name} needs values of one type: {shown} is {of}, and not all others are")
                } else {
                    format!("{name} needs values of one type, but {first} is {} and {shown} is {of}", common.describe())
                };
                SqlFault::at(place, message)
            };
            // What is wrong with a timestamp as such is the better message.
            let literal = common == Type::Timestamp && matches!(operand.expr, Some(Expr::Literal(Literal::Text(_))));
            let read = operand.require(name, common);
            typed.push(if literal { read? } else { read.map_err(fault)? });
        }
        Ok((common, typed))
    }

    pub(super) fn into_text(self) -> Result<Expr, SqlFault> {
        match self.of_type() {
            Some(Type::Text) | None => self.require("a text", Type::Text),
            Some(from) => Ok(Expr::Call(Function::Cast(from, Type::Text), self.expr.into_iter().collect())),
        }
    }
}

pub(super) fn untyped(at: Location) -> SqlFault {
    SqlFault::at(at, "NULL has no type here: say CAST(NULL AS TEXT), or another type")
}

fn widened(expr: Expr) -> Expr {
    match expr {
        Expr::Literal(Literal::Integer(integer)) => Expr::Literal(Literal::Number(integer as f64)),
        other => Expr::Call(Function::Cast(Type::Integer, Type::Number), vec![other]),
    }
}

fn many(of: Type) -> &'static str {
    match of {
        Type::Text => "texts",
        Type::Integer => "integers",
        Type::Number => "numbers",
        Type::Boolean => "booleans",
        Type::Timestamp => "timestamps",
    }
}

pub(super) fn name_of(of: Type) -> &'static str {
    match of {
        Type::Text => "TEXT",
        Type::Integer => "INTEGER",
        Type::Number => "DOUBLE",
        Type::Boolean => "BOOLEAN",
        Type::Timestamp => "TIMESTAMP",
    }
}

/// A literal null of a type.
pub(super) fn null(of: Type) -> Expr {
    Expr::Literal(Literal::Null(of))
}
