//! What the generator did: a bounded list, newest first, over all its runs.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};

use serde::Serialize;

use crate::core::time;
use crate::core::units::Millis;
use crate::web::views::Raw;

/// Older entries are forgotten.
pub const ENTRIES_MAX: u32 = 1_000;
/// Of an example: all entries together stay small.
pub const EXAMPLE_BYTES_MAX: usize = 2 << 10;

#[derive(Default)]
pub struct Log(Mutex<VecDeque<Entry>>);

/// Something that the generator did.
#[derive(Clone, Debug, PartialEq)]
pub struct Entry {
    pub at: Millis,
    pub did: Did,
}

#[derive(Clone, Debug, PartialEq)]
pub enum Did {
    Started {
        rate: f64,
        seed: u64,
    },
    /// Events of one topic, all of them accepted.
    Sent {
        topic: String,
        count: u32,
        first_offset: u64,
        example: Option<Vec<u8>>,
    },
    /// None of them was.
    Refused {
        topic: String,
        count: u32,
        why: String,
    },
    Stopped,
}

impl Log {
    pub fn add(&self, at: Millis, did: Did) {
        let mut entries = self.entries();
        if entries.len() >= ENTRIES_MAX as usize {
            entries.pop_front();
        }
        entries.push_back(Entry { at, did });
    }

    /// The newest entries, newest first.
    pub fn newest(&self, limit: u32) -> Vec<Entry> {
        self.entries().iter().rev().take(limit as usize).cloned().collect()
    }

    fn entries(&self) -> MutexGuard<'_, VecDeque<Entry>> {
        // Entries are put in whole.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// An entry in an answer.
#[derive(Serialize)]
pub struct EntryView<'a> {
    at: String,
    did: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    rate: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    seed: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    topic: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    events: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    first_offset: Option<u64>,
    /// The first of the events.
    #[serde(skip_serializing_if = "Option::is_none")]
    event: Option<Raw<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    why: Option<&'a str>,
}

impl<'a> EntryView<'a> {
    pub fn of(entry: &'a Entry) -> Self {
        let at = time::format(entry.at.micros());
        let bare = |did| Self {
            at,
            did,
            rate: None,
            seed: None,
            topic: None,
            events: None,
            first_offset: None,
            event: None,
            why: None,
        };
        match &entry.did {
            Did::Started { rate, seed } => Self { rate: Some(*rate), seed: Some(*seed), ..bare("started") },
            Did::Sent { topic, count, first_offset, example } => Self {
                topic: Some(topic),
                events: Some(*count),
                first_offset: Some(*first_offset),
                event: example.as_deref().map(Raw::of),
                ..bare("sent")
            },
            Did::Refused { topic, count, why } => {
                Self { topic: Some(topic), events: Some(*count), why: Some(why), ..bare("refused") }
            }
            Did::Stopped => bare("stopped"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_keeps_the_newest() {
        let log = Log::default();
        for at in 0..u64::from(ENTRIES_MAX) + 5 {
            log.add(Millis(at), Did::Stopped);
        }
        let kept = log.newest(u32::MAX);
        assert_eq!((kept.len(), kept[0].at), (ENTRIES_MAX as usize, Millis(u64::from(ENTRIES_MAX) + 4)));
        assert_eq!(log.newest(2).iter().map(|entry| entry.at.0).collect::<Vec<_>>(), [1_004, 1_003]);
    }
}
