//! `POST /topics/{topic}/events` and `POST /events`: a body's events, into the log.

use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, Request, State};
use axum::http::request::Parts;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use hyper::StatusCode;
use hyper::header::{CONTENT_TYPE, HeaderMap, HeaderValue, ORIGIN};
use tokio::sync::oneshot;
use tokio::time::{Instant, sleep, timeout};

use crate::core::keyed::{Fingerprint, KeyHash};
use crate::core::trace::Trace;
use crate::core::units::TopicId;
use crate::ingest::keys::{Answered, Known};
use crate::ingest::lines::{Form, Lines, cut};
use crate::ingest::{Fate, Kept, Receipt, Refusal, Submission};
use crate::web::cloudevents::Mode;
use crate::web::coding::is_encoded;
use crate::web::problem::Problem;
use crate::web::views::{AcceptedView, AppliedView, Pairs};
use crate::web::{Web, idempotency, json_answer, params};

/// JSON bodies beyond this size are cut on a thread of their own, so that they hold up no other request. NDJSON is cut faster than it is received.
const CUT_INLINE_BYTES_MAX: usize = 1 << 20;
/// `?ack=applied` waits this long, a store that is away included.
pub const APPLIED_MAX: Duration = Duration::from_mins(1);
/// So often a request that is sent again looks whether its events are applied.
const APPLIED_POLL: Duration = Duration::from_millis(20);
/// What there is to do where the fates of events did not come.
const SENT: &str = "The same request again is safe with the Idempotency-Key that this one had: it is answered, and nothing is taken twice. Without a key \
                    sending the events again is safe only where their topic has an id";

pub async fn to_topic(
    State(web): State<Arc<Web>>,
    path: Result<Path<String>, PathRejection>,
    request: Request,
) -> Result<Response, Problem> {
    let name = params::segment(path)?;
    let topic = web.topic(&name)?;
    let (head, body) = request.into_parts();
    Box::pin(take(web, Some(topic), head, body)).await
}

pub async fn mixed(State(web): State<Arc<Web>>, request: Request) -> Result<Response, Problem> {
    let (head, body) = request.into_parts();
    Box::pin(take(web, None, head, body)).await
}

/// There is one of this for every request that is under way, and it is kept small: blocks of up to 1,032 bytes are in glibc's cache of each thread (tcache), larger ones are looked for each time.
async fn take(web: Arc<Web>, topic: Option<TopicId>, head: Parts, body: Body) -> Result<Response, Problem> {
    let asks = Asks::of(&head)?;
    if let Some(refusal) = web.app.ingest.closed() {
        return Err(refusal.into());
    }
    let held = Box::pin(web.budget.read_coded(&head.headers, body)).await?;
    let event_bytes_max = web.app.limits.event_bytes;
    let lines = if asks.kind.is_slow() && held.bytes.len() > CUT_INLINE_BYTES_MAX {
        let (kind, headers, bytes) = (asks.kind, head.headers.clone(), held.bytes.clone());
        let cutting = move || kind.lines(&headers, bytes, event_bytes_max);
        tokio::task::spawn_blocking(cutting).await.map_err(|_| broken())??
    } else {
        asks.kind.lines(&head.headers, held.bytes.clone(), event_bytes_max)?
    };
    let (to, fates) = asks.applied.then(oneshot::channel).unzip();
    match hand_in(&web, topic, &head, asks.key, lines, to) {
        Ok(receipt) => {
            let receipt = receipt.await?;
            drop(held);
            answer(receipt, fates, None).await
        }
        Err(known) => {
            drop(held);
            Box::pin(again(&web, &idempotency::answered(known)?, asks.applied, None)).await
        }
    }
}

/// Hands the events over to the log's writer; gives where the receipt comes. `applied`: where their fates are waited for.
///
/// # Errors
/// What is known of the request's key already.
fn hand_in(
    web: &Web,
    topic: Option<TopicId>,
    head: &Parts,
    key: Option<KeyHash>,
    lines: Lines,
    applied: Option<oneshot::Sender<Vec<Fate>>>,
) -> Result<impl Future<Output = Result<Receipt, Refusal>> + use<>, Known> {
    let claim = key.map(|key| {
        let (keys, body) = (web.app.ingest.keys(), Fingerprint::of(head.uri.path(), &lines.bytes));
        keys.claim(key, body, "".into(), web.app.clock.up())
    });
    let kept = Kept { key: claim.transpose()?, trace: trace(&head.headers) };
    let submission = Submission { topic, lines: lines.bytes, count: lines.count, applied, retries: None, kept };
    Ok(web.app.ingest.submit(submission))
}

/// How a request's events are to be taken.
struct Asks {
    kind: Kind,
    key: Option<KeyHash>,
    applied: bool,
}

impl Asks {
    fn of(head: &Parts) -> Result<Self, Problem> {
        let params = params::Params::of(&head.uri, &["ack"])?;
        Ok(Self {
            applied: params.word("ack", &["applied"])?.is_some(),
            kind: Kind::of(&head.headers)?,
            key: idempotency::key(&head.headers)?,
        })
    }
}

/// What a request's body is.
#[derive(Clone, Copy)]
enum Kind {
    Plain(Form),
    CloudEvents(Mode),
}

impl Kind {
    fn of(headers: &HeaderMap) -> Result<Self, Problem> {
        match Mode::of(headers)? {
            Some(mode) => Ok(Self::CloudEvents(mode)),
            None => form(headers).map(Self::Plain),
        }
    }

    /// Whether it takes longer to cut than to receive.
    fn is_slow(self) -> bool {
        !matches!(self, Self::Plain(Form::Ndjson))
    }

    fn lines(self, headers: &HeaderMap, body: Bytes, event_bytes_max: usize) -> Result<Lines, Problem> {
        if !matches!(self, Self::CloudEvents(Mode::Binary)) {
            refuse_encoded(&body)?;
        }
        match self {
            Self::Plain(form) => Ok(cut(body, form, event_bytes_max)?),
            Self::CloudEvents(mode) => mode.lines(headers, body, event_bytes_max),
        }
    }
}

/// Every line of it would become a dead letter.
pub fn refuse_encoded(body: &[u8]) -> Result<(), Problem> {
    if !is_encoded(body) {
        return Ok(());
    }
    Err(Problem::bad_request(
        "the body is gzip or zstd where events should be: name that in Content-Encoding, and encode it once. Nothing of this request was taken",
    ))
}

/// The trace that the request is part of, if it says so as it should.
pub fn trace(headers: &HeaderMap) -> Option<Trace> {
    let mut parents = headers.get_all("traceparent").iter();
    let (Some(parent), None) = (parents.next(), parents.next()) else { return None };
    let states: Vec<&[u8]> = headers.get_all("tracestate").iter().map(HeaderValue::as_bytes).collect();
    Trace::parse(parent.as_bytes(), Some(&states.join(&b','))).filter(|_| parent.to_str().is_ok())
}

/// A request with a key that is in the log already. The fates of its events were told once, to the one that was taken; here it is only waited for them.
pub async fn again(
    web: &Web,
    answered: &Answered,
    applied: bool,
    filled: Option<Pairs<'_>>,
) -> Result<Response, Problem> {
    let receipt = answered.receipt;
    if applied {
        wait_applied(web, receipt).await?;
    }
    let status = if applied { StatusCode::OK } else { StatusCode::ACCEPTED };
    Ok(idempotency::replayed((status, json_answer(&accepted(receipt, filled))).into_response()))
}

/// Waits until the store has these events' epochs.
async fn wait_applied(web: &Web, receipt: Receipt) -> Result<(), Problem> {
    let started = Instant::now();
    loop {
        let ledger = web.app.status.ledger();
        if ledger.accepted - ledger.in_flight > last(receipt) {
            return Ok(());
        }
        if started.elapsed() >= APPLIED_MAX {
            return Err(not_yet_applied(receipt, SENT));
        }
        sleep(APPLIED_POLL).await;
    }
}

fn accepted(receipt: Receipt, filled: Option<Pairs<'_>>) -> AcceptedView<'_> {
    AcceptedView { accepted: receipt.count, first_offset: receipt.first.0, last_offset: last(receipt), filled }
}

/// 202 once the events are on disk; where fates are waited for, 200 with them.
pub async fn answer(
    receipt: Receipt,
    fates: Option<oneshot::Receiver<Vec<Fate>>>,
    filled: Option<Pairs<'_>>,
) -> Result<Response, Problem> {
    let Some(fates) = fates else {
        return Ok((StatusCode::ACCEPTED, json_answer(&accepted(receipt, filled))).into_response());
    };
    match timeout(APPLIED_MAX, fates).await {
        Ok(Ok(fates)) => Ok(json_answer(&AppliedView::of(receipt, &fates, filled))),
        _ => Err(not_yet_applied(receipt, SENT)),
    }
}

/// How the body is to be read. A browser can send curl's form type, and no type at all, to any site without asking first; so it is taken as JSON only from
/// what names no page as its origin.
pub fn form(headers: &HeaderMap) -> Result<Form, Problem> {
    let scripted = !headers.contains_key(ORIGIN);
    let kind =
        headers.get(CONTENT_TYPE).map(|t| t.to_str().unwrap_or("?").split(';').next().unwrap_or_default().trim());
    match kind.map(str::to_ascii_lowercase).as_deref() {
        Some("application/json") => Ok(Form::Json),
        Some("application/x-ndjson" | "application/ndjson" | "application/jsonl") => Ok(Form::Ndjson),
        None | Some("application/x-www-form-urlencoded") if scripted => Ok(Form::Json),
        _ => Err(unsupported(
            "Content-Type is not one of application/json (an object or an array of them), application/x-ndjson (an object a line), \
             application/cloudevents+json and application/cloudevents-batch+json",
        )),
    }
}

fn unsupported(detail: &str) -> Problem {
    Problem::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, detail)
}

fn broken() -> Problem {
    Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "the request could not be worked on; see the log of rank 0")
}

fn last(receipt: Receipt) -> u64 {
    receipt.first.0 + u64::from(receipt.count).saturating_sub(1)
}

/// The events are safe, and will be applied; only when is not known here.
pub fn not_yet_applied(receipt: Receipt, what_now: &str) -> Problem {
    let (first, last) = (receipt.first.0, last(receipt));
    Problem::unavailable(
        format!(
            "the events are accepted at offsets {first} to {last} and on disk, but it is not known yet that they are applied: \
             GET /ledger shows in_flight 0 when they are. {what_now}"
        ),
        10,
    )
    .with("accepted", receipt.count)
    .with("first_offset", first)
    .with("last_offset", last)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn size<A, B, F: Future>(_: impl Fn(A, B) -> F) -> usize {
        size_of::<F>()
    }

    #[test]
    fn a_request_under_way_is_small() {
        assert!(size(|web, (head, body)| take(web, None, head, body)) <= 1_032);
    }
}
