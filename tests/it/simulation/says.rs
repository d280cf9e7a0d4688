//! Changes of what pipelines say that leave kept state its meaning: `docs/semantics.md`, "Changes of pipelines". Places stay.

use std::sync::Arc;

use caudal::core::expression::{Expr, Type};
use caudal::core::plan::{PipelinePlan, Plan, Source};
use caudal::core::schema::Schema;
use rand::Rng;
use rand::seq::IndexedRandom;
use rand_chacha::ChaCha8Rng;

use super::changes;
use super::pipelines::{FILTERS, Pipeline, of, of_event};
use crate::model::shape::Shape;

/// The shape says some other things than before.
pub fn other(first: &Pipeline, shape: &mut Shape, rng: &mut ChaCha8Rng) {
    let mut plan = changes::copy(shape.plan(&first.plan));
    topics(first, &mut plan, shape, rng);
    for pipeline in &mut plan.pipelines {
        if rng.random_bool(0.4) {
            pipeline.filter = rng.random_bool(0.7).then(|| of_event(FILTERS.choose(rng).unwrap()));
        }
        derived(pipeline, rng);
        let computed = pipeline.derived.iter().map(|computed| &computed.expression);
        let used = computed.chain(&pipeline.filter).flat_map(Expr::columns);
        let mut used: Vec<_> = used.filter(|column| column.0 < plan.columns.len()).collect();
        used.retain(|column| !pipeline.reads.contains(column));
        pipeline.reads.extend(used);
        pipeline.reads.sort_unstable();
        pipeline.reads.dedup();
    }
    reads(first, &mut plan, rng);
    for window in &mut plan.windows {
        if rng.random_bool(0.3) {
            window.emit = rng.random_bool(0.8).then(|| of(&[100_000, 1_000_000, 5_000_000], rng));
        }
        if rng.random_bool(0.3) {
            window.late_allow = window.late_allow.min(of(&[0, 500_000, 5_000_000], rng));
            if let Some(made) = window.topic.and_then(|topic| plan.topics[usize::from(topic.0)].emitted.as_mut()) {
                made.behind = window.late_allow;
            }
        }
    }
    for (view, at_first) in plan.views.iter_mut().zip(&first.plan.views) {
        if rng.random_bool(0.3) {
            view.history = rng.random();
        }
        if rng.random_bool(0.3) {
            view.when = at_first.when.filter(|_| rng.random());
        }
    }
    for (emit, at_first) in plan.emits.iter_mut().zip(&first.plan.emits) {
        let (Source::Events { from, when }, Source::Events { from: all, when: at_first_when }) =
            (&mut emit.source, &at_first.source)
        else {
            continue;
        };
        if rng.random_bool(0.3) {
            *when = at_first_when.filter(|_| rng.random());
        }
        if rng.random_bool(0.3) {
            *from = all.iter().copied().filter(|_| rng.random_bool(0.7)).collect();
            if from.is_empty() {
                from.push(all[0]);
            }
        }
        if rng.random_bool(0.3) {
            emit.body = at_first.body.iter().filter(|_| rng.random_bool(0.7)).cloned().collect();
        }
    }
    shape.says = Some(Arc::new(plan));
}

/// Fewer topics than at first, or all of them again; a pipeline that names topics elsewhere too keeps them.
fn reads(first: &Pipeline, plan: &mut Plan, rng: &mut ChaCha8Rng) {
    for (pipeline, at_first) in plan.pipelines.iter_mut().zip(&first.plan.pipelines) {
        if pipeline.emits.is_empty() && rng.random_bool(0.2) {
            pipeline.topics = at_first.topics.iter().copied().filter(|_| rng.random_bool(0.7)).collect();
            if pipeline.topics.is_empty() {
                pipeline.topics.push(at_first.topics[0]);
            }
        }
    }
}

fn topics(first: &Pipeline, plan: &mut Plan, shape: &mut Shape, rng: &mut ChaCha8Rng) {
    let count = plan.topics.len();
    for (at, topic) in plan.topics.iter_mut().enumerate().filter(|(_, topic)| topic.emitted.is_none()) {
        if rng.random_bool(0.3) {
            topic.max_future = of(&[0, 1_000_000, 60_000_000], rng);
        }
        if rng.random_bool(0.3) {
            topic.idle_after = of(&[100_000, 1_000_000, 5_000_000], rng);
        }
        if rng.random_bool(0.3) {
            shape.schemas[at] ^= 1;
            let text = &first.schemas[shape.schemas[at] * count + at];
            topic.schema = Arc::new(Schema::compile(text).unwrap());
        }
    }
}

/// Of the same type, so that groups and metrics keep theirs.
fn derived(pipeline: &mut PipelinePlan, rng: &mut ChaCha8Rng) {
    for computed in &mut pipeline.derived {
        let texts = match computed.expression.of_type() {
            Type::Text => ["UPPER(region)", "CAST(age AS TEXT)"],
            Type::Integer => ["age * 3", "age % 5"],
            Type::Number => ["score * 2", "score / (age - 1)"],
            Type::Boolean => ["score > 1", "flagged OR age > 50"],
            Type::Timestamp => continue,
        };
        if rng.random_bool(0.3) {
            computed.expression = of_event(texts.choose(rng).unwrap());
        }
    }
}
