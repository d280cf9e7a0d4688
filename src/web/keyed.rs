//! `GET /views…`: keyed views.

use std::sync::Arc;

use axum::extract::rejection::PathRejection;
use axum::extract::{Path, State};
use axum::response::Response;
use hyper::Uri;
use serde::Serialize;

use crate::core::plan::{Plan, ViewPlan};
use crate::core::time;
use crate::core::units::Offset;
use crate::store::{StoredChange, StoredEntry, ViewQuery};
use crate::web::params::Params;
use crate::web::problem::Problem;
use crate::web::query::{cut_page, next_page};
use crate::web::views::Raw;
use crate::web::{Web, json_answer};

const LIMIT_DEFAULT: u32 = 100;
pub const LIMIT_MAX: u32 = 10_000;

type Shared = State<Arc<Web>>;

#[derive(Serialize)]
struct ListView<'a> {
    views: Vec<ListedView<'a>>,
}

#[derive(Serialize)]
struct ListedView<'a> {
    view: &'a str,
    pipeline: &'a str,
    latest: Vec<&'a str>,
    history: bool,
}

#[derive(Serialize)]
struct EntriesView<'a> {
    entries: Vec<EntryView<'a>>,
    next: Option<String>,
}

#[derive(Serialize)]
pub struct EntryView<'a> {
    key: &'a str,
    value: Raw<'a>,
    events: u64,
    time: String,
    offset: u64,
}

#[derive(Serialize)]
struct HistoryView<'a> {
    key: &'a str,
    history: Vec<ChangeView<'a>>,
    next: Option<String>,
}

#[derive(Serialize)]
struct ChangeView<'a> {
    offset: u64,
    time: String,
    value: Raw<'a>,
}

impl<'a> EntryView<'a> {
    pub fn of(entry: &'a StoredEntry) -> Self {
        Self {
            key: &entry.key,
            value: Raw::of(entry.value.as_bytes()),
            events: entry.events,
            time: time::format(entry.time),
            offset: entry.offset.0,
        }
    }
}

impl<'a> ChangeView<'a> {
    fn of(change: &'a StoredChange) -> Self {
        let value = Raw::of(change.value.as_bytes());
        Self { offset: change.offset.0, time: time::format(change.time), value }
    }
}

pub async fn list(State(web): Shared, uri: Uri) -> Result<Response, Problem> {
    Params::none(&uri)?;
    let plan = &web.pipelines().plan;
    let views = plan.views.iter().map(|view| ListedView {
        view: &view.name,
        pipeline: plan.pipelines.get(view.pipeline).map_or("", |pipeline| pipeline.name.as_str()),
        latest: view.latest.iter().map(|(name, _)| name.as_str()).collect(),
        history: view.history,
    });
    Ok(json_answer(&ListView { views: views.collect() }))
}

pub async fn entries(
    State(web): Shared,
    path: Result<Path<String>, PathRejection>,
    uri: Uri,
) -> Result<Response, Problem> {
    entries_of(&web, named(&web.pipelines().plan, &segments(path)?)?, &uri).await
}

pub async fn entry(
    State(web): Shared,
    path: Result<Path<(String, String)>, PathRejection>,
    uri: Uri,
) -> Result<Response, Problem> {
    let (view, key) = segments(path)?;
    entry_of(&web, named(&web.pipelines().plan, &view)?, &key, &uri).await
}

pub async fn history(
    State(web): Shared,
    path: Result<Path<(String, String)>, PathRejection>,
    uri: Uri,
) -> Result<Response, Problem> {
    let (view, key) = segments(path)?;
    history_of(&web, named(&web.pipelines().plan, &view)?, &key, &uri).await
}

/// A page of a view's entries.
pub async fn entries_of(web: &Web, view: &ViewPlan, uri: &Uri) -> Result<Response, Problem> {
    let (entries, next) = page(web, view, uri, LIMIT_DEFAULT).await?;
    Ok(json_answer(&EntriesView { entries: entries.iter().map(EntryView::of).collect(), next }))
}

/// The entries that the query string asks for, and where the next page is.
pub async fn page(
    web: &Web,
    view: &ViewPlan,
    uri: &Uri,
    limit_default: u32,
) -> Result<(Vec<StoredEntry>, Option<String>), Problem> {
    let params = Params::of(uri, &["after", "limit"])?;
    let limit = params.limit(limit_default, LIMIT_MAX)?;
    // One more tells whether there is a next page.
    let query = ViewQuery { view: view.name.clone(), after: params.get("after").map(str::to_owned), limit: limit + 1 };
    let mut entries = web.readers.ask(move |r| r.view(&query)).await?;
    let next = cut_page(&mut entries, limit).map(|last| next_page(uri, "after", &last.key));
    Ok((entries, next))
}

pub async fn entry_of(web: &Web, view: &ViewPlan, key: &str, uri: &Uri) -> Result<Response, Problem> {
    Params::none(uri)?;
    let (view, wanted) = (view.name.clone(), key.to_owned());
    let entry = web.readers.ask(move |r| r.view_entry(&view, &wanted)).await?;
    let entry = entry.ok_or_else(|| Problem::not_found(format!("the view has no key {key:?}")))?;
    Ok(json_answer(&EntryView::of(&entry)))
}

pub async fn history_of(web: &Web, view: &ViewPlan, key: &str, uri: &Uri) -> Result<Response, Problem> {
    let params = Params::of(uri, &["before", "limit"])?;
    if !view.history {
        return Err(Problem::not_found(format!(
            "the view {} keeps no history: say `history: true` in its pipeline file",
            view.name
        )));
    }
    let limit = params.limit(LIMIT_DEFAULT, LIMIT_MAX)?;
    let (name, wanted, before) = (view.name.clone(), key.to_owned(), params.number("before")?.map(Offset));
    let mut changes = web.readers.ask(move |r| r.view_history(&name, &wanted, before, limit + 1)).await?;
    let next = cut_page(&mut changes, limit).map(|last| next_page(uri, "before", &last.offset.to_string()));
    Ok(json_answer(&HistoryView { key, history: changes.iter().map(ChangeView::of).collect(), next }))
}

fn segments<T>(path: Result<Path<T>, PathRejection>) -> Result<T, Problem> {
    path.map(|Path(segments)| segments).map_err(|_| Problem::bad_request("the path cannot be read"))
}

fn named<'p>(plan: &'p Plan, name: &str) -> Result<&'p ViewPlan, Problem> {
    let views = &plan.views;
    views.iter().find(|view| view.name == name).ok_or_else(|| {
        let names: Vec<&str> = views.iter().map(|view| view.name.as_str()).collect();
        let there = if names.is_empty() { "no view".to_owned() } else { names.join(", ") };
        Problem::not_found(format!("there is no view {name:?}: the job has {there}"))
    })
}
