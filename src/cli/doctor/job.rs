//! The job that runs in DATA_DIR, if any, and how it is.

use std::fs::{self, File, TryLockError};
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::Duration;

use bytes::Bytes;
use hyper::{Method, StatusCode};
use serde_json::Value;

use crate::cli::client::{Answer, Call, JobArgs, detail};
use crate::cli::doctor::findings::Findings;
use crate::cli::exit::Exit;
use crate::cli::https::Untrusted;
use crate::cli::plural::count;

/// A job that is well answers at once.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(5);
const ANSWER_BYTES_MAX: usize = 16 << 20;

/// Who has the directory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Holder {
    /// Where the kernel tells.
    pub process: Option<u32>,
}

/// Whoever holds the lock on the directory.
pub fn holder(data_dir: &Path) -> Option<Holder> {
    let lock = File::open(data_dir.join("lock")).ok()?;
    match lock.try_lock_shared() {
        Err(TryLockError::WouldBlock) => {}
        // It is free, and is let go at once.
        _ => return None,
    }
    let inode = lock.metadata().ok()?.ino();
    Some(Holder { process: fs::read_to_string("/proc/locks").ok().and_then(|locks| of_inode(&locks, inode)) })
}

/// From the text of /proc/locks: `1: FLOCK  ADVISORY  WRITE 4711 08:01:1234 0 EOF`.
fn of_inode(locks: &str, inode: u64) -> Option<u32> {
    let holds = |line: &str| {
        let mut words = line.split_whitespace();
        let (process, file) = (words.nth(4)?, words.next()?);
        let found: u64 = file.rsplit(':').next()?.parse().ok()?;
        (found == inode && line.contains("FLOCK")).then(|| process.parse().ok()).flatten()
    };
    locks.lines().find_map(holds)
}

/// Where settings are `wrong` it cannot be known where the job is to be asked.
pub fn look(job: Option<&Holder>, wrong: bool, findings: &mut Findings) {
    let Some(holder) = job else {
        findings.ok("job", "none runs in DATA_DIR");
        return;
    };
    let name = holder.process.map(|process| format!("process {process}")).unwrap_or_default();
    if wrong {
        findings.ok("job", format!("one has DATA_DIR ({name}); it is asked once the settings are right"));
        return;
    }
    match health() {
        Health::Well(found) => findings.ok("job", found),
        Health::Hampered(found, cure) => findings.warn("job", found, cure),
        Health::Untrusted(Untrusted { what, cure }) => findings.problem(
            "job",
            Exit::Config,
            format!("a job has DATA_DIR ({name}), and cannot be asked: {what}"),
            cure,
        ),
        Health::Silent(why) => findings.problem(
            "job",
            Exit::Unavailable,
            format!("a job has DATA_DIR ({name}), and does not answer: {why}"),
            "ask with the HTTP_ADDR, HTTP_PORT and API_TOKENS that it was started with; if it hangs, its output says why",
        ),
    }
}

enum Health {
    Well(String),
    Hampered(String, &'static str),
    /// It speaks https, and its certificate is not the one that is expected.
    Untrusted(Untrusted),
    Silent(String),
}

fn health() -> Health {
    let (ready, cluster) = match ask() {
        Ok(answers) => answers,
        Err(error) => {
            return match error.downcast::<Untrusted>() {
                Ok(untrusted) => Health::Untrusted(untrusted),
                Err(error) => Health::Silent(format!("{error:#}")),
            };
        }
    };
    let shown: Value = serde_json::from_str(&cluster.body).unwrap_or_default();
    let workers = shown["ranks"].as_array().map_or(0, Vec::len) as u64;
    let found = format!(
        "{}, generation {}, {}",
        shown["phase"].as_str().unwrap_or("it answers"),
        shown["generation"],
        count(workers, "worker")
    );
    if ready.status == StatusCode::UNAUTHORIZED || cluster.status == StatusCode::UNAUTHORIZED {
        return Health::Hampered(
            "a job runs, and does not take the token".to_owned(),
            "set API_TOKENS as the job has it",
        );
    }
    if let Some(since) = shown["store_away_since"].as_str() {
        return Health::Hampered(
            format!("{found}: the store is away since {since}"),
            "bring the store back: events are taken meanwhile, and their results follow",
        );
    }
    if ready.status != StatusCode::OK {
        return Health::Hampered(
            format!("{found}: {}", detail(&ready)),
            "wait while it replays; what else it waits for it says itself",
        );
    }
    Health::Well(found)
}

fn ask() -> anyhow::Result<(Answer, Answer)> {
    let mut client = JobArgs::default().client(ANSWER_TIMEOUT, ANSWER_BYTES_MAX)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let call = |path| Call { method: Method::GET, path, key: None, kind: None, body: Bytes::new() };
        let ready = client.ask(&call("/readyz")).await?;
        Ok((ready, client.ask(&call("/cluster")).await?))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_holder_of_a_lock_is_found_in_the_kernels_list() {
        let locks = "1: POSIX  ADVISORY  WRITE 12 08:01:77 0 EOF\n2: FLOCK  ADVISORY  WRITE 4711 08:01:77 0 EOF\n\
                     2: -> FLOCK  ADVISORY  READ 4712 08:01:77 0 EOF\n3: FLOCK  ADVISORY  READ 13 08:01:78 0 EOF\n";
        assert_eq!(of_inode(locks, 77), Some(4711));
        assert_eq!(of_inode(locks, 78), Some(13));
        assert_eq!(of_inode(locks, 7), None);
        assert_eq!(of_inode("", 7), None);
    }
}
