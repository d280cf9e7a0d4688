//! The pipelines of a job as its log has them: the files' texts, the numbers of the topics, and what the job was started with.

use std::collections::BTreeMap;

use serde_json::{Value, json};
use xxhash_rust::xxh3::xxh3_128;

use crate::core::epoch::Backfill;
use crate::core::plan::{Lives, Plan};
use crate::core::units::{Epoch, Offset};
use crate::pipeline::change::pipeline_of;
use crate::pipeline::file::File;
use crate::pipeline::{Bundle, Faults, FileText, Pipelines, Spelled};

/// Of `Configuration::to_text`.
const FORMAT: u32 = 5;

/// A topic's name, in the order of numbers: the log's slabs carry numbers, so a name keeps its own for as long as the log is there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TopicName {
    pub name: String,
    /// The job makes its events.
    pub made: bool,
}

/// What a START or CONFIG record says of the pipelines.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Configuration {
    pub bundle: Bundle,
    /// Topics that a pipeline reads or makes, and those that none does any more. Others are numbered after them.
    pub topics: Vec<TopicName>,
    /// By pipeline the `Bundle::id` of the file that says it, of the files that were taken when the job was started with them.
    pub begun: BTreeMap<String, String>,
    /// The pipelines that were begun anew.
    pub lives: Lives,
    /// Of a CONFIG record that brings a pipeline which begins with the log's past.
    pub replayed: Option<Replayed>,
}

/// A new pipeline that begins with the log's past.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Replayed {
    pub pipeline: String,
    /// The last epoch that it knows nothing of.
    pub after: Epoch,
    /// Where that one ended.
    pub from: Offset,
}

impl Configuration {
    /// Of a job that begins with these files.
    ///
    /// # Errors
    /// All faults at once.
    pub fn begin(bundle: Bundle) -> Result<(Self, Pipelines), Faults> {
        Self { begun: bundle.versions(), ..Self::of(bundle) }.settled()
    }

    fn of(bundle: Bundle) -> Self {
        Self { bundle, topics: Vec::new(), begun: BTreeMap::new(), lives: Lives::default(), replayed: None }
    }

    /// Checks everything and plans it.
    ///
    /// # Errors
    /// All faults at once.
    pub fn pipelines(&self) -> Result<Pipelines, Faults> {
        self.planned().map(|(pipelines, _)| pipelines)
    }

    /// The same, and each file as it is understood, in the order of `plan.pipelines`.
    ///
    /// # Errors
    /// All faults at once.
    pub fn explained(&self) -> Result<(Pipelines, Vec<Spelled>), Faults> {
        let (pipelines, files) = self.planned()?;
        let spelled = files.iter().map(|(name, file)| Spelled::of(name, file, &pipelines)).collect();
        Ok((pipelines, spelled))
    }

    pub(super) fn planned(&self) -> Result<(Pipelines, Vec<(String, File)>), Faults> {
        self.bundle.planned(&self.topics, &self.lives)
    }

    /// With numbers for all topics.
    ///
    /// # Errors
    /// All faults at once.
    pub fn settled(mut self) -> Result<(Self, Pipelines), Faults> {
        let pipelines = self.pipelines()?;
        let named = |topic: &crate::core::plan::TopicPlan| TopicName {
            name: topic.name.clone(),
            made: topic.emitted.is_some(),
        };
        self.topics = pipelines.plan.topics.iter().map(named).collect();
        Ok((self, pipelines))
    }

    /// The past of its new pipeline, in its plan.
    #[must_use]
    pub fn backfill(&self, plan: &Plan) -> Option<Backfill> {
        let Replayed { pipeline, after, from } = self.replayed.as_ref()?;
        let pipeline = plan.pipelines.iter().position(|other| other.name == *pipeline)?;
        Some(Backfill { pipeline, after: *after, from: *from })
    }

    /// As one text (JSON); the files' names for people are left out.
    #[must_use]
    pub fn to_text(&self) -> String {
        let Self { bundle, topics, begun, lives, replayed } = self;
        let files: Vec<_> = bundle.0.iter().map(|file| (&file.text, &file.schemas)).collect();
        let topics: Vec<_> = topics.iter().map(|topic| (&topic.name, topic.made)).collect();
        let replayed = replayed.as_ref().map(|of| (&of.pipeline, of.after.0, of.from.0));
        let lives: BTreeMap<&str, Vec<u64>> =
            lives.iter().map(|(name, after)| (name, after.iter().map(|epoch| epoch.0).collect())).collect();
        json!([FORMAT, files, topics, begun, lives, replayed]).to_string()
    }

    /// # Errors
    /// If the text was not written by `to_text` of this version.
    pub fn from_text(text: &str) -> Result<Self, String> {
        type Files = Vec<(String, Vec<(String, String)>)>;
        let unreadable = |error| format!("not a pipeline's text: {error}");
        let parts: Vec<Value> = serde_json::from_str(text).map_err(unreadable)?;
        if let Some(format) = parts.first().filter(|format| **format != FORMAT) {
            return Err(format!("a pipeline's text of format {format}: this version of Caudal reads {FORMAT}"));
        }
        let [_, files, topics, begun, lives, replayed] = <[Value; 6]>::try_from(parts).map_err(|parts| {
            format!("a pipeline's text of {} parts, where this version of Caudal writes 6", parts.len())
        })?;
        let files: Files = serde_json::from_value(files).map_err(unreadable)?;
        let topics: Vec<(String, bool)> = serde_json::from_value(topics).map_err(unreadable)?;
        let begun = serde_json::from_value(begun).map_err(unreadable)?;
        let all: BTreeMap<String, Vec<u64>> = serde_json::from_value(lives).map_err(unreadable)?;
        let mut lives = Lives::default();
        for (name, after) in &all {
            if !after.is_sorted_by(|a, b| a < b) {
                return Err(format!("not a pipeline's text: {name} was begun anew in no order"));
            }
            for epoch in after {
                lives.begin(name, Epoch(*epoch));
            }
        }
        let replayed: Option<(String, u64, u64)> = serde_json::from_value(replayed).map_err(unreadable)?;
        let replayed =
            replayed.map(|(pipeline, after, from)| Replayed { pipeline, after: Epoch(after), from: Offset(from) });
        let file = |(number, (text, schemas)): (usize, _)| FileText { file: logged_name(number), text, schemas };
        Ok(Self {
            bundle: Bundle(files.into_iter().enumerate().map(file).collect()),
            topics: topics.into_iter().map(|(name, made)| TopicName { name, made }).collect(),
            begun,
            lives,
            replayed,
        })
    }
}

impl Bundle {
    /// Equal for files of equal texts and schemas.
    #[must_use]
    pub fn id(&self) -> String {
        format!("{:032x}", xxh3_128(self.to_text().as_bytes()))
    }

    /// By pipeline the id of its file.
    #[must_use]
    pub fn versions(&self) -> BTreeMap<String, String> {
        self.0.iter().filter_map(|file| Some((pipeline_of(file)?, Self(vec![file.clone()]).id()))).collect()
    }

    /// The files as one text, without their names for people; equal for equal files.
    #[must_use]
    pub fn to_text(&self) -> String {
        Configuration::of(self.clone()).to_text()
    }

    /// # Errors
    /// If the text was not written by `to_text` of this version.
    pub fn from_text(text: &str) -> Result<Self, String> {
        Configuration::from_text(text).map(|configuration| configuration.bundle)
    }
}

/// What a pipeline file that comes out of the log is called in messages.
fn logged_name(number: usize) -> String {
    format!("pipeline {} (from the log)", number + 1)
}
