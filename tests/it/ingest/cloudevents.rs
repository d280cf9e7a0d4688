//! CloudEvents over HTTP: each mode becomes the JSON format in the log, bad ones are refused or are dead letters, and the handshake of web hooks is answered.

use serde_json::{Value, json};

use super::{accepted, events, server};

const TOPIC: &str = "com.example.reading";
const PATH: &str = "/topics/com.example.reading/events";
const STRUCTURED: (&str, &str) = ("Content-Type", "application/cloudevents+json");
const BATCHED: (&str, &str) = ("Content-Type", "application/cloudevents-batch+json");

/// With this id.
fn event(id: &str) -> Value {
    json!({"specversion": "1.0", "id": id, "source": "/sensors/1", "type": TOPIC, "time": "2026-11-28T10:00:00Z",
           "datacontenttype": "application/json", "data": {"value": 1.5}})
}

/// The same in headers, its data in a body.
const HEADERS: [(&str, &str); 6] = [
    ("ce-specversion", "1.0"),
    ("ce-id", "b"),
    ("ce-source", "/sensors/1"),
    ("ce-type", TOPIC),
    ("ce-time", "2026-11-28T10:00:00Z"),
    ("Content-Type", "application/json"),
];

#[test]
fn every_mode_is_the_same_event() {
    let server = server();
    for path in [PATH, "/events"] {
        let answer = server.call("POST", path, &[STRUCTURED], event("s").to_string().as_bytes());
        assert_eq!(accepted(&answer), 1);
        assert_eq!(accepted(&server.call("POST", path, &HEADERS, b"{\n  \"value\": 1.5\n}")), 1);
        let batch = json!([event("x"), event("y")]).to_string();
        assert_eq!(accepted(&server.call("POST", path, &[BATCHED], batch.as_bytes())), 2);
    }
    let all = ["s", "b", "x", "y"].map(event);
    let found = events(&server, TOPIC);
    // The second time without a topic in the path: their type names it.
    assert_eq!(found, [all.clone(), all].concat());
}

#[test]
fn a_single_one_that_is_none_is_refused() {
    let server = server();
    let with = |name: &str, value: Value| {
        let mut event = event("a");
        event[name] = value;
        event.to_string()
    };
    let both = with("data_base64", json!("AAEC"));
    let bodies = [
        (with("id", Value::Null), "id is missing"),
        (with("id", json!("")), "id is empty"),
        (with("source", json!(7)), "source is no text"),
        (with("specversion", json!("2.0")), "1.0 is taken"),
        (both.clone(), "data and data_base64"),
        (both.replace("\"data\":", "\"other\":").replace("AAEC", "A!"), "no Base64"),
        (format!("[{}]", event("a")), "one JSON object"),
        ("{".to_owned(), "not closed"),
    ];
    for (body, says) in &bodies {
        server.call("POST", PATH, &[STRUCTURED], body.as_bytes()).assert_problem(400, says);
    }
    let body = event("a").to_string();
    server.call("POST", PATH, &[STRUCTURED, ("ce-id", "b")], body.as_bytes()).assert_problem(400, "ce-id says \"b\"");
    server.call("POST", PATH, &[BATCHED], body.as_bytes()).assert_problem(400, "is a JSON array");
    let xml = ("Content-Type", "application/cloudevents+xml");
    server.call("POST", PATH, &[xml], body.as_bytes()).assert_problem(415, "JSON format");
    for (without, says) in [(0, "specversion is missing"), (1, "id is missing"), (2, "source is missing")] {
        let mut headers = HEADERS.to_vec();
        headers.remove(without);
        server.call("POST", PATH, &headers, b"{}").assert_problem(400, says);
    }
    server.call("POST", PATH, &HEADERS, b"{\"a\":").assert_problem(400, "no application/json");
    assert_eq!(accepted(&server.call("POST", PATH, &[STRUCTURED, ("ce-id", "a")], body.as_bytes())), 1);
    assert_eq!(events(&server, TOPIC), [event("a")], "and nothing else");
}

#[test]
fn bad_ones_of_a_batch_are_no_events_and_the_others_are() {
    let server = server();
    let mut bad = event("bad");
    bad["specversion"] = json!("0.3");
    let batch = json!([event("a"), bad, 7, event("z")]).to_string();
    assert_eq!(accepted(&server.call("POST", PATH, &[BATCHED], batch.as_bytes())), 4);
    assert_eq!(events(&server, TOPIC), [event("a"), event("z")]);
    let log = server.get("/log").body;
    assert!(log.contains(r#"["no CloudEvent: specversion is \"0.3\", and 1.0 is taken",{"#), "{log}");
}

#[test]
fn data_that_is_no_json_is_kept() {
    let server = server();
    let kind = |kind: &'static str| [&HEADERS[..5], &[("Content-Type", kind)]].concat();
    server.call("POST", PATH, &kind("text/plain; charset=utf-8"), "a \"b\"\né".as_bytes());
    server.call("POST", PATH, &kind("image/png"), b"\x89PNG\r\n\x1a\n");
    // A gzip file is data like any other where it is not the body's encoding.
    server.call("POST", PATH, &kind("application/gzip"), &[0x1f, 0x8b, 0x08, 0]);
    let found = events(&server, TOPIC);
    assert_eq!(found[0]["data"], "a \"b\"\né");
    assert_eq!(found[0]["datacontenttype"], "text/plain; charset=utf-8");
    assert_eq!(found[1]["data_base64"], "iVBORw0KGgo=");
    assert_eq!(found[2]["data_base64"], "H4sIAA==");
}

#[test]
fn senders_may_ask_before_they_send() {
    let server = server();
    let origin = ("WebHook-Request-Origin", "events.example.com");
    for path in [PATH, "/events"] {
        let answer = server.call("OPTIONS", path, &[origin, ("WebHook-Request-Rate", "120")], b"");
        assert_eq!(answer.status, 200, "{answer:?}");
        assert_eq!(answer.header("webhook-allowed-origin"), Some("events.example.com"));
        assert_eq!(answer.header("webhook-allowed-rate"), Some("*"));
        assert!(answer.header("allow").is_some_and(|allow| allow.contains("post")));
        let plain = server.call("OPTIONS", path, &[], b"");
        assert_eq!((plain.status, plain.header("webhook-allowed-origin")), (204, None));
        assert_eq!(server.call("HEAD", path, &[], b"").status, 200);
        server.call("OPTIONS", path, &[origin, ("WebHook-Request-Rate", "0")], b"").assert_problem(400, "from 1");
    }
    assert_eq!(server.call("OPTIONS", "/topics/none/events", &[origin], b"").status, 404);
    assert_eq!(server.call("HEAD", "/topics/none/events", &[], b"").status, 404);
    server.app.ingest.gate(Some(caudal::ingest::Refusal::Draining));
    assert_eq!(server.call("HEAD", PATH, &[], b"").status, 503);
}
