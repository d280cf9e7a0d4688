//! The Disk seam: a flat directory of files, at the level of bytes, so that a simulation runs the real log on a crashing disk.

use std::io::{self, IoSlice};
use std::sync::Arc;

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
    fn set_len(&self, len: u64) -> io::Result<()>;
    /// Makes the file's bytes and length durable (fdatasync).
    fn sync(&self) -> io::Result<()>;
}
