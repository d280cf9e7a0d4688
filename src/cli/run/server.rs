//! The HTTP server beside rank 0's loop, and the signals that end the job.

use std::io::Write;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::oneshot;

use crate::cli::exit::{Exit, Failure, OrExit};
use crate::cli::run::Notifier;
use crate::coordinator::run::Event;
use crate::web::tls::Tls;
use crate::web::{self, App};

/// Threads that serve HTTP.
const HTTP_THREADS: usize = 2;

/// Log, store, checkpoints, MPI and connections that are being refused open fewer files than this.
const FILES_OTHER: u64 = 512;

/// The HTTP server and what stops it.
pub struct Server {
    /// Where the page is.
    pub address: String,
    runtime: Runtime,
    stop: oneshot::Sender<()>,
    done: tokio::task::JoinHandle<std::io::Result<()>>,
}

/// A runtime that is only dropped waits for questions to the store, and with them the process's end.
struct Runtime(Option<tokio::runtime::Runtime>);

impl Runtime {
    fn get(&self) -> &tokio::runtime::Runtime {
        let Some(runtime) = &self.0 else { panic!("the runtime is taken away only when it is dropped") };
        runtime
    }
}

impl Drop for Runtime {
    fn drop(&mut self) {
        if let Some(runtime) = self.0.take() {
            runtime.shutdown_background();
        }
    }
}

impl Server {
    /// # Errors
    /// 78 where the address cannot be had, or TLS's files cannot be used; 75.
    pub fn start(mut app: App, notifier: &Notifier) -> Result<Self, Failure> {
        let tls = app.http.tls.as_ref().map(Tls::load).transpose().or_exit(Exit::Config)?;
        app.http.connections_max = connections(app.http.connections_max);
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(HTTP_THREADS).enable_all().build();
        let runtime = Runtime(Some(runtime.or_exit(Exit::TryAgain)?));
        let at = (app.http.addr, app.http.port);
        let listener = runtime.get().block_on(TcpListener::bind(at));
        let listener = listener
            .map_err(|e| format!("HTTP_ADDR {} HTTP_PORT {} cannot be opened: {e}; name another HTTP_PORT", at.0, at.1))
            .or_exit(Exit::Config)?;
        // HTTP_PORT=0 asks for any free one.
        let address = address(app.http.scheme(), listener.local_addr().or_exit(Exit::TryAgain)?);
        let (stop, stopped) = oneshot::channel();
        let serve = web::serve(listener, tls, app, async {
            // A sender that is gone stops the server too.
            drop(stopped.await);
        });
        let done = runtime.get().spawn(serve);
        runtime.get().block_on(async { drain_on_signals(notifier) }).or_exit(Exit::TryAgain)?;
        Ok(Self { address, runtime, stop, done })
    }

    /// Lets running requests end, for `DRAIN_MAX` at most.
    ///
    /// # Errors
    /// 75 if it ended before.
    pub fn stop(self) -> Result<(), Failure> {
        // The receiver is gone only if the server has ended already.
        let _ = self.stop.send(());
        let ended = self.runtime.get().block_on(async { tokio::time::timeout(web::DRAIN_MAX, self.done).await });
        match ended {
            Ok(Ok(Err(error))) => Err(Failure::new(Exit::TryAgain, format!("HTTP: {error}"))),
            _ => Ok(()),
        }
    }
}

/// Under which a browser on this machine has the page.
fn address(scheme: &str, at: SocketAddr) -> String {
    let host = match at.ip() {
        addr if addr.is_unspecified() || addr == Ipv4Addr::LOCALHOST || addr == Ipv6Addr::LOCALHOST => {
            "localhost".to_owned()
        }
        IpAddr::V4(addr) => addr.to_string(),
        IpAddr::V6(addr) => format!("[{addr}]"),
    };
    format!("{scheme}://{host}:{}/", at.port())
}

/// Says where the page is. `run_mpi.sh` takes a job that has said so for one that was ready.
pub fn say_ready(address: &str) {
    let mut out = std::io::stdout();
    // Whoever read it may be gone; the job goes on.
    drop(writeln!(out, "Caudal is ready: {address}").and_then(|()| out.flush()));
}

/// As many connections as were asked for, or as the system lets this process open beside its own files.
fn connections(wanted: usize) -> usize {
    let limit = getrlimit(Resource::Nofile);
    let (soft, hard) = (limit.current.unwrap_or(u64::MAX), limit.maximum.unwrap_or(u64::MAX));
    let needed = wanted as u64 + FILES_OTHER;
    let mut files = soft;
    if soft < needed {
        let raised = needed.min(hard);
        if setrlimit(Resource::Nofile, Rlimit { current: Some(raised), maximum: limit.maximum }).is_ok() {
            files = raised;
        }
    }
    let connections = wanted.min(files.saturating_sub(FILES_OTHER).max(1) as usize);
    if connections < wanted {
        tracing::warn!(
            "HTTP_CONNECTIONS_MAX={wanted}, but this process may open only {files} files: {connections} connections are served at once; raise `ulimit -n`"
        );
    }
    connections
}

/// mpirun forwards SIGUSR1; the others reach a job that was started without it.
fn drain_on_signals(notifier: &Notifier) -> std::io::Result<()> {
    for kind in [SignalKind::user_defined1(), SignalKind::terminate(), SignalKind::interrupt()] {
        let mut signals = signal(kind)?;
        let notifier = notifier.clone();
        tokio::spawn(async move {
            while signals.recv().await.is_some() {
                notifier.tell(Event::Drain);
            }
        });
    }
    Ok(())
}
