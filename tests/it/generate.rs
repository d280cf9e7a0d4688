//! The generator: the same seed gives the same bytes, and every event is what it claims to be.

use std::collections::HashSet;
use std::path::Path;

use caudal::core::time;
use caudal::core::units::Micros;
use caudal::generate::{Generated, Generator, Kind, Settings};
use caudal::pipeline::{BurstHint, Bundle, Pipeline};
use serde_json::{Value, json};

fn civic_safety() -> Pipeline {
    Bundle::read(Path::new("pipelines/civic_safety/pipeline.yaml")).unwrap().pipeline().unwrap()
}

/// Nothing is disturbed.
fn plain(seed: u64) -> Settings {
    Settings {
        seed,
        start: time::parse(b"2026-11-22T12:00:00Z").unwrap(),
        rate: 1_000.0,
        duplicates: 0.0,
        invalid: 0.0,
        late: 0.0,
        late_by: Micros(3_600_000_000),
        out_of_order: Micros(0),
        burst: None,
    }
}

fn disturbed(seed: u64) -> Settings {
    Settings { duplicates: 0.02, invalid: 0.01, late: 0.03, out_of_order: Micros(1_000_000), ..plain(seed) }
}

fn events(pipeline: &Pipeline, settings: Settings, count: usize) -> Vec<Generated> {
    let mut generator = Generator::new(pipeline, settings).unwrap();
    (0..count).map(|_| generator.generate()).collect()
}

/// Whether the topic's schema, judged by the reference, accepts the line.
fn is_valid(pipeline: &Pipeline, event: &Generated) -> bool {
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
    let mut generator = Generator::new(&civic_safety(), Settings { burst: burst(0.0, 1), ..plain(1) }).unwrap();
    let start = plain(1).start.0;
    let times: Vec<i64> = (0..1_000).map(|_| time_of(&generator.generate()) - start).collect();
    assert_eq!((times[0], times[1], times[999]), (1_000, 2_000, 1_000_000));
    generator.set_time(Micros(start + 500_000));
    assert_eq!(time_of(&generator.generate()) - start, 1_001_000);
    generator.set_time(Micros(start + 9_000_000));
    assert_eq!(time_of(&generator.generate()) - start, 9_001_000);
}

fn burst(probability: f64, size: u32) -> Option<BurstHint> {
    Some(BurstHint { topic: 1, probability, size })
}

#[test]
fn a_burst_is_a_volley_of_one_topic_at_one_moment() {
    let pipeline = civic_safety();
    let stream = events(&pipeline, Settings { burst: burst(0.01, 40), ..plain(3) }, 20_000);
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
    events(&pipeline, Settings { burst: burst(0.0, 1), ..plain(5) }, 20_000)
        .iter()
        .for_each(|event| counts[usize::from(event.topic.0)] += 1);
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
    let bundle = Bundle {
        file: "p.yaml".to_owned(),
        text: text.to_owned(),
        schemas: vec![("t.json".to_owned(), schema.to_string())],
    };
    Generator::new(&bundle.pipeline().unwrap(), plain(1))
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
    ] {
        let mut generator = with_schema(&x).unwrap_or_else(|why| panic!("{x}: {why}"));
        let validator = jsonschema::draft202012::new(&x).unwrap();
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
        (json!({"type": "string", "format": "hostname"}), "/x: the generator does not know the format"),
        (json!({"type": "string", "pattern": "(?=a)"}), "/x: the generator cannot write texts for the pattern"),
        (json!({"type": "string", "pattern": "^a+$", "minLength": 20}), "the schema refuses what the generator makes of it: /x"),
        (json!({"type": "object", "properties": {"y": false}}), "/x/y: no value is valid here"),
        (json!({"type": "object", "required": ["y"]}), "/x: \"y\" is required but not described"),
        (json!({"type": "integer", "minimum": 3, "maximum": 2}), "no integer is in the range"),
        (json!({"type": "array", "minItems": 1_000_000}), "cannot write lists"),
    ] {
        let error = with_schema(&x).map(|_| ()).unwrap_err();
        assert!(error.contains(part), "{x}: {error}");
    }
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
