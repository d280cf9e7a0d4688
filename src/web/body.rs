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

/// A body, and its share of the budget: to be kept until the bytes are no longer held.
pub struct Held {
    pub bytes: Bytes,
    _share: Option<OwnedSemaphorePermit>,
}

impl Budget {
    pub fn new(body_bytes_max: usize, body_timeout: Duration) -> Self {
        let units = BODIES_BYTES_MAX.max(body_bytes_max).div_ceil(BUDGET_UNIT_BYTES);
        let units_max = u32::try_from(units).unwrap_or(u32::MAX);
        Self { units: Arc::new(Semaphore::new(units)), units_max, body_bytes_max, body_timeout }
    }

    /// Reads a body that is as it stands.
    pub async fn read(&self, body: Body) -> Result<Held, Problem> {
        let (declared, started) = (self.declared(&body)?, Instant::now());
        self.read_plain(body, declared, started).await
    }

    /// Reads a body that may have a Content-Encoding, and decodes it while it is read: all bounds count what comes of it.
    pub async fn read_coded(&self, headers: &HeaderMap, body: Body) -> Result<Held, Problem> {
        let coding = Coding::of(headers)?;
        let (declared, started) = (self.declared(&body)?, Instant::now());
        match coding {
            None => self.read_plain(body, declared, started).await,
            Some(coding) => self.read_encoded(body, coding, started).await,
        }
    }

    fn declared(&self, body: &Body) -> Result<Option<usize>, Problem> {
        let max = self.body_bytes_max;
        let fits = |length: u64| usize::try_from(length).ok().filter(|n| *n <= max).ok_or_else(|| too_large(max));
        body.size_hint().exact().map(fits).transpose()
    }

    /// Reads the whole body into one allocation. A body whose length is declared takes its share of the budget before its first byte is read, one that
    /// is not takes the largest possible once it turns out not to be small; so no two of them can wait for each other's shares.
    async fn read_plain(&self, mut body: Body, declared: Option<usize>, started: Instant) -> Result<Held, Problem> {
        let max = self.body_bytes_max;
        let mut share = match declared {
            Some(length) if length > SMALL_BODY_BYTES => Some(self.share(length, started).await?),
            _ => None,
        };
        let mut bytes = BytesMut::with_capacity(declared.unwrap_or(0));
        while let Some(data) = self.next_data(&mut body, started, bytes.len()).await? {
            let length = bytes.len() + data.len();
            if length > max {
                return Err(too_large(max));
            }
            if share.is_none() && length > SMALL_BODY_BYTES {
                share = Some(self.share(max, started).await?);
                bytes.reserve(max - bytes.len());
            }
            bytes.extend_from_slice(&data);
        }
        Ok(Held { bytes: bytes.freeze(), _share: share })
    }

    /// Nobody knows what an encoded body will come to. While it is small, what has come of it is kept beside what it was decoded to; once it turns out not to be, it takes
    /// the largest share and is decoded anew.
    async fn read_encoded(&self, mut body: Body, coding: Coding, started: Instant) -> Result<Held, Problem> {
        let max = self.body_bytes_max;
        let problem = |fault: Fault| fault.problem(|| too_large(max));
        let mut inflater = Inflater::new(coding, SMALL_BODY_BYTES).map_err(problem)?;
        let mut kept = BytesMut::new();
        let ended = loop {
            let Some(data) = self.next_data(&mut body, started, kept.len()).await? else { break true };
            kept.extend_from_slice(&data);
            match inflater.feed(&data) {
                Ok(()) if kept.len() <= SMALL_BODY_BYTES => {}
                Ok(()) | Err(Fault::TooLarge) => break false,
                Err(fault) => return Err(problem(fault)),
            }
        };
        if ended {
            match inflater.finish() {
                Ok(bytes) => return Ok(Held { bytes, _share: None }),
                // What it held back until the end was too much.
                Err(Fault::TooLarge) => {}
                Err(fault) => return Err(problem(fault)),
            }
        }
        let share = self.share(max + coding.window_bytes(), started).await?;
        let mut inflater = Inflater::new(coding, max).map_err(problem)?;
        let (mut received, mut next) = (0, Some(kept.freeze()));
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
        Ok(Held { bytes: inflater.finish().map_err(problem)?, _share: Some(share) })
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

fn too_large(max: usize) -> Problem {
    Problem::new(
        StatusCode::PAYLOAD_TOO_LARGE,
        format!("the body is larger than BODY_BYTES_MAX = {max} bytes: send it in parts"),
    )
}
