//! `GET /webhooks…`: what is to be sent, was sent, or was given up; that is tried again, or thrown away.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::rejection::PathRejection;
use axum::extract::{Path, State};
use axum::response::Response;
use hyper::{StatusCode, Uri};
use serde::Serialize;
use uuid::Uuid;

use crate::core::time;
use crate::core::units::{Epoch, Generation};
use crate::store::{DeliveryMend, DeliveryQuery, DeliveryState, StoredDelivery};
use crate::web::params::{Params, segment};
use crate::web::places::Places;
use crate::web::problem::Problem;
use crate::web::query::{Asked, asked_pipeline, cut_page, next_page};
use crate::web::views::Raw;
use crate::web::{Web, json_answer};

const LIMIT_DEFAULT: u32 = 100;
const LIMIT_MAX: u32 = 1_000;
/// Deliveries that are mended at once: each opens the store.
const MENDS_MAX: usize = 2;
/// A request that finds no place within this is refused.
const MEND_WAIT_MAX: Duration = Duration::from_secs(5);

pub fn places() -> Places {
    Places::new(MENDS_MAX, MEND_WAIT_MAX, "too many deliveries are being mended at once: try again later")
}

type Shared = State<Arc<Web>>;
type Segment = Result<Path<String>, PathRejection>;

#[derive(Serialize)]
struct DeliveriesView<'a> {
    deliveries: Vec<DeliveryView<'a>>,
    next: Option<String>,
}

#[derive(Serialize)]
struct DeliveryView<'a> {
    delivery_id: String,
    pipeline: &'a str,
    webhook: &'a str,
    state: &'static str,
    attempts: u64,
    first_at: Option<String>,
    last_at: Option<String>,
    next_at: Option<String>,
    last_error: Option<&'a str>,
    body: Raw<'a>,
}

#[derive(Serialize)]
struct MendedView {
    delivery_id: String,
    state: &'static str,
}

impl<'a> DeliveryView<'a> {
    fn of(delivery: &'a StoredDelivery) -> Self {
        Self {
            delivery_id: delivery.id.to_string(),
            pipeline: &delivery.pipeline,
            webhook: &delivery.webhook,
            state: delivery.state.name(),
            attempts: delivery.attempts,
            first_at: delivery.first.map(time::format),
            last_at: delivery.last.map(time::format),
            next_at: delivery.next.map(time::format),
            last_error: delivery.error.as_deref(),
            body: Raw::of(delivery.body.as_bytes()),
        }
    }
}

/// Newest first.
pub async fn list(State(web): Shared, uri: Uri) -> Result<Response, Problem> {
    let params = Params::of(&uri, &["pipeline", "webhook", "state", "limit", "after"])?;
    let plan = Arc::clone(&web.pipelines().plan);
    let (pipeline, is_gone) = match asked_pipeline(&web, &plan, &params).await? {
        Some(Asked::Gone(name)) => (Some(name), true),
        Some(Asked::Here(name)) => (Some(name), false),
        None => (None, false),
    };
    let names: Vec<&str> = plan.webhooks.iter().map(|webhook| webhook.name.as_str()).collect();
    let webhook = if is_gone { params.get("webhook") } else { params.word("webhook", &names)? };
    let state = params.word("state", &DeliveryState::ALL.map(DeliveryState::name))?;
    let limit = params.limit(LIMIT_DEFAULT, LIMIT_MAX)?;
    let query = DeliveryQuery {
        pipeline: pipeline.map(str::to_owned),
        webhook: webhook.map(str::to_owned),
        state: DeliveryState::ALL.into_iter().find(|of| Some(of.name()) == state),
        after: params.get("after").map(read_cursor).transpose()?,
        newest_first: true,
        // One more tells whether there is a next page.
        limit: limit + 1,
        due_by: None,
    };
    let mut deliveries = web.readers.ask(move |r| r.deliveries(&query)).await?;
    let next =
        cut_page(&mut deliveries, limit).map(|last| next_page(&uri, "after", &format!("{}~{}", last.epoch.0, last.id)));
    Ok(json_answer(&DeliveriesView { deliveries: deliveries.iter().map(DeliveryView::of).collect(), next }))
}

/// Tries again what was given up.
pub async fn retry(State(web): Shared, path: Segment, uri: Uri) -> Result<Response, Problem> {
    mend(&web, path, &uri, DeliveryMend::Retry).await
}

/// Throws away what was given up.
pub async fn discard(State(web): Shared, path: Segment, uri: Uri) -> Result<Response, Problem> {
    mend(&web, path, &uri, DeliveryMend::Discard).await
}

async fn mend(web: &Web, path: Segment, uri: &Uri, mend: DeliveryMend) -> Result<Response, Problem> {
    Params::none(uri)?;
    let text = segment(path)?;
    let none = || {
        Problem::not_found(format!(
            "nothing with the id {text:?} was given up: GET /webhooks?state=given_up lists what was"
        ))
    };
    let id = Uuid::parse_str(&text).map_err(|_| none())?;
    let generation = web.app.status.get().generation;
    if generation == Generation(0) {
        return Err(Problem::unavailable("the job is starting: ask again", 1));
    }
    let place = web.mending.take().await?;
    let (target, plan) = (web.app.target.clone(), Arc::clone(&web.pipelines().plan));
    let mended = tokio::task::spawn_blocking(move || {
        let _place = place;
        target.store(&plan)?.mend_delivery(generation, id, mend)
    });
    let found = mended.await.map_err(|_| {
        Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "the outbox could not be asked; see the log of rank 0")
    })?;
    if !found? {
        return Err(none());
    }
    let state = match mend {
        DeliveryMend::Retry => DeliveryState::Waiting.name(),
        DeliveryMend::Discard => "discarded",
    };
    Ok(json_answer(&MendedView { delivery_id: id.to_string(), state }))
}

fn read_cursor(text: &str) -> Result<(Epoch, Uuid), Problem> {
    let read =
        text.split_once('~').and_then(|(epoch, id)| Some((Epoch(epoch.parse().ok()?), Uuid::parse_str(id).ok()?)));
    read.ok_or_else(|| Problem::bad_request(format!("after={text:?}: take it from `next` of the page before")))
}
