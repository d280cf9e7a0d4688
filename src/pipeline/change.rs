//! Changes of a job's pipelines, while it runs or when it starts: what may be changed, what kept state forbids, and what is begun anew where that is accepted.
//! `docs/semantics.md`, "Changes of pipelines".

mod compare;

use std::collections::{BTreeMap, BTreeSet};

use crate::core::units::Epoch;
use crate::pipeline::change::compare::{Compared, compare};
use crate::pipeline::file::File;
use crate::pipeline::section::Faulty;
use crate::pipeline::yaml::quote;
use crate::pipeline::{Bundle, Configuration, Fault, Faults, FileText, Pipelines, parse};

/// A change that can be made.
#[derive(Debug)]
pub struct Proposed {
    pub configuration: Configuration,
    pub pipelines: Pipelines,
    /// What it comes to, for people.
    pub changes: Vec<String>,
    /// There was no pipeline of this name.
    pub is_new: bool,
}

/// Why a change is not made.
#[derive(Debug, thiserror::Error)]
pub enum Refused {
    /// The files together would have faults.
    #[error("{0}")]
    Faults(Faults),
    /// Kept state would lose its meaning, or a part of the job cannot be changed while it runs.
    #[error("{}", .0.iter().map(Clash::to_string).collect::<Vec<_>>().join("; "))]
    Clashes(Vec<Clash>),
    #[error("there is no pipeline {0:?}")]
    Unknown(String),
    #[error("{0:?} is the job's last pipeline: a job without any has nothing to do; stop it instead")]
    Last(String),
}

/// One thing that cannot be changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Clash {
    /// Such as `window by_region of civic_safety`.
    pub what: String,
    pub reason: String,
    pub way_out: String,
    pub cure: Cure,
}

/// What a start with `--accept-changes` makes of a clash.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Cure {
    /// These pipelines begin anew.
    Anew(BTreeSet<String>),
    /// Nothing more: what is made when the job starts is made as the file says now.
    Start,
    /// There is none.
    None,
}

/// What a start makes of files that are not those that it was started with before.
#[derive(Debug)]
pub struct Accepted {
    pub configuration: Configuration,
    pub pipelines: Pipelines,
    /// What it comes to, for people.
    pub changes: Vec<String>,
    /// What kept state forbids, and is left behind; the pipelines that begin anew by it.
    pub clashes: Vec<Clash>,
    pub anew: BTreeSet<String>,
}

impl std::fmt::Display for Clash {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: {}; {}", self.what, self.reason, self.way_out)
    }
}

/// Puts this file in the place of the one of the same pipeline, or beside the others. `schema` gives the text of a schema by the path that the file
/// writes; what it does not have is taken from the files that are there.
///
/// # Errors
/// As `Refused` says.
pub fn put(
    now: &Configuration,
    name: &str,
    text: &str,
    schema: impl Fn(&str) -> Option<String>,
) -> Result<Proposed, Refused> {
    let known = |path: &str| {
        let own = now.bundle.0.iter().filter(|file| pipeline_of(file).as_deref() == Some(name));
        let mut schemas = own.chain(&now.bundle.0).flat_map(|file| &file.schemas);
        schemas.find(|(other, _)| other == path).map(|(_, text)| text.clone())
    };
    let file = given(name, text, |path| schema(path).or_else(|| known(path))).map_err(Refused::Faults)?;
    let mut files: BTreeMap<String, FileText> = by_name(&now.bundle);
    let is_new = files.insert(name.to_owned(), file).is_none();
    propose(now, Bundle(files.into_values().collect()), is_new)
}

/// What holds after the epoch if these files are accepted at a start: each that is not the one that its pipeline was started with before; those that people brought
/// or changed while the job ran stay as they are. Pipelines whose kept state would lose its meaning begin anew.
///
/// # Errors
/// As `Refused` says: clashes that beginning anew does not cure.
pub fn accept(now: &Configuration, given: &Bundle, after: Epoch) -> Result<Accepted, Refused> {
    let (mut files, mut given) = (by_name(&now.bundle), by_name(given));
    let begun: BTreeMap<String, String> =
        given.iter().map(|(name, file)| (name.clone(), Bundle(vec![file.clone()]).id())).collect();
    files.retain(|name, _| begun.contains_key(name) || !now.begun.contains_key(name));
    given.retain(|name, _| begun.get(name) != now.begun.get(name));
    files.extend(given);
    if files.is_empty() {
        return Err(Refused::Last(now.begun.keys().next().cloned().unwrap_or_default()));
    }
    let bundle = Bundle(files.into_values().collect());
    let next = Configuration { bundle, begun, replayed: None, ..now.clone() };
    let Compared { mut configuration, mut pipelines, clashes, changes } = compare(now, next)?;
    let (cured, refused): (Vec<Clash>, Vec<Clash>) = clashes.into_iter().partition(|it| it.cure != Cure::None);
    if !refused.is_empty() {
        return Err(Refused::Clashes(refused));
    }
    let of_clash = |clash: &Clash| if let Cure::Anew(names) = &clash.cure { names.clone() } else { BTreeSet::new() };
    let anew: BTreeSet<String> = cured.iter().flat_map(of_clash).collect();
    if !anew.is_empty() {
        for name in &anew {
            configuration.lives.begin(name, after);
        }
        pipelines = configuration.pipelines().map_err(Refused::Faults)?;
    }
    Ok(Accepted { configuration, pipelines, changes, clashes: cured, anew })
}

/// Takes the pipeline of this name away.
///
/// # Errors
/// As `Refused` says.
pub fn delete(now: &Configuration, name: &str) -> Result<Proposed, Refused> {
    let mut files = by_name(&now.bundle);
    if files.remove(name).is_none() {
        return Err(Refused::Unknown(name.to_owned()));
    }
    if files.is_empty() {
        return Err(Refused::Last(name.to_owned()));
    }
    propose(now, Bundle(files.into_values().collect()), false).map_err(|refused| match refused {
        // The files that are left are as they were: what is wrong with them now is that this one is gone.
        Refused::Faults(Faults(faults)) => {
            Refused::Clashes(faults.into_iter().map(|fault| missed(name, fault)).collect())
        }
        other => other,
    })
}

/// What another file says that means nothing without the pipeline of this name.
fn missed(name: &str, fault: Fault) -> Clash {
    let what = if fault.line == 0 { fault.file } else { format!("{}, line {}", fault.file, fault.line) };
    let way_out = format!("change or delete first what needs the pipeline {name}");
    Clash { what, reason: fault.message, way_out, cure: Cure::None }
}

/// The name that the file gives its pipeline.
#[must_use]
pub fn pipeline_of(file: &FileText) -> Option<String> {
    let root = parse(&file.file, &file.text).ok()?;
    Some(File::read(&root, &mut Faulty::new(&file.file, &file.text)).pipeline.it)
}

fn by_name(bundle: &Bundle) -> BTreeMap<String, FileText> {
    bundle.0.iter().filter_map(|file| Some((pipeline_of(file)?, file.clone()))).collect()
}

/// A file that comes without a folder: of the schemas those that it names.
fn given(name: &str, text: &str, schema: impl Fn(&str) -> Option<String>) -> Result<FileText, Faults> {
    let file = format!("{name}.yaml");
    let root = parse(&file, text)?;
    let mut faults = Faulty::new(&file, text);
    let read = File::read(&root, &mut faults);
    if read.pipeline.it != name {
        let message =
            format!("pipeline: it is called {} here, and {} in the address", quote(&read.pipeline.it), quote(name));
        faults.note(read.pipeline.place, message);
    }
    let mut schemas = BTreeMap::new();
    for path in read.topics.iter().filter_map(|topic| topic.described.as_ref()?.schema.as_ref()) {
        match schema(&path.it) {
            Some(text) => drop(schemas.insert(path.it.clone(), text)),
            None => faults.note(
                path.place,
                format!("schema: the text of {} is not there: send it along under \"schemas\"", quote(&path.it)),
            ),
        }
    }
    if !faults.found.is_empty() {
        return Err(Faults::sorted(faults.found));
    }
    Ok(FileText { file, text: text.to_owned(), schemas: schemas.into_iter().collect() })
}

fn propose(now: &Configuration, bundle: Bundle, is_new: bool) -> Result<Proposed, Refused> {
    let next = Configuration { bundle, replayed: None, ..now.clone() };
    let Compared { configuration, pipelines, clashes, changes } = compare(now, next)?;
    if !clashes.is_empty() {
        return Err(Refused::Clashes(clashes));
    }
    Ok(Proposed { configuration, pipelines, changes, is_new })
}

impl Refused {
    /// The faults, where it has some.
    #[must_use]
    pub fn faults(&self) -> &[Fault] {
        if let Self::Faults(Faults(faults)) = self { faults } else { &[] }
    }
}
