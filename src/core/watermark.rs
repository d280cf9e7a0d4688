//! The pipelines' watermarks, from logged facts only: every worker computes the same ones from the same epochs. `docs/semantics.md`, "Watermark".

use std::collections::VecDeque;

use crate::core::epoch::Cut;
use crate::core::plan::carry::Carry;
use crate::core::plan::{EmittedBy, Plan};
use crate::core::units::{Epoch, Micros, Millis, TopicId};

/// What one topic has shown so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TopicClock {
    /// The largest time of its valid events, and the `up` of the last epoch that had one.
    pub seen: Option<(Micros, Millis)>,
}

/// One pipeline's W(e) and the two before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Watermark {
    /// W(e): no event with a smaller time is expected.
    pub now: Micros,
    /// W(e−1): windows that end by then close after epoch e.
    pub closing: Micros,
    /// W(e−2): the lateness of epoch e's events.
    pub lateness: Micros,
}

/// What silence is added to when all topics of a pipeline are idle.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Silence {
    /// The furthest topic's watermark.
    pub base: Micros,
    /// The `up` of the newest epoch that had a valid event.
    pub since: Millis,
}

/// Every pipeline's watermark, with what they come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Watermarks {
    topics: Vec<TopicClock>,
    lag: Vec<Micros>,
    idle_after: Vec<Micros>,
    emitted: Vec<Option<EmittedBy>>,
    /// Those that make topics stand before those that read them.
    pipelines: Vec<Pipeline>,
    /// `up` of the last epoch.
    up: Millis,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Pipeline {
    topics: Vec<TopicId>,
    watermark: Watermark,
    /// W after epochs, as far back as what is emitted may come: (the first epoch that had it, W), ascending.
    past: VecDeque<(Epoch, Micros)>,
}

/// What a checkpoint keeps of a pipeline.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Kept {
    pub watermark: Watermark,
    /// Of earlier epochs: (the first epoch that had it, W), ascending.
    pub past: Vec<(Epoch, Micros)>,
}

impl Watermark {
    /// Before the first epoch.
    const START: Self = Self { now: Micros::MIN, closing: Micros::MIN, lateness: Micros::MIN };
}

impl Watermarks {
    #[must_use]
    pub fn new(plan: &Plan) -> Self {
        let pipeline = |topics: &Vec<TopicId>| Pipeline {
            topics: topics.clone(),
            watermark: Watermark::START,
            past: VecDeque::new(),
        };
        Self {
            topics: vec![TopicClock::default(); plan.topics.len()],
            lag: plan.topics.iter().map(|t| t.out_of_order).collect(),
            idle_after: plan.topics.iter().map(|t| t.idle_after).collect(),
            emitted: plan.topics.iter().map(|t| t.emitted).collect(),
            pipelines: plan.pipelines.iter().map(|p| pipeline(&p.topics)).collect(),
            up: Millis(0),
        }
    }

    /// As they stand, for the next plan: what goes on keeps its watermark and its topics' clocks, what is new begins.
    #[must_use]
    pub fn carried(self, plan: &Plan, carry: &Carry) -> Self {
        let mut next = Self { up: self.up, ..Self::new(plan) };
        next.topics.iter_mut().zip(self.topics).for_each(|(topic, before)| *topic = before);
        for topic in &carry.stopped {
            if let Some(clock) = next.topics.get_mut(usize::from(topic.0)) {
                *clock = TopicClock::default();
            }
        }
        for (before, to) in self.pipelines.into_iter().zip(&carry.pipelines) {
            if let Some(pipeline) = to.and_then(|to| next.pipelines.get_mut(to)) {
                (pipeline.watermark, pipeline.past) = (before.watermark, before.past);
            }
        }
        next
    }

    /// Takes over how far a pipeline has come, from others of the same plan; the topics' clocks stay.
    pub fn adopt(&mut self, pipeline: usize, of: &Self) {
        if let (Some(mine), Some(theirs)) = (self.pipelines.get_mut(pipeline), of.pipelines.get(pipeline)) {
            (mine.watermark, mine.past) = (theirs.watermark, theirs.past.clone());
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
        self.up = cut.up;
        for at in 0..self.pipelines.len() {
            let candidate = self.candidate(at, |emitted| self.behind(emitted, cut.emitted)).unwrap_or(Micros::MIN);
            let Some(pipeline) = self.pipelines.get_mut(at) else { continue };
            let Watermark { now, closing, .. } = pipeline.watermark;
            let next = now.max(candidate);
            pipeline.watermark = Watermark { now: next, closing: now, lateness: closing };
            pipeline.remember(cut, next);
        }
    }

    /// What the pipeline's topics say; `behind` says what one that the job makes itself does.
    fn candidate(&self, pipeline: usize, behind: impl Fn(EmittedBy) -> Micros) -> Option<Micros> {
        let active = self.seen(pipeline).filter_map(|(topic, largest, last_up)| {
            let silent = Millis(self.up.0.saturating_sub(last_up.0)).micros();
            (silent < self.idle_after[topic]).then(|| largest.minus(self.lag[topic]))
        });
        if let Some(slowest) = active.chain(self.sources(pipeline).map(behind)).min() {
            return Some(slowest);
        }
        let Silence { base, since } = self.silence(pipeline)?;
        Some(base.plus(Millis(self.up.0.saturating_sub(since.0)).micros()))
    }

    /// The least time of what an emitted topic still brings when everything that epochs up to `upto` have emitted is there: a row that closes after it
    /// ends behind W(upto − 1), or is one that a late event changes.
    fn behind(&self, emitted: EmittedBy, upto: Epoch) -> Micros {
        let past = self.pipelines.get(emitted.pipeline).map(|pipeline| &pipeline.past);
        let before = |(epoch, _): &&(Epoch, Micros)| *epoch < upto;
        let then = past.and_then(|past| past.iter().rev().find(before)).map_or(Micros::MIN, |(_, then)| *then);
        then.minus(emitted.behind)
    }

    /// The pipeline's topics that other pipelines make.
    fn sources(&self, pipeline: usize) -> impl Iterator<Item = EmittedBy> {
        self.topics_of(pipeline).filter_map(|topic| *self.emitted.get(topic)?)
    }

    fn topics_of(&self, pipeline: usize) -> impl Iterator<Item = usize> {
        let topics = self.pipelines.get(pipeline).map_or(&[][..], |p| p.topics.as_slice());
        topics.iter().map(|topic| usize::from(topic.0))
    }

    /// The pipeline's topics from outside that were ever seen: (topic, largest time, last up).
    fn seen(&self, pipeline: usize) -> impl Iterator<Item = (usize, Micros, Millis)> {
        let outside = self.topics_of(pipeline).filter(|topic| self.emitted.get(*topic).is_none_or(Option::is_none));
        outside.filter_map(|topic| self.topics.get(topic)?.seen.map(|(largest, up)| (topic, largest, up)))
    }

    #[must_use]
    pub fn of(&self, pipeline: usize) -> Watermark {
        self.pipelines.get(pipeline).map_or(Watermark::START, |p| p.watermark)
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

    /// Where the pipeline's watermark goes when nothing more comes: by silence alone, once all is idle. None before its first event.
    #[must_use]
    pub fn silence(&self, pipeline: usize) -> Option<Silence> {
        let of_source = |emitted: EmittedBy| {
            let Silence { base, since } = self.silence(emitted.pipeline)?;
            Some(Silence { base: base.minus(emitted.behind), since })
        };
        if self.sources(pipeline).next().is_some() {
            let sources: Option<Vec<Silence>> = self.sources(pipeline).map(of_source).collect();
            return sources?.into_iter().min_by_key(|silence| silence.base.minus(silence.since.micros()));
        }
        let base = self.seen(pipeline).map(|(topic, largest, _)| largest.minus(self.lag[topic])).max()?;
        let since = self.seen(pipeline).map(|(_, _, up)| up).max()?;
        Some(Silence { base, since })
    }

    /// W as it will be after further epochs, even if they are empty and no time passes.
    #[must_use]
    pub fn coming(&self, pipeline: usize) -> Micros {
        let now = self.of(pipeline).now;
        if self.sources(pipeline).next().is_none() {
            return now;
        }
        let candidate = self.candidate(pipeline, |emitted| self.coming(emitted.pipeline).minus(emitted.behind));
        now.max(candidate.unwrap_or(Micros::MIN))
    }

    /// For a checkpoint: `up` of the last epoch, the topics' clocks and what is kept of the pipelines.
    pub fn state(&self) -> (Millis, &[TopicClock], impl ExactSizeIterator<Item = Kept>) {
        let kept = |p: &Pipeline| Kept { watermark: p.watermark, past: p.past.iter().copied().collect() };
        (self.up, &self.topics, self.pipelines.iter().map(kept))
    }

    /// Out of a checkpoint of the same plan.
    pub fn restore(&mut self, up: Millis, topics: Vec<TopicClock>, pipelines: Vec<Kept>) {
        let same = topics.len() == self.topics.len() && pipelines.len() == self.pipelines.len();
        assert!(same, "a checkpoint of another plan");
        (self.up, self.topics) = (up, topics);
        for (pipeline, Kept { watermark, past }) in self.pipelines.iter_mut().zip(pipelines) {
            pipeline.watermark = watermark;
            pipeline.past = past.into();
        }
    }
}

impl Pipeline {
    /// Keeps W(e), and of the earlier ones those that what comes later is measured by.
    fn remember(&mut self, cut: &Cut, now: Micros) {
        if self.past.back().is_none_or(|(_, last)| *last < now) {
            self.past.push_back((cut.epoch, now));
        }
        // The newest of those before `cut.emitted` is the one that counts, from now on.
        while self.past.get(1).is_some_and(|(epoch, _)| *epoch < cut.emitted) {
            self.past.pop_front();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::core::plan::{Audit, FieldPath, PipelinePlan, TimeFormat, TopicPlan};
    use crate::core::schema::Schema;
    use crate::core::units::{Epoch, Offset};

    /// Topics by (out_of_order, idle_after in milliseconds).
    fn plan(topics: &[(i64, i64)]) -> Plan {
        let topic = |&(out_of_order, idle_after): &(i64, i64)| TopicPlan {
            name: String::new(),
            schema: Arc::new(Schema::compile("{}").expect("a schema")),
            id: None,
            correlation: None,
            time: FieldPath(Vec::new()),
            time_format: TimeFormat::Rfc3339 { zone: None },
            out_of_order: Micros(out_of_order),
            max_future: Micros(0),
            idle_after: Micros(idle_after * 1000),
            remember: Micros(0),
            emitted: None,
            retired: false,
        };
        let pipeline = |topics: Vec<u16>| PipelinePlan {
            name: String::new(),
            topics: topics.into_iter().map(TopicId).collect(),
            audit: Audit::None,
            ..PipelinePlan::default()
        };
        let count = topics.len() as u16;
        Plan {
            topic_field: String::new(),
            topics: topics.iter().map(topic).collect(),
            columns: Vec::new(),
            // The last topic's pipeline is looked at only where a test says so.
            pipelines: vec![pipeline((0..count).collect()), pipeline(vec![count - 1])],
            windows: Vec::new(),
            views: Vec::new(),
            alerts: Vec::new(),
            webhooks: Vec::new(),
            emits: Vec::new(),
            lives: crate::core::plan::Lives::default(),
        }
    }

    /// One epoch: newest times by topic, up, idle; and W(e) after it. None stands for minus infinity.
    type Step<'a> = (&'a [Option<i64>], u64, Option<u64>, Option<i64>);

    fn check(topics: &[(i64, i64)], steps: &[Step]) {
        let mut watermarks = Watermarks::new(&plan(topics));
        let mut so_far = vec![Micros::MIN, Micros::MIN];
        for (epoch, &(newest, up, idle, expected)) in (1..).zip(steps) {
            let (up, idle) = (Millis(up), idle.map(Millis));
            let cut = Cut { epoch: Epoch(epoch), end: Offset(0), ingest: Millis(0), up, idle, emitted: Epoch(0) };
            watermarks.advance(&cut, &newest.iter().map(|t| t.map(Micros)).collect::<Vec<_>>());
            so_far.push(expected.map_or(Micros::MIN, Micros));
            let [.., lateness, closing, now] = so_far[..] else { unreachable!() };
            assert_eq!(watermarks.of(0), Watermark { now, closing, lateness }, "after epoch {epoch} of {steps:?}");
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
                // All are: the furthest topic's watermark and the silence, whether or not the epoch is a TIME record.
                (&[None, None], 11, Some(10), Some(998 + 10_000)),
                (&[None, None], 12, None, Some(998 + 11_000)),
                // An older event takes nothing back.
                (&[Some(1001), None], 14, None, Some(998 + 11_000)),
            ],
        );
    }

    #[test]
    fn a_pipeline_looks_at_its_own_topics() {
        let mut watermarks = Watermarks::new(&plan(&[(2, 5), (0, 10)]));
        let mut advance = |epoch, up, newest: [Option<i64>; 2]| {
            let cut = Cut {
                epoch: Epoch(epoch),
                end: Offset(0),
                ingest: Millis(0),
                up: Millis(up),
                idle: None,
                emitted: Epoch(0),
            };
            watermarks.advance(&cut, &newest.map(|t| t.map(Micros)));
            (watermarks.of(0).now.0, watermarks.of(1).now.0)
        };
        assert_eq!(advance(1, 0, [Some(100), None]), (98, i64::MIN));
        assert_eq!(advance(2, 1, [Some(200), Some(150)]), (150, 150));
        // The first topic goes on: for its pipeline the second one is idle from 11 on, and its own pipeline's time goes on by the silence.
        assert_eq!(advance(3, 11, [Some(20_000), None]), (19_998, 150 + 10_000));
    }
}
