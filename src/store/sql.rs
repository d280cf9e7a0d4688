//! What both databases have in common: parameters, cells, queries with their parameters bound, the tables that results are written to.
//! It opens no connection and knows neither driver.

use std::borrow::Cow;

use uuid::Uuid;

use crate::core::units::{Micros, Millis};
use crate::store::StoreError;
use crate::store::text::clean;

/// In what the databases' SQL differs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dialect {
    Sqlite,
    Postgres,
}

/// A value bound to a statement, never written into its text.
#[derive(Clone, Debug)]
pub enum Param<'a> {
    Null,
    Int(i64),
    Bool(bool),
    Text(Cow<'a, str>),
    Uuid(Uuid),
    Time(Micros),
    Bytes(&'a [u8]),
}

/// A value read back. UUIDs are text, booleans 0 or 1, times microseconds since 1970.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Cell {
    Null,
    Int(i64),
    Text(String),
    Bytes(Vec<u8>),
}

/// The cells of a row, taken in the order of the query's columns.
#[derive(Debug)]
pub struct Row(pub std::vec::IntoIter<Cell>);

/// A statement and its parameters. `$1`, `$2`, … stand in it in this order, each once: so both databases number them alike.
#[derive(Clone, Debug)]
pub struct Query<'a> {
    pub sql: String,
    pub params: Vec<Param<'a>>,
}

/// A connection, or a transaction on one, that can be asked.
pub trait Ask {
    fn ask(&mut self, query: &Query) -> Result<Vec<Row>, StoreError>;
}

/// A transaction that writes.
pub trait Write: Ask {
    fn dialect(&self) -> Dialect;

    /// Gives the number of rows that changed.
    fn execute(&mut self, query: &Query) -> Result<u64, StoreError>;

    /// Runs statements without parameters.
    fn run(&mut self, statements: &str) -> Result<(), StoreError>;

    /// Deletes the rows of a table whose key column is one of these.
    fn delete(&mut self, table: &'static str, key: &'static str, ids: &[Uuid]) -> Result<(), StoreError>;

    /// Puts rows into a table; a row that is there already becomes the new one, or stays if the table is append-only.
    fn put(&mut self, table: &'static Table, rows: &mut dyn Iterator<Item = Vec<Param<'_>>>) -> Result<(), StoreError>;
}

/// The type of a column that results are written to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Int,
    Bool,
    Text,
    Json,
    Uuid,
    Time,
    Bytes,
}

/// A table that results are written to.
#[derive(Debug)]
pub struct Table {
    pub name: &'static str,
    pub columns: &'static [(&'static str, Kind)],
    pub key: &'static str,
    /// What a row that is there already takes from the new one; empty: append-only.
    pub revised: &'static [&'static str],
    /// Of which rows that are there already that is so; empty: of all.
    pub only: &'static str,
}

/// Every table that [`Write::put`] may be asked to fill.
pub static TABLES: [&Table; 9] =
    [&VIEWS, &VIEW_HISTORY, &ALERTS, &OUTBOX, &METRICS_OUT, &DEAD_LETTERS, &EVENTS_IN, &TRACE, &LINEAGE];

pub static VIEWS: Table = Table {
    name: "views",
    columns: &[
        ("view", Kind::Text),
        ("key", Kind::Text),
        ("value", Kind::Json),
        ("events", Kind::Int),
        ("event_time", Kind::Time),
        ("log_offset", Kind::Int),
        ("epoch", Kind::Int),
    ],
    key: "view, key",
    revised: &["value", "events", "event_time", "log_offset", "epoch"],
    only: "",
};

pub static VIEW_HISTORY: Table = Table {
    name: "view_history",
    columns: &[
        ("view", Kind::Text),
        ("key", Kind::Text),
        ("log_offset", Kind::Int),
        ("event_time", Kind::Time),
        ("value", Kind::Json),
    ],
    key: "view, key, log_offset",
    revised: &[],
    only: "",
};

pub static ALERTS: Table = Table {
    name: "alerts",
    columns: &[
        ("alert_id", Kind::Uuid),
        ("pipeline", Kind::Text),
        ("alert", Kind::Text),
        ("alert_key", Kind::Json),
        ("window_start", Kind::Time),
        ("window_end", Kind::Time),
        ("raised_at", Kind::Time),
        ("cleared_at", Kind::Time),
        ("active", Kind::Bool),
        ("details", Kind::Json),
        ("epoch", Kind::Int),
    ],
    key: "alert_id",
    revised: &["cleared_at", "active", "epoch"],
    only: "",
};

/// What becomes of it is noted otherwise.
pub static OUTBOX: Table = Table {
    name: "outbox",
    columns: &[
        ("delivery_id", Kind::Uuid),
        ("pipeline", Kind::Text),
        ("webhook", Kind::Text),
        ("body", Kind::Json),
        ("epoch", Kind::Int),
    ],
    key: "delivery_id",
    revised: &[],
    only: "",
};

pub static METRICS_OUT: Table = Table {
    name: "metrics_out",
    columns: &[
        ("metric_id", Kind::Uuid),
        ("pipeline", Kind::Text),
        ("window_name", Kind::Text),
        ("window_start", Kind::Time),
        ("window_end", Kind::Time),
        ("group_key", Kind::Json),
        ("metrics", Kind::Json),
        ("event_count", Kind::Int),
        ("revision", Kind::Int),
        ("closed", Kind::Bool),
        ("digest", Kind::Int),
        ("epoch", Kind::Int),
    ],
    key: "metric_id",
    revised: &["metrics", "event_count", "revision", "closed", "digest", "epoch"],
    only: "",
};

pub static DEAD_LETTERS: Table = Table {
    name: "dead_letters",
    columns: &[
        ("log_offset", Kind::Int),
        ("topic", Kind::Text),
        ("reason", Kind::Text),
        ("detail", Kind::Text),
        ("body", Kind::Bytes),
        ("received_at", Kind::Time),
    ],
    key: "log_offset",
    revised: &["topic", "reason", "detail", "body", "received_at"],
    only: "",
};

pub static EVENTS_IN: Table = Table {
    name: "events_in",
    columns: &[
        ("log_offset", Kind::Int),
        ("topic", Kind::Text),
        ("event_id", Kind::Text),
        ("event_time", Kind::Time),
        ("received_at", Kind::Time),
        ("body", Kind::Bytes),
        ("past", Kind::Text),
    ],
    key: "log_offset",
    revised: &["past"],
    // One that was kept for a past is the job's own from now on.
    only: "events_in.past IS NOT NULL AND excluded.past IS NULL",
};

pub static TRACE: Table = Table {
    name: "trace",
    columns: &[("metric_id", Kind::Uuid), ("log_offset", Kind::Int), ("event_id", Kind::Text), ("past", Kind::Text)],
    key: "metric_id, log_offset",
    revised: &[],
    only: "",
};

pub static LINEAGE: Table = Table {
    name: "lineage",
    columns: &[
        ("pipeline", Kind::Text),
        ("window_name", Kind::Text),
        ("slice_start", Kind::Time),
        ("epoch", Kind::Int),
        ("part", Kind::Int),
        ("first_offset", Kind::Int),
        ("last_offset", Kind::Int),
        ("late_to", Kind::Int),
        ("entries", Kind::Bytes),
    ],
    key: "pipeline, window_name, slice_start, epoch, part",
    revised: &["first_offset", "last_offset", "late_to", "entries"],
    only: "",
};

impl Table {
    pub fn column_names(&self) -> String {
        self.columns.iter().map(|&(name, _)| name).collect::<Vec<_>>().join(", ")
    }

    /// `INSERT INTO … SOURCE ON CONFLICT …`, where the source is `VALUES (…)` or a SELECT.
    pub fn upsert(&self, source: &str) -> String {
        let revised: Vec<String> = self.revised.iter().map(|column| format!("{column} = excluded.{column}")).collect();
        let action =
            if revised.is_empty() { "NOTHING".to_owned() } else { format!("UPDATE SET {}", revised.join(", ")) };
        let only = if self.only.is_empty() { String::new() } else { format!(" WHERE {}", self.only) };
        let (name, columns, key) = (self.name, self.column_names(), self.key);
        format!("INSERT INTO {name} ({columns}) {source} ON CONFLICT ({key}) DO {action}{only}")
    }
}

impl<'a> Query<'a> {
    pub fn new(sql: impl Into<String>) -> Self {
        Self { sql: sql.into(), params: Vec::new() }
    }

    /// A whole statement and its parameters, `$1` first.
    pub fn with(sql: impl Into<String>, params: impl Into<Vec<Param<'a>>>) -> Self {
        Self { sql: sql.into(), params: params.into() }
    }

    pub fn push(&mut self, sql: &str) -> &mut Self {
        self.sql.push_str(sql);
        self
    }

    /// Appends the parameter's placeholder and binds it.
    pub fn bind(&mut self, param: Param<'a>) -> &mut Self {
        self.params.push(param);
        let placeholder = format!("${}", self.params.len());
        self.push(&placeholder)
    }
}

impl<'a> Param<'a> {
    /// Offsets, epochs, counts. None of them passes 63 bits; a greater bound of a query finds what the greatest one finds.
    pub fn int(value: u64) -> Self {
        Self::Int(i64::try_from(value).unwrap_or(i64::MAX))
    }

    pub fn text(value: &'a str) -> Self {
        Self::Text(clean(value))
    }

    pub fn millis(value: Millis) -> Self {
        Self::Time(value.micros())
    }
}

impl Row {
    pub fn int(&mut self) -> Result<i64, StoreError> {
        match self.0.next() {
            Some(Cell::Int(value)) => Ok(value),
            other => Err(unexpected("a number", other.as_ref())),
        }
    }

    /// Offsets, epochs, counts.
    pub fn unsigned(&mut self) -> Result<u64, StoreError> {
        let value = self.int()?;
        u64::try_from(value).map_err(|_| unexpected("no negative number", Some(&Cell::Int(value))))
    }

    pub fn flag(&mut self) -> Result<bool, StoreError> {
        Ok(self.int()? != 0)
    }

    pub fn time(&mut self) -> Result<Micros, StoreError> {
        self.int().map(Micros)
    }

    pub fn time_or_null(&mut self) -> Result<Option<Micros>, StoreError> {
        match self.0.next() {
            Some(Cell::Int(value)) => Ok(Some(Micros(value))),
            Some(Cell::Null) => Ok(None),
            other => Err(unexpected("a time or null", other.as_ref())),
        }
    }

    pub fn millis(&mut self) -> Result<Millis, StoreError> {
        Ok(Millis(self.unsigned()? / 1000))
    }

    pub fn text(&mut self) -> Result<String, StoreError> {
        match self.0.next() {
            Some(Cell::Text(value)) => Ok(value),
            other => Err(unexpected("text", other.as_ref())),
        }
    }

    pub fn text_or_null(&mut self) -> Result<Option<String>, StoreError> {
        match self.0.next() {
            Some(Cell::Text(value)) => Ok(Some(value)),
            Some(Cell::Null) => Ok(None),
            other => Err(unexpected("text or null", other.as_ref())),
        }
    }

    pub fn bytes(&mut self) -> Result<Vec<u8>, StoreError> {
        match self.0.next() {
            Some(Cell::Bytes(value)) => Ok(value),
            other => Err(unexpected("bytes", other.as_ref())),
        }
    }

    pub fn unsigned_or_null(&mut self) -> Result<Option<u64>, StoreError> {
        match self.0.next() {
            Some(Cell::Null) => Ok(None),
            Some(Cell::Int(value)) if value >= 0 => Ok(Some(value.cast_unsigned())),
            other => Err(unexpected("no negative number, or null", other.as_ref())),
        }
    }

    pub fn uuid(&mut self) -> Result<Uuid, StoreError> {
        self.uuid_or_null()?.ok_or_else(|| unexpected("a UUID", Some(&Cell::Null)))
    }

    pub fn uuid_or_null(&mut self) -> Result<Option<Uuid>, StoreError> {
        let Some(text) = self.text_or_null()? else { return Ok(None) };
        let uuid = Uuid::try_parse(&text);
        uuid.map(Some).map_err(|_| unexpected("a UUID", Some(&Cell::Text(text))))
    }
}

fn unexpected(wanted: &str, found: Option<&Cell>) -> StoreError {
    StoreError::Broken(format!("a table holds {found:?} where this version of Caudal writes {wanted}"))
}
