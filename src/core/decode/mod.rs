//! Bytes to columns: the only maker of valid events. `docs/semantics.md`, "The fate of one event", rules 1 to 7.

mod dictionary;
mod json;
mod program;
mod rows;
mod value;
mod walk;
pub mod table;
pub mod identities;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use memchr::memmem::Finder;

use crate::core::columns::{Columns, Numbering, Reason, Reject, Slab};
use crate::core::decode::json::Fault;
use crate::core::decode::program::{CaptureId, Program, Wanted};
use crate::core::decode::rows::Rows;
use crate::core::decode::value::value;
use crate::core::decode::walk::{Capture, Scratch, walk};
use crate::core::plan::{FieldPath, Plan};
use crate::core::schema::Names;
use crate::core::units::{Offset, TopicId};

/// What one slab holds.
#[derive(Debug, Default)]
pub struct Decoded {
    pub columns: Columns,
    /// In order of offset.
    pub rejects: Vec<Reject>,
}

/// Decodes and validates slabs of one plan. Shared by the threads of a rank.
#[derive(Debug)]
pub struct Decoder {
    plan: Arc<Plan>,
    id_key: u64,
    /// By topic.
    readers: Vec<Reader>,
    /// Reads nothing but the topic's name.
    nameless: Program,
    topics: Names,
    /// Finds what is likely the topic field's name.
    topic_name: Finder<'static>,
}

/// How the events of one topic are read.
#[derive(Debug)]
struct Reader {
    program: Program,
    time: CaptureId,
    id: Option<CaptureId>,
    /// By the plan's columns; None: no pipeline that reads the topic uses the column.
    columns: Vec<Option<CaptureId>>,
}

/// In every program the topic's name is the first capture.
const TOPIC: CaptureId = 0;

/// Whose event a line of an export is.
enum Address {
    /// A topic's; none: the event names it.
    Topic(Option<TopicId>),
    /// That of a topic that no pipeline here knows.
    Other,
}

/// Why a line is no row.
struct Refusal {
    topic: Option<TopicId>,
    reason: Reason,
    detail: String,
}

impl Decoder {
    /// `id_key` keys the hash of ids that are no UUIDs; it is the log's, so that replays agree.
    #[must_use]
    pub fn new(plan: Arc<Plan>, id_key: u64) -> Self {
        let topic = FieldPath::top(&plan.topic_field);
        let mut orders = 0;
        let mut readers = Vec::new();
        for (number, of) in plan.topics.iter().enumerate() {
            let used = used_columns(&plan, TopicId(number as u16));
            let mut paths = vec![topic.clone()];
            let time = capture(&mut paths, &of.time);
            let id = of.id.as_ref().map(|id| capture(&mut paths, id));
            let columns = plan.columns.iter().zip(used);
            let columns = columns.map(|(column, used)| used.then(|| capture(&mut paths, &column.path))).collect();
            let program = Program::new(&Wanted { shape: of.schema.shape(), paths: &paths }, orders);
            orders = program.orders;
            readers.push(Reader { program, time, id, columns });
        }
        let names: Vec<&str> = plan.topics.iter().map(|topic| topic.name.as_str()).collect();
        Self {
            readers,
            id_key,
            nameless: Program::new(&Wanted { shape: None, paths: &[topic] }, orders),
            topics: Names::new(&names),
            topic_name: Finder::new(&format!("\"{}\"", plan.topic_field)).into_owned(),
            plan,
        }
    }

    /// Every line of the slab is either a row of the columns or a reject. Blank lines, and those of an export whose topic no pipeline knows (batch only), are neither.
    #[must_use]
    pub fn decode(&self, slab: &Slab) -> Decoded {
        let mut scratch = Scratch::default();
        let mut rows = Rows::new(&self.plan, self.id_key, slab);
        let mut rejects = Vec::new();
        for (offset, (mut start, mut length)) in lines(slab) {
            let mut line = slab.bytes.get(start as usize..(start + length) as usize).unwrap_or_default();
            let mut topic = slab.topic;
            let json = |topic, detail| Refusal { topic, reason: Reason::Json, detail };
            let mut checked = Ok(());
            if slab.numbering == Numbering::Addressed {
                match self.addressed(line) {
                    Some((Address::Other, _)) => continue,
                    Some((Address::Topic(of_line), event)) => {
                        // A part of a line that fits.
                        start += length - event.len() as u32;
                        (topic, line, length) = (of_line, event, event.len() as u32);
                    }
                    None => checked = Err(json(topic, "no line of an export: a topic, a tab, an event".to_owned())),
                }
            }
            if matches!(slab.numbering, Numbering::Bytes | Numbering::Addressed) && line.len() > FILE_LINE_BYTES_MAX {
                checked = Err(json(topic, format!("longer than {FILE_LINE_BYTES_MAX} bytes")));
            }
            let added = checked.and_then(|()| self.event(topic, line, &mut scratch)).and_then(|topic| {
                let reader = self.reader(topic);
                rows.add(topic, reader, line, &scratch.captures, offset, (start, length))
            });
            if let Err(Refusal { topic, reason, detail }) = added {
                rejects.push(Reject { offset, topic, reason, detail, line: (start, length) });
            }
        }
        Decoded { columns: rows.columns, rejects }
    }

    /// The id of a valid event as it is written there, unescaped; None where the topic has no id field.
    #[must_use]
    pub fn id_text(&self, topic: TopicId, line: &[u8]) -> Option<String> {
        let mut scratch = Scratch::default();
        let reader = self.readers.get(usize::from(topic.0))?;
        walk(line, &reader.program, &mut scratch).ok()?;
        let Capture::Text(text, _) = *scratch.captures.get(reader.id?)? else { return None };
        String::from_utf8(text.plain(line, &mut Vec::new()).to_vec()).ok()
    }

    /// The topic of an event that its schema accepts; its captures are in `scratch`.
    fn event(&self, topic: Option<TopicId>, line: &[u8], scratch: &mut Scratch) -> Result<TopicId, Refusal> {
        let json = |fault: Fault| Refusal { topic, reason: Reason::Json, detail: fault.to_string() };
        let (topic, accepted) = if let Some(topic) = topic {
            if self.is_closed(topic) {
                walk(line, &self.nameless, scratch).map_err(json)?;
                let detail = "no pipeline reads the topic any more".to_owned();
                return Err(Refusal { topic: Some(topic), reason: Reason::Topic, detail });
            }
            (topic, walk(line, &self.reader(topic).program, scratch).map_err(json)?)
        } else {
            let guess = self.guess(line);
            let program = guess.map_or(&self.nameless, |topic| &self.reader(topic).program);
            let accepted = walk(line, program, scratch).map_err(json)?;
            let topic = self.named(line, scratch)?;
            if guess == Some(topic) {
                (topic, accepted)
            } else {
                (topic, walk(line, &self.reader(topic).program, scratch).map_err(json)?)
            }
        };
        let schema = &self.plan.topics[usize::from(topic.0)].schema;
        if accepted && schema.is_compiled() {
            return Ok(topic);
        }
        // The reference has the last word on a refusal, and the words for it.
        let event = value(line);
        if schema.accepts(&event) {
            return Ok(topic);
        }
        Err(Refusal { topic: Some(topic), reason: Reason::Schema, detail: schema.refusal(&event) })
    }

    /// A topic from outside that events were taken for before it was retired.
    fn is_closed(&self, topic: TopicId) -> bool {
        self.plan.topics.get(usize::from(topic.0)).is_some_and(|topic| topic.retired && topic.emitted.is_none())
    }

    fn reader(&self, topic: TopicId) -> &Reader {
        &self.readers[usize::from(topic.0)]
    }

    /// The topic that a mixed slab's event names.
    fn named(&self, line: &[u8], scratch: &Scratch) -> Result<TopicId, Refusal> {
        let field = &self.plan.topic_field;
        let refusal = |what: String| Refusal {
            topic: None,
            reason: Reason::Topic,
            detail: format!("{}: {what}", FieldPath::top(field).pointer()),
        };
        match scratch.captures.get(TOPIC) {
            Some(Capture::Text(text, _)) => {
                let mut room = Vec::new();
                let name = text.plain(line, &mut room);
                let found = self.outside(name);
                found.ok_or_else(|| refusal(format!("{} is no topic that takes events from outside", quoted(name))))
            }
            None | Some(Capture::Absent) => Err(refusal("missing; it names the event's topic".into())),
            Some(_) => Err(refusal("no string; it names the event's topic".into())),
        }
    }

    /// What topic the event likely names: one pass is then enough, and its capture tells whether the guess was right.
    fn guess(&self, line: &[u8]) -> Option<TopicId> {
        let at = self.topic_name.find(line)? + self.topic_name.needle().len();
        let rest = line.get(at..)?.trim_ascii_start().strip_prefix(b":")?.trim_ascii_start().strip_prefix(b"\"")?;
        let name = rest.get(..memchr::memchr(b'"', rest)?)?;
        self.outside(name)
    }

    /// Of a line of an export, whose event it is, and the event.
    fn addressed<'l>(&self, line: &'l [u8]) -> Option<(Address, &'l [u8])> {
        let tab = memchr::memchr(b'\t', line.get(..=ADDRESS_BYTES_MAX).unwrap_or(line))?;
        let (name, event) = (line.get(..tab)?, line.get(tab + 1..)?);
        let address = if name.is_empty() {
            Address::Topic(None)
        } else if let Some(topic) = self.topics.find(name) {
            Address::Topic(Some(TopicId(u16::try_from(topic).ok()?)))
        } else {
            Address::Other
        };
        Some((address, event))
    }

    /// The topic of this name, unless the job makes it itself.
    fn outside(&self, name: &[u8]) -> Option<TopicId> {
        let at = self.topics.find(name)?;
        let outside = self.plan.topics.get(at).is_some_and(|topic| topic.emitted.is_none() && !topic.retired);
        outside.then(|| u16::try_from(at).ok().map(TopicId))?
    }
}

/// Which of the plan's columns the pipelines that read the topic use.
fn used_columns(plan: &Plan, topic: TopicId) -> Vec<bool> {
    let mut used = vec![false; plan.columns.len()];
    for pipeline in plan.pipelines.iter().filter(|pipeline| pipeline.reads_topic(topic)) {
        for column in &pipeline.reads {
            used[column.0] = true;
        }
    }
    used
}

/// The place of this path among the captures, added if it is new.
fn capture(paths: &mut Vec<FieldPath>, path: &FieldPath) -> CaptureId {
    paths.iter().position(|other| other == path).unwrap_or_else(|| {
        paths.push(path.clone());
        paths.len() - 1
    })
}

/// The lines of a slab that are events: offset, and start and length without the line end.
fn lines(slab: &Slab) -> impl Iterator<Item = (Offset, (u32, u32))> {
    let bytes = slab.bytes.as_ref();
    let mut start = 0;
    let mut number = 0;
    std::iter::from_fn(move || {
        while let Some(rest) = bytes.get(start..)
            && !rest.is_empty()
        {
            let length = memchr::memchr(b'\n', rest).unwrap_or(rest.len());
            let (begin, line) = (start, rest.get(..length)?);
            start += length + 1;
            let line = line.strip_suffix(b"\r").unwrap_or(line);
            let distance = match slab.numbering {
                // Of one that is too long an event may stand behind what is here of it.
                Numbering::Bytes | Numbering::Addressed
                    if line.len() <= FILE_LINE_BYTES_MAX && line.iter().all(u8::is_ascii_whitespace) =>
                {
                    continue;
                }
                Numbering::Bytes | Numbering::Addressed => begin as u64,
                Numbering::Dense | Numbering::Rows => number,
            };
            number += 1;
            // Slabs are far smaller than 4 GiB.
            return Some((Offset(slab.first_offset.0 + distance), (begin as u32, line.len() as u32)));
        }
        None
    })
}

/// A text in quotes for people, cut where it is long.
fn quoted(text: &[u8]) -> String {
    let text = String::from_utf8_lossy(text);
    let end = text.char_indices().nth(QUOTED_CHARS_MAX).map(|(end, _)| end);
    format!("{:?}{}", text.get(..end.unwrap_or(text.len())).unwrap_or_default(), if end.is_some() { "…" } else { "" })
}

/// An event that a file holds has at most so many bytes; those that come over HTTP have a limit of their own (EVENT_BYTES_MAX).
pub const FILE_LINE_BYTES_MAX: usize = 256 << 10;

/// Before a line's event there are no more bytes than these, and a tab: topics' names are shorter.
pub const ADDRESS_BYTES_MAX: usize = 255;

/// A refusal quotes no more of an event's text.
const QUOTED_CHARS_MAX: usize = 100;
