//! Emitted topics and the pipelines that read them: how they are planned, and what is refused.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::fs;

use caudal::core::plan::EmittedBy;
use caudal::core::time;
use caudal::core::units::{Micros, TopicId};
use caudal::pipeline::{Bundle, FileText, Pipelines};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::export::export;
use crate::mpi::{assert_identical, digest, verify};
use crate::support::job::{Job, Setup, until};

/// The sources: a topic `a` with an id, a region, an amount, a flag and a place.
const MAKES: &str = "\
pipeline: z_makes
topics: {a: {schema: a.json}}
id: id
time: {field: at, idle_after: 7s}
derive: {twice: amount * 2}
windows:
  w: {every: 5s, group: [region, flag], late: {allow: 3s}, metrics: {n: count(), total: sum(amount), first_place: first(region)}, topic: rows}
emit:
  big: {from: a, when: amount > 10, body: {region: region, place: place, twice: twice, at: \"event_time()\", label: \"'x'\"}}
";
const READS: &str = "\
pipeline: reads
topics: {rows: ~, big: ~}
windows:
  v: {every: 1m, group: [region], metrics: {n: sum(n), total: sum(total), twice: sum(twice)}, topic: rows.more}
";

fn bundle(files: &[&str]) -> Bundle {
    let schema = json!({"type": "object", "properties": {
        "id": {"type": "string"}, "at": {"type": "string", "format": "date-time"}, "region": {"type": "string", "enum": ["N", "S"]},
        "amount": {"type": "number"}, "flag": {"type": "boolean"},
        "place": {"type": "object", "properties": {"lat": {"type": "number"}, "zone": {"$ref": "#/properties/region"}}},
    }});
    let file = |(number, text): (usize, &&str)| FileText {
        file: format!("{}.yaml", number + 1),
        text: (*text).to_owned(),
        schemas: vec![("a.json".to_owned(), schema.to_string())],
    };
    Bundle(files.iter().enumerate().map(file).collect())
}

fn plan(files: &[&str]) -> Pipelines {
    bundle(files).pipelines().unwrap_or_else(|faults| panic!("{faults}"))
}

fn schema_of(pipelines: &Pipelines, topic: &str) -> Value {
    let at = pipelines.plan.topic(topic).unwrap();
    serde_json::from_str(&pipelines.schemas[usize::from(at.0)]).unwrap()
}

/// Who makes a topic stands before who reads it, whatever the order of the files and of the names.
#[test]
fn emitted_topics_are_planned_before_their_readers() {
    for files in [[MAKES, READS], [READS, MAKES]] {
        let pipelines = plan(&files);
        let plan = &pipelines.plan;
        let names: Vec<&str> = plan.pipelines.iter().map(|pipeline| pipeline.name.as_str()).collect();
        assert_eq!(names, ["z_makes", "reads"]);
        let emitted = |topic: &str| plan.topics[usize::from(plan.topic(topic).unwrap().0)].emitted;
        let by = |pipeline, behind| Some(EmittedBy { pipeline, behind: Micros(behind) });
        assert_eq!(emitted("a"), None);
        assert_eq!(emitted("big"), by(0, 0));
        assert_eq!(emitted("rows"), by(0, 3_000_000));
        assert_eq!(emitted("rows.more"), by(1, 0));
        let rows = &plan.topics[usize::from(plan.topic("rows").unwrap().0)];
        assert_eq!((rows.idle_after, rows.id.is_none(), rows.max_future), (Micros(7_000_000), true, Micros(i64::MAX)));
        assert!(rows.schema.is_compiled());
        // Nobody reads the last one; the generator makes none of them.
        assert_eq!(plan.unread(plan.topic("rows.more").unwrap()).map(|p| p.name.as_str()), Some("reads"));
        assert_eq!(plan.unread(plan.topic("rows").unwrap()).map(|p| p.name.as_str()), None);
        let weights: Vec<f64> = ["a", "rows", "big", "rows.more"]
            .map(|topic| pipelines.hints.weights[usize::from(plan.topic(topic).unwrap().0)])
            .into();
        assert_eq!(weights, [1.0, 0.0, 0.0, 0.0]);
        let keeps = |topic: &str| {
            let topic = plan.topic(topic).unwrap();
            plan.pipelines.iter().map(|pipeline| plan.keeps(pipeline, topic)).collect::<Vec<_>>()
        };
        assert_eq!(["a", "rows", "rows.more"].map(keeps), [[true, false], [false, true], [false, true]]);
        assert!(plan.topic_from_outside("rows").unwrap_err().contains("events are taken for a"));
        assert_eq!(plan.topic_from_outside("a"), Ok(TopicId(plan.topic("a").unwrap().0)));
    }
}

#[test]
fn an_emitted_topic_describes_itself() {
    let pipelines = plan(&[MAKES, READS]);
    let moment = json!({"type": "string", "format": "date-time"});
    let uuid = json!({"type": "string", "format": "uuid"});
    let expected = json!({"type": "object", "required": ["event_id", "timestamp"], "properties": {
        "event_id": uuid, "timestamp": moment, "metric_id": uuid, "window_start": moment, "window_end": moment,
        "region": {"type": ["string", "null"]}, "flag": {"type": ["boolean", "null"]},
        "n": {"type": ["integer", "null"]}, "total": {"type": ["number", "null"]}, "first_place": {"type": ["string", "null"]},
        "event_count": {"type": ["integer", "null"]}, "revision": {"type": "integer"},
    }});
    assert_eq!(schema_of(&pipelines, "rows"), expected);
    // A field that is taken over is as its topic says, unless that refers to something else there.
    let expected = json!({"type": "object", "required": ["event_id", "timestamp"], "properties": {
        "event_id": uuid, "timestamp": moment, "region": {"type": "string", "enum": ["N", "S"]}, "place": {},
        "twice": {"type": "number"}, "at": moment, "label": {"type": "string"},
    }});
    assert_eq!(schema_of(&pipelines, "big"), expected);
}

/// A file of one's own that reads `a` and `b`, with `more` at its end.
fn own(more: &str) -> String {
    format!("pipeline: p\ntopics: {{a: {{schema: a.json}}, b: {{schema: a.json}}}}\ntime: {{field: at}}\n{more}")
}

#[test]
fn what_cannot_be_emitted_is_told() {
    let reads = |name: &str, topic: &str, makes: &str| {
        format!(
            "pipeline: {name}\ntopics: {{{topic}: ~}}\nemit: {{{makes}: {{from: {topic}, body: {{t: timestamp}}}}}}\n"
        )
    };
    let window = |topic: &str| own(&format!("windows: {{w: {{every: 1s, metrics: {{n: count()}}, topic: {topic}}}}}"));
    let mut wrong = Vec::new();
    let reads_more = |metric: &str| READS.replace("twice: sum(twice)", &format!("twice: {metric}"));
    for (files, place, part) in [
        (vec![own("emit: {c: {body: {r: region}}}")], "1.yaml:4:11", "`from: TOPIC` is missing"),
        (vec![own("emit: {c: {from: [], body: {r: region}}}")], "1.yaml:4:18", "0 topics in `from`: 1 to 1000"),
        (
            vec![
                own("emit: {a: {from: b, body: {x: amount * 2}}}\nwindows: {w: {every: 1s, metrics: {s: sum(x)}}}")
                    .replace("a: {schema: a.json}", "a: ~"),
            ],
            "1.yaml:2:10",
            "made by this file itself",
        ),
        (vec![own("emit: {c: {from: a}}")], "1.yaml:4:11", "`body: {NAME: FIELD}` is missing"),
        (vec![own("emit: {c: {from: a, body: {}}}")], "1.yaml:4:27", "0 fields of an event that is emitted: 1 to 200"),
        (vec![own("emit: {c: {from: x, body: {r: region}}}")], "1.yaml:4:18", "no topic of this file is called \"x\""),
        (vec![own("emit: {C: {from: a, body: {r: region}}}")], "1.yaml:4:8", "is no topic's name"),
        (vec![own("emit: {c: {from: a, body: {r: regin}}}")], "1.yaml:4:31", "did you mean \"region\"?"),
        (vec![own("emit: {c: {from: a, body: {r: amount / 'x'}}}")], "1.yaml:4:", "body: "),
        (vec![own("emit: {c: {from: a, body: {event_id: id}}}")], "1.yaml:4:28", "has event_id and timestamp already"),
        (vec![own("emit: {c: {from: a, body: {a.b: id}}}")], "1.yaml:4:28", "is no name of a field here"),
        (vec![own("emit: {c: {from: a, when: amount, body: {r: region}}}")], "1.yaml:4:27", "when: "),
        (vec![own("emit: {c: {from: a, wen: flag, body: {r: region}}}")], "1.yaml:4:21", "did you mean \"when\"?"),
        (vec![own("emit: {a: {from: b, body: {r: region}}}")], "1.yaml:2:10", "made by this file itself"),
        (vec![window("a")], "1.yaml:2:10", "made by this file itself"),
        (vec![window("X")], "1.yaml:4:56", "is no topic's name"),
        (
            vec![window("c") + "\nemit: {c: {from: b, body: {r: region}}}"],
            "1.yaml:4:56",
            "something else makes the topic \"c\" already",
        ),
        (
            vec![window("c"), window("c").replace("pipeline: p", "pipeline: q").replace("{schema: a.json}", "~")],
            "2.yaml:4:56",
            "something else makes",
        ),
        (
            vec![own("windows: {w: {every: 1s, group: [region], metrics: {timestamp: count()}, topic: c}}")],
            "1.yaml:4:53",
            "is taken",
        ),
        (
            vec![own("generate: {weights: {c: 1}}\nemit: {c: {from: b, body: {r: region}}}")],
            "1.yaml:4:22",
            "the job makes the events of \"c\" itself",
        ),
        (vec![reads("q", "c", "d"), reads("r", "d", "c")], "1.yaml:2:10", "topics cannot go in a circle"),
        (vec![reads("q", "c", "d")], "1.yaml:2:10", "no file describes the topic \"c\""),
        (
            vec![
                own("emit: {c: {from: b, body: {r: region}}}"),
                own("windows: {w: {every: 1s, metrics: {n: count()}}}")
                    .replace("pipeline: p", "pipeline: q")
                    .replace("{schema: a.json}", "~")
                    .replace("b: ~", "b: ~, c: {schema: a.json}"),
            ],
            "1.yaml:4:8",
            "is described with a schema",
        ),
        (vec![MAKES.to_owned(), reads_more("sum(label)")], "2.yaml:4:", "takes integers or numbers, and this is text"),
        (
            vec![MAKES.to_owned(), reads_more("max(place.lat)")],
            "2.yaml:4:",
            "no topic's schema describes \"place.lat\"",
        ),
    ] {
        let texts: Vec<&str> = files.iter().map(String::as_str).collect();
        let told = bundle(&texts).pipelines().map(|_| ()).unwrap_err().0;
        let told: Vec<String> = told.iter().map(ToString::to_string).collect();
        if !told.first().is_some_and(|told| told.starts_with(place) && told.contains(part)) {
            wrong.push(format!("{}\n  told     {told:#?}\n  expected {place}…{part}", files.join("\n")));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

const SECONDS: &str = "pipeline: seconds
topics: {sale: {schema: sale.json}}
id: id
time: {field: at, format: unix_ms, out_of_order: 0s, idle_after: 200ms}
windows:
  per_second: {every: 1s, group: [shop], metrics: {n: count(), total: sum(amount)}, topic: sale.per_second}
emit:
  sale.large: {from: sale, when: amount >= 90, body: {shop: shop, amount: amount, sale: id}}
";
const SPANS: &str = "pipeline: spans
topics: {sale.per_second: ~}
windows:
  spans: {every: 5s, group: [shop], metrics: {busiest: max(n), n: sum(n), total: sum(total), seconds: count()}}
";
const SALE: &str = r#"{"type": "object", "required": ["id", "at"], "properties": {
    "id": {"type": "string"}, "at": {"type": "integer"}, "shop": {"type": "string"}, "amount": {"type": "integer"}}}"#;
/// 2026-01-01T00:00:00Z
const BASE_MS: u64 = 1_767_225_600_000;

/// By second: how many sales, and their total.
type Seconds = BTreeMap<u64, (u64, u64)>;

fn number(row: &Value, name: &str) -> u64 {
    row["values"][name].as_u64().unwrap_or_else(|| panic!("{name} of {row}"))
}

/// Two pipelines, one on what the other makes; ranks are killed on the way. The numbers come from the events alone.
#[test]
fn a_chain_counts_each_event_once_whatever_is_killed() {
    let dir = TempDir::new().unwrap();
    for (name, text) in [("seconds.yaml", SECONDS), ("spans.yaml", SPANS), ("sale.json", SALE)] {
        fs::write(dir.path().join(name), text).unwrap();
    }
    let setup = Setup::new(3, dir.path()).with("PIPELINES", &format!("{}/*.yaml", dir.path().display()));
    let job = Job::start_in(dir, setup);
    let mut spans: BTreeMap<(u64, &str), Seconds> = BTreeMap::new();
    let mut large = BTreeSet::new();
    for batch in 0..30_u64 {
        let mut lines = String::new();
        for n in 0..200_u64 {
            let (id, shop, amount) = (format!("{batch}-{n}"), ["north", "south"][(n % 3 / 2) as usize], n * 7 % 100);
            let at = BASE_MS + batch * 700 + n * 3;
            writeln!(lines, "{}", json!({"id": id, "at": at, "shop": shop, "amount": amount})).unwrap();
            let second = spans.entry((at / 5000, shop)).or_default().entry(at / 1000).or_default();
            *second = (second.0 + 1, second.1 + amount);
            if amount >= 90 {
                large.insert(id);
            }
        }
        until("the batch is taken", || {
            let posted = job.client.try_post("/topics/sale/events", "application/x-ndjson", lines.as_bytes());
            matches!(posted, Ok((202, _)))
        });
        if batch == 10 || batch == 20 {
            job.kill_rank(usize::from(batch == 10));
            job.wait_back();
        }
    }
    let expected: BTreeMap<(u64, String), (u64, u64, u64, u64)> = spans
        .into_iter()
        .map(|((span, shop), seconds)| {
            let (n, total) = seconds.values().fold((0, 0), |(n, total), second| (n + second.0, total + second.1));
            let busiest = seconds.values().map(|second| second.0).max().unwrap();
            ((span, shop.to_owned()), (busiest, n, total, seconds.len() as u64))
        })
        .collect();
    let mut found = BTreeMap::new();
    until("silence closes the last span", || {
        let rows = job.client.json("/windows?pipeline=spans&closed=true&limit=1000");
        let row = |row: &Value| {
            let start = time::parse(row["window_start"].as_str().unwrap().as_bytes()).unwrap();
            let place = (start.0 as u64 / 5_000_000, row["group"]["shop"].as_str().unwrap().to_owned());
            (place, (number(row, "busiest"), number(row, "n"), number(row, "total"), number(row, "seconds")))
        };
        found = rows["windows"].as_array().unwrap().iter().map(row).collect();
        found.len() >= expected.len()
    });
    assert_eq!(found, expected);
    job.wait_settled();

    // Events that nobody reads are there for others; nobody else makes them.
    let of_topic = job.client.json("/events?topic=sale.large&limit=1000");
    let sales: BTreeSet<String> = of_topic["events"]
        .as_array()
        .unwrap()
        .iter()
        .map(|event| event["event"]["sale"].as_str().unwrap_or_else(|| panic!("{event}")).to_owned())
        .collect();
    assert_eq!(sales, large);
    let topics = job.client.json("/topics");
    let about = |name: &str| topics["topics"].as_array().unwrap().iter().find(|t| t["name"] == name).unwrap().clone();
    assert_eq!((&about("sale.large")["post"], &about("sale.large")["emitted_by"]), (&Value::Null, &json!("seconds")));
    assert_eq!(about("sale")["emitted_by"], Value::Null);
    let (status, problem) = job.client.post_json("/topics/sale.large/events", "{}");
    assert_eq!((status, problem["detail"].to_string().contains("the job itself makes")), (404, true), "{problem}");
    let ledger = job.client.json("/ledger");
    let rows: u64 = expected.values().map(|(.., seconds)| seconds).sum();
    assert_eq!(ledger["accepted"].as_u64().unwrap(), 30 * 200 + large.len() as u64 + rows, "{ledger}");
    assert_eq!(ledger["counted"], ledger["accepted"], "{ledger}");

    // What was exported, with the events that the job itself made, gives the same rows to a batch.
    let folder = job.dir.path().to_owned();
    for name in ["all.events", "all.events.gz", "all.events.zst"] {
        let summary = export(&job, &["--output", folder.join(name).to_str().unwrap(), "--json"]);
        assert_eq!(summary["events"], ledger["accepted"], "{summary}");
    }
    let (_dir, setup, status) = job.stop();
    assert_eq!(status.code(), Some(0));
    assert_identical(&setup);
    let live = digest(&verify(&setup).1);
    for name in ["all.events", "all.events.gz", "all.events.zst"] {
        let files = ["--pipeline", "seconds.yaml", "spans.yaml", "--input", name];
        let args = [&["batch", "--json", "--output", "out"], &files[..]].concat();
        let run = setup.command(&folder, &args).output().expect("run_mpi.sh runs");
        assert!(run.status.success(), "{}", String::from_utf8_lossy(&run.stderr));
        assert_eq!(digest(&String::from_utf8_lossy(&run.stdout)), live, "{name}");
    }
}
