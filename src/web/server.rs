//! Connections: their number, their timeouts, their end. Knows HTTP/1.1 and nothing of what is served.

use std::convert::Infallible;
use std::future::{Future, poll_fn};
use std::io;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicU16, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use axum::Router;
use hyper::body::Incoming;
use hyper::header::{CONNECTION, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::time::{Sleep, sleep, timeout};
use tower::ServiceExt;

use crate::config::Http;
use crate::web::unread::lend;

/// How long running requests may take to end once the server stops.
const DRAIN_MAX: Duration = Duration::from_secs(10);
/// hyper reads a body in pieces of up to this size.
const READ_BUFFER_BYTES: usize = 512 << 10;
/// Request line and headers together.
const HEADER_BYTES_MAX: usize = 32 << 10;
const HEADERS_MAX: usize = 100;
/// Connections beyond `connections_max` that are told so; still further ones are just closed.
const OVERFLOW_MAX: usize = 64;
/// A client that takes nothing of its answer for this long is gone.
const WRITE_STALL_MAX: Duration = Duration::from_secs(30);
/// What a client still sends after its last answer is read and dropped within these bounds, so that the answer is not lost by a reset.
const LINGER_MAX: Duration = Duration::from_secs(2);
const LINGER_BYTES_MAX: u64 = 64 << 20;
/// After a failed accept (no file descriptor is left): so long until the next.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Serves connections until `stop`, then lets running requests end, for `DRAIN_MAX` at most.
pub async fn run(listener: TcpListener, router: Router, http: &Http, stop: impl Future<Output = ()> + Send) {
    let connections_max = http.connections_max.clamp(1, Semaphore::MAX_PERMITS.min(u32::MAX as usize));
    let places = Arc::new(Semaphore::new(connections_max));
    let overflow = Arc::new(Semaphore::new(OVERFLOW_MAX));
    let (stopping, stopped) = watch::channel(false);
    let mut stop = pin!(stop);
    loop {
        let accepted = tokio::select! {
            () = &mut stop => break,
            accepted = listener.accept() => accepted,
        };
        let Ok((stream, _)) = accepted else {
            sleep(ACCEPT_PAUSE).await;
            continue;
        };
        if let Ok(place) = Arc::clone(&places).try_acquire_owned() {
            tokio::spawn(connection(stream, router.clone(), http.header_timeout, stopped.clone(), place));
        } else if let Ok(place) = Arc::clone(&overflow).try_acquire_owned() {
            tokio::spawn(async move {
                let _ = stream.set_nodelay(true);
                end(
                    stream,
                    &raw("503 Service Unavailable", "too many connections are open: connect again in a second"),
                )
                .await;
                drop(place);
            });
        }
    }
    drop(listener);
    stopping.send_replace(true);
    let all = u32::try_from(connections_max).unwrap_or(u32::MAX);
    // Whoever is not done by then is cut off when the runtime ends.
    let _ = timeout(DRAIN_MAX, places.acquire_many(all)).await;
}

async fn connection(
    stream: TcpStream,
    router: Router,
    header_timeout: Duration,
    mut stopped: watch::Receiver<bool>,
    place: OwnedSemaphorePermit,
) {
    // Without it an answer may wait 40 ms for the acknowledgement of the one before.
    let _ = stream.set_nodelay(true);
    // The status of the newest answer; 0: none was asked for yet.
    let newest = Arc::new(AtomicU16::new(0));
    let service = {
        let newest = Arc::clone(&newest);
        service_fn(move |request: hyper::Request<Incoming>| {
            let (head, body) = request.into_parts();
            let (body, rest) = lend(&head.headers, body);
            let answer = router.clone().oneshot(hyper::Request::from_parts(head, body));
            let newest = Arc::clone(&newest);
            Box::pin(async move {
                let mut answer = answer.await.unwrap_or_else(|never| match never {});
                if !rest.drained().await {
                    answer.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
                }
                newest.store(answer.status().as_u16(), Ordering::Relaxed);
                Ok::<_, Infallible>(answer)
            })
        })
    };
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new())
        .header_read_timeout(header_timeout)
        .max_headers(HEADERS_MAX)
        .max_header_size(HEADER_BYTES_MAX)
        .max_buf_size(READ_BUFFER_BYTES);
    let mut connection = http.serve_connection(TokioIo::new(Patient::new(stream)), service);
    let result = loop {
        tokio::select! {
            result = poll_fn(|cx| connection.poll_without_shutdown(cx)) => break result,
            changed = stopped.changed() => {
                Pin::new(&mut connection).graceful_shutdown();
                if changed.is_err() {
                    break Ok(());
                }
            }
        }
    };
    let timed_out = result.is_err_and(|error| error.is_timeout());
    let stream = connection.into_parts().io.into_inner().stream;
    match newest.load(Ordering::Relaxed) {
        0 if timed_out => {
            end(stream, &raw("408 Request Timeout", "the request's headers came too slowly: send them again")).await;
        }
        // All was read, or the client is gone, or idle and awaits no answer.
        200..400 => {}
        _ => end(stream, "").await,
    }
    drop(place);
}

/// Says a last word, then waits until the client has closed too.
async fn end(mut stream: TcpStream, word: &str) {
    let _ = timeout(LINGER_MAX, async {
        stream.write_all(word.as_bytes()).await?;
        stream.shutdown().await?;
        tokio::io::copy(&mut stream.take(LINGER_BYTES_MAX), &mut tokio::io::sink()).await
    })
    .await;
}

/// An answer of which hyper knows nothing.
fn raw(status: &str, detail: &str) -> String {
    let (code, title) = status.split_once(' ').unwrap_or((status, ""));
    let body = format!("{{\"title\":\"{title}\",\"status\":{code},\"detail\":\"{detail}\"}}");
    let length = body.len();
    format!(
        "HTTP/1.1 {status}\r\ncontent-type: application/problem+json\r\nretry-after: 1\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n{body}"
    )
}

/// A stream that gives up on a client which takes nothing for `WRITE_STALL_MAX`.
struct Patient {
    stream: TcpStream,
    stalled: Option<Pin<Box<Sleep>>>,
}

impl Patient {
    fn new(stream: TcpStream) -> Self {
        Self { stream, stalled: None }
    }

    /// Starts the timer while writing is not possible, and stops it when it is.
    fn watch(&mut self, cx: &mut Context<'_>, written: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        if written.is_ready() {
            self.stalled = None;
            return written;
        }
        let timer = self.stalled.get_or_insert_with(|| Box::pin(sleep(WRITE_STALL_MAX)));
        ready!(timer.as_mut().poll(cx));
        Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
    }
}

impl AsyncRead for Patient {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, into)
    }
}

impl AsyncWrite for Patient {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(cx, bytes);
        self.watch(cx, written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write_vectored(cx, slices);
        self.watch(cx, written)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
