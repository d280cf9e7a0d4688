//! A sender that costs little: bodies rendered beforehand, of which only ids and times are written anew for each sending.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use caudal::clock::{Clock, SystemClock};
use caudal::core::time;
use caudal::core::units::{Micros, Millis};
use caudal::generate::{Generator, Settings};
use caudal::pipeline::Pipelines;
use hdrhistogram::Histogram;

/// Connections, each with one request under way.
const CONNECTIONS: usize = 4;
/// Bodies rendered for each connection, sent in turn.
const BODIES: usize = 24;
/// Connections on which commits are waited for, one event at a time.
const PROBES: u32 = 16;
/// The probes' ids begin where the load's never come.
const PROBE_SENDINGS: u32 = 1 << 31;
const TIME_BYTES: usize = "2026-11-22T12:00:00.123Z".len();

/// One request's events, with the places in it that differ from sending to sending.
pub struct Body {
    pub bytes: Vec<u8>,
    events: u64,
    /// Where each event's id begins: its first eight hexadecimal digits are rewritten.
    ids: Vec<usize>,
    /// Where each event's time begins.
    times: Vec<usize>,
}

/// Bodies for all connections.
pub struct Load {
    bodies: Vec<Vec<Body>>,
    sendings: AtomicU32,
}

/// What came of sending at one rate.
pub struct Sent {
    pub events: u64,
    pub seconds: f64,
    /// Microseconds from the time a request was meant to be sent to its 202.
    pub ack_us: Histogram<u64>,
    /// Requests that were refused and sent again.
    pub refused: u64,
}

impl Load {
    /// Renders bodies of about `body_bytes` each.
    pub fn render(pipeline: &Pipelines, body_bytes: usize) -> Self {
        let settings = orderly(1e6);
        let mut generator = Generator::new(pipeline, settings).expect("the pipeline's events can be generated");
        let keys = keys(pipeline);
        let mut connection = || (0..BODIES).map(|_| Body::render(&mut generator, body_bytes, &keys)).collect();
        Self { bodies: (0..CONNECTIONS).map(|_| connection()).collect(), sendings: AtomicU32::new(0) }
    }

    /// Bodies of one event each.
    pub fn single(pipeline: &Pipelines, count: usize) -> Vec<Body> {
        let mut generator = Generator::new(pipeline, orderly(1e6)).expect("the pipeline's events can be generated");
        let keys = keys(pipeline);
        (0..count).map(|_| Body::render(&mut generator, 1, &keys)).collect()
    }

    /// Sends at `rate` events/s for `span`, or as fast as it goes.
    pub fn send(&mut self, port: u16, rate: Option<f64>, span: Duration) -> Sent {
        let begun = Instant::now();
        // The events that are meant to have been sent before the next request.
        let meant = AtomicU64::new(0);
        let total = Mutex::new(Sent { events: 0, seconds: 0.0, ack_us: histogram(), refused: 0 });
        let sendings = &self.sendings;
        std::thread::scope(|scope| {
            for bodies in &mut self.bodies {
                scope.spawn(|| {
                    let mut connection = Connection::open(port);
                    let mut mine = Sent { events: 0, seconds: 0.0, ack_us: histogram(), refused: 0 };
                    for turn in 0.. {
                        let turn = turn % bodies.len();
                        let body = &mut bodies[turn];
                        let before = meant.fetch_add(body.events, Ordering::Relaxed);
                        let intended = rate.map_or(begun, |rate| begun + Duration::from_secs_f64(before as f64 / rate));
                        if begun.elapsed() >= span || intended >= begun + span {
                            break;
                        }
                        // Paces the load; nothing is synchronised by it.
                        std::thread::sleep(intended.saturating_duration_since(Instant::now()));
                        let sent = if rate.is_some() { intended } else { Instant::now() };
                        body.renew(sendings.fetch_add(1, Ordering::Relaxed));
                        mine.refused += connection.post("/events", &body.bytes, 202);
                        mine.events += body.events;
                        mine.ack_us.saturating_record(sent.elapsed().as_micros() as u64);
                    }
                    let mut total = total.lock().expect("no sender panicked");
                    total.events += mine.events;
                    total.refused += mine.refused;
                    total.ack_us.add(&mine.ack_us).expect("the same bounds");
                });
            }
        });
        let mut total = total.into_inner().expect("no sender panicked");
        total.seconds = begun.elapsed().as_secs_f64();
        total
    }

    /// From the time one event was meant to be sent to the answer that it is committed: microseconds, one event every `pause` on each of some
    /// connections.
    pub fn probe(pipeline: &Pipelines, port: u16, pause: Duration, span: Duration) -> Histogram<u64> {
        let sendings = AtomicU32::new(PROBE_SENDINGS);
        let begun = Instant::now();
        let mut total = histogram();
        let probe = |first: Duration| {
            let mut body = Self::render(pipeline, 1).bodies.swap_remove(0).swap_remove(0);
            let (mut connection, mut applied_us) = (Connection::open(port), histogram());
            for turn in 0.. {
                let intended = begun + first + pause * turn;
                if intended >= begun + span {
                    break;
                }
                std::thread::sleep(intended.saturating_duration_since(Instant::now()));
                body.renew(sendings.fetch_add(1, Ordering::Relaxed));
                connection.post("/events?ack=applied", &body.bytes, 200);
                applied_us.saturating_record(intended.elapsed().as_micros() as u64);
            }
            applied_us
        };
        std::thread::scope(|scope| {
            let firsts = (0..PROBES).map(|n| pause * n / PROBES);
            let probes: Vec<_> = firsts.map(|first| scope.spawn(move || probe(first))).collect();
            for probe in probes {
                total.add(probe.join().expect("the probe")).expect("the same bounds");
            }
        });
        total
    }
}

/// Posts one event.
pub fn post_line(port: u16, path: &str, line: &[u8]) {
    Connection::open(port).post(path, line, 202);
}

/// Nothing but new and valid events, in order.
pub fn orderly(rate: f64) -> Settings {
    let none = Micros(0);
    let start = Micros(1_795_500_000_000_000);
    Settings {
        seed: 1,
        start,
        rate,
        duplicates: 0.0,
        invalid: 0.0,
        late: 0.0,
        late_by: none,
        out_of_order: none,
        burst: None,
    }
}

pub fn histogram() -> Histogram<u64> {
    Histogram::new_with_bounds(1, 600_000_000, 3).expect("the bounds are constants")
}

/// What stands before an event's id, and before its time.
fn keys(pipeline: &Pipelines) -> [String; 2] {
    let topic = &pipeline.plan.topics[0];
    let id = topic.id.as_ref().expect("the topic has an id");
    [format!("\"{id}\":\""), format!("\"{}\":\"", topic.time)]
}

impl Body {
    fn render(generator: &mut Generator, body_bytes: usize, [id_key, time_key]: &[String; 2]) -> Self {
        let mut body = Self { bytes: Vec::new(), events: 0, ids: Vec::new(), times: Vec::new() };
        while body.bytes.len() < body_bytes {
            let line = generator.generate().line;
            let text = std::str::from_utf8(&line).expect("events are UTF-8");
            let at = text.find(time_key.as_str()).expect("a time") + time_key.len();
            let end = at + text[at..].find('"').expect("the time's end");
            let text = format!("{}{}{}\n", &text[..at], "0".repeat(TIME_BYTES), &text[end..]);
            let id = text.find(id_key.as_str()).expect("an id") + id_key.len();
            body.ids.push(body.bytes.len() + id);
            body.times.push(body.bytes.len() + at);
            body.bytes.extend_from_slice(text.as_bytes());
            body.events += 1;
        }
        body
    }

    /// Makes every event a new one, of this moment.
    fn renew(&mut self, sending: u32) {
        self.renew_at(sending, &stamp());
    }

    /// Likewise, of the moment that `stamp` gave.
    pub fn renew_at(&mut self, sending: u32, stamp: &str) {
        let digits = format!("{sending:08x}");
        for &at in &self.ids {
            self.bytes[at..at + digits.len()].copy_from_slice(digits.as_bytes());
        }
        for &at in &self.times {
            self.bytes[at..at + TIME_BYTES].copy_from_slice(stamp.as_bytes());
        }
    }
}

/// This moment, as events have it.
pub fn stamp() -> String {
    let Millis(now) = SystemClock::default().unix();
    let second = time::format(Micros((now / 1000 * 1_000_000) as i64));
    format!("{}.{:03}Z", second.trim_end_matches('Z'), now % 1000)
}

/// HTTP/1.1 by hand: a client library would cost more than what is measured.
struct Connection {
    reader: BufReader<TcpStream>,
}

impl Connection {
    fn open(port: u16) -> Self {
        let stream = TcpStream::connect(("127.0.0.1", port)).expect("the job listens");
        stream.set_nodelay(true).expect("a socket");
        Self { reader: BufReader::new(stream) }
    }

    /// Posts until it is answered as wanted; gives how often it was refused with 429 or 503 before.
    fn post(&mut self, path: &str, body: &[u8], wanted: u16) -> u64 {
        for refused in 0.. {
            let head = format!(
                "POST {path} HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/x-ndjson\r\ncontent-length: {}\r\n\r\n",
                body.len()
            );
            let stream = self.reader.get_mut();
            stream.write_all(head.as_bytes()).and_then(|()| stream.write_all(body)).expect("the job reads");
            match self.answer() {
                status if status == wanted => return refused,
                429 | 503 => std::thread::sleep(Duration::from_millis(5)),
                status => panic!("POST {path}: {status}"),
            }
        }
        unreachable!("the loop has no end")
    }

    fn answer(&mut self) -> u16 {
        let (mut status, mut length, mut line) = (0, 0, String::new());
        while line != "\r\n" {
            line.clear();
            self.reader.read_line(&mut line).expect("an answer");
            if let Some(rest) = line.strip_prefix("HTTP/1.1 ") {
                status = rest[..3].parse().expect("a status");
            } else if let Some(rest) = line.to_ascii_lowercase().strip_prefix("content-length:") {
                length = rest.trim().parse().expect("a length");
            }
        }
        let mut body = vec![0; length];
        self.reader.read_exact(&mut body).expect("a body");
        status
    }
}
