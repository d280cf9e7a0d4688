//! The seeded event generator.
