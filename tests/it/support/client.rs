//! A small HTTP client for a job on this machine: answers are (status, body), whatever the status. Each is held to the API's document.

use std::time::Duration;

use serde_json::Value;
use ureq::http::Response;
use ureq::{Agent, Body};

use crate::support::contract::{self, Answered};

/// One request may take this long.
const TIMEOUT: Duration = Duration::from_mins(1);

/// Talks to one job.
#[derive(Clone)]
pub struct Client {
    agent: Agent,
    pub base: String,
    /// Whose answers are held to the API's document.
    is_caudal: bool,
}

/// The connection failed before an answer came: whether the request was taken is not known.
#[derive(Debug)]
pub struct NoAnswer;

impl Client {
    pub fn new(port: u16) -> Self {
        let config = Agent::config_builder().timeout_global(Some(TIMEOUT)).http_status_as_error(false).build();
        Self { agent: config.into(), base: format!("http://127.0.0.1:{port}"), is_caudal: true }
    }

    /// Of another server, whose API is its own affair.
    pub fn of_another(port: u16) -> Self {
        Self { is_caudal: false, ..Self::new(port) }
    }

    pub fn try_get(&self, path: &str) -> Result<(u16, String), NoAnswer> {
        let answer = self.agent.get(format!("{}{path}", self.base)).call();
        self.read("GET", path, answer)
    }

    /// The answer, which must be one that the API's document has.
    fn read(
        &self,
        method: &str,
        path: &str,
        answer: Result<Response<Body>, ureq::Error>,
    ) -> Result<(u16, String), NoAnswer> {
        let mut response = answer.map_err(|_| NoAnswer)?;
        let status = response.status().as_u16();
        let media_type = response.headers().get("content-type").and_then(|kind| kind.to_str().ok()).map(str::to_owned);
        let body = response.body_mut().with_config().limit(256 << 20).read_to_string().map_err(|_| NoAnswer)?;
        let answered = Answered { method, path, status, media_type: media_type.as_deref(), body: &body };
        if self.is_caudal {
            contract::check(&answered, || {
                let mut document = self.agent.get(format!("{}/openapi.json", self.base)).call().ok()?;
                document.body_mut().read_json().ok()
            });
        }
        Ok((status, body))
    }

    pub fn get(&self, path: &str) -> (u16, String) {
        self.try_get(path).unwrap_or_else(|_| panic!("GET {path}: no answer"))
    }

    /// The JSON of a 200.
    pub fn json(&self, path: &str) -> Value {
        let (status, body) = self.get(path);
        assert_eq!(status, 200, "GET {path}: {body}");
        serde_json::from_str(&body).unwrap_or_else(|e| panic!("GET {path}: {e}: {body}"))
    }

    pub fn try_post(&self, path: &str, form: &str, body: &[u8]) -> Result<(u16, String), NoAnswer> {
        let request = self.agent.post(format!("{}{path}", self.base)).header("content-type", form);
        self.read("POST", path, request.send(body))
    }

    pub fn post_json(&self, path: &str, body: &str) -> (u16, Value) {
        self.post(path, "application/json", body.as_bytes())
    }

    pub fn post_lines(&self, path: &str, body: &[u8]) -> (u16, Value) {
        self.post(path, "application/x-ndjson", body)
    }

    fn post(&self, path: &str, form: &str, body: &[u8]) -> (u16, Value) {
        let (status, text) = self.try_post(path, form, body).unwrap_or_else(|_| panic!("POST {path}: no answer"));
        let value = serde_json::from_str(&text).unwrap_or_else(|e| panic!("POST {path}: {status}: {e}: {text}"));
        (status, value)
    }

    pub fn try_put(&self, path: &str, form: &str, body: &[u8]) -> Result<(u16, String), NoAnswer> {
        let request = self.agent.put(format!("{}{path}", self.base)).header("content-type", form);
        self.read("PUT", path, request.send(body))
    }

    pub fn delete(&self, path: &str) -> (u16, Value) {
        let answer = self.agent.delete(format!("{}{path}", self.base)).call();
        let (status, text) = self.read("DELETE", path, answer).unwrap_or_else(|_| panic!("DELETE {path}: no answer"));
        let value = serde_json::from_str(&text).unwrap_or_else(|error| panic!("DELETE {path}: {error}: {text}"));
        (status, value)
    }

    /// All rows that `/windows` has for this query, over its pages.
    pub fn windows(&self, query: &str) -> Vec<Value> {
        let mut rows = Vec::new();
        let mut next = Some(format!("/windows?limit=5000{query}"));
        while let Some(path) = next {
            let page = self.json(&path);
            rows.extend(page["windows"].as_array().expect("windows is a list").iter().cloned());
            next = page["next"].as_str().map(str::to_owned);
        }
        rows
    }
}
