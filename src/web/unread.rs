//! What a handler leaves of a request's body. hyper closes such a connection after the answer and does not say so, and a client that keeps it open would
//! send its next request into nothing: so a small rest is read and dropped, and of a large or slow one the answer says `Connection: close`.

use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use hyper::HeaderMap;
use hyper::body::{Body, Bytes, Frame, Incoming, SizeHint};
use hyper::header::EXPECT;
use tokio::sync::oneshot;
use tokio::time::timeout;

use http_body_util::BodyExt;

/// A rest up to this size is cheaper than a new connection.
const REST_BYTES_MAX: u64 = 256 << 10;
/// A body that was sent with its headers is there well before.
const REST_WAIT_MAX: Duration = Duration::from_millis(500);

/// A body in a handler's hands. What it does not read goes back when it is dropped.
pub struct Lent {
    /// None once it went back.
    body: Option<Incoming>,
    ended: bool,
    back: Option<oneshot::Sender<Incoming>>,
}

/// Where the rest of a body comes back to.
pub struct Rest {
    back: oneshot::Receiver<Incoming>,
    /// The client waits to be asked for the body, and must not be.
    unasked: bool,
}

/// Lends a request's body to its handler.
pub fn lend(headers: &HeaderMap, body: Incoming) -> (Lent, Rest) {
    let ended = body.is_end_stream();
    let (to, back) = oneshot::channel();
    (Lent { body: Some(body), ended, back: Some(to) }, Rest { back, unasked: headers.contains_key(EXPECT) })
}

impl Rest {
    /// Reads what was left and drops it; gives whether that was all, so that the connection can go on.
    pub async fn drained(mut self) -> bool {
        match self.back.try_recv() {
            // It was read to its end.
            Err(oneshot::error::TryRecvError::Closed) => true,
            // The handler answered and holds it still.
            Err(oneshot::error::TryRecvError::Empty) => false,
            Ok(body) => !self.unasked && timeout(REST_WAIT_MAX, drop_all(body)).await.unwrap_or(false),
        }
    }
}

/// Whether the body ended within `REST_BYTES_MAX`.
async fn drop_all(mut body: Incoming) -> bool {
    let mut dropped = 0;
    // A declared length is known before anything is read.
    while dropped + body.size_hint().lower() <= REST_BYTES_MAX {
        match body.frame().await {
            None => return true,
            Some(Err(_)) => return false,
            Some(Ok(frame)) => dropped += frame.data_ref().map_or(0, |data| data.len() as u64),
        }
    }
    false
}

impl Body for Lent {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let Some(body) = &mut self.body else { return Poll::Ready(None) };
        let frame = ready!(Pin::new(body).poll_frame(cx));
        // After an error hyper knows itself that the connection is over.
        self.ended |= !matches!(frame, Some(Ok(_)));
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.as_ref().is_none_or(Body::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.body.as_ref().map(Body::size_hint).unwrap_or_default()
    }
}

impl Drop for Lent {
    fn drop(&mut self) {
        if let (Some(body), Some(back)) = (self.body.take(), self.back.take())
            && !self.ended
            && !body.is_end_stream()
        {
            // Nobody waits for it where the connection is gone.
            drop(back.send(body));
        }
    }
}
