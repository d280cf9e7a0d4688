//! MPI: the library that is built in, the launcher that is found, and whether both make one job of two processes.

use std::io::{self, Read, Write};
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::geteuid;
use serde_json::{Value, json};

use crate::cli::doctor::findings::Findings;
use crate::cli::exit::Exit;
use crate::cli::facts;
use crate::transport::mpi::{self, MpiTransport};
use crate::transport::{Channel, Transport, TransportError};

/// Two processes are started and have ended within this, on a busy machine too.
const PROBE_MAX: Duration = Duration::from_secs(30);
const LOOK_EVERY: Duration = Duration::from_millis(20);
/// Messages there and back, of which the quickest counts.
const ROUND_TRIPS: usize = 200;
/// A rank that hears nothing for so long has nobody to hear.
const SILENCE_MAX: Duration = Duration::from_secs(10);
/// Lines of what a probe that failed said.
const SAID_LINES_MAX: usize = 4;

const LAUNCHER: &str = "mpirun";
const MISSING: &str =
    "install the launcher that belongs to the library (Debian: apt-get install openmpi-bin), and have it in PATH";

pub fn look(findings: &mut Findings) {
    let library = facts::mpi();
    findings.ok("mpi.library", &library);
    let version = Command::new(LAUNCHER).arg("--version").stdin(Stdio::null()).output();
    let launcher = match version {
        Ok(output) => String::from_utf8_lossy(&output.stdout).into_owned(),
        Err(error) => {
            findings.problem("mpi.launcher", Exit::Config, format!("{LAUNCHER} cannot be run: {error}"), MISSING);
            return;
        }
    };
    let said = launcher.lines().map(str::trim).find(|line| !line.is_empty()).unwrap_or("says no version");
    if belongs(&library, &launcher) {
        findings.ok("mpi.launcher", said);
    } else {
        let found = format!("{LAUNCHER} is not of the library's version ({library}): {said}");
        findings.warn("mpi.launcher", found, "use the launcher of the library's own installation, or build Caudal with the mpicc that belongs to this one");
    }
    match probe() {
        Ok(told) => findings.ok(
            "mpi.job",
            format!(
                "two ranks reach each other, each with MPI_THREAD_FUNNELED; {} µs there and back",
                told["round_trip_us"]
            ),
        ),
        Err(why) => findings.problem(
            "mpi.job",
            Exit::Unavailable,
            format!("{LAUNCHER} -n 2 makes no job of two ranks: {why}"),
            cure(&why),
        ),
    }
}

/// Whether the launcher names the library's version.
fn belongs(library: &str, launcher: &str) -> bool {
    let version = |text: &str| {
        let words = text.split_whitespace().map(|word| word.trim_start_matches('v'));
        words
            .into_iter()
            .find(|word| word.starts_with(|c: char| c.is_ascii_digit()) && word.contains('.'))
            .map(str::to_owned)
    };
    match (version(library), version(launcher)) {
        (Some(library), Some(launcher)) => library == launcher,
        // What tells no version is judged by what it does.
        _ => true,
    }
}

fn cure(why: &str) -> String {
    if why.contains("sees only this process") {
        return "launch with the mpirun of the library's own installation, or build Caudal anew with the mpicc that belongs to this mpirun".to_owned();
    }
    let cure = "try mpirun -n 2 hostname: where that fails too, the MPI installation is to be mended";
    if geteuid().is_root() {
        format!("{cure} (as root, with OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1)")
    } else {
        cure.to_owned()
    }
}

/// Starts a job of two ranks of this program; gives what its rank 0 says.
fn probe() -> Result<Value, String> {
    let program = std::env::current_exe().map_err(|error| error.to_string())?;
    let mut command = Command::new(LAUNCHER);
    command.args(["--oversubscribe", "-n", "2"]).arg(program).args(["doctor", "--mpi-probe"]);
    if geteuid().is_root() {
        // As run_mpi.sh has it.
        command.env("OMPI_ALLOW_RUN_AS_ROOT", "1").env("OMPI_ALLOW_RUN_AS_ROOT_CONFIRM", "1");
    }
    let spawned = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
    let mut child = spawned.map_err(|error| error.to_string())?;
    let mut pipes = (child.stdout.take(), child.stderr.take());
    let begun = Instant::now();
    let status = loop {
        match child.try_wait() {
            Ok(Some(status)) => break Ok(status),
            Ok(None) if begun.elapsed() < PROBE_MAX => thread::sleep(LOOK_EVERY),
            Ok(None) => break Err(format!("it has not ended after {} s", PROBE_MAX.as_secs())),
            Err(error) => break Err(error.to_string()),
        }
    };
    if status.is_err() {
        // Its ranks die with it.
        let _ = child.kill();
        let _ = child.wait();
    }
    let status = status?;
    // A pipe that breaks off has said what it had to say.
    let (mut told, mut said) = (String::new(), String::new());
    let _ = pipes.0.as_mut().map(|pipe| pipe.read_to_string(&mut told));
    let _ = pipes.1.as_mut().map(|pipe| pipe.read_to_string(&mut said));
    let of_rank = told.lines().find_map(|line| serde_json::from_str::<Value>(line).ok());
    match of_rank {
        Some(of_rank) if status.success() => Ok(of_rank),
        _ => Err(summary(&said, status.code())),
    }
}

/// What it said, without the rules around it.
fn summary(said: &str, code: Option<i32>) -> String {
    let lines = said.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with("---"));
    let lines: Vec<&str> = lines.take(SAID_LINES_MAX).collect();
    if lines.is_empty() { format!("it ended with code {code:?}") } else { lines.join("\n") }
}

/// A rank of the probe's job.
///
/// # Errors
/// If the output cannot be written.
pub fn be_probed() -> anyhow::Result<u8> {
    let probed = mpi::init().and_then(|mut transport| {
        let round_trip = meet(&mut transport)?;
        let is_first = transport.rank() == 0;
        transport.finish()?;
        Ok(round_trip.filter(|_| is_first))
    });
    match probed {
        Ok(Some(round_trip)) => {
            writeln!(io::stdout(), "{}", json!({"round_trip_us": round_trip.as_micros() as u64}))?;
            Ok(0)
        }
        Ok(None) => Ok(0),
        Err(error) => {
            writeln!(io::stderr(), "{error}")?;
            mpi::abort(Exit::Unavailable as i32)
        }
    }
}

/// Rank 0 sends to rank 1 and back; the quickest round.
fn meet(transport: &mut MpiTransport) -> Result<Option<Duration>, TransportError> {
    let mut quickest: Option<Duration> = None;
    for _ in 0..ROUND_TRIPS {
        let begun = Instant::now();
        match transport.rank() {
            0 => {
                transport.send(1, Channel::Data, vec![0])?;
                hear(transport)?;
            }
            1 => {
                hear(transport)?;
                transport.send(0, Channel::Data, vec![0])?;
            }
            _ => return Ok(None),
        }
        let took = begun.elapsed();
        quickest = Some(quickest.map_or(took, |quickest| quickest.min(took)));
    }
    Ok(quickest)
}

fn hear(transport: &mut MpiTransport) -> Result<(), TransportError> {
    let begun = Instant::now();
    while begun.elapsed() < SILENCE_MAX {
        transport.progress()?;
        if transport.receive()?.is_some() {
            return Ok(());
        }
        thread::yield_now();
    }
    Err(TransportError::Gone { rank: 1 - transport.rank().min(1) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_launcher_belongs_to_the_library_of_its_version() {
        for (library, launcher, belonging) in [
            (
                "Open MPI v4.1.4",
                "mpirun (Open MPI) 4.1.4\n\nReport bugs to http://www.open-mpi.org/community/help/",
                true,
            ),
            ("Open MPI v4.1.4", "mpirun (Open MPI) 5.0.3", false),
            ("Open MPI v4.1.4", "HYDRA build details:\n    Version:                                 4.0.2\n", false),
            ("MPICH Version: 4.0.2", "HYDRA build details:\n    Version: 4.0.2", true),
            ("Open MPI v4.1.4", "", true),
        ] {
            assert_eq!(belongs(library, launcher), belonging, "{library} {launcher}");
        }
    }

    #[test]
    fn what_a_probe_said_is_shown_without_rules() {
        assert_eq!(summary("----\n one \n\n----\ntwo\n", Some(1)), "one\ntwo");
        assert_eq!(summary("", Some(1)), "it ended with code Some(1)");
    }
}
