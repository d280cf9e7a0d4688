//! The sessions of one group, made anew from all of its events that are not forgotten.

use std::collections::BTreeMap;
use std::rc::Rc;

use super::Happened;
use super::window::{Pane, Passed, Taken};

/// The group's sessions by their starts. `before`: those after the epoch before; `arrived`: the epoch's events.
pub fn sessions(
    gap: i64,
    before: BTreeMap<i64, Pane>,
    arrived: Vec<Rc<Taken>>,
    passed: Passed,
    happened: &mut Happened,
) -> BTreeMap<i64, Pane> {
    let mut events: Vec<Rc<Taken>> = before.values().flat_map(|pane| pane.events.iter().cloned()).collect();
    events.extend(arrived);
    // Of equal times the log's order is kept.
    events.sort_by_key(|event| (event.time, event.offset));
    let mut sets: Vec<Vec<Rc<Taken>>> = Vec::new();
    for event in events {
        match sets.last_mut() {
            Some(set) if event.time - set[set.len() - 1].time < gap => set.push(event),
            _ => sets.push(vec![event]),
        }
    }
    let mut before = before;
    let mut sessions = BTreeMap::new();
    for events in sets {
        let (start, last) = (events[0].time, events[events.len() - 1].time);
        // A session never loses an event, so each of before is part of the one that holds its start.
        let parents: Vec<(i64, Pane)> = before.extract_if(start..=last, |_, _| true).collect();
        let session = session(i128::from(last) + i128::from(gap), events, parents, passed, happened);
        sessions.insert(start, session);
    }
    assert!(before.is_empty(), "sessions whose events are nowhere");
    sessions
}

fn session(
    end: i128,
    events: Vec<Rc<Taken>>,
    parents: Vec<(i64, Pane)>,
    passed: Passed,
    happened: &mut Happened,
) -> Pane {
    let mut session = Pane { events, ..Pane::new(end) };
    happened.note("sessions merged", u64::from(parents.len() > 1));
    if let [(_, parent)] = parents.as_slice() {
        (session.shown, session.shown_closed) = (parent.shown, parent.shown_closed);
        let again = parent.shown_closed && !passed.is(end);
        happened.note("sessions reopened", u64::from(again));
    }
    for (start, parent) in parents {
        session.was_closed |= parent.was_closed;
        session.revision = session.revision.max(parent.revision);
        session.replaced.insert(start);
        session.replaced.extend(parent.replaced);
    }
    session
}
