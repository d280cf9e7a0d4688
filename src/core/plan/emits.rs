//! Events that the job makes: of what, and what stands in them.

use crate::core::plan::ColumnId;
use crate::core::units::{Micros, TopicId};

/// Events that are made of events.
#[derive(Clone, Debug)]
pub struct EmitPlan {
    /// The pipeline's place in `Plan::pipelines`.
    pub pipeline: usize,
    /// The topic that it makes.
    pub topic: TopicId,
    pub source: Source,
    pub body: Vec<BodyField>,
}

/// What events are made of.
#[derive(Clone, Debug)]
pub enum Source {
    /// Each of one event.
    Events {
        /// The topics whose events it is made of, in ascending order.
        from: Vec<TopicId>,
        /// Of which events; a column of kind Boolean. None: of all.
        when: Option<ColumnId>,
    },
    /// Each of two.
    Join(JoinPlan),
}

/// Two events with one key that are close to each other in time.
#[derive(Clone, Debug)]
pub struct JoinPlan {
    pub sides: [JoinSide; 2],
    /// How far they may lie apart.
    pub within: Micros,
}

#[derive(Clone, Copy, Debug)]
pub struct JoinSide {
    /// Another one than the other side's.
    pub topic: TopicId,
    /// Of kind Group; an event in which it is null meets nothing.
    pub key: ColumnId,
    /// Of which events; a column of kind Boolean. None: of all.
    pub when: Option<ColumnId>,
}

impl EmitPlan {
    /// The body's fields that an event of this side gives.
    pub fn of_side(&self, side: usize) -> impl Iterator<Item = &BodyField> {
        self.body.iter().filter(move |field| field.side == side)
    }
}

/// One field of an event that is emitted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BodyField {
    pub name: String,
    /// Of any kind.
    pub column: ColumnId,
    /// The column holds moments, which are written as RFC 3339.
    pub moment: bool,
    /// Of which of a join's two events it is; 0 where there is but one.
    pub side: usize,
}
