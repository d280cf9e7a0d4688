//! What a configuration that is to follow changes, and what of it kept state forbids: topic by topic, file by file, window by window.

use std::collections::BTreeSet;

use crate::core::plan::{Metric, Plan, Rule, WindowPlan};
use crate::core::units::TopicId;
use crate::pipeline::change::{Clash, Cure, Refused, by_name};
use crate::pipeline::effective::text::Item;
use crate::pipeline::file::File;
use crate::pipeline::windows::Window;
use crate::pipeline::{Configuration, FileText, Pipelines, effective};

/// A configuration that is to follow, beside the one that holds.
pub(super) struct Compared {
    pub configuration: Configuration,
    pub pipelines: Pipelines,
    pub clashes: Vec<Clash>,
    pub changes: Vec<String>,
}

pub(super) fn compare(now: &Configuration, next: Configuration) -> Result<Compared, Refused> {
    let (before, old_files) = now.planned().map_err(Refused::Faults)?;
    let (configuration, pipelines) = next.settled().map_err(Refused::Faults)?;
    let (_, new_files) = configuration.planned().map_err(Refused::Faults)?;
    let mut clashes = Vec::new();
    topics(&before.plan, &pipelines.plan, &mut clashes);
    for (_, new) in &new_files {
        if let Some((_, old)) = old_files.iter().find(|(_, old)| old.pipeline.it == new.pipeline.it) {
            files(old, new, &mut clashes);
        } else {
            outside(&new.pipeline.it, None, Some(new), &mut clashes);
        }
    }
    for (_, old) in &old_files {
        if !new_files.iter().any(|(_, new)| new.pipeline.it == old.pipeline.it) {
            outside(&old.pipeline.it, Some(old), None, &mut clashes);
        }
    }
    kept(&before.plan, &pipelines.plan, &mut clashes);
    clashes.dedup();
    let told = changes(&before.plan, &pipelines.plan);
    let old_texts = by_name(&now.bundle);
    let is_changed = |(name, new): &(String, FileText)| {
        old_texts.get(name).is_some_and(|old| (&old.text, &old.schemas) != (&new.text, &new.schemas))
            && !told.iter().any(|(of, _)| of.as_ref() == Some(name))
    };
    let changed = by_name(&configuration.bundle).into_iter().filter(is_changed);
    let changed = changed.map(|(name, _)| format!("pipeline {name} is changed")).collect::<Vec<_>>();
    let changes = told.into_iter().map(|(_, change)| change).chain(changed).collect();
    Ok(Compared { configuration, pipelines, clashes, changes })
}

/// What follows from a clash that is told already is not told again.
fn clash_once(clashes: &mut Vec<Clash>, what: String, reason: &str, way_out: &str, cure: Cure) {
    if !clashes.iter().any(|clash| clash.what == what) {
        clash(clashes, what, reason, way_out, cure);
    }
}

fn clash(clashes: &mut Vec<Clash>, what: String, reason: &str, way_out: &str, cure: Cure) {
    clashes.push(Clash { what, reason: reason.to_owned(), way_out: way_out.to_owned(), cure });
}

impl Cure {
    fn anew(pipeline: &str) -> Self {
        Self::Anew(BTreeSet::from([pipeline.to_owned()]))
    }

    /// Every pipeline that reads the topic, before and after.
    fn readers(old: &Plan, new: &Plan, topic: TopicId) -> Self {
        let reads = |plan: &Plan, name: &str| plan.pipelines.iter().any(|of| of.name == name && of.reads_topic(topic));
        let both = old.pipelines.iter().filter(|it| it.reads_topic(topic) && reads(new, &it.name));
        Self::Anew(both.map(|it| it.name.clone()).collect())
    }
}

const AT_A_START: &str = "put it into a file of PIPELINES, and start the job with --accept-changes";
const OTHER_TOPIC: &str = "give the changed topic another name";

/// A topic's ids, clock and numbers outlive changes.
fn topics(old: &Plan, new: &Plan, clashes: &mut Vec<Clash>) {
    if old.topic_field != new.topic_field {
        let way_out = "leave it, or begin with a DATA_DIR and a store of their own";
        clash(
            clashes,
            "topic_field".to_owned(),
            "events that wait in the log name their topic in the old one",
            way_out,
            Cure::None,
        );
    }
    for (id, (before, after)) in (0..).map(TopicId).zip(old.topics.iter().zip(&new.topics)) {
        let what = || format!("topic {}", before.name);
        if before.emitted.is_some() != after.emitted.is_some() {
            clash(
                clashes,
                what(),
                "events that come from outside and events that the job makes cannot have one topic",
                OTHER_TOPIC,
                Cure::None,
            );
        }
        if before.retired || after.retired || before.emitted.is_some() {
            continue;
        }
        if !before.remembers_as(after) {
            let cure = Cure::readers(old, new, id);
            clash(clashes, what(), "the ids that are remembered are by its id and dedup", OTHER_TOPIC, cure);
        }
        if !before.tells_time_as(after) {
            let cure = Cure::readers(old, new, id);
            clash(clashes, what(), "its watermark and the windows that are open are by its time", OTHER_TOPIC, cure);
        }
    }
}

/// What one file says before and after.
fn files(old: &File, new: &File, clashes: &mut Vec<Clash>) {
    let pipeline = &new.pipeline.it;
    for window in &new.windows {
        if let Some(before) = old.windows.iter().find(|before| before.name.it == window.name.it) {
            windows(pipeline, before, window, clashes);
        }
    }
    for view in &new.views {
        let Some(before) = old.views.iter().find(|before| before.name.it == view.name.it) else { continue };
        let of = |view: &crate::pipeline::views::View| {
            let latest: Vec<String> = view.latest.iter().map(|path| path.it.to_string()).collect();
            (view.key.as_ref().map(|key| key.it.to_string()), latest)
        };
        if of(before) != of(view) {
            let what = format!("view {} of {pipeline}", view.name.it);
            clash(
                clashes,
                what,
                "its entries are by its key and keep its fields",
                "give the changed view another name",
                Cure::anew(pipeline),
            );
        }
    }
    for alert in &new.alerts {
        let Some(before) = old.alerts.iter().find(|before| before.name.it == alert.name.it) else { continue };
        if shown(&effective::alert(before)) != shown(&effective::alert(alert)) {
            let what = format!("alert {} of {pipeline}", alert.name.it);
            clash(
                clashes,
                what,
                "what stands and what it has counted is by its rule",
                "give the changed alert another name",
                Cure::anew(pipeline),
            );
        }
    }
    for emit in &new.emits {
        let Some(before) = old.emits.iter().find(|before| before.topic.it == emit.topic.it) else { continue };
        let joins =
            [before, emit].iter().any(|emit| matches!(emit.source, Some(crate::pipeline::emits::Written::Join(_))));
        if joins && shown(&effective::emit(before)) != shown(&effective::emit(emit)) {
            let what = format!("emit {} of {pipeline}", emit.topic.it);
            clash(
                clashes,
                what,
                "events wait for their other halves by what it joins and keeps",
                "give the changed join another name",
                Cure::anew(pipeline),
            );
        }
    }
    outside(pipeline, Some(old), Some(new), clashes);
}

fn windows(pipeline: &str, old: &Window, new: &Window, clashes: &mut Vec<Clash>) {
    let mut refuse = |reason: &str| {
        let what = format!("window {} of {pipeline}", new.name.it);
        clash(clashes, what, reason, "give the changed window another name", Cure::anew(pipeline));
    };
    if old.kind != new.kind {
        refuse("its open windows are of its kind and size (every)");
    }
    let group = |window: &Window| window.group.iter().map(|path| path.it.to_string()).collect::<Vec<_>>();
    if group(old) != group(new) {
        refuse("its open windows are kept by the fields of its group, which cannot change under them");
    }
    let metrics = |window: &Window| {
        window.metrics.iter().map(|(name, call)| (name.it.clone(), call.it.clone())).collect::<Vec<_>>()
    };
    if metrics(old) != metrics(new) {
        refuse("its open windows have gathered its metrics");
    }
    let rows = |window: &Window| {
        let top = window.top.as_ref().map(|top| (top.n, top.by.it.clone()));
        (window.having.as_ref().map(|having| having.it.clone()), top)
    };
    if rows(old) != rows(new) {
        refuse("which of its rows are there was decided by its having and top");
    }
    if new.late_allow > old.late_allow {
        refuse("what a longer late.allow would still change is forgotten already (a shorter one is possible)");
    }
}

/// What is made when the job starts: senders of webhooks, files of the audit.
fn outside(pipeline: &str, old: Option<&File>, new: Option<&File>, clashes: &mut Vec<Clash>) {
    let webhooks = |file: &&File| {
        let shown = |webhook| (webhook_name(webhook), shown(&effective::webhook(webhook)));
        file.webhooks.iter().map(shown).collect::<Vec<_>>()
    };
    if old.as_ref().map(webhooks).unwrap_or_default() != new.as_ref().map(webhooks).unwrap_or_default() {
        let reason = "their senders are made when the job starts";
        clash(clashes, format!("webhooks of {pipeline}"), reason, AT_A_START, Cure::Start);
    }
    let jsonl = |file: &File| file.audit.jsonl.as_ref().map(|file| file.it.clone());
    if old.and_then(jsonl) != new.and_then(jsonl) {
        let reason = "its file is opened when the job starts";
        clash(clashes, format!("audit.jsonl of {pipeline}"), reason, AT_A_START, Cure::Start);
    }
}

fn webhook_name(webhook: &crate::pipeline::webhooks::Webhook) -> String {
    webhook.name.it.clone()
}

fn shown(item: &Item) -> String {
    format!("{item:?}")
}

/// What goes on must be of the same types: a schema or a derived field may have changed them, in another file too.
fn kept(old: &Plan, new: &Plan, clashes: &mut Vec<Clash>) {
    let find = |window: &WindowPlan| {
        let mut windows = new.windows.iter();
        windows.find(|other| other.name == window.name && new.pipeline_of(other).name == old.pipeline_of(window).name)
    };
    let types = |plan: &Plan, window: &WindowPlan| {
        let kind = |metric: &Metric| {
            let argument = metric.argument().map(|column| plan.kind(plan.pipeline_of(window), column));
            (std::mem::discriminant(metric), argument)
        };
        let metrics: Vec<_> = window.metrics.iter().map(|(name, metric)| (name.clone(), kind(metric))).collect();
        let group: Vec<_> = window.group.iter().map(|field| (field.name.clone(), field.of_type)).collect();
        (group, metrics)
    };
    for (window, after) in old.windows.iter().filter_map(|window| Some((window, find(window)?))) {
        if types(old, window) != types(new, after) {
            let what = format!("window {} of {}", window.name, old.pipeline_of(window).name);
            let reason = "the types of its group's fields or of what its metrics take change";
            clash_once(
                clashes,
                what,
                reason,
                "leave the types in the schema and in derive, or give the window another name",
                Cure::anew(&old.pipeline_of(window).name),
            );
        }
    }
    for (at, alert) in old.alerts.iter().enumerate() {
        let name = old.pipeline_name(alert.pipeline);
        let mut alerts = new.alerts.iter();
        let after = alerts.find(|other| other.name == alert.name && new.pipeline_name(other.pipeline) == name);
        let (Rule::Pattern(before), Some(Rule::Pattern(after))) = (&alert.rule, after.map(|after| &after.rule)) else {
            continue;
        };
        if before.key.of_type != after.key.of_type {
            let what = format!("alert {} of {name}", old.alerts.get(at).map_or("", |alert| &alert.name));
            clash_once(
                clashes,
                what,
                "the type of its key changes",
                "leave the type in the schema, or give the alert another name",
                Cure::anew(name),
            );
        }
    }
}

/// What comes and goes.
fn changes(old: &Plan, new: &Plan) -> Vec<(Option<String>, String)> {
    let named = |plan: &Plan| -> Vec<(Option<String>, String)> {
        let of = |kind: &str, name: &str, pipeline: usize| {
            let pipeline = plan.pipeline_name(pipeline);
            (Some(pipeline.to_owned()), format!("{kind} {name} of {pipeline}"))
        };
        let pipelines = plan.pipelines.iter().map(|it| (Some(it.name.clone()), format!("pipeline {}", it.name)));
        let windows = plan.windows.iter().map(|window| of("window", &window.name, window.pipeline));
        let views = plan.views.iter().map(|view| of("view", &view.name, view.pipeline));
        let alerts = plan.alerts.iter().map(|alert| of("alert", &alert.name, alert.pipeline));
        let topics = plan.topics.iter().filter(|topic| !topic.retired).map(|it| (None, format!("topic {}", it.name)));
        pipelines.chain(topics).chain(windows).chain(views).chain(alerts).collect()
    };
    let (before, after) = (named(old), named(new));
    let gone = before.iter().filter(|named| !after.contains(named));
    let gone = gone.map(|(of, name)| (of.clone(), format!("{name} is taken away")));
    let come = after.iter().filter(|named| !before.contains(named));
    let come = come.map(|(of, name)| (of.clone(), format!("{name} is added")));
    gone.chain(come).collect()
}
