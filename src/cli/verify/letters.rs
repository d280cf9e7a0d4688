//! Dead letters, compared: which there are, what is wrong with them, and which event is the retry of each.

use std::collections::BTreeMap;

use xxhash_rust::xxh3::xxh3_64;

use crate::cli::verify::Verdict;
use crate::core::columns::Reason;
use crate::core::mend::{Mended, Retry};
use crate::core::row::DeadLetter;
use crate::core::units::Offset;
use crate::store::{DeadLetterQuery, Reader, StoreError};

/// Letters read from the store at a time, each with its whole body.
const PAGE: u32 = 100;

/// A letter, its body by a hash alone.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Letter {
    topic: Option<String>,
    reason: Reason,
    body_hash: u64,
    retried_as: Option<Offset>,
}

/// What the log says of them.
#[derive(Debug, Default)]
pub struct Letters(BTreeMap<Offset, Letter>);

impl Letter {
    fn of(letter: &DeadLetter, retried_as: Option<Offset>) -> Self {
        let DeadLetter { topic, reason, body, .. } = letter;
        Self { topic: topic.clone(), reason: *reason, body_hash: xxh3_64(body), retried_as }
    }
}

impl Letters {
    /// Takes an epoch in. Of a letter from before the replay nothing is known, nor is it needed.
    pub fn add(&mut self, letters: &[DeadLetter], mended: &Mended) {
        self.0.extend(letters.iter().map(|letter| (letter.offset, Letter::of(letter, None))));
        for Retry { letter, event } in &mended.retried {
            if let Some(letter) = self.0.get_mut(letter) {
                letter.retried_as = Some(*event);
            }
        }
        for letter in &mended.discarded {
            self.0.remove(letter);
        }
    }

    /// Goes through all letters of the store; there may be no other, unless it is from before the replay, which is not `whole` then.
    ///
    /// # Errors
    /// The reader's.
    pub fn compare(mut self, whole: bool, reader: &mut dyn Reader, verdict: &mut Verdict) -> Result<(), StoreError> {
        let mut query = DeadLetterQuery { limit: PAGE, ..DeadLetterQuery::default() };
        loop {
            let page = reader.dead_letters(&query)?;
            for stored in &page {
                let (offset, found) = (stored.letter.offset, Letter::of(&stored.letter, stored.retried_as));
                match self.0.remove(&offset) {
                    Some(letter) if letter == found => verdict.letters += 1,
                    Some(letter) => verdict
                        .differ(format!("dead letter {offset}: the store has {found:?}, the log gives {letter:?}")),
                    None if whole => verdict.differ(format!("dead letter {offset}: only in the store: {found:?}")),
                    None => verdict.not_covered += 1,
                }
            }
            let Some(last) = page.last().filter(|_| page.len() == PAGE as usize) else { break };
            query.before = Some(last.letter.offset);
        }
        for (offset, letter) in &self.0 {
            verdict.differ(format!("dead letter {offset}: missing in the store: {letter:?}"));
        }
        Ok(())
    }
}
