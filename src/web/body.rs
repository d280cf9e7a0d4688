//! A request's body in one piece, within bounds of size, time and memory.

use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use bytes::{Bytes, BytesMut};
use http_body_util::BodyExt;
use hyper::StatusCode;
use hyper::body::Body as _;
use hyper::header::HeaderMap;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, timeout_at};

use crate::web::coding::{Coding, Fault, Inflater};
use crate::web::problem::Problem;

/// Bodies up to this size are held without asking the budget; their memory is bounded by the number of connections.
const SMALL_BODY_BYTES: usize = 64 << 10;
/// All larger bodies together, from their first byte until they are in the log: a few of the largest kind.
const BODIES_BYTES_MAX: usize = 64 << 20;
/// Slower than this, over what `body_timeout` grants anyway, and the upload is cut off: a client that sends a byte a second holds its place only so long.
const BODY_BYTES_PER_SECOND_MIN: u64 = 64 << 10;
/// An encoded body is decoded in pieces of this size.
const ENCODED_PIECE_BYTES: usize = 16 << 10;
/// A small body's decoder has a window of at most 2 MiB, which is what zstd's usual levels ask for; of it no more is written than the body comes to.
const SMALL_WINDOW_LOG_MAX: u32 = 21;
/// The budget counts in these, so that it fits a semaphore's 32 bits.
const BUDGET_UNIT_BYTES: usize = 1 << 10;

/// Memory for the bodies of all requests.
pub struct Budget {
    units: Arc<Semaphore>,
    /// All there are: more than that nobody can wait for.
    units_max: u32,
    body_bytes_max: usize,
    body_timeout: Duration,
}

/// A part of the budget, given back when it is dropped.
pub type Share = OwnedSemaphorePermit;

/// A body, and its share of the budget: to be kept until the bytes are no longer held. None: it is small.
pub struct Held {
    pub bytes: Bytes,
    pub share: Option<Share>,
}

/// What is said of a body that is too large.
type Over<'a> = &'a (dyn Fn() -> Problem + Sync);

impl Budget {
    pub fn new(body_bytes_max: usize, body_timeout: Duration) -> Self {
        let units = BODIES_BYTES_MAX.max(body_bytes_max).div_ceil(BUDGET_UNIT_BYTES);
        let units_max = u32::try_from(units).unwrap_or(u32::MAX);
        Self { units: Arc::new(Semaphore::new(units)), units_max, body_bytes_max, body_timeout }
    }

    /// Reads a body that is as it stands, and has at most so many bytes.
    pub async fn read(
        &self,
        body: Body,
        bytes_max: usize,
        over: impl Fn() -> Problem + Send + Sync,
    ) -> Result<Held, Problem> {
        let max = self.body_bytes_max.min(bytes_max);
        let over = || if max < bytes_max { too_large(max) } else { over() };
        self.read_plain(body, max, &over, Instant::now()).await
    }

    /// Reads a body that may have a Content-Encoding, and decodes it while it is read: all bounds count what comes of it.
    pub async fn read_coded(&self, headers: &HeaderMap, body: Body) -> Result<Held, Problem> {
        let coding = Coding::of(headers)?;
        let (max, started) = (self.body_bytes_max, Instant::now());
        match coding {
            None => self.read_plain(body, max, &|| too_large(max), started).await,
            // What is seldom needed is not part of what every request holds.
            Some(coding) => Box::pin(self.read_encoded(body, coding, started)).await,
        }
    }

    /// Reads the whole body into one allocation. A body whose length is declared takes its share of the budget before its first byte is read, one that
    /// is not takes the largest possible once it turns out not to be small; so no two of them can wait for each other's shares.
    async fn read_plain(&self, mut body: Body, max: usize, over: Over<'_>, started: Instant) -> Result<Held, Problem> {
        let declared = declared(&body, max, over)?;
        let mut share = match declared {
            Some(length) if length > SMALL_BODY_BYTES => Some(Box::pin(self.share(length, started)).await?),
            _ => None,
        };
        let mut bytes = BytesMut::with_capacity(declared.unwrap_or(0));
        while let Some(data) = self.next_data(&mut body, started, bytes.len()).await? {
            let length = bytes.len() + data.len();
            if length > max {
                return Err(over());
            }
            if share.is_none() && length > SMALL_BODY_BYTES {
                share = Some(Box::pin(self.share(max, started)).await?);
                bytes.reserve(max - bytes.len());
            }
            bytes.extend_from_slice(&data);
        }
        Ok(Held { bytes: bytes.freeze(), share })
    }

    /// Nobody knows what an encoded body will come to. While it is small, what has come of it is kept beside what it was decoded to; once it turns out not to be, it takes
    /// the largest share and is decoded anew.
    async fn read_encoded(&self, mut body: Body, coding: Coding, started: Instant) -> Result<Held, Problem> {
        let max = self.body_bytes_max;
        declared(&body, max, &|| too_large(max))?;
        let problem = |fault: Fault| fault.problem(|| too_large(max));
        let kept = match self.read_small(&mut body, coding, started).await? {
            Small::Whole(bytes) => return Ok(Held { bytes, share: None }),
            Small::Not(kept) => kept,
        };
        let share = self.share(max + coding.window_bytes(), started).await?;
        let mut inflater = Inflater::new(coding, max).map_err(problem)?;
        let (mut received, mut next) = (0, Some(kept));
        while let Some(data) = next {
            received += data.len();
            if received > max {
                return Err(too_large(max));
            }
            for piece in data.chunks(ENCODED_PIECE_BYTES) {
                inflater.feed(piece).map_err(problem)?;
                // Others have their turn: a piece may come to a thousand times its size.
                tokio::task::yield_now().await;
            }
            next = self.next_data(&mut body, started, received).await?;
        }
        Ok(Held { bytes: inflater.finish().map_err(problem)?, share: Some(share) })
    }

    /// Its decoder is gone when it returns.
    async fn read_small(&self, body: &mut Body, coding: Coding, started: Instant) -> Result<Small, Problem> {
        let problem = |fault: Fault| fault.problem(|| too_large(self.body_bytes_max));
        // A window that is larger than a small body's is a fault of zstd like any other; with the share of a large one it is known what it is.
        let is_not_small = |fault: &Fault| matches!(fault, Fault::TooLarge | Fault::Damaged(Coding::Zstd, _));
        let mut inflater = Inflater::with_window(coding, SMALL_BODY_BYTES, SMALL_WINDOW_LOG_MAX).map_err(problem)?;
        let mut kept = BytesMut::new();
        while let Some(data) = self.next_data(body, started, kept.len()).await? {
            kept.extend_from_slice(&data);
            match inflater.feed(&data) {
                Ok(()) if kept.len() <= SMALL_BODY_BYTES => {}
                Ok(()) => return Ok(Small::Not(kept.freeze())),
                Err(fault) if is_not_small(&fault) => return Ok(Small::Not(kept.freeze())),
                Err(fault) => return Err(problem(fault)),
            }
        }
        match inflater.finish() {
            Ok(bytes) => Ok(Small::Whole(bytes)),
            // What it held back until the end may have been too much.
            Err(fault) if is_not_small(&fault) => Ok(Small::Not(kept.freeze())),
            Err(fault) => Err(problem(fault)),
        }
    }

    /// The body's next piece, if it comes in time; `received` bytes have come before.
    async fn next_data(&self, body: &mut Body, started: Instant, received: usize) -> Result<Option<Bytes>, Problem> {
        let earned = Duration::from_secs(received as u64 / BODY_BYTES_PER_SECOND_MIN);
        loop {
            let Ok(frame) = timeout_at(started + self.body_timeout + earned, body.frame()).await else {
                return Err(Problem::new(
                    StatusCode::REQUEST_TIMEOUT,
                    format!(
                        "the body came too slowly: {received} bytes in {:?}. Send it again, faster or in parts",
                        started.elapsed()
                    ),
                ));
            };
            match frame {
                None => return Ok(None),
                Some(Err(error)) => return Err(Problem::bad_request(format!("the body broke off: {error}"))),
                // Trailers say nothing that is needed.
                Some(Ok(frame)) => match frame.into_data() {
                    Ok(data) => return Ok(Some(data)),
                    Err(_trailers) => {}
                },
            }
        }
    }

    async fn share(&self, bytes: usize, started: Instant) -> Result<OwnedSemaphorePermit, Problem> {
        let units = u32::try_from(bytes.div_ceil(BUDGET_UNIT_BYTES)).unwrap_or(u32::MAX).min(self.units_max);
        let waiting = Arc::clone(&self.units).acquire_many_owned(units);
        match timeout_at(started + self.body_timeout, waiting).await {
            Ok(Ok(share)) => Ok(share),
            _ => Err(Problem::unavailable("too many large bodies are being read at once: send it again later", 1)),
        }
    }
}

/// What comes of an encoded body, as far as it was looked at.
enum Small {
    Whole(Bytes),
    /// What has come of it.
    Not(Bytes),
}

fn declared(body: &Body, max: usize, over: Over) -> Result<Option<usize>, Problem> {
    let fits = |length: u64| usize::try_from(length).ok().filter(|n| *n <= max).ok_or_else(over);
    body.size_hint().exact().map(fits).transpose()
}

fn too_large(max: usize) -> Problem {
    Problem::new(
        StatusCode::PAYLOAD_TOO_LARGE,
        format!("the body is larger than BODY_BYTES_MAX = {max} bytes: send it in parts"),
    )
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    fn budget() -> Budget {
        Budget::new(1 << 20, Duration::from_millis(50))
    }

    fn zstd_of(text: &[u8], window_log: u32) -> Vec<u8> {
        let mut encoder = zstd::stream::write::Encoder::new(Vec::new(), 3).unwrap();
        encoder.window_log(window_log).unwrap();
        encoder.write_all(text).unwrap();
        encoder.finish().unwrap()
    }

    #[tokio::test]
    async fn a_body_is_held_to_its_own_bound_before_it_is_read() {
        let budget = budget();
        let over = || Problem::bad_request("at most 10");
        let read = |bytes: Vec<u8>| budget.read(Body::from(bytes), 10, over);
        assert_eq!(read(vec![b'x'; 10]).await.map(|held| held.bytes.len()).map_err(|p| p.detail), Ok(10));
        assert_eq!(read(vec![b'x'; 11]).await.map(|_| ()).map_err(|p| p.detail), Err("at most 10".to_owned()));
        // Of no declared length: what is behind the bound is not waited for.
        let piece = || Ok::<_, std::convert::Infallible>(Bytes::from_static(b"123456"));
        let pieces = async_stream::stream! {
            yield piece();
            yield piece();
            panic!("nobody wants more");
        };
        let read = budget.read(Body::from_stream(pieces), 10, over).await;
        assert_eq!(read.map(|_| ()).map_err(|p| p.detail), Err("at most 10".to_owned()));
        let larger = budget.read(Body::from(vec![b'x'; 2 << 20]), 4 << 20, over).await;
        assert!(larger.is_err_and(|problem| problem.detail.contains("BODY_BYTES_MAX")));
    }

    /// A share is held as long as the body is.
    #[tokio::test]
    async fn a_large_body_has_a_share_of_the_budget() {
        let budget = budget();
        let all = budget.units.available_permits();
        let held = budget.read(Body::from(vec![b'x'; 1 << 20]), usize::MAX, || too_large(0)).await.unwrap();
        assert_eq!(all - budget.units.available_permits(), 1 << 10);
        drop(held);
        assert_eq!(budget.units.available_permits(), all);
    }

    /// While the budget is used up, small bodies are read all the same; but not those whose decoder would take more memory than they.
    #[tokio::test]
    async fn a_window_that_is_not_small_is_of_the_budget() {
        let budget = budget();
        let headers = [("content-encoding".parse().unwrap(), "zstd".parse().unwrap())].into_iter().collect();
        let read = |body: Vec<u8>| budget.read_coded(&headers, Body::from(body));
        let all = budget.share(usize::MAX, Instant::now()).await.unwrap();
        let held = read(zstd_of(b"{}", SMALL_WINDOW_LOG_MAX)).await.unwrap();
        assert!(held.share.is_none() && held.bytes == "{}");
        let refused = read(zstd_of(b"{}", SMALL_WINDOW_LOG_MAX + 1)).await;
        assert!(refused.is_err_and(|problem| problem.status == StatusCode::SERVICE_UNAVAILABLE));
        drop(all);
        let held = read(zstd_of(b"{}", SMALL_WINDOW_LOG_MAX + 1)).await.unwrap();
        assert!(held.share.is_some() && held.bytes == "{}");
        let cut_off = zstd_of(b"{}", 12);
        let cut_off = read(cut_off[..cut_off.len() - 1].to_vec()).await;
        assert!(cut_off.is_err_and(|problem| problem.detail.contains("no whole zstd")));
    }
}
