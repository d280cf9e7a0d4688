//! Routes that take an event: what is missing in it is filled before it is in the log, so that every replay has the same event.

use axum::extract::Request;
use axum::response::Response;
use bytes::Bytes;
use hyper::StatusCode;
use sonic_rs::LazyValue;
use tokio::sync::oneshot;
use uuid::Uuid;

use crate::core::json;
use crate::core::keyed::Fingerprint;
use crate::core::plan::{TimeFormat, Unit};
use crate::core::time;
use crate::core::units::Millis;
use crate::ingest::lines::{CutError, Form, cut};
use crate::ingest::{Kept, Submission};
use crate::pipeline::routes::{Fill, Taking};
use crate::web::Web;
use crate::web::events::{again, answer, form, refuse_encoded, trace};
use crate::web::idempotency;
use crate::web::params::Params;
use crate::web::problem::Problem;
use crate::web::views::{Pairs, Raw};

/// What a member of an event is to be, as JSON.
type Member = (String, String);

/// Counts as absent, so no route fills it in.
const NULL: &str = "null";

pub async fn take(web: &Web, taking: &Taking, key: &str, request: Request) -> Result<Response, Problem> {
    let params = Params::of(request.uri(), &["ack"])?;
    let applied = params.word("ack", &["applied"])?.is_some();
    if form(request.headers())? != Form::Json {
        return Err(one_object());
    }
    let named = idempotency::key(request.headers())?;
    if let Some(refusal) = web.app.ingest.closed() {
        return Err(refusal.into());
    }
    let (head, body) = request.into_parts();
    let held = web.budget.read_coded(&head.headers, body).await?;
    refuse_encoded(&held.bytes)?;
    let event_bytes_max = web.app.limits.event_bytes;
    let line = match cut(held.bytes.clone(), Form::Json, event_bytes_max) {
        Ok(lines) if lines.count == 1 && held.bytes.trim_ascii_start().starts_with(b"{") => lines.bytes,
        // An empty body is an event of which everything is filled.
        Err(CutError::Empty) if held.bytes.trim_ascii().is_empty() => Bytes::from_static(b"{}\n"),
        Ok(_) | Err(CutError::Empty) => return Err(one_object()),
        Err(error) => return Err(error.into()),
    };
    let now = web.app.clock.unix();
    let make = |with: &Fill| made(with, now, &fresh_id);
    let Filled { event, fields, kept } = fill(&line, taking, key, make)?;
    if event.len() > event_bytes_max {
        return Err(CutError::TooLong { number: 0, bytes: event.len(), max: event_bytes_max }.into());
    }
    let claim = named.map(|named| {
        let body = Fingerprint::of(head.uri.path(), &line);
        web.app.ingest.keys().claim(named, body, object(&kept).into(), web.app.clock.up())
    });
    let claim = match claim.transpose() {
        Ok(claim) => claim,
        Err(known) => {
            drop(held);
            let answered = idempotency::answered(known)?;
            // What was filled in then is what the event has, whatever the route fills now.
            let fields = filled_before(&answered.made, &line, key)?;
            return again(web, &answered, applied, Some(pairs(&fields))).await;
        }
    };
    let (to, from) = applied.then(oneshot::channel).unzip();
    let kept = Kept { key: claim, trace: trace(&head.headers) };
    let lines = Bytes::from(event + "\n");
    let submission = Submission { topic: Some(taking.topic), lines, count: 1, applied: to, retries: None, kept };
    let receipt = web.app.ingest.submit(submission).await?;
    drop(held);
    answer(receipt, from, Some(pairs(&fields))).await
}

fn pairs(fields: &[Member]) -> Pairs<'_> {
    Pairs(fields.iter().map(|(name, json)| (name.as_str(), Raw::of(json.as_bytes()))).collect())
}

fn one_object() -> Problem {
    Problem::bad_request(
        "the body of this call is one JSON object, Content-Type: application/json; many events are sent to POST /topics/{topic}/events",
    )
}

fn fresh_id() -> Result<Uuid, getrandom::Error> {
    let mut bytes = [0; 16];
    getrandom::fill(&mut bytes)?;
    Ok(uuid::Builder::from_random_bytes(bytes).into_uuid())
}

/// What a route makes of an event.
struct Filled {
    /// With what the route adds, everything else as it was written.
    event: String,
    /// What the fields that the route fills are now.
    fields: Vec<Member>,
    /// The same, as it is kept with the request's key: null stands for what the body or the path says.
    kept: Vec<Member>,
}

fn fill(
    line: &[u8],
    taking: &Taking,
    key: &str,
    make: impl Fn(&Fill) -> Result<String, Problem>,
) -> Result<Filled, Problem> {
    let given = members(line)?;
    let (mut filled, mut kept) = (Vec::new(), Vec::new());
    if let Some(field) = &taking.key {
        filled.push((field.clone(), keyed(&given, field, key)?));
        kept.push((field.clone(), NULL.to_owned()));
    }
    for (field, with) in &taking.fill {
        let (json, is_given) = match value(&given, field) {
            Some(json) => (json.to_owned(), true),
            None => (make(with)?, false),
        };
        kept.push((field.clone(), if is_given { NULL.to_owned() } else { json.clone() }));
        filled.push((field.clone(), json));
    }
    // What is filled stands at the end. A member that stands twice goes on to do so, and is refused like anywhere else.
    let mut event = given;
    for (field, _) in &filled {
        if let Some(at) = event.iter().position(|(name, _)| name == field) {
            event.remove(at);
        }
    }
    event.extend(filled.iter().cloned());
    Ok(Filled { event: object(&event), fields: filled, kept })
}

/// The fields as they were answered when the request came first: what was `kept`, of the same body and path.
fn filled_before(kept: &str, line: &[u8], key: &str) -> Result<Vec<Member>, Problem> {
    let given = members(line)?;
    // A request that no route took has nothing.
    let kept = if kept.is_empty() { Vec::new() } else { members(kept.as_bytes())? };
    let before = |(field, json): Member| {
        let said = || value(&given, &field).map_or_else(|| json::string(key), str::to_owned);
        let json = if json == NULL { said() } else { json };
        (field, json)
    };
    Ok(kept.into_iter().map(before).collect())
}

/// What the body gives a field, null being nothing.
fn value<'a>(given: &'a [Member], field: &str) -> Option<&'a str> {
    given.iter().find(|(name, json)| name == field && json != NULL).map(|(_, json)| json.as_str())
}

fn object(members: &[Member]) -> String {
    let all: Vec<String> = members.iter().map(|(name, json)| format!("{}:{json}", json::string(name))).collect();
    format!("{{{}}}", all.join(","))
}

/// The members of the object on this line, values as they are written.
fn members(line: &[u8]) -> Result<Vec<Member>, Problem> {
    let not_json = |why: String| Problem::bad_request(format!("the body is no JSON object: {why}"));
    let text = std::str::from_utf8(line).map_err(|error| not_json(error.to_string()))?;
    let object: LazyValue = sonic_rs::from_str(text).map_err(|error| not_json(error.to_string()))?;
    let Some(members) = object.into_object_iter() else { return Err(one_object()) };
    let member = |member: Result<(_, LazyValue), sonic_rs::Error>| {
        let (name, value) = member.map_err(|error| not_json(error.to_string()))?;
        Ok((String::from(name), value.as_raw_str().to_owned()))
    };
    members.map(member).collect()
}

/// The key of the path; an event that names another is a mistake of the caller's.
fn keyed(given: &[Member], field: &str, key: &str) -> Result<String, Problem> {
    let own = json::string(key);
    let same = |other: &str| other == NULL || serde_json::from_str::<String>(other).is_ok_and(|other| other == key);
    match given.iter().find(|(name, other)| name == field && !same(other)) {
        Some((_, other)) => Err(Problem::bad_request(format!(
            "the path says {field} {own}, the body {other}: leave it out of the body"
        ))),
        None => Ok(own),
    }
}

fn made(with: &Fill, now: Millis, fresh: &dyn Fn() -> Result<Uuid, getrandom::Error>) -> Result<String, Problem> {
    match with {
        Fill::Constant(json) => Ok(json.clone()),
        Fill::Now(TimeFormat::Rfc3339 { .. }) => Ok(json::string(&time::format(now.micros()))),
        Fill::Now(TimeFormat::Unix(unit)) => Ok(unix(now, *unit)),
        Fill::Uuid => match fresh() {
            Ok(id) => Ok(json::string(&id.to_string())),
            Err(error) => Err(Problem::new(
                StatusCode::INTERNAL_SERVER_ERROR,
                format!("no fresh id can be made: {error}. Nothing of this request was taken"),
            )),
        },
    }
}

fn unix(Millis(ms): Millis, unit: Unit) -> String {
    match unit {
        Unit::Seconds => format!("{}.{:03}", ms / 1_000, ms % 1_000),
        Unit::Milliseconds => ms.to_string(),
        Unit::Microseconds => format!("{ms}000"),
        Unit::Nanoseconds => format!("{ms}000000"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::units::TopicId;

    const NOW: Millis = Millis(1_795_348_800_123);
    const ID: &str = "00000000-0000-0000-0000-000000000007";

    fn taking(key: Option<&str>) -> Taking {
        let rfc3339 = TimeFormat::Rfc3339 { zone: None };
        let fill = vec![
            ("id".to_owned(), Fill::Uuid),
            ("at".to_owned(), Fill::Now(rfc3339)),
            ("kind".to_owned(), Fill::Constant("\"edit\"".to_owned())),
        ];
        Taking { topic: TopicId(0), key: key.map(str::to_owned), fill }
    }

    fn value_of(members: &[Member]) -> serde_json::Value {
        serde_json::from_str(&object(members)).unwrap()
    }

    /// A body's line, and the event that comes of it, or what is said of it.
    #[test]
    fn what_is_absent_is_filled_and_the_rest_stays() {
        let made =
            "\"id\":\"00000000-0000-0000-0000-000000000007\",\"at\":\"2026-11-22T12:00:00.123Z\",\"kind\":\"edit\"";
        let check = |line: &str, taking: &Taking, expected: Result<&str, &str>| {
            let fresh = || Ok(Uuid::parse_str(ID).unwrap());
            let make = |with: &Fill| super::made(with, NOW, &fresh);
            let found = fill(line.as_bytes(), taking, "k \"1\"", make);
            match (found, expected) {
                (Ok(Filled { event: found, fields, kept }), Ok(expected)) => {
                    assert_eq!(found, expected.replace("MADE", made), "{line}");
                    // Whoever sends it again is answered the same, and no more is kept than was made.
                    let again = filled_before(&object(&kept), line.as_bytes(), "k \"1\"").unwrap();
                    assert_eq!(value_of(&again), value_of(&fields), "{line}");
                    assert!(kept.iter().all(|(_, json)| json == NULL || made.contains(json)), "{line}: {kept:?}");
                }
                (Err(problem), Err(says)) => assert!(problem.detail.contains(says), "{line}: {problem:?}"),
                (found, expected) => panic!("{line}: {:?}, not {expected:?}", found.map(|found| found.event)),
            }
        };
        let plain = taking(None);
        check("{}\n", &plain, Ok("{MADE}"));
        check(
            "{\"n\":1.50,\"t\":\"\\u00e9\\n\",\"o\":{\"id\":1}}",
            &plain,
            Ok("{\"n\":1.50,\"t\":\"\\u00e9\\n\",\"o\":{\"id\":1},MADE}"),
        );
        check("{\"n\":123456789012345678901234567890}", &plain, Ok("{\"n\":123456789012345678901234567890,MADE}"));
        check("{\"id\":null,\"a\":null}", &plain, Ok("{\"a\":null,MADE}"));
        check("{\"kind\":\"new\",\"id\":5,\"at\":\"x\"}", &plain, Ok("{\"id\":5,\"at\":\"x\",\"kind\":\"new\"}"));
        // Twice the same member: both stand in the log, and the event is invalid as it was.
        check("{\"a\":1,\"a\":2}", &plain, Ok("{\"a\":1,\"a\":2,MADE}"));
        check(
            "{\"kind\":\"x\",\"kind\":\"y\"}",
            &plain,
            Ok(
                "{\"kind\":\"y\",\"id\":\"00000000-0000-0000-0000-000000000007\",\"at\":\"2026-11-22T12:00:00.123Z\",\"kind\":\"x\"}",
            ),
        );
        check("{\"a\":1 2}", &plain, Err("no JSON object"));
        check("{\"a\":}", &plain, Err("no JSON object"));
        let edit = taking(Some("key"));
        check("{\"a\":1}", &edit, Ok("{\"a\":1,\"key\":\"k \\\"1\\\"\",MADE}"));
        check("{\"key\":\"k \\u00221\\\"\"}", &edit, Ok("{\"key\":\"k \\\"1\\\"\",MADE}"));
        check("{\"key\":\"other\"}", &edit, Err("leave it out"));
    }

    #[test]
    fn the_time_is_written_as_the_topic_reads_it() {
        let cases = [
            (Unit::Seconds, "1795348800.123"),
            (Unit::Milliseconds, "1795348800123"),
            (Unit::Microseconds, "1795348800123000"),
            (Unit::Nanoseconds, "1795348800123000000"),
        ];
        for (unit, expected) in cases {
            let made = made(&Fill::Now(TimeFormat::Unix(unit)), NOW, &fresh_id).unwrap();
            assert_eq!(made, expected, "{unit:?}");
        }
    }
}
