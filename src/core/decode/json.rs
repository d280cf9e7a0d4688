//! The tokens of strict JSON: strings, numbers and the faults of a line. Knows no schema and no event.

use std::fmt;

use crate::core::schema::Num;

/// Where a line stops being JSON, and how.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Fault {
    /// Position in the line, in bytes.
    pub at: u32,
    pub what: What,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum What {
    Empty,
    Mark,
    NoObject,
    End,
    Value,
    Key,
    Colon,
    Comma,
    Rest,
    Deep,
    Twice,
    Control,
    Escape,
    Surrogate,
    Utf8,
    Number,
    Huge,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let what = match self.what {
            What::Empty => "the line is empty",
            What::Mark => "a byte order mark",
            What::NoObject => "the event is no object",
            What::End => "the line ends within the event",
            What::Value => "no JSON value",
            What::Key => "a member's name is missing",
            What::Colon => "a colon is missing",
            What::Comma => "a comma or the closing bracket is missing",
            What::Rest => "something follows the event",
            What::Deep => "nested deeper than 128",
            What::Twice => "a name stands twice in this object",
            What::Control => "a control character within a string",
            What::Escape => "no such escape",
            What::Surrogate => "a lone surrogate",
            What::Utf8 => "not UTF-8",
            What::Number => "not a JSON number",
            What::Huge => "a number that no finite double holds",
        };
        write!(f, "byte {}: {what}", self.at)
    }
}

/// A fault here. Lines are shorter than 4 GiB, as slabs are.
pub(super) fn fault<T>(at: usize, what: What) -> Result<T, Fault> {
    Err(Fault { at: u32::try_from(at).unwrap_or(u32::MAX), what })
}

/// A string's place in the line, without its quotes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Text {
    pub start: usize,
    pub end: usize,
    pub escaped: bool,
}

impl Text {
    /// As written, escapes and all.
    #[inline]
    pub fn raw(self, line: &[u8]) -> &[u8] {
        line.get(self.start..self.end).unwrap_or_default()
    }

    /// As meant. `room` is where an escaped one is put.
    #[inline]
    pub fn plain<'a>(self, line: &'a [u8], room: &'a mut Vec<u8>) -> &'a [u8] {
        if !self.escaped {
            return self.raw(line);
        }
        room.clear();
        unescape(self.raw(line), room);
        room
    }
}

const ONES: u64 = 0x0101_0101_0101_0101;
const HIGHS: u64 = 0x8080_8080_8080_8080;

/// The high bit of each byte that may end a run of plain string bytes: a quote, a backslash or a control character. Only the lowest one is
/// sure to be right (a borrow may mark the bytes above it), and only that one is used.
fn specials(word: u64) -> u64 {
    let equal = |byte: u8| {
        let zero = word ^ (ONES * u64::from(byte));
        zero.wrapping_sub(ONES) & !zero
    };
    (equal(b'"') | equal(b'\\') | (word.wrapping_sub(ONES * 0x20) & !word)) & HIGHS
}

/// Reads the string whose opening quote stands before `start`. The closing quote stands at the answer's `end`.
pub(super) fn string(line: &[u8], start: usize) -> Result<Text, Fault> {
    let (mut at, mut seen, mut escaped) = (start, 0u64, false);
    loop {
        while let Some(word) = line.get(at..).and_then(|rest| rest.first_chunk::<8>()) {
            let word = u64::from_le_bytes(*word);
            seen |= word;
            let found = specials(word);
            if found != 0 {
                at += (found.trailing_zeros() / 8) as usize;
                break;
            }
            at += 8;
        }
        match line.get(at) {
            None => return fault(line.len(), What::End),
            Some(b'"') => break,
            Some(b'\\') => {
                escaped = true;
                at = escape(line, at)?;
            }
            Some(..0x20) => return fault(at, What::Control),
            Some(&byte) => {
                seen |= u64::from(byte);
                at += 1;
            }
        }
    }
    let text = Text { start, end: at, escaped };
    // `seen` may hold bytes behind the string; then this asks once too often, no more.
    if seen & HIGHS != 0
        && let Err(e) = std::str::from_utf8(text.raw(line))
    {
        return fault(start + e.valid_up_to(), What::Utf8);
    }
    Ok(text)
}

/// The position behind the escape that begins at `at`.
fn escape(line: &[u8], at: usize) -> Result<usize, Fault> {
    match line.get(at + 1) {
        None => fault(line.len(), What::End),
        Some(b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't') => Ok(at + 2),
        Some(b'u') => match unit(line, at) {
            None => fault(at, What::Escape),
            Some(0xD800..=0xDBFF) => match unit(line, at + 6) {
                Some(0xDC00..=0xDFFF) => Ok(at + 12),
                _ => fault(at, What::Surrogate),
            },
            Some(0xDC00..=0xDFFF) => fault(at, What::Surrogate),
            Some(_) => Ok(at + 6),
        },
        Some(_) => fault(at, What::Escape),
    }
}

/// The UTF-16 unit of `\uXXXX` at `at`.
fn unit(line: &[u8], at: usize) -> Option<u32> {
    let [b'\\', b'u', digits @ ..] = line.get(at..at + 6)? else { return None };
    digits.iter().try_fold(0, |sum, &digit| Some(sum * 16 + char::from(digit).to_digit(16)?))
}

/// Appends the meaning of a string's raw text, which `string` has accepted.
pub(super) fn unescape(raw: &[u8], out: &mut Vec<u8>) {
    let mut at = 0;
    while let Some(rest) = raw.get(at..)
        && !rest.is_empty()
    {
        let plain = memchr::memchr(b'\\', rest).unwrap_or(rest.len());
        out.extend_from_slice(&rest[..plain]);
        at += plain;
        let Some(&kind) = raw.get(at + 1) else { return };
        let (meaning, length) = match kind {
            b'b' => ('\u{8}', 2),
            b'f' => ('\u{c}', 2),
            b'n' => ('\n', 2),
            b'r' => ('\r', 2),
            b't' => ('\t', 2),
            b'u' => code_point(raw, at),
            other => (char::from(other), 2),
        };
        out.extend_from_slice(meaning.encode_utf8(&mut [0; 4]).as_bytes());
        at += length;
    }
}

fn code_point(raw: &[u8], at: usize) -> (char, usize) {
    let first = unit(raw, at).unwrap_or_default();
    if let (0xD800..=0xDBFF, Some(second @ 0xDC00..=0xDFFF)) = (first, unit(raw, at + 6)) {
        let point = 0x10000 + ((first - 0xD800) << 10) + (second - 0xDC00);
        return (char::from_u32(point).unwrap_or(char::REPLACEMENT_CHARACTER), 12);
    }
    (char::from_u32(first).unwrap_or(char::REPLACEMENT_CHARACTER), 6)
}

/// Up to here a sum of decimal digits fits 64 bits.
const DIGITS_EXACT: usize = 19;
/// Mantissas below this are doubles without rounding.
const MANTISSA_EXACT: u64 = 1 << 53;
/// Powers of ten that are doubles without rounding; a mantissa below 2⁵³ over one of them is rounded once and so correctly.
const POWERS: [f64; 23] = [
    1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15, 1e16, 1e17, 1e18, 1e19, 1e20,
    1e21, 1e22,
];

/// Reads the number that begins at `start`, a minus or a digit. Also the position behind it.
pub(super) fn number(line: &[u8], start: usize) -> Result<(Num, usize), Fault> {
    let negative = line.get(start) == Some(&b'-');
    let whole = start + usize::from(negative);
    let mut mantissa = 0u64;
    let mut at = digits(line, whole, &mut mantissa);
    if at == whole || (at > whole + 1 && line.get(whole) == Some(&b'0')) {
        return fault(start, What::Number);
    }
    let mut digits_read = at - whole;
    let mut places = None;
    if line.get(at) == Some(&b'.') {
        let end = digits(line, at + 1, &mut mantissa);
        if end == at + 1 {
            return fault(start, What::Number);
        }
        places = Some(end - at - 1);
        digits_read += end - at - 1;
        at = end;
    }
    let mut simple = digits_read <= DIGITS_EXACT;
    let mut integer = places.is_none();
    if let Some(b'e' | b'E') = line.get(at) {
        let sign = usize::from(matches!(line.get(at + 1), Some(b'+' | b'-')));
        let end = digits(line, at + 1 + sign, &mut 0);
        if end == at + 1 + sign {
            return fault(start, What::Number);
        }
        at = end;
        (simple, integer) = (false, false);
    }
    if integer
        && simple
        && let Ok(value) = i64::try_from(mantissa)
    {
        return Ok((Num::Integer(if negative { -value } else { value }), at));
    }
    if simple
        && mantissa < MANTISSA_EXACT
        && let Some(power) = POWERS.get(places.unwrap_or(0))
    {
        let value = mantissa as f64 / power;
        return Ok((Num::Float(if negative { -value } else { value }), at));
    }
    let text = line.get(start..at).and_then(|text| std::str::from_utf8(text).ok()).unwrap_or_default();
    if integer && let Ok(value) = text.parse().map(Num::Integer).or_else(|_| text.parse().map(Num::Large)) {
        return Ok((value, at));
    }
    match text.parse::<f64>() {
        Ok(value) if value.is_finite() => Ok((Num::Float(value), at)),
        _ => fault(start, What::Huge),
    }
}

/// The position behind the digits at `at`, which are added to `sum` (it is right as long as they are at most `DIGITS_EXACT` in all).
fn digits(line: &[u8], at: usize, sum: &mut u64) -> usize {
    let mut end = at;
    while let Some(digit) = line.get(end).map(|b| b.wrapping_sub(b'0'))
        && digit <= 9
    {
        *sum = sum.wrapping_mul(10).wrapping_add(u64::from(digit));
        end += 1;
    }
    end
}
