//! What comes back from the workers, gathered: an epoch's reports, a checkpoint's parts.

use std::sync::Arc;

use uuid::Uuid;

use crate::coordinator::totals::Totals;
use crate::core::emit::Emitted;
use crate::core::epoch::Cut;
use crate::core::keygroup::Share;
use crate::core::ledger::Counts;
use crate::core::lineage::{self, Lineage, Slices};
use crate::core::row::{AlertRow, AuditEvent, DeadLetter, ViewChange, ViewRow, WindowRow};
use crate::core::units::{Offset, TopicId};
use crate::wire::{Clock, Facts, Kind, Report, Section, WireCounts, WireError};

/// An epoch in the workers' hands.
#[derive(Debug)]
pub struct InFlight {
    pub cut: Cut,
    /// Where the epoch before it ended.
    pub base: Offset,
    reports: Vec<Option<Report>>,
}

/// An epoch's results, of all workers together.
#[derive(Debug, Default)]
pub struct Results {
    pub counts: Counts,
    /// By topic; the last are of events that name no topic of the plan's.
    pub by_topic: Vec<Counts>,
    pub rows: Vec<WindowRow>,
    pub dead_letters: Vec<DeadLetter>,
    pub events: Vec<AuditEvent>,
    /// Ids of rows that are no more.
    pub removed: Vec<Uuid>,
    pub duplicates: Vec<u64>,
    pub filtered: Vec<u64>,
    pub late_by_window: Vec<u64>,
    /// By pipeline.
    pub expression_errors: Vec<u64>,
    pub views: Vec<ViewRow>,
    pub history: Vec<ViewChange>,
    /// In the order in which they are told.
    pub alerts: Vec<AlertRow>,
    /// By window, slice and group.
    pub lineage: Vec<Lineage>,
    pub emitted: Vec<Emitted>,
    /// What they take in memory, about.
    pub bytes: usize,
}

impl InFlight {
    #[must_use]
    pub fn new(cut: Cut, base: Offset, workers: usize) -> Self {
        Self { cut, base, reports: (0..workers).map(|_| None).collect() }
    }

    pub fn take(&mut self, worker: usize, report: Report) {
        let before = self.reports[worker].replace(report);
        assert!(before.is_none(), "worker {worker} reports epoch {} twice", self.cut.epoch);
    }

    #[must_use]
    pub fn complete(&self) -> bool {
        self.reports.iter().all(Option::is_some)
    }

    /// Puts the reports together; dead letters and events by offset.
    ///
    /// # Errors
    /// If one holds what no worker of this build writes.
    pub fn results(self) -> Result<Results, WireError> {
        let mut all = Results::default();
        let mut slices: Vec<Slices> = Vec::new();
        for report in self.reports.into_iter().flatten() {
            all.counts += Counts::from(WireCounts(report.counts));
            all.by_topic.resize(report.by_topic.len().max(all.by_topic.len()), Counts::default());
            for (all, of_topic) in all.by_topic.iter_mut().zip(report.by_topic) {
                *all += Counts::from(WireCounts(of_topic));
            }
            add(&mut all.late_by_window, &report.late_by_window);
            add(&mut all.expression_errors, &report.expression_errors);
            all.duplicates.extend(report.duplicates);
            all.filtered.extend(report.filtered);
            all.views.extend(report.views.into_iter().map(ViewRow::from));
            all.history.extend(report.history.into_iter().map(ViewChange::from));
            all.alerts.extend(report.alerts.into_iter().map(AlertRow::from));
            all.emitted.extend(report.emitted.into_iter().map(Emitted::from));
            all.removed.extend(report.removed.into_iter().map(Uuid::from_u128));
            all.rows.append(&mut report.rows.try_into()?);
            all.events.extend(report.events.into_iter().map(AuditEvent::from));
            for letter in report.dead_letters {
                all.dead_letters.push(letter.try_into()?);
            }
            for of_window in report.lineage {
                slices.push(of_window.try_into()?);
            }
        }
        all.dead_letters.sort_by_key(|d| d.offset);
        all.events.sort_by_key(|e| e.offset);
        all.history.sort_by_key(|change| (change.offset, change.view));
        all.alerts.sort_by(AlertRow::order);
        all.lineage = lineage::join(&slices, self.cut.epoch, self.base);
        all.bytes = ROW_BYTES * all.rows.len()
            + all.dead_letters.iter().map(|d| d.body.len() + d.detail.len() + ROW_BYTES).sum::<usize>()
            + all.views.iter().map(|v| v.value.len() + ROW_BYTES).sum::<usize>()
            + all.alerts.iter().map(|a| a.details.len() + ROW_BYTES).sum::<usize>()
            + all.lineage.iter().map(|l| l.offsets.serialized_size() + ROW_BYTES).sum::<usize>()
            + all.emitted.iter().map(|event| event.line.len() + ROW_BYTES).sum::<usize>()
            + all.history.iter().map(|h| h.value.len() + ROW_BYTES).sum::<usize>()
            + all.events.iter().map(|e| e.body.len() + ROW_BYTES).sum::<usize>();
        Ok(all)
    }
}

/// Of each alert the last of its changes.
#[must_use]
pub fn last_states(changes: Vec<AlertRow>) -> Vec<AlertRow> {
    let mut last: Vec<AlertRow> = Vec::new();
    for change in changes {
        // Those of one key stand together, and of one key one alert stands at a time.
        match last.last_mut().filter(|row| row.alert_id == change.alert_id) {
            Some(row) => *row = change,
            None => last.push(change),
        }
    }
    last
}

/// Adds counts to totals, place by place.
pub fn add(totals: &mut Vec<u64>, counts: &[u64]) {
    totals.resize(counts.len().max(totals.len()), 0);
    totals.iter_mut().zip(counts).for_each(|(total, count)| *total += count);
}

/// What a row takes in memory, about.
const ROW_BYTES: usize = 300;

/// A checkpoint in the making.
#[derive(Debug)]
pub struct Draft {
    pub cut: Cut,
    /// Of these key groups it has all ids, of the others those that came since the last one.
    pub share: Share,
    /// Topics whose ids were forgotten since the last one.
    pub retired: Vec<TopicId>,
    /// The pipelines that its state is of.
    pub bundle: Arc<str>,
    pub common: Vec<u8>,
    /// All but the ids.
    pub sections: Vec<Section>,
    pub ids: Vec<Section>,
    /// The fates of all events up to its cut, once they are known.
    pub counts: Option<Counts>,
    /// What they have come to, likewise.
    pub totals: Totals,
    missing: usize,
}

impl Draft {
    #[must_use]
    pub fn new(cut: Cut, share: Share, workers: usize, bundle: Arc<str>) -> Self {
        let (retired, sections, ids) = (Vec::new(), Vec::new(), Vec::new());
        let (counts, totals) = (None, Totals::default());
        Self { cut, share, retired, bundle, common: Vec::new(), sections, ids, counts, totals, missing: workers }
    }

    /// Takes a worker's part.
    pub fn take(&mut self, common: Vec<u8>, sections: Vec<Section>, last: bool) {
        self.common = common;
        let (ids, others): (Vec<Section>, Vec<Section>) = sections.into_iter().partition(|s| s.kind == Kind::Ids);
        self.sections.extend(others);
        self.ids.extend(ids);
        self.missing -= usize::from(last);
    }

    /// All workers have sent their last part.
    #[must_use]
    pub fn complete(&self) -> bool {
        self.missing == 0
    }
}

/// What holds for the job when these hold for its workers.
pub fn facts_of_all(workers: impl Iterator<Item = Facts>) -> Facts {
    let least = |a: Option<_>, b: Option<_>| match (a, b) {
        (Some(a), Some(b)) => Some(std::cmp::min(a, b)),
        (a, b) => a.or(b),
    };
    let clock = |(a, b): (&Clock, &Clock)| Clock {
        next_close_us: match (a.next_close_us, b.next_close_us) {
            (Some(a), Some(b)) => Some(a.min(b)),
            (a, b) => a.or(b),
        },
        // All else is the same with every worker.
        ..*b
    };
    let join = |a: Facts, b: Facts| Facts {
        clocks: a.clocks.iter().zip(&b.clocks).map(clock).collect(),
        next_emit_ms: least(a.next_emit_ms, b.next_emit_ms),
        ids: a.ids + b.ids,
        panes: {
            let mut panes = a.panes;
            add(&mut panes, &b.panes);
            panes
        },
        keys: a.keys + b.keys,
    };
    workers.reduce(join).unwrap_or_default()
}
