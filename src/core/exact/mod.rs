//! Exact sums: commutative and associative to the bit, rounded once when a row is emitted. Knows doubles and integers, nothing of events.
//!
//! Every finite double is an integer times 2^-1074, so a sum of them is one very wide integer. Sums of ordinary size are kept in the 128 bits
//! of a *window* of it, others in as many 32-bit digits as they need. Which of the two holds a sum depends on the order in which its terms
//! came; equality, bytes and rounding look at the integer alone and so do not. Sums of squares are made in the same way, with every place
//! doubled.

mod digits;
mod squares;
mod spread;

use crate::core::exact::digits::{Canonical, DIGIT_BITS, Wide, digit_of, nearest, parts, quotient};
pub use crate::core::exact::spread::Spread;
pub use crate::core::exact::squares::{SquareSum, U256};

/// Bit 0 of digit 0 is worth 2^-1100: at most 2^-1074, the last bit of the smallest double, and chosen so that the window below begins
/// with a whole digit.
const LOWEST_EXPONENT: i32 = -1100;
/// Every double is below 2^1024.
const BITS_MAX_EACH: usize = 1024 + 1100;
/// 2^64 doubles stay below bit 1024 + 64 + 1100 = 2188.
const DIGITS_MAX: usize = 70;
/// The digit with which the window begins: its unit is 2^-76. So it holds every double from 2^-24 up with all its bits, and sums up to
/// 2^51: ages, coordinates, amounts of money.
const WINDOW_FIRST_DIGIT: usize = 32;
const WINDOW_DIGITS: usize = 4;

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
        exact.encode_digits(into);
    }

    /// Takes one sum off the front of `rest`; None if the bytes are none that `encode` makes of so many doubles.
    pub fn decode(count: u64, rest: &mut &[u8]) -> Option<Self> {
        let (&head, mut after) = rest.split_first()?;
        let exact = Canonical::decode_digits(head & 0x80 != 0, usize::from(head & 0x7f), DIGITS_MAX, &mut after)?;
        if exact.bits() > BITS_MAX_EACH + bits_of(count) {
            return None;
        }
        *rest = after;
        Some(Self::of(&exact))
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

/// How many bits a sum of so many terms may have more than one of them.
fn bits_of(count: u64) -> usize {
    (u64::BITS - count.leading_zeros()) as usize
}

#[inline]
fn join(high: i64, low: u64) -> i128 {
    i128::from(high) << 64 | i128::from(low)
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

/// The exponent of two that a digit's lowest bit is worth.
fn exponent_of(digit: i32) -> i32 {
    LOWEST_EXPONENT + digit * DIGIT_BITS as i32
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::exact::digits::UNCARRIED_MAX;

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
