//! The only reader of the environment: `.env` by dotenvy, beaten by the real environment. Unknown keys get a warning with the nearest known one;
//! secrets are masked. `.env.example` lists every variable.

use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use crate::store::target::Target;

/// All settings, checked.
#[derive(Clone, Debug)]
pub struct Config {
    pub http: Http,
    pub data_dir: PathBuf,
    /// `PIPELINES`, globs resolved. This version runs exactly one.
    pub pipelines: Vec<PathBuf>,
    pub target: Target,
    pub log: LogConfig,
    pub limits: Limits,
}

#[derive(Clone, Debug)]
pub struct Http {
    pub addr: IpAddr,
    pub port: u16,
    pub tokens: Tokens,
    /// Requests served at once, headers and bodies: a client that takes longer is cut off.
    pub connections_max: usize,
    pub header_timeout: Duration,
    pub body_timeout: Duration,
}

/// `API_TOKENS`, comma-separated; none: no token is asked for (loopback only). Never shown.
#[derive(Clone, Default)]
pub struct Tokens(pub Vec<String>);

impl std::fmt::Debug for Tokens {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} tokens", self.0.len())
    }
}

#[derive(Clone, Debug)]
pub struct LogConfig {
    pub bytes_max: u64,
    /// None: segments go as soon as a checkpoint and the store have passed them.
    pub retention: Option<Duration>,
    pub segment_bytes: u64,
    pub low_water_bytes: u64,
}

#[derive(Clone, Debug)]
pub struct Limits {
    pub event_bytes: usize,
    pub body_bytes: usize,
    /// Submissions that may wait for the log's writer.
    pub ingest_queue: usize,
    pub ingest_queue_bytes: usize,
    /// Ids remembered by all workers, beyond which ingest answers 503.
    pub ids: u64,
}

/// Exit 78.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct ConfigError(pub String);

impl Config {
    /// Reads `.env` in the working directory and the environment. Gives warnings for people beside the settings.
    ///
    /// # Errors
    /// Every wrong value at once, each with what is allowed.
    pub fn load() -> Result<(Self, Vec<String>), ConfigError> {
        unimplemented!()
    }
}
