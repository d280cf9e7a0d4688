//! One frame's content: what waited becomes records, in the order in which the log has them, and slabs for the feed; with those who are to be told.

use tokio::sync::oneshot;

use crate::core::columns::Slab;
use crate::core::emit::Emission;
use crate::core::mend::Retry;
use crate::core::trace::Traced;
use crate::core::units::{Millis, Offset};
use crate::ingest::feed::Waiting;
use crate::ingest::letters::Claim;
use crate::ingest::owed::{Ended, Owed};
use crate::ingest::queue::Request;
use crate::ingest::slabs::{Piece, slabs, split};
use crate::ingest::{Receipt, Refusal, Submission, keys};
use crate::log::Record;

/// Slabs of one frame, and who is to be told of them.
#[derive(Default)]
pub(super) struct Frame {
    pub(super) slabs: Vec<Slab>,
    pub(super) receipts: Vec<(oneshot::Sender<Result<Receipt, Refusal>>, Receipt)>,
    pub(super) waiting: Vec<Waiting>,
    /// Claims on dead letters, each with the first of their retries.
    pub(super) claims: Vec<(Claim, Offset)>,
    /// Requests with a key, each with its events.
    pub(super) keys: Vec<(keys::Claim, Receipt)>,
    pub(super) traces: Vec<Traced>,
}

impl Frame {
    pub(super) fn of(requests: Vec<Request>, first: Offset, ingest: Millis) -> Self {
        let mut frame = Self::default();
        let mut pieces = Vec::new();
        let mut end = first;
        for Request { submission, receipt } in requests {
            let Submission { topic, lines, count, applied, retries, kept } = submission;
            frame.claims.extend(retries.map(|claim| (claim, end)));
            frame.waiting.extend(applied.map(|to| Waiting { first: end, count, to }));
            let of = Receipt { first: end, count };
            frame.keys.extend(kept.key.map(|claim| (claim, of)));
            frame.traces.extend(kept.trace.map(|trace| Traced { first: end, count, trace }));
            frame.receipts.push((receipt, of));
            end = Offset(end.0 + u64::from(count));
            split(Piece { topic, lines, count }, &mut pieces);
        }
        frame.slabs = slabs(pieces, first, ingest);
        frame
    }

    /// All that is to be written, with what rank 0 owes. The slabs of what epochs have emitted come behind the submissions', which begin at `first`.
    pub(super) fn records(&mut self, owed: &Owed, first: Offset, ingest: Millis) -> Vec<Record> {
        // Cuts come first: they end epochs of events that are in the log already.
        let mut records: Vec<Record> = owed.cuts.iter().flat_map(Ended::records).collect();
        records.extend(self.retries());
        records.extend(self.keys.iter().map(|(claim, receipt)| Record::Key(claim.request(*receipt))));
        records.extend(self.traces.iter().cloned().map(Record::Trace));
        records.extend(self.slabs.iter().cloned().map(Record::Slab));
        self.emit(&owed.emissions, first, ingest, &mut records);
        records
    }

    /// What says of its events that they are retries.
    fn retries(&self) -> Option<Record> {
        let of_claim = |(claim, first): &(Claim, Offset)| claim.retries(*first).collect::<Vec<_>>();
        let retries: Vec<Retry> = self.claims.iter().flat_map(of_claim).collect();
        (!retries.is_empty()).then_some(Record::Retries(retries))
    }

    /// Adds what epochs have emitted.
    fn emit(&mut self, emissions: &[Emission], first: Offset, ingest: Millis, records: &mut Vec<Record>) {
        for Emission { epoch, lines } in emissions {
            records.push(Record::Emit(*epoch));
            let mut pieces = Vec::new();
            for (topic, lines) in lines {
                let count = lines.len() as u32;
                let lines: String = lines.iter().flat_map(|line| [line.as_str(), "\n"]).collect();
                split(Piece { topic: Some(*topic), lines: lines.into(), count }, &mut pieces);
            }
            let end = self.slabs.last().map_or(first, Slab::end);
            let emitted = slabs(pieces, end, ingest);
            records.extend(emitted.iter().cloned().map(Record::Slab));
            self.slabs.extend(emitted);
        }
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::core::units::TopicId;
    use crate::ingest::Kept;

    pub fn submission(topic: Option<u16>, lines: &[String]) -> Submission {
        let text: String = lines.iter().map(|l| format!("{l}\n")).collect();
        Submission {
            topic: topic.map(TopicId),
            lines: text.into(),
            count: lines.len() as u32,
            applied: None,
            retries: None,
            kept: Kept::default(),
        }
    }

    pub fn lines_of(slab: &Slab) -> Vec<String> {
        let text = std::str::from_utf8(&slab.bytes).unwrap();
        text.strip_suffix('\n').unwrap().split('\n').map(str::to_owned).collect()
    }

    /// (topic, kilobytes of each line) of submissions → (topic, lines, first offset) of slabs.
    #[test]
    fn submissions_become_slabs() {
        type Case = (&'static [(Option<u16>, &'static [usize])], &'static [(Option<u16>, u32, u64)]);
        let cases: &[Case] = &[
            (&[(Some(1), &[1])], &[(Some(1), 1, 0)]),
            (&[(Some(1), &[1, 2]), (Some(1), &[3])], &[(Some(1), 3, 0)]),
            (
                &[(Some(1), &[1]), (Some(2), &[1]), (Some(1), &[1])],
                &[(Some(1), 1, 0), (Some(2), 1, 1), (Some(1), 1, 2)],
            ),
            (&[(None, &[1]), (None, &[1]), (Some(0), &[1])], &[(None, 2, 0), (Some(0), 1, 2)]),
            (&[(Some(1), &[1000]), (Some(1), &[24]), (Some(1), &[1])], &[(Some(1), 1, 0), (Some(1), 2, 1)]),
            (&[(Some(1), &[600, 600, 600])], &[(Some(1), 1, 0), (Some(1), 1, 1), (Some(1), 1, 2)]),
            (&[(Some(1), &[400, 400, 400, 400]), (Some(1), &[1])], &[(Some(1), 2, 0), (Some(1), 3, 2)]),
            // Larger than a slab, and not split.
            (&[(Some(1), &[1, 3000, 1])], &[(Some(1), 1, 0), (Some(1), 1, 1), (Some(1), 1, 2)]),
        ];
        for &(submissions, expected) in cases {
            let mut all = Vec::new();
            let requests = submissions.iter().map(|&(topic, sizes)| {
                let lines: Vec<String> = sizes.iter().map(|kb| "x".repeat(kb << 10)).collect();
                all.extend(lines.clone());
                Request { submission: submission(topic, &lines), receipt: oneshot::channel().0 }
            });
            let frame = Frame::of(requests.collect(), Offset(0), Millis(0));
            let shapes: Vec<_> =
                frame.slabs.iter().map(|s| (s.topic.map(|t| t.0), s.count, s.first_offset.0)).collect();
            let name: Vec<_> = submissions.iter().map(|s| s.1).collect();
            assert_eq!(shapes, expected, "{name:?}");
            assert!(frame.slabs.iter().flat_map(lines_of).eq(all), "{name:?}");
        }
    }
}
