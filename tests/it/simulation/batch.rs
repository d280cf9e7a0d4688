//! Batch: the same workers, fed with pieces of a file in rounds, against the model's batch.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use bytes::Bytes;
use caudal::coordinator::batch::keep::{Keeper, Stand};
use caudal::coordinator::gather::{Draft, InFlight, Results};
use caudal::core::columns::{Numbering, Slab};
use caudal::core::epoch::Cut;
use caudal::core::keygroup::Owners;
use caudal::core::ledger::Counts;
use caudal::core::units::{Epoch, Millis, Offset};
use caudal::wire::Message;
use caudal::worker::rows::DecodedSlab;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::check;
use super::net::{Ranks, Sealing};
use super::pipelines::{self, Pipeline};
use super::traffic::Client;
use crate::model;
use crate::sim_disk::SimDisk;

const SEEDS: u64 = 60;
const BATCH: u128 = 3;

/// What a client sends at one time, in a file.
fn input(pipeline: &Pipeline, rng: &mut ChaCha8Rng) -> (Vec<u8>, Vec<(u64, Vec<u8>)>) {
    let mut client = Client::default();
    for _ in 0..rng.random_range(1..30) {
        client.request(&pipeline.plan, 1_795_348_800_000, rng);
    }
    file(client.requests.iter().flat_map(|request| &request.lines).map(String::as_bytes), rng)
}

/// A file of these lines, and where each begins: some others are blank, the last perhaps without its end.
pub fn file<'l>(of: impl Iterator<Item = &'l [u8]>, rng: &mut ChaCha8Rng) -> (Vec<u8>, Vec<(u64, Vec<u8>)>) {
    let (mut bytes, mut lines) = (Vec::new(), Vec::new());
    for line in of {
        if rng.random_bool(0.05) {
            bytes.extend_from_slice(b" \n");
        }
        lines.push((bytes.len() as u64, line.to_vec()));
        bytes.extend_from_slice(line);
        bytes.push(b'\n');
    }
    if rng.random() {
        bytes.pop();
    }
    (bytes, lines)
}

/// Where a batch can go on: what was handed out and taken when a round was kept.
#[derive(Clone, Copy)]
struct Saved {
    at: usize,
    results: usize,
}

/// Workers with the state that was kept last, as many as are wanted, and the round after which it was.
fn go_on(disk: &Arc<SimDisk>, pipeline: &Pipeline, workers: usize, sealing: &Sealing) -> (Keeper, Ranks, u64) {
    let (keeper, found) = Keeper::open(disk.clone(), BATCH).unwrap();
    let (_, checkpoint) = found.unwrap();
    let epoch = checkpoint.at().0.0;
    let mut ranks = Ranks::new(&pipeline.plan, workers, 7, true, sealing);
    for restore in checkpoint.restores(Owners::new(workers)) {
        let (worker, message) = restore.unwrap();
        ranks.send((0, worker + 1), &message);
    }
    (keeper, ranks, epoch)
}

/// Rounds of pieces, cut at line ends, to random workers; two rounds in flight; messages delivered in any order that keeps each edge's. Now and then a
/// round is kept, and all ranks die: others, perhaps more or fewer, go on after it. Gives the results, how often that was, and
/// how often ids were sealed.
pub fn run(pipeline: &Pipeline, bytes: &[u8], rng: &mut ChaCha8Rng) -> (Vec<Results>, usize, u64) {
    let mut workers = rng.random_range(1..=8);
    let sealing = Sealing::random(rng);
    let mut ranks = Ranks::new(&pipeline.plan, workers, 7, true, &sealing);
    let (mut at, mut epoch, mut base, mut closing) = (0, 0, 0, false);
    let mut in_flight: VecDeque<InFlight> = VecDeque::new();
    let mut results = Vec::new();
    let disk = SimDisk::new(0);
    let (mut keeper, _) = Keeper::open(disk.clone(), BATCH).unwrap();
    let (mut draft, mut saved, mut deaths): (Option<(Draft, Saved)>, Option<Saved>, usize) = (None, None, 0);
    while !(closing && in_flight.is_empty()) {
        if let Some(saved) = saved.filter(|_| rng.random_bool(0.01)) {
            deaths += 1;
            workers = rng.random_range(1..=8);
            (keeper, ranks, epoch) = go_on(&disk, pipeline, workers, &sealing);
            (at, base, closing) = (saved.at, saved.at as u64, false);
            in_flight.clear();
            results.truncate(saved.results);
            draft = None;
        }
        if in_flight.len() < 2 && !closing && rng.random_bool(0.3) {
            closing = at == bytes.len();
            for _ in 0..rng.random_range(1..6) {
                let goal = (at + rng.random_range(1..4000)).min(bytes.len());
                let to = bytes[goal..].iter().position(|&b| b == b'\n').map_or(bytes.len(), |n| goal + n + 1);
                let piece = Slab {
                    first_offset: Offset(at as u64),
                    count: 0,
                    ingest: Millis(0),
                    topic: None,
                    bytes: Bytes::copy_from_slice(&bytes[at..to]),
                    numbering: Numbering::Bytes,
                };
                if !piece.bytes.is_empty() {
                    let worker = rng.random_range(0..workers);
                    // A worker reads a round's pieces when it has been told of the end of the round before.
                    while ranks.busy_edges().contains(&(0, worker + 1)) {
                        assert!(ranks.deliver((0, worker + 1)).is_none(), "it is no message to the coordinator");
                    }
                    let worker = &mut ranks.workers[worker];
                    let decoded = worker.decoder().decode(&piece);
                    worker.take_decoded([DecodedSlab { slab: piece, decoded }]);
                }
                at = to;
            }
            epoch += 1;
            let idle = closing.then_some(Millis(0));
            let cut = Cut {
                epoch: Epoch(epoch),
                end: Offset(at as u64),
                ingest: Millis(0),
                up: Millis(0),
                idle,
                emitted: Epoch(0),
            };
            let is_kept = draft.is_none() && !closing && rng.random_bool(0.3);
            let checkpoint = is_kept.then(|| keeper.next_share());
            if let Some(share) = checkpoint {
                let taken = results.len() + in_flight.len() + 1;
                let mut of_round = Draft::new(cut, share, workers, "".into());
                of_round.counts = Some(Counts::default());
                draft = Some((of_round, Saved { at, results: taken }));
            }
            let checkpoint = checkpoint.map(|share| share.0);
            in_flight.push_back(InFlight::new(cut, Offset(base), workers));
            for worker in 0..workers {
                ranks.send((0, worker + 1), &Message::EndEpoch { cut: cut.into(), base, checkpoint });
            }
            base = at as u64;
        }
        let edges = ranks.busy_edges();
        if edges.is_empty() {
            continue;
        }
        let edge = edges[rng.random_range(0..edges.len())];
        match ranks.deliver(edge) {
            Some(Message::Report(report)) => {
                let round = in_flight.iter_mut().find(|f| f.cut.epoch.0 == report.epoch).unwrap();
                round.take(edge.0 - 1, *report);
            }
            Some(Message::CheckpointPart { common, sections, last, .. }) => {
                draft.as_mut().unwrap().0.take(common, sections, last);
            }
            _ => {}
        }
        while in_flight.front().is_some_and(InFlight::complete) {
            results.push(in_flight.pop_front().unwrap().results().unwrap());
        }
        if let Some((draft, at)) = draft.take_if(|(draft, at)| draft.complete() && results.len() >= at.results) {
            keeper.keep(&Stand::default(), draft).unwrap();
            saved = Some(at);
        }
    }
    (results, deaths, sealing.begun.load(Ordering::Relaxed))
}

#[test]
fn a_batch_is_as_the_model_says() {
    let (mut deaths, mut runs) = (0, 0);
    for seed in 0..SEEDS {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let pipeline = pipelines::random(&mut rng);
        let (bytes, lines) = input(&pipeline, &mut rng);
        let outcome = model::batch(&pipeline.plan, &pipeline.schemas, None, lines);
        let (results, died, sealed) = run(&pipeline, &bytes, &mut rng);
        (deaths, runs) = (deaths + died, runs + sealed);
        eprintln!("batch, seed {seed}");
        check::batch(&pipeline.plan, &outcome, &results);
    }
    assert!(deaths > SEEDS as usize / 4, "batches died only {deaths} times");
    assert!(runs > SEEDS, "ids were sealed only {runs} times");
}
