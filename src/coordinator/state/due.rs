//! When the coordinator cuts: an epoch that is full or old, a silence by which windows close, a checkpoint that is owed.

use crate::coordinator::state::{Now, State};
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
        let settled = self.committing.len() == 0 && !self.checkpointing.is_under_way();
        if settled && self.checkpointing.is_overdue(now, self.draining) {
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
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::coordinator::state::tests::{at, beginning, logged, report, state};
    use crate::wire::{Facts, Message};

    /// The clock ticks through a silence; only these moments have a cut, and none while an epoch is in flight or the log has more to hand out.
    #[test]
    fn a_silence_has_a_time_record_then_one_at_the_windows_deadline() {
        let mut state = state(beginning());
        let facts = |watermark_us: i64, next_close_us: Option<i64>| {
            let (idle_base_us, last_up_ms) = (Some(0), Some(0));
            let clock = Clock { watermark_us, idle_base_us, last_up_ms, next_close_us, coming_us: watermark_us };
            Facts { clocks: vec![clock], ..Facts::default() }
        };
        let open = Some(10_000_000);
        let ready = Message::Ready { pid: 0, host: String::new(), facts: facts(0, open) };
        state.message(0, ready).expect("a message");
        let mut epoch = 0;
        let mut check = |up: u64, cut: Option<Option<u64>>, then: Facts| {
            assert!(state.tick(at(up), false).is_empty(), "the log is not idle");
            let logged = logged(&state.tick(at(up), true));
            assert_eq!(logged.map(|c| c.idle), cut.map(|idle| idle.map(Millis)), "at {up}");
            if logged.is_some() {
                epoch += 1;
                assert!(state.tick(at(up), true).is_empty(), "one is in flight");
                state.message(0, report(epoch, then)).expect("a message");
            }
        };
        check(4_999, None, facts(0, open));
        check(5_000, Some(Some(5_000)), facts(5_000_000, open));
        check(9_999, None, facts(0, open));
        check(10_000, Some(Some(10_000)), facts(10_000_000, open));
        // The watermark has passed the end; the window closes an epoch later.
        check(10_001, Some(None), facts(10_000_000, None));
        check(1_000_000, None, facts(0, None));
    }
}
