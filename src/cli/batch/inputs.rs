//! Which files a batch reads.

use std::path::Path;

use crate::cli::exit::{Exit, Failure, OrExit};
use crate::core::plan::Plan;
use crate::core::units::TopicId;
use crate::input::{Format, Input, Kind};

/// What `--format` may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum FormatName {
    Ndjson,
    /// What `caudal export` wrote.
    Events,
    Csv,
    Tsv,
    Parquet,
}

impl FormatName {
    fn format(self) -> Format {
        match self {
            Self::Ndjson => Format::Lines,
            Self::Events => Format::Export,
            Self::Csv => Format::Csv { delimiter: b',' },
            Self::Tsv => Format::Csv { delimiter: b'\t' },
            Self::Parquet => Format::Parquet,
        }
    }
}

/// The topic of this name.
///
/// # Errors
/// 2 if the pipelines have no such topic that takes events.
pub fn topic(plan: &Plan, name: &str) -> Result<TopicId, Failure> {
    plan.topic_from_outside(name).map_err(|why| format!("--topic: {why}")).or_exit(Exit::Usage)
}

/// The files that the patterns name, in their order.
///
/// # Errors
/// 2 for a pattern that is none or a name that does not say what is in the file; 65 for one that names no file, or a file that is not to be read.
pub fn inputs(patterns: &[String], topic: Option<TopicId>, format: Option<FormatName>) -> Result<Vec<Input>, Failure> {
    let mut inputs = Vec::new();
    for pattern in patterns {
        let paths = glob::glob(pattern).map_err(|e| format!("--input {pattern}: {e}")).or_exit(Exit::Usage)?;
        let before = inputs.len();
        for path in paths {
            let path = path.or_exit(Exit::Input)?;
            if path.is_dir() {
                continue;
            }
            let kind = Kind::of(&path, format.map(FormatName::format)).or_exit(Exit::Usage)?;
            if topic.is_some() && kind.format == Format::Export {
                let why = format!("--topic: {} is an export, whose events have topics", path.display());
                return Err(Failure::new(Exit::Usage, why));
            }
            inputs.push(Input::of(&absolute(&path)?, topic, kind).or_exit(Exit::Input)?);
        }
        if inputs.len() == before {
            return Err(Failure::new(Exit::Input, format!("--input {pattern}: there is no file of this name")));
        }
    }
    Ok(inputs)
}

/// Workers may have another working directory.
fn absolute(path: &Path) -> Result<String, Failure> {
    let found = std::fs::canonicalize(path).map_err(|e| format!("{}: {e}", path.display())).or_exit(Exit::Input)?;
    let text = found.into_os_string().into_string();
    text.map_err(|p| format!("{}: not a UTF-8 name", p.display())).or_exit(Exit::Input)
}
