//! Every answer that a test gets is held to the API's document: its status, its media type, and what JSON it has.

use std::collections::HashMap;
use std::sync::{Arc, LazyLock, Mutex};

use caudal::web::openapi;
use jsonschema::{Draft, Validator};
use serde_json::{Map, Value, json};

/// What a request was answered.
#[derive(Clone, Copy, Debug)]
pub struct Answered<'a> {
    pub method: &'a str,
    /// With its query.
    pub path: &'a str,
    pub status: u16,
    pub media_type: Option<&'a str>,
    pub body: &'a str,
}

/// Statuses of what is no call of this API: the path, the method, who asks, under which Host.
const NO_CALL: [u16; 9] = [400, 401, 403, 404, 405, 417, 421, 429, 503];
/// The page's files are no part of the API.
const PAGE: [&str; 2] = ["/", "/favicon.svg"];

/// Panics where the document says otherwise. `running` gives the running job's document: only that knows the routes of pipeline files.
pub fn check(answered: &Answered, running: impl FnOnce() -> Option<Value>) {
    let path = answered.path.split(['?', '#']).next().unwrap_or_default();
    if answered.status == 0 || PAGE.contains(&path) || path.starts_with("/assets/") {
        return;
    }
    let is_found = |document: &Value| find(document, answered.method, path).is_some();
    let complete;
    let document = if is_found(openapi::bare()) {
        openapi::bare()
    } else {
        complete = if NO_CALL.contains(&answered.status) { None } else { running() };
        complete.as_ref().unwrap_or(openapi::bare())
    };
    let wrong = match find(document, answered.method, path) {
        Some((place, operation)) => of_operation(document, &place, operation, answered),
        None => of_no_call(answered),
    };
    if let Err(why) = wrong {
        let body: String = answered.body.chars().take(2_000).collect();
        panic!(
            "{} {} was answered {} ({:?}), and the API's document says otherwise: {why}\n{body}",
            answered.method, answered.path, answered.status, answered.media_type
        );
    }
}

/// The operation of a request, and its place; of two paths that fit, the one that leaves less open.
pub fn find<'d>(document: &'d Value, method: &str, path: &str) -> Option<(String, &'d Value)> {
    let method = if method == "HEAD" { "get".to_owned() } else { method.to_ascii_lowercase() };
    let segments: Vec<&str> = path.split('/').collect();
    let fits = |template: &str| {
        let parts: Vec<&str> = template.split('/').collect();
        let fit =
            |(part, segment): (&&str, &&str)| if part.starts_with('{') { !segment.is_empty() } else { part == segment };
        parts.len() == segments.len() && parts.iter().zip(&segments).all(fit)
    };
    let all = document["paths"].as_object()?.iter().filter(|(template, _)| fits(template));
    let (template, item) = all.min_by_key(|(template, _)| template.matches('{').count())?;
    Some((format!("{method} {template}"), item.get(&method)?))
}

fn of_no_call(answered: &Answered) -> Result<(), String> {
    if !NO_CALL.contains(&answered.status) {
        return Err("it has no such call".to_owned());
    }
    if answered.method == "HEAD" {
        return Ok(());
    }
    of_media(openapi::bare(), "Problem", answered, &problem())
}

fn problem() -> Map<String, Value> {
    let media = json!({"application/problem+json": {"schema": {"$ref": "#/components/schemas/Problem"}}});
    media.as_object().cloned().unwrap_or_default()
}

fn of_operation(document: &Value, place: &str, operation: &Value, answered: &Answered) -> Result<(), String> {
    if answered.status == 405 {
        return of_no_call(answered);
    }
    let status = answered.status.to_string();
    let Some(mut answer) = operation["responses"].get(&status) else {
        return Err(format!("{place} is never answered {status}"));
    };
    if let Some(reference) = answer["$ref"].as_str() {
        answer = document.pointer(&reference[1..]).ok_or_else(|| format!("{reference} leads nowhere"))?;
    }
    let none = Map::new();
    let content = answer["content"].as_object().unwrap_or(&none);
    // Such an answer has no body.
    if answered.method == "HEAD" || (content.is_empty() && answered.media_type.is_none() && answered.body.is_empty()) {
        return Ok(());
    }
    of_media(document, &format!("{place} {status}"), answered, content)
}

fn of_media(document: &Value, place: &str, answered: &Answered, content: &Map<String, Value>) -> Result<(), String> {
    let Some(kind) = answered.media_type else { return Err("the answer has no Content-Type".to_owned()) };
    let kind = kind.split(';').next().unwrap_or_default().trim();
    let Some(media) = content.get(kind) else { return Err(format!("{place} is not of {kind}")) };
    if !kind.ends_with("json") {
        return Ok(());
    }
    let body: Value = serde_json::from_str(answered.body).map_err(|error| format!("the body is no JSON: {error}"))?;
    let errors: Vec<String> = validator(document, &format!("{place} {kind}"), &media["schema"])
        .iter_errors(&body)
        .take(5)
        .map(|error| format!("{}: {error}", error.instance_path()))
        .collect();
    if errors.is_empty() { Ok(()) } else { Err(errors.join("\n")) }
}

/// A validator for a schema of the document; those of the engine's own calls are made once.
fn validator(document: &Value, place: &str, schema: &Value) -> Arc<Validator> {
    static MADE: LazyLock<Mutex<HashMap<String, Arc<Validator>>>> = LazyLock::new(Mutex::default);
    let is_own = std::ptr::eq(document, openapi::bare());
    let mut made = MADE.lock().expect("no test failed in here");
    if let Some(validator) = made.get(place).filter(|_| is_own) {
        return Arc::clone(validator);
    }
    let validator = Arc::new(compiled(document, schema));
    if is_own {
        made.insert(place.to_owned(), Arc::clone(&validator));
    }
    validator
}

/// A validator for a schema that refers to parts of the document.
pub fn compiled(document: &Value, schema: &Value) -> Validator {
    let mut whole = schema.clone();
    whole["components"] = document["components"].clone();
    jsonschema::options()
        .with_draft(Draft::Draft202012)
        .should_validate_formats(true)
        .build(&whole)
        .unwrap_or_else(|error| panic!("{}: {error}: {schema}", error.instance_path()))
}
