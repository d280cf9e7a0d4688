//! Reads cuts beside the writer, for whoever follows epochs that are logged already.

use std::collections::VecDeque;

use crate::core::epoch::Cut;
use crate::log::{LogError, Reader, Record};

/// Gives cuts in order. A cut stands somewhere behind the slabs that it ends, so those are read by another reader.
pub struct Cuts {
    reader: Reader,
    ready: VecDeque<Cut>,
}

impl Cuts {
    pub(super) fn new(reader: Reader) -> Self {
        Self { reader, ready: VecDeque::new() }
    }

    /// The next cut; None where the log, as appended so far, has no further one. A later call sees what was appended since.
    ///
    /// # Errors
    /// As `Reader::next_slab`.
    pub fn next_cut(&mut self) -> Result<Option<Cut>, LogError> {
        loop {
            if let Some(cut) = self.ready.pop_front() {
                return Ok(Some(cut));
            }
            let Some(records) = self.reader.next_records()? else { return Ok(None) };
            self.ready
                .extend(records.into_iter().filter_map(|r| if let Record::Cut(cut) = r { Some(cut) } else { None }));
        }
    }
}
