//! Opens the store that a job uses.

use std::sync::Arc;

use crate::core::plan::Plan;
use crate::store::postgres::{PostgresSource, PostgresStore};
use crate::store::read::SqlReader;
use crate::store::sqlite::{SqliteSource, SqliteStore};
use crate::store::target::Target;
use crate::store::{Reader, Store, StoreError};

impl Target {
    /// Connects for writing: applies migrations, and makes the SQL views of the plan's windows.
    ///
    /// # Errors
    /// `Unavailable` (try again), `Broken`.
    pub fn store(&self, plan: &Arc<Plan>) -> Result<Box<dyn Store>, StoreError> {
        match self {
            Self::Sqlite(path) => Ok(Box::new(SqliteStore::open(path, plan.clone())?)),
            Self::Postgres(config) => Ok(Box::new(PostgresStore::open(config, plan.clone())?)),
        }
    }

    /// For reading. It connects when it is first asked, and again by itself after a loss: so it may be made while the store is away. It blocks, and must
    /// not be asked on a thread of an async runtime.
    ///
    /// # Errors
    /// `Broken`: the configuration cannot be right.
    pub fn reader(&self, plan: &Arc<Plan>) -> Result<Box<dyn Reader>, StoreError> {
        match self {
            Self::Sqlite(path) => Ok(Box::new(SqlReader::new(plan.clone(), SqliteSource::new(path.clone())))),
            Self::Postgres(config) => Ok(Box::new(SqlReader::new(plan.clone(), PostgresSource::new(config.clone())))),
        }
    }
}
