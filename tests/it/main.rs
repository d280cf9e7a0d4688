//! One integration binary; a module a subject.

mod support;
mod scalar;
mod model;
mod sim_disk;
mod memory_store;
mod architecture;
mod log;
mod decode;
mod expression;
mod aggregate;
mod metrics;
mod pipeline;
mod files;
mod store;
mod simulation;
mod http;
mod http_unit;
mod routes;
mod transport;
mod run_mpi;
mod mpi;
mod demo;
mod audit_file;
mod limits;
mod page;
mod generate;
