//! Answers to questions, the same for every database.

use std::sync::Arc;

use uuid::Uuid;

use crate::core::columns::Reason;
use crate::core::plan::Plan;
use crate::core::row::{AuditEvent, DeadLetter};
use crate::core::units::{Epoch, Offset};
use crate::store::lineage;
use crate::store::sql::{Ask, Param, Query, Row};
use crate::store::text::readings;
use crate::store::{
    AlertQuery, DeadLetterQuery, DeliveryQuery, DeliveryState, EventQuery, GroupPosition, OpenQuery, Reader,
    StoreError, StoredAlert, StoredChange, StoredDelivery, StoredEntry, StoredLetter, StoredRow, ViewQuery,
    WindowQuery,
};

const WINDOW_COLUMNS: &str = "metric_id, pipeline, window_name, window_start, window_end, group_key, metrics, event_count, revision, \
                              closed, digest, epoch";
const ALERT_COLUMNS: &str =
    "alert_id, pipeline, alert, alert_key, window_start, window_end, raised_at, cleared_at, details, epoch";
const DELIVERY_COLUMNS: &str =
    "delivery_id, pipeline, webhook, body, epoch, state, attempts, first_at, last_at, next_at, last_error";
const ENTRY_COLUMNS: &str = "key, value, events, event_time, log_offset";
const LETTER_COLUMNS: &str = "log_offset, topic, reason, detail, body, received_at, retried_as";
const EVENT_COLUMNS: &str = "e.log_offset, e.topic, e.event_id, e.event_time, e.received_at, e.body, t.metric_id";

/// Rows of one event id and their traces: an id comes back only after it was forgotten, so a page of them is enough.
const EVENT_ROWS_MAX: i64 = 1000;

/// Reads over any connection.
pub struct SqlReader<A> {
    plan: Arc<Plan>,
    from: A,
}

/// Conditions joined by AND.
struct Filter<'a> {
    query: Query<'a>,
    empty: bool,
}

impl<A: Ask> SqlReader<A> {
    pub fn new(plan: Arc<Plan>, from: A) -> Self {
        Self { plan, from }
    }

    fn is_group_name(&self, name: &str) -> bool {
        self.plan.windows.iter().any(|w| w.group.iter().any(|field| field.name == name))
    }
}

impl<A: Ask + Send> Reader for SqlReader<A> {
    fn windows(&mut self, query: &WindowQuery) -> Result<Vec<StoredRow>, StoreError> {
        // A name that no window groups by matches nothing, and never reaches the database.
        if !query.group.iter().all(|(name, _)| self.is_group_name(name)) {
            return Ok(Vec::new());
        }
        self.from.ask(&windows_query(query))?.into_iter().map(stored_row).collect()
    }

    fn window(&mut self, id: Uuid) -> Result<Option<StoredRow>, StoreError> {
        let sql = format!("SELECT {WINDOW_COLUMNS} FROM metrics_out WHERE metric_id = $1");
        let rows = self.from.ask(&Query::with(sql, [Param::Uuid(id)]))?;
        rows.into_iter().next().map(stored_row).transpose()
    }

    fn lineage(&mut self, id: Uuid, after: Option<Offset>, limit: u32) -> Result<Vec<AuditEvent>, StoreError> {
        let sql = format!(
            "SELECT {EVENT_COLUMNS}
             FROM (SELECT log_offset FROM trace WHERE metric_id = $1 AND log_offset > $2 ORDER BY log_offset LIMIT $3) AS page
             JOIN events_in AS e ON e.log_offset = page.log_offset
             LEFT JOIN trace AS t ON t.log_offset = e.log_offset
             ORDER BY e.log_offset, t.metric_id"
        );
        let after = after.map_or(Param::Int(-1), |after| Param::int(after.0));
        events(self.from.ask(&Query::with(sql, [Param::Uuid(id), after, Param::Int(i64::from(limit))]))?)
    }

    fn compact_lineage(
        &mut self,
        row: &StoredRow,
        after: Option<Offset>,
        limit: u32,
    ) -> Result<Vec<Offset>, StoreError> {
        lineage::offsets(&mut self.from, &self.plan, row, after, limit)
    }

    fn compact_metrics(&mut self, offsets: &[Offset]) -> Result<Vec<Vec<Uuid>>, StoreError> {
        lineage::metrics(&mut self.from, &self.plan, offsets)
    }

    fn event(&mut self, event_id: &str) -> Result<Vec<AuditEvent>, StoreError> {
        let sql = format!(
            "SELECT {EVENT_COLUMNS} FROM events_in AS e LEFT JOIN trace AS t ON t.log_offset = e.log_offset
             WHERE e.event_id = $1 ORDER BY e.log_offset, t.metric_id LIMIT $2"
        );
        events(self.from.ask(&Query::with(sql, [Param::text(event_id), Param::Int(EVENT_ROWS_MAX)]))?)
    }

    fn events(&mut self, query: &EventQuery) -> Result<Vec<AuditEvent>, StoreError> {
        let mut filter = Filter::new(format!("SELECT {EVENT_COLUMNS} FROM (SELECT log_offset FROM events_in"));
        if let Some(topic) = &query.topic {
            filter.and("topic = ").bind(Param::text(topic));
        }
        if let Some(before) = query.before {
            filter.and("log_offset < ").bind(Param::int(before.0));
        }
        let mut sql = filter.query;
        sql.push(" ORDER BY log_offset DESC LIMIT ").bind(Param::Int(i64::from(query.limit))).push(
            ") AS page
             JOIN events_in AS e ON e.log_offset = page.log_offset
             LEFT JOIN trace AS t ON t.log_offset = e.log_offset
             ORDER BY e.log_offset DESC, t.metric_id",
        );
        events(self.from.ask(&sql)?)
    }

    fn knows(&mut self, pipeline: &str) -> Result<bool, StoreError> {
        for place in
            ["metrics_out WHERE pipeline", "alerts WHERE pipeline", "lineage WHERE pipeline", "events_in WHERE past"]
        {
            let found =
                Query::with(format!("SELECT CAST(1 AS bigint) FROM {place} = $1 LIMIT 1"), [Param::text(pipeline)]);
            if !self.from.ask(&found)?.is_empty() {
                return Ok(true);
            }
        }
        Ok(false)
    }

    fn alerts(&mut self, query: &AlertQuery) -> Result<Vec<StoredAlert>, StoreError> {
        let mut filter = Filter::new(format!("SELECT {ALERT_COLUMNS} FROM alerts"));
        if let Some(pipeline) = &query.pipeline {
            filter.and("pipeline = ").bind(Param::text(pipeline));
        }
        if let Some(alert) = &query.alert {
            filter.and("alert = ").bind(Param::text(alert));
        }
        if let Some(active) = query.active {
            filter.and("active = ").bind(Param::Bool(active));
        }
        if let Some((raised, id)) = query.after {
            let sql = filter.and("(raised_at, alert_id) < (").bind(Param::Time(raised)).push(", ");
            sql.bind(Param::Uuid(id)).push(")");
        }
        let mut sql = filter.query;
        sql.push(" ORDER BY raised_at DESC, alert_id DESC LIMIT ").bind(Param::Int(i64::from(query.limit)));
        self.from.ask(&sql)?.into_iter().map(alert).collect()
    }

    fn deliveries(&mut self, query: &DeliveryQuery) -> Result<Vec<StoredDelivery>, StoreError> {
        let mut filter = Filter::new(format!("SELECT {DELIVERY_COLUMNS} FROM outbox"));
        if let Some(state) = query.state {
            filter.and("state = ").bind(Param::text(state.name()));
        }
        if let Some(pipeline) = &query.pipeline {
            filter.and("pipeline = ").bind(Param::text(pipeline));
        }
        if let Some(webhook) = &query.webhook {
            filter.and("webhook = ").bind(Param::text(webhook));
        }
        if let Some(due_by) = query.due_by {
            filter.and("(next_at IS NULL OR next_at <= ").bind(Param::Time(due_by)).push(")");
        }
        if let Some((epoch, id)) = query.after {
            let sql = filter.and("(epoch, delivery_id) ").push(if query.newest_first { "< (" } else { "> (" });
            sql.bind(Param::int(epoch.0)).push(", ").bind(Param::Uuid(id)).push(")");
        }
        let mut sql = filter.query;
        // What is due is sent first where it was tried least: so that what never answers does not take all the time.
        let order = match (query.newest_first, query.due_by) {
            (true, _) => "epoch DESC, delivery_id DESC",
            (false, None) => "epoch, delivery_id",
            (false, Some(_)) => "attempts, epoch, delivery_id",
        };
        sql.push(&format!(" ORDER BY {order} LIMIT ")).bind(Param::Int(i64::from(query.limit)));
        self.from.ask(&sql)?.into_iter().map(delivery).collect()
    }

    fn view(&mut self, query: &ViewQuery) -> Result<Vec<StoredEntry>, StoreError> {
        let mut filter = Filter::new(format!("SELECT {ENTRY_COLUMNS} FROM views"));
        filter.and("view = ").bind(Param::text(&query.view));
        if let Some(after) = &query.after {
            filter.and("key > ").bind(Param::text(after));
        }
        let mut sql = filter.query;
        sql.push(" ORDER BY key LIMIT ").bind(Param::Int(i64::from(query.limit)));
        self.from.ask(&sql)?.into_iter().map(entry).collect()
    }

    fn view_entry(&mut self, view: &str, key: &str) -> Result<Option<StoredEntry>, StoreError> {
        let sql = format!("SELECT {ENTRY_COLUMNS} FROM views WHERE view = $1 AND key = $2");
        let rows = self.from.ask(&Query::with(sql, [Param::text(view), Param::text(key)]))?;
        rows.into_iter().next().map(entry).transpose()
    }

    fn view_history(
        &mut self,
        view: &str,
        key: &str,
        before: Option<Offset>,
        limit: u32,
    ) -> Result<Vec<StoredChange>, StoreError> {
        let mut filter = Filter::new("SELECT log_offset, event_time, value FROM view_history".to_owned());
        filter.and("view = ").bind(Param::text(view));
        filter.and("key = ").bind(Param::text(key));
        if let Some(before) = before {
            filter.and("log_offset < ").bind(Param::int(before.0));
        }
        let mut sql = filter.query;
        sql.push(" ORDER BY log_offset DESC LIMIT ").bind(Param::Int(i64::from(limit)));
        let change =
            |mut row: Row| Ok(StoredChange { offset: Offset(row.unsigned()?), time: row.time()?, value: row.text()? });
        self.from.ask(&sql)?.into_iter().map(change).collect()
    }

    fn dead_letters(&mut self, query: &DeadLetterQuery) -> Result<Vec<StoredLetter>, StoreError> {
        let mut filter = Filter::new(format!("SELECT {LETTER_COLUMNS} FROM dead_letters"));
        if let Some(reason) = query.reason {
            filter.and("reason = ").bind(Param::text(reason.name()));
        }
        if let Some(topic) = &query.topic {
            filter.and("topic = ").bind(Param::text(topic));
        }
        if let Some(before) = query.before {
            filter.and("log_offset < ").bind(Param::int(before.0));
        }
        if let Some(retried) = query.retried {
            filter.and(if retried { "retried_as IS NOT NULL" } else { "retried_as IS NULL" });
        }
        let mut sql = filter.query;
        sql.push(" ORDER BY log_offset DESC LIMIT ").bind(Param::Int(i64::from(query.limit)));
        self.from.ask(&sql)?.into_iter().map(letter).collect()
    }

    fn dead_letter(&mut self, offset: Offset) -> Result<Option<StoredLetter>, StoreError> {
        let sql = format!("SELECT {LETTER_COLUMNS} FROM dead_letters WHERE log_offset = $1");
        let rows = self.from.ask(&Query::with(sql, [Param::int(offset.0)]))?;
        rows.into_iter().next().map(letter).transpose()
    }

    fn open_letters(&mut self, query: &OpenQuery, limit: u32) -> Result<Vec<Offset>, StoreError> {
        let mut sql = open_letters("log_offset", query).query;
        sql.push(" ORDER BY log_offset LIMIT ").bind(Param::Int(i64::from(limit)));
        self.from.ask(&sql)?.into_iter().map(|mut row| row.unsigned().map(Offset)).collect()
    }

    fn count_open_letters(&mut self, query: &OpenQuery) -> Result<u64, StoreError> {
        let rows = self.from.ask(&open_letters("count(*)", query).query)?;
        rows.into_iter().next().map_or(Ok(0), |mut row| row.unsigned())
    }

    fn groups(&mut self) -> Result<Vec<GroupPosition>, StoreError> {
        let sql = "SELECT topic, group_name, position FROM consumer_offsets ORDER BY topic, group_name";
        let group = |mut row: Row| {
            Ok(GroupPosition { topic: row.text()?, group: row.text()?, position: Offset(row.unsigned()?) })
        };
        self.from.ask(&Query::new(sql))?.into_iter().map(group).collect()
    }
}

fn alert(mut row: Row) -> Result<StoredAlert, StoreError> {
    Ok(StoredAlert {
        alert_id: row.uuid()?,
        pipeline: row.text()?,
        alert: row.text()?,
        key: row.text()?,
        from: row.time()?,
        to: row.time()?,
        raised: row.time()?,
        cleared: row.time_or_null()?,
        details: row.text()?,
        epoch: Epoch(row.unsigned()?),
    })
}

fn delivery(mut row: Row) -> Result<StoredDelivery, StoreError> {
    let of_state = |name: &str| {
        let state = DeliveryState::ALL.into_iter().find(|state| state.name() == name);
        state.ok_or_else(|| StoreError::Broken(format!("outbox.state holds {name:?}, which is no state")))
    };
    Ok(StoredDelivery {
        id: row.uuid()?,
        pipeline: row.text()?,
        webhook: row.text()?,
        body: row.text()?,
        epoch: Epoch(row.unsigned()?),
        state: of_state(&row.text()?)?,
        attempts: row.unsigned()?,
        first: row.time_or_null()?,
        last: row.time_or_null()?,
        next: row.time_or_null()?,
        error: row.text_or_null()?,
    })
}

fn entry(mut row: Row) -> Result<StoredEntry, StoreError> {
    Ok(StoredEntry {
        key: row.text()?,
        value: row.text()?,
        events: row.unsigned()?,
        time: row.time()?,
        offset: Offset(row.unsigned()?),
    })
}

impl<'a> Filter<'a> {
    fn new(select: String) -> Self {
        Self { query: Query::new(select), empty: true }
    }

    fn and(&mut self, condition: &str) -> &mut Query<'a> {
        self.query.push(if self.empty { " WHERE " } else { " AND " }).push(condition);
        self.empty = false;
        &mut self.query
    }
}

fn windows_query(query: &WindowQuery) -> Query<'_> {
    let mut filter = Filter::new(format!("SELECT {WINDOW_COLUMNS} FROM metrics_out"));
    if let Some(pipeline) = &query.pipeline {
        filter.and("pipeline = ").bind(Param::text(pipeline));
    }
    if let Some(window) = &query.window {
        filter.and("window_name = ").bind(Param::text(window));
    }
    if let Some(from) = query.from {
        filter.and("window_start >= ").bind(Param::Time(from));
    }
    if let Some(to) = query.to {
        filter.and("window_start < ").bind(Param::Time(to));
    }
    if let Some(closed) = query.closed {
        filter.and("closed = ").bind(Param::Bool(closed));
    }
    for (name, value) in &query.group {
        // Both sides as JSON text: so a number or a boolean is found by its text, without a conversion that each database does its own way.
        let [first, second] = readings(value);
        let sql = filter.and("CAST(group_key -> CAST(").bind(Param::text(name)).push(" AS TEXT) AS TEXT) IN (");
        sql.bind(Param::Text(first.into())).push(", ").bind(Param::Text(second.into())).push(")");
    }
    if let Some((start, window, id)) = &query.after {
        let sql = filter.and("(window_start, window_name, metric_id) ");
        sql.push(if query.newest_first { "< (" } else { "> (" }).bind(Param::Time(*start)).push(", ");
        sql.bind(Param::text(window)).push(", ").bind(Param::Uuid(*id)).push(")");
    }
    let mut sql = filter.query;
    sql.push(if query.newest_first {
        " ORDER BY window_start DESC, window_name DESC, metric_id DESC LIMIT "
    } else {
        " ORDER BY window_start, window_name, metric_id LIMIT "
    });
    sql.bind(Param::Int(i64::from(query.limit)));
    sql
}

fn stored_row(mut row: Row) -> Result<StoredRow, StoreError> {
    Ok(StoredRow {
        metric_id: row.uuid()?,
        pipeline: row.text()?,
        window: row.text()?,
        start: row.time()?,
        end: row.time()?,
        group: row.text()?,
        values: row.text()?,
        event_count: row.unsigned()?,
        revision: u32::try_from(row.unsigned()?).unwrap_or(u32::MAX),
        closed: row.flag()?,
        digest: row.int()?.cast_unsigned(),
        epoch: Epoch(row.unsigned()?),
    })
}

/// The letters without a retry, which have an index of their own, by reason.
fn open_letters<'a>(columns: &str, query: &'a OpenQuery) -> Filter<'a> {
    let mut filter = Filter::new(format!("SELECT {columns} FROM dead_letters"));
    filter.and("retried_as IS NULL");
    filter.and("reason = ").bind(Param::text(query.reason.name()));
    if let Some(topic) = &query.topic {
        filter.and("topic = ").bind(Param::text(topic));
    }
    for topic in &query.not_topics {
        filter.and("(topic IS NULL OR topic <> ").bind(Param::text(topic)).push(")");
    }
    if let Some(before) = query.before {
        filter.and("log_offset < ").bind(Param::int(before.0));
    }
    filter
}

fn letter(mut row: Row) -> Result<StoredLetter, StoreError> {
    let letter = DeadLetter {
        offset: Offset(row.unsigned()?),
        topic: row.text_or_null()?,
        reason: reason(&row.text()?)?,
        detail: row.text()?,
        body: row.bytes()?,
        received: row.millis()?,
    };
    Ok(StoredLetter { letter, retried_as: row.unsigned_or_null()?.map(Offset) })
}

fn reason(name: &str) -> Result<Reason, StoreError> {
    let reason = Reason::ALL.into_iter().find(|reason| reason.name() == name);
    reason.ok_or_else(|| StoreError::Broken(format!("dead_letters.reason holds {name:?}, which is no reason")))
}

/// One row an event and metric, in order of event: gathered into one event each.
fn events(rows: Vec<Row>) -> Result<Vec<AuditEvent>, StoreError> {
    let mut events: Vec<AuditEvent> = Vec::new();
    for mut row in rows {
        let mut event = AuditEvent {
            offset: Offset(row.unsigned()?),
            topic: row.text()?,
            event_id: row.text()?,
            time: row.time()?,
            received: row.millis()?,
            body: row.bytes()?,
            metrics: Vec::new(),
        };
        event.metrics.extend(row.uuid_or_null()?);
        if let Some(last) = events.last_mut().filter(|last| last.offset == event.offset) {
            last.metrics.append(&mut event.metrics);
        } else {
            events.push(event);
        }
    }
    Ok(events)
}
