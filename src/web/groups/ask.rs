//! Bodies of polls and commits, checked.

use std::time::Duration;

use axum::extract::Request;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::bus::Start;
use crate::bus::group::{Ask, Name};
use crate::core::units::{Millis, Offset};
use crate::ingest::lines::Form;
use crate::web::Web;
use crate::web::body::Held;
use crate::web::events::form;
use crate::web::groups::name;
use crate::web::object::{self, maybe_whole, whole};
use crate::web::params::Params;
use crate::web::problem::Problem;
use crate::web::topic::{EVENTS_MAX, start};

const MAX_DEFAULT: u32 = 100;
/// Far more than any poll or commit has. What JSON may be anything costs many times its bytes in memory.
const BYTES_MAX: usize = 64 << 10;
const POLL_FIELDS: &str =
    "member, and perhaps max, wait_ms, session_ms, received (the last offset that has reached the member), from";
const COMMIT_FIELDS: &str = "member and offset";
/// A poll waits no longer: proxies cut what is silent for a minute.
const WAIT_MS_MAX: u64 = 55_000;
const SESSION_MS: std::ops::RangeInclusive<u64> = 1_000..=3_600_000;
const SESSION_MS_DEFAULT: u64 = 30_000;

/// A member asks for events.
pub struct Poll {
    pub ask: Ask,
    pub wait: Duration,
    /// Where a new group begins; only where the member says so a group goes on there whose position is no longer retained.
    pub from: Option<Start>,
}

pub struct Commit {
    pub member: Name,
    pub offset: Offset,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct PollBody {
    member: String,
    #[serde(default, deserialize_with = "maybe_whole")]
    max: Option<u32>,
    #[serde(default, deserialize_with = "maybe_whole")]
    wait_ms: Option<u64>,
    #[serde(default, deserialize_with = "maybe_whole")]
    session_ms: Option<u64>,
    #[serde(default, deserialize_with = "maybe_whole")]
    received: Option<u64>,
    from: Option<Value>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct CommitBody {
    member: String,
    #[serde(deserialize_with = "whole")]
    offset: u64,
}

impl Poll {
    pub(super) async fn read(web: &Web, request: Request) -> Result<Self, Problem> {
        Self::of(&body(web, request, POLL_FIELDS).await?.bytes)
    }

    pub fn of(body: &[u8]) -> Result<Self, Problem> {
        let body: PollBody = parsed(body, POLL_FIELDS)?;
        let (max, wait) = (body.max.unwrap_or(MAX_DEFAULT), body.wait_ms.unwrap_or(0));
        let session = body.session_ms.unwrap_or(SESSION_MS_DEFAULT);
        within("max", u64::from(max), 1..=u64::from(EVENTS_MAX))?;
        within("wait_ms", wait, 0..=WAIT_MS_MAX)?;
        within("session_ms", session, SESSION_MS)?;
        let from = match body.from {
            None | Some(Value::Null) => None,
            Some(Value::String(text)) => Some(start("from", &text)?),
            Some(other) => {
                let whole = maybe_whole::<_, u64>(other.clone()).ok().flatten();
                let text = whole.map_or_else(|| other.to_string(), |offset| offset.to_string());
                Some(start("from", &text)?)
            }
        };
        let ask = Ask {
            member: name("member", &body.member)?,
            max: max as usize,
            session: Millis(session),
            received: body.received.map(offset).transpose()?,
        };
        Ok(Self { ask, wait: Duration::from_millis(wait), from })
    }
}

impl Commit {
    pub(super) async fn read(web: &Web, request: Request) -> Result<Self, Problem> {
        Self::of(&body(web, request, COMMIT_FIELDS).await?.bytes)
    }

    pub fn of(body: &[u8]) -> Result<Self, Problem> {
        let CommitBody { member, offset: committed } = parsed(body, COMMIT_FIELDS)?;
        Ok(Self { member: name("member", &member)?, offset: offset(committed)? })
    }
}

async fn body(web: &Web, request: Request, fields: &str) -> Result<Held, Problem> {
    Params::none(request.uri())?;
    if form(request.headers())? != Form::Json {
        return Err(refused(fields, "it is sent as application/json"));
    }
    let too_large = || refused(fields, &format!("it has at most {BYTES_MAX} bytes"));
    web.budget.read(request.into_body(), BYTES_MAX, too_large).await
}

fn parsed<T: DeserializeOwned>(body: &[u8], fields: &str) -> Result<T, Problem> {
    if body.len() > BYTES_MAX {
        return Err(refused(fields, &format!("it has at most {BYTES_MAX} bytes")));
    }
    object::read(body).map_err(|why| {
        let shown: String = why.chars().take(200).collect();
        refused(fields, &shown)
    })
}

fn refused(fields: &str, why: &str) -> Problem {
    Problem::bad_request(format!("the body is one JSON object with {fields}: {why}"))
}

/// No log has an offset that no store can hold.
fn offset(number: u64) -> Result<Offset, Problem> {
    within("offset", number, 0..=i64::MAX as u64).map(|()| Offset(number))
}

fn within(name: &str, value: u64, allowed: std::ops::RangeInclusive<u64>) -> Result<(), Problem> {
    if allowed.contains(&value) {
        return Ok(());
    }
    let (least, most) = (allowed.start(), allowed.end());
    Err(Problem::bad_request(format!("{name}={value}: allowed is a whole number from {least} to {most}")))
}
