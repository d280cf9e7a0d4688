//! Parts of a timestamp, in UTC and the proleptic Gregorian calendar.

use crate::core::time::{MICROS_PER_SECOND, SECONDS_PER_DAY, civil_from_days, days_from_civil};

const MICROS_PER_DAY: i64 = SECONDS_PER_DAY * MICROS_PER_SECOND;
/// Every integer up to this is a double.
const EXACT_MAX: i64 = 1 << 53;

/// What `EXTRACT` takes out of a timestamp.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    Year,
    Month,
    Day,
    Hour,
    Minute,
    /// With its fraction.
    Second,
    /// Sunday is 0.
    DayOfWeek,
    DayOfYear,
    /// Seconds since 1970-01-01T00:00:00Z, with their fraction.
    Epoch,
}

/// What `DATE_TRUNC` cuts to. A week begins on Monday.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    Second,
    Minute,
    Hour,
    Day,
    Week,
    Month,
    Quarter,
    Year,
}

/// For all parts but `Second` and `Epoch`.
pub(super) fn extract(part: Part, time: i64) -> i64 {
    let (days, micros) = (time.div_euclid(MICROS_PER_DAY), time.rem_euclid(MICROS_PER_DAY));
    let (year, month, day) = civil_from_days(days);
    let second = micros / MICROS_PER_SECOND;
    match part {
        Part::Year => year,
        Part::Month => month,
        Part::Day => day,
        Part::Hour => second / 3600,
        Part::Minute => second / 60 % 60,
        // 1970-01-01 was a Thursday.
        Part::DayOfWeek => (days + 4).rem_euclid(7),
        Part::DayOfYear => days - days_from_civil(year, 1, 1) + 1,
        Part::Second | Part::Epoch => panic!("{part:?} is a number"),
    }
}

/// For `Second` and `Epoch`.
pub(super) fn extract_number(part: Part, time: i64) -> f64 {
    match part {
        Part::Second => seconds(time.rem_euclid(60 * MICROS_PER_SECOND)),
        Part::Epoch => seconds(time),
        _ => panic!("{part:?} is an integer"),
    }
}

/// The double nearest to so many microseconds in seconds.
pub(super) fn seconds(micros: i64) -> f64 {
    if micros.abs() <= EXACT_MAX {
        // Both are exact, so the quotient is rounded once.
        return micros as f64 / MICROS_PER_SECOND as f64;
    }
    let sign = if micros < 0 { "-" } else { "" };
    let (whole, fraction) = (micros.unsigned_abs() / 1_000_000, micros.unsigned_abs() % 1_000_000);
    let Ok(seconds) = format!("{sign}{whole}.{fraction:06}").parse() else { panic!("a decimal number") };
    seconds
}

pub(super) fn truncate(unit: Unit, time: i64) -> i64 {
    let to = |size: i64| time.div_euclid(size) * size;
    let days = time.div_euclid(MICROS_PER_DAY);
    let (year, month, _) = civil_from_days(days);
    match unit {
        Unit::Second => to(MICROS_PER_SECOND),
        Unit::Minute => to(60 * MICROS_PER_SECOND),
        Unit::Hour => to(3600 * MICROS_PER_SECOND),
        Unit::Day => to(MICROS_PER_DAY),
        // 1970-01-05 was a Monday.
        Unit::Week => ((days - 4).div_euclid(7) * 7 + 4) * MICROS_PER_DAY,
        Unit::Month => days_from_civil(year, month, 1) * MICROS_PER_DAY,
        Unit::Quarter => days_from_civil(year, (month - 1) / 3 * 3 + 1, 1) * MICROS_PER_DAY,
        Unit::Year => days_from_civil(year, 1, 1) * MICROS_PER_DAY,
    }
}
