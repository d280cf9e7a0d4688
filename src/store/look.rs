//! Looks at a store without changing it: whether it can be reached, what it is, and whether this user may do there what a job does.

use std::path::Path;

use crate::store::StoreError;
use crate::store::postgres;
use crate::store::sqlite;
use crate::store::target::PostgresConfig;

/// A file of SQLite's.
#[derive(Debug)]
pub struct SqliteSeen {
    pub bytes: u64,
    /// What is wrong with it, as SQLite says; none for a file that is whole. A large one is not read through.
    pub problems: Vec<String>,
}

/// A server of PostgreSQL's, and this user's rights in the database.
#[derive(Debug)]
pub struct PostgresSeen {
    pub version: String,
    pub encrypted: bool,
    /// Tables and views in the schema where they would be made.
    pub may_create: bool,
    /// Temporary tables, by which rows are put in.
    pub may_stage: bool,
}

/// None where there is no file yet.
///
/// # Errors
/// `Unavailable`, `Broken`: it cannot be read, or is no database.
pub fn sqlite(path: &Path) -> Result<Option<SqliteSeen>, StoreError> {
    sqlite::look(path)
}

/// # Errors
/// `Unavailable`: the server is away or busy. `Broken`: it refuses this user.
pub fn postgres(config: &PostgresConfig) -> Result<PostgresSeen, StoreError> {
    postgres::look(config)
}
