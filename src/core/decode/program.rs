//! What to do at each place of an event: the schema's check and the fields that are wanted, woven into one tree that a single pass follows.

use crate::core::plan::FieldPath;
use crate::core::schema::{Rules, Shape};

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
}

#[derive(Debug, Default)]
pub(super) struct Place {
    pub rules: Option<Rules>,
    pub names: Names,
    /// For each name of `names`, where its value goes.
    pub members: Vec<PlaceId>,
    /// The names that must be there: a bit each, 64 a word.
    pub required: Vec<u64>,
    /// Where the values of other members go.
    pub others: PlaceId,
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
    pub fn new(wanted: &Wanted<'_>) -> Self {
        let mut program = Self { places: vec![Place::default()], root: ANYTHING, captures: wanted.paths.len() };
        let paths: Vec<_> =
            wanted.paths.iter().enumerate().map(|(capture, path)| (path.0.as_slice(), capture)).collect();
        program.root = program.add(wanted.shape, &paths);
        program
    }

    pub fn place(&self, id: PlaceId) -> &Place {
        &self.places[id]
    }

    /// Adds the place of this shape, from which `paths` lead on; both may share it.
    fn add(&mut self, shape: Option<&Shape>, paths: &[(&[String], CaptureId)]) -> PlaceId {
        if shape.is_none() && paths.is_empty() {
            return ANYTHING;
        }
        let mut names: Vec<&str> = Vec::new();
        let properties = shape.map_or(&[][..], |shape| &shape.properties);
        let required = shape.map_or(&[][..], |shape| &shape.required);
        let steps = paths.iter().filter_map(|(path, _)| path.first());
        for name in properties.iter().map(|(name, _)| name).chain(required).chain(steps) {
            if !names.contains(&name.as_str()) {
                names.push(name);
            }
        }
        let additional = shape.and_then(|shape| shape.additional.as_deref());
        let members = names.iter().map(|&name| {
            let of_name =
                properties.iter().find(|(property, _)| property == name).map(|(_, shape)| shape).or(additional);
            let onward: Vec<_> = paths
                .iter()
                .filter_map(|(path, capture)| {
                    path.split_first().filter(|(first, _)| *first == name).map(|(_, rest)| (rest, *capture))
                })
                .collect();
            self.add(of_name, &onward)
        });
        let members = members.collect();
        let others = self.add(additional, &[]);
        let items = self.add(shape.and_then(|shape| shape.items.as_deref()), &[]);
        let mut bits = vec![0; names.len().div_ceil(64)];
        for (at, _) in names.iter().enumerate().filter(|(_, name)| required.iter().any(|other| other == **name)) {
            bits[at / 64] |= 1 << (at % 64);
        }
        self.places.push(Place {
            rules: shape.map(|shape| shape.rules.clone()),
            names: Names::new(&names),
            members,
            required: bits,
            others,
            items,
            capture: paths.iter().find(|(path, _)| path.is_empty()).map(|(_, capture)| *capture),
        });
        self.places.len() - 1
    }
}

/// The names known at one place, found by one hash and one comparison.
#[derive(Debug, Default)]
pub(super) struct Names {
    names: Vec<Box<[u8]>>,
    /// Places in `names`; `NOBODY` where none is. Its length is a power of two. Empty: ask every name.
    table: Vec<u16>,
    factor: u64,
    shift: u32,
}

const NOBODY: u16 = u16::MAX;
/// So many factors are tried for a table without collisions before every name is asked.
const FACTORS_MAX: u64 = 10_000;
/// More names than this are no table.
const NAMES_MAX: usize = 1_000;

impl Names {
    pub fn new(names: &[&str]) -> Self {
        let names: Vec<Box<[u8]>> = names.iter().map(|name| name.as_bytes().into()).collect();
        let mut found = Self { names, ..Self::default() };
        if found.names.is_empty() || found.names.len() > NAMES_MAX {
            return found;
        }
        let bits = (found.names.len() * 4).next_power_of_two().trailing_zeros();
        found.shift = 64 - bits;
        for attempt in 1..=FACTORS_MAX {
            found.factor = attempt.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
            let mut table = vec![NOBODY; 1 << bits];
            let collision = found.names.iter().enumerate().any(|(at, name)| {
                let slot = &mut table[found.slot(name)];
                std::mem::replace(slot, at as u16) != NOBODY
            });
            if !collision {
                found.table = table;
                return found;
            }
        }
        found
    }

    pub fn find(&self, name: &[u8]) -> Option<usize> {
        if self.table.is_empty() {
            return self.names.iter().position(|other| **other == *name);
        }
        let at = usize::from(*self.table.get(self.slot(name))?);
        self.names.get(at).filter(|other| ***other == *name).map(|_| at)
    }

    /// From a name's length and three of its bytes.
    fn slot(&self, name: &[u8]) -> usize {
        let byte = |at: usize| u64::from(name.get(at).copied().unwrap_or_default());
        let length = name.len();
        let mixed = length as u64 | byte(0) << 16 | byte(length / 2) << 32 | byte(length.wrapping_sub(1)) << 48;
        (mixed.wrapping_mul(self.factor) >> self.shift) as usize
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_is_found_and_no_other() {
        for count in [0usize, 1, 2, 8, 63, 64, 65, 300, NAMES_MAX + 1] {
            let names: Vec<String> = (0..count).map(|n| format!("field_{n}")).collect();
            let table = Names::new(&names.iter().map(String::as_str).collect::<Vec<_>>());
            for (at, name) in names.iter().enumerate() {
                assert_eq!(table.find(name.as_bytes()), Some(at));
            }
            for other in ["", "f", "field_", "field_x", "FIELD_1", "field_01"] {
                assert_eq!(table.find(other.as_bytes()), None, "{other} among {count}");
            }
        }
    }
}
