//! Content-Encoding: which one a body has, and how it is decoded piece by piece, into no more bytes than it may have.

use std::io::{self, Write};

use bytes::Bytes;
use flate2::write::MultiGzDecoder;
use hyper::StatusCode;
use hyper::header::{CONTENT_ENCODING, HeaderMap};
use zstd::stream::raw::{DParameter, Decoder, Operation};

use crate::web::problem::Problem;

/// What is taken, as an `Accept-Encoding` says it.
pub const ACCEPTED: &str = "gzip, zstd";
/// A zstd decoder keeps a window of the text: RFC 9659 allows 8 MiB of it over HTTP.
pub const ZSTD_WINDOW_LOG_MAX: u32 = 23;
/// The decoder of zstd gives so much at once.
const OUTPUT_BYTES: usize = 64 << 10;

/// How a body is encoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Coding {
    Gzip,
    Zstd,
}

/// Why a body cannot be decoded.
#[derive(Debug)]
pub enum Fault {
    /// It has more bytes than it may.
    TooLarge,
    /// It is not what its header says.
    Damaged(Coding, String),
}

/// Decodes one body.
pub struct Inflater {
    coding: Coding,
    of: Of,
    /// Whether it has been given anything: nothing at all is the encoding of nothing.
    begun: bool,
}

enum Of {
    Gzip(Box<MultiGzDecoder<Sink>>),
    Zstd {
        decoder: Decoder<'static>,
        sink: Sink,
        /// Nothing of a frame has been read but whole ones.
        complete: bool,
    },
}

/// Takes so many bytes.
struct Sink {
    bytes: Vec<u8>,
    max: usize,
    over: bool,
}

impl Coding {
    /// None: the body is not encoded.
    ///
    /// # Errors
    /// 415 where it is encoded otherwise, or twice.
    pub fn of(headers: &HeaderMap) -> Result<Option<Self>, Problem> {
        let mut found = None;
        for value in headers.get_all(CONTENT_ENCODING) {
            for name in value.as_bytes().split(|byte| *byte == b',').map(<[u8]>::trim_ascii) {
                let coding = match name.to_ascii_lowercase().as_slice() {
                    b"identity" | b"" => continue,
                    b"gzip" | b"x-gzip" => Self::Gzip,
                    b"zstd" => Self::Zstd,
                    _ => {
                        return Err(unsupported(&format!(
                            "the Content-Encoding {:?} is not taken",
                            String::from_utf8_lossy(name)
                        )));
                    }
                };
                if found.replace(coding).is_some() {
                    return Err(unsupported("the body is encoded more than once, as its Content-Encoding says"));
                }
            }
        }
        Ok(found)
    }

    /// What its decoder keeps in memory beside what it gives.
    pub fn window_bytes(self) -> usize {
        match self {
            Self::Gzip => 0,
            Self::Zstd => 1 << ZSTD_WINDOW_LOG_MAX,
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Gzip => "gzip",
            Self::Zstd => "zstd",
        }
    }
}

fn unsupported(what: &str) -> Problem {
    let detail = format!("{what}: send it with Content-Encoding gzip or zstd, encoded once, or as it is without");
    Problem::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, detail)
}

impl Inflater {
    /// One that gives at most so many bytes.
    pub fn new(coding: Coding, max: usize) -> Result<Self, Fault> {
        Self::with_window(coding, max, ZSTD_WINDOW_LOG_MAX)
    }

    /// The same, with a smaller window of zstd.
    pub fn with_window(coding: Coding, max: usize, window_log_max: u32) -> Result<Self, Fault> {
        let sink = Sink { bytes: Vec::new(), max, over: false };
        let of = match coding {
            Coding::Gzip => Of::Gzip(Box::new(MultiGzDecoder::new(sink))),
            Coding::Zstd => {
                let begin = || {
                    let mut decoder = Decoder::new()?;
                    decoder.set_parameter(DParameter::WindowLogMax(window_log_max))?;
                    Ok::<_, io::Error>(decoder)
                };
                let decoder = begin().map_err(|error| Fault::Damaged(coding, error.to_string()))?;
                Of::Zstd { decoder, sink, complete: true }
            }
        };
        Ok(Self { coding, of, begun: false })
    }

    /// The next piece of the encoded body.
    pub fn feed(&mut self, piece: &[u8]) -> Result<(), Fault> {
        self.begun |= !piece.is_empty();
        let done = match &mut self.of {
            Of::Gzip(decoder) => decoder.write_all(piece),
            Of::Zstd { decoder, sink, complete } => run(decoder, sink, complete, piece),
        };
        done.map_err(|error| self.fault(&error))
    }

    /// The decoded body, if it is whole.
    pub fn finish(mut self) -> Result<Bytes, Fault> {
        let done = match &mut self.of {
            _ if !self.begun => Ok(()),
            Of::Gzip(decoder) => decoder.try_finish().map_err(|_| cut_off()),
            Of::Zstd { complete: true, .. } => Ok(()),
            Of::Zstd { .. } => Err(cut_off()),
        };
        done.map_err(|error| self.fault(&error))?;
        Ok(std::mem::take(&mut self.sink().bytes).into())
    }

    fn sink(&mut self) -> &mut Sink {
        match &mut self.of {
            Of::Gzip(decoder) => decoder.get_mut(),
            Of::Zstd { sink, .. } => sink,
        }
    }

    fn fault(&mut self, error: &io::Error) -> Fault {
        if self.sink().over { Fault::TooLarge } else { Fault::Damaged(self.coding, error.to_string()) }
    }
}

fn cut_off() -> io::Error {
    io::Error::other("it is cut off, or something else follows it")
}

fn run(decoder: &mut Decoder<'_>, sink: &mut Sink, complete: &mut bool, mut piece: &[u8]) -> io::Result<()> {
    let mut output = vec![0; OUTPUT_BYTES];
    loop {
        if piece.is_empty() && *complete {
            return Ok(());
        }
        if *complete {
            // Frames may follow on each other.
            decoder.reinit()?;
        }
        let done = decoder.run_on_buffers(piece, &mut output)?;
        *complete = done.remaining == 0;
        piece = piece.get(done.bytes_read..).unwrap_or_default();
        sink.write_all(output.get(..done.bytes_written).unwrap_or_default())?;
        if piece.is_empty() && done.bytes_written < OUTPUT_BYTES {
            return Ok(());
        }
        if done.bytes_read == 0 && done.bytes_written == 0 {
            return Err(io::Error::other("it leads nowhere"));
        }
    }
}

impl Write for Sink {
    fn write(&mut self, piece: &[u8]) -> io::Result<usize> {
        if self.bytes.len() + piece.len() > self.max {
            self.over = true;
            return Err(io::Error::other("it is too large"));
        }
        self.bytes.extend_from_slice(piece);
        Ok(piece.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Fault {
    pub fn problem(&self, too_large: impl FnOnce() -> Problem) -> Problem {
        match self {
            Self::TooLarge => too_large(),
            Self::Damaged(coding, why) => Problem::bad_request(format!(
                "the body is no whole {} as its Content-Encoding says: {why}. Nothing of this request was taken",
                coding.name()
            )),
        }
    }
}

/// Whether bytes that should be text begin as gzip or zstd do. No JSON does.
pub fn is_encoded(bytes: &[u8]) -> bool {
    bytes.starts_with(&[0x1f, 0x8b, 0x08]) || bytes.starts_with(&[0x28, 0xb5, 0x2f, 0xfd])
}

#[cfg(test)]
mod tests {
    use flate2::Compression;
    use flate2::write::GzEncoder;

    use super::*;

    fn gzip(text: &[u8]) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
        encoder.write_all(text).unwrap();
        encoder.finish().unwrap()
    }

    fn zstd_of(text: &[u8]) -> Vec<u8> {
        zstd::bulk::compress(text, 3).unwrap()
    }

    /// What comes of a body that is fed in pieces of this size: its text, or a part of what is said.
    fn inflated(coding: Coding, body: &[u8], piece: usize, max: usize) -> Result<Vec<u8>, String> {
        let mut inflater = Inflater::new(coding, max).map_err(|fault| format!("{fault:?}"))?;
        let fed = body.chunks(piece).try_for_each(|piece| inflater.feed(piece));
        let done = fed.and_then(|()| inflater.finish());
        done.map(|bytes| bytes.to_vec()).map_err(|fault| format!("{fault:?}"))
    }

    #[test]
    fn a_body_is_decoded_whole_or_not_at_all() {
        let text: Vec<u8> = (0..50_000_u32).flat_map(u32::to_le_bytes).collect();
        for (coding, encode) in [(Coding::Gzip, gzip as fn(&[u8]) -> Vec<u8>), (Coding::Zstd, zstd_of)] {
            let whole = encode(&text);
            let twice = [encode(&text[..1000]), encode(&text[1000..])].concat();
            let bomb = encode(&vec![0; 10 << 20]);
            for piece in [1, 7, 4096, usize::MAX] {
                assert_eq!(inflated(coding, &whole, piece, text.len()).unwrap(), text, "{coding:?} {piece}");
                assert_eq!(
                    inflated(coding, &twice, piece, text.len()).unwrap(),
                    text,
                    "{coding:?} {piece}: two of them"
                );
                assert_eq!(inflated(coding, &encode(b""), piece, 0).unwrap(), b"");
                for cut in [1, 5, 11, whole.len() / 2, whole.len() - 1] {
                    let found = inflated(coding, &whole[..cut], piece, usize::MAX);
                    assert!(found.as_ref().is_err_and(|why| why.contains("Damaged")), "{coding:?} {cut}: {found:?}");
                }
                for more in [&b"x"[..], b"{}\n", &[0; 20]] {
                    let found = inflated(coding, &[&whole, more].concat(), piece, usize::MAX);
                    assert!(
                        found.as_ref().is_err_and(|why| why.contains("Damaged")),
                        "{coding:?}, then {more:?}: {found:?}"
                    );
                }
                let found = inflated(coding, &bomb, piece, 1 << 20);
                assert!(found.is_err_and(|why| why == "TooLarge"), "{coding:?} {piece}");
            }
            let mut damaged = whole.clone();
            damaged[whole.len() / 2] ^= 0x40;
            let found = inflated(coding, &damaged, 4096, usize::MAX);
            assert!(found.is_err_and(|why| why.contains("Damaged")) || coding == Coding::Zstd);
        }
        assert_eq!(inflated(Coding::Gzip, b"", 1, 0).unwrap(), b"");
    }

    /// A frame that asks for a window of 16 MiB would have that much memory put by for it.
    #[test]
    fn a_window_is_bounded() {
        let mut encoder = zstd::stream::write::Encoder::new(Vec::new(), 1).unwrap();
        encoder.window_log(24).unwrap();
        encoder.write_all(&vec![7; 20 << 20]).unwrap();
        let body = encoder.finish().unwrap();
        let found = inflated(Coding::Zstd, &body, 4096, usize::MAX);
        assert!(found.as_ref().is_err_and(|why| why.contains("memory")), "{:?}", found.map(|text| text.len()));
    }

    #[test]
    fn a_header_names_one_coding() {
        let of = |values: &[&'static str]| {
            let mut headers = HeaderMap::new();
            for value in values {
                headers.append(CONTENT_ENCODING, hyper::header::HeaderValue::from_static(value));
            }
            Coding::of(&headers).map_err(|problem| problem.detail)
        };
        assert_eq!(of(&[]), Ok(None));
        assert_eq!(of(&["identity"]), Ok(None));
        assert_eq!(of(&["GZIP"]), Ok(Some(Coding::Gzip)));
        assert_eq!(of(&["x-gzip, identity"]), Ok(Some(Coding::Gzip)));
        assert_eq!(of(&["zstd"]), Ok(Some(Coding::Zstd)));
        for (values, says) in [
            (&["gzip, gzip"][..], "more than once"),
            (&["gzip", "zstd"], "more than once"),
            (&["br"], "\"br\" is not taken"),
            (&["deflate"], "gzip or zstd"),
        ] {
            let found = of(values);
            assert!(found.as_ref().is_err_and(|why| why.contains(says)), "{values:?}: {found:?}");
        }
    }
}
