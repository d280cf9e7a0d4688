//! Rows of windows as messages have them: packed, since a report may bring a million, and each text once, since they have few.
//!
//! With the terms of `core::encoding`, row after row:
//!
//! ```text
//! row   = metric_id (u128), window (count), start (i64), end (i64), epoch (count), revision (count), closed (byte), digest (u64),
//!         event count (count), number of the group's values (count), value…, number of the metrics (count), value…
//! value = 0 (null) | 1 (false) | 2 (true) | 3, i64 | 4, text | 5, the double's bits | 6, i128 where 64 bits do not do
//! text  = its number (count); if that is the number of texts before it: length (count), UTF-8
//! ```

use std::collections::HashMap;
use std::sync::Arc;

use bincode::{Decode, Encode};
use uuid::Uuid;

use crate::core::columns::GroupValue;
use crate::core::encoding::{
    INTEGER, NUMBER, NotAPane, TEXT, put_count, put_text, take, take_count, take_micros, take_text,
};
use crate::core::row::{Value, WindowRow};
use crate::core::units::Epoch;
use crate::wire::WireError;

/// Before an integer that does not fit 64 bits.
const LONG: u8 = 6;
/// What a row takes, about.
const ROW_BYTES: usize = 100;

/// Rows of windows, in their order.
#[derive(Debug, Default, Encode, Decode)]
pub struct WireRows(Vec<u8>);

impl From<Vec<WindowRow>> for WireRows {
    fn from(rows: Vec<WindowRow>) -> Self {
        let mut packer = Packer { bytes: Vec::with_capacity(rows.len() * ROW_BYTES), texts: HashMap::default() };
        for row in &rows {
            packer.row(row);
        }
        Self(packer.bytes)
    }
}

struct Packer {
    bytes: Vec<u8>,
    texts: HashMap<Arc<str>, u64, foldhash::fast::RandomState>,
}

impl Packer {
    fn row(&mut self, row: &WindowRow) {
        let WindowRow { metric_id, window, start, end, group, values, .. } = row;
        self.bytes.extend_from_slice(&metric_id.as_u128().to_le_bytes());
        put_count(*window as u64, &mut self.bytes);
        self.bytes.extend_from_slice(&start.0.to_le_bytes());
        self.bytes.extend_from_slice(&end.0.to_le_bytes());
        put_count(row.epoch.0, &mut self.bytes);
        put_count(u64::from(row.revision), &mut self.bytes);
        self.bytes.push(u8::from(row.closed));
        self.bytes.extend_from_slice(&row.digest.to_le_bytes());
        put_count(row.event_count, &mut self.bytes);
        put_count(group.len() as u64, &mut self.bytes);
        for value in group {
            match value {
                GroupValue::Null => self.bytes.push(0),
                GroupValue::Bool(value) => self.boolean(*value),
                GroupValue::Integer(value) => self.integer(*value),
                GroupValue::Text(text) => self.text(text),
            }
        }
        put_count(values.len() as u64, &mut self.bytes);
        for value in values {
            match value {
                Value::Null => self.bytes.push(0),
                Value::Boolean(value) => self.boolean(*value),
                Value::Integer(value) => match i64::try_from(*value) {
                    Ok(value) => self.integer(value),
                    Err(_) => self.tagged(LONG, &value.to_le_bytes()),
                },
                Value::Text(text) => self.text(text),
                Value::Number(value) => self.tagged(NUMBER, &value.to_bits().to_le_bytes()),
            }
        }
    }

    fn boolean(&mut self, value: bool) {
        self.bytes.push(1 + u8::from(value));
    }

    fn integer(&mut self, value: i64) {
        self.tagged(INTEGER, &value.to_le_bytes());
    }

    fn tagged(&mut self, tag: u8, bytes: &[u8]) {
        self.bytes.push(tag);
        self.bytes.extend_from_slice(bytes);
    }

    fn text(&mut self, text: &Arc<str>) {
        self.bytes.push(TEXT);
        if let Some(&number) = self.texts.get(text) {
            put_count(number, &mut self.bytes);
        } else {
            let number = self.texts.len() as u64;
            put_count(number, &mut self.bytes);
            put_text(text, &mut self.bytes);
            self.texts.insert(Arc::clone(text), number);
        }
    }
}

impl TryFrom<WireRows> for Vec<WindowRow> {
    type Error = WireError;

    fn try_from(WireRows(bytes): WireRows) -> Result<Self, WireError> {
        let (mut rest, mut texts) = (&bytes[..], Vec::new());
        let mut rows = Self::with_capacity(bytes.len() / ROW_BYTES);
        while !rest.is_empty() {
            rows.push(row(&mut rest, &mut texts).map_err(|NotAPane(why)| WireError(format!("no row: {why}")))?);
        }
        Ok(rows)
    }
}

fn row(rest: &mut &[u8], texts: &mut Vec<Arc<str>>) -> Result<WindowRow, NotAPane> {
    let metric_id = Uuid::from_u128(u128::from_le_bytes(take(rest)?));
    let window = usize::try_from(take_count(rest)?).map_err(|_| NotAPane("a window's number out of range"))?;
    let (start, end) = (take_micros(rest)?, take_micros(rest)?);
    let epoch = Epoch(take_count(rest)?);
    let revision = u32::try_from(take_count(rest)?).map_err(|_| NotAPane("a revision out of range"))?;
    let closed = match take(rest)? {
        [closed @ (0 | 1)] => closed == 1,
        _ => return Err(NotAPane("neither open nor closed")),
    };
    let digest = u64::from_le_bytes(take(rest)?);
    let event_count = take_count(rest)?;
    let group = values(rest, |rest| match value(rest, texts)? {
        Value::Null => Ok(GroupValue::Null),
        Value::Boolean(value) => Ok(GroupValue::Bool(value)),
        Value::Integer(value) => i64::try_from(value).map(GroupValue::Integer).map_err(|_| NotAPane("a long integer")),
        Value::Text(text) => Ok(GroupValue::Text(text)),
        Value::Number(_) => Err(NotAPane("a double in a group")),
    })?;
    let values = values(rest, |rest| value(rest, texts))?;
    Ok(WindowRow { metric_id, window, start, end, group, values, event_count, revision, closed, digest, epoch })
}

fn values<T>(rest: &mut &[u8], mut value: impl FnMut(&mut &[u8]) -> Result<T, NotAPane>) -> Result<Vec<T>, NotAPane> {
    let count = take_count(rest)?;
    // A value has at least one byte: nothing is allocated for more than there can be.
    if count > rest.len() as u64 {
        return Err(NotAPane("it ends too early"));
    }
    let mut values = Vec::with_capacity(count as usize);
    for _ in 0..count {
        values.push(value(rest)?);
    }
    Ok(values)
}

fn value(rest: &mut &[u8], texts: &mut Vec<Arc<str>>) -> Result<Value, NotAPane> {
    let [tag] = take(rest)?;
    match tag {
        0 => Ok(Value::Null),
        1 => Ok(Value::Boolean(false)),
        2 => Ok(Value::Boolean(true)),
        INTEGER => Ok(Value::Integer(i64::from_le_bytes(take(rest)?).into())),
        TEXT => {
            let number = take_count(rest)?;
            if number == texts.len() as u64 {
                texts.push(take_text(rest)?);
            }
            let text = usize::try_from(number).ok().and_then(|number| texts.get(number));
            text.cloned().map(Value::Text).ok_or(NotAPane("a text that did not come before"))
        }
        NUMBER => Ok(Value::Number(f64::from_bits(u64::from_le_bytes(take(rest)?)))),
        LONG => Ok(Value::Integer(i128::from_le_bytes(take(rest)?))),
        _ => Err(NotAPane("an unknown kind of value")),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::core::units::Micros;

    fn text() -> impl Strategy<Value = Arc<str>> {
        prop_oneof![Just(String::new()), "[abc]", ".{0,20}"].prop_map(Arc::from)
    }

    fn group_value() -> impl Strategy<Value = GroupValue> {
        prop_oneof![
            Just(GroupValue::Null),
            any::<bool>().prop_map(GroupValue::Bool),
            any::<i64>().prop_map(GroupValue::Integer),
            text().prop_map(GroupValue::Text),
        ]
    }

    fn metric() -> impl Strategy<Value = Value> {
        prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::Boolean),
            any::<i64>().prop_map(|value| Value::Integer(value.into())),
            any::<i128>().prop_map(Value::Integer),
            any::<u64>().prop_map(|bits| Value::Number(f64::from_bits(bits))),
            text().prop_map(Value::Text),
        ]
    }

    prop_compose! {
        fn any_row()(
            (id, window, start, end) in (any::<u128>(), 0..300usize, any::<i64>(), any::<i64>()),
            group in prop::collection::vec(group_value(), 0..4),
            values in prop::collection::vec(metric(), 0..5),
            (event_count, revision, closed, digest, epoch) in any::<(u64, u32, bool, u64, u64)>(),
        ) -> WindowRow {
            let (start, end, epoch) = (Micros(start), Micros(end), Epoch(epoch));
            let metric_id = Uuid::from_u128(id);
            WindowRow { metric_id, window, start, end, group, values, event_count, revision, closed, digest, epoch }
        }
    }

    proptest! {
        #[test]
        fn rows_come_as_they_were_sent(rows in prop::collection::vec(any_row(), 0..20)) {
            let packed = WireRows::from(rows.clone());
            let bytes = packed.0.clone();
            let read = Vec::try_from(packed).unwrap();
            // As text: −0 is not +0, and no number is not itself. As bytes, for the rest.
            prop_assert_eq!(format!("{read:?}"), format!("{rows:?}"));
            prop_assert_eq!(WireRows::from(read).0, bytes);
        }

        #[test]
        fn what_no_worker_writes_is_refused(rows in prop::collection::vec(any_row(), 1..5), cut in 1..16usize) {
            let WireRows(mut bytes) = WireRows::from(rows);
            // A row is longer than what is cut off.
            bytes.truncate(bytes.len() - cut);
            prop_assert!(Vec::<WindowRow>::try_from(WireRows(bytes)).is_err());
        }

        #[test]
        fn any_bytes_are_rows_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = Vec::<WindowRow>::try_from(WireRows(bytes));
        }
    }

    #[test]
    fn a_text_stands_in_the_bytes_once() {
        let row = |start| WindowRow {
            metric_id: Uuid::from_u128(7),
            window: 0,
            start: Micros(start),
            end: Micros(start + 5),
            group: vec![GroupValue::Text("Extremadura".into())],
            values: vec![Value::Text("Extremadura".into())],
            event_count: 3,
            revision: 0,
            closed: true,
            digest: 9,
            epoch: Epoch(1),
        };
        let WireRows(bytes) = WireRows::from(vec![row(0), row(5)]);
        assert_eq!(bytes.windows(11).filter(|part| part == b"Extremadura").count(), 1);
        // The last byte is the text's number.
        let unknown = bytes[..bytes.len() - 1].iter().chain(&[9]).copied().collect();
        let refused = Vec::<WindowRow>::try_from(WireRows(unknown)).unwrap_err().to_string();
        assert!(refused.contains("no row: a text that did not come before"), "{refused}");
    }
}
