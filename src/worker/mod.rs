//! A rank that validates, deduplicates and aggregates.
