//! Pipelines that were begun anew under the name that they had: which life of its pipeline an epoch belongs to.
//! `docs/semantics.md`, "Begun anew".

use std::borrow::Cow;
use std::collections::BTreeMap;

use crate::core::units::Epoch;

/// By name of a pipeline the epochs after which it was begun anew, ascending; also of pipelines that are there no more. One that never was is not in it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Lives(BTreeMap<String, Vec<Epoch>>);

impl Lives {
    /// After this epoch the pipeline begins anew.
    pub fn begin(&mut self, pipeline: &str, after: Epoch) {
        let lives = self.0.entry(pipeline.to_owned()).or_default();
        assert!(lives.last().is_none_or(|last| *last < after), "lives come one after the other");
        lives.push(after);
    }

    /// The pipelines, with the epochs after which each was begun anew.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &[Epoch])> {
        self.0.iter().map(|(name, lives)| (name.as_str(), lives.as_slice()))
    }

    /// Under which name its newest life is known: rows of another life have other ids.
    #[must_use]
    pub fn identity<'n>(&self, pipeline: &'n str) -> Cow<'n, str> {
        self.identity_at(pipeline, Epoch(u64::MAX))
    }

    /// Under which name the life in which this epoch lies is known.
    #[must_use]
    pub fn identity_at<'n>(&self, pipeline: &'n str, epoch: Epoch) -> Cow<'n, str> {
        match self.around(pipeline, epoch).0 {
            Epoch(0) => Cow::Borrowed(pipeline),
            // No pipeline's name has this sign.
            after => Cow::Owned(format!("{pipeline}@{after}")),
        }
    }

    /// The epochs of the life in which this one lies: those after the first and up to the second.
    #[must_use]
    pub fn around(&self, pipeline: &str, epoch: Epoch) -> (Epoch, Epoch) {
        let lives = self.0.get(pipeline).map_or(&[][..], Vec::as_slice);
        let next = lives.partition_point(|after| *after < epoch);
        let begun = next.checked_sub(1).and_then(|at| lives.get(at));
        (begun.copied().unwrap_or(Epoch(0)), lives.get(next).copied().unwrap_or(Epoch(u64::MAX)))
    }

    /// The newest epoch after which one was begun anew.
    #[must_use]
    pub fn newest(&self) -> Option<Epoch> {
        self.0.values().filter_map(|lives| lives.last()).max().copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_epoch_lies_in_one_life() {
        let mut lives = Lives::default();
        lives.begin("p", Epoch(7));
        assert_eq!(lives.identity("p"), "p@7");
        lives.begin("p", Epoch(12));
        assert_eq!((lives.identity("p"), lives.identity("q")), ("p@12".into(), "q".into()));
        let check = |epoch: u64, expected: (u64, u64)| {
            let (after, upto) = lives.around("p", Epoch(epoch));
            assert_eq!((after.0, upto.0), expected, "epoch {epoch}");
        };
        check(1, (0, 7));
        check(7, (0, 7));
        check(8, (7, 12));
        check(12, (7, 12));
        check(13, (12, u64::MAX));
        assert_eq!(lives.around("q", Epoch(9)), (Epoch(0), Epoch(u64::MAX)));
        assert_eq!(lives.newest(), Some(Epoch(12)));
        let at = |epoch| lives.identity_at("p", Epoch(epoch)).into_owned();
        assert_eq!([at(7), at(8), at(12), at(13)], ["p", "p@7", "p@7", "p@12"]);
    }
}
