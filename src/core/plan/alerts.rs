//! When alerts are raised, and who is told.

use crate::core::expression::Expr;
use crate::core::plan::{ColumnId, GroupField, WindowPlan};
use crate::core::units::{Micros, TopicId};

/// When people, or programs, are to be told.
#[derive(Clone, Debug)]
pub struct AlertPlan {
    /// The pipeline's place in `Plan::pipelines`.
    pub pipeline: usize,
    /// No other alert of the pipeline has it.
    pub name: String,
    pub rule: Rule,
    /// Where it goes as an event when it is raised, and when it is cleared; other alerts of the pipeline may go there too.
    pub topic: Option<TopicId>,
}

#[derive(Clone, Debug)]
pub enum Rule {
    /// A condition on a window's rows, as `having` is.
    Condition {
        /// Its place in `Plan::windows`.
        window: usize,
        when: Expr,
    },
    Anomaly(Anomaly),
    Pattern(Pattern),
}

/// A row whose value is far from those of the group's rows before it.
#[derive(Clone, Copy, Debug)]
pub struct Anomaly {
    /// Its place in `Plan::windows`.
    pub window: usize,
    /// The place of the metric.
    pub metric: usize,
    /// How many rows must be known before one is judged.
    pub history: usize,
    pub detector: Detector,
    /// How long after its last row a group's history is forgotten.
    pub remember: Micros,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Detector {
    /// By how many standard deviations of the last `history` values.
    ZScore(f64),
    /// Likewise, of an exponentially weighted moving average and variance.
    Ewma { weight: f64, deviations: f64 },
}

/// So many events of a kind for one key within a time, without one of another kind between.
#[derive(Clone, Debug)]
pub struct Pattern {
    /// Of kind Group.
    pub key: GroupField,
    /// Which events count; a column of kind Boolean.
    pub count: ColumnId,
    /// Which begin the count anew, and clear the alert; likewise.
    pub unless: Option<ColumnId>,
    pub at_least: usize,
    pub within: Micros,
    /// After how long the alert is cleared by itself.
    pub lasts: Option<Micros>,
}

impl AlertPlan {
    /// What its keys are made of; `windows` are the plan's.
    #[must_use]
    pub fn key_fields<'a>(&'a self, windows: &'a [WindowPlan]) -> &'a [GroupField] {
        match &self.rule {
            Rule::Pattern(pattern) => std::slice::from_ref(&pattern.key),
            Rule::Condition { window, .. } | Rule::Anomaly(Anomaly { window, .. }) => {
                windows.get(*window).map_or(&[], |window| window.group.as_slice())
            }
        }
    }
}

impl Rule {
    /// The window whose rows it looks at.
    #[must_use]
    pub fn window(&self) -> Option<usize> {
        match self {
            Self::Condition { window, .. } => Some(*window),
            Self::Anomaly(anomaly) => Some(anomaly.window),
            Self::Pattern(_) => None,
        }
    }
}

/// Somebody else's address, which is told of alerts.
#[derive(Clone, Debug)]
pub struct WebhookPlan {
    /// The pipeline's place in `Plan::pipelines`.
    pub pipeline: usize,
    /// No other webhook of the pipeline has it.
    pub name: String,
    /// Places in `Plan::alerts`.
    pub alerts: Vec<usize>,
    /// As the file writes it: `${NAME}` stands for a variable of rank 0's environment.
    pub url: String,
    /// How long it is tried.
    pub retry: Micros,
}
