//! The standard deviation: number, sum and sum of squares, all exact, so that nothing cancels however far the values lie from zero.

use crate::core::encoding::{NotAPane, put_count, take, take_value_count};
use crate::core::exact::{ExactSum, Spread, SquareSum, U256};

/// 2^64 squares of integers of 64 bits stay below 2^190.
const SQUARES_BYTES: usize = 24;

const IMPOSSIBLE: NotAPane = NotAPane("sums that no values have");

#[derive(Clone, Debug, Default, PartialEq)]
pub(in crate::core) struct IntegerMoments {
    count: u64,
    sum: i128,
    squares: U256,
}

#[derive(Clone, Debug, Default, PartialEq)]
pub(in crate::core) struct NumberMoments {
    count: u64,
    sum: ExactSum,
    squares: SquareSum,
}

impl IntegerMoments {
    pub(super) fn add(&mut self, value: i64) {
        let magnitude = u128::from(value.unsigned_abs());
        self.count += 1;
        self.sum += i128::from(value);
        self.squares = plus(self.squares, U256::shifted(magnitude * magnitude, 0));
    }

    pub(super) fn merge(&mut self, other: &Self) {
        self.count += other.count;
        self.sum += other.sum;
        self.squares = plus(self.squares, other.squares);
    }

    pub(super) fn deviation(&self) -> Option<f64> {
        let Some(spread) = Spread::of_integers(self.count, self.sum, self.squares) else { panic!("{}", IMPOSSIBLE.0) };
        spread.deviation()
    }

    pub(super) fn encode(&self, into: &mut Vec<u8>) {
        put_count(self.count, into);
        if self.count > 0 {
            into.extend_from_slice(&self.sum.to_le_bytes());
            into.extend_from_slice(&self.squares.low.to_le_bytes());
            into.extend_from_slice(&(self.squares.high as u64).to_le_bytes());
        }
    }

    pub(super) fn decode(event_count: u64, rest: &mut &[u8]) -> Result<Self, NotAPane> {
        let count = take_value_count(event_count, rest)?;
        if count == 0 {
            return Ok(Self::default());
        }
        let sum = i128::from_le_bytes(take(rest)?);
        let low = u128::from_le_bytes(take(rest)?);
        let high = u64::from_le_bytes(take(rest)?);
        let squares = U256 { high: u128::from(high), low };
        // So that no merge of fewer than 2^64 events overflows: each square is at most 2^126.
        if squares > U256::shifted(u128::from(count), 126) || Spread::of_integers(count, sum, squares).is_none() {
            return Err(IMPOSSIBLE);
        }
        Ok(Self { count, sum, squares })
    }
}

fn plus(a: U256, b: U256) -> U256 {
    let Some(sum) = a.checked_add(b) else { panic!("more than 2^{} squares", SQUARES_BYTES * 8 - 126) };
    sum
}

impl NumberMoments {
    pub(super) fn add(&mut self, value: f64) {
        self.count += 1;
        self.sum.add(value);
        self.squares.add(value);
    }

    pub(super) fn merge(&mut self, other: &Self) {
        self.count += other.count;
        self.sum.merge(&other.sum);
        self.squares.merge(&other.squares);
    }

    pub(super) fn deviation(&self) -> Option<f64> {
        let Some(spread) = Spread::of_numbers(self.count, &self.sum, &self.squares) else { panic!("{}", IMPOSSIBLE.0) };
        spread.deviation()
    }

    pub(super) fn encode(&self, into: &mut Vec<u8>) {
        put_count(self.count, into);
        if self.count > 0 {
            self.sum.encode(into);
            self.squares.encode(into);
        }
    }

    pub(super) fn decode(event_count: u64, rest: &mut &[u8]) -> Result<Self, NotAPane> {
        let count = take_value_count(event_count, rest)?;
        if count == 0 {
            return Ok(Self::default());
        }
        let sum = ExactSum::decode(count, rest).ok_or(NotAPane("no exact sum"))?;
        let squares = SquareSum::decode(count, rest).ok_or(NotAPane("no exact sum of squares"))?;
        if Spread::of_numbers(count, &sum, &squares).is_none() {
            return Err(IMPOSSIBLE);
        }
        Ok(Self { count, sum, squares })
    }
}
