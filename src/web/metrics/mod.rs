//! `GET /metrics`: what Prometheus and its like read, in the format that they ask for. `docs/observability.md` has the table of all metrics.

mod accept;
mod exposition;
mod exported;
pub mod requests;

use std::sync::Arc;

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use hyper::header::{ACCEPT, CONTENT_TYPE, HeaderMap, HeaderValue, VARY};
use hyper::{StatusCode, Uri};

use crate::web::Web;
use crate::web::metrics::accept::Format;
use crate::web::params::Params;
use crate::web::problem::Problem;

pub async fn metrics(State(web): State<Arc<Web>>, uri: Uri, headers: HeaderMap) -> Result<Response, Problem> {
    Params::none(&uri)?;
    let asked = headers.get_all(ACCEPT).iter().filter_map(|value| value.to_str().ok());
    let format = Format::asked(asked);
    let families = exported::families(&web);
    let body = match format {
        Format::Text => exposition::text(&families).into_bytes(),
        Format::OpenMetrics => written(exposition::open_metrics(families))?,
        Format::Protobuf => written(exposition::protobuf(families))?,
    };
    let headers =
        [(CONTENT_TYPE, HeaderValue::from_static(format.content_type())), (VARY, HeaderValue::from_static("accept"))];
    Ok((headers, body).into_response())
}

fn written(body: Option<Vec<u8>>) -> Result<Vec<u8>, Problem> {
    body.ok_or_else(|| Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "the metrics could not be written"))
}
