//! Events through one worker in this thread, as a batch of one round: for whoever wants to know what pipelines make of them, without a job.

use std::sync::Arc;

use bytes::Bytes;

use crate::coordinator::gather::{InFlight, Results};
use crate::core::columns::{Numbering, Slab};
use crate::core::epoch::Cut;
use crate::core::plan::Plan;
use crate::core::units::{Epoch, Millis, Offset, TopicId};
use crate::wire::{Message, Open, WireError};
use crate::worker::rows::DecodedSlab;
use crate::worker::state::{State as Worker, To};

/// What the pipelines make of these lines; every pane closes.
///
/// # Errors
/// If the worker says what no worker of this build says.
pub fn rehearse(plan: &Arc<Plan>, topic: Option<TopicId>, lines: Bytes) -> Result<Results, WireError> {
    let open = Open { worker: 0, workers: 1, bundle: String::new(), id_key: 0, batch: true, sealing: None };
    let mut worker = Worker::new(&open, Arc::clone(plan));
    let end = Offset(lines.len() as u64);
    let zero = Millis(0);
    let cut = Cut { epoch: Epoch(1), end, ingest: zero, up: zero, idle: Some(zero), emitted: Epoch(0) };
    let slab =
        Slab { first_offset: Offset(0), count: 0, ingest: zero, topic, bytes: lines, numbering: Numbering::Bytes };
    let decoded = worker.decoder().decode(&slab);
    worker.take_decoded([DecodedSlab { slab, decoded }]);
    let mut round = InFlight::new(cut, Offset(0), 1);
    let end = Message::EndEpoch { cut: cut.into(), base: 0, checkpoint: None };
    for (_, message) in worker.step(To::Coordinator, end) {
        if let Message::Report(report) = message {
            round.take(0, *report);
        }
    }
    assert!(round.complete(), "a worker alone reports at the end of the epoch");
    round.results()
}
