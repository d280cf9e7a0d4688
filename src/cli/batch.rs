//! `caudal batch`: files in, a CSV a window out.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use serde_json::json;

use crate::cli::exit::{Exit, Failure, OrExit};
use crate::cli::ranks;
use crate::coordinator::batch::{self, BatchError, Input};
use crate::coordinator::gather::Results;
use crate::core::columns::GroupValue;
use crate::core::ledger::Counts;
use crate::core::plan::Plan;
use crate::core::row::{DeadLetter, Value, ViewRow, WindowRow};
use crate::core::time;
use crate::core::units::TopicId;
use crate::pipeline::Bundle;

/// Reads events from NDJSON files, each counted once, and writes `WINDOW.csv` for each window, `VIEW.view.ndjson` for each view, and `rejects.ndjson`.
#[derive(clap::Args, Debug)]
pub struct Args {
    /// The pipeline file, or several.
    #[arg(long, value_name = "FILE", required = true, num_args = 1..)]
    pipeline: Vec<PathBuf>,
    /// NDJSON files; a pattern may name several. Read in the order given, and by name within a pattern.
    #[arg(long, value_name = "GLOB", required = true, num_args = 1..)]
    input: Vec<String>,
    /// The topic of all events; without it each event names its own in the topic field.
    #[arg(long, value_name = "TOPIC")]
    topic: Option<String>,
    /// The folder of the results: made if it is missing, files in it are replaced.
    #[arg(long, value_name = "DIR")]
    output: PathBuf,
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
        let started = Instant::now();
        let bundle = Bundle::read(&args.pipeline).or_exit(Exit::Usage)?;
        let plan = bundle.pipelines().or_exit(Exit::Usage)?.plan;
        let topic = args.topic.as_ref().map(|name| topic(&plan, name)).transpose()?;
        let inputs = inputs(&args.input, topic)?;
        let mut output = Output::create(&args.output)?;
        let each = |_, results| output.take(results).map_err(BatchError::Output);
        batch::run(transport, idle, &bundle.to_text(), &inputs, each).map_err(failure)?;
        let counts = output.counts;
        output.finish(&plan, &args.output)?;
        print_summary(counts, started.elapsed().as_secs_f64(), args.json);
        Ok(())
    })
}

fn failure(error: BatchError) -> Failure {
    let exit = match error {
        BatchError::Input(_) => Exit::Input,
        BatchError::Output(_) => Exit::Damaged,
        BatchError::Transport(_) | BatchError::Wire(_) => Exit::TryAgain,
    };
    Failure::new(exit, error)
}

fn topic(plan: &Plan, name: &str) -> Result<TopicId, Failure> {
    let names = || plan.topics.iter().map(|topic| topic.name.as_str()).collect::<Vec<_>>().join(", ");
    let unknown = || {
        Failure::new(Exit::Usage, format!("--topic {name}: the pipelines have no such topic; they have {}", names()))
    };
    plan.topic(name).ok_or_else(unknown)
}

fn inputs(patterns: &[String], topic: Option<TopicId>) -> Result<Vec<Input>, Failure> {
    let mut inputs = Vec::new();
    for pattern in patterns {
        let paths = glob::glob(pattern).map_err(|e| format!("--input {pattern}: {e}")).or_exit(Exit::Usage)?;
        let before = inputs.len();
        for path in paths {
            let path = path.or_exit(Exit::Input)?;
            let facts = fs::metadata(&path).map_err(|e| format!("{}: {e}", path.display())).or_exit(Exit::Input)?;
            if facts.is_file() {
                // Workers may have another working directory.
                let path =
                    fs::canonicalize(&path).map_err(|e| format!("{}: {e}", path.display())).or_exit(Exit::Input)?;
                let path = path.into_os_string().into_string();
                let path = path.map_err(|p| format!("{}: not a UTF-8 name", p.display())).or_exit(Exit::Input)?;
                inputs.push(Input { path, topic, bytes: facts.len() });
            }
        }
        if inputs.len() == before {
            return Err(Failure::new(Exit::Input, format!("--input {pattern}: no such file")));
        }
    }
    Ok(inputs)
}

/// What has come so far.
struct Output {
    rejects: BufWriter<File>,
    rows: Vec<WindowRow>,
    /// By view and key.
    views: BTreeMap<(usize, Arc<str>), ViewRow>,
    counts: Counts,
}

impl Output {
    fn create(dir: &Path) -> Result<Self, Failure> {
        let rejects = fs::create_dir_all(dir).and_then(|()| File::create(dir.join("rejects.ndjson")));
        let rejects = rejects.map_err(|e| format!("--output {}: {e}", dir.display())).or_exit(Exit::Damaged)?;
        Ok(Self {
            rejects: BufWriter::new(rejects),
            rows: Vec::new(),
            views: BTreeMap::new(),
            counts: Counts::default(),
        })
    }

    fn take(&mut self, results: Results) -> std::io::Result<()> {
        self.counts += results.counts;
        self.rows.extend(results.rows);
        self.views.extend(results.views.into_iter().map(|row| ((row.view, Arc::clone(&row.key)), row)));
        results.dead_letters.iter().try_for_each(|letter| writeln!(self.rejects, "{}", reject(letter)))
    }

    fn finish(mut self, plan: &Plan, dir: &Path) -> Result<(), Failure> {
        let written =
            |error: std::io::Error| Failure::new(Exit::Damaged, format!("--output {}: {error}", dir.display()));
        self.rejects.flush().map_err(written)?;
        self.rows.sort_by(|a, b| (a.window, a.start, &a.group).cmp(&(b.window, b.start, &b.group)));
        for (index, window) in plan.windows.iter().enumerate() {
            let rows = self.rows.iter().filter(|row| row.window == index);
            // Windows of several pipelines may be called alike.
            let of_pipeline = match plan.pipelines.as_slice() {
                [_] => String::new(),
                _ => format!("{}_", plan.pipeline_of(window).name),
            };
            let file = dir.join(format!("{of_pipeline}{}.csv", window.name));
            write_csv(&file, plan, index, rows).map_err(|e| written(e.into()))?;
        }
        for (index, view) in plan.views.iter().enumerate() {
            let rows = self.views.values().filter(|row| row.view == index);
            // A name has no dot: whatever the view is called, this is not `rejects.ndjson`.
            write_view(&dir.join(format!("{}.view.ndjson", view.name)), rows).map_err(written)?;
        }
        Ok(())
    }
}

/// One line of `rejects.ndjson`. `position`: of the line's first byte in the inputs laid end to end. Bytes that are no UTF-8 are replaced.
fn reject(letter: &DeadLetter) -> serde_json::Value {
    json!({
        "position": letter.offset.0,
        "topic": letter.topic,
        "reason": letter.reason.name(),
        "detail": letter.detail,
        "body": String::from_utf8_lossy(&letter.body),
    })
}

/// One line a key, ordered by key. The value goes in as it stands.
fn write_view<'a>(path: &Path, rows: impl Iterator<Item = &'a ViewRow>) -> std::io::Result<()> {
    let mut out = BufWriter::new(File::create(path)?);
    for ViewRow { key, value, events, time, .. } in rows {
        let (key, time) = (json!(key.as_ref()), json!(time::format(*time)));
        writeln!(out, r#"{{"key":{key},"value":{value},"events":{events},"time":{time}}}"#)?;
    }
    out.flush()
}

fn write_csv<'a>(
    path: &Path,
    plan: &Plan,
    window: usize,
    rows: impl Iterator<Item = &'a WindowRow>,
) -> Result<(), csv::Error> {
    let Some(window) = plan.windows.get(window) else { panic!("window {window} is none of the plan's") };
    let mut csv = csv::Writer::from_path(path)?;
    let names = window.group.iter().map(|field| &field.name).chain(window.metrics.iter().map(|(name, _)| name));
    let header = std::iter::once("window_start").chain(names.map(String::as_str)).chain(["event_count"]);
    csv.write_record(header)?;
    for row in rows {
        let group = row.group.iter().map(group_text);
        let values = row.values.iter().map(value_text);
        let cells = std::iter::once(time::format(row.start)).chain(group).chain(values);
        csv.write_record(cells.chain([row.event_count.to_string()]))?;
    }
    csv.flush()?;
    Ok(())
}

fn group_text(value: &GroupValue) -> String {
    match value {
        GroupValue::Null => String::new(),
        GroupValue::Bool(b) => b.to_string(),
        GroupValue::Integer(i) => i.to_string(),
        GroupValue::Text(text) => text.to_string(),
    }
}

fn value_text(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::Integer(i) => i.to_string(),
        Value::Number(n) => n.to_string(),
        Value::Boolean(b) => b.to_string(),
        Value::Text(text) => text.to_string(),
    }
}

fn print_summary(counts: Counts, seconds: f64, as_json: bool) {
    let (events, Counts { counted, duplicate, filtered, invalid, late }) = (counts.total(), counts);
    if as_json {
        let summary = json!({
            "events": events, "counted": counted, "duplicate": duplicate, "filtered": filtered, "invalid": invalid,
            "late": late, "seconds": seconds,
        });
        println!("{summary}");
    } else {
        println!(
            "{events} events in {seconds:.2} s: {counted} counted, {duplicate} duplicate, {filtered} filtered, \
             {invalid} invalid, {late} late"
        );
    }
}
