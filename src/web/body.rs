//! A request's body in one piece, within bounds of size, time and memory.

use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use bytes::{Bytes, BytesMut};
use http_body_util::BodyExt;
use hyper::StatusCode;
use hyper::body::Body as _;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, timeout_at};

use crate::web::problem::Problem;

/// Bodies up to this size are held without asking the budget; their memory is bounded by the number of connections.
const SMALL_BODY_BYTES: usize = 64 << 10;
/// All larger bodies together, from their first byte until they are in the log: a few of the largest kind.
const BODIES_BYTES_MAX: usize = 64 << 20;
/// Slower than this, over what `body_timeout` grants anyway, and the upload is cut off: a client that sends a byte a second holds its place only so long.
const BODY_BYTES_PER_SECOND_MIN: u64 = 64 << 10;
/// The budget counts in these, so that it fits a semaphore's 32 bits.
const BUDGET_UNIT_BYTES: usize = 1 << 10;

/// Memory for the bodies of all requests.
pub struct Budget {
    units: Arc<Semaphore>,
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
        let bytes = BODIES_BYTES_MAX.max(body_bytes_max);
        Self { units: Arc::new(Semaphore::new(bytes.div_ceil(BUDGET_UNIT_BYTES))), body_bytes_max, body_timeout }
    }

    /// Reads the whole body into one allocation. A body whose length is declared takes its share of the budget before its first byte is read, one that
    /// is not takes the largest possible once it turns out not to be small; so no two of them can wait for each other's shares.
    pub async fn read(&self, mut body: Body) -> Result<Held, Problem> {
        let max = self.body_bytes_max;
        let declared = match body.size_hint().exact() {
            Some(length) => Some(usize::try_from(length).ok().filter(|n| *n <= max).ok_or_else(|| too_large(max))?),
            None => None,
        };
        let started = Instant::now();
        let mut share = match declared {
            Some(length) if length > SMALL_BODY_BYTES => Some(self.share(length, started).await?),
            _ => None,
        };
        let mut bytes = BytesMut::with_capacity(declared.unwrap_or(0));
        loop {
            let earned = Duration::from_secs(bytes.len() as u64 / BODY_BYTES_PER_SECOND_MIN);
            let Ok(frame) = timeout_at(started + self.body_timeout + earned, body.frame()).await else {
                return Err(Problem::new(
                    StatusCode::REQUEST_TIMEOUT,
                    format!(
                        "the body came too slowly: {} bytes in {:?}. Send it again, faster or in parts",
                        bytes.len(),
                        started.elapsed()
                    ),
                ));
            };
            let data = match frame {
                None => break,
                Some(Err(error)) => return Err(Problem::bad_request(format!("the body broke off: {error}"))),
                Some(Ok(frame)) => match frame.into_data() {
                    Ok(data) => data,
                    Err(_trailers) => continue,
                },
            };
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

    async fn share(&self, bytes: usize, started: Instant) -> Result<OwnedSemaphorePermit, Problem> {
        let units = u32::try_from(bytes.div_ceil(BUDGET_UNIT_BYTES)).unwrap_or(u32::MAX);
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
