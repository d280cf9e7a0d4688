//! What is known of the job's newest starts, in a file of DATA_DIR: a page can then say what happened while nobody looked. Nothing depends on it: a file that
//! cannot be read or written is passed over with a warning.

use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::coordinator::status::StartStatus;
use crate::core::units::{Generation, Millis};
use crate::logging::plain;

/// Starts that are kept.
const KEPT: usize = 16;
/// Characters of a reason that are kept: who started the job again may have said anything.
const WHY_CHARS_MAX: usize = 200;
/// A file that is larger was not written here.
const FILE_BYTES_MAX: u64 = 1 << 20;
const VERSION: u32 = 1;

/// The file.
#[derive(Serialize, Deserialize)]
struct Kept {
    version: u32,
    starts: Vec<Start>,
}

#[derive(Serialize, Deserialize)]
struct Start {
    generation: u64,
    at_ms: u64,
    why: Option<String>,
    ready_ms: Option<u64>,
    replayed: u64,
    replay_ms: u64,
    drained: bool,
}

/// The job's starts; the last one is this life's.
pub struct Starts {
    file: PathBuf,
    all: Mutex<Vec<StartStatus>>,
}

impl Starts {
    /// Adds this life's. `why` is what whoever started the job again said of the end before.
    pub fn begin(file: &Path, generation: Generation, why: Option<&str>, at: Millis) -> Self {
        let mut all = read(file).unwrap_or_else(|error| {
            tracing::warn!(file = %file.display(), %error, "what is known of earlier starts cannot be read; it begins anew");
            Vec::new()
        });
        let before = all.last().filter(|start| !start.drained && start.generation < generation);
        let unknown = || before.map(|_| "the job before ended without a drain".to_owned());
        let why = why.map(short).or_else(unknown);
        all.push(StartStatus { generation, at, why, ..StartStatus::default() });
        let old = all.len().saturating_sub(KEPT);
        all.drain(..old);
        let starts = Self { file: file.to_owned(), all: Mutex::new(all) };
        starts.write();
        starts
    }

    /// This life takes events; it has read so many of the log again, and needed so long.
    pub fn ready(&self, at: Millis, replayed: u64, took: Millis) -> Arc<Vec<StartStatus>> {
        tracing::info!(replayed, took_ms = took.0, "events are taken");
        self.change(|start| {
            (start.ready, start.replayed, start.replay) = (Some(at), replayed, Duration::from_millis(took.0));
        })
    }

    /// This life has come to its end with nothing left to do.
    pub fn drained(&self) {
        self.change(|start| start.drained = true);
    }

    /// For the status.
    pub fn told(&self) -> Arc<Vec<StartStatus>> {
        Arc::new(self.lock().clone())
    }

    fn change(&self, change: impl FnOnce(&mut StartStatus)) -> Arc<Vec<StartStatus>> {
        if let Some(start) = self.lock().last_mut() {
            change(start);
        }
        self.write();
        self.told()
    }

    fn lock(&self) -> MutexGuard<'_, Vec<StartStatus>> {
        self.all.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) {
        let kept = Kept { version: VERSION, starts: self.lock().iter().map(Start::from).collect() };
        if let Err(error) = write(&self.file, &kept) {
            tracing::warn!(file = %self.file.display(), %error, "what is known of this start cannot be kept");
        }
    }
}

fn short(why: &str) -> String {
    plain(why).chars().take(WHY_CHARS_MAX).collect()
}

fn read(file: &Path) -> io::Result<Vec<StartStatus>> {
    let bytes = match fs::metadata(file) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error),
        Ok(metadata) if metadata.len() > FILE_BYTES_MAX => return Err(io::Error::other("it is too large")),
        Ok(_) => fs::read(file)?,
    };
    let Kept { version, starts } = serde_json::from_slice(&bytes).map_err(io::Error::other)?;
    if version != VERSION {
        return Err(io::Error::other(format!("it is of version {version}, and this build knows {VERSION}")));
    }
    Ok(starts.into_iter().map(StartStatus::from).collect())
}

/// Under another name first, so that a kill leaves the old file or the new one. It is not synced: nothing depends on it.
fn write(file: &Path, kept: &Kept) -> io::Result<()> {
    let tmp = file.with_extension("tmp");
    let mut to = fs::File::create(&tmp)?;
    to.write_all(&serde_json::to_vec(kept).map_err(io::Error::other)?)?;
    fs::rename(&tmp, file)
}

impl From<&StartStatus> for Start {
    fn from(start: &StartStatus) -> Self {
        Self {
            generation: start.generation.0,
            at_ms: start.at.0,
            why: start.why.clone(),
            ready_ms: start.ready.map(|ready| ready.0),
            replayed: start.replayed,
            replay_ms: start.replay.as_millis() as u64,
            drained: start.drained,
        }
    }
}

impl From<Start> for StartStatus {
    fn from(start: Start) -> Self {
        Self {
            generation: Generation(start.generation),
            at: Millis(start.at_ms),
            why: start.why.as_deref().map(short),
            ready: start.ready_ms.map(Millis),
            replayed: start.replayed,
            replay: Duration::from_millis(start.replay_ms),
            drained: start.drained,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn begin(file: &Path, generation: u64, why: Option<&str>) -> Starts {
        Starts::begin(file, Generation(generation), why, Millis(1000 * generation))
    }

    #[test]
    fn starts_are_kept_with_what_is_known_of_them() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("starts.json");
        begin(&file, 1, None).ready(Millis(1500), 0, Millis(500));
        begin(&file, 2, Some("rank 2 was killed by signal 9\n\x1b[31m")).drained();
        begin(&file, 3, None);
        let starts = begin(&file, 4, None).told();
        let whys: Vec<Option<&str>> = starts.iter().map(|start| start.why.as_deref()).collect();
        let unknown = Some("the job before ended without a drain");
        assert_eq!(whys, [None, Some("rank 2 was killed by signal 9\\n\\u{1b}[31m"), None, unknown]);
        assert_eq!((starts[0].ready, starts[0].replay), (Some(Millis(1500)), Duration::from_millis(500)));
        for generation in 5..100 {
            begin(&file, generation, Some(&"x".repeat(10_000)));
        }
        let starts = begin(&file, 100, None).told();
        assert_eq!((starts.len(), starts[0].generation.0), (KEPT, 101 - KEPT as u64));
        assert_eq!(starts[0].why.as_ref().map(String::len), Some(WHY_CHARS_MAX));
    }

    #[test]
    fn a_damaged_file_is_passed_over() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("starts.json");
        for text in ["", "{", "{\"version\":2,\"starts\":[]}", "[1]"] {
            fs::write(&file, text).unwrap();
            assert_eq!(begin(&file, 7, None).told().len(), 1, "{text:?}");
        }
    }
}
