//! Where positions are stored: one connection that writes, used in turn, each time on a blocking thread.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use hyper::StatusCode;
use tokio::time::timeout;

use crate::bus::group::Name;
use crate::core::units::{Generation, Offset};
use crate::store::{GroupPosition, Store, StoreError};
use crate::web::Web;
use crate::web::groups::not_stored;
use crate::web::problem::Problem;

/// Who finds others before it for this long is told to come again: the store is slow or away.
const TURN_WAIT_MAX: Duration = Duration::from_secs(10);

#[derive(Default)]
pub struct Positions {
    turn: Arc<tokio::sync::Mutex<()>>,
    open: Arc<Open>,
}

/// The connection, while it is good.
#[derive(Default)]
struct Open(Mutex<Option<Box<dyn Store>>>);

impl Positions {
    pub async fn store(&self, web: &Web, topic: &str, name: &Name, position: Offset) -> Result<(), Problem> {
        let group = GroupPosition { topic: topic.to_owned(), group: name.to_string(), position };
        self.ask(web, move |store, mine| store.move_group(mine, &group)).await
    }

    pub async fn forget(&self, web: &Web, topic: &str, name: &Name) -> Result<(), Problem> {
        let (topic, name) = (topic.to_owned(), name.clone());
        self.ask(web, move |store, mine| store.drop_group(mine, &topic, name.as_str())).await.map(|_| ())
    }

    async fn ask<T: Send + 'static>(
        &self,
        web: &Web,
        act: impl FnOnce(&mut dyn Store, Generation) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, Problem> {
        let mine = web.app.status.get().generation;
        if mine == Generation(0) {
            return Err(Problem::unavailable("the job is starting: ask again", 1));
        }
        let Ok(turn) = timeout(TURN_WAIT_MAX, Arc::clone(&self.turn).lock_owned()).await else {
            return Err(Problem::unavailable("the store is slow: nothing was changed, ask again later", 2));
        };
        let (open, target, plan) = (Arc::clone(&self.open), web.app.target.clone(), web.pipelines().plan.clone());
        let asked = tokio::task::spawn_blocking(move || {
            // Held until the thread is done, also where the caller has gone meanwhile.
            let _turn = turn;
            let mut store = match open.take() {
                Some(store) => store,
                None => target.store(&plan)?,
            };
            let done = act(store.as_mut(), mine)?;
            // One that has failed is not used again.
            open.put(store);
            Ok::<T, StoreError>(done)
        });
        match asked.await {
            Ok(done) => done.map_err(not_stored),
            Err(_) => Err(Problem::new(
                StatusCode::INTERNAL_SERVER_ERROR,
                "the store could not be asked; see the log of rank 0",
            )),
        }
    }
}

impl Open {
    fn take(&self) -> Option<Box<dyn Store>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    fn put(&self, store: Box<dyn Store>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(store);
    }
}

/// A connection to PostgreSQL blocks while it is closed, which a thread that drives asynchronous tasks must not do, and such a thread may hold the
/// last reference.
impl Drop for Open {
    fn drop(&mut self) {
        let open = self.take();
        std::thread::spawn(move || drop(open));
    }
}
