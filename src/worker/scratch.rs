//! Runs of sealed ids as files in a folder of the worker's host.
//!
//! A file has no name from the moment that it is open, so that the kernel takes it back whatever becomes of the process; one that was killed
//! within that moment leaves a name, which the same worker's next life removes.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;

use crate::core::dedup::IdMemory;
use crate::core::dedup::runs::{RunId, Runs, RunsError};
use crate::wire::Sealing;

/// The files of one worker.
#[derive(Debug)]
pub struct Scratch {
    folder: PathBuf,
    /// How the names of its files begin.
    prefix: String,
    files: BTreeMap<RunId, Written>,
    begun: u64,
}

#[derive(Debug)]
struct Written {
    file: File,
    bytes: u64,
}

impl Scratch {
    /// In this folder, which is made when the first run is begun: most jobs never need it. No two that live at once have one name there.
    #[must_use]
    pub fn new(folder: PathBuf, whose: &str) -> Self {
        Self { folder, prefix: format!("ids-of-{whose}-"), files: BTreeMap::new(), begun: 0 }
    }

    /// How ids are kept where this is said.
    #[must_use]
    pub fn ids(sealing: &Sealing, whose: &str) -> IdMemory {
        let in_memory_max = usize::try_from(sealing.ids_in_memory_max).unwrap_or(usize::MAX);
        IdMemory { in_memory_max, runs: Box::new(Self::new(sealing.scratch.clone().into(), whose)) }
    }

    /// Makes the folder, and removes what an earlier life of this worker left in it.
    fn make(&self) -> io::Result<()> {
        fs::create_dir_all(&self.folder)?;
        for entry in fs::read_dir(&self.folder)? {
            let entry = entry?;
            if entry.file_name().to_str().is_some_and(|name| name.starts_with(&self.prefix)) {
                fs::remove_file(entry.path())?;
            }
        }
        Ok(())
    }

    fn create(&self, number: u64) -> io::Result<File> {
        if number == 0 {
            self.make()?;
        }
        let path = self.folder.join(format!("{}{number}", self.prefix));
        let file = File::options().read(true).write(true).create_new(true).open(&path)?;
        fs::remove_file(&path)?;
        Ok(file)
    }

    fn unusable(&self, error: &io::Error) -> RunsError {
        let hint = match error.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
                "; make room there (some 40 bytes an id, for a time twice as many), or raise IDS_IN_MEMORY_MAX"
            }
            _ => "",
        };
        RunsError::Unusable(format!("{}: {error}{hint}", self.folder.display()))
    }

    fn file(&self, run: RunId) -> Result<&Written, RunsError> {
        self.files.get(&run).ok_or_else(|| RunsError::Unusable(format!("run {} is not there", run.0)))
    }
}

impl Runs for Scratch {
    fn begin(&mut self) -> Result<RunId, RunsError> {
        let file = self.create(self.begun).map_err(|error| self.unusable(&error))?;
        let run = RunId(self.begun);
        self.begun += 1;
        self.files.insert(run, Written { file, bytes: 0 });
        Ok(run)
    }

    fn append(&mut self, run: RunId, bytes: &[u8]) -> Result<(), RunsError> {
        let Written { file, bytes: at } = self.file(run)?;
        file.write_all_at(bytes, *at).map_err(|error| self.unusable(&error))?;
        if let Some(written) = self.files.get_mut(&run) {
            written.bytes += bytes.len() as u64;
        }
        Ok(())
    }

    fn read(&self, run: RunId, at: u64, into: &mut [u8]) -> Result<(), RunsError> {
        self.file(run)?.file.read_exact_at(into, at).map_err(|error| self.unusable(&error))
    }

    fn remove(&mut self, run: RunId) -> Result<(), RunsError> {
        self.files.remove(&run);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runs_are_read_as_they_were_written_and_leave_no_names() {
        let dir = tempfile::TempDir::new().unwrap();
        let folder = dir.path().join("a/scratch");
        fs::create_dir_all(&folder).unwrap();
        fs::write(folder.join("ids-of-worker-1-7"), "left by a life that was killed").unwrap();
        fs::write(folder.join("ids-of-worker-10-7"), "another worker's").unwrap();
        let mut scratch = Scratch::new(folder.clone(), "worker-1");
        let (one, two) = (scratch.begin().unwrap(), scratch.begin().unwrap());
        scratch.append(one, b"abc").unwrap();
        scratch.append(two, b"xyz").unwrap();
        scratch.append(one, b"def").unwrap();
        let mut read = [0; 4];
        scratch.read(one, 1, &mut read).unwrap();
        assert_eq!(&read, b"bcde");
        let beyond = scratch.read(two, 1, &mut read).unwrap_err();
        assert!(beyond.to_string().contains("a/scratch"), "{beyond}");
        let names: Vec<_> = fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        assert_eq!(names, ["ids-of-worker-10-7"]);
        scratch.remove(one).unwrap();
        assert!(scratch.read(one, 0, &mut read).is_err());
    }

    #[test]
    fn a_place_that_cannot_be_written_is_named() {
        let dir = tempfile::TempDir::new().unwrap();
        let file = dir.path().join("file");
        fs::write(&file, "no folder").unwrap();
        let error = Scratch::new(file.clone(), "worker-0").begin().unwrap_err().to_string();
        assert!(error.contains(file.to_str().unwrap()) && error.contains("IDS_IN_MEMORY_MAX"), "{error}");
    }
}
