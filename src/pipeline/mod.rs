//! The pipeline files of a job: read, checked (all faults at once, with line and column), planned. `docs/pipeline-file.md` is their reference.

pub mod duration;
mod yaml;
mod section;
pub mod sql;
mod file;
mod names;
mod windows;
mod views;
mod alerts;
mod webhooks;
mod emits;
mod joins;
mod topics;
mod columns;
mod metric;
pub mod routes;
pub mod audit;
pub mod cases;
mod plan;
mod effective;
mod configuration;
pub mod change;
pub mod running;

use std::collections::BTreeMap;
use std::fmt;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::core::plan::{Lives, Plan};
use crate::pipeline::audit::Copy;
use crate::pipeline::cases::Case;
pub use crate::pipeline::configuration::{Configuration, Replayed, TopicName};
use crate::pipeline::effective::effective;
pub use crate::pipeline::effective::{format_name, zone_name};
use crate::pipeline::file::File;
use crate::pipeline::routes::Route;
use crate::pipeline::section::Faulty;
use crate::pipeline::topics::Texts;
pub use crate::pipeline::webhooks::variable as webhook_variable;
use crate::pipeline::windows::Window;
use crate::pipeline::yaml::Place;

/// A pipeline file and each schema; what is larger was not written by a person.
const FILE_BYTES_MAX: u64 = 1 << 20;
/// Every event is looked at by every pipeline.
pub const PIPELINES_MAX: usize = 100;
/// The JSON Schema of the pipeline file, for editors.
pub const FILE_SCHEMA: &str = include_str!("../../docs/pipeline.schema.json");

/// The pipeline files of a job as texts: what the log's START record carries, so that a replay needs no file. In the order of the pipelines' names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bundle(pub Vec<FileText>);

/// One pipeline file and the schemas it names.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct FileText {
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
    /// The line of the file.
    pub excerpt: String,
}

/// All faults of the files. Displayed as `file:line:column: message`, the line and a caret under the place.
#[derive(Debug)]
pub struct Faults(pub Vec<Fault>);

/// What the pipeline files of a job mean.
#[derive(Debug)]
pub struct Pipelines {
    pub plan: Arc<Plan>,
    /// Each topic's schema as JSON text, in the order of `plan.topics`: for the page's forms and the generator.
    pub schemas: Vec<String>,
    pub hints: Hints,
    /// The files' own addresses.
    pub routes: Vec<Route>,
    /// The files that are to have a line of each event and row.
    pub copies: Vec<Copy>,
    /// The files' own tests, in the order of `plan.pipelines`.
    pub cases: Vec<Vec<Case>>,
}

/// What the plan of a file does not tell: how it is written.
#[derive(Clone, Debug)]
pub struct Spelled {
    /// The file's name for people.
    pub file: String,
    /// The file with every default spelled out.
    pub yaml: String,
    /// Names of the derived fields, in the order of the plan's.
    pub derived: Vec<String>,
    /// By window, the calls of its metrics, in the order of the plan's.
    pub metrics: Vec<Vec<String>>,
    /// By view, its key.
    pub keys: Vec<String>,
}

/// The files' `generate:` sections.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Hints {
    /// Events a second, of all topics together; None where no file says anything.
    pub rate: Option<f64>,
    /// Relative weight by topic, in the order of `plan.topics`; 1 where no file says anything.
    pub weights: Vec<f64>,
    pub bursts: Vec<BurstHint>,
}

#[derive(Clone, Debug, PartialEq)]
pub struct BurstHint {
    /// The topic's place in `plan.topics`.
    pub topic: usize,
    pub probability: f64,
    pub size: u32,
}

impl Bundle {
    /// Reads pipeline files and the schemas they name.
    ///
    /// # Errors
    /// If a file cannot be read or is no YAML: that, and what else is wrong with the files.
    pub fn read(paths: &[PathBuf]) -> Result<Self, Faults> {
        let mut files = Vec::new();
        let (mut unreadable, mut missing) = (Vec::new(), Vec::new());
        for path in paths {
            match FileText::read(path) {
                Ok((name, file, schemas)) => {
                    files.push((name, file));
                    missing.extend(schemas);
                }
                Err(faults) => unreadable.extend(faults.0),
            }
        }
        files.sort();
        let bundle = Self(files.into_iter().map(|(_, file)| file).collect());
        if unreadable.is_empty() && missing.is_empty() {
            return Ok(bundle);
        }
        // What a file that cannot be read says to the others is not known: then each of these is looked at by itself.
        let others = if unreadable.is_empty() { bundle.faults() } else { bundle.faults_of_each() };
        let said: Vec<_> = missing.iter().map(Fault::place).collect();
        unreadable.extend(others.into_iter().filter(|fault| !said.contains(&fault.place())));
        unreadable.extend(missing);
        Err(Faults::sorted(unreadable))
    }

    fn faults(&self) -> Vec<Fault> {
        self.planned(&[], &Lives::default()).map_or_else(|faults| faults.0, |_| Vec::new())
    }

    /// Those that a file has whatever the others say.
    fn faults_of_each(&self) -> Vec<Fault> {
        let of_file = |FileText { file, text, .. }: &FileText| {
            let mut faults = Faulty::new(file, text);
            drop(parse(file, text).map(|root| File::read(&root, &mut faults)));
            faults.found
        };
        self.0.iter().flat_map(of_file).collect()
    }

    /// Checks everything and plans it.
    ///
    /// # Errors
    /// All faults at once.
    pub fn pipelines(&self) -> Result<Pipelines, Faults> {
        self.planned(&[], &Lives::default()).map(|(pipelines, _)| pipelines)
    }

    /// The same, and each file as it is understood, in the order of `plan.pipelines`.
    ///
    /// # Errors
    /// All faults at once.
    pub fn explained(&self) -> Result<(Pipelines, Vec<Spelled>), Faults> {
        let (pipelines, files) = self.planned(&[], &Lives::default())?;
        let spelled = files.iter().map(|(name, file)| Spelled::of(name, file, &pipelines)).collect();
        Ok((pipelines, spelled))
    }

    /// With the files, each with its name, in the order of `plan.pipelines`. `numbered` are the first topics, by their numbers.
    fn planned(&self, numbered: &[TopicName], lives: &Lives) -> Result<(Pipelines, Vec<(String, File)>), Faults> {
        let mut faults: Vec<Faulty> = self.0.iter().map(|file| Faulty::new(&file.file, &file.text)).collect();
        if self.0.len() > PIPELINES_MAX {
            let message = format!("{} pipelines: at most {PIPELINES_MAX} are allowed in a job", self.0.len());
            return Err(Faults::one("PIPELINES", Place::default(), message));
        }
        let mut files = Vec::new();
        let mut broken = Vec::new();
        for (file, faults) in self.0.iter().zip(&mut faults) {
            let texts = file.schemas.iter().map(|(path, text)| (path.as_str(), Ok(text.as_str())));
            match parse(&file.file, &file.text) {
                Ok(root) => files.push((File::read(&root, faults), texts.collect::<Texts>())),
                Err(error) => broken.extend(error.0),
            }
        }
        if !broken.is_empty() {
            return Err(Faults(broken));
        }
        let order = topics::order(&files, &mut faults);
        let files = in_order(files, &order);
        let mut faults = in_order(faults, &order);
        let Some(mut pipelines) = plan::plan(&files, numbered, lives, &mut faults) else {
            return Err(Faults::sorted(faults.into_iter().flat_map(|faults| faults.found).collect()));
        };
        let names = faults.iter().map(|faults| faults.file.to_owned());
        let files: Vec<(String, File)> = names.zip(files.into_iter().map(|(file, _)| file)).collect();
        pipelines.cases = files.iter().map(|(_, file)| file.cases.clone()).collect();
        Ok((pipelines, files))
    }

    /// The files' names, for people.
    #[must_use]
    pub fn names(&self) -> String {
        let names: Vec<&str> = self.0.iter().map(|file| file.file.as_str()).collect();
        names.join(", ")
    }
}

/// The items, each once, in the order of their places.
fn in_order<T>(items: Vec<T>, order: &[usize]) -> Vec<T> {
    let mut items: Vec<Option<T>> = items.into_iter().map(Some).collect();
    order.iter().filter_map(|&at| items.get_mut(at)?.take()).collect()
}

impl Spelled {
    fn of(name: &str, file: &File, pipelines: &Pipelines) -> Self {
        let calls = |window: &Window| window.metrics.iter().map(|(_, call)| call.it.clone()).collect();
        Self {
            file: name.to_owned(),
            yaml: effective(file, pipelines),
            derived: file.derived.iter().map(|(name, _)| name.it.clone()).collect(),
            metrics: file.windows.iter().map(calls).collect(),
            keys: file.views.iter().filter_map(|view| Some(view.key.as_ref()?.it.to_string())).collect(),
        }
    }
}

impl FileText {
    /// Reads a pipeline file and its schemas; gives the pipeline's name too, and faults for schemas that cannot be read.
    fn read(path: &Path) -> Result<(String, Self, Vec<Fault>), Faults> {
        let file = path.display().to_string();
        let text = read_bounded(path).map_err(|why| Faults::one(&file, Place::default(), why))?;
        let directory = path.parent().unwrap_or(Path::new(""));
        let mut unheard = Faulty::new(&file, &text);
        let read = File::read(&parse(&file, &text)?, &mut unheard);
        let mut schemas = BTreeMap::new();
        let mut missing = Faulty::new(&file, &text);
        for schema in read.topics.iter().filter_map(|topic| topic.described.as_ref()?.schema.as_ref()) {
            match read_bounded(&directory.join(&schema.it)) {
                Ok(text) => drop(schemas.insert(schema.it.clone(), text)),
                Err(why) => missing.note(schema.place, format!("schema: {why}")),
            }
        }
        let missing = missing.found;
        let schemas = schemas.into_iter().collect();
        Ok((read.pipeline.it, Self { file, text, schemas }, missing))
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
        let (line, column) = (place.line, place.column);
        Self(vec![Fault { file: file.to_owned(), line, column, message, excerpt: String::new() }])
    }

    /// In the order of the file; what a file's defaults say for several topics is said once.
    fn sorted(mut faults: Vec<Fault>) -> Self {
        faults.sort_by(|a, b| (&a.file, a.line, a.column).cmp(&(&b.file, b.line, b.column)));
        faults.dedup();
        Self(faults)
    }
}

impl Fault {
    fn place(&self) -> (String, usize, usize) {
        (self.file.clone(), self.line, self.column)
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.line == 0 {
            write!(f, "{}: {}", self.file, self.message)
        } else {
            write!(f, "{}:{}:{}: {}", self.file, self.line, self.column, self.message)?;
            if self.excerpt.is_empty() {
                return Ok(());
            }
            // A tab before the place stays one, so that the caret stands under it whatever its width.
            let before = self.excerpt.chars().take(self.column.saturating_sub(1));
            let indent: String = before.map(|c| if c == '\t' { '\t' } else { ' ' }).collect();
            write!(f, "\n  | {}\n  | {indent}^", self.excerpt)
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
