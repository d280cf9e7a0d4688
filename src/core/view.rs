//! Keyed views: for each key the latest values, field by field. `docs/semantics.md`, "Views".
//!
//! Encodings, little-endian; with the terms of `core::encoding`:
//!
//! ```text
//! entry = view (count), key (length (count), UTF-8), events (count), newest time (i64), newest offset (u64), number of fields (count), then for each
//!         0 | 1, time (i64), offset (u64), length (count), JSON
//! ```

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use crate::core::columns::{Column, GroupValue};
use crate::core::encoding::{NotAPane, put_count, put_text, take, take_count, take_text};
use crate::core::json::{self, Object};
use crate::core::plan::{Plan, ViewPlan};
use crate::core::row::ViewRow;
use crate::core::units::{Epoch, Micros, Offset};

/// Which of two events is the later one: by time, of equal times by offset.
pub type Moment = (Micros, Offset);

/// What one key's events have said so far. `merge(a, b) == merge(b, a)`, to the bit.
#[derive(Clone, Debug, PartialEq)]
pub struct Entry {
    pub events: u64,
    pub newest: Moment,
    /// In the order of `ViewPlan::latest`: the latest value, as JSON, and the event that said it. None: no event had the field.
    pub fields: Vec<Option<(Moment, Arc<str>)>>,
}

/// An entry and where it belongs.
#[derive(Clone, Debug, PartialEq)]
pub struct Keyed {
    /// The view's place in `Plan::views`.
    pub view: usize,
    pub key: Arc<str>,
    pub entry: Entry,
}

impl Entry {
    /// Of one event; its fields as JSON, None where it does not have them.
    #[must_use]
    pub fn of(moment: Moment, fields: impl Iterator<Item = Option<Arc<str>>>) -> Self {
        Self { events: 1, newest: moment, fields: fields.map(|field| Some((moment, field?))).collect() }
    }

    pub fn merge(&mut self, other: &Self) {
        assert_eq!(self.fields.len(), other.fields.len(), "entries of two views");
        self.events += other.events;
        self.newest = self.newest.max(other.newest);
        for (mine, other) in self.fields.iter_mut().zip(&other.fields) {
            // No two events have one offset, so none but the moments decide.
            let later = match (&*mine, other) {
                (Some((mine, _)), Some((other, _))) => other > mine,
                (None, Some(_)) => true,
                (_, None) => false,
            };
            if later {
                mine.clone_from(other);
            }
        }
    }
}

impl Keyed {
    /// Canonical bytes of (view, key): the same for all that must meet at one owner.
    pub fn owner_bytes(&self, into: &mut Vec<u8>) {
        put_count(self.view as u64, into);
        put_text(&self.key, into);
    }

    /// Self-delimiting bytes.
    pub fn encode(&self, into: &mut Vec<u8>) {
        self.owner_bytes(into);
        let Entry { events, newest, fields } = &self.entry;
        put_count(*events, into);
        put_moment(*newest, into);
        put_count(fields.len() as u64, into);
        for field in fields {
            into.push(u8::from(field.is_some()));
            if let Some((moment, json)) = field {
                put_moment(*moment, into);
                put_text(json, into);
            }
        }
    }

    /// Takes one off the front of `rest`.
    ///
    /// # Errors
    /// If the bytes are no entry of this plan.
    pub fn decode(plan: &Plan, rest: &mut &[u8]) -> Result<Self, NotAPane> {
        let view = usize::try_from(take_count(rest)?).map_err(|_| NotAPane("a view's number out of range"))?;
        let Some(of_plan) = plan.views.get(view) else { return Err(NotAPane("a view that the plan does not have")) };
        let key = take_text(rest)?;
        let events = take_count(rest)?;
        let newest = take_moment(rest)?;
        if take_count(rest)? != of_plan.latest.len() as u64 {
            return Err(NotAPane("an entry of another view"));
        }
        let field = |_| match take(rest)? {
            [0] => Ok(None),
            [1] => Ok(Some((take_moment(rest)?, take_text(rest)?))),
            _ => Err(NotAPane("neither a value nor none")),
        };
        let fields = of_plan.latest.iter().map(field).collect::<Result<_, _>>()?;
        Ok(Self { view, key, entry: Entry { events, newest, fields } })
    }
}

pub(super) fn put_moment((time, offset): Moment, into: &mut Vec<u8>) {
    into.extend_from_slice(&time.0.to_le_bytes());
    into.extend_from_slice(&offset.0.to_le_bytes());
}

pub(super) fn take_moment(rest: &mut &[u8]) -> Result<Moment, NotAPane> {
    Ok((Micros(i64::from_le_bytes(take(rest)?)), Offset(u64::from_le_bytes(take(rest)?))))
}

/// The entries of all keys that one worker owns.
#[derive(Debug)]
pub struct Views {
    plan: Arc<Plan>,
    /// By view.
    entries: Vec<HashMap<Arc<str>, Entry, foldhash::fast::RandomState>>,
    /// Into which something came in this epoch.
    changed: BTreeSet<(usize, Arc<str>)>,
}

impl Views {
    #[must_use]
    pub fn new(plan: Arc<Plan>) -> Self {
        Self { entries: plan.views.iter().map(|_| HashMap::default()).collect(), plan, changed: BTreeSet::new() }
    }

    /// Merges what came of an epoch.
    pub fn merge(&mut self, keyed: Keyed) {
        self.changed.insert((keyed.view, Arc::clone(&keyed.key)));
        self.put(keyed);
    }

    /// Puts an entry out of a checkpoint in its place.
    pub fn restore(&mut self, keyed: Keyed) {
        self.put(keyed);
    }

    fn put(&mut self, Keyed { view, key, entry }: Keyed) {
        let Some(entries) = self.entries.get_mut(view) else { panic!("view {view} is none of the plan's") };
        match entries.get_mut(&key) {
            Some(known) => known.merge(&entry),
            None => drop(entries.insert(key, entry)),
        }
    }

    /// Ends an epoch: the rows of the keys that changed, in order.
    pub fn finish(&mut self, epoch: Epoch) -> Vec<ViewRow> {
        let changed = std::mem::take(&mut self.changed);
        let row = |(view, key): (usize, Arc<str>)| {
            let (of_plan, entry) = (self.plan.views.get(view)?, self.entries.get(view)?.get(&key)?);
            Some(ViewRow {
                view,
                value: object(of_plan, entry.fields.iter().map(|field| field.as_ref().map(|(_, json)| json))),
                key,
                events: entry.events,
                time: entry.newest.0,
                offset: entry.newest.1,
                epoch,
            })
        };
        changed.into_iter().filter_map(row).collect()
    }

    /// Ends an epoch of which no rows are asked for.
    pub fn pass(&mut self) {
        self.changed.clear();
    }

    /// Ends the last epoch: the rows of all keys, in order.
    pub fn finish_all(&mut self, epoch: Epoch) -> Vec<ViewRow> {
        let keys = |(view, entries): (usize, &HashMap<Arc<str>, Entry, _>)| {
            entries.keys().map(|key| (view, Arc::clone(key))).collect::<Vec<_>>()
        };
        self.changed = self.entries.iter().enumerate().flat_map(keys).collect();
        self.finish(epoch)
    }

    /// Number of keys kept.
    #[must_use]
    pub fn len(&self) -> usize {
        self.entries.iter().map(HashMap::len).sum()
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Every entry, in no particular order.
    pub fn iter(&self) -> impl Iterator<Item = Keyed> {
        self.entries.iter().enumerate().flat_map(|(view, entries)| {
            entries.iter().map(move |(key, entry)| Keyed { view, key: Arc::clone(key), entry: entry.clone() })
        })
    }
}

/// A longer key names no entry: databases index keys, and PostgreSQL's index takes some 2,700 bytes.
pub const KEY_BYTES_MAX: usize = 1_024;

/// A group's value as a key; null is none, nor is a text that is empty or too long.
#[must_use]
pub fn key(value: &GroupValue) -> Option<Arc<str>> {
    match value {
        GroupValue::Text(text) => (1..=KEY_BYTES_MAX).contains(&text.len()).then(|| Arc::clone(text)),
        other => plain(other),
    }
}

/// The text of a value that is none itself.
fn plain(value: &GroupValue) -> Option<Arc<str>> {
    match value {
        GroupValue::Null | GroupValue::Text(_) => None,
        GroupValue::Bool(value) => Some(value.to_string().into()),
        GroupValue::Integer(value) => Some(value.to_string().into()),
    }
}

/// A column's value in a row as JSON; None where the event does not have it. A computed null is none either.
#[must_use]
pub fn json(column: &Column, row: usize) -> Option<Arc<str>> {
    match column {
        Column::Json(values) => values[row].clone(),
        Column::Integer(values) => values[row].map(|value| value.to_string().into()),
        Column::Number(values) => values[row].map(|value| serde_json::Value::from(value).to_string().into()),
        Column::Boolean(values) => values[row].map(|value| value.to_string().into()),
        Column::Group { codes, dictionary } => match &dictionary[codes[row] as usize] {
            GroupValue::Text(text) => Some(json::string(text).into()),
            other => plain(other),
        },
    }
}

/// The fields as one JSON object; those that are not there are left out.
#[must_use]
pub fn object<'a>(view: &ViewPlan, fields: impl Iterator<Item = Option<&'a Arc<str>>>) -> String {
    let mut object = Object::new();
    for ((name, _), value) in view.latest.iter().zip(fields) {
        if let Some(value) = value {
            object.member(name, value);
        }
    }
    object.finish()
}
