//! The whole cluster in one process, one thread, from a seed: the real log, state machines and checkpoints on a simulated disk, network, store and
//! clock, killed again and again, and at the end compared with the client's own record, with the sequential model, and with a run of the same log
//! without a crash.
//!
//! `CAUDAL_SIM_SEEDS` says how many seeds are tried (500), `CAUDAL_SIM_SEED` tries one: what a failure prints.

mod pipelines;
mod traffic;
mod net;
mod cluster;
mod check;

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};

use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use rayon::prelude::*;

use cluster::World;

const SEEDS: u64 = 500;
const CRASHES: u32 = 5;

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|text| text.parse().unwrap_or_else(|_| panic!("{name} is no number: {text}")))
}

fn simulate(seed: u64) -> World {
    let mut world = World::new(seed);
    world.run(CRASHES);
    check::requests_are_logged_once(&world);
    let outcome = check::store_is_as_the_model_says(&world);
    check::applied_answers_are_true(&mut world, &outcome);
    check::another_run_is_identical(&world, &mut ChaCha8Rng::seed_from_u64(!seed));
    world
}

#[test]
fn results_survive_everything() {
    let seeds: Vec<u64> = match number("CAUDAL_SIM_SEED") {
        Some(seed) => vec![seed],
        None => (0..number("CAUDAL_SIM_SEEDS").unwrap_or(SEEDS)).collect(),
    };
    seeds.into_par_iter().for_each(|seed| {
        if let Err(panic) = catch_unwind(AssertUnwindSafe(|| simulate(seed))) {
            eprintln!("to see it again: CAUDAL_SIM_SEED={seed} cargo test --release --test it simulation::");
            resume_unwind(panic);
        }
    });
}
