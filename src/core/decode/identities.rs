//! The ids in a slab's lines and nothing else of them: for an index of the log. What the schema says does not matter; a line that is no JSON has no ids.

use std::sync::Arc;

use xxhash_rust::xxh3::{xxh3_64, xxh3_128_with_seed};

use crate::core::columns::{EventId, Slab};
use crate::core::decode::program::{CaptureId, Program, Wanted};
use crate::core::decode::walk::{Capture, Scratch, walk};
use crate::core::decode::{Decoder, capture, lines};
use crate::core::emit::ID;
use crate::core::plan::{FieldPath, Plan, TopicPlan};
use crate::core::schema::uuid;
use crate::core::units::{Offset, TopicId};

/// What is looked for: an event's own id, or the one that it shares with others.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    Event,
    Correlation,
}

/// Finds ids. Shared by threads.
#[derive(Debug)]
pub struct Identities {
    decoder: Decoder,
    /// By topic.
    readers: Vec<Reader>,
}

#[derive(Debug)]
struct Reader {
    program: Program,
    id: Option<CaptureId>,
    correlation: Option<CaptureId>,
}

/// The id that a text is: a UUID, in whatever way it is written, or a hash.
#[must_use]
pub fn identity(text: &[u8], key: u64) -> EventId {
    EventId(uuid(text).unwrap_or_else(|| xxh3_128_with_seed(text, key)))
}

/// 64 bits that are the same for ids that are.
#[must_use]
pub fn fingerprint(text: &[u8]) -> u64 {
    // A key tells hashes of different logs apart, and an index is of one log.
    xxh3_64(&identity(text, 0).0.to_le_bytes())
}

impl Identities {
    #[must_use]
    pub fn new(plan: &Arc<Plan>) -> Self {
        let (topic, mut orders) = (FieldPath::top(&plan.topic_field), 0);
        let reader = |of: &TopicPlan| {
            let mut paths = vec![topic.clone()];
            // What the job makes itself has its id there.
            let id = of.emitted.map_or_else(|| of.id.clone(), |_| Some(FieldPath::top(ID)));
            let id = id.map(|path| capture(&mut paths, &path));
            let correlation = of.correlation.as_ref().map(|path| capture(&mut paths, path));
            let program = Program::new(&Wanted { shape: None, paths: &paths }, orders);
            orders = program.orders;
            Reader { program, id, correlation }
        };
        let readers = plan.topics.iter().map(reader).collect();
        Self { decoder: Decoder::new(Arc::clone(plan), 0), readers }
    }

    /// Another one for a plan by which other ids are found.
    #[must_use]
    pub fn version(&self) -> u64 {
        let of_topic = |topic: &TopicPlan| {
            format!("{:?} {:?} {:?} {}", topic.name, topic.id, topic.correlation, topic.emitted.is_some())
        };
        let plan = &self.decoder.plan;
        let topics: Vec<String> = plan.topics.iter().map(of_topic).collect();
        xxh3_64(format!("{:?} {topics:?}", plan.topic_field).as_bytes())
    }

    /// Tells of each id of the slab's events: the fingerprint of its text.
    pub fn each(&self, slab: &Slab, mut found: impl FnMut(Offset, Kind, u64)) {
        let (mut scratch, mut nameless, mut room) = (Scratch::default(), Scratch::default(), Vec::new());
        for (offset, (start, length)) in lines(slab) {
            let line = slab.bytes.get(start as usize..(start + length) as usize).unwrap_or_default();
            let Some(reader) = self.read(slab.topic, line, &mut scratch, &mut nameless) else { continue };
            for (kind, capture) in [(Kind::Event, reader.id), (Kind::Correlation, reader.correlation)] {
                if let Some(Capture::Text(text, _)) = capture.and_then(|capture| scratch.captures.get(capture)) {
                    found(offset, kind, fingerprint(text.plain(line, &mut room)));
                }
            }
        }
    }

    /// The reader of the line's topic; what it captured is in `scratch`.
    fn read(
        &self,
        topic: Option<TopicId>,
        line: &[u8],
        scratch: &mut Scratch,
        nameless: &mut Scratch,
    ) -> Option<&Reader> {
        let likely = topic.or_else(|| self.decoder.guess(line));
        if let Some(reader) = likely.and_then(|topic| self.readers.get(usize::from(topic.0))) {
            walk(line, &reader.program, scratch).ok()?;
            let named = || self.decoder.named(line, scratch).ok();
            if topic.is_some() || named() == likely {
                return Some(reader);
            }
        }
        walk(line, &self.decoder.nameless, nameless).ok()?;
        let topic = self.decoder.named(line, nameless).ok()?;
        let reader = self.readers.get(usize::from(topic.0))?;
        walk(line, &reader.program, scratch).ok()?;
        Some(reader)
    }
}
