//! The HTTP surface of a real job: every call, and every bad input that it can receive. One process is `http_unit`'s; here are decoding,
//! deduplication, dead letters and lineage of three ranks.

use std::collections::{BTreeMap, HashSet};
use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use caudal::clock::{Clock, SystemClock};
use caudal::core::time;
use caudal::core::units::Micros;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::support::client::Client;
use crate::support::job::{Job, Setup, caudal, until};
use crate::support::traffic::{civic_safety, events};

/// Says as little as a schema may, so that what is refused is refused by Caudal's own rules.
const SCHEMA: &str = r#"{"type": "object", "properties": {
    "id": {"type": "string"}, "at": {"type": "string"}, "g": {"type": "string"},
    "x": {"type": "number"}, "k": {"type": "integer"}}}"#;

const PIPELINE: &str = "pipeline: anything
topics:
  thing: {schema: thing.json}
id:   id
time: {field: at, out_of_order: 1s, max_future: 1h, idle_after: 10m}
windows:
  ten:
    every: 10s
    group: [g]
    late:  {allow: 5s}
    emit:  1ms
    metrics: {n: count(), x: sum(x), k: sum(k)}
";

const SECOND: i64 = 1_000_000;
/// The default of EVENT_BYTES_MAX.
const EVENT_BYTES_MAX: usize = 256 << 10;

/// What becomes of one event.
#[derive(Clone, Debug, PartialEq)]
enum Fate {
    Counted,
    Duplicate,
    /// With what the reason begins.
    Refused(&'static str),
    /// The whole request is answered so.
    Status(u16),
}
use Fate::{Counted, Duplicate, Refused, Status};

/// A job of the pipeline above, and what has been sent to it.
struct Things {
    job: Job,
    /// The time of nearly all events: the minute in which the test began, so that none is late by how long it takes.
    base: Micros,
    /// Names things that are sent only to see that the job still counts.
    good: u64,
    /// Accepted, counted, duplicate, invalid, late.
    sent: [u64; 5],
}

impl Things {
    fn start() -> Self {
        let dir = TempDir::new().expect("a directory");
        write_pipeline(dir.path());
        let setup = Setup::new(3, dir.path()).with("PIPELINES", &pipeline_file(dir.path()));
        let base = Micros(now().0.div_euclid(60 * SECOND) * 60 * SECOND);
        Self { job: Job::start_in(dir, setup), base, good: 0, sent: [0; 5] }
    }

    /// Posts a body of one event and compares its fate; a refused event must be a dead letter, kept whole.
    fn check(&mut self, case: &str, form: &str, body: &[u8], line: &[u8], expected: &Fate) {
        let case = format!("{case}, {form}: {:?}", String::from_utf8_lossy(&line[..line.len().min(200)]));
        let answer = self.job.client.try_post("/topics/thing/events?ack=applied", form, body);
        let (status, text) = answer.unwrap_or_else(|_| panic!("{case}: no answer\n{}", self.job.output()));
        let answer: Value = serde_json::from_str(&text).unwrap_or_else(|e| panic!("{case}: {e}: {text}"));
        if let Status(expected) = expected {
            assert_eq!(status, *expected, "{case}: {answer}");
            assert_eq!(answer["status"], *expected, "{case}: {answer}");
            return;
        }
        assert_eq!((status, answer["accepted"].as_u64()), (200, Some(1)), "{case}: {answer}");
        let item = &answer["items"][0];
        let reason = item["reason"].as_str().unwrap_or_default();
        let (name, column) = match expected {
            Counted => ("counted", 1),
            Duplicate => ("duplicate", 2),
            Refused(reason) if reason.starts_with("late") => ("late", 4),
            _ => ("invalid", 3),
        };
        assert_eq!(item["status"], name, "{case}: {answer}");
        self.sent[0] += 1;
        self.sent[column] += 1;
        let Refused(begin) = expected else { return };
        assert!(reason.starts_with(begin), "{case}: {reason}");
        let letters = self.job.client.json("/dead-letters?limit=1");
        let letter = &letters["dead_letters"][0];
        assert_eq!(letter["offset"], item["offset"], "{case}");
        assert_eq!(format!("{}: {}", text_of(letter, "reason"), text_of(letter, "detail")), reason, "{case}");
        assert!(text_of(letter, "body") == String::from_utf8_lossy(line), "{case}: not kept whole");
    }

    fn line(&mut self, case: &str, line: &[u8], expected: &Fate) {
        self.check(case, "application/x-ndjson", line, line, expected);
    }

    /// Posts NDJSON and compares the events' fates in their order.
    fn lines(&mut self, case: &str, body: &[u8], expected: &[Fate]) {
        let (status, answer) = self.job.client.post_lines("/topics/thing/events?ack=applied", body);
        assert_eq!(status, 200, "{case}: {answer}");
        let items = answer["items"].as_array().expect("fates");
        let found: Vec<&str> = items.iter().map(|i| text_of(i, "status")).collect();
        let expected: Vec<&str> = expected.iter().map(|f| if *f == Counted { "counted" } else { "invalid" }).collect();
        assert_eq!(found, expected, "{case}");
        self.sent[0] += found.len() as u64;
        self.sent[1] += found.iter().filter(|f| **f == "counted").count() as u64;
        self.sent[3] += found.iter().filter(|f| **f == "invalid").count() as u64;
    }

    /// The job still counts.
    fn counts(&mut self, case: &str) {
        self.good += 1;
        let line = thing(&format!("good {}", self.good), self.base, r#","g":"good""#);
        self.line(&format!("after {case}"), line.as_bytes(), &Counted);
    }

    /// The row of a group that only one window has.
    fn row(&self, group: &str) -> Value {
        let rows = self.job.client.windows(&format!("&group.g={group}"));
        assert_eq!(rows.len(), 1, "{group}: {rows:?}");
        rows[0].clone()
    }

    /// The ledger says what was sent, and a replay of the log finds the same rows.
    fn end(self) {
        let ledger = self.job.client.json("/ledger");
        let found =
            ["accepted", "counted", "duplicate", "invalid", "late"].map(|f| ledger[f].as_u64().expect("a count"));
        assert_eq!(found, self.sent, "{ledger}");
        assert_eq!((&ledger["filtered"], &ledger["in_flight"]), (&json!(0), &json!(0)));
        let output = self.job.output();
        assert!(!output.contains("panicked") && !output.contains("starting it again"), "{output}");
        let (dir, setup, status) = self.job.stop();
        assert_eq!(status.code(), Some(0), "{output}");
        let verified = caudal_in(dir.path(), &setup, &["verify", "--json"]);
        assert!(verified.status.success(), "{}", said(&verified));
    }
}

fn write_pipeline(dir: &Path) {
    fs::write(pipeline_file(dir), PIPELINE).expect("a file");
    fs::write(dir.join("thing.json"), SCHEMA).expect("a file");
}

fn pipeline_file(dir: &Path) -> String {
    dir.join("pipeline.yaml").display().to_string()
}

/// Runs the program itself, without mpirun.
fn caudal_in(dir: &Path, setup: &Setup, args: &[&str]) -> Output {
    let mut command = Command::new(caudal());
    command.args(args).env("DATA_DIR", &setup.data).envs(&setup.env).current_dir(dir);
    command.output().expect("caudal runs")
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
}

fn now() -> Micros {
    SystemClock::default().unix().micros()
}

/// An event with further members, which begin with a comma.
fn thing(id: &str, at: Micros, more: &str) -> String {
    format!(r#"{{"id":{},"at":"{}"{more}}}"#, json!(id), time::format(at))
}

fn text_of<'a>(value: &'a Value, field: &str) -> &'a str {
    value[field].as_str().unwrap_or_else(|| panic!("{field} of {value}"))
}

/// How a line fares as a JSON body.
enum AsJson {
    /// As it does as a line; what was counted is now a duplicate.
    Same,
    /// It cannot be cut into events.
    BadRequest,
}
use AsJson::{BadRequest, Same};

/// (name, the line, what becomes of it, and of it as a JSON body).
fn json_cases(base: Micros) -> Vec<(&'static str, Vec<u8>, Fate, AsJson)> {
    let at = format!(r#""at":"{}""#, time::format(base));
    let at = &at;
    let with = |id: &str, more: &str| format!(r#"{{"id":"{id}",{at},{more}}}"#).into_bytes();
    let nested = |depth: usize| {
        // The event itself is the first level.
        let (open, close) = ("[".repeat(depth - 1), "]".repeat(depth - 1));
        with(&format!("deep {depth}"), &format!(r#""deep":{open}{close}"#))
    };
    let utf16: Vec<u8> =
        String::from_utf8(with("utf-16", r#""g":"g""#)).unwrap().encode_utf16().flat_map(u16::to_le_bytes).collect();
    let marked = |line: Vec<u8>| [b"\xef\xbb\xbf".to_vec(), line].concat();
    let members: Vec<String> = (0..20_000).map(|n| format!(r#""m{n}":0"#)).collect();
    let json = Refused("json: ");
    let number = Refused("type: ");
    vec![
        ("no event", b"".to_vec(), Status(400), BadRequest),
        ("blanks", b" \t \r ".to_vec(), Status(400), BadRequest),
        ("byte order mark", marked(with("bom", r#""g":"g""#)), json.clone(), BadRequest),
        ("UTF-16", utf16, json.clone(), BadRequest),
        ("bad UTF-8", [&br#"{"id":"utf8 "#[..], b"\xff\xfe", br#""}"#].concat(), json.clone(), Same),
        ("overlong UTF-8", [&br#"{"id":"utf8 "#[..], b"\xc0\xaf", br#""}"#].concat(), json.clone(), Same),
        ("surrogate in UTF-8", [&br#"{"id":"utf8 "#[..], b"\xed\xa0\x80", br#""}"#].concat(), json.clone(), Same),
        ("lone high surrogate", with("surrogate", r#""s":"\ud800""#), json.clone(), Same),
        ("lone low surrogate", with("surrogate", r#""s":"\udc00 x""#), json.clone(), Same),
        ("surrogate pair", with("surrogate", r#""s":"\ud83d\ude00""#), Counted, Same),
        ("U+0000 in a value", with("nul", r#""g":"a\u0000b","s":"\u0000""#), Counted, Same),
        ("U+0000 in the id", with(r"\u0000", r#""g":"nul""#), Counted, Same),
        ("U+0000 in a name", with("nul in a name", r#""\u0000":0"#), Counted, Same),
        (
            "U+0000 in a refused value",
            with("nul", r#""g":"g","x":"\u0000","\u0000":"\u0000""#),
            Refused("schema: /x"),
            Same,
        ),
        ("a raw NUL", with("nul", "\"s\":\"\0\""), json.clone(), Same),
        ("depth 127", nested(127), Counted, Same),
        ("depth 128", nested(128), Counted, Same),
        ("depth 129", nested(129), json.clone(), Same),
        ("depth 100,000", nested(100_000), json.clone(), Same),
        ("depth 1,000,000", nested(1_000_000), Status(413), Same),
        ("only opened", "[".repeat(100_000).into_bytes(), json.clone(), BadRequest),
        ("duplicate name", with("twice", r#""a":1,"a":1"#), json.clone(), Same),
        ("duplicate name within", with("twice", r#""a":{"b":[{"c":1,"c":2}]}"#), json.clone(), Same),
        ("duplicate name, one escaped", with("twice", r#""ab":1,"a\u0062":1"#), json.clone(), Same),
        ("duplicate id", with("one", r#""id":"two""#), json.clone(), Same),
        ("duplicate id, one escaped", with("one", r#""\u0069d":"two""#), json.clone(), Same),
        ("escaped id", format!(r#"{{"\u0069d":"escaped\u0020id",{at}}}"#).into_bytes(), Counted, Same),
        ("the same id, not escaped", with("escaped id", r#""g":"g""#), Duplicate, Same),
        ("1e400", with("huge", r#""x":1e400"#), json.clone(), Same),
        ("-1e400 where nobody looks", with("huge", r#""a":[-1e400]"#), json.clone(), Same),
        ("1e-400 is 0", with("tiny", r#""g":"tiny","x":1e-400"#), Counted, Same),
        ("-0", with("minus 0", r#""g":"zero","x":-0,"k":-0"#), Counted, Same),
        ("-0.0", with("minus 0.0", r#""g":"zero","x":-0.0,"k":-0.0"#), Counted, Same),
        ("2^53+1", with("2^53+1", r#""g":"precise","k":9007199254740993"#), Counted, Same),
        ("5.0 is an integer", with("5.0", r#""g":"five","k":5.0"#), Counted, Same),
        ("5e0 is an integer", with("5e0", r#""g":"five","k":5e0"#), Counted, Same),
        ("5.5 is none", with("5.5", r#""k":5.5"#), Refused("schema: /k"), Same),
        ("the largest integer", with("2^63-1", r#""g":"large","k":9223372036854775807"#), Counted, Same),
        ("one more", with("2^63", r#""k":9223372036854775808"#), number.clone(), Same),
        ("the least integer", with("-2^63", r#""g":"small","k":-9223372036854775808"#), Counted, Same),
        ("one less", with("-2^63-1", r#""k":-9223372036854775809"#), number.clone(), Same),
        ("2^64 as an integer", with("2^64", r#""k":18446744073709551616"#), number, Same),
        ("2^64 as a number", with("2^64", r#""g":"2^64","x":18446744073709551616"#), Counted, Same),
        ("largest double", with("max", r#""g":"overflow","x":1.7976931348623157e308"#), Counted, Same),
        ("largest double again", with("max again", r#""g":"overflow","x":1.7976931348623157e308"#), Counted, Same),
        ("NaN", with("nan", r#""x":NaN"#), json.clone(), Same),
        ("Infinity", with("nan", r#""x":-Infinity"#), json.clone(), Same),
        ("01", with("octal", r#""x":01"#), json.clone(), Same),
        ("+1, .5, 1., 0x1", with("sign", r#""a":[+1,.5,1.,0x1]"#), json.clone(), Same),
        ("a number of 200 KB, too large", with("long", &format!(r#""x":{}"#, "1".repeat(200_000))), json.clone(), Same),
        ("a number of 200 KB", with("long", &format!(r#""g":"long","x":1.{}1"#, "0".repeat(200_000))), Counted, Same),
        ("an exponent of 200 KB", with("exponent", &format!(r#""x":1e{}"#, "9".repeat(200_000))), json.clone(), Same),
        ("20,000 names", with("names", &members.join(",")), Counted, Same),
        ("a name of 200 KB", with("name", &format!(r#""{}":1"#, "n".repeat(200_000))), Counted, Same),
        (
            "a name of 200 KB twice",
            with("name", &format!(r#""{0}":1,"{0}":1"#, "n".repeat(100_000))),
            json.clone(),
            Same,
        ),
        ("trailing comma", with("comma", r#""g":"g","#), json.clone(), Same),
        ("trailing comma in an array", with("comma", r#""a":[1,]"#), json.clone(), Same),
        ("single quotes", b"{'id':'quotes'}".to_vec(), json.clone(), Same),
        ("a comment", with("comment", r#""g":"g"/* why */"#), json.clone(), Same),
        ("no escape", with("escape", r#""s":"\x41""#), json.clone(), Same),
        ("a tab in a string", with("tab", "\"s\":\"\t\""), json.clone(), Same),
        ("garbage behind", [with("behind", r#""g":"g""#), b" x".to_vec()].concat(), json.clone(), BadRequest),
        ("half an object behind", [with("behind", r#""g":"g""#), b"{".to_vec()].concat(), json.clone(), BadRequest),
        ("garbage", b"garbage".to_vec(), json.clone(), BadRequest),
        ("an unclosed object", br#"{"id":"x""#.to_vec(), json.clone(), BadRequest),
        ("an unclosed string", br#"{"id":"x"#.to_vec(), json.clone(), BadRequest),
        ("a number", b"1".to_vec(), json.clone(), BadRequest),
        ("a string", br#""x""#.to_vec(), json.clone(), BadRequest),
        ("null", b"null".to_vec(), json.clone(), BadRequest),
        ("an empty array", b"[]".to_vec(), json, BadRequest),
        ("an empty object", b"{}".to_vec(), Refused("id: /id"), Same),
        ("another type", with("type", r#""g":["g"]"#), Refused("schema: /g"), Same),
        ("null in a group", with("null", r#""g":null"#), Refused("schema: /g"), Same),
    ]
}

/// (name, id, time, what becomes of it).
fn meaning_cases(base: Micros) -> Vec<(&'static str, String, String, Fate)> {
    let at = time::format(base);
    let ahead = |seconds: i64| time::format(base.plus(Micros(seconds * SECOND)));
    let minute_before = ahead(-60);
    let second_60 = minute_before.replace(":00Z", ":60Z");
    vec![
        ("an empty id", String::new(), at.clone(), Refused("id: /id: empty")),
        ("an id of 1,024 bytes", "i".repeat(1_024), at.clone(), Counted),
        ("an id of 1,025 bytes", "i".repeat(1_025), at.clone(), Refused("id: /id: longer")),
        ("an id of 64 KB", "i".repeat(64 << 10), at.clone(), Refused("id: /id: longer")),
        ("an emoji", "👩‍👩‍👧".into(), at.clone(), Counted),
        ("right to left", "\u{202e}שלום".into(), at.clone(), Counted),
        ("composed", "caf\u{e9}".into(), at.clone(), Counted),
        ("the same, decomposed", "cafe\u{301}".into(), at.clone(), Counted),
        ("the same, composed again", "caf\u{e9}".into(), at.clone(), Duplicate),
        ("a UUID", "9531985d-5d9d-49f8-9818-e811892f902b".into(), at.clone(), Counted),
        ("the same in capitals", "9531985D-5D9D-49F8-9818-E811892F902B".into(), at.clone(), Duplicate),
        ("the same without hyphens", "9531985d5d9d49f89818e811892f902b".into(), at.clone(), Counted),
        ("a path", "../../etc/passwd".into(), at.clone(), Counted),
        ("quotes", "'; DROP TABLE metrics_out; -- \" % _ \\".into(), at.clone(), Counted),
        ("year 0001", "year 1".into(), "0001-01-01T00:00:00Z".into(), Refused("late: ")),
        ("year 0000", "year 0".into(), "0000-12-31T23:59:59Z".into(), Refused("time: /at")),
        ("year 9999", "year 9999".into(), "9999-12-31T23:59:59.999999Z".into(), Refused("future: /at")),
        ("beyond year 9999", "year 10000".into(), "9999-12-31T23:59:59-00:01".into(), Refused("time: /at")),
        ("second 60", "second 60".into(), second_60, Counted),
        ("second 61", "second 61".into(), minute_before.replace(":00Z", ":61Z"), Refused("time: /at")),
        ("30 February", "February".into(), "2026-02-30T00:00:00Z".into(), Refused("time: /at")),
        ("no zone", "zone".into(), at.replace('Z', ""), Refused("time: /at")),
        ("Unix time", "unix".into(), "1764000000".into(), Refused("time: /at")),
        ("no time", "empty".into(), String::new(), Refused("time: /at")),
        ("a zone east", "east".into(), at.replace('Z', "+00:00"), Counted),
        ("ten years ahead", "ten years".into(), ahead(3_650 * 86_400), Refused("future: /at")),
        ("more ahead than is allowed", "ahead".into(), ahead(3_700), Refused("future: /at")),
    ]
}

#[test]
fn whatever_an_event_holds_it_is_counted_or_kept_with_its_reason() {
    let mut things = Things::start();
    things.counts("nothing");
    for (case, line, fate, as_json) in json_cases(things.base) {
        things.line(case, &line, &fate);
        let as_json = match (as_json, &fate) {
            (BadRequest, _) => Status(400),
            (Same, Counted) => Duplicate,
            (Same, _) => fate,
        };
        things.check(case, "application/json", &line, &line, &as_json);
        things.counts(case);
    }
    for (group, name, value) in [
        ("zero", "x", "0.0"),
        ("zero", "k", "0"),
        ("tiny", "x", "0.0"),
        ("precise", "k", "9007199254740993"),
        ("five", "k", "10"),
        ("large", "k", "9223372036854775807"),
        ("small", "k", "-9223372036854775808"),
        ("2%5E64", "x", "1.8446744073709552e19"),
        ("overflow", "x", "null"),
        ("long", "x", "1.0"),
        // The store shows U+0000 as U+2400.
        ("a%E2%90%80b", "n", "1"),
    ] {
        let value: Value = serde_json::from_str(value).expect("JSON");
        assert_eq!(things.row(group)["values"][name].to_string(), value.to_string(), "{group}");
    }

    for (case, id, at, fate) in meaning_cases(things.base) {
        let line = json!({"id": id, "at": at, "g": case}).to_string();
        things.line(case, line.as_bytes(), &fate);
        things.counts(case);
    }
    ndjson(&mut things);
    lateness(&mut things);
    things.end();
}

/// Bodies of several lines.
fn ndjson(things: &mut Things) {
    let base = things.base;
    let event = |id: &str| thing(id, base, r#","g":"lines""#);
    let one_bad = |bad: usize| {
        let line = |n: usize| if n == bad { "{".to_owned() } else { event(&format!("many {n}")) };
        (0..10_000).map(|n| line(n) + "\n").collect::<String>()
    };
    let mut fates = vec![Counted; 10_000];
    fates[5_000] = Refused("json");
    let whole = event("cut");
    for (case, body, expected) in [
        ("no final line end", event("final"), &[Counted][..]),
        ("CRLF", format!("{}\r\n{}\r\n", event("crlf 1"), event("crlf 2")), &[Counted, Counted]),
        ("CR alone parts nothing", format!("{}\r{}\n", event("cr 1"), event("cr 2")), &[Refused("json")]),
        ("CR alone is white space", event("cr").replace(',', "\r,\r"), &[Counted]),
        ("blank lines", format!("\n \n{}\n\n\t\r\n{}\n\n", event("blank 1"), event("blank 2")), &[Counted, Counted]),
        ("U+2028 ends no line", thing("u2028", base, ",\"g\":\"\u{2028}\",\"\u{85}\":\"\u{2029}\""), &[Counted]),
        ("cut in a line", format!("{}\n{}", event("before"), &whole[..whole.len() - 5]), &[Counted, Refused("json")]),
        ("one bad line in 10,000", one_bad(5_000), &fates),
    ] {
        things.lines(case, body.as_bytes(), expected);
        things.counts(case);
    }
    let long = |bytes: usize| {
        let rest = thing("long event", base, r#","s":"""#).len();
        thing("long event", base, &format!(r#","s":"{}""#, "s".repeat(bytes - rest)))
    };
    // One line too long and nothing of the request is taken.
    let body = format!("{}\n{}\n", event("beside"), long(EVENT_BYTES_MAX + 1));
    things.line("an event that is too long", body.as_bytes(), &Status(413));
    things.line("beside it", event("beside").as_bytes(), &Counted);
    things.line("as long as may be", long(EVENT_BYTES_MAX).as_bytes(), &Counted);
}

/// Exactly at the edges. An event of epoch e is late by W(e − 2), so between two steps another request passes.
fn lateness(things: &mut Things) {
    // Ahead of everything sent so far.
    let edge = things.base.plus(Micros(600 * SECOND));
    let at = |micros: i64| edge.plus(Micros(micros));
    // Windows that end at the edge are late once the watermark is 5 s after it, so once 6 s after it was seen.
    let mut send = |id: &str, micros: i64, expected: Fate| {
        things.line(id, thing(id, at(micros), r#","g":"edges""#).as_bytes(), &expected);
    };
    send("a microsecond before the edge", -1, Counted);
    send("on the edge", 0, Counted);
    send("not yet 6 s after", 6 * SECOND - 1, Counted);
    send("an epoch", 6 * SECOND - 1, Counted);
    send("a microsecond less late than is allowed", -1, Counted);
    send("6 s after", 6 * SECOND, Counted);
    send("another epoch", 6 * SECOND, Counted);
    send("late by exactly the allowance", -1, Refused("late: "));
    send("late by exactly the allowance", -1, Duplicate);
    send("on the edge, late", 0, Counted);
    let rows: BTreeMap<String, u64> = things
        .job
        .client
        .windows("&group.g=edges")
        .iter()
        .map(|row| (text_of(row, "window_start").to_owned(), row["event_count"].as_u64().expect("a count")))
        .collect();
    let expected = [(time::format(at(-10 * SECOND)), 2), (time::format(at(0)), 6)];
    assert_eq!(rows, BTreeMap::from(expected));
}

/// A job that has counted the generator's events, some of them duplicates and invalid.
fn civic(count: usize) -> Job {
    let job = Job::start(3);
    for body in events(&civic_safety(), 20, count) {
        let (status, answer) = job.client.post_lines("/events", &body);
        assert_eq!(status, 202, "{answer}");
    }
    job.wait_settled();
    job
}

#[test]
fn every_call_of_a_real_job() {
    let job = civic(4_000);
    let client = &job.client;
    assert_eq!(client.json("/healthz")["status"], "live");
    assert_eq!(client.json("/readyz")["status"], "ready");
    let ranks = client.json("/cluster")["ranks"].as_array().expect("ranks").len();
    assert!(ranks >= 2, "{ranks}");
    until("all open rows are shown", || {
        let rows = client.windows("");
        let shown: u64 = rows.iter().filter_map(|row| row["event_count"].as_u64()).sum();
        shown == 2 * client.json("/ledger")["counted"].as_u64().expect("a count")
    });
    pages_cover_every_row_once(client);
    lineage_is_complete(client);
    fates_are_found(client);
    newest_data(client);
    metrics_can_be_read(client);
    heads_and_refusals(client);
    generator_counts_match(&job);
    let (.., status) = job.stop();
    assert_eq!(status.code(), Some(0));
}

fn pages_cover_every_row_once(client: &Client) {
    // Rows that are still open may change meanwhile, but not their number.
    let expected: HashSet<String> = client.windows("").iter().map(|row| text_of(row, "metric_id").to_owned()).collect();
    let (mut seen, mut order) = (HashSet::new(), Vec::new());
    let mut next = Some("/windows?limit=7".to_owned());
    while let Some(path) = next {
        let page = client.json(&path);
        let rows = page["windows"].as_array().expect("rows");
        assert!(rows.len() == 7 || page["next"].is_null(), "{path}: {} rows", rows.len());
        for row in rows {
            assert!(seen.insert(text_of(row, "metric_id").to_owned()), "twice: {row}");
            order.push(text_of(row, "window_start").to_owned());
        }
        next = page["next"].as_str().map(str::to_owned);
    }
    assert_eq!(seen, expected);
    assert!(order.is_sorted(), "{order:?}");
}

fn lineage_of(client: &Client, id: &str) -> Vec<Value> {
    let mut events = Vec::new();
    let mut next = Some(format!("/windows/{id}/events?limit=50"));
    while let Some(path) = next {
        let page = client.json(&path);
        events.extend(page["events"].as_array().expect("events").iter().cloned());
        next = page["next"].as_str().map(str::to_owned);
    }
    events
}

/// The events of each row are as many as it counts, and those that it should count.
fn lineage_is_complete(client: &Client) {
    for row in client.windows("&window=by_region").iter().step_by(9) {
        let id = text_of(row, "metric_id");
        let found = client.json(&format!("/windows/{id}"));
        assert_eq!(found["event_count"], row["event_count"]);
        let events = lineage_of(client, id);
        assert_eq!(Some(events.len() as u64), row["event_count"].as_u64(), "{row}");
        for event in &events {
            let at = text_of(event, "time");
            let at = time::parse(at.as_bytes()).expect("a time");
            let edge = |name: &str| time::parse(text_of(row, name).as_bytes()).expect("a time");
            assert!(edge("window_start") <= at && at < edge("window_end"), "{event} in {row}");
            assert_eq!(event["topic"], row["group"]["source"]);
            assert_eq!(event["event"]["region"], row["group"]["region"]);
            assert!(event["metrics"].as_array().expect("metrics").contains(&json!(id)), "{event}");
        }
    }
}

/// An event leads to its rows, a refused one to its reason.
fn fates_are_found(client: &Client) {
    let newest = client.json("/events?limit=5");
    for event in newest["events"].as_array().expect("events") {
        let fates = client.json(&format!("/events/{}", text_of(event, "event_id")));
        assert_eq!(fates["events"][0]["fate"], "counted", "{fates}");
        assert_eq!(fates["events"][0]["event"], event["event"]);
        let metrics = fates["events"][0]["metrics"].as_array().expect("metrics");
        let windows: HashSet<String> = metrics
            .iter()
            .map(|m| text_of(&client.json(&format!("/windows/{}", m.as_str().expect("an id"))), "window").to_owned())
            .collect();
        assert_eq!(windows, HashSet::from(["by_region".to_owned(), "daily".to_owned()]));
    }
    let letters = client.json("/dead-letters?reason=schema&limit=1000");
    let letters = letters["dead_letters"].as_array().expect("letters");
    assert!(!letters.is_empty());
    let mut found = 0;
    for letter in letters {
        let Ok(body) = serde_json::from_str::<Value>(text_of(letter, "body")) else { continue };
        let Some(id) = body["event_id"].as_str().filter(|id| uuid::Uuid::parse_str(id).is_ok()) else { continue };
        let fates = client.json(&format!("/events/{id}"));
        let same = |d: &&Value| d["offset"] == letter["offset"];
        let dead = fates["dead_letters"].as_array().expect("letters").iter().find(same).expect("its own letter");
        assert_eq!((&dead["fate"], &dead["detail"]), (&json!("invalid"), &letter["detail"]));
        found += 1;
    }
    assert!(found > 0, "no dead letter with an id among {}", letters.len());
}

fn newest_data(client: &Client) {
    let data = client.json("/data");
    let windows = data["pipelines"]["civic_safety"].as_object().expect("windows");
    assert_eq!(windows.keys().collect::<Vec<_>>(), ["by_region", "daily"]);
    for (name, rows) in windows {
        let groups: HashSet<String> =
            client.windows(&format!("&window={name}")).iter().map(|row| row["group"].to_string()).collect();
        let newest: Vec<String> = rows.as_array().expect("rows").iter().map(|row| row["group"].to_string()).collect();
        assert_eq!(newest.len(), groups.len(), "{name}: a row a group");
        assert_eq!(newest.into_iter().collect::<HashSet<_>>(), groups);
    }
}

/// Every line is a comment or `name{label="value",…} number`; the counts are the ledger's.
fn metrics_can_be_read(client: &Client) {
    let (status, text) = client.get("/metrics");
    assert_eq!(status, 200);
    let mut samples = BTreeMap::new();
    for line in text.lines().filter(|line| !line.starts_with('#')) {
        let (series, value) = line.rsplit_once(' ').unwrap_or_else(|| panic!("{line}"));
        let (name, labels) = series.split_once('{').unwrap_or((series, "}"));
        assert!(name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_'), "{line}");
        let labels = labels.strip_suffix('}').unwrap_or_else(|| panic!("{line}"));
        for label in labels.split(',').filter(|l| !l.is_empty()) {
            let (key, value) = label.split_once('=').unwrap_or_else(|| panic!("{line}"));
            assert!(!key.is_empty() && value.starts_with('"') && value.ends_with('"'), "{line}");
        }
        let value: f64 = value.parse().unwrap_or_else(|e| panic!("{line}: {e}"));
        assert!(samples.insert(series.to_owned(), value).is_none(), "twice: {line}");
    }
    let ledger = client.json("/ledger");
    let of = |series: &str| *samples.get(series).unwrap_or_else(|| panic!("no {series} in {samples:?}"));
    assert_eq!(Some(of("caudal_events_accepted_total")), ledger["accepted"].as_f64());
    for fate in ["counted", "duplicate", "filtered", "invalid", "late"] {
        assert_eq!(Some(of(&format!("caudal_events_fate_total{{fate=\"{fate}\"}}"))), ledger[fate].as_f64(), "{fate}");
    }
}

fn heads_and_refusals(client: &Client) {
    let agent: ureq::Agent = ureq::Agent::config_builder().http_status_as_error(false).build().into();
    for path in ["/", "/healthz", "/ledger", "/topics", "/windows", "/events", "/data"] {
        let answer = agent.head(format!("{}{path}", client.base)).call().expect("an answer");
        assert_eq!(answer.status().as_u16(), 200, "HEAD {path}");
    }
    let post = |path: &str, form: &str, body: &[u8]| client.try_post(path, form, body).expect("an answer");
    let json = "application/json";
    let topic = "/topics/security.incident/events";
    let absent = "/windows/00000000-0000-0000-0000-000000000000";
    let cases = [
        ("a body that is too large", post(topic, json, &vec![b' '; (16 << 20) + 1]), 413),
        (
            "an event that is too large",
            post(topic, json, format!("{{\"a\":\"{}\"}}", "a".repeat(1 << 20)).as_bytes()),
            413,
        ),
        ("XML", post(topic, "text/xml", b"<event/>"), 415),
        ("no such topic", post("/topics/no.such/events", json, b"{}"), 404),
        ("nothing in it", post(topic, json, b""), 400),
        ("another acknowledgement", post(&format!("{topic}?ack=maybe"), json, b"{}"), 400),
        ("not to be posted", post("/ledger", json, b"{}"), 405),
        ("no such page", client.get("/no/such/page"), 404),
        ("no such row", client.get(absent), 404),
        ("no such row's events", client.get(&format!("{absent}/events")), 404),
        ("no such event", client.get("/events/no%20such%20event"), 404),
        ("limit=-1", client.get("/windows?limit=-1"), 400),
        ("limit=10001", client.get("/windows?limit=10001"), 400),
        ("before=1e18", client.get("/dead-letters?before=1e18"), 400),
        ("no such reason", client.get("/dead-letters?reason=%27%25_"), 400),
        ("no such group", client.get("/windows?group.nobody=1"), 400),
        ("NUL", client.get("/events/%00"), 400),
    ];
    let before = client.json("/ledger");
    for (case, (status, body), expected) in cases {
        assert_eq!(status, expected, "{case}: {body}");
        let problem: Value = serde_json::from_str(&body).unwrap_or_else(|e| panic!("{case}: {e}: {body}"));
        assert_eq!(problem["status"], expected, "{case}");
        assert!(problem["title"].is_string() && !text_of(&problem, "detail").is_empty(), "{case}: {body}");
    }
    // Quotes and wildcards in a filter mean themselves.
    for filter in ["group.region=%27%20OR%201=1", "group.region=%25", "group.region=_M", "group.source=%22"] {
        assert_eq!(client.windows(&format!("&{filter}")), Vec::<Value>::new(), "{filter}");
    }
    assert_eq!(client.json("/ledger"), before);
}

/// What the generator says it sent is what the ledger shows.
fn generator_counts_match(job: &Job) {
    let client = &job.client;
    let before = client.json("/ledger");
    let (status, started) =
        client.post_json("/generator", r#"{"rate": 2000, "seed": 7, "duplicates": 0.05, "invalid": 0.05}"#);
    assert_eq!((status, &started["running"]), (200, &json!(true)), "{started}");
    until("it has sent some", || client.json("/generator")["accepted"].as_u64() > Some(1_000));
    let agent: ureq::Agent = ureq::Agent::config_builder().build().into();
    let mut stopped = agent.delete(format!("{}/generator", client.base)).call().expect("an answer");
    let stopped: Value = stopped.body_mut().read_json().expect("JSON");
    assert_eq!(
        (&stopped["running"], &stopped["refused"], &stopped["sent"]),
        (&json!(false), &json!(0), &stopped["accepted"])
    );
    job.wait_settled();
    let after = client.json("/ledger");
    let grown = |fate: &str| after[fate].as_u64().expect("a count") - before[fate].as_u64().expect("a count");
    assert_eq!(Some(grown("accepted")), stopped["accepted"].as_u64());
    assert!(grown("duplicate") > 0 && grown("invalid") > 0, "{before} {after}");
    assert_eq!(grown("accepted"), grown("counted") + grown("duplicate") + grown("invalid"));
}

/// A job that cannot run says why and ends with its code.
#[test]
fn a_job_on_any_free_port_says_on_which() {
    let dir = TempDir::new().unwrap();
    let setup = Setup { port: 0, ..Setup::new(2, dir.path()) };
    let job = Job::launch(dir, setup);
    until("it says where it is", || job.output().contains("Caudal is ready: "));
    let said = job.output();
    let port = said.split_once("Caudal is ready: http://localhost:").unwrap().1.split_once('/').unwrap().0;
    assert_eq!(Client::new(port.parse().unwrap()).json("/ledger")["accepted"], 0);
}

#[test]
fn a_configuration_that_cannot_be_is_refused() {
    let dir = TempDir::new().expect("a directory");
    write_pipeline(dir.path());
    fs::write(dir.path().join("file"), "").expect("a file");
    let below_a_file = dir.path().join("file/data").display().to_string();
    let usual = Setup::new(2, dir.path()).with("PIPELINES", &pipeline_file(dir.path()));
    let usual = || usual.clone();
    let ranks = |ranks| Setup { ranks, ..usual() };
    let bad = dir.path().join("bad.yaml").display().to_string();
    fs::write(&bad, PIPELINE.replace("every: 10s", "every: -1s\n    evry: 1")).expect("a file");
    for (case, setup, code, says) in [
        ("a public address", usual().with("HTTP_ADDR", "0.0.0.0"), 78, "HTTP_ADDR=0.0.0.0 without API_TOKENS"),
        ("no ranks", ranks(0), 78, "1 to 129 ranks"),
        ("too many ranks", ranks(1_000_000_000), 78, "1 to 129 ranks"),
        ("no pipeline", usual().with("PIPELINES", "nowhere/*.yaml"), 78, "nowhere/*.yaml"),
        ("a bad pipeline", usual().with("PIPELINES", &bad), 2, "evry"),
        ("a directory that cannot be", usual().with("DATA_DIR", &below_a_file), 78, &below_a_file),
        ("half of TLS", usual().with("TLS_CERT", "cert.pem"), 78, "TLS_CERT without TLS_KEY"),
        (
            "no certificate",
            usual().with("TLS_CERT", "cert.pem").with("TLS_KEY", "key.pem"),
            78,
            "TLS_CERT=cert.pem cannot be read",
        ),
        ("a role that is none", usual().with("API_TOKENS", "admin:hush"), 78, "viewer, sender or operator"),
        ("a wrong number", usual().with("HTTP_PORT", "70000"), 78, "HTTP_PORT=\"70000\""),
    ] {
        let output = setup.command(dir.path(), &[]).output().expect("run_mpi.sh runs");
        assert_eq!(output.status.code(), Some(code), "{case}: {}", said(&output));
        assert!(said(&output).contains(says), "{case}: {}", said(&output));
    }
}

const VIEWS: &str = "pipeline: files
topics:
  patient: {schema: patient.json}
id:   id
time: {field: at, format: unix_ms, max_future: 3650d}
derive: {adult: age >= 18}
views:
  patients: {key: rut, latest: [name, drugs, age, adult], history: true}
  minors:   {key: rut, latest: [name], when: NOT adult}
";
const PATIENT: &str = r#"{"type": "object", "required": ["id", "at"], "properties": {"id": {"type": "string"}, "at": {"type": "integer"},
    "rut": {"type": "string"}, "name": {"type": ["string", "null"]}, "age": {"type": "integer"}, "drugs": {"type": "array"}}}"#;

/// An edit keeps the fields that it does not name; an older one that comes late changes nothing newer; all of it is there after a kill.
#[test]
fn views_keep_the_latest_of_each_field_and_their_history() {
    let dir = TempDir::new().expect("a directory");
    fs::write(pipeline_file(dir.path()), VIEWS).expect("a file");
    fs::write(dir.path().join("patient.json"), PATIENT).expect("a file");
    let setup = Setup::new(3, dir.path()).with("PIPELINES", &pipeline_file(dir.path()));
    let job = Job::start_in(dir, setup);
    let say = |event: Value| {
        let (status, answer) = job.client.post_json("/topics/patient/events?ack=applied", &event.to_string());
        assert_eq!((status, &answer["counted"]), (200, &json!(1)), "{answer}");
    };
    say(json!({"id": "1", "at": 1000, "rut": "1-9", "name": "Ana", "age": 17, "drugs": [{"dose": 1.5}]}));
    say(json!({"id": "2", "at": 3000, "rut": "1-9", "age": 18}));
    say(json!({"id": "3", "at": 2000, "rut": "1-9", "name": "Anna", "age": 1}));
    say(json!({"id": "4", "at": 9000, "rut": "2-7", "name": null}));
    // No key, so in no entry.
    say(json!({"id": "5", "at": 9000, "name": "nobody"}));
    let seen = || {
        let of = |path: &str| job.client.json(path);
        let ana = of("/views/patients/1-9");
        assert_eq!(ana["value"], json!({"name": "Anna", "drugs": [{"dose": 1.5}], "age": 18, "adult": true}));
        assert_eq!(
            (&ana["events"], &ana["offset"], &ana["time"]),
            (&json!(3), &json!(1), &json!("1970-01-01T00:00:03Z"))
        );
        assert_eq!(of("/views/patients/2-7")["value"], json!({"name": null}));
        let keys = |path: &str| -> Vec<Value> {
            of(path)["entries"].as_array().expect("a list").iter().map(|entry| entry["key"].clone()).collect()
        };
        assert_eq!(keys("/views/patients"), ["1-9", "2-7"]);
        assert_eq!(keys("/views/patients?after=1-9"), ["2-7"]);
        assert_eq!(of("/views/patients?limit=1")["next"], "/views/patients?limit=1&after=1-9");
        assert_eq!(of("/views/minors/1-9")["value"], json!({"name": "Anna"}));
        let history = of("/views/patients/1-9/history?limit=2");
        assert_eq!(history["history"][0]["value"], json!({"name": "Anna", "age": 1, "adult": false}));
        assert_eq!(history["next"], "/views/patients/1-9/history?limit=2&before=1");
        assert_eq!(of("/views")["views"][0]["latest"], json!(["name", "drugs", "age", "adult"]));
        assert_eq!(job.client.get("/views/patient/1-9").0, 404);
        assert_eq!(job.client.get("/views/patients/nobody").0, 404);
        assert_eq!(job.client.get("/views/minors/1-9/history").0, 404);
        assert_eq!(of("/cluster")["pipelines"][0]["pipeline"], "files");
    };
    seen();
    job.kill_rank(1);
    job.wait_back();
    seen();
    say(json!({"id": "6", "at": 9500, "rut": "2-7", "age": 3}));
    assert_eq!(job.client.json("/views/patients/2-7")["value"], json!({"name": null, "age": 3, "adult": false}));
    let (.., status) = job.stop();
    assert_eq!(status.code(), Some(0));
}

#[test]
fn a_changed_pipeline_is_refused_and_an_unknown_setting_told() {
    let dir = TempDir::new().expect("a directory");
    write_pipeline(dir.path());
    fs::write(dir.path().join(".env"), "HTP_PORT=1\n").expect("a file");
    let setup = Setup::new(2, dir.path()).with("PIPELINES", &pipeline_file(dir.path()));
    let job = Job::start_in(dir, setup);
    assert!(job.output().contains("did you mean HTTP_PORT?"), "{}", job.output());
    let (status, answer) = job.client.post_json("/topics/thing/events?ack=applied", &thing("a", now(), ""));
    assert_eq!((status, &answer["counted"]), (200, &json!(1)), "{answer}");
    let (dir, setup, status) = job.stop();
    assert_eq!(status.code(), Some(0));

    fs::write(pipeline_file(dir.path()), PIPELINE.replace("group: [g]", "group: []")).expect("a file");
    let output = setup.command(dir.path(), &[]).output().expect("run_mpi.sh runs");
    assert_eq!(output.status.code(), Some(78), "{}", said(&output));
    assert!(said(&output).contains("are not the pipelines that DATA_DIR"), "{}", said(&output));

    // The old text goes on where it was.
    write_pipeline(dir.path());
    let job = Job::start_in(dir, setup);
    let (_, answer) = job.client.post_json("/topics/thing/events?ack=applied", &thing("a", now(), ""));
    assert_eq!(answer["duplicate"], 1, "{answer}");
    let (.., status) = job.stop();
    assert_eq!(status.code(), Some(0));
}
