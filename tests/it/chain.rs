//! Emitted topics and the pipelines that read them: how they are planned, and what is refused.

use caudal::core::plan::EmittedBy;
use caudal::core::units::{Micros, TopicId};
use caudal::pipeline::{Bundle, FileText, Pipelines};
use serde_json::{Value, json};

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
  v: {every: 1m, group: [region], metrics: {n: sum(n), twice: sum(twice)}, topic: rows.more}
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
        (vec![window("X")], "1.yaml:4:57", "is no topic's name"),
        (
            vec![window("c") + "\nemit: {c: {from: b, body: {r: region}}}"],
            "1.yaml:4:57",
            "something else makes the topic \"c\" already",
        ),
        (
            vec![window("c"), window("c").replace("pipeline: p", "pipeline: q").replace("{schema: a.json}", "~")],
            "2.yaml:4:57",
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
            "no topic that this file reads from outside is called \"c\"",
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
