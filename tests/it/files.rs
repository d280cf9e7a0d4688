//! The program over pipeline files, without a job: `check` with the files' own tests, `batch` with views; the shipped applications.

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::support::job::{caudal, root};

const FILE: &str = "pipeline: orders
topics:
  order: {schema: order.json}
id:   id
time: {field: at, zone: UTC}
filter: country <> 'XX'
windows:
  hourly:
    every: 1h
    group: [country]
    metrics: {n: count(), revenue: 'sum(price * amount)', cheapest: min(price)}
views:
  customers: {key: customer, latest: [country, price]}
tests:
  - name: by country
    given:
      - {source: order, id: a, at: 2026-11-22 12:00:00, country: CL, price: 2.5, amount: 2, customer: c}
      - {source: order, id: b, at: 2026-11-22 12:59:59, country: CL, price: 1, amount: 1, customer: c}
      - {source: order, id: b, at: 2026-11-22 12:59:59, country: CL, price: 1, amount: 1}
      - {source: order, id: c, at: 2026-11-22 12:00:00, country: XX, price: 1, amount: 1}
    expect:
      hourly: [{window_start: \"2026-11-22T12:00:00Z\", country: CL, n: 2, revenue: 6, cheapest: 1}]
      duplicate: 1
      filtered: 1
";
const SCHEMA: &str = r#"{"type": "object", "properties": {"source": {"type": "string"}, "id": {"type": "string"}, "at": {"type": "string"}, "country": {"type": "string"},
    "price": {"type": "number"}, "amount": {"type": "integer"}, "customer": {"type": "string"}}}"#;

fn folder(file: &str) -> TempDir {
    let folder = TempDir::new().unwrap();
    fs::write(folder.path().join("p.yaml"), file).unwrap();
    fs::write(folder.path().join("order.json"), SCHEMA).unwrap();
    folder
}

fn run(folder: &Path, args: &[&str]) -> Output {
    Command::new(caudal()).args(args).current_dir(folder).output().unwrap()
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
}

#[test]
fn check_runs_the_files_own_tests() {
    let check = |file: &str| {
        let output = run(folder(file).path(), &["check", "p.yaml"]);
        (output.status.code().unwrap(), said(&output))
    };
    let (code, told) = check(FILE);
    assert_eq!(
        (code, told.trim_end()),
        (0, "p.yaml: ok (pipeline orders: 1 topic, 1 window, 3 metrics, 1 test passed)")
    );
    for (from, to, place, part) in [
        ("n: 2,", "n: 3,", "22:16", r#"hourly: no row is {"cheapest":1,"country":"CL","n":3"#),
        ("revenue: 6,", "revenue: 6.5,", "22:16", r#""revenue":6.0"#),
        ("filtered: 1", "filtered: 2", "24:7", "filtered: 2 expected, 1 found"),
        ("hourly: [{", "hourly: 2\n      counted: 2\n      invalid: [{", "24:7", "invalid is a number of events"),
        ("duplicate: 1", "counted: 1", "23:7", "counted: 1 expected, 2 found"),
    ] {
        let (code, told) = check(&FILE.replace(from, to));
        assert_eq!(code, 2, "{to}: {told}");
        assert!(told.starts_with(&format!("p.yaml:{place}: ")) && told.contains(part), "{to}: {told}");
    }
    // Neighbours that are one double are two integers.
    let large =
        FILE.replace("cheapest: min(price)}", "most: max(amount)}").replace("amount: 2,", "amount: 9007199254740993,");
    for (most, wanted) in [("9007199254740993", 0), ("9007199254740992", 2)] {
        let (code, told) = check(&large.replace("revenue: 6, cheapest: 1", &format!("most: {most}")));
        assert_eq!(code, wanted, "{most}: {told}");
    }
    let given = FILE.replace("given:\n", "given: none.ndjson\n    x:\n");
    let (code, told) = check(&given);
    assert!(code == 2 && told.contains("unknown key \"x\""), "{told}");
}

#[test]
fn a_batch_writes_windows_and_views() {
    // A view may be called as the file of what was refused is.
    let folder = folder(&FILE.replace("customers:", "rejects:"));
    let lines = [
        json!({"source": "order", "id": "1", "at": "2026-11-22 12:00:00", "country": "CL", "price": 1.5, "amount": 2, "customer": "c"}),
        json!({"source": "order", "id": "2", "at": "2026-11-22 11:00:00", "country": "PE", "price": 9, "amount": 1, "customer": "c"}),
        json!({"source": "order", "id": "3", "at": "2026-11-22 13:00:00", "price": 3, "customer": "a \"b\""}),
        json!({"source": "order", "id": "4", "at": "2026-11-22 13:00:00", "country": "XX", "price": 3, "customer": "x"}),
        json!({"source": "order", "id": "5", "at": "2026-11-22 13:00:00", "price": "dear"}),
    ];
    let lines: String = lines.iter().map(|line| format!("{line}\n")).collect();
    fs::write(folder.path().join("orders.ndjson"), lines).unwrap();
    let output =
        run(folder.path(), &["batch", "--pipeline", "p.yaml", "--input", "orders.ndjson", "--output", "out", "--json"]);
    assert!(output.status.success(), "{}", said(&output));
    let summary: Value = serde_json::from_str(said(&output).lines().next().unwrap()).unwrap();
    assert_eq!((&summary["counted"], &summary["filtered"]), (&json!(2), &json!(2)), "{summary}");
    let read = |name: &str| fs::read_to_string(folder.path().join("out").join(name)).unwrap();
    let windows = "window_start,country,n,revenue,cheapest,event_count\n\
                   2026-11-22T11:00:00Z,PE,1,9,9,1\n2026-11-22T12:00:00Z,CL,1,3,1.5,1\n";
    assert_eq!(read("hourly.csv"), windows);
    let views: Vec<Value> =
        read("rejects.view.ndjson").lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let entry =
        json!({"key": "c", "value": {"country": "CL", "price": 1.5}, "events": 2, "time": "2026-11-22T12:00:00Z"});
    assert_eq!(views, [entry]);
    let refused: Vec<Value> = read("rejects.ndjson").lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(refused.iter().map(|letter| &letter["reason"]).collect::<Vec<_>>(), ["schema"]);
}

/// Each shipped application, with all of its files as one job, is without fault, and its own tests pass.
#[test]
fn the_applications_are_good() {
    let entries = |folder: &Path| fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect::<Vec<_>>();
    let applications = entries(&root().join("pipelines"));
    assert!(applications.len() >= 2, "{applications:?}");
    for application in applications {
        let mut files = entries(&application);
        files.retain(|file| file.extension().is_some_and(|extension| extension == "yaml"));
        let files = files.iter().map(|file| file.to_str().unwrap());
        let output = run(root(), &["check"].into_iter().chain(files).collect::<Vec<_>>());
        assert!(output.status.success(), "{}", said(&output));
    }
}

const DESCRIBES: &str = "pipeline: first
topics:
  order: {schema: order.json, id: id, time: {field: at, zone: UTC}}
filter: country = 'CL'
windows:
  w: {every: 1h, metrics: {n: count()}}
tests:
  - name: one of two
    given:
      - {source: order, id: a, at: 2026-11-22 12:00:00, country: CL}
      - {source: order, id: b, at: 2026-11-22 12:00:00, country: PE}
    expect: {w: [{n: 1}], filtered: 1}
";
const NAMES: &str = "pipeline: second
topics:
  order: ~
windows:
  w: {every: 1h, metrics: {n: count(), countries: distinct(country)}}
tests:
  - name: both
    given:
      - {source: order, id: a, at: 2026-11-22 12:00:00, country: CL}
      - {source: order, id: b, at: 2026-11-22 12:00:00, country: PE}
    expect: {w: [{n: 2, countries: 2}], filtered: 0}
";

/// What `check` says of two files together: exit code and lines.
fn check_both(first: &str, second: &str, order: [&str; 2]) -> (i32, String) {
    let folder = folder(first);
    fs::write(folder.path().join("q.yaml"), second).unwrap();
    let output = run(folder.path(), &["check", order[0], order[1]]);
    (output.status.code().unwrap(), said(&output))
}

#[test]
fn check_takes_its_files_for_one_job() {
    for order in [["p.yaml", "q.yaml"], ["q.yaml", "p.yaml"]] {
        let (code, told) = check_both(DESCRIBES, NAMES, order);
        let expected = "p.yaml: ok (pipeline first: 1 topic, 1 window, 1 metric, 1 test passed)\n\
                        q.yaml: ok (pipeline second: 1 topic, 1 window, 2 metrics, 1 test passed)\n";
        assert_eq!((code, told.as_str()), (0, expected));
    }
    // A test that fails is of its file, although the other file's window has the same name.
    let (code, told) = check_both(DESCRIBES, &NAMES.replace("{n: 2, ", "{n: 3, "), ["p.yaml", "q.yaml"]);
    assert!(
        code == 2 && told.contains("p.yaml: ok") && told.contains("q.yaml:11:18: test \"both\" failed: "),
        "{told}"
    );
    // By itself the second file does not know the topic.
    let folder = folder(NAMES);
    let output = run(folder.path(), &["check", "p.yaml"]);
    assert!(said(&output).starts_with("p.yaml:3:3: no file describes the topic \"order\""), "{}", said(&output));
}

/// Faults in both files, in their schemas, or in what one says of the other: all are told, each at its place, and nothing that only follows from another.
#[test]
fn check_tells_the_faults_of_all_files() {
    let places = |told: &str| -> Vec<String> {
        let lines = told.lines().filter(|line| !line.starts_with("  | "));
        lines.map(|line| line.split(": ").next().unwrap_or_default().to_owned()).collect()
    };
    let wrong = NAMES.replace("distinct(country)", "distinct(contry)").replace(", countries: 2", "");
    for (what, first, second, expected) in [
        ("in both", DESCRIBES.replace("every: 1h", "every: 1x"), wrong.clone(), &["p.yaml:6:14", "q.yaml:5:60"][..]),
        (
            "a schema that is not there",
            DESCRIBES.replace("order.json", "ordr.json"),
            wrong.replace("every: 1h", "evry: 1h"),
            &["p.yaml:3:19", "q.yaml:5:6", "q.yaml:5:7"],
        ),
        (
            "no YAML",
            DESCRIBES.replace("first\n", "first: a\n"),
            wrong.replace("every: 1h", "every: 1x"),
            &["p.yaml:1:16", "q.yaml:5:14"],
        ),
        (
            "described twice",
            DESCRIBES.to_owned(),
            NAMES.replace("order: ~", "order: {schema: order.json, time: {field: at}}"),
            &["q.yaml:3:3"],
        ),
        ("of one name", DESCRIBES.to_owned(), NAMES.replace("second", "first"), &["q.yaml:1:11"]),
        (
            "two topic fields",
            format!("{DESCRIBES}topic_field: a\n"),
            format!("{NAMES}topic_field: b\n"),
            &["q.yaml:12:14"],
        ),
        (
            "a fault that others follow from",
            DESCRIBES.replace("filter: ", "derive: {d: nowhere + 1}\nfilter: d > 1 AND "),
            NAMES.to_owned(),
            &["p.yaml:4:13"],
        ),
    ] {
        let (code, told) = check_both(&first, &second, ["q.yaml", "p.yaml"]);
        assert_eq!(
            (code, places(&told)),
            (2, expected.iter().map(|&place| place.to_owned()).collect()),
            "{what}: {told}"
        );
    }
    let output = run(folder(DESCRIBES).path(), &["check", "--json", "p.yaml", "none.yaml"]);
    let told: Value = serde_json::from_slice(&output.stdout).unwrap();
    let oks: Vec<_> = told["files"].as_array().unwrap().iter().map(|file| (&file["file"], &file["ok"])).collect();
    assert_eq!(
        (&told["ok"], oks),
        (&json!(false), vec![(&json!("p.yaml"), &json!(true)), (&json!("none.yaml"), &json!(false))])
    );
}
