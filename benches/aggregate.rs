//! Pre-aggregation and exact sums.

use criterion::Criterion;

pub fn bench(_c: &mut Criterion) {}
