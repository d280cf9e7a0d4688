//! One pass over one line: strict grammar, names that repeat, the schema's check and the wanted fields, all at once and without a tree.

use crate::core::decode::json::{self, Fault, Text, What, fault};
use crate::core::decode::program::{PlaceId, Program};
use crate::core::schema::{Num, Parsed, Rules};

/// How deep an event may nest, its own object counted: it bounds the recursion here and in the reference.
pub(super) const DEPTH_MAX: usize = 128;

/// A wanted value as it stands in the line.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Capture {
    Absent,
    Null,
    Boolean(bool),
    Number(Num),
    Text(Text, Parsed),
    /// An array or an object.
    Nested,
}

/// What a pass needs for a while; kept from line to line so that nothing is allocated for an event.
#[derive(Debug, Default)]
pub(super) struct Scratch {
    /// By `CaptureId`; of the last line.
    pub captures: Vec<Capture>,
    /// The known names seen so far in each open object: a bit each.
    seen: Vec<u64>,
    /// The other names of each open object.
    names: Vec<Name>,
    /// Those written with escapes, unescaped.
    unescaped: Vec<u8>,
    room: Vec<u8>,
}

/// A member's name that no place knows.
#[derive(Clone, Copy, Debug)]
enum Name {
    Plain { start: usize, end: usize },
    Unescaped { start: usize, end: usize },
}

impl Name {
    fn bytes<'a>(self, line: &'a [u8], unescaped: &'a [u8]) -> &'a [u8] {
        match self {
            Self::Plain { start, end } => line.get(start..end),
            Self::Unescaped { start, end } => unescaped.get(start..end),
        }
        .unwrap_or_default()
    }
}

/// Reads one line by this program. The answer says whether the check compiled from the schema accepts it; the captures are in `scratch`.
pub(super) fn walk(line: &[u8], program: &Program, scratch: &mut Scratch) -> Result<bool, Fault> {
    scratch.captures.clear();
    scratch.captures.resize(program.captures, Capture::Absent);
    scratch.seen.clear();
    scratch.names.clear();
    scratch.unescaped.clear();
    let mut walk = Walk { line, at: 0, program, scratch, accepted: true };
    match walk.next_byte() {
        None => return fault(0, What::Empty),
        Some(0xEF) if line.starts_with(b"\xEF\xBB\xBF") => return fault(0, What::Mark),
        Some(b'{') => {}
        Some(_) => {
            // A fault of grammar is the better answer than `no object`, if there is one.
            walk.value(program.root, 0)?;
            walk.end()?;
            return fault(0, What::NoObject);
        }
    }
    walk.value(program.root, 0)?;
    walk.end()?;
    Ok(walk.accepted)
}

struct Walk<'a> {
    line: &'a [u8],
    at: usize,
    program: &'a Program,
    scratch: &'a mut Scratch,
    accepted: bool,
}

impl<'a> Walk<'a> {
    /// The next byte that is no white space, not yet taken.
    #[inline]
    fn next_byte(&mut self) -> Option<u8> {
        loop {
            match self.line.get(self.at) {
                Some(b' ' | b'\t' | b'\r' | b'\n') => self.at += 1,
                other => return other.copied(),
            }
        }
    }

    fn end(&mut self) -> Result<(), Fault> {
        match self.next_byte() {
            None => Ok(()),
            Some(_) => fault(self.at, What::Rest),
        }
    }

    /// Reads the value that begins here; `depth` arrays and objects are open around it.
    fn value(&mut self, id: PlaceId, depth: usize) -> Result<(), Fault> {
        let place = self.program.place(id);
        let rules = place.rules.as_ref();
        let captured = match self.next_byte() {
            Some(b'"') => self.text(rules)?,
            Some(b'{') => {
                self.judge(rules.is_none_or(Rules::object));
                self.object(id, depth + 1)?;
                Capture::Nested
            }
            Some(b'[') => {
                self.judge(rules.is_none_or(Rules::array));
                self.array(place.items, depth + 1)?;
                Capture::Nested
            }
            Some(b'-' | b'0'..=b'9') => {
                let (number, end) = json::number(self.line, self.at)?;
                self.at = end;
                self.judge(rules.is_none_or(|rules| rules.number(number)));
                Capture::Number(number)
            }
            Some(b't') => self.boolean(rules, true)?,
            Some(b'f') => self.boolean(rules, false)?,
            Some(b'n') => {
                self.word(b"null")?;
                self.judge(rules.is_none_or(Rules::null));
                Capture::Null
            }
            Some(_) => return fault(self.at, What::Value),
            None => return fault(self.at, What::End),
        };
        if let Some(slot) = place.capture.and_then(|capture| self.scratch.captures.get_mut(capture)) {
            *slot = captured;
        }
        Ok(())
    }

    fn judge(&mut self, accepted: bool) {
        self.accepted &= accepted;
    }

    fn word(&mut self, word: &[u8]) -> Result<(), Fault> {
        if !self.line.get(self.at..).is_some_and(|rest| rest.starts_with(word)) {
            return fault(self.at, What::Value);
        }
        self.at += word.len();
        Ok(())
    }

    fn boolean(&mut self, rules: Option<&Rules>, value: bool) -> Result<Capture, Fault> {
        self.word(if value { b"true" } else { b"false" })?;
        self.judge(rules.is_none_or(|rules| rules.boolean(value)));
        Ok(Capture::Boolean(value))
    }

    fn text(&mut self, rules: Option<&Rules>) -> Result<Capture, Fault> {
        let text = self.string()?;
        let mut parsed = Parsed::Nothing;
        if let Some(rules) = rules {
            let accepted = rules.text(text.plain(self.line, &mut self.scratch.room), &mut parsed);
            self.judge(accepted);
        }
        Ok(Capture::Text(text, parsed))
    }

    /// Reads the string whose opening quote stands here.
    #[inline]
    fn string(&mut self) -> Result<Text, Fault> {
        let text = json::string(self.line, self.at + 1)?;
        self.at = text.end + 1;
        Ok(text)
    }

    fn array(&mut self, items: PlaceId, depth: usize) -> Result<(), Fault> {
        if depth > DEPTH_MAX {
            return fault(self.at, What::Deep);
        }
        self.at += 1;
        if self.next_byte() == Some(b']') {
            self.at += 1;
            return Ok(());
        }
        loop {
            self.value(items, depth)?;
            if self.closes(b']')? {
                return Ok(());
            }
        }
    }

    /// Takes a comma (false) or the closing bracket (true).
    fn closes(&mut self, bracket: u8) -> Result<bool, Fault> {
        let next = self.next_byte();
        if next == Some(b',') || next == Some(bracket) {
            self.at += 1;
            return Ok(next == Some(bracket));
        }
        fault(self.at, if next.is_none() { What::End } else { What::Comma })
    }

    fn object(&mut self, id: PlaceId, depth: usize) -> Result<(), Fault> {
        if depth > DEPTH_MAX {
            return fault(self.at, What::Deep);
        }
        let begin = self.at;
        self.at += 1;
        let place = self.program.place(id);
        let (seen, names) = (self.scratch.seen.len(), self.scratch.names.len());
        self.scratch.seen.resize(seen + place.required.len(), 0);
        if self.next_byte() == Some(b'}') {
            self.at += 1;
        } else {
            loop {
                self.member(id, seen, depth)?;
                if self.closes(b'}')? {
                    break;
                }
            }
        }
        let all = self
            .scratch
            .seen
            .iter()
            .skip(seen)
            .zip(&place.required)
            .all(|(seen, required)| seen & required == *required);
        self.judge(all);
        self.scratch.seen.truncate(seen);
        if self.scratch.names.len() > names + 1
            && repeats(self.line, &self.scratch.unescaped, &mut self.scratch.names[names..])
        {
            return fault(begin, What::Twice);
        }
        self.scratch.names.truncate(names);
        Ok(())
    }

    /// Reads a name, its colon and its value. `seen` is where the object's bits begin.
    fn member(&mut self, id: PlaceId, seen: usize, depth: usize) -> Result<(), Fault> {
        match self.next_byte() {
            Some(b'"') => {}
            None => return fault(self.at, What::End),
            Some(_) => return fault(self.at, What::Key),
        }
        let begin = self.at;
        let name = self.string()?;
        if self.next_byte() != Some(b':') {
            return fault(self.at, What::Colon);
        }
        self.at += 1;
        let place = self.program.place(id);
        let known = place.names.find(name.plain(self.line, &mut self.scratch.room));
        let target = match known {
            None => {
                self.remember(name);
                place.others
            }
            Some(known) => {
                let bit = 1 << (known % 64);
                let word = &mut self.scratch.seen[seen + known / 64];
                if *word & bit != 0 {
                    return fault(begin, What::Twice);
                }
                *word |= bit;
                place.members[known]
            }
        };
        self.value(target, depth)
    }

    fn remember(&mut self, name: Text) {
        let scratch = &mut *self.scratch;
        let name = if name.escaped {
            let start = scratch.unescaped.len();
            scratch.unescaped.extend_from_slice(&scratch.room);
            Name::Unescaped { start, end: scratch.unescaped.len() }
        } else {
            Name::Plain { start: name.start, end: name.end }
        };
        scratch.names.push(name);
    }
}

/// Up to so many names each is compared with each.
const PAIRS_MAX: usize = 12;

/// Whether a name stands twice among these. Many are sorted, so that a million cost no square of it.
fn repeats(line: &[u8], unescaped: &[u8], names: &mut [Name]) -> bool {
    let bytes = |name: &Name| name.bytes(line, unescaped);
    if names.len() <= PAIRS_MAX {
        return names
            .iter()
            .enumerate()
            .any(|(at, name)| names.iter().skip(at + 1).any(|other| bytes(name) == bytes(other)));
    }
    names.sort_unstable_by(|a, b| bytes(a).cmp(bytes(b)));
    names.windows(2).any(|pair| matches!(pair, [a, b] if bytes(a) == bytes(b)))
}
