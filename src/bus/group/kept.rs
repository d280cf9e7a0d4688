//! A group with what the store knows of it: what each request comes to, in steps between which is read or stored what they say. Who carries them out does
//! so for one request of a group at a time; a request may end between any two of them, and nothing is lost.

use crate::bus::group::{Group, MemberView, Name, Offer, Refusal};
use crate::core::units::{Millis, Offset};

#[derive(Clone, Debug)]
pub struct Kept {
    group: Group,
    /// The position in the store, as far as it is known.
    stored: Offset,
    /// Something else may be in the store since: a try was begun, and is not known to be done.
    in_doubt: bool,
    store_after: u64,
    forgotten: bool,
}

/// A member asks for events.
#[derive(Clone, Debug)]
pub struct Ask {
    pub member: Name,
    pub max: usize,
    pub session: Millis,
    /// The last of its uncommitted events that has reached it.
    pub received: Option<Offset>,
}

/// What a poll needs next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Turn {
    /// This is to be read, and then `delivered`.
    Read(Offer),
    /// What comes next is no longer retained, and the member says where to go on: `position_without` that is to be stored, and then it is to be
    /// `left_out`; then the poll begins again.
    LeaveOut,
}

/// What a commit that is allowed comes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Commit {
    /// Of the group, when it is done.
    pub position: Offset,
    /// That is to be stored before it is `committed`.
    pub store: bool,
}

impl Kept {
    /// Goes on from its position, which is stored. Where it moves by so much though nothing is committed, that is stored too.
    /// The first commit is stored in any case, so that what an earlier life still has under way to the store cannot undo it.
    #[must_use]
    pub fn new(position: Offset, store_after: u64) -> Self {
        Self { group: Group::new(position), stored: position, in_doubt: true, store_after, forgotten: false }
    }

    /// A member asks, of a log whose oldest event is this one.
    ///
    /// # Errors
    /// As `Group::offer`; `Forgotten`; `Gone` where the member does not say where to go on.
    pub fn poll(&mut self, now: Millis, ask: &Ask, oldest: Offset, says_where: bool) -> Result<Turn, Refusal> {
        self.check()?;
        let offer = self.group.offer(now, &ask.member, ask.session, ask.received, ask.max)?;
        match offer.from < oldest {
            false => Ok(Turn::Read(offer)),
            true if says_where => Ok(Turn::LeaveOut),
            true => Err(Refusal::Gone { asked: offer.from, oldest }),
        }
    }

    /// The position that the group has if what was returned, or was not delivered yet, is left out up to here.
    #[must_use]
    pub fn position_without(&self, until: Offset) -> Offset {
        let mut without = self.group.clone();
        without.leave_out(until);
        without.position()
    }

    /// `position_without` it is stored.
    pub fn left_out(&mut self, until: Offset) {
        self.group.leave_out(until);
        self.stored(self.group.position());
    }

    /// What was offered is read: as `Group::deliver`. Gives the position, if it has moved so far that it is to be stored.
    pub fn delivered(
        &mut self,
        now: Millis,
        name: &Name,
        offer: Offer,
        end: Offset,
        events: Vec<Offset>,
    ) -> Option<Offset> {
        self.group.deliver(now, name, offer, end, events);
        let position = self.group.position();
        let far = position.0.saturating_sub(self.stored.0) >= self.store_after;
        far.then_some(position)
    }

    /// A member has done all that it has up to this offset.
    ///
    /// # Errors
    /// As `Group::check`; `Forgotten`.
    pub fn commit(&mut self, now: Millis, name: &Name, offset: Offset) -> Result<Commit, Refusal> {
        self.check()?;
        let position = self.group.check(now, name, offset)?;
        Ok(Commit { position, store: self.in_doubt || self.stored != position })
    }

    /// What `commit` said is stored.
    pub fn committed(&mut self, name: &Name, offset: Offset, position: Offset) {
        self.group.commit(name, offset);
        self.stored(position);
    }

    pub fn stored(&mut self, position: Offset) {
        (self.stored, self.in_doubt) = (position, false);
    }

    /// A position is about to be stored, or the group to be taken out: until that is said to be done, it may be or not.
    pub fn storing(&mut self) {
        self.in_doubt = true;
    }

    /// The group is gone from the store, or about to be: whoever still waits for its turn is told.
    pub fn forget(&mut self) {
        self.forgotten = true;
    }

    fn check(&self) -> Result<(), Refusal> {
        if self.forgotten { Err(Refusal::Forgotten) } else { Ok(()) }
    }

    #[must_use]
    pub fn position(&self) -> Offset {
        self.group.position()
    }

    /// Events of all topics from the position to the log's end: no fewer than are to be read.
    #[must_use]
    pub fn lag_at_most(&self, end: Offset) -> u64 {
        end.0.saturating_sub(self.position().0)
    }

    /// Delivered, and not committed.
    #[must_use]
    pub fn uncommitted(&self) -> usize {
        self.group.uncommitted()
    }

    /// Those whose session has not ended.
    #[must_use]
    pub fn members(&self, now: Millis) -> Vec<MemberView> {
        self.group.members(now)
    }

    /// When the next session ends, if nothing is heard of its member.
    #[must_use]
    pub fn deadline(&self) -> Option<Millis> {
        self.group.deadline()
    }
}
