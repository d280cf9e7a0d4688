//! Facts about this process and ties to its parent.

use std::fs;
use std::time::Duration;

use rustix::process::Signal;

/// The host's name.
#[must_use]
pub fn host() -> String {
    rustix::system::uname().nodename().to_string_lossy().into_owned()
}

/// Resident memory of this process, in bytes; 0 where the kernel does not tell.
#[must_use]
pub fn memory_bytes() -> u64 {
    resident(&fs::read_to_string("/proc/self/status").unwrap_or_default())
}

/// From the text of `/proc/PID/status`, which counts in KiB whatever the page size.
fn resident(status: &str) -> u64 {
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kib = line.and_then(|line| line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok());
    kib.unwrap_or(0) * 1024
}

/// Time that this process has had on cores, of all its threads; zero where the kernel does not tell.
#[must_use]
pub fn cpu() -> Duration {
    used(&fs::read_to_string("/proc/self/stat").unwrap_or_default())
}

/// From the text of `/proc/PID/stat`: user and system time, which Linux counts for readers in hundredths of a second.
fn used(stat: &str) -> Duration {
    const USER_TIME: usize = 11;
    // The name in brackets may hold anything, brackets and spaces too; the state follows on its last one.
    let fields = stat.rsplit_once(')').map(|(_, fields)| fields).unwrap_or_default();
    let ticks = fields.split_ascii_whitespace().skip(USER_TIME).take(2);
    Duration::from_millis(ticks.filter_map(|ticks| ticks.parse::<u64>().ok()).sum::<u64>().saturating_mul(10))
}

/// Has the kernel kill this process when its parent (the MPI launcher) dies, so that no rank is orphaned.
///
/// A parent that died before this call is not noticed here: a rank notices it when it starts MPI, which asks the launcher for its rank.
pub fn die_with_parent() {
    // It can fail only for a signal that does not exist.
    let _ = rustix::process::set_parent_process_death_signal(Some(Signal::KILL));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn resident_memory_is_read_from_the_status() {
        for (status, bytes) in [
            ("Name:\tcaudal\nVmHWM:\t  9999 kB\nVmRSS:\t   1234 kB\nRssAnon:\t 1 kB\n", 1234 * 1024),
            ("VmRSS:\t0 kB\n", 0),
            ("VmRSS:\t12\n", 0),
            ("Name:\tcaudal\n", 0),
            ("", 0),
        ] {
            assert_eq!(resident(status), bytes, "{status:?}");
        }
        assert!(memory_bytes() > 1 << 20);
    }

    #[test]
    fn time_on_cores_is_read_from_the_stat() {
        let stat = "7 (a) b ) S 1 7 7 0 -1 4194560 100 0 0 0 123 45 9 9 20 0 1 0 5 6 7";
        for (stat, ms) in [(stat, 1680), ("", 0), ("7 (a) S 1", 0)] {
            assert_eq!(used(stat), Duration::from_millis(ms), "{stat:?}");
        }
        let begun = cpu();
        while cpu() == begun {
            std::hint::black_box(0);
        }
    }

    #[test]
    fn the_host_has_a_name() {
        assert_eq!(host(), fs::read_to_string("/proc/sys/kernel/hostname").unwrap().trim());
    }
}
