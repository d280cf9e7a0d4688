//! The exact sum of squares of finite doubles, kept as `ExactSum` keeps a sum. A square has twice as many bits as a double, and its lowest bit
//! is worth the square of what the double's is: so every place here is twice the place there, and the window has 256 bits.

use crate::core::exact::digits::{Canonical, DIGIT_BITS, Wide, parts};
use crate::core::exact::{BITS_MAX_EACH, LOWEST_EXPONENT, WINDOW_FIRST_DIGIT, bits_of};

/// Bit 0 of digit 0 is worth 2^-2200.
const LOWEST_SQUARE_EXPONENT: i32 = 2 * LOWEST_EXPONENT;
/// Every square is below 2^2048.
const SQUARE_BITS_MAX: usize = 2 * BITS_MAX_EACH;
/// 2^64 squares stay below bit 2048 + 64 + 2200 = 4312.
const SQUARE_DIGITS_MAX: usize = 135;
/// The window's unit is 2^-152: it holds the square of every double of which the window of sums holds the double.
const SQUARE_WINDOW_FIRST_DIGIT: usize = 2 * WINDOW_FIRST_DIGIT;
const SQUARE_WINDOW_DIGITS: usize = 8;
/// What the square of a mantissa of 53 bits may be shifted within 256 bits and leave room for a few more.
const SQUARE_SHIFT_MAX: i32 = 144;
/// How many digits a square of 106 bits, shifted by up to 31, reaches into.
const SQUARE_DIGITS: usize = 5;

/// 256 bits without sign.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct U256 {
    pub high: u128,
    pub low: u128,
}

/// The exact sum of the squares of finite doubles.
#[derive(Clone, Debug)]
pub struct SquareSum(Form);

#[derive(Clone, Debug)]
enum Form {
    /// A number of 2^-152.
    Window(U256),
    Wide(Box<Wide>),
}

impl U256 {
    /// `value << shift`, for shifts below 256 that lose nothing.
    #[inline]
    #[must_use]
    pub fn shifted(value: u128, shift: u32) -> Self {
        match shift {
            0 => Self { high: 0, low: value },
            1..128 => Self { high: value >> (128 - shift), low: value << shift },
            _ => Self { high: value << (shift - 128), low: 0 },
        }
    }

    /// None: the sum has more bits.
    #[inline]
    #[must_use]
    pub fn checked_add(self, other: Self) -> Option<Self> {
        let (low, carry) = self.low.overflowing_add(other.low);
        let high = self.high.checked_add(other.high)?.checked_add(u128::from(carry))?;
        Some(Self { high, low })
    }

    /// Digits of 32 bits, the lowest first.
    pub(super) fn digits(self) -> [u32; SQUARE_WINDOW_DIGITS] {
        [0, 1, 2, 3, 4, 5, 6, 7].map(|at| {
            let half = if at < 4 { self.low } else { self.high };
            (half >> (at % 4 * DIGIT_BITS)) as u32
        })
    }
}

impl Default for SquareSum {
    fn default() -> Self {
        Self(Form::Window(U256::default()))
    }
}

impl PartialEq for SquareSum {
    fn eq(&self, other: &Self) -> bool {
        match (&self.0, &other.0) {
            (Form::Window(a), Form::Window(b)) => a == b,
            _ => self.canonical() == other.canonical(),
        }
    }
}

impl Eq for SquareSum {}

impl SquareSum {
    /// Adds the square of one value.
    ///
    /// # Panics
    /// If it is not finite: decode refuses such a number.
    #[inline]
    pub fn add(&mut self, value: f64) {
        if let Form::Window(sum) = self.0
            && let Some(term) = window_square(value)
            && let Some(sum) = sum.checked_add(term)
        {
            self.0 = Form::Window(sum);
        } else {
            self.add_wide(value);
        }
    }

    #[cold]
    fn add_wide(&mut self, value: f64) {
        assert!(value.is_finite(), "{value} is squared: decode makes finite numbers only");
        let (mantissa, biased) = parts(value);
        if mantissa == 0 {
            return;
        }
        // The mantissa's last bit is worth 2^(biased - 1075), its square's the square of that.
        let bit = (2 * (biased as i32 - 1075) - LOWEST_SQUARE_EXPONENT) as usize;
        let square = U256::shifted(square(mantissa), (bit % DIGIT_BITS) as u32);
        self.widen().add(bit / DIGIT_BITS, square.digits().into_iter().take(SQUARE_DIGITS).map(i64::from));
    }

    /// Adds another sum.
    pub fn merge(&mut self, other: &Self) {
        match (&self.0, &other.0) {
            (Form::Window(a), Form::Window(b)) => match a.checked_add(*b) {
                Some(sum) => self.0 = Form::Window(sum),
                None => self.widen().add(SQUARE_WINDOW_FIRST_DIGIT, b.digits().map(i64::from)),
            },
            (_, Form::Window(units)) => {
                self.widen().add(SQUARE_WINDOW_FIRST_DIGIT, units.digits().map(i64::from));
            }
            (_, Form::Wide(wide)) => {
                let mut wide = wide.clone();
                wide.carry();
                self.widen().add(wide.first, wide.digits);
            }
        }
    }

    fn widen(&mut self) -> &mut Wide {
        if let Form::Window(units) = self.0 {
            let digits = units.digits().map(i64::from).to_vec();
            self.0 = Form::Wide(Box::new(Wide { first: SQUARE_WINDOW_FIRST_DIGIT, digits, uncarried: 1 }));
        }
        match &mut self.0 {
            Form::Wide(wide) => wide,
            Form::Window(_) => unreachable!("it was made wide above"),
        }
    }

    /// Self-delimiting bytes; equal sums have equal bytes. A byte of number of digits; unless that is 0, a byte for the first digit's place,
    /// and the digits, the lowest first, little-endian.
    pub fn encode(&self, into: &mut Vec<u8>) {
        let exact = self.canonical();
        assert!(exact.first + exact.digits.len() <= SQUARE_DIGITS_MAX, "a sum of more than 2^64 squares");
        into.push(exact.digits.len() as u8);
        exact.encode_digits(into);
    }

    /// Takes one sum off the front of `rest`; None if the bytes are none that `encode` makes of so many squares.
    pub fn decode(count: u64, rest: &mut &[u8]) -> Option<Self> {
        let (&len, mut after) = rest.split_first()?;
        let exact = Canonical::decode_digits(false, usize::from(len), SQUARE_DIGITS_MAX, &mut after)?;
        if exact.bits() > SQUARE_BITS_MAX + bits_of(count) {
            return None;
        }
        *rest = after;
        Some(Self::of(&exact))
    }

    fn of(exact: &Canonical) -> Self {
        if let Some(above) = exact.first.checked_sub(SQUARE_WINDOW_FIRST_DIGIT)
            && above + exact.digits.len() <= SQUARE_WINDOW_DIGITS
        {
            let mut halves = [0, 0];
            for (place, &digit) in (above..).zip(&exact.digits) {
                halves[place / 4] |= u128::from(digit) << (place % 4 * DIGIT_BITS);
            }
            let [low, high] = halves;
            return Self(Form::Window(U256 { high, low }));
        }
        let digits = exact.digits.iter().map(|&digit| i64::from(digit)).collect();
        Self(Form::Wide(Box::new(Wide { first: exact.first, digits, uncarried: 1 })))
    }

    pub(super) fn canonical(&self) -> Canonical {
        match &self.0 {
            Form::Window(units) => Canonical::new(false, SQUARE_WINDOW_FIRST_DIGIT, &units.digits()),
            Form::Wide(wide) => wide.canonical(),
        }
    }
}

#[inline]
fn square(mantissa: u64) -> u128 {
    u128::from(mantissa) * u128::from(mantissa)
}

/// The square in the window's unit. None if it has bits below it, or is so large that it had better be added as wide.
#[inline]
fn window_square(value: f64) -> Option<U256> {
    /// The biased exponent at which a mantissa's last bit is worth 2^-76, and its square's the window's unit.
    const UNSHIFTED: i32 = 1075 + LOWEST_EXPONENT + (WINDOW_FIRST_DIGIT * DIGIT_BITS) as i32;
    let (mantissa, biased) = parts(value);
    let shift = biased as i32 - UNSHIFTED;
    if (0..=SQUARE_SHIFT_MAX / 2).contains(&shift) {
        Some(U256::shifted(square(mantissa), 2 * shift as u32))
    } else if mantissa == 0 {
        Some(U256::default())
    } else if shift < 0 && mantissa.trailing_zeros() as i32 >= -shift {
        Some(U256::shifted(square(mantissa >> -shift), 0))
    } else {
        None
    }
}
