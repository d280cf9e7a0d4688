//! `caudal export`: the log of a running job as a file that `caudal batch` reads, over HTTP.

use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::Context;
use flate2::write::GzEncoder;
use serde_json::json;
use tokio::time::{sleep, timeout};

use crate::cli::bar::Bar;
use crate::cli::client::{Client, EXIT_REFUSED, EXIT_UNAVAILABLE, JobArgs, Stream, Streamed, detail, escape};
use crate::cli::exit::Exit;
use crate::cli::plural::count;
use crate::input::{Compression, Format, Kind};

/// Looking for a time in a long log takes a while.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(90);
const REFUSAL_BYTES_MAX: usize = 1 << 20;
/// A job that sends nothing for longer is away.
const SILENCE_MAX: Duration = Duration::from_secs(45);
/// Between two tries to reach a job that is away, unless it says how long, and how long it may be.
const PAUSE: Duration = Duration::from_millis(300);
const AWAY_MAX: Duration = Duration::from_secs(30);
const OUTPUT_BYTES: usize = 1 << 20;

/// Writes the events of a running job's log into a file, in their order, whatever became of them: what `caudal batch` reads.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The file, which is replaced: NAME.events, or NAME.events.gz or NAME.events.zst
    #[arg(long, value_name = "FILE")]
    output: PathBuf,
    /// Begin with this offset, or the first event taken in at this RFC 3339 time or later; or `beginning`, with the oldest that is retained
    #[arg(long, value_name = "OFFSET|TIME", default_value = "beginning")]
    from: String,
    /// End before this offset, or the first event taken in at this time or later; or `end`, where the log ends now
    #[arg(long, value_name = "OFFSET|TIME", default_value = "end")]
    until: String,
    #[command(flatten)]
    job: JobArgs,
    /// Print what was written as JSON
    #[arg(long)]
    json: bool,
}

/// # Errors
/// If the file cannot be written, or the URL is none.
#[expect(clippy::needless_pass_by_value, reason = "a subcommand owns its arguments")]
pub fn run(args: Args) -> anyhow::Result<u8> {
    let kind = match Kind::of(&args.output, None) {
        Ok(kind) if kind.format == Format::Export => kind,
        _ => {
            let why =
                "--output: the name must end in .events, .events.gz or .events.zst, so that a batch knows what it is";
            return tell(why, Exit::Usage as u8);
        }
    };
    let client = args.job.client(ANSWER_TIMEOUT, REFUSAL_BYTES_MAX)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let output = Output::create(&args.output, kind.compression)?;
    let part = output.part.clone();
    let done = runtime.block_on(export(client, &args, output));
    if !matches!(done, Ok(0)) {
        // What there is of it is of no use, and no error beside the one that is told.
        let _ = fs::remove_file(part);
    }
    done
}

async fn export(mut client: Client, args: &Args, mut output: Output) -> anyhow::Result<u8> {
    let begun = Instant::now();
    let (mut from, mut until) = (args.from.clone(), args.until.clone());
    let mut taken: Option<Taken> = None;
    let mut heard = Instant::now();
    loop {
        let path = format!("/log?from={}&until={}", escape(&from), escape(&until));
        let (asked, why) = match client.stream(&path).await {
            Ok(Streamed::Open(stream)) => {
                let end = stream.until.context("the answer is no export of a log")?;
                let taken = taken.get_or_insert_with(|| Taken::new(stream.from, end));
                if taken.read(stream, &mut output, &mut heard).await? {
                    let bytes = output.finish()?;
                    return taken.tell(args.json, bytes, begun);
                }
                // It goes on where it broke off, and ends where it was to end.
                (from, until) = (taken.next.to_string(), taken.until.to_string());
                (None, "the job broke off the answer".to_owned())
            }
            Ok(Streamed::Refused(answer)) if answer.may_be_tried_again() => (answer.retry_after, detail(&answer)),
            Ok(Streamed::Refused(answer)) => return tell(&detail(&answer), EXIT_REFUSED),
            Err(error) if taken.is_none() => return tell(&format!("{error:#}"), EXIT_UNAVAILABLE),
            Err(error) => (None, format!("{error:#}")),
        };
        if heard.elapsed() > AWAY_MAX {
            return tell(&why, EXIT_UNAVAILABLE);
        }
        sleep(asked.unwrap_or(PAUSE).min(AWAY_MAX)).await;
    }
}

/// What has come.
struct Taken {
    from: u64,
    /// Every event before it has come whole.
    next: u64,
    until: u64,
    bar: Bar,
}

impl Taken {
    fn new(from: u64, until: u64) -> Self {
        Self { from, next: from, until, bar: Bar::new(from) }
    }

    /// Writes the whole lines of the answer; whether they are all.
    async fn read(&mut self, mut stream: Stream, output: &mut Output, heard: &mut Instant) -> anyhow::Result<bool> {
        let mut begun = Vec::new();
        while let Some(piece) = timeout(SILENCE_MAX, stream.next()).await.ok().flatten() {
            *heard = Instant::now();
            begun.extend_from_slice(&piece);
            let Some(end) = memchr::memrchr(b'\n', &begun) else { continue };
            let rest = begun.split_off(end + 1);
            self.next += memchr::memchr_iter(b'\n', &begun).count() as u64;
            output.write(&begun)?;
            begun = rest;
            self.bar.show(self.next, self.until);
        }
        anyhow::ensure!(self.next <= self.until, "the job gave more events than were asked for");
        Ok(self.next == self.until && begun.is_empty())
    }

    fn tell(&self, as_json: bool, bytes: u64, begun: Instant) -> anyhow::Result<u8> {
        let (seconds, events) = (begun.elapsed().as_secs_f64(), self.until - self.from);
        let text = if as_json {
            json!({"events": events, "from": self.from, "until": self.until, "bytes": bytes, "seconds": seconds})
                .to_string()
        } else {
            let (events, bytes) = (count(events, "event"), count(bytes, "byte"));
            format!("{events}, from {} to before {}: {bytes} ({seconds:.1} s)", self.from, self.until)
        };
        writeln!(io::stdout(), "{text}")?;
        Ok(0)
    }
}

enum Sink {
    Plain(BufWriter<File>),
    Gzip(GzEncoder<BufWriter<File>>),
    Zstd(zstd::stream::write::Encoder<'static, BufWriter<File>>),
}

/// The file, which has its name when it is whole.
struct Output {
    path: PathBuf,
    part: PathBuf,
    sink: Sink,
}

impl Output {
    fn create(path: &Path, compression: Compression) -> anyhow::Result<Self> {
        let mut part = path.as_os_str().to_owned();
        part.push(".part");
        let part = PathBuf::from(part);
        let file = File::create(&part).with_context(|| unwritten(&part))?;
        let file = BufWriter::with_capacity(OUTPUT_BYTES, file);
        let sink = match compression {
            Compression::None => Sink::Plain(file),
            Compression::Gzip => Sink::Gzip(GzEncoder::new(file, flate2::Compression::default())),
            Compression::Zstd => Sink::Zstd(zstd::stream::write::Encoder::new(file, zstd::DEFAULT_COMPRESSION_LEVEL)?),
        };
        Ok(Self { path: path.to_owned(), part, sink })
    }

    fn write(&mut self, lines: &[u8]) -> anyhow::Result<()> {
        let written = match &mut self.sink {
            Sink::Plain(file) => file.write_all(lines),
            Sink::Gzip(file) => file.write_all(lines),
            Sink::Zstd(file) => file.write_all(lines),
        };
        written.with_context(|| unwritten(&self.part))
    }

    /// Gives how many bytes it has.
    fn finish(self) -> anyhow::Result<u64> {
        let end = || {
            let file = match self.sink {
                Sink::Plain(file) => file,
                Sink::Gzip(file) => file.finish()?,
                Sink::Zstd(file) => file.finish()?,
            };
            let file = file.into_inner().map_err(io::IntoInnerError::into_error)?;
            file.sync_all()?;
            fs::rename(&self.part, &self.path)?;
            Ok(file.metadata()?.len())
        };
        end().map_err(|error: io::Error| anyhow::Error::new(error).context(unwritten(&self.path)))
    }
}

fn unwritten(path: &Path) -> String {
    format!("{} cannot be written", path.display())
}

fn tell(why: &str, code: u8) -> anyhow::Result<u8> {
    writeln!(io::stderr(), "caudal export: {why}")?;
    Ok(code)
}
