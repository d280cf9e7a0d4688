//! Random pipelines: topics with and without ids, windows with every group, metric, allowance and rhythm, made from a seed.

use std::sync::Arc;

use caudal::core::plan::{Audit, ColumnId, ColumnKind, ColumnPlan, FieldPath, Metric, Plan, TopicPlan, WindowPlan};
use caudal::core::schema::Schema;
use caudal::core::units::Micros;
use rand::Rng;
use rand::seq::IndexedRandom;
use rand_chacha::ChaCha8Rng;

/// A plan and its topics' schemas as texts.
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

pub fn random(rng: &mut ChaCha8Rng) -> Pipeline {
    let mut topics = Vec::new();
    let mut schemas = Vec::new();
    for number in 0..rng.random_range(1..=3) {
        let text = schema(rng);
        let of = |choices: &[i64], rng: &mut ChaCha8Rng| Micros(*choices.choose(rng).unwrap());
        topics.push(TopicPlan {
            name: format!("topic.{number}"),
            schema: Arc::new(Schema::compile(&text).unwrap()),
            id: rng.random_bool(0.75).then(|| path("event_id")),
            time: path("timestamp"),
            out_of_order: of(&[0, 500_000, 2_000_000, 10_000_000], rng),
            max_future: of(&[0, 1_000_000, 60_000_000], rng),
            idle_after: of(&[100_000, 1_000_000, 5_000_000], rng),
            remember: of(&[1_000_000, 60_000_000, 600_000_000, 5_000_000_000, 86_400_000_000], rng),
        });
        schemas.push(text);
    }
    let column = |name: &str, kind| ColumnPlan { path: path(name), kind };
    let columns = vec![
        column("region", ColumnKind::Group),
        column("payload.flag", ColumnKind::Group),
        column("payload.level", ColumnKind::Group),
        column("payload.age", ColumnKind::Integer),
        column("payload.score", ColumnKind::Number),
    ];
    let windows = (0..rng.random_range(1..=3)).map(|number| window(number, rng)).collect();
    let audit = if rng.random_bool(0.4) { Audit::Full } else { Audit::None };
    let plan =
        Plan { pipeline: "simulated".to_owned(), topic_field: "source".to_owned(), topics, columns, windows, audit };
    Pipeline { plan: Arc::new(plan), schemas }
}

fn path(dotted: &str) -> FieldPath {
    FieldPath(dotted.split('.').map(str::to_owned).collect())
}

/// Topics whose schema says little leave more to the rules behind it.
fn schema(rng: &mut ChaCha8Rng) -> String {
    let mut maybe = |text: &str| if rng.random_bool(0.5) { text.to_owned() } else { String::new() };
    let time = maybe(r#", "format": "date-time""#);
    let required = maybe(r#""required": ["timestamp", "region"],"#);
    let payload = maybe(
        r#", "payload": {"type": "object", "properties": {
            "age": {"type": "integer"}, "score": {"type": "number"}, "flag": {"type": "boolean"}, "level": {"type": "integer"}}}"#,
    );
    format!(
        r#"{{"$schema": "https://json-schema.org/draft/2020-12/schema", "type": "object", {required} "properties": {{
            "timestamp": {{"type": "string"{time}}}, "region": {{"enum": ["RM", "V", "X", "Ñuble", null]}}{payload}}}}}"#
    )
}

fn window(number: usize, rng: &mut ChaCha8Rng) -> WindowPlan {
    let of = |choices: &[i64], rng: &mut ChaCha8Rng| Micros(*choices.choose(rng).unwrap());
    let group: &[(&str, ColumnId)] = [
        &[][..],
        &[("region", REGION)],
        &[("flag", FLAG)],
        &[("region", REGION), ("level", LEVEL)],
        &[("level", LEVEL), ("flag", FLAG)],
    ]
    .choose(rng)
    .copied()
    .unwrap();
    let mut metrics: Vec<(String, Metric)> = vec![("n".to_owned(), Metric::Count)];
    for (name, column) in [("age", AGE), ("score", SCORE)] {
        let all = [Metric::Sum(column), Metric::Mean(column), Metric::Min(column), Metric::Max(column)];
        for (function, metric) in ["sum", "mean", "min", "max"].iter().zip(all) {
            if rng.random_bool(0.6) {
                metrics.push((format!("{function}_{name}"), metric));
            }
        }
    }
    WindowPlan {
        name: format!("window_{number}"),
        every: of(&[1_000_000, 5_000_000, 7_000_000, 60_000_000, 3_600_000_000], rng),
        group: group.iter().map(|(name, column)| ((*name).to_owned(), *column)).collect(),
        late_allow: of(&[0, 0, 1_000_000, 10_000_000, 60_000_000], rng),
        emit: of(&[200_000, 1_000_000, 5_000_000], rng),
        metrics,
    }
}
