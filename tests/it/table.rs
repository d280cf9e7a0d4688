//! Rows of a table mean what their JSON means: random batches, decoded as they are and as lines that serde_json wrote of the same values.

use std::sync::Arc;

use arrow_array::builder::{Int32Builder, ListBuilder, NullBuilder, StringDictionaryBuilder};
use arrow_array::types::Int32Type;
use arrow_array::{
    Array, ArrayRef, BinaryArray, BooleanArray, Date32Array, Decimal128Array, DictionaryArray, FixedSizeBinaryArray,
    Float32Array, Float64Array, Int32Array, Int64Array, LargeStringArray, ListArray, RecordBatch, StringArray,
    StringViewArray, StructArray, TimestampMicrosecondArray, TimestampMillisecondArray, TimestampNanosecondArray,
    TimestampSecondArray, UInt64Array,
};
use arrow_schema::{DataType, Field};
use bytes::Bytes;
use caudal::core::columns::{Numbering, Slab};
use caudal::core::decode::table::readable;
use caudal::core::decode::{Decoded, Decoder};
use caudal::core::plan::Plan;
use caudal::core::time;
use caudal::core::units::{Micros, Millis, Offset, TopicId};
use caudal::pipeline::{Bundle, FileText};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde_json::{Map, Value, json};

use crate::support::heap;

const SEEDS: u64 = 400;
/// Some more than fit a word of a set of rows, so that its ends are within.
const ROWS: usize = 150;

const PIPELINE: &str = "pipeline: shop
topics:
  order:  {schema: order.json}
  refund: {schema: refund.json}
  tick:   {schema: tick.json, id: ~, time: {field: ticked, format: FORMAT}}
id:   id
time: {field: at}
windows:
  hourly:
    every: 1h
    group: [note, inner.name]
    metrics: {n: count(), amount: sum(amount), price: mean(price), paid: count_if(paid), big: max(big), deep: sum(inner.depth)}
  by_kind:
    every: 1h
    group: [kind, flag, whole, key]
    metrics: {n: count()}
";
/// `order` is strict, `refund` lets through what it does not know.
const ORDER: &str = r#"{"type": "object", "required": ["id", "at", "inner"], "properties": {"id": {"type": "string", "minLength": 1},
    "at": {"type": "string", "format": "date-time"}, "source": {"type": "string"}, "note": {"type": ["string", "null"], "enum": ["a", "b", null]}, "amount": {"type": "integer", "minimum": -5},
    "price": {"type": "number", "maximum": 100}, "paid": {"type": "boolean"}, "big": {"type": "integer"}, "when": {"type": "string"},
    "inner": {"type": "object", "required": ["name"], "properties": {"name": {"type": "string", "maxLength": 3}, "depth": {"type": "integer"}}, "additionalProperties": false},
    "tags": {"type": "array", "items": {"type": "integer"}}, "labels": {"type": "array", "items": {"enum": ["a", "b"]}},
    "kind": {"type": "string", "pattern": "^k[0-9]$"}, "flag": {"type": "boolean"}, "whole": {"type": "integer"}, "key": {"type": "string", "format": "uuid"}},
    "additionalProperties": false}"#;
const REFUND: &str = r#"{"type": "object", "required": ["id"], "properties": {"id": {"type": "string"}, "at": {"type": "string"}, "amount": {"type": "integer"},
    "key": {"type": "string", "minLength": 30}, "kind": {"type": "string"}, "flag": {"type": "boolean"}, "whole": {"type": "integer"}}}"#;
const TICK: &str = r#"{"type": "object", "properties": {"ticked": {"type": "number", "minimum": -1e300}, "kind": {"type": "string"}}}"#;

/// One column: its name, its values as JSON (None: no value), and its array.
type Made = (&'static str, Vec<Option<Value>>, ArrayRef);

/// How the ticks' time is written, and the microseconds of one.
const FORMATS: [(&str, f64); 4] = [("unix_s", 1e6), ("unix_ms", 1e3), ("unix_us", 1.0), ("unix_ns", 1e-3)];

fn some<T>(rng: &mut ChaCha8Rng, often: f64, make: impl Fn(&mut ChaCha8Rng) -> T) -> Vec<Option<T>> {
    (0..ROWS).map(|_| rng.random_bool(often).then(|| make(rng))).collect()
}

fn values<T: Clone + Into<Value>>(of: &[Option<T>]) -> Vec<Option<Value>> {
    of.iter().map(|value| value.clone().map(Into::into)).collect()
}

fn pick<'a>(rng: &mut ChaCha8Rng, of: &[&'a str]) -> &'a str {
    of[rng.random_range(0..of.len())]
}

/// Texts in any of the ways in which a batch may have them.
fn any_texts(rng: &mut ChaCha8Rng, of: &[Option<String>]) -> ArrayRef {
    let texts = of.iter().map(Option::as_deref);
    match rng.random_range(0..7) {
        0 | 1 => {
            let mut dictionary = StringDictionaryBuilder::<Int32Type>::new();
            texts.for_each(|text| dictionary.append_option(text));
            Arc::new(dictionary.finish())
        }
        // Nulls among the texts, and a text that no row has.
        2 => {
            let known: StringArray = [None, Some("unused")].into_iter().chain(texts).collect();
            let key = |row: usize| (row.is_multiple_of(2) || of[row].is_some()).then_some(row as i32 + 2);
            let keys: Int32Array = (0..of.len()).map(key).collect();
            Arc::new(DictionaryArray::new(keys, Arc::new(known)))
        }
        3 => Arc::new(texts.collect::<StringViewArray>()),
        4 => Arc::new(texts.collect::<LargeStringArray>()),
        5 => Arc::new(texts.map(|text| text.map(str::as_bytes)).collect::<BinaryArray>()),
        _ => Arc::new(texts.collect::<StringArray>()),
    }
}

fn texts(rng: &mut ChaCha8Rng, name: &'static str, of: &[Option<String>]) -> Made {
    (name, values(of), any_texts(rng, of))
}

fn uuids(rng: &mut ChaCha8Rng, name: &'static str, of: &[Option<u128>]) -> Made {
    let text = |id: &Option<u128>| id.map(|id| uuid::Uuid::from_u128(id).to_string());
    let written: Vec<_> = of.iter().map(text).collect();
    if rng.random() {
        return texts(rng, name, &written);
    }
    let bytes = of.iter().map(|id| id.map(u128::to_be_bytes));
    (name, values(&written), Arc::new(FixedSizeBinaryArray::try_from_sparse_iter_with_size(bytes, 16).unwrap()))
}

/// Moments of any unit, with `extreme` some of them of no year that has a text, and each in microseconds.
fn moments(rng: &mut ChaCha8Rng, extreme: bool) -> (Vec<Option<i64>>, ArrayRef) {
    let moment = |rng: &mut ChaCha8Rng| match rng.random_range(0..30) {
        0 if extreme => i64::MIN,
        1 if extreme => i64::MAX,
        _ => rng.random_range(-1_000_000_i64..2_000_000_000) * 1_000 + rng.random_range(0..1_000),
    };
    let per_unit = [1_000_000, 1_000, 1][rng.random_range(0..3)];
    if rng.random_bool(0.25) {
        let of = some(rng, 0.97, |rng| moment(rng).saturating_mul(1_000).saturating_add(7));
        let micros = of.iter().map(|nanos| nanos.map(|nanos| nanos.div_euclid(1_000))).collect();
        return (micros, Arc::new(TimestampNanosecondArray::from(of)));
    }
    let of = some(rng, 0.97, |rng| moment(rng) / per_unit);
    let micros = of.iter().map(|of| of.map(|of| of.saturating_mul(per_unit))).collect();
    let array: ArrayRef = match per_unit {
        1_000_000 => Arc::new(TimestampSecondArray::from(of)),
        1_000 => Arc::new(TimestampMillisecondArray::from(of).with_timezone("+00:00")),
        _ => Arc::new(TimestampMicrosecondArray::from(of)),
    };
    (micros, array)
}

/// What the ticks' time may be: `alone`, all rows are ticks.
fn ticked(rng: &mut ChaCha8Rng, per_unit: f64, alone: bool) -> Made {
    match rng.random_range(0..5) {
        0 | 1 => {
            // As numbers the extremes have more digits than serde_json keeps.
            let (of, array) = moments(rng, false);
            let number = |micros: i64| match per_unit {
                1.0 => json!(micros),
                1e-3 => serde_json::from_str(&(i128::from(micros) * 1_000).to_string()).unwrap(),
                _ if micros % per_unit as i64 == 0 => json!(micros / per_unit as i64),
                _ => json!(micros as f64 / per_unit),
            };
            let text = |micros: i64| Value::from(time::format(Micros(micros)));
            let of = of.iter().map(|micros| micros.map(|micros| if alone { number(micros) } else { text(micros) }));
            ("ticked", of.collect(), array)
        }
        2 => {
            let of = some(rng, 0.95, |rng| rng.random::<i64>() >> rng.random_range(0..50));
            ("ticked", values(&of), Arc::new(Int64Array::from(of)))
        }
        3 => {
            let of = some(rng, 0.95, |rng| if rng.random_bool(0.1) { u64::MAX } else { rng.random_range(0..1 << 40) });
            ("ticked", values(&of), Arc::new(UInt64Array::from(of)))
        }
        _ => {
            let of = some(rng, 0.95, |rng| rng.random_range(-1e9..2e9));
            ("ticked", values(&of), Arc::new(Float64Array::from(of)))
        }
    }
}

fn columns(rng: &mut ChaCha8Rng, per_unit: f64, topic: Option<TopicId>) -> Vec<Made> {
    let mut made = Vec::new();
    let ids = |rng: &mut ChaCha8Rng| match rng.random_range(0..20) {
        0 => String::new(),
        1 => "x".repeat(1_025),
        2 => "\"é\\\n\u{1F600}\"".to_owned(),
        3..10 => uuid::Uuid::from_u128(rng.random()).to_string(),
        _ => rng.random_range(0..99).to_string(),
    };
    if rng.random() {
        let of = some(rng, 0.97, ids);
        made.push(texts(rng, "id", &of));
    } else {
        let of = some(rng, 0.97, Rng::random);
        made.push(uuids(rng, "id", &of));
    }
    let times =
        ["2026-11-22T12:00:00Z", "2026-11-22T12:00:00.5+01:00", "2016-12-31T23:59:60Z", "noon", "0001-01-01T00:00:00Z"];
    if rng.random() {
        let of = some(rng, 0.97, |rng| pick(rng, &times).to_owned());
        made.push(texts(rng, "at", &of));
    } else {
        let extreme = rng.random_bool(0.2);
        let (of, array) = moments(rng, extreme);
        let text = |micros: i64| Value::from(time::format(Micros(micros)));
        made.push(("at", of.iter().map(|micros| micros.map(text)).collect(), array));
    }
    if topic == Some(TopicId(2)) || rng.random_bool(0.1) {
        made.push(ticked(rng, per_unit, topic == Some(TopicId(2))));
    }
    let of = some(rng, 0.9, |rng| pick(rng, &["order", "refund", "refund", "tick", "nothing", ""]).to_owned());
    made.push(texts(rng, "source", &of));
    let of = some(rng, 0.8, |rng| pick(rng, &["a", "b", "b", "c", "\u{2028}"]).to_owned());
    made.push(texts(rng, "note", &of));
    let of = some(rng, 0.8, |rng| pick(rng, &["k1", "k2", "k3", "k3", "K"]).to_owned());
    made.push(texts(rng, "kind", &of));
    made.push(key(rng));
    made.extend(numbers(rng));
    let paid = some(rng, 0.8, Rng::random::<bool>);
    made.push(("paid", values(&paid), Arc::new(BooleanArray::from(paid))));
    let flag = some(rng, 0.8, Rng::random::<bool>);
    made.push(("flag", values(&flag), Arc::new(BooleanArray::from(flag))));
    if rng.random_bool(0.3) {
        let when = some(rng, 0.8, |rng| rng.random_range(-800_000..3_000_000));
        let text = |days: i32| Value::from(&time::format(Micros(i64::from(days) * 86_400_000_000))[..]);
        let date = |text: Value| Value::from(text.as_str().unwrap().split_once('T').unwrap().0);
        let json = when.iter().map(|days| days.map(|days| date(text(days)))).collect();
        made.push(("when", json, Arc::new(Date32Array::from(when))));
    }
    made.push(inner(rng));
    made.extend(lists(rng));
    if rng.random_bool(0.3) {
        let of = some(rng, 0.05, |rng| pick(rng, &["", "long", "longer"]).repeat(10_000));
        made.push(texts(rng, "unknown", &of));
    }
    // What is asked for must not depend on where it stands.
    for at in (1..made.len()).rev() {
        let other = rng.random_range(0..=at);
        made.swap(at, other);
    }
    made
}

/// A text that is mostly a UUID, or surely one.
fn key(rng: &mut ChaCha8Rng) -> Made {
    let of = some(rng, 0.9, |rng| u128::from(rng.random_range(0..5_u8)));
    if rng.random() {
        return uuids(rng, "key", &of);
    }
    let damaged = |rng: &mut ChaCha8Rng, id: u128| {
        let mut text = uuid::Uuid::from_u128(id << 64 | 0xABCD).to_string();
        match rng.random_range(0..20) {
            0 => text.replace_range(rng.random_range(0..36)..36, ""),
            1 => text = text.replace('-', ""),
            2 => text = text.replacen('0', "g", 1),
            3 => text = text.to_uppercase(),
            _ => {}
        }
        text
    };
    let of: Vec<_> = of.into_iter().map(|id| id.map(|id| damaged(rng, id))).collect();
    texts(rng, "key", &of)
}

fn numbers(rng: &mut ChaCha8Rng) -> Vec<Made> {
    let mut made: Vec<Made> = Vec::new();
    let amounts = some(rng, 0.8, |rng| rng.random_range(-7..9_i64));
    if rng.random_bool(0.2) {
        let cents = amounts.iter().map(|amount| amount.map(|amount| i128::from(amount) * 50));
        let array = cents.collect::<Decimal128Array>().with_precision_and_scale(38, 2).unwrap();
        let json = amounts.iter().map(|amount| amount.map(|amount| json!(amount as f64 / 2.0))).collect();
        made.push(("amount", json, Arc::new(array)));
    } else {
        made.push(("amount", values(&amounts), Arc::new(Int64Array::from(amounts))));
    }
    let prices = some(rng, 0.8, |rng| match rng.random_range(0..8) {
        0 => -0.0,
        1 => 1e300,
        2 => 5.0,
        _ => rng.random_range(-1.0..101.0),
    });
    made.push(("price", values(&prices), Arc::new(Float64Array::from(prices))));
    let big = some(rng, 0.8, |rng| if rng.random_bool(0.1) { u64::MAX } else { rng.random_range(0..1 << 60) });
    made.push(("big", values(&big), Arc::new(UInt64Array::from(big))));
    let whole = some(rng, 0.8, |rng| [0.0, 1.0, -2.0, 2.5][rng.random_range(0..4)] as f32);
    made.push(("whole", values(&whole), Arc::new(Float32Array::from(whole))));
    made
}

fn lists(rng: &mut ChaCha8Rng) -> Vec<Made> {
    let mut made: Vec<Made> = Vec::new();
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
    } else if rng.random_bool(0.04) {
        // What writers make of a column whose items all are null.
        let lists = some(rng, 0.8, |rng| vec![None::<i32>; rng.random_range(0..3)]);
        let mut list = ListBuilder::new(NullBuilder::new());
        for items in &lists {
            list.values().append_nulls(items.as_ref().map_or(0, Vec::len));
            list.append(items.is_some());
        }
        made.push(("tags", values(&lists), Arc::new(list.finish())));
    }
    if rng.random_bool(0.3) {
        let label = |rng: &mut ChaCha8Rng| match rng.random_range(0..60) {
            0 => None,
            1 => Some("c"),
            of => Some(if of % 2 == 0 { "a" } else { "b" }),
        };
        let lists = some(rng, 0.8, |rng| (0..rng.random_range(0..4)).map(|_| label(rng)).collect::<Vec<_>>());
        let mut list = ListBuilder::new(StringDictionaryBuilder::<Int32Type>::new());
        for items in &lists {
            items.iter().flatten().for_each(|item| list.values().append_option(*item));
            list.append(items.is_some());
        }
        let json = lists.iter().map(|items| items.as_ref().map(|items| json!(items))).collect();
        made.push(("labels", json, Arc::new(list.finish())));
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
    let arrays: Vec<ArrayRef> = vec![any_texts(rng, &names), Arc::new(Int32Array::from(depths))];
    let name = arrays[0].data_type().clone();
    let fields = vec![Field::new("name", name, true), Field::new("depth", DataType::Int32, true)];
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

fn plan(format: &str) -> Arc<Plan> {
    let schemas = [("order.json", ORDER), ("refund.json", REFUND), ("tick.json", TICK)];
    let schemas = schemas.map(|(name, text)| (name.to_owned(), text.to_owned())).to_vec();
    let file = FileText { file: "pipeline.yaml".to_owned(), text: PIPELINE.replace("FORMAT", format), schemas };
    Bundle(vec![file]).pipelines().unwrap_or_else(|faults| panic!("{faults}")).plan
}

/// A note that is missing is null where the topics that know it say so: the first does, the others do not know it.
fn null_notes(topic: Option<TopicId>) -> bool {
    topic.is_none_or(|topic| topic == TopicId(0))
}

#[test]
fn a_row_means_what_its_json_means() {
    let decoders = FORMATS.map(|(format, per_unit)| (Decoder::new(plan(format), 7), per_unit));
    let (mut good, mut bad, mut lines_of_good) = ([0; 3], 0, 0);
    for seed in 0..SEEDS {
        let rng = &mut ChaCha8Rng::seed_from_u64(seed);
        let (decoder, per_unit) = &decoders[rng.random_range(0..FORMATS.len())];
        let topic = [None, Some(TopicId(0)), Some(TopicId(1)), Some(TopicId(2))][rng.random_range(0..4)];
        let made = columns(rng, *per_unit, topic);
        let batch = RecordBatch::try_from_iter(made.iter().map(|(name, _, array)| (*name, Arc::clone(array)))).unwrap();
        readable(&batch.schema()).unwrap();
        // A batch may be a part of another.
        let from = if rng.random() { 0 } else { rng.random_range(0..ROWS) };
        let batch = batch.slice(from, ROWS - from);
        let lines = lines(&made, null_notes(topic));
        let lines: Vec<&str> = lines.lines().skip(from).collect();
        let slab = Slab {
            first_offset: Offset(100),
            count: lines.len() as u32,
            ingest: Millis(0),
            topic,
            bytes: Bytes::from(lines.join("\n")),
            numbering: Numbering::Rows,
        };
        let expected = decoder.decode(&slab);
        let (of_table, found) = decoder.decode_table(&batch, Offset(100), topic);
        assert_eq!(shown(&found), shown(&expected), "seed {seed}, topic {topic:?}:\n{lines:#?}");
        for reject in &found.rejects {
            let (start, length) = reject.line;
            let line = &of_table.bytes[start as usize..(start + length) as usize];
            let row = (reject.offset.0 - 100) as usize;
            let written: Value = serde_json::from_slice(line).unwrap();
            assert_eq!(written, serde_json::from_str::<Value>(lines[row]).unwrap(), "seed {seed}");
        }
        found.columns.topic.iter().for_each(|topic| good[usize::from(topic.0)] += 1);
        bad += found.rejects.len();
        lines_of_good += memchr::memchr_iter(b'\n', &of_table.bytes).count() - found.rejects.len();
    }
    let all: usize = good.iter().sum();
    assert!(good.iter().all(|good| *good > 1_000) && bad > 1_000, "{good:?} rows are well, {bad} are not");
    assert!(lines_of_good < all / 20, "{lines_of_good} of {all} rows that are well were written as lines");
}

#[test]
fn a_row_that_makes_too_long_a_line_is_refused() {
    let lengths = [3, 100_000, 3, 200_000, 50_000, 3];
    let mut tags = ListBuilder::new(Int32Builder::new());
    for items in lengths {
        (0..items).for_each(|_| tags.values().append_value(7));
        tags.append(true);
    }
    let tags: ArrayRef = Arc::new(tags.finish());
    let texts = lengths.map(|length| "\u{1}".repeat(length / 4));
    let texts = || texts.iter().map(|text| Some(text.as_str()));
    let long: [(&str, ArrayRef); 4] = [
        ("tags", tags),
        ("more", Arc::new(texts().collect::<StringArray>())),
        ("more", Arc::new(texts().collect::<StringViewArray>())),
        ("more", Arc::new(texts().collect::<DictionaryArray<Int32Type>>())),
    ];
    for (name, long) in long {
        let ids: ArrayRef = Arc::new(StringArray::from(vec!["a", "b", "c", "d", "e", "f"]));
        let at: ArrayRef = Arc::new(StringArray::from(vec!["2026-11-22T12:00:00Z"; 6]));
        let batch = RecordBatch::try_from_iter([("id", ids), ("at", at), (name, long)]).unwrap();
        let (_, found) = Decoder::new(plan("unix_s"), 7).decode_table(&batch, Offset(0), Some(TopicId(1)));
        assert_eq!(found.columns.offset, [0, 1, 2, 4, 5].map(Offset));
        let why: Vec<_> = found.rejects.iter().map(|reject| (reject.offset, reject.detail.as_str())).collect();
        assert!(matches!(why[..], [(Offset(3), why)] if why.contains("longer than 262144 bytes as JSON")), "{why:?}");
    }
}

/// Little that would be written as much: a text that a list names again and again.
#[test]
fn a_row_of_endless_length_takes_little_memory() {
    let mut list = ListBuilder::new(StringDictionaryBuilder::<Int32Type>::new());
    let text = "x".repeat(200_000);
    (0..2_000).for_each(|_| list.values().append_value(&text));
    list.append(true);
    let ids: ArrayRef = Arc::new(StringArray::from(vec!["a"]));
    let at: ArrayRef = Arc::new(StringArray::from(vec!["2026-11-22T12:00:00Z"]));
    let labels: ArrayRef = Arc::new(list.finish());
    let batch = RecordBatch::try_from_iter([("id", ids), ("at", at), ("labels", labels)]).unwrap();
    let decoder = Decoder::new(plan("unix_s"), 7);
    let mut rejects = Vec::new();
    let taken = heap::peak(|| rejects = decoder.decode_table(&batch, Offset(0), Some(TopicId(1))).1.rejects);
    assert!(matches!(&rejects[..], [one] if one.detail.contains("longer than 262144 bytes as JSON")), "{rejects:?}");
    assert!(taken < 16 << 20, "{taken} bytes");
}
