//! `GET /openapi.json`: what the API is, as an OpenAPI 3.1 document. The calls are written by hand, in the YAML files beside this one, a file a subject; tests hold
//! them to what is served. `complete` adds what only a running job knows: its topics, names and routes.

mod complete;
mod schema;

use std::sync::{Arc, LazyLock, Mutex, PoisonError};

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use hyper::header::{ACCEPT, CONTENT_TYPE, HeaderMap, HeaderValue, VARY};
use hyper::{StatusCode, Uri};
use serde_json::{Map, Value, json};

use crate::pipeline::Pipelines;
use crate::web::Web;
use crate::web::params::Params;
use crate::web::pipelines::wants_yaml;
use crate::web::problem::Problem;
use crate::web::query::examples_of;

const FRAME: &str = include_str!("base.yaml");
const SUBJECTS: [&str; 6] = [
    include_str!("events.yaml"),
    include_str!("groups.yaml"),
    include_str!("results.yaml"),
    include_str!("mending.yaml"),
    include_str!("pipelines.yaml"),
    include_str!("job.yaml"),
];
/// By operation: the body of a request, and of answers by their status. Recorded from running jobs.
const EXAMPLES: &str = include_str!("examples.yaml");

/// What any call may be answered; the names are those of `components.responses`.
const ANY_CALL: [(&str, &str); 8] = [
    ("400", "BadRequest"),
    ("401", "Unauthorized"),
    ("403", "Forbidden"),
    ("417", "ExpectationFailed"),
    ("421", "Misdirected"),
    ("429", "TooManyRequests"),
    ("500", "Failed"),
    ("503", "Unavailable"),
];

const METHODS: [&str; 6] = ["get", "post", "put", "patch", "delete", "options"];

/// The document of the pipelines that hold, as JSON and as YAML.
#[derive(Default)]
pub(super) struct Made(Mutex<Option<(Arc<Pipelines>, Texts)>>);

#[derive(Clone)]
struct Texts {
    json: Arc<str>,
    yaml: Arc<str>,
}

pub(super) async fn document(State(web): State<Arc<Web>>, uri: Uri, headers: HeaderMap) -> Result<Response, Problem> {
    Params::none(&uri)?;
    let texts = web.openapi.texts(&web)?;
    let (kind, text) =
        if wants_yaml(&headers) { ("application/yaml", texts.yaml) } else { ("application/json", texts.json) };
    let headers = [(CONTENT_TYPE, HeaderValue::from_static(kind)), (VARY, HeaderValue::from(ACCEPT))];
    Ok((headers, text.to_string()).into_response())
}

impl Made {
    fn texts(&self, web: &Web) -> Result<Texts, Problem> {
        let now = web.pipelines();
        let mut made = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match &*made {
            Some((of, texts)) if Arc::ptr_eq(of, &now) => Ok(texts.clone()),
            _ => {
                let with_tokens = !web.app.http.tokens.is_empty();
                let document = complete::document(&now, &examples_of(web, &now), with_tokens);
                let yaml = serde_saphyr::to_string(&document).map_err(|error| {
                    let detail = format!("the document could not be written as YAML: {error}");
                    Problem::new(StatusCode::INTERNAL_SERVER_ERROR, detail)
                })?;
                let texts = Texts { json: document.to_string().into(), yaml: yaml.into() };
                *made = Some((now, texts.clone()));
                Ok(texts)
            }
        }
    }
}

/// The document of every job: the engine's own calls.
///
/// # Panics
/// If the files are no YAML, which tests would find.
#[must_use]
pub fn bare() -> &'static Value {
    static BARE: LazyLock<Value> = LazyLock::new(assembled);
    &BARE
}

fn assembled() -> Value {
    let mut document = read(FRAME);
    document["info"]["version"] = json!(env!("CARGO_PKG_VERSION"));
    document["paths"] = json!({});
    for part in SUBJECTS.map(read) {
        merge(&mut document["paths"], &part["paths"]);
        merge(&mut document["components"]["schemas"], &part["components"]["schemas"]);
    }
    let examples = read(EXAMPLES);
    for item in objects(&mut document["paths"]) {
        for method in METHODS {
            let Some(operation) = item.get_mut(method) else { continue };
            let name = operation["operationId"].as_str().unwrap_or_default().to_owned();
            give_examples(operation, &examples[name]);
            share_answers(operation);
        }
    }
    document
}

fn read(text: &str) -> Value {
    let options = serde_saphyr::options! { strict_booleans: true, with_snippet: false };
    let read = serde_saphyr::from_str_with_options(text, options);
    read.unwrap_or_else(|error| panic!("a part of the API's document is no YAML: {error}"))
}

fn merge(into: &mut Value, from: &Value) {
    let (Some(into), Some(from)) = (into.as_object_mut(), from.as_object()) else { return };
    into.extend(from.iter().map(|(name, value)| (name.clone(), value.clone())));
}

/// The values of an object that are objects.
fn objects(value: &mut Value) -> impl Iterator<Item = &mut Map<String, Value>> {
    value.as_object_mut().into_iter().flat_map(|object| object.values_mut().filter_map(Value::as_object_mut))
}

fn give_examples(operation: &mut Value, of: &Value) {
    let put = |place: Option<&mut Value>, example: Option<&Value>| {
        if let (Some(place), Some(example)) = (place, example) {
            place["example"] = example.clone();
        }
    };
    put(operation.pointer_mut("/requestBody/content/application~1json"), of.get("request"));
    for answer in operation["responses"].as_object_mut().into_iter().flat_map(Map::iter_mut) {
        put(answer.1.pointer_mut("/content/application~1json"), of.get(answer.0));
    }
}

/// Adds what is said of all calls at once. The probes answer whoever asks.
fn share_answers(operation: &mut Value) {
    let is_public = operation.get("security").is_some();
    let Some(answers) = operation["responses"].as_object_mut() else { return };
    for (status, name) in &ANY_CALL {
        let is_never = is_public && *status == "401";
        if !is_never {
            let answer = || json!({"$ref": format!("#/components/responses/{name}")});
            answers.entry(*status).or_insert_with(answer);
        }
    }
    answers.sort_keys();
}
