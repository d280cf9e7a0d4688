//! Exact sums: commutative and associative to the bit, rounded once when a row is emitted. Knows doubles and integers, nothing of events.
//!
//! Every finite double is an integer times 2^-1074, so a sum of them is one very wide integer. Sums of ordinary size are kept in the 128 bits
//! of a *window* of it, others in as many 32-bit digits as they need. Which of the two holds a sum depends on the order in which its terms
//! came; equality, bytes and rounding look at the integer alone and so do not.

/// Bits of one digit of the wide integer.
const DIGIT_BITS: usize = 32;
/// Bit 0 of digit 0 is worth 2^-1100: at most 2^-1074, the last bit of the smallest double, and chosen so that the window below begins
/// with a whole digit.
const LOWEST_EXPONENT: i32 = -1100;
/// 2^64 doubles, each below 2^1024, stay below bit 1024 + 64 + 1100 = 2188.
const DIGITS_MAX: usize = 70;
/// The digit with which the window begins: its unit is 2^-76. So it holds every double from 2^-24 up with all its bits, and sums up to
/// 2^51: ages, coordinates, amounts of money.
const WINDOW_FIRST_DIGIT: usize = 32;
const WINDOW_DIGITS: usize = 4;
/// A double's bits below the implicit one.
const FRACTION_BITS: u32 = 52;
/// A digit of a `Wide` stays below 2^63 over this many additions of at most 2^32 each.
const UNCARRIED_MAX: u32 = 1 << 30;
/// Digits that a division appends below the point: of a quotient by 64 bits at least 96 bits are left, 53 and the one that rounds among them.
const QUOTIENT_DIGITS: usize = 5;

/// The exact sum of finite doubles.
#[derive(Clone, Debug)]
pub struct ExactSum(Form);

#[derive(Clone, Debug)]
enum Form {
    /// The halves of an `i128` number of 2^-76. Halves, because an `i128` would be aligned to 16 bytes and a pane holds many sums.
    Window {
        high: i64,
        low: u64,
    },
    Wide(Box<Wide>),
}

/// Digits `first..first + digits.len()` of the sum, carried only now and then; they may be negative.
#[derive(Clone, Debug)]
struct Wide {
    first: usize,
    digits: Vec<i64>,
    /// Additions since the digits were last carried.
    uncarried: u32,
}

/// A sum as sign and digits with no zero digit at either end: one for each value. Zero has no digits, begins at 0 and is not negative.
#[derive(Debug, PartialEq, Eq)]
struct Canonical {
    negative: bool,
    first: usize,
    digits: Vec<u32>,
}

impl Default for ExactSum {
    fn default() -> Self {
        Self::of_units(0)
    }
}

impl PartialEq for ExactSum {
    fn eq(&self, other: &Self) -> bool {
        match (&self.0, &other.0) {
            (Form::Window { high: a, low: b }, Form::Window { high: c, low: d }) => (a, b) == (c, d),
            _ => self.canonical() == other.canonical(),
        }
    }
}

impl Eq for ExactSum {}

impl ExactSum {
    #[inline]
    fn of_units(units: i128) -> Self {
        Self(Form::Window { high: (units >> 64) as i64, low: units as u64 })
    }

    /// Adds one value.
    ///
    /// # Panics
    /// If it is not finite: decode refuses such a number.
    #[inline]
    pub fn add(&mut self, value: f64) {
        if let Form::Window { high, low } = self.0
            && let Some(term) = window_units(value)
            && let Some(sum) = join(high, low).checked_add(term)
        {
            *self = Self::of_units(sum);
        } else {
            self.add_wide(value);
        }
    }

    #[cold]
    fn add_wide(&mut self, value: f64) {
        assert!(value.is_finite(), "{value} is added: decode makes finite numbers only");
        let (mantissa, biased) = parts(value);
        if mantissa == 0 {
            return;
        }
        // The mantissa's last bit is worth 2^(biased - 1075).
        let bit = (biased as i32 - 1075 - LOWEST_EXPONENT) as usize;
        let shifted = u128::from(mantissa) << (bit % DIGIT_BITS);
        let sign = if value < 0.0 { -1 } else { 1 };
        self.widen().add(bit / DIGIT_BITS, [0, 1, 2].map(|digit| sign * digit_of(shifted, digit)));
    }

    /// Adds another sum.
    pub fn merge(&mut self, other: &Self) {
        match (&self.0, &other.0) {
            (&Form::Window { high: a, low: b }, &Form::Window { high: c, low: d }) => {
                match join(a, b).checked_add(join(c, d)) {
                    Some(sum) => *self = Self::of_units(sum),
                    None => self.widen().add(WINDOW_FIRST_DIGIT, window_digits(join(c, d))),
                }
            }
            (_, &Form::Window { high, low }) => self.widen().add(WINDOW_FIRST_DIGIT, window_digits(join(high, low))),
            (_, Form::Wide(wide)) => {
                let mut wide = wide.clone();
                wide.carry();
                self.widen().add(wide.first, wide.digits);
            }
        }
    }

    fn widen(&mut self) -> &mut Wide {
        if let Form::Window { high, low } = self.0 {
            let digits = window_digits(join(high, low)).to_vec();
            self.0 = Form::Wide(Box::new(Wide { first: WINDOW_FIRST_DIGIT, digits, uncarried: 1 }));
        }
        match &mut self.0 {
            Form::Wide(wide) => wide,
            Form::Window { .. } => unreachable!("it was made wide above"),
        }
    }

    /// The sum rounded to the nearest double, ties to even, never −0. None if that is infinite.
    #[must_use]
    pub fn value(&self) -> Option<f64> {
        let exact = self.canonical();
        nearest(exact.negative, &exact.digits, exponent_of(exact.first as i32), false)
    }

    /// The quotient of the sum and a count, rounded once to the nearest double, ties to even, never −0. None for a count of 0, and if it is
    /// infinite.
    #[must_use]
    pub fn mean(&self, count: u64) -> Option<f64> {
        let exact = self.canonical();
        quotient(exact.negative, &exact.digits, exponent_of(exact.first as i32), count)
    }

    /// Self-delimiting bytes; equal sums have equal bytes. A byte of sign (the top bit) and number of digits; unless that is 0, a byte for
    /// the first digit's place, and the digits, the lowest first, little-endian.
    pub fn encode(&self, into: &mut Vec<u8>) {
        let exact = self.canonical();
        assert!(exact.first + exact.digits.len() <= DIGITS_MAX, "a sum of more than 2^64 doubles");
        into.push(u8::from(exact.negative) << 7 | exact.digits.len() as u8);
        if !exact.digits.is_empty() {
            into.push(exact.first as u8);
        }
        for digit in &exact.digits {
            into.extend_from_slice(&digit.to_le_bytes());
        }
    }

    /// Takes one sum off the front of `rest`; None if the bytes are none that `encode` makes.
    pub fn decode(rest: &mut &[u8]) -> Option<Self> {
        let (&head, after) = rest.split_first()?;
        let (negative, len) = (head & 0x80 != 0, usize::from(head & 0x7f));
        if len == 0 {
            *rest = after;
            return (!negative).then(Self::default);
        }
        let (&first, after) = after.split_first()?;
        let first = usize::from(first);
        let bytes = after.get(..len * 4)?;
        let digits: Vec<u32> = bytes.as_chunks().0.iter().map(|&word| u32::from_le_bytes(word)).collect();
        let ends_in_zero = digits.first() == Some(&0) || digits.last() == Some(&0);
        if first + len > DIGITS_MAX || ends_in_zero {
            return None;
        }
        *rest = after.get(len * 4..)?;
        Some(Self::of(&Canonical { negative, first, digits }))
    }

    fn of(exact: &Canonical) -> Self {
        let sign = if exact.negative { -1 } else { 1 };
        if let Some(above) = exact.first.checked_sub(WINDOW_FIRST_DIGIT)
            && above + exact.digits.len() <= WINDOW_DIGITS
        {
            let magnitude =
                exact.digits.iter().rev().fold(0u128, |m, &d| m << DIGIT_BITS | u128::from(d)) << (above * DIGIT_BITS);
            if let Ok(magnitude) = i128::try_from(magnitude) {
                return Self::of_units(i128::from(sign) * magnitude);
            }
        }
        let digits = exact.digits.iter().map(|&d| sign * i64::from(d)).collect();
        Self(Form::Wide(Box::new(Wide { first: exact.first, digits, uncarried: 1 })))
    }

    fn canonical(&self) -> Canonical {
        match &self.0 {
            &Form::Window { high, low } => {
                let units = join(high, low);
                let digits = window_digits(units).map(|d| d.unsigned_abs() as u32);
                Canonical::new(units < 0, WINDOW_FIRST_DIGIT, &digits)
            }
            Form::Wide(wide) => wide.canonical(),
        }
    }
}

/// The mean of integers from their exact sum, rounded once to the nearest double, ties to even. None for a count of 0.
#[must_use]
pub fn integer_mean(sum: i128, count: u64) -> Option<f64> {
    let digits = [0, 1, 2, 3].map(|digit| digit_of(sum.unsigned_abs(), digit) as u32);
    quotient(sum < 0, &digits, 0, count)
}

#[inline]
fn join(high: i64, low: u64) -> i128 {
    i128::from(high) << 64 | i128::from(low)
}

/// Mantissa and biased exponent: the value is ±mantissa · 2^(biased − 1075).
#[inline]
fn parts(value: f64) -> (u64, u32) {
    let bits = value.to_bits();
    let fraction = bits & ((1 << FRACTION_BITS) - 1);
    match (bits >> FRACTION_BITS) as u32 & 0x7ff {
        0 => (fraction, 1),
        biased => (fraction | 1 << FRACTION_BITS, biased),
    }
}

/// The value in the window's unit. None if it has bits below it, or is so large that it had better be added as wide.
#[inline]
fn window_units(value: f64) -> Option<i128> {
    /// The biased exponent at which a mantissa's last bit is worth 2^-76.
    const UNSHIFTED: i32 = 1075 + LOWEST_EXPONENT + (WINDOW_FIRST_DIGIT * DIGIT_BITS) as i32;
    /// A mantissa of 53 bits shifted by so much stays below 2^127.
    const SHIFT_MAX: i32 = 127 - 53;
    let (mantissa, biased) = parts(value);
    let shift = biased as i32 - UNSHIFTED;
    let units = if (0..=SHIFT_MAX).contains(&shift) {
        i128::from(mantissa) << shift
    } else if mantissa == 0 {
        0
    } else if shift < 0 && mantissa.trailing_zeros() as i32 >= -shift {
        i128::from(mantissa >> -shift)
    } else {
        return None;
    };
    // Without a branch, which signs by chance would make the processor miss.
    let sign = i128::from(value.to_bits() as i64 >> 63);
    Some((units ^ sign) - sign)
}

/// The digits of a number of window units, all with its sign.
fn window_digits(units: i128) -> [i64; WINDOW_DIGITS] {
    let sign = if units < 0 { -1 } else { 1 };
    [0, 1, 2, 3].map(|digit| sign * digit_of(units.unsigned_abs(), digit))
}

fn digit_of(magnitude: u128, digit: usize) -> i64 {
    i64::from((magnitude >> (digit * DIGIT_BITS)) as u32)
}

/// The exponent of two that a digit's lowest bit is worth.
fn exponent_of(digit: i32) -> i32 {
    LOWEST_EXPONENT + digit * DIGIT_BITS as i32
}

impl Wide {
    /// Adds digits of at most 2^32 in magnitude, the first at place `first`.
    fn add(&mut self, first: usize, digits: impl IntoIterator<Item = i64>) {
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
    fn carry(&mut self) {
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

    fn canonical(&self) -> Canonical {
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
    fn new(negative: bool, first: usize, digits: &[u32]) -> Self {
        let Some(lowest) = digits.iter().position(|&d| d != 0) else {
            return Self { negative: false, first: 0, digits: Vec::new() };
        };
        let highest = digits.iter().rposition(|&d| d != 0).unwrap_or(lowest);
        Self { negative, first: first + lowest, digits: digits[lowest..=highest].to_vec() }
    }
}

/// ±(digits · 2^exponent) / count, rounded once.
fn quotient(negative: bool, digits: &[u32], exponent: i32, count: u64) -> Option<f64> {
    if count == 0 {
        return None;
    }
    let mut quotient = vec![0u32; QUOTIENT_DIGITS];
    quotient.extend_from_slice(digits);
    let mut remainder = 0;
    for digit in quotient.iter_mut().rev() {
        let dividend = u128::from(remainder) << DIGIT_BITS | u128::from(*digit);
        *digit = (dividend / u128::from(count)) as u32;
        remainder = (dividend % u128::from(count)) as u64;
    }
    nearest(negative, &quotient, exponent - (QUOTIENT_DIGITS * DIGIT_BITS) as i32, remainder != 0)
}

/// The double nearest to ±(digits · 2^exponent), ties to even, zero always +0; None if that is infinite. `more`: the true magnitude lies above
/// that of the digits, by less than their last bit.
fn nearest(negative: bool, digits: &[u32], exponent: i32, more: bool) -> Option<f64> {
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

#[cfg(test)]
mod tests {
    use super::*;

    /// A million panes of some sums each fit into memory.
    #[test]
    fn an_ordinary_sum_is_small() {
        assert!(size_of::<ExactSum>() <= 24, "{} bytes", size_of::<ExactSum>());
    }

    /// After 2^30 additions, which no other test makes.
    #[test]
    fn digits_are_carried_before_they_overflow() {
        for sign in [1, -1] {
            let digits = vec![sign * (i64::MAX - (1 << 32)); 3];
            let full = ExactSum(Form::Wide(Box::new(Wide { first: 40, digits, uncarried: UNCARRIED_MAX - 1 })));
            let mut sum = full.clone();
            // The mantissa's bits, all set, over digits 40 and 41: in one of them, bits 0 to 31.
            let term =
                f64::from_bits(((1075 + LOWEST_EXPONENT + 40 * 32) as u64) << 52 | ((1 << 52) - 1)) * sign as f64;
            sum.add(term);
            let Form::Wide(wide) = &sum.0 else { panic!("it was wide") };
            assert_eq!(wide.uncarried, 1, "it was carried");
            assert!(wide.digits.iter().all(|d| d.unsigned_abs() <= 1 << 32), "{:x?}", wide.digits);
            sum.add(-term);
            assert_eq!(sum, full);
        }
    }
}
