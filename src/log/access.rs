//! The log for those who read and do not have it: where it begins and ends, readers, and the offset at which a time is.

use std::ops::Range;
use std::sync::Arc;

use crate::core::units::{Epoch, LogId, Millis, Offset};
use crate::log::disk::Disk;
use crate::log::segment::{SegmentHeader, Segments};
use crate::log::{Cuts, LogError, Reader};

/// Segments that may be deleted under a search for a time before it is given up.
const SEARCHES_MAX: usize = 5;

/// Reads beside the writer. Clones see the same log.
#[derive(Clone)]
pub struct Access {
    disk: Arc<dyn Disk>,
    segments: Arc<Segments>,
    log: LogId,
}

impl Access {
    pub(super) fn new(disk: Arc<dyn Disk>, segments: Arc<Segments>, log: LogId) -> Self {
        Self { disk, segments, log }
    }

    /// The first offset that is still retained.
    #[must_use]
    pub fn begin(&self) -> Offset {
        self.segments.lock().front().map_or_else(|| self.end(), |s| s.header.first)
    }

    /// Whether every event that was taken in at `time` or later is retained.
    #[must_use]
    pub fn has_all_since(&self, time: Millis) -> bool {
        // A header tells the time of the frame before it.
        let is_all = |header: &SegmentHeader| header.first == Offset(0) || header.ingest < time;
        self.segments.lock().front().is_none_or(|oldest| is_all(&oldest.header))
    }

    /// The number of events that are on disk.
    #[must_use]
    pub fn end(&self) -> Offset {
        self.segments.end()
    }

    /// The segments that get no more events, by their offsets; those without any are left out.
    #[must_use]
    pub fn sealed(&self) -> Vec<Range<Offset>> {
        let firsts: Vec<Offset> = self.segments.lock().iter().map(|segment| segment.header.first).collect();
        let spans = firsts.iter().zip(firsts.iter().skip(1)).map(|(first, next)| *first..*next);
        spans.filter(|span| span.start < span.end).collect()
    }

    /// Reads from the segment that holds `from`, up to what has been appended so far.
    #[must_use]
    pub fn reader(&self, from: Offset) -> Reader {
        Reader::new(self.disk.clone(), self.segments.clone(), self.log, from, self.end())
    }

    /// Reads the cuts from the beginning of the segment that holds `from`.
    #[must_use]
    pub fn cuts(&self, from: Offset) -> Cuts {
        Cuts::new(self.reader(from))
    }

    /// The last epoch that ends before this event, and its end: where the epochs that are retained begin, at the earliest.
    ///
    /// # Errors
    /// `Damaged`, `Io`; `Mismatch` where segments are deleted meanwhile, or no whole epoch is retained.
    pub fn epoch_before(&self, event: Offset) -> Result<(Epoch, Offset), LogError> {
        let begins: Vec<Offset> = self.segments.lock().iter().map(|segment| segment.header.first).collect();
        for &begin in begins.iter().rev().filter(|begin| **begin <= event) {
            let (mut cuts, mut last) = (self.cuts(begin), None);
            while let Some(cut) = cuts.next_cut()?.filter(|cut| cut.end <= event) {
                last = Some((cut.epoch, cut.end));
            }
            // A cut may stand behind the beginning of its segment, and its epoch end before it.
            if let Some(last) = last.filter(|(_, end)| *end >= self.begin()) {
                return Ok(last);
            }
        }
        if self.begin() == Offset(0) {
            return Ok((Epoch(0), Offset(0)));
        }
        let mut cuts = self.cuts(self.begin());
        while let Some(cut) = cuts.next_cut()? {
            if cut.end >= self.begin() {
                return Ok((cut.epoch, cut.end));
            }
        }
        Err(LogError::Mismatch("no whole epoch is retained".to_owned()))
    }

    /// The first event that was taken in at `time` or later: the log's end where there is none, the first retained where all were. Only headers are
    /// read, those of one segment's frames at most.
    ///
    /// # Errors
    /// `Damaged`, `Io`; `Mismatch` where segments are deleted faster than they are searched.
    pub fn first_at(&self, time: Millis) -> Result<Offset, LogError> {
        let mut found = self.search(time);
        for _ in 1..SEARCHES_MAX {
            if !matches!(found, Err(LogError::Mismatch(_))) {
                break;
            }
            found = self.search(time);
        }
        found
    }

    fn search(&self, time: Millis) -> Result<Offset, LogError> {
        let begins = {
            let segments = self.segments.lock();
            // A header tells the time of the frame before it: whatever lies before this segment is older.
            let last = segments.iter().rev().find(|s| s.header.ingest < time).or(segments.front());
            last.map(|s| s.header.first)
        };
        match begins {
            Some(from) => self.reader(from).first_at(time),
            None => Ok(self.end()),
        }
    }
}
