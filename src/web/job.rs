//! The job itself: ledger, cluster, probes.

use std::sync::Arc;

use axum::extract::State;
use axum::response::Response;
use hyper::Uri;
use serde_json::json;

use crate::coordinator::status::Phase;
use crate::core::units::Generation;
use crate::web::params::Params;
use crate::web::problem::Problem;
use crate::web::views::{LedgerView, phase};
use crate::web::{Web, json_answer};

type Shared = State<Arc<Web>>;

/// Before the log is open nothing can be said of it.
pub async fn ledger(State(web): Shared, uri: Uri) -> Result<Response, Problem> {
    Params::none(&uri)?;
    let status = web.app.status.get();
    if status.generation == Generation(0) {
        return Err(Problem::unavailable("the job is starting: its log is not open yet", 1));
    }
    Ok(json_answer(&LedgerView::of(&status.ledger)))
}

pub async fn cluster(State(web): Shared, uri: Uri) -> Result<Response, Problem> {
    Params::none(&uri)?;
    Ok(json_answer(&web.cluster(&web.app.status.get())))
}

/// The process answers.
pub async fn healthz() -> Response {
    json_answer(&json!({"status": "live"}))
}

/// 200 when POST is served.
pub async fn readyz(State(web): Shared) -> Result<Response, Problem> {
    let status = web.app.status.get();
    let gated = web.app.ingest.gated();
    if status.phase == Phase::Serving && gated.is_none() {
        return Ok(json_answer(&json!({"status": "ready", "generation": status.generation.0})));
    }
    let why = match (status.phase, gated) {
        (Phase::Replaying, _) | (_, None) => {
            format!("{}: {} of {} events replayed", phase(status.phase), status.replayed, status.replay_until)
        }
        (_, Some(refusal)) => refusal.to_string(),
    };
    Err(Problem::unavailable(why, 1)
        .with("phase", phase(status.phase))
        .with("replayed", status.replayed.0)
        .with("replay_until", status.replay_until.0))
}
