//! The panes an owner keeps: merged, closed by the watermark, revised by what comes late, forgotten. `docs/semantics.md`, "Windows".
//! The lateness rule itself is `is_late` below; workers ask it before they aggregate, owners before they forget.

use std::collections::BTreeMap;
use std::collections::HashMap;
use std::sync::Arc;

use crate::core::aggregate::{PaneKey, Partial};
use crate::core::columns::GroupValue;
use crate::core::epoch::Cut;
use crate::core::identity::{digest, metric_id};
use crate::core::plan::{Plan, WindowPlan};
use crate::core::row::WindowRow;
use crate::core::units::{Micros, Millis};

/// The number of the window that an event of this time falls into; windows are aligned to Unix time zero.
#[must_use]
pub fn window_number(window: &WindowPlan, time: Micros) -> i64 {
    time.0.div_euclid(window.every.0)
}

/// Where the window of this start ends.
#[must_use]
pub fn window_end(window: &WindowPlan, start: Micros) -> Micros {
    start.plus(window.every)
}

/// An event is late for a window once the watermark has passed its end by the allowance.
#[must_use]
pub fn is_late(window: &WindowPlan, end: Micros, watermark: Micros) -> bool {
    end.plus(window.late_allow) <= watermark
}

/// One window's row in the making.
#[derive(Debug)]
pub struct Pane {
    pub partial: Partial,
    /// Something came since the row was last published.
    pub changed: bool,
    /// Published closed at least once.
    pub closed: bool,
    pub revision: u32,
}

#[derive(Debug, Default)]
struct WindowPanes {
    by_start: BTreeMap<Micros, HashMap<Vec<GroupValue>, Pane, foldhash::fast::RandomState>>,
    last_emit: Millis,
    /// Something came since open rows were last shown.
    unpublished: bool,
}

/// All panes of the key groups that one worker owns.
#[derive(Debug)]
pub struct Panes {
    plan: Arc<Plan>,
    windows: Vec<WindowPanes>,
    len: usize,
}

impl Panes {
    #[must_use]
    pub fn new(plan: Arc<Plan>) -> Self {
        let windows = plan.windows.iter().map(|_| WindowPanes::default()).collect();
        Self { plan, windows, len: 0 }
    }

    /// Merges a partial aggregate into its pane.
    pub fn merge(&mut self, key: PaneKey, partial: Partial) {
        let Some(window) = self.windows.get_mut(key.window) else {
            panic!("window {} is none of the plan's", key.window)
        };
        window.unpublished = true;
        let groups = window.by_start.entry(key.start).or_default();
        if let Some(pane) = groups.get_mut(&key.group) {
            pane.partial.merge(&partial);
            pane.changed = true;
        } else {
            groups.insert(key.group, Pane { partial, changed: true, closed: false, revision: 0 });
            self.len += 1;
        }
    }

    /// Puts a pane out of a checkpoint in its place.
    pub fn restore(&mut self, key: PaneKey, pane: Pane) {
        let Some(window) = self.windows.get_mut(key.window) else {
            panic!("window {} is none of the plan's", key.window)
        };
        window.unpublished |= pane.changed;
        let before = window.by_start.entry(key.start).or_default().insert(key.group, pane);
        assert!(before.is_none(), "a checkpoint holds a pane twice");
        self.len += 1;
    }

    /// Ends an epoch: publishes what closes, what was revised and what is due to be shown open, and forgets what nothing can reach
    /// any more. Rows come in order of (window, start, group).
    pub fn finish(&mut self, cut: &Cut, closing: Micros) -> Vec<WindowRow> {
        let mut rows = Vec::new();
        for (index, panes) in self.windows.iter_mut().enumerate() {
            let Some(window) = self.plan.windows.get(index) else { break };
            let emit = cut.idle.is_some() || cut.ingest.micros() >= panes.last_emit.micros().plus(window.emit);
            if emit {
                panes.last_emit = cut.ingest;
                panes.unpublished = false;
            }
            for (&start, groups) in &mut panes.by_start {
                let end = window_end(window, start);
                let ended = end <= closing;
                if !ended && !emit {
                    break;
                }
                let from = rows.len();
                for (group, pane) in groups.iter_mut().filter(|(_, p)| p.changed || (ended && !p.closed)) {
                    publish(pane, ended);
                    rows.push(row(&self.plan, index, window, (start, end), group, pane, cut));
                }
                rows[from..].sort_unstable_by(|a, b| a.group.cmp(&b.group));
            }
            self.len -= forget(panes, window, closing);
        }
        rows
    }

    /// The earliest end of a window that is not closed yet.
    #[must_use]
    pub fn next_close(&self) -> Option<Micros> {
        let of_window = |(panes, window): (&WindowPanes, &WindowPlan)| {
            let open = panes.by_start.iter().find(|(_, groups)| groups.values().any(|p| !p.closed));
            open.map(|(&start, _)| window_end(window, start))
        };
        self.windows.iter().zip(&self.plan.windows).filter_map(of_window).min()
    }

    /// The earliest ingest time at which open rows that changed may be shown.
    #[must_use]
    pub fn next_emit(&self) -> Option<Millis> {
        let waiting = self.windows.iter().zip(&self.plan.windows).filter(|(panes, _)| panes.unpublished);
        let emit_ms = |window: &WindowPlan| u64::try_from(window.emit.0.saturating_add(999) / 1000).unwrap_or(0);
        waiting.map(|(panes, window)| Millis(panes.last_emit.0.saturating_add(emit_ms(window)))).min()
    }

    /// Number of panes kept.
    #[must_use]
    pub fn len(&self) -> usize {
        self.len
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Every pane, in no particular order.
    pub fn iter(&self) -> impl Iterator<Item = (PaneKey, &Pane)> {
        self.windows.iter().enumerate().flat_map(|(window, panes)| {
            panes.by_start.iter().flat_map(move |(&start, groups)| {
                groups.iter().map(move |(group, pane)| (PaneKey { window, start, group: group.clone() }, pane))
            })
        })
    }

    /// When each window last showed its open rows; a checkpoint keeps it.
    #[must_use]
    pub fn last_emits(&self) -> Vec<Millis> {
        self.windows.iter().map(|w| w.last_emit).collect()
    }

    pub fn restore_last_emits(&mut self, last_emits: &[Millis]) {
        assert_eq!(last_emits.len(), self.windows.len(), "a checkpoint of another plan");
        for (window, &last_emit) in self.windows.iter_mut().zip(last_emits) {
            window.last_emit = last_emit;
        }
    }
}

fn publish(pane: &mut Pane, ended: bool) {
    if ended && pane.closed {
        pane.revision += 1;
    }
    pane.closed = ended;
    pane.changed = false;
}

fn forget(panes: &mut WindowPanes, window: &WindowPlan, closing: Micros) -> usize {
    let mut forgotten = 0;
    while let Some(first) = panes.by_start.first_entry() {
        if !is_late(window, window_end(window, *first.key()), closing) {
            break;
        }
        forgotten += first.remove().len();
    }
    forgotten
}

fn row(
    plan: &Plan,
    index: usize,
    window: &WindowPlan,
    (start, end): (Micros, Micros),
    group: &[GroupValue],
    pane: &Pane,
    cut: &Cut,
) -> WindowRow {
    let metric_id = metric_id(&plan.pipeline, &window.name, start, group);
    let values = pane.partial.values(window);
    let event_count = pane.partial.event_count();
    let digest = if pane.closed { digest(metric_id, &values, event_count) } else { 0 };
    WindowRow {
        metric_id,
        window: index,
        start,
        end,
        group: group.to_vec(),
        values,
        event_count,
        revision: pane.revision,
        closed: pane.closed,
        digest,
        epoch: cut.epoch,
    }
}
