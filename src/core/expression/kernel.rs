//! One function over whole arrays, by Polars: an array of one entry stands for as many as the others have. And the arrays that say where errors are.

use std::convert::Infallible;

use polars::prelude::{
    ArrayFromIter, BooleanChunked, ChunkCompareEq, ChunkCompareIneq, ChunkZip, ChunkedArray, PlSmallStr,
    PolarsDataType, PolarsNumericType, StringType, arity,
};

use crate::core::expression::Function;
use crate::core::expression::lane::{Errors, Values};

/// A function of one operand, null for null; None for a value is an error.
pub(super) fn map<T, V, K>(
    operand: &ChunkedArray<T>,
    function: impl for<'a> Fn(T::Physical<'a>) -> Option<K>,
) -> (ChunkedArray<V>, Errors)
where
    T: PolarsDataType,
    V: PolarsDataType,
    V::Array: ArrayFromIter<Option<K>>,
{
    let entry = |value: Option<T::Physical<'_>>| Ok::<_, Infallible>(value.and_then(&function));
    let Ok(values) = arity::try_unary_elementwise(operand, entry);
    let errors = failures(&values, &[&operand.is_null()]);
    (values, errors)
}

/// A function of two operands, null where one is; None for two values is an error.
pub(super) fn map_two<T, U, V, K>(
    first: &ChunkedArray<T>,
    second: &ChunkedArray<U>,
    function: impl for<'a> Fn(T::Physical<'a>, U::Physical<'a>) -> Option<K>,
) -> (ChunkedArray<V>, Errors)
where
    T: PolarsDataType,
    U: PolarsDataType,
    V: PolarsDataType,
    V::Array: ArrayFromIter<Option<K>>,
{
    let Ok(values) = arity::broadcast_try_binary_elementwise(first, second, |a, b| {
        Ok::<_, Infallible>(a.zip(b).and_then(|(a, b)| function(a, b)))
    });
    let errors = failures(&values, &[&first.is_null(), &second.is_null()]);
    (values, errors)
}

/// Like `map`, for numbers of fixed size: much faster where nothing fails, which is the rule.
pub(super) fn each<T, V>(
    operand: &ChunkedArray<T>,
    function: impl Fn(T::Native) -> Option<V::Native>,
) -> (ChunkedArray<V>, Errors)
where
    T: PolarsNumericType,
    V: PolarsNumericType,
    V::Array: ArrayFromIter<Option<V::Native>>,
{
    let operand = operand.rechunk();
    let array = operand.downcast_as_array();
    let results = all(array.values().iter().map(|value| function(*value)));
    match results {
        Some(results) => (ChunkedArray::from_vec_validity(NO_NAME, results, array.validity().cloned()), None),
        // Something failed, if only where there is a null.
        None => map(&operand, |value: T::Native| function(value)),
    }
}

/// Like `map_two`, likewise.
pub(super) fn each_two<T, V>(
    first: &ChunkedArray<T>,
    second: &ChunkedArray<T>,
    function: impl Fn(T::Native, T::Native) -> Option<V::Native>,
) -> (ChunkedArray<V>, Errors)
where
    T: PolarsNumericType,
    V: PolarsNumericType,
    V::Array: ArrayFromIter<Option<V::Native>>,
{
    match (first.len(), second.len()) {
        (_, 1) => {
            if let Some(constant) = second.get(0) {
                return each(first, |value| function(value, constant));
            }
        }
        (1, _) => {
            if let Some(constant) = first.get(0) {
                return each(second, |value| function(constant, value));
            }
        }
        _ => {
            let (first, second) = (first.rechunk(), second.rechunk());
            let (a, b) = (first.downcast_as_array(), second.downcast_as_array());
            let results = all(a.values().iter().zip(b.values().iter()).map(|(a, b)| function(*a, *b)));
            if let Some(results) = results {
                let validity = match (a.validity(), b.validity()) {
                    (Some(a), Some(b)) => Some(a & b),
                    (a, b) => a.or(b).cloned(),
                };
                return (ChunkedArray::from_vec_validity(NO_NAME, results, validity), None);
            }
        }
    }
    map_two(first, second, |a: T::Native, b: T::Native| function(a, b))
}

/// None if one is None.
fn all<V: Default>(results: impl ExactSizeIterator<Item = Option<V>>) -> Option<Vec<V>> {
    let mut whole = true;
    // Without a way out of the loop it is a plain one over memory.
    let results = results.map(|result| {
        whole &= result.is_some();
        result.unwrap_or_default()
    });
    let results = results.collect();
    whole.then_some(results)
}

/// Columns have names in Polars; none is used here.
pub(super) const NO_NAME: PlSmallStr = PlSmallStr::EMPTY;

/// A function of a text, something and an integer, null where one is; None for three values is an error.
pub(super) fn map_three<T, U>(
    first: &ChunkedArray<StringType>,
    second: &ChunkedArray<T>,
    third: &ChunkedArray<U>,
    function: impl for<'a> Fn(&'a str, T::Physical<'a>, U::Physical<'a>) -> Option<String>,
) -> (ChunkedArray<StringType>, Errors)
where
    T: PolarsDataType,
    U: PolarsDataType,
{
    let longest = first.len().max(second.len()).max(third.len());
    let at = |length: usize, row: usize| if length == 1 { 0 } else { row };
    let entry = |row| {
        let (a, b) = (first.get(at(first.len(), row))?, second.get(at(second.len(), row))?);
        function(a, b, third.get(at(third.len(), row))?)
    };
    let values: ChunkedArray<StringType> = (0..longest).map(entry).collect();
    let errors = failures(&values, &[&first.is_null(), &second.is_null(), &third.is_null()]);
    (values, errors)
}

/// Where there is no value although every operand has one.
fn failures<V: PolarsDataType>(values: &ChunkedArray<V>, nulls: &[&BooleanChunked]) -> Errors {
    if values.null_count() == 0 {
        return None;
    }
    let failed = nulls.iter().fold(values.is_null(), |failed, nulls| &failed & &!*nulls);
    failed.any().then_some(failed)
}

/// Where one of the two has an error.
pub(super) fn either(a: Errors, b: Errors) -> Errors {
    match (a, b) {
        (Some(a), Some(b)) => Some(&a | &b),
        (a, b) => a.or(b),
    }
}

/// Errors where the mask, which has no nulls, is true.
pub(super) fn only_where(mask: &BooleanChunked, errors: Errors) -> Errors {
    let met = &errors? & mask;
    met.any().then_some(met)
}

/// Null is false.
pub(super) fn is_true(values: &BooleanChunked) -> BooleanChunked {
    if values.null_count() == 0 { values.clone() } else { values.equal_missing(&constant(true)) }
}

/// Null is no false.
pub(super) fn is_false(values: &BooleanChunked) -> BooleanChunked {
    is_true(&!values)
}

pub(super) fn constant(value: bool) -> BooleanChunked {
    std::iter::once(Some(value)).collect()
}

/// `then` where the mask is true, otherwise `otherwise`.
pub(super) fn choose(mask: &BooleanChunked, then: &Values, otherwise: &Values) -> Values {
    match (then, otherwise) {
        (Values::Integer(a), Values::Integer(b)) => Values::Integer(zip(mask, a, b)),
        (Values::Number(a), Values::Number(b)) => Values::Number(zip(mask, a, b)),
        (Values::Boolean(a), Values::Boolean(b)) => Values::Boolean(zip(mask, a, b)),
        (Values::Text(a), Values::Text(b)) => Values::Text(zip(mask, a, b)),
        _ => panic!("two types where one is needed: {then:?}, {otherwise:?}"),
    }
}

/// Likewise for errors.
pub(super) fn choose_errors(mask: &BooleanChunked, then: Errors, otherwise: Errors) -> Errors {
    if then.is_none() && otherwise.is_none() {
        return None;
    }
    let none = || constant(false);
    let chosen = zip(mask, &then.unwrap_or_else(none), &otherwise.unwrap_or_else(none));
    chosen.any().then_some(chosen)
}

fn zip<T: PolarsDataType>(mask: &BooleanChunked, then: &ChunkedArray<T>, otherwise: &ChunkedArray<T>) -> ChunkedArray<T>
where
    ChunkedArray<T>: ChunkZip<T>,
{
    let Ok(chosen) = then.zip_with(mask, otherwise) else { panic!("arrays of two lengths") };
    chosen
}

/// A comparison, null where an operand is; or one of the two that are never null.
pub(super) fn compare(how: &Function, a: &Values, b: &Values) -> BooleanChunked {
    match (a, b) {
        (Values::Integer(a), Values::Integer(b)) => compared(how, a, b),
        (Values::Number(a), Values::Number(b)) => compared(how, a, b),
        (Values::Text(a), Values::Text(b)) => compared(how, a, b),
        (Values::Boolean(a), Values::Boolean(b)) => compare_booleans(how, a, b),
        _ => panic!("{how:?} of two types: {a:?}, {b:?}"),
    }
}

fn compared<A>(how: &Function, a: &A, b: &A) -> BooleanChunked
where
    A: for<'a> ChunkCompareEq<&'a A, Item = BooleanChunked> + for<'a> ChunkCompareIneq<&'a A, Item = BooleanChunked>,
{
    match how {
        Function::Equal => a.equal(b),
        Function::NotEqual => a.not_equal(b),
        Function::Less => a.lt(b),
        Function::LessOrEqual => a.lt_eq(b),
        Function::Greater => a.gt(b),
        Function::GreaterOrEqual => a.gt_eq(b),
        Function::Distinct => a.not_equal_missing(b),
        Function::NotDistinct => a.equal_missing(b),
        _ => panic!("{how:?} is no comparison"),
    }
}

/// False is less than true.
fn compare_booleans(how: &Function, a: &BooleanChunked, b: &BooleanChunked) -> BooleanChunked {
    // Polars does not say what a broadcast null gives here: strictness is ours.
    let with = |compare: fn(bool, bool) -> bool| map_two(a, b, |a: bool, b: bool| Some(compare(a, b))).0;
    match how {
        Function::Equal => with(|a, b| a == b),
        Function::NotEqual => with(|a, b| a != b),
        Function::Less => with(|a, b| !a && b),
        Function::LessOrEqual => with(|a, b| a <= b),
        Function::Greater => with(|a, b| a && !b),
        Function::GreaterOrEqual => with(|a, b| a >= b),
        Function::Distinct => !&compare_booleans(&Function::NotDistinct, a, b),
        Function::NotDistinct => {
            let equal = is_true(&with(|a, b| a == b));
            &equal | &(&a.is_null() & &b.is_null())
        }
        _ => panic!("{how:?} is no comparison"),
    }
}
