//! One HTTP connection to a running job, made anew when it breaks. What is asked, and whether it is asked again, is the subcommand's.

use std::fmt::Write as _;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, anyhow};
use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper::header::{AUTHORIZATION, CONTENT_TYPE, HOST, RETRY_AFTER};
use hyper::{Method, Request, Response, StatusCode, Uri};
use hyper_util::rt::TokioIo;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::cli::https::Https;
use crate::config::Config;
use crate::logging::plain;

/// sysexits.h: the job is not there; it refuses what it is asked.
pub const EXIT_UNAVAILABLE: u8 = 69;
pub const EXIT_REFUSED: u8 = 65;

/// All but what RFC 3986 calls unreserved.
const ESCAPED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

// What --help groups the options by.
const JOB: &str = "The job";

/// Which job a subcommand asks.
#[derive(Debug, Default, clap::Args)]
pub struct JobArgs {
    /// The job's address, http:// or https://; unless given that of HTTP_ADDR and HTTP_PORT, with an operator's of API_TOKENS
    #[arg(help_heading = JOB, long, value_name = "URL", global = true)]
    url: Option<String>,
    /// Bearer token, where the job asks for one
    #[arg(help_heading = JOB, long, value_name = "TOKEN", global = true)]
    token: Option<String>,
}

impl JobArgs {
    /// # Errors
    /// As `Client::new`; if the settings are wrong.
    pub fn client(&self, answer_timeout: Duration, answer_bytes_max: usize) -> anyhow::Result<Client> {
        if let Some(url) = &self.url {
            // The tokens of the job here are no other job's business.
            return Client::new(url, self.token.as_deref(), answer_timeout, answer_bytes_max);
        }
        let http = Config::load_http()?;
        let url = http.url().ok_or_else(|| BadUrl("HTTP_PORT is 0: name the job's address by --url".to_owned()))?;
        let token = self.token.as_deref().or(http.tokens.own());
        let own = http.tls.as_ref().map(|files| files.cert.as_path());
        Client::to(&url, own, token, answer_timeout, answer_bytes_max)
    }
}

/// A job.
pub struct Client {
    authority: String,
    /// None: plain HTTP.
    https: Option<Https>,
    /// Before each call's path.
    prefix: String,
    token: Option<String>,
    answer_timeout: Duration,
    answer_bytes_max: usize,
    connection: Option<SendRequest<Full<Bytes>>>,
}

/// An address that cannot be a job's: bad usage.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct BadUrl(String);

/// What is asked of it.
pub struct Call<'a> {
    pub method: Method,
    pub path: &'a str,
    /// The request's Idempotency-Key.
    pub key: Option<&'a str>,
    /// The body's type.
    pub kind: Option<&'static str>,
    pub body: Bytes,
}

pub struct Answer {
    pub status: StatusCode,
    pub retry_after: Option<Duration>,
    pub body: String,
}

impl Answer {
    pub fn may_be_tried_again(&self) -> bool {
        match self.status {
            StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE | StatusCode::REQUEST_TIMEOUT => true,
            // The same request is being worked on; other conflicts are not over by themselves, and say no time.
            StatusCode::CONFLICT => self.retry_after.is_some(),
            _ => false,
        }
    }
}

impl std::fmt::Display for Answer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "the job answers {}: {}", self.status, plain(&self.body))
    }
}

/// What a problem says, with the faults of pipeline files that it lists; or the whole answer where it is none.
pub fn detail(answer: &Answer) -> String {
    if answer.status == StatusCode::UNAUTHORIZED {
        return "the job does not take this token, or got none: give one of its API_TOKENS by --token".to_owned();
    }
    let problem: serde_json::Value = serde_json::from_str(&answer.body).unwrap_or_default();
    let mut detail = problem["detail"].as_str().map_or_else(|| answer.to_string(), plain);
    for fault in problem["faults"].as_array().into_iter().flatten() {
        let text = |name: &str| plain(fault[name].as_str().unwrap_or_default());
        // A String takes all that is written.
        let _ = write!(detail, "\n{}:{}:{}: {}", text("file"), fault["line"], fault["column"], text("message"));
    }
    detail
}

/// `text` so that it may stand in a path or as a value in a query string.
pub fn escape(text: &str) -> String {
    utf8_percent_encode(text, ESCAPED).to_string()
}

/// What comes of asking for a stream.
pub enum Streamed {
    Open(Stream),
    Refused(Answer),
}

/// An answer that comes piece by piece.
pub struct Stream {
    /// The offset at which it begins.
    pub from: u64,
    /// The one before which it ends, if it does.
    pub until: Option<u64>,
    body: Incoming,
}

impl Stream {
    /// The next piece; None where it has ended or broken off.
    pub async fn next(&mut self) -> Option<Bytes> {
        loop {
            if let Ok(piece) = self.body.frame().await?.ok()?.into_data() {
                return Some(piece);
            }
        }
    }
}

impl Client {
    /// Of an answer at most `answer_bytes_max` are taken, and it must come within `answer_timeout`.
    pub fn new(
        url: &str,
        token: Option<&str>,
        answer_timeout: Duration,
        answer_bytes_max: usize,
    ) -> anyhow::Result<Self> {
        Self::to(url, None, token, answer_timeout, answer_bytes_max)
    }

    /// `own` is the certificate of the job of the settings.
    fn to(
        url: &str,
        own: Option<&Path>,
        token: Option<&str>,
        answer_timeout: Duration,
        answer_bytes_max: usize,
    ) -> anyhow::Result<Self> {
        let bad = |why: &str| BadUrl(format!("{url:?} {why}"));
        let uri: Uri = url.parse().map_err(|error| bad(&format!("is no URL: {error}")))?;
        let host = uri.host().ok_or_else(|| bad("names no host"))?;
        let (https, port) = match uri.scheme_str() {
            Some("http") => (None, 80),
            Some("https") => (Some(own.map_or_else(|| Https::to(host), |cert| Https::to_own(host, cert))?), 443),
            _ => return Err(bad("is no address: one begins with http:// or https://, as http://127.0.0.1:5000").into()),
        };
        let authority = format!("{host}:{}", uri.port_u16().unwrap_or(port));
        let (prefix, token) = (uri.path().trim_end_matches('/').to_owned(), token.map(str::to_owned));
        Ok(Self { authority, https, prefix, token, answer_timeout, answer_bytes_max, connection: None })
    }

    /// One try.
    pub async fn ask(&mut self, call: &Call<'_>) -> anyhow::Result<Answer> {
        let patience = self.answer_timeout;
        let answer = timeout(patience, self.exchange(call)).await;
        let answer = answer.unwrap_or_else(|_| Err(anyhow!("no answer within {} s", patience.as_secs())));
        if answer.is_err() {
            self.connection = None;
        }
        answer
    }

    /// One try to open a stream of events, on a connection of its own.
    pub async fn stream(&mut self, path: &str) -> anyhow::Result<Streamed> {
        let call = Call { method: Method::GET, path, key: None, kind: None, body: Bytes::new() };
        self.connection = None;
        let patience = self.answer_timeout;
        let asked = timeout(patience, self.send(&call)).await;
        let response = asked.unwrap_or_else(|_| Err(anyhow!("no answer within {} s", patience.as_secs())))?;
        if response.status() != StatusCode::OK {
            return read(response, self.answer_bytes_max).await.map(Streamed::Refused);
        }
        let offset = |name| response.headers().get(name).and_then(|offset| offset.to_str().ok()?.parse().ok());
        let from = offset("caudal-from").ok_or_else(|| anyhow!("the answer is no stream of events"))?;
        let until = offset("caudal-until");
        Ok(Streamed::Open(Stream { from, until, body: response.into_body() }))
    }

    async fn exchange(&mut self, call: &Call<'_>) -> anyhow::Result<Answer> {
        let bytes_max = self.answer_bytes_max;
        read(self.send(call).await?, bytes_max).await
    }

    async fn send(&mut self, call: &Call<'_>) -> anyhow::Result<Response<Incoming>> {
        let uri: Uri = format!("{}{}", self.prefix, call.path).parse()?;
        let mut request = Request::builder().method(call.method.clone()).uri(uri).header(HOST, &self.authority);
        if let Some(kind) = call.kind {
            request = request.header(CONTENT_TYPE, kind);
        }
        if let Some(key) = call.key {
            request = request.header("idempotency-key", format!("\"{key}\""));
        }
        if let Some(token) = &self.token {
            request = request.header(AUTHORIZATION, format!("Bearer {token}"));
        }
        let request = request.body(Full::new(call.body.clone()))?;
        let connection = match self.connection.take().filter(|c| !c.is_closed()) {
            Some(connection) => self.connection.insert(connection),
            None => self.connection.insert(connect(&self.authority, self.https.as_ref()).await?),
        };
        connection.ready().await?;
        Ok(connection.send_request(request).await?)
    }
}

async fn connect(authority: &str, https: Option<&Https>) -> anyhow::Result<SendRequest<Full<Bytes>>> {
    let stream = TcpStream::connect(authority).await.with_context(|| {
        format!("cannot connect to {authority} (start the job there, or name another address by --url)")
    })?;
    stream.set_nodelay(true)?;
    match https {
        None => speak(stream).await,
        Some(https) => speak(https.secure(stream, authority).await?).await,
    }
}

async fn speak(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
) -> anyhow::Result<SendRequest<Full<Bytes>>> {
    let (sender, connection) = handshake(TokioIo::new(stream)).await?;
    // Ends when the connection does; its error reaches the request that waits.
    tokio::spawn(connection);
    Ok(sender)
}

async fn read(response: Response<Incoming>, bytes_max: usize) -> anyhow::Result<Answer> {
    let status = response.status();
    let seconds = response.headers().get(RETRY_AFTER).and_then(|value| value.to_str().ok()?.parse().ok());
    let body = Limited::new(response.into_body(), bytes_max).collect().await.map_err(|error| anyhow!(error))?;
    let body = String::from_utf8_lossy(&body.to_bytes()).into_owned();
    Ok(Answer { status, retry_after: seconds.map(Duration::from_secs), body })
}
