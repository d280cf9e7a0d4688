//! `Idempotency-Key`: a request that comes again is answered as before and not taken again, also by a job that was killed in between.

use std::io::{Read, Write};
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

use caudal::clock::Clock;
use caudal::core::units::Millis;
use caudal::pipeline::running::InForce;
use caudal::pipeline::{Bundle, Configuration};
use serde_json::{Map, Value, json};

use super::{accepted, server};
use crate::http_unit::{Answer, Server, Setup};
use crate::support::job::{Job, root, until};

const JSON: (&str, &str) = ("Content-Type", "application/json");
const PATH: &str = "/topics/curl/events";

fn post(server: &Server, path: &str, key: &str, body: &str) -> Answer {
    server.call("POST", path, &[JSON, ("Idempotency-Key", key)], body.as_bytes())
}

fn is_replayed(answer: &Answer) -> bool {
    answer.header("idempotent-replayed") == Some("true")
}

#[test]
fn a_request_that_comes_again_is_answered_as_before() {
    let server = server();
    let body = r#"[{"at":"2026-11-28T10:00:00Z","n":1},{"at":"2026-11-28T10:00:00Z","n":2}]"#;
    let first = post(&server, PATH, "\"key-1\"", body);
    assert_eq!((accepted(&first), is_replayed(&first)), (2, false));
    // With or without quotes, with other blanks: the events are the same.
    for (key, body) in
        [("\"key-1\"", body.to_owned()), ("key-1", body.replace(':', ": ").replace("10: 00: 00", "10:00:00"))]
    {
        let again = post(&server, PATH, key, &body);
        assert_eq!((again.status, again.json(), is_replayed(&again)), (202, first.json(), true), "{again:?}");
    }
    post(&server, PATH, "key-1", &body.replace(":2}", ":3}")).assert_problem(422, "another request's");
    post(&server, "/events", "key-1", body).assert_problem(422, "another request's");
    // Nobody but the first has taken anything.
    let other = post(&server, PATH, "key-2", body);
    assert_eq!((other.json()["first_offset"].clone(), is_replayed(&other)), (json!(2), false));
    for key in ["", "\"", "a b", &"k".repeat(256)] {
        post(&server, PATH, key, body).assert_problem(400, "Idempotency-Key");
    }
    // A request that was refused has left its key to whoever comes next.
    post(&server, PATH, "key-3", "{").assert_problem(400, "not closed");
    assert!(!is_replayed(&post(&server, PATH, "key-3", body)));
    // The fates were told once; who asks again is told when they are known.
    until("all are accepted", || server.get("/ledger").json()["accepted"] == 6);
    server.app.status.update(|status| status.ledger.in_flight = 0);
    let applied = post(&server, &format!("{PATH}?ack=applied"), "key-1", body);
    assert_eq!((applied.status, applied.json(), is_replayed(&applied)), (200, first.json(), true));
}

#[test]
fn one_that_is_under_way_is_not_taken_twice() {
    let server = Server::start(Setup { pipeline: "tests/ingest", ..Setup::default() });
    let keys = server.app.ingest.keys();
    let body = r#"{"at":"2026-11-28T10:00:00Z","n":1}"#;
    let key = caudal::core::keyed::KeyHash::of("k");
    let fingerprint = caudal::core::keyed::Fingerprint::of(PATH, format!("{body}\n").as_bytes());
    let held = keys.claim(key, fingerprint, "".into(), server.app.clock.up()).unwrap();
    let answer = post(&server, PATH, "k", body);
    assert_eq!((answer.status, answer.header("retry-after")), (409, Some("1")), "{answer:?}");
    post(&server, PATH, "k", &body.replace('1', "2")).assert_problem(422, "another request's");
    drop(held);
    assert_eq!(accepted(&post(&server, PATH, "k", body)), 1);
}

/// The log's writer waits before it begins a frame, until it may.
#[derive(Default)]
struct Halting {
    may_write: Mutex<bool>,
    changed: Condvar,
}

impl Clock for Halting {
    fn unix(&self) -> Millis {
        if std::thread::current().name() == Some("log-writer") {
            drop(self.changed.wait_while(self.may_write.lock().unwrap(), |may| !*may).unwrap());
        }
        Millis(1_800_000_000_000)
    }

    fn up(&self) -> Millis {
        Millis(0)
    }
}

/// A client that has gone before its request was on disk has sent it nevertheless: the key is not anybody's anew.
#[test]
fn one_whose_client_is_gone_is_taken_once() {
    let clock = Arc::new(Halting::default());
    let setup = Setup { pipeline: "tests/ingest", clock: clock.clone(), connections_max: 2, ..Setup::default() };
    let server = Server::start(setup);
    let body = r#"{"at":"2026-11-28T10:00:00Z","n":1}"#;
    let again = || post(&server, PATH, "gone", body);
    let mut first = server.connect();
    let head =
        format!("POST {PATH} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nIdempotency-Key: gone");
    first.write_all(format!("{head}\r\nContent-Length: {}\r\n\r\n{body}", body.len()).as_bytes()).unwrap();
    until("it waits for the log", || server.app.ingest.keys().count(Millis(0)) == 1);
    assert_eq!(again().status, 409);
    // Both places are taken, until the server has seen that the client is gone.
    let mut other = server.connect();
    other.write_all(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n").unwrap();
    assert_ne!(other.read(&mut [0; 64]).unwrap(), 0);
    assert_eq!(again().status, 503);
    drop(first);
    until("its place is free", || again().status == 409);
    *clock.may_write.lock().unwrap() = true;
    clock.changed.notify_all();
    let mut answer = again();
    until("it is in the log", || {
        answer = again();
        answer.status != 409
    });
    assert_eq!((accepted(&answer), answer.json()["first_offset"].as_u64(), is_replayed(&answer)), (1, Some(0), true));
    until("it is told", || server.get("/ledger").json()["accepted"] == 1);
    let next = post(&server, PATH, "another", body);
    assert_eq!(next.json()["first_offset"], 1, "nothing else was taken");
}

/// What a route has filled in is part of the answer.
#[test]
fn a_route_gives_the_same_answer_again() {
    let server = Server::start(Setup { pipeline: "pipelines/user_activity", ..Setup::default() });
    let body = r#"{"message":"hello"}"#;
    let first = post(&server, "/publish", "p-1", body);
    assert_eq!(accepted(&first), 1);
    let again = post(&server, "/publish", "p-1", body);
    assert_eq!((again.status, again.json(), is_replayed(&again)), (202, first.json(), true));
    assert!(first.json()["filled"]["event_id"].is_string(), "{first:?}");
    // Also what it has not filled in because it was given.
    let given = r#"{"message":"hello","user_id":"7"}"#;
    let [first_given, again] = [(); 2].map(|()| post(&server, "/publish", "p-3", given).json());
    assert_eq!((&again, &first_given["filled"]["user_id"]), (&first_given, &json!("7")));
    let other = post(&server, "/publish", "p-2", body);
    assert_ne!(other.json()["filled"]["event_id"], first.json()["filled"]["event_id"]);
}

/// What was filled in then is the answer, whatever the route fills when the request comes again.
#[test]
fn a_route_that_has_changed_answers_what_was_made_then() {
    const FILL: &str = "event_id: uuid(), user_id: uuid(), timestamp: now(), kind: message";
    let server = Server::start(Setup { pipeline: "pipelines/user_activity", ..Setup::default() });
    let shipped = Bundle::read(&[root().join("pipelines/user_activity/pipeline.yaml")]).unwrap();
    let fills = |fill: &str| {
        let mut bundle = shipped.clone();
        assert!(bundle.0[0].text.contains(FILL), "{}", bundle.0[0].text);
        bundle.0[0].text = bundle.0[0].text.replace(FILL, fill);
        let (configuration, pipelines) = Configuration::begin(bundle).unwrap();
        server.app.running.set(Arc::new(InForce::new(configuration, pipelines)));
    };
    let body = r#"{"message":"hello","user_id":"7"}"#;
    // The document is of the moment, and so says nothing of this answer.
    let head = "POST /publish HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nIdempotency-Key: p\r\n";
    let head = format!("{head}Content-Type: application/json\r\nContent-Length: {}", body.len());
    let publish = || server.raw(format!("{head}\r\n\r\n{body}").as_bytes());
    fills("event_id: uuid(), user_id: uuid()");
    let first = publish();
    assert_eq!((accepted(&first), first.json()["filled"].as_object().map(Map::len)), (1, Some(2)), "{first:?}");
    for fill in [FILL, "timestamp: now()"] {
        fills(fill);
        let again = publish();
        assert_eq!((again.json(), is_replayed(&again)), (first.json(), true), "{fill}");
    }
}

fn send(job: &Job, path: &str, key: &str, body: &str) -> Option<(u16, Value)> {
    let config = ureq::Agent::config_builder().timeout_global(Some(Duration::from_mins(1))).http_status_as_error(false);
    let agent: ureq::Agent = config.build().into();
    let request = agent.post(format!("{}{path}", job.client.base)).header("content-type", "application/json");
    let mut answer = request.header("idempotency-key", format!("\"{key}\"")).send(body).ok()?;
    let status = answer.status().as_u16();
    Some((status, serde_json::from_str(&answer.body_mut().read_to_string().ok()?).ok()?))
}

/// Over kills of rank 0, some of them while a request is under way, and over checkpoints that let the log go: each request is taken once.
#[test]
fn keys_outlive_kills() {
    let dir = tempfile::TempDir::new().unwrap();
    let setup = crate::support::job::Setup::new(2, dir.path());
    let job = Job::start_in(dir, setup);
    let path = "/topics/security.incident/events";
    // Without an id of their own nothing but the key tells two of them apart: they are invalid, and counted as such.
    let body = |n: u32| json!([{"n": n}, {"n": n}]).to_string();
    let mut answers = Vec::new();
    for n in 0..6 {
        let key = format!("request-{n}");
        let first = if n % 3 == 2 {
            // It is killed while this is on its way.
            let job = &job;
            std::thread::scope(|scope| {
                let sent = scope.spawn(|| send(job, path, &key, &body(n)));
                job.kill_rank(0);
                sent.join().unwrap()
            })
        } else {
            let first = send(&job, path, &key, &body(n));
            job.kill_rank(0);
            first
        };
        job.wait_ready();
        let mut again = Value::Null;
        // Refused while it starts.
        until("the request is answered", || match send(&job, path, &key, &body(n)) {
            Some((202, answer)) => {
                again = answer;
                true
            }
            Some((503, _)) | None => false,
            other => panic!("{other:?}"),
        });
        if let Some((202, first)) = first {
            assert_eq!(again, first, "request {n}");
        }
        answers.push(again);
    }
    for (n, answer) in (0..).zip(&answers) {
        let (status, again) = send(&job, path, &format!("request-{n}"), &body(n)).unwrap();
        assert_eq!((status, &again), (202, answer));
        let (status, applied) = send(&job, &format!("{path}?ack=applied"), &format!("request-{n}"), &body(n)).unwrap();
        assert_eq!((status, &applied), (200, answer));
        assert_eq!(send(&job, path, &format!("request-{n}"), &body(n + 1)).unwrap().0, 422);
    }
    job.wait_settled();
    let ledger = job.client.json("/ledger");
    assert_eq!((&ledger["accepted"], &ledger["invalid"]), (&json!(12), &json!(12)), "{ledger}");
    assert!(job.stop().2.success());
}
