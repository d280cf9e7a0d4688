//! The pipeline file: read, checked (all faults at once, with line and column), planned. `docs/pipeline-file.md` is its reference.

pub mod duration;
mod yaml;
mod section;
mod file;
mod plan;

use std::collections::BTreeMap;
use std::fmt;
use std::io::Read as _;
use std::path::Path;
use std::sync::Arc;

use crate::core::plan::Plan;
use crate::pipeline::file::File;
use crate::pipeline::section::Faulty;
use crate::pipeline::yaml::Place;

/// A pipeline file and each schema; what is larger was not written by a person.
const FILE_BYTES_MAX: u64 = 1 << 20;
/// Of `Bundle::to_text`.
const BUNDLE_FORMAT: u32 = 1;
/// What a pipeline file that comes out of the log is called in messages.
const LOGGED_FILE: &str = "pipeline.yaml (from the log)";

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
    pub plan: Arc<Plan>,
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
    /// If the pipeline file cannot be read or is no YAML: that. If a schema cannot be read: all faults of the file.
    pub fn read(path: &Path) -> Result<Self, Faults> {
        let file = path.display().to_string();
        let text = read_bounded(path).map_err(|why| Faults::one(&file, Place::default(), why))?;
        let directory = path.parent().unwrap_or(Path::new(""));
        let mut schemas = BTreeMap::new();
        let mut faults = Faulty { file: &file, found: Vec::new() };
        let described = parse(&file, &text)?;
        for topic in File::read(&described, &mut faults).topics {
            let Some(schema) = topic.schema else { continue };
            let read = read_bounded(&directory.join(&schema.it));
            schemas.insert(schema.it, read);
        }
        if schemas.values().any(Result::is_err) {
            let texts = schemas.iter().map(|(path, read)| (path.as_str(), read.as_deref().map_err(String::as_str)));
            check(&file, &text, &texts.collect())?;
        }
        let schemas = schemas.into_iter().filter_map(|(path, read)| Some((path, read.ok()?))).collect();
        Ok(Self { file, text, schemas })
    }

    /// Checks everything and plans it.
    ///
    /// # Errors
    /// All faults at once.
    pub fn pipeline(&self) -> Result<Pipeline, Faults> {
        let texts = self.schemas.iter().map(|(path, text)| (path.as_str(), Ok(text.as_str())));
        check(&self.file, &self.text, &texts.collect())
    }

    /// As one text (JSON), equal for equal bundles but for `file`, which is left out.
    #[must_use]
    pub fn to_text(&self) -> String {
        serde_json::json!([BUNDLE_FORMAT, self.text, self.schemas]).to_string()
    }

    /// # Errors
    /// If the text was not written by `to_text` of this version.
    pub fn from_text(text: &str) -> Result<Self, String> {
        let (format, text, schemas): (u32, String, Vec<(String, String)>) =
            serde_json::from_str(text).map_err(|error| format!("not a pipeline's text: {error}"))?;
        if format != BUNDLE_FORMAT {
            return Err(format!("a pipeline's text of format {format}: this version of Caudal reads {BUNDLE_FORMAT}"));
        }
        Ok(Self { file: LOGGED_FILE.to_owned(), text, schemas })
    }
}

/// Text to pipeline; all faults at once.
fn check(file: &str, text: &str, schemas: &plan::Texts) -> Result<Pipeline, Faults> {
    let root = parse(file, text)?;
    let mut faults = Faulty { file, found: Vec::new() };
    let read = File::read(&root, &mut faults);
    match plan::plan(read, schemas, &mut faults) {
        Some(pipeline) => Ok(pipeline),
        None => Err(Faults::sorted(faults.found)),
    }
}

fn parse(file: &str, text: &str) -> Result<yaml::Node, Faults> {
    yaml::parse(text).map_err(|(place, why)| Faults::one(file, place, why))
}

fn read_bounded(path: &Path) -> Result<String, String> {
    let read = || -> std::io::Result<Vec<u8>> {
        let mut bytes = Vec::new();
        std::fs::File::open(path)?.take(FILE_BYTES_MAX + 1).read_to_end(&mut bytes)?;
        Ok(bytes)
    };
    let bytes = read().map_err(|error| format!("cannot read {}: {error}", path.display()))?;
    if bytes.len() as u64 > FILE_BYTES_MAX {
        return Err(format!("{} is larger than {FILE_BYTES_MAX} bytes", path.display()));
    }
    String::from_utf8(bytes).map_err(|_| format!("{} is no UTF-8 text", path.display()))
}

impl Faults {
    fn one(file: &str, place: Place, message: String) -> Self {
        Self(vec![Fault { file: file.to_owned(), line: place.line, column: place.column, message }])
    }

    /// In the order of the file; what a file's defaults say for several topics is said once.
    fn sorted(mut faults: Vec<Fault>) -> Self {
        faults.sort_by_key(|fault| (fault.line, fault.column));
        faults.dedup();
        Self(faults)
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.line == 0 {
            write!(f, "{}: {}", self.file, self.message)
        } else {
            write!(f, "{}:{}:{}: {}", self.file, self.line, self.column, self.message)
        }
    }
}

impl fmt::Display for Faults {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (n, fault) in self.0.iter().enumerate() {
            let separator = if n == 0 { "" } else { "\n" };
            write!(f, "{separator}{fault}")?;
        }
        Ok(())
    }
}

impl std::error::Error for Faults {}
