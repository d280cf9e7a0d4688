//! From receipt to committed: quantiles over the newest events. It knows no clock.

use std::collections::VecDeque;

use hdrhistogram::Histogram;

use crate::core::units::{Millis, Offset};

/// Quantiles cover one to two of these.
const SPAN: Millis = Millis(10_000);
/// Longer waits count as this: an hour.
const LATENCY_MS_MAX: u64 = 3_600_000;
/// Digits that a quantile keeps.
const DIGITS: u8 = 2;

/// Slabs that were handed out and are not committed, and how long those before them took.
#[derive(Debug)]
pub struct Latency {
    waiting: VecDeque<(Offset, u64, Millis)>,
    now: Histogram<u64>,
    before: Histogram<u64>,
    turned: Millis,
}

impl Default for Latency {
    fn default() -> Self {
        let empty = || match Histogram::new_with_bounds(1, LATENCY_MS_MAX, DIGITS) {
            Ok(histogram) => histogram,
            Err(error) => panic!("the bounds are constants: {error}"),
        };
        Self { waiting: VecDeque::new(), now: empty(), before: empty(), turned: Millis(0) }
    }
}

impl Latency {
    /// A slab of `count` events up to `end`, taken in at `ingest`, is on its way.
    pub fn dispatched(&mut self, end: Offset, count: u64, ingest: Millis) {
        self.waiting.push_back((end, count, ingest));
    }

    /// Everything up to `end` is committed; `each` is told how long so many events took.
    pub fn committed(&mut self, end: Offset, now: Millis, mut each: impl FnMut(Millis, u64)) {
        if now.0.saturating_sub(self.turned.0) >= SPAN.0 {
            std::mem::swap(&mut self.now, &mut self.before);
            self.now.reset();
            self.turned = now;
        }
        while let Some(&(_, count, ingest)) = self.waiting.front().filter(|(slab_end, ..)| *slab_end <= end) {
            self.waiting.pop_front();
            let waited = now.0.saturating_sub(ingest.0).max(1);
            self.now.saturating_record_n(waited, count);
            each(Millis(waited), count);
        }
    }

    /// Half and 99 % of the newest events took at most so long; None before the first.
    #[must_use]
    pub fn quantiles(&self) -> Option<(Millis, Millis)> {
        let mut both = self.before.clone();
        both.add(&self.now).ok()?;
        let at = |share: f64| Millis(both.value_at_quantile(share));
        (!both.is_empty()).then(|| (at(0.5), at(0.99)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_weighted_by_events() {
        let mut latency = Latency::default();
        assert_eq!(latency.quantiles(), None);
        latency.dispatched(Offset(98), 98, Millis(1000));
        latency.dispatched(Offset(100), 2, Millis(1010));
        let mut told = Vec::new();
        latency.committed(Offset(98), Millis(1020), |waited, count| told.push((waited.0, count)));
        assert_eq!(latency.quantiles(), Some((Millis(20), Millis(20))));
        latency.committed(Offset(100), Millis(1110), |waited, count| told.push((waited.0, count)));
        assert_eq!(told, [(20, 98), (100, 2)]);
        assert_eq!(latency.quantiles(), Some((Millis(20), Millis(100))));
    }
}
