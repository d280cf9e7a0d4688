//! The ranks and the edges between them: the real state machines, every message encoded, the order of delivery chosen from outside.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use caudal::coordinator::backfill::Keeps;
use caudal::coordinator::change::Change;
use caudal::coordinator::checkpoint::Checkpoint;
use caudal::coordinator::gather::Draft;
use caudal::coordinator::state::{Action, Beginning, Limits, Now, State as Coordinator};
use caudal::core::columns::Slab;
use caudal::core::dedup::IdMemory;
use caudal::core::dedup::runs::{MemoryRuns, RunId, Runs, RunsError};
use caudal::core::emit::Emission;
use caudal::core::keygroup::Owners;
use caudal::core::plan::Plan;
use caudal::core::units::{Epoch, Offset};
use caudal::ingest::owed::Ended;
use caudal::store::{Commit, Progress};
use caudal::wire::{self, Message, Open, Past};
use caudal::worker::state::{State as Worker, To};
use rand::Rng;

/// From a rank to a rank; 0 is the coordinator, w + 1 worker w.
pub type Edge = (usize, usize);

/// How many ids a worker keeps in memory, and what became of the others.
#[derive(Clone, Debug)]
pub struct Sealing {
    pub ids_in_memory_max: usize,
    pub begun: Arc<AtomicU64>,
    pub read: Arc<AtomicU64>,
    pub removed: Arc<AtomicU64>,
}

impl Sealing {
    /// Now and then few, now and then all.
    pub fn random(rng: &mut impl Rng) -> Self {
        let ids_in_memory_max = match rng.random_range(0..4) {
            0 => rng.random_range(0..4),
            1 => rng.random_range(4..60),
            _ => usize::MAX,
        };
        Self { ids_in_memory_max, ..Self::none() }
    }

    /// How a worker keeps ids.
    pub fn ids(&self) -> IdMemory {
        let runs = Box::new(CountedRuns(MemoryRuns::default(), self.clone()));
        IdMemory { in_memory_max: self.ids_in_memory_max, runs }
    }

    /// And one alone, in which a log's past is made.
    pub fn keeps(&self, id_key: u64) -> Keeps {
        let sealing = self.clone();
        Keeps { id_key, ids: Box::new(move |_| sealing.ids()) }
    }

    pub fn none() -> Self {
        let [begun, read, removed] = [(); 3].map(|()| Arc::default());
        Self { ids_in_memory_max: usize::MAX, begun, read, removed }
    }
}

#[derive(Debug)]
struct CountedRuns(MemoryRuns, Sealing);

impl Runs for CountedRuns {
    fn begin(&mut self) -> Result<RunId, RunsError> {
        self.1.begun.fetch_add(1, Ordering::Relaxed);
        self.0.begin()
    }

    fn append(&mut self, run: RunId, bytes: &[u8]) -> Result<(), RunsError> {
        self.0.append(run, bytes)
    }

    fn read(&self, run: RunId, at: u64, into: &mut [u8]) -> Result<(), RunsError> {
        self.1.read.fetch_add(1, Ordering::Relaxed);
        self.0.read(run, at, into)
    }

    fn remove(&mut self, run: RunId) -> Result<(), RunsError> {
        self.1.removed.fetch_add(1, Ordering::Relaxed);
        self.0.remove(run)
    }
}

/// The workers and all edges.
pub struct Ranks {
    pub workers: Vec<Worker>,
    /// By bundle.
    plans: BTreeMap<String, Arc<Plan>>,
    edges: BTreeMap<Edge, VecDeque<Vec<u8>>>,
}

impl Ranks {
    pub fn new(plan: &Arc<Plan>, workers: usize, id_key: u64, batch: bool, sealing: &Sealing) -> Self {
        let open = |worker: usize| Open {
            worker: worker as u32,
            workers: workers as u32,
            bundle: String::new(),
            id_key,
            batch,
            sealing: None,
        };
        let worker = |w: usize| Worker::new(&open(w), plan.clone()).sealing(sealing.ids());
        let workers = (0..workers).map(worker).collect();
        Self { workers, plans: BTreeMap::new(), edges: BTreeMap::new() }
    }

    pub fn send(&mut self, edge: Edge, message: &Message) {
        self.edges.entry(edge).or_default().push_back(wire::encode(message));
    }

    /// What a worker wants sent.
    pub fn send_all(&mut self, worker: usize, out: Vec<(To, Message)>) {
        for (to, message) in out {
            let to = match to {
                To::Coordinator => 0,
                To::Worker(w) => w + 1,
            };
            assert_ne!(worker + 1, to, "a rank sends nothing to itself");
            self.send((worker + 1, to), &message);
        }
    }

    /// Those on which a message is under way.
    pub fn busy_edges(&self) -> Vec<Edge> {
        self.edges.iter().filter(|(_, messages)| !messages.is_empty()).map(|(&edge, _)| edge).collect()
    }

    /// Delivers the edge's oldest message; gives it if it is for the coordinator.
    pub fn deliver(&mut self, edge: Edge) -> Option<Message> {
        let bytes = self.edges.get_mut(&edge).and_then(VecDeque::pop_front).unwrap();
        let message = wire::decode(bytes).unwrap();
        let (from, to) = edge;
        let Some(to) = to.checked_sub(1) else { return Some(message) };
        let worker = &mut self.workers[to];
        let out = match message {
            Message::Begin => {
                vec![(To::Coordinator, Message::Ready { pid: 0, host: String::new(), facts: worker.facts() })]
            }
            Message::Configure { epoch, bundle } => {
                worker.configure(Epoch(epoch), self.plans[&bundle].clone());
                Vec::new()
            }
            message => worker.step(from.checked_sub(1).map_or(To::Coordinator, To::Worker), message),
        };
        assert!(worker.fault().is_none(), "{:?}", worker.fault());
        self.send_all(to, out);
        None
    }

    /// Workers that have slabs to decode.
    pub fn undecoded(&self) -> Vec<usize> {
        (0..self.workers.len()).filter(|&w| self.workers[w].has_waiting()).collect()
    }

    pub fn decode(&mut self, worker: usize) {
        let out = self.workers[worker].decode();
        self.send_all(worker, out);
    }
}

/// The ranks of a live job, rank 0's decisions among them.
pub struct Net {
    pub coordinator: Coordinator,
    pub ranks: Ranks,
    /// What the coordinator wants done and nobody has done yet.
    pub cuts: VecDeque<Ended>,
    pub emissions: VecDeque<Emission>,
    pub commits: VecDeque<Commit>,
    pub drafts: VecDeque<Draft>,
}

impl Net {
    pub fn new(
        plan: &Arc<Plan>,
        workers: usize,
        limits: Limits,
        id_key: u64,
        beginning: Beginning,
        checkpoint: Option<Checkpoint>,
        sealing: &Sealing,
    ) -> Self {
        let mut ranks = Ranks::new(plan, workers, id_key, false, sealing);
        let owners = Owners::new(workers);
        for restore in checkpoint.into_iter().flat_map(|checkpoint| checkpoint.restores(owners)) {
            let (worker, restore) = restore.unwrap_or_else(|error| panic!("it was whole a moment ago: {error}"));
            ranks.send((0, worker + 1), &restore);
        }
        for worker in 0..workers {
            ranks.send((0, worker + 1), &Message::Begin);
        }
        for (_, Change { bundle, plan, .. }) in &beginning.changes {
            ranks.plans.insert(bundle.to_string(), plan.clone());
        }
        Self {
            coordinator: Coordinator::new(plan.clone(), workers, limits, beginning),
            ranks,
            cuts: VecDeque::new(),
            emissions: VecDeque::new(),
            commits: VecDeque::new(),
            drafts: VecDeque::new(),
        }
    }

    pub fn deliver(&mut self, edge: Edge) {
        if let Some(message) = self.ranks.deliver(edge) {
            let actions = self.coordinator.message(edge.0 - 1, message).unwrap();
            self.act(actions);
        }
    }

    pub fn configure(&mut self, change: Change) {
        self.ranks.plans.insert(change.bundle.to_string(), change.plan.clone());
        self.coordinator.configure(change);
    }

    /// A life begins with it.
    pub fn configure_at_start(&mut self, change: Change) {
        self.ranks.plans.insert(change.bundle.to_string(), change.plan.clone());
        self.coordinator.configure_at_start(change);
    }

    pub fn adopt(&mut self, past: &Past) {
        let actions = self.coordinator.adopt(past);
        self.act(actions);
    }

    pub fn dispatch(&mut self, slab: &Slab, now: Now) {
        let action = self.coordinator.dispatch(slab, now);
        self.act(vec![action]);
    }

    pub fn tick(&mut self, now: Now, idle_log: bool) {
        let actions = self.coordinator.tick(now, idle_log);
        self.act(actions);
    }

    pub fn durable(&mut self, cut: Option<Epoch>, emitted: Option<Epoch>, end: Offset) {
        let actions = self.coordinator.durable(cut, emitted, end);
        self.act(actions);
    }

    pub fn committed(&mut self, to: Progress) {
        let actions = self.coordinator.committed(to);
        self.act(actions);
    }

    fn act(&mut self, actions: Vec<Action>) {
        for action in actions {
            match action {
                Action::Send(worker, message) => self.ranks.send((0, worker + 1), &message),
                Action::Log(cut, discards, bundle) => self.cuts.push_back(Ended { cut, discards, bundle }),
                Action::Emit(emission) => self.emissions.push_back(*emission),
                Action::Commit(commit) => self.commits.push_back(*commit),
                Action::Checkpoint(draft) => self.drafts.push_back(*draft),
                // Who asked may have died.
                Action::Answer(to, fates) => drop(to.send(fates)),
            }
        }
    }
}
