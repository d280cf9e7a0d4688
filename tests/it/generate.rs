//! The generator: the same seed gives the same bytes.
