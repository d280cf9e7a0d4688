//! The ledger: what became of every accepted event. It balances at every moment.

use std::ops::AddAssign;

/// Fates of the events of one epoch, or totals since the log began.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    pub counted: u64,
    pub duplicate: u64,
    pub filtered: u64,
    pub invalid: u64,
    pub late: u64,
}

impl Counts {
    /// All events that have a fate.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.counted + self.duplicate + self.filtered + self.invalid + self.late
    }
}

impl AddAssign for Counts {
    fn add_assign(&mut self, other: Self) {
        self.counted += other.counted;
        self.duplicate += other.duplicate;
        self.filtered += other.filtered;
        self.invalid += other.invalid;
        self.late += other.late;
    }
}

/// Totals over the life of the data directory. `in_flight` is counted by itself: raised when events become durable, lowered
/// when their epoch is committed, by the log's own count of that epoch's lines.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Ledger {
    pub accepted: u64,
    pub counts: Counts,
    pub in_flight: u64,
}

impl Ledger {
    /// accepted = counted + duplicate + filtered + invalid + late + in flight.
    #[must_use]
    pub fn balances(&self) -> bool {
        self.accepted == self.counts.total() + self.in_flight
    }
}
