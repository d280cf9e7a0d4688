//! The command line: one file per subcommand. It ties the rooms together and is known by none.

pub mod exit;
pub mod data_dir;
pub mod ranks;
pub mod run;
mod webhooks;
pub mod batch;
pub mod verify;
pub mod check;
pub mod explain;
pub mod generate;
mod https;
pub mod client;
pub mod dead_letters;
pub mod tail;
mod bar;
pub mod export;
pub mod replay;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::cli::exit::{Exit, Failure};
use crate::config::{Config, LogFormat};
use crate::logging;

/// An event stream and batch processor that runs as an MPI job and counts every acknowledged event exactly once.
#[derive(Parser, Debug)]
#[command(name = "caudal", version)]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand, Debug)]
enum Command {
    /// Take events over HTTP and count them (under mpirun).
    Run(run::Args),
    /// Count the events of files (under mpirun).
    Batch(batch::Args),
    /// Replay the log and compare the results with the store's.
    Verify(verify::Args),
    /// Check pipeline files as one job: every fault at once, with its place; then run their own tests.
    Check(check::Args),
    /// Spell out what pipeline files mean: every default, the plan, the SQL views.
    Explain(explain::Args),
    /// Make events from a pipeline's schemas, to a file or a running job.
    Generate(generate::Args),
    /// Look at the dead letters of a running job; retry or discard them.
    DeadLetters(dead_letters::Args),
    /// Print a topic's events as they come, alone or as a member of a consumer group.
    Tail(tail::Args),
    /// Write a running job's log into a file that a batch reads.
    Export(export::Args),
    /// Run a new pipeline over the events that a running job has already, then beside those that come.
    Replay(replay::Args),
}

/// Runs a subcommand; gives the process's exit code. A rank that fails ends its whole job.
#[must_use]
pub fn main(cli: Cli) -> ExitCode {
    let (done, ranked) = match cli.command {
        Command::Run(args) => (run::run(&args), true),
        Command::Batch(args) => (batch::run(&args), true),
        Command::Verify(args) => (verify::run(&args), false),
        Command::Check(args) => return told(check::run(&args)),
        Command::Explain(args) => return told(explain::run(&args)),
        Command::Generate(args) => return told(generate::run(args)),
        Command::DeadLetters(args) => return told(dead_letters::run(args)),
        Command::Tail(args) => return told(tail::run(args)),
        Command::Export(args) => return told(export::run(args)),
        Command::Replay(args) => return told(replay::run(args)),
    };
    let Err(Failure { exit, why }) = done else { return ExitCode::SUCCESS };
    logging::last_word(&why);
    if ranked {
        ranks::end_all(exit);
    }
    ExitCode::from(exit as u8)
}

/// Of a subcommand that has said itself what it found.
fn told(code: anyhow::Result<u8>) -> ExitCode {
    match code {
        Ok(code) => ExitCode::from(code),
        Err(error) => {
            eprintln!("caudal: {error:#}");
            ExitCode::from(Exit::Damaged as u8)
        }
    }
}

/// What the process has to say goes to stderr, one line each; LOG_FORMAT says how, RUST_LOG how much.
pub fn log_to_stderr() {
    logging::begin(Config::load_log_format() == LogFormat::Json);
}
