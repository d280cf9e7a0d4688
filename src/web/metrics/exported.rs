//! Which metrics there are, filled from one snapshot of the status.

use crate::coordinator::status::{
    Histogram, Phase, PipelineStatus, ProcessStatus, RankStatus, Status, Took, Totals, WindowStatus,
};
use crate::core::ledger::Counts;
use crate::core::units::{Micros, Millis};
use crate::web::Web;
use crate::web::groups::GroupView;
use crate::web::metrics::exposition::{Family, Kind, Sample, Value};
use crate::web::metrics::requests::Requests;

/// The label of events that name no topic of the job's.
const NO_TOPIC: &str = "";

/// All of them, in the order in which the documentation has them.
pub fn families(web: &Web) -> Vec<Family> {
    let app = &web.app;
    let (status, now) = (app.status.get(), app.clock.unix());
    let mut all = Families::default();
    job(&mut all, &status);
    events(&mut all, &status);
    pipelines(&mut all, &status, now);
    took(&mut all, &app.status.took);
    storage(&mut all, &status, app.target.bytes());
    let (keys, up) = (app.ingest.keys(), app.clock.up());
    let help = "Idempotency-Keys that are remembered.";
    all.gauge("caudal_idempotency_keys", help, keys.count(up) as u64);
    let help = "IDEMPOTENCY_KEYS_MAX: beyond it requests with a new key are refused.";
    all.gauge("caudal_idempotency_keys_limit", help, keys.max() as u64);
    ranks(&mut all, &status);
    groups(&mut all, &web.groups.views(web, None));
    requests(&mut all, &web.requests);
    all.0
}

#[derive(Default)]
struct Families(Vec<Family>);

impl Families {
    fn add(
        &mut self,
        kind: Kind,
        name: &'static str,
        labels: &'static [&'static str],
        help: &'static str,
        samples: impl IntoIterator<Item = Sample>,
    ) {
        self.0.push(Family { name, kind, help, labels, samples: samples.into_iter().collect() });
    }

    fn counter(&mut self, name: &'static str, help: &'static str, value: u64) {
        self.add(Kind::Counter, name, &[], help, [whole([], value)]);
    }

    fn gauge(&mut self, name: &'static str, help: &'static str, value: u64) {
        self.add(Kind::Gauge, name, &[], help, [whole([], value)]);
    }

    fn seconds(&mut self, name: &'static str, help: &'static str, value: Option<f64>) {
        self.add(Kind::Gauge, name, &[], help, value.map(|value| number([], value)));
    }
}

fn whole<const N: usize>(labels: [&str; N], value: u64) -> Sample {
    Sample { labels: labels.map(str::to_owned).to_vec(), value: Value::Whole(value) }
}

fn number<const N: usize>(labels: [&str; N], value: f64) -> Sample {
    Sample { labels: labels.map(str::to_owned).to_vec(), value: Value::Number(value) }
}

fn seconds(at: Millis) -> f64 {
    at.0 as f64 / 1e3
}

fn fates(counts: &Counts) -> [(&'static str, u64); 5] {
    let Counts { counted, duplicate, filtered, invalid, late } = *counts;
    [("counted", counted), ("duplicate", duplicate), ("filtered", filtered), ("invalid", invalid), ("late", late)]
}

fn job(all: &mut Families, status: &Status) {
    let version = whole([env!("CARGO_PKG_VERSION")], 1);
    all.add(Kind::Gauge, "caudal_build_info", &["version"], "The build that runs; always 1.", [version]);
    all.gauge("caudal_serving", "1 while events are taken.", u64::from(status.phase == Phase::Serving));
    all.gauge("caudal_generation", "The life of the job: each start raises it by one.", status.generation.0);
    all.gauge("caudal_ranks", "Worker ranks.", status.ranks.len() as u64);
    let start = status.starts.last();
    let ready = start.filter(|start| start.ready.is_some());
    let help = "When the newest start of the job was.";
    all.seconds("caudal_start_timestamp_seconds", help, start.map(|start| seconds(start.at)));
    let help = "How long the newest start took until events were taken.";
    all.seconds("caudal_start_replay_seconds", help, ready.map(|start| start.replay.as_secs_f64()));
    let help = "Events of the log that the newest start read again.";
    let replayed = ready.map(|start| whole([], start.replayed));
    all.add(Kind::Gauge, "caudal_start_replayed_events", &[], help, replayed);
    all.gauge("caudal_epoch_committed", "The newest epoch in the store.", status.committed.0);
    all.gauge("caudal_epoch_checkpoint", "The newest epoch with a checkpoint.", status.checkpoint.epoch.0);
}

fn events(all: &mut Families, status: &Status) {
    let ledger = &status.ledger;
    all.counter("caudal_events_accepted", "Events that are on disk, since the log began.", ledger.accepted);
    let by_fate = fates(&ledger.counts).map(|(fate, count)| whole([fate], count));
    let help = "Committed events by what became of them, since the log began.";
    all.add(Kind::Counter, "caudal_events_fate", &["fate"], help, by_fate);
    all.gauge("caudal_events_in_flight", "Accepted events that are not committed.", ledger.in_flight);
    let none = Totals::default();
    let totals = status.totals.as_deref().unwrap_or(&none);
    let of_topics = totals.topics.iter().flat_map(|(topic, counts)| {
        let topic = topic.as_deref().unwrap_or(NO_TOPIC);
        fates(counts).map(|(fate, count)| whole([topic, fate], count))
    });
    let help = "Committed events by topic and by what became of them, since the log began; an empty topic: none of the job's. Absent while the job replays.";
    all.add(Kind::Counter, "caudal_topic_events", &["topic", "fate"], help, of_topics);
    let rows = totals.rows.iter().map(|((pipeline, window), &rows)| whole([pipeline, window], rows));
    let help =
        "Rows of windows that were written, revisions among them, since the log began. Absent while the job replays.";
    all.add(Kind::Counter, "caudal_window_rows", &["pipeline", "window"], help, rows);
    let alerts = totals.alerts.iter().map(|((pipeline, alert), &raised)| whole([pipeline, alert], raised));
    let help = "Alerts that were raised, since the log began. Absent while the job replays.";
    all.add(Kind::Counter, "caudal_alerts_raised", &["pipeline", "alert"], help, alerts);
}

fn pipelines(all: &mut Families, status: &Status, now: Millis) {
    let pipelines = &status.pipelines;
    let errors = pipelines.iter().map(|pipeline| whole([&pipeline.name], pipeline.expression_errors));
    let help = "Values that expressions could not give, in this life.";
    all.add(Kind::Counter, "caudal_expression_errors", &["pipeline"], help, errors);
    let of_windows = |value: fn(&WindowStatus) -> u64| {
        let of = move |pipeline: &PipelineStatus| {
            let windows = pipeline.windows.iter();
            windows.map(|window| whole([&pipeline.name, &window.name], value(window))).collect::<Vec<_>>()
        };
        pipelines.iter().flat_map(of).collect::<Vec<_>>()
    };
    let help = "Events that were late for a window, whether or not another took them, in this life.";
    all.add(Kind::Counter, "caudal_window_late_events", &["pipeline", "window"], help, of_windows(|w| w.late));
    let help = "Panes of a window that are kept: slices of tumbling and hopping windows, sessions.";
    all.add(Kind::Gauge, "caudal_window_open_panes", &["pipeline", "window"], help, of_windows(|w| w.panes));
    let watermarks = || pipelines.iter().filter_map(|p| Some((p.name.as_str(), p.watermark?)));
    let help = "The watermark: event time before which no event is expected.";
    let at = watermarks().map(|(pipeline, watermark)| number([pipeline], watermark.0 as f64 / 1e6));
    all.add(Kind::Gauge, "caudal_watermark_timestamp_seconds", &["pipeline"], help, at);
    let help = "How far the watermark is behind rank 0's clock.";
    let lag = |watermark: Micros| now.micros().minus(watermark).0 as f64 / 1e6;
    let lags = watermarks().map(|(pipeline, watermark)| number([pipeline], lag(watermark)));
    all.add(Kind::Gauge, "caudal_watermark_lag_seconds", &["pipeline"], help, lags);
}

fn took(all: &mut Families, took: &Took) {
    let mut histogram = |name, help, histogram: &Histogram| {
        let value = Value::Durations(histogram.get());
        all.add(Kind::Histogram, name, &[], help, [Sample { labels: Vec::new(), value }]);
    };
    let help = "From an event's receipt to its commit, by event, in this life; without events that were replayed.";
    histogram("caudal_receipt_to_committed_seconds", help, &took.receipt_to_committed);
    let help = "Writing and syncing a group commit of the log, in this life.";
    histogram("caudal_log_commit_seconds", help, &took.log_commit);
    let help = "A transaction of the store, attempts that failed included, in this life.";
    histogram("caudal_store_commit_seconds", help, &took.store_commit);
    histogram("caudal_checkpoint_seconds", "Writing a checkpoint, in this life.", &took.checkpoint);
}

fn storage(all: &mut Families, status: &Status, store_bytes: Option<u64>) {
    let help = "When the state was that the newest checkpoint has; absent where there is none.";
    all.seconds("caudal_checkpoint_timestamp_seconds", help, status.checkpoint.at.map(seconds));
    let written = status.checkpoint.written.map(|written| whole([], written.bytes));
    let help = "Bytes that were written for the newest checkpoint; absent until this life has written one.";
    all.add(Kind::Gauge, "caudal_checkpoint_size_bytes", &[], help, written);
    all.gauge("caudal_log_size_bytes", "Size of the log's segments.", status.log.bytes);
    all.gauge("caudal_log_limit_bytes", "LOG_BYTES_MAX: beyond it events are refused.", status.log_bytes_max);
    all.gauge("caudal_log_segments", "Segments of the log.", status.log.segments as u64);
    all.gauge("caudal_log_oldest_offset", "The first event that is still in the log.", status.log.begin.0);
    all.gauge("caudal_store_away", "1 while the store is not available.", u64::from(status.store_away_since.is_some()));
    let help = "Size of the store's files; absent where it is a server.";
    all.add(Kind::Gauge, "caudal_store_size_bytes", &[], help, store_bytes.map(|bytes| whole([], bytes)));
    let help = "Rows that the store's newest transaction wrote; absent until this life has committed one.";
    let rows = status.commit.map(|commit| whole([], commit.rows));
    all.add(Kind::Gauge, "caudal_store_commit_rows", &[], help, rows);
}

fn ranks(all: &mut Families, status: &Status) {
    let workers = |value: fn(&RankStatus) -> u64| {
        let of = move |rank: &RankStatus| whole([&rank.rank.to_string()], value(rank));
        status.ranks.iter().map(of).collect::<Vec<_>>()
    };
    let rank = &["rank"];
    all.add(Kind::Counter, "caudal_rank_events", rank, "Events decoded, in this life.", workers(|r| r.events));
    let help = "Bytes dispatched and not yet decoded.";
    all.add(Kind::Gauge, "caudal_rank_queue_bytes", rank, help, workers(|r| r.queue_bytes));
    let help = "Bytes that may be dispatched and not yet decoded.";
    all.add(Kind::Gauge, "caudal_rank_credit_bytes", rank, help, workers(|r| r.credit_bytes));
    let pressed = status.ranks.iter().map(|rank| number([&rank.rank.to_string()], rank.back_pressure));
    let help = "Share of the last second without credit: up to 0.1 OK, up to 0.5 LOW, above HIGH.";
    all.add(Kind::Gauge, "caudal_rank_back_pressure_ratio", rank, help, pressed);
    all.add(Kind::Gauge, "caudal_rank_ids", rank, "Ids remembered.", workers(|r| r.ids));
    all.add(Kind::Gauge, "caudal_rank_panes", rank, "Panes kept.", workers(|r| r.panes));
    all.add(Kind::Gauge, "caudal_rank_keys", rank, "Keys in views.", workers(|r| r.keys));
    let processes = || {
        let workers = status.ranks.iter().map(|rank| (rank.rank.to_string(), &rank.process));
        std::iter::once(("0".to_owned(), &status.rank0)).chain(workers)
    };
    let cpu = processes().map(|(rank, process)| number([&rank], process.cpu.as_secs_f64()));
    all.add(Kind::Counter, "caudal_rank_cpu_seconds", rank, "Time on a core, of all threads, in this life.", cpu);
    let memory = processes().map(|(rank, process)| whole([&rank], process.memory_bytes));
    all.add(Kind::Gauge, "caudal_rank_resident_memory_bytes", rank, "Resident memory.", memory);
    let since = |(rank, process): (String, &ProcessStatus)| Some(number([&rank], seconds(process.up_since?)));
    let help = "Since when the rank works.";
    all.add(Kind::Gauge, "caudal_rank_start_timestamp_seconds", rank, help, processes().filter_map(since));
}

fn groups(all: &mut Families, groups: &[GroupView]) {
    let of = |value: fn(&GroupView) -> u64| {
        let sample = move |group: &GroupView| {
            let [(_, topic), (_, name)] = group.labels();
            whole([&topic, &name], value(group))
        };
        groups.iter().map(sample).collect::<Vec<_>>()
    };
    let labels = &["topic", "group"];
    let help = "Events of all topics from the group's position to the log's end: no fewer than it is behind.";
    all.add(Kind::Gauge, "caudal_group_lag_at_most", labels, help, of(|g| g.lag_at_most));
    let help = "Events delivered to the group's members and not committed.";
    all.add(Kind::Gauge, "caudal_group_uncommitted", labels, help, of(|g| g.uncommitted as u64));
    let help = "Members of the group in session.";
    all.add(Kind::Gauge, "caudal_group_members", labels, help, of(|g| g.members as u64));
}

fn requests(all: &mut Families, requests: &Requests) {
    let answers = requests.answers().map(|(class, count)| whole([class], count));
    let help = "Requests answered, by class of status, in this life.";
    all.add(Kind::Counter, "caudal_http_requests", &["status"], help, answers);
    let took = requests.took().into_iter().map(|((route, method), took)| Sample {
        labels: vec![route, method.to_owned()],
        value: Value::Durations(took),
    });
    let help = "From a request's headers to the first byte of its answer, by route and method, in this life.";
    all.add(Kind::Histogram, "caudal_http_request_duration_seconds", &["route", "method"], help, took);
}
