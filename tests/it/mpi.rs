//! Real jobs under mpirun, and what kills them: whatever it is, the rows are those of the sequential model.

use std::fs;
use std::path::Path;
use std::process::Command;

use rustix::process::Signal;
use tempfile::TempDir;

use crate::support::job::{Job, Setup, caudal, on_postgres, until};
use crate::support::postgres::{Cluster, Stop};
use crate::support::traffic::{LedgerWatch, assert_results, civic_safety, events, expected, send_all};

/// Enough for some epochs and all windows of a small load.
const SMALL: usize = 20_000;
/// Enough to be under way while ranks are killed.
const LARGE: usize = 60_000;
/// Every rank once, and the launcher.
const KILLS: usize = 5;

/// `CAUDAL_TEST_EVENTS=2000000 CAUDAL_TEST_KILLS=10` make the kills' tests a soak.
fn setting(name: &str, default: usize) -> usize {
    std::env::var(name)
        .map_or(default, |value| value.parse().unwrap_or_else(|_| panic!("{name} is \"{value}\", no number")))
}

/// `caudal verify` on a stopped job's directory.
pub fn verify(setup: &Setup) -> (i32, String) {
    let mut command = Command::new(caudal());
    command.args(["verify", "--json"]).env("DATA_DIR", &setup.data).envs(&setup.env);
    let output = command.current_dir(setup.data.parent().expect("a parent")).output().expect("caudal runs");
    let text = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    (output.status.code().unwrap_or(-1), text)
}

pub fn assert_identical(setup: &Setup) {
    let (code, text) = verify(setup);
    let whole = text.contains("\"identical\":true") && text.contains("\"not_covered\":0");
    assert!(code == 0 && whole, "verify ended with {code}: {text}");
}

/// Waits for the results, compares them, drains the job and verifies its log.
fn finish(job: Job, bodies: &[Vec<u8>]) {
    assert_results(&job, bodies);
    let (dir, setup, status) = job.stop();
    let output = fs::read_to_string(dir.path().join("output.txt")).unwrap_or_default();
    assert_eq!(status.code(), Some(0), "a drained job ends with 0:\n{output}");
    assert_identical(&setup);
}

#[test]
fn every_number_of_ranks_counts_alike() {
    let pipeline = civic_safety();
    for ranks in 1..=4 {
        let bodies = events(&pipeline, 7, SMALL);
        let job = Job::start(ranks);
        send_all(&job.client, &bodies);
        finish(job, &bodies);
    }
}

/// The events taken in live, replayed by `verify`, and read by a batch: the same rows to the bit, with any number of ranks.
#[test]
fn live_batch_and_replay_give_one_digest() {
    let pipeline = civic_safety();
    let mut digests = Vec::new();
    let bodies = events(&pipeline, 10, SMALL);
    let dir = TempDir::new().expect("a directory");
    fs::write(dir.path().join("events.ndjson"), bodies.concat()).expect("a file");
    for ranks in [2, 3, 5] {
        let job = Job::start(ranks);
        send_all(&job.client, &bodies);
        assert_results(&job, &bodies);
        // Kept while the log in it is verified.
        let (_data, setup, status) = job.stop();
        assert_eq!(status.code(), Some(0));
        assert_identical(&setup);
        digests.push((ranks, "live and replay", digest(&verify(&setup).1)));

        let setup = Setup::new(ranks, dir.path());
        let args =
            ["batch", "--json", "--pipeline", &setup.env["PIPELINES"], "--input", "events.ndjson", "--output", "out"];
        let run = setup.command(dir.path(), &args).output().expect("run_mpi.sh runs");
        assert!(run.status.success(), "{}", String::from_utf8_lossy(&run.stderr));
        digests.push((ranks, "batch", digest(&String::from_utf8_lossy(&run.stdout))));
    }
    assert!(digests.iter().all(|(.., digest)| *digest == digests[0].2), "{digests:?}");
}

/// Of the summary on the last line.
pub fn digest(output: &str) -> String {
    let summary: serde_json::Value = serde_json::from_str(output.lines().last().expect("a summary")).expect("JSON");
    summary["digest"].as_str().expect("a digest").to_owned()
}

#[test]
fn a_batch_counts_what_the_model_counts_with_every_number_of_ranks() {
    let pipeline = civic_safety();
    let bodies = events(&pipeline, 8, SMALL);
    let dir = TempDir::new().expect("a directory");
    let input = dir.path().join("events.ndjson");
    fs::write(&input, bodies.concat()).expect("a file");
    let expected = expected(&pipeline, &bodies);
    let mut outputs = Vec::new();
    for ranks in 1..=4 {
        let setup = Setup::new(ranks, dir.path());
        let output = dir.path().join(format!("out{ranks}"));
        let args = ["batch", "--json", "--pipeline", &setup.env["PIPELINES"], "--input"];
        let args = [&args[..], &[input.to_str().expect("UTF-8"), "--output", output.to_str().expect("UTF-8")]].concat();
        let run = setup.command(dir.path(), &args).output().expect("run_mpi.sh runs");
        assert!(run.status.success(), "{}", String::from_utf8_lossy(&run.stderr));
        let text = String::from_utf8_lossy(&run.stdout).into_owned();
        let summary: serde_json::Value = serde_json::from_str(text.lines().last().expect("a summary")).expect("JSON");
        assert_eq!(summary["events"].as_u64(), Some(SMALL as u64));
        let rows = |name: &str| fs::read_to_string(output.join(name)).expect("a CSV file");
        outputs.push([rows("by_region.csv"), rows("daily.csv"), rows("rejects.ndjson")]);
    }
    let of_window = |name: &str| expected.keys().filter(|(window, ..)| window == name).count();
    for [by_region, daily, _] in &outputs {
        assert_eq!(by_region.lines().count() - 1, of_window("by_region"));
        assert_eq!(daily.lines().count() - 1, of_window("daily"));
    }
    for ((window, start, group), (values, count)) in expected.iter().filter(|((window, ..), _)| window == "daily") {
        let group: serde_json::Value = serde_json::from_str(group).expect("JSON");
        let line = format!("{start},{},{},{count}", group["region"].as_str().expect("a region"), values["n"]);
        assert!(outputs[0][1].lines().any(|l| l == line), "{window}: {line}");
    }
    assert!(outputs.iter().all(|o| *o == outputs[0]), "the number of ranks shows in the output");
}

/// Kills each rank and the launcher, in turn, while events are sent.
fn kills_change_no_number(setup: Setup, dir: TempDir) {
    let bodies = events(&civic_safety(), 9, setting("CAUDAL_TEST_EVENTS", LARGE));
    let job = Job::start_in(dir, setup);
    let watch = LedgerWatch::start(job.client.clone());
    std::thread::scope(|scope| {
        let sender = scope.spawn(|| send_all(&job.client, &bodies));
        for kill in 0..setting("CAUDAL_TEST_KILLS", KILLS) {
            let victim = kill % (job.setup.ranks + 1);
            if victim < job.setup.ranks {
                job.kill_rank(victim);
            } else {
                until("the launcher runs", || job.mpirun().is_some());
                Job::signal(job.mpirun().unwrap_or_default(), Signal::KILL);
            }
            job.wait_back();
        }
        sender.join().expect("the sender");
    });
    let answers = watch.end();
    assert!(answers > 0, "the ledger was never seen");
    println!("the ledger balanced {answers} times");
    finish(job, &bodies);
}

#[test]
fn kills_change_no_number_on_sqlite() {
    let dir = TempDir::new().expect("a directory");
    let setup = Setup::new(4, dir.path());
    kills_change_no_number(setup, dir);
}

#[test]
fn kills_change_no_number_on_postgres() {
    let cluster = Cluster::start();
    let dir = TempDir::new().expect("a directory");
    let setup = on_postgres(Setup::new(4, dir.path()), &cluster.create_database());
    kills_change_no_number(setup, dir);
}

#[test]
fn a_store_that_goes_away_and_comes_back_has_everything() {
    let cluster = Cluster::start();
    let dir = TempDir::new().expect("a directory");
    let setup = on_postgres(Setup::new(3, dir.path()), &cluster.create_database());
    let bodies = events(&civic_safety(), 10, LARGE);
    let job = Job::start_in(dir, setup);
    let third = bodies.len() / 3;
    send_all(&job.client, &bodies[..third]);
    cluster.stop(Stop::Immediate);
    // Nothing can be committed now, and everything is taken.
    send_all(&job.client, &bodies[third..2 * third]);
    assert!(job.client.json("/ledger")["in_flight"].as_u64() > Some(0));
    cluster.start_again();
    send_all(&job.client, &bodies[2 * third..]);
    finish(job, &bodies);
}

/// Every start without the store, the first of all and one after a kill, takes events; they are counted when it comes.
#[test]
fn a_store_that_is_away_when_the_job_starts_stops_no_event() {
    let cluster = Cluster::start();
    let database = cluster.create_database();
    let dir = TempDir::new().expect("a directory");
    let setup = on_postgres(Setup::new(3, dir.path()), &database);
    let bodies = events(&civic_safety(), 14, LARGE);
    let third = bodies.len() / 3;
    cluster.stop(Stop::Fast);
    let job = Job::start_in(dir, setup);
    send_all(&job.client, &bodies[..third]);
    cluster.start_again();
    // More epochs than results may wait, and no checkpoint of them.
    let metric = |name: &str| {
        let text = job.client.get("/metrics").1;
        let line = text.lines().find_map(|l| l.strip_prefix(name)?.strip_prefix(' ')?.parse::<u64>().ok());
        line.unwrap_or_else(|| panic!("{name} is in /metrics"))
    };
    for body in &bodies[third..2 * third] {
        send_all(&job.client, std::slice::from_ref(body));
        let before = metric("caudal_epoch_committed");
        until("an epoch is committed", || metric("caudal_epoch_committed") > before || before > 120);
    }
    assert!(metric("caudal_epoch_committed") > metric("caudal_epoch_checkpoint") + 100, "the replay is short");
    cluster.stop(Stop::Immediate);
    job.kill_rank(1);
    job.wait_back();
    send_all(&job.client, &bodies[2 * third..]);
    assert!(job.client.json("/ledger")["in_flight"].as_u64() > Some(0));
    cluster.start_again();
    finish(job, &bodies);
}

#[test]
fn the_second_job_on_a_directory_is_refused() {
    let job = Job::start(2);
    let mut setup = Setup::new(2, job.dir.path());
    setup.data.clone_from(&job.setup.data);
    let second = setup.command(job.dir.path(), &[]).output().expect("run_mpi.sh runs");
    assert_eq!(second.status.code(), Some(78));
    let said = String::from_utf8_lossy(&second.stderr).into_owned();
    assert!(said.contains("is in use by another job"), "{said}");
    assert!(job.is_ready(), "the first goes on");
    let (_, _, status) = job.stop();
    assert_eq!(status.code(), Some(0));
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).expect("a directory");
    for entry in fs::read_dir(from).expect("a directory").filter_map(Result::ok) {
        if entry.path().is_dir() {
            copy(&entry.path(), &to.join(entry.file_name()));
        } else {
            fs::copy(entry.path(), to.join(entry.file_name())).expect("a copy");
        }
    }
}

/// A job is stopped in its tracks, another takes over its log and its store, and then the first wakes up.
#[test]
fn an_old_generation_that_wakes_up_is_fenced_off() {
    let cluster = Cluster::start();
    let database = cluster.create_database();
    let dir = TempDir::new().expect("a directory");
    let setup = on_postgres(Setup::new(2, dir.path()), &database);
    let bodies = events(&civic_safety(), 11, SMALL);
    let half = bodies.len() / 2;
    let mut old = Job::start_in(dir, setup);
    send_all(&old.client, &bodies[..half]);
    old.wait_settled();
    let stopped = old.rank(0).expect("rank 0 runs");
    Job::signal(stopped, Signal::STOP);

    // As on another machine: the lock on the directory is not seen there.
    let dir = TempDir::new().expect("a directory");
    let setup = on_postgres(Setup::new(2, dir.path()), &database);
    copy(&old.setup.data, &setup.data);
    let new = Job::start_in(dir, setup);
    send_all(&new.client, &bodies[half..]);
    new.wait_settled();

    Job::signal(stopped, Signal::CONT);
    // Some may be taken, and all may be refused: it ends with the first commit it tries, and a silence by which windows close is one.
    for body in events(&civic_safety(), 12, 500) {
        let _ = old.client.try_post("/events", "application/x-ndjson", &body);
    }
    let status = old.wait();
    assert_eq!(status.code(), Some(77), "{}", old.output());
    assert!(old.output().contains("is fenced off"), "{}", old.output());
    finish(new, &bodies);
}
