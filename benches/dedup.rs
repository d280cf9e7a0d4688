//! The two-step dedup in its steady state: packing an epoch's ids for their owners, an owner's verdicts on them, and forgetting.

use std::hint::black_box;
use std::time::{Duration, Instant};

use criterion::{Criterion, Throughput};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

use caudal::core::columns::EventId;
use caudal::core::dedup::{Memory, Seen};
use caudal::core::keygroup::Owners;
use caudal::core::units::{Micros, Offset, TopicId};
use caudal::worker::ids::{decide, pack};
use caudal::worker::rows::EpochRows;

/// Events that one worker has in an epoch.
const ROWS: usize = 20_000;
const WORKERS: usize = 2;
/// One id in fifty is a duplicate of the same epoch's.
const DUPLICATE_IN: usize = 50;
const HOUR: i64 = 3_600_000_000;
/// Epochs that fall into one time bucket of an hour's 32. An owner remembers some 32 · 2 · 20,000 = 1.3 million ids.
const EPOCHS_IN_BUCKET: u64 = 2;

pub fn bench(c: &mut Criterion) {
    let memories = [Memory::lasting(Micros(HOUR))];
    let owners = Owners::new(WORKERS);
    let mut random = ChaCha8Rng::seed_from_u64(3);
    let mut group = c.benchmark_group("dedup");
    group.throughput(Throughput::Elements(ROWS as u64));

    let rows = epoch(&mut random, 0);
    group.bench_function("pack", |b| b.iter(|| pack(black_box(&rows), Offset(0), &memories, owners)));

    // Each epoch's ids are new ones: what is timed cannot be done twice on one state.
    let (mut seen, mut number) = (Seen::new(1), 0);
    let mut next = || {
        // The same worker's rows twice over would be duplicates; every worker has its own.
        let ids = [(); WORKERS]
            .map(|()| pack(&epoch(&mut random, number), Offset(0), &memories, owners).entries.swap_remove(0));
        let begin = Instant::now();
        black_box(decide(&ids, 1, owners, 0, &mut seen));
        let decided = begin.elapsed();
        number += 1;
        let begin = Instant::now();
        seen.forget(TopicId(0), memories[0].first_remembered(time(number)));
        let forgotten = begin.elapsed();
        seen.seal();
        (decided, forgotten)
    };
    for _ in 0..40 * EPOCHS_IN_BUCKET {
        next();
    }
    group.bench_function("decide", |b| b.iter_custom(|epochs| (0..epochs).map(|_| next().0).sum()));
    group.bench_function("forget", |b| {
        // Whole buckets: forgetting is nothing in one epoch and much in the next.
        b.iter_custom(|epochs| {
            let forgotten: Duration = (0..epochs * EPOCHS_IN_BUCKET).map(|_| next().1).sum();
            forgotten / EPOCHS_IN_BUCKET as u32
        });
    });
    group.finish();
}

/// The time of an epoch's events.
fn time(epoch: u64) -> Micros {
    Micros(epoch as i64 * HOUR / 32 / EPOCHS_IN_BUCKET as i64)
}

fn epoch(random: &mut ChaCha8Rng, number: u64) -> EpochRows {
    let mut ids: Vec<Option<EventId>> = (0..ROWS).map(|_| Some(EventId(random.random()))).collect();
    for row in (DUPLICATE_IN..ROWS).step_by(DUPLICATE_IN) {
        ids[row] = ids[row - 1];
    }
    EpochRows {
        offset: (0..ROWS as u64).map(Offset).collect(),
        topic: vec![TopicId(0); ROWS],
        time: vec![time(number); ROWS],
        id: ids,
        place: vec![(0, 0); ROWS],
        number: (0..ROWS as u32).collect(),
        fields: Vec::new(),
    }
}
