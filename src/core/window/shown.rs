//! Which of the due rows there are: `having` and `top`. Only windows that have one of them need to know which rows stand in the store.

use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet};

use crate::core::condition;
use crate::core::plan::{Top, WindowPlan};
use crate::core::row::{Value, WindowRow};
use crate::core::units::Micros;
use crate::core::window::fixed::Fixed;
use crate::core::window::{Changes, Due, Ending, Group, Kept, Names, Saved, is_late};

/// Of a window that is no session window: the groups of one start whose rows stand in the store, and the latest of their ends.
#[derive(Debug, Default)]
struct OfStart {
    end: Micros,
    groups: BTreeSet<Group>,
}

#[derive(Debug, Default)]
pub(super) struct Shown(BTreeMap<Micros, OfStart>);

impl Shown {
    /// Turns due panes into the rows that there are.
    pub(super) fn publish(
        &mut self,
        names: &Names,
        due: Vec<Due>,
        kept: &Kept,
        ending: &Ending,
        changes: &mut Changes,
    ) {
        let window = ending.window;
        match (window.top, kept) {
            (None, _) if window.having.is_none() => changes.rows.extend(due.into_iter().map(|due| names.row(due))),
            // A session may grow for long after its row was published, and itself knows under which starts it was.
            (_, Kept::Sessions(_)) => {
                let (shown_before, rows): (Vec<bool>, Vec<WindowRow>) =
                    due.into_iter().map(|due| (due.shown_before, names.row(due))).unzip();
                let holds = holds(names, &rows);
                for ((row, holds), shown_before) in rows.into_iter().zip(holds).zip(shown_before) {
                    if holds {
                        changes.rows.push(row);
                    } else if shown_before {
                        changes.removed.push(row.metric_id);
                    }
                }
            }
            (None, Kept::Fixed(_)) => {
                let rows: Vec<WindowRow> = due.into_iter().map(|due| names.row(due)).collect();
                let holds = holds(names, &rows);
                for (row, holds) in rows.into_iter().zip(holds) {
                    if holds {
                        self.note(&row);
                        changes.rows.push(row);
                    } else if self.drop(row.start, &row.group) {
                        changes.removed.push(row.metric_id);
                    }
                }
            }
            (Some(top), Kept::Fixed(fixed)) => {
                let mut starts: BTreeMap<Micros, BTreeSet<Group>> = BTreeMap::new();
                for due in due {
                    starts.entry(due.start).or_default().insert(due.group);
                }
                for (start, due) in starts {
                    self.compete(names, top, start, &due, fixed, ending, changes);
                }
            }
        }
    }

    /// Decides all rows of one start anew.
    #[expect(clippy::too_many_arguments, reason = "what a start's rows are decided by is all of this")]
    fn compete(
        &mut self,
        names: &Names,
        top: Top,
        start: Micros,
        due: &BTreeSet<Group>,
        fixed: &Fixed,
        ending: &Ending,
        changes: &mut Changes,
    ) {
        let rows: Vec<WindowRow> = fixed.panes(ending, start).into_iter().map(|pane| names.row(pane)).collect();
        let holds = holds(names, &rows);
        let mut rows: Vec<WindowRow> =
            rows.into_iter().zip(holds).filter(|(_, holds)| *holds).map(|(row, _)| row).collect();
        rows.sort_unstable_by(|a, b| by_rank(top, a, b));
        rows.truncate(top.n);
        rows.sort_unstable_by(|a, b| a.group.cmp(&b.group));
        let now: BTreeSet<&Group> = rows.iter().map(|row| &row.group).collect();
        let before = self.0.get(&start).map(|of_start| of_start.groups.clone()).unwrap_or_default();
        for group in before.iter().filter(|group| !now.contains(group)) {
            self.drop(start, group);
            changes.removed.push(names.id(start, group));
        }
        for row in rows {
            if due.contains(&row.group) || !before.contains(&row.group) {
                self.note(&row);
                changes.rows.push(row);
            }
        }
    }

    fn note(&mut self, row: &WindowRow) {
        let of_start = self.0.entry(row.start).or_default();
        of_start.end = of_start.end.max(row.end);
        of_start.groups.insert(row.group.clone());
    }

    fn drop(&mut self, start: Micros, group: &Group) -> bool {
        self.0.get_mut(&start).is_some_and(|of_start| of_start.groups.remove(group))
    }

    /// Drops what no due pane can ask for any more.
    pub(super) fn forget(&mut self, window: &WindowPlan, closing: Micros) {
        self.0.retain(|_, of_start| !is_late(window, of_start.end, closing));
    }

    pub(super) fn save(&self, save: &mut impl FnMut(Micros, &Group, Saved)) {
        for (&start, of_start) in &self.0 {
            of_start.groups.iter().for_each(|group| save(start, group, Saved::Shown { end: of_start.end }));
        }
    }

    pub(super) fn restore(&mut self, start: Micros, end: Micros, group: Group) {
        let of_start = self.0.entry(start).or_default();
        of_start.end = of_start.end.max(end);
        of_start.groups.insert(group);
    }
}

/// The greatest value first; of equal ones the lesser group.
fn by_rank(top: Top, a: &WindowRow, b: &WindowRow) -> Ordering {
    let value = |row: &WindowRow| row.values.get(top.by).cloned().unwrap_or(Value::Null);
    value(b).order(&value(a)).then_with(|| a.group.cmp(&b.group))
}

/// For which rows the window's `having` is true.
fn holds(names: &Names, rows: &[WindowRow]) -> Vec<bool> {
    match &names.window.having {
        Some(having) => condition::holds(having, names.plan, names.window, &rows.iter().collect::<Vec<_>>()),
        None => vec![true; rows.len()],
    }
}
