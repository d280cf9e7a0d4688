//! `PUT /pipelines/{name}?from=`: a new pipeline that begins with the log's past, and how far that has come.

use std::sync::Arc;

use axum::response::Response;
use hyper::StatusCode;
use hyper::header::{HeaderValue, LOCATION};
use serde_json::{Value, json};

use crate::bus::{BusError, Start};
use crate::coordinator::backfill::asked::{Backfilling, Stand};
use crate::coordinator::change::Change;
use crate::pipeline::Replayed;
use crate::pipeline::change::Proposed;
use crate::pipeline::running::InForce;
use crate::web::Web;
use crate::web::params::escape;
use crate::web::pipelines::{Wish, blocking, json_of, logged_text, refusal};
use crate::web::places::Place;
use crate::web::problem::Problem;

/// Has the pipeline filled beside the job; it becomes the job's when it has come to the log's end.
pub async fn begin(web: Arc<Web>, name: String, start: Start, wish: Wish, _place: Place) -> Result<Response, Problem> {
    let last_change = Arc::clone(&web.changing).lock_owned().await;
    none_under_way(&web)?;
    let status = web.app.status.get();
    if status.committed < status.changed.max(*last_change) {
        return Err(Problem::unavailable(
            "the store does not have yet all that the last change takes away: try again",
            1,
        ));
    }
    let now = web.app.running.get();
    if now.pipelines.plan.pipelines.iter().any(|pipeline| pipeline.name == name) {
        return Err(taken(&format!("there is a pipeline {name:?} already")));
    }
    let asked = name.clone();
    let proposed =
        blocking(move || wish.put(&now.configuration, &asked)).await?.map_err(|refused| refusal(&refused))?;
    let Proposed { mut configuration, pipelines, changes, .. } = proposed;
    // Its past lies before the epoch from which its newest life has its rows.
    if pipelines.plan.lives.iter().any(|(begun, _)| *begun == *name) {
        return Err(taken(&format!("the pipeline {name:?} was begun anew before (--accept-changes)")));
    }
    let asked = name.clone();
    if web.readers.ask(move |r| r.knows(&asked)).await? {
        return Err(taken(&format!("the store has rows, alerts or events of an earlier pipeline {name:?}")));
    }
    let source = Arc::clone(&web.app.bus);
    let found = web.reading.run(move || {
        let event = source.offset(start)?;
        source.access()?.epoch_before(event).map_err(BusError::Log)
    });
    let (after, from) = found.await?;
    configuration.replayed = Some(Replayed { pipeline: name.clone(), after, from });
    let bundle = logged_text(&configuration)?.into();
    let backfill = configuration.backfill(&pipelines.plan);
    let next = Arc::new(InForce::new(configuration, pipelines));
    let change = Change { bundle, plan: Arc::clone(&next.pipelines.plan), backfill };
    let asked = web.app.backfills.ask(&name, from, change);
    let durable = asked.unwrap_or_else(|| panic!("whoever asks holds the lock, and none was under way"));
    tokio::spawn(async move {
        // It never is where the replay comes to nothing.
        if durable.await.is_ok() {
            web.app.running.set(next);
            web.app.backfills.shown();
        }
    });
    let body = json!({"pipeline": name, "from": from.0, "changes": changes});
    let mut answer = json_of(StatusCode::ACCEPTED, &body);
    if let Ok(place) = HeaderValue::from_str(&format!("/pipelines/{}", escape(&name))) {
        answer.headers_mut().insert(LOCATION, place);
    }
    Ok(answer)
}

/// # Errors
/// 409 while one is under way: the plan that it is for must not change.
pub fn none_under_way(web: &Web) -> Result<(), Problem> {
    match web.app.backfills.under_way() {
        None => Ok(()),
        Some(Backfilling { pipeline, .. }) => Err(Problem::new(
            StatusCode::CONFLICT,
            format!(
                "the pipeline {pipeline:?} is being replayed (or what is left of that taken away), and until that is done nothing else may change: GET /pipelines/{pipeline} tells how far it \
                 has come, DELETE /pipelines/{pipeline} gives it up"
            ),
        )),
    }
}

/// Gives up the replay of this pipeline, if it is one that is under way.
pub fn give_up(web: &Web, name: &str) -> Option<Result<Response, Problem>> {
    let under_way = web.app.backfills.under_way().filter(|now| now.pipeline == name)?;
    if web.app.backfills.cancel(name) {
        let body = json!({"pipeline": under_way.pipeline, "replay": "given up"});
        return Some(Ok(json_of(StatusCode::ACCEPTED, &body)));
    }
    // It may have joined the job meanwhile: then it is taken away like any other.
    none_under_way(web).err().map(Err)
}

/// The replay that is under way, or that failed last; of this pipeline, if one is named.
pub fn shown(web: &Web, name: Option<&str>) -> Option<Value> {
    let now = web.app.backfills.now().filter(|now| name.is_none_or(|name| now.pipeline == name))?;
    let Backfilling { pipeline, from, at, state } = now;
    let (state, reason) = match state {
        Stand::Filling => ("filling", None),
        Stand::Joining => ("joining", None),
        Stand::Leaving => ("leaving", None),
        Stand::Failed(why) => ("failed", Some(why)),
    };
    let end = web.app.bus.end().max(at);
    Some(json!({"pipeline": pipeline, "from": from.0, "at": at.0, "end": end.0, "state": state, "reason": reason}))
}

fn taken(why: &str) -> Problem {
    Problem::new(StatusCode::CONFLICT, format!("{why}: a replay needs a name that is new. Nothing was changed"))
}
