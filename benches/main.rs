//! One benchmark binary; a module a subject.

use criterion::{criterion_group, criterion_main};

mod decode;
mod dedup;
mod aggregate;
mod log;
mod store;

criterion_group!(benches, decode::bench, dedup::bench, aggregate::bench, log::bench, store::bench);
criterion_main!(benches);
