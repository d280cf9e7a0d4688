//! `/dead-letters…`: what was refused or came late, to be looked at, retried or discarded. What that means is in `docs/semantics.md`, "Dead letters, mended".
//!
//! Whoever mends a letter claims it first and asks the store afterwards, so that a letter is retried once.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::extract::rejection::PathRejection;
use axum::extract::{Path, Request, State};
use axum::response::{IntoResponse, Response};
use bytes::{Bytes, BytesMut};
use hyper::header::HeaderMap;
use hyper::{StatusCode, Uri};
use serde::Serialize;
use serde_json::json;
use tokio::sync::oneshot;
use tokio::time::timeout;

use crate::core::columns::Reason;
use crate::core::plan::TopicPlan;
use crate::core::row::DeadLetter;
use crate::core::units::{Offset, TopicId};
use crate::ingest::letters::{Busy, Claim, Letters};
use crate::ingest::lines::cut;
use crate::ingest::{Fate, Kept, Receipt, Refusal, Submission};
use crate::store::{DeadLetterQuery, OpenQuery, Reader, StoreError, StoredLetter};
use crate::web::events::{APPLIED_MAX, form, not_yet_applied, refuse_encoded};
use crate::web::params::{Params, segment};
use crate::web::problem::Problem;
use crate::web::query::{BODIES_MAX, LIMIT_DEFAULT, cut_page, next_page, topic};
use crate::web::views::{DeadLetterView, DeadLettersView, status_name};
use crate::web::{Web, json_answer};

/// Letters that one request of a reason retries, at most: each is read and written back by itself.
const BATCH_MAX: u32 = 1_000;
/// Bytes of their bodies, which are held in memory: a few slabs.
const BATCH_BYTES_MAX: usize = 8 << 20;

/// Where too many letters are under way, or a commit is about to change one, it may be asked for again after so many seconds.
const BUSY_RETRY_AFTER: u32 = 1;

/// What there is to do where the fates of retries did not come.
const RETRIED: &str = "The letters' retried_as says so too (GET /dead-letters?state=retried); a letter is retried once, so asking again does no harm";

type Shared = State<Arc<Web>>;
type Segment = Result<Path<String>, PathRejection>;

/// One retry; `status` and `reason` where its fate was waited for.
#[derive(Serialize)]
struct RetryView {
    dead_letter: u64,
    retried_as: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    status: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
}

#[derive(Serialize)]
struct OneRetryView {
    accepted: u32,
    #[serde(flatten)]
    retry: RetryView,
}

#[derive(Serialize)]
struct RetriesView {
    accepted: usize,
    /// Letters that are open, and whose retry or discard is not in the log.
    left: u64,
    items: Vec<RetryView>,
}

/// Letters of one topic and the lines that are sent in their place, one each.
struct Group {
    topic: Option<TopicId>,
    letters: Vec<Offset>,
    lines: Bytes,
}

/// A group whose lines are on disk.
struct Sent {
    letters: Vec<Offset>,
    receipt: Receipt,
    fates: Option<oneshot::Receiver<Vec<Fate>>>,
}

pub async fn list(State(web): Shared, uri: Uri) -> Result<Response, Problem> {
    let params = Params::of(&uri, &["reason", "topic", "state", "before", "limit"])?;
    let limit = params.limit(LIMIT_DEFAULT, BODIES_MAX)?;
    let query = DeadLetterQuery {
        reason: reason(&params)?,
        topic: topic(&params, &web)?,
        retried: match params.word("state", &["open", "retried", "all"])? {
            None | Some("open") => Some(false),
            Some("retried") => Some(true),
            Some(_) => None,
        },
        before: params.number("before")?.map(Offset),
        limit: limit + 1,
    };
    let mut letters = web.readers.ask(move |r| r.dead_letters(&query)).await?;
    let next = cut_page(&mut letters, limit).map(|last| next_page(&uri, "before", &last.letter.offset.to_string()));
    Ok(json_answer(&DeadLettersView { dead_letters: letters.iter().map(DeadLetterView::of).collect(), next }))
}

pub async fn one(State(web): Shared, path: Segment, uri: Uri) -> Result<Response, Problem> {
    Params::none(&uri)?;
    let letter = read(&web, offset(&segment(path)?)?).await?;
    Ok(json_answer(&DeadLetterView::of(&letter)))
}

/// Sends a letter anew: as it is, or with the body of the request in its place.
pub async fn retry(State(web): Shared, path: Segment, request: Request) -> Result<Response, Problem> {
    let applied = applied(&Params::of(request.uri(), &["ack"])?)?;
    let letter = offset(&segment(path)?)?;
    refuse_while(web.app.ingest.closed())?;
    let headers = request.headers().clone();
    let held = web.budget.read_coded(&headers, request.into_body()).await?;
    let changed = changed(&web, &headers, held.bytes.clone())?;
    let claim = claim(&web, letter)?;
    let StoredLetter { letter, retried_as } = read(&web, letter).await?;
    if let Some(event) = retried_as {
        return Err(retried(letter.offset, event));
    }
    if changed.is_none() && letter.reason == Reason::Late {
        return Err(late());
    }
    let topic = topic_of(&web, &letter)?;
    let lines = changed.unwrap_or_else(|| lines(&[&letter]));
    let sent = send(&web, Group { topic, letters: vec![letter.offset], lines }, claim, applied).await?;
    drop(held);
    let accepted = sent.receipt.count;
    let Some(retry) = sent.views().await?.pop() else { panic!("a retry of one letter has one view") };
    Ok(answer(applied, &OneRetryView { accepted, retry }))
}

/// Sends the oldest letters of a reason anew, as they are and as many as one request may.
pub async fn retry_all(State(web): Shared, request: Request) -> Result<Response, Problem> {
    let params = Params::of(request.uri(), &["reason", "topic", "before", "ack"])?;
    let applied = applied(&params)?;
    let Some(reason) = reason(&params)? else {
        return Err(Problem::bad_request(
            "say which letters: reason=…, and perhaps topic=… (POST /dead-letters/{offset}/retry is for one)",
        ));
    };
    if reason == Reason::Late {
        return Err(late());
    }
    let plan = Arc::clone(&web.pipelines().plan);
    let names =
        |of: fn(&TopicPlan) -> bool| plan.topics.iter().filter(move |topic| of(topic)).map(|topic| topic.name.clone());
    let counted = OpenQuery {
        reason,
        topic: topic(&params, &web)?,
        not_topics: names(|topic| topic.emitted.is_some()).collect(),
        before: params.number("before")?.map(Offset),
    };
    // Letters of a topic whose pipelines are gone are left as they are: somebody may read it again.
    let retried =
        OpenQuery { not_topics: names(|topic| topic.emitted.is_some() || topic.retired).collect(), ..counted.clone() };
    refuse_while(web.app.ingest.closed())?;
    let as_they_are = || {
        Problem::bad_request(
            "letters of a reason are retried as they are: a body is for one letter, POST /dead-letters/{offset}/retry",
        )
    };
    web.budget.read(request.into_body(), 0, as_they_are).await?;
    let letters = Arc::clone(web.app.ingest.letters());
    let Batch { mut claim, taken, open } =
        web.readers.ask(move |r| Batch::read(r, &letters, &counted, &retried)).await?;
    let mut sent: Vec<Sent> = Vec::new();
    let mut refused = None;
    for group in groups(&web, &taken) {
        let part = claim.split(&group.letters);
        match send(&web, group, part, applied).await {
            Ok(group) => sent.push(group),
            Err(refusal) => refused = Some(refusal),
        }
    }
    drop(claim);
    // What is in the log is held no longer.
    drop(taken);
    if let Some(refusal) = refused.filter(|_| sent.is_empty()) {
        return Err(refusal.into());
    }
    let mut items = Vec::new();
    for group in sent {
        items.extend(group.views().await?);
    }
    items.sort_by_key(|item| item.dead_letter);
    let left = open.saturating_sub(items.len() as u64);
    Ok(answer(applied, &RetriesView { accepted: items.len(), left, items }))
}

pub async fn discard(State(web): Shared, path: Segment, uri: Uri) -> Result<Response, Problem> {
    let applied = applied(&Params::of(&uri, &["ack"])?)?;
    let letter = offset(&segment(path)?)?;
    // A discard takes no room: whatever else events are refused for is no matter.
    refuse_while(web.app.ingest.closed().filter(|r| matches!(r, Refusal::Starting | Refusal::Draining)))?;
    let claim = match web.app.ingest.letters().claim(letter) {
        Err(Busy::Retried(event)) => {
            let why = format!("its retry, event {event}, is not committed yet: discard it when it is");
            return Err(Problem::unavailable(why, BUSY_RETRY_AFTER));
        }
        claimed => claimed.map_err(|busy| problem_of(letter, busy))?,
    };
    read(&web, letter).await?;
    match timeout(APPLIED_MAX, claim.discard(applied)).await {
        Ok(Ok(())) => Ok(answer(applied, &json!({ "discarded": letter.0 }))),
        _ => Err(Problem::unavailable(
            format!(
                "it is not known yet whether the dead letter {letter} is discarded: GET /dead-letters/{letter} is 404 when it is"
            ),
            10,
        )),
    }
}

/// What one request of a reason retries.
struct Batch {
    claim: Claim,
    taken: Vec<DeadLetter>,
    /// Letters that are open, those taken included, less those of which the log has more already.
    open: u64,
}

impl Batch {
    fn read(
        reader: &mut dyn Reader,
        letters: &Arc<Letters>,
        counted: &OpenQuery,
        retried: &OpenQuery,
    ) -> Result<Self, StoreError> {
        let open = reader.count_open_letters(counted)?;
        let oldest = reader.open_letters(retried, BATCH_MAX)?;
        let claim = letters.claim_free(&oldest);
        let logged = letters.logged(&oldest);
        let (mut taken, mut bytes) = (Vec::new(), 0);
        for &letter in claim.letters() {
            // Read when it is claimed: another request may have retried it between.
            let Some(StoredLetter { letter, retried_as: None }) = reader.dead_letter(letter)? else { continue };
            bytes += letter.body.len();
            if bytes > BATCH_BYTES_MAX && !taken.is_empty() {
                break;
            }
            taken.push(letter);
        }
        Ok(Self { claim, taken, open: open.saturating_sub(logged as u64) })
    }
}

/// By topic, since a submission is of one; the letters of each by their age. One whose topic is not there any more is left.
fn groups(web: &Web, letters: &[DeadLetter]) -> Vec<Group> {
    let mut by_topic: BTreeMap<Option<TopicId>, Vec<&DeadLetter>> = BTreeMap::new();
    for letter in letters {
        if let Ok(topic) = topic_of(web, letter) {
            by_topic.entry(topic).or_default().push(letter);
        }
    }
    let group = |(topic, letters): (_, Vec<&DeadLetter>)| Group {
        topic,
        lines: lines(&letters),
        letters: letters.iter().map(|letter| letter.offset).collect(),
    };
    by_topic.into_iter().map(group).collect()
}

async fn send(web: &Web, group: Group, claim: Claim, applied: bool) -> Result<Sent, Refusal> {
    let Group { topic, letters, lines } = group;
    let (to, fates) = applied.then(oneshot::channel).unzip();
    let count = letters.len() as u32;
    let submission = Submission { topic, lines, count, applied: to, retries: Some(claim), kept: Kept::default() };
    let receipt = web.app.ingest.submit(submission).await?;
    Ok(Sent { letters, receipt, fates })
}

impl Sent {
    /// Waits for the fates, where they were asked for.
    async fn views(self) -> Result<Vec<RetryView>, Problem> {
        let first = self.receipt.first.0;
        let fates = match self.fates {
            None => None,
            Some(fates) => match timeout(APPLIED_MAX, fates).await {
                Ok(Ok(fates)) => Some(fates),
                _ => return Err(not_yet_applied(self.receipt, RETRIED)),
            },
        };
        let mut fates = fates.into_iter().flatten();
        let view = |(letter, event): (Offset, u64)| {
            let fate = fates.next();
            let status = fate.as_ref().map(|fate| status_name(fate.status));
            let reason = fate.and_then(|fate| fate.reason);
            RetryView { dead_letter: letter.0, retried_as: event, status, reason }
        };
        Ok(self.letters.into_iter().zip(first..).map(view).collect())
    }
}

/// 202 where things are on disk, 200 where they are done.
fn answer(applied: bool, view: &impl Serialize) -> Response {
    let status = if applied { StatusCode::OK } else { StatusCode::ACCEPTED };
    (status, json_answer(view)).into_response()
}

/// Each letter's line as it came, its end put back.
fn lines(letters: &[&DeadLetter]) -> Bytes {
    let mut lines = BytesMut::with_capacity(letters.iter().map(|letter| letter.body.len() + 1).sum());
    for letter in letters {
        lines.extend_from_slice(&letter.body);
        lines.extend_from_slice(b"\n");
    }
    lines.freeze()
}

/// The one event of the request's body; None where it has no body.
fn changed(web: &Web, headers: &HeaderMap, body: Bytes) -> Result<Option<Bytes>, Problem> {
    if body.is_empty() {
        return Ok(None);
    }
    refuse_encoded(&body)?;
    let lines = cut(body, form(headers)?, web.app.limits.event_bytes)?;
    if lines.count != 1 {
        return Err(Problem::bad_request(format!(
            "the body holds {} events: a letter is retried as one. Nothing of this request was taken",
            lines.count
        )));
    }
    Ok(Some(lines.bytes))
}

/// The letter as the store has it.
async fn read(web: &Web, letter: Offset) -> Result<StoredLetter, Problem> {
    web.readers.ask(move |r| r.dead_letter(letter)).await?.ok_or_else(|| {
        Problem::not_found(format!(
            "there is no dead letter {letter}: it never was one, or was discarded; GET /dead-letters lists those there are"
        ))
    })
}

fn claim(web: &Web, letter: Offset) -> Result<Claim, Problem> {
    web.app.ingest.letters().claim(letter).map_err(|busy| problem_of(letter, busy))
}

fn problem_of(letter: Offset, busy: Busy) -> Problem {
    match busy {
        Busy::Retried(event) => retried(letter, event),
        Busy::Claimed => {
            conflict(format!("another request is retrying or discarding the dead letter {letter} at this moment"))
        }
        Busy::Discarded => conflict(format!("the dead letter {letter} is being discarded")),
        Busy::Full => Problem::unavailable(
            "too many dead letters are being retried or discarded at once: try again later",
            BUSY_RETRY_AFTER,
        ),
    }
}

/// Where its events are sent. A letter of which no topic is known names its own, or fails again.
fn topic_of(web: &Web, letter: &DeadLetter) -> Result<Option<TopicId>, Problem> {
    let Some(name) = &letter.topic else { return Ok(None) };
    let topic = web.pipelines().plan.topic_from_outside(name);
    topic.map(Some).map_err(|why| conflict(format!("the dead letter {} cannot be retried: {why}", letter.offset)))
}

fn conflict(detail: impl Into<String>) -> Problem {
    Problem::new(StatusCode::CONFLICT, detail)
}

fn retried(letter: Offset, event: Offset) -> Problem {
    conflict(format!(
        "the dead letter {letter} was retried as the event {event}, and a letter is retried once: if that became a dead letter too, retry {event}"
    ))
    .with("retried_as", event.0)
}

fn late() -> Problem {
    Problem::new(
        StatusCode::UNPROCESSABLE_ENTITY,
        "a late event retried as it is would be a duplicate, since its id is remembered, or late again: retry it by itself, with a body that has another id \
         and a time for which a window is still open",
    )
}

fn refuse_while(refusal: Option<Refusal>) -> Result<(), Problem> {
    refusal.map_or(Ok(()), |refusal| Err(refusal.into()))
}

fn applied(params: &Params) -> Result<bool, Problem> {
    Ok(params.word("ack", &["applied"])?.is_some())
}

fn reason(params: &Params) -> Result<Option<Reason>, Problem> {
    let name = params.word("reason", &Reason::ALL.map(Reason::name))?;
    Ok(Reason::ALL.into_iter().find(|reason| Some(reason.name()) == name))
}

/// A dead letter goes by its offset in the log.
fn offset(text: &str) -> Result<Offset, Problem> {
    let number = text.parse::<u64>().ok().filter(|&n| i64::try_from(n).is_ok());
    number.map(Offset).ok_or_else(|| {
        Problem::not_found(format!("{text:?} is no dead letter's offset: take one from GET /dead-letters"))
    })
}
