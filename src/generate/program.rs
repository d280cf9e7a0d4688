//! A JSON Schema as a program that appends one valid event to a buffer: compiled once, so that an event costs no tree and no allocation.

use serde_json::Value;

use crate::core::plan::{FieldPath, Step, TopicPlan};
use crate::core::units::Micros;
use crate::generate::moment::{Dates, Moment, write_digits, write_integer};
use crate::generate::pattern::Pattern;
use crate::generate::random::{Chance, Random};

/// How often a property that is not required is there.
const OPTIONAL_PROBABILITY: f64 = 0.75;
/// The span of a number whose schema leaves an end open.
const NUMBER_SPAN: f64 = 1_000.0;
const INTEGER_SPAN: i64 = 1_000;
/// The lengths of a text, and of a list, whose schema leaves them open.
const TEXT_LEAST: usize = 3;
const TEXT_EXTRA: usize = 12;
const LIST_EXTRA: usize = 3;
const UUID_LENGTH: f64 = 36.0;
/// A schema that asks for more is no sample's.
const LENGTH_MAX: usize = 100_000;
/// Nesting that events may have.
const DEPTH_MAX: usize = 32;
/// A random date-time that is not the event's time lies in 2020 to 2029.
const DATES: (i64, i64) = (1_577_836_800_000_000, 1_893_455_999_999_999);

/// Keywords that say nothing about which values are valid.
const ANNOTATIONS: [&str; 11] = [
    "$schema",
    "$id",
    "$comment",
    "title",
    "description",
    "default",
    "examples",
    "deprecated",
    "readOnly",
    "writeOnly",
    "$anchor",
];
const KEYWORDS: [&str; 19] = [
    "type",
    "required",
    "properties",
    "additionalProperties",
    "enum",
    "const",
    "format",
    "pattern",
    "minimum",
    "maximum",
    "exclusiveMinimum",
    "exclusiveMaximum",
    "multipleOf",
    "minLength",
    "maxLength",
    "items",
    "minItems",
    "maxItems",
    "uniqueItems",
];

/// Formats, as patterns of some of their texts. Names and addresses are those that are kept free for examples.
const FORMATS: [(&str, &str); 7] = [
    ("date", "^202[0-9]-(0[1-9]|1[0-2])-(0[1-9]|1[0-9]|2[0-8])$"),
    ("time", "^([01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9]Z$"),
    ("email", "^[a-z]{3,10}@example\\.org$"),
    ("hostname", "^[a-z]{3,10}\\.example\\.org$"),
    ("ipv4", "^192\\.0\\.2\\.[1-9][0-9]$"),
    ("ipv6", "^2001:db8::[1-9a-f][0-9a-f]{0,3}$"),
    ("uri", "^https://example\\.org/[a-z0-9]{1,10}$"),
];

/// Appends one event of a topic.
#[derive(Debug)]
pub struct Program(Node);

#[derive(Debug)]
enum Node {
    /// A text that is ready.
    Ready(Vec<u8>),
    OneOf(Vec<Vec<u8>>),
    /// From, to, and of what it is a multiple.
    Integer(i64, i64, i64),
    Decimal(Decimal),
    Text(usize, usize),
    Pattern(Pattern),
    Uuid,
    /// Any moment.
    Date,
    /// The event's own time.
    EventTime(Moment),
    List(Box<Node>, usize, usize),
    Object(Vec<Member>),
}

#[derive(Debug)]
struct Member {
    /// `"name":`
    key: Vec<u8>,
    /// None: always there.
    chance: Option<Chance>,
    node: Node,
}

/// Numbers `ticks / 10^digits` with ticks in a range.
#[derive(Debug)]
struct Decimal {
    least: i64,
    most: i64,
    digits: u32,
}

/// What draws and what it is drawn for.
pub struct Pen<'a> {
    pub random: &'a mut Random,
    pub dates: &'a mut Dates,
    pub time: Micros,
}

impl Program {
    /// # Errors
    /// What in the schema cannot be generated: its JSON pointer and why.
    pub fn compile(schema: &Value, topic: &TopicPlan, topic_field: &str) -> Result<Self, String> {
        let compiler = Compiler { topic, topic_field };
        let mut node = compiler.node(schema, &mut Vec::new())?;
        if let Node::Object(members) = &mut node {
            compiler.name_topic(schema, members);
        }
        Ok(Self(node))
    }

    /// Appends one line, without line end.
    pub fn write(&self, pen: &mut Pen, into: &mut Vec<u8>) {
        self.0.write(pen, into);
    }
}

impl Node {
    fn write(&self, pen: &mut Pen, into: &mut Vec<u8>) {
        match self {
            Self::Ready(text) => into.extend_from_slice(text),
            Self::OneOf(texts) => into.extend_from_slice(&texts[pen.random.index(texts.len())]),
            Self::Integer(least, most, step) => write_integer(pen.random.between(*least, *most) * step, into),
            Self::Decimal(decimal) => decimal.write(pen.random, into),
            Self::Text(least, most) => {
                into.push(b'"');
                let length = least + pen.random.index(most - least + 1);
                into.extend((0..length).map(|_| b'a' + pen.random.below(26) as u8));
                into.push(b'"');
            }
            Self::Pattern(pattern) => {
                into.push(b'"');
                pattern.write(pen.random, into);
                into.push(b'"');
            }
            Self::Uuid => write_uuid(pen.random.bytes(), into),
            Self::Date => {
                let time = Micros(pen.random.between(DATES.0, DATES.1));
                pen.dates.write(time, into);
            }
            Self::EventTime(moment) => moment.write(pen, into),
            Self::List(item, least, most) => {
                into.push(b'[');
                for n in 0..least + pen.random.index(most - least + 1) {
                    if n > 0 {
                        into.push(b',');
                    }
                    item.write(pen, into);
                }
                into.push(b']');
            }
            Self::Object(members) => {
                into.push(b'{');
                let mut first = true;
                for member in members {
                    if member.chance.is_some_and(|chance| !pen.random.hits(chance)) {
                        continue;
                    }
                    if !std::mem::take(&mut first) {
                        into.push(b',');
                    }
                    into.extend_from_slice(&member.key);
                    member.node.write(pen, into);
                }
                into.push(b'}');
            }
        }
    }
}

fn write_uuid(bytes: [u8; 16], into: &mut Vec<u8>) {
    let mut text = [b'"'; 38];
    uuid::Builder::from_random_bytes(bytes).into_uuid().hyphenated().encode_lower(&mut text[1..37]);
    into.extend_from_slice(&text);
}

impl Decimal {
    /// Four digits after the point, or more where the range is narrow.
    fn within(least: End, most: End) -> Option<Self> {
        (4..=9).find_map(|digits| {
            let scale = 10f64.powi(digits as i32);
            let (mut from, mut to) = ((least.at * scale).ceil(), (most.at * scale).floor());
            // Rounding of the product may have stepped over an end.
            if from / scale < least.at || (least.open && from / scale <= least.at) {
                from += 1.0;
            }
            if to / scale > most.at || (most.open && to / scale >= most.at) {
                to -= 1.0;
            }
            let exact = from.abs() < 9e15 && to.abs() < 9e15;
            let wide = to - from >= 10.0 || (from <= to && most.at <= least.at);
            (exact && wide).then_some(Self { least: from as i64, most: to as i64, digits })
        })
    }

    fn write(&self, random: &mut Random, into: &mut Vec<u8>) {
        let ticks = random.between(self.least, self.most);
        let scale = 10u64.pow(self.digits);
        if ticks < 0 {
            into.push(b'-');
        }
        write_digits(ticks.unsigned_abs() / scale, 1, into);
        into.push(b'.');
        write_digits(ticks.unsigned_abs() % scale, self.digits as usize, into);
    }
}

struct Compiler<'a> {
    topic: &'a TopicPlan,
    topic_field: &'a str,
}

impl Compiler<'_> {
    fn node(&self, schema: &Value, path: &mut Vec<String>) -> Result<Node, String> {
        let refuse = |why: String| Err(format!("/{}: {why}", path.join("/")));
        if path.len() > DEPTH_MAX {
            return refuse(format!("more than {DEPTH_MAX} levels"));
        }
        let keywords = match schema {
            Value::Object(keywords) => keywords,
            Value::Bool(true) => return Ok(Node::Text(TEXT_LEAST, TEXT_LEAST + TEXT_EXTRA)),
            _ => return refuse("no value is valid here".to_owned()),
        };
        let known = |word: &&String| KEYWORDS.contains(&word.as_str()) || ANNOTATIONS.contains(&word.as_str());
        if let Some(word) = keywords.keys().find(|word| !known(word)) {
            return refuse(format!("the generator does not know the keyword {word:?}"));
        }
        if is_at(&self.topic.time, path) {
            return Ok(Node::EventTime(Moment { format: self.topic.time_format, kind: kind(schema).to_owned() }));
        }
        if let Some(value) = keywords.get("const") {
            return Ok(Node::Ready(value.to_string().into_bytes()));
        }
        if let Some(values) = keywords.get("enum").and_then(Value::as_array) {
            let texts: Vec<_> = values.iter().map(|value| value.to_string().into_bytes()).collect();
            return if texts.is_empty() { refuse("no value is valid here".to_owned()) } else { Ok(Node::OneOf(texts)) };
        }
        match kind(schema) {
            "object" => self.object(schema, path),
            "array" => self.list(schema, path),
            "string" => self.string(schema, path),
            "integer" => {
                let Some(step) = step(schema) else { return refuse("multipleOf is no integer".to_owned()) };
                let (least, most) = integer_range(schema);
                // In steps, rounded into the range.
                let least = least.div_euclid(step) + i64::from(least.rem_euclid(step) != 0);
                let most = most.div_euclid(step);
                if least <= most {
                    Ok(Node::Integer(least, most, step))
                } else {
                    refuse("no integer is in the range".to_owned())
                }
            }
            "number" if schema.get("multipleOf").is_some() => {
                let mut whole = schema.clone();
                whole["type"] = Value::from("integer");
                self.node(&whole, path)
            }
            "number" => {
                let (least, most) = number_range(schema);
                match Decimal::within(least, most) {
                    Some(decimal) => Ok(Node::Decimal(decimal)),
                    None => refuse(format!("the generator cannot write a number from {} to {}", least.at, most.at)),
                }
            }
            "boolean" => Ok(Node::OneOf(vec![b"true".to_vec(), b"false".to_vec()])),
            "null" => Ok(Node::Ready(b"null".to_vec())),
            other => refuse(format!("the generator does not know the type {other:?}")),
        }
    }

    fn object(&self, schema: &Value, path: &mut Vec<String>) -> Result<Node, String> {
        let required: Vec<&str> = list(schema, "required").filter_map(Value::as_str).collect();
        let nothing = serde_json::Map::new();
        let properties = schema.get("properties").and_then(Value::as_object).unwrap_or(&nothing);
        if let Some(name) = required.iter().find(|name| !properties.contains_key(**name)) {
            return Err(format!("/{}: {name:?} is required but not described", path.join("/")));
        }
        let mut members = Vec::new();
        for (name, below) in properties {
            path.push(name.clone());
            let node = self.node(below, path)?;
            let always = required.contains(&name.as_str()) || self.is_read(path);
            path.pop();
            let chance = (!always).then(|| Chance::of(OPTIONAL_PROBABILITY));
            members.push(Member { key: key(name), chance, node });
        }
        Ok(Node::Object(members))
    }

    /// Whether an event without this field would be invalid, whatever its schema says.
    fn is_read(&self, path: &[String]) -> bool {
        let on_the_way =
            |field: &FieldPath| field.0.get(..path.len()).is_some_and(|begin| is_at(&FieldPath(begin.to_vec()), path));
        on_the_way(&self.topic.time) || self.topic.id.as_ref().is_some_and(on_the_way)
    }

    /// In a mixed slab an event names its topic: where the schema leaves room for it, it does.
    fn name_topic(&self, schema: &Value, members: &mut Vec<Member>) {
        let name = Value::from(self.topic.name.as_str()).to_string().into_bytes();
        let described = schema.get("properties").and_then(|p| p.get(self.topic_field));
        let own = key(self.topic_field);
        match (described, members.iter_mut().find(|m| m.key == own)) {
            (Some(described), Some(member)) if described.get("const").is_none() && kind(described) == "string" => {
                *member = Member { key: own, chance: None, node: Node::Ready(name) };
            }
            (None, None) if schema.get("additionalProperties") != Some(&Value::Bool(false)) => {
                members.push(Member { key: own, chance: None, node: Node::Ready(name) });
            }
            _ => {}
        }
    }

    fn list(&self, schema: &Value, path: &mut Vec<String>) -> Result<Node, String> {
        let (least, most) = lengths(schema, ("minItems", "maxItems"), (0, LIST_EXTRA));
        let distinct = schema.get("uniqueItems") == Some(&Value::Bool(true));
        path.push("*".to_owned());
        let item = self.node(schema.get("items").unwrap_or(&Value::Bool(true)), path);
        path.pop();
        // Two draws may be equal; one cannot.
        let most = if distinct { most.min(1) } else { most };
        if least > most || most > LENGTH_MAX {
            return Err(format!("/{}: the generator cannot write lists of {least} to {most} items", path.join("/")));
        }
        Ok(Node::List(Box::new(item?), least, most))
    }

    fn string(&self, schema: &Value, path: &[String]) -> Result<Node, String> {
        let refuse = |why: String| Err(format!("/{}: {why}", path.join("/")));
        if let Some(pattern) = schema.get("pattern").and_then(Value::as_str) {
            return Pattern::compile(pattern)
                .map(Node::Pattern)
                .or_else(|why| refuse(format!("the generator cannot write texts for the pattern {pattern:?}: {why}")));
        }
        match schema.get("format").and_then(Value::as_str) {
            Some("uuid") => return Ok(Node::Uuid),
            Some("date-time") => return Ok(Node::Date),
            Some(other) => {
                let Some((_, pattern)) = FORMATS.iter().find(|(name, _)| *name == other) else {
                    return refuse(format!("the generator does not know the format {other:?}"));
                };
                return Pattern::compile(pattern).map(Node::Pattern).or_else(refuse);
            }
            None => {}
        }
        // An id has to differ from every other: a UUID does, where the schema has room for one.
        let bound = |word: &str, otherwise: f64| schema.get(word).and_then(Value::as_f64).unwrap_or(otherwise);
        let room = bound("minLength", 0.0) <= UUID_LENGTH && UUID_LENGTH <= bound("maxLength", UUID_LENGTH);
        if room && self.topic.id.as_ref().is_some_and(|id| is_at(id, path)) {
            return Ok(Node::Uuid);
        }
        let (least, most) = lengths(schema, ("minLength", "maxLength"), (TEXT_LEAST, TEXT_EXTRA));
        if least > most || most > LENGTH_MAX {
            return refuse(format!("the generator cannot write texts of {least} to {most} characters"));
        }
        Ok(Node::Text(least, most))
    }
}

/// Whether the field stands at this path of names.
fn is_at(field: &FieldPath, path: &[String]) -> bool {
    let step = |(step, name): (&Step, &String)| matches!(step, Step::Name(step) if step == name);
    field.0.len() == path.len() && field.0.iter().zip(path).all(step)
}

fn key(name: &str) -> Vec<u8> {
    format!("{}:", Value::from(name)).into_bytes()
}

fn list<'a>(schema: &'a Value, keyword: &str) -> impl Iterator<Item = &'a Value> {
    schema.get(keyword).and_then(Value::as_array).into_iter().flatten()
}

/// The type that is generated: of several the first that is not null; where none is said, the one that the other keywords are about.
fn kind(schema: &Value) -> &str {
    if let Some(kind) = schema.get("type").and_then(Value::as_str) {
        return kind;
    }
    if let Some(kind) = list(schema, "type").filter_map(Value::as_str).find(|&kind| kind != "null") {
        return kind;
    }
    let about = [
        ("properties", "object"),
        ("required", "object"),
        ("items", "array"),
        ("minItems", "array"),
        ("minimum", "number"),
        ("maximum", "number"),
        ("exclusiveMinimum", "number"),
        ("exclusiveMaximum", "number"),
        ("multipleOf", "number"),
    ];
    about.iter().find(|(word, _)| schema.get(word).is_some()).map_or("string", |(_, kind)| kind)
}

fn lengths(schema: &Value, (least, most): (&str, &str), (least_default, extra): (usize, usize)) -> (usize, usize) {
    let number = |word: &str| schema.get(word).and_then(Value::as_f64).map(|n| n as usize);
    match (number(least), number(most)) {
        (Some(least), Some(most)) => (least, most.min(least.saturating_add(extra))),
        (Some(least), None) => (least, least.saturating_add(extra)),
        (None, Some(most)) => (least_default.min(most), most.min(least_default + extra)),
        (None, None) => (least_default, least_default + extra),
    }
}

/// One end of a range of numbers; `open`: the number itself is not in it.
#[derive(Clone, Copy)]
struct End {
    at: f64,
    open: bool,
}

/// The multiples of it are valid integers; None: it is no integer.
fn step(schema: &Value) -> Option<i64> {
    schema.get("multipleOf").map_or(Some(1), |step| step.as_i64().filter(|step| *step > 0))
}

fn integer_range(schema: &Value) -> (i64, i64) {
    // Saturating casts: what lies outside 64 bits is no integer of Caudal's.
    let end = |word: &str, round: fn(f64) -> f64| {
        schema.get(word).map(|n| n.as_i64().unwrap_or_else(|| round(n.as_f64().unwrap_or(0.0)) as i64))
    };
    // Above 2.5 lies 3 as above 2, and below 2.5 lies 2 as below 3.
    let above = end("exclusiveMinimum", f64::floor).map(|n| n.saturating_add(1));
    let below = end("exclusiveMaximum", f64::ceil).map(|n| n.saturating_sub(1));
    let least = end("minimum", f64::ceil).into_iter().chain(above).max();
    let most = end("maximum", f64::floor).into_iter().chain(below).min();
    match (least, most) {
        (Some(least), Some(most)) => (least, most),
        (Some(least), None) => (least, least.saturating_add(INTEGER_SPAN)),
        (None, Some(most)) => (most.saturating_sub(INTEGER_SPAN), most),
        (None, None) => (0, INTEGER_SPAN),
    }
}

fn number_range(schema: &Value) -> (End, End) {
    let end = |word: &str, open: bool| schema.get(word).and_then(Value::as_f64).map(|at| End { at, open });
    // Of two ends the one that leaves less; of equal ones the open one, which stands last.
    let least = match (end("minimum", false), end("exclusiveMinimum", true)) {
        (Some(closed), Some(open)) if closed.at > open.at => Some(closed),
        (closed, open) => open.or(closed),
    };
    let most = match (end("maximum", false), end("exclusiveMaximum", true)) {
        (Some(closed), Some(open)) if closed.at < open.at => Some(closed),
        (closed, open) => open.or(closed),
    };
    let closed = |at: f64| End { at, open: false };
    match (least, most) {
        (Some(least), Some(most)) => (least, most),
        (Some(least), None) => (least, closed(least.at + NUMBER_SPAN)),
        (None, Some(most)) => (closed(most.at - NUMBER_SPAN), most),
        (None, None) => (closed(0.0), closed(NUMBER_SPAN)),
    }
}
