//! Pipelines that are changed while a real job runs.

use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;
use std::sync::Arc;

use caudal::core::plan::carry::Carry;
use caudal::core::units::{Epoch, LogId, Offset};
use caudal::log::disk::FileDisk;
use caudal::log::{Log, Options, Recovered};
use caudal::pipeline::change::{Refused, delete as delete_file, put as put_file};
use caudal::pipeline::{Bundle, Configuration, FileText, Pipelines};
use caudal::store::target::Target;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::applications::compare;
use crate::model::shape::Shape;
use crate::model::{self, Entry, Outcome};
use crate::mpi::assert_identical;
use crate::support::client::Client;
use crate::support::job::{Job, Setup, until};
use crate::support::traffic::{civic_safety, events, send_all};

pub const SEVERITIES: &str = "
pipeline: severities
topics: {security.incident: ~}
windows:
  by_severity: {every: 2s, group: [payload.severity], metrics: {n: count()}}
  by_crime:    {every: {size: 4s, every: 2s}, group: [payload.crime_type], metrics: {n: count()}, topic: crimes}
views:
  last: {key: region, latest: [event_id, payload.crime_type]}
";

pub const PRESSURE: &str = "
pipeline: pressure
topics: {pressure.measured: {schema: pressure.json}}
time: {field: at, out_of_order: 1s, max_future: 1m, idle_after: 1s}
windows:
  by_place: {every: 1s, group: [place], metrics: {n: count(), most: max(bar)}}
";

pub const PRESSURE_SCHEMA: &str = r#"{"type": "object", "required": ["at", "place"], "properties": {"at": {"type": "string", "format": "date-time"},
    "place": {"type": "string"}, "bar": {"type": "number"}}}"#;

pub fn put(client: &Client, name: &str, file: &str) -> (u16, Value) {
    let (status, text) = client.try_put(&format!("/pipelines/{name}"), "application/yaml", file.as_bytes()).unwrap();
    (status, serde_json::from_str(&text).unwrap())
}

pub fn names(client: &Client) -> Vec<String> {
    let all = client.json("/pipelines");
    all["pipelines"].as_array().unwrap().iter().map(|of| of["name"].as_str().unwrap().to_owned()).collect()
}

/// What the log says, with changes before their cuts, as shapes of what it all has been.
pub fn entries(setup: &Setup, whole: &Pipelines) -> (Vec<Entry>, Shape) {
    let (mut entries, recovered) = log(setup);
    let shape = |version: usize, text: &str| {
        let configuration = Configuration::from_text(text).unwrap();
        let plan = configuration.pipelines().unwrap().plan;
        let begun = |name: &str| {
            let mut lives = configuration.lives.iter();
            lives.find(|(of, _)| *of == name).map_or(0, |(_, after)| after.last().unwrap().0)
        };
        let pipeline = |name: &str| plan.pipelines.iter().any(|of| of.name == name);
        let of = |at: usize| pipeline(&whole.plan.pipelines[at].name);
        let plan = &whole.plan;
        Shape {
            version,
            pipelines: (0..plan.pipelines.len()).map(of).collect(),
            windows: plan.windows.iter().map(|window| of(window.pipeline)).collect(),
            views: plan.views.iter().map(|view| of(view.pipeline)).collect(),
            alerts: plan.alerts.iter().map(|alert| of(alert.pipeline)).collect(),
            emits: plan.emits.iter().map(|emit| of(emit.pipeline)).collect(),
            webhooks: Vec::new(),
            lives: plan.pipelines.iter().map(|of| begun(&of.name)).collect(),
            past: configuration
                .replayed
                .map(|of| (whole.plan.pipelines.iter().position(|p| p.name == of.pipeline).unwrap(), of.after.0)),
            says: None,
            schemas: vec![0; whole.plan.topics.len()],
        }
    };
    let changes: BTreeMap<Epoch, Rc<Shape>> =
        (1..).zip(&recovered.changes).map(|(n, (epoch, text))| (*epoch, Rc::new(shape(n, text)))).collect();
    for cut in recovered.cuts {
        entries.extend(changes.get(&cut.epoch).map(|shape| Entry::Config(cut.epoch, shape.clone())));
        entries.push(Entry::Cut(cut));
    }
    (entries, shape(0, &recovered.first_bundle.unwrap()))
}

/// The store of a stopped job, whose last pipelines are all that it ever had, has what the model makes of the log; gives those, that, and the number of changes.
pub fn against_the_model(setup: &Setup) -> (Pipelines, Outcome, usize) {
    let (_, recovered) = log(setup);
    let whole = Configuration::from_text(&recovered.start.unwrap().bundle).unwrap().pipelines().unwrap();
    let (log, first) = entries(setup, &whole);
    let outcome = model::live_of(&whole.plan, &whole.schemas, &first, &log);
    let target = Target::Sqlite(setup.data.join("caudal.sqlite"));
    compare(&whole, &outcome, target.reader(&whole.plan).unwrap().as_mut());
    (whole, outcome, recovered.changes.len())
}

pub fn log(setup: &Setup) -> (Vec<Entry>, Recovered) {
    let disk = Arc::new(FileDisk::open(&setup.data.join("log")).unwrap());
    let options = Options { segment_bytes: 64 << 20, bytes_max: 1 << 40, low_water_bytes: 0, store_asked: true };
    let (log, recovered) = Log::open(disk, options, LogId(0), None, Offset(0)).unwrap();
    let mut reader = log.reader(Offset(0));
    let mut entries = Vec::new();
    while let Some(slab) = reader.next_slab().unwrap() {
        entries.push(Entry::Slab(slab));
    }
    (entries, recovered)
}

/// Rank 0 dies right after each answer: what was answered holds, and all is counted as the model counts it.
#[test]
fn a_pipeline_comes_and_goes_and_comes_again_whatever_is_killed() {
    let bodies = events(&civic_safety(), 21, 30_000);
    let job = Job::start(3);
    let parts: Vec<&[Vec<u8>]> = bodies.chunks(bodies.len().div_ceil(4)).collect();
    let changing = |part: usize, change: &dyn Fn()| {
        std::thread::scope(|scope| {
            let sender = scope.spawn(|| send_all(&job.client, parts[part]));
            change();
            job.kill_rank(0);
            job.wait_back();
            sender.join().unwrap();
        });
    };
    changing(0, &|| {
        let (status, answer) = put(&job.client, "severities", SEVERITIES);
        assert_eq!(status, 201, "{answer}");
        assert!(answer["epoch"].as_u64() > Some(1), "{answer}");
    });
    assert_eq!(names(&job.client), ["civic_safety", "severities"]);
    changing(1, &|| {
        let (status, answer) = job.client.delete("/pipelines/severities");
        assert_eq!(status, 200, "{answer}");
    });
    assert_eq!(names(&job.client), ["civic_safety"]);
    assert_eq!(job.client.get("/pipelines/severities").0, 404);
    changing(2, &|| assert_eq!(put(&job.client, "severities", SEVERITIES).0, 201));
    // A pipeline with a topic of its own.
    let wish = json!({"file": PRESSURE, "schemas": {"pressure.json": PRESSURE_SCHEMA}}).to_string();
    let (status, answer) = job.client.try_put("/pipelines/pressure", "application/json", wish.as_bytes()).unwrap();
    assert_eq!(status, 201, "{answer}");
    let at = caudal::core::time::format(caudal::clock::Clock::unix(&caudal::clock::SystemClock::default()).micros());
    let event = json!({"at": at, "place": "Ñuble", "bar": 1.5}).to_string();
    let (status, answer) = job.client.post_json("/topics/pressure.measured/events?ack=applied", &event);
    assert_eq!((status, &answer["counted"]), (200, &json!(1)), "{answer}");
    send_all(&job.client, parts[3]);
    job.wait_settled();
    // It is open, and shown every 5 s of the events' time, which silence lets pass too.
    until("the day so far is shown", || !job.client.windows("&window=daily").is_empty());
    job.wait_settled();
    let (_dir, setup, status) = job.stop();
    assert_eq!(status.code(), Some(0));

    let (whole, outcome, changes) = against_the_model(&setup);
    assert_eq!(changes, 4);
    let of_window = |name: &str| {
        let at = whole.plan.windows.iter().position(|window| window.name == name).unwrap();
        outcome.rows.keys().filter(|(window, ..)| *window == at).count()
    };
    for window in ["by_region", "daily", "by_severity", "by_crime", "by_place"] {
        assert!(of_window(window) > 0, "{window}");
    }
    assert_identical(&setup);
}

/// Each answer says why, and what can be done.
#[test]
fn what_cannot_be_changed_is_refused_and_what_can_is_changed() {
    let dir = TempDir::new().unwrap();
    let setup = Setup::new(2, dir.path());
    let job = Job::start_in(dir, setup);
    let client = &job.client;
    let file = client.json("/pipelines/civic_safety");
    let text = file["text"].as_str().unwrap().to_owned();
    let changed = |from: &str, to: &str| {
        assert!(text.contains(from), "{from}");
        text.replace(from, to)
    };
    let refused = |name: &str, file: &str, status: u16, says: &str| {
        let (found, answer) = put(client, name, file);
        assert_eq!(found, status, "{answer}");
        assert!(answer.to_string().contains(says), "{says}: {answer}");
        answer
    };
    let metrics = changed("{n: count(), mean_age: mean(payload.age)}", "{n: count()}");
    let answer = refused("civic_safety", &metrics, 409, "its open windows have gathered its metrics");
    assert_eq!(answer["conflicts"][0]["what"], "window by_region of civic_safety");
    assert!(answer["conflicts"][0]["way_out"].as_str().unwrap().contains("another name"));
    refused("civic_safety", &changed("[source, region]", "[region]"), 409, "the fields of its group");
    refused("civic_safety", &changed("every: 5s", "every: 6s"), 409, "kind and size");
    refused("civic_safety", &changed("{allow: 10s}", "{allow: 20s}"), 409, "a shorter one is possible");
    refused("civic_safety", &changed("out_of_order: 2s", "out_of_order: 3s"), 409, "its watermark");
    refused("civic_safety", &changed("remember: 24h", "remember: 12h"), 409, "the ids that are remembered");
    refused("other", &text, 422, "in the address");
    let faulty = refused("severities", &SEVERITIES.replace("count()", "coumt()"), 422, "coumt");
    assert_eq!((&faulty["faults"][0]["line"], &faulty["faults"][0]["file"]), (&json!(5), &json!("severities.yaml")));
    refused("pressure", PRESSURE, 422, "send it along");
    assert_eq!(client.delete("/pipelines/civic_safety").0, 409, "the last one");
    assert_eq!(client.delete("/pipelines/none").0, 404);
    assert_eq!(client.try_put("/pipelines/x", "text/plain", b"x").unwrap().0, 415);

    // What is only tried changes nothing.
    let (status, answer) = client.post_json("/pipelines/check", &json!({"file": SEVERITIES}).to_string());
    assert_eq!((status, &answer["ok"]), (200, &json!(true)), "{answer}");
    let tests = "tests:
  - name: two of a kind
    topic: security.incident
    given: []
    expect: {by_crime: 2}
";
    let tested = format!("{SEVERITIES}{tests}");
    let (_, answer) = client.post_json("/pipelines/check", &json!({"file": tested}).to_string());
    assert_eq!((&answer["ok"], &answer["faults"][0]["line"]), (&json!(false), &json!(13)), "{answer}");
    let (_, answer) = client.post_json("/pipelines/check", &json!({"file": metrics}).to_string());
    assert_eq!((&answer["ok"], answer["conflicts"].as_array().unwrap().len()), (&json!(false), 1), "{answer}");
    assert_eq!(names(client), ["civic_safety"]);

    let filtered = changed("windows:\n", "filter: region IS NOT NULL\nwindows:\n");
    let (_, answer) = client.post_json("/pipelines/check", &json!({"file": filtered}).to_string());
    assert_eq!(answer["changes"], json!(["pipeline civic_safety is changed"]), "{answer}");

    // What keeps the state's meaning is changed.
    let (status, answer) = put(
        client,
        "civic_safety",
        &changed("windows:\n", "filter: region IS NOT NULL\nwindows:\n  hourly: {every: 1h, metrics: {n: count()}}\n"),
    );
    assert_eq!(status, 200, "{answer}");
    assert!(answer["changes"].to_string().contains("window hourly of civic_safety is added"), "{answer}");
    let version = answer["version"].as_str().unwrap();
    assert_eq!(client.json("/pipelines/civic_safety")["version"], version);
    let bodies = events(&civic_safety(), 22, 2_000);
    send_all(client, &bodies);
    job.wait_settled();
    assert!(!client.windows("&window=hourly").is_empty());
    let (_dir, setup, status) = job.stop();
    assert_eq!(status.code(), Some(0));
    assert_identical(&setup);
}

pub const SCHEMA: &str = r#"{"type": "object", "properties": {"id": {"type": "string"}, "at": {"type": "string", "format": "date-time"},
    "place": {"type": "string"}, "floor": {"type": "integer"}, "bar": {"type": "number"}}}"#;

/// Of everything that a change could meet.
pub const BASE: &str = "
pipeline: base
topics:
  a: {schema: a.json}
  b: {schema: a.json}
id: id
time: {field: at, out_of_order: 1s, max_future: 1m, idle_after: 1s}
dedup: {remember: 1h}
derive: {level: floor * 2}
windows:
  w: {every: 1s, group: [place, level], late: {allow: 5s}, metrics: {n: count(), most: max(bar)}, having: n > 1}
  best: {every: 1s, group: [place], metrics: {n: count()}, top: {n: 3, by: n}, topic: rows}
views:
  v: {key: place, latest: [bar, id]}
alerts:
  many: {on: w, when: n > 3}
  often: {key: place, count: bar > 1, at_least: 3, within: 10s, for: 1m, topic: told}
emit:
  pairs: {join: {x: a, y: b}, on: {x: place, y: place}, within: 1s, body: {bar: x.bar}}
  large: {from: a, when: bar > 9, body: {bar: bar}}
webhooks:
  ops: {on: [many], url: \"https://example.com/\"}
audit: {level: full, jsonl: base.jsonl}
";

pub fn begun() -> Configuration {
    let file = |name: &str, text: &str| FileText {
        file: format!("{name}.yaml"),
        text: text.to_owned(),
        schemas: if text.contains("schema:") { vec![("a.json".to_owned(), SCHEMA.to_owned())] } else { Vec::new() },
    };
    let reader = "pipeline: reader\ntopics: {a: ~}\nwindows:\n  r: {every: 1s, metrics: {most: max(bar)}}\n";
    let (begun, _) = Configuration::begin(Bundle(vec![file("base", BASE), file("reader", reader)]))
        .unwrap_or_else(|faults| panic!("{faults}"));
    begun
}

/// What is changed in `BASE`, and what of it is refused; nothing: it is changed.
#[test]
fn a_change_is_refused_where_kept_state_would_lose_its_meaning() {
    let now = begun();
    let check = |from: &str, to: &str, clashes: &[&str]| {
        assert!(BASE.contains(from), "{from}");
        let found = match put_file(&now, "base", &BASE.replacen(from, to, 1), |_| None) {
            Ok(_) => Vec::new(),
            Err(Refused::Clashes(found)) => found.into_iter().map(|clash| clash.what).collect(),
            Err(other) => panic!("{to}: {other}"),
        };
        assert_eq!(found, clashes, "{from} becomes {to}");
    };
    check("[place, level]", "[place, level]", &[]);
    check("derive: {level: floor * 2}", "derive: {level: floor * 3}\nfilter: floor > 0", &[]);
    check("  best: {every: 1s, group: [place], metrics: {n: count()}, top: {n: 3, by: n}, topic: rows}\n", "", &[]);
    check("windows:\n", "windows:\n  more: {every: 1h, metrics: {n: count()}}\n", &[]);
    check("{allow: 5s}", "{allow: 4s}", &[]);
    check("max_future: 1m, idle_after: 1s", "max_future: 2m, idle_after: 3s", &[]);
    check("latest: [bar, id]", "latest: [bar, id], when: bar > 0, history: true", &[]);
    check("when: bar > 9", "when: bar > 8", &[]);
    check("  w: {every: 1s", "  w: {every: 2s", &["window w of base"]);
    check("[place, level]", "[place]", &["window w of base"]);
    check("most: max(bar)", "most: min(bar)", &["window w of base"]);
    check("having: n > 1", "having: n > 2", &["window w of base"]);
    check("{n: 3, by: n}", "{n: 4, by: n}", &["window best of base"]);
    check("{allow: 5s}", "{allow: 6s}", &["window w of base"]);
    check("floor * 2", "CAST(floor AS TEXT)", &["window w of base"]);
    check("v: {key: place", "v: {key: id", &["view v of base"]);
    check("latest: [bar, id]", "latest: [bar]", &["view v of base"]);
    check("when: n > 3", "when: n > 4", &["alert many of base"]);
    check("at_least: 3", "at_least: 4", &["alert often of base"]);
    check("within: 1s, body", "within: 2s, body", &["emit pairs of base"]);
    check("out_of_order: 1s", "out_of_order: 2s", &["topic a", "topic b"]);
    check("remember: 1h", "remember: 2h", &["topic a", "topic b"]);
    check("id: id\n", "", &["topic a", "topic b"]);
    check("example.com", "example.org", &["webhooks of base"]);
    check("base.jsonl", "other.jsonl", &["audit.jsonl of base"]);
    check("topic: rows", "topic: others", &[]);

    // Another file's window takes the field too.
    let other = SCHEMA.replace(r#""bar": {"type": "number"}"#, r#""bar": {"type": "integer"}"#);
    let refused = put_file(&now, "base", BASE, |_| Some(other.clone())).err();
    let Some(Refused::Clashes(found)) = refused else { panic!("{refused:?}") };
    let found: Vec<&str> = found.iter().map(|clash| clash.what.as_str()).collect();
    assert_eq!(found, ["window w of base", "window r of reader"]);
    let more = SCHEMA.replace("\"properties\": {", "\"properties\": {\"more\": {\"type\": \"string\"}, ");
    assert!(put_file(&now, "base", BASE, |_| Some(more.clone())).is_ok());
}

/// What may be changed of `BASE`, and what may not: several at once, of places that have nothing to do with each other.
const EDITS: [(&str, &str, &[&str]); 22] = [
    ("max_future: 1m", "max_future: 2m", &[]),
    ("idle_after: 1s", "idle_after: 3s", &[]),
    ("windows:\n", "filter: floor > 0\nwindows:\n  more: {every: 1h, metrics: {n: count()}}\n", &[]),
    ("{allow: 5s}", "{allow: 4s}", &[]),
    ("latest: [bar, id]", "latest: [bar, id], when: bar > 0, history: true", &[]),
    ("when: bar > 9", "when: bar > 8", &[]),
    ("topic: told", "topic: heard", &["alert often of base"]),
    ("topic: rows", "topic: others", &[]),
    ("floor * 2", "floor * 3", &[]),
    ("  w: {every: 1s", "  w: {every: 2s", &["window w of base"]),
    ("[place, level]", "[place]", &["window w of base"]),
    ("most: max(bar)", "most: min(bar)", &["window w of base"]),
    ("having: n > 1", "having: n > 2", &["window w of base"]),
    ("{n: 3, by: n}", "{n: 4, by: n}", &["window best of base"]),
    ("v: {key: place", "v: {key: id", &["view v of base"]),
    ("when: n > 3", "when: n > 4", &["alert many of base"]),
    ("at_least: 3", "at_least: 4", &["alert often of base"]),
    ("within: 1s, body", "within: 2s, body", &["emit pairs of base"]),
    ("out_of_order: 1s", "out_of_order: 2s", &["topic a", "topic b"]),
    ("remember: 1h", "remember: 2h", &["topic a", "topic b"]),
    ("example.com", "example.org", &["webhooks of base"]),
    ("base.jsonl", "other.jsonl", &["audit.jsonl of base"]),
];

/// Of several changes each that is refused is told, and by what may be changed nothing is lost: all that both files have goes on.
#[test]
fn several_changes_are_refused_for_what_each_of_them_is() {
    let now = begun();
    let before = now.pipelines().unwrap().plan;
    let (mut taken, mut refused) = (0, 0);
    for seed in 0..200 {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let often = if rng.random() { 0.1 } else { 0.4 };
        let chosen =
            EDITS.iter().filter(|(.., clashes)| rng.random_bool(if clashes.is_empty() { 0.5 } else { often / 4.0 }));
        let chosen: Vec<_> = chosen.collect();
        let mut text = BASE.to_owned();
        for (from, to, _) in &chosen {
            assert!(text.contains(from), "{from}");
            text = text.replacen(from, to, 1);
        }
        let expected: BTreeSet<&str> = chosen.iter().flat_map(|(.., clashes)| clashes.iter().copied()).collect();
        match put_file(&now, "base", &text, |_| None) {
            Ok(proposed) => {
                assert!(expected.is_empty(), "seed {seed}: {expected:?} is not refused\n{text}");
                let after = proposed.pipelines.plan;
                let carry = Carry::between(&before, &after);
                let places = [&carry.pipelines, &carry.windows, &carry.views, &carry.alerts, &carry.emits];
                assert!(places.iter().all(|places| places.iter().all(Option::is_some)), "seed {seed}: {carry:?}");
                let mut lost = carry.forgotten.iter().chain(&carry.stopped);
                // Topics that nothing makes any more.
                assert!(lost.all(|topic| after.topics[usize::from(topic.0)].retired), "seed {seed}: {carry:?}");
                taken += 1;
            }
            Err(Refused::Clashes(found)) => {
                let found: BTreeSet<&str> = found.iter().map(|clash| clash.what.as_str()).collect();
                assert_eq!(found, expected, "seed {seed}\n{text}");
                refused += 1;
            }
            Err(other) => panic!("seed {seed}: {other}\n{text}"),
        }
    }
    assert!(taken > 20 && refused > 20, "{taken} taken, {refused} refused");
}

/// The log's slabs carry numbers: a name keeps its own whatever comes and goes.
#[test]
fn topics_keep_their_numbers() {
    let numbers = |of: &Configuration| -> Vec<(String, bool)> {
        let plan = of.pipelines().unwrap().plan;
        plan.topics.iter().map(|topic| (topic.name.clone(), topic.retired)).collect()
    };
    let named =
        |names: &[(&str, bool)]| names.iter().map(|(name, gone)| ((*name).to_owned(), *gone)).collect::<Vec<_>>();
    let first = begun();
    let live = [("a", false), ("b", false), ("pairs", false), ("large", false), ("rows", false), ("told", false)];
    assert_eq!(numbers(&first), named(&live));
    let pressure = put_file(&first, "pressure", PRESSURE, |_| Some(PRESSURE_SCHEMA.to_owned())).unwrap().configuration;
    let with_pressure = [&live[..], &[("pressure.measured", false)]].concat();
    assert_eq!(numbers(&pressure), named(&with_pressure));
    let without = delete_file(&pressure, "pressure").unwrap().configuration;
    let retired = [&live[..], &[("pressure.measured", true)]].concat();
    assert_eq!(numbers(&without), named(&retired));
    // As the log has it.
    let logged = Configuration::from_text(&without.to_text()).unwrap();
    assert_eq!(numbers(&logged), named(&retired));
    assert!(logged.pipelines().unwrap().plan.topic_from_outside("pressure.measured").is_err());
    let other = PRESSURE.replace("pressure", "tension");
    let both = put_file(&logged, "tension", &other, |_| Some(PRESSURE_SCHEMA.to_owned())).unwrap().configuration;
    let both = put_file(&both, "pressure", PRESSURE, |_| Some(PRESSURE_SCHEMA.to_owned())).unwrap().configuration;
    let all = [&with_pressure[..], &[("tension.measured", false)]].concat();
    assert_eq!(numbers(&both), named(&all));
    // What the job made cannot come from outside.
    let made = PRESSURE.replace("pressure.measured", "rows");
    let gone = BASE.replace(", topic: rows", "");
    let gone = put_file(&first, "base", &gone, |_| None).unwrap().configuration;
    let refused = put_file(&gone, "pressure", &made, |_| Some(PRESSURE_SCHEMA.to_owned())).err();
    assert!(matches!(&refused, Some(Refused::Clashes(found)) if found[0].what == "topic rows"), "{refused:?}");
}
