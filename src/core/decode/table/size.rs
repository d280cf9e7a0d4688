//! How long a row can be as a line at most, without writing it.

use arrow_array::{GenericBinaryArray, GenericStringArray, OffsetSizeTrait};

use crate::core::decode::table::column::{Column, Member, place};

/// What a byte of a text takes in a line at most: `\u001f`.
const ESCAPED_BYTES_MAX: usize = 6;
/// What a value takes at most, its text and its name aside: brackets, quotes and a comma, or the digits of the longest decimal.
const VALUE_BYTES_MAX: usize = 96;

impl Column<'_> {
    /// No row takes more bytes.
    pub fn bytes_max(&self) -> usize {
        let inner = match self {
            Self::Text(array) | Self::Dictionary(_, array) => texts(array),
            Self::LargeText(array) => texts(array),
            // A view's first 32 bits are its length.
            Self::TextView(array) => array.views().iter().map(|view| *view as u32).max().unwrap_or(0) as usize,
            Self::Bytes(array) => bytes(array),
            Self::List(array, items) => longest(array.value_offsets()).saturating_mul(items.bytes_max()),
            Self::LargeList(array, items) => longest(array.value_offsets()).saturating_mul(items.bytes_max()),
            Self::FixedList(array, items) => (array.value_length() as usize).saturating_mul(items.bytes_max()),
            Self::Object(_, members) => {
                let of_member = |member: &Member<'_>| member.token.len() + member.column.bytes_max();
                return members.iter().map(of_member).fold(VALUE_BYTES_MAX, usize::saturating_add);
            }
            _ => 0,
        };
        match self {
            Self::List(..) | Self::LargeList(..) | Self::FixedList(..) => inner,
            _ => inner.saturating_mul(ESCAPED_BYTES_MAX),
        }
        .saturating_add(VALUE_BYTES_MAX)
    }

    /// The row takes no more bytes.
    pub fn bytes_max_of(&self, row: usize) -> usize {
        if self.is_absent(row) {
            return VALUE_BYTES_MAX;
        }
        let text = |length: usize| length * ESCAPED_BYTES_MAX;
        let inner = match self {
            Self::Text(array) => text(array.value(row).len()),
            Self::LargeText(array) => text(array.value(row).len()),
            Self::TextView(array) => text(array.value(row).len()),
            Self::Dictionary(keys, array) => text(array.value(place(keys, row)).len()),
            Self::Bytes(array) => text(array.value(row).len()),
            Self::List(_, items) | Self::LargeList(_, items) | Self::FixedList(_, items) => {
                self.range(row).map(|item| items.bytes_max_of(item)).sum()
            }
            Self::Object(_, members) => {
                members.iter().map(|member| member.token.len() + member.column.bytes_max_of(row)).sum()
            }
            _ => 0,
        };
        inner + VALUE_BYTES_MAX
    }
}

fn texts<T: OffsetSizeTrait>(array: &GenericStringArray<T>) -> usize {
    longest(array.value_offsets())
}

fn bytes<T: OffsetSizeTrait>(array: &GenericBinaryArray<T>) -> usize {
    longest(array.value_offsets())
}

/// The most that lies between two offsets that follow each other.
fn longest<T: OffsetSizeTrait>(offsets: &[T]) -> usize {
    let lengths = offsets.windows(2).filter_map(|pair| if let [from, to] = pair { Some(*to - *from) } else { None });
    lengths.fold(T::zero(), |a, b| if b > a { b } else { a }).as_usize()
}
