//! All ranks in one process: a job of one rank runs its worker on a thread this way.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, Sender, TryRecvError, channel};

use crate::transport::idle::Waker;
use crate::transport::{Channel, MESSAGE_BYTES_MAX, Received, Transport, TransportError};

/// One rank's end of an in-process network.
pub struct LocalTransport {
    rank: usize,
    receiver: Receiver<Received>,
    peers: Vec<Peer>,
}

#[derive(Clone)]
struct Peer {
    sender: Sender<Received>,
    /// Messages that it has not taken yet.
    waiting: Arc<AtomicUsize>,
    waker: Option<Waker>,
}

/// The ends of a network of `ranks` ranks. How much may be under way is bounded by the protocol's credits, as with any transport.
#[must_use]
pub fn network(ranks: usize) -> Vec<LocalTransport> {
    let (senders, receivers): (Vec<_>, Vec<_>) = (0..ranks).map(|_| channel()).unzip();
    let peers: Vec<Peer> =
        senders.into_iter().map(|sender| Peer { sender, waiting: Arc::default(), waker: None }).collect();
    let ends = receivers.into_iter().enumerate();
    ends.map(|(rank, receiver)| LocalTransport { rank, receiver, peers: peers.clone() }).collect()
}

impl LocalTransport {
    /// Has `rank` woken by this waker when something is sent to it.
    pub fn wake_with(&mut self, rank: usize, waker: Waker) {
        if let Some(peer) = self.peers.get_mut(rank) {
            peer.waker = Some(waker);
        }
    }
}

impl Transport for LocalTransport {
    fn rank(&self) -> usize {
        self.rank
    }

    fn size(&self) -> usize {
        self.peers.len()
    }

    fn send(&mut self, to: usize, channel: Channel, message: Vec<u8>) -> Result<(), TransportError> {
        let Some(peer) = self.peers.get(to) else {
            return Err(TransportError::NoSuchRank { to, size: self.peers.len() });
        };
        if message.len() > MESSAGE_BYTES_MAX {
            return Err(TransportError::TooLong { to, bytes: message.len() });
        }
        // Counted first: who takes it counts down.
        peer.waiting.fetch_add(1, Ordering::Relaxed);
        peer.sender
            .send(Received { from: self.rank, channel, message })
            .map_err(|_| TransportError::Gone { rank: to })?;
        if let Some(waker) = &peer.waker {
            waker.wake();
        }
        Ok(())
    }

    fn receive(&mut self) -> Result<Option<Received>, TransportError> {
        match self.receiver.try_recv() {
            Ok(received) => {
                self.peers[self.rank].waiting.fetch_sub(1, Ordering::Relaxed);
                Ok(Some(received))
            }
            // Every end holds a sender to itself.
            Err(TryRecvError::Empty | TryRecvError::Disconnected) => Ok(None),
        }
    }

    fn progress(&mut self) -> Result<bool, TransportError> {
        Ok(false)
    }

    /// All that others have not taken yet.
    fn unsent(&self) -> usize {
        let others = self.peers.iter().enumerate().filter(|(rank, _)| *rank != self.rank);
        others.map(|(_, peer)| peer.waiting.load(Ordering::Relaxed)).sum()
    }

    fn under_way(&self) -> bool {
        false
    }
}
