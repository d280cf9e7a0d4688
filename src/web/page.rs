//! The page's files, embedded as npm built them (`web/build.mjs`). Without them the program serves its calls all the same, and says how to get the page.

use axum::extract::Path;
use axum::extract::rejection::PathRejection;
use axum::response::{IntoResponse, Response};
use hyper::StatusCode;
use hyper::header::{
    ACCEPT_ENCODING, CACHE_CONTROL, CONTENT_ENCODING, CONTENT_TYPE, ETAG, HeaderMap, HeaderValue, IF_NONE_MATCH, VARY,
};
use rust_embed::{EmbeddedFile, RustEmbed};

use crate::web::problem::Problem;

#[derive(RustEmbed)]
#[folder = "web/dist/"]
struct Files;

/// Of a file's hash, in its tag.
const TAG_BYTES: usize = 12;
const NOT_BUILT: &str = include_str!("not_built.html");

pub async fn index(headers: HeaderMap) -> Response {
    match Files::get("index.html") {
        Some(file) => answer("index.html", &file, &headers),
        None => ([(CONTENT_TYPE, kind("index.html"))], NOT_BUILT).into_response(),
    }
}

pub async fn icon(headers: HeaderMap) -> Result<Response, Problem> {
    file("favicon.svg", &headers)
}

pub async fn asset(path: Result<Path<String>, PathRejection>, headers: HeaderMap) -> Result<Response, Problem> {
    let Path(name) = path.map_err(|_| Problem::bad_request("the path is no UTF-8 text"))?;
    file(&name, &headers)
}

fn file(name: &str, headers: &HeaderMap) -> Result<Response, Problem> {
    let file = Files::get(name).ok_or_else(|| Problem::not_found("the page has no such file"))?;
    Ok(answer(name, &file, headers))
}

/// Asked for anew each time, since a restarted job may be another version; what has not changed is not sent again.
fn answer(name: &str, plain: &EmbeddedFile, headers: &HeaderMap) -> Response {
    let tag = tag(plain);
    let fixed = [
        (CONTENT_TYPE, kind(name)),
        (CACHE_CONTROL, HeaderValue::from_static("no-cache")),
        (VARY, ACCEPT_ENCODING.into()),
        (ETAG, tag.clone()),
    ];
    if headers.get(IF_NONE_MATCH).is_some_and(|known| *known == tag) {
        return (StatusCode::NOT_MODIFIED, fixed).into_response();
    }
    match Files::get(&format!("{name}.gz")).filter(|_| takes_gzip(headers)) {
        Some(packed) => {
            (fixed, [(CONTENT_ENCODING, HeaderValue::from_static("gzip"))], packed.data.into_owned()).into_response()
        }
        None => (fixed, plain.data.clone().into_owned()).into_response(),
    }
}

/// Weak, since the gzipped file has it too.
fn tag(file: &EmbeddedFile) -> HeaderValue {
    let bytes = file.metadata.sha256_hash().into_iter().take(TAG_BYTES);
    let text = bytes.fold(String::new(), |text, byte| text + &format!("{byte:02x}"));
    HeaderValue::from_str(&format!("W/\"{text}\"")).unwrap_or(HeaderValue::from_static("W/\"\""))
}

fn takes_gzip(headers: &HeaderMap) -> bool {
    let accepted = headers.get(ACCEPT_ENCODING).and_then(|value| value.to_str().ok()).unwrap_or_default();
    accepted.split(',').any(|one| {
        let (name, weight) = one.split_once(';').unwrap_or((one, ""));
        let refused = weight.trim().strip_prefix("q=").is_some_and(|q| q.parse() == Ok(0.0));
        name.trim().eq_ignore_ascii_case("gzip") && !refused
    })
}

fn kind(name: &str) -> HeaderValue {
    HeaderValue::from_static(match name.rsplit('.').next().unwrap_or_default() {
        "html" => "text/html; charset=utf-8",
        "css" => "text/css; charset=utf-8",
        "js" => "text/javascript; charset=utf-8",
        "svg" => "image/svg+xml",
        "gz" => "application/gzip",
        _ => "text/plain; charset=utf-8",
    })
}
