//! A worker, pure: `step(message) -> messages`. It knows no transport, no file, no clock.
//!
//! A worker is two things at once: a *sender*, which decodes slabs and asks owners about their ids, and an *owner* of key groups,
//! which decides ids and merges panes. As owner it works on one epoch at a time: it decides epoch e's ids only when it has finished
//! epoch e−1, so that its state after an epoch is well defined (checkpoints). As sender it may be an epoch ahead.

mod keeping;
mod moving;

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use rayon::prelude::*;
use uuid::Uuid;

use crate::core::aggregate::Contribution;
use crate::core::alert::{Alerts, Mark};
use crate::core::columns::Slab;
use crate::core::decode::Decoder;
use crate::core::dedup::Seen;
use crate::core::dedup::bucket::Memory;
use crate::core::dedup::runs::RunsError;
use crate::core::emit::Emitted;
use crate::core::epoch::Cut;
use crate::core::join::{Half, Joins};
use crate::core::keygroup::Owners;
use crate::core::keygroup::Share;
use crate::core::plan::Plan;
use crate::core::plan::carry::Carry;
use crate::core::row::{AlertRow, ViewRow};
use crate::core::units::{Epoch, Micros, Offset, TopicId};
use crate::core::view::{Keyed, Views};
use crate::core::watermark::Watermarks;
use crate::core::window::{Changes, Panes};
use crate::wire::{Clock, Facts, Message, Open, Parts, Past, Report, Section, WireAlert, WireEmitted, WireViewRow};
use crate::worker::fates::{self, Fates};
use crate::worker::ids;
use crate::worker::rows::{DecodedSlab, EpochRows};
use crate::worker::snapshot::{self, Owned};

/// Where a message goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum To {
    Coordinator,
    /// Another worker, from 0; never the sender itself.
    Worker(usize),
}

/// From where a message came.
pub type From = To;

/// A sender's work on one epoch, from its end on.
#[derive(Debug)]
struct Sent {
    epoch: Epoch,
    slabs: Vec<DecodedSlab>,
    rows: EpochRows,
    /// For each owner, the rows in the order of the entries it was sent.
    order: Vec<Vec<u32>>,
    verdicts: Vec<Option<Vec<u8>>>,
}

/// By topic the newest time; the entries.
type SentIds = (Vec<Option<Micros>>, Vec<u8>);

/// What an owner has been told of one epoch.
#[derive(Debug)]
struct Inbox {
    ids: Vec<Option<SentIds>>,
    parts: Vec<Option<Parts>>,
}

/// One worker.
pub struct State {
    me: usize,
    owners: Owners,
    batch: bool,
    id_key: u64,
    /// The only pipeline that is worked on, if not all are.
    only: Option<usize>,
    plan: Arc<Plan>,
    /// What holds after an epoch, from its announcement until that epoch is finished.
    next: Option<(Epoch, Arc<Plan>, Carry)>,
    /// Workers whose state for this one, of a plan that holds since the last epoch, is still on its way.
    moving: usize,
    /// State that came from workers which have finished an epoch before this one has.
    early: BTreeMap<Epoch, Vec<(Vec<Section>, bool)>>,
    decoder: Decoder,
    memories: Vec<Memory>,

    // As sender.
    waiting: Vec<Slab>,
    decoded: Vec<DecodedSlab>,
    sent: VecDeque<Sent>,
    fates: BTreeMap<Epoch, Fates>,

    // As owner.
    cuts: BTreeMap<Epoch, (Cut, Option<Share>)>,
    inbox: BTreeMap<Epoch, Inbox>,
    decided: Epoch,
    finished: Epoch,
    watermarks: Watermarks,
    seen: Seen,
    /// What makes `seen` useless: from then on nothing is decided.
    fault: Option<RunsError>,
    panes: Panes,
    views: Views,
    alerts: Alerts,
    joins: Joins,

    /// Messages to itself, and those for others.
    own: VecDeque<Message>,
    out: Vec<(To, Message)>,
}

impl State {
    /// A worker before its first epoch, of a plan made from `open.bundle`.
    #[must_use]
    pub fn new(open: &Open, plan: Arc<Plan>) -> Self {
        Self {
            me: open.worker as usize,
            owners: Owners::new(open.workers as usize),
            batch: open.batch,
            id_key: open.id_key,
            only: None,
            next: None,
            moving: 0,
            early: BTreeMap::new(),
            decoder: Decoder::new(Arc::clone(&plan), open.id_key),
            memories: plan.topics.iter().map(Memory::of).collect(),
            waiting: Vec::new(),
            decoded: Vec::new(),
            sent: VecDeque::new(),
            fates: BTreeMap::new(),
            cuts: BTreeMap::new(),
            inbox: BTreeMap::new(),
            decided: Epoch(0),
            finished: Epoch(0),
            watermarks: Watermarks::new(&plan),
            seen: Seen::new(plan.topics.len()),
            fault: None,
            panes: Panes::new(Arc::clone(&plan)),
            views: Views::new(Arc::clone(&plan)),
            alerts: Alerts::new(Arc::clone(&plan)),
            joins: Joins::new(Arc::clone(&plan)),
            own: VecDeque::new(),
            out: Vec::new(),
            plan,
        }
    }

    /// One that works on this pipeline alone, and knows nothing of the epochs up to this one. Of the others it follows the watermarks.
    #[must_use]
    pub fn alone(self, pipeline: usize, after: Epoch) -> Self {
        Self { only: Some(pipeline), decided: after, finished: after, ..self }
    }

    /// What it has made of the epochs so far.
    #[must_use]
    pub fn past(&self) -> Past {
        snapshot::past(self.finished, &self.watermarks, &self.owned())
    }

    fn owned(&self) -> Owned<'_> {
        Owned { panes: &self.panes, views: &self.views, alerts: &self.alerts, joins: &self.joins }
    }

    /// Takes one message; gives what is to be sent for it, in order.
    pub fn step(&mut self, from: From, message: Message) -> Vec<(To, Message)> {
        let from = match from {
            To::Worker(worker) => worker,
            To::Coordinator => self.me,
        };
        self.take(from, message);
        while let Some(own) = self.own.pop_front() {
            self.take(self.me, own);
        }
        std::mem::take(&mut self.out)
    }

    /// Takes what the worker read and decoded by itself (batch).
    pub fn take_decoded(&mut self, decoded: impl IntoIterator<Item = DecodedSlab>) {
        self.decoded.extend(decoded);
    }

    #[must_use]
    pub fn plan(&self) -> &Plan {
        &self.plan
    }

    #[must_use]
    pub fn decoder(&self) -> &Decoder {
        &self.decoder
    }

    /// Announces the plan that holds after this epoch, whose end comes next.
    pub fn configure(&mut self, epoch: Epoch, plan: Arc<Plan>) {
        assert!(self.next.is_none() && !self.batch, "one change at a time, of a live job");
        let carry = Carry::between(&self.plan, &plan);
        self.next = Some((epoch, plan, carry));
    }

    /// Decodes the slabs that wait, over all of the rank's cores, and returns their credit. The run loop calls this when no message is
    /// there; the end of an epoch does it anyway.
    pub fn decode(&mut self) -> Vec<(To, Message)> {
        let waiting = std::mem::take(&mut self.waiting);
        let (bytes, events) =
            waiting.iter().fold((0, 0), |(b, e), s| (b + s.bytes.len() as u64, e + u64::from(s.count)));
        let decoder = &self.decoder;
        let decode = |slab: Slab| DecodedSlab { decoded: decoder.decode(&slab), slab };
        if waiting.len() > 1 && rayon::current_num_threads() > 1 {
            self.decoded.par_extend(waiting.into_par_iter().map(decode));
        } else {
            self.decoded.extend(waiting.into_iter().map(decode));
        }
        if bytes > 0 {
            self.out.push((To::Coordinator, Message::Consumed { bytes, events }));
        }
        std::mem::take(&mut self.out)
    }

    /// Whether slabs wait for `decode`.
    #[must_use]
    pub fn has_waiting(&self) -> bool {
        !self.waiting.is_empty()
    }

    /// Where the worker stands.
    #[must_use]
    pub fn facts(&self) -> Facts {
        let clock = |pipeline: usize| {
            let silence = self.watermarks.silence(pipeline);
            Clock {
                watermark_us: self.watermarks.of(pipeline).now.0,
                idle_base_us: silence.map(|s| s.base.0),
                last_up_ms: silence.map(|s| s.since.0),
                next_close_us: self.next_close(pipeline).map(|t| t.0),
                coming_us: self.watermarks.coming(pipeline).0,
            }
        };
        Facts {
            clocks: (0..self.plan.pipelines.len()).map(clock).collect(),
            next_emit_ms: self.panes.next_emit().map(|t| t.0),
            ids: self.seen.len() as u64,
            panes: self.panes.kept().map(|kept| kept as u64).collect(),
            keys: self.views.len() as u64,
        }
    }

    /// The earliest moment at which the pipeline's watermark alone changes something.
    fn next_close(&self, pipeline: usize) -> Option<Micros> {
        self.panes.next_close(pipeline).into_iter().chain(self.alerts.next_clear(pipeline)).min()
    }

    fn take(&mut self, from: usize, message: Message) {
        if self.fault.is_some() {
            return;
        }
        match message {
            Message::Restore(restore) => self.restore(restore),
            Message::Slab(slab) => self.waiting.push(slab.into()),
            Message::EndEpoch { cut, base, checkpoint } => {
                self.end_epoch(cut.into(), Offset(base), checkpoint.map(Share));
            }
            Message::Ids { epoch, newest, entries } => {
                let newest = newest.into_iter().map(|t| t.map(Micros)).collect();
                self.inbox(epoch).ids[from] = Some((newest, entries));
            }
            Message::Verdicts { epoch, duplicates } => {
                let sent = self.sent.iter_mut().find(|s| s.epoch.0 == epoch);
                let Some(sent) = sent else { panic!("verdicts on epoch {epoch}, which was not asked about") };
                sent.verdicts[from] = Some(duplicates);
            }
            Message::Panes { epoch, parts } => self.inbox(epoch).parts[from] = Some(parts),
            Message::Moved { epoch, sections, last } if self.moving > 0 && epoch == self.finished.0 => {
                self.settle_in(&sections, last);
            }
            Message::Adopt { pipeline, common, sections, last } => {
                self.adopt(usize::from(pipeline), &common, &sections, last);
            }
            Message::Moved { epoch, sections, last } => {
                self.early.entry(Epoch(epoch)).or_default().push((sections, last));
            }
            Message::Open(_)
            | Message::Configure { .. }
            | Message::Configured { .. }
            | Message::Split(_)
            | Message::Chunk(_)
            | Message::Begin
            | Message::Close
            | Message::Ready { .. }
            | Message::Consumed { .. }
            | Message::Figures(_)
            | Message::Report(_)
            | Message::CheckpointPart { .. }
            | Message::Failed { .. }
            | Message::Heartbeat => panic!("a worker's state is not sent {message:?}"),
        }
        self.advance();
    }

    fn inbox(&mut self, epoch: u64) -> &mut Inbox {
        let workers = self.owners.workers();
        self.inbox.entry(Epoch(epoch)).or_insert_with(|| Inbox { ids: vec![None; workers], parts: vec![None; workers] })
    }

    fn send(&mut self, worker: usize, message: Message) {
        if worker == self.me {
            self.own.push_back(message);
        } else {
            self.out.push((To::Worker(worker), message));
        }
    }

    /// The coordinator has ended an epoch: all its slabs for this worker are here. Its ids go to their owners.
    fn end_epoch(&mut self, cut: Cut, base: Offset, checkpoint: Option<Share>) {
        let consumed = self.decode();
        self.out.extend(consumed);
        let mut slabs = std::mem::take(&mut self.decoded);
        let (rows, ids) = EpochRows::gather(&self.plan, &mut slabs);
        let mut newest = vec![None; self.plan.topics.len()];
        for (&TopicId(topic), &time) in rows.topic.iter().zip(&rows.time) {
            let largest: &mut Option<Micros> = &mut newest[usize::from(topic)];
            *largest = (*largest).max(Some(time));
        }
        let newest: Vec<Option<i64>> = newest.into_iter().map(|t| t.map(|t| t.0)).collect();
        let packed = ids::pack(&rows, &ids, base, &self.memories, self.owners);
        self.cuts.insert(cut.epoch, (cut, checkpoint));
        let verdicts = vec![None; self.owners.workers()];
        self.sent.push_back(Sent { epoch: cut.epoch, slabs, rows, order: packed.rows, verdicts });
        for (owner, entries) in packed.entries.into_iter().enumerate() {
            self.send(owner, Message::Ids { epoch: cut.epoch.0, newest: newest.clone(), entries });
        }
    }

    /// Does whatever has become possible.
    fn advance(&mut self) {
        self.decide();
        self.aggregate();
        self.finish();
    }

    /// As owner: decides the next epoch's ids once all workers have sent theirs and the epoch before is finished.
    fn decide(&mut self) {
        let epoch = self.decided.next();
        if self.finished != self.decided || self.moving > 0 || !self.cuts.contains_key(&epoch) {
            return;
        }
        let Some(inbox) = self.inbox.get_mut(&epoch) else { return };
        if !inbox.ids.iter().all(Option::is_some) {
            return;
        }
        let (newest, entries): (Vec<_>, Vec<_>) = inbox.ids.iter_mut().filter_map(Option::take).unzip();
        let verdicts = self.verdicts(&entries);
        let Some(verdicts) = self.bear(verdicts) else { return };
        let Some((cut, _)) = self.cuts.get(&epoch) else { return };
        let topics = self.plan.topics.len();
        let of_all: Vec<Option<Micros>> =
            (0..topics).map(|topic| newest.iter().filter_map(|n| n.get(topic).copied().flatten()).max()).collect();
        self.watermarks.advance(cut, &of_all);
        self.decided = epoch;
        for (worker, duplicates) in verdicts.into_iter().enumerate() {
            self.send(worker, Message::Verdicts { epoch: epoch.0, duplicates });
        }
    }

    fn verdicts(&mut self, entries: &[Vec<u8>]) -> Result<Vec<Vec<u8>>, RunsError> {
        if !self.batch {
            for (topic, memory) in self.memories.iter().enumerate() {
                let topic = TopicId(topic as u16);
                self.seen.forget(topic, memory.first_remembered(self.watermarks.of_topic(topic)))?;
            }
        }
        ids::decide(entries, self.memories.len(), self.owners, self.me, &mut self.seen)
    }

    /// As sender: once all owners have judged the oldest epoch's ids, settles its events' fates and sends the panes.
    /// The owner in this same worker has then decided the epoch, so its watermark is there.
    fn aggregate(&mut self) {
        while self.sent.front().is_some_and(|s| s.verdicts.iter().all(Option::is_some)) {
            let Some(sent) = self.sent.pop_front() else { return };
            assert_eq!(
                sent.epoch, self.decided,
                "an epoch is aggregated when it was decided here, and before the next one is"
            );
            let verdicts = sent.verdicts.into_iter().flatten();
            let duplicate = fates::duplicates(sent.rows.len(), &sent.order, verdicts);
            let lateness = |pipeline| if self.batch { Micros::MIN } else { self.watermarks.of(pipeline).lateness };
            let lateness: Vec<Micros> = (0..self.plan.pipelines.len()).map(lateness).collect();
            let epoch = fates::Epoch {
                plan: &self.plan,
                decoder: &self.decoder,
                slabs: &sent.slabs,
                lateness: &lateness,
                live: !self.batch,
                only: self.only,
            };
            let settled = fates::settle(&epoch, sent.rows, &duplicate);
            let panes = snapshot::pack_panes(&self.plan, &settled.contributions, self.owners);
            self.fates.insert(sent.epoch, settled.fates);
            let views = snapshot::pack_views(&settled.entries, self.owners);
            let marks = snapshot::pack_marks(&settled.marks, self.owners);
            let halves = snapshot::pack_halves(&settled.halves, self.owners);
            let parts = panes.into_iter().zip(views).zip(marks).zip(halves);
            let parts = parts.map(|(((panes, views), marks), halves)| Parts { panes, views, marks, halves });
            for (owner, parts) in parts.enumerate() {
                self.send(owner, Message::Panes { epoch: sent.epoch.0, parts });
            }
        }
    }

    /// As owner: once all workers' panes of the decided epoch are here, merges them, closes windows and reports.
    fn finish(&mut self) {
        let epoch = self.decided;
        if self.finished == self.decided {
            return;
        }
        if !self.inbox.get(&epoch).is_some_and(|i| i.parts.iter().all(Option::is_some)) {
            return;
        }
        let Some(inbox) = self.inbox.remove(&epoch) else { return };
        let Some((cut, checkpoint)) = self.cuts.remove(&epoch) else { return };
        let (mut marks, mut halves) = (Vec::new(), Vec::new());
        for parts in inbox.parts.into_iter().flatten() {
            for keyed in snapshot::unpack(&parts.views, |rest| Keyed::decode(&self.plan, rest)) {
                self.views.merge(keyed);
            }
            for contribution in snapshot::unpack(&parts.panes, |rest| Contribution::decode(&self.plan, rest)) {
                self.panes.merge(contribution);
            }
            marks.append(&mut snapshot::unpack(&parts.marks, |rest| Mark::decode(&self.plan, rest)));
            halves.append(&mut snapshot::unpack(&parts.halves, |rest| Half::decode(&self.plan, rest)));
        }
        // In batch every pane closes at once, with the last round, whose cut carries `idle`.
        let leaving = self.next.as_ref().filter(|(of, ..)| *of == epoch).map(|(.., carry)| carry);
        let leaves = |places: fn(&Carry) -> &[Option<usize>], at: usize| {
            leaving.is_some_and(|carry| places(carry).get(at).copied().flatten().is_none())
        };
        let changes = match (self.batch, cut.idle) {
            // Of a window that is gone after this epoch every pane closes as it is.
            (false, _) => self.panes.finish(&cut, |at, window| {
                let gone = leaves(|carry| &carry.windows, at);
                if gone { Micros(i64::MAX) } else { self.watermarks.of(window.pipeline).closing }
            }),
            (true, None) => Changes::default(),
            (true, Some(_)) => self.panes.finish(&cut, |_, _| Micros(i64::MAX)),
        };
        self.finished = epoch;
        let views = match (self.batch, cut.idle) {
            (false, _) => self.views.finish(epoch),
            (true, None) => {
                self.views.pass();
                Vec::new()
            }
            (true, Some(_)) => self.views.finish_all(epoch),
        };
        // A batch raises no alerts.
        let alerts = if self.batch {
            Vec::new()
        } else {
            let closing = |pipeline| self.watermarks.of(pipeline).closing;
            self.alerts.finish(epoch, marks, &changes.rows, closing, |at| leaves(|carry| &carry.alerts, at))
        };
        let joined = self.joins.finish(halves, |pipeline| self.watermarks.of(pipeline).closing);
        self.report(epoch, changes, views, alerts, joined);
        if let Some(which) = checkpoint {
            let owned = Owned { panes: &self.panes, views: &self.views, alerts: &self.alerts, joins: &self.joins };
            let parts = snapshot::parts(epoch, which, &self.watermarks, &owned, &mut self.seen);
            let Some(parts) = self.bear(parts) else { return };
            self.out.extend(parts.into_iter().map(|part| (To::Coordinator, part)));
        }
        self.move_on(epoch);
        self.decide();
    }

    fn report(
        &mut self,
        epoch: Epoch,
        changes: Changes,
        views: Vec<ViewRow>,
        alerts: Vec<AlertRow>,
        joined: Vec<Emitted>,
    ) {
        let Some(mut fates) = self.fates.remove(&epoch) else {
            panic!("epoch {epoch} is finished before its fates are settled")
        };
        fates.emitted.extend(joined.into_iter().map(WireEmitted::from));
        let report = Report {
            epoch: epoch.0,
            rows: changes.rows.into(),
            removed: changes.removed.iter().map(Uuid::as_u128).collect(),
            counts: fates.counts,
            by_topic: fates.by_topic,
            dead_letters: fates.dead_letters,
            events: fates.events,
            duplicates: fates.duplicates,
            filtered: fates.filtered,
            late_by_window: fates.late_by_window,
            expression_errors: fates.expression_errors,
            views: views.into_iter().map(WireViewRow::from).collect(),
            history: fates.history,
            lineage: fates.lineage,
            alerts: alerts.into_iter().map(WireAlert::from).collect(),
            emitted: fates.emitted,
            facts: self.facts(),
        };
        self.out.push((To::Coordinator, Message::Report(Box::new(report))));
    }
}
