//! Bodies that are one JSON object, as the API's document says: no array that happens to have the members in their order, and a whole number however it is written.

use serde::de::{DeserializeOwned, Error};
use serde::{Deserialize, Deserializer};
use serde_json::{Map, Number, Value};

/// Up to here each whole number is a double of its own.
const EXACT_MAX: f64 = 9_007_199_254_740_992.0;

/// What the body says; or, for people, why it cannot be read.
pub fn read<T: DeserializeOwned>(body: &[u8]) -> Result<T, String> {
    if !body.trim_ascii_start().starts_with(b"{") {
        return Err("it does not begin with {".to_owned());
    }
    serde_json::from_slice(body).map_err(|error| error.to_string())
}

/// A member that is an object.
pub fn object<'de, D: Deserializer<'de>, T: DeserializeOwned>(from: D) -> Result<Option<T>, D::Error> {
    let members = Option::<Map<String, Value>>::deserialize(from)?;
    members.map(|members| serde_json::from_value(Value::Object(members))).transpose().map_err(D::Error::custom)
}

/// A whole number: `5.0` is one.
pub fn whole<'de, D: Deserializer<'de>, T: TryFrom<u64>>(from: D) -> Result<T, D::Error> {
    number(&Number::deserialize(from)?)
}

/// A whole number or null.
pub fn maybe_whole<'de, D: Deserializer<'de>, T: TryFrom<u64>>(from: D) -> Result<Option<T>, D::Error> {
    Option::<Number>::deserialize(from)?.as_ref().map(number).transpose()
}

fn number<T: TryFrom<u64>, E: Error>(number: &Number) -> Result<T, E> {
    let whole = |n: &f64| n.fract() == 0.0 && (0.0..=EXACT_MAX).contains(n);
    let found = number.as_u64().or_else(|| number.as_f64().filter(whole).map(|n| n as u64));
    let fits = found.and_then(|n| T::try_from(n).ok());
    fits.ok_or_else(|| E::custom(format!("{number} is not a whole number, from 0 on and of a size that fits here")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, PartialEq, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Body {
        #[serde(deserialize_with = "whole")]
        n: u32,
        #[serde(default, deserialize_with = "maybe_whole")]
        m: Option<u64>,
        #[serde(default, deserialize_with = "object")]
        inner: Option<Inner>,
    }

    #[derive(Debug, PartialEq, Deserialize)]
    struct Inner {
        x: bool,
    }

    #[test]
    fn objects_are_read_and_nothing_that_only_looks_like_one() {
        let check = |body: &str, expected: Result<(u32, Option<u64>, Option<bool>), &str>| {
            let found = read::<Body>(body.as_bytes()).map(|body| (body.n, body.m, body.inner.map(|inner| inner.x)));
            match (found, expected) {
                (Ok(found), Ok(expected)) => assert_eq!(found, expected, "{body}"),
                (Err(why), Err(says)) => assert!(why.contains(says), "{body}: {why}"),
                (found, expected) => panic!("{body}: {found:?}, not {expected:?}"),
            }
        };
        check("{\"n\": 5}", Ok((5, None, None)));
        check(" {\"n\": 5.0, \"m\": 18446744073709551615}", Ok((5, Some(u64::MAX), None)));
        check("{\"n\": 5e2, \"m\": null, \"inner\": {\"x\": true}}", Ok((500, None, Some(true))));
        check("[5]", Err("does not begin with {"));
        check("", Err("does not begin with {"));
        check("{\"n\": 5, \"inner\": [true]}", Err("sequence"));
        check("{\"n\": 5.5}", Err("5.5 is not a whole number"));
        check("{\"n\": -1}", Err("-1 is not a whole number"));
        check("{\"n\": 4294967296}", Err("4294967296 is not a whole number"));
        check("{\"n\": 1e300}", Err("is not a whole number"));
        check("{\"n\": \"5\"}", Err("invalid type"));
        check("{\"n\": 5, \"o\": 1}", Err("unknown field"));
        check("{}", Err("missing field"));
    }
}
