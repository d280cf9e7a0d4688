//! Rank 0's part: hands slabs out, cuts epochs, gathers results, commits them in order, decides on checkpoints.

pub mod status;
pub mod histogram;
pub mod change;
pub mod gather;
pub mod totals;
mod waiters;
pub mod state;
pub mod checkpoint;
pub mod start;
pub mod batch;
pub mod latency;
pub mod backfill;
pub mod replay;
pub mod restores;
pub mod rehearsal;
pub mod run;
