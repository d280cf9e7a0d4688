//! `GET /windows/{metric_id}/events`: the events behind a row, out of the store (`audit: full`) or the log (`audit: compact`).

use std::sync::Arc;

use axum::extract::State;
use axum::response::Response;
use hyper::Uri;

use crate::bus::Limits;
use crate::bus::fetch::Fetched;
use crate::core::emit::ID;
use crate::core::plan::{Audit, Plan};
use crate::core::row::AuditEvent;
use crate::core::units::Offset;
use crate::web::Web;
use crate::web::params::{Params, segment};
use crate::web::problem::Problem;
use crate::web::query::{BODIES_MAX, LIMIT_DEFAULT, Segment, cut_page, event_list, metric_id, next_page, no_row};
use crate::web::topic::{EVENTS_BYTES_MAX, SCANNED_BYTES_MAX};

/// Where a page of events out of the log ends at the latest, however many were asked for.
pub const PAGE: Limits = Limits {
    events: BODIES_MAX as usize + 1,
    bytes: EVENTS_BYTES_MAX,
    scanned: SCANNED_BYTES_MAX,
    until: Offset(u64::MAX),
};

pub async fn events(State(web): State<Arc<Web>>, path: Segment, uri: Uri) -> Result<Response, Problem> {
    let params = Params::of(&uri, &["limit", "after"])?;
    let id = metric_id(&segment(path)?)?;
    let limit = params.limit(LIMIT_DEFAULT, BODIES_MAX)?;
    let after = params.number("after")?.map(Offset);
    // A pipeline's audit may have changed meanwhile: an event is in the one or in the other.
    let found = web.readers.ask(move |r| {
        let Some(row) = r.window(id)? else { return Ok(None) };
        let kept = r.lineage(id, after, limit + 1)?;
        let mut offsets = r.compact_lineage(&row, after, limit + 1)?;
        offsets.retain(|offset| !kept.iter().any(|event| event.offset == *offset));
        let metrics = r.compact_metrics(&offsets)?;
        Ok(Some((row.pipeline, kept, offsets, metrics)))
    });
    let (pipeline, mut events, offsets, metrics) = found.await?.ok_or_else(|| no_row(id))?;
    let (source, plan) = (Arc::clone(&web.app.bus), Arc::clone(&web.pipelines().plan));
    // Of a pipeline that was deleted what was kept tells.
    let audit = match plan.pipelines.iter().find(|of| of.name == pipeline) {
        Some(pipeline) => pipeline.audit,
        None if !events.is_empty() => Audit::Full,
        None if !offsets.is_empty() => Audit::Compact,
        None => Audit::None,
    };
    let (of_plan, wanted) = (Arc::clone(&plan), offsets.len());
    let fetched = web.reading.run(move || source.fetch(&of_plan, &offsets, &PAGE)).await?;
    let cut_at = fetched.last().map(|event| event.offset).filter(|_| fetched.len() < wanted);
    events.extend(fetched.into_iter().zip(metrics).map(|(event, metrics)| audited(&plan, event, metrics)));
    events.sort_by_key(|event| event.offset);
    // What lies behind the cut comes with the next page, also where it is in the store.
    events.retain(|event| cut_at.is_none_or(|cut_at| event.offset <= cut_at));
    let last = cut_page(&mut events, limit).map(|last| last.offset).or(cut_at);
    let next = last.map(|last| next_page(&uri, "after", &last.to_string()));
    Ok(event_list(audit, &events, next))
}

/// An event that the pipelines of today refuse was counted by others: it has no id then, and the time at which it was taken in.
pub fn audited(plan: &Plan, event: Fetched, metrics: Vec<uuid::Uuid>) -> AuditEvent {
    let Fetched { offset, received, line, read, .. } = event;
    let topic = read.as_ref().and_then(|read| plan.topics.get(usize::from(read.topic.0)));
    // What the job made itself has an id that nothing is deduplicated by, so that decoding passes it over.
    let own = || topic.filter(|topic| topic.emitted.is_some()).and_then(|_| text_member(&line, ID));
    let id = read.as_ref().and_then(|read| read.id.clone()).or_else(own);
    AuditEvent {
        offset,
        topic: topic.map(|topic| topic.name.clone()).unwrap_or_default(),
        time: read.as_ref().map_or(received.micros(), |read| read.time),
        event_id: id.unwrap_or_else(|| offset.to_string()),
        received,
        body: line,
        metrics,
    }
}

/// A text at the top of an event.
fn text_member(line: &[u8], name: &str) -> Option<String> {
    let event: serde_json::Value = serde_json::from_slice(line).ok()?;
    event.get(name)?.as_str().map(str::to_owned)
}
