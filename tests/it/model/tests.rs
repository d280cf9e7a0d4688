//! Logs small enough to be followed by hand.

use std::sync::Arc;

use caudal::core::columns::Numbering;
use caudal::core::expression::{Expr, Type};
use caudal::core::plan::{
    Audit, ColumnId, FieldPath, GroupField, Metric, PipelinePlan, TimeFormat, Top, Unit, WindowKind, WindowPlan,
};
use caudal::core::schema::Schema;
use caudal::core::units::{Micros, TopicId};

use super::*;

const SCHEMA: &str = r#"{"type": "object"}"#;
const G: ColumnId = ColumnId(0);
const FLAG: ColumnId = ColumnId(1);
const X: ColumnId = ColumnId(2);

/// A row's (start and end in milliseconds, event count, revision, closed, epoch).
type Shown = (i64, i64, u64, u32, bool, u64);

fn topic(name: &str, out_of_order_ms: i64) -> TopicPlan {
    TopicPlan {
        name: name.to_owned(),
        schema: Arc::new(Schema::compile(SCHEMA).unwrap()),
        id: Some(FieldPath::top("id")),
        correlation: None,
        time: FieldPath::top("at"),
        time_format: TimeFormat::Unix(Unit::Milliseconds),
        out_of_order: Micros(out_of_order_ms * 1000),
        max_future: Micros(60_000_000),
        idle_after: Micros(5_000_000),
        remember: Micros(1_000_000),
        emitted: None,
        retired: false,
    }
}

fn window(kind: WindowKind, late_allow_ms: i64) -> WindowPlan {
    WindowPlan {
        pipeline: 0,
        name: "w".to_owned(),
        kind,
        group: Vec::new(),
        late_allow: Micros(late_allow_ms * 1000),
        emit: Some(Micros(1_000_000)),
        metrics: vec![("n".to_owned(), Metric::Count)],
        having: None,
        top: None,
        topic: None,
        watched: false,
    }
}

fn by_g(kind: WindowKind, late_allow_ms: i64) -> WindowPlan {
    let group = GroupField { name: "g".to_owned(), column: G, of_type: Type::Text };
    WindowPlan { group: vec![group], ..window(kind, late_allow_ms) }
}

fn tumbling(every_ms: i64) -> WindowKind {
    WindowKind::Tumbling { every: Micros(every_ms * 1000) }
}

fn session(gap_ms: i64) -> WindowKind {
    WindowKind::Session { gap: Micros(gap_ms * 1000) }
}

fn pipeline(topics: &[u16], windows: std::ops::Range<usize>) -> PipelinePlan {
    PipelinePlan {
        name: "p".to_owned(),
        topics: topics.iter().map(|topic| TopicId(*topic)).collect(),
        reads: vec![G, FLAG, X],
        windows,
        audit: Audit::None,
        ..PipelinePlan::default()
    }
}

fn plan(topics: Vec<TopicPlan>, pipelines: Vec<PipelinePlan>, windows: Vec<WindowPlan>) -> Plan {
    let column = |name: &str, kind| ColumnPlan { path: FieldPath::top(name), kind };
    let columns =
        vec![column("g", ColumnKind::Group), column("flag", ColumnKind::Boolean), column("x", ColumnKind::Number)];
    Plan {
        topic_field: "source".to_owned(),
        topics,
        columns,
        pipelines,
        windows,
        views: Vec::new(),
        alerts: Vec::new(),
        webhooks: Vec::new(),
        emits: Vec::new(),
        lives: caudal::core::plan::Lives::default(),
    }
}

/// One topic, one pipeline, one window.
fn simple(out_of_order_ms: i64, window: WindowPlan) -> Plan {
    plan(vec![topic("t", out_of_order_ms)], vec![pipeline(&[0], 0..1)], vec![window])
}

#[derive(Default)]
struct Log {
    entries: Vec<Entry>,
    offset: u64,
    epoch: u64,
}

impl Log {
    /// An epoch of a topic's events: (time in milliseconds, further members).
    fn epoch(&mut self, topic: u16, events: &[(i64, &str)], up_ms: u64, idle_ms: Option<u64>) {
        let (ingest, up) = (Millis(900_000 + up_ms), Millis(up_ms));
        let line = |(number, (time, members)): (u64, &(i64, &str))| {
            // An event that brings an id of its own gets no other.
            let id = if members.contains("\"id\"") { String::new() } else { format!(r#","id":"{number}""#) };
            let members = if members.is_empty() { String::new() } else { format!(",{members}") };
            format!("{{\"at\":{time}{id}{members}}}\n")
        };
        let lines: String = (self.offset..).zip(events).map(line).collect();
        self.entries.push(Entry::Slab(Slab {
            first_offset: Offset(self.offset),
            count: events.len() as u32,
            ingest,
            topic: Some(TopicId(topic)),
            bytes: lines.into(),
            numbering: Numbering::Dense,
        }));
        self.offset += events.len() as u64;
        self.epoch += 1;
        let (epoch, end) = (Epoch(self.epoch), Offset(self.offset));
        self.entries.push(Entry::Cut(Cut { epoch, end, ingest, up, idle: idle_ms.map(Millis), emitted: Epoch(0) }));
    }

    fn outcome(&self, plan: &Plan) -> Outcome {
        live(plan, &vec![SCHEMA.to_owned(); plan.topics.len()], &self.entries)
    }
}

fn shown(outcome: &Outcome, window: usize) -> Vec<Shown> {
    let of_window = outcome.rows.iter().filter(|((of, ..), _)| *of == window);
    of_window.map(|(key, r)| (key.1 / 1000, r.end / 1000, r.event_count, r.revision, r.closed, r.epoch)).collect()
}

/// Lateness at its exact boundary, a revision, silence, a forgotten id.
#[test]
fn two_allowances() {
    let windows = vec![window(tumbling(5_000), 1_000), window(tumbling(5_000), 2_000)];
    let plan = plan(vec![topic("t", 2_000)], vec![pipeline(&[0], 0..2)], windows);
    let mut log = Log::default();
    let d = r#""id":"d""#;
    log.epoch(0, &[(4_900, "")], 0, None); // W = 2.9
    log.epoch(0, &[(8_000, "")], 1, None); // W = 6
    log.epoch(0, &[(1_000, "")], 2, None); // [0, 5) closes by W(2) = 6; the first window forgets it, for 5 + 1 <= 6
    log.epoch(0, &[(2_000, d)], 3, None); // late for the first, revises the second
    log.epoch(0, &[(3_000, d)], 4, None); // a duplicate
    log.epoch(0, &[], 5_004, Some(5_000)); // W = 8 - 2 + 5 = 11
    log.epoch(0, &[], 5_005, None); // [5, 10) closes
    log.epoch(0, &[(600_000, "")], 7_000, None); // W = 598; shown open
    log.epoch(0, &[(600_001, d)], 7_001, None); // forgotten: its bucket ended at 120, a second longer is before 598
    let outcome = log.outcome(&plan);
    let newest = (600_000, 605_000, 1, 0, false, 8);
    assert_eq!(shown(&outcome, 0), [(0, 5_000, 2, 0, true, 3), (5_000, 10_000, 1, 0, true, 7), newest]);
    assert_eq!(shown(&outcome, 1), [(0, 5_000, 3, 1, true, 4), (5_000, 10_000, 1, 0, true, 7), newest]);
    assert_eq!(outcome.duplicates, [4]);
    assert!(outcome.dead_letters.is_empty());
    let counted: Vec<u64> = outcome.epochs.iter().map(|c| c.counted).collect();
    assert_eq!(counted, [1, 1, 1, 1, 0, 0, 0, 1, 1]);
}

#[test]
fn panes_that_overlap() {
    let kind = WindowKind::Hopping { size: Micros(10_000_000), every: Micros(4_000_000) };
    let plan = simple(0, window(kind, 0));
    let mut log = Log::default();
    log.epoch(0, &[(9_000, ""), (-1, "")], 0, None);
    log.epoch(0, &[(13_999, "")], 1, None); // W = 13.999
    log.epoch(0, &[], 2, None); // [0, 10) closes
    log.epoch(0, &[(9_000, "")], 3, None); // late for [0, 10), not for [4, 14) and [8, 18)
    log.epoch(0, &[(14_000, "")], 4, None); // W = 14
    log.epoch(0, &[(-1, "")], 5, Some(1_000)); // late as a whole; the others are shown, and [4, 14) closes
    let outcome = log.outcome(&plan);
    let expected = [
        (-8_000, 2_000, 1, 0, true, 2),
        (-4_000, 6_000, 1, 0, true, 2),
        (0, 10_000, 1, 0, true, 3),
        (4_000, 14_000, 3, 0, true, 6),
        (8_000, 18_000, 4, 0, false, 6),
        (12_000, 22_000, 2, 0, false, 6),
    ];
    assert_eq!(shown(&outcome, 0), expected);
    assert_eq!(outcome.dead_letters.keys().collect::<Vec<_>>(), [&5]);
    assert_eq!(outcome.counted[&3].3.iter().map(|key| key.1).collect::<Vec<_>>(), [8_000_000, 4_000_000]);
}

/// Each case: the events' times by epoch in milliseconds, and the rows after the last one. What is out of order is late at once but for what the window
/// allows; a row is shown in the first epoch, when one closes, and by a TIME record.
fn check_sessions(gap_ms: i64, late_allow_ms: i64, epochs: &[&[i64]], expected: &[Shown]) {
    let plan = simple(0, window(session(gap_ms), late_allow_ms));
    let mut log = Log::default();
    for (up_ms, times) in (0..).zip(epochs) {
        let events: Vec<(i64, &str)> = times.iter().map(|time| (*time, "")).collect();
        log.epoch(0, &events, up_ms, events.is_empty().then_some(1));
    }
    assert_eq!(shown(&log.outcome(&plan), 0), expected, "{epochs:?}");
}

#[test]
fn sessions_that_grow_and_merge() {
    // Within an epoch the order does not matter, and a gap of exactly 2 s parts two sessions.
    check_sessions(2_000, 0, &[&[13, 11, 2_013, 12]], &[(11, 2_013, 3, 0, false, 1), (2_013, 4_013, 1, 0, false, 1)]);
    check_sessions(2_000, 0, &[&[13, 11, 2_012, 13]], &[(11, 4_012, 4, 0, false, 1)]);
}

#[test]
fn sessions_that_close() {
    let allowed = 10_000;
    let epochs: &[&[i64]] = &[
        &[10_000],
        &[14_000], // W = 14: after the next epoch [10, 12) is closed
        &[20_000], // W = 20
        &[12_500], // [14, 16) begins at 12.5 and is closed at once
        &[11_500], // joins [10, 12) and [12.5, 16)
    ];
    check_sessions(2_000, allowed, &epochs[..3], &[(10_000, 12_000, 1, 0, true, 3)]);
    let closed = (10_000, 12_000, 1, 0, true, 3);
    check_sessions(2_000, allowed, &epochs[..4], &[closed, (12_500, 16_000, 2, 0, true, 4)]);
    check_sessions(2_000, allowed, epochs, &[(10_000, 16_000, 4, 1, true, 5)]);
    // An event is late by its own time, whichever session it would fall into: 12.5 + 2 + 5.5 <= W(3) = 20.
    let late: &[&[i64]] = &[&[10_000], &[14_000], &[20_000], &[20_001], &[12_500]];
    check_sessions(2_000, 5_500, late, &[closed, (14_000, 16_000, 1, 0, true, 4)]);
    check_sessions(2_000, 5_501, late, &[closed, (12_500, 16_000, 2, 1, true, 5)]);
}

#[test]
fn sessions_that_open_again() {
    let epochs: &[&[i64]] = &[
        &[10_000],
        &[12_000], // W = 12
        &[12_000], // [10, 12) closes; it and [12, 14) are two
        &[11_900], // makes them one, [10, 14), which is open
        &[],       // shown
        &[15_000], // W = 15
        &[15_000], // closed again
        &[13_900], // joins [15, 17) too
    ];
    let allowed = 60_000;
    let closed = (10_000, 12_000, 1, 0, true, 3);
    check_sessions(2_000, allowed, &epochs[..3], &[closed]);
    // What stands in the store stays until the session's own row is published.
    check_sessions(2_000, allowed, &epochs[..4], &[closed]);
    check_sessions(2_000, allowed, &epochs[..5], &[(10_000, 14_000, 4, 1, false, 5)]);
    check_sessions(2_000, allowed, &epochs[..6], &[(10_000, 14_000, 4, 1, false, 5)]);
    check_sessions(2_000, allowed, &epochs[..7], &[(10_000, 14_000, 4, 2, true, 7)]);
    // One session of all, open again, and not shown yet.
    check_sessions(2_000, allowed, epochs, &[(10_000, 14_000, 4, 2, true, 7)]);
}

#[test]
fn the_first_of_a_start() {
    let top = WindowPlan { top: Some(Top { n: 2, by: 0 }), ..by_g(tumbling(5_000), 60_000) };
    let plan = simple(0, top);
    let mut log = Log::default();
    let (a, b, c, null) = (r#""g":"a""#, r#""g":"b""#, r#""g":"c""#, r#""g":null"#);
    let of_group = |outcome: &Outcome| -> Vec<(GroupValue, u64, u32, u64)> {
        outcome.rows.iter().map(|(key, r)| (key.2[0].clone(), r.event_count, r.revision, r.epoch)).collect()
    };
    let text = |text: &str| GroupValue::Text(text.into());
    // Of equal ones the lesser group stays.
    log.epoch(0, &[(0, a), (1, b), (2, c)], 0, None);
    assert_eq!(of_group(&log.outcome(&plan)), [(text("a"), 1, 0, 1), (text("b"), 1, 0, 1)]);
    log.epoch(0, &[(5_000, a)], 1, None);
    log.epoch(0, &[(3, c), (4, null)], 2, None); // all close; null is less than b
    let first = (GroupValue::Null, 1, 0, 3);
    assert_eq!(of_group(&log.outcome(&plan)), [first.clone(), (text("c"), 2, 0, 3)]);
    log.epoch(0, &[(3, b), (4, b)], 3, None); // b has its revision though its closed row was never shown
    assert_eq!(of_group(&log.outcome(&plan)), [(text("b"), 3, 1, 4), (text("c"), 2, 0, 3)]);
    log.epoch(0, &[(3, null), (4, null)], 4, None);
    let (null, b) = ((GroupValue::Null, 3, 1, 5), (text("b"), 3, 1, 4));
    assert_eq!(of_group(&log.outcome(&plan)), [null, b]);
}

#[test]
fn pipelines_of_their_own() {
    let windows = vec![
        WindowPlan { pipeline: 0, emit: None, ..window(tumbling(5_000), 0) },
        WindowPlan { pipeline: 1, ..window(tumbling(5_000), 0) },
    ];
    let flagged = PipelinePlan { filter: Some(Expr::Column(FLAG, Type::Boolean)), ..pipeline(&[1], 1..2) };
    let plan = plan(vec![topic("t", 0), topic("u", 0)], vec![pipeline(&[0], 0..1), flagged], windows);
    let mut log = Log::default();
    log.epoch(0, &[(1_000, r#""flag":false"#)], 0, None);
    log.epoch(1, &[(1_000, r#""flag":true"#), (2_000, r#""flag":false"#), (20_000, "")], 1, None);
    log.epoch(1, &[(7_000, r#""flag":7"#), (8_000, r#""flag":true"#)], 2, None);
    log.epoch(1, &[(9_000, r#""flag":true"#)], 3, None); // late: W(2) = 20 by a filtered event
    let outcome = log.outcome(&plan);
    assert_eq!(shown(&outcome, 0), []);
    assert_eq!(shown(&outcome, 1), [(0, 5_000, 1, 0, true, 3), (5_000, 10_000, 1, 0, true, 3)]);
    assert_eq!(outcome.filtered, [2, 3]);
    let reasons: Vec<(u64, Reason)> = outcome.dead_letters.iter().map(|(offset, l)| (*offset, l.reason)).collect();
    assert_eq!(reasons, [(4, Reason::Type), (6, Reason::Late)]);
    assert_eq!(outcome.happened.0["pipelines with different watermarks"], 4);
}
