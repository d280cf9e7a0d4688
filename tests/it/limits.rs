//! Bounds of a running job: what it refuses there, that it says which bound it is, and that it heals by itself with nothing lost.

use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use caudal::clock::{Clock, SystemClock};
use caudal::core::units::Micros;
use caudal::generate::{Generator, Settings};
use caudal::pipeline::{Bundle, Pipelines};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tempfile::TempDir;

use crate::support::job::{Job, Setup, on_postgres, root, until};
use crate::support::postgres::{Cluster, Stop};
use crate::support::traffic::{assert_results, civic_safety, events, send_all};

/// Waits until the job says that it takes nothing more because of this setting.
fn wait_refused(job: &Job, setting: &str) {
    until(
        &format!("{setting} is reached"),
        || matches!(job.client.try_get("/readyz"), Ok((503, body)) if body.contains(setting)),
    );
}

/// Results that cannot be stored fill the log; when the store is back, the log lets go of what is in it, and events are taken again.
#[test]
fn a_full_log_refuses_events_and_heals_when_the_store_is_back() {
    let cluster = Cluster::start();
    let dir = TempDir::new().expect("a directory");
    let mut setup = on_postgres(Setup::new(3, dir.path()), &cluster.create_database())
        .with("LOG_SEGMENT_BYTES", "1MiB")
        .with("LOG_BYTES_MAX", "6MiB");
    // Segments go as soon as nothing needs them.
    setup.env.remove("LOG_RETENTION");
    let bodies = events(&civic_safety(), 13, 60_000);
    let job = Job::start_in(dir, setup);
    cluster.stop(Stop::Fast);
    std::thread::scope(|scope| {
        let sender = scope.spawn(|| send_all(&job.client, &bodies));
        wait_refused(&job, "LOG_BYTES_MAX");
        assert!(!sender.is_finished(), "all events found room");
        cluster.start_again();
        sender.join().expect("the sender");
    });
    assert_results(&job, &bodies);
    let (_, _, status) = job.stop();
    assert_eq!(status.code(), Some(0));
}

/// Where ids beyond memory cannot be kept, no event is judged: the job ends, says why, and starts again.
#[test]
fn a_job_that_cannot_keep_its_ids_goes_on_when_it_can() {
    let dir = TempDir::new().expect("a directory");
    let setup = Setup::new(3, dir.path()).with("IDS_IN_MEMORY_MAX", "100");
    let scratch = setup.data.join("scratch");
    fs::create_dir(&setup.data).expect("a directory");
    fs::write(&scratch, "no folder").expect("a file");
    let bodies = events(&civic_safety(), 17, 20_000);
    let job = Job::start_in(dir, setup);
    std::thread::scope(|scope| {
        scope.spawn(|| send_all(&job.client, &bodies));
        until("it says what is wrong", || job.output().contains("cannot be kept"));
        assert!(job.output().contains(scratch.to_str().expect("UTF-8")), "{}", job.output());
        fs::remove_file(&scratch).expect("it is there");
    });
    assert_results(&job, &bodies);
    assert!(scratch.is_dir(), "ids are sealed");
    let (_, _, status) = job.stop();
    assert_eq!(status.code(), Some(0));
}

/// `count` events whose times are a constant span apart, without any fault, as bodies.
fn steady(pipeline: &Pipelines, start: Micros, rate: f64, count: usize) -> Vec<Vec<u8>> {
    let none = Micros(0);
    let settings = Settings {
        seed: start.0 as u64,
        start,
        rate,
        duplicates: 0.0,
        invalid: 0.0,
        late: 0.0,
        late_by: none,
        out_of_order: none,
        burst: None,
    };
    let mut generator = Generator::new(pipeline, settings).expect("the pipeline's events can be generated");
    let lines: Vec<Vec<u8>> = (0..count).map(|_| generator.generate().line).collect();
    lines.chunks(50).map(|lines| [lines.join(&b'\n'), b"\n".to_vec()].concat()).collect()
}

/// Ids are forgotten as event time goes on, and event time goes on by events alone: at the bound some must be let in.
#[test]
fn at_the_bound_on_ids_events_come_in_slowly_until_ids_are_forgotten() {
    let dir = TempDir::new().expect("a directory");
    let from = root().join("tests/pipelines/civic_safety");
    let text = fs::read_to_string(from.join("pipeline.yaml")).expect("the pipeline file");
    // Silence would close windows and so make the last events late.
    let text = text.replace("remember: 24h", "remember: 10s").replace("idle_after: 5s", "idle_after: 10m");
    fs::create_dir(dir.path().join("schemas")).expect("a directory");
    for schema in fs::read_dir(from.join("schemas")).expect("schemas").filter_map(Result::ok) {
        fs::copy(schema.path(), dir.path().join("schemas").join(schema.file_name())).expect("a schema");
    }
    let path = dir.path().join("pipeline.yaml");
    fs::write(&path, text).expect("a file");
    let pipeline = Bundle::read(std::slice::from_ref(&path)).expect("a bundle").pipelines().expect("a pipeline");

    let begin = Micros(SystemClock::default().unix().micros().0 - 500_000_000);
    let crowd = steady(&pipeline, begin, 1000.0, 2000);
    // 400 s of event time: long enough for the crowd's buckets to be forgotten.
    let after = steady(&pipeline, Micros(begin.0 + 2_000_000), 1.0, 400);
    let setup = Setup::new(3, dir.path()).with("PIPELINES", path.to_str().expect("UTF-8")).with("IDS_MAX", "1000");
    let job = Job::start_in(dir, setup);
    send_all(&job.client, &crowd);
    wait_refused(&job, "IDS_MAX");
    send_all(&job.client, &after);
    job.wait_ready();
    let sent = 2400;
    until("everything is counted", || job.client.json("/ledger")["counted"] == sent);
    let ids = |rank: &serde_json::Value| rank["ids"].as_u64().expect("a count");
    until("the crowd's ids are forgotten", || {
        job.client.json("/cluster")["ranks"].as_array().expect("a list").iter().map(ids).sum::<u64>() < 1000
    });
    let (_, _, status) = job.stop();
    assert_eq!(status.code(), Some(0));
}

const CONNECTIONS: u64 = 10_000;
/// What a connection may cost the job beyond the system's own share of it.
const BYTES_EACH_MAX: u64 = 64 << 10;

/// What the process has had in memory at once, at most.
fn peak_bytes(pid: i32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).expect("the process");
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).expect("a peak");
    line.trim().trim_end_matches(" kB").parse::<u64>().expect("a number") << 10
}

/// Ten thousand clients that say nothing, or half of something: who was there before is served all the while, the silent ones are cut off in time, and memory
/// does not grow by more than a connection's worth each.
#[test]
fn ten_thousand_connections_leave_room_for_those_who_work() {
    let files = getrlimit(Resource::Nofile);
    let needed = CONNECTIONS + 1_000;
    let enough = files.current.is_none_or(|now| now >= needed)
        || setrlimit(Resource::Nofile, Rlimit { current: Some(needed), maximum: files.maximum }).is_ok();
    assert!(enough, "this test opens {needed} files, and the hard limit is {:?}: raise `ulimit -Hn`", files.maximum);
    let dir = TempDir::new().expect("a directory");
    let setup = Setup::new(2, dir.path())
        .with("HTTP_CONNECTIONS_MAX", "9000")
        .with("HTTP_HEADER_TIMEOUT", "5s")
        .with("HTTP_BODY_TIMEOUT", "5s");
    let job = Job::start_in(dir, setup);
    let rank0 = job.rank(0).expect("rank 0 runs");
    let before = peak_bytes(rank0);
    let mut working = TcpStream::connect(("127.0.0.1", job.setup.port)).expect("a connection");
    working.set_read_timeout(Some(Duration::from_secs(20))).expect("a socket");
    let mut ask = || {
        working.write_all(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n").expect("it is open");
        let mut answer = [0; 2_048];
        let read = working.read(&mut answer).expect("it is answered");
        assert!(answer[..read].starts_with(b"HTTP/1.1 200"), "{}", String::from_utf8_lossy(&answer[..read]));
    };
    let mut held = Vec::new();
    for n in 0..CONNECTIONS {
        let mut stream = TcpStream::connect(("127.0.0.1", job.setup.port)).expect("a connection");
        let half = [
            "",
            "GET /ledger HTTP/1.1\r\nX: ",
            "POST /events HTTP/1.1\r\nHost: localhost\r\nContent-Length: 60000\r\n\r\n{",
        ];
        // Beyond the number it may be closed already.
        let _ = stream.write_all(half[n as usize % half.len()].as_bytes());
        held.push(stream);
        if n % 500 == 0 {
            ask();
        }
    }
    ask();
    until("the silent ones are cut off", || job.is_ready());
    for stream in &mut held {
        stream.set_read_timeout(Some(Duration::from_secs(20))).expect("a socket");
        let ended = stream.read_to_end(&mut Vec::new());
        assert!(!ended.is_err_and(|error| error.kind() == std::io::ErrorKind::WouldBlock), "one is still open");
    }
    let grown = peak_bytes(rank0).saturating_sub(before);
    assert!(grown < CONNECTIONS * BYTES_EACH_MAX, "{grown} bytes more than before");
    let (_, _, status) = job.stop();
    assert_eq!(status.code(), Some(0));
}
