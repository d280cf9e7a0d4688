//! Rank 0's loop: polls the transport, the feed and what its threads report, steps the state, and does what that says. It decides nothing
//! about results; it is the only part of rank 0 that calls the transport.

mod showing;

use std::io;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, TryRecvError};
use std::time::Duration;

use tokio::sync::oneshot;

use crate::clock::Clock;
use crate::coordinator::backfill::error::FillError;
use crate::coordinator::backfill::fills::{Fills, Order};
use crate::coordinator::backfill::thread::Thread;
use crate::coordinator::change::{Asked, Changes};
use crate::coordinator::checkpoint::needed_from;
use crate::coordinator::gather::Draft;
use crate::coordinator::latency::Latency;
use crate::coordinator::run::showing::Pressed;
use crate::coordinator::state::{Action, Now, State};
use crate::coordinator::status::{self, CheckpointStatus, CommitStatus, Phase, ProcessStatus, SharedStatus};
use crate::core::ledger::Ledger;
use crate::core::units::{Epoch, Generation, Millis, Offset};
use crate::ingest::Refusal;
use crate::ingest::feed::Feed;
use crate::ingest::owed::Ended;
use crate::ingest::queue::{Cutter, Ingest};
use crate::ingest::writer as log_writer;
use crate::log::LogError;
use crate::store::writer::{self as store_writer, Commits};
use crate::store::{Progress, StoreError};
use crate::transport::idle::Idle;
use crate::transport::process;
use crate::transport::{Channel, Transport, TransportError};
use crate::wire::{self, Message, WireError};

/// How often pages see a new status.
const STATUS_EVERY: Millis = Millis(200);
/// How often workers hear that rank 0 is there; `worker::run` gives up after many of these.
pub const HEARTBEAT_EVERY: Millis = Millis(1000);

/// A checkpoint that stands.
#[derive(Clone, Copy, Debug)]
pub struct Written {
    pub epoch: Epoch,
    /// Time of its cut.
    pub at: Millis,
    pub bytes: u64,
    pub took: Duration,
    /// What the log must keep for it.
    pub needs: Offset,
    /// There are fewer than must be kept.
    pub few: bool,
}

/// How often segments that have become older than LOG_RETENTION are looked for.
const RETAIN_EVERY: Millis = Millis(10_000);
/// While IDS_MAX ids are remembered, one submission is let in this often: event time moves on by events alone, and ids expire by it.
const IDS_TRICKLE_EVERY: Millis = Millis(1000);

/// After a checkpoint that could not be written the next one is not hurried for this long: it needs room too.
const CHECKPOINT_RETRY: Millis = Millis(5000);

/// A drain that the store holds up ends after this: what is not committed lies in the log, and the next start takes it up.
const DRAIN_MAX: Millis = Millis(45_000);

/// What rank 0's threads report to its loop.
#[derive(Debug)]
pub enum Event {
    Log(log_writer::Note),
    Store(store_writer::Note),
    /// A checkpoint was written (or not).
    Checkpointed(io::Result<Written>),
    /// Stop taking events, finish what is there, end.
    Drain,
}

/// Why the loop ends other than by a drain.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    #[error(transparent)]
    Transport(#[from] TransportError),
    #[error(transparent)]
    Wire(#[from] WireError),
    #[error(transparent)]
    Log(#[from] LogError),
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error("the past of a pipeline cannot be made: {0}")]
    Backfill(#[from] FillError),
}

/// What the loop works with.
pub struct Coordinator<'a> {
    pub state: State,
    pub transport: &'a mut dyn Transport,
    pub idle: &'a mut Idle,
    pub clock: Arc<dyn Clock>,
    pub feed: Feed,
    pub cutter: Cutter,
    pub commits: Commits,
    pub checkpoints: Sender<Draft>,
    pub ingest: Ingest,
    pub status: Arc<SharedStatus>,
    pub events: Receiver<Event>,
    /// Ids that may be remembered (IDS_MAX).
    pub ids_max: u64,
    /// LOG_RETENTION.
    pub retention: Option<Duration>,
    pub generation: Generation,
    /// Up and willing in the generations before.
    pub up_before: Millis,
    /// Time of the newest frame before this life.
    pub ingest_before: Millis,
    /// Changes of the pipelines that are asked for.
    pub changes: Changes,
    /// Pipelines that begin with the log's past.
    pub fills: Fills,
    pub filling: Thread,
    /// Who waits for one that was taken, and after which epoch it holds, once that is known.
    pub waiting: Option<(Option<Epoch>, oneshot::Sender<Epoch>)>,
    /// Called when events are taken for the first time.
    pub serving: Option<Box<dyn FnOnce() + 'a>>,
}

/// What the loop remembers from turn to turn.
struct Turn {
    up: Millis,
    unix: Millis,
    awake: Millis,
    latency: Latency,
    phase: Phase,
    drain_since: Option<Millis>,
    shown: Millis,
    beat: Millis,
    retained: Millis,
    trickled: Millis,
    checkpoint_failed: Option<Millis>,
    /// By worker.
    pressed: Vec<Pressed>,
    rank0: ProcessStatus,
    /// By worker; what each uses it tells itself.
    processes: Vec<ProcessStatus>,
    checkpoint: CheckpointStatus,
    checkpoint_needs: Offset,
    committed: Progress,
}

impl Coordinator<'_> {
    /// Runs until a drain has finished. True if everything is committed then.
    ///
    /// # Errors
    /// As `RunError` says: the job must be started anew, or given up.
    pub fn run(mut self) -> Result<bool, RunError> {
        let workers = self.transport.size() - 1;
        let mut turn = Turn {
            up: self.up_before,
            unix: self.ingest_before,
            awake: self.clock.up(),
            latency: Latency::default(),
            phase: Phase::Replaying,
            drain_since: None,
            shown: Millis(0),
            beat: Millis(0),
            retained: Millis(0),
            trickled: Millis(0),
            checkpoint_failed: None,
            pressed: vec![Pressed::default(); workers],
            rank0: ProcessStatus {
                host: process::host(),
                pid: std::process::id(),
                up_since: Some(self.clock.unix()),
                ..ProcessStatus::default()
            },
            processes: vec![ProcessStatus::default(); workers],
            checkpoint: self.status.get().checkpoint,
            checkpoint_needs: Offset(0),
            committed: self.state.committed_to(),
        };
        loop {
            let gated = self.ingest.gated();
            let now = self.time(&mut turn, gated);
            let short_of_room = matches!(gated, Some(Refusal::LogFull | Refusal::DiskFull));
            if short_of_room && turn.checkpoint_failed.is_none_or(|at| now.awake.0 >= at.0 + CHECKPOINT_RETRY.0) {
                self.state.hurry_checkpoint();
            }
            let mut busy = self.transport.progress()?;
            busy |= self.receive(&mut turn)?;
            busy |= self.take_events(&mut turn, now, short_of_room)?;
            // Asked first: what the writer has just pushed is found below.
            let quiet = self.cutter.is_idle();
            let idle_log = self.dispatch(&mut turn, now, &mut busy)?;
            self.state.discard(self.ingest.letters().take_discards());
            let kept = self.fills.keeps();
            busy |= self.fill()?;
            if self.fills.keeps() != kept {
                // What the log was told before may let go of what is needed now.
                self.retain(&mut turn, now);
            }
            if let Some(Asked { change, durable }) = self.changes.take() {
                self.state.configure(change);
                self.waiting = Some((None, durable));
            }
            let actions = self.state.tick(now, idle_log);
            busy |= !actions.is_empty();
            self.act(actions)?;
            self.follow_phase(&mut turn, now);
            let drained = turn.drain_since.is_some() && quiet && idle_log && self.state.at_rest();
            if drained || turn.drain_since.is_some_and(|since| now.awake.0 >= since.0 + DRAIN_MAX.0) {
                self.show(&mut turn, now);
                self.leave()?;
                return Ok(drained);
            }
            self.beat(&mut turn, now)?;
            if now.awake.0 >= turn.shown.0 + STATUS_EVERY.0 {
                self.state.forget_the_gone();
                self.show(&mut turn, now);
            }
            if now.awake.0 >= turn.retained.0 + RETAIN_EVERY.0 {
                self.retain(&mut turn, now);
            }
            if busy {
                self.idle.worked();
            } else {
                self.idle.rest(self.transport.under_way());
            }
        }
    }

    /// The wall clock never goes back here; `up` runs only while events are taken.
    fn time(&self, turn: &mut Turn, gated: Option<Refusal>) -> Now {
        let awake = self.clock.up();
        if turn.phase == Phase::Serving && gated.is_none() {
            turn.up.0 += awake.0 - turn.awake.0;
        }
        turn.awake = awake;
        turn.unix = turn.unix.max(self.clock.unix());
        Now { unix: turn.unix, up: turn.up, awake }
    }

    fn receive(&mut self, turn: &mut Turn) -> Result<bool, RunError> {
        let mut busy = false;
        while let Some(received) = self.transport.receive()? {
            busy = true;
            let worker = received.from - 1;
            let message = wire::decode(received.message)?;
            if let Message::Ready { pid, host, .. } = &message {
                let process = ProcessStatus { host: host.clone(), pid: *pid, ..ProcessStatus::default() };
                turn.processes[worker] = ProcessStatus { up_since: Some(turn.unix), ..process };
            }
            let actions = self.state.message(worker, message)?;
            self.act(actions)?;
        }
        Ok(busy)
    }

    fn take_events(&mut self, turn: &mut Turn, now: Now, short_of_room: bool) -> Result<bool, RunError> {
        let mut busy = false;
        loop {
            let event = match self.events.try_recv() {
                Ok(event) => event,
                Err(TryRecvError::Empty | TryRecvError::Disconnected) => return Ok(busy),
            };
            busy = true;
            match event {
                Event::Log(log_writer::Note::Durable { end, cut, emitted, extent, took }) => {
                    self.status.update(|s| s.log = extent);
                    if let Some(took) = took {
                        self.status.took.log_commit.count(took, 1);
                    }
                    let actions = self.state.durable(cut, emitted, end);
                    self.act(actions)?;
                    if let Some(cut) = cut {
                        self.ingest.letters().durable(cut);
                        self.tell_of_change(cut);
                    }
                }
                Event::Log(log_writer::Note::Failed(error)) => return Err(error.into()),
                Event::Store(store_writer::Note::Committed(to, work)) => self.committed(turn, to, work, now)?,
                Event::Store(store_writer::Note::Away(why)) => {
                    tracing::warn!(%why, "the store is away; events are taken on, results wait");
                    self.status.update(|s| s.store_away_since = s.store_away_since.or(Some(now.unix)));
                }
                Event::Store(store_writer::Note::Back) => self.status.update(|s| s.store_away_since = None),
                Event::Store(store_writer::Note::Failed(error)) => return Err(error.into()),
                Event::Checkpointed(Ok(written)) => {
                    let (bytes, took) = (written.bytes, written.took);
                    self.status.took.checkpoint.count(took, 1);
                    turn.checkpoint = CheckpointStatus {
                        epoch: written.epoch,
                        at: Some(written.at),
                        written: Some(status::Written { bytes, took }),
                    };
                    turn.checkpoint_needs = written.needs;
                    // Segments go when two checkpoints have passed them.
                    if written.few || (short_of_room && written.needs < needed_from(turn.committed.end)) {
                        self.state.owe_checkpoint();
                    }
                    self.retain(turn, now);
                }
                Event::Checkpointed(Err(error)) => {
                    // The log keeps what the checkpoint would have covered.
                    tracing::warn!(%error, "a checkpoint cannot be written; the next one has what it would have had");
                    self.state.repeat_share();
                    self.state.owe_checkpoint();
                    turn.checkpoint_failed = Some(now.awake);
                }
                Event::Drain => {
                    turn.phase = Phase::Draining;
                    turn.drain_since = turn.drain_since.or(Some(now.awake));
                    self.ingest.gate(Some(Refusal::Draining));
                    self.state.drain();
                }
            }
        }
    }

    /// The cut of this epoch is on disk.
    fn tell_of_change(&mut self, cut: Epoch) {
        if let Some((Some(epoch), to)) = self.waiting.take_if(|(at, _)| at.is_some_and(|at| at <= cut)) {
            // Whoever asked may be gone.
            let _ = to.send(epoch);
        }
    }

    fn committed(
        &mut self,
        turn: &mut Turn,
        to: Progress,
        work: Option<store_writer::Work>,
        now: Now,
    ) -> Result<(), RunError> {
        let events = to.end.0 - turn.committed.end.0;
        turn.committed = to;
        let actions = self.state.committed(to);
        let totals = self.totals(turn);
        self.status.update(|s| {
            s.ledger.counts = to.counts;
            s.ledger.in_flight -= events;
            s.committed = to.epoch;
            s.store_away_since = None;
            s.totals = totals;
            if let Some(store_writer::Work { rows, took }) = work {
                s.commit = Some(CommitStatus { at: now.unix, rows, took });
            }
        });
        if let Some(work) = work {
            self.status.took.store_commit.count(work.took, 1);
        }
        let took = &self.status.took.receipt_to_committed;
        turn.latency.committed(to.end, now.unix, |waited, events| took.count(Duration::from_millis(waited.0), events));
        self.ingest.letters().committed(to.epoch, to.end);
        self.act(actions)
    }

    /// Goes on with the pasts of new pipelines; true if there was something to do.
    fn fill(&mut self) -> Result<bool, RunError> {
        let mut orders = Vec::new();
        while let Some(note) = self.filling.note() {
            orders.extend(self.fills.take(note, &self.state)?);
        }
        orders.extend(self.fills.turn(&self.state));
        let busy = !orders.is_empty();
        for order in orders {
            self.carry_out(order)?;
        }
        Ok(busy)
    }

    fn carry_out(&mut self, order: Order) -> Result<(), RunError> {
        match order {
            Order::Fill { change, backfill, stores } => self.filling.fill(&change, backfill, stores)?,
            Order::EndWith(epoch) => self.filling.end_with(epoch),
            Order::Forget(plan) => self.filling.forget(&plan)?,
            Order::RemoveMark => self.filling.remove_mark()?,
            Order::Change(asked) => self.changes.put(asked),
            Order::Adopt(past) => {
                let actions = self.state.adopt(&past);
                self.act(actions)?;
            }
        }
        Ok(())
    }

    /// Lets go of segments that neither a checkpoint, nor the store, nor LOG_RETENTION needs.
    fn retain(&mut self, turn: &mut Turn, now: Now) {
        turn.retained = now.awake;
        let needed_from =
            self.fills.needed_from(&self.state, turn.checkpoint_needs).min(needed_from(turn.committed.end));
        let keep_since = self.retention.map(|r| Millis(now.unix.0.saturating_sub(r.as_millis() as u64)));
        self.cutter.retain(needed_from, keep_since);
    }

    /// Hands out what the workers have credit for; true if the log has nothing more to hand out.
    fn dispatch(&mut self, turn: &mut Turn, now: Now, busy: &mut bool) -> Result<bool, RunError> {
        while self.state.wants_slab() {
            let Some(slab) = self.feed.next_slab()? else { return Ok(true) };
            // Before the slab is handed out: its fates must find whoever waits for them.
            for waiting in self.feed.waiting() {
                self.state.wait_for(waiting.first, waiting.count, waiting.to);
            }
            self.state.retried(self.feed.retries());
            *busy = true;
            if turn.phase != Phase::Replaying {
                turn.latency.dispatched(slab.end(), u64::from(slab.count), slab.ingest);
            }
            let action = self.state.dispatch(&slab, now);
            self.act(vec![action])?;
        }
        Ok(false)
    }

    fn act(&mut self, actions: Vec<Action>) -> Result<(), RunError> {
        for action in actions {
            match action {
                Action::Send(worker, message) => {
                    self.transport.send(worker + 1, Channel::Data, wire::encode(&message))?;
                }
                Action::Log(cut, discards, bundle) => {
                    self.ingest.letters().cut(cut.epoch, &discards);
                    if let (true, Some((at, _))) = (bundle.is_some(), &mut self.waiting) {
                        *at = Some(cut.epoch);
                        if let Some(order) = self.fills.logged(cut.epoch) {
                            self.carry_out(order)?;
                        }
                    }
                    self.cutter.cut(Ended { cut, discards, bundle });
                }
                Action::Emit(emission) => self.cutter.emit(*emission),
                Action::Commit(commit) => self.commits.push(*commit),
                // The thread lives as long as this loop.
                Action::Checkpoint(draft) => drop(self.checkpoints.send(*draft)),
                // Whoever asked may be gone.
                Action::Answer(to, fates) => drop(to.send(fates)),
            }
        }
        Ok(())
    }

    /// Opens the way in once the replay has caught up, and closes it while too many ids are remembered.
    fn follow_phase(&mut self, turn: &mut Turn, now: Now) {
        let full = self.state.facts().ids >= self.ids_max;
        match (turn.phase, self.ingest.gated()) {
            (Phase::Replaying, _) if self.state.may_serve() => {
                turn.phase = Phase::Serving;
                self.ingest.gate(None);
                self.show(turn, now);
                if let Some(tell) = self.serving.take() {
                    tell();
                }
            }
            (Phase::Serving, None) if full => self.ingest.gate(Some(Refusal::IdsFull)),
            (Phase::Serving, Some(Refusal::IdsFull)) if !full => self.ingest.gate(None),
            (Phase::Serving, Some(Refusal::IdsFull)) if now.awake.0 >= turn.trickled.0 + IDS_TRICKLE_EVERY.0 => {
                turn.trickled = now.awake;
                self.ingest.let_one_in();
            }
            _ => {}
        }
    }

    fn beat(&mut self, turn: &mut Turn, now: Now) -> Result<(), RunError> {
        if now.awake.0 >= turn.beat.0 + HEARTBEAT_EVERY.0 {
            turn.beat = now.awake;
            for rank in 1..self.transport.size() {
                self.transport.send(rank, Channel::Control, wire::encode(&Message::Heartbeat))?;
            }
        }
        for (pressed, full) in turn.pressed.iter_mut().zip(self.state.without_credit()) {
            pressed.turn(full);
        }
        Ok(())
    }

    fn leave(&mut self) -> Result<(), RunError> {
        for worker in 1..self.transport.size() {
            self.transport.send(worker, Channel::Data, wire::encode(&Message::Close))?;
        }
        Ok(())
    }
}

/// The ledger as a life begins: everything in the log that the store does not have yet is in flight.
#[must_use]
pub fn opening_ledger(log_end: Offset, progress: Progress) -> Ledger {
    Ledger { accepted: log_end.0, counts: progress.counts, in_flight: log_end.0 - progress.end.0 }
}
