//! The addresses that pipeline files ask for under `routes:`. Each answers as the engine's own call does that it stands for, or takes one event.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use axum::extract::rejection::PathRejection;
use axum::extract::{Path, Request, State};
use axum::response::Response;
use axum::routing::{MethodFilter, MethodRouter};
use axum::{Extension, Router};
use hyper::StatusCode;
use sonic_rs::LazyValue;
use tower::ServiceExt;

use crate::core::plan::{AlertPlan, Plan, ViewPlan, WindowPlan};
use crate::pipeline::Pipelines;
use crate::pipeline::routes::{Does, List, Method};
use crate::web::metrics::requests::OfPipeline;
use crate::web::problem::Problem;
use crate::web::views::{Pairs, Raw};
use crate::web::{Web, alerts, fill, json_answer, keyed, query};

type Key = Result<Path<HashMap<String, String>>, PathRejection>;

/// On an answer that no route gave.
#[derive(Clone, Copy)]
struct NoSuchPath;

/// The router of the routes that hold, and what it was made of.
#[derive(Default)]
pub struct Own {
    made: Mutex<Option<(Arc<Pipelines>, Router)>>,
}

impl Own {
    fn router(&self, web: &Arc<Web>) -> Router {
        let now = web.pipelines();
        let mut made = self.made.lock().unwrap_or_else(PoisonError::into_inner);
        match &*made {
            Some((of, router)) if Arc::ptr_eq(of, &now) => router.clone(),
            _ => {
                let router = router(web, &now);
                *made = Some((now, router.clone()));
                router
            }
        }
    }
}

/// What no call of the engine's own answers: the routes of the pipeline files that hold now.
pub async fn own(State(web): State<Arc<Web>>, request: Request) -> Response {
    let router = web.own.router(&web);
    let mut response = match router.oneshot(request).await {
        Ok(response) => response,
        Err(never) => match never {},
    };
    if response.extensions_mut().remove::<NoSuchPath>().is_none() {
        response.extensions_mut().insert(OfPipeline);
    }
    response
}

/// All routes; those of one path together. It holds no `Web`, which holds it.
fn router(web: &Arc<Web>, pipelines: &Arc<Pipelines>) -> Router {
    let mut paths: Vec<(&str, MethodRouter)> = Vec::new();
    for route in &pipelines.routes {
        let does = Arc::new(route.does.clone());
        let (web, pipelines) = (Arc::downgrade(web), Arc::clone(pipelines));
        let handler = move |key: Key, request: Request| async move {
            let Some(web) = web.upgrade() else { return Err(Problem::unavailable("the server is stopping", 5)) };
            answer(&web, &pipelines.plan, &does, key, request).await
        };
        let at = paths.iter().position(|(path, _)| *path == route.path);
        let methods = at.map_or_else(MethodRouter::new, |at| paths.swap_remove(at).1);
        paths.push((&route.path, methods.on(filter(route.method), handler)));
    }
    let router = paths.into_iter().fold(Router::new(), |router, (path, methods)| router.route(path, methods));
    router.fallback(|| async { (Extension(NoSuchPath), Problem::not_found("there is no such path: / is the page; GET /topics, /windows, /views, /alerts, /events, /dead-letters, /ledger and /cluster are a start")) })
        .method_not_allowed_fallback(|| async {
            Problem::new(StatusCode::METHOD_NOT_ALLOWED, "this path does not take this method: the Allow header names those it does")
        })
}

fn filter(method: Method) -> MethodFilter {
    match method {
        Method::Get => MethodFilter::GET,
        Method::Post => MethodFilter::POST,
        Method::Put => MethodFilter::PUT,
        Method::Patch => MethodFilter::PATCH,
    }
}

async fn answer(web: &Web, plan: &Plan, does: &Does, key: Key, request: Request) -> Result<Response, Problem> {
    let Path(mut parts) = key.map_err(|_| Problem::bad_request("the path is no UTF-8 text"))?;
    let key = parts.remove("key").unwrap_or_default();
    if key.contains('\0') {
        return Err(Problem::bad_request("the path holds a NUL character"));
    }
    let uri = request.uri().clone();
    match does {
        Does::Windows { window, list: None } => {
            let (rows, next) = query::rows_of(web, plan, window_at(plan, *window), &uri, query::LIMIT_DEFAULT).await?;
            Ok(query::rows_answer(&rows, next))
        }
        Does::Windows { window, list: Some(list) } => {
            let (rows, next) = query::rows_of(web, plan, window_at(plan, *window), &uri, query::WINDOWS_MAX).await?;
            let field = list.field.as_deref().unwrap_or_default();
            let values = rows.iter().map(|row| member(&row.group, field).or_else(|| member(&row.values, field)));
            Ok(list_answer(list, values, next))
        }
        Does::View { view, list: None } => keyed::entries_of(web, view_at(plan, *view), &uri).await,
        Does::View { view, list: Some(list) } => {
            let (entries, next) = keyed::page(web, view_at(plan, *view), &uri, keyed::LIMIT_MAX).await?;
            let values = entries.iter().map(|entry| match &list.field {
                None => Some(Raw::Text(entry.key.as_str().into())),
                Some(field) => member(&entry.value, field),
            });
            Ok(list_answer(list, values, next))
        }
        Does::Alerts { alert, list: None } => {
            let (alerts, next) = alerts::of_one(web, plan, alert_at(plan, *alert), &uri, alerts::LIMIT_MAX).await?;
            Ok(alerts::answer(&alerts, next))
        }
        Does::Alerts { alert, list: Some(list) } => {
            let (alerts, next) = alerts::of_one(web, plan, alert_at(plan, *alert), &uri, alerts::LIMIT_MAX).await?;
            let field = list.field.as_deref().unwrap_or_default();
            Ok(list_answer(list, alerts.iter().map(|alert| member(&alert.key, field)), next))
        }
        Does::Entry { view } => keyed::entry_of(web, view_at(plan, *view), &key, &uri).await,
        Does::History { view } => keyed::history_of(web, view_at(plan, *view), &key, &uri).await,
        Does::Event(taking) => fill::take(web, taking, &key, request).await,
    }
}

/// `{NAME: [value, …]}`, and `next` where there is more.
fn list_answer<'a>(list: &'a List, values: impl Iterator<Item = Option<Raw<'a>>>, next: Option<String>) -> Response {
    let values = values.map(|value| value.unwrap_or(Raw::Null(()))).collect();
    let mut answer = vec![(list.name.as_str(), Raw::List(values))];
    answer.extend(next.map(|next| ("next", Raw::Text(next.into()))));
    json_answer(&Pairs(answer))
}

/// A member of an object, as the store has it.
fn member<'a>(object: &'a str, name: &str) -> Option<Raw<'a>> {
    sonic_rs::get(object, [name]).ok().map(|value: LazyValue<'a>| Raw::Json(value))
}

fn window_at(plan: &Plan, at: usize) -> &WindowPlan {
    let Some(window) = plan.windows.get(at) else { panic!("window {at} is none of the plan's") };
    window
}

fn alert_at(plan: &Plan, at: usize) -> &AlertPlan {
    let Some(alert) = plan.alerts.get(at) else { panic!("alert {at} is none of the plan's") };
    alert
}

fn view_at(plan: &Plan, at: usize) -> &ViewPlan {
    let Some(view) = plan.views.get(at) else { panic!("view {at} is none of the plan's") };
    view
}
