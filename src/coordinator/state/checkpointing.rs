//! When the next checkpoint is taken, and what it brings.

use crate::coordinator::state::State;
use crate::core::epoch::Cut;

impl State {
    /// A checkpoint of this cut says what its events came to.
    pub(super) fn count_checkpoint(&mut self, cut: Cut) {
        let counts = self.progress.counts;
        if let Some(draft) = self.draft.as_mut().filter(|d| d.cut.epoch == cut.epoch) {
            draft.counts = Some(counts);
        }
    }

    /// One more checkpoint is to be taken in time, whether or not events come.
    pub fn owe_checkpoint(&mut self) {
        self.bytes_since_checkpoint = self.bytes_since_checkpoint.max(1);
    }

    /// The next checkpoint does not wait until the last is old: the log has no room, and lets go only of what checkpoints have passed.
    pub fn hurry_checkpoint(&mut self) {
        self.checkpoint_at = None;
    }

    /// A checkpoint could not be written: the next one is to bring all ids of its share again.
    pub fn repeat_share(&mut self) {
        self.share = self.share.before();
    }
}
