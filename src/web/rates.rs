//! What is counted, by the second: differences of two looks at the status, about a second apart.

use std::collections::BTreeMap;

use crate::coordinator::status::{Named, Status, Totals};
use crate::core::ledger::Counts;
use crate::core::units::Millis;

/// The least time between two looks of which rates are told.
const SPAN_MIN: Millis = Millis(1000);

/// By the second, over the last one or so.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Rates {
    pub accepted: f64,
    pub committed: f64,
    /// By worker.
    pub rank_events: Vec<f64>,
    /// Rank 0's seconds on a core, then each worker's.
    pub cpu_cores: Vec<f64>,
    /// Counted, duplicate, filtered, invalid, late.
    pub topics: BTreeMap<Option<String>, [f64; 5]>,
    /// By window.
    pub rows: BTreeMap<Named, f64>,
}

/// Looks at the status now and then.
#[derive(Default)]
pub struct Meter {
    from: Option<(Millis, Status)>,
    rates: Rates,
}

impl Meter {
    /// True if there are new rates.
    pub fn look(&mut self, up: Millis, status: &Status) -> bool {
        let Some((since, then)) = &self.from else {
            self.from = Some((up, status.clone()));
            return false;
        };
        let span_ms = up.0.saturating_sub(since.0);
        if span_ms < SPAN_MIN.0 {
            return false;
        }
        self.rates = between(then, status, span_ms as f64 / 1e3);
        self.from = Some((up, status.clone()));
        true
    }

    pub fn rates(&self) -> &Rates {
        &self.rates
    }
}

fn between(then: &Status, now: &Status, seconds: f64) -> Rates {
    let rate = |now: u64, then: u64| now.saturating_sub(then) as f64 / seconds;
    let cpu_then = std::iter::once(&then.rank0).chain(then.ranks.iter().map(|rank| &rank.process));
    let cpu_now = std::iter::once(&now.rank0).chain(now.ranks.iter().map(|rank| &rank.process));
    let (none, of_none) = (Totals::default(), Counts::default());
    // Where the totals were not known before, nothing is known of their rates.
    let (totals_then, totals_now) = match (&then.totals, &now.totals) {
        (Some(then), Some(now)) => (then.as_ref(), now.as_ref()),
        _ => (&none, &none),
    };
    let topics = totals_now.topics.iter().map(|(topic, now)| {
        let then = totals_then.topics.get(topic).unwrap_or(&of_none);
        let rates = fates(now).into_iter().zip(fates(then)).map(|(now, then)| rate(now, then));
        let mut of_topic = [0.0; 5];
        of_topic.iter_mut().zip(rates).for_each(|(of_topic, rate)| *of_topic = rate);
        (topic.clone(), of_topic)
    });
    let rows = totals_now.rows.iter().map(|(window, &now)| {
        let then = totals_then.rows.get(window).copied().unwrap_or_default();
        (window.clone(), rate(now, then))
    });
    Rates {
        accepted: rate(now.ledger.accepted, then.ledger.accepted),
        committed: rate(now.ledger.counts.total(), then.ledger.counts.total()),
        rank_events: now.ranks.iter().zip(&then.ranks).map(|(now, then)| rate(now.events, then.events)).collect(),
        cpu_cores: cpu_now
            .zip(cpu_then)
            .map(|(now, then)| now.cpu.saturating_sub(then.cpu).as_secs_f64() / seconds)
            .collect(),
        topics: topics.collect(),
        rows: rows.collect(),
    }
}

fn fates(counts: &Counts) -> [u64; 5] {
    let Counts { counted, duplicate, filtered, invalid, late } = *counts;
    [counted, duplicate, filtered, invalid, late]
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::core::ledger::Ledger;

    fn status(accepted: u64, counted: u64) -> Status {
        let counts = Counts { counted, ..Counts::default() };
        let topics = [(Some("a".to_owned()), counts)].into();
        let totals = Some(Arc::new(Totals { topics, ..Totals::default() }));
        Status { ledger: Ledger { accepted, counts, in_flight: accepted - counted }, totals, ..Status::default() }
    }

    #[test]
    fn rates_are_of_a_second_or_more() {
        let mut meter = Meter::default();
        assert!(!meter.look(Millis(0), &status(10, 10)));
        assert!(!meter.look(Millis(999), &status(900, 900)), "it is too soon");
        assert!(meter.look(Millis(2000), &status(1010, 410)));
        let rates = meter.rates();
        let of_topic = rates.topics[&Some("a".to_owned())];
        assert_eq!(
            format!("{} {} {of_topic:?}", rates.accepted, rates.committed),
            "500 200 [200.0, 0.0, 0.0, 0.0, 0.0]"
        );
        assert!(meter.look(Millis(3000), &status(1010, 410)));
        assert_eq!(meter.rates().accepted.to_string(), "0");
    }
}
