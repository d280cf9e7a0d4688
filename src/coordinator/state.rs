//! The coordinator, pure: it is told what happened and says what to do. It knows no transport, log, store or clock.
//!
//! Slabs are handed out in the log's order to workers that have credit. An epoch is ended by a cut, which is either one of those that a
//! replay found in the log, or a new one that is then logged. Two epochs may be in flight; their results are committed in order, once the
//! log says that their cut and what they emit is on disk.

mod backfilling;
mod changing;
mod checkpointing;
mod due;
mod emitting;
mod mending;
mod shown;

use std::collections::VecDeque;
use std::sync::Arc;

use tokio::sync::oneshot;

use crate::coordinator::change::Change;
use crate::coordinator::gather::{Draft, InFlight, add, facts_of_all, last_states};
use crate::coordinator::state::changing::Changing;
use crate::coordinator::state::due::Due;
use crate::coordinator::state::emitting::Emitting;
use crate::coordinator::state::mending::Mending;
use crate::coordinator::waiters::Waiters;
use crate::core::columns::Slab;
use crate::core::emit::{Emission, deliveries};
use crate::core::epoch::Cut;
use crate::core::keygroup::Share;
use crate::core::ledger::Counts;
use crate::core::mend::{Mends, Retry};
use crate::core::plan::Plan;
use crate::core::plan::carry::Carry;
use crate::core::units::{Epoch, Millis, Offset, TopicId};
use crate::ingest::Fate;
use crate::store::{Commit, Progress};
use crate::wire::{Facts, Message, WireError};

/// Epochs that may be in the workers' hands at once: one is decoded while the one before it is exchanged.
const EPOCHS_IN_FLIGHT_MAX: usize = 2;
/// Epochs whose results may await their commit; beyond it nothing more is dispatched.
const RESULTS_MAX: usize = 64;
/// Bytes of results that may await their commit.
const RESULTS_BYTES_MAX: usize = 64 << 20;
/// A checkpoint waits while more epochs than this await their commit, so that it is not ahead of the store when it is needed.
const CHECKPOINT_LAG_MAX: usize = 8;

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
    workers: Vec<Worker>,

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
    /// Finished, waiting for their cut to be durable, and what they emit.
    finished: VecDeque<(Commit, usize)>,
    /// With the store's writer: epoch, end, bytes.
    committing: VecDeque<(Epoch, Offset, usize)>,
    waiting_bytes: usize,
    durable: Epoch,
    progress: Progress,
    stored: bool,
    committed: Progress,

    facts: Facts,
    /// Whether this silence has had its TIME record.
    timed: bool,
    /// The checkpoint in the making. It is written when the store has come past it: a checkpoint ahead of the store would be no use to a start, and one of a cut
    /// that never came to the disk would be wrong.
    draft: Option<Draft>,
    bytes_since_checkpoint: u64,
    /// None: the next checkpoint waits for no time.
    checkpoint_at: Option<Millis>,
    /// The share of which the next checkpoint is to bring all ids.
    share: Share,
    /// Topics whose ids were forgotten since the last one.
    retired: Vec<TopicId>,
    draining: bool,
    waiters: Waiters,
    late_by_window: Vec<u64>,
    expression_errors: Vec<u64>,
}

#[derive(Clone, Debug)]
struct Worker {
    /// Dispatched and not decoded.
    queued: u64,
    events: u64,
    facts: Facts,
}

/// One worker as the status page shows it: (bytes queued, events decoded, facts).
pub type WorkerView<'a> = (u64, u64, &'a Facts);

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
            workers: vec![Worker { queued: 0, events: 0, facts: Facts::default() }; workers],
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
            finished: VecDeque::new(),
            committing: VecDeque::new(),
            waiting_bytes: 0,
            durable,
            progress: beginning.progress,
            stored: beginning.stored,
            committed: beginning.progress,
            facts: Facts::default(),
            timed: false,
            draft: None,
            // Of the last life's two one is loaded; the log lets go of segments when there are two again.
            bytes_since_checkpoint: u64::from(beginning.checkpoint.0 > Epoch(0)),
            checkpoint_at: Some(Millis(0)),
            share: beginning.share,
            retired: Vec::new(),
            draining: false,
            waiters: Waiters::default(),
        }
    }

    /// Whether the next slab of the log can be handed out now.
    #[must_use]
    pub fn wants_slab(&self) -> bool {
        let at_a_cut = self.replay.front().is_some_and(|c| c.end == self.dispatched);
        let full = self.replay.is_empty() && self.filled_bytes >= self.limits.epoch_bytes;
        !at_a_cut && !full && self.may_begin() && self.workers.iter().any(|w| w.queued < self.limits.credit_bytes)
    }

    /// Whether one more epoch may be in flight, and its results kept.
    fn may_begin(&self) -> bool {
        self.in_flight.len() < EPOCHS_IN_FLIGHT_MAX && self.has_room() && !self.changing.is_under_way()
    }

    /// Hands out the next slab of the log. Only where `wants_slab`.
    pub fn dispatch(&mut self, slab: &Slab, now: Now) -> Action {
        assert_eq!(slab.first_offset, self.dispatched, "slabs come in the log's order, without a gap");
        if self.dispatched == self.ended.1 {
            self.opened = now.awake;
        }
        self.dispatched = Offset(slab.first_offset.0 + u64::from(slab.count));
        assert!(self.replay.front().is_none_or(|c| self.dispatched <= c.end), "a logged cut falls into a slab");
        self.emitting.dispatched(self.dispatched);
        let bytes = slab.bytes.len() as u64;
        self.filled_bytes += bytes;
        self.bytes_since_checkpoint += bytes;
        self.ingest = self.ingest.max(slab.ingest);
        let (index, worker) = self.emptiest_worker();
        worker.queued += bytes;
        Action::Send(index, Message::Slab(slab.into()))
    }

    fn emptiest_worker(&mut self) -> (usize, &mut Worker) {
        let emptiest = self.workers.iter_mut().enumerate().min_by_key(|(_, w)| w.queued);
        emptiest.unwrap_or_else(|| panic!("a job has at least one worker"))
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
        let checkpoint = (change.is_none() && self.is_checkpoint_due(cut, now)).then_some(self.share);
        if let Some(share) = checkpoint {
            let mut draft = Draft::new(cut, share, self.workers.len(), Arc::clone(&self.bundle));
            draft.retired = std::mem::take(&mut self.retired);
            self.draft = Some(draft);
            self.share = share.next();
            (self.bytes_since_checkpoint, self.checkpoint_at) = (0, Some(now.awake));
        }
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
                self.workers[worker].facts = facts;
                self.facts = facts_of_all(self.workers.iter().map(|w| w.facts.clone()));
            }
            Message::Consumed { bytes, events } => {
                let worker = &mut self.workers[worker];
                worker.queued -= bytes;
                worker.events += events;
            }
            Message::Report(report) => {
                self.workers[worker].facts = report.facts.clone();
                let in_flight = self.in_flight.iter_mut().find(|f| f.cut.epoch.0 == report.epoch);
                let Some(in_flight) = in_flight else {
                    panic!("a report on epoch {}, which is not in flight", report.epoch)
                };
                in_flight.take(worker, *report);
                self.finish(&mut actions)?;
            }
            Message::Configured { epoch, facts } => {
                self.workers[worker].facts = facts;
                if self.changing.configured(Epoch(epoch)) {
                    self.facts = facts_of_all(self.workers.iter().map(|w| w.facts.clone()));
                }
            }
            Message::CheckpointPart { epoch, common, sections, last } => {
                let draft = self.draft.as_mut().filter(|d| d.cut.epoch.0 == epoch);
                let Some(draft) = draft else { panic!("a part of checkpoint {epoch}, which was not asked for") };
                draft.take(common, sections, last);
                self.release_checkpoint(&mut actions);
            }
            other => panic!("a coordinator is not sent {other:?}"),
        }
        Ok(actions)
    }

    /// Moves on the epochs that all workers have reported.
    fn finish(&mut self, actions: &mut Vec<Action>) -> Result<(), WireError> {
        while self.in_flight.front().is_some_and(InFlight::complete) {
            let Some(in_flight) = self.in_flight.pop_front() else { break };
            self.facts = facts_of_all(self.workers.iter().map(|w| w.facts.clone()));
            let (cut, base) = (in_flight.cut, in_flight.base);
            let results = in_flight.results()?;
            add(&mut self.late_by_window, &results.late_by_window);
            add(&mut self.expression_errors, &results.expression_errors);
            self.waiters.tell(cut.end, &results.duplicates, &results.filtered, &results.dead_letters);
            let plan = Arc::clone(&self.plan);
            let emission = self.emitting.finish(&plan, cut.epoch, &results.rows, &results.alerts, results.emitted);
            actions.extend(emission.map(|emission| Action::Emit(Box::new(emission))));
            let mended = self.mending.finish(cut);
            let gone = self.change_after(cut.epoch);
            if cut.epoch <= self.progress.epoch {
                self.count_checkpoint(cut);
                continue;
            }
            let counts = results.counts;
            assert_eq!(counts.total(), cut.end.0 - base.0, "every event of an epoch has one fate");
            self.progress_to(cut, counts);
            self.count_checkpoint(cut);
            let bytes = results.bytes;
            let commit = Commit {
                after: self.stored.then_some(Epoch(cut.epoch.0 - 1)),
                to: self.progress,
                rows: results.rows,
                removed: results.removed,
                views: results.views,
                history: results.history,
                outbox: deliveries(&plan, &results.alerts),
                alerts: last_states(results.alerts),
                dead_letters: results.dead_letters,
                events: results.events,
                lineage: results.lineage,
                mended,
                gone,
                past: None,
                plan: Some(plan),
            };
            self.stored = true;
            self.waiting_bytes += bytes;
            self.finished.push_back((commit, bytes));
        }
        self.release(actions);
        Ok(())
    }

    /// The plan that holds after this epoch, if another one does; gives the views that are gone with the one before.
    fn change_after(&mut self, epoch: Epoch) -> Vec<usize> {
        let Some(change) = self.changing.finish(epoch).cloned() else { return Vec::new() };
        self.changed = epoch;
        let carry = Carry::between(&self.plan, &change.plan);
        let (windows, pipelines) = (change.plan.windows.len(), change.plan.pipelines.len());
        self.late_by_window = Carry::moved(&carry.windows, &self.late_by_window, windows, 0);
        self.expression_errors = Carry::moved(&carry.pipelines, &self.expression_errors, pipelines, 0);
        // They are of the pipelines before; the workers tell new ones before anything is decided by them.
        self.facts.clocks.clear();
        self.retired.extend(carry.forgotten);
        self.bytes_since_checkpoint = self.bytes_since_checkpoint.max(1);
        (self.plan, self.bundle) = (change.plan, change.bundle);
        carry.views.iter().enumerate().filter(|(_, to)| to.is_none()).map(|(at, _)| at).collect()
    }

    fn progress_to(&mut self, cut: Cut, counts: Counts) {
        self.progress.epoch = cut.epoch;
        self.progress.end = cut.end;
        self.progress.counts += counts;
    }

    /// Hands over the finished epochs whose cut is on disk, and what they emit.
    fn release(&mut self, actions: &mut Vec<Action>) {
        let is_on_disk = |epoch| epoch <= self.durable && self.emitting.is_on_disk(epoch);
        while self.finished.front().is_some_and(|(commit, _)| is_on_disk(commit.to.epoch)) {
            let Some((commit, bytes)) = self.finished.pop_front() else { break };
            self.committing.push_back((commit.to.epoch, commit.to.end, bytes));
            actions.push(Action::Commit(Box::new(commit)));
        }
    }

    fn release_checkpoint(&mut self, actions: &mut Vec<Action>) {
        let whole = self.draft.take_if(|d| d.complete() && d.cut.epoch <= self.committed.epoch);
        actions.extend(whole.map(|d| Action::Checkpoint(Box::new(d))));
    }

    /// The log has the cuts and emissions up to these epochs on disk, where it says so, the emissions before `end`.
    pub fn durable(&mut self, cut: Option<Epoch>, emitted: Option<Epoch>, end: Offset) -> Vec<Action> {
        self.durable = self.durable.max(cut.unwrap_or_default());
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
        while self.committing.front().is_some_and(|&(epoch, ..)| epoch <= to.epoch) {
            self.waiting_bytes -= self.committing.pop_front().map_or(0, |(_, _, bytes)| bytes);
        }
        self.committed = to;
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
            && self.finished.is_empty()
            && self.committing.is_empty()
            && self.draft.is_none()
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
        let may = self.caught_up() || !self.has_room() || self.changing.backfill().is_some();
        may && !self.changing.is_starting()
    }

    /// Whether the results of one more epoch may be kept.
    fn has_room(&self) -> bool {
        self.finished.len() + self.committing.len() < RESULTS_MAX && self.waiting_bytes < RESULTS_BYTES_MAX
    }

    #[must_use]
    pub fn dispatched(&self) -> Offset {
        self.dispatched
    }

    #[must_use]
    pub fn committed_to(&self) -> Progress {
        self.committed
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::plan::{Audit, FieldPath, PipelinePlan, TimeFormat, TopicPlan};
    use crate::core::schema::Schema;
    use crate::core::units::Micros;
    use crate::core::units::{Generation, LogId, TopicId};
    use crate::wire::{Clock, Report};

    fn plan() -> Plan {
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
            lives: crate::core::plan::Lives::default(),
        }
    }

    fn state() -> State {
        let (epoch, end) = (Epoch(0), Offset(0));
        let progress = Progress { log: LogId(0), generation: Generation(1), epoch, end, counts: Counts::default() };
        let cuts = VecDeque::new();
        let beginning = Beginning {
            progress,
            stored: false,
            checkpoint: (epoch, end),
            cuts,
            bundle: "".into(),
            changes: VecDeque::new(),
            emitted: epoch,
            emits: Vec::new(),
            mends: Mends::default(),
            ingest: Millis(0),
            share: Share::default(),
        };
        State::new(Arc::new(plan()), 1, Limits::default(), beginning)
    }

    fn at(up: u64) -> Now {
        Now { unix: Millis(up), up: Millis(up), awake: Millis(up) }
    }

    fn logged(actions: &[Action]) -> Option<Cut> {
        actions.iter().find_map(|a| if let Action::Log(cut, ..) = a { Some(*cut) } else { None })
    }

    fn report(epoch: u64, facts: Facts) -> Message {
        Message::Report(Box::new(Report { epoch, facts, ..Report::default() }))
    }

    /// The clock ticks through a silence; only these moments have a cut, and none while an epoch is in flight or the log has more to hand out.
    #[test]
    fn a_silence_has_a_time_record_then_one_at_the_windows_deadline() {
        let mut state = state();
        let facts = |watermark_us: i64, next_close_us: Option<i64>| {
            let (idle_base_us, last_up_ms) = (Some(0), Some(0));
            let clock = Clock { watermark_us, idle_base_us, last_up_ms, next_close_us, coming_us: watermark_us };
            Facts { clocks: vec![clock], ..Facts::default() }
        };
        let open = Some(10_000_000);
        let ready = Message::Ready { pid: 0, host: String::new(), facts: facts(0, open) };
        state.message(0, ready).expect("a message");
        let mut epoch = 0;
        let mut check = |up: u64, cut: Option<Option<u64>>, then: Facts| {
            assert!(state.tick(at(up), false).is_empty(), "the log is not idle");
            let logged = logged(&state.tick(at(up), true));
            assert_eq!(logged.map(|c| c.idle), cut.map(|idle| idle.map(Millis)), "at {up}");
            if logged.is_some() {
                epoch += 1;
                assert!(state.tick(at(up), true).is_empty(), "one is in flight");
                state.message(0, report(epoch, then)).expect("a message");
            }
        };
        check(4_999, None, facts(0, open));
        check(5_000, Some(Some(5_000)), facts(5_000_000, open));
        check(9_999, None, facts(0, open));
        check(10_000, Some(Some(10_000)), facts(10_000_000, open));
        // The watermark has passed the end; the window closes an epoch later.
        check(10_001, Some(None), facts(10_000_000, None));
        check(1_000_000, None, facts(0, None));
    }

    /// What a start may build upon is never ahead of the store.
    #[test]
    fn a_checkpoint_is_written_when_the_store_has_come_past_it() {
        let mut state = state();
        let slab = Slab {
            first_offset: Offset(0),
            count: 1,
            ingest: Millis(0),
            topic: None,
            bytes: bytes::Bytes::from_static(b"{}\n"),
            numbering: crate::core::columns::Numbering::Dense,
        };
        state.dispatch(&slab, at(40_000));
        let cut = logged(&state.tick(at(50_000), true)).expect("an old epoch is cut");
        let part = Message::CheckpointPart { epoch: 1, common: Vec::new(), sections: Vec::new(), last: true };
        let Message::Report(mut first) = report(1, Facts::default()) else { unreachable!() };
        first.counts[0] = 1;
        assert!(state.message(0, Message::Report(first)).expect("a message").is_empty(), "its cut is not on disk");
        assert!(state.message(0, part).expect("a message").is_empty(), "nor is it stored");
        let [Action::Commit(commit)] = &state.durable(Some(cut.epoch), None, Offset(1))[..] else {
            panic!("now it may be stored")
        };
        let to = commit.to;
        assert!(!state.at_rest());
        let [Action::Checkpoint(draft)] = &state.committed(to)[..] else { panic!("and then be built upon") };
        assert_eq!(draft.cut, cut);

        // Nothing more comes. A second one is taken only where it is owed, and not before its time: without it a full log would stay full.
        assert_eq!(logged(&state.tick(at(90_000), true)), None);
        state.owe_checkpoint();
        assert_eq!(logged(&state.tick(at(79_999), true)), None);
        let actions = state.tick(at(80_000), true);
        assert_eq!(logged(&actions).map(|c| (c.epoch, c.end)), Some((Epoch(2), Offset(1))));
        let asked = |a: &Action| matches!(a, Action::Send(_, Message::EndEpoch { checkpoint: Some(_), .. }));
        assert!(actions.iter().any(asked), "the empty epoch takes it");

        // Where the log has no room it is taken before its time.
        state.message(0, report(2, Facts::default())).expect("a message");
        let part = Message::CheckpointPart { epoch: 2, common: Vec::new(), sections: Vec::new(), last: true };
        state.message(0, part).expect("a message");
        state.durable(Some(Epoch(2)), None, Offset(1));
        state.committed(Progress { epoch: Epoch(2), ..to });
        state.owe_checkpoint();
        assert_eq!(logged(&state.tick(at(80_001), true)), None);
        state.hurry_checkpoint();
        assert!(state.tick(at(80_001), true).iter().any(asked));
    }

    /// A replay without the store stops at the results that may wait; events are taken then, and it goes on when the store does.
    #[test]
    fn a_replay_that_waits_for_the_store_stops_no_event() {
        let cut = |epoch| Cut {
            epoch: Epoch(epoch),
            end: Offset(0),
            ingest: Millis(0),
            up: Millis(0),
            idle: None,
            emitted: Epoch(0),
        };
        let last = RESULTS_MAX as u64 + 10;
        let begin = Progress {
            log: LogId(0),
            generation: Generation(1),
            epoch: Epoch(0),
            end: Offset(0),
            counts: Counts::default(),
        };
        let beginning = Beginning {
            progress: begin,
            stored: true,
            checkpoint: (Epoch(0), Offset(0)),
            cuts: (1..=last).map(cut).collect(),
            bundle: "".into(),
            changes: VecDeque::new(),
            emitted: Epoch(0),
            emits: Vec::new(),
            mends: Mends::default(),
            ingest: Millis(0),
            share: Share::default(),
        };
        let mut state = State::new(Arc::new(plan()), 1, Limits::default(), beginning);
        let follow = |state: &mut State, epochs: std::ops::RangeInclusive<u64>| {
            for epoch in epochs {
                assert!(!state.may_serve(), "epoch {epoch} is still to be followed");
                assert!(!state.tick(at(0), true).is_empty());
                state.message(0, report(epoch, Facts::default())).expect("a message");
            }
        };
        let stalls = RESULTS_MAX as u64;
        follow(&mut state, 1..=stalls);
        assert!(state.may_serve() && !state.caught_up());
        assert!(state.tick(at(1_000_000), true).is_empty(), "no new cut comes before those in the log");
        state.committed(Progress { epoch: Epoch(stalls), ..begin });
        follow(&mut state, stalls + 1..=last);
        assert!(state.caught_up());
    }

    /// Nothing else happens, and who asked waits.
    #[test]
    fn a_discard_is_cut_an_epoch_of_its_own() {
        let mut state = state();
        let letters = vec![Offset(7), Offset(3)];
        state.discard(letters.clone());
        assert!(!state.at_rest());
        let actions = state.tick(at(0), false);
        let [Action::Log(cut, discards, None), Action::Send(..)] = &actions[..] else { panic!("{actions:?}") };
        assert_eq!((cut.epoch, discards), (Epoch(1), &letters));
        assert!(state.tick(at(0), true).is_empty(), "one epoch is enough");
        state.message(0, report(1, Facts::default())).expect("a message");
        let [Action::Commit(commit)] = &state.durable(Some(Epoch(1)), None, Offset(0))[..] else {
            panic!("it is stored when it is on disk")
        };
        assert_eq!(commit.mended.discarded, letters);
    }

    /// An epoch is of one plan, and so is a checkpoint.
    #[test]
    fn a_change_is_logged_with_a_cut_and_nothing_begins_before_it_is_made() {
        let mut state = state();
        state.owe_checkpoint();
        state.configure(Change { bundle: "another".into(), plan: Arc::new(plan()), backfill: None });
        assert!(!state.at_rest());
        let actions = state.tick(at(50_000), false);
        let [Action::Log(cut, _, Some(bundle)), Action::Send(0, configure), Action::Send(0, end)] = &actions[..] else {
            panic!("{actions:?}")
        };
        assert_eq!((cut.epoch, bundle.as_ref()), (Epoch(1), "another"));
        assert!(matches!(configure, Message::Configure { epoch: 1, .. }));
        assert!(matches!(end, Message::EndEpoch { checkpoint: None, .. }), "a checkpoint is due, and waits");
        assert!(!state.wants_slab(), "an epoch of the new plan must not begin");
        state.message(0, report(1, Facts::default())).expect("a message");
        assert!(!state.wants_slab() && state.tick(at(90_000), true).is_empty(), "the worker is not ready for it");
        let [Action::Commit(_)] = &state.durable(Some(Epoch(1)), None, Offset(0))[..] else { panic!("it is stored") };
        state.message(0, Message::Configured { epoch: 1, facts: Facts::default() }).expect("a message");
        assert!(state.wants_slab() && !state.is_changing());
    }

    /// Events that come are counted by what it brings.
    #[test]
    fn a_life_that_begins_with_a_change_takes_events_when_it_is_made() {
        let mut state = state();
        assert!(state.may_serve());
        state.configure_at_start(Change { bundle: "another".into(), plan: Arc::new(plan()), backfill: None });
        assert!(!state.may_serve());
        assert_eq!(logged(&state.tick(at(0), false)).map(|cut| cut.epoch), Some(Epoch(1)));
        state.message(0, report(1, Facts::default())).expect("a message");
        assert!(!state.may_serve(), "the worker is not ready for it");
        state.message(0, Message::Configured { epoch: 1, facts: Facts::default() }).expect("a message");
        assert!(state.may_serve());
        // One that is asked for later stops no event.
        state.configure(Change { bundle: "a third".into(), plan: Arc::new(plan()), backfill: None });
        assert!(state.may_serve());
    }

    #[test]
    fn a_cut_is_not_taken_in_before_its_slabs() {
        let mut state = state();
        let slab = Slab {
            first_offset: Offset(0),
            count: 1,
            ingest: Millis(90_000),
            topic: None,
            bytes: bytes::Bytes::from_static(b"{}\n"),
            numbering: crate::core::columns::Numbering::Dense,
        };
        state.dispatch(&slab, at(40_000));
        // The clock went back after the slab was taken in.
        assert_eq!(logged(&state.tick(at(50_000), true)).map(|c| c.ingest), Some(Millis(90_000)));
    }
}
