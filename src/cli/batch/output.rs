//! Where the results of a batch go: a folder of files.

use std::fs::File;
use std::io::{self, BufWriter, Seek, SeekFrom, Write};
use std::panic::resume_unwind;
use std::path::{Path, PathBuf};
use std::thread;

use serde_json::json;

use crate::cli::batch::tables::OutputFormat;
use crate::cli::exit::{Exit, Failure, OrExit};
use crate::coordinator::batch::Places;
use crate::coordinator::batch::keep::Stand;
use crate::coordinator::gather::Results;
use crate::core::identity::digest_of_all;
use crate::core::ledger::Counts;
use crate::core::plan::Plan;
use crate::core::row::{DeadLetter, ViewRow, WindowRow};
use crate::core::time;
use crate::input::Input;

const REJECTS: &str = "rejects.ndjson";

/// What has come so far. Rejects are written as they come, all else at the end: where files are unfinished, until all of them are whole.
pub struct Output {
    dir: PathBuf,
    unfinished: PathBuf,
    rejects: BufWriter<File>,
    rejects_bytes: u64,
    rows: Vec<WindowRow>,
    views: Vec<ViewRow>,
    counts: Counts,
}

impl Output {
    /// In this folder, which is there; of a batch that goes on with the counts and the rejects that it had.
    ///
    /// # Errors
    /// 74 if the folder cannot be made or written to.
    pub fn open(dir: &Path, unfinished: &Path, begun: Option<&Stand>) -> Result<Self, Failure> {
        let (counts, rejects_bytes) =
            begun.map_or_else(Default::default, |stand| (stand.counts(), stand.rejects_bytes));
        let open = || -> io::Result<File> {
            let mut file = File::options().create(true).write(true).truncate(false).open(unfinished.join(REJECTS))?;
            if file.metadata()?.len() < rejects_bytes {
                let why = format!("{REJECTS} is not as the batch left it: remove .caudal-batch, and it begins anew");
                return Err(io::Error::other(why));
            }
            file.set_len(rejects_bytes)?;
            file.seek(SeekFrom::End(0))?;
            Ok(file)
        };
        let rejects = open().map_err(|error| unwritten(dir, &error)).or_exit(Exit::Damaged)?;
        let rejects = BufWriter::new(rejects);
        let (dir, unfinished) = (dir.to_owned(), unfinished.to_owned());
        Ok(Self { dir, unfinished, rejects, rejects_bytes, rows: Vec::new(), views: Vec::new(), counts })
    }

    /// Takes a round's results; gives how many bytes of rejects there are now. With `sync` they are on disk.
    ///
    /// # Errors
    /// As the disk says.
    pub fn take(&mut self, results: Results, sync: bool, inputs: &[Input], places: &Places) -> io::Result<u64> {
        self.counts += results.counts;
        self.rows.extend(results.rows);
        self.views.extend(results.views);
        let written = self.reject(&results.dead_letters, sync, inputs, places);
        written.map_err(|error| io::Error::new(error.kind(), unwritten(&self.dir, &error)))?;
        Ok(self.rejects_bytes)
    }

    fn reject(&mut self, letters: &[DeadLetter], sync: bool, inputs: &[Input], places: &Places) -> io::Result<()> {
        for letter in letters {
            let line = format!("{}\n", reject(letter, inputs, places));
            self.rejects.write_all(line.as_bytes())?;
            self.rejects_bytes += line.len() as u64;
        }
        if sync {
            self.rejects.flush()?;
            self.rejects.get_ref().sync_data()?;
        }
        Ok(())
    }

    /// Writes the rest and has the files of these names put in their places: gives the counts and a digest of all rows.
    ///
    /// # Errors
    /// 74.
    pub fn finish(
        mut self,
        plan: &Plan,
        format: OutputFormat,
        put: impl FnOnce(&[String]) -> io::Result<()>,
    ) -> Result<(Counts, u64), Failure> {
        self.rejects.flush().map_err(|error| unwritten(&self.dir, &error)).or_exit(Exit::Damaged)?;
        // What each worker found is in this order.
        self.rows.sort_by(|a, b| (a.window, a.start, &a.group).cmp(&(b.window, b.start, &b.group)));
        self.views.sort_by(|a, b| (a.view, &a.key).cmp(&(b.view, &b.key)));
        // The workers have done: there is more than this core.
        let (written, digest) = thread::scope(|scope| {
            let digest = scope.spawn(|| digest_of_all(self.rows.iter()));
            (self.write(plan, format), digest.join())
        });
        written.and_then(|names| put(&names)).map_err(|error| unwritten(&self.dir, &error)).or_exit(Exit::Damaged)?;
        let digest = digest.unwrap_or_else(|panic| resume_unwind(panic));
        Ok((self.counts, digest))
    }

    /// Gives the names of all files.
    fn write(&self, plan: &Plan, format: OutputFormat) -> io::Result<Vec<String>> {
        let mut names = vec![REJECTS.to_owned()];
        for (index, window) in plan.windows.iter().enumerate() {
            let rows: Vec<&WindowRow> = self.rows.iter().filter(|row| row.window == index).collect();
            // Windows of several pipelines may be called alike.
            let of_pipeline = match plan.pipelines.as_slice() {
                [_] => String::new(),
                _ => format!("{}_", plan.pipeline_of(window).name),
            };
            let name = format!("{of_pipeline}{}.{}", window.name, format.ending());
            format.write(&self.unfinished.join(&name), window, &rows)?;
            names.push(name);
        }
        for (index, view) in plan.views.iter().enumerate() {
            let rows = self.views.iter().filter(|row| row.view == index);
            // A name has no dot: whatever the view is called, this is not `rejects.ndjson`.
            let name = format!("{}.view.ndjson", view.name);
            write_view(&self.unfinished.join(&name), rows)?;
            names.push(name);
        }
        Ok(names)
    }
}

/// For people.
pub fn unwritten(dir: &Path, error: &io::Error) -> String {
    format!("--output {}: {error}; make room or name another folder, and run the batch again", dir.display())
}

/// One line of `rejects.ndjson`. Bytes that are no UTF-8 are replaced.
fn reject(letter: &DeadLetter, inputs: &[Input], places: &Places) -> serde_json::Value {
    let (input, position) = places.find(letter.offset);
    json!({
        "input": inputs.get(input).map(|input| input.path.as_str()),
        "position": position,
        "topic": letter.topic,
        "reason": letter.reason.name(),
        "detail": letter.detail,
        "body": String::from_utf8_lossy(&letter.body),
    })
}

/// One line a key, ordered by key. The value goes in as it stands.
fn write_view<'a>(path: &Path, rows: impl Iterator<Item = &'a ViewRow>) -> io::Result<()> {
    let mut out = BufWriter::new(File::create(path)?);
    for ViewRow { key, value, events, time, .. } in rows {
        let (key, time) = (json!(key.as_ref()), json!(time::format(*time)));
        writeln!(out, r#"{{"key":{key},"value":{value},"events":{events},"time":{time}}}"#)?;
    }
    out.flush()
}
