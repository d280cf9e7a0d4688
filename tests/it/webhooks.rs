//! Webhooks against a real HTTP server that does as it is told: what is sent when, under which key, and what becomes of it.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::fs;
use std::io::{BufRead, BufReader, Read, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use caudal::clock::Clock;
use caudal::core::ledger::Counts;
use caudal::core::row::Delivery;
use caudal::core::units::{Epoch, Generation, LogId, Micros, Millis, Offset};
use caudal::outbox::{Hook, Shared, spawn};
use caudal::pipeline::{Bundle, FileText};
use caudal::store::target::Target;
use caudal::store::{Commit, DeliveryQuery, DeliveryState, Progress, StoredDelivery};
use serde_json::{Value, json};
use tempfile::TempDir;
use uuid::Uuid;

use crate::support::job::{Job, Setup, until};

#[derive(Clone, Copy, Debug)]
enum Answer {
    Status(u16),
    /// To itself.
    Redirect,
    /// Never; the connection stays open.
    Silence,
    /// Half a header, then nothing.
    Half,
    /// The connection is closed.
    Close,
}

/// What came: the Idempotency-Key and the body.
type Received = Arc<Mutex<Vec<(String, Value)>>>;

/// A server that answers its n-th request as `says(n)`; it ends with the test's process.
fn server(says: impl Fn(usize) -> Answer + Send + 'static) -> (String, Received) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let received = Received::default();
    let into = Arc::clone(&received);
    std::thread::spawn(move || {
        let mut open = Vec::new();
        for connection in listener.incoming() {
            let mut connection = connection.unwrap();
            let Some(request) = request(&connection) else { continue };
            let number = {
                let mut all = into.lock().unwrap();
                all.push(request);
                all.len() - 1
            };
            let said = match says(number) {
                Answer::Status(code) => {
                    format!("HTTP/1.1 {code} x\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok")
                }
                Answer::Redirect => {
                    format!("HTTP/1.1 302 Found\r\nLocation: http://{address}/elsewhere\r\nContent-Length: 0\r\n\r\n")
                }
                Answer::Half => "HTTP/1.1 200 OK\r\nContent-Le".to_owned(),
                Answer::Silence => String::new(),
                Answer::Close => continue,
            };
            // A client that has given up is gone.
            let _ = connection.write_all(said.as_bytes());
            if matches!(says(number), Answer::Silence | Answer::Half) {
                open.push(connection);
            }
        }
    });
    (format!("http://{address}/hook"), received)
}

fn request(connection: &TcpStream) -> Option<(String, Value)> {
    let mut reader = BufReader::new(connection);
    let (mut line, mut headers) = (String::new(), BTreeMap::new());
    reader.read_line(&mut line).ok()?;
    assert!(line.starts_with("POST /hook HTTP/1.1"), "{line}");
    loop {
        let mut header = String::new();
        reader.read_line(&mut header).ok()?;
        let Some((name, value)) = header.trim_end().split_once(": ") else { break };
        headers.insert(name.to_lowercase(), value.to_owned());
    }
    assert_eq!(headers["content-type"], "application/json");
    assert!(headers["user-agent"].starts_with("caudal/"), "{headers:?}");
    let mut body = vec![0; headers["content-length"].parse().unwrap()];
    reader.read_exact(&mut body).ok()?;
    Some((headers["idempotency-key"].clone(), serde_json::from_slice(&body).unwrap()))
}

/// A clock that stands until it is set.
struct Still(AtomicU64);

impl Clock for Still {
    fn unix(&self) -> Millis {
        Millis(self.0.load(Ordering::SeqCst))
    }

    fn up(&self) -> Millis {
        self.unix()
    }
}

const FILE: &str = "pipeline: p
topics: {t: {schema: t.json}}
time: {field: at}
alerts:
  blocked: {key: user, count: TRUE, at_least: 3, within: 1h, for: 1d}
webhooks:
  ops: {on: [blocked], url: https://ops.example.com/}
";

/// A store with one thing in its outbox, a webhook that is sent it, and the time.
struct Bed {
    target: Target,
    shared: Shared,
    clock: Arc<Still>,
    _dir: TempDir,
}

const HOUR: u64 = 3_600_000;
/// When the time is first looked at.
const BEGAN: Millis = Millis(1_764_000_000_000);

impl Bed {
    fn new(private: bool) -> Self {
        let schema = json!({"properties": {"at": {"type": "string"}, "user": {"type": "string"}}}).to_string();
        let file =
            FileText { file: "p.yaml".to_owned(), text: FILE.to_owned(), schemas: vec![("t.json".to_owned(), schema)] };
        let plan = Bundle(vec![file]).pipelines().unwrap_or_else(|faults| panic!("{faults}")).plan;
        let dir = TempDir::new().unwrap();
        let target = Target::Sqlite(dir.path().join("caudal.db"));
        let clock = Arc::new(Still(AtomicU64::new(BEGAN.0)));
        let mut store = target.store(&plan).unwrap();
        store.claim(Generation(1)).unwrap();
        drop(store);
        let shared = Shared {
            target: target.clone(),
            plan,
            log: LogId(1),
            generation: Generation(1),
            clock: clock.clone(),
            private,
            timeout: Duration::from_millis(300),
        };
        let bed = Self { target, shared, clock, _dir: dir };
        bed.commit(Generation(1), None, 7);
        bed
    }

    /// An epoch with one thing to be sent.
    fn commit(&self, generation: Generation, after: Option<Epoch>, id: u128) {
        let epoch = after.map_or(Epoch(1), Epoch::next);
        let body = json!({"alert": "blocked", "state": "raised"}).to_string();
        let to = Progress { log: LogId(1), generation, epoch, end: Offset(0), counts: Counts::default() };
        let outbox = vec![Delivery { id: Uuid::from_u128(id), webhook: 0, body, epoch }];
        let commit = Commit { outbox, ..Commit::new(after, to) };
        self.target.store(&self.shared.plan).unwrap().commit(&commit).unwrap();
    }

    fn all(&self) -> Vec<StoredDelivery> {
        let mut reader = self.target.reader(&self.shared.plan).unwrap();
        reader.deliveries(&DeliveryQuery { limit: 10, ..DeliveryQuery::default() }).unwrap()
    }

    fn stands(&self) -> StoredDelivery {
        let mut all = self.all();
        assert_eq!(all.len(), 1);
        all.remove(0)
    }

    fn hook(url: &str) -> Vec<Hook> {
        let retry = Micros(24 * HOUR as i64 * 1000);
        vec![Hook { pipeline: "p".to_owned(), name: "ops".to_owned(), url: url.to_owned(), retry }]
    }

    /// Waits for so many attempts.
    fn after(&self, attempts: u64) -> StoredDelivery {
        until("it is attempted", || self.stands().attempts >= attempts);
        let stands = self.stands();
        assert_eq!(stands.attempts, attempts, "{stands:?}");
        stands
    }

    fn pass(&self, ms: u64) {
        self.clock.0.fetch_add(ms, Ordering::SeqCst);
    }
}

/// The wait after the n-th failure.
fn wait_ms(stands: &StoredDelivery) -> i64 {
    (stands.next.unwrap().0 - stands.last.unwrap().0) / 1000
}

#[test]
fn it_is_tried_again_until_it_is_taken() {
    let answers = [Answer::Status(500), Answer::Redirect, Answer::Silence, Answer::Half, Answer::Close];
    let (url, received) = server(move |n| answers.get(n).copied().unwrap_or(Answer::Status(204)));
    let bed = Bed::new(true);
    let _sending = spawn(Bed::hook(&url), &bed.shared).unwrap();
    for (attempts, (why, wait)) in (1..).zip([
        ("it answered 500", 1_000),
        ("it answered 302: redirects are not followed", 2_000),
        ("it did not answer within 0.3 s", 4_000),
        ("it did not answer within 0.3 s", 8_000),
        ("", 16_000),
    ]) {
        let stands = bed.after(attempts);
        assert_eq!((stands.state, wait_ms(&stands)), (DeliveryState::Waiting, wait), "{stands:?}");
        assert!(stands.error.as_deref().unwrap().contains(why), "{stands:?}");
        bed.pass(wait as u64);
    }
    let taken = bed.after(6);
    assert_eq!((taken.state, taken.next, taken.error), (DeliveryState::Delivered, None, None));
    assert_eq!(taken.first, Some(BEGAN.micros()));
    bed.pass(48 * HOUR);
    let all = received.lock().unwrap().clone();
    let body = json!({"alert": "blocked", "state": "raised"});
    assert_eq!(
        all,
        vec![(Uuid::from_u128(7).to_string(), body); 6],
        "the same each time, the redirect is not followed"
    );
}

#[test]
fn it_is_given_up_when_its_time_is_over() {
    let (url, received) = server(|_| Answer::Status(503));
    let bed = Bed::new(true);
    let _sending = spawn(Bed::hook(&url), &bed.shared).unwrap();
    bed.after(1);
    // The last attempt after which one more still lies within the day, and the one after that.
    bed.pass(24 * HOUR - 3_000);
    assert_eq!(bed.after(2).state, DeliveryState::Waiting);
    bed.pass(2_000);
    let stands = bed.after(3);
    let error = Some("it answered 503".to_owned());
    assert_eq!((stands.state, stands.next, stands.error), (DeliveryState::GivenUp, None, error));
    assert_eq!(received.lock().unwrap().len(), 3);
}

#[test]
fn private_addresses_are_not_connected_to() {
    let (url, received) = server(|_| Answer::Status(200));
    let bed = Bed::new(false);
    let _sending = spawn(Bed::hook(&url.replace("127.0.0.1", "localhost")), &bed.shared).unwrap();
    let stands = bed.after(1);
    assert!(stands.error.as_deref().unwrap().contains("WEBHOOKS_PRIVATE=allow"), "{stands:?}");
    assert_eq!(received.lock().unwrap().len(), 0);
}

/// A job that a newer one has replaced sends on no more once it has learned of it.
#[test]
fn a_stale_generation_stops() {
    let (url, received) = server(|_| Answer::Status(500));
    let bed = Bed::new(true);
    let _sending = spawn(Bed::hook(&url), &bed.shared).unwrap();
    bed.after(1);
    bed.target.store(&bed.shared.plan).unwrap().claim(Generation(2)).unwrap();
    bed.pass(1_000);
    until("it has tried once more", || received.lock().unwrap().len() == 2);
    let newer = Shared { generation: Generation(2), ..bed.shared.clone() };
    let (taken, _) = server(|_| Answer::Status(200));
    let _newer = spawn(Bed::hook(&taken), &newer).unwrap();
    until("the newer one has sent it", || bed.stands().state == DeliveryState::Delivered);
    assert_eq!(bed.stands().attempts, 2, "what the stale one did is not noted");
    // Something new: the stale one, had it not stopped, would look at it as often as the newer one.
    bed.commit(Generation(2), Some(Epoch(1)), 8);
    until("the newer one has sent that too", || bed.all().iter().all(|of| of.state == DeliveryState::Delivered));
    assert_eq!(received.lock().unwrap().len(), 2, "the stale one has stopped");
}

/// What was given up is tried again when it is asked for, or thrown away; nothing else is.
fn mended(job: &Job, is_back: &AtomicBool) {
    let lost = |state: &str| {
        let page = job.client.json(&format!("/webhooks?webhook=lost&state={state}&limit=1000"));
        let ids = page["deliveries"].as_array().unwrap().iter().map(|d| d["delivery_id"].as_str().unwrap().to_owned());
        ids.collect::<Vec<String>>()
    };
    until("each is given up, raised and cleared", || lost("given_up").len() as u64 == 2 * USERS);
    is_back.store(true, Ordering::SeqCst);
    let given_up = lost("given_up");
    let (status, answer) = job.client.post_json(&format!("/webhooks/{}/retry", given_up[0]), "");
    assert_eq!((status, &answer["state"]), (200, &json!("waiting")), "{answer}");
    until("it is delivered", || lost("delivered") == given_up[..1]);
    let delete = |id: &str| job.client.delete(&format!("/webhooks/{id}")).0;
    assert_eq!(delete(&given_up[1]), 200);
    // Delivered, discarded, never there, no id at all.
    for id in [&given_up[0], &given_up[1], &Uuid::nil().to_string(), "x"] {
        assert_eq!((delete(id), job.client.post_json(&format!("/webhooks/{id}/retry"), "").0), (404, 404), "{id}");
    }
    assert_eq!((lost("given_up").len() as u64, lost("waiting").len()), (2 * USERS - 2, 0));
}

const LOGINS: &str = "pipeline: logins
topics: {login: {schema: login.json}}
id: id
time: {field: at, format: unix_ms, out_of_order: 0s, idle_after: 200ms}
alerts:
  blocked: {key: user, count: NOT ok, unless: ok, at_least: 3, within: 1h}
  brief:   {key: user, count: NOT ok, at_least: 3, within: 1h, for: 63s}
webhooks:
  ops:  {on: [blocked], url: \"${LOGIN_URL}\"}
  lost: {on: [brief], url: \"${LOST_URL}\", retry: 1ms}
audit: none
";
const LOGIN: &str = r#"{"type": "object", "required": ["id", "at", "user", "ok"], "properties": {
    "id": {"type": "string"}, "at": {"type": "integer"}, "user": {"type": "string"}, "ok": {"type": "boolean"}}}"#;
const USERS: u64 = 60;

/// A server that fails every third time, a job whose rank 0 is killed: each block is told of, always under one key, and none that was not.
#[test]
fn each_alert_is_told_whatever_is_killed() {
    let (url, received) = server(|n| if n % 3 == 2 { Answer::Status(500) } else { Answer::Status(200) });
    let dir = TempDir::new().unwrap();
    for (name, text) in [("logins.yaml", LOGINS), ("login.json", LOGIN)] {
        fs::write(dir.path().join(name), text).unwrap();
    }
    let file = dir.path().join("logins.yaml");
    let setup = Setup::new(3, dir.path()).with("PIPELINES", file.to_str().unwrap());
    let is_back = Arc::new(AtomicBool::new(false));
    let asked = Arc::clone(&is_back);
    let (lost, _) = server(move |_| Answer::Status(if asked.load(Ordering::SeqCst) { 200 } else { 500 }));
    let setup = setup.with("LOGIN_URL", &url).with("LOST_URL", &lost).with("WEBHOOKS_PRIVATE", "allow");
    let job = Job::start_in(dir, setup);
    for round in 0..4_u64 {
        let mut lines = String::new();
        // Three failures each; every second user then comes in, which clears it.
        for user in (0..USERS).filter(|user| round < 3 || user % 2 == 0) {
            let at = 1_767_225_600_000 + round * 60_000 + user;
            let (id, user) = (format!("{round}-{user}"), format!("user {user}"));
            writeln!(lines, "{}", json!({"id": id, "at": at, "user": user, "ok": round == 3})).unwrap();
        }
        until("the round is taken", || {
            matches!(
                job.client.try_post("/topics/login/events", "application/x-ndjson", lines.as_bytes()),
                Ok((202, _))
            )
        });
        if round >= 2 {
            job.kill_rank(usize::from(round != 2));
            job.wait_back();
        }
    }
    job.wait_settled();
    let count = |query: &str| job.client.json(query)["deliveries"].as_array().unwrap().len() as u64;
    let told = USERS + USERS / 2;
    until("everything is sent", || count("/webhooks?webhook=ops&state=delivered&limit=1000") == told);
    let others = ["waiting", "given_up"].map(|state| count(&format!("/webhooks?webhook=ops&state={state}")));
    assert_eq!(others, [0, 0]);

    let mut by_key: BTreeMap<String, Value> = BTreeMap::new();
    for (key, body) in received.lock().unwrap().iter() {
        let known = by_key.entry(key.clone()).or_insert_with(|| body.clone());
        assert_eq!(known, body, "one key, one body");
    }
    let place = |body: &Value| (body["key"]["user"].as_str().unwrap().to_owned(), body["state"].clone().to_string());
    let found: BTreeSet<_> = by_key.values().map(place).collect();
    let raised = (0..USERS).map(|user| (format!("user {user}"), "\"raised\"".to_owned()));
    let cleared = (0..USERS).step_by(2).map(|user| (format!("user {user}"), "\"cleared\"".to_owned()));
    assert_eq!(found, raised.chain(cleared).collect());
    assert_eq!(by_key.len() as u64, told, "each once");
    let alerts = |query: &str| {
        let page = job.client.json(&format!("/alerts?limit=1000&{query}"));
        page["alerts"].as_array().unwrap().len() as u64
    };
    assert_eq!(alerts("alert=blocked&active=true"), USERS / 2);
    // Nothing comes any more: these end three seconds after the last event, so silence alone clears them.
    until("silence clears what lasts 63 seconds", || alerts("alert=brief&active=false") == USERS);
    assert_eq!(alerts("alert=brief&active=true"), 0);
    let first = job.client.json("/alerts?alert=brief&limit=40");
    let rest = job.client.json(first["next"].as_str().unwrap());
    let ids = [&first, &rest].map(|page| page["alerts"].as_array().unwrap().iter().map(|a| a["alert_id"].to_string()));
    let ids: Vec<String> = ids.into_iter().flatten().collect();
    assert_eq!((ids.len() as u64, &rest["next"]), (USERS, &Value::Null));
    assert_eq!(ids.iter().collect::<BTreeSet<_>>().len() as u64, USERS, "each once over the pages");
    mended(&job, &is_back);
    for path in ["/alerts?after=x", "/alerts?alert=nobody", "/webhooks?after=1~x", "/webhooks?state=lost"] {
        assert_eq!(job.client.get(path).0, 400, "{path}");
    }
    let (_dir, _, status) = job.stop();
    assert_eq!(status.code(), Some(0));
}
