//! The pipeline file: read, checked (all faults at once, with line and column), planned.

use crate::core::plan::Plan;

/// A pipeline file and the schemas it names, as texts: what the log's START record carries, so that a replay needs no file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bundle {
    /// The pipeline file's name for people, as it was given.
    pub file: String,
    pub text: String,
    /// (path as the pipeline file writes it, text), in order of path.
    pub schemas: Vec<(String, String)>,
}

/// One thing that is wrong with a pipeline file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    pub file: String,
    /// From 1; 0 where no place can be named.
    pub line: usize,
    pub column: usize,
    /// What is wrong and what is allowed there.
    pub message: String,
}

/// All faults of a file. Displayed one a line: `file:line:column: message`.
#[derive(Debug)]
pub struct Faults(pub Vec<Fault>);

/// What a pipeline file means.
#[derive(Debug)]
pub struct Pipeline {
    pub plan: Plan,
    /// Each topic's schema as JSON text, in the order of `plan.topics`: for the page's forms and the generator.
    pub schemas: Vec<String>,
    pub hints: Hints,
}

/// The file's `generate:` section.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Hints {
    /// Relative weight by topic, in the order of `plan.topics`; 1 where the file says nothing.
    pub weights: Vec<f64>,
    pub burst: Option<BurstHint>,
}

#[derive(Clone, Debug, PartialEq)]
pub struct BurstHint {
    /// The topic's place in `plan.topics`.
    pub topic: usize,
    pub probability: f64,
    pub size: u32,
}

impl Bundle {
    /// Reads a pipeline file and the schemas it names.
    ///
    /// # Errors
    /// If a file cannot be read, or the pipeline file is no YAML.
    pub fn read(_path: &std::path::Path) -> Result<Self, Faults> {
        unimplemented!()
    }

    /// Checks everything and plans it.
    ///
    /// # Errors
    /// All faults at once.
    pub fn pipeline(&self) -> Result<Pipeline, Faults> {
        unimplemented!()
    }

    /// As one text (JSON), equal for equal bundles but for `file`, which is left out.
    #[must_use]
    pub fn to_text(&self) -> String {
        unimplemented!()
    }

    /// # Errors
    /// If the text was not written by `to_text` of this version.
    pub fn from_text(_text: &str) -> Result<Self, String> {
        unimplemented!()
    }
}
