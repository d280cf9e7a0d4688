//! A segment: one preallocated file, its header, and what the writer and the readers share of it.

use std::collections::VecDeque;
use std::io::{self, IoSlice};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;

use crate::core::units::{Generation, LogId, Millis, Offset};
use crate::log::disk::DiskFile;
use crate::log::frame::{self, ALIGN, FRAME_HEADER_BYTES, Fields, Frame, FrameHeader, Place};

/// Version of the format of headers and frames.
pub(super) const VERSION: u32 = 5;
/// A segment on its way in: it gets its name when its header is on disk.
pub(super) const NEXT: &str = "segment-next.tmp";
/// The copy of the last segment that recovery makes.
pub(super) const COPY: &str = "segment-copy.tmp";

const MAGIC: &[u8; 8] = b"caudalL1";
const HEADER_BYTES: usize = 76;
/// What the header's CRC covers begins here, after the magic and the CRC.
const COVERED_FROM: usize = 12;

/// What a segment's first page says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct SegmentHeader {
    pub log: LogId,
    pub number: u64,
    /// The number of events before it.
    pub first: Offset,
    pub generation: Generation,
    /// `ingest` of the frame before it.
    pub ingest: Millis,
    /// The file's length: a shorter file has lost something.
    pub bytes: u64,
    /// Of the last frame of the segment before it; 0 in the first.
    pub previous_crc: u32,
}

/// Why a header is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum HeaderFault {
    Damaged(&'static str),
    Version(u32),
}

pub(super) fn name(number: u64) -> String {
    format!("segment-{number:020}.log")
}

/// The number in a segment's name; None for any other file's.
pub(super) fn number(name: &str) -> Option<u64> {
    let digits = name.strip_prefix("segment-")?.strip_suffix(".log")?;
    let number = digits.parse().ok()?;
    (self::name(number) == name).then_some(number)
}

impl SegmentHeader {
    fn encode(&self) -> Vec<u8> {
        let mut covered = Vec::with_capacity(HEADER_BYTES - COVERED_FROM);
        covered.extend_from_slice(&VERSION.to_le_bytes());
        covered.extend_from_slice(&self.log.0.to_le_bytes());
        covered.extend_from_slice(&self.number.to_le_bytes());
        covered.extend_from_slice(&self.first.0.to_le_bytes());
        covered.extend_from_slice(&self.generation.0.to_le_bytes());
        covered.extend_from_slice(&self.ingest.0.to_le_bytes());
        covered.extend_from_slice(&self.bytes.to_le_bytes());
        covered.extend_from_slice(&self.previous_crc.to_le_bytes());
        [MAGIC.as_slice(), &crc32c::crc32c(&covered).to_le_bytes(), &covered].concat()
    }

    pub(super) fn decode(page: &[u8]) -> Result<Self, HeaderFault> {
        let short = HeaderFault::Damaged("the segment's header is cut off");
        let bytes = page.get(..HEADER_BYTES).ok_or(short)?;
        if !bytes.starts_with(MAGIC) {
            return Err(HeaderFault::Damaged("the segment's header has no magic number"));
        }
        let read = || {
            let mut fields = Fields(bytes.get(MAGIC.len()..)?);
            let crc = fields.u32()?;
            let right = crc32c::crc32c(fields.0) == crc;
            let version = fields.u32()?;
            let header = Self {
                log: LogId(u128::from_le_bytes(fields.take()?)),
                number: fields.u64()?,
                first: Offset(fields.u64()?),
                generation: Generation(fields.u64()?),
                ingest: Millis(fields.u64()?),
                bytes: fields.u64()?,
                previous_crc: fields.u32()?,
            };
            Some((right, version, header))
        };
        match read().ok_or(short)? {
            (false, ..) => Err(HeaderFault::Damaged("the segment's header has a wrong checksum")),
            (true, VERSION, header) => Ok(header),
            (true, version, _) => Err(HeaderFault::Version(version)),
        }
    }

    pub(super) fn write(&self, file: &dyn DiskFile) -> io::Result<()> {
        file.write_at(0, &mut [IoSlice::new(&self.encode())])
    }
}

/// What stands where a frame may begin.
pub(super) enum Found {
    Frame(Frame),
    /// A frame whose events all lie before what is asked for: its length, and what it says of itself, unchecked.
    Passed(u64, FrameHeader, u32),
    /// Zeros, or no room for a frame: the frames end here.
    End,
    Bad(&'static str),
}

/// Looks for a frame at a place. `limit` is where the segment ends, or what of it may be read. Of a frame that ends at or before `from` only the
/// header is read.
pub(super) fn read_frame(file: &dyn DiskFile, place: Place, limit: u64, from: Option<Offset>) -> io::Result<Found> {
    if place.at >= limit {
        return Ok(Found::End);
    }
    let mut page = [0; ALIGN as usize];
    let got = file.read_at(place.at, &mut page)?;
    let page = page.get(..got).unwrap_or_default();
    let Some(head) = page.get(..FRAME_HEADER_BYTES) else { return Ok(Found::Bad("the file is cut off in a frame")) };
    let Some((len, crc, header)) = frame::claims(head) else { return Ok(Found::Bad("the file is cut off in a frame")) };
    if head.iter().all(|&b| b == 0) {
        return Ok(Found::End);
    }
    if len < FRAME_HEADER_BYTES as u64 || len > limit - place.at {
        return Ok(Found::Bad("a frame has an impossible length"));
    }
    if from.is_some_and(|from| header.end() <= from) {
        return Ok(Found::Passed(len, header, crc));
    }
    // Checked against the limit, so it fits a file and memory.
    let mut bytes = vec![0; len as usize];
    let have = bytes.len().min(page.len());
    let (front, back) = bytes.split_at_mut(have);
    front.copy_from_slice(page.get(..have).unwrap_or_default());
    if file.read_at(place.at + have as u64, back)? < back.len() {
        return Ok(Found::Bad("the file is cut off in a frame"));
    }
    let frame = frame::check(place, Bytes::from(bytes));
    Ok(frame.map_or(Found::Bad("a frame has a wrong checksum"), Found::Frame))
}

/// A segment as the writer and the readers know it.
#[derive(Debug)]
pub(super) struct Segment {
    pub header: SegmentHeader,
    /// Frames before this position are on disk; in a segment of which only the header was read, the file's end. Only the writer moves it, and only the
    /// last segment's.
    synced: AtomicU64,
}

impl Segment {
    pub(super) fn new(header: SegmentHeader, synced: u64) -> Arc<Self> {
        Arc::new(Self { header, synced: AtomicU64::new(synced) })
    }

    pub(super) fn synced(&self) -> u64 {
        self.synced.load(Ordering::Acquire)
    }

    pub(super) fn set_synced(&self, to: u64) {
        self.synced.store(to, Ordering::Release);
    }
}

/// What the log takes, and from where on it is retained.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Extent {
    /// Of all segments.
    pub bytes: u64,
    pub segments: usize,
    pub begin: Offset,
    /// What is retained was taken in after this; None: nothing was ever deleted.
    pub since: Option<Millis>,
}

/// All segments, oldest first; never empty once the log is open.
#[derive(Debug)]
pub(super) struct Segments {
    list: Mutex<VecDeque<Arc<Segment>>>,
    /// The number of events that are on disk.
    end: AtomicU64,
}

impl Segments {
    pub(super) fn new(segments: VecDeque<Arc<Segment>>, end: Offset) -> Arc<Self> {
        Arc::new(Self { list: Mutex::new(segments), end: AtomicU64::new(end.0) })
    }

    pub(super) fn end(&self) -> Offset {
        Offset(self.end.load(Ordering::Acquire))
    }

    /// After `Segment::set_synced`: what lies before the end can be read.
    pub(super) fn set_end(&self, end: Offset) {
        self.end.store(end.0, Ordering::Release);
    }

    /// The list is right after each single change of it, so a thread that died with the lock held has harmed nothing.
    pub(super) fn lock(&self) -> MutexGuard<'_, VecDeque<Arc<Segment>>> {
        self.list.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The last segment that begins at or before this offset.
    pub(super) fn holding(&self, from: Offset) -> Option<Arc<Segment>> {
        self.lock().iter().rev().find(|s| s.header.first <= from).cloned()
    }

    pub(super) fn extent(&self) -> Extent {
        let segments = self.lock();
        let first = segments.front().map(|segment| segment.header);
        Extent {
            bytes: segments.iter().map(|segment| segment.header.bytes).sum(),
            segments: segments.len(),
            begin: first.map_or(self.end(), |header| header.first),
            since: first.map(|header| header.ingest).filter(|ingest| *ingest > Millis(0)),
        }
    }

    pub(super) fn numbered(&self, number: u64) -> Option<Arc<Segment>> {
        self.lock().iter().find(|s| s.header.number == number).cloned()
    }
}
