//! The event generator inside the job: started, asked, stopped and started again by HTTP. It follows the clock and hands its events to ingest like any client.

mod log;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex as StdMutex, PoisonError};
use std::time::Duration;

use axum::extract::{Request, State};
use axum::response::Response;
use bytes::Bytes;
use hyper::{StatusCode, Uri};
use serde::{Deserialize, Serialize};
use tokio::sync::{Mutex, watch};
use tokio::task::JoinHandle;
use tokio::time::{Instant, MissedTickBehavior, interval};

use crate::core::units::{Micros, TopicId};
use crate::generate::{Generator, Settings};
use crate::ingest::lines::Form;
use crate::ingest::{Kept, Submission};
use crate::pipeline::{BurstHint, Pipelines};
use crate::web::events::form;
use crate::web::generator::log::{Did, ENTRIES_MAX, EXAMPLE_BYTES_MAX, EntryView, Log};
use crate::web::object;
use crate::web::params::Params;
use crate::web::problem::Problem;
use crate::web::{App, Web, json_answer};

/// Between two batches.
const TICK: Duration = Duration::from_millis(50);
/// Events a second where neither the request nor a pipeline file says how many.
const RATE_DEFAULT: f64 = 20.0;
/// Events a second; what asks for more is a benchmark, and has a process of its own.
const RATE_MAX: f64 = 200_000.0;
/// After a wait for the log at most this much of the missed time is made up for.
const CATCH_UP_MAX: Duration = Duration::from_millis(200);
/// A submission is about a slab.
const BATCH_BYTES_MAX: usize = 1 << 20;
/// Spans of event time that may be asked for: an hour.
const SPAN_MS_MAX: u64 = 3_600_000;
const BURST_MAX: u32 = 100_000;
/// Entries of its log in one answer, where the request does not say how many.
const LOG_LIMIT_DEFAULT: u32 = 100;
/// Far more than settings have.
const WISH_BYTES_MAX: usize = 64 << 10;

/// What `POST /generator` takes; everything may be left out.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Wish {
    /// Events a second. None: what the pipeline files say.
    rate: Option<f64>,
    /// The same seed gives the same events but for their times. None: one is drawn.
    #[serde(deserialize_with = "object::maybe_whole")]
    seed: Option<u64>,
    duplicates: f64,
    invalid: f64,
    late: f64,
    #[serde(deserialize_with = "object::whole")]
    late_by_ms: u64,
    #[serde(deserialize_with = "object::whole")]
    out_of_order_ms: u64,
    /// None: what the pipeline file says.
    #[serde(deserialize_with = "object::object")]
    burst: Option<BurstWish>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct BurstWish {
    topic: String,
    probability: f64,
    #[serde(deserialize_with = "object::whole")]
    size: u32,
}

impl Default for Wish {
    fn default() -> Self {
        Self {
            rate: None,
            seed: None,
            duplicates: 0.0,
            invalid: 0.0,
            late: 0.0,
            late_by_ms: 60_000,
            out_of_order_ms: 0,
            burst: None,
        }
    }
}

/// The one generator of the job.
#[derive(Default)]
pub struct Control {
    run: Mutex<Option<Run>>,
    log: Arc<Log>,
}

struct Run {
    wish: Wish,
    tally: Arc<Tally>,
    stop: watch::Sender<bool>,
    task: JoinHandle<()>,
}

#[derive(Default)]
struct Tally {
    sent: AtomicU64,
    accepted: AtomicU64,
    refused: AtomicU64,
    trouble: StdMutex<Option<String>>,
}

impl Control {
    /// Ends the run, if there is one; its figures stay.
    pub async fn stop(&self) {
        if let Some(run) = self.run.lock().await.as_mut() {
            run.end().await;
        }
    }

    async fn answer(&self) -> Response {
        #[derive(Serialize)]
        struct Answer<'a> {
            running: bool,
            settings: Option<&'a Wish>,
            sent: u64,
            accepted: u64,
            refused: u64,
            trouble: Option<String>,
        }
        let run = self.run.lock().await;
        let run = run.as_ref();
        let read = |count: fn(&Tally) -> &AtomicU64| run.map_or(0, |r| count(&r.tally).load(Ordering::Relaxed));
        json_answer(&Answer {
            running: run.is_some_and(|r| !r.task.is_finished()),
            settings: run.map(|r| &r.wish),
            sent: read(|t| &t.sent),
            accepted: read(|t| &t.accepted),
            refused: read(|t| &t.refused),
            trouble: run.and_then(|r| r.tally.trouble.lock().unwrap_or_else(PoisonError::into_inner).clone()),
        })
    }
}

impl Run {
    async fn end(&mut self) {
        self.stop.send_replace(true);
        if !self.task.is_finished() {
            // It ends after the batch in hand; that it panicked is in the job's log already.
            let _ = (&mut self.task).await;
        }
    }
}

pub async fn start(State(web): State<Arc<Web>>, request: Request) -> Result<Response, Problem> {
    let wish = wish(&web, request).await?.unwrap_or_default();
    let mut slot = web.generator.run.lock().await;
    if slot.as_ref().is_some_and(|run| !run.task.is_finished()) {
        return Err(Problem::new(
            StatusCode::CONFLICT,
            "the generator runs already: DELETE /generator stops it, POST /generator/restart starts it anew",
        ));
    }
    *slot = Some(begin(&web, wish)?);
    drop(slot);
    Ok(web.generator.answer().await)
}

/// Stops it, if it runs, and starts it with the settings that it had, or that the body gives. The seed is a new one unless the body gives it: the same events
/// again would be duplicates.
pub async fn restart(State(web): State<Arc<Web>>, request: Request) -> Result<Response, Problem> {
    let wish = wish(&web, request).await?;
    let mut slot = web.generator.run.lock().await;
    let before = slot.as_ref().map(|run| Wish { seed: None, ..run.wish.clone() });
    let wish = wish.or(before).unwrap_or_default();
    // A wish that cannot be met leaves the run as it is.
    settings(&wish, 0, Micros(0), &web.pipelines())?;
    if let Some(run) = slot.as_mut() {
        run.end().await;
    }
    *slot = Some(begin(&web, wish)?);
    drop(slot);
    Ok(web.generator.answer().await)
}

/// Starts a run.
fn begin(web: &Web, mut wish: Wish) -> Result<Run, Problem> {
    if *web.stopping.borrow() {
        return Err(Problem::unavailable("the server is stopping", 5));
    }
    let unix = web.app.clock.unix();
    let seed = *wish.seed.get_or_insert(unix.0);
    let settings = settings(&wish, seed, unix.micros(), &web.pipelines())?;
    let rate = settings.rate;
    wish.rate = Some(rate);
    let generator = Generator::new(&web.pipelines(), settings).map_err(Problem::bad_request)?;
    let (stop, stopped) = watch::channel(false);
    let log = Arc::clone(&web.generator.log);
    let tally = Arc::new(Tally::default());
    if !generator.left_out().is_empty() {
        let why = format!("no events are made of {}", generator.left_out().join("; "));
        *tally.trouble.lock().unwrap_or_else(PoisonError::into_inner) = Some(why);
    }
    log.add(unix, Did::Started { rate, seed });
    let sending = Sending { app: web.app.clone(), tally: Arc::clone(&tally), log };
    let task = tokio::spawn(sending.run(generator, rate, stopped));
    Ok(Run { wish, tally, stop, task })
}

pub async fn log(State(web): State<Arc<Web>>, uri: Uri) -> Result<Response, Problem> {
    #[derive(Serialize)]
    struct Answer<'a> {
        log: Vec<EntryView<'a>>,
    }
    let limit = Params::of(&uri, &["limit"])?.limit(LOG_LIMIT_DEFAULT, ENTRIES_MAX)?;
    let entries = web.generator.log.newest(limit);
    Ok(json_answer(&Answer { log: entries.iter().map(EntryView::of).collect() }))
}

pub async fn status(State(web): State<Arc<Web>>, uri: Uri) -> Result<Response, Problem> {
    Params::none(&uri)?;
    Ok(web.generator.answer().await)
}

pub async fn stop(State(web): State<Arc<Web>>, uri: Uri) -> Result<Response, Problem> {
    Params::none(&uri)?;
    web.generator.stop().await;
    Ok(web.generator.answer().await)
}

/// What the request asks for; None: its body says nothing.
async fn wish(web: &Web, request: Request) -> Result<Option<Wish>, Problem> {
    Params::none(request.uri())?;
    if form(request.headers())? != Form::Json {
        return Err(Problem::bad_request("the generator's settings are one JSON object"));
    }
    let too_large = || Problem::bad_request(format!("the generator's settings have at most {WISH_BYTES_MAX} bytes"));
    let body = web.budget.read(request.into_body(), WISH_BYTES_MAX, too_large).await?.bytes;
    if body.trim_ascii().is_empty() {
        return Ok(None);
    }
    let unreadable = |error: String| Problem::bad_request(format!("the generator's settings cannot be read: {error}"));
    object::read(&body).map(Some).map_err(unreadable)
}

/// The wish within its bounds.
fn settings(wish: &Wish, seed: u64, start: Micros, pipeline: &Pipelines) -> Result<Settings, Problem> {
    let rate = wish.rate.or(pipeline.hints.rate).unwrap_or(RATE_DEFAULT);
    if !(rate > 0.0 && rate <= RATE_MAX) {
        return Err(Problem::bad_request(format!(
            "rate={rate}: allowed is more than 0 up to {RATE_MAX} events a second"
        )));
    }
    let mut probabilities = vec![("duplicates", wish.duplicates), ("invalid", wish.invalid), ("late", wish.late)];
    probabilities.extend(wish.burst.as_ref().map(|b| ("burst.probability", b.probability)));
    for (name, value) in probabilities {
        if !(0.0..=1.0).contains(&value) {
            return Err(Problem::bad_request(format!("{name}={value}: allowed is a probability from 0 to 1")));
        }
    }
    for (name, value) in [("late_by_ms", wish.late_by_ms), ("out_of_order_ms", wish.out_of_order_ms)] {
        if value > SPAN_MS_MAX {
            return Err(Problem::bad_request(format!("{name}={value}: allowed is 0 to {SPAN_MS_MAX} ms")));
        }
    }
    let burst = wish.burst.as_ref().map(|b| burst(b, pipeline)).transpose()?;
    let span = |ms: u64| Micros(ms as i64 * 1000);
    Ok(Settings {
        seed,
        start,
        rate,
        duplicates: wish.duplicates,
        invalid: wish.invalid,
        late: wish.late,
        late_by: span(wish.late_by_ms),
        out_of_order: span(wish.out_of_order_ms),
        burst,
    })
}

fn burst(wish: &BurstWish, pipeline: &Pipelines) -> Result<BurstHint, Problem> {
    if !(1..=BURST_MAX).contains(&wish.size) {
        return Err(Problem::bad_request(format!("burst.size={}: allowed is 1 to {BURST_MAX}", wish.size)));
    }
    let topic = pipeline.plan.topic_from_outside(&wish.topic);
    let topic = topic.map_err(|why| Problem::bad_request(format!("burst.topic: {why}")))?;
    Ok(BurstHint { topic: usize::from(topic.0), probability: wish.probability, size: wish.size })
}

/// What a run works with.
struct Sending {
    app: App,
    tally: Arc<Tally>,
    log: Arc<Log>,
}

impl Sending {
    /// Sends what is due at each tick, until it is told to stop.
    async fn run(self, mut generator: Generator, rate: f64, mut stopped: watch::Receiver<bool>) {
        let mut ticks = interval(TICK);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut last = Instant::now();
        let mut owed = 0.0;
        loop {
            tokio::select! {
                _ = ticks.tick() => {}
                _ = stopped.wait_for(|stop| *stop) => break,
            }
            owed += rate * last.elapsed().min(CATCH_UP_MAX).as_secs_f64();
            last = Instant::now();
            let due = owed.floor();
            if due < 1.0 {
                continue;
            }
            owed -= due;
            let time = self.app.clock.unix().micros().minus(Micros(TICK.as_micros() as i64));
            // Thousands of events take milliseconds: not on a thread that serves requests.
            let made = tokio::task::spawn_blocking(move || {
                generator.set_time(time);
                let batches = batches(&mut generator, due as u64);
                (generator, batches)
            });
            let Ok((back, batches)) = made.await else { break };
            generator = back;
            for (topic, submission) in batches {
                self.submit(topic, submission).await;
            }
        }
        self.log.add(self.app.clock.unix(), Did::Stopped);
    }

    async fn submit(&self, topic: TopicId, submission: Submission) {
        let count = submission.count;
        let first = submission.lines.split(|&byte| byte == b'\n').next().unwrap_or_default();
        // A long one is left out: the log is for people, and the events are in the job.
        let example = Some(first).filter(|first| first.len() <= EXAMPLE_BYTES_MAX).map(<[u8]>::to_vec);
        let topic =
            self.app.running.get().pipelines.plan.topics.get(usize::from(topic.0)).map(|topic| topic.name.clone());
        let topic = topic.unwrap_or_default();
        let tally = &self.tally;
        tally.sent.fetch_add(u64::from(count), Ordering::Relaxed);
        let did = match self.app.ingest.submit(submission).await {
            Ok(receipt) => {
                tally.accepted.fetch_add(u64::from(count), Ordering::Relaxed);
                Did::Sent { topic, count, first_offset: receipt.first.0, example }
            }
            Err(refusal) => {
                tally.refused.fetch_add(u64::from(count), Ordering::Relaxed);
                *tally.trouble.lock().unwrap_or_else(PoisonError::into_inner) = Some(refusal.to_string());
                Did::Refused { topic, count, why: refusal.to_string() }
            }
        };
        self.log.add(self.app.clock.unix(), did);
    }
}

/// The next `count` events, a topic a submission.
fn batches(generator: &mut Generator, count: u64) -> Vec<(TopicId, Submission)> {
    let mut open: BTreeMap<TopicId, (Vec<u8>, u32)> = BTreeMap::new();
    let mut done = Vec::new();
    for _ in 0..count {
        let event = generator.generate();
        let (bytes, lines) = open.entry(event.topic).or_default();
        bytes.extend_from_slice(&event.line);
        bytes.push(b'\n');
        *lines += 1;
        if bytes.len() >= BATCH_BYTES_MAX {
            done.extend(open.remove(&event.topic).map(|full| submission(event.topic, full)));
        }
    }
    done.extend(open.into_iter().map(|(topic, rest)| submission(topic, rest)));
    done
}

fn submission(topic: TopicId, (bytes, count): (Vec<u8>, u32)) -> (TopicId, Submission) {
    (
        topic,
        Submission {
            topic: Some(topic),
            lines: Bytes::from(bytes),
            count,
            applied: None,
            retries: None,
            kept: Kept::default(),
        },
    )
}
