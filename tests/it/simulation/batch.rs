//! Batch: the same workers, fed with pieces of a file in rounds, against the model's batch.

use std::collections::VecDeque;

use bytes::Bytes;
use caudal::coordinator::gather::{InFlight, Results};
use caudal::core::columns::{Numbering, Slab};
use caudal::core::epoch::Cut;
use caudal::core::units::{Epoch, Millis, Offset};
use caudal::wire::Message;
use caudal::worker::rows::DecodedSlab;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::check;
use super::net::Ranks;
use super::pipelines::{self, Pipeline};
use super::traffic::Client;
use crate::model;

const SEEDS: u64 = 60;

/// Lines and where each begins, some of them blank, the last perhaps without its end.
fn input(pipeline: &Pipeline, rng: &mut ChaCha8Rng) -> (Vec<u8>, Vec<(u64, Vec<u8>)>) {
    let mut client = Client::default();
    let (mut bytes, mut lines) = (Vec::new(), Vec::new());
    for _ in 0..rng.random_range(1..30) {
        client.request(&pipeline.plan, 1_795_348_800_000, rng);
    }
    for line in client.requests.iter().flat_map(|r| &r.lines) {
        if rng.random_bool(0.05) {
            bytes.extend_from_slice(b" \n");
        }
        lines.push((bytes.len() as u64, line.as_bytes().to_vec()));
        bytes.extend_from_slice(line.as_bytes());
        bytes.push(b'\n');
    }
    if rng.random() {
        bytes.pop();
    }
    (bytes, lines)
}

/// Rounds of pieces, cut at line ends, to random workers; two rounds in flight; messages delivered in any order that keeps each edge's.
fn run(pipeline: &Pipeline, bytes: &[u8], rng: &mut ChaCha8Rng) -> Vec<Results> {
    let workers = rng.random_range(1..=8);
    let mut ranks = Ranks::new(&pipeline.plan, workers, 7, true);
    let (mut at, mut epoch, mut base, mut closing) = (0, 0, 0, false);
    let mut in_flight: VecDeque<InFlight> = VecDeque::new();
    let mut results = Vec::new();
    while !(closing && in_flight.is_empty()) {
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
            in_flight.push_back(InFlight::new(cut, Offset(base), workers));
            for worker in 0..workers {
                ranks.send((0, worker + 1), &Message::EndEpoch { cut: cut.into(), base, checkpoint: None });
            }
            base = at as u64;
        }
        let edges = ranks.busy_edges();
        if edges.is_empty() {
            continue;
        }
        let edge = edges[rng.random_range(0..edges.len())];
        if let Some(Message::Report(report)) = ranks.deliver(edge) {
            let round = in_flight.iter_mut().find(|f| f.cut.epoch.0 == report.epoch).unwrap();
            round.take(edge.0 - 1, *report);
        }
        while in_flight.front().is_some_and(InFlight::complete) {
            results.push(in_flight.pop_front().unwrap().results().unwrap());
        }
    }
    results
}

#[test]
fn a_batch_is_as_the_model_says() {
    for seed in 0..SEEDS {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let pipeline = pipelines::random(&mut rng);
        let (bytes, lines) = input(&pipeline, &mut rng);
        let outcome = model::batch(&pipeline.plan, &pipeline.schemas, None, lines);
        let results = run(&pipeline, &bytes, &mut rng);
        eprintln!("batch, seed {seed}");
        check::batch(&pipeline.plan, &outcome, &results);
    }
}
