//! What HTTP may take at once, in one answer and of other people's time: bounds that hold whatever hangs or is asked for. One process, a real log.

use std::io::{BufRead, BufReader, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::sync::mpsc;
use std::time::Instant;

use caudal::store::target::{PostgresConfig, SslMode, Target};
use caudal::web::DRAIN_MAX;
use serde_json::{Value, json};

use crate::changes::SEVERITIES;
use crate::http_unit::{Answer, PATIENCE, Server, Setup};
use crate::support::job::until;

const CIVIC_SAFETY: &str = "pipelines/civic_safety";
const NDJSON: &str = "application/x-ndjson";

/// All pages of this call: of each the offsets of its events.
fn pages(server: &Server, path: &str) -> Vec<Vec<u64>> {
    let (mut path, mut pages) = (path.to_owned(), Vec::new());
    loop {
        let page = server.get(&path);
        assert_eq!(page.status, 200, "{path}: {page:?}");
        let page = page.json();
        let events = page["events"].as_array().unwrap().iter();
        pages.push(events.map(|event| event["offset"].as_u64().unwrap()).collect());
        let Some(next) = page["next"].as_str() else { return pages };
        next.clone_into(&mut path);
    }
}

/// A page ends where enough was looked at, by number and by bytes, also where nothing of that is an event of the story.
#[test]
fn a_story_goes_on_from_what_was_looked_at() {
    let server = Server::start(Setup { pipeline: CIVIC_SAFETY, ..Setup::default() });
    let topics = server.get("/topics").json();
    let valid = topics["topics"][0]["example"].clone();
    let story = valid["correlation_id"].as_str().unwrap().to_owned();
    let mut refused = valid.clone();
    refused["timestamp"] = json!("x".repeat(60_000));
    let post = |lines: &[String]| assert_eq!(server.post("/events", NDJSON, lines.join("\n").as_bytes()).status, 202);
    // 12 MB in all, of which a page is at most 8 MiB.
    for _ in 0..20 {
        post(&vec![refused.to_string(); 10]);
    }
    post(&[valid.to_string(), refused.to_string(), valid.to_string()]);
    until("they are on disk", || server.get("/ledger").json()["accepted"] == 203);
    let found = pages(&server, &format!("/events?correlation={story}&limit=1000"));
    assert_eq!(found, [vec![], vec![200, 202]]);
    let found = pages(&server, &format!("/events?correlation={story}&limit=50"));
    assert_eq!(found, [vec![], vec![], vec![], vec![], vec![200, 202]]);
    let found = pages(&server, &format!("/events?correlation={story}&limit=1&after=198"));
    assert_eq!(found, [vec![], vec![200], vec![], vec![202]]);
}

/// Changes that are never answered, as when the log's disk hangs: whoever asks for more of them is refused, and does not add to what waits.
#[test]
fn changes_that_wait_have_a_bound() {
    let server = Server::usual();
    let (tell, told) = mpsc::channel();
    let request = |method: &str, path: &str| {
        let length = SEVERITIES.len();
        format!(
            "{method} {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Type: application/yaml\r\nContent-Length: {length}\r\n\r\n{SEVERITIES}"
        )
    };
    let send = |method, path| {
        let mut stream = server.connect();
        stream.write_all(request(method, path).as_bytes()).unwrap();
        stream
    };
    // One more than there are places.
    for _ in 0..5 {
        let (stream, tell) = (send("PUT", "/pipelines/severities"), tell.clone());
        std::thread::spawn(move || tell.send(Answer::read(stream)));
    }
    let first = told.recv_timeout(PATIENCE).expect("one is answered");
    first.assert_problem(503, "too many changes of pipelines");
    Answer::read(send("POST", "/pipelines/check")).assert_problem(503, "too many changes of pipelines");
    assert!(told.try_recv().is_err(), "the others wait");
}

/// A server that takes connections and says nothing.
fn silent_store() -> (Target, mpsc::Receiver<TcpStream>) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let port = listener.local_addr().unwrap().port();
    let (keep, kept) = mpsc::channel();
    // It ends with the first connection that nobody keeps, or with the test's process.
    std::thread::spawn(move || listener.incoming().flatten().try_for_each(|stream| keep.send(stream)));
    let (user, password, name) = ("nobody".to_owned(), String::new(), "nothing".to_owned());
    let host = Ipv4Addr::LOCALHOST.to_string();
    (Target::Postgres(PostgresConfig { user, password, host, port, name, ssl: SslMode::Disable }), kept)
}

#[test]
fn snapshots_go_on_while_the_store_is_silent() {
    let (target, _connections) = silent_store();
    let server = Server::start(Setup { asks: Some(target), ..Setup::default() });
    let mut stream = server.connect();
    stream.write_all(b"GET /live HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").unwrap();
    let mut lines = BufReader::new(stream).lines().map(|line| line.expect("a snapshot comes in time"));
    let mut snapshot = || {
        let data = lines.by_ref().find_map(|line| line.strip_prefix("data: ").map(str::to_owned));
        serde_json::from_str::<Value>(&data.expect("the stream goes on")).unwrap()
    };
    assert_eq!(snapshot()["ledger"]["accepted"], 0);
    assert_eq!(server.post("/events", "application/json", b"{}").status, 202);
    while snapshot()["ledger"]["accepted"] != 1 {}
    while !snapshot()["store_problem"].as_str().is_some_and(|why| why.contains("has not answered")) {}
}

/// By route: those of pipeline files are one, and whoever is turned away or asks for no route is of none.
#[test]
fn requests_are_counted_by_what_answered_them() {
    let server = Server::start(Setup { pipeline: CIVIC_SAFETY, tokens: vec!["of-tests"], ..Setup::default() });
    let token = [("Authorization", "Bearer of-tests")];
    let ask = |method, path, headers: &[(&str, &str)]| server.call(method, path, headers, b"").status;
    assert_eq!(ask("GET", "/no/such", &[]), 401);
    assert_eq!(ask("GET", "/regions", &[]), 401);
    assert_eq!(ask("GET", "/no/such", &token), 404);
    assert_eq!(ask("GET", "/regions", &token), 200);
    assert_eq!(ask("GET", "/regions/nowhere", &token), 404);
    assert_eq!(ask("PUT", "/regions", &token), 405);
    let metrics = server.call("GET", "/metrics", &token, b"").body;
    let count = |route: &str, method: &str| {
        let labels = format!("caudal_http_request_duration_seconds_count{{route=\"{route}\",method=\"{method}\"}} ");
        metrics.lines().find_map(|line| line.strip_prefix(&labels)).map(str::to_owned)
    };
    let counts = [("none", "GET"), ("pipeline", "GET"), ("pipeline", "PUT"), ("none", "PUT")];
    let counts = counts.map(|(route, method)| count(route, method));
    assert_eq!(counts, [Some("3".to_owned()), Some("2".to_owned()), Some("1".to_owned()), None], "{metrics}");
}

/// A request that never ends holds up the server's end for as long as `DRAIN_MAX` says, and no longer.
#[test]
fn a_request_that_never_ends_is_cut_off_when_the_server_stops() {
    let mut server = Server::start(Setup { fates: |_| None, ..Setup::default() });
    let mut stream = server.connect();
    let request = "POST /events?ack=applied HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}";
    stream.write_all(request.as_bytes()).unwrap();
    until("it waits for its fate", || server.get("/ledger").json()["accepted"] == 1);
    let begun = Instant::now();
    server.stop();
    let took = begun.elapsed();
    assert!((DRAIN_MAX..DRAIN_MAX * 3).contains(&took), "{took:?}");
}
