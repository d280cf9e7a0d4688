//! UUIDs out of their text. Each event has some of them, so their digits are read eight at a time, by arithmetic on a word of 64 bits.

/// A UUID in the usual hyphenated form, in either letter case.
#[inline]
pub(in crate::core) fn uuid(text: &[u8]) -> Option<u128> {
    // Of its length only the hyphenated form is no UUID in other clothes (braces, urn:).
    let text: &[u8; 36] = text.try_into().ok()?;
    if [8, 13, 18, 23].iter().any(|hyphen| text.get(*hyphen) != Some(&b'-')) {
        return None;
    }
    let half = |at: usize| text.get(at..at + 4)?.first_chunk::<4>().map(|half| u64::from(u32::from_le_bytes(*half)));
    let word = |first: usize, second: usize| Some(half(first)? | half(second)? << 32);
    let words = [word(0, 4)?, word(9, 14)?, word(19, 24)?, word(28, 32)?];
    words.into_iter().try_fold(0, |sum, word| Some(sum << 32 | u128::from(digits(word)?)))
}

/// The number that eight hexadecimal digits are, the first of them in the lowest byte.
#[inline]
fn digits(word: u64) -> Option<u32> {
    const HIGH: u64 = each(0x80);
    // Bytes below 0x80 do not carry into their neighbours here; those that are not are caught by `HIGH`.
    let low = word & !HIGH;
    let at_least = |bytes: u64, least: u8| (bytes + each(0x80 - least)) & HIGH;
    let small = low | each(0x20);
    let digit = at_least(low, b'0') & !at_least(low, b'9' + 1);
    let letter = at_least(small, b'a') & !at_least(small, b'f' + 1);
    if (digit | letter) & !word & HIGH != HIGH {
        return None;
    }
    let values = (low & each(0x0F)) + (letter >> 7) * 9;
    let bytes = (values << 4 | values >> 8) & 0x00FF_00FF_00FF_00FF;
    let pairs = (bytes | bytes >> 8) & 0x0000_FFFF_0000_FFFF;
    Some(((pairs | pairs >> 16) as u32).swap_bytes())
}

/// A word with this byte eight times.
const fn each(byte: u8) -> u64 {
    0x0101_0101_0101_0101 * byte as u64
}

#[cfg(test)]
mod tests {
    use ::uuid::Uuid;
    use proptest::prelude::*;

    use super::*;

    /// What the crate says of a text of this length.
    fn reference(text: &[u8]) -> Option<u128> {
        Uuid::try_parse_ascii(text).ok().filter(|_| text.len() == 36).map(|uuid| uuid.as_u128())
    }

    #[test]
    fn every_byte_at_every_place_is_read_as_the_crate_reads_it() {
        let good = b"9531985d-5d9D-49f8-9818-E811892f902b";
        assert_eq!(uuid(good), Some(0x9531_985d_5d9d_49f8_9818_e811_892f_902b));
        for place in 0..good.len() {
            for byte in 0..=u8::MAX {
                let mut text = *good;
                text[place] = byte;
                assert_eq!(uuid(&text), reference(&text), "{byte} at {place}");
            }
        }
        for length in [0, 1, 32, 35, 37, 38] {
            let text: Vec<u8> = good.iter().chain(b"00").copied().take(length).collect();
            assert_eq!(uuid(&text), None);
        }
    }

    proptest! {
        #[test]
        fn a_text_is_what_the_crate_says(id in any::<u128>(), changes in prop::collection::vec((0usize..36, any::<u8>()), 0..3)) {
            let mut text = Uuid::from_u128(id).to_string().into_bytes();
            prop_assert_eq!(uuid(&text), Some(id));
            text.make_ascii_uppercase();
            prop_assert_eq!(uuid(&text), Some(id));
            for (place, byte) in changes {
                text[place] = byte;
            }
            prop_assert_eq!(uuid(&text), reference(&text));
        }
    }
}
