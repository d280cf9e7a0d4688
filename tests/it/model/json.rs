//! JSON by rule 1, and what stands in it. Numbers keep the text that they were written as: a Unix time is read from its digits.

use std::collections::BTreeMap;

use caudal::core::plan::{FieldPath, Step};
use serde_json::{Number, Value};

/// A JSON value.
#[derive(Clone, Debug, PartialEq)]
pub enum Json {
    Null,
    Boolean(bool),
    Number(Number, String),
    Text(String),
    Array(Vec<Json>),
    Object(BTreeMap<String, Json>),
}

impl Json {
    /// What stands at this place; None where nothing does.
    pub fn at(&self, path: &FieldPath) -> Option<&Self> {
        path.0.iter().try_fold(self, |value, step| match (value, step) {
            (Self::Object(members), Step::Name(name)) => members.get(name),
            (Self::Array(items), Step::Item(item)) => items.get(*item as usize),
            _ => None,
        })
    }

    pub fn text(&self) -> Option<&str> {
        if let Self::Text(text) = self { Some(text) } else { None }
    }

    pub fn boolean(&self) -> Option<bool> {
        if let Self::Boolean(boolean) = self { Some(*boolean) } else { None }
    }

    /// The double nearest to the number.
    pub fn number(&self) -> Option<f64> {
        if let Self::Number(number, _) = self { number.as_f64() } else { None }
    }

    /// As an integer of 64 bits, if it is one.
    pub fn integer(&self) -> Option<i64> {
        let Self::Number(number, _) = self else { return None };
        if let Some(exact) = number.as_i64() {
            return Some(exact);
        }
        // −2⁶³ counts only where it is written as an integer, 2⁶³ never.
        let double = number.as_f64().filter(|d| number.is_f64() && d.fract() == 0.0)?;
        (double.abs() < 9_223_372_036_854_775_808.0).then_some(double as i64)
    }

    /// As the reference validator wants it.
    pub fn to_value(&self) -> Value {
        match self {
            Self::Null => Value::Null,
            Self::Boolean(boolean) => Value::Bool(*boolean),
            Self::Number(number, _) => Value::Number(number.clone()),
            Self::Text(text) => Value::String(text.clone()),
            Self::Array(items) => items.iter().map(Self::to_value).collect(),
            Self::Object(members) => members.iter().map(|(name, value)| (name.clone(), value.to_value())).collect(),
        }
    }
}

/// The line as JSON: strict, no key twice, at most 128 deep, every number near a finite double.
pub fn parse(line: &[u8]) -> Option<Json> {
    let text = std::str::from_utf8(line).ok()?;
    let mut parser = Parser { rest: text };
    let value = parser.value(0)?;
    parser.blanks();
    parser.rest.is_empty().then_some(value)
}

/// A JSON number as it is written, if that is all of the text.
pub fn is_number(text: &str) -> bool {
    let mut parser = Parser { rest: text };
    parser.number_text().is_some_and(|number| number.0.len() == text.len())
}

struct Parser<'t> {
    rest: &'t str,
}

impl<'t> Parser<'t> {
    fn blanks(&mut self) {
        self.rest = self.rest.trim_start_matches([' ', '\t', '\n', '\r']);
    }

    fn eat(&mut self, token: &str) -> bool {
        let rest = self.rest.strip_prefix(token);
        self.rest = rest.unwrap_or(self.rest);
        rest.is_some()
    }

    /// `depth`: how many arrays and objects it stands in.
    fn value(&mut self, depth: usize) -> Option<Json> {
        self.blanks();
        match self.rest.bytes().next()? {
            b'{' | b'[' if depth == 128 => None,
            b'{' => self.object(depth + 1),
            b'[' => self.array(depth + 1),
            b'"' => self.string().map(Json::Text),
            b't' => self.eat("true").then_some(Json::Boolean(true)),
            b'f' => self.eat("false").then_some(Json::Boolean(false)),
            b'n' => self.eat("null").then_some(Json::Null),
            _ => self.number(),
        }
    }

    fn object(&mut self, depth: usize) -> Option<Json> {
        let mut object = BTreeMap::new();
        self.eat("{");
        self.blanks();
        if self.eat("}") {
            return Some(Json::Object(object));
        }
        loop {
            self.blanks();
            let key = self.string()?;
            self.blanks();
            if !self.eat(":") {
                return None;
            }
            if object.insert(key, self.value(depth)?).is_some() {
                return None;
            }
            self.blanks();
            if self.eat("}") {
                return Some(Json::Object(object));
            }
            if !self.eat(",") {
                return None;
            }
        }
    }

    fn array(&mut self, depth: usize) -> Option<Json> {
        let mut array = Vec::new();
        self.eat("[");
        self.blanks();
        if self.eat("]") {
            return Some(Json::Array(array));
        }
        loop {
            array.push(self.value(depth)?);
            self.blanks();
            if self.eat("]") {
                return Some(Json::Array(array));
            }
            if !self.eat(",") {
                return None;
            }
        }
    }

    fn string(&mut self) -> Option<String> {
        if !self.eat("\"") {
            return None;
        }
        let mut units: Vec<u16> = Vec::new();
        loop {
            let c = self.rest.chars().next()?;
            self.rest = &self.rest[c.len_utf8()..];
            match c {
                '"' => return String::from_utf16(&units).ok(),
                '\u{0}'..='\u{1f}' => return None,
                '\\' => {
                    let escape = self.rest.chars().next()?;
                    self.rest = &self.rest[escape.len_utf8()..];
                    units.push(match escape {
                        '"' | '\\' | '/' => escape as u16,
                        'b' => 8,
                        'f' => 12,
                        'n' => 10,
                        'r' => 13,
                        't' => 9,
                        'u' => {
                            let digits = self.rest.get(..4)?;
                            self.rest = &self.rest[4..];
                            let hex = digits.bytes().all(|b| b.is_ascii_hexdigit());
                            hex.then(|| u16::from_str_radix(digits, 16).unwrap())?
                        }
                        _ => return None,
                    });
                }
                c => units.extend(c.encode_utf16(&mut [0; 2]).iter()),
            }
        }
    }

    fn digits(&self, from: usize) -> usize {
        self.rest.as_bytes()[from..].iter().take_while(|b| b.is_ascii_digit()).count()
    }

    /// The text of the number that stands here, and whether it has neither fraction nor exponent.
    fn number_text(&mut self) -> Option<(&'t str, bool)> {
        let bytes = self.rest.as_bytes();
        let is = |at: usize, one_of: &[u8]| bytes.get(at).is_some_and(|b| one_of.contains(b));
        let sign = usize::from(is(0, b"-"));
        let whole = self.digits(sign);
        if whole == 0 || (whole > 1 && is(sign, b"0")) {
            return None;
        }
        let mut end = sign + whole;
        let mut plain = true;
        if is(end, b".") {
            let fraction = self.digits(end + 1);
            if fraction == 0 {
                return None;
            }
            (end, plain) = (end + 1 + fraction, false);
        }
        if is(end, b"eE") {
            let from = end + 1 + usize::from(is(end + 1, b"+-"));
            let exponent = self.digits(from);
            if exponent == 0 {
                return None;
            }
            (end, plain) = (from + exponent, false);
        }
        let (text, rest) = self.rest.split_at(end);
        self.rest = rest;
        Some((text, plain))
    }

    fn number(&mut self) -> Option<Json> {
        let (text, plain) = self.number_text()?;
        let exact = || text.parse::<i64>().map(Number::from).or_else(|_| text.parse::<u64>().map(Number::from)).ok();
        let number = match if plain { exact() } else { None } {
            Some(exact) => exact,
            None => Number::from_f64(text.parse().ok()?)?,
        };
        Some(Json::Number(number, text.to_owned()))
    }
}

#[test]
fn strict_json() {
    let check =
        |text: &[u8], valid: bool| assert_eq!(parse(text).is_some(), valid, "{}", String::from_utf8_lossy(text));
    let nested = |depth: usize| format!("{}1{}", "[".repeat(depth), "]".repeat(depth));
    check(nested(128).as_bytes(), true);
    check(nested(129).as_bytes(), false);
    for valid in [r#"{"a":{"a":1},"b":[]}"#, r#""\ud83d\ude00""#, " -0.0e-5 ", "1e308", r#""\u0000""#, "1e-999"] {
        check(valid.as_bytes(), true);
    }
    for wrong in [
        "",
        r#"{"a":1,"\u0061":2}"#,
        r#""\ud83d""#,
        "1e309",
        "01",
        "1.",
        "[1,]",
        "{} {}",
        "\u{feff}{}",
        "NaN",
        "\"\t\"",
        "+1",
        ".5",
        "tru",
    ] {
        check(wrong.as_bytes(), false);
    }
    check(b"\"\xff\"", false);
}
