//! Ranks over MPI: a small checked nonblocking layer on `mpi::ffi`. The only file that knows MPI, and the only one with `unsafe`.
//!
//! The crate `mpi` starts MPI, makes the communicators and ends it. Its scoped requests do not fit an event loop that sends at any moment and
//! never waits, so a request and the buffer that MPI reads or writes live side by side in `Pending` until MPI says that it has done with them.
//! It knows nothing of what the bytes mean.
#![allow(unsafe_code)]

use std::collections::VecDeque;
use std::env;
use std::ffi::{c_char, c_int};
use std::marker::PhantomData;
use std::mem::{self, ManuallyDrop};
use std::sync::OnceLock;
use std::thread::{self, ThreadId};

use mpi::Threading;
use mpi::environment::Universe;
use mpi::ffi::{self, MPI_Comm, MPI_Request};
use mpi::raw::AsRaw;
use mpi::topology::{Communicator, SimpleCommunicator};

use crate::transport::idle::Idle;
use crate::transport::{Channel, MESSAGE_BYTES_MAX, Received, Transport, TransportError, process};

/// Messages matched in one call of `receive`: enough to make a probe's price small, few enough that the caller soon sees the first of them.
const MATCHES_MAX: usize = 64;

/// All messages of a channel bear one tag: MPI keeps the order of messages between two ranks on one communicator.
const TAG: c_int = 0;

/// Where launchers say how many ranks they started, from the nearest to the process outwards.
const ANNOUNCED_SIZE: [&str; 3] = ["OMPI_COMM_WORLD_SIZE", "PMI_SIZE", "SLURM_STEP_NUM_TASKS"];

/// The thread that started MPI and alone may call it.
static MPI_THREAD: OnceLock<ThreadId> = OnceLock::new();

/// This process as one rank of an MPI job.
///
/// Dropped, it leaves MPI as it is: after a fault a finalize may hang, and the process is to end by `abort`. A rank that has done its work
/// calls `finish`.
pub struct MpiTransport {
    rank: usize,
    size: usize,
    /// In the order of `Channel`.
    lines: [Line; 2],
    sends: Pending<Vec<u8>>,
    receives: Pending<Receiving>,
    /// Whole messages, each channel's and edge's in order.
    arrived: VecDeque<Received>,
    universe: ManuallyDrop<Universe>,
    /// Only the thread that started MPI may call it (`Threading::Funneled`).
    not_send: PhantomData<*mut ()>,
}

/// One channel: a communicator of its own, so that its messages never wait behind the other's.
struct Line {
    channel: Channel,
    communicator: ManuallyDrop<SimpleCommunicator>,
    /// By source: what was matched and not handed on yet. A small message may be complete before the large one sent earlier; it waits here.
    edges: Vec<Edge>,
}

#[derive(Default)]
struct Edge {
    /// Number of the first message in `waiting`, counted from the first on this edge.
    first: u64,
    waiting: VecDeque<Option<Vec<u8>>>,
}

/// A matched message that MPI is writing into `buffer`, whose capacity is `bytes` and whose length is 0 until then.
struct Receiving {
    line: usize,
    from: usize,
    number: u64,
    bytes: usize,
    buffer: Vec<u8>,
}

/// Joins the job that this process was launched into, to die with its launcher; alone, it is a job of one rank. Call it once, from the thread
/// that will own the transport.
///
/// # Errors
/// If the MPI library lacks the thread level, or was built against another MPI than the one that launched this process.
pub fn init() -> Result<MpiTransport, TransportError> {
    let refuse = |why: String| TransportError::Mpi { call: "MPI_Init_thread", why };
    let announced = announced_size();
    if announced.is_some() {
        // Before MPI starts, which fails if the launcher is gone by then.
        process::die_with_parent();
    }
    let Some((universe, threading)) = mpi::initialize_with_threading(Threading::Funneled) else {
        return Err(refuse("MPI was started before in this process".to_owned()));
    };
    // From here on, an early return must not finalize: the other ranks may have failed elsewhere.
    let universe = ManuallyDrop::new(universe);
    MPI_THREAD.get_or_init(|| thread::current().id());
    if threading < Threading::Funneled {
        return Err(refuse(format!(
            "the library grants only the thread level {threading:?}, Funneled is needed; use an MPI built with threads ({})",
            library()
        )));
    }
    let world = universe.world();
    let size = world.size() as usize;
    if let Some((name, announced)) = announced.filter(|&(_, announced)| size == 1 && announced > 1) {
        return Err(refuse(format!(
            "the launcher started {announced} ranks ({name}), but the MPI library in this binary sees only this process: it was built against \
             one MPI and launched with another. Launch it with the mpirun of {}, or build it anew with the mpicc that belongs to your mpirun",
            library()
        )));
    }
    Ok(MpiTransport {
        rank: world.rank() as usize,
        size,
        lines: [Line::new(&world, Channel::Data, size)?, Line::new(&world, Channel::Control, size)?],
        sends: Pending::new(),
        receives: Pending::new(),
        arrived: VecDeque::new(),
        universe,
        not_send: PhantomData,
    })
}

/// Ends this process at once with `code` and takes the whole job along; nothing is finalized, flushed or dropped. From any thread.
pub fn abort(code: i32) -> ! {
    // SAFETY: declared as POSIX has it; it returns to nobody and touches no memory of ours.
    unsafe extern "C" {
        safe fn _exit(code: c_int) -> !;
    }
    // Other threads may not call MPI. They need not: a launcher whose rank ends without finalizing ends the job. A rank that is alone has nobody to take
    // along, and what MPI says of an abort would stand below what the rank has said.
    let may_call = MPI_THREAD.get() == Some(&thread::current().id()) && mpi::is_initialized() && !mpi::is_finalized();
    if may_call && !is_alone() {
        // SAFETY: MPI is started, not ended, and this is the thread that may call it.
        unsafe { ffi::MPI_Abort(ffi::RSMPI_COMM_WORLD, code) };
    }
    _exit(code)
}

/// Whether this is the job's only rank. MPI is started and not ended, and this is the thread that may call it.
fn is_alone() -> bool {
    let mut size: c_int = 0;
    // SAFETY: as the caller says; `size` is a valid place for a C int.
    let code = unsafe { ffi::MPI_Comm_size(ffi::RSMPI_COMM_WORLD, &raw mut size) };
    code == ffi::MPI_SUCCESS as c_int && size == 1
}

fn announced_size() -> Option<(&'static str, usize)> {
    let announced = |name| env::var(name).ok()?.parse().ok();
    ANNOUNCED_SIZE.into_iter().find_map(|name| Some((name, announced(name)?)))
}

/// The MPI library's own name and version, on one line. It may be asked before MPI is started.
#[must_use]
pub fn library() -> String {
    let text = mpi::environment::library_version().unwrap_or_default();
    text.split(['\n', '\0']).next().unwrap_or_default().to_owned()
}

/// Every return code of MPI passes through here.
fn check(call: &'static str, code: c_int) -> Result<(), TransportError> {
    if code == ffi::MPI_SUCCESS as c_int {
        return Ok(());
    }
    let mut text = [0u8; ffi::MPI_MAX_ERROR_STRING as usize];
    let mut len: c_int = 0;
    // SAFETY: `text` has the length that MPI asks for; `len` is a valid place for a C int.
    let named = unsafe { ffi::MPI_Error_string(code, text.as_mut_ptr().cast::<c_char>(), &raw mut len) };
    let named = named == ffi::MPI_SUCCESS as c_int;
    let text = text.get(..len.max(0) as usize).filter(|_| named).unwrap_or_default();
    Err(TransportError::Mpi { call, why: format!("{} (code {code})", String::from_utf8_lossy(text)) })
}

impl Line {
    fn new(world: &SimpleCommunicator, channel: Channel, size: usize) -> Result<Self, TransportError> {
        let communicator = ManuallyDrop::new(world.duplicate());
        // SAFETY: the communicator was made just now and lives; the handler is MPI's own constant.
        let code = unsafe { ffi::MPI_Comm_set_errhandler(communicator.as_raw(), ffi::RSMPI_ERRORS_RETURN) };
        check("MPI_Comm_set_errhandler", code)?;
        Ok(Self { channel, communicator, edges: (0..size).map(|_| Edge::default()).collect() })
    }

    /// Matches the next message, if one is there, and lets it flow into a buffer of its own.
    fn match_next(&mut self, line: usize, receives: &mut Pending<Receiving>) -> Result<bool, TransportError> {
        let communicator = self.communicator.as_raw();
        let mut found: c_int = 0;
        let mut count: c_int = 0;
        // SAFETY: the message handle is a constant of MPI's; a status is plain integers, for which zero is a value.
        let (mut message, mut status) = unsafe { (ffi::RSMPI_MESSAGE_NULL, mem::zeroed::<ffi::MPI_Status>()) };
        // SAFETY: the communicator lives as long as `self`; every pointer is to a local of the type asked for.
        let code = unsafe {
            let any = ffi::RSMPI_ANY_SOURCE;
            ffi::MPI_Improbe(any, TAG, communicator, &raw mut found, &raw mut message, &raw mut status)
        };
        check("MPI_Improbe", code)?;
        if found == 0 {
            return Ok(false);
        }
        // SAFETY: MPI filled `status` in, since it found a message.
        let code = unsafe { ffi::MPI_Get_count(&raw const status, ffi::RSMPI_UINT8_T, &raw mut count) };
        check("MPI_Get_count", code)?;
        let from = status.MPI_SOURCE as usize;
        let bytes = usize::try_from(count).unwrap_or(usize::MAX);
        assert!(bytes <= MESSAGE_BYTES_MAX, "rank {from} sent {count} bytes, more than `send` lets through");
        let mut buffer: Vec<u8> = Vec::with_capacity(bytes);
        // SAFETY: a constant of MPI's.
        let mut request = unsafe { ffi::RSMPI_REQUEST_NULL };
        // SAFETY: the buffer has room for `count` bytes, which is the whole message; it goes into `receives` beside its request, which keeps
        // it in place and untouched until MPI has done with it.
        let code = unsafe {
            let into = buffer.as_mut_ptr();
            ffi::MPI_Imrecv(into.cast(), count, ffi::RSMPI_UINT8_T, &raw mut message, &raw mut request)
        };
        check("MPI_Imrecv", code)?;
        let edge = &mut self.edges[from];
        let number = edge.first + edge.waiting.len() as u64;
        edge.waiting.push_back(None);
        receives.push(request, Receiving { line, from, number, bytes, buffer });
        Ok(true)
    }
}

/// Requests under way, each with what MPI reads from or writes to meanwhile.
struct Pending<T> {
    requests: Vec<MPI_Request>,
    items: Vec<T>,
    /// MPI writes here which requests are complete; kept to be used again.
    complete: Vec<c_int>,
}

impl<T> Pending<T> {
    fn new() -> Self {
        Self { requests: Vec::new(), items: Vec::new(), complete: Vec::new() }
    }

    fn push(&mut self, request: MPI_Request, item: T) {
        self.requests.push(request);
        self.items.push(item);
    }

    fn len(&self) -> usize {
        self.items.len()
    }

    /// What has completed since the last call.
    fn completed(&mut self) -> Result<Vec<T>, TransportError> {
        if self.requests.is_empty() {
            return Ok(Vec::new());
        }
        let mut count: c_int = 0;
        self.complete.resize(self.requests.len(), 0);
        // SAFETY: `requests` and `complete` hold as many entries as is said; the statuses are not asked for.
        let code = unsafe {
            ffi::MPI_Testsome(
                self.requests.len() as c_int,
                self.requests.as_mut_ptr(),
                &raw mut count,
                self.complete.as_mut_ptr(),
                ffi::RSMPI_STATUSES_IGNORE,
            )
        };
        check("MPI_Testsome", code)?;
        // MPI_UNDEFINED, which is negative, were there no request.
        self.complete.truncate(count.max(0) as usize);
        // From the last on, so that a removal moves only entries that are not complete or already gone through.
        self.complete.sort_unstable_by(|a, b| b.cmp(a));
        let (requests, items) = (&mut self.requests, &mut self.items);
        let take = |&at: &c_int| {
            requests.swap_remove(at as usize);
            items.swap_remove(at as usize)
        };
        Ok(self.complete.iter().map(take).collect())
    }
}

impl<T> Drop for Pending<T> {
    /// MPI may still use the buffers of what is under way: they are never freed.
    fn drop(&mut self) {
        mem::forget(mem::take(&mut self.items));
    }
}

impl MpiTransport {
    /// Leaves the job: waits until every rank has called this and whatever was sent is received, discards what nobody took, and ends MPI.
    ///
    /// # Errors
    /// If MPI fails; then the process must end by `abort`.
    pub fn finish(mut self) -> Result<(), TransportError> {
        let (mut idle, _) = Idle::new();
        while self.unsent() > 0 {
            self.discard_arrivals(&mut idle)?;
        }
        let barrier: MPI_Comm = self.lines[0].communicator.as_raw();
        // SAFETY: a constant of MPI's.
        let mut request = unsafe { ffi::RSMPI_REQUEST_NULL };
        // SAFETY: the communicator lives; all ranks call this once and for all, in the same order.
        check("MPI_Ibarrier", unsafe { ffi::MPI_Ibarrier(barrier, &raw mut request) })?;
        let mut barrier = Pending::new();
        barrier.push(request, ());
        // Rank 0 may have much to write yet, and need the cores.
        while barrier.len() > 0 {
            self.discard_arrivals(&mut idle)?;
            barrier.completed()?;
        }
        while self.receives.len() > 0 {
            self.discard_arrivals(&mut idle)?;
        }
        for line in &mut self.lines {
            // SAFETY: neither the communicators nor, below, the universe is used again: `self` ends here.
            unsafe { ManuallyDrop::drop(&mut line.communicator) };
        }
        // SAFETY: as above.
        unsafe { ManuallyDrop::drop(&mut self.universe) };
        Ok(())
    }

    fn discard_arrivals(&mut self, idle: &mut Idle) -> Result<(), TransportError> {
        if self.progress()? {
            idle.worked();
        }
        while self.receive()?.is_some() {}
        idle.rest(self.under_way());
        Ok(())
    }

    /// Takes in what has been received whole; true if there was something.
    fn collect(&mut self) -> Result<bool, TransportError> {
        let whole = self.receives.completed()?;
        let any = !whole.is_empty();
        for Receiving { line, from, number, bytes, mut buffer } in whole {
            // SAFETY: the receive is complete, and a matched message has exactly the length that the probe said, so MPI has written all of
            // `bytes`, for which the buffer was made.
            unsafe { buffer.set_len(bytes) };
            let line = &mut self.lines[line];
            let edge = &mut line.edges[from];
            edge.waiting[(number - edge.first) as usize] = Some(buffer);
            while let Some(message) = edge.waiting.front_mut().and_then(Option::take) {
                edge.waiting.pop_front();
                edge.first += 1;
                self.arrived.push_back(Received { from, channel: line.channel, message });
            }
        }
        Ok(any)
    }
}

impl Transport for MpiTransport {
    fn rank(&self) -> usize {
        self.rank
    }

    fn size(&self) -> usize {
        self.size
    }

    fn send(&mut self, to: usize, channel: Channel, message: Vec<u8>) -> Result<(), TransportError> {
        if to >= self.size {
            return Err(TransportError::NoSuchRank { to, size: self.size });
        }
        if message.len() > MESSAGE_BYTES_MAX {
            return Err(TransportError::TooLong { to, bytes: message.len() });
        }
        if to == self.rank {
            self.arrived.push_back(Received { from: to, channel, message });
            return Ok(());
        }
        let communicator = self.lines[channel as usize].communicator.as_raw();
        // SAFETY: a constant of MPI's.
        let mut request = unsafe { ffi::RSMPI_REQUEST_NULL };
        // SAFETY: the buffer holds as many bytes as is said and goes into `sends` beside its request, which keeps it in place and unchanged
        // until MPI has done with it; the communicator lives as long as `self`.
        let code = unsafe {
            ffi::MPI_Isend(
                message.as_ptr().cast(),
                message.len() as c_int,
                ffi::RSMPI_UINT8_T,
                to as c_int,
                TAG,
                communicator,
                &raw mut request,
            )
        };
        check("MPI_Isend", code)?;
        self.sends.push(request, message);
        Ok(())
    }

    fn receive(&mut self) -> Result<Option<Received>, TransportError> {
        if self.arrived.is_empty() {
            let mut matched = 0;
            for (index, line) in self.lines.iter_mut().enumerate() {
                let up_to = matched + MATCHES_MAX;
                while matched < up_to && line.match_next(index, &mut self.receives)? {
                    matched += 1;
                }
            }
            self.collect()?;
        }
        Ok(self.arrived.pop_front())
    }

    fn progress(&mut self) -> Result<bool, TransportError> {
        let sent = !self.sends.completed()?.is_empty();
        Ok(self.collect()? || sent)
    }

    fn unsent(&self) -> usize {
        self.sends.len()
    }

    fn under_way(&self) -> bool {
        self.sends.len() > 0 || self.receives.len() > 0
    }
}
