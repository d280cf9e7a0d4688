//! A blocked Bloom filter: whether an id may be in a part of a run, by one cache line of memory.

/// Bits that an id takes. With these a filter that is full lets one in some 200 ids pass that it does not have.
const BITS_AN_ID: usize = 12;
/// Words of a block; an id sets a bit in each.
const WORDS: usize = 8;
/// Odd numbers by which an id's bit in each word is chosen (those of Parquet's filters).
const SALTS: [u32; WORDS] =
    [0x47b6_137b, 0x4497_4d91, 0x8824_ad5b, 0xa2b7_289d, 0x7054_95c7, 0x2df1_424b, 0x9efc_4947, 0x5c6b_fb31];

#[derive(Clone, Copy, Debug, Default)]
#[repr(align(64))]
struct Block([u64; WORDS]);

/// Of the ids of one key group, by their hashes.
#[derive(Debug)]
pub(super) struct Filter {
    blocks: Vec<Block>,
    /// Ids that it has room for.
    room: usize,
}

impl Filter {
    /// With room for so many ids.
    pub(super) fn new(ids: usize) -> Self {
        let blocks = (ids * BITS_AN_ID).div_ceil(WORDS * 64).max(1);
        Self { blocks: vec![Block::default(); blocks], room: ids }
    }

    pub(super) fn of(hashes: &[u64]) -> Self {
        let mut filter = Self::new(hashes.len());
        for &hash in hashes {
            filter.add(hash);
        }
        filter
    }

    pub(super) fn add(&mut self, hash: u64) {
        let block = self.block_of(hash);
        for (word, bit) in self.blocks[block].0.iter_mut().zip(bits(hash)) {
            *word |= bit;
        }
        self.room = self.room.saturating_sub(1);
    }

    /// Ids that may be added without its letting more pass than it should.
    pub(super) fn room(&self) -> usize {
        self.room
    }

    /// False: the id is none of them.
    #[inline]
    pub(super) fn may_hold(&self, hash: u64) -> bool {
        let block = &self.blocks[self.block_of(hash)];
        // Without a branch, so that the memory of several ids is waited for at once.
        let missing = block.0.iter().zip(bits(hash)).fold(0, |missing, (word, bit)| missing | (!word & bit));
        missing == 0
    }

    #[inline]
    fn block_of(&self, hash: u64) -> usize {
        // The key group took the top bits.
        ((u128::from(hash << 7) * self.blocks.len() as u128) >> 64) as usize
    }
}

#[inline]
fn bits(hash: u64) -> [u64; WORDS] {
    SALTS.map(|salt| 1 << ((hash as u32).wrapping_mul(salt) >> 26))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::columns::EventId;
    use crate::core::keygroup::mix;

    /// Hashes of one key group; numbered ids, as no hash of theirs would be.
    fn hashes(from: u128, count: usize) -> Vec<u64> {
        (from..).map(|n| mix(EventId(n << 64))).filter(|hash| hash >> 57 == 5).take(count).collect()
    }

    #[test]
    fn what_was_added_passes_and_little_else_does() {
        for count in [1, 50, 20_000] {
            let filter = Filter::of(&hashes(0, count));
            assert!(hashes(0, count).iter().all(|&hash| filter.may_hold(hash)));
            let others = hashes(1 << 40, 20_000);
            let passed = others.iter().filter(|&&hash| filter.may_hold(hash)).count();
            assert!(passed < others.len() / 100, "{passed} of {} pass a filter of {count}", others.len());
        }
    }
}
