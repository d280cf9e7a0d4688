//! What the doctor found, and how it is told.

use std::fmt::Write as _;

use serde_json::{Value, json};

use crate::cli::exit::Exit;
use crate::cli::facts;
use crate::cli::plural::count;

/// Names are parted from what was found by so much at least.
const NAME_WIDTH: usize = 16;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Level {
    Ok,
    Warning,
    /// The code with which the doctor ends if there is no worse.
    Problem(Exit),
}

#[derive(Debug)]
struct Finding {
    /// What was looked at: a stable name, such as `disk.space`.
    check: &'static str,
    level: Level,
    found: String,
    cure: Option<String>,
}

/// In the order in which it was looked.
#[derive(Debug, Default)]
pub struct Findings(Vec<Finding>);

impl Findings {
    pub fn ok(&mut self, check: &'static str, found: impl Into<String>) {
        self.0.push(Finding { check, level: Level::Ok, found: found.into(), cure: None });
    }

    /// A job may run, and yet not as it should.
    pub fn warn(&mut self, check: &'static str, found: impl Into<String>, cure: impl Into<String>) {
        self.0.push(Finding { check, level: Level::Warning, found: found.into(), cure: Some(cure.into()) });
    }

    /// A job would not start, or not take events.
    pub fn problem(&mut self, check: &'static str, exit: Exit, found: impl Into<String>, cure: impl Into<String>) {
        self.0.push(Finding { check, level: Level::Problem(exit), found: found.into(), cure: Some(cure.into()) });
    }

    /// 0 without problems; 78 where one needs somebody to cure it, 69 where all may pass by themselves.
    pub fn exit(&self) -> u8 {
        let exits = self.0.iter().filter_map(|finding| match finding.level {
            Level::Problem(exit) => Some(exit as u8),
            _ => None,
        });
        exits.max().unwrap_or_default()
    }

    fn counts(&self) -> (u64, u64) {
        let of = |is: fn(Level) -> bool| self.0.iter().filter(|finding| is(finding.level)).count() as u64;
        (of(|level| matches!(level, Level::Problem(_))), of(|level| level == Level::Warning))
    }

    /// A line each, the cure below it; and a last line with the sum.
    pub fn as_text(&self) -> String {
        let mut text = String::new();
        for Finding { check, level, found, cure } in &self.0 {
            let (found, name) = (found.replace('\n', "\n         "), level.name());
            // A String takes all that is written; likewise below.
            let _ = writeln!(text, "{name:8} {check:NAME_WIDTH$} {found}");
            if let Some(cure) = cure {
                let _ = writeln!(text, "         cure: {}", cure.replace('\n', "\n         "));
            }
        }
        let (problems, warnings) = self.counts();
        let _ = match (problems, warnings) {
            (0, 0) => writeln!(text, "all is well"),
            (0, warnings) => writeln!(text, "no problem, {}", count(warnings, "warning")),
            (problems, warnings) => {
                writeln!(text, "{}, {}", count(problems, "problem"), count(warnings, "warning"))
            }
        };
        text
    }

    pub fn as_json(&self) -> Value {
        let finding = |Finding { check, level, found, cure }: &Finding| json!({"check": check, "level": level.name(), "found": found, "cure": cure});
        let (problems, warnings) = self.counts();
        json!({
            "ok": problems == 0,
            "problems": problems,
            "warnings": warnings,
            "version": facts::VERSION,
            "findings": self.0.iter().map(finding).collect::<Vec<_>>(),
        })
    }
}

impl Level {
    fn name(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Warning => "warning",
            Self::Problem(_) => "problem",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_worst_finding_decides_how_it_ends() {
        let mut findings = Findings::default();
        findings.ok("a", "well");
        assert_eq!((findings.exit(), findings.as_text().ends_with("all is well\n")), (0, true));
        findings.warn("b", "slow", "be quick");
        assert_eq!((findings.exit(), findings.as_text().ends_with("no problem, 1 warning\n")), (0, true));
        findings.problem("c", Exit::Unavailable, "away", "wait");
        assert_eq!(findings.exit(), 69);
        findings.problem("d", Exit::Config, "wrong\nin two lines", "mend it");
        findings.problem("e", Exit::Unavailable, "away", "wait");
        assert_eq!(findings.exit(), 78);
        let text = findings.as_text();
        assert!(
            text.contains("\nproblem  d                wrong\n         in two lines\n         cure: mend it\n"),
            "{text}"
        );
        assert!(text.ends_with("3 problems, 1 warning\n"), "{text}");
        let json = findings.as_json();
        assert_eq!(
            (&json["ok"], &json["problems"], &json["findings"][2]["cure"]),
            (&json!(false), &json!(3), &json!("wait"))
        );
    }
}
