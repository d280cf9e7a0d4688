//! The steps of a transaction that writes results, the same for every database: fence, move progress, put rows. It begins and ends none.

use uuid::Uuid;

use crate::core::ledger::Counts;
use crate::core::mend::{Mended, Retry};
use crate::core::plan::Plan;
use crate::core::row::{AuditEvent, DeadLetter, Delivery, ViewChange, ViewRow, WindowRow};
use crate::core::units::{Epoch, Generation, LogId, Offset};
use crate::store::lineage::StoredSlice;
use crate::store::schema::views_of;
use crate::store::sql::{
    ALERTS, Ask, DEAD_LETTERS, Dialect, EVENTS_IN, LINEAGE, METRICS_OUT, OUTBOX, Param, Query, TRACE, VIEW_HISTORY,
    VIEWS, Write,
};
use crate::store::{
    Commit, DeliveryMend, GroupPosition, Leftover, Progress, Settled, StoreError, StoredAlert, StoredRow,
};

const PROGRESS_COLUMNS: &str = "log_id, generation, epoch, log_end, counted, duplicate, filtered, invalid, late";

/// All of a commit, in a transaction that has begun and that the caller commits.
pub fn apply(tx: &mut impl Write, plan: &Plan, commit: &Commit) -> Result<(), StoreError> {
    fence(tx, commit.to.generation)?;
    match &commit.past {
        None => move_progress(tx, commit)?,
        Some(past) => {
            if of_log(tx, commit.to.log)?.is_some_and(|progress| progress.epoch > past.last) {
                return Ok(());
            }
        }
    }
    let mut rows: Vec<&WindowRow> = commit.rows.iter().collect();
    // In the table's order, so that what lies on one page of it is written together.
    rows.sort_unstable_by_key(|row| row.metric_id);
    let rows: Vec<StoredRow> = rows.into_iter().map(|row| StoredRow::of(plan, row)).collect();
    tx.delete(METRICS_OUT.name, "metric_id", &commit.removed)?;
    tx.put(&METRICS_OUT, &mut rows.iter().map(metric))?;
    tx.put(&VIEWS, &mut commit.views.iter().map(|row| view(plan, row)))?;
    tx.put(&VIEW_HISTORY, &mut commit.history.iter().map(|change| view_change(plan, change)))?;
    let alerts: Vec<StoredAlert> = commit.alerts.iter().map(|row| StoredAlert::of(plan, row)).collect();
    tx.put(&ALERTS, &mut alerts.iter().map(alert))?;
    tx.put(&OUTBOX, &mut commit.outbox.iter().map(|delivery| outbox(plan, delivery)))?;
    tx.put(&DEAD_LETTERS, &mut commit.dead_letters.iter().map(dead_letter))?;
    let past = commit.past.as_ref().map(|past| past.pipeline.as_str());
    tx.put(&EVENTS_IN, &mut commit.events.iter().map(|of| event(of, past)))?;
    tx.put(&TRACE, &mut commit.events.iter().flat_map(|of| trace(of, past)))?;
    tx.put(&LINEAGE, &mut StoredSlice::of(plan, &commit.lineage).iter().map(slice))?;
    for view in &commit.gone {
        forget_view(tx, view_name(plan, *view))?;
    }
    mend(tx, &commit.mended)
}

/// Takes out what a pipeline has left, in a transaction that has begun and that the caller commits. Gives the views of its windows, to be taken away after that: who
/// reads one, or has made a view of one, holds nothing else up.
pub fn forget(tx: &mut impl Write, mine: Generation, left: &Leftover) -> Result<Vec<String>, StoreError> {
    fence(tx, mine)?;
    of_log(tx, left.log)?;
    let of_pipeline = [Param::text(&left.pipeline)];
    for sql in [
        "DELETE FROM trace WHERE past = $1",
        "DELETE FROM events_in WHERE past = $1",
        "DELETE FROM lineage WHERE pipeline = $1",
        "DELETE FROM metrics_out WHERE pipeline = $1",
        "DELETE FROM alerts WHERE pipeline = $1",
    ] {
        tx.execute(&Query::with(sql, of_pipeline.clone()))?;
    }
    left.views.iter().try_for_each(|view| forget_view(tx, view))?;
    views_of(tx, &left.pipeline)
}

fn forget_view(tx: &mut impl Write, name: &str) -> Result<(), StoreError> {
    for table in [&VIEWS, &VIEW_HISTORY] {
        tx.execute(&Query::with(format!("DELETE FROM {} WHERE view = $1", table.name), [Param::text(name)]))?;
    }
    Ok(())
}

/// In any order, and as often as may be, it comes to the same: a letter that is discarded is gone, whatever else is said of it.
fn mend(tx: &mut impl Write, mended: &Mended) -> Result<(), StoreError> {
    for Retry { letter, event } in &mended.retried {
        let sql = "UPDATE dead_letters SET retried_as = $1 WHERE log_offset = $2";
        tx.execute(&Query::with(sql, [Param::int(event.0), Param::int(letter.0)]))?;
    }
    for letter in &mended.discarded {
        tx.execute(&Query::with("DELETE FROM dead_letters WHERE log_offset = $1", [Param::int(letter.0)]))?;
    }
    Ok(())
}

/// Takes the generation row's lock for the rest of the transaction, and reads the generation: a COMMIT that was under way is decided then.
pub fn lock(tx: &mut impl Write) -> Result<Generation, StoreError> {
    let lock = match tx.dialect() {
        // BEGIN IMMEDIATE has taken the database's one write lock.
        Dialect::Sqlite => "",
        Dialect::Postgres => " FOR UPDATE",
    };
    let rows = tx.ask(&Query::new(format!("SELECT generation FROM generation WHERE one = 1{lock}")))?;
    let Some(mut row) = rows.into_iter().next() else {
        return Err(StoreError::Broken("the row of table generation is missing".to_owned()));
    };
    Ok(Generation(row.unsigned()?))
}

/// Takes the lock and raises the generation to `mine`.
pub fn fence(tx: &mut impl Write, mine: Generation) -> Result<(), StoreError> {
    let theirs = lock(tx)?;
    if theirs > mine {
        return Err(StoreError::Fenced { mine, theirs });
    }
    if theirs < mine {
        tx.execute(&Query::with("UPDATE generation SET generation = $1 WHERE one = 1", [Param::int(mine.0)]))?;
    }
    Ok(())
}

pub fn read_progress(from: &mut impl Ask) -> Result<Option<Progress>, StoreError> {
    let rows = from.ask(&Query::new(format!("SELECT {PROGRESS_COLUMNS} FROM progress WHERE one = 1")))?;
    let Some(mut row) = rows.into_iter().next() else { return Ok(None) };
    let log = row.text()?;
    let log = u128::from_str_radix(&log, 16).map(LogId);
    Ok(Some(Progress {
        log: log.map_err(|_| StoreError::Broken("progress.log_id is no log's id".to_owned()))?,
        generation: Generation(row.unsigned()?),
        epoch: Epoch(row.unsigned()?),
        end: Offset(row.unsigned()?),
        counts: Counts {
            counted: row.unsigned()?,
            duplicate: row.unsigned()?,
            filtered: row.unsigned()?,
            invalid: row.unsigned()?,
            late: row.unsigned()?,
        },
    }))
}

/// How far the store has come, if it has begun; it must be with results of this log.
fn of_log(tx: &mut impl Write, log: LogId) -> Result<Option<Progress>, StoreError> {
    match read_progress(tx)? {
        Some(theirs) if theirs.log != log => {
            Err(StoreError::Mismatch(format!("it has the results of log {}, not of log {log}", theirs.log)))
        }
        progress => Ok(progress),
    }
}

/// From exactly `after` to `to`: what makes a commit happen once.
fn move_progress(tx: &mut impl Write, commit: &Commit) -> Result<(), StoreError> {
    let Progress { log, generation, epoch, end, counts } = commit.to;
    let log_id = log.to_string();
    let mut params = vec![Param::text(&log_id)];
    params.extend([generation.0, epoch.0, end.0].map(Param::int));
    params.extend([counts.counted, counts.duplicate, counts.filtered, counts.invalid, counts.late].map(Param::int));
    let moved = match commit.after {
        None => {
            let values = "VALUES (1, $1, $2, $3, $4, $5, $6, $7, $8, $9)";
            let sql = format!("INSERT INTO progress (one, {PROGRESS_COLUMNS}) {values} ON CONFLICT (one) DO NOTHING");
            tx.execute(&Query::with(sql, params))?
        }
        Some(after) => {
            let values = "($1, $2, $3, $4, $5, $6, $7, $8, $9)";
            let sql = format!(
                "UPDATE progress SET ({PROGRESS_COLUMNS}) = {values} WHERE one = 1 AND log_id = $10 AND epoch = $11"
            );
            params.extend([Param::text(&log_id), Param::int(after.0)]);
            tx.execute(&Query::with(sql, params))?
        }
    };
    if moved == 1 {
        return Ok(());
    }
    let stands = match read_progress(tx)? {
        None => "it is empty".to_owned(),
        Some(p) => format!("it stands at epoch {} of log {}", p.epoch, p.log),
    };
    let after = commit.after.map_or("an empty store".to_owned(), |after| format!("epoch {after}"));
    Err(StoreError::Mismatch(format!("{stands}; the results of log {log} continue after {after}")))
}

fn metric(row: &StoredRow) -> Vec<Param<'_>> {
    vec![
        Param::Uuid(row.metric_id),
        Param::text(&row.pipeline),
        Param::text(&row.window),
        Param::Time(row.start),
        Param::Time(row.end),
        Param::text(&row.group),
        Param::text(&row.values),
        Param::int(row.event_count),
        Param::int(u64::from(row.revision)),
        Param::Bool(row.closed),
        Param::Int(row.digest.cast_signed()),
        Param::int(row.epoch.0),
    ]
}

fn view<'a>(plan: &'a Plan, row: &'a ViewRow) -> Vec<Param<'a>> {
    vec![
        Param::text(view_name(plan, row.view)),
        Param::text(&row.key),
        Param::text(&row.value),
        Param::int(row.events),
        Param::Time(row.time),
        Param::int(row.offset.0),
        Param::int(row.epoch.0),
    ]
}

fn view_change<'a>(plan: &'a Plan, change: &'a ViewChange) -> Vec<Param<'a>> {
    vec![
        Param::text(view_name(plan, change.view)),
        Param::text(&change.key),
        Param::int(change.offset.0),
        Param::Time(change.time),
        Param::text(&change.value),
    ]
}

fn alert(row: &StoredAlert) -> Vec<Param<'_>> {
    vec![
        Param::Uuid(row.alert_id),
        Param::text(&row.pipeline),
        Param::text(&row.alert),
        Param::text(&row.key),
        Param::Time(row.from),
        Param::Time(row.to),
        Param::Time(row.raised),
        row.cleared.map_or(Param::Null, Param::Time),
        Param::Bool(row.cleared.is_none()),
        Param::text(&row.details),
        Param::int(row.epoch.0),
    ]
}

fn outbox<'a>(plan: &'a Plan, delivery: &'a Delivery) -> Vec<Param<'a>> {
    let Some(webhook) = plan.webhooks.get(delivery.webhook) else {
        panic!("webhook {} is none of the plan's", delivery.webhook)
    };
    vec![
        Param::Uuid(delivery.id),
        Param::text(plan.pipeline_name(webhook.pipeline)),
        Param::text(&webhook.name),
        Param::text(&delivery.body),
        Param::int(delivery.epoch.0),
    ]
}

/// Notes what has become of something in the outbox, in a transaction that has begun and that the caller commits.
pub fn settle(tx: &mut impl Write, mine: Generation, settled: &Settled) -> Result<(), StoreError> {
    fence(tx, mine)?;
    let sql = "UPDATE outbox SET state = $1, attempts = $2, first_at = $3, last_at = $4, next_at = $5, last_error = $6
               WHERE delivery_id = $7";
    let params = [
        Param::text(settled.state.name()),
        Param::int(settled.attempts),
        Param::Time(settled.first),
        Param::Time(settled.last),
        settled.next.map_or(Param::Null, Param::Time),
        settled.error.as_deref().map_or(Param::Null, Param::text),
        Param::Uuid(settled.id),
    ];
    tx.execute(&Query::with(sql, params))?;
    Ok(())
}

/// Does this with something that was given up, in a transaction that has begun and that the caller commits.
pub fn mend_delivery(tx: &mut impl Write, mine: Generation, id: Uuid, mend: DeliveryMend) -> Result<bool, StoreError> {
    fence(tx, mine)?;
    let what = match mend {
        DeliveryMend::Retry => {
            "UPDATE outbox SET state = 'waiting', attempts = 0, first_at = NULL, last_at = NULL, next_at = NULL"
        }
        DeliveryMend::Discard => "DELETE FROM outbox",
    };
    let sql = format!("{what} WHERE delivery_id = $1 AND state = 'given_up'");
    Ok(tx.execute(&Query::with(sql, [Param::Uuid(id)]))? == 1)
}

/// Notes how far a group has come, in a transaction that has begun and that the caller commits.
pub fn move_group(tx: &mut impl Write, mine: Generation, group: &GroupPosition) -> Result<(), StoreError> {
    fence(tx, mine)?;
    let sql = "INSERT INTO consumer_offsets (topic, group_name, position) VALUES ($1, $2, $3)
               ON CONFLICT (topic, group_name) DO UPDATE SET position = excluded.position";
    let params = [Param::text(&group.topic), Param::text(&group.group), Param::int(group.position.0)];
    tx.execute(&Query::with(sql, params))?;
    Ok(())
}

/// Forgets a group, in a transaction that has begun and that the caller commits.
pub fn drop_group(tx: &mut impl Write, mine: Generation, topic: &str, group: &str) -> Result<bool, StoreError> {
    fence(tx, mine)?;
    let sql = "DELETE FROM consumer_offsets WHERE topic = $1 AND group_name = $2";
    Ok(tx.execute(&Query::with(sql, [Param::text(topic), Param::text(group)]))? == 1)
}

fn view_name(plan: &Plan, view: usize) -> &str {
    let Some(view) = plan.views.get(view) else { panic!("view {view} is none of the plan's") };
    &view.name
}

fn dead_letter(letter: &DeadLetter) -> Vec<Param<'_>> {
    vec![
        Param::int(letter.offset.0),
        letter.topic.as_deref().map_or(Param::Null, Param::text),
        Param::text(letter.reason.name()),
        Param::text(&letter.detail),
        Param::Bytes(&letter.body),
        Param::millis(letter.received),
    ]
}

fn event<'a>(event: &'a AuditEvent, past: Option<&'a str>) -> Vec<Param<'a>> {
    vec![
        Param::int(event.offset.0),
        Param::text(&event.topic),
        Param::text(&event.event_id),
        Param::Time(event.time),
        Param::millis(event.received),
        Param::Bytes(&event.body),
        past.map_or(Param::Null, Param::text),
    ]
}

fn slice<'a>(slice: &'a StoredSlice) -> Vec<Param<'a>> {
    vec![
        Param::text(slice.pipeline),
        Param::text(slice.window),
        Param::Time(slice.start),
        Param::int(slice.epoch.0),
        Param::int(slice.part),
        Param::int(slice.first.0),
        Param::int(slice.last.0),
        Param::Int(slice.late_to.0),
        Param::Bytes(&slice.entries),
    ]
}

fn trace<'a>(event: &'a AuditEvent, past: Option<&'a str>) -> impl Iterator<Item = Vec<Param<'a>>> {
    let row = move |id: &uuid::Uuid| {
        let past = past.map_or(Param::Null, Param::text);
        vec![Param::Uuid(*id), Param::int(event.offset.0), Param::text(&event.event_id), past]
    };
    event.metrics.iter().map(row)
}
