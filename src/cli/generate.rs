//! `caudal generate`: the seeded generator to stdout, to a file, or posted to a running job.

mod post;

use std::fs::File;
use std::io::{self, BufWriter, IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::{Context, anyhow, bail};
use serde_json::json;

use crate::cli::bar::Bar;
use crate::cli::plural::count;
use crate::clock::{Clock, SystemClock};
use crate::core::time;
use crate::core::units::Micros;
use crate::generate::{Generator, Kind, Settings};
use crate::logging::plain;
use crate::pipeline::{Bundle, BurstHint, Pipelines, duration};

/// Bad usage or a bad pipeline file.
const EXIT_USAGE: u8 = 2;
/// Events in a second of event time where they are posted as fast as they go: their times are those of sending.
const RATE_OF_NOW: f64 = 1e9;
/// Events between two looks at whether it is time to show how far it has come.
const SHOW_EVERY: u64 = 1_024;
/// Written to a file at once.
const BUFFER_BYTES: usize = 1 << 20;

// What --help groups the options by.
const MADE: &str = "What is made";
const WRONG: &str = "What is wrong with it";
const GOES: &str = "Where it goes";

/// Makes events from the topics' schemas and the pipeline file's hints. The same seed gives the same bytes.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Pipeline file
    #[arg(help_heading = MADE, long, value_name = "FILE", default_value = "pipelines/civic_safety/pipeline.yaml")]
    pub pipeline: PathBuf,
    /// How many events
    #[arg(help_heading = MADE, long, value_name = "N", default_value_t = 1000)]
    pub count: u64,
    /// Events a second: of event time, and with --url also of sending [default: 1000 of event time; with --url as fast as it goes]
    #[arg(help_heading = MADE, long, value_name = "R")]
    pub rate: Option<f64>,
    /// Where chance begins: another one gives other events
    #[arg(help_heading = MADE, long, value_name = "S", default_value_t = 1)]
    pub seed: u64,
    /// Probability that an event is the copy of an earlier one
    #[arg(help_heading = WRONG, long, value_name = "P", default_value_t = 0.0)]
    pub duplicates: f64,
    /// Probability that an event is invalid
    #[arg(help_heading = WRONG, long, value_name = "P", default_value_t = 0.0)]
    pub invalid: f64,
    /// Probability that an event's time lies --late-by back
    #[arg(help_heading = WRONG, long, value_name = "P", default_value_t = 0.0)]
    pub late: f64,
    /// How far back the time of a late event lies
    #[arg(help_heading = WRONG, long, value_name = "DURATION", default_value = "1h", value_parser = span)]
    pub late_by: Micros,
    /// Events are up to this much out of order
    #[arg(help_heading = WRONG, long, value_name = "DURATION", default_value = "0s", value_parser = span)]
    pub out_of_order: Micros,
    /// TOPIC:PROBABILITY:SIZE, or none; overrides the pipeline file's hint
    #[arg(help_heading = MADE, long, value_name = "BURST")]
    pub burst: Option<String>,
    /// Event time of the first event, RFC 3339 [default: now with --url, otherwise 2026-01-01T00:00:00Z]
    #[arg(help_heading = MADE, long, value_name = "TIME", value_parser = moment)]
    pub start: Option<Micros>,
    /// Only events of this topic
    #[arg(help_heading = MADE, long, value_name = "TOPIC")]
    pub topic: Option<String>,
    /// Where the lines go; - is stdout
    #[arg(help_heading = GOES, long, value_name = "FILE", default_value = "-", conflicts_with = "url")]
    pub output: PathBuf,
    /// Post the events to this job, such as http://127.0.0.1:5000, until each is acknowledged
    #[arg(help_heading = GOES, long, value_name = "URL")]
    pub url: Option<String>,
    /// Bearer token for --url
    #[arg(help_heading = GOES, long, value_name = "TOKEN", requires = "url")]
    pub token: Option<String>,
    /// Write every line that was acknowledged to this file
    #[arg(help_heading = GOES, long, value_name = "FILE", requires = "url")]
    pub record: Option<PathBuf>,
    /// Print the summary as JSON
    #[arg(long)]
    pub json: bool,
}

/// What was generated, and with `--url` what became of it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Summary {
    events: u64,
    bytes: u64,
    duplicate: u64,
    invalid: u64,
    late: u64,
    acknowledged: u64,
    /// Batches that were sent again.
    resent: u64,
}

/// # Errors
/// If a file cannot be written.
#[expect(clippy::needless_pass_by_value, reason = "a subcommand owns its arguments")]
pub fn run(args: Args) -> anyhow::Result<u8> {
    let pipeline = match Bundle::read(std::slice::from_ref(&args.pipeline)).and_then(|bundle| bundle.pipelines()) {
        Ok(pipeline) => pipeline,
        Err(faults) => {
            writeln!(io::stderr(), "{faults}")?;
            return Ok(EXIT_USAGE);
        }
    };
    let clock = SystemClock::default();
    let generator = match generator(&args, pipeline, &clock) {
        Ok(generator) => generator,
        Err(error) => {
            writeln!(io::stderr(), "caudal generate: {error}")?;
            return Ok(EXIT_USAGE);
        }
    };
    let started = Instant::now();
    let mut bar = bar(&args);
    let (summary, failed) = match &args.url {
        Some(url) => post::run(url, &args, generator, &clock, &mut bar)?,
        None => (write(generator, &args, &mut bar)?, None),
    };
    drop(bar);
    report(&args, &summary, started.elapsed().as_secs_f64())?;
    let Some(failed) = failed else { return Ok(0) };
    // The last line says what to do.
    post::say(&failed.why);
    Ok(failed.code)
}

fn generator(args: &Args, mut pipeline: Pipelines, clock: &dyn Clock) -> anyhow::Result<Generator> {
    let mut burst = args.burst.as_deref().map(|text| burst(text, &pipeline)).transpose()?;
    if let Some(topic) = &args.topic {
        let only = usize::from(pipeline.plan.topic_from_outside(topic).map_err(|why| anyhow!(why))?.0);
        pipeline.hints.weights = (0..pipeline.plan.topics.len()).map(|at| if at == only { 1.0 } else { 0.0 }).collect();
        pipeline.hints.bursts.retain(|burst| burst.topic == only);
    }
    if burst.as_ref().is_some_and(|burst| burst.probability == 0.0) {
        (burst, pipeline.hints.bursts) = (None, Vec::new());
    }
    let start = match (args.start, &args.url) {
        (Some(start), _) => start,
        (None, Some(_)) => clock.unix().micros(),
        (None, None) => Settings::default().start,
    };
    let rate_default = if args.url.is_some() && args.start.is_none() { RATE_OF_NOW } else { Settings::default().rate };
    let settings = Settings {
        seed: args.seed,
        start,
        rate: args.rate.unwrap_or(rate_default),
        duplicates: args.duplicates,
        invalid: args.invalid,
        late: args.late,
        late_by: args.late_by,
        out_of_order: args.out_of_order,
        burst,
    };
    let generator = Generator::new(&pipeline, settings).map_err(|why| anyhow!(why))?;
    for why in generator.left_out() {
        eprintln!("caudal generate: no events are made of {}", plain(why));
    }
    Ok(generator)
}

fn burst(text: &str, pipeline: &Pipelines) -> anyhow::Result<BurstHint> {
    const NONE: BurstHint = BurstHint { topic: 0, probability: 0.0, size: 1 };
    if text == "none" {
        return Ok(NONE);
    }
    let wrong =
        || anyhow!("--burst {text:?}: TOPIC:PROBABILITY:SIZE is allowed, such as security.incident:0.02:200, or none");
    let mut parts = text.rsplitn(3, ':');
    let (size, probability, topic) = (parts.next(), parts.next(), parts.next());
    let topic = topic.ok_or_else(wrong)?;
    let at = pipeline.plan.topic_from_outside(topic).map_err(|why| anyhow!(why))?;
    let probability = probability.and_then(|p| p.parse().ok()).filter(|p| (0.0..=1.0).contains(p)).ok_or_else(wrong)?;
    let size = size.and_then(|s| s.parse().ok()).filter(|&s| s > 0).ok_or_else(wrong)?;
    Ok(BurstHint { topic: usize::from(at.0), probability, size })
}

fn write(mut generator: Generator, args: &Args, bar: &mut Bar) -> anyhow::Result<Summary> {
    let to_stdout = args.output == Path::new("-");
    let raw: Box<dyn Write> = if to_stdout {
        Box::new(io::stdout().lock())
    } else {
        Box::new(File::create(&args.output).with_context(|| format!("cannot write {}", args.output.display()))?)
    };
    let mut out = BufWriter::with_capacity(BUFFER_BYTES, raw);
    let mut summary = Summary::default();
    let mut line = Vec::new();
    for _ in 0..args.count {
        line.clear();
        let (_, kind) = generator.write(&mut line);
        line.push(b'\n');
        summary.count(kind, line.len());
        if let Err(error) = out.write_all(&line) {
            return stopped(summary, &error);
        }
        if summary.events.is_multiple_of(SHOW_EVERY) {
            bar.show(summary.events, args.count);
        }
    }
    match out.flush() {
        Ok(()) => Ok(summary),
        Err(error) => stopped(summary, &error),
    }
}

/// Whoever reads the lines may have had enough of them (`| head`): that is no failure.
fn stopped(summary: Summary, error: &io::Error) -> anyhow::Result<Summary> {
    if error.kind() == io::ErrorKind::BrokenPipe { Ok(summary) } else { bail!("cannot write the events: {error}") }
}

impl Summary {
    fn count(&mut self, kind: Kind, bytes: usize) {
        self.events += 1;
        self.bytes += bytes as u64;
        match kind {
            Kind::Valid => {}
            Kind::Duplicate => self.duplicate += 1,
            Kind::Invalid => self.invalid += 1,
            Kind::Late => self.late += 1,
        }
    }
}

/// To stderr, but JSON to stdout where no event goes there.
fn report(args: &Args, summary: &Summary, seconds: f64) -> anyhow::Result<()> {
    let Summary { events, bytes, duplicate, invalid, late, acknowledged, resent } = *summary;
    if !args.json {
        let sent = if args.url.is_some() {
            format!(", {acknowledged} acknowledged, {} sent again", batches(resent))
        } else {
            String::new()
        };
        let (events, bytes) = (count(events, "event"), count(bytes, "byte"));
        let made = format!("{events} ({duplicate} duplicate, {invalid} invalid, {late} late), {bytes}");
        writeln!(io::stderr(), "{made} in {seconds:.1} s{sent}")?;
        return Ok(());
    }
    let mut object = json!({
        "events": events, "bytes": bytes, "duplicate": duplicate, "invalid": invalid, "late": late, "seconds": seconds,
    });
    if let Some(object) = object.as_object_mut().filter(|_| args.url.is_some()) {
        object.insert("acknowledged".to_owned(), acknowledged.into());
        object.insert("resent".to_owned(), resent.into());
    }
    if args.url.is_none() && args.output == Path::new("-") {
        writeln!(io::stderr(), "{object}")?;
    } else {
        writeln!(io::stdout(), "{object}")?;
    }
    Ok(())
}

fn batches(n: u64) -> String {
    if n == 1 { "1 batch".to_owned() } else { format!("{n} batches") }
}

/// A terminal that shows the events themselves gets no bar.
fn bar(args: &Args) -> Bar {
    let lines_on_terminal = args.url.is_none() && args.output == Path::new("-") && io::stdout().is_terminal();
    if lines_on_terminal { Bar::hidden() } else { Bar::new(0) }
}

/// A duration as pipeline files have it.
pub fn span(text: &str) -> Result<Micros, String> {
    duration::parse(text).ok_or_else(|| format!("{} is allowed", duration::ALLOWED))
}

fn moment(text: &str) -> Result<Micros, String> {
    time::parse(text.as_bytes())
        .ok_or_else(|| "an RFC 3339 time with a zone is allowed, such as 2026-11-22T12:00:00Z".to_owned())
}
