//! A pipeline as the engine runs it: what `pipeline::plan` makes of a pipeline file. Immutable, shared by every rank.

use std::sync::Arc;

pub use crate::core::path::FieldPath;
use crate::core::schema::Schema;
use crate::core::units::{Micros, TopicId};

/// One pipeline, checked and resolved.
#[derive(Debug)]
pub struct Plan {
    pub pipeline: String,
    /// The top-level field by which a mixed slab's events name their topic.
    pub topic_field: String,
    pub topics: Vec<TopicPlan>,
    /// Every field that a window's group or metric reads, each once.
    pub columns: Vec<ColumnPlan>,
    pub windows: Vec<WindowPlan>,
    pub audit: Audit,
}

/// What a topic's events look like, and how their time and identity are read.
#[derive(Debug)]
pub struct TopicPlan {
    pub name: String,
    pub schema: Arc<Schema>,
    /// None: the topic's events have no identity and so no duplicates.
    pub id: Option<FieldPath>,
    pub time: FieldPath,
    pub out_of_order: Micros,
    pub max_future: Micros,
    pub idle_after: Micros,
    /// How long an id is remembered.
    pub remember: Micros,
}

/// A field that decode lifts into a column.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ColumnPlan {
    pub path: FieldPath,
    pub kind: ColumnKind,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ColumnKind {
    /// A group's value: string, integer, boolean or null, kept as a code into the slab's dictionary.
    Group,
    /// A metric's argument, exact.
    Integer,
    /// A metric's argument, a finite double.
    Number,
}

/// A place in `Plan::columns`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ColumnId(pub usize);

/// A tumbling window, its group and its metrics.
#[derive(Clone, Debug)]
pub struct WindowPlan {
    pub name: String,
    pub every: Micros,
    /// The group's names (the last part of a path unless that is ambiguous, then the whole path) and columns (of kind Group).
    pub group: Vec<(String, ColumnId)>,
    pub late_allow: Micros,
    pub emit: Micros,
    pub metrics: Vec<(String, Metric)>,
}

/// A metric's function and argument; the column is of kind Integer or Number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Metric {
    Count,
    Sum(ColumnId),
    Mean(ColumnId),
    Min(ColumnId),
    Max(ColumnId),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Audit {
    None,
    Full,
}

impl Plan {
    /// The topic of this name, if the pipeline has it.
    #[must_use]
    pub fn topic(&self, name: &str) -> Option<TopicId> {
        let at = self.topics.iter().position(|t| t.name == name)?;
        u16::try_from(at).ok().map(TopicId)
    }
}
