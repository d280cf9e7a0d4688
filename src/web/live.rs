//! `GET /live`: one stream of snapshots. One sampler makes them for all clients; a slow client just misses some.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_stream::stream;
use axum::body::Body;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use hyper::Uri;
use hyper::header::CONTENT_TYPE;
use serde::Serialize;
use tokio::sync::{Notify, watch};
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout};

use crate::coordinator::status::Status;
use crate::core::row::AuditEvent;
use crate::store::{DeadLetterQuery, EventQuery, StoreError, StoredLetter, StoredRow};
use crate::web::Web;
use crate::web::cluster::ClusterView;
use crate::web::params::Params;
use crate::web::problem::Problem;
use crate::web::query::newest_rows;
use crate::web::rates::{Meter, Rates};
use crate::web::views::{DeadLetterView, EventView, LedgerView, RowView};

/// Between looks at the status while somebody watches; nobody does: a second.
const LOOK: Duration = Duration::from_millis(250);
/// Between snapshots where nothing changed, between questions to the store, and the span over which rates are taken.
const SECOND: Duration = Duration::from_secs(1);
/// A store that has not answered for so long is said to be silent.
const SILENCE: Duration = Duration::from_secs(3);
/// Rows of each window, events and dead letters in a snapshot.
const ROWS_MAX: u32 = 60;
const EVENTS_MAX: u32 = 15;
const DEAD_LETTERS_MAX: u32 = 15;

/// What the sampler and the clients share.
pub struct Live {
    snapshots: watch::Sender<Arc<str>>,
    /// A client has come: look at once.
    come: Notify,
    rates: Mutex<Arc<Rates>>,
}

impl Default for Live {
    fn default() -> Self {
        Self { snapshots: watch::Sender::new(Arc::from("")), come: Notify::new(), rates: Mutex::default() }
    }
}

impl Live {
    pub fn rates(&self) -> Arc<Rates> {
        Arc::clone(&self.rates.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn set_rates(&self, rates: &Rates) {
        *self.rates.lock().unwrap_or_else(PoisonError::into_inner) = Arc::new(rates.clone());
    }
}

pub async fn live(State(web): State<Arc<Web>>, uri: Uri) -> Result<Response, Problem> {
    Params::none(&uri)?;
    let mut snapshots = web.live.snapshots.subscribe();
    let mut stopped = web.stopping.subscribe();
    web.live.come.notify_one();
    let body = stream! {
        // A client that has missed its last second of snapshots reconnects a second later.
        yield Ok::<_, std::convert::Infallible>(String::from("retry: 1000\n\n"));
        loop {
            tokio::select! {
                changed = snapshots.changed() => if changed.is_err() { break },
                _ = stopped.wait_for(|stopping| *stopping) => break,
            }
            let snapshot = Arc::clone(&snapshots.borrow_and_update());
            yield Ok(format!("event: snapshot\ndata: {snapshot}\n\n"));
        }
    };
    Ok(([(CONTENT_TYPE, "text/event-stream")], Body::from_stream(body)).into_response())
}

/// What the store holds that a snapshot shows.
#[derive(Default)]
struct Results {
    rows: Vec<Vec<StoredRow>>,
    events: Vec<AuditEvent>,
    dead_letters: Vec<StoredLetter>,
}

#[derive(Serialize)]
struct Snapshot<'a> {
    cluster: ClusterView,
    ledger: LedgerView,
    rows: Vec<RowView<'a>>,
    events: Vec<EventView<'a>>,
    dead_letters: Vec<DeadLetterView<'a>>,
    /// Why rows, events and dead letters are not those of now.
    store_problem: Option<&'a str>,
}

/// Makes snapshots until the server stops. The store is asked only while somebody watches, once a second at most, and in a task of its own: one that hangs
/// holds up nothing else.
pub async fn sample(web: Arc<Web>) {
    let mut stopped = web.stopping.subscribe();
    let mut meter = Meter::default();
    let mut results = Results::default();
    let mut problem = None;
    let mut sent: Option<(Instant, Status)> = None;
    let mut asked: Option<Instant> = None;
    let mut asking = JoinSet::new();
    // The store has answered, and that was not sent yet.
    let mut is_new = false;
    loop {
        let watched = web.live.snapshots.receiver_count() > 0;
        let status = web.app.status.get();
        if meter.look(web.app.clock.up(), &status) {
            web.live.set_rates(meter.rates());
        }
        if watched {
            if asking.is_empty() && asked.is_none_or(|at| at.elapsed() >= SECOND) {
                asked = Some(Instant::now());
                asking.spawn(ask(Arc::clone(&web)));
            }
            let waited = asked.filter(|_| !asking.is_empty()).map(|at| at.elapsed());
            if waited.is_some_and(|waited| waited >= SILENCE) {
                problem = Some(format!("the store has not answered for {SILENCE:?} and more: it is waited for"));
            }
            let due = match &sent {
                _ if is_new => true,
                Some((_, last)) if last.ledger != status.ledger => true,
                // Whoever looks at the answer of a store that is well need not be shown the one before first.
                _ if waited.is_some_and(|waited| waited < SECOND) => false,
                sent => sent.as_ref().is_none_or(|(at, _)| at.elapsed() >= SECOND),
            };
            if due {
                let text = snapshot(&web, &status, &results, problem.as_deref());
                web.live.snapshots.send_replace(text.into());
                (sent, is_new) = (Some((Instant::now(), status)), false);
            }
        }
        let wait = if watched { LOOK } else { SECOND };
        tokio::select! {
            _ = timeout(wait, web.live.come.notified()) => {}
            Some(answer) = asking.join_next() => {
                match answer {
                    Ok(Ok(new)) => (results, problem) = (new, None),
                    Ok(Err(error)) => problem = Some(error.detail),
                    Err(_) => problem = Some("the store could not be asked; see the log of rank 0".to_owned()),
                }
                is_new = true;
            }
            _ = stopped.wait_for(|stopping| *stopping) => return,
        }
        if !watched && web.live.snapshots.receiver_count() > 0 {
            (sent, is_new) = (None, false);
            // A question that is under way is as good as a new one.
            asked = asked.filter(|_| !asking.is_empty());
        }
    }
}

async fn ask(web: Arc<Web>) -> Result<Results, Problem> {
    let plan = Arc::clone(&web.pipelines().plan);
    web.readers
        .ask(move |reader| {
            let letters = DeadLetterQuery { limit: DEAD_LETTERS_MAX, ..DeadLetterQuery::default() };
            Ok::<_, StoreError>(Results {
                rows: newest_rows(reader, &plan, ROWS_MAX)?,
                events: reader.events(&EventQuery { limit: EVENTS_MAX, ..EventQuery::default() })?,
                dead_letters: reader.dead_letters(&letters)?,
            })
        })
        .await
}

fn snapshot(web: &Web, status: &Status, results: &Results, problem: Option<&str>) -> String {
    let snapshot = Snapshot {
        cluster: web.cluster(status),
        ledger: LedgerView::of(&status.ledger),
        rows: results.rows.iter().flatten().map(RowView::of).collect(),
        events: results.events.iter().map(EventView::short).collect(),
        dead_letters: results.dead_letters.iter().map(DeadLetterView::short).collect(),
        store_problem: problem,
    };
    // The views hold nothing that JSON cannot say; an event's own JSON keeps no raw line end.
    sonic_rs::to_string(&snapshot).unwrap_or_default().replace(['\n', '\r'], " ")
}
