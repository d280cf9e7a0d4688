//! What waits for the log's writer: submissions, as many as there is room for and as the gate lets in, and what rank 0 owes the log. Whoever submits and whoever
//! cuts meet the writer's thread only here.

use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::oneshot;

use crate::core::emit::Emission;
use crate::core::units::{Millis, Offset};
use crate::ingest::gather::Gather;
use crate::ingest::keys::Keys;
use crate::ingest::letters::Letters;
use crate::ingest::owed::{Ended, Owed};
use crate::ingest::{Receipt, Refusal, Submission};

/// A frame takes no further submission beyond this: one sync's worth, so that those at its front do not wait for long.
const FRAME_BYTES_MAX: usize = 16 << 20;
/// With as much as this there is no waiting for more: the sync is worth it.
const GATHER_BYTES_MAX: usize = 256 << 10;
/// A refusal for want of room is taken to last this long; by then those who were refused have tried again.
const REFUSING_FOR: Duration = Duration::from_secs(10);

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
    pub retain: Option<Retain>,
}

/// What of the log may be deleted, as `Log::retain` takes it.
#[derive(Clone, Copy, Debug)]
pub struct Retain {
    pub needed_from: Offset,
    pub keep_since: Option<Millis>,
}

struct Shared {
    state: Mutex<State>,
    /// Something waits for the writer.
    filled: Condvar,
    queue_max: usize,
    queue_bytes_max: usize,
    letters: Arc<Letters>,
    keys: Arc<Keys>,
}

struct State {
    gate: Option<Refusal>,
    /// Submissions that pass the closed gate.
    passes: usize,
    requests: VecDeque<Request>,
    bytes: usize,
    owed: Owed,
    retain: Option<Retain>,
    closed: bool,
    /// The writer sleeps until so many requests wait; None: it is awake, and need not be woken.
    sleeps_until: Option<usize>,
    /// The thread has taken something and is not done with it.
    under_way: bool,
    /// When and why the last submission was refused for want of room; None once there was room for one.
    refused: Option<(Refusal, Instant)>,
}

/// At most `queue_max` submissions wait (INGEST_QUEUE_MAX), and `queue_bytes_max` of their bytes.
#[must_use]
pub fn queue(queue_max: usize, queue_bytes_max: usize, keys: Arc<Keys>) -> (Ingest, Cutter, Queue) {
    let state = State {
        gate: Some(Refusal::Starting),
        passes: 0,
        requests: VecDeque::new(),
        bytes: 0,
        owed: Owed::default(),
        retain: None,
        closed: false,
        sleeps_until: None,
        under_way: false,
        refused: None,
    };
    let (state, filled, letters) = (Mutex::new(state), Condvar::new(), Arc::default());
    let shared = Arc::new(Shared { state, filled, queue_max, queue_bytes_max, letters, keys });
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
        // To wake it costs a system call, so it is done once.
        let wakes = state.sleeps_until.is_some_and(|enough| state.requests.len() >= enough);
        if wakes {
            state.sleeps_until = None;
        }
        drop(state);
        if wakes {
            self.filled.notify_one();
        }
        Ok(answer)
    }
}

impl Ingest {
    /// Hands the events over at once; what it gives waits for their receipt, which comes when they are on disk, or has the reason why nothing of them was taken. To drop that
    /// takes nothing back. If the log fails there is no answer: the outcome is not known, and the process is being ended.
    pub fn submit(&self, submission: Submission) -> impl Future<Output = Result<Receipt, Refusal>> + use<> {
        assert!(submission.count > 0, "a submission has events");
        let retries = submission.retries.as_ref().map(|claim| claim.letters().len() as u32);
        assert!(retries.is_none_or(|retries| retries == submission.count), "each line retries one letter");
        let entered = self.shared.enter(submission);
        async move {
            match entered?.await {
                Ok(answer) => answer,
                Err(_) => std::future::pending().await,
            }
        }
    }

    /// The dead letters that are being mended.
    #[must_use]
    pub fn letters(&self) -> &Arc<Letters> {
        &self.shared.letters
    }

    /// The requests that name themselves.
    #[must_use]
    pub fn keys(&self) -> &Arc<Keys> {
        &self.shared.keys
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
        self.shared.change(|state| state.retain = Some(Retain { needed_from, keep_since }));
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

    /// Whether more small requests are to be waited for. What rank 0 owes the log is not kept waiting, nor is anybody where the queue fills.
    fn gathers(&self, wished: usize) -> bool {
        let room = self.bytes < GATHER_BYTES_MAX;
        room && !self.requests.is_empty() && self.requests.len() < wished && self.owed.is_empty() && !self.closed
    }

    fn is_idle(&self) -> bool {
        self.requests.is_empty() && self.owed.is_empty() && self.retain.is_none()
    }

    /// What waits, as far as it fits into one frame; it may be nothing.
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
    /// Waits until there is something, or for `at_most` if given; then as long as `gather` thinks fit for more. None once the queue is closed and empty.
    pub(super) fn wait(&self, at_most: Option<Duration>, gather: &mut Gather) -> Option<Batch> {
        let mut state = self.shared.lock();
        state.under_way = false;
        while state.is_idle() {
            if state.closed {
                return None;
            }
            let timed_out;
            (state, timed_out) = self.sleep(state, 1, at_most);
            if timed_out {
                break;
            }
        }
        if let Some((wished, at_most)) = gather.wish() {
            let wished = wished.min(self.shared.queue_max);
            let until = Instant::now() + at_most;
            let mut left = at_most;
            while state.gathers(wished) && !left.is_zero() {
                (state, _) = self.sleep(state, wished, Some(left));
                left = until.saturating_duration_since(Instant::now());
            }
            if state.requests.len() >= wished {
                gather.came();
            } else if left.is_zero() {
                gather.missed(state.requests.len());
            }
        }
        state.under_way = true;
        Some(state.take())
    }

    /// Sleeps until so many requests wait, there is anything else to do, or the time is over; gives whether it is.
    fn sleep<'a>(
        &'a self,
        mut state: MutexGuard<'a, State>,
        requests: usize,
        at_most: Option<Duration>,
    ) -> (MutexGuard<'a, State>, bool) {
        state.sleeps_until = Some(requests);
        let (mut state, timed_out) = match at_most {
            None => (self.shared.filled.wait(state).unwrap_or_else(PoisonError::into_inner), false),
            Some(time) => {
                let (state, timeout) =
                    self.shared.filled.wait_timeout(state, time).unwrap_or_else(PoisonError::into_inner);
                (state, timeout.timed_out())
            }
        };
        state.sleeps_until = None;
        (state, timed_out)
    }

    /// Requests that wait for the next frame.
    pub(super) fn waiting(&self) -> usize {
        self.shared.lock().requests.len()
    }

    /// Whether there was room for the last submissions.
    pub(super) fn show_room(&self, room: Result<(), Refusal>) {
        self.shared.lock().refused = room.err().map(|refusal| (refusal, Instant::now()));
    }
}

#[cfg(test)]
mod tests {
    use std::pin::pin;
    use std::task::{Context, Poll, Waker};

    use super::*;
    use crate::ingest::Kept;

    /// Of one line of so many bytes.
    fn submission(bytes: usize) -> Submission {
        let lines = ("x".repeat(bytes - 1) + "\n").into();
        Submission { topic: None, lines, count: 1, applied: None, retries: None, kept: Kept::default() }
    }

    #[test]
    fn the_way_in_is_bounded_and_gated() {
        let (ingest, cutter, queue) = queue(2, 100, Arc::default());
        let enter = |bytes: usize| ingest.shared.enter(submission(bytes)).err();
        assert_eq!((ingest.gated(), enter(1)), (Some(Refusal::Starting), Some(Refusal::Starting)));
        ingest.gate(None);
        assert_eq!([enter(1000), enter(1)], [None, Some(Refusal::Busy)], "a large one goes in alone");
        assert_eq!(queue.shared.lock().take().requests.len(), 1);
        assert_eq!([enter(50), enter(51), enter(50), enter(1)], [None, Some(Refusal::Busy), None, Some(Refusal::Busy)]);
        ingest.gate(Some(Refusal::IdsFull));
        assert_eq!(enter(1), Some(Refusal::IdsFull));
        assert_eq!(queue.shared.lock().take().requests.len(), 2, "what was let in before is taken");
        ingest.let_one_in();
        assert_eq!((ingest.closed(), enter(1)), (None, None));
        assert_eq!((ingest.closed(), enter(1)), (Some(Refusal::IdsFull), Some(Refusal::IdsFull)), "one was let in");
        assert_eq!(queue.shared.lock().take().requests.len(), 1);
        ingest.gate(None);
        cutter.close();
        assert_eq!(enter(1), Some(Refusal::Draining));
        assert!(queue.wait(None, &mut Gather::default()).is_none());
    }

    #[test]
    fn where_the_log_fails_no_answer_comes() {
        let (ingest, _cutter, queue) = queue(2, 100, Arc::default());
        let mut cx = Context::from_waker(Waker::noop());
        let refused = pin!(ingest.submit(submission(1)));
        assert_eq!(refused.poll(&mut cx), Poll::Ready(Err(Refusal::Starting)));
        ingest.gate(None);
        let mut waiting = pin!(ingest.submit(submission(1)));
        assert!(waiting.as_mut().poll(&mut cx).is_pending());
        drop(queue.shared.lock().take());
        for _ in 0..2 {
            assert!(waiting.as_mut().poll(&mut cx).is_pending());
        }
    }

    #[test]
    fn a_frame_takes_no_more_than_its_share() {
        let (ingest, _cutter, queue) = queue(100, usize::MAX, Arc::default());
        ingest.gate(None);
        for megabytes in [20, 6, 10, 1] {
            assert!(ingest.shared.enter(submission(megabytes << 20)).is_ok());
        }
        let taken = [(); 4].map(|()| queue.shared.lock().take().requests.len());
        assert_eq!(taken, [1, 2, 1, 0]);
    }
}
