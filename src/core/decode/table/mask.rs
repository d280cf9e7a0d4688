//! A set of rows of a batch, or of items of its lists: a bit each. What a check refuses is taken out of one.

use std::ops::Range;

use arrow_array::Array;

const BITS: usize = u64::BITS as usize;

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Mask(Vec<u64>);

impl Mask {
    /// An empty set, with room for so many rows.
    pub fn none(rows: usize) -> Self {
        Self(vec![0; rows.div_ceil(BITS)])
    }

    pub fn all(rows: usize) -> Self {
        let mut all = vec![u64::MAX; rows.div_ceil(BITS)];
        if let Some(last) = all.last_mut().filter(|_| !rows.is_multiple_of(BITS)) {
            *last = (1 << (rows % BITS)) - 1;
        }
        Self(all)
    }

    #[inline]
    pub fn has(&self, row: usize) -> bool {
        self.0.get(row / BITS).is_some_and(|word| word >> (row % BITS) & 1 == 1)
    }

    #[inline]
    pub fn insert(&mut self, row: usize) {
        if let Some(word) = self.0.get_mut(row / BITS) {
            *word |= 1 << (row % BITS);
        }
    }

    pub fn insert_all(&mut self, rows: Range<usize>) {
        rows.for_each(|row| self.insert(row));
    }

    #[inline]
    pub fn remove(&mut self, row: usize) {
        if let Some(word) = self.0.get_mut(row / BITS) {
            *word &= !(1 << (row % BITS));
        }
    }

    pub fn is_empty(&self) -> bool {
        self.0.iter().all(|word| *word == 0)
    }

    pub fn add(&mut self, other: &Self) {
        self.0.iter_mut().zip(&other.0).for_each(|(word, other)| *word |= other);
    }

    pub fn without(&self, other: &Self) -> Self {
        // What the other one has no room for is not in it.
        let others = other.0.iter().copied().chain(std::iter::repeat(0));
        Self(self.0.iter().zip(others).map(|(word, other)| word & !other).collect())
    }

    pub fn and(&self, other: &Self) -> Self {
        Self(self.0.iter().zip(&other.0).map(|(word, other)| word & other).collect())
    }

    /// Those that have a value in the array.
    pub fn valid(&self, array: &dyn Array) -> Self {
        match array.nulls() {
            None => self.clone(),
            Some(nulls) => {
                let valid = nulls.inner().bit_chunks();
                Self(self.0.iter().zip(valid.iter_padded()).map(|(word, valid)| word & valid).collect())
            }
        }
    }

    pub fn filter(&self, mut keep: impl FnMut(usize) -> bool) -> Self {
        let mut kept = self.clone();
        self.each(|row| {
            if !keep(row) {
                kept.remove(row);
            }
        });
        kept
    }

    /// Calls with each, in ascending order.
    #[inline]
    pub fn each(&self, mut row: impl FnMut(usize)) {
        for (at, word) in self.0.iter().enumerate() {
            let mut left = *word;
            while left != 0 {
                row(at * BITS + left.trailing_zeros() as usize);
                left &= left - 1;
            }
        }
    }

    /// In ascending order.
    pub fn iter(&self) -> impl Iterator<Item = usize> {
        self.0.iter().enumerate().flat_map(|(at, word)| {
            let mut left = *word;
            std::iter::from_fn(move || {
                let bit = left.trailing_zeros() as usize;
                left &= left.wrapping_sub(1);
                (bit < BITS).then_some(at * BITS + bit)
            })
        })
    }
}

#[cfg(test)]
mod tests {
    use arrow_array::Int32Array;

    use super::*;

    #[test]
    fn sets_are_those_of_their_rows() {
        for rows in [0usize, 1, 63, 64, 65, 200] {
            let all = Mask::all(rows);
            assert_eq!(all.iter().collect::<Vec<_>>(), (0..rows).collect::<Vec<_>>());
            let thirds = all.filter(|row| row % 3 == 0);
            let array: Int32Array = (0..rows as i32).map(|row| (row % 2 == 0).then_some(row)).collect();
            let sixths: Vec<usize> = (0..rows).step_by(6).collect();
            assert_eq!(thirds.valid(&array).iter().collect::<Vec<_>>(), sixths);
            assert_eq!(thirds.and(&all.valid(&array)).iter().collect::<Vec<_>>(), sixths);
            let mut rest = all.without(&thirds);
            assert!(rest.iter().all(|row| row % 3 != 0 && !thirds.has(row)) && rest.is_empty() == (rows < 2));
            rest.add(&thirds);
            assert_eq!(rest, all);
            if rows > 9 {
                let sliced = Array::slice(&array, 3, rows - 3);
                assert_eq!(Mask::all(rows - 3).valid(&sliced).iter().next(), Some(1));
            }
        }
    }
}
