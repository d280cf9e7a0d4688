//! Values as people write them: numbers, sizes, spans of time, each read with its default and its bounds. What is wrong is noted and read on, so that all of it
//! is told at once.

use std::ops::RangeInclusive;
use std::time::Duration;

use crate::config::{ConfigError, VARIABLES, Variables};
use crate::pipeline::duration;

pub(super) const KIB: u64 = 1 << 10;
pub(super) const MIB: u64 = 1 << 20;
pub(super) const GIB: u64 = 1 << 30;

/// The variables as given, and what is wrong with them so far.
pub(super) struct Given<'a> {
    environment: &'a Variables,
    dotenv: &'a Variables,
    wrong: Vec<String>,
}

impl<'a> Given<'a> {
    pub(super) fn new(environment: &'a Variables, dotenv: &'a Variables) -> Self {
        Self { environment, dotenv, wrong: Vec::new() }
    }

    pub(super) fn text(&self, name: &str) -> Option<&'a str> {
        assert!(VARIABLES.contains(&name), "{name} is not listed");
        // An empty value in the environment hides the one in .env: that is how a person switches it off for one run.
        let value = self.environment.get(name).or_else(|| self.dotenv.get(name))?;
        Some(value.trim()).filter(|v| !v.is_empty())
    }

    /// The value, or the default where none is given or (having noted that) a wrong one.
    pub(super) fn read<T>(&mut self, name: &str, default: T, allowed: &str, parse: impl Fn(&str) -> Option<T>) -> T {
        let Some(text) = self.text(name) else { return default };
        parse(text).unwrap_or_else(|| {
            self.wrong.push(format!("{name}={text:?}: allowed is {allowed}"));
            default
        })
    }

    pub(super) fn bytes(&mut self, name: &str, default: u64, (least, most): (u64, u64)) -> u64 {
        let allowed = format!("{} to {}, in bytes or with KiB, MiB, GiB", show_bytes(least), show_bytes(most));
        self.read(name, default, &allowed, |text| parse_bytes(text).filter(|b| (least..=most).contains(b)))
    }

    pub(super) fn count(&mut self, name: &str, default: u64, (least, most): (u64, u64)) -> u64 {
        self.read(name, default, &format!("a whole number from {least} to {most}"), whole(least..=most))
    }

    /// A `Duration`, or an optional one where the default may be none.
    pub(super) fn span<T: From<Duration>>(&mut self, name: &str, default: T) -> T {
        self.read(name, default, &format!("{}, and more than 0", duration::ALLOWED), |text| span(text).map(T::from))
    }

    pub(super) fn refuse(&mut self, why: String) {
        self.wrong.push(why);
    }

    /// What was read, if nothing of it was wrong.
    ///
    /// # Errors
    /// All that was wrong.
    pub(super) fn checked<T>(self, read: T) -> Result<T, ConfigError> {
        if self.wrong.is_empty() { Ok(read) } else { Err(ConfigError(self.wrong.join("\n"))) }
    }

    /// All that was wrong.
    pub(super) fn wrong(self) -> Vec<String> {
        self.wrong
    }

    /// Every variable, settings or not.
    pub(super) fn all(&self) -> Variables {
        let mut all = self.dotenv.clone();
        all.extend(self.environment.iter().map(|(name, value)| (name.clone(), value.clone())));
        all
    }

    /// What `.env` names, settings or not.
    pub(super) fn names_in_dotenv(&self) -> impl Iterator<Item = &'a String> {
        self.dotenv.keys()
    }
}

pub(super) fn whole(range: RangeInclusive<u64>) -> impl Fn(&str) -> Option<u64> {
    move |text| text.parse().ok().filter(|n| range.contains(n))
}

fn span(text: &str) -> Option<Duration> {
    let micros = u64::try_from(duration::parse(text)?.0).ok()?;
    Some(Duration::from_micros(micros)).filter(|d| !d.is_zero())
}

fn parse_bytes(text: &str) -> Option<u64> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at_checked(digits)?;
    let factor = match unit.trim() {
        "" => 1,
        "KiB" => KIB,
        "MiB" => MIB,
        "GiB" => GIB,
        _ => return None,
    };
    number.parse::<u64>().ok()?.checked_mul(factor)
}

fn show_bytes(bytes: u64) -> String {
    match [(GIB, "GiB"), (MIB, "MiB"), (KIB, "KiB")]
        .iter()
        .find(|(unit, _)| bytes >= *unit && bytes.is_multiple_of(*unit))
    {
        Some((unit, name)) => format!("{}{name}", bytes / unit),
        None => bytes.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_read_as_they_are_shown() {
        for (text, bytes) in [
            ("17", Some(17)),
            ("16 MiB", Some(16 * MIB)),
            ("16 GB", None),
            ("1.5GiB", None),
            ("-1", None),
            ("KiB", None),
            ("", None),
            ("18446744073709551615", Some(u64::MAX)),
            ("18446744073709551616", None),
            ("18014398509481984KiB", None),
        ] {
            assert_eq!(parse_bytes(text), bytes, "{text:?}");
        }
        for (bytes, shown) in
            [(0, "0"), (1_023, "1023"), (KIB, "1KiB"), (1_536, "1536"), (3 * MIB, "3MiB"), (1 << 50, "1048576GiB")]
        {
            assert_eq!(show_bytes(bytes), shown);
            assert_eq!(parse_bytes(shown), Some(bytes), "{shown}");
        }
    }
}
