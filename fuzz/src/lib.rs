//! What is done with bytes that may be anything: one function a reader, for cargo-fuzz and for the tests (`tests/it/fuzz/`), which change real inputs at
//! random. Each panics where the reader breaks its word: it panics itself, says nothing of what is wrong, or gives what was not there.

pub mod disk;
pub mod seal;

use std::cell::OnceCell;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, LazyLock};

use bytes::Bytes;
use caudal::bus;
use caudal::bus::group::Name;
use caudal::bus::index::Index;
use caudal::config::{Config, Variables, read_dotenv};
use caudal::coordinator::checkpoint::{Checkpoints, least_progress};
use caudal::coordinator::gather::Draft;
use caudal::core::columns::{Numbering, Slab};
use caudal::core::decode::Decoder;
use caudal::core::decode::identities::{Kind as Identity, fingerprint};
use caudal::core::epoch::Cut;
use caudal::core::keygroup::{Owners, Share};
use caudal::core::ledger::Counts;
use caudal::core::plan::Plan;
use caudal::core::row::WindowRow;
use caudal::core::time;
use caudal::core::trace::Trace;
use caudal::core::units::{Epoch, Generation, LogId, Millis, Offset, TopicId};
use caudal::ingest::lines::{Form, Lines, cut};
use caudal::input::{self, Compression, Format, Input, InputError, Kind, Layout, Stream, Table, lines_of};
use caudal::log::disk::Disk;
use caudal::log::{Log, LogError, Options, Record, Start};
use caudal::pipeline::{Bundle, Configuration, Faults, FileText};
use caudal::store::Progress;
use caudal::store::jsonl::{Asked, Copies, Known};
use caudal::web::cloudevents::Mode;
use caudal::web::coding::{Coding, Inflater};
use caudal::web::params::{Params, escape};
use caudal::web::problem::Problem;
use caudal::web::{Commit, Poll, after_event, idempotency, trace};
use caudal::wire::{self, Message, Section, WireRows};
use hyper::header::{HeaderMap, HeaderName, HeaderValue};
use tempfile::TempDir;

use disk::{Files, MemoryDisk};

/// EVENT_BYTES_MAX, as it is when nobody says otherwise.
const EVENT_BYTES_MAX: usize = 256 << 10;
/// What an encoded body may come to, here.
const INFLATED_BYTES_MAX: usize = 1 << 20;
/// As a server takes them.
const HEADERS_MAX: usize = 100;
/// Pieces that are read of a stream: what was packed may be without end.
const PIECES_MAX: usize = 16;
/// Rows that are read of a Parquet file's row group.
const ROWS_MAX: u64 = 10_000;

/// A pipeline that uses every key of the file, for bodies.
static PLAN: LazyLock<Arc<Plan>> = LazyLock::new(|| plan("every_key"));
static DECODER: LazyLock<Decoder> = LazyLock::new(|| Decoder::new(PLAN.clone(), 7));
/// One with a topic of flat events, for tables.
static FLAT_PLAN: LazyLock<Arc<Plan>> = LazyLock::new(|| plan("sensors"));
static FLAT_DECODER: LazyLock<Decoder> = LazyLock::new(|| Decoder::new(FLAT_PLAN.clone(), 7));
const FLAT: Option<TopicId> = Some(TopicId(0));

/// The files of the checkpoint that is tried.
pub const CHECKPOINT: &str = "checkpoint-00000000000000000007";
pub const IDS: &str = "ids-00000000000000000007";
const CHECKPOINT_OF: LogId = LogId(9);

fn plan(name: &str) -> Arc<Plan> {
    let bundle = Bundle::read(&[root().join("tests/pipelines").join(name).join("pipeline.yaml")]);
    bundle.and_then(|bundle| bundle.pipelines()).unwrap_or_else(|faults| panic!("{faults}")).plan
}

/// The repository, from either package.
pub fn root() -> PathBuf {
    let package = Path::new(env!("CARGO_MANIFEST_DIR"));
    let root = if package.ends_with("fuzz") { package.parent() } else { None };
    root.unwrap_or(package).to_owned()
}

/// An error that a person may see says something.
fn said(error: &impl ToString) {
    assert!(!error.to_string().trim().is_empty(), "refused without a word");
}

fn decoded(decoder: &Decoder, slab: &Slab, rows: usize) {
    let decoded = decoder.decode(slab);
    let fates = decoded.columns.offset.len() + decoded.rejects.len();
    // Of an export those of topics that nobody knows are passed over.
    let is_export = slab.numbering == Numbering::Addressed;
    assert!(fates == rows || (is_export && fates < rows), "each line has one fate: {fates} of {rows}");
    assert!(decoded.rejects.iter().all(|reject| !reject.detail.is_empty()), "refused without a word");
}

/// A request's body, read as JSON and as NDJSON, and each event that is cut out of it.
pub fn body(data: &[u8]) {
    for form in [Form::Json, Form::Ndjson] {
        match cut(Bytes::copy_from_slice(data), form, EVENT_BYTES_MAX) {
            Err(error) => said(&error),
            Ok(lines) => {
                assert!(lines.bytes.len() <= 2 * data.len() + 1, "lines are no longer than what they were cut out of");
                read_lines(lines);
            }
        }
    }
}

fn read_lines(lines: Lines) {
    let ended = lines.bytes.split_inclusive(|b| *b == b'\n').filter(|line| line.ends_with(b"\n")).count();
    assert!(ended == lines.count as usize && lines.bytes.ends_with(b"\n"), "{} lines", lines.count);
    let slab = Slab {
        first_offset: Offset(0),
        count: lines.count,
        ingest: Millis(1_795_348_800_000),
        topic: None,
        bytes: lines.bytes,
        numbering: Numbering::Dense,
    };
    decoded(&DECODER, &slab, slab.count as usize);
}

/// A body with a Content-Encoding: in whatever pieces it comes, it comes to the same, and to no more than it may.
pub fn encoded(data: &[u8]) {
    for coding in [Coding::Gzip, Coding::Zstd] {
        let inflate = |piece: usize| {
            let mut inflater = Inflater::new(coding, INFLATED_BYTES_MAX)?;
            data.chunks(piece).try_for_each(|piece| inflater.feed(piece))?;
            inflater.finish()
        };
        let (whole, pieces) = (inflate(usize::MAX), inflate(13));
        assert_eq!(whole.as_ref().ok(), pieces.as_ref().ok(), "{coding:?} in pieces is something else");
        match whole {
            Ok(bytes) => assert!(bytes.len() <= INFLATED_BYTES_MAX, "{coding:?} came to {} bytes", bytes.len()),
            Err(fault) => said(&fault.problem(|| Problem::bad_request("too large")).detail),
        }
    }
}

/// Headers, a line each, an empty line, and a body: a CloudEvent in whatever mode, an Idempotency-Key, a trace.
pub fn request(data: &[u8]) {
    let at = data.windows(2).position(|pair| pair == b"\n\n");
    let (head, body) = at.map_or((data, &[][..]), |at| (&data[..at], &data[at + 2..]));
    let mut headers = HeaderMap::new();
    for line in head.split(|byte| *byte == b'\n').take(HEADERS_MAX) {
        let Some(colon) = line.iter().position(|byte| *byte == b':') else { continue };
        let name = HeaderName::from_bytes(&line[..colon]);
        if let (Ok(name), Ok(value)) = (name, HeaderValue::from_bytes(line[colon + 1..].trim_ascii())) {
            headers.append(name, value);
        }
    }
    if let Err(problem) = idempotency::key(&headers) {
        said(&problem.detail);
    }
    if let Some(found) = trace(&headers) {
        let again = Trace::parse(found.parent().as_bytes(), found.state().map(str::as_bytes));
        assert_eq!(again, Some(found), "what is shown of a trace is the trace");
    }
    let lines = Mode::of(&headers).and_then(|mode| {
        mode.map(|mode| mode.lines(&headers, Bytes::copy_from_slice(body), EVENT_BYTES_MAX)).transpose()
    });
    match lines {
        Ok(lines) => lines.into_iter().for_each(read_lines),
        Err(problem) => said(&problem.detail),
    }
}

fn options() -> Options {
    Options { segment_bytes: 32 << 10, bytes_max: u64::MAX, low_water_bytes: 0, store_asked: true }
}

/// The slabs of the log in these files; or why it is none.
///
/// # Errors
/// As `Log::open` and its reader say.
pub fn slabs(files: &Files) -> Result<Vec<Slab>, LogError> {
    let (log, recovered) = Log::open(MemoryDisk::with(files), options(), LogId(0), None, Offset(0))?;
    let mut reader = log.reader(recovered.begin);
    let mut slabs: Vec<Slab> = Vec::new();
    let mut end = recovered.begin;
    while let Some(slab) = reader.next_slab()? {
        assert_eq!(slab.first_offset, end, "offsets are dense");
        end = Offset(end.0 + u64::from(slab.count));
        slabs.push(slab);
    }
    assert_eq!(end, recovered.end, "the log has the events that it says");
    Ok(slabs)
}

/// A log of one segment; it has the name that its header asks for.
pub fn segment(data: &[u8]) {
    let number = data.get(32..40).and_then(|bytes| bytes.try_into().ok()).map_or(0, u64::from_le_bytes);
    if let Err(error) = slabs(&Files::from([(format!("segment-{number:020}.log"), data.to_vec())])) {
        said(&error);
    }
}

/// The same with checksums that are right.
pub fn sealed_segment(data: &[u8]) {
    segment(&seal::segment(data));
}

/// Bytes as a file with this ending.
fn in_file<T>(data: &[u8], ending: &str, read: impl FnOnce(&str) -> T) -> T {
    thread_local! {
        static FOLDER: OnceCell<TempDir> = const { OnceCell::new() };
    }
    FOLDER.with(|folder| {
        let folder = folder.get_or_init(|| TempDir::new().unwrap_or_else(|error| panic!("a folder: {error}")));
        let path = folder.path().join(format!("input.{ending}"));
        fs::write(&path, data).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        read(&path.to_string_lossy())
    })
}

fn stream(path: &str, kind: Kind) {
    let input = Input::of(path, None, kind).unwrap_or_else(|error| panic!("{error}"));
    let mut stream = match Stream::open(&input) {
        Ok(stream) => stream,
        Err(error) => return said(&error),
    };
    let mut layout: Option<Layout> = None;
    let mut at = None;
    for _ in 0..PIECES_MAX {
        let piece = match stream.next_piece(ROWS_MAX) {
            Ok(Some(piece)) => piece,
            Ok(None) => return,
            Err(error) => return said(&error),
        };
        assert!(at.is_none_or(|at| piece.start >= at) && piece.end > piece.start, "pieces come one after the other");
        at = Some(piece.end);
        let lines = match kind.format {
            Format::Csv { delimiter } => {
                if layout.is_none() {
                    match Layout::of(&FLAT_PLAN, &piece.header, delimiter) {
                        Ok(of) => layout = Some(of),
                        Err(error) => return said(&error),
                    }
                }
                let Some(layout) = &layout else { return };
                layout.lines(&FLAT_PLAN, FLAT, &piece.records, Offset(piece.start))
            }
            Format::Lines | Format::Parquet => lines_of(FLAT, &piece.records, Offset(piece.start), Numbering::Bytes),
            Format::Export => lines_of(None, &piece.records, Offset(piece.start), Numbering::Addressed),
        };
        decoded(&FLAT_DECODER, &lines.slab, piece.records.count as usize);
    }
}

/// A CSV file.
pub fn csv(data: &[u8]) {
    let kind = Kind { format: Format::Csv { delimiter: b',' }, compression: Compression::None };
    in_file(data, "csv", |path| stream(path, kind));
}

/// An exported log, as a stream reads it.
pub fn export(data: &[u8]) {
    in_file(data, "events", |path| stream(path, Kind { format: Format::Export, compression: Compression::None }));
}

/// NDJSON, packed by gzip.
pub fn gzip(data: &[u8]) {
    in_file(data, "ndjson.gz", |path| stream(path, Kind { compression: Compression::Gzip, ..Kind::LINES }));
}

/// NDJSON, packed by zstd.
pub fn zstd(data: &[u8]) {
    in_file(data, "ndjson.zst", |path| stream(path, Kind { compression: Compression::Zstd, ..Kind::LINES }));
}

/// A Parquet file.
pub fn parquet(data: &[u8]) {
    in_file(data, "parquet", |path| {
        let (groups, table) = match input::groups(path).and_then(|groups| Ok((groups, Table::open(path)?))) {
            Ok(found) => found,
            Err(error) => return said(&error),
        };
        for (number, group) in groups.0.iter().enumerate().take(PIECES_MAX) {
            let read = || -> Result<(), InputError> {
                let mut run = table.run(number, 0, group.rows.min(ROWS_MAX))?;
                loop {
                    let batches = run.batches(1)?;
                    if batches.is_empty() {
                        return Ok(());
                    }
                    for batch in &batches {
                        let (_, decoded) = FLAT_DECODER.decode_table(batch, Offset(0), FLAT);
                        let rows = decoded.columns.offset.len() + decoded.rejects.len();
                        assert_eq!(rows, batch.num_rows(), "each row has one fate");
                    }
                }
            };
            if let Err(error) = read() {
                said(&error);
            }
        }
    });
}

/// A checkpoint of one worker, with remembered ids, as it lies on the disk.
pub fn checkpoint_files(sections: Vec<Section>) -> Files {
    let disk = MemoryDisk::with(&Files::new());
    let (ingest, up, idle) = (Millis(0), Millis(1), None);
    let cut = Cut { epoch: Epoch(7), end: Offset(70), ingest, up, idle, emitted: Epoch(0) };
    let mut draft = Draft::new(cut, Share(0), 1, "a pipeline".into());
    draft.counts = Some(Counts::default());
    draft.take(b"common".to_vec(), sections, true);
    let written = Checkpoints::new(disk.clone(), CHECKPOINT_OF).write(draft);
    written.unwrap_or_else(|error| panic!("it is written to memory: {error}"));
    disk.files()
}

fn remembered() -> Vec<Section> {
    vec![Section { kind: wire::Kind::Ids, key_group: 3, bytes: vec![5; 44] }]
}

/// What says what else there is of a checkpoint.
pub fn checkpoint(data: &[u8]) {
    let mut files = checkpoint_files(remembered());
    files.insert(CHECKPOINT.to_owned(), data.to_vec());
    let log = data.get(20..36).and_then(|bytes| bytes.try_into().ok()).map_or(0, u128::from_le_bytes);
    take_up(&files, LogId(log));
}

/// The same with a checksum that is right.
pub fn sealed_checkpoint(data: &[u8]) {
    checkpoint(&seal::checkpoint(data));
}

/// A file of remembered ids.
pub fn ids(data: &[u8]) {
    let mut files = checkpoint_files(remembered());
    files.insert(IDS.to_owned(), data.to_vec());
    take_up(&files, CHECKPOINT_OF);
}

/// The same with a length and checksums that are right.
pub fn sealed_ids(data: &[u8]) {
    ids(&seal::ids(data));
}

fn take_up(files: &Files, log: LogId) {
    let disk: Arc<dyn Disk> = MemoryDisk::with(files);
    let found = Checkpoints::new(disk.clone(), log).load(Epoch(u64::MAX));
    let found = found.unwrap_or_else(|error| panic!("a directory in memory can be listed: {error}"));
    let known = least_progress(&disk).unwrap_or_else(|error| panic!("likewise: {error}"));
    if let Some(found) = found {
        assert_eq!(known.map(|known| (known.epoch, known.end)), Some(found.at()));
        for restore in found.restores(Owners::new(2)) {
            let (worker, _) = restore.unwrap_or_else(|error| panic!("it was whole a moment ago: {error}"));
            assert!(worker < 2, "a key group without owner");
        }
    }
}

/// A message from another rank.
pub fn message(data: &[u8]) {
    match wire::decode(data.to_vec()) {
        Err(error) => said(&error),
        Ok(message) => {
            assert_eq!(wire::encode(&message), data, "{message:?}");
            if let Message::Report(report) = message {
                match Vec::<WindowRow>::try_from(report.rows) {
                    Err(error) => said(&error),
                    // What was read is what would be written.
                    Ok(rows) => {
                        let again = Vec::try_from(WireRows::from(rows.clone()));
                        let again: Vec<WindowRow> = again.unwrap_or_else(|error| panic!("{error}: {rows:?}"));
                        assert_eq!(format!("{again:?}"), format!("{rows:?}"));
                    }
                }
            }
        }
    }
}

/// A small log, as its only segments are without the one that is open.
fn log() -> Log {
    let (mut log, _) = Log::open(Arc::new(MemoryDisk::default()), options(), LogId(5), None, Offset(0))
        .unwrap_or_else(|error| panic!("{error}"));
    let mut append = |record: &[Record]| {
        log.append(record, Millis(1)).unwrap_or_else(|error| panic!("{error}"));
    };
    append(&[Record::Start(Start { generation: Generation(1), bundle: String::new() })]);
    for first in 0..20 {
        let line = format!("{{\"source\":\"nobody\",\"id\":\"{first}\",\"more\":\"{}\"}}\n", "x".repeat(2_000));
        append(&[Record::Slab(Slab {
            first_offset: Offset(first),
            count: 1,
            ingest: Millis(1),
            topic: None,
            bytes: line.into(),
            numbering: Numbering::Dense,
        })]);
    }
    log
}

/// What the index really has for that log.
pub fn index_files() -> Vec<Vec<u8>> {
    let (log, disk) = (log(), Arc::new(MemoryDisk::default()));
    let index = Index::open(disk.clone(), log.access()).unwrap_or_else(|error| panic!("{error}"));
    while index.make_one(&PLAN).unwrap_or_else(|error| panic!("{error}")) {}
    disk.files().into_values().collect()
}

/// Files of the index for a log: what is in them leads to no offset that a question did not allow.
pub fn index(data: &[u8]) {
    thread_local! {
        static LOG: OnceCell<Log> = const { OnceCell::new() };
    }
    LOG.with(|known| {
        let log = known.get_or_init(log);
        let sealed = seal::index(data);
        for bytes in [data, &sealed] {
            let spans = log.access().sealed();
            let name = |first: &Offset| format!("index-{:020}", first.0);
            let files: Files = spans.iter().map(|span| (name(&span.start), bytes.to_vec())).collect();
            let index = Index::open(MemoryDisk::with(&files), log.access());
            let index = index.unwrap_or_else(|error| panic!("a directory in memory can be listed: {error}"));
            let wanted = [fingerprint(b"7"), data.get(44..52).map_or(0, |_| fingerprint(&data[44..52]))];
            for (wanted, kind) in wanted.iter().zip([Identity::Event, Identity::Correlation]) {
                match index.find(&PLAN, (kind, *wanted), Offset(3), &|| true) {
                    Err(error) => said(&error),
                    Ok(found) => assert!(found.iter().all(|offset| *offset >= Offset(3) && *offset < log.end())),
                }
            }
        }
    });
}

/// Of the log whose audit files are read.
pub const AUDIT_LOG: LogId = LogId(5);

/// A pipeline's audit file, which a life of the job finds: what is whole of it stays as it is, and the next life finds the same.
pub fn audit(data: &[u8]) {
    in_file(data, "jsonl", |path| {
        let path = Path::new(path);
        let (Some(folder), Some(file)) = (path.parent(), path.file_name()) else { panic!("it is in a folder") };
        let (epoch, end, counts) = (Epoch(0), Offset(0), Counts::default());
        let progress = Progress { log: AUDIT_LOG, generation: Generation(1), epoch, end, counts };
        let known = Known { progress, last: Epoch(u64::MAX) };
        let asked = [Asked { pipeline: "every_key".to_owned(), file: file.into(), begins: false }];
        let open = || Copies::open(folder, &asked, PLAN.clone(), u64::MAX, known).map(drop);
        let there = || fs::read(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        if let Err(error) = open() {
            assert_eq!(there(), data, "what is refused is left as it is");
            return said(&error);
        }
        let whole = there();
        assert!(data.starts_with(&whole), "what is not whole is cut off, and nothing else");
        open().unwrap_or_else(|error| panic!("what is left is whole: {error}"));
        assert_eq!(there(), whole);
    });
}

/// A pipeline file, without schemas of its own.
pub fn pipeline(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let file = FileText { file: "fuzz.yaml".to_owned(), text: text.to_owned(), schemas: Vec::new() };
    if let Err(Faults(faults)) = Bundle(vec![file]).pipelines() {
        assert!(!faults.is_empty(), "refused without a word");
        for fault in &faults {
            said(&fault.message);
        }
    }
}

/// What a START or CONFIG record says of the pipelines.
pub fn bundle(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    match Configuration::from_text(text) {
        Err(error) => said(&error),
        Ok(configuration) => {
            let again = Configuration::from_text(&configuration.to_text());
            assert_eq!(again.as_ref(), Ok(&configuration), "what is written is read again");
            drop(configuration.pipelines().map_err(|faults| said(&faults)));
        }
    }
}

/// Whether a number that was taken is written there: as its digits, since no reader takes another form of it.
fn is_written(number: u64, data: &[u8]) -> bool {
    String::from_utf8_lossy(data).contains(&number.to_string())
}

/// The body of a consumer group's poll or commit.
pub fn group(data: &[u8]) {
    match Poll::of(data) {
        Err(problem) => said(&problem.detail),
        Ok(poll) => {
            assert_eq!(Name::parse(poll.ask.member.as_str()), Some(poll.ask.member.clone()));
            let (wait, max, session) = (poll.wait.as_millis() as u64, poll.ask.max as u64, poll.ask.session.0);
            assert!((1..=10_000).contains(&max), "{max}");
            assert!(wait <= 55_000 && (1_000..=3_600_000).contains(&session), "{wait} {session}");
            assert!(max == 100 || is_written(max, data), "{max}");
            assert!(wait == 0 || is_written(wait, data), "{wait}");
            assert!(session == 30_000 || is_written(session, data), "{session}");
            assert!(poll.ask.received.is_none_or(|offset| is_written(offset.0, data)), "{:?}", poll.ask.received);
            if let Some(bus::Start::Offset(offset)) = poll.from {
                // A text may be written with escapes.
                assert!(data.contains(&b'\\') || is_written(offset.0, data), "{offset}");
            }
        }
    }
    match Commit::of(data) {
        Err(problem) => said(&problem.detail),
        Ok(commit) => {
            assert_eq!(Name::parse(commit.member.as_str()), Some(commit.member.clone()));
            assert!(is_written(commit.offset.0, data) && i64::try_from(commit.offset.0).is_ok(), "{}", commit.offset);
        }
    }
}

/// A header `Last-Event-ID`: a stream goes on after the event that it names, and nowhere else.
pub fn last_event(data: &[u8]) {
    match after_event(data) {
        Err(problem) => said(&problem.detail),
        Ok(bus::Start::Offset(next)) => {
            let text = String::from_utf8_lossy(data);
            let written: Result<u128, _> = text.trim().parse();
            assert_eq!(written.map(|last| last + 1), Ok(u128::from(next.0)), "{text:?}");
        }
        Ok(start) => panic!("it names an event, no {start:?}"),
    }
}

/// Query parameters of each kind.
pub fn query(data: &[u8]) {
    /// Escaped it still fits a path.
    const VALUE_BYTES_MAX: usize = 16 << 10;
    const LIMIT_MAX: u32 = 1_000;
    const WORDS: [&str; 2] = ["applied", "none"];
    const NAMES: [&str; 7] = ["limit", "before", "from", "to", "closed", "ack", "group."];
    let Ok(text) = std::str::from_utf8(data) else { return };
    let Ok(uri) = format!("/?{text}").parse() else { return };
    let params = match Params::of(&uri, &NAMES) {
        Err(problem) => return said(&problem.detail),
        Ok(params) => params,
    };
    let written = |name: &str, number: u64| {
        let found = params.get(name).map(str::parse::<u128>);
        assert_eq!(found, Some(Ok(u128::from(number))), "{name}");
    };
    match params.limit(100, LIMIT_MAX) {
        Err(problem) => said(&problem.detail),
        Ok(limit) if params.get("limit").is_none() => assert_eq!(limit, 100),
        Ok(limit) => {
            written("limit", u64::from(limit));
            assert!((1..=LIMIT_MAX).contains(&limit), "{limit}");
        }
    }
    match params.number("before") {
        Err(problem) => said(&problem.detail),
        Ok(number) => {
            assert_eq!(number.is_some(), params.get("before").is_some());
            if let Some(number) = number {
                written("before", number);
            }
        }
    }
    match params.time("to") {
        Err(problem) => said(&problem.detail),
        // The same moment, in UTC.
        Ok(moment) => {
            assert!(moment.is_none_or(|at| time::parse(time::format(at).as_bytes()) == Some(at)), "{moment:?}");
        }
    }
    match params.boolean("closed") {
        Err(problem) => said(&problem.detail),
        Ok(closed) => assert_eq!(closed.map(|closed| closed.to_string()).as_deref(), params.get("closed")),
    }
    match params.word("ack", &WORDS) {
        Err(problem) => said(&problem.detail),
        Ok(word) => assert!(word.is_none_or(|word| WORDS.contains(&word)), "{word:?}"),
    }
    if let Some(text) = params.get("from")
        && let Some(bus::Start::Offset(offset)) = bus::Start::parse(text)
    {
        written("from", offset.0);
    }
    for (key, value) in params.with_prefix("group.") {
        assert!(!key.is_empty(), "a group without a name");
        if value.len() > VALUE_BYTES_MAX {
            continue;
        }
        // As the link to a next page has it.
        let Ok(again) = format!("/?to={}", escape(value)).parse() else { panic!("{value:?} cannot be a link") };
        let again = Params::of(&again, &["to"]).unwrap_or_else(|problem| panic!("{}", problem.detail));
        assert_eq!(again.get("to"), Some(value));
    }
}

/// Bytes or a count, as a variable has them.
fn quantity(text: &str) -> Option<u128> {
    let units = [("KiB", 1 << 10), ("MiB", 1 << 20), ("GiB", 1 << 30)];
    let found = units.iter().find_map(|(unit, factor)| Some((text.strip_suffix(unit)?, *factor)));
    let (number, factor) = found.unwrap_or((text, 1));
    number.trim().parse::<u128>().ok()?.checked_mul(factor)
}

/// The text of a `.env`.
pub fn dotenv(data: &[u8]) {
    let variables = in_file(data, "env", |path| match read_dotenv(Path::new(path)) {
        Ok(variables) => Some(variables),
        Err(error) => {
            said(&error);
            // What could not be read may be a password.
            assert!(error.to_string().len() < path.len() + 200, "it is shown: {error}");
            None
        }
    });
    let Some(variables) = variables else { return };
    // The environment's, which beats the file's: a pattern would look through the disk.
    let file = root().join("pipelines/civic_safety/pipeline.yaml");
    let environment = Variables::from([("PIPELINES".to_owned(), file.to_string_lossy().into_owned())]);
    let (config, warnings) = match Config::from_variables(&environment, &variables) {
        Err(error) => return said(&error),
        Ok(read) => read,
    };
    for warning in warnings.told(&[]) {
        said(&warning);
    }
    let (http, log, limits) = (&config.http, &config.log, &config.limits);
    for (name, taken) in [
        ("HTTP_PORT", u64::from(http.port)),
        ("HTTP_CONNECTIONS_MAX", http.connections_max as u64),
        ("LOG_BYTES_MAX", log.bytes_max),
        ("LOG_SEGMENT_BYTES", log.segment_bytes),
        ("DISK_FREE_BYTES_MIN", log.low_water_bytes),
        ("AUDIT_FILE_BYTES", config.audit_file_bytes),
        ("EVENT_BYTES_MAX", limits.event_bytes as u64),
        ("BODY_BYTES_MAX", limits.body_bytes as u64),
        ("INGEST_QUEUE_MAX", limits.ingest_queue as u64),
        ("INGEST_QUEUE_BYTES_MAX", limits.ingest_queue_bytes as u64),
        ("IDS_MAX", limits.ids),
        ("IDS_IN_MEMORY_MAX", limits.ids_in_memory),
    ] {
        let written = variables.get(name).map(|text| text.trim()).filter(|text| !text.is_empty());
        assert!(written.is_none_or(|text| quantity(text) == Some(u128::from(taken))), "{name}={written:?} is {taken}");
    }
}
