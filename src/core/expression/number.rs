//! What functions do to one integer or one number. None: there is no such value, which is an error.

use std::cmp::Ordering;

/// A finite number without −0.
pub(super) fn finite(value: f64) -> Option<f64> {
    value.is_finite().then_some(value + 0.0)
}

pub(super) fn divide(a: f64, b: f64) -> Option<f64> {
    finite(a / b)
}

pub(super) fn modulo(a: i64, b: i64) -> Option<i64> {
    // `i64::MIN % -1` has a value although the quotient has none.
    if b == -1 { Some(0) } else { a.checked_rem(b) }
}

pub(super) fn sign(value: f64) -> f64 {
    match value.partial_cmp(&0.0) {
        Some(Ordering::Less) => -1.0,
        Some(Ordering::Greater) => 1.0,
        _ => 0.0,
    }
}

/// The number with so many digits after the point that is nearest to the exact value; ties go to the even neighbour.
pub(super) fn round_to(value: f64, digits: u8) -> Option<f64> {
    // The standard library prints the exact value and rounds it so; reading takes the nearest double.
    format!("{value:.*}", usize::from(digits)).parse().ok().and_then(finite)
}

pub(super) fn square_root(value: f64) -> Option<f64> {
    finite(value.sqrt())
}

// `libm` computes the same bits on every machine, which the platform's own library does not.

pub(super) fn exponential(value: f64) -> Option<f64> {
    finite(libm::exp(value))
}

pub(super) fn natural_logarithm(value: f64) -> Option<f64> {
    finite(libm::log(value))
}

pub(super) fn logarithm_10(value: f64) -> Option<f64> {
    finite(libm::log10(value))
}

pub(super) fn power(base: f64, exponent: f64) -> Option<f64> {
    finite(libm::pow(base, exponent))
}
