//! The log's one writer: takes submissions, cuts and what the job emits, puts what waits into one frame, syncs it, then acknowledges.
//!
//! `Writer::commit` is the whole of a group commit and knows no thread; `spawn` runs it over the queue.

use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use tokio::sync::oneshot;

use crate::clock::Clock;
use crate::core::columns::Slab;
use crate::core::emit::Emission;
use crate::core::epoch::Cut;
use crate::core::mend::{Discards, Retry};
use crate::core::units::{Epoch, Millis, Offset};
use crate::ingest::feed::{FeedIn, Waiting};
use crate::ingest::letters::{Claim, Letters};
use crate::ingest::slabs::{Piece, slabs, split};
use crate::ingest::{Receipt, Refusal, Submission};
use crate::log::{Config, Log, LogError, Record};

/// A frame takes no further submission beyond this: one sync's worth, so that those at its front do not wait for long.
const FRAME_BYTES_MAX: usize = 16 << 20;
/// Cuts and emissions for which there was no room are tried again after this time.
const RETRY_AFTER: Duration = Duration::from_millis(500);

/// Between two deletions of segments, where no frame comes between.
const RETAIN_PAUSE: Duration = Duration::from_millis(20);
/// A refusal for want of room is taken to last this long; by then those who were refused have tried again.
const REFUSING_FOR: Duration = Duration::from_secs(10);

/// What the writer tells the coordinator.
#[derive(Debug)]
pub enum Note {
    /// Everything up to here is on disk: `end` events, the cuts up to `cut`, what epochs up to `emitted` have emitted, in a log of `bytes`.
    Durable { end: Offset, cut: Option<Epoch>, emitted: Option<Epoch>, bytes: u64 },
    /// Nothing more is acknowledged; the process must be ended.
    Failed(LogError),
}

/// The way in for HTTP and the generator. It exists before the log is open; until then it refuses.
#[derive(Clone)]
pub struct Ingest {
    shared: Arc<Shared>,
}

/// The coordinator's way to the writer.
#[derive(Clone)]
pub struct Cutter {
    shared: Arc<Shared>,
}

/// The writer's end of the queue.
pub struct Queue {
    shared: Arc<Shared>,
}

/// A submission and the one who waits for its receipt.
#[derive(Debug)]
pub struct Request {
    pub submission: Submission,
    pub receipt: oneshot::Sender<Result<Receipt, Refusal>>,
}

/// What one group commit does.
#[derive(Debug, Default)]
pub struct Batch {
    pub requests: Vec<Request>,
    pub owed: Owed,
    /// As `Log::retain` takes it.
    pub retain: Option<(Offset, Option<Millis>)>,
}

/// What the coordinator has written: owed to events that are in the log already, so it goes in whatever room there is for others.
#[derive(Debug, Default)]
pub struct Owed {
    pub cuts: Vec<Ended>,
    /// In the order of their epochs.
    pub emissions: Vec<Emission>,
}

/// A cut and what stands before it in its frame.
#[derive(Debug)]
pub struct Ended {
    pub cut: Cut,
    /// Dead letters that its epoch discards.
    pub discards: Vec<Offset>,
    /// The bundle that holds after it, if another one does.
    pub bundle: Option<Arc<str>>,
}

struct Shared {
    state: Mutex<State>,
    /// Something waits for the writer.
    filled: Condvar,
    queue_max: usize,
    queue_bytes_max: usize,
    letters: Arc<Letters>,
}

struct State {
    gate: Option<Refusal>,
    /// Submissions that pass the closed gate.
    passes: usize,
    requests: VecDeque<Request>,
    bytes: usize,
    owed: Owed,
    retain: Option<(Offset, Option<Millis>)>,
    closed: bool,
    /// The thread has taken something and is not done with it.
    under_way: bool,
    /// When and why the last submission was refused for want of room; None once there was room for one.
    refused: Option<(Refusal, Instant)>,
}

/// At most `queue_max` submissions wait (INGEST_QUEUE_MAX), and `queue_bytes_max` of their bytes.
#[must_use]
pub fn queue(queue_max: usize, queue_bytes_max: usize) -> (Ingest, Cutter, Queue) {
    let state = State {
        gate: Some(Refusal::Starting),
        passes: 0,
        requests: VecDeque::new(),
        bytes: 0,
        owed: Owed::default(),
        retain: None,
        closed: false,
        under_way: false,
        refused: None,
    };
    let (state, filled, letters) = (Mutex::new(state), Condvar::new(), Arc::default());
    let shared = Arc::new(Shared { state, filled, queue_max, queue_bytes_max, letters });
    (Ingest { shared: shared.clone() }, Cutter { shared: shared.clone() }, Queue { shared })
}

impl Shared {
    /// Each change of the state is whole, so a thread that died with the lock held has harmed nothing.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn change(&self, change: impl FnOnce(&mut State)) {
        change(&mut self.lock());
        self.filled.notify_one();
    }

    fn enter(&self, submission: Submission) -> Result<oneshot::Receiver<Result<Receipt, Refusal>>, Refusal> {
        let bytes = submission.lines.len();
        let mut state = self.lock();
        if let Some(refusal) = state.closed_gate() {
            return Err(refusal);
        }
        if state.closed {
            return Err(Refusal::Draining);
        }
        // One that is larger than the queue goes in alone.
        let full = state.bytes + bytes > self.queue_bytes_max && !state.requests.is_empty();
        if full || state.requests.len() >= self.queue_max {
            return Err(Refusal::Busy);
        }
        let (receipt, answer) = oneshot::channel();
        state.passes = state.passes.saturating_sub(1);
        state.bytes += bytes;
        state.requests.push_back(Request { submission, receipt });
        drop(state);
        self.filled.notify_one();
        Ok(answer)
    }
}

impl Ingest {
    /// Waits until the events are on disk. If the log fails there is no answer: the outcome is not known, and the process is being ended.
    ///
    /// # Errors
    /// The reason why nothing of it was taken.
    pub async fn submit(&self, submission: Submission) -> Result<Receipt, Refusal> {
        assert!(submission.count > 0, "a submission has events");
        let retries = submission.retries.as_ref().map(|claim| claim.letters().len() as u32);
        assert!(retries.is_none_or(|retries| retries == submission.count), "each line retries one letter");
        let answer = self.shared.enter(submission)?;
        match answer.await {
            Ok(answer) => answer,
            Err(_) => std::future::pending().await,
        }
    }

    /// The dead letters that are being mended.
    #[must_use]
    pub fn letters(&self) -> &Arc<Letters> {
        &self.shared.letters
    }

    /// Refuses everything from now on with this reason, or with None nothing more. At first it is `Some(Refusal::Starting)`.
    pub fn gate(&self, closed: Option<Refusal>) {
        let mut state = self.shared.lock();
        (state.gate, state.passes) = (closed, 0);
    }

    /// Lets one submission pass although the gate is closed, whenever it comes.
    pub fn let_one_in(&self) {
        self.shared.lock().passes = 1;
    }

    /// Why a submission would be refused now without a look at it. Where only room is wanting it must be tried: there may be some again.
    #[must_use]
    pub fn closed(&self) -> Option<Refusal> {
        self.shared.lock().closed_gate()
    }

    /// Why submissions are refused at this time, if they are: by the gate, or lately for want of room.
    #[must_use]
    pub fn gated(&self) -> Option<Refusal> {
        let state = self.shared.lock();
        let lately = state.refused.filter(|(_, at)| at.elapsed() < REFUSING_FOR);
        state.gate.or(lately.map(|(refusal, _)| refusal))
    }
}

impl Cutter {
    /// Has this cut logged with the next frame, with what stands before it; a `Note::Durable` tells when it is on disk.
    pub fn cut(&self, ended: Ended) {
        self.shared.change(|state| state.owed.cuts.push(ended));
    }

    /// Has this logged with the next frame, likewise.
    pub fn emit(&self, emission: Emission) {
        self.shared.change(|state| state.owed.emissions.push(emission));
    }

    /// Deletes what `Log::retain` may.
    pub fn retain(&self, needed_from: Offset, keep_since: Option<Millis>) {
        self.shared.change(|state| state.retain = Some((needed_from, keep_since)));
    }

    /// Whether nothing waits for the writer and nothing is under way in it.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        let state = self.shared.lock();
        state.is_idle() && !state.under_way
    }

    /// Writes what still waits, then ends the thread.
    pub fn close(&self) {
        self.shared.change(|state| state.closed = true);
    }
}

impl State {
    fn closed_gate(&self) -> Option<Refusal> {
        self.gate.filter(|_| self.passes == 0)
    }

    fn is_idle(&self) -> bool {
        self.requests.is_empty() && self.owed.is_empty() && self.retain.is_none()
    }

    fn take(&mut self) -> Batch {
        let mut requests = Vec::new();
        let mut bytes = 0;
        while let Some(request) =
            self.requests.pop_front_if(|r| bytes == 0 || bytes + r.submission.lines.len() <= FRAME_BYTES_MAX)
        {
            bytes += request.submission.lines.len();
            requests.push(request);
        }
        self.bytes -= bytes;
        Batch { requests, owed: std::mem::take(&mut self.owed), retain: self.retain.take() }
    }
}

impl Queue {
    /// What waits, as far as it fits into one frame; it may be nothing.
    #[must_use]
    pub fn take(&self) -> Batch {
        self.shared.lock().take()
    }

    /// Waits until there is something, or for `at_most` if given. None once the queue is closed and empty.
    fn wait(&self, at_most: Option<Duration>) -> Option<Batch> {
        let mut state = self.shared.lock();
        state.under_way = false;
        while state.is_idle() {
            if state.closed {
                return None;
            }
            match at_most {
                None => state = self.shared.filled.wait(state).unwrap_or_else(PoisonError::into_inner),
                Some(time) => {
                    let waited = self.shared.filled.wait_timeout(state, time).unwrap_or_else(PoisonError::into_inner);
                    state = waited.0;
                    if waited.1.timed_out() {
                        break;
                    }
                }
            }
        }
        state.under_way = true;
        Some(state.take())
    }

    fn show_room(&self, room: Result<(), Refusal>) {
        self.shared.lock().refused = room.err().map(|refusal| (refusal, Instant::now()));
    }
}

/// The group commit: owns the log, and says what became of what was submitted.
pub struct Writer {
    log: Log,
    feed: FeedIn,
    /// What the disk had no room for, and is in no frame yet.
    deferred: Owed,
    /// As `Log::retain` takes it, while there may be something to delete.
    retaining: Option<(Offset, Option<Millis>)>,
    /// Whether there was room for the last submissions, until somebody asks.
    room: Option<Result<(), Refusal>>,
}

/// The log has failed, as the note said: commit nothing more.
#[derive(Debug)]
pub struct LogFailed;

/// Slabs of one frame, and who is to be told of them.
#[derive(Default)]
struct Frame {
    slabs: Vec<Slab>,
    receipts: Vec<(oneshot::Sender<Result<Receipt, Refusal>>, Receipt)>,
    waiting: Vec<Waiting>,
    /// Claims on dead letters, each with the first of their retries.
    claims: Vec<(Claim, Offset)>,
}

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
        // Cuts come first: they end epochs of events that are in the log already.
        let mut records: Vec<Record> = owed.cuts.iter().flat_map(Ended::records).collect();
        records.extend(frame.retries());
        records.extend(frame.slabs.iter().cloned().map(Record::Slab));
        frame.emit(&owed.emissions, self.log.end(), ingest, &mut records);
        match self.log.append(&records, ingest) {
            Ok(_) => {
                let claims = frame.claims.into_iter();
                let retries = claims.flat_map(|(claim, first)| claim.retried(first)).collect();
                self.feed.push(frame.slabs, frame.waiting, retries);
                let (cut, emitted) = (owed.cuts.last(), owed.emissions.last());
                let (cut, emitted) = (cut.map(|ended| ended.cut.epoch), emitted.map(|emission| emission.epoch));
                note(Note::Durable { end: self.log.end(), cut, emitted, bytes: self.log.bytes() });
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
        drop(frame.claims);
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
        let Some((needed_from, keep_since)) = self.retaining else { return Ok(()) };
        if self.log.retain(needed_from, keep_since)? {
            note(Note::Durable { end: self.log.end(), cut: None, emitted: None, bytes: self.log.bytes() });
        } else {
            self.retaining = None;
        }
        Ok(())
    }
}

impl Frame {
    fn of(requests: Vec<Request>, first: Offset, ingest: Millis) -> Self {
        let mut frame = Self::default();
        let mut pieces = Vec::new();
        let mut end = first;
        for Request { submission, receipt } in requests {
            let Submission { topic, lines, count, applied, retries } = submission;
            frame.claims.extend(retries.map(|claim| (claim, end)));
            frame.waiting.extend(applied.map(|to| Waiting { first: end, count, to }));
            frame.receipts.push((receipt, Receipt { first: end, count }));
            end = Offset(end.0 + u64::from(count));
            split(Piece { topic, lines, count }, &mut pieces);
        }
        frame.slabs = slabs(pieces, first, ingest);
        frame
    }

    /// What says of its events that they are retries.
    fn retries(&self) -> Option<Record> {
        let of_claim = |(claim, first): &(Claim, Offset)| claim.retries(*first).collect::<Vec<_>>();
        let retries: Vec<Retry> = self.claims.iter().flat_map(of_claim).collect();
        (!retries.is_empty()).then_some(Record::Retries(retries))
    }

    /// Adds what epochs have emitted behind the submissions, whose slabs begin at `first`.
    fn emit(&mut self, emissions: &[Emission], first: Offset, ingest: Millis, records: &mut Vec<Record>) {
        for Emission { epoch, lines } in emissions {
            records.push(Record::Emit(*epoch));
            let mut pieces = Vec::new();
            for (topic, lines) in lines {
                let count = lines.len() as u32;
                let lines: String = lines.iter().flat_map(|line| [line.as_str(), "\n"]).collect();
                split(Piece { topic: Some(*topic), lines: lines.into(), count }, &mut pieces);
            }
            let end = self.slabs.last().map_or(first, |slab| Offset(slab.first_offset.0 + u64::from(slab.count)));
            let emitted = slabs(pieces, end, ingest);
            records.extend(emitted.iter().cloned().map(Record::Slab));
            self.slabs.extend(emitted);
        }
    }
}

impl Ended {
    /// What stands before the cut, and the cut.
    #[must_use]
    pub fn records(&self) -> Vec<Record> {
        let Self { cut, discards, bundle } = self;
        let discards = Discards { epoch: cut.epoch, letters: discards.clone() };
        let config = bundle.clone().map(|bundle| Record::Config(Config { epoch: cut.epoch, bundle }));
        let discards = (!discards.letters.is_empty()).then_some(Record::Discards(discards));
        discards.into_iter().chain(config).chain([Record::Cut(*cut)]).collect()
    }
}

impl Owed {
    fn is_empty(&self) -> bool {
        self.cuts.is_empty() && self.emissions.is_empty()
    }

    fn then(mut self, later: Self) -> Self {
        self.cuts.extend(later.cuts);
        self.emissions.extend(later.emissions);
        self
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
        while let Some(batch) = queue.wait(writer.again_after()) {
            if writer.commit(batch, clock.unix(), &note).is_err() {
                return;
            }
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
    use std::sync::mpsc;

    use super::*;
    use crate::clock::SystemClock;
    use crate::core::units::LogId;
    use crate::core::units::TopicId;
    use crate::ingest::feed::feed;
    use crate::log::disk::FileDisk;
    use crate::log::{Options, Recovered};

    fn open(directory: &Path) -> (Log, Recovered) {
        let disk = Arc::new(FileDisk::open(directory).unwrap());
        let options = Options { segment_bytes: 1 << 20, bytes_max: u64::MAX, low_water_bytes: 0, store_asked: true };
        Log::open(disk, options, LogId(1), None, Offset(0)).unwrap()
    }

    fn submission(topic: Option<u16>, lines: &[String]) -> Submission {
        let text: String = lines.iter().map(|l| format!("{l}\n")).collect();
        Submission {
            topic: topic.map(TopicId),
            lines: text.into(),
            count: lines.len() as u32,
            applied: None,
            retries: None,
        }
    }

    fn lines_of(slab: &Slab) -> Vec<String> {
        let text = std::str::from_utf8(&slab.bytes).unwrap();
        text.strip_suffix('\n').unwrap().split('\n').map(str::to_owned).collect()
    }

    /// (topic, kilobytes of each line) of submissions → (topic, lines, first offset) of slabs.
    #[test]
    fn submissions_become_slabs() {
        type Case = (&'static [(Option<u16>, &'static [usize])], &'static [(Option<u16>, u32, u64)]);
        let cases: &[Case] = &[
            (&[(Some(1), &[1])], &[(Some(1), 1, 0)]),
            (&[(Some(1), &[1, 2]), (Some(1), &[3])], &[(Some(1), 3, 0)]),
            (
                &[(Some(1), &[1]), (Some(2), &[1]), (Some(1), &[1])],
                &[(Some(1), 1, 0), (Some(2), 1, 1), (Some(1), 1, 2)],
            ),
            (&[(None, &[1]), (None, &[1]), (Some(0), &[1])], &[(None, 2, 0), (Some(0), 1, 2)]),
            (&[(Some(1), &[1000]), (Some(1), &[24]), (Some(1), &[1])], &[(Some(1), 1, 0), (Some(1), 2, 1)]),
            (&[(Some(1), &[600, 600, 600])], &[(Some(1), 1, 0), (Some(1), 1, 1), (Some(1), 1, 2)]),
            (&[(Some(1), &[400, 400, 400, 400]), (Some(1), &[1])], &[(Some(1), 2, 0), (Some(1), 3, 2)]),
            // Larger than a slab, and not split.
            (&[(Some(1), &[1, 3000, 1])], &[(Some(1), 1, 0), (Some(1), 1, 1), (Some(1), 1, 2)]),
        ];
        for &(submissions, expected) in cases {
            let mut all = Vec::new();
            let requests = submissions.iter().map(|&(topic, sizes)| {
                let lines: Vec<String> = sizes.iter().map(|kb| "x".repeat(kb << 10)).collect();
                all.extend(lines.clone());
                Request { submission: submission(topic, &lines), receipt: oneshot::channel().0 }
            });
            let frame = Frame::of(requests.collect(), Offset(0), Millis(0));
            let shapes: Vec<_> =
                frame.slabs.iter().map(|s| (s.topic.map(|t| t.0), s.count, s.first_offset.0)).collect();
            let name: Vec<_> = submissions.iter().map(|s| s.1).collect();
            assert_eq!(shapes, expected, "{name:?}");
            assert!(frame.slabs.iter().flat_map(lines_of).eq(all), "{name:?}");
        }
    }

    #[test]
    fn the_way_in_is_bounded_and_gated() {
        let (ingest, cutter, queue) = queue(2, 100);
        let enter = |bytes: usize| {
            let lines = "x".repeat(bytes - 1) + "\n";
            ingest
                .shared
                .enter(Submission { topic: None, lines: lines.into(), count: 1, applied: None, retries: None })
                .err()
        };
        assert_eq!((ingest.gated(), enter(1)), (Some(Refusal::Starting), Some(Refusal::Starting)));
        ingest.gate(None);
        assert_eq!([enter(1000), enter(1)], [None, Some(Refusal::Busy)], "a large one goes in alone");
        assert_eq!(queue.take().requests.len(), 1);
        assert_eq!([enter(50), enter(51), enter(50), enter(1)], [None, Some(Refusal::Busy), None, Some(Refusal::Busy)]);
        ingest.gate(Some(Refusal::IdsFull));
        assert_eq!(enter(1), Some(Refusal::IdsFull));
        assert_eq!(queue.take().requests.len(), 2, "what was let in before is taken");
        ingest.let_one_in();
        assert_eq!((ingest.closed(), enter(1)), (None, None));
        assert_eq!((ingest.closed(), enter(1)), (Some(Refusal::IdsFull), Some(Refusal::IdsFull)), "one was let in");
        assert_eq!(queue.take().requests.len(), 1);
        ingest.gate(None);
        cutter.close();
        assert_eq!(enter(1), Some(Refusal::Draining));
        assert!(queue.wait(None).is_none());
    }

    #[test]
    fn a_frame_takes_no_more_than_its_share() {
        let (ingest, _cutter, queue) = queue(100, usize::MAX);
        ingest.gate(None);
        for megabytes in [20, 6, 10, 1] {
            let lines = "x".repeat((megabytes << 20) - 1) + "\n";
            let submission = Submission { topic: None, lines: lines.into(), count: 1, applied: None, retries: None };
            assert!(ingest.shared.enter(submission).is_ok());
        }
        let taken = [(); 4].map(|()| queue.take().requests.len());
        assert_eq!(taken, [1, 2, 1, 0]);
    }

    /// Whoever has a receipt finds his events at its offsets after a restart; the offsets are dense; the notes have told of them before.
    #[test]
    fn receipts_name_what_the_log_holds() {
        const CLIENTS: u64 = 8;
        const REQUESTS: u64 = 40;
        let directory = tempfile::tempdir().unwrap();
        let (log, recovered) = open(directory.path());
        let (ingest, cutter, queue) = queue(1000, 64 << 20);
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
        let (ingest, cutter, queue) = super::queue(10, 1 << 20);
        ingest.gate(None);
        assert_eq!(ingest.gated(), None);
        assert!(cutter.is_idle());
        let waits = ingest.shared.enter(submission(None, &["{}".to_owned()])).unwrap();
        assert!(!cutter.is_idle(), "something waits");
        let thread = spawn(log, queue, feed_in, Arc::new(SystemClock::default()), |_| {});
        assert_eq!(waits.blocking_recv().unwrap(), Err(Refusal::DiskFull));
        cutter.close();
        thread.join().unwrap();
        assert_eq!(ingest.gated(), Some(Refusal::DiskFull));
        assert!(cutter.is_idle());
    }
}
