//! `GET /alerts`, and the routes that stand for it.

use std::sync::Arc;

use axum::extract::State;
use axum::response::Response;
use hyper::Uri;
use serde::Serialize;
use uuid::Uuid;

use crate::core::plan::{AlertPlan, Plan};
use crate::core::time;
use crate::core::units::Micros;
use crate::store::{AlertQuery, StoredAlert};
use crate::web::params::Params;
use crate::web::problem::Problem;
use crate::web::query::{Asked, asked_pipeline, cut_page, next_page};
use crate::web::views::Raw;
use crate::web::{Web, json_answer};

const LIMIT_DEFAULT: u32 = 100;
pub const LIMIT_MAX: u32 = 10_000;

#[derive(Serialize)]
struct AlertsView<'a> {
    alerts: Vec<AlertView<'a>>,
    next: Option<String>,
}

#[derive(Serialize)]
struct AlertView<'a> {
    alert_id: String,
    pipeline: &'a str,
    alert: &'a str,
    key: Raw<'a>,
    window_start: String,
    window_end: String,
    raised_at: String,
    cleared_at: Option<String>,
    active: bool,
    details: Raw<'a>,
}

impl<'a> AlertView<'a> {
    fn of(alert: &'a StoredAlert) -> Self {
        Self {
            alert_id: alert.alert_id.to_string(),
            pipeline: &alert.pipeline,
            alert: &alert.alert,
            key: Raw::of(alert.key.as_bytes()),
            window_start: time::format(alert.from),
            window_end: time::format(alert.to),
            raised_at: time::format(alert.raised),
            cleared_at: alert.cleared.map(time::format),
            active: alert.cleared.is_none(),
            details: Raw::of(alert.details.as_bytes()),
        }
    }
}

pub async fn list(State(web): State<Arc<Web>>, uri: Uri) -> Result<Response, Problem> {
    let params = Params::of(&uri, &["pipeline", "alert", "active", "limit", "after"])?;
    let plan = Arc::clone(&web.pipelines().plan);
    let asked = asked_pipeline(&web, &plan, &params).await?;
    let of_pipeline = |alert: &&AlertPlan| match asked {
        Some(Asked::Here(name)) => plan.pipeline_name(alert.pipeline) == name,
        _ => true,
    };
    let names: Vec<&str> = plan.alerts.iter().filter(of_pipeline).map(|alert| alert.name.as_str()).collect();
    let (pipeline, alert) = match asked {
        Some(Asked::Gone(name)) => (Some(name), params.get("alert")),
        Some(Asked::Here(name)) => (Some(name), params.word("alert", &names)?),
        None => (None, params.word("alert", &names)?),
    };
    let query = AlertQuery {
        pipeline: pipeline.map(str::to_owned),
        alert: alert.map(str::to_owned),
        active: params.boolean("active")?,
        ..AlertQuery::default()
    };
    let (alerts, next) = page(&web, query, &params, LIMIT_DEFAULT, &uri).await?;
    Ok(answer(&alerts, next))
}

/// A page of one alert's, as the query string of a route to it asks: those that stand, unless it says otherwise.
pub async fn of_one(
    web: &Web,
    plan: &Plan,
    alert: &AlertPlan,
    uri: &Uri,
    limit_default: u32,
) -> Result<(Vec<StoredAlert>, Option<String>), Problem> {
    let params = Params::of(uri, &["active", "limit", "after"])?;
    let pipeline = Some(plan.pipeline_name(alert.pipeline).to_owned());
    let active = params.boolean("active")?.unwrap_or(true);
    let query = AlertQuery { pipeline, alert: Some(alert.name.clone()), active: Some(active), ..AlertQuery::default() };
    page(web, query, &params, limit_default, uri).await
}

pub fn answer(alerts: &[StoredAlert], next: Option<String>) -> Response {
    json_answer(&AlertsView { alerts: alerts.iter().map(AlertView::of).collect(), next })
}

async fn page(
    web: &Web,
    mut query: AlertQuery,
    params: &Params,
    limit_default: u32,
    uri: &Uri,
) -> Result<(Vec<StoredAlert>, Option<String>), Problem> {
    let limit = params.limit(limit_default, LIMIT_MAX)?;
    // One more tells whether there is a next page.
    query.limit = limit + 1;
    query.after = params.get("after").map(read_cursor).transpose()?;
    let mut alerts = web.readers.ask(move |r| r.alerts(&query)).await?;
    let next = cut_page(&mut alerts, limit).map(|last| next_page(uri, "after", &cursor(last)));
    Ok((alerts, next))
}

/// An alert's place in the order: when it was raised, and its id.
fn cursor(alert: &StoredAlert) -> String {
    format!("{}~{}", alert.raised.0, alert.alert_id)
}

fn read_cursor(text: &str) -> Result<(Micros, Uuid), Problem> {
    let read =
        text.split_once('~').and_then(|(raised, id)| Some((Micros(raised.parse().ok()?), Uuid::parse_str(id).ok()?)));
    read.ok_or_else(|| Problem::bad_request(format!("after={text:?}: take it from `next` of the page before")))
}
