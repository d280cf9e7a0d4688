//! HTTP on rank 0: thin handlers over the ingest queue, the store's readers and the coordinator's status; the page.

use std::future::Future;
use std::sync::Arc;

use tokio::net::TcpListener;

use crate::clock::Clock;
use crate::config::{Http, Limits};
use crate::coordinator::status::SharedStatus;
use crate::ingest::writer::Ingest;
use crate::pipeline::Pipeline;
use crate::store::target::Target;

/// What handlers work with.
#[derive(Clone)]
pub struct App {
    pub ingest: Ingest,
    pub pipeline: Arc<Pipeline>,
    pub status: Arc<SharedStatus>,
    pub target: Target,
    pub http: Http,
    pub limits: Limits,
    pub clock: Arc<dyn Clock>,
}

/// Serves until `stop` is ready; then lets running requests end, `drain` at most.
///
/// # Errors
/// If the listener fails.
pub async fn serve(_listener: TcpListener, _app: App, _stop: impl Future<Output = ()> + Send) -> std::io::Result<()> {
    unimplemented!()
}
