//! Changed pipeline files that a start accepts: what they come to, and what a real job makes of them.

use std::collections::BTreeMap;
use std::fs;

use caudal::core::plan::Plan;
use caudal::core::plan::carry::Carry;
use caudal::core::units::{Epoch, TopicId};
use caudal::pipeline::change::{Accepted, Refused, accept, delete as delete_file, put as put_file};
use caudal::pipeline::{Bundle, Configuration, FileText, Pipelines};
use caudal::store::StoredRow;
use caudal::store::target::Target;
use serde_json::{Value, json};
use tempfile::TempDir;
use uuid::Uuid;

use crate::applications::{modelled, stored};
use crate::changes::{BASE, PRESSURE, PRESSURE_SCHEMA, SCHEMA, begun, entries, log};
use crate::compact;
use crate::model::{self, Outcome};
use crate::mpi::assert_identical;
use crate::support::job::{Job, Setup, until};
use crate::support::traffic::{events, send_all};

fn file(name: &str, text: &str, schemas: &[(&str, &str)]) -> FileText {
    let schemas = schemas.iter().map(|(path, text)| ((*path).to_owned(), (*text).to_owned())).collect();
    FileText { file: format!("{name}.yaml"), text: text.to_owned(), schemas }
}

/// The files that `begun` was begun with, the base's text and schema changed.
fn files(base: &str, schema: &str) -> Bundle {
    let mut bundle = begun().bundle;
    bundle.0.retain(|file| file.text != BASE);
    bundle.0.push(file("base", base, &[("a.json", schema)]));
    bundle
}

fn names(of: &Configuration) -> Vec<String> {
    of.pipelines().unwrap().plan.pipelines.iter().map(|pipeline| pipeline.name.clone()).collect()
}

/// What is changed in `BASE`, and which pipelines begin anew by it; None: it is refused here too.
#[test]
fn those_begin_anew_whose_state_would_lose_its_meaning() {
    let now = begun();
    let check_files = |what: &str, files: &Bundle, anew: Option<&[&str]>| {
        let found = match accept(&now, files, Epoch(9)) {
            Ok(Accepted { configuration, pipelines, anew, .. }) => {
                for name in ["base", "reader"] {
                    let identity = if anew.contains(name) { format!("{name}@9") } else { name.to_owned() };
                    assert_eq!(pipelines.plan.lives.identity(name), identity);
                }
                assert_eq!(configuration.begun, files.versions());
                let logged = Configuration::from_text(&configuration.to_text()).unwrap();
                assert_eq!(logged.lives, configuration.lives);
                Some(anew.into_iter().collect::<Vec<_>>())
            }
            Err(Refused::Clashes(clashes)) if !clashes.is_empty() => None,
            Err(other) => panic!("{what}: {other}"),
        };
        let anew = anew.map(|names| names.iter().map(|name| (*name).to_owned()).collect());
        assert_eq!(found, anew, "{what}");
    };
    let check = |from: &str, to: &str, anew: Option<&[&str]>| {
        assert!(BASE.contains(from), "{from}");
        check_files(to, &files(&BASE.replacen(from, to, 1), SCHEMA), anew);
    };
    // What a PUT could change leaves everything where it is.
    check("when: bar > 9", "when: bar > 8", Some(&[]));
    check("windows:\n", "windows:\n  more: {every: 1h, metrics: {n: count()}}\n", Some(&[]));
    check("{allow: 5s}", "{allow: 4s}", Some(&[]));
    // What is made at a start is made anew.
    check("example.com", "example.org", Some(&[]));
    check("base.jsonl", "other.jsonl", Some(&[]));
    for (from, to) in [
        ("  w: {every: 1s", "  w: {every: 2s"),
        ("[place, level]", "[place]"),
        ("most: max(bar)", "most: min(bar)"),
        ("having: n > 1", "having: n > 2"),
        ("{n: 3, by: n}", "{n: 4, by: n}"),
        ("{allow: 5s}", "{allow: 6s}"),
        ("floor * 2", "CAST(floor AS TEXT)"),
        ("v: {key: place", "v: {key: id"),
        ("latest: [bar, id]", "latest: [bar]"),
        ("when: n > 3", "when: n > 4"),
        ("at_least: 3", "at_least: 4"),
        ("within: 1s, body", "within: 2s, body"),
    ] {
        check(from, to, Some(&["base"]));
    }
    // Who reads the topic too.
    check("out_of_order: 1s", "out_of_order: 2s", Some(&["base", "reader"]));
    check("remember: 1h", "remember: 2h", Some(&["base", "reader"]));
    check("id: id\n", "", Some(&["base", "reader"]));
    let integer = SCHEMA.replace(r#""bar": {"type": "number"}"#, r#""bar": {"type": "integer"}"#);
    check_files("another type", &files(BASE, &integer), Some(&["base", "reader"]));
    // No beginning anew would help.
    check("id: id\n", "id: id\ntopic_field: kind\n", None);
}

#[test]
fn a_topic_from_outside_cannot_become_one_of_the_jobs_own() {
    let pressure = [("pressure.json", PRESSURE_SCHEMA)];
    let (now, _) = Configuration::begin(Bundle(vec![file("pressure", PRESSURE, &pressure)])).unwrap();
    let tension = PRESSURE.replace("pressure.measured", "tension.measured").replace("pressure", "tension");
    let schemas = [("tension.json", PRESSURE_SCHEMA)];
    let made = format!("{tension}emit:\n  pressure.measured: {{from: tension.measured, body: {{place: place}}}}\n");
    let refused = accept(&now, &Bundle(vec![file("tension", &made, &schemas)]), Epoch(3));
    let Err(Refused::Clashes(clashes)) = refused else { panic!("{refused:?}") };
    assert_eq!(clashes.iter().map(|clash| clash.what.as_str()).collect::<Vec<_>>(), ["topic pressure.measured"]);
}

/// What people did while the job ran stays, unless a file that was changed says otherwise.
#[test]
fn only_files_that_changed_count() {
    let pressure = |_: &str| Some(PRESSURE_SCHEMA.to_owned());
    let first = begun();
    let put = put_file(&first, "pressure", PRESSURE, pressure).unwrap().configuration;
    let changed = BASE.replace("most: max(bar)", "most: min(bar)");
    let taken = accept(&put, &files(&changed, SCHEMA), Epoch(4)).unwrap();
    assert_eq!(names(&taken.configuration), ["base", "pressure", "reader"]);
    let anew: Vec<_> = taken.anew.iter().map(String::as_str).collect();
    assert_eq!(anew, ["base"]);
    // A pipeline that was taken away is, although its file is there; it was changed meanwhile: it comes back, where it was.
    let without = delete_file(&put, "reader").unwrap().configuration;
    let taken = accept(&without, &files(&changed, SCHEMA), Epoch(5)).unwrap();
    assert_eq!(names(&taken.configuration), ["base", "pressure"]);
    let mut both = files(&changed, SCHEMA);
    both.0[0].text = both.0[0].text.replace("every: 1s", "every: 3s");
    let taken = accept(&without, &both, Epoch(5)).unwrap();
    assert_eq!(names(&taken.configuration), ["base", "pressure", "reader"]);
    // One that was changed while the job ran, and whose file is as it was.
    let more = BASE.replace("when: bar > 9", "when: bar > 8");
    let put = put_file(&first, "base", &more, |_| None).unwrap().configuration;
    let mut only_reader = begun().bundle;
    let reader = only_reader.0.iter_mut().find(|file| file.text != BASE).unwrap();
    reader.text = reader.text.replace("every: 1s", "every: 3s");
    let taken = accept(&put, &only_reader, Epoch(6)).unwrap();
    assert!(taken.configuration.bundle.0.iter().any(|file| file.text == more));
    assert_eq!(taken.anew.iter().map(String::as_str).collect::<Vec<_>>(), ["reader"]);
    // A file that is named no more, and nothing left.
    let gone = accept(&put, &files(&changed, SCHEMA), Epoch(6)).unwrap();
    assert_eq!(names(&gone.configuration), ["base", "reader"]);
    let mut base_alone = begun().bundle;
    base_alone.0.retain(|file| file.text == BASE);
    let gone = accept(&first, &base_alone, Epoch(6)).unwrap();
    assert_eq!(names(&gone.configuration), ["base"]);
    assert!(gone.changes.contains(&"pipeline reader is taken away".to_owned()), "{:?}", gone.changes);

    // Names keep what they are known as, also over being away; a second time is another life.
    let again = accept(&taken.configuration, &begun().bundle, Epoch(11)).unwrap().configuration;
    assert_eq!(again.pipelines().unwrap().plan.lives.identity("reader"), "reader@11");
    let away = delete_file(&again, "reader").unwrap().configuration;
    let reader = &begun().bundle.0.into_iter().find(|file| file.text != BASE).unwrap();
    let back = put_file(&away, "reader", &reader.text, |_| None).unwrap().configuration;
    assert_eq!(back.pipelines().unwrap().plan.lives.identity("reader"), "reader@11");
}

/// What of the topics is forgotten, and that nothing of a pipeline that begins anew is carried.
#[test]
fn topics_go_on_where_they_mean_the_same() {
    let now = begun();
    let old = now.pipelines().unwrap().plan;
    let between = |from: &str, to: &str| {
        let accepted = accept(&now, &files(&BASE.replacen(from, to, 1), SCHEMA), Epoch(2)).unwrap();
        Carry::between(&old, &accepted.pipelines.plan)
    };
    let (a, b) = (TopicId(0), TopicId(1));
    let check = |from: &str, to: &str, forgotten: &[TopicId], stopped: &[TopicId]| {
        let carry = between(from, to);
        assert_eq!((&carry.forgotten[..], &carry.stopped[..]), (forgotten, stopped), "{to}");
        assert_eq!(carry.pipelines.first(), Some(&None), "{to}");
    };
    check("most: max(bar)", "most: min(bar)", &[], &[]);
    check("remember: 1h", "remember: 2h", &[a, b], &[]);
    check("id: id\n", "", &[a, b], &[]);
    check("out_of_order: 1s", "out_of_order: 2s", &[], &[a, b]);
    let carry = between("most: max(bar)", "most: min(bar)");
    assert_eq!(carry.pipelines, [None, Some(1)]);
    // The reader's window alone.
    assert_eq!(carry.windows.iter().flatten().count(), 1);
    for places in [&carry.views, &carry.alerts, &carry.emits] {
        assert!(!places.is_empty() && places.iter().all(Option::is_none), "{places:?}");
    }
    let carry = between("when: bar > 9", "when: bar > 8");
    assert!(carry.windows.iter().chain(&carry.alerts).all(Option::is_some), "{carry:?}");
}

/// The model's rows of the lives that are asked for.
fn rows_of(plan: &Plan, mut outcome: Outcome, wanted: impl Fn(u64) -> bool) -> BTreeMap<Uuid, StoredRow> {
    outcome.rows.retain(|(.., life), _| wanted(*life));
    modelled(plan, &outcome)
}

fn model_of(setup: &Setup, whole: &Pipelines) -> Outcome {
    let (log, first) = entries(setup, whole);
    model::live_of(&whole.plan, &whole.schemas, &first, &log)
}

#[test]
fn a_job_closes_what_was_open_and_counts_anew() {
    let dir = TempDir::new().unwrap();
    let path = compact::pipeline(dir.path());
    let setup = Setup::new(3, dir.path()).with("PIPELINES", path.to_str().unwrap());
    let pipelines = || Bundle::read(std::slice::from_ref(&path)).unwrap().pipelines().unwrap();
    let job = Job::start_in(dir, setup);
    let before = events(&pipelines(), 51, 6_000);
    send_all(&job.client, &before);
    job.wait_settled();
    assert!(!job.client.windows("&window=daily&closed=false").is_empty());
    let (dir, mut setup, status) = job.stop();
    assert_eq!(status.code(), Some(0));

    let text = fs::read_to_string(&path).unwrap();
    let changed = text.replace("mean_age: mean(payload.age)", "oldest: max(payload.age)");
    assert_ne!(text, changed);
    fs::write(&path, changed).unwrap();
    let output = setup.command(dir.path(), &[]).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(78), "{said}");
    for what in ["another name", "--accept-changes", "window by_region of civic_safety", "its metrics", "old texts"] {
        assert!(said.contains(what), "{what}: {said}");
    }

    setup.args = &["run", "--accept-changes"];
    let job = Job::start_in(dir, setup);
    assert!(job.output().contains("it begins anew after this epoch"), "{}", job.output());
    until("what was open is closed", || job.client.windows("&closed=false").is_empty());
    let old_days = job.client.windows("&window=daily");
    assert!(!old_days.is_empty());
    let after = events(&pipelines(), 52, 6_000);
    std::thread::scope(|scope| {
        let sender = scope.spawn(|| send_all(&job.client, &after));
        job.kill_rank(0);
        job.wait_back();
        sender.join().unwrap();
    });
    // What was counted before is remembered.
    let counted = |of: &Value| of["counted"].as_u64().unwrap();
    job.wait_settled();
    let ledger = job.client.json("/ledger");
    send_all(&job.client, &before[..20]);
    job.wait_settled();
    assert_eq!(counted(&job.client.json("/ledger")), counted(&ledger));

    // Both rows of a day that spans the change, each with its own events, and the newer one where one is asked for.
    let days = job.client.windows("&window=daily");
    for old in &old_days {
        assert!(days.contains(old), "{old} is no more as it was");
        let (start, group) = (&old["window_start"], &old["group"]);
        let same = days.iter().filter(|day| &day["window_start"] == start && &day["group"] == group);
        let offsets = |day: &Value| {
            let found = compact::events_of(&job.client, day["metric_id"].as_str().unwrap(), 1000);
            found.iter().map(|event| event["offset"].as_u64().unwrap()).collect::<Vec<_>>()
        };
        let before = offsets(old);
        assert_eq!(before.len() as u64, old["event_count"].as_u64().unwrap(), "{old}");
        // An open row is shown now and then; its events are told at once.
        for day in same.filter(|day| *day != old) {
            let after = offsets(day);
            assert!(after.len() as u64 >= day["event_count"].as_u64().unwrap(), "{day}");
            assert!(after.first() > before.last(), "{old} and {day} share events");
        }
    }
    let pairs = days.len() - old_days.len();
    assert!(pairs > 0, "{days:?}");
    let shown = job.client.json("/data");
    let shown = shown["pipelines"]["civic_safety"]["daily"].as_array().unwrap();
    let is_old = |row: &Value| old_days.iter().any(|old| old["metric_id"] == row["metric_id"]);
    assert_eq!(shown.iter().filter(|row| !is_old(row)).count(), pairs, "{shown:?}");
    let (dir, mut setup, status) = job.stop();
    assert_eq!(status.code(), Some(0));
    assert_identical(&setup);

    // The rows of the old life are those of a job that never changed, up to the change; those of the new life are those of one that had been of the new files.
    let (_, recovered) = log(&setup);
    assert_eq!(recovered.changes.len(), 1, "the restart after the kill has nothing more to accept");
    let of = |text: &str| Configuration::from_text(text).unwrap().pipelines().unwrap();
    let (old, new) = (of(&recovered.first_bundle.unwrap()), of(&recovered.start.unwrap().bundle));
    let mut expected = rows_of(&old.plan, model_of(&setup, &old), |life| life == 0);
    let closed = expected.values().all(|row| row.closed);
    assert!(closed && expected.len() > 30, "{} rows", expected.len());
    let of_new = rows_of(&new.plan, model_of(&setup, &new), |life| life > 0);
    assert!(of_new.len() > 30, "{} rows", of_new.len());
    expected.extend(of_new);
    let target = Target::Sqlite(setup.data.join("caudal.sqlite"));
    assert_eq!(stored(target.reader(&new.plan).unwrap().as_mut()), expected);

    // It is accepted for good.
    setup.args = &[];
    let job = Job::start_in(dir, setup);
    assert_eq!(job.output().matches("it begins anew after this epoch").count(), 1, "{}", job.output());
    let (dir, mut setup, status) = job.stop();
    assert_eq!(status.code(), Some(0));

    // Ids that are remembered in another way are forgotten: an event counts again.
    let text = fs::read_to_string(&path).unwrap();
    fs::write(&path, text.replace("remember: 24h", "remember: 12h")).unwrap();
    setup.args = &["run", "--accept-changes"];
    let job = Job::start_in(dir, setup);
    let ledger = job.client.json("/ledger");
    let (status, answer) = job.client.post_lines("/events?ack=applied", after.last().unwrap());
    assert_eq!((status, answer["duplicate"].as_u64() < answer["accepted"].as_u64()), (200, true), "{answer}");
    assert!(counted(&job.client.json("/ledger")) > counted(&ledger), "{answer}");
    let (_dir, setup, status) = job.stop();
    assert_eq!(status.code(), Some(0));
    assert_identical(&setup);
    assert_eq!(json!(log(&setup).1.changes.len()), json!(2));
}
