//! Whether the writer should wait a moment before it begins a frame, so that the clients whom the last one answered are in the next with those who wait already.
//!
//! Clients that send, wait for the answer and send again would otherwise fall into two halves: one is synced while the other is being answered, and each frame
//! holds half of what it could. And where a crowd sends, some more are always on their way: a quarter more is wished for, so that frames grow as long as that
//! pays. Whoever sends alone waits for nobody. It is a guess from what came before, costs a millisecond or a part of a sync's time, and is given up where it does not pay. Pure.

use std::time::Duration;

/// Of the time that the last frame took.
const SHARE: u32 = 4;
/// So many clients are worth this wait however fast the disk is: a frame of all of them spares the threads and ranks behind it many small ones.
const CROWD: usize = 16;
const CROWD_WAIT: Duration = Duration::from_millis(1);
/// A frame that took longer was no usual one.
const WAIT_MAX: Duration = Duration::from_millis(2);
/// A crowd is wished larger by one part in so many.
const GROWTH: usize = 4;
/// Of a crowd, each frame that meets fewer forgets one part in so many.
const FORGETTING: usize = 16;
/// Frames that pass without another try after several in a row were for nothing.
const PAUSE_MAX: u32 = 256;

/// What is known of the last frames.
#[derive(Debug, Default)]
pub(super) struct Gather {
    /// Requests that the last one answered.
    answered: usize,
    /// Requests that were waiting then.
    left: usize,
    took: Duration,
    /// Clients that send again and again: the most that were in one frame of late, or waited behind it.
    crowd: usize,
    wait: Trial,
    /// To wish for more than the crowd.
    growth: Trial,
    /// More were wished for than the crowd.
    grows: bool,
}

/// Something that sometimes pays: each time in a row that it did not, it is passed over for longer.
#[derive(Debug, Default)]
struct Trial {
    /// In a row.
    misses: u32,
    /// Frames still to be passed over.
    pause: u32,
}

impl Trial {
    /// Whether to try, this time.
    fn is_due(&mut self) -> bool {
        let due = self.pause == 0;
        self.pause = self.pause.saturating_sub(1);
        due
    }

    fn paid(&mut self) {
        self.misses = 0;
    }

    fn missed(&mut self) {
        self.misses = self.misses.saturating_add(1);
        self.pause = 1_u32.checked_shl(self.misses).unwrap_or(PAUSE_MAX).min(PAUSE_MAX);
    }
}

impl Gather {
    /// A frame is on disk.
    pub(super) fn written(&mut self, answered: usize, left: usize, took: Duration) {
        (self.answered, self.left, self.took) = (answered, left, took);
        self.crowd = (answered + left).max(self.crowd - self.crowd.div_ceil(FORGETTING));
    }

    /// How many requests are worth waiting for, and for how long at most.
    pub(super) fn wish(&mut self) -> Option<(usize, Duration)> {
        // Whoever sends alone is not to wait for anybody, however many there were before.
        if !self.wait.is_due() || self.answered == 0 || self.answered + self.left == 1 {
            return None;
        }
        let wait = (self.took / SHARE).min(WAIT_MAX);
        self.grows = false;
        if self.crowd < CROWD {
            return Some((self.crowd, wait));
        }
        self.grows = self.growth.is_due();
        let more = if self.grows { self.crowd.div_ceil(GROWTH) } else { 0 };
        Some((self.crowd + more, wait.max(CROWD_WAIT)))
    }

    /// As many as were wished for.
    pub(super) fn came(&mut self) {
        self.wait.paid();
        if self.grows {
            self.growth.paid();
        }
    }

    /// The time is over, and only so many are there.
    pub(super) fn missed(&mut self, requests: usize) {
        if requests > self.crowd {
            self.growth.paid();
        } else if self.grows {
            self.growth.missed();
        }
        // The others are gone, perhaps: half of them are not waited for again.
        self.crowd = self.crowd.min(self.crowd.midpoint(requests));
        // Half of those who were answered are worth it.
        if requests >= self.left + self.answered.div_ceil(2) {
            self.wait.paid();
        } else {
            self.wait.missed();
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
        gather.written(5, 5, SYNC);
        assert_eq!(gather.wish(), Some((10, SYNC / SHARE)));
        gather.came();
        gather.written(10, 0, SYNC);
        assert_eq!(gather.wish(), Some((10, SYNC / SHARE)), "as long as they come");
        gather.written(10, 0, Duration::from_secs(1));
        assert_eq!(gather.wish(), Some((10, WAIT_MAX)));
        gather.written(10, 0, Duration::from_micros(40));
        assert_eq!(gather.wish(), Some((10, Duration::from_micros(10))), "a few do not wait for long");
        gather.written(64, 0, Duration::from_micros(40));
        assert_eq!(gather.wish(), Some((80, CROWD_WAIT)), "a crowd may be larger than it was");
        gather.written(128, 0, Duration::from_secs(1));
        assert_eq!(gather.wish(), Some((160, WAIT_MAX)));
    }

    /// Of many clients who send again as soon as they are answered, some are in each frame: it grows until the time is over.
    #[test]
    fn frames_of_a_crowd_grow_while_that_pays() {
        let mut gather = Gather::default();
        // As many as come within the wait.
        let come = 45;
        let mut frames = vec![20];
        while frames.len() < 1_000 {
            gather.written(frames[frames.len() - 1], 0, Duration::from_micros(40));
            let (wished, _) = gather.wish().unwrap();
            if wished <= come {
                gather.came();
            } else {
                gather.missed(come);
            }
            frames.push(wished.min(come));
        }
        assert!(frames[10..].iter().all(|&requests| requests >= 40), "{frames:?}");
    }

    #[test]
    fn a_crowd_that_grew_in_part_is_wished_larger_again() {
        let mut gather = Gather::default();
        gather.written(40, 0, SYNC);
        assert_eq!(gather.wish(), Some((50, CROWD_WAIT)));
        gather.missed(45);
        gather.written(45, 0, SYNC);
        assert_eq!(gather.wish(), Some((57, CROWD_WAIT)));
    }

    #[test]
    fn a_crowd_that_is_whole_is_seldom_waited_for_in_vain() {
        let mut gather = Gather::default();
        let vain = (0..10_000).filter(|_| {
            gather.written(20, 0, Duration::from_micros(40));
            let (wished, _) = gather.wish().unwrap();
            if wished == 20 {
                gather.came();
            } else {
                gather.missed(20);
            }
            wished > 20
        });
        assert!((10..100).contains(&vain.count()));
    }

    #[test]
    fn a_crowd_that_is_gone_is_soon_waited_for_no_more() {
        for (left, waits) in [(1, 0..=0), (3, 1..=8), (10, 1..=8), (20, 1..=20)] {
            let mut gather = Gather::default();
            gather.written(128, 0, SYNC);
            let in_vain = (0..100).filter(|_| {
                gather.written(left, 0, SYNC);
                let Some((wished, _)) = gather.wish() else { return false };
                if wished <= left {
                    gather.came();
                } else {
                    gather.missed(left);
                }
                wished > left
            });
            let in_vain = in_vain.count();
            assert!(waits.contains(&in_vain), "{left} left: {in_vain} times");
        }
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
