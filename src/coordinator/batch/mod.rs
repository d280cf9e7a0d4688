//! Batch: rank 0 plans rounds of parts of the inputs laid end to end, and collects. A round is an epoch; the last one is empty and closes every
//! pane (its cut carries `idle`).

mod pieces;

use std::collections::VecDeque;

use crate::coordinator::batch::pieces::{Next, Pieces};
use crate::coordinator::gather::{InFlight, Results};
use crate::core::epoch::Cut;
use crate::core::plan::Plan;
use crate::core::units::{Epoch, Millis, Offset};
use crate::input::{Input, InputError};
use crate::transport::idle::Idle;
use crate::transport::{Channel, Transport, TransportError};
use crate::wire::{self, Message, Open, WireError};

pub use crate::coordinator::batch::pieces::Places;

/// What each worker gets of one round, about.
const SHARE_BYTES: u64 = 4 << 20;
/// Parts that each worker gets of one round, however small.
const SHARE_PARTS: usize = 64;
/// Workers count positions within a round by 32 bits.
const ROUND_POSITIONS_MAX: u64 = 1 << 31;
/// Rounds in the workers' hands at once: one is read while the one before is exchanged.
const ROUNDS_IN_FLIGHT: usize = 2;

/// What a batch is of.
#[derive(Clone, Copy, Debug)]
pub struct Job<'a> {
    /// The pipelines, as `pipeline::Bundle` writes them, and the plan of them.
    pub bundle: &'a str,
    pub plan: &'a Plan,
    pub inputs: &'a [Input],
    /// Only the first so many records.
    pub limit: Option<u64>,
}

/// What a round came to.
#[derive(Debug)]
pub struct Round {
    pub results: Results,
    /// Bytes of the files that were read for it.
    pub read_bytes: u64,
}

/// Why a batch ends early.
#[derive(Debug, thiserror::Error)]
pub enum BatchError {
    #[error(transparent)]
    Transport(#[from] TransportError),
    #[error(transparent)]
    Wire(#[from] WireError),
    /// Exit 65.
    #[error("an input cannot be read: {0}")]
    Input(String),
    /// What became of the results could not be written; exit 74.
    #[error("the output cannot be written: {0}")]
    Output(std::io::Error),
}

impl From<InputError> for BatchError {
    fn from(error: InputError) -> Self {
        Self::Input(error.to_string())
    }
}

struct Run<'a> {
    transport: &'a mut dyn Transport,
    workers: usize,
    pieces: Pieces<'a>,
    filling: Filling,
    /// With the bytes that were read for each.
    in_flight: VecDeque<(InFlight, u64)>,
    ended: (Epoch, Offset),
    closing: bool,
}

/// The round that is being handed out.
#[derive(Debug, Default)]
struct Filling {
    /// Who gets the next part, and what it has already: bytes and parts.
    worker: usize,
    weight: u64,
    parts: usize,
    /// The positions in the round so far.
    span: Option<(Offset, Offset)>,
    read_bytes: u64,
}

/// Runs the inputs through the workers; `each` takes every round's results, in order. The rows come with the last round.
///
/// # Errors
/// As `BatchError` says; what `each` says ends the batch.
pub fn run(
    transport: &mut dyn Transport,
    idle: &mut Idle,
    job: Job<'_>,
    mut each: impl FnMut(Round, &Places) -> Result<(), BatchError>,
) -> Result<(), BatchError> {
    let workers = transport.size() - 1;
    for worker in 0..workers {
        let (worker, workers) = (worker as u32, workers as u32);
        let open = Open { worker, workers, bundle: job.bundle.to_owned(), id_key: 0, batch: true };
        send(transport, worker as usize, &Message::Open(open))?;
    }
    let mut run = Run {
        transport,
        workers,
        pieces: Pieces::new(job.plan, job.inputs, job.limit),
        filling: Filling::default(),
        in_flight: VecDeque::new(),
        ended: (Epoch(0), Offset(0)),
        closing: false,
    };
    while !(run.closing && run.in_flight.is_empty()) {
        let mut busy = run.transport.progress()?;
        while !run.closing && run.in_flight.len() < ROUNDS_IN_FLIGHT && run.hand_out()? {
            busy = true;
        }
        while let Some(received) = run.transport.receive()? {
            busy = true;
            run.take(received.from - 1, wire::decode(received.message)?)?;
        }
        while run.in_flight.front().is_some_and(|(round, _)| round.complete()) {
            let Some((round, read_bytes)) = run.in_flight.pop_front() else { break };
            each(Round { results: round.results()?, read_bytes }, run.pieces.places())?;
        }
        if busy {
            idle.worked();
        } else {
            idle.rest(run.transport.under_way());
        }
    }
    job.inputs.iter().try_for_each(Input::unchanged)?;
    for worker in 0..workers {
        send(run.transport, worker, &Message::Close)?;
    }
    Ok(())
}

impl Run<'_> {
    /// Hands out the next part, or ends the round; false if there is nothing to hand out yet.
    fn hand_out(&mut self) -> Result<bool, BatchError> {
        let share = match self.pieces.next()? {
            Next::Part(share) => share,
            Next::Wait => return Ok(false),
            Next::End => {
                // What was begun is a round of its own; the last one is empty.
                self.closing = self.filling.span.is_none();
                self.end_round()?;
                return Ok(true);
            }
        };
        // A very long line that was passed over leaves a gap.
        if self.filling.span.is_some_and(|(start, _)| share.end.0 - start.0 > ROUND_POSITIONS_MAX) {
            self.end_round()?;
        }
        send(self.transport, self.filling.worker, &share.message)?;
        let start = self.filling.span.map_or(share.start, |(start, _)| start);
        self.filling.span = Some((start, share.end));
        self.filling.read_bytes += share.read_bytes;
        self.filling.weight += share.weight;
        self.filling.parts += 1;
        if self.filling.weight >= SHARE_BYTES || self.filling.parts >= SHARE_PARTS {
            let worker = self.filling.worker + 1;
            self.filling = Filling { worker, weight: 0, parts: 0, ..std::mem::take(&mut self.filling) };
            if worker == self.workers {
                self.end_round()?;
            }
        }
        Ok(true)
    }

    fn end_round(&mut self) -> Result<(), BatchError> {
        let Filling { span, read_bytes, .. } = std::mem::take(&mut self.filling);
        let (epoch, ended) = self.ended;
        let (base, end) = span.unwrap_or((ended, ended));
        let idle = self.closing.then_some(Millis(0));
        let cut = Cut { epoch: epoch.next(), end, ingest: Millis(0), up: Millis(0), idle, emitted: Epoch(0) };
        for worker in 0..self.workers {
            send(self.transport, worker, &Message::EndEpoch { cut: cut.into(), base: base.0, checkpoint: None })?;
        }
        self.in_flight.push_back((InFlight::new(cut, base, self.workers), read_bytes));
        self.ended = (cut.epoch, end);
        Ok(())
    }

    fn take(&mut self, worker: usize, message: Message) -> Result<(), BatchError> {
        match message {
            Message::Report(report) => {
                let round = self.in_flight.iter_mut().find(|(round, _)| round.cut.epoch.0 == report.epoch);
                let Some((round, _)) = round else {
                    panic!("a report on round {}, which is not in flight", report.epoch)
                };
                round.take(worker, *report);
            }
            Message::Failed { why } => return Err(BatchError::Input(why)),
            other => panic!("a batch is not sent {other:?}"),
        }
        Ok(())
    }
}

fn send(transport: &mut dyn Transport, worker: usize, message: &Message) -> Result<(), TransportError> {
    transport.send(worker + 1, Channel::Data, wire::encode(message))
}
