//! What several tests share: private ports and directories, a real PostgreSQL started by the tests, a job under mpirun, a small HTTP client.

pub mod client;
pub mod contract;
pub mod heap;
pub mod job;
pub mod keys;
pub mod machine;
pub mod plan;
pub mod port;
pub mod postgres;
pub mod python;
pub mod program;
pub mod slurm;
pub mod traffic;
