//! A worker, pure: `step(message) -> messages`. It knows no transport, no file, no clock.
//!
//! A worker is two things at once: a *sender*, which decodes slabs and asks owners about their ids, and an *owner* of key groups,
//! which decides ids and merges panes. As owner it works on one epoch at a time: it decides epoch e's ids only when it has finished
//! epoch e−1, so that its state after an epoch is well defined (checkpoints). As sender it may be an epoch ahead.

mod epoch;
mod keeping;
mod moving;

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use rayon::prelude::*;

use crate::core::alert::Alerts;
use crate::core::columns::Slab;
use crate::core::decode::Decoder;
use crate::core::dedup::Seen;
use crate::core::dedup::bucket::Memory;
use crate::core::dedup::runs::RunsError;
use crate::core::epoch::Cut;
use crate::core::join::Joins;
use crate::core::keygroup::Owners;
use crate::core::keygroup::Share;
use crate::core::plan::Plan;
use crate::core::plan::carry::Carry;
use crate::core::units::{Epoch, Micros, Offset};
use crate::core::view::Views;
use crate::core::watermark::Watermarks;
use crate::core::window::Panes;
use crate::wire::{Clock, Facts, Message, Open, Parts, Past, Section};
use crate::worker::fates::Fates;
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
}
