//! `caudal export` and `GET /log`: every event of the log, as it came, and files that a batch reads.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::TcpListener;
use std::process::{Command, Output};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::support::client::Client;
use crate::support::job::{Job, caudal};

const TOPIC: &str = "security.incident";

fn run(url: &str, args: &[&str]) -> Output {
    Command::new(caudal()).args(["export", "--url", url]).args(args).output().unwrap()
}

fn url(job: &Job) -> String {
    format!("http://127.0.0.1:{}", job.setup.port)
}

/// An export that must end well; gives its summary.
pub fn export(job: &Job, args: &[&str]) -> Value {
    let output = run(&url(job), args);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

fn incident(n: usize) -> String {
    crate::bus::incident(n as u64)
}

fn taken(client: &Client, path: &str, lines: &[String]) {
    assert_eq!(client.post_lines(path, lines.join("\n").as_bytes()).0, 202);
}

/// A job that is not ready for it says when it will be.
#[test]
fn an_export_comes_again_when_the_job_says() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let asked = std::thread::spawn(move || {
        let answers = [
            "503 Service Unavailable\r\nRetry-After: 2\r\nContent-Length: 2\r\n\r\n{}",
            "200 OK\r\nCaudal-From: 0\r\nCaudal-Until: 1\r\nContent-Length: 5\r\n\r\nt\t{}\n",
        ];
        answers.map(|answer| {
            let (mut stream, _) = listener.accept().unwrap();
            let at = Instant::now();
            let mut request = BufReader::new(stream.try_clone().unwrap());
            let mut line = String::new();
            while request.read_line(&mut line).unwrap() > 2 {
                line.clear();
            }
            stream.write_all(format!("HTTP/1.1 {answer}").as_bytes()).unwrap();
            at
        })
    });
    let dir = TempDir::new().unwrap();
    let file = dir.path().join("a.events");
    let output = run(&url, &["--output", file.to_str().unwrap()]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(fs::read_to_string(&file).unwrap(), "t\t{}\n");
    let [first, second] = asked.join().unwrap();
    assert!(second - first >= Duration::from_secs(2), "{:?}", second - first);
}

/// Lines as they were sent, each with its topic before it, whatever they are worth; from any offset to any other.
#[test]
fn an_export_has_every_event_as_it_came() {
    let job = Job::start(2);
    let named: Vec<String> = (0..500).map(incident).collect();
    let mixed: Vec<String> =
        (500..700).map(|n| incident(n).replacen('{', &format!("{{\"source\":\"{TOPIC}\","), 1)).collect();
    let odd = ["{\"broken", "\t", "[1,\t2]", "{\"source\": \"nowhere\"}", "\u{fffd}\u{0}"].map(str::to_owned);
    taken(&job.client, &format!("/topics/{TOPIC}/events"), &named);
    taken(&job.client, "/events", &mixed);
    taken(&job.client, "/events", &odd);
    taken(&job.client, &format!("/topics/{TOPIC}/events"), &odd);
    let lines = |topic: &str, of: &[String]| -> Vec<String> {
        // A line of white space alone is no event.
        of.iter().filter(|line| !line.trim().is_empty()).map(|line| format!("{topic}\t{line}\n")).collect()
    };
    let all = [lines(TOPIC, &named), lines("", &mixed), lines("", &odd), lines(TOPIC, &odd)].concat();
    let file = job.dir.path().join("a.events");
    let path = file.to_str().unwrap();
    let whole = export(&job, &["--json", "--output", path]);
    assert_eq!((&whole["events"], &whole["from"], &whole["until"]), (&json!(708), &json!(0), &json!(708)), "{whole}");
    assert_eq!(fs::read_to_string(&file).unwrap(), all.concat());
    assert_eq!(whole["bytes"].as_u64().unwrap(), all.concat().len() as u64);
    for (from, until) in [(3, 4), (0, 1), (499, 701), (707, 708), (5, 5), (708, 708)] {
        let range = ["--json", "--from", &from.to_string(), "--until", &until.to_string(), "--output", path];
        assert_eq!(export(&job, &range)["events"], until - from);
        assert_eq!(fs::read_to_string(&file).unwrap(), all[from..until].concat(), "{from} to {until}");
    }
    // Nothing was taken in before then.
    assert_eq!(export(&job, &["--json", "--until", "2020-01-01T00:00:00Z", "--output", path])["events"], 0);
    assert_eq!(export(&job, &["--json", "--from", "2020-01-01T00:00:00Z", "--output", path])["events"], 708);

    let untouched = fs::read(&file).unwrap();
    for (args, code, says) in [
        (&["--output", path, "--from", "soon"] as &[&str], 65, ": allowed are beginning, end"),
        (&["--output", path, "--until", "soon"], 65, "until="),
        (&["--output", path, "--from", "709"], 65, "it ends at 708"),
        (&["--output", path, "--from", "2990-01-01T00:00:00Z"], 65, "lies in the future"),
        (&["--output", path, "--until", "709"], 65, "it ends at 708"),
        (&["--output", path, "--from", "7", "--until", "6"], 65, "until lies before from"),
        (&["--output", "a.ndjson"], 2, ".events.gz or .events.zst"),
        (&["--output", "/nowhere/a.events"], 74, "cannot be written"),
        (&["--output", "/dev/full/a.events"], 74, "cannot be written"),
        (&[], 2, "--output"),
    ] {
        let output = run(&url(&job), args);
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(code), "{args:?}: {said}");
        assert!(said.contains(says), "{args:?}: {said}");
    }
    let away = run("http://127.0.0.1:1", &["--output", path]);
    assert_eq!(away.status.code(), Some(69), "{}", String::from_utf8_lossy(&away.stderr));
    assert_eq!(fs::read(&file).unwrap(), untouched, "what was there stays until the new one is whole");
    let left: Vec<_> = fs::read_dir(job.dir.path()).unwrap().map(|f| f.unwrap().file_name()).collect();
    assert!(!left.iter().any(|name| name.to_string_lossy().ends_with(".part")), "{left:?}");
    let (status, problem) = job.client.get("/log?to=3");
    assert_eq!(status, 400, "{problem}");
    job.stop();
}

/// What a batch makes of an export: its own topics' events, each refused where the job would refuse it; others are passed over.
#[test]
fn a_batch_reads_an_export() {
    let dir = TempDir::new().unwrap();
    let pipeline = "pipeline: p\ntopics: {a: {schema: a.json}, b: {schema: b.json}}\nid: id\ntime: {field: at}\nemit:\n  c: {from: a, body: {n: n}}\n\
                    windows:\n  w: {every: 1h, group: [n], metrics: {c: count()}}\n";
    let reads = "pipeline: q\ntopics: {c: ~}\nwindows:\n  of_c: {every: 1h, group: [n], metrics: {c: count()}}\n";
    let schema = r#"{"type": "object", "properties": {"n": {"type": "integer"}, "id": {"type": "string"}, "at": {"type": "string"}}}"#;
    for (name, text) in [
        ("p.yaml", pipeline),
        ("q.yaml", reads),
        ("a.json", schema),
        ("b.json", r#"{"type": "object", "properties": {"id": {"type": "string"}, "at": {"type": "string"}}}"#),
    ] {
        fs::write(dir.path().join(name), text).unwrap();
    }
    let at = "2026-11-22T12:00:00Z";
    let event = |id: &str, n: &str| format!("{{\"id\":\"{id}\",\"at\":\"{at}\",\"n\":{n}}}");
    let long = event("long", &format!("\"{}\"", "x".repeat(262_144)));
    let fits = event("fits", &format!("\"{}\"", "x".repeat(262_144 - event("fits", "\"\"").len())));
    let name = "n".repeat(200);
    let lines = [
        format!("a\t{}", event("1", "1")),
        format!("b\t{}", event("1", "2")),
        // Of two with one id the first counts.
        format!("a\t{}", event("1", "3")),
        format!("\t{}", event("2", "4").replacen('{', "{\"source\":\"a\",", 1)),
        format!("c\t{{\"event_id\":\"a38466ff-3196-4c9c-8000-000000000001\",\"timestamp\":\"{at}\",\"n\":7}}"),
        format!("{name}\tnobody's"),
        format!("a\t{}\r", event("3", "\"text\"")),
        event("4", "1"),
        String::new(),
        format!("b\t{long}"),
        format!("{name}\t{long}"),
        format!("b\t{fits}"),
        format!("\t{}", event("5", "5")),
        format!("\t{}", event("6", "5").replacen('{', "{\"source\":\"c\",", 1)),
        "a\t".to_owned(),
    ];
    let starts: Vec<usize> =
        lines.iter().scan(0, |next, line| Some(std::mem::replace(next, *next + line.len() + 1))).collect();
    fs::write(dir.path().join("a.events"), lines.join("\n")).unwrap();
    let zipped = |text: &[u8]| {
        let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        std::io::Write::write_all(&mut gzip, text).unwrap();
        gzip.finish().unwrap()
    };
    fs::write(dir.path().join("b.events.gz"), zipped(lines.join("\n").as_bytes())).unwrap();
    fs::write(dir.path().join("odd"), lines.join("\n")).unwrap();
    let batch = |args: &[&str]| {
        let all = [&["batch", "--json", "--pipeline", "p.yaml", "q.yaml", "--output", "out"], args].concat();
        Command::new(caudal()).args(all).current_dir(dir.path()).output().unwrap()
    };
    for args in
        [&["--input", "a.events"] as &[&str], &["--input", "b.events.gz"], &["--input", "odd", "--format", "events"]]
    {
        let output = batch(args);
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let summary: Value = serde_json::from_slice(&output.stdout).unwrap();
        let count = |name: &str| summary[name].as_u64().unwrap();
        assert_eq!((count("counted"), count("duplicate"), count("invalid")), (5, 1, 6), "{args:?}: {summary}");
        let read = |name: &str| fs::read_to_string(dir.path().join("out").join(name)).unwrap();
        let rejects: Vec<Value> =
            read("rejects.ndjson").lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        let found: Vec<(usize, &str, &str)> = rejects
            .iter()
            .map(|reject| {
                let line = starts.iter().position(|start| *start as u64 == reject["position"].as_u64().unwrap());
                (line.unwrap(), reject["reason"].as_str().unwrap(), reject["detail"].as_str().unwrap())
            })
            .collect();
        let expected = [
            (6, "schema", "/n"),
            (7, "json", "no line of an export"),
            (9, "json", "longer than 262144 bytes"),
            (12, "topic", "/source: missing"),
            (13, "topic", "no topic that takes events from outside"),
            (14, "json", ""),
        ];
        assert_eq!(found.len(), expected.len(), "{found:?}");
        for (found, (line, reason, detail)) in found.iter().zip(expected) {
            assert_eq!((found.0, found.1), (line, reason), "{found:?}");
            assert!(found.2.contains(detail), "{found:?}");
        }
        assert_eq!(rejects[0]["body"], event("3", "\"text\""), "without the topic before it");
        assert!(read("q_of_c.csv").contains(",7,1,1"), "{}", read("q_of_c.csv"));
    }
    let refused = batch(&["--input", "a.events", "--topic", "a"]);
    let said = String::from_utf8_lossy(&refused.stderr);
    assert_eq!((refused.status.code(), said.contains("whose events have topics")), (Some(2), true), "{said}");
}
