//! What becomes of an epoch's events at the worker that decoded them: duplicates by the owners' verdicts, then what the pipelines say of the rest.
//! `docs/semantics.md`, "The fate of one event", rules 8 to 11.

use uuid::Uuid;

use crate::core::aggregate::Contribution;
use crate::core::alert::Mark;
use crate::core::columns::Reason;
use crate::core::decode::Decoder;
use crate::core::join::Half;
use crate::core::ledger::Counts;
use crate::core::plan::{Audit, PipelinePlan, Plan};
use crate::core::row::{AuditEvent, DeadLetter};
use crate::core::time;
use crate::core::units::{Micros, TopicId};
use crate::core::view::Keyed;
use crate::wire::{WireAuditEvent, WireCounts, WireDeadLetter, WireEmitted, WireSlices, WireViewChange};
use crate::worker::rows::{DecodedSlab, EpochRows};
use crate::worker::share::{Asked, Share, share};

/// The fates of one worker's events of one epoch, as its report tells them.
#[derive(Debug)]
pub struct Fates {
    pub counts: [u64; 5],
    /// By topic; the last are of events that name no topic of the plan's.
    pub by_topic: Vec<[u64; 5]>,
    pub dead_letters: Vec<WireDeadLetter>,
    pub events: Vec<WireAuditEvent>,
    pub duplicates: Vec<u64>,
    pub filtered: Vec<u64>,
    pub late_by_window: Vec<u64>,
    /// By pipeline.
    pub expression_errors: Vec<u64>,
    pub history: Vec<WireViewChange>,
    pub lineage: Vec<WireSlices>,
    pub emitted: Vec<WireEmitted>,
}

/// Fates, and the partial panes of what was counted.
#[derive(Debug)]
pub struct Settled {
    pub fates: Fates,
    pub contributions: Vec<Contribution>,
    pub entries: Vec<Keyed>,
    pub marks: Vec<Mark>,
    pub halves: Vec<Half>,
}

/// The owners' verdicts as one flag a row.
#[must_use]
pub fn duplicates(rows: usize, order: &[Vec<u32>], verdicts: impl Iterator<Item = Vec<u8>>) -> Vec<bool> {
    let mut duplicate = vec![false; rows];
    for (order, bits) in order.iter().zip(verdicts) {
        for (byte, group) in bits.iter().zip(order.chunks(8)).filter(|&(&byte, _)| byte != 0) {
            for (bit, &row) in group.iter().enumerate() {
                if byte & (1 << bit) != 0 {
                    duplicate[row as usize] = true;
                }
            }
        }
    }
    duplicate
}

/// What settling an epoch needs to know.
#[derive(Clone, Copy, Debug)]
pub struct Epoch<'a> {
    pub plan: &'a Plan,
    pub decoder: &'a Decoder,
    pub slabs: &'a [DecodedSlab],
    /// By pipeline: the watermark by which its events are late.
    pub lateness: &'a [Micros],
    /// In batch there is no lineage, nothing is emitted, and no pattern is looked for.
    pub live: bool,
    /// The only pipeline that is asked, if not all are: what the others would say of an event counts for nothing.
    pub only: Option<usize>,
}

impl Epoch<'_> {
    fn asks(&self, pipeline: usize) -> bool {
        self.only.is_none_or(|only| only == pipeline)
    }
}

/// What the pipelines together say of the rows; one entry a row.
struct Verdicts {
    passed: Vec<bool>,
    counted: Vec<bool>,
    /// Where a pipeline with `audit: full` reads the event's topic: the rows of such pipelines' windows that it went into. Empty if none reads any.
    metrics: Vec<Option<Vec<Uuid>>>,
}

/// Settles an epoch.
#[must_use]
pub fn settle(epoch: &Epoch, mut rows: EpochRows, duplicate: &[bool]) -> Settled {
    let plan = epoch.plan;
    let duplicates: Vec<u64> = rows.offset.iter().zip(duplicate).filter(|&(_, &d)| d).map(|(o, _)| o.0).collect();
    let mut by_topic = vec![Counts::default(); plan.topics.len() + 1];
    if !duplicates.is_empty() {
        for (topic, _) in rows.topic.iter().zip(duplicate).filter(|&(_, &d)| d) {
            by_topic[usize::from(topic.0)].duplicate += 1;
        }
        rows.keep(|row| !duplicate[row]);
    }

    let (mut contributions, mut entries) = (Vec::new(), Vec::new());
    let (mut marks, mut halves) = (Vec::new(), Vec::new());
    let (mut history, mut emitted, mut lineage) = (Vec::new(), Vec::new(), Vec::new());
    let (mut late_by_window, mut expression_errors) = (Vec::new(), Vec::new());
    let mut verdicts = Verdicts::new(epoch, &rows);
    for (at, (pipeline, &lateness)) in plan.pipelines.iter().zip(epoch.lateness).enumerate() {
        if !epoch.asks(at) {
            late_by_window.extend(pipeline.windows.clone().map(|_| 0));
            expression_errors.push(0);
            continue;
        }
        let audit = if epoch.live { pipeline.audit } else { Audit::None };
        let mut share = share(plan, pipeline, &mut rows, Asked { lateness, audit, live: epoch.live });
        contributions.append(&mut share.contributions);
        entries.append(&mut share.entries);
        marks.append(&mut share.marks);
        halves.append(&mut share.halves);
        history.extend(share.history.drain(..).map(WireViewChange::from));
        lineage.extend(share.slices.drain(..).map(WireSlices::from));
        emitted.extend(share.emitted.drain(..).map(WireEmitted::from));
        late_by_window.append(&mut share.late_by_window);
        expression_errors.push(share.expression_errors);
        verdicts.add(share);
    }

    let mut dead_letters = rejects(plan, epoch.slabs);
    for reject in epoch.slabs.iter().flat_map(|slab| &slab.decoded.rejects) {
        let topic = reject.topic.map_or(plan.topics.len(), |topic| usize::from(topic.0));
        by_topic[topic].invalid += 1;
    }
    let mut filtered = Vec::new();
    for (row, (&passed, &counted)) in verdicts.passed.iter().zip(&verdicts.counted).enumerate() {
        let of_topic = &mut by_topic[usize::from(rows.topic[row].0)];
        match (passed, counted) {
            (_, true) => of_topic.counted += 1,
            (true, false) => {
                of_topic.late += 1;
                dead_letters.push(late_letter(epoch, &rows, row));
            }
            (false, false) => {
                of_topic.filtered += 1;
                filtered.push(rows.offset[row].0);
            }
        }
    }
    let mut counts = Counts::default();
    for of_topic in &by_topic {
        counts += *of_topic;
    }
    let events = verdicts.audited(epoch, &rows);
    let dead_letters = dead_letters.into_iter().map(WireDeadLetter::from).collect();
    let WireCounts(counts) = counts.into();
    let by_topic = by_topic.into_iter().map(|of_topic| WireCounts::from(of_topic).0).collect();
    let fates = Fates {
        counts,
        by_topic,
        dead_letters,
        events,
        duplicates,
        filtered,
        late_by_window,
        expression_errors,
        history,
        lineage,
        emitted,
    };
    Settled { fates, contributions, entries, marks, halves }
}

impl Verdicts {
    fn new(epoch: &Epoch, rows: &EpochRows) -> Self {
        let asked = epoch.plan.pipelines.iter().enumerate().filter(|(at, _)| epoch.live && epoch.asks(*at));
        let audited: Vec<&PipelinePlan> = asked.map(|(_, p)| p).filter(|p| p.audit == Audit::Full).collect();
        let topics = (0..epoch.plan.topics.len()).map(|topic| TopicId(topic as u16));
        // An event that the job made and that no pipeline reads is there for others.
        let unread: Vec<bool> = topics.clone().map(|topic| epoch.plan.unread(topic).is_some()).collect();
        let kept: Vec<bool> = topics.map(|topic| audited.iter().any(|p| epoch.plan.keeps(p, topic))).collect();
        let unread: Vec<bool> = rows.topic.iter().map(|topic| unread[usize::from(topic.0)]).collect();
        let metrics = if kept.contains(&true) {
            rows.topic.iter().map(|topic| kept[usize::from(topic.0)].then(Vec::new)).collect()
        } else {
            Vec::new()
        };
        Self { metrics, passed: unread.clone(), counted: unread }
    }

    fn add(&mut self, share: Share) {
        for (at, &row) in share.passed.iter().enumerate() {
            self.passed[row as usize] = true;
            self.counted[row as usize] |= !share.late.get(at).copied().unwrap_or_default();
        }
        for (&row, mut metrics) in share.passed.iter().zip(share.metrics.into_iter().flatten()) {
            self.metrics[row as usize].get_or_insert_default().append(&mut metrics);
        }
    }

    /// The counted events of audited pipelines.
    fn audited(self, epoch: &Epoch, rows: &EpochRows) -> Vec<WireAuditEvent> {
        let counted = self.metrics.into_iter().zip(self.counted).enumerate().filter(|(_, (_, counted))| *counted);
        counted
            .filter_map(|(row, (metrics, _))| {
                let metrics = metrics?;
                let (slab, body) = rows.source(epoch.slabs, row);
                let topic = rows.topic[row];
                let event = AuditEvent {
                    offset: rows.offset[row],
                    topic: epoch.plan.topics[usize::from(topic.0)].name.clone(),
                    event_id: epoch.decoder.id_text(topic, body).unwrap_or_else(|| rows.offset[row].to_string()),
                    time: rows.time[row],
                    received: slab.slab.ingest,
                    body: body.to_vec(),
                    metrics,
                };
                Some(event.into())
            })
            .collect()
    }
}

fn rejects(plan: &Plan, slabs: &[DecodedSlab]) -> Vec<DeadLetter> {
    let of_slab = |slab: &DecodedSlab| {
        let letters = slab.decoded.rejects.iter().map(|reject| DeadLetter {
            offset: reject.offset,
            topic: reject.topic.and_then(|t| plan.topics.get(usize::from(t.0))).map(|t| t.name.clone()),
            reason: reject.reason,
            detail: reject.detail.clone(),
            body: slab.line(reject.line).to_vec(),
            received: slab.slab.ingest,
        });
        letters.collect::<Vec<_>>()
    };
    slabs.iter().flat_map(of_slab).collect()
}

fn late_letter(epoch: &Epoch, rows: &EpochRows, row: usize) -> DeadLetter {
    let (slab, body) = rows.source(epoch.slabs, row);
    // It is late for each pipeline that reads it, so for the one that has come least far too.
    let readers = epoch.plan.pipelines.iter().zip(epoch.lateness).filter(|(p, _)| p.reads_topic(rows.topic[row]));
    let lateness = readers.map(|(_, &lateness)| lateness).min().unwrap_or(Micros::MIN);
    DeadLetter {
        offset: rows.offset[row],
        topic: epoch.plan.topics.get(usize::from(rows.topic[row].0)).map(|t| t.name.clone()),
        reason: Reason::Late,
        detail: format!(
            "its time {} is before the watermark {} by more than every window allows",
            time::format(rows.time[row]),
            time::format(lateness)
        ),
        body: body.to_vec(),
        received: slab.slab.ingest,
    }
}
