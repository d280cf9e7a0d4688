//! `caudal run`: the live job.

mod going_on;
mod index;
mod server;
mod starts;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver, Sender};
use std::thread::JoinHandle;
use std::time::Instant;

use crate::bus::Source;
use crate::cli::check::cases;
use crate::cli::data_dir::{DataDir, TWO_JOBS, random_log_id};
use crate::cli::exit::{Exit, Failure, OrExit};
use crate::cli::failures::{fill_failure, log_failure, run_failure, store_failure};
use crate::cli::ranks::{self, Wake};
pub use crate::cli::run::going_on::{Begun, the_pipeline};
use crate::cli::run::going_on::{GoingOn, asked_copies, earlier, last_epoch};
use crate::cli::run::index::Indexing;
use crate::cli::run::server::{Server, say_ready};
use crate::cli::run::starts::Starts;
use crate::cli::webhooks;
use crate::clock::{Clock, SystemClock};
use crate::config::{Config, restarted};
use crate::coordinator::backfill::fills::Fills;
use crate::coordinator::backfill::thread::{Filler, Thread};
use crate::coordinator::backfill::{Backfills, Keeps};
use crate::coordinator::change::Changes;
use crate::coordinator::checkpoint::{Checkpoint, Checkpoints, least_progress};
use crate::coordinator::gather::Draft;
use crate::coordinator::restores;
use crate::coordinator::run::{Coordinator, Event, Written, opening_ledger};
use crate::coordinator::start::{self, Start};
use crate::coordinator::state::{Limits, State};
use crate::coordinator::status::{CheckpointStatus, SharedStatus};
use crate::core::plan::Plan;
use crate::core::units::{Generation, LogId, Offset};
use crate::ingest::feed::feed;
use crate::ingest::keys::Keys;
use crate::ingest::queue::{Cutter, Ingest, Queue, queue};
use crate::ingest::writer as log_writer;
use crate::log::disk::{Disk, FileDisk};
use crate::log::{Log, Options, Record, Recovered};
use crate::logging;
use crate::outbox::{self, Hook, Sending};
use crate::store::jsonl::{Copies, Known};
use crate::store::writer as store_writer;
use crate::store::{Progress, StoreError};
use crate::transport::idle::Idle;
use crate::transport::{Channel, Transport};
use crate::web::App;
use crate::wire::{self, Message, Open, Sealing};
use crate::worker::scratch::Scratch;

/// Takes events over HTTP and counts them.
#[derive(clap::Args, Debug)]
pub struct Args {
    /// Start with changed pipeline files: what their changes leave of kept state goes on, and a pipeline whose state would lose its meaning begins anew, its open
    /// windows being closed as they are. Without it changed files are refused.
    #[arg(long)]
    accept_changes: bool,
}

/// Runs this rank of the job.
///
/// # Errors
/// As `Exit` says.
pub fn run(args: &Args) -> Result<(), Failure> {
    ranks::run(&mut |transport, idle, wake| {
        let (config, warnings) = Config::load().or_exit(Exit::Config)?;
        let pipeline = the_pipeline(&config);
        let begun = pipeline.as_ref().ok().map(|begun| begun.running.get());
        let used = begun.as_ref().map(|begun| webhooks::variables(&begun.pipelines.plan)).unwrap_or_default();
        for warning in warnings.told(&used) {
            tracing::warn!("{warning}");
        }
        Rank0::open(config, pipeline?, wake)?.run(transport, idle, args.accept_changes)
    })
}

/// What rank 0 has from its first moment on.
struct Rank0 {
    config: Config,
    pipeline: Begun,
    changes: Changes,
    backfills: Backfills,
    clock: Arc<dyn Clock>,
    status: Arc<SharedStatus>,
    ingest: Ingest,
    bus: Arc<Source>,
    cutter: Cutter,
    queue: Queue,
    events: (Notifier, Receiver<Event>),
    server: Server,
    hooks: Vec<Hook>,
    /// Given up last.
    data: DataDir,
}

/// Reports to rank 0's loop, and wakes it.
#[derive(Clone)]
struct Notifier {
    events: Sender<Event>,
    wake: Wake,
}

impl Notifier {
    fn tell(&self, event: Event) {
        // The loop that listens lives longer than whoever tells; at the very end nobody needs to know.
        drop(self.events.send(event));
        self.wake.wake();
    }
}

impl Rank0 {
    /// Opens the port first: until the log is replayed it answers 503 with the progress.
    fn open(config: Config, pipeline: Begun, wake: Wake) -> Result<Self, Failure> {
        // They do not change while the job runs.
        let hooks = webhooks::hooks(&config.webhooks, &pipeline.running.get().pipelines.plan)?;
        let data = DataDir::lock(&config.data_dir, TWO_JOBS)?;
        let clock: Arc<dyn Clock> = Arc::new(SystemClock::default());
        let status = Arc::new(SharedStatus::default());
        let keys = Arc::new(Keys::new(config.limits.idempotency));
        let (ingest, cutter, queue) = queue(config.limits.ingest_queue, config.limits.ingest_queue_bytes, keys);
        let bus = Arc::new(Source::default());
        let (changes, backfills) = (Changes::default(), Backfills::default());
        let (events, received) = mpsc::channel();
        let notifier = Notifier { events, wake };
        logging::of_job(Box::new({
            let status = status.clone();
            move || status.stand()
        }));
        let app = App {
            ingest: ingest.clone(),
            bus: bus.clone(),
            running: pipeline.running.clone(),
            changes: changes.clone(),
            backfills: backfills.clone(),
            rehearsal: cases::faults,
            status: status.clone(),
            target: config.target.clone(),
            http: config.http.clone(),
            limits: config.limits.clone(),
            clock: clock.clone(),
        };
        let server = Server::start(app, &notifier)?;
        Ok(Self {
            config,
            pipeline,
            changes,
            backfills,
            clock,
            status,
            ingest,
            bus,
            cutter,
            queue,
            events: (notifier, received),
            data,
            server,
            hooks,
        })
    }

    fn run(self, transport: &mut dyn Transport, idle: &mut Idle, accept: bool) -> Result<(), Failure> {
        let disk: Arc<dyn Disk> = Arc::new(FileDisk::open(&self.data.log()).or_exit(Exit::Damaged)?);
        let (progress, store_asked) = self.progress(&disk)?;
        let prepared = start::prepare(disk.clone(), progress).or_exit(Exit::Damaged)?;
        let new_id = random_log_id().or_exit(Exit::TryAgain)?;
        let opened = Log::open(
            disk,
            Options { store_asked, ..log_options(&self.config) },
            new_id,
            prepared.proof(),
            prepared.verify_from(),
        );
        let (mut log, recovered) = opened.map_err(log_failure)?;
        let mut start = prepared.begin(&recovered).or_exit(Exit::Config)?;
        let going_on = self.pipeline.go_on(&self.config, &recovered, &mut start, accept)?;
        let first = crate::log::Start { generation: start.generation, bundle: going_on.bundle.to_string() };
        let now = recovered.ingest.max(self.clock.unix());
        log.append(&[Record::Start(first)], now).map_err(log_failure)?;
        let starts = Starts::begin(&self.data.starts(), start.generation, restarted().as_deref(), now);
        self.status.update(|s| {
            s.generation = start.generation;
            s.ledger = opening_ledger(recovered.end, start.beginning.progress);
            s.committed = start.beginning.progress.epoch;
            let (epoch, at) = (start.beginning.checkpoint.0, start.checkpoint.as_ref().map(Checkpoint::ingest));
            s.checkpoint = CheckpointStatus { epoch, at, written: None };
            s.replay_until = recovered.end;
            s.log = log.extent();
            s.log_bytes_max = self.config.log.bytes_max;
            s.starts = starts.told();
        });
        let bundle = Arc::clone(&start.beginning.bundle);
        let sealing = sealing(self.config.limits.ids_in_memory, &self.data.scratch());
        open_workers(transport, &bundle, recovered.id, &sealing, &mut start)?;
        self.coordinate(transport, idle, log, &recovered, (start, going_on, starts))
    }

    /// What the store has, and whether it could be asked. While it is away, what it had at least: what it has beyond is computed again, and passed over
    /// when it is back.
    fn progress(&self, disk: &Arc<dyn Disk>) -> Result<(Option<Progress>, bool), Failure> {
        match self
            .config
            .target
            .store(&self.pipeline.running.get().pipelines.plan)
            .and_then(|mut store| store.progress())
        {
            Ok(progress) => Ok((progress, true)),
            // Its writer says so.
            Err(StoreError::Unavailable(_) | StoreError::Indeterminate(_)) => {
                self.status.update(|s| s.store_away_since = Some(self.clock.unix()));
                Ok((least_progress(disk).or_exit(Exit::Damaged)?, false))
            }
            Err(error) => Err(store_failure(&error)),
        }
    }

    /// The audit's files, open where they end.
    fn copies(&self, recovered: &Recovered, start: &Start, going_on: &GoingOn) -> Result<Option<Copies>, Failure> {
        let now = &self.pipeline.running.get().pipelines;
        let copied = going_on.copied.as_ref();
        let mut asked = asked_copies(now, copied);
        for before in earlier(start, &self.pipeline.bundle).or_exit(Exit::Config)? {
            let known: Vec<PathBuf> = asked.iter().map(|copy| copy.file.clone()).collect();
            // What they are asked for again is not to begin.
            asked.extend(asked_copies(&before, None).into_iter().filter(|copy| !known.contains(&copy.file)));
        }
        if asked.is_empty() {
            return Ok(None);
        }
        let known = Known { progress: start.beginning.progress, last: last_epoch(recovered, start) };
        let bytes_max = self.config.audit_file_bytes;
        let plan = now.plan.clone();
        Copies::open(&self.data.audit(), &asked, plan, bytes_max, known).map(Some).map_err(|e| store_failure(&e))
    }

    fn coordinate(
        self,
        transport: &mut dyn Transport,
        idle: &mut Idle,
        log: Log,
        recovered: &Recovered,
        (start, going_on, starts): (Start, GoingOn, Starts),
    ) -> Result<(), Failure> {
        let copies = self.copies(recovered, &start, &going_on)?;
        let plan = self.pipeline.running.get().pipelines.plan.clone();
        let (notifier, events) = self.events;
        let log_access = log.access();
        self.bus.open(log_access.clone());
        let indexing = Indexing::start(&self.data.index(), log_access.clone(), &self.bus, &self.pipeline.running)?;
        let (feed_in, feed) = feed(log.reader(start.read_from), start.read_from);
        let log_thread = log_writer::spawn(log, self.queue, feed_in, self.clock.clone(), {
            let (notifier, status, bus) = (notifier.clone(), self.status.clone(), self.bus.clone());
            move |note| {
                if let log_writer::Note::Durable { end, .. } = note {
                    bus.advance(end);
                    status.update(|s| {
                        s.ledger.in_flight += end.0 - s.ledger.accepted;
                        s.ledger.accepted = end.0;
                    });
                }
                notifier.tell(Event::Log(note));
            }
        });
        let filler = Filler {
            access: log_access,
            keeps: keeps(&self.config, &self.data, recovered.id),
            log: recovered.id,
            generation: start.generation,
            open: {
                let target = self.config.target.clone();
                Arc::new(move |plan| target.store(plan))
            },
            mark: self.data.backfill_mark(),
            asked: self.backfills,
            wake: {
                let wake = notifier.wake.clone();
                Arc::new(move || wake.wake())
            },
        };
        let (commits, store_thread) = store_writer::spawn(
            {
                let (target, plan) = (self.config.target.clone(), plan.clone());
                move || target.store(&plan)
            },
            {
                let (recovered, began) = (recovered.clone(), start.beginning.clone());
                move |stored: Option<&Progress>| {
                    start::meets(&recovered, &began, stored).map_err(|e| StoreError::Mismatch(e.to_string()))
                }
            },
            copies,
            start.generation,
            {
                let notifier = notifier.clone();
                move |note| notifier.tell(Event::Store(note))
            },
        );
        let stored = start.beginning.progress;
        self.ingest.letters().found(&start.beginning.mends.after(stored.epoch, stored.end));
        let sending = send(self.hooks, &self.config, &plan, (recovered.id, start.generation), &self.clock)?;
        self.ingest.keys().found(start.keys, self.clock.unix(), self.clock.up());
        let mut checkpoints = start.checkpoints;
        checkpoints.carry(Arc::clone(self.ingest.keys()));
        let (checkpoints, checkpoint_thread) = checkpoint_writer(checkpoints, notifier)?;
        let logged = start.beginning.changes.iter().map(|(_, change)| change);
        let left = filler.mark.read(recovered.id).map_err(fill_failure)?.map(|left| left.pipeline);
        // What holds at the log's end.
        let holds = start.beginning.changes.back().map_or(&going_on.plan, |(_, change)| &change.plan);
        let fills =
            Fills::begin(filler.asked.clone(), left.as_deref(), (holds, &plan), logged).map_err(fill_failure)?;
        let mut state =
            State::new(going_on.plan, transport.size() - 1, limits(self.config.log.bytes_max), start.beginning);
        if let Some(change) = going_on.change {
            state.configure_at_start(change);
        }
        let coordinator = Coordinator {
            state,
            transport,
            idle,
            clock: self.clock.clone(),
            feed,
            cutter: self.cutter.clone(),
            commits: commits.clone(),
            checkpoints,
            ingest: self.ingest,
            status: self.status.clone(),
            events,
            changes: self.changes,
            fills,
            filling: Thread::new(filler),
            waiting: None,
            ids_max: self.config.limits.ids,
            retention: self.config.log.retention,
            generation: start.generation,
            up_before: start.up,
            ingest_before: recovered.ingest,
            serving: Some(Box::new({
                let (status, clock, starts) = (self.status.clone(), self.clock.clone(), &starts);
                let address = self.server.address.clone();
                move || {
                    let told = starts.ready(clock.unix(), recovered.end.0 - start.read_from.0, clock.up());
                    status.update(|s| s.starts = told);
                    say_ready(&address);
                }
            })),
        };
        if !coordinator.run().map_err(run_failure)? {
            tracing::warn!(
                "the store did not take all results; what is missing lies in the log, and the next start stores it"
            );
            return self.server.stop();
        }
        starts.drained();
        drop((sending, indexing));
        self.cutter.close();
        commits.close();
        for thread in [log_thread, store_thread, checkpoint_thread] {
            thread.join().map_err(|_| Failure::new(Exit::Software, "a thread of rank 0 panicked"))?;
        }
        self.server.stop()
    }
}

pub fn log_options(config: &Config) -> Options {
    let log = &config.log;
    Options {
        segment_bytes: log.segment_bytes,
        bytes_max: log.bytes_max,
        low_water_bytes: log.low_water_bytes,
        store_asked: true,
    }
}

/// Keys the hash of ids that are no UUIDs: the log's own, so that every replay hashes alike.
pub fn id_key(log: LogId) -> u64 {
    log.0 as u64
}

/// Where workers keep ids beyond so many in memory.
pub fn sealing(ids_in_memory_max: u64, scratch: &Path) -> Sealing {
    // A worker on another host may begin in another directory.
    let scratch = std::path::absolute(scratch).unwrap_or_else(|_| scratch.to_owned());
    Sealing { ids_in_memory_max, scratch: scratch.to_string_lossy().into_owned() }
}

/// How workers within rank 0 keep theirs.
pub fn keeps(config: &Config, data: &DataDir, log: LogId) -> Keeps {
    let sealing = sealing(config.limits.ids_in_memory, &data.scratch());
    Keeps { id_key: id_key(log), ids: Box::new(move |whose| Scratch::ids(&sealing, whose)) }
}

/// Tells the workers what they work on, and gives them the state of the checkpoint.
fn open_workers(
    transport: &mut dyn Transport,
    bundle: &str,
    log: LogId,
    sealing: &Sealing,
    start: &mut Start,
) -> Result<(), Failure> {
    let workers = transport.size() - 1;
    let send = |transport: &mut dyn Transport, worker: usize, message: &Message| {
        transport.send(worker + 1, Channel::Data, wire::encode(message)).or_exit(Exit::TryAgain)
    };
    for worker in 0..workers {
        let open = Open {
            worker: worker as u32,
            workers: workers as u32,
            bundle: bundle.to_owned(),
            id_key: id_key(log),
            batch: false,
            sealing: Some(sealing.clone()),
        };
        send(transport, worker, &Message::Open(open))?;
    }
    if let Some(checkpoint) = start.checkpoint.take() {
        // One that can no longer be read is passed over by the next start.
        restores::send(checkpoint, transport).or_exit(Exit::TryAgain)?;
    }
    (0..workers).try_for_each(|worker| send(transport, worker, &Message::Begin))
}

/// Segments go only when two checkpoints have passed them, so a small log needs them often.
fn limits(log_bytes_max: u64) -> Limits {
    let limits = Limits::default();
    Limits { checkpoint_bytes: limits.checkpoint_bytes.min(log_bytes_max / 8), ..limits }
}

/// Starts to send webhooks.
fn send(
    hooks: Vec<Hook>,
    config: &Config,
    plan: &Arc<Plan>,
    (log, generation): (LogId, Generation),
    clock: &Arc<dyn Clock>,
) -> Result<Sending, Failure> {
    let shared = outbox::Shared {
        target: config.target.clone(),
        plan: plan.clone(),
        log,
        generation,
        clock: clock.clone(),
        private: config.webhooks.private,
        timeout: config.webhooks.timeout,
    };
    outbox::spawn(hooks, &shared).or_exit(Exit::TryAgain)
}

/// Writes checkpoints on a thread of its own: their syncs must not hold the loop up.
fn checkpoint_writer(
    mut checkpoints: Checkpoints,
    notifier: Notifier,
) -> Result<(Sender<Draft>, JoinHandle<()>), Failure> {
    let (sender, drafts) = mpsc::channel::<Draft>();
    let thread = std::thread::Builder::new().name("checkpoints".to_owned()).spawn(move || {
        for draft in drafts {
            let (epoch, at, begun) = (draft.cut.epoch, draft.cut.ingest, Instant::now());
            let written = checkpoints.write(draft).map(|bytes| Written {
                epoch,
                at,
                bytes,
                took: begun.elapsed(),
                needs: checkpoints.needed_from(Offset(u64::MAX)),
                few: checkpoints.are_few(),
            });
            notifier.tell(Event::Checkpointed(written));
        }
    });
    Ok((sender, thread.or_exit(Exit::TryAgain)?))
}
