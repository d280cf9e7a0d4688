//! Exact sums: commutative and associative to the bit, rounded once when a row is emitted.

/// The exact sum of finite doubles.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExactSum {}
