//! Checkpoints on disk. A checkpoint only shortens the replay; the truth is the log.
//!
//! `checkpoint-EPOCH` holds what all workers share, their state by key group and the list of sealed files; `ids-EPOCH` is a sealed file of
//! remembered ids (`sealed`), written once and listed by later checkpoints. Each brings the ids that came since the last one, and all of one share of the key groups: of these no
//! earlier file counts any more, and one that counts for no share is listed no longer. `checkpoint-EPOCH`: magic (8 bytes), length of the
//! body (u64), crc32c of the body (u32), the body (bincode, fixed-width integers). All are written as tmp, synced, renamed, the directory synced.

mod sealed;

use std::io::{self, IoSlice};
use std::sync::Arc;

use bincode::{Decode, Encode};

use crate::coordinator::checkpoint::sealed::Sections;
use crate::coordinator::gather::Draft;
use crate::coordinator::totals::{Named, Totals};
use crate::core::dedup::SeenId;
use crate::core::keyed::{Fingerprint, KeyHash, Keyed, Logged};
use crate::core::keygroup::{KEY_GROUPS, KeyGroup, Owners, SHARES, Share};
use crate::core::ledger::Counts;
use crate::core::units::{Epoch, Generation, LogId, Millis, Offset, TopicId};
use crate::ingest::keys::Keys;
use crate::log::disk::Disk;
use crate::store::Progress;
use crate::wire::{Message, Restore, Section, WireCounts, decode_within, encode_alone};

const MAGIC: &[u8; 8] = b"caudalK7";
const HEADER_BYTES: usize = 20;
/// Checkpoints that are kept.
const KEPT: usize = 2;
/// A file is synced whenever so much of it is written: a file system that writes its journal for the log's sync writes this data first, and
/// acknowledgements wait for both.
const SYNC_BYTES: usize = 1 << 20;
const CHECKPOINT: &str = "checkpoint-";
const SEALED: &str = "ids-";
const TMP: &str = "checkpoint.tmp";

#[derive(Clone, Debug, Encode, Decode)]
struct Manifest {
    log: u128,
    epoch: u64,
    end: u64,
    /// Time of its cut.
    ingest_ms: u64,
    /// The fates of the events up to there, in the order of `Counts`' fields.
    counts: [u64; 5],
    totals: KeptTotals,
    /// The pipelines that its state is of, and that hold for the epoch after it.
    bundle: String,
    common: Vec<u8>,
    sections: Vec<Section>,
    sealed: Sealed,
    /// Requests that came with an Idempotency-Key, oldest first: all that had been logged when it was written and had not expired.
    keys: Vec<Request>,
}

/// As `core::keyed::Logged` has it.
#[derive(Clone, Debug, Encode, Decode)]
struct Request {
    key: u128,
    body: u128,
    first: u64,
    count: u32,
    made: String,
    at: u64,
}

/// The sealed files of a checkpoint, by the epochs in their names.
#[derive(Clone, Debug, Encode, Decode)]
struct Sealed {
    /// Oldest first.
    files: Vec<u64>,
    /// By share: of its key groups no earlier file counts.
    whole: Vec<u64>,
    /// Topics whose ids in earlier files than this are forgotten.
    retired: Vec<(u16, u64)>,
}

/// `Totals`, as they are written.
#[derive(Clone, Debug, Encode, Decode)]
struct KeptTotals {
    /// In the order of `Counts`' fields.
    topics: Vec<(Option<String>, [u64; 5])>,
    rows: Vec<(Named, u64)>,
    alerts: Vec<(Named, u64)>,
}

impl From<Totals> for KeptTotals {
    fn from(totals: Totals) -> Self {
        let topics = totals.topics.into_iter().map(|(topic, counts)| (topic, WireCounts::from(counts).0));
        Self {
            topics: topics.collect(),
            rows: totals.rows.into_iter().collect(),
            alerts: totals.alerts.into_iter().collect(),
        }
    }
}

impl From<KeptTotals> for Totals {
    fn from(kept: KeptTotals) -> Self {
        let topics = kept.topics.into_iter().map(|(topic, counts)| (topic, Counts::from(WireCounts(counts))));
        Self {
            topics: topics.collect(),
            rows: kept.rows.into_iter().collect(),
            alerts: kept.alerts.into_iter().collect(),
        }
    }
}

/// A checkpoint as a start takes it up.
pub struct Checkpoint {
    manifest: Manifest,
    disk: Arc<dyn Disk>,
}

/// Writes checkpoints and finds them again.
pub struct Checkpoints {
    disk: Arc<dyn Disk>,
    log: LogId,
    /// Those that this life has loaded or written, oldest first; all other files are removed with the next one.
    kept: Vec<Kept>,
    /// Of drafts that are not written (yet): the next file has them.
    owed: Vec<Section>,
    owed_retired: Vec<TopicId>,
    /// Each checkpoint brings these as they are then.
    keys: Option<Arc<Keys>>,
}

#[derive(Clone, Debug)]
struct Kept {
    epoch: u64,
    end: u64,
    sealed: Sealed,
}

impl Checkpoints {
    #[must_use]
    pub fn new(disk: Arc<dyn Disk>, log: LogId) -> Self {
        Self { disk, log, kept: Vec::new(), owed: Vec::new(), owed_retired: Vec::new(), keys: None }
    }

    /// Has the checkpoints to come carry the requests with a key, so that a start finds those that lie before it in the log.
    pub fn carry(&mut self, keys: Arc<Keys>) {
        self.keys = Some(keys);
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
        if manifest.sealed.whole.len() != SHARES {
            return Err(io::Error::other(format!("its ids are in other shares than {SHARES}")));
        }
        if manifest.sections.iter().any(|of| usize::from(of.key_group) >= KEY_GROUPS) {
            return Err(io::Error::other("it has a key group that nobody owns"));
        }
        for file in &manifest.sealed.files {
            Sections::open(&*self.disk, &sealed_name(*file))?.try_for_each(|section| section.map(drop))?;
        }
        Ok(Checkpoint { manifest, disk: Arc::clone(&self.disk) })
    }

    fn manifest(&self, epoch: u64) -> io::Result<Manifest> {
        self.read_file(&format!("{CHECKPOINT}{epoch:020}"))
    }

    /// The share of which the next checkpoint is to bring all ids: the one whose files go back furthest.
    #[must_use]
    pub fn next_share(&self) -> Share {
        let whole = self.kept.last().map_or(&[][..], |kept| &kept.sealed.whole);
        let oldest = whole.iter().zip(0..).min();
        oldest.map_or_else(Share::default, |(_, share)| Share(share))
    }

    /// Takes over what comes with this draft alone, so that it is in the next file whatever becomes of the draft. Once is enough. While no file can be written, that
    /// is as much as the log takes in; all of a share comes again with each try, and takes the place of what came before.
    pub fn owe(&mut self, draft: &mut Draft) {
        if draft.ids.is_empty() && draft.retired.is_empty() {
            return;
        }
        self.owed.retain(|section| Share::of(KeyGroup(section.key_group)) != draft.share);
        if !draft.retired.is_empty() {
            self.owed.iter_mut().for_each(|section| retain_ids(section, |topic| !draft.retired.contains(&topic)));
        }
        self.owed.append(&mut draft.ids);
        self.owed_retired.append(&mut draft.retired);
    }

    /// Writes a checkpoint, keeps the last two and removes what they do not name. Gives the bytes that were written.
    ///
    /// # Errors
    /// As the disk says, or because the counts are not known. Nothing is lost then: what was there before is, and the next checkpoint has the ids of this one too.
    pub fn write(&mut self, mut draft: Draft) -> io::Result<u64> {
        self.owe(&mut draft);
        let Some(counts) = draft.counts else { return Err(io::Error::other("what its events came to is not known")) };
        let epoch = draft.cut.epoch.0;
        let before = self.kept.last().map_or_else(Sealed::none, |kept| kept.sealed.clone());
        let sealed = before.followed_by(epoch, draft.share, &self.owed_retired, !self.owed.is_empty());
        let mut bytes = 0;
        if !self.owed.is_empty() {
            sealed::write(&*self.disk, TMP, &self.owed, SYNC_BYTES)?;
            bytes += self.put(&sealed_name(epoch))?;
        }
        let manifest = Manifest {
            log: self.log.0,
            epoch,
            end: draft.cut.end.0,
            ingest_ms: draft.cut.ingest.0,
            counts: WireCounts::from(counts).0,
            totals: draft.totals.into(),
            bundle: draft.bundle.as_ref().to_owned(),
            common: draft.common,
            sections: draft.sections,
            sealed,
            // Whatever lies before its end in the log is on disk by now, so they have it.
            keys: self.keys.iter().flat_map(|keys| keys.kept()).map(Request::of).collect(),
        };
        bytes += self.write_file(&format!("{CHECKPOINT}{epoch:020}"), &manifest)?;
        self.owed.clear();
        self.owed_retired.clear();
        self.kept.push(Kept::of(&manifest));
        self.clean()?;
        Ok(bytes)
    }

    fn clean(&mut self) -> io::Result<()> {
        let old = self.kept.len().saturating_sub(KEPT);
        self.kept.drain(..old);
        for epoch in self.epochs(CHECKPOINT)?.into_iter().filter(|e| !self.kept.iter().any(|k| k.epoch == *e)) {
            self.disk.remove(&format!("{CHECKPOINT}{epoch:020}"))?;
        }
        for epoch in self.epochs(SEALED)?.into_iter().filter(|e| !self.kept.iter().any(|k| k.sealed.files.contains(e)))
        {
            self.disk.remove(&sealed_name(epoch))?;
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

    fn write_file(&self, name: &str, body: &impl Encode) -> io::Result<u64> {
        let body = encode_alone(body);
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
        self.put(name)
    }

    /// What was written and synced gets its name; gives its bytes.
    fn put(&self, name: &str) -> io::Result<u64> {
        let bytes = self.disk.open(TMP)?.len()?;
        self.disk.rename(TMP, name)?;
        self.disk.sync_directory()?;
        Ok(bytes)
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

impl Sealed {
    fn none() -> Self {
        Self { files: Vec::new(), whole: vec![0; SHARES], retired: Vec::new() }
    }

    /// With the file of this epoch, if there is one, all of the share in it, and these topics' ids in earlier ones forgotten.
    fn followed_by(mut self, epoch: u64, share: Share, retired: &[TopicId], has_file: bool) -> Self {
        self.files.extend(has_file.then_some(epoch));
        self.whole[usize::from(share.0)] = epoch;
        self.retired.retain(|(topic, _)| !retired.contains(&TopicId(*topic)));
        self.retired.extend(retired.iter().map(|topic| (topic.0, epoch)));
        // What is earlier counts for no share.
        let first = self.whole.iter().copied().min().unwrap_or_default();
        self.files.retain(|file| *file >= first);
        let oldest = self.files.first().copied().unwrap_or(epoch);
        self.retired.retain(|(_, since)| *since > oldest);
        self
    }

    /// What counts of a file.
    fn sections(&self, disk: &dyn Disk, file: u64) -> impl Iterator<Item = io::Result<Section>> + use<> {
        let (sections, failed) = match Sections::open(disk, &sealed_name(file)) {
            Ok(sections) => (Some(sections), None),
            Err(error) => (None, Some(Err(error))),
        };
        let of = self.clone();
        let counts = move |section: io::Result<Section>| section.map(|section| of.strip(file, section)).transpose();
        sections.into_iter().flatten().filter_map(counts).chain(failed)
    }

    /// What counts of a section of a file, if anything does.
    fn strip(&self, file: u64, mut section: Section) -> Option<Section> {
        let share = Share::of(KeyGroup(section.key_group));
        if file < self.whole[usize::from(share.0)] {
            return None;
        }
        if self.retired.iter().any(|(_, since)| file < *since) {
            let is_retired = |of: TopicId| self.retired.iter().any(|(topic, since)| *topic == of.0 && file < *since);
            retain_ids(&mut section, |topic| !is_retired(topic));
        }
        Some(section)
    }
}

/// Takes out of a section the ids of topics that are not to stay.
fn retain_ids(section: &mut Section, stays: impl Fn(TopicId) -> bool) {
    let mut kept = Vec::with_capacity(section.bytes.len());
    SeenId::all(&section.bytes).filter(|id| stays(id.topic)).for_each(|id| id.put(&mut kept));
    section.bytes = kept;
}

impl Request {
    fn of(Logged { request: Keyed { key, body, first, count, made }, at }: Logged) -> Self {
        Self { key: key.0, body: body.0, first: first.0, count, made: made.as_ref().to_owned(), at: at.0 }
    }

    fn logged(&self) -> Logged {
        let (key, body, first) = (KeyHash(self.key), Fingerprint(self.body), Offset(self.first));
        let request = Keyed { key, body, first, count: self.count, made: self.made.as_str().into() };
        Logged { request, at: Millis(self.at) }
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

fn sealed_name(epoch: u64) -> String {
    format!("{SEALED}{epoch:020}")
}

impl Checkpoint {
    /// The epoch after which the state was, and the end of its events.
    #[must_use]
    pub fn at(&self) -> (Epoch, Offset) {
        (Epoch(self.manifest.epoch), Offset(self.manifest.end))
    }

    /// Time of its cut.
    #[must_use]
    pub fn ingest(&self) -> Millis {
        Millis(self.manifest.ingest_ms)
    }

    /// What the events up to it have come to.
    #[must_use]
    pub fn totals(&self) -> Totals {
        self.manifest.totals.clone().into()
    }

    /// The pipelines that its state is of, and that hold for the epoch after it, as the log had them.
    #[must_use]
    pub fn bundle(&self) -> &str {
        &self.manifest.bundle
    }

    /// Requests that came with an Idempotency-Key, oldest first: all those before its end, and some that came after it.
    #[must_use]
    pub fn keys(&self) -> Vec<Logged> {
        self.manifest.keys.iter().map(Request::logged).collect()
    }

    /// What the workers are sent: (worker, message), in order. A section of ids is read when it is asked for.
    pub fn restores(self, owners: Owners) -> impl Iterator<Item = io::Result<(usize, Message)>> {
        let Manifest { common, sections, sealed, .. } = self.manifest;
        let to_all = (0..owners.workers()).map(move |w| (w, Restore::Common(common.clone())));
        let owner = move |section: &Section| owners.owner(KeyGroup(section.key_group));
        let ids = sealed.files.clone().into_iter().flat_map(move |file| sealed.sections(&*self.disk, file));
        let sections = sections.into_iter().map(Ok).chain(ids);
        let to_owners =
            sections.map(move |section| section.map(|section| (owner(&section), Restore::Section(section))));
        let restores = to_all.map(Ok).chain(to_owners);
        restores.map(|restore| restore.map(|(worker, restore)| (worker, Message::Restore(restore))))
    }
}
