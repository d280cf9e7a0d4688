//! `caudal explain`: the file that it prints means the very same, nothing that a file can say is missing from it, and its SQL is the store's.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::slice::from_ref;

use caudal::coordinator::rehearsal::rehearse;
use caudal::pipeline::{Bundle, FileText, Pipelines};
use caudal::store::target::Target;
use regex::Regex;
use rusqlite::Connection;
use serde_json::Value;
use tempfile::TempDir;

use crate::store::first;
use crate::support::job::{caudal, root};
use crate::support::keys::{pipeline_files, sections};
use crate::support::postgres::Cluster;

fn every_key() -> PathBuf {
    root().join("tests/pipelines/every_key/pipeline.yaml")
}

fn explain(args: &[&str], files: &[&Path]) -> Output {
    Command::new(caudal()).arg("explain").args(args).args(files).current_dir(root()).output().unwrap()
}

/// Everything that a job's files mean, without the places where it is written.
pub fn meaning(pipelines: &Pipelines) -> String {
    let place = Regex::new(r"place: Place \{[^}]*\}, ").unwrap();
    place.replace_all(&format!("{pipelines:#?}").replace('\n', " ").replace("  ", ""), "").into_owned()
}

/// The same job, its files in the words of `explain`.
pub fn spelled(bundle: &Bundle) -> Bundle {
    let (_, spelled) = bundle.explained().unwrap();
    let file =
        |(file, spelled): (&FileText, caudal::pipeline::Spelled)| FileText { text: spelled.yaml, ..file.clone() };
    Bundle(bundle.0.iter().zip(spelled).map(file).collect())
}

#[test]
fn the_file_with_every_default_spelled_out_means_the_same() {
    let mut jobs: Vec<Vec<PathBuf>> = pipeline_files().into_iter().map(|file| vec![file]).collect();
    // Many at once: no two of them describe one topic or have one address.
    let alone = ["pipelines/user_activity", "tests/pipelines/civic_safety"].map(|folder| root().join(folder));
    jobs.push(
        pipeline_files().into_iter().filter(|file| !alone.iter().any(|folder| file.starts_with(folder))).collect(),
    );
    for files in jobs {
        let bundle = Bundle::read(&files).unwrap_or_else(|faults| panic!("{faults}"));
        let again = spelled(&bundle);
        let [before, after] = [&bundle, &again].map(|bundle| {
            let pipelines = bundle.pipelines().unwrap_or_else(|faults| panic!("{faults}\n{:#?}", bundle.0));
            meaning(&pipelines)
        });
        assert!(before.len() > 1_000 && before.contains("windows"), "{before}");
        assert_eq!(before, after, "{files:?}");
        assert_eq!(spelled(&again).to_text(), again.to_text(), "{files:?}: said twice, it reads differently");
    }
}

/// What the comparison above is worth: it sees each of these facts.
#[test]
fn no_fact_escapes_the_comparison() {
    let bundle = spelled(&Bundle::read(from_ref(&every_key())).unwrap());
    let right = meaning(&bundle.pipelines().unwrap());
    for (fact, another) in [
        ("topic_field: kind", "topic_field: id"),
        ("id: ~", "id: id"),
        ("field: seen_ms", "field: weight"),
        ("format: unix_ms", "format: unix_us"),
        ("-03:30", "+03:30"),
        ("out_of_order: 90s", "out_of_order: 91s"),
        ("max_future: 1h", "max_future: 2h"),
        ("idle_after: 250ms", "idle_after: 251ms"),
        ("remember: 1h", "remember: 2h"),
        ("heavy: weight > 10.5", "heavy: weight > 10.6"),
        ("'nowhere: #1'", "'nowhere: #2'"),
        ("every: 90s", "every: 91s"),
        ("{size: 1m, every: 10s}", "{size: 1m, every: 20s}"),
        ("gap: 30s", "gap: 31s"),
        ("group: [to]", "group: [kind]"),
        ("allow: 1d", "allow: 2d"),
        ("emit: never", "emit: 1s"),
        ("emit: 500ms", "emit: never"),
        ("quantile(weight, 0.9)", "quantile(weight, 0.8)"),
        ("having: n >= 1", "having: n >= 2"),
        ("{n: 3, by: price}", "{n: 3, by: p90}"),
        ("[at, stops, price]", "[at, stops]"),
        ("when: NOT fragile", "when: fragile"),
        ("history: false", "history: true"),
        ("jsonl: every/key.jsonl", "jsonl: every/other.jsonl"),
        ("topic: parcel.visits", "topic: parcel.calls"),
        ("when: heavy", "when: NOT heavy"),
        ("from: [parcel.seen, \"2nd.hand\"]", "from: [parcel.seen]"),
        ("twice: weight * 2", "twice: weight * 3"),
        ("rate: 2.5", "rate: 2.6"),
        ("as: parcels", "as: all"),
        ("windows: hop", "windows: visit"),
        ("patch: ", "post: "),
        ("\"weight\":1.5", "\"weight\":1.6"),
        ("parcel.sent: 2.5", "parcel.sent: 2"),
        ("size: 7", "size: 8"),
        ("topic: parcel.seen", "topic: parcel.sent"),
        ("given: events.ndjson", "given: none.ndjson"),
        ("invalid: 1", "invalid: 2"),
        ("\"weight\":10.0", "\"weight\":10.5"),
    ] {
        let mut other = bundle.clone();
        let text = &mut other.0[0].text;
        assert!(text.contains(fact), "{fact} is not in\n{text}");
        *text = text.replacen(fact, another, 1);
        let other = other.pipelines().unwrap_or_else(|faults| panic!("{another}: {faults}"));
        assert_ne!(meaning(&other), right, "{fact}");
    }
}

#[test]
fn a_topic_that_another_file_describes_is_only_named() {
    let schema = r#"{"properties": {"id": {"type": "string"}, "at": {"type": "string"}}}"#.to_owned();
    let file = |name: &str, text: &str| FileText {
        file: name.to_owned(),
        text: text.to_owned(),
        schemas: vec![("t.json".to_owned(), schema.clone())],
    };
    let describes = "pipeline: a\ntopics: {t: {schema: t.json, time: {field: at}}}\nwindows: {w: {every: 1s, metrics: {n: count()}}}\n";
    let names = "pipeline: b\ntopics: {t: ~}\ngenerate: {weights: {t: 3}}\nviews: {v: {key: id, latest: [at]}}\n";
    let bundle = Bundle(vec![file("a.yaml", describes), file("b.yaml", names)]);
    let again = spelled(&bundle);
    assert!(again.0[1].text.contains("  t: ~"), "{}", again.0[1].text);
    assert_eq!(meaning(&bundle.pipelines().unwrap()), meaning(&again.pipelines().unwrap()));
}

/// A key that is added to the file's reader must stand in `every_key`, and `explain` must tell it.
#[test]
fn no_key_is_forgotten() {
    let stands_in = |text: &str, key: &str| {
        Regex::new(&format!(r#"(?m)(^|[\s{{,#-])"?{}"?:"#, regex::escape(key))).unwrap().is_match(text)
    };
    let bundle = Bundle::read(from_ref(&every_key())).unwrap();
    let (_, spelled) = bundle.explained().unwrap();
    let mut missing = BTreeSet::new();
    for (section, keys) in sections() {
        for key in keys {
            for (what, text) in [("every_key/pipeline.yaml", &bundle.0[0].text), ("`explain`", &spelled[0].yaml)] {
                if !stands_in(text, &key) {
                    missing.insert(format!("{what} lacks `{key}` of {section}"));
                }
            }
        }
    }
    assert!(missing.is_empty(), "{missing:#?}");
}

#[test]
fn what_it_prints_is_a_pipeline_file() {
    for file in pipeline_files() {
        let output = explain(&[], &[&file]);
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        // Beside the original, where its schemas are.
        let beside = tempfile::Builder::new().suffix(".yaml").tempfile_in(file.parent().unwrap()).unwrap();
        std::fs::write(beside.path(), &output.stdout).unwrap();
        let check = Command::new(caudal()).arg("check").arg(beside.path()).output().unwrap();
        assert!(check.status.success(), "{}", String::from_utf8_lossy(&check.stderr));
    }
    let wrong = tempfile::Builder::new().suffix(".yaml").tempfile().unwrap();
    std::fs::write(wrong.path(), "pipeline: X\n").unwrap();
    let output = explain(&[], &[wrong.path()]);
    assert_eq!(output.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&output.stderr).contains(":1:11: "), "{output:?}");
}

#[test]
fn the_plan_is_told() {
    let output = explain(&[], &[&every_key()]);
    let said = String::from_utf8(output.stdout).unwrap();
    for line in [
        "#   topic parcel.seen  no id: no duplicates   time seen_ms (unix_ms)",
        "#   topic 2nd.hand     id id, remembered 36h  time local (rfc3339, -03:30 where it names no zone)",
        "#   field    weight    number                 of parcel.sent, parcel.seen, 2nd.hand",
        "#   derived  price     number",
        "#   topic parcel.seen  newest time - 0s   idle after 250ms without events  invalid if more than 1h ahead of its arrival",
        "# == Window yes: tumbling ==",
        "# [start, start + 90s), start a multiple of 90s since 1970 (UTC).",
        "# Closed when the watermark reaches its end; events that come up to 1d later revise its row, later ones are dead letters \"late\".",
        "# Rows are shown only when they are closed.",
        "# SELECT * FROM every_key_yes gives",
        "#   heavy_ones    bigint                    integer  count_if(heavy AND label <> '')",
        "# [start, start + 1m), a new one every 10s, made of slices of 10s.",
        "# A group's events that lie less than 30s apart; it ends so long after the last.",
        "# For each id, the latest at, stops, price: GET /views/parcels/KEY",
    ] {
        assert!(said.lines().any(|told| told == line), "{line}\nis not in\n{said}");
    }
}

/// What was said when a person last read it. `CAUDAL_GOLDEN=write` writes it anew.
fn snapshot(file: &str, found: &[u8]) {
    let path = root().join("tests/pipelines").join(file);
    let found = String::from_utf8(found.to_vec()).unwrap();
    if std::env::var("CAUDAL_GOLDEN").is_ok_and(|what| what == "write") {
        std::fs::write(&path, &found).unwrap();
    }
    let expected = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    assert_eq!(found, expected, "{}", path.display());
}

/// Every type of the language, and every kind of slip, as they are told.
#[test]
fn types_and_faults_are_told_as_they_were() {
    snapshot("every_key/explained.yaml", &explain(&[], &[Path::new("tests/pipelines/every_key/pipeline.yaml")]).stdout);
    let check = |file: &str| Command::new(caudal()).arg("check").arg(file).current_dir(root()).output().unwrap();
    let faulty = check("tests/pipelines/faults/faulty.yaml");
    assert_eq!(faulty.status.code(), Some(2));
    snapshot("faults/faulty.txt", &faulty.stderr);
}

/// What `explain --json` tells of each window, and what the databases really have.
#[test]
fn the_sql_is_what_the_stores_have() {
    let file = every_key();
    let told: Value = serde_json::from_slice(&explain(&["--json"], &[&file]).stdout).unwrap();
    let windows = told["pipelines"][0]["windows"].as_array().unwrap();
    assert_eq!(windows.len(), 3);
    let plan = Bundle::read(from_ref(&file)).unwrap().pipelines().unwrap().plan;
    let directory = TempDir::new().unwrap();
    let path = directory.path().join("caudal.sqlite");
    drop(Target::Sqlite(path.clone()).store(&plan).unwrap());
    let sqlite = Connection::open(path).unwrap();
    let cluster = Cluster::start();
    let database = cluster.create_database();
    drop(Target::Postgres(database.clone()).store(&plan).unwrap());
    let mut postgres = cluster.client(&database.name);
    for window in windows {
        let view = window["view"].as_str().unwrap();
        let made: String = sqlite
            .query_row("SELECT sql FROM sqlite_schema WHERE type = 'view' AND name = ?1", [view], |row| row.get(0))
            .unwrap();
        assert_eq!(window["sqlite"], made);
        let names = sqlite.prepare(&format!("SELECT * FROM {view}")).unwrap();
        let names: Vec<Value> = names.column_names().map(Value::from).collect();
        let columns = window["columns"].as_array().unwrap();
        assert_eq!(columns.iter().map(|column| column["name"].clone()).collect::<Vec<_>>(), names);
        let sql = "SELECT column_name::text, data_type::text FROM information_schema.columns WHERE table_name = $1 ORDER BY ordinal_position";
        let there: Vec<(String, String)> =
            postgres.query(sql, &[&view]).unwrap().iter().map(|row| (row.get(0), row.get(1))).collect();
        let text = |column: &Value, key: &str| column[key].as_str().unwrap().to_owned();
        let said: Vec<_> = columns.iter().map(|column| (text(column, "name"), text(column, "postgres"))).collect();
        assert_eq!(said, there);
        // The statement makes such a view.
        let other = window["postgres"].as_str().unwrap().replacen(view, &format!("{view}_again"), 1);
        postgres.batch_execute(&other).unwrap();
    }
}

#[test]
fn the_types_in_sqlite_are_those_that_are_told() {
    let file = root().join("pipelines/cluster_health/pipeline.yaml");
    let told: Value = serde_json::from_slice(&explain(&["--json"], &[&file]).stdout).unwrap();
    let plan = Bundle::read(&[file]).unwrap().pipelines().unwrap().plan;
    let events = std::fs::read(root().join("pipelines/cluster_health/events.ndjson")).unwrap();
    let rows = rehearse(&plan, plan.topic("collectd"), events.into()).unwrap().rows;
    let directory = TempDir::new().unwrap();
    let path = directory.path().join("caudal.sqlite");
    Target::Sqlite(path.clone()).store(&plan).unwrap().commit(&first(rows)).unwrap();
    let sqlite = Connection::open(path).unwrap();
    let mut compared = 0;
    for window in told["pipelines"][0]["windows"].as_array().unwrap() {
        for column in window["columns"].as_array().unwrap() {
            let (name, view) = (column["name"].as_str().unwrap(), window["view"].as_str().unwrap());
            let mut types = sqlite.prepare(&format!("SELECT DISTINCT typeof(\"{name}\") FROM {view}")).unwrap();
            let types: Vec<String> = types.query_map([], |row| row.get(0)).unwrap().map(Result::unwrap).collect();
            let known: Vec<&String> = types.iter().filter(|of_type| *of_type != "null").collect();
            assert!(known.iter().all(|of_type| column["sqlite"] == of_type.as_str()), "{view}.{name}: {types:?}");
            compared += known.len();
        }
    }
    assert!(compared > 20, "{compared}");
}
