//! Content-Encoding: every call that takes events decodes gzip and zstd within the bounds of a body, and refuses what is not whole.

use std::io::Write;

use flate2::Compression;
use flate2::write::GzEncoder;

use super::{accepted, events, server};
use crate::http_unit::{Server, Setup};

const JSON: (&str, &str) = ("Content-Type", "application/json");
const NDJSON: (&str, &str) = ("Content-Type", "application/x-ndjson");
const GZIP: (&str, &str) = ("Content-Encoding", "gzip");
const ZSTD: (&str, &str) = ("Content-Encoding", "zstd");
const CURL: &str = "/topics/curl/events";

/// What it is, its encoding, the body, the status of the answer and what its detail says.
type Case<'a> = (&'a str, (&'a str, &'a str), Vec<u8>, u16, &'a str);

fn gzip(text: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(text).unwrap();
    encoder.finish().unwrap()
}

fn zstd_of(text: &[u8]) -> Vec<u8> {
    zstd::bulk::compress(text, 3).unwrap()
}

fn lines(count: u64) -> Vec<u8> {
    let line = |n| format!("{{\"at\":\"2026-11-28T10:00:00Z\",\"n\":{n}}}\n");
    (0..count).map(line).collect::<String>().into_bytes()
}

#[test]
fn an_encoded_body_is_taken_as_it_would_be_without() {
    let server = server();
    // Some are larger than what is held without asking, some by little.
    for count in [3, 1_600, 1_700, 2_000, 9_000] {
        let text = lines(count);
        for (coding, body) in
            [(GZIP, gzip(&text)), (ZSTD, zstd_of(&text)), (("Content-Encoding", "identity"), text.clone())]
        {
            let answer = server.call("POST", CURL, &[NDJSON, coding], &body);
            assert_eq!(accepted(&answer), count);
        }
    }
    let found = events(&server, "curl");
    assert!((0..9).all(|n| found[n]["n"] == n % 3), "{found:?}");
    let chunked = |body: &[u8]| [format!("{:x}\r\n", body.len()).as_bytes(), body, b"\r\n"].concat();
    let body = gzip(&lines(9_000));
    let (front, back) = body.split_at(body.len() / 2);
    let head = "POST /topics/curl/events HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Type: application/x-ndjson\r\n\
                Content-Encoding: gzip\r\nTransfer-Encoding: chunked\r\n\r\n";
    let request = [head.as_bytes(), &chunked(front), &chunked(back), b"0\r\n\r\n"].concat();
    assert_eq!(accepted(&server.raw(&request)), 9_000);
}

#[test]
fn what_is_not_whole_or_too_large_is_refused_and_nothing_is_taken() {
    let server = server();
    let text = lines(2_000);
    let (gzipped, zstded) = (gzip(&text), zstd_of(&text));
    let zeros = vec![b' '; 64 << 20];
    let wide = {
        let mut encoder = zstd::stream::write::Encoder::new(Vec::new(), 1).unwrap();
        encoder.window_log(24).unwrap();
        encoder.write_all(&lines(600_000)).unwrap();
        encoder.finish().unwrap()
    };
    let cases: Vec<Case> = vec![
        ("a truncated body", GZIP, gzipped[..gzipped.len() - 5].to_vec(), 400, "no whole gzip"),
        ("a truncated body", ZSTD, zstded[..zstded.len() / 2].to_vec(), 400, "no whole zstd"),
        ("what follows", GZIP, [&gzipped[..], b"{}\n"].concat(), 400, "no whole gzip"),
        ("what follows", ZSTD, [&zstded[..], b"{}\n"].concat(), 400, "no whole zstd"),
        ("no gzip", GZIP, text.clone(), 400, "no whole gzip"),
        ("no zstd", ZSTD, text.clone(), 400, "no whole zstd"),
        ("a bomb", GZIP, gzip(&zeros), 413, "BODY_BYTES_MAX"),
        ("a bomb", ZSTD, zstd_of(&zeros), 413, "BODY_BYTES_MAX"),
        ("a wide window", ZSTD, wide, 400, "no whole zstd"),
        ("gzip in gzip", GZIP, gzip(&gzipped), 400, "encode it once"),
        ("zstd in gzip", GZIP, gzip(&zstded), 400, "encode it once"),
        ("gzip, unsaid", ("X-Nothing", "1"), gzipped.clone(), 400, "Content-Encoding"),
        ("gzip, gzip", ("Content-Encoding", "gzip, gzip"), gzip(&gzipped), 415, "more than once"),
        ("deflate", ("Content-Encoding", "deflate"), text.clone(), 415, "gzip or zstd"),
        ("br", ("Content-Encoding", "br"), text.clone(), 415, "gzip or zstd"),
    ];
    for (what, coding, body, status, says) in cases {
        for kind in [JSON, NDJSON] {
            let answer = server.call("POST", CURL, &[kind, coding], &body);
            assert_eq!(answer.status, status, "{what} {coding:?}: {answer:?}");
            answer.assert_problem(status, says);
            if status == 415 {
                assert_eq!(answer.header("accept-encoding"), Some("gzip, zstd"), "{answer:?}");
            }
        }
    }
    let after = server.call("POST", CURL, &[NDJSON, ZSTD], &zstded);
    assert_eq!(after.json()["first_offset"], 0, "nothing of all that is in the log");
}

/// The routes of pipeline files, and a retry's new body.
#[test]
fn other_calls_that_take_events_decode_them_too() {
    let server = Server::start(Setup { pipeline: "pipelines/user_activity", ..Setup::default() });
    let answer = server.call("POST", "/publish", &[JSON, GZIP], &gzip(br#"{"message":"hello"}"#));
    assert_eq!(accepted(&answer), 1, "{answer:?}");
    server.call("POST", "/publish", &[JSON, GZIP], b"{}").assert_problem(400, "no whole gzip");
    server
        .call("POST", "/publish", &[JSON], br#"{"message":"a"}{"message":"b"}"#)
        .assert_problem(400, "one JSON object");
    // The letter is looked for after the body was read.
    server.call("POST", "/dead-letters/7/retry", &[JSON, GZIP], &gzip(b"{}")).assert_problem(404, "no dead letter 7");
    server.call("POST", "/dead-letters/7/retry", &[JSON, GZIP], b"{}").assert_problem(400, "no whole gzip");
}
