//! Pipeline files and schemas, changed at random: the reader never panics, each fault has its place, and what is taken means the same as `explain` spells it out.
//!
//! `CAUDAL_FUZZ_SEEDS` says how many are tried (2,000), `CAUDAL_FUZZ_SEED` tries one: what a failure prints.

mod bytes;
#[path = "../../fuzz/src/lib.rs"]
mod targets;

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::slice::from_ref;
use std::sync::atomic::{AtomicU64, Ordering};

use caudal::pipeline::{Bundle, Fault, Faults};
use rand::seq::IndexedRandom;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use rayon::prelude::*;

use crate::explain::{meaning, spelled};
use crate::support::keys::pipeline_files;

const SEEDS: u64 = 2_000;

/// What people and programs write that should not be there.
const SPLINTERS: [&str; 40] = [
    "~",
    "null",
    "{}",
    "[]",
    "[",
    "}",
    "\"",
    "'",
    ": ",
    "- ",
    "# ",
    "\t",
    "\n",
    "\n    ",
    "&a",
    "*a",
    "!!str ",
    "|",
    ">",
    "%",
    "${X}",
    "0",
    "-1",
    "1e999",
    "18446744073709551616",
    "0s",
    "1ms",
    "99999999d",
    "true",
    "NULL",
    "count()",
    "sum(",
    "CASE WHEN",
    "x.y[0]",
    "\u{0}",
    "\u{feff}",
    "ñ",
    "🦀",
    "../../etc/passwd",
    "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
];

/// One change of a text: a piece is taken out, doubled, exchanged for another, or a splinter driven in.
fn change(text: &str, other: &str, rng: &mut ChaCha8Rng) -> String {
    let pieces = |text: &str| -> Vec<String> {
        // Words and what stands between them.
        let is_word = |c: char| c.is_alphanumeric() || c == '_';
        let mut pieces: Vec<String> = Vec::new();
        for c in text.chars() {
            match pieces.last_mut() {
                Some(last) if is_word(c) && last.ends_with(is_word) => last.push(c),
                _ => pieces.push(c.to_string()),
            }
        }
        pieces
    };
    if rng.random_bool(0.3) {
        let mut lines: Vec<&str> = text.split_inclusive('\n').collect();
        if lines.is_empty() {
            return String::new();
        }
        let at = rng.random_range(0..lines.len());
        match rng.random_range(0..4) {
            0 => drop(lines.remove(at)),
            1 => lines.insert(at, lines[at]),
            2 => {
                let with = rng.random_range(0..lines.len());
                lines.swap(at, with);
            }
            _ => lines.insert(at, other.split_inclusive('\n').collect::<Vec<_>>().choose(rng).copied().unwrap_or("\n")),
        }
        return lines.concat();
    }
    let mut own = pieces(text);
    if own.is_empty() {
        return String::new();
    }
    let at = rng.random_range(0..own.len());
    match rng.random_range(0..5) {
        0 => drop(own.remove(at)),
        1 => own.insert(at, own[at].clone()),
        2 => {
            let with = rng.random_range(0..own.len());
            own.swap(at, with);
        }
        3 => own[at] = pieces(other).choose(rng).cloned().unwrap_or_default(),
        _ => own.insert(at, (*SPLINTERS.choose(rng).unwrap()).to_owned()),
    }
    own.concat()
}

fn changed(corpus: &[Bundle], rng: &mut ChaCha8Rng) -> Bundle {
    let Bundle(mut files) = corpus.choose(rng).unwrap().clone();
    for _ in 0..rng.random_range(1..=4) {
        let Bundle(others) = corpus.choose(rng).unwrap();
        let file = &mut files[0];
        let (text, other) = match file.schemas.first_mut().filter(|_| rng.random_bool(0.2)) {
            Some((_, schema)) => (schema, &others[0].schemas[0].1),
            None => (&mut file.text, &others[0].text),
        };
        *text = change(text, other, rng);
    }
    Bundle(files)
}

/// Whether the files were taken.
fn check(bundle: &Bundle) -> bool {
    match bundle.pipelines() {
        Ok(pipelines) => {
            let again = spelled(bundle);
            let read = again.pipelines().unwrap_or_else(|faults| panic!("{faults}\n{:#?}", again.0));
            assert_eq!(meaning(&pipelines), meaning(&read), "{:#?}", bundle.0);
            true
        }
        Err(Faults(faults)) => {
            assert!(!faults.is_empty(), "refused without a word");
            let lines = bundle.0[0].text.split('\n').count().max(1);
            let has_place = |fault: &Fault| fault.line <= lines && (fault.line == 0) == (fault.column == 0);
            let wrong = faults.iter().find(|fault| fault.message.is_empty() || !has_place(fault));
            assert!(wrong.is_none(), "{wrong:?}\n{}", bundle.0[0].text);
            false
        }
    }
}

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|text| text.parse().unwrap_or_else(|_| panic!("{name} is no number: {text}")))
}

#[test]
fn whatever_the_file_says_it_is_answered() {
    let corpus: Vec<Bundle> = pipeline_files().iter().map(|file| Bundle::read(from_ref(file)).unwrap()).collect();
    let seeds: Vec<u64> = match number("CAUDAL_FUZZ_SEED") {
        Some(seed) => vec![seed],
        None => (0..number("CAUDAL_FUZZ_SEEDS").unwrap_or(SEEDS)).collect(),
    };
    let (tried, taken) = (seeds.len() as u64, AtomicU64::new(0));
    seeds.into_par_iter().for_each(|seed| {
        let one = || check(&changed(&corpus, &mut ChaCha8Rng::seed_from_u64(seed)));
        let was_taken = catch_unwind(AssertUnwindSafe(one)).unwrap_or_else(|panic| {
            eprintln!("to see it again: CAUDAL_FUZZ_SEED={seed} cargo test --release --test it fuzz::");
            resume_unwind(panic);
        });
        taken.fetch_add(u64::from(was_taken), Ordering::Relaxed);
    });
    let taken = taken.into_inner();
    println!("{taken} of {tried} files were taken");
    // Both must happen; otherwise half of it is not tried.
    assert!(tried < SEEDS || (taken > tried / 20 && taken < tried * 19 / 20), "{taken} of {tried}");
}
