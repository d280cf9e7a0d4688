//! `caudal check`: pipeline files are read and planned, and all that is wrong with them is told, each fault with its line and column; then their own tests are
//! run.

mod cases;

use std::io::{self, Write};
use std::path::PathBuf;

use serde_json::json;

use crate::cli::check::cases::Failed;
use crate::pipeline::{Bundle, Fault, Faults, Pipelines};

/// Bad pipeline file.
const EXIT_BAD: u8 = 2;

/// Checks pipeline files and the schemas they name.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Pipeline files
    #[arg(required = true, value_name = "FILE")]
    pub files: Vec<PathBuf>,
    /// Print one JSON object to stdout instead of lines
    #[arg(long)]
    pub json: bool,
}

/// Faults go to stderr, `FILE: ok (…)` to stdout; the exit code is 2 if anything is wrong.
///
/// # Errors
/// If the output cannot be written.
pub fn run(args: Args) -> anyhow::Result<u8> {
    let checked: Vec<Checked> = args.files.into_iter().map(Checked::of).collect();
    let bad = checked.iter().any(|checked| checked.pipelines.is_err() || !checked.failed.is_empty());
    let mut out = io::stdout().lock();
    if args.json {
        let files: Vec<_> = checked.iter().map(Checked::as_json).collect();
        writeln!(out, "{}", json!({"ok": !bad, "files": files}))?;
    } else {
        for Checked { file, pipelines, tests, failed } in &checked {
            let file = file.display();
            match pipelines {
                Ok(pipelines) if failed.is_empty() => writeln!(out, "{file}: ok ({})", summary(pipelines, *tests))?,
                Ok(_) => {
                    for Failed { test, line, column, message } in failed {
                        writeln!(io::stderr(), "{file}:{line}:{column}: test {test:?} failed: {message}")?;
                    }
                }
                Err(faults) => writeln!(io::stderr(), "{faults}")?,
            }
        }
    }
    Ok(if bad { EXIT_BAD } else { 0 })
}

/// A file with what was found.
struct Checked {
    file: PathBuf,
    pipelines: Result<Pipelines, Faults>,
    /// How many of its own tests were run.
    tests: usize,
    failed: Vec<Failed>,
}

impl Checked {
    fn of(file: PathBuf) -> Self {
        let pipelines = Bundle::read(std::slice::from_ref(&file)).and_then(|bundle| bundle.pipelines());
        let (tests, failed) = pipelines.as_ref().map(|pipelines| cases::run(&file, pipelines)).unwrap_or_default();
        Self { file, pipelines, tests, failed }
    }

    fn as_json(&self) -> serde_json::Value {
        let file = self.file.display().to_string();
        match &self.pipelines {
            Ok(Pipelines { plan, .. }) => {
                let topics: Vec<_> = plan.topics.iter().map(|topic| &topic.name).collect();
                let windows: Vec<_> = plan.windows.iter().map(|window| &window.name).collect();
                let pipeline = plan.pipelines.first().map(|pipeline| &pipeline.name);
                let failed =
                    |f: &Failed| json!({"test": f.test, "line": f.line, "column": f.column, "message": f.message});
                let failed: Vec<_> = self.failed.iter().map(failed).collect();
                json!({"file": file, "ok": failed.is_empty(), "pipeline": pipeline, "topics": topics, "windows": windows, "faults": [],
                    "tests": self.tests, "failed": failed})
            }
            Err(faults) => {
                let fault =
                    |f: &Fault| json!({"file": f.file, "line": f.line, "column": f.column, "message": f.message});
                json!({"file": file, "ok": false, "faults": faults.0.iter().map(fault).collect::<Vec<_>>()})
            }
        }
    }
}

fn summary(pipeline: &Pipelines, tests: usize) -> String {
    let plan = &pipeline.plan;
    let metrics: usize = plan.windows.iter().map(|window| window.metrics.len()).sum();
    let slow: Vec<&str> = plan.topics.iter().filter(|t| !t.schema.is_compiled()).map(|t| t.name.as_str()).collect();
    let slow = if slow.is_empty() { String::new() } else { format!("; checked the slower way: {}", slow.join(", ")) };
    let count = |n: usize, what: &str| format!("{n} {what}{}", if n == 1 { "" } else { "s" });
    let tests = if tests == 0 { String::new() } else { format!(", {} passed", count(tests, "test")) };
    format!(
        "pipeline {}: {}, {}, {}{tests}{slow}",
        plan.pipelines.first().map_or("", |pipeline| pipeline.name.as_str()),
        count(plan.topics.len(), "topic"),
        count(plan.windows.len(), "window"),
        count(metrics, "metric"),
    )
}
