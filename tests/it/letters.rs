//! Dead letters, mended: what HTTP refuses, a real job in which they are retried and discarded while ranks are killed, and the subcommand.

use std::fs;
use std::io::Write;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::sync::Arc;
use std::time::Duration;

use caudal::clock::{Clock, SystemClock};
use caudal::core::columns::Reason;
use caudal::core::ledger::Counts;
use caudal::core::mend::{Mended, Retry};
use caudal::core::row::DeadLetter;
use caudal::core::time;
use caudal::core::units::{Epoch, Generation, LogId, Micros, Millis, Offset};
use caudal::ingest::Refusal;
use caudal::pipeline::change;
use caudal::pipeline::running::InForce;
use caudal::store::{Commit, Progress};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::changes::{PRESSURE, PRESSURE_SCHEMA};
use crate::http_unit::{Server, Setup as HttpSetup};
use crate::mpi::assert_identical;
use crate::support::client::Client;
use crate::support::job::{Job, Setup, caudal, until};

const JSON: &str = "application/json";
const SECOND: i64 = 1_000_000;

fn letter(offset: u64, topic: Option<&str>, reason: Reason) -> DeadLetter {
    DeadLetter {
        offset: Offset(offset),
        topic: topic.map(str::to_owned),
        reason,
        detail: "so it is".to_owned(),
        body: format!("{{\"n\":{offset}}}").into_bytes(),
        received: Millis(1_800_000_001_000),
    }
}

/// A server whose store has letters: 0 late, 1 to 5 of the schema, 6 of JSON without a topic, 7 retried as 90, 8 discarded.
fn server(fates: HttpSetup) -> Server {
    let server = Server::start(fates);
    let incident = Some("security.incident");
    let mut letters: Vec<DeadLetter> = (1..=5).map(|n| letter(n, incident, Reason::Schema)).collect();
    letters[2].topic = Some("migration.case".to_owned());
    letters.extend([letter(0, incident, Reason::Late), letter(6, None, Reason::Json)]);
    letters.extend([letter(7, incident, Reason::Schema), letter(8, incident, Reason::Schema)]);
    let counts = Counts { invalid: 8, late: 1, ..Counts::default() };
    let to = Progress { log: LogId(1), generation: Generation(1), epoch: Epoch(1), end: Offset(9), counts };
    let retried = vec![Retry { letter: Offset(7), event: Offset(90) }];
    let commit = Commit {
        dead_letters: letters,
        mended: Mended { retried, discarded: vec![Offset(8)] },
        ..Commit::new(None, to)
    };
    let mut store = server.target.store(&server.app.running.get().pipelines.plan).unwrap();
    store.claim(Generation(1)).unwrap();
    store.commit(&commit).unwrap();
    server
}

fn commit(server: &Server, epoch: u64, letters: Vec<DeadLetter>) {
    let mut store = server.target.store(&server.app.running.get().pipelines.plan).unwrap();
    let counts = Counts { invalid: 9 * epoch, ..Counts::default() };
    let to =
        Progress { log: LogId(1), generation: Generation(1), epoch: Epoch(epoch), end: Offset(100 * epoch), counts };
    let before = Some(Epoch(epoch - 1));
    store.commit(&Commit { dead_letters: letters, ..Commit::new(before, to) }).unwrap();
}

fn offsets(server: &Server, query: &str) -> Vec<u64> {
    let answer = server.get(&format!("/dead-letters{query}"));
    assert_eq!(answer.status, 200, "{query}: {answer:?}");
    answer.json()["dead_letters"].as_array().unwrap().iter().map(|l| l["offset"].as_u64().unwrap()).collect()
}

#[test]
fn letters_are_listed_by_what_was_done_to_them() {
    let server = server(HttpSetup::default());
    let table: &[(&str, &[u64])] = &[
        ("", &[6, 5, 4, 3, 2, 1, 0]),
        ("?state=open&reason=schema", &[5, 4, 3, 2, 1]),
        ("?state=retried", &[7]),
        ("?state=all", &[7, 6, 5, 4, 3, 2, 1, 0]),
        ("?state=all&topic=migration.case", &[3]),
        ("?before=2&limit=1", &[1]),
    ];
    for (query, expected) in table {
        assert_eq!(offsets(&server, query), *expected, "{query}");
    }
    server.get("/dead-letters?state=gone").assert_problem(400, "open, retried, all");
    assert_eq!(server.get("/dead-letters/7").json()["retried_as"], 90);
    let open = server.get("/dead-letters/6").json();
    let expected = json!({
        "offset": 6, "topic": null, "reason": "json", "detail": "so it is", "body": "{\"n\":6}",
        "received_at": "2027-01-15T08:00:01Z", "retried_as": null,
    });
    assert_eq!(open, expected);
}

/// Method, path, body; the answer's status and what its detail says.
type Refused<'a> = (&'a str, &'a str, &'a [u8], u16, &'a str);

#[test]
fn what_cannot_be_mended_is_refused_and_says_why() {
    let server = server(HttpSetup::default());
    let long = format!("{{\"a\":\"{}\"}}", "x".repeat(70 << 10));
    let large = vec![b' '; 2 << 20];
    let table: &[Refused] = &[
        ("POST", "/dead-letters/77/retry", b"", 404, "no dead letter 77"),
        ("POST", "/dead-letters/8/retry", b"", 404, "was discarded"),
        ("POST", "/dead-letters/x/retry", b"", 404, "offset"),
        ("POST", "/dead-letters/-1/retry", b"", 404, "offset"),
        ("POST", "/dead-letters/18446744073709551615/retry", b"", 404, "offset"),
        ("POST", "/dead-letters/7/retry", b"", 409, "retry 90"),
        ("POST", "/dead-letters/7/retry", b"{}", 409, "retry 90"),
        ("POST", "/dead-letters/0/retry", b"", 422, "duplicate"),
        ("POST", "/dead-letters/1/retry", b"[{},{}]", 400, "2 events"),
        ("POST", "/dead-letters/1/retry", b"[]", 400, "no event"),
        ("POST", "/dead-letters/1/retry", b" ", 400, "no event"),
        ("POST", "/dead-letters/1/retry", b"nonsense", 400, "not JSON"),
        ("POST", "/dead-letters/1/retry", long.as_bytes(), 413, "EVENT_BYTES_MAX"),
        ("POST", "/dead-letters/1/retry", &large, 413, "BODY_BYTES_MAX"),
        ("POST", "/dead-letters/1/retry?akc=applied", b"", 400, "ack"),
        ("POST", "/dead-letters/1/retry?ack=soon", b"", 400, "applied"),
        ("POST", "/dead-letters/retry", b"", 400, "reason="),
        ("POST", "/dead-letters/retry?topic=migration.case", b"", 400, "reason="),
        ("POST", "/dead-letters/retry?reason=bored", b"", 400, "json, topic, schema"),
        ("POST", "/dead-letters/retry?reason=late", b"", 422, "duplicate"),
        ("POST", "/dead-letters/retry?reason=schema", b"{}", 400, "as they are"),
        ("POST", "/dead-letters/retry?reason=schema&topic=no", b"", 400, "security.incident"),
        ("DELETE", "/dead-letters/77", b"", 404, "no dead letter 77"),
        ("DELETE", "/dead-letters/8", b"", 404, "was discarded"),
        ("DELETE", "/dead-letters/x", b"", 404, "offset"),
        ("DELETE", "/dead-letters", b"", 405, "Allow"),
        ("PUT", "/dead-letters/1", b"", 405, "Allow"),
        ("GET", "/dead-letters/8", b"", 404, "was discarded"),
    ];
    for (method, path, body, status, says) in table {
        let headers: &[(&str, &str)] = if body.is_empty() { &[] } else { &[("Content-Type", JSON)] };
        let answer = server.call(method, path, headers, body);
        println!("{method} {path}");
        answer.assert_problem(*status, says);
    }
    assert_eq!(server.call("POST", "/dead-letters/7/retry", &[], b"").json()["retried_as"], 90);
    for (method, path) in [
        ("POST", "/dead-letters/1/retry"),
        ("POST", "/dead-letters/retry?reason=schema"),
        ("DELETE", "/dead-letters/1"),
    ] {
        server.call(method, path, &[("Origin", "http://evil.example")], b"").assert_problem(403, "other sites");
        server.app.ingest.gate(Some(Refusal::Starting));
        server.call(method, path, &[], b"").assert_problem(503, "replayed");
        server.app.ingest.gate(None);
    }
    assert_eq!(server.get("/ledger").json()["accepted"], 0, "nothing was taken");
    // Whatever was refused has given its letter back.
    assert_eq!(server.call("POST", "/dead-letters/1/retry", &[], b"").status, 202);
}

#[test]
fn a_letter_is_retried_once_and_a_reason_in_one_go() {
    let server = server(HttpSetup::default());
    let first = server.call("POST", "/dead-letters/2/retry", &[("Content-Type", JSON)], b"{\"mended\":\n true}");
    assert_eq!((first.status, first.json()), (202, json!({"accepted": 1, "dead_letter": 2, "retried_as": 0})));
    let again = server.call("POST", "/dead-letters/2/retry", &[], b"");
    again.assert_problem(409, "a letter is retried once");
    assert_eq!(again.json()["retried_as"], 0);
    server.call("DELETE", "/dead-letters/2", &[], b"").assert_problem(503, "its retry, event 0, is not committed yet");

    // 1, 4 and 5 are of one topic, 3 of another; 2 is under way.
    let all = server.call("POST", "/dead-letters/retry?reason=schema&before=5&ack=applied", &[], b"");
    let item = |letter, event| json!({"dead_letter": letter, "retried_as": event, "status": "counted"});
    let expected = json!({"accepted": 3, "left": 0, "items": [item(1, 1), item(3, 3), item(4, 2)]});
    assert_eq!((all.status, all.json()), (200, expected));
    let rest = server.call("POST", "/dead-letters/retry?reason=schema", &[], b"").json();
    assert_eq!(rest, json!({"accepted": 1, "left": 0, "items": [{"dead_letter": 5, "retried_as": 4}]}));
    let none = server.call("POST", "/dead-letters/retry?reason=schema", &[], b"").json();
    assert_eq!(none, json!({"accepted": 0, "left": 0, "items": []}));
    let json = server.call("POST", "/dead-letters/6/retry?ack=applied", &[], b"").json();
    assert_eq!(json, json!({"accepted": 1, "dead_letter": 6, "retried_as": 5, "status": "counted"}));
}

/// Letters of a topic that nobody reads any more, or of which nothing is known, keep no other letter from being retried: they are left.
#[test]
fn letters_of_topics_that_are_gone_are_left() {
    let server = server(HttpSetup::default());
    let begun = server.app.running.get().configuration.clone();
    let schema = |_: &str| Some(PRESSURE_SCHEMA.to_owned());
    let more = change::put(&begun, "pressure", PRESSURE, schema).unwrap_or_else(|why| panic!("{why}"));
    let less = change::delete(&more.configuration, "pressure").unwrap_or_else(|why| panic!("{why}"));
    server.app.running.set(Arc::new(InForce::new(less.configuration, less.pipelines)));
    let gone = |offset| letter(offset, Some("pressure.measured"), Reason::Schema);
    let mut letters: Vec<DeadLetter> = (100..1_200).map(gone).collect();
    letters.extend([
        letter(1_200, Some("never.was"), Reason::Schema),
        letter(1_201, Some("security.incident"), Reason::Schema),
    ]);
    commit(&server, 2, letters);
    server.call("POST", "/dead-letters/100/retry", &[], b"").assert_problem(409, "no topic");
    let all = server.call("POST", "/dead-letters/retry?reason=schema", &[], b"");
    assert_eq!(all.status, 202, "{all:?}");
    let (accepted, left) = (all.json()["accepted"].clone(), all.json()["left"].clone());
    assert_eq!((accepted, left), (json!(6), json!(1_101)), "the five of before and 1201");
    let of_gone = server.call("POST", "/dead-letters/retry?reason=schema&topic=pressure.measured", &[], b"");
    assert_eq!((of_gone.status, of_gone.json()), (202, json!({"accepted": 0, "left": 1_100, "items": []})));
}

/// Of many who ask at once one is told yes.
#[test]
fn of_two_who_retry_at_once_one_does() {
    let server = server(HttpSetup::default());
    for letter in 1..=5 {
        let path = format!("/dead-letters/{letter}/retry");
        let statuses: Vec<u16> = std::thread::scope(|scope| {
            let asking: Vec<_> = (0..8).map(|_| scope.spawn(|| server.call("POST", &path, &[], b"").status)).collect();
            asking.into_iter().map(|asked| asked.join().unwrap()).collect()
        });
        assert_eq!(statuses.iter().filter(|status| **status == 202).count(), 1, "{statuses:?}");
        assert!(statuses.iter().all(|status| [202, 409].contains(status)), "{statuses:?}");
    }
    until("five are accepted, and no more", || server.get("/ledger").json()["accepted"] == 5);
}

/// The answer waits for the log; with `ack=applied` for the store. The test says when.
#[test]
fn a_discard_is_answered_when_it_is_safe() {
    let server = server(HttpSetup::default());
    let letters = server.app.ingest.letters();
    std::thread::scope(|scope| {
        let first = scope.spawn(|| server.call("DELETE", "/dead-letters/1", &[], b""));
        let second = scope.spawn(|| server.call("DELETE", "/dead-letters/2?ack=applied", &[], b""));
        let mut asked = Vec::new();
        until("both are asked for", || {
            asked.extend(letters.take_discards());
            asked.len() == 2
        });
        server.call("DELETE", "/dead-letters/1", &[], b"").assert_problem(409, "is being discarded");
        server.call("POST", "/dead-letters/2/retry", &[], b"").assert_problem(409, "is being discarded");
        letters.cut(Epoch(4), &asked);
        letters.durable(Epoch(4));
        let first = first.join().unwrap();
        assert_eq!((first.status, first.json()), (202, json!({"discarded": 1})));
        assert!(!second.is_finished());
        letters.committed(Epoch(4), Offset(0));
        let second = second.join().unwrap();
        assert_eq!((second.status, second.json()), (200, json!({"discarded": 2})));
    });
}

const SCHEMA: &str = r#"{"type": "object", "required": ["k"], "properties": {
    "id": {"type": "string"}, "at": {"type": "string"}, "k": {"type": "integer"}}}"#;

const PIPELINE: &str = "pipeline: anything
topics:
  thing: {schema: thing.json}
  other: {schema: thing.json}
id:   id
time: {field: at, out_of_order: 1s, max_future: 1h, idle_after: 10m}
windows:
  hourly:
    every: 1h
    emit:  1ms
    metrics: {n: count(), k: sum(k)}
audit: full
";

fn now() -> Micros {
    SystemClock::default().unix().micros()
}

fn start() -> Job {
    let dir = TempDir::new().unwrap();
    fs::write(dir.path().join("pipeline.yaml"), PIPELINE).unwrap();
    fs::write(dir.path().join("thing.json"), SCHEMA).unwrap();
    let setup = Setup::new(3, dir.path()).with("PIPELINES", dir.path().join("pipeline.yaml").to_str().unwrap());
    Job::start_in(dir, setup)
}

fn thing(id: &str, at: Micros, k: &str) -> String {
    format!(r#"{{"id":"{id}","at":"{}","k":{k}}}"#, time::format(at))
}

/// Posts lines and gives their offsets and fates.
fn post(client: &Client, path: &str, lines: &[String]) -> Vec<(u64, String)> {
    let (status, answer) = client.post_lines(&format!("{path}?ack=applied"), lines.join("\n").as_bytes());
    assert_eq!(status, 200, "{answer}");
    let items = answer["items"].as_array().unwrap();
    items.iter().map(|i| (i["offset"].as_u64().unwrap(), i["status"].as_str().unwrap().to_owned())).collect()
}

/// Each letter that there is, and its retry.
fn letters(client: &Client) -> Vec<(u64, Option<u64>)> {
    let all = client.json("/dead-letters?state=all&limit=1000");
    let all = all["dead_letters"].as_array().unwrap().iter();
    all.map(|l| (l["offset"].as_u64().unwrap(), l["retried_as"].as_u64())).collect()
}

fn ledger(client: &Client) -> [u64; 6] {
    let ledger = client.json("/ledger");
    ["accepted", "counted", "duplicate", "invalid", "late", "in_flight"].map(|f| ledger[f].as_u64().unwrap())
}

/// Retries and discards that were acknowledged survive `kill -9` of every rank, and a store that is made anew from the log.
#[test]
fn what_was_done_to_letters_survives_kills_and_a_new_store() {
    let job = start();
    let client = &job.client;
    let at = now();
    let far = Micros(at.0 + 3600 * SECOND + 3 * SECOND);
    let sent = [
        thing("good", at, "1"),
        thing("bad", at, "\"x\""),
        "{no json".to_owned(),
        thing("soon", far, "4"),
        thing("waste", at, "null"),
        thing("old", Micros(at.0 - 48 * 3600 * SECOND), "16"),
    ];
    let fates = post(client, "/topics/thing/events", &sent);
    let statuses: Vec<&str> = fates.iter().map(|(_, status)| status.as_str()).collect();
    assert_eq!(statuses, ["counted", "invalid", "invalid", "invalid", "invalid", "counted"], "nothing is late yet");
    // An epoch later the first hour is over.
    assert_eq!(post(client, "/topics/thing/events", &[thing("good 2", at, "2")])[0].1, "counted");
    assert_eq!(post(client, "/topics/thing/events", &[thing("good 3", at, "2")])[0].1, "counted");
    let late = post(client, "/topics/thing/events", &[thing("late", Micros(at.0 - 24 * 3600 * SECOND), "32")]);
    assert_eq!(late, [(8, "late".to_owned())]);

    // A body that is mended is counted; its id was not remembered.
    let (status, answer) = client.post_json("/dead-letters/1/retry?ack=applied", &thing("bad", at, "64"));
    let expected = json!({"accepted": 1, "dead_letter": 1, "retried_as": 9, "status": "counted"});
    assert_eq!((status, answer), (200, expected));
    // As it is, it fails again: a new letter.
    let (_, answer) = client.post_json("/dead-letters/2/retry?ack=applied", "");
    assert_eq!((&answer["retried_as"], &answer["status"]), (&json!(10), &json!("invalid")));
    let (status, answer) = client.post_json("/dead-letters/2/retry", "");
    assert_eq!((status, &answer["retried_as"]), (409, &json!(10)), "{answer}");
    // A late one's id is remembered: as it is, it would be a duplicate, and with another id it is late again.
    assert_eq!(client.post_json("/dead-letters/8/retry", "").0, 422);
    assert_eq!(client.delete("/dead-letters/4?ack=applied"), (200, json!({"discarded": 4})));
    assert_eq!(client.get("/dead-letters/4").0, 404);
    let (_, answer) = client.post_json("/dead-letters/8/retry?ack=applied", &thing("late", at, "32"));
    assert_eq!(answer["status"], "duplicate", "{answer}");
    assert_eq!(ledger(client), [12, 5, 1, 5, 1, 0]);
    let known = vec![(10, None), (8, Some(11)), (3, None), (2, Some(10)), (1, Some(9))];
    assert_eq!(letters(client), known);

    // What is acknowledged and not yet committed: a kill comes between, of every rank in turn.
    let mut expected = known;
    for rank in [0, 1, 2] {
        let fresh = ["{1", "{2", "{3"].map(str::to_owned);
        let fresh: Vec<u64> = post(client, "/events", &fresh).iter().map(|(offset, _)| *offset).collect();
        let (status, retried) = client.post_json(&format!("/dead-letters/{}/retry", fresh[0]), "");
        assert_eq!(status, 202, "{retried}");
        assert_eq!(client.delete(&format!("/dead-letters/{}", fresh[1])).0, 202);
        job.kill_rank(rank);
        job.wait_back();
        // Who asks again at once is told the same, whether or not it is committed by now.
        let (status, again) = client.post_json(&format!("/dead-letters/{}/retry", fresh[0]), "");
        assert_eq!((status, &again["retried_as"]), (409, &retried["retried_as"]), "rank {rank}: {again}");
        job.wait_settled();
        let (status, _) = client.delete(&format!("/dead-letters/{}", fresh[1]));
        assert_eq!(status, 404, "rank {rank}");
        let retried = retried["retried_as"].as_u64().unwrap();
        expected.splice(0..0, [(retried, None), (fresh[2], None), (fresh[0], Some(retried))]);
        assert_eq!(letters(client), expected, "rank {rank}");
    }

    // The moment of the one that came too early has come nearer.
    until("it is no longer in the future", || now().0 > far.0 - 3600 * SECOND);
    let (_, answer) = client.post_json("/dead-letters/retry?reason=future&ack=applied", "");
    assert_eq!((&answer["accepted"], &answer["left"]), (&json!(1), &json!(0)), "{answer}");
    assert_eq!(answer["items"][0]["status"], "counted", "{answer}");
    let soon = expected.iter_mut().find(|(letter, _)| *letter == 3).unwrap();
    soon.1 = answer["items"][0]["retried_as"].as_u64();
    // One that was retried can be discarded too.
    assert_eq!(client.delete("/dead-letters/1?ack=applied").0, 200);
    expected.retain(|(letter, _)| *letter != 1);
    assert_eq!(letters(client), expected);
    let before = ledger(client);
    assert_eq!(before[0], before[1..].iter().sum::<u64>());

    let (dir, setup, status) = job.stop();
    assert_eq!(status.code(), Some(0));
    assert_identical(&setup);
    // Everything again, into an empty store: what was discarded does not come back.
    for file in fs::read_dir(&setup.data).unwrap().map(|file| file.unwrap().path()) {
        if file.is_file() && file.file_name().unwrap().to_str().unwrap().contains("caudal.sqlite") {
            fs::remove_file(file).unwrap();
        }
    }
    let job = Job::start_in(dir, setup);
    job.wait_settled();
    assert_eq!((letters(&job.client), ledger(&job.client)), (expected, before));
    let (_dir, setup, _) = job.stop();
    assert_identical(&setup);
}

/// Retries and discards that are in the log, and not in the store, when the job dies and comes back: nothing is done twice.
#[test]
fn what_the_log_has_is_not_done_again_while_the_store_is_away() {
    let job = start();
    let client = &job.client;
    post(client, "/events", &["{1", "{2", "{3"].map(str::to_owned));
    // Others can read now, and nobody can write.
    let writer = rusqlite::Connection::open(job.setup.data.join("caudal.sqlite")).unwrap();
    writer.execute_batch("BEGIN IMMEDIATE").unwrap();
    let (status, retried) = client.post_json("/dead-letters/0/retry", "");
    assert_eq!((status, &retried["retried_as"]), (202, &json!(3)), "{retried}");
    assert_eq!(client.delete("/dead-letters/1").0, 202);
    job.kill_rank(0);
    job.wait_back();
    assert_eq!(letters(client), [(2, None), (1, None), (0, None)], "the store knows of nothing");
    let (status, again) = client.post_json("/dead-letters/0/retry", "");
    assert_eq!((status, &again["retried_as"]), (409, &json!(3)), "{again}");
    assert_eq!(client.delete("/dead-letters/1").0, 409);
    let (_, rest) = client.post_json("/dead-letters/retry?reason=json", "");
    assert_eq!((&rest["items"][0]["dead_letter"], &rest["accepted"]), (&json!(2), &json!(1)), "{rest}");
    drop(writer);
    job.wait_settled();
    until("the store has it all", || letters(client) == [(4, None), (3, None), (2, Some(4)), (0, Some(3))]);
    assert_eq!(ledger(client), [5, 0, 0, 5, 0, 0]);
    let (_dir, setup, status) = job.stop();
    assert_eq!(status.code(), Some(0));
    assert_identical(&setup);
}

fn dead_letters(dir: &Path, port: u16, args: &[&str], stdin: &str) -> Output {
    let url = format!("http://127.0.0.1:{port}");
    let mut command = Command::new(caudal());
    command.arg("dead-letters").args(args).args(["--url", &url]).current_dir(dir);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    child.stdin.take().unwrap().write_all(stdin.as_bytes()).unwrap();
    child.wait_with_output().unwrap()
}

#[test]
fn the_subcommand_lists_shows_retries_and_drops() {
    let job = start();
    let at = now();
    let mut lines: Vec<String> = (0..150).map(|n| format!("{{\"n\":{n}")).collect();
    lines.push(thing("bad", at, "\"\\u001b[31m\""));
    post(&job.client, "/topics/thing/events", &lines);
    let run = |args: &[&str], stdin: &str, code: i32| {
        let output = dead_letters(job.dir.path(), job.setup.port, args, stdin);
        let (out, err) = (String::from_utf8(output.stdout).unwrap(), String::from_utf8(output.stderr).unwrap());
        assert_eq!(output.status.code(), Some(code), "{args:?}: {out}{err}");
        out + &err
    };
    let lines_of = |args: &[&str]| -> Vec<Value> {
        run(args, "", 0).lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    };
    // Pages are followed.
    let all = lines_of(&["list", "--limit", "1000", "--json"]);
    assert_eq!(
        all.iter().map(|l| l["offset"].as_u64().unwrap()).collect::<Vec<_>>(),
        (0..=150).rev().collect::<Vec<_>>()
    );
    assert_eq!(lines_of(&["list", "--limit", "120", "--reason", "json", "--json"]).len(), 120);
    let list = run(&["list", "--reason", "schema"], "", 0);
    assert!(list.contains("150") && list.contains("schema") && list.contains("thing"), "{list}");
    let shown = run(&["show", "150"], "", 0);
    assert!(shown.contains(r#""id":"bad""#) && shown.contains("not retried") && !shown.contains('\u{1b}'), "{shown}");
    assert_eq!(lines_of(&["show", "150", "--json"])[0]["reason"], "schema");

    let mended = thing("bad", at, "1");
    assert!(run(&["retry", "150", "--body", "-"], &mended, 0).contains("150 was retried as 151: counted"));
    assert!(run(&["retry", "150"], "", 65).contains("a letter is retried once"));
    assert!(run(&["retry", "150", "--reason", "json"], "", 2).contains("cannot be used with"));
    assert!(run(&["retry"], "", 2).contains("OFFSET"));
    assert!(run(&["retry", "149", "--body", "-"], "", 65).contains("no event"));
    assert!(run(&["drop", "0", "1", "0", "7777"], "", 65).contains("1 is discarded"));
    // What fails again is not retried again by the same command.
    let retried = lines_of(&["retry", "--reason", "json", "--json"]);
    assert_eq!(retried.len(), 149);
    assert_eq!(retried[148], json!({"retried": {"invalid": 148}, "left": 0}));
    assert!(run(&["retry", "--reason", "topic"], "", 0).contains("nothing to retry"));
    assert!(run(&["retry", "--reason", "late"], "", 65).contains("duplicate"));
    assert_eq!(lines_of(&["list", "--state", "retried", "--limit", "500", "--json"]).len(), 149);
    assert_eq!(ledger(&job.client), [300, 1, 0, 299, 0, 0]);
    let nobody = Command::new(caudal()).args(["dead-letters", "list", "--url", "http://127.0.0.1:1"]).output().unwrap();
    assert_eq!(nobody.status.code(), Some(69));
    job.stop();
}

/// A batch that is larger than a request may be is retried in several.
#[test]
fn more_letters_than_one_request_may_retry() {
    let job = start();
    let client = &job.client;
    let lines: Vec<String> = (0..1500).map(|n| format!("{{\"n\":{n}")).collect();
    post(client, "/topics/other/events", &lines);
    let (status, answer) = client.post_json("/dead-letters/retry?reason=json", "");
    assert_eq!((status, &answer["accepted"], &answer["left"]), (202, &json!(1000), &json!(500)));
    assert_eq!((&answer["items"][0]["dead_letter"], &answer["items"][0]["retried_as"]), (&json!(0), &json!(1500)));
    let mut accepted = 0;
    until("the rest is retried", || {
        let (_, answer) = client.post_json("/dead-letters/retry?reason=json&before=1500&ack=applied", "");
        accepted += answer["accepted"].as_u64().unwrap();
        std::thread::sleep(Duration::from_millis(20));
        answer["left"] == 0
    });
    assert_eq!(accepted, 500);
    assert_eq!(ledger(client), [3000, 0, 0, 3000, 0, 0]);
    job.stop();
}
