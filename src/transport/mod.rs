//! How ranks reach each other. `mpi` is the only file that knows MPI; `local` runs all ranks in one process.

pub mod process;
pub mod idle;
pub mod local;
pub mod mpi;

/// No message is longer: a count of MPI is a C int.
pub const MESSAGE_BYTES_MAX: usize = 1 << 30;

/// Data and control do not wait for each other: over MPI they have communicators of their own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Channel {
    /// Slabs, ids, verdicts, panes, reports, checkpoints: in order on one edge.
    Data,
    /// Heartbeats.
    Control,
}

/// One whole message.
#[derive(Debug)]
pub struct Received {
    pub from: usize,
    pub channel: Channel,
    pub message: Vec<u8>,
}

/// After any of these the job must be started anew.
#[derive(Debug, thiserror::Error)]
pub enum TransportError {
    #[error("there is no rank {to}: the job has {size}")]
    NoSuchRank { to: usize, size: usize },
    #[error("a message of {bytes} bytes to rank {to} is longer than {MESSAGE_BYTES_MAX}; lower the epoch's size")]
    TooLong { to: usize, bytes: usize },
    #[error("rank {rank} is gone")]
    Gone { rank: usize },
    #[error("MPI: {call} failed: {why}")]
    Mpi { call: &'static str, why: String },
}

/// One rank's end. Never blocks. Messages of one channel between two ranks keep their order.
pub trait Transport {
    fn rank(&self) -> usize;

    /// The number of ranks.
    fn size(&self) -> usize;

    /// Takes the message over; it is on its way. How much may be under way is bounded by the protocol's credits.
    ///
    /// # Errors
    /// As `TransportError` says; likewise below.
    fn send(&mut self, to: usize, channel: Channel, message: Vec<u8>) -> Result<(), TransportError>;

    /// The next whole message, if one is there.
    fn receive(&mut self) -> Result<Option<Received>, TransportError>;

    /// Moves on what is under way; true if something was completed.
    fn progress(&mut self) -> Result<bool, TransportError>;

    /// Messages taken over by `send` whose buffers are still in use.
    fn unsent(&self) -> usize;

    /// Whether a large message is being sent or received, so that polling should not sleep for long.
    fn under_way(&self) -> bool;
}
