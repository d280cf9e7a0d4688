//! Random pipelines: topics with and without ids and with times of every format, windows of every kind, with every group, metric, allowance and rhythm,
//! made from a seed.

use std::collections::BTreeMap;
use std::sync::Arc;

use caudal::core::condition;
use caudal::core::expression::{Expr, Type};
use caudal::core::plan::{
    AlertPlan, Anomaly, Audit, BodyField, ColumnId, ColumnKind, ColumnPlan, Computed, Detector, EmitPlan, EmittedBy,
    FieldPath, Fraction, GroupField, JoinPlan, JoinSide, Lives, Metric, Pattern, PipelinePlan, Plan, Rule, Source,
    Step, TimeFormat, Top, TopicPlan, Unit, ViewPlan, WebhookPlan, WindowKind, WindowPlan,
};
use caudal::core::schema::Schema;
use caudal::core::units::{Micros, TopicId};
use caudal::pipeline::sql::{Scope, expression};
use rand::Rng;
use rand::seq::{IndexedRandom, SliceRandom};
use rand_chacha::ChaCha8Rng;

use crate::support::plan::column;

/// A plan and its topics' schemas as texts: those of the plan, and behind them one each that a change may bring.
pub struct Pipeline {
    pub plan: Arc<Plan>,
    pub schemas: Vec<String>,
}

pub const REGIONS: [&str; 4] = ["RM", "V", "X", "Ñuble"];

const REGION: ColumnId = ColumnId(0);
const FLAG: ColumnId = ColumnId(1);
const LEVEL: ColumnId = ColumnId(2);
const AGE: ColumnId = ColumnId(3);
const SCORE: ColumnId = ColumnId(4);
const TAG: ColumnId = ColumnId(5);
const FLAGGED: ColumnId = ColumnId(6);
const PAYLOAD_AS_IT_IS: ColumnId = ColumnId(7);
const SCORE_AS_IT_IS: ColumnId = ColumnId(8);
const REGION_AS_IT_IS: ColumnId = ColumnId(9);

/// What expressions can name.
const NAMES: [(&str, ColumnId, Type); 4] = [
    ("region", REGION, Type::Text),
    ("age", AGE, Type::Integer),
    ("score", SCORE, Type::Number),
    ("flagged", FLAGGED, Type::Boolean),
];
/// Derived fields; each may name those before it.
const DERIVED: [(&str, &str); 5] = [
    ("kind", "CASE region WHEN 'RM' THEN 'capital' WHEN 'V' THEN CAST(age AS TEXT) ELSE LOWER(region) END"),
    ("ratio", "score / age"),
    ("twice", "age * 2 + 1"),
    ("hot", "score > 0 AND (flagged OR region = 'X')"),
    ("hour", "EXTRACT(HOUR FROM event_time()) % 2"),
];
pub const FILTERS: [&str; 5] = [
    "flagged",
    "region IS NOT NULL",
    "score / age > 0.5 OR age IS NULL",
    "NOT flagged OR age % 2 = 0",
    "region IN ('RM', 'X', 'Ñuble')",
];
const NUMBERS: [&str; 4] = ["age % 7", "score * 10", "age - score", "CASE WHEN flagged THEN age END"];

pub fn of(choices: &[i64], rng: &mut ChaCha8Rng) -> Micros {
    Micros(*choices.choose(rng).unwrap())
}

pub fn random(rng: &mut ChaCha8Rng) -> Pipeline {
    let mut topics = Vec::new();
    let mut schemas = Vec::new();
    for number in 0..rng.random_range(1..=3) {
        let time_format = time_format(rng);
        let text = schema(time_format, rng);
        topics.push(TopicPlan {
            name: format!("topic.{number}"),
            schema: Arc::new(Schema::compile(&text).unwrap()),
            id: rng.random_bool(0.75).then(|| FieldPath::top("event_id")),
            correlation: None,
            time: FieldPath::top("timestamp"),
            time_format,
            out_of_order: of(&[0, 500_000, 2_000_000, 10_000_000], rng),
            max_future: of(&[0, 1_000_000, 60_000_000], rng),
            idle_after: of(&[100_000, 1_000_000, 5_000_000], rng),
            remember: of(&[1_000_000, 60_000_000, 600_000_000, 5_000_000_000, 86_400_000_000], rng),
            emitted: None,
            retired: false,
        });
        schemas.push(text);
    }
    let tag = ["payload", "tags"].map(|name| Step::Name(name.to_owned()));
    let tag = FieldPath(tag.into_iter().chain([Step::Item(0)]).collect());
    let columns = vec![
        column("region", ColumnKind::Group),
        column("payload.flag", ColumnKind::Group),
        column("payload.level", ColumnKind::Group),
        column("payload.age", ColumnKind::Integer),
        column("payload.score", ColumnKind::Number),
        ColumnPlan { path: tag, kind: ColumnKind::Group },
        column("payload.flag", ColumnKind::Boolean),
        column("payload", ColumnKind::Json),
        column("payload.score", ColumnKind::Json),
        column("region", ColumnKind::Json),
    ];
    let mut plan = Plan {
        topic_field: "source".to_owned(),
        topics,
        columns,
        pipelines: Vec::new(),
        windows: Vec::new(),
        views: Vec::new(),
        alerts: Vec::new(),
        webhooks: Vec::new(),
        emits: Vec::new(),
        lives: Lives::default(),
    };
    let outside = plan.topics.len() as u16;
    let count = rng.random_range(1..=4);
    for number in 0..count {
        pipeline(&mut plan, outside, number + 1 == count, rng);
    }
    schemas.resize(plan.topics.len(), ANYTHING.to_owned());
    // What a change may bring.
    for topic in &plan.topics {
        schemas.push(if topic.emitted.is_none() { schema(topic.time_format, rng) } else { ANYTHING.to_owned() });
    }
    Pipeline { plan: Arc::new(plan), schemas }
}

fn time_format(rng: &mut ChaCha8Rng) -> TimeFormat {
    let units = [Unit::Seconds, Unit::Milliseconds, Unit::Microseconds, Unit::Nanoseconds];
    match rng.random_range(0..10) {
        0..5 => TimeFormat::Rfc3339 { zone: None },
        5 => TimeFormat::Rfc3339 { zone: Some(0) },
        6 => TimeFormat::Rfc3339 { zone: Some(*[-10_800, 3_600, 20_700].choose(rng).unwrap()) },
        _ => TimeFormat::Unix(*units.choose(rng).unwrap()),
    }
}

/// Topics whose schema says little leave more to the rules behind it.
fn schema(time_format: TimeFormat, rng: &mut ChaCha8Rng) -> String {
    let mut maybe = |text: &str| if rng.random_bool(0.5) { text.to_owned() } else { String::new() };
    let time = match time_format {
        TimeFormat::Rfc3339 { zone: None } => r#""type": "string""#.to_owned() + &maybe(r#", "format": "date-time""#),
        TimeFormat::Rfc3339 { .. } => maybe(r#""type": "string""#),
        TimeFormat::Unix(_) => maybe(r#""type": ["number", "string"]"#),
    };
    let required = maybe(r#""required": ["timestamp", "region"],"#);
    let payload = maybe(
        r#", "payload": {"type": "object", "properties": {
            "age": {"type": "integer"}, "score": {"type": "number"}, "flag": {"type": "boolean"}, "level": {"type": "integer"}}}"#,
    );
    format!(
        r#"{{"$schema": "https://json-schema.org/draft/2020-12/schema", "type": "object", {required} "properties": {{
            "timestamp": {{{time}}}, "region": {{"enum": ["RM", "V", "X", "Ñuble", null]}}{payload}}}}}"#
    )
}

/// The schema of what pipelines emit.
const ANYTHING: &str = r#"{"type": "object"}"#;

/// Over some of the topics there are, those that earlier pipelines emit among them; the last one so that each topic from outside is read, and each
/// column used.
fn pipeline(plan: &mut Plan, outside: u16, last: bool, rng: &mut ChaCha8Rng) {
    let number = plan.pipelines.len();
    let topics = (0..plan.topics.len() as u16).map(TopicId);
    let unread = |topic: &TopicId| last && topic.0 < outside && !plan.pipelines.iter().any(|p| p.reads_topic(*topic));
    let mut read: Vec<TopicId> = topics.filter(|topic| rng.random_bool(0.6) || unread(topic)).collect();
    if read.is_empty() {
        read.push(TopicId(rng.random_range(0..plan.topics.len() as u16)));
    }
    let (first, first_view, first_emit) = (plan.windows.len(), plan.views.len(), plan.emits.len());
    let first_alert = plan.alerts.len();
    let mut computing = Computing::new(&plan.columns, rng);
    plan.windows.extend((0..rng.random_range(1..=3)).map(|name| window(number, name, &mut computing, rng)));
    if rng.random_bool(0.3) {
        plan.views.push(view(number, first_view, &mut computing, rng));
    }
    if rng.random_bool(0.3) {
        let topic = emitted_topic(plan, number, Micros(0));
        plan.emits.push(emit(number, topic, &read, &mut computing, rng));
    }
    if read.len() > 1 && rng.random_bool(0.5) {
        let topic = emitted_topic(plan, number, Micros(0));
        plan.emits.push(join(number, topic, &read, &mut computing, rng));
    }
    for at in first..plan.windows.len() {
        if rng.random_bool(0.25) {
            plan.windows[at].topic = Some(emitted_topic(plan, number, plan.windows[at].late_allow));
        }
    }
    alerts(plan, number, first, &mut computing, rng);
    let of_window = |window: &WindowPlan| {
        let arguments = window.metrics.iter().filter_map(|(_, metric)| metric.argument());
        window.group.iter().map(|field| field.column).chain(arguments).collect::<Vec<_>>()
    };
    let mut used: Vec<ColumnId> = plan.windows[first..].iter().flat_map(of_window).collect();
    let of_view = |view: &ViewPlan| view.latest.iter().map(|(_, column)| *column).chain([view.key]).collect::<Vec<_>>();
    used.extend(plan.views[first_view..].iter().flat_map(of_view));
    used.extend(plan.emits[first_emit..].iter().flat_map(|emit| &emit.body).map(|field| field.column));
    used.extend(plan.emits[first_emit..].iter().flat_map(|emit| match &emit.source {
        Source::Join(join) => join.sides.map(|side| side.key).to_vec(),
        Source::Events { .. } => Vec::new(),
    }));
    used.extend(plan.alerts[first_alert..].iter().filter_map(|alert| match &alert.rule {
        Rule::Pattern(pattern) => Some(pattern.key.column),
        Rule::Condition { .. } | Rule::Anomaly(_) => None,
    }));
    let filter = rng.random_bool(0.3).then(|| computing.read(FILTERS.choose(rng).unwrap()));
    let computed = computing.derived.iter().chain(&computing.arguments).map(|computed| &computed.expression);
    used.extend(computed.chain(&filter).flat_map(Expr::columns));
    let unused = |column: &ColumnId| last && !plan.pipelines.iter().any(|p| p.reads.contains(column));
    let columns = (0..plan.columns.len()).map(ColumnId);
    let reads = columns.filter(|column| used.contains(column) || unused(column)).collect();
    plan.pipelines.push(PipelinePlan {
        name: format!("simulated_{number}"),
        topics: read,
        reads,
        derived: computing.derived,
        filter,
        arguments: computing.arguments,
        windows: first..plan.windows.len(),
        views: first_view..plan.views.len(),
        alerts: first_alert..plan.alerts.len(),
        emits: first_emit..plan.emits.len(),
        audit: [Audit::Full, Audit::Compact, Audit::None, Audit::None][rng.random_range(0..4)],
    });
}

fn emitted_topic(plan: &mut Plan, pipeline: usize, behind: Micros) -> TopicId {
    let number = plan.topics.len();
    plan.topics.push(TopicPlan {
        name: format!("emitted.{number}"),
        schema: Arc::new(Schema::compile(ANYTHING).unwrap()),
        id: None,
        correlation: None,
        time: FieldPath::top("timestamp"),
        time_format: TimeFormat::Rfc3339 { zone: None },
        out_of_order: Micros(0),
        max_future: Micros(i64::MAX),
        idle_after: Micros(1_000_000),
        remember: Micros(0),
        emitted: Some(EmittedBy { pipeline, behind }),
        retired: false,
    });
    TopicId(number as u16)
}

/// What two topics' events come to that have one key.
fn join(
    pipeline: usize,
    topic: TopicId,
    read: &[TopicId],
    computing: &mut Computing,
    rng: &mut ChaCha8Rng,
) -> EmitPlan {
    let field = |name: &str, column, side| BodyField { name: name.to_owned(), column, moment: false, side };
    let mut body = vec![field("region", REGION_AS_IT_IS, 1), field("payload", PAYLOAD_AS_IT_IS, 0)];
    let at = computing.read("event_time()");
    let column = computing.argument(at, ColumnKind::Integer);
    body.push(BodyField { name: "at".to_owned(), column, moment: true, side: rng.random_range(0..2) });
    body.extend(computing.named(Type::Number, rng).map(|column| field("number", column, 1)));
    let mut two: Vec<TopicId> = read.to_vec();
    two.shuffle(rng);
    // Not the tags alone, which are few: what has one key is many then.
    let key = *[REGION, TAG, LEVEL].choose(rng).unwrap();
    let mut side = |topic: TopicId| {
        let when = rng.random_bool(0.4).then(|| computing.read("age IS NOT NULL"));
        JoinSide { topic, key, when: when.map(|when| computing.argument(when, ColumnKind::Boolean)) }
    };
    let sides = [side(two[0]), side(two[1])];
    let within = of(&[1_000, 20_000, 200_000, 2_000_000], rng);
    EmitPlan { pipeline, topic, source: Source::Join(JoinPlan { sides, within }), body }
}

fn emit(
    pipeline: usize,
    topic: TopicId,
    read: &[TopicId],
    computing: &mut Computing,
    rng: &mut ChaCha8Rng,
) -> EmitPlan {
    let field = |name: &str, column| BodyField { name: name.to_owned(), column, moment: false, side: 0 };
    let mut body = vec![field("region", REGION_AS_IT_IS), field("payload", PAYLOAD_AS_IT_IS)];
    let at = computing.read("event_time()");
    let column = computing.argument(at, ColumnKind::Integer);
    body.push(BodyField { name: "at".to_owned(), column, moment: true, side: 0 });
    body.extend(computing.named(Type::Number, rng).map(|column| field("number", column)));
    let when = rng.random_bool(0.5).then(|| computing.read("age IS NOT NULL"));
    let mut from: Vec<TopicId> = read.iter().copied().filter(|_| rng.random_bool(0.7)).collect();
    if from.is_empty() {
        from.push(read[0]);
    }
    let when = when.map(|when| computing.argument(when, ColumnKind::Boolean));
    EmitPlan { pipeline, topic, source: Source::Events { from, when }, body }
}

/// Alerts of every kind, some of which share a topic.
fn alerts(plan: &mut Plan, pipeline: usize, first: usize, computing: &mut Computing, rng: &mut ChaCha8Rng) {
    let mut shared = None;
    for number in 0..rng.random_range(0..=3) {
        let window = rng.random_range(first..plan.windows.len());
        let rule = match rng.random_range(0..3) {
            0 => Rule::Condition { window, when: condition_of(&plan.windows[window], computing, rng) },
            1 => Rule::Anomaly(anomaly(&plan.windows[window], window, rng)),
            _ => Rule::Pattern(pattern(computing, rng)),
        };
        if let Some(window) = rule.window() {
            plan.windows[window].watched = true;
        }
        let topic = rng.random_bool(0.4).then(|| {
            let allow = plan.windows[first..].iter().map(|window| window.late_allow).max().unwrap();
            *shared.get_or_insert_with(|| emitted_topic(plan, pipeline, allow))
        });
        plan.alerts.push(AlertPlan { pipeline, name: format!("alert_{number}"), rule, topic });
    }
    let own: Vec<usize> = (0..plan.alerts.len()).filter(|at| plan.alerts[*at].pipeline == pipeline).collect();
    for number in 0..rng.random_range(0..=2) {
        let alerts: Vec<usize> = own.iter().copied().filter(|_| rng.random_bool(0.5)).collect();
        let (name, url) = (format!("webhook_{number}"), "https://hooks.example.com/".to_owned());
        plan.webhooks.push(WebhookPlan { pipeline, name, alerts, url, retry: Micros(1) });
    }
}

/// True of some rows.
fn condition_of(window: &WindowPlan, computing: &Computing, rng: &mut ChaCha8Rng) -> Expr {
    let names = condition::names(window, |column| computing.kinds[column.0]);
    let names = names.iter().enumerate().map(|(at, (name, of_type))| (name.as_str(), (ColumnId(at), *of_type)));
    let texts = ["n % 2 = 0", "event_count > 2", "n = 1 OR n > 3", "EXTRACT(SECOND FROM window_start) < 30"];
    read(texts.choose(rng).unwrap(), false, &names.collect())
}

fn anomaly(plan: &WindowPlan, window: usize, rng: &mut ChaCha8Rng) -> Anomaly {
    let numbers = plan.metrics.iter().position(|(name, _)| name.starts_with("more_")).unwrap_or(plan.metrics.len());
    let deviations = *[0.3, 1.0, 2.0].choose(rng).unwrap();
    let detector = if rng.random_bool(0.5) {
        Detector::ZScore(deviations)
    } else {
        Detector::Ewma { weight: *[0.1, 0.5].choose(rng).unwrap(), deviations }
    };
    Anomaly {
        window,
        metric: rng.random_range(0..numbers),
        history: rng.random_range(2..=4),
        detector,
        remember: plan.kind.step().max(of(&[1_000_000, 60_000_000, 86_400_000_000], rng)),
    }
}

fn pattern(computing: &mut Computing, rng: &mut ChaCha8Rng) -> Pattern {
    let (name, column, of_type) =
        *[("region", REGION, Type::Text), ("level", LEVEL, Type::Integer), ("tag", TAG, Type::Text)]
            .choose(rng)
            .unwrap();
    let mut boolean = |text: &str| {
        let expression = computing.read(text);
        computing.argument(expression, ColumnKind::Boolean)
    };
    let count = boolean(["age IS NOT NULL", "score > 0", "NOT flagged"].choose(rng).unwrap());
    let unless = rng.random_bool(0.6).then(|| boolean(["flagged", "age % 3 = 0"].choose(rng).unwrap()));
    let lasts = (unless.is_none() || rng.random_bool(0.5)).then(|| of(&[100_000, 1_000_000, 30_000_000], rng));
    Pattern {
        key: GroupField { name: name.to_owned(), column, of_type },
        count,
        unless,
        at_least: rng.random_range(1..=4),
        within: of(&[100_000, 1_000_000, 10_000_000, 300_000_000], rng),
        lasts,
    }
}

/// What a pipeline computes of its events.
struct Computing {
    kinds: Vec<ColumnKind>,
    /// What expressions can name, derived fields included.
    names: Vec<(&'static str, ColumnId, Type)>,
    derived: Vec<Computed>,
    arguments: Vec<Computed>,
}

impl Computing {
    fn new(columns: &[ColumnPlan], rng: &mut ChaCha8Rng) -> Self {
        let kinds = columns.iter().map(|column| column.kind).collect();
        let mut computing = Self { kinds, names: NAMES.to_vec(), derived: Vec::new(), arguments: Vec::new() };
        for (name, text) in DERIVED.into_iter().filter(|_| rng.random_bool(0.4)) {
            let expression = computing.read(text);
            let of_type = expression.of_type();
            computing.names.push((name, ColumnId(computing.kinds.len()), of_type));
            computing.kinds.push(ColumnKind::of(of_type));
            computing.derived.push(Computed { expression, kind: ColumnKind::of(of_type) });
        }
        computing
    }

    fn read(&self, text: &str) -> Expr {
        let names = self.names.iter().map(|(name, column, of_type)| (*name, (*column, *of_type)));
        read(text, true, &names.collect())
    }

    /// The column of a value that metrics or groups take.
    fn argument(&mut self, expression: Expr, kind: ColumnKind) -> ColumnId {
        self.arguments.push(Computed { expression, kind });
        self.kinds.push(kind);
        ColumnId(self.kinds.len() - 1)
    }

    fn named(&self, wanted: Type, rng: &mut ChaCha8Rng) -> Option<ColumnId> {
        let fitting: Vec<_> = self.names.iter().filter(|(_, _, of_type)| *of_type == wanted).collect();
        fitting.choose(rng).map(|(_, column, _)| *column)
    }
}

/// An expression over the events' fields.
pub fn of_event(text: &str) -> Expr {
    let names = NAMES.iter().map(|(name, column, of_type)| (*name, (*column, *of_type)));
    read(text, true, &names.collect())
}

fn read(text: &str, event_time: bool, names: &BTreeMap<&str, (ColumnId, Type)>) -> Expr {
    let mut resolve = |path: &[Step]| match path {
        [Step::Name(name)] => Ok(names[name.as_str()]),
        _ => Err("no path".to_owned()),
    };
    expression(text, &mut Scope { resolve: &mut resolve, event_time }).unwrap_or_else(|fault| panic!("{text}: {fault}"))
}

fn view(pipeline: usize, number: usize, computing: &mut Computing, rng: &mut ChaCha8Rng) -> ViewPlan {
    let fields = [("payload", PAYLOAD_AS_IT_IS), ("score", SCORE_AS_IT_IS), ("region", REGION_AS_IT_IS)];
    let mut latest: Vec<(String, ColumnId)> =
        fields.iter().map(|(name, column)| ((*name).to_owned(), *column)).collect();
    if rng.random_bool(0.5) {
        latest.extend(
            computing
                .named(Type::Number, rng)
                .filter(|column| column.0 > SCORE_AS_IT_IS.0)
                .map(|c| ("ratio".to_owned(), c)),
        );
    }
    let when = rng.random_bool(0.3).then(|| computing.read("age IS NOT NULL"));
    ViewPlan {
        pipeline,
        name: format!("view_{number}"),
        key: *[REGION, TAG, LEVEL].choose(rng).unwrap(),
        latest,
        when: when.map(|when| computing.argument(when, ColumnKind::Boolean)),
        history: rng.random_bool(0.5),
    }
}

fn window(pipeline: usize, number: usize, computing: &mut Computing, rng: &mut ChaCha8Rng) -> WindowPlan {
    let group: &[(&str, ColumnId, Type)] = [
        &[][..],
        &[("region", REGION, Type::Text)],
        &[("flag", FLAG, Type::Boolean)],
        &[("region", REGION, Type::Text), ("level", LEVEL, Type::Integer)],
        &[("level", LEVEL, Type::Integer), ("flag", FLAG, Type::Boolean)],
        &[("tag", TAG, Type::Text)],
    ]
    .choose(rng)
    .copied()
    .unwrap();
    let group = group.iter().map(|&(name, column, of_type)| GroupField { name: name.to_owned(), column, of_type });
    let mut group: Vec<GroupField> = group.collect();
    if rng.random_bool(0.2)
        && let Some(column) = computing.named(Type::Integer, rng)
    {
        let column = computing.argument(Expr::Column(column, Type::Integer), ColumnKind::Group);
        group.push(GroupField { name: "computed".to_owned(), column, of_type: Type::Integer });
    }
    let mut metrics: Vec<(String, Metric)> = vec![("n".to_owned(), Metric::Count)];
    for (name, column) in [("age", AGE), ("score", SCORE)] {
        let all = [Metric::Sum(column), Metric::Mean(column), Metric::Min(column), Metric::Max(column)];
        for (function, metric) in ["sum", "mean", "min", "max"].iter().zip(all) {
            if rng.random_bool(0.6) {
                metrics.push((format!("{function}_{name}"), metric));
            }
        }
    }
    let numbers = metrics.len();
    more_metrics(&mut metrics, computing, rng);
    let kind = kind(rng);
    let ranked = kind.gap().is_none() && rng.random_bool(0.35);
    // By what is rarely equal, or by what often is.
    let by = if rng.random_bool(0.5) { 0 } else { rng.random_range(0..numbers) };
    let mut window = WindowPlan {
        pipeline,
        name: format!("window_{number}"),
        kind,
        group,
        late_allow: of(&[0, 0, 1_000_000, 10_000_000, 60_000_000], rng),
        emit: rng.random_bool(0.85).then(|| of(&[200_000, 1_000_000, 5_000_000], rng)),
        metrics,
        having: None,
        top: ranked.then(|| Top { n: rng.random_range(1..=3), by }),
        topic: None,
        watched: false,
    };
    if rng.random_bool(0.25) {
        let names = condition::names(&window, |column| computing.kinds[column.0]);
        let names = names.iter().enumerate().map(|(at, (name, of_type))| (name.as_str(), (ColumnId(at), *of_type)));
        let text = *["n % 2 = 0", "event_count < 5", "n = 1 OR n > 3", "EXTRACT(SECOND FROM window_start) < 30"]
            .choose(rng)
            .unwrap();
        let having = read(text, false, &names.collect());
        window.having = Some(having);
    }
    window
}

/// Metrics of everything that is computed.
fn more_metrics(metrics: &mut Vec<(String, Metric)>, computing: &mut Computing, rng: &mut ChaCha8Rng) {
    let mut add = |metric: Metric| metrics.push((format!("more_{}", metrics.len()), metric));
    if rng.random_bool(0.4) {
        let expression = computing.read(NUMBERS.choose(rng).unwrap());
        let kind = ColumnKind::of(expression.of_type());
        let column = computing.argument(expression, kind);
        let fraction = Fraction::new(*[0.0, 0.29, 0.5, 0.9, 1.0].choose(rng).unwrap()).unwrap();
        add(*[Metric::Sum(column), Metric::Stddev(column), Metric::Quantile(column, fraction)].choose(rng).unwrap());
    }
    if rng.random_bool(0.3)
        && let Some(column) = computing.named(Type::Boolean, rng)
    {
        add(Metric::CountIf(column));
    }
    let of_type = *[Type::Text, Type::Integer, Type::Number, Type::Boolean].choose(rng).unwrap();
    if rng.random_bool(0.5)
        && let Some(column) = computing.named(of_type, rng)
    {
        add(*[Metric::First(column), Metric::Last(column), Metric::Distinct(column)].choose(rng).unwrap());
    }
}

fn kind(rng: &mut ChaCha8Rng) -> WindowKind {
    let hopping = [(2, 1), (3, 2), (7, 3), (10, 4), (60, 25), (3_600, 900)];
    match rng.random_range(0..10) {
        0..4 => WindowKind::Tumbling { every: of(&[1_000_000, 5_000_000, 7_000_000, 60_000_000, 3_600_000_000], rng) },
        4..7 => {
            let (size, every) = *hopping.choose(rng).unwrap();
            WindowKind::Hopping { size: Micros(size * 1_000_000), every: Micros(every * 1_000_000) }
        }
        // As small as the distances between events.
        _ => WindowKind::Session { gap: of(&[50_000, 200_000, 1_000_000, 3_000_000, 20_000_000], rng) },
    }
}
