//! POSTs of one event each over 128 connections: a job of two ranks, beside an axum handler that reads the body and answers 202 at once, in a process of its
//! own with as many threads. Both are loaded in turn by the same single thread.
//!
//! `peak`: every connection has a request under way all the time. `paced`: requests come at a fixed rate whether or not earlier ones are answered, and wait for
//! a free connection; their latency counts from the time at which they were meant to be sent. The job answers when events are on disk, so with a slow disk 128
//! connections can have no more than 128 answers in the time of a sync: `CAUDAL_BENCH_DIR=/dev/shm` shows what the program itself takes.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::net::TcpStream as Socket;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::rc::Rc;
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::Bytes;
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::routing::post;
use axum::serve::ListenerExt;
use caudal::pipeline::Pipelines;
use hdrhistogram::Histogram;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;
use tokio::time::MissedTickBehavior;

use crate::batch::median;
use crate::job::{Job, free_port, usage};
use crate::load::{Body, Load, histogram, stamp};
use crate::{bare_sync, print_quantiles, span};

/// Names the port of the server that does nothing, which is this program once more.
pub const NOTHING: &str = "CAUDAL_BENCH_SERVE_NOTHING";
const CONNECTIONS: usize = 128;
/// As many as rank 0 has for HTTP.
const THREADS: usize = 2;
const ROUNDS: usize = 5;
/// Of the lower of the two peaks.
const PACED_SHARE: f64 = 0.5;
/// Requests that are due are sent together, this often.
const TICK: Duration = Duration::from_millis(1);
const ANSWER_BYTES_MAX: usize = 4 << 10;

/// What came of one span.
struct Posted {
    rate: f64,
    /// Microseconds from the time a request was meant to be sent.
    latency_us: Histogram<u64>,
    refused: u64,
}

/// Meets each request with the same answer.
pub fn serve_nothing(port: &str) {
    let port: u16 = port.parse().expect("a port");
    let accept = |body: Bytes| async move {
        assert!(!body.is_empty(), "an event");
        (
            StatusCode::ACCEPTED,
            [(CONTENT_TYPE, "application/json")],
            r#"{"accepted":1,"first_offset":1000000,"last_offset":1000000}"#,
        )
    };
    let router = Router::new().route("/events", post(accept));
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(THREADS).enable_all().build();
    runtime.expect("a runtime").block_on(async {
        let listener = TcpListener::bind(("127.0.0.1", port)).await.expect("the port is free");
        let listener = listener.tap_io(|stream| stream.set_nodelay(true).expect("a socket"));
        axum::serve(listener, router).await.expect("it serves");
    });
}

/// The server that does nothing, as a process.
struct Nothing {
    child: Child,
    port: u16,
}

impl Nothing {
    fn start() -> Self {
        let port = free_port();
        let mut command = Command::new(std::env::current_exe().expect("this program"));
        let child = command.env(NOTHING, port.to_string()).stdin(Stdio::null()).spawn().expect("it starts");
        let begun = Instant::now();
        while Socket::connect(("127.0.0.1", port)).is_err() {
            assert!(begun.elapsed() < Duration::from_secs(10), "nobody listens on {port}");
            std::thread::sleep(Duration::from_millis(5));
        }
        Self { child, port }
    }

    fn cpu_seconds(&self) -> f64 {
        cpu_seconds(&format!("/proc/{}", self.child.id()))
    }
}

impl Drop for Nothing {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn cpu_seconds(proc: &str) -> f64 {
    usage(0, Path::new(proc)).expect("a process").cpu_seconds
}

pub fn run(dir: &Path, path: &Path, pipeline: &Pipelines) {
    let fresh = tempfile::TempDir::new_in(dir).expect("a directory");
    let job = Job::start(2, fresh.path(), path);
    let nothing = Nothing::start();
    let mut sender = Sender::new(pipeline);
    let turn = span() / 10;
    // Each answer of the job waits for one or two of these.
    print_quantiles("post: a bare fdatasync before", &bare_sync(fresh.path(), turn));
    // The first seconds fill caches and queues.
    sender.send(job.port, None, turn);
    sender.send(nothing.port, None, turn);
    let (mut jobs, mut nothings) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        jobs.push(peak(&mut sender, job.port, turn, || job.usage().iter().map(|u| u.cpu_seconds).sum()));
        // What the job still does of its turn is not to slow the other's.
        job.settle();
        nothings.push(peak(&mut sender, nothing.port, turn, || nothing.cpu_seconds()));
    }
    let (posted, bare) = (median(&mut jobs), median(&mut nothings));
    println!(
        "post: peak {posted:.0} requests/s; doing nothing {bare:.0}; {:.2} x (medians of {ROUNDS} turns of {} s)",
        posted / bare,
        turn.as_secs()
    );
    let rate = posted.min(bare) * PACED_SHARE;
    let (mut at_job, mut at_nothing) = (histogram(), histogram());
    for _ in 0..ROUNDS {
        for (port, total) in [(job.port, &mut at_job), (nothing.port, &mut at_nothing)] {
            let sent = sender.send(port, Some(rate), turn);
            assert!(sent.rate > rate * 0.98, "{rate:.0} requests/s were meant, {:.0} answered", sent.rate);
            total.add(&sent.latency_us).expect("the same bounds");
            job.settle();
        }
    }
    print_quantiles(&format!("post: paced at {rate:.0} requests/s, to the 202"), &at_job);
    print_quantiles("post: paced likewise, doing nothing", &at_nothing);
}

/// Requests a second, all connections busy; says what each side took of it.
fn peak(sender: &mut Sender, port: u16, turn: Duration, server_cpu: impl Fn() -> f64) -> f64 {
    let (mine, theirs) = (cpu_seconds("/proc/self"), server_cpu());
    let sent = sender.send(port, None, turn);
    let (mine, theirs) = (cpu_seconds("/proc/self") - mine, server_cpu() - theirs);
    let requests = sent.rate * turn.as_secs_f64();
    println!(
        "      {:.0} requests/s; CPU µs a request: server {:.1}, sender {:.1}; p50 {:.1} ms; {} refused",
        sent.rate,
        theirs / requests * 1e6,
        mine / requests * 1e6,
        sent.latency_us.value_at_quantile(0.5) as f64 / 1e3,
        sent.refused
    );
    sent.rate
}

/// All connections on one thread.
struct Sender {
    bodies: Vec<Body>,
    sendings: u32,
}

/// What its connections share in one span.
struct Span {
    /// When the requests that wait were meant to be sent; None: each connection sends as soon as it can.
    due: Option<RefCell<VecDeque<Instant>>>,
    filled: Notify,
    stamp: RefCell<String>,
    sendings: Cell<u32>,
    over: Cell<bool>,
    answered: Cell<u64>,
    refused: Cell<u64>,
    latency_us: RefCell<Histogram<u64>>,
}

impl Sender {
    fn new(pipeline: &Pipelines) -> Self {
        Self { bodies: Load::single(pipeline, CONNECTIONS), sendings: 0 }
    }

    fn send(&mut self, port: u16, rate: Option<f64>, span: Duration) -> Posted {
        let shared = Rc::new(Span {
            due: rate.map(|_| RefCell::default()),
            filled: Notify::new(),
            stamp: RefCell::new(stamp()),
            sendings: Cell::new(self.sendings),
            over: Cell::new(false),
            answered: Cell::new(0),
            refused: Cell::new(0),
            latency_us: RefCell::new(histogram()),
        });
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        let local = tokio::task::LocalSet::new();
        let bodies = std::mem::take(&mut self.bodies);
        let (bodies, seconds) = local.block_on(&runtime, async {
            let mut connections = Vec::new();
            for body in bodies {
                let stream = TcpStream::connect(("127.0.0.1", port)).await.expect("it listens");
                stream.set_nodelay(true).expect("a socket");
                connections.push(tokio::task::spawn_local(Rc::clone(&shared).connection(stream, body)));
            }
            let begun = Instant::now();
            shared.pace(rate, span).await;
            let seconds = begun.elapsed().as_secs_f64();
            // What is not answered by now does not count.
            let answered = shared.answered.get();
            let mut bodies = Vec::new();
            for connection in connections {
                bodies.push(connection.await.expect("a connection"));
            }
            shared.answered.set(answered);
            (bodies, seconds)
        });
        self.bodies = bodies;
        self.sendings = shared.sendings.get();
        Posted {
            rate: shared.answered.get() as f64 / seconds,
            latency_us: shared.latency_us.borrow().clone(),
            refused: shared.refused.get(),
        }
    }
}

impl Span {
    /// Lets requests become due until the span is over.
    async fn pace(&self, rate: Option<f64>, span: Duration) {
        let begun = Instant::now();
        let mut ticks = tokio::time::interval(TICK);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Burst);
        let mut made = 0.0;
        while begun.elapsed() < span {
            let meant = ticks.tick().await.into_std();
            *self.stamp.borrow_mut() = stamp();
            let (Some(rate), Some(due)) = (rate, &self.due) else { continue };
            let wanted = meant.saturating_duration_since(begun).as_secs_f64() * rate;
            while made < wanted {
                due.borrow_mut().push_back(meant);
                self.filled.notify_one();
                made += 1.0;
            }
        }
        self.over.set(true);
        self.filled.notify_waiters();
    }

    /// When the next request was meant to be sent; None once the span is over.
    async fn next(&self) -> Option<Instant> {
        loop {
            let filled = self.filled.notified();
            if self.over.get() {
                return None;
            }
            match &self.due {
                None => return Some(Instant::now()),
                Some(due) => {
                    if let Some(meant) = due.borrow_mut().pop_front() {
                        return Some(meant);
                    }
                }
            }
            filled.await;
        }
    }

    async fn connection(self: Rc<Self>, stream: TcpStream, mut body: Body) -> Body {
        let head = format!(
            "POST /events HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n",
            body.bytes.len()
        );
        let mut request = head.into_bytes();
        let head = request.len();
        request.resize(head + body.bytes.len(), 0);
        let mut answer = [0; ANSWER_BYTES_MAX];
        while let Some(meant) = self.next().await {
            self.sendings.set(self.sendings.get() + 1);
            body.renew_at(self.sendings.get(), &self.stamp.borrow());
            request[head..].copy_from_slice(&body.bytes);
            // A request this small fits the socket's buffer.
            let written = stream.try_write(&request).expect("it reads");
            assert_eq!(written, request.len(), "the request is written at once");
            match read(&stream, &mut answer).await {
                202 => self.answered.set(self.answered.get() + 1),
                429 | 503 => self.refused.set(self.refused.get() + 1),
                status => panic!("POST: {status}"),
            }
            self.latency_us.borrow_mut().saturating_record(meant.elapsed().as_micros() as u64);
        }
        body
    }
}

/// The status of the next answer.
async fn read(stream: &TcpStream, answer: &mut [u8]) -> u16 {
    const LENGTH: &[u8] = b"content-length: ";
    let mut filled = 0;
    loop {
        stream.readable().await.expect("a socket");
        match stream.try_read(&mut answer[filled..]) {
            Ok(0) => panic!("the server closed the connection"),
            Ok(n) => filled += n,
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => continue,
            Err(error) => panic!("no answer: {error}"),
        }
        let text = &answer[..filled];
        let Some(end) = memchr::memmem::find(text, b"\r\n\r\n") else { continue };
        let at = memchr::memmem::find(&text[..end], LENGTH).expect("a length") + LENGTH.len();
        let digits = text[at..end].split(|&b| b == b'\r').next().expect("a part");
        let length: usize = std::str::from_utf8(digits).expect("ASCII").parse().expect("a length");
        if filled >= end + 4 + length {
            assert_eq!(filled, end + 4 + length, "one answer");
            return std::str::from_utf8(&text[9..12]).expect("ASCII").parse().expect("a status");
        }
    }
}
