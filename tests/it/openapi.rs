//! The API's document: every call that is served stands in it and no other, its examples are of its schemas, the specification's own validator takes it, and
//! schemathesis finds nothing in a running job that it does not say. (That every answer of every other test is as it says is held by `support::contract`.)

use std::collections::BTreeSet;
use std::fs;
use std::process::Command;
use std::sync::Arc;

use caudal::pipeline::running::InForce;
use caudal::pipeline::{Bundle, Configuration};
use caudal::web::openapi;
use serde_json::{Value, json};

use crate::http_unit::{Server, Setup};
use crate::support::contract::compiled;
use crate::support::job::{Job, Setup as SetupOfJob, root};
use crate::support::python::program;

const METHODS: [&str; 6] = ["get", "post", "put", "patch", "delete", "options"];

/// Each operation of a document: its method, its path, itself.
fn operations(document: &Value) -> Vec<(&str, &str, &Value)> {
    let paths = document["paths"].as_object().unwrap().iter();
    paths
        .flat_map(|(path, item)| {
            METHODS.into_iter().filter_map(move |method| Some((method, path.as_str(), item.get(method)?)))
        })
        .collect()
}

/// The router's table, read out of its source: (method, path) of every call but the page's files.
fn served() -> BTreeSet<(String, String)> {
    let source = fs::read_to_string(root().join("src/web/mod.rs")).unwrap();
    let mut served = BTreeSet::new();
    for route in source.split(".route(").skip(1) {
        let (path, methods) = route.trim_start().trim_start_matches('"').split_once("\",").unwrap();
        let methods = methods.split(".route(").next().unwrap().split(".fallback(").next().unwrap();
        for method in METHODS {
            for (at, _) in methods.match_indices(&format!("{method}(")) {
                let is_word = methods[..at].ends_with([' ', '.', '\n', '(']);
                let handler = &methods[at + method.len() + 1..];
                if is_word && !handler.starts_with("page::") {
                    served.insert((method.to_owned(), path.to_owned()));
                }
            }
        }
    }
    assert!(served.len() > 40, "{served:?}");
    served
}

#[test]
fn every_call_is_described_and_no_other() {
    let described: BTreeSet<(String, String)> = operations(openapi::bare())
        .iter()
        .map(|(method, path, _)| ((*method).to_owned(), (*path).to_owned()))
        .collect();
    let served = served();
    let missing: Vec<_> = served.difference(&described).collect();
    let invented: Vec<_> = described.difference(&served).collect();
    assert!(missing.is_empty() && invented.is_empty(), "not described: {missing:?}; not served: {invented:?}");
}

#[test]
fn every_operation_says_what_a_reader_needs() {
    let document = openapi::bare();
    let tags: Vec<&Value> = document["tags"].as_array().unwrap().iter().map(|tag| &tag["name"]).collect();
    let mut ids = BTreeSet::new();
    for (method, path, operation) in operations(document) {
        let place = format!("{method} {path}");
        for name in ["operationId", "summary", "description"] {
            assert!(operation[name].as_str().is_some_and(|text| !text.is_empty()), "{place}: no {name}");
        }
        assert!(ids.insert(operation["operationId"].as_str().unwrap()), "{place}: its operationId is another's");
        let own = operation["tags"].as_array().unwrap();
        assert!(own.len() == 1 && tags.contains(&&own[0]), "{place}: {own:?}");
        let answers = operation["responses"].as_object().unwrap();
        for (status, answer) in answers {
            let answer = answer["$ref"].as_str().map_or(answer, |to| document.pointer(&to[1..]).unwrap());
            let is_error = status.starts_with(['4', '5']);
            assert!(answer["description"].as_str().is_some(), "{place} {status}");
            let problem =
                answer["content"].as_object().is_some_and(|kinds| kinds.keys().eq(["application/problem+json"]));
            assert_eq!(is_error, problem, "{place} {status}: an error is a problem, and nothing else is");
        }
        assert!(answers.keys().any(|status| status.starts_with('2')), "{place}");
    }
}

/// What of an operation has both a schema and an example: where it stands, the schema, the example.
fn examples<'d>(place: &str, operation: &'d Value) -> Vec<(String, &'d Value, &'d Value)> {
    let answers = operation["responses"].as_object().unwrap().iter();
    let answers = answers.map(|(status, answer)| (status.as_str(), answer));
    answers
        .chain([("request", &operation["requestBody"])])
        .filter_map(|(of, holder)| {
            let media = &holder["content"]["application/json"];
            Some((format!("{place}, {of}"), media.get("schema")?, media.get("example")?))
        })
        .collect()
}

fn assert_examples(document: &Value, whose: &str) -> usize {
    let mut seen = 0;
    for (method, path, operation) in operations(document) {
        for (place, schema, example) in examples(&format!("{whose}{method} {path}"), operation) {
            let errors: Vec<String> = compiled(document, schema)
                .iter_errors(example)
                .map(|error| format!("{}: {error}", error.instance_path()))
                .collect();
            assert!(errors.is_empty(), "{place}: the example is not of its schema: {errors:?}\n{example}");
            seen += 1;
        }
    }
    seen
}

#[test]
fn examples_are_of_their_schemas() {
    let document = openapi::bare();
    assert_examples(document, "");
    // Every request that has a body, and every answer that has one of JSON, has an example.
    for (method, path, operation) in operations(document) {
        let answers = operation["responses"].as_object().unwrap().iter();
        for (of, holder) in answers.map(|(of, it)| (of.as_str(), it)).chain([("request", &operation["requestBody"])]) {
            let media = &holder["content"]["application/json"];
            assert!(
                media.is_null() || media.get("example").is_some() || path == "/openapi.json",
                "{method} {path}: {of} has no example"
            );
        }
    }
}

/// Folders of pipelines: those that are shipped, and the one that uses every key.
fn applications() -> Vec<String> {
    let shipped = fs::read_dir(root().join("pipelines")).unwrap();
    let shipped = shipped.map(|entry| format!("pipelines/{}", entry.unwrap().file_name().to_str().unwrap()));
    shipped.chain(["tests/pipelines/every_key".to_owned()]).collect()
}

/// What a job of this folder's pipeline answers.
fn document_of(folder: &str) -> Value {
    let server = Server::start(Setup { pipeline: folder.to_owned().leak(), ..Setup::default() });
    let answer = server.get("/openapi.json");
    assert_eq!((answer.status, answer.header("content-type")), (200, Some("application/json")), "{folder}");
    let document = answer.json();
    let yaml = server.call("GET", "/openapi.json", &[("Accept", "application/yaml")], b"");
    assert_eq!((yaml.status, yaml.header("content-type")), (200, Some("application/yaml")), "{folder}");
    let read: Value = serde_saphyr::from_str(&yaml.body).unwrap();
    assert!(read == document, "{folder}: the YAML says something else");
    document
}

/// The specification's own validator is asked of each job, and an event of each topic is of the schema that the document has for it.
#[test]
fn each_application_has_a_valid_document() {
    let folder = tempfile::tempdir().unwrap();
    let mut files = Vec::new();
    for application in applications() {
        let document = document_of(&application);
        assert!(assert_examples(&document, &format!("{application}: ")) > 40, "{application}");
        let mut ids = BTreeSet::new();
        for (method, path, operation) in operations(&document) {
            assert!(ids.insert(operation["operationId"].as_str().unwrap()), "{application}: {method} {path}");
        }
        let topics =
            Server::start(Setup { pipeline: application.clone().leak(), ..Setup::default() }).get("/topics").json();
        for topic in topics["topics"].as_array().unwrap() {
            let name = topic["name"].as_str().unwrap();
            let schema = json!({"$ref": format!("#/components/schemas/topic.{name}")});
            let validator = compiled(&document, &schema);
            // The job makes the events of some itself.
            let made = topic["example"].is_null() && topic["emitted_by"].is_string();
            assert!(made || validator.is_valid(&topic["example"]), "{application}: {name}");
            assert!(!validator.is_valid(&json!([])), "{application}: {name} takes an array");
        }
        let file = folder.path().join(format!("{}.json", application.replace('/', "_")));
        fs::write(&file, document.to_string()).unwrap();
        files.push(file);
    }
    let validator = program("openapi-spec-validator");
    let output = Command::new(validator).args(["--schema", "3.1"]).args(&files).output().unwrap();
    assert!(output.status.success(), "{}{}", text(&output.stdout), text(&output.stderr));
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[test]
fn a_job_s_document_says_what_only_it_knows() {
    let document = document_of("pipelines/prescriptions");
    let ids: BTreeSet<&str> =
        operations(&document).iter().map(|(_, _, operation)| operation["operationId"].as_str().unwrap()).collect();
    for id in [
        "send_prescription_written",
        "read_prescription_edited",
        "put_prescriptions_key",
        "get_prescriptions_key_history",
    ] {
        assert!(ids.contains(id), "{id}: {ids:?}");
    }
    let parameters = &document["components"]["parameters"];
    assert_eq!(parameters["Topic"]["schema"]["enum"], json!(["prescription.edited", "prescription.written"]));
    assert_eq!(parameters["View"]["schema"]["enum"], json!(["current"]));
    // The path says the key, and the route fills the rest: neither is asked for.
    let put = &document["paths"]["/prescriptions/{key}"]["put"];
    let body = &put["requestBody"]["content"]["application/json"]["schema"];
    let asked = body["required"].as_array().unwrap();
    for filled in ["event_id", "at", "prescription_id"] {
        assert!(!asked.contains(&json!(filled)), "{filled}: {asked:?}");
    }
    assert!(body["properties"].get("prescription_id").is_none(), "{body}");
    let filled = &put["responses"]["202"]["content"]["application/json"]["schema"]["properties"]["filled"];
    assert_eq!(filled["required"], json!(["at", "event_id", "prescription_id"]));
    assert!(document.get("security").is_none(), "it has no tokens");

    let civic = document_of("pipelines/civic_safety");
    let parameters = civic["paths"]["/counts"]["get"]["parameters"].as_array().unwrap();
    let names: Vec<&str> = parameters.iter().map(|parameter| parameter["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["from", "to", "closed", "limit", "after", "group.region", "group.source"]);
    let list = &civic["paths"]["/surges"]["get"]["responses"]["200"]["content"]["application/json"]["schema"];
    assert_eq!(list["required"], json!(["regions"]));
}

/// A document is of the pipelines of the moment, and asks for a token where the job does.
#[test]
fn the_document_is_of_the_moment_and_behind_the_token() {
    let server = Server::start(Setup { tokens: vec!["sesame-open"], ..Setup::default() });
    server.get("/openapi.json").assert_problem(401, "API_TOKENS");
    let with = [("Authorization", "Bearer sesame-open")];
    let document = server.call("GET", "/openapi.json", &with, b"").json();
    assert_eq!(document["security"], json!([{"token": []}]));
    assert_eq!(document["paths"]["/healthz"]["get"]["security"], json!([]));
    assert!(document["paths"].get("/publish").is_none());
    let folder = root().join("pipelines/user_activity/pipeline.yaml");
    let (configuration, pipelines) = Configuration::begin(Bundle::read(&[folder]).unwrap()).unwrap();
    server.app.running.set(Arc::new(InForce::new(configuration, pipelines)));
    let document = server.call("GET", "/openapi.json", &with, b"").json();
    assert!(document["paths"].get("/publish").is_some());
    // What a route answers is held to the document of the moment.
    assert_eq!(server.call("POST", "/publish", &with, b"{}").status, 202);
}

/// Schemathesis makes requests of what the document says, right ones and wrong ones, and holds every answer to it. What is excepted, and why, stands in
/// `tests/python/schemathesis.toml`.
#[test]
fn schemathesis_finds_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let pipeline = root().join("pipelines/login_guard/pipeline.yaml");
    let setup = SetupOfJob::new(2, dir.path()).with("PIPELINES", pipeline.to_str().unwrap()).with("API_TOKENS", TOKEN);
    let job = Job::start_in(dir, setup);
    feed(&job);
    let folder = root().join("tests/python");
    let output = Command::new("timeout")
        .args(["--kill-after", "5", SCHEMATHESIS_MAX])
        .arg(program("schemathesis"))
        .arg("--config-file")
        .arg(folder.join("schemathesis.toml"))
        .args(["run", "--no-color", "--header"])
        .arg(format!("Authorization: Bearer {TOKEN}"))
        .arg(format!("{}/openapi.json", job.client.base))
        .env("PYTHONPATH", &folder)
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .current_dir(job.dir.path())
        .output()
        .unwrap();
    let said = text(&output.stdout);
    assert!(output.status.success(), "{:?}\n{said}{}", output.status, text(&output.stderr));
    assert!(job.is_ready(), "the job is not well: {}", job.output());
    let (_, _, status) = job.stop();
    assert!(status.success(), "{status}");
}

const TOKEN: &str = "a-token-of-the-test";
/// Far more than it takes on a machine that does nothing else.
const SCHEMATHESIS_MAX: &str = "400";

/// Something of what can be asked for: events of each topic that are taken, one that is refused, an alert, a group.
fn feed(job: &Job) {
    let agent: ureq::Agent = ureq::Agent::config_builder().http_status_as_error(false).build().into();
    let bearer = format!("Bearer {TOKEN}");
    let url = |path: &str| format!("{}{path}", job.client.base);
    let get = |path: &str| -> Value {
        agent.get(url(path)).header("authorization", &bearer).call().unwrap().body_mut().read_json().unwrap()
    };
    let post = |path: &str, body: &Value| {
        let answer = agent.post(url(path)).header("authorization", &bearer).send_json(body).unwrap();
        assert!(answer.status().is_success(), "{path}: {}", answer.status());
    };
    for topic in get("/topics")["topics"].as_array().unwrap() {
        if let Some(path) = topic["post"].as_str() {
            post(&format!("{path}?ack=applied"), &json!([topic["example"], {}]));
        }
        let group = format!("/topics/{}/groups/readers/poll", topic["name"].as_str().unwrap());
        post(&group, &json!({"member": "reader", "max": 10}));
    }
    for _ in 0..6 {
        let attempt = json!({"user_id": "ana", "outcome": "failure", "address": "203.0.113.7"});
        post("/logins?ack=applied", &attempt);
    }
}
