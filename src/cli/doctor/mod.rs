//! `caudal doctor`: looks at everything that a job here needs, and says of each whether it is well, and what to do where it is not. It changes nothing but
//! for files of its own, which it takes away again.

mod findings;
mod machine;
mod mpi;
mod settings;
mod port;
mod job;
mod disk;
mod store;

use std::io::{self, Write};

use crate::cli::doctor::findings::Findings;

/// Looks at what a job here needs: the machine, MPI, the settings, the HTTP port, the disk, the store, the pipelines, and the job that runs here, if any.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Print one JSON object instead of lines
    #[arg(long)]
    json: bool,
    /// Be a rank of the small MPI job that the doctor starts
    #[arg(long, hide = true)]
    mpi_probe: bool,
}

/// # Errors
/// If the output cannot be written.
#[expect(clippy::needless_pass_by_value, reason = "a subcommand owns its arguments")]
pub fn run(args: Args) -> anyhow::Result<u8> {
    if args.mpi_probe {
        return mpi::be_probed();
    }
    let mut findings = Findings::default();
    machine::look(&mut findings);
    mpi::look(&mut findings);
    let (config, wrong) = settings::look(&mut findings);
    machine::fits(&config, &mut findings);
    disk::look(&config, &mut findings);
    let job = job::holder(&config.data_dir);
    port::look(&config.http, job.as_ref(), &mut findings);
    job::look(job.as_ref(), wrong, &mut findings);
    store::look(&config.target, &mut findings);
    let mut out = io::stdout().lock();
    if args.json {
        writeln!(out, "{}", findings.as_json())?;
    } else {
        out.write_all(findings.as_text().as_bytes())?;
    }
    Ok(findings.exit())
}
