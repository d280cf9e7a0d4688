//! How events come in over HTTP: as other programs send them, encoded, as CloudEvents, under an Idempotency-Key, with a trace context.

mod clients;
mod cloudevents;
mod coding;
mod keys;
mod traces;

use serde_json::Value;

use crate::http_unit::{Answer, Server, Setup};

/// The topics of `tests/ingest/pipeline.yaml`.
fn server() -> Server {
    Server::start(Setup { pipeline: "tests/ingest", ..Setup::default() })
}

/// The topic's valid events, as the log has them.
fn events(server: &Server, topic: &str) -> Vec<Value> {
    let answer = server.get(&format!("/topics/{topic}/events"));
    assert_eq!(answer.status, 200, "{answer:?}");
    let items = answer.json()["events"].as_array().expect("a list").clone();
    items.into_iter().map(|item| item["event"].clone()).collect()
}

#[track_caller]
fn accepted(answer: &Answer) -> u64 {
    assert_eq!(answer.status, 202, "{answer:?}");
    answer.json()["accepted"].as_u64().expect("a number")
}
