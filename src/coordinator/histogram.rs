//! How long things took, counted by their durations. Each is counted twice: in buckets whose bounds people read, and in finer ones, from which any quantile
//! can be told to a few hundredths. Any thread may count.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// The bounds of coarse buckets, in seconds.
pub const BOUNDS: [f64; 18] = [
    0.0001, 0.000_25, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 60.0, 600.0,
];
/// Fine bounds double in two to the power of this many steps: each is 9 % above the one before. (Prometheus' native histograms call it their schema.)
pub const SCHEMA: i8 = 3;
const STEPS: f64 = (1 << SCHEMA) as f64;
/// The fine bucket of index i has durations up to 2^(i / STEPS) seconds. The first one has shorter ones too: 8 µs …
const FIRST: i32 = -17 << SCHEMA;
/// … and the last one longer ones: 68 minutes.
const LAST: i32 = 12 << SCHEMA;
const FINE: usize = (LAST - FIRST + 1) as usize;

/// Durations since the process began.
#[derive(Debug)]
pub struct Histogram(Mutex<Counted>);

#[derive(Clone, Debug)]
struct Counted {
    /// By bound; the last one has what is above them all.
    coarse: [u64; BOUNDS.len() + 1],
    fine: [u64; FINE],
    sum_s: f64,
}

/// What was counted so far.
#[derive(Clone, Debug, PartialEq)]
pub struct Durations {
    pub count: u64,
    pub sum_s: f64,
    /// By bound, in seconds: durations up to it and above the one before; the last bound is infinite.
    pub coarse: Vec<(f64, u64)>,
    /// By index, in order: those that are not empty.
    pub fine: Vec<(i32, u64)>,
}

impl Default for Histogram {
    fn default() -> Self {
        Self(Mutex::new(Counted { coarse: [0; BOUNDS.len() + 1], fine: [0; FINE], sum_s: 0.0 }))
    }
}

impl Histogram {
    /// So many things took so long, each.
    pub fn count(&self, took: Duration, times: u64) {
        let seconds = took.as_secs_f64();
        let coarse = BOUNDS.partition_point(|bound| *bound < seconds);
        let fine = index(seconds);
        let mut counted = self.lock();
        counted.coarse[coarse] += times;
        counted.fine[fine] += times;
        counted.sum_s += seconds * times as f64;
    }

    #[must_use]
    pub fn get(&self) -> Durations {
        let Counted { coarse, fine, sum_s } = self.lock().clone();
        let bounds = BOUNDS.into_iter().chain([f64::INFINITY]);
        Durations {
            count: fine.iter().sum(),
            sum_s,
            coarse: bounds.zip(coarse).collect(),
            fine: (FIRST..).zip(fine).filter(|(_, count)| *count > 0).collect(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Counted> {
        // Sums and counts: a panic leaves no state in between that would be worse than one duration too few.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The place of the fine bucket: the least bound that is not below the duration.
fn index(seconds: f64) -> usize {
    let exact = (seconds.log2() * STEPS).ceil();
    // Of zero the logarithm is minus infinity.
    let bounded = exact.clamp(f64::from(FIRST), f64::from(LAST));
    (bounded as i32 - FIRST) as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_counted_up_to_bounds() {
        let histogram = Histogram::default();
        for (micros, times) in [(0, 1), (1, 1), (1000, 3), (1001, 1), (1_000_000, 1), (7_200_000_000, 2)] {
            histogram.count(Duration::from_micros(micros), times);
        }
        let got = histogram.get();
        assert_eq!(got.count, 9);
        assert!((got.sum_s - 14_401.004_002).abs() < 1e-6, "{}", got.sum_s);
        let coarse: Vec<_> = got.coarse.iter().filter(|(_, count)| *count > 0).copied().collect();
        assert_eq!(coarse, [(0.0001, 2), (0.001, 3), (0.0025, 1), (1.0, 1), (f64::INFINITY, 2)]);
        // 2^(-79/8) is 1.07 ms, 2^0 is 1 s.
        assert_eq!(got.fine, [(FIRST, 2), (-79, 4), (0, 1), (LAST, 2)]);
    }

    #[test]
    fn every_duration_lies_within_its_fine_bucket() {
        for micros in (10..4_000_000_000_u64).step_by(1_234_567) {
            let seconds = Duration::from_micros(micros).as_secs_f64();
            let at = index(seconds) as i32 + FIRST;
            let bound = |at: i32| (f64::from(at) / STEPS).exp2();
            assert!(bound(at - 1) < seconds && seconds <= bound(at), "{seconds} s");
        }
    }
}
