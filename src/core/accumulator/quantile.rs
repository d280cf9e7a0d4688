//! Quantiles of relative accuracy, after DDSketch: a histogram whose buckets grow with the values. Buckets are never joined to save room, since
//! what is left would then depend on the order of events.
//!
//! Between two powers of two lie 2^7 buckets of equal width, from the smallest subnormal double up, likewise below zero, and zero has one: so
//! every value is within 2^-8 of the middle of its bucket. Values that span d powers of ten fill at most 426 · d buckets; at worst, over all
//! doubles of either sign, there are 537,089.
//!
//! Encoding, with the terms of `core::encoding`:
//!
//! ```text
//! quantile = number of buckets b (count); unless b = 0: bucket…, the least value's bits, the greatest value's bits
//! bucket   = its key less the one before it, the first's plus 268,544 (count), its number of values (count)
//! ```

use crate::core::accumulator::number_of;
use crate::core::encoding::{NotAPane, put_count, take, take_count};
use crate::core::plan::Fraction;

/// Buckets in a power of two, as a power of two: relative errors are at most 2^-8, less than 0.4 %.
const BUCKET_BITS: u32 = 7;
/// A double's bits below the implicit one.
const FRACTION_BITS: u32 = 52;
/// The smallest double is this many powers of two below the smallest that is normal, 2^-1022.
const SUBNORMAL_POWERS: i32 = 52;
/// Powers of two from 2^-1074 to 2^1023, in buckets: the greatest key.
const KEY_MAX: i32 = 2098 << BUCKET_BITS;
/// A bucket is at least a byte of key and a byte of count.
const BUCKET_BYTES_MIN: usize = 2;

/// Keys: 0 for zero, 1 and up for positive values, −1 and down for negative ones; so they are ordered as the values are.
#[derive(Clone, Debug, Default, PartialEq)]
pub(in crate::core) struct Sketch {
    /// (key, number of values), in ascending order of keys; no number is 0.
    buckets: Vec<(i32, u64)>,
    /// The least and the greatest value, exactly; zeros without buckets.
    extremes: (f64, f64),
}

impl Sketch {
    /// Adds values that are finite and never −0.
    pub(super) fn add(&mut self, values: impl Iterator<Item = f64>) {
        let mut keys = Vec::with_capacity(values.size_hint().1.unwrap_or(0));
        let (mut least, mut greatest) = (f64::INFINITY, f64::NEG_INFINITY);
        for value in values {
            keys.push(key(value));
            (least, greatest) = (least.min(value), greatest.max(value));
        }
        if keys.is_empty() {
            return;
        }
        keys.sort_unstable();
        let buckets = keys.chunk_by(|a, b| a == b).map(|same| (same[0], same.len() as u64)).collect();
        self.merge(&Self { buckets, extremes: (least, greatest) });
    }

    pub(super) fn merge(&mut self, other: &Self) {
        if other.buckets.is_empty() {
            return;
        }
        if self.buckets.is_empty() {
            self.clone_from(other);
            return;
        }
        self.extremes = (self.extremes.0.min(other.extremes.0), self.extremes.1.max(other.extremes.1));
        // Most often all buckets are known already.
        let strange = other.buckets.iter().filter(|(key, _)| self.place(*key).is_err());
        let strange: Vec<(i32, u64)> = strange.map(|&(key, _)| (key, 0)).collect();
        if !strange.is_empty() {
            self.buckets.extend(strange);
            // Two ascending runs: the stable sort finds and merges them.
            self.buckets.sort_by_key(|&(key, _)| key);
        }
        let mut mine = self.buckets.iter_mut();
        for (key, count) in &other.buckets {
            let Some((_, sum)) = mine.find(|(known, _)| known == key) else { panic!("every key was put in above") };
            *sum += count;
        }
    }

    fn place(&self, key: i32) -> Result<usize, usize> {
        self.buckets.binary_search_by_key(&key, |&(key, _)| key)
    }

    /// The value of rank floor(fraction · (n − 1)), of ranks 0 to n − 1: exact at the least and at the greatest rank, otherwise the middle of its
    /// bucket, or the least or greatest value if the middle lies beyond it. None for no values.
    pub(super) fn quantile(&self, fraction: Fraction) -> Option<f64> {
        let count: u64 = self.buckets.iter().map(|(_, count)| count).sum();
        let last = count.checked_sub(1)?;
        let (least, greatest) = self.extremes;
        match rank(fraction, last) {
            0 => Some(least),
            rank if rank == last => Some(greatest),
            rank => {
                let mut up_to = 0;
                let at = self.buckets.iter().find(|(_, count)| {
                    up_to += count;
                    rank < up_to
                });
                at.map(|&(key, _)| middle(key).clamp(least, greatest))
            }
        }
    }

    pub(super) fn encode(&self, into: &mut Vec<u8>) {
        put_count(self.buckets.len() as u64, into);
        let mut before = -KEY_MAX;
        for (key, count) in &self.buckets {
            put_count((key - before) as u64, into);
            put_count(*count, into);
            before = *key;
        }
        if !self.buckets.is_empty() {
            let (least, greatest) = self.extremes;
            into.extend([least, greatest].iter().flat_map(|value| value.to_bits().to_le_bytes()));
        }
    }

    pub(super) fn decode(event_count: u64, rest: &mut &[u8]) -> Result<Self, NotAPane> {
        let len = usize::try_from(take_count(rest)?).unwrap_or(usize::MAX);
        if len > rest.len() / BUCKET_BYTES_MIN {
            return Err(NotAPane("it ends too early"));
        }
        if len == 0 {
            return Ok(Self::default());
        }
        let mut buckets = Vec::with_capacity(len);
        let (mut before, mut total) = (-KEY_MAX, 0u64);
        for number in 0..len {
            let (step, count) = (take_count(rest)?, take_count(rest)?);
            let key = i32::try_from(step).ok().and_then(|step| before.checked_add(step)).filter(|&key| key <= KEY_MAX);
            let Some(key) = key.filter(|_| number == 0 || step > 0) else { return Err(NotAPane("no bucket's key")) };
            total =
                total.checked_add(count).filter(|&t| t <= event_count).ok_or(NotAPane("more values than events"))?;
            if count == 0 {
                return Err(NotAPane("an empty bucket"));
            }
            buckets.push((key, count));
            before = key;
        }
        let (least, greatest) = (number_of(take(rest)?)?, number_of(take(rest)?)?);
        let ends = (buckets.first().map(|b| b.0), buckets.last().map(|b| b.0));
        let in_order = least <= greatest && (total > 1 || least.to_bits() == greatest.to_bits());
        if ends != (Some(key(least)), Some(key(greatest))) || !in_order {
            return Err(NotAPane("a least or greatest value outside its bucket"));
        }
        Ok(Self { buckets, extremes: (least, greatest) })
    }
}

/// The bucket of a finite value.
fn key(value: f64) -> i32 {
    let bits = value.abs().to_bits();
    // A subnormal is shifted until it has the bit that is implicit in others, and its exponent goes on below theirs.
    let shift = bits.leading_zeros().saturating_sub(u64::BITS - 1 - FRACTION_BITS) as i32;
    let magnitude = match (bits, bits >> FRACTION_BITS) {
        (0, _) => return 0,
        (_, 0) => ((bits << shift) >> (FRACTION_BITS - BUCKET_BITS)) as i32 - (shift << BUCKET_BITS),
        _ => (bits >> (FRACTION_BITS - BUCKET_BITS)) as i32,
    };
    // The smallest double has the biased exponent 1 − 52 and is to have key 1.
    let key = magnitude + ((SUBNORMAL_POWERS - 1) << BUCKET_BITS) + 1;
    if value < 0.0 { -key } else { key }
}

/// The middle of a bucket; of a bucket that holds a single double, that.
fn middle(key: i32) -> f64 {
    if key == 0 {
        return 0.0;
    }
    let number = key.unsigned_abs() - 1;
    // Half a bucket more than its lower end, in half buckets: of 9 bits.
    let mantissa = 2 * u64::from((1 << BUCKET_BITS) + (number & ((1 << BUCKET_BITS) - 1))) + 1;
    // The biased exponent, which goes on below 1 for subnormals.
    let biased = (number >> BUCKET_BITS) as i32 - (SUBNORMAL_POWERS - 1);
    let mantissa = mantissa << (FRACTION_BITS - BUCKET_BITS - 1);
    let bits = if biased > 0 {
        ((biased as u64 - 1) << FRACTION_BITS) + mantissa
    } else {
        // Where a bit is lost the bucket is narrower than two doubles.
        mantissa >> (1 - biased)
    };
    let middle = f64::from_bits(bits);
    if key < 0 { -middle } else { middle }
}

/// floor(fraction · last), where the fraction is the shortest decimal that reads as its double: what a person wrote. The double next to 0.29 is
/// below it, and would miss rank 29 of 100.
fn rank(fraction: Fraction, last: u64) -> u64 {
    let text = format!("{:e}", fraction.get());
    let (digits, exponent) = text.split_once('e').unwrap_or((&text, "0"));
    let (whole, decimals) = digits.split_once('.').unwrap_or((digits, ""));
    let (Ok(digits), Ok(exponent)) = (format!("{whole}{decimals}").parse::<u64>(), exponent.parse::<i32>()) else {
        panic!("{text} is how a number from 0 to 1 is written")
    };
    // At most 17 digits times 64 bits.
    let product = u128::from(digits) * u128::from(last);
    let places = (decimals.len() as i32 - exponent).unsigned_abs();
    // What has more places is less than 1.
    10u128.checked_pow(places).map_or(0, |unit| (product / unit) as u64)
}
