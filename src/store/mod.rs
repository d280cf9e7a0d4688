//! Where results stand: PostgreSQL or SQLite (the default), behind one trait with one conformance suite.
//!
//! A commit is one transaction: take the generation row's lock, move `progress`, write absolute values. Applying a commit twice, or
//! half of it, is impossible: `progress` moves from exactly `Commit::after` to `Commit::to`, in the same transaction.

pub mod writer;
pub mod jsonl;
pub mod target;
mod open;
pub mod look;
pub mod sqlite;
pub mod postgres;
pub mod schema;
mod lineage;
mod apply;
mod read;
mod sql;
pub mod text;

use std::sync::Arc;

use uuid::Uuid;

use crate::core::columns::Reason;
use crate::core::ledger::Counts;
use crate::core::lineage::Lineage;
use crate::core::mend::Mended;
use crate::core::plan::Plan;
use crate::core::row::{AlertRow, AuditEvent, DeadLetter, Delivery, ViewChange, ViewRow, WindowRow};
use crate::core::units::{Epoch, Generation, LogId, Micros, Offset};

/// How far the store has come. The results of all epochs up to `epoch` are in it, and of none after.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Progress {
    pub log: LogId,
    pub generation: Generation,
    pub epoch: Epoch,
    /// Number of the log's events that these epochs hold.
    pub end: Offset,
    /// The fates of those events.
    pub counts: Counts,
}

/// What one or several consecutive epochs change.
#[derive(Clone, Debug)]
pub struct Commit {
    /// The progress that must stand when the transaction begins; None: the store must be empty.
    pub after: Option<Epoch>,
    pub to: Progress,
    /// The last state of each row that changed; a metric_id stands here once.
    pub rows: Vec<WindowRow>,
    /// Rows that are no more; none of `rows`.
    pub removed: Vec<Uuid>,
    /// The last state of each entry that changed; a (view, key) stands here once.
    pub views: Vec<ViewRow>,
    pub history: Vec<ViewChange>,
    /// The last state of each alert that was raised or cleared; an alert_id stands here once.
    pub alerts: Vec<AlertRow>,
    /// What webhooks are to be sent; what is there already stays as it is.
    pub outbox: Vec<Delivery>,
    pub dead_letters: Vec<DeadLetter>,
    /// Only with `audit: full`.
    pub events: Vec<AuditEvent>,
    /// Only with `audit: compact`; an epoch's comes once.
    pub lineage: Vec<Lineage>,
    /// Comes after the dead letters, which it may be about.
    pub mended: Mended,
    /// Views that are no more after these epochs: their entries and histories go.
    pub gone: Vec<usize>,
    /// It is a new pipeline's past, and moves no progress: it may be committed again, and comes to the same. A store that has come beyond the past's last
    /// epoch has all of it, and newer states too: there it changes nothing.
    pub past: Option<PastOf>,
    /// What the places of windows, views, alerts and webhooks are places in; None: the plan that the store was opened with.
    pub plan: Option<Arc<Plan>>,
}

impl Commit {
    /// Moves the progress, and changes nothing else.
    #[must_use]
    pub fn new(after: Option<Epoch>, to: Progress) -> Self {
        Self {
            after,
            to,
            rows: Vec::new(),
            removed: Vec::new(),
            views: Vec::new(),
            history: Vec::new(),
            alerts: Vec::new(),
            outbox: Vec::new(),
            dead_letters: Vec::new(),
            events: Vec::new(),
            lineage: Vec::new(),
            mended: Mended::default(),
            gone: Vec::new(),
            past: None,
            plan: None,
        }
    }
}

/// What a commit is the past of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PastOf {
    pub pipeline: String,
    /// As far as it is known.
    pub last: Epoch,
}

/// Why a store could not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// It did not happen, and may be tried again later: the store is away, busy, or its disk is full.
    #[error("the store is not available: {0}; it is tried again")]
    Unavailable(String),
    /// It may have happened or not: the answer to COMMIT was lost. Open a new connection and ask `claim`, which reads under the generation row's lock.
    #[error("the answer to COMMIT was lost: {0}")]
    Indeterminate(String),
    /// A newer generation writes here. Exit 77.
    #[error("generation {mine} is fenced off: generation {theirs} writes to this store now")]
    Fenced { mine: Generation, theirs: Generation },
    /// The store's progress is not what the commit or this log expects. Exit 78.
    #[error("the store does not fit this log: {0}")]
    Mismatch(String),
    /// It will never work: a broken statement, a damaged file, no permission.
    #[error("the store refused: {0}")]
    Broken(String),
}

/// Writes results. One connection, one thread.
pub trait Store: Send {
    /// Reads progress under the generation row's lock, on a connection known to be good (a new one after `Indeterminate` or `Unavailable`), and raises
    /// the store's generation to `mine` if it is lower. After it returns no older generation can commit.
    ///
    /// # Errors
    /// `Fenced` if the store's generation is higher than `mine`; `Unavailable`; `Broken`.
    fn claim(&mut self, mine: Generation) -> Result<Option<Progress>, StoreError>;

    /// Reads progress without claiming: at start, before the generation is known.
    ///
    /// # Errors
    /// `Unavailable`, `Broken`.
    fn progress(&mut self) -> Result<Option<Progress>, StoreError>;

    /// One transaction: all of it or nothing.
    ///
    /// # Errors
    /// All of `StoreError`; after `Indeterminate` the caller claims again and compares.
    fn commit(&mut self, commit: &Commit) -> Result<(), StoreError>;

    /// Notes what has become of something in the outbox, in a transaction of its own; what is not there is passed over.
    ///
    /// # Errors
    /// As `claim`, and `Indeterminate`: it may be noted again.
    fn settle(&mut self, mine: Generation, settled: &Settled) -> Result<(), StoreError>;

    /// Does this with something in the outbox that was given up; gives whether there was such a thing.
    ///
    /// # Errors
    /// As `settle`.
    fn mend_delivery(&mut self, mine: Generation, id: Uuid, mend: DeliveryMend) -> Result<bool, StoreError>;

    /// Notes how far a consumer group has come, in a transaction of its own; a group that is not there is made.
    ///
    /// # Errors
    /// As `settle`.
    fn move_group(&mut self, mine: Generation, group: &GroupPosition) -> Result<(), StoreError>;

    /// Takes out what a pipeline that never became the job's has left, in a transaction of its own.
    ///
    /// # Errors
    /// As `settle`.
    fn forget(&mut self, mine: Generation, left: &Leftover) -> Result<(), StoreError>;

    /// Forgets a consumer group; gives whether it was there.
    ///
    /// # Errors
    /// As `settle`.
    fn drop_group(&mut self, mine: Generation, topic: &str, group: &str) -> Result<bool, StoreError>;
}

/// What a backfill that came to nothing may have left.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Leftover {
    /// The log that it was made of: the results of another one are left alone.
    pub log: LogId,
    pub pipeline: String,
    pub views: Vec<String>,
}

/// How far a consumer group has come: all of the topic's events before the position are done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupPosition {
    pub topic: String,
    pub group: String,
    pub position: Offset,
}

/// What is to be done with something that was given up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DeliveryMend {
    /// It is tried again, as if it were new.
    Retry,
    Discard,
}

/// What has become of something that a webhook is to be sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DeliveryState {
    Waiting,
    Delivered,
    GivenUp,
}

impl DeliveryState {
    pub const ALL: [Self; 3] = [Self::Waiting, Self::Delivered, Self::GivenUp];

    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Waiting => "waiting",
            Self::Delivered => "delivered",
            Self::GivenUp => "given_up",
        }
    }
}

/// After an attempt. Times are the machine's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settled {
    pub id: Uuid,
    pub state: DeliveryState,
    pub attempts: u64,
    pub first: Micros,
    pub last: Micros,
    /// Not before then.
    pub next: Option<Micros>,
    pub error: Option<String>,
}

/// Which rows `Reader::windows` gives, ordered by (window_start, window, metric_id).
#[derive(Clone, Debug, Default)]
pub struct WindowQuery {
    pub pipeline: Option<String>,
    pub window: Option<String>,
    /// Only rows whose start is in `[from, to)`.
    pub from: Option<Micros>,
    pub to: Option<Micros>,
    /// Only rows whose group has this value (as text; an absent one never matches) under this name.
    pub group: Vec<(String, String)>,
    pub closed: Option<bool>,
    /// Only rows after this one in the order.
    pub after: Option<(Micros, String, Uuid)>,
    /// Newest first instead: for pages that show the end.
    pub newest_first: bool,
    pub limit: u32,
}

/// A row as it is read back: names and JSON instead of the plan's numbers.
#[derive(Clone, Debug, PartialEq)]
pub struct StoredRow {
    pub metric_id: Uuid,
    pub pipeline: String,
    pub window: String,
    pub start: Micros,
    pub end: Micros,
    /// A JSON object, its keys in the pipeline file's order.
    pub group: String,
    /// A JSON object, its keys in the pipeline file's order.
    pub values: String,
    pub event_count: u64,
    pub revision: u32,
    pub closed: bool,
    pub digest: u64,
    pub epoch: Epoch,
}

/// Which dead letters, newest first.
#[derive(Clone, Debug, Default)]
pub struct DeadLetterQuery {
    pub reason: Option<Reason>,
    pub topic: Option<String>,
    /// Only those that were retried, or only those that were not.
    pub retried: Option<bool>,
    /// Only those with a lower offset.
    pub before: Option<Offset>,
    pub limit: u32,
}

/// Which of the dead letters that were not retried.
#[derive(Clone, Debug)]
pub struct OpenQuery {
    pub reason: Reason,
    pub topic: Option<String>,
    /// None of these.
    pub not_topics: Vec<String>,
    /// Only those with a lower offset.
    pub before: Option<Offset>,
}

/// A dead letter as it is read back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredLetter {
    pub letter: DeadLetter,
    /// The event that is its retry.
    pub retried_as: Option<Offset>,
}

/// Which audited events, newest (highest offset) first.
#[derive(Clone, Debug, Default)]
pub struct EventQuery {
    pub topic: Option<String>,
    /// Only those with a lower offset.
    pub before: Option<Offset>,
    pub limit: u32,
}

/// Which alerts, those raised last first.
#[derive(Clone, Debug, Default)]
pub struct AlertQuery {
    pub pipeline: Option<String>,
    pub alert: Option<String>,
    /// Only those that stand, or only those that are cleared.
    pub active: Option<bool>,
    /// Only those after this one in the order: when it was raised, and its id.
    pub after: Option<(Micros, Uuid)>,
    pub limit: u32,
}

/// An alert as it is read back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredAlert {
    pub alert_id: Uuid,
    pub pipeline: String,
    pub alert: String,
    /// A JSON object.
    pub key: String,
    pub from: Micros,
    pub to: Micros,
    pub raised: Micros,
    pub cleared: Option<Micros>,
    /// A JSON object.
    pub details: String,
    pub epoch: Epoch,
}

/// What of the outbox, in the order of (epoch, id); with `due_by` what was tried least first.
#[derive(Clone, Debug, Default)]
pub struct DeliveryQuery {
    pub pipeline: Option<String>,
    pub webhook: Option<String>,
    pub state: Option<DeliveryState>,
    /// Only what may be sent by then.
    pub due_by: Option<Micros>,
    /// Only what comes after this in the order.
    pub after: Option<(Epoch, Uuid)>,
    pub newest_first: bool,
    pub limit: u32,
}

/// Something in the outbox.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredDelivery {
    pub id: Uuid,
    pub pipeline: String,
    pub webhook: String,
    /// A JSON object.
    pub body: String,
    pub epoch: Epoch,
    pub state: DeliveryState,
    pub attempts: u64,
    pub first: Option<Micros>,
    pub last: Option<Micros>,
    pub next: Option<Micros>,
    pub error: Option<String>,
}

/// Which entries of a view, ordered by key.
#[derive(Clone, Debug)]
pub struct ViewQuery {
    pub view: String,
    /// Only entries after this key.
    pub after: Option<String>,
    pub limit: u32,
}

/// An entry as it is read back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredEntry {
    pub key: String,
    /// A JSON object.
    pub value: String,
    pub events: u64,
    pub time: Micros,
    pub offset: Offset,
}

/// What one event said to an entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredChange {
    pub offset: Offset,
    pub time: Micros,
    /// A JSON object.
    pub value: String,
}

/// Answers questions; many may be open beside the one writer.
pub trait Reader: Send {
    /// # Errors
    /// `Unavailable`, `Broken`; likewise below.
    fn windows(&mut self, query: &WindowQuery) -> Result<Vec<StoredRow>, StoreError>;
    fn window(&mut self, id: Uuid) -> Result<Option<StoredRow>, StoreError>;
    /// The events behind a row, by offset, from `after` on; empty with `audit: none`.
    fn lineage(&mut self, id: Uuid, after: Option<Offset>, limit: u32) -> Result<Vec<AuditEvent>, StoreError>;
    /// The events behind a row, by offset, from `after` on, where its pipeline's audit is compact; of a hopping window as far as it is one of the plan's.
    fn compact_lineage(
        &mut self,
        row: &StoredRow,
        after: Option<Offset>,
        limit: u32,
    ) -> Result<Vec<Offset>, StoreError>;
    /// For each of these offsets the rows that it went into, of pipelines whose audit is compact; of hopping windows those that stand.
    fn compact_metrics(&mut self, offsets: &[Offset]) -> Result<Vec<Vec<Uuid>>, StoreError>;
    /// Every event with this id (one a topic at most is counted), with the rows it went into; only with `audit: full`.
    fn event(&mut self, event_id: &str) -> Result<Vec<AuditEvent>, StoreError>;
    /// The newest events; empty with `audit: none`.
    fn events(&mut self, query: &EventQuery) -> Result<Vec<AuditEvent>, StoreError>;
    fn alerts(&mut self, query: &AlertQuery) -> Result<Vec<StoredAlert>, StoreError>;
    fn deliveries(&mut self, query: &DeliveryQuery) -> Result<Vec<StoredDelivery>, StoreError>;
    fn view(&mut self, query: &ViewQuery) -> Result<Vec<StoredEntry>, StoreError>;
    fn view_entry(&mut self, view: &str, key: &str) -> Result<Option<StoredEntry>, StoreError>;
    /// Newest (highest offset) first; only those with an offset lower than `before`. Empty where the view keeps no history.
    fn view_history(
        &mut self,
        view: &str,
        key: &str,
        before: Option<Offset>,
        limit: u32,
    ) -> Result<Vec<StoredChange>, StoreError>;
    fn dead_letters(&mut self, query: &DeadLetterQuery) -> Result<Vec<StoredLetter>, StoreError>;
    fn dead_letter(&mut self, offset: Offset) -> Result<Option<StoredLetter>, StoreError>;
    /// The oldest first.
    fn open_letters(&mut self, query: &OpenQuery, limit: u32) -> Result<Vec<Offset>, StoreError>;
    fn count_open_letters(&mut self, query: &OpenQuery) -> Result<u64, StoreError>;
    /// Whether it has anything of a pipeline of this name, shown or not.
    fn knows(&mut self, pipeline: &str) -> Result<bool, StoreError>;
    /// All consumer groups, by topic and name.
    fn groups(&mut self) -> Result<Vec<GroupPosition>, StoreError>;
}
