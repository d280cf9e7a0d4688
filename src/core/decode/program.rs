//! What to do at each place of an event: the schema's check and the fields that are wanted, woven into one tree that a single pass follows.

use crate::core::plan::{FieldPath, Step};
use crate::core::schema::{Names, Rules, Shape};

/// A place in `Program::places`.
pub(super) type PlaceId = usize;
/// A place in the captures of one pass.
pub(super) type CaptureId = usize;

/// Nothing is asked of a value here, nor of anything in it.
pub(super) const ANYTHING: PlaceId = 0;

/// One topic's tree.
#[derive(Debug)]
pub(super) struct Program {
    places: Vec<Place>,
    pub root: PlaceId,
    pub captures: usize,
    /// Where the memory of the members' order ends that this program uses; see `Place::order`.
    pub orders: usize,
}

#[derive(Debug, Default)]
pub(super) struct Place {
    pub rules: Option<Rules>,
    pub names: Names,
    /// For each name of `names`, how it is most often written.
    pub tokens: Vec<Token>,
    /// Where the place's entries begin in a pass's memory of the members' order: one for the object's begin, then one for each name.
    pub order: usize,
    /// For each name of `names`, where its value goes.
    pub members: Vec<PlaceId>,
    /// The names that must be there: a bit each, 64 a word.
    pub required: Vec<u64>,
    /// Where the values of other members go.
    pub others: PlaceId,
    /// Where an array's first items go, those that are wanted by their number; the rest go to `items`.
    pub first_items: Vec<PlaceId>,
    pub items: PlaceId,
    pub capture: Option<CaptureId>,
}

/// What a program is made from.
pub(super) struct Wanted<'a> {
    pub shape: Option<&'a Shape>,
    /// Each path once; its place in the list is its capture.
    pub paths: &'a [FieldPath],
}

impl Program {
    /// `first_order` is where its share of the memory of the members' order begins.
    pub fn new(wanted: &Wanted<'_>, first_order: usize) -> Self {
        let mut program =
            Self { places: vec![Place::default()], root: ANYTHING, captures: wanted.paths.len(), orders: first_order };
        let paths: Vec<_> =
            wanted.paths.iter().enumerate().map(|(capture, path)| (path.0.as_slice(), capture)).collect();
        program.root = program.add(wanted.shape, &paths);
        program
    }

    pub fn place(&self, id: PlaceId) -> &Place {
        &self.places[id]
    }

    /// Adds the place of this shape, from which `paths` lead on; both may share it.
    fn add(&mut self, shape: Option<&Shape>, paths: &[(&[Step], CaptureId)]) -> PlaceId {
        if shape.is_none() && paths.is_empty() {
            return ANYTHING;
        }
        let mut names: Vec<&str> = Vec::new();
        let properties = shape.map_or(&[][..], |shape| &shape.properties);
        let required = shape.map_or(&[][..], |shape| &shape.required);
        let steps = paths.iter().filter_map(|(path, _)| match path.first()? {
            Step::Name(name) => Some(name),
            Step::Item(_) => None,
        });
        for name in properties.iter().map(|(name, _)| name).chain(required).chain(steps) {
            if !names.contains(&name.as_str()) {
                names.push(name);
            }
        }
        let additional = shape.and_then(|shape| shape.additional.as_deref());
        let members = names.iter().map(|&name| {
            let of_name =
                properties.iter().find(|(property, _)| property == name).map(|(_, shape)| shape).or(additional);
            self.add(of_name, &onward(paths, |step| matches!(step, Step::Name(step) if step == name)))
        });
        let members = members.collect();
        let others = self.add(additional, &[]);
        let of_items = shape.and_then(|shape| shape.items.as_deref());
        let items = self.add(of_items, &[]);
        let wanted = paths.iter().filter_map(|(path, _)| match path.first()? {
            Step::Item(item) => Some(item + 1),
            Step::Name(_) => None,
        });
        let first_items = 0..wanted.max().unwrap_or(0);
        let first_items = first_items.map(|item| self.add(of_items, &onward(paths, |step| *step == Step::Item(item))));
        let first_items = first_items.collect();
        let mut bits = vec![0; names.len().div_ceil(64)];
        for (at, _) in names.iter().enumerate().filter(|(_, name)| required.iter().any(|other| other == **name)) {
            bits[at / 64] |= 1 << (at % 64);
        }
        let order = self.orders;
        self.orders += names.len() + 1;
        self.places.push(Place {
            order,
            tokens: names.iter().map(|name| Token::new(name)).collect(),
            rules: shape.map(|shape| shape.rules.clone()),
            names: Names::new(&names),
            members,
            required: bits,
            others,
            first_items,
            items,
            capture: paths.iter().find(|(path, _)| path.is_empty()).map(|(_, capture)| *capture),
        });
        self.places.len() - 1
    }
}

/// What is left of the paths whose first step is this one.
fn onward<'a>(paths: &[(&'a [Step], CaptureId)], step: impl Fn(&Step) -> bool) -> Vec<(&'a [Step], CaptureId)> {
    let begin = paths.iter().filter_map(|(path, capture)| Some((path.split_first()?, *capture)));
    begin.filter(|((first, _), _)| step(first)).map(|((_, rest), capture)| (rest, capture)).collect()
}

/// A name as it is most often written: quoted, a colon behind it, no white space, no escapes. It is compared by words of eight bytes.
#[derive(Debug)]
pub(super) struct Token {
    /// Bytes and which of them count.
    words: Vec<(u64, u64)>,
    length: usize,
}

impl Token {
    fn new(name: &str) -> Self {
        if name.bytes().any(|byte| byte < 0x20 || byte == b'"' || byte == b'\\') {
            return Self { words: Vec::new(), length: 0 };
        }
        let text = format!("\"{name}\":");
        let word = |bytes: &[u8]| bytes.iter().rev().fold(0u64, |word, &byte| word << 8 | u64::from(byte));
        let words = text.as_bytes().chunks(8).map(|chunk| (word(chunk), word(&vec![0xFF; chunk.len()]))).collect();
        Self { words, length: text.len() }
    }

    /// The token's length if it stands here in the line. (Near the line's end the answer may be None all the same.)
    #[inline]
    pub fn leads(&self, line: &[u8], at: usize) -> Option<usize> {
        let rest = line.get(at..).filter(|rest| rest.len() >= self.words.len() * 8)?;
        let alike = |chunk: &[u8; 8], word: &(u64, u64)| (u64::from_le_bytes(*chunk) ^ word.0) & word.1 == 0;
        let (chunks, _) = rest.as_chunks::<8>();
        (!self.words.is_empty() && chunks.iter().zip(&self.words).all(|(chunk, word)| alike(chunk, word)))
            .then_some(self.length)
    }
}
