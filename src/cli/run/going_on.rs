//! The pipelines of a life of the job: those of the files, those of the log, and what a start makes of both.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;

use crate::cli::exit::{Exit, Failure, OrExit};
use crate::config::Config;
use crate::coordinator::change::Change;
use crate::coordinator::start::Start;
use crate::core::plan::Plan;
use crate::core::units::Epoch;
use crate::log::Recovered;
use crate::pipeline::audit::Copy;
use crate::pipeline::change::{self, Accepted, Clash, Refused};
use crate::pipeline::running::{InForce, Running};
use crate::pipeline::{Bundle, Configuration, Pipelines};
use crate::store::jsonl::Asked;

/// The pipelines as the files of PIPELINES say, until the log is open.
pub struct Begun {
    pub bundle: Bundle,
    pub running: Running,
}

/// The pipelines of this job.
///
/// # Errors
/// 78 where PIPELINES names no file, 2 where a file has faults.
pub fn the_pipeline(config: &Config) -> Result<Begun, Failure> {
    if config.pipelines.is_empty() {
        return Err(Failure::new(Exit::Config, "there is no pipeline to run: name its file in PIPELINES"));
    }
    let bundle = Bundle::read(&config.pipelines).or_exit(Exit::Usage)?;
    let (configuration, pipelines) = Configuration::begin(bundle.clone()).or_exit(Exit::Usage)?;
    Ok(Begun { bundle, running: Running::new(InForce::new(configuration, pipelines)) })
}

/// How a life goes on with what the log says.
pub struct GoingOn {
    /// What holds at the log's end, for the START record.
    pub bundle: Arc<str>,
    /// What the replay begins with.
    pub plan: Arc<Plan>,
    /// What is to hold after the first epoch that is not in the log yet: files that changed, and were accepted.
    pub change: Option<Change>,
    /// The audit's files that what holds at the log's end asks for; None: the log is new.
    pub copied: Option<BTreeSet<PathBuf>>,
}

impl Begun {
    /// Goes on with what the log says. From now on what is to hold is shown.
    ///
    /// # Errors
    /// 78, with the ways out, where the files are neither those that the job was started with nor say what holds now, and are not accepted.
    pub fn go_on(
        &self,
        config: &Config,
        recovered: &Recovered,
        start: &mut Start,
        accept: bool,
    ) -> Result<GoingOn, Failure> {
        let logged = recovered.start.as_ref().map(|start| Configuration::from_text(&start.bundle));
        let first = logged.is_none();
        let (in_force, change) = match logged.transpose().or_exit(Exit::Config)? {
            None => (self.running.get(), None),
            Some(logged) if logged.begun != self.bundle.versions() && logged.bundle.id() != self.bundle.id() => {
                let after = last_epoch(recovered, start).next();
                let accepted = change::accept(&logged, &self.bundle, after);
                if !accept {
                    return Err(Failure::new(Exit::Config, self.refusal(config, accepted)));
                }
                let accepted = accepted.map_err(|refused| Failure::new(Exit::Config, cannot_accept(&refused)))?;
                tell(&accepted, after);
                let (logged, pipelines) = Configuration { replayed: None, ..logged }.settled().or_exit(Exit::Config)?;
                let next = InForce::new(accepted.configuration, accepted.pipelines);
                let bundle = Arc::from(next.configuration.to_text());
                let change = Change { bundle, plan: Arc::clone(&next.pipelines.plan), backfill: None };
                self.running.set(Arc::new(next));
                (Arc::new(InForce::new(logged, pipelines)), Some(change))
            }
            Some(logged) => {
                if logged.bundle.id() != self.bundle.id() {
                    tracing::info!(
                        "the pipelines were changed while the job ran: it goes on with them, and not with the files of PIPELINES"
                    );
                }
                let logged = Configuration { begun: self.bundle.versions(), replayed: None, ..logged };
                let (configuration, pipelines) = logged.settled().or_exit(Exit::Config)?;
                let in_force = Arc::new(InForce::new(configuration, pipelines));
                self.running.set(Arc::clone(&in_force));
                (in_force, None)
            }
        };
        let planned = |text: &Arc<str>| {
            let configuration = Configuration::from_text(text)?;
            let plan = configuration.pipelines().map_err(|faults| faults.to_string())?.plan;
            Ok::<_, String>(Change { backfill: configuration.backfill(&plan), bundle: Arc::clone(text), plan })
        };
        let bundle = in_force.configuration.to_text();
        let plan = start.plan(&bundle, planned).or_exit(Exit::Config)?;
        let copied = in_force.pipelines.copies.iter().map(|copy| copy.file.clone()).collect();
        Ok(GoingOn { bundle: bundle.into(), plan, change, copied: Some(copied).filter(|_| !first) })
    }

    /// Why the files are refused, and the ways out.
    fn refusal(&self, config: &Config, accepted: Result<Accepted, Refused>) -> String {
        let accepting = match accepted {
            Err(refused) => cannot_accept(&refused),
            Ok(Accepted { anew, .. }) if anew.is_empty() => {
                "accept them with --accept-changes: what is kept goes on, and nothing begins anew".to_owned()
            }
            Ok(Accepted { anew, clashes, .. }) => format!(
                "accept them with --accept-changes, by which {} would begin anew, the windows that are open being closed as they are ({})",
                listed(&anew),
                reasons(&clashes)
            ),
        };
        format!(
            "{}: these are not the pipelines that DATA_DIR {} was filled with. Give what changed another name (PUT /pipelines/NAME while the job runs); or {accepting}; or give changed \
             files a DATA_DIR (and a store) of their own; or put the old texts back",
            self.bundle.names(),
            config.data_dir.display()
        )
    }
}

fn cannot_accept(refused: &Refused) -> String {
    format!("--accept-changes cannot accept them: {refused}")
}

fn listed(names: &BTreeSet<String>) -> String {
    names.iter().map(String::as_str).collect::<Vec<_>>().join(", ")
}

fn reasons(clashes: &[Clash]) -> String {
    let reasons: Vec<String> = clashes.iter().map(|Clash { what, reason, .. }| format!("{what}: {reason}")).collect();
    reasons.join("; ")
}

fn tell(accepted: &Accepted, after: Epoch) {
    for change in &accepted.changes {
        tracing::info!("changed pipeline files: {change}");
    }
    for pipeline in &accepted.anew {
        tracing::warn!(
            pipeline,
            epoch = after.0,
            "it begins anew after this epoch, and the windows that are open are closed as they are: {}",
            reasons(&accepted.clashes)
        );
    }
}

/// The last epoch that the log has.
pub(super) fn last_epoch(recovered: &Recovered, start: &Start) -> Epoch {
    recovered.cuts.last().map_or(start.beginning.checkpoint.0, |cut| cut.epoch)
}

pub(super) fn asked_copies(pipelines: &Pipelines, copied: Option<&BTreeSet<PathBuf>>) -> Vec<Asked> {
    let asked = |copy: &Copy| Asked {
        pipeline: pipelines.plan.pipeline_name(copy.pipeline).to_owned(),
        file: copy.file.clone(),
        begins: copied.is_some_and(|copied| !copied.contains(&copy.file)),
    };
    pipelines.copies.iter().map(asked).collect()
}

/// What held by other files than these, for epochs that the store does not have yet.
pub(super) fn earlier(start: &Start, files: &Bundle) -> Result<Vec<Pipelines>, String> {
    let stored = start.beginning.progress.epoch;
    let versions = files.versions();
    let texts = start.bundle.iter().chain(start.changes.iter().map(|(_, text)| text));
    let ends = start.changes.iter().map(|(epoch, _)| *epoch).chain([Epoch(u64::MAX)]);
    let mut earlier = Vec::new();
    for (text, _) in texts.zip(ends).filter(|(_, end)| *end > stored) {
        let configuration = Configuration::from_text(text)?;
        if configuration.begun != versions {
            earlier.push(configuration.pipelines().map_err(|faults| faults.to_string())?);
        }
    }
    Ok(earlier)
}
