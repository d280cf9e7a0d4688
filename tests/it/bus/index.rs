//! The index of the log: whatever it has, lacks or has damaged, the same events are found as by looking at every line.

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use bytes::Bytes;
use caudal::bus::fetch::Fetched;
use caudal::bus::index::Index;
use caudal::bus::{BusError, Limits, Source};
use caudal::core::columns::{Numbering, Slab};
use caudal::core::decode::identities::{Kind, fingerprint};
use caudal::core::plan::Plan;
use caudal::core::units::{Generation, LogId, Millis, Offset, TopicId};
use caudal::log::disk::{Disk, DiskFile};
use caudal::log::{Log, Options, Record, Start};
use caudal::pipeline::{Bundle, FileText};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde_json::{Value, json};

use crate::sim_disk::SimDisk;

const PIPELINE: &str = "pipeline: shop
topics:
  order:  {schema: any.json}
  refund: {schema: any.json, id: of.id, correlation: ~}
id: id
correlation: about
time: {field: at}
windows:
  hourly: {every: 1h, metrics: {n: count()}}
";
const ANY: &str = r#"{"type": "object", "properties": {"id": {"type": "string"}, "about": {"type": "string"}, "at": {"type": "string"},
    "of": {"type": "object", "properties": {"id": {"type": "string"}}}, "n": {"type": "integer"}}}"#;

fn plan(text: &str) -> Arc<Plan> {
    let schemas = vec![("any.json".to_owned(), ANY.to_owned())];
    let file = FileText { file: "shop.yaml".to_owned(), text: text.to_owned(), schemas };
    Bundle(vec![file]).pipelines().unwrap_or_else(|faults| panic!("{faults}")).plan
}

/// A few ids, so that they come again: UUIDs in both ways, texts, one that must be escaped.
fn id(rng: &mut ChaCha8Rng) -> String {
    let number = rng.random_range(0..12);
    let uuid = format!("9531985d-5d9d-49f8-9818-{number:012x}");
    match rng.random_range(0..5) {
        0 => uuid,
        1 => uuid.to_uppercase(),
        2 => format!("id {number}"),
        3 => format!("\"Ñ\" \\{number}"),
        _ => String::new(),
    }
}

/// Most of them are events; some are refused by the schema, and some are no JSON.
fn line(topic: &str, rng: &mut ChaCha8Rng) -> String {
    let mut event =
        json!({"source": topic, "at": "2026-11-22T12:00:00Z", "id": id(rng), "about": id(rng), "of": {"id": id(rng)}});
    match rng.random_range(0..8) {
        0 => event["n"] = json!("many"),
        1 => event["id"] = json!(7),
        2 => drop(event.as_object_mut().unwrap().remove("about")),
        3 => return event.to_string().replace('}', ""),
        4 => return event.to_string().replace("\"id\"", "\"\\u0069d\"").replace(':', " : "),
        // What looks like the topic's name is none.
        5 => return event.to_string().replacen('{', "{\"first\":{\"source\":\"refund\"},", 1),
        _ => {}
    }
    event.to_string()
}

struct Shop {
    disk: Arc<SimDisk>,
    log: Log,
    /// By offset.
    lines: BTreeMap<u64, (Option<u16>, String)>,
}

impl Shop {
    fn new(seed: u64) -> Self {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let options = Options { segment_bytes: 32 << 10, bytes_max: 1 << 30, low_water_bytes: 0, store_asked: true };
        let (mut log, _) = Log::open(SimDisk::new(seed), options, LogId(5), None, Offset(0)).unwrap();
        let start = Start { generation: Generation(1), bundle: String::new() };
        log.append(&[Record::Start(start)], Millis(1)).unwrap();
        let mut shop = Self { disk: SimDisk::new(!seed), log, lines: BTreeMap::new() };
        shop.take(40, &mut rng);
        shop
    }

    /// So many more frames of events.
    fn take(&mut self, frames: usize, rng: &mut ChaCha8Rng) {
        for _ in 0..frames {
            let topic = [None, Some(0), Some(1)][rng.random_range(0..3)];
            let count = rng.random_range(1..20_u32);
            let name =
                |rng: &mut ChaCha8Rng| ["order", "refund", "nobody"][topic.map_or(rng.random_range(0..3), usize::from)];
            let texts: Vec<String> = (0..count).map(|_| line(name(rng), rng)).collect();
            let slab = Slab {
                first_offset: self.log.end(),
                count,
                ingest: Millis(2),
                topic: topic.map(TopicId),
                bytes: Bytes::from(texts.iter().map(|text| format!("{text}\n")).collect::<String>()),
                numbering: Numbering::Dense,
            };
            self.lines.extend((slab.first_offset.0..).zip(texts.into_iter().map(|text| (topic, text))));
            self.log.append(&[Record::Slab(slab)], Millis(2)).unwrap();
        }
    }

    fn index(&self) -> Index {
        Index::open(self.disk.clone(), self.log.access()).unwrap()
    }

    /// What every line says of its ids, by serde_json.
    fn expected(&self, kind: Kind, wanted: &str, begin: u64) -> Vec<u64> {
        let same = |text: &str| match (uuid::Uuid::parse_str(text), uuid::Uuid::parse_str(wanted)) {
            (Ok(a), Ok(b)) => a == b,
            _ => text == wanted,
        };
        let has = |(topic, line): &(Option<u16>, String)| {
            let Ok(event) = serde_json::from_str::<Value>(line) else { return false };
            let named = match event["source"].as_str() {
                Some("order") => Some(0),
                Some("refund") => Some(1),
                _ => None,
            };
            let id = match (topic.or(named), kind) {
                (Some(0), Kind::Event) => &event["id"],
                (Some(1), Kind::Event) => &event["of"]["id"],
                (Some(0), Kind::Correlation) => &event["about"],
                _ => return false,
            };
            id.as_str().is_some_and(same)
        };
        self.lines.range(begin..).filter(|(_, line)| has(line)).map(|(offset, _)| *offset).collect()
    }

    fn is_json(&self, offset: u64) -> bool {
        serde_json::from_str::<Value>(&self.lines[&offset].1).is_ok()
    }

    fn check(&self, index: &Index, plan: &Arc<Plan>, seed: u64) {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let begin = self.log.access().begin().0;
        for _ in 0..12 {
            let (kind, wanted) = ([Kind::Event, Kind::Correlation][rng.random_range(0..2)], id(&mut rng));
            let from = if rng.random() { begin } else { rng.random_range(begin..self.log.end().0) };
            let found = index.find(plan, (kind, fingerprint(wanted.as_bytes())), Offset(from), &|| true).unwrap();
            let found: Vec<u64> = found.into_iter().map(|offset| offset.0).collect();
            // What is no JSON may have an id where it would stand.
            let found: Vec<u64> = found.into_iter().filter(|offset| self.is_json(*offset)).collect();
            assert_eq!(found, self.expected(kind, &wanted, from), "{kind:?} {wanted:?} from {from}");
        }
    }
}

fn make_all(index: &Index, plan: &Arc<Plan>) -> usize {
    (0..1_000).take_while(|_| index.make_one(plan).unwrap()).count()
}

#[test]
fn what_is_found_does_not_depend_on_what_is_indexed() {
    let plan = plan(PIPELINE);
    let mut made = 0;
    for seed in 0..30 {
        let mut shop = Shop::new(seed);
        let index = shop.index();
        shop.check(&index, &plan, seed);
        while index.make_one(&plan).unwrap() {
            made += 1;
            shop.check(&index, &plan, seed + made);
        }
        // Opened again there is nothing to make; by other ids there is all.
        assert!(!shop.index().make_one(&plan).unwrap());
        shop.check(&shop.index(), &plan, seed);
        let other = self::plan(&PIPELINE.replace("correlation: about\n", ""));
        assert_eq!(make_all(&shop.index(), &other), shop.log.access().sealed().len());
        assert_eq!(make_all(&index, &plan), 0, "it has its own in memory");
        // Segments go, and their files with them.
        let half = Offset(shop.log.end().0 / 2);
        while shop.log.retain(half, None).unwrap() {}
        let index = shop.index();
        make_all(&index, &plan);
        assert_eq!(shop.disk.files().len(), shop.log.access().sealed().len());
        shop.check(&index, &plan, seed);
    }
    assert!(made > 60, "{made} segments");
}

/// While the log grows under it, and is cut off at its beginning.
#[test]
fn what_comes_is_found() {
    let plan = plan(PIPELINE);
    let other = self::plan(&PIPELINE.replace("correlation: about\n", ""));
    let mut sealed = 0;
    for seed in 100..115 {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let mut shop = Shop::new(seed);
        let index = shop.index();
        for turn in 0..60 {
            shop.take(rng.random_range(0..6), &mut rng);
            match rng.random_range(0..6) {
                0 => shop.check(&index, &plan, seed + turn),
                1 => sealed += make_all(&index, &plan),
                2 if rng.random_bool(0.2) => drop(index.make_one(&other).unwrap()),
                3 if rng.random_bool(0.2) => drop(shop.log.retain(Offset(shop.log.end().0 / 2), None).unwrap()),
                _ => drop(index.make_one(&plan).unwrap()),
            }
        }
        shop.check(&index, &plan, seed);
        make_all(&index, &plan);
        // Its files say the same to one who did not see the log grow.
        let files = shop.disk.files().len();
        assert_eq!(files, shop.log.access().sealed().len());
        let again = shop.index();
        assert!(!again.make_one(&plan).unwrap());
        shop.check(&again, &plan, !seed);
    }
    assert!(sealed > 40, "{sealed} segments");
}

#[test]
fn a_damaged_index_is_no_index() {
    let plan = plan(PIPELINE);
    let shop = Shop::new(7);
    make_all(&shop.index(), &plan);
    let whole = shop.disk.files();
    let (name, bytes) = whole.iter().next().unwrap();
    for at in (0..bytes.len()).step_by(bytes.len() / 200) {
        let mut files = whole.clone();
        files.get_mut(name).unwrap()[at] ^= 0x10;
        let index = Index::open(SimDisk::with_files(1, files), shop.log.access()).unwrap();
        shop.check(&index, &plan, at as u64);
        assert!(index.make_one(&plan).unwrap(), "byte {at} is not noticed");
    }
    for length in [0, 8, 43, bytes.len() - 1] {
        let mut files = whole.clone();
        files.get_mut(name).unwrap().truncate(length);
        let index = Index::open(SimDisk::with_files(1, files), shop.log.access()).unwrap();
        shop.check(&index, &plan, 1);
        assert!(index.make_one(&plan).unwrap(), "cut to {length} bytes");
    }
}

/// Wherever it dies, what is there at the next start is whole or nothing.
#[test]
fn an_index_that_dies_in_the_making_is_made_again() {
    let plan = plan(PIPELINE);
    let mut shop = Shop::new(9);
    let all = shop.log.access().sealed().len();
    let mut died = 0;
    for after in 0..100 {
        shop.disk = SimDisk::new(after);
        shop.disk.die_after(after);
        let index = shop.index();
        let ended = (0..1_000).map(|_| index.make_one(&plan)).find(|made| !matches!(made, Ok(true))).unwrap();
        died += u64::from(ended.is_err());
        shop.check(&index, &plan, after);
        shop.disk = if after % 2 == 0 { shop.disk.crash() } else { shop.disk.kill() };
        let index = shop.index();
        shop.check(&index, &plan, after);
        assert!(make_all(&index, &plan) <= all);
        shop.check(&index, &plan, after);
    }
    assert!(died > 10, "{died}");
}

const ALL: Limits = Limits { events: usize::MAX, bytes: usize::MAX, scanned: usize::MAX, until: Offset(u64::MAX) };

/// One fetch after the other, each up to some limit: it is held to, and each gets on.
fn pages(source: &Source, plan: &Arc<Plan>, wanted: &[Offset], rng: &mut ChaCha8Rng) -> Vec<Fetched> {
    let mut fetched = Vec::new();
    while fetched.len() < wanted.len() {
        let limits = match rng.random_range(0..4) {
            0 => Limits { events: rng.random_range(1..20), ..ALL },
            1 => Limits { bytes: rng.random_range(1..5_000), ..ALL },
            2 => Limits { scanned: rng.random_range(1..20_000), ..ALL },
            _ => ALL,
        };
        let page = source.fetch(plan, &wanted[fetched.len()..], &limits).unwrap();
        assert!(!page.is_empty() && page.len() <= limits.events);
        let before: usize = page[..page.len() - 1].iter().map(|event| event.line.len()).sum();
        assert!(before < limits.bytes, "the one that passes the limit is the last");
        fetched.extend(page);
    }
    fetched
}

/// One whose events are not looked at any more ends at once; so does a fetch that has looked at enough of the log.
#[test]
fn a_search_is_bounded() {
    let plan = plan(PIPELINE);
    let shop = Shop::new(3);
    let asked = std::cell::Cell::new(0);
    let is_waited_for = || asked.replace(asked.get() + 1) < 3;
    let wanted = (Kind::Event, fingerprint(b"id 1"));
    let found = shop.index().find(&plan, wanted, Offset(0), &is_waited_for);
    assert!(matches!(found, Err(BusError::GivenUp)), "{found:?}");
    assert_eq!(asked.get(), 4);
    let source = Source::default();
    source.open(shop.log.access());
    let every: Vec<Offset> = shop.lines.keys().copied().map(Offset).collect();
    let page = source.fetch(&plan, &every, &Limits { scanned: 1, ..ALL }).unwrap();
    assert!(page.len() < 20, "it has looked at one slab: {}", page.len());
}

/// A disk that removes nothing for a while.
struct Stubborn {
    disk: Arc<SimDisk>,
    refuses: AtomicBool,
}

impl Disk for Stubborn {
    fn list(&self) -> io::Result<Vec<String>> {
        self.disk.list()
    }
    fn create(&self, name: &str, len: u64) -> io::Result<Arc<dyn DiskFile>> {
        self.disk.create(name, len)
    }
    fn open(&self, name: &str) -> io::Result<Arc<dyn DiskFile>> {
        self.disk.open(name)
    }
    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        self.disk.rename(from, to)
    }
    fn remove(&self, name: &str) -> io::Result<()> {
        if self.refuses.load(Ordering::Relaxed) {
            return Err(io::ErrorKind::PermissionDenied.into());
        }
        self.disk.remove(name)
    }
    fn sync_directory(&self) -> io::Result<()> {
        self.disk.sync_directory()
    }
    fn free_bytes(&self) -> io::Result<u64> {
        self.disk.free_bytes()
    }
    fn path(&self, name: &str) -> String {
        self.disk.path(name)
    }
}

/// A file that could not be removed with its segment is removed later; one that is gone already is no trouble.
#[test]
fn what_could_not_be_removed_is_removed_later() {
    let plan = plan(PIPELINE);
    let mut shop = Shop::new(11);
    let disk = Arc::new(Stubborn { disk: shop.disk.clone(), refuses: AtomicBool::new(true) });
    let index = Index::open(disk.clone(), shop.log.access()).unwrap();
    make_all(&index, &plan);
    while shop.log.retain(Offset(shop.log.end().0 / 2), None).unwrap() {}
    let (files, sealed) = (shop.disk.files(), shop.log.access().sealed().len());
    assert!(files.len() > sealed + 1, "two segments are gone: {} of {}", files.len(), sealed);
    index.make_one(&plan).unwrap_err();
    // The first one was tried; the second is taken away by somebody else.
    shop.disk.remove(files.keys().nth(1).unwrap()).unwrap();
    disk.refuses.store(false, Ordering::Relaxed);
    make_all(&index, &plan);
    assert_eq!(shop.disk.files().len(), sealed);
}

/// Events at any offsets, out of any slabs.
#[test]
fn events_are_fetched_by_their_offsets() {
    let plan = plan(PIPELINE);
    for seed in 0..20 {
        let shop = Shop::new(seed);
        let source = Source::default();
        source.open(shop.log.access());
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let often = [0.01, 0.3, 1.0][rng.random_range(0..3)];
        let wanted: Vec<Offset> = shop.lines.keys().filter(|_| rng.random_bool(often)).map(|at| Offset(*at)).collect();
        let fetched = pages(&source, &plan, &wanted, &mut rng);
        assert_eq!(fetched.iter().map(|event| event.offset).collect::<Vec<_>>(), wanted);
        for event in fetched {
            let (topic, line) = &shop.lines[&event.offset.0];
            assert_eq!(event.line, line.as_bytes());
            let Some(read) = event.read else { continue };
            let value: Value = serde_json::from_str(line).unwrap();
            assert!(topic.is_none_or(|topic| topic == read.topic.0));
            let id = if read.topic == TopicId(0) { &value["id"] } else { &value["of"]["id"] };
            assert_eq!(read.id.as_deref(), id.as_str());
        }
    }
    let shop = Shop::new(1);
    let source = Source::default();
    source.open(shop.log.access());
    let beyond = source.fetch(&plan, &[shop.log.end()], &ALL).unwrap_err();
    assert!(beyond.to_string().contains("is not in the log"), "{beyond}");
}
