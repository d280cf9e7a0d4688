//! Batch: rank 0 plans rounds of splits over the inputs laid end to end, and collects. A round is an epoch; the last one is empty and closes every
//! pane (its cut carries `idle`).

use std::collections::VecDeque;

use crate::coordinator::gather::{InFlight, Results};
use crate::core::epoch::Cut;
use crate::core::units::{Epoch, Millis, Offset, TopicId};
use crate::transport::idle::Idle;
use crate::transport::{Channel, Transport, TransportError};
use crate::wire::{self, Message, Open, Split, WireError};

/// A worker reads its input in pieces of this size: large enough for the disk, small enough to spread.
const SPLIT_BYTES: u64 = 2 << 20;
/// Splits that each worker gets in one round.
const SPLITS_IN_ROUND: usize = 2;
/// Rounds in the workers' hands at once: one is read while the one before is exchanged.
const ROUNDS_IN_FLIGHT: usize = 2;

/// An input and its size.
#[derive(Clone, Debug)]
pub struct Input {
    pub path: String,
    /// The topic of all its events; None: each names its own.
    pub topic: Option<TopicId>,
    pub bytes: u64,
}

/// Why a batch ends early.
#[derive(Debug, thiserror::Error)]
pub enum BatchError {
    #[error(transparent)]
    Transport(#[from] TransportError),
    #[error(transparent)]
    Wire(#[from] WireError),
    /// An input that cannot be read; exit 65.
    #[error("an input cannot be read: {0}")]
    Input(String),
    /// What became of the results could not be written; exit 74.
    #[error("the output cannot be written: {0}")]
    Output(std::io::Error),
}

/// Where each input begins in the inputs laid end to end, and what is left to hand out.
#[derive(Debug)]
struct Splits {
    inputs: VecDeque<(Input, u64)>,
    at: u64,
}

impl Splits {
    fn new(inputs: &[Input]) -> Self {
        let mut base = 0;
        let placed = inputs.iter().map(|input| {
            let placed = (input.clone(), base);
            base += input.bytes;
            placed
        });
        Self { inputs: placed.collect(), at: 0 }
    }

    /// The next piece, in the order of the files; never one that spans two of them.
    fn next(&mut self) -> Option<Split> {
        while let Some((input, base)) = self.inputs.front() {
            if self.at < input.bytes {
                let end = input.bytes.min(self.at + SPLIT_BYTES);
                let topic = input.topic.map(|topic| topic.0);
                let split = Split { path: input.path.clone(), topic, start: self.at, end, base: base + self.at };
                self.at = end;
                return Some(split);
            }
            self.inputs.pop_front();
            self.at = 0;
        }
        None
    }
}

struct Run<'a> {
    transport: &'a mut dyn Transport,
    splits: Splits,
    in_flight: VecDeque<InFlight>,
    ended: (Epoch, Offset),
    closing: bool,
}

/// Runs the inputs through the workers; `each` takes every round's results, in order. The rows come with the last round.
///
/// # Errors
/// As `BatchError` says; what `each` says ends the batch.
pub fn run(
    transport: &mut dyn Transport,
    idle: &mut Idle,
    bundle: &str,
    inputs: &[Input],
    mut each: impl FnMut(Offset, Results) -> Result<(), BatchError>,
) -> Result<(), BatchError> {
    let workers = transport.size() - 1;
    for worker in 0..workers {
        let (worker, workers) = (worker as u32, workers as u32);
        let open = Open { worker, workers, bundle: bundle.to_owned(), id_key: 0, batch: true };
        send(transport, worker as usize, &Message::Open(open))?;
    }
    let splits = Splits::new(inputs);
    let mut run = Run { transport, splits, in_flight: VecDeque::new(), ended: (Epoch(0), Offset(0)), closing: false };
    while !(run.closing && run.in_flight.is_empty()) {
        let mut busy = run.transport.progress()?;
        while !run.closing && run.in_flight.len() < ROUNDS_IN_FLIGHT {
            run.begin_round(workers)?;
            busy = true;
        }
        while let Some(received) = run.transport.receive()? {
            busy = true;
            run.take(received.from - 1, wire::decode(received.message)?)?;
        }
        while run.in_flight.front().is_some_and(InFlight::complete) {
            let Some(round) = run.in_flight.pop_front() else { break };
            let end = round.cut.end;
            each(end, round.results()?)?;
        }
        if busy {
            idle.worked();
        } else {
            idle.rest(run.transport.under_way());
        }
    }
    for worker in 0..workers {
        send(run.transport, worker, &Message::Close)?;
    }
    Ok(())
}

impl Run<'_> {
    /// Hands out the next round: to each worker a run of splits, all in the order of the input.
    fn begin_round(&mut self, workers: usize) -> Result<(), BatchError> {
        let (epoch, base) = self.ended;
        let mut end = base;
        let mut any = false;
        'workers: for worker in 0..workers {
            for _ in 0..SPLITS_IN_ROUND {
                let Some(split) = self.splits.next() else { break 'workers };
                any = true;
                end = Offset(split.base + (split.end - split.start));
                send(self.transport, worker, &Message::Split(split))?;
            }
        }
        self.closing = !any;
        let idle = self.closing.then_some(Millis(0));
        let cut = Cut { epoch: epoch.next(), end, ingest: Millis(0), up: Millis(0), idle, emitted: Epoch(0) };
        for worker in 0..workers {
            send(self.transport, worker, &Message::EndEpoch { cut: cut.into(), base: base.0, checkpoint: None })?;
        }
        self.in_flight.push_back(InFlight::new(cut, base, workers));
        self.ended = (cut.epoch, end);
        Ok(())
    }

    fn take(&mut self, worker: usize, message: Message) -> Result<(), BatchError> {
        match message {
            Message::Report(report) => {
                let round = self.in_flight.iter_mut().find(|f| f.cut.epoch.0 == report.epoch);
                let Some(round) = round else { panic!("a report on round {}, which is not in flight", report.epoch) };
                round.take(worker, *report);
            }
            Message::Failed { why } => return Err(BatchError::Input(why)),
            Message::Consumed { .. } => {}
            other => panic!("a batch is not sent {other:?}"),
        }
        Ok(())
    }
}

fn send(transport: &mut dyn Transport, worker: usize, message: &Message) -> Result<(), TransportError> {
    transport.send(worker + 1, Channel::Data, wire::encode(message))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn splits_cover_every_byte_once_and_in_order() {
        let sizes = [0, 1, SPLIT_BYTES, SPLIT_BYTES + 1, 0, 5 * SPLIT_BYTES - 1];
        let inputs: Vec<Input> =
            sizes.iter().enumerate().map(|(n, &bytes)| Input { path: n.to_string(), topic: None, bytes }).collect();
        let mut splits = Splits::new(&inputs);
        let (mut covered, mut by_file) = (0, [0; 6]);
        while let Some(split) = splits.next() {
            assert_eq!(split.base, covered);
            let file: usize = split.path.parse().unwrap();
            assert_eq!(split.start, by_file[file]);
            assert!(split.end > split.start && split.end - split.start <= SPLIT_BYTES);
            by_file[file] = split.end;
            covered += split.end - split.start;
        }
        assert_eq!(by_file, sizes);
    }
}
