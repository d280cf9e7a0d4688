//! The pipelines that hold at this moment, for whoever serves while they may change.

use std::sync::{Arc, PoisonError, RwLock};

use crate::pipeline::{Configuration, Pipelines};

/// What holds, and what it means.
#[derive(Debug)]
pub struct InForce {
    pub configuration: Configuration,
    pub pipelines: Arc<Pipelines>,
}

/// Shared by all who serve; each asks once a request, so that a request is of one plan.
#[derive(Clone, Debug)]
pub struct Running {
    now: Arc<RwLock<Arc<InForce>>>,
}

impl InForce {
    #[must_use]
    pub fn new(configuration: Configuration, pipelines: Pipelines) -> Self {
        Self { configuration, pipelines: Arc::new(pipelines) }
    }
}

impl Running {
    #[must_use]
    pub fn new(now: InForce) -> Self {
        Self { now: Arc::new(RwLock::new(Arc::new(now))) }
    }

    #[must_use]
    pub fn get(&self) -> Arc<InForce> {
        // A pointer is put whole: a thread that died has harmed nothing.
        Arc::clone(&self.now.read().unwrap_or_else(PoisonError::into_inner))
    }

    pub fn set(&self, now: Arc<InForce>) {
        *self.now.write().unwrap_or_else(PoisonError::into_inner) = now;
    }
}
