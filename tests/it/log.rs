//! The log on a crashing disk: every cut and every flipped bit of a small log, random lives with crashes, rotation, retention, space.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use caudal::core::columns::{Numbering, Slab};
use caudal::core::epoch::Cut;
use caudal::core::units::{Epoch, Generation, LogId, Millis, Offset, TopicId};
use caudal::log::disk::FileDisk;
use caudal::log::{Log, LogError, Options, Proof, Reader, Record, Recovered, Start};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

use crate::sim_disk::SimDisk;

const ID: LogId = LogId(0x0123_4567_89ab_cdef_0123_4567_89ab_cdef);
const SMALL: Options = Options { segment_bytes: 16 << 10, bytes_max: u64::MAX, low_water_bytes: 0 };

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
    Record::Cut(Cut { epoch: Epoch(epoch), end: Offset(end), ingest: Millis(epoch), up: Millis(epoch + 1), idle })
}

fn start(generation: u64) -> Record {
    Record::Start(Start { generation: Generation(generation), bundle: format!("pipeline: p{generation}") })
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

/// Slabs, cuts and the newest start, as written.
type Content = (Vec<String>, Vec<Cut>, Option<Start>);

fn content_of<'a>(records: impl IntoIterator<Item = &'a Record>) -> Content {
    let mut content = Content::default();
    for record in records {
        match record {
            Record::Slab(_) => content.0.push(shown(record)),
            Record::Cut(cut) => content.1.push(*cut),
            Record::Start(start) => content.2 = Some(start.clone()),
        }
    }
    content
}

fn content_in(log: &Log, recovered: Recovered) -> Content {
    (drain(&mut log.reader(recovered.begin)), recovered.cuts, recovered.start)
}

/// The end of what an error says, for tables of cases.
fn kind(error: &LogError) -> &'static str {
    match error {
        LogError::Damaged { .. } => "damaged",
        LogError::Mismatch(_) => "mismatch",
        LogError::Full => "full",
        LogError::DiskFull => "disk full",
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
        (11, vec![slab(702, 1500, 11)]),
        (9, vec![cut(2, 2202, true)]),
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

const THREE_SEGMENTS_END: Offset = Offset(11);

/// Three segments, each filled; the frames they hold.
fn three_segments() -> (BTreeMap<String, Vec<u8>>, Vec<Vec<Record>>) {
    let frames = vec![
        vec![start(1)],
        vec![slab(0, 2, 1), cut(1, 2, false)],
        vec![slab(2, 3, 2)],
        vec![slab(5, 1, 2), cut(2, 6, false)],
        vec![start(2)],
        vec![cut(3, 6, true), slab(6, 2, 3)],
        vec![slab(8, 1, 4), slab(9, 2, 4), cut(4, 11, false)],
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
        let start = recovered.start.map_or(0, |s| s.generation.0);
        assert!((all.2.map_or(0, |s| s.generation.0)..=self.generation).contains(&start), "seed {seed}: start {start}");
        assert!(all.1.ends_with(&recovered.cuts), "seed {seed}: cuts");
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
                records.push(slab(end, count, self.ingest));
                end += u64::from(count);
            } else {
                self.epoch += 1;
                records.push(cut(self.epoch, end, self.rng.random()));
            }
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
