//! The quick road for rows: the schema's check, ids and times straight from the columns, column by column, as `walk` and `Rows::add` have them from a line. It
//! only ever says that a row is well; whatever it is not sure of is written as a line and judged like any other.

use arrow_array::{Array, FixedSizeBinaryArray, Int32Array, Int64Array, StringArray};

use crate::core::columns::EventId;
use crate::core::decode::program::{ANYTHING, CaptureId, Place, PlaceId, Program};
use crate::core::decode::rows::identified;
use crate::core::decode::table::column::{Column, Member, place};
use crate::core::decode::table::mask::Mask;
use crate::core::plan::TimeFormat;
use crate::core::schema::{Num, Parsed, Rules};
use crate::core::time;
use crate::core::units::Micros;

/// A column, and the place of its values in the program.
pub(super) struct Aligned<'a> {
    column: &'a Column<'a>,
    place: PlaceId,
    /// An object without it is refused.
    required: bool,
    nullable: bool,
    /// Of an object its members, of a list its items.
    members: Vec<Aligned<'a>>,
    /// Of an object: a member that it must have is no column.
    lacks: bool,
}

impl<'a> Aligned<'a> {
    /// None where two columns are one field.
    pub fn of(root: &'a Column<'a>, program: &Program) -> Option<Self> {
        Self::at(root, program, program.root)
    }

    fn at(column: &'a Column<'a>, program: &Program, id: PlaceId) -> Option<Self> {
        let place = program.place(id);
        let (mut aligned, mut lacks) = (Vec::new(), false);
        match column {
            Column::Object(_, members) => {
                let mut names: Vec<&str> = members.iter().map(|member| member.name.as_str()).collect();
                names.sort_unstable();
                if names.windows(2).any(|pair| matches!(pair, [a, b] if a == b)) {
                    return None;
                }
                let mut required = place.required.clone();
                for Member { name, nullable, column, .. } in members {
                    let known = place.names.find(name.as_bytes());
                    let id = known.and_then(|known| place.members.get(known).copied()).unwrap_or(place.others);
                    let member = Self::at(column, program, id)?;
                    let word = known.and_then(|known| Some((required.get_mut(known / 64)?, 1 << (known % 64))));
                    let required = word.is_some_and(|(word, bit)| std::mem::replace(word, *word & !bit) & bit != 0);
                    aligned.push(Self { required, nullable: *nullable, ..member });
                }
                lacks = required.iter().any(|left| *left != 0);
            }
            Column::List(_, items) | Column::LargeList(_, items) | Column::FixedList(_, items) => {
                aligned.push(Self::at(items, program, place.items)?);
            }
            _ => {}
        }
        Some(Self { column, place: id, required: false, nullable: false, members: aligned, lacks })
    }
}

/// What is read on the way.
pub(super) struct Found {
    pub id: Vec<EventId>,
    pub has_id: Mask,
    pub time: Vec<Micros>,
    pub has_time: Mask,
}

impl Found {
    pub fn new(rows: usize) -> Self {
        let (id, time) = (vec![EventId(0); rows], vec![Micros(0); rows]);
        Self { id, has_id: Mask::none(rows), time, has_time: Mask::none(rows) }
    }

    fn keep_id(&mut self, row: usize, id: EventId) {
        if let Some(slot) = self.id.get_mut(row) {
            *slot = id;
            self.has_id.insert(row);
        }
    }

    fn keep_time(&mut self, row: usize, time: Micros) {
        if let Some(slot) = self.time.get_mut(row) {
            *slot = time;
            self.has_time.insert(row);
        }
    }
}

/// Which captures are read as what.
#[derive(Clone, Copy)]
pub(super) struct Wanted {
    /// None: the topic's events have no ids.
    pub id: Option<CaptureId>,
    pub time: CaptureId,
    pub format: TimeFormat,
    pub id_key: u64,
}

/// Judges rows of one topic.
pub(super) struct Judge<'a> {
    pub program: &'a Program,
    /// Those that are well, as far as is known.
    pub sure: Mask,
    /// None: within a list, of whose items nothing is read.
    pub reading: Option<(Wanted, &'a mut Found)>,
    room: Vec<u8>,
}

impl<'a> Judge<'a> {
    pub fn new(program: &'a Program, rows: Mask, reading: Option<(Wanted, &'a mut Found)>) -> Self {
        Self { program, sure: rows, reading, room: Vec::new() }
    }

    /// Judges the values of these rows, which all have one.
    pub fn column(&mut self, aligned: &Aligned<'_>, rows: &Mask) {
        let place = self.program.place(aligned.place);
        let rules = place.rules.as_ref();
        match aligned.column {
            _ if rows.is_empty() => {}
            Column::Object(..) => self.object(aligned, rows),
            Column::List(..) | Column::LargeList(..) | Column::FixedList(..) => self.list(aligned, rows),
            Column::Boolean(array) => self.each(place, rows, |rules, row| rules.boolean(array.value(row))),
            Column::Integer(array) => {
                self.each(place, rows, |rules, row| rules.number(Num::Integer(array.value(row))));
                self.integer_times(place, array, rows);
            }
            Column::Number(array) => {
                self.sure = self.sure.without(&rows.filter(|row| !array.value(row).is_finite()));
                self.each(place, rows, |rules, row| rules.number(Num::Float(array.value(row))));
                self.written_times(place, aligned.column, rows);
            }
            Column::Moment(array, Some(_)) if rules.is_none_or(Rules::any_number) => {
                self.moments(place, array, rows, |format| matches!(format, TimeFormat::Unix(_)));
            }
            Column::Unsigned(_) | Column::Moment(_, Some(_)) | Column::Decimal(_) | Column::LongDecimal(_) => {
                let mut room = std::mem::take(&mut self.room);
                for row in rows.iter() {
                    let number = aligned.column.number(row, &mut room);
                    if !number.is_some_and(|number| rules.is_none_or(|rules| rules.number(number))) {
                        self.sure.remove(row);
                    }
                }
                self.room = room;
                self.written_times(place, aligned.column, rows);
            }
            Column::Text(array) => self.texts(aligned.place, rows, |row| array.value(row).as_bytes()),
            Column::LargeText(array) => self.texts(aligned.place, rows, |row| array.value(row).as_bytes()),
            Column::TextView(array) => self.texts(aligned.place, rows, |row| array.value(row).as_bytes()),
            Column::Dictionary(keys, texts) => self.dictionary(aligned.place, keys, texts, rows),
            Column::Uuid(array) if rules.is_none_or(Rules::any_uuid) && !self.is_time(place) => {
                self.uuids(place, array, rows);
            }
            Column::Moment(array, None) if rules.is_none_or(Rules::any_time) && !self.is_id(place) => {
                self.moments(place, array, rows, |format| matches!(format, TimeFormat::Rfc3339 { .. }));
            }
            Column::Bytes(_) | Column::Uuid(_) | Column::Moment(_, None) | Column::Date(_) => {
                let mut room = std::mem::take(&mut self.room);
                for row in rows.iter() {
                    match aligned.column.text(row, &mut room) {
                        Some(text) => self.text(place, row, text),
                        None => self.sure.remove(row),
                    }
                }
                self.room = room;
            }
            Column::Nothing => self.refuse(rows),
        }
    }

    fn object(&mut self, aligned: &Aligned<'_>, rows: &Mask) {
        let place = self.program.place(aligned.place);
        // Nobody asks for an object whole but as JSON.
        if !place.rules.as_ref().is_none_or(Rules::object) || place.capture.is_some() || aligned.lacks {
            return self.refuse(rows);
        }
        for member in &aligned.members {
            let present = member.column.present(rows);
            self.column(member, &present);
            let may_lack = if member.nullable {
                self.program.place(member.place).rules.as_ref().is_none_or(Rules::null)
            } else {
                !member.required
            };
            if !may_lack {
                self.refuse(&rows.without(&present));
            }
        }
    }

    fn list(&mut self, aligned: &Aligned<'_>, rows: &Mask) {
        let place = self.program.place(aligned.place);
        // Nor for a list whole; and its first items are asked for seldom.
        let asked = place.capture.is_some() || !place.first_items.is_empty();
        let Some(item) = aligned.members.first() else { return };
        if !place.rules.as_ref().is_none_or(Rules::array) || asked {
            return self.refuse(rows);
        }
        if matches!(item.column, Column::Nothing) {
            // Items that all are null have no places.
            return self.refuse(&rows.filter(|row| !aligned.column.range(row).is_empty()));
        }
        let mut items = Mask::none(item.column.len());
        rows.each(|row| items.insert_all(aligned.column.range(row)));
        let mut judge = Judge::new(self.program, items, None);
        let items = judge.sure.clone();
        let present = item.column.present(&items);
        judge.column(item, &present);
        if !self.program.place(item.place).rules.as_ref().is_none_or(Rules::null) {
            judge.refuse(&items.without(&present));
        }
        let unsure = items.without(&judge.sure);
        if !unsure.is_empty() {
            self.refuse(&rows.filter(|row| aligned.column.range(row).any(|item| unsure.has(item))));
        }
    }

    fn refuse(&mut self, rows: &Mask) {
        self.sure = self.sure.without(rows);
    }

    fn each(&mut self, place: &Place, rows: &Mask, accepts: impl Fn(&Rules, usize) -> bool) {
        let Some(rules) = &place.rules else { return };
        self.refuse(&rows.filter(|row| !accepts(rules, row)));
    }

    fn texts<'t>(&mut self, id: PlaceId, rows: &Mask, text: impl Fn(usize) -> &'t [u8]) {
        let place = self.program.place(id);
        if id != ANYTHING {
            rows.each(|row| self.text(place, row, text(row)));
        }
    }

    /// Each text of the dictionary is judged once, when it first comes.
    fn dictionary(&mut self, id: PlaceId, keys: &Int32Array, texts: &StringArray, rows: &Mask) {
        let place_of = self.program.place(id);
        if self.is_id(place_of) || self.is_time(place_of) {
            return self.texts(id, rows, |row| texts.value(place(keys, row)).as_bytes());
        }
        let Some(rules) = &place_of.rules else { return };
        let mut known = vec![None; texts.len()];
        rows.each(|row| {
            let at = place(keys, row);
            let Some(known) = known.get_mut(at) else { return };
            let accepts = || rules.text(texts.value(at).as_bytes(), &mut Parsed::Nothing);
            if !*known.get_or_insert_with(accepts) {
                self.sure.remove(row);
            }
        });
    }

    #[inline]
    fn text(&mut self, place: &Place, row: usize, text: &[u8]) {
        let mut parsed = Parsed::Nothing;
        if !place.rules.as_ref().is_none_or(|rules| rules.text(text, &mut parsed)) {
            return self.sure.remove(row);
        }
        let (is_id, is_time) = (self.is_id(place), self.is_time(place));
        let Some((wanted, found)) = self.reading.as_mut().filter(|_| is_id || is_time) else { return };
        if is_id && let Ok(id) = identified(text, parsed, wanted.id_key) {
            found.keep_id(row, id);
        }
        let time = || match (parsed, wanted.format) {
            (Parsed::Time(time), TimeFormat::Rfc3339 { .. }) => Some(time),
            _ => time::read(wanted.format, text),
        };
        if is_time && let Some(time) = time() {
            found.keep_time(row, time);
        }
    }

    /// All are accepted.
    fn uuids(&mut self, place: &Place, array: &FixedSizeBinaryArray, rows: &Mask) {
        let Some((_, found)) = self.reading.as_mut().filter(|(wanted, _)| is(place, wanted.id)) else { return };
        rows.each(|row| {
            if let Ok(bytes) = array.value(row).try_into() {
                found.keep_id(row, EventId(u128::from_be_bytes(bytes)));
            }
        });
    }

    /// All are accepted that are moments of the years that have a text.
    fn moments(&mut self, place: &Place, array: &Int64Array, rows: &Mask, reads: impl Fn(TimeFormat) -> bool) {
        let in_time = rows.filter(|row| time::is_time(Micros(array.value(row))));
        self.refuse(&rows.without(&in_time));
        let wanted = |wanted: &Wanted| is(place, Some(wanted.time)) && reads(wanted.format);
        if let Some((_, found)) = self.reading.as_mut().filter(|(of, _)| wanted(of)) {
            in_time.each(|row| found.keep_time(row, Micros(array.value(row))));
        }
    }

    fn integer_times(&mut self, place: &Place, array: &Int64Array, rows: &Mask) {
        let Some((wanted, found)) = self.reading.as_mut() else { return };
        let TimeFormat::Unix(unit) = wanted.format else { return };
        if is(place, Some(wanted.time)) {
            for row in rows.iter() {
                if let Some(time) = time::of_unix(array.value(row), unit) {
                    found.keep_time(row, time);
                }
            }
        }
    }

    /// Of numbers whose digits say more than they as numbers do.
    fn written_times(&mut self, place: &Place, column: &Column<'_>, rows: &Mask) {
        let Some((wanted, found)) = self.reading.as_mut() else { return };
        if is(place, Some(wanted.time)) && matches!(wanted.format, TimeFormat::Unix(_)) {
            for row in rows.iter() {
                self.room.clear();
                column.write(row, &mut self.room);
                if let Some(time) = time::read(wanted.format, &self.room) {
                    found.keep_time(row, time);
                }
            }
        }
    }

    fn is_id(&self, place: &Place) -> bool {
        self.reading.as_ref().is_some_and(|(wanted, _)| is(place, wanted.id))
    }

    fn is_time(&self, place: &Place) -> bool {
        self.reading.as_ref().is_some_and(|(wanted, _)| is(place, Some(wanted.time)))
    }
}

/// Whether this is read here.
fn is(place: &Place, wanted: Option<CaptureId>) -> bool {
    wanted.is_some() && place.capture == wanted
}
