//! A frame's bytes: how records are laid out, and how a frame that was not written whole is told from one that was. It knows no file.
//!
//! `docs/log-format.md` draws it.

use std::io::IoSlice;

use bytes::Bytes;

use crate::core::columns::{Numbering, Slab};
use crate::core::epoch::Cut;
use crate::core::keyed::{Fingerprint, KeyHash, Keyed};
use crate::core::mend::{Discards, Retry};
use crate::core::trace::{Trace, Traced};
use crate::core::units::{Epoch, Generation, LogId, Millis, Offset, TopicId};
use crate::log::{Config, Record, Start};

/// Where frames begin: a page, so that a torn frame shares no page with a good one.
pub(super) const ALIGN: u64 = 4096;
/// A frame's fixed part.
pub(super) const FRAME_HEADER_BYTES: usize = 48;
const RECORD_HEADER_BYTES: usize = 12;

const SLAB: u8 = 1;
const CUT: u8 = 2;
const TIME: u8 = 3;
const START: u8 = 4;
const EMIT: u8 = 5;
const RETRY: u8 = 6;
const DISCARD: u8 = 7;
const CONFIG: u8 = 8;
const KEY: u8 = 9;
const TRACE: u8 = 10;

/// Where a frame stands. It seeds the CRC, so that a frame is good in its own place only.
#[derive(Clone, Copy, Debug)]
pub(super) struct Place {
    pub log: LogId,
    pub segment: u64,
    pub at: u64,
}

/// What a frame says besides its records.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct FrameHeader {
    pub generation: Generation,
    pub first: Offset,
    /// Events in it.
    pub count: u32,
    pub previous_crc: u32,
    /// Up to here its segment was on disk when it was written.
    pub synced_up_to: u64,
    pub ingest: Millis,
}

/// A frame whose CRC is right.
#[derive(Clone, Debug)]
pub(super) struct Frame {
    pub header: FrameHeader,
    pub crc: u32,
    pub bytes: Bytes,
}

/// Rounded up to where the next frame may begin.
pub(super) fn padded(len: u64) -> u64 {
    len.next_multiple_of(ALIGN)
}

impl Place {
    fn seed(self) -> u32 {
        let crc = crc32c::crc32c(&self.log.0.to_le_bytes());
        let crc = crc32c::crc32c_append(crc, &self.segment.to_le_bytes());
        crc32c::crc32c_append(crc, &self.at.to_le_bytes())
    }
}

/// A frame on its way to the disk. The slabs' bytes stay where they are; all else is in `small`.
pub(super) struct Draft<'a> {
    small: Vec<u8>,
    /// These bytes stand after so many of `small`.
    large: Vec<(usize, &'a [u8])>,
    len: u32,
    count: u32,
}

impl<'a> Draft<'a> {
    pub(super) fn new(records: &'a [Record]) -> Self {
        let mut draft = Self { small: vec![0; FRAME_HEADER_BYTES], large: Vec::new(), len: 0, count: 0 };
        for record in records {
            draft.push(record);
        }
        let len = draft.small.len() + draft.large.iter().map(|(_, bytes)| bytes.len()).sum::<usize>();
        let Ok(len) = u32::try_from(len) else { panic!("a frame of {len} bytes: the writer takes far less at once") };
        draft.len = len;
        draft
    }

    fn push(&mut self, record: &'a Record) {
        match record {
            Record::Slab(slab) => {
                assert!(slab.numbering == Numbering::Dense, "a log's slabs are numbered by line");
                self.record(SLAB, slab.topic, slab.count, slab.bytes.len());
                self.large.push((self.small.len(), &slab.bytes));
                self.count += slab.count;
            }
            Record::Cut(cut) => {
                let numbers = [cut.epoch.0, cut.end.0, cut.ingest.0, cut.up.0, cut.emitted.0];
                let numbers: Vec<u64> = numbers.into_iter().chain(cut.idle.map(|idle| idle.0)).collect();
                let kind = if cut.idle.is_some() { TIME } else { CUT };
                self.record(kind, None, 0, 8 * numbers.len());
                self.small.extend(numbers.iter().flat_map(|n| n.to_le_bytes()));
            }
            Record::Emit(epoch) => {
                self.record(EMIT, None, 0, 8);
                self.small.extend_from_slice(&epoch.0.to_le_bytes());
            }
            Record::Start(start) => {
                self.record(START, None, 0, 8 + start.bundle.len());
                self.small.extend_from_slice(&start.generation.0.to_le_bytes());
                self.small.extend_from_slice(start.bundle.as_bytes());
            }
            Record::Retries(retries) => {
                self.record(RETRY, None, 0, 16 * retries.len());
                let numbers = retries.iter().flat_map(|retry| [retry.letter.0, retry.event.0]);
                self.small.extend(numbers.flat_map(u64::to_le_bytes));
            }
            Record::Discards(Discards { epoch, letters }) => {
                self.record(DISCARD, None, 0, 8 + 8 * letters.len());
                let numbers = std::iter::once(epoch.0).chain(letters.iter().map(|letter| letter.0));
                self.small.extend(numbers.flat_map(u64::to_le_bytes));
            }
            Record::Config(Config { epoch, bundle }) => {
                self.record(CONFIG, None, 0, 8 + bundle.len());
                self.small.extend_from_slice(&epoch.0.to_le_bytes());
                self.small.extend_from_slice(bundle.as_bytes());
            }
            Record::Key(Keyed { key, body, first, count, made }) => {
                self.record(KEY, None, 0, 44 + made.len());
                self.small.extend_from_slice(&key.0.to_le_bytes());
                self.small.extend_from_slice(&body.0.to_le_bytes());
                self.small.extend_from_slice(&first.0.to_le_bytes());
                self.small.extend_from_slice(&count.to_le_bytes());
                self.small.extend_from_slice(made.as_bytes());
            }
            Record::Trace(Traced { first, count, trace }) => {
                self.record(TRACE, None, 0, 37 + trace.state.len());
                self.small.extend_from_slice(&first.0.to_le_bytes());
                self.small.extend_from_slice(&count.to_le_bytes());
                self.small.extend_from_slice(&trace.trace_id);
                self.small.extend_from_slice(&trace.parent_id);
                self.small.push(trace.flags);
                self.small.extend_from_slice(trace.state.as_bytes());
            }
        }
    }

    fn record(&mut self, kind: u8, topic: Option<TopicId>, count: u32, len: usize) {
        let Ok(len) = u32::try_from(len) else { panic!("a record of {len} bytes") };
        self.small.extend_from_slice(&[kind, u8::from(topic.is_some())]);
        self.small.extend_from_slice(&topic.map_or(0, |t| t.0).to_le_bytes());
        self.small.extend_from_slice(&count.to_le_bytes());
        self.small.extend_from_slice(&len.to_le_bytes());
    }

    /// Its length on disk, up to where the next frame may begin.
    pub(super) fn padded(&self) -> u64 {
        padded(u64::from(self.len))
    }

    pub(super) fn count(&self) -> u32 {
        self.count
    }

    /// Completes it for its place; gives its CRC.
    pub(super) fn seal(&mut self, place: Place, header: FrameHeader) -> u32 {
        let mut fixed = Vec::with_capacity(FRAME_HEADER_BYTES);
        fixed.extend_from_slice(&self.len.to_le_bytes());
        fixed.extend_from_slice(&[0; 4]);
        fixed.extend_from_slice(&header.generation.0.to_le_bytes());
        fixed.extend_from_slice(&header.first.0.to_le_bytes());
        fixed.extend_from_slice(&header.count.to_le_bytes());
        fixed.extend_from_slice(&header.previous_crc.to_le_bytes());
        fixed.extend_from_slice(&header.synced_up_to.to_le_bytes());
        fixed.extend_from_slice(&header.ingest.0.to_le_bytes());
        self.small[..FRAME_HEADER_BYTES].copy_from_slice(&fixed);
        let crc = crc32c::crc32c_append(place.seed(), &self.len.to_le_bytes());
        let crc = self.slices().iter().enumerate().fold(crc, |crc, (n, slice)| {
            let covered = if n == 0 { &slice[8..] } else { slice };
            crc32c::crc32c_append(crc, covered)
        });
        self.small[4..8].copy_from_slice(&crc.to_le_bytes());
        crc
    }

    /// Its bytes, in order; the first slice holds at least the header.
    pub(super) fn slices(&self) -> Vec<IoSlice<'_>> {
        let mut slices = Vec::with_capacity(2 * self.large.len() + 1);
        let mut from = 0;
        for &(to, large) in &self.large {
            slices.push(IoSlice::new(&self.small[from..to]));
            slices.push(IoSlice::new(large));
            from = to;
        }
        slices.push(IoSlice::new(&self.small[from..]));
        slices
    }
}

/// What a frame's first bytes claim: its length, its CRC and its header. None where they do not reach; a length of 0 is no frame.
pub(super) fn claims(bytes: &[u8]) -> Option<(u64, u32, FrameHeader)> {
    let mut fields = Fields(bytes);
    let (len, crc) = (fields.u32()?, fields.u32()?);
    let header = FrameHeader {
        generation: Generation(fields.u64()?),
        first: Offset(fields.u64()?),
        count: fields.u32()?,
        previous_crc: fields.u32()?,
        synced_up_to: fields.u64()?,
        ingest: Millis(fields.u64()?),
    };
    Some((u64::from(len), crc, header))
}

/// The frame in exactly these bytes, if it is whole and in its place.
pub(super) fn check(place: Place, bytes: Bytes) -> Option<Frame> {
    let (len, crc, header) = claims(&bytes)?;
    let (len_bytes, covered) = (bytes.get(..4)?, bytes.get(8..)?);
    let found = crc32c::crc32c_append(place.seed(), len_bytes);
    let whole = len == bytes.len() as u64 && crc32c::crc32c_append(found, covered) == crc;
    whole.then_some(Frame { header, crc, bytes })
}

impl FrameHeader {
    /// Whether it follows on the frame that left the log with so many events, and has this CRC.
    pub(super) fn follows(&self, end: Offset, crc: u32) -> bool {
        (self.first, self.previous_crc) == (end, crc)
    }

    /// The number of events after it; as far as it goes where the header is no good.
    pub(super) fn end(&self) -> Offset {
        Offset(self.first.0.saturating_add(u64::from(self.count)))
    }
}

impl Frame {
    /// Its records, the slabs' bytes being slices of the frame's. None where they are not such as this version writes.
    pub(super) fn records(&self) -> Option<Vec<Record>> {
        let mut rest = self.bytes.slice(FRAME_HEADER_BYTES..);
        let mut records = Vec::new();
        let mut first = self.header.first;
        while !rest.is_empty() {
            let head = (rest.len() >= RECORD_HEADER_BYTES).then(|| rest.split_to(RECORD_HEADER_BYTES))?;
            let mut fields = Fields(&head);
            let [kind, has_topic] = fields.take()?;
            let topic = u16::from_le_bytes(fields.take()?);
            let (count, len) = (fields.u32()?, fields.u32()? as usize);
            let body = (rest.len() >= len).then(|| rest.split_to(len))?;
            records.push(match kind {
                SLAB => {
                    let slab = Slab {
                        first_offset: first,
                        count,
                        ingest: self.header.ingest,
                        topic: (has_topic == 1).then_some(TopicId(topic)),
                        bytes: body,
                        numbering: Numbering::Dense,
                    };
                    first = Offset(first.0 + u64::from(count));
                    Record::Slab(slab)
                }
                CUT | TIME => Record::Cut(read_cut(kind, &body)?),
                EMIT => Record::Emit(read_emit(&body)?),
                START => Record::Start(read_start(&body)?),
                RETRY => Record::Retries(read_retries(&body)?),
                DISCARD => Record::Discards(read_discards(&body)?),
                CONFIG => Record::Config(read_config(&body)?),
                KEY => Record::Key(read_key(&body)?),
                TRACE => Record::Trace(read_trace(&body)?),
                _ => return None,
            });
        }
        (first == self.header.end()).then_some(records)
    }
}

fn read_cut(kind: u8, body: &[u8]) -> Option<Cut> {
    let mut fields = Fields(body);
    let (epoch, end) = (Epoch(fields.u64()?), Offset(fields.u64()?));
    let (ingest, up) = (Millis(fields.u64()?), Millis(fields.u64()?));
    let emitted = Epoch(fields.u64()?);
    let idle = if kind == TIME { Some(Millis(fields.u64()?)) } else { None };
    fields.0.is_empty().then_some(Cut { epoch, end, ingest, up, idle, emitted })
}

fn read_emit(body: &[u8]) -> Option<Epoch> {
    let mut fields = Fields(body);
    let epoch = Epoch(fields.u64()?);
    fields.0.is_empty().then_some(epoch)
}

fn read_start(body: &[u8]) -> Option<Start> {
    let mut fields = Fields(body);
    let generation = Generation(fields.u64()?);
    let bundle = String::from_utf8(fields.0.to_vec()).ok()?;
    Some(Start { generation, bundle })
}

fn read_retries(body: &[u8]) -> Option<Vec<Retry>> {
    let mut fields = Fields(body);
    let mut retries = Vec::with_capacity(body.len() / 16);
    while !fields.0.is_empty() {
        retries.push(Retry { letter: Offset(fields.u64()?), event: Offset(fields.u64()?) });
    }
    Some(retries)
}

fn read_discards(body: &[u8]) -> Option<Discards> {
    let mut fields = Fields(body);
    let epoch = Epoch(fields.u64()?);
    let mut letters = Vec::with_capacity(body.len() / 8);
    while !fields.0.is_empty() {
        letters.push(Offset(fields.u64()?));
    }
    Some(Discards { epoch, letters })
}

fn read_config(body: &[u8]) -> Option<Config> {
    let mut fields = Fields(body);
    let epoch = Epoch(fields.u64()?);
    let bundle = std::str::from_utf8(fields.0).ok()?.into();
    Some(Config { epoch, bundle })
}

fn read_key(body: &[u8]) -> Option<Keyed> {
    let mut fields = Fields(body);
    let key = KeyHash(fields.take().map(u128::from_le_bytes)?);
    let body = Fingerprint(fields.take().map(u128::from_le_bytes)?);
    let (first, count) = (Offset(fields.u64()?), fields.u32()?);
    let made = std::str::from_utf8(fields.0).ok()?.into();
    Some(Keyed { key, body, first, count, made })
}

fn read_trace(body: &[u8]) -> Option<Traced> {
    let mut fields = Fields(body);
    let (first, count) = (Offset(fields.u64()?), fields.u32()?);
    let (trace_id, parent_id, [flags]) = (fields.take()?, fields.take()?, fields.take()?);
    let state = std::str::from_utf8(fields.0).ok()?.into();
    Some(Traced { first, count, trace: Trace { trace_id, parent_id, flags, state } })
}

/// Little-endian numbers, one after the other; None where the bytes end.
pub(super) struct Fields<'a>(pub &'a [u8]);

impl Fields<'_> {
    pub(super) fn take<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (taken, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(*taken)
    }

    pub(super) fn u32(&mut self) -> Option<u32> {
        self.take().map(u32::from_le_bytes)
    }

    pub(super) fn u64(&mut self) -> Option<u64> {
        self.take().map(u64::from_le_bytes)
    }
}
