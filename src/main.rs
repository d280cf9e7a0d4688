//! Arguments in, exit code out; what happens between is `cli`.

use std::process::ExitCode;

use caudal::cli;
use mimalloc::MiMalloc;

/// What one thread takes another often gives back: a request's bytes go from HTTP to the log's writer to the coordinator. The C library's allocator makes
/// threads wait for each other there.
#[global_allocator]
static HEAP: MiMalloc = MiMalloc;

fn main() -> ExitCode {
    cli::log_to_stderr();
    cli::main(cli::parse())
}
