//! Very wide integers in digits of 32 bits, and their rounding to the nearest double. Knows no unit: whoever has an integer says what its
//! lowest bit is worth.

/// Bits of one digit of the wide integer.
pub(super) const DIGIT_BITS: usize = 32;
/// A double's bits below the implicit one.
pub(super) const FRACTION_BITS: u32 = 52;
/// A digit of a `Wide` stays below 2^63 over this many additions of at most 2^32 each.
pub(super) const UNCARRIED_MAX: u32 = 1 << 30;
/// Digits that a division appends below the point: of a quotient by 64 bits at least 96 bits are left, 53 and the one that rounds among them.
const QUOTIENT_DIGITS: usize = 5;

/// Digits `first..first + digits.len()` of the sum, carried only now and then; they may be negative.
#[derive(Clone, Debug)]
pub(super) struct Wide {
    pub(super) first: usize,
    pub(super) digits: Vec<i64>,
    /// Additions since the digits were last carried.
    pub(super) uncarried: u32,
}

/// A sum as sign and digits with no zero digit at either end: one for each value. Zero has no digits, begins at 0 and is not negative.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Canonical {
    pub(super) negative: bool,
    pub(super) first: usize,
    pub(super) digits: Vec<u32>,
}

/// Mantissa and biased exponent: the value is ±mantissa · 2^(biased − 1075).
#[inline]
pub(super) fn parts(value: f64) -> (u64, u32) {
    let bits = value.to_bits();
    let fraction = bits & ((1 << FRACTION_BITS) - 1);
    match (bits >> FRACTION_BITS) as u32 & 0x7ff {
        0 => (fraction, 1),
        biased => (fraction | 1 << FRACTION_BITS, biased),
    }
}

pub(super) fn digit_of(magnitude: u128, digit: usize) -> i64 {
    i64::from((magnitude >> (digit * DIGIT_BITS)) as u32)
}

impl Wide {
    /// Adds digits of at most 2^32 in magnitude, the first at place `first`.
    pub(super) fn add(&mut self, first: usize, digits: impl IntoIterator<Item = i64>) {
        if first < self.first {
            self.digits.splice(0..0, std::iter::repeat_n(0, self.first - first));
            self.first = first;
        }
        for (at, digit) in (first - self.first..).zip(digits) {
            if at >= self.digits.len() {
                self.digits.resize(at + 1, 0);
            }
            self.digits[at] += digit;
        }
        self.uncarried += 1;
        if self.uncarried == UNCARRIED_MAX {
            self.carry();
        }
    }

    /// Afterwards every digit is in 0..2^32, but the highest may be in −2^32..0: the sum's sign.
    pub(super) fn carry(&mut self) {
        let mut carry = 0;
        for digit in &mut self.digits {
            let sum = *digit + carry;
            *digit = i64::from(sum as u32);
            carry = sum >> DIGIT_BITS;
        }
        while !matches!(carry, 0 | -1) {
            self.digits.push(i64::from(carry as u32));
            carry >>= DIGIT_BITS;
        }
        if let Some(highest) = self.digits.last_mut() {
            *highest += carry << DIGIT_BITS;
        }
        self.uncarried = 1;
    }

    pub(super) fn canonical(&self) -> Canonical {
        let mut carried = self.clone();
        carried.carry();
        let negative = carried.digits.last().is_some_and(|&highest| highest < 0);
        if negative {
            carried.digits.iter_mut().for_each(|digit| *digit = -*digit);
            carried.carry();
        }
        let digits: Vec<u32> = carried.digits.iter().map(|&digit| digit as u32).collect();
        Canonical::new(negative, carried.first, &digits)
    }
}

impl Canonical {
    pub(super) fn new(negative: bool, first: usize, digits: &[u32]) -> Self {
        let Some(lowest) = digits.iter().position(|&d| d != 0) else {
            return Self { negative: false, first: 0, digits: Vec::new() };
        };
        let highest = digits.iter().rposition(|&d| d != 0).unwrap_or(lowest);
        Self { negative, first: first + lowest, digits: digits[lowest..=highest].to_vec() }
    }

    /// Number of bits of the whole integer, above bit 0 of digit 0.
    pub(super) fn bits(&self) -> usize {
        self.digits
            .last()
            .map_or(0, |highest| (self.first + self.digits.len()) * DIGIT_BITS - highest.leading_zeros() as usize)
    }

    /// Unless there are no digits, a byte for the first digit's place, and the digits, the lowest first, little-endian.
    pub(super) fn encode_digits(&self, into: &mut Vec<u8>) {
        if !self.digits.is_empty() {
            into.push(self.first as u8);
        }
        for digit in &self.digits {
            into.extend_from_slice(&digit.to_le_bytes());
        }
    }

    /// Takes so many digits off the front of `rest`, none at or above place `end`; None if the bytes are none that `encode_digits` makes.
    pub(super) fn decode_digits(negative: bool, len: usize, end: usize, rest: &mut &[u8]) -> Option<Self> {
        if len == 0 {
            return (!negative).then(|| Self::new(false, 0, &[]));
        }
        let (&first, after) = rest.split_first()?;
        let first = usize::from(first);
        let (bytes, after) = after.split_at_checked(len * 4)?;
        let digits: Vec<u32> = bytes.as_chunks().0.iter().map(|&word| u32::from_le_bytes(word)).collect();
        let ends_in_zero = digits.first() == Some(&0) || digits.last() == Some(&0);
        if first + len > end || ends_in_zero {
            return None;
        }
        *rest = after;
        Some(Self { negative, first, digits })
    }
}

/// ±(digits · 2^exponent) / count, rounded once.
pub(super) fn quotient(negative: bool, digits: &[u32], exponent: i32, count: u64) -> Option<f64> {
    if count == 0 {
        return None;
    }
    let mut quotient = vec![0u32; QUOTIENT_DIGITS];
    quotient.extend_from_slice(digits);
    let more = divide(&mut quotient, count);
    nearest(negative, &quotient, exponent - (QUOTIENT_DIGITS * DIGIT_BITS) as i32, more)
}

/// Divides by a divisor that is not 0, rounding down, and says whether anything was left.
pub(super) fn divide(digits: &mut [u32], divisor: u64) -> bool {
    let mut remainder = 0;
    for digit in digits.iter_mut().rev() {
        let dividend = u128::from(remainder) << DIGIT_BITS | u128::from(*digit);
        *digit = (dividend / u128::from(divisor)) as u32;
        remainder = (dividend % u128::from(divisor)) as u64;
    }
    remainder != 0
}

/// The double nearest to ±(digits · 2^exponent), ties to even, zero always +0; None if that is infinite. `more`: the true magnitude lies above
/// that of the digits, by less than their last bit.
pub(super) fn nearest(negative: bool, digits: &[u32], exponent: i32, more: bool) -> Option<f64> {
    let Some(highest) = digits.iter().rposition(|&d| d != 0) else { return Some(0.0) };
    let (below, top) = digits[..=highest].split_at(highest.saturating_sub(2));
    let top_bits = top.iter().rev().fold(0u128, |bits, &digit| bits << DIGIT_BITS | u128::from(digit));
    let aligned = top_bits << top_bits.leading_zeros();
    let head = (aligned >> 64) as u64;
    let more = more || aligned as u64 != 0 || below.iter().any(|&d| d != 0);
    // The exponent of the highest bit, which is bit 63 of `head`.
    let magnitude = exponent + (below.len() * DIGIT_BITS) as i32 + 127 - top_bits.leading_zeros() as i32;
    if magnitude > 1023 {
        return None;
    }

    // Bits of `head` that a double of this size has no room for.
    let dropped = 11 + (-1022 - magnitude).max(0);
    let (kept, rest) = match dropped {
        ..64 => (head >> dropped, head << (64 - dropped)),
        64 => (0, head),
        _ => (0, 1),
    };
    let half = 1 << 63;
    let up = rest > half || (rest == half && (more || kept % 2 == 1));
    // The implicit bit, and one that rounding carries out of the mantissa, add themselves to the exponent.
    let bits = (((magnitude.max(-1022) + 1022) as u64) << FRACTION_BITS) + kept + u64::from(up);
    let value = f64::from_bits(bits);
    if !value.is_finite() {
        return None;
    }
    Some(if negative && bits != 0 { -value } else { value })
}
