//! Constant patterns: `LIKE`, `ILIKE` and regular expressions, compiled once. All are matched by `regex`, in time linear in the text.

use std::fmt;
use std::sync::Arc;

use regex::{Regex, RegexBuilder};

/// A compiled pattern takes at most so much memory; beyond, it is refused when the pipeline file is read.
const COMPILED_BYTES_MAX: usize = 1 << 20;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PatternKind {
    /// `%` is any text, `_` any character, `\` takes the next one literally; the whole text must match.
    Like,
    /// The same after both were put in small letters.
    CaselessLike,
    /// Matches if the expression is found anywhere.
    Regex,
}

/// A pattern and what it was compiled to. Two are equal if they were written the same.
#[derive(Clone)]
pub struct Pattern {
    kind: PatternKind,
    text: Arc<str>,
    regex: Arc<Regex>,
}

impl Pattern {
    /// # Errors
    /// Why it is no pattern, for people.
    pub fn new(kind: PatternKind, text: &str) -> Result<Self, String> {
        let translated = match kind {
            PatternKind::Like => like(text)?,
            PatternKind::CaselessLike => like(&text.to_lowercase())?,
            PatternKind::Regex => text.to_owned(),
        };
        let regex =
            RegexBuilder::new(&translated).size_limit(COMPILED_BYTES_MAX).dfa_size_limit(COMPILED_BYTES_MAX).build();
        let regex = regex.map_err(|error| match error {
            regex::Error::CompiledTooBig(_) => "the pattern is too large".to_owned(),
            // The parser draws the place over several lines; the last says what is wrong.
            other => other.to_string().lines().last().unwrap_or_default().trim_start_matches("error: ").to_owned(),
        })?;
        Ok(Self { kind, text: text.into(), regex: Arc::new(regex) })
    }

    #[must_use]
    pub fn kind(&self) -> PatternKind {
        self.kind
    }

    /// As it was written.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }

    pub(super) fn matches(&self, text: &str) -> bool {
        match self.kind {
            PatternKind::Like | PatternKind::Regex => self.regex.is_match(text),
            PatternKind::CaselessLike => self.regex.is_match(&text.to_lowercase()),
        }
    }
}

/// The regular expression of a LIKE pattern.
fn like(pattern: &str) -> Result<String, String> {
    let mut regex = String::from(r"(?s)\A");
    let mut characters = pattern.chars();
    let mut buffer = [0; 4];
    while let Some(character) = characters.next() {
        match character {
            '%' => regex.push_str(".*"),
            '_' => regex.push('.'),
            '\\' => {
                let Some(literal) = characters.next() else { return Err(r"the pattern ends with \".to_owned()) };
                regex.push_str(&regex::escape(literal.encode_utf8(&mut buffer)));
            }
            literal => regex.push_str(&regex::escape(literal.encode_utf8(&mut buffer))),
        }
    }
    regex.push_str(r"\z");
    Ok(regex)
}

impl PartialEq for Pattern {
    fn eq(&self, other: &Self) -> bool {
        (self.kind, &self.text) == (other.kind, &other.text)
    }
}

impl fmt::Debug for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}({:?})", self.kind, self.text)
    }
}
