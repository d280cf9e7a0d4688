//! Events with one mistake in them, each certainly invalid: for the dead letters.

use serde_json::Value;

use crate::generate::random::Random;
use crate::pipeline::Pipelines;

/// How deep a mistake may lie.
const DEPTH_MAX: u32 = 8;

/// Knows which lines a topic's schema refuses.
#[derive(Debug)]
pub struct Mistakes {
    /// In the order of the plan's topics.
    validators: Vec<jsonschema::Validator>,
}

impl Mistakes {
    /// # Errors
    /// If a topic's schema is none.
    pub fn new(pipeline: &Pipelines) -> Result<Self, String> {
        let validator = |text: &String| {
            let schema: Value = serde_json::from_str(text).map_err(|error| error.to_string())?;
            let options = jsonschema::draft202012::options().should_validate_formats(true);
            options.build(&schema).map_err(|error| error.to_string())
        };
        Ok(Self { validators: pipeline.schemas.iter().map(validator).collect::<Result<_, String>>()? })
    }

    /// Whether the topic's schema accepts the line.
    ///
    /// # Errors
    /// Where and why not.
    pub fn judge(&self, topic: usize, line: &[u8]) -> Result<(), String> {
        let event: Value = serde_json::from_slice(line).map_err(|error| error.to_string())?;
        let Some(validator) = self.validators.get(topic) else { panic!("topic {topic} is none of the plan's") };
        validator.validate(&event).map_err(|error| format!("{}: {error}", error.instance_path()))
    }

    /// Spoils the event that stands in `line[from..]`.
    pub fn make(&self, topic: usize, from: usize, line: &mut Vec<u8>, random: &mut Random) {
        let event = line.get(from..).and_then(|event| serde_json::from_slice::<Value>(event).ok());
        if let Some(mut event) = event.filter(|_| random.below(4) > 0) {
            spoil(&mut event, random, DEPTH_MAX);
            let spoiled = event.to_string().into_bytes();
            if self.judge(topic, &spoiled).is_err() {
                line.truncate(from);
                line.extend_from_slice(&spoiled);
                return;
            }
        }
        // What was to be a mistake is valid, or the turn is at this one: an object without its end is none.
        let length = line.len() - from;
        line.truncate(from + 1 + random.index(length - 1));
    }
}

/// Changes one member, at the top or below it.
fn spoil(event: &mut Value, random: &mut Random, depth: u32) {
    let Value::Object(members) = event else { return };
    let Some(name) = members.keys().nth(random.index(members.len().max(1))).cloned() else { return };
    match members.get_mut(&name) {
        Some(inner @ Value::Object(_)) if depth > 0 && random.below(3) > 0 => return spoil(inner, random, depth - 1),
        _ => {}
    }
    match random.below(4) {
        0 => {
            members.remove(&name);
        }
        1 => {
            let wrong = if members.get(&name).is_some_and(Value::is_string) {
                Value::from(12_345)
            } else {
                Value::from("text")
            };
            members.insert(name, wrong);
        }
        2 => {
            members.insert(name, Value::from("no such value"));
        }
        _ => {
            members.insert(format!("{name}_x"), Value::Null);
        }
    }
}
