//! W3C trace context: kept with a request's events, and shown where they are.

use serde_json::json;

use super::{accepted, server};

const JSON: (&str, &str) = ("Content-Type", "application/json");
const PATH: &str = "/topics/curl/events";
const PARENT: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

fn body(numbers: &[u32]) -> String {
    json!(numbers.iter().map(|n| json!({"at": "2026-11-28T10:00:00Z", "n": n})).collect::<Vec<_>>()).to_string()
}

#[test]
fn a_trace_is_kept_with_its_events_and_with_no_others() {
    let server = server();
    let post = |headers: &[(&str, &str)], numbers: &[u32]| {
        let headers = [&[JSON], headers].concat();
        assert_eq!(accepted(&server.call("POST", PATH, &headers, body(numbers).as_bytes())), numbers.len() as u64);
    };
    post(&[], &[0]);
    post(&[("traceparent", PARENT), ("tracestate", "a=1"), ("tracestate", " b=2 ")], &[1, 2]);
    post(&[], &[3]);
    let other = PARENT.replace("4bf9", "4bfa");
    post(&[("traceparent", &other)], &[4]);
    // What is invalid is passed over, and the events are taken.
    post(&[("traceparent", "00-0-0-0"), ("tracestate", "a=1")], &[5]);
    post(&[("traceparent", PARENT), ("traceparent", PARENT)], &[6]);
    post(&[("tracestate", "a=1")], &[7]);
    post(&[("traceparent", PARENT), ("tracestate", "A=é")], &[8]);

    let page = server.get(&format!("{PATH}?limit=100")).json();
    let items = page["events"].as_array().unwrap();
    assert_eq!(items.len(), 9);
    for (n, item) in (0..).zip(items) {
        let (parent, state) = match n {
            1 | 2 => (json!(PARENT), json!("a=1,b=2")),
            4 => (json!(other), json!(null)),
            8 => (json!(PARENT), json!(null)),
            _ => (json!(null), json!(null)),
        };
        assert_eq!((&item["traceparent"], &item["tracestate"], &item["event"]["n"]), (&parent, &state, &json!(n)));
    }
    // From the middle of a request on it is the same one.
    let page = server.get(&format!("{PATH}?from=2&limit=1")).json();
    assert_eq!(page["events"][0]["traceparent"], PARENT);
}

#[test]
fn a_stream_says_it_in_a_comment() {
    let server = server();
    let headers = [JSON, ("traceparent", PARENT), ("tracestate", "a=1")];
    server.call("POST", PATH, &headers, body(&[1]).as_bytes());
    server.call("POST", PATH, &[JSON], body(&[2]).as_bytes());
    let mut stream = std::io::BufReader::new(server.connect());
    std::io::Write::write_all(
        stream.get_mut(),
        b"GET /topics/curl/stream?from=beginning HTTP/1.1\r\nHost: localhost\r\n\r\n",
    )
    .unwrap();
    let mut text = String::new();
    while !text.contains("\"n\":2}") {
        assert!(std::io::BufRead::read_line(&mut stream, &mut text).unwrap() > 0, "{text}");
    }
    assert!(text.contains(&format!(": trace {PARENT} a=1\nid: 0\ndata: ")), "{text}");
    assert!(text.contains("\n\nid: 1\ndata: "), "{text}");
}
