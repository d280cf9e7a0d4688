//! What the bytes of keys and partials are made of: one form for each value, so that what is equal has equal bytes.
//!
//! ```text
//! count  = an unsigned LEB128 of the least length
//! value  = 0 (null) | 1 (false) | 2 (true) | 3, i64 | 4, length (count), UTF-8
//! ```
//!
//! Integers are little-endian. Bytes may come from anywhere: what cannot have been written is refused, and nothing is allocated for more than
//! there are bytes.

use std::sync::Arc;

use crate::core::columns::GroupValue;
use crate::core::units::Micros;

/// Bytes that are no pane.
#[derive(Debug, thiserror::Error)]
#[error("not a pane: {0}")]
pub struct NotAPane(pub &'static str);

/// Before an integer.
pub(crate) const INTEGER: u8 = 3;
/// Before a text.
pub(crate) const TEXT: u8 = 4;
/// Before the bits of a double, which no group holds, but metrics do.
pub(crate) const NUMBER: u8 = 5;

/// A value of a group.
pub(crate) fn put_group_value(value: &GroupValue, into: &mut Vec<u8>) {
    match value {
        GroupValue::Null => into.push(0),
        GroupValue::Bool(false) => into.push(1),
        GroupValue::Bool(true) => into.push(2),
        GroupValue::Integer(integer) => {
            into.push(INTEGER);
            into.extend_from_slice(&integer.to_le_bytes());
        }
        GroupValue::Text(text) => {
            into.push(TEXT);
            put_text(text, into);
        }
    }
}

pub(crate) fn take_group_value(rest: &mut &[u8]) -> Result<GroupValue, NotAPane> {
    let [tag] = take(rest)?;
    match tag {
        0 => Ok(GroupValue::Null),
        1 => Ok(GroupValue::Bool(false)),
        2 => Ok(GroupValue::Bool(true)),
        INTEGER => Ok(GroupValue::Integer(i64::from_le_bytes(take(rest)?))),
        TEXT => Ok(GroupValue::Text(take_text(rest)?)),
        _ => Err(NotAPane("an unknown kind of group value")),
    }
}

/// Length (count) and UTF-8.
pub(crate) fn put_text(text: &str, into: &mut Vec<u8>) {
    put_count(text.len() as u64, into);
    into.extend_from_slice(text.as_bytes());
}

pub(crate) fn take_text(rest: &mut &[u8]) -> Result<Arc<str>, NotAPane> {
    let length = usize::try_from(take_count(rest)?).map_err(|_| NotAPane("it ends too early"))?;
    let (text, after) = rest.split_at_checked(length).ok_or(NotAPane("it ends too early"))?;
    *rest = after;
    let text = std::str::from_utf8(text).map_err(|_| NotAPane("text that is no UTF-8"))?;
    Ok(Arc::from(text))
}

pub(crate) fn put_count(mut count: u64, into: &mut Vec<u8>) {
    while count >= 0x80 {
        into.push(count as u8 | 0x80);
        count >>= 7;
    }
    into.push(count as u8);
}

pub(crate) fn take_count(rest: &mut &[u8]) -> Result<u64, NotAPane> {
    let mut count = 0;
    for shift in (0..64).step_by(7) {
        let [byte] = take(rest)?;
        let bits = u64::from(byte & 0x7f);
        count |= bits << shift;
        if byte & 0x80 == 0 {
            // Of a longer form than it needs, or over 64 bits: no count has two forms.
            let canonical = (byte != 0 || shift == 0) && bits << shift >> shift == bits;
            return canonical.then_some(count).ok_or(NotAPane("a count in another form"));
        }
    }
    Err(NotAPane("a count over 64 bits"))
}

/// How many of the events had a value.
pub(crate) fn take_value_count(event_count: u64, rest: &mut &[u8]) -> Result<u64, NotAPane> {
    let count = take_count(rest)?;
    if count > event_count { Err(NotAPane("more values than events")) } else { Ok(count) }
}

pub(crate) fn put_option(value: Option<[u8; 8]>, into: &mut Vec<u8>) {
    into.push(u8::from(value.is_some()));
    into.extend_from_slice(value.as_ref().map_or(&[], |v| v.as_slice()));
}

pub(crate) fn take_option(event_count: u64, rest: &mut &[u8]) -> Result<Option<[u8; 8]>, NotAPane> {
    match take(rest)? {
        [0] => Ok(None),
        [1] if event_count > 0 => Ok(Some(take(rest)?)),
        _ => Err(NotAPane("neither a value nor none")),
    }
}

pub(crate) fn take_micros(rest: &mut &[u8]) -> Result<Micros, NotAPane> {
    Ok(Micros(i64::from_le_bytes(take(rest)?)))
}

pub(crate) fn take<const N: usize>(rest: &mut &[u8]) -> Result<[u8; N], NotAPane> {
    let (bytes, after) = rest.split_first_chunk().ok_or(NotAPane("it ends too early"))?;
    *rest = after;
    Ok(*bytes)
}
