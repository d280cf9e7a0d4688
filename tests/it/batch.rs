//! `caudal batch` over files as people have them: every format, odd and broken ones, parts of them, and a batch that is killed.

use std::fs;
use std::io::Write;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};

use arrow_array::builder::{Int64Builder, MapBuilder, StringBuilder};
use arrow_array::cast::AsArray;
use arrow_array::types::{Float64Type, Int64Type};
use arrow_array::{Array, ArrayRef, Int64Array, RecordBatch, StringArray};
use parquet::arrow::ArrowWriter;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use rustix::process::Signal;
use serde_json::Value;
use tempfile::TempDir;

use crate::support::job::{Job, Setup, caudal, until};

const PIPELINE: &str = "pipeline: shop
topics:
  order: {schema: order.json}
id:   id
time: {field: at}
windows:
  hourly:
    every: 1h
    group: [note]
    metrics: {n: count(), amount: sum(amount), price: sum(price), paid: count_if(paid), last: last(note)}
views:
  notes: {key: id, latest: [note, amount]}
";
const SCHEMA: &str = r#"{"type": "object", "required": ["id", "at"], "properties": {"id": {"type": "string"}, "at": {"type": "string"},
    "note": {"type": "string"}, "amount": {"type": "integer"}, "price": {"type": "number"}, "paid": {"type": "boolean"},
    "tags": {"type": "array", "items": {"type": "string"}}}}"#;
const AT: &str = "2026-11-22T12:00:00Z";

/// A folder with the pipeline and one input.
struct Shop {
    dir: TempDir,
}

impl Shop {
    fn new() -> Self {
        let dir = TempDir::new().unwrap();
        fs::write(dir.path().join("shop.yaml"), PIPELINE).unwrap();
        fs::write(dir.path().join("order.json"), SCHEMA).unwrap();
        Self { dir }
    }

    fn put(&self, name: &str, bytes: impl AsRef<[u8]>) -> &Self {
        fs::write(self.dir.path().join(name), bytes).unwrap();
        self
    }

    fn batch(&self, input: &str, more: &[&str]) -> Output {
        let args =
            ["batch", "--json", "--topic", "order", "--pipeline", "shop.yaml", "--output", "out", "--input", input];
        Command::new(caudal()).args(args).args(more).current_dir(self.dir.path()).output().unwrap()
    }

    /// The summary of a batch that must end well.
    fn counts(&self, input: &str, more: &[&str]) -> Value {
        let output = self.batch(input, more);
        assert!(output.status.success(), "{input}: {}", String::from_utf8_lossy(&output.stderr));
        serde_json::from_slice(&output.stdout).unwrap()
    }

    fn rejects(&self) -> Vec<Value> {
        let text = fs::read_to_string(self.dir.path().join("out/rejects.ndjson")).unwrap();
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    fn out(&self, name: &str) -> String {
        fs::read_to_string(self.dir.path().join("out").join(name)).unwrap()
    }
}

fn order(id: usize) -> String {
    format!(r#"{{"id":"{id}","at":"{AT}","note":"n","amount":1,"price":0.1,"paid":true}}"#)
}

/// The input is read: so many events are counted, and these are refused: (position, what the detail holds).
fn check(name: &str, bytes: impl AsRef<[u8]>, counted: u64, refused: &[(u64, &str)]) {
    let shop = Shop::new();
    let summary = shop.put(name, &bytes).counts(name, &[]);
    let rejects = shop.rejects();
    let text: String = String::from_utf8_lossy(bytes.as_ref()).chars().take(200).collect();
    assert_eq!(summary["counted"], counted, "{name} {text:?}: {summary} {rejects:?}");
    assert_eq!(summary["events"], counted + refused.len() as u64, "{name} {text:?}: {summary}");
    assert_eq!(rejects.len(), refused.len(), "{name} {text:?}: {rejects:?}");
    for (reject, (position, detail)) in rejects.iter().zip(refused) {
        assert_eq!(reject["position"], *position, "{name} {text:?}: {reject}");
        assert!(reject["detail"].as_str().unwrap().contains(detail), "{name} {text:?}: {reject}");
        assert!(reject["input"].as_str().unwrap().ends_with(name), "{reject}");
    }
}

/// The input cannot be read at all: exit 65, and this is said.
fn unreadable(name: &str, bytes: impl AsRef<[u8]>, why: &str) {
    let shop = Shop::new();
    let output = shop.put(name, &bytes).batch(name, &[]);
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(65), "{name}: {said}");
    assert!(said.contains(why) && said.contains(name), "{name}: {said}");
    assert!(!said.contains("panicked at"), "{name}: {said}");
}

#[test]
fn lines_of_every_kind() {
    let (a, b) = (order(1), order(2));
    check("a.ndjson", "", 0, &[]);
    check("a.ndjson", format!("{a}\n{b}"), 2, &[]);
    check("a.ndjson", format!("{a}\r\n\r\n \n{b}\r\n"), 2, &[]);
    check("a.ndjson", format!("{a}\r{b}\n"), 0, &[(0, "something follows the event")]);
    check("a.ndjson", format!("\u{feff}{a}\n{b}\n"), 1, &[(0, "a byte order mark")]);
    check("a.ndjson", format!("{}\n{b}\n", a.replace("\"n\"", "\"\u{2028}\"")), 2, &[]);
    check("a.ndjson", format!("{a}\n{{\"id\":\n{b}\n"), 2, &[(a.len() as u64 + 1, "the line ends")]);
    check("a.ndjson.gz", gzip(&format!("\u{feff}{a}\n{b}\n")), 1, &[(0, "a byte order mark")]);
    check("a.ndjson", b"\xff\xfe\n", 0, &[(0, "no JSON value")]);
}

#[test]
fn a_line_that_is_too_long_is_refused_and_what_follows_is_not() {
    // Longer than a range, longer than a piece, and just longer than is allowed.
    for length in [3 << 20, 1 << 20, (256 << 10) + 1] {
        let long = format!(r#"{{"id":"long","at":"{AT}","note":"n"}}{}"#, " ".repeat(length));
        let text = format!("{}\n{long}\n{}\n", order(1), order(2));
        let at = order(1).len() as u64 + 1;
        check("a.ndjson", &text, 2, &[(at, "longer than 262144 bytes")]);
        check("a.ndjson.zst", zstd::encode_all(text.as_bytes(), 1).unwrap(), 2, &[(at, "longer than 262144 bytes")]);
    }
}

#[test]
fn csv_of_every_kind() {
    let header = "id,at,note,amount,price,paid,tags";
    let row = |id: &str, note: &str, rest: &str| format!("{id},{AT},{note},{rest}");
    let good = row("1", "n", "1,0.1,true,\"[\"\"a\"\"]\"");
    check("a.csv", "", 0, &[]);
    check("a.csv", header, 0, &[]);
    check("a.csv", format!("{header}\n{good}"), 1, &[]);
    check("a.csv", format!("\u{feff}\r\n{header}\r\n\r\n{good}\r\n"), 1, &[]);
    check("a.tsv", format!("{}\n{}\n", header.replace(',', "\t"), "1\tAT\tn\t\t\t\t".replace("AT", AT)), 1, &[]);
    // An empty cell is no field; a cell that is no number is a text, which the schema refuses.
    check("a.csv", format!("{header}\n{}\n{}\n", row("1", "", ",,,"), row("2", "n", "one,,,")), 1, &[(1, "/amount")]);
    check("a.csv", format!("{header}\n{}\n", row("1", "n", "1e2,-0,TRUE,")), 0, &[(0, "/paid")]);
    check(
        "a.csv",
        format!("{header}\n{good},more\n{good}\n1,2\n"),
        1,
        &[(0, "8 cells, the header 7"), (2, "2 cells, the header 7")],
    );
    check("a.csv", format!("{header}\n{}\n{good}\n", row("2", "\"two\nlines, \"\"quoted\"\"\"", ",,,")), 2, &[]);
    check("a.csv", format!("{header}\n{}\n{good}\n", row("2", "5\" pipe", ",,,")), 2, &[]);
    // A quote that never closes takes only its own line with it.
    let (open, plain) = (row("2", "\"open", ",,,"), row("3", "n", ",,,"));
    check("a.csv", format!("{header}\n{open}\n{plain}\n"), 1, &[(0, "never closes")]);
    let far = format!("{header}\n{open}\n{plain}\n{}", format!("{}\n", row("1", "n", ",,,")).repeat(12_000));
    check_far(&far);
    check(
        "a.csv",
        format!("{header}\n{}\n{good}\n", row("2", &"x".repeat(300 << 10), ",,,")),
        1,
        &[(0, "longer than 262144")],
    );
    check("a.csv", format!("{header}\n{}{plain}\n", "\n".repeat(300 << 10)), 1, &[]);
    for start in ["=1+1", "+1", "-1", "@x"] {
        let shop = Shop::new();
        shop.put("a.csv", format!("{header}\n{}\n", row("1", start, ",,,"))).counts("a.csv", &[]);
        assert!(shop.out("hourly.csv").contains(&format!(",{start},1,")), "{}", shop.out("hourly.csv"));
    }
    check("a.csv", [header.as_bytes(), b"\n1,", AT.as_bytes(), b",\xff,,,,\n"].concat(), 0, &[(0, "not UTF-8")]);
}

/// A quote that stays open for longer than an event may be: its line is refused, all that follow are read.
fn check_far(text: &str) {
    let shop = Shop::new();
    let summary = shop.put("a.csv", text).counts("a.csv", &[]);
    assert_eq!((&summary["invalid"], &summary["events"]), (&1.into(), &12_002.into()), "{summary}");
    assert!(shop.rejects()[0]["detail"].as_str().unwrap().contains("does not close within 262144 bytes"));
}

#[test]
fn csv_without_a_header_that_can_be_one() {
    unreadable("a.csv", format!("id,at,id\n1,{AT},2\n"), "names \"id\" twice");
    unreadable("a.csv", format!("id,,at\n1,2,{AT}\n"), "name 2 is \"\"");
    unreadable("a.csv", format!("id,at\r1,{AT}\r2,{AT}\r"), "a carriage return alone");
    unreadable("a.csv", format!("id,at,a.b,a\n1,{AT},2,3\n"), "within it or around it");
    let wide: Vec<String> = (0..10_000).map(|n| format!("c{n}")).collect();
    unreadable(
        "a.csv",
        format!("{}\n{}\n", wide.join(","), ",".repeat(9_999)),
        "names 10000 fields; there may be 4096",
    );
}

fn gzip(text: &str) -> Vec<u8> {
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    gzip.write_all(text.as_bytes()).unwrap();
    gzip.finish().unwrap()
}

#[test]
fn compressed_files_whole_and_cut_off() {
    let lines: String = (0..5_000).map(|id| order(id) + "\n").collect();
    let (packed, zstd) = (gzip(&lines), zstd::encode_all(lines.as_bytes(), 1).unwrap());
    check("a.ndjson.gz", &packed, 5_000, &[]);
    // Members one after the other are one file.
    check("a.ndjson.gz", [gzip(&order(1)), gzip("\n"), gzip(&order(2))].concat(), 2, &[]);
    check("a.ndjson.zst", [zstd.clone(), zstd::encode_all(order(5_000).as_bytes(), 1).unwrap()].concat(), 5_001, &[]);
    for cut in [packed.len() / 2, packed.len() - 1, 20] {
        unreadable("a.ndjson.gz", &packed[..cut], "cut off or damaged");
    }
    let mut wrong = packed.clone();
    *wrong.last_mut().unwrap() ^= 1;
    unreadable("a.ndjson.gz", &wrong, "cut off or damaged");
    unreadable("a.ndjson.gz", &lines, "cut off or damaged");
    unreadable("a.ndjson.zst", &zstd[..zstd.len() / 2], "a.ndjson.zst");
    unreadable("a.ndjson.zst", &lines, "a.ndjson.zst");
}

fn parquet(columns: &[(&str, ArrayRef)]) -> Vec<u8> {
    let batch = RecordBatch::try_from_iter(columns.iter().map(|(name, array)| (*name, array.clone()))).unwrap();
    let mut writer = ArrowWriter::try_new(Vec::new(), batch.schema(), None).unwrap();
    writer.write(&batch).unwrap();
    writer.into_inner().unwrap()
}

fn texts(values: &[Option<&str>]) -> ArrayRef {
    std::sync::Arc::new(StringArray::from(values.to_vec()))
}

#[test]
fn parquet_of_every_kind() {
    let ids = || ("id", texts(&[Some("1"), Some("2"), None]));
    let times = || ("at", texts(&[Some(AT), Some(AT), Some(AT)]));
    let file = parquet(&[ids(), times(), ("note", texts(&[None, Some("n"), Some("n")]))]);
    check("a.parquet", &file, 2, &[(2, "\"id\" is a required property")]);
    let amounts: ArrayRef = texts(&[Some("one"), None, None]);
    check("a.parquet", parquet(&[ids(), times(), ("amount", amounts)]), 1, &[(0, "/amount"), (2, "id")]);
    let none: ArrayRef = std::sync::Arc::new(StringArray::from(Vec::<&str>::new()));
    check("a.parquet", parquet(&[("id", none.clone()), ("at", none)]), 0, &[]);

    unreadable("a.parquet", b"PAR1", "a.parquet");
    unreadable("a.parquet", b"", "a.parquet");
    unreadable("a.parquet", order(1), "a.parquet");
    for cut in [file.len() - 1, file.len() / 2, 8] {
        unreadable("a.parquet", &file[..cut], "a.parquet");
    }
    // A footer that says that it is longer than the file.
    let mut long = file.clone();
    let at = long.len() - 8;
    long[at..at + 4].copy_from_slice(&u32::MAX.to_le_bytes());
    unreadable("a.parquet", &long, "a.parquet");
    let twice = parquet(&[ids(), times(), ("note", texts(&[None; 3])), ("id", texts(&[None; 3]))]);
    unreadable("a.parquet", twice, "two columns named \"id\"");
    let members = ["x", "y", "x"].map(|name| {
        (std::sync::Arc::new(arrow_schema::Field::new(name, arrow_schema::DataType::Utf8, true)), texts(&[None; 3]))
    });
    let object: ArrayRef = std::sync::Arc::new(arrow_array::StructArray::from(members.to_vec()));
    unreadable("a.parquet", parquet(&[ids(), times(), ("place", object)]), "two columns named \"place.x\"");
    let mut map = MapBuilder::new(None, StringBuilder::new(), Int64Builder::new());
    for _ in 0..3 {
        map.append(true).unwrap();
    }
    let map: ArrayRef = std::sync::Arc::new(map.finish());
    unreadable("a.parquet", parquet(&[ids(), times(), ("more", map)]), "column more has the type Map");
}

/// Whatever byte of a file is wrong: it is refused, or what is read of it is judged; never a crash.
#[test]
fn parquet_with_any_byte_changed() {
    let ids: Vec<String> = (0..40).map(|id| id.to_string()).collect();
    let ids: Vec<Option<&str>> = ids.iter().map(|id| Some(id.as_str())).collect();
    let amounts: ArrayRef = std::sync::Arc::new(Int64Array::from_iter_values(0..40));
    let file = parquet(&[("id", texts(&ids)), ("at", texts(&[Some(AT); 40])), ("amount", amounts)]);
    let shop = Shop::new();
    let step = file.len() / 60;
    for at in (0..file.len()).step_by(step.max(1)) {
        let mut wrong = file.clone();
        wrong[at] ^= 0x55;
        let output = shop.put("a.parquet", &wrong).batch("a.parquet", &[]);
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(matches!(output.status.code(), Some(0 | 65)), "byte {at}: {:?} {said}", output.status);
    }
}

#[test]
fn inputs_that_are_not_there_or_say_nothing() {
    let shop = Shop::new();
    let made = Command::new("mkfifo").arg(shop.dir.path().join("queue.ndjson")).status().expect("mkfifo, of coreutils");
    assert!(made.success());
    for (input, code, why) in [
        ("none-*.ndjson", 65, "there is no file of this name"),
        ("queue.ndjson", 65, "no regular file"),
        ("[", 2, "--input ["),
        ("shop.yaml", 2, "the name does not say what is in it"),
    ] {
        let output = shop.batch(input, &[]);
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(code), "{input}: {said}");
        assert!(said.contains(why), "{input}: {said}");
    }
    assert!(shop.put("events.txt.part", order(1)).counts("events.txt.part", &["--format", "ndjson"])["counted"] == 1);
}

/// What comes to nothing leaves the results that were there as they were.
#[test]
fn a_batch_that_fails_spoils_no_results() {
    let shop = Shop::new();
    shop.put("a.ndjson", format!("{}\nnothing\n", order(1))).counts("a.ndjson", &[]);
    let there = || ["hourly.csv", "notes.view.ndjson", "rejects.ndjson"].map(|name| shop.out(name));
    let before = there();
    let cut = gzip(&format!("{}\nbroken\n", order(2)).repeat(1_000));
    let failed = shop.put("b.ndjson.gz", &cut[..cut.len() / 2]).batch("b.ndjson.gz", &[]);
    assert_eq!(failed.status.code(), Some(65), "{failed:?}");
    assert_eq!(there(), before);
    shop.put("b.ndjson.gz", &cut).counts("b.ndjson.gz", &[]);
    assert!(shop.out("notes.view.ndjson") != before[1] && shop.rejects().len() == 1_000, "the next one is whole");

    // Killed while its files went to their places, of which one is there.
    let kept = shop.dir.path().join("out/.caudal-batch");
    fs::create_dir(&kept).unwrap();
    fs::write(kept.join("whole"), "rejects.ndjson\nhourly.csv\n").unwrap();
    fs::write(kept.join("hourly.csv"), "of the one that was killed").unwrap();
    assert_eq!(shop.put("b.ndjson.gz", &cut[..cut.len() / 2]).batch("b.ndjson.gz", &[]).status.code(), Some(65));
    assert!(shop.out("hourly.csv") == "of the one that was killed" && shop.rejects().len() == 1_000);
    shop.counts("a.ndjson", &[]);
    let names: Vec<_> =
        fs::read_dir(shop.dir.path().join("out")).unwrap().map(|file| file.unwrap().file_name()).collect();
    assert_eq!(names.len(), 3, "{names:?}");
}

#[test]
fn a_limit_counts_events_whatever_they_are_written_in() {
    let shop = Shop::new();
    let lines: String = (0..3_000).map(|id| format!(" \n{}\n", order(id))).collect();
    let rows: String = (0..3_000).map(|id| format!("{id},{AT},n\n\n")).collect();
    let ids: Vec<String> = (0..3_000).map(|id| id.to_string()).collect();
    let ids: Vec<Option<&str>> = ids.iter().map(|id| Some(id.as_str())).collect();
    shop.put("a.ndjson", &lines).put("a.ndjson.gz", gzip(&lines)).put("a.csv", format!("id,at,note\n{rows}"));
    shop.put("a.parquet", parquet(&[("id", texts(&ids)), ("at", texts(&vec![Some(AT); 3_000]))]));
    for input in ["a.ndjson", "a.ndjson.gz", "a.csv", "a.parquet"] {
        for limit in [0, 1, 2_999, 3_000, 5_000] {
            let summary = shop.counts(input, &["--limit", &limit.to_string()]);
            assert_eq!(summary["counted"], limit.min(3_000), "{input} --limit {limit}: {summary}");
            if limit > 0 {
                let last = shop.out("notes.view.ndjson").lines().count() as u64;
                assert_eq!(last, limit.min(3_000), "{input}: the first events, each of its own key");
            }
        }
    }
}

#[test]
fn a_dry_run_says_what_it_would_read_and_writes_nothing() {
    let shop = Shop::new();
    shop.put("a.ndjson", format!("{}\nnothing\n", order(1)));
    let summary = shop.counts("a.ndjson", &["--dry-run"]);
    assert_eq!((&summary["counted"], &summary["invalid"]), (&1.into(), &1.into()), "{summary}");
    assert_eq!(summary["refused"][0]["position"], order(1).len() + 1);
    assert!(!shop.dir.path().join("out").exists());
}

#[test]
fn results_as_parquet_are_those_of_csv() {
    let shop = Shop::new();
    let lines: String = (0..500).map(|id| order(id).replace("\"n\"", &format!("\"n{}\"", id % 7)) + "\n").collect();
    let csv = shop.put("a.ndjson", &lines).counts("a.ndjson", &[]);
    let rows = shop.out("hourly.csv");
    let parquet = shop.counts("a.ndjson", &["--output-format", "parquet"]);
    assert_eq!(csv["digest"], parquet["digest"]);
    let file = fs::File::open(shop.dir.path().join("out/hourly.parquet")).unwrap();
    let reader = ParquetRecordBatchReaderBuilder::try_new(file).unwrap().build().unwrap();
    let mut found = Vec::new();
    for batch in reader.map(Result::unwrap) {
        let text = |name: &str| batch.column_by_name(name).unwrap().as_string::<i32>().clone();
        let whole = |name: &str| batch.column_by_name(name).unwrap().as_primitive::<Int64Type>().clone();
        let number = batch.column_by_name("price").unwrap().as_primitive::<Float64Type>().clone();
        assert!(batch.column_by_name("window_start").unwrap().null_count() == 0);
        for row in 0..batch.num_rows() {
            found.push(format!(
                "{AT},{},{},{},{},{},{},{}",
                text("note").value(row),
                whole("n").value(row),
                whole("amount").value(row),
                number.value(row),
                whole("paid").value(row),
                text("last").value(row),
                whole("event_count").value(row)
            ));
        }
    }
    assert_eq!(found, rows.lines().skip(1).collect::<Vec<_>>());
    assert_eq!(found.len(), 7);
}

#[test]
fn results_in_a_store_are_those_of_a_folder() {
    let shop = Shop::new();
    let lines: String = (0..500).map(|id| order(id).replace("\"n\"", &format!("\"n{}\"", id % 7)) + "\n").collect();
    shop.put("a.ndjson", format!("{lines}nothing\n")).put("b.ndjson", &lines);
    let folder = shop.counts("a.ndjson", &[]);
    let data = shop.dir.path().join("data");
    let store = |input: &str| {
        let args = ["batch", "--json", "--topic", "order", "--pipeline", "shop.yaml", "--store", "--input", input];
        let mut batch = Command::new(caudal());
        batch.args(args).current_dir(shop.dir.path()).env("DATA_DIR", &data).env_remove("DB_HOST").output().unwrap()
    };
    // A second time it is the same batch, and changes nothing.
    for _ in 0..2 {
        let stored = store("a.ndjson");
        assert!(stored.status.success(), "{}", String::from_utf8_lossy(&stored.stderr));
        let summary: Value = serde_json::from_slice(&stored.stdout).unwrap();
        assert_eq!((&summary["digest"], &summary["counted"]), (&folder["digest"], &500.into()));
        let database = rusqlite::Connection::open(data.join("caudal.sqlite")).unwrap();
        let ask = |sql: &str| database.query_row(sql, [], |row| row.get::<_, i64>(0)).unwrap();
        assert_eq!(ask("SELECT count(*) FROM shop_hourly"), 7);
        assert_eq!(ask("SELECT sum(n) FROM shop_hourly"), 500);
        assert_eq!(ask("SELECT count(*) FROM views"), 500);
        assert_eq!(ask("SELECT count(*) FROM dead_letters"), 1);
        assert_eq!(ask("SELECT counted FROM progress"), 500);
    }
    let other = store("b.ndjson");
    assert_eq!(other.status.code(), Some(78), "{}", String::from_utf8_lossy(&other.stderr));
    assert!(String::from_utf8_lossy(&other.stderr).contains("name a store of its own"));
}

fn generated(dir: &Path, count: u64) {
    let pipeline = crate::support::job::root().join("tests/pipelines/civic_safety/pipeline.yaml");
    let events = dir.join("events.ndjson");
    let made = Command::new(caudal())
        .args([
            "generate",
            "--seed",
            "5",
            "--duplicates",
            "0.05",
            "--invalid",
            "0.01",
            "--count",
            &count.to_string(),
            "--pipeline",
        ])
        .arg(pipeline)
        .arg("--output")
        .arg(&events)
        .output()
        .unwrap();
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
}

/// Until a round of the batch is kept, or it has ended.
fn until_kept(folder: &Path, batch: &mut Child) {
    let has_kept = || {
        let mut files = fs::read_dir(folder).into_iter().flatten().flatten();
        files.any(|file| file.file_name().to_string_lossy().starts_with("checkpoint-"))
    };
    until("a round is kept", || has_kept() || batch.try_wait().unwrap().is_some());
}

/// Each rank of a batch is killed once; it goes on from what it kept and comes to the same results as one that keeps all ids in memory.
#[test]
fn a_batch_that_is_killed_goes_on() {
    let dir = TempDir::new().unwrap();
    generated(dir.path(), 300_000);
    let setup = Setup::new(3, dir.path());
    let pipeline = setup.env["PIPELINES"].clone();
    let start = |output: &str, ids_in_memory: &str, stderr: fs::File| {
        let args = [
            "batch",
            "--json",
            "--pipeline",
            &pipeline,
            "--keep-every",
            "1ms",
            "--input",
            "events.ndjson",
            "--output",
            output,
        ];
        let mut command = setup.command(dir.path(), &args);
        command.stdout(stderr.try_clone().unwrap()).stderr(stderr).env("IDS_IN_MEMORY_MAX", ids_in_memory);
        command.spawn().unwrap()
    };
    let whole = start("whole", "1000000", fs::File::create(dir.path().join("whole.txt")).unwrap()).wait().unwrap();
    assert!(whole.success(), "{}", fs::read_to_string(dir.path().join("whole.txt")).unwrap());
    for victim in 0..3 {
        let (output, log) = (format!("killed{victim}"), dir.path().join(format!("{victim}.txt")));
        let mut script = start(&output, "20000", fs::File::create(&log).unwrap());
        let kept = dir.path().join(&output).join(".caudal-batch");
        until_kept(&kept, &mut script);
        assert!(kept.join("scratch").is_dir(), "ids are sealed");
        Job::signal(setup.rank(victim).expect("the batch runs on"), Signal::KILL);
        let ended = script.wait().unwrap();
        let said = fs::read_to_string(&log).unwrap();
        assert!(ended.success(), "{said}");
        assert!(said.contains("going on after round"), "rank {victim}: {said}");
        for name in ["by_region.csv", "daily.csv", "rejects.ndjson"] {
            let read = |output: &str| fs::read(dir.path().join(output).join(name)).unwrap();
            assert!(read("whole") == read(&output), "{name} differs after rank {victim} was killed");
        }
        assert!(!kept.exists(), "a batch that is done keeps nothing");
    }
}

/// While a batch runs no other one writes where it does; and what it left is taken up only as it left it.
#[test]
fn a_batch_has_its_folder_to_itself() {
    let dir = TempDir::new().unwrap();
    generated(dir.path(), 300_000);
    let kept = dir.path().join("out/.caudal-batch");
    let batch = || {
        let pipeline = crate::support::job::root().join("tests/pipelines/civic_safety/pipeline.yaml");
        let args = ["batch", "--keep-every", "1ms", "--input", "events.ndjson", "--output", "out", "--pipeline"];
        let mut command = Command::new(caudal());
        command.args(args).arg(pipeline).current_dir(dir.path()).stdin(Stdio::null());
        command
    };
    let ends = |code: i32, why: &str| {
        let output = batch().output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.code() == Some(code) && said.contains(why), "{:?}: {said}", output.status);
    };
    let mut first = batch().stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    let first_id = i32::try_from(first.id()).unwrap();
    until_kept(&kept, &mut first);
    Job::signal(first_id, Signal::STOP);
    ends(78, "another batch writes there");
    Job::signal(first_id, Signal::KILL);
    assert!(!first.wait().unwrap().success() && kept.exists(), "it was killed on the way");
    fs::remove_file(kept.join("rejects.ndjson")).unwrap();
    ends(74, "remove .caudal-batch");
    fs::remove_dir_all(&kept).unwrap();
    ends(0, "");
}
