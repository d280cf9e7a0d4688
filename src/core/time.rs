//! Event time as text: RFC 3339 or a Unix time in, RFC 3339 out, kept to the microsecond. `docs/semantics.md`, "Reading times".

use crate::core::plan::{TimeFormat, Unit};
use crate::core::units::Micros;

pub(crate) const MICROS_PER_SECOND: i64 = 1_000_000;
pub(crate) const SECONDS_PER_DAY: i64 = 86_400;
/// 0001-01-01T00:00:00Z, the first moment that is a time.
const FIRST: i64 = -62_135_596_800 * MICROS_PER_SECOND;
/// 9999-12-31T23:59:59.999999Z, the last.
const LAST: i64 = 253_402_300_800 * MICROS_PER_SECOND - 1;
/// Microseconds have this many digits after the point.
const FRACTION_DIGITS: usize = 6;

/// Reads a time by its topic's format; None if it is no such time in the years 0001 to 9999.
#[must_use]
pub fn read(format: TimeFormat, text: &[u8]) -> Option<Micros> {
    match format {
        TimeFormat::Rfc3339 { zone: None } => parse(text),
        TimeFormat::Rfc3339 { zone: Some(east) } => parse_in(text, i64::from(east)),
        TimeFormat::Unix(unit) => parse_unix(text, unit),
    }
}

/// For people: what a text that could not be read is not.
#[must_use]
pub fn refused(format: TimeFormat) -> &'static str {
    match format {
        TimeFormat::Rfc3339 { zone: None } => "no RFC 3339 date-time with a zone in the years 0001 to 9999",
        TimeFormat::Rfc3339 { zone: Some(_) } => "no RFC 3339 date-time in the years 0001 to 9999",
        TimeFormat::Unix(Unit::Seconds) => "no number of seconds since 1970 in the years 0001 to 9999",
        TimeFormat::Unix(Unit::Milliseconds) => "no number of milliseconds since 1970 in the years 0001 to 9999",
        TimeFormat::Unix(Unit::Microseconds) => "no number of microseconds since 1970 in the years 0001 to 9999",
        TimeFormat::Unix(Unit::Nanoseconds) => "no number of nanoseconds since 1970 in the years 0001 to 9999",
    }
}

/// Reads an RFC 3339 date-time with a zone (`Z` or an offset), years 0001 to 9999 as a moment in UTC. Digits beyond the microsecond are cut; second 60 is
/// the next minute's 0. None if it is no such text.
#[must_use]
pub fn parse(text: &[u8]) -> Option<Micros> {
    date_time(text, false, None)
}

/// The same, but the zone may be missing and is then `east` seconds east of UTC, and a blank may stand for the `T`.
#[must_use]
pub fn parse_in(text: &[u8], east: i64) -> Option<Micros> {
    date_time(text, true, Some(east))
}

fn date_time(text: &[u8], blank: bool, default_east: Option<i64>) -> Option<Micros> {
    let (head, tail) = text.split_first_chunk::<19>()?;
    let [y0, y1, y2, y3, b'-', m0, m1, b'-', d0, d1, t @ (b'T' | b't' | b' '), h0, h1, b':', i0, i1, b':', s0, s1] =
        *head
    else {
        return None;
    };
    if t == b' ' && !blank {
        return None;
    }
    let year = two(y0, y1)? * 100 + two(y2, y3)?;
    let (month, day) = (two(m0, m1)?, two(d0, d1)?);
    let (hour, minute, second) = (two(h0, h1)?, two(i0, i1)?, two(s0, s1)?);
    if day == 0 || day > days_in_month(year, month)? || hour > 23 || minute > 59 || second > 60 {
        return None;
    }
    let (fraction, zone) = fraction(tail)?;
    let east = if zone.is_empty() { default_east? } else { offset(zone)? };
    let seconds = days_from_civil(year, month, day) * SECONDS_PER_DAY + hour * 3600 + minute * 60 + second - east;
    let micros = seconds * MICROS_PER_SECOND + fraction;
    (FIRST..=LAST).contains(&micros).then_some(Micros(micros))
}

/// Reads a JSON number as a moment, from its digits: no double stands between, so nothing is rounded. Digits beyond the microsecond are cut towards minus
/// infinity.
#[must_use]
pub fn parse_unix(text: &[u8], unit: Unit) -> Option<Micros> {
    /// No moment in microseconds has more digits before its point.
    const DIGITS_MAX: i64 = 18;
    let (negative, text) = text.strip_prefix(b"-").map_or((false, text), |rest| (true, rest));
    let (mantissa, exponent) = match text.iter().position(|b| matches!(b, b'e' | b'E')) {
        Some(at) => (text.get(..at)?, exponent(text.get(at + 1..)?)?),
        None => (text, 0),
    };
    let point = mantissa.iter().position(|b| *b == b'.');
    let (whole, part) = match point {
        Some(at) => (mantissa.get(..at)?, mantissa.get(at + 1..).filter(|part| !part.is_empty())?),
        None => (mantissa, &[][..]),
    };
    let leading_zero = whole.len() > 1 && whole.starts_with(b"0");
    if whole.is_empty() || leading_zero || !whole.iter().chain(part).all(u8::is_ascii_digit) {
        return None;
    }
    let shift = match unit {
        Unit::Seconds => 6,
        Unit::Milliseconds => 3,
        Unit::Microseconds => 0,
        Unit::Nanoseconds => -3,
    };
    // The digits before the point once the number counts microseconds; leading zeros count for nothing.
    let zeros = whole.iter().chain(part).take_while(|digit| **digit == b'0').count();
    let digits = || whole.iter().chain(part).skip(zeros);
    let kept = i64::try_from(whole.len()).ok()? - i64::try_from(zeros).ok()? + exponent + shift;
    if digits().next().is_none() {
        return Some(Micros(0));
    }
    if kept > DIGITS_MAX {
        return None;
    }
    let kept = usize::try_from(kept).unwrap_or(0);
    let micros = digits().map(|digit| i64::from(digit - b'0')).chain(std::iter::repeat(0)).take(kept);
    let micros = micros.fold(0, |sum, digit| sum * 10 + digit);
    let cut = digits().skip(kept).any(|digit| *digit != b'0');
    let micros = if negative { -micros - i64::from(cut) } else { micros };
    (FIRST..=LAST).contains(&micros).then_some(Micros(micros))
}

/// The same, of an integer.
#[must_use]
pub fn of_unix(number: i64, unit: Unit) -> Option<Micros> {
    let micros = match unit {
        Unit::Seconds => number.checked_mul(MICROS_PER_SECOND)?,
        Unit::Milliseconds => number.checked_mul(1_000)?,
        Unit::Microseconds => number,
        Unit::Nanoseconds => number.div_euclid(1_000),
    };
    Some(Micros(micros)).filter(|time| is_time(*time))
}

/// Whether a moment is of the years 0001 to 9999.
#[must_use]
pub fn is_time(moment: Micros) -> bool {
    (FIRST..=LAST).contains(&moment.0)
}

/// An exponent; one that is past every moment stops there.
fn exponent(text: &[u8]) -> Option<i64> {
    const PAST_ALL: i64 = 1_000_000_000;
    let (negative, digits) = match text.split_first()? {
        (b'-', digits) => (true, digits),
        (b'+', digits) => (false, digits),
        _ => (false, text),
    };
    if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let value = digits.iter().fold(0, |sum: i64, digit| (sum * 10 + i64::from(digit - b'0')).min(PAST_ALL));
    Some(if negative { -value } else { value })
}

/// The microseconds of `.123…`, if it is there, and what follows.
fn fraction(tail: &[u8]) -> Option<(i64, &[u8])> {
    let Some((b'.', digits)) = tail.split_first() else { return Some((0, tail)) };
    let (mut micros, mut length) = (0, 0);
    while let Some(digit) = digits.get(length).map(|byte| byte.wrapping_sub(b'0')).filter(|digit| *digit <= 9) {
        if length < FRACTION_DIGITS {
            micros = micros * 10 + i64::from(digit);
        }
        length += 1;
    }
    let missing = FRACTION_DIGITS.saturating_sub(length) as u32;
    (length > 0).then(|| Some((micros * 10_i64.pow(missing), digits.get(length..)?)))?
}

/// Seconds east of Greenwich, of `Z` or an offset such as `+01:00`.
#[must_use]
pub fn offset(zone: &[u8]) -> Option<i64> {
    match *zone {
        [b'Z' | b'z'] => Some(0),
        [sign @ (b'+' | b'-'), h0, h1, b':', m0, m1] => {
            let (hours, minutes) = (two(h0, h1)?, two(m0, m1)?);
            let east = hours * 3600 + minutes * 60;
            (hours <= 23 && minutes <= 59).then_some(if sign == b'-' { -east } else { east })
        }
        _ => None,
    }
}

fn two(tens: u8, ones: u8) -> Option<i64> {
    let (tens, ones) = (tens.wrapping_sub(b'0'), ones.wrapping_sub(b'0'));
    (tens <= 9 && ones <= 9).then(|| i64::from(tens) * 10 + i64::from(ones))
}

fn days_in_month(year: i64, month: i64) -> Option<i64> {
    let leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    match month {
        1 | 3 | 5 | 7 | 8 | 10 | 12 => Some(31),
        4 | 6 | 9 | 11 => Some(30),
        2 => Some(if leap { 29 } else { 28 }),
        _ => None,
    }
}

/// Days since 1970-01-01 in the proleptic Gregorian calendar. The year is taken to begin in March, so that the leap day is its last.
pub(crate) fn days_from_civil(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let year_of_era = year.rem_euclid(400);
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    era * 146_097 + day_of_era - 719_468
}

/// The inverse of `days_from_civil`.
pub(crate) fn civil_from_days(days: i64) -> (i64, i64, i64) {
    let days = days + 719_468;
    let (era, day_of_era) = (days.div_euclid(146_097), days.rem_euclid(146_097));
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted = (5 * day_of_year + 2) / 153;
    let month = if shifted < 10 { shifted + 3 } else { shifted - 9 };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    (year, month, day_of_year - (153 * shifted + 2) / 5 + 1)
}

/// `2026-11-22T12:00:00Z`; with a fraction of 3 or 6 digits only where it is not zero.
#[must_use]
pub fn format(time: Micros) -> String {
    let (seconds, micros) = (time.0.div_euclid(MICROS_PER_SECOND), time.0.rem_euclid(MICROS_PER_SECOND));
    let (days, second) = (seconds.div_euclid(SECONDS_PER_DAY), seconds.rem_euclid(SECONDS_PER_DAY));
    let (year, month, day) = civil_from_days(days);
    let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
    let fraction = match micros {
        0 => String::new(),
        _ if micros % 1000 == 0 => format!(".{:03}", micros / 1000),
        _ => format!(".{micros:06}"),
    };
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}{fraction}Z")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn check(text: &str, expected: Option<&str>) {
        assert_eq!(parse(text.as_bytes()).map(format).as_deref(), expected, "{text}");
    }

    #[test]
    fn times_are_read_to_the_microsecond_in_utc() {
        for (text, expected) in [
            ("1970-01-01T00:00:00Z", "1970-01-01T00:00:00Z"),
            ("2026-11-22T12:00:00.123Z", "2026-11-22T12:00:00.123Z"),
            ("2026-11-22t12:00:00.120z", "2026-11-22T12:00:00.120Z"),
            ("2026-11-22T12:00:00.1234567891234567890123456789Z", "2026-11-22T12:00:00.123456Z"),
            ("2026-11-22T12:00:00.0000009Z", "2026-11-22T12:00:00Z"),
            ("1969-12-31T23:59:59.9999999Z", "1969-12-31T23:59:59.999999Z"),
            ("2026-11-22T12:00:00+03:30", "2026-11-22T08:30:00Z"),
            ("2026-11-22T12:00:00-23:59", "2026-11-23T11:59:00Z"),
            ("2016-12-31T23:59:60Z", "2017-01-01T00:00:00Z"),
            ("2016-12-31T12:34:60.5Z", "2016-12-31T12:35:00.500Z"),
            ("2024-02-29T00:00:00Z", "2024-02-29T00:00:00Z"),
            ("2000-02-29T00:00:00Z", "2000-02-29T00:00:00Z"),
            ("0001-01-01T00:00:00Z", "0001-01-01T00:00:00Z"),
            ("0000-12-31T23:00:00-01:00", "0001-01-01T00:00:00Z"),
            ("9999-12-31T23:59:59.999999Z", "9999-12-31T23:59:59.999999Z"),
        ] {
            check(text, Some(expected));
        }
    }

    #[test]
    fn what_is_no_time_is_refused() {
        for text in [
            "",
            "Z",
            "2026-11-22",
            "2026-11-22T12:00:00",
            "2026-11-22 12:00:00Z",
            "2026-11-22T12:00Z",
            "2026-11-22T12:00:00.Z",
            "2026-11-22T12:00:00,5Z",
            "2026-11-22T12:00:00ZZ",
            "2026-11-22T12:00:00Z ",
            " 2026-11-22T12:00:00Z",
            "2026-11-22T24:00:00Z",
            "2026-11-22T12:60:00Z",
            "2026-11-22T12:00:61Z",
            "2026-11-22T12:00:00+24:00",
            "2026-11-22T12:00:00+01:60",
            "2026-11-22T12:00:00+0100",
            "2026-11-22T12:00:00+01",
            "2026-00-22T12:00:00Z",
            "2026-13-22T12:00:00Z",
            "2026-11-00T12:00:00Z",
            "2026-11-31T12:00:00Z",
            "2025-02-29T00:00:00Z",
            "1900-02-29T00:00:00Z",
            "0000-12-31T23:59:59Z",
            "0001-01-01T00:00:00+00:01",
            "9999-12-31T23:59:60Z",
            "9999-12-31T23:59:59-00:01",
            "+2026-11-22T12:00:00Z",
            "20261-11-22T12:00:00Z",
            "2026-1a-22T12:00:00Z",
            "2026-11-22T12:00:0:Z",
            "\u{0662}026-11-22T12:00:00Z",
            "1732276800",
        ] {
            check(text, None);
        }
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_back(micros in FIRST..=LAST) {
            prop_assert_eq!(parse(format(Micros(micros)).as_bytes()), Some(Micros(micros)));
        }

        #[test]
        fn an_integer_is_the_moment_that_its_digits_are(number in any::<i64>(), shift in 0..50_u32) {
            let number = number >> shift;
            for unit in [Unit::Seconds, Unit::Milliseconds, Unit::Microseconds, Unit::Nanoseconds] {
                prop_assert_eq!(of_unix(number, unit), parse_unix(number.to_string().as_bytes(), unit));
            }
        }

        #[test]
        fn no_text_panics(text in "[0-9T:Z.+-]{0,40}") {
            let _ = parse(text.as_bytes());
        }
    }
}
