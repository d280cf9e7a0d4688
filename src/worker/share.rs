//! One pipeline's share of an epoch: which of the rows it lets through, what it computes of them, and the partial panes of its windows.

use std::collections::HashMap;
use std::sync::Arc;

use polars::prelude::IdxSize;
use uuid::Uuid;

use crate::core::aggregate::{Contribution, Rows, preaggregate, preaggregate_with};
use crate::core::alert::Mark;
use crate::core::columns::{Column, GroupValue};
use crate::core::emit::{self, Emitted};
use crate::core::expression::{Evaluated, Inputs, as_group, truths};
use crate::core::identity::metric_id;
use crate::core::join::Half;
use crate::core::lineage::{Noted, Slices};
use crate::core::plan::{
    AlertPlan, Audit, ColumnId, ColumnKind, Computed, EmitPlan, JoinPlan, Pattern, PipelinePlan, Plan, Rule, Source,
    ViewPlan, WindowPlan,
};
use crate::core::row::ViewChange;
use crate::core::units::{Micros, TopicId};
use crate::core::view::{self, Entry, Keyed};
use crate::core::window::{floor, is_late, last_end};
use crate::worker::rows::EpochRows;

/// What a pipeline made of an epoch's rows.
#[derive(Debug)]
pub struct Share {
    /// The rows that it let through, by their number in the epoch.
    pub passed: Vec<u32>,
    /// Of those, which no window took; empty if each was taken.
    pub late: Vec<bool>,
    pub contributions: Vec<Contribution>,
    pub entries: Vec<Keyed>,
    pub marks: Vec<Mark>,
    pub halves: Vec<Half>,
    pub history: Vec<ViewChange>,
    pub emitted: Vec<Emitted>,
    pub expression_errors: u64,
    /// Events that were late for a window, by the pipeline's windows.
    pub late_by_window: Vec<u64>,
    /// With `audit: compact`: the slices that rows went into, by window.
    pub slices: Vec<Slices>,
    /// With `audit: full`: for each row that passed, the rows of windows that it went into.
    pub metrics: Option<Vec<Vec<Uuid>>>,
}

/// What is asked about the rows.
#[derive(Clone, Copy, Debug)]
pub struct Asked {
    /// The watermark by which events are late.
    pub lateness: Micros,
    pub audit: Audit,
    /// Whether events are made of them, and patterns looked for among them.
    pub live: bool,
}

/// What one pipeline of the plan makes of the rows, which are as before afterwards.
#[must_use]
pub fn share(plan: &Plan, pipeline: &PipelinePlan, rows: &mut EpochRows, asked: Asked) -> Share {
    let reads: Vec<bool> = (0..plan.topics.len()).map(|topic| pipeline.reads_topic(TopicId(topic as u16))).collect();
    let reads: Vec<bool> = rows.topic.iter().map(|topic| reads[usize::from(topic.0)]).collect();
    if reads.iter().all(|&reads| reads) {
        let share = of_its_topics(plan, pipeline, rows, asked);
        rows.fields.truncate(plan.columns.len());
        share
    } else {
        of_its_topics(plan, pipeline, &mut rows.select(&reads), asked)
    }
}

/// The same, of rows that are all of the pipeline's topics.
fn of_its_topics(plan: &Plan, pipeline: &PipelinePlan, rows: &mut EpochRows, asked: Asked) -> Share {
    let mut errors = compute(&pipeline.derived, rows);
    let Some(filter) = &pipeline.filter else { return passed(plan, pipeline, rows, asked, errors) };
    let judged = filter.evaluate(&Inputs { fields: &rows.fields, time: &rows.time });
    errors += judged.errors;
    let passes = truths(&judged.column);
    if passes.iter().all(|&passes| passes) {
        passed(plan, pipeline, rows, asked, errors)
    } else {
        passed(plan, pipeline, &mut rows.select(&passes), asked, errors)
    }
}

/// The same, of rows that passed the filter.
fn passed(
    plan: &Plan,
    pipeline: &PipelinePlan,
    rows: &mut EpochRows,
    Asked { lateness, audit, live }: Asked,
    mut expression_errors: u64,
) -> Share {
    expression_errors += compute(&pipeline.arguments, rows);
    let windows = plan.windows.get(pipeline.windows.clone()).unwrap_or_default();
    let late: Vec<Option<Vec<bool>>> = windows.iter().map(|window| late_rows(window, rows, lateness)).collect();
    let count = |late: &Option<Vec<bool>>| late.as_ref().map_or(0, |l| l.iter().filter(|&&l| l).count() as u64);
    let late_by_window = late.iter().map(count).collect();
    let mut trace = (audit == Audit::Full).then(|| Trace::new(rows.len()));
    let (mut contributions, mut slices) = (Vec::new(), Vec::new());
    for ((index, window), late) in pipeline.windows.clone().zip(windows).zip(&late) {
        let (time, offset, fields) = (&rows.time[..], &rows.offset[..], &rows.fields[..]);
        let of_window = Rows { time, offset, fields, skip: late.as_deref() };
        if audit == Audit::Compact {
            let mut noted = Noted::default();
            let note = |start: Micros, group: &[GroupValue], members: &[IdxSize]| {
                noted.add(start, group, members.iter().map(|&row| offset[row as usize]));
            };
            contributions.append(&mut preaggregate_with(plan, index, &of_window, note));
            if !noted.is_empty() {
                slices.push(noted.in_order(index, lateness.minus(window.late_allow)));
            }
        } else {
            contributions.append(&mut preaggregate(plan, index, &of_window));
        }
        if let Some(trace) = &mut trace {
            trace.add(&plan.identity(window.pipeline), window, rows, late.as_deref(), lateness);
        }
    }
    let (mut entries, mut history) = (Vec::new(), Vec::new());
    for (index, view) in pipeline.views.clone().zip(plan.views.get(pipeline.views.clone()).unwrap_or_default()) {
        view_entries(index, view, rows, &mut entries, &mut history);
    }
    let all = pipeline.emits.clone().zip(plan.emits.get(pipeline.emits.clone()).unwrap_or_default());
    let (mut emitted, mut halves) = (Vec::new(), Vec::new());
    for (index, emit) in all.filter(|_| live) {
        match &emit.source {
            Source::Events { from, when } => events_made(plan, (index, emit), from, *when, rows, &mut emitted),
            Source::Join(join) => join_halves(index, emit, join, rows, &mut halves),
        }
    }
    let alerts = pipeline.alerts.clone().zip(plan.alerts.get(pipeline.alerts.clone()).unwrap_or_default());
    let marks = alerts.filter(|_| live).flat_map(|(index, alert)| marks(index, alert, rows)).collect();
    // What a view takes is not late, nor is what events are made of, or what a pattern is looked for in.
    let late = if plan.only_windows(pipeline) { late_for_all(&late, rows.len()) } else { Vec::new() };
    Share {
        passed: rows.number.clone(),
        late,
        contributions,
        entries,
        marks,
        halves,
        history,
        emitted,
        expression_errors,
        late_by_window,
        slices,
        metrics: trace.map(|trace| trace.metrics),
    }
}

/// The view's entries of these rows, one a key, and with `history` what each row says.
fn view_entries(
    index: usize,
    view: &ViewPlan,
    rows: &EpochRows,
    entries: &mut Vec<Keyed>,
    history: &mut Vec<ViewChange>,
) {
    let (codes, keys) = group_column(rows, view.key.0);
    let keys: Vec<Option<Arc<str>>> = keys.iter().map(view::key).collect();
    let wanted = view.when.map(|when| truths(&rows.fields[when.0]));
    let mut by_key: HashMap<Arc<str>, Entry, foldhash::fast::RandomState> = HashMap::default();
    for row in (0..rows.len()).filter(|&row| wanted.as_ref().is_none_or(|wanted| wanted[row])) {
        let Some(key) = &keys[codes[row] as usize] else { continue };
        let (time, offset) = (rows.time[row], rows.offset[row]);
        let fields: Vec<Option<Arc<str>>> =
            view.latest.iter().map(|(_, column)| view::json(&rows.fields[column.0], row)).collect();
        if view.history {
            let value = view::object(view, fields.iter().map(Option::as_ref));
            history.push(ViewChange { view: index, key: Arc::clone(key), offset, time, value });
        }
        let entry = Entry::of((time, offset), fields.into_iter());
        match by_key.get_mut(key) {
            Some(known) => known.merge(&entry),
            None => drop(by_key.insert(Arc::clone(key), entry)),
        }
    }
    entries.extend(by_key.into_iter().map(|(key, entry)| Keyed { view: index, key, entry }));
}

/// What a pattern counts of these rows, and what begins its count anew.
fn marks(index: usize, alert: &AlertPlan, rows: &EpochRows) -> Vec<Mark> {
    let Rule::Pattern(Pattern { key, count, unless, .. }) = &alert.rule else { return Vec::new() };
    let (codes, keys) = group_column(rows, key.column.0);
    let keys: Vec<Option<&GroupValue>> = keys.iter().map(|key| view::key(key).is_some().then_some(key)).collect();
    let counts = truths(&rows.fields[count.0]);
    let ends = unless.map(|unless| truths(&rows.fields[unless.0]));
    let mark = |row: usize| {
        let ends = ends.as_ref().is_some_and(|ends| ends[row]);
        let key = keys[codes[row] as usize].filter(|_| ends || counts[row])?.clone();
        Some(Mark { alert: index, key, moment: (rows.time[row], rows.offset[row]), ends })
    };
    (0..rows.len()).filter_map(mark).collect()
}

/// The events that are made of these rows.
fn events_made(
    plan: &Plan,
    (index, emit): (usize, &EmitPlan),
    from: &[TopicId],
    when: Option<ColumnId>,
    rows: &EpochRows,
    emitted: &mut Vec<Emitted>,
) {
    let wanted = when.map(|when| truths(&rows.fields[when.0]));
    let is_wanted = |row: &usize| from.contains(&rows.topic[*row]) && wanted.as_ref().is_none_or(|wanted| wanted[*row]);
    let event = |row: usize| {
        let (time, offset) = (rows.time[row], rows.offset[row]);
        Emitted {
            emit: index,
            offset,
            other: None,
            line: emit::of_event(plan, emit, &rows.fields, row, (time, offset)),
        }
    };
    emitted.extend((0..rows.len()).filter(is_wanted).map(event));
}

/// What of these rows is to be put together with others.
fn join_halves(index: usize, emit: &EmitPlan, join: &JoinPlan, rows: &EpochRows, halves: &mut Vec<Half>) {
    for (side, of_side) in join.sides.iter().enumerate() {
        let (codes, keys) = group_column(rows, of_side.key.0);
        let keys: Vec<Option<Arc<str>>> = keys.iter().map(view::key).collect();
        let wanted = of_side.when.map(|when| truths(&rows.fields[when.0]));
        let half = |row: usize| {
            let key = keys[codes[row] as usize].clone()?;
            let fields = emit.of_side(side).map(|field| emit::body_value(field, &rows.fields, row)).collect();
            Some(Half { emit: index, key, side, moment: (rows.time[row], rows.offset[row]), fields })
        };
        let of_topic = (0..rows.len()).filter(|&row| rows.topic[row] == of_side.topic);
        halves.extend(of_topic.filter(|&row| wanted.as_ref().is_none_or(|wanted| wanted[row])).filter_map(half));
    }
}

/// Appends computed columns; gives the number of errors.
fn compute(computed: &[Computed], rows: &mut EpochRows) -> u64 {
    let mut all = 0;
    for Computed { expression, kind } in computed {
        let Evaluated { column, errors } = expression.evaluate(&Inputs { fields: &rows.fields, time: &rows.time });
        all += errors;
        rows.fields.push(if *kind == ColumnKind::Group { as_group(column) } else { column });
    }
    all
}

/// Which rows are late for the window; None where none is.
fn late_rows(window: &WindowPlan, rows: &EpochRows, lateness: Micros) -> Option<Vec<bool>> {
    let late = |time: Micros| is_late(window, last_end(window, time), lateness);
    // If the oldest is not late, none is.
    if !late(*rows.time.iter().min()?) {
        return None;
    }
    Some(rows.time.iter().map(|&time| late(time)).collect())
}

fn late_for_all(late: &[Option<Vec<bool>>], rows: usize) -> Vec<bool> {
    let mut windows = late.iter();
    let Some(Some(first)) = windows.next() else { return Vec::new() };
    let mut late = first.clone();
    for window in windows {
        let Some(window) = window else { return Vec::new() };
        late.iter_mut().zip(window).for_each(|(late, window)| *late &= window);
    }
    assert_eq!(late.len(), rows, "every row is judged");
    late
}

/// For `audit: full`: the rows of windows that each event went into.
struct Trace {
    metrics: Vec<Vec<Uuid>>,
}

impl Trace {
    fn new(rows: usize) -> Self {
        Self { metrics: vec![Vec::new(); rows] }
    }

    fn add(&mut self, pipeline: &str, window: &WindowPlan, rows: &EpochRows, late: Option<&[bool]>, lateness: Micros) {
        // Which session an event goes into is known only to the session's owner.
        let Some(slice) = window.kind.slice() else { return };
        let groups: Vec<(&[u32], &[GroupValue])> =
            window.group.iter().map(|field| group_column(rows, field.column.0)).collect();
        let mut known: HashMap<(Micros, Vec<u32>), Vec<Uuid>> = HashMap::new();
        for (row, metrics) in self.metrics.iter_mut().enumerate() {
            if late.is_some_and(|l| l[row]) {
                continue;
            }
            let key = (floor(rows.time[row], slice), groups.iter().map(|(codes, _)| codes[row]).collect::<Vec<_>>());
            let ids = known.entry(key).or_insert_with_key(|(slice, codes)| {
                let group: Vec<GroupValue> =
                    groups.iter().zip(codes).map(|((_, values), &code)| values[code as usize].clone()).collect();
                let in_time = |start: &Micros| !is_late(window, window.kind.end(*start), lateness);
                let starts = window.kind.starts(*slice).filter(in_time);
                starts.map(|start| metric_id(pipeline, &window.name, start, &group)).collect()
            });
            metrics.extend_from_slice(ids);
        }
    }
}

fn group_column(rows: &EpochRows, column: usize) -> (&[u32], &[GroupValue]) {
    match &rows.fields[column] {
        Column::Group { codes, dictionary } => (codes, dictionary),
        Column::Integer(_) | Column::Number(_) | Column::Boolean(_) | Column::Json(_) => {
            panic!("windows group by columns of kind Group")
        }
    }
}
