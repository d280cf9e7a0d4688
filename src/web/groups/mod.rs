//! `/topics/{topic}/groups…`: consumer groups. What they mean is in `bus::group`; here they are asked, what they offer is read, and positions are stored
//! before they are told.

pub mod ask;
mod position;
mod slot;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use axum::extract::rejection::PathRejection;
use axum::extract::{Path, Request, State};
use axum::response::Response;
use hyper::{StatusCode, Uri};
use serde::Serialize;
use tokio::sync::OnceCell;
use tokio::time::{Instant, sleep, sleep_until};

use crate::bus::group::{NAME_FORM, Name};
use crate::bus::{Run, Start};
use crate::core::units::Offset;
use crate::store::{GroupPosition, StoreError};
use crate::web::groups::ask::{Commit, Poll};
use crate::web::groups::position::Positions;
use crate::web::groups::slot::Slot;
use crate::web::params::{Params, segment};
use crate::web::problem::Problem;
use crate::web::topic::{events_json, has_come, json, topic_of};
use crate::web::{Web, json_answer};

/// Groups of all topics: each is a row, and labels of three metrics.
const GROUPS_MAX: usize = 1_000;
/// Between two tries to read the positions while the store is away.
const LOAD_AGAIN: Duration = Duration::from_secs(2);

type Shared = State<Arc<Web>>;
type Segment = Result<Path<String>, PathRejection>;
type Segments = Result<Path<(String, String)>, PathRejection>;

/// All groups of the job, once their positions are read.
#[derive(Default)]
pub struct Groups {
    loaded: OnceCell<()>,
    slots: Mutex<BTreeMap<(String, Name), Arc<Slot>>>,
    /// Held while a group is made or forgotten: of two that make one, both would store where it begins.
    making: tokio::sync::Mutex<()>,
    positions: Positions,
}

/// A group in a list, and in `/cluster`.
#[derive(Serialize)]
pub struct GroupView {
    topic: String,
    group: String,
    position: u64,
    /// Events of all topics in the log from the position on: no fewer than are to be read.
    pub lag_at_most: u64,
    pub uncommitted: usize,
    pub members: usize,
    /// Whether the event at the position is still in the log.
    retained: bool,
}

#[derive(Serialize)]
struct GroupsView {
    groups: Vec<GroupView>,
}

#[derive(Serialize)]
struct OneGroupView {
    #[serde(flatten)]
    group: GroupView,
    in_session: Vec<MemberView>,
}

#[derive(Serialize)]
struct MemberView {
    member: String,
    uncommitted: usize,
    session_ms: u64,
    ends_in_ms: u64,
}

#[derive(Serialize)]
struct CommittedView {
    committed: u64,
    position: u64,
}

impl GroupView {
    /// As labels of a metric.
    pub fn labels(&self) -> [(&'static str, String); 2] {
        [("topic", self.topic.clone()), ("group", self.group.clone())]
    }
}

impl Groups {
    /// Reads the positions, once.
    async fn load(&self, web: &Web) -> Result<(), Problem> {
        let load = async {
            let groups = web.readers.ask(|reader| reader.groups()).await?;
            let mut slots = self.slots();
            for GroupPosition { topic, group, position } in groups {
                // This version writes no other names.
                let Some(name) = Name::parse(&group) else { continue };
                let slot = Slot::new(topic.clone(), name.clone(), position);
                slots.insert((topic, name), Arc::new(slot));
            }
            Ok(())
        };
        self.loaded.get_or_try_init(|| load).await.copied()
    }

    /// Each change of the map is whole, so a thread that died with the lock held has harmed nothing.
    fn slots(&self) -> MutexGuard<'_, BTreeMap<(String, Name), Arc<Slot>>> {
        self.slots.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn find(&self, topic: &str, name: &Name) -> Option<Arc<Slot>> {
        self.slots().get(&(topic.to_owned(), name.clone())).cloned()
    }

    /// The group; made, where it is new, to begin at `start`. That is stored first: else the next life would know nothing of the group, and one that
    /// begins at the end would miss what came meanwhile.
    async fn find_or_make(&self, web: &Web, topic: &str, name: &Name, start: Start) -> Result<Arc<Slot>, Problem> {
        if let Some(slot) = self.find(topic, name) {
            return Ok(slot);
        }
        let _making = self.making.lock().await;
        if let Some(slot) = self.find(topic, name) {
            return Ok(slot);
        }
        if self.slots().len() >= GROUPS_MAX {
            let why = format!("there are {GROUPS_MAX} groups: DELETE one that is not used any more");
            return Err(Problem { retry_after: Some(60), ..Problem::new(StatusCode::TOO_MANY_REQUESTS, why) });
        }
        has_come(web, start)?;
        let source = Arc::clone(&web.app.bus);
        let position = web.reading.run(move || source.offset(start)).await?;
        self.positions.store(web, topic, name, position).await?;
        let slot = Arc::new(Slot::new(topic.to_owned(), name.clone(), position));
        self.slots().insert((topic.to_owned(), name.clone()), Arc::clone(&slot));
        Ok(slot)
    }

    /// Those of a topic, or all; empty while their positions are not read.
    pub fn views(&self, web: &Web, topic: Option<&str>) -> Vec<GroupView> {
        let slots: Vec<Arc<Slot>> = self.slots().values().cloned().collect();
        slots.iter().filter(|slot| topic.is_none_or(|topic| topic == slot.topic)).map(|slot| view(web, slot)).collect()
    }
}

/// Reads the positions as soon as the store has them, so that lags are shown before anybody polls.
pub async fn load(web: Arc<Web>) {
    while web.groups.load(&web).await.is_err() {
        sleep(LOAD_AGAIN).await;
    }
}

fn view(web: &Web, slot: &Slot) -> GroupView {
    let (position, lag_at_most, uncommitted, members, begin) = {
        let state = slot.state();
        let position = state.position();
        let (begin, end) = web.app.bus.access().map_or((position, position), |log| (log.begin(), log.end()));
        let members = state.members(web.app.clock.up()).len();
        (position, state.lag_at_most(end), state.uncommitted(), members, begin)
    };
    GroupView {
        topic: slot.topic.clone(),
        group: slot.name.to_string(),
        position: position.0,
        lag_at_most,
        uncommitted,
        members,
        retained: position >= begin,
    }
}

pub async fn list(State(web): Shared, path: Segment, uri: Uri) -> Result<Response, Problem> {
    Params::none(&uri)?;
    let topic = segment(path)?;
    topic_of(&web, &topic)?;
    web.groups.load(&web).await?;
    Ok(json_answer(&GroupsView { groups: web.groups.views(&web, Some(&topic)) }))
}

pub async fn one(State(web): Shared, path: Segments, uri: Uri) -> Result<Response, Problem> {
    Params::none(&uri)?;
    let (topic, name) = names(&web, path)?;
    web.groups.load(&web).await?;
    let slot = web.groups.find(&topic, &name).ok_or_else(|| no_group(&topic, &name))?;
    let now = web.app.clock.up();
    let members = slot.state().members(now);
    let in_session = members.into_iter().map(|member| MemberView {
        member: member.name.to_string(),
        uncommitted: member.uncommitted,
        session_ms: member.session.0,
        ends_in_ms: member.until.0.saturating_sub(now.0),
    });
    Ok(json_answer(&OneGroupView { group: view(&web, &slot), in_session: in_session.collect() }))
}

/// Forgets a group; who polls it next makes it anew.
pub async fn delete(State(web): Shared, path: Segments, uri: Uri) -> Result<Response, Problem> {
    Params::none(&uri)?;
    let (topic, name) = names(&web, path)?;
    web.groups.load(&web).await?;
    let _making = web.groups.making.lock().await;
    let slot = web.groups.find(&topic, &name).ok_or_else(|| no_group(&topic, &name))?;
    let _turn = slot.turn.lock().await;
    slot.state().storing();
    web.groups.positions.forget(&web, &topic, &name).await?;
    slot.state().forget();
    web.groups.slots().remove(&(topic, name.clone()));
    slot.changed.notify_waiters();
    Ok(json_answer(&serde_json::json!({"deleted": name.as_str()})))
}

/// Gives a member the next events of the topic that nobody has; waits for some.
pub async fn poll(State(web): Shared, path: Segments, request: Request) -> Result<Response, Problem> {
    let (topic, name) = names(&web, path)?;
    let asked = Poll::read(&web, request).await?;
    web.groups.load(&web).await?;
    let waits_until = Instant::now() + asked.wait;
    let mut end = web.app.bus.subscribe();
    let mut stopped = web.stopping.subscribe();
    let slot = web.groups.find_or_make(&web, &topic, &name, asked.from.unwrap_or(Start::Beginning)).await?;
    loop {
        // What comes after this look is a change.
        end.borrow_and_update();
        let mut woken = std::pin::pin!(slot.changed.notified());
        woken.as_mut().enable();
        let last = Instant::now() >= waits_until || *stopped.borrow();
        let run = slot.give(&web, &asked).await?;
        if last || !run.events.is_empty() {
            return Ok(answer(&run, slot.state().position()));
        }
        if run.more {
            continue;
        }
        tokio::select! {
            _ = end.changed() => {}
            () = woken => {}
            () = sleep_until(waits_until.min(Instant::now() + slot.looks_after(&web, &asked))) => {}
            _ = stopped.wait_for(|stopping| *stopping) => {}
        }
    }
}

fn answer(run: &Run, position: Offset) -> Response {
    let mut body = events_json(run);
    let last = run.events.last().map_or_else(|| "null".to_owned(), |event| event.offset.to_string());
    body.extend_from_slice(format!(",\"last\":{last},\"position\":{position}}}").as_bytes());
    json(body)
}

/// What was delivered to a member is done, up to an offset.
pub async fn commit(State(web): Shared, path: Segments, request: Request) -> Result<Response, Problem> {
    let (topic, name) = names(&web, path)?;
    let Commit { member, offset } = Commit::read(&web, request).await?;
    web.groups.load(&web).await?;
    let slot = web.groups.find(&topic, &name).ok_or_else(|| no_group(&topic, &name))?;
    let position = slot.commit(&web, &member, offset).await?;
    Ok(json_answer(&CommittedView { committed: offset.0, position: position.0 }))
}

fn names(web: &Web, path: Segments) -> Result<(String, Name), Problem> {
    let Ok(Path((topic, group))) = path else { return Err(Problem::bad_request("the path is no UTF-8 text")) };
    topic_of(web, &topic)?;
    Ok((topic, name("group", &group)?))
}

fn name(what: &str, text: &str) -> Result<Name, Problem> {
    let shown: String = text.chars().take(100).collect();
    let name = Name::parse(text);
    name.ok_or_else(|| Problem::bad_request(format!("{shown:?} is no name of a {what}: allowed are {NAME_FORM}")))
}

fn no_group(topic: &str, name: &Name) -> Problem {
    Problem::not_found(format!(
        "topic {topic} has no group {name}: GET /topics/{topic}/groups lists them, and the first poll makes one"
    ))
}

/// Where it cannot be noted how far a group has come, nothing has moved.
fn not_stored(error: StoreError) -> Problem {
    match error {
        StoreError::Unavailable(_) => Problem::unavailable(
            format!("{error}. Nothing was changed: what is delivered stays delivered; ask again later"),
            2,
        ),
        StoreError::Indeterminate(_) => {
            Problem::unavailable(format!("{error}. It may be stored or not: ask again, which changes nothing twice"), 2)
        }
        StoreError::Fenced { .. } => Problem::unavailable(format!("{error}: ask the job that has taken over"), 5),
        other => other.into(),
    }
}
