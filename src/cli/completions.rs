//! `caudal completions`: what a shell needs to complete subcommands and options.

use std::io::{self, Write};

use clap_complete::aot::{Shell, generate};

use crate::cli::help;

/// Prints a shell's completions of `caudal`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The shell
    #[arg(value_name = "SHELL")]
    shell: Shell,
}

/// # Errors
/// If the output cannot be written.
#[expect(clippy::needless_pass_by_value, reason = "a subcommand owns its arguments")]
pub fn run(args: Args) -> anyhow::Result<u8> {
    // Whole, since the generator panics where it cannot write.
    let mut script = Vec::new();
    generate(args.shell, &mut help::command(), "caudal", &mut script);
    io::stdout().lock().write_all(&script)?;
    Ok(0)
}
