//! The calls that read results: windows, events.

use std::cmp::Reverse;
use std::collections::{BTreeMap, HashSet};
use std::sync::{Arc, PoisonError};

use axum::extract::rejection::PathRejection;
use axum::extract::{Path, Query, State};
use axum::response::{Html, IntoResponse, Response};
use hyper::Uri;
use hyper::header::{ACCEPT, HeaderMap, VARY};
use serde_json::{Map, Value};
use sonic_rs::JsonValueTrait;
use uuid::Uuid;

use crate::core::plan::{Audit, FieldPath, Plan, Step, WindowPlan};
use crate::core::row::{AuditEvent, DeadLetter};
use crate::core::units::{Micros, Offset, TopicId};
use crate::generate::{Generator, Settings};
use crate::pipeline::Pipelines;
use crate::store::{DeadLetterQuery, EventQuery, Reader, StoreError, StoredRow, WindowQuery};
use crate::web::params::{Params, escape, segment};
use crate::web::problem::Problem;
use crate::web::views::{
    CountedView, DataView, DeadView, EventView, EventsView, FatesView, Raw, RowView, TopicView, TopicsView, Traces,
    WindowsView,
};
use crate::web::{Examples, Web, html, json_answer, story};

pub const LIMIT_DEFAULT: u32 = 100;
pub const WINDOWS_MAX: u32 = 10_000;
/// Events and dead letters carry whole bodies.
pub const BODIES_MAX: u32 = 1_000;
/// Newest rows of each window that `GET /data` looks through for the newest of each group.
const DATA_ROWS_MAX: u32 = 1_000;
/// Newest events among which `q` looks for a text.
const EVENTS_SEARCHED: u32 = 20_000;
/// Newest dead letters among which `GET /events/{id}` looks for an id; they are not indexed by it.
const DEAD_LETTERS_SEARCHED: u32 = 1_000;

type Shared = State<Arc<Web>>;
pub type Segment = Result<Path<String>, PathRejection>;

pub async fn windows(State(web): Shared, uri: Uri) -> Result<Response, Problem> {
    let params = Params::of(&uri, &["pipeline", "window", "from", "to", "group.", "closed", "limit", "after"])?;
    let plan = Arc::clone(&web.pipelines().plan);
    let query = match asked_pipeline(&web, &plan, &params).await? {
        Some(Asked::Gone(name)) => of_gone_pipeline(&params, name)?,
        _ => window_query(&params, &plan)?,
    };
    let (rows, next) = page(&web, query, &uri).await?;
    Ok(rows_answer(&rows, next))
}

/// A page of one window's rows, as the query string of a route to it asks.
pub async fn rows_of(
    web: &Web,
    plan: &Plan,
    window: &WindowPlan,
    uri: &Uri,
    limit_default: u32,
) -> Result<(Vec<StoredRow>, Option<String>), Problem> {
    let params = Params::of(uri, &["from", "to", "group.", "closed", "limit", "after"])?;
    let pipeline = &plan.pipeline_of(window).name;
    let mut query = of_windows(&params, &[window], limit_default)?;
    (query.pipeline, query.window) = (Some(pipeline.clone()), Some(window.name.clone()));
    page(web, query, uri).await
}

pub fn rows_answer(rows: &[StoredRow], next: Option<String>) -> Response {
    json_answer(&WindowsView { windows: rows.iter().map(RowView::of).collect(), next })
}

async fn page(web: &Web, mut query: WindowQuery, uri: &Uri) -> Result<(Vec<StoredRow>, Option<String>), Problem> {
    let limit = query.limit;
    // One more tells whether there is a next page.
    query.limit += 1;
    let mut rows = web.readers.ask(move |r| r.windows(&query)).await?;
    let next = cut_page(&mut rows, limit).map(|last| next_page(uri, "after", &cursor(last)));
    Ok((rows, next))
}

pub async fn window(State(web): Shared, path: Segment, uri: Uri) -> Result<Response, Problem> {
    Params::none(&uri)?;
    let id = metric_id(&segment(path)?)?;
    let row = web.readers.ask(move |r| r.window(id)).await?.ok_or_else(|| no_row(id))?;
    Ok(json_answer(&RowView::of(&row)))
}

pub async fn events(State(web): Shared, headers: HeaderMap, uri: Uri) -> Result<Response, Problem> {
    let params = Params::of(&uri, &["limit", "topic", "user", "q", "before", "correlation", "after"])?;
    let limit = params.limit(LIMIT_DEFAULT, BODIES_MAX)?;
    let (topic, before, after) = (topic(&params, &web)?, params.number("before")?.map(Offset), params.number("after")?);
    if let Some(correlation) = params.get("correlation") {
        let from = after.map_or(Offset(0), |after| Offset(after.saturating_add(1)));
        let plan = Arc::clone(&web.pipelines().plan);
        if plan.topics.iter().all(|topic| topic.correlation.is_none()) {
            return Err(Problem::bad_request(
                "no topic has a correlation: name its field in a pipeline file, `correlation: FIELD`",
            ));
        }
        let (events, last) = story::of_correlation(&web, &plan, correlation, from, limit as usize).await?;
        let next = last.map(|last| next_page(&uri, "after", &last.to_string()));
        return Ok(shown(&web, &headers, &events, next));
    }
    let query = EventQuery { topic, before, limit: limit + 1 };
    let wanted = |name: &str| params.get(name).filter(|text| !text.is_empty()).map(str::to_owned);
    let (text, user) = (wanted("q"), wanted("user"));
    let mut events = web
        .readers
        .ask(move |r| {
            if text.is_none() && user.is_none() {
                return r.events(&query);
            }
            let finder = text.as_ref().map(memchr::memmem::Finder::new);
            let holds = |body: &[u8]| finder.as_ref().is_none_or(|finder| finder.find(body).is_some());
            search(r, query, |body| holds(body) && user.as_ref().is_none_or(|user| is_of_user(body, user)))
        })
        .await?;
    let next = cut_page(&mut events, limit).map(|last| next_page(&uri, "before", &last.offset.to_string()));
    Ok(shown(&web, &headers, &events, next))
}

fn shown(web: &Web, headers: &HeaderMap, events: &[AuditEvent], next: Option<String>) -> Response {
    let mut response = if wants_html(headers) {
        Html(html::events(events)).into_response()
    } else {
        event_list(web.pipelines().plan.audit(), events, next)
    };
    response.headers_mut().insert(VARY, ACCEPT.into());
    response
}

/// Whether the event's member `user_id` is this text, or a number that is written so.
fn is_of_user(body: &[u8], user: &str) -> bool {
    let Ok(found) = sonic_rs::get(body, ["user_id"]) else { return false };
    found.as_str().map_or_else(|| found.is_number() && found.as_raw_str() == user, |text| text == user)
}

/// The newest events whose body is wanted, among the `EVENTS_SEARCHED` newest: bodies are not indexed.
fn search(
    reader: &mut dyn Reader,
    mut query: EventQuery,
    is_wanted: impl Fn(&[u8]) -> bool,
) -> Result<Vec<AuditEvent>, StoreError> {
    let wanted = query.limit as usize;
    let mut found = Vec::new();
    query.limit = BODIES_MAX;
    for _ in 0..EVENTS_SEARCHED / BODIES_MAX {
        let page = reader.events(&query)?;
        let Some(last) = page.last().filter(|_| found.len() < wanted) else { break };
        query.before = Some(last.offset);
        found.extend(page.into_iter().filter(|event| is_wanted(&event.body)));
    }
    found.truncate(wanted);
    Ok(found)
}

/// An event by its id (several where topics share an id): out of the audit where that is full, else out of the log; and its dead letters.
pub async fn event(State(web): Shared, path: Segment, uri: Uri) -> Result<Response, Problem> {
    Params::none(&uri)?;
    let id = segment(path)?;
    let plan = Arc::clone(&web.pipelines().plan);
    let (wanted, of_plan) = (id.clone(), Arc::clone(&plan));
    let (kept, mut letters) = web
        .readers
        .ask(move |r| {
            let events = r.event(&wanted)?;
            let newest = DeadLetterQuery { limit: DEAD_LETTERS_SEARCHED, ..DeadLetterQuery::default() };
            let mut letters = r.dead_letters(&newest)?;
            letters.retain(|letter| has_id(&letter.letter, &wanted, &of_plan));
            Ok((events, letters))
        })
        .await?;
    let mut told = None;
    // The audit has what the job made itself under its offset.
    let may_be_own = kept.is_empty() && plan.topics.iter().any(|topic| topic.emitted.is_some());
    if may_be_own || plan.pipelines.iter().any(|pipeline| pipeline.audit != Audit::Full) {
        let told = told.insert(story::of_event(&web, &plan, &id).await?);
        told.events.retain(|event| !kept.iter().any(|other| other.offset == event.offset));
        let known: Vec<Offset> = letters.iter().map(|letter| letter.letter.offset).collect();
        let more = told.letters.iter().filter(|letter| !known.contains(&letter.letter.offset));
        letters.extend(more.filter(|letter| has_id(&letter.letter, &id, &plan)).cloned());
    }
    let of_log = told.map(|told| told.events).unwrap_or_default();
    if kept.is_empty() && of_log.is_empty() && letters.is_empty() {
        return Err(Problem::not_found(format!(
            "no event with the id {id:?} is kept here; if it was accepted just now, its epoch is not committed yet: ask again"
        )));
    }
    let offsets = kept.iter().chain(&of_log).map(|event| event.offset);
    let traces = traces(&web, offsets.chain(letters.iter().map(|letter| letter.letter.offset)).collect()).await?;
    let events = kept.iter().map(|event| CountedView::of(event, &traces));
    let events = events.chain(of_log.iter().map(|event| CountedView::of_log(event, &traces))).collect();
    let dead_letters = letters.iter().map(|letter| DeadView::of(letter, &traces)).collect();
    Ok(json_answer(&FatesView { event_id: &id, events, dead_letters }))
}

/// Those of these events whose request had one.
async fn traces(web: &Web, mut offsets: Vec<Offset>) -> Result<Traces, Problem> {
    offsets.sort_unstable();
    let source = Arc::clone(&web.app.bus);
    web.reading.run(move || source.traces(&offsets)).await
}

/// The newest row of each group of each window.
pub async fn data(State(web): Shared, uri: Uri) -> Result<Response, Problem> {
    Params::none(&uri)?;
    let plan = Arc::clone(&web.pipelines().plan);
    let asked = Arc::clone(&plan);
    let rows = web.readers.ask(move |r| newest_rows(r, &asked, DATA_ROWS_MAX)).await?;
    let mut pipelines: BTreeMap<&str, BTreeMap<_, _>> = BTreeMap::new();
    for (window, rows) in plan.windows.iter().zip(&rows) {
        let mut seen = HashSet::new();
        // Of two lives of a pipeline that have a row of one start, the newer one's.
        let mut rows: Vec<&StoredRow> = rows.iter().collect();
        rows.sort_by_key(|row| Reverse((row.start, row.epoch)));
        let newest = rows.into_iter().filter(|row| seen.insert(row.group.as_str())).map(RowView::of).collect();
        pipelines.entry(&plan.pipeline_of(window).name).or_default().insert(window.name.as_str(), newest);
    }
    Ok(json_answer(&DataView { pipelines }))
}

/// For each window of the plan its newest rows.
pub fn newest_rows(reader: &mut dyn Reader, plan: &Plan, limit: u32) -> Result<Vec<Vec<StoredRow>>, StoreError> {
    let query = |window: &WindowPlan| WindowQuery {
        pipeline: Some(plan.pipeline_of(window).name.clone()),
        window: Some(window.name.clone()),
        newest_first: true,
        limit,
        ..WindowQuery::default()
    };
    plan.windows.iter().map(|window| reader.windows(&query(window))).collect()
}

pub async fn topics(State(web): Shared, uri: Uri) -> Result<Response, Problem> {
    Params::none(&uri)?;
    let pipelines = web.pipelines();
    let plan = &pipelines.plan;
    let examples = examples_of(&web, &pipelines);
    let all = plan.topics.iter().zip(&pipelines.schemas).zip(examples.iter());
    let topics = all.filter(|((topic, _), _)| !topic.retired).map(|((topic, schema), example)| TopicView {
        name: &topic.name,
        id: topic.id.as_ref().map(FieldPath::to_string),
        time: topic.time.to_string(),
        post: topic.emitted.is_none().then(|| format!("/topics/{}/events", escape(&topic.name))),
        emitted_by: topic.emitted.and_then(|by| plan.pipelines.get(by.pipeline)).map(|by| by.name.as_str()),
        schema: Raw::of(schema.as_bytes()),
        example: example.as_deref().map(Raw::of),
    });
    Ok(json_answer(&TopicsView { topics: topics.collect(), topic_field: &plan.topic_field }))
}

pub fn examples_of(web: &Web, pipelines: &Arc<Pipelines>) -> Examples {
    let mut known = web.examples.lock().unwrap_or_else(PoisonError::into_inner);
    match &*known {
        Some((of, examples)) if Arc::ptr_eq(of, pipelines) => Arc::clone(examples),
        _ => {
            let made = Arc::new(examples(pipelines));
            *known = Some((Arc::clone(pipelines), Arc::clone(&made)));
            made
        }
    }
}

/// An event of each topic, if the generator can make them.
fn examples(pipeline: &Pipelines) -> Vec<Option<Vec<u8>>> {
    let generator = Generator::new(pipeline, Settings::default()).ok();
    let topics = (0..).map(TopicId).take(pipeline.plan.topics.len());
    topics.map(|topic| generator.as_ref()?.example(topic)).collect()
}

/// A pipeline that a query string names.
#[derive(Clone, Copy)]
pub enum Asked<'p> {
    Here(&'p str),
    /// It was deleted, and the store has something of it.
    Gone(&'p str),
}

/// The pipeline that is asked for, where one is.
pub async fn asked_pipeline<'p>(web: &Web, plan: &Plan, params: &'p Params) -> Result<Option<Asked<'p>>, Problem> {
    let Some(name) = params.get("pipeline") else { return Ok(None) };
    let names: Vec<&str> = plan.pipelines.iter().map(|p| p.name.as_str()).collect();
    if names.contains(&name) {
        return Ok(Some(Asked::Here(name)));
    }
    let wanted = name.to_owned();
    if web.readers.ask(move |r| r.knows(&wanted)).await? {
        return Ok(Some(Asked::Gone(name)));
    }
    // Refused, with the names that are allowed.
    params.word("pipeline", &names).map(|name| name.map(Asked::Here))
}

/// Rows of a pipeline of which only the store knows something.
fn of_gone_pipeline(params: &Params, name: &str) -> Result<WindowQuery, Problem> {
    if params.with_prefix("group.").next().is_some() {
        return Err(Problem::bad_request(format!(
            "the pipeline {name:?} was deleted, and what its windows group by is not known any more: leave group.… out"
        )));
    }
    let query = of_windows(params, &[], LIMIT_DEFAULT)?;
    Ok(WindowQuery { pipeline: Some(name.to_owned()), window: params.get("window").map(str::to_owned), ..query })
}

fn window_query(params: &Params, plan: &Plan) -> Result<WindowQuery, Problem> {
    let pipelines: Vec<&str> = plan.pipelines.iter().map(|p| p.name.as_str()).collect();
    let pipeline = params.word("pipeline", &pipelines)?;
    let of_pipeline = |w: &&WindowPlan| pipeline.is_none_or(|name| name == plan.pipeline_of(w).name);
    let windows = || plan.windows.iter().filter(of_pipeline);
    let names: Vec<&str> = windows().map(|w| w.name.as_str()).collect();
    let window = params.word("window", &names)?;
    let chosen: Vec<&WindowPlan> = windows().filter(|w| window.is_none_or(|name| name == w.name)).collect();
    let query = of_windows(params, &chosen, LIMIT_DEFAULT)?;
    Ok(WindowQuery { pipeline: pipeline.map(str::to_owned), window: window.map(str::to_owned), ..query })
}

/// What the query string says but for the windows, which are chosen already.
fn of_windows(params: &Params, windows: &[&WindowPlan], limit_default: u32) -> Result<WindowQuery, Problem> {
    let mut keys: Vec<&str> = windows.iter().flat_map(|w| w.group.iter().map(|field| field.name.as_str())).collect();
    keys.sort_unstable();
    keys.dedup();
    let mut group = Vec::new();
    for (key, value) in params.with_prefix("group.") {
        if !keys.contains(&key) {
            return Err(Problem::bad_request(format!(
                "group.{key}: no such group here: allowed are {}",
                keys.iter().map(|k| format!("group.{k}")).collect::<Vec<_>>().join(", ")
            )));
        }
        group.push((key.to_owned(), value.to_owned()));
    }
    Ok(WindowQuery {
        pipeline: None,
        window: None,
        from: params.time("from")?,
        to: params.time("to")?,
        group,
        closed: params.boolean("closed")?,
        after: params.get("after").map(read_cursor).transpose()?,
        newest_first: false,
        limit: params.limit(limit_default, WINDOWS_MAX)?,
    })
}

/// A row's place in the order: start, window, metric_id.
fn cursor(row: &StoredRow) -> String {
    format!("{}~{}~{}", row.start.0, row.metric_id, row.window)
}

fn read_cursor(text: &str) -> Result<(Micros, String, Uuid), Problem> {
    let mut parts = text.splitn(3, '~');
    let read = (|| {
        let start = parts.next()?.parse().ok()?;
        let id = Uuid::parse_str(parts.next()?).ok()?;
        Some((Micros(start), parts.next()?.to_owned(), id))
    })();
    read.ok_or_else(|| Problem::bad_request(format!("after={text:?}: take it from `next` of the page before")))
}

/// Keeps `limit` of what was read; where there was more, gives the last one kept: the next page begins after it.
pub fn cut_page<T>(read: &mut Vec<T>, limit: u32) -> Option<&T> {
    let more = read.len() > limit as usize;
    read.truncate(limit as usize);
    read.last().filter(|_| more)
}

/// This call's path and query, with `name` set to `value`.
pub fn next_page(uri: &Uri, name: &str, value: &str) -> String {
    // A name may be written with escapes, and is the same name all the same.
    let asked = Query::<Vec<(String, String)>>::try_from_uri(uri).map(|Query(pairs)| pairs).unwrap_or_default();
    let kept = asked.iter().filter(|(other, _)| other != name).map(|(name, value)| (name.as_str(), value.as_str()));
    let pairs: Vec<String> = kept.chain([(name, value)]).map(|(n, v)| format!("{}={}", escape(n), escape(v))).collect();
    format!("{}?{}", uri.path(), pairs.join("&"))
}

pub fn event_list(audit: Audit, events: &[AuditEvent], next: Option<String>) -> Response {
    let audit = match audit {
        Audit::None => "none",
        Audit::Compact => "compact",
        Audit::Full => "full",
    };
    json_answer(&EventsView { audit, events: events.iter().map(EventView::of).collect(), next })
}

pub fn topic(params: &Params, web: &Web) -> Result<Option<String>, Problem> {
    let plan = &web.pipelines().plan;
    let names: Vec<&str> = plan.topics.iter().map(|t| t.name.as_str()).collect();
    Ok(params.word("topic", &names)?.map(str::to_owned))
}

pub fn metric_id(text: &str) -> Result<Uuid, Problem> {
    Uuid::parse_str(text)
        .map_err(|_| Problem::not_found(format!("{text:?} is no metric_id: take one from GET /windows")))
}

pub fn no_row(id: Uuid) -> Problem {
    Problem::not_found(format!(
        "no row has the metric_id {id}; a row of an open window is there once it is shown, which `emit` says how often: GET /windows has them all"
    ))
}

/// Whether a dead letter's body names this id where its topic has it; any topic's place will do where the topic is not known.
fn has_id(letter: &DeadLetter, id: &str, plan: &Plan) -> bool {
    let Ok(body) = serde_json::from_slice::<Map<String, Value>>(&letter.body) else { return false };
    let body = Value::Object(body);
    let topics = plan.topics.iter().filter(|t| letter.topic.as_ref().is_none_or(|name| *name == t.name));
    topics.filter_map(|t| t.id.as_ref()).any(|path| {
        let mut found = Some(&body);
        for step in &path.0 {
            found = found.and_then(|value| match step {
                Step::Name(name) => value.get(name),
                Step::Item(item) => value.get(*item as usize),
            });
        }
        found.and_then(Value::as_str) == Some(id)
    })
}

fn wants_html(headers: &HeaderMap) -> bool {
    let accept = headers.get(ACCEPT).and_then(|a| a.to_str().ok()).unwrap_or_default();
    accept.split(',').any(|kind| kind.trim().starts_with("text/html"))
}
