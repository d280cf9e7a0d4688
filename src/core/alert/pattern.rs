//! Alerts on a key's events: so many of a kind within a time, without one of another kind between.

use crate::core::alert::{Deadlines, Ending, Key, Known, Mark, OfAlert, put_active, take_active};
use crate::core::encoding::{NotAPane, put_count, take, take_count};
use crate::core::identity::pattern_alert_id;
use crate::core::json::{self, Object};
use crate::core::plan::Pattern;
use crate::core::row::AlertRow;
use crate::core::time;
use crate::core::units::Micros;
use crate::core::view::{Moment, put_moment, take_moment};

/// What is known of one key.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Counted {
    /// Those that count, in order, all after `anew`.
    moments: Vec<Moment>,
    /// The last event by which the count began anew.
    anew: Option<Moment>,
    pub(super) active: Option<AlertRow>,
}

/// Counts an epoch's events: by key, and for each key in order.
pub(super) fn count(of_alert: &mut OfAlert, pattern: &Pattern, ending: &mut Ending, marks: &[Mark]) {
    for of_key in marks.chunk_by(|a, b| a.key == b.key) {
        let Some(first) = of_key.first() else { continue };
        let key = vec![first.key.clone()];
        of_alert.change(ending, &key, |known, ending| {
            let mut counted = match known {
                None => Counted::default(),
                Some(Known::Counted(counted)) => counted,
                Some(Known::Watched(_)) => panic!("what is known of a key is of another kind of alert"),
            };
            counted.forget(pattern, ending.closing);
            for mark in of_key {
                counted.take(ending, pattern, &key, mark);
            }
            Some(Known::Counted(counted))
        });
    }
}

/// Nothing that is expected lies within reach of an event of this time.
fn is_over(pattern: &Pattern, time: Micros, closing: Micros) -> bool {
    time.plus(pattern.within) < closing
}

impl Counted {
    fn take(&mut self, ending: &mut Ending, pattern: &Pattern, key: &Key, mark: &Mark) {
        let (time, _) = mark.moment;
        if is_over(pattern, time, ending.closing) {
            return;
        }
        // An alert that has lasted long enough at the event's time is over, though the watermark does not say so yet.
        if let Some(over) = self.over(pattern).filter(|over| *over <= time) {
            ending.clear(&mut self.active, over);
        }
        if mark.ends {
            self.begin_anew(ending, mark.moment);
        } else if self.active.is_none() && self.anew.is_none_or(|anew| anew < mark.moment) {
            let at = self.moments.partition_point(|known| *known < mark.moment);
            self.moments.insert(at, mark.moment);
            if let Some((first, last)) = self.run(pattern) {
                self.raise(ending, pattern, key, first, last);
            }
        }
    }

    fn begin_anew(&mut self, ending: &mut Ending, moment: Moment) {
        self.anew = self.anew.max(Some(moment));
        self.moments.retain(|known| *known > moment);
        if self.active.as_ref().is_some_and(|active| active.from <= moment.0) {
            let raised = self.active.as_ref().map_or(moment.0, |active| active.raised);
            ending.clear(&mut self.active, moment.0.max(ending.closing).max(raised));
        }
    }

    /// Counts that can meet nothing that is still to come.
    fn forget(&mut self, pattern: &Pattern, closing: Micros) {
        self.moments.retain(|(time, _)| !is_over(pattern, *time, closing));
    }

    /// The first events that are enough, and close enough to each other: the first and the last of them.
    fn run(&self, pattern: &Pattern) -> Option<(Moment, Moment)> {
        let mut runs = self.moments.windows(pattern.at_least).filter_map(|run| Some((*run.first()?, *run.last()?)));
        runs.find(|((first, _), (last, _))| last.minus(pattern.within) <= *first)
    }

    fn raise(&mut self, ending: &mut Ending, pattern: &Pattern, key: &Key, first: Moment, last: Moment) {
        let name = ending.plan.pipeline_name(ending.alert.pipeline);
        let mut details = Object::new();
        details.member("count", pattern.at_least);
        details.member("first", json::string(&time::format(first.0)));
        details.member("last", json::string(&time::format(last.0)));
        self.moments.clear();
        self.active = Some(ending.raise(AlertRow {
            alert_id: pattern_alert_id(name, &ending.alert.name, key, last),
            alert: ending.index,
            key: key.clone(),
            from: first.0,
            to: last.0.plus(Micros(1)),
            // What others are told lies before nothing that they have seen pass.
            raised: last.0.max(ending.closing),
            cleared: None,
            details: details.finish(),
            epoch: ending.epoch,
        }));
    }

    /// When the alert ends by itself.
    fn over(&self, pattern: &Pattern) -> Option<Micros> {
        Some(self.active.as_ref()?.raised.plus(pattern.lasts?))
    }

    /// It has lasted long enough.
    pub(super) fn cleared(mut self, ending: &mut Ending, at: Micros) -> Self {
        ending.clear(&mut self.active, at);
        self
    }

    pub(super) fn deadlines(&self, pattern: &Pattern) -> Deadlines {
        let newest = self.moments.last().copied().max(self.anew);
        let forget = match (&self.active, newest) {
            (Some(_), _) => None,
            (None, Some((time, _))) => Some(time.plus(pattern.within).plus(Micros(1))),
            (None, None) => Some(Micros::MIN),
        };
        Deadlines { clear: self.over(pattern), forget }
    }

    pub(super) fn encode(&self, into: &mut Vec<u8>) {
        put_count(self.moments.len() as u64, into);
        for moment in &self.moments {
            put_moment(*moment, into);
        }
        into.push(u8::from(self.anew.is_some()));
        put_moment(self.anew.unwrap_or_default(), into);
        put_active(self.active.as_ref(), into);
    }

    pub(super) fn decode(alert: usize, key: &Key, rest: &mut &[u8]) -> Result<Self, NotAPane> {
        let moments = (0..take_count(rest)?).map(|_| take_moment(rest)).collect::<Result<_, _>>()?;
        let [has_anew] = take(rest)?;
        let anew = take_moment(rest)?;
        let active = take_active(alert, key, rest)?;
        Ok(Self { moments, anew: (has_anew != 0).then_some(anew), active })
    }
}
