//! The quick road for a row: the schema's check and the wanted fields straight from the columns, as `walk` has them from a line. It only ever says that a row
//! is well; whatever it is not sure of is written as a line and judged like any other.

use uuid::Uuid;

use crate::core::decode::FILE_LINE_BYTES_MAX;
use crate::core::decode::json::{self, Text};
use crate::core::decode::program::{ANYTHING, PlaceId, Program};
use crate::core::decode::table::column::{Column, Member};
use crate::core::decode::walk::Capture;
use crate::core::schema::{Num, Parsed, Rules};

/// What a byte of a text takes in a line at most: `\u001f`.
const ESCAPED_BYTES_MAX: usize = 6;
/// What a value takes at most, its text and its name aside: brackets, quotes and a comma, or the digits of the longest decimal.
const VALUE_BYTES_MAX: usize = 96;

/// A column, and the place of its values in the program.
pub(super) struct Aligned<'a> {
    column: &'a Column<'a>,
    place: PlaceId,
    /// Which of the names of the object around it it is; None: no name that the program knows.
    bit: Option<u32>,
    nullable: bool,
    /// What its name takes in a line.
    name_bytes: usize,
    /// Of an object its members, of a list its items.
    members: Vec<Aligned<'a>>,
}

/// The row is not surely well.
pub(super) struct Unsure;

impl<'a> Aligned<'a> {
    /// None where a column or the program needs more than this knows.
    pub fn of(root: &'a Column<'a>, program: &Program) -> Option<Self> {
        Self::at(root, program, program.root)
    }

    fn at(column: &'a Column<'a>, program: &Program, id: PlaceId) -> Option<Self> {
        let place = program.place(id);
        let members = match column {
            Column::Object(_, members) => {
                if place.names.len() > 64 {
                    return None;
                }
                let mut seen = 0u64;
                let mut aligned = Vec::new();
                for Member { name, token, nullable, column } in members {
                    let bit = place.names.find(name.as_bytes());
                    let id = bit.and_then(|bit| place.members.get(bit).copied()).unwrap_or(place.others);
                    let member = Self::at(column, program, id)?;
                    // 64 names at most.
                    let bit = bit.map(|bit| bit as u32);
                    let mask = bit.map_or(0, |bit| 1 << bit);
                    if seen & mask != 0 {
                        return None;
                    }
                    seen |= mask;
                    aligned.push(Self { bit, nullable: *nullable, name_bytes: token.len(), ..member });
                }
                let mut names: Vec<&str> = members.iter().map(|member| member.name.as_str()).collect();
                names.sort_unstable();
                if names.windows(2).any(|pair| matches!(pair, [a, b] if a == b)) {
                    return None;
                }
                aligned
            }
            Column::List(_, items) | Column::LargeList(_, items) | Column::FixedList(_, items) => {
                vec![Self::at(items, program, place.items)?]
            }
            _ => Vec::new(),
        };
        Some(Self { column, place: id, bit: None, nullable: false, name_bytes: 0, members })
    }

    /// Fills the captures from a row; `line` gets the texts that they point to.
    pub fn read(
        &self,
        row: usize,
        program: &Program,
        captures: &mut Vec<Capture>,
        line: &mut Vec<u8>,
    ) -> Result<(), Unsure> {
        captures.clear();
        captures.resize(program.captures, Capture::Absent);
        line.clear();
        let mut walk = Walk { row, program, captures, line, bytes_max: 0 };
        walk.value(self)?;
        if walk.bytes_max > FILE_LINE_BYTES_MAX { Err(Unsure) } else { Ok(()) }
    }
}

struct Walk<'a> {
    row: usize,
    program: &'a Program,
    captures: &'a mut Vec<Capture>,
    line: &'a mut Vec<u8>,
    /// The row as a line has no more bytes than this.
    bytes_max: usize,
}

impl Walk<'_> {
    fn value(&mut self, aligned: &Aligned<'_>) -> Result<(), Unsure> {
        let row = self.row;
        self.bytes_max += aligned.name_bytes + VALUE_BYTES_MAX;
        match aligned.column {
            Column::Boolean(array) => self.boolean(aligned, array.value(row)),
            Column::Integer(array) => self.number(aligned, Num::Integer(array.value(row))),
            Column::Unsigned(array) => {
                let value = array.value(row);
                self.number(aligned, i64::try_from(value).map_or(Num::Large(value), Num::Integer))
            }
            Column::Number(array) => {
                let value = array.value(row);
                if value.is_finite() { self.number(aligned, Num::Float(value)) } else { Err(Unsure) }
            }
            Column::Text(array) => self.text(aligned, array.value(row).as_bytes()),
            Column::LargeText(array) => self.text(aligned, array.value(row).as_bytes()),
            Column::TextView(array) => self.text(aligned, array.value(row).as_bytes()),
            Column::Bytes(array) => {
                let text = std::str::from_utf8(array.value(row)).map_err(|_| Unsure)?;
                self.text(aligned, text.as_bytes())
            }
            Column::Uuid(array) => {
                let bytes = <[u8; 16]>::try_from(array.value(row)).map_err(|_| Unsure)?;
                let mut room = Uuid::encode_buffer();
                self.text(aligned, Uuid::from_bytes(bytes).hyphenated().encode_lower(&mut room).as_bytes())
            }
            Column::Moment(_, None) | Column::Date(_) => {
                let mut text = Vec::new();
                aligned.column.write(row, &mut text);
                let text = text.strip_prefix(b"\"").and_then(|text| text.strip_suffix(b"\"")).ok_or(Unsure)?;
                self.text(aligned, text)
            }
            Column::Moment(_, Some(_)) | Column::Decimal(_) | Column::LongDecimal(_) => {
                let start = self.line.len();
                aligned.column.write(row, self.line);
                let (number, end) = json::number(self.line, start).map_err(|_| Unsure)?;
                if end < self.line.len() {
                    return Err(Unsure);
                }
                judge(self.program.place(aligned.place).rules.as_ref().is_none_or(|rules| rules.number(number)))?;
                self.keep(aligned, Capture::Number(number, (start as u32, end as u32)));
                Ok(())
            }
            Column::Object(_, _) => self.object(aligned),
            Column::List(..) | Column::LargeList(..) | Column::FixedList(..) => self.list(aligned),
            Column::Nothing => Err(Unsure),
        }
    }

    fn object(&mut self, aligned: &Aligned<'_>) -> Result<(), Unsure> {
        let place = self.program.place(aligned.place);
        judge(place.rules.as_ref().is_none_or(Rules::object))?;
        // Nobody asks for an object whole but as JSON.
        if place.capture.is_some() {
            return Err(Unsure);
        }
        let mut seen = 0u64;
        for member in &aligned.members {
            if member.column.is_absent(self.row) {
                if !member.nullable {
                    continue;
                }
                self.bytes_max += member.name_bytes + VALUE_BYTES_MAX;
                judge(self.program.place(member.place).rules.as_ref().is_none_or(Rules::null))?;
                self.keep(member, Capture::Null);
            } else {
                self.value(member)?;
            }
            seen |= member.bit.map_or(0, |bit| 1 << bit);
        }
        let required = place.required.first().copied().unwrap_or(0);
        judge(seen & required == required)
    }

    fn list(&mut self, aligned: &Aligned<'_>) -> Result<(), Unsure> {
        let place = self.program.place(aligned.place);
        judge(place.rules.as_ref().is_none_or(Rules::array))?;
        // Nor for a list whole; and its first items are asked for seldom.
        if place.capture.is_some() || !place.first_items.is_empty() {
            return Err(Unsure);
        }
        let row = self.row;
        for (item, at) in aligned.members.iter().flat_map(|item| aligned.column.range(row).map(move |at| (item, at))) {
            self.row = at;
            if item.column.is_absent(at) {
                self.bytes_max += VALUE_BYTES_MAX;
                judge(self.program.place(item.place).rules.as_ref().is_none_or(Rules::null))?;
            } else {
                self.value(item)?;
            }
        }
        self.row = row;
        Ok(())
    }

    fn boolean(&mut self, aligned: &Aligned<'_>, value: bool) -> Result<(), Unsure> {
        judge(self.program.place(aligned.place).rules.as_ref().is_none_or(|rules| rules.boolean(value)))?;
        self.keep(aligned, Capture::Boolean(value));
        Ok(())
    }

    fn number(&mut self, aligned: &Aligned<'_>, number: Num) -> Result<(), Unsure> {
        let place = self.program.place(aligned.place);
        judge(place.rules.as_ref().is_none_or(|rules| rules.number(number)))?;
        if place.capture.is_some() {
            let start = self.line.len();
            aligned.column.write(self.row, self.line);
            self.keep(aligned, Capture::Number(number, (start as u32, self.line.len() as u32)));
        }
        Ok(())
    }

    fn text(&mut self, aligned: &Aligned<'_>, text: &[u8]) -> Result<(), Unsure> {
        self.bytes_max += text.len() * ESCAPED_BYTES_MAX;
        if aligned.place == ANYTHING {
            return Ok(());
        }
        let place = self.program.place(aligned.place);
        let mut parsed = Parsed::Nothing;
        judge(place.rules.as_ref().is_none_or(|rules| rules.text(text, &mut parsed)))?;
        if place.capture.is_some() {
            let start = self.line.len();
            self.line.extend_from_slice(text);
            self.keep(aligned, Capture::Text(Text { start, end: self.line.len(), escaped: false }, parsed));
        }
        Ok(())
    }

    fn keep(&mut self, aligned: &Aligned<'_>, value: Capture) {
        let capture = self.program.place(aligned.place).capture;
        if let Some(slot) = capture.and_then(|capture| self.captures.get_mut(capture)) {
            *slot = value;
        }
    }
}

fn judge(accepted: bool) -> Result<(), Unsure> {
    if accepted { Ok(()) } else { Err(Unsure) }
}
