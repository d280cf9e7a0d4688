//! Who may call at all: foreign hosts, other sites' forms, callers that send too much or have no token for what they ask are turned away before anything of
//! their request is looked at; every answer gets the headers that keep a browser from reading more into it than it is. `docs/security.md` says what holds.

use std::convert::Infallible;
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Instant;

use axum::extract::{MatchedPath, Request};
use axum::http::uri::Authority;
use axum::response::{IntoResponse, Response};
use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use hyper::header::{
    AUTHORIZATION, CACHE_CONTROL, CONTENT_SECURITY_POLICY, EXPECT, HOST, HeaderMap, HeaderName, HeaderValue, ORIGIN,
    REFERRER_POLICY, STRICT_TRANSPORT_SECURITY, X_CONTENT_TYPE_OPTIONS,
};
use hyper::{Method, StatusCode, Uri, Version};
use subtle::{ConditionallySelectable, ConstantTimeEq};
use tower::layer::layer_fn;
use tower::{Layer, Service};

use crate::config::{Http, Role, Roles, Tokens};
use crate::web::Web;
use crate::web::problem::Problem;
use crate::web::server::Peer;

/// Open without a token: the probes, and the page, which asks for one.
const PUBLIC: [&str; 4] = ["/", "/favicon.svg", "/healthz", "/readyz"];
/// Where the page's other files are.
const PUBLIC_FILES: &str = "/assets/";
/// Not counted by HTTP_RATE_MAX: whoever watches the job is to see that it is there.
const PROBES: [&str; 2] = ["/healthz", "/readyz"];

/// What a sender may post to, beside the routes of pipeline files.
const SENDING: [&str; 4] = [
    "/events",
    "/topics/{topic}/events",
    "/topics/{topic}/groups/{group}/poll",
    "/topics/{topic}/groups/{group}/commit",
];

/// Names under which people try to put a token into a URL, where proxies, histories and logs would keep it.
const TOKEN_NAMES: [&str; 4] = ["token", "access_token", "api_token", "api_key"];

/// On every answer: it is what it says it is, and no other site's page has any part of it.
static ALWAYS: [(HeaderName, HeaderValue); 2] = [
    (X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff")),
    (HeaderName::from_static("cross-origin-resource-policy"), HeaderValue::from_static("same-origin")),
];
/// On every answer that a browser can make a page of. Such a page runs nothing but the scripts and styles that this server has as files, is part of no other
/// page, and gives no other page a hold on it.
static PAGES: [(HeaderName, HeaderValue); 4] = [
    (REFERRER_POLICY, HeaderValue::from_static("no-referrer")),
    (
        CONTENT_SECURITY_POLICY,
        HeaderValue::from_static(
            "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; font-src 'self'; connect-src 'self'; \
             manifest-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'; \
             require-trusted-types-for 'script'; trusted-types 'none'",
        ),
    ),
    (HeaderName::from_static("cross-origin-opener-policy"), HeaderValue::from_static("same-origin")),
    (
        HeaderName::from_static("permissions-policy"),
        HeaderValue::from_static("camera=(), geolocation=(), microphone=(), payment=(), usb=()"),
    ),
];
/// Two years, as the lists of browsers ask for.
static HTTPS_ONLY: HeaderValue = HeaderValue::from_static("max-age=63072000");

/// What stands before every route.
#[derive(Clone)]
pub struct Guarded<S> {
    web: Arc<Web>,
    inner: S,
}

pub fn guard<S>(web: Arc<Web>) -> impl Layer<S, Service = Guarded<S>> + Clone {
    layer_fn(move |inner| Guarded { web: Arc::clone(&web), inner })
}

type Answering = Pin<Box<dyn Future<Output = Result<Response, Infallible>> + Send>>;

impl<S> Service<Request> for Guarded<S>
where
    S: Service<Request, Response = Response, Error = Infallible>,
    S::Future: Send + 'static,
{
    type Response = Response;
    type Error = Infallible;
    type Future = Answering;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request) -> Answering {
        let (begun, web) = (Instant::now(), Arc::clone(&self.web));
        let asked = Asked::of(&web.app.http, &request);
        // The request itself is not held any longer: there is one of this for every request that is under way.
        let answer = check(&web, &request).map(|()| self.inner.call(request));
        Box::pin(async move {
            let mut response = match answer {
                Ok(answer) => answer.await?,
                Err(problem) => problem.into_response(),
            };
            web.requests.count(
                &asked.method,
                asked.route.as_ref().map(MatchedPath::as_str),
                &response,
                begun.elapsed(),
            );
            asked.mark(response.headers_mut());
            Ok(response)
        })
    }
}

/// What of a request its answer depends on, whatever the answer is.
struct Asked {
    method: Method,
    route: Option<MatchedPath>,
    https_only: bool,
}

impl Asked {
    fn of(http: &Http, request: &Request) -> Self {
        Self {
            method: request.method().clone(),
            route: request.extensions().get::<MatchedPath>().cloned(),
            // A browser takes the word for all ports of a name, and other servers of this machine are not to suffer for it.
            https_only: http.tls.is_some()
                && host(request).is_ok_and(|host| host.is_some_and(|host| !is_loopback(host))),
        }
    }

    fn mark(&self, headers: &mut HeaderMap) {
        // What is posted is answered in JSON, which no browser makes a page of; and there the headers would be longer than the answer.
        let page = matches!(self.method, Method::GET | Method::HEAD);
        for (name, value) in ALWAYS.iter().chain(PAGES.iter().filter(|_| page)) {
            headers.insert(name, value.clone());
        }
        if self.https_only {
            headers.insert(STRICT_TRANSPORT_SECURITY, HTTPS_ONLY.clone());
        }
        headers.entry(CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
    }
}

fn check(web: &Web, request: &Request) -> Result<(), Problem> {
    let (http, headers, path) = (&web.app.http, request.headers(), request.uri().path());
    let peer = request.extensions().get::<Peer>();
    if let (Some(throttle), Some(Peer(address))) = (&web.throttle, peer)
        && !PROBES.contains(&path)
    {
        throttle.take(*address)?;
    }
    let host = host(request)?;
    known_host(http, host)?;
    if headers.get_all(EXPECT).iter().any(|expected| !expected.as_bytes().eq_ignore_ascii_case(b"100-continue")) {
        let detail = "of Expect only 100-continue can be met: leave the header out, or send that";
        return Err(Problem::new(StatusCode::EXPECTATION_FAILED, detail));
    }
    if !matches!(*request.method(), Method::GET | Method::HEAD | Method::OPTIONS) {
        same_site(http, headers, host)?;
    }
    if token_in(request.uri()) {
        return Err(Problem::bad_request("a token never stands in the URL: send it as Authorization: Bearer …"));
    }
    if http.tokens.is_empty() || PUBLIC.contains(&path) || path.starts_with(PUBLIC_FILES) {
        return Ok(());
    }
    let roles = roles(headers, &http.tokens);
    if roles.is_none() {
        return Err(Problem::new(
            StatusCode::UNAUTHORIZED,
            "send one of API_TOKENS as Authorization: Bearer …, or as the password of Basic authentication",
        ));
    }
    match needed(request) {
        Some(role) if !roles.allow(role) => {
            let (role, method) = (role.name(), request.method());
            Err(Problem::new(
                StatusCode::FORBIDDEN,
                format!("{method} {path} needs a token with the role {role}, which this one has not (API_TOKENS)"),
            )
            .with("role", role))
        }
        _ => Ok(()),
    }
}

/// The host that is asked for: of the request's address where it is a whole one, else of its one Host header. HTTP/1.0 may go without.
fn host(request: &Request) -> Result<Option<&str>, Problem> {
    let mut all = request.headers().get_all(HOST).iter();
    let first = all.next();
    if all.next().is_some() {
        return Err(Problem::bad_request("more than one Host header"));
    }
    let named = match first.map(HeaderValue::to_str) {
        None if request.version() > Version::HTTP_10 => return Err(Problem::bad_request("no Host header")),
        None => None,
        Some(Ok(text)) => Some(text),
        Some(Err(_)) => return Err(Problem::bad_request("the Host header is no ASCII text")),
    };
    Ok(request.uri().authority().map(Authority::as_str).or(named))
}

/// A page of another site whose name was made to point here (DNS rebinding) still names itself in Host.
fn known_host(http: &Http, host: Option<&str>) -> Result<(), Problem> {
    // Without a token of its own such a page learns nothing.
    if http.hosts.is_empty() && !http.tokens.is_empty() {
        return Ok(());
    }
    if host.is_none_or(|host| is_loopback(host) || names(http, host)) {
        return Ok(());
    }
    let detail = if http.hosts.is_empty() {
        "without API_TOKENS only localhost, 127.0.0.1 and [::1] are answered as Host: ask under one of these, or set API_TOKENS or HTTP_HOSTS"
    } else {
        "this Host is none of HTTP_HOSTS: ask under one of them, or add it there"
    };
    Err(Problem::new(StatusCode::MISDIRECTED_REQUEST, detail))
}

/// The name in `NAME:PORT`, without the brackets of an IPv6 address.
fn name(host: &str) -> &str {
    match host.strip_prefix('[') {
        Some(rest) => rest.split(']').next().unwrap_or_default(),
        None => host.split(':').next().unwrap_or_default(),
    }
}

fn is_loopback(host: &str) -> bool {
    let name = name(host);
    name.eq_ignore_ascii_case("localhost") || name.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

fn names(http: &Http, host: &str) -> bool {
    http.hosts.iter().any(|known| known.eq_ignore_ascii_case(name(host)))
}

/// Browsers name the page that sends a request; curl and scripts do not.
fn same_site(http: &Http, headers: &HeaderMap, host: Option<&str>) -> Result<(), Problem> {
    let mut sites = headers.get_all(HeaderName::from_static("sec-fetch-site")).iter().map(HeaderValue::as_bytes);
    let mut origins = headers.get_all(ORIGIN).iter();
    let (origin, more) = (origins.next().map(HeaderValue::to_str), origins.next());
    let foreign = more.is_some()
        || match origin {
            // Another port of this host, or another host of its domain, is `same-site`.
            None => !sites.all(|site| matches!(site, b"same-origin" | b"none")),
            Some(Ok(origin)) => {
                let of = origin.split_once("://").map(|(_, authority)| authority);
                // A proxy may ask under another name than the browser does.
                of.is_none_or(|of| Some(of) != host && !names(http, of))
            }
            Some(Err(_)) => true,
        };
    if foreign {
        return Err(Problem::new(StatusCode::FORBIDDEN, "requests sent by pages of other sites are not taken"));
    }
    Ok(())
}

fn token_in(uri: &Uri) -> bool {
    let names = uri.query().unwrap_or_default().split('&').map(|pair| pair.split('=').next().unwrap_or_default());
    names.into_iter().any(|name| TOKEN_NAMES.iter().any(|t| name.eq_ignore_ascii_case(t)))
}

/// What the request's token allows. Bearer carries the token itself, Basic has it as the password, of whatever user.
fn roles(headers: &HeaderMap, tokens: &Tokens) -> Roles {
    let mut all = headers.get_all(AUTHORIZATION).iter();
    let (Some(value), None) = (all.next(), all.next()) else { return Roles::default() };
    let value = value.as_bytes();
    let Some(blank) = value.iter().position(|&b| b == b' ') else { return Roles::default() };
    let (scheme, given) = (&value[..blank], value[blank..].trim_ascii_start());
    if scheme.eq_ignore_ascii_case(b"bearer") {
        return compared(given, tokens);
    }
    let pair = if scheme.eq_ignore_ascii_case(b"basic") { BASE64.decode(given).ok() } else { None };
    let Some(pair) = pair else { return Roles::default() };
    let Some(colon) = pair.iter().position(|&b| b == b':') else { return Roles::default() };
    compared(&pair[colon + 1..], tokens)
}

/// Compares with every token, and each to its end, so that the time taken tells nothing of them but their lengths.
fn compared(given: &[u8], tokens: &Tokens) -> Roles {
    let mut found = 0;
    for (token, roles) in tokens.iter() {
        found |= u8::conditional_select(&0, &roles.bits(), token.as_bytes().ct_eq(given));
    }
    Roles::from_bits(found)
}

/// What a call needs; None: any token.
fn needed(request: &Request) -> Option<Role> {
    let path = request.extensions().get::<MatchedPath>().map(MatchedPath::as_str);
    match (request.method(), path) {
        // Whether the address is there, which senders ask before they send.
        (&Method::HEAD, Some(path)) if SENDING.contains(&path) => None,
        (&Method::GET | &Method::HEAD, _) => Some(Role::Viewer),
        // Asks what may be asked, and changes nothing.
        (&Method::OPTIONS, _) => None,
        // Routes of pipeline files: but for GET each takes an event.
        (_, None) => Some(Role::Sender),
        (&Method::POST, Some(path)) if SENDING.contains(&path) => Some(Role::Sender),
        (_, Some(_)) => Some(Role::Operator),
    }
}
