//! One column of a batch, and how its values are written as JSON.

use std::collections::HashSet;
use std::io::Write;
use std::ops::Range;

use arrow_array::cast::AsArray;
use arrow_array::types::{
    ArrowPrimitiveType, Date32Type, Decimal128Type, Decimal256Type, Float32Type, Float64Type, Int8Type, Int16Type,
    Int32Type, Int64Type, TimestampMicrosecondType, TimestampMillisecondType, TimestampNanosecondType,
    TimestampSecondType, UInt8Type, UInt16Type, UInt32Type, UInt64Type,
};
use arrow_array::{
    Array, BinaryArray, BooleanArray, Decimal128Array, Decimal256Array, FixedSizeBinaryArray, FixedSizeListArray,
    Float64Array, Int32Array, Int64Array, LargeListArray, LargeStringArray, ListArray, PrimitiveArray, StringArray,
    StringViewArray, StructArray, UInt64Array,
};
use arrow_schema::{DataType, Fields as ArrowFields, Schema, TimeUnit};
use uuid::Uuid;

use crate::core::decode::json::number as read_number;
use crate::core::decode::table::Fields;
use crate::core::decode::table::mask::Mask;
use crate::core::json;
use crate::core::path::FieldPath;
use crate::core::plan::Unit;
use crate::core::schema::Num;
use crate::core::time;
use crate::core::units::Micros;

/// How deep a column may nest.
const DEPTH_MAX: usize = 64;
const DAY_US: i64 = 86_400_000_000;
const UUID_BYTES: i32 = 16;

/// Whether all columns are of types that an event's fields can have, and have names of their own.
///
/// # Errors
/// For people, which one is not.
pub fn readable(schema: &Schema) -> Result<(), String> {
    distinct("", schema.fields())?;
    schema.fields().iter().try_for_each(|field| check(field.name(), field.data_type(), 0))
}

/// Two columns of one name would give every row an object in which that name stands twice.
fn distinct(within: &str, fields: &ArrowFields) -> Result<(), String> {
    let mut seen = HashSet::new();
    let twice = fields.iter().find(|field| !seen.insert(field.name()));
    twice.map_or(Ok(()), |field| {
        Err(format!("it has two columns named \"{within}{}\": rename one, or leave it out", field.name()))
    })
}

fn check(name: &str, of: &DataType, depth: usize) -> Result<(), String> {
    if depth > DEPTH_MAX {
        return Err(format!("column {name} nests deeper than {DEPTH_MAX}"));
    }
    match of {
        DataType::Null
        | DataType::Boolean
        | DataType::Int8
        | DataType::Int16
        | DataType::Int32
        | DataType::Int64
        | DataType::UInt8
        | DataType::UInt16
        | DataType::UInt32
        | DataType::UInt64
        | DataType::Float32
        | DataType::Float64
        | DataType::Timestamp(..)
        | DataType::Date32
        | DataType::Utf8
        | DataType::LargeUtf8
        | DataType::Utf8View
        | DataType::Binary
        | DataType::FixedSizeBinary(UUID_BYTES)
        | DataType::Decimal128(..)
        | DataType::Decimal256(..) => Ok(()),
        DataType::Dictionary(key, value) if **key == DataType::Int32 && **value == DataType::Utf8 => Ok(()),
        DataType::List(item) | DataType::LargeList(item) | DataType::FixedSizeList(item, _) => {
            check(name, item.data_type(), depth + 1)
        }
        DataType::Struct(fields) => {
            distinct(&format!("{name}."), fields)?;
            fields.iter().try_for_each(|field| check(&format!("{name}.{}", field.name()), field.data_type(), depth + 1))
        }
        other => Err(format!("column {name} has the type {other}, which no field of an event can have")),
    }
}

/// A column, ready to be read.
pub(super) enum Column<'a> {
    Nothing,
    Boolean(&'a BooleanArray),
    Integer(Int64Array),
    Unsigned(UInt64Array),
    Number(Float64Array),
    Text(&'a StringArray),
    LargeText(&'a LargeStringArray),
    TextView(&'a StringViewArray),
    /// Places in the texts, and these.
    Dictionary(&'a Int32Array, &'a StringArray),
    Bytes(&'a BinaryArray),
    Uuid(&'a FixedSizeBinaryArray),
    /// Microseconds, and what they are written in; None: as a text.
    Moment(Int64Array, Option<Unit>),
    /// In days.
    Date(Int64Array),
    Decimal(&'a Decimal128Array),
    LongDecimal(&'a Decimal256Array),
    List(&'a ListArray, Box<Column<'a>>),
    LargeList(&'a LargeListArray, Box<Column<'a>>),
    FixedList(&'a FixedSizeListArray, Box<Column<'a>>),
    Object(&'a StructArray, Vec<Member<'a>>),
}

/// A member of an object.
pub(super) struct Member<'a> {
    pub name: String,
    /// The name with quotes and colon.
    pub token: Vec<u8>,
    /// Where it has no value it is null; else it is not there.
    pub nullable: bool,
    pub column: Column<'a>,
}

impl<'a> Column<'a> {
    /// `path` is where the column stands in the event.
    pub fn of(array: &'a dyn Array, fields: &Fields<'_>, path: &FieldPath) -> Self {
        match array.data_type() {
            DataType::Boolean => Self::Boolean(array.as_boolean()),
            DataType::Int8 => Self::Integer(wide::<Int8Type>(array)),
            DataType::Int16 => Self::Integer(wide::<Int16Type>(array)),
            DataType::Int32 => Self::Integer(wide::<Int32Type>(array)),
            DataType::Int64 => Self::Integer(wide::<Int64Type>(array)),
            DataType::UInt8 => Self::Integer(wide::<UInt8Type>(array)),
            DataType::UInt16 => Self::Integer(wide::<UInt16Type>(array)),
            DataType::UInt32 => Self::Integer(wide::<UInt32Type>(array)),
            DataType::UInt64 => Self::Unsigned(array.as_primitive::<UInt64Type>().clone()),
            DataType::Float32 => Self::Number(array.as_primitive::<Float32Type>().unary::<_, Float64Type>(f64::from)),
            DataType::Float64 => Self::Number(array.as_primitive::<Float64Type>().clone()),
            DataType::Utf8 => Self::Text(array.as_string()),
            DataType::LargeUtf8 => Self::LargeText(array.as_string()),
            DataType::Utf8View => Self::TextView(array.as_string_view()),
            DataType::Dictionary(..) => {
                let array = array.as_dictionary::<Int32Type>();
                Self::Dictionary(array.keys(), array.values().as_string())
            }
            DataType::Binary => Self::Bytes(array.as_binary()),
            DataType::FixedSizeBinary(_) => Self::Uuid(array.as_fixed_size_binary()),
            DataType::Timestamp(..) => Self::Moment(moments(array), fields.unit(path)),
            DataType::Date32 => Self::Date(wide::<Date32Type>(array)),
            DataType::Decimal128(..) => Self::Decimal(array.as_primitive::<Decimal128Type>()),
            DataType::Decimal256(..) => Self::LongDecimal(array.as_primitive::<Decimal256Type>()),
            DataType::List(_) => {
                let list: &ListArray = array.as_list();
                Self::List(list, Box::new(Self::of(list.values(), fields, &path.item())))
            }
            DataType::LargeList(_) => {
                let list: &LargeListArray = array.as_list();
                Self::LargeList(list, Box::new(Self::of(list.values(), fields, &path.item())))
            }
            DataType::FixedSizeList(..) => {
                let list = array.as_fixed_size_list();
                Self::FixedList(list, Box::new(Self::of(list.values(), fields, &path.item())))
            }
            DataType::Struct(members) => {
                let object = array.as_struct();
                let members = members.iter().zip(object.columns()).map(|(member, column)| {
                    let path = path.member(member.name());
                    let token = [json::string(member.name()).as_bytes(), b":"].concat();
                    let nullable = fields.nullable(&path);
                    Member { name: member.name().clone(), token, nullable, column: Self::of(column, fields, &path) }
                });
                Self::Object(object, members.collect())
            }
            // `readable` lets no other through.
            _ => Self::Nothing,
        }
    }

    /// What says which rows have no value; None: no row has one. (Of a dictionary its texts say it too.)
    fn array(&self) -> Option<&dyn Array> {
        Some(match self {
            Self::Nothing => return None,
            Self::Boolean(array) => *array,
            Self::Integer(array) | Self::Moment(array, _) | Self::Date(array) => array,
            Self::Unsigned(array) => array,
            Self::Number(array) => array,
            Self::Text(array) => *array,
            Self::LargeText(array) => *array,
            Self::TextView(array) => *array,
            Self::Dictionary(keys, _) => *keys,
            Self::Bytes(array) => *array,
            Self::Uuid(array) => *array,
            Self::Decimal(array) => *array,
            Self::LongDecimal(array) => *array,
            Self::List(array, _) => *array,
            Self::LargeList(array, _) => *array,
            Self::FixedList(array, _) => *array,
            Self::Object(array, _) => *array,
        })
    }

    /// Whether there is no value in this row: the field is then absent.
    pub fn is_absent(&self, row: usize) -> bool {
        let absent = self.array().is_none_or(|array| array.is_null(row));
        absent || matches!(self, Self::Dictionary(keys, texts) if texts.is_null(place(keys, row)))
    }

    /// Of these rows, which have a value.
    pub fn present(&self, rows: &Mask) -> Mask {
        let Some(array) = self.array() else { return Mask::none(0) };
        let mut present = rows.valid(array);
        if let Self::Dictionary(keys, texts) = self
            && texts.null_count() > 0
        {
            present = present.filter(|row| texts.is_valid(place(keys, row)));
        }
        present
    }

    /// How many values it has room for.
    pub fn len(&self) -> usize {
        self.array().map_or(0, Array::len)
    }

    /// Writes the value of a row, which is not absent.
    pub fn write(&self, row: usize, out: &mut Vec<u8>) {
        self.write_up_to(usize::MAX, row, out);
    }

    /// The same, but no further member or item once `out` has more than so many bytes.
    pub fn write_up_to(&self, most: usize, row: usize, out: &mut Vec<u8>) {
        match self {
            Self::Nothing => out.extend_from_slice(b"null"),
            Self::Boolean(array) => out.extend_from_slice(if array.value(row) { b"true" } else { b"false" }),
            Self::Integer(array) => put(out, format_args!("{}", array.value(row))),
            Self::Unsigned(array) => put(out, format_args!("{}", array.value(row))),
            Self::Number(array) => number(array.value(row), out),
            Self::Text(array) => json::write_string(out, array.value(row).as_bytes()),
            Self::LargeText(array) => json::write_string(out, array.value(row).as_bytes()),
            Self::TextView(array) => json::write_string(out, array.value(row).as_bytes()),
            Self::Dictionary(keys, texts) => json::write_string(out, texts.value(place(keys, row)).as_bytes()),
            Self::Bytes(array) => json::write_string(out, array.value(row)),
            Self::Uuid(array) => {
                let bytes = <[u8; 16]>::try_from(array.value(row)).unwrap_or_default();
                put(out, format_args!("\"{}\"", Uuid::from_bytes(bytes)));
            }
            Self::Moment(array, None) => put(out, format_args!("\"{}\"", time::format(Micros(array.value(row))))),
            Self::Moment(array, Some(unit)) => unix(array.value(row), *unit, out),
            Self::Date(array) => {
                let text = time::format(Micros(array.value(row).saturating_mul(DAY_US)));
                put(out, format_args!("\"{}\"", text.split_once('T').map_or("", |(date, _)| date)));
            }
            Self::Decimal(array) => out.extend_from_slice(array.value_as_string(row).as_bytes()),
            Self::LongDecimal(array) => out.extend_from_slice(array.value_as_string(row).as_bytes()),
            Self::List(_, items) | Self::LargeList(_, items) | Self::FixedList(_, items) => {
                items.items(most, self.range(row), out);
            }
            Self::Object(_, members) => {
                out.push(b'{');
                let begin = out.len();
                for Member { token, nullable, column, .. } in members {
                    if out.len() > most {
                        return;
                    }
                    let absent = column.is_absent(row);
                    if absent && !nullable {
                        continue;
                    }
                    if out.len() > begin {
                        out.push(b',');
                    }
                    out.extend_from_slice(token);
                    column.value(most, row, out);
                }
                out.push(b'}');
            }
        }
    }

    /// The text in a row that has one; None: it is no text. `room` is for those that must be made.
    pub fn text<'r>(&'r self, row: usize, room: &'r mut Vec<u8>) -> Option<&'r [u8]> {
        Some(match self {
            Self::Text(array) => array.value(row).as_bytes(),
            Self::LargeText(array) => array.value(row).as_bytes(),
            Self::TextView(array) => array.value(row).as_bytes(),
            Self::Dictionary(keys, texts) => texts.value(place(keys, row)).as_bytes(),
            Self::Bytes(array) => std::str::from_utf8(array.value(row)).ok()?.as_bytes(),
            Self::Uuid(_) | Self::Date(_) | Self::Moment(_, None) => {
                room.clear();
                self.write(row, room);
                room.strip_prefix(b"\"")?.strip_suffix(b"\"")?
            }
            _ => return None,
        })
    }

    /// The number in a row that has one, as JSON would have it; None: it is none. `room` is for those that must be written.
    pub fn number(&self, row: usize, room: &mut Vec<u8>) -> Option<Num> {
        match self {
            Self::Integer(array) => Some(Num::Integer(array.value(row))),
            Self::Unsigned(array) => {
                let value = array.value(row);
                Some(i64::try_from(value).map_or(Num::Large(value), Num::Integer))
            }
            Self::Number(array) => Some(Num::Float(array.value(row))).filter(|_| array.value(row).is_finite()),
            Self::Moment(_, Some(_)) | Self::Decimal(_) | Self::LongDecimal(_) => {
                room.clear();
                self.write(row, room);
                let (number, end) = read_number(room, 0).ok()?;
                (end == room.len()).then_some(number)
            }
            _ => None,
        }
    }

    /// Of a list, where its items are in the column of all items.
    pub fn range(&self, row: usize) -> Range<usize> {
        fn between<T: Copy + TryInto<usize>>(offsets: &[T], row: usize) -> Range<usize> {
            let at = |row: usize| offsets.get(row).and_then(|at| (*at).try_into().ok()).unwrap_or(0);
            at(row)..at(row + 1)
        }
        match self {
            Self::List(array, _) => between(array.value_offsets(), row),
            Self::LargeList(array, _) => between(array.value_offsets(), row),
            Self::FixedList(array, _) => {
                let from = array.value_offset_at(row);
                // Arrow has no list of a negative length.
                from..from + array.value_length() as usize
            }
            _ => 0..0,
        }
    }

    fn items(&self, most: usize, rows: Range<usize>, out: &mut Vec<u8>) {
        out.push(b'[');
        for (number, row) in rows.enumerate() {
            if out.len() > most {
                return;
            }
            if number > 0 {
                out.push(b',');
            }
            self.value(most, row, out);
        }
        out.push(b']');
    }

    /// Writes the value of a row, null where there is none.
    fn value(&self, most: usize, row: usize, out: &mut Vec<u8>) {
        if self.is_absent(row) {
            out.extend_from_slice(b"null");
        } else {
            self.write_up_to(most, row, out);
        }
    }
}

/// Where the text of a row stands in its dictionary. (Arrow has no key below zero.)
pub(super) fn place(keys: &Int32Array, row: usize) -> usize {
    keys.value(row) as usize
}

/// A Vec takes all that is written.
fn put(out: &mut Vec<u8>, text: std::fmt::Arguments<'_>) {
    let _ = out.write_fmt(text);
}

/// What is not finite is no JSON, and so refused.
fn number(value: f64, out: &mut Vec<u8>) {
    match serde_json::Number::from_f64(value) {
        Some(number) => put(out, format_args!("{number}")),
        None => put(out, format_args!("{value}")),
    }
}

/// The moment in this unit, with a fraction where it needs one.
fn unix(micros: i64, unit: Unit, out: &mut Vec<u8>) {
    let per_unit = match unit {
        Unit::Seconds => 1_000_000,
        Unit::Milliseconds => 1_000,
        Unit::Microseconds => 1,
        Unit::Nanoseconds => return put(out, format_args!("{}", i128::from(micros) * 1_000)),
    };
    let (sign, micros) = (if micros < 0 { "-" } else { "" }, micros.unsigned_abs());
    let (whole, rest) = (micros / per_unit, micros % per_unit);
    put(out, format_args!("{sign}{whole}"));
    if rest > 0 {
        let digits = per_unit.ilog10() as usize;
        put(out, format_args!(".{rest:0digits$}"));
    }
}

fn wide<T>(array: &dyn Array) -> Int64Array
where
    T: ArrowPrimitiveType,
    T::Native: Into<i64>,
{
    let array: &PrimitiveArray<T> = array.as_primitive();
    array.unary(Into::into)
}

/// In microseconds, further digits cut towards minus infinity.
fn moments(array: &dyn Array) -> Int64Array {
    match array.data_type() {
        DataType::Timestamp(TimeUnit::Second, _) => {
            array.as_primitive::<TimestampSecondType>().unary(|value| value.saturating_mul(1_000_000))
        }
        DataType::Timestamp(TimeUnit::Millisecond, _) => {
            array.as_primitive::<TimestampMillisecondType>().unary(|value| value.saturating_mul(1_000))
        }
        DataType::Timestamp(TimeUnit::Nanosecond, _) => {
            array.as_primitive::<TimestampNanosecondType>().unary(|value: i64| value.div_euclid(1_000))
        }
        _ => array.as_primitive::<TimestampMicrosecondType>().unary(|value| value),
    }
}
