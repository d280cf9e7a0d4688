//! What a pipeline consists of and what leads to what, by name: what its picture is drawn from.

use serde::Serialize;

use crate::core::plan::{PipelinePlan, Plan, Source};
use crate::core::units::TopicId;

#[derive(Serialize)]
pub struct Flow<'a> {
    windows: Vec<WindowNode<'a>>,
    views: Vec<&'a str>,
    /// Topics that it makes of events.
    emits: Vec<EmitNode<'a>>,
    alerts: Vec<AlertNode<'a>>,
    webhooks: Vec<WebhookNode<'a>>,
}

#[derive(Serialize)]
struct WindowNode<'a> {
    window: &'a str,
    /// Where its closed rows go as events.
    topic: Option<&'a str>,
}

#[derive(Serialize)]
struct EmitNode<'a> {
    topic: &'a str,
    from: Vec<&'a str>,
}

#[derive(Serialize)]
struct AlertNode<'a> {
    alert: &'a str,
    /// The window whose rows it looks at; None: it looks at events.
    on: Option<&'a str>,
    /// Where it goes as an event.
    topic: Option<&'a str>,
}

#[derive(Serialize)]
struct WebhookNode<'a> {
    webhook: &'a str,
    /// The alerts that it tells of.
    on: Vec<&'a str>,
}

impl<'a> Flow<'a> {
    /// Of a pipeline of this plan.
    pub fn of(plan: &'a Plan, pipeline: &'a PipelinePlan) -> Self {
        let topic = |id: &TopicId| plan.topics.get(usize::from(id.0)).map(|topic| topic.name.as_str());
        let alert = |at: &usize| plan.alerts.get(*at).map(|alert| alert.name.as_str());
        let is_own = |at: usize| plan.pipelines.get(at).is_some_and(|owner| owner.name == pipeline.name);
        let windows = plan.windows.get(pipeline.windows.clone()).unwrap_or_default();
        let views = plan.views.get(pipeline.views.clone()).unwrap_or_default();
        let emits = plan.emits.get(pipeline.emits.clone()).unwrap_or_default();
        let alerts = plan.alerts.get(pipeline.alerts.clone()).unwrap_or_default();
        let webhooks = plan.webhooks.iter().filter(|webhook| is_own(webhook.pipeline));
        Self {
            windows: windows
                .iter()
                .map(|window| WindowNode { window: &window.name, topic: window.topic.as_ref().and_then(topic) })
                .collect(),
            views: views.iter().map(|view| view.name.as_str()).collect(),
            emits: emits
                .iter()
                .filter_map(|emit| {
                    let from = match &emit.source {
                        Source::Events { from, .. } => from.iter().filter_map(topic).collect(),
                        Source::Join(join) => join.sides.iter().filter_map(|side| topic(&side.topic)).collect(),
                    };
                    Some(EmitNode { topic: topic(&emit.topic)?, from })
                })
                .collect(),
            alerts: alerts
                .iter()
                .map(|alert| AlertNode {
                    alert: &alert.name,
                    on: alert.rule.window().and_then(|at| plan.windows.get(at)).map(|window| window.name.as_str()),
                    topic: alert.topic.as_ref().and_then(topic),
                })
                .collect(),
            webhooks: webhooks
                .map(|webhook| WebhookNode {
                    webhook: &webhook.name,
                    on: webhook.alerts.iter().filter_map(alert).collect(),
                })
                .collect(),
        }
    }
}
