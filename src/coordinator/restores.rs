//! Gives the workers what a checkpoint has for them, a little at a time: what is on its way to them is in memory.

use std::io;

use crate::coordinator::checkpoint::Checkpoint;
use crate::core::keygroup::Owners;
use crate::transport::idle::Idle;
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
    let (mut idle, _) = Idle::new();
    for restore in checkpoint.restores(Owners::new(transport.size() - 1)) {
        let (worker, message) = restore?;
        transport.send(worker + 1, Channel::Data, wire::encode(&message))?;
        while transport.unsent() > UNSENT_MAX {
            if transport.progress()? {
                idle.worked();
            } else {
                idle.rest(true);
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;
    use std::sync::Arc;

    use tempfile::TempDir;

    use super::*;
    use crate::coordinator::checkpoint::Checkpoints;
    use crate::coordinator::gather::Draft;
    use crate::core::epoch::Cut;
    use crate::core::keygroup::Share;
    use crate::core::ledger::Counts;
    use crate::core::units::{Epoch, LogId, Millis, Offset};
    use crate::log::disk::FileDisk;
    use crate::transport::Received;
    use crate::wire::{Kind, Section};

    const LOG: LogId = LogId(4);
    const SECTIONS: u8 = 100;

    /// Workers that take one message whenever they are asked.
    #[derive(Default)]
    struct Slow {
        under_way: VecDeque<(usize, Vec<u8>)>,
        taken: Vec<usize>,
        most: usize,
    }

    impl Transport for Slow {
        fn rank(&self) -> usize {
            0
        }

        fn size(&self) -> usize {
            3
        }

        fn send(&mut self, to: usize, _: Channel, message: Vec<u8>) -> Result<(), TransportError> {
            self.under_way.push_back((to, message));
            self.most = self.most.max(self.under_way.len());
            Ok(())
        }

        fn receive(&mut self) -> Result<Option<Received>, TransportError> {
            Ok(None)
        }

        fn progress(&mut self) -> Result<bool, TransportError> {
            let taken = self.under_way.pop_front();
            self.taken.extend(taken.as_ref().map(|(to, _)| *to));
            Ok(taken.is_some())
        }

        fn unsent(&self) -> usize {
            self.under_way.len()
        }

        fn under_way(&self) -> bool {
            !self.under_way.is_empty()
        }
    }

    fn checkpoint(dir: &TempDir) -> Checkpoint {
        let disk = Arc::new(FileDisk::open(dir.path()).unwrap());
        let (end, ingest, up) = (Offset(9), Millis(0), Millis(0));
        let cut = Cut { epoch: Epoch(1), end, ingest, up, idle: None, emitted: Epoch(0) };
        let mut draft = Draft::new(cut, Share(0), 1, "a pipeline".into());
        draft.counts = Some(Counts::default());
        let ids = |key_group| Section { kind: Kind::Ids, key_group, bytes: vec![key_group; 44] };
        draft.take(b"common".to_vec(), (0..SECTIONS).map(ids).collect(), true);
        let mut checkpoints = Checkpoints::new(disk, LOG);
        checkpoints.write(draft).unwrap();
        checkpoints.load(Epoch(1)).unwrap().unwrap()
    }

    #[test]
    fn few_messages_are_on_their_way_at_once() {
        let dir = TempDir::new().unwrap();
        let mut workers = Slow::default();
        send(checkpoint(&dir), &mut workers).unwrap();
        assert_eq!(workers.most, UNSENT_MAX + 1);
        // What both share, and to each the key groups that it owns.
        assert_eq!(workers.taken.len() + workers.under_way.len(), 2 + usize::from(SECTIONS));
        assert_eq!(workers.taken[..3], [1, 2, 1]);
    }

    #[test]
    fn what_can_no_longer_be_read_ends_it() {
        let dir = TempDir::new().unwrap();
        let checkpoint = checkpoint(&dir);
        std::fs::remove_file(dir.path().join("ids-00000000000000000001")).unwrap();
        let error = send(checkpoint, &mut Slow::default()).unwrap_err();
        assert!(matches!(error, RestoreError::Checkpoint(_)), "{error}");
    }
}
