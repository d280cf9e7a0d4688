//! Plans of one pipeline, with nothing in them that nobody asked for.

use std::sync::Arc;

use caudal::core::expression::Type;
use caudal::core::plan::{
    Audit, ColumnId, ColumnKind, ColumnPlan, FieldPath, GroupField, Lives, Metric, PipelinePlan, Plan, TimeFormat,
    TopicPlan, WindowKind, WindowPlan,
};
use caudal::core::schema::Schema;
use caudal::core::units::{Micros, TopicId};
use caudal::pipeline::{Bundle, FileText};
use serde_json::Value;

/// A topic whose events have an RFC 3339 time here and no id; nothing of it is out of order.
pub fn topic(name: &str, schema: &str, time: &str) -> TopicPlan {
    TopicPlan {
        name: name.to_owned(),
        schema: Arc::new(Schema::compile(schema).expect("a schema")),
        id: None,
        correlation: None,
        time: FieldPath::dotted(time),
        time_format: TimeFormat::Rfc3339 { zone: None },
        out_of_order: Micros(0),
        max_future: Micros(0),
        idle_after: Micros(5_000_000),
        remember: Micros(86_400_000_000),
        emitted: None,
        retired: false,
    }
}

pub fn column(path: &str, kind: ColumnKind) -> ColumnPlan {
    ColumnPlan { path: FieldPath::dotted(path), kind }
}

/// Shown every second; nothing late is allowed.
pub fn window(name: &str, every: Micros, group: &[(&str, ColumnId)], metrics: &[(&str, Metric)]) -> WindowPlan {
    let field = |&(name, column): &(&str, ColumnId)| GroupField { name: name.to_owned(), column, of_type: Type::Text };
    WindowPlan {
        pipeline: 0,
        name: name.to_owned(),
        kind: WindowKind::Tumbling { every },
        group: group.iter().map(field).collect(),
        late_allow: Micros(0),
        emit: Some(Micros(1_000_000)),
        metrics: metrics.iter().map(|&(name, metric)| (name.to_owned(), metric)).collect(),
        having: None,
        top: None,
        topic: None,
        watched: false,
    }
}

/// One pipeline, which reads everything.
pub fn plan(name: &str, topics: Vec<TopicPlan>, columns: Vec<ColumnPlan>, windows: Vec<WindowPlan>) -> Plan {
    let pipeline = PipelinePlan {
        name: name.to_owned(),
        topics: (0..topics.len()).map(|topic| TopicId(topic as u16)).collect(),
        reads: (0..columns.len()).map(ColumnId).collect(),
        windows: 0..windows.len(),
        audit: Audit::None,
        ..PipelinePlan::default()
    };
    Plan {
        topic_field: "source".to_owned(),
        topics,
        columns,
        pipelines: vec![pipeline],
        windows,
        views: Vec::new(),
        alerts: Vec::new(),
        webhooks: Vec::new(),
        emits: Vec::new(),
        lives: Lives::default(),
    }
}

/// The plan of one pipeline file, whose topics all have one schema.
pub fn of_file(text: &str, schema: (&str, &Value)) -> Arc<Plan> {
    let schemas = vec![(schema.0.to_owned(), schema.1.to_string())];
    let bundle = Bundle(vec![FileText { file: "pipeline.yaml".to_owned(), text: text.to_owned(), schemas }]);
    bundle.pipelines().unwrap_or_else(|faults| panic!("{faults}")).plan
}
