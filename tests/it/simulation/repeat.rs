//! Clients that send a request again under its Idempotency-Key, because they were not answered, or for no reason.

use caudal::core::keyed::{Fingerprint, KeyHash};
use caudal::core::units::Millis;
use caudal::ingest::keys::{Claim, Known};
use caudal::ingest::{Kept, Submission};
use rand::Rng;
use rand::seq::IteratorRandom;

use super::cluster::Life;
use super::traffic::{Answer, Request};

impl Life<'_> {
    /// What comes of the request's claim on its key; None where it has none.
    pub fn claim_key(&self, request: usize) -> Option<Result<Claim, Known>> {
        let request = &self.world.client.requests[request];
        let key = request.key?;
        Some(self.keys.claim(key, fingerprint(request), "".into(), Millis(self.world.unix_ms)))
    }

    /// A request comes again: it is given the answer that it had, or would have been given; or else it is taken.
    pub fn repeat(&mut self) {
        let keyed = (0..).zip(&self.world.client.requests).filter(|(_, request)| request.key.is_some());
        let Some((number, _)) = keyed.choose(&mut self.world.rng) else { return };
        let answer = self.world.client.requests[number].answer;
        let key = self.world.client.requests[number].key.expect("it was chosen for it");
        self.another_body_is_refused(key);
        let noted = match (self.claim_key(number).expect("it has a key"), answer) {
            (Err(Known::InFlight), Answer::Waiting) => "requests repeated in flight",
            // Its first answer is on its way.
            (Err(Known::Answered(_)), Answer::Waiting) => "requests repeated before their answer",
            (Err(Known::Answered(answered)), Answer::Accepted(first)) => {
                assert_eq!(answered.receipt.first.0, first, "another answer than the first");
                "requests repeated that were answered"
            }
            (Err(Known::Answered(answered)), Answer::Lost) => {
                self.world.client.requests[number].answer = Answer::Accepted(answered.receipt.first.0);
                "requests repeated that were in the log"
            }
            (Ok(claim), Answer::Lost | Answer::Refused) => {
                self.submit_again(number, claim);
                if answer == Answer::Lost {
                    "requests repeated that were not in the log"
                } else {
                    "requests repeated that were refused"
                }
            }
            (found, answer) => panic!("{found:?} is the answer to a request that had {answer:?}"),
        };
        self.world.seen.note(noted, 1);
    }

    fn submit_again(&mut self, number: usize, claim: Claim) {
        let request = &mut self.world.client.requests[number];
        request.answer = Answer::Waiting;
        // Nobody waits for the fates of the first try.
        request.fates = None;
        let (topic, lines, count) = (request.topic, request.body(), request.lines.len() as u32);
        let kept = Kept { key: Some(claim), trace: None };
        self.queue.push_back((number, Submission { topic, lines, count, applied: None, retries: None, kept }));
    }

    fn another_body_is_refused(&mut self, key: KeyHash) {
        let other = Fingerprint(self.world.rng.random());
        match self.keys.claim(key, other, "".into(), Millis(self.world.unix_ms)) {
            // Nobody has it at this time: it is given back.
            Ok(claim) => drop(claim),
            Err(known) => assert_eq!(known, Known::OtherBody),
        }
    }
}

fn fingerprint(request: &Request) -> Fingerprint {
    Fingerprint::of("/events", &request.body())
}
