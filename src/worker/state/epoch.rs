//! An epoch at a worker, from its end on: ids to their owners, verdicts back, panes to their owners, the result.

use crate::core::aggregate::Contribution;
use crate::core::alert::Mark;
use crate::core::dedup::runs::RunsError;
use crate::core::emit::Emitted;
use crate::core::epoch::Cut;
use crate::core::join::Half;
use crate::core::keygroup::Share;
use crate::core::plan::carry::Carry;
use crate::core::row::{AlertRow, ViewRow};
use crate::core::units::{Epoch, Micros, Offset, TopicId};
use crate::core::view::Keyed;
use crate::core::window::Changes;
use crate::wire::{Message, Parts, Report, WireAlert, WireEmitted, WireViewRow};
use crate::worker::fates;
use crate::worker::ids;
use crate::worker::rows::EpochRows;
use crate::worker::snapshot::{self, Owned};
use crate::worker::state::{Sent, State, To};
use uuid::Uuid;

impl State {
    /// The coordinator has ended an epoch: all its slabs for this worker are here. Its ids go to their owners.
    pub(super) fn end_epoch(&mut self, cut: Cut, base: Offset, checkpoint: Option<Share>) {
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
    pub(super) fn advance(&mut self) {
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
