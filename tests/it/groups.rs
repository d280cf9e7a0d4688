//! Consumer groups: the state machine against a list of events with a state each, whatever its members do, however often it is started anew.

use std::collections::{BTreeMap, BTreeSet};

use caudal::bus::group::{GROUP_UNCOMMITTED_MAX, Group, MEMBER_UNCOMMITTED_MAX, MEMBERS_MAX, Name, Offer, Refusal};
use caudal::core::units::{Millis, Offset};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::Index;

const SESSION: Millis = Millis(100);

#[derive(Clone, Debug)]
enum Op {
    /// So much time passes.
    Wait(u64),
    /// The log grows; true: an event of the topic.
    Append(Vec<bool>),
    Poll {
        member: usize,
        max: usize,
        received: Received,
        /// Where the run's end lies, of the places where it may.
        end: u64,
    },
    Commit {
        member: usize,
        offset: Index,
    },
    /// The job is killed, and starts again.
    Restart,
}

/// What a poll says of the member's uncommitted events.
#[derive(Clone, Debug)]
enum Received {
    Nothing,
    Last,
    Any(Index),
}

fn op() -> impl Strategy<Value = Op> {
    let received = prop_oneof![
        4 => Just(Received::Nothing),
        4 => Just(Received::Last),
        1 => any::<Index>().prop_map(Received::Any),
    ];
    let poll = (0..4_usize, 1..5_usize, received, 0..1_000_u64);
    prop_oneof![
        2 => (0..60_u64).prop_map(Op::Wait),
        3 => vec(any::<bool>(), 1..8).prop_map(Op::Append),
        8 => poll.prop_map(|(member, max, received, end)| Op::Poll { member, max, received, end }),
        6 => (0..4_usize, any::<Index>()).prop_map(|(member, offset)| Op::Commit { member, offset }),
        1 => Just(Op::Restart),
    ]
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Free,
    Out(usize),
    Done,
}

/// What a group is to mean, written down event by event.
#[derive(Default)]
struct Model {
    end: u64,
    events: BTreeMap<u64, State>,
    /// Of living members: when their session ends, and what they committed last.
    members: BTreeMap<usize, (u64, Option<u64>)>,
    ever_committed: BTreeSet<u64>,
}

impl Model {
    fn expire(&mut self, now: u64) {
        let gone: Vec<usize> =
            self.members.iter().filter(|(_, (until, _))| *until <= now).map(|(member, _)| *member).collect();
        for member in gone {
            self.members.remove(&member);
            self.free(member, 0);
        }
    }

    fn free(&mut self, member: usize, from: u64) {
        for (_, state) in self.events.range_mut(from..).filter(|(_, state)| **state == State::Out(member)) {
            *state = State::Free;
        }
    }

    fn has(&self, member: usize, offset: u64) -> bool {
        let committed = self.members.get(&member).and_then(|(_, committed)| *committed);
        self.events.get(&offset) == Some(&State::Out(member)) || committed == Some(offset)
    }

    fn out(&self, member: usize) -> Vec<u64> {
        self.events.iter().filter(|(_, state)| **state == State::Out(member)).map(|(offset, _)| *offset).collect()
    }

    /// The first event that is not done.
    fn open(&self) -> Option<u64> {
        self.events.iter().find(|(_, state)| **state != State::Done).map(|(offset, _)| *offset)
    }

    /// Nothing before the position is open, or was committed by nobody.
    fn check_position(&self, position: Offset) {
        let open = self.open();
        assert!(open.is_none_or(|open| position.0 <= open), "position {position} passes {open:?}");
        assert!(self.events.range(..position.0).all(|(offset, _)| self.ever_committed.contains(offset)));
    }
}

struct Trial {
    group: Group,
    model: Model,
    now: u64,
    /// The position as it is stored.
    durable: Offset,
}

fn name(member: usize) -> Name {
    Name::parse(&format!("m{member}")).unwrap()
}

impl Trial {
    fn new() -> Self {
        Self { group: Group::new(Offset(0)), model: Model::default(), now: 0, durable: Offset(0) }
    }

    fn apply(&mut self, op: &Op) {
        match op {
            Op::Wait(span) => self.now += span,
            Op::Append(events) => {
                for &is_event in events {
                    if is_event {
                        self.model.events.insert(self.model.end, State::Free);
                    }
                    self.model.end += 1;
                }
            }
            Op::Poll { member, max, received, end } => {
                let received = match received {
                    Received::Nothing => None,
                    Received::Last => self.model.out(*member).last().copied(),
                    Received::Any(index) => Some(index.index(self.model.end as usize + 1) as u64),
                };
                drop(self.poll(*member, *max, received, *end));
            }
            Op::Commit { member, offset } => {
                let out = self.model.out(*member);
                // Mostly what it has, and sometimes anything.
                let offset = match offset.index(out.len() + 2) {
                    at if at < out.len() => out[at],
                    _ => offset.index(self.model.end as usize + 2) as u64,
                };
                self.commit(*member, offset);
            }
            Op::Restart => {
                self.group = Group::new(self.durable);
                self.model.members.clear();
                for (_, state) in self.model.events.range_mut(self.durable.0..) {
                    *state = State::Free;
                }
            }
        }
        self.model.check_position(self.group.position());
        assert!(self.durable <= self.group.position());
        let out = self.model.events.values().filter(|state| matches!(state, State::Out(_))).count();
        assert_eq!(self.group.uncommitted(), out);
    }

    /// Gives what was delivered.
    fn poll(&mut self, member: usize, max: usize, received: Option<u64>, end: u64) -> Vec<u64> {
        self.model.expire(self.now);
        let living = self.model.members.contains_key(&member);
        let expected = match received {
            Some(_) if !living => Some(Refusal::NoMember(name(member))),
            Some(offset) if !self.model.has(member, offset) => {
                Some(Refusal::NotDelivered { member: name(member), offset: Offset(offset) })
            }
            _ => None,
        };
        loop {
            let offer = self.group.offer(Millis(self.now), &name(member), SESSION, received.map(Offset), max);
            if let Some(expected) = expected {
                assert_eq!(offer, Err(expected));
                return Vec::new();
            }
            let offer = offer.unwrap();
            self.model.members.entry(member).or_insert((0, None)).0 = self.now + SESSION.0;
            self.model.free(member, received.map_or(0, |received| received + 1));
            assert!(offer.events <= max);
            let (events, end) = self.read(offer, end);
            let offsets = events.iter().copied().map(Offset).collect();
            self.group.deliver(Millis(self.now), &name(member), offer, Offset(end), offsets);
            // The first free events, in order, with nothing between them that is somebody's or done.
            let free = self.model.events.iter().skip_while(|(_, state)| **state != State::Free);
            let free: Vec<u64> =
                free.take_while(|(_, state)| **state == State::Free).map(|(offset, _)| *offset).collect();
            assert!(free.starts_with(&events), "{events:?} of {free:?}");
            for event in &events {
                self.model.events.insert(*event, State::Out(member));
            }
            if !events.is_empty() {
                return events;
            }
            if free.is_empty() && end == offer.until.0.min(self.model.end) && offer.until.0 == u64::MAX {
                // All there is was looked through: what is committed without a gap lies before the position.
                let (position, open) = (self.group.position(), self.model.open().unwrap_or(self.model.end));
                assert_eq!(self.model.events.range(position.0..open.max(position.0)).next(), None, "{position} {open}");
                return Vec::new();
            }
            assert!(end > offer.from.0, "it gets on");
        }
    }

    /// What the log has for an offer, and where the run may end: anywhere from its last event to the one after.
    fn read(&self, offer: Offer, end: u64) -> (Vec<u64>, u64) {
        let until = offer.until.0.min(self.model.end);
        let all = self.model.events.range(offer.from.0..until).map(|(offset, _)| *offset);
        let mut events: Vec<u64> = all.take(offer.events + 1).collect();
        let next = if events.len() > offer.events { events.pop().unwrap() } else { until };
        let least = events.last().map_or(until.min(offer.from.0 + 1), |last| last + 1);
        (events, least + end % (next - least + 1))
    }

    fn commit(&mut self, member: usize, offset: u64) -> bool {
        self.model.expire(self.now);
        let before = self.group.position();
        let checked = self.group.check(Millis(self.now), &name(member), Offset(offset));
        if let Some((until, _)) = self.model.members.get_mut(&member) {
            *until = self.now + SESSION.0;
        }
        if !self.model.members.contains_key(&member) || !self.model.has(member, offset) {
            let refused = checked.unwrap_err();
            assert!(matches!(refused, Refusal::NoMember(_) | Refusal::NotDelivered { .. }));
            assert_eq!(self.group.position(), before, "nothing has moved");
            return false;
        }
        self.durable = checked.unwrap();
        self.group.commit(&name(member), Offset(offset));
        assert_eq!(self.group.position(), self.durable, "what is stored is what it comes to");
        for (&event, state) in self.model.events.range_mut(..=offset) {
            if *state == State::Out(member) {
                *state = State::Done;
                self.model.ever_committed.insert(event);
            }
        }
        self.model.members.get_mut(&member).unwrap().1 = Some(offset);
        true
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(3_000))]
    #[test]
    fn every_event_goes_to_one_member_until_it_is_committed(ops in vec(op(), 1..150)) {
        let mut trial = Trial::new();
        for op in &ops {
            trial.apply(op);
        }
        // In the end somebody reads what is left: nothing was skipped.
        trial.apply(&Op::Wait(SESSION.0));
        loop {
            let given = trial.poll(9, 3, None, ops.len() as u64);
            let Some(last) = given.last() else { break };
            assert!(trial.commit(9, *last));
        }
        let all: BTreeSet<u64> = trial.model.events.keys().copied().collect();
        prop_assert_eq!(&trial.model.ever_committed, &all);
    }
}

/// A group in whose topic each of `end` offsets is an event.
fn deliver(group: &mut Group, now: u64, member: usize, received: Option<u64>, max: usize) -> Result<Vec<u64>, Refusal> {
    let offer = group.offer(Millis(now), &name(member), SESSION, received.map(Offset), max)?;
    let end = (offer.from.0 + offer.events as u64).min(offer.until.0);
    let events: Vec<u64> = (offer.from.0..end).collect();
    group.deliver(Millis(now), &name(member), offer, Offset(end), events.iter().copied().map(Offset).collect());
    Ok(events)
}

#[test]
fn who_never_commits_gets_no_more() {
    let mut group = Group::new(Offset(5));
    assert_eq!(deliver(&mut group, 0, 0, None, 2 * MEMBER_UNCOMMITTED_MAX).unwrap().len(), MEMBER_UNCOMMITTED_MAX);
    let last = 4 + MEMBER_UNCOMMITTED_MAX as u64;
    assert_eq!(deliver(&mut group, 0, 0, Some(last), 1), Err(Refusal::MemberFull(name(0))));
    // Part of it is done: as much comes again.
    group.check(Millis(0), &name(0), Offset(7)).unwrap();
    group.commit(&name(0), Offset(7));
    assert_eq!(deliver(&mut group, 0, 0, Some(last), 10).unwrap(), [last + 1, last + 2, last + 3]);
    for member in 1..GROUP_UNCOMMITTED_MAX / MEMBER_UNCOMMITTED_MAX {
        deliver(&mut group, 0, member, None, MEMBER_UNCOMMITTED_MAX).unwrap();
    }
    assert_eq!(group.uncommitted(), GROUP_UNCOMMITTED_MAX);
    assert_eq!(deliver(&mut group, 0, 77, None, 1), Err(Refusal::GroupFull));
    assert_eq!(group.position(), Offset(8));
}

#[test]
fn members_are_bounded_and_make_room_when_they_are_gone() {
    let mut group = Group::new(Offset(0));
    for member in 0..MEMBERS_MAX {
        assert_eq!(deliver(&mut group, 0, member, None, 1).unwrap(), [member as u64]);
    }
    assert_eq!(deliver(&mut group, SESSION.0 - 1, MEMBERS_MAX, None, 1), Err(Refusal::Members));
    assert_eq!(deliver(&mut group, SESSION.0, MEMBERS_MAX, None, 3).unwrap(), [0, 1, 2]);
    assert_eq!(group.members(Millis(SESSION.0)).len(), 1);
}

#[test]
fn a_lost_answer_is_given_again() {
    let mut group = Group::new(Offset(0));
    assert_eq!(deliver(&mut group, 0, 0, None, 3).unwrap(), [0, 1, 2]);
    assert_eq!(deliver(&mut group, 0, 0, Some(2), 3).unwrap(), [3, 4, 5]);
    // It knows of nothing after 2; another has begun after it.
    assert_eq!(deliver(&mut group, 0, 1, None, 2).unwrap(), [6, 7]);
    assert_eq!(deliver(&mut group, 0, 0, Some(2), 9).unwrap(), [3, 4, 5]);
    // A new process of the same name knows of nothing at all.
    assert_eq!(deliver(&mut group, 0, 0, None, 9).unwrap(), [0, 1, 2, 3, 4, 5]);
    assert_eq!(group.check(Millis(0), &name(0), Offset(5)), Ok(Offset(6)));
    group.commit(&name(0), Offset(5));
    assert_eq!(group.position(), Offset(6), "7 is the other's");
    let stranger = group.check(Millis(0), &name(0), Offset(7));
    assert_eq!(stranger, Err(Refusal::NotDelivered { member: name(0), offset: Offset(7) }));
}

#[test]
fn names() {
    let long = "x".repeat(100);
    for good in ["a", "A-1_b.c", "0", "_", &long] {
        assert_eq!(Name::parse(good).unwrap().as_str(), good);
    }
    let longer = "x".repeat(101);
    let huge = "x".repeat(64 << 10);
    for bad in ["", ".", "..", "../a", ".a", "-a", "a/b", "a b", "ä", "🎫", "a\0", "a\n", "a%2f", &longer, &huge] {
        assert_eq!(Name::parse(bad), None, "{bad:?}");
    }
}
