//! The pipelines of the running job: listed, changed, taken away, and changes tried without making them.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::rejection::PathRejection;
use axum::extract::{Path, Request, State};
use axum::response::{IntoResponse, Response};
use hyper::header::{ACCEPT, CONTENT_TYPE, ETAG, HeaderMap, HeaderValue, IF_MATCH};
use hyper::{StatusCode, Uri};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::coordinator::change::Change;
use crate::core::plan::{PipelinePlan, Plan};
use crate::core::units::Epoch;
use crate::pipeline::cases::{Case, Given};
use crate::pipeline::change::{self, Clash, Cure, Proposed, Refused};
use crate::pipeline::running::InForce;
use crate::pipeline::{Bundle, Configuration, Fault, FileText, Pipelines};
use crate::web::body::{Held, Share};
use crate::web::flow::Flow;
use crate::web::params::Params;
use crate::web::places::Places;
use crate::web::problem::Problem;
use crate::web::{Rehearsal, Web, object, replays, topic};

/// A pipeline file and its schemas; the log keeps each change whole.
const CHANGE_BYTES_MAX: usize = 4 << 20;
/// All files of a job with their schemas: a START or CONFIG record holds them, and each new segment of the log.
const CONFIGURATION_BYTES_MAX: usize = 16 << 20;
/// Changes and trials of changes at once: of the changes one is made, and the others wait for it. Each has a task that goes on without its client, and plans on a
/// thread.
const PLANS_MAX: usize = 4;
/// A request that finds no place within this is refused.
const PLAN_WAIT_MAX: Duration = Duration::from_secs(5);

type Shared = State<Arc<Web>>;
type Segment = Result<Path<String>, PathRejection>;

pub fn places() -> Places {
    Places::new(
        PLANS_MAX,
        PLAN_WAIT_MAX,
        "too many changes of pipelines are being made or tried at once: try again later",
    )
}

/// What PUT and check are sent.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Wish {
    /// The pipeline file's text.
    pub file: String,
    /// By the path that the file writes.
    #[serde(default)]
    pub schemas: BTreeMap<String, String>,
    /// The body's, for as long as these texts live.
    #[serde(skip)]
    _share: Option<Share>,
}

impl Wish {
    pub fn put(&self, now: &Configuration, name: &str) -> Result<Proposed, Refused> {
        change::put(now, name, &self.file, |path| self.schemas.get(path).cloned())
    }
}

pub async fn list(State(web): Shared, uri: Uri) -> Result<Response, Problem> {
    Params::none(&uri)?;
    let now = web.app.running.get();
    let files = &now.configuration.bundle.0;
    let all: Vec<Value> = files.iter().filter_map(|file| shown(&now, file)).map(|(_, shown)| shown).collect();
    Ok(json_of(StatusCode::OK, &json!({ "pipelines": all, "replay": replays::shown(&web, None) })))
}

/// The file, as YAML where the request asks for that.
pub async fn one(State(web): Shared, path: Segment, uri: Uri, headers: HeaderMap) -> Result<Response, Problem> {
    Params::none(&uri)?;
    let now = web.app.running.get();
    let name = segment(path)?;
    let replay = replays::shown(&web, Some(&name));
    let Some((file, mut shown)) = find(&now, &name) else {
        let replay = replay.ok_or_else(|| unknown(&now.pipelines.plan, &name))?;
        return Ok(json_of(StatusCode::OK, &json!({"name": name, "replay": replay})));
    };
    let version = tag(file);
    let mut answer = if wants_yaml(&headers) {
        let kind = HeaderValue::from_static("application/yaml");
        ([(CONTENT_TYPE, kind)], file.text.clone()).into_response()
    } else {
        if let Some(object) = shown.as_object_mut() {
            let schemas: BTreeMap<&str, &str> =
                file.schemas.iter().map(|(path, text)| (path.as_str(), text.as_str())).collect();
            object.insert("schemas".to_owned(), json!(schemas));
            object.extend(replay.map(|replay| ("replay".to_owned(), replay)));
        }
        json_of(StatusCode::OK, &shown)
    };
    answer.headers_mut().insert(ETAG, version);
    Ok(answer)
}

pub async fn put(State(web): Shared, path: Segment, request: Request) -> Result<Response, Problem> {
    let params = Params::of(request.uri(), &["from"])?;
    let from = params.get("from").map(|text| topic::from(&web, text)).transpose()?;
    let name = segment(path)?;
    let condition = request.headers().get(IF_MATCH).cloned();
    let wish = wish(&web, request).await?;
    if let Some(from) = from {
        if condition.is_some() {
            return Err(Problem::bad_request("If-Match names a version, and what is replayed has none yet"));
        }
        open(&web)?;
        let place = web.planning.take().await?;
        let begun = tokio::spawn(replays::begin(web, name, from, wish, place));
        return begun.await.map_err(|_| failed())?;
    }
    let asked = name.clone();
    make(web, name, condition, move |now| wish.put(now, &asked)).await
}

pub async fn delete(State(web): Shared, path: Segment, uri: Uri, headers: HeaderMap) -> Result<Response, Problem> {
    Params::none(&uri)?;
    let name = segment(path)?;
    if let Some(given_up) = replays::give_up(&web, &name) {
        return given_up;
    }
    let condition = headers.get(IF_MATCH).cloned();
    let asked = name.clone();
    make(web, name, condition, move |now| change::delete(now, &asked)).await
}

/// What a PUT of this file would say, without doing it.
pub async fn check(State(web): Shared, request: Request) -> Result<Response, Problem> {
    Params::none(request.uri())?;
    let wish = wish(&web, request).await?;
    let now = web.app.running.get();
    let rehearsal = web.app.rehearsal;
    let place = web.planning.take().await?;
    let proposed = blocking(move || {
        let _place = place;
        let file = FileText { file: String::new(), text: wish.file.clone(), schemas: Vec::new() };
        let name = change::pipeline_of(&file).unwrap_or_default();
        let proposed = wish.put(&now.configuration, &name);
        proposed.map(|proposed| (tested(&proposed.pipelines, &name, rehearsal), proposed))
    })
    .await?;
    let answer = match proposed {
        Ok(((failed, passed_over), Proposed { changes, .. })) => json!({
            "ok": failed.is_empty(),
            "faults": failed.iter().map(fault).collect::<Vec<_>>(),
            "conflicts": [],
            "changes": changes,
            "tests_passed_over": passed_over,
        }),
        Err(refused) => {
            let conflicts = if let Refused::Clashes(clashes) = &refused { clashes.as_slice() } else { &[] };
            let faults: Vec<Value> = refused.faults().iter().map(fault).collect();
            let conflicts: Vec<Value> = conflicts.iter().map(conflict).collect();
            json!({"ok": false, "faults": faults, "conflicts": conflicts, "changes": []})
        }
    };
    Ok(json_of(StatusCode::OK, &answer))
}

/// What fails of the file's own tests, and those that are passed over: events in files lie with whoever wrote the pipeline, and not here.
fn tested(pipelines: &Pipelines, name: &str, rehearsal: Rehearsal) -> (Vec<Fault>, Vec<String>) {
    let plan = &pipelines.plan;
    let at = plan.pipelines.iter().position(|pipeline| pipeline.name == name);
    let cases = at.and_then(|at| Some((plan.alone(at)?, pipelines.cases.get(at)?)));
    let Some((alone, cases)) = cases else { return (Vec::new(), Vec::new()) };
    let (given, passed_over): (Vec<Case>, Vec<Case>) =
        cases.iter().cloned().partition(|case| matches!(case.given, Given::Events(_)));
    let mut failed = rehearsal(&Arc::new(alone), &given);
    for fault in &mut failed {
        fault.file = format!("{name}.yaml");
    }
    (failed, passed_over.into_iter().map(|case| case.name).collect())
}

/// Proposes a change of what holds now, has it logged, and answers when it is on disk. It is carried to its end even if the client goes away.
async fn make(
    web: Arc<Web>,
    name: String,
    condition: Option<HeaderValue>,
    propose: impl FnOnce(&Configuration) -> Result<Proposed, Refused> + Send + 'static,
) -> Result<Response, Problem> {
    open(&web)?;
    let place = web.planning.take().await?;
    let done = tokio::spawn(async move {
        let _place = place;
        let mut last_change = Arc::clone(&web.changing).lock_owned().await;
        replays::none_under_way(&web)?;
        let now = web.app.running.get();
        if let Some(wanted) = condition {
            let there = find(&now, &name).map(|(file, _)| tag(file));
            if wanted != "*" && there.as_ref() != Some(&wanted) || there.is_none() {
                let detail = format!(
                    "the pipeline {name:?} is not the version that If-Match names: GET /pipelines/{name} has what holds now"
                );
                return Err(Problem::new(StatusCode::PRECONDITION_FAILED, detail));
            }
        }
        let current = Arc::clone(&now);
        let proposed = blocking(move || propose(&current.configuration)).await?;
        let Proposed { configuration, pipelines, changes, is_new } = proposed.map_err(|refused| refusal(&refused))?;
        if configuration.bundle == now.configuration.bundle {
            return Ok(answer(StatusCode::OK, &name, &now, None, &changes));
        }
        let bundle = logged_text(&configuration)?;
        let next = Arc::new(InForce::new(configuration, pipelines));
        let change = Change { bundle: bundle.into(), plan: Arc::clone(&next.pipelines.plan), backfill: None };
        let Ok(epoch) = web.app.changes.ask(change).await else {
            return Err(Problem::unavailable(
                "the job is stopping: whether the change was made is seen when it is back (GET /pipelines)",
                5,
            ));
        };
        // Now that it is on disk: an event of a new topic must not come into the log before the topic does.
        web.app.running.set(Arc::clone(&next));
        *last_change = epoch;
        drop(last_change);
        let status = if is_new { StatusCode::CREATED } else { StatusCode::OK };
        Ok(answer(status, &name, &next, Some(epoch), &changes))
    });
    done.await.map_err(|_| failed())?
}

/// # Errors
/// 503 while the job takes no changes.
fn open(web: &Web) -> Result<(), Problem> {
    web.app.ingest.closed().map_or(Ok(()), |refusal| Err(refusal.into()))
}

/// What the log has of it.
pub fn logged_text(configuration: &Configuration) -> Result<String, Problem> {
    let bundle = configuration.to_text();
    if bundle.len() > CONFIGURATION_BYTES_MAX {
        let detail = format!(
            "all pipelines of the job together would be {} bytes: at most {CONFIGURATION_BYTES_MAX} are allowed",
            bundle.len()
        );
        return Err(Problem::new(StatusCode::PAYLOAD_TOO_LARGE, detail));
    }
    Ok(bundle)
}

fn answer(status: StatusCode, name: &str, now: &InForce, after: Option<Epoch>, changes: &[String]) -> Response {
    let found = find(now, name);
    let version = found.as_ref().map(|(file, _)| tag(file));
    let epoch = after.map(|epoch| epoch.next().0);
    let version_text = version.as_ref().and_then(|version| version.to_str().ok()).map(|text| text.trim_matches('"'));
    let body = json!({"pipeline": name, "version": version_text, "epoch": epoch, "changes": changes});
    let mut answer = json_of(status, &body);
    if let Some(version) = version {
        answer.headers_mut().insert(ETAG, version);
    }
    answer
}

pub fn refusal(refused: &Refused) -> Problem {
    match refused {
        Refused::Faults(_) => {
            let faults: Vec<Value> = refused.faults().iter().map(fault).collect();
            let plural = if faults.len() == 1 { "" } else { "s" };
            let detail = format!("the pipeline files would have {} fault{plural}; nothing was changed", faults.len());
            Problem::new(StatusCode::UNPROCESSABLE_ENTITY, detail).with("faults", faults)
        }
        Refused::Clashes(clashes) => {
            let conflicts: Vec<Value> = clashes.iter().map(conflict).collect();
            let anew = clashes.iter().all(|clash| matches!(clash.cure, Cure::Anew(_)));
            let hint = if anew {
                " (a start with the changed file and --accept-changes closes what is open and begins anew)"
            } else {
                ""
            };
            let detail = format!("{refused}. Nothing was changed{hint}");
            Problem::new(StatusCode::CONFLICT, detail).with("conflicts", conflicts)
        }
        Refused::Unknown(_) => Problem::not_found(format!("{refused}: GET /pipelines lists those there are")),
        Refused::Last(_) => Problem::new(StatusCode::CONFLICT, refused.to_string()),
    }
}

fn fault(fault: &Fault) -> Value {
    let Fault { file, line, column, message, excerpt } = fault;
    json!({"file": file, "line": line, "column": column, "message": message, "excerpt": excerpt})
}

fn conflict(clash: &Clash) -> Value {
    let Clash { what, reason, way_out, cure: _ } = clash;
    json!({"what": what, "reason": reason, "way_out": way_out})
}

fn unknown(plan: &Plan, name: &str) -> Problem {
    let names: Vec<&str> = plan.pipelines.iter().map(|pipeline| pipeline.name.as_str()).collect();
    Problem::not_found(format!("there is no pipeline {name:?}: the job has {}", names.join(", ")))
}

fn find<'n>(now: &'n InForce, name: &str) -> Option<(&'n FileText, Value)> {
    let mut files = now.configuration.bundle.0.iter();
    let file = files.find(|file| change::pipeline_of(file).as_deref() == Some(name))?;
    shown(now, file)
}

/// A file and what people see of its pipeline.
fn shown<'f>(now: &InForce, file: &'f FileText) -> Option<(&'f FileText, Value)> {
    let name = change::pipeline_of(file)?;
    let plan = &now.pipelines.plan;
    let pipeline: &PipelinePlan = plan.pipelines.iter().find(|pipeline| pipeline.name == name)?;
    let topics = pipeline.topics.iter().filter_map(|topic| plan.topics.get(usize::from(topic.0)));
    let topics: Vec<&str> = topics.map(|topic| topic.name.as_str()).collect();
    let windows = plan.windows.get(pipeline.windows.clone()).unwrap_or_default();
    let windows: Vec<&str> = windows.iter().map(|window| window.name.as_str()).collect();
    let version = version(file);
    let flow = Flow::of(plan, pipeline);
    let shown = json!({"name": name, "topics": topics, "windows": windows, "flow": flow, "version": version, "text": file.text});
    Some((file, shown))
}

/// Another one for another text or other schemas.
fn version(file: &FileText) -> String {
    Bundle(vec![file.clone()]).id()
}

fn tag(file: &FileText) -> HeaderValue {
    let text = format!("\"{}\"", version(file));
    HeaderValue::from_str(&text).unwrap_or(HeaderValue::from_static("\"\""))
}

async fn wish(web: &Web, request: Request) -> Result<Wish, Problem> {
    let kind = request.headers().get(CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default();
    let kind = kind.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    let is_json = kind == "application/json";
    if !is_json && !["application/yaml", "application/x-yaml", "text/yaml", "text/x-yaml"].contains(&kind.as_str()) {
        return Err(Problem::new(
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            "send the pipeline file as application/yaml, or {\"file\": TEXT, \"schemas\": {PATH: TEXT}} as application/json",
        ));
    }
    let too_large = || {
        let detail = format!("a pipeline file with its schemas takes at most {CHANGE_BYTES_MAX} bytes");
        Problem::new(StatusCode::PAYLOAD_TOO_LARGE, detail)
    };
    let Held { bytes, share } = web.budget.read(request.into_body(), CHANGE_BYTES_MAX, too_large).await?;
    let text = String::from_utf8(bytes.into()).map_err(|_| Problem::bad_request("the body is no UTF-8 text"))?;
    if text.trim().is_empty() {
        // With curl most likely a file's name without the @ before it, or -d, which drops line ends.
        let detail = "the body is empty: send the pipeline file's text, as with curl --data-binary @FILE";
        return Err(Problem::bad_request(detail));
    }
    if !is_json {
        return Ok(Wish { file: text, schemas: BTreeMap::new(), _share: share });
    }
    let wish: Wish = object::read(text.as_bytes()).map_err(|error| {
        Problem::bad_request(format!("the body is not {{\"file\": TEXT, \"schemas\": {{PATH: TEXT}}}}: {error}"))
    })?;
    Ok(Wish { _share: share, ..wish })
}

/// Planning takes a while; threads that drive asynchronous tasks are not for that.
pub async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, Problem> {
    tokio::task::spawn_blocking(work).await.map_err(|_| failed())
}

fn failed() -> Problem {
    Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "the change failed; see the log of rank 0")
}

fn segment(path: Segment) -> Result<String, Problem> {
    path.map(|Path(name)| name).map_err(|_| Problem::bad_request("the path is no UTF-8 text"))
}

pub fn wants_yaml(headers: &HeaderMap) -> bool {
    let accept = headers.get(ACCEPT).and_then(|accept| accept.to_str().ok()).unwrap_or_default();
    accept.split([',', ';']).any(|kind| kind.trim().ends_with("yaml"))
}

pub fn json_of(status: StatusCode, value: &Value) -> Response {
    let kind = HeaderValue::from_static("application/json");
    (status, [(CONTENT_TYPE, kind)], value.to_string()).into_response()
}
