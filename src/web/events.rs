//! `POST /topics/{topic}/events` and `POST /events`: a body's events, into the log.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::rejection::PathRejection;
use axum::extract::{Path, Request, State};
use axum::response::{IntoResponse, Response};
use hyper::StatusCode;
use hyper::header::{CONTENT_ENCODING, CONTENT_TYPE, HeaderMap, ORIGIN};
use tokio::sync::oneshot;
use tokio::time::timeout;

use crate::core::units::TopicId;
use crate::ingest::lines::{Form, cut};
use crate::ingest::{Fate, Receipt, Submission};
use crate::web::problem::Problem;
use crate::web::views::{AcceptedView, AppliedView, Pairs};
use crate::web::{Web, json_answer, params};

/// JSON bodies beyond this size are cut on a thread of their own, so that they hold up no other request. NDJSON is cut faster than it is received.
const CUT_INLINE_BYTES_MAX: usize = 1 << 20;
/// `?ack=applied` waits this long, a store that is away included.
pub const APPLIED_MAX: Duration = Duration::from_mins(1);

pub async fn to_topic(
    State(web): State<Arc<Web>>,
    path: Result<Path<String>, PathRejection>,
    request: Request,
) -> Result<Response, Problem> {
    let name = params::segment(path)?;
    let topic = web.topic(&name)?;
    take(&web, Some(topic), request).await
}

pub async fn mixed(State(web): State<Arc<Web>>, request: Request) -> Result<Response, Problem> {
    take(&web, None, request).await
}

async fn take(web: &Web, topic: Option<TopicId>, request: Request) -> Result<Response, Problem> {
    let params = params::Params::of(request.uri(), &["ack"])?;
    let applied = params.word("ack", &["applied"])?.is_some();
    let form = form(request.headers())?;
    if let Some(refusal) = web.app.ingest.closed() {
        return Err(refusal.into());
    }
    let held = web.budget.read(request.into_body()).await?;
    let event_bytes_max = web.app.limits.event_bytes;
    let lines = if form == Form::Json && held.bytes.len() > CUT_INLINE_BYTES_MAX {
        let bytes = held.bytes.clone();
        tokio::task::spawn_blocking(move || cut(bytes, form, event_bytes_max)).await.map_err(|_| broken())?
    } else {
        cut(held.bytes.clone(), form, event_bytes_max)
    }?;
    let (to, from) = applied.then(oneshot::channel).unzip();
    let submission = Submission { topic, lines: lines.bytes, count: lines.count, applied: to, retries: None };
    let receipt = web.app.ingest.submit(submission).await?;
    drop(held);
    answer(receipt, from, None).await
}

/// 202 once the events are on disk; where fates are waited for, 200 with them.
pub async fn answer(
    receipt: Receipt,
    fates: Option<oneshot::Receiver<Vec<Fate>>>,
    filled: Option<Pairs<'_>>,
) -> Result<Response, Problem> {
    let Some(fates) = fates else {
        let accepted =
            AcceptedView { accepted: receipt.count, first_offset: receipt.first.0, last_offset: last(receipt), filled };
        return Ok((StatusCode::ACCEPTED, json_answer(&accepted)).into_response());
    };
    match timeout(APPLIED_MAX, fates).await {
        Ok(Ok(fates)) => Ok(json_answer(&AppliedView::of(receipt, &fates, filled))),
        _ => Err(not_yet_applied(receipt)),
    }
}

/// How the body is to be read. A browser can send curl's form type, and no type at all, to any site without asking first; so it is taken as JSON only from
/// what names no page as its origin.
pub fn form(headers: &HeaderMap) -> Result<Form, Problem> {
    if headers.get(CONTENT_ENCODING).is_some_and(|e| !e.as_bytes().eq_ignore_ascii_case(b"identity")) {
        return Err(unsupported("the body is encoded: send it as it is, without Content-Encoding"));
    }
    let scripted = !headers.contains_key(ORIGIN);
    let kind =
        headers.get(CONTENT_TYPE).map(|t| t.to_str().unwrap_or("?").split(';').next().unwrap_or_default().trim());
    match kind.map(str::to_ascii_lowercase).as_deref() {
        Some("application/json") => Ok(Form::Json),
        Some("application/x-ndjson" | "application/ndjson" | "application/jsonl") => Ok(Form::Ndjson),
        None | Some("application/x-www-form-urlencoded") if scripted => Ok(Form::Json),
        _ => Err(unsupported(
            "Content-Type is not one of application/json (an object or an array of them) and application/x-ndjson (an object a line)",
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
fn not_yet_applied(receipt: Receipt) -> Problem {
    let (first, last) = (receipt.first.0, last(receipt));
    Problem::unavailable(
        format!(
            "the events are accepted at offsets {first} to {last} and on disk, but it is not known yet that they are applied: \
             GET /ledger shows in_flight 0 when they are. Sending them again is safe only where their topic has an id"
        ),
        10,
    )
    .with("accepted", receipt.count)
    .with("first_offset", first)
    .with("last_offset", last)
}
