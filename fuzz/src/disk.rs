//! A directory in memory: what is written is there, nothing is ever lost. (`tests/it/sim_disk.rs` has one that crashes.)

use std::collections::BTreeMap;
use std::io::{self, IoSlice};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use caudal::log::disk::{Disk, DiskFile};

pub type Files = BTreeMap<String, Vec<u8>>;

#[derive(Default)]
pub struct MemoryDisk {
    names: Mutex<BTreeMap<String, Arc<MemoryFile>>>,
}

#[derive(Default)]
pub struct MemoryFile(Mutex<Vec<u8>>);

impl MemoryFile {
    fn bytes(&self) -> MutexGuard<'_, Vec<u8>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl MemoryDisk {
    pub fn with(files: &Files) -> Arc<Self> {
        let file = |(name, bytes): (&String, &Vec<u8>)| (name.clone(), Arc::new(MemoryFile(Mutex::new(bytes.clone()))));
        Arc::new(Self { names: Mutex::new(files.iter().map(file).collect()) })
    }

    pub fn files(&self) -> Files {
        self.names().iter().map(|(name, file)| (name.clone(), file.bytes().clone())).collect()
    }

    fn names(&self) -> MutexGuard<'_, BTreeMap<String, Arc<MemoryFile>>> {
        self.names.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn missing() -> io::Error {
    io::ErrorKind::NotFound.into()
}

impl Disk for MemoryDisk {
    fn list(&self) -> io::Result<Vec<String>> {
        Ok(self.names().keys().cloned().collect())
    }

    fn create(&self, name: &str, len: u64) -> io::Result<Arc<dyn DiskFile>> {
        let file = Arc::new(MemoryFile(Mutex::new(vec![0; usize::try_from(len).map_err(io::Error::other)?])));
        self.names().insert(name.to_owned(), Arc::clone(&file));
        Ok(file)
    }

    fn open(&self, name: &str) -> io::Result<Arc<dyn DiskFile>> {
        let file = self.names().get(name).cloned().ok_or_else(missing)?;
        Ok(file)
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        let mut names = self.names();
        let file = names.remove(from).ok_or_else(missing)?;
        names.insert(to.to_owned(), file);
        Ok(())
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        self.names().remove(name).map(drop).ok_or_else(missing)
    }

    fn sync_directory(&self) -> io::Result<()> {
        Ok(())
    }

    fn free_bytes(&self) -> io::Result<u64> {
        Ok(u64::MAX)
    }

    fn path(&self, name: &str) -> String {
        name.to_owned()
    }
}

impl DiskFile for MemoryFile {
    fn len(&self) -> io::Result<u64> {
        Ok(self.bytes().len() as u64)
    }

    fn read_at(&self, at: u64, into: &mut [u8]) -> io::Result<usize> {
        let bytes = self.bytes();
        let from = usize::try_from(at).unwrap_or(usize::MAX).min(bytes.len());
        let rest = &bytes[from..];
        let read = rest.len().min(into.len());
        into[..read].copy_from_slice(&rest[..read]);
        Ok(read)
    }

    fn write_at(&self, at: u64, from: &mut [IoSlice<'_>]) -> io::Result<()> {
        let mut bytes = self.bytes();
        let mut at = usize::try_from(at).map_err(io::Error::other)?;
        for slice in from {
            let end = at + slice.len();
            if bytes.len() < end {
                bytes.resize(end, 0);
            }
            bytes[at..end].copy_from_slice(slice);
            at = end;
        }
        Ok(())
    }

    fn sync(&self) -> io::Result<()> {
        Ok(())
    }
}
