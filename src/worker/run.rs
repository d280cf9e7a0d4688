//! A worker's loop: polls the transport, steps the state, sends what it says. Rank 0 is the coordinator, rank w + 1 worker w.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::core::dedup::runs::RunsError;
use crate::core::plan::Plan;
use crate::core::units::Epoch;
use crate::input::InputError;
use crate::transport::idle::Idle;
use crate::transport::process;
use crate::transport::{Channel, Transport, TransportError};
use crate::wire::{self, Figures, Message, Open, WireError};
use crate::worker::readers::Readers;
use crate::worker::rows::DecodedSlab;
use crate::worker::scratch::Scratch;
use crate::worker::state::{State, To};

/// A worker that hears nothing from rank 0 for so long ends itself: its job is gone, or is being replaced.
const HEARTBEAT_MAX: Duration = Duration::from_secs(30);

/// Why a worker's life ends other than by `Close`.
#[derive(Debug, thiserror::Error)]
pub enum WorkerError {
    #[error(transparent)]
    Transport(#[from] TransportError),
    #[error(transparent)]
    Wire(#[from] WireError),
    #[error("the coordinator's pipeline cannot be read here: {0}; all ranks must run the same build of caudal")]
    Plan(String),
    #[error(transparent)]
    Ids(#[from] RunsError),
    #[error("nothing was heard from rank 0 for {} s", HEARTBEAT_MAX.as_secs())]
    Silent,
}

/// Works until the coordinator closes. `plan` makes the plan of a bundle's text.
///
/// # Errors
/// If the transport fails, another build speaks, or sealed ids cannot be had; the job must be started anew.
pub fn run(
    transport: &mut dyn Transport,
    idle: &mut Idle,
    plan: impl Fn(&str) -> Result<Arc<Plan>, String>,
) -> Result<(), WorkerError> {
    let mut state: Option<State> = None;
    // From other workers, which rank 0 may have opened before this one. How many there can be is bounded by the epochs in flight.
    let mut early: Vec<(To, Message)> = Vec::new();
    let mut readers = Readers::default();
    let mut heard = Instant::now();
    let (mut is_batch, mut live) = (false, false);
    loop {
        let mut busy = transport.progress()?;
        if let Some(received) = transport.receive()? {
            busy = true;
            if received.from == 0 {
                heard = Instant::now();
            }
            let from = received.from.checked_sub(1).map_or(To::Coordinator, To::Worker);
            match (wire::decode(received.message)?, &mut state) {
                (Message::Close, _) => return Ok(()),
                (Message::Heartbeat, None) => {}
                (Message::Heartbeat, Some(_)) => send(transport, vec![(To::Coordinator, figures())])?,
                (Message::Open(open), _) => {
                    is_batch = open.batch;
                    let state = state.insert(opened(&open, &plan)?);
                    for (from, message) in early.drain(..) {
                        send(transport, state.step(from, message))?;
                    }
                }
                (message, None) if from != To::Coordinator => early.push((from, message)),
                (message, None) => panic!("a coordinator's first message is Open, not {message:?}"),
                (Message::Begin, Some(state)) => {
                    live = !is_batch;
                    send(transport, vec![(To::Coordinator, ready(state))])?;
                    if live {
                        send(transport, vec![(To::Coordinator, figures())])?;
                    }
                }
                (Message::Split(split), Some(state)) => {
                    let read = readers.split(state.decoder(), &split);
                    take_read(transport, state, read)?;
                }
                (Message::Chunk(chunk), Some(state)) => {
                    let read = readers.chunk(state.plan(), state.decoder(), &chunk);
                    take_read(transport, state, read)?;
                }
                (Message::Configure { epoch, bundle }, Some(state)) => {
                    state.configure(Epoch(epoch), plan(&bundle).map_err(WorkerError::Plan)?);
                }
                (message, Some(state)) => {
                    let out = state.step(from, message);
                    if let Some(fault) = state.fault() {
                        return Err(fault.clone().into());
                    }
                    send(transport, out)?;
                }
            }
        } else if let Some(state) = state.as_mut().filter(|s| s.has_waiting()) {
            busy = true;
            let out = state.decode();
            send(transport, out)?;
        }
        if busy {
            idle.worked();
        } else {
            // Until its workers begin, rank 0 may be waiting for the store, or reading a long log, or giving another worker its ids; and a batch has no heartbeat.
            if live && heard.elapsed() > HEARTBEAT_MAX {
                return Err(WorkerError::Silent);
            }
            idle.rest(transport.under_way());
        }
    }
}

fn opened(open: &Open, plan: impl Fn(&str) -> Result<Arc<Plan>, String>) -> Result<State, WorkerError> {
    let plan = plan(&open.bundle).map_err(WorkerError::Plan)?;
    let state = State::new(open, plan);
    let Some(sealing) = &open.sealing else { return Ok(state) };
    Ok(state.sealing(Scratch::ids(sealing, &format!("worker-{}", open.worker))))
}

/// Batch: what was read of an input.
fn take_read(
    transport: &mut dyn Transport,
    state: &mut State,
    read: Result<Vec<DecodedSlab>, InputError>,
) -> Result<(), TransportError> {
    match read {
        Ok(decoded) => {
            state.take_decoded(decoded);
            Ok(())
        }
        Err(error) => send(transport, vec![(To::Coordinator, Message::Failed { why: error.to_string() })]),
    }
}

fn ready(state: &State) -> Message {
    Message::Ready { pid: std::process::id(), host: process::host(), facts: state.facts() }
}

fn figures() -> Message {
    let cpu_ms = process::cpu().as_millis() as u64;
    Message::Figures(Figures { memory_bytes: process::memory_bytes(), cpu_ms })
}

fn send(transport: &mut dyn Transport, out: Vec<(To, Message)>) -> Result<(), TransportError> {
    for (to, message) in out {
        let rank = match to {
            To::Coordinator => 0,
            To::Worker(worker) => worker + 1,
        };
        transport.send(rank, Channel::Data, wire::encode(&message))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::core::epoch::Cut;
    use crate::core::keygroup::KEY_GROUPS;
    use crate::core::units::{Millis, Offset};
    use crate::pipeline::Bundle;
    use crate::transport::local::{LocalTransport, network};

    fn receive(end: &mut LocalTransport) -> Message {
        loop {
            if let Some(received) = end.receive().unwrap() {
                return wire::decode(received.message).unwrap();
            }
            std::thread::yield_now();
        }
    }

    #[test]
    fn what_another_worker_sends_before_open_is_not_lost() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/pipelines/civic_safety/pipeline.yaml");
        let bundle = Bundle::read(&[path]).unwrap().to_text();
        let plan = |text: &str| Ok(Bundle::from_text(text)?.pipelines().map_err(|f| f.to_string())?.plan);
        let [mut coordinator, mut worker, mut peer] = network(3).try_into().ok().unwrap();
        let topics = plan(&bundle).unwrap().topics.len();

        // No ids, for each key group of the first of two workers.
        let entries = vec![0; KEY_GROUPS / 2 * topics * 4];
        let ids = Message::Ids { epoch: 1, newest: vec![None; topics], entries };
        peer.send(1, Channel::Data, wire::encode(&ids)).unwrap();
        let cut =
            Cut { epoch: Epoch(1), end: Offset(0), ingest: Millis(0), up: Millis(0), idle: None, emitted: Epoch(0) };
        let open = Open { worker: 0, workers: 2, bundle, id_key: 0, batch: false, sealing: None };
        let end = Message::EndEpoch { cut: cut.into(), base: 0, checkpoint: None };
        let thread = std::thread::spawn(move || {
            let (mut idle, _) = Idle::new();
            run(&mut worker, &mut idle, plan).unwrap();
        });
        for message in [Message::Open(open), Message::Begin, end] {
            coordinator.send(1, Channel::Data, wire::encode(&message)).unwrap();
        }
        assert!(matches!(receive(&mut coordinator), Message::Ready { .. }));
        assert!(matches!(receive(&mut peer), Message::Ids { epoch: 1, .. }));
        assert!(matches!(receive(&mut peer), Message::Verdicts { epoch: 1, .. }));
        coordinator.send(1, Channel::Data, wire::encode(&Message::Close)).unwrap();
        thread.join().unwrap();
    }
}
