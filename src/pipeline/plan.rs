//! From what the files say to what the engine runs: names resolved, expressions typed.

use std::sync::Arc;

use crate::core::condition;
use crate::core::emit::{ID, TIME};
use crate::core::expression::{Expr, Type};
use crate::core::plan::{
    AlertPlan, ColumnPlan, EmitPlan, EmittedBy, FieldPath, GroupField, Lives, Metric, PipelinePlan, Plan, ROW_FACTS,
    Step, Top, ViewPlan, WebhookPlan, WindowKind, WindowPlan,
};
use crate::core::units::{Micros, TopicId};
use crate::pipeline::alerts::{self, Windows};
use crate::pipeline::audit;
use crate::pipeline::cases;
use crate::pipeline::columns::Columns;
use crate::pipeline::emits;
use crate::pipeline::file::{File, TOPIC_FIELD_DEFAULT};
use crate::pipeline::metric;
use crate::pipeline::names::NAME_BYTES_MAX;
use crate::pipeline::routes::{self, Named, Route};
use crate::pipeline::section::{At, Faulty, hint};
use crate::pipeline::sql::{self, Scope};
use crate::pipeline::topics::{self, Described, Texts, Topics};
use crate::pipeline::views;
use crate::pipeline::webhooks;
use crate::pipeline::windows::Window;
use crate::pipeline::yaml::{Place, quote};
use crate::pipeline::{BurstHint, Hints, Pipelines, TopicName};

/// Columns that every window's SQL view and CSV file has; metrics and group fields need other names.
const ROW_COLUMNS: [&str; 6] = ["metric_id", "window_start", "window_end", "event_count", "revision", "closed"];
/// Names that the store's tables have: no window's view may be called so.
const TABLES: [&str; 12] = [
    "events_in",
    "metrics_out",
    "trace",
    "dead_letters",
    "alerts",
    "views",
    "consumer_offsets",
    "outbox",
    "progress",
    "generation",
    "schema_version",
    "window_views",
];

/// Where computed columns begin while it is not known yet how many there are before them: beyond all.
const PROVISIONAL_BASE: usize = usize::MAX / 2;

/// Resolves a job's files, ordered by the pipelines' names; what is wrong is noted, and None then comes out.
pub fn plan(
    files: &[(File, Texts)],
    numbered: &[TopicName],
    lives: &Lives,
    faults: &mut [Faulty],
) -> Option<Pipelines> {
    check_names(files, faults);
    let topic_field = topic_field(files, faults);
    let mut topics = topics::resolve(files, numbered, faults);
    // Where computed columns begin is known once every pipeline has said which fields of the events it reads: so all are planned twice.
    let mut columns = Vec::new();
    let mut unheard: Vec<Faulty> = faults.iter().map(Faulty::unheard).collect();
    plan_all(files, &mut topics, &mut columns, PROVISIONAL_BASE, &mut unheard);
    let base = columns.len();
    let Planned { pipelines, windows, views, alerts, webhooks, emits } =
        plan_all(files, &mut topics, &mut columns, base, faults);
    let hints = hints(files, &topics, faults);
    let routes = plan_routes(files, &topics, (&pipelines, &windows, &views, &alerts), faults);
    let copies = audit::copies(files.iter().map(|(file, _)| file), faults);
    if faults.iter().any(|faults| !faults.found.is_empty()) {
        return None;
    }
    assert_eq!(columns.len(), base, "planned again, pipelines without faults read the same fields");
    let (mut plans, mut texts) = (Vec::new(), Vec::new());
    for (_, described) in topics.all {
        let Described { plan, text, .. } = described?;
        plans.push(plan);
        texts.push(text);
    }
    let lives = lives.clone();
    let plan = Plan { topic_field, topics: plans, columns, pipelines, windows, views, alerts, webhooks, emits, lives };
    Some(Pipelines { plan: Arc::new(plan), schemas: texts, hints, routes, copies, cases: Vec::new() })
}

fn check_names(files: &[(File, Texts)], faults: &mut [Faulty]) {
    let names: Vec<&str> = files.iter().map(|(file, _)| file.pipeline.it.as_str()).collect();
    for (at, ((file, _), faults)) in files.iter().zip(faults).enumerate() {
        let name = &file.pipeline;
        if !name.it.is_empty() && names.get(..at).is_some_and(|before| before.contains(&name.it.as_str())) {
            faults.note(name.place, format!("another pipeline of this job is called {} too", quote(&name.it)));
        }
    }
}

/// The one topic field of the job.
fn topic_field(files: &[(File, Texts)], faults: &mut [Faulty]) -> String {
    let mut said: Option<&str> = None;
    for ((file, _), faults) in files.iter().zip(faults) {
        let Some(own) = &file.topic_field else { continue };
        match said {
            Some(other) if other != own.it => faults.note(
                own.place,
                format!("topic_field: another pipeline of this job says {}: a job has one", quote(other)),
            ),
            _ => said = Some(&own.it),
        }
    }
    said.unwrap_or(TOPIC_FIELD_DEFAULT).to_owned()
}

/// The pipelines and what they have, as in `Plan`.
#[derive(Default)]
struct Planned {
    pipelines: Vec<PipelinePlan>,
    windows: Vec<WindowPlan>,
    views: Vec<ViewPlan>,
    alerts: Vec<AlertPlan>,
    webhooks: Vec<WebhookPlan>,
    emits: Vec<EmitPlan>,
}

fn plan_all(
    files: &[(File, Texts)],
    topics: &mut Topics,
    columns: &mut Vec<ColumnPlan>,
    base: usize,
    faults: &mut [Faulty],
) -> Planned {
    let mut planned = Planned::default();
    let reads = topics.read.clone();
    for (((file, _), read), faults) in files.iter().zip(&reads).zip(faults) {
        let made = plan_file(file, read, topics, columns, base, &mut planned, faults);
        for (name, made) in made {
            topics.emit(&name, Some(made));
        }
    }
    planned
}

/// Plans one file; gives the topics that it makes.
fn plan_file(
    file: &File,
    read: &[TopicId],
    topics: &Topics,
    columns: &mut Vec<ColumnPlan>,
    base: usize,
    planned: &mut Planned,
    faults: &mut Faulty,
) -> Vec<(String, Described)> {
    let Planned { pipelines, windows, views, alerts, webhooks, emits } = planned;
    let at = pipelines.len();
    let mut columns = Columns::new(read.iter().map(|topic| topics.described(*topic)).collect(), columns, base);
    let (first, first_view, first_emit) = (windows.len(), views.len(), emits.len());
    let first_alert = alerts.len();
    let filter = computed(file, &mut columns, faults);
    windows.extend(file.windows.iter().map(|window| plan_window(at, file, window, topics, &mut columns, faults)));
    for view in &file.views {
        if views.iter().any(|other| other.name == view.name.it) {
            let message = format!("views: another view of this job is called {} too", quote(&view.name.it));
            faults.note(view.name.place, message);
        }
        views.extend(views::plan(at, view, &mut columns, faults));
    }
    let own = Windows { planned: windows.get(first..).unwrap_or_default(), first, written: &file.windows };
    for alert in &file.alerts {
        let Some(mut plan) = alerts::plan(at, alert, &own, &mut columns, faults) else { continue };
        plan.topic = alert.topic.as_ref().and_then(|topic| topics.number(&topic.it));
        alerts.push(plan);
    }
    let of_pipeline = alerts.get(first_alert..).unwrap_or_default();
    for webhook in &file.webhooks {
        webhooks.extend(webhooks::plan(at, webhook, (of_pipeline, first_alert), &file.alerts, faults));
    }
    for window in of_pipeline.iter().filter_map(|alert| alert.rule.window()) {
        if let Some(window) = windows.get_mut(window) {
            window.watched = true;
        }
    }
    // Silence counts once it counts for all that they are made of.
    let idle_after = read.iter().filter_map(|topic| topics.described(*topic)).map(|topic| topic.plan.idle_after).max();
    let made = |name: &str, schema: &str, behind: Micros| {
        let emitted = EmittedBy { pipeline: at, behind };
        let correlation = file.correlation.as_ref().map(|of| &of.it);
        (name.to_owned(), topics::made(name, schema, emitted, idle_after.unwrap_or_default()).telling(correlation))
    };
    let mut all_made = Vec::new();
    for emit in &file.emits {
        let Some((plan, schema)) = emits::plan(at, emit, topics, read, &mut columns, faults) else { continue };
        all_made.push(made(&emit.topic.it, &schema, Micros(0)));
        emits.push(plan);
    }
    for topic in file.alert_topics() {
        let Some(number) = topics.number(&topic.it) else { continue };
        let told = of_pipeline.iter().filter(|alert| alert.topic == Some(number));
        let told = told.map(|alert| (alert, alert.key_fields(windows)));
        // What a late event changes may lie so far back.
        let allowed =
            |alert: &AlertPlan| alert.rule.window().and_then(|window| windows.get(window)).map(|w| w.late_allow);
        let behind = told.clone().filter_map(|(alert, _)| allowed(alert)).max();
        all_made.push(made(&topic.it, &alerts::schema(told), behind.unwrap_or_default()));
    }
    let of_pipeline = windows.get(first..).unwrap_or_default();
    for (window, topic) in of_pipeline.iter().zip(&file.windows).filter_map(|(w, it)| Some((w, it.topic.as_ref()?))) {
        all_made.push(made(&topic.it, &emits::window_schema(window, &columns), window.late_allow));
    }
    cases::check(file, |name| row_columns(file, of_pipeline, name), faults);
    let (reads, derived, arguments) = columns.into_parts();
    pipelines.push(PipelinePlan {
        name: file.pipeline.it.clone(),
        topics: read.to_vec(),
        reads,
        derived,
        filter,
        arguments,
        windows: first..windows.len(),
        views: first_view..views.len(),
        alerts: first_alert..alerts.len(),
        emits: first_emit..emits.len(),
        audit: file.audit.level,
    });
    all_made
}

fn plan_routes(
    files: &[(File, Texts)],
    topics: &Topics,
    (pipelines, windows, views, alerts): (&[PipelinePlan], &[WindowPlan], &[ViewPlan], &[AlertPlan]),
    faults: &mut [Faulty],
) -> Vec<Route> {
    let mut all = Vec::new();
    for (((file, _), pipeline), faults) in files.iter().zip(pipelines).zip(faults) {
        let named = Named {
            windows: (windows.get(..pipeline.windows.end).unwrap_or_default(), pipeline.windows.start),
            views: (views.get(..pipeline.views.end).unwrap_or_default(), pipeline.views.start),
            alerts: (alerts.get(..pipeline.alerts.end).unwrap_or_default(), pipeline.alerts.start),
            written_alerts: &file.alerts,
            written_views: &file.views,
            topics,
            read: &pipeline.topics,
        };
        routes::plan(&file.routes, &named, &mut all, faults);
    }
    all
}

/// What a test can say of a window's row; nothing where a fault of the window leaves that open.
fn row_columns(file: &File, windows: &[WindowPlan], name: &str) -> Option<Vec<String>> {
    let (written, window) = file.windows.iter().zip(windows).find(|(_, window)| window.name == name)?;
    if !is_whole(written, window) {
        return Some(Vec::new());
    }
    let group = window.group.iter().map(|field| &field.name);
    let named = group.chain(window.metrics.iter().map(|(name, _)| name)).cloned();
    Some(named.chain(ROW_FACTS.map(str::to_owned)).collect())
}

/// Adds the derived fields; gives the filter.
fn computed(file: &File, columns: &mut Columns, faults: &mut Faulty) -> Option<Expr> {
    for (name, text) in &file.derived {
        let read = of_event(columns, |scope| sql::expression(&text.it, scope));
        match read {
            Ok(expression) => {
                if let Err(why) = columns.derive(&name.it, expression) {
                    faults.note(name.place, format!("derive: {why}"));
                }
            }
            Err(fault) => {
                faults.note_in(text, "derive", &fault);
                columns.derive_faulty(&name.it);
            }
        }
    }
    let text = file.filter.as_ref()?;
    match of_event(columns, |scope| sql::condition(&text.it, scope)) {
        Ok(filter) => Some(filter),
        Err(fault) => {
            faults.note_in(text, "filter", &fault);
            None
        }
    }
}

/// Reads something in which the pipeline's fields can be named.
pub fn of_event<T>(columns: &mut Columns, read: impl FnOnce(&mut Scope) -> T) -> T {
    let mut resolve = |path: &[Step]| columns.resolve(path);
    read(&mut Scope { resolve: &mut resolve, event_time: true })
}

/// Whether all that makes the window's row was read and planned.
pub fn is_whole(written: &Window, plan: &WindowPlan) -> bool {
    written.is_whole && written.group.len() == plan.group.len() && written.metrics.len() == plan.metrics.len()
}

fn plan_window(
    pipeline: usize,
    file: &File,
    window: &Window,
    topics: &Topics,
    columns: &mut Columns,
    faults: &mut Faulty,
) -> WindowPlan {
    check_view_name(&file.pipeline.it, window, faults);
    let names = group_names(&window.group);
    let mut taken: Vec<&str> = ROW_COLUMNS.to_vec();
    if window.topic.is_some() {
        taken.extend([ID, TIME]);
    }
    let mut group = Vec::new();
    for (field, name) in window.group.iter().zip(&names) {
        claim_column(name, field.place, &mut taken, faults);
        match columns.group(&field.it) {
            Ok((column, of_type)) => group.push(GroupField { name: name.clone(), column, of_type }),
            Err(why) => faults.note(field.place, why),
        }
    }
    let mut metrics: Vec<(String, Metric)> = Vec::new();
    for (name, call) in &window.metrics {
        claim_column(&name.it, name.place, &mut taken, faults);
        match metric::plan(&call.it, columns) {
            Ok(metric) => metrics.push((name.it.clone(), metric)),
            Err(fault) => faults.note_in(call, "metrics", &fault),
        }
    }
    let mut plan = WindowPlan {
        pipeline,
        name: window.name.it.clone(),
        kind: window.kind.unwrap_or(WindowKind::Tumbling { every: Micros(1) }),
        group,
        late_allow: window.late_allow,
        emit: window.emit,
        metrics,
        having: None,
        top: None,
        topic: window.topic.as_ref().and_then(|topic| topics.number(&topic.it)),
        watched: false,
    };
    if !is_whole(window, &plan) {
        return plan;
    }
    plan.having = window.having.as_ref().and_then(|having| of_row(having, "having", &plan, columns, faults));
    plan.top = window.top.as_ref().and_then(|top| {
        let by = ranked(&top.by, "top", &plan, columns, faults)?;
        Some(Top { n: top.n, by })
    });
    plan
}

/// A condition on the window's rows.
pub fn of_row(
    text: &At<String>,
    key: &str,
    window: &WindowPlan,
    columns: &Columns,
    faults: &mut Faulty,
) -> Option<Expr> {
    let names = condition::names(window, |column| columns.kind(column));
    let mut resolve = |path: &[Step]| {
        let path = FieldPath(path.to_vec()).to_string();
        let at = names.iter().position(|(name, _)| *name == path);
        let found = at.and_then(|at| names.get(at).map(|(_, of_type)| (crate::core::plan::ColumnId(at), *of_type)));
        found.ok_or_else(|| {
            let all: Vec<&str> = names.iter().map(|(name, _)| name.as_str()).collect();
            format!("a row has no {}{}; it has {}", quote(&path), hint(&path, all.iter().copied()), all.join(", "))
        })
    };
    match sql::condition(&text.it, &mut Scope { resolve: &mut resolve, event_time: false }) {
        Ok(condition) => Some(condition),
        Err(fault) => {
            faults.note_in(text, key, &fault);
            None
        }
    }
}

/// The place of the metric of this name, whose values are numbers.
pub fn ranked(
    by: &At<String>,
    key: &str,
    window: &WindowPlan,
    columns: &Columns,
    faults: &mut Faulty,
) -> Option<usize> {
    let names = window.metrics.iter().map(|(name, _)| name.as_str());
    let Some(at) = names.clone().position(|name| name == by.it) else {
        faults.note(by.place, format!("{key}: the window has no metric {}{}", quote(&by.it), hint(&by.it, names)));
        return None;
    };
    let types = condition::names(window, |column| columns.kind(column));
    let of_type = types.get(window.group.len() + at).map(|(_, of_type)| *of_type);
    if !matches!(of_type, Some(Type::Integer | Type::Number)) {
        faults.note(by.place, format!("{key}: {} is no number", quote(&by.it)));
        return None;
    }
    Some(at)
}

fn check_view_name(pipeline: &str, window: &Window, faults: &mut Faulty) {
    let view = format!("{pipeline}_{}", window.name.it);
    if view.len() > NAME_BYTES_MAX {
        let message = format!(
            "the window's SQL view would be called {}: at most {NAME_BYTES_MAX} bytes are allowed",
            quote(&view)
        );
        faults.note(window.name.place, message);
    }
    if TABLES.contains(&view.as_str()) {
        faults.note(
            window.name.place,
            format!("the window's SQL view would be called {view}, which is a table of Caudal's"),
        );
    }
}

/// SQL compares column names without regard to case.
fn claim_column<'n>(name: &'n str, place: Place, taken: &mut Vec<&'n str>, faults: &mut Faulty) {
    if taken.iter().any(|t| t.eq_ignore_ascii_case(name)) {
        let own = taken.iter().filter(|name| ROW_COLUMNS.contains(name) || [ID, TIME].contains(name));
        let own: Vec<&str> = own.copied().collect();
        let message = format!(
            "{} is taken: a window's group fields, metrics and {} need different names",
            quote(name),
            own.join(", ")
        );
        faults.note(place, message);
    }
    if name.len() > NAME_BYTES_MAX {
        faults
            .note(place, format!("the column {} is too long: at most {NAME_BYTES_MAX} bytes are allowed", quote(name)));
    }
    taken.push(name);
}

/// The last name of each path, or the whole path where another field of the group ends alike.
fn group_names(group: &[At<FieldPath>]) -> Vec<String> {
    let last = |field: &At<FieldPath>| match field.it.0.last() {
        Some(Step::Name(name)) => Some(name.clone()),
        Some(Step::Item(_)) | None => None,
    };
    let alone = |name: &String| {
        let alike = |other: &&At<FieldPath>| last(other).is_some_and(|other| other.eq_ignore_ascii_case(name));
        group.iter().filter(alike).count() == 1
    };
    group.iter().map(|field| last(field).filter(alone).unwrap_or_else(|| field.it.to_string())).collect()
}

/// The generator's hints of all files together.
fn hints(files: &[(File, Texts)], topics: &Topics, faults: &mut [Faulty]) -> Hints {
    let from_outside = |name: &str| !files.iter().any(|(file, _)| file.emitted().any(|emitted| emitted.it == name));
    let is_named = |name: &str| files.iter().any(|(file, _)| file.topics.iter().any(|topic| topic.name.it == name));
    let weight = |name: &str| if from_outside(name) && is_named(name) { 1.0 } else { 0.0 };
    let mut weights: Vec<f64> = topics.all.iter().map(|(name, _)| weight(name)).collect();
    let mut bursts = Vec::new();
    for ((file, _), faults) in files.iter().zip(faults) {
        let mut place_of = |topic: &At<String>| {
            let own = || file.topics.iter().map(|topic| topic.name.it.as_str());
            let name = quote(&topic.it);
            if !from_outside(&topic.it) {
                faults.note(topic.place, format!("the job makes the events of {name} itself"));
            } else if !own().any(|name| name == topic.it) {
                let hint = hint(&topic.it, own());
                faults.note(topic.place, format!("no topic of this file is called {name}{hint}"));
            }
            topics.all.iter().position(|(name, _)| *name == topic.it)
        };
        for (topic, weight) in &file.generate.weights {
            if let Some(slot) = place_of(topic).and_then(|at| weights.get_mut(at)) {
                *slot = *weight;
            }
        }
        bursts.extend(file.generate.burst.as_ref().and_then(|burst| {
            let topic = place_of(&burst.topic)?;
            Some(BurstHint { topic, probability: burst.probability, size: burst.size })
        }));
        let own = file.topics.iter().filter_map(|topic| topics.all.iter().position(|(name, _)| *name == topic.name.it));
        let none = own.filter_map(|at| weights.get(at)).all(|&weight| weight == 0.0);
        if let Some((topic, _)) = file.generate.weights.first().filter(|_| none) {
            faults.note(topic.place, "weights: at least one topic needs a weight above 0");
        }
    }
    // Each file's topics at the rate that it says.
    let rates: Vec<f64> = files.iter().filter_map(|(file, _)| file.generate.rate).collect();
    let rate = (!rates.is_empty()).then(|| rates.iter().sum());
    Hints { rate, weights, bursts }
}
