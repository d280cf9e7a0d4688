//! `caudal batch` over the same events in each format, beside what reading the format costs at least.

use std::fs::{self, File};
use std::io::{self, BufReader, BufWriter, Read, Write};
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use arrow_array::{ArrayRef, BooleanArray, Float64Array, Int64Array, RecordBatch, StringArray, StructArray};
use arrow_schema::{DataType, Field, Fields, Schema};
use caudal::pipeline::Pipelines;
use parquet::arrow::ArrowWriter;
use parquet::basic::Compression;
use parquet::file::properties::WriterProperties;
use serde_json::Value;

use crate::batch::{EVENTS, batch_with, generate, median};

const ROUNDS: usize = 3;
/// As DuckDB writes them.
const GROUP_ROWS: usize = 122_880;
/// Every field of every topic stands in one of the first so many events.
const SAMPLE: usize = 10_000;

pub fn run(dir: &Path, pipeline_file: &Path, pipeline: &Pipelines) {
    let lines = dir.join("events.ndjson");
    let bytes = generate(&lines, pipeline);
    let (gzip, zstd, table) = (dir.join("events.ndjson.gz"), dir.join("events.ndjson.zst"), dir.join("events.parquet"));
    let packed = BufWriter::new(File::create(&gzip).expect("a file"));
    let mut packed = flate2::write::GzEncoder::new(packed, flate2::Compression::fast());
    io::copy(&mut File::open(&lines).expect("the events"), &mut packed).expect("a write");
    packed.finish().expect("a write").flush().expect("a write");
    let packed = BufWriter::new(File::create(&zstd).expect("a file"));
    zstd::stream::copy_encode(File::open(&lines).expect("the events"), packed, 1).expect("a write");
    write_parquet(&lines, &table);

    let inputs = [("ndjson", &lines), ("gzip", &gzip), ("zstd", &zstd), ("parquet", &table)];
    let mut seconds = vec![Vec::new(); inputs.len()];
    let (mut inflation, mut alone) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        for ((_, input), seconds) in inputs.iter().zip(&mut seconds) {
            seconds.push(batch_with(3, dir, pipeline_file, input));
        }
        alone.push(batch_with(2, dir, pipeline_file, &lines));
        inflation.push(inflate(&gzip, bytes));
    }
    let plain = median(&mut seconds[0]);
    for ((name, input), seconds) in inputs.iter().zip(&mut seconds) {
        let (seconds, size) = (median(seconds), fs::metadata(input).expect("the input").len());
        println!(
            "formats: {name}, {} MB: {seconds:.2} s = {:.0} events/s, {:.2} x the rate of ndjson",
            size / 1_000_000,
            EVENTS as f64 / seconds,
            plain / seconds
        );
    }
    let (alone, inflation) = (median(&mut alone), median(&mut inflation));
    println!("formats: ndjson with one worker {alone:.2} s: two are {:.2} x as fast", alone / plain);
    println!("formats: inflating the gzip alone {inflation:.2} s (medians of {ROUNDS})");
    for (_, input) in inputs {
        fs::remove_file(input).expect("the input");
    }
}

fn inflate(path: &Path, bytes: u64) -> f64 {
    let begun = Instant::now();
    let mut source = flate2::read::MultiGzDecoder::new(BufReader::new(File::open(path).expect("the input")));
    let (mut room, mut read) = (vec![0; 1 << 20], 0);
    while let n @ 1.. = source.read(&mut room).expect("gzip") {
        read += n as u64;
    }
    assert_eq!(read, bytes);
    begun.elapsed().as_secs_f64()
}

fn write_parquet(lines: &Path, table: &Path) {
    let text = fs::read(lines).expect("the events");
    let mut events = text.split(|&b| b == b'\n').filter(|line| !line.is_empty()).peekable();
    let parse = |line: &[u8]| -> Value { serde_json::from_slice(line).expect("an event") };
    let sample: Vec<Value> = text.split(|&b| b == b'\n').take(SAMPLE).map(parse).collect();
    let DataType::Struct(fields) = kind(&sample.iter().collect::<Vec<_>>()) else { panic!("events are objects") };
    let schema = Arc::new(Schema::new(fields.clone()));
    let properties = WriterProperties::builder()
        .set_compression(Compression::SNAPPY)
        .set_max_row_group_row_count(Some(GROUP_ROWS))
        .build();
    let file = BufWriter::new(File::create(table).expect("a file"));
    let mut writer = ArrowWriter::try_new(file, Arc::clone(&schema), Some(properties)).expect("a table");
    while events.peek().is_some() {
        let rows: Vec<Value> = events.by_ref().take(GROUP_ROWS).map(parse).collect();
        let rows: Vec<Option<&Value>> = rows.iter().map(Some).collect();
        let columns = fields.iter().map(|field| array(field, &rows)).collect();
        writer.write(&RecordBatch::try_new(Arc::clone(&schema), columns).expect("columns")).expect("a write");
    }
    writer.close().expect("a write");
}

fn kind(values: &[&Value]) -> DataType {
    match values.iter().find(|value| !value.is_null()) {
        Some(Value::Bool(_)) => DataType::Boolean,
        Some(Value::Number(number)) if number.is_f64() => DataType::Float64,
        Some(Value::Number(_)) => DataType::Int64,
        Some(Value::Object(_)) => {
            let mut names: Vec<&String> = values.iter().filter_map(|v| v.as_object()).flat_map(|o| o.keys()).collect();
            names.sort_unstable();
            names.dedup();
            let field = |name: &String| {
                let of_name: Vec<&Value> = values.iter().filter_map(|value| value.get(name)).collect();
                Field::new(name, kind(&of_name), true)
            };
            DataType::Struct(names.into_iter().map(field).collect::<Fields>())
        }
        _ => DataType::Utf8,
    }
}

fn array(field: &Field, rows: &[Option<&Value>]) -> ArrayRef {
    let values: Vec<Option<&Value>> = rows.iter().map(|row| row.and_then(|row| row.get(field.name()))).collect();
    match field.data_type() {
        DataType::Boolean => {
            Arc::new(values.iter().map(|value| value.and_then(Value::as_bool)).collect::<BooleanArray>())
        }
        DataType::Float64 => {
            Arc::new(values.iter().map(|value| value.and_then(Value::as_f64)).collect::<Float64Array>())
        }
        DataType::Int64 => Arc::new(values.iter().map(|value| value.and_then(Value::as_i64)).collect::<Int64Array>()),
        DataType::Struct(fields) => {
            let there: Vec<bool> = values.iter().map(Option::is_some).collect();
            let columns = fields.iter().map(|field| array(field, &values)).collect();
            Arc::new(StructArray::new(fields.clone(), columns, Some(there.into())))
        }
        _ => Arc::new(values.iter().map(|value| value.and_then(Value::as_str)).collect::<StringArray>()),
    }
}
