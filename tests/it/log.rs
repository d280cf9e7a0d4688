//! The log on a crashing disk: every cut and every flipped bit of a small log, random lives with crashes, rotation, retention, space.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use caudal::core::columns::{Numbering, Slab};
use caudal::core::epoch::Cut;
use caudal::core::keyed::{Fingerprint, KeyHash, Keyed};
use caudal::core::mend::{Discards, Mends, Retry};
use caudal::core::trace::{Trace, Traced};
use caudal::core::units::{Epoch, Generation, LogId, Millis, Offset, TopicId};
use caudal::log::disk::{Disk, FileDisk};
use caudal::log::{Access, Config, Log, LogError, Options, Proof, Reader, Record, Recovered, Start};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use tempfile::TempDir;

use crate::sim_disk::SimDisk;

const ID: LogId = LogId(0x0123_4567_89ab_cdef_0123_4567_89ab_cdef);
const SMALL: Options = Options { segment_bytes: 16 << 10, bytes_max: u64::MAX, low_water_bytes: 0, store_asked: true };

/// A slab of `count` lines that are like no other slab's.
fn slab(first: u64, count: u32, ingest: u64) -> Record {
    let lines: String = (0..u64::from(count)).map(|n| format!("{{\"n\":{}}}\n", first + n)).collect();
    slab_of(first, count, ingest, lines)
}

fn slab_of(first: u64, count: u32, ingest: u64, lines: impl Into<Vec<u8>>) -> Record {
    Record::Slab(Slab {
        first_offset: Offset(first),
        count,
        ingest: Millis(ingest),
        topic: (!first.is_multiple_of(3)).then_some(TopicId(first as u16)),
        bytes: Bytes::from(lines.into()),
        numbering: Numbering::Dense,
    })
}

fn cut(epoch: u64, end: u64, idle: bool) -> Record {
    let idle = idle.then_some(Millis(epoch + 2));
    Record::Cut(Cut {
        epoch: Epoch(epoch),
        end: Offset(end),
        ingest: Millis(epoch),
        up: Millis(epoch + 1),
        idle,
        emitted: Epoch(0),
    })
}

fn start(generation: u64) -> Record {
    Record::Start(Start { generation: Generation(generation), bundle: format!("pipeline: p{generation}") })
}

fn retries(pairs: &[(u64, u64)]) -> Record {
    let retry = |&(letter, event)| Retry { letter: Offset(letter), event: Offset(event) };
    Record::Retries(pairs.iter().map(retry).collect())
}

fn discards(epoch: u64, letters: &[u64]) -> Record {
    Record::Discards(Discards { epoch: Epoch(epoch), letters: letters.iter().copied().map(Offset).collect() })
}

fn config(epoch: u64) -> Record {
    Record::Config(Config { epoch: Epoch(epoch), bundle: format!("pipeline: c{epoch}").into() })
}

/// Of the events from `first` on; no other's of this key.
fn key(key: u64, first: u64, count: u32) -> Record {
    let (key, body) = (KeyHash(u128::from(key)), Fingerprint(u128::from(key) << 64));
    Record::Key(Keyed { key, body, first: Offset(first), count, made: format!("{{\"n\":{first}}}").into() })
}

fn trace(first: u64, count: u32) -> Record {
    let parent = format!("00-{:032x}-{:016x}-01", first + 1, count);
    let state = (first % 2 == 1).then_some("vendor=é".as_bytes()).or(Some(b"vendor=value"));
    let trace = Trace::parse(parent.as_bytes(), state).unwrap();
    Record::Trace(Traced { first: Offset(first), count, trace })
}

fn open(disk: &Arc<SimDisk>) -> Result<(Log, Recovered), LogError> {
    Log::open(disk.clone(), SMALL, ID, None, Offset(0))
}

/// All that is told apart about a record.
fn shown(record: &Record) -> String {
    format!("{record:?}")
}

fn drain(reader: &mut Reader) -> Vec<String> {
    let mut slabs = Vec::new();
    while let Some(slab) = reader.next_slab().unwrap() {
        slabs.push(shown(&Record::Slab(slab)));
    }
    slabs
}

/// Slabs, cuts, epochs whose emissions there are, the newest start with the bundle that holds, what was done to dead letters, changes of the bundle, and requests with
/// a key, as written.
type Content = (Vec<String>, Vec<Cut>, Vec<Epoch>, Option<Start>, Mends, Vec<(Epoch, Arc<str>)>, Vec<Keyed>);

fn content_of<'a>(records: impl IntoIterator<Item = &'a Record>) -> Content {
    let mut content = Content::default();
    for record in records {
        match record {
            Record::Slab(_) => content.0.push(shown(record)),
            Record::Cut(cut) => content.1.push(*cut),
            Record::Emit(epoch) => content.2.push(*epoch),
            Record::Start(start) => content.3 = Some(start.clone()),
            Record::Retries(retries) => content.4.retries.extend(retries),
            Record::Discards(discards) => content.4.discards.push(discards.clone()),
            Record::Key(request) => content.6.push(request.clone()),
            Record::Trace(_) => {}
            Record::Config(Config { epoch, bundle }) => {
                content.5.push((*epoch, bundle.clone()));
                content.3.iter_mut().for_each(|start| start.bundle = bundle.to_string());
            }
        }
    }
    content
}

fn content_in(log: &Log, recovered: Recovered) -> Content {
    let emits = recovered.emits.iter().map(|(epoch, _)| *epoch).collect();
    (
        drain(&mut log.reader(recovered.begin)),
        recovered.cuts,
        emits,
        recovered.start,
        recovered.mends,
        recovered.changes,
        recovered.keys.into_iter().map(|logged| logged.request).collect(),
    )
}

/// The end of what an error says, for tables of cases.
fn kind(error: &LogError) -> &'static str {
    match error {
        LogError::Damaged { .. } => "damaged",
        LogError::Mismatch(_) => "mismatch",
        LogError::Full => "full",
        LogError::DiskFull => "disk full",
        LogError::Unproven { .. } => "unproven",
        LogError::Io { .. } => "io",
    }
}

fn failure<T>(result: Result<T, LogError>) -> &'static str {
    result.err().map_or("none", |e| kind(&e))
}

#[test]
fn what_was_appended_is_read_beside_the_writer_and_after_reopening_on_real_files() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("a/log");
    let open = || Log::open(Arc::new(FileDisk::open(&path).unwrap()), SMALL, ID, None, Offset(0)).unwrap();
    let (mut log, recovered) = open();
    assert_eq!((recovered.id, recovered.start, recovered.end), (ID, None, Offset(0)));
    let mut reader = log.reader(Offset(0));
    // The last frame's clock has gone back.
    let frames = [
        (5, vec![start(1)]),
        (10, vec![slab(0, 2, 10), slab(2, 700, 10), cut(1, 702, false)]),
        (11, vec![retries(&[(3, 702), (1, 2201)]), key(7, 702, 1500), trace(703, 9), slab(702, 1500, 11)]),
        (9, vec![discards(2, &[2, 600]), cut(2, 2202, true)]),
    ];
    let mut ends = Vec::new();
    for (ingest, frame) in &frames {
        ends.push(log.append(frame, Millis(*ingest)).unwrap().end.0);
        assert_eq!(drain(&mut reader), content_of(frame).0);
    }
    assert_eq!(ends, [0, 702, 2202, 2202]);
    assert_eq!(log.ingest(), Millis(11));
    drop(log);
    let (log, recovered) = open();
    assert_eq!((recovered.end, recovered.truncated_bytes, recovered.ingest), (Offset(2202), 0, Millis(11)));
    assert_eq!(content_in(&log, recovered), content_of(frames.iter().flat_map(|(_, records)| records)));
}

/// Discards without their epoch's cut are in no log that was written by us: it is refused, with the reason.
#[test]
fn discards_that_stand_alone_are_refused() {
    let cases = [
        vec![discards(2, &[1])],
        vec![discards(2, &[1]), cut(3, 2, false)],
        vec![cut(2, 2, false), discards(2, &[1])],
        vec![config(2)],
        vec![config(2), cut(3, 2, false)],
        vec![discards(2, &[1]), config(3), cut(3, 2, false)],
        vec![cut(2, 2, false), config(2)],
    ];
    for bad in cases {
        let disk = SimDisk::new(0);
        let (mut log, _) = open(&disk).unwrap();
        log.append(&[start(1), slab(0, 2, 1)], Millis(1)).unwrap();
        log.append(&bad, Millis(2)).unwrap();
        log.append(&[start(2)], Millis(3)).unwrap();
        drop(log);
        let error = open(&disk).err().expect("a refusal").to_string();
        assert!(error.contains("discards, or a change of the pipelines, without their epoch's cut"), "{error}");
    }
}

const THREE_SEGMENTS_END: Offset = Offset(11);

/// Three segments, each filled; the frames they hold.
fn three_segments() -> (BTreeMap<String, Vec<u8>>, Vec<Vec<Record>>) {
    let frames = vec![
        vec![start(1)],
        vec![slab(0, 2, 1), cut(1, 2, false)],
        vec![slab(2, 3, 2)],
        vec![slab(5, 1, 2), cut(2, 6, false)],
        vec![start(2)],
        vec![config(3), cut(3, 6, true), key(1, 6, 1), trace(6, 2), slab(6, 2, 3)],
        vec![slab(8, 1, 4), slab(9, 2, 4), discards(4, &[0]), config(4), cut(4, 11, false)],
    ];
    let disk = SimDisk::new(0);
    let (mut log, _) = open(&disk).unwrap();
    for frame in &frames {
        let ingest = frame.iter().find_map(|r| if let Record::Slab(s) = r { Some(s.ingest) } else { None });
        log.append(frame, ingest.unwrap_or_default()).unwrap();
    }
    let mut files = disk.files();
    files.remove("segment-next.tmp");
    assert_eq!((files.len(), log.end()), (3, THREE_SEGMENTS_END));
    (files, frames)
}

/// Opens a damaged log: it is refused, or has all, or lacks the last frame where that is what may be missing. True if it opens.
fn open_damaged(
    what: &str,
    files: BTreeMap<String, Vec<u8>>,
    all: &Content,
    short: Option<&Content>,
    proof: bool,
) -> bool {
    let proof = proof.then_some(Proof { log: ID, end: THREE_SEGMENTS_END });
    match Log::open(SimDisk::with_files(0, files), SMALL, ID, proof, Offset(0)) {
        Ok((log, recovered)) => {
            let content = content_in(&log, recovered);
            assert!(content == *all || (proof.is_none() && Some(&content) == short), "{what}: {content:?}");
            true
        }
        Err(error) => {
            assert_eq!(kind(&error), "damaged", "{what}: {error}");
            false
        }
    }
}

#[test]
fn a_log_cut_at_any_byte_is_refused() {
    let (files, frames) = three_segments();
    let all = content_of(frames.iter().flatten());
    for name in files.keys() {
        for len in 0..files[name].len() {
            let mut files = files.clone();
            files.get_mut(name).unwrap().truncate(len);
            assert!(!open_damaged(&format!("{name} cut at {len}"), files, &all, None, false));
        }
    }
    for name in files.keys().take(2) {
        let mut files = files.clone();
        files.remove(name);
        let opened =
            Log::open(SimDisk::with_files(0, files), SMALL, ID, Some(Proof { log: ID, end: Offset(1) }), Offset(0));
        assert!(matches!(opened, Err(LogError::Damaged { .. } | LogError::Mismatch(_))), "without {name}");
    }
}

/// Without proof, the last frame's own damage cannot be told from a write that was torn before it was acknowledged; with it, it can.
#[test]
fn a_flipped_bit_changes_nothing_or_is_refused() {
    let (files, frames) = three_segments();
    let all = content_of(frames.iter().flatten());
    let short = content_of(frames.iter().rev().skip(1).rev().flatten());
    let (mut opened, mut refused) = (0, 0);
    for name in files.keys() {
        let last = name.ends_with("3.log");
        let last_frame = files[name].chunks(4096).rposition(|page| page.iter().any(|&b| b != 0)).unwrap();
        for at in 0..files[name].len() {
            let in_last_frame = last && at / 4096 >= last_frame;
            for bit in 0..8 {
                let mut files = files.clone();
                files.get_mut(name).unwrap()[at] ^= 1 << bit;
                let what = format!("{name}, byte {at}, bit {bit}");
                let may_lack = in_last_frame.then_some(&short);
                let ok = open_damaged(&what, files, &all, may_lack, bit % 2 == 1);
                opened += u64::from(ok);
                refused += u64::from(!ok);
            }
        }
    }
    assert!(opened > 1000 && refused > 1000, "{opened} opened, {refused} refused");
}

/// One frame of zeros, or an older frame in a newer one's place, is a gap and not the end.
#[test]
fn a_page_lost_or_in_a_wrong_place_is_never_passed_over() {
    let (files, frames) = three_segments();
    let all = content_of(frames.iter().flatten());
    let short = content_of(frames.iter().rev().skip(1).rev().flatten());
    for name in files.keys() {
        for page in 0..4 {
            let mut zeroed = files.clone();
            zeroed.get_mut(name).unwrap()[page * 4096..(page + 1) * 4096].fill(0);
            let last_frame = name.ends_with("3.log") && page == 3;
            open_damaged(&format!("{name}, page {page} of zeros"), zeroed, &all, last_frame.then_some(&short), false);
            for (other, from) in files.keys().flat_map(|other| (0..4).map(move |from| (other, from))) {
                let mut moved = files.clone();
                let bytes = files[other][from * 4096..(from + 1) * 4096].to_vec();
                moved.get_mut(name).unwrap()[page * 4096..(page + 1) * 4096].copy_from_slice(&bytes);
                let what = format!("{name}, page {page} from {other}, page {from}");
                open_damaged(&what, moved, &all, last_frame.then_some(&short), false);
            }
        }
    }
}

/// A life: opens the log, compares with what was acknowledged, appends until something fails or it has had enough. Gives what it appended.
struct Lives {
    rng: ChaCha8Rng,
    seed: u64,
    /// Frames that were acknowledged; retention only takes from the front of what is read.
    acknowledged: Vec<Vec<Record>>,
    /// The frame whose fate is open.
    doubtful: Option<Vec<Record>>,
    needed_from: Offset,
    retained: bool,
    generation: u64,
    epoch: u64,
    emitted: u64,
    ingest: u64,
}

impl Lives {
    fn end(&self) -> u64 {
        let slabs = self.acknowledged.iter().flatten();
        slabs.map(|r| if let Record::Slab(s) = r { u64::from(s.count) } else { 0 }).sum()
    }

    /// The proof of a store that has committed some of what was acknowledged, and not less than what was said not to be needed.
    fn open(&mut self, disk: &Arc<SimDisk>) -> Option<Log> {
        let from = self.needed_from.0;
        let proof = Proof { log: ID, end: Offset(self.rng.random_range(from..=self.end())) };
        let proof = (self.generation > 0 && self.rng.random()).then_some(proof);
        let verify_from = if self.rng.random() { Offset(0) } else { Offset(self.rng.random_range(from..=self.end())) };
        let (log, recovered) = match Log::open(disk.clone(), SMALL, ID, proof, verify_from) {
            Ok(opened) => opened,
            Err(LogError::Io { .. }) => return None,
            Err(error) => panic!("seed {}: {error}", self.seed),
        };
        self.compare(&log, recovered, verify_from);
        Some(log)
    }

    fn compare(&mut self, log: &Log, recovered: Recovered, verify_from: Offset) {
        let seed = self.seed;
        if let Some(doubtful) = self.doubtful.take() {
            let with = content_of(self.acknowledged.iter().flatten().chain(&doubtful));
            let slabs = with.0.len() > content_of(self.acknowledged.iter().flatten()).0.len();
            let there = if slabs { recovered.end.0 > self.end() } else { recovered.cuts.last() == with.1.last() };
            if there {
                self.acknowledged.push(doubtful);
            }
        }
        assert_eq!(recovered.end.0, self.end(), "seed {seed}");
        assert!(recovered.begin <= self.needed_from, "seed {seed}: {} was needed", self.needed_from);
        let all = content_of(self.acknowledged.iter().flatten());
        let slabs = drain(&mut log.reader(recovered.begin));
        assert!(all.0.ends_with(&slabs) && (self.retained || slabs.len() == all.0.len()), "seed {seed}: slabs");
        let from_needed = drain(&mut log.reader(self.needed_from));
        assert!(slabs.ends_with(&from_needed), "seed {seed}: slabs from {}", self.needed_from);
        // A start is doubtful too; one that is there and was not acknowledged does no harm.
        // What holds is copied with each new segment, and outlives the one of its record.
        let same_life = |found: &Start, start: &Start| found.generation == start.generation;
        if let (Some(found), Some(start)) = (&recovered.start, &all.3) {
            assert!(!same_life(found, start) || found == start, "seed {seed}: {found:?} is not {start:?}");
        }
        let start = recovered.start.map_or(0, |s| s.generation.0);
        assert!((all.3.map_or(0, |s| s.generation.0)..=self.generation).contains(&start), "seed {seed}: start {start}");
        assert!(all.1.ends_with(&recovered.cuts), "seed {seed}: cuts");
        let emits: Vec<Epoch> = recovered.emits.iter().map(|(epoch, _)| *epoch).collect();
        assert!(all.2.ends_with(&emits), "seed {seed}: emissions");
        assert!(self.retained || verify_from > Offset(0) || emits.len() == all.2.len(), "seed {seed}: emissions");
        assert!(all.5.ends_with(&recovered.changes), "seed {seed}: changes");
        let keys: Vec<Keyed> = recovered.keys.iter().map(|logged| logged.request.clone()).collect();
        assert!(all.6.ends_with(&keys), "seed {seed}: keys");
        let needed = all.6.iter().filter(|request| request.first >= verify_from.max(self.needed_from)).count();
        assert!(keys.len() >= needed, "seed {seed}: {} of {needed} keys", keys.len());
        let (of_all, found) = (&all.4, &recovered.mends);
        assert!(of_all.retries.ends_with(&found.retries), "seed {seed}: retries");
        assert!(of_all.discards.ends_with(&found.discards), "seed {seed}: discards");
        let first_cut = recovered.cuts.first().map_or(Epoch(0), |c| Epoch(c.epoch.0 - 1));
        let expected = of_all.after(first_cut.max(Epoch(0)), verify_from.max(self.needed_from));
        assert!(found.retries.ends_with(&expected.retries), "seed {seed}: {} retries", found.retries.len());
        self.emitted = all.2.last().map_or(0, |epoch| epoch.0);
        let needed = all.1.iter().filter(|c| c.end >= verify_from && c.end >= self.needed_from).count();
        assert!(recovered.cuts.len() >= needed, "seed {seed}: {} of {needed} cuts", recovered.cuts.len());
        assert!(recovered.cuts.iter().zip(recovered.cuts.iter().skip(1)).all(|(a, b)| b.epoch.0 == a.epoch.0 + 1));
        self.epoch = all.1.last().map_or(0, |c| c.epoch.0);
        self.ingest = self.ingest.max(recovered.ingest.0);
    }

    /// Random records for one frame.
    fn frame(&mut self) -> Vec<Record> {
        self.ingest += self.rng.random_range(0..3);
        let mut end = self.end();
        let mut records = Vec::new();
        for _ in 0..self.rng.random_range(1..4) {
            if self.rng.random_bool(0.6) {
                // Some frames are of several pages, some larger than a segment.
                let count = [1, 3, 300, 2500][self.rng.random_range(0..100_usize).saturating_sub(96)];
                if self.rng.random_bool(0.3) {
                    let letter = self.rng.random_range(0..=end);
                    records.push(retries(&[(letter, end), (letter, end + u64::from(count) - 1)]));
                }
                if self.rng.random_bool(0.3) {
                    records.push(key(self.rng.random(), end, count));
                }
                if self.rng.random_bool(0.3) {
                    records.push(trace(end, count));
                }
                records.push(slab(end, count, self.ingest));
                end += u64::from(count);
            } else {
                self.epoch += 1;
                if self.rng.random_bool(0.3) {
                    records.push(discards(self.epoch, &[end, 0]));
                }
                if self.rng.random_bool(0.1) {
                    records.push(config(self.epoch));
                }
                records.push(cut(self.epoch, end, self.rng.random()));
            }
        }
        for _ in 0..self.rng.random_range(0..5_u32).saturating_sub(2) {
            self.emitted += 1;
            records.push(Record::Emit(Epoch(self.emitted)));
            records.push(slab(end, 2, self.ingest));
            end += 2;
        }
        records
    }

    fn live(&mut self, disk: &Arc<SimDisk>) {
        match self.rng.random_range(0..4) {
            0 => disk.die_after(self.rng.random_range(0..60)),
            1 => disk.fail_sync_after(self.rng.random_range(0..20)),
            _ => {}
        }
        let Some(mut log) = self.open(disk) else { return };
        self.generation += 1;
        if log.append(&[start(self.generation)], Millis(self.ingest)).is_err() {
            return;
        }
        self.acknowledged.push(vec![start(self.generation)]);
        let mut reader = log.reader(self.needed_from);
        drain(&mut reader);
        let mut unread = Vec::new();
        for _ in 0..self.rng.random_range(0..25) {
            let records = self.frame();
            if let Err(error) = log.append(&records, Millis(self.ingest)) {
                assert_eq!(kind(&error), "io", "seed {}", self.seed);
                self.doubtful = Some(records);
                let changes = disk.changes();
                assert_eq!(failure(log.append(&[cut(0, 0, false)], Millis(0))), "io", "seed {}", self.seed);
                assert_eq!(failure(log.retain(Offset(u64::MAX), None)), "io", "seed {}", self.seed);
                assert_eq!(disk.changes(), changes, "seed {}: nothing is tried after a failure", self.seed);
                return;
            }
            unread.extend(content_of(&records).0);
            self.acknowledged.push(records);
            let retains = self.rng.random_bool(0.2);
            if retains || self.rng.random() {
                assert_eq!(drain(&mut reader), std::mem::take(&mut unread), "seed {}", self.seed);
            }
            if retains {
                self.needed_from = Offset(self.rng.random_range(self.needed_from.0..=self.end()));
                self.retained = true;
                if log.retain(self.needed_from, None).is_err() {
                    return;
                }
                assert!(log.begin() <= self.needed_from);
            }
        }
    }
}

/// What was acknowledged is there after any number of crashes, whole and in order; of what was not, the last frame or nothing.
#[test]
fn lives_with_crashes_keep_what_was_acknowledged() {
    for seed in 0..400 {
        let mut lives = Lives {
            rng: ChaCha8Rng::seed_from_u64(seed),
            seed,
            acknowledged: Vec::new(),
            doubtful: None,
            needed_from: Offset(0),
            retained: false,
            generation: 0,
            epoch: 0,
            emitted: 0,
            ingest: 0,
        };
        let mut disk = SimDisk::new(seed);
        for _ in 0..8 {
            lives.live(&disk);
            disk = if lives.rng.random() { disk.crash() } else { disk.kill() };
        }
        assert!(lives.open(&disk).is_some(), "seed {seed}");
    }
}

fn is_segment(name: &str) -> bool {
    name.strip_suffix(".log").is_some()
}

/// A log of these limits on a disk of its own, with one START, and one-event frames appended for as long as they are taken.
fn filled(options: Options, capacity: u64) -> (Arc<SimDisk>, Log, &'static str) {
    let disk = SimDisk::new(0);
    disk.set_capacity(capacity);
    let (mut log, _) = Log::open(disk.clone(), options, ID, None, Offset(0)).unwrap();
    log.append(&[start(1)], Millis(0)).unwrap();
    let refusal = fill(&mut log);
    (disk, log, refusal)
}

fn fill(log: &mut Log) -> &'static str {
    loop {
        let end = log.end().0;
        // Clocks do not go back: a slab has its frame's time.
        let ingest = end.max(log.ingest().0);
        if let Err(error) = log.append(&[slab(end, 1, ingest)], Millis(ingest)) {
            return kind(&error);
        }
        assert!(end < 1000, "something limits the log");
    }
}

#[test]
fn a_full_log_takes_cuts_and_heals_when_segments_go() {
    const SEGMENT: u64 = SMALL.segment_bytes;
    let cases = [
        // LOG_BYTES_MAX, capacity, low water → refusal, events taken: two to a segment of four pages, and where the disk is
        // full one more, for which the segment allocated ahead is used and no other can be.
        (4 * SEGMENT, u64::MAX, 0, "full", 8),
        (4 * SEGMENT + 1, u64::MAX, 0, "full", 8),
        (u64::MAX, 5 * SEGMENT, 0, "disk full", 9),
        (u64::MAX, 5 * SEGMENT + 100, 0, "disk full", 9),
        (u64::MAX, 6 * SEGMENT, SEGMENT + 1, "disk full", 7),
    ];
    for (n, (bytes_max, capacity, low_water_bytes, refusal, taken)) in cases.into_iter().enumerate() {
        let options = Options { bytes_max, low_water_bytes, ..SMALL };
        let (disk, mut log, found) = filled(options, capacity);
        assert_eq!((found, log.end().0), (refusal, taken), "case {n}");
        let before = disk.files();
        assert_eq!(failure(log.append(&[slab(taken, 1, 90), cut(1, 0, false)], Millis(90))), refusal, "case {n}");
        assert_eq!(disk.files(), before, "case {n}: nothing happened");
        log.append(&[cut(1, taken, false)], Millis(90)).unwrap();

        while log.retain(Offset(taken), None).unwrap() {}
        assert!(log.begin().0 > 0, "case {n}: {}", log.begin());
        assert_eq!(fill(&mut log), refusal, "case {n}: it healed");
        assert!(log.end().0 >= taken + 4, "case {n}: up to {}", log.end());
        let events = log.end();
        let disk = disk.crash();
        if low_water_bytes < SEGMENT && capacity < u64::MAX {
            // Opening copies a segment; a low-water mark above a segment's size keeps room for it.
            assert_eq!(failure(Log::open(disk.clone(), options, ID, None, Offset(0))), "disk full", "case {n}");
            disk.set_capacity(u64::MAX);
        }
        let recovered = Log::open(disk, options, ID, None, Offset(0)).unwrap().1;
        assert_eq!((recovered.end, recovered.cuts.len()), (events, 1), "case {n}");
    }
}

#[test]
fn cuts_go_in_only_while_there_is_a_preallocated_place() {
    let (disk, mut log, refusal) = filled(SMALL, 3 * SMALL.segment_bytes);
    assert_eq!(refusal, "disk full");
    let mut epoch = 0;
    let refusal = loop {
        epoch += 1;
        match log.append(&[cut(epoch, 0, false)], Millis(99)) {
            Ok(_) => assert!(epoch < 10),
            Err(error) => break kind(&error),
        }
    };
    assert_eq!((refusal, epoch > 1), ("disk full", true));
    disk.set_capacity(u64::MAX);
    log.append(&[cut(epoch, 0, false)], Millis(99)).unwrap();
    assert_eq!(fill_some(&mut log), 5);
}

fn fill_some(log: &mut Log) -> usize {
    let append = |_: &usize| {
        let end = log.end().0;
        log.append(&[slab(end, 1, 99)], Millis(99)).is_ok()
    };
    (0..5).take_while(append).count()
}

#[test]
fn the_start_stands_at_the_head_of_every_segment() {
    let (disk, mut log, _) = filled(Options { bytes_max: 5 * SMALL.segment_bytes, ..SMALL }, u64::MAX);
    let events = log.end();
    while log.retain(events, None).unwrap() {}
    assert_eq!(disk.files().keys().filter(|n| is_segment(n)).count(), 1);
    for verify_from in [Offset(0), log.begin(), events] {
        let disk = SimDisk::with_files(0, disk.files());
        let (log, recovered) = Log::open(disk, SMALL, ID, None, verify_from).unwrap();
        assert_eq!(recovered.start.map(|s| s.generation), Some(Generation(1)));
        assert_eq!((recovered.begin, recovered.end), (log.begin(), events));
    }
}

#[test]
fn retention_keeps_what_is_needed_or_young() {
    // Frames of one event, taken in at the millisecond of their offset; segments begin at 0, 2, 4, 6, 8.
    let cases = [
        (0, None, 0),
        (2, None, 0),
        (3, None, 2),
        (4, None, 2),
        (5, None, 4),
        (1000, None, 8),
        (1000, Some(0), 0),
        (1000, Some(2), 2),
        (1000, Some(4), 4),
        (5, Some(1000), 4),
    ];
    for (needed_from, keep_since, begin) in cases {
        let (_, mut log, _) = filled(Options { bytes_max: 5 * SMALL.segment_bytes, ..SMALL }, u64::MAX);
        while log.retain(Offset(needed_from), keep_since.map(Millis)).unwrap() {}
        assert_eq!(log.begin().0, begin, "needed from {needed_from}, kept since {keep_since:?}");
    }
}

/// Against a list of what was appended when; with segments that are gone, and after opening, which reads the headers alone.
#[test]
fn the_offset_at_a_time_is_found() {
    for seed in 0..200 {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let disk = SimDisk::new(seed);
        let (mut log, _) = open(&disk).unwrap();
        let access = log.access();
        let (mut frames, mut ingest) = (Vec::new(), rng.random_range(0..3));
        for epoch in 0..rng.random_range(0..60) {
            ingest += rng.random_range(0..3);
            let end = log.end().0;
            let count = rng.random_range(0..4);
            let record = if count == 0 { cut(epoch, end, false) } else { slab(end, count, ingest) };
            log.append(&[record], Millis(ingest)).unwrap();
            frames.push((ingest, end, u64::from(count)));
        }
        if rng.random_bool(0.5) {
            let (needed, end) = (rng.random_range(0..=log.end().0), log.end());
            while log.retain(Offset(needed), None).unwrap() {}
            assert_eq!((access.begin(), access.end()), (log.begin(), end));
        }
        let (begin, end) = (log.begin().0, log.end().0);
        let check = |access: &Access| {
            for time in 0..ingest + 3 {
                let at =
                    frames.iter().find(|&&(taken, first, count)| taken >= time && first + count > begin && count > 0);
                let expected = at.map_or(end, |&(_, first, _)| first.max(begin));
                let found = access.first_at(Millis(time)).unwrap().0;
                assert_eq!(found, expected, "seed {seed}: at {time} of {frames:?} from {begin}");
            }
        };
        check(&access);
        drop(log);
        let (log, _) = Log::open(disk, SMALL, ID, None, Offset(end)).unwrap();
        check(&log.access());
    }
}

/// What was let go of is read anew, and nothing of it twice.
#[test]
fn a_reader_that_lets_go_goes_on_where_it_was() {
    for seed in 0..200 {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let (mut log, _) = open(&SimDisk::new(seed)).unwrap();
        let mut reader = log.reader(Offset(0));
        let (mut at, mut given) = (0, Vec::new());
        for _ in 0..60 {
            let records: Vec<Record> = {
                let mut end = log.end().0;
                let mut next = |count: u32| {
                    end += u64::from(count);
                    slab(end - u64::from(count), count, 0)
                };
                (0..rng.random_range(1..4)).map(|_| next(rng.random_range(1..4))).collect()
            };
            log.append(&records, Millis(0)).unwrap();
            for _ in 0..rng.random_range(0..5) {
                if rng.random_bool(0.3) {
                    reader.let_go(Offset(at));
                }
                let Some(slab) = reader.next_slab().unwrap() else { break };
                given.push(slab.first_offset.0);
                at = slab.end().0;
            }
        }
        reader.let_go(Offset(at));
        while let Some(slab) = reader.next_slab().unwrap() {
            given.push(slab.first_offset.0);
        }
        let all: Vec<u64> = {
            let (mut reader, mut all) = (log.reader(Offset(0)), Vec::new());
            while let Some(slab) = reader.next_slab().unwrap() {
                all.push(slab.first_offset.0);
            }
            all
        };
        assert_eq!(given, all, "seed {seed}");
    }
}

#[test]
fn a_reader_outlives_the_segments_it_has_passed_and_no_others() {
    let (_, mut log, _) = filled(Options { bytes_max: 5 * SMALL.segment_bytes, ..SMALL }, u64::MAX);
    let (mut passed, mut behind) = (log.reader(Offset(0)), log.reader(Offset(0)));
    let end = log.end();
    let all = drain(&mut passed).len();
    assert_eq!(behind.next_slab().unwrap().map(|s| s.first_offset), Some(Offset(0)));
    while log.retain(end, None).unwrap() {}
    log.append(&[slab(end.0, 1, 99)], Millis(99)).unwrap();
    assert_eq!((all, drain(&mut passed).len()), (end.0 as usize, 1));
    let refused = loop {
        match behind.next_slab() {
            Ok(slab) => assert!(slab.is_some_and(|s| s.first_offset < log.begin()), "only what its open file holds"),
            Err(error) => break kind(&error),
        }
    };
    assert_eq!(refused, "mismatch");
    assert_eq!(failure(log.reader(Offset(0)).next_slab()), "mismatch");
    assert_eq!(log.reader(end).next_slab().unwrap().map(|s| s.first_offset), Some(end));
}

#[test]
fn a_store_that_does_not_belong_to_the_log_is_refused() {
    let (disk, mut log, _) = filled(Options { bytes_max: 5 * SMALL.segment_bytes, ..SMALL }, u64::MAX);
    let end = log.end();
    while log.retain(Offset(5), None).unwrap() {}
    let (other, begin) = (LogId(7), log.begin());
    let cases = [
        (ID, end, "none"),
        (ID, begin, "none"),
        (ID, Offset(begin.0 - 1), "mismatch"),
        (ID, Offset(end.0 + 1), "mismatch"),
        (other, end, "mismatch"),
    ];
    for (log, end, expected) in cases {
        let disk = SimDisk::with_files(0, disk.files());
        let before = disk.files();
        let opened = Log::open(disk.clone(), SMALL, LogId(9), Some(Proof { log, end }), Offset(0));
        assert_eq!(failure(opened), expected, "{log}, {end}");
        let segments = |files: BTreeMap<String, Vec<u8>>| files.into_iter().filter(|(n, _)| is_segment(n));
        assert!(segments(disk.files()).eq(segments(before)), "{log}, {end}: nothing was changed");
    }
    let empty = Log::open(SimDisk::new(0), SMALL, ID, Some(Proof { log: ID, end: Offset(0) }), Offset(0));
    assert_eq!(failure(empty), "mismatch");
}

#[test]
fn files_of_others_are_left_alone_and_its_own_leftovers_are_not() {
    let strangers =
        ["checkpoint-00000000000000000001", "checkpoint.tmp", "ids-00000000000000000001", "segment-1.log", "x"];
    let leftovers = ["segment-next.tmp", "segment-copy.tmp"];
    let files = strangers.iter().chain(&leftovers).map(|name| ((*name).to_owned(), b"junk".to_vec())).collect();
    let disk = SimDisk::with_files(0, files);
    open(&disk).unwrap();
    let files = disk.files();
    assert!(strangers.iter().all(|name| files[*name] == b"junk"));
    assert!(leftovers.iter().all(|name| files.get(*name).is_none_or(|bytes| bytes.iter().all(|&b| b == 0))));
}

/// A torn frame leaves nothing behind that a later one could be taken for.
#[test]
fn a_torn_tail_is_cut_off_and_zeroed() {
    let mut torn = 0;
    for seed in 0..200 {
        let disk = SimDisk::new(seed);
        let (mut log, _) = open(&disk).unwrap();
        log.append(&[slab(0, 2, 0)], Millis(0)).unwrap();
        disk.fail_sync_after(0);
        assert_eq!(failure(log.append(&[slab(2, 300, 0)], Millis(0))), "io");
        let disk = disk.crash();
        let before = disk.files()["segment-00000000000000000001.log"].clone();
        let alone = Log::open(disk.clone(), Options { store_asked: false, ..SMALL }, ID, None, Offset(0)).map(drop);
        let after = disk.files()["segment-00000000000000000001.log"].clone();
        let (log, recovered) = open(&disk).unwrap();
        // Without the store's word nothing is cut off.
        let refused = if recovered.truncated_bytes > 0 { "unproven" } else { "none" };
        assert_eq!(failure(alone), refused, "seed {seed}");
        assert!(refused == "none" || before == after, "seed {seed}");
        let file = &disk.files()["segment-00000000000000000001.log"];
        let rest = file[2 * 4096..].iter().rposition(|&b| b != 0).map_or(0, |at| at as u64 + 1);
        assert_eq!(rest > 0, log.end() == Offset(302), "seed {seed}");
        torn += u32::from(recovered.truncated_bytes > 0);
    }
    // Many crashes keep all of the frame or nothing: the test says something only where some tore it.
    assert!(torn > 10, "{torn} torn");
}

mod writer {
    use std::cell::RefCell;

    use caudal::core::emit::Emission;
    use caudal::ingest::feed::feed;
    use caudal::ingest::letters::{Busy, Letters};
    use caudal::ingest::owed::{Ended, Owed};
    use caudal::ingest::queue::{Batch, Request};
    use caudal::ingest::writer::{Note, Writer};
    use caudal::ingest::{Kept, Receipt, Refusal, Submission};
    use tokio::sync::oneshot::{self, error::TryRecvError};

    use super::*;

    /// Events and cuts of a batch → the answer as (first, count), and the notes as (end, newest cut).
    type Step = (u32, &'static [u64], Option<Result<(u64, u32), Refusal>>, &'static [(u64, Option<u64>)]);

    type Answer = oneshot::Receiver<Result<Receipt, Refusal>>;

    fn batch(events: u32, cuts: &[u64]) -> (Batch, Answer) {
        let (receipt, answer) = oneshot::channel();
        let lines = "{}\n".repeat(events as usize);
        let submission = Submission {
            topic: None,
            lines: lines.into(),
            count: events,
            applied: None,
            retries: None,
            kept: Kept::default(),
        };
        let requests = if events == 0 { Vec::new() } else { vec![Request { submission, receipt }] };
        let cut = |&epoch| Cut {
            epoch: Epoch(epoch),
            end: Offset(0),
            ingest: Millis(0),
            up: Millis(0),
            idle: None,
            emitted: Epoch(0),
        };
        let emission = |&epoch| Emission { epoch: Epoch(epoch), lines: vec![(TopicId(9), vec!["{}".to_owned()])] };
        let emissions = cuts.iter().filter(|&&epoch| epoch >= 8).map(emission).collect();
        let owed = Owed {
            cuts: cuts.iter().map(|of| Ended { cut: cut(of), discards: Vec::new(), bundle: None }).collect(),
            emissions,
        };
        (Batch { requests, owed, retain: None }, answer)
    }

    fn shown(notes: &RefCell<Vec<Note>>) -> Vec<(u64, Option<u64>)> {
        let shown = notes.take().into_iter().map(|note| match note {
            Note::Durable { end, cut, .. } => (end.0, cut.map(|c| c.0)),
            Note::Failed(error) => panic!("{error}"),
        });
        shown.collect()
    }

    #[test]
    fn without_room_submissions_are_refused_and_cuts_are_kept() {
        let disk = SimDisk::new(0);
        let (log, _) = open(&disk).unwrap();
        let (feed_in, mut feed) = feed(log.reader(Offset(0)), Offset(0));
        let (mut writer, notes) = (Writer::new(log, feed_in), RefCell::new(Vec::new()));
        let note = |n| notes.borrow_mut().push(n);
        disk.set_capacity(0);
        // Two of the first segment's three frames, then the third, then the spare one's.
        let steps: [Step; 8] = [
            (3, &[1], Some(Ok((0, 3))), &[(3, Some(1))]),
            (2, &[], Some(Ok((3, 2))), &[(5, None)]),
            (0, &[2], None, &[(5, Some(2))]),
            (2, &[3, 4], Some(Ok((5, 2))), &[(7, Some(4))]),
            (2, &[5], Some(Err(Refusal::DiskFull)), &[(7, Some(5))]),
            (0, &[6], None, &[(7, Some(6))]),
            (1, &[7], Some(Err(Refusal::DiskFull)), &[]),
            (0, &[8], None, &[]),
        ];
        for (events, cuts, expected, told) in steps {
            let (batch, mut answer) = batch(events, cuts);
            writer.commit(batch, Millis(5), &note).unwrap();
            let answered = answer.try_recv().ok().map(|a| a.map(|r| (r.first.0, r.count)));
            assert_eq!((answered, shown(&notes).as_slice()), (expected, told), "{events} events, cuts {cuts:?}");
        }
        assert!(writer.again_after().is_some());
        disk.set_capacity(u64::MAX);
        let (batch, mut answer) = batch(1, &[9]);
        writer.commit(batch, Millis(5), &note).unwrap();
        assert_eq!(answer.try_recv().unwrap(), Ok(Receipt { first: Offset(7), count: 1 }));
        assert_eq!(writer.again_after(), None);
        let fed: Vec<u32> = std::iter::from_fn(|| feed.next_slab().unwrap()).map(|s| s.count).collect();
        assert_eq!(fed, [3, 2, 2, 1, 1, 1], "the last two are what epochs 8 and 9 emitted");
        let recovered = Log::open(disk.crash(), SMALL, ID, None, Offset(0)).unwrap().1;
        assert_eq!(recovered.cuts.iter().map(|c| c.epoch.0).collect::<Vec<_>>(), (1..=9).collect::<Vec<_>>());
    }

    /// What an epoch emits comes after the submissions of its frame, in one frame, and finds room where they do not.
    #[test]
    fn emissions_go_in_where_submissions_are_refused() {
        let disk = SimDisk::new(0);
        let options = Options { bytes_max: 2 * SMALL.segment_bytes, ..SMALL };
        let (log, _) = Log::open(disk.clone(), options, ID, None, Offset(0)).unwrap();
        let (feed_in, mut feed) = feed(log.reader(Offset(0)), Offset(0));
        let (mut writer, notes) = (Writer::new(log, feed_in), RefCell::new(Vec::new()));
        let note = |n| notes.borrow_mut().push(n);
        let emission = |epoch: u64| {
            let lines =
                |topic: u16, count: u64| (TopicId(topic), (0..count).map(|n| format!("{{\"n\":{n}}}")).collect());
            Emission { epoch: Epoch(epoch), lines: vec![lines(3, 2), lines(4, 1)] }
        };
        let mut accepted = 0;
        let mut refused = 0;
        for epoch in 1..=8 {
            let (mut batch, mut answer) = batch(1, &[]);
            batch.owed.emissions = vec![emission(2 * epoch), emission(2 * epoch + 1)];
            writer.commit(batch, Millis(5), &note).unwrap();
            match answer.try_recv().unwrap() {
                Ok(Receipt { first, .. }) => {
                    assert_eq!(first.0, 7 * accepted, "before what is emitted");
                    accepted += 1;
                }
                Err(refusal) => {
                    assert_eq!(refusal, Refusal::LogFull);
                    refused += 1;
                }
            }
            let told = notes.take();
            let [Note::Durable { end, cut: None, emitted: Some(of), .. }] = &told[..] else { panic!("{told:?}") };
            assert_eq!((end.0, of.0), (accepted + 6 * epoch, 2 * epoch + 1));
        }
        assert!(accepted > 0 && refused > 0);
        let topics: Vec<_> =
            std::iter::from_fn(|| feed.next_slab().unwrap()).map(|s| (s.topic.map(|t| t.0), s.count)).collect();
        let one = [(Some(3), 2), (Some(4), 1), (Some(3), 2), (Some(4), 1)];
        assert_eq!(&topics[..5], [&[(None, 1)], &one[..]].concat());
        assert_eq!(topics.len() as u64, accepted + 8 * 4);
        let recovered = Log::open(disk.crash(), options, ID, None, Offset(0)).unwrap().1;
        let ends = |epoch: u64| accepted.min(epoch) + 6 * epoch;
        let expected: Vec<_> =
            (1..=8).flat_map(|n| [2 * n, 2 * n + 1].map(|of| (Epoch(of), Offset(ends(n))))).collect();
        assert_eq!(recovered.emits, expected);
    }

    /// A retry's record lies in the frame of its event; a retry that is refused gives its letter back.
    #[test]
    fn retries_are_told_of_in_one_frame_with_their_events() {
        let disk = SimDisk::new(0);
        let options = Options { bytes_max: SMALL.segment_bytes, ..SMALL };
        let (log, _) = Log::open(disk.clone(), options, ID, None, Offset(0)).unwrap();
        let (feed_in, mut feed) = feed(log.reader(Offset(0)), Offset(0));
        let mut writer = Writer::new(log, feed_in);
        let letters: Arc<Letters> = Arc::default();
        let mut expected = Vec::new();
        let mut refused = 0;
        for n in 0..6 {
            // An event of somebody else, then two retries; with a cut that discards.
            let (mut all, _answer) = batch(1, &[]);
            let (mut of_retries, mut answer) = batch(2, &[]);
            let mine = [Offset(100 + n), Offset(200 + n)];
            of_retries.requests[0].submission.retries = Some(letters.claim_free(&mine));
            all.requests.append(&mut of_retries.requests);
            let Record::Cut(cut) = cut(n + 1, 0, false) else { unreachable!() };
            all.owed.cuts = vec![Ended { cut, discards: vec![Offset(300 + n)], bundle: None }];
            writer.commit(all, Millis(5), &|_| ()).unwrap();
            let taken = answer.try_recv().unwrap();
            match taken {
                Ok(Receipt { first, count: 2 }) => {
                    let retries = [(mine[0], first), (mine[1], Offset(first.0 + 1))];
                    let retries = retries.map(|(letter, event)| Retry { letter, event });
                    assert_eq!(letters.claim(mine[1]).err(), Some(Busy::Retried(retries[1].event)));
                    assert_eq!(feed.retries(), retries);
                    expected.extend(retries);
                }
                other => {
                    assert_eq!(other, Err(Refusal::LogFull));
                    assert!(letters.claim(mine[0]).is_ok() && feed.retries().is_empty());
                    refused += 1;
                }
            }
        }
        assert!(refused > 0 && !expected.is_empty());
        let recovered = Log::open(disk.crash(), options, ID, None, Offset(0)).unwrap().1;
        assert_eq!(recovered.mends.retries, expected);
        let discards: Vec<_> = recovered.mends.discards.iter().map(|d| (d.epoch.0, d.letters[0].0)).collect();
        assert_eq!(discards, (0..6).map(|n| (n + 1, 300 + n)).collect::<Vec<_>>(), "what is owed goes in");
    }

    #[test]
    fn after_a_failed_sync_nobody_has_an_answer() {
        for failing in 0..2 {
            let disk = SimDisk::new(failing);
            let (log, _) = open(&disk).unwrap();
            let (feed_in, mut feed) = feed(log.reader(Offset(0)), Offset(0));
            let (mut writer, failed) = (Writer::new(log, feed_in), RefCell::new(0));
            let note = |n| *failed.borrow_mut() += u64::from(matches!(n, Note::Failed(LogError::Io { .. })));
            disk.fail_sync_after(failing);
            for n in 0..3 {
                let (batch, mut answer) = batch(1, &[n + 1]);
                let committed = writer.commit(batch, Millis(0), &note).is_ok();
                assert_eq!((committed, answer.try_recv().is_ok()), (n < failing, n < failing));
                assert!(n < failing || answer.try_recv() == Err(TryRecvError::Closed));
                assert_eq!(feed.next_slab().unwrap().is_some(), n < failing);
            }
            assert_eq!(*failed.borrow(), 3 - failing);
        }
    }
}

#[test]
fn a_removed_file_is_gone_for_the_log_at_once_and_what_is_left_of_it_by_the_next_start() {
    let directory = TempDir::new().unwrap();
    let left = |name: &str| directory.path().join(name).exists();
    let disk = FileDisk::open(directory.path()).unwrap();
    disk.create("old", 4096).unwrap();
    disk.remove("old").unwrap();
    assert!(!left("old") && disk.list().unwrap().is_empty());
    drop(disk);
    // As a crash between the two steps leaves it.
    std::fs::write(directory.path().join("removed-older"), "x").unwrap();
    let disk = FileDisk::open(directory.path()).unwrap();
    assert_eq!(disk.list().unwrap(), Vec::<String>::new());
    let begun = Instant::now();
    while left("removed-older") || left("removed-old") {
        assert!(begun.elapsed() < Duration::from_mins(1), "removed files are still there");
        std::thread::sleep(Duration::from_millis(5));
    }
}
