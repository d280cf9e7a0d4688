//! What opening does: finds the segments, refuses damage, cuts off a tail that was never acknowledged.
//!
//! A frame is written only when the one before it is synced. So a bad frame that a good one follows was good once: that is damage, and nothing may
//! be skipped. Only the last frame of all may be bad without anybody having been told that it is there.

use std::collections::VecDeque;
use std::io::IoSlice;
use std::sync::Arc;

use crate::core::epoch::Cut;
use crate::core::keyed::Logged;
use crate::core::mend::Mends;
use crate::core::units::{Epoch, Generation, Millis, Offset};
use crate::log::disk::{Disk, DiskFile};
use crate::log::frame::{self, ALIGN, Frame, Place};
use crate::log::segment::{self, COPY, Found, HeaderFault, NEXT, Segment, SegmentHeader, VERSION, read_frame};
use crate::log::{Config, LogError, Proof, Record, Recovered, Start};

const WITHOUT_CUT: &str = "discards, or a change of the pipelines, without their epoch's cut";
/// The tail is looked through in pieces of this size.
const TAIL_PIECE_BYTES: usize = 1 << 20;

/// The log as it was found, ready to be appended to.
pub(super) struct Opened {
    pub segments: VecDeque<Arc<Segment>>,
    pub file: Arc<dyn DiskFile>,
    pub position: u64,
    pub crc: u32,
    pub generation: Generation,
    pub recovered: Recovered,
}

/// What the frames so far add up to.
struct Walk {
    end: Offset,
    crc: u32,
    ingest: Millis,
    generation: Generation,
    start: Option<Start>,
    first_bundle: Option<Arc<str>>,
    changes: Vec<(Epoch, Arc<str>)>,
    cuts: Vec<Cut>,
    emits: Vec<(Epoch, Offset)>,
    mends: Mends,
    keys: Vec<Logged>,
}

/// Removes what an earlier life was about to make, and lists the segments' numbers. None: there is no log yet.
pub(super) fn segments(disk: &dyn Disk) -> Result<Vec<u64>, LogError> {
    let directory = |error| LogError::io(disk, "", error);
    let names = disk.list().map_err(directory)?;
    for tmp in names.iter().filter(|n| [NEXT, COPY].contains(&n.as_str())) {
        disk.remove(tmp).map_err(directory)?;
    }
    let mut numbers: Vec<u64> = names.iter().filter_map(|n| segment::number(n)).collect();
    numbers.sort_unstable();
    for pair in numbers.windows(2) {
        let &[before, after] = pair else { continue };
        if after != before + 1 {
            return Err(LogError::damaged(disk, &segment::name(before + 1), 0, "the segment is missing"));
        }
    }
    Ok(numbers)
}

/// Recovers the log that these segments make up.
pub(super) fn recover(
    disk: &dyn Disk,
    numbers: &[u64],
    store_asked: bool,
    proof: Option<Proof>,
    verify_from: Offset,
) -> Result<Opened, LogError> {
    let headers = numbers.iter().map(|&n| read_header(disk, n)).collect::<Result<Vec<_>, _>>()?;
    let (Some(oldest), Some(newest)) = (headers.first(), headers.last()) else { panic!("a log has a segment") };
    check_headers(disk, &headers)?;
    check_proof(oldest, proof)?;

    // A cut at `verify_from` itself may stand in a segment before the one that begins there.
    let verified = headers.iter().rposition(|h| h.first < verify_from).unwrap_or(0);
    let (skipped, read) = headers.split_at(verified);
    let Some(first) = read.first() else { panic!("the last segment is always read") };
    let mut walk = Walk::from(first);
    let mut segments: VecDeque<_> = skipped.iter().map(|&h| Segment::new(h, h.bytes)).collect();
    for pair in read.windows(2) {
        let &[header, next] = pair else { continue };
        let position = walk.whole_segment(disk, header, next)?;
        segments.push_back(Segment::new(header, position));
    }
    let tail = match walk.last_segment(disk, *newest, store_asked, proof) {
        Ok(tail) => tail,
        Err(error) => {
            // The refusal is what matters; a copy left behind is removed by the next opening.
            let _ = disk.remove(COPY);
            return Err(error);
        }
    };
    segments.push_back(Segment::new(*newest, tail.position));
    let recovered = Recovered {
        id: newest.log,
        start: walk.start,
        first_bundle: walk.first_bundle,
        changes: walk.changes,
        begin: oldest.first,
        end: walk.end,
        cuts: walk.cuts,
        emits: walk.emits,
        mends: walk.mends,
        keys: walk.keys,
        ingest: walk.ingest,
        truncated_bytes: tail.truncated_bytes,
    };
    let Tail { file, position, .. } = tail;
    Ok(Opened { segments, file, position, crc: walk.crc, generation: walk.generation, recovered })
}

fn read_header(disk: &dyn Disk, number: u64) -> Result<SegmentHeader, LogError> {
    let name = segment::name(number);
    let io = |error| LogError::io(disk, &name, error);
    let file = disk.open(&name).map_err(io)?;
    let mut page = vec![0; ALIGN as usize];
    let got = file.read_at(0, &mut page).map_err(io)?;
    let header = SegmentHeader::decode(page.get(..got).unwrap_or_default()).map_err(|fault| match fault {
        HeaderFault::Damaged(why) => LogError::damaged(disk, &name, 0, why),
        HeaderFault::Version(found) => {
            let path = disk.path(&name);
            LogError::Mismatch(format!(
                "{path} has format {found}, and this caudal reads format {VERSION}: run the one that wrote it"
            ))
        }
    })?;
    if header.number != number {
        return Err(LogError::damaged(disk, &name, 0, "the segment has another one's name"));
    }
    let len = file.len().map_err(io)?;
    if len != header.bytes {
        let why = format!("the segment is {len} bytes long, and was made with {}", header.bytes);
        return Err(LogError::damaged(disk, &name, len.min(header.bytes), &why));
    }
    Ok(header)
}

fn check_headers(disk: &dyn Disk, headers: &[SegmentHeader]) -> Result<(), LogError> {
    for pair in headers.windows(2) {
        let &[before, after] = pair else { continue };
        let why = if before.log != after.log {
            "the segment is of another log"
        } else if before.first > after.first || before.ingest > after.ingest {
            "the segment does not follow on the one before it"
        } else {
            continue;
        };
        return Err(LogError::damaged(disk, &segment::name(after.number), 0, why));
    }
    Ok(())
}

fn check_proof(oldest: &SegmentHeader, proof: Option<Proof>) -> Result<(), LogError> {
    match proof {
        Some(proof) if proof.log != oldest.log => Err(LogError::Mismatch(format!(
            "the store's results are of log {}, and DATA_DIR holds log {}: use the store or the DATA_DIR that belongs to the other",
            proof.log, oldest.log
        ))),
        Some(proof) if proof.end < oldest.first => Err(LogError::Mismatch(format!(
            "the store has events up to offset {} only, and the log begins at {}: the store is older than DATA_DIR",
            proof.end, oldest.first
        ))),
        _ => Ok(()),
    }
}

/// What is behind the last good frame.
struct Tail {
    file: Arc<dyn DiskFile>,
    position: u64,
    truncated_bytes: u64,
}

impl Walk {
    fn from(first: &SegmentHeader) -> Self {
        let &SegmentHeader { first, generation, ingest, previous_crc, .. } = first;
        Self {
            end: first,
            crc: previous_crc,
            ingest,
            generation,
            start: None,
            first_bundle: None,
            changes: Vec::new(),
            cuts: Vec::new(),
            emits: Vec::new(),
            mends: Mends::default(),
            keys: Vec::new(),
        }
    }

    /// Takes in a good frame; an answer says why it cannot stand there.
    fn follow(&mut self, place: Place, frame: &Frame) -> Result<(), &'static str> {
        let header = frame.header;
        let follows = header.follows(self.end, self.crc) && header.ingest >= self.ingest;
        if !follows || header.synced_up_to != place.at || header.generation < self.generation {
            return Err("a frame does not follow on the one before it");
        }
        // Of which epoch something was said whose cut is still to come.
        let mut before_cut: Option<Epoch> = None;
        for record in frame.records().ok_or("a frame has unknown records")? {
            let of = match &record {
                Record::Cut(cut) => Some(cut.epoch),
                Record::Discards(discards) => Some(discards.epoch),
                Record::Config(config) => Some(config.epoch),
                Record::Slab(_)
                | Record::Emit(_)
                | Record::Start(_)
                | Record::Retries(_)
                | Record::Key(_)
                | Record::Trace(_) => None,
            };
            if before_cut.take().is_some_and(|epoch| of != Some(epoch)) {
                return Err(WITHOUT_CUT);
            }
            before_cut = of.filter(|_| !matches!(record, Record::Cut(_)));
            if !record.speaks_of(&(header.first..header.end())) {
                return Err("a record speaks of events that are none of its frame's");
            }
            match record {
                Record::Slab(_) | Record::Trace(_) => {}
                Record::Cut(cut) => self.cuts.push(cut),
                Record::Emit(epoch) => self.emits.push((epoch, header.end())),
                Record::Start(start) => {
                    self.first_bundle.get_or_insert_with(|| Arc::from(start.bundle.as_str()));
                    self.start = Some(start);
                }
                Record::Config(Config { epoch, bundle }) => {
                    let Some(start) = &mut self.start else { return Err("pipelines change before any START") };
                    bundle.as_ref().clone_into(&mut start.bundle);
                    self.changes.push((epoch, bundle));
                }
                Record::Retries(retries) => self.mends.retries.extend(retries),
                Record::Key(request) => self.keys.push(Logged { request, at: header.ingest }),
                Record::Discards(discards) => {
                    self.mends.discards.push(discards);
                }
            }
        }
        if before_cut.is_some() {
            return Err(WITHOUT_CUT);
        }
        (self.end, self.crc) = (header.end(), frame.crc);
        (self.ingest, self.generation) = (header.ingest, header.generation);
        Ok(())
    }

    /// Reads a segment that has a successor, so that all of it must be good. Gives the end of its frames.
    fn whole_segment(&mut self, disk: &dyn Disk, header: SegmentHeader, next: SegmentHeader) -> Result<u64, LogError> {
        let name = segment::name(header.number);
        let file = disk.open(&name).map_err(|e| LogError::io(disk, &name, e))?;
        let mut place = Place { log: header.log, segment: header.number, at: ALIGN };
        loop {
            let found = read_frame(&*file, place, header.bytes, None).map_err(|e| LogError::io(disk, &name, e))?;
            let fault = match found {
                Found::Frame(frame) => {
                    let followed = self.follow(place, &frame);
                    place.at += if followed.is_ok() { frame::padded(frame.bytes.len() as u64) } else { 0 };
                    followed.err()
                }
                Found::Passed(..) => panic!("recovery passes over no frame"),
                Found::End if (self.crc, self.end) == (next.previous_crc, next.first) => return Ok(place.at),
                Found::End => Some("the segment's last frames are missing"),
                Found::Bad(why) => Some(why),
            };
            if let Some(why) = fault {
                return Err(LogError::damaged(disk, &name, place.at, why));
            }
        }
    }

    /// Reads the last segment, decides about its tail, and puts a copy of its good part in its place: after a failed sync the page cache may show
    /// what is not on the disk, so only what was written and synced anew may be built upon.
    fn last_segment(
        &mut self,
        disk: &dyn Disk,
        header: SegmentHeader,
        store_asked: bool,
        proof: Option<Proof>,
    ) -> Result<Tail, LogError> {
        let name = segment::name(header.number);
        let io = |error| LogError::io(disk, &name, error);
        let copy_io = |error| LogError::io(disk, COPY, error);
        let old = disk.open(&name).map_err(io)?;
        let file = disk.create(COPY, header.bytes).map_err(|e| LogError::of_create(disk, COPY, e))?;
        header.write(&*file).map_err(copy_io)?;
        let mut place = Place { log: header.log, segment: header.number, at: ALIGN };
        let bad = loop {
            match read_frame(&*old, place, header.bytes, None).map_err(io)? {
                Found::Frame(frame) => {
                    self.follow(place, &frame).map_err(|why| LogError::damaged(disk, &name, place.at, why))?;
                    file.write_at(place.at, &mut [IoSlice::new(&frame.bytes)]).map_err(copy_io)?;
                    place.at += frame::padded(frame.bytes.len() as u64);
                }
                Found::Passed(..) => panic!("recovery passes over no frame"),
                Found::End => break None,
                Found::Bad(why) => break Some(why),
            }
        };
        let filled = refuse_good_frame_after(disk, &*old, place, header.bytes)?;
        let truncated_bytes = filled.saturating_sub(place.at);
        self.refuse_loss(disk, place, bad, truncated_bytes, proof)?;
        if truncated_bytes > 0 && !store_asked {
            return Err(LogError::Unproven { file: disk.path(&name) });
        }
        file.sync().map_err(copy_io)?;
        disk.rename(COPY, &name).map_err(io)?;
        disk.sync_directory().map_err(io)?;
        Ok(Tail { file, position: place.at, truncated_bytes })
    }

    /// The store has results of events only after they were on disk.
    fn refuse_loss(
        &self,
        disk: &dyn Disk,
        place: Place,
        bad: Option<&str>,
        truncated_bytes: u64,
        proof: Option<Proof>,
    ) -> Result<(), LogError> {
        let Some(proof) = proof.filter(|p| p.end > self.end) else { return Ok(()) };
        if truncated_bytes > 0 {
            let why = bad.unwrap_or("a frame is missing");
            let why = format!("{why}, and the store has results of events up to offset {}", proof.end);
            return Err(LogError::damaged(disk, &segment::name(place.segment), place.at, &why));
        }
        Err(LogError::Mismatch(format!(
            "the store has results of events up to offset {}, and the log ends at {}: DATA_DIR is an older copy, or has lost its end",
            proof.end, self.end
        )))
    }
}

/// Looks through what follows the last good frame. Gives the end of what is not zero there.
fn refuse_good_frame_after(disk: &dyn Disk, file: &dyn DiskFile, end: Place, limit: u64) -> Result<u64, LogError> {
    let name = segment::name(end.segment);
    let io = |error| LogError::io(disk, &name, error);
    let (mut at, mut filled) = (end.at, end.at);
    let mut piece = vec![0; TAIL_PIECE_BYTES.min(usize::try_from(limit - end.at.min(limit)).unwrap_or(usize::MAX))];
    while at < limit {
        let got = file.read_at(at, &mut piece).map_err(io)?;
        if got == 0 {
            break;
        }
        for page in piece.get(..got).unwrap_or_default().chunks(ALIGN as usize) {
            if let Some(last) = last_filled(page) {
                filled = at + last as u64 + 1;
                let place = Place { at, ..end };
                if matches!(read_frame(file, place, limit, None).map_err(io)?, Found::Frame(_)) {
                    let why = format!("no good frame is here, and one follows at byte {at}");
                    return Err(LogError::damaged(disk, &name, end.at, &why));
                }
            }
            at += page.len() as u64;
        }
    }
    Ok(filled)
}

/// Where a page's last byte stands that is not zero.
fn last_filled(page: &[u8]) -> Option<usize> {
    const ZEROS: [u8; ALIGN as usize] = [0; ALIGN as usize];
    // Nearly all pages are all zeros, and comparing is far faster than looking at each byte.
    if ZEROS.starts_with(page) { None } else { page.iter().rposition(|&b| b != 0) }
}
