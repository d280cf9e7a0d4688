//! Reading a topic, and sharing it in groups: over HTTP in one process, and on a real job whose ranks are killed.

mod reading;
mod sharing;
mod job;
mod index;

use caudal::clock::Clock;
use caudal::core::units::Millis;
use serde_json::{Value, json};
use std::sync::Mutex;

use crate::http_unit::{Answer, Server};

const JSON: &str = "application/json";
const NDJSON: &str = "application/x-ndjson";

/// A valid event of the security topic; `n` makes it like no other.
pub fn incident(n: u64) -> String {
    format!(
        "{{\"event_id\":\"9531985d-5d9d-49f8-9818-{n:012x}\",\"timestamp\":\"2026-11-22T12:00:00Z\",\"region\":\"RM\",\"source\":\"security.incident\",\
         \"schema_version\":\"1.0\",\"correlation_id\":\"099950d8-36f6-45cc-81e7-4ef5e8e25d94\",\"payload\":{{\"crime_type\":\"assault\",\
         \"severity\":\"medium\",\"location\":{{\"lat\":-33.4,\"lon\":-70.6}},\"reported_by\":\"citizen\"}}}}"
    )
}

/// Posts lines; gives the first offset.
fn post(server: &Server, path: &str, lines: &[String]) -> u64 {
    let answer = server.post(path, NDJSON, lines.join("\n").as_bytes());
    assert_eq!(answer.status, 202, "{answer:?}");
    answer.json()["first_offset"].as_u64().unwrap()
}

fn offsets(answer: &Value) -> Vec<u64> {
    answer["events"].as_array().unwrap().iter().map(|event| event["offset"].as_u64().unwrap()).collect()
}

fn ask(server: &Server, group: &str, what: &str, body: &Value) -> Answer {
    let path = format!("/topics/security.incident/groups/{group}/{what}");
    server.post(&path, JSON, body.to_string().as_bytes())
}

fn commit(server: &Server, group: &str, member: &str, offset: u64) -> Answer {
    ask(server, group, "commit", &json!({"member": member, "offset": offset}))
}

/// A clock that a test moves.
#[derive(Default)]
struct HandClock(Mutex<Millis>);

impl HandClock {
    fn pass(&self, ms: u64) {
        self.0.lock().unwrap().0 += ms;
    }
}

impl Clock for HandClock {
    fn unix(&self) -> Millis {
        Millis(1_800_000_000_000 + self.up().0)
    }

    fn up(&self) -> Millis {
        *self.0.lock().unwrap()
    }
}
