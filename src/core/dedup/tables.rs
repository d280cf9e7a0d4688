//! Ids in memory: a table for each topic and key group, and how many ids all of them hold.

use std::ops::Range;

use crate::core::columns::EventId;
use crate::core::dedup::bucket::Bucket;
use crate::core::dedup::run::{Cell, Entry};
use crate::core::dedup::table::IdTable;
use crate::core::keygroup::{KEY_GROUPS, KeyGroup};
use crate::core::units::TopicId;

#[derive(Debug)]
pub(super) struct Tables {
    /// By topic, then by key group; those of other owners stay empty.
    tables: Vec<Vec<IdTable>>,
    len: usize,
}

/// The table of one cell.
#[derive(Debug)]
pub(super) struct CellTable<'a> {
    table: &'a mut IdTable,
    /// Of all tables.
    len: &'a mut usize,
}

impl Tables {
    pub(super) fn new(topics: usize) -> Self {
        Self { tables: (0..topics).map(|_| of_topic()).collect(), len: 0 }
    }

    /// Number of ids.
    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// Number of ids of these key groups.
    pub(super) fn len_of(&self, groups: Range<u8>) -> usize {
        let groups = usize::from(groups.start)..usize::from(groups.end);
        self.tables.iter().flat_map(|of_topic| &of_topic[groups.clone()]).map(IdTable::len).sum()
    }

    pub(super) fn topics(&self) -> impl Iterator<Item = TopicId> + use<> {
        (0..self.tables.len()).map(|topic| TopicId(topic as u16))
    }

    pub(super) fn cell(&mut self, cell: Cell) -> CellTable<'_> {
        let of_topic = self.tables.get_mut(usize::from(cell.topic.0));
        let table = of_topic.and_then(|of_topic| of_topic.get_mut(usize::from(cell.group.0)));
        let Some(table) = table else { panic!("topic {} is none of the plan's", cell.topic.0) };
        CellTable { table, len: &mut self.len }
    }

    /// A key group's tables.
    pub(super) fn of_group(&self, group: KeyGroup) -> impl Iterator<Item = (TopicId, &IdTable)> {
        self.topics().zip(self.tables.iter().map(move |of_topic| &of_topic[usize::from(group.0)]))
    }

    /// Forgets the topic's buckets before this one; gives how many ids that were, or None if there is no such topic.
    pub(super) fn forget(&mut self, topic: TopicId, first_remembered: Bucket) -> Option<usize> {
        let tables = self.tables.get_mut(usize::from(topic.0))?;
        let older = tables.iter_mut().filter(|table| table.is_older(first_remembered));
        let forgotten = older.map(|table| table.forget(first_remembered)).sum();
        self.len -= forgotten;
        Some(forgotten)
    }

    /// Forgets all ids of a topic, which may begin anew.
    pub(super) fn retire(&mut self, topic: TopicId) {
        if let Some(tables) = self.tables.get_mut(usize::from(topic.0)) {
            self.len -= tables.iter().map(IdTable::len).sum::<usize>();
            *tables = of_topic();
        }
    }

    /// There are at least so many topics.
    pub(super) fn make_room(&mut self, topics: usize) {
        self.tables.resize_with(topics.max(self.tables.len()), of_topic);
    }
}

impl CellTable<'_> {
    /// Remembers the id; false if it was remembered.
    pub(super) fn insert(&mut self, id: EventId, bucket: Bucket) -> bool {
        let is_new = self.table.insert(id, bucket);
        *self.len += usize::from(is_new);
        is_new
    }

    /// Remembers the id in the later of this bucket and the one that it is remembered in.
    pub(super) fn raise(&mut self, id: EventId, bucket: Bucket) {
        *self.len += usize::from(self.table.raise(id, bucket));
    }

    pub(super) fn get(&self, id: EventId) -> Option<Bucket> {
        self.table.get(id)
    }

    /// Takes what is remembered of this bucket and later ones, in order; the rest stays.
    pub(super) fn take(self, from: Bucket) -> Vec<Entry> {
        let taken = self.table.take(from);
        *self.len -= taken.len();
        taken
    }
}

fn of_topic() -> Vec<IdTable> {
    (0..KEY_GROUPS).map(|_| IdTable::default()).collect()
}
