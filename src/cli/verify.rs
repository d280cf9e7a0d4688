//! `caudal verify`: replays the log, as far as it is retained, and compares the results with the store's.

mod letters;

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::json;
use uuid::Uuid;

use crate::cli::bar::Bar;
use crate::cli::data_dir::DataDir;
use crate::cli::exit::{Exit, Failure, OrExit};
use crate::cli::failures::{log_failure, replay_failure, store_failure};
use crate::cli::plural::count;
use crate::cli::run::{Begun, keeps, log_options, the_pipeline};
use crate::cli::verify::letters::Letters;
use crate::config::Config;
use crate::coordinator::replay::replay;
use crate::coordinator::start;
use crate::core::identity::digest_of_all;
use crate::core::ledger::Counts;
use crate::core::plan::Plan;
use crate::core::row::WindowRow;
use crate::core::units::Offset;
use crate::log::disk::FileDisk;
use crate::log::{Log, Proof};
use crate::store::{Progress, Reader, StoredRow, WindowQuery};

/// Rows read from the store at a time.
const PAGE: u32 = 5_000;
/// Differences that are named; more are only counted.
const NAMED_MAX: usize = 20;
/// What to do beside a running job, whose log and store move on while they are compared.
const RUNNING: &str =
    "verify needs it stopped. Let it drain (Ctrl-C, or SIGTERM to run_mpi.sh), verify, and start it again";

/// Replays the log into fresh state and compares every row and dead letter with the store's. The job must be stopped.
#[derive(clap::Args, Debug)]
pub struct Args {
    /// Print the result as JSON on the last line.
    #[arg(long)]
    json: bool,
}

/// What was compared.
#[derive(Debug, Default)]
struct Verdict {
    /// Rows that are alike in the store and in the replay.
    alike: u64,
    /// Dead letters likewise.
    letters: u64,
    /// Rows and dead letters of the store from before the retained log.
    not_covered: u64,
    differences: u64,
    named: Vec<String>,
    /// Of all rows of the replay.
    digest: u64,
}

/// # Errors
/// 70 if the store's results are not the log's; 78 if the log has nothing left of what the store has; as `Exit` says if they could not be compared.
pub fn run(args: &Args) -> Result<(), Failure> {
    let (config, _) = Config::load().or_exit(Exit::Config)?;
    if !config.data_dir.is_dir() {
        return Err(Failure::new(Exit::Config, format!("DATA_DIR {} is not there", config.data_dir.display())));
    }
    let data = DataDir::lock(&config.data_dir, RUNNING)?;
    let begun = the_pipeline(&config)?;
    let progress = config
        .target
        .store(&begun.running.get().pipelines.plan)
        .and_then(|mut store| store.progress())
        .map_err(|e| store_failure(&e))?;
    let Some(progress) = progress else {
        return Err(Failure::new(Exit::Config, "the store has no results yet: run the job first"));
    };
    let replayed = Replayed::of_log(&config, &data, &begun, progress)?;
    let plan = &begun.running.get().pipelines.plan;
    let mut reader = config.target.reader(plan).map_err(|e| store_failure(&e))?;
    let digest = digest_of_all(replayed.rows.values());
    let left = data.backfill_mark().read(progress.log).or_exit(Exit::Damaged)?.map(|left| left.pipeline);
    let verdict = Verdict { digest, ..replayed.compare(plan, reader.as_mut(), progress, left.as_deref())? };
    verdict.print(args.json, progress);
    if verdict.differences > 0 {
        return Err(Failure::new(Exit::Software, "the store's results are not the log's"));
    }
    if !verdict.compared_any() {
        let why = "nothing could be compared: all that the store has is older than the retained log (LOG_RETENTION keeps more)";
        return Err(Failure::new(Exit::Config, why));
    }
    Ok(())
}

/// What the log says the store should have.
struct Replayed {
    rows: BTreeMap<Uuid, WindowRow>,
    letters: Letters,
    counts: Counts,
    /// From the very first event on, not only from a checkpoint.
    whole: bool,
}

impl Replayed {
    fn of_log(config: &Config, data: &DataDir, begun: &Begun, progress: Progress) -> Result<Self, Failure> {
        let disk = Arc::new(FileDisk::open(&data.log()).or_exit(Exit::Damaged)?);
        let proof = Some(Proof { log: progress.log, end: progress.end });
        let opened = Log::open(disk.clone(), log_options(config), progress.log, proof, Offset(0));
        let (log, recovered) = opened.map_err(log_failure)?;
        let whole = recovered.begin == Offset(0);
        let prepared = if whole { start::prepare(disk, None) } else { start::prepare_oldest(disk, progress) };
        let mut start = prepared.or_exit(Exit::Damaged)?.begin(&recovered).or_exit(Exit::Config)?;
        let plan = begun.go_on(config, &recovered, &mut start, false)?.plan;
        let mut replayed =
            Self { rows: BTreeMap::new(), letters: Letters::default(), counts: Counts::default(), whole };
        let mut bar = Bar::new(start.read_from.0);
        replay(&plan, &keeps(config, data, recovered.id), start, &log, progress.epoch, |commit| {
            commit.removed.iter().for_each(|id| drop(replayed.rows.remove(id)));
            replayed.letters.add(&commit.dead_letters, &commit.mended);
            replayed.rows.extend(commit.rows.into_iter().map(|row| (row.metric_id, row)));
            if commit.past.is_none() {
                replayed.counts = commit.to.counts;
                bar.show(commit.to.end.0, progress.end.0);
            }
        })
        .map_err(replay_failure)?;
        Ok(replayed)
    }

    /// Goes through all rows of the store. Each that the replay published must be the same; there may be no other, unless it is older than the
    /// replay.
    /// `left` is a pipeline whose replay never came to its end: the next start takes its rows out.
    fn compare(
        mut self,
        plan: &Plan,
        reader: &mut dyn Reader,
        progress: Progress,
        left: Option<&str>,
    ) -> Result<Verdict, Failure> {
        let mut verdict = Verdict::default();
        let mut query = WindowQuery { limit: PAGE, ..WindowQuery::default() };
        loop {
            let page = reader.windows(&query).map_err(|e| store_failure(&e))?;
            for stored in &page {
                match self.rows.remove(&stored.metric_id) {
                    Some(row) if is_same(&row, stored) => verdict.alike += 1,
                    Some(row) => {
                        verdict.differ(format!("{}: the store has {stored:?}, the log gives {row:?}", row.metric_id));
                    }
                    None if left == Some(stored.pipeline.as_str()) => verdict.not_covered += 1,
                    None if self.whole => {
                        verdict.differ(format!("{}: only in the store: {stored:?}", stored.metric_id));
                    }
                    None => verdict.not_covered += 1,
                }
            }
            let Some(last) = page.last().filter(|_| page.len() == PAGE as usize) else { break };
            query.after = Some((last.start, last.window.clone(), last.metric_id));
        }
        for (id, row) in &self.rows {
            let window = plan.windows.get(row.window).map_or("", |w| &w.name);
            verdict.differ(format!("{id}: missing in the store: window {window}, {row:?}"));
        }
        if self.whole && self.counts != progress.counts {
            verdict.differ(format!("the ledger: the store has {:?}, the log gives {:?}", progress.counts, self.counts));
        }
        self.letters.compare(self.whole, reader, &mut verdict).map_err(|e| store_failure(&e))?;
        Ok(verdict)
    }
}

/// An open row has no digest; its epoch and count say what it is.
fn is_same(row: &WindowRow, stored: &StoredRow) -> bool {
    (row.closed, row.revision, row.event_count, row.digest, row.epoch)
        == (stored.closed, stored.revision, stored.event_count, stored.digest, stored.epoch)
}

impl Verdict {
    /// Whether the log has something of what the store has, if that has anything.
    fn compared_any(&self) -> bool {
        self.alike + self.letters + self.differences > 0 || self.not_covered == 0
    }

    fn differ(&mut self, what: String) {
        self.differences += 1;
        if self.named.len() < NAMED_MAX {
            self.named.push(what);
        }
    }

    fn print(&self, as_json: bool, progress: Progress) {
        for difference in &self.named {
            eprintln!("{difference}");
        }
        let Self { alike, letters, not_covered, differences, digest, .. } = self;
        if as_json {
            let identical = self.compared_any().then_some(*differences == 0);
            let (epoch, events) = (progress.epoch.0, progress.end.0);
            println!(
                "{}",
                json!({"identical": identical, "epoch": epoch, "events": events, "rows": alike, "dead_letters": letters, "not_covered": not_covered,
                    "differences": differences, "digest": format!("{digest:016x}")})
            );
        } else if !self.compared_any() {
            // The exit says so.
        } else if *differences == 0 {
            println!(
                "identical: {} and {} compared, up to epoch {} and event {}; {not_covered} not compared, since they are older than the retained log",
                count(*alike, "row"),
                count(*letters, "dead letter"),
                progress.epoch,
                progress.end
            );
        } else {
            println!(
                "{}, {} and {} alike, {not_covered} older than the retained log",
                count(*differences, "difference"),
                count(*alike, "row"),
                count(*letters, "dead letter")
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_older_than_the_log_is_not_compared() {
        let of = |alike, differences, not_covered| Verdict { alike, not_covered, differences, ..Verdict::default() };
        assert!(!of(0, 0, 5).compared_any(), "all is older");
        assert!(of(1, 0, 5).compared_any() && of(0, 1, 5).compared_any());
        assert!(of(0, 0, 0).compared_any(), "a store without rows has what the log gives: none");
    }
}
