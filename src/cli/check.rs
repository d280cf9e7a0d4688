//! `caudal check`: pipeline files are read and planned, and all that is wrong with them is told, each fault with its line and column.

use std::io::{self, Write};
use std::path::{Path, PathBuf};

use serde_json::json;

use crate::pipeline::{Bundle, Faults, Pipeline};

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
    let checked: Vec<_> =
        args.files.into_iter().map(|file| (check(&file), file)).map(|(result, file)| (file, result)).collect();
    let bad = checked.iter().any(|(_, result)| result.is_err());
    let mut out = io::stdout().lock();
    if args.json {
        let files: Vec<_> = checked.iter().map(|(file, result)| as_json(file, result)).collect();
        writeln!(out, "{}", json!({"ok": !bad, "files": files}))?;
    } else {
        for (file, result) in &checked {
            match result {
                Ok(pipeline) => writeln!(out, "{}: ok ({})", file.display(), summary(pipeline))?,
                Err(faults) => writeln!(io::stderr(), "{faults}")?,
            }
        }
    }
    Ok(if bad { EXIT_BAD } else { 0 })
}

fn check(file: &Path) -> Result<Pipeline, Faults> {
    Bundle::read(file)?.pipeline()
}

fn summary(pipeline: &Pipeline) -> String {
    let plan = &pipeline.plan;
    let metrics: usize = plan.windows.iter().map(|window| window.metrics.len()).sum();
    let slow: Vec<&str> = plan.topics.iter().filter(|t| !t.schema.is_compiled()).map(|t| t.name.as_str()).collect();
    let slow = if slow.is_empty() { String::new() } else { format!("; checked the slower way: {}", slow.join(", ")) };
    let count = |n: usize, what: &str| format!("{n} {what}{}", if n == 1 { "" } else { "s" });
    format!(
        "pipeline {}: {}, {}, {}{slow}",
        plan.pipeline,
        count(plan.topics.len(), "topic"),
        count(plan.windows.len(), "window"),
        count(metrics, "metric"),
    )
}

fn as_json(file: &Path, result: &Result<Pipeline, Faults>) -> serde_json::Value {
    let file = file.display().to_string();
    match result {
        Ok(Pipeline { plan, .. }) => {
            let topics: Vec<_> = plan.topics.iter().map(|topic| &topic.name).collect();
            let windows: Vec<_> = plan.windows.iter().map(|window| &window.name).collect();
            json!({"file": file, "ok": true, "pipeline": plan.pipeline, "topics": topics, "windows": windows, "faults": []})
        }
        Err(faults) => {
            let fault = |f: &crate::pipeline::Fault| json!({"file": f.file, "line": f.line, "column": f.column, "message": f.message});
            json!({"file": file, "ok": false, "faults": faults.0.iter().map(fault).collect::<Vec<_>>()})
        }
    }
}
