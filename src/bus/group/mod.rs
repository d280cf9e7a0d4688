//! A consumer group of a topic: which of its events is with whom, and how far it has come. It decides from its arguments alone: time is one of them, and
//! what is in the log is told.
//!
//! The offsets from the group's beginning on lie in runs: *done*, *out* (delivered to a member and not committed), *returned* (of a member that is gone)
//! and, from `next` on, not delivered yet. The position is the end of what is done without a gap.

mod kept;
mod name;

use std::collections::BTreeMap;

pub use crate::bus::group::kept::{Ask, Commit, Kept, Turn};
pub use crate::bus::group::name::{NAME_FORM, Name};
use crate::core::units::{Millis, Offset};

/// Members of a group; each is a process, or a thread of one.
pub const MEMBERS_MAX: usize = 1_000;
/// Events that a member has and has not committed; each costs an offset in memory.
pub const MEMBER_UNCOMMITTED_MAX: usize = 10_000;
/// The same of all members of a group.
pub const GROUP_UNCOMMITTED_MAX: usize = 100_000;

/// Why a member is not given events, or may not commit. Nothing has changed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    #[error(
        "{0} is no member of the group now: its session has ended, or it never polled. What was delivered to it and not committed is given to others; poll again"
    )]
    NoMember(Name),
    #[error(
        "offset {offset} was not delivered to {member}, or is no longer its own: of an event that a poll gave it and that it has not committed it may say the offset"
    )]
    NotDelivered { member: Name, offset: Offset },
    #[error("{0} has {MEMBER_UNCOMMITTED_MAX} events that it has not committed: commit some, then poll")]
    MemberFull(Name),
    #[error(
        "the group has {GROUP_UNCOMMITTED_MAX} events that are delivered and not committed: commit some, then poll"
    )]
    GroupFull,
    #[error("the group has {MEMBERS_MAX} members: poll again when one of their sessions has ended")]
    Members,
    #[error(
        "the group stands at offset {asked}, where the log is no longer retained: what it has not read there is lost to it. To go on, poll once with \
         \"from\": \"beginning\" (the oldest that is retained, {oldest}), \"end\", an offset or a time; LOG_RETENTION keeps more"
    )]
    Gone { asked: Offset, oldest: Offset },
    #[error("the group was deleted meanwhile: poll again to make it anew")]
    Forgotten,
}

/// What is to be read for a member: at most `events` events from `from` on, and none from `until` on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Offer {
    pub from: Offset,
    /// Beyond it the events were delivered before; `Offset(u64::MAX)` where they were not.
    pub until: Offset,
    pub events: usize,
}

/// A member, as others see it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MemberView {
    pub name: Name,
    pub uncommitted: usize,
    pub session: Millis,
    /// When its session ends if nothing is heard of it.
    pub until: Millis,
}

#[derive(Clone, Debug)]
pub struct Group {
    /// From here on nothing was delivered in this life.
    next: Offset,
    members: BTreeMap<Name, Member>,
    /// By their first offset. They and the returned runs do not overlap, and end at `next` or before it.
    out: BTreeMap<Offset, Lease>,
    /// First offset and end.
    returned: BTreeMap<Offset, Offset>,
    uncommitted: usize,
}

#[derive(Clone, Debug)]
struct Member {
    session: Millis,
    until: Millis,
    /// The offset it committed last in this session.
    committed: Option<Offset>,
    uncommitted: usize,
}

/// A run that is out: the topic's events in it, one at least, in order.
#[derive(Clone, Debug)]
struct Lease {
    member: Name,
    end: Offset,
    events: Vec<Offset>,
}

impl Group {
    /// Goes on from its position; nothing is out.
    #[must_use]
    pub fn new(position: Offset) -> Self {
        Self {
            next: position,
            members: BTreeMap::new(),
            out: BTreeMap::new(),
            returned: BTreeMap::new(),
            uncommitted: 0,
        }
    }

    /// A member asks for at most `max` events; it is in the group from now on. What it has, but for events up to the one that it has `received` last, is
    /// returned first: it does not know of them, its answer having been lost, or having been another process's.
    ///
    /// # Errors
    /// `NoMember`, `NotDelivered` (what it says to have received is not its), `MemberFull`, `GroupFull`, `Members`.
    pub fn offer(
        &mut self,
        now: Millis,
        name: &Name,
        session: Millis,
        received: Option<Offset>,
        max: usize,
    ) -> Result<Offer, Refusal> {
        self.expire(now);
        match (received, self.members.get(name)) {
            (Some(_), None) => return Err(Refusal::NoMember(name.clone())),
            (Some(offset), Some(_)) => self.must_have(name, offset)?,
            (None, None) if self.members.len() >= MEMBERS_MAX => return Err(Refusal::Members),
            (None, _) => {}
        }
        let fresh = Member { session, until: now, committed: None, uncommitted: 0 };
        let member = self.members.entry(name.clone()).or_insert(fresh);
        (member.session, member.until) = (session, Millis(now.0.saturating_add(session.0)));
        self.take_back(name, received.map_or(Offset(0), |offset| Offset(offset.0 + 1)));
        let has = self.members.get(name).map_or(0, |member| member.uncommitted);
        let events = max.min(MEMBER_UNCOMMITTED_MAX.saturating_sub(has));
        let events = events.min(GROUP_UNCOMMITTED_MAX.saturating_sub(self.uncommitted));
        if events == 0 {
            let member = has >= MEMBER_UNCOMMITTED_MAX;
            return Err(if member { Refusal::MemberFull(name.clone()) } else { Refusal::GroupFull });
        }
        let (from, until) = self.returned.first_key_value().map_or((self.next, Offset(u64::MAX)), |(&f, &u)| (f, u));
        Ok(Offer { from, until, events })
    }

    /// What came of the offer made last, since when nothing else was asked: all the topic's events from `offer.from` up to `end` are these, and they are
    /// the member's now.
    pub fn deliver(&mut self, now: Millis, name: &Name, offer: Offer, end: Offset, events: Vec<Offset>) {
        assert!(events.len() <= offer.events && end <= offer.until, "no more than was offered");
        assert!(events.iter().all(|event| (offer.from..end).contains(event)), "the events lie in their run");
        if offer.until == Offset(u64::MAX) {
            assert_eq!(offer.from, self.next, "runs follow on each other");
            self.next = end;
        } else {
            let until = self.returned.remove(&offer.from);
            assert_eq!(until, Some(offer.until), "the run is there to be given");
            if end < offer.until {
                self.returned.insert(end, offer.until);
            }
        }
        let Some(member) = self.members.get_mut(name) else { panic!("{name} was offered it") };
        member.until = Millis(now.0.saturating_add(member.session.0));
        if !events.is_empty() {
            member.uncommitted += events.len();
            self.uncommitted += events.len();
            self.out.insert(offer.from, Lease { member: name.clone(), end, events });
        }
    }

    /// Whether the member may commit this offset, and the position that the group has when it did. A commit that was answered may be asked for again.
    ///
    /// # Errors
    /// `NoMember`, `NotDelivered`.
    pub fn check(&mut self, now: Millis, name: &Name, offset: Offset) -> Result<Offset, Refusal> {
        self.expire(now);
        let Some(member) = self.members.get_mut(name) else { return Err(Refusal::NoMember(name.clone())) };
        member.until = Millis(now.0.saturating_add(member.session.0));
        self.must_have(name, offset)?;
        let left = self.out.iter().find_map(|(&first, lease)| match lease.last() {
            _ if lease.member != *name || first > offset => Some(first),
            last if last <= offset => None,
            _ => Some(Offset(offset.0 + 1)),
        });
        Ok(self.before_returned(left))
    }

    /// Everything that was delivered to the member up to this offset, which was checked, is done.
    pub fn commit(&mut self, name: &Name, offset: Offset) {
        let mine = self.out.range(..=offset).filter(|(_, lease)| lease.member == *name);
        let firsts: Vec<Offset> = mine.map(|(&first, _)| first).collect();
        let mut done = 0;
        for first in firsts {
            let Some(mut lease) = self.out.remove(&first) else { continue };
            let before = lease.events.partition_point(|event| *event <= offset);
            done += before;
            if before < lease.events.len() {
                lease.events.drain(..before);
                self.out.insert(Offset(offset.0 + 1), lease);
            }
        }
        self.uncommitted -= done;
        if let Some(member) = self.members.get_mut(name) {
            member.uncommitted -= done;
            member.committed = Some(offset);
        }
    }

    /// What was returned, or was not delivered yet, is left out up to here. What members have stays theirs.
    pub fn leave_out(&mut self, until: Offset) {
        while let Some((first, end)) = self.returned.pop_first() {
            if end > until {
                self.returned.insert(first.max(until), end);
                break;
            }
        }
        self.next = self.next.max(until);
    }

    /// All events before it are done.
    #[must_use]
    pub fn position(&self) -> Offset {
        self.before_returned(self.out.keys().next().copied())
    }

    /// When the next session ends, if nothing is heard of its member.
    #[must_use]
    pub fn deadline(&self) -> Option<Millis> {
        self.members.values().map(|member| member.until).min()
    }

    /// Delivered, and not committed.
    #[must_use]
    pub fn uncommitted(&self) -> usize {
        self.uncommitted
    }

    /// Those whose session has not ended.
    #[must_use]
    pub fn members(&self, now: Millis) -> Vec<MemberView> {
        let living = self.members.iter().filter(|(_, member)| now < member.until);
        let view = |(name, member): (&Name, &Member)| MemberView {
            name: name.clone(),
            uncommitted: member.uncommitted,
            session: member.session,
            until: member.until,
        };
        living.map(view).collect()
    }

    /// Members that were not heard of for their session are gone; what they had is returned.
    fn expire(&mut self, now: Millis) {
        let gone: Vec<Name> =
            self.members.iter().filter(|(_, member)| member.until <= now).map(|(name, _)| name.clone()).collect();
        for name in gone {
            self.take_back(&name, Offset(0));
            self.members.remove(&name);
        }
    }

    /// What the member has from this offset on is returned.
    fn take_back(&mut self, name: &Name, from: Offset) {
        let mine = self.out.iter().filter(|(_, lease)| lease.member == *name && lease.last() >= from);
        let firsts: Vec<Offset> = mine.map(|(&first, _)| first).collect();
        let mut taken = 0;
        for first in firsts {
            let Some(mut lease) = self.out.remove(&first) else { continue };
            let (end, kept) = (lease.end, lease.events.partition_point(|event| *event < from));
            taken += lease.events.len() - kept;
            let begin = if kept == 0 { first } else { from };
            if kept > 0 {
                lease.events.truncate(kept);
                lease.end = from;
                self.out.insert(first, lease);
            }
            self.give_back(begin, end);
        }
        self.uncommitted -= taken;
        if let Some(member) = self.members.get_mut(name) {
            member.uncommitted -= taken;
        }
    }

    /// One run with those that it touches.
    fn give_back(&mut self, mut begin: Offset, mut end: Offset) {
        if let Some((&first, &until)) = self.returned.range(..begin).next_back()
            && until == begin
        {
            self.returned.remove(&first);
            begin = first;
        }
        if let Some(until) = self.returned.remove(&end) {
            end = until;
        }
        self.returned.insert(begin, end);
    }

    /// The offset is that of an event which is out to the member, or which it committed last.
    fn must_have(&self, name: &Name, offset: Offset) -> Result<(), Refusal> {
        let of = self.out.range(..=offset).next_back().map(|(_, lease)| lease);
        let out = of.is_some_and(|lease| lease.member == *name && lease.events.binary_search(&offset).is_ok());
        let committed = self.members.get(name).is_some_and(|member| member.committed == Some(offset));
        if out || committed { Ok(()) } else { Err(Refusal::NotDelivered { member: name.clone(), offset }) }
    }

    /// The first offset that is not done, given the first that is out.
    fn before_returned(&self, out: Option<Offset>) -> Offset {
        let returned = self.returned.keys().next().copied();
        out.into_iter().chain(returned).fold(self.next, Offset::min)
    }
}

impl Lease {
    fn last(&self) -> Offset {
        let Some(last) = self.events.last() else { panic!("a lease has an event") };
        *last
    }
}
