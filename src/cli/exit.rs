//! How a process ends: the exit codes that scripts rely on, after sysexits.h.

use std::fmt::Display;

/// 0 is success; 2 and 64–78 are final for the supervisor but for `TryAgain`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// Bad usage or a bad pipeline file.
    Usage = 2,
    /// Input that cannot be read at all.
    Input = 65,
    /// The store or MPI is not available.
    Unavailable = 69,
    /// A defect of Caudal itself.
    Software = 70,
    /// The log is damaged, or the disk fails.
    Damaged = 74,
    TryAgain = 75,
    /// A newer generation writes to the store.
    Fenced = 77,
    /// Bad configuration.
    Config = 78,
}

/// Why a subcommand did not do what it was asked, and the exit code for it.
#[derive(Debug)]
pub struct Failure {
    pub exit: Exit,
    pub why: String,
}

impl Failure {
    pub fn new(exit: Exit, why: impl Display) -> Self {
        Self { exit, why: why.to_string() }
    }
}

/// Names the exit code where an error becomes final.
pub trait OrExit<T> {
    /// # Errors
    /// The same error, with the exit code it means here.
    fn or_exit(self, exit: Exit) -> Result<T, Failure>;
}

impl<T, E: Display> OrExit<T> for Result<T, E> {
    fn or_exit(self, exit: Exit) -> Result<T, Failure> {
        self.map_err(|error| Failure::new(exit, error))
    }
}
