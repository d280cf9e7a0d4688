//! People who mend dead letters: what a request does before its lines wait for the log's writer, and what must have come of it at the end.

use std::collections::{BTreeMap, BTreeSet};

use caudal::core::units::Offset;
use caudal::ingest::letters::Claim;
use caudal::store::{DeadLetterQuery, OpenQuery, Reader, StoredLetter};
use rand::Rng;
use rand::seq::IndexedRandom;

use super::cluster::{Life, World, discards_of, retries_of};
use super::traffic::{Answer, Discard};
use crate::model::Outcome;

/// Letters retried at once, at most.
const BATCH_MAX: u32 = 5;

impl Life<'_> {
    /// Somebody retries a letter, or several of a reason, or discards one. Whoever does claims it first and looks into the store then.
    pub fn mend(&mut self) {
        let newest = DeadLetterQuery { limit: 100, ..DeadLetterQuery::default() };
        let known = self.world.store.dead_letters(&newest).unwrap();
        let Some(StoredLetter { letter, .. }) = known.choose(&mut self.world.rng) else { return };
        match self.world.rng.random_range(0..6) {
            0 => {
                let topic = letter.topic.clone();
                let query = OpenQuery { reason: letter.reason, topic, not_topics: Vec::new(), before: None };
                let oldest = self.world.store.open_letters(&query, BATCH_MAX).unwrap();
                let claim = self.letters.claim_free(&oldest);
                self.retry(claim);
            }
            1 => {
                let Some(claim) = self.claim(letter.offset) else { return };
                let there = self.world.store.dead_letter(letter.offset).unwrap().is_some();
                assert!(there, "a letter that is known, and that nobody mends, is there");
                let applied = self.world.rng.random();
                let answer = Some(claim.discard(applied));
                self.world.client.discards.push(Discard { letter: letter.offset.0, answer });
            }
            _ => {
                if let Some(claim) = self.claim(letter.offset) {
                    self.retry(claim);
                }
            }
        }
    }

    fn claim(&mut self, letter: Offset) -> Option<Claim> {
        let claim = self.letters.claim(letter).ok();
        self.world.seen.note("letters that another request mends", u64::from(claim.is_none()));
        claim
    }

    fn retry(&mut self, mut claim: Claim) {
        let world = &mut *self.world;
        let plan = &world.pipeline.plan;
        let stored = claim.letters().iter().filter_map(|&letter| world.store.dead_letter(letter).unwrap());
        let (retried, open): (Vec<_>, Vec<_>) = stored.partition(|stored| stored.retried_as.is_some());
        world.seen.note("letters that were retried before", retried.len() as u64);
        let open: Vec<_> = open.into_iter().map(|stored| stored.letter).collect();
        let emitted = |name: &String| plan.topics.iter().any(|t| t.name == *name && t.emitted.is_some());
        if open.first().is_none_or(|letter| letter.topic.as_ref().is_some_and(emitted)) {
            return;
        }
        let offsets: Vec<Offset> = open.iter().map(|letter| letter.offset).collect();
        let part = claim.split(&offsets);
        let submission = world.client.retry(plan, &open, part, world.unix_ms, &mut world.rng);
        self.queue.push_back((world.client.requests.len() - 1, submission));
    }
}

/// Each acknowledged retry is in the log, where its receipt says; each other one is there whole, or not at all. No letter is retried or discarded twice, and
/// what was acknowledged of discards is in the log.
pub fn letters_are_mended_once(world: &mut World, outcome: &Outcome, lines: &BTreeMap<u64, Vec<u8>>) {
    let all = retries_of(&world.log);
    let retries: BTreeMap<u64, u64> = all.iter().map(|retry| (retry.letter.0, retry.event.0)).collect();
    assert_eq!(retries.len(), all.len(), "a letter is retried twice: {all:?}");
    let mut found = 0;
    for request in world.client.requests.iter().filter(|request| !request.retries.is_empty()) {
        // A letter that was not retried after all may be so by a later request.
        let place = |(letter, line): (&u64, &String)| {
            retries.get(letter).copied().filter(|event| lines.get(event).is_some_and(|l| l == line.as_bytes()))
        };
        let at: Vec<Option<u64>> = request.retries.iter().zip(&request.lines).map(place).collect();
        if let Answer::Accepted(first) = request.answer {
            assert!(at.iter().zip(first..).all(|(&at, expected)| at == Some(expected)), "{first}: {at:?}");
            found += at.len();
            world.seen.note("letters retried", at.len() as u64);
            world.seen.note("letters retried together", u64::from(at.len() > 1));
        }
    }
    assert!(found <= all.len());
    world.seen.note("retries without answer, logged", (all.len() - found) as u64);
    world
        .seen
        .note("retries counted", retries.values().filter(|event| outcome.counted.contains_key(event)).count() as u64);
    let again = retries.values().filter(|event| outcome.dead_letters.contains_key(event));
    world.seen.note("retries that became dead letters", again.count() as u64);

    let all: Vec<u64> = discards_of(&world.log).iter().flat_map(|d| &d.letters).map(|letter| letter.0).collect();
    let discarded: BTreeSet<u64> = all.iter().copied().collect();
    assert_eq!(discarded.len(), all.len(), "a letter is discarded twice: {all:?}");
    let asked: BTreeSet<u64> = world.client.discards.iter().map(|discard| discard.letter).collect();
    assert!(discarded.is_subset(&asked), "the log discards what nobody asked for");
    for Discard { letter, answer } in &mut world.client.discards {
        if answer.take().is_some_and(|mut answer| answer.try_recv().is_ok()) {
            assert!(discarded.contains(letter), "the discard of {letter} was acknowledged");
            world.seen.note("letters discarded", 1);
        }
    }
    world.seen.note("discards logged", discarded.len() as u64);
}
