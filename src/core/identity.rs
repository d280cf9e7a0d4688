//! What a row is called and what vouches for it: the same on every replay, with every version.

use uuid::{Builder, Uuid};
use xxhash_rust::xxh3::{Xxh3, xxh3_64, xxh3_128};

use crate::core::aggregate::encode_group;
use crate::core::columns::GroupValue;
use crate::core::encoding::put_text;
use crate::core::row::{Value, WindowRow};
use crate::core::units::{Epoch, Micros, Offset};

/// Room for what most names and digests are made of.
const BYTES: usize = 128;

/// The name of a row, the same on every replay and for ever: a UUID (version 8) from a 128-bit xxh3 of (pipeline, window, start, group).
#[must_use]
pub fn metric_id(pipeline: &str, window: &str, start: Micros, group: &[GroupValue]) -> Uuid {
    named(pipeline, window, start, |bytes| encode_group(group, bytes))
}

/// The same, of a group's bytes.
#[must_use]
pub fn metric_id_of(pipeline: &str, window: &str, start: Micros, group_key: &[u8]) -> Uuid {
    named(pipeline, window, start, |bytes| bytes.extend_from_slice(group_key))
}

fn named(pipeline: &str, window: &str, start: Micros, put_group: impl FnOnce(&mut Vec<u8>)) -> Uuid {
    let mut bytes = Vec::with_capacity(BYTES);
    put_text(pipeline, &mut bytes);
    put_text(window, &mut bytes);
    bytes.extend_from_slice(&start.0.to_le_bytes());
    put_group(&mut bytes);
    Builder::from_custom_bytes(xxh3_128(&bytes).to_be_bytes()).into_uuid()
}

/// A group's bytes: two groups have the same ones only if they are the same.
#[must_use]
pub fn group_key(group: &[GroupValue]) -> Vec<u8> {
    let mut bytes = Vec::new();
    encode_group(group, &mut bytes);
    bytes
}

/// The id of the event that a closed row is: a UUID (version 8) from a 128-bit xxh3 of (metric_id, revision).
#[must_use]
pub fn row_event_id(metric_id: Uuid, revision: u32) -> Uuid {
    let mut bytes = metric_id.as_bytes().to_vec();
    bytes.extend_from_slice(&revision.to_le_bytes());
    Builder::from_custom_bytes(xxh3_128(&bytes).to_be_bytes()).into_uuid()
}

/// The id of an event that is made of one: a UUID (version 8) from a 128-bit xxh3 of (the topic it goes to, time and offset of what it is made of).
#[must_use]
pub fn emitted_id(topic: &str, time: Micros, offset: Offset) -> Uuid {
    let mut bytes = Vec::new();
    put_text(topic, &mut bytes);
    bytes.extend_from_slice(&time.0.to_le_bytes());
    bytes.extend_from_slice(&offset.0.to_le_bytes());
    Builder::from_custom_bytes(xxh3_128(&bytes).to_be_bytes()).into_uuid()
}

/// The id of an event that is made of two: a UUID (version 8) from a 128-bit xxh3 of (the topic it goes to, time and offset of either).
#[must_use]
pub fn joined_id(topic: &str, left: (Micros, Offset), right: (Micros, Offset)) -> Uuid {
    let mut bytes = Vec::new();
    put_text(topic, &mut bytes);
    for (time, offset) in [left, right] {
        bytes.extend_from_slice(&time.0.to_le_bytes());
        bytes.extend_from_slice(&offset.0.to_le_bytes());
    }
    Builder::from_custom_bytes(xxh3_128(&bytes).to_be_bytes()).into_uuid()
}

/// The id of an alert that a row raised: a UUID (version 8) from a 128-bit xxh3 of (alert, metric_id, epoch).
#[must_use]
pub fn row_alert_id(alert: &str, metric_id: Uuid, epoch: Epoch) -> Uuid {
    let mut bytes = Vec::new();
    put_text(alert, &mut bytes);
    bytes.extend_from_slice(metric_id.as_bytes());
    bytes.extend_from_slice(&epoch.0.to_le_bytes());
    Builder::from_custom_bytes(xxh3_128(&bytes).to_be_bytes()).into_uuid()
}

/// The id of an alert that events raised: a UUID (version 8) from a 128-bit xxh3 of (pipeline, alert, key, time and offset of the last of them).
#[must_use]
pub fn pattern_alert_id(pipeline: &str, alert: &str, key: &[GroupValue], (time, offset): (Micros, Offset)) -> Uuid {
    let mut bytes = Vec::new();
    put_text(pipeline, &mut bytes);
    put_text(alert, &mut bytes);
    encode_group(key, &mut bytes);
    bytes.extend_from_slice(&time.0.to_le_bytes());
    bytes.extend_from_slice(&offset.0.to_le_bytes());
    Builder::from_custom_bytes(xxh3_128(&bytes).to_be_bytes()).into_uuid()
}

/// The id of the event that tells of an alert: a UUID (version 8) from a 128-bit xxh3 of (alert_id, a byte: 0 raised, 1 cleared).
#[must_use]
pub fn alert_event_id(alert_id: Uuid, cleared: bool) -> Uuid {
    let mut bytes = alert_id.as_bytes().to_vec();
    bytes.push(u8::from(cleared));
    Builder::from_custom_bytes(xxh3_128(&bytes).to_be_bytes()).into_uuid()
}

/// The id of what a webhook is sent: a UUID (version 8) from a 128-bit xxh3 of (pipeline, webhook, the id of the event that it is).
#[must_use]
pub fn delivery_id(pipeline: &str, webhook: &str, event: Uuid) -> Uuid {
    let mut bytes = Vec::new();
    put_text(pipeline, &mut bytes);
    put_text(webhook, &mut bytes);
    bytes.extend_from_slice(event.as_bytes());
    Builder::from_custom_bytes(xxh3_128(&bytes).to_be_bytes()).into_uuid()
}

/// Of a closed row: covers metric_id, values and event count. Never 0. The same for ever.
#[must_use]
pub fn digest(metric_id: Uuid, values: &[Value], event_count: u64) -> u64 {
    let mut bytes = Vec::with_capacity(BYTES);
    bytes.extend_from_slice(metric_id.as_bytes());
    for value in values {
        match value {
            Value::Null => bytes.push(0),
            Value::Integer(integer) => {
                bytes.push(1);
                bytes.extend_from_slice(&integer.to_le_bytes());
            }
            Value::Number(number) => {
                bytes.push(2);
                bytes.extend_from_slice(&number.to_bits().to_le_bytes());
            }
            Value::Boolean(value) => bytes.extend([3, u8::from(*value)]),
            Value::Text(text) => {
                bytes.push(4);
                put_text(text, &mut bytes);
            }
        }
    }
    bytes.extend_from_slice(&event_count.to_le_bytes());
    xxh3_64(&bytes).max(1)
}

/// Of many rows, closed or not, in whatever order they come: two runs that came to the same rows have the same.
#[must_use]
pub fn digest_of_all<'a>(rows: impl Iterator<Item = &'a WindowRow>) -> u64 {
    // A closed row has its own, but is not believed: this is of what is here, whatever way it came.
    let of_row = |row: &WindowRow| (row.metric_id.as_u128(), digest(row.metric_id, &row.values, row.event_count));
    let mut digests: Vec<(u128, u64)> = rows.map(of_row).collect();
    digests.sort_unstable();
    let mut all = Xxh3::new();
    for (id, digest) in digests {
        all.update(&id.to_le_bytes());
        all.update(&digest.to_le_bytes());
    }
    all.digest()
}
