//! One pass over one line: strict grammar, names that repeat, the schema's check and the wanted fields, all at once and without a tree.

use crate::core::decode::json::{self, Fault, Text, What, fault};
use crate::core::decode::program::{Place, PlaceId, Program};
use crate::core::schema::{Num, Parsed, Rules};

/// How deep an event may nest, its own object counted: it bounds the recursion here and in the reference.
pub(super) const DEPTH_MAX: usize = 128;

/// A wanted value as it stands in the line.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Capture {
    Absent,
    Null,
    Boolean(bool),
    /// The number, and where its text stands.
    Number(Num, (u32, u32)),
    Text(Text, Parsed),
    /// An array or an object, and where its text stands.
    Nested(u32, u32),
}

/// What a pass needs for a while; kept from line to line so that nothing is allocated for an event.
#[derive(Debug, Default)]
pub(super) struct Scratch {
    /// By `CaptureId`; of the last line.
    pub captures: Vec<Capture>,
    /// The known names seen so far in each open object, from the 65th on: a bit each.
    seen: Vec<u64>,
    /// For each known name of each place, which one followed it last time; see `Place::order`.
    order: Vec<usize>,
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
    if scratch.order.len() < program.orders {
        scratch.order.resize(program.orders, 0);
    }
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

/// The members of an object that is being read.
struct Members<'a> {
    place: &'a Place,
    /// The first 64 of the place's names that have come; the further ones are in the scratch from `further` on.
    seen: u64,
    further: usize,
    /// One more than the last known name that has come; 0 before any.
    previous: usize,
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
        match self.next_byte() {
            Some(b'"') => {
                let text = self.string()?;
                let mut parsed = Parsed::Nothing;
                if let Some(rules) = rules {
                    let accepted = rules.text(text.plain(self.line, &mut self.scratch.room), &mut parsed);
                    self.judge(accepted);
                }
                self.keep(place, || Capture::Text(text, parsed));
            }
            Some(b'{') => {
                self.judge(rules.is_none_or(Rules::object));
                let start = self.at as u32;
                self.object(place, depth + 1)?;
                let end = self.at as u32;
                self.keep(place, || Capture::Nested(start, end));
            }
            Some(b'[') => {
                self.judge(rules.is_none_or(Rules::array));
                let start = self.at as u32;
                self.array(place, depth + 1)?;
                let end = self.at as u32;
                self.keep(place, || Capture::Nested(start, end));
            }
            Some(b'-' | b'0'..=b'9') => {
                let (number, end) = json::number(self.line, self.at)?;
                // Lines are far shorter than 4 GiB.
                let text = (self.at as u32, end as u32);
                self.at = end;
                self.judge(rules.is_none_or(|rules| rules.number(number)));
                self.keep(place, || Capture::Number(number, text));
            }
            Some(b't') => self.boolean(place, true)?,
            Some(b'f') => self.boolean(place, false)?,
            Some(b'n') => {
                self.word(b"null")?;
                self.judge(rules.is_none_or(Rules::null));
                self.keep(place, || Capture::Null);
            }
            Some(_) => return fault(self.at, What::Value),
            None => return fault(self.at, What::End),
        }
        Ok(())
    }

    /// Keeps the value that was read at this place, if it is wanted.
    #[inline]
    fn keep(&mut self, place: &Place, value: impl FnOnce() -> Capture) {
        if let Some(slot) = place.capture.and_then(|capture| self.scratch.captures.get_mut(capture)) {
            *slot = value();
        }
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

    fn boolean(&mut self, place: &Place, value: bool) -> Result<(), Fault> {
        self.word(if value { b"true" } else { b"false" })?;
        self.judge(place.rules.as_ref().is_none_or(|rules| rules.boolean(value)));
        self.keep(place, || Capture::Boolean(value));
        Ok(())
    }

    /// Reads the string whose opening quote stands here.
    #[inline]
    fn string(&mut self) -> Result<Text, Fault> {
        let text = json::string(self.line, self.at + 1)?;
        self.at = text.end + 1;
        Ok(text)
    }

    fn array(&mut self, place: &Place, depth: usize) -> Result<(), Fault> {
        if depth > DEPTH_MAX {
            return fault(self.at, What::Deep);
        }
        self.at += 1;
        if self.next_byte() == Some(b']') {
            self.at += 1;
            return Ok(());
        }
        let mut first = place.first_items.iter();
        loop {
            self.value(first.next().copied().unwrap_or(place.items), depth)?;
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

    fn object(&mut self, place: &'a Place, depth: usize) -> Result<(), Fault> {
        if depth > DEPTH_MAX {
            return fault(self.at, What::Deep);
        }
        let begin = self.at;
        self.at += 1;
        let mut members = Members { place, seen: 0, further: self.scratch.seen.len(), previous: 0 };
        let names = self.scratch.names.len();
        self.scratch.seen.resize(members.further + place.required.len().saturating_sub(1), 0);
        if self.next_byte() == Some(b'}') {
            self.at += 1;
        } else {
            loop {
                let target = self.name(&mut members)?;
                self.value(target, depth)?;
                if self.closes(b'}')? {
                    break;
                }
            }
        }
        let seen = std::iter::once(&members.seen).chain(self.scratch.seen.iter().skip(members.further));
        let all = seen.zip(&place.required).all(|(seen, required)| seen & required == *required);
        self.judge(all);
        self.scratch.seen.truncate(members.further);
        if self.scratch.names.len() > names + 1
            && repeats(self.line, &self.scratch.unescaped, &mut self.scratch.names[names..])
        {
            return fault(begin, What::Twice);
        }
        self.scratch.names.truncate(names);
        Ok(())
    }

    /// Reads a member's name and its colon. The answer is where its value goes.
    fn name(&mut self, members: &mut Members<'_>) -> Result<PlaceId, Fault> {
        let place = members.place;
        // Events of one sender have their members in one order: the name that followed here last time likely follows again.
        let order = place.order + members.previous;
        if let Some(&expected) = self.scratch.order.get(order)
            && let Some(length) = place.tokens.get(expected).and_then(|token| token.leads(self.line, self.at))
        {
            self.at += length;
            return self.known(members, expected);
        }
        match self.next_byte() {
            Some(b'"') => {}
            None => return fault(self.at, What::End),
            Some(_) => return fault(self.at, What::Key),
        }
        let name = self.string()?;
        if self.next_byte() != Some(b':') {
            return fault(self.at, What::Colon);
        }
        self.at += 1;
        let Some(known) = place.names.find(name.plain(self.line, &mut self.scratch.room)) else {
            self.remember(name);
            return Ok(place.others);
        };
        if let Some(expected) = self.scratch.order.get_mut(order) {
            *expected = known;
        }
        self.known(members, known)
    }

    /// Notes that this name of the place has come.
    #[inline]
    fn known(&mut self, members: &mut Members<'_>, known: usize) -> Result<PlaceId, Fault> {
        let bit = 1 << (known % 64);
        let word = match known / 64 {
            0 => &mut members.seen,
            further => &mut self.scratch.seen[members.further + further - 1],
        };
        if *word & bit != 0 {
            return fault(self.at, What::Twice);
        }
        *word |= bit;
        members.previous = known + 1;
        Ok(members.place.members[known])
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
