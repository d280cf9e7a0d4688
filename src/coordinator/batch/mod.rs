//! Batch: rank 0 plans rounds of parts of the inputs laid end to end, and collects. A round is an epoch; the last one is empty and closes every
//! pane (its cut carries `idle`).

pub mod keep;
mod pieces;

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::coordinator::batch::keep::{Keeper, PiecesStand, Stand};
use crate::coordinator::batch::pieces::{Next, Pieces};
use crate::coordinator::checkpoint::Checkpoint;
use crate::coordinator::gather::{Draft, InFlight, Results};
use crate::coordinator::restores::{self, RestoreError};
use crate::core::epoch::Cut;
use crate::core::ledger::Counts;
use crate::core::plan::Plan;
use crate::core::units::{Epoch, Millis, Offset};
use crate::input::{Input, InputError};
use crate::store::StoreError;
use crate::transport::idle::Idle;
use crate::transport::{Channel, Transport, TransportError};
use crate::wire::{self, Message, Open, Sealing, WireCounts, WireError};

pub use crate::coordinator::batch::pieces::Places;

/// What each worker gets of one round, about.
const SHARE_BYTES: u64 = 4 << 20;
/// Parts that each worker gets of one round, however small.
const SHARE_PARTS: usize = 64;
/// Workers count positions within a round by 32 bits.
const ROUND_POSITIONS_MAX: u64 = 1 << 31;
/// What keeping a round takes, so many times over, passes before the next one is kept.
const KEEP_COST_PART: u32 = 20;
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
    /// None: all remembered ids stay in memory.
    pub sealing: Option<&'a Sealing>,
}

/// What a batch was begun with.
pub struct Begun {
    /// Where its rounds are kept; None: nowhere.
    pub keeper: Option<Keeper>,
    /// The round after which it goes on.
    pub found: Option<(Stand, Checkpoint)>,
    /// How often a round is kept, about.
    pub keep_every: Duration,
}

/// What a round came to.
#[derive(Debug)]
pub struct Round {
    pub results: Results,
    /// Bytes of the files that were read for it.
    pub read_bytes: u64,
    /// It is to be kept: what was written of it and those before must be on disk before `each` returns.
    pub kept: bool,
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
    /// Another start passes it over.
    #[error("what was kept of the batch can no longer be read: {0}")]
    Kept(std::io::Error),
    /// Exit as the error says.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl From<RestoreError> for BatchError {
    fn from(error: RestoreError) -> Self {
        match error {
            RestoreError::Transport(error) => Self::Transport(error),
            RestoreError::Checkpoint(error) => Self::Kept(error),
        }
    }
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
    in_flight: VecDeque<Handed>,
    ended: (Epoch, Offset),
    closing: bool,
    /// What checkpoints carry along.
    bundle: Arc<str>,
    keeping: Keeping,
}

/// A round in the workers' hands.
struct Handed {
    round: InFlight,
    read_bytes: u64,
    /// Where the inputs stood after it, if it is to be kept.
    stand: Option<PiecesStand>,
}

/// The rounds that are kept.
struct Keeping {
    keeper: Option<Keeper>,
    /// The one in the making: the workers' part, and ours once its results are taken.
    draft: Option<Draft>,
    stand: Option<Stand>,
    every: Duration,
    last: Instant,
    /// What keeping the last one took, from its cut on.
    cost: Duration,
    counts: Counts,
    read_bytes: u64,
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

/// Runs the inputs through the workers; `each` takes every round's results, in order, and gives how many bytes of rejects were written so far. The rows and
/// the entries of views come with the last round.
///
/// # Errors
/// As `BatchError` says; what `each` says ends the batch.
pub fn run(
    transport: &mut dyn Transport,
    idle: &mut Idle,
    job: Job<'_>,
    begun: Begun,
    mut each: impl FnMut(Round, &Places) -> Result<u64, BatchError>,
) -> Result<(), BatchError> {
    let mut run = Run::open(transport, job, begun)?;
    while !(run.closing && run.in_flight.is_empty()) {
        let mut busy = run.transport.progress()?;
        while !run.closing && run.in_flight.len() < ROUNDS_IN_FLIGHT && run.hand_out()? {
            busy = true;
        }
        while let Some(received) = run.transport.receive()? {
            busy = true;
            run.take(received.from - 1, wire::decode(received.message)?)?;
        }
        while let Some(handed) = run.in_flight.pop_front_if(|handed| handed.round.complete()) {
            let Handed { round, read_bytes, stand } = handed;
            let results = round.results()?;
            run.keeping.counts += results.counts;
            run.keeping.read_bytes += read_bytes;
            let round = Round { results, read_bytes, kept: stand.is_some() };
            let rejects_bytes = each(round, run.pieces.places())?;
            if let Some(pieces) = stand {
                run.keeping.taken(pieces, rejects_bytes);
            }
        }
        run.keeping.keep();
        if busy {
            idle.worked();
        } else {
            idle.rest(run.transport.under_way());
        }
    }
    job.inputs.iter().try_for_each(Input::unchanged)?;
    for worker in 0..run.workers {
        send(run.transport, worker, &Message::Close)?;
    }
    Ok(())
}

impl Keeping {
    /// Whether the round that ends now is to be kept: not the last, and not so often that keeping takes much of the time.
    fn is_due(&self) -> bool {
        let wait = self.every.max(self.cost * KEEP_COST_PART);
        self.keeper.is_some() && self.draft.is_none() && self.last.elapsed() >= wait
    }

    /// The results of the round that is to be kept are taken.
    fn taken(&mut self, pieces: PiecesStand, rejects_bytes: u64) {
        let counts = WireCounts::from(self.counts).0;
        self.stand = Some(Stand { pieces, read_bytes: self.read_bytes, counts, rejects_bytes });
        if let Some(draft) = &mut self.draft {
            draft.counts = Some(self.counts);
        }
    }

    /// Keeps what is whole. One that cannot be kept is told of: the batch goes on, and would only have to go further back.
    fn keep(&mut self) {
        if !self.draft.as_ref().is_some_and(Draft::complete) {
            return;
        }
        let (Some(keeper), Some(stand)) = (&mut self.keeper, self.stand.take()) else { return };
        let Some(draft) = self.draft.take() else { return };
        if let Err(error) = keeper.keep(&stand, draft) {
            tracing::warn!(%error, "the state of the batch cannot be kept; if it is killed it goes on from further back");
        }
        self.cost = self.last.elapsed();
        self.last = Instant::now();
    }
}

impl<'a> Run<'a> {
    fn open(transport: &'a mut dyn Transport, job: Job<'a>, begun: Begun) -> Result<Self, BatchError> {
        let workers = transport.size() - 1;
        for worker in 0..workers {
            let bundle = job.bundle.to_owned();
            let sealing = job.sealing.cloned();
            let (worker_number, workers) = (worker as u32, workers as u32);
            let open = Open { worker: worker_number, workers, bundle, id_key: 0, batch: true, sealing };
            send(transport, worker, &Message::Open(open))?;
        }
        let mut keeping = Keeping {
            keeper: begun.keeper,
            draft: None,
            stand: None,
            every: begun.keep_every,
            last: Instant::now(),
            cost: Duration::ZERO,
            counts: Counts::default(),
            read_bytes: 0,
        };
        let (pieces, ended) = match begun.found {
            None => (Pieces::new(job.plan, job.inputs, job.limit), (Epoch(0), Offset(0))),
            Some((stand, checkpoint)) => {
                (keeping.counts, keeping.read_bytes) = (stand.counts(), stand.read_bytes);
                let ended = checkpoint.at();
                restores::send(checkpoint, transport)?;
                (Pieces::resume(job.plan, job.inputs, &stand.pieces)?, ended)
            }
        };
        let (filling, in_flight) = (Filling::default(), VecDeque::new());
        Ok(Self {
            transport,
            workers,
            pieces,
            filling,
            in_flight,
            ended,
            closing: false,
            bundle: job.bundle.into(),
            keeping,
        })
    }

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
        // Where a part was taken that is of the next round, the inputs stand further on.
        let kept = !self.closing && self.pieces.end() == end && self.keeping.is_due();
        let checkpoint = self.keeping.keeper.as_ref().filter(|_| kept).map(Keeper::next_share);
        if let Some(share) = checkpoint {
            self.keeping.draft = Some(Draft::new(cut, share, self.workers, Arc::clone(&self.bundle)));
            self.keeping.last = Instant::now();
        }
        let told = Message::EndEpoch { cut: cut.into(), base: base.0, checkpoint: checkpoint.map(|share| share.0) };
        for worker in 0..self.workers {
            send(self.transport, worker, &told)?;
        }
        let (round, stand) = (InFlight::new(cut, base, self.workers), checkpoint.map(|_| self.pieces.stand()));
        self.in_flight.push_back(Handed { round, read_bytes, stand });
        self.ended = (cut.epoch, end);
        Ok(())
    }

    fn take(&mut self, worker: usize, message: Message) -> Result<(), BatchError> {
        match message {
            Message::Report(report) => {
                let handed = self.in_flight.iter_mut().find(|handed| handed.round.cut.epoch.0 == report.epoch);
                let Some(Handed { round, .. }) = handed else {
                    panic!("a report on round {}, which is not in flight", report.epoch)
                };
                round.take(worker, *report);
            }
            Message::CheckpointPart { epoch, common, sections, last } => {
                let draft = self.keeping.draft.as_mut().filter(|draft| draft.cut.epoch.0 == epoch);
                let Some(draft) = draft else { panic!("a part of checkpoint {epoch}, which was not asked for") };
                draft.take(common, sections, last);
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
