//! Appending to the log on a real disk, beside the bare write and fdatasync of as many bytes; and cutting a body into lines.

use std::fs::File;
use std::hint::black_box;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use caudal::core::columns::{Numbering, Slab};
use caudal::core::units::{LogId, Millis, Offset};
use caudal::ingest::lines::{Form, cut};
use caudal::log::disk::FileDisk;
use caudal::log::{Log, Options, Record};
use criterion::{Criterion, Throughput};

const SLAB_BYTES: usize = 1 << 20;
const SEGMENT_BYTES: u64 = 64 << 20;
const LINE: &[u8] =
    br#"{"event_id":"0b6f5f0e-54a2-4a5e-9d43-2b7a3c1d9e80","region":"RM","severity":"low","value":12.5}"#;

pub fn bench(c: &mut Criterion) {
    let body = body();
    let count = memchr::memchr_iter(b'\n', &body).count() as u32;
    let mut group = c.benchmark_group("log");
    group.throughput(Throughput::Bytes(body.len() as u64)).sample_size(30);

    // On the file system of the build: /tmp may be memory, where a sync costs nothing.
    let directory = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let mut log = open(&directory.path().join("log"));
    group.bench_function("append 1 MiB", |b| b.iter(|| append(&mut log, &body, count)));
    drop(log);

    let file = File::create(directory.path().join("bare")).unwrap();
    let mut at = 0;
    group.bench_function("bare write and fdatasync of 1 MiB", |b| {
        b.iter(|| {
            file.write_all_at(&body, at).unwrap();
            file.sync_data().unwrap();
            // As many bytes are kept on the disk as the log keeps in a segment.
            at = (at + SLAB_BYTES as u64) % SEGMENT_BYTES;
        });
    });

    group.bench_function("cut 1 MiB of clean NDJSON", |b| {
        b.iter(|| black_box(cut(black_box(body.clone()), Form::Ndjson, SLAB_BYTES)).unwrap());
    });
    group.finish();
}

fn body() -> Bytes {
    let line = [LINE, b"\n"].concat();
    line.repeat(SLAB_BYTES / line.len()).into()
}

fn open(directory: &Path) -> Log {
    let disk = Arc::new(FileDisk::open(directory).unwrap());
    let options = Options { segment_bytes: SEGMENT_BYTES, bytes_max: u64::MAX, low_water_bytes: 0, store_asked: true };
    Log::open(disk, options, LogId(1), None, Offset(0)).unwrap().0
}

fn append(log: &mut Log, body: &Bytes, count: u32) {
    let first_offset = log.end();
    let bytes = body.clone();
    let slab = Slab { first_offset, count, ingest: Millis(0), topic: None, bytes, numbering: Numbering::Dense };
    let end = log.append(&[Record::Slab(slab)], Millis(0)).unwrap().end;
    // Nothing is needed any more, so that a long run does not fill the disk.
    while log.retain(end, None).unwrap() {}
}
