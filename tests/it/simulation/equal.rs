//! A batch, a live job, and what is made of its log again give the same, to the bit, of random pipelines and events: `docs/batch.md` and `docs/semantics.md` say
//! of what. The model is not asked; each is held against another way through the engine.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::Arc;

use bytes::Bytes;
use caudal::coordinator::backfill::{Filling, Keeps};
use caudal::coordinator::gather::Results;
use caudal::core::columns::{Numbering, Reason, Slab};
use caudal::core::epoch::{Backfill, Cut};
use caudal::core::ledger::Counts;
use caudal::core::plan::{Audit, Plan, Rule, WindowKind};
use caudal::core::row::{AuditEvent, ViewRow, WindowRow};
use caudal::core::units::{Epoch, Generation, LogId, Micros, Millis, Offset};
use caudal::store::Store;
use caudal::store::writer::merge;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use rayon::prelude::*;

use super::batch;
use super::changes::{self, Version};
use super::check::live_of;
use super::cluster::{Seen, cut_of, slab_of};
use super::net::Sealing;
use super::number;
use super::pipelines::{self, Pipeline, of};
use super::traffic::Client;
use crate::memory_store::{MemoryStore, Tables, offsets_of};
use crate::model::shape::Shape;
use crate::model::{self, Entry};

const SEEDS: u64 = 60;
const LOG: LogId = LogId(3);
/// Farther than any two times lie apart: about 12,700 years.
const FAR: Micros = Micros(400_000_000_000_000_000);
/// Longer than any window is open, and waits for more.
const QUIET: Millis = Millis(12 * 3_600_000);
const INGEST_MS: u64 = 1_795_348_800_000;

/// How the events of a log come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Coming {
    /// In any order, the first and the last moment there is among them: windows close at the end alone.
    InAnyOrder,
    /// Each before a window that takes it has closed. Windows close on the way.
    InTime,
    /// Some after that, as late as is allowed.
    Behind,
    /// Some later than that, some of the future, some with an id that is forgotten.
    Late,
}

use Coming::{Behind, InAnyOrder, InTime, Late};

/// Random pipelines that read nothing that others make, which a batch does not have, and how far before an epoch's end an event may be that comes two epochs
/// after it.
fn pipeline(coming: Coming, rng: &mut ChaCha8Rng) -> (Pipeline, Version, Micros) {
    let Pipeline { plan, schemas } = pipelines::random(rng);
    let mut whole = changes::copy(&plan);
    let from_outside = || plan.topics.iter().filter(|topic| topic.emitted.is_none());
    let disorder = from_outside().map(|topic| topic.out_of_order).min().unwrap().max(Micros(500_000));
    let allowed = if coming == Behind { of(&[1_000_000, 10_000_000, 60_000_000], rng) } else { Micros(0) };
    for topic in whole.topics.iter_mut().filter(|topic| topic.emitted.is_none()) {
        match coming {
            InAnyOrder => (topic.out_of_order, topic.max_future, topic.remember) = (FAR, FAR, FAR),
            InTime | Behind => (topic.out_of_order, topic.remember) = (topic.out_of_order.max(disorder), FAR),
            Late => {}
        }
    }
    for pipeline in whole.pipelines.iter_mut().filter(|_| rng.random_bool(0.4)) {
        pipeline.audit = Audit::Full;
    }
    whole.windows.iter_mut().for_each(|window| window.late_allow = window.late_allow.max(allowed));
    let mut shape = Shape::whole(&whole);
    for (at, pipeline) in whole.pipelines.iter().enumerate() {
        if pipeline.topics.iter().any(|topic| whole.topics[usize::from(topic.0)].emitted.is_some()) {
            shape.pipelines[at] = false;
            shape.windows[pipeline.windows.clone()].fill(false);
            shape.views[pipeline.views.clone()].fill(false);
            shape.alerts[pipeline.alerts.clone()].fill(false);
            shape.emits[pipeline.emits.clone()].fill(false);
        }
    }
    for (there, webhook) in shape.webhooks.iter_mut().zip(&whole.webhooks) {
        *there = shape.pipelines[webhook.pipeline];
    }
    let version = Version::new(&whole, shape);
    (Pipeline { plan: version.plan.clone(), schemas }, version, disorder.plus(allowed))
}

/// A request as the log takes it in.
struct Taken {
    unix: Millis,
    up: Millis,
    lines: Vec<Vec<u8>>,
    /// An epoch ends behind it.
    ends: bool,
}

/// What a client sends while time goes on.
fn requests(plan: &Plan, rng: &mut ChaCha8Rng) -> Vec<Taken> {
    let mut client = Client::default();
    let (mut unix, mut up) = (INGEST_MS, 0);
    let mut taken = Vec::new();
    for _ in 0..rng.random_range(20..90) {
        let passed = match rng.random_range(0..20) {
            0..14 => rng.random_range(0..400),
            14..19 => rng.random_range(0..8_000),
            _ => rng.random_range(0..100_000),
        };
        let down = if rng.random_bool(0.05) { rng.random_range(0..50_000) } else { 0 };
        (unix, up) = (unix + passed + down, up + passed);
        let topic = client.request(plan, unix, rng).topic;
        // Its events need not name it, and a batch without a topic refuses most of them.
        if topic.is_some() && rng.random_bool(0.8) {
            continue;
        }
        let lines = client.requests.last().unwrap().lines.iter().map(|line| line.as_bytes().to_vec()).collect();
        taken.push(Taken { unix: Millis(unix), up: Millis(up), lines, ends: rng.random_bool(0.5) });
    }
    taken
}

/// A log: slabs and epochs, and silence behind them, after which nothing is open.
struct Log {
    lines: Vec<Vec<u8>>,
    entries: Vec<Entry>,
    /// The last epoch before the silence.
    last: Epoch,
}

/// Of the events that come in such a way. One of epoch e that is in time for windows is not before W(e−2); that is never later than epoch e−2 ended, less what
/// topics allow their events to be out of order.
fn log(pipeline: &Pipeline, coming: Coming, reach: Micros, rng: &mut ChaCha8Rng) -> Log {
    let taken = requests(&pipeline.plan, rng);
    let all: Vec<Vec<u8>> = taken.iter().flat_map(|request| request.lines.iter().cloned()).collect();
    let mut times = model::times(&pipeline.plan, &pipeline.schemas, &all).into_iter();
    let (mut lines, mut entries): (Vec<Vec<u8>>, Vec<Entry>) = (Vec::new(), Vec::new());
    let mut ended: Vec<i64> = Vec::new();
    let (mut unix, mut up) = (Millis(INGEST_MS), Millis(0));
    let cut = |epoch: usize, end: usize, ingest: Millis, up: Millis, idle: Option<Millis>| {
        let (epoch, end) = (Epoch(epoch as u64), Offset(end as u64));
        Entry::Cut(Cut { epoch, end, ingest, up, idle, emitted: Epoch(0) })
    };
    for request in taken {
        (unix, up) = (request.unix, request.up);
        let now = unix.micros().0;
        let oldest = ended.len().checked_sub(2).map(|before| ended[before] - reach.0);
        let fits = |time: i64| match coming {
            InAnyOrder | Late => true,
            InTime | Behind => time <= now && oldest.is_none_or(|oldest| time >= oldest),
        };
        let kept: Vec<Vec<u8>> = request
            .lines
            .into_iter()
            .zip(&mut times)
            .filter(|(_, time)| time.is_none_or(fits))
            .map(|it| it.0)
            .collect();
        if !kept.is_empty() {
            entries.push(Entry::Slab(Slab {
                first_offset: Offset(lines.len() as u64),
                count: kept.len() as u32,
                ingest: unix,
                topic: None,
                bytes: kept.iter().flat_map(|line| line.iter().copied().chain([b'\n'])).collect::<Bytes>(),
                numbering: Numbering::Dense,
            }));
            lines.extend(kept);
        }
        if request.ends {
            ended.push(now);
            entries.push(cut(ended.len(), lines.len(), unix, up, rng.random_bool(0.1).then_some(Millis(1_000))));
        }
    }
    let last = ended.len() + 1;
    entries.push(cut(last, lines.len(), unix, up, None));
    let silence = if coming == InAnyOrder { 3 * FAR.0.unsigned_abs() / 1000 } else { QUIET.0 };
    let quiet =
        (1..=3).map(|n| cut(last + n, lines.len(), unix, Millis(up.0 + silence + n as u64), Some(Millis(silence))));
    entries.extend(quiet);
    Log { lines, entries, last: Epoch(last as u64) }
}

/// By what names it, as text: −0 is not +0.
type Shown = BTreeMap<String, String>;

fn shown<K: Debug, V: Debug>(what: &str, all: impl Iterator<Item = (K, V)>) -> impl Iterator<Item = (String, String)> {
    all.map(move |(key, value)| (format!("{what} {key:?}"), format!("{value:?}")))
}

fn same(what: &str, expected: &Shown, found: &Shown) {
    for (key, value) in expected {
        assert_eq!(Some(value), found.get(key), "{what}: {key}");
    }
    let more = found.iter().find(|(key, _)| !expected.contains_key(*key));
    assert!(more.is_none(), "{what}: {more:?} should not be there");
}

/// What a batch has too: rows, and entries of views. When they were published means nothing there, and nothing is revised.
fn in_the_end(coming: Coming, rows: impl Iterator<Item = WindowRow>, entries: impl Iterator<Item = ViewRow>) -> Shown {
    let revision = |row: &WindowRow| if coming == Behind { 0 } else { row.revision };
    let rows = rows.map(|row| (row.metric_id, WindowRow { epoch: Epoch(0), revision: revision(&row), ..row }));
    let entries = entries.map(|row| ((row.view, row.key.clone()), ViewRow { epoch: Epoch(0), ..row }));
    shown("row", rows).chain(shown("entry", entries)).collect()
}

/// A batch over the lines is as the live job was.
fn compare_batch(coming: Coming, pipeline: &Pipeline, lines: &[Vec<u8>], live: &Tables, rng: &mut ChaCha8Rng) {
    let (bytes, places) = batch::file(lines.iter().map(Vec::as_slice), rng);
    let (results, ..) = batch::run(pipeline, &bytes, rng);
    let number = |of: Offset| Offset(places.binary_search_by_key(&of.0, |(at, _)| *at).unwrap() as u64);
    let all = || results.iter();
    let entries = all().flat_map(|round| round.views.clone());
    let entries = entries.map(|row| ViewRow { offset: number(row.offset), ..row });
    let of_batch = in_the_end(coming, all().flat_map(|round| round.rows.clone()), entries);
    let of_live = in_the_end(coming, live.rows.values().cloned(), live.views.values().cloned());
    same("batch and live", &of_batch, &of_live);

    let refused = |round: &Results| -> Vec<(Offset, Reason, Vec<u8>)> {
        let letters = round.dead_letters.iter();
        letters.map(|letter| (number(letter.offset), letter.reason, letter.body.clone())).collect()
    };
    let mut refused: Vec<_> = all().flat_map(refused).collect();
    refused.sort_by_key(|(offset, ..)| *offset);
    let letters = live.dead_letters.values().map(|letter| (letter.offset, letter.reason, letter.body.clone()));
    assert_eq!(refused, letters.collect::<Vec<_>>());
    let counts = all().fold(Counts::default(), |mut sum, round| {
        sum += round.counts;
        sum
    });
    assert_eq!(live.progress.map(|progress| progress.counts), Some(counts));
}

/// What the store has of a pipeline; the events of `audit: full` are those of all pipelines together.
fn of_pipeline(plan: &Plan, tables: &Tables, pipeline: usize) -> Shown {
    let own = &plan.pipelines[pipeline];
    let rows = tables.rows.iter().filter(|(_, row)| own.windows.contains(&row.window));
    let entries = tables.views.iter().filter(|((view, _), _)| own.views.contains(view));
    let history = tables.history.iter().filter(|((_, view), _)| own.views.contains(view));
    let alerts = tables.alerts.iter().filter(|(_, row)| own.alerts.contains(&row.alert));
    let lineage = tables.lineage.iter().filter(|(_, lineage)| own.windows.contains(&lineage.window));
    let lineage = lineage.map(|(key, lineage)| (key, (lineage.late_to, offsets_of(lineage).collect::<Vec<_>>())));
    let all = shown("row", rows).chain(shown("entry", entries)).chain(shown("change", history));
    all.chain(shown("alert", alerts)).chain(shown("lineage", lineage)).collect()
}

/// What a replay of the log from its beginning makes for one pipeline alone, as it is stored: several epochs at once.
fn replayed(plan: &Arc<Plan>, pipeline: usize, keeps: &Keeps, entries: &[Entry], rng: &mut ChaCha8Rng) -> Tables {
    let backfill = Backfill { pipeline, after: Epoch(0), from: Offset(0) };
    let mut filling = Filling::new(plan.clone(), keeps, (LOG, Generation(1)), backfill);
    let (mut store, mut waiting) = (MemoryStore::new(plan.clone()), Vec::new());
    for cut in entries.iter().filter_map(cut_of) {
        let base = filling.at().1;
        let slabs = entries.iter().filter_map(slab_of).filter(|slab| (base..cut.end).contains(&slab.first_offset));
        let slabs: Vec<Slab> = slabs.cloned().collect();
        waiting.push(filling.epoch(cut, &slabs, Epoch(u64::MAX)).unwrap());
        if rng.random_bool(0.3) {
            store.commit(&merge(std::mem::take(&mut waiting))).unwrap();
        }
    }
    if !waiting.is_empty() {
        store.commit(&merge(waiting)).unwrap();
    }
    store.tables()
}

/// What replays make, each of a pipeline alone, is together what the live job stored.
fn compare_replays(plan: &Arc<Plan>, entries: &[Entry], live: &Tables, rng: &mut ChaCha8Rng) {
    let mut audited: BTreeMap<Offset, AuditEvent> = BTreeMap::new();
    for pipeline in 0..plan.pipelines.len() {
        let keeps = Sealing::random(rng).keeps(LOG.0 as u64);
        let replay = replayed(plan, pipeline, &keeps, entries, rng);
        same("live and replay", &of_pipeline(plan, live, pipeline), &of_pipeline(plan, &replay, pipeline));
        for (offset, event) in replay.events {
            audited.entry(offset).or_insert_with(|| event.clone()).metrics.extend(event.metrics);
        }
    }
    // An event that is let through by a pipeline without audit alone is the job's to audit, and no replay's.
    let is_of_rows = |(_, event): &(&Offset, &AuditEvent)| !event.metrics.is_empty();
    let sorted = |event: &AuditEvent| {
        let mut event = event.clone();
        event.metrics.sort_unstable();
        event.metrics.dedup();
        event
    };
    let of_live = live.events.iter().filter(|of| is_of_rows(of) || audited.contains_key(of.0));
    let of_live = shown("event", of_live.map(|(offset, event)| (offset, sorted(event)))).collect();
    let of_replays = shown("event", audited.iter().map(|(offset, event)| (offset, sorted(event)))).collect();
    same("events of live and replays", &of_live, &of_replays);
}

fn compare(coming: Coming, seed: u64) -> Seen {
    let mut rng = ChaCha8Rng::seed_from_u64((coming as u64) << 32 | seed);
    let (pipeline, version, reach) = pipeline(coming, &mut rng);
    let plan = &pipeline.plan;
    let log = log(&pipeline, coming, reach, &mut rng);
    let cuts = log.entries.iter().filter_map(cut_of).count() as u64;
    let mut store = MemoryStore::new(plan.clone());
    // Once it is killed on the way.
    let until = Epoch(rng.random_range(1..=cuts));
    for until in [Some(until), None] {
        let workers = rng.random_range(1..=8);
        live_of(std::slice::from_ref(&version), LOG, &log.entries, workers, &mut store, until, &mut rng);
    }
    let live = store.tables();
    if coming != Late {
        compare_batch(coming, &pipeline, &log.lines, &live, &mut rng);
    }
    compare_replays(plan, &log.entries, &live, &mut rng);
    happened(plan, &live, log.last)
}

fn happened(plan: &Plan, live: &Tables, last: Epoch) -> Seen {
    let mut seen = Seen::default();
    for row in live.rows.values() {
        let kind = plan.windows[row.window].kind;
        let on_the_way = match kind {
            WindowKind::Tumbling { .. } => "tumbling rows closed on the way",
            WindowKind::Hopping { .. } => "hopping rows closed on the way",
            WindowKind::Session { .. } => "session rows closed on the way",
        };
        seen.note(on_the_way, u64::from(row.closed && row.epoch <= last));
        seen.note("rows closed at the end", u64::from(row.closed && row.epoch > last));
        let revised = if kind.gap().is_some() { "session rows revised" } else { "rows revised" };
        seen.note(revised, u64::from(row.revision > 0));
        seen.note("rows open", u64::from(!row.closed));
    }
    for view in 0..plan.views.len() {
        let keys = live.views.keys().filter(|(of, _)| *of == view).count();
        seen.note("views with several keys", u64::from(keys > 1));
    }
    seen.note("histories of views", live.history.len() as u64);
    for alert in live.alerts.values() {
        let raised = match plan.alerts[alert.alert].rule {
            Rule::Condition { .. } => "conditions raised",
            Rule::Anomaly(_) => "anomalies raised",
            Rule::Pattern(_) => "patterns raised",
        };
        seen.note(raised, 1);
        seen.note("alerts cleared on the way", u64::from(alert.cleared.is_some() && alert.epoch <= last));
    }
    live.dead_letters.values().for_each(|letter| seen.note(letter.reason.name(), 1));
    let Counts { counted, duplicate, filtered, .. } = live.progress.unwrap().counts;
    for (fate, events) in [("counted", counted), ("duplicate", duplicate), ("filtered", filtered)] {
        seen.note(fate, events);
    }
    let traced = live.events.values().filter(|event| !event.metrics.is_empty()).count();
    seen.note("events traced", traced as u64);
    seen.note("lineage kept", live.lineage.len() as u64);
    let audits = plan.pipelines.iter().filter(|pipeline| pipeline.audit == Audit::Full).count();
    seen.note("several audits of one log", u64::from(audits > 1));
    seen
}

/// Tries it with many seeds, of which this comes, and that never does.
fn check(coming: Coming, happens: &[&str], never: &[&str]) {
    let seeds: Vec<u64> = match number("CAUDAL_SIM_SEED") {
        Some(seed) => vec![seed],
        None => (0..number("CAUDAL_SIM_SEEDS").map_or(SEEDS, |seeds| seeds.min(SEEDS))).collect(),
    };
    let tried = seeds.len() as u64;
    let one = |seed| {
        catch_unwind(AssertUnwindSafe(|| compare(coming, seed))).unwrap_or_else(|panic| {
            eprintln!(
                "to see it again, {coming:?}: CAUDAL_SIM_SEED={seed} cargo test --release --test it simulation::equal"
            );
            resume_unwind(panic);
        })
    };
    let seen = seeds.into_par_iter().map(one).reduce(Seen::default, |mut all, one| {
        one.0.into_iter().for_each(|(what, times)| all.note(what, times));
        all
    });
    println!("{coming:?}, {tried} seeds: {:#?}", seen.0);
    let times = |what: &&str| seen.0.get(*what).copied().unwrap_or_default();
    for what in ALWAYS.iter().chain(happens).filter(|_| tried >= SEEDS) {
        assert!(times(what) > 0, "it never happened: {what}");
    }
    for what in never {
        assert_eq!(times(what), 0, "it happened: {what}");
    }
}

/// What must happen however events come.
const ALWAYS: [&str; 14] = [
    "counted",
    "duplicate",
    "filtered",
    "json",
    "topic",
    "schema",
    "time",
    "views with several keys",
    "histories of views",
    "conditions raised",
    "patterns raised",
    "events traced",
    "several audits of one log",
    "lineage kept",
];

const ON_THE_WAY: [&str; 5] = [
    "tumbling rows closed on the way",
    "hopping rows closed on the way",
    "session rows closed on the way",
    "anomalies raised",
    "alerts cleared on the way",
];

const REVISED: [&str; 2] = ["rows revised", "session rows revised"];

#[test]
fn batch_live_and_replay_give_the_same_of_what_comes_in_any_order() {
    check(
        InAnyOrder,
        &["rows closed at the end"],
        &[&ON_THE_WAY[..3], &REVISED, &["rows open", "late", "future"]].concat(),
    );
}

#[test]
fn and_the_same_where_windows_close_on_the_way_and_nothing_comes_after() {
    check(InTime, &ON_THE_WAY, &[&REVISED[..], &["rows open", "late", "future"]].concat());
}

#[test]
fn what_comes_behind_as_late_as_is_allowed_revises_rows_to_what_a_batch_has() {
    check(Behind, &[&ON_THE_WAY[..], &REVISED].concat(), &["rows open", "late", "future"]);
}

#[test]
fn what_comes_late_is_late_in_a_replay_too() {
    check(Late, &[&ON_THE_WAY[..], &REVISED, &["late", "future"]].concat(), &[]);
}
