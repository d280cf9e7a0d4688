//! Events by an id that they have, out of the log: one event and its fate (`GET /events/{event_id}`), and those of one correlation (`GET /events?correlation=`).

use std::sync::Arc;

use crate::bus::Limits;
use crate::bus::fetch::Fetched;
use crate::core::decode::identities::{Kind, fingerprint, identity};
use crate::core::plan::{Plan, Step};
use crate::core::row::AuditEvent;
use crate::core::units::Offset;
use crate::store::StoredLetter;
use crate::web::Web;
use crate::web::lineage::{PAGE, audited};
use crate::web::problem::Problem;

/// First events of one id that are looked at, and last ones if none of those is valid: an id comes back only after it was forgotten, and what was sent broken many
/// times is mended at last.
const SAME_ID_MAX: usize = 100;
/// Their bytes are bounded by their number; each has a frame read for it.
const SAME_ID: Limits = Limits { events: SAME_ID_MAX, bytes: usize::MAX, scanned: usize::MAX, until: Offset(u64::MAX) };

/// What the log has of an id.
pub struct Told {
    /// Valid events, with the rows that they went into as far as bitmaps tell.
    pub events: Vec<AuditEvent>,
    pub letters: Vec<StoredLetter>,
}

/// The events of this id.
pub async fn of_event(web: &Web, plan: &Arc<Plan>, id: &str) -> Result<Told, Problem> {
    let found = read_event(web, plan, id).await?;
    let offsets: Vec<Offset> = found.iter().map(|event| event.offset).collect();
    let own: Vec<bool> = found.iter().map(|event| is_own(plan, event)).collect();
    let (metrics, letters) = web
        .readers
        .ask(move |r| {
            let letters = offsets.iter().map(|offset| r.dead_letter(*offset)).collect::<Result<Vec<_>, _>>()?;
            let mut metrics = r.compact_metrics(&offsets)?;
            for ((metrics, offset), _) in metrics.iter_mut().zip(&offsets).zip(own).filter(|(_, is_own)| *is_own) {
                let kept = r.event(&offset.to_string())?.into_iter().filter(|event| event.offset == *offset);
                metrics.extend(kept.flat_map(|event| event.metrics));
            }
            Ok((metrics, letters))
        })
        .await?;
    let mut told = Told { events: Vec::new(), letters: Vec::new() };
    for ((event, metrics), letter) in found.into_iter().zip(metrics).zip(letters) {
        match letter {
            Some(letter) => told.letters.push(letter),
            None if event.read.is_some() => told.events.push(audited(plan, event, metrics)),
            // Refused, and discarded since; or another id with the same fingerprint.
            None => {}
        }
    }
    Ok(told)
}

/// Whether the job made it itself. The audit, where it is full, has it under its offset.
fn is_own(plan: &Plan, event: &Fetched) -> bool {
    let topic = event.read.as_ref().and_then(|read| plan.topics.get(usize::from(read.topic.0)));
    topic.is_some_and(|topic| topic.emitted.is_some())
}

/// The valid events with this correlation, from `from` on, in the order in which they were taken in; and where there may be more the last offset that was looked at.
pub async fn of_correlation(
    web: &Web,
    plan: &Arc<Plan>,
    text: &str,
    from: Offset,
    limit: usize,
) -> Result<(Vec<AuditEvent>, Option<Offset>), Problem> {
    let (found, more) = read_story(web, plan, text, from, limit).await?;
    let wanted = identity(text.as_bytes(), 0);
    let is_told = |event: &Fetched| event.read.as_ref().is_some_and(|read| shares(plan, event, read.topic.0, wanted.0));
    // Told or not: a page may have nothing of what it looked at.
    let last = found.last().map(|event| event.offset).filter(|_| more);
    let events = found.into_iter().filter(is_told).map(|event| audited(plan, event, Vec::new()));
    Ok((events.collect(), last))
}

/// The first events of this id, and if none of them is valid what is of the last ones.
async fn read_event(web: &Web, plan: &Arc<Plan>, id: &str) -> Result<Vec<Fetched>, Problem> {
    let (source, plan, id) = (Arc::clone(&web.app.bus), Arc::clone(plan), id.as_bytes().to_vec());
    let read = move |is_waited_for: &dyn Fn() -> bool| {
        let wanted = identity(&id, 0);
        let is_asked = |event: &Fetched| match &event.read {
            Some(read) => read.id.as_ref().is_none_or(|of| identity(of.as_bytes(), 0) == wanted),
            None => true,
        };
        let offsets = source.find(&plan, (Kind::Event, fingerprint(&id)), Offset(0), is_waited_for)?;
        let (first, more) = offsets.split_at(offsets.len().min(SAME_ID_MAX));
        let mut found = source.fetch(&plan, first, &SAME_ID)?;
        found.retain(is_asked);
        if found.iter().all(|event| event.read.is_none()) {
            let last = source.fetch(&plan, &more[more.len().saturating_sub(SAME_ID_MAX)..], &SAME_ID)?;
            found.extend(last.into_iter().filter(|event| event.read.is_some() && is_asked(event)));
        }
        Ok(found)
    };
    web.reading.search(read).await
}

async fn read_story(
    web: &Web,
    plan: &Arc<Plan>,
    text: &str,
    from: Offset,
    limit: usize,
) -> Result<(Vec<Fetched>, bool), Problem> {
    let (source, plan, wanted) = (Arc::clone(&web.app.bus), Arc::clone(plan), fingerprint(text.as_bytes()));
    let read = move |is_waited_for: &dyn Fn() -> bool| {
        let offsets = source.find(&plan, (Kind::Correlation, wanted), from, is_waited_for)?;
        let found = source.fetch(&plan, &offsets, &Limits { events: limit, ..PAGE })?;
        let more = found.len() < offsets.len();
        Ok((found, more))
    };
    web.reading.search(read).await
}

/// Whether the event's correlation is this one, and not only of its fingerprint.
fn shares(plan: &Plan, event: &Fetched, topic: u16, wanted: u128) -> bool {
    let Some(path) = plan.topics.get(usize::from(topic)).and_then(|topic| topic.correlation.as_ref()) else {
        return false;
    };
    let Ok(value) = serde_json::from_slice::<serde_json::Value>(&event.line) else { return false };
    let found = path.0.iter().try_fold(&value, |value, step| match step {
        Step::Name(name) => value.get(name),
        Step::Item(item) => value.get(*item as usize),
    });
    found.and_then(serde_json::Value::as_str).is_some_and(|text| identity(text.as_bytes(), 0).0 == wanted)
}
