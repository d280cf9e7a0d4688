//! Sends what the store's outbox holds: a thread for each webhook. What is to be sent came into the outbox in the transaction that stored what it tells of, so
//! nothing is told that did not happen, and nothing that happened is not told. What was sent may be sent again where it is not known that it was, under the same
//! Idempotency-Key. It decides nothing about alerts.

mod address;
mod client;

use std::sync::Arc;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::time::Duration;

use crate::clock::Clock;
use crate::core::plan::Plan;
use crate::core::units::{Generation, LogId, Micros};
use crate::outbox::client::Client;
use crate::store::target::Target;
use crate::store::{DeliveryQuery, DeliveryState, Reader, Settled, Store, StoreError, StoredDelivery};

pub use address::{is_public, literal};

/// How often the outbox is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(250);
/// Deliveries of one look: so that a stop, and new ones, are not waited for by a long list.
const BATCH: u32 = 100;
/// The wait after the first failure, doubled with each further one …
const BACKOFF: Micros = Micros(1_000_000);
/// … up to this.
const BACKOFF_MAX: Micros = Micros(300_000_000);

/// One webhook, its address with what the environment says.
#[derive(Clone)]
pub struct Hook {
    pub pipeline: String,
    pub name: String,
    pub url: String,
    /// After so long from the first attempt on it is given up.
    pub retry: Micros,
}

/// What all webhooks share.
#[derive(Clone)]
pub struct Shared {
    pub target: Target,
    pub plan: Arc<Plan>,
    /// The store is another job's, or empty, unless this is its log.
    pub log: LogId,
    pub generation: Generation,
    pub clock: Arc<dyn Clock>,
    /// Whether addresses that are not public may be sent to.
    pub private: bool,
    /// An attempt ends by then.
    pub timeout: Duration,
}

/// While it is there webhooks are sent. An attempt that is under way when it goes is not waited for: it is made again by the next life.
pub struct Sending {
    _until: Vec<Sender<()>>,
}

/// Starts a thread for each webhook.
///
/// # Errors
/// If the machine has no more threads.
pub fn spawn(hooks: Vec<Hook>, shared: &Shared) -> std::io::Result<Sending> {
    let mut until = Vec::new();
    for hook in hooks {
        let (sender, stop) = mpsc::channel();
        let courier = Courier { client: Client::new(shared.private, shared.timeout), hook, shared: shared.clone() };
        std::thread::Builder::new().name("webhook".to_owned()).spawn(move || courier.run(&stop))?;
        until.push(sender);
    }
    Ok(Sending { _until: until })
}

/// Connections to the store: one that asks, one that writes.
type Connections = (Box<dyn Reader>, Box<dyn Store>);

struct Courier {
    hook: Hook,
    shared: Shared,
    client: Client,
}

impl Courier {
    fn run(&self, stop: &Receiver<()>) {
        let mut connections = None;
        let mut away = false;
        while let Err(RecvTimeoutError::Timeout) = stop.recv_timeout(LOOK_EVERY) {
            match self.look(&mut connections, stop) {
                Ok(()) => away = false,
                Err(error @ (StoreError::Fenced { .. } | StoreError::Broken(_))) => {
                    tracing::warn!(webhook = self.hook.name, %error, "it is sent to no more");
                    return;
                }
                // What was sent and could not be noted is sent again.
                Err(error) => {
                    connections = None;
                    if !away {
                        tracing::warn!(webhook = self.hook.name, %error, "the store cannot be asked what is to be sent");
                    }
                    away = true;
                }
            }
        }
    }

    /// Sends what is due.
    fn look(&self, connections: &mut Option<Connections>, stop: &Receiver<()>) -> Result<(), StoreError> {
        let (reader, store) = match connections {
            Some(connections) => connections,
            None => match self.connect()? {
                Some(opened) => connections.insert(opened),
                None => return Ok(()),
            },
        };
        let query = DeliveryQuery {
            pipeline: Some(self.hook.pipeline.clone()),
            webhook: Some(self.hook.name.clone()),
            state: Some(DeliveryState::Waiting),
            due_by: Some(self.now()),
            limit: BATCH,
            ..DeliveryQuery::default()
        };
        for delivery in reader.deliveries(&query)? {
            if !matches!(stop.try_recv(), Err(mpsc::TryRecvError::Empty)) {
                return Ok(());
            }
            let began = self.now();
            let answer = self.client.post(&self.hook.url, delivery.id, &delivery.body);
            store.settle(self.shared.generation, &self.settled(&delivery, began, answer))?;
        }
        Ok(())
    }

    /// None: the store has nothing of this job yet.
    fn connect(&self) -> Result<Option<Connections>, StoreError> {
        let mut store = self.shared.target.store(&self.shared.plan)?;
        let is_ours = store.progress()?.is_some_and(|progress| progress.log == self.shared.log);
        Ok(if is_ours { Some((self.shared.target.reader(&self.shared.plan)?, store)) } else { None })
    }

    fn now(&self) -> Micros {
        self.shared.clock.unix().micros()
    }

    /// What has become of it.
    fn settled(&self, delivery: &StoredDelivery, began: Micros, answer: Result<(), String>) -> Settled {
        let attempts = delivery.attempts + 1;
        let first = delivery.first.unwrap_or(began);
        let (state, next, error) = match answer {
            Ok(()) => (DeliveryState::Delivered, None, None),
            Err(why) => {
                let next = self.now().plus(backoff(attempts));
                if next > first.plus(self.hook.retry) {
                    tracing::warn!(webhook = self.hook.name, delivery = %delivery.id, attempts, why, "it is given up");
                    (DeliveryState::GivenUp, None, Some(why))
                } else {
                    (DeliveryState::Waiting, Some(next), Some(why))
                }
            }
        };
        Settled { id: delivery.id, state, attempts, first, last: began, next, error }
    }
}

/// How long to wait after so many failures.
fn backoff(attempts: u64) -> Micros {
    let doublings = u32::try_from(attempts.saturating_sub(1)).unwrap_or(u32::MAX).min(32);
    Micros(BACKOFF.0.saturating_mul(1_i64 << doublings)).min(BACKOFF_MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_grow_to_their_bound() {
        let waits = [1, 2, 3, 9, 10, 1_000, u64::MAX].map(|attempts| backoff(attempts).0 / 1_000_000);
        assert_eq!(waits, [1, 2, 4, 256, 300, 300, 300]);
    }
}
