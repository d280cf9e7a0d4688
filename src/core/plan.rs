//! A job's pipelines as the engine runs them: what `pipeline::plan` makes of the pipeline files. Immutable, shared by every rank.

mod alerts;
mod emits;
mod lives;
pub mod carry;

use std::borrow::Cow;
use std::ops::Range;
use std::sync::Arc;

use crate::core::expression::{Expr, Type};
pub use crate::core::path::{FieldPath, Step};
pub use crate::core::plan::alerts::{AlertPlan, Anomaly, Detector, Pattern, Rule, WebhookPlan};
pub use crate::core::plan::emits::{BodyField, EmitPlan, JoinPlan, JoinSide, Source};
pub use crate::core::plan::lives::Lives;
use crate::core::schema::Schema;
use crate::core::units::{Micros, TopicId};

/// All pipelines of a job, checked and resolved.
#[derive(Debug)]
pub struct Plan {
    /// The top-level field by which a mixed slab's events name their topic.
    pub topic_field: String,
    /// Every topic that a pipeline reads.
    pub topics: Vec<TopicPlan>,
    /// Every field of an event that a pipeline uses, each (path, kind) once.
    pub columns: Vec<ColumnPlan>,
    pub pipelines: Vec<PipelinePlan>,
    /// Of all pipelines, pipeline by pipeline.
    pub windows: Vec<WindowPlan>,
    /// Likewise.
    pub views: Vec<ViewPlan>,
    /// Likewise.
    pub alerts: Vec<AlertPlan>,
    /// Likewise.
    pub webhooks: Vec<WebhookPlan>,
    /// Likewise.
    pub emits: Vec<EmitPlan>,
    pub lives: Lives,
}

/// What a topic's events look like, and how their time and identity are read.
#[derive(Clone, Debug)]
pub struct TopicPlan {
    pub name: String,
    pub schema: Arc<Schema>,
    /// None: the topic's events have no identity and so no duplicates.
    pub id: Option<FieldPath>,
    /// The field that events of one story share; its value is a text, where it is there.
    pub correlation: Option<FieldPath>,
    pub time: FieldPath,
    pub time_format: TimeFormat,
    pub out_of_order: Micros,
    pub max_future: Micros,
    pub idle_after: Micros,
    /// How long an id is remembered.
    pub remember: Micros,
    /// None: its events come from outside.
    pub emitted: Option<EmittedBy>,
    /// No pipeline reads or makes it any more; it keeps its number, which the log's slabs carry.
    pub retired: bool,
}

/// Where a topic's events come from that the job makes itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EmittedBy {
    /// The pipeline's place in `Plan::pipelines`, before all that read the topic.
    pub pipeline: usize,
    /// How far its events may lie behind the pipeline's watermark.
    pub behind: Micros,
}

/// How the text or number in a topic's time field is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TimeFormat {
    /// The zone of a time that names none, in seconds east of UTC; None: it must name one.
    Rfc3339 {
        zone: Option<i32>,
    },
    Unix(Unit),
}

/// What a Unix time counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    Seconds,
    Milliseconds,
    Microseconds,
    Nanoseconds,
}

/// A field that decode lifts into a column.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ColumnPlan {
    pub path: FieldPath,
    pub kind: ColumnKind,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ColumnKind {
    /// A group's value or a text: string, integer, boolean or null, kept as a code into the slab's dictionary.
    Group,
    /// Exact, 64 bits.
    Integer,
    /// A finite double.
    Number,
    Boolean,
    /// Any value, as the event writes it: a view keeps it.
    Json,
}

impl ColumnKind {
    /// As what values of this type are kept.
    #[must_use]
    pub fn of(of_type: Type) -> Self {
        match of_type {
            Type::Text => Self::Group,
            Type::Integer | Type::Timestamp => Self::Integer,
            Type::Number => Self::Number,
            Type::Boolean => Self::Boolean,
        }
    }
}

/// A place among the columns of a pipeline's rows: those of `Plan::columns`, then the pipeline's derived ones, then its metrics' arguments.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ColumnId(pub usize);

/// What one pipeline file says.
#[derive(Clone, Debug, Default)]
pub struct PipelinePlan {
    pub name: String,
    /// In ascending order.
    pub topics: Vec<TopicId>,
    /// Which of `Plan::columns` it uses.
    pub reads: Vec<ColumnId>,
    /// Computed for every event of its topics.
    pub derived: Vec<Computed>,
    /// Of type Boolean.
    pub filter: Option<Expr>,
    /// Computed for every event that passes the filter.
    pub arguments: Vec<Computed>,
    /// Its windows in `Plan::windows`.
    pub windows: Range<usize>,
    /// Its views in `Plan::views`.
    pub views: Range<usize>,
    /// Its alerts in `Plan::alerts`.
    pub alerts: Range<usize>,
    /// What it emits, in `Plan::emits`.
    pub emits: Range<usize>,
    pub audit: Audit,
}

/// A column that is computed from columns before it.
#[derive(Clone, Debug, PartialEq)]
pub struct Computed {
    pub expression: Expr,
    /// As what the column is kept: what the expression's type is, or Group where it is a group's value.
    pub kind: ColumnKind,
}

/// A window, its group and its metrics.
#[derive(Clone, Debug)]
pub struct WindowPlan {
    /// The pipeline's place in `Plan::pipelines`.
    pub pipeline: usize,
    pub name: String,
    pub kind: WindowKind,
    pub group: Vec<GroupField>,
    pub late_allow: Micros,
    /// How often the rows of open panes are shown; None: never.
    pub emit: Option<Micros>,
    pub metrics: Vec<(String, Metric)>,
    /// A condition on a row, whose columns are the group's values, the metrics, then `ROW_FACTS`.
    pub having: Option<Expr>,
    pub top: Option<Top>,
    /// Where closed rows go as events.
    pub topic: Option<TopicId>,
    /// An alert looks at its rows, so that all of a group's have one owner.
    pub watched: bool,
}

/// One field of a window's group.
#[derive(Clone, Debug, PartialEq)]
pub struct GroupField {
    /// The last part of its path unless that is ambiguous, then the whole path.
    pub name: String,
    /// Of kind Group.
    pub column: ColumnId,
    /// Text, Integer or Boolean: what its values are.
    pub of_type: Type,
}

/// The latest values by key, over all events of the pipeline.
#[derive(Clone, Debug)]
pub struct ViewPlan {
    /// The pipeline's place in `Plan::pipelines`.
    pub pipeline: usize,
    /// No other view of the job has it.
    pub name: String,
    /// Of kind Group; an event in which it is null goes into no entry.
    pub key: ColumnId,
    /// The fields that are kept, by name, each with its column.
    pub latest: Vec<(String, ColumnId)>,
    /// Which events go into the view; a column of kind Boolean. None: all.
    pub when: Option<ColumnId>,
    /// Whether each event's fields are kept too, not only the latest.
    pub history: bool,
}

/// What a condition on a row can name beside the group's fields and the metrics.
pub const ROW_FACTS: [&str; 3] = ["event_count", "window_start", "window_end"];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WindowKind {
    Tumbling {
        every: Micros,
    },
    /// Made of slices as long as the greatest common divisor of both.
    Hopping {
        size: Micros,
        every: Micros,
    },
    Session {
        gap: Micros,
    },
}

impl WindowKind {
    /// How long the slices are that its panes are made of; None where panes are no slices of time.
    #[must_use]
    pub fn slice(self) -> Option<Micros> {
        match self {
            Self::Tumbling { every } => Some(every),
            Self::Hopping { size, every } => Some(Micros(greatest_common_divisor(size.0, every.0))),
            Self::Session { .. } => None,
        }
    }

    /// From the end of one row of a group to that of the next one, if there is one; of sessions the shortest that can be.
    #[must_use]
    pub fn step(self) -> Micros {
        match self {
            Self::Tumbling { every } | Self::Hopping { every, .. } => every,
            Self::Session { gap } => gap,
        }
    }

    /// Of session windows.
    #[must_use]
    pub fn gap(self) -> Option<Micros> {
        match self {
            Self::Session { gap } => Some(gap),
            Self::Tumbling { .. } | Self::Hopping { .. } => None,
        }
    }
}

fn greatest_common_divisor(a: i64, b: i64) -> i64 {
    if b == 0 { a } else { greatest_common_divisor(b, a % b) }
}

/// Of each window start only the groups with the greatest values have rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Top {
    pub n: usize,
    /// The place of the metric.
    pub by: usize,
}

/// A metric's function and argument; `docs/semantics.md`, "Metrics", says what each is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Metric {
    Count,
    /// Of kind Boolean.
    CountIf(ColumnId),
    /// Of kind Integer or Number, as are the next four.
    Sum(ColumnId),
    Mean(ColumnId),
    Min(ColumnId),
    Max(ColumnId),
    Stddev(ColumnId),
    /// Of any kind.
    First(ColumnId),
    /// Of any kind.
    Last(ColumnId),
    /// Of kind Integer or Number.
    Quantile(ColumnId, Fraction),
    /// Of any kind.
    Distinct(ColumnId),
}

/// A number from 0 to 1.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Fraction(f64);

impl Eq for Fraction {}

impl Fraction {
    /// None unless it is from 0 to 1.
    #[must_use]
    pub fn new(value: f64) -> Option<Self> {
        // Adding +0 makes −0 to +0.
        (0.0..=1.0).contains(&value).then_some(Self(value + 0.0))
    }

    #[must_use]
    pub fn get(self) -> f64 {
        self.0
    }
}

impl Metric {
    /// The column that it reads.
    #[must_use]
    pub fn argument(self) -> Option<ColumnId> {
        match self {
            Self::Count => None,
            Self::CountIf(column)
            | Self::Sum(column)
            | Self::Mean(column)
            | Self::Min(column)
            | Self::Max(column)
            | Self::Stddev(column)
            | Self::First(column)
            | Self::Last(column)
            | Self::Quantile(column, _)
            | Self::Distinct(column) => Some(column),
        }
    }

    /// What its value is, given what its argument is.
    #[must_use]
    pub fn kind(self, argument: Option<ColumnKind>) -> ColumnKind {
        match self {
            Self::Count | Self::CountIf(_) | Self::Distinct(_) => ColumnKind::Integer,
            Self::Mean(_) | Self::Stddev(_) | Self::Quantile(..) => ColumnKind::Number,
            Self::Sum(_) | Self::Min(_) | Self::Max(_) | Self::First(_) | Self::Last(_) => {
                argument.unwrap_or(ColumnKind::Number)
            }
        }
    }
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Audit {
    None,
    /// Which rows an event went into, as bitmaps of offsets; its body is in the log.
    Compact,
    /// That in rows of their own, and the event.
    #[default]
    Full,
}

impl Plan {
    /// The topic of this name, if the job has it.
    #[must_use]
    pub fn topic(&self, name: &str) -> Option<TopicId> {
        let at = self.topics.iter().position(|t| t.name == name)?;
        u16::try_from(at).ok().map(TopicId)
    }

    /// The topic of this name that takes events from outside; or, for people, why there is none.
    ///
    /// # Errors
    /// If the job has no such topic, or makes its events itself.
    pub fn topic_from_outside(&self, name: &str) -> Result<TopicId, String> {
        let outside = self.topics.iter().filter(|topic| topic.emitted.is_none() && !topic.retired);
        let outside = outside.map(|topic| topic.name.as_str()).collect::<Vec<_>>().join(", ");
        let known = self.topic(name).filter(|topic| self.topics.get(usize::from(topic.0)).is_some_and(|t| !t.retired));
        match known {
            None => Err(format!("there is no topic {name:?}; events are taken for {outside}")),
            Some(topic) if self.topics.get(usize::from(topic.0)).is_some_and(|topic| topic.emitted.is_some()) => {
                Err(format!("the job itself makes the events of {name:?}; events are taken for {outside}"))
            }
            Some(topic) => Ok(topic),
        }
    }

    /// The pipeline that makes this topic's events, where no pipeline reads them.
    #[must_use]
    pub fn unread(&self, topic: TopicId) -> Option<&PipelinePlan> {
        let emitted = self.topics.get(usize::from(topic.0))?.emitted?;
        let is_read = self.pipelines.iter().any(|pipeline| pipeline.reads_topic(topic));
        self.pipelines.get(emitted.pipeline).filter(|_| !is_read)
    }

    /// Whether the pipeline's audit is about the topic's events: it reads them, or makes them and nobody reads them.
    #[must_use]
    pub fn keeps(&self, pipeline: &PipelinePlan, topic: TopicId) -> bool {
        pipeline.reads_topic(topic) || self.unread(topic).is_some_and(|maker| maker.name == pipeline.name)
    }

    /// Whether events are looked for in the log by their ids often enough for an index.
    #[must_use]
    pub fn is_indexed(&self) -> bool {
        let compact = self.pipelines.iter().any(|pipeline| pipeline.audit == Audit::Compact);
        compact || self.topics.iter().any(|topic| topic.correlation.is_some())
    }

    /// What is kept of counted events: the most that some pipeline asks for.
    #[must_use]
    pub fn audit(&self) -> Audit {
        self.pipelines.iter().map(|pipeline| pipeline.audit).max().unwrap_or(Audit::None)
    }

    /// The plan of a job with this pipeline alone, which knows the topics of all, from outside; None if there is no such pipeline.
    #[must_use]
    pub fn alone(&self, pipeline: usize) -> Option<Self> {
        let mut alone = self.pipelines.get(pipeline)?.clone();
        let mut windows = self.windows.get(alone.windows.clone())?.to_vec();
        let mut views = self.views.get(alone.views.clone())?.to_vec();
        let mut emits = self.emits.get(alone.emits.clone())?.to_vec();
        // What is given is a batch, which raises no alerts.
        alone.alerts = 0..0;
        (alone.windows, alone.views, alone.emits) = (0..windows.len(), 0..views.len(), 0..emits.len());
        let of_windows = windows.iter_mut().map(|window| &mut window.pipeline);
        let of_views = views.iter_mut().map(|view| &mut view.pipeline);
        for pipeline in of_windows.chain(of_views).chain(emits.iter_mut().map(|emit| &mut emit.pipeline)) {
            *pipeline = 0;
        }
        // Whoever makes a topic is not there: its events are given like others.
        let mut topics = self.topics.clone();
        for topic in &mut topics {
            topic.emitted = None;
        }
        Some(Self {
            topic_field: self.topic_field.clone(),
            topics,
            columns: self.columns.clone(),
            pipelines: vec![alone],
            windows,
            views,
            alerts: Vec::new(),
            webhooks: Vec::new(),
            emits,
            lives: Lives::default(),
        })
    }

    /// The name of the pipeline at this place.
    #[must_use]
    pub fn pipeline_name(&self, pipeline: usize) -> &str {
        let pipeline = self.pipelines.get(pipeline).map(|pipeline| pipeline.name.as_str());
        pipeline.unwrap_or_else(|| panic!("it is of no pipeline of the plan"))
    }

    /// Under which name the rows and the state of the pipeline at this place are known: another one where it was begun anew.
    #[must_use]
    pub fn identity(&self, pipeline: usize) -> Cow<'_, str> {
        self.lives.identity(self.pipeline_name(pipeline))
    }

    /// Whether the pipeline does nothing but fill windows, so that an event may come too late for all it does.
    #[must_use]
    pub fn only_windows(&self, pipeline: &PipelinePlan) -> bool {
        let alerts = self.alerts.get(pipeline.alerts.clone()).unwrap_or_default();
        let looks_for_patterns = alerts.iter().any(|alert| matches!(alert.rule, Rule::Pattern(_)));
        pipeline.views.is_empty() && pipeline.emits.is_empty() && !looks_for_patterns
    }

    /// The pipeline of a window.
    #[must_use]
    pub fn pipeline_of(&self, window: &WindowPlan) -> &PipelinePlan {
        let pipeline = self.pipelines.get(window.pipeline);
        pipeline.unwrap_or_else(|| panic!("window {} is of no pipeline of the plan", window.name))
    }

    /// What a column of a pipeline's rows holds.
    #[must_use]
    pub fn kind(&self, pipeline: &PipelinePlan, column: ColumnId) -> ColumnKind {
        let computed = || pipeline.derived.iter().chain(&pipeline.arguments).map(|computed| computed.kind);
        let mut kinds = self.columns.iter().map(|column| column.kind).chain(computed());
        kinds.nth(column.0).unwrap_or_else(|| panic!("{column:?} is none of pipeline {}", pipeline.name))
    }
}

impl TopicPlan {
    /// Whether ids that were remembered of the one mean the same to the other. The job's own events have none.
    #[must_use]
    pub fn remembers_as(&self, other: &Self) -> bool {
        self.emitted.is_some() || (&self.id, self.remember) == (&other.id, other.remember)
    }

    /// Whether times that were read of the one mean the same to the other.
    #[must_use]
    pub fn tells_time_as(&self, other: &Self) -> bool {
        let of = |topic: &Self| (topic.time.clone(), topic.time_format, topic.out_of_order);
        self.emitted.is_some() || of(self) == of(other)
    }
}

impl PipelinePlan {
    #[must_use]
    pub fn reads_topic(&self, topic: TopicId) -> bool {
        self.topics.binary_search(&topic).is_ok()
    }
}
