//! What functions do to one text. Places and lengths are in characters (code points), from 1. None: there is no such value, which is an error.

use crate::core::expression::{Ends, TEXT_BYTES_MAX};

/// A text that was made here, if it is not too long.
pub(super) fn bounded(text: String) -> Option<String> {
    (text.len() <= TEXT_BYTES_MAX).then_some(text)
}

pub(super) fn join(a: &str, b: &str) -> Option<String> {
    if a.len() + b.len() > TEXT_BYTES_MAX {
        return None;
    }
    Some([a, b].concat())
}

pub(super) fn trim<'a>(text: &'a str, characters: &str, ends: Ends) -> &'a str {
    let of_them = |c: char| characters.contains(c);
    match ends {
        Ends::Both => text.trim_matches(of_them),
        Ends::Leading => text.trim_start_matches(of_them),
        Ends::Trailing => text.trim_end_matches(of_them),
    }
}

/// Where in the bytes the character of this number, from 0, begins; the end if there are fewer.
fn byte_of(text: &str, character: usize) -> usize {
    text.char_indices().nth(character).map_or(text.len(), |(at, _)| at)
}

/// The characters from place `from` on, `length` of them or all. Places before the first count for the length.
pub(super) fn substring(text: &str, from: i64, length: Option<i64>) -> Option<&str> {
    if length.is_some_and(|length| length < 0) {
        return None;
    }
    // A place beyond 64 bits is beyond every text.
    let end = length.map(|length| from.saturating_add(length));
    let begin = usize::try_from(from.saturating_sub(1)).unwrap_or(0);
    let rest = text.get(byte_of(text, begin)..).unwrap_or_default();
    let Some(end) = end else { return Some(rest) };
    let kept = usize::try_from(end.saturating_sub(1)).unwrap_or(0).saturating_sub(begin);
    rest.get(..byte_of(rest, kept))
}

/// The first `count` characters, or all but the last `-count`.
pub(super) fn left(text: &str, count: i64) -> &str {
    let kept = kept(text, count);
    text.get(..byte_of(text, kept)).unwrap_or_default()
}

/// The last `count` characters, or all but the first `-count`.
pub(super) fn right(text: &str, count: i64) -> &str {
    let cut = text.chars().count().saturating_sub(kept(text, count));
    text.get(byte_of(text, cut)..).unwrap_or_default()
}

fn kept(text: &str, count: i64) -> usize {
    let magnitude = usize::try_from(count.unsigned_abs()).unwrap_or(usize::MAX);
    if count >= 0 { magnitude } else { text.chars().count().saturating_sub(magnitude) }
}

pub(super) fn replace(text: &str, what: &str, with: &str) -> Option<String> {
    if what.is_empty() {
        return bounded(text.to_owned());
    }
    // Found out before it is made: it might be enormous.
    let grown = with.len().saturating_sub(what.len()).saturating_mul(text.matches(what).count());
    if with.len() > what.len() && text.len().saturating_add(grown) > TEXT_BYTES_MAX {
        return None;
    }
    bounded(text.replace(what, with))
}

/// The place of the first occurrence; 0 if there is none.
pub(super) fn position(text: &str, what: &str) -> i64 {
    let before = text.find(what).and_then(|at| text.get(..at));
    before.map_or(0, |before| before.chars().count() as i64 + 1)
}

/// The part of this number between delimiters; from the end if it is negative; empty if there is none.
pub(super) fn split_part<'a>(text: &'a str, delimiter: &str, number: i64) -> Option<&'a str> {
    let nth = |from_one: u64| usize::try_from(from_one - 1).unwrap_or(usize::MAX);
    if number == 0 {
        return None;
    }
    if delimiter.is_empty() {
        return Some(if number.abs() == 1 { text } else { "" });
    }
    let part = if number > 0 {
        text.split(delimiter).nth(nth(number.unsigned_abs()))
    } else {
        // Delimiters are found from the left even so: of "aaa" by "aa" the parts are "" and "a".
        let parts: Vec<&str> = text.split(delimiter).collect();
        parts.into_iter().rev().nth(nth(number.unsigned_abs()))
    };
    Some(part.unwrap_or_default())
}
