//! Programs that read in groups: members that poll, commit, fall silent and come back, of a job that dies while positions are stored, and whose pipelines
//! and log change beneath them. The real steps of a group, the real readers and log; what comes of them is judged event by event (`judging`).

use std::collections::BTreeMap;
use std::sync::Arc;

use caudal::bus::group::{Ask, Kept, Name, Offer, Refusal, Turn};
use caudal::bus::{BusError, Events, Limits, Source, Start};
use caudal::core::plan::Plan;
use caudal::core::units::{Generation, Millis, Offset, TopicId};
use caudal::log::Access;
use caudal::store::{GroupPosition, Reader, Store, StoreError};
use rand::Rng;
use rand::seq::IndexedRandom;
use rand_chacha::ChaCha8Rng;

use super::cluster::{Died, Life, died};
use super::judging::{Judge, Validity};

const MEMBERS: usize = 4;
/// Tries of each group to have something on its way to the store when the job dies.
const COMMITS_AT_DEATH: usize = 5;
const SESSION_MS_MAX: u64 = 3_000;
/// More polls than any group has events: one that goes on is stuck.
const POLLS_MAX: usize = 20_000;

/// A group of which is known what it was told, in all lives.
pub struct Judged {
    topic: TopicId,
    name: Name,
    judge: Judge,
}

/// What outlives the job.
pub struct Outside {
    pub groups: Vec<Judged>,
    pub validity: Validity,
    /// What a job that is dead has still under way to the store.
    stale: Option<(Generation, Stale)>,
}

enum Stale {
    Moves(GroupPosition),
    Drops(GroupPosition),
}

impl Outside {
    pub fn new(plan: &Plan, schemas: &[String], rng: &mut ChaCha8Rng) -> Self {
        let group = |number| Judged {
            topic: TopicId(rng.random_range(0..plan.topics.len()) as u16),
            name: name(&format!("group_{number}")),
            judge: Judge::default(),
        };
        Self { groups: (0..3).map(group).collect(), validity: Validity::new(schemas), stale: None }
    }
}

/// What the job has in memory.
pub struct Consumers {
    source: Source,
    /// By place in `Outside::groups`, once their positions are read.
    held: Option<BTreeMap<usize, Held>>,
    /// Is being stored.
    making: Option<(usize, Offset)>,
}

struct Held {
    kept: Kept,
    cursor: Option<(Arc<Plan>, Events)>,
    doing: Option<Doing>,
}

/// Between two steps of a request.
enum Doing {
    Reads { member: usize, offer: Offer },
    LeavesOut { until: Offset },
    Commits { member: usize, offset: Offset, position: Offset },
    Deletes,
}

fn name(text: &str) -> Name {
    Name::parse(text).unwrap()
}

fn member_name(member: usize) -> Name {
    name(&format!("m{member}"))
}

impl Consumers {
    pub fn new(access: Access) -> Self {
        let source = Source::default();
        source.open(access);
        Self { source, held: None, making: None }
    }
}

impl Life<'_> {
    fn awake(&self) -> Millis {
        self.now().awake
    }

    /// One step of somebody's request.
    pub fn consume(&mut self) -> Result<(), Died> {
        if self.world.rng.random_bool(0.1) {
            self.try_stale();
        }
        if self.world.rng.random_bool(0.03) {
            let applied = self.world.rng.random();
            self.world.store.lose_group_answer(applied);
        }
        if self.consumers.held.is_none() {
            // While the store is away nothing is known of groups.
            if self.world.rng.random_bool(0.5) {
                self.load_groups();
            }
            return Ok(());
        }
        let at = self.world.rng.random_range(0..self.world.outside.groups.len());
        self.step_group(at)
    }

    fn held(&mut self, at: usize) -> Option<&mut Held> {
        self.consumers.held.as_mut().and_then(|held| held.get_mut(&at))
    }

    fn load_groups(&mut self) {
        let stored = self.world.store.groups().unwrap();
        let mut held = BTreeMap::new();
        for at in 0..self.world.outside.groups.len() {
            let position = self.stored(&stored, at);
            let begins = self.world.outside.groups[at].judge.loaded(position);
            self.world.seen.note("groups at a start", u64::from(begins.is_some()));
            if let Some(position) = begins {
                let kept = Kept::new(position, self.world.rng.random_range(1..300));
                held.insert(at, Held { kept, cursor: None, doing: None });
            }
        }
        self.consumers.held = Some(held);
    }

    fn position(&self, at: usize, position: Offset) -> GroupPosition {
        let Judged { topic, name, .. } = &self.world.outside.groups[at];
        let topic = self.world.pipeline.plan.topics[usize::from(topic.0)].name.clone();
        GroupPosition { topic, group: name.to_string(), position }
    }

    fn stored(&self, stored: &[GroupPosition], at: usize) -> Option<Offset> {
        let wanted = self.position(at, Offset(0));
        let found = stored.iter().find(|group| (&group.topic, &group.group) == (&wanted.topic, &wanted.group));
        found.map(|group| group.position)
    }

    /// Whether the position is stored for certain.
    fn store_position(&mut self, at: usize, position: Offset) -> bool {
        let group = self.position(at, position);
        let done = self.world.store.move_group(self.generation, &group);
        self.is_done(done)
    }

    fn is_done<T>(&mut self, done: Result<T, StoreError>) -> bool {
        let what = match done {
            Ok(_) => return true,
            Err(StoreError::Unavailable(_)) => "positions while the store was away",
            Err(StoreError::Indeterminate(_)) => "positions without answer",
            Err(error) => panic!("{error}"),
        };
        self.world.seen.note(what, 1);
        false
    }

    /// A job that is dead, and does not know it, moves no position and deletes no group once a later one has written to the store.
    fn try_stale(&mut self) {
        let Some((generation, stale)) = self.world.outside.stale.take() else { return };
        let store = &mut self.world.store;
        let fenced = store.generation() > generation;
        let (what, done) = match &stale {
            Stale::Moves(group) => {
                ("positions of a dead job that come before the next one's", store.move_group(generation, group))
            }
            Stale::Drops(group) => {
                let done = store.drop_group(generation, &group.topic, &group.group);
                ("groups that a dead job deletes under the next one", done.map(drop))
            }
        };
        match done {
            Ok(()) => {
                assert!(!fenced, "generation {generation} had its way");
                let is_held = self.consumers.held.is_some() || matches!(stale, Stale::Moves(_));
                self.world.seen.note(what, u64::from(is_held));
            }
            Err(StoreError::Fenced { .. }) => {
                assert!(fenced);
                self.world.seen.note("positions of a dead job fenced off", 1);
            }
            Err(StoreError::Unavailable(_) | StoreError::Indeterminate(_)) => {}
            Err(error) => panic!("{error}"),
        }
    }

    /// The job dies now: what it has sent to the store may arrive later.
    pub fn leave_stale(&mut self) {
        for at in 0..self.world.outside.groups.len() {
            for _ in 0..COMMITS_AT_DEATH {
                if self.held(at).is_some_and(|held| held.doing.is_none()) {
                    self.ask_to_commit(at);
                }
            }
        }
        let held = self.consumers.held.iter().flatten();
        let under_way = held.filter_map(|(at, held)| match held.doing {
            Some(Doing::Commits { position, .. }) => Some(Stale::Moves(self.position(*at, position))),
            Some(Doing::Deletes) => Some(Stale::Drops(self.position(*at, Offset(0)))),
            _ => None,
        });
        let mut under_way: Vec<Stale> = under_way.collect();
        self.world.seen.note("kills while positions are stored", under_way.len() as u64);
        // What deletes is rare.
        under_way.sort_by_key(|stale| matches!(stale, Stale::Moves(_)));
        if let Some(stale) = under_way.into_iter().next().filter(|_| self.world.rng.random_bool(0.7)) {
            self.world.outside.stale = Some((self.generation, stale));
        }
    }

    fn step_group(&mut self, at: usize) -> Result<(), Died> {
        let Some(held) = self.held(at) else { return self.make(at) };
        let Some(doing) = held.doing.take() else {
            let poll = self.world.rng.random_bool(0.6);
            if poll {
                return self.poll(at);
            }
            self.ask_to_commit(at);
            return Ok(());
        };
        if self.world.rng.random_bool(0.08) {
            self.give_up(at, &doing);
            return Ok(());
        }
        match doing {
            Doing::Reads { member, offer } => self.read(at, member, offer)?,
            Doing::LeavesOut { until } => {
                let position = self.held(at).unwrap().kept.position_without(until);
                self.held(at).unwrap().kept.storing();
                if self.store_position(at, position) {
                    self.held(at).unwrap().kept.left_out(until);
                    self.world.outside.groups[at].judge.left_out(until);
                    self.world.seen.note("groups that left out what is gone", 1);
                }
            }
            Doing::Commits { member, offset, position } => {
                self.held(at).unwrap().kept.storing();
                if self.store_position(at, position) {
                    self.committed(at, member, offset, position);
                }
            }
            Doing::Deletes => {
                if self.world.rng.random_bool(0.3) {
                    let applied = self.world.rng.random();
                    self.world.store.lose_group_answer(applied);
                }
                self.held(at).unwrap().kept.storing();
                let group = self.position(at, Offset(0));
                let done = self.world.store.drop_group(self.generation, &group.topic, &group.group);
                if self.is_done(done) {
                    let mut gone = self.consumers.held.as_mut().unwrap().remove(&at).unwrap();
                    gone.kept.forget();
                    let ask = self.ask(0, None);
                    assert_eq!(gone.kept.poll(self.awake(), &ask, Offset(0), true), Err(Refusal::Forgotten));
                    self.world.outside.groups[at].judge = Judge::default();
                    self.world.seen.note("groups deleted", 1);
                }
            }
        }
        self.check(at);
        Ok(())
    }

    /// Who asked is gone; what is on its way to the store arrives nevertheless.
    fn give_up(&mut self, at: usize, doing: &Doing) {
        self.world.seen.note("requests of groups given up", 1);
        let position = match *doing {
            Doing::Reads { .. } => return,
            Doing::LeavesOut { until } => self.held(at).unwrap().kept.position_without(until),
            Doing::Commits { position, .. } => position,
            Doing::Deletes => {
                self.held(at).unwrap().kept.storing();
                let group = self.position(at, Offset(0));
                let _ = self.world.store.drop_group(self.generation, &group.topic, &group.group);
                return;
            }
        };
        self.held(at).unwrap().kept.storing();
        self.store_position(at, position);
    }

    fn start(&mut self) -> Start {
        let access = self.log.access();
        match self.world.rng.random_range(0..6) {
            0 => Start::End,
            1 => Start::Offset(Offset(self.world.rng.random_range(access.begin().0..=access.end().0))),
            _ => Start::Beginning,
        }
    }

    fn make(&mut self, at: usize) -> Result<(), Died> {
        let Some((of, position)) = self.consumers.making.take() else {
            let start = self.start();
            let position = self.consumers.source.offset(start).map_err(log_died)?;
            self.world.outside.groups[at].judge.tries(position);
            self.consumers.making = Some((at, position));
            return Ok(());
        };
        if self.store_position(of, position) {
            let kept = Kept::new(position, self.world.rng.random_range(1..300));
            self.consumers.held.as_mut().unwrap().insert(of, Held { kept, cursor: None, doing: None });
            self.world.outside.groups[of].judge.made(position);
            self.world.seen.note("groups made", 1);
            self.check(of);
        }
        Ok(())
    }

    fn ask(&mut self, member: usize, received: Option<Offset>) -> Ask {
        let (max, session) = (self.world.rng.random_range(1..=8), self.world.rng.random_range(5..=SESSION_MS_MAX));
        Ask { member: member_name(member), max, session: Millis(session), received }
    }

    fn poll(&mut self, at: usize) -> Result<(), Died> {
        let (now, oldest) = (self.awake(), self.log.access().begin());
        let member = self.world.rng.random_range(0..MEMBERS);
        let has = self.world.outside.groups[at].judge.has(member);
        let received = match self.world.rng.random_range(0..10) {
            0..4 => has.last().copied(),
            4 => has.choose(&mut self.world.rng).copied(),
            5 => Some(self.world.rng.random_range(0..=self.log.end().0 + 1)),
            _ => None,
        };
        let says_where = self.world.rng.random_bool(0.5);
        let ask = self.ask(member, received.map(Offset));
        self.offer(at, member, now, &ask, oldest, says_where)
    }

    fn offer(
        &mut self,
        at: usize,
        member: usize,
        now: Millis,
        ask: &Ask,
        oldest: Offset,
        says_where: bool,
    ) -> Result<(), Died> {
        let turn = self.held(at).unwrap().kept.poll(now, ask, oldest, says_where);
        let judge = &mut self.world.outside.groups[at].judge;
        let (gone, ended) = judge.polls(now, member, ask, (oldest, says_where), &turn);
        self.world.seen.note("sessions that ended with events", ended);
        self.world.seen.note("groups behind what is retained", u64::from(gone));
        match turn {
            Ok(Turn::Read(offer)) => {
                self.held(at).unwrap().doing = Some(Doing::Reads { member, offer });
            }
            Ok(Turn::LeaveOut) => {
                let start = self.start();
                // Segments go meanwhile.
                let until = match self.consumers.source.offset(start) {
                    Err(BusError::Gone { .. }) => return Ok(()),
                    other => other.map_err(log_died)?,
                };
                self.world.outside.groups[at].judge.leaves_out(until);
                self.held(at).unwrap().doing = Some(Doing::LeavesOut { until });
            }
            Err(_) => self.world.seen.note("polls refused", 1),
        }
        self.check(at);
        Ok(())
    }

    fn read(&mut self, at: usize, member: usize, offer: Offer) -> Result<(), Died> {
        let world = &mut *self.world;
        let version = world.holds();
        let (plan, topic) = (world.versions[version].plan.clone(), world.outside.groups[at].topic);
        let limits = Limits {
            events: offer.events,
            bytes: world.rng.random_range(1..3_000),
            scanned: world.rng.random_range(1..10_000),
            until: offer.until,
        };
        let held = self.consumers.held.as_mut().and_then(|held| held.get_mut(&at)).unwrap();
        let cursor = held.cursor.take().filter(|(of, events)| Arc::ptr_eq(of, &plan) && events.at() == offer.from);
        let events = cursor.map(|(_, events)| events);
        let mut events = events.unwrap_or_else(|| self.consumers.source.events(&plan, topic, offer.from).unwrap());
        let run = match events.next_run(&limits) {
            // A segment went between the offer and the read: nothing was given.
            Err(BusError::Gone { .. }) => {
                world.seen.note("reads of what went meanwhile", 1);
                return Ok(());
            }
            other => other.map_err(log_died)?,
        };
        events.let_go();
        held.cursor = Some((plan, events));
        let offsets: Vec<Offset> = run.events.iter().map(|event| event.offset).collect();
        let now = Millis(self.awake_ms);
        let far = held.kept.delivered(now, &member_name(member), offer, run.end, offsets.clone());

        let is_emitted = world.pipeline.plan.topics[usize::from(topic.0)].emitted.is_some();
        let shape = &world.versions[version].shape;
        let valid = world.outside.validity.of(&world.pipeline.plan, shape, topic, &world.log);
        let exhausted = !run.more && run.events.is_empty();
        let judge = &mut world.outside.groups[at].judge;
        let again = judge.delivered(now, member, (offer, run.end, exhausted), &offsets, &valid);
        let seen = &mut world.seen;
        seen.note("events given to members", offsets.len() as u64);
        seen.note("emitted events given to members", if is_emitted { offsets.len() as u64 } else { 0 });
        seen.note("events given to another member", again);
        seen.note("polls that have everything", u64::from(exhausted && offer.until == Offset(u64::MAX)));
        if let Some(position) = far {
            self.world.seen.note("positions that moved without a commit", 1);
            self.held(at).unwrap().kept.storing();
            if self.store_position(at, position) {
                self.held(at).unwrap().kept.stored(position);
                self.world.outside.groups[at].judge.is_there();
            }
        }
        Ok(())
    }

    fn ask_to_commit(&mut self, at: usize) {
        if self.world.rng.random_bool(0.02) {
            self.world.outside.groups[at].judge.may_be_gone();
            self.held(at).unwrap().doing = Some(Doing::Deletes);
            return;
        }
        let member = self.world.rng.random_range(0..MEMBERS);
        let has = self.world.outside.groups[at].judge.has(member);
        let end = self.log.end().0;
        let offset = match self.world.rng.random_range(0..10) {
            0..6 => has.last().copied(),
            6..8 => has.choose(&mut self.world.rng).copied(),
            8 => Some(end + self.world.rng.random_range(0..3)),
            _ => None,
        };
        let offset = Offset(offset.unwrap_or_else(|| self.world.rng.random_range(0..=end)));
        self.commit_group(at, member, offset);
        self.check(at);
    }

    fn commit_group(&mut self, at: usize, member: usize, offset: Offset) {
        let now = self.awake();
        let commit = self.held(at).unwrap().kept.commit(now, &member_name(member), offset);
        let expected = self.world.outside.groups[at].judge.commits(now, member, offset);
        match (commit, expected) {
            (Ok(commit), Ok(())) => {
                self.world.outside.groups[at].judge.may_be_done(member, offset);
                if commit.store {
                    let doing = Doing::Commits { member, offset, position: commit.position };
                    self.held(at).unwrap().doing = Some(doing);
                } else {
                    self.committed(at, member, offset, commit.position);
                }
            }
            (Err(Refusal::NoMember(_)), Err(false)) => self.world.seen.note("commits of a member that is gone", 1),
            (Err(Refusal::NotDelivered { .. }), Err(true)) => {
                let future = u64::from(offset >= self.log.end());
                self.world.seen.note("commits of events that do not exist yet", future);
                self.world.seen.note("commits of what was not delivered", 1 - future);
            }
            (found, expected) => panic!("a commit of {offset} by {member}: {found:?}, expected {expected:?}"),
        }
    }

    fn committed(&mut self, at: usize, member: usize, offset: Offset, position: Offset) {
        self.held(at).unwrap().kept.committed(&member_name(member), offset, position);
        let done = self.world.outside.groups[at].judge.committed(member, offset, position);
        self.world.seen.note("events committed by members", done);
        let stored = self.world.store.groups().unwrap();
        let stored = self.stored(&stored, at).expect("a commit that is answered is of a group that is stored");
        assert!(stored >= position, "{position} was answered, and {stored} is stored");
    }

    fn check(&mut self, at: usize) {
        let end = self.log.end();
        let Some(held) = self.held(at) else { return };
        let (position, lag, uncommitted) = (held.kept.position(), held.kept.lag_at_most(end), held.kept.uncommitted());
        let shape = &self.world.versions[self.world.holds()].shape;
        let Judged { topic, judge, .. } = &mut self.world.outside.groups[at];
        let valid = self.world.outside.validity.of(&self.world.pipeline.plan, shape, *topic, &self.world.log);
        judge.check(position, lag, uncommitted, &valid);
    }

    /// Somebody reads what is left of each group: then nothing is missing.
    pub fn consume_all(&mut self) -> Result<(), Died> {
        self.world.store.away(0);
        self.world.store.answer_groups();
        if self.consumers.held.is_none() {
            self.load_groups();
        }
        // All sessions end.
        self.awake_ms += SESSION_MS_MAX;
        for at in 0..self.world.outside.groups.len() {
            if self.held(at).is_none() {
                continue;
            }
            if let Some(doing) = self.held(at).unwrap().doing.take() {
                self.give_up(at, &doing);
            }
        }
        for at in 0..self.world.outside.groups.len() {
            if self.held(at).is_some() {
                self.consume_rest(at)?;
            }
        }
        Ok(())
    }

    fn consume_rest(&mut self, at: usize) -> Result<(), Died> {
        for _ in 0..POLLS_MAX {
            let (now, oldest) = (self.awake(), self.log.access().begin());
            let ask = self.ask(0, None);
            self.offer(at, 0, now, &ask, oldest, true)?;
            match self.held(at).unwrap().doing.take() {
                Some(Doing::Reads { member, offer }) => {
                    self.read(at, member, offer)?;
                    let has = self.world.outside.groups[at].judge.has(0);
                    let Some(last) = has.last() else {
                        if self.held(at).unwrap().kept.position() < self.log.end() {
                            continue;
                        }
                        let end = self.log.end();
                        assert_eq!(self.held(at).unwrap().kept.lag_at_most(end), 0, "it has everything");
                        self.world.outside.groups[at].judge.has_everything(end);
                        self.world.seen.note("groups that have everything", 1);
                        return Ok(());
                    };
                    self.commit_group(at, 0, Offset(*last));
                    if let Some(Doing::Commits { member, offset, position }) = self.held(at).unwrap().doing.take() {
                        assert!(self.store_position(at, position), "the store is there");
                        self.committed(at, member, offset, position);
                    }
                }
                Some(Doing::LeavesOut { until }) => {
                    let position = self.held(at).unwrap().kept.position_without(until);
                    assert!(self.store_position(at, position), "the store is there");
                    self.held(at).unwrap().kept.left_out(until);
                    self.world.outside.groups[at].judge.left_out(until);
                }
                _ => {}
            }
            self.check(at);
        }
        panic!("a group that never has everything");
    }
}

/// The disk died in a call.
fn log_died(error: BusError) -> Died {
    match error {
        BusError::Log(error) => died(error),
        error => panic!("{error}"),
    }
}
