//! Every reader of bytes that come from elsewhere, given real inputs with bytes changed at random: what cargo-fuzz looks for by itself, from seeds and without a
//! nightly compiler. What is done with the bytes, and what must hold, is said in `fuzz/src/lib.rs`; here, too, that no input makes a reader take much memory.

use std::io::Write;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};

use bytes::Bytes;
use caudal::core::columns::{GroupValue, Numbering, Slab};
use caudal::core::epoch::Cut;
use caudal::core::keyed::{Fingerprint, KeyHash, Keyed};
use caudal::core::mend::{Discards, Retry};
use caudal::core::row::{Value, WindowRow};
use caudal::core::trace::{Trace, Traced};
use caudal::core::units::{Epoch, Generation, LogId, Micros, Millis, Offset, TopicId};
use caudal::log::{Config, Log, Options, Record, Start};
use caudal::pipeline::{Bundle, Configuration};
use caudal::wire::{self, Facts, Kind, Message, Open, Parts, Report, Restore, Section};
use rand::seq::IndexedRandom;
use rand::{Rng, RngCore, SeedableRng};
use rand_chacha::ChaCha8Rng;
use rayon::prelude::*;
use uuid::Uuid;

use super::number;
use super::targets::disk::{Files, MemoryDisk};
use super::targets::{self, root};
use crate::support::heap;
use crate::support::keys::pipeline_files;

/// Inputs that are tried of each reader.
const SEEDS: u64 = 500;
/// Of what is packed, a reader may take this much, whatever it unpacks to.
const MEMORY_MAX: usize = 64 << 20;

/// A reader and what it is usually given.
struct Target {
    name: &'static str,
    run: fn(&[u8]),
    corpus: Vec<Vec<u8>>,
}

/// Numbers that stand for lengths and counts, or for none.
const EXTREMES: [u64; 9] = [0, 1, 0x7f, 0xff, 0xffff, 0x7fff_ffff, 0xffff_ffff, 1 << 40, u64::MAX];

/// One change: a bit, some bytes, a length that is huge or off by one, a piece that is gone, doubled, or of another input.
fn change(data: &mut Vec<u8>, other: &[u8], rng: &mut ChaCha8Rng) {
    let piece = |of: &[u8], rng: &mut ChaCha8Rng| {
        let from = rng.random_range(0..=of.len());
        let to = (from + rng.random_range(0..64)).min(of.len());
        if rng.random_bool(0.1) { from..of.len() } else { from..to }
    };
    if data.is_empty() {
        let taken = piece(other, rng);
        data.extend_from_slice(&other[taken]);
        return;
    }
    let at = rng.random_range(0..data.len());
    match rng.random_range(0..8) {
        0 => data[at] ^= 1 << rng.random_range(0..8),
        1 => data[at] = rng.random(),
        2 => {
            let extreme = EXTREMES.choose(rng).unwrap().to_le_bytes();
            let width = [1, 2, 4, 8][rng.random_range(0..4)].min(data.len() - at);
            data[at..at + width].copy_from_slice(&extreme[..width]);
        }
        3 => data[at] = data[at].wrapping_add(if rng.random() { 1 } else { u8::MAX }),
        4 => data.truncate(at),
        5 => drop(data.drain(piece(data, rng))),
        6 => {
            let taken = piece(other, rng);
            data.splice(at..at, other[taken].iter().copied()).for_each(drop);
        }
        _ => {
            let taken = piece(other, rng);
            let end = (at + taken.len()).min(data.len());
            data.splice(at..end, other[taken].iter().copied()).for_each(drop);
        }
    }
}

fn changed(corpus: &[Vec<u8>], rng: &mut ChaCha8Rng) -> Vec<u8> {
    let mut data = corpus.choose(rng).unwrap().clone();
    for _ in 0..rng.random_range(1..=4) {
        change(&mut data, corpus.choose(rng).unwrap(), rng);
    }
    data
}

fn seeds() -> Vec<u64> {
    match number("CAUDAL_FUZZ_SEED") {
        Some(seed) => vec![seed],
        None => (0..number("CAUDAL_FUZZ_SEEDS").unwrap_or(SEEDS)).collect(),
    }
}

/// What the seed stands for, so that a failure names it.
fn guarded<T>(name: &str, seed: u64, work: impl FnOnce() -> T) -> T {
    catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|panic| {
        eprintln!("{name}; to see it again: CAUDAL_FUZZ_SEED={seed} cargo test --release --test it fuzz::bytes::");
        resume_unwind(panic);
    })
}

fn try_all(Target { name, run, corpus }: &Target) {
    // What is made once is not this input's.
    for data in corpus {
        run(data);
    }
    seeds().into_par_iter().for_each(|seed| {
        guarded(name, seed, || {
            let data = changed(corpus, &mut ChaCha8Rng::seed_from_u64(seed));
            let taken = heap::peak(|| run(&data));
            assert!(taken <= MEMORY_MAX + 8 * data.len(), "{} bytes took {taken} bytes of memory", data.len());
        });
    });
}

fn read(path: &str) -> Vec<u8> {
    std::fs::read(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// The first lines of a file.
fn lines(path: &str, count: usize) -> Vec<u8> {
    read(path).split_inclusive(|b| *b == b'\n').take(count).collect::<Vec<_>>().concat()
}

fn events() -> Vec<Vec<u8>> {
    let mut corpus: Vec<Vec<u8>> = ["tests/pipelines/every_key/events.ndjson", "pipelines/civic_safety/events.ndjson"]
        .map(|of| lines(of, 6))
        .into();
    let array = |ndjson: &[u8]| {
        let lines: Vec<&[u8]> = ndjson.split(|b| *b == b'\n').filter(|line| !line.is_empty()).collect();
        [b"[\n ".to_vec(), lines.join(&b",\n "[..]), b"\n]".to_vec()].concat()
    };
    corpus.push(array(&corpus[0]));
    corpus.push(lines("tests/pipelines/every_key/events.ndjson", 1));
    corpus
}

#[test]
fn bodies() {
    try_all(&Target { name: "body", run: targets::body, corpus: events() });
}

#[test]
fn encoded_bodies() {
    let corpus = events().iter().flat_map(|text| packed(text)).chain(packed(&vec![b' '; 8 << 20])).collect();
    try_all(&Target { name: "encoded", run: targets::encoded, corpus });
}

#[test]
fn requests() {
    let trace = "traceparent: 00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01\ntracestate: a=1,b@c=2";
    let event = r#"{"specversion":"1.0","id":"a","source":"/s","type":"t","data":{"a":[1,"é"]}}"#;
    let bad = r#"{"specversion":"1.0","id":"","source":"/s","type":"t","data_base64":"AAEC"}"#;
    let corpus = [
        format!(
            "content-type: application/cloudevents+json\nce-id: a\nidempotency-key: \"a \\\"b\"\n{trace}\n\n{event}"
        ),
        format!("content-type: application/cloudevents-batch+json\nidempotency-key: 7f3a\n\n[{event},\n {bad}, 7]"),
        format!(
            "ce-specversion: 1.0\nce-id: %C3%A9\nce-source: \"/s\"\nce-type: t\ncontent-type: application/json\n{trace}\n\n{event}"
        ),
        "ce-specversion: 1.0\nce-id: a\nce-source: /s\nce-type: t\ncontent-type: text/plain\n\nabc".to_owned(),
    ];
    try_all(&Target { name: "request", run: targets::request, corpus: corpus.map(String::into_bytes).to_vec() });
}

#[test]
fn csv_files() {
    let quoted = b"\xef\xbb\xbfid,at,\"note\",deep.a,deep.b\n1,2026-11-22T12:00:00Z,\"two\nlines, \"\"quoted\"\"\",,1\r\n\n2,x,,y,\n";
    let corpus = vec![lines("tests/pipelines/sensors/events.csv", 12), quoted.to_vec()];
    try_all(&Target { name: "csv", run: targets::csv, corpus });
}

#[test]
fn exported_files() {
    let events = lines("tests/pipelines/sensors/events.ndjson", 12);
    let addressed = |topic: &str| -> Vec<u8> {
        events
            .split_inclusive(|byte| *byte == b'\n')
            .flat_map(|line| [topic.as_bytes(), b"\t", line].concat())
            .collect()
    };
    let corpus = ["reading", "nobody", ""].map(addressed).to_vec();
    try_all(&Target { name: "export", run: targets::export, corpus });
}

fn packed(text: &[u8]) -> [Vec<u8>; 2] {
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    gzip.write_all(text).unwrap();
    [gzip.finish().unwrap(), zstd::encode_all(text, 3).unwrap()]
}

#[test]
fn packed_files() {
    let texts = [lines("tests/pipelines/sensors/events.ndjson", 40), lines("tests/pipelines/sensors/events.ndjson", 1)];
    // Little that unpacks to much.
    let bomb = [vec![b' '; 60_000], vec![b'\n']].concat().repeat(70);
    let (gzips, zstds) = texts.iter().chain([&bomb]).map(|text| packed(text)).map(|[a, b]| (a, b)).unzip();
    try_all(&Target { name: "gzip", run: targets::gzip, corpus: gzips });
    try_all(&Target { name: "zstd", run: targets::zstd, corpus: zstds });
}

/// A line that is too long is refused as one, also where what is kept of it is blank and the event stands behind that.
#[test]
fn blanks_hide_no_event() {
    for blanks in [1, (256 << 10) + 1, 300 << 10, 3 << 20] {
        for end in [&b"\n"[..], b"{}\n", b"\r\n"] {
            let text = [b"{}\n", &vec![b' '; blanks][..], end, b"{}\n"].concat();
            let [gzip, zstd] = packed(&text);
            targets::gzip(&gzip);
            targets::zstd(&zstd);
        }
    }
}

#[test]
fn parquet_files() {
    let corpus = vec![read("tests/pipelines/sensors/events.parquet")];
    try_all(&Target { name: "parquet", run: targets::parquet, corpus });
}

/// A log of several segments with records of every kind: its files, and its slabs.
fn log() -> (Files, Vec<Slab>) {
    let mut rng = ChaCha8Rng::seed_from_u64(11);
    let disk = MemoryDisk::with(&Files::new());
    let options = Options { segment_bytes: 48 << 10, bytes_max: u64::MAX, low_water_bytes: 0, store_asked: true };
    let (mut log, _) = Log::open(disk.clone(), options, LogId(5), None, Offset(0)).unwrap();
    log.append(&[Record::Start(Start { generation: Generation(1), bundle: "first".to_owned() })], Millis(1)).unwrap();
    let mut slabs = Vec::new();
    for epoch in (1..25).map(Epoch) {
        let first = log.end();
        let count = rng.random_range(1..6);
        let text: String = (0..count).map(|n| format!("{{\"id\":\"{n}\",\"at\":{}}}\n", rng.random::<u32>())).collect();
        let slab = Slab {
            first_offset: first,
            count,
            ingest: Millis(epoch.0),
            topic: rng.random::<bool>().then_some(TopicId(epoch.0 as u16)),
            bytes: Bytes::from(text),
            numbering: Numbering::Dense,
        };
        slabs.push(slab.clone());
        let end = Offset(first.0 + u64::from(count));
        let idle = rng.random::<bool>().then_some(Millis(5));
        let cut = Cut { epoch, end, ingest: Millis(epoch.0), up: Millis(epoch.0), idle, emitted: Epoch(epoch.0 - 1) };
        let request = Keyed { key: KeyHash(3), body: Fingerprint(4), first, count, made: "{}".into() };
        let parent = b"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
        let trace = Trace::parse(parent, Some(b"a=1")).unwrap();
        let mut records = vec![
            Record::Retries(vec![Retry { letter: Offset(0), event: first }]),
            Record::Key(request),
            Record::Trace(Traced { first, count, trace }),
            Record::Slab(slab),
        ];
        if rng.random_bool(0.3) {
            records.push(Record::Config(Config { epoch, bundle: "another".into() }));
            records.push(Record::Discards(Discards { epoch, letters: vec![Offset(1), Offset(2)] }));
        }
        records.push(Record::Cut(cut));
        records.push(Record::Emit(epoch));
        log.append(&records, Millis(epoch.0)).unwrap();
    }
    drop(log);
    let mut files = disk.files();
    files.retain(|name, _| name.starts_with("segment-0"));
    assert!(files.len() > 2, "{:?}", files.keys());
    (files, slabs)
}

/// Whatever one of its files becomes, of a log that is opened what is read is what was written, from its beginning.
#[test]
fn what_is_read_of_a_log_is_a_beginning_of_what_was_written() {
    let (files, written) = log();
    let names: Vec<&String> = files.keys().collect();
    let whole = targets::slabs(&files).unwrap();
    let facts = |slab: &Slab| (slab.first_offset, slab.count, slab.ingest, slab.topic, slab.bytes.clone());
    assert!(whole.iter().map(facts).eq(written.iter().map(facts)));
    let opened = seeds().into_par_iter().filter(|seed| {
        guarded("segments", *seed, || {
            let mut rng = ChaCha8Rng::seed_from_u64(*seed);
            let mut files = files.clone();
            // The last one's tail is the only thing that may be torn.
            let name: String =
                if rng.random() { names.last() } else { names.choose(&mut rng) }.map(|n| (*n).clone()).unwrap();
            let others: Vec<Vec<u8>> = files.values().cloned().collect();
            let file = files.get_mut(&name).unwrap();
            let filled = file.iter().rposition(|byte| *byte != 0).unwrap_or_default();
            for _ in 0..rng.random_range(1..=3) {
                // The zeros at its end say little.
                let mut data = file[..=filled.min(file.len() - 1)].to_vec();
                let len = data.len();
                change(&mut data, others.choose(&mut rng).unwrap(), &mut rng);
                data.resize(len, 0);
                file[..len].copy_from_slice(&data);
            }
            match targets::slabs(&files) {
                Ok(found) => {
                    assert!(found.len() <= written.len(), "more than was written");
                    assert!(found.iter().map(facts).eq(written[..found.len()].iter().map(facts)));
                    true
                }
                Err(error) => {
                    assert!(!error.to_string().is_empty());
                    false
                }
            }
        })
    });
    let (opened, tried) = (opened.count() as u64, seeds().len() as u64);
    // Both must happen; otherwise half of it is not tried.
    assert!(tried < SEEDS || (opened > tried / 50 && opened < tried), "{opened} of {tried}");
}

#[test]
fn segments_whose_checksums_are_right() {
    let (files, _) = log();
    // Without the zeros at the end changes are more often of something; the length is made right.
    let filled = |file: Vec<u8>| file[..=file.iter().rposition(|byte| *byte != 0).unwrap()].to_vec();
    let corpus: Vec<Vec<u8>> = files.into_values().map(filled).collect();
    try_all(&Target { name: "segment", run: targets::segment, corpus: corpus.clone() });
    try_all(&Target { name: "sealed segment", run: targets::sealed_segment, corpus });
}

fn sections() -> Vec<Section> {
    let kinds = [Kind::Panes, Kind::Views, Kind::Alerts, Kind::Joins, Kind::Ids];
    (0..).zip(kinds).map(|(group, kind)| Section { kind, key_group: 25 * group, bytes: vec![group; 40] }).collect()
}

#[test]
fn checkpoints() {
    let files = targets::checkpoint_files(sections());
    let corpus = vec![files[targets::CHECKPOINT].clone()];
    try_all(&Target { name: "checkpoint", run: targets::checkpoint, corpus: corpus.clone() });
    try_all(&Target { name: "sealed checkpoint", run: targets::sealed_checkpoint, corpus });
    let corpus = vec![files[targets::IDS].clone()];
    try_all(&Target { name: "ids", run: targets::ids, corpus: corpus.clone() });
    try_all(&Target { name: "sealed ids", run: targets::sealed_ids, corpus });
}

#[test]
fn messages() {
    let slab = Slab {
        first_offset: Offset(3),
        count: 1,
        ingest: Millis(4),
        topic: Some(TopicId(1)),
        bytes: Bytes::from_static(b"{\"a\":1}\n"),
        numbering: Numbering::Dense,
    };
    let open = Open { worker: 1, workers: 3, bundle: "text".to_owned(), id_key: 5, batch: false, sealing: None };
    let parts = Parts { panes: vec![1; 30], views: vec![2; 3], marks: Vec::new(), halves: vec![3] };
    let row = WindowRow {
        metric_id: Uuid::from_u128(8),
        window: 1,
        start: Micros(0),
        end: Micros(5),
        group: vec![GroupValue::Text("north".into()), GroupValue::Null],
        values: vec![Value::Text("north".into()), Value::Integer(1 << 70), Value::Number(0.5)],
        event_count: 3,
        revision: 1,
        closed: true,
        digest: 6,
        epoch: Epoch(3),
    };
    let report = Report { epoch: 3, rows: vec![row.clone(), row].into(), ..Report::default() };
    let messages = [
        Message::Open(open),
        Message::Slab((&slab).into()),
        Message::Restore(Restore::Section(sections().remove(0))),
        Message::Configure { epoch: 9, bundle: "text".to_owned() },
        Message::Ids { epoch: 1, newest: vec![None, Some(7)], entries: vec![4; 60] },
        Message::Panes { epoch: 1, parts },
        Message::Moved { epoch: 2, sections: sections(), last: true },
        Message::CheckpointPart { epoch: 2, common: vec![5; 20], sections: sections(), last: false },
        Message::Ready { pid: 1, host: "host".to_owned(), facts: Facts::default() },
        Message::Consumed { bytes: 1, events: 2 },
        Message::Report(Box::new(report)),
        Message::Heartbeat,
    ];
    let corpus = messages.iter().map(wire::encode).collect();
    try_all(&Target { name: "message", run: targets::message, corpus });
}

#[test]
fn index_files() {
    let corpus = targets::index_files();
    assert!(!corpus.is_empty());
    try_all(&Target { name: "index", run: targets::index, corpus });
}

#[test]
fn pipeline_files_and_bundles() {
    let files = pipeline_files();
    let corpus: Vec<Vec<u8>> = files.iter().map(|path| std::fs::read(path).unwrap()).collect();
    try_all(&Target { name: "pipeline", run: targets::pipeline, corpus });
    let bundle = |path: &std::path::PathBuf| {
        let (mut configuration, _) = Configuration::begin(Bundle::read(std::slice::from_ref(path)).unwrap()).unwrap();
        configuration.lives.begin("x", Epoch(7));
        configuration.to_text().into_bytes()
    };
    let corpus = files.iter().take(3).map(bundle).collect();
    try_all(&Target { name: "bundle", run: targets::bundle, corpus });
}

#[test]
fn audit_files() {
    let epoch = |number: u64, lines: &[&str]| {
        let text: String = lines.iter().map(|line| format!("{line}\n")).collect();
        let sum = crc32c::crc32c(text.as_bytes());
        let (log, count) = (targets::AUDIT_LOG, lines.len());
        let end = format!(
            "{{\"kind\":\"epoch\",\"epoch\":{number},\"log\":\"{log}\",\"lines\":{count},\"crc32c\":\"{sum:08x}\"}}\n"
        );
        text + &end
    };
    let event = r#"{"kind":"event","epoch":1,"log_offset":7,"topic":"t","event_id":"a","body":{"kind":"epoch"}}"#;
    let metric = r#"{"kind":"metric","epoch":2,"metric_id":"00000000-0000-8000-8000-000000000000","metrics":{"n":1}}"#;
    let corpus = [
        epoch(1, &[event, event]) + &epoch(2, &[metric]),
        epoch(1, &[]) + &epoch(2, &[]) + &epoch(9, &[event]),
        epoch(3, &[event]) + event,
    ];
    let corpus: Vec<Vec<u8>> = corpus.map(String::into_bytes).into();
    try_all(&Target { name: "audit", run: targets::audit, corpus });
}

fn texts(of: &[&str]) -> Vec<Vec<u8>> {
    of.iter().map(|text| text.as_bytes().to_vec()).collect()
}

#[test]
fn polls_and_commits() {
    let corpus = texts(&[
        r#"{"member":"worker-1"}"#,
        r#"{"member":"worker_1.a","max":500,"wait_ms":2000,"session_ms":45000,"received":1234,"from":"beginning"}"#,
        r#"{"member":"0","max":10000,"from":7}"#,
        r#"{"member":"a","from":"2026-11-22T12:00:00Z","received":null}"#,
        r#"{"member":"worker-1","offset":9223372036854775807}"#,
        r#"{"offset":0,"member":"\u0061"}"#,
    ]);
    try_all(&Target { name: "group", run: targets::group, corpus });
}

/// A body that could be large is refused before it is read: as JSON that may be anything it costs many times its bytes.
#[test]
fn a_poll_that_is_all_array_takes_no_memory() {
    let body = format!(r#"{{"member":"a","from":[{}0]}}"#, "0,".repeat(4 << 20));
    let taken = heap::peak(|| targets::group(body.as_bytes()));
    assert!(taken < 1 << 20, "{} bytes took {taken} bytes of memory", body.len());
}

#[test]
fn last_event_ids() {
    let corpus = texts(&["0", " 41\t", "18446744073709551614", "18446744073709551615", "+7", "abc"]);
    try_all(&Target { name: "last event", run: targets::last_event, corpus });
}

#[test]
fn query_strings() {
    let corpus = texts(&[
        "limit=50&before=1234&closed=true&ack=applied",
        "from=beginning&to=2026-11-22T12%3A00%3A00%2B01%3A00",
        "from=1234&limit=%2B7&group.district=north%20%26%20south&group.kind=\u{f1}",
        "group.a=%F0%9F%A6%80&group.b=&closed=false&from=2026-11-22T12:00:00.5Z",
    ]);
    try_all(&Target { name: "query", run: targets::query, corpus });
}

#[test]
fn dotenv_files() {
    let given = "export HTTP_PORT = 8080 # here\nDATA_DIR=\"./da\\nta\"\nAPI_TOKENS='a$b,c'\nLOG_BYTES_MAX=\"64 MiB\"\nLOG_SEGMENT_BYTES='2 MiB'\n\
                 DB_HOST=db\nDB_PASSWORD=\"${API_TOKENS}x\"\nHTPP_PORT=1\nLOG_RETENTION=24h\nEVENT_BYTES_MAX=1KiB\nRANKS=3\nIDS_MAX=\n";
    let doubled: String = (1..20).map(|n| format!("A{n}=\"${{A{}}}${{A{}}}\"\n", n - 1, n - 1)).collect();
    let corpus = vec![read(".env.example"), given.into(), format!("A0=x\n{doubled}").into()];
    try_all(&Target { name: "dotenv", run: targets::dotenv, corpus });
}

/// A change is one of a few bytes, and every kind of it comes.
#[test]
fn inputs_are_changed_and_not_made_up() {
    let mut rng = ChaCha8Rng::seed_from_u64(1);
    let mut base = vec![0; 1_000];
    rng.fill_bytes(&mut base);
    let (mut shorter, mut longer, mut same) = (0, 0, 0);
    for _ in 0..500 {
        let mut data = base.clone();
        change(&mut data, &base, &mut rng);
        match data.len().cmp(&base.len()) {
            std::cmp::Ordering::Less => shorter += 1,
            std::cmp::Ordering::Greater => longer += 1,
            std::cmp::Ordering::Equal => same += 1,
        }
    }
    assert!(shorter > 50 && longer > 20 && same > 100, "{shorter} {longer} {same}");
}
