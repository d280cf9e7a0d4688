//! From one type to another. None: there is no such value, which is an error.

/// Digits before which a number is written with an exponent, as PostgreSQL does.
const FIXED_EXPONENTS: std::ops::Range<i32> = -4..15;
/// 2⁶³, the first double that is no 64-bit integer.
const INTEGERS_END: f64 = 9_223_372_036_854_775_808.0;

/// The shortest digits that are read back as this number: `0.1`, `1e+20`.
pub(super) fn number_to_text(value: f64) -> String {
    let scientific = format!("{value:e}");
    let Some((mantissa, exponent)) = scientific.split_once('e') else { panic!("{scientific} has an exponent") };
    let Ok(exponent) = exponent.parse::<i32>() else { panic!("{scientific} has an exponent") };
    if FIXED_EXPONENTS.contains(&exponent) {
        return format!("{value}");
    }
    let sign = if exponent < 0 { '-' } else { '+' };
    format!("{mantissa}e{sign}{:02}", exponent.unsigned_abs())
}

/// The nearest integer; ties go to the even neighbour.
pub(super) fn number_to_integer(value: f64) -> Option<i64> {
    let rounded = value.round_ties_even();
    (-INTEGERS_END..INTEGERS_END).contains(&rounded).then_some(rounded as i64)
}

/// Blanks around a value that is written as text do not count.
fn trimmed(text: &str) -> &str {
    text.trim_matches([' ', '\t', '\n', '\r', '\x0b', '\x0c'])
}

/// Digits, with or without a sign.
pub(super) fn text_to_integer(text: &str) -> Option<i64> {
    trimmed(text).parse().ok()
}

/// A decimal number, with or without an exponent.
pub(super) fn text_to_number(text: &str) -> Option<f64> {
    let text = trimmed(text);
    // Not its words for infinity and no number.
    if !text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'+' | b'-' | b'.' | b'e' | b'E')) {
        return None;
    }
    text.parse().ok().and_then(super::number::finite)
}

/// `true`, `yes`, `on`, `1`, `false`, `no`, `off`, `0`, or a beginning of one that is not also one of another.
pub(super) fn text_to_boolean(text: &str) -> Option<bool> {
    match trimmed(text).to_ascii_lowercase().as_str() {
        "t" | "tr" | "tru" | "true" | "y" | "ye" | "yes" | "on" | "1" => Some(true),
        "f" | "fa" | "fal" | "fals" | "false" | "n" | "no" | "of" | "off" | "0" => Some(false),
        _ => None,
    }
}
