//! `routes:` of pipeline files: how they are read and refused, and what they answer, in one process over a real log and a real store.

use std::fs;

use caudal::core::columns::GroupValue;
use caudal::core::identity::metric_id;
use caudal::core::ledger::Counts;
use caudal::core::plan::TimeFormat;
use caudal::core::row::{Value as Metric, ViewChange, ViewRow, WindowRow};
use caudal::core::units::{Epoch, Generation, LogId, Micros, Offset, TopicId};
use caudal::pipeline::routes::{Does, ENGINE, Fill, List, Method, Route, Taking};
use caudal::pipeline::{Bundle, Faults, FileText};
use caudal::store::{Commit, Progress};
use serde_json::{Value, json};
use uuid::Uuid;

use crate::http_unit::{Server, Setup};
use crate::support::job::until;

/// A file with these routes, from line 14 on.
fn bundle(routes: &str) -> Bundle {
    let properties = json!({
        "id": {"type": "string"}, "at": {"type": "integer"}, "noted": {"type": "string"}, "user": {"type": "string"},
        "kind": {"type": "string"}, "n": {"type": "integer"},
    });
    let schema = json!({"type": "object", "properties": properties}).to_string();
    let text = format!(
        "\
pipeline: p
topics:
  a: {{schema: a.json}}
id: id
time: {{field: at, format: unix_ms}}
windows:
  w:
    every: 5s
    group: [user]
    metrics: {{total: sum(n)}}
views:
  v: {{key: user, latest: [kind, n]}}
  h: {{key: user, latest: [kind], history: true}}
{routes}"
    );
    Bundle(vec![FileText { file: "p.yaml".to_owned(), text, schemas: vec![("a.json".to_owned(), schema)] }])
}

fn routes(text: &str) -> Vec<Route> {
    bundle(text).pipelines().unwrap_or_else(|faults| panic!("{faults}\n{text}")).routes
}

#[test]
fn routes_are_read() {
    let found = routes(
        "\
routes:
  - {get: /counts, windows: w}
  - {get: /totals, windows: w, as: totals, field: total}
  - {get: /users, view: v, as: users-blocked}
  - {get: /users/latest, view: v}
  - {get: '/users/{key}', view: v}
  - {get: '/users/{key}/history', history: h}
  - {post: /publish, topic: a, fill: {id: uuid(), at: now(), noted: now(), kind: 'login, twice', n: 3}}
  - {patch: '/users/{key}', topic: a, key: user, fill: {id: uuid()}}
  - {put: '/users/{key}', topic: a, key: user}
",
    );
    let list = |name: &str, field: Option<&str>| Some(List { name: name.to_owned(), field: field.map(str::to_owned) });
    let fill = |fill: &[(&str, Fill)]| fill.iter().map(|(name, with)| ((*name).to_owned(), with.clone())).collect();
    let taking = |key: Option<&str>, fill| Does::Event(Taking { topic: TopicId(0), key: key.map(str::to_owned), fill });
    let constant = |json: &str| Fill::Constant(json.to_owned());
    let unix = Fill::Now(TimeFormat::Unix(caudal::core::plan::Unit::Milliseconds));
    let expected = [
        (Method::Get, "/counts", Does::Windows { window: 0, list: None }),
        (Method::Get, "/totals", Does::Windows { window: 0, list: list("totals", Some("total")) }),
        (Method::Get, "/users", Does::View { view: 0, list: list("users-blocked", None) }),
        (Method::Get, "/users/latest", Does::View { view: 0, list: None }),
        (Method::Get, "/users/{key}", Does::Entry { view: 0 }),
        (Method::Get, "/users/{key}/history", Does::History { view: 1 }),
        (
            Method::Post,
            "/publish",
            taking(
                None,
                fill(&[
                    ("id", Fill::Uuid),
                    ("at", unix),
                    ("noted", Fill::Now(TimeFormat::Rfc3339 { zone: None })),
                    ("kind", constant("\"login, twice\"")),
                    ("n", constant("3")),
                ]),
            ),
        ),
        (Method::Patch, "/users/{key}", taking(Some("user"), fill(&[("id", Fill::Uuid)]))),
        (Method::Put, "/users/{key}", taking(Some("user"), Vec::new())),
    ];
    let expected = expected.map(|(method, path, does)| Route { method, path: path.to_owned(), does });
    assert_eq!(found, expected);
}

/// A route, and what is said of it, with its place.
#[test]
fn wrong_routes_are_refused_with_their_place() {
    let check = |route: &str, column: usize, says: &str| {
        let text = format!("routes:\n  - {route}\n");
        let Faults(faults) = bundle(&text).pipelines().map(|_| ()).unwrap_err();
        let [fault] = &faults[..] else { panic!("{route}: {faults:?}") };
        assert_eq!((fault.line, fault.column), (15, column), "{route}: {fault}");
        assert!(fault.message.contains(says), "{route}: {:?} does not say {says:?}", fault.message);
    };
    check("{windows: w}", 5, "`get: PATH` is missing");
    check("{get: /a, post: /b, windows: w}", 21, "one method");
    check("{fetch: /a, get: /a, windows: w}", 6, "unknown key \"fetch\"");
    check("{get: /a, windows: w, alerts: x}", 5, "one of windows, view, history and alerts");
    check("{get: /a, alerts: x}", 23, "this file has no alert \"x\"");
    check("{get: a, windows: w}", 11, "no path of a route");
    check("{get: /a/, windows: w}", 11, "no path of a route");
    check("{get: /../etc, windows: w}", 11, "no path of a route");
    check("{get: '/a%20b', windows: w}", 11, "no path of a route");
    check("{get: '/a/{name}', view: v}", 11, "{key}");
    check("{get: '/{key}', view: v}", 11, "begins with a part of its own");
    check("{get: /events, windows: w}", 11, "Caudal's own");
    check("{get: '/windows/{key}', view: v}", 11, "Caudal's own");
    check("{get: /a}", 5, "one of windows, view, history and alerts");
    check("{get: /a, windows: w, view: v}", 5, "one of windows, view, history and alerts");
    check("{get: /a, windows: x}", 24, "no window \"x\"");
    check("{get: /a, view: vv}", 21, "no view \"vv\"");
    check("{get: '/a/{key}', windows: w}", 11, "no key in the path");
    check("{get: /a, history: h}", 11, "needs a part {key}");
    check("{get: '/a/{key}', history: v}", 32, "history: true");
    check("{get: /a, windows: w, as: b}", 31, "say `field: NAME`");
    check("{get: /a, view: v, field: kind}", 31, "say `as: NAME` too");
    check("{get: /a, view: v, as: b, field: kinf}", 38, "did you mean \"kind\"");
    check("{get: /a, view: v, as: next}", 28, "not next");
    check("{get: '/a/{key}', view: v, as: b}", 36, "they are for lists");
    check("{get: /a, view: v, topic: a}", 31, "has no `topic`");
    check("{post: /a, topic: a, view: v}", 32, "has no `view`");
    check("{post: /a}", 5, "`topic: NAME` is missing");
    check("{post: /a, topic: b}", 23, "no topic of this file is called \"b\"");
    check("{patch: '/a/{key}', topic: a}", 13, "belong together");
    check("{patch: /a, topic: a, key: user}", 32, "belong together");
    check("{patch: '/a/{key}', topic: a, key: usr}", 40, "did you mean \"user\"");
    check("{patch: '/a/{key}', topic: a, key: user, fill: {user: x}}", 53, "taken from the path");
    check("{post: /a, topic: a, fill: {it: uuid()}}", 33, "does not describe \"it\"");
    check("{post: /a, topic: a, fill: {id: uid()}}", 37, "did you mean \"uuid()\"");
    check("{post: /a, topic: a, fill: {id: [1]}}", 37, "a constant");
    check("{post: /a, topic: a, fill: {a.b: 1}}", 33, "at the top of the event");
    check("{post: /a, topic: a, fill: {}}", 32, "1 to 50");
    let twice = bundle("routes:\n  - {get: /a, view: v}\n  - {get: /a, windows: w}\n").pipelines();
    assert!(twice.unwrap_err().to_string().contains("p.yaml:16:11: another route"));
    let list = bundle("routes: {get: /a}\n").pipelines();
    assert!(list.unwrap_err().to_string().contains("p.yaml:14:9: routes: a mapping"));
}

/// A view with a fault is told of once, and not as one that is not there.
#[test]
fn a_fault_of_a_view_is_not_told_again_of_its_routes() {
    let mut bundle = bundle("routes:\n  - {get: /a, view: v}\n");
    bundle.0[0].text = bundle.0[0].text.replace("v: {key: user,", "v: {key: usr,");
    let Faults(faults) = bundle.pipelines().map(|_| ()).unwrap_err();
    assert_eq!(faults.len(), 1, "{faults:?}");
}

#[test]
fn no_route_can_take_an_address_of_the_engine() {
    let text = fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/src/web/mod.rs")).unwrap();
    let paths: Vec<&str> = text.split(".route(\"/").skip(1).filter_map(|rest| rest.split(['"', '/']).next()).collect();
    assert!(paths.len() > 20, "{paths:?}");
    for first in paths.into_iter().filter(|first| !first.is_empty()) {
        assert!(ENGINE.contains(&first), "/{first} is served, and not in ENGINE of src/pipeline/routes.rs");
    }
    assert!(ENGINE.is_sorted());
}

fn user_activity() -> Server {
    Server::start(Setup { pipeline: "pipelines/user_activity", ..Setup::default() })
}

#[test]
fn publish_fills_what_is_absent_and_answers_it() {
    let server = user_activity();
    let answer = server.call("POST", "/publish", &[], b"{\"user_id\":\"ana\",\"message\":null}");
    assert_eq!(answer.status, 202, "{answer:?}");
    let first = answer.json();
    assert_eq!((&first["accepted"], &first["first_offset"], &first["last_offset"]), (&json!(1), &json!(0), &json!(0)));
    let filled = &first["filled"];
    assert_eq!((&filled["user_id"], &filled["kind"]), (&json!("ana"), &json!("message")));
    let uuid = |value: &Value| Uuid::parse_str(value.as_str().unwrap()).unwrap();
    assert_eq!(uuid(&filled["event_id"]).get_version_num(), 4);
    let time = filled["timestamp"].as_str().unwrap();
    assert!(time.ends_with('Z') && time.starts_with("20"), "{time}");
    assert!(answer.body.contains("\"filled\":{\"event_id\":"), "in the file's order: {}", answer.body);

    // Without a body everything is filled, each time anew; applied, the fates are there too.
    let second = server.call("POST", "/publish?ack=applied", &[], b"");
    assert_eq!((second.status, &second.json()["counted"]), (200, &json!(1)), "{second:?}");
    assert_ne!(uuid(&second.json()["filled"]["event_id"]), uuid(&filled["event_id"]));
    assert_ne!(second.json()["filled"]["user_id"], json!("ana"));
    assert_eq!(server.get("/ledger").json()["accepted"], 2);
}

#[test]
fn what_a_route_cannot_take_leaves_nothing() {
    let server = user_activity();
    let json = "application/json";
    let long = format!("{{\"message\":\"{}\"}}", "x".repeat(64 << 10));
    for (body, status, says) in [
        ("[{}]", 400, "one JSON object"),
        ("[]", 400, "one JSON object"),
        ("7", 400, "neither an object"),
        ("{}{}", 400, "one JSON object"),
        ("{\"a\":}", 400, "no JSON object"),
        ("{\"a\":1 2}", 400, "no JSON object"),
        (&long, 413, "EVENT_BYTES_MAX"),
    ] {
        server.post("/publish", json, body.as_bytes()).assert_problem(status, says);
    }
    server.post("/publish", "application/x-ndjson", b"{}").assert_problem(400, "one JSON object");
    server.post("/publish", "text/xml", b"<a/>").assert_problem(415, "application/json");
    server.post("/publish?ack=soon", json, b"{}").assert_problem(400, "applied");
    server.call("GET", "/publish", &[], b"").assert_problem(405, "Allow");
    server.call("DELETE", "/users/ana", &[], b"").assert_problem(405, "Allow");
    server.call("POST", "/publish", &[("Origin", "http://evil.example")], b"{}").assert_problem(403, "other sites");
    assert_eq!(server.get("/ledger").json()["accepted"], 0);
}

#[test]
fn the_key_in_the_path_is_the_events() {
    let server = Server::start(Setup { pipeline: "pipelines/prescriptions", ..Setup::default() });
    let patch = |path: &str, body: &str| server.call("PATCH", path, &[], body.as_bytes());
    let answer = patch("/prescriptions/rx%207", "{\"comentario\":\"en ayunas\"}");
    assert_eq!(answer.status, 202, "{answer:?}");
    assert_eq!(answer.json()["filled"]["prescription_id"], "rx 7");
    assert_eq!(patch("/prescriptions/rx-7", "{\"prescription_id\":\"rx-7\"}").status, 202);
    patch("/prescriptions/rx-7", "{\"prescription_id\":\"rx-8\"}").assert_problem(400, "leave it out of the body");
    patch("/prescriptions/a%00b", "{}").assert_problem(400, "NUL");
    patch("/prescriptions/%ff", "{}").assert_problem(400, "UTF-8");
    assert_eq!(server.call("PUT", "/prescriptions/rx-7", &[], b"{}").status, 202);
    // What is on disk is told of a moment later.
    until("three are accepted", || server.get("/ledger").json()["accepted"] == 3);
}

/// Three users in the view, with two rows of the window, and a history of two.
fn commit_results(server: &Server, users: &[&str], history: bool) {
    let view = |(at, key): (u64, &&str)| ViewRow {
        view: 0,
        key: (*key).into(),
        value: format!("{{\"kind\":\"click\",\"message\":\"/{at}\"}}"),
        events: 2,
        time: Micros(1_800_000_000_000_000),
        offset: Offset(at),
        epoch: Epoch(1),
    };
    let change = |offset: u64| ViewChange {
        view: 0,
        key: "ana".into(),
        offset: Offset(offset),
        time: Micros(1_800_000_000_000_000),
        value: format!("{{\"n\":{offset}}}"),
    };
    let row = |(at, kind): (i64, &str)| {
        let group = vec![GroupValue::Text(kind.into())];
        let start = Micros(1_800_000_000_000_000 + at * 10_000_000);
        WindowRow {
            metric_id: metric_id("user_activity", "by_kind", start, &group),
            window: 0,
            start,
            end: start.plus(Micros(10_000_000)),
            group,
            values: vec![Metric::Integer(3), Metric::Integer(2)],
            event_count: 3,
            revision: 0,
            closed: true,
            digest: 1,
            epoch: Epoch(1),
        }
    };
    let plan = &server.app.running.get().pipelines.plan;
    let mut store = server.target.store(plan).unwrap();
    store.claim(Generation(1)).unwrap();
    let counts = Counts { counted: 5, ..Counts::default() };
    let rows = if plan.windows.is_empty() { Vec::new() } else { vec![row((0, "click")), row((1, "login"))] };
    let commit = Commit {
        rows,
        views: (0..).zip(users).map(view).collect(),
        history: if history { vec![change(1), change(4)] } else { Vec::new() },
        ..Commit::new(
            None,
            Progress { log: LogId(1), generation: Generation(1), epoch: Epoch(1), end: Offset(5), counts },
        )
    };
    store.commit(&commit).unwrap();
}

#[test]
fn short_addresses_answer_as_the_long_ones_or_in_the_applications_shape() {
    let server = user_activity();
    commit_results(&server, &["ana", "bob \"x\"", "latest"], false);
    let same = |short: &str, long: &str| {
        let (short, long) = (server.get(short), server.get(long));
        assert_eq!((short.status, &short.body), (200, &long.body), "{short:?}");
    };
    same("/users/latest", "/views/latest");
    same("/users/latest?after=ana", "/views/latest?after=ana");
    same("/users/ana", "/views/latest/ana");
    same("/users/bob%20%22x%22", "/views/latest/bob%20%22x%22");
    same("/kinds", "/windows?pipeline=user_activity&window=by_kind");
    same("/kinds?group.kind=login", "/windows?window=by_kind&group.kind=login");
    assert_eq!(server.get("/users").body, r#"{"users":["ana","bob \"x\"","latest"]}"#);
    assert_eq!(
        server.get("/users?limit=2").body,
        r#"{"users":["ana","bob \"x\""],"next":"/users?limit=2&after=bob%20%22x%22"}"#
    );
    let next = server.get("/kinds?limit=1").json()["next"].as_str().unwrap().to_owned();
    assert!(next.starts_with("/kinds?limit=1&after="), "{next}");
    assert_eq!(server.get(&next).json()["windows"][0]["group"]["kind"], "login");
    server.get("/users/carla").assert_problem(404, "no key");
    server.get("/users/ana?x=1").assert_problem(400, "has none");
    server.get("/kinds?window=by_kind").assert_problem(400, "allowed are from, to");
    server.get("/kinds?group.user=x").assert_problem(400, "group.kind");
    server.get("/users/ana/history").assert_problem(404, "no such path");
}

#[test]
fn a_key_has_its_history() {
    let server = Server::start(Setup { pipeline: "pipelines/prescriptions", ..Setup::default() });
    commit_results(&server, &["ana"], true);
    let history = server.get("/prescriptions/ana/history");
    assert_eq!(history.body, server.get("/views/current/ana/history").body);
    let offsets: Vec<_> = history.json()["history"].as_array().unwrap().iter().map(|c| c["offset"].clone()).collect();
    assert_eq!(offsets, [json!(4), json!(1)]);
}

/// A generator that is started anew goes on with its settings and another seed, and its log says what happened.
#[test]
fn the_generator_is_started_anew_and_keeps_a_log() {
    let server = user_activity();
    let restarted = server.post("/generator/restart", "application/json", b"").json();
    assert_eq!((&restarted["running"], &restarted["settings"]["rate"]), (&json!(true), &json!(0.5)), "{restarted}");
    let wish = b"{\"rate\":1000,\"seed\":7,\"duplicates\":0.5}";
    server.post("/generator", "application/json", wish).assert_problem(409, "restart");
    let started = server.post("/generator/restart", "application/json", wish).json();
    assert_eq!((&started["settings"]["seed"], &started["settings"]["duplicates"]), (&json!(7), &json!(0.5)));
    server.post("/generator/restart", "application/json", b"{\"rate\":-1}").assert_problem(400, "rate");
    assert_eq!(server.get("/generator").json()["settings"]["seed"], 7, "a wish that cannot be met changes nothing");
    let sent = |entry: &Value| {
        entry["did"] == "sent" && entry["topic"] == "user.activity" && entry["event"]["event_id"].is_string()
    };
    let newest =
        |limit: u32| server.get(&format!("/generator/log?limit={limit}")).json()["log"].as_array().unwrap().clone();
    let begun = std::time::Instant::now();
    while !newest(1).iter().any(sent) {
        assert!(begun.elapsed().as_secs() < 20, "{:?}", newest(10));
    }
    let again = server.post("/generator/restart", "application/json", b"").json();
    assert_eq!((&again["settings"]["rate"], &again["settings"]["duplicates"]), (&json!(1000.0), &json!(0.5)));
    assert_ne!(again["settings"]["seed"], 7);
    let stopped = server.call("DELETE", "/generator", &[], b"").json();
    assert_eq!(stopped["running"], false);
    assert_eq!(newest(1)[0]["did"], "stopped");
    let did: Vec<_> = newest(1000)
        .into_iter()
        .rev()
        .map(|entry| entry["did"].as_str().unwrap().to_owned())
        .filter(|did| did != "sent")
        .collect();
    assert_eq!(did, ["started", "stopped", "started", "stopped", "started", "stopped"]);
    let of_log: u64 = newest(1000).iter().filter_map(|entry| entry["events"].as_u64()).sum();
    assert_eq!(server.get("/ledger").json()["accepted"], of_log, "nothing is sent that is not in the log");
    server.get("/generator/log?limit=1001").assert_problem(400, "1 to 1000");
}
