//! `GET /topics/{topic}/events` and `…/stream`: a topic's events out of the log, in its order.

use std::io::Write;
use std::sync::Arc;
use std::time::Duration;

use async_stream::stream;
use axum::body::Body;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, State};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use hyper::Uri;
use hyper::header::{CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};
use tokio::sync::{OwnedSemaphorePermit, mpsc};
use tokio::time::{Instant, sleep_until, timeout};

use crate::bus::{BusError, Event, Events, Limits, Run, START_FORMS, Start};
use crate::core::json::string;
use crate::core::plan::Plan;
use crate::core::time;
use crate::core::units::{Offset, TopicId};
use crate::web::Web;
use crate::web::params::{Params, segment};
use crate::web::problem::Problem;
use crate::web::query::{LIMIT_DEFAULT, next_page};

/// Events in a page, or given to a member of a group at once.
pub const EVENTS_MAX: u32 = 10_000;
/// Bytes of these events: the answer is made in memory.
pub const EVENTS_BYTES_MAX: usize = 8 << 20;
/// Of the log, looked through for one answer: a topic of which there is little is found in several.
pub const SCANNED_BYTES_MAX: usize = 64 << 20;

/// So often the beginning of the log is looked for, while segments go.
const BEGINNINGS_MAX: usize = 8;

/// Streams at once.
pub const STREAMS_MAX: usize = 64;
/// What is written to a stream at once, and what waits to be: a client that never reads costs twice this.
const CHUNK_BYTES: usize = 256 << 10;
const CHUNK_EVENTS_MAX: usize = 10_000;
const CHUNK_SCANNED_BYTES_MAX: usize = 4 << 20;
/// A client that takes nothing for so long has its part of the log put out of memory.
pub const STALL: Duration = Duration::from_secs(1);
/// So far may a client's clock be ahead of this one.
const CLOCK_AHEAD_MAX: Duration = Duration::from_mins(1);
/// A stream is never silent for longer, so that whoever is between does not cut it.
const KEEP_ALIVE: Duration = Duration::from_secs(15);
/// Where the client is told to come again after a cut: soon, since it goes on where it was.
const RETRY_MS: u32 = 1_000;

/// The offset at which a stream begins: what a client needs to go on where nothing came.
pub const FROM_HEADER: HeaderName = HeaderName::from_static("caudal-from");
const LAST_EVENT_ID: HeaderName = HeaderName::from_static("last-event-id");

type Shared = State<Arc<Web>>;
type Segment = Result<Path<String>, PathRejection>;

pub async fn events(State(web): Shared, path: Segment, uri: Uri) -> Result<Response, Problem> {
    let params = Params::of(&uri, &["from", "limit"])?;
    let topic = topic_of(&web, &segment(path)?)?;
    let limit = params.limit(LIMIT_DEFAULT, EVENTS_MAX)?;
    let start = params.get("from").map(|text| from(&web, text)).transpose()?.unwrap_or(Start::Beginning);
    let (source, plan) = (Arc::clone(&web.app.bus), Arc::clone(&web.pipelines().plan));
    let limits =
        Limits { events: limit as usize, bytes: EVENTS_BYTES_MAX, scanned: SCANNED_BYTES_MAX, until: Offset(u64::MAX) };
    let read = move || source.events(&plan, topic, source.offset(start)?)?.next_run(&limits);
    let run = web.reading.run(move || from_whatever_is_there(start, read)).await?;
    let mut body = events_json(&run);
    let next = next_page(&uri, "from", &run.end.to_string());
    // A path with its query has nothing that JSON would have to escape.
    let _ = write!(body, ",\"next\":\"{next}\",\"more\":{}}}", run.more);
    Ok(json(body))
}

/// The segment that the oldest event is in may go while it is read: who asked for whatever is there, and for no offset, is not told so.
fn from_whatever_is_there(start: Start, read: impl Fn() -> Result<Run, BusError>) -> Result<Run, BusError> {
    for _ in 1..BEGINNINGS_MAX {
        match read() {
            Err(BusError::Gone { .. }) if matches!(start, Start::Beginning | Start::Time(_)) => {}
            done => return done,
        }
    }
    read()
}

/// The beginning of an answer: an object, and in it the events.
pub fn events_json(run: &Run) -> Vec<u8> {
    let bytes: usize = run.events.iter().map(|event| event.line.len() + 80).sum();
    let mut body = Vec::with_capacity(bytes + 256);
    body.extend_from_slice(b"{\"events\":[");
    for (number, Event { offset, received, line, trace }) in run.events.iter().enumerate() {
        let comma = if number == 0 { "" } else { "," };
        let received = time::format(received.micros());
        let _ = write!(body, "{comma}{{\"offset\":{offset},\"received_at\":\"{received}\",");
        if let Some(trace) = trace {
            let _ = write!(body, "\"traceparent\":\"{}\",", trace.parent());
            let _ = trace.state().map(|state| write!(body, "\"tracestate\":{},", string(state)));
        }
        body.extend_from_slice(b"\"event\":");
        body.extend_from_slice(line);
        body.push(b'}');
    }
    body.push(b']');
    body
}

pub fn json(body: Vec<u8>) -> Response {
    ([(CONTENT_TYPE, HeaderValue::from_static("application/json"))], body).into_response()
}

/// A topic of the job, whoever makes its events.
pub fn topic_of(web: &Web, name: &str) -> Result<TopicId, Problem> {
    let pipelines = web.pipelines();
    let plan = &pipelines.plan;
    plan.topic(name).ok_or_else(|| {
        let names: Vec<&str> = plan.topics.iter().map(|topic| topic.name.as_str()).collect();
        Problem::not_found(format!("there is no topic {name:?}: there are {}", names.join(", ")))
    })
}

/// The value of this parameter.
pub fn start(name: &str, text: &str) -> Result<Start, Problem> {
    // No log has an offset that no store can hold.
    let holds = |start: &Start| !matches!(start, Start::Offset(offset) if i64::try_from(offset.0).is_err());
    Start::parse(text).filter(holds).ok_or_else(|| {
        let shown: String = text.chars().take(100).collect();
        Problem::bad_request(format!(
            "{name}={shown:?}: allowed are {START_FORMS} (in a query string a + is written %2B)"
        ))
    })
}

/// Where a reader is to begin.
pub fn from(web: &Web, text: &str) -> Result<Start, Problem> {
    let start = start("from", text)?;
    has_come(web, start)?;
    Ok(start)
}

/// Whoever begins at a time that has not come yet would be given nothing until then, and not be told.
pub fn has_come(web: &Web, start: Start) -> Result<(), Problem> {
    let now = web.app.clock.unix();
    match start {
        Start::Time(time) if time.0 > now.0.saturating_add(CLOCK_AHEAD_MAX.as_millis() as u64) => {
            let [asked, now] = [time, now].map(|time| time::format(time.micros()));
            Err(Problem::bad_request(format!("from={asked} lies in the future: here it is {now}")))
        }
        _ => Ok(()),
    }
}

pub async fn stream(State(web): Shared, path: Segment, uri: Uri, headers: HeaderMap) -> Result<Response, Problem> {
    let params = Params::of(&uri, &["from"])?;
    let name = segment(path)?;
    let topic = topic_of(&web, &name)?;
    let from = params.get("from").map(|text| from(&web, text)).transpose()?.unwrap_or(Start::End);
    // A browser that comes again asks for the same path, and says how far it had come.
    let start = last_event(&headers)?.unwrap_or(from);
    let place = stream_place(&web)?;
    let (source, plan) = (Arc::clone(&web.app.bus), Arc::clone(&web.pipelines().plan));
    let of = (name, Arc::clone(&plan));
    let events = web.reading.run(move || source.events(&plan, topic, source.offset(start)?)).await?;
    let from = HeaderValue::from(events.at().0);
    let (to, mut chunks) = mpsc::channel(1);
    tokio::spawn(feed(Arc::clone(&web), of, events, to, place));
    let body = stream! {
        while let Some(chunk) = chunks.recv().await {
            yield Ok::<Bytes, std::convert::Infallible>(chunk);
        }
    };
    let kind = HeaderValue::from_static("text/event-stream");
    Ok(([(CONTENT_TYPE, kind), (FROM_HEADER, from)], Body::from_stream(body)).into_response())
}

/// # Errors
/// 503 where as many streams are open as may be.
pub fn stream_place(web: &Web) -> Result<OwnedSemaphorePermit, Problem> {
    let full = |_| Problem::unavailable(format!("{STREAMS_MAX} streams are open: come again when one has ended"), 5);
    Arc::clone(&web.streams).try_acquire_owned().map_err(full)
}

/// Where a client goes on that has seen this event last.
fn last_event(headers: &HeaderMap) -> Result<Option<Start>, Problem> {
    headers.get(LAST_EVENT_ID).map(|value| after_event(value.as_bytes())).transpose()
}

/// What comes after the event with this id.
pub fn after_event(id: &[u8]) -> Result<Start, Problem> {
    let offset = std::str::from_utf8(id.trim_ascii()).ok().and_then(|text| text.parse::<u64>().ok());
    let next = offset.and_then(|offset| offset.checked_add(1)).map(|next| Start::Offset(Offset(next)));
    next.ok_or_else(|| Problem::bad_request("Last-Event-ID is no offset: leave it out, or send the id of an event"))
}

/// Sends a topic's events until the client has gone, the job stops, or the log cannot be read.
async fn feed(
    web: Arc<Web>,
    (topic, mut plan): (String, Arc<Plan>),
    mut events: Events,
    to: mpsc::Sender<Bytes>,
    _place: OwnedSemaphorePermit,
) {
    const LIMITS: Limits = Limits {
        events: CHUNK_EVENTS_MAX,
        bytes: CHUNK_BYTES,
        scanned: CHUNK_SCANNED_BYTES_MAX,
        until: Offset(u64::MAX),
    };
    let mut end = web.app.bus.subscribe();
    let mut stopped = web.stopping.subscribe();
    let mut chunk = Bytes::from(format!("retry: {RETRY_MS}\n\n"));
    let mut due = Instant::now();
    loop {
        if chunk.is_empty() && Instant::now() >= due {
            chunk = mark(events.at());
        }
        if !chunk.is_empty() {
            let room = if let Ok(room) = timeout(STALL, to.reserve()).await {
                room
            } else {
                events.let_go();
                tokio::select! {
                    room = to.reserve() => room,
                    _ = stopped.wait_for(|stopping| *stopping) => return,
                }
            };
            let Ok(room) = room else { return };
            room.send(chunk);
            due = Instant::now() + KEEP_ALIVE;
        }
        // What comes after this look is a change.
        end.borrow_and_update();
        if !Arc::ptr_eq(&plan, &web.pipelines().plan) {
            plan = Arc::clone(&web.pipelines().plan);
            let Some(topic) = plan.topic(&topic) else { return };
            let Ok(anew) = web.app.bus.events(&plan, topic, events.at()) else { return };
            events = anew;
        }
        let read = web.reading.wait(move || {
            let run = events.next_run(&LIMITS)?;
            Ok((lines(&run), run.more, events))
        });
        let more;
        (chunk, more, events) = match read.await {
            Ok(read) => read,
            Err(problem) => {
                tracing::warn!("a stream of a topic ends: {}", problem.detail);
                return;
            }
        };
        if *stopped.borrow() {
            return;
        }
        if chunk.is_empty() && !more {
            tokio::select! {
                changed = end.changed() => if changed.is_err() { return },
                _ = stopped.wait_for(|stopping| *stopping) => return,
                () = to.closed() => return,
                () = sleep_until(due) => {}
            }
        }
    }
}

/// Events as a stream has them. An event is one line already; a carriage return can only stand between its tokens, and would end the line there.
fn lines(run: &Run) -> Bytes {
    let bytes: usize = run.events.iter().map(|event| event.line.len() + 32).sum();
    let mut out = Vec::with_capacity(bytes);
    for Event { offset, line, trace, .. } in &run.events {
        // A comment, since an event's data is the event alone. It has no line end in it.
        let _ = trace.as_ref().map(|trace| writeln!(out, ": trace {trace}"));
        let _ = write!(out, "id: {offset}\ndata: ");
        let begin = out.len();
        out.extend_from_slice(line);
        if memchr::memchr(b'\r', line).is_some() {
            out[begin..].iter_mut().filter(|byte| **byte == b'\r').for_each(|byte| *byte = b' ');
        }
        out.extend_from_slice(b"\n\n");
    }
    Bytes::from(out)
}

/// Says that the stream lives, and how far it has come: a client that comes again need not have it looked through anew.
fn mark(at: Offset) -> Bytes {
    let id = at.0.checked_sub(1).map(|last| format!("id: {last}\n")).unwrap_or_default();
    Bytes::from(format!(": keep-alive\n{id}\n"))
}
