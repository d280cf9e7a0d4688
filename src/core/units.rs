//! Newtypes for every id, offset, epoch and time: no bare integer crosses a module.

use std::fmt;

/// An event's number in the log: dense, from 0, across all topics.
/// In batch: the position of the line's first byte in the inputs laid end to end.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Offset(pub u64);

/// A run of slabs processed together; dense, from 1. `Epoch(0)` is the state before any.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Epoch(pub u64);

/// One life of the job, from 1; fences off what is stale.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Generation(pub u64);

/// Names one log for ever: drawn at random when a data directory is first used.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LogId(pub u128);

/// Event time, or a span of it: microseconds since 1970-01-01T00:00:00Z.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Micros(pub i64);

/// Wall-clock or up time of rank 0, in milliseconds, as written in the log.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Millis(pub u64);

/// A topic's place in the plan's list of topics.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TopicId(pub u16);

impl Epoch {
    #[must_use]
    pub fn next(self) -> Self {
        Self(self.0 + 1)
    }
}

impl Micros {
    /// Before every event.
    pub const MIN: Self = Self(i64::MIN);

    /// `self + other`, stopping at the ends of the range.
    #[must_use]
    pub fn plus(self, other: Self) -> Self {
        Self(self.0.saturating_add(other.0))
    }

    /// `self - other`, stopping at the ends of the range; minus infinity stays so.
    #[must_use]
    pub fn minus(self, other: Self) -> Self {
        if self == Self::MIN { self } else { Self(self.0.saturating_sub(other.0)) }
    }
}

impl Millis {
    /// The same span or moment in microseconds.
    #[must_use]
    pub fn micros(self) -> Micros {
        Micros(i64::try_from(self.0.saturating_mul(1000)).unwrap_or(i64::MAX))
    }
}

impl fmt::Display for Offset {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Display for Epoch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Display for Generation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Display for LogId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}
