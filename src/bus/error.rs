//! Why there is nothing to read.

use crate::core::units::Offset;
use crate::log::{Access, LogError};

/// Why there is nothing to read.
#[derive(Debug, thiserror::Error)]
pub enum BusError {
    /// May be tried again.
    #[error("the job is starting: its log is not open yet")]
    Starting,
    #[error("offset {asked} is no longer retained: the oldest event is {oldest}")]
    Gone { asked: Offset, oldest: Offset },
    #[error("events of that time are no longer retained: the oldest event is {oldest}")]
    GoneSince { oldest: Offset },
    #[error("offset {asked} is not in the log: it ends at {end}")]
    Ahead { asked: Offset, end: Offset },
    #[error("until lies before from: {until} before {from}")]
    Backwards { from: Offset, until: Offset },
    /// It was told that nobody waits for it.
    #[error("the search was given up")]
    GivenUp,
    #[error(transparent)]
    Log(LogError),
}

impl BusError {
    /// Of a reader that wanted this offset next.
    pub(super) fn of(error: LogError, asked: Offset, access: &Access) -> Self {
        match error {
            LogError::Mismatch(_) => Self::Gone { asked, oldest: access.begin() },
            error => Self::Log(error),
        }
    }
}
