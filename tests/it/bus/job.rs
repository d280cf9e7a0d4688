//! On a real job whose ranks are killed: streams and groups go on where they were.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufRead, BufReader, Read};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use rustix::process::Signal;
use serde_json::{Value, json};

use super::incident;
use crate::support::client::Client;
use crate::support::job::{Job, caudal, until};

const EVENTS: &str = "/topics/security.incident/events";
const GROUP: &str = "/topics/security.incident/groups/g";
const BATCH: u64 = 20;

/// `caudal tail` of the security topic.
fn tail(job: &Job, args: &[&str]) -> Child {
    let url = format!("http://127.0.0.1:{}", job.setup.port);
    let mut command = Command::new(caudal());
    command.args(["tail", "security.incident", "--url", &url]).args(args);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
}

/// Sends batches until it is told to stop; gives each acknowledged offset's event. What was not acknowledged is not sent again: it may be there all the same.
fn produce(client: &Client, enough: &AtomicBool, sent: &AtomicU64) -> BTreeMap<u64, u64> {
    let mut acknowledged = BTreeMap::new();
    for first in (0..).step_by(BATCH as usize) {
        if enough.load(Ordering::Relaxed) {
            break;
        }
        let lines: Vec<String> = (first..first + BATCH).map(incident).collect();
        let Ok((202, answer)) = client.try_post(EVENTS, "application/x-ndjson", lines.join("\n").as_bytes()) else {
            continue;
        };
        let answer: Value = serde_json::from_str(&answer).unwrap();
        let begins = answer["first_offset"].as_u64().unwrap();
        acknowledged.extend((begins..).zip(first..first + BATCH));
        sent.fetch_add(BATCH, Ordering::Relaxed);
    }
    acknowledged
}

/// The number by which `incident` made it.
fn number(event: &Value) -> u64 {
    let id = event["event_id"].as_str().unwrap();
    u64::from_str_radix(&id[id.len() - 12..], 16).unwrap()
}

/// A member that notes what it was given, then commits it; it dies with what it has when it is told to.
fn member(client: &Client, name: &str, dies: &AtomicBool, ends: &AtomicBool, done: &Mutex<BTreeMap<u64, u64>>) {
    let poll = json!({"member": name, "max": 30, "wait_ms": 500, "session_ms": 1_000}).to_string();
    while !ends.load(Ordering::Relaxed) {
        let Ok((200, answer)) = client.try_post(&format!("{GROUP}/poll"), "application/json", poll.as_bytes()) else {
            continue;
        };
        let answer: Value = serde_json::from_str(&answer).unwrap();
        if dies.load(Ordering::Relaxed) {
            return;
        }
        let Some(last) = answer["last"].as_u64() else { continue };
        let events = answer["events"].as_array().unwrap().iter();
        done.lock().unwrap().extend(events.map(|e| (e["offset"].as_u64().unwrap(), number(&e["event"]))));
        // Where the answer is lost the commit may be stored or not: the next poll tells.
        let commit = json!({"member": name, "offset": last}).to_string();
        let _ = client.try_post(&format!("{GROUP}/commit"), "application/json", commit.as_bytes());
    }
}

/// Rank 0 and a worker are killed under load, and so is a member of the group: nothing is missed, by the group or by who reads the stream, to whom
/// nothing comes twice.
#[test]
fn nothing_is_missed_when_ranks_and_members_are_killed() {
    let job = Job::start(3);
    let (enough, ends, never) = (AtomicBool::new(false), AtomicBool::new(false), AtomicBool::new(false));
    let (dies, sent) = (AtomicBool::new(false), AtomicU64::new(0));
    let done = Mutex::new(BTreeMap::new());
    let mut reader = tail(&job, &["--from-beginning", "--json"]);
    let output = BufReader::new(reader.stdout.take().unwrap());
    let seen = Arc::new(Mutex::new(Vec::<(u64, u64)>::new()));
    let collecting = std::thread::spawn({
        let seen = Arc::clone(&seen);
        move || {
            for line in output.lines() {
                let item: Value = serde_json::from_str(&line.unwrap()).unwrap();
                seen.lock().unwrap().push((item["offset"].as_u64().unwrap(), number(&item["event"])));
            }
        }
    });
    std::thread::scope(|scope| {
        let producer = scope.spawn(|| produce(&job.client, &enough, &sent));
        for (name, dies) in [("a", &never), ("b", &never), ("c", &dies)] {
            let (job, ends, done) = (&job, &ends, &done);
            scope.spawn(move || member(&job.client, name, dies, ends, done));
        }
        let more = |what: &str| {
            let before = sent.load(Ordering::Relaxed);
            until(what, || sent.load(Ordering::Relaxed) >= before + 500);
        };
        // It tries at intervals: one that is still waiting at the next kill would tell of both at once.
        let caught_up = || {
            let end = job.client.json("/ledger")["accepted"].as_u64().unwrap();
            until("the stream has caught up", || {
                seen.lock().unwrap().last().is_some_and(|(offset, _)| offset + 1 >= end)
            });
        };
        more("events are taken");
        dies.store(true, Ordering::Relaxed);
        for rank in [0, 2, 0] {
            caught_up();
            job.kill_rank(rank);
            job.wait_back();
            more("events are taken again");
        }
        enough.store(true, Ordering::Relaxed);
        let acknowledged = producer.join().unwrap();
        until("the group has everything", || job.client.json(GROUP)["lag_at_most"] == 0);
        ends.store(true, Ordering::Relaxed);
        let done = done.lock().unwrap();
        assert!(acknowledged.iter().all(|(offset, number)| done.get(offset) == Some(number)));

        let last = *acknowledged.keys().next_back().unwrap();
        until("the stream has everything", || seen.lock().unwrap().last().is_some_and(|(offset, _)| *offset >= last));
        let seen = seen.lock().unwrap().clone();
        assert!(seen.windows(2).all(|pair| pair[0].0 < pair[1].0), "in order, and each once");
        let seen: BTreeMap<u64, u64> = seen.into_iter().collect();
        assert!(acknowledged.iter().all(|(offset, number)| seen.get(offset) == Some(number)));
        // The log holds what the pages show: nothing else was seen.
        let (mut paged, mut path) = (BTreeMap::new(), format!("{EVENTS}?limit=10000"));
        loop {
            let page = job.client.json(&path);
            let events = page["events"].as_array().unwrap();
            paged.extend(events.iter().map(|e| (e["offset"].as_u64().unwrap(), number(&e["event"]))));
            if page["more"] == false {
                break;
            }
            page["next"].as_str().unwrap().clone_into(&mut path);
        }
        assert_eq!(seen, paged);
    });
    let group = job.client.json(GROUP);
    let end = job.client.json("/ledger")["accepted"].as_u64().unwrap();
    assert_eq!((&group["lag_at_most"], &group["position"]), (&json!(0), &json!(end)), "{group}");

    // Interrupted, it ends as if it had had enough.
    Job::signal(reader.id() as i32, Signal::INT);
    assert_eq!(reader.wait().unwrap().code(), Some(0));
    collecting.join().unwrap();
    let mut said = String::new();
    reader.stderr.take().unwrap().read_to_string(&mut said).unwrap();
    // Once for each kill, however often it was tried.
    let times = ["the job is away (", "the job is back"].map(|part| said.matches(part).count());
    assert_eq!(times, [3, 3], "{said}");
    job.stop();
}

#[test]
fn tail_prints_events_and_ends_as_it_is_told() {
    let job = Job::start(2);
    let lines: Vec<String> = (0..50).map(incident).collect();
    assert_eq!(job.client.post_lines(EVENTS, lines.join("\n").as_bytes()).0, 202);
    let output = |args: &[&str]| {
        let child = tail(&job, args).wait_with_output().unwrap();
        let text = |bytes| String::from_utf8(bytes).unwrap();
        (child.status.code(), text(child.stdout), text(child.stderr))
    };
    let printed = |from: usize, to: usize| lines[from..to].iter().map(|line| format!("{line}\n")).collect::<String>();
    assert_eq!(output(&["--from-beginning", "--count", "50"]), (Some(0), printed(0, 50), String::new()));
    assert_eq!(output(&["--from", "7", "--count", "2"]), (Some(0), printed(7, 9), String::new()));
    assert_eq!(output(&["--from", "2020-01-01T00:00:00Z", "--count", "1"]), (Some(0), printed(0, 1), String::new()));
    let shown = format!("{{\"offset\":3,\"event\":{}}}\n", lines[3]);
    assert_eq!(output(&["--from", "3", "--count", "1", "--json"]), (Some(0), shown, String::new()));

    // Two after each other in a group: each goes on where the one before it ended.
    assert_eq!(output(&["--group", "t", "--member", "one", "--count", "20"]), (Some(0), printed(0, 20), String::new()));
    assert_eq!(output(&["--group", "t", "--count", "30"]), (Some(0), printed(20, 50), String::new()));
    assert_eq!(job.client.json("/topics/security.incident/groups/t")["position"], 50);
    let of_end = ["--group", "u", "--from", "49", "--count", "1", "--json"];
    assert_eq!(output(&of_end).1, format!("{{\"offset\":49,\"event\":{}}}\n", lines[49]));

    for (args, code, says) in [
        (&["--from", "soon"] as &[&str], 65, "allowed are beginning, end"),
        (&["--from", "99"], 65, "it ends at 50"),
        (&["--group", "a/b"], 65, "no name of a group"),
        (&["--group", "g", "--member", ""], 65, "no name of a member"),
        (&["--url", "http://127.0.0.1:1"], 69, "cannot connect"),
        (&["--count", "0"], 2, "0 is not in 1.."),
        (&["--member", "m"], 2, "--group"),
        (&["--from", "1", "--from-beginning"], 2, "cannot be used with"),
    ] {
        let (found, stdout, stderr) = if args[0] == "--url" {
            let child = Command::new(caudal()).args(["tail", "security.incident"]).args(args).output().unwrap();
            (child.status.code(), String::new(), String::from_utf8(child.stderr).unwrap())
        } else {
            output(args)
        };
        assert_eq!((found, stdout.as_str()), (Some(code), ""), "{args:?}: {stderr}");
        assert!(stderr.contains(says), "{args:?}: {stderr}");
    }

    // Whoever reads has had enough.
    let mut child = tail(&job, &["--from-beginning"]);
    let mut first = [0; 1];
    child.stdout.take().unwrap().read_exact(&mut first).unwrap();
    assert_eq!(job.client.post_lines(EVENTS, lines.join("\n").as_bytes()).0, 202);
    assert_eq!(child.wait().unwrap().code(), Some(0));
    let offsets: BTreeSet<u64> = (50..100).collect();
    let page = job.client.json(&format!("{EVENTS}?from=50"));
    assert_eq!(super::offsets(&page).into_iter().collect::<BTreeSet<_>>(), offsets);
    job.stop();
}
