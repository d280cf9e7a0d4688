//! The rows of each key: counted where the keys lie close together, as slices and codes mostly do; else Polars finds them.

use polars::prelude::{GroupsIdx, IdxSize, IntoGroupsType, UInt64Chunked};

/// The key of rows that are in no group.
pub(super) const SKIPPED: u64 = u64::MAX;
/// Keys lie close together where there can be at most so many a row.
const CLOSE: usize = 4;

/// Sets of rows, each in order.
pub(super) enum Groups {
    /// The rows by their keys, and by key the end of its rows.
    Close { rows: Vec<IdxSize>, ends: Vec<IdxSize> },
    /// And a row that is skipped, if there is one: the skipped rows are a group too.
    Apart(GroupsIdx, Option<IdxSize>),
}

impl Groups {
    /// Every key that is not `SKIPPED` is below `bound`.
    pub fn of(keys: Vec<u64>, bound: u128) -> Self {
        match usize::try_from(bound) {
            Ok(bound) if bound <= keys.len().saturating_mul(CLOSE) => close(&keys, bound),
            _ => {
                let skipped = keys.iter().position(|key| *key == SKIPPED);
                Self::Apart(apart(keys), skipped.map(|row| row as IdxSize))
            }
        }
    }

    /// With no key that means anything else.
    pub fn of_all(keys: Vec<u64>) -> Self {
        Self::Apart(apart(keys), None)
    }

    pub fn each<'a>(&'a self, mut group: impl FnMut(&'a [IdxSize])) {
        match self {
            Self::Close { rows, ends } => {
                let mut start = 0;
                for &end in ends {
                    if start < end {
                        group(&rows[start as usize..end as usize]);
                    }
                    start = end;
                }
            }
            Self::Apart(groups, skipped) => {
                // In order: the first of the skipped rows is the first of their group.
                let of_keys =
                    groups.all().iter().filter(|members| skipped.is_none() || members.first() != skipped.as_ref());
                of_keys.for_each(|members| group(members));
            }
        }
    }
}

fn close(keys: &[u64], bound: usize) -> Groups {
    let mut ends = vec![0; bound];
    let mut count = 0;
    for &key in keys.iter().filter(|key| **key != SKIPPED) {
        ends[key as usize] += 1;
        count += 1;
    }
    // First where each key's rows begin; a row put in its place moves it on.
    let mut begin = 0;
    for end in &mut ends {
        begin += std::mem::replace(end, begin);
    }
    let mut rows = vec![0; count];
    for (row, &key) in (0..).zip(keys) {
        if key != SKIPPED {
            let place = &mut ends[key as usize];
            rows[*place as usize] = row;
            *place += 1;
        }
    }
    Groups::Close { rows, ends }
}

/// On one thread: that was the faster way up to 65,000 rows.
fn apart(keys: Vec<u64>) -> GroupsIdx {
    let keys = UInt64Chunked::from_vec("key".into(), keys);
    let groups = keys.group_tuples(false, true);
    groups.unwrap_or_else(|error| panic!("Polars refused to group integers: {error}")).into_idx()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn groups_are_those_of_a_map(keys in prop::collection::vec(prop_oneof![4 => 0..50u64, 1 => Just(SKIPPED)], 0..200)) {
            let mut expected: BTreeMap<u64, Vec<IdxSize>> = BTreeMap::new();
            for (row, &key) in (0..).zip(&keys).filter(|(_, key)| **key != SKIPPED) {
                expected.entry(key).or_default().push(row);
            }
            let mut expected: Vec<_> = expected.into_values().collect();
            expected.sort_unstable();
            for bound in [50, u128::MAX] {
                let groups = Groups::of(keys.clone(), bound);
                let mut found = Vec::new();
                groups.each(|members| found.push(members.to_vec()));
                found.sort_unstable();
                prop_assert_eq!(&found, &expected);
            }
        }
    }
}
