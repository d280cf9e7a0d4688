//! CloudEvents 1.0 over HTTP: structured, batched and binary requests, each made into the JSON format, which is what stands in the log. So a pipeline file reads
//! `id`, `source`, `type`, `time` and `data.x` of all three alike.
//!
//! One event that is none refuses its request. In a batch it goes into the log as what it is not: an array of why, and the event as it came, which becomes a
//! dead letter wherever the log is read.

use std::borrow::Cow;
use std::collections::BTreeMap;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use hyper::StatusCode;
use hyper::header::{CONTENT_TYPE, HeaderMap, HeaderValue};
use percent_encoding::percent_decode;
use sonic_rs::LazyValue;

use crate::core::json::{Object, string};
use crate::ingest::lines::{CutError, Form, Lines, compact, cut};
use crate::web::problem::Problem;

const STRUCTURED: &str = "application/cloudevents+json";
const BATCHED: &str = "application/cloudevents-batch+json";
const PREFIX: &str = "ce-";
/// Events of a batch that are none, which go into the log each with its reason: so they may make a batch longer by a MiB or two.
const MARKED_MAX: usize = 10_000;
/// Characters of a wrong value that are shown.
const SHOWN_MAX: usize = 40;
/// What every event has.
const REQUIRED: [&str; 4] = ["specversion", "id", "source", "type"];
/// The same in headers; one of them makes a request a CloudEvent.
const REQUIRED_HEADERS: [&str; 4] = ["ce-specversion", "ce-id", "ce-source", "ce-type"];

/// How a request carries events.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    Binary,
    Structured,
    Batched,
}

impl Mode {
    /// None: the request has no CloudEvents.
    ///
    /// # Errors
    /// 415 where they are in a format other than JSON.
    pub fn of(headers: &HeaderMap) -> Result<Option<Self>, Problem> {
        match media_type(headers).as_deref() {
            Some(STRUCTURED) => Ok(Some(Self::Structured)),
            Some(BATCHED) => Ok(Some(Self::Batched)),
            Some(other) if other.starts_with("application/cloudevents") => Err(Problem::new(
                StatusCode::UNSUPPORTED_MEDIA_TYPE,
                format!("CloudEvents are taken in their JSON format: send {STRUCTURED}, {BATCHED}, or the binary mode"),
            )),
            _ => Ok(REQUIRED_HEADERS.iter().any(|name| headers.contains_key(*name)).then_some(Self::Binary)),
        }
    }

    /// The request's events, each a line.
    ///
    /// # Errors
    /// 400 where they are none, 413 where one is too large.
    pub fn lines(self, headers: &HeaderMap, body: Bytes, event_bytes_max: usize) -> Result<Lines, Problem> {
        match self {
            Self::Binary => binary(headers, &body, event_bytes_max),
            Self::Structured => structured(headers, body, event_bytes_max),
            Self::Batched => batched(headers, body, event_bytes_max),
        }
    }
}

/// What stands before the parameters of Content-Type.
fn media_type(headers: &HeaderMap) -> Option<String> {
    let kind = headers.get(CONTENT_TYPE)?.to_str().unwrap_or("?");
    Some(kind.split(';').next().unwrap_or_default().trim().to_ascii_lowercase())
}

fn bad(why: impl std::fmt::Display) -> Problem {
    Problem::bad_request(format!("this is no CloudEvent: {why}. Nothing of this request was taken"))
}

fn structured(headers: &HeaderMap, body: Bytes, event_bytes_max: usize) -> Result<Lines, Problem> {
    let is_object = body.trim_ascii_start().starts_with(b"{");
    let lines = cut(body, Form::Json, event_bytes_max)?;
    if !is_object || lines.count != 1 {
        return Err(bad(format!("{STRUCTURED} is one JSON object; several are an array, sent as {BATCHED}")));
    }
    if let Some(why) = fault(&lines.bytes) {
        return Err(bad(why));
    }
    let given = attributes(headers)?;
    let members = members(&lines.bytes).map_err(bad)?;
    for (name, value) in given {
        // A header may say again what the event says; numbers and truth values it says as they are written.
        let same = |json: &LazyValue| json.as_raw_str() == value || text(json).is_some_and(|text| text == value);
        if !members.iter().any(|(of, json)| *of == name && same(json)) {
            return Err(bad(format!(
                "the header {PREFIX}{name} says {value:?}, and the event in the body does not: leave the header out"
            )));
        }
    }
    Ok(lines)
}

fn batched(headers: &HeaderMap, body: Bytes, event_bytes_max: usize) -> Result<Lines, Problem> {
    if let Some((name, _)) = attributes(headers)?.first_key_value() {
        return Err(bad(format!("the header {PREFIX}{name} is of one event, and the body a batch: leave it out")));
    }
    if !body.trim_ascii_start().starts_with(b"[") {
        return Err(bad(format!("{BATCHED} is a JSON array; a single event is sent as {STRUCTURED}")));
    }
    let lines = cut(body, Form::Json, event_bytes_max)?;
    let each = || lines.bytes.split_inclusive(|byte| *byte == b'\n');
    let Some(first) = each().position(|line| fault(line).is_some()) else { return Ok(lines) };
    let mut marked = Vec::with_capacity(lines.bytes.len() + 200);
    let mut count = 0;
    for (number, line) in each().enumerate() {
        match (number >= first).then(|| fault(line)).flatten() {
            None => marked.extend_from_slice(line),
            Some(why) => {
                count += 1;
                if count > MARKED_MAX {
                    return Err(Problem::bad_request(format!(
                        "more than {MARKED_MAX} events of this batch are no CloudEvents; the newest: {why}. Nothing of this request was taken"
                    )));
                }
                let begin = marked.len();
                marked.push(b'[');
                marked.extend_from_slice(string(&format!("no CloudEvent: {why}")).as_bytes());
                marked.push(b',');
                marked.extend_from_slice(line.trim_ascii_end());
                marked.push(b']');
                let bytes = marked.len() - begin;
                if bytes > event_bytes_max {
                    return Err(CutError::TooLong { number: number as u64, bytes, max: event_bytes_max }.into());
                }
                marked.push(b'\n');
            }
        }
    }
    Ok(Lines { bytes: marked.into(), count: lines.count })
}

fn binary(headers: &HeaderMap, body: &[u8], event_bytes_max: usize) -> Result<Lines, Problem> {
    let attributes = attributes(headers)?;
    let mut event = Object::new();
    for name in REQUIRED {
        let value = attributes.get(name).map(String::as_str);
        if let Some(why) = required(name, value) {
            return Err(bad(why));
        }
        event.member(name, string(value.unwrap_or_default()));
    }
    for (name, value) in attributes.iter().filter(|(name, _)| !REQUIRED.contains(&name.as_str())) {
        event.member(name, string(value));
    }
    if let Some(kind) = headers.get(CONTENT_TYPE) {
        let kind = kind.to_str().map_err(|_| bad("Content-Type is no ASCII text"))?;
        event.member("datacontenttype", string(kind));
    }
    match data(media_type(headers).as_deref(), body)? {
        Data::None => {}
        Data::Json(json) => event.member("data", json),
        Data::Text(text) => event.member("data", string(text)),
        Data::Bytes => event.member("data_base64", string(&STANDARD.encode(body))),
    }
    let mut line = event.finish();
    if line.len() > event_bytes_max {
        return Err(CutError::TooLong { number: 0, bytes: line.len(), max: event_bytes_max }.into());
    }
    line.push('\n');
    Ok(Lines { bytes: line.into(), count: 1 })
}

/// What a binary request's body is in the JSON format.
enum Data<'a> {
    None,
    Json(String),
    Text(&'a str),
    Bytes,
}

/// JSON goes in as JSON and text as text; without a type what is JSON is taken for it.
fn data<'a>(kind: Option<&str>, body: &'a [u8]) -> Result<Data<'a>, Problem> {
    if body.is_empty() {
        return Ok(Data::None);
    }
    let is_json = |kind: &str| {
        let subtype = kind.split_once('/').map_or("", |(_, subtype)| subtype);
        subtype == "json" || subtype.ends_with("+json")
    };
    let is_text = |kind: &str| {
        kind.starts_with("text/")
            || kind.ends_with("+xml")
            || kind.ends_with("+yaml")
            || ["application/xml", "application/yaml", "application/x-www-form-urlencoded"].contains(&kind)
    };
    match kind {
        Some(kind) if is_json(kind) => {
            json_value(body).map(Data::Json).map_err(|why| bad(format!("its data is no {kind}: {why}")))
        }
        None => Ok(json_value(body).map_or(Data::Bytes, Data::Json)),
        Some(kind) if is_text(kind) => Ok(std::str::from_utf8(body).map_or(Data::Bytes, Data::Text)),
        Some(_) => Ok(Data::Bytes),
    }
}

/// One JSON value, on a line.
fn json_value(body: &[u8]) -> Result<String, String> {
    let line = compact(body).map_err(|error| error.to_string())?;
    let line = String::from_utf8(line).map_err(|error| error.to_string())?;
    sonic_rs::from_str::<LazyValue>(&line).map_err(|error| error.to_string())?;
    Ok(line)
}

/// Attributes that stand in headers, decoded as the HTTP binding says: quotes taken off, then one round of percent-decoding.
fn attributes(headers: &HeaderMap) -> Result<BTreeMap<String, String>, Problem> {
    let mut found = BTreeMap::new();
    for (header, value) in headers {
        let Some(name) = header.as_str().strip_prefix(PREFIX) else { continue };
        let named = !name.is_empty() && name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit());
        if !named || name == "data" || name == "datacontenttype" {
            return Err(bad(format!(
                "{header} names no attribute: letters and digits are allowed, data is the body and its type Content-Type"
            )));
        }
        let value = decoded(value).ok_or_else(|| bad(format!("the header {header} is no UTF-8 text when decoded")))?;
        if found.insert(name.to_owned(), value).is_some() {
            return Err(bad(format!("the header {header} stands twice")));
        }
    }
    Ok(found)
}

fn decoded(value: &HeaderValue) -> Option<String> {
    let value = value.as_bytes().trim_ascii();
    let unquoted = match value {
        [b'"', quoted @ .., b'"'] => {
            let mut plain = Vec::with_capacity(quoted.len());
            let mut bytes = quoted.iter();
            while let Some(&byte) = bytes.next() {
                plain.push(if byte == b'\\' { *bytes.next()? } else { byte });
            }
            plain
        }
        plain => plain.to_vec(),
    };
    // A percent sign that was not encoded stands for itself.
    percent_decode(&unquoted).decode_utf8().ok().map(Cow::into_owned)
}

/// Why this line is no CloudEvent, if it is not. What is no JSON object at all is left to whoever reads the log.
fn fault(line: &[u8]) -> Option<String> {
    let members = members(line).ok()?;
    let of = |name: &str| members.iter().find(|(of, _)| of == name).map(|(_, value)| value);
    for name in REQUIRED {
        let value = of(name).filter(|value| value.as_raw_str() != "null");
        let text = value.map(text);
        let why = match &text {
            Some(None) => Some(format!("{name} is no text")),
            text => required(name, text.as_ref().and_then(|text| text.as_deref())),
        };
        if why.is_some() {
            return why;
        }
    }
    let encoded = of("data_base64").filter(|value| value.as_raw_str() != "null")?;
    if of("data").is_some_and(|value| value.as_raw_str() != "null") {
        return Some("it has data and data_base64: one of them is allowed".to_owned());
    }
    match text(encoded).map(|encoded| STANDARD.decode(encoded)) {
        None => Some("data_base64 is no text".to_owned()),
        Some(Err(error)) => Some(format!("data_base64 is no Base64: {error}")),
        Some(Ok(_)) => None,
    }
}

/// What is wrong with an attribute that every event has.
fn required(name: &str, value: Option<&str>) -> Option<String> {
    match value {
        None => Some(format!("{name} is missing")),
        Some("") => Some(format!("{name} is empty")),
        Some(version) if name == "specversion" && version != "1.0" => {
            let shown: String = version.chars().take(SHOWN_MAX).collect();
            let more = if shown.len() < version.len() { "…" } else { "" };
            Some(format!("specversion is {shown:?}{more}, and 1.0 is taken"))
        }
        Some(_) => None,
    }
}

/// The members of the object on this line.
fn members(line: &[u8]) -> Result<Vec<(String, LazyValue<'_>)>, String> {
    let line = std::str::from_utf8(line).map_err(|error| error.to_string())?;
    let object: LazyValue = sonic_rs::from_str(line).map_err(|error| error.to_string())?;
    let members = object.into_object_iter().ok_or("it is no object")?;
    members.map(|member| member.map(|(name, value)| (String::from(name), value)).map_err(|e| e.to_string())).collect()
}

/// A JSON string's text.
fn text(json: &LazyValue) -> Option<String> {
    serde_json::from_str(json.as_raw_str()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
        pairs
            .iter()
            .map(|(name, value)| (name.parse().unwrap(), HeaderValue::from_bytes(value.as_bytes()).unwrap()))
            .collect()
    }

    /// The lines of a request, or what is said of it.
    fn check(given: &[(&'static str, &str)], body: &str, expected: Result<&str, &str>) {
        let headers = headers(given);
        let found = Mode::of(&headers).map(|mode| mode.expect("a CloudEvent"));
        let found = found.and_then(|mode| mode.lines(&headers, Bytes::copy_from_slice(body.as_bytes()), 1 << 16));
        match (found, expected) {
            (Ok(lines), Ok(expected)) => {
                assert_eq!(String::from_utf8_lossy(&lines.bytes), expected, "{given:?} {body}");
            }
            (Err(problem), Err(says)) => assert!(problem.detail.contains(says), "{given:?} {body}: {}", problem.detail),
            (found, expected) => panic!("{given:?} {body}: {found:?}, not {expected:?}"),
        }
    }

    const ID: [(&str, &str); 4] =
        [("ce-specversion", "1.0"), ("ce-id", "a b"), ("ce-source", "/s"), ("ce-type", "t.v1")];
    const LINE: &str = r#"{"specversion":"1.0","id":"a b","source":"/s","type":"t.v1""#;

    #[test]
    fn binary_requests() {
        let with = |more: &[(&'static str, &'static str)]| ID.iter().chain(more).copied().collect::<Vec<_>>();
        let line = |rest: &str| format!("{LINE}{rest}}}\n");
        check(&ID, "", Ok(&line("")));
        let json = with(&[("content-type", "application/json; charset=utf-8")]);
        let kind = r#","datacontenttype":"application/json; charset=utf-8""#;
        check(
            &json,
            "{\n \"a\": [1.50, \"\\u00e9\"] }\n",
            Ok(&line(&format!("{kind},\"data\":{{\"a\":[1.50,\"\\u00e9\"]}}"))),
        );
        check(&json, " 7 ", Ok(&line(&format!("{kind},\"data\":7"))));
        check(&json, "", Ok(&line(kind)));
        check(&json, "{\"a\":}", Err("no application/json"));
        check(&json, "1 2", Err("no application/json"));
        check(
            &with(&[("content-type", "application/vnd.x+json")]),
            "true",
            Ok(&line(r#","datacontenttype":"application/vnd.x+json","data":true"#)),
        );
        check(
            &with(&[("content-type", "text/plain")]),
            "a\n\"b\"",
            Ok(&line(r#","datacontenttype":"text/plain","data":"a\n\"b\"""#)),
        );
        check(
            &with(&[("content-type", "application/octet-stream")]),
            "\0\u{1}\u{2}",
            Ok(&line(r#","datacontenttype":"application/octet-stream","data_base64":"AAEC""#)),
        );
        check(&ID, "[1]", Ok(&line(r#","data":[1]"#)));
        check(&ID, "abc", Ok(&line(r#","data_base64":"YWJj""#)));
        check(
            &with(&[
                ("ce-subject", "Euro%20%E2%82%AC%20%F0%9F%98%80"),
                ("ce-traceparent", "00-1"),
                ("ce-ext1", "\"a\\\"b\" 100%"),
            ]),
            "",
            Ok(&line(r#","ext1":"\"a\\\"b\" 100%","subject":"Euro € 😀","traceparent":"00-1""#)),
        );
        check(&with(&[("ce-ext1", "\"a\\\"%22b\"")]), "", Ok(&line(r#","ext1":"a\"\"b""#)));
        check(&with(&[("ce-ext1", "%+f %4")]), "", Ok(&line(r#","ext1":"%+f %4""#)));
        check(&with(&[("ce-ext1", "%C0%AF")]), "", Err("no UTF-8"));
        check(&with(&[("ce-a-b", "1")]), "", Err("names no attribute"));
        check(&with(&[("ce-datacontenttype", "x/y")]), "", Err("names no attribute"));
        check(&ID[..3], "", Err("type is missing"));
        check(&ID[1..], "", Err("specversion is missing"));
        check(&[&[("ce-specversion", "2.0")], &ID[1..]].concat(), "", Err("specversion is \"2.0\""));
        check(&[&[("ce-id", "")], &ID[..1], &ID[2..]].concat(), "", Err("id is empty"));
        check(&json, &format!("\"{}\"", "x".repeat(1 << 16)), Err("EVENT_BYTES_MAX"));
        assert!(Mode::of(&headers(&[("ce-other", "1"), ("content-type", "application/json")])).unwrap().is_none());
    }

    #[test]
    fn structured_requests() {
        let kind = ("content-type", "application/cloudevents+json; charset=UTF-8");
        let whole = format!("{LINE},\"data\":{{\"a\":1}}}}");
        let check = |body: &str, expected: Result<&str, &str>| check(&[kind], body, expected);
        check(&whole, Ok(&format!("{whole}\n")));
        check(
            &format!("{LINE},\"data\":null,\"data_base64\":\"AAEC\"}}"),
            Ok(&format!("{LINE},\"data\":null,\"data_base64\":\"AAEC\"}}\n")),
        );
        check(&format!("[{whole}]"), Err("one JSON object"));
        check(&format!("{whole}{whole}"), Err("one JSON object"));
        check("", Err("no event"));
        check("7", Err("neither an object nor an array"));
        check(&whole.replace("\"id\"", "\"ID\""), Err("id is missing"));
        check(&whole.replace("\"a b\"", "7"), Err("id is no text"));
        check(&whole.replace("\"/s\"", "null"), Err("source is missing"));
        check(&whole.replace("1.0", "2.0"), Err("specversion is \"2.0\""));
        check(&whole.replace("1.0", "1"), Err("specversion is \"1\""));
        check(&format!("{LINE},\"data\":1,\"data_base64\":\"AAEC\"}}"), Err("data and data_base64"));
        check(&format!("{LINE},\"data_base64\":\"A%\"}}"), Err("no Base64"));
        check(&format!("{LINE},\"data_base64\":7}}"), Err("no text"));
        super::tests::check(&[kind, ("ce-id", "a%20b"), ("ce-type", "t.v1")], &whole, Ok(&format!("{whole}\n")));
        super::tests::check(&[kind, ("ce-id", "b")], &whole, Err("ce-id says \"b\""));
        super::tests::check(&[kind, ("ce-more", "b")], &whole, Err("ce-more"));
        super::tests::check(&[("content-type", "application/cloudevents+avro")], &whole, Err("JSON format"));
    }

    fn batch_of(events: &str) -> Result<Lines, String> {
        let kind = headers(&[("content-type", "application/cloudevents-batch+json")]);
        Mode::Batched.lines(&kind, format!("[{events}]").into(), 1 << 16).map_err(|problem| problem.detail)
    }

    #[test]
    fn batched_requests() {
        let kind = ("content-type", "application/cloudevents-batch+json");
        let check = |body: &str, expected: Result<&str, &str>| check(&[kind], body, expected);
        let one = format!("{LINE}}}");
        check(&format!("[{one},\n{one}]"), Ok(&format!("{one}\n{one}\n")));
        let bad = one.replace("1.0", "2.0");
        let marked = format!("[\"no CloudEvent: specversion is \\\"2.0\\\", and 1.0 is taken\",{bad}]");
        check(
            &format!("[{one},{bad},7,{{\"a\":1 2}},{one}]"),
            Ok(&format!("{one}\n{marked}\n7\n{{\"a\":1 2}}\n{one}\n")),
        );
        check(&one, Err("is a JSON array"));
        check("[]", Err("no event"));
        // A long one is not said again, and not twice escaped.
        let long = one.replace("1.0", &"\\\\".repeat(10_000));
        let shown = "\\\\\\\\".repeat(SHOWN_MAX);
        check(
            &format!("[{long}]"),
            Ok(&format!("[\"no CloudEvent: specversion is \\\"{shown}\\\"…, and 1.0 is taken\",{long}]\n")),
        );
        let longest = |bytes: usize| bad.replace("a b", &"x".repeat(bytes - bad.len() + 3));
        let mark = marked.len() - bad.len();
        assert!(batch_of(&longest((1 << 16) - mark)).is_ok());
        assert!(batch_of(&longest((1 << 16) - mark + 1)).is_err_and(|says| says.contains("EVENT_BYTES_MAX")));
        let many = |count: usize| vec!["{}"; count].join(",");
        assert!(batch_of(&many(MARKED_MAX)).is_ok());
        assert!(batch_of(&many(MARKED_MAX + 1)).is_err_and(|says| says.contains("more than 10000")));
        super::tests::check(&[kind, ("ce-id", "b")], &one, Err("leave it out"));
    }
}
