//! The panes an owner keeps: merged, closed by the watermark, revised by what comes late, forgotten. `docs/semantics.md`, "Windows".
//! The lateness rule itself is `is_late` below; workers ask it before they aggregate, owners before they forget.
//!
//! A tumbling or hopping window is kept as *slices* that its panes share (`fixed`), a session window by group (`session`). Both say which rows are due; which of
//! those there are, by `having` and `top`, is decided in `shown`.

mod fixed;
mod session;
mod shown;

use std::sync::Arc;

use uuid::Uuid;

use crate::core::aggregate::{Contribution, PaneKey, Partial, encode_key};
use crate::core::columns::GroupValue;
use crate::core::encoding::{NotAPane, put_count, take, take_count, take_micros};
use crate::core::epoch::Cut;
use crate::core::identity::{digest, metric_id};
use crate::core::plan::{Plan, WindowKind, WindowPlan};
use crate::core::row::WindowRow;
use crate::core::units::{Micros, Millis};
use crate::core::window::fixed::Fixed;
use crate::core::window::session::{Session, Sessions};
use crate::core::window::shown::Shown;

/// A tuple of group values.
type Group = Vec<GroupValue>;

/// An event is late for a pane once the watermark has passed its end by the allowance.
#[must_use]
pub fn is_late(window: &WindowPlan, end: Micros, watermark: Micros) -> bool {
    end.plus(window.late_allow) <= watermark
}

/// The end of the last pane that an event of this time goes into: if it is late for that, it is late for the window.
#[must_use]
pub fn last_end(window: &WindowPlan, time: Micros) -> Micros {
    match window.kind {
        WindowKind::Tumbling { every } => floor(time, every).plus(every),
        WindowKind::Hopping { size, every } => floor(time, every).plus(size),
        WindowKind::Session { gap } => time.plus(gap),
    }
}

/// The largest multiple of `step` that is not after `time`: windows are aligned to Unix time zero.
#[must_use]
pub fn floor(time: Micros, step: Micros) -> Micros {
    Micros(time.0.div_euclid(step.0).saturating_mul(step.0))
}

impl WindowKind {
    /// Where the pane of this start ends, if panes are fixed; a session of one event otherwise.
    #[must_use]
    pub fn end(self, start: Micros) -> Micros {
        match self {
            Self::Tumbling { every } => start.plus(every),
            Self::Hopping { size, .. } => start.plus(size),
            Self::Session { gap } => start.plus(gap),
        }
    }

    /// The starts of the panes that an event of this time goes into, if they are fixed.
    pub fn starts(self, time: Micros) -> impl Iterator<Item = Micros> {
        let (size, every) = match self {
            Self::Tumbling { every } => (every, every),
            Self::Hopping { size, every } => (size, every),
            // None.
            Self::Session { gap } => (Micros(0), gap),
        };
        let last = floor(time, every);
        let covers = move |start: &Micros| start.plus(size) > time;
        std::iter::successors(Some(last), move |start| Some(start.minus(every))).take_while(covers)
    }
}

/// Bytes that are the same for all keys that must meet at one owner.
pub fn owner_bytes(window: &WindowPlan, key: &PaneKey, into: &mut Vec<u8>) {
    // A group's slices and sessions meet, whatever their starts, and so do its panes where an alert compares them; groups that compete meet,
    // whatever their values.
    let apart = matches!(window.kind, WindowKind::Tumbling { .. }) && !window.watched;
    let start = apart.then_some(key.start);
    let group = if window.top.is_some() { &[] } else { key.group.as_slice() };
    encode_key(key.window, start.unwrap_or_default(), group, into);
}

/// The rows that an epoch changes.
#[derive(Debug, Default)]
pub struct Changes {
    /// Published, in order of (window, start, group).
    pub rows: Vec<WindowRow>,
    /// Rows that are no more.
    pub removed: Vec<Uuid>,
}

/// A pane whose row would be published now.
#[derive(Clone, Debug)]
struct Due {
    start: Micros,
    end: Micros,
    group: Group,
    partial: Partial,
    closed: bool,
    revision: u32,
    /// Of a session: it, or one that it took in, was due under this start before. (Which rows of other windows stand, `Shown` knows.)
    shown_before: bool,
}

/// What a window's epoch is ended with.
#[derive(Clone, Copy, Debug)]
struct Ending<'a> {
    window: &'a WindowPlan,
    /// Panes that end by then are closed.
    closing: Micros,
    /// Panes that ended by then were closed before.
    closed_to: Micros,
    /// Open rows that changed are shown.
    emit: bool,
}

#[derive(Debug)]
enum Kept {
    Fixed(Fixed),
    Sessions(Sessions),
}

#[derive(Debug)]
struct WindowPanes {
    kept: Kept,
    shown: Shown,
    last_emit: Millis,
    /// Something came since open rows were last shown.
    unpublished: bool,
    closed_to: Micros,
}

/// All panes of the key groups that one worker owns.
#[derive(Debug)]
pub struct Panes {
    plan: Arc<Plan>,
    windows: Vec<WindowPanes>,
}

impl Panes {
    #[must_use]
    pub fn new(plan: Arc<Plan>) -> Self {
        let of_window = |window: &WindowPlan| WindowPanes {
            kept: match window.kind {
                WindowKind::Tumbling { .. } | WindowKind::Hopping { .. } => Kept::Fixed(Fixed::default()),
                WindowKind::Session { .. } => Kept::Sessions(Sessions::default()),
            },
            shown: Shown::default(),
            last_emit: Millis(0),
            unpublished: false,
            closed_to: Micros::MIN,
        };
        Self { windows: plan.windows.iter().map(of_window).collect(), plan }
    }

    fn of(&mut self, window: usize) -> (&WindowPlan, &mut WindowPanes) {
        match (self.plan.windows.get(window), self.windows.get_mut(window)) {
            (Some(plan), Some(panes)) => (plan, panes),
            _ => panic!("window {window} is none of the plan's"),
        }
    }

    /// Merges what came of an epoch.
    pub fn merge(&mut self, Contribution { key, last, partial }: Contribution) {
        let (window, panes) = self.of(key.window);
        panes.unpublished = true;
        match (&mut panes.kept, window.kind) {
            (Kept::Fixed(fixed), _) => fixed.merge(window, panes.closed_to, key.start, key.group, partial),
            (Kept::Sessions(sessions), WindowKind::Session { gap }) => {
                sessions.merge(gap, key.group, Session::new(key.start, last, partial));
            }
            (Kept::Sessions(_), _) => panic!("sessions are kept of session windows"),
        }
    }

    /// Ends an epoch of one pipeline's windows: publishes what closes, what was revised and what is due to be shown open, and forgets what nothing can reach
    /// any more. `closing` says, by window, up to where panes close.
    pub fn finish(&mut self, cut: &Cut, closing: impl Fn(usize, &WindowPlan) -> Micros) -> Changes {
        let mut changes = Changes::default();
        for (index, (panes, window)) in self.windows.iter_mut().zip(&self.plan.windows).enumerate() {
            let due_at = |emit: Micros| cut.ingest.micros() >= panes.last_emit.micros().plus(emit);
            let emit = window.emit.is_some_and(|emit| cut.idle.is_some() || due_at(emit));
            if emit {
                panes.last_emit = cut.ingest;
                panes.unpublished = false;
            }
            let ending = Ending { window, closing: closing(index, window), closed_to: panes.closed_to, emit };
            let (due, replaced) = match &mut panes.kept {
                Kept::Fixed(fixed) => (fixed.due(&ending), Vec::new()),
                Kept::Sessions(sessions) => sessions.due(&ending),
            };
            let names = Names { plan: &self.plan, index, window, cut };
            changes.removed.extend(replaced.iter().map(|(start, group)| names.id(*start, group)));
            panes.shown.publish(&names, due, &panes.kept, &ending, &mut changes);
            match &mut panes.kept {
                Kept::Fixed(fixed) => fixed.forget(window, ending.closing),
                Kept::Sessions(sessions) => sessions.forget(window, ending.closing),
            }
            panes.shown.forget(window, ending.closing);
            panes.closed_to = ending.closing;
        }
        changes
    }

    /// The earliest end of a pane of this pipeline that is not closed yet.
    #[must_use]
    pub fn next_close(&self, pipeline: usize) -> Option<Micros> {
        let windows = self.windows.iter().zip(&self.plan.windows).filter(|(_, window)| window.pipeline == pipeline);
        let next = |(panes, window): (&WindowPanes, &WindowPlan)| match &panes.kept {
            Kept::Fixed(fixed) => fixed.next_close(window, panes.closed_to),
            Kept::Sessions(sessions) => sessions.next_close(panes.closed_to),
        };
        windows.filter_map(next).min()
    }

    /// The earliest ingest time at which open rows that changed may be shown.
    #[must_use]
    pub fn next_emit(&self) -> Option<Millis> {
        let waiting = self.windows.iter().zip(&self.plan.windows).filter(|(panes, _)| panes.unpublished);
        let emit_ms = |emit: Micros| u64::try_from(emit.0.saturating_add(999) / 1000).unwrap_or(0);
        waiting
            .filter_map(|(panes, window)| Some(Millis(panes.last_emit.0.saturating_add(emit_ms(window.emit?)))))
            .min()
    }

    /// By window, the number of slices and sessions kept.
    pub fn kept(&self) -> impl Iterator<Item = usize> {
        self.windows.iter().map(|panes| match &panes.kept {
            Kept::Fixed(fixed) => fixed.len(),
            Kept::Sessions(sessions) => sessions.len(),
        })
    }

    /// Number of slices and sessions kept.
    #[must_use]
    pub fn len(&self) -> usize {
        self.kept().sum()
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// For a checkpoint: calls `entry` with the owner's bytes and the encoded entry of each thing that is kept, in no particular order.
    pub fn save(&self, entry: impl FnMut(&[u8], &[u8])) {
        self.save_as(&self.plan, Some, entry);
    }

    /// The same for another plan, in which `place` says where each window is, if it is there.
    pub fn save_as(&self, plan: &Plan, place: impl Fn(usize) -> Option<usize>, mut entry: impl FnMut(&[u8], &[u8])) {
        for (panes, index) in self.windows.iter().zip((0..).map(place)) {
            let Some((index, window)) = index.and_then(|index| Some((index, plan.windows.get(index)?))) else {
                continue;
            };
            let mut save = |start: Micros, group: &Group, what: Saved| {
                let key = PaneKey { window: index, start, group: group.clone() };
                let (mut owner, mut bytes) = (Vec::new(), Vec::new());
                owner_bytes(window, &key, &mut owner);
                key.encode(&mut bytes);
                what.encode(&mut bytes);
                entry(&owner, &bytes);
            };
            match &panes.kept {
                Kept::Fixed(fixed) => fixed.save(&mut save),
                Kept::Sessions(sessions) => sessions.save(&mut save),
            }
            panes.shown.save(&mut save);
        }
    }

    /// Takes one entry of a checkpoint off the front of `rest` and puts it in its place.
    ///
    /// # Errors
    /// If the bytes are no entry of this plan.
    pub fn restore(&mut self, rest: &mut &[u8]) -> Result<(), NotAPane> {
        let key = PaneKey::decode(rest)?;
        let plan = Arc::clone(&self.plan);
        let window = plan.windows.get(key.window).ok_or(NotAPane("a window that the plan does not have"))?;
        let what = Restored::decode(&plan, window, key.start, rest)?;
        let (_, panes) = self.of(key.window);
        match (what, &mut panes.kept) {
            (Restored::Slice { partial, changed }, Kept::Fixed(fixed)) => {
                panes.unpublished |= changed;
                fixed.restore_slice(key.start, key.group, partial, changed);
            }
            (Restored::Revision(revision), Kept::Fixed(fixed)) => {
                fixed.restore_revision(key.start, key.group, revision);
            }
            (Restored::Session(session), Kept::Sessions(sessions)) => {
                panes.unpublished |= session.changed;
                sessions.restore(window, key.group, *session);
            }
            (Restored::Shown { end }, _) => panes.shown.restore(key.start, end, key.group),
            _ => return Err(NotAPane("an entry of another kind of window")),
        }
        Ok(())
    }

    /// When each window last showed its open rows; a checkpoint keeps it.
    #[must_use]
    pub fn last_emits(&self) -> Vec<Millis> {
        self.windows.iter().map(|w| w.last_emit).collect()
    }

    /// Out of a checkpoint of a batch: no pane was closed yet.
    pub fn closed_none(&mut self) {
        self.windows.iter_mut().for_each(|panes| panes.closed_to = Micros::MIN);
    }

    /// Takes over from others of the same plan when a pipeline's windows last showed their open rows, and up to where their panes are closed.
    pub fn adopt_common(&mut self, pipeline: usize, of: &Self) {
        for ((mine, window), theirs) in self.windows.iter_mut().zip(&self.plan.windows).zip(&of.windows) {
            if window.pipeline == pipeline {
                (mine.last_emit, mine.closed_to) = (theirs.last_emit, theirs.closed_to);
            }
        }
    }

    /// Out of a checkpoint: when each window last showed its open rows, and by pipeline up to where panes are closed.
    pub fn restore_common(&mut self, last_emits: &[Millis], closed_to: impl Fn(usize) -> Micros) {
        assert_eq!(last_emits.len(), self.windows.len(), "a checkpoint of another plan");
        for ((panes, window), &last_emit) in self.windows.iter_mut().zip(&self.plan.windows).zip(last_emits) {
            panes.last_emit = last_emit;
            panes.closed_to = closed_to(window.pipeline);
        }
    }
}

/// What a row is called and what it is made of.
#[derive(Clone, Copy, Debug)]
struct Names<'a> {
    plan: &'a Plan,
    index: usize,
    window: &'a WindowPlan,
    cut: &'a Cut,
}

impl Names<'_> {
    fn id(&self, start: Micros, group: &[GroupValue]) -> Uuid {
        metric_id(&self.plan.identity(self.window.pipeline), &self.window.name, start, group)
    }

    fn row(&self, due: Due) -> WindowRow {
        let metric_id = self.id(due.start, &due.group);
        let values = due.partial.values(self.window);
        let event_count = due.partial.event_count();
        let digest = if due.closed { digest(metric_id, &values, event_count) } else { 0 };
        WindowRow {
            metric_id,
            window: self.index,
            start: due.start,
            end: due.end,
            group: due.group,
            values,
            event_count,
            revision: due.revision,
            closed: due.closed,
            digest,
            epoch: self.cut.epoch,
        }
    }
}

/// What a checkpoint holds under a (window, start, group): after the key a byte that says which, then
///
/// ```text
/// 0  a slice     1 changed (byte), partial
/// 1  a session   last (i64), flags (byte: 1 changed, 2 closed once, 4 closed), revision (u32), number of starts (count), starts (i64 each), partial
/// 2  a revision  u32
/// 3  shown       end (i64)
/// ```
#[derive(Debug)]
enum Saved<'a> {
    Slice { partial: &'a Partial, changed: bool },
    Session(&'a Session),
    Revision(u32),
    Shown { end: Micros },
}

/// The same, read back.
enum Restored {
    Slice { partial: Partial, changed: bool },
    Session(Box<Session>),
    Revision(u32),
    Shown { end: Micros },
}

impl Saved<'_> {
    fn encode(&self, into: &mut Vec<u8>) {
        match self {
            Self::Slice { partial, changed } => {
                into.extend([0, u8::from(*changed)]);
                partial.encode(into);
            }
            Self::Session(session) => {
                into.push(1);
                into.extend_from_slice(&session.last.0.to_le_bytes());
                let flags = [session.changed, session.closed_once, session.closed].map(u8::from);
                into.push(flags[0] | flags[1] << 1 | flags[2] << 2);
                into.extend_from_slice(&session.revision.to_le_bytes());
                put_count(session.due_as.len() as u64, into);
                session.due_as.iter().for_each(|start| into.extend_from_slice(&start.0.to_le_bytes()));
                session.partial.encode(into);
            }
            Self::Revision(revision) => {
                into.push(2);
                into.extend_from_slice(&revision.to_le_bytes());
            }
            Self::Shown { end } => {
                into.push(3);
                into.extend_from_slice(&end.0.to_le_bytes());
            }
        }
    }
}

impl Restored {
    /// `start` is the key's.
    fn decode(plan: &Plan, window: &WindowPlan, start: Micros, rest: &mut &[u8]) -> Result<Self, NotAPane> {
        let [which] = take(rest)?;
        Ok(match which {
            0 => {
                let [changed] = take(rest)?;
                Self::Slice { partial: Partial::decode(plan, window, rest)?, changed: changed != 0 }
            }
            1 => {
                let last = take_micros(rest)?;
                let [flags] = take(rest)?;
                let revision = u32::from_le_bytes(take(rest)?);
                let due_as = (0..take_count(rest)?).map(|_| take_micros(rest)).collect::<Result<_, _>>()?;
                let partial = Partial::decode(plan, window, rest)?;
                let [changed, closed_once, closed] = [1, 2, 4].map(|flag| flags & flag != 0);
                let mut session = Session::new(start, last, partial);
                (session.changed, session.closed_once, session.closed) = (changed, closed_once, closed);
                (session.revision, session.due_as) = (revision, due_as);
                Self::Session(Box::new(session))
            }
            2 => Self::Revision(u32::from_le_bytes(take(rest)?)),
            3 => Self::Shown { end: take_micros(rest)? },
            _ => return Err(NotAPane("an unknown kind of entry")),
        })
    }
}
