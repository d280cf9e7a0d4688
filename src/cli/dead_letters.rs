//! `caudal dead-letters`: looks at the dead letters of a running job, retries and discards them, over HTTP.

use std::collections::BTreeMap;
use std::io::{self, Read, Write};
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, anyhow};
use bytes::Bytes;
use clap::Subcommand;
use hyper::{Method, StatusCode};
use serde_json::{Value, json};

use crate::cli::client::{Answer, Call, Client, EXIT_REFUSED, EXIT_UNAVAILABLE, JobArgs, detail, escape};
use crate::logging::plain;

/// Letters asked for at once; each comes with its whole body.
const PAGE: u64 = 100;
/// A page of the largest events that a job usually takes, written as JSON.
const ANSWER_BYTES_MAX: usize = 256 << 20;
/// Longer than a job waits for its store.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(90);
/// While all that are left are being retried by others, they are asked for again after this …
const LEFT_PAUSE: Duration = Duration::from_millis(200);
/// … this often in a row.
const LEFT_TRIES_MAX: u32 = 50;
/// Of a detail in a line of the list.
const DETAIL_CHARS_MAX: usize = 100;

/// Looks at dead letters of a running job; retries them, or discards them.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    job: JobArgs,
    /// Print one JSON object a line
    #[arg(long, global = true)]
    json: bool,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// List letters, the newest first.
    List(List),
    /// Show a letter, whole.
    Show {
        /// Its offset, as `list` shows it
        offset: u64,
    },
    /// Send a letter anew, or all letters of a reason that there are now; waits until it is known what became of them.
    Retry(Retry),
    /// Throw letters away, for ever.
    Drop {
        /// Their offsets
        #[arg(required = true, value_name = "OFFSET")]
        offsets: Vec<u64>,
    },
}

#[derive(Debug, clap::Args)]
struct List {
    /// Only letters with this reason
    #[arg(long, value_name = "REASON")]
    reason: Option<String>,
    /// Only letters of this topic
    #[arg(long, value_name = "TOPIC")]
    topic: Option<String>,
    /// Those that were not retried, those that were, or all
    #[arg(long, default_value = "open", value_parser = ["open", "retried", "all"])]
    state: String,
    /// How many
    #[arg(long, value_name = "N", default_value_t = 100)]
    limit: u64,
}

#[derive(Debug, clap::Args)]
struct Retry {
    /// The letter's offset
    #[arg(value_name = "OFFSET", required_unless_present = "reason", conflicts_with = "reason")]
    offset: Option<u64>,
    /// Send this file's event in the letter's place; - is stdin
    #[arg(long, value_name = "FILE", conflicts_with = "reason")]
    body: Option<PathBuf>,
    /// All letters with this reason, as they are
    #[arg(long, value_name = "REASON")]
    reason: Option<String>,
    /// Only those of this topic
    #[arg(long, value_name = "TOPIC", requires = "reason")]
    topic: Option<String>,
}

/// How asking ended: an answer that is good, or the exit code for one that is not, which stderr was told.
type Asked = Result<Value, u8>;

/// # Errors
/// If the output cannot be written, or the URL is none.
#[expect(clippy::needless_pass_by_value, reason = "a subcommand owns its arguments")]
pub fn run(args: Args) -> anyhow::Result<u8> {
    let client = args.job.client(ANSWER_TIMEOUT, ANSWER_BYTES_MAX)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let mut asking = Asking { client, json: args.json };
    runtime.block_on(async {
        match &args.command {
            Command::List(list) => asking.list(list).await,
            Command::Show { offset } => asking.show(*offset).await,
            Command::Retry(retry) => asking.retry(retry).await,
            Command::Drop { offsets } => asking.discard(offsets).await,
        }
    })
}

struct Asking {
    client: Client,
    json: bool,
}

impl Asking {
    async fn list(&mut self, list: &List) -> anyhow::Result<u8> {
        let mut query = format!("state={}", list.state);
        for (name, value) in [("reason", &list.reason), ("topic", &list.topic)] {
            query.extend(value.iter().map(|value| format!("&{name}={}", escape(value))));
        }
        let (mut left, mut before) = (list.limit, String::new());
        while left > 0 {
            let path = format!("/dead-letters?{query}&limit={}{before}", left.min(PAGE));
            let page = match self.ask(Method::GET, &path, None).await? {
                Ok(page) => page,
                Err(code) => return Ok(code),
            };
            let letters = page["dead_letters"].as_array().map(Vec::as_slice).unwrap_or_default();
            for letter in letters {
                self.print(letter, line)?;
            }
            let Some(last) = letters.last().filter(|_| !page["next"].is_null()) else { break };
            left = left.saturating_sub(letters.len() as u64);
            before = format!("&before={}", last["offset"]);
        }
        Ok(0)
    }

    async fn show(&mut self, offset: u64) -> anyhow::Result<u8> {
        match self.ask(Method::GET, &format!("/dead-letters/{offset}"), None).await? {
            Ok(letter) => self.print(&letter, whole).map(|()| 0),
            Err(code) => Ok(code),
        }
    }

    async fn retry(&mut self, retry: &Retry) -> anyhow::Result<u8> {
        let (Some(offset), None) = (retry.offset, &retry.reason) else {
            return self.retry_all(retry.reason.as_deref().unwrap_or_default(), retry.topic.as_deref()).await;
        };
        let body = match retry.body.as_ref().map(read_body).transpose() {
            Ok(body) => body,
            Err(error) => return tell(&format!("{error:#}"), EXIT_REFUSED),
        };
        match self.ask(Method::POST, &format!("/dead-letters/{offset}/retry?ack=applied"), body).await? {
            Ok(answer) => self.print(&answer, retried).map(|()| 0),
            Err(code) => Ok(code),
        }
    }

    /// Those that were there at the beginning: what of them fails again is a new letter, and is not retried for ever.
    async fn retry_all(&mut self, reason: &str, topic: Option<&str>) -> anyhow::Result<u8> {
        let mut query = format!("reason={}&ack=applied", escape(reason));
        query.extend(topic.map(|topic| format!("&topic={}", escape(topic))));
        let (mut before, mut fates) = (None, BTreeMap::<String, u64>::new());
        let mut waited = 0;
        loop {
            let bound = before.map(|before: u64| format!("&before={before}")).unwrap_or_default();
            let answer = match self.ask(Method::POST, &format!("/dead-letters/retry?{query}{bound}"), None).await? {
                Ok(answer) => answer,
                Err(code) => return Ok(code),
            };
            let items = answer["items"].as_array().map(Vec::as_slice).unwrap_or_default();
            for item in items {
                self.print(item, retried)?;
                *fates.entry(item["status"].as_str().unwrap_or("accepted").to_owned()).or_default() += 1;
            }
            before = before.or_else(|| items.iter().filter_map(|item| item["retried_as"].as_u64()).min());
            let left = answer["left"].as_u64().unwrap_or_default();
            if left == 0 || (items.is_empty() && waited == LEFT_TRIES_MAX) {
                self.print(&json!({ "retried": fates, "left": left }), all_retried)?;
                return Ok(if left == 0 { 0 } else { EXIT_UNAVAILABLE });
            }
            if items.is_empty() {
                waited += 1;
                tokio::time::sleep(LEFT_PAUSE).await;
            } else {
                waited = 0;
            }
        }
    }

    async fn discard(&mut self, offsets: &[u64]) -> anyhow::Result<u8> {
        let mut worst = 0;
        for offset in offsets {
            match self.ask(Method::DELETE, &format!("/dead-letters/{offset}?ack=applied"), None).await? {
                Ok(answer) => self.print(&answer, |answer| format!("{} is discarded", answer["discarded"]))?,
                Err(EXIT_REFUSED) => worst = EXIT_REFUSED,
                Err(code) => return Ok(code),
            }
        }
        Ok(worst)
    }

    async fn ask(&mut self, method: Method, path: &str, body: Option<Bytes>) -> anyhow::Result<Asked> {
        let kind = body.as_ref().map(|_| "application/json");
        let call = Call { method, path, key: None, kind, body: body.unwrap_or_default() };
        match self.client.ask(&call).await {
            Ok(Answer { status: StatusCode::OK | StatusCode::ACCEPTED, body, .. }) => {
                let value = serde_json::from_str(&body).map_err(|e| anyhow!("the answer is no JSON: {e}"));
                value.map(Ok)
            }
            Ok(answer) => {
                let code = if answer.may_be_tried_again() { EXIT_UNAVAILABLE } else { EXIT_REFUSED };
                tell(&detail(&answer), code).map(Err)
            }
            Err(error) => tell(&format!("{error:#}"), EXIT_UNAVAILABLE).map(Err),
        }
    }

    fn print(&self, value: &Value, show: impl Fn(&Value) -> String) -> anyhow::Result<()> {
        let text = if self.json { value.to_string() } else { show(value) };
        match writeln!(io::stdout(), "{text}") {
            // Whoever reads may have had enough (`| head`).
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
            done => done.context("cannot write the output"),
        }
    }
}

fn tell(why: &str, code: u8) -> anyhow::Result<u8> {
    writeln!(io::stderr(), "caudal dead-letters: {why}")?;
    Ok(code)
}

fn read_body(path: &PathBuf) -> anyhow::Result<Bytes> {
    let mut bytes = Vec::new();
    if path.as_os_str() == "-" {
        io::stdin().lock().read_to_end(&mut bytes).context("cannot read stdin")?;
    } else {
        bytes = std::fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
    }
    // An empty body would mean: as it is.
    if bytes.is_empty() { Err(anyhow!("{}: there is no event in it", path.display())) } else { Ok(bytes.into()) }
}

fn line(letter: &Value) -> String {
    let detail: String = text(letter, "detail").chars().take(DETAIL_CHARS_MAX).collect();
    let retried = letter["retried_as"].as_u64().map(|event| format!("  (retried as {event})")).unwrap_or_default();
    let (offset, at, reason) = (&letter["offset"], text(letter, "received_at"), text(letter, "reason"));
    format!("{offset:>10}  {at}  {reason:8}  {}  {}{retried}", text(letter, "topic"), plain(&detail))
}

fn whole(letter: &Value) -> String {
    let retried = letter["retried_as"].as_u64().map_or("not retried".to_owned(), |event| event.to_string());
    format!(
        "offset    {}\nreceived  {}\ntopic     {}\nreason    {}\ndetail    {}\nretried   {retried}\n{}",
        letter["offset"],
        text(letter, "received_at"),
        text(letter, "topic"),
        text(letter, "reason"),
        plain(text(letter, "detail")),
        // What a stranger sent must not speak to the terminal.
        plain(text(letter, "body")),
    )
}

fn retried(item: &Value) -> String {
    let reason = item["reason"].as_str().map(|reason| format!(" ({})", plain(reason))).unwrap_or_default();
    format!("{} was retried as {}: {}{reason}", item["dead_letter"], item["retried_as"], text(item, "status"))
}

fn all_retried(answer: &Value) -> String {
    let fates = answer["retried"].as_object().into_iter().flatten();
    let fates: Vec<String> = fates.map(|(status, count)| format!("{count} {status}")).collect();
    let left = answer["left"].as_u64().filter(|left| *left > 0);
    let left = left
        .map(|left| {
            format!("; {left} are left: others retry them at this moment, or their topic is not taken any more")
        })
        .unwrap_or_default();
    let fates = if fates.is_empty() { "nothing to retry".to_owned() } else { fates.join(", ") };
    format!("{fates}{left}")
}

fn text<'a>(value: &'a Value, field: &str) -> &'a str {
    value[field].as_str().unwrap_or("–")
}
