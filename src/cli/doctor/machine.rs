//! The machine: versions, processor, cores, limits, clock.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::thread::available_parallelism;

use rustix::process::{Resource, getrlimit};

use crate::cli::doctor::findings::Findings;
use crate::cli::exit::Exit;
use crate::cli::facts;
use crate::cli::plural::count;
use crate::clock::{Clock, SystemClock};
use crate::config::Config;
use crate::core::time;

/// Files that rank 0 has open beside its connections: segments, checkpoints, the store's connections, MPI's sockets.
const FILES_BESIDE: u64 = 512;
/// More ranks than this for a core only wait for each other.
const RANKS_PER_CORE_MAX: usize = 4;

pub fn look(findings: &mut Findings) {
    let revision = facts::REVISION.map(|revision| format!(" ({revision})")).unwrap_or_default();
    findings.ok("version", format!("Caudal {}{revision}, built for {}", facts::VERSION, facts::target()));
    let uname = rustix::system::uname();
    let (name, release) = (uname.sysname().to_string_lossy(), uname.release().to_string_lossy());
    findings.ok("system", format!("{name} {release} on {}", uname.machine().to_string_lossy()));
    processor(&fs::read_to_string("/proc/cpuinfo").unwrap_or_default(), findings);
    clock(findings);
}

/// From the text of /proc/cpuinfo.
fn processor(told: &str, findings: &mut Findings) {
    let flags = told.lines().find_map(|line| line.strip_prefix("flags")?.split_once(':'));
    let flags: Vec<&str> = flags.map(|(_, flags)| flags.split_whitespace().collect()).unwrap_or_default();
    let used = facts::instructions();
    let missing: Vec<&str> = used.iter().copied().filter(|name| !flags.contains(name)).collect();
    if flags.is_empty() || missing.is_empty() {
        findings
            .ok("cpu", if used.is_empty() { "as built for".to_owned() } else { format!("has {}", used.join(", ")) });
    } else {
        let found = format!("the processor lacks {}, which this program uses", missing.join(", "));
        findings.problem("cpu", Exit::Config, found, "build on this machine with RUSTFLAGS=\"-C target-cpu=native\"");
    }
}

fn clock(findings: &mut Findings) {
    let now = SystemClock::default().unix();
    let built = std::env::current_exe().and_then(fs::metadata).map_or(0, |file| file.mtime());
    let shown = time::format(now.micros());
    if (now.0 / 1_000) < built.unsigned_abs() {
        let found = format!("the clock says {shown}, which is before this program was built");
        findings.problem(
            "clock",
            Exit::Config,
            found,
            "set the clock, as by timedatectl set-ntp true: an event ahead of it by more than max_future is refused",
        );
    } else {
        findings.ok("clock", shown);
    }
}

/// Whether the machine has what these settings ask for.
pub fn fits(config: &Config, findings: &mut Findings) {
    let (cores, ranks) = (available_parallelism().map_or(1, usize::from), config.ranks);
    let found = format!("{} for {} (RANKS)", count(cores as u64, "core"), count(ranks as u64, "rank"));
    if ranks > cores * RANKS_PER_CORE_MAX {
        let cure = format!("set RANKS={} or fewer: ranks that share a core wait for each other", (cores + 1).max(2));
        findings.warn("cores", found, cure);
    } else {
        findings.ok("cores", found);
    }
    let (limit, needed) = (getrlimit(Resource::Nofile).current, config.http.connections_max as u64 + FILES_BESIDE);
    match limit {
        Some(limit) if limit < needed => findings.warn(
            "open_files",
            format!(
                "a process may open {limit} files, and HTTP_CONNECTIONS_MAX={} may need {needed}",
                config.http.connections_max
            ),
            format!(
                "ulimit -n {needed} before the start (systemd: LimitNOFILE={needed}), or lower HTTP_CONNECTIONS_MAX"
            ),
        ),
        limit => findings.ok(
            "open_files",
            limit.map_or("no limit".to_owned(), |limit| format!("{limit} may be open; {needed} are enough")),
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_processor_without_what_is_used_is_a_problem() {
        let check = |told: &str, exit: u8| {
            let mut findings = Findings::default();
            processor(told, &mut findings);
            assert_eq!(findings.exit(), exit, "{told}: {}", findings.as_text());
        };
        let all = facts::instructions().join(" ");
        check(&format!("model name\t: x\nflags\t\t: fpu {all} hypervisor\n"), 0);
        // Where the kernel does not tell, nothing is wrong.
        check("", 0);
        if !all.is_empty() {
            check("flags\t\t: fpu vme\n", 78);
        }
    }
}
