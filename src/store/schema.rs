//! What must stand in a database before results go in: the migrations of `sql/`, and a view with typed columns for each window of the plan.

use crate::core::expression::Type;
use crate::core::plan::{ColumnId, ColumnKind, GroupField, Metric, PipelinePlan, Plan, WindowPlan};
use crate::store::StoreError;
use crate::store::sql::{Dialect, Param, Query, Write};

/// One file of `sql/`, whose number is its place here, from 1.
struct Migration {
    name: &'static str,
    sql: &'static str,
}

const SQLITE: &[Migration] = &[
    Migration { name: "tables", sql: include_str!("../../sql/sqlite/0001_tables.sql") },
    Migration { name: "alerts", sql: include_str!("../../sql/sqlite/0002_alerts.sql") },
    Migration { name: "open_letters", sql: include_str!("../../sql/sqlite/0003_open_letters.sql") },
    Migration { name: "outbox", sql: include_str!("../../sql/sqlite/0004_outbox.sql") },
    Migration { name: "consumer_offsets", sql: include_str!("../../sql/sqlite/0005_consumer_offsets.sql") },
    Migration { name: "lineage", sql: include_str!("../../sql/sqlite/0006_lineage.sql") },
    Migration { name: "pasts", sql: include_str!("../../sql/sqlite/0007_pasts.sql") },
];
const POSTGRES: &[Migration] = &[
    Migration { name: "tables", sql: include_str!("../../sql/postgres/0001_tables.sql") },
    Migration { name: "alerts", sql: include_str!("../../sql/postgres/0002_alerts.sql") },
    Migration { name: "open_letters", sql: include_str!("../../sql/postgres/0003_open_letters.sql") },
    Migration { name: "outbox", sql: include_str!("../../sql/postgres/0004_outbox.sql") },
    Migration { name: "consumer_offsets", sql: include_str!("../../sql/postgres/0005_consumer_offsets.sql") },
    Migration { name: "lineage", sql: include_str!("../../sql/postgres/0006_lineage.sql") },
    Migration { name: "pasts", sql: include_str!("../../sql/postgres/0007_pasts.sql") },
];

/// The SQL view of a window, as each database has it.
#[derive(Clone, Debug)]
pub struct WindowView {
    pub name: String,
    /// In the order in which `SELECT *` gives them.
    pub columns: Vec<ViewColumn>,
    /// The statement that makes it.
    pub sqlite: String,
    pub postgres: String,
}

#[derive(Clone, Debug)]
pub struct ViewColumn {
    pub name: String,
    /// Its type in PostgreSQL; what SQLite makes of it is told by `ColumnType`.
    pub of_type: ColumnType,
}

impl WindowView {
    #[must_use]
    pub fn of(plan: &Plan, window: &WindowPlan) -> Self {
        let name = view_name(plan, window);
        let make = |dialect| create(&name, &view_select(dialect, plan, window));
        let (sqlite, postgres) = (make(Dialect::Sqlite), make(Dialect::Postgres));
        let columns = view_columns(Dialect::Postgres, plan, window).list;
        let columns = columns.into_iter().map(|(name, of_type, _)| ViewColumn { name, of_type }).collect();
        Self { name, columns, sqlite, postgres }
    }
}

/// Brings the database to this version, in a transaction that has begun, holds a lock against others that do the same, and that the caller commits.
pub fn prepare(tx: &mut impl Write, plan: &Plan) -> Result<(), StoreError> {
    migrate(tx)?;
    show_windows(tx, plan)
}

/// Makes the views of the plan's windows, or makes them anew where they changed. Those of windows that are no more stay, as their rows do.
pub fn show_windows(tx: &mut impl Write, plan: &Plan) -> Result<(), StoreError> {
    for window in &plan.windows {
        show(tx, &view_name(plan, window), &view_select(tx.dialect(), plan, window))?;
    }
    Ok(())
}

/// The views of a pipeline's windows.
pub fn views_of(tx: &mut impl Write, pipeline: &str) -> Result<Vec<String>, StoreError> {
    let of_pipeline = format!("WHERE {} AND", of_pipeline(pipeline));
    let mut names = Vec::new();
    for mut row in tx.ask(&Query::new("SELECT name, definition FROM window_views"))? {
        let (name, definition) = (row.text()?, row.text()?);
        if definition.contains(&of_pipeline) {
            names.push(name);
        }
    }
    Ok(names)
}

/// Takes a view away, in a transaction of its own.
pub fn hide(tx: &mut impl Write, name: &str) -> Result<(), StoreError> {
    if tx.dialect() == Dialect::Postgres {
        tx.run("SET LOCAL lock_timeout = '2s'")?;
    }
    tx.run(&format!("DROP VIEW IF EXISTS {}", identifier(name)))?;
    tx.execute(&Query::with("DELETE FROM window_views WHERE name = $1", [Param::text(name)])).map(drop)
}

/// What is told of one that cannot be: it stays, and shows nothing.
pub fn stays(view: &str, error: &StoreError) {
    tracing::warn!(%view, %error, "a view of rows that are gone cannot be taken away, and stays; is there another view that reads it?");
}

fn of_pipeline(pipeline: &str) -> String {
    format!("pipeline = {}", literal(pipeline))
}

fn migrate(tx: &mut impl Write) -> Result<(), StoreError> {
    let migrations = match tx.dialect() {
        Dialect::Sqlite => SQLITE,
        Dialect::Postgres => POSTGRES,
    };
    tx.run(
        "CREATE TABLE IF NOT EXISTS schema_version (
             version bigint PRIMARY KEY, name text NOT NULL, applied_at timestamp NOT NULL DEFAULT CURRENT_TIMESTAMP
         );
         CREATE TABLE IF NOT EXISTS window_views (name text PRIMARY KEY, definition text NOT NULL);",
    )?;
    let rows = tx.ask(&Query::new("SELECT version FROM schema_version ORDER BY version"))?;
    let applied: Vec<u64> = rows.into_iter().map(|mut row| row.unsigned()).collect::<Result<_, _>>()?;
    if let Some(newer) = applied.iter().find(|&&version| version > migrations.len() as u64) {
        let why =
            format!("its tables are of version {newer}, made by a newer Caudal; this one knows {}", migrations.len());
        return Err(StoreError::Broken(why));
    }
    for (version, migration) in (1..).zip(migrations).filter(|(version, _)| !applied.contains(version)) {
        tx.run(migration.sql)?;
        let done = [Param::int(version), Param::text(migration.name)];
        tx.execute(&Query::with("INSERT INTO schema_version (version, name) VALUES ($1, $2)", done))?;
    }
    Ok(())
}

/// Makes a view, or makes it anew where its definition changed; otherwise it is left alone, since replacing it waits for everyone who reads it.
fn show(tx: &mut impl Write, name: &str, select: &str) -> Result<(), StoreError> {
    let same = [Param::text(name), Param::text(select)];
    if !tx
        .ask(&Query::with("SELECT name FROM window_views WHERE name = $1 AND definition = $2", same.clone()))?
        .is_empty()
    {
        return Ok(());
    }
    tx.run(&format!("DROP VIEW IF EXISTS {}; {};", identifier(name), create(name, select)))?;
    let sql = "INSERT INTO window_views (name, definition) VALUES ($1, $2)
               ON CONFLICT (name) DO UPDATE SET definition = excluded.definition";
    tx.execute(&Query::with(sql, same))?;
    Ok(())
}

fn view_name(plan: &Plan, window: &WindowPlan) -> String {
    format!("{}_{}", plan.pipeline_of(window).name, window.name)
}

fn create(name: &str, select: &str) -> String {
    format!("CREATE VIEW {} AS {select}", identifier(name))
}

fn view_select(dialect: Dialect, plan: &Plan, window: &WindowPlan) -> String {
    let columns = view_columns(dialect, plan, window).list.into_iter();
    let columns: Vec<String> = columns.map(|(name, _, sql)| format!("{sql} AS {}", identifier(&name))).collect();
    let (of_pipeline, window_name) = (of_pipeline(&plan.pipeline_of(window).name), literal(&window.name));
    let columns = columns.join(", ");
    format!("SELECT {columns} FROM metrics_out WHERE {of_pipeline} AND window_name = {window_name}")
}

fn view_columns(dialect: Dialect, plan: &Plan, window: &WindowPlan) -> Columns {
    let mut columns = Columns::default();
    for name in ["window_start", "window_end"] {
        columns.add(name, ColumnType::Time, time(dialect, name));
    }
    for GroupField { name, of_type, .. } in &window.group {
        let of_type = group_type(*of_type);
        columns.add(name, of_type, group(dialect, name, of_type));
    }
    let pipeline = plan.pipeline_of(window);
    for (name, metric) in &window.metrics {
        let of_type = metric_type(plan, pipeline, *metric);
        columns.add(name, of_type, value(dialect, name, of_type));
    }
    for (name, of_type) in [
        ("event_count", ColumnType::Integer),
        ("revision", ColumnType::Integer),
        ("closed", ColumnType::Bool),
        ("metric_id", ColumnType::Uuid),
    ] {
        columns.add(name, of_type, name.to_owned());
    }
    columns
}

/// A view's columns, each name once: a group or metric that has the name of a column before it gets an underscore more.
#[derive(Default)]
struct Columns {
    /// Name, type and the expression that gives it.
    list: Vec<(String, ColumnType, String)>,
}

impl Columns {
    fn add(&mut self, name: &str, of_type: ColumnType, sql: String) {
        let mut name = name.to_owned();
        while self.list.iter().any(|(other, ..)| other.eq_ignore_ascii_case(&name)) {
            name.push('_');
        }
        self.list.push((name, of_type, sql));
    }
}

/// What a column of a window's view holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ColumnType {
    Text,
    Bool,
    /// 64 bits.
    Integer,
    /// Of any length.
    Numeric,
    Double,
    /// A moment in UTC.
    Time,
    Uuid,
}

impl ColumnType {
    /// As PostgreSQL calls it.
    #[must_use]
    pub fn in_postgres(self) -> &'static str {
        match self {
            Self::Text => "text",
            Self::Bool => "boolean",
            Self::Integer => "bigint",
            Self::Numeric => "numeric",
            Self::Double => "double precision",
            Self::Time => "timestamp with time zone",
            Self::Uuid => "uuid",
        }
    }

    /// As SQLite holds it.
    #[must_use]
    pub fn in_sqlite(self) -> &'static str {
        match self {
            Self::Text | Self::Time | Self::Uuid => "text",
            // Beyond 64 bits its digits are shown, as text.
            Self::Bool | Self::Integer | Self::Numeric => "integer",
            Self::Double => "real",
        }
    }
}

fn group_type(of_type: Type) -> ColumnType {
    match of_type {
        Type::Integer | Type::Timestamp => ColumnType::Integer,
        Type::Boolean => ColumnType::Bool,
        Type::Text | Type::Number => ColumnType::Text,
    }
}

fn metric_type(plan: &Plan, pipeline: &PipelinePlan, metric: Metric) -> ColumnType {
    let kind = |column: ColumnId| plan.kind(pipeline, column);
    match metric {
        Metric::Count | Metric::CountIf(_) | Metric::Distinct(_) => ColumnType::Integer,
        Metric::Sum(column) if kind(column) == ColumnKind::Integer => ColumnType::Numeric,
        Metric::Sum(_) | Metric::Mean(_) | Metric::Stddev(_) | Metric::Quantile(..) => ColumnType::Double,
        Metric::Min(column) | Metric::Max(column) | Metric::First(column) | Metric::Last(column) => {
            match kind(column) {
                ColumnKind::Integer => ColumnType::Integer,
                ColumnKind::Number => ColumnType::Double,
                ColumnKind::Boolean => ColumnType::Bool,
                ColumnKind::Group | ColumnKind::Json => ColumnType::Text,
            }
        }
    }
}

fn group(dialect: Dialect, name: &str, kind: ColumnType) -> String {
    typed(dialect, "group_key", name, kind)
}

fn value(dialect: Dialect, name: &str, kind: ColumnType) -> String {
    typed(dialect, "metrics", name, kind)
}

fn typed(dialect: Dialect, json: &str, name: &str, kind: ColumnType) -> String {
    let name = literal(name);
    match (dialect, kind) {
        (Dialect::Sqlite, ColumnType::Text | ColumnType::Time | ColumnType::Uuid) => {
            format!("CAST({json} ->> {name} AS TEXT)")
        }
        (Dialect::Sqlite, ColumnType::Bool | ColumnType::Integer) => format!("{json} ->> {name}"),
        (Dialect::Sqlite, ColumnType::Double) => format!("CAST({json} ->> {name} AS REAL)"),
        // SQLite reads an integer past 64 bits as a double: then its digits are shown, as text.
        (Dialect::Sqlite, ColumnType::Numeric) => {
            format!("CASE typeof({json} ->> {name}) WHEN 'real' THEN {json} -> {name} ELSE {json} ->> {name} END")
        }
        (Dialect::Postgres, ColumnType::Text) => format!("({json} ->> {name})"),
        (Dialect::Postgres, kind) => format!("({json} ->> {name})::{}", kind.in_postgres()),
    }
}

/// A moment as people read it: RFC 3339 in SQLite, where the table has microseconds since 1970; with a fraction only where there is one.
fn time(dialect: Dialect, column: &str) -> String {
    match dialect {
        Dialect::Postgres => column.to_owned(),
        Dialect::Sqlite => {
            let micros = format!("(({column} % 1000000 + 1000000) % 1000000)");
            format!(
                "strftime('%Y-%m-%dT%H:%M:%S', ({column} - {micros}) / 1000000, 'unixepoch') || CASE WHEN {micros} = 0 THEN '' \
                 WHEN {micros} % 1000 = 0 THEN printf('.%03d', {micros} / 1000) ELSE printf('.%06d', {micros}) END || 'Z'"
            )
        }
    }
}

/// The pipeline's checker lets no quote into a name; it is quoted all the same.
fn identifier(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

fn literal(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}
