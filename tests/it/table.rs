//! Rows of a table mean what their JSON means: random batches, decoded as they are and as lines that serde_json wrote of the same values.

use std::sync::Arc;

use arrow_array::builder::{Int32Builder, ListBuilder};
use arrow_array::{
    ArrayRef, BooleanArray, Float64Array, Int32Array, Int64Array, ListArray, RecordBatch, StringArray, StructArray,
    TimestampMillisecondArray, UInt64Array,
};
use arrow_schema::{DataType, Field};
use bytes::Bytes;
use caudal::core::columns::{Numbering, Slab};
use caudal::core::decode::{Decoded, Decoder};
use caudal::core::plan::Plan;
use caudal::core::units::{Millis, Offset, TopicId};
use caudal::pipeline::{Bundle, FileText};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde_json::{Map, Value, json};

const SEEDS: u64 = 300;
const ROWS: usize = 40;

const PIPELINE: &str = "pipeline: shop
topics:
  order:  {schema: order.json}
  refund: {schema: refund.json}
id:   id
time: {field: at}
windows:
  hourly:
    every: 1h
    group: [note, inner.name]
    metrics: {n: count(), amount: sum(amount), price: mean(price), paid: count_if(paid), big: max(big), deep: sum(inner.depth)}
";
/// `order` is strict, `refund` lets through what it does not know.
const ORDER: &str = r#"{"type": "object", "required": ["id", "at", "inner"], "properties": {"id": {"type": "string", "minLength": 1},
    "at": {"type": "string", "format": "date-time"}, "source": {"type": "string"}, "note": {"type": ["string", "null"], "enum": ["a", "b", null]}, "amount": {"type": "integer", "minimum": -5},
    "price": {"type": "number", "maximum": 100}, "paid": {"type": "boolean"}, "big": {"type": "integer"}, "when": {"type": "string"},
    "inner": {"type": "object", "required": ["name"], "properties": {"name": {"type": "string", "maxLength": 3}, "depth": {"type": "integer"}}, "additionalProperties": false},
    "tags": {"type": "array", "items": {"type": "integer"}}}, "additionalProperties": false}"#;
const REFUND: &str = r#"{"type": "object", "required": ["id"], "properties": {"id": {"type": "string"}, "at": {"type": "string"}, "amount": {"type": "integer"}}}"#;

/// One column: its name, its values as JSON (None: no value), and its array.
type Made = (&'static str, Vec<Option<Value>>, ArrayRef);

fn some<T>(rng: &mut ChaCha8Rng, often: f64, make: impl Fn(&mut ChaCha8Rng) -> T) -> Vec<Option<T>> {
    (0..ROWS).map(|_| rng.random_bool(often).then(|| make(rng))).collect()
}

fn values<T: Clone + Into<Value>>(of: &[Option<T>]) -> Vec<Option<Value>> {
    of.iter().map(|value| value.clone().map(Into::into)).collect()
}

fn pick<'a>(rng: &mut ChaCha8Rng, of: &[&'a str]) -> &'a str {
    of[rng.random_range(0..of.len())]
}

fn texts(name: &'static str, of: Vec<Option<String>>) -> Made {
    (name, values(&of), Arc::new(StringArray::from(of)))
}

fn columns(rng: &mut ChaCha8Rng) -> Vec<Made> {
    let mut made = Vec::new();
    let ids = |rng: &mut ChaCha8Rng| match rng.random_range(0..20) {
        0 => String::new(),
        1 => "x".repeat(1_025),
        2 => "\"é\\\n\u{1F600}\"".to_owned(),
        3..10 => uuid::Uuid::from_u128(rng.random()).to_string(),
        _ => rng.random_range(0..99).to_string(),
    };
    made.push(texts("id", some(rng, 0.97, ids)));
    let times =
        ["2026-11-22T12:00:00Z", "2026-11-22T12:00:00.5+01:00", "2016-12-31T23:59:60Z", "noon", "0001-01-01T00:00:00Z"];
    if rng.random() {
        made.push(texts("at", some(rng, 0.97, |rng| pick(rng, &times).to_owned())));
    } else {
        let of = some(rng, 0.97, |rng| rng.random_range(-1_000_000_000_i64..2_000_000_000_000));
        let text = |ms: &i64| Value::from(caudal::core::time::format(caudal::core::units::Micros(ms * 1_000)));
        let json = of.iter().map(|ms| ms.as_ref().map(text)).collect();
        made.push(("at", json, Arc::new(TimestampMillisecondArray::from(of))));
    }
    made.push(texts(
        "source",
        some(rng, 0.9, |rng| pick(rng, &["order", "refund", "refund", "nothing", ""]).to_owned()),
    ));
    made.push(texts("note", some(rng, 0.8, |rng| pick(rng, &["a", "b", "b", "c", "\u{2028}"]).to_owned())));
    let amounts = some(rng, 0.8, |rng| rng.random_range(-7..9_i64));
    made.push(("amount", values(&amounts), Arc::new(Int64Array::from(amounts))));
    let prices = some(rng, 0.8, |rng| match rng.random_range(0..8) {
        0 => -0.0,
        1 => 1e300,
        2 => 5.0,
        _ => rng.random_range(-1.0..101.0),
    });
    made.push(("price", values(&prices), Arc::new(Float64Array::from(prices))));
    let paid = some(rng, 0.8, Rng::random::<bool>);
    made.push(("paid", values(&paid), Arc::new(BooleanArray::from(paid))));
    let big = some(rng, 0.8, |rng| if rng.random_bool(0.1) { u64::MAX } else { rng.random_range(0..1 << 60) });
    made.push(("big", values(&big), Arc::new(UInt64Array::from(big))));
    made.push(inner(rng));
    if rng.random_bool(0.3) {
        let lists =
            some(rng, 0.8, |rng| (0..rng.random_range(0..3)).map(|_| rng.random_range(0..9_i32)).collect::<Vec<_>>());
        let mut list = ListBuilder::new(Int32Builder::new());
        for items in &lists {
            if let Some(items) = items {
                list.values().append_slice(items);
            }
            list.append(items.is_some());
        }
        let list: ListArray = list.finish();
        made.push(("tags", values(&lists), Arc::new(list)));
    }
    if rng.random_bool(0.3) {
        made.push(texts("unknown", some(rng, 0.05, |rng| pick(rng, &["", "long"]).repeat(10_000))));
    }
    // What is asked for must not depend on where it stands.
    for at in (1..made.len()).rev() {
        let other = rng.random_range(0..=at);
        made.swap(at, other);
    }
    made
}

fn inner(rng: &mut ChaCha8Rng) -> Made {
    let names = some(rng, 0.95, |rng| pick(rng, &["x", "yy", "zzz", "four"]).to_owned());
    let depths = some(rng, 0.7, |rng| rng.random_range(0..9_i32));
    let there: Vec<bool> = (0..ROWS).map(|_| rng.random_bool(0.95)).collect();
    let json = (0..ROWS).map(|row| {
        let mut object = Map::new();
        object.extend(names[row].clone().map(|name| ("name".to_owned(), name.into())));
        object.extend(depths[row].map(|depth| ("depth".to_owned(), depth.into())));
        there[row].then_some(Value::Object(object))
    });
    let json = json.collect();
    let fields = vec![Field::new("name", DataType::Utf8, true), Field::new("depth", DataType::Int32, true)];
    let arrays: Vec<ArrayRef> = vec![Arc::new(StringArray::from(names)), Arc::new(Int32Array::from(depths))];
    ("inner", json, Arc::new(StructArray::new(fields.into(), arrays, Some(there.into()))))
}

/// `null`: a note that is missing is null, as its schema allows.
fn lines(made: &[Made], null: bool) -> String {
    let line = |row: usize| {
        let mut event = Map::new();
        for (name, values, _) in made {
            match &values[row] {
                Some(value) => drop(event.insert((*name).to_owned(), value.clone())),
                None if null && *name == "note" => drop(event.insert("note".to_owned(), json!(null))),
                None => {}
            }
        }
        Value::Object(event).to_string() + "\n"
    };
    (0..ROWS).map(line).collect()
}

/// All but where the lines stand.
fn shown(decoded: &Decoded) -> String {
    let columns = &decoded.columns;
    let rejects: Vec<_> = decoded.rejects.iter().map(|r| (r.offset, r.topic, r.reason, &r.detail)).collect();
    format!(
        "{:?}\n{:?}\n{:?}\n{:?}\n{:?}\n{rejects:#?}",
        columns.offset, columns.topic, columns.time, columns.id, columns.fields
    )
}

fn plan() -> Arc<Plan> {
    let schemas =
        [("order.json", ORDER), ("refund.json", REFUND)].map(|(name, text)| (name.to_owned(), text.to_owned()));
    let file = FileText { file: "pipeline.yaml".to_owned(), text: PIPELINE.to_owned(), schemas: schemas.to_vec() };
    Bundle(vec![file]).pipelines().unwrap_or_else(|faults| panic!("{faults}")).plan
}

#[test]
fn a_row_means_what_its_json_means() {
    let decoder = Decoder::new(plan(), 7);
    let (mut good, mut bad, mut lines_of_good) = (0, 0, 0);
    for seed in 0..SEEDS {
        let rng = &mut ChaCha8Rng::seed_from_u64(seed);
        let topic = [None, Some(TopicId(0)), Some(TopicId(1))][rng.random_range(0..3)];
        let made = columns(rng);
        let batch = RecordBatch::try_from_iter(made.iter().map(|(name, _, array)| (*name, Arc::clone(array)))).unwrap();
        let lines = lines(&made, topic != Some(TopicId(1)));
        let slab = Slab {
            first_offset: Offset(100),
            count: ROWS as u32,
            ingest: Millis(0),
            topic,
            bytes: Bytes::from(lines.clone()),
            numbering: Numbering::Rows,
        };
        let expected = decoder.decode(&slab);
        let (of_table, found) = decoder.decode_table(&batch, Offset(100), topic);
        assert_eq!(shown(&found), shown(&expected), "seed {seed}, topic {topic:?}:\n{lines}");
        for reject in &found.rejects {
            let (start, length) = reject.line;
            let line = &of_table.bytes[start as usize..(start + length) as usize];
            let row = (reject.offset.0 - 100) as usize;
            let written: Value = serde_json::from_slice(line).unwrap();
            assert_eq!(written, serde_json::from_str::<Value>(lines.lines().nth(row).unwrap()).unwrap(), "seed {seed}");
        }
        good += found.columns.offset.len();
        bad += found.rejects.len();
        lines_of_good += memchr::memchr_iter(b'\n', &of_table.bytes).count() - found.rejects.len();
    }
    assert!(good > 1_000 && bad > 1_000, "{good} rows are well, {bad} are not");
    assert!(lines_of_good < good / 10, "{lines_of_good} of {good} rows that are well were written as lines");
}

#[test]
fn a_row_that_makes_too_long_a_line_is_refused() {
    let mut tags = ListBuilder::new(Int32Builder::new());
    for items in [100_000, 200_000] {
        (0..items).for_each(|_| tags.values().append_value(7));
        tags.append(true);
    }
    let ids: ArrayRef = Arc::new(StringArray::from(vec!["a", "b"]));
    let at: ArrayRef = Arc::new(StringArray::from(vec!["2026-11-22T12:00:00Z"; 2]));
    let tags: ArrayRef = Arc::new(tags.finish());
    let batch = RecordBatch::try_from_iter([("id", ids), ("at", at), ("tags", tags)]).unwrap();
    let (_, found) = Decoder::new(plan(), 7).decode_table(&batch, Offset(0), Some(TopicId(1)));
    assert_eq!(found.columns.offset, [Offset(0)]);
    let why: Vec<_> = found.rejects.iter().map(|reject| (reject.offset, reject.detail.as_str())).collect();
    assert!(matches!(why[..], [(Offset(1), why)] if why.contains("longer than 262144 bytes as JSON")), "{why:?}");
}
