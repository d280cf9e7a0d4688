//! `caudal doctor` on machines and settings that are really broken: each fault is found, named and given its cure, and nothing else is.

use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use caudal::config::VARIABLES;
use rustix::process::geteuid;
use serde_json::Value;
use tempfile::TempDir;

use crate::support::job::{Job, caudal, root, until};
use crate::support::port::free_port;
use crate::support::postgres::{Cluster, Stop};

/// A folder of a test's own, where a job would start.
struct Place {
    dir: TempDir,
    port: u16,
    env: Vec<(String, String)>,
}

/// What the doctor said, and how it ended.
struct Told {
    code: Option<i32>,
    report: Value,
}

impl Place {
    fn new() -> Self {
        let pipeline = root().join("pipelines/civic_safety/pipeline.yaml");
        let place = Self { dir: TempDir::new().unwrap(), port: free_port(), env: Vec::new() };
        let (data, port) = (place.data().display().to_string(), place.port.to_string());
        // So that no disk is too small for it, and no machine too small.
        let small =
            [("LOG_BYTES_MAX", "4MiB"), ("LOG_SEGMENT_BYTES", "1MiB"), ("DISK_FREE_BYTES_MIN", "1MiB"), ("RANKS", "2")];
        let own = [("PIPELINES", pipeline.to_str().unwrap()), ("DATA_DIR", &data), ("HTTP_PORT", &port)];
        own.into_iter().chain(small).fold(place, |place, (name, value)| place.with(name, value))
    }

    fn with(mut self, name: &str, value: &str) -> Self {
        self.env.retain(|(there, _)| there != name);
        self.env.push((name.to_owned(), value.to_owned()));
        self
    }

    fn without(mut self, name: &str) -> Self {
        self.env.retain(|(there, _)| there != name);
        self
    }

    fn data(&self) -> PathBuf {
        self.dir.path().join("data")
    }

    fn file(self, name: &str, text: &str) -> Self {
        fs::write(self.dir.path().join(name), text).unwrap();
        self
    }

    /// A program with this place's settings and no others.
    fn command(&self, program: impl AsRef<Path>) -> Command {
        let mut command = Command::new(program.as_ref());
        for name in VARIABLES {
            command.env_remove(name);
        }
        command.current_dir(self.dir.path()).stdin(Stdio::null());
        command.envs(self.env.iter().map(|(name, value)| (name, value)));
        command
    }

    fn look(&self) -> Told {
        told(&self.command(caudal()).args(["doctor", "--json"]).output().unwrap())
    }

    /// Likewise, from a shell that may mount, whose `$1` is this place's data directory and `$2` the program.
    fn look_mounted(&self, script: &str) -> Told {
        fs::create_dir(self.data()).unwrap();
        let own = if geteuid().is_root() { "-m" } else { "-rm" };
        let script = format!("{script}\nexec \"$2\" doctor --json");
        let mut command = self.command("unshare");
        told(&command.args([own, "sh", "-ec", &script, "sh"]).arg(self.data()).arg(caudal()).output().unwrap())
    }
}

#[track_caller]
fn told(output: &Output) -> Told {
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    let report = serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {output:?}"));
    assert!(said.is_empty(), "{said}");
    Told { code: output.status.code(), report }
}

impl Told {
    fn of<'a>(&'a self, check: &str) -> Vec<&'a Value> {
        self.report["findings"].as_array().unwrap().iter().filter(|finding| finding["check"] == check).collect()
    }

    /// What is not well: the names of it, each with its level.
    fn unwell(&self) -> Vec<(&str, &str)> {
        let all = self.report["findings"].as_array().unwrap().iter().filter(|finding| finding["level"] != "ok");
        all.map(|finding| (finding["check"].as_str().unwrap(), finding["level"].as_str().unwrap())).collect()
    }

    /// Only these are not well (a sync may be slow on any machine); the doctor ends with this code; and the first of them says this, and gives this cure.
    #[track_caller]
    fn check(&self, code: i32, unwell: &[(&str, &str)], found: &str, cure: &str) {
        let mut there = self.unwell();
        there.retain(|(check, _)| {
            *check != "disk.sync"
                && !(*check == "disk.system" && unwell.iter().all(|(check, _)| check != &"disk.system"))
        });
        assert_eq!((self.code, there.as_slice()), (Some(code), unwell), "{:#}", self.report);
        let Some((check, level)) = unwell.first() else { return };
        let says = |finding: &&Value| {
            finding["level"] == *level
                && finding["found"].as_str().unwrap().contains(found)
                && finding["cure"].as_str().unwrap().contains(cure)
        };
        assert!(self.of(check).iter().any(says), "{found:?} {cure:?}: {:#}", self.report);
    }

    #[track_caller]
    fn is_well(&self, check: &str, found: &str) {
        let of = self.of(check);
        let says = |finding: &&Value| finding["level"] == "ok" && finding["found"].as_str().unwrap().contains(found);
        assert!(of.iter().any(says), "{check} {found:?}: {:#}", self.report);
    }
}

const PROBLEM: &str = "problem";
const WARNING: &str = "warning";

#[test]
fn where_all_is_well_it_says_so_of_each() {
    let place = Place::new();
    let told = place.look();
    told.check(0, &[], "", "");
    for (check, found) in [
        ("version", "Caudal 0."),
        ("system", "Linux"),
        ("cpu", ""),
        ("clock", "Z"),
        ("mpi.library", "MPI"),
        ("mpi.launcher", "mpirun"),
        ("mpi.job", "two ranks reach each other"),
        ("settings", "no wrong value"),
        ("access", "this machine alone may ask the job; no token is asked for"),
        ("pipelines", "pipeline civic_safety: "),
        ("cores", "2 ranks"),
        ("disk.space", "the log may grow"),
        ("disk.write", "is not there yet, and can be made"),
        ("job", "none runs"),
        ("http.port", "is free"),
        ("store", "the job makes it"),
    ] {
        told.is_well(check, found);
    }
    let sync = told.of("disk.sync")[0]["found"].as_str().unwrap();
    assert!(sync.contains("p50") && sync.contains("p99"), "{sync}");
    assert!(!place.data().exists(), "it makes nothing");
    let output = place.command(caudal()).arg("doctor").output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(text.lines().any(|line| line.starts_with("ok       mpi.job          two ranks")), "{text}");
    let last = text.lines().last().unwrap();
    assert!(last.starts_with("all is well") || last.starts_with("no problem, "), "{text}");
}

#[test]
fn a_port_that_is_taken_is_named_with_who_has_it() {
    let place = Place::new();
    let listener = TcpListener::bind(("127.0.0.1", place.port)).unwrap();
    let told = place.look();
    told.check(78, &[("http.port", PROBLEM)], &format!("(process {})", std::process::id()), "HTTP_PORT=");
    drop(listener);
    let nowhere = Place::new().with("HTTP_ADDR", "192.0.2.1").with("API_TOKENS", "0123456789abcdef");
    let told = nowhere.look();
    // Tokens would go there in clear text, too.
    told.check(78, &[("settings", WARNING), ("http.port", PROBLEM)], "TLS_CERT", "");
    let port = &told.of("http.port")[0];
    assert!(port["found"].as_str().unwrap().contains("cannot be opened"), "{port}");
    assert!(port["cure"].as_str().unwrap().contains("an address of this machine"), "{port}");
}

#[test]
fn the_job_that_runs_here_is_known_as_ones_own() {
    let job = Job::start(2);
    let mut place =
        Place::new().with("DATA_DIR", job.setup.data.to_str().unwrap()).with("HTTP_PORT", &job.setup.port.to_string());
    // A rank is shown once it has been heard of.
    until("its worker is shown", || {
        job.client.json("/cluster")["ranks"].as_array().is_some_and(|ranks| ranks.len() == 1)
    });
    let told = place.look();
    told.check(0, &[], "", "");
    let rank0 = job.rank(0).unwrap();
    told.is_well("http.port", &format!("served by the job that runs here (process {rank0})"));
    told.is_well("job", "serving, generation 1, 1 worker");
    told.is_well("disk.write", "can be written");
    told.is_well("store", " bytes");
    // Asked at another port it is there all the same, and silent.
    place = place.with("HTTP_PORT", &free_port().to_string());
    let unwell = [("http.port", WARNING), ("job", PROBLEM)];
    place.look().check(69, &unwell, "and yet a job has DATA_DIR", "another HTTP_ADDR or HTTP_PORT");
    // Where the port is not known the job is not asked, and the cause is told once.
    place = place.with("HTTP_PORT", "abc");
    let told = place.look();
    let port: Vec<_> = told.unwell().into_iter().filter(|(check, _)| *check != "http.port").collect();
    assert_eq!((told.code, port.as_slice()), (Some(78), [("settings", PROBLEM)].as_slice()), "{:#}", told.report);
    told.is_well("job", "it is asked once the settings are right");
    job.stop();
}

#[test]
fn a_folder_that_cannot_be_written_is_a_problem() {
    let place = Place::new();
    let told = place.look_mounted("mount -t tmpfs -o ro,size=16m tmpfs \"$1\"");
    let unwell = [("disk.system", WARNING), ("disk.write", PROBLEM)];
    told.check(78, &unwell, "is on tmpfs", "is memory");
    assert!(told.of("disk.write")[0]["cure"].as_str().unwrap().contains("for writing"), "{:#}", told.report);

    let file = Place::new();
    fs::write(file.data(), "no folder").unwrap();
    file.look().check(78, &[("disk.write", PROBLEM)], "cannot be made", "is a file: name a folder");
    if !geteuid().is_root() {
        // Root may write anywhere.
        let place = Place::new();
        fs::create_dir(place.data()).unwrap();
        fs::set_permissions(place.data(), fs::Permissions::from_mode(0o555)).unwrap();
        place.look().check(78, &[("disk.write", PROBLEM)], "cannot be written", "chown");
    }
}

#[test]
fn a_full_disk_is_a_problem_and_a_small_one_a_warning() {
    let full = "mount -t tmpfs -o size=64k tmpfs \"$1\"; dd if=/dev/zero of=\"$1/full\" 2>/dev/null || true";
    let unwell = [("disk.system", WARNING), ("disk.space", PROBLEM), ("disk.write", PROBLEM)];
    let told = Place::new().look_mounted(full);
    told.check(78, &unwell, "is on tmpfs", "is memory");
    let says = |check: &str, what: &str, part: &str| told.of(check)[0][what].as_str().unwrap().contains(part);
    assert!(says("disk.space", "found", "every event is refused with 503"), "{:#}", told.report);
    assert!(
        says("disk.write", "found", "No space left") && says("disk.write", "cure", "make room"),
        "{:#}",
        told.report
    );

    let small = Place::new().with("LOG_BYTES_MAX", "1GiB");
    let told = small.look_mounted("mount -t tmpfs -o size=16m tmpfs \"$1\"");
    told.check(0, &[("disk.system", WARNING), ("disk.space", WARNING)], "", "");
    let cure = told.of("disk.space")[0]["cure"].as_str().unwrap();
    assert!(cure.contains("LOG_BYTES_MAX=15MiB"), "{cure}");
}

#[test]
fn what_is_wrong_with_postgresql_is_told_apart() {
    let cluster = Cluster::start();
    let database = cluster.create_database();
    let on = |user: &str, password: &str| {
        let port = database.port.to_string();
        let settings = [
            ("DB_HOST", "127.0.0.1"),
            ("DB_PORT", &port),
            ("DB_NAME", &database.name),
            ("DB_USER", user),
            ("DB_PASSWORD", password),
        ];
        settings.into_iter().fold(Place::new(), |place, (name, value)| place.with(name, value))
    };
    let well = on(&database.user, &database.password);
    let told = well.look();
    told.check(0, &[], "", "");
    told.is_well("store", "PostgreSQL 1");
    on(&database.user, "wrong").look().check(
        78,
        &[("store", PROBLEM)],
        "password authentication failed",
        "DB_PASSWORD",
    );
    let nowhere = on(&database.user, &database.password).with("DB_NAME", "nowhere");
    nowhere.look().check(78, &[("store", PROBLEM)], "\"nowhere\" does not exist", "DB_NAME");
    cluster
        .client(&database.name)
        .batch_execute("CREATE ROLE guest LOGIN PASSWORD 'guest'; REVOKE CREATE ON SCHEMA public FROM PUBLIC")
        .unwrap();
    on("guest", "guest").look().check(78, &[("store", PROBLEM)], "the user guest may make no tables", "GRANT CREATE");
    let encrypted = on(&database.user, &database.password).with("DB_SSLMODE", "require");
    encrypted.look().check(78, &[("store", PROBLEM)], "", "DB_SSLMODE");
    cluster.stop(Stop::Fast);
    well.look().check(69, &[("store", PROBLEM)], "is not available", "start the server");
}

#[test]
fn a_file_that_is_no_database_is_a_problem() {
    let place = Place::new();
    fs::create_dir(place.data()).unwrap();
    fs::write(place.data().join("caudal.sqlite"), "this is no database, and long enough to be taken for one").unwrap();
    place.look().check(78, &[("store", PROBLEM)], "not a database", "put the file aside");
}

#[test]
fn settings_that_are_wrong_or_unknown_are_told_all_at_once() {
    let place = Place::new().without("RANKS").file(".env", "HTTP_PROT=1\nRANKS=0\nWEBHOOK_TIMEOUT=10\n");
    let unwell = [("settings", PROBLEM), ("settings", PROBLEM), ("settings", WARNING)];
    let told = place.look();
    told.check(78, &unwell, "RANKS=\"0\": allowed is 1 to 129", ".env.example");
    let unknown = told.of("settings")[2]["found"].as_str().unwrap();
    assert!(unknown.contains("did you mean HTTP_PORT?"), "{unknown}");

    let broken = Place::new().file(".env", "DB_PASSWORD='hush\n");
    let told = broken.look();
    told.check(78, &[("settings", PROBLEM)], "(at DB_PASSWORD)", "correct it");
    assert!(!told.report.to_string().contains("hush"), "{:#}", told.report);
    let open = Place::new().with("HTTP_ADDR", "0.0.0.0");
    let unwell = [("settings", PROBLEM), ("settings", WARNING)];
    open.look().check(78, &unwell, "HTTP_ADDR=0.0.0.0 without API_TOKENS", "correct it");
    let short = Place::new().with("API_TOKENS", "abc,0123456789abcdef");
    short.look().check(0, &[("access", WARNING)], "of which 1 can be guessed", "openssl rand");
}

#[test]
fn pipeline_files_are_checked_with_their_tests() {
    let faults = "pipeline: p\ntopics: {t: {schema: t.json}}\nid: event_id\ntime: {field: timestamp}\nwindows:\n  w: {every: 1h, metrics: {n: coumt()}}\n";
    let schema =
        r#"{"type": "object", "properties": {"event_id": {"type": "string"}, "timestamp": {"type": "string"}}}"#;
    let place = Place::new().file("p.yaml", faults).file("t.json", schema).with("PIPELINES", "p.yaml");
    place.look().check(78, &[("pipelines", PROBLEM)], "p.yaml:6:", "caudal check");
    let failing = faults.replace("coumt", "count")
        + "tests:\n  - name: wrong\n    topic: t\n    given:\n      - {event_id: a, timestamp: \"2026-11-22T12:00:00Z\"}\n    expect: {counted: 2}\n";
    let place = place.file("p.yaml", &failing);
    place.look().check(0, &[("pipelines", WARNING)], "1 test of its own fails", "caudal check p.yaml");
    let missing = Place::new().with("PIPELINES", "nowhere.yaml");
    let unwell = [("settings", PROBLEM), ("pipelines", PROBLEM)];
    missing.look().check(78, &unwell, "\"nowhere.yaml\" names no file", "correct it");
}

/// A launcher that is not there, and one of another MPI: each of its processes believes that it is alone.
#[test]
fn a_launcher_that_does_not_belong_to_the_library_is_found() {
    let missing = Place::new();
    fs::create_dir(missing.dir.path().join("bin")).unwrap();
    let path = missing.dir.path().join("bin").display().to_string();
    let missing = missing.with("PATH", &path);
    missing.look().check(78, &[("mpi.launcher", PROBLEM)], "cannot be run", "openmpi-bin");

    let foreign = "#!/bin/sh\n[ \"$1\" = --version ] && { echo 'HYDRA build details:'; echo '    Version:  0.9.9'; exit; }\n\
                   shift 3\nPMI_SIZE=2 PMI_RANK=0 exec \"$@\"\n";
    let place = Place::new();
    let bin = place.dir.path().join("bin");
    fs::create_dir(&bin).unwrap();
    fs::write(bin.join("mpirun"), foreign).unwrap();
    fs::set_permissions(bin.join("mpirun"), fs::Permissions::from_mode(0o755)).unwrap();
    let path = format!("{}:{}", bin.display(), std::env::var("PATH").unwrap());
    let place = place.with("PATH", &path);
    let told = place.look();
    told.check(
        69,
        &[("mpi.launcher", WARNING), ("mpi.job", PROBLEM)],
        "is not of the library's version",
        "the library's own installation",
    );
    let job = told.of("mpi.job")[0];
    assert!(job["found"].as_str().unwrap().contains("sees only this process"), "{job}");
    assert!(job["cure"].as_str().unwrap().contains("build Caudal anew"), "{job}");
}

#[test]
fn limits_of_the_machine_are_told() {
    let place = Place::new();
    let script = "ulimit -S -n 600 && exec \"$0\" doctor --json";
    let told = told(&place.command("sh").args(["-c", script, caudal()]).output().unwrap());
    told.check(0, &[("open_files", WARNING)], "may open 600 files", "ulimit -n 1536");
    // On one core.
    let place = Place::new().with("RANKS", "6");
    let told = self::told(&place.command("taskset").args(["-c", "0", caudal(), "doctor", "--json"]).output().unwrap());
    told.check(0, &[("cores", WARNING)], "1 core for 6 ranks", "RANKS=2");
}
