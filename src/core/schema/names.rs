//! A fixed set of texts that is asked for every event: names of members, values of an `enum`. One hash and one comparison find a text.

/// Different texts, each with its place.
#[derive(Clone, Debug, Default)]
pub(in crate::core) struct Names {
    texts: Vec<Box<[u8]>>,
    /// Places in `texts`; `NOBODY` where none is. Its length is a power of two. Empty: ask every name.
    table: Vec<u16>,
    factor: u64,
    shift: u32,
}

const NOBODY: u16 = u16::MAX;
/// So many factors are tried for a table without collisions before every name is asked.
const FACTORS_MAX: u64 = 10_000;
/// More names than this are no table: they are looked for in their order.
const NAMES_MAX: usize = 1_000;

impl Names {
    /// `names` are all different.
    pub fn new(names: &[&str]) -> Self {
        let names: Vec<Box<[u8]>> = names.iter().map(|name| name.as_bytes().into()).collect();
        let mut found = Self { texts: names, ..Self::default() };
        if found.texts.is_empty() || found.texts.len() > NAMES_MAX {
            return found;
        }
        let bits = (found.texts.len() * 4).next_power_of_two().trailing_zeros();
        found.shift = 64 - bits;
        for attempt in 1..=FACTORS_MAX {
            found.factor = attempt.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
            let mut table = vec![NOBODY; 1 << bits];
            let collision = found.texts.iter().enumerate().any(|(at, name)| {
                let slot = &mut table[found.slot(name)];
                std::mem::replace(slot, at as u16) != NOBODY
            });
            if !collision {
                found.table = table;
                return found;
            }
        }
        found
    }

    /// The place of this text.
    #[inline]
    pub fn find(&self, name: &[u8]) -> Option<usize> {
        if self.table.is_empty() {
            return self.texts.iter().position(|other| **other == *name);
        }
        let at = usize::from(*self.table.get(self.slot(name))?);
        self.texts.get(at).filter(|other| same(other, name)).map(|_| at)
    }

    /// From a text's length and three of its bytes.
    #[inline]
    fn slot(&self, name: &[u8]) -> usize {
        let byte = |at: usize| u64::from(name.get(at).copied().unwrap_or_default());
        let length = name.len();
        let mixed = length as u64 | byte(0) << 16 | byte(length / 2) << 32 | byte(length.wrapping_sub(1)) << 48;
        (mixed.wrapping_mul(self.factor) >> self.shift) as usize
    }
}

/// Equality of short texts, without a call: by words of eight bytes, the last of which may overlap the one before.
#[inline]
fn same(a: &[u8], b: &[u8]) -> bool {
    let (Some(a_end), Some(b_end)) = (a.last_chunk::<8>(), b.last_chunk::<8>()) else {
        return a.len() == b.len() && a.iter().zip(b).all(|(a, b)| a == b);
    };
    a.len() == b.len() && a_end == b_end && a.chunks_exact(8).zip(b.chunks_exact(8)).all(|(a, b)| a == b)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_is_found_and_no_other() {
        for count in [0usize, 1, 2, 8, 63, 64, 65, 300, NAMES_MAX + 1] {
            let names: Vec<String> = (0..count).map(|n| format!("field_{n}")).collect();
            let table = Names::new(&names.iter().map(String::as_str).collect::<Vec<_>>());
            for (at, name) in names.iter().enumerate() {
                assert_eq!(table.find(name.as_bytes()), Some(at));
            }
            for other in ["", "f", "field_", "field_x", "FIELD_1", "field_01", "field_1\0"] {
                assert_eq!(table.find(other.as_bytes()), None, "{other} among {count}");
            }
        }
    }

    #[test]
    fn texts_are_the_same_only_to_the_last_byte() {
        let text: Vec<u8> = (0..40).collect();
        for length in 0..text.len() {
            let a = &text[..length];
            assert!(same(a, a));
            assert!(!same(a, &text[..=length]));
            for at in 0..length {
                let mut b = a.to_vec();
                b[at] ^= 1;
                assert!(!same(a, &b), "{length} bytes, different at {at}");
            }
        }
    }
}
