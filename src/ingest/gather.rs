//! Whether the writer should wait a moment before it begins a frame, so that the clients whom the last one answered are in the next with those who wait already.
//!
//! Clients that send, wait for the answer and send again would otherwise fall into two halves: one is synced while the other is being answered, and each frame
//! holds half of what it could. It is a guess from what came before, costs a part of a sync's time at most, and is given up where it does not pay. Pure.

use std::time::Duration;

/// Of the time that the last frame took.
const SHARE: u32 = 4;
/// So many clients are worth this wait however fast the disk is: a frame of all of them spares the threads and ranks behind it many small ones.
const CROWD: usize = 16;
const CROWD_WAIT: Duration = Duration::from_millis(1);
/// A frame that took longer was no usual one.
const WAIT_MAX: Duration = Duration::from_millis(2);
/// Frames that pass without another try after several in a row were for nothing.
const PAUSE_MAX: u32 = 256;

/// What is known of the last frame.
#[derive(Debug, Default)]
pub(super) struct Gather {
    /// Requests that it answered.
    answered: usize,
    /// Requests that were waiting then.
    left: usize,
    took: Duration,
    misses: u32,
    pause: u32,
}

impl Gather {
    /// A frame is on disk.
    pub(super) fn written(&mut self, answered: usize, left: usize, took: Duration) {
        (self.answered, self.left, self.took) = (answered, left, took);
    }

    /// How many requests are worth waiting for, and for how long at most.
    pub(super) fn wish(&mut self) -> Option<(usize, Duration)> {
        if self.pause > 0 {
            self.pause -= 1;
            return None;
        }
        // Whoever sends alone is not to wait for anybody.
        if self.answered == 0 || self.left == 0 && self.answered == 1 {
            return None;
        }
        let wished = self.answered + self.left;
        let least = if wished >= CROWD { CROWD_WAIT } else { Duration::ZERO };
        Some((wished, (self.took / SHARE).clamp(least, WAIT_MAX)))
    }

    /// As many as were wished for.
    pub(super) fn came(&mut self) {
        self.misses = 0;
    }

    /// The time is over, and only so many are there.
    pub(super) fn missed(&mut self, requests: usize) {
        // Half of those who were answered are worth it.
        if requests >= self.left + self.answered.div_ceil(2) {
            self.misses = 0;
        } else {
            self.misses = self.misses.saturating_add(1);
            self.pause = 1_u32.checked_shl(self.misses).unwrap_or(PAUSE_MAX).min(PAUSE_MAX);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SYNC: Duration = Duration::from_millis(4);

    #[test]
    fn those_who_come_again_are_waited_for() {
        let mut gather = Gather::default();
        assert_eq!(gather.wish(), None, "nothing is known");
        gather.written(64, 64, SYNC);
        assert_eq!(gather.wish(), Some((128, Duration::from_millis(1))));
        gather.came();
        gather.written(128, 0, SYNC);
        assert_eq!(gather.wish(), Some((128, Duration::from_millis(1))), "as long as they come");
        gather.written(128, 0, Duration::from_secs(1));
        assert_eq!(gather.wish(), Some((128, WAIT_MAX)));
        gather.written(128, 0, Duration::from_micros(40));
        assert_eq!(gather.wish(), Some((128, CROWD_WAIT)));
        gather.written(2, 2, Duration::from_micros(40));
        assert_eq!(gather.wish(), Some((4, Duration::from_micros(10))), "a few do not wait for long");
    }

    #[test]
    fn who_sends_alone_waits_for_nobody() {
        let mut gather = Gather::default();
        gather.written(1, 0, SYNC);
        assert_eq!(gather.wish(), None);
        gather.written(0, 5, SYNC);
        assert_eq!(gather.wish(), None, "a frame of cuts answers nobody");
    }

    #[test]
    fn where_nobody_comes_again_it_is_seldom_tried() {
        let mut gather = Gather::default();
        let mut tried = 0;
        for _ in 0..10_000 {
            gather.written(50, 10, SYNC);
            if gather.wish().is_some() {
                tried += 1;
                gather.missed(15);
            }
        }
        assert!((10..60).contains(&tried), "{tried} times");
        // And comes back where it pays again.
        for _ in 0..2 * PAUSE_MAX {
            gather.written(50, 10, SYNC);
            if gather.wish().is_some() {
                gather.missed(40);
            }
        }
        gather.written(50, 10, SYNC);
        assert!(gather.wish().is_some());
    }
}
