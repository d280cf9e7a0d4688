//! One event by itself: whether it is valid, and what each pipeline's columns hold for it.

use std::rc::Rc;

use caudal::core::columns::{GroupValue, Reason};
use caudal::core::plan::{ColumnKind, ColumnPlan, Computed, PipelinePlan, Plan};
use caudal::core::units::TopicId;
use serde_json::Value;

use super::json::{self, Json};
use super::shape::Shape;
use super::time;
use crate::scalar::{Scalar, scalar};

/// An event that rules 1 to 7 leave.
pub struct Valid {
    pub topic: usize,
    pub time: i128,
    /// With the id's text as it is written.
    pub id: Option<(Identity, String)>,
    pub event: Json,
}

#[derive(Clone, PartialEq, Eq, Hash)]
pub enum Identity {
    Uuid(u128),
    Text(String),
}

/// A pipeline's row of an event: its columns in the order of `ColumnId`.
pub struct Row {
    /// What expressions see.
    pub scalars: Vec<Option<Scalar>>,
    /// What groups see; of a column that is of no kind for groups nothing.
    pub groups: Vec<GroupValue>,
}

/// By topic; where topics have several each, all their first ones, then all their second ones.
pub type Schemas = Rc<Vec<jsonschema::Validator>>;

/// Schemas as they are written in files.
pub fn compile(schemas: &[String]) -> Schemas {
    let compile = |text: &String| {
        let schema: Value = serde_json::from_str(text).unwrap();
        let options = jsonschema::options().with_draft(jsonschema::Draft::Draft202012).should_validate_formats(true);
        options.build(&schema).unwrap()
    };
    Rc::new(schemas.iter().map(compile).collect())
}

/// The first seven rules.
pub struct Rules<'a> {
    plan: &'a Plan,
    schemas: Schemas,
    /// By topic, which of the schemas it has.
    schema_of: Vec<usize>,
    /// By topic, the columns that a pipeline which reads it uses.
    columns: Vec<Vec<&'a ColumnPlan>>,
    /// By topic, whether the job has it now.
    has: Vec<bool>,
    batch: bool,
}

/// Whether some pipeline that reads the topic uses the column of this number.
pub fn is_read(plan: &Plan, topic: usize, column: usize) -> bool {
    let mut readers = plan.pipelines.iter().filter(|pipeline| reads(pipeline, topic));
    readers.any(|pipeline| pipeline.reads.iter().any(|read| read.0 == column))
}

pub fn reads(pipeline: &PipelinePlan, topic: usize) -> bool {
    pipeline.topics.contains(&TopicId(topic as u16))
}

impl<'a> Rules<'a> {
    pub fn new(plan: &'a Plan, schemas: &Schemas, batch: bool, shape: &Shape) -> Self {
        let columns = |topic| {
            let columns = plan.columns.iter().enumerate();
            let uses = |(at, _): &(usize, &ColumnPlan)| {
                shape.readers(plan, topic).any(|(_, pipeline)| pipeline.reads.iter().any(|read| read.0 == *at))
            };
            columns.filter(uses).map(|(_, column)| column).collect()
        };
        Self {
            plan,
            schemas: Rc::clone(schemas),
            // All topics' first ones come before all their second ones.
            schema_of: (0..plan.topics.len()).map(|topic| shape.schemas[topic] * plan.topics.len() + topic).collect(),
            columns: (0..plan.topics.len()).map(columns).collect(),
            has: (0..plan.topics.len()).map(|topic| shape.has(plan, topic)).collect(),
            batch,
        }
    }

    /// A refusal tells the topic if it is known.
    pub fn validate(
        &self,
        ingest_ms: u64,
        topic: Option<usize>,
        line: &[u8],
    ) -> Result<Valid, (Option<usize>, Reason)> {
        let event = json::parse(line).filter(|event| matches!(event, Json::Object(_))).ok_or((topic, Reason::Json))?;
        let topic = topic.or_else(|| self.named(&event)).ok_or((None, Reason::Topic))?;
        let plan = &self.plan.topics[topic];
        let refused = |reason| (Some(topic), reason);
        if plan.emitted.is_none() && !self.has[topic] && !self.batch {
            return Err(refused(Reason::Topic));
        }
        if !self.schemas[self.schema_of[topic]].is_valid(&event.to_value()) {
            return Err(refused(Reason::Schema));
        }
        let id = match &plan.id {
            None => None,
            Some(path) => {
                let text = event.at(path).and_then(Json::text).ok_or(refused(Reason::Id))?;
                if text.is_empty() || text.len() > 1024 {
                    return Err(refused(Reason::Id));
                }
                Some((identity(text), text.to_owned()))
            }
        };
        let time = event.at(&plan.time).and_then(|value| time::read(plan.time_format, value));
        let time = time.ok_or(refused(Reason::Time))?;
        if !self.columns[topic].iter().all(|column| is_readable(column.kind, event.at(&column.path))) {
            return Err(refused(Reason::Type));
        }
        if !self.batch && time > i128::from(ingest_ms) * 1000 + i128::from(plan.max_future.0) {
            return Err(refused(Reason::Future));
        }
        Ok(Valid { topic, time, id, event })
    }

    fn named(&self, event: &Json) -> Option<usize> {
        let Json::Object(members) = event else { return None };
        let name = members.get(&self.plan.topic_field)?.text()?;
        self.plan
            .topics
            .iter()
            .position(|topic| topic.name == name && topic.emitted.is_none())
            .filter(|topic| self.has[*topic] || self.batch)
    }
}

fn is_readable(kind: ColumnKind, value: Option<&Json>) -> bool {
    match (kind, value) {
        (_, None | Some(Json::Null))
        | (ColumnKind::Json, _)
        | (ColumnKind::Group, Some(Json::Text(_) | Json::Boolean(_))) => true,
        (ColumnKind::Number, Some(value)) => value.number().is_some(),
        (ColumnKind::Boolean, Some(value)) => value.boolean().is_some(),
        (ColumnKind::Integer | ColumnKind::Group, Some(value)) => value.integer().is_some(),
    }
}

fn identity(text: &str) -> Identity {
    let hyphens = [8, 13, 18, 23];
    let right = |(at, b): (usize, u8)| if hyphens.contains(&at) { b == b'-' } else { b.is_ascii_hexdigit() };
    if text.len() == 36 && text.bytes().enumerate().all(right) {
        return Identity::Uuid(u128::from_str_radix(&text.replace('-', ""), 16).unwrap());
    }
    Identity::Text(text.to_owned())
}

pub fn group_value(value: Option<&Json>) -> GroupValue {
    match value {
        Some(Json::Boolean(boolean)) => GroupValue::Bool(*boolean),
        Some(Json::Text(text)) => GroupValue::Text(text.as_str().into()),
        Some(value) => value.integer().map_or(GroupValue::Null, GroupValue::Integer),
        None => GroupValue::Null,
    }
}

/// A field of the event as expressions see it: where a text is meant, a boolean or an integer is null.
fn field(column: &ColumnPlan, event: &Json) -> Option<Scalar> {
    let value = event.at(&column.path)?;
    match column.kind {
        ColumnKind::Group => value.text().map(|text| Scalar::Text(text.to_owned())),
        ColumnKind::Integer => value.integer().map(Scalar::Integer),
        ColumnKind::Number => value.number().map(Scalar::Number),
        ColumnKind::Boolean => value.boolean().map(Scalar::Boolean),
        // Views read the event itself.
        ColumnKind::Json => None,
    }
}

fn as_group(value: Option<&Scalar>) -> GroupValue {
    match value {
        None => GroupValue::Null,
        Some(Scalar::Boolean(boolean)) => GroupValue::Bool(*boolean),
        Some(Scalar::Integer(integer)) => GroupValue::Integer(*integer),
        Some(Scalar::Text(text)) => GroupValue::Text(text.as_str().into()),
        Some(other) => panic!("{other:?} is no group's value"),
    }
}

/// The event's row in a pipeline that reads its topic, None if its filter does not let it through; and how many values could not be given.
pub fn row(plan: &Plan, pipeline: &PipelinePlan, valid: &Valid) -> (Option<Row>, u64) {
    let group = |column: &ColumnPlan| match column.kind {
        ColumnKind::Group => group_value(valid.event.at(&column.path)),
        ColumnKind::Integer | ColumnKind::Number | ColumnKind::Boolean | ColumnKind::Json => GroupValue::Null,
    };
    let mut row = Row {
        scalars: plan.columns.iter().map(|column| field(column, &valid.event)).collect(),
        groups: plan.columns.iter().map(group).collect(),
    };
    let mut errors = 0;
    row.compute(&pipeline.derived, valid.time, &mut errors);
    if let Some(filter) = &pipeline.filter {
        let (value, error) = scalar(filter, &row.scalars, valid.time as i64);
        errors += u64::from(error);
        if value != Some(Scalar::Boolean(true)) {
            return (None, errors);
        }
    }
    row.compute(&pipeline.arguments, valid.time, &mut errors);
    (Some(row), errors)
}

impl Row {
    fn compute(&mut self, columns: &[Computed], time: i128, errors: &mut u64) {
        for column in columns {
            let (value, error) = scalar(&column.expression, &self.scalars, time as i64);
            *errors += u64::from(error);
            let is_group = column.kind == ColumnKind::Group;
            self.groups.push(if is_group { as_group(value.as_ref()) } else { GroupValue::Null });
            self.scalars.push(value);
        }
    }
}
