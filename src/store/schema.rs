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

const SQLITE: &[Migration] = &[Migration { name: "tables", sql: include_str!("../../sql/sqlite/0001_tables.sql") }];
const POSTGRES: &[Migration] = &[Migration { name: "tables", sql: include_str!("../../sql/postgres/0001_tables.sql") }];

/// Brings the database to this version, in a transaction that has begun, holds a lock against others that do the same, and that the caller commits.
pub fn prepare(tx: &mut impl Write, plan: &Plan) -> Result<(), StoreError> {
    migrate(tx)?;
    for window in &plan.windows {
        show(tx, &view_name(plan, window), &view_select(tx.dialect(), plan, window))?;
    }
    Ok(())
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
    let view = identifier(name);
    tx.run(&format!("DROP VIEW IF EXISTS {view}; CREATE VIEW {view} AS {select};"))?;
    let sql = "INSERT INTO window_views (name, definition) VALUES ($1, $2)
               ON CONFLICT (name) DO UPDATE SET definition = excluded.definition";
    tx.execute(&Query::with(sql, same))?;
    Ok(())
}

fn view_name(plan: &Plan, window: &WindowPlan) -> String {
    format!("{}_{}", plan.pipeline_of(window).name, window.name)
}

fn view_select(dialect: Dialect, plan: &Plan, window: &WindowPlan) -> String {
    let mut columns = Columns::default();
    columns.add("window_start", &time(dialect, "window_start"));
    columns.add("window_end", &time(dialect, "window_end"));
    for GroupField { name, of_type, .. } in &window.group {
        columns.add(name, &group(dialect, name, group_type(*of_type)));
    }
    let pipeline = plan.pipeline_of(window);
    for (name, metric) in &window.metrics {
        columns.add(name, &value(dialect, name, metric_type(plan, pipeline, *metric)));
    }
    for name in ["event_count", "revision", "closed", "metric_id"] {
        columns.add(name, name);
    }
    let (columns, pipeline, window) = (columns.list.join(", "), literal(&pipeline.name), literal(&window.name));
    format!("SELECT {columns} FROM metrics_out WHERE pipeline = {pipeline} AND window_name = {window}")
}

/// A view's columns, each name once: a group or metric that has the name of a column before it gets an underscore more.
#[derive(Default)]
struct Columns {
    names: Vec<String>,
    list: Vec<String>,
}

impl Columns {
    fn add(&mut self, name: &str, expression: &str) {
        let mut name = name.to_owned();
        while self.names.iter().any(|n| n.eq_ignore_ascii_case(&name)) {
            name.push('_');
        }
        self.list.push(format!("{expression} AS {}", identifier(&name)));
        self.names.push(name);
    }
}

#[derive(Clone, Copy)]
enum ColumnType {
    Text,
    Bool,
    /// 64 bits.
    Integer,
    /// Of any length.
    Numeric,
    Double,
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
        (Dialect::Sqlite, ColumnType::Text) => format!("CAST({json} ->> {name} AS TEXT)"),
        (Dialect::Sqlite, ColumnType::Bool | ColumnType::Integer) => format!("{json} ->> {name}"),
        (Dialect::Sqlite, ColumnType::Double) => format!("CAST({json} ->> {name} AS REAL)"),
        // SQLite reads an integer past 64 bits as a double: then its digits are shown, as text.
        (Dialect::Sqlite, ColumnType::Numeric) => {
            format!("CASE typeof({json} ->> {name}) WHEN 'real' THEN {json} -> {name} ELSE {json} ->> {name} END")
        }
        (Dialect::Postgres, ColumnType::Text) => format!("({json} ->> {name})"),
        (Dialect::Postgres, ColumnType::Bool) => format!("({json} ->> {name})::boolean"),
        (Dialect::Postgres, ColumnType::Integer) => format!("({json} ->> {name})::bigint"),
        (Dialect::Postgres, ColumnType::Numeric) => format!("({json} ->> {name})::numeric"),
        (Dialect::Postgres, ColumnType::Double) => format!("({json} ->> {name})::double precision"),
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
