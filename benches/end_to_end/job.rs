//! A job to measure: started under mpirun with a directory and a port of its own, and what its processes have used.

use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

#[path = "../../tests/it/support/port.rs"]
mod port;

pub use port::free_port;

/// A job is ready within this, or never.
const PATIENCE: Duration = Duration::from_mins(1);

pub struct Job {
    script: Child,
    pub port: u16,
    data: PathBuf,
}

/// What one rank has used since it began.
pub struct Usage {
    pub rank: usize,
    pub cpu_seconds: f64,
    pub peak_bytes: u64,
}

/// `run_mpi.sh` of this repository, with the program that was built with the benchmark.
pub fn run_mpi(ranks: usize, args: &[&str]) -> Command {
    let mut command = Command::new("bash");
    command.arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("run_mpi.sh")).arg("-n").arg(ranks.to_string()).args(args);
    command.env("CAUDAL_BIN", env!("CARGO_BIN_EXE_caudal"));
    command
}

impl Job {
    /// Starts a job on SQLite and waits until it takes events.
    pub fn start(ranks: usize, dir: &Path, pipeline: &Path) -> Self {
        let port = port::free_port();
        let data = dir.join("data");
        let output = fs::File::create(dir.join("output.txt")).expect("a file");
        let script = run_mpi(ranks, &[])
            .current_dir(dir)
            .env("DATA_DIR", &data)
            .env("HTTP_PORT", port.to_string())
            .env("PIPELINES", pipeline)
            .env("LOG_BYTES_MAX", "64GiB")
            // What is looked for is there, however much came after it.
            .env("LOG_RETENTION", "1d")
            .env("IDS_MAX", "100000000")
            .env_remove("DB_HOST")
            .stdin(Stdio::null())
            .stdout(output.try_clone().expect("a file"))
            .stderr(output)
            .spawn()
            .expect("run_mpi.sh starts");
        let job = Self { script, port, data };
        let begun = Instant::now();
        while job.get("/readyz").is_none_or(|(status, _)| status != 200) {
            if begun.elapsed() > PATIENCE {
                let said = fs::read_to_string(dir.join("output.txt")).unwrap_or_default();
                panic!("the job is not ready after {PATIENCE:?}; it said:\n{said}");
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        job
    }

    /// Status and body; None where nobody listens.
    pub fn get(&self, path: &str) -> Option<(u16, String)> {
        let mut stream = TcpStream::connect(("127.0.0.1", self.port)).ok()?;
        write!(stream, "GET {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n").ok()?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).ok()?;
        let status = answer.get(9..12)?.parse().ok()?;
        Some((status, answer.split_once("\r\n\r\n")?.1.to_owned()))
    }

    /// A number of the ledger.
    pub fn ledger(&self, field: &str) -> u64 {
        let (_, body) = self.get("/ledger").expect("the job answers");
        let ledger: serde_json::Value = serde_json::from_str(&body).expect("the ledger is JSON");
        ledger[field].as_u64().expect("a count")
    }

    /// Waits until everything accepted is committed; gives how long that took.
    pub fn settle(&self) -> Duration {
        let begun = Instant::now();
        while self.ledger("in_flight") > 0 {
            std::thread::sleep(Duration::from_millis(5));
        }
        begun.elapsed()
    }

    pub fn usage(&self) -> Vec<Usage> {
        let data = format!("DATA_DIR={}", self.data.display());
        let mut usages = Vec::new();
        for entry in fs::read_dir("/proc").expect("/proc").filter_map(Result::ok) {
            let proc = entry.path();
            let Ok(env) = fs::read(proc.join("environ")) else { continue };
            let env: Vec<String> = env.split(|&b| b == 0).map(|v| String::from_utf8_lossy(v).into_owned()).collect();
            let rank = env.iter().find_map(|v| v.strip_prefix("OMPI_COMM_WORLD_RANK=")?.parse().ok());
            if let Some(rank) = rank.filter(|_| env.contains(&data)) {
                usages.extend(usage(rank, &proc));
            }
        }
        usages.sort_by_key(|u| u.rank);
        usages
    }
}

/// What the process under `/proc` of this rank has used; any process may pass for rank 0.
pub fn usage(rank: usize, proc: &Path) -> Option<Usage> {
    let stat = fs::read_to_string(proc.join("stat")).ok()?;
    // After the name in brackets; user and system time are the 14th and 15th fields of all.
    let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
    let ticks: u64 = fields.get(11)?.parse::<u64>().ok()? + fields.get(12)?.parse::<u64>().ok()?;
    let status = fs::read_to_string(proc.join("status")).ok()?;
    let peak = status.lines().find_map(|l| l.strip_prefix("VmHWM:"))?;
    let kib: u64 = peak.trim().trim_end_matches(" kB").parse().ok()?;
    // Linux counts in hundredths of a second.
    Some(Usage { rank, cpu_seconds: ticks as f64 / 100.0, peak_bytes: kib << 10 })
}

impl Drop for Job {
    fn drop(&mut self) {
        let pid = rustix::process::Pid::from_child(&self.script);
        let _ = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
        let _ = self.script.wait();
    }
}
