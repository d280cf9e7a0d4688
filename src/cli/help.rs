//! What every `--help` ends with, and what the man pages say too: exit codes and examples. A test runs each example.

use std::fmt::Write as _;

use clap::{Command, CommandFactory};

use crate::cli::{Cli, facts};

/// What a subcommand's help has beyond its arguments.
pub struct Page {
    /// The subcommand, and the one within it: `dead-letters list`. The program itself is the empty path.
    pub path: &'static str,
    /// Code and meaning.
    pub exits: &'static [(u8, &'static str)],
    /// Lines of a shell, with what they do.
    pub examples: &'static [(&'static str, &'static str)],
}

const DONE: (u8, &str) = (0, "done");
const USAGE: (u8, &str) = (2, "bad usage");
const USAGE_OR_FILE: (u8, &str) = (2, "bad usage, or a fault in a pipeline file");
const REFUSED: (u8, &str) = (65, "the job refuses what it is asked");
const NO_JOB: (u8, &str) = (69, "the job cannot be reached");
const OUTPUT: (u8, &str) = (74, "the output cannot be written");
const SETTINGS: (u8, &str) = (78, "bad configuration");

/// What -h ends with.
const SHORT: &str = "--help says more, with exit codes and examples.";

const OF_LETTERS: &[(u8, &str)] = &[DONE, USAGE, REFUSED, NO_JOB, OUTPUT, SETTINGS];

/// Every command that can be asked for help, in the order of `caudal help`.
pub const PAGES: [Page; 18] = [
    Page {
        path: "",
        exits: &[
            DONE,
            (2, "bad usage, or a fault in a pipeline file"),
            (65, "input that cannot be read, or that the job refuses"),
            (69, "the store, MPI or the job is not available"),
            (70, "a defect: the results are not the log's, or Caudal itself failed"),
            (74, "the log is damaged, or the disk fails"),
            (75, "try again: the same command may do better now"),
            (77, "a newer generation of the job writes to the store"),
            (78, "bad configuration"),
        ],
        examples: &[
            ("Look whether this machine has what a job needs", "caudal doctor"),
            ("A job of one process, for trying out; ./run_mpi.sh starts one of several ranks", "caudal run"),
            ("Help on a subcommand, with examples", "caudal help tail"),
        ],
    },
    Page {
        path: "run",
        exits: &[
            (0, "drained: a signal came, and all that was accepted is stored"),
            USAGE_OR_FILE,
            (69, "MPI is not available"),
            (74, "the log is damaged, or the disk fails"),
            (75, "try again (run_mpi.sh does)"),
            (77, "a newer generation of this job writes to the store"),
            (78, "bad configuration, or pipeline files that are not those the data is of"),
        ],
        examples: &[
            (
                "Two ranks on this machine; ./run_mpi.sh does it too, and starts again a job that dies",
                "mpirun -q -n 2 caudal run",
            ),
            (
                "Another application, on another port, as one process",
                "PIPELINES=pipelines/login_guard/pipeline.yaml HTTP_PORT=5001 caudal run",
            ),
            (
                "Start with pipeline files that were changed while the job was down",
                "mpirun -q -n 2 caudal run --accept-changes",
            ),
        ],
    },
    Page {
        path: "batch",
        exits: &[
            (0, "done, whatever events were refused: rejects.ndjson says which, and why"),
            USAGE_OR_FILE,
            (65, "an input that cannot be read at all"),
            (69, "the store or MPI is not available"),
            (74, "the results cannot be written"),
            (75, "stopped: the same command goes on from what it has kept"),
            (78, "bad configuration, or another batch writes there"),
        ],
        examples: &[
            (
                "Count the events of a file with two ranks; a table a window comes into results/",
                "mpirun -q -n 2 caudal batch --pipeline pipelines/civic_safety/pipeline.yaml --input pipelines/civic_safety/events.ndjson --output results",
            ),
            (
                "See what would be read, and what becomes of the first events",
                "caudal batch --dry-run --pipeline pipelines/civic_safety/pipeline.yaml --input 'pipelines/civic_safety/*.ndjson'",
            ),
            (
                "Parquet tables, and a summary that a program reads",
                "caudal batch --json --output-format parquet --pipeline pipelines/civic_safety/pipeline.yaml --input pipelines/civic_safety/events.ndjson --output tables",
            ),
        ],
    },
    Page {
        path: "verify",
        exits: &[
            (0, "identical"),
            USAGE_OR_FILE,
            (69, "the store is not available"),
            (70, "the store's results are not the log's"),
            (74, "the log is damaged"),
            (78, "bad configuration, a job runs there, or nothing is left to compare"),
        ],
        examples: &[
            ("Compute every row of the stopped job again, and compare", "caudal verify"),
            ("The same for a program", "caudal verify --json"),
        ],
    },
    Page {
        path: "check",
        exits: &[(0, "no fault, and all tests pass"), (2, "bad usage, a fault, or a test that fails"), OUTPUT],
        examples: &[
            ("Check a file and run its tests", "caudal check pipelines/civic_safety/pipeline.yaml"),
            ("The same for a program", "caudal check --json pipelines/civic_safety/pipeline.yaml"),
            ("For editors: what a pipeline file may have", "caudal check --schema > pipeline.schema.json"),
        ],
    },
    Page {
        path: "explain",
        exits: &[DONE, USAGE_OR_FILE, OUTPUT],
        examples: &[
            (
                "A file with every default, its plan and its SQL views",
                "caudal explain pipelines/civic_safety/pipeline.yaml",
            ),
            ("The same for a program", "caudal explain --json pipelines/civic_safety/pipeline.yaml"),
        ],
    },
    Page {
        path: "generate",
        exits: &[DONE, USAGE_OR_FILE, REFUSED, NO_JOB, OUTPUT],
        examples: &[
            (
                "A thousand events with faults in them, into a file",
                "caudal generate --count 1000 --seed 7 --duplicates 0.02 --invalid 0.01 --output events.ndjson",
            ),
            (
                "A load on a running job, 500 events a second",
                "caudal generate --url http://localhost:5000 --count 1000 --rate 500",
            ),
            (
                "One event of a topic, to be looked at",
                "caudal generate --pipeline pipelines/login_guard/pipeline.yaml --count 1 --topic login.attempt",
            ),
        ],
    },
    Page {
        path: "dead-letters",
        exits: OF_LETTERS,
        examples: &[
            ("What was refused by its schema, the newest first", "caudal dead-letters list --reason schema"),
            ("A letter, whole", "caudal dead-letters show 2"),
            (
                "Send a mended event in its place, and wait for its fate",
                "caudal dead-letters retry 2 --body mended.json",
            ),
        ],
    },
    Page {
        path: "dead-letters list",
        exits: OF_LETTERS,
        examples: &[
            ("The ten newest", "caudal dead-letters list --limit 10"),
            ("One JSON object a line", "caudal dead-letters list --json --topic security.incident --state all"),
        ],
    },
    Page {
        path: "dead-letters show",
        exits: OF_LETTERS,
        examples: &[
            ("The letter of this offset", "caudal dead-letters show 3"),
            ("Its event alone, to be mended", "caudal dead-letters show 3 --json"),
        ],
    },
    Page {
        path: "dead-letters retry",
        exits: OF_LETTERS,
        examples: &[
            ("As it is, after the pipeline was changed", "caudal dead-letters retry 4"),
            ("With a mended event in its place", "caudal dead-letters retry 5 --body mended.json"),
            ("All of a reason", "caudal dead-letters retry --reason future"),
        ],
    },
    Page {
        path: "dead-letters drop",
        exits: OF_LETTERS,
        examples: &[
            ("Throw one away", "caudal dead-letters drop 6"),
            ("Throw several away", "caudal dead-letters drop 7 8"),
        ],
    },
    Page {
        path: "tail",
        exits: &[
            (0, "as many as --count, Ctrl-C, or nobody reads the output any more"),
            USAGE,
            REFUSED,
            NO_JOB,
            OUTPUT,
        ],
        examples: &[
            ("The first ten events that are retained", "caudal tail security.incident --from-beginning --count 10"),
            (
                "Share the events with all others who name this group",
                "caudal tail security.incident --group archive --count 5",
            ),
            (
                "With offsets, from a time on",
                "caudal tail security.incident --json --from 2026-11-22T12:00:00Z --count 3",
            ),
        ],
    },
    Page {
        path: "export",
        exits: &[DONE, USAGE, REFUSED, NO_JOB, OUTPUT, SETTINGS],
        examples: &[
            ("All events that are retained", "caudal export --output job.events.zst"),
            ("A part of them", "caudal export --from 10 --until 20 --output part.events"),
        ],
    },
    Page {
        path: "replay",
        exits: &[DONE, USAGE_OR_FILE, REFUSED, NO_JOB, OUTPUT, SETTINGS],
        examples: &[
            (
                "A new pipeline over all that the log still has",
                "caudal replay --pipeline severities.yaml --from beginning",
            ),
            (
                "Over what was taken in since a time",
                "caudal replay --json --pipeline recent.yaml --from 2026-11-22T12:00:00Z",
            ),
        ],
    },
    Page {
        path: "doctor",
        exits: &[
            (0, "no problem (perhaps warnings)"),
            USAGE,
            (69, "the only problems are with MPI, the store or the job: they may pass"),
            OUTPUT,
            (78, "a problem that stays until it is cured"),
        ],
        examples: &[
            ("Look at everything that a job here would need", "caudal doctor"),
            ("The same for a program", "caudal doctor --json"),
            ("With other settings", "DATA_DIR=/var/tmp/caudal HTTP_PORT=5001 caudal doctor"),
        ],
    },
    Page {
        path: "completions",
        exits: &[DONE, USAGE, OUTPUT],
        examples: &[
            ("In this bash", "source <(caudal completions bash)"),
            (
                "In every bash from now on",
                "mkdir -p ~/.local/share/bash-completion/completions && caudal completions bash > ~/.local/share/bash-completion/completions/caudal",
            ),
        ],
    },
    Page {
        path: "man",
        exits: &[DONE, USAGE, OUTPUT],
        examples: &[
            ("Read a page", "caudal man tail | man -l -"),
            ("All pages, for man caudal and man caudal-tail", "caudal man --output ~/.local/share/man/man1"),
        ],
    },
];

/// The page of a path.
pub fn page(path: &str) -> Option<&'static Page> {
    PAGES.iter().find(|page| page.path == path)
}

/// The command line with its help.
pub fn command() -> Command {
    with_pages(Cli::command().version(facts::version()), "")
}

fn with_pages(mut command: Command, path: &str) -> Command {
    if let Some(page) = page(path) {
        command = command.after_help(SHORT).after_long_help(page.text());
    }
    let names: Vec<String> = command.get_subcommands().map(|within| within.get_name().to_owned()).collect();
    for name in names {
        let path = format!("{path} {name}").trim_start().to_owned();
        command = command.mut_subcommand(name, |within| with_pages(within, &path));
    }
    command
}

impl Page {
    fn text(&self) -> String {
        let mut text = "Exit codes:\n".to_owned();
        for (code, meaning) in self.exits {
            // A String takes all that is written; likewise below.
            let _ = writeln!(text, "  {code:<3} {meaning}");
        }
        text.push_str("\nExamples:\n");
        for (at, (what, line)) in self.examples.iter().enumerate() {
            let between = if at == 0 { "" } else { "\n" };
            let _ = writeln!(text, "{between}  # {what}\n  {line}");
        }
        text.truncate(text.trim_end().len());
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn paths(command: &Command, path: &str, found: &mut Vec<String>) {
        found.push(path.to_owned());
        for within in command.get_subcommands() {
            paths(within, format!("{path} {}", within.get_name()).trim_start(), found);
        }
    }

    #[test]
    fn every_command_has_its_page_with_two_or_three_examples() {
        let command = command();
        let mut found = Vec::new();
        paths(&command, "", &mut found);
        let known: Vec<&str> = PAGES.iter().map(|page| page.path).collect();
        assert_eq!(found, known);
        for page in PAGES {
            assert!((2..=3).contains(&page.examples.len()), "{:?}", page.path);
            assert!(page.exits.is_sorted_by_key(|(code, _)| code), "{:?}", page.path);
            assert!(page.exits.iter().any(|(code, _)| *code == 0), "{:?}", page.path);
            for (_, line) in page.examples {
                assert!(line.contains("caudal "), "{line}");
            }
        }
        command.debug_assert();
    }
}
