//! `caudal replay`: has a running job begin a new pipeline with the log's past, over HTTP, and waits until it is the job's.

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use bytes::Bytes;
use hyper::{Method, StatusCode};
use serde_json::{Value, json};

use crate::cli::bar::Bar;
use crate::cli::client::{Call, Client, EXIT_REFUSED, EXIT_UNAVAILABLE, JobArgs, detail, escape};
use crate::cli::exit::Exit;
use crate::pipeline::{Bundle, change};

/// A pipeline with its schemas.
const ANSWER_BYTES_MAX: usize = 16 << 20;
/// Planning takes a while, and so does looking for a time in a long log.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(90);
const LOOK_EVERY: Duration = Duration::from_millis(250);
/// A job that is away for longer is not coming back by itself.
const AWAY_MAX: Duration = Duration::from_secs(30);

/// Runs a new pipeline over the events that a running job has taken in already, beside those that it has; then it is the job's like any other.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Begin with the epoch that holds this offset, or the first event taken in at this RFC 3339 time or later; or `beginning`
    #[arg(long, value_name = "OFFSET|TIME")]
    from: String,
    /// The pipeline file; its pipeline must have a name that is new to the job
    #[arg(long, value_name = "FILE")]
    pipeline: PathBuf,
    #[command(flatten)]
    job: JobArgs,
    /// Print what came of it as JSON
    #[arg(long)]
    json: bool,
}

/// What asking comes to.
enum Asked {
    Is(Value),
    /// No answer.
    Away(String),
    /// One that says to come again, and perhaps when.
    Later(String, Option<Duration>),
    Refused(String),
}

/// # Errors
/// If the output cannot be written, or the URL is none.
#[expect(clippy::needless_pass_by_value, reason = "a subcommand owns its arguments")]
pub fn run(args: Args) -> anyhow::Result<u8> {
    let client = args.job.client(ANSWER_TIMEOUT, ANSWER_BYTES_MAX)?;
    let bundle = match Bundle::read(std::slice::from_ref(&args.pipeline)) {
        Ok(bundle) => bundle,
        Err(faults) => return tell(&faults.to_string(), Exit::Usage as u8),
    };
    let named = bundle.0.first().and_then(|file| Some((change::pipeline_of(file)?, file)));
    let Some((name, file)) = named else { return tell("the file names no pipeline", Exit::Usage as u8) };
    let schemas: BTreeMap<&String, &String> = file.schemas.iter().map(|(path, text)| (path, text)).collect();
    let wish = json!({"file": file.text, "schemas": schemas}).to_string();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(Replaying { client, name }.run(&args, wish.into()))
}

struct Replaying {
    client: Client,
    name: String,
}

impl Replaying {
    async fn run(mut self, args: &Args, wish: Bytes) -> anyhow::Result<u8> {
        let begun = Instant::now();
        let place = format!("/pipelines/{}", escape(&self.name));
        let path = format!("{place}?from={}", escape(&args.from));
        let begin = loop {
            match self.ask(Method::PUT, &path, wish.clone()).await {
                Asked::Is(begin) => break begin,
                Asked::Later(_, asked) if begun.elapsed() < AWAY_MAX => pause(asked).await,
                Asked::Away(why) | Asked::Later(why, _) => return tell(&why, EXIT_UNAVAILABLE),
                Asked::Refused(why) => return tell(&why, EXIT_REFUSED),
            }
        };
        let from = begin["from"].as_u64().unwrap_or_default();
        let mut bar = Bar::new(from);
        let mut heard = Instant::now();
        loop {
            let shown = match self.ask(Method::GET, &place, Bytes::new()).await {
                Asked::Is(shown) => shown,
                Asked::Away(why) | Asked::Later(why, _) if heard.elapsed() > AWAY_MAX => {
                    return tell(&why, EXIT_UNAVAILABLE);
                }
                Asked::Away(_) => {
                    pause(None).await;
                    continue;
                }
                Asked::Later(_, asked) => {
                    pause(asked).await;
                    continue;
                }
                Asked::Refused(why) => {
                    return tell(
                        &format!("the job has ended meanwhile, and nothing is left of the replay: {why}"),
                        EXIT_UNAVAILABLE,
                    );
                }
            };
            heard = Instant::now();
            let replay = &shown["replay"];
            match replay["state"].as_str() {
                None => return self.done(args.json, from, begun),
                Some("failed") => {
                    let why = replay["reason"].as_str().unwrap_or_default();
                    return tell(&format!("the replay has ended, and nothing of it is left: {why}"), EXIT_REFUSED);
                }
                Some(_) => {
                    let offset = |name: &str| replay[name].as_u64().unwrap_or_default();
                    bar.show(offset("at"), offset("end"));
                }
            }
            pause(None).await;
        }
    }

    fn done(&self, as_json: bool, from: u64, begun: Instant) -> anyhow::Result<u8> {
        let seconds = begun.elapsed().as_secs_f64();
        let text = if as_json {
            json!({"pipeline": self.name, "from": from, "seconds": seconds}).to_string()
        } else {
            format!("{} is the job's, with all events from {from} on ({seconds:.1} s)", self.name)
        };
        writeln!(io::stdout(), "{text}")?;
        Ok(0)
    }

    async fn ask(&mut self, method: Method, path: &str, body: Bytes) -> Asked {
        let kind = (!body.is_empty()).then_some("application/json");
        match self.client.ask(&Call { method, path, key: None, kind, body }).await {
            Ok(answer) if matches!(answer.status, StatusCode::OK | StatusCode::ACCEPTED) => {
                serde_json::from_str(&answer.body)
                    .map_or_else(|e| Asked::Refused(format!("the answer is no JSON: {e}")), Asked::Is)
            }
            Ok(answer) if answer.may_be_tried_again() => Asked::Later(detail(&answer), answer.retry_after),
            Ok(answer) => Asked::Refused(detail(&answer)),
            Err(error) => Asked::Away(format!("{error:#}")),
        }
    }
}

/// As long as the job says, and no longer than it may be away.
async fn pause(asked: Option<Duration>) {
    tokio::time::sleep(asked.unwrap_or(LOOK_EVERY).min(AWAY_MAX)).await;
}

fn tell(why: &str, code: u8) -> anyhow::Result<u8> {
    writeln!(io::stderr(), "caudal replay: {why}")?;
    Ok(code)
}
