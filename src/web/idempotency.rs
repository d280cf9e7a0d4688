//! `Idempotency-Key` (IETF draft-ietf-httpapi-idempotency-key-header): a request that names itself is taken once, and is given the same answer when it comes again. What is
//! remembered, and where, is `ingest::keys`.

use axum::response::Response;
use hyper::StatusCode;
use hyper::header::{HeaderMap, HeaderName, HeaderValue};

use crate::core::keyed::KeyHash;
use crate::ingest::keys::{Answered, Known};
use crate::web::problem::Problem;

const KEY: HeaderName = HeaderName::from_static("idempotency-key");
/// Says that an answer was given before.
const REPLAYED: HeaderName = HeaderName::from_static("idempotent-replayed");
/// A key names a request and holds nothing else: a UUID has 36.
const KEY_BYTES_MAX: usize = 255;

/// The request's key, if it has one: a string of structured fields in its quotes, as the draft says, or the same without, as many clients send it.
///
/// # Errors
/// 400 where it is neither.
pub fn key(headers: &HeaderMap) -> Result<Option<KeyHash>, Problem> {
    let mut all = headers.get_all(KEY).iter();
    let Some(value) = all.next() else { return Ok(None) };
    if all.next().is_some() {
        return Err(malformed("the header stands twice"));
    }
    let value = value.as_bytes().trim_ascii();
    let key = match value {
        [b'"', rest @ ..] => quoted(rest).ok_or_else(|| malformed("the quotes do not end with it"))?,
        bare => bare.to_vec(),
    };
    let is_bare = !value.starts_with(b"\"");
    // A comma would be two keys, a semicolon begins parameters.
    let allowed = |byte: &u8| {
        if is_bare { byte.is_ascii_graphic() && !b",;\"\\".contains(byte) } else { (0x20..=0x7e).contains(byte) }
    };
    if key.is_empty() {
        return Err(malformed("it is empty"));
    }
    if key.len() > KEY_BYTES_MAX {
        return Err(malformed(&format!("it has {} characters, and {KEY_BYTES_MAX} are allowed", key.len())));
    }
    match std::str::from_utf8(&key).ok().filter(|key| key.as_bytes().iter().all(allowed)) {
        Some(key) => Ok(Some(KeyHash::of(key))),
        None => Err(malformed("it holds something else than visible ASCII characters")),
    }
}

/// What stands before the closing quote, which must be the last character.
fn quoted(rest: &[u8]) -> Option<Vec<u8>> {
    let mut key = Vec::with_capacity(rest.len());
    let mut bytes = rest.iter();
    loop {
        match bytes.next()? {
            b'"' => return bytes.as_slice().is_empty().then_some(key),
            b'\\' => key.push(*bytes.next().filter(|byte| matches!(byte, b'"' | b'\\'))?),
            byte => key.push(*byte),
        }
    }
}

fn malformed(why: &str) -> Problem {
    Problem::bad_request(format!(
        "the Idempotency-Key cannot be read: {why}. Send a quoted string such as \"8e03978e-40d5-43e8-bc93-6894a57f9324\", a new one for each request"
    ))
}

/// What was answered, or why nothing can be.
///
/// # Errors
/// 409, 422, 503.
pub fn answered(known: Known) -> Result<Answered, Problem> {
    match known {
        Known::Answered(answered) => Ok(answered),
        Known::InFlight => Err(Problem {
            retry_after: Some(1),
            ..Problem::new(
                StatusCode::CONFLICT,
                "the first request with this Idempotency-Key is being worked on: send it again, and it will be given the same answer",
            )
        }),
        Known::OtherBody => Err(Problem::new(
            StatusCode::UNPROCESSABLE_ENTITY,
            "this Idempotency-Key was another request's: a key is of one path and one body. Send this request with a key of its own",
        )),
        Known::Full(max) => Err(Problem::unavailable(
            format!(
                "IDEMPOTENCY_KEYS_MAX = {max} keys are remembered, and none is forgotten before IDEMPOTENCY_EXPIRY: raise the one or shorten the other. Nothing of \
                 this request was taken: send it again later, or without a key"
            ),
            30,
        )),
    }
}

/// Marks an answer that was given before.
pub fn replayed(mut response: Response) -> Response {
    response.headers_mut().insert(REPLAYED, HeaderValue::from_static("true"));
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_quoted_or_bare() {
        let of = |values: &[&[u8]]| {
            let mut headers = HeaderMap::new();
            for value in values {
                headers.append(KEY, HeaderValue::from_bytes(value).expect("a header's value"));
            }
            key(&headers).map_err(|problem| problem.detail)
        };
        let hash = |key: &str| Ok(Some(KeyHash::of(key)));
        let long = "k".repeat(256);
        assert_eq!(of(&[]), Ok(None));
        assert_eq!(of(&[b"\"8e03978e-40d5\""]), hash("8e03978e-40d5"));
        assert_eq!(of(&[b" 8e03978e-40d5 "]), hash("8e03978e-40d5"));
        assert_eq!(of(&[br#""a b\"\\c,;""#]), hash(r#"a b"\c,;"#));
        assert_eq!(of(&[&long.as_bytes()[1..]]), hash(&long[1..]));
        let cases: [(&[&[u8]], &str); 12] = [
            (&[b""], "empty"),
            (&[b"\"\""], "empty"),
            (&[b"a", b"a"], "twice"),
            (&[long.as_bytes()], "256 characters"),
            (&[b"\"a"], "quotes"),
            (&[b"\"a\";x=1"], "quotes"),
            (&[b"\"a\\b\""], "quotes"),
            (&[b"a,b"], "visible ASCII"),
            (&[b"a\"b"], "visible ASCII"),
            (&[b"a b"], "visible ASCII"),
            (&[b"\"\xc3\xa9\""], "visible ASCII"),
            (&[b"\"a\tb\""], "visible ASCII"),
        ];
        for (values, says) in cases {
            let found = of(values);
            assert!(found.as_ref().is_err_and(|why| why.contains(says)), "{values:?}: {found:?}");
        }
    }
}
