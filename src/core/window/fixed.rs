//! Tumbling and hopping windows of one plan: panes made of slices. A tumbling pane is one slice; hopping panes share theirs, so an event is kept once however many
//! panes it goes into. Which panes are closed follows from the watermark; only revisions are noted, and there are few.

use std::collections::hash_map::Entry;
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use crate::core::aggregate::Partial;
use crate::core::plan::{WindowKind, WindowPlan};
use crate::core::units::Micros;
use crate::core::window::{Due, Ending, Group, Saved, floor, is_late, last_end};

type ByGroup<T> = HashMap<Group, T, foldhash::fast::RandomState>;

/// One group's part of a slice.
#[derive(Debug)]
struct Slice {
    partial: Partial,
    /// Something came since open rows were last shown.
    changed: bool,
}

/// Something came into a slice of which a pane was closed already.
#[derive(Debug)]
struct Touched {
    slice: Micros,
    group: Group,
    /// The group had nothing in the slice before.
    fresh: bool,
}

#[derive(Debug, Default)]
pub(super) struct Fixed {
    slices: BTreeMap<Micros, ByGroup<Slice>>,
    /// By the pane's start; those above 0.
    revisions: BTreeMap<Micros, ByGroup<u32>>,
    touched: Vec<Touched>,
    len: usize,
}

/// Where a window's panes lie.
#[derive(Clone, Copy)]
struct Grid {
    size: Micros,
    every: Micros,
}

impl Grid {
    fn of(window: &WindowPlan) -> Self {
        match window.kind {
            WindowKind::Tumbling { every } => Self { size: every, every },
            WindowKind::Hopping { size, every } => Self { size, every },
            WindowKind::Session { .. } => panic!("sessions lie on no grid"),
        }
    }

    /// The first end of a pane that covers this slice and ends after `after`.
    fn next_end(self, slice: Micros, after: Micros) -> Option<Micros> {
        let start = floor(slice.max(after).minus(self.size), self.every).plus(self.every);
        (start <= slice).then(|| start.plus(self.size))
    }
}

impl Fixed {
    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// Merges a partial aggregate into its slice; panes that end by `closed_to` are closed.
    pub(super) fn merge(
        &mut self,
        window: &WindowPlan,
        closed_to: Micros,
        slice: Micros,
        group: Group,
        partial: Partial,
    ) {
        let groups = self.slices.entry(slice).or_default();
        let reaches_closed = Grid::of(window).next_end(slice, Micros::MIN).is_some_and(|end| end <= closed_to);
        let of_closed = reaches_closed.then(|| group.clone());
        let fresh = match groups.entry(group) {
            Entry::Occupied(mut kept) => {
                kept.get_mut().partial.merge(&partial);
                kept.get_mut().changed = true;
                false
            }
            Entry::Vacant(place) => {
                place.insert(Slice { partial, changed: true });
                self.len += 1;
                true
            }
        };
        self.touched.extend(of_closed.map(|group| Touched { slice, group, fresh }));
    }

    /// The panes whose rows are due, by start and group.
    pub(super) fn due(&mut self, ending: &Ending) -> Vec<Due> {
        let mut due = self.newly_closed(ending);
        due.append(&mut self.revised(ending));
        if ending.emit {
            due.append(&mut self.open(ending));
            for slice in self.slices.values_mut().flat_map(HashMap::values_mut) {
                slice.changed = false;
            }
        }
        due.sort_unstable_by(|a, b| (a.start, &a.group).cmp(&(b.start, &b.group)));
        due
    }

    fn newly_closed(&mut self, ending: &Ending) -> Vec<Due> {
        let Grid { size, .. } = Grid::of(ending.window);
        let slices = self.slices.range(ending.closed_to.minus(size)..ending.closing.max(ending.closed_to));
        let starts = slices.flat_map(|(&slice, _)| ending.window.kind.starts(slice));
        let ended = |start: &Micros| (ending.closed_to < start.plus(size)) && start.plus(size) <= ending.closing;
        let starts: BTreeSet<Micros> = starts.filter(ended).collect();
        let mut due = Vec::new();
        for start in starts {
            let mut of_start =
                if Self::leaves(ending, start) { self.take(start, size) } else { self.panes(ending, start) };
            // Few at a time: `due` puts all in order, and finds them so.
            of_start.sort_unstable_by(|a, b| a.group.cmp(&b.group));
            due.append(&mut of_start);
        }
        due
    }

    /// Whether the panes of this start, which close now, are asked for only once: each is one slice, which is forgotten with this epoch.
    fn leaves(ending: &Ending, start: Micros) -> bool {
        let Ending { window, closing, .. } = *ending;
        matches!(window.kind, WindowKind::Tumbling { every } if is_late(window, start.plus(every), closing))
            && window.top.is_none()
    }

    /// The panes of this start, which are kept no longer.
    fn take(&mut self, start: Micros, size: Micros) -> Vec<Due> {
        let groups = self.slices.remove(&start).unwrap_or_default();
        self.len -= groups.len();
        let end = start.plus(size);
        let due = groups.into_iter().map(|(group, Slice { partial, .. })| {
            let revision = self.revision(start, &group);
            Due { start, end, group, partial, closed: true, revision, shown_before: false }
        });
        due.collect()
    }

    /// Every pane of this start, as it stands.
    pub(super) fn panes(&self, ending: &Ending, start: Micros) -> Vec<Due> {
        let end = start.plus(Grid::of(ending.window).size);
        let mut slices = self.slices.range(start..end).map(|(_, groups)| groups);
        let mut panes: ByGroup<Partial> = HashMap::default();
        if let Some(first) = slices.next() {
            panes.extend(first.iter().map(|(group, slice)| (group.clone(), slice.partial.clone())));
        }
        for (group, slice) in slices.flatten() {
            match panes.get_mut(group) {
                Some(pane) => pane.merge(&slice.partial),
                None => drop(panes.insert(group.clone(), slice.partial.clone())),
            }
        }
        let closed = end <= ending.closing;
        let due = panes.into_iter().map(|(group, partial)| {
            let revision = self.revision(start, &group);
            Due { start, end, group, partial, closed, revision, shown_before: false }
        });
        due.collect()
    }

    fn revision(&self, start: Micros, group: &Group) -> u32 {
        self.revisions.get(&start).and_then(|of_start| of_start.get(group)).copied().unwrap_or_default()
    }

    /// Panes that were closed before, or had ended before they came into being, into which something came.
    fn revised(&mut self, ending: &Ending) -> Vec<Due> {
        let Grid { size, .. } = Grid::of(ending.window);
        let touched = std::mem::take(&mut self.touched);
        let fresh: HashSet<(Micros, &Group)> =
            touched.iter().filter(|t| t.fresh).map(|t| (t.slice, &t.group)).collect();
        let mut panes: BTreeSet<(Micros, &Group)> = BTreeSet::new();
        for Touched { slice, group, .. } in &touched {
            let starts = ending.window.kind.starts(*slice);
            let closed = starts.filter(|start| start.plus(size) <= ending.closed_to);
            let kept = closed.filter(|start| !is_late(ending.window, start.plus(size), ending.closed_to));
            panes.extend(kept.map(|start| (start, group)));
        }
        let mut due = Vec::new();
        for (start, group) in panes {
            let end = start.plus(size);
            let slices = || self.slices.range(start..end).filter_map(|(&at, groups)| Some((at, groups.get(group)?)));
            if slices().any(|(slice, _)| !fresh.contains(&(slice, group))) {
                *self.revisions.entry(start).or_default().entry(group.clone()).or_default() += 1;
            }
            let Some(partial) = sum(slices().map(|(_, slice)| &slice.partial)) else { continue };
            let revision = self.revision(start, group);
            due.push(Due { start, end, group: group.clone(), partial, closed: true, revision, shown_before: false });
        }
        due
    }

    /// Open panes that changed since open rows were last shown.
    fn open(&self, ending: &Ending) -> Vec<Due> {
        let Grid { size, .. } = Grid::of(ending.window);
        let mut starts: HashMap<&Group, BTreeSet<Micros>, foldhash::fast::RandomState> = HashMap::default();
        // A slice before this one has no open pane.
        for (&slice, groups) in self.slices.range(ending.closing.minus(size)..) {
            let open: Vec<Micros> =
                ending.window.kind.starts(slice).filter(|start| start.plus(size) > ending.closing).collect();
            for (group, _) in groups.iter().filter(|(_, slice)| slice.changed) {
                starts.entry(group).or_default().extend(&open);
            }
        }
        let mut due = Vec::new();
        for (group, starts) in starts {
            let Some(&first) = starts.first() else { continue };
            let slices: Vec<(Micros, &Partial)> =
                self.slices.range(first..).filter_map(|(&at, of)| Some((at, &of.get(group)?.partial))).collect();
            let mut later = Later { slices: &slices, sum: None };
            for &start in starts.iter().rev() {
                let Some(partial) = later.pane(start, start.plus(size)) else { continue };
                let revision = self.revision(start, group);
                due.push(Due {
                    start,
                    end: start.plus(size),
                    group: group.clone(),
                    partial,
                    closed: false,
                    revision,
                    shown_before: false,
                });
            }
        }
        due
    }

    /// Drops what only late events could reach.
    pub(super) fn forget(&mut self, window: &WindowPlan, closing: Micros) {
        while let Some(first) = self.slices.first_entry() {
            if !is_late(window, last_end(window, *first.key()), closing) {
                break;
            }
            self.len -= first.remove().len();
        }
        let Grid { size, .. } = Grid::of(window);
        while let Some(first) = self.revisions.first_entry() {
            if !is_late(window, first.key().plus(size), closing) {
                break;
            }
            first.remove();
        }
    }

    /// The earliest end of a pane that is not closed yet.
    pub(super) fn next_close(&self, window: &WindowPlan, closed_to: Micros) -> Option<Micros> {
        self.slices.keys().find_map(|&slice| Grid::of(window).next_end(slice, closed_to))
    }

    pub(super) fn save(&self, save: &mut impl FnMut(Micros, &Group, Saved)) {
        for (&start, groups) in &self.slices {
            for (group, Slice { partial, changed }) in groups {
                save(start, group, Saved::Slice { partial, changed: *changed });
            }
        }
        for (&start, groups) in &self.revisions {
            for (group, revision) in groups {
                save(start, group, Saved::Revision(*revision));
            }
        }
    }

    pub(super) fn restore_slice(&mut self, start: Micros, group: Group, partial: Partial, changed: bool) {
        let before = self.slices.entry(start).or_default().insert(group, Slice { partial, changed });
        assert!(before.is_none(), "a checkpoint holds a slice twice");
        self.len += 1;
    }

    pub(super) fn restore_revision(&mut self, start: Micros, group: Group, revision: u32) {
        self.revisions.entry(start).or_default().insert(group, revision);
    }
}

fn sum<'a>(mut partials: impl Iterator<Item = &'a Partial>) -> Option<Partial> {
    let mut sum = partials.next()?.clone();
    partials.for_each(|partial| sum.merge(partial));
    Some(sum)
}

/// One group's panes from the last start to the first: a pane that reaches to the newest slice is the one after it and what lies between them.
struct Later<'a> {
    /// By start.
    slices: &'a [(Micros, &'a Partial)],
    /// Of the newest slices: how many, and their sum.
    sum: Option<(usize, Partial)>,
}

impl Later<'_> {
    /// The sum of the slices in `[start, end)`; starts come in falling order.
    fn pane(&mut self, start: Micros, end: Micros) -> Option<Partial> {
        let from = self.slices.partition_point(|(at, _)| *at < start);
        let to = self.slices.partition_point(|(at, _)| *at < end);
        if to < self.slices.len() {
            return sum(self.slices.get(from..to)?.iter().map(|(_, partial)| *partial));
        }
        let count = to - from;
        let (so_far, mut total) = match self.sum.take() {
            Some((so_far, total)) => (so_far, Some(total)),
            None => (0, None),
        };
        for (_, partial) in self.slices.get(from..to - so_far)? {
            match &mut total {
                Some(total) => total.merge(partial),
                None => total = Some((*partial).clone()),
            }
        }
        self.sum = total.clone().map(|total| (count, total));
        total
    }
}
