//! Query strings and path segments, checked: an unknown name or a value that cannot be is refused, saying what is allowed.

use axum::extract::rejection::PathRejection;
use axum::extract::{Path, Query};
use hyper::Uri;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

use crate::core::time;
use crate::core::units::Micros;
use crate::web::problem::Problem;

/// All but what RFC 3986 calls unreserved, and the colon of times.
const ESCAPED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~').remove(b':');
/// Far more than any call has.
const PARAMS_MAX: usize = 64;

/// The parameters of one call, each name once.
pub struct Params(Vec<(String, String)>);

impl Params {
    /// `allowed` names them all; one that ends with a dot (`group.`) allows every name that begins so.
    pub fn of(uri: &Uri, allowed: &[&str]) -> Result<Self, Problem> {
        written_well(uri.query().unwrap_or_default())?;
        let Query(pairs) = Query::<Vec<(String, String)>>::try_from_uri(uri)
            .map_err(|_| Problem::bad_request("the query string cannot be read: write it as name=value&name=value"))?;
        if pairs.len() > PARAMS_MAX {
            return Err(Problem::bad_request(format!("more than {PARAMS_MAX} query parameters")));
        }
        for (at, (name, value)) in pairs.iter().enumerate() {
            let known = allowed.iter().any(|a| match a.strip_suffix('.') {
                None => name == a,
                Some(_) => name.strip_prefix(a).is_some_and(|key| !key.is_empty()),
            });
            if !known {
                let detail = if allowed.is_empty() {
                    format!("unknown query parameter {name:?}: this call has none")
                } else {
                    format!("unknown query parameter {name:?}: allowed are {}", list(allowed))
                };
                return Err(Problem::bad_request(detail));
            }
            if pairs.iter().take(at).any(|(earlier, _)| earlier == name) {
                return Err(Problem::bad_request(format!("query parameter {name:?} stands twice: give it once")));
            }
            if value.contains('\0') {
                return Err(Problem::bad_request(format!("query parameter {name:?} holds a NUL character")));
            }
        }
        Ok(Self(pairs))
    }

    /// For calls that have no parameters.
    pub fn none(uri: &Uri) -> Result<(), Problem> {
        Self::of(uri, &[]).map(|_| ())
    }

    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(n, _)| n == name).map(|(_, v)| v.as_str())
    }

    /// (rest of the name, value) of those whose name begins with `prefix`.
    pub fn with_prefix<'a>(&'a self, prefix: &'a str) -> impl Iterator<Item = (&'a str, &'a str)> {
        self.0.iter().filter_map(move |(n, v)| Some((n.strip_prefix(prefix)?, v.as_str())))
    }

    /// A whole number up to the largest that a store can hold.
    pub fn number(&self, name: &str) -> Result<Option<u64>, Problem> {
        let Some(text) = self.get(name) else { return Ok(None) };
        match text.parse::<u64>() {
            Ok(n) if i64::try_from(n).is_ok() => Ok(Some(n)),
            _ => {
                Err(Problem::bad_request(format!("{name}={text:?}: allowed is a whole number from 0 to {}", i64::MAX)))
            }
        }
    }

    /// `limit`, from 1 to `max`.
    pub fn limit(&self, default: u32, max: u32) -> Result<u32, Problem> {
        let Some(text) = self.get("limit") else { return Ok(default) };
        match text.parse::<u32>() {
            Ok(n) if (1..=max).contains(&n) => Ok(n),
            _ => Err(Problem::bad_request(format!("limit={text:?}: allowed is a whole number from 1 to {max}"))),
        }
    }

    pub fn time(&self, name: &str) -> Result<Option<Micros>, Problem> {
        let Some(text) = self.get(name) else { return Ok(None) };
        time::parse(text.as_bytes()).map(Some).ok_or_else(|| {
            Problem::bad_request(format!(
                "{name}={text:?}: allowed is an RFC 3339 time with its zone, as 2026-11-22T12:00:00Z (a + is written %2B)"
            ))
        })
    }

    pub fn boolean(&self, name: &str) -> Result<Option<bool>, Problem> {
        match self.get(name) {
            None => Ok(None),
            Some("true") => Ok(Some(true)),
            Some("false") => Ok(Some(false)),
            Some(text) => Err(Problem::bad_request(format!("{name}={text:?}: allowed are true and false"))),
        }
    }

    /// One of a few words.
    pub fn word<'a>(&'a self, name: &str, allowed: &[&str]) -> Result<Option<&'a str>, Problem> {
        match self.get(name) {
            Some(text) if !allowed.contains(&text) => {
                Err(Problem::bad_request(format!("{name}={text:?}: allowed are {}", list(allowed))))
            }
            found => Ok(found),
        }
    }
}

/// What is read would not be what was meant: a % that begins no escape would stand for itself, and bytes that are no text for a sign that nobody wrote.
fn written_well(query: &str) -> Result<(), Problem> {
    let mut parts = query.split('%');
    let mut bytes = parts.next().unwrap_or_default().as_bytes().to_vec();
    for part in parts {
        let digits = part.get(..2).filter(|digits| digits.bytes().all(|digit| digit.is_ascii_hexdigit()));
        let Some(byte) = digits.and_then(|digits| u8::from_str_radix(digits, 16).ok()) else {
            return Err(Problem::bad_request(
                "the query string has a % without two hexadecimal digits: a % itself is written %25",
            ));
        };
        bytes.push(byte);
        bytes.extend(part.bytes().skip(2));
    }
    match std::str::from_utf8(&bytes) {
        Ok(_) => Ok(()),
        Err(_) => Err(Problem::bad_request(
            "the query string is no UTF-8: escapes are written for the bytes of UTF-8, as %C3%A9 for é",
        )),
    }
}

/// The one segment that a route leaves open.
pub fn segment(path: Result<Path<String>, PathRejection>) -> Result<String, Problem> {
    match path {
        Ok(Path(text)) if !text.contains('\0') => Ok(text),
        _ => Err(Problem::bad_request("the path is no UTF-8 text without NUL")),
    }
}

/// `text` so that it may stand as a value in a query string.
pub fn escape(text: &str) -> String {
    utf8_percent_encode(text, ESCAPED).to_string()
}

fn list(names: &[&str]) -> String {
    names
        .iter()
        .map(|n| if n.ends_with('.') { format!("{n}KEY") } else { (*n).to_owned() })
        .collect::<Vec<_>>()
        .join(", ")
}
