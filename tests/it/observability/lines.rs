//! What a job writes on stderr.

use std::fs;
use std::process::Command;

use serde_json::Value;
use tempfile::TempDir;

use crate::support::job::{Job, Setup, caudal, root};

/// A folder's name that would end the line, colour the terminal, turn the text and end a string.
const HOSTILE: &str = "bad\n\u{1b}[31m\"\u{2028}\u{202e}.data";

#[test]
fn a_job_logs_lines_of_json() {
    let dir = TempDir::new().expect("a directory");
    // A setting of no known name is warned about; its name comes from outside.
    fs::write(dir.path().join(".env"), "NO_SUCH_SETTING=1\n").expect("a file");
    let setup = Setup::new(2, dir.path()).with("LOG_FORMAT", "json").with("RUST_LOG", "debug");
    let job = Job::start_in(dir, setup);
    job.kill_rank(1);
    job.wait_back();
    let (dir, _, status) = job.stop();
    assert_eq!(status.code(), Some(0));
    let output = fs::read_to_string(dir.path().join("output.txt")).expect("an output");
    let lines: Vec<Value> = output.lines().filter(|line| line.starts_with('{')).map(parsed).collect();
    let said = |text: &'static str| {
        lines.iter().filter(move |line| line["message"].as_str().is_some_and(|m| m.contains(text)))
    };
    let warned: Vec<_> = said("NO_SUCH_SETTING").collect();
    assert_eq!(warned.len(), 2, "once a life: {output}");
    assert!(warned.iter().all(|line| line["level"] == "WARN" && line["rank"] == 0), "{warned:?}");
    let ready: Vec<_> = said("events are taken").map(|line| line["generation"].as_u64()).collect();
    assert_eq!(ready, [Some(1), Some(2)], "{output}");
    assert!(said("events are taken").all(|line| line["epoch"].is_u64()), "{output}");
}

fn parsed(line: &str) -> Value {
    serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line:?}"))
}

/// What a process that cannot go on says: in text for people, in JSON one line, whatever is in it.
#[test]
fn what_comes_from_outside_breaks_no_line() {
    let dir = TempDir::new().expect("a directory");
    let run = |format: &str| {
        let mut command = Command::new(caudal());
        command.args(["verify"]).current_dir(dir.path()).env("LOG_FORMAT", format).env("DATA_DIR", HOSTILE);
        command.env("PIPELINES", root().join("pipelines/civic_safety/pipeline.yaml"));
        let output = command.output().expect("caudal runs");
        assert_ne!(output.status.code(), Some(0));
        String::from_utf8(output.stderr).expect("UTF-8")
    };
    let json = run("json");
    let [line] = json.lines().collect::<Vec<_>>()[..] else { panic!("one line: {json:?}") };
    let line = parsed(line);
    assert_eq!(line["level"], "ERROR");
    assert!(line["message"].as_str().is_some_and(|why| why.contains(HOSTILE)), "{line}");
    let text = run("text");
    // The message may have lines of its own, so that the name's is one of them.
    assert_eq!(text, "caudal: DATA_DIR bad\n\\u{1b}[31m\"\\u{2028}\\u{202e}.data is not there\n");
    for output in [json, text] {
        assert!(!output.contains(['\u{1b}', '\u{2028}', '\u{202e}']), "{output:?}");
    }
}
