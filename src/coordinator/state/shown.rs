//! What is shown of a job's state.

use crate::coordinator::state::State;
use crate::coordinator::status::PipelineStatus;
use crate::core::plan::PipelinePlan;
use crate::core::units::Micros;
use crate::wire::Facts;

impl State {
    #[must_use]
    pub fn facts(&self) -> &Facts {
        &self.facts
    }

    /// Where each pipeline stands.
    #[must_use]
    pub fn pipelines(&self) -> Vec<PipelineStatus> {
        let of_windows = |pipeline: &PipelinePlan| {
            let windows = self.plan.windows.iter().zip(&self.late_by_window);
            let mine = windows.skip(pipeline.windows.start).take(pipeline.windows.len());
            mine.map(|(window, late)| (window.name.clone(), *late)).collect()
        };
        let pipelines = self.plan.pipelines.iter().zip(&self.expression_errors).enumerate();
        let status = pipelines.map(|(at, (pipeline, &expression_errors))| PipelineStatus {
            name: pipeline.name.clone(),
            watermark: self.facts.clocks.get(at).map(|c| Micros(c.watermark_us)).filter(|w| *w != Micros::MIN),
            expression_errors,
            late: of_windows(pipeline),
        });
        status.collect()
    }

    /// By worker, whether it has no credit left.
    pub fn without_credit(&self) -> impl Iterator<Item = bool> {
        self.workers.with_credit().map(|has_credit| !has_credit)
    }

    /// Of each worker the bytes that it has not decoded, the events that it has, and its facts.
    pub fn workers(&self) -> impl Iterator<Item = (u64, u64, &Facts)> {
        self.workers.each()
    }
}
