//! The durable record of everything that came in: segments of frames, a frame being one group commit. The truth; all else can be recomputed.
//!
//! It knows no thread and no clock: `ingest::writer` owns the one `Log` and calls `append`; readers read beside it.

pub mod disk;
mod error;
mod record;
mod frame;
mod segment;
mod recovery;
mod reader;
mod cuts;
mod access;

use std::io;
use std::sync::Arc;

use crate::core::epoch::Cut;
use crate::core::keyed::Logged;
use crate::core::mend::Mends;
use crate::core::units::{Epoch, Generation, LogId, Millis, Offset};
use crate::log::disk::{Disk, DiskFile};
use crate::log::frame::{ALIGN, Draft, FrameHeader, Place, padded};
use crate::log::record::{check_of_frame, holds_submitted};
use crate::log::segment::{NEXT, Segment, SegmentHeader, Segments};

pub use crate::log::access::Access;
pub use crate::log::cuts::Cuts;
pub use crate::log::error::LogError;
pub use crate::log::reader::Reader;
pub use crate::log::record::{Config, Record, Start};
pub use crate::log::segment::Extent;

#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// A segment's size; a frame larger than that gets a segment of its own size.
    pub segment_bytes: u64,
    /// Segments of more than this in all: `append` refuses slabs from outside with `LogError::Full` (all else still goes in).
    pub bytes_max: u64,
    /// Free space on the disk below which `append` refuses slabs from outside with `LogError::DiskFull`.
    pub low_water_bytes: u64,
    /// Whether the store could be asked what it has. Where it could not, a torn tail may be what it committed, and is not cut off.
    pub store_asked: bool,
}

/// What the log is known to hold from elsewhere: where the store says that events were committed.
#[derive(Clone, Copy, Debug)]
pub struct Proof {
    pub log: LogId,
    pub end: Offset,
}

/// What opening found.
#[derive(Clone, Debug)]
pub struct Recovered {
    pub id: LogId,
    /// The newest START, with the bundle that holds at the log's end; None in a new log.
    pub start: Option<Start>,
    /// The bundle that holds where the verified part begins.
    pub first_bundle: Option<Arc<str>>,
    /// In the verified part: the bundles that hold after epochs, in order.
    pub changes: Vec<(Epoch, Arc<str>)>,
    /// The first offset that is still retained.
    pub begin: Offset,
    /// The number of events ever appended.
    pub end: Offset,
    /// All cuts in the verified part (from the segment that holds `verify_from` on), in order.
    pub cuts: Vec<Cut>,
    /// In the same part: each epoch whose emitted events are in the log, and the end of their frame; in order.
    pub emits: Vec<(Epoch, Offset)>,
    /// In the same part: what was done to dead letters.
    pub mends: Mends,
    /// In the same part: the requests that came with an Idempotency-Key, in order.
    pub keys: Vec<Logged>,
    /// The newest `ingest` of any frame.
    pub ingest: Millis,
    /// Bytes cut off the tail because they were never acknowledged.
    pub truncated_bytes: u64,
}

/// The one writer of a log.
pub struct Log {
    disk: Arc<dyn Disk>,
    options: Options,
    id: LogId,
    segments: Arc<Segments>,
    current: Arc<Segment>,
    file: Arc<dyn DiskFile>,
    /// Where the next frame goes in the current segment.
    position: u64,
    end: Offset,
    /// Of the newest frame.
    crc: u32,
    ingest: Millis,
    generation: Generation,
    start: Option<Start>,
    /// The next segment's file, allocated ahead; None where there was no room.
    spare: Option<Spare>,
    /// An I/O error was met: what is on the disk is not known any more.
    failed: bool,
}

/// A file of zeros under the name `NEXT`.
struct Spare {
    file: Arc<dyn DiskFile>,
    bytes: u64,
}

/// Where an appended frame stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Appended {
    /// After it, the number of events in the log.
    pub end: Offset,
    pub bytes: u64,
}

impl Log {
    /// Opens the log, or makes a new one with the id `new_id` where the directory has none. Recovers as `reliability.md` says. Segments before the one
    /// that holds `verify_from` are only looked at by their headers.
    ///
    /// # Errors
    /// `Damaged`, `Mismatch` (the proof is of another log, or lies before `begin` or after the end), `Unproven`, `DiskFull` (no room for a
    /// segment), `Io`.
    pub fn open(
        disk: Arc<dyn Disk>,
        options: Options,
        new_id: LogId,
        proof: Option<Proof>,
        verify_from: Offset,
    ) -> Result<(Self, Recovered), LogError> {
        let mut numbers = recovery::segments(&*disk)?;
        if numbers.is_empty() {
            if let Some(proof) = proof {
                let id = proof.log;
                return Err(LogError::Mismatch(format!(
                    "the store's results are of log {id}, and DATA_DIR holds no log"
                )));
            }
            make_first_segment(&*disk, options, new_id)?;
            numbers.push(1);
        }
        let found = recovery::recover(&*disk, &numbers, options.store_asked, proof, verify_from)?;
        let Some(current) = found.segments.back().cloned() else { panic!("a log has a segment") };
        let mut log = Self {
            disk,
            options,
            id: found.recovered.id,
            segments: Segments::new(found.segments, found.recovered.end),
            current,
            file: found.file,
            position: found.position,
            end: found.recovered.end,
            crc: found.crc,
            ingest: found.recovered.ingest,
            generation: found.generation,
            start: found.recovered.start.clone(),
            spare: None,
            failed: false,
        };
        log.allocate_ahead()?;
        Ok((log, found.recovered))
    }

    /// Writes the records as one frame and syncs it: when it returns, they are on disk, whole. A slab's `first_offset` must follow on, and its `ingest` be
    /// the frame's: `ingest`, or the newest in the log if that is later.
    ///
    /// # Errors
    /// `Full`, `DiskFull`: nothing happened. `Io`: abort the process; whatever is asked after it is `Io` too.
    pub fn append(&mut self, records: &[Record], ingest: Millis) -> Result<Appended, LogError> {
        self.unless_failed(|log| log.append_frame(records, ingest.max(log.ingest)))
    }

    /// Reads from the segment that holds `from`, beside the writer, up to what has been appended so far.
    #[must_use]
    pub fn reader(&self, from: Offset) -> Reader {
        self.access().reader(from)
    }

    /// For whoever reads and does not have the log.
    #[must_use]
    pub fn access(&self) -> Access {
        Access::new(self.disk.clone(), self.segments.clone(), self.id)
    }

    /// Deletes the oldest segment if its events all lie before `needed_from` and, if `keep_since` is given, its last frame was taken in before it; true
    /// if it did, and may be asked for the next one. One in which a cut at `needed_from` itself may stand is kept. One at a time, since a file system
    /// takes tens of milliseconds for each, in which nothing is appended.
    ///
    /// # Errors
    /// `Io`.
    pub fn retain(&mut self, needed_from: Offset, keep_since: Option<Millis>) -> Result<bool, LogError> {
        self.unless_failed(|log| log.delete_segment(needed_from, keep_since))
    }

    /// Bytes of all segments.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.segments.lock().iter().map(|s| s.header.bytes).sum()
    }

    #[must_use]
    pub fn extent(&self) -> Extent {
        self.segments.extent()
    }

    #[must_use]
    pub fn begin(&self) -> Offset {
        self.segments.lock().front().map_or(self.end, |s| s.header.first)
    }

    #[must_use]
    pub fn end(&self) -> Offset {
        self.end
    }

    /// The newest `ingest` of any frame: what comes after it is not earlier.
    #[must_use]
    pub fn ingest(&self) -> Millis {
        self.ingest
    }

    /// After a failed write or sync nothing is known of the file, and asking again would get an answer that is not true.
    fn unless_failed<T>(&mut self, act: impl FnOnce(&mut Self) -> Result<T, LogError>) -> Result<T, LogError> {
        if self.failed {
            let error = io::Error::other("an earlier write to the log failed");
            return Err(self.io(&segment::name(self.current.header.number), error));
        }
        let done = act(self);
        self.failed = matches!(done, Err(LogError::Io { .. }));
        done
    }

    fn append_frame(&mut self, records: &[Record], ingest: Millis) -> Result<Appended, LogError> {
        self.check_slabs(records, ingest);
        let mut draft = Draft::new(records);
        check_of_frame(records, self.end, draft.count());
        let rolls = self.position + draft.padded() > self.current.header.bytes;
        let next_bytes = rolls.then(|| self.segment_bytes_for(&draft));
        if holds_submitted(records) {
            self.admit(next_bytes.unwrap_or(0))?;
        }
        if let Some(bytes) = next_bytes {
            self.begin_segment(bytes)?;
        }
        if let Some(start) = records.iter().rev().find_map(|r| if let Record::Start(s) = r { Some(s) } else { None }) {
            self.generation = start.generation;
            self.start = Some(start.clone());
        }
        if let Some(config) = records.iter().rev().find_map(|r| if let Record::Config(c) = r { Some(c) } else { None })
            && let Some(start) = &mut self.start
        {
            config.bundle.as_ref().clone_into(&mut start.bundle);
        }
        let place = Place { log: self.id, segment: self.current.header.number, at: self.position };
        let header = FrameHeader {
            generation: self.generation,
            first: self.end,
            count: draft.count(),
            previous_crc: self.crc,
            synced_up_to: self.position,
            ingest,
        };
        let crc = draft.seal(place, header);
        let name = if rolls { NEXT.to_owned() } else { segment::name(place.segment) };
        self.file.write_at(place.at, &mut draft.slices()).map_err(|e| self.io(&name, e))?;
        self.file.sync().map_err(|e| self.io(&name, e))?;
        if rolls {
            install(&*self.disk, place.segment)?;
            self.segments.lock().push_back(self.current.clone());
        }
        self.position += draft.padded();
        self.end = Offset(self.end.0 + u64::from(draft.count()));
        (self.crc, self.ingest) = (crc, ingest);
        self.current.set_synced(self.position);
        self.segments.set_end(self.end);
        if rolls {
            self.allocate_ahead()?;
        }
        Ok(Appended { end: self.end, bytes: draft.padded() })
    }

    fn check_slabs(&self, records: &[Record], ingest: Millis) {
        assert!(!records.is_empty(), "a frame holds something");
        let mut end = self.end;
        for record in records {
            if let Record::Slab(slab) = record {
                assert_eq!(slab.first_offset, end, "a slab follows on the log's end");
                assert_eq!(slab.ingest, ingest, "a slab has its frame's time");
                assert!(slab.count > 0, "a slab holds an event");
                end = Offset(end.0 + u64::from(slab.count));
            }
        }
    }

    /// The size of a new segment whose first frames are a copy of START and this one.
    fn segment_bytes_for(&self, draft: &Draft<'_>) -> u64 {
        let start = self.start.clone().map(|s| Draft::new(&[Record::Start(s)]).padded());
        let needed = ALIGN + start.unwrap_or(0) + draft.padded();
        padded(self.options.segment_bytes).max(needed)
    }

    /// Whether slabs may go in, with a new segment of `next_bytes` where they need one.
    fn admit(&mut self, next_bytes: u64) -> Result<(), LogError> {
        if self.bytes() + next_bytes > self.options.bytes_max {
            return Err(LogError::Full);
        }
        let free = self.disk.free_bytes().map_err(|e| self.io("", e))?;
        if free < self.options.low_water_bytes {
            return Err(LogError::DiskFull);
        }
        self.allocate_ahead()?;
        if self.spare.is_none() { Err(LogError::DiskFull) } else { Ok(()) }
    }

    /// Has the next segment's file ready, if there is room for it: what is already promised then never fails for want of space.
    fn allocate_ahead(&mut self) -> Result<(), LogError> {
        let bytes = padded(self.options.segment_bytes);
        if self.spare.is_some() {
            return Ok(());
        }
        match self.disk.create(NEXT, bytes) {
            Ok(file) => self.spare = Some(Spare { file, bytes }),
            Err(error) => match LogError::of_create(&*self.disk, NEXT, error) {
                LogError::DiskFull => {}
                error => return Err(error),
            },
        }
        Ok(())
    }

    /// Goes on to a new segment, which is not synced and has no name yet.
    fn begin_segment(&mut self, bytes: u64) -> Result<(), LogError> {
        let file = match self.spare.take() {
            Some(spare) if spare.bytes == bytes => spare.file,
            _ => self.disk.create(NEXT, bytes).map_err(|e| LogError::of_create(&*self.disk, NEXT, e))?,
        };
        let header = SegmentHeader {
            log: self.id,
            number: self.current.header.number + 1,
            first: self.end,
            generation: self.generation,
            ingest: self.ingest,
            bytes,
            previous_crc: self.crc,
        };
        let head = self.start.clone().map(Record::Start);
        (self.position, self.crc) = write_head(&*file, header, head).map_err(|e| self.io(NEXT, e))?;
        self.file = file;
        self.current = Segment::new(header, self.position);
        Ok(())
    }

    fn delete_segment(&mut self, needed_from: Offset, keep_since: Option<Millis>) -> Result<bool, LogError> {
        let oldest = {
            let mut segments = self.segments.lock();
            let unneeded = segments.get(1).is_some_and(|next| {
                next.header.first < needed_from && keep_since.is_none_or(|since| next.header.ingest < since)
            });
            if unneeded { segments.pop_front() } else { None }
        };
        let Some(oldest) = oldest else { return Ok(false) };
        let name = segment::name(oldest.header.number);
        self.disk.remove(&name).map_err(|e| self.io(&name, e))?;
        // Before the next is removed: a crash must not bring an older segment back without the one after it.
        self.disk.sync_directory().map_err(|e| self.io("", e))?;
        Ok(true)
    }

    fn io(&self, name: &str, error: io::Error) -> LogError {
        LogError::io(&*self.disk, name, error)
    }
}

fn make_first_segment(disk: &dyn Disk, options: Options, id: LogId) -> Result<(), LogError> {
    let bytes = padded(options.segment_bytes).max(2 * ALIGN);
    let file = disk.create(NEXT, bytes).map_err(|e| LogError::of_create(disk, NEXT, e))?;
    let header = SegmentHeader {
        log: id,
        number: 1,
        first: Offset(0),
        generation: Generation(0),
        ingest: Millis(0),
        bytes,
        previous_crc: 0,
    };
    write_head(&*file, header, None).and_then(|_| file.sync()).map_err(|e| LogError::io(disk, NEXT, e))?;
    install(disk, header.number)
}

/// Writes a segment's header and the copy of START after it. Gives the position after them and the CRC of the last frame.
fn write_head(file: &dyn DiskFile, header: SegmentHeader, head: Option<Record>) -> io::Result<(u64, u32)> {
    header.write(file)?;
    let (mut position, mut crc) = (ALIGN, header.previous_crc);
    if let Some(head) = head {
        let records = [head];
        let mut draft = Draft::new(&records);
        let place = Place { log: header.log, segment: header.number, at: position };
        let frame = FrameHeader {
            generation: header.generation,
            first: header.first,
            count: 0,
            previous_crc: crc,
            synced_up_to: position,
            ingest: header.ingest,
        };
        crc = draft.seal(place, frame);
        file.write_at(position, &mut draft.slices())?;
        position += draft.padded();
    }
    Ok((position, crc))
}

/// Makes the synced file `NEXT` a segment; nothing in it may be acknowledged before its name is on disk.
fn install(disk: &dyn Disk, number: u64) -> Result<(), LogError> {
    let named = disk.rename(NEXT, &segment::name(number)).and_then(|()| disk.sync_directory());
    named.map_err(|e| LogError::io(disk, NEXT, e))
}
