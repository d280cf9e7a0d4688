//! Pages and streams of a topic.

use std::io::{BufRead, BufReader, Read, Write};
use std::sync::Arc;

use caudal::core::units::Offset;
use serde_json::Value;

use super::{HandClock, NDJSON, incident, offsets, post};
use crate::http_unit::{Server, Setup};
use crate::support::job::until;

const EVENTS: &str = "/topics/security.incident/events";
const STREAM: &str = "/topics/security.incident/stream";

/// What is sent in each way, and what of it is an event of the security topic: known by how it was made, not by what the job says of it.
fn traffic(server: &Server) -> Vec<(u64, String)> {
    let mut expected = Vec::new();
    for round in 0..40 {
        let first = round * 10;
        let valid: Vec<String> = (first..first + 4).map(incident).collect();
        let other = incident(first + 5).replace("security.incident", "survey.victimization");
        let wrong = incident(first + 6).replace("medium", "so so");
        // Blanks between tokens may be carriage returns; the line is kept as it came.
        let spaced = incident(first + 7).replace("{\"event_id\"", "{\r \"event_id\"");
        let (path, lines) = match round % 4 {
            // The path's topic decides, also of an event that names another.
            0 => (EVENTS, vec![valid[0].clone(), wrong, valid[1].clone(), "no json".to_owned()]),
            1 => ("/events", vec![other, valid[0].clone(), "{}".to_owned(), spaced.clone(), valid[2].clone()]),
            2 => ("/topics/migration.case/events", vec![valid[0].clone()]),
            // An id that is sent again is delivered again.
            _ => ("/events", vec![incident(3), incident(3)]),
        };
        let start = post(server, path, &lines);
        let kept = |line: &String| {
            path != "/topics/migration.case/events" && (valid.contains(line) || *line == spaced || *line == incident(3))
        };
        expected.extend((start..).zip(&lines).filter(|(_, line)| kept(line)).map(|(at, line)| (at, line.clone())));
    }
    expected
}

#[test]
fn pages_hold_every_valid_event_of_the_topic_once_whatever_their_size() {
    let server = Server::usual();
    let expected = traffic(&server);
    assert_eq!(expected.len(), 10 * (2 + 3 + 2));
    let values: Vec<(u64, Value)> =
        expected.iter().map(|(offset, line)| (*offset, serde_json::from_str(line).unwrap())).collect();
    for limit in [1, 2, 7, 64, 10_000] {
        let mut path = format!("{EVENTS}?limit={limit}");
        let mut found = Vec::new();
        loop {
            let answer = server.get(&path);
            assert_eq!(answer.status, 200, "{answer:?}");
            assert_eq!(answer.header("content-type"), Some("application/json"));
            let page = answer.json();
            let events = page["events"].as_array().unwrap();
            assert!(events.len() <= limit);
            for event in events {
                assert!(event["received_at"].as_str().unwrap().starts_with("20"), "{event}");
                found.push((event["offset"].as_u64().unwrap(), event["event"].clone()));
            }
            page["next"].as_str().unwrap().clone_into(&mut path);
            if page["more"] == false {
                break;
            }
        }
        assert_eq!(found, values, "limit {limit}");
        // A poller asks for `next` again and again: there is nothing, then what has come.
        assert_eq!(offsets(&server.get(&path).json()), [0; 0]);
    }
    let all = server.get(&format!("{EVENTS}?limit=3")).json();
    for (from, expected) in [(expected[5].0, 5), (expected[5].0 - 1, 5), (expected[5].0 + 1, 6)] {
        let page = server.get(&format!("{EVENTS}?from={from}&limit=2")).json();
        assert_eq!(page["events"][0]["event"], values[expected].1, "from {from}");
    }
    // `next` names the offset, however the page was asked for.
    let beginning = server.get(&format!("{EVENTS}?from=beginning&limit=3")).json();
    assert_eq!((&beginning["events"], offsets(&beginning)), (&all["events"], offsets(&all)));
    let end = server.get(&format!("{EVENTS}?from=end")).json();
    assert_eq!((offsets(&end), &end["more"]), (vec![], &Value::Bool(false)));
    let next = post(&server, EVENTS, &[incident(999_999)]);
    assert_eq!(offsets(&server.get(end["next"].as_str().unwrap()).json()), [next]);
}

#[test]
fn a_time_finds_what_was_taken_in_then_or_later() {
    let clock = Arc::new(HandClock::default());
    let server = Server::start(Setup { clock: clock.clone(), ..Setup::default() });
    for n in 0..5 {
        post(&server, EVENTS, &[incident(n)]);
        clock.pass(1_000);
    }
    let cases = [
        ("2027-01-15T08:00:00Z", 0),
        ("2027-01-15T08:00:00.000001Z", 1),
        ("2027-01-15T09:00:02%2B01:00", 2),
        ("2027-01-15T08:00:02.001Z", 3),
        ("1970-01-01T00:00:00Z", 0),
        ("0001-01-01T00:00:00Z", 0),
    ];
    for (time, first) in cases {
        let page = server.get(&format!("{EVENTS}?from={time}&limit=1")).json();
        assert_eq!(offsets(&page), [first], "from {time}");
    }
    assert_eq!(offsets(&server.get(&format!("{EVENTS}?from=2027-01-15T08:00:05Z")).json()), [0; 0]);
    let page = server.get(&format!("{EVENTS}?limit=2")).json();
    assert_eq!(page["events"][1]["received_at"], "2027-01-15T08:00:01Z");
}

#[test]
fn what_cannot_be_read_is_told() {
    let server = Server::start(Setup { segment_bytes: 64 << 10, ..Setup::default() });
    for (path, status, says) in [
        (format!("{EVENTS}?from=-1"), 400, "an offset, or an RFC 3339 time"),
        (format!("{EVENTS}?from="), 400, "an offset, or an RFC 3339 time"),
        (format!("{EVENTS}?from=1e18"), 400, "an offset"),
        (format!("{EVENTS}?from=99999999999999999999"), 400, "an offset"),
        (format!("{EVENTS}?from=2026-11-22"), 400, "an offset"),
        (format!("{EVENTS}?from={}", "x".repeat(20_000)), 400, "an offset"),
        (format!("{EVENTS}?from=1"), 400, "it ends at 0"),
        (format!("{EVENTS}?limit=0"), 400, "from 1 to 10000"),
        (format!("{EVENTS}?limit=10001"), 400, "from 1 to 10000"),
        (format!("{EVENTS}?form=1"), 400, "from, limit"),
        ("/topics/no.such/events".to_owned(), 404, "security.incident"),
        ("/topics/..%2f..%2fetc/events".to_owned(), 404, "no topic"),
        (format!("{STREAM}?limit=1"), 400, "from"),
        ("/topics/no.such/stream".to_owned(), 404, "security.incident"),
        (format!("{STREAM}?from=7"), 400, "it ends at 0"),
    ] {
        server.get(&path).assert_problem(status, says);
    }
    for id in ["x", "-1", "18446744073709551615", ""] {
        server.call("GET", STREAM, &[("Last-Event-ID", id)], b"").assert_problem(400, "Last-Event-ID");
    }

    // Several segments, of which the oldest go.
    let mut end = 0;
    for n in 0..20 {
        end = post(&server, EVENTS, &(0..50).map(|m| incident(n * 50 + m)).collect::<Vec<_>>()) + 50;
    }
    server.cutter.retain(Offset(end), None);
    let begins = || server.app.bus.access().unwrap().begin().0;
    // A segment holds 150 of them: only the last is left.
    until("the oldest segments are gone", || begins() >= 900);
    let oldest = begins();
    let gone = server.get(&format!("{EVENTS}?from=0"));
    gone.assert_problem(410, &format!("the oldest event is {oldest}"));
    assert_eq!(gone.json()["oldest"], oldest);
    server.get(&format!("{EVENTS}?from={}", oldest - 1)).assert_problem(410, "no longer retained");
    assert_eq!(offsets(&server.get(&format!("{EVENTS}?from={oldest}&limit=1")).json()), [oldest]);
    server.get(&format!("{STREAM}?from=0")).assert_problem(410, "no longer retained");
    server.call("GET", STREAM, &[("Last-Event-ID", "3")], b"").assert_problem(410, "no longer retained");
    let gone = server.get(&format!("{EVENTS}?from=2020-01-01T00:00:00Z&limit=1"));
    gone.assert_problem(410, "events of that time are no longer retained");
    assert_eq!(gone.json()["oldest"], oldest);
    assert_eq!(offsets(&server.get(&format!("{EVENTS}?from=beginning&limit=1")).json()), [oldest]);
    for path in [EVENTS, STREAM] {
        server.get(&format!("{path}?from=2100-01-01T00:00:00Z")).assert_problem(400, "lies in the future");
    }
}

/// A stream, read event by event.
struct Stream {
    lines: BufReader<std::net::TcpStream>,
    from: u64,
}

impl Stream {
    fn open(server: &Server, query: &str, last: Option<u64>) -> Self {
        let mut stream = server.connect();
        let last = last.map(|last| format!("Last-Event-ID: {last}\r\n")).unwrap_or_default();
        // HTTP/1.0 has no chunks.
        write!(stream, "GET {STREAM}{query} HTTP/1.0\r\nHost: localhost\r\n{last}\r\n").unwrap();
        let mut lines = BufReader::new(stream);
        let mut head = String::new();
        while !head.ends_with("\r\n\r\n") {
            assert!(lines.read_line(&mut head).unwrap() > 0, "{head}");
        }
        let head = head.to_ascii_lowercase();
        assert!(head.contains("200 ok") && head.contains("content-type: text/event-stream"), "{head}");
        let from = head.lines().find_map(|line| line.strip_prefix("caudal-from: ")).unwrap().parse().unwrap();
        Self { lines, from }
    }

    /// None: the server has ended it.
    fn next(&mut self) -> Option<(u64, String)> {
        let mut id = None;
        loop {
            let mut line = String::new();
            if self.lines.read_line(&mut line).unwrap() == 0 {
                return None;
            }
            let line = line.strip_suffix('\n').unwrap();
            assert!(!line.contains('\r'), "{line:?}");
            if let Some(text) = line.strip_prefix("id: ") {
                id = Some(text.parse().unwrap());
            } else if let Some(data) = line.strip_prefix("data: ") {
                let mut end = String::new();
                self.lines.read_line(&mut end).unwrap();
                assert_eq!(end, "\n", "an event's end");
                return Some((id.unwrap(), data.to_owned()));
            }
        }
    }
}

#[test]
fn a_stream_gives_what_was_and_what_comes_and_goes_on_where_it_was() {
    let mut server = Server::usual();
    let expected: Vec<(u64, String)> =
        traffic(&server).into_iter().map(|(offset, line)| (offset, line.replace('\r', " "))).collect();
    let mut all = Stream::open(&server, "?from=beginning", None);
    let mut now = Stream::open(&server, "", None);
    assert_eq!(all.from, 0);
    for event in &expected {
        assert_eq!(all.next().as_ref(), Some(event));
    }
    // The id that a client has seen last beats what the path says, which a browser asks for again as it was.
    let mut again = Stream::open(&server, "?from=beginning", Some(expected[8].0));
    assert_eq!(again.from, expected[8].0 + 1);
    assert_eq!(again.next().as_ref(), Some(&expected[9]));

    let next = post(&server, EVENTS, &[incident(777)]);
    assert_eq!(now.from, next);
    for stream in [&mut all, &mut now] {
        assert_eq!(stream.next(), Some((next, incident(777))));
    }
    server.stop();
    for stream in [&mut all, &mut now] {
        assert_eq!(stream.next(), None);
    }
}

#[test]
fn streams_are_bounded_and_make_room_when_they_end() {
    let server = Server::start(Setup { connections_max: 200, ..Setup::default() });
    let mut open: Vec<Stream> = (0..64).map(|_| Stream::open(&server, "", None)).collect();
    server.get(STREAM).assert_problem(503, "64 streams");
    assert_eq!(server.get(EVENTS).status, 200, "pages are still served");
    drop(open.pop());
    until("there is room again", || {
        let mut stream = server.connect();
        write!(stream, "GET {STREAM} HTTP/1.0\r\nHost: localhost\r\n\r\n").unwrap();
        let mut head = [0; 12];
        stream.read_exact(&mut head).unwrap();
        head.ends_with(b"200")
    });
}

/// A client that never reads: what is kept for it does not grow with the log, others are served, and what it is given in the end is whole.
#[test]
fn a_client_that_does_not_read_misses_nothing() {
    let server = Server::usual();
    let mut slow = Stream::open(&server, "", None);
    let lines: Vec<String> = (0..2_000).map(incident).collect();
    let mut end = 0;
    for _ in 0..40 {
        let answer = server.post(EVENTS, NDJSON, lines.join("\n").as_bytes());
        assert_eq!(answer.status, 202, "{answer:?}");
        end = answer.json()["last_offset"].as_u64().unwrap();
    }
    let mut quick = Stream::open(&server, "?from=beginning", None);
    let mut count = 0;
    while quick.next().unwrap().0 != end {
        count += 1;
    }
    assert_eq!(count, end);
    for offset in 0..=end {
        assert_eq!(slow.next(), Some((offset, lines[offset as usize % lines.len()].clone())));
    }
}
