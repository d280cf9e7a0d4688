//! The time of an event: "Reading times".

use std::ops::Range;

use caudal::core::plan::{TimeFormat, Unit};
use num_bigint::{BigInt, Sign};
use num_rational::BigRational;
use num_traits::{ToPrimitive, Zero};

use super::json::{self, Json};

/// 0001-01-01T00:00:00Z and 10000-01-01T00:00:00Z.
const MOMENTS: Range<i128> = -62_135_596_800_000_000..253_402_300_800_000_000;

/// Microseconds since 1970, if the field holds a time.
pub fn read(format: TimeFormat, value: &Json) -> Option<i128> {
    let time = match (format, value) {
        (TimeFormat::Rfc3339 { zone }, Json::Text(text)) => rfc3339(text, zone),
        (TimeFormat::Unix(unit), Json::Number(_, text)) => unix(text, unit),
        (TimeFormat::Unix(unit), Json::Text(text)) if json::is_number(text) => unix(text, unit),
        _ => None,
    };
    time.filter(|time| MOMENTS.contains(time))
}

/// A JSON number of these units, from its digits.
fn unix(text: &str, unit: Unit) -> Option<i128> {
    let (mantissa, exponent) = text.split_once(['e', 'E']).unwrap_or((text, "0"));
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    // It is mantissa · 10^exponent microseconds.
    let mantissa: BigInt = format!("{whole}{fraction}").parse().ok()?;
    if mantissa.is_zero() {
        return Some(0);
    }
    let unit = match unit {
        Unit::Seconds => 6,
        Unit::Milliseconds => 3,
        Unit::Microseconds => 0,
        Unit::Nanoseconds => -3,
    };
    let exponent: BigInt = exponent.parse::<BigInt>().ok()? - fraction.len() + unit;
    // Where the first digit stands: far enough to either side the rest does not matter.
    let digits = mantissa.magnitude().to_string().len();
    let first = &exponent + digits;
    if first > BigInt::from(20) {
        return None;
    }
    if first < BigInt::zero() {
        return Some(if mantissa.sign() == Sign::Minus { -1 } else { 0 });
    }
    let ten = |power: &BigInt| BigInt::from(10).pow(power.to_u32().unwrap());
    let exact = if exponent.sign() == Sign::Minus {
        BigRational::new(mantissa, ten(&-exponent))
    } else {
        BigRational::from(mantissa * ten(&exponent))
    };
    exact.floor().to_integer().to_i128()
}

/// An RFC 3339 date-time. `zone` (seconds east of UTC): a time may name none and is then of that one, and a blank may stand for the `T`.
fn rfc3339(text: &str, zone: Option<i32>) -> Option<i128> {
    let bytes = text.as_bytes();
    let number = |range: std::ops::Range<usize>| -> Option<i128> {
        let digits = bytes.get(range)?;
        digits.iter().all(u8::is_ascii_digit).then(|| std::str::from_utf8(digits).unwrap().parse().unwrap())
    };
    let is = |at: usize, one_of: &[u8]| bytes.get(at).is_some_and(|b| one_of.contains(b));
    if !(is(4, b"-")
        && is(7, b"-")
        && is(10, if zone.is_some() { b"Tt " } else { b"Tt" })
        && is(13, b":")
        && is(16, b":"))
    {
        return None;
    }
    let (year, month, day) = (number(0..4)?, number(5..7)?, number(8..10)?);
    let (hour, minute, second) = (number(11..13)?, number(14..16)?, number(17..19)?);
    let leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    let days = [31, if leap { 29 } else { 28 }, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];
    let days_of_month = *days.get(usize::try_from(month - 1).ok()?)?;
    if day < 1 || day > days_of_month || hour > 23 || minute > 59 || second > 60 {
        return None;
    }
    let mut at = 19;
    let mut micros = 0;
    if is(at, b".") {
        let digits = bytes[at + 1..].iter().take_while(|b| b.is_ascii_digit()).count();
        if digits == 0 {
            return None;
        }
        for place in 0..6 {
            micros = micros * 10 + if place < digits { i128::from(bytes[at + 1 + place] - b'0') } else { 0 };
        }
        at += 1 + digits;
    }
    let offset = match bytes.get(at) {
        None => i128::from(zone?),
        Some(b'Z' | b'z') if bytes.len() == at + 1 => 0,
        Some(sign @ (b'+' | b'-')) if bytes.len() == at + 6 && is(at + 3, b":") => {
            let (hours, minutes) = (number(at + 1..at + 3)?, number(at + 4..at + 6)?);
            if hours > 23 || minutes > 59 {
                return None;
            }
            (hours * 60 + minutes) * if *sign == b'+' { 60 } else { -60 }
        }
        _ => return None,
    };
    // Days before the year, counted from the year 1, then to 1970.
    let before = |y: i128| (y - 1) * 365 + (y - 1).div_euclid(4) - (y - 1).div_euclid(100) + (y - 1).div_euclid(400);
    let days = before(year) - before(1970) + days[..month as usize - 1].iter().sum::<i128>() + day - 1;
    let seconds = ((days * 24 + hour) * 60 + minute) * 60 + second - offset;
    Some(seconds * 1_000_000 + micros)
}

#[test]
fn times() {
    let z = TimeFormat::Rfc3339 { zone: None };
    let one = TimeFormat::Rfc3339 { zone: Some(3600) };
    let check = |format: TimeFormat, text: &str, expected: Option<i128>| {
        assert_eq!(read(format, &Json::Text(text.to_owned())), expected, "{format:?} {text}");
    };
    check(z, "1970-01-01T00:00:00Z", Some(0));
    check(z, "2026-11-22T12:00:00.123Z", Some(1_795_348_800_123_000));
    check(z, "1969-12-31t23:59:59.9999999z", Some(-1));
    check(z, "2000-02-29T23:59:60+23:59", Some(951_868_800_000_000 - (23 * 60 + 59) * 60_000_000));
    check(z, "0001-01-01T00:00:00Z", Some(-62_135_596_800_000_000));
    check(z, "0001-01-01T00:00:00+00:01", None);
    check(z, "9999-12-31T23:59:59.999999Z", Some(253_402_300_799_999_999));
    check(z, "9999-12-31T23:59:60Z", None);
    check(z, "0000-12-31T23:59:59Z", None);
    check(z, "0000-12-31T23:59:59-00:01", Some(-62_135_596_800_000_000 + 59_000_000));
    for wrong in [
        "1900-02-29T00:00:00Z",
        "2026-11-22T12:00:00",
        "2026-11-22 12:00:00Z",
        "2026-11-22T12:00:00.Z",
        "2026-11-22T24:00:00Z",
        "2026-11-22T12:00:00+1:00",
        "1767225600",
    ] {
        check(z, wrong, None);
    }
    check(one, "1970-01-01 01:00:00.5", Some(500_000));
    check(one, "1970-01-01T00:00:00Z", Some(0));
    check(one, "1970-01-01t00:00:00-00:30", Some(1_800_000_000));
    check(one, "0001-01-01 00:59:59", None);
    check(one, "1970-01-01 01:00:00 Z", None);
    check(one, "1970-01-01  01:00:00", None);
    check(one, "1970-01-01_01:00:00", None);
}

#[test]
fn unix_times() {
    use Unit::{Microseconds, Milliseconds, Nanoseconds, Seconds};
    let check = |unit: Unit, text: &str, expected: Option<i128>| {
        let read_from = |value: &Json| read(TimeFormat::Unix(unit), value);
        assert_eq!(read_from(&Json::Text(text.to_owned())), expected, "{unit:?} {text} as a text");
        if let Some(number) = json::parse(text.as_bytes()).filter(|_| json::is_number(text)) {
            assert_eq!(read_from(&number), expected, "{unit:?} {text}");
        }
    };
    check(Seconds, "1700000000.000001", Some(1_700_000_000_000_001));
    check(Seconds, "1700000000.00000199999999999999999999", Some(1_700_000_000_000_001));
    check(Seconds, "-0.0000001", Some(-1));
    check(Seconds, "-0.0", Some(0));
    check(Seconds, "17e8", Some(1_700_000_000_000_000));
    check(Seconds, "0.0017E+12", Some(1_700_000_000_000_000));
    check(Seconds, "17000000000000e-4", Some(1_700_000_000_000_000));
    check(Milliseconds, "1700000000000.5", Some(1_700_000_000_000_500));
    check(Microseconds, "9007199254740993", Some(9_007_199_254_740_993));
    check(Microseconds, "1.9", Some(1));
    check(Microseconds, "-1.1", Some(-2));
    check(Nanoseconds, "1700000000000001999", Some(1_700_000_000_000_001));
    check(Nanoseconds, "-1", Some(-1));
    check(Nanoseconds, "999", Some(0));
    // Whatever the exponent is.
    check(Seconds, "1e-99999999999999999999", Some(0));
    check(Seconds, "-1e-99999999999999999999", Some(-1));
    check(Seconds, "0e99999999999999999999", Some(0));
    check(Seconds, "1e99999999999999999999", None);
    check(Seconds, "1e-6", Some(1));
    check(Seconds, "9e-7", Some(0));
    check(Seconds, "-62135596800", Some(-62_135_596_800_000_000));
    check(Seconds, "-62135596800.0000001", None);
    check(Seconds, "253402300799.9999999", Some(253_402_300_799_999_999));
    check(Seconds, "253402300800", None);
    for wrong in ["", " 1", "1 ", "+1", "01", "1.", ".5", "1e", "0x1", "1_0", "NaN", "null", "1970-01-01T00:00:00Z"] {
        check(Seconds, wrong, None);
    }
}
