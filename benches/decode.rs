//! Decode and validation: one slab of events like the civic-safety application's, beside a loop that only decodes the same lines into a typed struct, and the same
//! events as a batch of columns, as a Parquet file has them.

use std::fmt::Write as _;
use std::hint::black_box;
use std::sync::Arc;

use arrow_array::types::Int32Type;
use arrow_array::{
    ArrayRef, DictionaryArray, FixedSizeBinaryArray, Float64Array, Int64Array, RecordBatch, StringViewArray,
    StructArray, TimestampMicrosecondArray,
};
use bytes::Bytes;
use caudal::core::columns::{Numbering, Slab};
use caudal::core::decode::Decoder;
use caudal::core::plan::{ColumnKind, FieldPath, TopicPlan};
use caudal::core::time;
use caudal::core::units::{Micros, Millis, Offset, TopicId};
use criterion::{Criterion, Throughput};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde::Deserialize;

use crate::plan::{column, plan, topic};

const SLAB_BYTES: usize = 1 << 20;
const SCHEMA: &str = r#"{
  "$schema": "https://json-schema.org/draft/2020-12/schema", "type": "object", "additionalProperties": false,
  "required": ["event_id", "timestamp", "region", "source", "schema_version", "correlation_id", "payload"],
  "properties": {
    "event_id": {"type": "string", "format": "uuid"},
    "timestamp": {"type": "string", "format": "date-time"},
    "region": {"enum": ["RM", "AP", "TA", "AN", "AT", "CO", "VA", "LI", "ML", "NB", "BI", "AR", "LR", "LL", "AI", "MA"]},
    "source": {"const": "security.incident"},
    "schema_version": {"type": "string", "pattern": "^[0-9]+\\.[0-9]+$"},
    "correlation_id": {"type": "string", "format": "uuid"},
    "payload": {
      "type": "object", "additionalProperties": false, "required": ["crime_type", "severity", "location", "reported_by"],
      "properties": {
        "crime_type": {"enum": ["theft", "assault", "burglary", "robbery", "vandalism", "fraud"]},
        "severity": {"enum": ["low", "medium", "high"]},
        "location": {
          "type": "object", "additionalProperties": false, "required": ["lat", "lon"],
          "properties": {
            "lat": {"type": "number", "minimum": -90, "maximum": 90}, "lon": {"type": "number", "minimum": -180, "maximum": 180}
          }
        },
        "reported_by": {"enum": ["citizen", "police", "camera"]},
        "age": {"type": "integer", "minimum": 0, "maximum": 130}
      }
    }
  }
}"#;

#[derive(Deserialize)]
#[allow(dead_code, clippy::struct_field_names, reason = "the loop only decodes; the names are the events'")]
struct Event<'a> {
    event_id: &'a str,
    timestamp: &'a str,
    region: &'a str,
    source: &'a str,
    schema_version: &'a str,
    correlation_id: &'a str,
    #[serde(borrow)]
    payload: Payload<'a>,
}

#[derive(Deserialize)]
#[allow(dead_code, reason = "the loop only decodes")]
struct Payload<'a> {
    crime_type: &'a str,
    severity: &'a str,
    location: Location,
    reported_by: &'a str,
    age: Option<i64>,
}

#[derive(Deserialize)]
#[allow(dead_code, reason = "the loop only decodes")]
struct Location {
    lat: f64,
    lon: f64,
}

/// The same lines, as one slab, and their number.
fn events() -> (Bytes, u32) {
    let mut rng = ChaCha8Rng::seed_from_u64(1);
    let mut lines = String::with_capacity(SLAB_BYTES);
    let mut count = 0;
    while lines.len() < SLAB_BYTES - 400 {
        let pick = |rng: &mut ChaCha8Rng, of: &[&'static str]| of[rng.random_range(0..of.len())];
        let at = time::format(Micros(1_795_435_200_000_000 + i64::from(count) * 1_000));
        let (id, correlation) = (uuid::Uuid::from_u128(rng.random()), uuid::Uuid::from_u128(rng.random()));
        let region = pick(
            &mut rng,
            &["RM", "AP", "TA", "AN", "AT", "CO", "VA", "LI", "ML", "NB", "BI", "AR", "LR", "LL", "AI", "MA"],
        );
        let crime = pick(&mut rng, &["theft", "assault", "burglary", "robbery", "vandalism", "fraud"]);
        let severity = pick(&mut rng, &["low", "medium", "high"]);
        let by = pick(&mut rng, &["citizen", "police", "camera"]);
        let (lat, lon) = (rng.random_range(-5_500..-1_700), rng.random_range(-7_500..-6_600));
        let (lat, lon, age) = (f64::from(lat) / 100.0, f64::from(lon) / 100.0, rng.random_range(0..100));
        writeln!(
            lines,
            r#"{{"event_id":"{id}","timestamp":"{at}","region":"{region}","source":"security.incident","schema_version":"1.0","correlation_id":"{correlation}","payload":{{"crime_type":"{crime}","severity":"{severity}","location":{{"lat":{lat},"lon":{lon}}},"reported_by":"{by}","age":{age}}}}}"#
        )
        .expect("a string takes it");
        count += 1;
    }
    (Bytes::from(lines), count)
}

/// A decoder of the one topic; `schema` is what differs.
fn decoder(schema: &str) -> Decoder {
    let topic = TopicPlan {
        id: Some(FieldPath::top("event_id")),
        max_future: Micros(i64::MAX),
        ..topic("security.incident", schema, "timestamp")
    };
    let columns = vec![
        column("source", ColumnKind::Group),
        column("region", ColumnKind::Group),
        column("payload.age", ColumnKind::Integer),
    ];
    let plan = plan("civic", vec![topic], columns, Vec::new());
    Decoder::new(Arc::new(plan), 42)
}

/// What is measured: a name, a decoder and a slab; the lines; their number.
fn cases() -> (Vec<(&'static str, Decoder, Slab)>, Bytes, u32) {
    let (bytes, count) = events();
    let slab = |topic| Slab {
        first_offset: Offset(0),
        count,
        ingest: Millis(0),
        topic,
        bytes: bytes.clone(),
        numbering: Numbering::Dense,
    };
    let unknown_keyword = SCHEMA.replacen('{', r#"{"minProperties": 1,"#, 1);
    let cases = [
        ("one topic", SCHEMA, Some(TopicId(0))),
        ("mixed", SCHEMA, None),
        ("without a schema's check", "true", Some(TopicId(0))),
        ("by the reference alone", &unknown_keyword, Some(TopicId(0))),
    ];
    let cases = cases.map(|(name, schema, topic)| {
        let (decoder, slab) = (decoder(schema), slab(topic));
        assert_eq!(decoder.decode(&slab).columns.offset.len(), count as usize, "all are valid");
        (name, decoder, slab)
    });
    (cases.into(), bytes, count)
}

/// The same events as columns; `typed`: ids and times as what they are, else as texts.
fn table(lines: &[u8], typed: bool) -> RecordBatch {
    let lines = lines.split(|&byte| byte == b'\n').filter(|line| !line.is_empty());
    let events: Vec<Event<'_>> = lines.map(|line| sonic_rs::from_slice(line).expect("valid")).collect();
    let pages = |of: fn(&Event<'_>) -> String| -> ArrayRef {
        Arc::new(events.iter().map(|event| Some(of(event))).collect::<StringViewArray>())
    };
    let ids = |of: fn(&Event<'_>) -> String| -> ArrayRef {
        if !typed {
            return pages(of);
        }
        let bytes = |event| uuid::Uuid::try_parse(&of(event)).expect("a UUID").into_bytes();
        Arc::new(FixedSizeBinaryArray::try_from_iter(events.iter().map(bytes)).expect("16 bytes each"))
    };
    let times = || events.iter().map(|event| time::parse(event.timestamp.as_bytes()).expect("a time").0);
    let names = |of: fn(&Event<'_>) -> String| -> ArrayRef {
        let texts: Vec<String> = events.iter().map(of).collect();
        Arc::new(texts.iter().map(|text| Some(text.as_str())).collect::<DictionaryArray<Int32Type>>())
    };
    let numbers = |of: fn(&Location) -> f64| -> ArrayRef {
        Arc::new(events.iter().map(|event| of(&event.payload.location)).collect::<Float64Array>())
    };
    let batch = |columns: Vec<(&str, ArrayRef)>| RecordBatch::try_from_iter(columns).expect("columns of one length");
    let nested = |columns| -> ArrayRef { Arc::new(StructArray::from(batch(columns))) };
    let location = nested(vec![("lat", numbers(|at| at.lat)), ("lon", numbers(|at| at.lon))]);
    let ages: ArrayRef = Arc::new(events.iter().map(|event| event.payload.age).collect::<Int64Array>());
    let payload = nested(vec![
        ("crime_type", names(|event| event.payload.crime_type.to_owned())),
        ("severity", names(|event| event.payload.severity.to_owned())),
        ("location", location),
        ("reported_by", names(|event| event.payload.reported_by.to_owned())),
        ("age", ages),
    ]);
    let at: ArrayRef = if typed {
        Arc::new(TimestampMicrosecondArray::from_iter_values(times()))
    } else {
        pages(|event| event.timestamp.to_owned())
    };
    batch(vec![
        ("event_id", ids(|event| event.event_id.to_owned())),
        ("timestamp", at),
        ("region", names(|event| event.region.to_owned())),
        ("source", names(|event| event.source.to_owned())),
        ("schema_version", names(|event| event.schema_version.to_owned())),
        ("correlation_id", ids(|event| event.correlation_id.to_owned())),
        ("payload", payload),
    ])
}

/// Decodes the lines and does nothing else.
fn typed(lines: &[u8]) {
    for line in lines.split(|&byte| byte == b'\n').filter(|line| !line.is_empty()) {
        black_box(sonic_rs::from_slice::<Event<'_>>(line).expect("valid"));
    }
}

pub fn bench(c: &mut Criterion) {
    let (cases, bytes, count) = cases();
    let mut group = c.benchmark_group("decode");
    group.throughput(Throughput::Elements(u64::from(count)));
    for (name, decoder, slab) in &cases {
        group.bench_function(*name, |b| b.iter(|| decoder.decode(black_box(slab))));
    }
    let decoder = decoder(SCHEMA);
    for (name, typed) in [("columns of texts", false), ("typed columns", true)] {
        let table = table(&bytes, typed);
        let (lines, decoded) = decoder.decode_table(&table, Offset(0), Some(TopicId(0)));
        assert!(decoded.columns.offset.len() == count as usize && lines.bytes.is_empty(), "all are valid");
        group.bench_function(name, |b| b.iter(|| decoder.decode_table(black_box(&table), Offset(0), Some(TopicId(0)))));
    }
    group.bench_function("sonic-rs into a typed struct", |b| b.iter(|| typed(black_box(&bytes))));
    group.finish();
}
