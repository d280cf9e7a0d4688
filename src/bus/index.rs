//! Which events have an id: for each sealed segment of the log a file of fingerprints, sorted, with the events' offsets; those of the segment behind them
//! are in memory; what is in neither yet is looked through. All of it follows from the log: a file that is missing, damaged or of other ids is made again.
//!
//! `docs/log-format.md` draws the file.

use std::collections::BTreeMap;
use std::io::{self, IoSlice};
use std::ops::Range;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::bus::error::BusError;
use crate::core::decode::identities::{Identities, Kind};
use crate::core::plan::Plan;
use crate::core::units::Offset;
use crate::log::disk::{Disk, DiskFile};
use crate::log::{Access, LogError, Reader};

const MAGIC: &[u8; 8] = b"caudalX1";
/// Magic, CRC, version of the ids, first offset, end, number of events' ids, number of correlations.
const HEADER_BYTES: usize = 8 + 4 + 8 + 8 + 8 + 4 + 4;
/// A fingerprint, and what is to be added to the first offset.
const ENTRY_BYTES: usize = 12;
/// One on its way in.
const NEXT: &str = "index-next.tmp";
/// Sealed segments that may be in memory because they could not be written: with more, memory is given up.
const FRESH_SEGMENTS_MAX: usize = 4;
/// Offsets that one question is answered with.
pub const FOUND_MAX: usize = 10_000;

/// Why a file could not be made.
#[derive(Debug, thiserror::Error)]
pub enum IndexError {
    #[error(transparent)]
    Log(#[from] LogError),
    #[error("an index of the log cannot be written: {0}")]
    Io(#[from] io::Error),
}

/// All of a log's files. Asked by many, filled by one.
pub struct Index {
    disk: Arc<dyn Disk>,
    access: Access,
    /// By first offset.
    parts: Mutex<BTreeMap<Offset, Arc<Part>>>,
    fresh: Mutex<Option<Fresh>>,
    /// Of the plan that was asked for last.
    identities: Mutex<Option<(Arc<Plan>, Arc<Identities>)>>,
}

/// Of each kind of id the fingerprints, with what is to be added to a first offset.
type Entries = [Vec<(u64, u32)>; 2];

/// The segment that gets events now, as far as it was looked through.
struct Fresh {
    version: u64,
    span: Range<Offset>,
    /// By offset.
    entries: Entries,
    /// Before what lies behind the span.
    reader: Reader,
}

/// One segment's file.
struct Part {
    file: Arc<dyn DiskFile>,
    version: u64,
    span: Range<Offset>,
    /// Of events' ids, and of correlations behind them.
    counts: [u32; 2],
}

fn name(first: Offset) -> String {
    format!("index-{:020}", first.0)
}

/// The first offset in a file's name; None for any other file's.
fn first(file: &str) -> Option<Offset> {
    let first = Offset(file.strip_prefix("index-")?.parse().ok()?);
    (name(first) == file).then_some(first)
}

impl Index {
    /// With the files that are whole.
    ///
    /// # Errors
    /// If the directory cannot be listed.
    pub fn open(disk: Arc<dyn Disk>, access: Access) -> io::Result<Self> {
        let mut parts = BTreeMap::new();
        for file in disk.list()? {
            if let (Some(first), Ok(Some(part))) = (first(&file), Part::open(&*disk, &file)) {
                parts.insert(first, Arc::new(part));
            }
        }
        Ok(Self { disk, access, parts: Mutex::new(parts), fresh: Mutex::default(), identities: Mutex::default() })
    }

    fn parts(&self) -> MutexGuard<'_, BTreeMap<Offset, Arc<Part>>> {
        // It holds together after each single change.
        self.parts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn identities(&self, plan: &Arc<Plan>) -> Arc<Identities> {
        let mut last = self.identities.lock().unwrap_or_else(PoisonError::into_inner);
        match &*last {
            Some((of, identities)) if Arc::ptr_eq(of, plan) => identities.clone(),
            _ => {
                let identities = Arc::new(Identities::new(plan));
                *last = Some((plan.clone(), identities.clone()));
                identities
            }
        }
    }

    fn fresh(&self) -> MutexGuard<'_, Option<Fresh>> {
        // Whoever fails in it takes it out.
        self.fresh.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Looks through what has come. Makes a file of what is sealed, or the newest that is missing, and removes those whose segment is gone. False where there was
    /// none to make.
    ///
    /// # Errors
    /// As `IndexError` says; nothing but the file is missing then.
    pub fn make_one(&self, plan: &Arc<Plan>) -> Result<bool, IndexError> {
        let identities = self.identities(plan);
        let (version, sealed) = (identities.version(), self.access.sealed());
        let begin = sealed.first().map_or(Offset(0), |span| span.start);
        let gone: Vec<Offset> = self.parts().range(..begin).map(|(first, _)| *first).collect();
        for first in gone {
            // The file first: one that could not be removed is tried again with the next turn.
            match self.disk.remove(&name(first)) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error.into()),
                _ => drop(self.parts().remove(&first)),
            }
        }
        self.look_on(&mut self.fresh(), &identities)?;
        // Those that are sealed meanwhile are of the segments that are listed, or come with the next turn.
        let told = self.fresh().as_mut().and_then(|fresh| fresh.take_sealed(&sealed));
        if let Some((span, entries)) = told {
            self.put(version, span, entries)?;
            return Ok(true);
        }
        let is_missing = |span: &&Range<Offset>| {
            self.parts().get(&span.start).is_none_or(|part| part.version != version || part.span != **span)
        };
        let Some(span) = sealed.iter().rev().find(is_missing).cloned() else { return Ok(false) };
        let mut entries = Entries::default();
        self.look_through(&identities, &span, &|| true, |offset, kind, fingerprint| {
            // A segment has far fewer events than 2^32.
            entries[kind as usize].push((fingerprint, (offset.0 - span.start.0) as u32));
        })?;
        self.put(version, span, entries)?;
        Ok(true)
    }

    fn put(&self, version: u64, span: Range<Offset>, entries: Entries) -> io::Result<()> {
        let part = self.write(version, span.clone(), entries)?;
        self.parts().insert(span.start, Arc::new(part));
        Ok(())
    }

    /// Looks through what the log has behind what was looked through; from the beginning of the last segment where nothing was.
    fn look_on(&self, fresh: &mut Option<Fresh>, identities: &Identities) -> Result<(), LogError> {
        let (version, sealed) = (identities.version(), self.access.sealed());
        // Its first segment may have been deleted before it was taken.
        let is_of_use = |fresh: &Fresh| {
            let behind = sealed.iter().filter(|span| span.start >= fresh.span.start).count();
            fresh.version == version && fresh.span.start >= self.access.begin() && behind <= FRESH_SEGMENTS_MAX
        };
        let mut now = fresh.take().filter(is_of_use).unwrap_or_else(|| {
            let start = sealed.last().map_or(self.access.begin(), |span| span.end);
            let reader = self.access.reader(start);
            Fresh { version, span: start..start, entries: Entries::default(), reader }
        });
        while let Some(slab) = now.reader.next_slab()? {
            identities.each(&slab, |offset, kind, fingerprint| {
                now.entries[kind as usize].push((fingerprint, (offset.0 - now.span.start.0) as u32));
            });
            now.span.end = slab.end();
        }
        *fresh = Some(now);
        Ok(())
    }

    /// As far as it is known, of the events from `start` on.
    fn find_fresh(
        &self,
        identities: &Identities,
        (kind, wanted): (Kind, u64),
        start: Offset,
    ) -> Option<(Range<Offset>, Vec<Offset>)> {
        let mut fresh = self.fresh();
        // Whoever takes out what is sealed has begun it: it is never in memory for questions alone.
        fresh.as_ref()?;
        self.look_on(&mut fresh, identities).ok()?;
        let fresh = fresh.as_ref().filter(|fresh| fresh.span.start <= start)?;
        let of_id = fresh.entries[kind as usize].iter().filter(|(fingerprint, _)| *fingerprint == wanted);
        Some((fresh.span.clone(), of_id.map(|(_, offset)| Offset(fresh.span.start.0 + u64::from(*offset))).collect()))
    }

    /// False if that ended before it had, since nobody waits for it.
    fn look_through(
        &self,
        identities: &Identities,
        span: &Range<Offset>,
        is_waited_for: &dyn Fn() -> bool,
        mut found: impl FnMut(Offset, Kind, u64),
    ) -> Result<bool, LogError> {
        let mut reader = self.access.reader(span.start);
        while let Some(slab) = reader.next_slab()?.filter(|slab| slab.first_offset < span.end) {
            if !is_waited_for() {
                return Ok(false);
            }
            identities.each(&slab, |offset, kind, fingerprint| {
                if span.contains(&offset) {
                    found(offset, kind, fingerprint);
                }
            });
        }
        Ok(true)
    }

    fn write(&self, version: u64, span: Range<Offset>, mut entries: Entries) -> io::Result<Part> {
        let counts = [entries[0].len() as u32, entries[1].len() as u32];
        let mut covered = version.to_le_bytes().to_vec();
        covered.extend([span.start.0, span.end.0].iter().flat_map(|n| n.to_le_bytes()));
        covered.extend(counts.iter().flat_map(|n| n.to_le_bytes()));
        for entries in &mut entries {
            entries.sort_unstable();
            for (fingerprint, offset) in entries {
                covered.extend_from_slice(&fingerprint.to_le_bytes());
                covered.extend_from_slice(&offset.to_le_bytes());
            }
        }
        let crc = crc32c::crc32c(&covered).to_le_bytes();
        let len = MAGIC.len() + crc.len() + covered.len();
        let file = self.disk.create(NEXT, len as u64)?;
        file.write_at(0, &mut [IoSlice::new(MAGIC), IoSlice::new(&crc), IoSlice::new(&covered)])?;
        file.sync()?;
        self.disk.rename(NEXT, &name(span.start))?;
        self.disk.sync_directory()?;
        Ok(Part { file, version, span, counts })
    }

    /// The events that are likely to have an id of this fingerprint, from `from` on, by offset, `FOUND_MAX` of them: what they have is to be looked at.
    ///
    /// # Errors
    /// As the log's readers say; `GivenUp`.
    pub fn find(
        &self,
        plan: &Arc<Plan>,
        (kind, wanted): (Kind, u64),
        from: Offset,
        is_waited_for: &dyn Fn() -> bool,
    ) -> Result<Vec<Offset>, BusError> {
        let identities = self.identities(plan);
        let (version, end) = (identities.version(), self.access.end());
        let mut found = Vec::new();
        let mut spans = self.access.sealed();
        let open = spans.last().map_or(self.access.begin(), |span| span.end);
        let fresh = self.find_fresh(&identities, (kind, wanted), open).filter(|(span, _)| span.end >= end);
        spans.push(open..end);
        for span in spans.into_iter().filter(|span| span.end > from) {
            if found.len() >= FOUND_MAX {
                break;
            }
            let part =
                self.parts().get(&span.start).filter(|part| part.version == version && part.span == span).cloned();
            let told = part.and_then(|part| part.find(kind, wanted).ok());
            let in_memory = fresh.as_ref().filter(|(known, _)| known.start <= span.start && span.end <= known.end);
            match (told, in_memory) {
                (Some(offsets), _) => found.extend(offsets),
                (None, Some((_, offsets))) => found.extend(offsets.iter().filter(|offset| span.contains(offset))),
                (None, None) => {
                    let looked = self.look_through(&identities, &span, is_waited_for, |offset, of, fingerprint| {
                        if (of, fingerprint) == (kind, wanted) {
                            found.push(offset);
                        }
                    });
                    if !looked.map_err(BusError::Log)? {
                        return Err(BusError::GivenUp);
                    }
                }
            }
        }
        found.retain(|offset| *offset >= from);
        found.truncate(FOUND_MAX);
        Ok(found)
    }
}

impl Fresh {
    /// Takes out what a sealed segment has, if it is the first that was looked through, and was to its end.
    fn take_sealed(&mut self, sealed: &[Range<Offset>]) -> Option<(Range<Offset>, Entries)> {
        let span = sealed.iter().find(|span| span.start == self.span.start && span.end <= self.span.end)?;
        let length = (span.end.0 - span.start.0) as u32;
        let entries = self.entries.each_mut().map(|entries| {
            let rest = entries.split_off(entries.partition_point(|(_, offset)| *offset < length));
            let rest = rest.into_iter().map(|(fingerprint, offset)| (fingerprint, offset - length)).collect();
            std::mem::replace(entries, rest)
        });
        self.span.start = span.end;
        Some((span.clone(), entries))
    }
}

impl Part {
    /// None if it is not whole.
    fn open(disk: &dyn Disk, name: &str) -> io::Result<Option<Self>> {
        let file = disk.open(name)?;
        let mut bytes = vec![0; usize::try_from(file.len()?).unwrap_or_default()];
        let read = file.read_at(0, &mut bytes)?;
        bytes.truncate(read);
        Ok(Self::check(&bytes).map(|(version, span, counts)| Self { file, version, span, counts }))
    }

    fn check(bytes: &[u8]) -> Option<(u64, Range<Offset>, [u32; 2])> {
        let rest = bytes.strip_prefix(MAGIC)?;
        let (crc, covered) = rest.split_first_chunk()?;
        if crc32c::crc32c(covered) != u32::from_le_bytes(*crc) {
            return None;
        }
        let (version, rest) = covered.split_first_chunk()?;
        let (start, rest) = rest.split_first_chunk()?;
        let (end, rest) = rest.split_first_chunk()?;
        let (events, rest) = rest.split_first_chunk()?;
        let (correlations, entries) = rest.split_first_chunk()?;
        let counts = [events, correlations].map(|count| u32::from_le_bytes(*count));
        let [start, end] = [start, end].map(|offset| Offset(u64::from_le_bytes(*offset)));
        let all = counts.iter().map(|count| *count as usize).sum::<usize>();
        (entries.len() == all * ENTRY_BYTES).then_some((u64::from_le_bytes(*version), start..end, counts))
    }

    fn entry(&self, at: u64) -> io::Result<(u64, u32)> {
        let (mut fingerprint, mut offset) = ([0; 8], [0; 4]);
        let place = HEADER_BYTES as u64 + at * ENTRY_BYTES as u64;
        let read = self.file.read_at(place, &mut fingerprint)? + self.file.read_at(place + 8, &mut offset)?;
        if read < ENTRY_BYTES {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        Ok((u64::from_le_bytes(fingerprint), u32::from_le_bytes(offset)))
    }

    fn find(&self, kind: Kind, wanted: u64) -> io::Result<Vec<Offset>> {
        let [events, correlations] = self.counts.map(u64::from);
        let (begin, end) = match kind {
            Kind::Event => (0, events),
            Kind::Correlation => (events, events + correlations),
        };
        // The first entry that is not before it.
        let (mut low, mut high) = (begin, end);
        while low < high {
            let middle = low.midpoint(high);
            if self.entry(middle)?.0 < wanted { low = middle + 1 } else { high = middle }
        }
        let mut found = Vec::new();
        for at in low..end {
            let (fingerprint, offset) = self.entry(at)?;
            if fingerprint != wanted || found.len() >= FOUND_MAX {
                break;
            }
            found.push(Offset(self.span.start.0 + u64::from(offset)));
        }
        Ok(found)
    }
}
