//! `caudal tail`: prints a topic's events as they come, over HTTP. It goes on where it was when the job is away for a while.

mod lines;

use std::io::{self, BufWriter, StdoutLock, Write};
use std::time::Duration;

use anyhow::{Context, anyhow};
use bytes::Bytes;
use hyper::{Method, StatusCode};
use serde::Deserialize;
use serde_json::{Value, json};
use sonic_rs::LazyValue;
use tokio::sync::watch;
use tokio::time::{sleep, timeout};

use crate::cli::client::{
    Answer, Call, Client, EXIT_REFUSED, EXIT_UNAVAILABLE, JobArgs, Stream, Streamed, detail, escape,
};
use crate::cli::tail::lines::Lines;

/// A page of a group's events: the job bounds its bytes.
const ANSWER_BYTES_MAX: usize = 64 << 20;
/// Longer than a poll waits, and than a job waits for its store.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(90);
/// A stream that says nothing for longer is none any more: the job sends a sign of life every 15 s.
const SILENCE_MAX: Duration = Duration::from_secs(45);
const POLL_EVENTS: u64 = 1_000;
const POLL_WAIT_MS: u64 = 20_000;
/// Between two tries to reach a job that is away; a refusal may ask for more.
const PAUSE: Duration = Duration::from_millis(300);
/// Whoever reads the output has so long to take what is under way when the command is interrupted.
const INTERRUPT_PATIENCE: Duration = Duration::from_secs(1);
const OUTPUT_BYTES: usize = 256 << 10;
/// Of the host in a member's name.
const HOST_CHARS_MAX: usize = 64;

// What --help groups the options by.
const BEGIN: &str = "Where to begin";
const SHARING: &str = "Sharing";

/// Prints the events of a topic of a running job, one a line, as they come.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The topic's name
    topic: String,
    #[command(flatten)]
    job: JobArgs,
    /// Begin with the oldest event that is retained
    #[arg(help_heading = BEGIN, long, conflicts_with = "from")]
    from_beginning: bool,
    /// Begin at this offset, or with the first event taken in at this RFC 3339 time or later
    #[arg(help_heading = BEGIN, long, value_name = "OFFSET|TIME")]
    from: Option<String>,
    /// Share the events with the other members of this group: each goes to one of them. A new group begins where --from says, at the beginning otherwise
    #[arg(help_heading = SHARING, long, value_name = "GROUP")]
    group: Option<String>,
    /// The name in the group, which nobody else has
    #[arg(help_heading = SHARING, long, value_name = "MEMBER", requires = "group")]
    member: Option<String>,
    /// End after so many events
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    count: Option<u64>,
    /// Print each event with its offset: {"offset": …, "event": {…}}
    #[arg(long)]
    json: bool,
}

/// Why it goes on no further; stderr was told.
enum End {
    /// As many as were asked for, nobody reads any more, or somebody interrupts.
    Enough,
    Code(u8),
}

/// # Errors
/// If the output cannot be written, or the URL is none.
#[expect(clippy::needless_pass_by_value, reason = "a subcommand owns its arguments")]
pub fn run(args: Args) -> anyhow::Result<u8> {
    let client = args.job.client(ANSWER_TIMEOUT, ANSWER_BYTES_MAX)?;
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
    let (stop, stopped) = watch::channel(false);
    runtime.spawn(async move {
        if tokio::signal::ctrl_c().await.is_ok() {
            stop.send_replace(true);
            sleep(INTERRUPT_PATIENCE).await;
            // It hangs in writing to somebody who does not read.
            std::process::exit(0);
        }
    });
    let out = BufWriter::with_capacity(OUTPUT_BYTES, io::stdout().lock());
    let output = Output { out, json: args.json, left: args.count.unwrap_or(u64::MAX) };
    let mut tail = Tail { client, output, topic: escape(&args.topic), stopped, reached: false, waiting: false };
    let end = runtime.block_on(async {
        match &args.group {
            None => tail.follow(&args).await,
            Some(group) => tail.share(group, &args).await,
        }
    });
    runtime.shutdown_background();
    match end? {
        End::Enough => Ok(0),
        End::Code(code) => Ok(code),
    }
}

struct Tail {
    client: Client,
    output: Output,
    /// As it stands in a path.
    topic: String,
    stopped: watch::Receiver<bool>,
    /// The job was reached once: from then on it is only away.
    reached: bool,
    /// It was said that the job is waited for.
    waiting: bool,
}

struct Output {
    out: BufWriter<StdoutLock<'static>>,
    json: bool,
    /// Events that are still to be printed.
    left: u64,
}

impl Tail {
    /// Reads the topic's stream.
    async fn follow(&mut self, args: &Args) -> anyhow::Result<End> {
        let start = match &args.from {
            Some(from) => Some(from.clone()),
            None => args.from_beginning.then(|| "beginning".to_owned()),
        };
        let mut from = start.unwrap_or_else(|| "end".to_owned());
        loop {
            let path = format!("/topics/{}/stream?from={}", self.topic, escape(&from));
            let mut stopped = self.stopped.clone();
            let asked = tokio::select! {
                asked = self.client.stream(&path) => asked,
                _ = stopped.wait_for(|stop| *stop) => return Ok(End::Enough),
            };
            match asked {
                Ok(Streamed::Open(stream)) => {
                    self.is_there()?;
                    let mut lines = Lines::new(stream.from);
                    let end = self.print_stream(stream, &mut lines).await?;
                    from = lines.next().to_string();
                    if let Some(end) = end {
                        return Ok(end);
                    }
                }
                Ok(Streamed::Refused(answer)) => {
                    if let Some(end) = self.refused(&answer).await? {
                        return Ok(end);
                    }
                }
                Err(error) => {
                    if let Some(end) = self.away(&error).await? {
                        return Ok(end);
                    }
                }
            }
        }
    }

    /// None: it broke off.
    async fn print_stream(&mut self, mut stream: Stream, lines: &mut Lines) -> anyhow::Result<Option<End>> {
        let mut stopped = self.stopped.clone();
        loop {
            let piece = tokio::select! {
                piece = timeout(SILENCE_MAX, stream.next()) => piece.ok().flatten(),
                _ = stopped.wait_for(|stop| *stop) => return Ok(Some(End::Enough)),
            };
            let Some(piece) = piece else { return Ok(None) };
            let output = &mut self.output;
            let done = lines.take(&piece, &mut |offset, event| output.event(offset, event));
            if !output.is_read(done)? || output.left == 0 {
                return Ok(Some(End::Enough));
            }
        }
    }

    /// Polls as a member of a group; what is printed is committed.
    async fn share(&mut self, group: &str, args: &Args) -> anyhow::Result<End> {
        let member = args.member.clone().unwrap_or_else(own_name);
        let group = format!("/topics/{}/groups/{}", self.topic, escape(group));
        // Said once: a group that has fallen out of what is retained is told of, not moved.
        let mut from = args.from.clone().or_else(|| args.from_beginning.then(|| "beginning".to_owned()));
        loop {
            let max = self.output.left.min(POLL_EVENTS);
            let mut poll = json!({"member": member, "max": max, "wait_ms": POLL_WAIT_MS});
            if let Some(from) = &from {
                poll["from"] = Value::String(from.clone());
            }
            let answer = match self.ask(&format!("{group}/poll"), &poll).await? {
                Ok(answer) => answer,
                Err(end) => return Ok(end),
            };
            if answer.status != StatusCode::OK {
                return tell(&detail(&answer), EXIT_REFUSED);
            }
            from = None;
            let page: Page = sonic_rs::from_str(&answer.body).context("the answer is no page of events")?;
            let Some(last) = page.last else { continue };
            let printed = page
                .events
                .iter()
                .try_for_each(|item| self.output.event(item.offset, item.event.as_raw_str().as_bytes()));
            if !self.output.is_read(printed)? {
                // What was not printed goes to another member.
                return Ok(End::Enough);
            }
            let commit = json!({"member": member, "offset": last});
            match self.ask(&format!("{group}/commit"), &commit).await? {
                Ok(answer) if answer.status == StatusCode::OK => {}
                // Others are given what was printed too.
                Ok(answer) => say(&detail(&answer))?,
                Err(end) => return Ok(end),
            }
            if self.output.left == 0 {
                return Ok(End::Enough);
            }
        }
    }

    /// Asks until there is an answer that another try would not change.
    async fn ask(&mut self, path: &str, body: &Value) -> anyhow::Result<Result<Answer, End>> {
        let body = Bytes::from(body.to_string());
        loop {
            let call =
                Call { method: Method::POST, path, key: None, kind: Some("application/json"), body: body.clone() };
            let mut stopped = self.stopped.clone();
            let asked = tokio::select! {
                asked = self.client.ask(&call) => asked,
                _ = stopped.wait_for(|stop| *stop) => return Ok(Err(End::Enough)),
            };
            let end = match asked {
                Ok(answer) if answer.may_be_tried_again() => self.refused(&answer).await?,
                Ok(answer) => {
                    self.is_there()?;
                    return Ok(Ok(answer));
                }
                Err(error) => self.away(&error).await?,
            };
            if let Some(end) = end {
                return Ok(Err(end));
            }
        }
    }

    /// Waits where it may be tried again.
    async fn refused(&mut self, answer: &Answer) -> anyhow::Result<Option<End>> {
        if !answer.may_be_tried_again() {
            return tell(&detail(answer), EXIT_REFUSED).map(Some);
        }
        self.wait(&detail(answer))?;
        self.pause(answer.retry_after.unwrap_or(PAUSE)).await
    }

    async fn away(&mut self, error: &anyhow::Error) -> anyhow::Result<Option<End>> {
        if !self.reached {
            return tell(&format!("{error:#}"), EXIT_UNAVAILABLE).map(Some);
        }
        self.wait(&format!("{error:#}"))?;
        self.pause(PAUSE).await
    }

    /// Says once, however often it is tried, that the job is waited for: silence would look like a topic without events.
    fn wait(&mut self, why: &str) -> anyhow::Result<()> {
        if std::mem::replace(&mut self.waiting, true) {
            return Ok(());
        }
        say(&format!("the job is away ({why}); waiting for it, to go on where this was (Ctrl-C ends it)"))
    }

    fn is_there(&mut self) -> anyhow::Result<()> {
        self.reached = true;
        if std::mem::replace(&mut self.waiting, false) { say("the job is back") } else { Ok(()) }
    }

    async fn pause(&mut self, pause: Duration) -> anyhow::Result<Option<End>> {
        tokio::select! {
            () = sleep(pause) => Ok(None),
            _ = self.stopped.wait_for(|stop| *stop) => Ok(Some(End::Enough)),
        }
    }
}

impl Output {
    /// Prints one more event, unless there are as many as were asked for.
    fn event(&mut self, offset: u64, event: &[u8]) -> io::Result<()> {
        if self.left == 0 {
            return Ok(());
        }
        self.left -= 1;
        if self.json {
            write!(self.out, "{{\"offset\":{offset},\"event\":")?;
            self.out.write_all(event)?;
            self.out.write_all(b"}\n")
        } else {
            self.out.write_all(event)?;
            self.out.write_all(b"\n")
        }
    }

    /// Whether what was printed has gone out; not where whoever reads has had enough (`| head`).
    fn is_read(&mut self, printed: io::Result<()>) -> anyhow::Result<bool> {
        match printed.and_then(|()| self.out.flush()) {
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(false),
            written => written.map(|()| true).context("cannot write the output"),
        }
    }
}

fn say(why: &str) -> anyhow::Result<()> {
    writeln!(io::stderr(), "caudal tail: {why}").map_err(|error| anyhow!(error))
}

fn tell(why: &str, code: u8) -> anyhow::Result<End> {
    say(why).map(|()| End::Code(code))
}

/// A name that no other process has: of the host and the process.
fn own_name() -> String {
    let uname = rustix::system::uname();
    let host = uname.nodename().to_string_lossy();
    let host: String = host.chars().filter(char::is_ascii_alphanumeric).take(HOST_CHARS_MAX).collect();
    format!("tail-{host}-{}", std::process::id())
}

#[derive(Deserialize)]
struct Page<'a> {
    #[serde(borrow)]
    events: Vec<Item<'a>>,
    last: Option<u64>,
}

#[derive(Deserialize)]
struct Item<'a> {
    offset: u64,
    #[serde(borrow)]
    event: LazyValue<'a>,
}
