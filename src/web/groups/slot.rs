//! One group: its state, and whose turn it is to ask it.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use hyper::StatusCode;
use tokio::sync::Notify;

use crate::bus::group::{Group, Name};
use crate::bus::{BusError, Events, Limits, Run};
use crate::core::plan::Plan;
use crate::core::units::Offset;
use crate::web::Web;
use crate::web::groups::ask::Poll;
use crate::web::problem::Problem;
use crate::web::topic::{EVENTS_BYTES_MAX, SCANNED_BYTES_MAX, topic_of};

/// Where there is little of a topic, its group's position moves though nothing is committed. After so many events of other topics it is stored, so that it
/// stays within what is retained.
const STORE_AFTER: u64 = 100_000;

pub struct Slot {
    pub topic: String,
    pub name: Name,
    /// Held from an offer to its delivery, and from the check of a commit until it is stored.
    pub turn: tokio::sync::Mutex<Turn>,
    state: Mutex<Group>,
    /// Something may be there for those who wait.
    pub changed: Notify,
}

pub struct Turn {
    /// Where the group was read last; it holds nothing of the log in memory.
    cursor: Option<(Arc<Plan>, Events)>,
    /// The position in the store.
    stored: Offset,
    /// The group was deleted.
    pub forgotten: bool,
}

impl Slot {
    pub fn new(topic: String, name: Name, position: Offset) -> Self {
        let turn = Turn { cursor: None, stored: position, forgotten: false };
        Self {
            topic,
            name,
            turn: tokio::sync::Mutex::new(turn),
            state: Mutex::new(Group::new(position)),
            changed: Notify::new(),
        }
    }

    /// The state is right after each single change, so a thread that died with the lock held has harmed nothing.
    pub fn state(&self) -> MutexGuard<'_, Group> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What the member is given now; it is the member's when this returns.
    pub async fn give(&self, web: &Web, asked: &Poll) -> Result<Run, Problem> {
        let mut turn = self.turn.lock().await;
        loop {
            turn.check()?;
            let up = || web.app.clock.up();
            let offer = self.state().offer(up(), &asked.member, asked.session, asked.received, asked.max)?;
            match (web.app.bus.retained(offer.from), asked.from) {
                (Ok(()), _) => {}
                (Err(gone @ BusError::Gone { .. }), None) => return Err(self.gone(gone)),
                (Err(BusError::Gone { .. }), Some(start)) => {
                    let source = Arc::clone(&web.app.bus);
                    let position = web.reading.run(move || source.offset(start)).await?;
                    web.groups.positions.store(web, &self.topic, &self.name, position).await?;
                    self.state().reset(position);
                    turn.stored = position;
                    continue;
                }
                (Err(error), _) => return Err(error.into()),
            }
            let plan = Arc::clone(&web.pipelines().plan);
            let kept = turn.cursor.take().filter(|(of, events)| Arc::ptr_eq(of, &plan) && events.at() == offer.from);
            let mut events = match kept {
                Some((_, events)) => events,
                None => web.app.bus.events(&plan, topic_of(web, &self.topic)?, offer.from)?,
            };
            let limits = Limits {
                events: offer.events,
                bytes: EVENTS_BYTES_MAX,
                scanned: SCANNED_BYTES_MAX,
                until: offer.until,
            };
            let read = web.reading.run(move || {
                let run = events.next_run(&limits)?;
                events.let_go();
                Ok((run, events))
            });
            let (run, events) = read.await?;
            let offsets = run.events.iter().map(|event| event.offset).collect();
            self.state().deliver(up(), &asked.member, offer, run.end, offsets);
            if !run.events.is_empty() {
                // Who waits looks anew when this member's session may end.
                self.changed.notify_waiters();
            }
            turn.cursor = Some((plan, events));
            self.store_far(web, &mut turn).await;
            // Whether the run was one that somebody had before does not matter to who asks: there may be more.
            let more = run.more || offer.until != Offset(u64::MAX);
            return Ok(Run { more, ..run });
        }
    }

    /// Moves the position; gives the new one.
    pub async fn commit(&self, web: &Web, member: &Name, offset: Offset) -> Result<Offset, Problem> {
        let mut turn = self.turn.lock().await;
        turn.check()?;
        let position = self.state().check(web.app.clock.up(), member, offset)?;
        if position != turn.stored {
            web.groups.positions.store(web, &self.topic, &self.name, position).await?;
            turn.stored = position;
        }
        self.state().commit(member, offset);
        Ok(position)
    }

    /// How long a poll may wait before it has to be looked again: until another member's session ends, and never as long as its own.
    pub fn looks_after(&self, web: &Web, asked: &Poll) -> Duration {
        let now = web.app.clock.up();
        let ends = self.state().deadline().map_or(u64::MAX, |deadline| deadline.0.saturating_sub(now.0));
        Duration::from_millis(ends.min(asked.session.0 / 3).max(1))
    }

    async fn store_far(&self, web: &Web, turn: &mut Turn) {
        let position = self.state().position();
        if position.0.saturating_sub(turn.stored.0) < STORE_AFTER {
            return;
        }
        // If it cannot be, the next poll tries again; nobody was promised anything.
        if web.groups.positions.store(web, &self.topic, &self.name, position).await.is_ok() {
            turn.stored = position;
        }
    }

    fn gone(&self, error: BusError) -> Problem {
        let mut problem = Problem::from(error);
        problem.detail = format!(
            "group {} stands where the log is no longer retained: what it has not read there is lost to it. To go on, poll once with \
             \"from\": \"beginning\" (the oldest that is retained), \"end\", an offset or a time; LOG_RETENTION keeps more",
            self.name
        );
        problem
    }
}

impl Turn {
    fn check(&self) -> Result<(), Problem> {
        if self.forgotten {
            return Err(Problem::new(
                StatusCode::CONFLICT,
                "the group was deleted meanwhile: poll again to make it anew",
            ));
        }
        Ok(())
    }
}
