//! What is deployed beside a job to watch it, and what the documentation says of it, against what a job really exports.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::Write;
use std::process::{Command, Stdio};

use serde_json::Value;

use crate::observability::exposition::{Metric, metrics};
use crate::support::job::{Job, root};
use crate::support::traffic::{civic_safety, events, send_all};

fn read(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

pub fn promtool() -> Command {
    Command::new("promtool")
}

/// Its output, if it says that all is well.
fn succeeds(command: &mut Command, stdin: &str) -> String {
    let started = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
    let mut child = started.unwrap_or_else(|error| {
        panic!("{command:?}: {error}; Debian's package prometheus has promtool: apt-get install prometheus")
    });
    child.stdin.take().expect("a pipe").write_all(stdin.as_bytes()).expect("it reads");
    let output = child.wait_with_output().expect("it ends");
    let text = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}:\n{text}");
    text
}

/// Each row of the documentation's table: name, then type and labels.
fn documented() -> BTreeMap<String, Metric> {
    let text = read("docs/observability.md");
    let rows = text.lines().filter(|line| line.starts_with("| `caudal_"));
    let metric = |row: &str| {
        let cells: Vec<&str> = row.split('|').map(str::trim).collect();
        let [_, name, kind, labels, meaning, _] = cells[..] else { panic!("not four cells: {row}") };
        assert!(meaning.ends_with('.'), "{row}");
        let labels = labels.split(',').map(|label| label.trim().trim_matches('`').to_owned());
        let labels = labels.filter(|label| !label.is_empty()).collect();
        (name.trim_matches('`').to_owned(), Metric { kind: kind.to_owned(), labels: Some(labels) })
    };
    rows.map(metric).collect()
}

/// Names of metrics in a query.
fn named(query: &str) -> BTreeSet<String> {
    let words = query.split(|c: char| !(c.is_ascii_alphanumeric() || c == '_'));
    words.filter(|word| word.starts_with("caudal_")).map(str::to_owned).collect()
}

#[test]
fn names_are_found_in_queries() {
    let query = "sum by (le) (rate(caudal_x_bucket{job=\"$job\"}[5m])) / caudal_y > 0.1";
    assert_eq!(named(query), ["caudal_x_bucket", "caudal_y"].map(str::to_owned).into());
}

fn dashboard() -> Value {
    serde_json::from_str(&read("deploy/grafana/caudal.json")).expect("JSON")
}

/// What the dashboard's panels ask.
pub fn queries() -> Vec<String> {
    let dashboard = dashboard();
    let panels = dashboard["panels"].as_array().expect("panels");
    let targets = panels.iter().flat_map(|panel| panel["targets"].as_array().cloned().unwrap_or_default());
    let queries: Vec<String> = targets.map(|t| t["expr"].as_str().expect("an expression").to_owned()).collect();
    assert!(queries.len() > 30, "{}", queries.len());
    queries
}

#[test]
fn everything_named_is_exported_and_everything_exported_is_documented() {
    let job = Job::start(2);
    send_all(&job.client, &events(&civic_safety(), 5, 500));
    job.wait_settled();
    let (status, text) = job.client.get("/metrics");
    assert_eq!(status, 200);
    let linted = succeeds(promtool().args(["check", "metrics"]), &text);
    assert_eq!(linted.trim(), "", "promtool has nothing to say");
    job.stop();

    let exported = metrics(&text);
    let documented = documented();
    let names = |of: &BTreeMap<String, Metric>| of.keys().cloned().collect::<Vec<_>>();
    assert_eq!(names(&exported), names(&documented), "exported, then documented");
    for (name, metric) in &exported {
        assert_eq!(metric.kind, documented[name].kind, "{name}");
        assert!(metric.labels.is_none() || metric.labels == documented[name].labels, "{name}: {metric:?}");
    }
    let samples: BTreeSet<String> = exported
        .iter()
        .flat_map(|(name, metric)| {
            let parts: &[&str] = if metric.kind == "histogram" { &["", "_bucket", "_sum", "_count"] } else { &[""] };
            parts.iter().map(move |part| format!("{name}{part}"))
        })
        .collect();
    let others = dashboard();
    let others = [others["templating"].to_string(), others["annotations"].to_string()];
    let rules = ["alerts.yml", "alerts_test.yml"].map(|file| read(&format!("deploy/prometheus/{file}")));
    for query in queries().into_iter().chain(others).chain(rules) {
        for name in named(&query) {
            assert!(samples.contains(&name), "no job exports {name}, which is in {query}");
        }
    }
}

#[test]
fn alert_rules_fire_when_they_should() {
    let folder = root().join("deploy/prometheus");
    succeeds(promtool().args(["check", "config", "prometheus.yml"]).current_dir(&folder), "");
    succeeds(promtool().args(["test", "rules", "alerts_test.yml"]).current_dir(&folder), "");
    let (rules, tests) = (read("deploy/prometheus/alerts.yml"), read("deploy/prometheus/alerts_test.yml"));
    let alerts = rules.lines().filter_map(|line| line.trim().strip_prefix("- alert: "));
    for alert in alerts {
        let tested = tests.split("- eval_time:").filter(|test| test.contains(&format!("alertname: {alert}\n")));
        let fires = tested.clone().any(|test| test.contains("exp_labels"));
        let is_silent = tested.clone().any(|test| test.contains("exp_alerts: []"));
        assert!(fires && is_silent, "{alert} is not shown firing and not firing");
    }
}
