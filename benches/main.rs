//! One benchmark binary; a module a subject.

use criterion::{criterion_group, criterion_main};

#[allow(dead_code, reason = "the tests' own plans, of which these use a part")]
#[path = "../tests/it/support/plan.rs"]
mod plan;
mod decode;
mod dedup;
mod expression;
mod aggregate;
mod log;
mod store;

criterion_group!(benches, decode::bench, dedup::bench, expression::bench, aggregate::bench, log::bench, store::bench);
criterion_main!(benches);
