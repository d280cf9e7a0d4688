//! The file's `audit`: what is kept of counted events, and whether a file has a line of each.

use std::path::PathBuf;

use crate::core::plan::Audit;
use crate::pipeline::file::File;
use crate::pipeline::names::stays_inside;
use crate::pipeline::section::{At, Faulty, Keys, Section, text};
use crate::pipeline::yaml::{Node, Value, quote};

const AUDIT: Keys = Keys { section: "audit", known: &["level", "jsonl"], later: &[] };
const JSONL_BYTES_MAX: usize = 200;
const JSONL_ALLOWED: &str = "a file below DATA_DIR/audit, such as orders.jsonl, at most 200 bytes";

/// What the file says.
#[derive(Debug, Default)]
pub struct Written {
    pub level: Audit,
    /// Below the audit directory.
    pub jsonl: Option<At<String>>,
}

/// A line-by-line copy of what a pipeline counts and publishes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Copy {
    /// The pipeline's place in `Plan::pipelines`.
    pub pipeline: usize,
    /// Below the audit directory.
    pub file: PathBuf,
}

/// `full`, `compact`, `none`, or a mapping.
pub fn audit(node: &Node, faults: &mut Faulty) -> Written {
    if !matches!(node.value, Value::Map(_)) {
        return Written { level: level(node, faults), jsonl: None };
    }
    let section = Section::read(node, &AUDIT, faults);
    let level = section.get("level").map_or(Audit::Full, |node| level(node, faults));
    let jsonl = section.get("jsonl").and_then(|node| {
        let it = text(node, JSONL_ALLOWED, faults)?.to_owned();
        Some(At { place: node.place, it })
    });
    if let Some(file) = &jsonl {
        let names_a_file = !file.it.ends_with(['/', '.']) && file.it.len() <= JSONL_BYTES_MAX;
        if !stays_inside(&file.it) || !names_a_file || file.it.chars().any(char::is_control) {
            faults.note(file.place, format!("jsonl: {} is not allowed; it is {JSONL_ALLOWED}", quote(&file.it)));
        }
        if level != Audit::Full {
            faults.note(file.place, "jsonl: a copy of counted events needs `level: full`");
        }
    }
    Written { level, jsonl }
}

fn level(node: &Node, faults: &mut Faulty) -> Audit {
    match &node.value {
        Value::Text(word) if word == "full" => Audit::Full,
        Value::Text(word) if word == "compact" => Audit::Compact,
        Value::Text(word) if word == "none" => Audit::None,
        other => {
            let allowed = "full, compact, none or {level: full, jsonl: FILE}";
            faults.note(node.place, format!("audit: {} stands where {allowed} is allowed", other.describe()));
            Audit::Full
        }
    }
}

/// The copies of all files; two of one name are noted.
pub fn copies<'f>(files: impl Iterator<Item = &'f File>, faults: &mut [Faulty]) -> Vec<Copy> {
    let mut copies: Vec<Copy> = Vec::new();
    for ((pipeline, file), faults) in files.enumerate().zip(faults) {
        let Some(At { place, it }) = &file.audit.jsonl else { continue };
        let copy = Copy { pipeline, file: PathBuf::from(it) };
        if copies.iter().any(|other| other.file == copy.file) {
            faults.note(*place, format!("jsonl: another pipeline of this job writes {} too", quote(it)));
        }
        copies.push(copy);
    }
    copies
}
