//! Times and whole numbers as generated events write them.

use crate::core::plan::{TimeFormat, Unit};
use crate::core::units::Micros;
use crate::generate::program::Pen;

/// How a topic's events write their time.
#[derive(Debug)]
pub(super) struct Moment {
    pub format: TimeFormat,
    /// The JSON type that the schema asks for.
    pub kind: String,
}

impl Moment {
    pub(super) fn write(&self, pen: &mut Pen, into: &mut Vec<u8>) {
        let TimeFormat::Unix(unit) = self.format else { return pen.dates.write(pen.time, into) };
        let digits = match unit {
            Unit::Seconds => 6,
            Unit::Milliseconds => 3,
            Unit::Microseconds | Unit::Nanoseconds => 0,
        };
        let scale = 10i64.pow(digits);
        let (whole, part) = (pen.time.0.div_euclid(scale), pen.time.0.rem_euclid(scale).unsigned_abs());
        let quote = self.kind == "string";
        into.extend(quote.then_some(b'"'));
        match unit {
            Unit::Nanoseconds => write_integer(whole.saturating_mul(1_000), into),
            _ => write_integer(whole, into),
        }
        // Before 1970 the fraction would count the other way.
        if part > 0 && whole >= 0 && self.kind != "integer" {
            into.push(b'.');
            write_digits(part, digits as usize, into);
        }
        into.extend(quote.then_some(b'"'));
    }
}

/// Writes date-times; the day's text is kept, for it seldom changes.
#[derive(Debug)]
pub struct Dates {
    day: i64,
    /// `"2026-11-22T`
    text: Vec<u8>,
}

impl Default for Dates {
    fn default() -> Self {
        Self { day: i64::MIN, text: Vec::new() }
    }
}

impl Dates {
    const DAY: i64 = 86_400_000_000;

    /// Appends the time in quotes, to the microsecond.
    pub(super) fn write(&mut self, time: Micros, into: &mut Vec<u8>) {
        let day = time.0.div_euclid(Self::DAY);
        if day != self.day {
            let midnight = crate::core::time::format(Micros(day * Self::DAY));
            let date = midnight.split('T').next().unwrap_or_default();
            self.text = format!("\"{date}T").into_bytes();
            self.day = day;
        }
        let micros = time.0.rem_euclid(Self::DAY) as u64;
        let seconds = micros / 1_000_000;
        into.extend_from_slice(&self.text);
        write_digits(seconds / 3_600, 2, into);
        into.push(b':');
        write_digits(seconds / 60 % 60, 2, into);
        into.push(b':');
        write_digits(seconds % 60, 2, into);
        into.push(b'.');
        write_digits(micros % 1_000_000, 6, into);
        into.extend_from_slice(b"Z\"");
    }
}

pub(super) fn write_integer(number: i64, into: &mut Vec<u8>) {
    if number < 0 {
        into.push(b'-');
    }
    write_digits(number.unsigned_abs(), 1, into);
}

/// The number's decimal digits, with zeros in front up to this width.
pub(super) fn write_digits(mut number: u64, width: usize, into: &mut Vec<u8>) {
    let mut digits = [b'0'; 20];
    let mut at = digits.len();
    while number > 0 || digits.len() - at < width {
        at -= 1;
        digits[at] = b'0' + (number % 10) as u8;
        number /= 10;
    }
    into.extend_from_slice(&digits[at..]);
}
