//! A batch, a live job, and what is made of its log again give the same rows, to the bit: of random pipelines and events that come in any order, none of
//! which is late, refused as future, or forgotten before it comes again.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use caudal::coordinator::backfill::Filling;
use caudal::core::columns::{Numbering, Reason, Slab};
use caudal::core::epoch::{Backfill, Cut};
use caudal::core::plan::Plan;
use caudal::core::row::WindowRow;
use caudal::core::units::{Epoch, Generation, LogId, Micros, Millis, Offset};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use rayon::prelude::*;
use uuid::Uuid;

use super::batch;
use super::changes::{self, Version};
use super::check::live_of;
use super::cluster::{cut_of, slab_of};
use super::net::Sealing;
use super::pipelines::{self, Pipeline};
use crate::memory_store::MemoryStore;
use crate::model::Entry;
use crate::model::shape::Shape;

const SEEDS: u64 = 60;
const LOG: LogId = LogId(3);
/// Farther than any two times lie apart: about 12,700 years.
const FAR: Micros = Micros(400_000_000_000_000_000);
const INGEST_MS: u64 = 1_795_348_800_000;

/// Random pipelines that read nothing that others make, which a batch does not have. No event is late for them, or of the future.
fn pipeline(rng: &mut ChaCha8Rng) -> (Pipeline, Version) {
    let Pipeline { plan, schemas } = pipelines::random(rng);
    let mut whole = changes::copy(&plan);
    for topic in whole.topics.iter_mut().filter(|topic| topic.emitted.is_none()) {
        (topic.out_of_order, topic.max_future, topic.remember) = (FAR, FAR, FAR);
    }
    let mut shape = Shape::whole(&whole);
    for (at, pipeline) in whole.pipelines.iter().enumerate() {
        if pipeline.topics.iter().any(|topic| whole.topics[usize::from(topic.0)].emitted.is_some()) {
            shape.pipelines[at] = false;
            shape.windows[pipeline.windows.clone()].fill(false);
            shape.views[pipeline.views.clone()].fill(false);
            shape.alerts[pipeline.alerts.clone()].fill(false);
            shape.emits[pipeline.emits.clone()].fill(false);
        }
    }
    for (there, webhook) in shape.webhooks.iter_mut().zip(&whole.webhooks) {
        *there = shape.pipelines[webhook.pipeline];
    }
    let version = Version::new(&whole, shape);
    (Pipeline { plan: version.plan.clone(), schemas }, version)
}

/// The same lines in slabs and epochs, and silence behind them, after which nothing is open.
fn log(lines: &[(u64, Vec<u8>)], rng: &mut ChaCha8Rng) -> Vec<Entry> {
    let mut entries = Vec::new();
    let (mut end, mut epoch, mut up) = (0, 0, 0);
    let mut cut = |end: u64, up: u64, idle: Option<Millis>| {
        epoch += 1;
        let ingest = Millis(INGEST_MS + up.min(100_000));
        Entry::Cut(Cut { epoch: Epoch(epoch), end: Offset(end), ingest, up: Millis(up), idle, emitted: Epoch(0) })
    };
    let mut rest = lines;
    while !rest.is_empty() {
        let (slab, more) = rest.split_at(rng.random_range(1..=20.min(rest.len())));
        let bytes: Vec<u8> = slab.iter().flat_map(|(_, line)| line.iter().copied().chain([b'\n'])).collect();
        entries.push(Entry::Slab(Slab {
            first_offset: Offset(end),
            count: slab.len() as u32,
            ingest: Millis(INGEST_MS + up),
            topic: None,
            bytes: Bytes::from(bytes),
            numbering: Numbering::Dense,
        }));
        end += slab.len() as u64;
        up += rng.random_range(0..500);
        if rng.random_bool(0.5) {
            entries.push(cut(end, up, None));
        }
        rest = more;
    }
    entries.push(cut(end, up, None));
    let silence = 3 * FAR.0.unsigned_abs() / 1000;
    entries.extend((1..=3).map(|n| cut(end, up + silence + n, Some(Millis(silence)))));
    entries
}

/// Rows by their ids; when they were published means nothing here.
fn by_id(rows: impl Iterator<Item = WindowRow>) -> BTreeMap<Uuid, WindowRow> {
    rows.map(|row| (row.metric_id, WindowRow { epoch: Epoch(0), ..row })).collect()
}

fn same(what: &str, seed: u64, expected: &BTreeMap<Uuid, WindowRow>, found: &BTreeMap<Uuid, WindowRow>) {
    for (id, row) in expected {
        // As text: −0 is not +0.
        assert_eq!(Some(format!("{row:?}")), found.get(id).map(|row| format!("{row:?}")), "{what}, seed {seed}");
    }
    let more = found.iter().find(|(id, _)| !expected.contains_key(id));
    assert!(more.is_none(), "{what}, seed {seed}: {more:?} should not be there");
}

/// What a replay of the log makes for one pipeline alone.
fn replayed(plan: &Arc<Plan>, pipeline: usize, entries: &[Entry]) -> BTreeMap<Uuid, WindowRow> {
    let backfill = Backfill { pipeline, after: Epoch(0), from: Offset(0) };
    let mut filling = Filling::new(plan.clone(), &Sealing::none().keeps(LOG.0 as u64), (LOG, Generation(1)), backfill);
    let mut rows = BTreeMap::new();
    for cut in entries.iter().filter_map(cut_of) {
        let base = filling.at().1;
        let slabs = entries.iter().filter_map(slab_of).filter(|slab| (base..cut.end).contains(&slab.first_offset));
        let slabs: Vec<Slab> = slabs.cloned().collect();
        let commit = filling.epoch(cut, &slabs, Epoch(u64::MAX)).unwrap();
        rows.retain(|id, _| !commit.removed.contains(id));
        rows.extend(by_id(commit.rows.into_iter()));
    }
    rows
}

/// How many rows there were, and how many events were refused.
fn compare(seed: u64) -> (usize, usize) {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let (pipeline, version) = pipeline(&mut rng);
    let plan = &pipeline.plan;
    let (bytes, lines) = batch::input(&pipeline, &mut rng);
    let (results, ..) = batch::run(&pipeline, &bytes, &mut rng);
    let batch = by_id(results.iter().flat_map(|round| round.rows.clone()));
    let mut refused: Vec<(u64, Reason, Vec<u8>)> = results
        .iter()
        .flat_map(|round| &round.dead_letters)
        .map(|letter| (letter.offset.0, letter.reason, letter.body.clone()))
        .collect();
    refused.sort_by_key(|(offset, ..)| *offset);
    let refused: Vec<(Reason, Vec<u8>)> = refused.into_iter().map(|(_, reason, body)| (reason, body)).collect();

    let entries = log(&lines, &mut rng);
    let cuts = entries.iter().filter_map(cut_of).count() as u64;
    let mut store = MemoryStore::new(plan.clone());
    // Once it is killed on the way.
    let until = Epoch(rng.random_range(1..=cuts));
    for until in [Some(until), None] {
        let workers = rng.random_range(1..=8);
        live_of(std::slice::from_ref(&version), LOG, &entries, workers, &mut store, until, &mut rng);
    }
    let tables = store.tables();
    let live = by_id(tables.rows.values().cloned());
    same("batch and live", seed, &batch, &live);
    let letters: Vec<(Reason, Vec<u8>)> =
        tables.dead_letters.values().map(|letter| (letter.reason, letter.body.clone())).collect();
    assert_eq!(refused, letters, "seed {seed}");

    for (number, of_plan) in plan.pipelines.iter().enumerate() {
        let own = live.iter().filter(|(_, row)| of_plan.windows.contains(&row.window));
        let own = own.map(|(id, row)| (*id, row.clone())).collect();
        same("live and replay", seed, &own, &replayed(plan, number, &entries));
    }
    (live.len(), refused.len())
}

#[test]
fn batch_live_and_replay_give_the_same_rows() {
    let counts: Vec<(usize, usize)> = (0..SEEDS).into_par_iter().map(compare).collect();
    let (rows, refused) = counts.into_iter().fold((0, 0), |(a, b), (rows, refused)| (a + rows, b + refused));
    assert!(rows > 10 * SEEDS as usize && refused > SEEDS as usize, "{rows} rows, {refused} refused");
}
