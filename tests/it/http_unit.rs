//! The HTTP surface in one process: real log, real SQLite, no ranks. Fates are given by the test where a call waits for them.

use std::fmt::Write as _;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::num::NonZeroU32;
use std::path::Path;
use std::sync::{Arc, Mutex, mpsc};
use std::thread::JoinHandle;
use std::time::Duration;

use caudal::bus::Source;
use caudal::bus::index::Index;
use caudal::clock::{Clock, SystemClock};
use caudal::config::{Http, Limits, TlsFiles, Tokens};
use caudal::coordinator::backfill::Backfills;
use caudal::coordinator::change::Changes;
use caudal::coordinator::status::{Phase, SharedStatus};
use caudal::core::columns::{GroupValue, Reason};
use caudal::core::identity::metric_id;
use caudal::core::ledger::Counts;
use caudal::core::row::{AuditEvent, DeadLetter, Value as Metric, WindowRow};
use caudal::core::units::{Epoch, Generation, LogId, Micros, Millis, Offset};
use caudal::ingest::feed::{Waiting, feed};
use caudal::ingest::queue::{Cutter, Ingest, queue};
use caudal::ingest::writer::{Note, spawn};
use caudal::ingest::{Fate, Refusal};
use caudal::log::disk::FileDisk;
use caudal::log::{Log, Options};
use caudal::pipeline::running::{InForce, Running};
use caudal::pipeline::{Bundle, Configuration};
use caudal::store::target::Target;
use caudal::store::{Commit, Progress};
use caudal::web::tls::Tls;
use caudal::web::{App, serve};
use serde_json::{Value, json};
use tokio::sync::oneshot;

use crate::support::contract::{self, Answered};
use crate::support::job::until;

/// No answer may take longer than this; none takes a tenth of it.
pub const PATIENCE: Duration = Duration::from_secs(20);
const EVENT_BYTES_MAX: usize = 64 << 10;
const BODY_BYTES_MAX: usize = 1 << 20;

/// How a test's server differs from the usual one.
pub struct Setup {
    /// A folder of the repository.
    pub pipeline: &'static str,
    /// As in API_TOKENS.
    pub tokens: Vec<&'static str>,
    pub tls: Option<TlsFiles>,
    pub hosts: Vec<&'static str>,
    pub rate_max: Option<NonZeroU32>,
    pub connections_max: usize,
    pub header_timeout: Duration,
    pub body_timeout: Duration,
    pub write_timeout: Duration,
    /// Gives the fates of those who wait, as the coordinator would; None: never.
    pub fates: fn(&Waiting) -> Option<Vec<Fate>>,
    pub clock: Arc<dyn Clock>,
    pub segment_bytes: u64,
    /// What it asks for results, where that is not its own store.
    pub asks: Option<Target>,
}

impl Default for Setup {
    fn default() -> Self {
        Self {
            pipeline: "tests/pipelines/civic_safety",
            tokens: Vec::new(),
            tls: None,
            hosts: Vec::new(),
            rate_max: None,
            connections_max: 64,
            header_timeout: PATIENCE,
            body_timeout: PATIENCE,
            write_timeout: PATIENCE,
            fates: |waiting| {
                Some((0..u64::from(waiting.count)).map(|i| Fate::counted(Offset(waiting.first.0 + i))).collect())
            },
            clock: Arc::new(SystemClock::default()),
            segment_bytes: 8 << 20,
            asks: None,
        }
    }
}

/// A server on a private port, with its log and store in a directory of its own.
pub struct Server {
    pub address: SocketAddr,
    ingest: Ingest,
    status: Arc<SharedStatus>,
    pub target: Target,
    pub app: App,
    /// The writer's thread lives as long as its queue's ends.
    pub cutter: Cutter,
    /// Waiting requests that got no fate are kept here: dropping them would be an answer.
    unanswered: Arc<Mutex<Vec<Waiting>>>,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
    _directory: tempfile::TempDir,
}

impl Server {
    pub fn start(setup: Setup) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let file = Path::new(env!("CARGO_MANIFEST_DIR")).join(setup.pipeline).join("pipeline.yaml");
        let (configuration, pipelines) = Configuration::begin(Bundle::read(&[file]).unwrap()).unwrap();
        let running = Running::new(InForce::new(configuration, pipelines));
        let plan = Arc::clone(&running.get().pipelines.plan);
        let target = Target::Sqlite(directory.path().join("store.sqlite"));
        target.store(&plan).unwrap();

        let disk = Arc::new(FileDisk::open(&directory.path().join("log")).unwrap());
        let options =
            Options { segment_bytes: setup.segment_bytes, bytes_max: 1 << 30, low_water_bytes: 0, store_asked: true };
        let (log, _) = Log::open(disk, options, LogId(1), None, Offset(0)).unwrap();
        let (ingest, cutter, waiting) = queue(1000, 64 << 20, Arc::default());
        let bus = Arc::new(Source::default());
        bus.open(log.access());
        let indices = FileDisk::open(&directory.path().join("index")).unwrap();
        bus.indexed(Arc::new(Index::open(Arc::new(indices), log.access()).unwrap()));
        let (feed_in, mut feed) = feed(log.reader(Offset(0)), Offset(0));
        let (note, notes) = mpsc::channel();
        let clock = setup.clock;
        let _writer = spawn(log, waiting, feed_in, Arc::clone(&clock), move |n| {
            let _ = note.send(n);
        });

        let status = Arc::new(SharedStatus::default());
        status.update(|s| (s.phase, s.generation) = (Phase::Serving, Generation(1)));
        let unanswered = Arc::new(Mutex::new(Vec::new()));
        let coordinator = {
            let (status, unanswered, fates) = (Arc::clone(&status), Arc::clone(&unanswered), setup.fates);
            let bus = Arc::clone(&bus);
            move || {
                for note in notes {
                    let Note::Durable { end, extent, .. } = note else { panic!("the log failed") };
                    bus.advance(end);
                    status.update(|s| {
                        s.ledger.accepted = end.0;
                        s.ledger.in_flight = end.0;
                        s.log = extent;
                    });
                    while feed.next_slab().unwrap().is_some() {}
                    for waiting in feed.waiting() {
                        match fates(&waiting) {
                            Some(fates) => drop(waiting.to.send(fates)),
                            None => unanswered.lock().unwrap().push(waiting),
                        }
                    }
                }
            }
        };
        std::thread::spawn(coordinator);
        ingest.gate(None);

        let app = App {
            ingest: ingest.clone(),
            bus,
            running,
            changes: Changes::default(),
            backfills: Backfills::default(),
            rehearsal: |_, _| Vec::new(),
            status: Arc::clone(&status),
            target: setup.asks.unwrap_or_else(|| target.clone()),
            http: Http {
                addr: Ipv4Addr::LOCALHOST.into(),
                port: 0,
                tokens: Tokens::of(setup.tokens).unwrap(),
                tls: setup.tls,
                hosts: setup.hosts.iter().map(|&host| host.to_owned()).collect(),
                rate_max: setup.rate_max,
                connections_max: setup.connections_max,
                header_timeout: setup.header_timeout,
                body_timeout: setup.body_timeout,
                write_timeout: setup.write_timeout,
            },
            limits: Limits {
                event_bytes: EVENT_BYTES_MAX,
                body_bytes: BODY_BYTES_MAX,
                ingest_queue: 1000,
                ingest_queue_bytes: 64 << 20,
                idempotency: caudal::ingest::keys::Limits::default(),
                ids: 1 << 20,
                ids_in_memory: 1_000,
            },
            clock,
        };
        let (stop, stopped) = oneshot::channel();
        let (address, thread) = {
            let app = app.clone();
            let tls = app.http.tls.as_ref().map(|files| Tls::load(files).unwrap());
            let (tell, told) = mpsc::channel();
            let thread = std::thread::spawn(move || {
                let runtime =
                    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
                runtime.block_on(async {
                    let listener = tokio::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
                    tell.send(listener.local_addr().unwrap()).unwrap();
                    serve(listener, tls, app, async { drop(stopped.await) }).await.unwrap();
                });
                runtime.shutdown_timeout(Duration::from_secs(1));
            });
            (told.recv().unwrap(), thread)
        };
        Self {
            address,
            ingest,
            status,
            target,
            app,
            cutter,
            unanswered,
            stop: Some(stop),
            thread: Some(thread),
            _directory: directory,
        }
    }

    pub fn usual() -> Self {
        Self::start(Setup::default())
    }

    /// Sends a request as it stands, and reads one answer until the server closes.
    pub fn raw(&self, request: &[u8]) -> Answer {
        let mut stream = self.connect();
        // A server that has answered already may have closed its side.
        let _ = stream.write_all(request);
        Answer::read(stream)
    }

    pub fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(self.address).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream
    }

    pub fn call(&self, method: &str, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Answer {
        let mut request = format!("{method} {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n");
        for (name, value) in headers {
            write!(request, "{name}: {value}\r\n").unwrap();
        }
        if !body.is_empty() {
            write!(request, "Content-Length: {}\r\n", body.len()).unwrap();
        }
        request.push_str("\r\n");
        let answer = self.raw(&[request.as_bytes(), body].concat());
        contract::check(
            &Answered {
                method,
                path,
                status: answer.status,
                media_type: answer.header("content-type"),
                body: &answer.text(),
            },
            || self.document(headers),
        );
        answer
    }

    /// What it says of its API to whoever sends these headers' token.
    fn document(&self, headers: &[(&str, &str)]) -> Option<Value> {
        let token = headers.iter().find(|(name, _)| name.eq_ignore_ascii_case("authorization"));
        let token = token.map(|(name, value)| format!("{name}: {value}\r\n")).unwrap_or_default();
        let request = format!("GET /openapi.json HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n{token}\r\n");
        serde_json::from_str(&self.raw(request.as_bytes()).text()).ok()
    }

    pub fn get(&self, path: &str) -> Answer {
        self.call("GET", path, &[], b"")
    }

    pub fn post(&self, path: &str, kind: &str, body: &[u8]) -> Answer {
        self.call("POST", path, &[("Content-Type", kind)], body)
    }

    pub fn stop(&mut self) {
        if let Some(stop) = self.stop.take() {
            let _ = stop.send(());
        }
        if let Some(thread) = self.thread.take() {
            thread.join().unwrap();
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop();
    }
}

#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub head: String,
    pub body: String,
}

impl Answer {
    /// Status 0: the server closed without an answer.
    pub fn read(mut stream: TcpStream) -> Self {
        let mut bytes = Vec::new();
        // A reset after the answer is no matter here; what was read stays.
        let _ = stream.read_to_end(&mut bytes);
        let text = String::from_utf8_lossy(&bytes).into_owned();
        let (head, body) = text.split_once("\r\n\r\n").unwrap_or((&text, ""));
        let status = head.split(' ').nth(1).and_then(|s| s.parse().ok()).unwrap_or(0);
        Self { status, head: head.to_ascii_lowercase(), body: body.to_owned() }
    }

    /// Its body, put together where it came in chunks.
    fn text(&self) -> String {
        if self.header("transfer-encoding") != Some("chunked") {
            return self.body.clone();
        }
        let (mut text, mut rest) = (String::new(), self.body.as_str());
        while let Some((size, more)) = rest.split_once("\r\n") {
            let Some(chunk) = usize::from_str_radix(size, 16).ok().and_then(|size| more.get(..size)) else { break };
            text.push_str(chunk);
            rest = more[chunk.len()..].trim_start_matches("\r\n");
        }
        text
    }

    pub fn header(&self, name: &str) -> Option<&str> {
        self.head.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "))
    }

    #[track_caller]
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|e| panic!("{e}: {self:?}"))
    }

    /// A problem that says what to do.
    #[track_caller]
    pub fn assert_problem(&self, status: u16, says: &str) {
        assert_eq!(self.status, status, "{self:?}");
        assert_eq!(self.header("content-type"), Some("application/problem+json"), "{self:?}");
        let problem = self.json();
        assert_eq!(problem["status"], status);
        let detail = problem["detail"].as_str().unwrap();
        assert!(detail.contains(says), "{detail:?} does not say {says:?}");
        assert_eq!(self.header("retry-after").is_some(), matches!(status, 429 | 503), "{self:?}");
    }
}

/// A request's headers beside those that every one has.
pub type Headers<'a> = &'a [(&'a str, &'a str)];

/// Method, path, headers, body; the answer's status and what its detail says.
type Refused<'a> = (&'a str, &'a str, Headers<'a>, &'a [u8], u16, &'a str);

pub const JSON: &str = "application/json";
pub const NDJSON: &str = "application/x-ndjson";
pub const INCIDENTS: &str = "/topics/security.incident/events";

#[test]
fn bodies_become_events_with_dense_offsets() {
    let server = Server::usual();
    let mut next = 0;
    let cases: &[(&str, Headers, &[u8], u64)] = &[
        (INCIDENTS, &[("Content-Type", JSON)], br#"{"a":1}"#, 1),
        (INCIDENTS, &[("Content-Type", "Application/JSON; charset=utf-8")], b"[{\"a\":1},\n {\"b\":2}]", 2),
        (INCIDENTS, &[("Content-Type", NDJSON)], b"{\"a\":1}\r\n\n{\"b\":2}\n{\"c\":3}", 3),
        (INCIDENTS, &[("Content-Type", "application/jsonl")], b"{\"a\":1}\n", 1),
        ("/events", &[("Content-Type", "application/x-www-form-urlencoded")], b"{\"a\":1}", 1),
        ("/events", &[], b"{\"a\":1}", 1),
        ("/events", &[("Content-Type", NDJSON)], b"not json, a dead letter later\n{}\n", 2),
        ("/events", &[("Content-Type", JSON), ("Origin", "http://localhost")], b"{\"a\":1}", 1),
    ];
    for (path, headers, body, count) in cases {
        let answer = server.call("POST", path, headers, body);
        assert_eq!(answer.status, 202, "{headers:?} {answer:?}");
        let expected = json!({"accepted": count, "first_offset": next, "last_offset": next + count - 1});
        assert_eq!(answer.json(), expected);
        next += count;
    }
    // What is on disk is told of a moment later.
    crate::support::job::until("all are accepted", || server.get("/ledger").json()["accepted"] == next);
}

#[test]
fn refused_requests_say_why_and_leave_nothing() {
    let server = Server::usual();
    let long = format!("{{\"a\":\"{}\"}}", "x".repeat(EVENT_BYTES_MAX));
    let large = vec![b' '; BODY_BYTES_MAX + 1];
    let form = "application/x-www-form-urlencoded";
    let cases: &[Refused] = &[
        ("POST", INCIDENTS, &[("Content-Type", "text/plain")], b"{}", 415, "application/json"),
        ("POST", INCIDENTS, &[("Content-Type", JSON), ("Content-Encoding", "br")], b"{}", 415, "Content-Encoding"),
        ("POST", INCIDENTS, &[("Content-Type", form), ("Origin", "http://localhost")], b"{}", 415, "application/json"),
        ("POST", INCIDENTS, &[("Origin", "http://localhost")], b"{}", 415, "application/json"),
        ("POST", INCIDENTS, &[("Content-Type", JSON), ("Origin", "http://evil.example")], b"{}", 403, "other sites"),
        ("POST", INCIDENTS, &[("Content-Type", JSON), ("Origin", "null")], b"{}", 403, "other sites"),
        ("POST", INCIDENTS, &[("Content-Type", JSON), ("Sec-Fetch-Site", "cross-site")], b"{}", 403, "other sites"),
        ("POST", INCIDENTS, &[("Content-Type", JSON)], b"", 400, "no event"),
        ("POST", INCIDENTS, &[("Content-Type", NDJSON)], b" \r\n\n", 400, "no event"),
        ("POST", INCIDENTS, &[("Content-Type", JSON)], b"[{\"a\":1}", 400, "not JSON"),
        ("POST", INCIDENTS, &[("Content-Type", NDJSON)], long.as_bytes(), 413, "EVENT_BYTES_MAX"),
        ("POST", INCIDENTS, &[("Content-Type", NDJSON)], &large, 413, "BODY_BYTES_MAX"),
        ("POST", "/topics/no.such/events", &[("Content-Type", JSON)], b"{}", 404, "security.incident"),
        ("POST", "/topics/..%2f..%2fetc/events", &[("Content-Type", JSON)], b"{}", 404, "no topic"),
        ("POST", "/topics/a%00b/events", &[("Content-Type", JSON)], b"{}", 400, "NUL"),
        ("POST", "/topics/%ff/events", &[("Content-Type", JSON)], b"{}", 400, "UTF-8"),
        ("POST", "/events?ack=soon", &[("Content-Type", JSON)], b"{}", 400, "applied"),
        ("POST", "/events?akc=applied", &[("Content-Type", JSON)], b"{}", 400, "ack"),
        ("GET", "/../etc/passwd", &[], b"", 404, "no such path"),
        ("GET", "/%2e%2e%2fetc%2fpasswd", &[], b"", 404, "no such path"),
        ("GET", "/no/such", &[], b"", 404, "no such path"),
        ("PUT", "/events", &[], b"", 405, "Allow"),
        ("DELETE", "/windows", &[], b"", 405, "Allow"),
        ("GET", "/windows?limit=-1", &[], b"", 400, "from 1 to 10000"),
        ("GET", "/windows?limit=0", &[], b"", 400, "from 1 to 10000"),
        ("GET", "/windows?limit=10001", &[], b"", 400, "from 1 to 10000"),
        ("GET", "/windows?limit=1&limit=2", &[], b"", 400, "twice"),
        ("GET", "/windows?from=yesterday", &[], b"", 400, "RFC 3339"),
        ("GET", "/windows?closed=maybe", &[], b"", 400, "true and false"),
        ("GET", "/windows?window=hourly", &[], b"", 400, "by_region, daily"),
        ("GET", "/windows?pipeline=other", &[], b"", 400, "civic_safety"),
        ("GET", "/windows?group.city=x", &[], b"", 400, "group.region"),
        ("GET", "/windows?group.=x", &[], b"", 400, "group.KEY"),
        ("GET", "/windows?window=daily&group.source=x", &[], b"", 400, "group.region"),
        ("GET", "/windows?after=1e18", &[], b"", 400, "`next`"),
        ("GET", "/windows?group.region=a%00b", &[], b"", 400, "NUL"),
        ("GET", "/windows/not-a-uuid", &[], b"", 404, "metric_id"),
        ("GET", "/windows/9531985d-5d9d-49f8-9818-e811892f902b", &[], b"", 404, "metric_id"),
        ("GET", "/windows/9531985d-5d9d-49f8-9818-e811892f902b/events", &[], b"", 404, "metric_id"),
        ("GET", "/events?before=1e18", &[], b"", 400, "whole number"),
        ("GET", "/events?before=18446744073709551615", &[], b"", 400, "whole number"),
        ("GET", "/events?offset=1", &[], b"", 400, "allowed are limit"),
        ("GET", "/events?q=%zz", &[], b"", 400, "%25"),
        ("GET", "/events?q=1%", &[], b"", 400, "%25"),
        ("GET", "/events?q=%+1", &[], b"", 400, "%25"),
        ("GET", "/events?q=%ff", &[], b"", 400, "UTF-8"),
        ("GET", "/events?q=%C3", &[], b"", 400, "UTF-8"),
        ("POST", "/events", &[("Content-Type", JSON), ("Expect", "200-ok")], b"{}", 417, "100-continue"),
        ("GET", "/events/none", &[], b"", 404, "none"),
        ("GET", "/events/%00", &[], b"", 400, "NUL"),
        ("GET", "/dead-letters?reason=bored", &[], b"", 400, "json, topic, schema"),
        ("GET", "/ledger?x=1", &[], b"", 400, "has none"),
        ("GET", "/ledger?token=secret", &[], b"", 400, "Authorization"),
        ("POST", "/generator", &[("Content-Type", JSON)], b"{\"rate\":0}", 400, "rate"),
        ("POST", "/generator", &[("Content-Type", JSON)], b"{\"rate\":1e9}", 400, "200000"),
        ("POST", "/generator", &[("Content-Type", JSON)], b"{\"late\":2}", 400, "probability"),
        ("POST", "/generator", &[("Content-Type", JSON)], b"{\"speed\":2}", 400, "rate"),
        (
            "POST",
            "/generator",
            &[("Content-Type", JSON)],
            b"{\"burst\":{\"topic\":\"x\",\"probability\":1,\"size\":1}}",
            400,
            "security.incident",
        ),
    ];
    for (method, path, headers, body, status, says) in cases {
        eprintln!("{method} {path} {headers:?}");
        let answer = server.call(method, path, headers, body);
        answer.assert_problem(*status, says);
        assert!((*status == 405) == answer.header("allow").is_some(), "{answer:?}");
    }
    assert_eq!(server.get("/ledger").json()["accepted"], 0);
}

/// Requests that no HTTP client would send. 0: closed without an answer.
#[test]
fn broken_http_is_refused_and_others_are_served() {
    let server = Server::usual();
    let post = "POST /events HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n";
    let many: String = (0..1000).fold(String::new(), |mut all, i| {
        write!(all, "X-{i}: y\r\n").unwrap();
        all
    });
    let extensions =
        format!("{post}Transfer-Encoding: chunked\r\n\r\n2;{}\r\n{{}}\r\n0\r\n\r\n", "e=1;".repeat(200_000));
    let chunks = format!(
        "{post}Transfer-Encoding: chunked\r\n\r\n{}",
        format!("10000\r\n{}\r\n", " ".repeat(0x10000)).repeat(20)
    );
    let cases: &[(&str, String, &[u16])] = &[
        ("no HTTP", "\x16\x03\x01\x02\r\n\r\n".into(), &[400]),
        ("HTTP/2 preface", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".into(), &[0, 400]),
        ("a space in the path", "GET /led ger HTTP/1.1\r\nHost: localhost\r\n\r\n".into(), &[400]),
        ("two lengths", format!("{post}Content-Length: 2\r\nContent-Length: 3\r\n\r\n{{}} "), &[400]),
        ("a negative length", format!("{post}Content-Length: -1\r\n\r\n{{}}"), &[400]),
        ("a length that is none", format!("{post}Content-Length: 2x\r\n\r\n{{}}"), &[400]),
        ("an enormous length", format!("{post}Content-Length: 9223372036854775807\r\n\r\n{{}}"), &[413]),
        (
            "a chunk size that is none",
            format!("{post}Transfer-Encoding: chunked\r\n\r\nzz\r\n{{}}\r\n0\r\n\r\n"),
            &[400],
        ),
        (
            "a chunk size past 64 bits",
            format!("{post}Transfer-Encoding: chunked\r\n\r\n{}\r\n", "f".repeat(17)),
            &[400],
        ),
        ("a flood of chunk extensions", extensions, &[400]),
        ("chunks beyond BODY_BYTES_MAX", chunks, &[413]),
        ("an unknown transfer encoding", format!("{post}Transfer-Encoding: gzip\r\n\r\n{{}}"), &[400, 501]),
        ("1,000 headers", format!("GET /ledger HTTP/1.1\r\nHost: localhost\r\n{many}\r\n"), &[431]),
        (
            "a long header",
            format!("GET /ledger HTTP/1.1\r\nHost: localhost\r\nX: {}\r\n\r\n", "y".repeat(100_000)),
            &[431],
        ),
        ("NUL in the path", "GET /led\0ger HTTP/1.1\r\nHost: localhost\r\n\r\n".into(), &[400]),
        ("a version that is none", "GET /ledger HTTP/9.9\r\nHost: localhost\r\n\r\n".into(), &[400]),
        ("a header without a colon", "GET /ledger HTTP/1.1\r\nHost localhost\r\n\r\n".into(), &[400]),
        ("a long path", format!("GET /{} HTTP/1.1\r\nHost: localhost\r\n\r\n", "y".repeat(100_000)), &[414, 431]),
        ("a foreign host", "GET /ledger HTTP/1.1\r\nHost: evil.example\r\nConnection: close\r\n\r\n".into(), &[421]),
        (
            "a host that only begins right",
            "GET /ledger HTTP/1.1\r\nHost: localhost.evil.example\r\nConnection: close\r\n\r\n".into(),
            &[421],
        ),
        (
            "two hosts",
            "GET /ledger HTTP/1.1\r\nHost: localhost\r\nHost: evil.example\r\nConnection: close\r\n\r\n".into(),
            &[400],
        ),
    ];
    for (name, request, expected) in cases {
        let answer = server.raw(request.as_bytes());
        assert!(expected.contains(&answer.status), "{name}: {answer:?}");
        if answer.status > 0 {
            answer.assert_problem(answer.status, "");
            assert_eq!(answer.header("x-content-type-options"), Some("nosniff"), "{name}: {answer:?}");
            assert!(answer.json()["detail"].as_str().unwrap().len() > 20, "{name}: {answer:?}");
        }
    }
    // What stood before it is answered as ever, also where both come at once.
    let mut stream = server.connect();
    stream.write_all(b"GET /ledger HTTP/1.1\r\nHost: localhost\r\n\r\nnonsense\r\n\r\n").unwrap();
    let mut stream = BufReader::new(stream);
    assert_eq!(one_answer(&mut stream).status, 200);
    one_answer(&mut stream).assert_problem(400, "no request of HTTP/1.1");
    assert_eq!(stream.read(&mut [0]).unwrap(), 0, "and the connection ends");
    for host in ["localhost:5000", "127.0.0.1", "127.0.0.1:1", "[::1]:5000", "LOCALHOST"] {
        let answer =
            server.raw(format!("GET /ledger HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n").as_bytes());
        assert_eq!(answer.status, 200, "{host}: {answer:?}");
    }
    assert_eq!(server.get("/ledger").json()["accepted"], 0);
}

/// Reads one answer and leaves the connection open.
pub fn one_answer(stream: &mut BufReader<TcpStream>) -> Answer {
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        if stream.read_line(&mut head).unwrap_or(0) == 0 {
            return Answer { status: 0, head, body: String::new() };
        }
    }
    let head = head.to_ascii_lowercase();
    let mut answer = Answer { status: head[9..12].parse().unwrap(), head, body: String::new() };
    let length = answer.header("content-length").map_or(0, |length| length.parse().unwrap());
    let mut body = vec![0; length];
    stream.read_exact(&mut body).unwrap();
    answer.body = String::from_utf8(body).unwrap();
    answer
}

/// Whoever is not told that the connection ends may send the next request on it, also where the answer did not need the body.
#[test]
fn a_body_that_nobody_reads_does_not_end_the_connection_unsaid() {
    let server = Server::usual();
    let next = b"GET /ledger HTTP/1.1\r\nHost: localhost\r\n\r\n";
    let chunked = "Transfer-Encoding: chunked";
    let cases: &[(&str, &str, &[u8], u16)] = &[
        ("POST /ledger", "Content-Length: 2", b"{}", 405),
        ("POST /no/such", "Content-Length: 2", b"{}", 404),
        ("POST /topics/no.such/events", "Content-Length: 2", b"{}", 404),
        ("POST /events", "Content-Length: 2\r\nContent-Type: text/xml", b"{}", 415),
        ("POST /events", "Content-Length: 2\r\nOrigin: http://evil.example", b"{}", 403),
        ("POST /ledger", chunked, b"2\r\n{}\r\n0\r\n\r\n", 405),
        ("GET /ledger", "Content-Length: 2", b"{}", 200),
    ];
    for &(call, headers, body, status) in cases {
        let mut stream = server.connect();
        write!(stream, "{call} HTTP/1.1\r\nHost: localhost\r\n{headers}\r\n\r\n").unwrap();
        // An answer that does not wait for the body comes now; one that does must not be waited for.
        stream.set_read_timeout(Some(Duration::from_millis(100))).unwrap();
        let _ = stream.peek(&mut [0]);
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let _ = stream.write_all(&[body, next].concat());
        let mut stream = BufReader::new(stream);
        let answer = one_answer(&mut stream);
        assert_eq!(answer.status, status, "{call} {headers}: {answer:?}");
        if answer.header("connection") != Some("close") {
            let second = one_answer(&mut stream);
            assert_eq!(second.status, 200, "{call} {headers}: the next request on the connection: {second:?}");
        }
    }
}

/// A body that does not come, or is too large to be read for nothing: the answer comes all the same, and says that the connection ends.
#[test]
fn a_body_that_is_not_waited_for_ends_the_connection_with_a_word() {
    let server = Server::usual();
    let cases = [
        ("one that does not come", "Content-Length: 2"),
        ("one without end", "Transfer-Encoding: chunked"),
        ("a large one", "Content-Length: 10000000"),
        ("one that waits to be asked for", "Content-Length: 2\r\nExpect: 100-continue"),
    ];
    for (name, headers) in cases {
        let mut stream = server.connect();
        write!(stream, "POST /ledger HTTP/1.1\r\nHost: localhost\r\n{headers}\r\n\r\n").unwrap();
        let answer = Answer::read(stream);
        assert_eq!(answer.status, 405, "{name}: {answer:?}");
        assert_eq!(answer.header("connection"), Some("close"), "{name}: {answer:?}");
    }
}

/// A body that ends before its length takes nothing into the log.
#[test]
fn half_a_body_is_no_request() {
    let server = Server::usual();
    let mut stream = server.connect();
    stream.write_all(b"POST /events HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100\r\n\r\n{\"a\":1}").unwrap();
    stream.shutdown(std::net::Shutdown::Write).unwrap();
    let answer = Answer::read(stream);
    assert!(matches!(answer.status, 0 | 400), "{answer:?}");
    assert_eq!(server.get("/ledger").json()["accepted"], 0);
}

#[test]
fn slow_clients_are_cut_off() {
    let server = Server::start(Setup {
        header_timeout: Duration::from_millis(300),
        body_timeout: Duration::from_millis(300),
        ..Setup::default()
    });
    let cases: &[(&str, &[u8], &[u8])] = &[
        ("silent", b"", b""),
        ("a byte at a time in the header", b"GET /ledger HTTP/1.1\r\nX: ", b"y"),
        (
            "a byte at a time in the body",
            b"POST /events HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000\r\n\r\n{",
            b" ",
        ),
    ];
    for (name, begin, trickle) in cases {
        let mut stream = server.connect();
        stream.write_all(begin).unwrap();
        // The trickle's pace is the thing under test, not a wait for something else.
        let mut writer = stream.try_clone().unwrap();
        let trickle = trickle.to_vec();
        let trickling = std::thread::spawn(move || {
            while !trickle.is_empty() && writer.write_all(&trickle).is_ok() {
                std::thread::sleep(Duration::from_millis(20));
            }
        });
        let answer = Answer::read(stream.try_clone().unwrap());
        assert_eq!(answer.status, 408, "{name}: {answer:?}");
        drop(stream);
        trickling.join().unwrap();
    }
    assert_eq!(server.get("/ledger").json()["accepted"], 0);
}

#[test]
fn connections_beyond_the_limit_are_told_so() {
    let server = Server::start(Setup { connections_max: 2, ..Setup::default() });
    let mut held = Vec::new();
    for _ in 0..2 {
        let mut stream = server.connect();
        stream.write_all(b"GET /ledger HTTP/1.1\r\nHost: localhost\r\n\r\n").unwrap();
        let mut line = String::new();
        BufReader::new(stream.try_clone().unwrap()).read_line(&mut line).unwrap();
        assert!(line.contains("200"), "{line}");
        held.push(stream);
    }
    server.get("/ledger").assert_problem(503, "too many connections");
    drop(held);
    // The places are free as soon as the server has seen the ends.
    until("a place is free", || server.get("/ledger").status == 200);
}

#[test]
fn applied_waits_for_the_fates() {
    let server = Server::start(Setup {
        fates: |waiting| {
            let letter = DeadLetter {
                offset: Offset(waiting.first.0 + 2),
                topic: None,
                reason: Reason::Schema,
                detail: "/region: <script>alert(1)</script>".into(),
                body: Vec::new(),
                received: Millis(0),
            };
            Some(vec![Fate::counted(waiting.first), Fate::duplicate(Offset(waiting.first.0 + 1)), Fate::of(&letter)])
        },
        ..Setup::default()
    });
    let answer = server.post("/events?ack=applied", NDJSON, b"{}\n{}\n{}\n");
    assert_eq!(answer.status, 200, "{answer:?}");
    let expected = json!({
        "accepted": 3, "counted": 1, "duplicate": 1, "filtered": 0, "invalid": 1, "late": 0,
        "items": [
            {"offset": 0, "status": "counted"},
            {"offset": 1, "status": "duplicate"},
            {"offset": 2, "status": "invalid", "reason": "schema: /region: <script>alert(1)</script>"},
        ],
    });
    assert_eq!(answer.json(), expected);
}

/// Whoever waits when the job ends is told that the events are safe, and not that they are applied.
#[test]
fn applied_never_pretends() {
    let server = Server::start(Setup { fates: |_| None, ..Setup::default() });
    let headers = [("Content-Type", NDJSON), ("Idempotency-Key", "\"told-nothing\"")];
    let send = |path| server.call("POST", path, &headers, b"{}\n{}\n");
    std::thread::scope(|scope| {
        let waiting = scope.spawn(|| send("/events?ack=applied"));
        while server.unanswered.lock().unwrap().is_empty() {
            std::thread::yield_now();
        }
        server.unanswered.lock().unwrap().clear();
        let answer = waiting.join().unwrap();
        answer.assert_problem(503, "accepted at offsets 0 to 1");
        assert_eq!(answer.json()["accepted"], 2);
        assert_eq!(answer.json()["last_offset"], 1);
        // What it says of the request's key is so.
        answer.assert_problem(503, "The same request again is safe with the Idempotency-Key");
        let again = send("/events");
        assert_eq!((again.status, again.header("idempotent-replayed")), (202, Some("true")), "{again:?}");
        assert_eq!(again.json()["last_offset"], 1);
        assert_eq!(server.get("/ledger").json()["accepted"], 2, "nothing was taken twice");
    });
}

#[test]
fn ready_when_post_is_served() {
    let server = Server::usual();
    assert_eq!(server.get("/readyz").status, 200);
    assert_eq!(server.get("/healthz").status, 200);
    assert_eq!(server.call("HEAD", "/readyz", &[], b"").status, 200);
    server.ingest.gate(Some(Refusal::Starting));
    server.status.update(|s| (s.phase, s.replayed, s.replay_until) = (Phase::Replaying, Offset(7), Offset(10)));
    let answer = server.get("/readyz");
    answer.assert_problem(503, "7 of 10 events replayed");
    assert_eq!(answer.json()["replay_until"], 10);
    server.post("/events", JSON, b"{}").assert_problem(503, "replayed");
    server.status.update(|s| s.phase = Phase::Serving);
    server.ingest.gate(Some(Refusal::LogFull));
    server.get("/readyz").assert_problem(503, "LOG_BYTES_MAX");
    server.post("/events", JSON, b"{}").assert_problem(503, "LOG_BYTES_MAX");
    assert_eq!(server.get("/healthz").status, 200);
}

const SECOND: i64 = 1_000_000;

/// One epoch's results: 25 rows of by_region, a counted event that holds markup, a dead letter.
fn commit_results(server: &Server) -> Vec<WindowRow> {
    let window = |i: i64| {
        let group = vec![
            GroupValue::Text("security.incident".into()),
            GroupValue::Text(if i % 2 == 0 { "RM" } else { "VA" }.into()),
        ];
        let start = Micros(1_800_000_000 * SECOND + i * 5 * SECOND);
        WindowRow {
            metric_id: metric_id("civic_safety", "by_region", start, &group),
            window: 0,
            start,
            end: start.plus(Micros(5 * SECOND)),
            group,
            values: vec![Metric::Integer(i128::from(i)), Metric::Number(0.5)],
            event_count: 1,
            revision: 0,
            closed: i < 20,
            digest: 1,
            epoch: Epoch(1),
        }
    };
    let rows: Vec<WindowRow> = (0..25).map(window).collect();
    let event = AuditEvent {
        offset: Offset(3),
        topic: "security.incident".into(),
        event_id: "9531985d-5d9d-49f8-9818-e811892f902b".into(),
        time: Micros(1_800_000_000 * SECOND),
        received: Millis(1_800_000_001_000),
        body: br#"{"note":"<script>alert(1)</script>","n":12345678901234567890123}"#.to_vec(),
        metrics: vec![rows[0].metric_id],
    };
    let letter = DeadLetter {
        offset: Offset(4),
        topic: Some("security.incident".into()),
        reason: Reason::Schema,
        detail: "/region: not allowed".into(),
        body: br#"{"event_id":"bad-one"}"#.to_vec(),
        received: Millis(1_800_000_001_000),
    };
    let mut store = server.target.store(&server.app.running.get().pipelines.plan).unwrap();
    store.claim(Generation(1)).unwrap();
    let counts = Counts { counted: 4, invalid: 1, ..Counts::default() };
    let to = Progress { log: LogId(1), generation: Generation(1), epoch: Epoch(1), end: Offset(5), counts };
    let commit =
        Commit { rows: rows.clone(), dead_letters: vec![letter], events: vec![event], ..Commit::new(None, to) };
    store.commit(&commit).unwrap();
    rows
}

#[test]
fn results_are_read_by_page_and_filter() {
    let server = Server::usual();
    let rows = commit_results(&server);

    // Pages, followed by `next`, give every row once and in order.
    let mut seen = Vec::new();
    let mut path = Some("/windows?window=by_region&limit=10".to_owned());
    while let Some(page) = path {
        let answer = server.get(&page).json();
        seen.extend(
            answer["windows"].as_array().unwrap().iter().map(|row| row["metric_id"].as_str().unwrap().to_owned()),
        );
        path = answer["next"].as_str().map(str::to_owned);
    }
    assert_eq!(seen, rows.iter().map(|row| row.metric_id.to_string()).collect::<Vec<_>>());

    // A name is the same name however it is written: the next page has it once.
    let first = server.get("/windows?limit=10").json()["next"].as_str().unwrap().to_owned();
    let next = server.get(&first.replace("after=", "%61fter=")).json()["next"].as_str().unwrap().to_owned();
    assert_eq!((next.matches("after=").count(), next.contains('%')), (1, false), "{next}");
    assert_eq!(server.get(&next).status, 200, "{next}");

    let count = |query: &str| {
        let answer = server.get(&format!("/windows?limit=1000{query}"));
        assert_eq!(answer.status, 200, "{query}: {answer:?}");
        answer.json()["windows"].as_array().unwrap().len()
    };
    let filters = [
        ("", 25),
        ("&group.region=RM", 13),
        ("&group.region=RM&group.source=security.incident", 13),
        ("&group.region=%27%20OR%201=1%20--", 0),
        ("&group.region=%25", 0),
        ("&closed=true", 20),
        ("&closed=false&group.region=VA", 2),
        ("&from=2027-01-15T08:00:10Z", 23),
        ("&from=2027-01-15T08:00:10Z&to=2027-01-15T08:00:20Z", 2),
        ("&to=0001-01-01T00:00:00Z", 0),
        ("&window=daily", 0),
        ("&pipeline=civic_safety", 25),
    ];
    for (query, expected) in filters {
        assert_eq!(count(query), expected, "{query}");
    }

    let id = rows[0].metric_id;
    let row = server.get(&format!("/windows/{id}")).json();
    let expected = json!({
        "metric_id": id.to_string(), "pipeline": "civic_safety", "window": "by_region",
        "window_start": "2027-01-15T08:00:00Z", "window_end": "2027-01-15T08:00:05Z",
        "group": {"source": "security.incident", "region": "RM"}, "values": {"n": 0, "mean_age": 0.5},
        "event_count": 1, "revision": 0, "closed": true,
    });
    assert_eq!(row, expected);
    let data = server.get("/data").json();
    let newest = data["pipelines"]["civic_safety"]["by_region"].as_array().unwrap();
    assert_eq!(newest.len(), 2, "a row a group");
    assert_eq!(newest[0]["metric_id"], rows[24].metric_id.to_string());
    assert_eq!(newest[1]["metric_id"], rows[23].metric_id.to_string());
}

#[test]
fn an_event_is_found_by_its_id_and_shown_as_text() {
    let server = Server::usual();
    let rows = commit_results(&server);
    let id = "9531985d-5d9d-49f8-9818-e811892f902b";

    let answer = server.get(&format!("/events/{id}"));
    let found = answer.json();
    assert_eq!(found["events"][0]["fate"], "counted");
    assert_eq!(found["events"][0]["metrics"], json!([rows[0].metric_id.to_string()]));
    assert!(answer.body.contains("12345678901234567890123"), "digits stay as they came: {}", answer.body);
    let dead = server.get("/events/bad-one").json();
    assert_eq!(dead["dead_letters"][0]["fate"], "invalid");
    assert_eq!(dead["dead_letters"][0]["reason"], "schema");

    let lineage = server.get(&format!("/windows/{}/events", rows[0].metric_id)).json();
    assert_eq!(lineage["events"][0]["event_id"], id);
    assert_eq!(lineage["next"], Value::Null);
    let none = server.get(&format!("/windows/{}/events?after=3", rows[0].metric_id)).json();
    assert_eq!(none["events"], json!([]));

    for (query, expected) in
        [("", 1), ("?q=alert(1)", 1), ("?q=ALERT", 0), ("?q=%25", 0), ("?topic=migration.case", 0), ("?before=3", 0)]
    {
        let events = server.get(&format!("/events{query}")).json();
        assert_eq!(events["events"].as_array().unwrap().len(), expected, "{query}");
    }
    for (query, expected) in
        [("", 1), ("?reason=late", 0), ("?reason=schema&topic=security.incident", 1), ("?before=4", 0)]
    {
        let letters = server.get(&format!("/dead-letters{query}")).json();
        assert_eq!(letters["dead_letters"].as_array().unwrap().len(), expected, "{query}");
    }
    let page = server.call("GET", "/events", &[("Accept", "text/html,application/xhtml+xml")], b"");
    assert!(page.header("content-type").unwrap().starts_with("text/html"), "{page:?}");
    assert!(page.body.contains("&lt;script&gt;") && !page.body.contains("<script"), "{}", page.body);
}

#[test]
fn the_page_and_the_metrics() {
    let server = Server::usual();
    for (path, kind) in [
        ("/", "text/html"),
        ("/assets/app.js", "text/javascript"),
        ("/assets/style.css", "text/css"),
        ("/favicon.svg", "image/svg"),
    ] {
        let answer = server.get(path);
        assert_eq!(answer.status, 200);
        assert!(answer.header("content-type").unwrap().starts_with(kind), "{answer:?}");
        assert_eq!(answer.header("x-content-type-options"), Some("nosniff"));
        let head = server.call("HEAD", path, &[], b"");
        assert_eq!((head.status, head.body.as_str()), (200, ""));
    }
    assert!(server.get("/").body.contains("<title>Caudal</title>"));
    assert_eq!(server.get("/ledger").header("cache-control"), Some("no-store"));
    let topics = server.get("/topics").json();
    assert_eq!(topics["topics"][0]["name"], "security.incident");
    assert_eq!(topics["topics"][0]["id"], "event_id");
    assert_eq!(topics["topics"][0]["schema"]["type"], "object");
    assert_eq!(topics["topics"][0]["example"]["source"], "security.incident");
    assert_eq!(topics["topic_field"], "source");

    server.post("/events", JSON, b"{}");
    while server.get("/ledger").json()["accepted"] != 1 {}
    server.get("/no/such");
    let metrics = server.get("/metrics").body;
    for line in [
        "caudal_events_accepted_total 1",
        "caudal_events_in_flight 1",
        "caudal_events_fate_total{fate=\"late\"} 0",
        "caudal_http_requests_total{status=\"4xx\"} 1",
    ] {
        assert!(metrics.lines().any(|l| l == line), "{line} is not in\n{metrics}");
    }
    let cluster = server.get("/cluster").json();
    assert_eq!(cluster["phase"], "serving");
}

#[test]
fn live_gives_snapshots_until_the_server_stops() {
    let mut server = Server::usual();
    commit_results(&server);
    let mut stream = server.connect();
    stream.write_all(b"GET /live HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").unwrap();
    let mut lines = BufReader::new(stream).lines().map(Result::unwrap);
    let mut snapshot = || {
        let data = lines.by_ref().find_map(|line| line.strip_prefix("data: ").map(str::to_owned));
        data.map(|text| serde_json::from_str::<Value>(&text).unwrap())
    };
    let first = snapshot().unwrap();
    assert_eq!(first["rows"].as_array().unwrap().len(), 25);
    assert_eq!(first["events"][0]["event"]["note"], "<script>alert(1)</script>");
    assert_eq!(first["dead_letters"][0]["reason"], "schema");
    assert_eq!(first["ledger"]["accepted"], 0);
    server.post("/events", JSON, b"{}");
    while snapshot().unwrap()["ledger"]["accepted"] != 1 {}
    server.stop();
    while snapshot().is_some() {}
}

#[test]
fn the_generator_starts_once_stops_and_starts_again() {
    let server = Server::usual();
    assert_eq!(server.get("/generator").json()["running"], false);
    for seed in [7, 8] {
        let wish = format!("{{\"rate\":2000,\"seed\":{seed},\"duplicates\":0.1}}");
        let answer = server.post("/generator", JSON, wish.as_bytes());
        assert_eq!(answer.status, 200, "{answer:?}");
        assert_eq!(answer.json()["settings"]["seed"], seed);
        server.post("/generator", JSON, b"").assert_problem(409, "DELETE");
        while server.get("/generator").json()["accepted"] == 0 {}
        let stopped = server.call("DELETE", "/generator", &[], b"").json();
        assert_eq!(stopped["running"], false);
        assert_eq!(stopped["sent"], stopped["accepted"]);
        let accepted = server.get("/ledger").json()["accepted"].as_u64().unwrap();
        assert!(accepted >= stopped["accepted"].as_u64().unwrap());
    }
}
