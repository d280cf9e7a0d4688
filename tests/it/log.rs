//! The log on a crashing disk: every cut and every flipped bit of a small log, random lives with crashes, rotation, retention, space.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use caudal::core::columns::{Numbering, Slab};
use caudal::core::epoch::Cut;
use caudal::core::units::{Epoch, Generation, LogId, Millis, Offset, TopicId};
use caudal::log::disk::{Disk, FileDisk};
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
