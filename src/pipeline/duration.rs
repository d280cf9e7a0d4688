//! Durations as people write them: a whole number and one of ms, s, m, h, d.

use crate::core::units::Micros;

/// Units, largest first, in microseconds.
const UNITS: [(&str, i64); 5] =
    [("d", 86_400_000_000), ("h", 3_600_000_000), ("m", 60_000_000), ("s", 1_000_000), ("ms", 1_000)];

/// No duration is longer: ten years. Sums of a time and a few durations stay far inside 64 bits.
pub const DURATION_MAX: Micros = Micros(3_650 * 86_400_000_000);

/// What is allowed, for messages.
pub const ALLOWED: &str = "a whole number and one of ms, s, m, h, d, such as 500ms or 24h, at most 3650d";

/// Reads `5s`, `24h`, …; None if it is no such text or longer than `DURATION_MAX`.
#[must_use]
pub fn parse(text: &str) -> Option<Micros> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at_checked(digits)?;
    let &(_, micros) = UNITS.iter().find(|(name, _)| *name == unit)?;
    let total = number.parse::<i64>().ok()?.checked_mul(micros)?;
    (total <= DURATION_MAX.0).then_some(Micros(total))
}

/// The shortest text that `parse` reads as this duration. Only for whole milliseconds, as `parse` gives them.
#[must_use]
pub fn format(duration: Micros) -> String {
    let fits = |&&(_, micros): &&(&str, i64)| duration.0 != 0 && duration.0 % micros == 0;
    match UNITS.iter().find(fits) {
        Some((unit, micros)) => format!("{}{unit}", duration.0 / micros),
        None => format!("{}s", duration.0 / 1_000_000),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations() {
        for (text, expected) in [
            ("5s", Some(5_000_000)),
            ("0s", Some(0)),
            ("250ms", Some(250_000)),
            ("1m", Some(60_000_000)),
            ("24h", Some(86_400_000_000)),
            ("3650d", Some(DURATION_MAX.0)),
            ("3651d", None),
            ("9223372036854775807d", None),
            ("99999999999999999999s", None),
            ("5", None),
            ("s", None),
            ("", None),
            ("-5s", None),
            ("1.5s", None),
            ("5 s", None),
            ("5S", None),
            ("5s ", None),
            ("5µs", None),
            ("٥s", None),
        ] {
            assert_eq!(parse(text), expected.map(Micros), "{text:?}");
        }
        for text in ["5s", "90s", "250ms", "1d", "25h", "0s"] {
            assert_eq!(parse(text).map(format).as_deref(), Some(if text == "90s" { "90s" } else { text }));
        }
    }
}
