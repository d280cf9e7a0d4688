//! A few open readers of the store, used in turn, each on a blocking thread.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use hyper::StatusCode;

use crate::core::plan::Plan;
use crate::pipeline::running::Running;
use crate::store::target::Target;
use crate::store::{Reader, StoreError};
use crate::web::places::Places;
use crate::web::problem::Problem;

/// Questions asked at once; more would only take the store's time from its writer.
const READERS_MAX: usize = 4;
/// A question that finds no free reader within this is refused.
const READER_WAIT_MAX: Duration = Duration::from_secs(5);

pub struct Readers {
    inner: Arc<Inner>,
    places: Places,
}

/// Readers that nobody uses, and the plan that they are of.
type Idle = (Option<Arc<Plan>>, Vec<Box<dyn Reader>>);

struct Inner {
    target: Target,
    running: Running,
    /// Of the plan that holds: others are closed.
    idle: Mutex<Idle>,
}

impl Readers {
    pub fn new(target: Target, running: Running) -> Self {
        let inner = Arc::new(Inner { target, running, idle: Mutex::default() });
        let busy = "too many questions are being asked at once: ask again later";
        Self { inner, places: Places::new(READERS_MAX, READER_WAIT_MAX, busy) }
    }

    /// Asks the store. A reader that failed is not used again.
    pub async fn ask<T: Send + 'static>(
        &self,
        question: impl FnOnce(&mut dyn Reader) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, Problem> {
        let place = self.places.take().await?;
        let inner = Arc::clone(&self.inner);
        let answer = tokio::task::spawn_blocking(move || {
            let _place = place;
            let (plan, mut reader) = inner.open()?;
            let answer = question(reader.as_mut())?;
            inner.keep(&plan, reader);
            Ok::<T, StoreError>(answer)
        });
        match answer.await {
            Ok(answer) => Ok(answer?),
            Err(_) => {
                Err(Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "the question failed; see the log of rank 0"))
            }
        }
    }
}

/// A connection to PostgreSQL blocks while it is closed, which a thread that drives asynchronous tasks must not do, and such a thread may hold the
/// last reference.
impl Drop for Inner {
    fn drop(&mut self) {
        let idle = std::mem::take(&mut self.idle().1);
        std::thread::spawn(move || drop(idle));
    }
}

impl Inner {
    fn open(&self) -> Result<(Arc<Plan>, Box<dyn Reader>), StoreError> {
        let plan = Arc::clone(&self.running.get().pipelines.plan);
        let mut idle = self.idle();
        let (of, readers) = &mut *idle;
        let same = of.as_ref().is_some_and(|of| Arc::ptr_eq(of, &plan));
        let (reader, old) = if same { (readers.pop(), Vec::new()) } else { (None, std::mem::take(readers)) };
        *of = Some(Arc::clone(&plan));
        drop(idle);
        // On this thread, which may block.
        drop(old);
        let reader = reader.map_or_else(|| self.target.reader(&plan), Ok)?;
        Ok((plan, reader))
    }

    fn keep(&self, plan: &Arc<Plan>, reader: Box<dyn Reader>) {
        let mut idle = self.idle();
        if idle.0.as_ref().is_some_and(|of| Arc::ptr_eq(of, plan)) {
            idle.1.push(reader);
            return;
        }
        drop(idle);
        drop(reader);
    }

    fn idle(&self) -> MutexGuard<'_, Idle> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
