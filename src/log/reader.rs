//! Reads slabs beside the writer. It sees what is synced, and nothing else; what it has read is not read again.

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;

use crate::core::columns::Slab;
use crate::core::trace::Traced;
use crate::core::units::{LogId, Millis, Offset};
use crate::log::disk::{Disk, DiskFile};
use crate::log::frame::{self, ALIGN, Frame, FrameHeader, Place};
use crate::log::segment::{self, Found, Segment, SegmentHeader, Segments, read_frame};
use crate::log::{LogError, Record};

/// Reads slabs in order. It is Send, and holds no lock on the writer.
pub struct Reader {
    disk: Arc<dyn Disk>,
    segments: Arc<Segments>,
    log: LogId,
    from: Offset,
    /// The log's end when the reader was made.
    made_at: Offset,
    at: Option<Standing>,
    /// Where it stood before it read the newest frame; None: in no segment yet.
    before: Option<Standing>,
    /// It has read a frame since it let go last.
    has_read: bool,
    /// Slabs of the frame read last that were not asked for yet.
    ready: VecDeque<Slab>,
    /// What the same frame says of traces.
    traces: Vec<Traced>,
}

/// Where it stands: before the frame at `position`; the frames before it end with `end` and `crc`.
#[derive(Clone)]
struct Standing {
    segment: Arc<Segment>,
    file: Arc<dyn DiskFile>,
    position: u64,
    end: Offset,
    crc: u32,
}

/// A frame that was gone over.
enum Step {
    Read(Place, Frame),
    /// Its events lie before what is asked for: what it says of itself, unchecked.
    Passed(FrameHeader),
}

impl Reader {
    pub(super) fn new(disk: Arc<dyn Disk>, segments: Arc<Segments>, log: LogId, from: Offset, made_at: Offset) -> Self {
        Self {
            disk,
            segments,
            log,
            from,
            made_at,
            at: None,
            before: None,
            has_read: false,
            ready: VecDeque::new(),
            traces: Vec::new(),
        }
    }

    /// The number of events in the log when the reader was made.
    #[must_use]
    pub fn made_at(&self) -> Offset {
        self.made_at
    }

    /// Passes over the slabs that end at or before `from`, which is not before what was asked for until now.
    pub fn skip_to(&mut self, from: Offset) {
        assert!(from >= self.from, "a reader does not go back from {} to {from}", self.from);
        self.from = from;
        self.ready.retain(|s| s.end() > from);
        // If it is in a segment before that one, it need not go through those between them.
        let holding = self.segments.holding(from);
        if self.at.as_ref().zip(holding).is_some_and(|(at, holding)| at.segment.header.number < holding.header.number) {
            (self.at, self.before) = (None, None);
        }
    }

    /// The next slab with events from `from` on; None where the log, as appended so far, ends. A later call sees what was appended since.
    ///
    /// # Errors
    /// `Damaged`, `Io`; `Mismatch` where the offset is no longer retained.
    pub fn next_slab(&mut self) -> Result<Option<Slab>, LogError> {
        loop {
            if let Some(slab) = self.ready.pop_front() {
                return Ok(Some(slab));
            }
            let Some((place, frame)) = self.next_frame()? else { return Ok(None) };
            let records = self.records(place, &frame)?;
            self.traces.clear();
            for record in records {
                match record {
                    Record::Slab(slab) if slab.end() > self.from => self.ready.push_back(slab),
                    Record::Trace(traced) => self.traces.push(traced),
                    _ => {}
                }
            }
        }
    }

    /// The traces of the frame that the slab is of which was given last.
    #[must_use]
    pub fn traces(&self) -> &[Traced] {
        &self.traces
    }

    /// All records of the next frame of a segment that holds `from`, or a later one.
    pub(super) fn next_records(&mut self) -> Result<Option<Vec<Record>>, LogError> {
        match self.step(None)? {
            Some(Step::Read(place, frame)) => self.records(place, &frame).map(Some),
            Some(Step::Passed(_)) => panic!("no frame was to be passed over"),
            None => Ok(None),
        }
    }

    fn records(&self, place: Place, frame: &Frame) -> Result<Vec<Record>, LogError> {
        frame.records().ok_or_else(|| self.damaged(place, "a frame has unknown records"))
    }

    /// Keeps no slab in memory: what is asked for next, from `from` on, is read anew. It is not before the slab that was given last.
    pub fn let_go(&mut self, from: Offset) {
        self.from = self.from.max(from);
        self.ready.clear();
        if self.has_read {
            (self.at, self.has_read) = (self.before.take(), false);
        }
    }

    /// The first offset of the first frame from here on that was taken in at `time` or later; where there is none, the log's end.
    pub(super) fn first_at(mut self, time: Millis) -> Result<Offset, LogError> {
        while let Some(step) = self.step(Some(Offset(u64::MAX)))? {
            let header = match step {
                Step::Read(_, frame) => frame.header,
                Step::Passed(header) => header,
            };
            if header.ingest >= time {
                return Ok(header.first);
            }
        }
        Ok(self.at.map_or(self.from, |at| at.end))
    }

    fn next_frame(&mut self) -> Result<Option<(Place, Frame)>, LogError> {
        loop {
            let before = self.at.clone();
            match self.step(Some(self.from))? {
                None => return Ok(None),
                Some(Step::Passed(_)) => {}
                Some(Step::Read(place, frame)) => {
                    (self.before, self.has_read) = (before, true);
                    return Ok(Some((place, frame)));
                }
            }
        }
    }

    /// Goes over one frame; if its events all lie before `from`, only its header is read.
    fn step(&mut self, from: Option<Offset>) -> Result<Option<Step>, LogError> {
        loop {
            let Some(at) = &mut self.at else {
                let segment = self.segments.holding(self.from).ok_or_else(|| gone(self.from))?;
                self.enter(segment)?;
                continue;
            };
            let synced = at.segment.synced();
            if at.position < synced {
                match self.read(synced, from)? {
                    Some(read) => return Ok(Some(read)),
                    None => continue,
                }
            }
            let number = at.segment.header.number + 1;
            let next = self.segments.numbered(number);
            // The writer may have appended here before it went on to the next segment, and after `synced` was read.
            if at.position < at.segment.synced() {
                continue;
            }
            match next {
                Some(segment) => self.enter(segment)?,
                None if self.segments.lock().front().is_some_and(|s| s.header.number > number) => {
                    return Err(gone(at.end));
                }
                None => return Ok(None),
            }
        }
    }

    fn enter(&mut self, segment: Arc<Segment>) -> Result<(), LogError> {
        let name = segment::name(segment.header.number);
        let file = match self.disk.open(&name) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Err(gone(segment.header.first)),
            Err(error) => return Err(LogError::io(&*self.disk, &name, error)),
        };
        let SegmentHeader { first: end, previous_crc: crc, .. } = segment.header;
        self.at = Some(Standing { segment, file, position: ALIGN, end, crc });
        Ok(())
    }

    /// Goes over the frame that must be here. None if a segment of which opening read the header alone turns out to have no more of them.
    fn read(&mut self, synced: u64, from: Option<Offset>) -> Result<Option<Step>, LogError> {
        let Some(at) = &mut self.at else { panic!("the reader stands in a segment") };
        let number = at.segment.header.number;
        let place = Place { log: self.log, segment: number, at: at.position };
        let found = read_frame(&*at.file, place, synced, from);
        let found = found.map_err(|e| LogError::io(&*self.disk, &segment::name(number), e))?;
        let why = match found {
            Found::Frame(frame) if frame.header.follows(at.end, at.crc) => {
                at.position += frame::padded(frame.bytes.len() as u64);
                (at.end, at.crc) = (frame.header.end(), frame.crc);
                return Ok(Some(Step::Read(place, frame)));
            }
            Found::Passed(len, header, crc) if header.follows(at.end, at.crc) => {
                at.position += frame::padded(len);
                (at.end, at.crc) = (header.end(), crc);
                return Ok(Some(Step::Passed(header)));
            }
            Found::End => {
                let next = self.segments.numbered(number + 1).map(|s| s.header);
                if next.is_some_and(|next| (next.first, next.previous_crc) == (at.end, at.crc)) {
                    at.position = synced;
                    return Ok(None);
                }
                "a frame is missing"
            }
            Found::Frame(_) | Found::Passed(..) => "a frame does not follow on the one before it",
            Found::Bad(why) => why,
        };
        Err(self.damaged(place, why))
    }

    fn damaged(&self, place: Place, why: &str) -> LogError {
        LogError::damaged(&*self.disk, &segment::name(place.segment), place.at, why)
    }
}

fn gone(offset: Offset) -> LogError {
    LogError::Mismatch(format!("offset {offset} is no longer retained"))
}
