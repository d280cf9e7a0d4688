//! Places for what takes a thread, memory or the disk's time: only so many at once.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;

use crate::web::problem::Problem;

/// Held by the work itself to its end, also where the client has gone meanwhile: whoever asks, goes and asks again would have ever more of it done otherwise.
pub type Place = OwnedSemaphorePermit;

pub struct Places {
    free: Arc<Semaphore>,
    wait_max: Duration,
    /// What is said where none comes free in time.
    busy: &'static str,
}

impl Places {
    pub fn new(number: usize, wait_max: Duration, busy: &'static str) -> Self {
        Self { free: Arc::new(Semaphore::new(number)), wait_max, busy }
    }

    /// # Errors
    /// 503 where none comes free within `wait_max`.
    pub async fn take(&self) -> Result<Place, Problem> {
        match timeout(self.wait_max, self.wait()).await {
            Ok(place) => Ok(place),
            Err(_) => Err(Problem::unavailable(self.busy, 1)),
        }
    }

    #[cfg(test)]
    pub fn free(&self) -> usize {
        self.free.available_permits()
    }

    /// Waits as long as it takes.
    pub async fn wait(&self) -> Place {
        let place = Arc::clone(&self.free).acquire_owned().await;
        place.unwrap_or_else(|_| panic!("places are never closed"))
    }
}
