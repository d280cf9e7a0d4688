//! Who may do what: tokens with roles, from `API_TOKENS` and the file that `API_TOKENS_FILE` names. No token is ever shown.

use std::fs::File;
use std::io::{self, Read};

use crate::config::given::Given;
use crate::config::listed;

/// A token is sent in a header.
const TOKEN_BYTES_MAX: usize = 1_024;
/// Each request's token is compared with all.
const TOKENS_MAX: usize = 1_000;
/// Of the file: all tokens at their longest, and as much again for comments.
const FILE_BYTES_MAX: usize = 2 * TOKENS_MAX * TOKEN_BYTES_MAX;

/// What a call needs of who makes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Reads.
    Viewer,
    /// Sends events, and takes part in consumer groups.
    Sender,
    /// Does everything.
    Operator,
}

/// What one token allows. One that stands in the list several times allows all that is said there.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Roles(u8);

/// Bearer tokens; none: nobody is asked for one (loopback only).
#[derive(Clone, Default)]
pub struct Tokens(Vec<(String, Roles)>);

impl Role {
    const ALL: [Self; 3] = [Self::Viewer, Self::Sender, Self::Operator];

    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Viewer => "viewer",
            Self::Sender => "sender",
            Self::Operator => "operator",
        }
    }

    fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|role| role.name() == name)
    }
}

impl Roles {
    #[must_use]
    pub fn of(role: Role) -> Self {
        match role {
            Role::Viewer => Self(1),
            Role::Sender => Self(2),
            Role::Operator => Self(1 | 2 | 4),
        }
    }

    /// As the bits of one byte, so that they can be joined without a branch.
    #[must_use]
    pub fn bits(self) -> u8 {
        self.0
    }

    #[must_use]
    pub fn from_bits(bits: u8) -> Self {
        Self(bits & Self::of(Role::Operator).0)
    }

    #[must_use]
    pub fn is_none(self) -> bool {
        self.0 == 0
    }

    #[must_use]
    pub fn allow(self, role: Role) -> bool {
        match role {
            Role::Viewer => self.0 & 1 != 0,
            Role::Sender => self.0 & 2 != 0,
            Role::Operator => self.0 & 4 != 0,
        }
    }
}

impl std::fmt::Debug for Tokens {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} tokens", self.0.len())
    }
}

impl Tokens {
    /// Each as it stands in `API_TOKENS`.
    ///
    /// # Errors
    /// What is allowed, without showing what was given.
    pub fn of<'a>(entries: impl IntoIterator<Item = &'a str>) -> Result<Self, String> {
        let tokens: Vec<_> = entries.into_iter().map(entry).collect::<Result<_, _>>()?;
        if tokens.len() > TOKENS_MAX {
            return Err(format!("{} tokens; at most {TOKENS_MAX} are allowed", tokens.len()));
        }
        Ok(Self(tokens))
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub fn iter(&self) -> impl Iterator<Item = (&str, Roles)> {
        self.0.iter().map(|(token, roles)| (token.as_str(), *roles))
    }

    /// The one that a subcommand on this machine sends: an operator's, if there is one.
    #[must_use]
    pub fn own(&self) -> Option<&str> {
        let operator = self.iter().find(|(_, roles)| roles.allow(Role::Operator));
        operator.or_else(|| self.iter().next()).map(|(token, _)| token)
    }
}

/// `TOKEN` or `ROLE:TOKEN`. What stands before a colon is always a role: a role that is misspelt must not make an operator's token.
fn entry(text: &str) -> Result<(String, Roles), String> {
    let (role, token) = match text.split_once(':') {
        None => (Role::Operator, text),
        Some((role, token)) => {
            let role = Role::named(role).ok_or(
                "before a colon stands the role: viewer, sender or operator (operator:TOKEN where the token itself holds one)",
            )?;
            (role, token)
        }
    };
    if token.is_empty() || token.len() > TOKEN_BYTES_MAX || !token.bytes().all(|b| b.is_ascii_graphic()) {
        return Err(format!(
            "a token is 1 to {TOKEN_BYTES_MAX} visible ASCII characters without blanks; tokens are parted by commas"
        ));
    }
    Ok((token.to_owned(), Roles::of(role)))
}

pub(super) fn tokens(given: &mut Given) -> Tokens {
    let mut tokens = taken(given, "API_TOKENS", listed(given.text("API_TOKENS").unwrap_or_default()));
    if let Some(path) = given.text("API_TOKENS_FILE") {
        match read(path) {
            Ok(text) => {
                let lines = text.lines().map(str::trim).filter(|line| !line.starts_with('#'));
                let of_file = taken(given, "API_TOKENS_FILE", lines.flat_map(listed));
                if of_file.is_empty() {
                    given.refuse(format!("API_TOKENS_FILE={path:?} holds no token: one a line is allowed"));
                }
                tokens.0.extend(of_file.0);
            }
            Err(error) => given.refuse(format!("API_TOKENS_FILE={path:?} cannot be read: {error}")),
        }
    }
    tokens
}

fn taken<'a>(given: &mut Given, name: &str, entries: impl Iterator<Item = &'a str>) -> Tokens {
    Tokens::of(entries).unwrap_or_else(|why| {
        // The value is secret even where it is wrong.
        given.refuse(format!("{name}: {why}"));
        Tokens::default()
    })
}

fn read(path: &str) -> io::Result<String> {
    let mut text = String::new();
    File::open(path)?.take(FILE_BYTES_MAX as u64 + 1).read_to_string(&mut text)?;
    if text.len() > FILE_BYTES_MAX {
        return Err(io::Error::other(format!("it has more than {FILE_BYTES_MAX} bytes")));
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_is_a_token_or_a_role_and_a_token() {
        for (entry, expected) in [
            ("plain", Some(("plain", Role::Operator))),
            ("viewer:eyes", Some(("eyes", Role::Viewer))),
            ("sender:hands", Some(("hands", Role::Sender))),
            ("operator:with:colons", Some(("with:colons", Role::Operator))),
            ("viwer:eyes", None),
            ("Viewer:eyes", None),
            (":eyes", None),
            ("viewer:", None),
            ("two words", None),
            ("ñ", None),
        ] {
            let read = Tokens::of([entry]).ok().map(|tokens| tokens.0);
            let expected = expected.map(|(token, role)| vec![(token.to_owned(), Roles::of(role))]);
            assert_eq!(read, expected, "{entry}");
        }
        let error = Tokens::of(["hush:hush"]).unwrap_err();
        assert!(error.contains("viewer, sender or operator") && !error.contains("hush"), "{error}");
        assert!(Tokens::of(["x".repeat(TOKEN_BYTES_MAX + 1).as_str()]).is_err());
        assert!(Tokens::of(vec!["x"; TOKENS_MAX + 1]).is_err());
    }

    #[test]
    fn roles_allow_what_is_theirs() {
        let allowed = |roles: Roles| Role::ALL.map(|role| roles.allow(role));
        assert_eq!(allowed(Roles::of(Role::Viewer)), [true, false, false]);
        assert_eq!(allowed(Roles::of(Role::Sender)), [false, true, false]);
        assert_eq!(allowed(Roles::of(Role::Operator)), [true, true, true]);
        let both = Roles::from_bits(Roles::of(Role::Viewer).bits() | Roles::of(Role::Sender).bits());
        assert_eq!(allowed(both), [true, true, false], "a token named twice has both roles, and no third");
        assert!(Roles::default().is_none());
    }

    #[test]
    fn a_subcommand_sends_an_operators_token_if_there_is_one() {
        let own = |entries: &[&str]| Tokens::of(entries.iter().copied()).unwrap().own().map(str::to_owned);
        assert_eq!(own(&["viewer:v", "o", "p"]).as_deref(), Some("o"));
        assert_eq!(own(&["sender:s", "viewer:v"]).as_deref(), Some("s"));
        assert_eq!(own(&[]), None);
    }
}
