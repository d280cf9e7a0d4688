//! The addresses that pipeline files ask for under `routes:`. Each answers as the engine's own call does that it stands for, or takes one event.

use std::collections::HashMap;
use std::sync::Arc;

use axum::Router;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, Request, State};
use axum::response::Response;
use axum::routing::{MethodFilter, MethodRouter};
use sonic_rs::LazyValue;

use crate::core::plan::{AlertPlan, ViewPlan, WindowPlan};
use crate::pipeline::routes::{Does, List, Method, Route};
use crate::web::problem::Problem;
use crate::web::views::{Pairs, Raw};
use crate::web::{Web, alerts, fill, json_answer, keyed, query};

type Key = Result<Path<HashMap<String, String>>, PathRejection>;

/// All routes; those of one path together.
pub fn router(routes: &[Route]) -> Router<Arc<Web>> {
    let mut paths: Vec<(&str, MethodRouter<Arc<Web>>)> = Vec::new();
    for route in routes {
        let does = Arc::new(route.does.clone());
        let handler = move |State(web): State<Arc<Web>>, key: Key, request: Request| async move {
            answer(&web, &does, key, request).await
        };
        let at = paths.iter().position(|(path, _)| *path == route.path);
        let methods = at.map_or_else(MethodRouter::new, |at| paths.swap_remove(at).1);
        paths.push((&route.path, methods.on(filter(route.method), handler)));
    }
    paths.into_iter().fold(Router::new(), |router, (path, methods)| router.route(path, methods))
}

fn filter(method: Method) -> MethodFilter {
    match method {
        Method::Get => MethodFilter::GET,
        Method::Post => MethodFilter::POST,
        Method::Put => MethodFilter::PUT,
        Method::Patch => MethodFilter::PATCH,
    }
}

async fn answer(web: &Web, does: &Does, key: Key, request: Request) -> Result<Response, Problem> {
    let Path(mut parts) = key.map_err(|_| Problem::bad_request("the path is no UTF-8 text"))?;
    let key = parts.remove("key").unwrap_or_default();
    if key.contains('\0') {
        return Err(Problem::bad_request("the path holds a NUL character"));
    }
    let uri = request.uri().clone();
    match does {
        Does::Windows { window, list: None } => {
            let (rows, next) = query::rows_of(web, window_at(web, *window), &uri, query::LIMIT_DEFAULT).await?;
            Ok(query::rows_answer(&rows, next))
        }
        Does::Windows { window, list: Some(list) } => {
            let (rows, next) = query::rows_of(web, window_at(web, *window), &uri, query::WINDOWS_MAX).await?;
            let field = list.field.as_deref().unwrap_or_default();
            let values = rows.iter().map(|row| member(&row.group, field).or_else(|| member(&row.values, field)));
            Ok(list_answer(list, values, next))
        }
        Does::View { view, list: None } => keyed::entries_of(web, view_at(web, *view), &uri).await,
        Does::View { view, list: Some(list) } => {
            let (entries, next) = keyed::page(web, view_at(web, *view), &uri, keyed::LIMIT_MAX).await?;
            let values = entries.iter().map(|entry| match &list.field {
                None => Some(Raw::Text(entry.key.as_str().into())),
                Some(field) => member(&entry.value, field),
            });
            Ok(list_answer(list, values, next))
        }
        Does::Alerts { alert, list: None } => {
            let (alerts, next) = alerts::of_one(web, alert_at(web, *alert), &uri, alerts::LIMIT_MAX).await?;
            Ok(alerts::answer(&alerts, next))
        }
        Does::Alerts { alert, list: Some(list) } => {
            let (alerts, next) = alerts::of_one(web, alert_at(web, *alert), &uri, alerts::LIMIT_MAX).await?;
            let field = list.field.as_deref().unwrap_or_default();
            Ok(list_answer(list, alerts.iter().map(|alert| member(&alert.key, field)), next))
        }
        Does::Entry { view } => keyed::entry_of(web, view_at(web, *view), &key, &uri).await,
        Does::History { view } => keyed::history_of(web, view_at(web, *view), &key, &uri).await,
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

fn window_at(web: &Web, at: usize) -> &WindowPlan {
    let Some(window) = web.app.pipeline.plan.windows.get(at) else { panic!("window {at} is none of the plan's") };
    window
}

fn alert_at(web: &Web, at: usize) -> &AlertPlan {
    let Some(alert) = web.app.pipeline.plan.alerts.get(at) else { panic!("alert {at} is none of the plan's") };
    alert
}

fn view_at(web: &Web, at: usize) -> &ViewPlan {
    let Some(view) = web.app.pipeline.plan.views.get(at) else { panic!("view {at} is none of the plan's") };
    view
}
