//! Decode against the sequential model and the reference validator.
