//! What a consumer group may give and refuse, event by event, as `docs/consumers.md` has it: written down plainly, from what was durable and from the
//! model's rules for valid events.

use std::collections::{BTreeMap, BTreeSet};

use caudal::bus::group::{Ask, Offer, Refusal, Turn};
use caudal::core::plan::Plan;
use caudal::core::units::{Millis, Offset, TopicId};

use super::check::lines;
use super::cluster::slab_of;
use crate::model::shape::Shape;
use crate::model::{Entry, Schemas, topics};

/// Which topic the log's events are valid events of, by offset, as each version of the pipelines reads them.
pub struct Validity {
    schemas: Schemas,
    by_version: BTreeMap<usize, Vec<Option<TopicId>>>,
}

impl Validity {
    pub fn new(schemas: &[String]) -> Self {
        Self { schemas: crate::model::compile(schemas), by_version: BTreeMap::new() }
    }

    /// The offsets of the topic's valid events.
    pub fn of(&mut self, plan: &Plan, shape: &Shape, topic: TopicId, log: &[Entry]) -> BTreeSet<u64> {
        let known = self.by_version.entry(shape.version).or_default();
        let there = known.len() as u64;
        let slabs = log.iter().filter_map(slab_of).filter(|s| s.end().0 > there);
        let new = slabs.flat_map(|slab| {
            let of_slab = lines(slab).filter(|(offset, _)| *offset >= there);
            of_slab.map(|(_, line)| (slab.ingest, slab.topic, line))
        });
        known.extend(topics(plan, &self.schemas, shape, new));
        let of_topic = (0..).zip(known.iter()).filter(|(_, of)| **of == Some(topic));
        of_topic.map(|(offset, _)| offset).collect()
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Free,
    With(usize),
    Done,
}

/// What is known of a group.
#[derive(Default)]
pub struct Judge {
    /// Whether it was made for certain.
    made: bool,
    /// Where it may begin.
    tried: BTreeSet<Offset>,
    /// Somebody wanted to delete it, and was not answered.
    may_be_gone: bool,
    begin: u64,
    /// The position that was told last: what is stored is not before it.
    promised: Offset,
    /// Offsets that need not be given any more: committed, or asked to be; no events of the topic when they were read; left out as somebody wanted.
    settled: BTreeSet<u64>,
    /// In this life: where it began, the events that were given, and what was not looked at yet.
    position: u64,
    events: BTreeMap<u64, State>,
    next: u64,
    /// Where a run was given by half, the other half begins: it may hold no event, and the position does not pass it until somebody has looked.
    halves: BTreeSet<u64>,
    members: BTreeMap<usize, Member>,
    /// Who had it last.
    had: BTreeMap<u64, usize>,
}

struct Member {
    session: Millis,
    until: Millis,
    /// The offset it committed last.
    committed: Option<u64>,
}

impl Judge {
    /// A new life has read the positions: where the group goes on, if it is there.
    pub fn loaded(&mut self, stored: Option<Offset>) -> Option<Offset> {
        let Some(position) = stored else {
            assert!(!self.made || self.may_be_gone, "a group is lost");
            *self = Self { tried: std::mem::take(&mut self.tried), ..Self::default() };
            return None;
        };
        if self.made {
            assert!(position >= self.promised, "{position} is stored, {} was told", self.promised);
            let missing = (self.begin..position.0).find(|offset| !self.settled.contains(offset));
            assert_eq!(missing, None, "position {position} passes it");
        } else {
            assert!(self.tried.contains(&position), "nobody wanted it to begin at {position}");
            self.made(position);
        }
        self.begin_life(position);
        Some(position)
    }

    fn begin_life(&mut self, position: Offset) {
        (self.position, self.next) = (position.0, position.0);
        self.events.clear();
        self.halves.clear();
        self.members.clear();
        self.had.clear();
    }

    pub fn tries(&mut self, position: Offset) {
        self.tried.insert(position);
    }

    pub fn made(&mut self, position: Offset) {
        *self = Self { made: true, begin: position.0, promised: position, ..Self::default() };
        self.begin_life(position);
    }

    pub fn may_be_gone(&mut self) {
        self.may_be_gone = true;
    }

    /// It was stored.
    pub fn is_there(&mut self) {
        self.may_be_gone = false;
    }

    /// The events that the member has, in order.
    pub fn has(&self, member: usize) -> Vec<u64> {
        self.events.iter().filter(|(_, state)| **state == State::With(member)).map(|(offset, _)| *offset).collect()
    }

    /// Those who were silent for their session are gone; how many had events.
    fn expire(&mut self, now: Millis) -> u64 {
        let gone: Vec<usize> =
            self.members.iter().filter(|(_, member)| member.until <= now).map(|(member, _)| *member).collect();
        let with = |member: &&usize| self.events.values().any(|state| *state == State::With(**member));
        let ended = gone.iter().filter(with).count() as u64;
        for member in gone {
            self.members.remove(&member);
            self.free(member, 0);
        }
        ended
    }

    fn heard_of(&mut self, now: Millis, member: usize) {
        if let Some(member) = self.members.get_mut(&member) {
            member.until = Millis(now.0 + member.session.0);
        }
    }

    fn free(&mut self, member: usize, from: u64) {
        for (_, state) in self.events.range_mut(from..).filter(|(_, state)| **state == State::With(member)) {
            *state = State::Free;
        }
    }

    /// Whether the offset is that of an event which the member has, or which it committed last.
    fn may(&self, member: usize, offset: Offset) -> bool {
        let committed = self.members.get(&member).and_then(|member| member.committed);
        self.events.get(&offset.0) == Some(&State::With(member)) || committed == Some(offset.0)
    }

    /// A member polls a log that begins at `oldest`, perhaps with word of where to go on, and this comes of it. Gives whether the group's place is gone, and how many sessions ended.
    pub fn polls(
        &mut self,
        now: Millis,
        member: usize,
        ask: &Ask,
        (oldest, says_where): (Offset, bool),
        found: &Result<Turn, Refusal>,
    ) -> (bool, u64) {
        let ended = self.expire(now);
        match ask.received {
            Some(_) if !self.members.contains_key(&member) => {
                assert!(matches!(found, Err(Refusal::NoMember(_))), "{found:?}");
                return (false, ended);
            }
            Some(offset) if !self.may(member, offset) => {
                assert!(matches!(found, Err(Refusal::NotDelivered { .. })), "{found:?}");
                return (false, ended);
            }
            _ => {}
        }
        let fresh = Member { session: ask.session, until: now, committed: None };
        self.members.entry(member).or_insert(fresh).session = ask.session;
        self.heard_of(now, member);
        self.free(member, ask.received.map_or(0, |received| received.0 + 1));
        let free = self.first_free();
        match found {
            Ok(Turn::Read(offer)) => {
                assert!(offer.from >= oldest && offer.from.0 <= free && offer.events <= ask.max, "{offer:?} of {free}");
                (false, ended)
            }
            Ok(Turn::LeaveOut) => {
                assert!(says_where && oldest > Offset(0), "{free} is free, and left out unasked");
                (true, ended)
            }
            Err(Refusal::Gone { asked, oldest: told }) => {
                assert!(
                    !says_where && *asked < oldest && *told == oldest && asked.0 <= free,
                    "{asked} is gone, {free} is free"
                );
                (true, ended)
            }
            Err(error) => panic!("{error}"),
        }
    }

    fn first_free(&self) -> u64 {
        let free = self.events.iter().find(|(_, state)| **state == State::Free);
        free.map_or(self.next, |(offset, _)| *offset)
    }

    /// These events of the offer were given, all up to `end` having been looked through. Gives how many of them another member had before.
    pub fn delivered(
        &mut self,
        now: Millis,
        member: usize,
        (offer, end, exhausted): (Offer, Offset, bool),
        given: &[Offset],
        valid: &BTreeSet<u64>,
    ) -> u64 {
        let given: BTreeSet<u64> = given.iter().map(|offset| offset.0).collect();
        let strange = given.difference(valid).next();
        assert_eq!(strange, None, "it is no valid event of the topic in the log");
        for event in &given {
            let state = self.events.get(event);
            assert!(matches!(state, None | Some(State::Free)), "{event} is given to {member}: {state:?}");
        }
        let is_new = offer.until == Offset(u64::MAX);
        let known = self.events.iter().filter(|(offset, state)| **state == State::Free && valid.contains(offset));
        let free: Vec<u64> = known.map(|(offset, _)| *offset).chain(valid.range(self.next..).copied()).collect();
        let wanted = given.iter().copied().filter(|event| *event >= self.next || self.events.contains_key(event));
        let wanted: Vec<u64> = wanted.collect();
        assert!(free.starts_with(&wanted), "the first that nobody has, in their order: {given:?} of {free:?}");
        assert!(!(exhausted && is_new) || free.is_empty(), "{free:?} is there, and is not given");
        let passed = |offset: &u64| free.binary_search(offset).is_ok() && !given.contains(offset);
        assert_eq!((offer.from.0..end.0).find(passed), None, "it was passed over");

        let unread: Vec<u64> = (offer.from.0..end.0).filter(|offset| !valid.contains(offset)).collect();
        for offset in unread {
            self.settled.insert(offset);
            if self.events.get(&offset) == Some(&State::Free) {
                self.events.remove(&offset);
            }
        }
        let mut again = 0;
        for event in given {
            self.events.insert(event, State::With(member));
            let before = self.had.insert(event, member);
            again += u64::from(before.is_some_and(|before| before != member));
        }
        self.halves.retain(|half| !(offer.from.0..offer.until.0).contains(half));
        if is_new {
            self.next = end.0;
        } else if end < offer.until {
            self.halves.insert(end.0);
        }
        self.heard_of(now, member);
        again
    }

    /// Whether the member may commit the offset: if not, whether it is a member.
    pub fn commits(&mut self, now: Millis, member: usize, offset: Offset) -> Result<(), bool> {
        self.expire(now);
        self.heard_of(now, member);
        let session = self.members.contains_key(&member);
        if session && self.may(member, offset) { Ok(()) } else { Err(session) }
    }

    /// The member wants it to be done; it may be stored from now on.
    pub fn may_be_done(&mut self, member: usize, offset: Offset) {
        let mine = self.events.range(..=offset.0).filter(|(_, state)| **state == State::With(member));
        self.settled.extend(mine.map(|(offset, _)| *offset));
    }

    /// It was answered. Gives the number of events that are done by it.
    pub fn committed(&mut self, member: usize, offset: Offset, position: Offset) -> u64 {
        let mine = self.events.range_mut(..=offset.0).filter(|(_, state)| **state == State::With(member));
        let done = mine.map(|(_, state)| *state = State::Done).count() as u64;
        if let Some(member) = self.members.get_mut(&member) {
            member.committed = Some(offset.0);
        }
        assert!(position >= self.promised, "{position} after {}", self.promised);
        self.promised = position;
        self.is_there();
        done
    }

    /// Somebody wants to go on there, and leave out what was returned, or not delivered yet: that may be stored from now on.
    pub fn leaves_out(&mut self, until: Offset) {
        let left = (self.position..until.0).filter(|offset| match self.events.get(offset) {
            Some(state) => *state == State::Free,
            None => true,
        });
        self.settled.extend(left);
    }

    /// It is so.
    pub fn left_out(&mut self, until: Offset) {
        self.events.retain(|offset, state| *offset >= until.0 || *state != State::Free);
        // The rest of a run that reaches beyond.
        self.halves.retain(|half| *half > until.0);
        self.halves.insert(until.0);
        self.next = self.next.max(until.0);
        self.is_there();
    }

    /// The group's numbers are true, of a log with these valid events.
    pub fn check(&mut self, position: Offset, lag: u64, uncommitted: usize, valid: &BTreeSet<u64>) {
        let with = self.events.values().filter(|state| matches!(state, State::With(_))).count();
        assert_eq!(uncommitted, with);
        let open = self.events.iter().find(|(_, state)| **state != State::Done).map(|(offset, _)| *offset);
        let most = open.unwrap_or(self.next);
        let known = self.halves.first().map_or(most, |half| most.min(*half));
        let least = self.events.range(..known).next_back().map_or(self.position, |(done, _)| done + 1);
        assert!((least..=most).contains(&position.0), "position {position} lies in {least}..={most}");
        let unread = valid.range(self.next..).count();
        let unread = unread + self.events.values().filter(|state| **state != State::Done).count();
        assert!(lag >= unread as u64, "a lag of {lag}, and {unread} are to be read");
    }

    /// Nothing that was to be given up to the log's end was not.
    pub fn has_everything(&self, end: Offset) {
        let missing = (self.begin..end.0).find(|offset| !self.settled.contains(offset));
        assert_eq!(missing, None, "it is missing, from {} to {end}", self.begin);
    }
}
