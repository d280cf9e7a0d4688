//! What `explain` tells, as data: the job's topics and, pipeline by pipeline, what it reads, when its windows close and what their rows are.

use serde::Serialize;

use crate::core::emit::ALERT_FIELDS;
use crate::core::plan::{
    AlertPlan, Anomaly, ColumnKind, Detector, JoinPlan, PipelinePlan, Plan, Rule, Source, TimeFormat, TopicPlan,
    ViewPlan, WindowKind, WindowPlan,
};
use crate::core::schema::FieldType;
use crate::core::units::{Micros, TopicId};
use crate::pipeline::{Pipelines, Spelled, duration, format_name, zone_name};
use crate::store::schema::WindowView;

/// Durations are texts as the pipeline file writes them, `2s`.
#[derive(Debug, Serialize)]
pub struct Job {
    pub topic_field: String,
    pub topics: Vec<Topic>,
    pub pipelines: Vec<Pipeline>,
}

#[derive(Debug, Serialize)]
pub struct Topic {
    pub name: String,
    /// None: its events have no duplicates.
    pub id: Option<String>,
    pub remember: String,
    pub time: String,
    pub format: &'static str,
    pub zone: Option<String>,
    pub out_of_order: String,
    pub max_future: String,
    pub idle_after: String,
    /// The pipeline that makes its events.
    pub emitted_by: Option<String>,
    /// Whether the schema is checked at full speed.
    pub schema_compiled: bool,
}

#[derive(Debug, Serialize)]
pub struct Pipeline {
    pub file: String,
    pub name: String,
    /// The file with every default spelled out.
    pub effective: String,
    pub topics: Vec<String>,
    pub fields: Vec<Field>,
    pub derived: Vec<Derived>,
    pub windows: Vec<Window>,
    pub views: Vec<View>,
    pub alerts: Vec<Alert>,
    pub emits: Vec<Emit>,
}

/// A field of events that the pipeline uses.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub struct Field {
    pub path: String,
    #[serde(rename = "type")]
    pub of_type: &'static str,
    /// The topics whose schemas describe it.
    pub topics: Vec<String>,
}

#[derive(Debug, Serialize)]
pub struct Derived {
    pub name: String,
    #[serde(rename = "type")]
    pub of_type: &'static str,
}

#[derive(Debug, Serialize)]
pub struct Window {
    pub name: String,
    pub kind: &'static str,
    /// Of tumbling and hopping windows.
    pub size: Option<String>,
    /// From one window's start to the next one's.
    pub every: Option<String>,
    /// The parts that windows are made of.
    pub slice: Option<String>,
    /// Of sessions.
    pub gap: Option<String>,
    pub late_allow: String,
    /// None: never.
    pub emit: Option<String>,
    /// The SQL view of its rows.
    pub view: String,
    pub columns: Vec<Column>,
    pub sqlite: String,
    pub postgres: String,
}

/// Of a window's SQL view.
#[derive(Debug, Serialize)]
pub struct Column {
    pub name: String,
    pub postgres: &'static str,
    pub sqlite: &'static str,
    /// `group`, the metric's call, or nothing.
    pub of: String,
}

/// What a topic that the pipeline makes is made of.
#[derive(Debug, Serialize)]
pub struct Emit {
    pub topic: String,
    /// Topics, or the window whose closed rows they are.
    pub from: Vec<String>,
    pub fields: Vec<String>,
}

#[derive(Debug, Serialize)]
pub struct Alert {
    pub name: String,
    /// What raises it, in words.
    pub by: String,
    /// What clears it, in words.
    pub cleared: String,
    /// The fields for whose values it is raised one by one.
    pub key: Vec<String>,
}

#[derive(Debug, Serialize)]
pub struct View {
    pub name: String,
    pub key: String,
    pub latest: Vec<String>,
    pub history: bool,
}

impl Job {
    pub fn of(pipelines: &Pipelines, spelled: &[Spelled]) -> Self {
        let plan = &pipelines.plan;
        let files = spelled.iter().zip(&plan.pipelines);
        let pipelines = files.map(|(spelled, pipeline)| Pipeline::of(plan, pipeline, spelled));
        Self {
            topic_field: plan.topic_field.clone(),
            topics: plan.topics.iter().map(|topic| Topic::of(plan, topic)).collect(),
            pipelines: pipelines.collect(),
        }
    }
}

impl Topic {
    fn of(plan: &Plan, topic: &TopicPlan) -> Self {
        let zone = match topic.time_format {
            TimeFormat::Rfc3339 { zone } => zone.map(zone_name),
            TimeFormat::Unix(_) => None,
        };
        Self {
            name: topic.name.clone(),
            id: topic.id.as_ref().map(ToString::to_string),
            remember: duration::format(topic.remember),
            time: topic.time.to_string(),
            format: format_name(topic.time_format),
            zone,
            out_of_order: duration::format(topic.out_of_order),
            max_future: duration::format(topic.max_future),
            idle_after: duration::format(topic.idle_after),
            emitted_by: topic.emitted.and_then(|by| plan.pipelines.get(by.pipeline)).map(|by| by.name.clone()),
            schema_compiled: topic.schema.is_compiled(),
        }
    }
}

impl Pipeline {
    fn of(plan: &Plan, pipeline: &PipelinePlan, spelled: &Spelled) -> Self {
        let windows = plan.windows.get(pipeline.windows.clone()).unwrap_or_default();
        let views = plan.views.get(pipeline.views.clone()).unwrap_or_default();
        let derived = spelled
            .derived
            .iter()
            .zip(&pipeline.derived)
            .map(|(name, computed)| Derived { name: name.clone(), of_type: computed.expression.of_type().name() });
        let windows = windows.iter().zip(&spelled.metrics);
        Self {
            file: spelled.file.clone(),
            name: pipeline.name.clone(),
            effective: spelled.yaml.clone(),
            topics: topics(plan, pipeline).map(|topic| topic.name.clone()).collect(),
            fields: fields(plan, pipeline),
            derived: derived.collect(),
            windows: windows.map(|(window, calls)| Window::of(plan, window, calls)).collect(),
            views: views.iter().zip(&spelled.keys).map(|(view, key)| View::of(view, key)).collect(),
            alerts: plan
                .alerts
                .get(pipeline.alerts.clone())
                .unwrap_or_default()
                .iter()
                .map(|alert| Alert::of(plan, alert))
                .collect(),
            emits: emits(plan, pipeline),
        }
    }
}

/// The topics that a pipeline reads.
fn topics<'a>(plan: &'a Plan, pipeline: &'a PipelinePlan) -> impl Iterator<Item = &'a TopicPlan> {
    pipeline.topics.iter().filter_map(|topic| plan.topics.get(usize::from(topic.0)))
}

/// What the pipeline makes, of events and of closed rows.
fn emits(plan: &Plan, pipeline: &PipelinePlan) -> Vec<Emit> {
    let name = |topic: TopicId| plan.topics.get(usize::from(topic.0)).map(|topic| topic.name.clone());
    let of_events = plan.emits.get(pipeline.emits.clone()).unwrap_or_default().iter().filter_map(|emit| {
        let from = match &emit.source {
            Source::Events { from, .. } => from.iter().filter_map(|topic| name(*topic)).collect(),
            Source::Join(JoinPlan { sides, within }) => {
                let both: Vec<String> = sides.iter().filter_map(|side| name(side.topic)).collect();
                vec![format!("{} that lie at most {} apart", both.join(" and "), duration::format(*within))]
            }
        };
        Some(Emit {
            topic: name(emit.topic)?,
            from,
            fields: emit.body.iter().map(|field| field.name.clone()).collect(),
        })
    });
    let of_rows = plan.windows.get(pipeline.windows.clone()).unwrap_or_default().iter().filter_map(|window| {
        let own = window.group.iter().map(|field| &field.name).chain(window.metrics.iter().map(|(name, _)| name));
        Some(Emit {
            topic: name(window.topic?)?,
            from: vec![format!("window {}", window.name)],
            fields: own.cloned().collect(),
        })
    });
    let alerts = || plan.alerts.get(pipeline.alerts.clone()).unwrap_or_default().iter();
    let mut topics: Vec<TopicId> = alerts().filter_map(|alert| alert.topic).collect();
    topics.dedup();
    let of_alerts = topics.into_iter().filter_map(|topic| {
        let from = alerts().filter(|alert| alert.topic == Some(topic)).map(|alert| format!("alert {}", alert.name));
        Some(Emit { topic: name(topic)?, from: from.collect(), fields: ALERT_FIELDS.map(str::to_owned).to_vec() })
    });
    of_events.chain(of_rows).chain(of_alerts).collect()
}

/// Each field once, although a group and a metric keep it in different ways.
fn fields(plan: &Plan, pipeline: &PipelinePlan) -> Vec<Field> {
    let mut fields: Vec<Field> = Vec::new();
    for column in pipeline.reads.iter().filter_map(|id| plan.columns.get(id.0)) {
        let about = || topics(plan, pipeline).filter_map(|t| Some((&t.name, t.schema.field(&column.path)?)));
        let of_type = match about().next() {
            _ if column.kind == ColumnKind::Json => "any, as it is written",
            Some((_, FieldType::String)) => "text",
            Some((_, FieldType::Integer)) => "integer",
            Some((_, FieldType::Number)) => "number",
            Some((_, FieldType::Boolean)) => "boolean",
            Some((_, FieldType::Other)) | None => "any, as it is written",
        };
        let topics = about().map(|(name, _)| name.clone()).collect();
        let field = Field { path: column.path.to_string(), of_type, topics };
        if !fields.contains(&field) {
            fields.push(field);
        }
    }
    fields
}

impl Window {
    fn of(plan: &Plan, window: &WindowPlan, calls: &[String]) -> Self {
        let text = |span: Micros| Some(duration::format(span));
        let (kind, size, every) = match window.kind {
            WindowKind::Tumbling { every } => ("tumbling", text(every), text(every)),
            WindowKind::Hopping { size, every } => ("hopping", text(size), text(every)),
            WindowKind::Session { .. } => ("session", None, None),
        };
        let WindowView { name: view, columns, sqlite, postgres } = WindowView::of(plan, window);
        let groups = window.group.len();
        let of = |at: usize| match at.checked_sub(2) {
            Some(at) if at < groups => "group".to_owned(),
            Some(at) => calls.get(at - groups).cloned().unwrap_or_default(),
            None => String::new(),
        };
        let columns: Vec<Column> = columns
            .into_iter()
            .enumerate()
            .map(|(at, column)| Column {
                name: column.name,
                postgres: column.of_type.in_postgres(),
                sqlite: column.of_type.in_sqlite(),
                of: of(at),
            })
            .collect();
        Self {
            name: window.name.clone(),
            kind,
            size,
            every,
            slice: window.kind.slice().and_then(text),
            gap: window.kind.gap().and_then(text),
            late_allow: duration::format(window.late_allow),
            emit: window.emit.and_then(text),
            view,
            columns,
            sqlite,
            postgres,
        }
    }
}

impl Alert {
    fn of(plan: &Plan, alert: &AlertPlan) -> Self {
        let window = |at: usize| plan.windows.get(at);
        let name = |at: usize| window(at).map_or("", |window| window.name.as_str());
        let silence = |at: usize| window(at).map(|w| duration::format(w.kind.step())).unwrap_or_default();
        let row_clears = |what: &str, at: usize| format!("a closed row {what}, or {} without a row", silence(at));
        let (by, cleared) = match &alert.rule {
            Rule::Condition { window, .. } => (
                format!("a row of {}, open or closed, for which its condition is true", name(*window)),
                row_clears("for which it is not", *window),
            ),
            Rule::Anomaly(Anomaly { window: at, metric, history, detector, remember }) => {
                let metric = window(*at).and_then(|window| window.metrics.get(*metric));
                let metric = metric.map_or("", |(name, _)| name.as_str());
                let far = match detector {
                    Detector::ZScore(limit) => {
                        format!("{limit} standard deviations or more from the mean of the {history} before it")
                    }
                    Detector::Ewma { weight, deviations } => format!(
                        "{deviations} standard deviations or more from the moving average (weight {weight}) of those before it, {history} at least"
                    ),
                };
                let forgotten = duration::format(*remember);
                (
                    format!(
                        "a closed row of {} whose {metric} lies {far} (forgotten after {forgotten} without a row)",
                        name(*at)
                    ),
                    row_clears("whose value does not", *at),
                )
            }
            Rule::Pattern(pattern) => {
                let within = duration::format(pattern.within);
                let unless = if pattern.unless.is_some() { ", without one of `unless` between" } else { "" };
                let lasts = pattern.lasts.map(|lasts| format!("itself after {}", duration::format(lasts)));
                let ends = pattern.unless.map(|_| "an event of `unless`".to_owned());
                (
                    format!("{} events of `count` within {within}{unless}", pattern.at_least),
                    ends.into_iter().chain(lasts).collect::<Vec<_>>().join(", or by "),
                )
            }
        };
        let key = alert.key_fields(&plan.windows).iter().map(|field| field.name.clone()).collect();
        Self { name: alert.name.clone(), by, cleared, key }
    }
}

impl View {
    fn of(plan: &ViewPlan, key: &str) -> Self {
        Self {
            name: plan.name.clone(),
            key: key.to_owned(),
            latest: plan.latest.iter().map(|(name, _)| name.clone()).collect(),
            history: plan.history,
        }
    }
}
