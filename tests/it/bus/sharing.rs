//! Consumer groups over HTTP, in one process.

use std::collections::BTreeSet;
use std::sync::Arc;

use caudal::core::units::{Generation, Offset};
use caudal::store::GroupPosition;
use serde_json::{Value, json};

use super::{HandClock, JSON, ask, commit, incident, offsets, post};
use crate::http_unit::{Answer, Server, Setup};
use crate::support::job::until;

const EVENTS: &str = "/topics/security.incident/events";
const GROUPS: &str = "/topics/security.incident/groups";

fn poll(server: &Server, group: &str, member: &str, max: u64) -> Vec<u64> {
    let answer = ask(server, group, "poll", &json!({"member": member, "max": max}));
    assert_eq!(answer.status, 200, "{answer:?}");
    let answer = answer.json();
    assert_eq!(answer["last"].as_u64(), offsets(&answer).last().copied());
    offsets(&answer)
}

fn refused(answer: &Answer, status: u16, says: &str) {
    assert_eq!(answer.status, status, "{answer:?}");
    let detail = answer.json()["detail"].as_str().unwrap().to_owned();
    assert!(detail.contains(says), "{detail}");
    assert_eq!(answer.header("retry-after").is_some(), [429, 503].contains(&status), "{answer:?}");
}

/// What the store has.
fn stored(server: &Server) -> Vec<GroupPosition> {
    server.target.reader(&server.app.running.get().pipelines.plan).unwrap().groups().unwrap()
}

fn position(group: &str, position: u64) -> GroupPosition {
    let topic = "security.incident".to_owned();
    GroupPosition { topic, group: group.to_owned(), position: Offset(position) }
}

/// Two members of one group, and another group that is none of their business.
#[test]
fn each_event_goes_to_one_member_of_a_group() {
    let clock = Arc::new(HandClock::default());
    let server = Server::start(Setup { clock: clock.clone(), ..Setup::default() });
    // Offsets 0 to 9, of which 3 is another topic's and 6 invalid.
    let mut lines: Vec<String> = (0..10).map(incident).collect();
    lines[3] = incident(3).replace("security.incident", "survey.victimization");
    lines[6] = "{}".to_owned();
    post(&server, "/events", &lines);

    assert_eq!(poll(&server, "g", "a", 3), [0, 1, 2]);
    assert_eq!(stored(&server), [position("g", 0)], "a group is there before anything is given to it");
    assert_eq!(poll(&server, "g", "b", 2), [4, 5]);
    assert_eq!(poll(&server, "other", "a", 100), [0, 1, 2, 4, 5, 7, 8, 9]);
    let more = ask(&server, "g", "poll", &json!({"member": "b", "max": 1, "received": 5}));
    assert_eq!(offsets(&more.json()), [7]);

    // The later one first: it is done, and the position waits for the earlier one.
    let answer = commit(&server, "g", "b", 7);
    assert_eq!((answer.status, answer.json()), (200, json!({"committed": 7, "position": 0})));
    refused(&commit(&server, "g", "b", 2), 409, "was not delivered to b");
    refused(&commit(&server, "g", "a", 4), 409, "was not delivered to a");
    refused(&commit(&server, "g", "a", 8), 409, "was not delivered to a");
    refused(&commit(&server, "g", "c", 1), 409, "c is no member");
    assert_eq!(stored(&server), [position("g", 0), position("other", 0)]);
    let answer = commit(&server, "g", "a", 1);
    assert_eq!(answer.json(), json!({"committed": 1, "position": 2}));
    assert_eq!(stored(&server)[0], position("g", 2));
    assert_eq!(commit(&server, "g", "a", 1).json(), answer.json(), "an answer that was lost");

    let shown = server.get(&format!("{GROUPS}/g")).json();
    let in_session =
        |member: &Value| (member["member"].clone(), member["uncommitted"].clone(), member["ends_in_ms"].clone());
    let members: Vec<_> = shown["in_session"].as_array().unwrap().iter().map(in_session).collect();
    assert_eq!(members, [(json!("a"), json!(1), json!(30_000)), (json!("b"), json!(0), json!(30_000))]);
    assert_eq!((&shown["position"], &shown["lag_at_most"], &shown["uncommitted"]), (&json!(2), &json!(8), &json!(1)));
    let list = server.get(GROUPS).json();
    assert_eq!(list["groups"].as_array().unwrap().len(), 2);
    assert_eq!(server.get("/topics/migration.case/groups").json(), json!({"groups": []}));
    let metrics = server.get("/metrics").body;
    let line = "caudal_group_lag_at_most{topic=\"security.incident\",group=\"g\"} 8";
    assert!(metrics.lines().any(|l| l == line), "{metrics}");
    assert_eq!(server.get("/cluster").json()["groups"], list["groups"]);

    // a is silent: what it has goes to b, who is not.
    clock.pass(20_000);
    assert_eq!(poll(&server, "g", "b", 1), [8]);
    clock.pass(10_000);
    assert_eq!(offsets(&ask(&server, "g", "poll", &json!({"member": "b", "received": 8})).json()), [2]);
    refused(&commit(&server, "g", "a", 2), 409, "its session has ended");
    let late = ask(&server, "g", "poll", &json!({"member": "a", "received": 2}));
    refused(&late, 409, "its session has ended");
    assert_eq!(poll(&server, "g", "a", 9), [9]);
    assert_eq!(commit(&server, "g", "b", 8).json()["position"], 9);
    assert_eq!(commit(&server, "g", "a", 9).json()["position"], 10);
    assert_eq!(poll(&server, "g", "a", 9), [0; 0]);
    assert_eq!(stored(&server)[0], position("g", 10));
}

#[test]
fn a_new_group_begins_where_it_says() {
    let server = Server::usual();
    post(&server, EVENTS, &(0..5).map(incident).collect::<Vec<_>>());
    let at = |group: &str, from: Value| ask(&server, group, "poll", &json!({"member": "m", "from": from}));
    assert_eq!(offsets(&at("default", Value::Null).json()), [0, 1, 2, 3, 4]);
    assert_eq!(offsets(&at("beginning", json!("beginning")).json()), [0, 1, 2, 3, 4]);
    assert_eq!(offsets(&at("number", json!(3)).json()), [3, 4]);
    assert_eq!(offsets(&at("text", json!("4")).json()), [4]);
    assert_eq!(offsets(&at("time", json!("2020-01-01T00:00:00Z")).json()), [0, 1, 2, 3, 4]);
    assert_eq!(offsets(&at("end", json!("end")).json()), [0; 0]);
    // It is there now, and the same word means nothing more.
    post(&server, EVENTS, &[incident(5)]);
    assert_eq!(offsets(&at("end", json!("end")).json()), [5]);
    refused(&at("far", json!(7)), 400, "it ends at 6");
    for from in [json!(true), json!(-1), json!(1.5), json!("soon"), json!([1]), json!({})] {
        refused(&at("odd", from), 400, "allowed are beginning, end, an offset");
    }
    let deleted = server.call("DELETE", &format!("{GROUPS}/number"), &[], b"");
    assert_eq!((deleted.status, deleted.json()), (200, json!({"deleted": "number"})));
    refused(&server.call("DELETE", &format!("{GROUPS}/number"), &[], b""), 404, "no group number");
    refused(&commit(&server, "number", "m", 3), 404, "no group number");
    refused(&server.get(&format!("{GROUPS}/number")), 404, "no group number");
    assert!(!stored(&server).iter().any(|group| group.group == "number"));
    assert_eq!(offsets(&at("number", json!(1)).json()), [1, 2, 3, 4, 5]);
}

#[test]
fn what_cannot_be_asked_is_told() {
    let server = Server::usual();
    let long = "x".repeat(64 << 10);
    let bodies = [
        ("", "one JSON object"),
        ("[]", "one JSON object"),
        ("{}", "missing field `member`"),
        ("{\"member\":\"m\",\"who\":1}", "unknown field `who`"),
        ("{\"member\":\"m\",\"max\":0}", "max=0: allowed is a whole number from 1 to 10000"),
        ("{\"member\":\"m\",\"max\":10001}", "max=10001"),
        ("{\"member\":\"m\",\"max\":-1}", "one JSON object"),
        ("{\"member\":\"m\",\"wait_ms\":55001}", "wait_ms=55001: allowed is a whole number from 0 to 55000"),
        ("{\"member\":\"m\",\"session_ms\":999}", "session_ms=999: allowed is a whole number from 1000 to 3600000"),
        ("{\"member\":\"m\",\"received\":18446744073709551615}", "offset=18446744073709551615"),
        ("{\"member\":\"\"}", "no name of a member"),
        ("{\"member\":\"🎫\"}", "no name of a member"),
        ("{\"member\":\"../m\"}", "no name of a member"),
    ];
    for (body, says) in bodies {
        refused(&server.post(&format!("{GROUPS}/g/poll"), JSON, body.as_bytes()), 400, says);
    }
    for (member, says) in [(&long[..60_000], "no name of a member"), (&long, "it has at most 65536 bytes")] {
        let body = json!({"member": member}).to_string();
        refused(&server.post(&format!("{GROUPS}/g/poll"), JSON, body.as_bytes()), 400, says);
    }
    refused(&server.post(&format!("{GROUPS}/g/poll"), "text/plain", b"{}"), 415, "application/json");
    refused(&server.post(&format!("{GROUPS}/g/poll?max=1"), JSON, b"{}"), 400, "this call has none");
    for group in ["..%2fg", "%F0%9F%8E%AB", "a%20b", "%00", "-g", &"g".repeat(101)] {
        refused(&ask(&server, group, "poll", &json!({"member": "m"})), 400, "no name of a group");
    }
    refused(&server.post("/topics/no.such/groups/g/poll", JSON, b"{}"), 404, "no topic");
    refused(&server.get("/topics/no.such/groups"), 404, "no topic");
    refused(&commit(&server, "g", "m", 0), 404, "no group g");
    refused(&ask(&server, "g", "commit", &json!({"member": "m", "offset": -1})), 400, "member and offset");
    assert_eq!(server.get(GROUPS).json(), json!({"groups": []}), "nothing of it made a group");
}

#[test]
fn a_poll_waits_for_what_comes() {
    let server = Server::usual();
    let wait = json!({"member": "m", "wait_ms": 55_000, "session_ms": 1_000});
    std::thread::scope(|scope| {
        let waiting = scope.spawn(|| ask(&server, "g", "poll", &wait).json());
        until("somebody waits", || !server.get(GROUPS).json()["groups"].as_array().unwrap().is_empty());
        post(&server, "/topics/migration.case/events", &[incident(1)]);
        post(&server, EVENTS, &[incident(1)]);
        let given = waiting.join().unwrap();
        assert_eq!(offsets(&given), [1], "what another topic gets wakes nobody for good");
    });
    // The session has ended by itself while nobody polled: it was counted from the answer on.
    let other = json!({"member": "n", "wait_ms": 55_000});
    assert_eq!(offsets(&ask(&server, "g", "poll", &other).json()), [1], "given to who waited for it");
}

#[test]
fn the_job_ends_though_somebody_waits() {
    let mut server = Server::usual();
    let mut waiting = server.connect();
    let body = json!({"member": "m", "wait_ms": 55_000}).to_string();
    let length = body.len();
    let request = format!(
        "POST {GROUPS}/g/poll HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Type: {JSON}\r\nContent-Length: {length}\r\n\r\n{body}"
    );
    std::io::Write::write_all(&mut waiting, request.as_bytes()).unwrap();
    until("it waits", || !server.get(GROUPS).json()["groups"].as_array().unwrap().is_empty());
    server.stop();
    let mut answer = String::new();
    std::io::Read::read_to_string(&mut waiting, &mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    assert!(answer.ends_with("{\"events\":[],\"last\":null,\"position\":0}"), "{answer}");
}

/// Another process holds the database: nothing moves, nothing is lost, and it heals.
#[test]
fn while_the_store_is_away_nothing_is_committed() {
    let server = Server::usual();
    post(&server, EVENTS, &(0..4).map(incident).collect::<Vec<_>>());
    assert_eq!(poll(&server, "g", "m", 2), [0, 1]);
    let caudal::store::target::Target::Sqlite(path) = &server.target else { panic!("the tests use SQLite") };
    let other = rusqlite::Connection::open(path).unwrap();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    std::thread::scope(|scope| {
        let new = scope.spawn(|| ask(&server, "new", "poll", &json!({"member": "m"})));
        refused(&commit(&server, "g", "m", 1), 503, "not available");
        refused(&new.join().unwrap(), 503, "");
    });
    assert_eq!(server.get(&format!("{GROUPS}/g")).json()["uncommitted"], 2);
    // What needs no store goes on.
    assert_eq!(offsets(&ask(&server, "g", "poll", &json!({"member": "n"})).json()), [2, 3]);
    other.execute_batch("ROLLBACK").unwrap();
    assert_eq!(commit(&server, "g", "m", 1).json()["position"], 2);
    assert_eq!(stored(&server), [position("g", 2)]);
    assert_eq!(poll(&server, "new", "m", 9), [0, 1, 2, 3]);
}

/// Another life has begun elsewhere: this one may move nothing.
#[test]
fn a_stale_generation_is_fenced() {
    let server = Server::usual();
    post(&server, EVENTS, &[incident(0), incident(1)]);
    assert_eq!(poll(&server, "g", "m", 1), [0]);
    server.target.store(&server.app.running.get().pipelines.plan).unwrap().claim(Generation(2)).unwrap();
    refused(&commit(&server, "g", "m", 0), 503, "fenced off");
    refused(&ask(&server, "new", "poll", &json!({"member": "m"})), 503, "fenced off");
    assert_eq!(stored(&server), [position("g", 0)]);
}

#[test]
fn a_group_that_fell_behind_is_told_and_goes_on_where_it_says() {
    let server = Server::start(Setup { segment_bytes: 64 << 10, ..Setup::default() });
    post(&server, EVENTS, &[incident(0), incident(1)]);
    assert_eq!(poll(&server, "g", "m", 1), [0]);
    let mut end = 0;
    for n in 1..20 {
        end = post(&server, EVENTS, &(0..50).map(|m| incident(n * 50 + m)).collect::<Vec<_>>()) + 50;
    }
    server.cutter.retain(Offset(end), None);
    let begins = || server.app.bus.access().unwrap().begin().0;
    // A segment holds 150 of them: only the last is left.
    until("the oldest segments are gone", || begins() >= 900);
    let oldest = begins();
    // What it was given it may commit all the same.
    assert_eq!(commit(&server, "g", "m", 0).json()["position"], 1);
    let answer = ask(&server, "g", "poll", &json!({"member": "m"}));
    refused(&answer, 410, "poll once with \"from\"");
    assert_eq!(answer.json()["oldest"], oldest);
    assert_eq!(server.get(&format!("{GROUPS}/g")).json()["retained"], false);
    let answer = ask(&server, "g", "poll", &json!({"member": "m", "from": "beginning", "max": 2})).json();
    assert_eq!(offsets(&answer), [oldest, oldest + 1]);
    assert_eq!(stored(&server), [position("g", oldest)]);
    assert_eq!(commit(&server, "g", "m", oldest + 1).json()["position"], oldest + 2);
}

/// Threads that poll and commit as they please, some of which die: together they have everything.
#[test]
fn many_members_share_everything() {
    let server = Server::start(Setup { connections_max: 200, ..Setup::default() });
    let all: u64 = 3_000;
    let done = std::sync::Mutex::new(BTreeSet::new());
    std::thread::scope(|scope| {
        for member in 0..6_u64 {
            let (server, done) = (&server, &done);
            scope.spawn(move || {
                let mut name = format!("m{member}");
                for turn in 0.. {
                    let body = json!({"member": name, "max": 20 + member, "wait_ms": 500, "session_ms": 1_000});
                    let answer = ask(server, "g", "poll", &body);
                    assert_eq!(answer.status, 200, "{answer:?}");
                    let given = offsets(&answer.json());
                    let Some(&last) = given.last() else {
                        if done.lock().unwrap().len() as u64 == all {
                            break;
                        }
                        continue;
                    };
                    if (member + turn) % 17 == 5 {
                        // It dies with what it has, and another takes its place.
                        name = format!("m{member}-{turn}");
                        continue;
                    }
                    if commit(server, "g", &name, last).status == 200 {
                        done.lock().unwrap().extend(given);
                    }
                }
            });
        }
        for first in (0..all).step_by(100) {
            post(&server, EVENTS, &(first..first + 100).map(incident).collect::<Vec<_>>());
        }
    });
    assert_eq!(done.into_inner().unwrap().into_iter().collect::<Vec<_>>(), (0..all).collect::<Vec<_>>());
    assert_eq!(stored(&server), [position("g", all)]);
}
