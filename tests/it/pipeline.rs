//! Pipeline files: what they mean, and what is refused, with line and column.

use std::slice::from_ref;

use caudal::core::expression::Type;
use caudal::core::plan::{Audit, ColumnId, ColumnKind, Metric, WindowKind, WindowPlan};
use caudal::core::units::Micros;
use caudal::pipeline::{Bundle, BurstHint, Faults, FileText, Pipelines};
use serde_json::json;

use crate::support::traffic::civic_safety;

const SECOND: i64 = 1_000_000;

#[test]
fn civic_safety_is_planned() {
    let pipeline = civic_safety();
    let plan = &pipeline.plan;
    let [pipeline_plan] = &plan.pipelines[..] else { panic!("{:?}", plan.pipelines) };
    assert_eq!((pipeline_plan.name.as_str(), pipeline_plan.windows.clone()), ("civic_safety", 0..2));
    assert_eq!(plan.topic_field, "source");
    assert_eq!(pipeline_plan.audit, Audit::Full);
    let names: Vec<&str> = plan.topics.iter().map(|topic| topic.name.as_str()).collect();
    assert_eq!(names, ["security.incident", "survey.victimization", "migration.case"]);
    for topic in &plan.topics {
        assert!(topic.schema.is_compiled(), "{}", topic.name);
        assert_eq!(topic.id.as_ref().unwrap().to_string(), "event_id");
        assert_eq!(topic.time.to_string(), "timestamp");
        let spans = [topic.out_of_order, topic.max_future, topic.idle_after, topic.remember];
        assert_eq!(spans.map(|span| span.0 / SECOND), [2, 60, 5, 86_400]);
    }
    let columns: Vec<_> = plan.columns.iter().map(|c| (c.path.to_string(), c.kind)).collect();
    let (source, region, age) = (ColumnId(0), ColumnId(1), ColumnId(2));
    assert_eq!(
        columns,
        [
            ("source".to_owned(), ColumnKind::Group),
            ("region".to_owned(), ColumnKind::Group),
            ("payload.age".to_owned(), ColumnKind::Integer),
        ]
    );
    let [by_region, daily] = &plan.windows[..] else { panic!("{:?}", plan.windows) };
    let tumbling = |seconds| WindowKind::Tumbling { every: Micros(seconds * SECOND) };
    assert_eq!((by_region.name.as_str(), by_region.kind), ("by_region", tumbling(5)));
    assert_eq!((by_region.late_allow, by_region.emit), (Micros(10 * SECOND), Some(Micros(SECOND))));
    let group = |window: &WindowPlan| -> Vec<_> {
        window.group.iter().map(|field| (field.name.clone(), field.column, field.of_type)).collect()
    };
    let [source, region] = [("source", source), ("region", region)].map(|(n, c)| (n.to_owned(), c, Type::Text));
    assert_eq!(group(by_region), [source, region.clone()]);
    assert_eq!(by_region.metrics, [("n".to_owned(), Metric::Count), ("mean_age".to_owned(), Metric::Mean(age))]);
    assert_eq!((daily.name.as_str(), daily.kind), ("daily", tumbling(86_400)));
    assert_eq!(group(daily), [region]);
    assert_eq!(daily.metrics, [("n".to_owned(), Metric::Count)]);
    assert_eq!(pipeline.hints.weights, [5.0, 3.0, 2.0]);
    assert_eq!(pipeline.hints.bursts, [BurstHint { topic: 0, probability: 0.002, size: 50 }]);
}

#[test]
fn the_sample_events_of_civic_safety_are_valid_but_for_those_that_show_a_fault() {
    let pipeline = civic_safety();
    let validators: Vec<_> = pipeline
        .schemas
        .iter()
        .map(|text| {
            let schema = serde_json::from_str(text).unwrap();
            jsonschema::draft202012::options().should_validate_formats(true).build(&schema).unwrap()
        })
        .collect();
    let text = std::fs::read_to_string("pipelines/civic_safety/events.ndjson").unwrap();
    let (mut ids, mut invalid, mut duplicate) = (std::collections::HashSet::new(), 0, 0);
    for line in text.lines() {
        let event: serde_json::Value = serde_json::from_str(line).unwrap();
        let topic = pipeline.plan.topic(event["source"].as_str().unwrap()).unwrap();
        if !validators[usize::from(topic.0)].is_valid(&event) {
            invalid += 1;
        } else if !ids.insert(event["event_id"].to_string()) {
            duplicate += 1;
        }
    }
    assert_eq!((text.lines().count(), invalid, duplicate), (48, 2, 2));
}

/// Two topics: what they describe differs in `mixed` and in `payload`.
fn bundle(text: &str) -> Bundle {
    let properties = json!({
        "id": {"type": "string"}, "at": {"type": "string", "format": "date-time"}, "unix": {"type": "integer"},
        "region": {"type": "string"}, "Region": {"type": "string"}, "flag": {"type": "boolean"},
        "amount": {"type": "number"}, "count": {"type": "integer"}, "closed": {"type": "string"}, "mixed": {"type": "integer"},
        "payload": {"type": "object", "properties": {
            "age": {"type": "integer"}, "region": {"type": "string"}, "tags": {"type": "array", "items": {"type": "string"}},
        }},
    });
    let mut other = properties.clone();
    other["mixed"] = json!({"type": "number"});
    other["payload"]["properties"]["only_b"] = json!({"type": "number"});
    let schema = |properties: &serde_json::Value| json!({"type": "object", "properties": properties}).to_string();
    let schemas = [("a.json", schema(&properties)), ("b.json", schema(&other))];
    Bundle(vec![FileText {
        file: "p.yaml".to_owned(),
        text: text.to_owned(),
        schemas: schemas.map(|(path, text)| (path.to_owned(), text)).into(),
    }])
}

/// A file that is right, with one line of it put in the place of another.
fn changed(line: &str, to: &str) -> String {
    let text = "\
pipeline: p
topics:
  a: {schema: a.json}
  b: {schema: b.json}
id: id
time: {field: at}
windows:
  w:
    every: 5s
    group: [region]
    metrics: {n: count()}
";
    assert!(text.contains(line), "{line}");
    text.replacen(line, to, 1)
}

fn faults(text: &str) -> Vec<String> {
    let Faults(faults) = bundle(text).pipelines().map(|_| ()).unwrap_err();
    faults.iter().map(ToString::to_string).collect()
}

fn plan(text: &str) -> Pipelines {
    bundle(text).pipelines().unwrap_or_else(|faults| panic!("{faults}\n{text}"))
}

#[test]
fn defaults() {
    let pipeline = plan(&changed("", ""));
    let topic = &pipeline.plan.topics[0];
    let spans = [topic.out_of_order, topic.max_future, topic.idle_after, topic.remember];
    assert_eq!(spans.map(|span| span.0 / SECOND), [2, 60, 5, 86_400]);
    let window = &pipeline.plan.windows[0];
    assert_eq!((window.late_allow, window.emit), (Micros(0), Some(Micros(SECOND))));
    assert_eq!((pipeline.plan.audit(), pipeline.plan.topic_field.as_str()), (Audit::Full, "source"));
    assert_eq!((pipeline.hints.weights, pipeline.hints.bursts), (vec![1.0, 1.0], Vec::new()));
}

#[test]
fn a_topic_overrides_what_the_file_says() {
    let text =
        changed("b: {schema: b.json}", "b: {schema: b.json, id: ~, time: {idle_after: 1h}, dedup: {remember: 1m}}");
    let pipeline = plan(&text);
    let [a, b] = &pipeline.plan.topics[..] else { panic!("two topics") };
    assert!(a.id.is_some() && b.id.is_none());
    assert_eq!(
        (b.time.to_string().as_str(), b.idle_after, b.remember),
        ("at", Micros(3_600 * SECOND), Micros(60 * SECOND))
    );
    assert_eq!((a.idle_after, a.remember), (Micros(5 * SECOND), Micros(86_400 * SECOND)));
}

#[test]
fn groups_are_named_by_their_last_part_unless_that_is_ambiguous() {
    let text = changed("[region]", "[region, payload.region, payload.age, flag]");
    let names: Vec<String> = plan(&text).plan.windows[0].group.iter().map(|field| field.name.clone()).collect();
    assert_eq!(names, ["region", "payload.region", "age", "flag"]);
}

#[test]
fn each_path_and_kind_is_one_column() {
    let metrics = "{a: sum(payload.age), b: mean( payload.age ), c: max(amount), d: min(payload.only_b)}";
    let text = changed("[region]", "[payload.age]").replace("{n: count()}", metrics);
    let columns: Vec<_> = plan(&text).plan.columns.iter().map(|c| (c.path.to_string(), c.kind)).collect();
    let expected = [
        ("payload.age", ColumnKind::Group),
        ("payload.age", ColumnKind::Integer),
        ("amount", ColumnKind::Number),
        ("payload.only_b", ColumnKind::Number),
    ];
    assert_eq!(columns, expected.map(|(path, kind)| (path.to_owned(), kind)));
}

/// Each case: a line of the right file, what stands in its place, and where and how the one fault is told.
#[test]
fn each_fault_has_its_place() {
    let window = "every: 5s";
    let mut wrong = Vec::new();
    for (line, to, place, part) in [
        ("pipeline: p", "", "2:1", "`pipeline: NAME` is missing"),
        ("pipeline: p", "pipeline: Civic", "1:11", "is no name: it is a small letter"),
        ("pipeline: p", "pipeline: 5", "1:11", "5 stands where this is allowed: a name"),
        ("pipeline: p", "pipeline: p\npipeline: q", "2:1", "stands here twice"),
        ("pipeline: p", "pipeline: p\npipelin: q", "2:1", "tests; did you mean \"pipeline\"?"),
        ("pipeline: p", "pipeline: p\ntopic_field: a.b", "2:14", "a name at the top"),
        ("pipeline: p", "pipeline: p\ncorrelation: none.such", "2:14", "correlation: the schema of"),
        ("pipeline: p", "pipeline: p\naudit: some", "2:8", "full, compact, none or {level: full, jsonl: FILE}"),
        ("pipeline: p", "pipeline: p\naudit: {jsonl: ../x}", "2:16", "below DATA_DIR/audit"),
        ("pipeline: p", "pipeline: p\naudit: {jsonl: a/}", "2:16", "below DATA_DIR/audit"),
        ("pipeline: p", "pipeline: p\naudit: {level: none, jsonl: a}", "2:29", "needs `level: full`"),
        ("pipeline: p", "pipeline: p\ngenerate: {rate: 0}", "2:18", "a number from 0.001 to 200000"),
        ("pipeline: p", "pipeline: p\ndedup: {remember: 0s}", "2:19", "at least 1ms"),
        ("pipeline: p", "pipeline: p\ngenerate: {weights: {c: 1}}", "2:22", "no topic of this file is called \"c\""),
        ("pipeline: p", "pipeline: p\ngenerate: {weights: {a: -1}}", "2:25", "a number from 0"),
        ("pipeline: p", "pipeline: p\ngenerate: {weights: {a: 0, b: 0}}", "2:22", "above 0"),
        ("pipeline: p", "pipeline: p\ngenerate: {burst: {topic: a, probability: 2, size: 1}}", "2:43", "from 0 to 1"),
        ("pipeline: p", "pipeline: p\ngenerate: {burst: {topic: a, size: 1}}", "2:19", "`probability` is missing"),
        ("a: {schema: a.json}", "A b: {schema: a.json}", "3:3", "is no topic's name"),
        ("a: {schema: a.json}", "a: {}", "3:3", "no file describes the topic \"a\""),
        ("a: {schema: a.json}", "a: a.json", "3:6", "a mapping with the keys schema"),
        ("a: {schema: a.json}", "a: {schema: ../../etc/passwd}", "3:15", "beside the pipeline file or below it"),
        ("a: {schema: a.json}", "a: {schema: /etc/passwd}", "3:15", "beside the pipeline file or below it"),
        ("a: {schema: a.json}", "a: {schema: b/../../a.json}", "3:15", "beside the pipeline file or below it"),
        ("id: id", "id: ids", "5:5", "does not describe \"ids\"; did you mean \"id\"?"),
        ("id: id", "id: count", "5:5", "is no string"),
        ("id: id", "id: a..b", "5:5", "is no field"),
        ("time: {field: at}", "time: {field: unix}", "6:15", "say what it counts from 1970 on"),
        ("time: {field: at}", "time: {field: at, out_of_order: 2}", "6:33", "a whole number and one of ms"),
        ("time: {field: at}", "time: {field: at, max_futre: 1m}", "6:19", "did you mean \"max_future\"?"),
        (window, "every: 0s", "9:12", "at least 1ms"),
        (window, "every: -5s", "9:12", "is no duration allowed here"),
        (window, "every: 9999d", "9:12", "at most 3650d"),
        (window, "every: {size: 10s, every: 1m}", "9:12", "would be in none"),
        (window, "every: {size: 1h, every: 7ms}", "9:12", "at most 10000 are allowed"),
        (window, "every: {size: 10s}", "9:12", "this is allowed: every: a duration"),
        (window, "every: {size: 10s, every: 5s, gap: 1s}", "9:12", "this is allowed: every: a duration"),
        (window, "every: {gap: 5s}\n    top: {n: 1, by: n}", "10:10", "nothing to rank them among"),
        (window, "every: 5s\n    top: {n: 1.5, by: n}", "10:10", "n is a whole number"),
        (window, "gap: 30s\n    every: 5s", "9:5", "unknown key \"gap\""),
        (window, "emit: 1s", "9:5", "`every: DURATION` is missing"),
        (window, "every: 5s\n    late: {within: 1s}", "10:12", "unknown key \"within\"; late has allow"),
        ("[region]", "region", "10:12", "a list of fields"),
        ("[region]", "[regions]", "10:13", "no topic's schema describes \"regions\"; did you mean \"region\"?"),
        ("[region]", "[region, region]", "10:21", "twice"),
        ("[region]", "[payload]", "10:13", "of no single simple type"),
        ("[region]", "[payload.tags]", "10:13", "of no single simple type"),
        ("[region]", "[amount]", "10:13", "is a number: a group's field"),
        ("[region]", "[mixed]", "10:13", "an integer in \"a\" but a number in \"b\""),
        ("[region]", "[closed]", "10:13", "is taken"),
        ("{n: count()}", "{}", "11:14", "0 metrics: 1 to 500"),
        ("{n: count()}", "{N: count()}", "11:15", "is no metric's name"),
        ("{n: count()}", "{region: count()}", "11:15", "is taken"),
        ("{n: count()}", "{event_count: count()}", "11:15", "is taken"),
        ("{n: count()}", "{n: count(region)}", "11:18", "takes no argument"),
        ("{n: count()}", "{n: count}", "11:18", "a function is needed here"),
        ("{n: count()}", "{n: summ(amount)}", "11:18", "did you mean \"sum\"?"),
        ("{n: count()}", "{n: stdev(amount)}", "11:18", "did you mean \"stddev\"?"),
        ("{n: count()}", "{n: median(amount)}", "11:18", "did you mean quantile(X, 0.5)?"),
        ("{n: count()}", "{n: quantile(amount, 0.5), m: count()}", "11:18", "within { } a comma ends a text"),
        ("id: id", "id: id\nderive: {d: COALESCE(amount, count, 0), e: count}", "6:13", "put the expression in quotes"),
        ("id: id", "id: id\nfilter: region = \"RM\"", "6:18", "a text stands in single quotes: 'RM'"),
        ("id: id", "id: id\nfilter: region = 'a: b'", "6:20", "a text that holds `: ` or ` #`"),
        ("{n: count()}", "{n: sum()}", "11:18", "takes one argument"),
        ("{n: count()}", "{n: sum(region)}", "11:22", "takes integers or numbers, and this is text"),
        ("{n: count()}", "{n: sum(mixed)}", "11:22", "all topics that have it must agree"),
        ("{n: count()}", "{n: sum(payload.agee)}", "11:22", "did you mean \"payload.age\"?"),
        ("{n: count()}", "{n: 'quantile(amount, 2)'}", "11:19", "a number from 0 to 1"),
        ("{n: count()}", "{n: count_if(amount)}", "11:27", "takes a condition"),
        ("{n: count()}", "{n: count()}\n    having: m > 1", "12:13", "a row has no \"m\""),
        ("{n: count()}", "{n: count()}\n    top: {n: 3, by: m}", "12:21", "the window has no metric \"m\""),
        ("{n: count()}", "{n: first(region)}\n    top: {n: 3, by: n}", "12:21", "is no number"),
        ("id: id", "id: id\nderive: {d: amount + region}", "6:22", "region"),
        ("id: id", "id: id\nderive: {region: amount + 1}", "6:10", "choose another name"),
        ("id: id", "id: id\nderive: {d: e, e: amount}", "6:13", "no topic's schema describes \"e\""),
        ("id: id", "id: id\nfilter: amount", "6:9", "amount"),
        ("id: id", "id: id\nfilter: |\n  region = 'a'\n  AND amont > 1", "8:7", "did you mean \"amount\"?"),
        ("id: id", "id: id\nfilter: payload.tags[4294967295] = 'a'", "6:9", "numbered from 0 to 255"),
        ("[region]", "['payload.tags[256]']", "10:13", "is no field"),
        ("id: id", "id: id\nfilter: a.b.c.d.e.f.g.h.i.j.k.l.m.n.o.p.q = 'a'", "6:9", "at most 16 are allowed"),
        ("id: id", "id: id\nviews: {v: {key: amount, latest: [region]}}", "6:18", "amount"),
        ("id: id", "id: id\nviews: {v: {key: region, latest: [regin]}}", "6:35", "did you mean \"region\"?"),
        ("id: id", "id: id\nviews: {v: {latest: [region]}}", "6:12", "`key: FIELD` is missing"),
        (
            "id: id",
            "id: id\nwebhooks: {h: {on: [s], url: https://x.example.com}}",
            "6:21",
            "this file has no alert \"s\"",
        ),
        (
            "id: id",
            "id: id\nwebhooks: {h: {on: [], url: https://x.example.com}}",
            "6:20",
            "0 alerts of a webhook: 1 to 100",
        ),
        (
            "id: id",
            "id: id\nalerts: {s: {on: w, when: n > 1}}\nwebhooks: {h: {on: [s], url: x.example.com}}",
            "7:30",
            "begins with http:// or https://",
        ),
        (
            "id: id",
            "id: id\nalerts: {s: {on: w, when: n > 1}}\nwebhooks: {h: {on: [s], url: 'http://x/${X}'}}",
            "7:30",
            "or ${NAME}, the environment variable",
        ),
        (
            "id: id",
            "id: id\nalerts: {s: {on: w, when: n > 1}}\nwebhooks: {h: {on: [s], url: 'http://x', retry: 0s}}",
            "7:49",
            "retry",
        ),
        ("id: id", "id: id\nalerts: {S: {on: w, when: n > 1}}", "6:10", "is no alert's name"),
        ("id: id", "id: id\nalerts: {s: {on: v, when: n > 1}}", "6:18", "this file has no window \"v\""),
        ("id: id", "id: id\nalerts: {s: {on: w, when: m > 1}}", "6:27", "a row has no \"m\""),
        ("id: id", "id: id\nalerts: {s: {when: n > 1}}", "6:13", "`on: WINDOW` is missing"),
        ("id: id", "id: id\nalerts: {s: {on: w}}", "6:13", "one of `when` and `anomaly`"),
        (
            "id: id",
            "id: id\nalerts: {s: {on: w, when: n > 1, at_least: 3}}",
            "6:44",
            "that is said of a pattern of events",
        ),
        ("id: id", "id: id\nalerts: {s: {on: w, anomaly: {metric: n, history: 3}}}", "6:30", "how far is too far"),
        (
            "id: id",
            "id: id\nalerts: {s: {on: w, anomaly: {metric: m, history: 3, zscore: 2}}}",
            "6:39",
            "the window has no metric \"m\"",
        ),
        (
            "id: id",
            "id: id\nalerts: {s: {on: w, anomaly: {metric: n, history: 2.5, zscore: 2}}}",
            "6:51",
            "it is a whole number",
        ),
        (
            "id: id",
            "id: id\nalerts: {s: {on: w, anomaly: {metric: n, history: 2, zscore: 2, remember: 1s}}}",
            "6:75",
            "a row every 5s",
        ),
        (
            "id: id",
            "id: id\nalerts: {s: {key: region, count: amount, at_least: 2, within: 1s, for: 1s}}",
            "6:34",
            "amount",
        ),
        (
            "id: id",
            "id: id\nalerts: {s: {key: region, count: amount > 1, at_least: 2, within: 1s}}",
            "6:13",
            "how long the alert lasts",
        ),
        (
            "id: id",
            "id: id\nalerts: {s: {key: amount, count: amount > 1, at_least: 2, within: 1s, for: 1s}}",
            "6:19",
            "is a number: a group's field",
        ),
        (
            "id: id",
            "id: id\nalerts: {s: {key: region, count: amount > 1, at_least: 0, within: 1s, for: 1s}}",
            "6:56",
            "a number from 1 to 1000",
        ),
        (
            "id: id",
            "id: id\nemit: {c: {join: {x: a, y: a}, on: region, within: 1s, body: {r: x.region}}}",
            "6:28",
            "a join is of two topics",
        ),
        (
            "id: id",
            "id: id\nemit: {c: {join: {x: a, y: c}, on: region, within: 1s, body: {r: x.region}}}",
            "6:28",
            "no topic of this file is called",
        ),
        (
            "id: id",
            "id: id\nemit: {c: {join: {x: a}, on: region, within: 1s, body: {r: x.region}}}",
            "6:18",
            "1 topics to join: 2 to 2",
        ),
        (
            "id: id",
            "id: id\nemit: {c: {join: {x: a, y: b}, on: amount, within: 1s, body: {r: x.region}}}",
            "6:36",
            "is a number: a group's field",
        ),
        (
            "id: id",
            "id: id\nemit: {c: {join: {x: a, y: b}, on: {x: region}, within: 1s, body: {r: x.region}}}",
            "6:36",
            "on: `y: FIELD` is missing",
        ),
        (
            "id: id",
            "id: id\nemit: {c: {join: {x: a, y: b}, on: {x: region, y: count}, within: 1s, body: {r: x.region}}}",
            "6:51",
            "it is text in one topic and integer in the other",
        ),
        (
            "id: id",
            "id: id\nemit: {c: {join: {x: a, y: b}, on: region, within: 1s, body: {r: region}}}",
            "6:66",
            "say whose",
        ),
        (
            "id: id",
            "id: id\nemit: {c: {join: {x: a, y: b}, on: region, within: 1s, body: {r: x.regin}}}",
            "6:66",
            "did you mean",
        ),
        (
            "id: id",
            "id: id\nemit: {c: {join: {x: a, y: b}, on: region, within: 1s, body: {r: x.amount + y.amount}}}",
            "6:77",
            "both cannot stand in it",
        ),
        (
            "id: id",
            "id: id\nemit: {c: {join: {x: a, y: b}, on: region, within: 1s, when: amount > 1, body: {r: x.region}}}",
            "6:62",
            "{x: CONDITION, y: CONDITION}",
        ),
        (
            "id: id",
            "id: id\nemit: {c: {join: {x: a, y: b}, on: region, within: 1s, when: {x: region}, body: {r: x.region}}}",
            "6:66",
            "region",
        ),
        (
            "id: id",
            "id: id\nemit: {c: {join: {x: a, y: b}, on: region, within: 1s, body: {r: x.payload.only_b}}}",
            "6:66",
            "does not describe \"payload.only_b\"",
        ),
        (
            "id: id",
            "id: id\nemit: {c: {join: {x: a, y: b}, on: region, within: 1s, when: {x: payload.only_b > 1}, body: {r: x.region}}}",
            "6:66",
            "does not describe \"payload.only_b\"",
        ),
        (
            "id: id",
            "id: id\nemit: {c: {join: {x: a, y: b}, on: region, within: 1s, body: {r: x.payload.only_b + 1}}}",
            "6:66",
            "does not describe",
        ),
        ("id: id", "id: id\ntests: [{name: x, given: [], expect: {}}]", "6:38", "cannot fail"),
        ("id: id", "id: id\ntests: [{name: x, given: [], expect: {v: 1}}]", "6:39", "no window and none of counted"),
        ("id: id", "id: id\ntests: [{name: x, given: [], expect: {w: [{m: 1}]}}]", "6:43", "a row has no \"m\""),
        ("time: {field: at}", "time: {field: at, format: unix}", "6:27", "is no time format"),
        ("time: {field: at}", "time: {field: unix, format: unix}", "6:29", "is no time format"),
        ("time: {field: at}", "time: {field: at, zone: Chile}", "6:25", "is no zone"),
        ("time: {field: at}", "time: {field: at, format: unix_s, zone: UTC}", "6:41", "has no zone"),
        ("  w:", "  W:", "8:3", "is no window's name"),
    ] {
        let text = changed(line, to);
        let told = faults(&text);
        let expected = format!("p.yaml:{place}: ");
        if told.len() != 1 || !told[0].starts_with(&expected) || !told[0].contains(part) {
            wrong.push(format!("{to}\n  told     {told:#?}\n  expected {expected}…{part}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// A time that cannot be read does not hide what else is wrong.
#[test]
fn all_faults_are_told_although_the_time_has_one() {
    let told = faults(&changed("{field: at}", "{field: unix}").replace("[region]", "[regin]"));
    assert!(told.len() == 2 && told[0].contains(":6:15:") && told[1].contains("did you mean \"region\"?"), "{told:#?}");
}

/// What is wrong with a window or a derived field is told once, not again wherever its name is used.
#[test]
fn what_follows_from_a_fault_is_not_told() {
    let uses = "{n: count(), m: max(d)}\n    having: m > n\n    top: {n: 1, by: m}\ntests: [{name: x, given: [], expect: {w: [{m: 1, region: a}]}}]";
    for (line, to, place) in [
        ("id: id", "id: id\nderive: {d: nowhere}", "6:13"),
        ("[region]", "[regin]", "10:13"),
        ("    every: 5s", "    evry: 5s\n    every: 5s", "9:5"),
        ("max(d)", "max(e)", "11:34"),
    ] {
        let right = changed("{n: count()}", uses).replace("id: id\n", "id: id\nderive: {d: amount}\n");
        let right = if line == "id: id" { right.replace("derive: {d: amount}\n", "") } else { right };
        // One line more than in `changed`: the derived field's.
        let told = faults(&right.replacen(line, to, 1));
        let expected = match place.split_once(':') {
            Some((row, column)) if line != "id: id" => {
                format!("p.yaml:{}:{column}: ", row.parse::<usize>().unwrap() + 1)
            }
            _ => format!("p.yaml:{place}: "),
        };
        assert!(told.len() == 1 && told[0].starts_with(&expected), "{expected}{told:#?}");
    }
    plan(&changed("{n: count()}", uses).replace("id: id\n", "id: id\nderive: {d: amount}\n"));
}

#[test]
fn names_that_sql_would_confuse_are_refused() {
    let told = faults(&changed("[region]", "[region, Region]"));
    assert!(told.len() == 1 && told[0].contains("\"Region\" is taken"), "{told:?}");
    let told = faults(&changed("pipeline: p", "pipeline: events").replace("  w:", "  in:"));
    assert!(told.len() == 1 && told[0].contains("events_in, which is a table"), "{told:?}");
    let long = "x".repeat(60);
    let told = faults(&changed("pipeline: p", &format!("pipeline: {long}")).replace("  w:", "  wide:"));
    assert!(told.len() == 1 && told[0].contains("at most 63 bytes"), "{told:?}");
}

#[test]
fn all_faults_are_told_at_once_in_the_order_of_the_file() {
    let text = "\
pipeline: Civic
topics:
  a: {schema: a.json, sceme: x}
  b: {schema: missing.json}
windows:
  w: {every: 0s, group: [nowhere], metrics: {n: count(x), m: sum(amount)}}
routes: {}
audit: maybe
";
    let told = faults(text);
    let places: Vec<&str> = told.iter().map(|t| t.split(": ").next().unwrap()).collect();
    let expected =
        ["1:11", "3:3", "3:23", "4:3", "4:15", "6:14", "6:49", "7:9", "8:8"].map(|place| format!("p.yaml:{place}"));
    assert_eq!(places, expected, "{told:#?}");
}

#[test]
fn what_is_no_pipeline_file_at_all_is_refused() {
    let deep = format!("pipeline: {}{}", "[".repeat(200), "]".repeat(200));
    let mut bomb = "a: &a [x,x,x,x,x,x,x,x,x,x]\n".to_owned();
    for (name, of) in "bcdefghij".chars().zip("abcdefghi".chars()) {
        let ten = vec![format!("*{of}"); 10].join(",");
        bomb.extend([format!("{name}: &{name} [{ten}]\n")]);
    }
    for text in ["", "~", "[]", "pipeline", "a: b: c", "\u{0}", "{", "a: 1\n---\nb: 2\n", "? [1]\n: 2\n", &deep, &bomb]
    {
        let begun = std::time::Instant::now();
        assert!(!faults(text).is_empty(), "{text}");
        assert!(begun.elapsed().as_secs() < 5, "{text:.40}");
    }
}

#[test]
fn hostile_schemas_are_refused() {
    for (schema, part) in [
        ("{", "no JSON"),
        (r#"{"type": 5}"#, "not a usable JSON Schema"),
        (r##"{"$ref": "#/nowhere"}"##, "not a usable JSON Schema"),
        (r#"{"properties": {"id": {"pattern": "("}}}"#, "not a usable JSON Schema"),
        (&json!({"properties": {"id": {"pattern": "a".repeat(1 << 20)}}}).to_string(), "a pattern of 1048576 bytes"),
        (&json!({"patternProperties": {"a".repeat(5000): true}}).to_string(), "a pattern of 5000 bytes"),
    ] {
        let mut bundle = bundle(&changed("", ""));
        bundle.0[0].schemas[0].1 = schema.to_owned();
        let Faults(told) = bundle.pipelines().map(|_| ()).unwrap_err();
        assert!(told.len() == 1 && told[0].message.contains(part), "{schema:.80}\n{told:?}");
        assert_eq!((told[0].line, told[0].column), (3, 15));
    }
}

#[test]
fn a_bundle_is_read_whole_or_says_what_is_missing() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("p.yaml");
    std::fs::write(&file, changed("", "")).unwrap();
    std::fs::write(directory.path().join("a.json"), "{}").unwrap();
    let Faults(told) = Bundle::read(from_ref(&file)).unwrap_err();
    assert!(told.iter().any(|f| (f.line, f.column) == (4, 15) && f.message.contains("b.json")), "{told:?}");
    std::fs::write(directory.path().join("b.json"), vec![b' '; (1 << 20) + 1]).unwrap();
    let Faults(told) = Bundle::read(from_ref(&file)).unwrap_err();
    assert!(told.iter().any(|f| f.message.contains("larger than 1048576 bytes")), "{told:?}");
    for (path, text) in bundle("").0.remove(0).schemas {
        std::fs::write(directory.path().join(path), text).unwrap();
    }
    let read = Bundle::read(from_ref(&file)).unwrap();
    assert_eq!(read.to_text(), bundle(&changed("", "")).to_text());
    let Faults(told) = Bundle::read(&[directory.path().join("none.yaml")]).unwrap_err();
    assert!(told.len() == 1 && told[0].line == 0, "{told:?}");
}

#[test]
fn a_bundle_comes_back_from_its_text() {
    let bundle = bundle("pipeline: \"ü\n\u{1}\"");
    let text = bundle.to_text();
    let back = Bundle::from_text(&text).unwrap();
    assert_eq!(back.to_text(), text);
    let texts = |bundle: &Bundle| -> Vec<_> { bundle.0.iter().map(|f| (f.text.clone(), f.schemas.clone())).collect() };
    assert_eq!(texts(&back), texts(&bundle));
    for wrong in ["", "{}", "[1,\"\",[]]", "[3,[]]", "[2]", "[2,[[\"\"]]]", "[2,[],0]"] {
        assert!(Bundle::from_text(wrong).is_err(), "{wrong}");
    }
}

#[derive(clap::Parser)]
struct Command {
    #[command(flatten)]
    args: caudal::cli::check::Args,
}

#[test]
fn check_exits_2_where_anything_is_wrong() {
    let directory = tempfile::tempdir().unwrap();
    let wrong = directory.path().join("wrong.yaml");
    std::fs::write(&wrong, "pipeline: X\n").unwrap();
    let wrong = wrong.to_str().unwrap();
    let right = "pipelines/civic_safety/pipeline.yaml";
    for (files, expected) in
        [(&[right][..], 0), (&[wrong], 2), (&[right, wrong], 2), (&["none.yaml"], 2), (&["--json", wrong], 2)]
    {
        let arguments = ["caudal"].iter().chain(files);
        let command = <Command as clap::Parser>::try_parse_from(arguments).unwrap();
        assert_eq!(caudal::cli::check::run(&command.args).unwrap(), expected, "{files:?}");
    }
}
