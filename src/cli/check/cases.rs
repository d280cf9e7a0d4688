//! Runs a pipeline file's own tests: the events that are given go through the engine as a batch, and what comes out is held against what is expected.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use serde_json::{Map, Value};

use crate::coordinator::gather::Results;
use crate::coordinator::rehearsal::rehearse;
use crate::core::plan::Plan;
use crate::core::row::WindowRow;
use crate::core::time;
use crate::pipeline::Fault;
use crate::pipeline::cases::{Case, Expected, Given};
use crate::store::StoredRow;

/// Rows that a failed expectation shows.
const SHOWN_MAX: usize = 5;

/// A test that did not come out as its file says.
#[derive(Debug)]
pub struct Failed {
    pub test: String,
    pub line: usize,
    pub column: usize,
    pub message: String,
}

/// Those expectations of a file's tests that failed. What other pipelines of the job make of the events does not matter: the file's own is alone here.
pub fn run(file: &Path, plan: &Arc<Plan>, cases: &[Case]) -> Vec<Failed> {
    let failed = cases.iter().flat_map(|case| {
        let failed = |(line, column), message| Failed { test: case.name.clone(), line, column, message };
        match results(file, plan, case) {
            Ok(results) => {
                compare(plan, case, &results).into_iter().map(|(place, message)| failed(place, message)).collect()
            }
            Err((place, why)) => vec![failed(place, why)],
        }
    });
    failed.collect()
}

/// The same as faults, of a file that only came as text; its tests give their events themselves.
pub fn faults(plan: &Arc<Plan>, cases: &[Case]) -> Vec<Fault> {
    let fault = |Failed { test, line, column, message }| Fault {
        file: String::new(),
        line,
        column,
        message: format!("test {test:?} failed: {message}"),
        excerpt: String::new(),
    };
    run(Path::new(""), plan, cases).into_iter().map(fault).collect()
}

type Place = (usize, usize);

fn results(file: &Path, plan: &Arc<Plan>, case: &Case) -> Result<Results, (Place, String)> {
    let lines = match &case.given {
        Given::File(given) => {
            let path = file.parent().unwrap_or(Path::new("")).join(&given.it);
            let place = (given.place.line, given.place.column);
            fs::read(&path).map_err(|error| (place, format!("cannot read {}: {error}", path.display())))?
        }
        Given::Events(events) => events.iter().flat_map(|event| format!("{event}\n").into_bytes()).collect(),
    };
    let topic = case.topic.as_ref().and_then(|topic| plan.topic(&topic.it));
    rehearse(plan, topic, lines.into()).map_err(|error| ((0, 0), error.to_string()))
}

fn compare(plan: &Plan, case: &Case, results: &Results) -> Vec<(Place, String)> {
    let mut failed = Vec::new();
    for (what, expected) in &case.expected {
        let window = plan.windows.iter().position(|window| window.name == what.it);
        let rows: Vec<Map<String, Value>> =
            results.rows.iter().filter(|row| Some(row.window) == window).map(|row| columns(plan, row)).collect();
        let place = (what.place.line, what.place.column);
        match expected {
            Expected::Number(wanted) => {
                let found = if window.is_some() { rows.len() as u64 } else { fate(results, &what.it) };
                if found != *wanted {
                    failed.push((place, format!("{}: {wanted} expected, {found} found", what.it)));
                }
            }
            Expected::Rows(wanted) => {
                for row in wanted.iter().filter(|wanted| !rows.iter().any(|row| has(row, &wanted.it))) {
                    let shown: Vec<String> =
                        rows.iter().take(SHOWN_MAX).map(|row| Value::Object(row.clone()).to_string()).collect();
                    let shown = if shown.is_empty() { "no row".to_owned() } else { shown.join("\n    ") };
                    let wanted = Value::Object(row.it.clone());
                    failed.push((
                        (row.place.line, row.place.column),
                        format!("{}: no row is {wanted}; of {} there are\n    {shown}", what.it, rows.len()),
                    ));
                }
            }
        }
    }
    failed
}

fn fate(results: &Results, name: &str) -> u64 {
    let counts = results.counts;
    match name {
        "counted" => counts.counted,
        "duplicate" => counts.duplicate,
        "filtered" => counts.filtered,
        "invalid" => counts.invalid,
        "late" => counts.late,
        _ => panic!("the planner has refused {name}"),
    }
}

fn columns(plan: &Plan, row: &WindowRow) -> Map<String, Value> {
    let stored = StoredRow::of(plan, row);
    let mut columns = Map::new();
    for json in [&stored.group, &stored.values] {
        // Both were written as JSON objects.
        columns.extend(serde_json::from_str::<Map<String, Value>>(json).unwrap_or_default());
    }
    columns.insert("window_start".to_owned(), time::format(row.start).into());
    columns.insert("window_end".to_owned(), time::format(row.end).into());
    columns.insert("event_count".to_owned(), row.event_count.into());
    columns
}

fn has(row: &Map<String, Value>, wanted: &Map<String, Value>) -> bool {
    // 3 and 3.0 are one number; two whole ones are compared as they are, since a double would take neighbours beyond 2^53 for one.
    let same = |a: &Value, b: &Value| match (a.as_f64(), b.as_f64()) {
        (Some(left), Some(right)) if a.is_f64() || b.is_f64() => left.total_cmp(&right).is_eq(),
        _ => a == b,
    };
    wanted.iter().all(|(name, value)| row.get(name).is_some_and(|found| same(found, value)))
}
