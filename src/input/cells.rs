//! CSV records to events: the header names the fields (dots lead into objects), the topics' schemas say what a cell is.

use std::collections::HashSet;

use crate::core::columns::Numbering;
use crate::core::decode::FILE_LINE_BYTES_MAX;
use crate::core::json;
use crate::core::path::FieldPath;
use crate::core::plan::{ColumnKind, Plan, TopicPlan};
use crate::core::schema::FieldType;
use crate::core::units::{Offset, TopicId};
use crate::input::{Lines, Records, slab};

/// Fields that a header may name.
const FIELDS_MAX: usize = 4_096;
/// Characters of a name that an error shows.
const NAME_SHOWN_MAX: usize = 40;
/// How deep its names may lead.
const DEPTH_MAX: usize = 64;

/// How the records of one file become events.
#[derive(Debug)]
pub struct Layout {
    delimiter: u8,
    columns: usize,
    members: Vec<Member>,
    /// By topic, what each column's cells are; and of an event whose topic is not known.
    types: Vec<Vec<Field>>,
    unknown: Vec<Field>,
    /// The column that names the topic.
    topic: Option<usize>,
}

/// What a topic says of a column.
#[derive(Clone, Copy, Debug)]
struct Field {
    cell: Cell,
    /// An empty cell is null; else the event does not have the field.
    nullable: bool,
}

/// What a cell that is not empty is written as.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Cell {
    Text,
    /// A number as it stands, if it is one.
    Number,
    Boolean,
    /// An array or an object as it stands, if it begins as one.
    Nested,
}

/// A member of the event.
#[derive(Debug)]
struct Member {
    /// The name with its quotes and colon.
    token: Vec<u8>,
    value: Source,
}

#[derive(Debug)]
enum Source {
    Column(usize),
    Object(Vec<Member>),
}

/// Reads the cells of whole records.
pub(super) fn reader(text: &[u8], delimiter: u8) -> csv::Reader<&[u8]> {
    csv::ReaderBuilder::new()
        .has_headers(false)
        .flexible(true)
        .delimiter(delimiter)
        .terminator(csv::Terminator::Any(b'\n'))
        .from_reader(text)
}

impl Layout {
    /// From a file's first record.
    ///
    /// # Errors
    /// For people, if it names no fields, one twice, one within another that is no object, or too many.
    pub fn of(plan: &Plan, header: &[u8], delimiter: u8) -> Result<Self, String> {
        let mut record = csv::ByteRecord::new();
        reader(header, delimiter).read_byte_record(&mut record).map_err(|error| format!("its header: {error}"))?;
        if record.len() > FIELDS_MAX {
            return Err(format!("its header names {} fields; there may be {FIELDS_MAX}", record.len()));
        }
        let mut layout = Self {
            delimiter,
            columns: record.len(),
            members: Vec::new(),
            types: Vec::new(),
            unknown: Vec::new(),
            topic: None,
        };
        let mut paths = Vec::new();
        let mut seen = HashSet::new();
        for (column, name) in record.iter().enumerate() {
            let number = column + 1;
            let name = std::str::from_utf8(name).map_err(|_| format!("its header: name {number} is not UTF-8"))?.trim();
            if name.contains('\r') {
                return Err(format!(
                    "its header: name {number} is {:?}: its lines end with a carriage return alone, where a line feed is wanted",
                    name.chars().take(NAME_SHOWN_MAX).collect::<String>()
                ));
            }
            let names: Vec<&str> = name.split('.').collect();
            if names.iter().any(|name| name.is_empty()) || names.len() > DEPTH_MAX {
                return Err(format!(
                    "its header: name {number} is {name:?}; a field's name, or names joined by dots, is wanted"
                ));
            }
            if !seen.insert(name.to_owned()) {
                return Err(format!("its header names {name:?} twice: rename one of the columns, or leave it out"));
            }
            if !place(&mut layout.members, &names, column) {
                return Err(format!("its header names {name:?}, and another field within it or around it"));
            }
            paths.push(FieldPath::dotted(name));
        }
        layout.topic = paths.iter().position(|path| *path == FieldPath::top(&plan.topic_field));
        let of_topic = |topic| paths.iter().map(|path| field(plan, topic, path)).collect();
        layout.types = plan.topics.iter().map(of_topic).collect();
        layout.unknown = vec![Field { cell: Cell::Text, nullable: false }; paths.len()];
        Ok(layout)
    }

    /// The events of a piece of the file, whose first record has the position `at`.
    #[must_use]
    pub fn lines(&self, plan: &Plan, topic: Option<TopicId>, records: &Records, at: Offset) -> Lines {
        let mut bytes = Vec::with_capacity(records.text.len() * 2);
        let mut refused = Vec::new();
        if let Some(why) = &records.refused {
            json::write_strings(&mut bytes, [records.text.trim_ascii_end()].into_iter());
            bytes.push(b'\n');
            refused.push((0, why.clone()));
        } else {
            let found = self.records(plan, topic, &records.text, &mut bytes, &mut refused);
            assert_eq!(found, records.count, "whoever cut the text saw the same records");
        }
        Lines { slab: slab(at, topic, bytes, Numbering::Rows, records.count), refused }
    }

    /// How many there are.
    fn records(
        &self,
        plan: &Plan,
        topic: Option<TopicId>,
        text: &[u8],
        bytes: &mut Vec<u8>,
        refused: &mut Vec<(u32, String)>,
    ) -> u32 {
        let mut reader = reader(text, self.delimiter);
        let mut record = csv::ByteRecord::new();
        let mut row = 0;
        let mut start = 0;
        // Only a source that fails makes an error here, and bytes in memory do not.
        while reader.read_byte_record(&mut record).unwrap_or(false) {
            let end = reader.position().byte() as usize;
            let raw = text.get(start..end).unwrap_or_default();
            start = end;
            if raw.iter().all(u8::is_ascii_whitespace) {
                continue;
            }
            let mut cells: Vec<&[u8]> = record.iter().collect();
            // What ends a line elsewhere is no part of the last cell, unless it is quoted with it.
            if let Some(last) = cells.last_mut().filter(|_| raw.strip_suffix(b"\n").unwrap_or(raw).ends_with(b"\r")) {
                *last = last.strip_suffix(b"\r").unwrap_or(last);
            }
            // Blank lines before a record are none of it.
            let raw = raw.trim_ascii_start();
            if raw.len() > FILE_LINE_BYTES_MAX {
                json::write_strings(bytes, raw.get(..FILE_LINE_BYTES_MAX).into_iter());
                refused.push((row, format!("longer than {FILE_LINE_BYTES_MAX} bytes")));
            } else if cells.len() == self.columns {
                let types = self.types_of(plan, topic, &cells);
                bytes.push(b'{');
                write(&self.members, &cells, types, bytes);
                bytes.push(b'}');
            } else {
                json::write_strings(bytes, cells.iter().copied());
                refused.push((row, format!("the record has {} cells, the header {}", cells.len(), self.columns)));
            }
            bytes.push(b'\n');
            row += 1;
        }
        row
    }

    fn types_of(&self, plan: &Plan, topic: Option<TopicId>, cells: &[&[u8]]) -> &[Field] {
        let named = || {
            let name = std::str::from_utf8(cells.get(self.topic?)?).ok()?;
            plan.topic(name)
        };
        topic.or_else(named).and_then(|topic| self.types.get(usize::from(topic.0))).unwrap_or(&self.unknown)
    }
}

/// Puts a column where these names lead; false if another stands in the way.
fn place(members: &mut Vec<Member>, names: &[&str], column: usize) -> bool {
    let Some((first, rest)) = names.split_first() else { return false };
    let token = [json::string(first).as_bytes(), b":"].concat();
    let known = members.iter_mut().find(|member| member.token == token);
    match (known.map(|member| &mut member.value), rest.is_empty()) {
        (None, true) => members.push(Member { token, value: Source::Column(column) }),
        (None, false) => {
            let mut within = Vec::new();
            if !place(&mut within, rest, column) {
                return false;
            }
            members.push(Member { token, value: Source::Object(within) });
        }
        (Some(Source::Object(within)), false) => return place(within, rest, column),
        (Some(_), _) => return false,
    }
    true
}

/// What the schema says a field is; where it is silent, what the pipelines need.
fn field(plan: &Plan, topic: &TopicPlan, path: &FieldPath) -> Field {
    let cell = match topic.schema.field(path) {
        Some(FieldType::String) => Cell::Text,
        Some(FieldType::Integer | FieldType::Number) => Cell::Number,
        Some(FieldType::Boolean) => Cell::Boolean,
        Some(FieldType::Other) => Cell::Nested,
        None => {
            let mut used = plan.columns.iter().filter(|column| column.path == *path).map(|column| column.kind);
            let of_kind = |kind| match kind {
                ColumnKind::Integer | ColumnKind::Number => Some(Cell::Number),
                ColumnKind::Boolean => Some(Cell::Boolean),
                ColumnKind::Group | ColumnKind::Json => None,
            };
            used.find_map(of_kind).unwrap_or(Cell::Text)
        }
    };
    Field { cell, nullable: topic.schema.nullable(path) == Some(true) }
}

/// Writes the members that have a value; true if there was one.
fn write(members: &[Member], cells: &[&[u8]], types: &[Field], out: &mut Vec<u8>) -> bool {
    let mut any = false;
    for member in members {
        let before = out.len();
        if any {
            out.push(b',');
        }
        out.extend_from_slice(&member.token);
        let written = match &member.value {
            Source::Column(column) => {
                let cell = cells.get(*column).copied().unwrap_or_default();
                let field = types.get(*column);
                if cell.is_empty() {
                    out.extend_from_slice(b"null");
                } else {
                    value(cell, field.map_or(Cell::Text, |field| field.cell), out);
                }
                !cell.is_empty() || field.is_some_and(|field| field.nullable)
            }
            Source::Object(within) => {
                out.push(b'{');
                let written = write(within, cells, types, out);
                out.push(b'}');
                written
            }
        };
        if written {
            any = true;
        } else {
            out.truncate(before);
        }
    }
    any
}

fn value(cell: &[u8], of: Cell, out: &mut Vec<u8>) {
    let as_it_stands = match of {
        Cell::Text => false,
        Cell::Number => json::is_number(cell),
        Cell::Boolean => cell == b"true" || cell == b"false",
        Cell::Nested => cell.starts_with(b"{") || cell.starts_with(b"["),
    };
    if as_it_stands {
        // Line ends are blanks between tokens, and within a string no JSON at all.
        out.extend(cell.iter().map(|&byte| if byte == b'\n' { b' ' } else { byte }));
    } else {
        json::write_string(out, cell);
    }
}
