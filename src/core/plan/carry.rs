//! From one plan of a job to the next: what goes on, found again by its name, and what does not. A pipeline that is begun anew is another one. Places in the two plans differ; topics have the same numbers in both.
//! `docs/semantics.md`, "Changes of pipelines".

use std::borrow::Cow;

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
    /// Topics whose ids are forgotten: none reads or makes them any more, or ids are remembered in another way.
    pub forgotten: Vec<TopicId>,
    /// Topics whose clocks begin anew, likewise.
    pub stopped: Vec<TopicId>,
}

impl Carry {
    #[must_use]
    pub fn between(old: &Plan, new: &Plan) -> Self {
        let pipeline = |of: &Plan, at: usize| of.identity(at).into_owned();
        let named = |of: &Plan| -> Vec<String> {
            of.pipelines.iter().map(|it| of.lives.identity(&it.name)).map(Cow::into_owned).collect()
        };
        // Topics that were there, and are another thing now.
        let changed = |is_other: fn(&TopicPlan, &TopicPlan) -> bool| -> Vec<TopicId> {
            let topics = (0..).map(TopicId).zip(old.topics.iter().zip(&new.topics));
            let there = topics.filter(|(_, (before, _))| !before.retired);
            there.filter(|(_, (before, after))| after.retired || is_other(before, after)).map(|(id, _)| id).collect()
        };
        Self {
            pipelines: places(&named(old), &named(new), Clone::clone, Clone::clone),
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
            forgotten: changed(|before, after| !before.remembers_as(after)),
            stopped: changed(|before, after| !before.tells_time_as(after)),
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
