//! DATA_DIR: whether it can be written, how much room there is, on which file system, and how long a sync takes.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::fs::{statfs, statvfs};

use crate::cli::doctor::findings::Findings;
use crate::cli::exit::Exit;
use crate::config::{Config, LogConfig};

/// Syncs that are measured, each after a write of this.
const SYNCS: usize = 100;
const WRITE_BYTES: usize = 4_096;
/// They end by then, however slow.
const SYNCS_MAX: Duration = Duration::from_secs(5);
/// An acknowledgement takes longer than a sync: beyond this people notice.
const SYNC_SLOW: Duration = Duration::from_millis(50);
const MIB: u64 = 1 << 20;

pub fn look(config: &Config, findings: &mut Findings) {
    let data = &config.data_dir;
    let Some(at) = existing(data) else {
        findings.problem(
            "disk.write",
            Exit::Config,
            format!("no part of DATA_DIR {} is there", data.display()),
            "name another DATA_DIR",
        );
        return;
    };
    file_system(&at, findings);
    space(&at, data, &config.log, findings);
    match sync_times(&at) {
        Err(error) => {
            let what = if data.is_dir() { "cannot be written" } else { "cannot be made" };
            let cure = cure(&error, &at);
            findings.problem("disk.write", Exit::Config, format!("DATA_DIR {} {what}: {error}", data.display()), cure);
        }
        Ok(times) => {
            let made = if data.is_dir() { "can be written" } else { "is not there yet, and can be made" };
            findings.ok("disk.write", format!("DATA_DIR {} {made}", data.display()));
            syncs(&times, findings);
        }
    }
}

/// The directory, or the nearest above it that is there.
fn existing(data: &Path) -> Option<PathBuf> {
    let absolute = std::path::absolute(data).ok()?;
    if data.is_dir() {
        return Some(data.to_owned());
    }
    absolute.ancestors().find(|above| above.exists()).map(Path::to_owned)
}

fn cure(error: &io::Error, at: &Path) -> String {
    let at = at.display();
    match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
            format!("make room on the file system of {at}, or name a DATA_DIR elsewhere")
        }
        io::ErrorKind::ReadOnlyFilesystem => {
            format!("mount the file system of {at} for writing, or name a DATA_DIR elsewhere")
        }
        io::ErrorKind::NotADirectory => format!("{at} is a file: name a folder in DATA_DIR"),
        _ => format!("let this user write to {at} (chown, chmod), or name a DATA_DIR that it may write to"),
    }
}

/// The names of file systems by their numbers in statfs(2), and what is to be known of those that are no ordinary disks.
const FILE_SYSTEMS: [(u64, &str, Option<&str>); 12] = [
    (0xef53, "ext4", None),
    (0x5846_5342, "xfs", None),
    (0x9123_683e, "btrfs", None),
    (0x2fc1_2fc1, "zfs", None),
    (0xf2f5_2010, "f2fs", None),
    (0x794c_7630, "overlay", None),
    (0x0102_1994, "tmpfs", Some(MEMORY)),
    (0x8584_58f6, "ramfs", Some(MEMORY)),
    (0x6969, "NFS", Some(NETWORK)),
    (0xff53_4d42, "CIFS", Some(NETWORK)),
    (0xfe53_4d42, "SMB", Some(NETWORK)),
    (0x6573_5546, "FUSE", Some(NETWORK)),
];
const MEMORY: &str =
    "is memory: what was acknowledged is lost with the power. For more than trying out name a DATA_DIR on a disk";
const NETWORK: &str = "may answer a sync before the server has the bytes, and may know no locks between machines; SQLite wants a local disk. Name a DATA_DIR on a local disk";

fn file_system(at: &Path, findings: &mut Findings) {
    let Ok(found) = statfs(at) else { return };
    let number = found.f_type as u64 & 0xffff_ffff;
    match FILE_SYSTEMS.iter().find(|(known, ..)| *known == number) {
        Some((_, name, None)) => findings.ok("disk.system", format!("{name} at {}", at.display())),
        Some((_, name, Some(cure))) => {
            findings.warn("disk.system", format!("{} is on {name}", at.display()), format!("{name} {cure}"));
        }
        None => findings.ok("disk.system", format!("of type {number:#x} at {}", at.display())),
    }
}

fn space(at: &Path, data: &Path, log: &LogConfig, findings: &mut Findings) {
    let Ok(found) = statvfs(at) else { return };
    let free = found.f_bavail.saturating_mul(found.f_frsize);
    // What the log has already is not to be found again.
    let to_grow = log.bytes_max.saturating_sub(bytes_in(&data.join("log")));
    let shown = format!("{} MiB free", free / MIB);
    if free < log.low_water_bytes {
        let found = format!(
            "{shown}, less than DISK_FREE_BYTES_MIN ({} MiB): every event is refused with 503",
            log.low_water_bytes / MIB
        );
        findings.problem(
            "disk.space",
            Exit::Config,
            found,
            format!("make room on the file system of {}, or name a DATA_DIR elsewhere", at.display()),
        );
    } else if free < to_grow.saturating_add(log.low_water_bytes) {
        let (most, least) = (log.bytes_max / MIB, log.low_water_bytes / MIB);
        let found = format!(
            "{shown}: the log cannot grow to LOG_BYTES_MAX ({most} MiB) and leave DISK_FREE_BYTES_MIN ({least} MiB)"
        );
        findings.warn(
            "disk.space",
            found,
            format!(
                "make room, or set LOG_BYTES_MAX={}MiB: events are then refused in time",
                (free - log.low_water_bytes) / MIB
            ),
        );
    } else {
        findings.ok("disk.space", format!("{shown}: the log may grow to LOG_BYTES_MAX"));
    }
}

fn bytes_in(folder: &Path) -> u64 {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.metadata().ok()).map(|file| file.len()).sum()
}

/// How long each write with its fdatasync takes, shortest first, in a file that is gone again.
fn sync_times(at: &Path) -> io::Result<Vec<Duration>> {
    let path = at.join(format!(".caudal-doctor-{}", std::process::id()));
    let measure = || {
        let mut file = File::create_new(&path)?;
        let (begun, bytes) = (Instant::now(), [0x5a; WRITE_BYTES]);
        let mut times = Vec::new();
        while times.len() < SYNCS && (times.is_empty() || begun.elapsed() < SYNCS_MAX) {
            let from = Instant::now();
            file.write_all(&bytes)?;
            file.sync_data()?;
            times.push(from.elapsed());
        }
        times.sort_unstable();
        Ok(times)
    };
    let times = measure();
    match fs::remove_file(&path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => times.and(Err(error)),
        _ => times,
    }
}

fn syncs(times: &[Duration], findings: &mut Findings) {
    // The first at or above which so many of a hundred are.
    let at = |percent: usize| {
        times.get((times.len() * percent).div_ceil(100).saturating_sub(1)).copied().unwrap_or_default()
    };
    let (middle, slow) = (at(50), at(99));
    let shown = |time: Duration| format!("{:.2} ms", time.as_secs_f64() * 1e3);
    let found =
        format!("fdatasync of {WRITE_BYTES} bytes: p50 {}, p99 {} ({} times)", shown(middle), shown(slow), times.len());
    if slow > SYNC_SLOW {
        findings.warn(
            "disk.sync",
            found,
            "each acknowledgement waits for one: put DATA_DIR on a quicker disk, or look who else writes to this one",
        );
    } else {
        findings.ok("disk.sync", found);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_directory_that_is_there_is_looked_at() {
        let dir = tempfile::TempDir::new().unwrap();
        assert_eq!(existing(dir.path()), Some(dir.path().to_owned()));
        assert_eq!(existing(&dir.path().join("a/b/c")), Some(dir.path().to_owned()));
        assert_eq!(sync_times(dir.path()).unwrap().len(), SYNCS);
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0, "nothing is left");
    }

    #[test]
    fn percentiles_are_of_the_times_that_were_taken() {
        let times: Vec<Duration> = (1..=100).map(Duration::from_millis).collect();
        let mut findings = Findings::default();
        syncs(&times, &mut findings);
        let text = findings.as_text();
        assert!(text.contains("p50 50.00 ms, p99 99.00 ms (100 times)") && text.starts_with("warning"), "{text}");
    }
}
