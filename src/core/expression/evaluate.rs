//! Evaluation of a whole tree over whole columns. Every part is computed for every row, and beside each value stands whether computing it failed; what
//! was not asked for (the other branches of a CASE) drops out where a parent chooses. A part that looks at one dictionary-coded column alone is computed
//! once for each entry of the dictionary.

use std::collections::BTreeMap;

use polars::prelude::{BooleanChunked, Int64Chunked};

use crate::core::columns::{Column, GroupValue};
use crate::core::expression::kernel::{
    choose, choose_errors, compare, constant, either, is_false, is_true, only_where,
};
use crate::core::expression::lane::{Errors, Frame, Lane, Values, intern};
use crate::core::expression::{Expr, Function, Literal, call};
use crate::core::plan::ColumnId;
use crate::core::units::Micros;

/// What an expression looks at; all have one entry a row.
#[derive(Clone, Copy, Debug)]
pub struct Inputs<'a> {
    /// By `ColumnId`.
    pub fields: &'a [Column],
    /// The events' times.
    pub time: &'a [Micros],
}

#[derive(Debug)]
pub struct Evaluated {
    /// One entry a row. By the expression's type: Text: `Group` of texts and null; Integer and Timestamp (in microseconds): `Integer`; Number: `Number`;
    /// Boolean: `Boolean`.
    pub column: Column,
    /// Rows in which something that was asked for has no value, such as 1 / 0.
    pub errors: u64,
}

impl Expr {
    /// Its value for every row.
    #[must_use]
    pub fn evaluate(&self, inputs: &Inputs) -> Evaluated {
        if inputs.time.is_empty() {
            return Evaluated {
                column: Lane::literal(&Literal::Null(self.of_type())).values.into_column(0),
                errors: 0,
            };
        }
        let lane = Evaluator { inputs, fields: BTreeMap::new() }.lane(self);
        finish(lane, inputs)
    }
}

/// From frame to rows.
fn finish(lane: Lane, inputs: &Inputs) -> Evaluated {
    let rows = inputs.time.len();
    let repeated = lane.values.len() == 1;
    let errors = match (&lane.errors, lane.frame) {
        (None, _) => 0,
        (Some(errors), _) if errors.len() == 1 => u64::from(errors.get(0) == Some(true)) * rows as u64,
        (Some(errors), Frame::Dictionary(id)) => {
            let failed: Vec<bool> = errors.iter().map(|error| error == Some(true)).collect();
            codes(inputs, id).iter().filter(|&&code| failed.get(code as usize) == Some(&true)).count() as u64
        }
        (Some(errors), _) => u64::from(errors.sum().unwrap_or(0)),
    };
    let column = match (lane.frame, lane.values) {
        (Frame::Dictionary(id), Values::Text(texts)) if !repeated => {
            let (entries, dictionary) = intern(texts.iter(), |text| GroupValue::Text(text.into()));
            let code = |&code: &u32| entries.get(code as usize).copied();
            let codes: Option<Vec<u32>> = codes(inputs, id).iter().map(code).collect();
            let Some(codes) = codes else { panic!("a code beyond its dictionary") };
            Column::Group { codes, dictionary }
        }
        (frame @ Frame::Dictionary(id), values) if !repeated => {
            let lane = Lane { frame, values, errors: None };
            lane.gathered(codes(inputs, id)).values.into_column(rows)
        }
        (_, values) => values.into_column(rows),
    };
    Evaluated { column, errors }
}

fn codes<'a>(inputs: &Inputs<'a>, id: ColumnId) -> &'a [u32] {
    match inputs.fields.get(id.0) {
        Some(Column::Group { codes, .. }) => codes,
        _ => panic!("{id:?} has a dictionary"),
    }
}

struct Evaluator<'a> {
    inputs: &'a Inputs<'a>,
    /// Fields that were looked at already.
    fields: BTreeMap<usize, Lane>,
}

impl Evaluator<'_> {
    fn lane(&mut self, expr: &Expr) -> Lane {
        match expr {
            Expr::Column(id, _) => self.field(*id),
            Expr::EventTime => {
                let times: Int64Chunked = self.inputs.time.iter().map(|time| Some(time.0)).collect();
                Lane { frame: Frame::Rows, values: Values::Integer(times), errors: None }
            }
            Expr::Literal(literal) => Lane::literal(literal),
            Expr::Call(function, operands) => {
                let lanes = operands.iter().map(|operand| self.lane(operand)).collect();
                let (frame, lanes) = self.aligned(lanes);
                let (values, errors) = called(function, &lanes);
                Lane { frame, values, errors }
            }
            Expr::Case { operand, arms, otherwise } => self.case(operand.as_deref(), arms, otherwise.as_deref()),
        }
    }

    fn field(&mut self, id: ColumnId) -> Lane {
        let Some(column) = self.inputs.fields.get(id.0) else { panic!("{id:?} is none of the fields") };
        self.fields.entry(id.0).or_insert_with(|| Lane::field(id, column)).clone()
    }

    /// All in one frame, but for constants, which fit into each.
    fn aligned(&self, lanes: Vec<Lane>) -> (Frame, Vec<Lane>) {
        let common = lanes.iter().map(|lane| lane.frame).fold(Frame::Constant, |a, b| match (a, b) {
            (Frame::Constant, other) | (other, Frame::Constant) => other,
            (a, b) if a == b => a,
            _ => Frame::Rows,
        });
        let align = |lane: Lane| match lane.frame {
            Frame::Dictionary(id) if common == Frame::Rows => lane.gathered(codes(self.inputs, id)),
            _ => lane,
        };
        (common, lanes.into_iter().map(align).collect())
    }

    /// From the last arm to the first: each takes its rows from what the later ones gave.
    fn case(&mut self, operand: Option<&Expr>, arms: &[(Expr, Expr)], otherwise: Option<&Expr>) -> Lane {
        let Some((_, first)) = arms.first() else { panic!("a CASE without an arm") };
        let null = Expr::Literal(Literal::Null(first.of_type()));
        let parts = arms.iter().flat_map(|(condition, result)| [condition, result]);
        let parts = parts.chain([otherwise.unwrap_or(&null)]).chain(operand);
        let lanes = parts.map(|part| self.lane(part)).collect();
        let (frame, mut lanes) = self.aligned(lanes);
        let operand = operand.and_then(|_| lanes.pop());
        let Some(Lane { mut values, mut errors, .. }) = lanes.pop() else { panic!("there is an otherwise") };
        while let (Some(result), Some(condition)) = (lanes.pop(), lanes.pop()) {
            let holds = match &operand {
                Some(operand) => is_true(&compare(&Function::Equal, &operand.values, &condition.values)),
                None => is_true(condition.booleans()),
            };
            values = choose(&holds, &result.values, &values);
            errors = either(condition.errors, choose_errors(&holds, result.errors, errors));
        }
        errors = either(errors, operand.and_then(|operand| operand.errors));
        Lane { frame, values, errors }
    }
}

/// A call of operands in one frame.
fn called(function: &Function, lanes: &[Lane]) -> (Values, Errors) {
    match function {
        Function::And => connected(lanes, |sofar, next| sofar & next, is_false),
        Function::Or => connected(lanes, |sofar, next| sofar | next, is_true),
        Function::In => contained(lanes),
        Function::Between => between(lanes),
        Function::Coalesce => coalesced(lanes),
        _ => {
            let values: Vec<&Values> = lanes.iter().map(|lane| &lane.values).collect();
            let (values, errors) = call::strict(function, &values);
            let met = lanes.iter().fold(errors, |met, lane| either(met, lane.errors.clone()));
            (values, met)
        }
    }
}

/// AND and OR: `decided` says where no further operand is needed.
fn connected(
    lanes: &[Lane],
    connect: fn(&BooleanChunked, &BooleanChunked) -> BooleanChunked,
    decided: fn(&BooleanChunked) -> BooleanChunked,
) -> (Values, Errors) {
    let Some((first, rest)) = lanes.split_first() else { panic!("no operand") };
    let (mut values, mut errors) = (first.booleans().clone(), first.errors.clone());
    for lane in rest {
        errors = either(errors, needed(lane, || !&decided(&values)));
        values = connect(&values, lane.booleans());
    }
    (Values::Boolean(values), errors)
}

/// The lane's errors where it is needed, which is found out only if there are any.
fn needed(lane: &Lane, mask: impl FnOnce() -> BooleanChunked) -> Errors {
    let errors = lane.errors.clone()?;
    only_where(&mask(), Some(errors))
}

fn contained(lanes: &[Lane]) -> (Values, Errors) {
    let Some((value, candidates)) = lanes.split_first() else { panic!("no operand") };
    let (mut found, mut errors) = (constant(false), value.errors.clone());
    for candidate in candidates {
        errors = either(errors, needed(candidate, || !&is_true(&found)));
        found = &found | &compare(&Function::Equal, &value.values, &candidate.values);
    }
    (Values::Boolean(found), errors)
}

fn between(lanes: &[Lane]) -> (Values, Errors) {
    let [value, low, high] = lanes else { panic!("three operands") };
    let above = compare(&Function::GreaterOrEqual, &value.values, &low.values);
    let below = compare(&Function::LessOrEqual, &value.values, &high.values);
    let errors = either(value.errors.clone(), low.errors.clone());
    let errors = either(errors, needed(high, || !&is_false(&above)));
    (Values::Boolean(&above & &below), errors)
}

fn coalesced(lanes: &[Lane]) -> (Values, Errors) {
    let Some((first, rest)) = lanes.split_first() else { panic!("no operand") };
    let (mut values, mut errors) = (first.values.clone(), first.errors.clone());
    for lane in rest {
        let there = values.is_not_null();
        errors = either(errors, needed(lane, || !&there));
        values = choose(&there, &values, &lane.values);
    }
    (values, errors)
}
