//! `deploy/slurm/caudal.sbatch` under a real Slurm of two nodes: before its time limit the job drains, is queued again, and goes on.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use serde_json::Value;
use tempfile::TempDir;

use crate::support::client::Client;
use crate::support::job::{Setup, caudal, root, until, until_within};
use crate::support::slurm::Slurm;
use crate::support::traffic::{LedgerWatch, assert_results_at, civic_safety, events};

/// The load, in 400 bodies.
const EVENTS: usize = 40_000;
/// Between two of them, while the first life lasts: when Slurm tells it to end, within half a minute, bodies must be left.
const PACE: Duration = Duration::from_millis(150);
/// When the first life ends, from when it is under load: the job is to be told 40 s before, Slurm looks every 30 s, and adds them.
const LIMIT: &str = "EndTime=now+60";
/// Longer than anything here takes on a busy machine; a body is not taken for as long as the job waits to be started again.
const PATIENCE: Duration = Duration::from_mins(3);

/// A job that was submitted with the shipped script.
struct Submitted<'a> {
    slurm: &'a Slurm,
    id: String,
    log: PathBuf,
}

impl<'a> Submitted<'a> {
    fn new(slurm: &'a Slurm, setup: &Setup, dir: &Path, options: &[&str]) -> Self {
        let log = dir.join("job.log");
        let mut env: BTreeMap<String, String> = setup.env.clone();
        let of_job = [
            ("CAUDAL_HOME", root().display().to_string()),
            ("CAUDAL_BIN", caudal().to_owned()),
            ("DATA_DIR", setup.data.display().to_string()),
            ("HTTP_PORT", setup.port.to_string()),
            ("DB_HOST", String::new()),
            ("API_TOKENS", String::new()),
            ("HTTP_ADDR", "127.0.0.1".to_owned()),
        ];
        env.extend(of_job.map(|(name, value)| (name.to_owned(), value)));
        let (folder, output) = (format!("--chdir={}", dir.display()), format!("--output={}", log.display()));
        let script = root().join("deploy/slurm/caudal.sbatch").display().to_string();
        let options: Vec<&str> = options.iter().copied().chain([folder.as_str(), &output, &script]).collect();
        Self { slurm, id: slurm.submit(&env, &options), log }
    }

    fn log(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }

    fn is(&self, field: &str, value: &str) -> bool {
        self.slurm.job(&self.id).get(field).is_some_and(|is| is == value)
    }
}

impl Drop for Submitted<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("--- the job's log:\n{}", self.log());
        }
    }
}

fn ready(client: &Client) -> bool {
    matches!(client.try_get("/readyz"), Ok((200, _)))
}

/// Where DATA_DIR is, the script finds as the job will: in the environment, or else in `.env`.
#[test]
fn a_data_directory_in_memory_is_told_of() {
    // The folder for temporary files is in memory on some machines.
    let (home, memory) = (env!("CARGO_TARGET_TMPDIR"), "/dev/shm");
    let [home, memory] = [home, memory].map(|folder| TempDir::new_in(folder).unwrap());
    fs::create_dir(home.path().join("scripts")).unwrap();
    fs::copy(root().join("scripts/setup.sh"), home.path().join("scripts/setup.sh")).unwrap();
    // In place of the job.
    fs::write(home.path().join("run_mpi.sh"), "#!/bin/sh\nexit 0\n").unwrap();
    fs::set_permissions(home.path().join("run_mpi.sh"), fs::Permissions::from_mode(0o755)).unwrap();
    let (in_memory, on_disk) = (memory.path().display().to_string(), home.path().join("data").display().to_string());
    let cases = [
        (None, None, false),
        (Some(&in_memory), None, true),
        (None, Some(&in_memory), true),
        (Some(&on_disk), Some(&in_memory), false),
    ];
    for (env, dotenv, told) in cases {
        fs::write(home.path().join(".env"), dotenv.map(|of| format!("DATA_DIR='{of}'\n")).unwrap_or_default()).unwrap();
        let mut command = Command::new("bash");
        command.arg(root().join("deploy/slurm/caudal.sbatch")).current_dir(home.path());
        command.env_remove("DATA_DIR").env("CAUDAL_HOME", home.path()).envs(env.map(|of| ("DATA_DIR", of)));
        let output = command.output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{env:?} {dotenv:?}: {said}");
        assert_eq!(said.contains("is kept in this node's memory"), told, "{env:?} {dotenv:?}: {said}");
    }
}

/// The node that a rank is on, as its slurmd told it.
fn node(setup: &Setup, rank: usize) -> String {
    let pid = setup.rank(rank).expect("the rank runs");
    let env = fs::read_to_string(format!("/proc/{pid}/environ")).expect("the rank runs");
    let node = env.split('\0').find_map(|variable| variable.strip_prefix("SLURMD_NODENAME="));
    node.expect("it was started by Slurm").to_owned()
}

/// Sends every body until it is acknowledged, at a pace until `hurry`; gives the events that were acknowledged and those that were sent.
fn send(client: &Client, bodies: &[Vec<u8>], hurry: &AtomicBool) -> (u64, u64) {
    let (mut acknowledged, mut sent) = (0, 0);
    for body in bodies {
        let lines = memchr::memchr_iter(b'\n', body).count() as u64;
        let begun = Instant::now();
        loop {
            sent += lines;
            match client.try_post("/events", "application/x-ndjson", body) {
                Ok((202, answer)) => {
                    let answer: Value = serde_json::from_str(&answer).expect("JSON");
                    assert_eq!(answer["accepted"], lines);
                    acknowledged += lines;
                    break;
                }
                _ => assert!(begun.elapsed() < PATIENCE, "a body is not taken for {PATIENCE:?}"),
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        if !hurry.load(Ordering::Relaxed) {
            std::thread::sleep(PACE);
        }
    }
    (acknowledged, sent)
}

#[test]
fn a_job_drains_before_its_limit_is_queued_again_and_has_counted_everything_once() {
    let slurm = Slurm::start();
    let dir = TempDir::new().unwrap();
    let setup = Setup::new(3, dir.path());
    let client = Client::new(setup.port);
    let options = ["--nodes=2", "--ntasks=3", "--ntasks-per-node=2", "--time=10", "--signal=B:USR1@40"];
    let job = Submitted::new(&slurm, &setup, dir.path(), &options);
    until_within(PATIENCE, "the job is ready", || ready(&client));
    let nodes: BTreeSet<String> = (0..3).map(|rank| node(&setup, rank)).collect();
    assert_eq!(nodes, BTreeSet::from(["n1".to_owned(), "n2".to_owned()]));

    let watch = LedgerWatch::start(client.clone());
    let bodies = Arc::new(events(&civic_safety(), 5, EVENTS));
    let hurry = Arc::new(AtomicBool::new(false));
    let sender = {
        let (client, bodies, hurry) = (client.clone(), Arc::clone(&bodies), Arc::clone(&hurry));
        std::thread::spawn(move || send(&client, &bodies, &hurry))
    };
    until("the job is under load", || client.json("/ledger")["counted"].as_u64() > Some(0));
    slurm.run("scontrol", &["update", &format!("JobId={}", job.id), LIMIT]);
    until_within(PATIENCE, "the job is queued again", || job.is("Restarts", "1") && job.is("JobState", "PENDING"));
    let first = job.log();
    assert!(first.contains("SIGUSR1 has come: draining") && first.contains("the job ended with code 0"));
    assert!(!first.contains("TIME LIMIT") && !first.contains("killing the job"));
    assert!(!sender.is_finished(), "the load was over before the job drained");

    // Or Slurm waits two minutes. In the second of its end, by Slurm's clock of whole seconds, a node would take the start for the one that was killed.
    slurm.run("scontrol", &["update", &format!("JobId={}", job.id), "StartTime=now+2", "TimeLimit=30"]);
    until_within(PATIENCE, "the job is back", || ready(&client));
    hurry.store(true, Ordering::Relaxed);
    let (acknowledged, sent) = sender.join().unwrap();

    assert_results_at(&client, &bodies);
    assert!(watch.end() > 0);
    let ledger = client.json("/ledger");
    let of = |field: &str| ledger[field].as_u64().unwrap_or_else(|| panic!("{field} in {ledger}"));
    assert_eq!(acknowledged, EVENTS as u64);
    assert!((acknowledged..=sent).contains(&of("accepted")), "{acknowledged} acknowledged of {sent}: {ledger}");
    assert_eq!((of("late"), of("filtered"), of("in_flight")), (0, 0, 0), "{ledger}");
    // Two lives, and no third: nothing died on the way.
    assert_eq!(client.json("/cluster")["generation"], 2);

    slurm.run("scancel", &["--batch", "--signal=TERM", &job.id]);
    until_within(PATIENCE, "the job is done", || job.is("JobState", "COMPLETED"));
    assert!(job.is("ExitCode", "0:0") && job.is("Restarts", "1"));
    assert_eq!(job.log().matches("the job ended with code 0").count(), 2);
}

#[test]
fn a_job_that_cannot_start_fails_with_its_own_code_and_is_not_queued_again() {
    let slurm = Slurm::start();
    let dir = TempDir::new().unwrap();
    let setup = Setup::new(2, dir.path()).with("PIPELINES", "missing.yaml");
    let job = Submitted::new(&slurm, &setup, dir.path(), &["--ntasks=2"]);
    until_within(PATIENCE, "the job has failed", || job.is("JobState", "FAILED"));
    assert!(job.is("ExitCode", "78:0") && job.is("Restarts", "0"), "{:?}", slurm.job(&job.id));
    assert!(job.log().contains("missing.yaml"));
}
