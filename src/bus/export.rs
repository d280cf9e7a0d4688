//! All of the log's events, whatever becomes of them, as lines that a batch reads: the topic's name, a tab, the event. `docs/batch.md` has the format.

use bytes::Bytes;

use crate::bus::error::BusError;
use crate::bus::events::skip;
use crate::core::columns::Slab;
use crate::core::plan::Plan;
use crate::core::units::Offset;
use crate::log::{Access, Reader};

/// Gives the events of a range of offsets, one a line. It may be sent to other threads, and it reads from the disk.
pub struct Export {
    access: Access,
    reader: Reader,
    /// Everything before it was given.
    at: Offset,
    until: Offset,
}

impl Export {
    pub(super) fn new(access: &Access, from: Offset, until: Offset) -> Self {
        Self { reader: access.reader(from), access: access.clone(), at: from, until }
    }

    #[must_use]
    pub fn until(&self) -> Offset {
        self.until
    }

    /// Everything before it was given.
    #[must_use]
    pub fn at(&self) -> Offset {
        self.at
    }

    /// Keeps nothing of the log in memory; what comes next is read anew.
    pub fn let_go(&mut self) {
        self.reader.let_go(self.at);
    }

    /// The lines of the next slab; none at the end. A line that names no topic has its event name it.
    ///
    /// # Errors
    /// `Gone`, `Log`.
    pub fn next_lines(&mut self, plan: &Plan) -> Result<Option<Bytes>, BusError> {
        if self.at >= self.until {
            return Ok(None);
        }
        let slab = self.reader.next_slab().map_err(|error| BusError::of(error, self.at, &self.access))?;
        let Some(mut slab) = slab else { return Ok(None) };
        let given = self.at.0.saturating_sub(slab.first_offset.0) as usize;
        skip(&mut slab, given);
        let left = self.until.0 - slab.first_offset.0;
        let lines = u32::try_from(left).unwrap_or(u32::MAX).min(slab.count);
        self.at = Offset(slab.first_offset.0 + u64::from(lines));
        let topic = slab.topic.and_then(|topic| plan.topics.get(usize::from(topic.0)));
        Ok(Some(addressed(&slab, topic.map_or("", |topic| &topic.name), lines)))
    }
}

/// The slab's first lines, each with the topic's name before it.
fn addressed(slab: &Slab, topic: &str, lines: u32) -> Bytes {
    let mut text = Vec::with_capacity(slab.bytes.len() + lines as usize * (topic.len() + 1));
    for line in slab.bytes.split_inclusive(|&byte| byte == b'\n').take(lines as usize) {
        text.extend_from_slice(topic.as_bytes());
        text.push(b'\t');
        text.extend_from_slice(line);
    }
    text.into()
}
