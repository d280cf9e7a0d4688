//! How far a batch is: a bar on a terminal, now and then a line elsewhere.

use std::io::IsTerminal;
use std::time::{Duration, Instant};

use indicatif::{HumanBytes, HumanDuration, ProgressBar, ProgressStyle};

use crate::cli::plural::count;
use crate::coordinator::batch::keep::Stand;

/// Between two lines.
const LINE_EVERY: Duration = Duration::from_secs(10);

pub struct Progress {
    started: Instant,
    total: u64,
    /// Before it was killed.
    read_before: u64,
    read: u64,
    events: u64,
    bar: Option<ProgressBar>,
    told: Instant,
}

impl Progress {
    /// Of a batch over so many bytes, which may have been begun before.
    pub fn new(total: u64, begun: Option<&Stand>) -> Self {
        let bar = std::io::stderr().is_terminal().then(|| {
            let style =
                ProgressStyle::with_template("{bar:30} {percent:>3} %  {bytes} of {total_bytes}  {msg}  {eta} left");
            ProgressBar::new(total).with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()))
        });
        let now = Instant::now();
        let read_before = begun.map_or(0, |stand| stand.read_bytes);
        Self { started: now, total, read_before, read: 0, events: 0, bar, told: now }
    }

    /// A round more is done.
    pub fn round(&mut self, read: u64, events: u64) {
        self.read += read;
        self.events += events;
        let seconds = self.started.elapsed().as_secs_f64();
        // A rate is shown in whole events.
        let rate = (self.events as f64 / seconds.max(1e-3)) as u64;
        if let Some(bar) = &self.bar {
            bar.set_position(self.read_before + self.read);
            bar.set_message(format!("{rate} events/s"));
        } else if self.told.elapsed() >= LINE_EVERY {
            self.told = Instant::now();
            let left =
                self.total.saturating_sub(self.read_before + self.read) as f64 * seconds / self.read.max(1) as f64;
            eprintln!(
                "{} of {}, {}, {rate} events/s, about {} left",
                HumanBytes(self.read_before + self.read),
                HumanBytes(self.total),
                count(self.events, "event"),
                HumanDuration(Duration::from_secs_f64(left))
            );
        }
    }

    /// Takes the bar away.
    pub fn finish(self) -> f64 {
        if let Some(bar) = self.bar {
            bar.finish_and_clear();
        }
        self.started.elapsed().as_secs_f64()
    }
}
