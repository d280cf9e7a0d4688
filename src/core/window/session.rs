//! Session windows of one plan: by group, runs of events that lie less than the gap apart.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use crate::core::aggregate::Partial;
use crate::core::plan::{WindowKind, WindowPlan};
use crate::core::units::Micros;
use crate::core::window::{Due, Ending, Group, Saved, is_late};

/// A session so far: `[start, last + gap)`.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Session {
    pub start: Micros,
    pub last: Micros,
    pub partial: Partial,
    /// Something came since it was last due.
    pub changed: bool,
    /// It was due closed once.
    pub closed_once: bool,
    /// It was due closed the last time.
    pub closed: bool,
    pub revision: u32,
    /// The starts under which it, or a session that it took in, was due before.
    pub due_as: BTreeSet<Micros>,
}

impl Session {
    /// A run of events that no session has yet.
    pub(super) fn new(start: Micros, last: Micros, partial: Partial) -> Self {
        Self {
            start,
            last,
            partial,
            changed: true,
            closed_once: false,
            closed: false,
            revision: 0,
            due_as: BTreeSet::new(),
        }
    }

    fn take_in(&mut self, other: Self) {
        self.start = self.start.min(other.start);
        self.last = self.last.max(other.last);
        self.partial.merge(&other.partial);
        self.changed = true;
        self.closed_once |= other.closed_once;
        self.revision = self.revision.max(other.revision);
        self.due_as.extend(other.due_as);
    }
}

#[derive(Debug, Default)]
pub(super) struct Sessions {
    /// In no order, and never two that meet.
    groups: HashMap<Group, Vec<Session>, foldhash::fast::RandomState>,
    /// By the end of their sessions: which groups closing and forgetting must look at. No two sessions of a group end at one time: they would meet.
    ends: BTreeMap<Micros, BTreeSet<Group>>,
    /// Into which something came in this epoch.
    touched: BTreeSet<Group>,
    /// Into which something came since open rows were last shown.
    unshown: BTreeSet<Group>,
    len: usize,
}

fn gap_of(window: &WindowPlan) -> Micros {
    match window.kind {
        WindowKind::Session { gap } => gap,
        WindowKind::Tumbling { .. } | WindowKind::Hopping { .. } => panic!("sessions are of session windows"),
    }
}

/// Nothing that is not late can reach a session whose end lies so far back: an event that does has a time before its end.
fn is_unreachable(window: &WindowPlan, end: Micros, closing: Micros) -> bool {
    is_late(window, end.plus(gap_of(window)), closing)
}

impl Sessions {
    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// Merges a run of events: the sessions that it reaches become one with it.
    pub(super) fn merge(&mut self, gap: Micros, group: Group, mut run: Session) {
        let sessions = self.groups.entry(group.clone()).or_default();
        let meets = |s: &Session| run.start < s.last.plus(gap) && s.start < run.last.plus(gap);
        let (met, mut kept): (Vec<_>, Vec<_>) = std::mem::take(sessions).into_iter().partition(meets);
        self.len -= met.len();
        for session in met {
            if let Some(groups) = self.ends.get_mut(&session.last.plus(gap)) {
                groups.remove(&group);
            }
            run.take_in(session);
        }
        self.ends.entry(run.last.plus(gap)).or_default().insert(group.clone());
        kept.push(run);
        *sessions = kept;
        self.len += 1;
        self.touched.insert(group.clone());
        self.unshown.insert(group);
    }

    /// The sessions whose rows are due, by start and group, and the (start, group) of rows that they replace.
    pub(super) fn due(&mut self, ending: &Ending) -> (Vec<Due>, Vec<(Micros, Group)>) {
        let gap = gap_of(ending.window);
        let mut groups = std::mem::take(&mut self.touched);
        let newly = self.ends.range(ending.closed_to..=ending.closing.max(ending.closed_to));
        groups.extend(newly.flat_map(|(_, groups)| groups).cloned());
        if ending.emit {
            groups.append(&mut self.unshown);
        }
        let (mut due, mut replaced) = (Vec::new(), Vec::new());
        for group in groups {
            for session in self.groups.get_mut(&group).into_iter().flatten() {
                let end = session.last.plus(gap);
                let ended = end <= ending.closing;
                if !(if ended { session.changed || !session.closed } else { session.changed && ending.emit }) {
                    continue;
                }
                session.revision += u32::from(session.closed_once);
                (session.changed, session.closed) = (false, ended);
                session.closed_once |= ended;
                let shown_before = session.due_as.remove(&session.start);
                let others = std::mem::take(&mut session.due_as);
                replaced.extend(others.into_iter().map(|start| (start, group.clone())));
                session.due_as.insert(session.start);
                due.push(Due {
                    start: session.start,
                    end,
                    group: group.clone(),
                    partial: session.partial.clone(),
                    closed: ended,
                    revision: session.revision,
                    shown_before,
                });
            }
        }
        due.sort_unstable_by(|a, b| (a.start, &a.group).cmp(&(b.start, &b.group)));
        (due, replaced)
    }

    /// Drops what only late events could reach.
    pub(super) fn forget(&mut self, window: &WindowPlan, closing: Micros) {
        let gap = gap_of(window);
        while let Some(first) = self.ends.first_entry() {
            let end = *first.key();
            if !is_unreachable(window, end, closing) {
                break;
            }
            for group in first.remove() {
                let Some(sessions) = self.groups.get_mut(&group) else { continue };
                let before = sessions.len();
                sessions.retain(|session| session.last.plus(gap) != end);
                self.len -= before - sessions.len();
                if sessions.is_empty() {
                    self.groups.remove(&group);
                    self.unshown.remove(&group);
                }
            }
        }
    }

    /// The earliest end of a session that is not closed yet.
    pub(super) fn next_close(&self, closed_to: Micros) -> Option<Micros> {
        let after = (std::ops::Bound::Excluded(closed_to), std::ops::Bound::Unbounded);
        self.ends.range(after).find(|(_, groups)| !groups.is_empty()).map(|(end, _)| *end)
    }

    pub(super) fn save(&self, save: &mut impl FnMut(Micros, &Group, Saved)) {
        for (group, sessions) in &self.groups {
            for session in sessions {
                save(session.start, group, Saved::Session(session));
            }
        }
    }

    pub(super) fn restore(&mut self, window: &WindowPlan, group: Group, session: Session) {
        self.ends.entry(session.last.plus(gap_of(window))).or_default().insert(group.clone());
        if session.changed {
            self.unshown.insert(group.clone());
        }
        self.groups.entry(group).or_default().push(session);
        self.len += 1;
    }
}
