//! From one plan of a job to the next: what goes on, found again by its name, and what does not. Places in the two plans differ; topics have the same numbers in both.
//! `docs/semantics.md`, "Changes of pipelines".

use crate::core::plan::{Plan, TopicPlan};
use crate::core::units::TopicId;

/// By place in the old plan the place in the new one; None: it is gone.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Carry {
    pub pipelines: Vec<Option<usize>>,
    pub windows: Vec<Option<usize>>,
    pub views: Vec<Option<usize>>,
    pub alerts: Vec<Option<usize>>,
    pub emits: Vec<Option<usize>>,
    /// Topics that a pipeline of the old plan reads or makes, and none of the new one.
    pub retired: Vec<TopicId>,
}

impl Carry {
    #[must_use]
    pub fn between(old: &Plan, new: &Plan) -> Self {
        let pipeline = |of: &Plan, at: usize| of.pipeline_name(at).to_owned();
        let was_retired = |at: usize| old.topics.get(at).is_none_or(|topic| topic.retired);
        let newly = |(at, topic): &(usize, &TopicPlan)| topic.retired && !was_retired(*at);
        let retired = new.topics.iter().enumerate().filter(newly);
        Self {
            pipelines: places(&old.pipelines, &new.pipelines, |of| of.name.clone(), |of| of.name.clone()),
            windows: places(
                &old.windows,
                &new.windows,
                |window| (pipeline(old, window.pipeline), window.name.clone()),
                |window| (pipeline(new, window.pipeline), window.name.clone()),
            ),
            views: places(
                &old.views,
                &new.views,
                |view| (pipeline(old, view.pipeline), view.name.clone()),
                |view| (pipeline(new, view.pipeline), view.name.clone()),
            ),
            alerts: places(
                &old.alerts,
                &new.alerts,
                |alert| (pipeline(old, alert.pipeline), alert.name.clone()),
                |alert| (pipeline(new, alert.pipeline), alert.name.clone()),
            ),
            emits: places(
                &old.emits,
                &new.emits,
                |emit| (pipeline(old, emit.pipeline), emit.topic),
                |emit| (pipeline(new, emit.pipeline), emit.topic),
            ),
            retired: retired.filter_map(|(at, _)| u16::try_from(at).ok().map(TopicId)).collect(),
        }
    }

    /// What was kept by place in the old plan, by place in the new one; `fresh` where it was not.
    pub fn moved<T: Clone>(places: &[Option<usize>], kept: &[T], count: usize, fresh: T) -> Vec<T> {
        let mut moved = vec![fresh; count];
        for (to, value) in places.iter().zip(kept) {
            if let Some(slot) = to.and_then(|to| moved.get_mut(to)) {
                slot.clone_from(value);
            }
        }
        moved
    }
}

fn places<T, N: PartialEq>(
    old: &[T],
    new: &[T],
    old_name: impl Fn(&T) -> N,
    new_name: impl Fn(&T) -> N,
) -> Vec<Option<usize>> {
    let names: Vec<N> = new.iter().map(new_name).collect();
    let place = |of: &T| {
        let name = old_name(of);
        names.iter().position(|other| *other == name)
    };
    old.iter().map(place).collect()
}
