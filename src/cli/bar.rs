//! How far something over many events has come: a bar on a terminal, lines elsewhere.

use std::io::{self, IsTerminal};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};

use crate::cli::plural::count;

/// Where no terminal shows a bar, a line says so often how far it has come.
const SAY_EVERY: Duration = Duration::from_secs(5);

/// Counts events from an offset on. The bar is gone when this is dropped.
pub struct Bar {
    from: u64,
    shown: Shown,
}

enum Shown {
    Bar(ProgressBar),
    /// When a line was last said.
    Lines(Instant),
    Nothing,
}

impl Bar {
    pub fn new(from: u64) -> Self {
        if !io::stderr().is_terminal() {
            return Self { from, shown: Shown::Lines(Instant::now()) };
        }
        let style = ProgressStyle::with_template("{bar:30} {human_pos}/{human_len} events, {per_sec}, {eta} left");
        let style = style.unwrap_or_else(|_| ProgressStyle::default_bar());
        Self { from, shown: Shown::Bar(ProgressBar::no_length().with_style(style)) }
    }

    /// Where a terminal shows something else.
    pub fn hidden() -> Self {
        Self { from: 0, shown: Shown::Nothing }
    }

    /// Those before `at` are done, of those before `end`.
    pub fn show(&mut self, at: u64, end: u64) {
        let (at, end) = (at.saturating_sub(self.from), end.saturating_sub(self.from));
        match &mut self.shown {
            Shown::Bar(bar) => {
                bar.set_length(end);
                bar.set_position(at);
            }
            Shown::Lines(said) if said.elapsed() >= SAY_EVERY => {
                *said = Instant::now();
                eprintln!("{at} of {}", count(end, "event"));
            }
            Shown::Lines(_) | Shown::Nothing => {}
        }
    }
}

impl Drop for Bar {
    fn drop(&mut self) {
        if let Shown::Bar(bar) = &self.shown {
            bar.finish_and_clear();
        }
    }
}
