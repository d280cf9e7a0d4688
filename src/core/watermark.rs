//! The watermark, from logged facts only: every worker computes the same one from the same epochs. `docs/semantics.md`, "Watermark".

use crate::core::epoch::Cut;
use crate::core::plan::Plan;
use crate::core::units::{Micros, Millis, TopicId};

/// What one topic has shown so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TopicClock {
    /// The largest time of its valid events, and the `up` of the last epoch that had one.
    pub seen: Option<(Micros, Millis)>,
}

/// W(e) and the two before it, with what they come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Watermark {
    topics: Vec<TopicClock>,
    lag: Vec<Micros>,
    idle_after: Vec<Micros>,
    now: Micros,
    previous: Micros,
    before_previous: Micros,
}

impl Watermark {
    #[must_use]
    pub fn new(plan: &Plan) -> Self {
        Self {
            topics: vec![TopicClock::default(); plan.topics.len()],
            lag: plan.topics.iter().map(|t| t.out_of_order).collect(),
            idle_after: plan.topics.iter().map(|t| t.idle_after).collect(),
            now: Micros::MIN,
            previous: Micros::MIN,
            before_previous: Micros::MIN,
        }
    }

    /// Takes in an epoch: per topic the largest time of its valid events, if it had any.
    pub fn advance(&mut self, cut: &Cut, newest: &[Option<Micros>]) {
        for (clock, time) in self.topics.iter_mut().zip(newest) {
            if let Some(time) = *time {
                let largest = clock.seen.map_or(time, |(before, _)| before.max(time));
                clock.seen = Some((largest, cut.up));
            }
        }
        self.before_previous = self.previous;
        self.previous = self.now;
        self.now = self.now.max(self.candidate(cut).unwrap_or(Micros::MIN));
    }

    fn candidate(&self, cut: &Cut) -> Option<Micros> {
        let fronts = || self.topics.iter().zip(&self.lag).zip(&self.idle_after);
        let active = fronts()
            .filter_map(|((clock, lag), idle_after)| {
                let (largest, last_up) = clock.seen?;
                let silent = Millis(cut.up.0.saturating_sub(last_up.0)).micros();
                (silent < *idle_after).then(|| largest.minus(*lag))
            })
            .min();
        if active.is_some() {
            return active;
        }
        Some(self.idle_base()?.plus(cut.idle?.micros()))
    }

    /// W(e): no event with a smaller time is expected.
    #[must_use]
    pub fn now(&self) -> Micros {
        self.now
    }

    /// W(e−1): windows that end by then close after epoch e.
    #[must_use]
    pub fn closing(&self) -> Micros {
        self.previous
    }

    /// W(e−2): the lateness of epoch e's events.
    #[must_use]
    pub fn lateness(&self) -> Micros {
        self.before_previous
    }

    /// The topic's own watermark, by which its ids are forgotten; minus infinity before its first event.
    #[must_use]
    pub fn of_topic(&self, topic: TopicId) -> Micros {
        let at = usize::from(topic.0);
        match (self.topics.get(at).and_then(|t| t.seen), self.lag.get(at)) {
            (Some((largest, _)), Some(lag)) => largest.minus(*lag),
            _ => Micros::MIN,
        }
    }

    /// What silence is added to when every topic is idle: the furthest topic's watermark. None before the first event.
    #[must_use]
    pub fn idle_base(&self) -> Option<Micros> {
        self.topics.iter().zip(&self.lag).filter_map(|(c, lag)| Some(c.seen?.0.minus(*lag))).max()
    }

    /// The `up` of the newest epoch that had a valid event.
    #[must_use]
    pub fn last_up(&self) -> Option<Millis> {
        self.topics.iter().filter_map(|t| Some(t.seen?.1)).max()
    }

    /// For a checkpoint: the topics' clocks and W(e), W(e−1), W(e−2).
    #[must_use]
    pub fn state(&self) -> (&[TopicClock], [Micros; 3]) {
        (&self.topics, [self.now, self.previous, self.before_previous])
    }

    /// Out of a checkpoint of the same plan.
    pub fn restore(&mut self, topics: Vec<TopicClock>, [now, previous, before_previous]: [Micros; 3]) {
        assert_eq!(topics.len(), self.topics.len(), "a checkpoint of another plan");
        (self.topics, self.now, self.previous, self.before_previous) = (topics, now, previous, before_previous);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::core::plan::{Audit, FieldPath, TopicPlan};
    use crate::core::schema::Schema;
    use crate::core::units::{Epoch, Offset};

    /// Topics by (out_of_order, idle_after in milliseconds).
    fn plan(topics: &[(i64, i64)]) -> Plan {
        let topic = |&(out_of_order, idle_after): &(i64, i64)| TopicPlan {
            name: String::new(),
            schema: Arc::new(Schema::compile("{}").expect("a schema")),
            id: None,
            time: FieldPath(Vec::new()),
            out_of_order: Micros(out_of_order),
            max_future: Micros(0),
            idle_after: Micros(idle_after * 1000),
            remember: Micros(0),
        };
        Plan {
            pipeline: String::new(),
            topic_field: String::new(),
            topics: topics.iter().map(topic).collect(),
            columns: Vec::new(),
            windows: Vec::new(),
            audit: Audit::None,
        }
    }

    /// One epoch: newest times by topic, up, idle; and W(e) after it. None stands for minus infinity.
    type Step<'a> = (&'a [Option<i64>], u64, Option<u64>, Option<i64>);

    fn check(topics: &[(i64, i64)], steps: &[Step]) {
        let mut watermark = Watermark::new(&plan(topics));
        let mut so_far = vec![Micros::MIN, Micros::MIN];
        for (epoch, &(newest, up, idle, expected)) in (1..).zip(steps) {
            let (up, idle) = (Millis(up), idle.map(Millis));
            let cut = Cut { epoch: Epoch(epoch), end: Offset(0), ingest: Millis(0), up, idle };
            watermark.advance(&cut, &newest.iter().map(|t| t.map(Micros)).collect::<Vec<_>>());
            so_far.push(expected.map_or(Micros::MIN, Micros));
            let [.., lateness, closing, now] = so_far[..] else { unreachable!() };
            let found = (watermark.lateness(), watermark.closing(), watermark.now());
            assert_eq!(found, (lateness, closing, now), "after epoch {epoch} of {steps:?}");
        }
    }

    #[test]
    fn it_follows_the_slowest_topic_that_is_not_idle() {
        // It lags by what may be out of order, and never goes back.
        let one = [(2, 5)];
        check(&one, &[(&[None], 0, None, None), (&[Some(10)], 1, None, Some(8)), (&[Some(9)], 2, None, Some(8))]);
        // A topic never seen is idle; a slower one that comes later does not take it back, and holds it from then on.
        let two = [(2, 5), (0, 5)];
        check(
            &two,
            &[
                (&[Some(100), None], 0, None, Some(98)),
                (&[Some(101), Some(50)], 1, None, Some(98)),
                (&[Some(200), None], 2, None, Some(98)),
                (&[Some(300), None], 5, None, Some(98)),
                // Idle exactly `idle_after` after its last event.
                (&[Some(400), None], 6, None, Some(398)),
                (&[Some(500), Some(450)], 7, None, Some(450)),
            ],
        );
    }

    #[test]
    fn silence_moves_it_on() {
        let two = [(2, 5), (0, 10)];
        check(
            &two,
            &[
                (&[None, None], 0, Some(100), None),
                (&[Some(1000), Some(900)], 1, None, Some(900)),
                // The second topic is not idle yet: silence does not count.
                (&[None, None], 7, Some(6), Some(900)),
                // All are: the furthest topic's watermark and the silence.
                (&[None, None], 11, Some(10), Some(998 + 10_000)),
                (&[None, None], 12, Some(11), Some(998 + 11_000)),
                // Without a TIME record nothing moves; nor does an older event.
                (&[None, None], 13, None, Some(998 + 11_000)),
                (&[Some(1001), None], 14, None, Some(998 + 11_000)),
            ],
        );
    }
}
