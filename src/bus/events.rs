//! The valid events of one topic, out of the log's slabs. Rules 1 to 7 of `docs/semantics.md` decide, by `core::decode`: all else is a dead letter.

use std::sync::Arc;

use bytes::Bytes;

use crate::bus::error::BusError;
use crate::core::columns::Slab;
use crate::core::decode::Decoder;
use crate::core::trace::{Trace, Traced};
use crate::core::units::{Millis, Offset, TopicId};
use crate::log::{Access, Reader};

/// A slab is decoded in pieces of about this size, so that few events cost little.
const PIECE_BYTES: usize = 64 << 10;

/// An event as the log has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    pub offset: Offset,
    pub received: Millis,
    /// Its line, without the line's end; it keeps its frame in memory.
    pub line: Bytes,
    /// Of the request that it came with.
    pub trace: Option<Trace>,
}

/// Where a run ends at the latest; it always gets on, by one event or one piece at least.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    pub events: usize,
    /// Of the events; the one that passes it is the last.
    pub bytes: usize,
    /// Of what is looked through for them.
    pub scanned: usize,
    /// Only events before this offset.
    pub until: Offset,
}

/// Events that follow on each other in their topic.
#[derive(Clone, Debug)]
pub struct Run {
    pub events: Vec<Event>,
    /// All of the topic's events before this offset were given, by this run or those before it.
    pub end: Offset,
    /// A limit ended it, not the log.
    pub more: bool,
}

/// Gives a topic's events in order. It may be sent to other threads, and it reads from the disk.
pub struct Events {
    access: Access,
    reader: Reader,
    decoder: Arc<Decoder>,
    topic: TopicId,
    /// Everything before it was given.
    at: Offset,
    /// What is left of the newest slab; it begins at `at` or before it.
    rest: Option<Slab>,
    /// Those of its frame.
    traces: Vec<Traced>,
}

impl Events {
    pub(super) fn new(access: Access, decoder: Arc<Decoder>, topic: TopicId, from: Offset) -> Self {
        Self { reader: access.reader(from), access, decoder, topic, at: from, rest: None, traces: Vec::new() }
    }

    /// Everything before it was given.
    #[must_use]
    pub fn at(&self) -> Offset {
        self.at
    }

    /// Keeps nothing of the log in memory; what comes next is read anew.
    pub fn let_go(&mut self) {
        self.rest = None;
        self.reader.let_go(self.at);
    }

    /// The next events, up to a limit or to where the log ends now.
    ///
    /// # Errors
    /// `Gone`, `Log`. Nothing is passed over: the next run begins where this one did.
    pub fn next_run(&mut self, limits: &Limits) -> Result<Run, BusError> {
        let begin = self.at;
        let mut run = Run { events: Vec::new(), end: begin, more: true };
        let (mut bytes, mut scanned) = (0, 0);
        while self.at < limits.until && scanned < limits.scanned {
            let piece = match self.piece() {
                Ok(Some(piece)) => piece,
                Ok(None) => {
                    run.more = false;
                    break;
                }
                Err(error) => {
                    (self.at, self.rest) = (begin, None);
                    self.reader = self.access.reader(begin);
                    return Err(error);
                }
            };
            scanned += piece.bytes.len();
            let full = self.take(&piece, limits, &mut bytes, &mut run.events);
            if full || run.events.len() >= limits.events || bytes >= limits.bytes {
                break;
            }
        }
        run.end = self.at.min(limits.until);
        Ok(run)
    }

    /// Moves the events of the piece that are asked for into `into`; whether a limit ended that.
    fn take(&mut self, piece: &Slab, limits: &Limits, bytes: &mut usize, into: &mut Vec<Event>) -> bool {
        let end = piece.end();
        if piece.topic.is_none_or(|topic| topic == self.topic) {
            let columns = self.decoder.decode(piece).columns;
            for ((&offset, &topic), &(start, length)) in columns.offset.iter().zip(&columns.topic).zip(&columns.line) {
                if topic != self.topic || offset < self.at || offset >= limits.until {
                    continue;
                }
                if into.len() >= limits.events || *bytes >= limits.bytes {
                    self.at = offset;
                    return true;
                }
                let line = piece.bytes.slice(start as usize..(start + length) as usize);
                *bytes += line.len();
                let trace = Traced::of(&self.traces, offset).cloned();
                into.push(Event { offset, received: piece.ingest, line, trace });
            }
        }
        self.at = end.max(self.at);
        self.at >= limits.until
    }

    /// The slab's next lines from `at` on; all of it where it is another topic's. None at the log's end.
    fn piece(&mut self) -> Result<Option<Slab>, BusError> {
        loop {
            let Some(slab) = &mut self.rest else {
                match self.reader.next_slab() {
                    Ok(Some(slab)) => {
                        self.traces = self.reader.traces().to_vec();
                        self.rest = Some(slab);
                    }
                    Ok(None) => return Ok(None),
                    Err(error) => return Err(BusError::of(error, self.at, &self.access)),
                }
                continue;
            };
            if slab.end() <= self.at {
                self.rest = None;
                continue;
            }
            let given = self.at.0.saturating_sub(slab.first_offset.0) as usize;
            skip(slab, given);
            let other = slab.topic.is_some_and(|topic| topic != self.topic);
            return Ok(Some(if other { slab.clone() } else { front(slab) }));
        }
    }
}

/// Takes so many lines away from the slab's front; it has more.
pub(super) fn skip(slab: &mut Slab, lines: usize) {
    let Some(last) = lines.checked_sub(1) else { return };
    let ends = memchr::memchr_iter(b'\n', &slab.bytes).nth(last);
    let begin = ends.map_or(slab.bytes.len(), |end| end + 1);
    slab.bytes = slab.bytes.slice(begin..);
    slab.first_offset.0 += lines as u64;
    slab.count -= lines as u32;
}

/// The slab's first lines: about a piece of them, one at least.
fn front(slab: &Slab) -> Slab {
    let bytes = &slab.bytes;
    let within = bytes.get(..PIECE_BYTES).and_then(|part| memchr::memrchr(b'\n', part));
    let end = match within {
        Some(end) => end + 1,
        None if bytes.len() <= PIECE_BYTES => bytes.len(),
        None => memchr::memchr(b'\n', bytes).map_or(bytes.len(), |end| end + 1),
    };
    let bytes = bytes.slice(..end);
    let count = if end == slab.bytes.len() { slab.count } else { memchr::memchr_iter(b'\n', &bytes).count() as u32 };
    Slab { count, bytes, ..slab.clone() }
}
