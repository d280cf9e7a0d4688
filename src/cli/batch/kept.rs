//! Where a batch keeps what it needs to go on after it was killed: a folder in that of its results, which is gone when it is done.

use std::fmt::Write as _;
use std::fs::{self, File, TryLockError};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use crate::cli::batch::output::unwritten;
use crate::cli::data_dir::lock_in_time;
use crate::cli::exit::{Exit, Failure, OrExit};
use crate::cli::plural::count;
use crate::coordinator::batch::keep::Keeper;
use crate::coordinator::batch::{Begun, Job};
use crate::input::Input;
use crate::log::disk::FileDisk;

const FOLDER: &str = ".caudal-batch";

pub struct Kept {
    folder: PathBuf,
    /// The folder around it.
    results: PathBuf,
    pub batch: u128,
    /// On that, for as long as the batch runs.
    lock: File,
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
            Ok(()) => Ok(Self { folder: folder.join(FOLDER), results: folder.to_owned(), batch: name(job), lock }),
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
            eprintln!("going on after round {}, with {} done before", checkpoint.at().0, count(events, "event"));
        }
        Ok(begun)
    }

    /// Puts these unfinished files, which are whole, in their places, all of them whatever dies on the way: another start would do the rest.
    ///
    /// # Errors
    /// As the disk says.
    pub fn put(&self, names: &[String]) -> io::Result<()> {
        names.iter().try_for_each(|name| File::open(self.folder.join(name))?.sync_all())?;
        let tmp = self.folder.join("whole.tmp");
        let mut whole = File::create(&tmp)?;
        names.iter().try_for_each(|name| writeln!(whole, "{name}"))?;
        whole.sync_all()?;
        fs::rename(tmp, self.whole())?;
        File::open(&self.folder)?.sync_all()?;
        self.put_whole()
    }

    /// What names the files that are whole.
    fn whole(&self) -> PathBuf {
        self.folder.join("whole")
    }

    /// Puts what is left of them in its place.
    fn put_whole(&self) -> io::Result<()> {
        for name in fs::read_to_string(self.whole())?.lines() {
            match fs::rename(self.folder.join(name), self.results.join(name)) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
        }
        self.lock.sync_all()
    }

    fn find(&self, keep_every: Duration) -> io::Result<Begun> {
        let folder = &self.folder;
        if self.whole().exists() {
            // The batch that ended here was done but for this.
            self.put_whole()?;
            self.remove_folder()?;
        }
        // Whose it is, is told first: what another batch kept is no use, and would be warned of.
        let mark = folder.join("batch");
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
