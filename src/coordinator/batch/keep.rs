//! What a batch keeps while it runs, so that one that was killed goes on after its last kept round: the workers' state as a checkpoint, and beside
//! it where the inputs and the output stood. Of another batch it is nothing, and a batch that is done leaves none.

use std::io::{self, IoSlice};
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::coordinator::checkpoint::{Checkpoint, Checkpoints};
use crate::coordinator::gather::Draft;
use crate::core::keygroup::Share;
use crate::core::ledger::Counts;
use crate::core::units::{Epoch, LogId};
use crate::log::disk::Disk;
use crate::wire::WireCounts;

const STAND: &str = "stand-";
const TMP: &str = "stand.tmp";

/// Where a batch stands after a round.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stand {
    pub pieces: PiecesStand,
    /// Bytes of the files that were read.
    pub read_bytes: u64,
    /// The fates of the events so far, in the order of `Counts`' fields.
    pub counts: [u64; 5],
    /// Bytes of rejects that were written.
    pub rejects_bytes: u64,
}

impl Stand {
    #[must_use]
    pub fn counts(&self) -> Counts {
        WireCounts(self.counts).into()
    }
}

/// What of the inputs was handed out.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PiecesStand {
    /// Where each input that was begun begins.
    pub places: Vec<u64>,
    /// The position up to which all is handed out.
    pub end: u64,
    /// Whether there is more of the input that was begun last.
    pub within: bool,
    /// Records that may still be handed out.
    pub left: Option<u64>,
}

pub struct Keeper {
    disk: Arc<dyn Disk>,
    checkpoints: Checkpoints,
}

impl Keeper {
    /// In this directory, for the batch of this name: and what it kept there before.
    ///
    /// # Errors
    /// As the disk says.
    pub fn open(disk: Arc<dyn Disk>, batch: u128) -> io::Result<(Self, Option<(Stand, Checkpoint)>)> {
        let mut checkpoints = Checkpoints::new(Arc::clone(&disk), LogId(batch));
        let checkpoint = checkpoints.load(Epoch(u64::MAX))?;
        let mut keeper = Self { disk, checkpoints };
        let found = checkpoint.and_then(|checkpoint| Some((keeper.read(checkpoint.at().0)?, checkpoint)));
        if found.is_none() {
            // It begins anew, and follows on no checkpoint.
            keeper.checkpoints = Checkpoints::new(Arc::clone(&keeper.disk), LogId(batch));
        }
        Ok((keeper, found))
    }

    /// The share of which the next checkpoint is to bring all ids.
    #[must_use]
    pub fn next_share(&self) -> Share {
        self.checkpoints.next_share()
    }

    /// Keeps a round.
    ///
    /// # Errors
    /// As the disk says; what was kept before is still there.
    pub fn keep(&mut self, stand: &Stand, mut draft: Draft) -> io::Result<()> {
        let epoch = draft.cut.epoch;
        self.checkpoints.owe(&mut draft);
        let body = serde_json::to_vec(stand).map_err(io::Error::other)?;
        let file = self.disk.create(TMP, body.len() as u64)?;
        file.write_at(0, &mut [IoSlice::new(&body)])?;
        file.sync()?;
        self.disk.rename(TMP, &name(epoch))?;
        self.checkpoints.write(draft)?;
        // The one before may still be the newest whole one.
        let old = self.disk.list()?.into_iter().filter(|file| file.starts_with(STAND) && *file != name(epoch));
        let mut old: Vec<String> = old.collect();
        old.sort_unstable();
        old.pop();
        old.iter().try_for_each(|file| self.disk.remove(file))
    }

    fn read(&self, epoch: Epoch) -> Option<Stand> {
        let file = self.disk.open(&name(epoch)).ok()?;
        let mut bytes = vec![0; usize::try_from(file.len().ok()?).ok()?];
        file.read_at(0, &mut bytes).ok()?;
        serde_json::from_slice(&bytes).ok()
    }
}

fn name(epoch: Epoch) -> String {
    format!("{STAND}{:020}", epoch.0)
}
