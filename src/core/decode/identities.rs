//! The ids in a slab's lines and nothing else of them: for an index of the log. What the schema says does not matter. A line is not read to its end where that
//! is not needed, so one that is no JSON may have ids too.

use std::sync::Arc;

use memchr::memmem::Finder;
use xxhash_rust::xxh3::{xxh3_64, xxh3_128_with_seed};

use crate::core::columns::{EventId, Slab};
use crate::core::decode::program::{self, CaptureId, Program};
use crate::core::decode::walk::{Capture, Scratch, walk};
use crate::core::decode::{Decoder, capture, lines};
use crate::core::emit::ID;
use crate::core::json;
use crate::core::plan::{FieldPath, Plan, Step, TopicPlan};
use crate::core::schema::uuid;
use crate::core::units::{Offset, TopicId};

/// What is looked for: an event's own id, or the one that it shares with others.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    Event,
    Correlation,
}

const KINDS: [Kind; 2] = [Kind::Event, Kind::Correlation];

/// Finds ids. Shared by threads.
#[derive(Debug)]
pub struct Identities {
    decoder: Decoder,
    topic: Member,
    /// By topic.
    readers: Vec<Reader>,
}

#[derive(Debug)]
struct Reader {
    program: Program,
    id: Option<Wanted>,
    correlation: Option<Wanted>,
}

/// Where an id stands.
#[derive(Debug)]
struct Wanted {
    capture: CaptureId,
    /// Where it stands at the top of the event, as most do.
    member: Option<Member>,
}

/// A member of the event itself, found without reading the line: a pass over it costs many times as much.
#[derive(Debug)]
struct Member(Finder<'static>);

/// What a line has of a member, if it is JSON.
#[derive(Debug, PartialEq)]
enum Found<'l> {
    Text(&'l [u8]),
    /// No text, or nothing.
    Nothing,
    /// Something is written with escapes: only a pass tells.
    Escaped,
}

impl Member {
    fn new(name: &str) -> Self {
        Self(Finder::new(&json::string(name)).into_owned())
    }

    fn of(path: &FieldPath) -> Option<Self> {
        match path.0.as_slice() {
            [Step::Name(name)] => Some(Self::new(name)),
            _ => None,
        }
    }

    fn find<'l>(&self, line: &'l [u8]) -> Found<'l> {
        let mut place = Place::default();
        for at in self.0.find_iter(line) {
            let behind = line.get(at + self.0.needle().len()..).unwrap_or_default();
            // Without a colon it is a value.
            let Some(value) = behind.trim_ascii_start().strip_prefix(b":") else { continue };
            if !place.is_at_the_top(line, at, value) {
                continue;
            }
            let Some(text) = value.trim_ascii_start().strip_prefix(b"\"") else { return Found::Nothing };
            return match memchr::memchr2(b'"', b'\\', text).and_then(|end| text.split_at_checked(end)) {
                Some((text, [b'"', ..])) => Found::Text(text),
                Some(_) => Found::Escaped,
                None => Found::Nothing,
            };
        }
        // Its name may be.
        if memchr::memchr(b'\\', line).is_some() { Found::Escaped } else { Found::Nothing }
    }
}

/// A place in a line, outside texts, and in how many objects and arrays it is.
#[derive(Debug, Default)]
struct Place {
    at: usize,
    depth: i64,
}

impl Place {
    /// Whether what may be a name at `at`, with a value behind it, is that of one of the event's own members. It is asked of one after the other.
    fn is_at_the_top(&mut self, line: &[u8], at: usize, value: &[u8]) -> bool {
        let before = line.get(..at).unwrap_or_default();
        if before.last() == Some(&b'\\') {
            // The end of a text that ends so.
            return false;
        }
        // Most stand before all that is nested, or behind it.
        let opens_none = || memchr::memrchr2(b'{', b'[', before).is_none_or(|bracket| bracket == 0);
        let closes_none = || memchr::memchr2(b'}', b']', value).is_none_or(|bracket| bracket + 1 == value.len());
        opens_none() || closes_none() || self.depth_at(line, at) == 1
    }

    fn depth_at(&mut self, line: &[u8], to: usize) -> i64 {
        while let Some(byte) = line.get(self.at..to).and_then(<[u8]>::first) {
            self.at += 1;
            match byte {
                b'"' => self.pass_text(line),
                b'{' | b'[' => self.depth += 1,
                b'}' | b']' => self.depth -= 1,
                _ => {}
            }
        }
        self.depth
    }

    fn pass_text(&mut self, line: &[u8]) {
        while let Some(rest) = line.get(self.at..)
            && let Some(end) = memchr::memchr2(b'"', b'\\', rest)
        {
            if rest.get(end) == Some(&b'"') {
                self.at += end + 1;
                return;
            }
            // What follows a backslash is no end.
            self.at += end + 2;
        }
        self.at = line.len();
    }
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
            let mut wanted = |path: &FieldPath| Wanted { capture: capture(&mut paths, path), member: Member::of(path) };
            let id = id.as_ref().map(&mut wanted);
            let correlation = of.correlation.as_ref().map(wanted);
            let program = Program::new(&program::Wanted { shape: None, paths: &paths }, orders);
            orders = program.orders;
            Reader { program, id, correlation }
        };
        let readers = plan.topics.iter().map(reader).collect();
        Self { decoder: Decoder::new(Arc::clone(plan), 0), topic: Member::new(&plan.topic_field), readers }
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
            if let Some(texts) = self.at_the_top(slab.topic, line) {
                for (kind, text) in KINDS.into_iter().zip(texts) {
                    if let Some(text) = text {
                        found(offset, kind, fingerprint(text));
                    }
                }
                continue;
            }
            let Some(reader) = self.read(slab.topic, line, &mut scratch, &mut nameless) else { continue };
            for (kind, wanted) in KINDS.into_iter().zip([&reader.id, &reader.correlation]) {
                let capture = wanted.as_ref().and_then(|wanted| scratch.captures.get(wanted.capture));
                if let Some(Capture::Text(text, _)) = capture {
                    found(offset, kind, fingerprint(text.plain(line, &mut room)));
                }
            }
        }
    }

    /// The line's ids, by `KINDS`; None where only a pass over the line tells them.
    fn at_the_top<'l>(&self, topic: Option<TopicId>, line: &'l [u8]) -> Option<[Option<&'l [u8]>; 2]> {
        let named = || match self.topic.find(line) {
            Found::Text(name) => Some(self.decoder.outside(name)),
            Found::Nothing => Some(None),
            Found::Escaped => None,
        };
        let topic = topic.map_or_else(named, |topic| Some(Some(topic)))?;
        let Some(reader) = topic.and_then(|topic| self.readers.get(usize::from(topic.0))) else {
            return Some([None; 2]);
        };
        let mut texts = [None; 2];
        for (text, wanted) in texts.iter_mut().zip([&reader.id, &reader.correlation]) {
            let Some(wanted) = wanted else { continue };
            *text = match wanted.member.as_ref()?.find(line) {
                Found::Text(text) => Some(text),
                Found::Nothing => None,
                Found::Escaped => return None,
            };
        }
        Some(texts)
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

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::Value;

    use super::*;

    /// What serde_json reads of a member, where it is a text.
    fn reference(line: &str) -> Option<String> {
        serde_json::from_str::<Value>(line).unwrap().get("id").and_then(Value::as_str).map(str::to_owned)
    }

    fn text() -> impl Strategy<Value = String> {
        const TEXTS: &[&str] = &["id", "\"id\"", "\"id\":\"x\"", "{", "]", "\\", "\"", "\\\"", "Ñ", "", "a", "b:"];
        prop::sample::select(TEXTS).prop_map(str::to_owned)
    }

    fn value() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![text().prop_map(Value::from), any::<i32>().prop_map(Value::from), Just(Value::Null)];
        leaf.prop_recursive(4, 24, 4, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
                prop::collection::btree_map(text(), inner, 0..4)
                    .prop_map(|members| Value::Object(members.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(4096))]

        #[test]
        fn a_member_is_found_as_it_is_read(
            members in prop::collection::btree_map(text(), value(), 0..5),
            wide: bool,
            escaped: bool,
        ) {
            let object = Value::Object(members.into_iter().collect());
            let mut line = if wide { serde_json::to_string_pretty(&object).unwrap() } else { object.to_string() };
            if escaped {
                line = line.replace("\"id\"", "\"\\u0069d\"");
            }
            let expected = reference(&line);
            match Member::new("id").find(line.as_bytes()) {
                Found::Text(text) => prop_assert_eq!(Some(text), expected.as_deref().map(str::as_bytes), "{}", line),
                Found::Nothing => prop_assert_eq!(None, expected, "{}", line),
                Found::Escaped => prop_assert!(line.contains('\\'), "{}", line),
            }
        }
    }
}
