//! A disk that crashes: it drops, tears and reorders what was not synced, fails syncs, and runs out of space. It knows nothing of logs.
//!
//! ```text
//! let disk = SimDisk::new(seed);             // Arc<SimDisk>, a `Disk`
//! disk.fail_sync_after(3);                   // the 4th sync from now on (of a file or of the directory) says EIO
//! disk.die_after(17);                        // the 18th changing call from now on and all calls after it fail
//! disk.set_capacity(1 << 20);                // ENOSPC beyond this many bytes of files
//! let disk = disk.crash();                   // power cut: the machine comes back with some of what was not synced
//! let disk = disk.kill();                    // kill -9: the page cache survives, whether or not it is on the disk
//! ```
//!
//! `crash` and `kill` give the disk of the next life; the old one and every file opened by it answer nothing but errors from then on. Faults that
//! were set and not reached are forgotten. Everything random comes from the seed of the first `new`.

use std::collections::BTreeMap;
use std::io::{self, IoSlice};
use std::sync::{Arc, Mutex, MutexGuard};

use caudal::log::disk::{Disk, DiskFile};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

/// What a disk writes whole or not at all.
const SECTOR_BYTES: usize = 512;

pub struct SimDisk {
    state: Arc<Mutex<State>>,
    life: u64,
}

struct SimFile {
    state: Arc<Mutex<State>>,
    life: u64,
    inode: usize,
}

struct State {
    rng: ChaCha8Rng,
    life: u64,
    inodes: Vec<Inode>,
    /// Name → inode, as a process sees it and as it is on the disk.
    names: BTreeMap<String, usize>,
    names_on_disk: BTreeMap<String, usize>,
    unsynced_names: Vec<NameOp>,
    capacity: u64,
    changes: u64,
    dies_at: Option<u64>,
    syncs: u64,
    fails_at: Option<u64>,
}

#[derive(Default)]
struct Inode {
    /// As a process sees it.
    cached: Vec<u8>,
    on_disk: Vec<u8>,
    unsynced: Vec<FileOp>,
}

enum FileOp {
    Length(usize),
    Write(usize, Vec<u8>),
}

enum NameOp {
    Link(String, usize),
    Rename(String, String, usize),
    Remove(String, usize),
}

impl SimDisk {
    /// An empty disk without a limit.
    pub fn new(seed: u64) -> Arc<Self> {
        Self::with_files(seed, BTreeMap::new())
    }

    /// A disk that holds these files, durably.
    pub fn with_files(seed: u64, files: BTreeMap<String, Vec<u8>>) -> Arc<Self> {
        let mut state = State {
            rng: ChaCha8Rng::seed_from_u64(seed),
            life: 0,
            inodes: Vec::new(),
            names: BTreeMap::new(),
            names_on_disk: BTreeMap::new(),
            unsynced_names: Vec::new(),
            capacity: u64::MAX,
            changes: 0,
            dies_at: None,
            syncs: 0,
            fails_at: None,
        };
        for (name, bytes) in files {
            state.names.insert(name, state.inodes.len());
            state.inodes.push(Inode { cached: bytes.clone(), on_disk: bytes, unsynced: Vec::new() });
        }
        state.names_on_disk = state.names.clone();
        Arc::new(Self { state: Arc::new(Mutex::new(state)), life: 0 })
    }

    /// All files, as a process sees them.
    pub fn files(&self) -> BTreeMap<String, Vec<u8>> {
        let state = self.state.lock().unwrap();
        state.names.iter().map(|(name, &inode)| (name.clone(), state.inodes[inode].cached.clone())).collect()
    }

    /// Calls that changed something, syncs included, in all lives.
    pub fn changes(&self) -> u64 {
        self.state.lock().unwrap().changes
    }

    /// `n` more changing calls succeed; the next one, which may or may not take effect, and every call after it fail.
    pub fn die_after(&self, n: u64) {
        let mut state = self.state.lock().unwrap();
        state.dies_at = Some(state.changes + n);
    }

    /// `n` more syncs succeed; the next one says EIO, and some of what it should have made durable in a file never will be, though the cache shows
    /// it.
    pub fn fail_sync_after(&self, n: u64) {
        let mut state = self.state.lock().unwrap();
        state.fails_at = Some(state.syncs + n);
    }

    pub fn set_capacity(&self, bytes: u64) {
        self.state.lock().unwrap().capacity = bytes;
    }

    /// A power cut. Of what was not synced, each sector and each change of a name is there or not.
    pub fn crash(&self) -> Arc<Self> {
        let mut state = self.state.lock().unwrap();
        let state = &mut *state;
        // Some crashes keep all, some nothing, most a part.
        let kept = [0.0, 0.1, 0.5, 0.9, 1.0][state.rng.random_range(0..5)];
        for inode in &mut state.inodes {
            for op in std::mem::take(&mut inode.unsynced) {
                op.tear(&mut inode.on_disk, kept, &mut state.rng);
            }
            inode.cached = inode.on_disk.clone();
        }
        for op in std::mem::take(&mut state.unsynced_names) {
            if state.rng.random_bool(kept) {
                op.apply(&mut state.names_on_disk);
            }
        }
        state.names = state.names_on_disk.clone();
        let named: Vec<usize> = state.names.values().copied().collect();
        for (_, unnamed) in state.inodes.iter_mut().enumerate().filter(|(n, _)| !named.contains(n)) {
            *unnamed = Inode::default();
        }
        state.next_life();
        Arc::new(Self { state: self.state.clone(), life: state.life })
    }

    /// kill -9: the next process sees what this one saw.
    pub fn kill(&self) -> Arc<Self> {
        let mut state = self.state.lock().unwrap();
        state.next_life();
        Arc::new(Self { state: self.state.clone(), life: state.life })
    }

    fn lock(&self) -> io::Result<MutexGuard<'_, State>> {
        alive(&self.state, self.life)
    }
}

fn alive(state: &Mutex<State>, life: u64) -> io::Result<MutexGuard<'_, State>> {
    let state = state.lock().unwrap();
    let dead = state.life != life || state.dies_at.is_some_and(|at| state.changes > at);
    if dead { Err(io::Error::other("the disk is gone")) } else { Ok(state) }
}

impl State {
    fn next_life(&mut self) {
        self.life += 1;
        self.dies_at = None;
        self.fails_at = None;
    }

    /// Counts a changing call; true if it is the one at which the disk dies.
    fn change(&mut self) -> bool {
        self.changes += 1;
        self.dies_at.is_some_and(|at| self.changes > at)
    }

    /// Counts a sync; true if it is the one that fails.
    fn sync_fails(&mut self) -> bool {
        self.syncs += 1;
        self.fails_at.is_some_and(|at| self.syncs == at + 1)
    }

    fn inode_of(&self, name: &str) -> io::Result<usize> {
        self.names.get(name).copied().ok_or_else(|| io::Error::new(io::ErrorKind::NotFound, format!("no file {name}")))
    }

    fn used(&self) -> u64 {
        self.names.values().map(|&inode| self.inodes[inode].cached.len() as u64).sum()
    }

    fn room_for(&self, bytes: u64) -> io::Result<()> {
        let fits = self.used().saturating_add(bytes) <= self.capacity;
        if fits { Ok(()) } else { Err(io::Error::from(io::ErrorKind::StorageFull)) }
    }

    fn name(&mut self, op: NameOp) -> io::Result<()> {
        let dies = self.change();
        op.apply(&mut self.names);
        self.unsynced_names.push(op);
        answer(dies)
    }

    fn file(&mut self, inode: usize, op: FileOp) -> io::Result<()> {
        let dies = self.change();
        op.apply(&mut self.inodes[inode].cached);
        self.inodes[inode].unsynced.push(op);
        answer(dies)
    }
}

fn answer(dies: bool) -> io::Result<()> {
    if dies { Err(io::Error::other("the disk died")) } else { Ok(()) }
}

fn eio() -> io::Error {
    io::Error::from_raw_os_error(5)
}

impl FileOp {
    fn apply(&self, bytes: &mut Vec<u8>) {
        match self {
            Self::Length(len) => bytes.resize(*len, 0),
            Self::Write(at, from) => {
                if bytes.len() < at + from.len() {
                    bytes.resize(at + from.len(), 0);
                }
                bytes[*at..at + from.len()].copy_from_slice(from);
            }
        }
    }

    /// Applies a part of it.
    fn tear(&self, bytes: &mut Vec<u8>, kept: f64, rng: &mut ChaCha8Rng) {
        match self {
            Self::Length(_) if rng.random_bool(kept) => self.apply(bytes),
            Self::Length(_) => {}
            Self::Write(at, from) => {
                let mut done = 0;
                while done < from.len() {
                    let sector_end = (at + done) / SECTOR_BYTES * SECTOR_BYTES + SECTOR_BYTES;
                    let end = from.len().min(sector_end - at);
                    if rng.random_bool(kept) {
                        Self::Write(at + done, from[done..end].to_vec()).apply(bytes);
                    }
                    done = end;
                }
            }
        }
    }
}

impl NameOp {
    fn apply(&self, names: &mut BTreeMap<String, usize>) {
        match self {
            Self::Link(name, inode) => {
                names.insert(name.clone(), *inode);
            }
            Self::Rename(from, to, inode) => {
                if names.get(from) == Some(inode) {
                    names.remove(from);
                }
                names.insert(to.clone(), *inode);
            }
            Self::Remove(name, inode) => {
                if names.get(name) == Some(inode) {
                    names.remove(name);
                }
            }
        }
    }
}

impl Disk for SimDisk {
    fn list(&self) -> io::Result<Vec<String>> {
        Ok(self.lock()?.names.keys().cloned().collect())
    }

    fn create(&self, name: &str, len: u64) -> io::Result<Arc<dyn DiskFile>> {
        let mut state = self.lock()?;
        if let Ok(inode) = state.inode_of(name) {
            state.name(NameOp::Remove(name.to_owned(), inode))?;
        }
        state.room_for(len)?;
        let inode = state.inodes.len();
        state.inodes.push(Inode::default());
        state.name(NameOp::Link(name.to_owned(), inode))?;
        state.file(inode, FileOp::Length(len as usize))?;
        Ok(Arc::new(SimFile { state: self.state.clone(), life: self.life, inode }))
    }

    fn open(&self, name: &str) -> io::Result<Arc<dyn DiskFile>> {
        let inode = self.lock()?.inode_of(name)?;
        Ok(Arc::new(SimFile { state: self.state.clone(), life: self.life, inode }))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        let mut state = self.lock()?;
        let inode = state.inode_of(from)?;
        state.name(NameOp::Rename(from.to_owned(), to.to_owned(), inode))
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        let mut state = self.lock()?;
        let inode = state.inode_of(name)?;
        state.name(NameOp::Remove(name.to_owned(), inode))
    }

    fn sync_directory(&self) -> io::Result<()> {
        let mut state = self.lock()?;
        let dies = state.change();
        if state.sync_fails() {
            return Err(eio());
        }
        if !dies || state.rng.random() {
            state.names_on_disk = state.names.clone();
            state.unsynced_names.clear();
        }
        answer(dies)
    }

    fn free_bytes(&self) -> io::Result<u64> {
        let state = self.lock()?;
        Ok(state.capacity.saturating_sub(state.used()))
    }

    fn path(&self, name: &str) -> String {
        format!("sim/{name}")
    }
}

impl DiskFile for SimFile {
    fn len(&self) -> io::Result<u64> {
        let state = alive(&self.state, self.life)?;
        Ok(state.inodes[self.inode].cached.len() as u64)
    }

    fn read_at(&self, at: u64, into: &mut [u8]) -> io::Result<usize> {
        let state = alive(&self.state, self.life)?;
        let from = state.inodes[self.inode].cached.get(at as usize..).unwrap_or_default();
        let n = from.len().min(into.len());
        into[..n].copy_from_slice(&from[..n]);
        Ok(n)
    }

    fn write_at(&self, at: u64, from: &mut [IoSlice<'_>]) -> io::Result<()> {
        let mut state = alive(&self.state, self.life)?;
        let bytes: Vec<u8> = from.iter().flat_map(|s| s.iter().copied()).collect();
        let grows = (at + bytes.len() as u64).saturating_sub(state.inodes[self.inode].cached.len() as u64);
        if grows > 0 {
            state.room_for(grows)?;
        }
        state.file(self.inode, FileOp::Write(at as usize, bytes))
    }

    fn sync(&self) -> io::Result<()> {
        let mut state = alive(&self.state, self.life)?;
        let dies = state.change();
        let fails = state.sync_fails();
        let state = &mut *state;
        let inode = &mut state.inodes[self.inode];
        if fails {
            inode.unsynced.retain(|_| state.rng.random());
            return Err(eio());
        }
        if !dies || state.rng.random() {
            for op in std::mem::take(&mut inode.unsynced) {
                op.apply(&mut inode.on_disk);
            }
        }
        answer(dies)
    }
}

/// After a crash a file has what was synced, and of the rest whole sectors or nothing.
#[test]
fn a_crash_keeps_what_was_synced_and_tears_the_rest() {
    let mut torn = 0;
    for seed in 0..200 {
        let disk = SimDisk::new(seed);
        let file = disk.create("a", 4 * SECTOR_BYTES as u64).unwrap();
        file.write_at(0, &mut [IoSlice::new(&[1; 2 * SECTOR_BYTES])]).unwrap();
        file.sync().unwrap();
        disk.sync_directory().unwrap();
        file.write_at(0, &mut [IoSlice::new(&[2; 4 * SECTOR_BYTES])]).unwrap();
        disk.create("b", 0).unwrap();
        let after = disk.crash().files();
        let sectors: Vec<&[u8]> = after["a"].chunks(SECTOR_BYTES).collect();
        for (n, sector) in sectors.iter().enumerate() {
            let before = u8::from(n < 2);
            assert!(sector.iter().all(|&b| b == before) || sector.iter().all(|&b| b == 2), "seed {seed}, sector {n}");
        }
        torn += usize::from(sectors.iter().any(|s| s[0] == 2) && sectors.iter().any(|s| s[0] != 2));
        assert!(file.len().is_err() && disk.list().is_err(), "the old life is over");
    }
    assert!(torn > 20, "some crashes tear a write: {torn}");
}

/// What a failed sync lost stays visible to the next process, and is gone after a power cut.
#[test]
fn the_cache_lies_after_a_failed_sync() {
    let mut lied = 0;
    for seed in 0..50 {
        let disk = SimDisk::new(seed);
        let file = disk.create("a", 1).unwrap();
        file.sync().unwrap();
        disk.sync_directory().unwrap();
        disk.fail_sync_after(0);
        file.write_at(0, &mut [IoSlice::new(b"x")]).unwrap();
        assert!(file.sync().is_err());
        let disk = disk.kill();
        assert_eq!(disk.files()["a"], b"x");
        disk.open("a").unwrap().sync().unwrap();
        lied += usize::from(disk.crash().files()["a"] == b"\0");
    }
    assert!(lied > 10, "some failed syncs lose a write: {lied}");
}

#[test]
fn space_runs_out_and_comes_back() {
    let disk = SimDisk::new(0);
    disk.set_capacity(10);
    disk.create("a", 8).unwrap();
    let full = disk.create("b", 3).err().map(|e| e.kind());
    assert_eq!((full, disk.free_bytes().unwrap()), (Some(io::ErrorKind::StorageFull), 2));
    disk.remove("a").unwrap();
    disk.create("b", 10).unwrap();
    assert_eq!(disk.free_bytes().unwrap(), 0);
}
