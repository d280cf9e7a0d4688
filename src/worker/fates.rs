//! What becomes of an epoch's events at the worker that decoded them: duplicates by the owners' verdicts, late ones by the watermark,
//! the rest counted into partial panes.

use std::collections::HashMap;

use uuid::Uuid;

use crate::core::aggregate::{PaneKey, Partial, Rows, preaggregate};
use crate::core::columns::{Column, GroupValue, Reason};
use crate::core::decode::Decoder;
use crate::core::identity::metric_id;
use crate::core::ledger::Counts;
use crate::core::plan::{Audit, Plan, WindowPlan};
use crate::core::row::{AuditEvent, DeadLetter};
use crate::core::time;
use crate::core::units::Micros;
use crate::core::window::{is_late, window_end, window_number};
use crate::wire::{WireAuditEvent, WireCounts, WireDeadLetter};
use crate::worker::rows::{DecodedSlab, EpochRows};

/// The fates of one worker's events of one epoch, as its report tells them.
#[derive(Debug)]
pub struct Fates {
    pub counts: [u64; 5],
    pub dead_letters: Vec<WireDeadLetter>,
    pub events: Vec<WireAuditEvent>,
    pub duplicates: Vec<u64>,
    pub late_by_window: Vec<u64>,
}

/// Fates, and the partial panes of what was counted.
#[derive(Debug)]
pub struct Settled {
    pub fates: Fates,
    pub panes: Vec<(PaneKey, Partial)>,
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

/// Settles an epoch. `lateness` is the watermark by which its events are late; `audit` is the plan's, or none where nobody asks for lineage.
#[must_use]
pub fn settle(
    plan: &Plan,
    decoder: &Decoder,
    slabs: &[DecodedSlab],
    mut rows: EpochRows,
    duplicate: &[bool],
    lateness: Micros,
    audit: Audit,
) -> Settled {
    let mut dead_letters = rejects(plan, slabs);
    let mut counts = Counts { invalid: dead_letters.len() as u64, ..Counts::default() };
    let duplicates: Vec<u64> = rows.offset.iter().zip(duplicate).filter(|&(_, &d)| d).map(|(o, _)| o.0).collect();
    counts.duplicate = duplicates.len() as u64;
    if !duplicates.is_empty() {
        rows.keep(|row| !duplicate[row]);
    }

    let late: Vec<Option<Vec<bool>>> = plan.windows.iter().map(|w| late_rows(w, &rows, lateness)).collect();
    let late_by_window = late.iter().map(|l| l.as_ref().map_or(0, |l| count(l))).collect();
    let late_for_all = |row: usize| late.iter().all(|l| l.as_ref().is_some_and(|l| l[row]));
    // Late for all needs to be late for the first.
    if late.first().is_some_and(Option::is_some) {
        for row in (0..rows.len()).filter(|&row| late_for_all(row)) {
            counts.late += 1;
            dead_letters.push(late_letter(plan, slabs, &rows, row, lateness));
        }
    }
    counts.counted = rows.len() as u64 - counts.late;

    let mut panes = Vec::new();
    let mut trace = Trace::new(audit, rows.len());
    for (index, late) in late.iter().enumerate() {
        let Some(window) = plan.windows.get(index) else { break };
        let numbers: Vec<i64> = rows.time.iter().map(|&t| window_number(window, t)).collect();
        trace.add(plan, window, &rows, &numbers, late.as_deref());
        panes.append(&mut preaggregate(
            plan,
            index,
            &Rows { numbers: &numbers, fields: &rows.fields, skip: late.as_deref() },
        ));
    }
    let events = trace.events(plan, decoder, slabs, &rows);
    let dead_letters = dead_letters.into_iter().map(WireDeadLetter::from).collect();
    let WireCounts(counts) = counts.into();
    Settled { fates: Fates { counts, dead_letters, events, duplicates, late_by_window }, panes }
}

fn count(flags: &[bool]) -> u64 {
    flags.iter().filter(|&&f| f).count() as u64
}

/// Which rows are late for the window; None where none is.
fn late_rows(window: &WindowPlan, rows: &EpochRows, lateness: Micros) -> Option<Vec<bool>> {
    let late = |time: Micros| {
        let start = Micros(window_number(window, time) * window.every.0);
        is_late(window, window_end(window, start), lateness)
    };
    // An event whose own time is not late cannot be late for a window that ends after it.
    let oldest = rows.time.iter().min()?;
    if !late(*oldest) {
        return None;
    }
    Some(rows.time.iter().map(|&t| late(t)).collect())
}

fn rejects(plan: &Plan, slabs: &[DecodedSlab]) -> Vec<DeadLetter> {
    let of_slab = |slab: &DecodedSlab| {
        let letters = slab.decoded.rejects.iter().map(|reject| DeadLetter {
            offset: reject.offset,
            topic: reject.topic.and_then(|t| plan.topics.get(usize::from(t.0))).map(|t| t.name.clone()),
            reason: reject.reason,
            detail: reject.detail.clone(),
            body: line(slab, reject.line).to_vec(),
            received: slab.slab.ingest,
        });
        letters.collect::<Vec<_>>()
    };
    slabs.iter().flat_map(of_slab).collect()
}

fn line(slab: &DecodedSlab, (start, len): (u32, u32)) -> &[u8] {
    let start = start as usize;
    let line = slab.slab.bytes.get(start..start + len as usize);
    line.unwrap_or_else(|| panic!("decode gave a line outside its slab"))
}

fn late_letter(plan: &Plan, slabs: &[DecodedSlab], rows: &EpochRows, row: usize, lateness: Micros) -> DeadLetter {
    let (slab, body) = rows.source(slabs, row);
    DeadLetter {
        offset: rows.offset[row],
        topic: plan.topics.get(usize::from(rows.topic[row].0)).map(|t| t.name.clone()),
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

impl EpochRows {
    /// The slab and the line of a row.
    fn source<'a>(&self, slabs: &'a [DecodedSlab], row: usize) -> (&'a DecodedSlab, &'a [u8]) {
        let (slab, at) = self.place[row];
        let slab = &slabs[slab as usize];
        (slab, line(slab, slab.decoded.columns.line[at as usize]))
    }
}

/// For `audit: full`: the rows of windows that each event went into.
struct Trace {
    /// One list an event; empty where the audit is off.
    metrics: Vec<Vec<Uuid>>,
}

impl Trace {
    fn new(audit: Audit, rows: usize) -> Self {
        Self { metrics: if audit == Audit::Full { vec![Vec::new(); rows] } else { Vec::new() } }
    }

    fn add(&mut self, plan: &Plan, window: &WindowPlan, rows: &EpochRows, numbers: &[i64], late: Option<&[bool]>) {
        let groups: Vec<(&[u32], &[GroupValue])> = window.group.iter().map(|(_, c)| group_column(rows, c.0)).collect();
        let mut known: HashMap<(i64, Vec<u32>), Uuid> = HashMap::new();
        for (row, metrics) in self.metrics.iter_mut().enumerate() {
            if late.is_some_and(|l| l[row]) {
                continue;
            }
            let key = (numbers[row], groups.iter().map(|(codes, _)| codes[row]).collect::<Vec<_>>());
            let id = *known.entry(key).or_insert_with_key(|(number, codes)| {
                let group: Vec<GroupValue> =
                    groups.iter().zip(codes).map(|((_, values), &code)| values[code as usize].clone()).collect();
                metric_id(&plan.pipeline, &window.name, Micros(number * window.every.0), &group)
            });
            metrics.push(id);
        }
    }

    fn events(self, plan: &Plan, decoder: &Decoder, slabs: &[DecodedSlab], rows: &EpochRows) -> Vec<WireAuditEvent> {
        let counted = self.metrics.into_iter().enumerate().filter(|(_, metrics)| !metrics.is_empty());
        counted
            .map(|(row, metrics)| {
                let (slab, body) = rows.source(slabs, row);
                let topic = rows.topic[row];
                let event = AuditEvent {
                    offset: rows.offset[row],
                    topic: plan.topics[usize::from(topic.0)].name.clone(),
                    event_id: decoder.id_text(topic, body).unwrap_or_else(|| rows.offset[row].to_string()),
                    time: rows.time[row],
                    received: slab.slab.ingest,
                    body: body.to_vec(),
                    metrics,
                };
                event.into()
            })
            .collect()
    }
}

fn group_column(rows: &EpochRows, column: usize) -> (&[u32], &[GroupValue]) {
    match &rows.fields[column] {
        Column::Group { codes, dictionary } => (codes, dictionary),
        Column::Integer(_) | Column::Number(_) => panic!("the plan groups by columns of kind Group"),
    }
}
