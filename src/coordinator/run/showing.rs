//! What pages and metrics see of the loop.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use crate::coordinator::run::{Coordinator, Turn};
use crate::coordinator::state::Now;
use crate::coordinator::status::{Phase, ProcessStatus, RankStatus};
use crate::coordinator::totals::Totals;
use crate::core::keygroup::Owners;
use crate::transport::process;

/// Back-pressure is of so many of the newest statuses: of a second.
const PRESSED_OVER: usize = 5;

/// How often a worker had no credit left.
#[derive(Clone, Debug)]
pub(super) struct Pressed {
    /// For each of the newest statuses: the loop's turns since the one before it, and those without credit.
    newest: VecDeque<(u32, u32)>,
}

impl Default for Pressed {
    fn default() -> Self {
        Self { newest: VecDeque::from([(0, 0)]) }
    }
}

impl Pressed {
    pub(super) fn turn(&mut self, is_full: bool) {
        if let Some((turns, full)) = self.newest.back_mut() {
            *turns += 1;
            *full += u32::from(is_full);
        }
    }

    /// The share of turns without credit; those to come are of the next status.
    fn share(&mut self) -> f64 {
        let (turns, full) = self.newest.iter().fold((0, 0), |(turns, full), one| (turns + one.0, full + one.1));
        self.newest.push_back((0, 0));
        if self.newest.len() > PRESSED_OVER {
            self.newest.pop_front();
        }
        f64::from(full) / f64::from(turns.max(1))
    }
}

impl Coordinator<'_> {
    /// What the committed events have come to, once the replay has caught up.
    pub(super) fn totals(&self, turn: &Turn) -> Option<Arc<Totals>> {
        (turn.phase != Phase::Replaying).then(|| Arc::new(self.state.totals().clone()))
    }

    pub(super) fn show(&self, turn: &mut Turn, now: Now) {
        turn.shown = now.awake;
        (turn.rank0.cpu, turn.rank0.memory_bytes) = (process::cpu(), process::memory_bytes());
        let owners = Owners::new(turn.processes.len());
        let credit_bytes = self.state.credit_bytes();
        let views = self.state.workers().zip(&turn.processes).zip(&mut turn.pressed).enumerate();
        let ranks = views.map(|(worker, ((shown, process), pressed))| RankStatus {
            rank: worker + 1,
            process: ProcessStatus {
                cpu: Duration::from_millis(shown.figures.cpu_ms),
                memory_bytes: shown.figures.memory_bytes,
                ..process.clone()
            },
            events: shown.events,
            queue_bytes: shown.queued,
            credit_bytes,
            back_pressure: pressed.share(),
            key_groups: owners.range(worker).len() as u32,
            ids: shown.facts.ids,
            panes: shown.facts.panes.iter().sum(),
            keys: shown.facts.keys,
        });
        let ranks = ranks.collect();
        let pipelines = self.state.pipelines();
        let totals = self.totals(turn);
        self.status.update(|s| {
            s.phase = turn.phase;
            s.generation = self.generation;
            s.changed = self.state.changed();
            s.replayed = self.state.dispatched();
            s.checkpoint = turn.checkpoint;
            s.pipelines = pipelines;
            s.rank0 = turn.rank0.clone();
            s.ranks = ranks;
            s.totals = totals;
            (s.latency_p50, s.latency_p99) = turn.latency.quantiles().unzip();
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn back_pressure_is_of_the_newest_statuses() {
        let mut pressed = Pressed::default();
        let mut told = Vec::new();
        for status in 0..7 {
            (0..10).for_each(|_| pressed.turn(status < 2));
            told.push(pressed.share());
        }
        assert_eq!(told, [1.0, 1.0, 2.0 / 3.0, 0.5, 0.4, 0.2, 0.0]);
    }
}
