//! The file's `views`: how each is written, and what it keeps.

use crate::core::plan::{FieldPath, Step, ViewPlan};
use crate::pipeline::columns::Columns;
use crate::pipeline::file::{bounded, sql};
use crate::pipeline::names::{NAME_ALLOWED, is_name, path};
use crate::pipeline::plan::of_event;
use crate::pipeline::section::{At, Faulty, Keys, Section, mapping};
use crate::pipeline::sql;
use crate::pipeline::yaml::{Node, Value, quote};

/// Of one pipeline; every event is put into every view.
const VIEWS_MAX: usize = 100;
/// Fields that a view keeps.
const LATEST_MAX: usize = 200;

const VIEW: Keys = Keys { section: "a view", known: &["key", "latest", "when", "history"], later: &[] };

#[derive(Debug)]
pub struct View {
    pub name: At<String>,
    /// None was noted.
    pub key: Option<At<FieldPath>>,
    pub latest: Vec<At<FieldPath>>,
    pub when: Option<At<String>>,
    pub history: bool,
}

pub fn views(node: &Node, faults: &mut Faulty) -> Vec<View> {
    let entries = mapping(node, "views: a mapping from a view's name to {key: FIELD, latest: [FIELD, …]}", faults);
    bounded(entries.len(), (0, VIEWS_MAX), "views", node, faults);
    let mut views = Vec::new();
    for (key, node) in entries {
        if !is_name(&key.name) {
            faults.note(key.place, format!("{} is no view's name: it is {NAME_ALLOWED}", quote(&key.name)));
        }
        let section = Section::read(node, &VIEW, faults);
        let of = match section.get("key") {
            Some(node) => path(node, faults),
            None => section.missing("key: FIELD", "is the field by whose values the latest are kept", faults),
        };
        let latest = match section.get("latest") {
            Some(node) => fields(node, faults),
            None => section.missing("latest: [FIELD, …]", "names the fields that are kept", faults),
        };
        views.push(View {
            name: At { place: key.place, it: key.name.clone() },
            key: of,
            latest,
            when: section.get("when").and_then(|node| sql(node, faults)),
            history: section.get("history").is_some_and(|node| truth(node, faults)),
        });
    }
    views
}

fn fields(node: &Node, faults: &mut Faulty) -> Vec<At<FieldPath>> {
    let Value::List(items) = &node.value else {
        let allowed = "a list of fields, such as [name, address.city]";
        faults.note(node.place, format!("latest: {} stands where {allowed} is allowed", node.value.describe()));
        return Vec::new();
    };
    bounded(items.len(), (1, LATEST_MAX), "fields in a view", node, faults);
    items.iter().filter_map(|item| path(item, faults)).collect()
}

fn truth(node: &Node, faults: &mut Faulty) -> bool {
    let Value::Bool(truth) = node.value else {
        faults.note(node.place, format!("history: {} stands where true or false is allowed", node.value.describe()));
        return false;
    };
    truth
}

/// Resolves a view; what is wrong is noted.
pub fn plan(pipeline: usize, view: &View, columns: &mut Columns, faults: &mut Faulty) -> Option<ViewPlan> {
    let key = view.key.as_ref()?;
    let column = match columns.group(&key.it) {
        Ok((column, _)) => Some(column),
        Err(why) => {
            faults.note(key.place, why.replacen("group", "key", 1));
            None
        }
    };
    let mut latest: Vec<(String, _)> = Vec::new();
    for field in &view.latest {
        let name = name_of(&field.it);
        if latest.iter().any(|(other, _)| *other == name) {
            faults.note(field.place, format!("latest: another field is called {} too", quote(&name)));
        }
        match columns.written(&field.it) {
            Ok(column) => latest.push((name, column)),
            Err(why) => faults.note(field.place, why),
        }
    }
    let when = view.when.as_ref().and_then(|text| match of_event(columns, |scope| sql::condition(&text.it, scope)) {
        Ok(condition) => Some(columns.of(condition)),
        Err(fault) => {
            faults.note_in(text, "when", &fault);
            None
        }
    });
    Some(ViewPlan { pipeline, name: view.name.it.clone(), key: column?, latest, when, history: view.history })
}

/// The last name of the path.
fn name_of(path: &FieldPath) -> String {
    match path.0.last() {
        Some(Step::Name(name)) => name.clone(),
        _ => path.to_string(),
    }
}
