//! What a log's events have come to by topic, window and alert: a function of the log as the results are, so a life takes it from its checkpoint, and a
//! replay comes to the same.

use std::collections::{BTreeMap, VecDeque};

use crate::coordinator::gather::Results;
use crate::core::ledger::Counts;
use crate::core::plan::Plan;
use crate::core::units::Epoch;

/// Names of a pipeline, and of one of its windows or alerts.
pub type Named = (String, String);

/// Since the log began. Not in it: what the past of a new pipeline came to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// By the topic's name; None: events that name no topic of the job's.
    pub topics: BTreeMap<Option<String>, Counts>,
    /// Rows that were published, revisions among them, by window.
    pub rows: BTreeMap<Named, u64>,
    /// Alerts that were raised, by alert.
    pub alerts: BTreeMap<Named, u64>,
}

impl Totals {
    /// What one epoch adds.
    #[must_use]
    pub fn of(plan: &Plan, results: &Results) -> Self {
        let mut totals = Self::default();
        for (at, counts) in results.by_topic.iter().enumerate().filter(|(_, counts)| counts.total() > 0) {
            let name = plan.topics.get(at).map(|topic| topic.name.clone());
            *totals.topics.entry(name).or_default() += *counts;
        }
        let mut of_windows = vec![0; plan.windows.len()];
        results.rows.iter().for_each(|row| of_windows[row.window] += 1);
        let mut of_alerts = vec![0; plan.alerts.len()];
        results.alerts.iter().filter(|row| row.cleared.is_none()).for_each(|row| of_alerts[row.alert] += 1);
        let pipeline = |at: usize| plan.pipelines[at].name.clone();
        let windows = plan.windows.iter().map(|window| (pipeline(window.pipeline), window.name.clone()));
        totals.rows = windows.zip(of_windows).filter(|(_, rows)| *rows > 0).collect();
        let alerts = plan.alerts.iter().map(|alert| (pipeline(alert.pipeline), alert.name.clone()));
        totals.alerts = alerts.zip(of_alerts).filter(|(_, raised)| *raised > 0).collect();
        totals
    }

    fn add(&mut self, more: Self) {
        for (topic, counts) in more.topics {
            *self.topics.entry(topic).or_default() += counts;
        }
        for (window, rows) in more.rows {
            *self.rows.entry(window).or_default() += rows;
        }
        for (alert, raised) in more.alerts {
            *self.alerts.entry(alert).or_default() += raised;
        }
    }
}

/// The totals as epochs finish, and as they are committed: what is shown never goes back, whatever dies in between.
#[derive(Debug)]
pub(super) struct Totalling {
    finished: Totals,
    committed: Totals,
    /// Of epochs that are finished and not committed.
    waiting: VecDeque<(Epoch, Totals)>,
}

impl Totalling {
    /// After the epochs that came to this.
    pub(super) fn new(totals: Totals) -> Self {
        Self { committed: totals.clone(), finished: totals, waiting: VecDeque::new() }
    }

    /// An epoch comes to this; where the store has it, it is committed too.
    pub(super) fn finish(&mut self, epoch: Epoch, totals: Totals, is_stored: bool) {
        self.finished.add(totals.clone());
        if is_stored {
            self.committed.add(totals);
        } else {
            self.waiting.push_back((epoch, totals));
        }
    }

    /// The epochs up to this one are committed.
    pub(super) fn commit(&mut self, upto: Epoch) {
        while let Some((_, totals)) = self.waiting.pop_front_if(|(epoch, _)| *epoch <= upto) {
            self.committed.add(totals);
        }
    }

    pub(super) fn finished(&self) -> &Totals {
        &self.finished
    }

    pub(super) fn committed(&self) -> &Totals {
        &self.committed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(counted: u64) -> Totals {
        let counts = Counts { counted, ..Counts::default() };
        Totals { topics: [(Some("a".to_owned()), counts)].into(), ..Totals::default() }
    }

    #[test]
    fn what_is_shown_is_committed() {
        let mut totalling = Totalling::new(of(10));
        totalling.finish(Epoch(7), of(1), true);
        totalling.finish(Epoch(8), of(2), false);
        totalling.finish(Epoch(9), of(4), false);
        assert_eq!((totalling.committed(), totalling.finished()), (&of(11), &of(17)));
        totalling.commit(Epoch(8));
        assert_eq!(totalling.committed(), &of(13));
        totalling.commit(Epoch(9));
        assert_eq!(totalling.committed(), totalling.finished());
    }
}
