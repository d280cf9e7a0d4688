//! Posts generated events to a running job: batches of lines, each sent again as a whole until it is acknowledged.

use std::fs::File;
use std::io::{BufWriter, Write as _};
use std::time::Duration;

use anyhow::Context;
use bytes::Bytes;
use hyper::{Method, StatusCode};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, sleep_until};

use super::{Args, Summary};
use crate::cli::bar::Bar;
use crate::cli::client::{Answer, Call, Client, EXIT_REFUSED, EXIT_UNAVAILABLE, detail};
use crate::cli::https::Untrusted;
use crate::clock::Clock;
use crate::generate::Generator;

/// A batch is posted when it holds this much, or, with `--rate`, when this much time's events are in it.
const BATCH_BYTES: usize = 512 * 1024;
const BATCH_EVENTS: u64 = 4_096;
const BATCH_SPAN: Duration = Duration::from_millis(20);
/// However low the rate: a clock cannot count further.
const PAUSE_MAX: Duration = Duration::from_hours(365 * 24);
/// A job that is down for longer is not coming back by itself.
const GIVE_UP_AFTER: Duration = Duration::from_mins(10);
/// An acknowledgement means a write to disk; a job that takes longer has lost the request.
const ANSWER_TIMEOUT: Duration = Duration::from_mins(1);
/// Waits between tries: doubled from the first to the last, unless the job says how long.
const WAIT_FIRST: Duration = Duration::from_millis(50);
const WAIT_LAST: Duration = Duration::from_secs(5);
/// Of an answer that is shown.
const ANSWER_BYTES_MAX: usize = 64 * 1024;

/// Generates and posts; Ctrl-C ends it after the batch on the way.
pub fn run(
    url: &str,
    args: &Args,
    generator: Generator,
    clock: &dyn Clock,
    bar: &mut Bar,
) -> anyhow::Result<(Summary, Option<Failed>)> {
    let record = match &args.record {
        Some(path) => {
            Some(BufWriter::new(File::create(path).with_context(|| format!("cannot write {}", path.display()))?))
        }
        None => None,
    };
    let client = Client::new(url, args.token.as_deref(), ANSWER_TIMEOUT, ANSWER_BYTES_MAX)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let interrupted = runtime.spawn(async {
        // Where no handler can be had, the signal's own effect ends the process.
        if tokio::signal::ctrl_c().await.is_err() {
            std::future::pending::<()>().await;
        }
    });
    let keys = if generator.has_ids() { None } else { Some(Keys::new()?) };
    let mut poster = Poster { client, generator, keys, record, summary: Summary::default(), interrupted };
    let failed = runtime.block_on(poster.run(args, clock, bar));
    if let Some(record) = &mut poster.record {
        record.flush().context("cannot write the record")?;
    }
    Ok((poster.summary, failed?))
}

/// Why not all was acknowledged, and the code that says it.
pub struct Failed {
    pub why: String,
    pub code: u8,
}

struct Poster {
    client: Client,
    generator: Generator,
    /// None: their ids tell the events apart. Keys are remembered for long, and there is room for so many.
    keys: Option<Keys>,
    record: Option<BufWriter<File>>,
    summary: Summary,
    /// Ends at Ctrl-C.
    interrupted: JoinHandle<()>,
}

/// An Idempotency-Key for each batch: of this run, and which batch of it.
struct Keys {
    run: u128,
    batches: u64,
}

impl Keys {
    fn new() -> anyhow::Result<Self> {
        let mut run = [0; 16];
        getrandom::fill(&mut run).context("no key can be made for what is sent")?;
        Ok(Self { run: u128::from_le_bytes(run), batches: 0 })
    }

    fn next(&mut self) -> String {
        self.batches += 1;
        format!("{:032x}-{}", self.run, self.batches)
    }
}

/// What became of a batch.
enum Outcome {
    Acknowledged,
    /// It can never be accepted: the answer.
    Refused(String),
    /// Nobody answered for too long.
    Unavailable(String),
}

impl Poster {
    async fn run(&mut self, args: &Args, clock: &dyn Clock, bar: &mut Bar) -> anyhow::Result<Option<Failed>> {
        let begin = Instant::now();
        let mut batch = Vec::with_capacity(BATCH_BYTES + BATCH_BYTES / 8);
        while self.summary.events < args.count && !self.interrupted.is_finished() {
            let due = match args.rate {
                Some(rate) => self.due(begin, rate).await,
                None => BATCH_EVENTS,
            };
            if args.start.is_none() {
                self.generator.set_time(clock.unix().micros());
            }
            let from = self.summary.events;
            let until = args.count.min(from + due.min(BATCH_EVENTS));
            batch.clear();
            while self.summary.events < until && batch.len() < BATCH_BYTES {
                let before = batch.len();
                let (_, kind) = self.generator.write(&mut batch);
                batch.push(b'\n');
                self.summary.count(kind, batch.len() - before);
            }
            let body = Bytes::copy_from_slice(&batch);
            match self.deliver(&body).await {
                Outcome::Acknowledged => {}
                Outcome::Refused(why) => return Ok(Some(Failed { why, code: EXIT_REFUSED })),
                Outcome::Unavailable(why) => return Ok(Some(Failed { why, code: EXIT_UNAVAILABLE })),
            }
            self.summary.acknowledged += self.summary.events - from;
            if let Some(record) = &mut self.record {
                record.write_all(&body).context("cannot write the record")?;
            }
            bar.show(self.summary.events, args.count);
        }
        Ok(None)
    }

    /// Waits until events are due and says how many: those of the time that has passed.
    async fn due(&mut self, begin: Instant, rate: f64) -> u64 {
        let sent = self.summary.events as f64;
        let per_batch = (rate * BATCH_SPAN.as_secs_f64()).max(1.0);
        let last_due = Duration::try_from_secs_f64((sent + per_batch) / rate).unwrap_or(PAUSE_MAX).min(PAUSE_MAX);
        tokio::select! {
            () = sleep_until(begin + last_due) => (begin.elapsed().as_secs_f64() * rate - sent).max(1.0) as u64,
            _ = &mut self.interrupted => 0,
        }
    }

    /// Sends until it is acknowledged. A lost answer means that the events may be in the log already: they are then duplicates by their ids or, where not all
    /// have one, the batch is known by its key.
    async fn deliver(&mut self, body: &Bytes) -> Outcome {
        let begin = Instant::now();
        let mut told = false;
        let mut wait = WAIT_FIRST;
        let (kind, body) = (Some("application/x-ndjson"), body.clone());
        let key = self.keys.as_mut().map(Keys::next);
        let call = Call { method: Method::POST, path: "/events", key: key.as_deref(), kind, body };
        loop {
            let (asked, why) = match self.client.ask(&call).await {
                Ok(Answer { status: StatusCode::ACCEPTED, .. }) => {
                    if told {
                        say("the job takes events again");
                    }
                    return Outcome::Acknowledged;
                }
                Ok(answer) if answer.may_be_tried_again() => (answer.retry_after, detail(&answer)),
                Ok(answer) => return Outcome::Refused(detail(&answer)),
                // There is no job there, or none that is to be trusted.
                Err(error) if !self.was_there() || error.is::<Untrusted>() => {
                    return Outcome::Unavailable(format!("{error:#}"));
                }
                Err(error) => (None, format!("{error:#}")),
            };
            if self.interrupted.is_finished() {
                return Outcome::Unavailable(format!("interrupted before the last batch was acknowledged: {why}"));
            }
            if begin.elapsed() > GIVE_UP_AFTER {
                return Outcome::Unavailable(format!("not acknowledged for {} s: {why}", GIVE_UP_AFTER.as_secs()));
            }
            // Said once, however often it is tried: silence would look like a job that is slow.
            if !std::mem::replace(&mut told, true) {
                say(&format!("a batch is not acknowledged ({why}); it is sent again until it is (Ctrl-C ends it)"));
            }
            self.summary.resent += 1;
            sleep(asked.unwrap_or(wait).min(WAIT_LAST)).await;
            wait = (wait * 2).min(WAIT_LAST);
        }
    }

    /// The job answered once: from then on it is only away.
    fn was_there(&self) -> bool {
        self.summary.acknowledged > 0 || self.summary.resent > 0
    }
}

/// To stderr; that nobody hears it is no reason to send no events.
pub fn say(what: &str) {
    let _ = writeln!(std::io::stderr(), "caudal generate: {what}");
}
