//! Connections: their number, their timeouts, their TLS, their end. Knows HTTP/1.1 and nothing of what is served.

use std::convert::Infallible;
use std::future::{Future, poll_fn};
use std::io;
use std::net::IpAddr;
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
use tower::Service;

use crate::config::Http;
use crate::web::tls::{Begun, Tls};
use crate::web::unread::lend;

/// How long running requests may take to end once the server stops. A supervisor grants a job a minute to drain, and they have had most of that.
pub const DRAIN_MAX: Duration = Duration::from_secs(3);
/// hyper reads a body in pieces of up to this size.
const READ_BUFFER_BYTES: usize = 512 << 10;
/// Request line and headers together.
const HEADER_BYTES_MAX: usize = 32 << 10;
const HEADERS_MAX: usize = 100;
/// Connections beyond `connections_max` that are told so; still further ones are just closed.
const OVERFLOW_MAX: usize = 64;
/// What a client still sends after its last answer is read and dropped within these bounds, so that the answer is not lost by a reset.
const LINGER_MAX: Duration = Duration::from_secs(2);
const LINGER_BYTES_MAX: u64 = 64 << 20;
/// After a failed accept (no file descriptor is left): so long until the next.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// What every connection is served by.
#[derive(Clone)]
struct Serving {
    router: Router,
    tls: Option<Arc<Tls>>,
    header_timeout: Duration,
    write_timeout: Duration,
    /// Requests say whom they come from: who counts them wants to know.
    name_peers: bool,
    stopped: watch::Receiver<bool>,
}

/// Where a request comes from.
#[derive(Clone, Copy)]
pub struct Peer(pub IpAddr);

/// Serves connections until `stop`, then lets running requests end, for `DRAIN_MAX` at most.
pub async fn run(
    listener: TcpListener,
    tls: Option<Arc<Tls>>,
    router: Router,
    http: &Http,
    stop: impl Future<Output = ()> + Send,
) {
    let connections_max = http.connections_max.clamp(1, Semaphore::MAX_PERMITS.min(u32::MAX as usize));
    let places = Arc::new(Semaphore::new(connections_max));
    let overflow = Arc::new(Semaphore::new(OVERFLOW_MAX));
    let (stopping, stopped) = watch::channel(false);
    let serving = Serving {
        router,
        tls,
        header_timeout: http.header_timeout,
        write_timeout: http.write_timeout,
        name_peers: http.rate_max.is_some(),
        stopped,
    };
    let mut stop = pin!(stop);
    loop {
        let accepted = tokio::select! {
            () = &mut stop => break,
            accepted = listener.accept() => accepted,
        };
        let Ok((stream, peer)) = accepted else {
            sleep(ACCEPT_PAUSE).await;
            continue;
        };
        // Without it an answer may wait 40 ms for the acknowledgement of the one before.
        let _ = stream.set_nodelay(true);
        if let Ok(place) = Arc::clone(&places).try_acquire_owned() {
            tokio::spawn(serving.clone().begin(stream, Peer(peer.ip()), place));
        } else if let Ok(place) = Arc::clone(&overflow).try_acquire_owned() {
            tokio::spawn(serving.clone().turn_away(stream, place));
        }
    }
    drop(listener);
    stopping.send_replace(true);
    let all = u32::try_from(connections_max).unwrap_or(u32::MAX);
    // Whoever is not done by then is cut off when the runtime ends.
    let _ = timeout(DRAIN_MAX, places.acquire_many(all)).await;
}

impl Serving {
    async fn begin(self, stream: TcpStream, peer: Peer, place: OwnedSemaphorePermit) {
        match &self.tls {
            None => self.connection(stream, peer).await,
            Some(tls) => match tls.begin(stream, self.header_timeout).await {
                Begun::Secure(stream) => self.connection(*stream, peer).await,
                Begun::Plain(stream) => {
                    end(stream, &raw("400 Bad Request", "this port speaks TLS: ask https://, not http://")).await;
                }
                Begun::Gone => {}
            },
        }
        drop(place);
    }

    /// For one more than there are places.
    async fn turn_away(self, stream: TcpStream, place: OwnedSemaphorePermit) {
        let word = raw("503 Service Unavailable", "too many connections are open: connect again in a second");
        match &self.tls {
            None => end(stream, &word).await,
            Some(tls) => match tls.begin(stream, LINGER_MAX).await {
                Begun::Secure(stream) => end(*stream, &word).await,
                Begun::Plain(stream) => end(stream, &word).await,
                Begun::Gone => {}
            },
        }
        drop(place);
    }

    async fn connection(&self, stream: impl AsyncRead + AsyncWrite + Unpin, peer: Peer) {
        // The status of the newest answer; 0: none was asked for yet.
        let newest = Arc::new(AtomicU16::new(0));
        let service = {
            let newest = Arc::clone(&newest);
            service_fn(move |request: hyper::Request<Incoming>| {
                let (mut head, body) = request.into_parts();
                if self.name_peers {
                    head.extensions.insert(peer);
                }
                let (body, rest) = lend(&head.headers, body);
                // A router is always ready.
                let answer = self.router.clone().call(hyper::Request::from_parts(head, body));
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
            .header_read_timeout(self.header_timeout)
            .max_headers(HEADERS_MAX)
            .max_header_size(HEADER_BYTES_MAX)
            .max_buf_size(READ_BUFFER_BYTES);
        let patient = Patient { stream, stall_max: self.write_timeout, stalled: None, bare: Vec::new() };
        let mut connection = http.serve_connection(TokioIo::new(patient), service);
        let mut stopped = self.stopped.clone();
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
        let timed_out = result.as_ref().is_err_and(hyper::Error::is_timeout);
        let Patient { mut stream, bare, .. } = connection.into_parts().io.into_inner();
        if !bare.is_empty() {
            match result {
                Err(error) if error.is_parse() => end(stream, &unreadable(&error, &bare)).await,
                _ => end(stream, &String::from_utf8_lossy(&bare)).await,
            }
            return;
        }
        match newest.load(Ordering::Relaxed) {
            0 if timed_out => {
                end(stream, &raw("408 Request Timeout", "the request's headers came too slowly: send them again"))
                    .await;
            }
            // All was read, or the client is gone, or idle and awaits no answer. TLS says so: what just breaks off may be an attack.
            200..400 => drop(timeout(LINGER_MAX, stream.shutdown()).await),
            _ => end(stream, "").await,
        }
    }
}

/// Says a last word, then waits until the client has closed too.
async fn end(mut stream: impl AsyncRead + AsyncWrite + Unpin, word: &str) {
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
    let again = if matches!(code, "408" | "503") { "retry-after: 1\r\n" } else { "" };
    let length = body.len();
    format!(
        "HTTP/1.1 {status}\r\ncontent-type: application/problem+json\r\n{again}content-length: {length}\r\nx-content-type-options: nosniff\r\n\
         cross-origin-resource-policy: same-origin\r\ncache-control: no-store\r\nconnection: close\r\n\r\n{body}"
    )
}

/// In place of hyper's own answer to what it cannot read.
fn unreadable(error: &hyper::Error, bare: &[u8]) -> String {
    if bare.starts_with(b"HTTP/1.1 431") {
        let detail = format!(
            "request line and headers have more than {HEADER_BYTES_MAX} bytes, or are more than {HEADERS_MAX}: send fewer"
        );
        return raw("431 Request Header Fields Too Large", &detail);
    }
    if bare.starts_with(b"HTTP/1.1 414") {
        return raw("414 URI Too Long", "the address of the request is too long: send a shorter one");
    }
    // These words are hyper's, and hold nothing of the request.
    raw("400 Bad Request", &format!("this is no request of HTTP/1.1 ({error}): send it as RFC 9112 has it"))
}

/// Whether this is all of an answer that hyper gives by itself, without a body, to what it cannot read. Every error of the service has a body.
fn is_bare(bytes: &[u8]) -> bool {
    const LONGEST: usize = 256;
    let begins = [&b"HTTP/1.1 400 "[..], b"HTTP/1.1 414 ", b"HTTP/1.1 431 "].iter().any(|head| bytes.starts_with(head));
    begins
        && bytes.len() < LONGEST
        && bytes.ends_with(b"\r\n\r\n")
        && memchr::memmem::find(bytes, b"\r\ncontent-length: 0\r\n").is_some()
}

/// A stream that gives up on a client which takes nothing for `stall_max`.
struct Patient<S> {
    stream: S,
    stall_max: Duration,
    stalled: Option<Pin<Box<Sleep>>>,
    /// An answer that is kept back (`is_bare`): hyper writes it last, and a problem that says what to do goes out in its place.
    bare: Vec<u8>,
}

impl<S> Patient<S> {
    /// Starts the timer while nothing can be written, and stops it when something is.
    fn watch<T>(&mut self, cx: &mut Context<'_>, written: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if written.is_ready() {
            self.stalled = None;
            return written;
        }
        let stall_max = self.stall_max;
        let timer = self.stalled.get_or_insert_with(|| Box::pin(sleep(stall_max)));
        ready!(timer.as_mut().poll(cx));
        Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Patient<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, into)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Patient<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        if is_bare(bytes) {
            self.bare.extend_from_slice(bytes);
            return Poll::Ready(Ok(bytes.len()));
        }
        let written = Pin::new(&mut self.stream).poll_write(cx, bytes);
        self.watch(cx, written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        if let [bytes] = slices
            && is_bare(bytes)
        {
            self.bare.extend_from_slice(bytes);
            return Poll::Ready(Ok(bytes.len()));
        }
        let written = Pin::new(&mut self.stream).poll_write_vectored(cx, slices);
        self.watch(cx, written)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    /// TLS may take bytes that the client does not; they wait here.
    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let flushed = Pin::new(&mut self.stream).poll_flush(cx);
        self.watch(cx, flushed)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
