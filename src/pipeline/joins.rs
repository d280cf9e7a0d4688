//! An entry of `emit` that joins: how it is written, and what its names refer to, which say of which of the two events they are.

use crate::core::expression::{Expr, Type};
use crate::core::plan::{ColumnId, FieldPath, JoinPlan, JoinSide, Step};
use crate::core::units::{Micros, TopicId};
use crate::pipeline::columns::Columns;
use crate::pipeline::file::{MILLISECOND, bounded, sql};
use crate::pipeline::names::{NAME_ALLOWED, is_name, path, path_of};
use crate::pipeline::section::{At, Faulty, Section, hint, mapping, span, text};
use crate::pipeline::sql::{self as expressions, Scope, SqlFault};
use crate::pipeline::topics::{Described, Topics};
use crate::pipeline::yaml::{Node, Value, quote};

#[derive(Debug)]
pub struct Join {
    pub sides: [Side; 2],
    pub within: Micros,
}

#[derive(Debug)]
pub struct Side {
    /// How the body calls its event.
    pub alias: At<String>,
    pub topic: At<String>,
    pub on: At<FieldPath>,
    pub when: Option<At<String>>,
}

/// Reads the keys of an entry that has `join`.
pub fn join(node: &Node, section: &Section, faults: &mut Faulty) -> Option<Join> {
    let sides = sides(node, faults);
    let within = match section.get("within") {
        Some(node) => span(node, "within", MILLISECOND, faults),
        None => section.missing("within: DURATION", "is how far the two events may lie apart", faults),
    };
    let on = match section.get("on") {
        Some(node) => Some(node),
        None => section.missing("on: FIELD", "is the field that has one value in both events", faults),
    };
    let when = section.get("when");
    let [left, right] = sides?;
    let aliases = [left.0.it.clone(), right.0.it.clone()];
    let mut side = |(alias, topic): (At<String>, At<String>)| {
        let on = of_side(on?, &alias.it, &aliases, "on", faults).and_then(|node| path(node, faults))?;
        let when = match when {
            Some(Node { value: Value::Map(_), .. }) => {
                when.and_then(|node| of_side(node, &alias.it, &aliases, "when", faults))
            }
            Some(node) => {
                let [left, right] = &aliases;
                let allowed = format!("{{{left}: CONDITION, {right}: CONDITION}}, or one of them");
                faults.note(node.place, format!("when: {} stands where {allowed} is allowed", node.value.describe()));
                None
            }
            None => None,
        };
        Some(Side { alias, topic, on, when: when.and_then(|node| sql(node, faults)) })
    };
    let (left, right) = (side(left), side(right));
    Some(Join { sides: [left?, right?], within: within? })
}

/// Two names, each with its topic.
fn sides(node: &Node, faults: &mut Faulty) -> Option<[(At<String>, At<String>); 2]> {
    let entries =
        mapping(node, "join: a mapping from two names to their topics, such as {sent: TOPIC, paid: TOPIC}", faults);
    bounded(entries.len(), (2, 2), "topics to join", node, faults);
    let mut sides = Vec::new();
    for (key, node) in entries {
        if !is_name(&key.name) {
            faults.note(key.place, format!("{} is no name of an event here: it is {NAME_ALLOWED}", quote(&key.name)));
        }
        let topic = text(node, "a topic's name", faults)?;
        let alias = At { place: key.place, it: key.name.clone() };
        sides.push((alias, At { place: node.place, it: topic.to_owned() }));
    }
    sides.try_into().ok()
}

/// What a mapping says for one side; a value that is none holds for both.
fn of_side<'a>(
    node: &'a Node,
    alias: &str,
    aliases: &[String; 2],
    what: &str,
    faults: &mut Faulty,
) -> Option<&'a Node> {
    let Value::Map(entries) = &node.value else { return Some(node) };
    let unknown = entries.iter().find(|(key, _)| !aliases.contains(&key.name));
    if let Some((key, _)) = unknown.filter(|(key, _)| !faults.has(key.place)) {
        let hint = hint(&key.name, aliases.iter().map(String::as_str));
        faults.note(key.place, format!("{what}: the join has no {}{hint}", quote(&key.name)));
    }
    let found = entries.iter().find(|(key, _)| key.name == alias).map(|(_, node)| node);
    if found.is_none() && what == "on" {
        faults.note(node.place, format!("on: `{alias}: FIELD` is missing"));
    }
    found
}

/// Resolves one; what is wrong is noted.
pub fn plan(
    join: &Join,
    topics: &Topics,
    own: &[TopicId],
    columns: &mut Columns,
    faults: &mut Faulty,
) -> Option<JoinPlan> {
    let [left, right] = &join.sides;
    if left.topic.it == right.topic.it {
        faults.note(right.topic.place, "join: it is the other one's topic too: a join is of two topics");
    }
    let mut types = Vec::new();
    let mut side = |side: &Side| {
        let topic = topics.number(&side.topic.it).filter(|topic| own.contains(topic));
        if topic.is_none() {
            let hint = hint(&side.topic.it, own.iter().filter_map(|topic| topics.name(*topic)));
            let message = format!("join: no topic of this file is called {}{hint}", quote(&side.topic.it));
            faults.note(side.topic.place, message);
        }
        let described = topic.and_then(|topic| topics.described(topic));
        let on = of_topic(described, &side.on.it, columns).and_then(|()| columns.group(&side.on.it));
        let key = match on {
            Ok((column, of_type)) => {
                types.push(of_type);
                Some(column)
            }
            // What both sides say is told once.
            Err(why) => {
                if !faults.has(side.on.place) {
                    faults.note(side.on.place, why.replacen("group", "on", 1));
                }
                None
            }
        };
        let when = match &side.when {
            None => None,
            Some(text) => match condition(&text.it, described, columns) {
                Ok(condition) => Some(columns.of(condition)),
                Err(fault) => {
                    faults.note_in(text, "when", &fault);
                    return None;
                }
            },
        };
        Some(JoinSide { topic: topic?, key: key?, when })
    };
    let sides = (side(left), side(right));
    if let [one, other] = types.as_slice()
        && one != other
    {
        let message = format!("on: it is {} in one topic and {} in the other", one.name(), other.name());
        faults.note(right.on.place, message);
    }
    Some(JoinPlan { sides: [sides.0?, sides.1?], within: join.within })
}

/// Whether the topic's events can have the field; nothing is said of a topic with a fault.
fn of_topic(topic: Option<&Described>, path: &FieldPath, columns: &Columns) -> Result<(), String> {
    let Some(topic) = topic else { return Ok(()) };
    if columns.derived_field(&path.0).is_some() || topic.plan.schema.field(path).is_some() {
        return Ok(());
    }
    let hint = hint(&path.to_string(), topic.paths.iter().map(String::as_str));
    Err(format!("the schema of {} does not describe {}{hint}", quote(&topic.plan.name), quote(&path.to_string())))
}

/// A condition on the events of one topic.
fn condition(text: &str, topic: Option<&Described>, columns: &mut Columns) -> Result<Expr, SqlFault> {
    let mut resolve = |path: &[Step]| {
        of_topic(topic, &FieldPath(path.to_vec()), columns)?;
        columns.resolve(path)
    };
    expressions::condition(text, &mut Scope { resolve: &mut resolve, event_time: true })
}

impl Join {
    /// The side and the field that a path such as `paid.amount` names.
    ///
    /// # Errors
    /// If it says no side.
    pub fn field(&self, path: &FieldPath) -> Result<(usize, FieldPath), String> {
        let alias = match path.0.split_first() {
            Some((Step::Name(alias), rest)) if !rest.is_empty() => Some((alias, rest)),
            _ => None,
        };
        let found = alias.and_then(|(alias, rest)| {
            let side = self.sides.iter().position(|side| side.alias.it == *alias)?;
            Some((side, FieldPath(rest.to_vec())))
        });
        found.ok_or_else(|| {
            let [left, right] = self.sides.each_ref().map(|side| side.alias.it.as_str());
            format!("say whose {} it is: {left}.{path} or {right}.{path}", quote(&path.to_string()))
        })
    }

    /// The written field, if it is one: of which side, and which.
    pub fn written(&self, text: &str, topics: &Topics, columns: &Columns) -> Option<(usize, FieldPath)> {
        let (side, path) = self.field(&path_of(text)?).ok()?;
        of_topic(self.described(side, topics), &path, columns).ok()?;
        Some((side, path))
    }

    /// What is said of a side's topic.
    pub fn described<'t>(&self, side: usize, topics: &'t Topics) -> Option<&'t Described> {
        topics.described(topics.number(&self.sides.get(side)?.topic.it)?)
    }

    /// Reads an expression over the fields of one side.
    ///
    /// # Errors
    /// If it is none, or names fields of both.
    pub fn expression(&self, text: &str, topics: &Topics, columns: &mut Columns) -> Result<(usize, Expr), SqlFault> {
        let mut of: Option<usize> = None;
        let mut resolve = |path: &[Step]| -> Result<(ColumnId, Type), String> {
            let (side, path) = self.field(&FieldPath(path.to_vec()))?;
            if *of.get_or_insert(side) != side {
                return Err("an expression here is of one of the two events: both cannot stand in it".to_owned());
            }
            of_topic(self.described(side, topics), &path, columns)?;
            columns.resolve(&path.0)
        };
        let expression = expressions::expression(text, &mut Scope { resolve: &mut resolve, event_time: false })?;
        Ok((of.unwrap_or_default(), expression))
    }
}
