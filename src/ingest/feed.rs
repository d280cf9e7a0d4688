//! From the log to the coordinator: slabs in the log's order. What waits for credit waits in the log, not in memory: up to `FEED_BYTES_MAX` are
//! kept, older ones are read back from the disk.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::oneshot;

use crate::core::columns::Slab;
use crate::core::mend::Retry;
use crate::core::units::Offset;
use crate::ingest::Fate;
use crate::log::{LogError, Reader};

/// Newest slabs kept in memory.
pub const FEED_BYTES_MAX: usize = 32 << 20;

/// A request that waits for its events' fates (`?ack=applied`).
#[derive(Debug)]
pub struct Waiting {
    pub first: Offset,
    pub count: u32,
    pub to: oneshot::Sender<Vec<Fate>>,
}

/// The coordinator's end.
pub struct Feed {
    shared: Arc<Mutex<Shared>>,
    reader: Reader,
    /// The first offset not given out.
    next: Offset,
}

/// The writer's end.
#[derive(Clone)]
pub struct FeedIn {
    shared: Arc<Mutex<Shared>>,
}

struct Shared {
    /// Slabs may be given out up to here; what is further on in the log is still to be pushed, with the requests that wait for it.
    end: Offset,
    /// The newest slabs before `end`, without a gap.
    slabs: VecDeque<Slab>,
    bytes: usize,
    waiting: Vec<Waiting>,
    /// Which of the events that were pushed are retries.
    retries: Vec<Retry>,
}

/// A feed whose first slab is the one that holds `from`; the reader stands there too, and reads what the writer's end has not been given
/// (the log as it was found at the start) or has dropped. The reader is made before anything is appended that is to be pushed.
#[must_use]
pub fn feed(reader: Reader, from: Offset) -> (FeedIn, Feed) {
    let shared =
        Shared { end: reader.made_at(), slabs: VecDeque::new(), bytes: 0, waiting: Vec::new(), retries: Vec::new() };
    let shared = Arc::new(Mutex::new(shared));
    (FeedIn { shared: shared.clone() }, Feed { shared, reader, next: from })
}

/// It holds together after each single change, so a thread that died with the lock held has harmed nothing.
fn lock(shared: &Mutex<Shared>) -> MutexGuard<'_, Shared> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

impl FeedIn {
    /// Slabs that are on disk now, in order, the requests that wait for them, and which of their events are retries.
    pub fn push(&self, slabs: Vec<Slab>, waiting: Vec<Waiting>, retries: Vec<Retry>) {
        let mut shared = lock(&self.shared);
        for slab in slabs {
            assert_eq!(slab.first_offset, shared.end, "slabs are pushed without a gap");
            shared.end = slab.end();
            shared.bytes += slab.bytes.len();
            shared.slabs.push_back(slab);
        }
        shared.waiting.extend(waiting);
        shared.retries.extend(retries);
        while shared.bytes > FEED_BYTES_MAX {
            shared.drop_oldest();
        }
    }
}

impl Shared {
    fn drop_oldest(&mut self) -> Option<Slab> {
        let slab = self.slabs.pop_front()?;
        self.bytes -= slab.bytes.len();
        Some(slab)
    }
}

impl Feed {
    /// The next slab, if the log has one.
    ///
    /// # Errors
    /// As the log's reader says.
    pub fn next_slab(&mut self) -> Result<Option<Slab>, LogError> {
        let slab = match self.in_memory() {
            Memory::End => return Ok(None),
            Memory::Slab(slab) => slab,
            Memory::Dropped => {
                self.reader.skip_to(self.next);
                let Some(slab) = self.reader.next_slab()? else {
                    panic!("what was pushed, to offset {}, is in the log", self.next)
                };
                slab
            }
        };
        self.next = slab.end();
        Ok(Some(slab))
    }

    fn in_memory(&self) -> Memory {
        let mut shared = lock(&self.shared);
        if self.next >= shared.end {
            return Memory::End;
        }
        // What was read from the disk in the meantime is not needed here any more.
        while shared.slabs.front().is_some_and(|s| s.end() <= self.next) {
            shared.drop_oldest();
        }
        if shared.slabs.front().is_some_and(|s| s.first_offset <= self.next) {
            return shared.drop_oldest().map_or(Memory::Dropped, Memory::Slab);
        }
        Memory::Dropped
    }

    /// Requests that wait for events of slabs given out or still to come; each once, before or with its first slab. Ask after each `next`, before what it
    /// gave is dispatched.
    pub fn waiting(&mut self) -> Vec<Waiting> {
        std::mem::take(&mut lock(&self.shared).waiting)
    }

    /// Which events of slabs given out or still to come are retries; likewise.
    pub fn retries(&mut self) -> Vec<Retry> {
        std::mem::take(&mut lock(&self.shared).retries)
    }
}

/// Where the next slab is.
enum Memory {
    Slab(Slab),
    Dropped,
    /// There is none yet.
    End,
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use bytes::Bytes;
    use rand::{Rng, SeedableRng};
    use rand_chacha::ChaCha8Rng;

    use super::*;
    use crate::core::columns::Numbering;
    use crate::core::units::{LogId, Millis};
    use crate::log::disk::FileDisk;
    use crate::log::{Log, Options, Record};

    fn open(directory: &Path) -> Log {
        let disk = Arc::new(FileDisk::open(directory).unwrap());
        let options = Options { segment_bytes: 16 << 20, bytes_max: u64::MAX, low_water_bytes: 0, store_asked: true };
        Log::open(disk, options, LogId(1), None, Offset(0)).unwrap().0
    }

    /// Of `lines` lines and about this many bytes.
    fn slab(first: u64, lines: u32, bytes: usize) -> Slab {
        let line = "x".repeat(bytes / lines as usize);
        let text: String = (0..u64::from(lines)).map(|n| format!("{} {line}\n", first + n)).collect();
        let (first_offset, bytes) = (Offset(first), Bytes::from(text));
        Slab { first_offset, count: lines, ingest: Millis(0), topic: None, bytes, numbering: Numbering::Dense }
    }

    fn show(slab: &Slab) -> (Offset, u32, Bytes) {
        (slab.first_offset, slab.count, slab.bytes.clone())
    }

    /// Whatever the coordinator's pace, it gets every slab once and in order, each request before or with its first slab, and memory stays bounded.
    #[test]
    fn every_slab_comes_once_and_in_order_at_any_pace() {
        for seed in 0..6 {
            let rng = &mut ChaCha8Rng::seed_from_u64(seed);
            let directory = tempfile::tempdir().unwrap();
            let mut log = open(directory.path());
            let mut all = Vec::new();
            let found = slab(0, 3, 30);
            all.push(show(&found));
            log.append(&[Record::Slab(found)], Millis(0)).unwrap();
            let (feed_in, mut feed) = feed(log.reader(Offset(1)), Offset(1));
            let (mut given, mut waiting, mut asked) = (Vec::new(), Vec::new(), Vec::new());
            for _ in 0..60 {
                if rng.random_bool(0.6) {
                    let mut slabs = Vec::new();
                    let mut first = log.end().0;
                    for _ in 0..rng.random_range(1..4) {
                        slabs.push(slab(first, rng.random_range(1..4), [10, 1 << 20, 3 << 20][rng.random_range(0..3)]));
                        first = slabs.last().unwrap().end().0;
                    }
                    let records: Vec<Record> = slabs.iter().cloned().map(Record::Slab).collect();
                    let at = log.end();
                    log.append(&records, Millis(0)).unwrap();
                    all.extend(slabs.iter().map(show));
                    asked.push(at);
                    feed_in.push(slabs, vec![Waiting { first: at, count: 1, to: oneshot::channel().0 }], Vec::new());
                } else {
                    for _ in 0..rng.random_range(0..20) {
                        given.extend(feed.next_slab().unwrap().as_ref().map(show));
                        waiting.extend(feed.waiting().iter().map(|w| w.first));
                        let seen =
                            given.last().map_or(Offset(0), |&(first, count, _)| Offset(first.0 + u64::from(count)));
                        assert!(
                            asked.iter().all(|at| *at >= seen || waiting.contains(at)),
                            "seed {seed}: a late request"
                        );
                    }
                }
                assert!(lock(&feed.shared).bytes <= FEED_BYTES_MAX, "seed {seed}");
            }
            while let Some(slab) = feed.next_slab().unwrap() {
                given.push(show(&slab));
            }
            waiting.extend(feed.waiting().iter().map(|w| w.first));
            assert!(given == all, "seed {seed}: {} of {} slabs", given.len(), all.len());
            assert_eq!(waiting, asked, "seed {seed}");
        }
    }

    #[test]
    fn what_is_in_the_log_and_was_not_pushed_is_not_given_out() {
        let directory = tempfile::tempdir().unwrap();
        let mut log = open(directory.path());
        let (feed_in, mut feed) = feed(log.reader(Offset(0)), Offset(0));
        let slab = slab(0, 1, 10);
        log.append(&[Record::Slab(slab.clone())], Millis(0)).unwrap();
        assert!(feed.next_slab().unwrap().is_none());
        feed_in.push(vec![slab.clone()], Vec::new(), Vec::new());
        assert_eq!(feed.next_slab().unwrap().as_ref().map(show), Some(show(&slab)));
        assert!(feed.next_slab().unwrap().is_none());
    }
}
