//! What the language costs: `caudal batch` with two workers over the same lines, with windows and metrics of several kinds, in turn. How long `check` takes for a file of
//! 200 lines. What a group that is open takes in memory.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use caudal::core::aggregate::{Contribution, PaneKey, Rows, preaggregate};
use caudal::core::columns::{Column, GroupValue};
use caudal::core::plan::{ColumnKind, Plan};
use caudal::core::units::{Micros, Offset};
use caudal::core::window::Panes;
use caudal::pipeline::{Bundle, FileText, Pipelines};

use crate::batch::{EVENTS, batch, generate, median};

const ROUNDS: usize = 5;
const GROUPS: usize = 1_000_000;
/// As often a file is read.
const READS: usize = 21;

/// What takes the place of the pipeline's windows; the first is what the others are compared with.
const WINDOWS: [(&str, &str); 4] = [
    ("a plain count", "windows:\n  w: {every: 1m, group: [source, region], metrics: {n: count()}}\n"),
    (
        "five metrics, a filter, a derived column",
        "derive: {doubled: payload.age * 2}\nfilter: region IS NOT NULL\nwindows:\n  w:\n    every: 1m\n    group: [source, region]\n    metrics: \
         {n: count(), mean: mean(payload.age), most: max(payload.age), least: min(payload.age), doubled: sum(doubled)}\n",
    ),
    (
        "hopping, 60 panes",
        "windows:\n  w: {every: {size: 1m, every: 1s}, emit: never, group: [source, region], metrics: {n: count()}}\n",
    ),
    ("tumbling, as large", "windows:\n  w: {every: 1m, emit: never, group: [source, region], metrics: {n: count()}}\n"),
];

pub fn run(dir: &Path, pipeline_file: &Path, pipeline: &Pipelines) {
    memory();
    check();
    let input = dir.join("events.ndjson");
    generate(&input, pipeline);
    let files: Vec<PathBuf> = (0..).zip(WINDOWS).map(|(n, (_, windows))| variant(pipeline_file, n, windows)).collect();
    let mut seconds = vec![Vec::new(); files.len()];
    for _ in 0..ROUNDS {
        for (file, seconds) in files.iter().zip(&mut seconds) {
            seconds.push(batch(dir, file, &input));
        }
    }
    let seconds: Vec<f64> = seconds.iter_mut().map(|seconds| median(seconds)).collect();
    for ((name, _), took) in WINDOWS.iter().zip(&seconds) {
        println!(
            "language: {name}: {took:.2} s = {:.0} events/s, {:.2} of the rate of {}",
            EVENTS as f64 / took,
            seconds[0] / took,
            WINDOWS[0].0
        );
    }
    println!("language: hopping takes {:.2} x what tumbling does (medians of {ROUNDS})", seconds[2] / seconds[3]);
    fs::remove_file(&input).expect("the input");
}

/// The pipeline file with these windows in the place of its own.
fn variant(pipeline_file: &Path, number: usize, windows: &str) -> PathBuf {
    let text = fs::read_to_string(pipeline_file).expect("the pipeline file");
    let head = text.split("windows:").next().expect("what stands before the windows");
    let path = pipeline_file.with_file_name(format!("language_{number}.yaml"));
    fs::write(&path, format!("{head}\n{windows}\naudit: none\n")).expect("a file");
    path
}

/// Reading and planning a file of 200 lines, its schema included.
fn check() {
    let mut text = "pipeline: p\ntopics: {t: {schema: t.json}}\ntime: {field: at}\nwindows:\n".to_owned();
    for window in 0..28 {
        let _ = write!(
            text,
            "  w_{window}:\n    every: {{size: 1m, every: 10s}}\n    group: [region]\n    late: {{allow: 10s}}\n    metrics:\n      n: count()\n      \
             m: mean(CASE WHEN age > {window} THEN age * 2 ELSE score END)\n"
        );
    }
    assert_eq!(text.lines().count(), 200);
    let schema = r#"{"properties": {"at": {"type": "string"}, "region": {"type": "string"}, "age": {"type": "number"}, "score": {"type": "number"}}}"#;
    let schemas = vec![("t.json".to_owned(), schema.to_owned())];
    let bundle = Bundle(vec![FileText { file: "p.yaml".to_owned(), text, schemas }]);
    let mut reads: Vec<f64> = (0..READS)
        .map(|_| {
            let begun = Instant::now();
            bundle.pipelines().unwrap_or_else(|faults| panic!("{faults}"));
            begun.elapsed().as_secs_f64() * 1000.0
        })
        .collect();
    println!("language: a file of 200 lines is checked in {:.1} ms (median of {READS})", median(&mut reads));
}

/// A million groups of one window, open at once.
fn memory() {
    // All are kept to the end: memory that was given back would be used again, and not be seen.
    let mut kept = Vec::new();
    for metrics in ["n: count()", "n: count(), sum: sum(age), most: max(age)", "n: count(), mean: mean(score)"] {
        let plan = plan(metrics);
        let partial = one_event(&plan);
        let mut panes = Panes::new(Arc::clone(&plan));
        let before = resident();
        for number in 0..GROUPS {
            let group = vec![GroupValue::Text(format!("group {number:07}").into())];
            let key = PaneKey { window: 0, start: Micros(0), group };
            panes.merge(Contribution { key, last: Micros(0), partial: partial.partial.clone() });
        }
        let bytes = resident().saturating_sub(before) as f64 / GROUPS as f64;
        assert_eq!(panes.len(), GROUPS);
        println!("language: {GROUPS} open groups of {{{metrics}}} take {bytes:.0} bytes each");
        kept.push(panes);
    }
}

fn plan(metrics: &str) -> Arc<Plan> {
    let text = format!(
        "pipeline: p\ntopics: {{t: {{schema: t.json}}}}\ntime: {{field: at}}\nwindows:\n  w: {{every: 1h, group: [region], metrics: {{{metrics}}}}}\n"
    );
    let schema = r#"{"properties": {"at": {"type": "string"}, "region": {"type": "string"}, "age": {"type": "integer"}, "score": {"type": "number"}}}"#;
    let schemas = vec![("t.json".to_owned(), schema.to_owned())];
    let bundle = Bundle(vec![FileText { file: "p.yaml".to_owned(), text, schemas }]);
    bundle.pipelines().unwrap_or_else(|faults| panic!("{faults}")).plan
}

/// What one event comes to.
fn one_event(plan: &Plan) -> Contribution {
    let fields: Vec<Column> = plan
        .columns
        .iter()
        .map(|column| match column.kind {
            ColumnKind::Group => Column::Group { codes: vec![0], dictionary: vec![GroupValue::Text("x".into())] },
            ColumnKind::Integer => Column::Integer(vec![Some(7)]),
            ColumnKind::Number => Column::Number(vec![Some(1.25)]),
            ColumnKind::Boolean | ColumnKind::Json => panic!("no window here has such a column"),
        })
        .collect();
    let rows = Rows { time: &[Micros(0)], offset: &[Offset(0)], fields: &fields, skip: None };
    preaggregate(plan, 0, &rows).pop().expect("one pane")
}

/// Bytes of this process in memory.
fn resident() -> usize {
    let pages = fs::read_to_string("/proc/self/statm").expect("/proc");
    let pages: usize = pages.split(' ').nth(1).and_then(|n| n.parse().ok()).expect("pages in memory");
    pages * 4096
}
