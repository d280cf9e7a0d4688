//! The page's files, embedded.

use axum::response::{IntoResponse, Response};
use hyper::header::{CACHE_CONTROL, CONTENT_TYPE};

pub async fn index() -> Response {
    asset("text/html; charset=utf-8", include_str!("../../web/index.html"))
}

pub async fn style() -> Response {
    asset("text/css; charset=utf-8", include_str!("../../web/style.css"))
}

pub async fn script() -> Response {
    asset("text/javascript; charset=utf-8", include_str!("../../web/app.js"))
}

pub async fn icon() -> Response {
    asset("image/svg+xml", include_str!("../../web/favicon.svg"))
}

/// Asked for anew each time: a restarted job may be another version.
fn asset(kind: &'static str, text: &'static str) -> Response {
    ([(CONTENT_TYPE, kind), (CACHE_CONTROL, "no-cache")], text).into_response()
}
