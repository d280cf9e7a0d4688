//! From an MPI rank to its role: rank 0 coordinates, the others work. A job of one rank runs its worker on a thread.

use std::io::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::signal::unix::{SignalKind, signal};

use crate::cli::exit::{Exit, Failure, OrExit};
use crate::core::keygroup::KEY_GROUPS;
use crate::input;
use crate::logging;
use crate::pipeline::Configuration;
use crate::transport::idle::Idle;
use crate::transport::local::network;
use crate::transport::mpi::{self, MpiTransport};
use crate::transport::{Transport, process};
use crate::worker;

/// Rank 0's part, given its end of the transport.
pub type Coordinate<'a> = &'a mut dyn FnMut(&mut dyn Transport, &mut Idle, Wake) -> Result<(), Failure>;

/// Wakes rank 0's loop.
pub type Wake = crate::transport::idle::Waker;

/// Runs this process as the rank that it is; comes back when the job is done.
///
/// # Errors
/// 69 if MPI is not available, and what the role says. The other ranks must then be ended by `abandon`.
pub fn run(coordinate: Coordinate) -> Result<(), Failure> {
    process::die_with_parent();
    let mut mpi = mpi::init().or_exit(Exit::Unavailable)?;
    logging::of_rank(mpi.rank());
    abort_on_panic();
    outlive_signals().or_exit(Exit::TryAgain)?;
    if mpi.size() > KEY_GROUPS + 1 {
        let why = format!("{} ranks are too many: a job has at most {KEY_GROUPS} workers, and rank 0", mpi.size());
        return Err(Failure::new(Exit::Config, why));
    }
    let (mut idle, waker) = Idle::new();
    match (mpi.rank(), mpi.size()) {
        (_, 1) => alone(coordinate, &mut idle, waker)?,
        (0, _) => coordinate(&mut mpi, &mut idle, waker)?,
        _ => work(&mut mpi, &mut idle)?,
    }
    leave(mpi)
}

fn leave(mpi: MpiTransport) -> Result<(), Failure> {
    mpi.finish().or_exit(Exit::Unavailable)
}

/// One rank: coordinator and worker in one process.
fn alone(coordinate: Coordinate, idle: &mut Idle, waker: Wake) -> Result<(), Failure> {
    let mut ends = network(2).into_iter();
    let (Some(mut coordinator), Some(mut worker)) = (ends.next(), ends.next()) else {
        panic!("a network of two has two ends");
    };
    let (tell, told) = std::sync::mpsc::channel();
    let wake_coordinator = waker.clone();
    let has_ended = Arc::new(AtomicBool::new(false));
    let of_worker = Arc::clone(&has_ended);
    let thread = std::thread::Builder::new().name("worker".to_owned()).spawn(move || {
        let (mut idle, waker) = Idle::new();
        // Whoever asked waits for it.
        drop(tell.send(waker));
        worker.wake_with(0, wake_coordinator);
        work(&mut worker, &mut idle).inspect_err(|Failure { exit, why }| {
            // Rank 0 would wait for it; one that has ended says itself why.
            if !of_worker.load(Ordering::Acquire) {
                logging::last_word(why);
                end_all(*exit);
            }
        })
    });
    let thread = thread.or_exit(Exit::TryAgain)?;
    if let Ok(wake_worker) = told.recv() {
        coordinator.wake_with(1, wake_worker);
    }
    let coordinated = coordinate(&mut coordinator, idle, waker);
    has_ended.store(true, Ordering::Release);
    coordinated?;
    match thread.join() {
        Ok(done) => done,
        Err(_) => Err(Failure::new(Exit::Software, "the worker's thread panicked")),
    }
}

fn work(transport: &mut dyn Transport, idle: &mut Idle) -> Result<(), Failure> {
    let plan = |text: &str| {
        let pipeline = Configuration::from_text(text)?.pipelines();
        pipeline.map(|p| p.plan).map_err(|faults| faults.to_string())
    };
    worker::run::run(transport, idle, plan).or_exit(Exit::TryAgain)
}

/// The launcher passes signals on to every rank, but only rank 0 acts on them: the others end when it says so.
fn outlive_signals() -> std::io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build()?;
    runtime.block_on(async {
        for kind in [SignalKind::user_defined1(), SignalKind::terminate(), SignalKind::interrupt()] {
            // Once one was listened for, a signal has lost its default effect for good.
            drop(signal(kind)?);
        }
        Ok(())
    })
}

/// For a subcommand that keeps on disk what it has done: a signal to stop ends this rank, and with it the job, with 75, once `says` is said.
///
/// # Errors
/// If the system has no thread or handler for it.
pub fn end_on_signals(says: &'static str) -> std::io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build()?;
    // Listening begins here, and not when the thread has begun.
    let (mut told, mut terminated, mut interrupted) = runtime.block_on(async {
        let [told, terminated, interrupted] =
            [SignalKind::user_defined1(), SignalKind::terminate(), SignalKind::interrupt()].map(signal);
        Ok::<_, std::io::Error>((told?, terminated?, interrupted?))
    })?;
    std::thread::Builder::new().name("signals".to_owned()).spawn(move || {
        runtime.block_on(async {
            tokio::select! {
                _ = told.recv() => {}
                _ = terminated.recv() => {}
                _ = interrupted.recv() => {}
            }
        });
        eprintln!("caudal: {says}");
        end_all(Exit::TryAgain);
    })?;
    Ok(())
}

/// A panic in any thread ends the whole job at once: what it left behind cannot be trusted.
fn abort_on_panic() {
    let print = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        if input::panics_are_caught() {
            return;
        }
        if logging::is_json() {
            logging::last_word(panic);
        } else {
            print(panic);
        }
        end_all(Exit::Software);
    }));
}

/// Ends all ranks of the job with this exit code.
pub fn end_all(exit: Exit) -> ! {
    // Nothing can be done about a closed pipe here.
    drop(std::io::stdout().flush());
    drop(std::io::stderr().flush());
    mpi::abort(exit as i32)
}
