//! Cuts a request's body into lines, and looks no deeper: one line an event, whatever form the body has.

use bytes::Bytes;

/// How a body is to be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// One object, or an array whose elements are events; pretty-printed ones are compacted to a line each.
    Json,
    /// One event a line; blank lines are skipped, CRLF and a missing last line end are taken.
    Ndjson,
}

/// The events of one body.
#[derive(Debug, PartialEq, Eq)]
pub struct Lines {
    /// Each ended by one `\\n`. The body's own bytes where nothing had to be changed.
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
pub fn cut(_body: Bytes, _form: Form, _event_bytes_max: usize) -> Result<Lines, CutError> {
    unimplemented!()
}
