//! The Disk seam: a flat directory of files, at the level of bytes, so that a simulation runs the real log on a crashing disk.

use std::fs::{self, File};
use std::io::{self, IoSlice};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{self, SyncSender, TrySendError};
use std::thread;

use rustix::fs::FallocateFlags;
use rustix::io::Errno;

/// A directory. Names are plain file names. Nothing of it is durable until the matching sync has returned.
pub trait Disk: Send + Sync {
    /// # Errors
    /// As the disk says; likewise below.
    fn list(&self) -> io::Result<Vec<String>>;
    /// A new file of `len` zero bytes, its blocks allocated; one of that name is replaced.
    fn create(&self, name: &str, len: u64) -> io::Result<Arc<dyn DiskFile>>;
    fn open(&self, name: &str) -> io::Result<Arc<dyn DiskFile>>;
    fn rename(&self, from: &str, to: &str) -> io::Result<()>;
    fn remove(&self, name: &str) -> io::Result<()>;
    /// Makes creations, renames and removals durable.
    fn sync_directory(&self) -> io::Result<()>;
    /// Free space.
    fn free_bytes(&self) -> io::Result<u64>;
    /// The file's name for people.
    fn path(&self, name: &str) -> String;
}

/// A file; may be read by one thread while another writes further on.
pub trait DiskFile: Send + Sync {
    fn len(&self) -> io::Result<u64>;
    fn is_empty(&self) -> io::Result<bool> {
        Ok(self.len()? == 0)
    }
    /// Reads up to `into.len()` bytes; fewer only at the file's end.
    fn read_at(&self, at: u64, into: &mut [u8]) -> io::Result<usize>;
    /// Writes all of the slices, one after the other.
    fn write_at(&self, at: u64, from: &mut [IoSlice<'_>]) -> io::Result<()>;
    /// Makes the file's bytes and length durable (fdatasync).
    fn sync(&self) -> io::Result<()>;
}

/// What `pwritev` takes at once (IOV_MAX on Linux).
const SLICES_MAX: usize = 1024;

/// What a removed file is called until it is gone.
const REMOVED: &str = "removed-";
/// Removed files that may wait for their thread: what they take is counted by nobody.
const REMOVED_MAX: usize = 16;
/// How the names of unfinished files end.
const TMP: &str = ".tmp";

/// A directory of the machine's file system.
pub struct FileDisk {
    directory: PathBuf,
    /// To the thread that ends removed files: a file system takes tens of milliseconds for a large one.
    removed: SyncSender<PathBuf>,
}

struct OpenFile(File);

impl FileDisk {
    /// The directory is made, durably, where it is missing.
    ///
    /// # Errors
    /// If it cannot be made or is no directory.
    pub fn open(directory: &Path) -> io::Result<Self> {
        let missing: Vec<&Path> =
            directory.ancestors().take_while(|d| !d.as_os_str().is_empty() && !d.exists()).collect();
        fs::create_dir_all(directory)?;
        for made in missing {
            let parent = made.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
            File::open(parent)?.sync_all()?;
        }
        if !fs::metadata(directory)?.is_dir() {
            return Err(io::Error::new(
                io::ErrorKind::NotADirectory,
                format!("{} is no directory", directory.display()),
            ));
        }
        for entry in fs::read_dir(directory)? {
            let entry = entry?;
            if entry.file_name().to_str().is_some_and(|name| name.starts_with(REMOVED)) {
                unlink(&entry.path())?;
            }
        }
        let (removed, files) = mpsc::sync_channel::<PathBuf>(REMOVED_MAX);
        thread::Builder::new().name("file-remover".to_owned()).spawn(move || {
            for file in files {
                if let Err(error) = unlink(&file) {
                    tracing::warn!(file = %file.display(), %error, "a file that is not needed cannot be removed");
                }
            }
        })?;
        Ok(Self { directory: directory.to_owned(), removed })
    }
}

impl Disk for FileDisk {
    fn list(&self) -> io::Result<Vec<String>> {
        let entries = fs::read_dir(&self.directory)?.collect::<io::Result<Vec<_>>>()?;
        // A name that is not UTF-8 is none of ours.
        let names = entries.into_iter().filter_map(|e| e.file_name().into_string().ok());
        Ok(names.filter(|name| !name.starts_with(REMOVED)).collect())
    }

    fn create(&self, name: &str, len: u64) -> io::Result<Arc<dyn DiskFile>> {
        let path = self.directory.join(name);
        unlink(&path)?;
        let file = File::options().read(true).write(true).create_new(true).open(&path)?;
        if let Err(error) = allocate(&file, len) {
            // The name stands for nothing then; that it is in the way is a smaller fault than the one reported.
            let _ = fs::remove_file(&path);
            return Err(error);
        }
        Ok(Arc::new(OpenFile(file)))
    }

    fn open(&self, name: &str) -> io::Result<Arc<dyn DiskFile>> {
        let file = File::options().read(true).write(true).open(self.directory.join(name))?;
        Ok(Arc::new(OpenFile(file)))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        fs::rename(self.directory.join(from), self.directory.join(to))
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        if name.ends_with(TMP) {
            // Its room may be needed at once.
            return unlink(&self.directory.join(name));
        }
        let removed = self.directory.join(format!("{REMOVED}{name}"));
        fs::rename(self.directory.join(name), &removed)?;
        // Were the thread gone, or behind by too many, it is done here.
        self.removed.try_send(removed).or_else(|error| match error {
            TrySendError::Full(removed) | TrySendError::Disconnected(removed) => unlink(&removed),
        })
    }

    fn sync_directory(&self) -> io::Result<()> {
        File::open(&self.directory)?.sync_all()
    }

    fn free_bytes(&self) -> io::Result<u64> {
        let stat = rustix::fs::statvfs(&self.directory)?;
        Ok(stat.f_bavail.saturating_mul(stat.f_frsize))
    }

    fn path(&self, name: &str) -> String {
        self.directory.join(name).display().to_string()
    }
}

/// Reserves the blocks, so that a write into them cannot run out of space; they read as zeros.
fn allocate(file: &File, len: u64) -> io::Result<()> {
    if len == 0 {
        return Ok(());
    }
    match rustix::fs::fallocate(file, FallocateFlags::empty(), 0, len) {
        // A file system without reservations (NFS, some overlays): write the zeros.
        Err(Errno::OPNOTSUPP) => {
            let zeros = vec![0; 1 << 20];
            let mut at = 0;
            while at < len {
                let piece = zeros.len().min(usize::try_from(len - at).unwrap_or(usize::MAX));
                file.write_all_at(zeros.get(..piece).unwrap_or(&zeros), at)?;
                at += piece as u64;
            }
            Ok(())
        }
        other => Ok(other?),
    }
}

/// Ends a file, if it is there.
fn unlink(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        done => done,
    }
}

impl DiskFile for OpenFile {
    fn len(&self) -> io::Result<u64> {
        Ok(self.0.metadata()?.len())
    }

    fn read_at(&self, at: u64, into: &mut [u8]) -> io::Result<usize> {
        let mut done = 0;
        while let Some(rest) = into.get_mut(done..).filter(|rest| !rest.is_empty()) {
            match self.0.read_at(rest, at + done as u64) {
                Ok(0) => break,
                Ok(n) => done += n,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(done)
    }

    fn write_at(&self, mut at: u64, mut from: &mut [IoSlice<'_>]) -> io::Result<()> {
        // Empty slices at the front would look like a write that does not move on.
        IoSlice::advance_slices(&mut from, 0);
        while !from.is_empty() {
            let batch = from.get(..SLICES_MAX).unwrap_or(from);
            match rustix::io::pwritev(&self.0, batch, at) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(n) => {
                    at += n as u64;
                    IoSlice::advance_slices(&mut from, n);
                }
                Err(Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }

    fn sync(&self) -> io::Result<()> {
        self.0.sync_data()
    }
}
