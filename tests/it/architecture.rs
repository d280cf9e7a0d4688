//! The arrows between rooms, held by reading the imports; and what only certain files may name. `ARCHITECTURE.md` says why each is so.
//! Tests inside a source file may reach wherever they like: only what stands before them is read.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// Whom each room knows: itself, and what begins with one of these. `cli`, and `main.rs` through it, tie all together.
const ARROWS: [(&str, &[&str]); 17] = [
    ("core", &[]),
    ("clock", &["core"]),
    ("logging", &["core", "clock"]),
    ("wire", &["core"]),
    ("log", &["core"]),
    ("bus", &["core", "log"]),
    ("pipeline", &["core"]),
    ("store", &["core"]),
    ("generate", &["core", "pipeline"]),
    ("transport", &["wire"]),
    ("input", &["core"]),
    ("worker", &["core", "wire", "transport", "input"]),
    ("ingest", &["core", "log", "clock"]),
    (
        "coordinator",
        &["core", "wire", "transport", "log", "clock", "ingest", "store", "input", "worker::rows", "worker::state"],
    ),
    ("config", &["core", "ingest::keys", "pipeline", "store::target"]),
    ("outbox", &["core", "clock", "store"]),
    (
        "web",
        &[
            "core",
            "clock",
            "config",
            "bus",
            "ingest",
            "store",
            "coordinator::status",
            "coordinator::change",
            "coordinator::backfill",
            "pipeline",
            "generate",
        ],
    ),
];

/// Files that know less than their room does.
const PURE: [(&str, &[&str]); 7] = [
    ("core/", &[]),
    ("bus/group/", &["bus::group"]),
    ("wire.rs", &["core"]),
    ("worker/state.rs", &["core", "wire", "worker"]),
    ("worker/state/", &["core", "wire", "worker"]),
    ("coordinator/state.rs", &["core", "wire", "coordinator", "ingest::Fate", "store::Commit", "store::Progress"]),
    ("coordinator/state/", &["core", "wire", "coordinator", "store::Commit", "store::Progress"]),
];

/// What a pure file may not name: it decides from its arguments alone. (A oneshot sender that it hands back is no more than a name.)
const IMPURE: [&str; 14] = [
    "std::fs",
    "std::net",
    "std::env",
    "std::process",
    "std::thread",
    "Instant",
    "SystemTime",
    "tokio::net",
    "tokio::time",
    "tokio::spawn",
    "tokio::runtime",
    "OsRng",
    "println!",
    "File::open",
];

/// Words that only certain files may use: `unsafe` and MPI, the environment, the time, each database, HTTP.
const REGISTERED: [(&[&str], &[&str]); 10] = [
    (&["unsafe {", "unsafe fn", "unsafe impl", "unsafe extern", "allow(unsafe_code)"], &["transport/mpi.rs"]),
    (&["use mpi", "mpi::ffi", "mpi::topology", "mpi::environment", "initialize_with_threading"], &["transport/mpi.rs"]),
    // MPI launchers announce themselves in the environment, and only `transport/mpi.rs` knows how.
    (&["env::var", "env::vars", "dotenvy"], &["config/environment.rs", "transport/mpi.rs"]),
    (&["SystemTime", "Utc::now", "Local::now"], &["clock.rs"]),
    (&["rusqlite"], &["store/sqlite"]),
    (&["postgres::"], &["store/"]),
    (&["rustls"], &["store/", "outbox/client.rs", "web/tls.rs", "cli/https.rs"]),
    (&["ureq"], &["outbox/client.rs"]),
    (&["axum", "tower"], &["web/"]),
    (&["bincode"], &["wire.rs", "wire/", "coordinator/checkpoint.rs"]),
];

fn source() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("src")
}

/// Every source file: its path from `src/` on and its code, without comments and without its tests.
fn files() -> Vec<(String, String)> {
    let mut files = Vec::new();
    let mut folders = vec![source()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let name = path.strip_prefix(source()).unwrap().to_str().unwrap().to_owned();
                files.push((name, code(&fs::read_to_string(&path).unwrap())));
            }
        }
    }
    files.sort();
    files
}

fn code(text: &str) -> String {
    let product = text.split("#[cfg(test)]").next().unwrap_or_default();
    let mut code = String::new();
    for line in product.lines() {
        // A comment's end of line; `//` in a string cuts the string short, which hides no path of Rust.
        code.push_str(line.split("//").next().unwrap_or_default());
        code.push('\n');
    }
    code
}

/// What is named after `crate::` (in `main.rs`: `caudal::`), groups in braces spread out.
fn imports(code: &str, root: &str) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for (at, _) in code.match_indices(root) {
        spread("", &code[at + root.len()..], &mut found);
    }
    found
}

/// Reads one path, or a group of them, that follows `prefix`; gives what stands after it.
fn spread<'a>(prefix: &str, text: &'a str, found: &mut BTreeSet<String>) -> &'a str {
    let text = text.trim_start();
    if let Some(mut rest) = text.strip_prefix('{') {
        loop {
            rest = spread(prefix, rest, found).trim_start();
            match rest.strip_prefix(',') {
                Some(more) if !more.trim_start().starts_with('}') => rest = more,
                more => return more.unwrap_or(rest).trim_start().strip_prefix('}').unwrap_or(""),
            }
        }
    }
    let end = text.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(text.len());
    let (name, rest) = text.split_at(end);
    let path = if prefix.is_empty() { name.to_owned() } else { format!("{prefix}::{name}") };
    match rest.strip_prefix("::") {
        Some(deeper) if !name.is_empty() => spread(&path, deeper, found),
        _ => {
            found.insert(path);
            rest
        }
    }
}

fn below(path: &str, prefix: &str) -> bool {
    path.strip_prefix(prefix).is_some_and(|rest| rest.is_empty() || rest.starts_with("::"))
}

fn room(file: &str) -> &str {
    file.split(['/', '.']).next().unwrap_or_default()
}

/// A file's imports that are not below `known`.
fn strangers<'a>(imports: &'a BTreeSet<String>, known: &[&str]) -> Vec<&'a str> {
    let known = |path: &&str| known.iter().any(|known| below(path, known));
    imports.iter().map(String::as_str).filter(|path| !known(path)).collect()
}

#[test]
fn imports_are_read_in_every_form() {
    let check = |text: &str, expected: &[&str]| {
        let expected: BTreeSet<String> = expected.iter().map(|&s| s.to_owned()).collect();
        assert_eq!(imports(&code(text), "crate::"), expected, "{text}");
    };
    check("use crate::web;", &["web"]);
    check("use crate::core::units::{Epoch, Offset};", &["core::units::Epoch", "core::units::Offset"]);
    check("use crate::{log, wire::{self, Message}};", &["log", "wire::self", "wire::Message"]);
    check("use crate::{\n    log::{A, B,},\n    web::C,\n};", &["log::A", "log::B", "web::C"]);
    check("fn f(x: crate::store::Commit) -> Option<crate::ingest::Fate> {", &["store::Commit", "ingest::Fate"]);
    check("use crate::core::*;", &["core::"]);
    check("// use crate::web;\n/// [`crate::web`]\nuse crate::log; // crate::web", &["log"]);
    check("use crate::log;\n#[cfg(test)]\nmod tests { use crate::web; }", &["log"]);
}

#[test]
fn arrows_point_down_only() {
    let mut wrong = Vec::new();
    for (file, code) in files() {
        let room = room(&file);
        if ["lib", "main", "cli"].contains(&room) {
            continue;
        }
        let Some((_, known)) = ARROWS.iter().find(|(name, _)| *name == room) else {
            wrong.push(format!("src/{file}: the room `{room}` is not in ARROWS: say whom it may know"));
            continue;
        };
        let known: Vec<&str> = known.iter().copied().chain([room]).collect();
        let imports = imports(&code, "crate::");
        wrong.extend(strangers(&imports, &known).into_iter().map(|path| format!("src/{file} knows {path}")));
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn pure_files_decide_from_their_arguments_alone() {
    let mut wrong = Vec::new();
    let files = files();
    for (pure, known) in PURE {
        assert!(files.iter().any(|(file, _)| file.starts_with(pure)), "src/{pure} is gone: take it from PURE");
        for (file, code) in files.iter().filter(|(file, _)| file.starts_with(pure)) {
            let known: Vec<&str> = known.iter().copied().chain(["core"]).collect();
            let imports = imports(code, "crate::");
            wrong.extend(strangers(&imports, &known).into_iter().map(|path| format!("src/{file} knows {path}")));
            wrong.extend(
                IMPURE.iter().filter(|word| code.contains(*word)).map(|word| format!("src/{file} names {word}")),
            );
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn only_registered_files_touch_the_outside() {
    let mut wrong = Vec::new();
    for (file, code) in files() {
        for (words, registered) in REGISTERED {
            if registered.iter().any(|prefix| file.starts_with(prefix)) {
                continue;
            }
            let named = words.iter().filter(|word| code.contains(*word));
            wrong.extend(named.map(|word| format!("src/{file} names `{word}`; only {} may", registered.join(", "))));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn main_only_ties() {
    let main = fs::read_to_string(source().join("main.rs")).unwrap();
    assert!(main.lines().count() < 60, "main.rs has {} lines: what it does belongs in a room", main.lines().count());
}
