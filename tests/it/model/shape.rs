//! What there is of a plan at a time, and what it says: a change of the pipelines takes things away, brings them, or says other things of them.

use std::sync::Arc;

use caudal::core::plan::{PipelinePlan, Plan};

/// By place in the plan, whether it is there.
#[derive(Clone, Debug)]
pub struct Shape {
    /// No two shapes of a log have the same.
    pub version: usize,
    pub pipelines: Vec<bool>,
    pub windows: Vec<bool>,
    pub views: Vec<bool>,
    pub alerts: Vec<bool>,
    pub emits: Vec<bool>,
    pub webhooks: Vec<bool>,
    /// By pipeline the epoch after which it was last begun anew; 0: it never was.
    pub lives: Vec<u64>,
    /// A pipeline that is new in it and begins with the log's past: its place, and the last epoch that it knows nothing of.
    pub past: Option<(usize, u64)>,
    /// The plan with all its places, as it says things now; None: as at first.
    pub says: Option<Arc<Plan>>,
    /// By topic, which of its schemas it has.
    pub schemas: Vec<usize>,
}

impl Shape {
    /// Everything is there.
    pub fn whole(plan: &Plan) -> Self {
        Self {
            version: 0,
            pipelines: vec![true; plan.pipelines.len()],
            windows: vec![true; plan.windows.len()],
            views: vec![true; plan.views.len()],
            alerts: vec![true; plan.alerts.len()],
            emits: vec![true; plan.emits.len()],
            webhooks: vec![true; plan.webhooks.len()],
            lives: vec![0; plan.pipelines.len()],
            past: None,
            says: None,
            schemas: vec![0; plan.topics.len()],
        }
    }

    /// The plan as it says things now, if `first` is what it said at first.
    pub fn plan<'p>(&'p self, first: &'p Plan) -> &'p Plan {
        self.says.as_deref().unwrap_or(first)
    }

    /// Whether the pipeline of this place is there before and after, and begins anew with the next shape.
    pub fn renews(&self, next: &Self, pipeline: usize) -> bool {
        self.pipelines[pipeline] && next.pipelines[pipeline] && self.lives[pipeline] != next.lives[pipeline]
    }

    /// Under which name the pipeline's rows are known.
    pub fn identity(&self, plan: &Plan, pipeline: usize) -> String {
        identity(&plan.pipelines[pipeline].name, self.lives[pipeline])
    }

    /// The pipelines that are there and read the topic, with their places.
    pub fn readers<'p>(&'p self, plan: &'p Plan, topic: usize) -> impl Iterator<Item = (usize, &'p PipelinePlan)> {
        let there = plan.pipelines.iter().enumerate().filter(|(at, _)| self.pipelines[*at]);
        there.filter(move |(_, pipeline)| super::event::reads(pipeline, topic))
    }

    /// Whether something that is there makes the topic.
    pub fn is_made(&self, plan: &Plan, topic: usize) -> bool {
        let is_it = |of: usize| of == topic;
        let windows = plan.windows.iter().zip(&self.windows).filter(|(_, there)| **there);
        let alerts = plan.alerts.iter().zip(&self.alerts).filter(|(_, there)| **there);
        let emits = plan.emits.iter().zip(&self.emits).filter(|(_, there)| **there);
        windows.filter_map(|(window, _)| window.topic).any(|topic| is_it(usize::from(topic.0)))
            || alerts.filter_map(|(alert, _)| alert.topic).any(|topic| is_it(usize::from(topic.0)))
            || emits.map(|(emit, _)| emit.topic).any(|topic| is_it(usize::from(topic.0)))
    }

    /// Whether the job has the topic: from outside, some pipeline reads it; otherwise, something makes it.
    pub fn has(&self, plan: &Plan, topic: usize) -> bool {
        match plan.topics[topic].emitted {
            None => self.readers(plan, topic).next().is_some(),
            Some(_) => self.is_made(plan, topic),
        }
    }
}

/// Under which name the rows of a pipeline are known in the life that began after this epoch.
pub fn identity(pipeline: &str, life: u64) -> String {
    if life == 0 { pipeline.to_owned() } else { format!("{pipeline}@{life}") }
}
