//! The command line as people and programs meet it: help whose examples run, completions, manual pages, what `--json` prints, exit codes, terminals.

use std::collections::BTreeSet;
use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};

use caudal::cli::help::{PAGES, Page, page};
use caudal::config::VARIABLES;
use rustix::process::Signal;
use serde_json::Value;
use tempfile::TempDir;

use crate::changes::SEVERITIES;
use crate::mpi::verify;
use crate::support::job::{Job, Setup, caudal, root, until};
use crate::support::port::free_port;

const CIVIC_SAFETY: &str = "pipelines/civic_safety/pipeline.yaml";

/// A folder in which `caudal` is a command and the shipped applications lie; none of it is touched.
struct Place {
    dir: TempDir,
    port: u16,
}

impl Place {
    fn new() -> Self {
        let dir = TempDir::new().unwrap();
        for folder in ["bin", "home"] {
            fs::create_dir(dir.path().join(folder)).unwrap();
        }
        symlink(caudal(), dir.path().join("bin/caudal")).unwrap();
        symlink(root().join("pipelines"), dir.path().join("pipelines")).unwrap();
        Self { dir, port: free_port() }
    }

    fn bash(&self, line: &str) -> Command {
        // A port that is free here stands for any that a person would write.
        let port = self.port.to_string();
        let line = line.replace("localhost:5000", &format!("localhost:{port}")).replace("5001", &port);
        let mut command = Command::new("bash");
        for name in VARIABLES {
            command.env_remove(name);
        }
        let path = format!("{}:{}", self.dir.path().join("bin").display(), std::env::var("PATH").unwrap());
        command.args(["-c", &line]).current_dir(self.dir.path()).stdin(Stdio::null()).env("PATH", path);
        command.env("HOME", self.dir.path().join("home")).env("HTTP_PORT", port).env("LC_ALL", "C.UTF-8");
        // As run_mpi.sh has it, for root and for machines with one core.
        command.env("OMPI_ALLOW_RUN_AS_ROOT", "1").env("OMPI_ALLOW_RUN_AS_ROOT_CONFIRM", "1");
        command.env("OMPI_MCA_rmaps_base_oversubscribe", "1");
        command
    }

    fn run(&self, line: &str) -> Output {
        self.bash(line).output().unwrap()
    }

    /// Ends with 0; gives what it printed.
    #[track_caller]
    fn good(&self, line: &str) -> String {
        let output = self.run(line);
        let said = String::from_utf8_lossy(&output.stderr);
        let printed = String::from_utf8_lossy(&output.stdout).into_owned();
        assert_eq!(output.status.code(), Some(0), "$ {line}\n{printed}\n{said}");
        assert!(
            !printed.is_empty()
                || !said.is_empty()
                || line.contains('>')
                || line.contains("--output")
                || line.contains("source"),
            "$ {line}"
        );
        printed
    }
}

/// The examples that a page of `--help` shows, which are those of the manual.
fn shown(place: &Place, page: &Page) -> Vec<String> {
    let help = place.good(&format!("caudal {} --help", page.path));
    let (_, examples) = help.split_once("\nExamples:\n").unwrap_or_else(|| panic!("{help}"));
    assert!(help.contains("\nExit codes:\n  0 "), "{help}");
    let lines = examples.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
    lines.map(str::to_owned).collect()
}

/// Starts a job as the line says, in a directory of its own, and drains it once it serves.
fn serves(line: &str) {
    let place = Place::new();
    let mut job = place.bash(line).stdout(Stdio::piped()).spawn().unwrap();
    let mut first = String::new();
    BufReader::new(job.stdout.take().unwrap()).read_line(&mut first).unwrap();
    Job::signal(job.id() as i32, Signal::USR1);
    let status = job.wait().unwrap();
    assert!(first.starts_with("Caudal is ready: http://localhost:"), "$ {line}\n{first}");
    assert_eq!(status.code(), Some(0), "$ {line}");
}

/// A job of civic safety whose events with the offsets 2 to 8 were refused.
fn job_with_letters(place: &Place) -> Job {
    let dir = TempDir::new().unwrap();
    let mut setup = Setup::new(2, dir.path()).with("PIPELINES", root().join(CIVIC_SAFETY).to_str().unwrap());
    setup.port = place.port;
    let job = Job::start_in(dir, setup);
    let made = place.good("caudal generate --topic security.incident --count 40");
    let mut lines: Vec<&str> = made.lines().collect();
    lines[2..=8].fill(r#"{"event_id": "no event"}"#);
    assert_eq!(
        job.client.post_lines("/topics/security.incident/events?ack=applied", lines.join("\n").as_bytes()).0,
        200
    );
    fs::write(place.dir.path().join("mended.json"), made.lines().nth(3).unwrap()).unwrap();
    fs::write(place.dir.path().join("severities.yaml"), SEVERITIES).unwrap();
    let recent = SEVERITIES
        .replace("severities", "recent")
        .replace("topic: crimes", "late: {allow: 1s}")
        .replace("last:", "newest:");
    fs::write(place.dir.path().join("recent.yaml"), recent).unwrap();
    job
}

#[test]
fn every_example_of_every_help_runs() {
    let place = Place::new();
    let job = job_with_letters(&place);
    let mut tried = 0;
    let run = |page: &Page, place: &Place| {
        let examples = shown(place, page);
        let expected: Vec<&str> = page.examples.iter().map(|(_, line)| *line).collect();
        assert_eq!(examples, expected, "caudal {}", page.path);
        examples
    };
    for page in &PAGES {
        for line in run(page, &place) {
            match page.path {
                // Below, beside no other job.
                "" | "run" if line.ends_with("caudal run") || page.path == "run" => serves(&line),
                "verify" => continue,
                _ if line.contains("caudal doctor") => drop(Place::new().good(&line)),
                _ => drop(place.good(&line)),
            }
            tried += 1;
        }
    }
    let (_dir, setup, status) = job.stop();
    assert_eq!(status.code(), Some(0));
    for line in run(page("verify").unwrap(), &place) {
        let output =
            place.bash(&line).env("DATA_DIR", &setup.data).env("PIPELINES", &setup.env["PIPELINES"]).output().unwrap();
        assert_eq!(output.status.code(), Some(0), "$ {line}\n{}", String::from_utf8_lossy(&output.stderr));
        tried += 1;
    }
    assert_eq!(tried, PAGES.iter().map(|page| page.examples.len()).sum::<usize>());
}

#[test]
fn help_is_given_wherever_it_is_asked_for_and_typos_are_mended() {
    let place = Place::new();
    let help = place.good("caudal help");
    for page in PAGES.iter().filter(|page| !page.path.is_empty() && !page.path.contains(' ')) {
        assert!(help.lines().any(|line| line.trim_start().starts_with(page.path)), "{} is not in\n{help}", page.path);
        let long = place.good(&format!("caudal {} --help", page.path));
        assert_eq!(place.good(&format!("caudal help {}", page.path)), long);
        let short = place.good(&format!("caudal {} -h", page.path));
        assert!(short.len() < long.len() && short.contains("--help says more"), "{short}");
    }
    let refused = |line: &str, says: &str| {
        let output = place.run(line);
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "$ {line}\n{said}");
        assert!(said.contains(says), "$ {line}\n{said}");
    };
    refused("caudal", "Usage: caudal");
    refused("caudal taill", "a similar subcommand exists: 'tail'");
    refused("caudal tail x --from-begining", "a similar argument exists: '--from-beginning'");
    refused("caudal batch", "--pipeline <FILE>");
    refused("caudal man nothing", "there is no subcommand \"nothing\"");
    refused("caudal completions csh", "possible values: bash");
    // Whoever reads may have had enough.
    place.good("caudal completions bash | head -n 1; exit ${PIPESTATUS[0]}");
    let batch = place.good("caudal batch --help");
    let at = |part: &str| batch.find(part).unwrap_or_else(|| panic!("{part}: {batch}"));
    assert!(at("What is read:") < at("      --input <") && at("      --input <") < at("Where results go:"), "{batch}");
}

#[test]
fn the_version_says_what_is_built_in() {
    let place = Place::new();
    let version = place.good("caudal -V");
    assert_eq!(version, place.good("caudal --version"));
    let lines: Vec<&str> = version.lines().collect();
    let revision = option_env!("CAUDAL_REVISION").map(|revision| format!(" ({revision})")).unwrap_or_default();
    assert_eq!(lines[0], format!("caudal {}{revision}", env!("CARGO_PKG_VERSION")));
    assert!(
        lines[1].contains("MPI") && lines[2].starts_with("SQLite 3.") && lines[3].starts_with("built for "),
        "{version}"
    );
    let launcher = place.good("mpirun --version");
    let of_launcher = launcher.lines().next().unwrap().rsplit(' ').next().unwrap();
    assert!(lines[1].contains(of_launcher), "{} is not {of_launcher}", lines[1]);
}

#[test]
fn a_bash_completes_subcommands_options_and_values() {
    let place = Place::new();
    let complete = |words: &[&str]| {
        let line = words.join(" ");
        let (last, before) = (words[words.len() - 1], words[words.len() - 2]);
        let script = format!(
            "source <(caudal completions bash); complete -p caudal >/dev/null || exit 1\n\
             COMP_WORDS=({}); COMP_CWORD={}; _caudal caudal '{last}' '{before}'; printf '%s\\n' \"${{COMPREPLY[@]}}\"",
            words.iter().map(|word| format!("'{word}'")).collect::<Vec<_>>().join(" "),
            words.len() - 1
        );
        let found = place.good(&script);
        let found: BTreeSet<String> = found.lines().map(str::to_owned).filter(|word| !word.is_empty()).collect();
        assert!(!found.is_empty(), "{line}");
        found
    };
    let all = complete(&["caudal", ""]);
    for page in PAGES.iter().filter(|page| !page.path.is_empty() && !page.path.contains(' ')) {
        assert!(all.contains(page.path), "{}: {all:?}", page.path);
    }
    let only = |word: &str| BTreeSet::from([word.to_owned()]);
    assert_eq!(complete(&["caudal", "ta"]), only("tail"));
    assert_eq!(complete(&["caudal", "tail", "--from-"]), only("--from-beginning"));
    assert_eq!(complete(&["caudal", "dead-letters", "re"]), only("retry"));
    assert_eq!(complete(&["caudal", "batch", "--output-format", "pa"]), only("parquet"));
    for shell in ["zsh", "fish"] {
        let script = place.good(&format!("caudal completions {shell}"));
        assert!(script.contains("dead-letters") && script.contains("from-beginning"), "{shell}");
    }
}

/// A manual page as a person reads it.
fn read(place: &Place, file: &Path) -> String {
    let output = place.run(&format!("man --warnings -l '{}' | col -b", file.display()));
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.is_empty(), "{}: {said} (man is missing: apt-get install man-db)", file.display());
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn manual_pages_are_rendered_without_a_warning() {
    let place = Place::new();
    place.good("caudal man --output pages/man1");
    let folder = place.dir.path().join("pages/man1");
    let names: BTreeSet<String> =
        fs::read_dir(&folder).unwrap().map(|file| file.unwrap().file_name().into_string().unwrap()).collect();
    let expected = PAGES.iter().map(|page| format!("caudal {}", page.path).trim_end().replace(' ', "-") + ".1");
    assert_eq!(names, expected.collect());
    for page in &PAGES {
        let file = folder.join(format!("caudal {}", page.path).trim_end().replace(' ', "-") + ".1");
        assert_eq!(fs::read_to_string(&file).unwrap(), place.good(&format!("caudal man {}", page.path)));
        let text = read(&place, &file);
        let sections = ["NAME", "SYNOPSIS", "DESCRIPTION", "EXIT STATUS", "EXAMPLES"];
        let places: Vec<Option<usize>> = sections.iter().map(|section| text.find(&format!("\n{section}\n"))).collect();
        assert!(places.iter().all(Option::is_some) && places.is_sorted(), "{}: {places:?}\n{text}", page.path);
        for (_, line) in page.examples {
            assert!(text.contains(line), "{line}\n{text}");
        }
    }
    let batch = read(&place, &folder.join("caudal-batch.1"));
    assert!(batch.contains("WHAT IS READ") && batch.contains("--output-format"), "{batch}");
}

/// What a terminal of 120 columns is sent.
fn on_a_terminal(place: &Place, line: &str, environment: &[(&str, &str)]) -> String {
    let mut command = place.bash(&format!("stty() {{ :; }}; script -qec '{line}' /dev/null"));
    command.env("TERM", "xterm-256color").env_remove("NO_COLOR").envs(environment.iter().copied());
    let output = command.output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

#[test]
fn a_terminal_gets_colours_unless_it_wants_none_and_a_bar() {
    let place = Place::new();
    // Bold, underlined or coloured.
    let is_styled = |text: &str| text.contains("\u{1b}[1m") || text.contains("\u{1b}[4m") || text.contains("\u{1b}[3");
    assert!(is_styled(&on_a_terminal(&place, "caudal --help", &[])));
    assert!(!is_styled(&on_a_terminal(&place, "caudal --help", &[("NO_COLOR", "1")])));
    assert!(!is_styled(&place.good("caudal --help")), "where no terminal is");
    let generate = "caudal generate --count 400000 --output events.ndjson";
    let bar = on_a_terminal(&place, generate, &[("NO_COLOR", "1")]);
    assert!(bar.contains("/400,000 events") && !is_styled(&bar), "{bar:?}");
    let lines = place.run(generate);
    let said = String::from_utf8_lossy(&lines.stderr);
    assert!(!said.contains('\r') && !said.contains('\u{1b}'), "{said:?}");
    let batch = format!("caudal batch --pipeline {CIVIC_SAFETY} --input events.ndjson --output results");
    let bar = on_a_terminal(&place, &batch, &[("NO_COLOR", "1")]);
    assert!(bar.contains("events/s") && !is_styled(&bar), "{bar:?}");
}

/// How a line ends, and the last line of what it says.
fn ends(place: &Place, line: &str) -> (Option<i32>, String) {
    let output = place.run(line);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    (output.status.code(), said.trim_end().lines().last().unwrap_or_default().to_owned())
}

/// The codes of docs/cli.md, each from a run that really ends so; 77 is `mpi::an_old_generation_that_wakes_up_is_fenced_off`. The last line says what to do.
#[test]
fn every_exit_code_is_what_it_is_said_to_be() {
    let place = Place::new();
    let check = |line: &str, code: i32, says: &str| {
        let (ended, last) = ends(&place, line);
        assert!(ended == Some(code) && last.contains(says), "$ {line}\n{ended:?}, expected {code} {says:?}: {last}");
    };
    let batch = format!("caudal batch --pipeline {CIVIC_SAFETY}");
    fs::write(place.dir.path().join("bad.yaml"), "pipeline: [").unwrap();
    fs::write(place.dir.path().join("cut.parquet"), "PAR1").unwrap();
    check("caudal check bad.yaml", 2, "bad.yaml:");
    check(&format!("{batch} --input nowhere.ndjson --output out"), 65, "there is no file of this name");
    check(&format!("{batch} --input cut.parquet --output out"), 65, "cut.parquet");
    check("caudal tail security.incident", 69, "cannot connect to");
    check("caudal tail security.incident --url ftp://nowhere", 2, "one begins with http://");
    check("HTTP_PORT=x caudal tail security.incident", 78, "allowed is 0 (any free port) to 65535");
    check("caudal generate --url nowhere", 2, "is no");
    check("caudal generate --output /dev/full/x", 74, "cannot write /dev/full/x");
    let file = "pipelines/civic_safety/events.ndjson";
    check(&format!("DB_HOST=127.0.0.1 DB_PORT=1 {batch} --input {file} --store"), 69, "not available");
    check(&format!("{batch} --input {file} --output /dev/full/x"), 74, "name another folder");
    check("HTTP_PORT=70000 caudal run", 78, "allowed is 0 (any free port) to 65535");
    check("HTTP_PORT=70000 mpirun -q -n 2 caudal run", 78, "allowed is 0 (any free port) to 65535");
    check("PIPELINES=bad.yaml caudal run", 2, "");
    check("DATA_DIR=nowhere caudal verify", 78, "is not there");
    check("DATA_DIR=/proc/nowhere caudal run", 78, "name a directory that this user may write to");
}

/// A batch by itself ends when it is told to, with what to do as its last line; started again it goes on.
#[test]
fn a_batch_that_is_told_to_stop_says_so_and_goes_on_later() {
    let place = Place::new();
    place.good("caudal generate --count 20000 --output part.ndjson");
    // Some seconds' work, in a small file.
    place.good("yes \"$(head -n 1 part.ndjson)\" | head -n 3000000 | gzip -1 > long.ndjson.gz");
    for (at, signal) in [Signal::TERM, Signal::INT, Signal::USR1].into_iter().enumerate() {
        let line = format!("exec caudal batch --pipeline {CIVIC_SAFETY} --input long.ndjson.gz --output out{at}");
        let mut batch = place.bash(&line).stderr(Stdio::piped()).spawn().unwrap();
        until("the batch listens to signals", || threads(batch.id()).iter().any(|name| name == "signals"));
        Job::signal(batch.id() as i32, signal);
        let (code, said) = ended(&mut batch);
        assert_eq!(code, Some(75), "{signal:?}: {said}");
        assert_eq!(said.trim_end(), "caudal: the batch was stopped; the same command goes on from what it has kept");
    }
    let done = place.good(&format!("caudal batch --pipeline {CIVIC_SAFETY} --input part.ndjson --output out0"));
    assert!(done.starts_with("20000 events in "), "{done}");
}

/// The names of a process's threads.
fn threads(process: u32) -> Vec<String> {
    let tasks = fs::read_dir(format!("/proc/{process}/task")).into_iter().flatten().flatten();
    let name = |task: fs::DirEntry| fs::read_to_string(task.path().join("comm")).ok();
    tasks.filter_map(name).map(|name| name.trim().to_owned()).collect()
}

fn ended(child: &mut Child) -> (Option<i32>, String) {
    let mut said = String::new();
    child.stderr.take().unwrap().read_to_string(&mut said).unwrap();
    (child.wait().unwrap().code(), said)
}

/// What a start says last is what to do, and not what MPI says of ranks that end.
#[test]
fn the_last_line_of_a_start_that_fails_is_the_cure() {
    let dir = TempDir::new().unwrap();
    for ranks in [1, 3] {
        let setup = Setup::new(ranks, dir.path()).with("LOG_BYTES_MAX", "17 GB");
        let output = setup.command(dir.path(), &["run"]).output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(78), "{said}");
        assert!(said.trim_end().lines().last().unwrap().contains("LOG_BYTES_MAX=\"17 GB\": allowed is"), "{said}");
        assert!(!said.contains("MPI_ABORT") && !said.contains("mpirun"), "{said}");
    }
}

/// Beside a running job `verify` says how to go on; on results that were changed it ends with 70, on a damaged log with 74.
#[test]
fn verify_says_what_to_do_beside_a_job_and_what_is_wrong() {
    let place = Place::new();
    let job = job_with_letters(&place);
    job.wait_settled();
    let (code, said) = verify(&job.setup);
    assert_eq!(code, 78, "{said}");
    assert!(
        said.trim_end().ends_with(
            "verify needs it stopped. Let it drain (Ctrl-C, or SIGTERM to run_mpi.sh), verify, and start it again"
        ),
        "{said}"
    );
    let (_dir, setup, status) = job.stop();
    assert_eq!((status.code(), verify(&setup).0), (Some(0), 0));
    let store = rusqlite::Connection::open(setup.data.join("caudal.sqlite")).unwrap();
    assert_eq!(store.execute("UPDATE metrics_out SET event_count = event_count + 1 WHERE metric_id = (SELECT min(metric_id) FROM metrics_out)", []).unwrap(), 1);
    drop(store);
    let (code, said) = verify(&setup);
    assert!(code == 70 && said.contains("\"identical\":false") && said.contains("\"differences\":1,"), "{code} {said}");
    let segment = fs::read_dir(setup.data.join("log")).unwrap().map(|file| file.unwrap().path());
    let segment =
        segment.filter(|path| path.extension().is_some_and(|ending| ending == "seg" || ending == "log")).min().unwrap();
    let mut bytes = fs::read(&segment).unwrap();
    bytes[4_096 + 100] ^= 1;
    fs::write(&segment, bytes).unwrap();
    let (code, said) = verify(&setup);
    assert_eq!(code, 74, "{said}");
}

/// The keys of docs/cli.md, by the command that its headings name.
fn documented_keys() -> Vec<(String, BTreeSet<String>)> {
    let text = fs::read_to_string(root().join("docs/cli.md")).unwrap();
    let (_, section) = text.split_once("## What programs read").expect("the section on --json");
    let section = section.split("\n## ").next().unwrap_or_default();
    let rows = section.lines().filter(|line| line.starts_with("| `"));
    rows.map(|row| {
        let mut cells = row.trim_matches('|').split(" | ");
        let command = cells.next().unwrap().trim().trim_matches('`').to_owned();
        let keys = cells.next().unwrap().split('`').skip(1).step_by(2).map(str::to_owned);
        (command, keys.collect())
    })
    .collect()
}

/// What each command prints as JSON has the keys that docs/cli.md gives, and no others.
#[test]
fn what_programs_read_is_what_the_document_says() {
    let place = Place::new();
    let job = job_with_letters(&place);
    let file = "pipelines/civic_safety/events.ndjson";
    let documented = documented_keys();
    let mut tried = BTreeSet::new();
    let mut check = |name: &str, printed: &str| {
        // What is logged may stand beside it.
        let last = printed.lines().rfind(|line| line.starts_with('{')).unwrap_or_default();
        let value: Value = serde_json::from_str(last).unwrap_or_else(|error| panic!("{name}: {error}: {last}"));
        let found: BTreeSet<String> = value.as_object().unwrap().keys().cloned().collect();
        let (_, keys) = documented
            .iter()
            .find(|(command, _)| command == name)
            .unwrap_or_else(|| panic!("{name} is not in docs/cli.md"));
        assert_eq!(&found, keys, "{name}: {last}");
        tried.insert(name.to_owned());
    };
    check("check", &place.good(&format!("caudal check --json {CIVIC_SAFETY}")));
    check("explain", &place.good(&format!("caudal explain --json {CIVIC_SAFETY}")));
    check("generate", &place.good("caudal generate --json --count 10 --output made.ndjson"));
    check("generate --url", &place.good("caudal generate --json --url http://localhost:5000 --count 10"));
    check("batch", &place.good(&format!("caudal batch --json --pipeline {CIVIC_SAFETY} --input {file} --output out")));
    check(
        "batch --dry-run",
        &place.good(&format!("caudal batch --json --dry-run --pipeline {CIVIC_SAFETY} --input {file}")),
    );
    check("tail", &place.good("caudal tail security.incident --json --from-beginning --count 2"));
    check("export", &place.good("caudal export --json --output job.events"));
    check("replay", &place.good("caudal replay --json --pipeline severities.yaml --from beginning"));
    check("doctor", &Place::new().good("caudal doctor --json"));
    check("dead-letters list", &place.good("caudal dead-letters list --json"));
    check("dead-letters show", &place.good("caudal dead-letters show --json 2"));
    check("dead-letters retry", &place.good("caudal dead-letters retry --json 2 --body mended.json"));
    check("dead-letters retry --reason", &place.good("caudal dead-letters retry --json --reason future"));
    check("dead-letters drop", &place.good("caudal dead-letters drop --json 3"));
    let (_dir, setup, _) = job.stop();
    check("verify", &verify(&setup.with("PIPELINES", root().join(CIVIC_SAFETY).to_str().unwrap())).1);
    let known: BTreeSet<String> = documented.iter().map(|(command, _)| command.clone()).collect();
    assert_eq!(tried, known);
}

/// docs/cli.md names every subcommand and every option, and the codes with their meanings.
#[test]
fn the_document_has_every_command_every_option_and_every_code() {
    let text = fs::read_to_string(root().join("docs/cli.md")).unwrap();
    let place = Place::new();
    let mut missing = Vec::new();
    for page in PAGES.iter().filter(|page| !page.path.is_empty()) {
        if !text.contains(&format!("`{}`", page.path)) {
            missing.push(format!("`{}`", page.path));
        }
        let help = place.good(&format!("caudal {} -h", page.path));
        let options = help.split_whitespace().filter(|word| word.starts_with("--") && word.len() > 2);
        let options = options.map(|word| word.trim_end_matches(|c: char| !c.is_ascii_alphanumeric()));
        missing.extend(
            options
                .filter(|option| *option != "--help" && !text.contains(&format!("`{option}")))
                .map(|option| format!("{}: {option}", page.path)),
        );
    }
    for (code, meaning) in page("").unwrap().exits {
        let row = format!("| {code} | {meaning} |");
        missing.extend((!text.contains(&row)).then_some(row));
    }
    assert!(missing.is_empty(), "docs/cli.md has not: {missing:#?}");
}
