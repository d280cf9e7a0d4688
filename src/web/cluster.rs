//! The job as a whole, as JSON: `GET /cluster`, and a part of each live snapshot.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::Serialize;

use crate::coordinator::status::{
    CheckpointStatus, PipelineStatus, ProcessStatus, RankStatus, StartStatus, Status, WindowStatus,
};
use crate::core::ledger::Counts;
use crate::core::time;
use crate::core::units::{Micros, Millis};
use crate::store::target::Target;
use crate::web::groups::GroupView;
use crate::web::rates::Rates;
use crate::web::views::{moment, phase};

/// Back-pressure up to this is OK …
const PRESSURE_OK_MAX: f64 = 0.1;
/// … up to this LOW, and HIGH above.
const PRESSURE_LOW_MAX: f64 = 0.5;

#[derive(Serialize)]
pub struct ClusterView {
    phase: &'static str,
    generation: u64,
    /// Of rank 0's clock.
    now: String,
    epoch_committed: u64,
    epoch_checkpoint: u64,
    /// Of the pipeline that has come least far.
    watermark: Option<String>,
    watermark_lag_ms: Option<i64>,
    pipelines: Vec<PipelineView>,
    topics: Vec<TopicView>,
    accepted_per_second: f64,
    committed_per_second: f64,
    /// Receipt to committed.
    latency_p50_ms: Option<u64>,
    latency_p99_ms: Option<u64>,
    log_bytes: u64,
    log: LogView,
    checkpoint: CheckpointView,
    store: StoreView,
    store_away_since: Option<String>,
    rank0: ProcessView,
    ranks: Vec<RankView>,
    groups: Vec<GroupView>,
    starts: Vec<StartView>,
}

/// A process of the job.
#[derive(Serialize)]
struct ProcessView {
    host: String,
    pid: u32,
    up_since: Option<String>,
    cpu_seconds: f64,
    /// Seconds on a core per second, over the last one or so.
    cpu_cores: f64,
    memory_bytes: u64,
}

#[derive(Serialize)]
struct RankView {
    rank: usize,
    #[serde(flatten)]
    process: ProcessView,
    /// Decoded in this life.
    events: u64,
    events_per_second: f64,
    queue_bytes: u64,
    credit_bytes: u64,
    credit_free_bytes: u64,
    back_pressure: f64,
    back_pressure_level: &'static str,
    key_groups: u32,
    ids: u64,
    panes: u64,
    keys: u64,
}

#[derive(Serialize)]
struct PipelineView {
    pipeline: String,
    watermark: Option<String>,
    /// How far it is behind rank 0's clock.
    watermark_lag_ms: Option<i64>,
    /// In this life.
    expression_errors: u64,
    /// In this life, by window.
    late: BTreeMap<String, u64>,
    windows: Vec<WindowView>,
    alerts: Vec<AlertView>,
}

#[derive(Serialize)]
struct WindowView {
    window: String,
    /// Since the log began; null while the job replays.
    rows: Option<u64>,
    rows_per_second: f64,
    open_panes: u64,
    /// In this life.
    late: u64,
}

#[derive(Serialize)]
struct AlertView {
    alert: String,
    /// Since the log began.
    raised: u64,
}

/// Committed events since the log began.
#[derive(Serialize)]
struct TopicView {
    /// Null: events that name no topic of the job's.
    topic: Option<String>,
    accepted: u64,
    counted: u64,
    duplicate: u64,
    filtered: u64,
    invalid: u64,
    late: u64,
    per_second: FatesPerSecond,
}

#[derive(Serialize)]
struct FatesPerSecond {
    accepted: f64,
    counted: f64,
    duplicate: f64,
    filtered: f64,
    invalid: f64,
    late: f64,
}

#[derive(Serialize)]
struct LogView {
    bytes: u64,
    bytes_max: u64,
    segments: usize,
    oldest_offset: u64,
    /// Null: all that ever came is retained.
    oldest_at: Option<String>,
    next_offset: u64,
}

#[derive(Serialize)]
struct CheckpointView {
    epoch: u64,
    at: Option<String>,
    /// Null where it was written in an earlier life; likewise below.
    bytes: Option<u64>,
    took_ms: Option<f64>,
}

#[derive(Serialize)]
struct StoreView {
    kind: &'static str,
    /// Null where it is not cheap to know.
    bytes: Option<u64>,
    away_since: Option<String>,
    commit: Option<CommitView>,
}

/// The newest transaction.
#[derive(Serialize)]
struct CommitView {
    at: String,
    took_ms: f64,
    rows: u64,
}

/// A start of the job.
#[derive(Serialize)]
struct StartView {
    generation: u64,
    at: String,
    /// Null: it is the first one, or the one before was drained.
    why: Option<String>,
    ready_at: Option<String>,
    replayed: u64,
    replay_ms: u64,
    drained: bool,
}

impl ClusterView {
    pub fn of(status: &Status, rates: &Rates, groups: Vec<GroupView>, target: &Target, now: Millis) -> Self {
        let lag = |watermark: Micros| now.micros().minus(watermark).0 / 1000;
        Self {
            phase: phase(status.phase),
            generation: status.generation.0,
            now: moment(now),
            epoch_committed: status.committed.0,
            epoch_checkpoint: status.checkpoint.epoch.0,
            watermark: status.watermark().map(time::format),
            watermark_lag_ms: status.watermark().map(lag),
            pipelines: status.pipelines.iter().map(|pipeline| PipelineView::of(pipeline, status, rates, lag)).collect(),
            topics: topics(status, rates),
            accepted_per_second: rates.accepted,
            committed_per_second: rates.committed,
            latency_p50_ms: status.latency_p50.map(|ms| ms.0),
            latency_p99_ms: status.latency_p99.map(|ms| ms.0),
            log_bytes: status.log.bytes,
            log: LogView {
                bytes: status.log.bytes,
                bytes_max: status.log_bytes_max,
                segments: status.log.segments,
                oldest_offset: status.log.begin.0,
                oldest_at: status.log.since.map(moment),
                next_offset: status.ledger.accepted,
            },
            checkpoint: CheckpointView::of(&status.checkpoint),
            store: StoreView {
                kind: target.kind(),
                bytes: target.bytes(),
                away_since: status.store_away_since.map(moment),
                commit: status.commit.map(|commit| CommitView {
                    at: moment(commit.at),
                    took_ms: ms(commit.took),
                    rows: commit.rows,
                }),
            },
            store_away_since: status.store_away_since.map(moment),
            rank0: ProcessView::of(&status.rank0, rates.cpu_cores.first().copied()),
            ranks: status.ranks.iter().map(|rank| RankView::of(rank, rates)).collect(),
            groups,
            starts: status.starts.iter().map(StartView::of).collect(),
        }
    }
}

impl ProcessView {
    fn of(process: &ProcessStatus, cpu_cores: Option<f64>) -> Self {
        Self {
            host: process.host.clone(),
            pid: process.pid,
            up_since: process.up_since.map(moment),
            cpu_seconds: process.cpu.as_secs_f64(),
            cpu_cores: cpu_cores.unwrap_or_default(),
            memory_bytes: process.memory_bytes,
        }
    }
}

impl RankView {
    fn of(rank: &RankStatus, rates: &Rates) -> Self {
        Self {
            rank: rank.rank,
            process: ProcessView::of(&rank.process, rates.cpu_cores.get(rank.rank).copied()),
            events: rank.events,
            events_per_second: rates.rank_events.get(rank.rank - 1).copied().unwrap_or_default(),
            queue_bytes: rank.queue_bytes,
            credit_bytes: rank.credit_bytes,
            credit_free_bytes: rank.credit_bytes.saturating_sub(rank.queue_bytes),
            back_pressure: rank.back_pressure,
            back_pressure_level: level(rank.back_pressure),
            key_groups: rank.key_groups,
            ids: rank.ids,
            panes: rank.panes,
            keys: rank.keys,
        }
    }
}

/// As people speak of it.
fn level(back_pressure: f64) -> &'static str {
    match back_pressure {
        ..=PRESSURE_OK_MAX => "OK",
        ..=PRESSURE_LOW_MAX => "LOW",
        _ => "HIGH",
    }
}

impl PipelineView {
    fn of(pipeline: &PipelineStatus, status: &Status, rates: &Rates, lag: impl Fn(Micros) -> i64) -> Self {
        let alerts = status.totals.iter().flat_map(|totals| &totals.alerts);
        let mine = alerts.filter(|((of, _), _)| *of == pipeline.name);
        Self {
            pipeline: pipeline.name.clone(),
            watermark: pipeline.watermark.map(time::format),
            watermark_lag_ms: pipeline.watermark.map(lag),
            expression_errors: pipeline.expression_errors,
            late: pipeline.windows.iter().map(|window| (window.name.clone(), window.late)).collect(),
            windows: pipeline.windows.iter().map(|window| WindowView::of(pipeline, window, status, rates)).collect(),
            alerts: mine.map(|((_, alert), &raised)| AlertView { alert: alert.clone(), raised }).collect(),
        }
    }
}

impl WindowView {
    fn of(pipeline: &PipelineStatus, window: &WindowStatus, status: &Status, rates: &Rates) -> Self {
        let name = (pipeline.name.clone(), window.name.clone());
        Self {
            rows: status.totals.as_ref().map(|totals| totals.rows.get(&name).copied().unwrap_or_default()),
            rows_per_second: rates.rows.get(&name).copied().unwrap_or_default(),
            window: window.name.clone(),
            open_panes: window.panes,
            late: window.late,
        }
    }
}

fn topics(status: &Status, rates: &Rates) -> Vec<TopicView> {
    let topics = status.totals.iter().flat_map(|totals| &totals.topics);
    let view = |(topic, counts): (&Option<String>, &Counts)| {
        let [counted, duplicate, filtered, invalid, late] = rates.topics.get(topic).copied().unwrap_or_default();
        TopicView {
            topic: topic.clone(),
            accepted: counts.total(),
            counted: counts.counted,
            duplicate: counts.duplicate,
            filtered: counts.filtered,
            invalid: counts.invalid,
            late: counts.late,
            per_second: FatesPerSecond {
                accepted: counted + duplicate + filtered + invalid + late,
                counted,
                duplicate,
                filtered,
                invalid,
                late,
            },
        }
    };
    topics.map(view).collect()
}

impl CheckpointView {
    fn of(checkpoint: &CheckpointStatus) -> Self {
        Self {
            epoch: checkpoint.epoch.0,
            at: checkpoint.at.map(moment),
            bytes: checkpoint.written.map(|written| written.bytes),
            took_ms: checkpoint.written.map(|written| ms(written.took)),
        }
    }
}

impl StartView {
    fn of(start: &StartStatus) -> Self {
        Self {
            generation: start.generation.0,
            at: moment(start.at),
            why: start.why.clone(),
            ready_at: start.ready.map(moment),
            replayed: start.replayed,
            replay_ms: start.replay.as_millis() as u64,
            drained: start.drained,
        }
    }
}

/// To the microsecond.
fn ms(took: Duration) -> f64 {
    took.as_micros() as f64 / 1e3
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn back_pressure_has_three_levels() {
        for (share, expected) in [(0.0, "OK"), (0.1, "OK"), (0.11, "LOW"), (0.5, "LOW"), (0.51, "HIGH"), (1.0, "HIGH")]
        {
            assert_eq!(level(share), expected, "{share}");
        }
    }
}
