//! A file that must be read from its beginning: pieces of it in order, each of whole records.

use std::fs::File;
use std::io::{self, Read};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use flate2::read::MultiGzDecoder;

use crate::core::decode::FILE_LINE_BYTES_MAX;
use crate::input::{Compression, Format, Input, InputError, Records, records};

/// A piece has about so many bytes.
const PIECE_BYTES: usize = 1 << 20;

/// A UTF-8 byte order mark at a CSV file's beginning is none of its text. (Of lines it makes the first one no JSON, however they are read.)
const MARK: &[u8] = b"\xEF\xBB\xBF";

/// A piece of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Piece {
    pub records: Records,
    /// CSV: the file's first record. Empty otherwise.
    pub header: Bytes,
    /// Where the first record is in its input, and where what follows is.
    pub start: u64,
    pub end: u64,
    /// Bytes of the file that have been read for it and all before it.
    pub read_bytes: u64,
}

/// Reads one file.
pub struct Stream {
    path: String,
    format: Format,
    source: Box<dyn Read + Send>,
    read_bytes: Arc<AtomicU64>,
    /// Read, and in no piece yet.
    text: Vec<u8>,
    /// The position of what is in `text`.
    at: u64,
    ended: bool,
    /// Within a line that is too long: what comes up to its end is passed over.
    skipping: bool,
    header: Option<Bytes>,
}

struct Counted {
    file: File,
    bytes: Arc<AtomicU64>,
}

impl Read for Counted {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let read = self.file.read(into)?;
        self.bytes.fetch_add(read as u64, Ordering::Relaxed);
        Ok(read)
    }
}

/// What stands first in what has been read.
enum First {
    /// So many bytes of whole records.
    Records {
        bytes: usize,
        records: u32,
    },
    /// A record that is none: its bytes, how many of them are kept, and why. Without a line end the rest of the line is still to come.
    Refused {
        bytes: usize,
        kept: usize,
        why: String,
    },
    Nothing,
}

impl Stream {
    /// # Errors
    /// `Io`.
    pub fn open(input: &Input) -> Result<Self, InputError> {
        let failed = |error| InputError::Io { path: input.path.clone(), error };
        let file = File::open(&input.path).map_err(failed)?;
        let read_bytes = Arc::new(AtomicU64::new(0));
        let file = Counted { file, bytes: Arc::clone(&read_bytes) };
        let source: Box<dyn Read + Send> = match input.kind.compression {
            Compression::None => Box::new(file),
            Compression::Gzip => Box::new(MultiGzDecoder::new(io::BufReader::with_capacity(PIECE_BYTES, file))),
            Compression::Zstd => Box::new(zstd::stream::read::Decoder::new(file).map_err(failed)?),
        };
        Ok(Self {
            path: input.path.clone(),
            format: input.kind.format,
            source,
            read_bytes,
            text: Vec::new(),
            at: 0,
            ended: false,
            skipping: false,
            header: None,
        })
    }

    /// A piece of no records, with the header of a CSV file; None of any other file, or of one that has no record.
    ///
    /// # Errors
    /// As `next_piece`.
    pub fn header(&mut self) -> Result<Option<Piece>, InputError> {
        if matches!(self.format, Format::Csv { .. }) && self.header.is_none() {
            self.read_header()?;
        }
        let (at, read_bytes) = (self.at, self.read_bytes.load(Ordering::Relaxed));
        let records = Records { text: Bytes::new(), count: 0, refused: None };
        Ok(self.header.clone().map(|header| Piece { records, header, start: at, end: at, read_bytes }))
    }

    /// The next piece, of at most so many records; None at the file's end.
    ///
    /// # Errors
    /// `Io`; `Unreadable` where the compression is damaged or cut off.
    pub fn next_piece(&mut self, records_max: u64) -> Result<Option<Piece>, InputError> {
        if matches!(self.format, Format::Csv { .. }) && self.header.is_none() {
            self.read_header()?;
            if self.header.is_none() {
                return Ok(None);
            }
        }
        if records_max == 0 {
            return Ok(None);
        }
        loop {
            self.fill()?;
            match self.first(records_max) {
                First::Nothing if self.ended => return Ok(None),
                // A line that is too long goes on.
                First::Nothing => {}
                First::Records { bytes, records: 0 } => drop(self.take(bytes, 0)),
                First::Records { bytes, records } => return Ok(Some(self.piece(bytes, bytes, records, None))),
                First::Refused { bytes, kept, why } => return Ok(Some(self.piece(bytes, kept, 1, Some(why)))),
            }
        }
    }

    fn read_header(&mut self) -> Result<(), InputError> {
        self.fill()?;
        if self.text.starts_with(MARK) {
            self.text.drain(..MARK.len());
        }
        loop {
            self.fill()?;
            match self.first(1) {
                First::Nothing if self.ended => return Ok(()),
                First::Nothing => {}
                First::Records { bytes, records } => {
                    let record = self.take(bytes, 0);
                    if records > 0 {
                        let begin = record.iter().take_while(|byte| byte.is_ascii_whitespace()).count();
                        self.header = Some(record.slice(begin..));
                        self.at = 0;
                        return Ok(());
                    }
                }
                First::Refused { why, .. } => {
                    let why = format!("its first record, which should name the fields, is none: {why}");
                    return Err(InputError::Unreadable { path: self.path.clone(), why });
                }
            }
        }
    }

    /// Reads on until there is enough for a piece, or nothing more.
    fn fill(&mut self) -> Result<(), InputError> {
        while !self.ended && self.text.len() < PIECE_BYTES {
            let from = self.text.len();
            self.text.resize(PIECE_BYTES, 0);
            let read = self.source.read(self.text.get_mut(from..).unwrap_or_default());
            self.text.truncate(from + read.as_ref().map_or(0, |read| *read));
            match read {
                Ok(0) => self.ended = true,
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(self.failed(error)),
            }
            if self.skipping {
                self.skip();
            }
        }
        Ok(())
    }

    fn failed(&self, error: io::Error) -> InputError {
        match error.kind() {
            io::ErrorKind::UnexpectedEof | io::ErrorKind::InvalidInput | io::ErrorKind::InvalidData => {
                InputError::Unreadable {
                    path: self.path.clone(),
                    why: format!(
                        "it is cut off or damaged after byte {} of what it unpacks to: {error}",
                        self.at + self.text.len() as u64
                    ),
                }
            }
            _ => InputError::Io { path: self.path.clone(), error },
        }
    }

    /// Passes over the rest of a line that was too long.
    fn skip(&mut self) {
        let end = memchr::memchr(b'\n', &self.text).map(|end| end + 1);
        self.skipping = end.is_none();
        drop(self.take(end.unwrap_or(self.text.len()), 0));
    }

    fn first(&self, records_max: u64) -> First {
        let (mut bytes, mut records) = (0, 0);
        let text = self.text.as_slice();
        while let Some(rest) = text.get(bytes..)
            && bytes < PIECE_BYTES
            && u64::from(records) < records_max
        {
            let Some(end) = records::end(self.format, rest) else { break };
            records += u32::from(!records::is_blank(self.format, rest.get(..end).unwrap_or_default()));
            bytes += end;
        }
        if bytes > 0 {
            return First::Records { bytes, records };
        }
        if self.ended && !text.is_empty() && !records::is_open(self.format, text) {
            return First::Records { bytes: text.len(), records: u32::from(!records::is_blank(self.format, text)) };
        }
        if text.is_empty() || (!self.ended && text.len() <= FILE_LINE_BYTES_MAX) {
            return First::Nothing;
        }
        // No record ends here. Of one that is quoted, its first line alone is refused: what follows may be well.
        let line = memchr::memchr(b'\n', text).map(|end| end + 1);
        let quoted = records::is_open(self.format, text);
        let bytes = line.unwrap_or(text.len());
        let why = if quoted && text.len() <= FILE_LINE_BYTES_MAX {
            "a quote opens in it that never closes".to_owned()
        } else if quoted {
            format!("a quote opens in it that does not close within {FILE_LINE_BYTES_MAX} bytes")
        } else {
            format!("longer than {FILE_LINE_BYTES_MAX} bytes")
        };
        First::Refused { bytes, kept: bytes.min(FILE_LINE_BYTES_MAX + 2), why }
    }

    fn piece(&mut self, bytes: usize, kept: usize, count: u32, refused: Option<String>) -> Piece {
        let start = self.at;
        let whole_line = self.text.get(..bytes).is_some_and(|text| text.ends_with(b"\n")) || self.ended;
        let text = self.take(bytes, count).slice(..kept);
        self.skipping = !whole_line;
        let (end, read_bytes) = (self.at, self.read_bytes.load(Ordering::Relaxed));
        let header = self.header.clone().unwrap_or_default();
        Piece { records: Records { text, count, refused }, header, start, end, read_bytes }
    }

    /// Takes bytes off what was read, and moves the position.
    fn take(&mut self, bytes: usize, records: u32) -> Bytes {
        let rest = self.text.split_off(bytes);
        let taken = std::mem::replace(&mut self.text, rest);
        self.at += match self.format {
            Format::Csv { .. } => u64::from(records),
            Format::Lines | Format::Export | Format::Parquet => taken.len() as u64,
        };
        Bytes::from(taken)
    }
}
