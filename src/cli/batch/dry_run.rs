//! What `--dry-run` says: what would be read, and what became of its beginning.

use serde_json::json;

use crate::cli::plural::count;
use crate::coordinator::batch::Places;
use crate::coordinator::gather::Results;
use crate::core::ledger::Counts;
use crate::input::{Compression, Format, Input, Kind};

/// A dry run reads so many events.
pub const EVENTS: u64 = 1_000;
/// Refused events that are shown.
const SHOWN_MAX: usize = 5;

#[derive(Default)]
pub struct DryRun {
    counts: Counts,
    /// The first refused events: where each stands, and why.
    refused: Vec<(usize, u64, String)>,
}

impl DryRun {
    pub fn take(&mut self, results: &Results, places: &Places) {
        self.counts += results.counts;
        let room = SHOWN_MAX.saturating_sub(self.refused.len());
        self.refused.extend(results.dead_letters.iter().take(room).map(|letter| {
            let (input, position) = places.find(letter.offset);
            (input, position, format!("{}: {}", letter.reason.name(), letter.detail))
        }));
    }

    pub fn print(&self, inputs: &[Input], as_json: bool) {
        let bytes: u64 = inputs.iter().map(|input| input.bytes).sum();
        let Counts { counted, duplicate, filtered, invalid, .. } = self.counts;
        let name = |input: usize| inputs.get(input).map_or("", |input| input.path.as_str());
        if as_json {
            let files: Vec<_> = inputs
                .iter()
                .map(|input| json!({"path": input.path, "bytes": input.bytes, "kind": kind(input.kind)}))
                .collect();
            let refused = self.refused.iter();
            let refused: Vec<_> = refused
                .map(|(input, position, why)| json!({"input": name(*input), "position": position, "why": why}))
                .collect();
            println!(
                "{}",
                json!({"inputs": files, "bytes": bytes, "tried": self.counts.total(), "counted": counted, "duplicate": duplicate,
                    "filtered": filtered, "invalid": invalid, "refused": refused})
            );
            return;
        }
        for input in inputs {
            println!("{}: {}, {}", input.path, kind(input.kind), count(input.bytes, "byte"));
        }
        for (input, position, why) in &self.refused {
            println!("refused: {} at {position}: {why}", name(*input));
        }
        println!(
            "{}, {}; of the first {} {counted} counted, {duplicate} duplicate, {filtered} filtered, {invalid} invalid; nothing was written",
            count(inputs.len() as u64, "file"),
            count(bytes, "byte"),
            count(self.counts.total(), "event")
        );
    }
}

fn kind(kind: Kind) -> String {
    let format = match kind.format {
        Format::Lines => "ndjson",
        Format::Export => "events",
        Format::Csv { delimiter: b'\t' } => "tsv",
        Format::Csv { .. } => "csv",
        Format::Parquet => "parquet",
    };
    let compression = match kind.compression {
        Compression::None => "",
        Compression::Gzip => ", gzip",
        Compression::Zstd => ", zstd",
    };
    format!("{format}{compression}")
}
