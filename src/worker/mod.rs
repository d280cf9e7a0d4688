//! A rank that validates, deduplicates and aggregates. `state` decides, purely; `run` polls the transport and does what it says.

pub mod readers;
pub mod rows;
pub mod ids;
pub mod scratch;
pub mod share;
pub mod fates;
pub mod snapshot;
pub mod state;
pub mod run;
