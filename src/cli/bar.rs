//! How far something over a log has come: a bar on a terminal, lines elsewhere.

use std::io::{self, IsTerminal};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};

/// Where no terminal shows a bar, a line says so often how far it has come.
const SAY_EVERY: Duration = Duration::from_secs(5);

/// Counts events from an offset on.
pub struct Bar {
    from: u64,
    shown: Option<ProgressBar>,
    said: Instant,
}

impl Bar {
    pub fn new(from: u64) -> Self {
        let shown = io::stderr().is_terminal().then(|| {
            let style = ProgressStyle::with_template("{bar:30} {human_pos}/{human_len} events, {per_sec}, {eta} left");
            ProgressBar::no_length().with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()))
        });
        Self { from, shown, said: Instant::now() }
    }

    /// Those before `at` are done, of those before `end`.
    pub fn show(&mut self, at: u64, end: u64) {
        let (at, end) = (at.saturating_sub(self.from), end.saturating_sub(self.from));
        if let Some(bar) = &self.shown {
            bar.set_length(end);
            bar.set_position(at);
        } else if self.said.elapsed() >= SAY_EVERY {
            self.said = Instant::now();
            eprintln!("{at} of {end} events");
        }
    }
}
