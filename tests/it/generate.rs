//! The generator: the same seed gives the same bytes, and every event is what it claims to be.

use std::collections::{BTreeSet, HashSet};

use caudal::core::time;
use caudal::core::units::{Micros, TopicId};
use caudal::generate::{Generated, Generator, Kind, Settings};
use caudal::pipeline::{Bundle, BurstHint, FileText, Pipelines};
use serde_json::{Value, json};

use crate::support::traffic::civic_safety;

/// Nothing is disturbed.
fn plain(seed: u64) -> Settings {
    Settings { seed, start: time::parse(b"2026-11-22T12:00:00Z").unwrap(), ..Settings::default() }
}

fn disturbed(seed: u64) -> Settings {
    Settings { duplicates: 0.02, invalid: 0.01, late: 0.03, out_of_order: Micros(1_000_000), ..plain(seed) }
}

fn events(pipeline: &Pipelines, settings: Settings, count: usize) -> Vec<Generated> {
    let mut generator = Generator::new(pipeline, settings).unwrap();
    (0..count).map(|_| generator.generate()).collect()
}

/// Whether the topic's schema, judged by the reference, accepts the line.
fn is_valid(pipeline: &Pipelines, event: &Generated) -> bool {
    let schema = serde_json::from_str(&pipeline.schemas[usize::from(event.topic.0)]).unwrap();
    let validator = jsonschema::draft202012::options().should_validate_formats(true).build(&schema).unwrap();
    serde_json::from_slice::<Value>(&event.line).is_ok_and(|event| validator.is_valid(&event))
}

fn time_of(event: &Generated) -> i64 {
    let event: Value = serde_json::from_slice(&event.line).unwrap();
    time::parse(event["timestamp"].as_str().unwrap().as_bytes()).unwrap().0
}

#[test]
fn the_same_seed_gives_the_same_bytes_and_another_one_others() {
    let pipeline = civic_safety();
    let first = events(&pipeline, disturbed(7), 20_000);
    assert_eq!(first, events(&pipeline, disturbed(7), 20_000));
    assert_ne!(first[0], events(&pipeline, disturbed(8), 1)[0]);
}

#[test]
fn every_event_is_what_it_claims_to_be() {
    let pipeline = civic_safety();
    let settings = disturbed(11);
    let (mut ids, mut counts) = (HashSet::new(), [0u32; 4]);
    let mut newest = i64::MIN;
    for event in events(&pipeline, settings.clone(), 20_000) {
        counts[event.kind as usize] += 1;
        assert!(!event.line.is_empty() && !event.line.contains(&b'\n'));
        let shown = String::from_utf8_lossy(&event.line).into_owned();
        assert_eq!(is_valid(&pipeline, &event), event.kind != Kind::Invalid, "{:?}: {shown}", event.kind);
        if event.kind == Kind::Invalid {
            continue;
        }
        let parsed: Value = serde_json::from_slice(&event.line).unwrap();
        assert_eq!(parsed["source"], pipeline.plan.topics[usize::from(event.topic.0)].name.as_str());
        let new = ids.insert(parsed["event_id"].as_str().unwrap().to_owned());
        assert_eq!(new, event.kind != Kind::Duplicate, "{shown}");
        let time = time_of(&event);
        match event.kind {
            Kind::Late => assert!(time < newest - settings.late_by.0 + 10_000_000, "{shown}"),
            Kind::Valid => assert!(newest == i64::MIN || time >= newest - settings.out_of_order.0, "{shown}"),
            Kind::Duplicate | Kind::Invalid => {}
        }
        newest = newest.max(time);
    }
    // Valid, Duplicate, Invalid, Late; a fifth of leeway and more around 400, 196 and 588.
    let expected = [18_000..19_500, 300..500, 130..270, 470..710];
    assert!(counts.iter().zip(&expected).all(|(count, range)| range.contains(count)), "{counts:?}");
}

#[test]
fn time_advances_by_the_rate_and_set_time_moves_it_forward_only() {
    let mut generator = Generator::new(&civic_safety(), Settings { burst: Some(burst(0.0, 1)), ..plain(1) }).unwrap();
    let start = plain(1).start.0;
    let times: Vec<i64> = (0..1_000).map(|_| time_of(&generator.generate()) - start).collect();
    assert_eq!((times[0], times[1], times[999]), (1_000, 2_000, 1_000_000));
    generator.set_time(Micros(start + 500_000));
    assert_eq!(time_of(&generator.generate()) - start, 1_001_000);
    generator.set_time(Micros(start + 9_000_000));
    assert_eq!(time_of(&generator.generate()) - start, 9_001_000);
}

fn burst(probability: f64, size: u32) -> BurstHint {
    BurstHint { topic: 1, probability, size }
}

#[test]
fn a_burst_is_a_volley_of_one_topic_at_one_moment() {
    let pipeline = civic_safety();
    let stream = events(&pipeline, Settings { burst: Some(burst(0.01, 40)), ..plain(3) }, 20_000);
    let mut volleys = 0;
    for moment in stream.chunk_by(|a, b| time_of(a) == time_of(b)).filter(|moment| moment.len() > 1) {
        // The event that set it off, and the volley; the stream may end within it.
        assert!(moment.len() == 41 || moment.last() == stream.last(), "{}", moment.len());
        assert!(moment[1..].iter().all(|event| event.topic.0 == 1));
        volleys += 1;
    }
    assert!((70..220).contains(&volleys), "{volleys}");
}

#[test]
fn weights_share_out_the_topics() {
    let pipeline = civic_safety();
    let mut counts = [0u32; 3];
    for event in events(&pipeline, Settings { burst: Some(burst(0.0, 1)), ..plain(5) }, 20_000) {
        counts[usize::from(event.topic.0)] += 1;
    }
    let expected = [9_500..10_500, 5_500..6_500, 3_600..4_400];
    assert!(counts.iter().zip(&expected).all(|(count, range)| range.contains(count)), "{counts:?}");
}

/// A pipeline of one topic with this schema for its field `x`.
fn with_schema(x: &Value) -> Result<Generator, String> {
    let schema = json!({
        "type": "object", "required": ["id", "at", "x"],
        "properties": {"id": {"type": "string"}, "at": {"type": "string", "format": "date-time"}, "x": x},
    });
    let text = "pipeline: p\ntopics: {t: {schema: t.json}}\nid: id\ntime: {field: at}\n\
                windows: {w: {every: 1s, metrics: {n: count()}}}\n";
    let file = FileText {
        file: "p.yaml".to_owned(),
        text: text.to_owned(),
        schemas: vec![("t.json".to_owned(), schema.to_string())],
    };
    Generator::new(&Bundle(vec![file]).pipelines().unwrap(), plain(1))
}

#[test]
fn schemas_that_can_be_generated() {
    for x in [
        json!({"type": "integer", "minimum": -3, "maximum": -3}),
        json!({"type": "integer", "minimum": -9_223_372_036_854_775_808_i64, "maximum": 9_223_372_036_854_775_807_i64}),
        json!({"type": "integer", "maximum": 2.5}),
        json!({"type": "number", "minimum": 0.1, "maximum": 0.1001}),
        json!({"type": "number", "minimum": -1}),
        json!({"type": ["null", "string"], "minLength": 40}),
        json!({"type": "string", "maxLength": 0}),
        json!({"minimum": 5}),
        json!({"type": "array", "minItems": 5, "items": {"enum": [1, "two", null, {"three": [3]}]}}),
        json!({"type": "object", "required": ["y"], "properties": {"y": {"const": "\"quoted\" \u{1F30A}"}}}),
        json!(true),
        json!({"type": "integer", "exclusiveMinimum": 2, "exclusiveMaximum": 4}),
        json!({"type": "integer", "exclusiveMinimum": 2.5, "exclusiveMaximum": 3.5, "maximum": 9}),
        json!({"type": "integer", "minimum": -7, "maximum": 8, "multipleOf": 5}),
        json!({"type": "number", "multipleOf": 3, "exclusiveMinimum": 0, "maximum": 3}),
        json!({"type": "number", "exclusiveMinimum": 0, "maximum": 0.001}),
        json!({"type": "number", "minimum": 0, "exclusiveMaximum": 0.001}),
        json!({"exclusiveMaximum": 5}),
        json!({"type": "string", "format": "date"}),
        json!({"type": "string", "format": "time"}),
        json!({"type": "string", "format": "email"}),
        json!({"type": "string", "format": "hostname"}),
        json!({"type": "string", "format": "ipv4"}),
        json!({"type": "string", "format": "ipv6"}),
        json!({"type": "string", "format": "uri"}),
    ] {
        let mut generator = with_schema(&x).unwrap_or_else(|why| panic!("{x}: {why}"));
        let validator = jsonschema::draft202012::options().should_validate_formats(true).build(&x).unwrap();
        for _ in 0..500 {
            let event: Value = serde_json::from_slice(&generator.generate().line).unwrap();
            assert!(validator.is_valid(&event["x"]), "{x}: {event}");
            assert_eq!(event["source"], "t");
        }
    }
}

#[test]
fn schemas_that_cannot_be_generated_are_refused_by_place() {
    for (x, part) in [
        (json!({"anyOf": [{"type": "string"}]}), "topic t: /x: the generator does not know the keyword \"anyOf\""),
        (json!({"type": "string", "format": "regex"}), "/x: the generator does not know the format"),
        (json!({"type": "number", "multipleOf": 0.3}), "/x: multipleOf is no integer"),
        (json!({"type": "string", "pattern": "(?=a)"}), "/x: the generator cannot write texts for the pattern"),
        (
            json!({"type": "string", "pattern": "^a+$", "minLength": 20}),
            "the schema refuses what the generator makes of it: /x",
        ),
        (json!({"type": "object", "properties": {"y": false}}), "/x/y: no value is valid here"),
        (json!({"type": "object", "required": ["y"]}), "/x: \"y\" is required but not described"),
        (json!({"type": "integer", "minimum": 3, "maximum": 2}), "no integer is in the range"),
        (json!({"type": "array", "minItems": 1_000_000}), "cannot write lists"),
    ] {
        let error = with_schema(&x).map(|_| ()).unwrap_err();
        assert!(error.contains(part), "{x}: {error}");
    }
}

/// A topic that cannot be generated keeps no other from it.
#[test]
fn a_topic_that_cannot_be_generated_is_left_out() {
    let mut pipeline = civic_safety();
    let before = Generator::new(&pipeline, plain(1)).unwrap();
    assert_eq!(before.left_out(), [""; 0]);
    pipeline.schemas[1] = json!({"anyOf": [true]}).to_string();
    let mut generator = Generator::new(&pipeline, plain(1)).unwrap();
    assert_eq!(generator.left_out().len(), 1);
    let name = &pipeline.plan.topics[1].name;
    assert!(generator.left_out()[0].starts_with(&format!("topic {name}: /: the generator does not know")));
    let topics: BTreeSet<u16> = (0..2_000).map(|_| generator.generate().topic.0).collect();
    assert_eq!(topics, BTreeSet::from([0, 2]));
    assert_eq!(generator.example(TopicId(0)), before.example(TopicId(0)));
    assert_eq!(generator.example(TopicId(1)), None);
}

#[test]
fn settings_without_meaning_are_refused() {
    let pipeline = civic_safety();
    for settings in [
        Settings { rate: 0.0, ..plain(1) },
        Settings { rate: f64::NAN, ..plain(1) },
        Settings { duplicates: 1.5, ..plain(1) },
        Settings { invalid: -0.1, ..plain(1) },
        Settings { out_of_order: Micros(-1), ..plain(1) },
    ] {
        assert!(Generator::new(&pipeline, settings.clone()).is_err(), "{settings:?}");
    }
}

#[derive(clap::Parser)]
struct Command {
    #[command(flatten)]
    args: caudal::cli::generate::Args,
}

fn run(arguments: &[&str]) -> u8 {
    let command = <Command as clap::Parser>::try_parse_from(["caudal"].iter().chain(arguments)).unwrap();
    caudal::cli::generate::run(command.args).unwrap()
}

#[test]
fn a_file_is_the_same_on_every_run() {
    let directory = tempfile::tempdir().unwrap();
    let written: Vec<_> = ["a", "b"]
        .map(|name| {
            let file = directory.path().join(name);
            let path = file.to_str().unwrap();
            let arguments = [
                "--count",
                "500",
                "--seed",
                "9",
                "--duplicates",
                "0.1",
                "--invalid",
                "0.1",
                "--topic",
                "migration.case",
            ];
            assert_eq!(run(&[&arguments[..], &["--output", path]].concat()), 0);
            std::fs::read(file).unwrap()
        })
        .into();
    assert_eq!(written[0].split_inclusive(|&b| b == b'\n').count(), 500);
    assert_eq!(written[0], written[1]);
}

#[test]
fn bad_usage_is_exit_2() {
    for arguments in [
        ["--pipeline", "nowhere.yaml"],
        ["--topic", "nothing"],
        ["--rate", "0"],
        ["--burst", "security.incident:2:1"],
        ["--burst", "security.incident"],
    ] {
        assert_eq!(run(&arguments), 2, "{arguments:?}");
    }
}

/// A request's Idempotency-Key and its body.
type Came = (Option<String>, Vec<u8>);

/// Answers requests by this script, one connection after another; gives what came. `None` cuts the connection instead of answering.
fn serve(script: Vec<Option<&'static str>>) -> (String, std::thread::JoinHandle<Vec<Came>>) {
    use std::io::{BufRead, BufReader, Read, Write};
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/", listener.local_addr().unwrap());
    let serving = std::thread::spawn(move || {
        let (mut script, mut bodies) = (script.into_iter(), Vec::new());
        while script.len() > 0 {
            let mut stream = BufReader::new(listener.accept().unwrap().0);
            loop {
                let (mut length, mut key, mut line) = (0, None, String::new());
                while stream.read_line(&mut line).unwrap() > 2 {
                    if let Some(value) = line.to_lowercase().strip_prefix("content-length:") {
                        length = value.trim().parse().unwrap();
                    }
                    if let Some(value) = line.to_lowercase().strip_prefix("idempotency-key:") {
                        key = Some(value.trim().to_owned());
                    }
                    assert!(!line.starts_with("POST") || line.starts_with("POST /events HTTP/1.1"), "{line}");
                    line.clear();
                }
                if length == 0 {
                    break;
                }
                let mut body = vec![0; length];
                stream.read_exact(&mut body).unwrap();
                bodies.push((key, body));
                let Some(Some(answer)) = script.next() else { break };
                let answer = format!("HTTP/1.1 {answer}\r\ncontent-length: 2\r\n\r\n{{}}");
                stream.get_mut().write_all(answer.as_bytes()).unwrap();
                if script.len() == 0 {
                    break;
                }
            }
        }
        bodies
    });
    (url, serving)
}

#[test]
fn a_batch_is_sent_until_it_is_acknowledged_and_then_recorded() {
    let (url, serving) = serve(vec![
        Some("202 Accepted"),
        Some("503 Service Unavailable\r\nretry-after: 0"),
        None,
        Some("429 Too Many Requests\r\nretry-after: 0"),
        Some("202 Accepted"),
        Some("202 Accepted"),
    ]);
    let directory = tempfile::tempdir().unwrap();
    let record = directory.path().join("record.ndjson");
    // At 350 bytes an event a batch holds some 1,500.
    let arguments = ["--count", "3500", "--start", "2026-11-22T12:00:00Z", "--url", &url, "--record"];
    assert_eq!(run(&[&arguments[..], &[record.to_str().unwrap()]].concat()), 0);
    let bodies = serving.join().unwrap();
    assert_eq!(bodies.len(), 6);
    assert!(bodies[1..5].iter().all(|body| *body == bodies[1]), "the same batch until it is acknowledged");
    let acknowledged = [&bodies[0].1[..], &bodies[4].1, &bodies[5].1].concat();
    assert!(bodies.iter().all(|(key, _)| key.is_none()), "their ids tell the events apart");
    assert_eq!(acknowledged.split_inclusive(|&b| b == b'\n').count(), 3500);
    assert_eq!(std::fs::read(record).unwrap(), acknowledged);
}

/// Where events have no ids, a batch of which the answer was lost must be known by its key.
#[test]
fn batches_of_events_without_ids_have_keys() {
    let (url, serving) = serve(vec![
        Some("202 Accepted"),
        None,
        Some("409 Conflict\r\nretry-after: 0"),
        Some("202 Accepted"),
        Some("409 Conflict"),
    ]);
    let arguments = ["--pipeline", "tests/golden/without_id/pipeline.yaml", "--count", "20000", "--url", &url];
    assert_eq!(run(&arguments), 65, "a conflict that says no time is not over by itself");
    let came = serving.join().unwrap();
    let keys: Vec<&str> = came.iter().map(|(key, _)| key.as_deref().expect("a key")).collect();
    assert!(keys[1] == keys[2] && keys[2] == keys[3] && came[1] == came[3], "{keys:?}");
    assert!(keys[0] != keys[1] && keys[3] != keys[4], "{keys:?}");
    assert!(keys.iter().all(|key| key.len() > 32 && key.starts_with('"') && key.ends_with('"')), "{keys:?}");
}

#[test]
fn a_refused_batch_ends_it_and_is_not_recorded() {
    let (url, serving) = serve(vec![Some("401 Unauthorized")]);
    let directory = tempfile::tempdir().unwrap();
    let record = directory.path().join("record.ndjson");
    assert_eq!(run(&["--count", "10", "--url", &url, "--record", record.to_str().unwrap()]), 65);
    assert_eq!(serving.join().unwrap().len(), 1);
    assert!(std::fs::read(record).unwrap().is_empty());
}

/// The program itself: how it ends, and what it says on stderr.
fn said(arguments: &[&str]) -> (Option<i32>, String) {
    let output = std::process::Command::new(crate::support::job::caudal())
        .args(["generate", "--pipeline"])
        .arg(crate::support::job::root().join("pipelines/civic_safety/pipeline.yaml"))
        .args(arguments)
        .output()
        .unwrap();
    (output.status.code(), String::from_utf8(output.stderr).unwrap())
}

#[test]
fn where_nobody_listens_it_says_so_and_ends() {
    let url = format!("http://127.0.0.1:{}", crate::support::port::free_port());
    let begun = std::time::Instant::now();
    let (code, told) = said(&["--count", "10", "--url", &url]);
    let last = told.lines().last().unwrap();
    assert!(code == Some(69) && last.contains("cannot connect") && last.contains("--url"), "{code:?} {told}");
    // It gives a job that was there ten minutes to come back.
    assert!(begun.elapsed().as_secs() < 60);
}

#[test]
fn why_it_waits_is_said_once_and_the_last_line_is_the_cure() {
    let (url, serving) = serve(vec![
        Some("503 Service Unavailable\r\nretry-after: 0"),
        Some("503 Service Unavailable\r\nretry-after: 0"),
        Some("202 Accepted"),
        None,
        Some("403 Forbidden"),
    ]);
    let (code, told) = said(&["--count", "3000", "--url", &url]);
    assert_eq!((code, serving.join().unwrap().len()), (Some(65), 5), "{told}");
    let lines: Vec<&str> = told.lines().collect();
    let [first, back, second, summary, last] = lines.as_slice() else { panic!("{told}") };
    assert!(first.contains("503") && first.contains("sent again") && second.contains("sent again"), "{told}");
    assert!(back.contains("takes events again") && summary.contains("acknowledged"), "{told}");
    assert!(last.starts_with("caudal generate: ") && last.contains("403"), "{told}");
}

#[test]
fn with_a_rate_events_are_sent_at_that_pace() {
    // A slow machine may take several events into one batch: the server is then not asked as often as it could be, and is left alone.
    let (url, _serving) = serve(vec![Some("202 Accepted"); 5]);
    let directory = tempfile::tempdir().unwrap();
    let record = directory.path().join("record.ndjson");
    let begun = std::time::Instant::now();
    // 5 events at 50 a second: the last is due after 100 ms.
    let arguments = ["--count", "5", "--rate", "50", "--burst", "none", "--url", &url, "--record"];
    assert_eq!(run(&[&arguments[..], &[record.to_str().unwrap()]].concat()), 0);
    assert!(begun.elapsed().as_millis() >= 100);
    let record = std::fs::read_to_string(record).unwrap();
    let time = |line: &str| serde_json::from_str::<Value>(line).unwrap()["timestamp"].to_string();
    let times: Vec<String> = record.lines().map(time).collect();
    assert!(times.len() == 5 && times.is_sorted(), "{times:?}");
}
