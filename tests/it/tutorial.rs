//! The commands of `docs/tutorial.md`, in their order, on a job as it is there after the first step.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::process::Command;

use serde_json::json;

use crate::mpi::assert_identical;
use crate::support::job::{Job, caudal, root, until};

/// The commands of all console blocks: a line that begins with `$ `, and those after it up to the next.
fn commands(text: &str) -> Vec<String> {
    let mut commands: Vec<String> = Vec::new();
    let mut inside = false;
    for line in text.lines() {
        match (inside, line) {
            (false, "```console") => inside = true,
            (true, "```") => inside = false,
            (true, line) => {
                if let Some(first) = line.strip_prefix("$ ") {
                    commands.push(first.to_owned());
                } else {
                    let command = commands.last_mut().expect("a block begins with a command");
                    command.push('\n');
                    command.push_str(line);
                }
            }
            (false, _) => {}
        }
    }
    commands
}

#[test]
fn the_tutorial_can_be_followed_to_its_end() {
    let job = Job::start(3);
    let folder = job.dir.path();
    let script = folder.join("run_mpi.sh");
    fs::write(&script, format!("#!/bin/sh\nexec bash '{}/run_mpi.sh' \"$@\"\n", root().display())).unwrap();
    fs::set_permissions(&script, fs::Permissions::from_mode(0o755)).unwrap();

    let commands = commands(&fs::read_to_string(root().join("docs/tutorial.md")).unwrap());
    let mut said = String::new();
    for command in &commands {
        let here = command.replace("localhost:5000", &format!("localhost:{}", job.setup.port));
        let mut bash = Command::new("bash");
        bash.args(["-c", &here]).current_dir(folder);
        bash.env("CAUDAL_BIN", caudal()).env("HTTP_PORT", job.setup.port.to_string());
        let run = bash.output().unwrap();
        let told = [run.stdout, run.stderr].map(|bytes| String::from_utf8(bytes).unwrap()).concat();
        said = [said, format!("$ {command}\n{told}\n")].concat();
        assert!(run.status.success(), "{said}");
    }
    for expected in [
        "bikes.yaml: ok (pipeline bikes: 1 topic, 1 window, 4 metrics, 1 test passed",
        "bikes is the job's",
        r#"{"accepted":4,"counted":2,"duplicate":1,"filtered":0,"invalid":1,"late":0,"#,
        "3 was retried as 4: counted",
        r#"{"key":"harbour","value":{"trip_id":"6f1b3c1e-0002-4000-8000-000000000002","minutes":7.25},"events":2,"#,
        "rides is the job's",
    ] {
        assert!(said.contains(expected), "{expected}\nis not in\n{said}");
    }
    until("the hour is closed", || {
        let rows = job.client.windows("&pipeline=bikes&window=by_station");
        let closed: Vec<_> = rows.iter().filter(|row| row["closed"] == json!(true)).collect();
        let harbour = closed.iter().find(|row| row["group"]["station"] == "harbour");
        closed.len() == 2 && harbour.is_some_and(|row| row["values"]["minutes"] == json!(19.75))
    });
    until("all trips of the past are counted", || {
        let rows = job.client.windows("&pipeline=rides");
        rows.iter().any(|row| row["values"] == json!({"trips": 4, "longest": 12.5}))
    });
    let (_dir, setup, status) = job.stop();
    assert_eq!(status.code(), Some(0));
    assert_identical(&setup);
}
