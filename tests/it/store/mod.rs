//! One conformance suite for every store; then the writer's thread, and what only one of the databases can do.

mod cases;
mod writer;
mod jsonl;
mod sqlite;
mod postgres;
mod proxy;

use std::sync::Arc;

use caudal::core::columns::{GroupValue, Reason};
use caudal::core::expression::{Expr, Literal};
use caudal::core::ledger::Counts;
use caudal::core::plan::{
    AlertPlan, Audit, ColumnId, ColumnKind, Metric, Plan, Rule, ViewPlan, WebhookPlan, WindowKind, WindowPlan,
};
use caudal::core::row::{AuditEvent, DeadLetter, Value, WindowRow};
use caudal::core::units::{Epoch, Generation, LogId, Micros, Millis, Offset};
use caudal::store::target::Target;
use caudal::store::{Commit, Progress, Reader, Store, WindowQuery};
use tempfile::TempDir;
use uuid::Uuid;

use crate::memory_store::MemoryStore;
use crate::store::cases::CASES;
use crate::support;
use crate::support::plan::{column, window};
use crate::support::postgres::Cluster;

const LOG: LogId = LogId(0x00c0_ffee);
const HOUR: i64 = 3_600_000_000;

/// A store to try: `store` opens one more connection that writes, `reader` one that reads.
struct Bed {
    store: Box<dyn Fn() -> Box<dyn Store>>,
    reader: Box<dyn Fn() -> Box<dyn Reader>>,
}

fn bed(target: Target) -> Bed {
    let other = target.clone();
    Bed {
        store: Box::new(move || target.store(&plan()).expect("the store opens")),
        reader: Box::new(move || other.reader(&plan()).expect("a reader is made")),
    }
}

#[test]
fn memory_keeps_the_contract() {
    for (name, case) in CASES {
        println!("{name}");
        let store = MemoryStore::new(plan());
        let other = store.clone();
        case(&Bed {
            store: Box::new(move || Box::new(store.clone())),
            reader: Box::new(move || Box::new(other.clone())),
        });
    }
}

#[test]
fn sqlite_keeps_the_contract() {
    for (name, case) in CASES {
        println!("{name}");
        let directory = TempDir::new().unwrap();
        case(&bed(Target::Sqlite(directory.path().join("caudal.db"))));
    }
}

#[test]
fn postgres_keeps_the_contract() {
    let cluster = Cluster::start();
    for (name, case) in CASES {
        println!("{name}");
        case(&bed(Target::Postgres(cluster.create_database())));
    }
}

fn all() -> WindowQuery {
    WindowQuery { limit: 1000, ..WindowQuery::default() }
}

/// Three windows: `by_region` (groups region and code; metrics of each type), `daily` and `sliding` (one group, one metric).
fn plan() -> Arc<Plan> {
    Arc::new(plan_with(&[
        ("n", Metric::Count),
        ("total", Metric::Sum(ColumnId(2))),
        ("mean_age", Metric::Mean(ColumnId(3))),
    ]))
}

/// With these metrics for `by_region`: column 2 is an integer, column 3 a double.
fn plan_with(metrics: &[(&str, Metric)]) -> Plan {
    let columns = vec![
        column("region", ColumnKind::Group),
        column("code", ColumnKind::Group),
        column("units", ColumnKind::Integer),
        column("age", ColumnKind::Number),
    ];
    let (region, code, hour) = (("region", ColumnId(0)), ("code", ColumnId(1)), Micros(HOUR));
    let by_region = window("by_region", hour, &[region, code], metrics);
    let daily = window("daily", hour, &[region], &[("n", Metric::Count)]);
    let kind = WindowKind::Hopping { size: hour, every: Micros(7_000_000) };
    let sliding = WindowPlan { kind, ..window("sliding", hour, &[region], &[("n", Metric::Count)]) };
    let mut plan = support::plan::plan("civic_safety", Vec::new(), columns, vec![by_region, daily, sliding]);
    plan.pipelines[0].audit = Audit::Full;
    for name in ["current", "other"] {
        let latest = vec![("x".to_owned(), ColumnId(2))];
        let name = name.to_owned();
        plan.views.push(ViewPlan { pipeline: 0, name, key: ColumnId(0), latest, when: None, history: true });
    }
    for name in ["surge", "other"] {
        let when = Expr::Literal(Literal::Boolean(true));
        let rule = Rule::Condition { window: 0, when };
        plan.alerts.push(AlertPlan { pipeline: 0, name: name.to_owned(), rule, topic: None });
    }
    for name in ["ops", "others"] {
        let (name, alerts, url) = (name.to_owned(), vec![0], "https://hooks.example.com/".to_owned());
        plan.webhooks.push(WebhookPlan { pipeline: 0, name, alerts, url, retry: Micros(HOUR) });
    }
    plan
}

fn text(value: &str) -> GroupValue {
    GroupValue::Text(value.into())
}

/// A closed row of `by_region` that starts `hour` hours after 1970 began.
fn row(id: u128, hour: i64, region: &str) -> WindowRow {
    WindowRow {
        metric_id: Uuid::from_u128(id),
        window: 0,
        start: Micros(hour * HOUR),
        end: Micros((hour + 1) * HOUR),
        group: vec![text(region), GroupValue::Integer(7)],
        values: vec![Value::Integer(3), Value::Integer(-12), Value::Number(1.5)],
        event_count: 3,
        revision: 0,
        closed: true,
        digest: u64::MAX - id as u64,
        epoch: Epoch(1),
    }
}

/// An open row of `daily`.
fn daily(id: u128, hour: i64, region: &str) -> WindowRow {
    WindowRow {
        window: 1,
        group: vec![text(region)],
        values: vec![Value::Integer(3)],
        closed: false,
        digest: 0,
        ..row(id, hour, region)
    }
}

fn dead_letter(offset: u64, reason: Reason) -> DeadLetter {
    DeadLetter {
        offset: Offset(offset),
        topic: Some("security.incident".to_owned()),
        reason,
        detail: "/payload/age: is no number".to_owned(),
        body: br#"{"payload":{"age":"x"}}"#.to_vec(),
        received: Millis(1_764_000_000_123),
    }
}

fn event(offset: u64, id: &str, metrics: &[u128]) -> AuditEvent {
    AuditEvent {
        offset: Offset(offset),
        topic: "security.incident".to_owned(),
        event_id: id.to_owned(),
        time: Micros(1_764_000_000_123_456),
        received: Millis(1_764_000_000_789),
        body: br#"{"event_id":"x","region":"RM"}"#.to_vec(),
        metrics: metrics.iter().copied().map(Uuid::from_u128).collect(),
    }
}

/// From one epoch (None: an empty store) to another, by generation 1, with nothing in it.
fn commit(after: Option<u64>, to: u64) -> Commit {
    let counts = Counts { counted: to * 10, duplicate: 4, filtered: 0, invalid: 2, late: 1 };
    let to = Progress { log: LOG, generation: Generation(1), epoch: Epoch(to), end: Offset(to * 10 + 7), counts };
    let (rows, removed, dead_letters, events) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    Commit { rows, removed, dead_letters, events, ..Commit::new(after.map(Epoch), to) }
}

/// The first commit, with these rows.
pub fn first(rows: Vec<WindowRow>) -> Commit {
    Commit { rows, ..commit(None, 1) }
}

/// The commit of an epoch: row 1 as of this epoch, a row, a dead letter and an event of its own.
fn numbered(epoch: u64) -> Commit {
    let row_as_of = |id, at| WindowRow { event_count: epoch, epoch: Epoch(epoch), ..row(id, at, "RM") };
    Commit {
        rows: vec![row_as_of(1, 0), row_as_of(1000 + u128::from(epoch), 1)],
        dead_letters: vec![dead_letter(epoch, Reason::Late)],
        events: vec![event(epoch, &format!("id {epoch}"), &[1])],
        ..commit((epoch > 1).then(|| epoch - 1), epoch)
    }
}
