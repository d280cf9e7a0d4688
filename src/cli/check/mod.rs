//! `caudal check`: pipeline files are read and planned as one job, and all that is wrong with them is told, each fault with its line and column; then their own tests are
//! run.

pub mod cases;

use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde_json::{Value, json};

use crate::cli::check::cases::Failed;
use crate::cli::plural::count;
use crate::core::plan::Plan;
use crate::pipeline::cases::Case;
use crate::pipeline::{Bundle, FILE_SCHEMA, Fault, Faults, Pipelines};

/// Bad pipeline file.
const EXIT_BAD: u8 = 2;

/// Checks pipeline files, together as one job, and the schemas they name.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Pipeline files
    #[arg(required_unless_present = "schema", value_name = "FILE")]
    pub files: Vec<PathBuf>,
    /// Print one JSON object to stdout instead of lines
    #[arg(long)]
    pub json: bool,
    /// Print the JSON Schema of pipeline files, for editors, instead of checking any
    #[arg(long, conflicts_with_all = ["files", "json"])]
    pub schema: bool,
}

/// Faults go to stderr, `FILE: ok (…)` to stdout; the exit code is 2 if anything is wrong.
///
/// # Errors
/// If the output cannot be written.
pub fn run(args: &Args) -> anyhow::Result<u8> {
    let mut out = io::stdout().lock();
    if args.schema {
        out.write_all(FILE_SCHEMA.as_bytes())?;
        return Ok(0);
    }
    let checked = check(&args.files);
    let ok = checked.as_ref().is_ok_and(|files| files.iter().all(|file| file.failed.is_empty()));
    if args.json {
        let files: Vec<Value> = match &checked {
            Ok(files) => files.iter().map(Checked::as_json).collect(),
            Err(faults) => as_json(&args.files, faults),
        };
        writeln!(out, "{}", json!({"ok": ok, "files": files}))?;
    } else {
        match &checked {
            Ok(files) => files.iter().try_for_each(|file| file.say(&mut out))?,
            Err(faults) => writeln!(io::stderr(), "{faults}")?,
        }
    }
    Ok(if ok { 0 } else { EXIT_BAD })
}

/// What is said of files that are one job.
///
/// # Errors
/// All faults.
pub fn check(files: &[PathBuf]) -> Result<Vec<Checked>, Faults> {
    let bundle = Bundle::read(files)?;
    let (Pipelines { plan, cases, .. }, spelled) = bundle.explained()?;
    let alone = (0..).map_while(|pipeline| plan.alone(pipeline));
    let files = spelled.into_iter().zip(alone).zip(&cases);
    Ok(files.map(|((file, plan), cases)| Checked::of(file.file, plan, cases)).collect())
}

/// A file without faults, and what its tests gave.
pub struct Checked {
    file: String,
    /// Of its pipeline alone.
    plan: Arc<Plan>,
    tests: usize,
    failed: Vec<Failed>,
}

impl Checked {
    fn of(file: String, plan: Plan, cases: &[Case]) -> Self {
        let plan = Arc::new(plan);
        let failed = cases::run(Path::new(&file), &plan, cases);
        Self { file, plan, tests: cases.len(), failed }
    }

    pub fn file(&self) -> &str {
        &self.file
    }

    /// How many of its tests fail.
    pub fn failures(&self) -> usize {
        self.failed.len()
    }

    fn say(&self, out: &mut impl Write) -> io::Result<()> {
        let Self { file, failed, .. } = self;
        if failed.is_empty() {
            writeln!(out, "{file}: ok ({})", self.summary())?;
        }
        for Failed { test, line, column, message } in failed {
            writeln!(io::stderr(), "{file}:{line}:{column}: test {test:?} failed: {message}")?;
        }
        Ok(())
    }

    fn pipeline(&self) -> &str {
        self.plan.pipelines.first().map_or("", |pipeline| pipeline.name.as_str())
    }

    fn as_json(&self) -> Value {
        let failed = |f: &Failed| json!({"test": f.test, "line": f.line, "column": f.column, "message": f.message});
        json!({
            "file": self.file,
            "ok": self.failed.is_empty(),
            "pipeline": self.pipeline(),
            "topics": topics(&self.plan),
            "windows": self.plan.windows.iter().map(|window| &window.name).collect::<Vec<_>>(),
            "faults": [],
            "tests": self.tests,
            "failed": self.failed.iter().map(failed).collect::<Vec<_>>(),
        })
    }

    /// For people.
    pub fn summary(&self) -> String {
        let plan = &self.plan;
        let metrics: usize = plan.windows.iter().map(|window| window.metrics.len()).sum();
        let topics = topics(plan);
        let is_slow = |name: &&str| plan.topics.iter().any(|t| t.name == **name && !t.schema.is_compiled());
        let slow: Vec<&str> = topics.iter().copied().filter(is_slow).collect();
        let slow =
            if slow.is_empty() { String::new() } else { format!("; checked the slower way: {}", slow.join(", ")) };
        let count = |n: usize, what: &str| count(n as u64, what);
        let tests = if self.tests == 0 { String::new() } else { format!(", {} passed", count(self.tests, "test")) };
        format!(
            "pipeline {}: {}, {}, {}{tests}{slow}",
            self.pipeline(),
            count(topics.len(), "topic"),
            count(plan.windows.len(), "window"),
            count(metrics, "metric"),
        )
    }
}

/// The topics that the plan's pipelines read.
fn topics(plan: &Plan) -> Vec<&str> {
    let read = plan.pipelines.iter().flat_map(|pipeline| &pipeline.topics);
    read.filter_map(|topic| Some(plan.topics.get(usize::from(topic.0))?.name.as_str())).collect()
}

/// Each file that was asked for with its faults, and what is said of none of them.
fn as_json(files: &[PathBuf], faults: &Faults) -> Vec<Value> {
    let mut names: Vec<String> = files.iter().map(|file| file.display().to_string()).collect();
    let stranger = faults.0.iter().map(|fault| &fault.file).find(|name| !names.contains(name));
    names.extend(stranger.cloned());
    let fault = |f: &Fault| json!({"file": f.file, "line": f.line, "column": f.column, "message": f.message});
    let of_file = |name: &String| {
        let own: Vec<Value> = faults.0.iter().filter(|f| f.file == *name).map(fault).collect();
        json!({"file": name, "ok": own.is_empty(), "faults": own})
    };
    names.iter().map(of_file).collect()
}
