//! `audit: {jsonl: FILE}`: a line-by-line copy of a pipeline's counted events and published rows, for programs that read files.
//!
//! An epoch's lines are appended and synced before the epoch is committed to the store, and end with a line that says which epoch it was, how many lines it
//! has and their checksum. A life of the job begins by reading the file: what does not end so is cut off, and epochs that stand in it are not written again.
//! An epoch's lines are the same in every life, so each is there exactly once. It knows no database.

use std::fmt::Write as _;
use std::fs::{self, File};
use std::io::{self, BufRead, BufReader, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::core::plan::Plan;
use crate::core::row::AuditEvent;
use crate::core::time;
use crate::core::units::{Epoch, LogId};
use crate::store::text::string;
use crate::store::{Commit, Progress, StoreError, StoredRow};

/// Digits of the epoch in the name of a file that is full: names sort as their epochs do.
const EPOCH_DIGITS: usize = 20;
/// A file of which only the job knows the position is read like this.
const READ_BUFFER_BYTES: usize = 1 << 20;
const END_OF_EPOCH: &str = "{\"kind\":\"epoch\",";

/// The file that one pipeline asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Asked {
    pub pipeline: String,
    /// Under the audit directory.
    pub file: PathBuf,
    /// The lives before did not ask for it: what stands in it may end before what the store has.
    pub begins: bool,
}

/// What a life of the job knows when it begins.
#[derive(Clone, Copy, Debug)]
pub struct Known {
    /// What the store has, as far as it was asked.
    pub progress: Progress,
    /// The last epoch that the log holds.
    pub last: Epoch,
}

/// All files of a job.
pub struct Copies {
    plan: Arc<Plan>,
    log: LogId,
    bytes_max: u64,
    files: Vec<Copy>,
}

/// One file, open at its end.
struct Copy {
    pipeline: String,
    path: PathBuf,
    file: File,
    /// Up to here it is on disk and whole.
    bytes: u64,
    /// All epochs up to this one are in it, or in the full files before it.
    epoch: Epoch,
}

/// What stands in a file.
#[derive(Debug, PartialEq, Eq)]
struct Found {
    bytes: u64,
    /// None: no epoch ends in it.
    epoch: Option<Epoch>,
}

impl Copies {
    /// Opens the files, made where they are missing, and cuts off what a death has left behind the last whole epoch.
    ///
    /// # Errors
    /// `Broken` where a file cannot be used, is damaged, or is another log's.
    pub fn open(
        directory: &Path,
        asked: &[Asked],
        plan: Arc<Plan>,
        bytes_max: u64,
        known: Known,
    ) -> Result<Self, StoreError> {
        let log = known.progress.log;
        let open = |asked: &Asked| {
            let path = directory.join(&asked.file);
            let mut copy = Copy::open(asked.pipeline.clone(), path.clone(), log).map_err(|why| refuse(&path, &why))?;
            if asked.begins && copy.bytes > 0 && copy.epoch < known.progress.epoch {
                copy.turn().map_err(|error| refuse(&path, &error.to_string()))?;
            }
            copy.check(&known)?;
            Ok(copy)
        };
        let files = asked.iter().map(open).collect::<Result<_, StoreError>>()?;
        Ok(Self { plan, log, bytes_max, files })
    }

    /// Writes what these consecutive commits have beyond what is in the files. When it returns they are on disk.
    ///
    /// # Errors
    /// `Unavailable` where there is no room: nothing is lost, and it may be tried again. `Broken` after a failed sync.
    pub fn write(&mut self, commits: &[Commit]) -> Result<(), StoreError> {
        for copy in &mut self.files {
            copy.write(&self.plan, self.log, commits)?;
            if copy.bytes >= self.bytes_max {
                copy.turn().map_err(|error| refuse(&copy.path, &error.to_string()))?;
            }
        }
        Ok(())
    }
}

fn refuse(path: &Path, why: &str) -> StoreError {
    StoreError::Broken(format!("the audit file {}: {why}", path.display()))
}

impl Copy {
    fn open(pipeline: String, path: PathBuf, log: LogId) -> Result<Self, String> {
        let text = |error: io::Error| error.to_string();
        let directory = path.parent().unwrap_or(Path::new(""));
        fs::create_dir_all(directory).map_err(text)?;
        let full = last_full(&path).map_err(text)?;
        let mut file = File::options().read(true).write(true).create(true).truncate(false).open(&path).map_err(text)?;
        File::open(directory).and_then(|directory| directory.sync_all()).map_err(text)?;
        let found = read(&mut file, log)?;
        file.set_len(found.bytes).and_then(|()| file.sync_all()).map_err(text)?;
        file.seek(SeekFrom::Start(found.bytes)).map_err(text)?;
        Ok(Self { pipeline, path, file, bytes: found.bytes, epoch: found.epoch.or(full).unwrap_or(Epoch(0)) })
    }

    /// Whether the file belongs to this log, and lacks nothing that only it had.
    fn check(&self, known: &Known) -> Result<(), StoreError> {
        let epoch = self.epoch;
        if epoch > known.last {
            let why = format!(
                "it goes to epoch {epoch}, the log only to {}: take the file away, or restore the log that it belongs to",
                known.last
            );
            return Err(refuse(&self.path, &why));
        }
        if epoch >= known.progress.epoch {
            return Ok(());
        }
        let stored = known.progress.epoch;
        if self.bytes > 0 {
            let why = format!(
                "it is whole only up to byte {} (epoch {epoch}), and the store has epoch {stored} already: it was damaged. Restore it, or move it away: a new \
                 one then begins where the store stands",
                self.bytes
            );
            return Err(refuse(&self.path, &why));
        }
        let file = self.path.display();
        tracing::warn!(%file, %epoch, %stored, "the audit file was taken away, or not written for a while: the new one has only what the store does not have yet");
        Ok(())
    }

    fn write(&mut self, plan: &Plan, log: LogId, commits: &[Commit]) -> Result<(), StoreError> {
        let fresh = commits.iter().filter(|commit| commit.to.epoch > self.epoch);
        let lines = |commit: &Commit| lines(commit.plan.as_deref().unwrap_or(plan), &self.pipeline, log, commit);
        let text: String = fresh.map(lines).collect();
        let Some(last) = commits.last().map(|commit| commit.to.epoch).filter(|_| !text.is_empty()) else {
            return Ok(());
        };
        if let Err(error) = self.file.write_all(text.as_bytes()) {
            // What was written of it goes, so that the next try begins where this one did.
            let undone = self.file.set_len(self.bytes).and_then(|()| self.file.seek(SeekFrom::Start(self.bytes)));
            undone.map_err(|error| refuse(&self.path, &error.to_string()))?;
            let why = format!(
                "the audit file {} cannot be written: {error}; results wait in the log until it can",
                self.path.display()
            );
            return Err(StoreError::Unavailable(why));
        }
        self.file.sync_data().map_err(|error| refuse(&self.path, &error.to_string()))?;
        self.bytes += text.len() as u64;
        self.epoch = last;
        Ok(())
    }

    /// Begins a new file; the full one keeps its name with the last epoch in it.
    fn turn(&mut self) -> io::Result<()> {
        let directory = self.path.parent().unwrap_or(Path::new(""));
        fs::rename(&self.path, full_name(&self.path, self.epoch))?;
        self.file = File::options().read(true).write(true).create_new(true).open(&self.path)?;
        self.bytes = 0;
        File::open(directory)?.sync_all()
    }
}

/// `events.jsonl` when epoch 12 was its last: `events.00000000000000000012.jsonl`.
fn full_name(path: &Path, epoch: Epoch) -> PathBuf {
    let (stem, ending) = parts(path);
    path.with_file_name(format!("{stem}.{:0EPOCH_DIGITS$}{ending}", epoch.0))
}

fn parts(path: &Path) -> (String, String) {
    let text = |part: Option<&std::ffi::OsStr>| part.map(|part| part.to_string_lossy().into_owned());
    let ending = text(path.extension()).map(|ending| format!(".{ending}")).unwrap_or_default();
    (text(path.file_stem()).unwrap_or_default(), ending)
}

/// The last epoch of the newest full file.
fn last_full(path: &Path) -> io::Result<Option<Epoch>> {
    let (stem, ending) = parts(path);
    let mut last = None;
    for entry in fs::read_dir(path.parent().unwrap_or(Path::new("")))? {
        let name = entry?.file_name();
        let digits = name.to_str().and_then(|name| {
            name.strip_prefix(&stem)?.strip_prefix('.')?.strip_suffix(&ending).filter(|d| d.len() == EPOCH_DIGITS)
        });
        last = last.max(digits.and_then(|digits| digits.parse().ok()).map(Epoch));
    }
    Ok(last)
}

/// Reads a file up to the first epoch that is not whole.
fn read(file: &mut File, log: LogId) -> Result<Found, String> {
    let mut lines = BufReader::with_capacity(READ_BUFFER_BYTES, file);
    let (mut found, mut at) = (Found { bytes: 0, epoch: None }, 0);
    let (mut line, mut count, mut sum) = (Vec::new(), 0, 0);
    loop {
        line.clear();
        let read = lines.read_until(b'\n', &mut line).map_err(|error| error.to_string())?;
        if !line.ends_with(b"\n") {
            return Ok(found);
        }
        at += read as u64;
        if !line.starts_with(END_OF_EPOCH.as_bytes()) {
            count += 1;
            sum = crc32c::crc32c_append(sum, &line);
            continue;
        }
        let Some(end) = End::read(&line).filter(|end| (end.lines, end.sum) == (count, sum)) else { return Ok(found) };
        if end.log != log.to_string() {
            return Err(format!("it is a copy of log {}, but DATA_DIR holds log {log}: move it away", end.log));
        }
        found = Found { bytes: at, epoch: Some(end.epoch) };
        (count, sum) = (0, 0);
    }
}

/// The line that ends an epoch.
struct End {
    epoch: Epoch,
    log: String,
    lines: u64,
    sum: u32,
}

impl End {
    fn read(line: &[u8]) -> Option<Self> {
        let line: serde_json::Value = serde_json::from_slice(line).ok()?;
        Some(Self {
            epoch: Epoch(line.get("epoch")?.as_u64()?),
            log: line.get("log")?.as_str()?.to_owned(),
            lines: line.get("lines")?.as_u64()?,
            sum: u32::from_str_radix(line.get("crc32c")?.as_str()?, 16).ok()?,
        })
    }

    fn line(&self) -> String {
        let Self { epoch, log, lines, sum } = self;
        format!("{END_OF_EPOCH}\"epoch\":{epoch},\"log\":\"{log}\",\"lines\":{lines},\"crc32c\":\"{sum:08x}\"}}\n")
    }
}

/// An epoch's lines: its events by offset, its rows by window, start and id, rows that are no more, and the end, which is there also where
/// nothing else is: so the file tells how far it is whole. Of a pipeline that this epoch did not have yet, or no more, only that.
fn lines(plan: &Plan, pipeline: &str, log: LogId, commit: &Commit) -> String {
    let epoch = commit.to.epoch;
    let mut text = String::new();
    let mut count = 0;
    let own = plan.pipelines.iter().find(|of_plan| of_plan.name == pipeline);
    let is_own = |topic| own.is_some_and(|own| plan.keeps(own, topic));
    for event in commit.events.iter().filter(|event| plan.topic(&event.topic).is_some_and(is_own)) {
        event_line(&mut text, epoch, event);
        count += 1;
    }
    let is_own = |window| own.is_some_and(|own| own.windows.contains(window));
    let mut rows: Vec<_> = commit.rows.iter().filter(|row| is_own(&row.window)).collect();
    rows.sort_unstable_by_key(|row| (row.window, row.start, row.metric_id));
    for row in rows {
        metric_line(&mut text, &StoredRow::of(plan, row));
        count += 1;
    }
    let mut removed = if own.is_some() { commit.removed.clone() } else { Vec::new() };
    removed.sort_unstable();
    for id in removed {
        put(&mut text, format_args!("{{\"kind\":\"removed\",\"epoch\":{epoch},\"metric_id\":\"{id}\"}}\n"));
        count += 1;
    }
    let sum = crc32c::crc32c(text.as_bytes());
    text + &End { epoch, log: log.to_string(), lines: count, sum }.line()
}

fn event_line(text: &mut String, epoch: Epoch, event: &AuditEvent) {
    let AuditEvent { offset, topic, event_id, time, received, body, metrics } = event;
    let mut metrics: Vec<String> = metrics.iter().map(|id| format!("\"{id}\"")).collect();
    metrics.sort_unstable();
    put(
        text,
        format_args!(
            "{{\"kind\":\"event\",\"epoch\":{epoch},\"log_offset\":{offset},\"topic\":{},\"event_id\":{},\"event_time\":\"{}\",\
             \"received_at\":\"{}\",\"metrics\":[{}],\"body\":{}}}\n",
            string(topic),
            string(event_id),
            time::format(*time),
            time::format(received.micros()),
            metrics.join(","),
            // A counted event is JSON, and so UTF-8.
            String::from_utf8_lossy(body),
        ),
    );
}

fn metric_line(text: &mut String, row: &StoredRow) {
    put(
        text,
        format_args!(
            "{{\"kind\":\"metric\",\"epoch\":{},\"metric_id\":\"{}\",\"pipeline\":\"{}\",\"window_name\":\"{}\",\"window_start\":\"{}\",\
             \"window_end\":\"{}\",\"group_key\":{},\"metrics\":{},\"event_count\":{},\"revision\":{},\"closed\":{}}}\n",
            row.epoch,
            row.metric_id,
            row.pipeline,
            row.window,
            time::format(row.start),
            time::format(row.end),
            row.group,
            row.values,
            row.event_count,
            row.revision,
            row.closed,
        ),
    );
}

/// Writing to a String cannot fail.
fn put(text: &mut String, what: std::fmt::Arguments) {
    let Ok(()) = text.write_fmt(what) else { panic!("a value refused to be shown") };
}
