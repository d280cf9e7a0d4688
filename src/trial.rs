//! Whether something that sometimes pays is worth another try: each time in a row that it did not, it is passed over for longer. Pure.

/// Chances that pass without another try after several in a row were for nothing.
const PAUSE_MAX: u32 = 256;

/// What came of the tries so far.
#[derive(Debug, Default)]
pub struct Trial {
    /// In a row.
    misses: u32,
    /// Chances still to be passed over.
    pause: u32,
}

impl Trial {
    /// Asked at each chance: whether to try.
    pub fn is_worth_it(&mut self) -> bool {
        let passed_over = self.pause > 0;
        self.pause = self.pause.saturating_sub(1);
        !passed_over
    }

    pub fn paid(&mut self) {
        self.misses = 0;
    }

    pub fn missed(&mut self) {
        self.misses = self.misses.saturating_add(1);
        self.pause = 1_u32.checked_shl(self.misses).unwrap_or(PAUSE_MAX).min(PAUSE_MAX);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_does_not_pay_is_seldom_tried_and_what_pays_again_often() {
        let mut trial = Trial::default();
        assert!(trial.is_worth_it());
        trial.paid();
        assert!(trial.is_worth_it());
        let mut tried = 0;
        for _ in 0..10_000 {
            if trial.is_worth_it() {
                tried += 1;
                trial.missed();
            }
        }
        assert!((10..60).contains(&tried), "{tried} times");
        for _ in 0..=PAUSE_MAX {
            if trial.is_worth_it() {
                trial.paid();
            }
        }
        assert!(trial.is_worth_it());
    }
}
