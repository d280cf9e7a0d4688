//! One conformance suite for every store, and what only PostgreSQL can do wrong.

use std::sync::Arc;

use caudal::core::columns::{GroupValue, Reason};
use caudal::core::ledger::Counts;
use caudal::core::plan::{Audit, ColumnId, ColumnKind, ColumnPlan, FieldPath, Metric, Plan, WindowPlan};
use caudal::core::row::{AuditEvent, DeadLetter, Value, WindowRow};
use caudal::core::units::{Epoch, Generation, LogId, Micros, Millis, Offset};
use caudal::store::target::Target;
use caudal::store::{Commit, DeadLetterQuery, Progress, Reader, Store, StoreError, StoredRow, WindowQuery};
use tempfile::TempDir;
use uuid::Uuid;

use crate::memory_store::MemoryStore;
use crate::support::postgres::Cluster;

const LOG: LogId = LogId(0x00c0_ffee);
const HOUR: i64 = 3_600_000_000;

/// A store to try: `store` opens one more connection that writes, `reader` one that reads.
struct Bed {
    store: Box<dyn Fn() -> Box<dyn Store>>,
    reader: Box<dyn Fn() -> Box<dyn Reader>>,
}

fn over(target: Target) -> Bed {
    let (plan, other) = (plan(), target.clone());
    let store = {
        let plan = plan.clone();
        move || target.store(&plan).expect("the store opens")
    };
    Bed { store: Box::new(store), reader: Box::new(move || other.reader(&plan).expect("the reader opens")) }
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
        case(&over(Target::Sqlite(directory.path().join("caudal.db"))));
    }
}

#[test]
fn postgres_keeps_the_contract() {
    let cluster = Cluster::start();
    for (name, case) in CASES {
        println!("{name}");
        case(&over(Target::Postgres(cluster.create_database())));
    }
}

type Case = (&'static str, fn(&Bed));

const CASES: &[Case] = &[("an empty store has no progress", empty), ("what is committed is read back", read_back)];

fn empty(bed: &Bed) {
    let mut store = (bed.store)();
    assert_eq!(store.progress().unwrap(), None);
    assert_eq!(store.claim(Generation(1)).unwrap(), None);
    let mut reader = (bed.reader)();
    assert_eq!(reader.windows(&all()).unwrap(), []);
    assert_eq!(reader.window(Uuid::from_u128(1)).unwrap(), None);
    assert_eq!(reader.lineage(Uuid::from_u128(1), None, 10).unwrap(), []);
    assert_eq!(reader.event("nobody").unwrap(), []);
    assert_eq!(reader.dead_letters(&DeadLetterQuery { limit: 10, ..DeadLetterQuery::default() }).unwrap(), []);
}

fn read_back(bed: &Bed) {
    let mut store = (bed.store)();
    let row = row(1, 0, "RM");
    let commit = Commit { rows: vec![row.clone()], ..commit(None, 1) };
    store.commit(&commit).unwrap();
    assert_eq!(store.progress().unwrap(), Some(commit.to));
    let mut reader = (bed.reader)();
    let stored = StoredRow::of(&plan(), &row);
    assert_eq!(stored.group, r#"{"region":"RM","code":7}"#);
    assert_eq!(stored.values, r#"{"n":3,"total":-12,"mean_age":1.5}"#);
    assert_eq!(reader.windows(&all()).unwrap(), [stored.clone()]);
    assert_eq!(reader.window(row.metric_id).unwrap(), Some(stored));
}

fn all() -> WindowQuery {
    WindowQuery { limit: 1000, ..WindowQuery::default() }
}

/// Two windows: `by_region` (groups region and code; metrics of each type) and `daily` (one group, one metric).
fn plan() -> Arc<Plan> {
    let column = |name: &str, kind| ColumnPlan { path: FieldPath(vec![name.to_owned()]), kind };
    let window = |name: &str, group: &[(&str, usize)], metrics: &[(&str, Metric)]| WindowPlan {
        name: name.to_owned(),
        every: Micros(HOUR),
        group: group.iter().map(|&(name, column)| (name.to_owned(), ColumnId(column))).collect(),
        late_allow: Micros(0),
        emit: Micros(1_000_000),
        metrics: metrics.iter().map(|&(name, metric)| (name.to_owned(), metric)).collect(),
    };
    Arc::new(Plan {
        pipeline: "civic_safety".to_owned(),
        topic_field: "source".to_owned(),
        topics: Vec::new(),
        columns: vec![
            column("region", ColumnKind::Group),
            column("code", ColumnKind::Group),
            column("units", ColumnKind::Integer),
            column("age", ColumnKind::Number),
        ],
        windows: vec![
            window(
                "by_region",
                &[("region", 0), ("code", 1)],
                &[("n", Metric::Count), ("total", Metric::Sum(ColumnId(2))), ("mean_age", Metric::Mean(ColumnId(3)))],
            ),
            window("daily", &[("region", 0)], &[("n", Metric::Count)]),
        ],
        audit: Audit::Full,
    })
}

/// A closed row of `by_region` that starts `hour` hours after 1970 began.
fn row(id: u128, hour: i64, region: &str) -> WindowRow {
    WindowRow {
        metric_id: Uuid::from_u128(id),
        window: 0,
        start: Micros(hour * HOUR),
        end: Micros((hour + 1) * HOUR),
        group: vec![GroupValue::Text(region.into()), GroupValue::Integer(7)],
        values: vec![Value::Integer(3), Value::Integer(-12), Value::Number(1.5)],
        event_count: 3,
        revision: 0,
        closed: true,
        digest: u64::MAX - id as u64,
        epoch: Epoch(1),
    }
}

fn commit(after: Option<u64>, to: u64) -> Commit {
    let counts = Counts { counted: to * 10, duplicate: 4, filtered: 0, invalid: 2, late: 1 };
    let to = Progress { log: LOG, generation: Generation(1), epoch: Epoch(to), end: Offset(to * 10 + 7), counts };
    Commit { after: after.map(Epoch), to, rows: Vec::new(), dead_letters: Vec::new(), events: Vec::new() }
}
