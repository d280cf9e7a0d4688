//! The job itself: ledger, cluster, probes, metrics.

use std::fmt::Debug;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use hyper::header::CONTENT_TYPE;
use hyper::{StatusCode, Uri};
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::{ConstGauge, Gauge};
use prometheus_client::registry::Registry;
use serde_json::json;

use crate::coordinator::status::{Phase, Status};
use crate::core::units::Generation;
use crate::web::groups::GroupView;
use crate::web::params::Params;
use crate::web::problem::Problem;
use crate::web::views::{ClusterView, LedgerView, phase};
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
    Ok(json_answer(&ClusterView::of(&web.app.status.get(), web.live.rates(), web.groups.views(&web, None))))
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

/// Answers by the first digit of their status.
#[derive(Debug, Default)]
pub struct Requests([AtomicU64; 6]);

impl Requests {
    pub fn count(&self, status: StatusCode) {
        if let Some(class) = self.0.get(usize::from(status.as_u16() / 100)) {
            class.fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// Prometheus reads OpenMetrics text.
pub async fn metrics(State(web): Shared, uri: Uri) -> Result<Response, Problem> {
    Params::none(&uri)?;
    let registry = registry(&web.app.status.get(), &web.requests, &web.groups.views(&web, None));
    let mut text = String::new();
    encode(&mut text, &registry)
        .map_err(|_| Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "the metrics could not be written"))?;
    let kind = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    Ok(([(CONTENT_TYPE, kind)], text).into_response())
}

type Label<T> = [(&'static str, T); 1];

/// One scrape's registry, filled from a snapshot.
fn registry(status: &Status, requests: &Requests, groups: &[GroupView]) -> Registry {
    let mut registry = Registry::with_prefix("caudal");
    let ledger = &status.ledger;
    registry.register("events_accepted", "Events that are on disk", ConstCounter::new(ledger.accepted));
    let counts = ledger.counts;
    let fates = [
        ("counted", counts.counted),
        ("duplicate", counts.duplicate),
        ("filtered", counts.filtered),
        ("invalid", counts.invalid),
        ("late", counts.late),
    ];
    let family = Family::<Label<&'static str>, prometheus_client::metrics::counter::Counter>::default();
    for (fate, count) in fates {
        family.get_or_create(&[("fate", fate)]).inc_by(count);
    }
    registry.register("events_fate", "Committed events by what became of them", family);
    gauge(&mut registry, "events_in_flight", "Accepted events that are not committed", ledger.in_flight);
    gauge(&mut registry, "generation", "This life of the job", status.generation.0);
    gauge(&mut registry, "epoch_committed", "The newest epoch in the store", status.committed.0);
    gauge(&mut registry, "epoch_checkpoint", "The newest epoch with a checkpoint", status.checkpoint.0);
    gauge(&mut registry, "log_bytes", "Size of the log", status.log_bytes);
    gauge(&mut registry, "ranks", "Ranks of the job", status.ranks.len() as u64);
    gauge(&mut registry, "serving", "1 when events are taken", u64::from(status.phase == Phase::Serving));
    gauge(
        &mut registry,
        "store_away",
        "1 while the store is not available",
        u64::from(status.store_away_since.is_some()),
    );
    by_pipeline(&mut registry, status);
    let latency = Family::<Label<&'static str>, Gauge<f64, AtomicU64>>::default();
    for (quantile, value) in [("0.5", status.latency_p50), ("0.99", status.latency_p99)] {
        if let Some(ms) = value {
            latency.get_or_create(&[("quantile", quantile)]).set(ms.0 as f64 / 1e3);
        }
    }
    registry.register("receipt_to_committed_seconds", "From an event's receipt to its commit, newest epochs", latency);
    by_rank(&mut registry, status);
    by_group(&mut registry, groups);
    let answers = Family::<Label<&'static str>, prometheus_client::metrics::counter::Counter>::default();
    for (class, count) in ["0xx", "1xx", "2xx", "3xx", "4xx", "5xx"].into_iter().zip(&requests.0).skip(2) {
        answers.get_or_create(&[("status", class)]).inc_by(count.load(Ordering::Relaxed));
    }
    registry.register("http_requests", "Requests answered, by class of status", answers);
    registry
}

fn gauge(registry: &mut Registry, name: &str, help: &str, value: u64) {
    registry.register(name, help, ConstGauge::new(value));
}

fn by_pipeline(registry: &mut Registry, status: &Status) {
    let watermarks = Family::<Label<String>, Gauge<f64, AtomicU64>>::default();
    let errors = Family::<Label<String>, Gauge<f64, AtomicU64>>::default();
    for pipeline in &status.pipelines {
        let label = [("pipeline", pipeline.name.clone())];
        errors.get_or_create(&label).set(pipeline.expression_errors as f64);
        if let Some(watermark) = pipeline.watermark {
            watermarks.get_or_create(&label).set(watermark.0 as f64 / 1e6);
        }
    }
    registry.register("watermark_seconds", "Event time before which no event is expected", watermarks);
    registry.register("expression_errors", "Values that expressions could not give, in this life", errors);
}

fn by_group(registry: &mut Registry, groups: &[GroupView]) {
    let family = || Family::<[(&'static str, String); 2], Gauge<f64, AtomicU64>>::default();
    let (lags, uncommitted, members) = (family(), family(), family());
    for group in groups {
        let labels = group.labels();
        lags.get_or_create(&labels).set(group.lag_at_most as f64);
        uncommitted.get_or_create(&labels).set(group.uncommitted as f64);
        members.get_or_create(&labels).set(group.members as f64);
    }
    let help = "Events of all topics from the group's position to the log's end: no fewer than it is behind";
    registry.register("group_lag_at_most", help, lags);
    registry.register("group_uncommitted", "Events delivered to the group's members and not committed", uncommitted);
    registry.register("group_members", "Members of the group in session", members);
}

fn by_rank(registry: &mut Registry, status: &Status) {
    let family = || Family::<Label<String>, Gauge<f64, AtomicU64>>::default();
    let figures = [
        ("rank_events", "Events decoded in this life"),
        ("rank_queue_bytes", "Bytes dispatched and not yet decoded"),
        ("rank_back_pressure", "Share of the last second without credit"),
        ("rank_ids", "Ids remembered"),
        ("rank_panes", "Open panes"),
        ("rank_keys", "Keys in views"),
        ("rank_memory_bytes", "Resident memory"),
    ]
    .map(|(name, help)| (name, help, family()));
    for rank in &status.ranks {
        let values = [
            rank.events as f64,
            rank.queue_bytes as f64,
            rank.back_pressure,
            rank.ids as f64,
            rank.panes as f64,
            rank.keys as f64,
            rank.memory_bytes as f64,
        ];
        for ((_, _, family), value) in figures.iter().zip(values) {
            family.get_or_create(&[("rank", rank.rank.to_string())]).set(value);
        }
    }
    for (name, help, family) in figures {
        registry.register(name, help, family);
    }
}
