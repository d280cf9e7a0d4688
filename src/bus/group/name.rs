//! Names of groups and members: they stand in paths, in the store and in metrics.

use std::fmt;
use std::sync::Arc;

/// A group's or a member's name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Name(Arc<str>);

/// What a name may be.
pub const NAME_FORM: &str =
    "1 to 100 letters, digits, dots, dashes and underscores of ASCII, the first a letter, a digit or an underscore";

const NAME_BYTES_MAX: usize = 100;

impl Name {
    /// As `NAME_FORM` says.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let inner = |b: u8| b.is_ascii_alphanumeric() || b"._-".contains(&b);
        let first = text.bytes().next()?;
        let fits = text.len() <= NAME_BYTES_MAX && text.bytes().all(inner) && !b".-".contains(&first);
        fits.then(|| Self(text.into()))
    }

    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}
