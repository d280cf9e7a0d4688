//! The codes of one group column within one slab. Most slabs have few values, and many events have the value of the one before.

use std::collections::HashMap;
use std::hash::{BuildHasher, Hasher};
use std::sync::Arc;

use xxhash_rust::xxh3::xxh3_64_with_seed;

use crate::core::columns::GroupValue;

/// Finds or gives codes; the values themselves stand in the column's dictionary.
#[derive(Debug)]
pub(super) struct Dictionary {
    texts: HashMap<Box<[u8]>, u32, Keyed>,
    others: HashMap<GroupValue, u32, Keyed>,
    last: u32,
}

impl Dictionary {
    /// `key` keeps senders from choosing values that collide.
    pub fn new(key: u64) -> Self {
        Self { texts: HashMap::with_hasher(Keyed(key)), others: HashMap::with_hasher(Keyed(key)), last: 0 }
    }

    /// The code of a text, which is UTF-8.
    pub fn text(&mut self, text: &[u8], values: &mut Vec<GroupValue>) -> u32 {
        if let Some(GroupValue::Text(last)) = values.get(self.last as usize)
            && last.as_bytes() == text
        {
            return self.last;
        }
        if let Some(&code) = self.texts.get(text) {
            self.last = code;
            return code;
        }
        let value = GroupValue::Text(Arc::from(std::str::from_utf8(text).unwrap_or_default()));
        self.last = add(value, values);
        self.texts.insert(text.into(), self.last);
        self.last
    }

    /// The code of a value that is no text.
    pub fn other(&mut self, value: GroupValue, values: &mut Vec<GroupValue>) -> u32 {
        *self.others.entry(value.clone()).or_insert_with(|| add(value, values))
    }
}

/// A slab has fewer than 2³² events, so fewer values.
fn add(value: GroupValue, values: &mut Vec<GroupValue>) -> u32 {
    values.push(value);
    values.len() as u32 - 1
}

#[derive(Clone, Copy, Debug)]
struct Keyed(u64);

impl BuildHasher for Keyed {
    type Hasher = Hash;

    fn build_hasher(&self) -> Hash {
        Hash(self.0)
    }
}

/// xxh3 over each part, seeded with what came before.
struct Hash(u64);

impl Hasher for Hash {
    fn write(&mut self, bytes: &[u8]) {
        self.0 = xxh3_64_with_seed(bytes, self.0);
    }

    /// Lengths, which only keep parts apart.
    fn write_usize(&mut self, n: usize) {
        self.0 = self.0.wrapping_add(n as u64);
    }

    fn finish(&self) -> u64 {
        self.0
    }
}
