//! What the process says of itself, on stderr: one line an event, as text or as JSON, with the rank, and the generation and epoch where they are known.
//! Whatever is in it, a line stays one line and commands no terminal.

use std::fmt::{self, Write};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use serde_json::{Map, Value, json};
use tracing::field::{Field, Visit};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::LevelFilter;
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields};
use tracing_subscriber::registry::LookupSpan;

use crate::clock::{Clock, SystemClock};
use crate::core::time;
use crate::core::units::{Epoch, Generation};

/// Characters of a message or field that are shown: what is logged may come from outside.
const TEXT_CHARS_MAX: usize = 4_096;
/// No rank: the process is none, or not yet.
const NO_RANK: u64 = u64::MAX;

static RANK: AtomicU64 = AtomicU64::new(NO_RANK);
static IS_JSON: AtomicBool = AtomicBool::new(false);
static STAND: OnceLock<Box<Stand>> = OnceLock::new();

/// Where the job stands, if that is known. It must not log.
pub type Stand = dyn Fn() -> Option<(Generation, Epoch)> + Send + Sync;

/// Begins to log. RUST_LOG chooses how much; unless it says otherwise, what is worth knowing of a job in order.
pub fn begin(is_json: bool) {
    IS_JSON.store(is_json, Ordering::Relaxed);
    let filter = EnvFilter::builder().with_default_directive(LevelFilter::INFO.into()).from_env_lossy();
    let lines = Lines { is_json };
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).event_format(lines).init();
}

/// From now on each line names this rank.
pub fn of_rank(rank: usize) {
    RANK.store(rank as u64, Ordering::Relaxed);
}

/// From now on each line names where the job stands.
pub fn of_job(stand: Box<Stand>) {
    // A process runs one job.
    let _ = STAND.set(stand);
}

/// The last word of a process that cannot go on, for people; it may have several lines.
pub fn last_word(why: &dyn fmt::Display) {
    if IS_JSON.load(Ordering::Relaxed) {
        tracing::error!("{why}");
    } else {
        let why = why.to_string();
        let lines: Vec<String> = why.lines().map(plain).collect();
        eprintln!("caudal: {}", lines.join("\n"));
    }
}

/// Whether people do not read this themselves.
pub fn is_json() -> bool {
    IS_JSON.load(Ordering::Relaxed)
}

struct Lines {
    is_json: bool,
}

/// What a line says beside its event.
#[derive(Clone, Copy, Debug)]
struct Context {
    rank: Option<u64>,
    stand: Option<(Generation, Epoch)>,
}

/// An event's message and fields.
#[derive(Default)]
struct Said {
    message: String,
    fields: Map<String, Value>,
}

impl Visit for Said {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        let text = format!("{value:?}");
        if field.name() == "message" {
            self.message = text;
        } else {
            self.fields.insert(field.name().to_owned(), text.into());
        }
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.record_debug(field, &format_args!("{value}"));
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.fields.insert(field.name().to_owned(), value.into());
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.fields.insert(field.name().to_owned(), value.into());
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.fields.insert(field.name().to_owned(), value.into());
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        self.fields.insert(field.name().to_owned(), value.into());
    }
}

impl<S, N> FormatEvent<S, N> for Lines
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(&self, _: &FmtContext<'_, S, N>, mut writer: Writer<'_>, event: &Event<'_>) -> fmt::Result {
        let mut said = Said::default();
        event.record(&mut said);
        let at = time::format(SystemClock::default().unix().micros());
        let rank = Some(RANK.load(Ordering::Relaxed)).filter(|rank| *rank != NO_RANK);
        let context = Context { rank, stand: STAND.get().and_then(|stand| stand()) };
        let line = if self.is_json { json_line } else { text_line };
        writeln!(writer, "{}", line(&at, *event.metadata().level(), context, said))
    }
}

fn json_line(at: &str, level: Level, context: Context, said: Said) -> String {
    let mut line = Map::new();
    line.insert("time".to_owned(), at.into());
    line.insert("level".to_owned(), level.as_str().into());
    line.extend(context.rank.map(|rank| ("rank".to_owned(), rank.into())));
    if let Some((generation, epoch)) = context.stand {
        line.extend([("generation".to_owned(), generation.0.into()), ("epoch".to_owned(), epoch.0.into())]);
    }
    line.insert("message".to_owned(), cut(&said.message).into());
    if !said.fields.is_empty() {
        let short = |value: Value| if let Value::String(text) = value { json!(cut(&text)) } else { value };
        let fields: Map<String, Value> = said.fields.into_iter().map(|(name, value)| (name, short(value))).collect();
        line.insert("fields".to_owned(), fields.into());
    }
    // Characters that JSON may hold as they are and that are not to be shown stand in strings alone.
    let mut safe = String::new();
    for c in Value::Object(line).to_string().chars() {
        if is_shown(c) {
            safe.push(c);
        } else {
            let mut units = [0; 2];
            // A string takes whatever is written.
            for unit in c.encode_utf16(&mut units) {
                let _ = write!(safe, "\\u{unit:04x}");
            }
        }
    }
    safe
}

fn text_line(at: &str, level: Level, context: Context, said: Said) -> String {
    let mut line = format!("{at} {level:>5}");
    let mut add = |word: String| {
        line.push(' ');
        line.push_str(&word);
    };
    if let Some(rank) = context.rank {
        add(format!("rank={rank}"));
    }
    if let Some((generation, epoch)) = context.stand {
        add(format!("generation={generation} epoch={epoch}"));
    }
    add(plain(&cut(&said.message)));
    for (name, value) in said.fields {
        match value {
            Value::String(text) => add(format!("{name}={}", plain(&cut(&text)))),
            other => add(format!("{name}={other}")),
        }
    }
    line
}

/// On one line, without a character that does more than be shown: what may be printed of a text from outside.
#[must_use]
pub fn plain(text: &str) -> String {
    let mut plain = String::with_capacity(text.len());
    for c in text.chars() {
        if is_shown(c) {
            plain.push(c);
        } else {
            plain.extend(c.escape_default());
        }
    }
    plain
}

fn cut(text: &str) -> String {
    match text.char_indices().nth(TEXT_CHARS_MAX) {
        Some((end, _)) => format!("{}…", text.get(..end).unwrap_or_default()),
        None => text.to_owned(),
    }
}

/// Not: controls (line ends and ANSI's escapes among them), what else ends lines, and what turns the direction of the text after it.
fn is_shown(c: char) -> bool {
    let turns = matches!(c, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    !(c.is_control() || turns || matches!(c, '\u{2028}' | '\u{2029}'))
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOSTILE: &str = "a\nb\r\x1b[31mred\u{9b}1m\u{2028}c\u{202e}d\"e\\f\0";

    fn said() -> Said {
        let fields = [("why".to_owned(), json!(HOSTILE)), ("epoch".to_owned(), json!(7))];
        Said { message: HOSTILE.to_owned(), fields: fields.into_iter().collect() }
    }

    const CONTEXT: Context = Context { rank: Some(2), stand: Some((Generation(3), Epoch(9))) };

    #[test]
    fn a_line_of_json_says_all_and_shows_nothing_but_text() {
        let line = json_line("2026-11-28T10:00:00Z", Level::WARN, CONTEXT, said());
        assert!(line.chars().all(is_shown), "{line:?}");
        let read: Value = serde_json::from_str(&line).unwrap();
        let expected = json!({
            "time": "2026-11-28T10:00:00Z", "level": "WARN", "rank": 2, "generation": 3, "epoch": 9,
            "message": HOSTILE, "fields": {"why": HOSTILE, "epoch": 7},
        });
        assert_eq!(read, expected);
    }

    #[test]
    fn a_line_of_text_is_one_line() {
        let line = text_line("2026-11-28T10:00:00Z", Level::WARN, CONTEXT, said());
        assert!(line.chars().all(is_shown), "{line:?}");
        let shown = "a\\nb\\r\\u{1b}[31mred\\u{9b}1m\\u{2028}c\\u{202e}d\"e\\f\\u{0}";
        assert_eq!(line, format!("2026-11-28T10:00:00Z  WARN rank=2 generation=3 epoch=9 {shown} epoch=7 why={shown}"));
        let none = Context { rank: None, stand: None };
        let line = text_line("2026-11-28T10:00:00Z", Level::INFO, none, Said::default());
        assert_eq!(line, "2026-11-28T10:00:00Z  INFO ");
    }

    #[test]
    fn a_long_text_is_cut() {
        let said = Said { message: "ä".repeat(10_000), fields: Map::new() };
        let line = text_line("", Level::INFO, Context { rank: None, stand: None }, said);
        assert_eq!(line.matches('ä').count(), TEXT_CHARS_MAX);
    }
}
