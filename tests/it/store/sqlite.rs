//! What only SQLite can do wrong, and its views.

use std::sync::Arc;

use caudal::core::plan::{ColumnId, Metric};
use caudal::core::row::{Value, WindowRow};
use caudal::core::units::{Generation, Micros};
use caudal::store::target::Target;
use caudal::store::{Leftover, StoreError};
use rusqlite::Connection;
use tempfile::TempDir;

use super::{LOG, all, first, plan, plan_with, row};

#[test]
fn the_library_is_one_without_the_wal_reset_bug() {
    assert!(rusqlite::version_number() >= 3_051_003, "SQLite {}", rusqlite::version());
}

#[test]
fn views_show_what_people_can_read() {
    let directory = TempDir::new().unwrap();
    let path = directory.path().join("caudal.db");
    let mut store = Target::Sqlite(path.clone()).store(&plan()).unwrap();
    let at = |start: i64, id, values: [Value; 3]| WindowRow {
        start: Micros(start),
        values: values.into(),
        ..row(id, 0, "it's")
    };
    let rows = vec![
        at(1_763_812_800_000_000, 1, [Value::Integer(3), Value::Integer(1 << 70), Value::Number(2.0)]),
        at(1_763_812_800_250_000, 2, [Value::Integer(3), Value::Integer(-5), Value::Null]),
        at(-1, 3, [Value::Integer(3), Value::Null, Value::Number(0.1)]),
    ];
    store.commit(&first(rows)).unwrap();
    let connection = Connection::open(path).unwrap();
    let sql = "SELECT window_start || ' ' || region || ' ' || code || ' ' || n || ' ' || coalesce(total, '-') || ' ' ||
                      coalesce(mean_age, '-') || ' ' || typeof(n) || ' ' || typeof(total) || ' ' || typeof(mean_age)
               FROM civic_safety_by_region ORDER BY metric_id";
    let mut statement = connection.prepare(sql).unwrap();
    let shown: Vec<String> = statement.query_map([], |row| row.get(0)).unwrap().map(Result::unwrap).collect();
    assert_eq!(
        shown,
        [
            "2025-11-22T12:00:00Z it's 7 3 1180591620717411303424 2.0 integer text real",
            "2025-11-22T12:00:00.250Z it's 7 3 -5 - integer integer null",
            "1969-12-31T23:59:59.999999Z it's 7 3 - 0.1 integer null real",
        ]
    );
    let mode: String = connection.query_row("PRAGMA journal_mode", [], |row| row.get(0)).unwrap();
    assert_eq!(mode, "wal");
}

#[test]
fn a_view_follows_its_plan() {
    let directory = TempDir::new().unwrap();
    let path = directory.path().join("caudal.db");
    let target = Target::Sqlite(path.clone());
    target.store(&plan()).unwrap().commit(&first(vec![row(1, 0, "RM")])).unwrap();
    // Names that others have already, and one that needs its quotes.
    let metrics = [("n", Metric::Count), ("closed", Metric::Min(ColumnId(2))), ("Select", Metric::Sum(ColumnId(3)))];
    target.store(&Arc::new(plan_with(&metrics))).unwrap();
    let connection = Connection::open(path).unwrap();
    let statement = connection.prepare("SELECT * FROM civic_safety_by_region").unwrap();
    let expected = [
        "window_start",
        "window_end",
        "region",
        "code",
        "n",
        "closed",
        "Select",
        "event_count",
        "revision",
        "closed_",
        "metric_id",
    ];
    assert_eq!(statement.column_names().collect::<Vec<_>>(), expected);
}

/// What a pipeline's past has left is taken out, and with it the views of its windows; those of others stay.
#[test]
fn views_go_with_what_a_past_has_left() {
    let directory = TempDir::new().unwrap();
    let path = directory.path().join("caudal.db");
    let mut store = Target::Sqlite(path.clone()).store(&plan()).unwrap();
    let mut other = plan_with(&[("n", Metric::Count)]);
    // The name of the one is the beginning of the other's.
    other.pipelines[0].name = "civic".to_owned();
    drop(Target::Sqlite(path.clone()).store(&Arc::new(other)).unwrap());
    let views = || -> Vec<String> {
        let connection = Connection::open(&path).unwrap();
        let sql = "SELECT name FROM sqlite_master WHERE type = 'view' ORDER BY name";
        let mut statement = connection.prepare(sql).unwrap();
        statement.query_map([], |row| row.get(0)).unwrap().map(Result::unwrap).collect()
    };
    let of = |pipeline: &str| ["by_region", "daily", "sliding"].map(|window| format!("{pipeline}_{window}"));
    let mut both = [of("civic"), of("civic_safety")].concat();
    both.sort();
    assert_eq!(views(), both);
    let left = |pipeline: &str| Leftover { log: LOG, pipeline: pipeline.to_owned(), views: Vec::new() };
    store.forget(Generation(1), &left("civic")).unwrap();
    assert_eq!(views(), of("civic_safety"));
    store.forget(Generation(1), &left("civic_safety")).unwrap();
    assert_eq!(views(), [""; 0]);
    // Whoever comes by the name again has them.
    drop(Target::Sqlite(path.clone()).store(&plan()).unwrap());
    assert_eq!(views(), of("civic_safety"));
}

#[test]
fn tables_of_a_newer_version_are_refused() {
    let directory = TempDir::new().unwrap();
    let path = directory.path().join("caudal.db");
    let target = Target::Sqlite(path.clone());
    drop(target.store(&plan()).unwrap());
    let connection = Connection::open(path).unwrap();
    connection.execute("INSERT INTO schema_version (version, name) VALUES (99, 'tomorrow')", []).unwrap();
    let refused = target.store(&plan()).err();
    assert!(matches!(&refused, Some(StoreError::Broken(why)) if why.contains("99")), "{refused:?}");
}

#[test]
fn a_file_that_is_no_database_is_refused() {
    let directory = TempDir::new().unwrap();
    let path = directory.path().join("caudal.db");
    std::fs::write(&path, "something else entirely, and long enough to be looked at".repeat(100)).unwrap();
    let refused = Target::Sqlite(path).store(&plan()).err();
    assert!(matches!(refused, Some(StoreError::Broken(_))), "{refused:?}");
    let refused = Target::Sqlite(directory.path().join("no/such/directory")).store(&plan()).err();
    assert!(matches!(refused, Some(StoreError::Broken(_))), "{refused:?}");
}

#[test]
fn a_reader_may_be_there_before_the_writer() {
    let directory = TempDir::new().unwrap();
    let path = directory.path().join("caudal.db");
    let target = Target::Sqlite(path.clone());
    let mut reader = target.reader(&plan()).unwrap();
    assert!(matches!(reader.windows(&all()), Err(StoreError::Unavailable(_))));
    drop(Connection::open(&path).unwrap());
    std::fs::File::create(&path).unwrap();
    assert!(matches!(reader.windows(&all()), Err(StoreError::Unavailable(_))));
    let mut store = target.store(&plan()).unwrap();
    assert_eq!(reader.windows(&all()).unwrap(), []);
    store.commit(&first(vec![row(1, 0, "RM")])).unwrap();
    assert_eq!(reader.windows(&all()).unwrap().len(), 1);
}
