//! The meaning of a pipeline, pure: no MPI, no HTTP, no SQL, no files, no tokio, no clock.
//!
//! Modules stand in the order an event travels. `docs/semantics.md` states the rules they carry out.

pub mod units;
pub mod path;
pub mod plan;
pub mod time;
pub mod schema;
pub mod decode;
pub mod columns;
pub mod keygroup;
pub mod dedup;
pub mod watermark;
pub mod expression;
pub mod exact;
pub mod encoding;
pub mod accumulator;
pub mod aggregate;
pub mod condition;
pub mod window;
pub mod view;
pub mod alert;
pub mod join;
pub mod row;
pub mod json;
pub mod identity;
pub mod lineage;
pub mod emit;
pub mod ledger;
pub mod epoch;
pub mod mend;
pub mod keyed;
pub mod trace;
