//! Gives the workers what a checkpoint has for them, a little at a time: what is on its way to them is in rank 0's memory.

use std::io;
use std::thread;

use crate::coordinator::checkpoint::Checkpoint;
use crate::core::keygroup::Owners;
use crate::transport::{Channel, Transport, TransportError};
use crate::wire;

/// Messages that are on their way at once. One of ids has 704 KiB at most.
const UNSENT_MAX: usize = 16;

/// Why they cannot have it.
#[derive(Debug, thiserror::Error)]
pub enum RestoreError {
    #[error(transparent)]
    Transport(#[from] TransportError),
    #[error("a checkpoint that was whole can no longer be read: {0}")]
    Checkpoint(#[from] io::Error),
}

/// After `Open`, before `Begin`.
///
/// # Errors
/// As `RestoreError` says.
pub fn send(checkpoint: Checkpoint, transport: &mut dyn Transport) -> Result<(), RestoreError> {
    for restore in checkpoint.restores(Owners::new(transport.size() - 1)) {
        let (worker, message) = restore?;
        transport.send(worker + 1, Channel::Data, wire::encode(&message))?;
        while transport.unsent() > UNSENT_MAX {
            if !transport.progress()? {
                thread::yield_now();
            }
        }
    }
    Ok(())
}
