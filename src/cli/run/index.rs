//! The thread that makes the files by which events are found by their ids.

use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread::JoinHandle;
use std::time::Duration;

use crate::bus::Source;
use crate::bus::index::Index;
use crate::cli::exit::{Exit, Failure, OrExit};
use crate::log::Access;
use crate::log::disk::{Disk, FileDisk};
use crate::pipeline::running::Running;

/// How often what has come is looked through: a question waits for what has not been yet.
const INDEX_EVERY: Duration = Duration::from_millis(100);
/// After one that could not be indexed.
const INDEX_RETRY: Duration = Duration::from_secs(30);

/// It ends when this is dropped.
pub struct Indexing {
    stop: Option<mpsc::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Indexing {
    /// Gives `bus` its index.
    ///
    /// # Errors
    /// 74 if the folder cannot be read; 75.
    pub fn start(folder: &Path, access: Access, bus: &Source, running: &Running) -> Result<Self, Failure> {
        let disk: Arc<dyn Disk> = Arc::new(FileDisk::open(folder).or_exit(Exit::Damaged)?);
        let index = Arc::new(Index::open(disk, access).or_exit(Exit::Damaged)?);
        bus.indexed(Arc::clone(&index));
        let (running, (stop, stopped)) = (running.clone(), mpsc::channel::<()>());
        let work = move || {
            loop {
                let plan = Arc::clone(&running.get().pipelines.plan);
                let pause = match plan.is_indexed().then(|| index.make_one(&plan)) {
                    Some(Ok(true)) => Duration::ZERO,
                    Some(Ok(false)) | None => INDEX_EVERY,
                    Some(Err(error)) => {
                        tracing::warn!(%error, "events of a segment are found by looking through it");
                        INDEX_RETRY
                    }
                };
                if !matches!(stopped.recv_timeout(pause), Err(RecvTimeoutError::Timeout)) {
                    return;
                }
            }
        };
        let thread = std::thread::Builder::new().name("index".to_owned()).spawn(work).or_exit(Exit::TryAgain)?;
        Ok(Self { stop: Some(stop), thread: Some(thread) })
    }
}

impl Drop for Indexing {
    fn drop(&mut self) {
        drop(self.stop.take());
        // A thread that panicked has said so.
        drop(self.thread.take().map(JoinHandle::join));
    }
}
