//! Caudal: an event stream and batch processor that runs as an MPI job.
//!
//! ```text
//!  REST / browser / CLI / file
//!      │  bytes, cut into lines
//!      ▼
//!  ingest ── slab ──► log (append, group fsync) ──► 202 Accepted
//!      │
//!      ▼ epoch cut (logged)
//!  coordinator (rank 0) ── slabs, by credit ──► workers 1..P
//!                                               │ 1 decode + validate
//!                                               │ 2 dedup: ids → owner → verdicts
//!                                               │ 3 windows, pre-aggregation (Polars)
//!                                               │ 4 panes → owner, merged
//!                                               ▼ 5 the watermark closes windows
//!  coordinator ◄── epoch result
//!      │
//!      ▼ one transaction: rows + dead letters + lineage + alerts + outbox + progress
//!  store (PostgreSQL | SQLite) ──► page, queries, webhooks
//! ```
//!
//! `ARCHITECTURE.md` is the code map; `docs/semantics.md` says what a pipeline means.

pub mod cli;
pub mod config;
pub mod clock;
pub mod logging;
pub mod web;
pub mod generate;
pub mod ingest;
pub mod log;
pub mod bus;
pub mod pipeline;
pub mod coordinator;
pub mod wire;
pub mod transport;
pub mod worker;
pub mod input;
pub mod core;
pub mod store;
pub mod outbox;
