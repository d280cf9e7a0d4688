//! The plan's columns from the columns of a batch, for rows that are well.

use crate::core::columns::{Column as Field, GroupValue};
use crate::core::decode::Reader;
use crate::core::decode::rows::{Rows, integer};
use crate::core::decode::table::column::{Column, place};
use crate::core::decode::table::mask::Mask;
use crate::core::path::{FieldPath, Step};
use crate::core::plan::{ColumnKind, Plan};

/// Where the values of one of the plan's columns come from.
pub(super) struct Source<'a> {
    kind: ColumnKind,
    /// From the top down; the last one has the values. Empty: no event has the field.
    way: Vec<&'a Column<'a>>,
    /// The rows that have a value here.
    rows: Mask,
    /// Of a group that is a dictionary: by the place of the text the code.
    codes: Vec<Option<u32>>,
    /// Of a group: the code of null.
    null: Option<u32>,
    room: Vec<u8>,
}

/// One for each of the plan's columns.
pub(super) fn sources<'a>(plan: &Plan, root: &'a Column<'a>, rows: usize) -> Vec<Source<'a>> {
    let source = |kind: ColumnKind, path: &FieldPath| {
        let way = way(root, path);
        let codes = match way.last() {
            Some(Column::Dictionary(_, texts)) => vec![None; arrow_array::Array::len(*texts)],
            _ => Vec::new(),
        };
        Source { kind, way, rows: Mask::none(rows), codes, null: None, room: Vec::new() }
    };
    plan.columns.iter().map(|column| source(column.kind, &column.path)).collect()
}

/// The columns to the field at this path; none where it leads past them. (Items of a list are not read from columns.)
fn way<'a>(root: &'a Column<'a>, path: &FieldPath) -> Vec<&'a Column<'a>> {
    let mut way = vec![root];
    for step in &path.0 {
        let (Some(Column::Object(_, members)), Step::Name(name)) = (way.last(), step) else { return Vec::new() };
        let Some(member) = members.iter().find(|member| member.name == *name) else { return Vec::new() };
        way.push(&member.column);
    }
    way
}

/// Takes the rows of a topic as far as they have values that the plan's columns can hold; gives those.
pub(super) fn readable(sources: &mut [Source<'_>], reader: &Reader, mut sure: Mask) -> Mask {
    for (source, _) in sources.iter_mut().zip(&reader.columns).filter(|(_, capture)| capture.is_some()) {
        let Some(column) = source.way.last() else { continue };
        let there = source.way.iter().fold(sure.clone(), |rows, column| column.present(&rows));
        let kind = source.kind;
        let unreadable = match fits(kind, column) {
            Fits::All => Mask::none(0),
            Fits::None => there.clone(),
            Fits::Integers => there.filter(|row| column.number(row, &mut source.room).and_then(integer).is_none()),
        };
        sure = sure.without(&unreadable);
        source.rows.add(&there);
    }
    sure
}

/// Which values of a column a kind can hold.
enum Fits {
    All,
    None,
    /// The integers of 64 bits.
    Integers,
}

fn fits(kind: ColumnKind, column: &Column<'_>) -> Fits {
    use Column as C;
    match column {
        C::Text(_)
        | C::LargeText(_)
        | C::TextView(_)
        | C::Dictionary(..)
        | C::Bytes(_)
        | C::Uuid(_)
        | C::Date(_)
        | C::Moment(_, None)
            if kind == ColumnKind::Group =>
        {
            Fits::All
        }
        C::Boolean(_) if matches!(kind, ColumnKind::Group | ColumnKind::Boolean) => Fits::All,
        C::Integer(_) if matches!(kind, ColumnKind::Group | ColumnKind::Integer | ColumnKind::Number) => Fits::All,
        C::Unsigned(_) | C::Number(_) | C::Moment(_, Some(_)) | C::Decimal(_) | C::LongDecimal(_) => match kind {
            ColumnKind::Number => Fits::All,
            ColumnKind::Group | ColumnKind::Integer => Fits::Integers,
            ColumnKind::Boolean | ColumnKind::Json => Fits::None,
        },
        _ => Fits::None,
    }
}

/// Adds the values of these rows, which are all well.
pub(super) fn fill(sources: &mut [Source<'_>], rows: &mut Rows<'_>, run: &[u32]) {
    for (at, source) in sources.iter_mut().enumerate() {
        source.fill(rows, at, run);
    }
}

impl Source<'_> {
    fn fill(&mut self, rows: &mut Rows<'_>, at: usize, run: &[u32]) {
        let Self { way, rows: there, codes: known, null, room, .. } = self;
        let column = *way.last().unwrap_or(&&Column::Nothing);
        let run = run.iter().map(|row| *row as usize).map(|row| there.has(row).then_some(row));
        let (field, dictionary) = rows.field_of(at);
        match field {
            Field::Integer(values) => {
                values.extend(run.map(|row| column.number(row?, room).and_then(integer)));
            }
            Field::Number(values) => values.extend(run.map(|row| Some(column.number(row?, room)?.double()))),
            Field::Boolean(values) => values.extend(run.map(|row| match column {
                Column::Boolean(array) => Some(array.value(row?)),
                _ => None,
            })),
            // Topics of which something is kept as JSON are not read here, and to others it is absent.
            Field::Json(values) => values.extend(run.map(|_| None)),
            Field::Group { codes, dictionary: values } => codes.extend(run.map(|row| match (row, column) {
                (None, _) => *null.get_or_insert_with(|| dictionary.other(GroupValue::Null, values)),
                (Some(row), Column::Dictionary(keys, texts)) => {
                    let mut code = || dictionary.text(texts.value(place(keys, row)).as_bytes(), values);
                    match known.get_mut(place(keys, row)) {
                        Some(known) => *known.get_or_insert_with(code),
                        None => code(),
                    }
                }
                (Some(row), Column::Boolean(array)) => dictionary.other(GroupValue::Bool(array.value(row)), values),
                (Some(row), _) => {
                    if let Some(text) = column.text(row, room) {
                        dictionary.text(text, values)
                    } else {
                        let number = column.number(row, room).and_then(integer);
                        dictionary.other(number.map_or(GroupValue::Null, GroupValue::Integer), values)
                    }
                }
            })),
        }
    }
}
