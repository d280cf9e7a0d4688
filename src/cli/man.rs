//! `caudal man`: manual pages, one a subcommand, made of what `--help` says.

use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use anyhow::Context;
use clap::Command;
use clap_mangen::Man;
use clap_mangen::roff::{Inline, Roff, bold, roman};

use crate::cli::exit::Exit;
use crate::cli::facts;
use crate::cli::help::{self, Page};

/// Prints a manual page, or writes all of them.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The subcommand whose page is printed, as `tail` or `dead-letters list`; none: the program's own
    #[arg(value_name = "SUBCOMMAND")]
    subcommand: Vec<String>,
    /// Write every page into this folder, which is made if it is missing: caudal.1, caudal-run.1, …
    #[arg(long, value_name = "DIR", conflicts_with = "subcommand")]
    output: Option<PathBuf>,
}

/// # Errors
/// If the output cannot be written.
pub fn run(args: Args) -> anyhow::Result<u8> {
    let mut command = help::command().version(facts::VERSION).disable_help_subcommand(true);
    command.build();
    if let Some(folder) = args.output {
        let unwritten = || format!("the pages cannot be written into {}", folder.display());
        fs::create_dir_all(&folder).and_then(|()| write_all(&command, "", &folder)).with_context(unwritten)?;
        return Ok(0);
    }
    let path = args.subcommand.join(" ");
    let Some((command, page)) = find(&command, &args.subcommand).zip(help::page(&path)) else {
        writeln!(io::stderr(), "caudal man: there is no subcommand {path:?}; caudal help lists them")?;
        return Ok(Exit::Usage as u8);
    };
    io::stdout().lock().write_all(&rendered(command, page)?)?;
    Ok(0)
}

fn find<'a>(command: &'a Command, path: &[String]) -> Option<&'a Command> {
    path.iter().try_fold(command, |command, name| command.get_subcommands().find(|within| within.get_name() == name))
}

fn write_all(command: &Command, path: &str, folder: &Path) -> io::Result<()> {
    if let Some(page) = help::page(path) {
        let name = format!("caudal {path}").trim_end().replace(' ', "-");
        fs::write(folder.join(name).with_extension("1"), rendered(command, page)?)?;
    }
    command
        .get_subcommands()
        .try_for_each(|within| write_all(within, format!("{path} {}", within.get_name()).trim_start(), folder))
}

fn rendered(command: &Command, page: &Page) -> io::Result<Vec<u8>> {
    let has_subcommands = command.has_subcommands();
    let name = format!("caudal {}", page.path).trim_end().replace(' ', "-");
    let source = format!("Caudal {}", facts::VERSION);
    let man = Man::new(command.clone()).title(name.to_uppercase()).source(source).manual("Caudal");
    let mut text = Vec::new();
    man.render_title(&mut text)?;
    man.render_name_section(&mut text)?;
    man.render_synopsis_section(&mut text)?;
    man.render_description_section(&mut text)?;
    man.render_options_section(&mut text)?;
    if has_subcommands {
        man.render_subcommands_section(&mut text)?;
    }
    let mut rest = Roff::new();
    rest.control("SH", ["EXIT STATUS"]);
    for (code, meaning) in page.exits {
        rest.control("TP", ["6"]);
        rest.text([bold(code.to_string())]);
        rest.text([roman(*meaning)]);
    }
    rest.control("SH", ["EXAMPLES"]);
    for (what, line) in page.examples {
        rest.control("PP", []);
        rest.text([roman(*what)]);
        rest.control("RS", ["4"]);
        rest.control("nf", []);
        rest.text([Inline::Roman((*line).to_owned())]);
        rest.control("fi", []);
        rest.control("RE", []);
    }
    rest.to_writer(&mut text)?;
    Ok(text)
}
