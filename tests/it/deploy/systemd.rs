//! `deploy/systemd` under a real systemd.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

use rustix::process::Signal;
use tempfile::TempDir;

use super::{good, install, run};
use crate::support::client::Client;
use crate::support::job::{Job, root, until};
use crate::support::machine::Machine;
use crate::support::port::free_port;
use crate::support::program::program;
use crate::support::traffic::{assert_results_at, civic_safety, events, send_all};

/// systemd's own measure of a service's exposure, from 0 to 10, in tenths. Below 2 all is shut that a service with a port can do without.
const EXPOSURE_MAX: u32 = 15;

fn unit() -> String {
    fs::read_to_string(root().join("deploy/systemd/caudal.service")).unwrap()
}

#[test]
fn the_unit_is_well_formed_and_shut_tight() {
    let analyze = program("systemd-analyze", "systemd");
    let dir = TempDir::new().unwrap();
    let file = dir.path().join("caudal.service");
    // What it starts is not installed here.
    fs::write(&file, unit().replace("/opt/caudal/run_mpi.sh", "/bin/true")).unwrap();
    let verified = run(Command::new(&analyze).args(["verify", "--man=no"]).arg(&file));
    let told = String::from_utf8_lossy(&verified.stderr);
    assert!(verified.status.success() && !told.contains("caudal.service"), "{told}");
    let threshold = format!("--threshold={EXPOSURE_MAX}");
    good(Command::new(&analyze).args(["security", "--offline=true", "--no-pager", &threshold]).arg(&file));
}

/// The installation as the page has it, with settings of the test's own.
fn prepare(files: &Path, port: u16, env: &str) {
    install(&files.join("opt/caudal"));
    for (from, to) in [
        ("caudal.service", "etc/systemd/system/caudal.service"),
        ("caudal.sysusers.conf", "etc/sysusers.d/caudal.conf"),
    ] {
        let to = files.join(to);
        fs::create_dir_all(to.parent().unwrap()).unwrap();
        fs::copy(root().join("deploy/systemd").join(from), to).unwrap();
    }
    let etc = files.join("etc/caudal");
    fs::create_dir_all(&etc).unwrap();
    good(Command::new("cp").arg("-rL").arg(root().join("tests/pipelines/civic_safety")).arg(&etc));
    let env = format!("HTTP_PORT={port}\nRANKS=3\nLOG_RETENTION=1d\n{env}\n");
    fs::write(etc.join(".env"), env).unwrap();
    // Whatever the umask of whoever runs the tests is.
    for file in [files.to_owned(), files.join("etc"), files.join("opt"), etc] {
        fs::set_permissions(file, fs::Permissions::from_mode(0o755)).unwrap();
    }
}

/// The field of a rank's `/proc/PID/status`.
fn status(pid: i32, field: &str) -> String {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix(field)?.strip_prefix(':'));
    line.unwrap_or_else(|| panic!("{field}: {status}")).trim().to_owned()
}

/// The process of a rank of the service.
fn rank(machine: &Machine, rank: usize) -> i32 {
    let processes = machine.run("systemctl", &["show", "--value", "-p", "ControlGroup", "caudal"]);
    assert_eq!(processes.trim(), "/system.slice/caudal.service");
    let wanted = format!("OMPI_COMM_WORLD_RANK={rank}").into_bytes();
    let data = b"DATA_DIR=/var/lib/caudal".to_vec();
    let mut found = None;
    until("the rank runs", || {
        let entries = fs::read_dir("/proc").unwrap().filter_map(Result::ok);
        let mut pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok());
        found = pids.find(|pid| {
            let env = fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
            let env: Vec<&[u8]> = env.split(|&byte| byte == 0).collect();
            env.contains(&wanted.as_slice()) && env.contains(&data.as_slice())
        });
        found.is_some()
    });
    found.unwrap()
}

#[test]
fn the_service_starts_ready_comes_back_drains_and_goes_on() {
    let port = free_port();
    let machine = Machine::boot(|files| prepare(files, port, "PIPELINES=civic_safety/pipeline.yaml"));
    machine.run("chgrp", &["caudal", "/etc/caudal/.env"]);
    machine.run("chmod", &["640", "/etc/caudal/.env"]);

    machine.run("systemctl", &["start", "caudal"]);
    // It returns when events are accepted.
    let client = Client::new(port);
    assert_eq!(client.get("/readyz").0, 200);
    assert!(machine.property("caudal", "StatusText").starts_with("Caudal is ready: "));

    let pipeline = civic_safety();
    let bodies = events(&pipeline, 7, 20_000);
    let (first, rest) = bodies.split_at(bodies.len() / 2);
    send_all(&client, first);

    let victim = rank(&machine, 1);
    assert_ne!(status(victim, "Uid").split_whitespace().next(), Some("0"));
    assert_eq!(
        (status(victim, "CapBnd"), status(victim, "NoNewPrivs"), status(victim, "Seccomp")),
        ("0".repeat(16), "1".into(), "2".into())
    );
    Job::signal(victim, Signal::KILL);
    until("the job has felt it", || !matches!(client.try_get("/readyz"), Ok((200, _))));
    until("the job is back", || matches!(client.try_get("/readyz"), Ok((200, _))));
    // The supervisor did that, not systemd.
    assert_eq!(machine.property("caudal", "NRestarts"), "0");

    machine.run("systemctl", &["stop", "caudal"]);
    assert_eq!(machine.property("caudal", "Result"), "success");
    assert_eq!(machine.property("caudal", "ExecMainStatus"), "0");
    assert!(machine.journal().contains("draining"));

    machine.run("systemctl", &["start", "caudal"]);
    send_all(&client, rest);
    assert_results_at(&client, &bodies);
    // A new life for the kill, and one for the start.
    assert_eq!(client.json("/cluster")["generation"], 3);
    machine.run("systemctl", &["stop", "caudal"]);
}

#[test]
fn a_service_that_cannot_start_is_not_started_again_and_says_why() {
    let machine = Machine::boot(|files| prepare(files, free_port(), "PIPELINES=missing.yaml"));
    assert!(!machine.output("systemctl", &["start", "caudal"]).status.success());
    assert_eq!(machine.property("caudal", "ActiveState"), "failed");
    assert_eq!(
        (machine.property("caudal", "ExecMainStatus"), machine.property("caudal", "NRestarts")),
        ("78".into(), "0".into())
    );
    assert!(machine.journal().contains("missing.yaml"), "{}", machine.journal());
}
