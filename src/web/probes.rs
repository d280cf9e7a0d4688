//! What senders ask before they send: whether the address is there (HEAD), and whether it takes their events at all (OPTIONS, with the handshake of CloudEvents' web
//! hooks). Nothing is read for it.

use std::sync::Arc;

use axum::extract::rejection::PathRejection;
use axum::extract::{Path, State};
use axum::response::{IntoResponse, Response};
use hyper::StatusCode;
use hyper::header::{ALLOW, HeaderMap, HeaderName, HeaderValue};

use crate::web::problem::Problem;
use crate::web::{Web, params};

const REQUEST_ORIGIN: HeaderName = HeaderName::from_static("webhook-request-origin");
const REQUEST_RATE: HeaderName = HeaderName::from_static("webhook-request-rate");
const ALLOWED_ORIGIN: HeaderName = HeaderName::from_static("webhook-allowed-origin");
const ALLOWED_RATE: HeaderName = HeaderName::from_static("webhook-allowed-rate");
/// The methods of the paths that take events.
const METHODS: HeaderValue = HeaderValue::from_static("GET, HEAD, OPTIONS, POST");

type Segment = Result<Path<String>, PathRejection>;

/// 200 where events of the topic are taken.
pub async fn head_topic(State(web): State<Arc<Web>>, path: Segment) -> Result<StatusCode, Problem> {
    web.topic(&params::segment(path)?)?;
    head(&web)
}

pub async fn head_mixed(State(web): State<Arc<Web>>) -> Result<StatusCode, Problem> {
    head(&web)
}

fn head(web: &Web) -> Result<StatusCode, Problem> {
    web.app.ingest.closed().map_or(Ok(StatusCode::OK), |refusal| Err(refusal.into()))
}

pub async fn options_topic(
    State(web): State<Arc<Web>>,
    path: Segment,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    web.topic(&params::segment(path)?)?;
    options(&headers)
}

pub async fn options_mixed(headers: HeaderMap) -> Result<Response, Problem> {
    options(&headers)
}

/// Whoever may ask may send, from wherever: who that is was looked at before. A callback is not called: what a stranger names is not to be asked for from here.
fn options(headers: &HeaderMap) -> Result<Response, Problem> {
    let Some(origin) = headers.get(REQUEST_ORIGIN) else {
        return Ok((StatusCode::NO_CONTENT, [(ALLOW, METHODS)]).into_response());
    };
    let is_rate = |rate: &HeaderValue| rate.to_str().is_ok_and(|rate| rate.parse::<u32>().is_ok_and(|rate| rate > 0));
    if headers.get(REQUEST_RATE).is_some_and(|rate| !is_rate(rate)) {
        return Err(Problem::bad_request("WebHook-Request-Rate is requests per minute, a whole number from 1"));
    }
    let allowed = [(ALLOW, METHODS), (ALLOWED_ORIGIN, origin.clone()), (ALLOWED_RATE, HeaderValue::from_static("*"))];
    Ok((StatusCode::OK, allowed).into_response())
}
