//! From the parser's tree to a typed one. Operands get the type that their operator needs: an integer beside a number becomes one, NULL takes the type of what
//! stands beside it, and a text beside a timestamp is read as one.

use sqlparser::ast::{
    AccessExpr, BinaryOperator, CaseWhen, CastKind, DataType, ExactNumberInfo, Expr as Ast, Ident, InTarget, Subscript,
    TimezoneInfo, TrimWhereField, UnaryOperator, Value,
};
use sqlparser::tokenizer::Location;

use crate::core::expression::{Ends, Expr, Function, Literal, Pattern, PatternKind, Type};
use crate::core::path::Step;
use crate::pipeline::sql::functions::parts;
use crate::pipeline::sql::literals::{literal, number, number_literal, part, text, timestamp};
use crate::pipeline::sql::operand::{Operand, name_of, null, untyped};
use crate::pipeline::sql::{NESTING_MAX, Scope, SqlFault, place};

/// What is shown of an operand in a message.
const SHOWN_MAX: usize = 40;

pub(super) struct Typing<'s, 'a> {
    pub scope: &'s mut Scope<'a>,
    depth: usize,
}

impl<'s, 'a> Typing<'s, 'a> {
    pub(super) fn new(scope: &'s mut Scope<'a>) -> Self {
        Self { scope, depth: 0 }
    }

    pub(super) fn expression(&mut self, ast: &Ast, at: Location) -> Result<Expr, SqlFault> {
        let operand = self.operand(ast, at)?;
        operand.expr.ok_or_else(|| untyped(operand.place))
    }

    pub(super) fn condition(&mut self, ast: &Ast) -> Result<Expr, SqlFault> {
        let operand = self.operand(ast, super::START)?;
        match operand.of_type() {
            Some(Type::Boolean) | None => operand.require("a condition", Type::Boolean),
            Some(other) => Err(SqlFault::at(
                operand.place,
                format!("a condition is a boolean, but {} is {}", operand.shown, other.describe()),
            )),
        }
    }

    pub(super) fn operand(&mut self, ast: &Ast, at: Location) -> Result<Operand, SqlFault> {
        let place = place(ast, at);
        if self.depth >= NESTING_MAX {
            return Err(SqlFault::at(place, "the expression nests too deeply"));
        }
        self.depth += 1;
        let read = self.read(ast, place);
        self.depth -= 1;
        Ok(Operand { expr: read?, place, shown: shown(ast) })
    }

    fn operands<'t>(
        &mut self,
        asts: impl IntoIterator<Item = &'t Ast>,
        at: Location,
    ) -> Result<Vec<Operand>, SqlFault> {
        asts.into_iter().map(|ast| self.operand(ast, at)).collect()
    }

    /// None: NULL.
    fn read(&mut self, ast: &Ast, at: Location) -> Result<Option<Expr>, SqlFault> {
        match ast {
            Ast::Nested(inner) => return Ok(self.operand(inner, at)?.expr),
            Ast::Value(value) => return literal(&value.value, at),
            _ => {}
        }
        if let Some(call) = parts(ast) {
            let (name, at, arguments) = call?;
            return self.call(&name, at, &arguments).map(Some);
        }
        let expr = match ast {
            Ast::Identifier(name) => self.field(&[step(name)], at).map_err(|fault| meant_as_text(name, fault))?,
            Ast::CompoundIdentifier(names) => {
                let path: Vec<Step> = names.iter().map(step).collect();
                self.field(&path, at)?
            }
            Ast::CompoundFieldAccess { root, access_chain } => {
                let path = steps(root, access_chain, at)?;
                self.field(&path, at)?
            }
            Ast::UnaryOp { op, expr } => self.unary(*op, expr, at)?,
            Ast::BinaryOp { left, op, right } => self.binary(left, op, right, ast, at)?,
            Ast::IsNull(of) => self.null_test(Function::IsNull, of, at)?,
            Ast::IsNotNull(of) => self.null_test(Function::IsNotNull, of, at)?,
            Ast::IsTrue(of) => self.truth(Function::IsTrue, "IS TRUE", of, at)?,
            Ast::IsNotTrue(of) => self.truth(Function::IsNotTrue, "IS NOT TRUE", of, at)?,
            Ast::IsFalse(of) => self.truth(Function::IsFalse, "IS FALSE", of, at)?,
            Ast::IsNotFalse(of) => self.truth(Function::IsNotFalse, "IS NOT FALSE", of, at)?,
            Ast::IsUnknown(of) => self.truth(Function::IsNull, "IS UNKNOWN", of, at)?,
            Ast::IsNotUnknown(of) => self.truth(Function::IsNotNull, "IS NOT UNKNOWN", of, at)?,
            Ast::IsDistinctFrom(a, b) => self.alike(Function::Distinct, "IS DISTINCT FROM", [&**a, b], at)?,
            Ast::IsNotDistinctFrom(a, b) => self.alike(Function::NotDistinct, "IS NOT DISTINCT FROM", [&**a, b], at)?,
            Ast::Between { expr, negated, low, high } => {
                negate(*negated, self.alike(Function::Between, "BETWEEN", [&**expr, low, high], at)?)
            }
            Ast::In { expr, target: InTarget::List(list), negated, .. } if !list.is_empty() => {
                let parts = std::iter::once(&**expr).chain(list);
                negate(*negated, self.alike(Function::In, "IN", parts, at)?)
            }
            Ast::In { .. } => return Err(SqlFault::at(at, "IN takes a list of expressions in parentheses")),
            Ast::Like { negated, any: false, expr, pattern, escape_char: None } => {
                negate(*negated, self.matches(PatternKind::Like, expr, pattern, "LIKE", at)?)
            }
            Ast::ILike { negated, any: false, expr, pattern, escape_char: None } => {
                negate(*negated, self.matches(PatternKind::CaselessLike, expr, pattern, "ILIKE", at)?)
            }
            Ast::Like { .. } | Ast::ILike { .. } => {
                return Err(SqlFault::at(at, r"LIKE takes one pattern, in which \ takes the next character literally"));
            }
            Ast::Case { operand, conditions, else_result, .. } => {
                return self.case(operand.as_deref(), conditions, else_result.as_deref(), at).map(Some);
            }
            Ast::Cast { kind: CastKind::Cast | CastKind::DoubleColon, expr, data_type, format: None } => {
                self.cast(expr, data_type, at)?
            }
            Ast::TypedString(typed) => match (&typed.data_type, &typed.value.value) {
                (DataType::Timestamp(None, _), Value::SingleQuotedString(text)) => timestamp(text, at)?,
                _ => return Err(SqlFault::at(at, "only TIMESTAMP '…' is allowed before a text")),
            },
            other => self.with_own_syntax(other, at)?,
        };
        Ok(Some(expr))
    }

    /// Functions whose operands are not merely a list; and what is refused.
    fn with_own_syntax(&mut self, ast: &Ast, at: Location) -> Result<Expr, SqlFault> {
        Ok(match ast {
            Ast::Extract { field, expr, .. } => {
                let part = part(field, at)?;
                let time = self.operand(expr, at)?.require("EXTRACT", Type::Timestamp)?;
                Expr::Call(Function::Extract(part), vec![time])
            }
            Ast::Position { expr, r#in } => {
                let (what, text) = (self.operand(expr, at)?, self.operand(r#in, at)?);
                let operands = vec![text.require("POSITION", Type::Text)?, what.require("POSITION", Type::Text)?];
                Expr::Call(Function::Position, operands)
            }
            Ast::Substring { expr, substring_from, substring_for, .. } => {
                let mut operands = vec![self.operand(expr, at)?.require("SUBSTRING", Type::Text)?];
                match substring_from {
                    Some(from) => operands.push(self.operand(from, at)?.require("SUBSTRING", Type::Integer)?),
                    None => operands.push(Expr::Literal(Literal::Integer(1))),
                }
                if let Some(length) = substring_for {
                    operands.push(self.operand(length, at)?.require("SUBSTRING", Type::Integer)?);
                }
                Expr::Call(Function::Substring, operands)
            }
            Ast::Trim { trim_where, trim_what, expr, trim_characters } => {
                let ends = match trim_where {
                    None | Some(TrimWhereField::Both) => Ends::Both,
                    Some(TrimWhereField::Leading) => Ends::Leading,
                    Some(TrimWhereField::Trailing) => Ends::Trailing,
                };
                let mut operands = vec![self.operand(expr, at)?.require("TRIM", Type::Text)?];
                for what in trim_what.as_deref().into_iter().chain(trim_characters.iter().flatten()) {
                    operands.push(self.operand(what, at)?.require("TRIM", Type::Text)?);
                }
                if operands.len() > 2 {
                    return Err(SqlFault::at(at, "TRIM takes a text and the characters to take off"));
                }
                Expr::Call(Function::Trim(ends), operands)
            }
            Ast::Subquery(_) | Ast::Exists { .. } => {
                return Err(SqlFault::at(at, "queries are not allowed: an expression looks at one event's fields"));
            }
            Ast::Wildcard(_) | Ast::QualifiedWildcard(..) => {
                return Err(SqlFault::at(at, "`*` is not allowed: an expression names its fields one by one"));
            }
            Ast::Tuple(_) => return Err(SqlFault::at(at, "one expression is needed in parentheses, not several")),
            _ => {
                let message = format!("{} is not among what docs/expressions.md allows", shown(ast));
                return Err(SqlFault::at(at, message));
            }
        })
    }

    fn field(&mut self, path: &[Step], at: Location) -> Result<Expr, SqlFault> {
        let (column, of) = (self.scope.resolve)(path).map_err(|why| SqlFault::at(at, why))?;
        Ok(Expr::Column(column, of))
    }

    fn unary(&mut self, op: UnaryOperator, of: &Ast, at: Location) -> Result<Expr, SqlFault> {
        match op {
            UnaryOperator::Not => {
                let operand = self.operand(of, at)?.require("NOT", Type::Boolean)?;
                Ok(Expr::Call(Function::Not, vec![operand]))
            }
            UnaryOperator::Minus => {
                // The least integer has no positive counterpart: sign and digits are read as one.
                if let Ast::Value(value) = of
                    && let Value::Number(digits, false) = &value.value
                {
                    return number_literal(&format!("-{digits}"), at);
                }
                let operand = self.operand(of, at)?;
                let (_, operands) = Operand::numeric("`-`", vec![operand])?;
                Ok(Expr::Call(Function::Negate, operands))
            }
            UnaryOperator::Plus => {
                let operand = self.operand(of, at)?;
                let (_, mut operands) = Operand::numeric("`+`", vec![operand])?;
                operands.pop().ok_or_else(|| untyped(at))
            }
            other => Err(SqlFault::at(at, format!("there is no operator `{other}`"))),
        }
    }

    fn binary(
        &mut self,
        left: &Ast,
        op: &BinaryOperator,
        right: &Ast,
        whole: &Ast,
        at: Location,
    ) -> Result<Expr, SqlFault> {
        let name = format!("`{op}`");
        let comparison = match op {
            BinaryOperator::And | BinaryOperator::Or => {
                let function = if *op == BinaryOperator::And { Function::And } else { Function::Or };
                let operands = self.operands(chain(whole, op), at)?;
                let operands = operands.into_iter().map(|operand| operand.require(&op.to_string(), Type::Boolean));
                return Ok(Expr::Call(function, operands.collect::<Result<_, _>>()?));
            }
            BinaryOperator::StringConcat => {
                let operands = self.operands(chain(whole, op), at)?;
                let operands = operands.into_iter().map(Operand::into_text);
                return Ok(Expr::Call(Function::Join, operands.collect::<Result<_, _>>()?));
            }
            BinaryOperator::Plus
            | BinaryOperator::Minus
            | BinaryOperator::Multiply
            | BinaryOperator::Divide
            | BinaryOperator::Modulo => return self.arithmetic(left, op, right, at),
            BinaryOperator::Eq => Function::Equal,
            BinaryOperator::NotEq => Function::NotEqual,
            BinaryOperator::Lt => Function::Less,
            BinaryOperator::LtEq => Function::LessOrEqual,
            BinaryOperator::Gt => Function::Greater,
            BinaryOperator::GtEq => Function::GreaterOrEqual,
            other => return Err(SqlFault::at(at, format!("there is no operator `{other}`"))),
        };
        if [left, right].into_iter().any(is_comparison) {
            return Err(SqlFault::at(at, format!("{name} cannot follow another comparison: use AND, or parentheses")));
        }
        self.alike(comparison, &name, [left, right], at)
    }

    fn arithmetic(&mut self, left: &Ast, op: &BinaryOperator, right: &Ast, at: Location) -> Result<Expr, SqlFault> {
        let name = format!("`{op}`");
        let (left, right) = (self.operand(left, at)?, self.operand(right, at)?);
        let times = [&left, &right].into_iter().filter(|operand| operand.of_type() == Some(Type::Timestamp)).count();
        let function = match op {
            BinaryOperator::Minus if times > 0 && left.of_type() != Some(Type::Text) => {
                let operands = [left, right].map(|operand| operand.require("`-` with a timestamp", Type::Timestamp));
                let [left, right] = operands;
                return Ok(Expr::Call(Function::Elapsed, vec![left?, right?]));
            }
            BinaryOperator::Divide => {
                let operands = vec![left.require(&name, Type::Number)?, right.require(&name, Type::Number)?];
                return Ok(Expr::Call(Function::Divide, operands));
            }
            BinaryOperator::Modulo => {
                let operands = vec![left.require(&name, Type::Integer)?, right.require(&name, Type::Integer)?];
                return Ok(Expr::Call(Function::Modulo, operands));
            }
            BinaryOperator::Plus => Function::Add,
            BinaryOperator::Minus => Function::Subtract,
            _ => Function::Multiply,
        };
        let (_, operands) = Operand::numeric(&name, vec![left, right])?;
        Ok(Expr::Call(function, operands))
    }

    /// A function of operands of one type.
    fn alike<'t>(
        &mut self,
        function: Function,
        name: &str,
        asts: impl IntoIterator<Item = &'t Ast>,
        at: Location,
    ) -> Result<Expr, SqlFault> {
        let operands = self.operands(asts, at)?;
        let (_, operands) = Operand::alike(name, operands, at)?;
        Ok(Expr::Call(function, operands))
    }

    fn null_test(&mut self, function: Function, of: &Ast, at: Location) -> Result<Expr, SqlFault> {
        let operand = self.operand(of, at)?.expr.unwrap_or_else(|| null(Type::Boolean));
        Ok(Expr::Call(function, vec![operand]))
    }

    fn truth(&mut self, function: Function, name: &str, of: &Ast, at: Location) -> Result<Expr, SqlFault> {
        let operand = self.operand(of, at)?.require(name, Type::Boolean)?;
        Ok(Expr::Call(function, vec![operand]))
    }

    pub(super) fn matches(
        &mut self,
        kind: PatternKind,
        of: &Ast,
        pattern: &Ast,
        name: &str,
        at: Location,
    ) -> Result<Expr, SqlFault> {
        let there = place(pattern, at);
        let constant =
            text(pattern).ok_or_else(|| SqlFault::at(there, format!("{name}'s pattern is a text in quotes")))?;
        let compiled = Pattern::new(kind, constant).map_err(|why| SqlFault::at(there, format!("{name}: {why}")))?;
        let operand = self.operand(of, at)?.require(name, Type::Text)?;
        Ok(Expr::Call(Function::Matches(compiled), vec![operand]))
    }

    fn case(
        &mut self,
        operand: Option<&Ast>,
        arms: &[CaseWhen],
        otherwise: Option<&Ast>,
        at: Location,
    ) -> Result<Expr, SqlFault> {
        let conditions = operand.into_iter().chain(arms.iter().map(|arm| &arm.condition));
        let conditions = self.operands(conditions, at)?;
        let conditions: Vec<Expr> = if operand.is_some() {
            Operand::alike("CASE", conditions, at)?.1
        } else {
            let typed = conditions.into_iter().map(|condition| condition.require("WHEN", Type::Boolean));
            typed.collect::<Result<_, _>>()?
        };
        let mut conditions = conditions.into_iter();
        let results = self.operands(arms.iter().map(|arm| &arm.result).chain(otherwise), at)?;
        let (_, results) = Operand::alike("CASE", results, at)?;
        let mut results = results.into_iter();
        let operand = operand.and_then(|_| conditions.next()).map(Box::new);
        let arms = conditions.zip(results.by_ref()).collect();
        Ok(Expr::Case { operand, arms, otherwise: results.next().map(Box::new) })
    }

    fn cast(&mut self, of: &Ast, to: &DataType, at: Location) -> Result<Expr, SqlFault> {
        let to = match to {
            DataType::Text | DataType::Varchar(None) | DataType::CharacterVarying(None) => Type::Text,
            DataType::Int(None) | DataType::Integer(None) | DataType::BigInt(None) | DataType::Int8(None) => {
                Type::Integer
            }
            DataType::Double(ExactNumberInfo::None)
            | DataType::DoublePrecision
            | DataType::Float8
            | DataType::Float(ExactNumberInfo::None) => Type::Number,
            DataType::Boolean | DataType::Bool => Type::Boolean,
            DataType::Timestamp(None, TimezoneInfo::None | TimezoneInfo::Tz | TimezoneInfo::WithTimeZone) => {
                Type::Timestamp
            }
            other => {
                let allowed = "TEXT, INTEGER, BIGINT, DOUBLE, BOOLEAN and TIMESTAMP";
                return Err(SqlFault::at(at, format!("there is no type {other}; there are {allowed}")));
            }
        };
        let operand = self.operand(of, at)?;
        let Some(from) = operand.of_type() else { return Ok(null(to)) };
        let allowed = match (from, to) {
            (from, to) if from == to => return operand.require("CAST", to),
            (_, Type::Text)
            | (Type::Text, _)
            | (Type::Integer, Type::Number)
            | (Type::Number | Type::Boolean, Type::Integer) => true,
            _ => false,
        };
        if !allowed {
            let message = format!("{} is {}: it cannot be cast to {}", operand.shown, from.describe(), name_of(to));
            return Err(SqlFault::at(operand.place, message));
        }
        let operand = operand.require("CAST", from)?;
        Ok(Expr::Call(Function::Cast(from, to), vec![operand]))
    }
}

fn negate(negated: bool, expr: Expr) -> Expr {
    if negated { Expr::Call(Function::Not, vec![expr]) } else { expr }
}

fn is_comparison(ast: &Ast) -> bool {
    use BinaryOperator::{Eq, Gt, GtEq, Lt, LtEq, NotEq};
    matches!(ast, Ast::BinaryOp { op: Eq | NotEq | Lt | LtEq | Gt | GtEq, .. })
}

/// `a AND b AND c` as one list.
fn chain<'t>(mut ast: &'t Ast, wanted: &BinaryOperator) -> Vec<&'t Ast> {
    let mut operands = Vec::new();
    while let Ast::BinaryOp { left, op, right } = ast
        && op == wanted
    {
        operands.push(&**right);
        ast = left;
    }
    operands.push(ast);
    operands.reverse();
    operands
}

fn shown(ast: &Ast) -> String {
    let written = ast.to_string();
    let mut shown: String = written.chars().take(SHOWN_MAX).collect();
    if shown.len() < written.len() {
        shown.push('…');
    }
    format!("`{shown}`")
}

/// Double quotes are for names, whatever other languages do.
fn meant_as_text(name: &Ident, mut fault: SqlFault) -> SqlFault {
    if name.quote_style == Some('"') && !fault.message.is_empty() {
        fault.message += "; a text stands in single quotes: '";
        fault.message += &name.value;
        fault.message.push('\'');
    }
    fault
}

fn step(name: &Ident) -> Step {
    Step::Name(name.value.clone())
}

/// `values[0].name`
fn steps(root: &Ast, chain: &[AccessExpr], at: Location) -> Result<Vec<Step>, SqlFault> {
    let mut path = match root {
        Ast::Identifier(name) => vec![step(name)],
        Ast::CompoundIdentifier(names) => names.iter().map(step).collect(),
        _ => return Err(SqlFault::at(at, "only fields have parts: a name, then .name or [number]")),
    };
    for access in chain {
        path.push(match access {
            AccessExpr::Dot(Ast::Identifier(name)) => step(name),
            AccessExpr::Subscript(Subscript::Index { index }) => {
                let item = number(index).filter(|n| n.fract() == 0.0 && (0.0..=f64::from(u32::MAX)).contains(n));
                let wrong =
                    || SqlFault::at(place(index, at), "an array's item is a whole number, from 0, as it stands");
                Step::Item(item.ok_or_else(wrong)? as u32)
            }
            _ => return Err(SqlFault::at(at, "a field's parts are .name and [number]")),
        });
    }
    Ok(path)
}
