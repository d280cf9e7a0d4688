//! Changes of the pipelines: each version is a part of one large plan, planned by itself, so that everything has other places in it.

use std::sync::Arc;

use caudal::coordinator::change::Change;
use caudal::core::epoch::Backfill;
use caudal::core::plan::{EmittedBy, Lives, Plan, Rule, TopicPlan};
use caudal::core::units::{Epoch, Micros, Offset};
use rand::Rng;
use rand_chacha::ChaCha8Rng;

use super::pipelines::Pipeline;
use super::says;
use crate::model::Entry;
use crate::model::shape::Shape;

/// What the log has for a version's pipelines.
pub fn text(version: usize) -> Arc<str> {
    format!("version {version}").into()
}

pub fn version(text: &str) -> usize {
    text.strip_prefix("version ").unwrap().parse().unwrap()
}

/// What was asked for, one after the other.
#[derive(Clone)]
pub struct Version {
    pub shape: Shape,
    pub plan: Arc<Plan>,
    pub backfill: Option<Backfill>,
}

impl Version {
    pub fn new(whole: &Plan, shape: Shape) -> Self {
        Self { plan: Arc::new(part(shape.plan(whole), &shape)), shape, backfill: None }
    }

    /// Its pipeline at this place in the whole plan begins with what came after this epoch.
    pub fn begin(&mut self, pipeline: usize, (after, from): (Epoch, Offset)) {
        let place = self.shape.pipelines[..pipeline].iter().filter(|there| **there).count();
        self.backfill = Some(Backfill { pipeline: place, after, from });
        self.shape.past = Some((pipeline, after.0));
    }
}

pub fn change(versions: &[Version], version: usize) -> Change {
    let Version { plan, backfill, .. } = &versions[version];
    Change { bundle: text(version), plan: plan.clone(), backfill: *backfill }
}

/// The log's changes: after which epoch which version holds.
pub fn changes_of(entries: &[Entry]) -> impl Iterator<Item = (Epoch, usize)> {
    entries
        .iter()
        .filter_map(|e| if let Entry::Config(epoch, shape) = e { Some((*epoch, shape.version)) } else { None })
}

/// What a job begins with: often everything.
pub fn first(whole: &Plan, rng: &mut ChaCha8Rng) -> Version {
    let mut shape = Shape::whole(whole);
    if rng.random_bool(0.8) {
        toggle(whole, &mut shape, rng);
    }
    Version::new(whole, shape)
}

/// Another version than the one before.
pub fn next(whole: &Pipeline, before: &Shape, version: usize, rng: &mut ChaCha8Rng) -> Version {
    let mut shape = Shape { version, past: None, ..before.clone() };
    let says_more = rng.random_bool(0.6);
    if says_more {
        says::other(whole, &mut shape, rng);
    }
    if !says_more || rng.random() {
        toggle(&whole.plan, &mut shape, rng);
    }
    Version::new(&whole.plan, shape)
}

/// What a start brings that begins some pipelines anew after the epoch: perhaps with other things in them than before.
pub fn accepted(whole: &Pipeline, holds: &Shape, version: usize, after: u64, rng: &mut ChaCha8Rng) -> Version {
    let mut shape = Shape { version, past: None, ..holds.clone() };
    if rng.random_bool(0.5) {
        toggle(&whole.plan, &mut shape, rng);
    }
    if rng.random_bool(0.5) {
        says::other(whole, &mut shape, rng);
    }
    let there: Vec<usize> = (0..shape.lives.len()).filter(|at| holds.pipelines[*at] && shape.pipelines[*at]).collect();
    for at in there {
        if rng.random_bool(0.7) {
            shape.lives[at] = after;
        }
    }
    Version::new(&whole.plan, shape)
}

/// Takes some things away and brings others.
fn toggle(whole: &Plan, shape: &mut Shape, rng: &mut ChaCha8Rng) {
    let chance = if rng.random_bool(0.3) { 0.5 } else { 0.15 };
    let all = [&mut shape.pipelines, &mut shape.windows, &mut shape.views, &mut shape.alerts, &mut shape.emits];
    for there in all.into_iter().flatten() {
        *there ^= rng.random_bool(chance);
    }
    // What is left must make sense; a pipeline that goes takes what it has along, and one that comes brings some of it.
    for (at, pipeline) in whole.pipelines.iter().enumerate() {
        let topics = pipeline.topics.iter().map(|topic| usize::from(topic.0));
        let mut made = topics.filter(|topic| whole.topics[*topic].emitted.is_some());
        shape.pipelines[at] &= made.all(|topic| shape.is_made(whole, topic));
        if !shape.pipelines[at] {
            shape.windows[pipeline.windows.clone()].fill(false);
            shape.views[pipeline.views.clone()].fill(false);
            shape.alerts[pipeline.alerts.clone()].fill(false);
            shape.emits[pipeline.emits.clone()].fill(false);
        }
        for alert in pipeline.alerts.clone() {
            let window = whole.alerts[alert].rule.window();
            shape.alerts[alert] &= window.is_none_or(|window| shape.windows[window]);
        }
    }
    if !shape.pipelines.contains(&true) {
        // The first one reads nothing that others make.
        shape.pipelines[0] = true;
        shape.windows[whole.pipelines[0].windows.clone()].fill(true);
    }
    for (there, webhook) in shape.webhooks.iter_mut().zip(&whole.webhooks) {
        *there = shape.pipelines[webhook.pipeline];
    }
}

fn there<T: Clone>(all: &[T], there: &[bool]) -> Vec<T> {
    all.iter().zip(there).filter(|(_, there)| **there).map(|(of, _)| of.clone()).collect()
}

fn lives(whole: &Plan, shape: &Shape) -> Lives {
    let mut lives = Lives::default();
    for (pipeline, &after) in whole.pipelines.iter().zip(&shape.lives).filter(|(_, after)| **after > 0) {
        lives.begin(&pipeline.name, Epoch(after));
    }
    lives
}

/// A plan with the same places.
pub fn copy(whole: &Plan) -> Plan {
    part(whole, &Shape::whole(whole))
}

/// The plan of what is there.
fn part(whole: &Plan, shape: &Shape) -> Plan {
    let places = |there: &[bool]| -> Vec<Option<usize>> {
        let mut next = 0..;
        there.iter().map(|there| if *there { next.next() } else { None }).collect()
    };
    let kept = |there: &[bool], of: std::ops::Range<usize>| {
        let before = |end: usize| there[..end].iter().filter(|there| **there).count();
        before(of.start)..before(of.end)
    };
    let (pipelines, windows, alerts) = (places(&shape.pipelines), places(&shape.windows), places(&shape.alerts));
    let topic = |(at, topic): (usize, &TopicPlan)| {
        let retired = !shape.has(whole, at);
        let emitted = topic.emitted.map(|by| match pipelines[by.pipeline].filter(|_| !retired) {
            Some(pipeline) => EmittedBy { pipeline, ..by },
            None => EmittedBy { pipeline: usize::MAX, behind: Micros(0) },
        });
        let id = topic.id.clone().filter(|_| !retired);
        TopicPlan { emitted, retired, id, ..topic.clone() }
    };
    let mut plan = Plan {
        topic_field: whole.topic_field.clone(),
        topics: whole.topics.iter().enumerate().map(topic).collect(),
        columns: whole.columns.clone(),
        pipelines: there(&whole.pipelines, &shape.pipelines),
        windows: there(&whole.windows, &shape.windows),
        views: there(&whole.views, &shape.views),
        alerts: there(&whole.alerts, &shape.alerts),
        webhooks: there(&whole.webhooks, &shape.webhooks),
        emits: there(&whole.emits, &shape.emits),
        lives: lives(whole, shape),
    };
    for pipeline in &mut plan.pipelines {
        pipeline.windows = kept(&shape.windows, pipeline.windows.clone());
        pipeline.views = kept(&shape.views, pipeline.views.clone());
        pipeline.alerts = kept(&shape.alerts, pipeline.alerts.clone());
        pipeline.emits = kept(&shape.emits, pipeline.emits.clone());
    }
    let of_pipeline = plan.windows.iter_mut().map(|of| &mut of.pipeline);
    let of_pipeline = of_pipeline.chain(plan.views.iter_mut().map(|of| &mut of.pipeline));
    let of_pipeline = of_pipeline.chain(plan.alerts.iter_mut().map(|of| &mut of.pipeline));
    let of_pipeline = of_pipeline.chain(plan.webhooks.iter_mut().map(|of| &mut of.pipeline));
    for pipeline in of_pipeline.chain(plan.emits.iter_mut().map(|of| &mut of.pipeline)) {
        *pipeline = pipelines[*pipeline].unwrap();
    }
    plan.windows.iter_mut().for_each(|window| window.watched = false);
    for alert in &mut plan.alerts {
        let window = match &mut alert.rule {
            Rule::Condition { window, .. } => window,
            Rule::Anomaly(anomaly) => &mut anomaly.window,
            Rule::Pattern(_) => continue,
        };
        *window = windows[*window].unwrap();
        plan.windows[*window].watched = true;
    }
    for webhook in &mut plan.webhooks {
        webhook.alerts = webhook.alerts.iter().filter_map(|alert| alerts[*alert]).collect();
    }
    plan
}
