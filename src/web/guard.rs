//! Who may call at all: foreign hosts, other sites' forms and callers without a token are turned away before anything of their request is
//! looked at; every answer gets the headers that keep a browser from reading more into it than it is.

use std::sync::Arc;
use std::time::Instant;

use axum::extract::{MatchedPath, Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use hyper::header::{
    AUTHORIZATION, CACHE_CONTROL, CONTENT_SECURITY_POLICY, HOST, HeaderMap, HeaderName, HeaderValue, ORIGIN,
    REFERRER_POLICY, X_CONTENT_TYPE_OPTIONS,
};
use hyper::{Method, StatusCode, Uri};
use subtle::{Choice, ConstantTimeEq};

use crate::config::Tokens;
use crate::web::Web;
use crate::web::problem::Problem;

/// Open without a token: the probes, and the page, which asks for one.
const PUBLIC: [&str; 4] = ["/", "/favicon.svg", "/healthz", "/readyz"];
/// Where the page's files are.
const ASSETS: &str = "/assets/";

/// Names under which people try to put a token into a URL, where proxies, histories and logs would keep it.
const TOKEN_NAMES: [&str; 4] = ["token", "access_token", "api_token", "api_key"];

pub async fn guard(State(web): State<Arc<Web>>, request: Request, next: Next) -> Response {
    let (begun, method) = (Instant::now(), request.method().clone());
    let route = request.extensions().get::<MatchedPath>().cloned();
    let mut response = match check(&web, &request) {
        Ok(()) => next.run(request).await,
        Err(problem) => problem.into_response(),
    };
    let route = route.as_ref().map(MatchedPath::as_str);
    web.requests.count(&method, route, response.status(), begun.elapsed());
    let headers = response.headers_mut();
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    headers.insert(
        CONTENT_SECURITY_POLICY,
        HeaderValue::from_static("default-src 'self'; base-uri 'none'; frame-ancestors 'none'; form-action 'self'"),
    );
    headers.entry(CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
    response
}

fn check(web: &Web, request: &Request) -> Result<(), Problem> {
    let headers = request.headers();
    let tokens = &web.app.http.tokens;
    let host = host(headers)?;
    if tokens.0.is_empty() && web.app.http.addr.is_loopback() && !host.is_none_or(is_local) {
        return Err(Problem::new(
            StatusCode::MISDIRECTED_REQUEST,
            "without API_TOKENS only localhost, 127.0.0.1 and [::1] are answered as Host: ask under one of these, or set API_TOKENS",
        ));
    }
    if !matches!(*request.method(), Method::GET | Method::HEAD | Method::OPTIONS) {
        same_site(headers, host)?;
    }
    if token_in(request.uri()) {
        return Err(Problem::bad_request("a token never stands in the URL: send it as Authorization: Bearer …"));
    }
    let path = request.uri().path();
    let public = PUBLIC.contains(&path) || path.starts_with(ASSETS);
    if tokens.0.is_empty() || public || bears(headers, tokens) {
        return Ok(());
    }
    Err(Problem::new(StatusCode::UNAUTHORIZED, "send one of API_TOKENS as Authorization: Bearer …"))
}

/// The one Host header; HTTP/1.0 may go without.
fn host(headers: &HeaderMap) -> Result<Option<&str>, Problem> {
    let mut all = headers.get_all(HOST).iter();
    let first = all.next();
    if all.next().is_some() {
        return Err(Problem::bad_request("more than one Host header"));
    }
    match first.map(HeaderValue::to_str) {
        None => Ok(None),
        Some(Ok(text)) => Ok(Some(text)),
        Some(Err(_)) => Err(Problem::bad_request("the Host header is no ASCII text")),
    }
}

/// A page of another site whose name was made to point here (DNS rebinding) still names itself in Host.
fn is_local(host: &str) -> bool {
    let name = match host.strip_prefix('[') {
        Some(rest) => rest.split(']').next().unwrap_or_default(),
        None => host.split(':').next().unwrap_or_default(),
    };
    name.eq_ignore_ascii_case("localhost") || name.parse::<std::net::IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

/// Browsers name the page that sends a request; curl and scripts do not.
fn same_site(headers: &HeaderMap, host: Option<&str>) -> Result<(), Problem> {
    let fetch_site = headers.get(HeaderName::from_static("sec-fetch-site")).map(HeaderValue::as_bytes);
    let foreign = match headers.get(ORIGIN).map(HeaderValue::to_str) {
        None => fetch_site.is_some_and(|site| site == b"cross-site"),
        Some(Ok(origin)) => origin.split_once("://").map(|(_, authority)| authority) != host || host.is_none(),
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

/// Compares with every token, and each to its end, so that the time taken tells nothing of them but their lengths.
fn bears(headers: &HeaderMap, tokens: &Tokens) -> bool {
    let mut all = headers.get_all(AUTHORIZATION).iter();
    let (Some(value), None) = (all.next(), all.next()) else { return false };
    let Some((scheme, given)) = value.as_bytes().split_at_checked(7) else { return false };
    let mut found = Choice::from(u8::from(false));
    for token in &tokens.0 {
        found |= token.as_bytes().ct_eq(given);
    }
    scheme.eq_ignore_ascii_case(b"bearer ") && bool::from(found)
}
