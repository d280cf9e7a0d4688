//! The pipeline file: parse, check, plan.
