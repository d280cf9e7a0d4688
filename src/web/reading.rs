//! Reads of the log, each on a blocking thread, a few at once.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use hyper::StatusCode;
use tokio::time::timeout;

use crate::bus::BusError;
use crate::web::places::{Place, Places};
use crate::web::problem::Problem;

/// Reads at once: each may hold a frame in memory, and takes the disk's time from the writer.
const READS_MAX: usize = 4;
/// A request that finds no place within this is refused.
const PLACE_WAIT_MAX: Duration = Duration::from_secs(5);
/// A search looks through all that the index has not seen yet, which may be the whole log. It ends after this.
const SEARCH_MAX: Duration = Duration::from_secs(30);

pub struct Reading {
    places: Places,
    search_max: Duration,
}

impl Default for Reading {
    fn default() -> Self {
        Self::new(PLACE_WAIT_MAX, SEARCH_MAX)
    }
}

/// Says so when it is dropped.
#[derive(Default)]
struct Gone(Arc<AtomicBool>);

impl Drop for Gone {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

impl Reading {
    fn new(place_wait_max: Duration, search_max: Duration) -> Self {
        let busy = "too much of the log is being read at once: ask again later";
        Self { places: Places::new(READS_MAX, place_wait_max, busy), search_max }
    }

    /// For a request, which is refused where too many wait. What is read is bounded by its bytes, so it has the time that it takes.
    pub async fn run<T: Send + 'static>(
        &self,
        read: impl FnOnce() -> Result<T, BusError> + Send + 'static,
    ) -> Result<T, Problem> {
        by(self.places.take().await?, read).await
    }

    /// For a stream, which waits for its turn.
    pub async fn wait<T: Send + 'static>(
        &self,
        read: impl FnOnce() -> Result<T, BusError> + Send + 'static,
    ) -> Result<T, Problem> {
        by(self.places.wait().await, read).await
    }

    /// For a request whose read is bounded by nothing but the log: it is told when nobody waits for it any more, since the client has gone or it took too long.
    pub async fn search<T: Send + 'static>(
        &self,
        read: impl FnOnce(&dyn Fn() -> bool) -> Result<T, BusError> + Send + 'static,
    ) -> Result<T, Problem> {
        let place = self.places.take().await?;
        let gone = Gone::default();
        let seen = Arc::clone(&gone.0);
        let found = timeout(self.search_max, by(place, move || read(&|| !seen.load(Ordering::Relaxed)))).await;
        found.unwrap_or_else(|_| {
            let most = self.search_max;
            let why = format!("the log could not be looked through within {most:?}: while its index is being made that takes long, ask again later");
            Err(Problem::unavailable(why, 10))
        })
    }
}

async fn by<T: Send + 'static>(
    place: Place,
    read: impl FnOnce() -> Result<T, BusError> + Send + 'static,
) -> Result<T, Problem> {
    let reading = tokio::task::spawn_blocking(move || {
        let _place = place;
        read()
    });
    match reading.await {
        Ok(read) => Ok(read?),
        Err(_) => {
            Err(Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "the log could not be read; see the log of rank 0"))
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    const SHORT: Duration = Duration::from_millis(30);
    const LONG: Duration = Duration::from_mins(1);

    /// Reads that take longer than anybody waits for a place are read to their end; who finds no place is refused.
    #[tokio::test]
    async fn the_wait_is_for_a_place_and_not_for_the_read() {
        let reading = Arc::new(Reading::new(SHORT, LONG));
        let mut going = Vec::new();
        for number in 0..READS_MAX {
            let (go, goes) = mpsc::channel::<()>();
            let (begun, begins) = tokio::sync::oneshot::channel();
            let reading = Arc::clone(&reading);
            let read = tokio::spawn(async move {
                let read = move || {
                    let _ = begun.send(());
                    let _ = goes.recv();
                    Ok(number)
                };
                reading.run(read).await
            });
            begins.await.expect("it has a place");
            going.push((go, read));
        }
        let refused = reading.run(|| Ok(())).await.expect_err("there is no place");
        assert_eq!(refused.status, StatusCode::SERVICE_UNAVAILABLE);
        for (number, (go, read)) in going.into_iter().enumerate() {
            drop(go);
            assert_eq!(read.await.expect("it ends").expect("it is read"), number);
        }
        reading.run(|| Ok(())).await.expect("there is a place again");
    }

    #[tokio::test]
    async fn a_search_ends_when_it_takes_too_long_or_nobody_waits() {
        let reading = Reading::new(LONG, SHORT);
        let (end, ended) = mpsc::channel();
        let search = |end: mpsc::Sender<()>| {
            move |is_waited_for: &dyn Fn() -> bool| {
                while is_waited_for() {
                    std::thread::yield_now();
                }
                drop(end);
                Err::<(), _>(BusError::GivenUp)
            }
        };
        let problem = reading.search(search(end)).await.expect_err("it never ends by itself");
        assert!(problem.status == StatusCode::SERVICE_UNAVAILABLE && problem.detail.contains("30ms"), "{problem:?}");
        assert!(ended.recv().is_err(), "the thread has ended");
        let reading = Arc::new(Reading::new(LONG, LONG));
        let (end, ended) = mpsc::channel();
        let asking = tokio::spawn({
            let (reading, search) = (Arc::clone(&reading), search(end));
            async move { reading.search(search).await }
        });
        while reading.places.free() == READS_MAX {
            tokio::task::yield_now().await;
        }
        asking.abort();
        let _ = asking.await;
        assert!(ended.recv().is_err(), "the thread has ended");
    }
}
