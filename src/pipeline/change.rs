//! Changes of a job's pipelines, while it runs or when it starts: what may be changed, what kept state forbids, and what is begun anew where that is accepted.
//! `docs/semantics.md`, "Changes of pipelines".

use std::collections::{BTreeMap, BTreeSet};

use crate::core::plan::{Metric, Plan, Rule, WindowPlan};
use crate::core::units::{Epoch, TopicId};
use crate::pipeline::effective::text::Item;
use crate::pipeline::file::File;
use crate::pipeline::section::Faulty;
use crate::pipeline::windows::Window;
use crate::pipeline::yaml::quote;
use crate::pipeline::{Bundle, Configuration, Fault, Faults, FileText, Pipelines, effective, parse};

/// A change that can be made.
#[derive(Debug)]
pub struct Proposed {
    pub configuration: Configuration,
    pub pipelines: Pipelines,
    /// What it comes to, for people.
    pub changes: Vec<String>,
    /// There was no pipeline of this name.
    pub is_new: bool,
}

/// Why a change is not made.
#[derive(Debug, thiserror::Error)]
pub enum Refused {
    /// The files together would have faults.
    #[error("{0}")]
    Faults(Faults),
    /// Kept state would lose its meaning, or a part of the job cannot be changed while it runs.
    #[error("{}", .0.iter().map(Clash::to_string).collect::<Vec<_>>().join("; "))]
    Clashes(Vec<Clash>),
    #[error("there is no pipeline {0:?}")]
    Unknown(String),
    #[error("{0:?} is the job's last pipeline: a job without any has nothing to do; stop it instead")]
    Last(String),
}

/// One thing that cannot be changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Clash {
    /// Such as `window by_region of civic_safety`.
    pub what: String,
    pub reason: String,
    pub way_out: String,
    pub cure: Cure,
}

/// What a start with `--accept-changes` makes of a clash.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Cure {
    /// These pipelines begin anew.
    Anew(BTreeSet<String>),
    /// Nothing more: what is made when the job starts is made as the file says now.
    Start,
    /// There is none.
    None,
}

/// What a start makes of files that are not those that it was started with before.
#[derive(Debug)]
pub struct Accepted {
    pub configuration: Configuration,
    pub pipelines: Pipelines,
    /// What it comes to, for people.
    pub changes: Vec<String>,
    /// What kept state forbids, and is left behind; the pipelines that begin anew by it.
    pub clashes: Vec<Clash>,
    pub anew: BTreeSet<String>,
}

impl std::fmt::Display for Clash {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: {}; {}", self.what, self.reason, self.way_out)
    }
}

/// Puts this file in the place of the one of the same pipeline, or beside the others. `schema` gives the text of a schema by the path that the file
/// writes; what it does not have is taken from the files that are there.
///
/// # Errors
/// As `Refused` says.
pub fn put(
    now: &Configuration,
    name: &str,
    text: &str,
    schema: impl Fn(&str) -> Option<String>,
) -> Result<Proposed, Refused> {
    let known = |path: &str| {
        let own = now.bundle.0.iter().filter(|file| pipeline_of(file).as_deref() == Some(name));
        let mut schemas = own.chain(&now.bundle.0).flat_map(|file| &file.schemas);
        schemas.find(|(other, _)| other == path).map(|(_, text)| text.clone())
    };
    let file = given(name, text, |path| schema(path).or_else(|| known(path))).map_err(Refused::Faults)?;
    let mut files: BTreeMap<String, FileText> = by_name(&now.bundle);
    let is_new = files.insert(name.to_owned(), file).is_none();
    propose(now, Bundle(files.into_values().collect()), is_new)
}

/// What holds after the epoch if these files are accepted at a start: each that is not the one that its pipeline was started with before; those that people brought
/// or changed while the job ran stay as they are. Pipelines whose kept state would lose its meaning begin anew.
///
/// # Errors
/// As `Refused` says: clashes that beginning anew does not cure.
pub fn accept(now: &Configuration, given: &Bundle, after: Epoch) -> Result<Accepted, Refused> {
    let (mut files, mut given) = (by_name(&now.bundle), by_name(given));
    let begun: BTreeMap<String, String> =
        given.iter().map(|(name, file)| (name.clone(), Bundle(vec![file.clone()]).id())).collect();
    files.retain(|name, _| begun.contains_key(name) || !now.begun.contains_key(name));
    given.retain(|name, _| begun.get(name) != now.begun.get(name));
    files.extend(given);
    if files.is_empty() {
        return Err(Refused::Last(now.begun.keys().next().cloned().unwrap_or_default()));
    }
    let bundle = Bundle(files.into_values().collect());
    let next = Configuration { bundle, begun, replayed: None, ..now.clone() };
    let Compared { mut configuration, mut pipelines, clashes, changes } = compare(now, next)?;
    let (cured, refused): (Vec<Clash>, Vec<Clash>) = clashes.into_iter().partition(|it| it.cure != Cure::None);
    if !refused.is_empty() {
        return Err(Refused::Clashes(refused));
    }
    let of_clash = |clash: &Clash| if let Cure::Anew(names) = &clash.cure { names.clone() } else { BTreeSet::new() };
    let anew: BTreeSet<String> = cured.iter().flat_map(of_clash).collect();
    if !anew.is_empty() {
        for name in &anew {
            configuration.lives.begin(name, after);
        }
        pipelines = configuration.pipelines().map_err(Refused::Faults)?;
    }
    Ok(Accepted { configuration, pipelines, changes, clashes: cured, anew })
}

/// Takes the pipeline of this name away.
///
/// # Errors
/// As `Refused` says.
pub fn delete(now: &Configuration, name: &str) -> Result<Proposed, Refused> {
    let mut files = by_name(&now.bundle);
    if files.remove(name).is_none() {
        return Err(Refused::Unknown(name.to_owned()));
    }
    if files.is_empty() {
        return Err(Refused::Last(name.to_owned()));
    }
    propose(now, Bundle(files.into_values().collect()), false).map_err(|refused| match refused {
        // The files that are left are as they were: what is wrong with them now is that this one is gone.
        Refused::Faults(Faults(faults)) => {
            Refused::Clashes(faults.into_iter().map(|fault| missed(name, fault)).collect())
        }
        other => other,
    })
}

/// What another file says that means nothing without the pipeline of this name.
fn missed(name: &str, fault: Fault) -> Clash {
    let what = if fault.line == 0 { fault.file } else { format!("{}, line {}", fault.file, fault.line) };
    let way_out = format!("change or delete first what needs the pipeline {name}");
    Clash { what, reason: fault.message, way_out, cure: Cure::None }
}

/// The name that the file gives its pipeline.
#[must_use]
pub fn pipeline_of(file: &FileText) -> Option<String> {
    let root = parse(&file.file, &file.text).ok()?;
    Some(File::read(&root, &mut Faulty::new(&file.file, &file.text)).pipeline.it)
}

fn by_name(bundle: &Bundle) -> BTreeMap<String, FileText> {
    bundle.0.iter().filter_map(|file| Some((pipeline_of(file)?, file.clone()))).collect()
}

/// A file that comes without a folder: of the schemas those that it names.
fn given(name: &str, text: &str, schema: impl Fn(&str) -> Option<String>) -> Result<FileText, Faults> {
    let file = format!("{name}.yaml");
    let root = parse(&file, text)?;
    let mut faults = Faulty::new(&file, text);
    let read = File::read(&root, &mut faults);
    if read.pipeline.it != name {
        let message =
            format!("pipeline: it is called {} here, and {} in the address", quote(&read.pipeline.it), quote(name));
        faults.note(read.pipeline.place, message);
    }
    let mut schemas = BTreeMap::new();
    for path in read.topics.iter().filter_map(|topic| topic.described.as_ref()?.schema.as_ref()) {
        match schema(&path.it) {
            Some(text) => drop(schemas.insert(path.it.clone(), text)),
            None => faults.note(
                path.place,
                format!("schema: the text of {} is not there: send it along under \"schemas\"", quote(&path.it)),
            ),
        }
    }
    if !faults.found.is_empty() {
        return Err(Faults::sorted(faults.found));
    }
    Ok(FileText { file, text: text.to_owned(), schemas: schemas.into_iter().collect() })
}

fn propose(now: &Configuration, bundle: Bundle, is_new: bool) -> Result<Proposed, Refused> {
    let next = Configuration { bundle, replayed: None, ..now.clone() };
    let Compared { configuration, pipelines, clashes, changes } = compare(now, next)?;
    if !clashes.is_empty() {
        return Err(Refused::Clashes(clashes));
    }
    Ok(Proposed { configuration, pipelines, changes, is_new })
}

/// A configuration that is to follow, beside the one that holds.
struct Compared {
    configuration: Configuration,
    pipelines: Pipelines,
    clashes: Vec<Clash>,
    changes: Vec<String>,
}

fn compare(now: &Configuration, next: Configuration) -> Result<Compared, Refused> {
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

impl Refused {
    /// The faults, where it has some.
    #[must_use]
    pub fn faults(&self) -> &[Fault] {
        if let Self::Faults(Faults(faults)) = self { faults } else { &[] }
    }
}
