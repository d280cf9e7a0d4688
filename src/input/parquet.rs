//! Parquet: row groups, or runs of rows in them, as Arrow batches.

use std::cell::Cell;
use std::fs::File;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use arrow_array::RecordBatch;
use arrow_schema::{DataType, Field, FieldRef, Schema};
use parquet::arrow::arrow_reader::{
    ArrowReaderMetadata, ArrowReaderOptions, ParquetRecordBatchReader, ParquetRecordBatchReaderBuilder,
};
use parquet::basic::{ConvertedType, Encoding};
use parquet::errors::ParquetError;
use parquet::file::metadata::ColumnChunkMetaData;

use crate::core::decode::table;
use crate::input::InputError;

/// Rows of a batch: enough that what a batch costs does not count, few enough for the cache.
const BATCH_ROWS: usize = 4_096;
/// A row group that says that it unpacks to more is refused.
const GROUP_BYTES_MAX: i64 = 8 << 30;

/// A file's row groups in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Groups(pub Vec<Group>);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Group {
    pub rows: u64,
    /// In the file.
    pub bytes: u64,
}

/// An open file.
#[derive(Debug)]
pub struct Table {
    path: String,
    file: File,
    metadata: ArrowReaderMetadata,
}

/// A run of a row group's rows that is being read.
pub struct Run<'a> {
    table: &'a Table,
    group: usize,
    first: u64,
    rows: u64,
    found: u64,
    reader: ParquetRecordBatchReader,
}

impl Run<'_> {
    /// The next batches, in order, at most so many; none at the run's end.
    ///
    /// # Errors
    /// `Unreadable`.
    pub fn batches(&mut self, most: usize) -> Result<Vec<RecordBatch>, InputError> {
        let Self { table, group, first, rows, .. } = *self;
        let read = || self.reader.by_ref().take(most).collect::<Result<Vec<_>, _>>().map_err(|e| e.to_string());
        let batches = guarded(read).map_err(|why| table.unreadable(format!("row group {group}: {why}")))?;
        self.found += batches.iter().map(|batch| batch.num_rows() as u64).sum::<u64>();
        if batches.len() < most && self.found != rows {
            let found = self.found;
            return Err(table.unreadable(format!(
                "row group {group} has {found} of the {rows} rows that it should have from row {first} on"
            )));
        }
        Ok(batches)
    }
}

/// # Errors
/// As `Table::open`.
pub fn groups(path: &str) -> Result<Groups, InputError> {
    let table = Table::open(path)?;
    let mut groups = Vec::new();
    for (number, group) in table.metadata.metadata().row_groups().iter().enumerate() {
        if group.total_byte_size() > GROUP_BYTES_MAX {
            return Err(table.unreadable(format!(
                "row group {number} unpacks to {} bytes; there may be {GROUP_BYTES_MAX}",
                group.total_byte_size()
            )));
        }
        let (Ok(rows), Ok(bytes)) = (u64::try_from(group.num_rows()), u64::try_from(group.compressed_size())) else {
            return Err(table.unreadable(format!("row group {number} has an impossible size")));
        };
        groups.push(Group { rows, bytes });
    }
    Ok(Groups(groups))
}

impl Table {
    /// Reads the file's footer.
    ///
    /// # Errors
    /// `Io`; `Unreadable` where it is no Parquet file, is damaged, or has columns that no event can have.
    pub fn open(path: &str) -> Result<Self, InputError> {
        let file = File::open(path).map_err(|error| InputError::Io { path: path.to_owned(), error })?;
        let unreadable = |why: String| InputError::Unreadable { path: path.to_owned(), why };
        // What the writer's Arrow types were is not asked: the Parquet types say what the values are.
        let options = ArrowReaderOptions::new().with_skip_arrow_metadata(true);
        let metadata =
            guarded(|| ArrowReaderMetadata::load(&file, options).map_err(|e| e.to_string())).map_err(unreadable)?;
        table::readable(metadata.schema()).map_err(unreadable)?;
        Ok(Self { path: path.to_owned(), file, metadata })
    }

    #[must_use]
    pub fn path(&self) -> &str {
        &self.path
    }

    /// Begins to read a run of a row group's rows.
    ///
    /// # Errors
    /// `Io`, `Unreadable`.
    pub fn run(&self, group: usize, first: u64, rows: u64) -> Result<Run<'_>, InputError> {
        let file = self.file.try_clone().map_err(|error| InputError::Io { path: self.path.clone(), error })?;
        let open = || {
            let metadata = self.quick(group).map_err(|e| e.to_string())?;
            let builder = ParquetRecordBatchReaderBuilder::new_with_metadata(file, metadata);
            let builder = builder.with_row_groups(vec![group]).with_batch_size(BATCH_ROWS);
            // A row group has fewer rows than memory has bytes.
            builder.with_offset(first as usize).with_limit(rows as usize).build().map_err(|e| e.to_string())
        };
        let reader = guarded(open).map_err(|why| self.unreadable(format!("row group {group}: {why}")))?;
        Ok(Run { table: self, group, first, rows, found: 0, reader })
    }

    /// With texts as they are read quickest from this row group.
    fn quick(&self, group: usize) -> Result<ArrowReaderMetadata, ParquetError> {
        let file = self.metadata.metadata();
        let Some(group) = file.row_groups().get(group) else { return Ok(self.metadata.clone()) };
        let fields = self.metadata.schema().fields();
        let mut chunks = group.columns().iter();
        let fields: Vec<Field> = fields.iter().map(|field| quick(field, &mut chunks)).collect();
        let options = ArrowReaderOptions::new().with_schema(Arc::new(Schema::new(fields)));
        ArrowReaderMetadata::try_new(Arc::clone(file), options)
    }

    fn unreadable(&self, why: String) -> InputError {
        InputError::Unreadable { path: self.path.clone(), why }
    }
}

/// The field whose leaves are the next of these: texts as places in a dictionary where the file has them so, else as views of its pages.
fn quick<'a>(field: &Field, chunks: &mut impl Iterator<Item = &'a ColumnChunkMetaData>) -> Field {
    let mut list = |item: &FieldRef| Arc::new(quick(item, chunks));
    let of = match field.data_type() {
        DataType::Struct(members) => DataType::Struct(members.iter().map(|member| quick(member, chunks)).collect()),
        DataType::List(item) => DataType::List(list(item)),
        DataType::LargeList(item) => DataType::LargeList(list(item)),
        DataType::FixedSizeList(item, length) => DataType::FixedSizeList(list(item), *length),
        of => match (chunks.next(), of) {
            // Of other annotations the reader does not see to it that they are UTF-8.
            (Some(chunk), DataType::Utf8) if chunk.column_descr().converted_type() == ConvertedType::UTF8 => {
                if is_dictionary(chunk) {
                    DataType::Dictionary(Box::new(DataType::Int32), Box::new(DataType::Utf8))
                } else {
                    DataType::Utf8View
                }
            }
            _ => of.clone(),
        },
    };
    field.clone().with_data_type(of)
}

/// Whether all of the column's pages are places in its dictionary.
fn is_dictionary(chunk: &ColumnChunkMetaData) -> bool {
    let places = [Encoding::RLE_DICTIONARY, Encoding::PLAIN_DICTIONARY];
    let values = [Encoding::PLAIN, Encoding::DELTA_LENGTH_BYTE_ARRAY, Encoding::DELTA_BYTE_ARRAY];
    let by_chunk = || {
        chunk.encodings().any(|encoding| places.contains(&encoding))
            && !chunk.encodings().any(|encoding| values.contains(&encoding))
    };
    // The chunk's own list names the encoding of the dictionary too.
    let pages = chunk.page_encoding_stats_mask();
    pages.map_or_else(by_chunk, |pages| places.iter().any(|encoding| pages.is_only(*encoding)))
}

thread_local! {
    static GUARDED: Cell<bool> = const { Cell::new(false) };
}

/// Whether a panic of this thread is caught: it is then no reason to end the process.
#[must_use]
pub fn panics_are_caught() -> bool {
    GUARDED.get()
}

/// A damaged file must not end the process, whatever the library makes of it.
fn guarded<T>(read: impl FnOnce() -> Result<T, String>) -> Result<T, String> {
    GUARDED.set(true);
    let read = catch_unwind(AssertUnwindSafe(read));
    GUARDED.set(false);
    read.unwrap_or_else(|_| Err("it is damaged: reading it panicked".to_owned()))
}
