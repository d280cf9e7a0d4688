//! The compiled check: what one value may be, and what its members and items may be. It judges tokens; it knows no text of an event.

use std::cmp::Ordering;
use std::sync::Arc;

use jsonschema::Validator;
use serde_json::Value;

use crate::core::schema::names::Names;
use crate::core::schema::uuid::uuid;
use crate::core::time;
use crate::core::units::Micros;

/// A number as the reference sees it: exact where it is written as an integer of 64 bits (signed or not), else the nearest double.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(in crate::core) enum Num {
    Integer(i64),
    /// 2⁶³ … 2⁶⁴−1.
    Large(u64),
    /// Finite.
    Float(f64),
}

/// Characters of a UUID.
const UUID_LENGTH: u64 = 36;
/// Integers up to here, of either sign, are doubles without rounding.
const EXACT: u64 = 1 << 53;

impl Num {
    pub fn of(number: &serde_json::Number) -> Option<Self> {
        let integer = number.as_i64().map(Self::Integer).or_else(|| number.as_u64().map(Self::Large));
        integer.or_else(|| number.as_f64().filter(|f| f.is_finite()).map(Self::Float))
    }

    pub fn is_integer(self) -> bool {
        match self {
            Self::Integer(_) | Self::Large(_) => true,
            Self::Float(value) => value.fract() == 0.0,
        }
    }

    /// The nearest double; −0 is +0.
    pub fn double(self) -> f64 {
        match self {
            Self::Integer(value) => value as f64,
            Self::Large(value) => value as f64,
            Self::Float(value) => value + 0.0,
        }
    }

    /// The order of the values, however they are written.
    pub fn order(self, other: Self) -> Ordering {
        match (self, other) {
            (Self::Integer(a), Self::Integer(b)) => a.cmp(&b),
            (Self::Large(a), Self::Large(b)) => a.cmp(&b),
            (Self::Integer(_), Self::Large(_)) => Ordering::Less,
            (Self::Large(_), Self::Integer(_)) => Ordering::Greater,
            (Self::Float(_), Self::Float(_)) => self.double().total_cmp(&other.double()),
            (Self::Integer(a), Self::Float(b)) => mixed(i128::from(a), b),
            (Self::Large(a), Self::Float(b)) => mixed(i128::from(a), b),
            (Self::Float(a), Self::Integer(b)) => mixed(i128::from(b), a).reverse(),
            (Self::Float(a), Self::Large(b)) => mixed(i128::from(b), a).reverse(),
        }
    }
}

/// The order of an integer of 64 bits and a finite double.
fn mixed(integer: i128, float: f64) -> Ordering {
    let by_double = (integer as f64).total_cmp(&(float + 0.0));
    if integer.unsigned_abs() <= u128::from(EXACT) {
        return by_double;
    }
    // The cast cuts the fraction; it stops at ±2¹²⁷, which is past every integer here.
    integer.cmp(&(float as i128)).then(0.0f64.total_cmp(&(float.fract() + 0.0)))
}

/// A value and everything in it.
#[derive(Debug, Default)]
pub(in crate::core) struct Shape {
    pub rules: Rules,
    pub properties: Vec<(String, Shape)>,
    pub required: Vec<String>,
    /// What a member that `properties` does not name must be; None: anything.
    pub additional: Option<Box<Shape>>,
    pub items: Option<Box<Shape>>,
}

impl Shape {
    /// Accepts nothing, as the schema `false`.
    pub fn nothing() -> Self {
        Self { rules: Rules { types: Types::NONE, ..Rules::default() }, ..Self::default() }
    }
}

/// What one value may be, its members and items aside.
#[derive(Clone, Debug, Default)]
pub(in crate::core) struct Rules {
    pub types: Types,
    /// `enum` and `const`: the value must be in each of these.
    pub literals: Vec<Literals>,
    pub minimum: Option<Num>,
    pub maximum: Option<Num>,
    /// In code points.
    pub length_min: u64,
    pub length_max: Option<u64>,
    pub pattern: Option<Pattern>,
    pub format: Option<Format>,
}

/// A set of JSON types.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::core) struct Types(u8);

impl Types {
    pub const NONE: Self = Self(0);
    pub const NULL: Self = Self(1);
    pub const BOOLEAN: Self = Self(2);
    pub const INTEGER: Self = Self(4);
    /// Integers are numbers too.
    pub const NUMBER: Self = Self(8 | 4);
    pub const STRING: Self = Self(16);
    pub const ARRAY: Self = Self(32);
    pub const OBJECT: Self = Self(64);

    pub const fn with(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    pub const fn has(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }
}

impl Default for Types {
    fn default() -> Self {
        Self(127)
    }
}

/// The scalars of an `enum` or a `const`.
#[derive(Clone, Debug, Default)]
pub(in crate::core) struct Literals {
    pub null: bool,
    pub yes: bool,
    pub no: bool,
    pub numbers: Vec<Num>,
    pub texts: Names,
}

#[derive(Clone, Debug)]
pub(in crate::core) enum Pattern {
    /// A pattern that means the same to ECMA-262 and to the regex crate.
    Plain(regex::bytes::Regex),
    /// Any other: a schema of this keyword alone, for the reference.
    Reference(Arc<Validator>),
}

#[derive(Clone, Debug)]
pub(in crate::core) enum Format {
    Uuid,
    /// With a schema of this keyword alone, for the texts that `core::time` and the reference might see differently.
    DateTime(Arc<Validator>),
}

/// What a format's check has read on the way, so that nobody reads it twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::core) enum Parsed {
    Nothing,
    Uuid(u128),
    Time(Micros),
}

impl Rules {
    pub fn null(&self) -> bool {
        self.types.has(Types::NULL) && self.literals.iter().all(|set| set.null)
    }

    pub fn boolean(&self, value: bool) -> bool {
        self.types.has(Types::BOOLEAN) && self.literals.iter().all(|set| if value { set.yes } else { set.no })
    }

    pub fn number(&self, value: Num) -> bool {
        (self.types.has(Types::NUMBER) || (self.types.has(Types::INTEGER) && value.is_integer()))
            && self.minimum.is_none_or(|limit| value.order(limit).is_ge())
            && self.maximum.is_none_or(|limit| value.order(limit).is_le())
            && self.literals.iter().all(|set| set.numbers.iter().any(|&other| value.order(other).is_eq()))
    }

    pub fn array(&self) -> bool {
        self.types.has(Types::ARRAY) && self.literals.is_empty()
    }

    pub fn object(&self) -> bool {
        self.types.has(Types::OBJECT) && self.literals.is_empty()
    }

    /// `text` is UTF-8 and unescaped.
    pub fn text(&self, text: &[u8], parsed: &mut Parsed) -> bool {
        self.types.has(Types::STRING)
            && self.literals.iter().all(|set| set.texts.find(text).is_some())
            && self.length(text)
            && self.format.as_ref().is_none_or(|format| format.accepts(text, parsed))
            && self.pattern.as_ref().is_none_or(|pattern| pattern.accepts(text))
    }

    /// Whether every UUID is accepted, written as usual in lower case.
    pub fn any_uuid(&self) -> bool {
        let length = self.length_min <= UUID_LENGTH && self.length_max.is_none_or(|max| max >= UUID_LENGTH);
        self.any_text() && length && !matches!(self.format, Some(Format::DateTime(_)))
    }

    /// Whether every moment of the years 0001 to 9999 is accepted, as `time::format` writes it.
    pub fn any_time(&self) -> bool {
        let length = self.length_min == 0 && self.length_max.is_none();
        self.any_text() && length && !matches!(self.format, Some(Format::Uuid))
    }

    /// Whether every text is accepted, as far as lengths and formats are not asked.
    fn any_text(&self) -> bool {
        self.types.has(Types::STRING) && self.literals.is_empty() && self.pattern.is_none()
    }

    /// Whether every number is accepted.
    pub fn any_number(&self) -> bool {
        let limits = self.minimum.is_some() || self.maximum.is_some();
        self.types.has(Types::NUMBER) && self.literals.is_empty() && !limits
    }

    fn length(&self, text: &[u8]) -> bool {
        if self.length_min == 0 && self.length_max.is_none() {
            return true;
        }
        // Every byte but the continuation bytes begins a code point.
        let length = text.iter().filter(|&&byte| byte & 0xC0 != 0x80).count() as u64;
        length >= self.length_min && self.length_max.is_none_or(|max| length <= max)
    }
}

impl Pattern {
    fn accepts(&self, text: &[u8]) -> bool {
        match self {
            Self::Plain(regex) => regex.is_match(text),
            Self::Reference(reference) => judged(reference, text),
        }
    }
}

impl Format {
    fn accepts(&self, text: &[u8], parsed: &mut Parsed) -> bool {
        match self {
            Self::Uuid => match uuid(text) {
                None => false,
                Some(value) => {
                    *parsed = Parsed::Uuid(value);
                    true
                }
            },
            Self::DateTime(reference) => match time::parse(text) {
                // Leap seconds and the year 0 are where the two differ.
                Some(time) if text.get(17..19) != Some(b"60") => {
                    *parsed = Parsed::Time(time);
                    true
                }
                _ => judged(reference, text),
            },
        }
    }
}

fn judged(reference: &Validator, text: &[u8]) -> bool {
    std::str::from_utf8(text).is_ok_and(|text| reference.is_valid(&Value::from(text)))
}
