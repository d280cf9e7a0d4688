//! Arguments in, exit code out; what happens between is `cli`.

use std::process::ExitCode;

use caudal::cli;

fn main() -> ExitCode {
    cli::log_to_stderr();
    cli::main(cli::parse())
}
