//! Checkpoints on disk. A checkpoint only shortens the replay; the truth is the log.
//!
//! `checkpoint-EPOCH` holds what all workers share, their state by key group and the list of sealed files; `ids-EPOCH` is a sealed file of
//! remembered ids, written once and listed by every later checkpoint until a full one replaces them all. Each file: magic (8 bytes), length of the
//! body (u64), crc32c of the body (u32), the body (bincode, fixed-width integers). Written as tmp, synced, renamed, the directory synced.

use std::io::{self, IoSlice};
use std::sync::Arc;

use bincode::{Decode, Encode, config};

use crate::coordinator::gather::Draft;
use crate::core::keygroup::{KEY_GROUPS, KeyGroup, Owners};
use crate::core::ledger::Counts;
use crate::core::units::{Epoch, Generation, LogId, Offset};
use crate::log::disk::Disk;
use crate::store::Progress;
use crate::wire::{Ids, Message, Restore, Section, WireCounts, decode_within};

const MAGIC: &[u8; 8] = b"caudalK5";
const HEADER_BYTES: usize = 20;
/// Checkpoints that are kept.
const KEPT: usize = 2;
/// A file is synced whenever so much of it is written: a file system that writes its journal for the log's sync writes this data first, and
/// acknowledgements wait for both.
const SYNC_BYTES: usize = 1 << 20;
/// With more sealed files than this the next checkpoint brings all ids in one.
const SEALED_FILES_MAX: usize = 64;
const CHECKPOINT: &str = "checkpoint-";
const SEALED: &str = "ids-";
const TMP: &str = "checkpoint.tmp";

#[derive(Clone, Debug, Encode, Decode)]
struct Manifest {
    log: u128,
    epoch: u64,
    end: u64,
    /// The fates of the events up to there, in the order of `Counts`' fields.
    counts: [u64; 5],
    /// The pipelines that its state is of, and that hold for the epoch after it.
    bundle: String,
    common: Vec<u8>,
    sections: Vec<Section>,
    /// Epochs in the names of the sealed files, oldest first.
    sealed: Vec<u64>,
}

/// A checkpoint as a start takes it up.
#[derive(Debug)]
pub struct Checkpoint {
    manifest: Manifest,
    ids: Vec<Vec<Section>>,
}

/// Writes checkpoints and finds them again.
pub struct Checkpoints {
    disk: Arc<dyn Disk>,
    log: LogId,
    /// Those that this life has loaded or written, oldest first; all other files are removed with the next one.
    kept: Vec<Kept>,
    /// A write failed, so that ids of its draft may stand in no file: the next checkpoint must bring all.
    incomplete: bool,
}

#[derive(Clone, Debug)]
struct Kept {
    epoch: u64,
    end: u64,
    sealed: Vec<u64>,
}

impl Checkpoints {
    #[must_use]
    pub fn new(disk: Arc<dyn Disk>, log: LogId) -> Self {
        Self { disk, log, kept: Vec::new(), incomplete: false }
    }

    /// The newest whole checkpoint of this log whose epoch is not after `newest`. One that cannot be read is passed over, with a warning: an older
    /// one, or none, only makes the replay longer.
    ///
    /// # Errors
    /// If the directory cannot be listed.
    pub fn load(&mut self, newest: Epoch) -> io::Result<Option<Checkpoint>> {
        let mut epochs = self.epochs(CHECKPOINT)?;
        epochs.retain(|&e| e <= newest.0);
        for epoch in epochs.into_iter().rev() {
            match self.read(epoch) {
                Ok(checkpoint) => {
                    self.kept = vec![Kept::of(&checkpoint.manifest)];
                    return Ok(Some(checkpoint));
                }
                Err(error) => tracing::warn!(epoch, %error, "a checkpoint cannot be used; an older one is"),
            }
        }
        Ok(None)
    }

    /// The oldest whole checkpoint of this log.
    ///
    /// # Errors
    /// If the directory cannot be listed.
    pub fn oldest(&self) -> io::Result<Option<Checkpoint>> {
        let epochs = self.epochs(CHECKPOINT)?;
        Ok(epochs.into_iter().find_map(|epoch| self.read(epoch).ok()))
    }

    fn read(&self, epoch: u64) -> io::Result<Checkpoint> {
        let manifest = self.manifest(epoch)?;
        if manifest.log != self.log.0 {
            return Err(io::Error::other("it is of another log"));
        }
        let ids: Vec<Vec<Section>> =
            manifest.sealed.iter().map(|e| self.read_file(&format!("{SEALED}{e:020}"))).collect::<io::Result<_>>()?;
        if manifest.sections.iter().chain(ids.iter().flatten()).any(|of| usize::from(of.key_group) >= KEY_GROUPS) {
            return Err(io::Error::other("it has a key group that nobody owns"));
        }
        Ok(Checkpoint { manifest, ids })
    }

    fn manifest(&self, epoch: u64) -> io::Result<Manifest> {
        self.read_file(&format!("{CHECKPOINT}{epoch:020}"))
    }

    /// Writes a checkpoint, keeps the last two and removes what they do not name. True if the next one is to bring all ids.
    ///
    /// # Errors
    /// As the disk says, or because the counts are not known or a write failed before and this draft does not bring all ids. Nothing that was there before is lost then; the
    /// coordinator must be told to make the next one full.
    pub fn write(&mut self, draft: Draft) -> io::Result<bool> {
        if self.incomplete && draft.which != Ids::All {
            return Err(io::Error::other("ids of the checkpoint before it are missing"));
        }
        let Some(counts) = draft.counts else { return Err(io::Error::other("what its events came to is not known")) };
        self.incomplete = true;
        let epoch = draft.cut.epoch.0;
        let before = self.kept.last().filter(|_| draft.which == Ids::Fresh);
        let mut sealed = before.map_or_else(Vec::new, |k| k.sealed.clone());
        if !draft.ids.is_empty() {
            self.write_file(&format!("{SEALED}{epoch:020}"), &draft.ids)?;
            sealed.push(epoch);
        }
        let manifest = Manifest {
            log: self.log.0,
            epoch,
            end: draft.cut.end.0,
            counts: WireCounts::from(counts).0,
            bundle: draft.bundle.as_ref().to_owned(),
            common: draft.common,
            sections: draft.sections,
            sealed,
        };
        self.write_file(&format!("{CHECKPOINT}{epoch:020}"), &manifest)?;
        self.incomplete = false;
        self.kept.push(Kept::of(&manifest));
        self.clean()?;
        Ok(manifest.sealed.len() >= SEALED_FILES_MAX)
    }

    fn clean(&mut self) -> io::Result<()> {
        let old = self.kept.len().saturating_sub(KEPT);
        self.kept.drain(..old);
        for epoch in self.epochs(CHECKPOINT)?.into_iter().filter(|e| !self.kept.iter().any(|k| k.epoch == *e)) {
            self.disk.remove(&format!("{CHECKPOINT}{epoch:020}"))?;
        }
        for epoch in self.epochs(SEALED)?.into_iter().filter(|e| !self.kept.iter().any(|k| k.sealed.contains(e))) {
            self.disk.remove(&format!("{SEALED}{epoch:020}"))?;
        }
        Ok(())
    }

    /// The first offset that the log must keep: a start may fall back on the older of the two checkpoints, and the store may still be asked for what it has not
    /// committed. While there are not two, the whole log is needed.
    #[must_use]
    pub fn needed_from(&self, committed: Offset) -> Offset {
        let oldest = self.kept.first().filter(|_| self.kept.len() >= KEPT);
        oldest.map_or(Offset(0), |k| needed_from(Offset(k.end).min(committed)))
    }

    /// Whether there are fewer than must be kept, so that the log can let go of nothing.
    #[must_use]
    pub fn are_few(&self) -> bool {
        self.kept.len() < KEPT
    }

    /// The epochs in the names of this kind, oldest first.
    fn epochs(&self, kind: &str) -> io::Result<Vec<u64>> {
        let names = self.disk.list()?;
        let mut epochs: Vec<u64> = names.iter().filter_map(|n| n.strip_prefix(kind)?.parse().ok()).collect();
        epochs.sort_unstable();
        Ok(epochs)
    }

    fn write_file(&self, name: &str, body: &impl Encode) -> io::Result<()> {
        let body = bincode::encode_to_vec(body, layout()).map_err(io::Error::other)?;
        let mut header = MAGIC.to_vec();
        header.extend_from_slice(&(body.len() as u64).to_le_bytes());
        header.extend_from_slice(&crc32c::crc32c(&body).to_le_bytes());
        let file = self.disk.create(TMP, (header.len() + body.len()) as u64)?;
        file.write_at(0, &mut [IoSlice::new(&header)])?;
        let mut at = header.len() as u64;
        for piece in body.chunks(SYNC_BYTES) {
            file.write_at(at, &mut [IoSlice::new(piece)])?;
            file.sync()?;
            at += piece.len() as u64;
        }
        self.disk.rename(TMP, name)?;
        self.disk.sync_directory()
    }

    fn read_file<T: Decode<()>>(&self, name: &str) -> io::Result<T> {
        let damaged = || io::Error::new(io::ErrorKind::InvalidData, format!("{} is damaged", self.disk.path(name)));
        let file = self.disk.open(name)?;
        let mut bytes = vec![0; usize::try_from(file.len()?).map_err(io::Error::other)?];
        let read = file.read_at(0, &mut bytes)?;
        let (header, body) = bytes.get(..read).and_then(|b| b.split_at_checked(HEADER_BYTES)).ok_or_else(damaged)?;
        let (magic, rest) = header.split_first_chunk::<8>().ok_or_else(damaged)?;
        let (len, crc) = rest.split_first_chunk::<8>().ok_or_else(damaged)?;
        let whole = magic == MAGIC
            && u64::from_le_bytes(*len) == body.len() as u64
            && crc == crc32c::crc32c(body).to_le_bytes();
        if !whole {
            return Err(damaged());
        }
        let (value, _) = decode_within(body).map_err(|_| damaged())?;
        Ok(value)
    }
}

impl Kept {
    fn of(manifest: &Manifest) -> Self {
        Self { epoch: manifest.epoch, end: manifest.end, sealed: manifest.sealed.clone() }
    }
}

/// How far the store had come, at least, when the newest whole checkpoint in this directory was written, of whatever log; the generation is not
/// told. It is what is known while the store is away.
///
/// # Errors
/// If the directory cannot be listed.
pub fn least_progress(disk: &Arc<dyn Disk>) -> io::Result<Option<Progress>> {
    let checkpoints = Checkpoints::new(disk.clone(), LogId(0));
    let newest = checkpoints.epochs(CHECKPOINT)?.into_iter().rev().find_map(|epoch| checkpoints.manifest(epoch).ok());
    Ok(newest.map(|manifest| Progress {
        log: LogId(manifest.log),
        generation: Generation(0),
        epoch: Epoch(manifest.epoch),
        end: Offset(manifest.end),
        counts: Counts::from(WireCounts(manifest.counts)),
    }))
}

/// The offset that must stay in the log so that a replay can follow on an epoch that ended with `end` events: its last event, because the cuts after it
/// (there may be empty epochs) stand behind that event and may share its segment.
#[must_use]
pub fn needed_from(end: Offset) -> Offset {
    Offset(end.0.saturating_sub(1))
}

fn layout() -> impl config::Config {
    config::standard().with_fixed_int_encoding()
}

impl Checkpoint {
    /// The epoch after which the state was, and the end of its events.
    #[must_use]
    pub fn at(&self) -> (Epoch, Offset) {
        (Epoch(self.manifest.epoch), Offset(self.manifest.end))
    }

    /// The pipelines that its state is of, and that hold for the epoch after it, as the log had them.
    #[must_use]
    pub fn bundle(&self) -> &str {
        &self.manifest.bundle
    }

    /// What the workers are sent: (worker, message), in order.
    pub fn restores(self, owners: Owners) -> impl Iterator<Item = (usize, Message)> {
        let common = self.manifest.common;
        let to_all = (0..owners.workers()).map(move |w| (w, Restore::Common(common.clone())));
        let owner = move |section: &Section| owners.owner(KeyGroup(section.key_group));
        let sections = self.manifest.sections.into_iter().chain(self.ids.into_iter().flatten());
        let to_owners = sections.map(move |section| (owner(&section), Restore::Section(section)));
        to_all.chain(to_owners).map(|(worker, restore)| (worker, Message::Restore(restore)))
    }
}
