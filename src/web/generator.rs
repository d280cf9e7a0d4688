//! The event generator inside the job: started, asked and stopped by HTTP. It follows the clock and hands its events to ingest like any client.

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
use crate::ingest::Submission;
use crate::ingest::lines::Form;
use crate::ingest::writer::Ingest;
use crate::pipeline::{BurstHint, Pipelines};
use crate::web::events::form;
use crate::web::params::Params;
use crate::web::problem::Problem;
use crate::web::{App, Web, json_answer};

/// Between two batches.
const TICK: Duration = Duration::from_millis(50);
/// Events a second; what asks for more is a benchmark, and has a process of its own.
const RATE_MAX: f64 = 200_000.0;
/// After a wait for the log at most this much of the missed time is made up for.
const CATCH_UP_MAX: Duration = Duration::from_millis(200);
/// A submission is about a slab.
const BATCH_BYTES_MAX: usize = 1 << 20;
/// Spans of event time that may be asked for: an hour.
const SPAN_MS_MAX: u64 = 3_600_000;
const BURST_MAX: u32 = 100_000;

/// What `POST /generator` takes; everything may be left out.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Wish {
    /// Events a second.
    rate: f64,
    /// The same seed gives the same events but for their times. None: one is drawn.
    seed: Option<u64>,
    duplicates: f64,
    invalid: f64,
    late: f64,
    late_by_ms: u64,
    out_of_order_ms: u64,
    /// None: what the pipeline file says.
    burst: Option<BurstWish>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct BurstWish {
    topic: String,
    probability: f64,
    size: u32,
}

impl Default for Wish {
    fn default() -> Self {
        Self {
            rate: 20.0,
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
pub struct Control(Mutex<Option<Run>>);

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
        if let Some(run) = self.0.lock().await.as_mut() {
            run.stop.send_replace(true);
            if !run.task.is_finished() {
                // It ends after the batch in hand; that it panicked is in the log already.
                let _ = (&mut run.task).await;
            }
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
        let run = self.0.lock().await;
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

pub async fn start(State(web): State<Arc<Web>>, request: Request) -> Result<Response, Problem> {
    Params::none(request.uri())?;
    if form(request.headers())? != Form::Json {
        return Err(Problem::bad_request("the generator's settings are one JSON object"));
    }
    let body = web.budget.read(request.into_body()).await?;
    let mut wish = read(&body.bytes)?;
    let unix = web.app.clock.unix();
    let seed = *wish.seed.get_or_insert(unix.0);
    let settings = settings(&wish, seed, unix.micros(), &web.app.pipeline)?;
    let generator = Generator::new(&web.app.pipeline, settings).map_err(Problem::bad_request)?;
    let mut slot = web.generator.0.lock().await;
    if *web.stopping.borrow() {
        return Err(Problem::unavailable("the server is stopping", 5));
    }
    if slot.as_ref().is_some_and(|run| !run.task.is_finished()) {
        return Err(Problem::new(StatusCode::CONFLICT, "the generator runs already: DELETE /generator stops it"));
    }
    let (stop, stopped) = watch::channel(false);
    let tally = Arc::new(Tally::default());
    let task = tokio::spawn(run(web.app.clone(), generator, wish.rate, Arc::clone(&tally), stopped));
    *slot = Some(Run { wish, tally, stop, task });
    drop(slot);
    Ok(web.generator.answer().await)
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

fn read(body: &[u8]) -> Result<Wish, Problem> {
    if body.trim_ascii().is_empty() {
        return Ok(Wish::default());
    }
    serde_json::from_slice(body)
        .map_err(|e| Problem::bad_request(format!("the generator's settings cannot be read: {e}")))
}

/// The wish within its bounds.
fn settings(wish: &Wish, seed: u64, start: Micros, pipeline: &Pipelines) -> Result<Settings, Problem> {
    if !(wish.rate > 0.0 && wish.rate <= RATE_MAX) {
        return Err(Problem::bad_request(format!(
            "rate={}: allowed is more than 0 up to {RATE_MAX} events a second",
            wish.rate
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
        rate: wish.rate,
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

/// Sends what is due at each tick, until it is told to stop.
async fn run(app: App, mut generator: Generator, rate: f64, tally: Arc<Tally>, mut stopped: watch::Receiver<bool>) {
    let mut ticks = interval(TICK);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut last = Instant::now();
    let mut owed = 0.0;
    loop {
        tokio::select! {
            _ = ticks.tick() => {}
            _ = stopped.wait_for(|stop| *stop) => return,
        }
        owed += rate * last.elapsed().min(CATCH_UP_MAX).as_secs_f64();
        last = Instant::now();
        let due = owed.floor();
        owed -= due;
        let time = app.clock.unix().micros().minus(Micros(TICK.as_micros() as i64));
        // Thousands of events take milliseconds: not on a thread that serves requests.
        let made = tokio::task::spawn_blocking(move || {
            generator.set_time(time);
            let batches = batches(&mut generator, due as u64);
            (generator, batches)
        });
        let Ok((back, batches)) = made.await else { return };
        generator = back;
        for submission in batches {
            submit(&app.ingest, submission, &tally).await;
        }
    }
}

async fn submit(ingest: &Ingest, submission: Submission, tally: &Tally) {
    let count = u64::from(submission.count);
    tally.sent.fetch_add(count, Ordering::Relaxed);
    match ingest.submit(submission).await {
        Ok(_) => tally.accepted.fetch_add(count, Ordering::Relaxed),
        Err(refusal) => {
            *tally.trouble.lock().unwrap_or_else(PoisonError::into_inner) = Some(refusal.to_string());
            tally.refused.fetch_add(count, Ordering::Relaxed)
        }
    };
}

/// The next `count` events, a topic a submission.
fn batches(generator: &mut Generator, count: u64) -> Vec<Submission> {
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

fn submission(topic: TopicId, (bytes, count): (Vec<u8>, u32)) -> Submission {
    Submission { topic: Some(topic), lines: Bytes::from(bytes), count, applied: None }
}
