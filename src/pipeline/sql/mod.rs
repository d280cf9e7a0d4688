//! SQL text to typed expressions: parsed by `sqlparser`, typed here against a scope that knows the fields. `docs/expressions.md` is the reference.

mod words;
mod typing;
mod functions;
mod operand;
mod literals;

use std::fmt;

use sqlparser::ast::{Expr as Ast, Spanned};
use sqlparser::tokenizer::Location;

use crate::core::expression::{Expr, Type};
use crate::core::path::Step;
use crate::core::plan::ColumnId;
use crate::pipeline::sql::typing::Typing;

/// An expression's text; what is longer was not written by a person.
const TEXT_BYTES_MAX: usize = 4_096;
/// Parentheses and operators within each other. A chain of AND, OR or || counts once.
const NESTING_MAX: usize = 64;

/// Finds the column of a field and its type; or says why there is none, for people.
pub type Resolve<'a> = dyn FnMut(&[Step]) -> Result<(ColumnId, Type), String> + 'a;

/// What an expression may name.
pub struct Scope<'a> {
    pub resolve: &'a mut Resolve<'a>,
    /// Whether there is an event whose time `event_time()` is.
    pub event_time: bool,
}

/// What is wrong with a text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SqlFault {
    /// The place within the text, in lines and characters from 1.
    pub line: usize,
    pub column: usize,
    pub message: String,
}

/// `NAME(argument, …)`, the arguments not yet typed.
#[derive(Debug)]
pub struct Call {
    /// In small letters.
    pub name: String,
    /// `count(*)` has none, like `count()`.
    pub arguments: Vec<Argument>,
}

#[derive(Debug)]
pub struct Argument {
    ast: Ast,
    place: Location,
}

/// An expression of any type.
///
/// # Errors
/// The first thing that is wrong with it.
pub fn expression(text: &str, scope: &mut Scope) -> Result<Expr, SqlFault> {
    let ast = words::parse(text)?;
    Typing::new(scope).expression(&ast, START)
}

/// A Boolean expression.
///
/// # Errors
/// The first thing that is wrong with it.
pub fn condition(text: &str, scope: &mut Scope) -> Result<Expr, SqlFault> {
    let ast = words::parse(text)?;
    Typing::new(scope).condition(&ast)
}

/// A call, such as `quantile(payload.age, 0.99)`.
///
/// # Errors
/// If the text is anything else.
pub fn call(text: &str) -> Result<Call, SqlFault> {
    let ast = words::parse(text)?;
    let (name, _, arguments) = functions::parts(&ast)
        .ok_or_else(|| SqlFault::at(place(&ast, START), "a function is needed here, such as sum(amount)"))??;
    let star = matches!(arguments.as_slice(), [Ast::Wildcard(_)]) && name == "COUNT";
    if let Some(star) = arguments.iter().find(|argument| matches!(argument, Ast::Wildcard(_))).filter(|_| !star) {
        return Err(SqlFault::at(place(star, START), "`*` is allowed in count(*) alone"));
    }
    let argument = |ast: Ast| Argument { place: place(&ast, START), ast };
    let arguments = if star { Vec::new() } else { arguments.into_iter().map(argument).collect() };
    Ok(Call { name: name.to_lowercase(), arguments })
}

impl Argument {
    /// If it is a number as it stands.
    #[must_use]
    pub fn number(&self) -> Option<f64> {
        literals::number(&self.ast)
    }

    /// # Errors
    /// The first thing that is wrong with it.
    pub fn expression(&self, scope: &mut Scope) -> Result<Expr, SqlFault> {
        Typing::new(scope).expression(&self.ast, self.place)
    }

    /// Something that is wrong with this argument, at its place.
    #[must_use]
    pub fn fault(&self, message: impl Into<String>) -> SqlFault {
        SqlFault::at(self.place, message)
    }
}

const START: Location = Location { line: 1, column: 1 };

/// Where it begins. The parser does not know it of everything; then it is where the whole begins.
fn place(ast: &Ast, whole: Location) -> Location {
    let start = ast.span().start;
    if start.line == 0 { whole } else { start }
}

impl SqlFault {
    fn at(place: Location, message: impl Into<String>) -> Self {
        let number = |n: u64| usize::try_from(n).unwrap_or(usize::MAX);
        Self { line: number(place.line), column: number(place.column), message: message.into() }
    }
}

impl fmt::Display for SqlFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: {}", self.line, self.column, self.message)
    }
}

impl fmt::Debug for Scope<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Scope").field("event_time", &self.event_time).finish_non_exhaustive()
    }
}
