//! Where an epoch ends, as ranks tell each other.

use bincode::{Decode, Encode};

use crate::core::epoch::Cut;
use crate::core::units::{Epoch, Millis, Offset};

#[derive(Clone, Copy, Debug, Encode, Decode)]
pub struct WireCut {
    epoch: u64,
    end: u64,
    ingest_ms: u64,
    up_ms: u64,
    idle_ms: Option<u64>,
    emitted: u64,
}

impl From<Cut> for WireCut {
    fn from(cut: Cut) -> Self {
        Self {
            epoch: cut.epoch.0,
            end: cut.end.0,
            ingest_ms: cut.ingest.0,
            up_ms: cut.up.0,
            idle_ms: cut.idle.map(|i| i.0),
            emitted: cut.emitted.0,
        }
    }
}

impl From<WireCut> for Cut {
    fn from(cut: WireCut) -> Self {
        Self {
            epoch: Epoch(cut.epoch),
            end: Offset(cut.end),
            ingest: Millis(cut.ingest_ms),
            up: Millis(cut.up_ms),
            idle: cut.idle_ms.map(Millis),
            emitted: Epoch(cut.emitted),
        }
    }
}
