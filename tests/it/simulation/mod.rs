//! The whole cluster in one process, one thread, from a seed: the real log, state machines and checkpoints on a simulated disk, network, store and
//! clock, killed again and again, and at the end compared with the client's own record, with the sequential model, and with a run of the same log
//! without a crash.
//!
//! `CAUDAL_SIM_SEEDS` says how many seeds are tried (500), `CAUDAL_SIM_SEED` tries one: what a failure prints.

mod pipelines;
mod traffic;
mod net;
mod pasts;
mod cluster;
mod check;
mod checkpoints;
mod batch;
mod start;
mod golden;
mod mend;
mod repeat;
mod changes;
mod says;
mod consumers;
mod judging;
mod equal;

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::Ordering;

use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use rayon::prelude::*;

use cluster::{Seen, World};

const SEEDS: u64 = 500;
const CRASHES: u32 = 5;

/// What must happen in so many seeds; otherwise the simulation no longer tries it.
const HAPPENS: [&str; 131] = [
    "runs of sealed ids begun",
    "runs of sealed ids ended",
    "reads of sealed ids",
    "pasts",
    "pasts made again and not stored",
    "pasts of the job's own",
    "pasts of pipelines that are not the job's yet",
    "pasts asked for",
    "pasts that joined",
    "pasts given up",
    "pasts taken out",
    "pasts left at a start",
    "pasts to be stored again",
    "rows of pasts",
    "events of pasts counted",
    "changes asked for",
    "changes",
    "starts that replay changes",
    "starts that accept changes",
    "pipelines begun anew",
    "rows of two lives of a pipeline",
    "changes of what is said",
    "pipelines gone",
    "pipelines added",
    "windows gone",
    "windows added",
    "views gone",
    "views added",
    "alerts cleared because they are gone",
    "topics retired",
    "starts from a checkpoint",
    "checkpoints damaged",
    "starts that pass over the newest checkpoint",
    "starts that replay epochs",
    "epochs recomputed and not written",
    "starts without the store",
    "results passed over",
    "starts that wait for the store",
    "starts with a cut-off tail",
    "starts of a log without its beginning",
    "frames in doubt kept",
    "frames in doubt lost",
    "requests without answer, logged",
    "requests without answer, not logged",
    "requests refused",
    "requests that waited for their fates",
    "commits to be tried again",
    "checkpoints that failed",
    "totals compared",
    "TIME records",
    "json",
    "topic",
    "schema",
    "id",
    "time",
    "type",
    "future",
    "late",
    "duplicate",
    "filtered",
    "ids counted anew after they were forgotten",
    "late for some windows",
    "rows published open",
    "rows revised",
    "hopping rows",
    "session rows",
    "sessions merged",
    "session rows replaced",
    "sessions reopened",
    "session rows revised",
    "rows removed by top",
    "rows that moved up",
    "pipelines with different watermarks",
    "events with a Unix time",
    "rows removed by having",
    "expression errors",
    "entries of views",
    "fields that later events do not name",
    "histories of views",
    "conditions raised",
    "conditions cleared",
    "anomalies raised",
    "anomalies cleared",
    "patterns raised",
    "patterns cleared",
    "joined",
    "sent to webhooks",
    "emitted",
    "emitted events in windows",
    "emitted events that nobody reads",
    "requests repeated in flight",
    "requests repeated before their answer",
    "requests repeated that were answered",
    "requests repeated that were in the log",
    "requests repeated that were not in the log",
    "requests repeated that were refused",
    "letters retried",
    "letters retried together",
    "letters discarded",
    "letters under way at a start",
    "letters that another request mends",
    "letters that were retried before",
    "retries without answer, logged",
    "retries counted",
    "retries that became dead letters",
    "discards logged",
    "groups made",
    "groups at a start",
    "groups deleted",
    "groups behind what is retained",
    "groups that left out what is gone",
    "groups that have everything",
    "events given to members",
    "emitted events given to members",
    "events given to another member",
    "events committed by members",
    "sessions that ended with events",
    "polls refused",
    "polls that have everything",
    "reads of what went meanwhile",
    "requests of groups given up",
    "commits of a member that is gone",
    "commits of what was not delivered",
    "commits of events that do not exist yet",
    "positions while the store was away",
    "positions without answer",
    "positions that moved without a commit",
    "kills while positions are stored",
    "positions of a dead job fenced off",
    "positions of a dead job that come before the next one's",
    "groups that a dead job deletes under the next one",
];

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|text| text.parse().unwrap_or_else(|_| panic!("{name} is no number: {text}")))
}

fn simulate(seed: u64) -> Seen {
    let mut world = World::new(seed);
    world.run(CRASHES);
    for sealing in std::mem::take(&mut world.sealings) {
        for (what, count) in [
            ("runs of sealed ids begun", sealing.begun),
            ("runs of sealed ids ended", sealing.removed),
            ("reads of sealed ids", sealing.read),
        ] {
            world.seen.note(what, count.load(Ordering::Relaxed));
        }
    }
    check::requests_are_logged_once(&mut world);
    let outcome = check::store_is_as_the_model_says(&mut world);
    let lines = check::all_lines(&world);
    mend::letters_are_mended_once(&mut world, &outcome, &lines);
    check::applied_answers_are_true(&mut world, &outcome);
    check::another_run_is_identical(&world, &mut ChaCha8Rng::seed_from_u64(!seed));
    world.seen
}

#[test]
fn results_survive_everything() {
    let seeds: Vec<u64> = match number("CAUDAL_SIM_SEED") {
        Some(seed) => vec![seed],
        None => (0..number("CAUDAL_SIM_SEEDS").unwrap_or(SEEDS)).collect(),
    };
    let tried = seeds.len() as u64;
    let one = |seed| {
        catch_unwind(AssertUnwindSafe(|| simulate(seed))).unwrap_or_else(|panic| {
            eprintln!("to see it again: CAUDAL_SIM_SEED={seed} cargo test --release --test it simulation::");
            resume_unwind(panic);
        })
    };
    let seen = seeds.into_par_iter().map(one).reduce(Seen::default, |mut all, one| {
        one.0.into_iter().for_each(|(what, times)| all.note(what, times));
        all
    });
    println!("{tried} seeds: {:#?}", seen.0);
    if tried >= SEEDS {
        for what in HAPPENS {
            assert!(seen.0.get(what).is_some_and(|&times| times > 0), "it never happened: {what}");
        }
    }
}
