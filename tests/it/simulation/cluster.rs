//! The job on its machine: the real log on a crashing disk, group commit, the net of ranks, a store that is away or loses its answers, a clock that
//! jumps. One call of `Life::step` is one thing that happens somewhere; all choices come from the seed.

use std::collections::{BTreeMap, VecDeque};
use std::io::IoSlice;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use caudal::coordinator::backfill::fills::Order;
use caudal::coordinator::change::Asked;
use caudal::coordinator::checkpoint::{Checkpoints, least_progress};
use caudal::coordinator::start::{self, Start};
use caudal::coordinator::state::{Beginning, Limits, Now};
use caudal::core::columns::{Numbering, Slab};
use caudal::core::emit::Emission;
use caudal::core::epoch::Cut;
use caudal::core::ledger::{Counts, Ledger};
use caudal::core::mend::{Discards, Mends, Retry};
use caudal::core::plan::Plan;
use caudal::core::units::{Epoch, Generation, LogId, Millis, Offset, TopicId};
use caudal::ingest::keys::{self, Keys};
use caudal::ingest::letters::Letters;
use caudal::ingest::owed::Ended;
use caudal::ingest::{Kept, Receipt, Submission};
use caudal::log::disk::Disk;
use caudal::log::{Config, Log, LogError, Options, Reader, Record, Recovered, Start as LogStart};
use caudal::store::writer::{Outcome, commit_once, meet, merge, of_one_plan, pass_over};
use caudal::store::{Commit, Leftover, Progress, Store, StoreError};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use uuid::Uuid;

use super::changes::{self, Version, changes_of};
use super::check::plain;
use super::consumers::{Consumers, Outside};
use super::net::{Net, Sealing};
use super::pasts::Pasts;
use super::pipelines::{self, Pipeline};
use super::traffic::{Answer, Client};
use crate::memory_store::MemoryStore;
use crate::model::{Entry, Row};
use crate::sim_disk::SimDisk;

/// More steps than any drain takes: a job that is not at rest by then is stuck.
const DRAIN_STEPS_MAX: u64 = 300_000;

/// The machine died; everything in memory is gone.
#[derive(Debug)]
pub struct Died;

/// What outlives the job.
pub struct World {
    pub rng: ChaCha8Rng,
    pub pipeline: Pipeline,
    /// What the pipelines were asked to be, from the beginning on: each a part of `pipeline`.
    pub versions: Vec<Version>,
    pub client: Client,
    pub store: MemoryStore,
    pub outside: Outside,
    /// Of a past that the store may have a part of.
    pub mark: Option<Leftover>,
    disk: Arc<SimDisk>,
    log_options: Options,
    limits: Limits,
    pub unix_ms: u64,
    /// What is in the log for certain.
    pub log: Vec<Entry>,
    /// The frame that was being written when the job died.
    in_doubt: Vec<Entry>,
    /// Totals after every epoch that was ever committed.
    pub totals: BTreeMap<u64, Counts>,
    /// The rows of every epoch whose results were ever given to the store's writer: the same each time.
    pub published: BTreeMap<u64, BTreeMap<Uuid, Row>>,
    requests_left: u32,
    /// Of each life.
    pub sealings: Vec<Sealing>,
    pub crashes: u32,
    pub seen: Seen,
}

/// What happened how often: a simulation in which something never happens proves nothing about it.
#[derive(Default)]
pub struct Seen(pub BTreeMap<&'static str, u64>);

impl Seen {
    pub fn note(&mut self, what: &'static str, times: u64) {
        *self.0.entry(what).or_default() += times;
    }
}

/// The job from one start to one end.
pub struct Life<'w> {
    pub world: &'w mut World,
    net: Net,
    pub log: Log,
    pub consumers: Consumers,
    feed: Reader,
    checkpoints: Checkpoints,
    pub generation: Generation,
    up_ms: u64,
    pub awake_ms: u64,
    /// Requests that wait for the log's writer, by their number at the client.
    pub queue: VecDeque<(usize, Submission)>,
    acks: VecDeque<(usize, u64)>,
    /// Cuts and emissions up to these epochs, and the log's end.
    durable: VecDeque<(Option<Epoch>, Option<Epoch>, Offset)>,
    /// How far the store had come when this life met it, once it has.
    stands: Option<Epoch>,
    /// What a store that is met later must fit: the log, and what the life began with.
    fits: (Recovered, Beginning),
    committing: Option<Commit>,
    committed: VecDeque<Progress>,
    ledger: Ledger,
    draining: bool,
    pub letters: Arc<Letters>,
    pub keys: Arc<Keys>,
    pasts: Pasts,
    /// Up to which epoch changes that were logged are known to `pasts`.
    told: Epoch,
    /// The last epoch whose cut is known to be on disk.
    durable_to: Epoch,
    /// How many versions there were when this life began.
    versions_before: usize,
}

impl World {
    pub fn new(seed: u64) -> Self {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let pipeline = pipelines::random(&mut rng);
        let first = changes::first(&pipeline.plan, &mut rng);
        let segment_bytes = rng.random_range(4..=32) * 4096;
        let bytes_max = if rng.random_bool(0.2) { segment_bytes * rng.random_range(4..12) } else { u64::MAX };
        let limits = Limits {
            credit_bytes: rng.random_range(1..8000),
            epoch_bytes: rng.random_range(500..8000),
            epoch_age: Millis(rng.random_range(0..40)),
            checkpoint_bytes: rng.random_range(1000..60_000),
            checkpoint_age: Millis(rng.random_range(20..3000)),
        };
        Self {
            store: MemoryStore::new(pipeline.plan.clone()),
            outside: Outside::new(&pipeline.plan, &pipeline.schemas, &mut rng),
            mark: None,
            disk: SimDisk::new(rng.random()),
            log_options: Options { segment_bytes, bytes_max, low_water_bytes: 0, store_asked: true },
            limits,
            versions: vec![first],
            pipeline,
            client: Client::default(),
            unix_ms: 1_795_348_800_000,
            log: Vec::new(),
            in_doubt: Vec::new(),
            totals: BTreeMap::new(),
            published: BTreeMap::new(),
            requests_left: rng.random_range(60..140),
            sealings: Vec::new(),
            crashes: 0,
            seen: Seen::default(),
            rng,
        }
    }

    /// Lives and dies until the job has died this often, then once to the end.
    pub fn run(&mut self, crashes: u32) {
        while self.crashes < crashes {
            let drains = self.rng.random_bool(0.1);
            let steps = if drains { u64::MAX } else { self.rng.random_range(0..1500) };
            self.arm_disk();
            match self.live(steps, drains) {
                Ok(()) if drains => self.disk = self.disk.kill(),
                Ok(()) | Err(Died) => self.die(),
            }
        }
        self.disk = self.disk.kill();
        self.live(u64::MAX, true).expect("nothing was to fail in the last life");
        // A past that has not come to its end is taken out by the next start.
        while self.mark.is_some() {
            self.live(u64::MAX, true).expect("nothing was to fail");
        }
    }

    /// Some lives end in the middle of a write, some by a sync that fails.
    fn arm_disk(&mut self) {
        match self.rng.random_range(0..4) {
            0 => self.disk.die_after(self.rng.random_range(0..200)),
            1 => self.disk.fail_sync_after(self.rng.random_range(0..100)),
            _ => {}
        }
    }

    fn die(&mut self) {
        self.crashes += 1;
        self.disk = if self.rng.random() { self.disk.crash() } else { self.disk.kill() };
        if self.rng.random_bool(0.2) {
            self.damage_checkpoint();
        }
        self.unix_ms += self.rng.random_range(0..20_000);
        for request in &mut self.client.requests {
            if request.answer == Answer::Waiting {
                request.answer = Answer::Lost;
            }
        }
    }

    /// A bit of the newest checkpoint, or of the ids that it alone has, is another one from now on. There is an older one, or all of the log.
    fn damage_checkpoint(&mut self) {
        let names = self.disk.list().unwrap();
        let Some(epoch) = names.iter().filter_map(|name| name.strip_prefix("checkpoint-")).max() else { return };
        let ids = format!("ids-{epoch}");
        let has_ids = names.contains(&ids) && self.rng.random();
        let file = self.disk.open(&if has_ids { ids } else { format!("checkpoint-{epoch}") }).unwrap();
        let (at, mut byte) = (self.rng.random_range(0..file.len().unwrap()), [0]);
        file.read_at(at, &mut byte).unwrap();
        let flipped = byte[0] ^ 1 << self.rng.random_range(0..8);
        file.write_at(at, &mut [IoSlice::new(&[flipped])]).unwrap();
        file.sync().unwrap();
        self.seen.note("checkpoints damaged", 1);
    }

    /// One life: this many steps, or with `drains` until all requests are made and everything is committed.
    fn live(&mut self, steps: u64, drains: bool) -> Result<(), Died> {
        let workers = self.rng.random_range(1..=8);
        let last = steps == u64::MAX;
        let requests =
            if last && self.crashes > 0 { self.requests_left } else { self.rng.random_range(0..=self.requests_left) };
        if self.rng.random_bool(0.2) {
            self.store.away(self.rng.random_range(1..30));
        }
        let mut life = Life::begin(self, workers)?;
        let mut requests_now = requests;
        let mut quiet = life.world.rng.random_range(0..4000);
        let mut taken = 0;
        while taken < steps {
            taken += 1;
            if life.step(&mut requests_now)? {
                continue;
            }
            // Nobody has anything to do but the clock.
            if !drains {
                life.pass_time();
                continue;
            }
            if quiet > 0 && !life.draining {
                quiet -= 1;
                life.pass_time();
                continue;
            }
            life.drain();
            if life.net.coordinator.at_rest() && life.idle() {
                return life.consume_all();
            }
            assert!(taken < DRAIN_STEPS_MAX, "a drain that does not end");
            life.pass_time();
        }
        life.leave_stale();
        Ok(())
    }
}

/// What may happen next.
#[derive(Clone, Copy, Debug)]
enum Event {
    Request,
    Write,
    Acknowledge,
    Durable,
    Coordinate,
    Deliver((usize, usize)),
    Decode(usize),
    Commit,
    Committed,
    Checkpoint,
    Fill,
    Time,
    Fault,
}

impl<'w> Life<'w> {
    /// Recovers and starts, as rank 0 does.
    fn begin(world: &'w mut World, workers: usize) -> Result<Self, Died> {
        let (progress, met) = match world.store.progress() {
            Ok(progress) => (progress, true),
            Err(StoreError::Unavailable(_)) => {
                world.seen.note("starts without the store", 1);
                let disk: Arc<dyn Disk> = world.disk.clone();
                (least_progress(&disk).map_err(|_| Died)?, false)
            }
            Err(error) => panic!("{error}"),
        };
        let prepared = start::prepare(world.disk.clone(), progress).map_err(|_| Died)?;
        let new_id = LogId(world.rng.random());
        let options = Options { store_asked: met, ..world.log_options };
        let opened = Log::open(world.disk.clone(), options, new_id, prepared.proof(), prepared.verify_from());
        if matches!(opened, Err(LogError::Unproven { .. })) {
            world.seen.note("starts that wait for the store", 1);
            // The job ends, and is started again.
            return Self::begin(world, workers);
        }
        let (mut log, recovered) = opened.map_err(died)?;
        world.reconcile(&recovered, &log)?;
        let mut start = prepared.begin(&recovered).unwrap_or_else(|error| panic!("{error}"));
        let plan = start
            .plan(&changes::text(0), |text| Ok::<_, Died>(changes::change(&world.versions, changes::version(text))))?;
        let in_force = start.in_force().unwrap().to_string();
        let Start { generation, beginning, checkpoint, mut checkpoints, up, read_from, keys: found, .. } = start;
        // None expires: whether one has is a matter of clocks, which jump here.
        let keys = Arc::new(Keys::new(keys::Limits { expiry: Duration::MAX, ..keys::Limits::default() }));
        keys.found(found, Millis(world.unix_ms), Millis(0));
        checkpoints.carry(Arc::clone(&keys));
        let ingest = recovered.ingest.max(Millis(world.unix_ms));
        world.seen.note("starts that replay changes", u64::from(!beginning.changes.is_empty()));
        let logged = recovered.start.as_ref().map(|start| start.bundle.as_str());
        let logged_before = logged.is_some();
        assert!(logged.is_none_or(|logged| logged == in_force), "{logged:?} is not {in_force}");
        let first_text = in_force.clone();
        let first = LogStart { generation, bundle: in_force };
        log.append(&[Record::Start(first)], ingest).map_err(died)?;
        world.seen.note("starts", 1);
        world.seen.note("starts from a checkpoint", u64::from(beginning.checkpoint.0 > Epoch(0)));
        let names = world.disk.list().map_err(|_| Died)?;
        let on_disk = names.iter().filter_map(|name| name.strip_prefix("checkpoint-")?.parse().ok()).map(Epoch);
        let passed_over = on_disk.max().is_some_and(|newest| newest > beginning.checkpoint.0);
        world.seen.note("starts that pass over the newest checkpoint", u64::from(passed_over));
        world.seen.note("starts that replay epochs", u64::from(!beginning.cuts.is_empty()));
        let recomputed = beginning.cuts.iter().filter(|c| c.epoch <= beginning.progress.epoch).count();
        world.seen.note("epochs recomputed and not written", recomputed as u64);
        world.seen.note("starts with a cut-off tail", u64::from(recovered.truncated_bytes > 0));
        world.seen.note("starts of a log without its beginning", u64::from(recovered.begin > Offset(0)));
        let counts = beginning.progress.counts;
        let ledger =
            Ledger { accepted: recovered.end.0, counts, in_flight: recovered.end.0 - beginning.progress.end.0 };
        let id_key = recovered.id.0 as u64;
        let stands = met.then_some(beginning.progress.epoch);
        let began = beginning.clone();
        let letters = Arc::new(Letters::default());
        let under_way = beginning.mends.after(beginning.progress.epoch, beginning.progress.end);
        letters.found(&under_way);
        world.seen.note("letters under way at a start", u64::from(under_way != Mends::default()));
        let holds = world.versions[changes::version(&first_text)].plan.clone();
        let logged: Vec<_> = beginning.changes.iter().map(|(_, change)| change.clone()).collect();
        let last = beginning.cuts.back().map_or(beginning.checkpoint.0, |cut| cut.epoch);
        let sealing = Sealing::random(&mut world.rng);
        let mut net = Net::new(&plan, workers, world.limits, id_key, beginning, checkpoint, &sealing);
        world.sealings.push(sealing.clone());
        let versions_before = world.versions.len();
        let accepted = (logged_before && world.rng.random_bool(0.2)).then(|| {
            let holds = world.versions[world.holds()].shape.clone();
            changes::accepted(&world.pipeline, &holds, versions_before, last.next().0, &mut world.rng)
        });
        let access = log.access();
        let mut begin = |next: &Arc<Plan>| {
            let names = (sealing.keeps(id_key), recovered.id, generation);
            Pasts::begin(world, access.clone(), names, (&holds, next), logged.iter())
        };
        let tried = accepted.as_ref().map(|version| begin(&version.plan));
        let refused = matches!(tried, Some(None));
        // It is started once more, without.
        let pasts = tried.flatten().or_else(|| begin(&holds)).expect("what holds has not its own leftover");
        world.seen.note("acceptances that a leftover forbids", u64::from(refused));
        if let Some(version) = accepted.filter(|_| !refused) {
            world.seen.note("starts that accept changes", 1);
            world.versions.push(version);
            net.configure_at_start(changes::change(&world.versions, versions_before));
        }
        Ok(Self {
            net,
            feed: log.reader(read_from),
            consumers: Consumers::new(log.access()),
            log,
            checkpoints,
            generation,
            up_ms: up.0,
            awake_ms: 0,
            queue: VecDeque::new(),
            acks: VecDeque::new(),
            durable: VecDeque::new(),
            stands,
            fits: (recovered, began),
            committing: None,
            committed: VecDeque::new(),
            ledger,
            draining: false,
            letters,
            keys,
            pasts,
            told: Epoch(0),
            durable_to: Epoch(0),
            versions_before,
            world,
        })
    }

    pub fn now(&self) -> Now {
        Now { unix: Millis(self.world.unix_ms), up: Millis(self.up_ms), awake: Millis(self.awake_ms) }
    }

    /// One thing happens; false if there was nothing but the clock.
    fn step(&mut self, requests: &mut u32) -> Result<bool, Died> {
        assert!(self.ledger.balances(), "{:?}", self.ledger);
        if !self.draining && self.world.rng.random_bool(0.1) {
            self.consume()?;
            return Ok(true);
        }
        let mut events = self.possible(*requests > 0);
        if events.is_empty() {
            return self.coordinate();
        }
        events.extend([Event::Coordinate, Event::Coordinate, Event::Time]);
        if self.world.rng.random_bool(0.02) {
            events = vec![Event::Fault];
        }
        let event = events[self.world.rng.random_range(0..events.len())];
        match event {
            Event::Request => {
                *requests -= 1;
                if self.world.rng.random_bool(0.06) {
                    self.change();
                } else if let Some(now) = self.pasts.asked.under_way()
                    && self.world.rng.random_bool(0.1)
                {
                    // Whoever asked for a past changes his mind.
                    let _ = self.pasts.asked.cancel(&now.pipeline);
                } else if self.world.rng.random_bool(0.2) {
                    self.mend();
                } else if self.world.rng.random_bool(0.25) {
                    self.repeat();
                } else {
                    self.request();
                }
            }
            Event::Write => self.write()?,
            Event::Acknowledge => {
                if let Some((request, first)) = self.acks.pop_front() {
                    self.world.client.requests[request].answer = Answer::Accepted(first);
                }
            }
            Event::Durable => {
                if let Some((cut, emitted, end)) = self.durable.pop_front() {
                    self.net.durable(cut, emitted, end);
                    self.letters.durable(cut.unwrap_or_default());
                    self.durable_to = self.durable_to.max(cut.unwrap_or_default());
                    if cut.is_some_and(|cut| cut >= self.told) {
                        self.pasts.asked.shown();
                    }
                }
            }
            Event::Coordinate => {
                self.coordinate()?;
            }
            Event::Deliver(edge) => self.net.deliver(edge),
            Event::Decode(worker) => self.net.ranks.decode(worker),
            Event::Commit => self.commit(),
            Event::Committed => self.take_committed(),
            Event::Checkpoint => self.checkpoint(),
            Event::Fill => self.pasts.step(self.world)?,
            Event::Time => self.pass_time(),
            Event::Fault => self.fault(),
        }
        let changed = self.net.cuts.iter().filter(|ended| ended.bundle.is_some() && ended.cut.epoch > self.told);
        for epoch in changed.map(|ended| ended.cut.epoch).collect::<Vec<_>>() {
            self.told = epoch;
            self.pasts.logged(self.world, epoch);
        }
        Ok(true)
    }

    fn possible(&self, requests: bool) -> Vec<Event> {
        let mut events = Vec::new();
        let mut may = |can: bool, event: Event| {
            if can {
                events.push(event);
            }
        };
        may(requests && self.net.coordinator.may_serve() && !self.draining, Event::Request);
        let owed = !self.net.cuts.is_empty() || !self.net.emissions.is_empty();
        may(!self.queue.is_empty() || owed, Event::Write);
        may(!self.acks.is_empty(), Event::Acknowledge);
        may(!self.durable.is_empty(), Event::Durable);
        may(self.committing.is_some() || !self.net.commits.is_empty(), Event::Commit);
        may(!self.committed.is_empty(), Event::Committed);
        may(!self.net.drafts.is_empty(), Event::Checkpoint);
        may(self.pasts.may_step(self.world.log.len()), Event::Fill);
        events.extend(self.net.ranks.busy_edges().into_iter().map(Event::Deliver));
        events.extend(self.net.ranks.undecoded().into_iter().map(Event::Decode));
        events
    }

    /// Nothing is under way anywhere.
    fn idle(&self) -> bool {
        self.possible(false).is_empty()
    }

    fn request(&mut self) {
        let world = &mut *self.world;
        world.requests_left -= 1;
        let mut submission = world.client.request(&world.pipeline.plan, world.unix_ms, &mut world.rng);
        let number = world.client.requests.len() - 1;
        if let Some(claimed) = self.claim_key(number) {
            submission.kept.key = Some(claimed.expect("a key that nobody has used"));
        }
        let world = &mut *self.world;
        self.queue.push_back((world.client.requests.len() - 1, submission));
    }

    /// Somebody changes the pipelines. Whoever does waits for the answer before the next one.
    fn change(&mut self) {
        if self.net.coordinator.is_changing() || self.pasts.asked.under_way().is_some() {
            return;
        }
        let world = &mut *self.world;
        let before = &world.versions[world.versions.len() - 1].shape;
        let held: Vec<usize> = changes_of(&world.log).map(|(_, version)| version).chain([0]).collect();
        let never = |pipeline: usize| !held.iter().any(|version| world.versions[*version].shape.pipelines[pipeline]);
        // One that never was the job's may be filled beside it: some tries to come by one.
        let mut version = changes::next(&world.pipeline, before, world.versions.len(), &mut world.rng);
        for _ in 0..4 {
            if (0..before.pipelines.len()).any(|pipeline| version.shape.pipelines[pipeline] && never(pipeline)) {
                break;
            }
            version = changes::next(&world.pipeline, before, world.versions.len(), &mut world.rng);
        }
        // What was asked for last may have died with the job.
        let holds = &world.versions[world.holds()].shape;
        if world.versions.len() == self.versions_before {
            version.shape.lives.clone_from(&holds.lives);
            version = Version::new(&world.pipeline.plan, version.shape);
        }
        // One that was begun anew under its name is not replayed under it.
        let is_new =
            |at: &usize| version.shape.pipelines[*at] && !holds.pipelines[*at] && version.shape.lives[*at] == 0;
        let new = (0..holds.pipelines.len()).find(is_new).filter(|_| world.rng.random_bool(0.9));
        if let Some(pipeline) = new {
            let access = self.log.access();
            let event = world.rng.random_range(access.begin().0..=access.end().0);
            // None where no whole epoch is retained.
            if let Ok(found) = access.epoch_before(Offset(event)) {
                version.begin(pipeline, found);
            }
        }
        let backfill = version.backfill;
        let asks = backfill.zip(new.filter(|new| never(*new)));
        world.versions.push(version);
        let change = changes::change(&world.versions, world.versions.len() - 1);
        if let Some((backfill, _)) = asks.filter(|_| world.rng.random_bool(0.8)) {
            world.seen.note("pasts asked for", 1);
            let name = change.plan.pipeline_name(backfill.pipeline).to_owned();
            assert!(self.pasts.asked.ask(&name, backfill.from, change).is_some());
            return;
        }
        world.seen.note("changes asked for", 1);
        self.net.configure(change);
    }

    /// The log's writer: what waits, or a part of it, goes into one frame.
    fn write(&mut self) -> Result<(), Died> {
        let take = self.world.rng.random_range(1..=4).min(self.queue.len());
        let taken: Vec<(usize, Submission)> = self.queue.drain(..take).collect();
        let cuts: Vec<Ended> = self.net.cuts.drain(..).collect();
        let ingest = self.log.ingest().max(Millis(self.world.unix_ms));
        let mut first = self.log.end();
        let mut entries = Vec::new();
        // They stand before the slabs, as the writer has them.
        let mut keys = Vec::new();
        for (_, submission) in &taken {
            let receipt = Receipt { first, count: submission.count };
            keys.extend(submission.kept.key.as_ref().map(|claim| Record::Key(claim.request(receipt))));
            let retries = submission.retries.as_ref().map(|claim| claim.retries(first).collect());
            entries.extend(retries.map(Entry::Retries));
            entries.push(Entry::Slab(slab(first, submission, ingest)));
            first.0 += u64::from(submission.count);
        }
        let emissions: Vec<Emission> = self.net.emissions.drain(..).collect();
        let cut = cuts.last().map(|ended| ended.cut.epoch);
        let emitted = emissions.last().map(|emission| emission.epoch);
        for Ended { cut, discards: letters, bundle } in cuts {
            self.letters.cut(cut.epoch, &letters);
            let shape = bundle.map(|bundle| self.world.versions[changes::version(&bundle)].shape.clone());
            entries.extend(shape.map(|shape| Entry::Config(cut.epoch, Rc::new(shape))));
            let discards = Discards { epoch: cut.epoch, letters };
            entries.extend((!discards.letters.is_empty()).then_some(Entry::Discards(discards)));
            entries.push(Entry::Cut(cut));
        }
        let requests = entries.len();
        emitted_entries(&emissions, first, ingest, &mut entries);
        let count_emitted = |entries: &[Entry]| entries.iter().map(events_of).sum::<u64>();
        let mut more = count_emitted(&entries[requests..]);
        match self.append(&entries, keys, ingest) {
            Err(LogError::Full | LogError::DiskFull) => {
                // Refused; what is owed goes in nevertheless.
                self.world.seen.note("requests refused", taken.len() as u64);
                for (request, _) in &taken {
                    self.world.client.requests[*request].answer = Answer::Refused;
                }
                let mut owed: Vec<Entry> = entries
                    .into_iter()
                    .filter(|e| matches!(e, Entry::Cut(_) | Entry::Discards(_) | Entry::Config(..)))
                    .collect();
                emitted_entries(&emissions, self.log.end(), ingest, &mut owed);
                more = count_emitted(&owed);
                if !owed.is_empty() {
                    self.append(&owed, Vec::new(), ingest).map_err(died)?;
                    self.durable.push_back((cut, emitted, self.log.end()));
                    self.ledger.in_flight += more;
                    self.ledger.accepted += more;
                }
                return Ok(());
            }
            other => other.map_err(died)?,
        }
        if cut.is_some() || emitted.is_some() {
            self.durable.push_back((cut, emitted, self.log.end()));
        }
        let mut first = self.ledger.accepted;
        for (request, submission) in taken {
            self.acks.push_back((request, first));
            if let Some(claim) = submission.kept.key {
                claim.logged(Receipt { first: Offset(first), count: submission.count }, ingest);
            }
            if let Some(applied) = submission.applied {
                self.net.coordinator.wait_for(Offset(first), submission.count, applied);
            }
            if let Some(claim) = submission.retries {
                self.net.coordinator.retried(claim.retried(Offset(first)));
            }
            first += u64::from(submission.count);
        }
        self.ledger.in_flight += first + more - self.ledger.accepted;
        self.ledger.accepted = first + more;
        Ok(())
    }

    fn append(&mut self, entries: &[Entry], keys: Vec<Record>, ingest: Millis) -> Result<(), LogError> {
        let record = |entry: &Entry| match entry {
            Entry::Slab(slab) => Record::Slab(slab.clone()),
            Entry::Cut(cut) => Record::Cut(*cut),
            Entry::Emit(epoch) => Record::Emit(*epoch),
            Entry::Retries(retries) => Record::Retries(retries.clone()),
            Entry::Discards(discards) => Record::Discards(discards.clone()),
            Entry::Config(epoch, shape) => {
                Record::Config(Config { epoch: *epoch, bundle: changes::text(shape.version) })
            }
        };
        let with_keys = |record: &Record| matches!(record, Record::Slab(_));
        let mut records: Vec<Record> = entries.iter().map(record).collect();
        let at = records.iter().position(with_keys).unwrap_or(records.len());
        records.splice(at..at, keys);
        self.world.in_doubt = entries.to_vec();
        let appended = self.log.append(&records, ingest);
        if !matches!(appended, Err(LogError::Io { .. })) {
            let entries = std::mem::take(&mut self.world.in_doubt);
            if appended.is_ok() {
                self.world.log.extend(entries);
            }
        }
        appended.map(drop)
    }

    /// A turn of rank 0's loop. True if something came of it.
    fn coordinate(&mut self) -> Result<bool, Died> {
        let mut idle_log = false;
        let mut busy = false;
        self.net.coordinator.discard(self.letters.take_discards());
        for _ in 0..self.world.rng.random_range(1..4) {
            if !self.net.coordinator.wants_slab() {
                break;
            }
            let Some(slab) = self.feed.next_slab().map_err(died)? else {
                idle_log = true;
                break;
            };
            busy = true;
            let now = self.now();
            self.net.dispatch(&slab, now);
        }
        // A past without a mark is of a change that is on disk.
        let told = self.durable_to >= self.told;
        let (filled, orders) =
            if told { self.pasts.turn(self.world, &self.net.coordinator) } else { (false, Vec::new()) };
        busy |= filled;
        for order in orders {
            match order {
                Order::Change(Asked { change, .. }) => {
                    self.world.seen.note("pasts that joined", 1);
                    self.net.configure(change);
                }
                Order::Adopt(past) => self.net.adopt(&past),
                _ => unreachable!("it is carried out"),
            }
        }
        let before = (self.net.cuts.len(), self.net.ranks.busy_edges().len());
        let now = self.now();
        self.net.tick(now, idle_log);
        Ok(busy || before != (self.net.cuts.len(), self.net.ranks.busy_edges().len()))
    }

    fn commit(&mut self) {
        let Some(stands) = self.stands.or_else(|| self.meet_store()) else { return };
        if self.committing.is_none() {
            if let Some(passed) = pass_over(&mut self.net.commits, stands) {
                self.world.seen.note("results passed over", 1);
                let counts = self.world.totals.entry(passed.epoch.0).or_insert(passed.counts);
                assert_eq!(*counts, passed.counts, "epoch {}", passed.epoch);
                self.committed.push_back(passed);
            }
            if self.net.commits.is_empty() {
                return;
            }
            let take = self.world.rng.random_range(1..=self.net.commits.len());
            let take = take.min(of_one_plan(&self.net.commits));
            self.net.commits.iter().take(take).for_each(|commit| self.world.publishes(commit));
            self.committing = Some(merge(self.net.commits.drain(..take).collect()));
        }
        let Some(commit) = &self.committing else { return };
        match commit_once(&mut self.world.store, self.generation, commit).unwrap() {
            Outcome::Committed => {
                self.world.seen.note("commits", 1);

                self.world.totals.insert(commit.to.epoch.0, commit.to.counts);
                self.committed.push_back(commit.to);
                self.committing = None;
            }
            Outcome::Away(_) => self.world.seen.note("commits to be tried again", 1),
        }
    }

    /// The first meeting with a store that was away at the start, as the writer's thread has it.
    fn meet_store(&mut self) -> Option<Epoch> {
        let (recovered, began) = &self.fits;
        let fits = |stored: Option<&Progress>| {
            start::meets(recovered, began, stored).map_err(|e| StoreError::Mismatch(e.to_string()))
        };
        match meet(&mut self.world.store, &fits, self.generation) {
            Ok(stands) => self.stands = Some(stands),
            Err(StoreError::Unavailable(_)) => {}
            Err(error) => panic!("{error}"),
        }
        self.stands
    }

    fn take_committed(&mut self) {
        let Some(to) = self.committed.pop_front() else { return };
        let before = self.net.coordinator.committed_to();
        self.ledger.counts = to.counts;
        self.ledger.in_flight -= to.end.0 - before.end.0;
        self.net.committed(to);
        let coordinator = &self.net.coordinator;
        // A replay counts from its checkpoint on again, and has come to what is committed by its end.
        if coordinator.caught_up() {
            let mut counts = Counts::default();
            coordinator.totals().topics.values().for_each(|of_topic| counts += *of_topic);
            assert_eq!(counts, to.counts, "the totals by topic come to the ledger's");
            self.world.seen.note("totals compared", 1);
        }
        self.letters.committed(to.epoch, to.end);
        if self.world.rng.random_bool(0.1) {
            self.retain();
        }
    }

    fn checkpoint(&mut self) {
        let Some(draft) = self.net.drafts.pop_front() else { return };
        let written = self.checkpoints.write(draft);
        self.world.seen.note(if written.is_ok() { "checkpoints" } else { "checkpoints that failed" }, 1);
        if written.is_err() {
            self.net.coordinator.repeat_share();
        }
    }

    fn retain(&mut self) {
        let needed_from = self.checkpoints.needed_from(self.net.coordinator.committed_to().end);
        let needed_from = self.pasts.fills.needed_from(&self.net.coordinator, needed_from);
        let now = self.world.unix_ms;
        let keep_since = self.world.rng.random_bool(0.3).then(|| Millis(now.saturating_sub(1000)));
        // If the disk dies by it, the next write finds that out.
        while let Ok(true) = self.log.retain(needed_from, keep_since) {}
    }

    fn pass_time(&mut self) {
        let rng = &mut self.world.rng;
        let ms = match rng.random_range(0..100) {
            0..80 => rng.random_range(0..8),
            80..98 => rng.random_range(0..400),
            _ => rng.random_range(0..6000),
        };
        self.world.unix_ms += ms;
        self.awake_ms += ms;
        if self.net.coordinator.caught_up() {
            self.up_ms += ms;
        }
    }

    fn fault(&mut self) {
        let rng = &mut self.world.rng;
        match rng.random_range(0..6) {
            0 => self.world.store.lose_answer(rng.random()),
            1 => self.world.store.away(rng.random_range(1..30)),
            2 if rng.random_bool(0.3) => self.world.unix_ms += rng.random_range(0..600_000),
            3 if rng.random_bool(0.3) => self.world.unix_ms -= rng.random_range(0..100_000),
            4 => self.retain(),
            _ => {}
        }
    }

    fn drain(&mut self) {
        self.draining = true;
        self.net.coordinator.drain();
    }
}

/// The disk died in a call; anything else is a fault of the log.
pub fn died(error: LogError) -> Died {
    match error {
        LogError::Io { .. } => Died,
        error => panic!("{error}"),
    }
}

fn slab(first: Offset, submission: &Submission, ingest: Millis) -> Slab {
    Slab {
        first_offset: first,
        count: submission.count,
        ingest,
        topic: submission.topic.map(|t| TopicId(t.0)),
        bytes: submission.lines.clone(),
        numbering: Numbering::Dense,
    }
}

/// What epochs have emitted as the log has it, behind what is there.
fn emitted_entries(emissions: &[Emission], mut first: Offset, ingest: Millis, entries: &mut Vec<Entry>) {
    for Emission { epoch, lines } in emissions {
        entries.push(Entry::Emit(*epoch));
        for (topic, lines) in lines {
            let bytes: String = lines.iter().flat_map(|line| [line.as_str(), "\n"]).collect();
            let (topic, count, applied) = (Some(*topic), lines.len() as u32, None);
            let submission =
                Submission { topic, lines: bytes.into(), count, applied, retries: None, kept: Kept::default() };
            entries.push(Entry::Slab(slab(first, &submission, ingest)));
            first.0 += u64::from(count);
        }
    }
}

impl World {
    /// An epoch has come to its results, perhaps not for the first time.
    fn publishes(&mut self, commit: &Commit) {
        let rows: BTreeMap<Uuid, Row> = commit.rows.iter().map(|row| (row.metric_id, plain(row))).collect();
        self.seen.note("rows published open", rows.values().filter(|row| !row.closed).count() as u64);
        let epoch = commit.to.epoch.0;
        let before = self.published.entry(epoch).or_insert_with(|| rows.clone());
        assert_eq!(*before, rows, "epoch {epoch} comes to something else than before");
    }

    /// The version that the log has last.
    pub fn holds(&self) -> usize {
        changes_of(&self.log).last().map_or(0, |(_, version)| version)
    }

    /// Holds what recovery found against what was written: everything acknowledged is there, and nothing else but, perhaps, the frame that was in doubt,
    /// whole.
    fn reconcile(&mut self, recovered: &Recovered, log: &Log) -> Result<(), Died> {
        let end_of = |entries: &[Entry]| entries.iter().map(events_of).sum::<u64>();
        let cuts_of = |entries: &[Entry]| entries.iter().filter_map(cut_of).collect::<Vec<Cut>>();
        let certain = end_of(&self.log);
        let doubtful = std::mem::take(&mut self.in_doubt);
        let last_cut = recovered.cuts.last().copied();
        let whole = recovered.end.0 == certain + end_of(&doubtful)
            && cuts_of(&doubtful).last().is_none_or(|c| last_cut == Some(*c))
            && emits_of(&doubtful).last().is_none_or(|e| recovered.emits.last().map(|(last, _)| *last) == Some(*e));
        self.seen
            .note(if whole { "frames in doubt kept" } else { "frames in doubt lost" }, u64::from(!doubtful.is_empty()));
        if whole {
            self.log.extend(doubtful);
        }
        assert_eq!(recovered.end.0, end_of(&self.log), "the log has what was acknowledged, and nothing else");
        let emits = emits_of(&self.log);
        let found: Vec<Epoch> = recovered.emits.iter().map(|(epoch, _)| *epoch).collect();
        assert_eq!(found, emits[emits.len() - found.len()..], "the log has what was emitted");
        let (retries, discards) = (retries_of(&self.log), discards_of(&self.log));
        let found = &recovered.mends;
        assert_eq!(found.retries, retries[retries.len() - found.retries.len()..], "the log has the retries");
        let all: Vec<(Epoch, Arc<str>)> =
            changes_of(&self.log).map(|(epoch, version)| (epoch, changes::text(version))).collect();
        let found_changes = &recovered.changes;
        assert_eq!(*found_changes, all[all.len() - found_changes.len()..], "the log has the changes");
        assert_eq!(found.discards, discards[discards.len() - found.discards.len()..], "the log has the discards");
        let cuts = cuts_of(&self.log);
        let tail = &cuts[cuts.len() - recovered.cuts.len()..];
        assert_eq!(recovered.cuts, tail, "the log has the cuts that were written");

        let mut reader = log.reader(recovered.begin);
        let kept = self.log.iter().filter_map(slab_of).filter(|s| s.first_offset >= recovered.begin);
        for written in kept {
            let read = reader.next_slab().map_err(died)?.expect("the log ends too early");
            let facts = |s: &Slab| (s.first_offset, s.count, s.ingest, s.topic, s.bytes.clone());
            assert_eq!(facts(&read), facts(written));
        }
        assert!(reader.next_slab().map_err(died)?.is_none(), "the log goes on too far");
        Ok(())
    }
}

fn emits_of(entries: &[Entry]) -> Vec<Epoch> {
    entries.iter().filter_map(|entry| if let Entry::Emit(epoch) = entry { Some(*epoch) } else { None }).collect()
}

pub fn retries_of(entries: &[Entry]) -> Vec<Retry> {
    let of_entry = |entry: &Entry| if let Entry::Retries(retries) = entry { Some(retries.clone()) } else { None };
    entries.iter().filter_map(of_entry).flatten().collect()
}

pub fn discards_of(entries: &[Entry]) -> Vec<Discards> {
    let of_entry = |entry: &Entry| if let Entry::Discards(discards) = entry { Some(discards.clone()) } else { None };
    entries.iter().filter_map(of_entry).collect()
}

fn events_of(entry: &Entry) -> u64 {
    slab_of(entry).map_or(0, |s| u64::from(s.count))
}

pub fn slab_of(entry: &Entry) -> Option<&Slab> {
    if let Entry::Slab(slab) = entry { Some(slab) } else { None }
}

pub fn cut_of(entry: &Entry) -> Option<Cut> {
    if let Entry::Cut(cut) = entry { Some(*cut) } else { None }
}
