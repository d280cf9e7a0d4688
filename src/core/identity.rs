//! What a row is called and what vouches for it: the same on every replay, with every version.

use uuid::{Builder, Uuid};
use xxhash_rust::xxh3::{xxh3_64, xxh3_128};

use crate::core::aggregate::encode_group;
use crate::core::columns::GroupValue;
use crate::core::encoding::put_text;
use crate::core::row::Value;
use crate::core::units::{Micros, Offset};

/// The name of a row, the same on every replay and for ever: a UUID (version 8) from a 128-bit xxh3 of (pipeline, window, start, group).
#[must_use]
pub fn metric_id(pipeline: &str, window: &str, start: Micros, group: &[GroupValue]) -> Uuid {
    let mut bytes = Vec::new();
    put_text(pipeline, &mut bytes);
    put_text(window, &mut bytes);
    bytes.extend_from_slice(&start.0.to_le_bytes());
    encode_group(group, &mut bytes);
    Builder::from_custom_bytes(xxh3_128(&bytes).to_be_bytes()).into_uuid()
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

/// Of a closed row: covers metric_id, values and event count. Never 0. The same for ever.
#[must_use]
pub fn digest(metric_id: Uuid, values: &[Value], event_count: u64) -> u64 {
    let mut bytes = metric_id.as_bytes().to_vec();
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
