//! What requests came to: answers by class of status, and how long they took, by route and method.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use axum::response::Response;
use hyper::Method;

use crate::coordinator::status::{Durations, Histogram};

/// Names that a label may have: a client may send any word as its method.
const METHODS: [&str; 8] = ["GET", "POST", "PUT", "DELETE", "HEAD", "PATCH", "OPTIONS", "other"];
/// Where an address that a pipeline file asks for answers.
const OWN: &str = "pipeline";
/// No route was asked: there is none under this path, or the request was turned away before.
const NONE: &str = "none";

/// On an answer that a route of a pipeline file gave.
#[derive(Clone, Copy)]
pub struct OfPipeline;

#[derive(Debug, Default)]
pub struct Requests {
    /// By the first digit of their status.
    classes: [AtomicU64; 6],
    /// By method, then by route as the router has it: there are no more than it has.
    took: [RwLock<HashMap<String, Arc<Histogram>>>; METHODS.len()],
}

impl Requests {
    /// `route`: the router's pattern; None where it knows no such path.
    pub fn count(&self, method: &Method, route: Option<&str>, answer: &Response, took: Duration) {
        if let Some(class) = self.classes.get(usize::from(answer.status().as_u16() / 100)) {
            class.fetch_add(1, Ordering::Relaxed);
        }
        let others = METHODS.len() - 1;
        let at = METHODS.iter().position(|name| *name == method.as_str()).unwrap_or(others);
        let unrouted = if answer.extensions().get::<OfPipeline>().is_some() { OWN } else { NONE };
        self.histogram(at, route.unwrap_or(unrouted)).count(took, 1);
    }

    fn histogram(&self, method: usize, route: &str) -> Arc<Histogram> {
        let routes = &self.took[method];
        // What a panic left is a map with one entry more or less.
        if let Some(known) = routes.read().unwrap_or_else(PoisonError::into_inner).get(route) {
            return Arc::clone(known);
        }
        let mut routes = routes.write().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(routes.entry(route.to_owned()).or_default())
    }

    /// By class of status.
    pub fn answers(&self) -> impl Iterator<Item = (&'static str, u64)> {
        let classes = ["0xx", "1xx", "2xx", "3xx", "4xx", "5xx"].into_iter().zip(&self.classes).skip(2);
        classes.map(|(class, count)| (class, count.load(Ordering::Relaxed)))
    }

    /// By route and method, in order.
    pub fn took(&self) -> Vec<((String, &'static str), Durations)> {
        let mut all = Vec::new();
        for (method, routes) in METHODS.into_iter().zip(&self.took) {
            let routes = routes.read().unwrap_or_else(PoisonError::into_inner);
            all.extend(routes.iter().map(|(route, took)| ((route.clone(), method), took.get())));
        }
        all.sort_by(|(a, _), (b, _)| a.cmp(b));
        all
    }
}
