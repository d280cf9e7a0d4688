//! The two-step dedup in its steady state: packing an epoch's ids for their owners, an owner's verdicts on them, and forgetting. Then the
//! verdicts on new ids and on duplicates of an owner that remembers 20 million ids: all in memory, and all but a million sealed in files.

use std::hint::black_box;
use std::time::{Duration, Instant};

use criterion::{Criterion, Throughput};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use tempfile::TempDir;

use caudal::core::columns::EventId;
use caudal::core::dedup::bucket::Memory;
use caudal::core::dedup::{IdMemory, Seen, SeenId};
use caudal::core::keygroup::{KeyGroup, Owners};
use caudal::core::units::{Micros, Offset, TopicId};
use caudal::worker::ids::{decide, pack};
use caudal::worker::rows::EpochRows;
use caudal::worker::scratch::Scratch;

/// Events that one worker has in an epoch.
const ROWS: usize = 20_000;
const WORKERS: usize = 2;
/// One id in fifty is a duplicate of the same epoch's.
const DUPLICATE_IN: usize = 50;
const HOUR: i64 = 3_600_000_000;
const BUCKETS: u64 = 32;
/// Epochs that fall into one time bucket of an hour's 32. An owner remembers some 33 · 2 · 20,000 = 1.3 million ids.
const EPOCHS_IN_BUCKET: u64 = 2;
/// Likewise, some 20 million.
const EPOCHS_IN_BUCKET_OF_MANY: u64 = 31;
/// Ids in memory where the others are sealed.
const IN_MEMORY: usize = 1_000_000;

pub fn bench(c: &mut Criterion) {
    let mut random = ChaCha8Rng::seed_from_u64(3);
    let mut group = c.benchmark_group("dedup");
    group.throughput(Throughput::Elements(ROWS as u64));

    let (memories, owners) = ([Memory::lasting(Micros(HOUR))], Owners::new(WORKERS));
    let (rows, ids) = (rows(Micros(0)), epoch(&mut random, DUPLICATE_IN));
    group.bench_function("pack", |b| b.iter(|| pack(black_box(&rows), &ids, Offset(0), &memories, owners)));

    // Each epoch's ids are new ones: what is timed cannot be done twice on one state.
    let mut owner = Owner::new(Seen::new(1), EPOCHS_IN_BUCKET);
    let mut next = || {
        // The same worker's rows twice over would be duplicates; every worker has its own.
        let ids = [(); WORKERS].map(|()| epoch(&mut random, DUPLICATE_IN));
        owner.take(ids)
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

    let folder = TempDir::new().unwrap();
    let runs = Box::new(Scratch::new(folder.path().to_owned(), "worker-0"));
    let in_files = IdMemory { in_memory_max: IN_MEMORY, runs };
    for (name, seen) in [("in memory", Seen::new(1)), ("sealed", Seen::sealing(1, owners.range(0), in_files))] {
        let mut random = ChaCha8Rng::seed_from_u64(4);
        let mut owner = Owner::new(seen, EPOCHS_IN_BUCKET_OF_MANY);
        let mut new = || owner_next(&mut owner, &mut random);
        for _ in 0..(BUCKETS + 3) * EPOCHS_IN_BUCKET_OF_MANY {
            new();
        }
        // With all that it costs to keep them and to forget them.
        group.bench_function(format!("of 20 million {name}, new"), |b| {
            b.iter_custom(|epochs| (0..epochs).map(|_| new()).sum());
        });
        assert!(owner.seen.len() > 19_000_000, "{} ids", owner.seen.len());
        let known = owner.known();
        group.bench_function(format!("of 20 million {name}, duplicates"), |b| {
            b.iter_custom(|epochs| {
                let again = |_| {
                    let any = |()| (0..ROWS).map(|_| Some(known[random.random_range(0..known.len())])).collect();
                    let (decided, duplicates) = owner.decide([(); WORKERS].map(any));
                    assert!(duplicates > 0, "known ids are duplicates");
                    decided
                };
                (0..epochs).map(again).sum()
            });
        });
    }
    group.finish();
}

fn owner_next(owner: &mut Owner, random: &mut ChaCha8Rng) -> Duration {
    let (decided, forgotten) = owner.take([(); WORKERS].map(|()| epoch(random, usize::MAX)));
    decided + forgotten
}

/// The first of the workers, as owner.
struct Owner {
    seen: Seen,
    epochs_in_bucket: u64,
    number: u64,
}

impl Owner {
    fn new(seen: Seen, epochs_in_bucket: u64) -> Self {
        Self { seen, epochs_in_bucket, number: 0 }
    }

    /// An epoch's ids, by worker: how long it takes to decide them, and to forget what is then forgotten.
    fn take(&mut self, ids: [Vec<Option<EventId>>; WORKERS]) -> (Duration, Duration) {
        let (decided, _) = self.decide(ids);
        self.number += 1;
        let first = Memory::lasting(Micros(HOUR)).first_remembered(self.time());
        let begin = Instant::now();
        self.seen.forget(TopicId(0), first).unwrap();
        let forgotten = begin.elapsed();
        self.seen.take_fresh();
        (decided, forgotten)
    }

    /// Also tells how many were duplicates.
    fn decide(&mut self, ids: [Vec<Option<EventId>>; WORKERS]) -> (Duration, u32) {
        let (memories, owners) = ([Memory::lasting(Micros(HOUR))], Owners::new(WORKERS));
        let time = self.time();
        let entries = ids.map(|ids| pack(&rows(time), &ids, Offset(0), &memories, owners).entries.swap_remove(0));
        let begin = Instant::now();
        let verdicts = decide(&entries, 1, owners, 0, &mut self.seen).unwrap();
        let decided = begin.elapsed();
        (decided, verdicts.iter().flatten().map(|bits| bits.count_ones()).sum())
    }

    /// The time of an epoch's events.
    fn time(&self) -> Micros {
        Micros(self.number as i64 * HOUR / BUCKETS as i64 / self.epochs_in_bucket as i64)
    }

    fn known(&self) -> Vec<EventId> {
        let mut known = Vec::with_capacity(self.seen.len());
        for group in Owners::new(WORKERS).range(0).map(KeyGroup) {
            self.seen.each(group, |SeenId { id, .. }| known.push(id)).unwrap();
        }
        known
    }
}

fn epoch(random: &mut ChaCha8Rng, duplicate_in: usize) -> Vec<Option<EventId>> {
    let mut ids: Vec<Option<EventId>> = (0..ROWS).map(|_| Some(EventId(random.random()))).collect();
    for row in (duplicate_in..ROWS).step_by(duplicate_in) {
        ids[row] = ids[row - 1];
    }
    ids
}

fn rows(time: Micros) -> EpochRows {
    EpochRows {
        offset: (0..ROWS as u64).map(Offset).collect(),
        topic: vec![TopicId(0); ROWS],
        time: vec![time; ROWS],
        place: vec![(0, 0); ROWS],
        number: (0..ROWS as u32).collect(),
        fields: Vec::new(),
    }
}
