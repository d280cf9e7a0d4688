//! Ranges of a plain NDJSON file: whoever has a range reads the lines that begin in it.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};

use crate::core::columns::Numbering;
use crate::core::decode::{ADDRESS_BYTES_MAX, FILE_LINE_BYTES_MAX};
use crate::core::units::{Offset, TopicId};
use crate::input::{InputError, Lines, Records, slab};

/// How far past its end a range is read at a time to find the end of its last line.
const TAIL_BYTES: usize = 64 << 10;
/// With what may stand before an event and behind it, a line of so many bytes is too long.
const TOO_LONG_BYTES: usize = ADDRESS_BYTES_MAX + 1 + FILE_LINE_BYTES_MAX + 2;

/// The lines that begin in `[start, end)` of the file, whose byte `start` has the position `at`.
///
/// # Errors
/// `Io`.
pub fn read_range(
    path: &str,
    topic: Option<TopicId>,
    (start, end): (u64, u64),
    at: Offset,
    numbering: Numbering,
) -> Result<Lines, InputError> {
    let (first, bytes) = read(path, start, end).map_err(|error| InputError::Io { path: path.to_owned(), error })?;
    let slab = slab(Offset(at.0 + (first - start)), topic, bytes, numbering, 0);
    Ok(Lines { slab, refused: Vec::new() })
}

/// The lines of a piece, whose first has the position `at`.
#[must_use]
pub fn lines_of(topic: Option<TopicId>, records: &Records, at: Offset, numbering: Numbering) -> Lines {
    let refused = records.refused.iter().map(|why| (0, why.clone())).collect();
    Lines { slab: slab(at, topic, records.text.clone(), numbering, 0), refused }
}

/// The lines, whole, and where the first of them begins.
fn read(path: &str, start: u64, end: u64) -> io::Result<(u64, Vec<u8>)> {
    let mut file = File::open(path)?;
    // A line begins at `start` if the byte before it is a line end.
    let from = start.saturating_sub(1);
    file.seek(SeekFrom::Start(from))?;
    let len = usize::try_from(end - from).map_err(io::Error::other)?;
    let mut bytes = Vec::with_capacity(len + TAIL_BYTES);
    (&mut file).take(len as u64).read_to_end(&mut bytes)?;
    let mut first = 0;
    if start > 0 {
        let Some(line_end) = memchr::memchr(b'\n', &bytes) else { return Ok((end, Vec::new())) };
        bytes.drain(..=line_end);
        first = from + line_end as u64 + 1;
        if first >= end {
            return Ok((end, Vec::new()));
        }
    }
    finish_line(&mut file, &mut bytes)?;
    Ok((first, bytes))
}

/// Reads on until the last line is whole; of one that is too long no more than shows that it is.
fn finish_line(file: &mut File, bytes: &mut Vec<u8>) -> io::Result<()> {
    let begin = memchr::memrchr(b'\n', bytes).map_or(0, |line_end| line_end + 1);
    while bytes.last().is_some_and(|&b| b != b'\n') {
        let from = bytes.len();
        let read = file.take(TAIL_BYTES as u64).read_to_end(bytes)?;
        if read == 0 {
            break;
        }
        if let Some(line_end) = memchr::memchr(b'\n', bytes.get(from..).unwrap_or_default()) {
            bytes.truncate(from + line_end + 1);
        } else if bytes.len() > begin + TOO_LONG_BYTES {
            bytes.truncate(begin + TOO_LONG_BYTES);
            break;
        }
    }
    Ok(())
}
