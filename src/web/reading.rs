//! Reads of the log, each on a blocking thread, a few at once.

use std::sync::Arc;
use std::time::Duration;

use hyper::StatusCode;
use tokio::sync::Semaphore;
use tokio::time::timeout;

use crate::bus::BusError;
use crate::web::problem::Problem;

/// Reads at once: each may hold a frame in memory, and takes the disk's time from the writer.
const READS_MAX: usize = 4;
/// A request that finds no place within this is refused.
const PLACE_WAIT_MAX: Duration = Duration::from_secs(5);

pub struct Reading(Arc<Semaphore>);

impl Default for Reading {
    fn default() -> Self {
        Self(Arc::new(Semaphore::new(READS_MAX)))
    }
}

impl Reading {
    /// For a request, which is refused where too many wait.
    pub async fn run<T: Send + 'static>(
        &self,
        read: impl FnOnce() -> Result<T, BusError> + Send + 'static,
    ) -> Result<T, Problem> {
        match timeout(PLACE_WAIT_MAX, self.wait(read)).await {
            Ok(read) => read,
            Err(_) => Err(Problem::unavailable("too much of the log is being read at once: ask again later", 1)),
        }
    }

    /// For a stream, which waits for its turn.
    pub async fn wait<T: Send + 'static>(
        &self,
        read: impl FnOnce() -> Result<T, BusError> + Send + 'static,
    ) -> Result<T, Problem> {
        let Ok(place) = Arc::clone(&self.0).acquire_owned().await else { return Err(failed()) };
        let reading = tokio::task::spawn_blocking(move || {
            // Held until the thread is done, also where the caller has gone meanwhile.
            let _place = place;
            read()
        });
        match reading.await {
            Ok(read) => Ok(read?),
            Err(_) => Err(failed()),
        }
    }
}

fn failed() -> Problem {
    Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "the log could not be read; see the log of rank 0")
}
