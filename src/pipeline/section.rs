//! Reading one mapping of a pipeline file: its keys are known or refused, its values have the asked kind or are refused. Every fault is noted and
//! reading goes on, so that a person sees all of them at once.

use crate::core::units::Micros;
use crate::pipeline::Fault;
use crate::pipeline::duration;
use crate::pipeline::sql::SqlFault;
use crate::pipeline::yaml::{Key, Node, Place, Value, quote};

/// Something and where it stands.
#[derive(Clone, Debug)]
pub struct At<T> {
    pub place: Place,
    pub it: T,
}

/// Collects faults.
#[derive(Debug)]
pub struct Faulty<'a> {
    pub file: &'a str,
    /// The file's text.
    text: &'a str,
    pub found: Vec<Fault>,
}

impl<'a> Faulty<'a> {
    pub fn new(file: &'a str, text: &'a str) -> Self {
        Self { file, text, found: Vec::new() }
    }

    /// Of the same file, for faults that are told elsewhere.
    pub fn unheard(&self) -> Self {
        Self::new(self.file, self.text)
    }

    /// Nothing is noted where the message is empty: it comes of another fault, which is told.
    pub fn note(&mut self, place: Place, message: impl Into<String>) {
        let message = message.into();
        if message.is_empty() {
            return;
        }
        let line = place.line.checked_sub(1).and_then(|line| self.text.lines().nth(line)).unwrap_or_default();
        self.found.push(Fault {
            file: self.file.to_owned(),
            line: place.line,
            column: place.column,
            message,
            excerpt: line.trim_end().to_owned(),
        });
    }

    /// A fault within the text of a scalar, such as an SQL expression.
    pub fn note_in(&mut self, text: &At<String>, key: &str, fault: &SqlFault) {
        if !fault.message.is_empty() {
            let place = self.within(text, fault);
            self.note(place, format!("{key}: {}", fault.message));
        }
    }

    /// The fault's place in the file: exact where the scalar stands as it is, in quotes or in a block of its own lines; otherwise the scalar's.
    fn within(&self, At { place, it }: &At<String>, fault: &SqlFault) -> Place {
        let line = |number: usize| self.text.lines().nth(number.checked_sub(1)?);
        let Some(begin) = line(place.line).and_then(|line| skip(line, place.column.checked_sub(1)?)) else {
            return *place;
        };
        let wanted = it.lines().nth(fault.line.saturating_sub(1)).unwrap_or_default();
        if fault.line == 1 {
            let quote = usize::from(begin.starts_with(['"', '\'']));
            if skip(begin, quote).is_some_and(|rest| rest.starts_with(wanted)) {
                return Place { line: place.line, column: place.column + quote + fault.column - 1 };
            }
        }
        // A block's place is that of its first line's text.
        let at = place.line + fault.line - 1;
        let is_there =
            line(at).and_then(|line| skip(line, place.column - 1)).is_some_and(|line| line.starts_with(wanted));
        if is_there { Place { line: at, column: place.column + fault.column - 1 } } else { *place }
    }

    /// Whether something is noted at this place.
    pub fn has(&self, place: Place) -> bool {
        self.found.iter().any(|fault| (fault.line, fault.column) == (place.line, place.column))
    }
}

/// The text after so many characters.
fn skip(text: &str, characters: usize) -> Option<&str> {
    match text.char_indices().nth(characters) {
        Some((at, _)) => text.get(at..),
        None => (text.chars().count() == characters).then_some(""),
    }
}

/// What a mapping may hold.
#[derive(Debug)]
pub struct Keys {
    /// For messages: `a window`, `time`.
    pub section: &'static str,
    pub known: &'static [&'static str],
    /// Keys of the format that this version does not carry out.
    pub later: &'static [&'static str],
}

/// A mapping whose keys are known, each at most once.
#[derive(Debug)]
pub struct Section<'a> {
    place: Place,
    is_mapping: bool,
    entries: Vec<(&'a Key, &'a Node)>,
}

impl<'a> Section<'a> {
    /// Notes unknown and repeated keys, or that this is no mapping.
    pub fn read(node: &'a Node, keys: &Keys, faults: &mut Faulty) -> Self {
        let known = keys.known.join(", ");
        let mut entries: Vec<(&Key, &Node)> = Vec::new();
        for (key, value) in mapping(node, &format!("{}: a mapping with the keys {known}", keys.section), faults) {
            if keys.later.contains(&key.name.as_str()) {
                let message = format!(
                    "{}: this version of Caudal does not have {} yet; it has {known}",
                    keys.section,
                    quote(&key.name)
                );
                faults.note(key.place, message);
            } else if keys.known.contains(&key.name.as_str()) {
                entries.push((key, value));
            } else {
                let hint = hint(&key.name, keys.known.iter().copied());
                faults.note(key.place, format!("unknown key {}; {} has {known}{hint}", quote(&key.name), keys.section));
            }
        }
        Self { place: node.place, is_mapping: matches!(node.value, Value::Map(_)), entries }
    }

    /// Notes that a key is missing; where there is no mapping at all, that has been said.
    pub fn missing<T: Default>(&self, key: &str, meaning: &str, faults: &mut Faulty) -> T {
        if self.is_mapping {
            faults.note(self.place, format!("`{key}` is missing: it {meaning}"));
        }
        T::default()
    }

    /// The value under this key.
    pub fn get(&self, key: &str) -> Option<&'a Node> {
        self.entries.iter().find(|(k, _)| k.name == key).map(|&(_, node)| node)
    }
}

/// The entries of a mapping; a key that is repeated is noted and left out, and so is everything if this is no mapping.
pub fn mapping<'a>(node: &'a Node, allowed: &str, faults: &mut Faulty) -> Vec<(&'a Key, &'a Node)> {
    let Value::Map(entries) = &node.value else {
        faults.note(node.place, format!("{} stands where this is allowed: {allowed}", node.value.describe()));
        return Vec::new();
    };
    let mut seen = std::collections::HashSet::new();
    let mut once = Vec::new();
    for (key, value) in entries {
        if seen.insert(key.name.as_str()) {
            once.push((key, value));
        } else {
            faults.note(key.place, format!("the key {} stands here twice", quote(&key.name)));
        }
    }
    once
}

/// The entries whose texts are whole. In braces a comma ends a text: then a call such as `{p: quantile(x, 0.95)}` falls apart, which is noted once.
pub fn whole<'a>(entries: Vec<(&'a Key, &'a Node)>, faults: &mut Faulty) -> Vec<(&'a Key, &'a Node)> {
    let mut whole = Vec::new();
    let mut open = 0;
    for (key, node) in entries {
        // The rest of the call has come to be keys without values.
        if open > 0 && matches!(node.value, Value::Null) {
            open += parentheses(&key.name);
            continue;
        }
        open = 0;
        match &node.value {
            Value::Text(text) if parentheses(text) > 0 && !text.contains('\'') => {
                open = parentheses(text);
                let message =
                    "a parenthesis is not closed here; within { } a comma ends a text: put the expression in quotes";
                faults.note(node.place, message);
            }
            _ => whole.push((key, node)),
        }
    }
    whole
}

/// How many more are opened than closed.
fn parentheses(text: &str) -> isize {
    text.chars().map(|c| isize::from(c == '(') - isize::from(c == ')')).sum()
}

/// `; did you mean "x"?` where one of the names is near.
pub fn hint<'n>(wrong: &str, names: impl Iterator<Item = &'n str>) -> String {
    /// A name longer than this is no slip of the finger, and comparing costs its square.
    const COMPARED_MAX: usize = 100;
    /// Below this likeness a suggestion confuses more than it helps.
    const LIKENESS_MIN: f64 = 0.6;
    if wrong.len() > COMPARED_MAX {
        return String::new();
    }
    let likeness = |name: &str| strsim::normalized_damerau_levenshtein(&wrong.to_lowercase(), &name.to_lowercase());
    let nearest = names.map(|name| (likeness(name), name)).max_by(|a, b| a.0.total_cmp(&b.0));
    match nearest {
        Some((likeness, name)) if likeness >= LIKENESS_MIN => format!("; did you mean {}?", quote(name)),
        _ => String::new(),
    }
}

/// The value as text.
pub fn text<'a>(node: &'a Node, allowed: &str, faults: &mut Faulty) -> Option<&'a str> {
    if let Value::Text(text) = &node.value {
        return Some(text);
    }
    faults.note(node.place, format!("{} stands where this is allowed: {allowed}", node.value.describe()));
    None
}

/// A duration of at least `least`.
pub fn span(node: &Node, what: &str, least: Micros, faults: &mut Faulty) -> Option<Micros> {
    let read = match &node.value {
        Value::Text(text) => duration::parse(text),
        _ => None,
    };
    if let Some(span) = read.filter(|&s| s >= least) {
        return Some(span);
    }
    let least = if least == Micros(0) { String::new() } else { format!(" and at least {}", duration::format(least)) };
    faults.note(
        node.place,
        format!("{what}: {} is no duration allowed here; it is {}{least}", node.value.describe(), duration::ALLOWED),
    );
    None
}

/// A number in `[least, most]`.
pub fn number(node: &Node, what: &str, (least, most): (f64, f64), faults: &mut Faulty) -> Option<f64> {
    let number = if let Value::Number(number) = &node.value { number.as_f64() } else { None };
    let allowed = number.filter(|number| (least..=most).contains(number));
    if allowed.is_none() {
        let found = node.value.describe();
        faults.note(node.place, format!("{what}: {found} stands where a number from {least} to {most} is allowed"));
    }
    allowed
}
