//! SQLite, embedded: the default store. WAL, synchronous=FULL: a commit is on disk when it returns, and readers on connections of their own see the last
//! one while the next is written. An answer is never lost here, so nothing is ever indeterminate.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use rusqlite::types::{ToSqlOutput, ValueRef};
use rusqlite::{Connection, ErrorCode, OpenFlags, ToSql, TransactionBehavior, params_from_iter};

use uuid::Uuid;

use crate::core::plan::Plan;
use crate::core::units::Generation;
use crate::store::look::SqliteSeen;
use crate::store::sql::{Ask, Cell, Dialect, Param, Query, Row, Table, Write};
use crate::store::{
    Commit, DeliveryMend, GroupPosition, Leftover, Progress, Settled, Store, StoreError, apply, schema,
};

/// How long a statement waits for another process that holds the write lock, before the store counts as away.
const BUSY_MAX: Duration = Duration::from_secs(5);

/// Statements kept prepared by a connection: all that are ever written with, and the common shapes of queries.
const STATEMENTS_MAX: usize = 64;

/// Pages that the writer keeps in memory, in KiB: so that a large commit, whose keys fall all over the indexes, writes each page once.
const CACHE_KIB: i64 = 32 << 10;

/// Bytes that the write-ahead log keeps after a checkpoint; a larger one is cut back.
const WAL_BYTES_KEPT: u32 = 64 << 20;

/// Of the library that is built in.
#[must_use]
pub fn version() -> &'static str {
    rusqlite::version()
}

/// The writer's connection.
pub struct SqliteStore {
    connection: Connection,
    plan: Arc<Plan>,
}

/// A reader's connection, read-only, opened when it is first asked and again after a failure.
pub struct SqliteSource {
    path: PathBuf,
    connection: Option<Connection>,
}

impl SqliteStore {
    /// Opens the file, or makes it.
    ///
    /// # Errors
    /// `Unavailable`: another process writes. `Broken`: it cannot be opened, or is of a newer version.
    pub fn open(path: &Path, plan: Arc<Plan>) -> Result<Self, StoreError> {
        let mut connection = Connection::open(path).map_err(error)?;
        setup(&connection)?;
        connection.pragma_update(None, "journal_mode", "WAL").map_err(error)?;
        connection.pragma_update(None, "synchronous", "FULL").map_err(error)?;
        connection.pragma_update(None, "journal_size_limit", WAL_BYTES_KEPT).map_err(error)?;
        connection.pragma_update(None, "cache_size", -CACHE_KIB).map_err(error)?;
        let mut tx = begin(&mut connection)?;
        schema::prepare(&mut tx, &plan)?;
        tx.commit().map_err(error)?;
        Ok(Self { connection, plan })
    }
}

impl Store for SqliteStore {
    fn claim(&mut self, mine: Generation) -> Result<Option<Progress>, StoreError> {
        let mut tx = begin(&mut self.connection)?;
        apply::fence(&mut tx, mine)?;
        let progress = apply::read_progress(&mut tx)?;
        tx.commit().map_err(error)?;
        Ok(progress)
    }

    fn progress(&mut self) -> Result<Option<Progress>, StoreError> {
        apply::read_progress(&mut self.connection)
    }

    fn commit(&mut self, commit: &Commit) -> Result<(), StoreError> {
        let mut tx = begin(&mut self.connection)?;
        let plan = commit.plan.as_ref().unwrap_or(&self.plan);
        let is_known = Arc::ptr_eq(plan, &self.plan);
        if !is_known {
            schema::show_windows(&mut tx, plan)?;
        }
        apply::apply(&mut tx, plan, commit)?;
        tx.commit().map_err(error)?;
        if !is_known {
            self.plan = Arc::clone(plan);
        }
        Ok(())
    }

    fn settle(&mut self, mine: Generation, settled: &Settled) -> Result<(), StoreError> {
        let mut tx = begin(&mut self.connection)?;
        apply::settle(&mut tx, mine, settled)?;
        tx.commit().map_err(error)
    }

    fn mend_delivery(&mut self, mine: Generation, id: Uuid, mend: DeliveryMend) -> Result<bool, StoreError> {
        let mut tx = begin(&mut self.connection)?;
        let found = apply::mend_delivery(&mut tx, mine, id, mend)?;
        tx.commit().map_err(error)?;
        Ok(found)
    }

    fn move_group(&mut self, mine: Generation, group: &GroupPosition) -> Result<(), StoreError> {
        let mut tx = begin(&mut self.connection)?;
        apply::move_group(&mut tx, mine, group)?;
        tx.commit().map_err(error)
    }

    fn forget(&mut self, mine: Generation, left: &Leftover) -> Result<(), StoreError> {
        let mut tx = begin(&mut self.connection)?;
        let views = apply::forget(&mut tx, mine, left)?;
        tx.commit().map_err(error)?;
        for view in views {
            let mut tx = begin(&mut self.connection)?;
            let hidden = schema::hide(&mut tx, &view).and_then(|()| tx.commit().map_err(error));
            hidden.unwrap_or_else(|why| schema::stays(&view, &why));
        }
        Ok(())
    }

    fn drop_group(&mut self, mine: Generation, topic: &str, group: &str) -> Result<bool, StoreError> {
        let mut tx = begin(&mut self.connection)?;
        let found = apply::drop_group(&mut tx, mine, topic, group)?;
        tx.commit().map_err(error)?;
        Ok(found)
    }
}

impl SqliteSource {
    #[must_use]
    pub fn new(path: PathBuf) -> Self {
        Self { path, connection: None }
    }

    fn connect(&self) -> Result<Connection, StoreError> {
        if !self.path.exists() {
            return Err(StoreError::Unavailable(format!("{} is not made yet", self.path.display())));
        }
        let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let connection = Connection::open_with_flags(&self.path, flags).map_err(error)?;
        setup(&connection)?;
        Ok(connection)
    }
}

impl Ask for SqliteSource {
    fn ask(&mut self, query: &Query) -> Result<Vec<Row>, StoreError> {
        let mut connection = match self.connection.take() {
            Some(connection) => connection,
            None => self.connect()?,
        };
        let rows = connection.ask(query)?;
        self.connection = Some(connection);
        Ok(rows)
    }
}

/// A file of more bytes is not read through: it would take longer than whoever looks waits.
const LOOK_BYTES_MAX: u64 = 256 << 20;

/// As `look::sqlite` says.
pub(super) fn look(path: &Path) -> Result<Option<SqliteSeen>, StoreError> {
    let Ok(file) = std::fs::metadata(path) else { return Ok(None) };
    let connection = SqliteSource::new(path.to_owned()).connect()?;
    let mut problems = Vec::new();
    // Its header and its tables' descriptions are read by any question.
    connection.query_row("SELECT count(*) FROM sqlite_master", [], |row| row.get::<_, i64>(0)).map_err(error)?;
    if file.len() <= LOOK_BYTES_MAX {
        let mut statement = connection.prepare("PRAGMA quick_check(5)").map_err(error)?;
        let found = statement.query_map([], |row| row.get::<_, String>(0)).map_err(error)?;
        for problem in found {
            problems.extend(Some(problem.map_err(error)?).filter(|problem| problem != "ok"));
        }
    }
    Ok(Some(SqliteSeen { bytes: file.len(), problems }))
}

fn setup(connection: &Connection) -> Result<(), StoreError> {
    connection.busy_timeout(BUSY_MAX).map_err(error)?;
    connection.set_prepared_statement_cache_capacity(STATEMENTS_MAX);
    Ok(())
}

/// With the write lock taken at once: so that what is read is what is changed.
fn begin(connection: &mut Connection) -> Result<rusqlite::Transaction<'_>, StoreError> {
    connection.transaction_with_behavior(TransactionBehavior::Immediate).map_err(error)
}

impl Ask for Connection {
    fn ask(&mut self, query: &Query) -> Result<Vec<Row>, StoreError> {
        ask(self, query)
    }
}

impl Ask for rusqlite::Transaction<'_> {
    fn ask(&mut self, query: &Query) -> Result<Vec<Row>, StoreError> {
        ask(self, query)
    }
}

impl Write for rusqlite::Transaction<'_> {
    fn dialect(&self) -> Dialect {
        Dialect::Sqlite
    }

    fn execute(&mut self, query: &Query) -> Result<u64, StoreError> {
        let mut statement = self.prepare_cached(&query.sql).map_err(error)?;
        statement.execute(params_from_iter(&query.params)).map(|rows| rows as u64).map_err(error)
    }

    fn run(&mut self, statements: &str) -> Result<(), StoreError> {
        self.execute_batch(statements).map_err(error)
    }

    fn delete(&mut self, table: &'static str, key: &'static str, ids: &[Uuid]) -> Result<(), StoreError> {
        if ids.is_empty() {
            return Ok(());
        }
        let sql = format!("DELETE FROM {table} WHERE {key} = $1");
        let mut statement = self.prepare_cached(&sql).map_err(error)?;
        for id in ids {
            statement.execute([id.to_string()]).map_err(error)?;
        }
        Ok(())
    }

    fn put(&mut self, table: &'static Table, rows: &mut dyn Iterator<Item = Vec<Param<'_>>>) -> Result<(), StoreError> {
        let places: Vec<String> = (1..=table.columns.len()).map(|n| format!("${n}")).collect();
        let sql = table.upsert(&format!("VALUES ({})", places.join(", ")));
        let mut statement = self.prepare_cached(&sql).map_err(error)?;
        for row in rows {
            statement.execute(params_from_iter(&row)).map_err(error)?;
        }
        Ok(())
    }
}

fn ask(connection: &Connection, query: &Query) -> Result<Vec<Row>, StoreError> {
    let mut statement = connection.prepare_cached(&query.sql).map_err(error)?;
    let columns = statement.column_count();
    let rows = statement.query_map(params_from_iter(&query.params), |row| {
        let cells: Vec<Cell> = (0..columns).map(|n| row.get_ref(n).map(cell)).collect::<Result<_, _>>()?;
        Ok(Row(cells.into_iter()))
    });
    rows.and_then(Iterator::collect).map_err(error)
}

fn cell(value: ValueRef<'_>) -> Cell {
    match value {
        ValueRef::Null => Cell::Null,
        ValueRef::Integer(value) => Cell::Int(value),
        // No column of the tables is REAL; a reader that meets one says what it found.
        ValueRef::Real(value) => Cell::Text(value.to_string()),
        ValueRef::Text(value) => Cell::Text(String::from_utf8_lossy(value).into_owned()),
        ValueRef::Blob(value) => Cell::Bytes(value.to_vec()),
    }
}

impl ToSql for Param<'_> {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(match self {
            Self::Null => ToSqlOutput::Borrowed(ValueRef::Null),
            Self::Int(value) => ToSqlOutput::from(*value),
            Self::Bool(value) => ToSqlOutput::from(*value),
            Self::Text(value) => ToSqlOutput::from(value.as_ref()),
            Self::Uuid(value) => ToSqlOutput::from(value.to_string()),
            Self::Time(value) => ToSqlOutput::from(value.0),
            Self::Bytes(value) => ToSqlOutput::from(*value),
        })
    }
}

/// Taken by value for `map_err`.
#[allow(clippy::needless_pass_by_value)]
fn error(error: rusqlite::Error) -> StoreError {
    let why = error.to_string();
    match error.sqlite_error_code() {
        // A full disk heals when something is deleted; the transaction was rolled back.
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked | ErrorCode::DiskFull) => StoreError::Unavailable(why),
        // A reader that is there before the writer's first transaction.
        Some(ErrorCode::Unknown) if why.contains("no such table") => StoreError::Unavailable(why),
        _ => StoreError::Broken(why),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::columns::Reason;
    use crate::core::ledger::Counts;
    use crate::core::row::DeadLetter;
    use crate::core::units::{Epoch, LogId, Millis, Offset};

    fn commit(after: Option<Epoch>, to: Epoch, letters: u64) -> Commit {
        let letter = |offset| DeadLetter {
            offset: Offset(offset),
            topic: None,
            reason: Reason::Json,
            detail: String::new(),
            body: vec![7; 1 << 20],
            received: Millis(0),
        };
        let to =
            Progress { log: LogId(1), generation: Generation(1), epoch: to, end: Offset(9), counts: Counts::default() };
        let dead_letters = (0..letters).map(letter).collect();
        Commit { dead_letters, ..Commit::new(after, to) }
    }

    /// The database's own bound on its size fails in the same place and with the same error as a full disk.
    #[test]
    fn a_full_disk_is_tried_again() {
        let plan = Plan {
            topic_field: "source".to_owned(),
            topics: Vec::new(),
            columns: Vec::new(),
            pipelines: Vec::new(),
            windows: Vec::new(),
            views: Vec::new(),
            alerts: Vec::new(),
            webhooks: Vec::new(),
            emits: Vec::new(),
            lives: crate::core::plan::Lives::default(),
        };
        let directory = tempfile::TempDir::new().unwrap();
        let mut store = SqliteStore::open(&directory.path().join("caudal.db"), Arc::new(plan)).unwrap();
        store.commit(&commit(None, Epoch(1), 0)).unwrap();
        let bound = |store: &SqliteStore, pages: u32| {
            store.connection.query_row(&format!("PRAGMA max_page_count = {pages}"), [], |_| Ok(())).unwrap();
        };
        bound(&store, 100);
        let large = commit(Some(Epoch(1)), Epoch(2), 8);
        let refused = store.commit(&large);
        assert!(matches!(refused, Err(StoreError::Unavailable(_))), "{refused:?}");
        assert_eq!(store.progress().unwrap(), Some(commit(None, Epoch(1), 0).to));
        bound(&store, 1_000_000);
        store.commit(&large).unwrap();
        assert_eq!(store.progress().unwrap(), Some(large.to));
    }
}
