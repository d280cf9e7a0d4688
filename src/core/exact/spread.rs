//! The standard deviation from exact sums, rounded once: whole numbers up to the last step, and no function whose last bit is a library's choice.

use crate::core::exact::digits::{DIGIT_BITS, digit_of, divide, nearest};
use crate::core::exact::squares::{SquareSum, U256};
use crate::core::exact::{ExactSum, LOWEST_EXPONENT};

/// Digits that the division appends below the point. The divisor has at most 128 bits, so at least 128 bits of the quotient are left, and 64
/// of its root.
const POINT_DIGITS: usize = 8;
/// Bits of the quotient of which the root is taken: the root has half as many, 53 and the one that rounds among them.
const ROOT_OF_BITS: usize = 128;

/// n · Σx² − (Σx)² of n values: n · (n − 1) times their sample variance, exactly.
#[derive(Debug)]
pub struct Spread {
    count: u64,
    /// The lowest first.
    digits: Vec<u32>,
    /// The lowest bit is worth 2^(2 · exponent).
    exponent: i32,
}

impl Spread {
    /// Of doubles. None if no values have such sums.
    #[must_use]
    pub fn of_numbers(count: u64, sum: &ExactSum, squares: &SquareSum) -> Option<Self> {
        let (sum, squares) = (sum.canonical(), squares.canonical());
        // Digit k of a sum is worth the square root of digit 2k of a sum of squares. What is below both is cut off.
        let mut lowest = squares.first / 2;
        if !sum.digits.is_empty() {
            lowest = lowest.min(sum.first);
        }
        let padded = |digits: &[u32], zeros: usize| [&vec![0; zeros], digits].concat();
        let squares = padded(&squares.digits, squares.first - 2 * lowest);
        let sum = padded(&sum.digits, sum.first.saturating_sub(lowest));
        Self::new(count, &sum, &squares, LOWEST_EXPONENT + (lowest * DIGIT_BITS) as i32)
    }

    /// Of integers. None if no values have such sums.
    #[must_use]
    pub fn of_integers(count: u64, sum: i128, squares: U256) -> Option<Self> {
        let sum = [0, 1, 2, 3].map(|digit| digit_of(sum.unsigned_abs(), digit) as u32);
        Self::new(count, &sum, &squares.digits(), 0)
    }

    fn new(count: u64, sum: &[u32], squares: &[u32], exponent: i32) -> Option<Self> {
        let count_digits = [count as u32, (count >> DIGIT_BITS) as u32];
        // Never below zero for any values (Cauchy and Schwarz), and zero for one.
        let digits = difference(product(&count_digits, squares), &product(sum, sum))?;
        let possible = count > 1 || digits.iter().all(|&digit| digit == 0);
        possible.then_some(Self { count, digits, exponent })
    }

    /// The square root of the sample variance, rounded once to the nearest double, ties to even. None for a count below 2, and if it is
    /// infinite.
    #[must_use]
    pub fn deviation(&self) -> Option<f64> {
        if self.count < 2 {
            return None;
        }
        let mut quotient = vec![0; POINT_DIGITS];
        quotient.extend_from_slice(&self.digits);
        // Rounding down twice is rounding down once by the product.
        let more = divide(&mut quotient, self.count);
        let more = divide(&mut quotient, self.count - 1) | more;
        let Some((root, dropped, inexact)) = root(&quotient) else { return Some(0.0) };
        let root = [root as u32, (root >> DIGIT_BITS) as u32];
        let exponent = self.exponent + (dropped / 2) as i32 - (POINT_DIGITS * DIGIT_BITS / 2) as i32;
        nearest(false, &root, exponent, inexact || more)
    }
}

/// The first 64 bits of the square root, after how many dropped bits of its square (an even number) they begin, and whether anything is missing
/// below them. None for zero.
fn root(digits: &[u32]) -> Option<(u64, usize, bool)> {
    let highest = digits.iter().rposition(|&digit| digit != 0)?;
    let digit = |at: usize| u128::from(digits.get(at).copied().unwrap_or(0));
    let bits = (highest + 1) * DIGIT_BITS - digits[highest].leading_zeros() as usize;
    let dropped = bits.saturating_sub(ROOT_OF_BITS).next_multiple_of(2);
    let (from, shift) = (dropped / DIGIT_BITS, dropped % DIGIT_BITS);
    let low = digit(from) | digit(from + 1) << 32 | digit(from + 2) << 64 | digit(from + 3) << 96;
    let head = if shift == 0 { low } else { low >> shift | digit(from + 4) << (128 - shift) };
    let root = head.isqrt();
    let below = digits[..from].iter().any(|&digit| digit != 0) || digit(from) & ((1 << shift) - 1) != 0;
    Some((root as u64, dropped, below || root * root != head))
}

fn product(a: &[u32], b: &[u32]) -> Vec<u32> {
    let mut product = vec![0; a.len() + b.len()];
    for (at, &a) in a.iter().enumerate() {
        let mut carry = 0;
        for (digit, b) in product[at..].iter_mut().zip(b.iter().copied().chain([0])) {
            let sum = u64::from(a) * u64::from(b) + u64::from(*digit) + carry;
            *digit = sum as u32;
            carry = sum >> DIGIT_BITS;
        }
    }
    product
}

/// None if it is below zero.
fn difference(mut a: Vec<u32>, b: &[u32]) -> Option<Vec<u32>> {
    a.resize(a.len().max(b.len()), 0);
    let mut borrow = false;
    for (a, b) in a.iter_mut().zip(b.iter().copied().chain(std::iter::repeat(0))) {
        let (digit, under) = a.overflowing_sub(b);
        let (digit, again) = digit.overflowing_sub(u32::from(borrow));
        *a = digit;
        borrow = under || again;
    }
    (!borrow).then_some(a)
}
