//! HTTP on rank 0: thin handlers over the ingest queue, the store's readers and the coordinator's status; the page.
//! It knows nothing of MPI, SQL or the log's files, and decides nothing about events: what a call means is in the room it calls.

mod server;
pub mod tls;
mod unread;
mod guard;
mod throttle;
pub mod params;
pub mod problem;
pub mod coding;
mod body;
pub mod cloudevents;
pub mod idempotency;
mod probes;
mod object;
mod events;
mod places;
mod readers;
mod reading;
mod topic;
mod groups;
mod query;
mod lineage;
mod story;
mod keyed;
mod alerts;
mod webhooks;
mod routes;
mod export;
mod fill;
mod views;
mod rates;
mod cluster;
mod html;
mod job;
mod metrics;
mod live;
mod generator;
mod page;
mod letters;
mod flow;
mod pipelines;
mod replays;
pub mod openapi;

use std::future::Future;
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::response::{IntoResponse, Response};
use axum::routing::{delete, get, post};
use hyper::StatusCode;
use hyper::header::{CONTENT_TYPE, HeaderValue};
use serde::Serialize;
use tokio::net::TcpListener;
use tokio::sync::{Semaphore, watch};

use crate::bus::Source;
use crate::clock::Clock;
use crate::config::{Http, Limits};
use crate::coordinator::backfill::Backfills;
use crate::coordinator::change::Changes;
use crate::coordinator::status::{SharedStatus, Status};
use crate::core::plan::Plan;
use crate::core::units::{Epoch, TopicId};
use crate::ingest::queue::Ingest;
use crate::pipeline::cases::Case;
use crate::pipeline::running::Running;
use crate::pipeline::{Fault, Pipelines};
use crate::store::target::Target;
use crate::web::cluster::ClusterView;
pub use crate::web::events::trace;
pub use crate::web::groups::ask::{Commit, Poll};
use crate::web::problem::Problem;
pub use crate::web::server::DRAIN_MAX;
use crate::web::tls::Tls;
pub use crate::web::topic::after_event;

/// Runs the tests of a file whose pipeline is alone in the plan: what fails.
pub type Rehearsal = fn(&Arc<Plan>, &[Case]) -> Vec<Fault>;

/// What handlers work with.
#[derive(Clone)]
pub struct App {
    pub ingest: Ingest,
    pub bus: Arc<Source>,
    pub running: Running,
    pub changes: Changes,
    pub backfills: Backfills,
    pub rehearsal: Rehearsal,
    pub status: Arc<SharedStatus>,
    pub target: Target,
    pub http: Http,
    pub limits: Limits,
    pub clock: Arc<dyn Clock>,
}

/// By topic an event such as it takes, if there is one.
type Examples = Arc<Vec<Option<Vec<u8>>>>;

/// An `App` being served.
struct Web {
    app: App,
    budget: body::Budget,
    /// None: clients may send as much as they like.
    throttle: Option<throttle::Throttle>,
    readers: readers::Readers,
    reading: reading::Reading,
    /// Places for streams of topics.
    streams: Arc<Semaphore>,
    groups: groups::Groups,
    requests: metrics::requests::Requests,
    live: live::Live,
    generator: generator::Control,
    /// Of each topic, of the pipelines that they were made for; made when they are first asked for.
    examples: Mutex<Option<(Arc<Pipelines>, Examples)>>,
    /// The addresses of pipeline files.
    own: routes::Own,
    openapi: openapi::Made,
    /// Places for what plans pipelines, and for what mends deliveries.
    planning: places::Places,
    mending: places::Places,
    /// One change of the pipelines at a time.
    changing: Arc<tokio::sync::Mutex<Epoch>>,
    /// True once the server stops: streams end.
    stopping: watch::Sender<bool>,
}

/// Serves until `stop` is ready; then lets running requests end, for `DRAIN_MAX` at most. With `tls` all of it by https.
///
/// # Errors
/// If the listener fails.
pub async fn serve(
    listener: TcpListener,
    tls: Option<Tls>,
    app: App,
    stop: impl Future<Output = ()> + Send,
) -> std::io::Result<()> {
    listener.local_addr()?;
    let web = Arc::new(Web {
        budget: body::Budget::new(app.limits.body_bytes, app.http.body_timeout),
        throttle: app.http.rate_max.map(throttle::Throttle::new),
        reading: reading::Reading::default(),
        streams: Arc::new(Semaphore::new(topic::STREAMS_MAX)),
        groups: groups::Groups::default(),
        readers: readers::Readers::new(app.target.clone(), app.running.clone()),
        requests: metrics::requests::Requests::default(),
        live: live::Live::default(),
        generator: generator::Control::default(),
        examples: Mutex::default(),
        own: routes::Own::default(),
        openapi: openapi::Made::default(),
        planning: pipelines::places(),
        mending: webhooks::places(),
        changing: Arc::default(),
        stopping: watch::Sender::new(false),
        app,
    });
    let sampler = tokio::spawn(live::sample(Arc::clone(&web)));
    let loader = tokio::spawn(groups::load(Arc::clone(&web)));
    let stop = async {
        stop.await;
        web.stopping.send_replace(true);
        web.generator.stop().await;
    };
    let tls = tls.map(Arc::new);
    let renewer = tls.clone().map(|tls| tokio::spawn(tls.keep_up()));
    server::run(listener, tls, router(Arc::clone(&web)), &web.app.http, stop).await;
    for task in [Some(sampler), Some(loader), renewer].into_iter().flatten() {
        task.abort();
    }
    Ok(())
}

/// Every call there is.
fn router(web: Arc<Web>) -> Router {
    Router::new()
        .route("/", get(page::index))
        .route("/assets/{file}", get(page::asset))
        .route("/favicon.svg", get(page::icon))
        .route("/healthz", get(job::healthz))
        .route("/readyz", get(job::readyz))
        .route("/metrics", get(metrics::metrics))
        .route("/log", get(export::log))
        .route("/topics", get(query::topics))
        .route(
            "/topics/{topic}/events",
            get(topic::events).head(probes::head_topic).post(events::to_topic).options(probes::options_topic),
        )
        .route("/topics/{topic}/stream", get(topic::stream))
        .route("/topics/{topic}/groups", get(groups::list))
        .route("/topics/{topic}/groups/{group}", get(groups::one).delete(groups::delete))
        .route("/topics/{topic}/groups/{group}/poll", post(groups::poll))
        .route("/topics/{topic}/groups/{group}/commit", post(groups::commit))
        .route(
            "/events",
            get(query::events).head(probes::head_mixed).post(events::mixed).options(probes::options_mixed),
        )
        .route("/events/{id}", get(query::event))
        .route("/data", get(query::data))
        .route("/windows", get(query::windows))
        .route("/windows/{id}", get(query::window))
        .route("/windows/{id}/events", get(lineage::events))
        .route("/views", get(keyed::list))
        .route("/views/{view}", get(keyed::entries))
        .route("/views/{view}/{key}", get(keyed::entry))
        .route("/views/{view}/{key}/history", get(keyed::history))
        .route("/alerts", get(alerts::list))
        .route("/webhooks", get(webhooks::list))
        .route("/webhooks/{id}", delete(webhooks::discard))
        .route("/webhooks/{id}/retry", post(webhooks::retry))
        .route("/dead-letters", get(letters::list))
        .route("/dead-letters/retry", post(letters::retry_all))
        .route("/dead-letters/{id}", get(letters::one).delete(letters::discard))
        .route("/dead-letters/{id}/retry", post(letters::retry))
        .route("/ledger", get(job::ledger))
        .route("/cluster", get(job::cluster))
        .route("/live", get(live::live))
        .route("/generator", get(generator::status).post(generator::start).delete(generator::stop))
        .route("/generator/restart", post(generator::restart))
        .route("/generator/log", get(generator::log))
        .route("/openapi.json", get(openapi::document))
        .route("/pipelines", get(pipelines::list))
        .route("/pipelines/check", post(pipelines::check))
        .route("/pipelines/{name}", get(pipelines::one).put(pipelines::put).delete(pipelines::delete))
        .fallback(routes::own)
        .method_not_allowed_fallback(|| async {
            Problem::new(
                StatusCode::METHOD_NOT_ALLOWED,
                "this path does not take this method: the Allow header names those it does",
            )
        })
        .layer(guard::guard(Arc::clone(&web)))
        .with_state(web)
}

impl Web {
    /// What holds now; a request asks once, so that it is of one plan.
    fn pipelines(&self) -> Arc<Pipelines> {
        Arc::clone(&self.app.running.get().pipelines)
    }

    /// The job as this snapshot of its status has it.
    fn cluster(&self, status: &Status) -> ClusterView {
        let groups = self.groups.views(self, None);
        ClusterView::of(status, &self.live.rates(), groups, &self.app.target, self.app.clock.unix())
    }

    fn topic(&self, name: &str) -> Result<TopicId, Problem> {
        self.pipelines().plan.topic_from_outside(name).map_err(Problem::not_found)
    }
}

/// 200 with JSON. sonic-rs writes embedded JSON as it stands.
fn json_answer(value: &impl Serialize) -> Response {
    match sonic_rs::to_string(value) {
        Ok(text) => {
            let kind = HeaderValue::from_static("application/json");
            ([(CONTENT_TYPE, kind)], text).into_response()
        }
        Err(_) => Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "the answer could not be written").into_response(),
    }
}
