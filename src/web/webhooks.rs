//! `GET /webhooks`: what is to be sent, was sent, or was given up.

use std::sync::Arc;

use axum::extract::State;
use axum::response::Response;
use hyper::Uri;
use serde::Serialize;
use uuid::Uuid;

use crate::core::time;
use crate::core::units::Epoch;
use crate::store::{DeliveryQuery, DeliveryState, StoredDelivery};
use crate::web::params::Params;
use crate::web::problem::Problem;
use crate::web::query::{cut_page, next_page};
use crate::web::views::Raw;
use crate::web::{Web, json_answer};

const LIMIT_DEFAULT: u32 = 100;
const LIMIT_MAX: u32 = 1_000;

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
pub async fn list(State(web): State<Arc<Web>>, uri: Uri) -> Result<Response, Problem> {
    let params = Params::of(&uri, &["pipeline", "webhook", "state", "limit", "after"])?;
    let plan = &web.app.pipeline.plan;
    let pipelines: Vec<&str> = plan.pipelines.iter().map(|pipeline| pipeline.name.as_str()).collect();
    let names: Vec<&str> = plan.webhooks.iter().map(|webhook| webhook.name.as_str()).collect();
    let state = params.word("state", &DeliveryState::ALL.map(DeliveryState::name))?;
    let limit = params.limit(LIMIT_DEFAULT, LIMIT_MAX)?;
    let query = DeliveryQuery {
        pipeline: params.word("pipeline", &pipelines)?.map(str::to_owned),
        webhook: params.word("webhook", &names)?.map(str::to_owned),
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

fn read_cursor(text: &str) -> Result<(Epoch, Uuid), Problem> {
    let read =
        text.split_once('~').and_then(|(epoch, id)| Some((Epoch(epoch.parse().ok()?), Uuid::parse_str(id).ok()?)));
    read.ok_or_else(|| Problem::bad_request(format!("after={text:?}: take it from `next` of the page before")))
}
