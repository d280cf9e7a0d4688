//! The one source of chance: ChaCha from a seed, with the draws that generation needs. Equal seeds give equal draws on every machine.

use rand::{RngCore, SeedableRng};
use rand_chacha::ChaCha8Rng;

#[derive(Debug)]
pub struct Random(ChaCha8Rng);

/// A probability, compared with 32 random bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Chance(u64);

impl Chance {
    /// Of a probability from 0 to 1.
    pub fn of(probability: f64) -> Self {
        Self((probability.clamp(0.0, 1.0) * 4_294_967_296.0) as u64)
    }
}

impl Random {
    pub fn seeded(seed: u64) -> Self {
        Self(ChaCha8Rng::seed_from_u64(seed))
    }

    /// True with this probability. Draws nothing where there is nothing to decide, so that a switched-off disturbance costs no time.
    pub fn hits(&mut self, chance: Chance) -> bool {
        chance.0 > 0 && u64::from(self.0.next_u32()) < chance.0
    }

    /// A number below `bound`, which is not 0. The bias of at most `bound / 2³²` does not matter here.
    pub fn below(&mut self, bound: u32) -> u32 {
        ((u64::from(self.0.next_u32()) * u64::from(bound)) >> 32) as u32
    }

    /// A place in a list of this length, which is not empty.
    pub fn index(&mut self, length: usize) -> usize {
        self.below(u32::try_from(length).unwrap_or(u32::MAX)) as usize
    }

    /// A number in `least..=most`.
    pub fn between(&mut self, least: i64, most: i64) -> i64 {
        let span = most.abs_diff(least);
        match u32::try_from(span) {
            Ok(span) if span < u32::MAX => least + i64::from(self.below(span + 1)),
            _ => {
                let drawn = (u128::from(self.0.next_u64()) * (u128::from(span) + 1)) >> 64;
                least.wrapping_add(drawn as u64 as i64)
            }
        }
    }

    pub fn bytes(&mut self) -> [u8; 16] {
        let mut bytes = [0; 16];
        self.0.fill_bytes(&mut bytes);
        bytes
    }
}
