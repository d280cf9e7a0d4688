//! The log's one writer: takes submissions, cuts and what the job emits, puts what waits into one frame, syncs it, then acknowledges.
//!
//! `Writer::commit` is the whole of a group commit and knows no thread; `spawn` runs it over the queue.

use std::cell::Cell;
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use crate::clock::Clock;
use crate::core::units::{Epoch, Millis, Offset};
use crate::ingest::Refusal;
use crate::ingest::feed::FeedIn;
use crate::ingest::frame::Frame;
use crate::ingest::gather::Gather;
use crate::ingest::owed::Owed;
use crate::ingest::queue::{Batch, Queue, Request, Retain};
use crate::log::{Extent, Log, LogError};

/// Cuts and emissions for which there was no room are tried again after this time.
const RETRY_AFTER: Duration = Duration::from_millis(500);
/// Between two deletions of segments, where no frame comes between.
const RETAIN_PAUSE: Duration = Duration::from_millis(20);

/// What the writer tells the coordinator.
#[derive(Debug)]
pub enum Note {
    /// Everything up to here is on disk: `end` events, the cuts up to `cut`, what epochs up to `emitted` have emitted, in a log of this extent. `took`: to
    /// write and sync a frame; None: segments were let go of.
    Durable { end: Offset, cut: Option<Epoch>, emitted: Option<Epoch>, extent: Extent, took: Option<Duration> },
    /// Nothing more is acknowledged; the process must be ended.
    Failed(LogError),
}

/// The group commit: owns the log, and says what became of what was submitted.
pub struct Writer {
    log: Log,
    feed: FeedIn,
    /// What the disk had no room for, and is in no frame yet.
    deferred: Owed,
    /// While there may be something to delete.
    retaining: Option<Retain>,
    /// Whether there was room for the last submissions, until somebody asks.
    room: Option<Result<(), Refusal>>,
}

/// The log has failed, as the note said: commit nothing more.
#[derive(Debug)]
pub struct LogFailed;

impl Writer {
    #[must_use]
    pub fn new(log: Log, feed: FeedIn) -> Self {
        Self { log, feed, deferred: Owed::default(), retaining: None, room: None }
    }

    /// Puts the batch into one frame. When it is on disk: slabs and those who wait for them go into the feed, then the coordinator is told, then the receipts
    /// are given out. Where there is no room the submissions are refused, and what is owed goes in alone, as soon as it can.
    ///
    /// # Errors
    /// The log has failed: `note` was told why, and nobody was given a receipt.
    pub fn commit(&mut self, batch: Batch, now: Millis, note: &impl Fn(Note)) -> Result<(), LogFailed> {
        let Batch { requests, owed, retain } = batch;
        let owed = std::mem::take(&mut self.deferred).then(owed);
        self.retaining = retain.or(self.retaining);
        let done = self.write(requests, owed, now, note).and_then(|()| self.let_go(note));
        done.map_err(|error| {
            note(Note::Failed(error));
            LogFailed
        })
    }

    /// When there is something to do even if nothing comes: cuts wait for room on the disk, or segments to be deleted.
    #[must_use]
    pub fn again_after(&self) -> Option<Duration> {
        let retaining = self.retaining.map(|_| RETAIN_PAUSE);
        retaining.or((!self.deferred.is_empty()).then_some(RETRY_AFTER))
    }

    fn write(&mut self, requests: Vec<Request>, owed: Owed, now: Millis, note: &impl Fn(Note)) -> Result<(), LogError> {
        if requests.is_empty() && owed.is_empty() {
            return Ok(());
        }
        // The wall clock may go back; what the log says does not.
        let ingest = now.max(self.log.ingest());
        let mut frame = Frame::of(requests, self.log.end(), ingest);
        let records = frame.records(&owed, self.log.end(), ingest);
        let begun = Instant::now();
        match self.log.append(&records, ingest) {
            Ok(_) => {
                let took = Some(begun.elapsed());
                // Before the coordinator hears of the events: a checkpoint that has them has their keys.
                frame.keys.into_iter().for_each(|(claim, receipt)| claim.logged(receipt, ingest));
                let claims = frame.claims.into_iter();
                let retries = claims.flat_map(|(claim, first)| claim.retried(first)).collect();
                self.feed.push(frame.slabs, frame.waiting, retries);
                let (cut, emitted) = (owed.cuts.last(), owed.emissions.last());
                let (cut, emitted) = (cut.map(|ended| ended.cut.epoch), emitted.map(|emission| emission.epoch));
                note(Note::Durable { end: self.log.end(), cut, emitted, extent: self.log.extent(), took });
                if !frame.receipts.is_empty() {
                    self.room = Some(Ok(()));
                }
                for (to, receipt) in frame.receipts {
                    // Who went away in the meantime needs none; the events are in.
                    let _ = to.send(Ok(receipt));
                }
                Ok(())
            }
            Err(LogError::Full) => self.write_owed(frame, owed, ingest, Refusal::LogFull, note),
            Err(LogError::DiskFull) => self.write_owed(frame, owed, ingest, Refusal::DiskFull, note),
            Err(error) => Err(error),
        }
    }

    /// There is no room for the submissions, but perhaps for what is owed: it lets epochs end, and so room come.
    fn write_owed(
        &mut self,
        frame: Frame,
        owed: Owed,
        ingest: Millis,
        refusal: Refusal,
        note: &impl Fn(Note),
    ) -> Result<(), LogError> {
        let refused = !frame.receipts.is_empty();
        // Before those who are refused can try again.
        drop((frame.claims, frame.keys));
        if refused {
            self.room = Some(Err(refusal));
        }
        for (to, _) in frame.receipts {
            let _ = to.send(Err(refusal));
        }
        if refused && !owed.is_empty() {
            return self.write(Vec::new(), owed, ingest, note);
        }
        self.deferred = owed;
        Ok(())
    }

    /// Lets go of one segment between two frames.
    fn let_go(&mut self, note: &impl Fn(Note)) -> Result<(), LogError> {
        let Some(Retain { needed_from, keep_since }) = self.retaining else { return Ok(()) };
        if self.log.retain(needed_from, keep_since)? {
            let (end, extent) = (self.log.end(), self.log.extent());
            note(Note::Durable { end, cut: None, emitted: None, extent, took: None });
        } else {
            self.retaining = None;
        }
        Ok(())
    }
}

/// Starts the writer's thread. `note` is called on it: after each sync and before the receipts are given out, so that whoever has a receipt finds
/// the ledger raised.
#[must_use]
pub fn spawn(
    log: Log,
    queue: Queue,
    feed: FeedIn,
    clock: Arc<dyn Clock>,
    note: impl Fn(Note) + Send + 'static,
) -> JoinHandle<()> {
    let run = move || {
        let mut writer = Writer::new(log, feed);
        let mut gather = Gather::default();
        // How many waited when the frame was on disk: those whom it answers are not yet among them.
        let left = Cell::new(0);
        let note = |told: Note| {
            left.set(queue.waiting());
            note(told);
        };
        while let Some(batch) = queue.wait(writer.again_after(), &mut gather) {
            let (answered, begun) = (batch.requests.len(), Instant::now());
            if writer.commit(batch, clock.unix(), &note).is_err() {
                return;
            }
            gather.written(answered, left.get(), begun.elapsed());
            if let Some(room) = writer.room.take() {
                queue.show_room(room);
            }
        }
    };
    match thread::Builder::new().name("log-writer".to_owned()).spawn(run) {
        Ok(thread) => thread,
        Err(error) => panic!("no thread for the log's writer: {error}"),
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::pin::pin;
    use std::sync::{Mutex, mpsc};
    use std::task::{Context, Waker};

    use super::*;
    use crate::clock::SystemClock;
    use crate::core::epoch::Cut;
    use crate::core::units::LogId;
    use crate::ingest::feed::feed;
    use crate::ingest::frame::tests::{lines_of, submission};
    use crate::ingest::owed::Ended;
    use crate::ingest::queue::queue;
    use crate::log::disk::FileDisk;
    use crate::log::{Options, Recovered};

    fn open(directory: &Path) -> (Log, Recovered) {
        let disk = Arc::new(FileDisk::open(directory).unwrap());
        let options = Options { segment_bytes: 1 << 20, bytes_max: u64::MAX, low_water_bytes: 0, store_asked: true };
        Log::open(disk, options, LogId(1), None, Offset(0)).unwrap()
    }

    /// Whoever has a receipt finds his events at its offsets after a restart; the offsets are dense; the notes have told of them before.
    #[test]
    fn receipts_name_what_the_log_holds() {
        const CLIENTS: u64 = 8;
        const REQUESTS: u64 = 40;
        let directory = tempfile::tempdir().unwrap();
        let (log, recovered) = open(directory.path());
        let (ingest, cutter, queue) = queue(1000, 64 << 20, Arc::default());
        let (feed_in, mut feed) = feed(log.reader(Offset(0)), Offset(0));
        let (told, notes) = mpsc::channel();
        let durable = Arc::new(Mutex::new(recovered.end));
        let noted = durable.clone();
        let writer = spawn(log, queue, feed_in, Arc::new(SystemClock::default()), move |note| {
            let Note::Durable { end, cut, .. } = note else { panic!("{note:?}") };
            *noted.lock().unwrap() = end;
            told.send(cut).unwrap();
        });
        ingest.gate(None);
        let client = |client: u64| {
            let (ingest, durable) = (ingest.clone(), durable.clone());
            thread::spawn(move || {
                let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
                let mut expected = Vec::new();
                for request in 0..REQUESTS {
                    let lines: Vec<String> = (0..=request % 5).map(|n| format!("{client} {request} {n}")).collect();
                    let topic = (request % 3 > 0).then_some((client % 2) as u16);
                    let receipt = runtime.block_on(ingest.submit(submission(topic, &lines))).unwrap();
                    assert!(durable.lock().unwrap().0 >= receipt.first.0 + u64::from(receipt.count));
                    assert_eq!(receipt.count as usize, lines.len());
                    expected.extend((receipt.first.0..).zip(lines));
                }
                expected
            })
        };
        let clients: Vec<_> = (0..CLIENTS).map(client).collect();
        let cuts: Vec<u64> = (1..=20).collect();
        for &epoch in &cuts {
            let cut = Cut {
                epoch: Epoch(epoch),
                end: Offset(0),
                ingest: Millis(0),
                up: Millis(0),
                idle: None,
                emitted: Epoch(0),
            };
            cutter.cut(Ended { cut, discards: Vec::new(), bundle: None });
        }
        let mut expected: Vec<(u64, String)> = clients.into_iter().flat_map(|c| c.join().unwrap()).collect();
        expected.sort();
        cutter.close();
        writer.join().unwrap();
        assert_eq!(notes.iter().flatten().last(), Some(Epoch(20)));

        let mut fed = Vec::new();
        while let Some(slab) = feed.next_slab().unwrap() {
            fed.extend((slab.first_offset.0..).zip(lines_of(&slab)));
        }
        assert_eq!(fed, expected);
        let (log, recovered) = open(directory.path());
        assert_eq!(recovered.end.0, expected.len() as u64);
        assert_eq!(recovered.cuts.iter().map(|c| c.epoch.0).collect::<Vec<_>>(), cuts);
        let (mut reader, mut read) = (log.reader(Offset(0)), Vec::new());
        while let Some(slab) = reader.next_slab().unwrap() {
            read.extend((slab.first_offset.0..).zip(lines_of(&slab)));
        }
        assert_eq!(read, expected);
    }

    /// Silence does not count while events are refused, so whoever measures it must see the refusal; and a drain must see that nothing is under way.
    #[test]
    fn a_refusal_for_want_of_room_is_seen_and_then_the_writer_is_idle() {
        let directory = tempfile::tempdir().unwrap();
        let disk = Arc::new(FileDisk::open(directory.path()).unwrap());
        let options =
            Options { segment_bytes: 1 << 20, bytes_max: u64::MAX, low_water_bytes: u64::MAX, store_asked: true };
        let (log, _) = Log::open(disk, options, LogId(1), None, Offset(0)).unwrap();
        let (feed_in, _feed) = feed(log.reader(Offset(0)), Offset(0));
        let (ingest, cutter, queue) = queue(10, 1 << 20, Arc::default());
        ingest.gate(None);
        assert_eq!(ingest.gated(), None);
        assert!(cutter.is_idle());
        let mut waits = pin!(ingest.submit(submission(None, &["{}".to_owned()])));
        assert!(waits.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending());
        assert!(!cutter.is_idle(), "something waits");
        let thread = spawn(log, queue, feed_in, Arc::new(SystemClock::default()), |_| {});
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        assert_eq!(runtime.block_on(waits), Err(Refusal::DiskFull));
        cutter.close();
        thread.join().unwrap();
        assert_eq!(ingest.gated(), Some(Refusal::DiskFull));
        assert!(cutter.is_idle());
    }
}
