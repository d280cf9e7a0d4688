//! Cuts a request's body into lines, and looks no deeper: one line an event, whatever form the body has.
//!
//! Whether a line is a valid event is decode's to say. What is cut here must only keep its meaning: a valid element stays the same JSON, and an invalid one
//! stays invalid.

use bytes::Bytes;
use memchr::{memchr, memchr_iter, memchr3};

/// How a body is to be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// Objects one after the other (nearly always one), or an array whose elements are events; pretty-printed ones are compacted to a line each.
    Json,
    /// One event a line; blank lines are skipped, CRLF and a missing last line end are taken. (A byte order mark makes the first event an invalid one.)
    Ndjson,
}

/// The events of one body.
#[derive(Debug, PartialEq, Eq)]
pub struct Lines {
    /// Each ended by one `\n`. The body's own bytes where nothing had to be changed.
    pub bytes: Bytes,
    pub count: u32,
}

/// Nothing of the body is taken.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum CutError {
    #[error("the body holds no event")]
    Empty,
    #[error("event {number} (from 0) has {bytes} bytes, more than EVENT_BYTES_MAX = {max}: send it smaller")]
    TooLong { number: u64, bytes: usize, max: usize },
    #[error("the body is not JSON that can be cut into events: {why} at byte {at}")]
    NotJson { at: usize, why: &'static str },
}

/// # Errors
/// As `CutError` says: `TooLong` is 413, the others are 400.
pub fn cut(body: Bytes, form: Form, event_bytes_max: usize) -> Result<Lines, CutError> {
    let lines = match form {
        Form::Json => {
            Json { body: &body, at: 0, out: Vec::with_capacity(body.len() + 1), count: 0, event_bytes_max }.cut()?
        }
        Form::Ndjson => ndjson(body, event_bytes_max)?,
    };
    if lines.count == 0 { Err(CutError::Empty) } else { Ok(lines) }
}

/// One JSON value of any kind, as a line without its end.
///
/// # Errors
/// `Empty`, `NotJson`.
pub fn compact(body: &[u8]) -> Result<Vec<u8>, CutError> {
    let mut json = Json { body, at: 0, out: Vec::with_capacity(body.len() + 1), count: 0, event_bytes_max: usize::MAX };
    if json.peek().is_none() {
        return Err(CutError::Empty);
    }
    json.event()?;
    if json.peek().is_some() {
        return Err(json.not_json("something follows the end of the value"));
    }
    json.out.pop();
    Ok(json.out)
}

/// Counts an event of so many bytes.
fn counted(count: u32, bytes: usize, max: usize) -> Result<u32, CutError> {
    if bytes > max {
        return Err(CutError::TooLong { number: u64::from(count), bytes, max });
    }
    let Some(count) = count.checked_add(1) else { panic!("a body of 2^32 events is over any BODY_BYTES_MAX") };
    Ok(count)
}

fn is_space(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\r' | b'\n')
}

/// The line as it is kept, its end taken off. None where it is blank.
fn tidy(line: &[u8]) -> Option<&[u8]> {
    let line = line.strip_suffix(b"\r").unwrap_or(line);
    let blank = line.first().is_none_or(|&b| is_space(b)) && line.iter().all(|&b| is_space(b));
    (!blank).then_some(line)
}

/// Nearly every body is clean; then its lines are only counted.
fn ndjson(body: Bytes, max: usize) -> Result<Lines, CutError> {
    let (mut count, mut start) = (0, 0);
    for end in memchr_iter(b'\n', &body) {
        let line = &body[start..end];
        if tidy(line).is_none_or(|kept| kept.len() < line.len()) {
            return ndjson_anew(&body, max);
        }
        count = counted(count, line.len(), max)?;
        start = end + 1;
    }
    if start < body.len() {
        return ndjson_anew(&body, max);
    }
    Ok(Lines { bytes: body, count })
}

fn ndjson_anew(body: &[u8], max: usize) -> Result<Lines, CutError> {
    let mut bytes = Vec::with_capacity(body.len() + 1);
    let (mut count, mut rest) = (0, body);
    while !rest.is_empty() {
        let end = memchr(b'\n', rest).unwrap_or(rest.len());
        let (line, after) = rest.split_at(end);
        rest = after.get(1..).unwrap_or_default();
        if let Some(kept) = tidy(line) {
            count = counted(count, kept.len(), max)?;
            bytes.extend_from_slice(kept);
            bytes.push(b'\n');
        }
    }
    Ok(Lines { bytes: bytes.into(), count })
}

/// Follows strings and brackets, by a count and without recursion, so that no depth can exhaust the stack.
struct Json<'a> {
    body: &'a [u8],
    at: usize,
    out: Vec<u8>,
    count: u32,
    event_bytes_max: usize,
}

/// Part of a number, a name, or of what should be one.
fn is_word(byte: u8) -> bool {
    !is_space(byte) && !matches!(byte, b'{' | b'}' | b'[' | b']' | b':' | b',' | b'"')
}

impl Json<'_> {
    fn cut(mut self) -> Result<Lines, CutError> {
        if self.body.starts_with(b"\xef\xbb\xbf") {
            return Err(self.not_json("a byte order mark is no JSON; the body begins with one"));
        }
        match self.peek() {
            None => return Err(CutError::Empty),
            Some(b'[') => self.array()?,
            Some(b'{') => {
                while self.peek() == Some(b'{') {
                    self.event()?;
                }
            }
            Some(_) => return Err(self.not_json("neither an object nor an array begins")),
        }
        match self.peek() {
            None => Ok(Lines { bytes: self.out.into(), count: self.count }),
            Some(b'{' | b'[') => {
                Err(self.not_json("a second value begins (one event a line is Content-Type: application/x-ndjson)"))
            }
            Some(_) => Err(self.not_json("something follows the end of the value")),
        }
    }

    fn not_json(&self, why: &'static str) -> CutError {
        CutError::NotJson { at: self.at, why }
    }

    /// The next byte that is no white space.
    fn peek(&mut self) -> Option<u8> {
        let rest = self.body.get(self.at..).unwrap_or_default();
        let spaces = rest.iter().position(|&b| !is_space(b)).unwrap_or(rest.len());
        self.at += spaces;
        rest.get(spaces).copied()
    }

    fn array(&mut self) -> Result<(), CutError> {
        self.at += 1;
        if self.peek() == Some(b']') {
            self.at += 1;
            return Ok(());
        }
        loop {
            self.event()?;
            match self.peek() {
                Some(b',') => self.at += 1,
                Some(b']') => break,
                Some(_) => return Err(self.not_json("neither a comma nor the array's end follows an element")),
                None => return Err(self.not_json("the array is not closed")),
            }
        }
        self.at += 1;
        Ok(())
    }

    /// One value, as a line.
    fn event(&mut self) -> Result<(), CutError> {
        let start = self.out.len();
        match self.peek() {
            Some(b'{' | b'[') => self.nested()?,
            Some(b'"') => self.string()?,
            Some(b) if is_word(b) => self.word(),
            Some(_) => return Err(self.not_json("an element is missing")),
            None => return Err(self.not_json("the array is not closed")),
        }
        self.count = counted(self.count, self.out.len() - start, self.event_bytes_max)?;
        self.out.push(b'\n');
        Ok(())
    }

    /// From an opening bracket to the one that closes it, whatever their kinds.
    fn nested(&mut self) -> Result<(), CutError> {
        let mut depth: usize = 0;
        while let Some(byte) = self.peek() {
            match byte {
                b'"' => {
                    self.string()?;
                    continue;
                }
                b'{' | b'[' => depth += 1,
                b'}' | b']' => depth -= 1,
                b':' | b',' => {}
                _ => {
                    // Without the space between them two words would become one, and `1 2` a number.
                    if self.out.last().is_some_and(|&b| is_word(b)) {
                        self.out.push(b' ');
                    }
                    self.word();
                    continue;
                }
            }
            self.out.push(byte);
            self.at += 1;
            if depth == 0 {
                return Ok(());
            }
        }
        Err(self.not_json("a bracket is not closed"))
    }

    fn word(&mut self) {
        let rest = self.body.get(self.at..).unwrap_or_default();
        let (word, _) = rest.split_at(rest.iter().position(|&b| !is_word(b)).unwrap_or(rest.len()));
        self.out.extend_from_slice(word);
        self.at += word.len();
    }

    /// A string with its quotes. A line end in it is not allowed by JSON, and would be two lines: it becomes a carriage return, which is not allowed either.
    fn string(&mut self) -> Result<(), CutError> {
        self.out.push(b'"');
        self.at += 1;
        loop {
            let rest = self.body.get(self.at..).unwrap_or_default();
            let Some(found) = memchr3(b'"', b'\\', b'\n', rest) else {
                return Err(self.not_json("a string is not closed"));
            };
            let (plain, special) = rest.split_at(found);
            self.out.extend_from_slice(plain);
            self.at += found + 1;
            match special {
                [b'"', ..] => {
                    self.out.push(b'"');
                    return Ok(());
                }
                [b'\n', ..] => self.out.push(b'\r'),
                // What is escaped may be a quote; a line end is seen in the next turn.
                [_, b'\n', ..] | [_] => self.out.push(b'\\'),
                [_, escaped, ..] => {
                    self.out.extend_from_slice(&[b'\\', *escaped]);
                    self.at += 1;
                }
                [] => {}
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::Value;

    use super::*;

    const MAX: usize = 40;

    fn not_json(at: usize) -> Result<&'static [u8], Option<usize>> {
        Err(Some(at))
    }

    /// A body and what is expected of it: the lines, or where it is not JSON, or None for a body without events.
    type Case<'a> = (&'a [u8], Result<&'a [u8], Option<usize>>);

    fn check(form: Form, cases: &[Case]) {
        for &(body, expected) in cases {
            let found = cut(Bytes::copy_from_slice(body), form, MAX);
            let shown = String::from_utf8_lossy(body);
            match (found, expected) {
                (Ok(lines), Ok(expected)) => {
                    assert_eq!(String::from_utf8_lossy(&lines.bytes), String::from_utf8_lossy(expected), "{shown:?}");
                    assert_eq!(lines.count as usize, memchr_iter(b'\n', expected).count(), "{shown:?}");
                }
                (Err(CutError::Empty), Err(None)) => {}
                (Err(CutError::NotJson { at, .. }), Err(Some(expected))) => assert_eq!(at, expected, "{shown:?}"),
                (found, expected) => panic!("{shown:?}: {found:?}, not {expected:?}"),
            }
        }
    }

    #[test]
    fn ndjson_bodies() {
        check(
            Form::Ndjson,
            &[
                (b"", Err(None)),
                (b"\n", Err(None)),
                (b" \t\r\n\r\n  ", Err(None)),
                (b"{}\n", Ok(b"{}\n")),
                (b"{}", Ok(b"{}\n")),
                (b"{}\r", Ok(b"{}\n")),
                (b"{}\n{}\n", Ok(b"{}\n{}\n")),
                (b"{}\n\n{}\n", Ok(b"{}\n{}\n")),
                (b"\n{}\n", Ok(b"{}\n")),
                (b"{}\n\n", Ok(b"{}\n")),
                (b"{}\r\n{}\r\n", Ok(b"{}\n{}\n")),
                (b"{\r}\n", Ok(b"{\r}\n")),
                (b"\r{}\n", Ok(b"\r{}\n")),
                (b" {} \n", Ok(b" {} \n")),
                (b"garbage\n\xff\n\0\n", Ok(b"garbage\n\xff\n\0\n")),
                (b"\xef\xbb\xbf{}\n", Ok(b"\xef\xbb\xbf{}\n")),
                ("\"\u{2028}\"\n".as_bytes(), Ok("\"\u{2028}\"\n".as_bytes())),
            ],
        );
    }

    #[test]
    fn json_bodies() {
        check(
            Form::Json,
            &[
                (b"", Err(None)),
                (b" \n ", Err(None)),
                (b"[]", Err(None)),
                (b" [ ] ", Err(None)),
                (b"{}", Ok(b"{}\n")),
                (b"\n{ }\n", Ok(b"{}\n")),
                (
                    b"{\n  \"a\": [ 1, -2.5e3 ],\r\n\t\"b c\" : \" \\\" \\\\\"\n}",
                    Ok(b"{\"a\":[1,-2.5e3],\"b c\":\" \\\" \\\\\"}\n"),
                ),
                // Objects that follow on each other, as some clients stream them.
                (b"{\"a\":1}{\"b\":2}", Ok(b"{\"a\":1}\n{\"b\":2}\n")),
                (b"{\"a\":\n1}\n{\"b\":2}\r\n", Ok(b"{\"a\":1}\n{\"b\":2}\n")),
                (b"[{\"a\":1},\n {\"b\":{}}]", Ok(b"{\"a\":1}\n{\"b\":{}}\n")),
                (b"[1, \"x,]\" ,null, [ 2 ]]", Ok(b"1\n\"x,]\"\nnull\n[2]\n")),
                // Invalid elements stay one line each, and invalid.
                (b"[{\"a\": 1 2}, {\"b\": t rue}]", Ok(b"{\"a\":1 2}\n{\"b\":t rue}\n")),
                (b"{\"a\": \"x\ny\"}", Ok(b"{\"a\":\"x\ry\"}\n")),
                (b"{\"a\": \"x\\\ny\"}", Ok(b"{\"a\":\"x\\\ry\"}\n")),
                (b"[{\"a\":1], {\"b\":2}]", Ok(b"{\"a\":1]\n{\"b\":2}\n")),
                (b"{\xff}", Ok(b"{\xff}\n")),
                // What cannot be cut.
                (b"\xef\xbb\xbf{}", not_json(0)),
                (b"\xff\xfe{\0}\0", not_json(0)),
                (b"1", not_json(0)),
                (b"\"a\"", not_json(0)),
                (b"{", not_json(1)),
                (b"{\"a", not_json(2)),
                (b"{\"a\\", not_json(4)),
                (b"[{}", not_json(3)),
                (b"[{},", not_json(4)),
                (b"[{},]", not_json(4)),
                (b"[,{}]", not_json(1)),
                (b"[{} {}]", not_json(4)),
                (b"[1 2]", not_json(3)),
                (b"[:]", not_json(1)),
                (b"[}", not_json(1)),
                (b"{}[]", not_json(2)),
                (b"[]{}", not_json(2)),
                (b"{}]", not_json(2)),
                (b"[{}] x", not_json(5)),
            ],
        );
    }

    #[test]
    fn a_line_that_is_too_long_refuses_the_body() {
        let long = |bytes: usize| format!("{{\"{}\"}}", "a".repeat(bytes - 4));
        let cases = [
            (Form::Ndjson, format!("{{}}\n{}\n", long(MAX)), None),
            (Form::Ndjson, format!("{{}}\n\n{}\n", long(MAX + 1)), Some(1)),
            (Form::Ndjson, format!("{}\r\n", long(MAX)), None),
            (Form::Ndjson, long(MAX + 1), Some(0)),
            (Form::Json, format!("[ {{  }},\n{}]", long(MAX)), None),
            (Form::Json, format!("[{{}}, {}]", long(MAX + 1)), Some(1)),
        ];
        for (form, body, expected) in cases {
            let refused = match cut(body.clone().into(), form, MAX) {
                Err(CutError::TooLong { number, bytes, max: MAX }) if bytes == MAX + 1 => Some(number),
                Ok(_) => None,
                Err(other) => panic!("{body}: {other}"),
            };
            assert_eq!(refused, expected, "{body}");
        }
    }

    #[test]
    fn a_clean_body_is_not_copied() {
        let body = Bytes::from_static(b"{}\n{\"a\":1}\n");
        let lines = cut(body.clone(), Form::Ndjson, MAX).unwrap();
        assert_eq!(lines.bytes.as_ptr(), body.as_ptr());
    }

    #[test]
    fn no_depth_exhausts_the_stack() {
        let body = "[".repeat(2_000_000) + &"]".repeat(2_000_000);
        assert_eq!(cut(body.into(), Form::Json, usize::MAX).unwrap().count, 1);
    }

    fn value() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            (-1e9..1e9).prop_map(Value::from),
            "[ -~\\n\\t\u{e9}\u{2028}]{0,8}".prop_map(Value::from),
        ];
        leaf.prop_recursive(4, 24, 4, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
                prop::collection::vec(("[a-c\"\\\\ {}]{0,3}", inner), 0..4)
                    .prop_map(|fields| fields.into_iter().collect::<serde_json::Map<_, _>>().into()),
            ]
        })
    }

    fn parsed(lines: &Lines) -> Option<Vec<Value>> {
        assert_eq!(lines.bytes.last(), Some(&b'\n'));
        let lines = lines.bytes.strip_suffix(b"\n").unwrap().split(|&b| b == b'\n');
        lines.map(|line| serde_json::from_slice(line).ok()).collect()
    }

    proptest! {
        /// The lines are the elements, however the array is written.
        #[test]
        fn an_array_is_its_elements(values in prop::collection::vec(value(), 1..5), pretty: bool) {
            let write = if pretty { serde_json::to_vec_pretty } else { serde_json::to_vec };
            let lines = cut(write(&values).unwrap().into(), Form::Json, usize::MAX).unwrap();
            prop_assert_eq!(lines.count as usize, values.len());
            prop_assert_eq!(parsed(&lines), Some(values));
        }

        /// A body that is not JSON is refused, or one of its lines is not JSON either; one that is JSON keeps its meaning.
        #[test]
        fn nothing_is_made_valid(
            values in prop::collection::vec(value(), 1..4),
            edits in prop::collection::vec((any::<prop::sample::Index>(), 0..3, "[ \\n\\r,:\"\\\\{}\\[\\]01a]"), 1..4),
        ) {
            let mut body = serde_json::to_vec_pretty(&values).unwrap();
            for (place, what, with) in edits {
                let at = place.index(body.len());
                match what {
                    0 => body.insert(at, with.as_bytes()[0]),
                    1 => body[at] = with.as_bytes()[0],
                    _ if body.len() > 1 => drop(body.remove(at)),
                    _ => {}
                }
            }
            let whole: Option<Value> = serde_json::from_slice(&body).ok();
            let lines = cut(body.into(), Form::Json, usize::MAX).ok().map(|l| (l.count, parsed(&l)));
            match (whole, lines) {
                (Some(Value::Array(elements)), Some((_, found))) => prop_assert_eq!(found, Some(elements)),
                (Some(object), Some((_, found))) => prop_assert_eq!(found, Some(vec![object])),
                (None, Some((_, found))) => prop_assert_eq!(found, None),
                (Some(Value::Array(elements)), None) => prop_assert!(elements.is_empty()),
                (whole, None) => prop_assert!(!matches!(whole, Some(Value::Object(_)))),
            }
        }

        /// Any bytes: no line is blank, and they are as many as is said.
        #[test]
        fn lines_are_counted(body in prop::collection::vec(prop::sample::select(b"a{}\"\n\n\r ,[]".to_vec()), 0..40)) {
            for form in [Form::Json, Form::Ndjson] {
                if let Ok(lines) = cut(body.clone().into(), form, usize::MAX) {
                    let split: Vec<&[u8]> = lines.bytes.strip_suffix(b"\n").unwrap().split(|&b| b == b'\n').collect();
                    prop_assert_eq!(split.len(), lines.count as usize);
                    prop_assert!(split.iter().all(|line| line.iter().any(|&b| !is_space(b))));
                }
            }
        }
    }
}
