//! When the coordinator cuts: an epoch that is full or old, a silence by which windows close, a checkpoint that is owed.

use crate::coordinator::state::{CHECKPOINT_LAG_MAX, Now, State};
use crate::core::epoch::Cut;
use crate::core::plan::PipelinePlan;
use crate::core::units::{Micros, Millis};
use crate::wire::Clock;

/// A cut that is due.
#[derive(Clone, Copy, Debug)]
pub(super) enum Due {
    Epoch,
    /// A TIME record with this silence.
    Time(Millis),
}

impl State {
    /// Whether a new cut is due, and of which kind.
    pub(super) fn due(&mut self, now: Now, idle_log: bool) -> Option<Due> {
        if self.dispatched > self.ended.1 {
            let age = now.awake.0.saturating_sub(self.opened.0);
            let full = self.filled_bytes >= self.limits.epoch_bytes;
            return (full || self.draining || age >= self.limits.epoch_age.0).then_some(Due::Epoch);
        }
        if self.mending.is_waiting() || self.changing.is_asked() {
            return Some(Due::Epoch);
        }
        if !idle_log || !self.in_flight.is_empty() {
            return None;
        }
        let settled = self.finished.is_empty() && self.committing.is_empty() && self.draft.is_none();
        if settled && self.bytes_since_checkpoint > 0 && self.is_checkpoint_old(now) {
            // One more epoch, empty, takes the checkpoint without which a drain would not be short to take up, and a full log would stay full.
            return Some(Due::Epoch);
        }
        if self.draining {
            return None;
        }
        if self.emitting.is_under_way() {
            // It will come out of the log, and end an epoch then.
            return None;
        }
        let clocks = || self.plan.pipelines.iter().zip(&self.facts.clocks);
        // Where a watermark has passed a pane's end, or will when those before it are known: panes close one epoch behind it.
        if clocks().any(|(_, clock)| clock.next_close_us.is_some_and(|closes| closes <= clock.coming_us)) {
            return Some(Due::Epoch);
        }
        let is_quiet = |(pipeline, clock): (&PipelinePlan, &Clock)| {
            clock.last_up_ms.is_none() || self.silence(pipeline, clock, now).is_some()
        };
        let untold = !self.timed && clocks().all(is_quiet);
        let waiting = clocks().filter(|(_, clock)| clock.next_close_us.is_some());
        let silent = waiting.filter_map(|(pipeline, clock)| Some((clock, self.silence(pipeline, clock, now)?)));
        let reached = |clock: &Clock, idle: Millis| {
            let passed = clock.idle_base_us.map(|base| Micros(base).plus(idle.micros()).0);
            passed >= clock.next_close_us
        };
        let idle = silent.map(|(clock, idle)| (untold || reached(clock, idle), idle)).max()?;
        if let (true, idle) = idle {
            self.timed = true;
            return Some(Due::Time(idle));
        }
        self.facts.next_emit_ms.is_some_and(|at| now.unix.0 >= at).then_some(Due::Epoch)
    }

    /// How long nothing valid has come for the pipeline, once that is long enough to count.
    fn silence(&self, pipeline: &PipelinePlan, clock: &Clock, now: Now) -> Option<Millis> {
        let idle = Millis(now.up.0.saturating_sub(clock.last_up_ms?));
        let topics = pipeline.topics.iter().filter_map(|topic| self.plan.topics.get(usize::from(topic.0)));
        let enough = topics.map(|t| t.idle_after).max()?;
        (idle.micros() >= enough).then_some(idle)
    }

    fn is_checkpoint_old(&self, now: Now) -> bool {
        let is_old = |at: Millis| now.awake.0.saturating_sub(at.0) >= self.limits.checkpoint_age.0;
        self.draining || self.checkpoint_at.is_none_or(is_old)
    }

    pub(super) fn is_checkpoint_due(&self, cut: Cut, now: Now) -> bool {
        let large = self.bytes_since_checkpoint >= self.limits.checkpoint_bytes;
        let behind =
            self.finished.len() + self.committing.len() > CHECKPOINT_LAG_MAX || cut.epoch < self.progress.epoch;
        self.draft.is_none() && !behind && (large || (self.bytes_since_checkpoint > 0 && self.is_checkpoint_old(now)))
    }
}
