//! RFC 9457 problems: every error answer of this server, with what to do about it.

use axum::response::{IntoResponse, Response};
use hyper::StatusCode;
use hyper::header::{ACCEPT_ENCODING, CONTENT_TYPE, HeaderValue, RETRY_AFTER, WWW_AUTHENTICATE};
use serde_json::{Map, Value, json};

use crate::bus::BusError;
use crate::bus::group;
use crate::ingest::Refusal;
use crate::ingest::lines::CutError;
use crate::store::StoreError;
use crate::web::coding;

/// An answer that is an error.
#[derive(Debug)]
pub struct Problem {
    pub status: StatusCode,
    /// What happened, where, and what to do next.
    pub detail: String,
    /// Further members of the JSON object.
    pub more: Map<String, Value>,
    /// Seconds after which it may be tried again.
    pub retry_after: Option<u32>,
}

impl Problem {
    pub fn new(status: StatusCode, detail: impl Into<String>) -> Self {
        Self { status, detail: detail.into(), more: Map::new(), retry_after: None }
    }

    pub fn bad_request(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, detail)
    }

    pub fn not_found(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, detail)
    }

    pub fn unavailable(detail: impl Into<String>, retry_after: u32) -> Self {
        Self { retry_after: Some(retry_after), ..Self::new(StatusCode::SERVICE_UNAVAILABLE, detail) }
    }

    #[must_use]
    pub fn with(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.more.insert(name.to_owned(), value.into());
        self
    }
}

impl From<Refusal> for Problem {
    /// Nothing of the request is in the log, so it may be sent again as it is.
    fn from(refusal: Refusal) -> Self {
        let retry_after = match refusal {
            Refusal::Busy => 1,
            Refusal::Starting => 2,
            Refusal::LogFull => 5,
            Refusal::Draining | Refusal::DiskFull => 10,
            Refusal::IdsFull => 30,
        };
        Self::unavailable(format!("{refusal}. Nothing of this request was taken: send it again later"), retry_after)
    }
}

impl From<CutError> for Problem {
    fn from(error: CutError) -> Self {
        let status = match error {
            CutError::TooLong { .. } => StatusCode::PAYLOAD_TOO_LARGE,
            CutError::Empty | CutError::NotJson { .. } => StatusCode::BAD_REQUEST,
        };
        Self::new(status, format!("{error}. Nothing of this request was taken"))
    }
}

impl From<StoreError> for Problem {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Unavailable(_) => {
                Self::unavailable(format!("{error}. Events are taken meanwhile; ask again later"), 2)
            }
            other => Self::new(StatusCode::INTERNAL_SERVER_ERROR, format!("{other}; see the log of rank 0")),
        }
    }
}

impl From<BusError> for Problem {
    fn from(error: BusError) -> Self {
        match error {
            BusError::Backwards { .. } => Self::bad_request(error.to_string()),
            BusError::Starting | BusError::GivenUp => Self::unavailable(format!("{error}: ask again"), 1),
            BusError::Gone { asked, oldest } => Self::new(
                StatusCode::GONE,
                format!("{error}. Read on from there: from=beginning, or another place (LOG_RETENTION keeps more)"),
            )
            .with("asked", asked.0)
            .with("oldest", oldest.0),
            BusError::GoneSince { oldest } => Self::new(
                StatusCode::GONE,
                format!("{error}. Read on from there: from=beginning, or a later time (LOG_RETENTION keeps more)"),
            )
            .with("oldest", oldest.0),
            BusError::Ahead { end, .. } => {
                Self::bad_request(format!("{error}. The word \"end\" is what comes from now on")).with("end", end.0)
            }
            BusError::Log(error) => {
                tracing::error!("{error}");
                Self::new(StatusCode::INTERNAL_SERVER_ERROR, "the log could not be read; see the log of rank 0")
            }
        }
    }
}

impl From<group::Refusal> for Problem {
    fn from(refusal: group::Refusal) -> Self {
        let detail = refusal.to_string();
        match refusal {
            group::Refusal::NoMember(_) | group::Refusal::NotDelivered { .. } | group::Refusal::Forgotten => {
                Self::new(StatusCode::CONFLICT, detail)
            }
            group::Refusal::Gone { asked, oldest } => {
                Self::new(StatusCode::GONE, detail).with("asked", asked.0).with("oldest", oldest.0)
            }
            group::Refusal::MemberFull(_) | group::Refusal::GroupFull | group::Refusal::Members => {
                Self { retry_after: Some(1), ..Self::new(StatusCode::TOO_MANY_REQUESTS, detail) }
            }
        }
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let mut body = Map::new();
        body.insert("title".to_owned(), json!(self.status.canonical_reason().unwrap_or("Error")));
        body.insert("status".to_owned(), json!(self.status.as_u16()));
        body.insert("detail".to_owned(), json!(self.detail));
        body.extend(self.more);
        let mut response = (self.status, Value::Object(body).to_string()).into_response();
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        if let Some(seconds) = self.retry_after {
            headers.insert(RETRY_AFTER, HeaderValue::from(seconds));
        }
        if self.status == StatusCode::UNSUPPORTED_MEDIA_TYPE {
            headers.insert(ACCEPT_ENCODING, HeaderValue::from_static(coding::ACCEPTED));
        }
        if self.status == StatusCode::UNAUTHORIZED {
            headers.insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer realm=\"caudal\""));
        }
        response
    }
}
