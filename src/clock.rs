//! The Clock seam: the only places that ask for the time are given one of these, so that a simulation can drive it.

use std::time::{Instant, SystemTime, UNIX_EPOCH};

use crate::core::units::Millis;

pub trait Clock: Send + Sync {
    /// Wall clock, milliseconds since 1970; may jump.
    fn unix(&self) -> Millis;
    /// Since this clock was made; never goes back.
    fn up(&self) -> Millis;
}

/// The machine's clock.
pub struct SystemClock {
    started: Instant,
}

impl Default for SystemClock {
    fn default() -> Self {
        Self { started: Instant::now() }
    }
}

impl Clock for SystemClock {
    #[expect(clippy::disallowed_methods, reason = "this is where everybody else asks")]
    fn unix(&self) -> Millis {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Millis(u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
    }

    fn up(&self) -> Millis {
        Millis(u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX))
    }
}
