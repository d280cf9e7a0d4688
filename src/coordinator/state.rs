//! The coordinator, pure: it is told what happened and says what to do. It knows no transport, log, store or clock.
//!
//! Slabs are handed out in the log's order to workers that have credit. An epoch is ended by a cut, which is either one of those that a
//! replay found in the log, or a new one that is then logged. Two epochs may be in flight; their results are committed in order, once the
//! log says that their cut and what they emit is on disk.

mod workers;
mod due;
mod finishing;
mod emitting;
mod mending;
mod changing;
mod backfilling;
mod committing;
mod checkpointing;
mod shown;

use std::collections::VecDeque;
use std::sync::Arc;

use tokio::sync::oneshot;

use crate::coordinator::change::Change;
use crate::coordinator::gather::{Draft, InFlight};
use crate::coordinator::state::changing::Changing;
use crate::coordinator::state::checkpointing::Checkpointing;
use crate::coordinator::state::committing::Committing;
use crate::coordinator::state::due::Due;
use crate::coordinator::state::emitting::Emitting;
use crate::coordinator::state::mending::Mending;
use crate::coordinator::state::workers::Workers;
use crate::coordinator::totals::{Totalling, Totals};
use crate::coordinator::waiters::Waiters;
use crate::core::columns::Slab;
use crate::core::emit::Emission;
use crate::core::epoch::Cut;
use crate::core::keygroup::Share;
use crate::core::mend::{Mends, Retry};
use crate::core::plan::Plan;
use crate::core::units::{Epoch, Millis, Offset};
use crate::ingest::Fate;
use crate::store::{Commit, Progress};
use crate::wire::{Facts, Message, WireError};

/// Epochs that may be in the workers' hands at once: one is decoded while the one before it is exchanged.
const EPOCHS_IN_FLIGHT_MAX: usize = 2;

/// What the coordinator may use.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Bytes of slabs that may be with one worker, dispatched and not decoded.
    pub credit_bytes: u64,
    /// An epoch of this many bytes is cut.
    pub epoch_bytes: u64,
    /// An epoch of this age is cut.
    pub epoch_age: Millis,
    /// A checkpoint is taken after this many bytes.
    pub checkpoint_bytes: u64,
    /// Or after this time, if events came.
    pub checkpoint_age: Millis,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            credit_bytes: 8 << 20,
            epoch_bytes: 8 << 20,
            epoch_age: Millis(20),
            checkpoint_bytes: 256 << 20,
            checkpoint_age: Millis(30_000),
        }
    }
}

/// Where a life of the job begins: what the store and the checkpoint say, and what is left of the log.
#[derive(Clone, Debug)]
pub struct Beginning {
    /// What the store has, under this life's generation; its counts are the ledger's.
    pub progress: Progress,
    /// Whether the store has any progress row.
    pub stored: bool,
    /// The epoch whose state the workers were given, and its end.
    pub checkpoint: (Epoch, Offset),
    /// The log's cuts after the checkpoint.
    pub cuts: VecDeque<Cut>,
    /// The bundle that holds after the checkpoint.
    pub bundle: Arc<str>,
    /// The log's changes of it after the checkpoint, each with the epoch after which it holds.
    pub changes: VecDeque<(Epoch, Change)>,
    /// What epochs up to this one have emitted is in the log.
    pub emitted: Epoch,
    /// The log's emissions that lie after the checkpoint, each with the end of its frame.
    pub emits: Vec<(Epoch, Offset)>,
    /// What the log has of retried and discarded dead letters after the checkpoint.
    pub mends: Mends,
    /// The newest `ingest` in the log.
    pub ingest: Millis,
    /// The share of which the next checkpoint is to bring all ids.
    pub share: Share,
    /// What the events up to the checkpoint have come to.
    pub totals: Totals,
}

/// The time, as the caller's clock has it.
#[derive(Clone, Copy, Debug)]
pub struct Now {
    pub unix: Millis,
    /// Up and willing to take events, over all generations.
    pub up: Millis,
    /// Since this life began; runs on while events are refused.
    pub awake: Millis,
}

/// What is to be done.
#[derive(Debug)]
pub enum Action {
    /// To a worker, from 0.
    Send(usize, Message),
    /// Append this cut to the log, and in one frame with it the dead letters that its epoch discards and the bundle that holds after it.
    Log(Cut, Vec<Offset>, Option<Arc<str>>),
    /// Append this to the log too.
    Emit(Box<Emission>),
    /// Hand this to the store's writer; commits come in order.
    Commit(Box<Commit>),
    /// Write this checkpoint.
    Checkpoint(Box<Draft>),
    /// Answer a request that waited for its events' fates.
    Answer(oneshot::Sender<Vec<Fate>>, Vec<Fate>),
}

/// Rank 0's knowledge of the job.
pub struct State {
    plan: Arc<Plan>,
    bundle: Arc<str>,
    limits: Limits,
    workers: Workers,

    /// Cuts still to be followed.
    replay: VecDeque<Cut>,
    /// The last cut's epoch and end.
    ended: (Epoch, Offset),
    /// The end of the slabs handed out.
    dispatched: Offset,
    filled_bytes: u64,
    opened: Millis,
    /// The newest `ingest` of a slab or cut.
    ingest: Millis,

    in_flight: VecDeque<InFlight>,
    emitting: Emitting,
    mending: Mending,
    changing: Changing,
    /// The last epoch after which the pipelines changed.
    changed: Epoch,
    committing: Committing,
    checkpointing: Checkpointing,

    facts: Facts,
    /// Whether this silence has had its TIME record.
    timed: bool,
    draining: bool,
    waiters: Waiters,
    totals: Totalling,
    late_by_window: Vec<u64>,
    expression_errors: Vec<u64>,
}

impl State {
    #[must_use]
    pub fn new(plan: Arc<Plan>, workers: usize, limits: Limits, beginning: Beginning) -> Self {
        let durable = beginning.cuts.back().map_or(beginning.checkpoint.0, |c| c.epoch);
        Self {
            late_by_window: vec![0; plan.windows.len()],
            expression_errors: vec![0; plan.pipelines.len()],
            plan,
            bundle: beginning.bundle,
            limits,
            workers: Workers::new(workers, limits.credit_bytes),
            replay: beginning.cuts,
            ended: beginning.checkpoint,
            dispatched: beginning.checkpoint.1,
            filled_bytes: 0,
            opened: Millis(0),
            ingest: beginning.ingest,
            in_flight: VecDeque::new(),
            emitting: Emitting::new(beginning.checkpoint.0, beginning.emitted, beginning.emits),
            mending: Mending::new(beginning.mends),
            changing: Changing::new(beginning.changes),
            changed: Epoch(0),
            committing: Committing::new(beginning.progress, beginning.stored, durable),
            checkpointing: Checkpointing::new(limits, beginning.checkpoint.0, beginning.share),
            facts: Facts::default(),
            timed: false,
            draining: false,
            waiters: Waiters::default(),
            totals: Totalling::new(beginning.totals),
        }
    }

    /// Whether the next slab of the log can be handed out now.
    #[must_use]
    pub fn wants_slab(&self) -> bool {
        let at_a_cut = self.replay.front().is_some_and(|c| c.end == self.dispatched);
        let full = self.replay.is_empty() && self.filled_bytes >= self.limits.epoch_bytes;
        !at_a_cut && !full && self.may_begin() && self.workers.with_credit().any(|has_credit| has_credit)
    }

    /// Whether one more epoch may be in flight, and its results kept.
    fn may_begin(&self) -> bool {
        self.in_flight.len() < EPOCHS_IN_FLIGHT_MAX && self.committing.has_room() && !self.changing.is_under_way()
    }

    /// Hands out the next slab of the log. Only where `wants_slab`.
    pub fn dispatch(&mut self, slab: &Slab, now: Now) -> Action {
        assert_eq!(slab.first_offset, self.dispatched, "slabs come in the log's order, without a gap");
        if self.dispatched == self.ended.1 {
            self.opened = now.awake;
        }
        self.dispatched = slab.end();
        assert!(self.replay.front().is_none_or(|c| self.dispatched <= c.end), "a logged cut falls into a slab");
        self.emitting.dispatched(self.dispatched);
        let bytes = slab.bytes.len() as u64;
        self.filled_bytes += bytes;
        self.checkpointing.dispatched(bytes);
        self.ingest = self.ingest.max(slab.ingest);
        Action::Send(self.workers.dispatch(bytes), Message::Slab(slab.into()))
    }

    /// Ends the epoch if it is time; `idle_log` says that the feed has no slab.
    pub fn tick(&mut self, now: Now, idle_log: bool) -> Vec<Action> {
        if !self.may_begin() {
            return Vec::new();
        }
        if let Some(cut) = self.replay.front().copied() {
            if cut.end != self.dispatched {
                return Vec::new();
            }
            self.replay.pop_front();
            let change = self.changing.followed(cut.epoch);
            return self.end_epoch(cut, change, now);
        }
        let idle = match self.due(now, idle_log) {
            None => return Vec::new(),
            Some(Due::Epoch) => None,
            Some(Due::Time(idle)) => Some(idle),
        };
        let ingest = self.ingest.max(now.unix);
        let emitted = self.emitting.upto();
        let cut = Cut { epoch: self.ended.0.next(), end: self.dispatched, ingest, up: now.up, idle, emitted };
        let change = self.changing.cut();
        let bundle = change.as_ref().map(|change| Arc::clone(&change.bundle));
        let mut actions = vec![Action::Log(cut, self.mending.cut(cut), bundle)];
        actions.extend(self.end_epoch(cut, change, now));
        actions
    }

    fn end_epoch(&mut self, cut: Cut, change: Option<Change>, now: Now) -> Vec<Action> {
        assert_eq!(cut.epoch, self.ended.0.next(), "epochs are dense");
        let newest = change.as_ref().and_then(|change| change.plan.lives.newest());
        assert!(newest <= Some(cut.epoch), "a pipeline begins anew after the epoch that its rows are called by");
        let base = self.ended.1;
        self.ingest = self.ingest.max(cut.ingest);
        // A checkpoint is of one plan, and so is the epoch after it: where they change none is taken.
        let checkpoint = (change.is_none() && self.is_checkpoint_due(cut, now))
            .then(|| self.checkpointing.begin(cut, self.workers.len(), Arc::clone(&self.bundle), now));
        if cut.end > base {
            self.timed = false;
        }
        self.in_flight.push_back(InFlight::new(cut, base, self.workers.len()));
        (self.ended, self.filled_bytes) = ((cut.epoch, cut.end), 0);
        let to_all = || 0..self.workers.len();
        let mut actions = Vec::new();
        if let Some(change) = change {
            let configure = |_| Message::Configure { epoch: cut.epoch.0, bundle: change.bundle.as_ref().to_owned() };
            actions.extend(to_all().map(|w| Action::Send(w, configure(w))));
            self.changing.begin(cut.epoch, change, self.workers.len());
        }
        let whole = checkpoint.map(|share| share.0);
        let end = |_| Message::EndEpoch { cut: cut.into(), base: base.0, checkpoint: whole };
        actions.extend(to_all().map(|w| Action::Send(w, end(w))));
        actions
    }

    /// Takes a worker's message.
    ///
    /// # Errors
    /// If it says what no worker of this build says.
    pub fn message(&mut self, worker: usize, message: Message) -> Result<Vec<Action>, WireError> {
        let mut actions = Vec::new();
        match message {
            Message::Ready { facts, .. } => {
                self.workers.told(worker, facts);
                self.facts = self.workers.facts();
            }
            Message::Consumed { bytes, events } => self.workers.consumed(worker, bytes, events),
            Message::Figures(figures) => self.workers.measured(worker, figures),
            Message::Report(report) => {
                self.workers.told(worker, report.facts.clone());
                let in_flight = self.in_flight.iter_mut().find(|f| f.cut.epoch.0 == report.epoch);
                let Some(in_flight) = in_flight else {
                    panic!("a report on epoch {}, which is not in flight", report.epoch)
                };
                in_flight.take(worker, *report);
                self.finish(&mut actions)?;
            }
            Message::Configured { epoch, facts } => {
                self.workers.told(worker, facts);
                if self.changing.configured(Epoch(epoch)) {
                    self.facts = self.workers.facts();
                }
            }
            Message::CheckpointPart { epoch, common, sections, last } => {
                self.checkpointing.take(epoch, common, sections, last);
                self.release_checkpoint(&mut actions);
            }
            other => panic!("a coordinator is not sent {other:?}"),
        }
        Ok(actions)
    }

    /// Hands over the finished epochs whose cut is on disk, and what they emit.
    fn release(&mut self, actions: &mut Vec<Action>) {
        while let Some(commit) = self.committing.pop_durable(&self.emitting) {
            actions.push(Action::Commit(Box::new(commit)));
        }
    }

    fn release_checkpoint(&mut self, actions: &mut Vec<Action>) {
        let whole = self.checkpointing.pop_whole(self.committing.committed_to().epoch);
        actions.extend(whole.map(|draft| Action::Checkpoint(Box::new(draft))));
    }

    /// The log has the cuts and emissions up to these epochs on disk, where it says so, the emissions before `end`.
    pub fn durable(&mut self, cut: Option<Epoch>, emitted: Option<Epoch>, end: Offset) -> Vec<Action> {
        self.committing.durable(cut.unwrap_or_default());
        if let Some(upto) = emitted {
            self.emitting.durable(upto, end);
            // Where they stand is in the log; a replay may have handed them out.
            self.emitting.dispatched(self.dispatched);
        }
        let mut actions = Vec::new();
        self.release(&mut actions);
        actions
    }

    /// The store has committed everything up to here.
    pub fn committed(&mut self, to: Progress) -> Vec<Action> {
        self.committing.committed(to);
        self.totals.commit(to.epoch);
        let mut actions = Vec::new();
        self.release_checkpoint(&mut actions);
        while let Some((to, fates)) = self.waiters.pop_committed(to.end) {
            actions.push(Action::Answer(to, fates));
        }
        actions
    }

    /// A request waits for the fates of these offsets. Called before their slab is dispatched.
    pub fn wait_for(&mut self, first: Offset, count: u32, to: oneshot::Sender<Vec<Fate>>) {
        self.waiters.wait_for(first, count, to);
    }

    /// These events of the log are retries. Called before their slab is dispatched.
    pub fn retried(&mut self, retries: Vec<Retry>) {
        self.mending.retried(retries);
    }

    /// These dead letters are to be discarded, with the next epochs.
    pub fn discard(&mut self, letters: Vec<Offset>) {
        self.mending.ask(letters);
    }

    /// The pipelines are to change after the next epoch that is cut. Only one change at a time is asked for.
    pub fn configure(&mut self, change: Change) {
        self.changing.ask(change);
    }

    /// The same of a life that begins with a change: no events are taken before it is made, so that what comes is counted by it.
    pub fn configure_at_start(&mut self, change: Change) {
        self.changing.ask_at_start(change);
    }

    /// Whether a change is asked for, or not all workers work by it yet.
    #[must_use]
    pub fn is_changing(&self) -> bool {
        self.changing.is_asked() || self.changing.is_under_way()
    }

    /// No more events will come: what is there is finished, whatever its age.
    pub fn drain(&mut self) {
        self.draining = true;
    }

    /// Everything handed out is committed.
    #[must_use]
    pub fn at_rest(&self) -> bool {
        self.replay.is_empty()
            && self.dispatched == self.ended.1
            && self.in_flight.is_empty()
            && self.committing.len() == 0
            && !self.checkpointing.is_under_way()
            && !self.emitting.is_under_way()
            && !self.mending.is_waiting()
            && !self.is_changing()
    }

    /// Forgets requests whose clients have stopped waiting.
    pub fn forget_the_gone(&mut self) {
        self.waiters.forget_the_gone();
    }

    /// Whether the log's cuts have all been followed and the results up to the last are finished.
    #[must_use]
    pub fn caught_up(&self) -> bool {
        self.replay.is_empty() && self.in_flight.is_empty() && !self.changing.is_under_way()
    }

    /// Whether events may be taken: the change that the life begins with is made, if there is one, and the replay has caught up, goes on only when a store that is away takes results, or waits for a new pipeline's past.
    #[must_use]
    pub fn may_serve(&self) -> bool {
        let may = self.caught_up() || !self.committing.has_room() || self.changing.backfill().is_some();
        may && !self.changing.is_starting()
    }

    #[must_use]
    pub fn dispatched(&self) -> Offset {
        self.dispatched
    }

    #[must_use]
    pub fn committed_to(&self) -> Progress {
        self.committing.committed_to()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::columns::Numbering;
    use crate::core::ledger::Counts;
    use crate::core::plan::{Audit, FieldPath, Lives, PipelinePlan, TimeFormat, TopicPlan};
    use crate::core::schema::Schema;
    use crate::core::units::{Generation, LogId, Micros, TopicId};
    use crate::wire::Report;

    pub(super) fn plan() -> Plan {
        let topic = TopicPlan {
            name: String::new(),
            schema: Arc::new(Schema::compile("{}").expect("a schema")),
            id: None,
            correlation: None,
            time: FieldPath(Vec::new()),
            time_format: TimeFormat::Rfc3339 { zone: None },
            out_of_order: Micros(0),
            max_future: Micros(0),
            idle_after: Micros(5_000_000),
            remember: Micros(0),
            emitted: None,
            retired: false,
        };
        let pipeline = PipelinePlan {
            name: String::new(),
            topics: vec![TopicId(0)],
            audit: Audit::None,
            ..PipelinePlan::default()
        };
        Plan {
            topic_field: String::new(),
            topics: vec![topic],
            columns: Vec::new(),
            pipelines: vec![pipeline],
            windows: Vec::new(),
            views: Vec::new(),
            alerts: Vec::new(),
            webhooks: Vec::new(),
            emits: Vec::new(),
            lives: Lives::default(),
        }
    }

    /// Of a job that has nothing yet.
    pub(super) fn beginning() -> Beginning {
        let (epoch, end) = (Epoch(0), Offset(0));
        Beginning {
            progress: Progress { log: LogId(0), generation: Generation(1), epoch, end, counts: Counts::default() },
            stored: false,
            checkpoint: (epoch, end),
            cuts: VecDeque::new(),
            bundle: "".into(),
            changes: VecDeque::new(),
            emitted: epoch,
            emits: Vec::new(),
            mends: Mends::default(),
            ingest: Millis(0),
            share: Share::default(),
            totals: Totals::default(),
        }
    }

    pub(super) fn state(beginning: Beginning) -> State {
        State::new(Arc::new(plan()), 1, Limits::default(), beginning)
    }

    /// The log's first, of one event.
    pub(super) fn slab(ingest: Millis) -> Slab {
        let bytes = bytes::Bytes::from_static(b"{}\n");
        Slab { first_offset: Offset(0), count: 1, ingest, topic: None, bytes, numbering: Numbering::Dense }
    }

    pub(super) fn at(up: u64) -> Now {
        Now { unix: Millis(up), up: Millis(up), awake: Millis(up) }
    }

    pub(super) fn logged(actions: &[Action]) -> Option<Cut> {
        actions.iter().find_map(|a| if let Action::Log(cut, ..) = a { Some(*cut) } else { None })
    }

    pub(super) fn report(epoch: u64, facts: Facts) -> Message {
        Message::Report(Box::new(Report { epoch, facts, ..Report::default() }))
    }

    #[test]
    fn a_cut_is_not_taken_in_before_its_slabs() {
        let mut state = state(beginning());
        state.dispatch(&slab(Millis(90_000)), at(40_000));
        // The clock went back after the slab was taken in.
        assert_eq!(logged(&state.tick(at(50_000), true)).map(|c| c.ingest), Some(Millis(90_000)));
    }
}
