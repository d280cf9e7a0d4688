//! The command line: one file per subcommand. It ties the rooms together and is known by none.

pub mod exit;
mod failures;
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
pub mod doctor;
pub mod completions;
pub mod man;
pub mod help;
mod facts;
mod plural;

use std::io;
use std::process::ExitCode;

use clap::{FromArgMatches, Parser, Subcommand};

use crate::cli::client::BadUrl;
use crate::cli::exit::{Exit, Failure};
use crate::config::{Config, ConfigError, LogFormat};
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
    ///
    /// What is run is said by settings, in the environment or in .env: the pipeline files (PIPELINES), where data is kept (DATA_DIR), where HTTP is served (HTTP_ADDR, HTTP_PORT), the store
    /// (DB_HOST and others; SQLite without). .env.example lists all of them. SIGTERM, Ctrl-C or SIGUSR1 drains the job: what was accepted is finished and stored first.
    Run(run::Args),
    /// Count the events of files (under mpirun).
    ///
    /// Each event is counted once. A table is written for each window, VIEW.view.ndjson for each view, and rejects.ndjson with the events that were refused. A batch that is killed goes
    /// on from what it has kept when it is started again.
    Batch(batch::Args),
    /// Replay the log and compare the results with the store's.
    ///
    /// Every row and dead letter is made again, as far back as the log is retained (LOG_RETENTION), and must be the store's to the bit. The job must be stopped.
    Verify(verify::Args),
    /// Check pipeline files as one job: every fault at once, with its place; then run their own tests.
    Check(check::Args),
    /// Spell out what pipeline files mean: every default, the plan, the SQL views.
    Explain(explain::Args),
    /// Make events from a pipeline's schemas, to a file or a running job.
    ///
    /// The same seed gives the same bytes. What is posted is sent again until it is acknowledged.
    Generate(generate::Args),
    /// Look at the dead letters of a running job; retry or discard them.
    DeadLetters(dead_letters::Args),
    /// Print a topic's events as they come, alone or as a member of a consumer group.
    ///
    /// One event a line. While the job is away it waits, and goes on where it was.
    Tail(tail::Args),
    /// Write a running job's log into a file that a batch reads.
    Export(export::Args),
    /// Run a new pipeline over the events that a running job has already, then beside those that come.
    Replay(replay::Args),
    /// Find what is wrong with this machine, the settings or the job here, and say the cure.
    ///
    /// It is to be started in the folder in which the job is, with the settings that the job has, and changes nothing. A job may run meanwhile.
    Doctor(doctor::Args),
    /// Print what a shell needs to complete subcommands and options.
    Completions(completions::Args),
    /// Print or write manual pages.
    Man(man::Args),
}

/// Reads the process's arguments. Where they ask for help, or are wrong, it says so and ends the process (0, 2).
#[must_use]
pub fn parse() -> Cli {
    let parsed = help::command().try_get_matches().and_then(|matches| Cli::from_arg_matches(&matches));
    parsed.unwrap_or_else(|said| said.exit())
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
        Command::Doctor(args) => return told(doctor::run(args)),
        Command::Completions(args) => return told(completions::run(args)),
        Command::Man(args) => return told(man::run(args)),
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
        // Whoever reads may have had enough (`| head`): that is no failure.
        Err(error) if is_broken_pipe(&error) => ExitCode::SUCCESS,
        Err(error) => {
            logging::last_word(&format_args!("{error:#}"));
            ExitCode::from(exit_of(&error) as u8)
        }
    }
}

/// Whose fault it is that a subcommand could not do what it was asked; it has told of refusals itself.
fn exit_of(error: &anyhow::Error) -> Exit {
    if error.is::<BadUrl>() {
        Exit::Usage
    } else if error.is::<ConfigError>() {
        Exit::Config
    } else {
        Exit::Damaged
    }
}

fn is_broken_pipe(error: &anyhow::Error) -> bool {
    error.downcast_ref::<io::Error>().is_some_and(|error| error.kind() == io::ErrorKind::BrokenPipe)
}

/// What the process has to say goes to stderr, one line each; LOG_FORMAT says how, RUST_LOG how much.
pub fn log_to_stderr() {
    logging::begin(Config::load_log_format() == LogFormat::Json);
}
