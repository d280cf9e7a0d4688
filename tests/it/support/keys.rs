//! What the pipeline file knows, read from where it is declared: so a key that is added to the reader is asked for everywhere else.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::PathBuf;

use regex::Regex;

use super::job::root;

/// The `Keys` constants of `src/pipeline`: section as messages call it, and its keys.
pub fn sections() -> BTreeMap<String, BTreeSet<String>> {
    let declared = Regex::new(r#"(?s): Keys =\s+Keys \{\s*section: "([^"]+)",\s*known: &\[(.*?)\]"#).unwrap();
    let word = Regex::new(r#""([^"]+)""#).unwrap();
    let mut sections: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for file in sources(root().join("src/pipeline")) {
        let text = fs::read_to_string(&file).unwrap();
        let read: Vec<_> = declared.captures_iter(&text).collect();
        let there = text.matches(": Keys =").count();
        assert_eq!(
            read.len(),
            there,
            "{}: a section's keys are declared in a way that this cannot read",
            file.display()
        );
        for section in read {
            let keys = word.captures_iter(&section[2]).map(|key| key[1].to_owned());
            sections.entry(section[1].to_owned()).or_default().extend(keys);
        }
    }
    sections
}

fn sources(folder: PathBuf) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(sources(path));
        } else {
            found.push(path);
        }
    }
    found
}

/// Every pipeline file of the repository: those of the shipped applications and those that only tests use.
pub fn pipeline_files() -> Vec<PathBuf> {
    let mut files = Vec::new();
    for folder in ["pipelines", "tests/pipelines"] {
        let folders = fs::read_dir(root().join(folder)).unwrap().map(|entry| entry.unwrap().path());
        files.extend(folders.map(|folder| folder.join("pipeline.yaml")).filter(|file| file.exists()));
    }
    files.sort();
    assert!(files.len() >= 3, "{files:?}");
    files
}
