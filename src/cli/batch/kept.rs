//! Where a batch keeps what it needs to go on after it was killed: a folder in that of its results, which is gone when it is done.

use std::fmt::Write;
use std::fs::{self, File, TryLockError};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use crate::cli::batch::output::unwritten;
use crate::cli::data_dir::lock_in_time;
use crate::cli::exit::{Exit, Failure, OrExit};
use crate::coordinator::batch::keep::Keeper;
use crate::coordinator::batch::{Begun, Job};
use crate::input::Input;
use crate::log::disk::FileDisk;

const FOLDER: &str = ".caudal-batch";

pub struct Kept {
    folder: PathBuf,
    pub batch: u128,
    /// On the folder around it, for as long as the batch runs.
    _lock: File,
}

impl Kept {
    /// Within this folder, which is made if it is missing, and which no other batch uses.
    ///
    /// # Errors
    /// 74; 78 if another batch runs in it.
    pub fn lock(folder: &Path, job: &Job<'_>) -> Result<Self, Failure> {
        let lock = fs::create_dir_all(folder).and_then(|()| File::open(folder));
        let lock = lock.map_err(|error| unwritten(folder, &error)).or_exit(Exit::Damaged)?;
        match lock_in_time(&lock) {
            Ok(()) => Ok(Self { folder: folder.join(FOLDER), batch: name(job), _lock: lock }),
            Err(TryLockError::WouldBlock) => Err(Failure::new(
                Exit::Config,
                format!("--output {}: another batch writes there; give this one a folder of its own", folder.display()),
            )),
            Err(TryLockError::Error(error)) => Err(Failure::new(Exit::Damaged, unwritten(folder, &error))),
        }
    }

    /// Where files lie until they are whole: on the disk of the results.
    pub fn unfinished(&self) -> &Path {
        &self.folder
    }

    /// Where workers keep what is of no use once they end.
    pub fn scratch(&self) -> PathBuf {
        self.folder.join("scratch")
    }

    /// What this very batch kept before it was killed. Of another batch all is removed.
    ///
    /// # Errors
    /// 74.
    pub fn begun(&self, keep_every: Duration) -> Result<Begun, Failure> {
        let begun = self.find(keep_every).map_err(|error| unwritten(&self.folder, &error)).or_exit(Exit::Damaged)?;
        if let Some((stand, checkpoint)) = &begun.found {
            let events = stand.counts().total();
            eprintln!("going on after round {}: {events} events were done before", checkpoint.at().0);
        }
        Ok(begun)
    }

    /// The results go to their places now: a start from here on begins anew.
    ///
    /// # Errors
    /// As the disk says.
    pub fn give_up(&self) -> io::Result<()> {
        fs::remove_file(self.mark())
    }

    fn mark(&self) -> PathBuf {
        self.folder.join("batch")
    }

    fn find(&self, keep_every: Duration) -> io::Result<Begun> {
        let folder = &self.folder;
        // Whose it is, is told first: what another batch kept is no use, and would be warned of.
        let mark = self.mark();
        let mine = format!("{:032x}\n", self.batch);
        if fs::read_to_string(&mark).ok().as_deref() != Some(&mine) {
            self.remove_folder()?;
            fs::create_dir_all(folder)?;
            fs::write(&mark, mine)?;
        }
        let (keeper, found) = Keeper::open(Arc::new(FileDisk::open(folder)?), self.batch)?;
        Ok(Begun { keeper: Some(keeper), found, keep_every })
    }

    /// The batch is done.
    ///
    /// # Errors
    /// 74.
    pub fn remove(&self) -> Result<(), Failure> {
        self.remove_folder().map_err(|error| unwritten(&self.folder, &error)).or_exit(Exit::Damaged)
    }

    fn remove_folder(&self) -> io::Result<()> {
        match fs::remove_dir_all(&self.folder) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }
}

/// The same pipelines over the same files give the same name.
fn name(job: &Job<'_>) -> u128 {
    let mut text = format!("{}\n{:?}\n{}", job.bundle, job.limit, job.inputs.len());
    for input in job.inputs {
        let Input { path, topic, kind, bytes, modified } = input;
        // A String takes all that is written.
        let _ = write!(text, "\n{path} {bytes} {modified:?} {topic:?} {kind:?}");
    }
    xxhash_rust::xxh3::xxh3_128(text.as_bytes())
}
