//! `GET /log`: all events of the log, whatever becomes of them, as lines that `caudal batch` reads.

use std::io;
use std::sync::Arc;

use async_stream::stream;
use axum::body::Body;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use hyper::Uri;
use hyper::header::{CONTENT_TYPE, HeaderName, HeaderValue};
use tokio::sync::{OwnedSemaphorePermit, mpsc};
use tokio::time::timeout;

use crate::bus::{Export, Start};
use crate::web::Web;
use crate::web::params::Params;
use crate::web::problem::Problem;
use crate::web::topic::{FROM_HEADER, STALL, from, start, stream_place};

/// The offset before which the answer ends.
const UNTIL_HEADER: HeaderName = HeaderName::from_static("caudal-until");

pub async fn log(State(web): State<Arc<Web>>, uri: Uri) -> Result<Response, Problem> {
    let params = Params::of(&uri, &["from", "until"])?;
    let from = params.get("from").map(|text| from(&web, text)).transpose()?.unwrap_or(Start::Beginning);
    let until = params.get("until").map(|text| start("until", text)).transpose()?;
    let place = stream_place(&web)?;
    let source = Arc::clone(&web.app.bus);
    let export = web.reading.run(move || source.export(from, until)).await?;
    let headers = [
        (CONTENT_TYPE, HeaderValue::from_static("application/vnd.caudal.events")),
        (FROM_HEADER, HeaderValue::from(export.at().0)),
        (UNTIL_HEADER, HeaderValue::from(export.until().0)),
    ];
    let (to, mut chunks) = mpsc::channel(1);
    tokio::spawn(feed(web, export, to, place));
    let body = stream! {
        while let Some(chunk) = chunks.recv().await {
            yield chunk;
        }
    };
    Ok((headers, Body::from_stream(body)).into_response())
}

/// Sends the lines; where they cannot be read on, an error, which breaks the answer off: an end would say that this was all.
async fn feed(web: Arc<Web>, mut export: Export, to: mpsc::Sender<io::Result<Bytes>>, _place: OwnedSemaphorePermit) {
    let mut stopped = web.stopping.subscribe();
    loop {
        let room = if let Ok(room) = timeout(STALL, to.reserve()).await {
            room
        } else {
            export.let_go();
            tokio::select! {
                room = to.reserve() => room,
                _ = stopped.wait_for(|stopping| *stopping) => return,
            }
        };
        let Ok(room) = room else { return };
        let plan = Arc::clone(&web.pipelines().plan);
        let read = web.reading.wait(move || Ok((export.next_lines(&plan)?, export)));
        let lines;
        (lines, export) = match read.await {
            Ok(read) => read,
            Err(problem) => {
                tracing::warn!("an export of the log breaks off: {}", problem.detail);
                return room.send(Err(io::Error::other(problem.detail)));
            }
        };
        match lines {
            Some(_) if *stopped.borrow() => return room.send(Err(io::Error::other("the job is stopping"))),
            Some(lines) => room.send(Ok(lines)),
            None if export.at() < export.until() => return room.send(Err(io::Error::other("the log ends before"))),
            None => return,
        }
    }
}
