//! `caudal explain`: what pipeline files mean, spelled out. Each file with every default in its place, itself a pipeline file that means the same; in its comments
//! the plan: what is read, when windows close, what the columns of their SQL views are.

mod facts;
mod text;

use std::io::{self, Write};
use std::path::PathBuf;

use crate::cli::explain::facts::Job;
use crate::pipeline::Bundle;

/// Bad pipeline file.
const EXIT_BAD: u8 = 2;

/// Spells out what pipeline files mean, together as one job.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Pipeline files
    #[arg(required = true, value_name = "FILE")]
    pub files: Vec<PathBuf>,
    /// Print one JSON object instead of YAML with comments
    #[arg(long)]
    pub json: bool,
}

/// Faults go to stderr, and the exit code is then 2.
///
/// # Errors
/// If the output cannot be written.
pub fn run(args: &Args) -> anyhow::Result<u8> {
    let explained = Bundle::read(&args.files).and_then(|bundle| bundle.explained());
    let (pipelines, spelled) = match explained {
        Ok(explained) => explained,
        Err(faults) => {
            writeln!(io::stderr(), "{faults}")?;
            return Ok(EXIT_BAD);
        }
    };
    let job = Job::of(&pipelines, &spelled);
    let shown = if args.json { serde_json::to_string(&job)? + "\n" } else { text::job(&job) };
    io::stdout().lock().write_all(shown.as_bytes())?;
    Ok(0)
}
