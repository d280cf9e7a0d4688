//! Committing to a store: an epoch's 200 rows, and with `audit: full` 20,000 events that went into two rows each. PostgreSQL runs with its fsync on, as it
//! does for people.

use std::sync::Arc;
use std::time::Duration;

use caudal::core::columns::GroupValue;
use caudal::core::ledger::Counts;
use caudal::core::plan::{Audit, ColumnId, ColumnKind, Metric, Plan};
use caudal::core::row::{AuditEvent, Value, WindowRow};
use caudal::core::units::{Epoch, Generation, LogId, Micros, Millis, Offset};
use caudal::store::target::Target;
use caudal::store::{Commit, Progress};
use criterion::{BatchSize, Criterion, Throughput};
use uuid::Uuid;

use crate::plan::{self, column, window};

#[path = "../tests/it/support/port.rs"]
mod port;
#[allow(dead_code, reason = "the tests' own server, of which this uses a part")]
#[path = "../tests/it/support/postgres.rs"]
mod postgres;

const ROWS: u64 = 200;
const EVENTS: u64 = 20_000;
const START: i64 = 1_763_812_800_000_000;

pub fn bench(c: &mut Criterion) {
    let directory = tempfile::TempDir::new().expect("there is a temporary directory");
    over(c, "sqlite", &Target::Sqlite(directory.path().join("caudal.db")));
    if std::path::Path::new("/usr/lib/postgresql").exists() {
        let cluster = postgres::Cluster::start_with("fsync = on");
        over(c, "postgres", &Target::Postgres(cluster.create_database()));
    }
}

fn over(c: &mut Criterion, name: &str, target: &Target) {
    let mut store = target.store(&plan()).expect("the store opens");
    let mut epoch = 0;
    let mut group = c.benchmark_group(format!("store_{name}"));
    group.sample_size(10).measurement_time(Duration::from_secs(3));
    for (case, events) in [("200_rows", 0), ("200_rows_audit_20000_events", EVENTS)] {
        group.throughput(Throughput::Elements(events.max(ROWS)));
        group.bench_function(case, |b| {
            let next = || {
                epoch += 1;
                commit(epoch, events)
            };
            b.iter_batched(next, |commit| store.commit(&commit).expect("it commits"), BatchSize::PerIteration);
        });
    }
    group.finish();
}

fn plan() -> Arc<Plan> {
    let columns = vec![
        column("source", ColumnKind::Group),
        column("region", ColumnKind::Group),
        column("age", ColumnKind::Number),
    ];
    let group = [("source", ColumnId(0)), ("region", ColumnId(1))];
    let metrics = [("n", Metric::Count), ("mean_age", Metric::Mean(ColumnId(2)))];
    let by_region = window("by_region", Micros(5_000_000), &group, &metrics);
    let mut plan = plan::plan("civic_safety", Vec::new(), columns, vec![by_region]);
    plan.pipelines[0].audit = Audit::Full;
    Arc::new(plan)
}

/// An epoch whose rows revise half of those of the epoch before, as open windows do.
fn commit(epoch: u64, events: u64) -> Commit {
    let id = |n: u64| Uuid::from_u128(u128::from(n).wrapping_mul(0x9e37_79b9_7f4a_7c15_f39c_c060_5ced_c835));
    let row = |n: u64| WindowRow {
        metric_id: id(epoch * ROWS / 2 + n),
        window: 0,
        start: Micros(START + (epoch as i64) * 5_000_000),
        end: Micros(START + (epoch as i64 + 1) * 5_000_000),
        group: vec![GroupValue::Text("security.incident".into()), GroupValue::Text(format!("R{n}").into())],
        values: vec![Value::Integer(i128::from(epoch)), Value::Number(34.5)],
        event_count: epoch,
        revision: 0,
        closed: true,
        digest: n + 1,
        epoch: Epoch(epoch),
    };
    let event = |n: u64| {
        let offset = epoch * EVENTS + n;
        let event_id = id(offset).to_string();
        let mut body =
            format!(r#"{{"event_id":"{event_id}","timestamp":"2026-11-22T12:00:00.123Z","region":"RM","payload":{{""#);
        body.extend(std::iter::repeat_n('x', 340usize.saturating_sub(body.len())));
        AuditEvent {
            offset: Offset(offset),
            topic: "security.incident".to_owned(),
            event_id,
            time: Micros(START),
            received: Millis(1_763_812_800_123),
            body: body.into_bytes(),
            metrics: vec![id(epoch * ROWS / 2 + n % ROWS), id((1 << 60) + n % 16)],
        }
    };
    let to = Progress {
        log: LogId(1),
        generation: Generation(1),
        epoch: Epoch(epoch),
        end: Offset(epoch * EVENTS),
        counts: Counts::default(),
    };
    Commit {
        rows: (0..ROWS).map(row).collect(),
        events: (0..events).map(event).collect(),
        ..Commit::new((epoch > 1).then(|| Epoch(epoch - 1)), to)
    }
}
