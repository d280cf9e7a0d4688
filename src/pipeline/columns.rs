//! What the names in one pipeline's expressions refer to: fields of its topics' events, looked up in the schemas, and its derived fields.

use crate::core::expression::{Expr, Type};
use crate::core::plan::{ColumnId, ColumnKind, ColumnPlan, Computed, FieldPath, Step};
use crate::core::schema::FieldType;
use crate::pipeline::names::{ITEM_MAX, PATH_PARTS_MAX};
use crate::pipeline::section::hint;
use crate::pipeline::topics::Described;
use crate::pipeline::yaml::quote;

/// The columns of one pipeline's rows as they are planned.
#[derive(Debug)]
pub struct Columns<'a> {
    topics: Vec<&'a Described>,
    /// Every topic of the pipeline is described; otherwise nothing is said about what none describes.
    whole: bool,
    /// The plan's, of all pipelines.
    planned: &'a mut Vec<ColumnPlan>,
    /// Where this pipeline's computed columns begin.
    base: usize,
    reads: Vec<ColumnId>,
    derived: Vec<(String, Type, Computed)>,
    /// Derived fields with a fault of their own: nothing is said about where they are used.
    faulty: Vec<String>,
    arguments: Vec<Computed>,
}

impl<'a> Columns<'a> {
    pub fn new(topics: Vec<Option<&'a Described>>, planned: &'a mut Vec<ColumnPlan>, base: usize) -> Self {
        let whole = topics.iter().all(Option::is_some);
        let topics = topics.into_iter().flatten().collect();
        let (reads, derived, faulty, arguments) = Default::default();
        Self { topics, whole, planned, base, reads, derived, faulty, arguments }
    }

    /// The columns it reads, the derived ones, and the arguments of metrics.
    pub fn into_parts(mut self) -> (Vec<ColumnId>, Vec<Computed>, Vec<Computed>) {
        self.reads.sort_unstable();
        let derived = self.derived.into_iter().map(|(_, _, computed)| computed);
        (self.reads, derived.collect(), self.arguments)
    }

    /// Adds a derived field.
    ///
    /// # Errors
    /// If an event has a field of that name.
    pub fn derive(&mut self, name: &str, expression: Expr) -> Result<(), String> {
        let path = FieldPath::top(name);
        if let Some(topic) = self.topics.iter().find(|topic| topic.plan.schema.field(&path).is_some()) {
            return Err(format!(
                "{} is a field of the events of {} already: choose another name",
                quote(name),
                quote(&topic.plan.name)
            ));
        }
        let of_type = expression.of_type();
        self.derived.push((name.to_owned(), of_type, Computed { kind: ColumnKind::of(of_type), expression }));
        Ok(())
    }

    /// A derived field that could not be read.
    pub fn derive_faulty(&mut self, name: &str) {
        self.faulty.push(name.to_owned());
    }

    fn is_faulty(&self, path: &FieldPath) -> bool {
        matches!(path.0.as_slice(), [Step::Name(name)] if self.faulty.contains(name))
    }

    /// The column and the type that a name in an expression refers to.
    ///
    /// # Errors
    /// Why it refers to nothing.
    pub fn resolve(&mut self, path: &[Step]) -> Result<(ColumnId, Type), String> {
        if let Some(found) = self.derived_field(path) {
            return Ok(found);
        }
        let path = FieldPath(path.to_vec());
        bounded(&path)?;
        let of_type = match self.field_type(&path)? {
            Some(FieldType::String) => Type::Text,
            Some(FieldType::Integer) => Type::Integer,
            Some(FieldType::Number) => Type::Number,
            Some(FieldType::Boolean) => Type::Boolean,
            Some(kind @ FieldType::Other) => {
                let shown = quote(&path.to_string());
                return Err(format!("{shown} is {}: an expression takes strings, numbers and booleans", article(kind)));
            }
            // The schema that would describe it has a fault of its own: nothing more is said.
            None => return Err(String::new()),
        };
        Ok((self.source(path, ColumnKind::of(of_type)), of_type))
    }

    /// The column and the type of a derived field.
    pub fn derived_field(&self, path: &[Step]) -> Option<(ColumnId, Type)> {
        let [Step::Name(name)] = path else { return None };
        let at = self.derived.iter().position(|(other, ..)| other == name)?;
        self.derived.get(at).map(|(_, of_type, _)| (ColumnId(self.base + at), *of_type))
    }

    fn source(&mut self, path: FieldPath, kind: ColumnKind) -> ColumnId {
        let wanted = ColumnPlan { path, kind };
        let at = self.planned.iter().position(|c| *c == wanted).unwrap_or_else(|| {
            self.planned.push(wanted);
            self.planned.len() - 1
        });
        let column = ColumnId(at);
        if !self.reads.contains(&column) {
            self.reads.push(column);
        }
        column
    }

    /// The column of a group's field, of kind Group.
    ///
    /// # Errors
    /// Why it cannot be one.
    pub fn group(&mut self, path: &FieldPath) -> Result<(ColumnId, Type), String> {
        let shown = || quote(&path.to_string());
        if let Some((column, of_type)) = self.derived_field(&path.0) {
            return match of_type {
                Type::Text => Ok((column, of_type)),
                Type::Integer | Type::Boolean => {
                    let expression = Expr::Column(column, of_type);
                    Ok((self.argument(Computed { expression, kind: ColumnKind::Group }), of_type))
                }
                Type::Number | Type::Timestamp => Err(format!(
                    "group: {} is {}: a group's field is a text, an integer or a boolean (CAST makes it one)",
                    shown(),
                    of_type.describe()
                )),
            };
        }
        let of_type = match self.field_type(path)? {
            Some(FieldType::String) | None => Type::Text,
            Some(FieldType::Integer) => Type::Integer,
            Some(FieldType::Boolean) => Type::Boolean,
            Some(kind @ (FieldType::Number | FieldType::Other)) => {
                let allowed = "a group's field is described as string, integer or boolean";
                return Err(format!("group: {} is {}: {allowed}", shown(), article(kind)));
            }
        };
        Ok((self.source(path.clone(), ColumnKind::Group), of_type))
    }

    /// The column of a field as the event writes it: any value.
    ///
    /// # Errors
    /// If no event has such a field.
    pub fn written(&mut self, path: &FieldPath) -> Result<ColumnId, String> {
        if let Some((column, _)) = self.derived_field(&path.0) {
            return Ok(column);
        }
        self.described(path)?;
        Ok(self.source(path.clone(), ColumnKind::Json))
    }

    /// Whether some topic's schema describes the field, as whatever.
    fn described(&self, path: &FieldPath) -> Result<(), String> {
        if self.whole && !self.topics.iter().any(|about| about.plan.schema.field(path).is_some()) {
            return Err(self.undescribed(path));
        }
        Ok(())
    }

    /// Empty where that comes of another fault.
    fn undescribed(&self, path: &FieldPath) -> String {
        if self.is_faulty(path) {
            return String::new();
        }
        let shown = path.to_string();
        let derived = self.derived.iter().map(|(name, ..)| name.as_str());
        let paths = self.topics.iter().flat_map(|about| about.paths.iter().map(String::as_str));
        format!("no topic's schema describes {}{}", quote(&shown), hint(&shown, paths.chain(derived)))
    }

    /// The column that holds an expression's values: its own where it just names one.
    pub fn of(&mut self, expression: Expr) -> ColumnId {
        if let Expr::Column(column, _) = expression {
            return column;
        }
        let kind = ColumnKind::of(expression.of_type());
        self.argument(Computed { expression, kind })
    }

    fn argument(&mut self, computed: Computed) -> ColumnId {
        let at = self.arguments.iter().position(|other| *other == computed).unwrap_or_else(|| {
            self.arguments.push(computed);
            self.arguments.len() - 1
        });
        ColumnId(self.base + self.derived.len() + at)
    }

    /// What a column of the pipeline's rows holds.
    pub fn kind(&self, column: ColumnId) -> ColumnKind {
        let computed = self.derived.iter().map(|(_, _, computed)| computed).chain(&self.arguments);
        match column.0.checked_sub(self.base) {
            Some(at) => computed.map(|c| c.kind).nth(at),
            None => self.planned.get(column.0).map(|c| c.kind),
        }
        .unwrap_or(ColumnKind::Group)
    }

    /// What the topics' schemas say of the field: one type for all that describe it; None where that cannot be said.
    fn field_type(&self, path: &FieldPath) -> Result<Option<FieldType>, String> {
        let shown = quote(&path.to_string());
        let mut found: Option<(FieldType, &str)> = None;
        for about in &self.topics {
            match (about.plan.schema.field(path), found) {
                (None, _) => {}
                (Some(kind), None) => found = Some((kind, &about.plan.name)),
                (Some(kind), Some((first, _))) if kind == first => {}
                (Some(kind), Some((first, topic))) => {
                    return Err(format!(
                        "{shown} is {} in {} but {} in {}: all topics that have it must agree",
                        article(first),
                        quote(topic),
                        article(kind),
                        quote(&about.plan.name),
                    ));
                }
            }
        }
        if found.is_none() && self.whole {
            return Err(self.undescribed(path));
        }
        Ok(found.map(|(kind, _)| kind))
    }
}

/// Whether decode can be asked for the field.
fn bounded(path: &FieldPath) -> Result<(), String> {
    let shown = || quote(&path.to_string());
    if path.0.len() > PATH_PARTS_MAX {
        return Err(format!("{} has {} steps: at most {PATH_PARTS_MAX} are allowed", shown(), path.0.len()));
    }
    if path.0.iter().any(|step| matches!(step, Step::Item(item) if *item > ITEM_MAX)) {
        return Err(format!("{}: items of an array are numbered from 0 to {ITEM_MAX} here", shown()));
    }
    Ok(())
}

pub fn article(kind: FieldType) -> &'static str {
    match kind {
        FieldType::String => "a string",
        FieldType::Integer => "an integer",
        FieldType::Number => "a number",
        FieldType::Boolean => "a boolean",
        FieldType::Other => "of no single simple type",
    }
}
