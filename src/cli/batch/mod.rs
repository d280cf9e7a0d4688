//! `caudal batch`: files in, a table a window out.

mod dry_run;
mod inputs;
mod kept;
mod output;
mod progress;
mod stored;
mod tables;

use std::path::PathBuf;
use std::time::Duration;

use serde_json::json;

use crate::cli::batch::dry_run::DryRun;
use crate::cli::batch::inputs::FormatName;
use crate::cli::batch::kept::Kept;
use crate::cli::batch::output::Output;
use crate::cli::batch::progress::Progress;
use crate::cli::batch::stored::Stored;
use crate::cli::batch::tables::OutputFormat;
use crate::cli::data_dir::{DataDir, TWO_JOBS};
use crate::cli::exit::{Exit, Failure, OrExit};
use crate::cli::failures::store_failure;
use crate::cli::generate::span;
use crate::cli::plural::count;
use crate::cli::ranks;
use crate::cli::run::sealing;
use crate::config::Config;
use crate::coordinator::batch::{self, BatchError, Begun, Job};
use crate::core::ledger::Counts;
use crate::core::units::Micros;
use crate::pipeline::Bundle;

// What --help groups the options by.
const READ: &str = "What is read";
const RESULTS: &str = "Where results go";

const STOPPED: &str = "the batch was stopped; the same command goes on from what it has kept";

/// Reads events from files, each counted once, and writes a table for each window, `VIEW.view.ndjson` for each view, and `rejects.ndjson`.
#[derive(clap::Args, Debug)]
pub struct Args {
    /// The pipeline file, or several.
    #[arg(help_heading = READ, long, value_name = "FILE", required = true, num_args = 1..)]
    pipeline: Vec<PathBuf>,
    /// NDJSON, CSV (either plain, .gz or .zst) or Parquet files; a pattern may name several. Read in the order given, and by name within a pattern.
    #[arg(help_heading = READ, long, value_name = "GLOB", required = true, num_args = 1..)]
    input: Vec<String>,
    /// What the inputs are written in, where their names do not say it.
    #[arg(help_heading = READ, long, value_name = "FORMAT")]
    format: Option<FormatName>,
    /// The topic of all events; without it each event names its own in the topic field.
    #[arg(help_heading = READ, long, value_name = "TOPIC")]
    topic: Option<String>,
    /// The folder of the results: made if it is missing, files in it are replaced.
    #[arg(help_heading = RESULTS, long, value_name = "DIR", required_unless_present_any = ["dry_run", "store"])]
    output: Option<PathBuf>,
    /// Results go to the store that the DB_… variables (or DATA_DIR) name, which must be this batch's own.
    #[arg(help_heading = RESULTS, long, conflicts_with = "output")]
    store: bool,
    /// What the tables are written as.
    #[arg(help_heading = RESULTS, long, value_name = "FORMAT", default_value = "csv")]
    output_format: OutputFormat,
    /// Only the first so many events.
    #[arg(help_heading = READ, long, value_name = "N")]
    limit: Option<u64>,
    /// Say what would be read, read its beginning, and write nothing.
    #[arg(long)]
    dry_run: bool,
    /// How often the state is kept in the folder of the results: a batch that is killed goes on from there when it is started again.
    #[arg(long, value_name = "DURATION", default_value = "5s", value_parser = span)]
    keep_every: Micros,
    /// Print the summary as JSON on the last line.
    #[arg(long)]
    json: bool,
}

/// Runs this rank of the batch.
///
/// # Errors
/// As `Exit` says; 65 for an input that cannot be read.
pub fn run(args: &Args) -> Result<(), Failure> {
    ranks::run(&mut |transport, idle, _| {
        let stopped = if args.dry_run { "stopped; nothing was written" } else { STOPPED };
        ranks::end_on_signals(stopped).or_exit(Exit::TryAgain)?;
        let bundle = Bundle::read(&args.pipeline).or_exit(Exit::Usage)?;
        let plan = bundle.pipelines().or_exit(Exit::Usage)?.plan;
        let topic = args.topic.as_ref().map(|name| inputs::topic(&plan, name)).transpose()?;
        let inputs = inputs::inputs(&args.input, topic, args.format)?;
        let limit = if args.dry_run { Some(args.limit.unwrap_or(u64::MAX).min(dry_run::EVENTS)) } else { args.limit };
        let text = bundle.to_text();
        let job = Job { bundle: &text, plan: &plan, inputs: &inputs, limit, sealing: None };
        if args.dry_run {
            let mut tried = DryRun::default();
            let begun = Begun { keeper: None, found: None, keep_every: Duration::MAX };
            batch::run(transport, idle, job, begun, |round, places| {
                tried.take(&round.results, places);
                Ok(0)
            })
            .map_err(failure)?;
            tried.print(&inputs, args.json);
            return Ok(());
        }
        let config = args.store.then(|| store_config(args)).transpose()?;
        let folder = config.as_ref().map_or_else(|| args.output.clone().unwrap_or_default(), |c| c.data_dir.clone());
        // No live job may use what a batch fills.
        let _data = config.as_ref().map(|config| DataDir::lock(&config.data_dir, TWO_JOBS)).transpose()?;
        let kept = Kept::lock(&folder, &job)?;
        let sealing = sealing(ids_in_memory(config.as_ref())?, &kept.scratch());
        let job = Job { sealing: Some(&sealing), ..job };
        let begun = kept.begun(Duration::from_micros(args.keep_every.0.unsigned_abs()))?;
        let stand = begun.found.as_ref().map(|(stand, _)| stand);
        let mut progress = Progress::new(inputs.iter().map(|input| input.bytes).sum(), stand);
        let mut results = match &config {
            Some(config) => Sink::Store(Stored::open(&config.target, &plan, kept.batch, stand)?),
            None => Sink::Folder(Output::open(&folder, kept.unfinished(), stand)?),
        };
        batch::run(transport, idle, job, begun, |round, places| {
            progress.round(round.read_bytes, round.results.counts.total());
            match &mut results {
                Sink::Folder(output) => {
                    output.take(round.results, round.kept, &inputs, places).map_err(BatchError::Output)
                }
                Sink::Store(stored) => stored.take(round.results).map(|()| 0).map_err(BatchError::Store),
            }
        })
        .map_err(failure)?;
        let (counts, digest) = match results {
            Sink::Folder(output) => output.finish(&plan, args.output_format, |names| kept.put(names))?,
            Sink::Store(stored) => stored.finish()?,
        };
        kept.remove()?;
        print_summary(counts, digest, progress.finish(), args.json);
        Ok(())
    })
}

/// The settings, of which only those about the store count here.
fn store_config(args: &Args) -> Result<Config, Failure> {
    let files = args.pipeline.iter().map(|file| file.to_string_lossy()).collect::<Vec<_>>().join(",");
    let (config, _) = Config::load_over(&[("PIPELINES", files)]).or_exit(Exit::Config)?;
    Ok(config)
}

fn ids_in_memory(config: Option<&Config>) -> Result<u64, Failure> {
    match config {
        Some(config) => Ok(config.limits.ids_in_memory),
        None => Config::load_ids_in_memory().or_exit(Exit::Config),
    }
}

/// Where results go.
enum Sink {
    Folder(Output),
    Store(Stored),
}

fn failure(error: BatchError) -> Failure {
    let exit = match error {
        BatchError::Store(error) => return store_failure(&error),
        BatchError::Input(_) => Exit::Input,
        BatchError::Output(_) => Exit::Damaged,
        BatchError::Transport(_) | BatchError::Wire(_) | BatchError::Kept(_) => Exit::TryAgain,
    };
    Failure::new(exit, error)
}

fn print_summary(counts: Counts, digest: u64, seconds: f64, as_json: bool) {
    let (events, Counts { counted, duplicate, filtered, invalid, late }) = (counts.total(), counts);
    if as_json {
        let summary = json!({
            "events": events, "counted": counted, "duplicate": duplicate, "filtered": filtered, "invalid": invalid,
            "late": late, "seconds": seconds, "digest": format!("{digest:016x}"),
        });
        println!("{summary}");
    } else {
        println!(
            "{} in {seconds:.2} s: {counted} counted, {duplicate} duplicate, {filtered} filtered, {invalid} invalid, {late} late",
            count(events, "event")
        );
    }
}
