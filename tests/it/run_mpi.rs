//! `run_mpi.sh` as people and init systems meet it: what it refuses, which exit codes it passes on, and that the job comes back, drains or
//! dies with it and leaves no rank behind. The job is not Caudal: ranks of this binary join MPI, say that they are ready and wait for SIGUSR1.

use std::env;
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, ExitStatus, Output, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use caudal::transport::idle::Idle;
use caudal::transport::{Transport, mpi};
use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

use crate::support::port::free_port;

/// Where a rank writes its process id, as `RANK.pid`.
const PIDS: &str = "CAUDAL_TEST_PIDS";

/// Longer than anything here takes on a busy machine.
const PATIENCE: Duration = Duration::from_mins(1);

/// Waits until `what` gives something.
fn eventually<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let started = Instant::now();
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(started.elapsed() < PATIENCE, "waited in vain for {what}");
        thread::sleep(Duration::from_millis(5));
    }
}

/// The state letter and the parent of a process; none: it is gone.
fn process(pid: i32) -> Option<(char, i32)> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let mut fields = stat.rsplit_once(") ")?.1.split(' ');
    Some((fields.next()?.chars().next()?, fields.next()?.parse().ok()?))
}

fn alive(pid: i32) -> bool {
    process(pid).is_some_and(|(state, _)| state != 'Z')
}

fn signal(pid: i32, signal: Signal) {
    kill_process(Pid::from_raw(pid).unwrap(), signal).unwrap();
}

/// A directory with an executable `caudal` of this shell text, from which `run_mpi.sh` is called.
struct Place {
    dir: TempDir,
    port: u16,
}

impl Place {
    fn new(caudal: &str) -> Self {
        let dir = TempDir::new().unwrap();
        let caudal = format!("#!/bin/bash\n{caudal}\n");
        fs::write(dir.path().join("caudal"), caudal).unwrap();
        fs::set_permissions(dir.path().join("caudal"), fs::Permissions::from_mode(0o755)).unwrap();
        Self { dir, port: free_port() }
    }

    /// Ranks that join MPI and serve.
    fn serving() -> Self {
        let this = env::current_exe().unwrap().display().to_string();
        // What the test harness says is not the job's output.
        Self::new(&format!(
            "exec '{this}' run_mpi::rank_started_by_the_script --exact --ignored --nocapture 3>&1 >/dev/null"
        ))
    }

    fn script(&self, arguments: &[&str]) -> Command {
        let mut script = Command::new(Path::new(env!("CARGO_MANIFEST_DIR")).join("run_mpi.sh"));
        script.args(arguments).current_dir(self.dir.path());
        script.env_remove("RANKS").env_remove("HTTP_ADDR").env("HTTP_PORT", self.port.to_string());
        script.env("CAUDAL_BIN", self.dir.path().join("caudal")).env(PIDS, self.dir.path());
        script
    }

    fn output(&self, arguments: &[&str]) -> Output {
        self.script(arguments).output().unwrap()
    }

    fn pid_file(&self, rank: usize) -> PathBuf {
        self.dir.path().join(format!("{rank}.pid"))
    }

    /// The rank's process, once it is another than `before`.
    fn pid(&self, rank: usize, before: i32) -> i32 {
        eventually(&format!("rank {rank}"), || {
            let pid = fs::read_to_string(self.pid_file(rank)).ok()?.trim().parse().ok()?;
            (pid != before).then_some(pid)
        })
    }
}

/// The script with a job of three ranks, which is ready.
struct Job {
    place: Place,
    script: Child,
    stdout: BufReader<ChildStdout>,
    ranks: [i32; 3],
}

impl Job {
    fn start() -> Self {
        let place = Place::serving();
        let stderr = fs::File::create(place.dir.path().join("stderr")).unwrap();
        let mut script = place.script(&["-n", "3"]).stdout(Stdio::piped()).stderr(stderr).spawn().unwrap();
        let stdout = BufReader::new(script.stdout.take().unwrap());
        let mut job = Self { place, script, stdout, ranks: [0; 3] };
        job.await_ready();
        job
    }

    /// Reads on until the job says once more that it is ready; the ranks are then others than before.
    fn await_ready(&mut self) {
        let mut line = String::new();
        self.stdout.read_line(&mut line).unwrap();
        assert_eq!(line, format!("Caudal is ready: {}\n", self.place.port));
        let before = self.ranks;
        self.ranks = [0, 1, 2].map(|rank| self.place.pid(rank, before[rank]));
    }

    fn launcher(&self) -> i32 {
        process(self.ranks[0]).expect("rank 0 lives").1
    }

    /// Where the ranks have the files through which they pass messages on.
    fn segments(&self) -> PathBuf {
        let arguments = fs::read(format!("/proc/{}/cmdline", self.launcher())).unwrap();
        let mut arguments = arguments.split(|byte| *byte == 0).map(String::from_utf8_lossy);
        arguments.find(|argument| argument == "btl_vader_backing_directory").expect("a folder is named");
        PathBuf::from(arguments.next().expect("its name").into_owned())
    }

    fn script_pid(&self) -> i32 {
        self.script.id() as i32
    }

    fn ended(&mut self) -> ExitStatus {
        eventually("the script's end", || self.script.try_wait().unwrap())
    }
}

impl Drop for Job {
    fn drop(&mut self) {
        // The job dies with the script; a test that failed leaves nothing running.
        let _ = self.script.kill();
        let _ = self.script.wait();
    }
}

/// Rank 0 says that it is ready; all end well when SIGUSR1 comes.
#[test]
#[ignore = "the body of a rank: run_mpi.sh starts it in the tests below"]
fn rank_started_by_the_script() {
    let stop = Arc::new(AtomicBool::new(false));
    let stopped = Arc::clone(&stop);
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let _inside = runtime.enter();
    let mut told = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::user_defined1()).unwrap();
    runtime.spawn(async move {
        told.recv().await;
        stopped.store(true, Ordering::SeqCst);
    });
    let mut transport = mpi::init().unwrap();
    let pids = PathBuf::from(env::var(PIDS).expect("started by a test"));
    let pid = pids.join(format!("{}.pid", transport.rank()));
    fs::write(pid.with_extension("tmp"), std::process::id().to_string()).unwrap();
    fs::rename(pid.with_extension("tmp"), pid).unwrap();
    if transport.rank() == 0 {
        let mut output = fs::File::options().write(true).open("/proc/self/fd/3").unwrap();
        writeln!(output, "Caudal is ready: {}", env::var("HTTP_PORT").unwrap()).unwrap();
    }
    let (mut idle, _waker) = Idle::new();
    while !stop.load(Ordering::SeqCst) {
        transport.progress().unwrap();
        assert!(transport.receive().unwrap().is_none(), "nobody sends");
        idle.rest(transport.under_way());
    }
    transport.finish().unwrap();
}

#[test]
fn what_cannot_be_a_number_of_ranks_is_refused() {
    let place = Place::new("echo ran");
    for ranks in ["0", "130", "1000000000", "99999999999999999999", "-1", "two", "", "1.5", "2 3"] {
        let output = place.output(&["-n", ranks]);
        let told = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(78), "{ranks}: {told}");
        assert!(told.contains(&format!("\"{ranks}\"; a job has 1 to 129 ranks")), "{told}");
    }
    for arguments in [&["-n"][..], &["--ranks", "4"]] {
        assert_eq!(place.output(arguments).status.code(), Some(2), "{arguments:?}");
    }
}

#[test]
fn the_number_of_ranks_comes_from_the_option_the_environment_or_the_file() {
    let place = Place::new("[ $OMPI_COMM_WORLD_RANK != 0 ] || echo $OMPI_COMM_WORLD_SIZE");
    let check = |file: &str, environment: Option<&str>, arguments: &[&str], expected: &str| {
        fs::write(place.dir.path().join(".env"), file).unwrap();
        let mut script = place.script(arguments);
        if let Some(ranks) = environment {
            script.env("RANKS", ranks);
        }
        let output = script.output().unwrap();
        assert_eq!(
            String::from_utf8_lossy(&output.stdout),
            expected,
            "{file:?} {}",
            String::from_utf8_lossy(&output.stderr)
        );
    };
    check("", None, &["run"], "4\n");
    check("# RANKS=5\nOTHER_RANKS=5\nRANKS=3\nRANKS=5\n", None, &["run"], "3\n");
    check("export RANKS = \"2\" # two\r\n", None, &["run"], "2\n");
    check("RANKS=$(touch executed)", Some("1"), &["run"], "1\n");
    check("RANKS=3", Some("5"), &["-n", "2", "run"], "2\n");
    assert!(!place.dir.path().join("executed").exists());
}

#[test]
fn a_subcommand_keeps_its_output_its_code_and_its_directory() {
    let place = Place::new(
        r#"[ "${OMPI_COMM_WORLD_RANK:-0}" = 0 ] || exit 0; echo "$@ in $PWD of ${OMPI_COMM_WORLD_SIZE:-none}"; exit 65"#,
    );
    let dir = place.dir.path().display().to_string();
    let check = |arguments: &[&str], expected: String| {
        let output = place.output(arguments);
        assert_eq!(String::from_utf8_lossy(&output.stdout), expected, "{}", String::from_utf8_lossy(&output.stderr));
        assert_eq!(output.status.code(), Some(65));
    };
    check(&["-n", "2", "batch", "--input", "a b*", "-n"], format!("batch --input a b* -n in {dir} of 2\n"));
    check(&["check", "x y"], format!("check x y in {dir} of none\n"));
}

#[test]
fn an_end_that_a_new_start_would_not_mend_is_passed_on() {
    // The line is one that mpirun says seldom, when it cannot say its block of words.
    let no_words =
        "[vm:7] [[4494,0],0] ORTE_ERROR_LOG: Out of resource in file ../../../orte/util/show_help.c at line 507";
    let place = Place::new(&format!(
        "echo started; [ $OMPI_COMM_WORLD_RANK = 1 ] && sleep 100; echo the cure >&2; echo '{no_words}' >&2; exit $CODE"
    ));
    for code in [0, 2, 64, 65, 66, 69, 74, 77, 78] {
        // A rank that ends well does not end the others.
        let ranks = if code == 0 { "1" } else { "2" };
        let output = place.script(&["-n", ranks]).env("CODE", code.to_string()).output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(code), "{said}");
        assert!(said.contains("the cure\n") && !said.contains("ORTE_ERROR_LOG"), "{said}");
    }
}

#[test]
fn a_job_that_dies_before_it_is_ready_is_started_again() {
    let place = Place::new(
        "echo >>starts; case $(wc -l <starts) in 1) kill -9 $$ ;; 2) exit 75 ;; 3) kill -ABRT $$ ;; *) exit 0 ;; esac",
    );
    let output = place.output(&["-n", "1"]);
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(fs::read_to_string(place.dir.path().join("starts")).unwrap(), "\n\n\n\n");
}

#[test]
fn the_job_comes_back_whatever_is_killed_and_drains_when_told() {
    let mut job = Job::start();
    for victim in 0..4 {
        let (ranks, launcher) = (job.ranks, job.launcher());
        signal(ranks.get(victim).copied().unwrap_or(launcher), Signal::KILL);
        job.await_ready();
        // The new job was not started before the old one was gone.
        assert!(!ranks.into_iter().chain([launcher]).any(alive), "left over after killing {victim}");
    }
    let (ranks, launcher, segments) = (job.ranks, job.launcher(), job.segments());
    // A file a rank, and none of those who were killed.
    assert_eq!(fs::read_dir(&segments).unwrap().count(), ranks.len());
    signal(job.script_pid(), Signal::TERM);
    assert_eq!(job.ended().code(), Some(0));
    assert!(!ranks.into_iter().chain([launcher]).any(alive));
    assert!(!segments.exists());
}

/// More kills than the script has patience with starts that are never ready, each as soon as the job is.
#[test]
fn a_job_that_was_ready_is_started_again_at_once_however_often_it_dies() {
    let mut job = Job::start();
    for _ in 0..12 {
        signal(job.ranks[1], Signal::KILL);
        job.await_ready();
    }
    signal(job.script_pid(), Signal::TERM);
    assert_eq!(job.ended().code(), Some(0));
    let said = fs::read_to_string(job.place.dir.path().join("stderr")).unwrap();
    assert_eq!(said.matches("starting it again\n").count(), 12, "{said}");
    // And mpirun says which.
    assert!(said.matches("exited on signal 9").count() >= 12, "{said}");
}

#[test]
fn a_job_that_is_never_ready_is_given_up() {
    let place = Place::new("echo started; exit 75");
    let output = place.output(&["-n", "1"]);
    let told = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(69), "{told}");
    assert!(
        told.contains("the job died 10 times before it was ready, the last time with code 75: giving up"),
        "{told}"
    );
    assert_eq!(output.stdout, b"started\n".repeat(10));
}

#[test]
fn a_second_interrupt_kills_a_job_that_does_not_drain() {
    let mut job = Job::start();
    let ranks = job.ranks;
    // A stopped rank cannot hear that it is to drain.
    signal(ranks[1], Signal::STOP);
    signal(job.script_pid(), Signal::INT);
    eventually("the order to drain", || {
        let status = fs::read_to_string(format!("/proc/{}/status", ranks[1])).ok()?;
        // SIGUSR1, number 10, waits for the stopped rank.
        status.contains("ShdPnd:\t0000000000000200").then_some(())
    });
    assert!(alive(ranks[0]) && alive(ranks[1]), "ended although a rank is stopped");
    signal(job.script_pid(), Signal::INT);
    assert_eq!(job.ended().code(), Some(75));
    assert!(!ranks.into_iter().any(alive));
}

/// mpirun says of each signal that it forwards it, and the script sends one every second.
#[test]
fn a_job_that_takes_its_time_to_drain_is_not_told_of_again_and_again() {
    let place = Place::new(
        "trap 'told=$((told + 1)); [ $told -lt 3 ] || exit 0' USR1; echo 'Caudal is ready: here'; echo heard >&2; while :; do sleep 0.05; done",
    );
    let mut script = place.script(&["-n", "1"]).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut line = String::new();
    BufReader::new(script.stdout.take().unwrap()).read_line(&mut line).unwrap();
    assert_eq!(line, "Caudal is ready: here\n");
    signal(script.id() as i32, Signal::TERM);
    let output = script.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(0), "{said}");
    assert!(said.contains("heard\n"), "{said}");
    assert_eq!((said.matches("draining").count(), said.matches("Forwarding").count()), (1, 0), "{said}");
}

#[test]
fn hosts_are_passed_on_with_what_their_ranks_must_know() {
    let place = Place::new("exit 0");
    let dir = place.dir.path();
    fs::write(dir.join("mpirun"), "#!/bin/bash\necho \"$*\"\n").unwrap();
    fs::set_permissions(dir.join("mpirun"), fs::Permissions::from_mode(0o755)).unwrap();
    fs::write(dir.join("hosts"), "# two of them\nlocalhost slots=2\n\nb slots=2\n").unwrap();
    let path = format!("{}:{}", dir.display(), env::var("PATH").unwrap());
    let check = |env: &[(&str, &str)], arguments: &[&str], expected: &str| {
        let mut script = place.script(&[arguments, &["-n", "4", "run"]].concat());
        for name in [
            "OMPI_MCA_orte_default_hostfile",
            "OMPI_MCA_btl_vader_backing_directory",
            "SLURM_JOB_NUM_NODES",
            "POLARS_MAX_THREADS",
            "RAYON_NUM_THREADS",
            "RUST_LOG",
        ] {
            script.env_remove(name);
        }
        let output = script.env("PATH", &path).envs(env.iter().copied()).output().unwrap();
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        let end = format!(" -n 4{expected} {} run\n", dir.join("caudal").display());
        assert!(said.ends_with(&end), "{arguments:?}: {said}{}", String::from_utf8_lossy(&output.stderr));
    };
    let told = " -x POLARS_MAX_THREADS -x RAYON_NUM_THREADS";
    // Ranks of one host have their files where they were told to, or in a folder of the script's.
    let elsewhere = [("OMPI_MCA_btl_vader_backing_directory", "/tmp")];
    check(&elsewhere, &[], "");
    check(&elsewhere, &["--host", "localhost:4"], " --host localhost:4");
    check(&[], &["--host", "localhost:2,b:2"], &format!(" --host localhost:2,b:2{told}"));
    check(&[("RUST_LOG", "info")], &["--hostfile", "hosts"], &format!(" --hostfile hosts{told} -x RUST_LOG"));
    check(&[("SLURM_JOB_NUM_NODES", "2")], &[], told);
    check(&[("OMPI_MCA_orte_default_hostfile", "hosts")], &[], told);
    for arguments in
        [&["--host", ""][..], &["--host", "a,,b"], &["--host"], &["--hostfile", "missing"], &["--hostfile"]]
    {
        let output = place.output(arguments);
        assert_eq!(output.status.code(), Some(2), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    }
    // Of a name that is only for documents.
    let output = place.output(&["--host", "elsewhere.example:2,localhost:2", "run"]);
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(78), "{said}");
    assert!(said.contains("the first host, elsewhere.example, is not this one"), "{said}");
}

#[test]
fn the_job_dies_with_the_script() {
    let mut job = Job::start();
    let processes = [job.ranks[0], job.ranks[1], job.ranks[2], job.launcher()];
    signal(job.script_pid(), Signal::KILL);
    job.ended();
    eventually("the job's end", || (!processes.into_iter().any(alive)).then_some(()));
}
