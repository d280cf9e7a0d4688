//! Names as pipeline files write them: of pipelines and what is in them, of topics, of fields by their paths, of files beside the pipeline file.

use std::path::{Component, Path};

use crate::core::plan::{FieldPath, Step};
use crate::pipeline::section::{At, Faulty, text};
use crate::pipeline::yaml::{Node, Place, quote};

/// An item of an array that is read by its number; the items before it are looked at one by one.
pub(super) const ITEM_MAX: u32 = 255;
/// PostgreSQL cuts longer names.
pub const NAME_BYTES_MAX: usize = 63;
/// Of a topic's name; it stands in addresses.
const TOPIC_BYTES_MAX: usize = 200;
/// Steps of a path.
pub(super) const PATH_PARTS_MAX: usize = 16;
/// One name of a path.
const PATH_PART_BYTES_MAX: usize = 100;

pub(super) const NAME_ALLOWED: &str = "a small letter, then small letters, digits and _, at most 63 in all";
const TOPIC_ALLOWED: &str = "a small letter or digit, then small letters, digits, '.', '_' and '-', at most 200 in all";
const PATH_ALLOWED: &str = "names joined by dots, such as payload.age, or values[0] for an item of an array";

pub(super) fn topic_name(name: &str, place: Place, faults: &mut Faulty) -> At<String> {
    if !is_topic_name(name) {
        faults.note(place, format!("{} is no topic's name: it is {TOPIC_ALLOWED}", quote(name)));
    }
    At { place, it: name.to_owned() }
}

pub(super) fn name(node: &Node, what: &str, faults: &mut Faulty) -> Option<String> {
    let written = text(node, &format!("a name: {NAME_ALLOWED}"), faults)?;
    if is_name(written) {
        return Some(written.to_owned());
    }
    faults.note(node.place, format!("{what}: {} is no name: it is {NAME_ALLOWED}", quote(written)));
    None
}

pub(super) fn is_name(text: &str) -> bool {
    text.len() <= NAME_BYTES_MAX
        && text.starts_with(|c: char| c.is_ascii_lowercase())
        && text.chars().all(|c| matches!(c, 'a'..='z' | '0'..='9' | '_'))
}

fn is_topic_name(text: &str) -> bool {
    text.len() <= TOPIC_BYTES_MAX
        && text.starts_with(|c: char| c.is_ascii_lowercase() || c.is_ascii_digit())
        && text.chars().all(|c| matches!(c, 'a'..='z' | '0'..='9' | '.' | '_' | '-'))
}

pub(super) fn top_level_name(key: &str, node: &Node, faults: &mut Faulty) -> Option<At<String>> {
    let path = path(node, faults)?;
    if let [Step::Name(name)] = path.it.0.as_slice() {
        return Some(At { place: node.place, it: name.clone() });
    }
    faults.note(node.place, format!("{key}: a name at the top of the event is allowed, no path"));
    None
}

pub(super) fn path(node: &Node, faults: &mut Faulty) -> Option<At<FieldPath>> {
    let written = text(node, PATH_ALLOWED, faults)?;
    if let Some(it) = path_of(written) {
        return Some(At { place: node.place, it });
    }
    faults.note(node.place, format!("{} is no field: it is {PATH_ALLOWED}", quote(written)));
    None
}

/// Names, and numbers of items in brackets. The names become column names and parts of messages: quotes, blanks and what is invisible are kept out.
pub(super) fn path_of(written: &str) -> Option<FieldPath> {
    let plain = |c: char| c.is_alphanumeric() || matches!(c, '_' | '-' | '@' | '$' | '#' | '/' | ':');
    let is_name = |name: &str| !name.is_empty() && name.len() <= PATH_PART_BYTES_MAX && name.chars().all(plain);
    let mut steps = Vec::new();
    for part in written.split('.') {
        let (name, items) = part.split_once('[').map_or((part, None), |(name, items)| (name, Some(items)));
        if !is_name(name) {
            return None;
        }
        steps.push(Step::Name(name.to_owned()));
        // `values[0][1]`: what stands between the first bracket and the last.
        for item in
            items.map(|items| items.strip_suffix(']')).into_iter().flat_map(|items| items.unwrap_or("").split("]["))
        {
            let number = item.bytes().all(|b| b.is_ascii_digit()).then(|| item.parse().ok())?;
            steps.push(Step::Item(number.filter(|number| *number <= ITEM_MAX)?));
        }
    }
    (steps.len() <= PATH_PARTS_MAX).then_some(FieldPath(steps))
}

/// A path that stays in the pipeline file's directory.
pub(super) fn schema_path(node: &Node, faults: &mut Faulty) -> Option<At<String>> {
    let allowed = "a file beside the pipeline file or below it, such as schemas/order.json";
    let written = text(node, allowed, faults)?;
    if stays_inside(written) {
        return Some(At { place: node.place, it: written.to_owned() });
    }
    faults.note(node.place, format!("schema: {} is not allowed; it is {allowed}", quote(written)));
    None
}

pub(super) fn stays_inside(path: &str) -> bool {
    let parts = Path::new(path).components();
    !path.is_empty()
        && !path.contains(['\0', '\\'])
        && parts.into_iter().all(|p| matches!(p, Component::Normal(_) | Component::CurDir))
}
