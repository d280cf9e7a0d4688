//! One group: its state, and whose turn it is to ask it.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;

use crate::bus::group::{Kept, Name, Turn};
use crate::bus::{Events, Limits, Run, Start};
use crate::core::plan::Plan;
use crate::core::units::Offset;
use crate::web::Web;
use crate::web::groups::ask::Poll;
use crate::web::problem::Problem;
use crate::web::topic::{EVENTS_BYTES_MAX, SCANNED_BYTES_MAX, has_come, topic_of};

/// Where there is little of a topic, its group's position moves though nothing is committed. After so many events of other topics it is stored, so that it
/// stays within what is retained.
const STORE_AFTER: u64 = 100_000;

/// Where the group was read last; it holds nothing of the log in memory.
pub type Cursor = Option<(Arc<Plan>, Events)>;

pub struct Slot {
    pub topic: String,
    pub name: Name,
    /// Held from an offer to its delivery, and from the check of a commit until it is stored.
    pub turn: tokio::sync::Mutex<Cursor>,
    state: Mutex<Kept>,
    /// Something may be there for those who wait.
    pub changed: Notify,
}

impl Slot {
    pub fn new(topic: String, name: Name, position: Offset) -> Self {
        Self {
            topic,
            name,
            turn: tokio::sync::Mutex::new(None),
            state: Mutex::new(Kept::new(position, STORE_AFTER)),
            changed: Notify::new(),
        }
    }

    /// The state is right after each single change, so a thread that died with the lock held has harmed nothing.
    pub fn state(&self) -> MutexGuard<'_, Kept> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What the member is given now; it is the member's when this returns.
    pub async fn give(&self, web: &Web, asked: &Poll) -> Result<Run, Problem> {
        let mut cursor = self.turn.lock().await;
        let up = || web.app.clock.up();
        let offer = loop {
            let oldest = web.app.bus.access()?.begin();
            let turn = self.state().poll(up(), &asked.ask, oldest, asked.from.is_some())?;
            match turn {
                Turn::Read(offer) => break offer,
                Turn::LeaveOut => self.leave_out(web, asked.from.unwrap_or(Start::Beginning)).await?,
            }
        };
        let plan = Arc::clone(&web.pipelines().plan);
        let kept = cursor.take().filter(|(of, events)| Arc::ptr_eq(of, &plan) && events.at() == offer.from);
        let mut events = match kept {
            Some((_, events)) => events,
            None => web.app.bus.events(&plan, topic_of(web, &self.topic)?, offer.from)?,
        };
        let limits =
            Limits { events: offer.events, bytes: EVENTS_BYTES_MAX, scanned: SCANNED_BYTES_MAX, until: offer.until };
        let read = web.reading.run(move || {
            let run = events.next_run(&limits)?;
            events.let_go();
            Ok((run, events))
        });
        let (run, events) = read.await?;
        let offsets = run.events.iter().map(|event| event.offset).collect();
        let far = self.state().delivered(up(), &asked.ask.member, offer, run.end, offsets);
        if !run.events.is_empty() {
            // Who waits looks anew when this member's session may end.
            self.changed.notify_waiters();
        }
        *cursor = Some((plan, events));
        if let Some(position) = far
            && self.store(web, position).await.is_ok()
        {
            // If it could not be, the next poll tries again; nobody was promised anything.
            self.state().stored(position);
        }
        // Whether the run was one that somebody had before does not matter to who asks: there may be more.
        let more = run.more || offer.until != Offset(u64::MAX);
        Ok(Run { more, ..run })
    }

    /// Moves the position; gives the new one.
    pub async fn commit(&self, web: &Web, member: &Name, offset: Offset) -> Result<Offset, Problem> {
        let _turn = self.turn.lock().await;
        let commit = self.state().commit(web.app.clock.up(), member, offset)?;
        if commit.store {
            self.store(web, commit.position).await?;
        }
        self.state().committed(member, offset, commit.position);
        Ok(commit.position)
    }

    async fn leave_out(&self, web: &Web, start: Start) -> Result<(), Problem> {
        has_come(web, start)?;
        let source = Arc::clone(&web.app.bus);
        let until = web.reading.run(move || source.offset(start)).await?;
        let position = self.state().position_without(until);
        self.store(web, position).await?;
        self.state().left_out(until);
        Ok(())
    }

    async fn store(&self, web: &Web, position: Offset) -> Result<(), Problem> {
        self.state().storing();
        web.groups.positions.store(web, &self.topic, &self.name, position).await
    }

    /// How long a poll may wait before it has to be looked again: until another member's session ends, and never as long as its own.
    pub fn looks_after(&self, web: &Web, asked: &Poll) -> Duration {
        let now = web.app.clock.up();
        let ends = self.state().deadline().map_or(u64::MAX, |deadline| deadline.0.saturating_sub(now.0));
        Duration::from_millis(ends.min(asked.ask.session.0 / 3).max(1))
    }
}
