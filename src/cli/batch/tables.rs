//! The rows of one window as a file: CSV or Parquet.

use std::fmt::Write;
use std::fs::File;
use std::io::{self, BufWriter};
use std::path::Path;
use std::sync::Arc;

use arrow_array::builder::{BooleanBuilder, Decimal128Builder, Float64Builder, Int64Builder, StringBuilder};
use arrow_array::{ArrayRef, Int64Array, RecordBatch, TimestampMicrosecondArray};
use arrow_schema::{DataType, Field, Schema};
use parquet::arrow::ArrowWriter;
use parquet::basic::Compression;
use parquet::file::properties::WriterProperties;

use crate::core::columns::GroupValue;
use crate::core::plan::WindowPlan;
use crate::core::row::{Value, WindowRow};
use crate::core::time;

/// Rows that are put into columns at once.
const BATCH_ROWS: usize = 64 << 10;

/// What results are written as.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum OutputFormat {
    Csv,
    Parquet,
}

impl OutputFormat {
    /// How the names of its files end.
    pub fn ending(self) -> &'static str {
        match self {
            Self::Csv => "csv",
            Self::Parquet => "parquet",
        }
    }

    /// Writes the rows of a window: its start, its group, its metrics, how many events.
    ///
    /// # Errors
    /// As the disk says.
    pub fn write(self, path: &Path, window: &WindowPlan, rows: &[&WindowRow]) -> io::Result<()> {
        match self {
            Self::Csv => csv(path, window, rows).map_err(io::Error::from),
            Self::Parquet => parquet(path, window, rows),
        }
    }
}

/// A group's fields and the metrics.
fn names(window: &WindowPlan) -> impl Iterator<Item = &str> {
    window.group.iter().map(|field| &field.name).chain(window.metrics.iter().map(|(name, _)| name)).map(String::as_str)
}

fn csv(path: &Path, window: &WindowPlan, rows: &[&WindowRow]) -> Result<(), csv::Error> {
    let mut csv = csv::Writer::from_path(path)?;
    csv.write_record(std::iter::once("window_start").chain(names(window)).chain(["event_count"]))?;
    let mut room = String::new();
    // Rows that begin together stand together.
    for rows in rows.chunk_by(|a, b| a.start == b.start) {
        let start = rows.first().map(|row| time::format(row.start)).unwrap_or_default();
        for row in rows {
            csv.write_field(&start)?;
            for value in &row.group {
                csv.write_field(text_of(&cell_of_group(value), &mut room))?;
            }
            for value in &row.values {
                csv.write_field(text_of(value, &mut room))?;
            }
            csv.write_field(text_of(&Value::Integer(row.event_count.into()), &mut room))?;
            csv.write_record(None::<&[u8]>)?;
        }
    }
    csv.flush()?;
    Ok(())
}

fn parquet(path: &Path, window: &WindowPlan, rows: &[&WindowRow]) -> io::Result<()> {
    let names: Vec<&str> = names(window).collect();
    let kinds: Vec<DataType> = (0..names.len()).map(|at| kind(rows.iter().map(|row| cell(row, at)))).collect();
    let moment = DataType::Timestamp(arrow_schema::TimeUnit::Microsecond, Some("UTC".into()));
    let fields = names.iter().zip(&kinds).map(|(name, kind)| Field::new(*name, kind.clone(), true));
    let first = Field::new("window_start", moment, false);
    let last = Field::new("event_count", DataType::Int64, false);
    let schema = Arc::new(Schema::new(std::iter::once(first).chain(fields).chain([last]).collect::<Vec<_>>()));
    let properties =
        WriterProperties::builder().set_compression(Compression::ZSTD(parquet::basic::ZstdLevel::default()));
    let file = BufWriter::new(File::create(path)?);
    let mut writer =
        ArrowWriter::try_new(file, Arc::clone(&schema), Some(properties.build())).map_err(io::Error::other)?;
    for rows in rows.chunks(BATCH_ROWS) {
        let starts: TimestampMicrosecondArray = rows.iter().map(|row| Some(row.start.0)).collect();
        let counts: Int64Array = rows.iter().map(|row| i64::try_from(row.event_count).ok()).collect();
        let mut columns: Vec<ArrayRef> = vec![Arc::new(starts.with_timezone("UTC"))];
        columns.extend(kinds.iter().enumerate().map(|(at, kind)| column(kind, rows.iter().map(|row| cell(row, at)))));
        columns.push(Arc::new(counts));
        let batch = RecordBatch::try_new(Arc::clone(&schema), columns).map_err(io::Error::other)?;
        writer.write(&batch).map_err(io::Error::other)?;
    }
    writer.close().map_err(io::Error::other)?;
    Ok(())
}

/// The group's values, then the metrics.
fn cell(row: &WindowRow, at: usize) -> Value {
    match row.group.get(at) {
        Some(value) => cell_of_group(value),
        None => row.values.get(at - row.group.len()).cloned().unwrap_or(Value::Null),
    }
}

fn cell_of_group(value: &GroupValue) -> Value {
    match value {
        GroupValue::Null => Value::Null,
        GroupValue::Bool(b) => Value::Boolean(*b),
        GroupValue::Integer(i) => Value::Integer(i128::from(*i)),
        GroupValue::Text(text) => Value::Text(Arc::clone(text)),
    }
}

/// The narrowest type that holds all of a column's values: where they are of several kinds, text.
fn kind(values: impl Iterator<Item = Value>) -> DataType {
    let mut kind = DataType::Null;
    for value in values {
        let of_value = match value {
            Value::Null => continue,
            Value::Integer(i) if i64::try_from(i).is_ok() => DataType::Int64,
            Value::Integer(_) => DataType::Decimal128(DECIMAL_DIGITS, 0),
            Value::Number(_) => DataType::Float64,
            Value::Boolean(_) => DataType::Boolean,
            Value::Text(_) => DataType::Utf8,
        };
        kind = match (kind, of_value) {
            (DataType::Null, of_value) => of_value,
            (kind, of_value) if kind == of_value => kind,
            (DataType::Int64, DataType::Decimal128(..)) | (DataType::Decimal128(..), DataType::Int64) => {
                DataType::Decimal128(DECIMAL_DIGITS, 0)
            }
            _ => DataType::Utf8,
        };
    }
    // A column without values is read most easily as text.
    if kind == DataType::Null { DataType::Utf8 } else { kind }
}

/// What a decimal of 128 bits can hold, which is more than any sum of integers comes to.
const DECIMAL_DIGITS: u8 = 38;

fn column(kind: &DataType, values: impl Iterator<Item = Value>) -> ArrayRef {
    match kind {
        DataType::Int64 => {
            let mut column = Int64Builder::new();
            values.for_each(|value| column.append_option(integer(&value).and_then(|i| i64::try_from(i).ok())));
            Arc::new(column.finish())
        }
        DataType::Decimal128(..) => {
            let mut column = Decimal128Builder::new().with_data_type(kind.clone());
            values.for_each(|value| column.append_option(integer(&value)));
            Arc::new(column.finish())
        }
        DataType::Float64 => {
            let mut column = Float64Builder::new();
            values.for_each(|value| column.append_option(if let Value::Number(n) = value { Some(n) } else { None }));
            Arc::new(column.finish())
        }
        DataType::Boolean => {
            let mut column = BooleanBuilder::new();
            values.for_each(|value| column.append_option(if let Value::Boolean(b) = value { Some(b) } else { None }));
            Arc::new(column.finish())
        }
        _ => {
            let (mut column, mut room) = (StringBuilder::new(), String::new());
            values.for_each(|value| column.append_option((value != Value::Null).then(|| text_of(&value, &mut room))));
            Arc::new(column.finish())
        }
    }
}

fn integer(value: &Value) -> Option<i128> {
    if let Value::Integer(i) = value { Some(*i) } else { None }
}

/// The value as a text, which may be written into `room`.
fn text_of<'a>(value: &'a Value, room: &'a mut String) -> &'a str {
    room.clear();
    // A text always has room.
    let _ = match value {
        Value::Null => Ok(()),
        Value::Integer(i) => write!(room, "{i}"),
        Value::Number(n) => write!(room, "{n}"),
        Value::Boolean(b) => write!(room, "{b}"),
        Value::Text(text) => return text,
    };
    room
}
