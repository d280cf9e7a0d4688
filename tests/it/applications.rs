//! All shipped applications in one job, whose ranks are killed: what the store has at the end is what the sequential model makes of the job's own log.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use caudal::clock::{Clock, SystemClock};
use caudal::core::identity::{digest, metric_id};
use caudal::core::ledger::Counts;
use caudal::core::plan::Plan;
use caudal::core::row::WindowRow;
use caudal::core::units::{Epoch, LogId, Micros, Offset};
use caudal::generate::{Generator, Settings};
use caudal::log::disk::FileDisk;
use caudal::log::{Log, Options};
use caudal::pipeline::{Bundle, Pipelines};
use caudal::store::target::Target;
use caudal::store::{AlertQuery, DeadLetterQuery, Reader, StoredRow, ViewQuery, WindowQuery};
use serde_json::{Value, json};
use tempfile::TempDir;
use uuid::Uuid;

use crate::model::shape::identity;
use crate::model::{self, Entry, Outcome};
use crate::mpi::assert_identical;
use crate::support::job::{Job, Setup, root, until};

const ROUNDS: usize = 24;
const EVENTS: usize = 250;
/// Read from the store at a time.
const PAGE: u32 = 1_000;

/// Events of all topics, some of them twice, wrong, late or out of order; by topic, in rounds.
fn rounds(pipelines: &Pipelines) -> Vec<BTreeMap<String, Vec<u8>>> {
    let settings = Settings {
        seed: 11,
        start: SystemClock::default().unix().micros(),
        rate: EVENTS as f64 / 2.0,
        duplicates: 0.05,
        invalid: 0.03,
        late: 0.02,
        late_by: Micros(90_000_000),
        out_of_order: Micros(1_500_000),
        burst: None,
    };
    let mut generator = Generator::new(pipelines, settings).expect("the applications' events can be generated");
    let mut round = || {
        let mut by_topic: BTreeMap<String, Vec<u8>> = BTreeMap::new();
        for event in (0..EVENTS).map(|_| generator.generate()) {
            let topic = &pipelines.plan.topics[usize::from(event.topic.0)].name;
            let lines = by_topic.entry(topic.clone()).or_default();
            lines.extend(event.line);
            lines.push(b'\n');
        }
        by_topic
    };
    (0..ROUNDS).map(|_| round()).collect()
}

/// Some accounts fail until they are blocked, some tickets are bought: what random events hardly ever come to.
fn stories(round: usize, now: Micros) -> Vec<(&'static str, Value)> {
    let at = caudal::core::time::format(now);
    let id = |what: &str| format!("{what}-{round}");
    let (purchase, correlation) = (format!("p-{}", round / 2), format!("c-{}", round / 2));
    let mut events = Vec::new();
    for account in 0..3 {
        let outcome = if round % 8 == 7 && account == 0 { "success" } else { "failure" };
        let event_id = uuid::Uuid::from_u128((round * 10 + account) as u128).to_string();
        let user = format!("account-{account}");
        events.push(("login.attempt", json!({"event_id": event_id, "at": at, "user_id": user, "outcome": outcome})));
    }
    let answer = json!({"event_id": id("answer"), "timestamp": at, "correlation_id": correlation, "purchase_id": purchase,
        "user": "ana", "accepted": round % 6 < 4});
    let mut answer = answer.as_object().unwrap().clone();
    if round.is_multiple_of(2) {
        answer.extend([("step".to_owned(), json!("seats")), ("seats".to_owned(), json!(["general-1"]))]);
        events.push(("purchase.answered", answer.into()));
    } else {
        answer.extend([("step".to_owned(), json!("payment")), ("receipt".to_owned(), json!("r"))]);
        events.push(("payment.answered", answer.into()));
    }
    events
}

#[test]
fn all_applications_at_once_are_exact_whatever_is_killed() {
    let dir = TempDir::new().unwrap();
    let glob = format!("{}/pipelines/*/*.yaml", root().display());
    let mut files: Vec<_> = glob::glob(&glob).unwrap().map(Result::unwrap).collect();
    files.sort();
    assert!(files.len() >= 7, "{files:?}");
    let pipelines = Bundle::read(&files).unwrap().pipelines().unwrap_or_else(|faults| panic!("{faults}"));
    let setup = Setup::new(4, dir.path()).with("PIPELINES", &glob);
    let job = Job::start_in(dir, setup);
    let mut taken = 0;
    for (round, bodies) in rounds(&pipelines).into_iter().enumerate() {
        let stories = stories(round, SystemClock::default().unix().micros());
        let stories = stories.into_iter().map(|(topic, event)| (topic.to_owned(), event.to_string().into_bytes()));
        for (topic, body) in bodies.into_iter().chain(stories) {
            until("the events are taken", || {
                let path = format!("/topics/{topic}/events");
                let Ok((status, answer)) = job.client.try_post(&path, "application/x-ndjson", &body) else {
                    return false;
                };
                assert!([202, 503].contains(&status), "{topic}: {status} {answer}");
                taken +=
                    u64::from(status == 202) * body.split(|&b| b == b'\n').filter(|l| !l.is_empty()).count() as u64;
                status == 202
            });
        }
        if round % 5 == 4 {
            job.kill_rank(round / 5 % 4);
            job.wait_back();
        }
    }
    job.wait_settled();
    let (_dir, setup, status) = job.stop();
    assert_eq!(status.code(), Some(0));

    let target = Target::Sqlite(setup.data.join("caudal.sqlite"));
    let progress = target.store(&pipelines.plan).unwrap().progress().unwrap().unwrap();
    let log = entries(&setup, progress.epoch);
    let outside: u64 = log.iter().map(|entry| from_outside(&pipelines, entry)).sum();
    assert!(outside >= taken, "{taken} were acknowledged, the log has {outside}");
    let outcome = model::live(&pipelines.plan, &pipelines.schemas, &log);
    let mut counts = Counts::default();
    outcome.epochs.iter().for_each(|epoch| counts += *epoch);
    assert_eq!((progress.epoch.0, progress.counts), (outcome.epochs.len() as u64, counts));
    let mut reader = target.reader(&pipelines.plan).unwrap();
    compare(&pipelines, &outcome, reader.as_mut());

    // What the comparison is worth: all of this has happened.
    let made = |topic: &str| {
        let topic = usize::from(pipelines.plan.topic(topic).unwrap().0);
        outcome.emitted.values().flatten().filter(|event| event.topic == topic).count()
    };
    for topic in ["ticket.purchased", "ticket.refused", "login.blocked", "analytics.window", "notices"] {
        assert!(made(topic) > 0, "{topic}");
    }
    assert!(counts.duplicate > 0 && counts.invalid > 0, "{counts:?}");
    assert_identical(&setup);
}

/// What the log says, up to an epoch.
fn entries(setup: &Setup, until: Epoch) -> Vec<Entry> {
    let disk = Arc::new(FileDisk::open(&setup.data.join("log")).unwrap());
    let options = Options { segment_bytes: 64 << 20, bytes_max: 1 << 40, low_water_bytes: 0, store_asked: true };
    let (log, recovered) = Log::open(disk, options, LogId(0), None, Offset(0)).unwrap();
    assert_eq!(recovered.begin, Offset(0), "the whole log is there");
    let mut reader = log.reader(Offset(0));
    let mut entries = Vec::new();
    while let Some(slab) = reader.next_slab().unwrap() {
        entries.push(Entry::Slab(slab));
    }
    entries.extend(recovered.cuts.into_iter().filter(|cut| cut.epoch <= until).map(Entry::Cut));
    entries
}

fn from_outside(pipelines: &Pipelines, entry: &Entry) -> u64 {
    let Entry::Slab(slab) = entry else { return 0 };
    let made = slab.topic.is_some_and(|topic| pipelines.plan.topics[usize::from(topic.0)].emitted.is_some());
    if made { 0 } else { u64::from(slab.count) }
}

/// The model's rows, as a store shows them.
pub fn modelled(plan: &Plan, outcome: &Outcome) -> BTreeMap<Uuid, StoredRow> {
    let mut rows = BTreeMap::new();
    for ((window, start, group, life), row) in &outcome.rows {
        let of_plan = &plan.windows[*window];
        let pipeline = identity(plan.pipeline_name(of_plan.pipeline), *life);
        let metric_id = metric_id(&pipeline, &of_plan.name, Micros(*start), group);
        let row = WindowRow {
            metric_id,
            window: *window,
            start: Micros(*start),
            end: Micros(row.end),
            group: group.clone(),
            values: row.values.clone(),
            event_count: row.event_count,
            revision: row.revision,
            closed: row.closed,
            digest: if row.closed { digest(metric_id, &row.values, row.event_count) } else { 0 },
            epoch: Epoch(row.epoch),
        };
        rows.insert(metric_id, StoredRow::of(plan, &row));
    }
    rows
}

/// All rows of a store.
pub fn stored(reader: &mut dyn Reader) -> BTreeMap<Uuid, StoredRow> {
    let mut query = WindowQuery { limit: PAGE, ..WindowQuery::default() };
    let mut stored = BTreeMap::new();
    loop {
        let page = reader.windows(&query).unwrap();
        let Some(last) = page.last() else { break };
        query.after = Some((last.start, last.window.clone(), last.metric_id));
        stored.extend(page.into_iter().map(|row| (row.metric_id, row)));
    }
    stored
}

pub fn compare(pipelines: &Pipelines, outcome: &Outcome, reader: &mut dyn Reader) {
    let plan = &pipelines.plan;
    let (rows, stored) = (modelled(plan, outcome), stored(reader));
    assert!(rows.len() > 50, "{} rows", rows.len());
    assert_eq!(stored.keys().collect::<BTreeSet<_>>(), rows.keys().collect());
    for (id, row) in &rows {
        assert_eq!(stored[id], *row);
    }

    let mut keys = 0;
    for (at, view) in plan.views.iter().enumerate() {
        let mut query = ViewQuery { view: view.name.clone(), after: None, limit: PAGE };
        loop {
            let page = reader.view(&query).unwrap();
            let Some(last) = page.last() else { break };
            query.after = Some(last.key.clone());
            for entry in page {
                let expected = &outcome.views[&(at, entry.key.clone())];
                let value = model::json::parse(entry.value.as_bytes()).unwrap().to_value();
                let found = (entry.events, (entry.time.0, entry.offset.0), value.to_string());
                assert_eq!(found, (expected.events, expected.newest, expected.value().to_string()), "{}", entry.key);
                keys += 1;
            }
        }
    }
    assert_eq!(keys, outcome.views.len());

    let alerts = reader.alerts(&AlertQuery { limit: 100_000, ..AlertQuery::default() }).unwrap();
    let found: BTreeMap<_, _> = alerts.iter().map(|a| (a.alert_id, (a.raised.0, a.cleared.map(|at| at.0)))).collect();
    let expected = outcome.alerts.iter().map(|(id, told)| (*id, (told.raised, told.cleared))).collect();
    assert_eq!(found, expected);

    let letters = reader.dead_letters(&DeadLetterQuery { limit: 100_000, ..DeadLetterQuery::default() }).unwrap();
    let found: BTreeMap<_, _> =
        letters.iter().map(|l| &l.letter).map(|l| (l.offset.0, (l.reason, l.body.clone()))).collect();
    let expected =
        outcome.dead_letters.iter().map(|(at, letter)| (*at, (letter.reason, letter.body.clone()))).collect();
    assert_eq!(found, expected);
}
