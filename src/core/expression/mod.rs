//! Typed expressions over an event's fields, evaluated over whole columns. `docs/expressions.md` says what each operator and function means.
//! Knows no SQL text: `pipeline::sql` reads it and makes these trees, in which every operand has the type that its function takes.

mod evaluate;
mod lane;
mod call;
mod kernel;
mod number;
mod text;
mod cast;
mod moment;
mod pattern;

use std::sync::Arc;

pub use crate::core::expression::evaluate::{Evaluated, Inputs};
pub use crate::core::expression::lane::{as_group, truths};
pub use crate::core::expression::moment::{Part, Unit};
pub use crate::core::expression::pattern::{Pattern, PatternKind};
use crate::core::plan::ColumnId;
use crate::core::units::Micros;

/// A text that an expression makes is at most so long; a longer one is null and an error. A field may be longer. Without a bound `REPLACE` could turn an
/// event of one megabyte into gigabytes, and nobody groups by a longer text.
pub const TEXT_BYTES_MAX: usize = 1 << 16;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Type {
    Text,
    /// 64 bits, signed.
    Integer,
    /// A finite double; never −0.
    Number,
    Boolean,
    /// Microseconds, UTC.
    Timestamp,
}

/// An expression. Operands have the types that `Function` states; `pipeline::sql` sees to it.
#[derive(Clone, Debug, PartialEq)]
pub enum Expr {
    /// A field; its column is of the variant that `Evaluated::column` has for this type.
    Column(ColumnId, Type),
    /// The event's time, a Timestamp.
    EventTime,
    Literal(Literal),
    Call(Function, Vec<Expr>),
    /// The first arm whose condition is true (with an operand: whose value equals the operand's) gives the result, otherwise the last part does, and
    /// without one it is null. There is at least one arm; all results are of one type.
    Case {
        operand: Option<Box<Expr>>,
        /// (condition, or value; result)
        arms: Vec<(Expr, Expr)>,
        otherwise: Option<Box<Expr>>,
    },
}

#[derive(Clone, Debug, PartialEq)]
pub enum Literal {
    Null(Type),
    Text(Arc<str>),
    Integer(i64),
    /// Finite, not −0.
    Number(f64),
    Boolean(bool),
    Timestamp(Micros),
}

/// What a call does. Unless it says otherwise, its value is null if an operand is, and all operands are needed.
#[derive(Clone, Debug, PartialEq)]
pub enum Function {
    /// Of an Integer or a Number, as the others where nothing is said: the result's type is the operands', which is one.
    Negate,
    Add,
    Subtract,
    Multiply,
    /// Of Numbers.
    Divide,
    /// Of Integers; the sign is the dividend's.
    Modulo,
    /// Of Timestamps: seconds, a Number.
    Elapsed,

    /// Comparisons: of two operands of one type, any; Boolean.
    Equal,
    NotEqual,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
    /// `IS DISTINCT FROM`: never null.
    Distinct,
    NotDistinct,
    /// Of any type; never null.
    IsNull,
    IsNotNull,
    /// Of a Boolean; never null.
    IsTrue,
    IsNotTrue,
    IsFalse,
    IsNotFalse,

    Not,
    /// Of one or more Booleans, from left to right; what follows a false one is not needed.
    And,
    /// Of one or more Booleans, from left to right; what follows a true one is not needed.
    Or,
    /// (value, low, high): `high` is not needed where the value is less than `low`.
    Between,
    /// (value, candidate, …): as `value = candidate OR …`.
    In,

    /// The first operand that is not null; what follows it is not needed.
    Coalesce,
    /// The first operand, or null where it equals the second.
    NullIf,
    /// The largest of the operands that are not null.
    Greatest,
    Least,

    Absolute,
    /// −1, 0 or 1.
    Sign,
    /// Ties go to the even neighbour.
    Round,
    /// Of a Number: the nearest with so many digits after the point, from the exact value; ties go to the even neighbour.
    RoundTo(u8),
    Floor,
    Ceiling,
    Truncate,
    /// Of Numbers, as the next four.
    SquareRoot,
    Exponential,
    NaturalLogarithm,
    Logarithm10,
    Power,

    Lower,
    Upper,
    /// In characters; an Integer.
    Length,
    /// (text) or (text, characters): takes blanks, or any of the characters, off these ends.
    Trim(Ends),
    /// (text, from) or (text, from, length), in characters from 1.
    Substring,
    Left,
    Right,
    /// (text, what, with)
    Replace,
    /// `||` of two or more Texts.
    Join,
    /// Of Texts; nulls are left out. Never null.
    Concat,
    /// (text, beginning): Boolean.
    StartsWith,
    /// (text, what): the first place, from 1, or 0; an Integer.
    Position,
    /// (text, delimiter, number)
    SplitPart,
    /// `LIKE`, `ILIKE` or `REGEXP_LIKE` of a Text: Boolean.
    Matches(Pattern),

    /// From this type to that one.
    Cast(Type, Type),
    /// Of a Timestamp: an Integer, or a Number for SECOND and EPOCH.
    Extract(Part),
    /// Of a Timestamp.
    DateTruncate(Unit),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ends {
    Both,
    Leading,
    Trailing,
}

impl Type {
    /// As documents call it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Text => "text",
            Self::Integer => "integer",
            Self::Number => "number",
            Self::Boolean => "boolean",
            Self::Timestamp => "timestamp",
        }
    }

    /// For messages.
    #[must_use]
    pub fn describe(self) -> &'static str {
        match self {
            Self::Text => "text",
            Self::Integer => "an integer",
            Self::Number => "a number",
            Self::Boolean => "a boolean",
            Self::Timestamp => "a timestamp",
        }
    }
}

impl Literal {
    #[must_use]
    pub fn of_type(&self) -> Type {
        match self {
            Self::Null(of) => *of,
            Self::Text(_) => Type::Text,
            Self::Integer(_) => Type::Integer,
            Self::Number(_) => Type::Number,
            Self::Boolean(_) => Type::Boolean,
            Self::Timestamp(_) => Type::Timestamp,
        }
    }
}

impl Expr {
    #[must_use]
    pub fn of_type(&self) -> Type {
        match self {
            Self::Column(_, of) => *of,
            Self::EventTime => Type::Timestamp,
            Self::Literal(literal) => literal.of_type(),
            Self::Call(function, operands) => {
                let Some(first) = operands.first() else { panic!("{function:?} has no operand") };
                function.of_type(first)
            }
            Self::Case { arms, .. } => {
                let Some((_, result)) = arms.first() else { panic!("a CASE without an arm") };
                result.of_type()
            }
        }
    }

    /// The fields it looks at, each once, in order of their columns.
    #[must_use]
    pub fn columns(&self) -> Vec<ColumnId> {
        let mut found = std::collections::BTreeSet::new();
        self.visit(&mut |expr| {
            if let Self::Column(column, _) = expr {
                found.insert(column.0);
            }
        });
        found.into_iter().map(ColumnId).collect()
    }

    fn visit(&self, see: &mut impl FnMut(&Self)) {
        see(self);
        match self {
            Self::Column(..) | Self::EventTime | Self::Literal(_) => {}
            Self::Call(_, operands) => operands.iter().for_each(|operand| operand.visit(see)),
            Self::Case { operand, arms, otherwise } => {
                operand.iter().chain(otherwise).for_each(|part| part.visit(see));
                for (condition, result) in arms {
                    condition.visit(see);
                    result.visit(see);
                }
            }
        }
    }
}

impl Function {
    /// The type of a call's value, by its first operand's.
    fn of_type(&self, first: &Expr) -> Type {
        match self {
            Self::Negate
            | Self::Add
            | Self::Subtract
            | Self::Multiply
            | Self::Modulo
            | Self::Coalesce
            | Self::NullIf
            | Self::Greatest
            | Self::Least
            | Self::Absolute
            | Self::Sign
            | Self::Round
            | Self::Floor
            | Self::Ceiling
            | Self::Truncate => first.of_type(),
            Self::Divide
            | Self::Elapsed
            | Self::RoundTo(_)
            | Self::SquareRoot
            | Self::Exponential
            | Self::NaturalLogarithm
            | Self::Logarithm10
            | Self::Power
            | Self::Extract(Part::Second | Part::Epoch) => Type::Number,
            Self::Equal
            | Self::NotEqual
            | Self::Less
            | Self::LessOrEqual
            | Self::Greater
            | Self::GreaterOrEqual
            | Self::Distinct
            | Self::NotDistinct
            | Self::IsNull
            | Self::IsNotNull
            | Self::IsTrue
            | Self::IsNotTrue
            | Self::IsFalse
            | Self::IsNotFalse
            | Self::Not
            | Self::And
            | Self::Or
            | Self::Between
            | Self::In
            | Self::StartsWith
            | Self::Matches(_) => Type::Boolean,
            Self::Length | Self::Position | Self::Extract(_) => Type::Integer,
            Self::Lower
            | Self::Upper
            | Self::Trim(_)
            | Self::Substring
            | Self::Left
            | Self::Right
            | Self::Replace
            | Self::Join
            | Self::Concat
            | Self::SplitPart => Type::Text,
            Self::Cast(_, to) => *to,
            Self::DateTruncate(_) => Type::Timestamp,
        }
    }
}
