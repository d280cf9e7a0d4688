//! What is shown of a job's state.

use crate::coordinator::state::State;
use crate::coordinator::state::workers::Shown;
use crate::coordinator::status::{PipelineStatus, WindowStatus};
use crate::coordinator::totals::Totals;
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
            let mine = windows.enumerate().skip(pipeline.windows.start).take(pipeline.windows.len());
            let status = mine.map(|(at, (window, late))| WindowStatus {
                name: window.name.clone(),
                late: *late,
                panes: self.facts.panes.get(at).copied().unwrap_or_default(),
            });
            status.collect()
        };
        let pipelines = self.plan.pipelines.iter().zip(&self.expression_errors).enumerate();
        let status = pipelines.map(|(at, (pipeline, &expression_errors))| PipelineStatus {
            name: pipeline.name.clone(),
            watermark: self.facts.clocks.get(at).map(|c| Micros(c.watermark_us)).filter(|w| *w != Micros::MIN),
            expression_errors,
            windows: of_windows(pipeline),
        });
        status.collect()
    }

    /// By worker, whether it has no credit left.
    pub fn without_credit(&self) -> impl Iterator<Item = bool> {
        self.workers.with_credit().map(|has_credit| !has_credit)
    }

    pub fn workers(&self) -> impl Iterator<Item = Shown<'_>> {
        self.workers.each()
    }

    /// Bytes of slabs that may be with one worker.
    #[must_use]
    pub fn credit_bytes(&self) -> u64 {
        self.workers.credit_bytes()
    }

    /// What all committed events have come to.
    #[must_use]
    pub fn totals(&self) -> &Totals {
        self.totals.committed()
    }
}
