//! Time buckets: the ids of one are forgotten together, so that an id keeps no time of its own. Which bucket it falls into, and until when that is remembered,
//! follows from event times alone.

use crate::core::plan::TopicPlan;
use crate::core::units::Micros;

/// The narrowest time bucket: 120 s, so that a bucket's number fits 32 bits over the years 0 to 9999.
const BUCKET_WIDTH_MIN: i64 = 120_000_000;
/// A topic's memory is cut into about this many buckets, which are forgotten whole.
const BUCKETS_IN_MEMORY: i64 = 32;
/// 0000-01-01T00:00:00Z: no event is older.
const YEAR_ZERO: i64 = -62_167_219_200_000_000;

/// Which bucket of its topic's time an id falls into, counted from the year 0.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Bucket(pub u32);

/// How a topic's ids are put into buckets and when these are forgotten.
#[derive(Clone, Copy, Debug)]
pub struct Memory {
    width: i64,
    /// The number, counted from 1970, of the bucket in which the year 0 begins.
    year_zero: i64,
    remember: Micros,
}

impl Memory {
    #[must_use]
    pub fn of(topic: &TopicPlan) -> Self {
        Self::lasting(topic.remember)
    }

    /// Of a topic whose ids are remembered so long.
    #[must_use]
    pub fn lasting(remember: Micros) -> Self {
        let share = remember.0.div_euclid(BUCKETS_IN_MEMORY) + i64::from(remember.0.rem_euclid(BUCKETS_IN_MEMORY) > 0);
        Self::of_width(share.max(BUCKET_WIDTH_MIN), remember)
    }

    fn of_width(width: i64, remember: Micros) -> Self {
        Self { width, year_zero: YEAR_ZERO.div_euclid(width), remember }
    }

    /// The bucket of an event of this time.
    #[must_use]
    pub fn bucket(&self, time: Micros) -> Bucket {
        let number = time.0.div_euclid(self.width) - self.year_zero;
        Bucket(u32::try_from(number.max(0)).unwrap_or(u32::MAX - 1))
    }

    /// The first bucket that is still remembered when the topic's watermark (its largest time minus `out_of_order`) stands here.
    #[must_use]
    pub fn first_remembered(&self, watermark: Micros) -> Bucket {
        if watermark == Micros::MIN {
            return Bucket(0);
        }
        // Forgotten iff (bucket + 1) * width + remember <= watermark.
        let ended = watermark.minus(self.remember).0.div_euclid(self.width) - self.year_zero;
        Bucket(u32::try_from(ended.max(0)).unwrap_or(u32::MAX))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_forgotten_exactly_when_its_bucket_ends() {
        let memory = Memory::of_width(120_000_000, Micros(3_600_000_000));
        let bucket = memory.bucket(Micros(-1));
        // It ends at 0, and is remembered an hour longer.
        assert!(memory.first_remembered(Micros(3_599_999_999)) <= bucket);
        assert!(memory.first_remembered(Micros(3_600_000_000)) > bucket);
        assert_eq!(memory.first_remembered(Micros::MIN), Bucket(0));
    }
}
