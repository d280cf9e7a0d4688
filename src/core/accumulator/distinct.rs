//! The number of different values: exact while there are few, estimated (HyperLogLog) beyond. Which of the two, and every bit of it, is a
//! function of the set of values alone.
//!
//! A value is known by the xxh3 (64 bits) of its bytes: `value` of `core::encoding`; a double that is an integer of 64 bits counts as that
//! integer, any other is 5 and its bits. Two of 1,024 different values have the same hash with a chance below 1e-13.
//!
//! Encoding, with the terms of `core::encoding`:
//!
//! ```text
//! distinct = number of values (count), the hashes in ascending order (u64 each)
//!          | 1,025 (count), registers (4,096 bytes)
//! ```

use xxhash_rust::xxh3::xxh3_64;

use crate::core::accumulator::Members;
use crate::core::columns::{Column, GroupValue};
use crate::core::encoding::{INTEGER, NUMBER, NotAPane, put_count, put_group_value, take, take_count};

/// Up to here the hashes themselves are kept, in 8 KiB; registers take 4 KiB.
const DISTINCT_EXACT_MAX: usize = 1_024;
/// Stands where the number of hashes would, before registers.
const ESTIMATED: u64 = DISTINCT_EXACT_MAX as u64 + 1;
/// The first bits of a hash choose its register. With 2^12 registers the standard error is 1.04 / 2^6 = 1.6 %.
const REGISTER_BITS: u32 = 12;
const REGISTERS: usize = 1 << REGISTER_BITS;
/// The other bits of a hash.
const SUFFIX_BITS: u32 = u64::BITS - REGISTER_BITS;
/// The rank of a hash whose other bits are all 0.
const RANK_MAX: u8 = SUFFIX_BITS as u8 + 1;

#[derive(Clone, Debug, PartialEq)]
pub(in crate::core) enum Distinct {
    /// Ascending, at most `DISTINCT_EXACT_MAX`.
    Hashes(Vec<u64>),
    /// Of more hashes than that.
    Registers(Box<[u8; REGISTERS]>),
}

impl Default for Distinct {
    fn default() -> Self {
        Self::Hashes(Vec::new())
    }
}

impl Distinct {
    pub(super) fn add(&mut self, members: &Members) {
        let hashes = match members.column {
            Column::Group { codes, dictionary } => {
                // Each text is hashed once.
                let mut codes: Vec<u32> = members.rows.iter().map(|&row| codes[row as usize]).collect();
                codes.sort_unstable();
                codes.dedup();
                let values = codes.iter().map(|&code| &dictionary[code as usize]);
                let mut bytes = Vec::new();
                values.filter(|&value| *value != GroupValue::Null).map(|value| hash(value, &mut bytes)).collect()
            }
            Column::Integer(values) => members.of(values).map(hash_of_integer).collect(),
            Column::Number(values) => members.of(values).map(hash_of_number).collect(),
            Column::Boolean(values) => {
                let mut bytes = Vec::new();
                members.of(values).map(|value| hash(&GroupValue::Bool(value), &mut bytes)).collect()
            }
            Column::Json(_) => panic!("no metric reads what a view keeps"),
        };
        self.merge(&Self::of(hashes));
    }

    /// Of any hashes, in any order.
    fn of(mut hashes: Vec<u64>) -> Self {
        hashes.sort_unstable();
        hashes.dedup();
        if hashes.len() <= DISTINCT_EXACT_MAX {
            hashes.shrink_to_fit();
            return Self::Hashes(hashes);
        }
        let mut registers = Box::new([0; REGISTERS]);
        note(&mut registers, &hashes);
        Self::Registers(registers)
    }

    pub(super) fn merge(&mut self, other: &Self) {
        match (&mut *self, other) {
            (Self::Hashes(mine), Self::Hashes(theirs)) => {
                if mine.is_empty() {
                    mine.clone_from(theirs);
                } else {
                    let strange = theirs.iter().filter(|hash| mine.binary_search(hash).is_err());
                    let strange: Vec<u64> = strange.copied().collect();
                    if !strange.is_empty() {
                        mine.extend(strange);
                        *self = Self::of(std::mem::take(mine));
                    }
                }
            }
            (Self::Registers(registers), Self::Hashes(hashes)) => note(registers, hashes),
            (Self::Hashes(hashes), Self::Registers(registers)) => {
                let mut registers = registers.clone();
                note(&mut registers, hashes);
                *self = Self::Registers(registers);
            }
            (Self::Registers(mine), Self::Registers(theirs)) => {
                mine.iter_mut().zip(theirs.iter()).for_each(|(mine, &theirs)| *mine = theirs.max(*mine));
            }
        }
    }

    pub(super) fn count(&self) -> u64 {
        match self {
            Self::Hashes(hashes) => hashes.len() as u64,
            // That there are more than can be kept is certain.
            Self::Registers(registers) => (estimate(registers).round() as u64).max(ESTIMATED),
        }
    }

    pub(super) fn encode(&self, into: &mut Vec<u8>) {
        match self {
            Self::Hashes(hashes) => {
                put_count(hashes.len() as u64, into);
                into.extend(hashes.iter().flat_map(|hash| hash.to_le_bytes()));
            }
            Self::Registers(registers) => {
                put_count(ESTIMATED, into);
                into.extend_from_slice(registers.as_slice());
            }
        }
    }

    pub(super) fn decode(event_count: u64, rest: &mut &[u8]) -> Result<Self, NotAPane> {
        let count = take_count(rest)?;
        if count > event_count {
            return Err(NotAPane("more values than events"));
        }
        if count < ESTIMATED {
            let mut hashes = Vec::with_capacity(count as usize);
            for _ in 0..count {
                hashes.push(u64::from_le_bytes(take(rest)?));
            }
            let ascending = hashes.is_sorted_by(|a, b| a < b);
            return if ascending { Ok(Self::Hashes(hashes)) } else { Err(NotAPane("hashes out of order")) };
        }
        let registers: [u8; REGISTERS] = take(rest)?;
        let possible = registers.iter().all(|&rank| rank <= RANK_MAX) && registers.iter().any(|&rank| rank > 0);
        if count > ESTIMATED || !possible {
            return Err(NotAPane("no registers"));
        }
        Ok(Self::Registers(Box::new(registers)))
    }
}

/// `bytes` is there to be used again.
fn hash(value: &GroupValue, bytes: &mut Vec<u8>) -> u64 {
    bytes.clear();
    put_group_value(value, bytes);
    xxh3_64(bytes)
}

/// As `hash` has it, without a detour: every event may bring another integer.
fn hash_of_integer(integer: i64) -> u64 {
    hash_of_word(INTEGER, integer.to_le_bytes())
}

fn hash_of_number(number: f64) -> u64 {
    // −2^63 is a double, 2^63 is the first beyond; the cast of what is in between is exact, and of −0 makes 0.
    if number.fract() == 0.0 && (-TWO_63..TWO_63).contains(&number) {
        hash_of_integer(number as i64)
    } else {
        hash_of_word(NUMBER, number.to_bits().to_le_bytes())
    }
}

fn hash_of_word(kind: u8, word: [u8; 8]) -> u64 {
    let mut bytes = [kind; 9];
    bytes[1..].copy_from_slice(&word);
    xxh3_64(&bytes)
}

const TWO_63: f64 = 9_223_372_036_854_775_808.0;

/// Each register holds the greatest rank of its hashes: the place of the first bit set in what follows the register's number, from 1.
fn note(registers: &mut [u8; REGISTERS], hashes: &[u64]) {
    for hash in hashes {
        let register = &mut registers[(hash >> SUFFIX_BITS) as usize];
        let rank = (hash << REGISTER_BITS).leading_zeros().min(SUFFIX_BITS) as u8 + 1;
        *register = rank.max(*register);
    }
}

/// Ertl's improved raw estimator ("New cardinality estimation algorithms for HyperLogLog sketches", 2017, algorithm 6), which needs no tables of
/// biases. Sums, products, quotients and square roots only, in this order: every machine rounds them alike.
fn estimate(registers: &[u8; REGISTERS]) -> f64 {
    /// 1 / (2 ln 2)
    const ALPHA: f64 = 0.721_347_520_444_481_7;
    const M: f64 = REGISTERS as f64;
    let mut of_rank = [0u32; RANK_MAX as usize + 1];
    for &rank in registers {
        of_rank[usize::from(rank)] += 1;
    }
    let [empty, ranks @ .., full] = of_rank;
    let mut z = M * tau(1.0 - f64::from(full) / M);
    for &count in ranks.iter().rev() {
        z = 0.5 * (z + f64::from(count));
    }
    z += M * sigma(f64::from(empty) / M);
    ALPHA * M * M / z
}

/// x + Σ x^(2^k) · 2^(k−1) over k ≥ 1, for x below 1.
fn sigma(mut x: f64) -> f64 {
    let (mut power, mut sum) = (1.0, x);
    loop {
        x *= x;
        let before = sum;
        sum += x * power;
        power += power;
        if sum.to_bits() == before.to_bits() {
            return sum;
        }
    }
}

/// (1 − x − Σ (1 − x^(2^−k))² · 2^−k over k ≥ 1) / 3.
fn tau(mut x: f64) -> f64 {
    let (mut power, mut sum) = (1.0, 1.0 - x);
    loop {
        x = x.sqrt();
        let before = sum;
        power *= 0.5;
        sum -= (1.0 - x) * (1.0 - x) * power;
        if sum.to_bits() == before.to_bits() {
            return sum / 3.0;
        }
    }
}
