//! A real job under `run_mpi.sh`, on a port and a directory of its own; ended, and looked for remains, when it is dropped.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use caudal::store::target::PostgresConfig;
use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

use crate::support::client::Client;
use crate::support::port::free_port;

/// A job must be ready, or gone, within this; it takes a second or two.
const PATIENCE: Duration = Duration::from_mins(1);
/// Between two looks at something that another process does.
const LOOK_AGAIN: Duration = Duration::from_millis(20);

/// The built program.
pub fn caudal() -> &'static str {
    env!("CARGO_BIN_EXE_caudal")
}

/// The repository's root.
pub fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Waits until `done` says so.
pub fn until(what: &str, done: impl FnMut() -> bool) {
    until_within(PATIENCE, what, done);
}

/// The same of what takes longer.
pub fn until_within(patience: Duration, what: &str, mut done: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !done() {
        assert!(begun.elapsed() < patience, "after {patience:?}: {what}");
        std::thread::sleep(LOOK_AGAIN);
    }
}

/// Waits until everything accepted is committed, and every window that events or silence have passed is closed.
pub fn wait_settled(client: &Client) {
    until("everything accepted is committed", || {
        let Ok((200, body)) = client.try_get("/ledger") else { return false };
        let ledger: serde_json::Value = serde_json::from_str(&body).expect("the ledger is JSON");
        ledger["in_flight"] == 0
    });
}

/// How to start a job.
#[derive(Clone)]
pub struct Setup {
    pub ranks: usize,
    pub port: u16,
    pub data: PathBuf,
    pub env: BTreeMap<String, String>,
    /// Of `run_mpi.sh`; none: it runs `run`.
    pub args: &'static [&'static str],
}

impl Setup {
    /// The civic-safety events, counted in two windows, on SQLite, in `dir`.
    pub fn new(ranks: usize, dir: &Path) -> Self {
        let pipeline = root().join("tests/pipelines/civic_safety/pipeline.yaml");
        // The whole log is kept, so that all of it can be verified.
        let env = [("PIPELINES", pipeline.to_str().expect("UTF-8")), ("RUST_LOG", "info"), ("LOG_RETENTION", "1d")];
        let env = env.into_iter().map(|(k, v)| (k.to_owned(), v.to_owned())).collect();
        Self { ranks, port: free_port(), data: dir.join("data"), env, args: &[] }
    }

    pub fn with(mut self, key: &str, value: &str) -> Self {
        self.env.insert(key.to_owned(), value.to_owned());
        self
    }

    /// `run_mpi.sh` with this setup's environment; `.env` files of whoever runs the tests do not count.
    pub fn command(&self, dir: &Path, args: &[&str]) -> Command {
        let mut command = Command::new("bash");
        command.arg(root().join("run_mpi.sh")).arg("-n").arg(self.ranks.to_string()).args(args).current_dir(dir);
        let theirs =
            ["DB_HOST", "DB_USER", "DB_PASSWORD", "DB_PORT", "DB_NAME", "DB_SSLMODE", "API_TOKENS", "HTTP_ADDR"];
        for key in theirs.into_iter().chain(["API_TOKENS_FILE", "TLS_CERT", "TLS_KEY", "HTTP_HOSTS", "HTTP_RATE_MAX"]) {
            command.env_remove(key);
        }
        command.env("CAUDAL_BIN", caudal()).env("DATA_DIR", &self.data).env("HTTP_PORT", self.port.to_string());
        command.envs(&self.env);
        command
    }

    /// The process of a rank, if it runs now.
    pub fn rank(&self, rank: usize) -> Option<i32> {
        let wanted = format!("OMPI_COMM_WORLD_RANK={rank}");
        self.processes().into_iter().find(|(_, env)| env.contains(&wanted)).map(|(pid, _)| pid)
    }

    /// Every process that was started for this job's directory.
    fn processes(&self) -> Vec<(i32, Vec<String>)> {
        let data = format!("DATA_DIR={}", self.data.display());
        let entries = fs::read_dir("/proc").expect("/proc").filter_map(Result::ok);
        let pids = entries.filter_map(|e| e.file_name().to_str()?.parse::<i32>().ok());
        let with_env = pids.filter_map(|pid| {
            let env = fs::read(format!("/proc/{pid}/environ")).ok()?;
            let env: Vec<String> = env.split(|&b| b == 0).map(|v| String::from_utf8_lossy(v).into_owned()).collect();
            env.contains(&data).then_some((pid, env))
        });
        with_env.collect()
    }
}

/// With its results in PostgreSQL.
pub fn on_postgres(setup: Setup, database: &PostgresConfig) -> Setup {
    let port = database.port.to_string();
    setup
        .with("DB_HOST", &database.host)
        .with("DB_PORT", &port)
        .with("DB_USER", &database.user)
        .with("DB_PASSWORD", &database.password)
        .with("DB_NAME", &database.name)
        .with("DB_SSLMODE", "disable")
}

/// A running job.
pub struct Job {
    pub setup: Setup,
    pub client: Client,
    pub dir: TempDir,
    script: Child,
    stopped: bool,
}

impl Job {
    /// Starts it and waits until it takes events.
    pub fn start(ranks: usize) -> Self {
        let dir = TempDir::new().expect("a directory");
        let setup = Setup::new(ranks, dir.path());
        Self::start_in(dir, setup)
    }

    pub fn start_in(dir: TempDir, setup: Setup) -> Self {
        let job = Self::launch(dir, setup);
        job.wait_ready();
        job
    }

    /// Starts it without waiting.
    pub fn launch(dir: TempDir, setup: Setup) -> Self {
        let output = fs::File::options().create(true).append(true).open(dir.path().join("output.txt")).expect("a file");
        let script = setup
            .command(dir.path(), setup.args)
            .stdin(Stdio::null())
            .stdout(output.try_clone().expect("a file"))
            .stderr(output)
            .spawn()
            .expect("run_mpi.sh starts");
        Self { client: Client::new(setup.port), setup, dir, script, stopped: false }
    }

    /// What the job has printed.
    pub fn output(&self) -> String {
        fs::read_to_string(self.dir.path().join("output.txt")).unwrap_or_default()
    }

    pub fn wait_ready(&self) {
        let begun = Instant::now();
        while !self.is_ready() {
            assert!(begun.elapsed() < PATIENCE, "not ready after {PATIENCE:?}:\n{}", self.output());
            std::thread::sleep(LOOK_AGAIN);
        }
    }

    /// After a kill: waits until it has been felt, and the job is back.
    pub fn wait_back(&self) {
        until("the job goes down", || !self.is_ready());
        self.wait_ready();
    }

    pub fn is_ready(&self) -> bool {
        matches!(self.client.try_get("/readyz"), Ok((200, _)))
    }

    pub fn wait_settled(&self) {
        wait_settled(&self.client);
    }

    /// The process of a rank, if it runs now.
    pub fn rank(&self, rank: usize) -> Option<i32> {
        self.setup.rank(rank)
    }

    /// The launcher's process, if it runs now.
    pub fn mpirun(&self) -> Option<i32> {
        let is_mpirun = |pid: i32| {
            fs::read_to_string(format!("/proc/{pid}/comm")).is_ok_and(|c| c.trim() == "mpirun" || c.trim() == "orterun")
        };
        self.setup.processes().into_iter().map(|(pid, _)| pid).find(|&pid| is_mpirun(pid))
    }

    pub fn signal(pid: i32, signal: Signal) {
        // It may have ended meanwhile.
        if let Some(pid) = Pid::from_raw(pid) {
            let _ = kill_process(pid, signal);
        }
    }

    /// Kills a rank the hard way, as soon as it is there.
    pub fn kill_rank(&self, rank: usize) {
        let mut pid = None;
        until("the rank runs", || {
            pid = self.rank(rank);
            pid.is_some()
        });
        Self::signal(pid.expect("it runs"), Signal::KILL);
    }

    /// The script as a process.
    pub fn script(&self) -> i32 {
        self.script.id() as i32
    }

    /// Asks the script to end the job, and waits for it.
    pub fn stop(mut self) -> (TempDir, Setup, ExitStatus) {
        let status = self.end();
        let dir = std::mem::replace(&mut self.dir, TempDir::new().expect("a directory"));
        (dir, self.setup.clone(), status)
    }

    /// Waits for the script to end by itself.
    pub fn wait(&mut self) -> ExitStatus {
        let mut status = None;
        until("the script ends", || {
            status = self.script.try_wait().expect("a child");
            status.is_some()
        });
        self.stopped = true;
        status.expect("it ended")
    }

    fn end(&mut self) -> ExitStatus {
        Self::signal(self.script(), Signal::TERM);
        let status = self.wait();
        let is_rank = |env: &[String]| env.iter().any(|v| v.starts_with("OMPI_COMM_WORLD_RANK="));
        let left: Vec<i32> =
            self.setup.processes().into_iter().filter(|(_, env)| is_rank(env)).map(|(pid, _)| pid).collect();
        assert!(left.is_empty(), "ranks left behind: {left:?}\n{}", self.output());
        // The script's own helpers go with it, not before it.
        until("nothing of the job is left", || self.setup.processes().is_empty());
        status
    }
}

impl Drop for Job {
    fn drop(&mut self) {
        if self.stopped {
            return;
        }
        // A test failed: whatever is left is ended the hard way.
        Self::signal(self.script(), Signal::KILL);
        for (pid, _) in self.setup.processes() {
            Self::signal(pid, Signal::KILL);
        }
        let _ = self.script.wait();
        if std::thread::panicking() {
            eprintln!("--- the job's output:\n{}", self.output());
        }
    }
}
