//! Single events out of the log, by their offsets.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::bus::error::BusError;
use crate::bus::{Limits, Source};
use crate::core::columns::Slab;
use crate::core::decode::Decoder;
use crate::core::plan::Plan;
use crate::core::trace::{Trace, Traced};
use crate::core::units::{Micros, Millis, Offset, TopicId};
use crate::log::LogError;

/// An event as the log has it, and as the pipelines read it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fetched {
    pub offset: Offset,
    pub received: Millis,
    /// Its line, without the line's end; a copy, so that it does not keep its frame in memory.
    pub line: Vec<u8>,
    /// None: the pipelines, as they are now, refuse it.
    pub read: Option<Read>,
    /// Of the request that it came with.
    pub trace: Option<Trace>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Read {
    pub topic: TopicId,
    pub time: Micros,
    /// Its id; None where its topic has none.
    pub id: Option<String>,
}

impl Source {
    /// The events at these offsets, which ascend: all of them, or the first ones where a limit ends it, one at least.
    ///
    /// # Errors
    /// `Starting`, `Gone`, `Ahead`, `Log`.
    pub fn fetch(&self, plan: &Arc<Plan>, offsets: &[Offset], limits: &Limits) -> Result<Vec<Fetched>, BusError> {
        let Some(&first) = offsets.first() else { return Ok(Vec::new()) };
        let (access, decoder) = (self.access()?, self.decoder(plan));
        self.retained(first)?;
        let mut reader = access.reader(first);
        let mut slab: Option<Slab> = None;
        let mut fetched: Vec<Fetched> = Vec::new();
        let (mut bytes, mut scanned) = (0, 0);
        for &offset in offsets.iter().take_while(|offset| **offset < limits.until).take(limits.events) {
            if bytes >= limits.bytes || scanned >= limits.scanned {
                break;
            }
            let holds = |slab: &Slab| (slab.first_offset..slab.end()).contains(&offset);
            if !slab.as_ref().is_some_and(holds) {
                reader.skip_to(offset);
                slab = reader.next_slab().map_err(|error| match error {
                    LogError::Mismatch(_) => BusError::Gone { asked: offset, oldest: access.begin() },
                    error => BusError::Log(error),
                })?;
                scanned += slab.as_ref().map_or(0, |slab| slab.bytes.len());
            }
            let Some(slab) = slab.as_ref().filter(|slab| holds(slab)) else {
                return Err(BusError::Ahead { asked: offset, end: access.end() });
            };
            let trace = Traced::of(reader.traces(), offset).cloned();
            let event = event(&decoder, slab, offset, trace);
            bytes += event.line.len();
            fetched.push(event);
        }
        Ok(fetched)
    }
}

impl Source {
    /// The traces of the events at these offsets, which ascend, as far as the log still has them.
    ///
    /// # Errors
    /// `Log`.
    pub fn traces(&self, offsets: &[Offset]) -> Result<BTreeMap<Offset, Trace>, BusError> {
        let mut found = BTreeMap::new();
        let Ok(access) = self.access() else { return Ok(found) };
        let mut retained = offsets.iter().copied().skip_while(|offset| *offset < access.begin()).peekable();
        let Some(&first) = retained.peek() else { return Ok(found) };
        let mut reader = access.reader(first);
        let mut read_to = first;
        for offset in retained {
            if offset >= read_to {
                reader.skip_to(offset);
                match reader.next_slab() {
                    Ok(Some(slab)) => read_to = slab.end(),
                    // Its segment went meanwhile, or it is not there yet.
                    Ok(None) | Err(LogError::Mismatch(_)) => return Ok(found),
                    Err(error) => return Err(BusError::Log(error)),
                }
            }
            found.extend(Traced::of(reader.traces(), offset).map(|trace| (offset, trace.clone())));
        }
        Ok(found)
    }
}

/// The slab has it.
fn event(decoder: &Decoder, slab: &Slab, offset: Offset, trace: Option<Trace>) -> Fetched {
    let line = (offset.0 - slab.first_offset.0) as usize;
    let ends = || memchr::memchr_iter(b'\n', &slab.bytes);
    let begin = line.checked_sub(1).and_then(|before| ends().nth(before)).map_or(0, |end| end + 1);
    let end = ends().nth(line).unwrap_or(slab.bytes.len());
    let alone = Slab {
        first_offset: offset,
        count: 1,
        bytes: slab.bytes.slice(begin..slab.bytes.len().min(end + 1)),
        ..slab.clone()
    };
    let columns = decoder.decode(&alone).columns;
    let line = slab.bytes.get(begin..end).unwrap_or_default().to_vec();
    let read = columns.topic.first().zip(columns.time.first());
    let read = read.map(|(&topic, &time)| Read { topic, time, id: decoder.id_text(topic, &line) });
    Fetched { offset, received: slab.ingest, line, read, trace }
}
