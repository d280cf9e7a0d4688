//! What must hold at the end, whatever happened on the way.

use std::collections::{BTreeMap, BTreeSet, HashSet, VecDeque};
use std::sync::Arc;

use caudal::coordinator::backfill::Filling;
use caudal::coordinator::gather::Results;
use caudal::coordinator::state::{Beginning, Limits, Now};
use caudal::coordinator::totals::Totals;
use caudal::core::columns::{Reason, Slab};
use caudal::core::identity::{digest, metric_id};
use caudal::core::keygroup::Share;
use caudal::core::ledger::Counts;
use caudal::core::mend::Mends;
use caudal::core::plan::{Audit, PipelinePlan, Plan, TimeFormat, WindowKind};
use caudal::core::row::{DeadLetter, WindowRow};
use caudal::core::units::{Epoch, Generation, LogId, Micros, Millis, Offset};
use caudal::ingest::{Fate, FateStatus};
use caudal::store::{Progress, Store};
use rand::Rng;
use rand_chacha::ChaCha8Rng;
use uuid::Uuid;

use super::changes::{self, Version, changes_of};
use super::cluster::{World, cut_of, discards_of, retries_of, slab_of};
use super::net::{Net, Sealing};
use super::traffic::Answer;
use crate::memory_store::{MemoryStore, Tables, offsets_of};
use crate::model::shape::{Shape, identity};
use crate::model::{self, Entry, Key, Letter, Outcome, Row};

/// A slab's lines by their offsets.
pub fn lines(slab: &Slab) -> impl Iterator<Item = (u64, &[u8])> {
    let bytes = slab.bytes.strip_suffix(b"\n").unwrap_or(&slab.bytes);
    (slab.first_offset.0..).zip(bytes.split(|&b| b == b'\n'))
}

/// (a) Each acknowledged request is in the log once, where its receipt says; each other one is there once, or not at all.
pub fn requests_are_logged_once(world: &mut World) {
    let from_outside = |slab: &&Slab| {
        slab.topic.is_none_or(|topic| world.pipeline.plan.topics[usize::from(topic.0)].emitted.is_none())
    };
    let retried: HashSet<u64> = retries_of(&world.log).iter().map(|retry| retry.event.0).collect();
    let lines: BTreeMap<u64, &[u8]> = world
        .log
        .iter()
        .filter_map(slab_of)
        .filter(from_outside)
        .flat_map(lines)
        .filter(|(offset, _)| !retried.contains(offset))
        .collect();
    let places: BTreeMap<&[u8], u64> = lines.iter().map(|(&offset, &line)| (line, offset)).collect();
    assert_eq!(places.len(), lines.len(), "a line is in the log twice");
    let mut found = 0;
    for request in world.client.requests.iter().filter(|request| request.retries.is_empty()) {
        let at: Vec<Option<u64>> = request.lines.iter().map(|l| places.get(l.as_bytes()).copied()).collect();
        let there = at.iter().flatten().count();
        let first = at[0].unwrap_or_default();
        let whole = at.iter().zip(first..).all(|(&at, expected)| at == Some(expected));
        match request.answer {
            Answer::Accepted(receipt) => assert!(whole && first == receipt, "{receipt}: {at:?}"),
            Answer::Lost => {
                assert!(whole || there == 0, "a request is in the log by half: {at:?}");
                world.seen.note(
                    if whole { "requests without answer, logged" } else { "requests without answer, not logged" },
                    1,
                );
            }
            Answer::Refused => assert_eq!(there, 0, "a refused request is in the log"),
            Answer::Waiting => panic!("a request was never answered"),
        }
        found += there;
    }
    assert_eq!(found, lines.len(), "the log has what nobody sent");
}

/// The log's lines by their offsets.
pub fn all_lines(world: &World) -> BTreeMap<u64, Vec<u8>> {
    world.log.iter().filter_map(slab_of).flat_map(lines).map(|(offset, line)| (offset, line.to_vec())).collect()
}

/// (b) The store has what the model makes of the log, to the bit.
pub fn store_is_as_the_model_says(world: &mut World) -> Outcome {
    let plan = &world.pipeline.plan;
    let outcome = model::live_of(plan, &world.pipeline.schemas, &world.versions[0].shape, &world.log);
    compare_with(plan, &lives(&world.log, plan), &outcome, &world.store.tables());
    compare_lineage(world, &outcome);
    emitted_once(&world.log, &outcome);
    for (epoch, rows) in &world.published {
        let nothing = BTreeMap::new();
        let rows = rows.iter().map(|(id, row)| (*id, Row { values: Vec::new(), ..row.clone() })).collect();
        same("rows that an epoch publishes", outcome.published.get(epoch).unwrap_or(&nothing), &rows);
    }
    let mut totals = Counts::default();
    for (epoch, counts) in (1..).zip(&outcome.epochs) {
        totals += *counts;
        if let Some(committed) = world.totals.get(&epoch) {
            assert_eq!(*committed, totals, "after epoch {epoch}");
        }
    }
    note(world, &outcome);
    outcome
}

/// The log has what the model says that epochs emit, each epoch once and in order; and what its cuts say of it is true.
fn emitted_once(log: &[Entry], outcome: &Outcome) {
    let mut found: BTreeMap<u64, Vec<model::Emitted>> = BTreeMap::new();
    let mut ends: BTreeMap<u64, u64> = BTreeMap::new();
    let mut of = None;
    let mut told = 0;
    for entry in log {
        match (entry, of) {
            (Entry::Emit(epoch), _) => {
                assert!(ends.last_key_value().is_none_or(|(last, _)| *last < epoch.0), "out of order: {epoch}");
                of = Some(epoch.0);
            }
            (Entry::Slab(slab), Some(epoch)) if slab.topic.is_some_and(|topic| outcome.emits_to(topic)) => {
                let topic = usize::from(slab.topic.unwrap().0);
                found.entry(epoch).or_default().extend(lines(slab).map(|(_, line)| model::Emitted::read(topic, line)));
                ends.insert(epoch, slab.end().0);
            }
            (Entry::Slab(_) | Entry::Retries(_) | Entry::Discards(_) | Entry::Config(..), _) => of = None,
            (Entry::Cut(cut), _) => {
                of = None;
                assert!(cut.emitted < cut.epoch && cut.emitted.0 >= told, "{cut:?}");
                told = cut.emitted.0;
                let behind = ends.range(..=told).map(|(_, end)| *end).max().unwrap_or_default();
                assert!(behind <= cut.end.0, "not all that epoch {told} has emitted lies before {cut:?}");
                let more = outcome.emitted.range(..=told).find(|(epoch, _)| !ends.contains_key(epoch));
                assert!(more.is_none(), "{cut:?} tells of what is not there: {more:?}");
            }
        }
    }
    same("what epochs emit", &outcome.emitted, &found);
}

fn note(world: &mut World, outcome: &Outcome) {
    let seen = &mut world.seen;
    let cuts: Vec<_> = world.log.iter().filter_map(cut_of).collect();
    seen.note("epochs", cuts.len() as u64);
    seen.note("TIME records", cuts.iter().filter(|c| c.idle.is_some()).count() as u64);
    seen.note("empty epochs", cuts.windows(2).filter(|c| c[0].end == c[1].end).count() as u64);
    for letter in outcome.dead_letters.values() {
        seen.note(letter.reason.name(), 1);
    }
    seen.note("duplicate", outcome.duplicates.len() as u64);
    seen.note("counted", outcome.counted.len() as u64);
    let ids = outcome.counted.values().filter_map(|(topic, id, ..)| Some((topic, id.as_ref()?.to_lowercase())));
    let distinct: HashSet<_> = ids.clone().collect();
    seen.note("ids counted anew after they were forgotten", (ids.count() - distinct.len()) as u64);
    seen.note("filtered", outcome.filtered.len() as u64);
    seen.note("expression errors", outcome.expression_errors.iter().sum());
    for (what, times) in &outcome.happened.0 {
        seen.note(what, *times);
    }
    seen.note("sent to webhooks", outcome.outbox.len() as u64);
    seen.note("emitted", outcome.emitted.values().map(|events| events.len() as u64).sum());
    let plan = &world.pipeline.plan;
    let chained =
        outcome.counted.values().filter(|(topic, ..)| plan.topic(topic).is_some_and(|topic| outcome.emits_to(topic)));
    let (read, unread): (Vec<_>, Vec<_>) = chained.partition(|(_, _, _, keys)| !keys.is_empty());
    seen.note("emitted events in windows", read.len() as u64);
    seen.note("emitted events that nobody reads", unread.len() as u64);
    let late = |letter: &&Letter| {
        let topic = letter.topic.as_ref().and_then(|name| plan.topic(name));
        letter.reason == Reason::Late
            && topic.is_some_and(|topic| {
                plan.windows
                    .iter()
                    .map(|w| w.topic)
                    .chain(plan.alerts.iter().map(|a| a.topic))
                    .any(|of| of == Some(topic))
            })
    };
    // A pipeline that comes again may be behind what reads of it.
    let changed = changes_of(&world.log).next().is_some();
    assert!(
        changed || !outcome.dead_letters.values().any(|letter| late(&letter)),
        "a closed row or an alert came late"
    );
    let with_unix_time = outcome.counted.values().filter(|(topic, ..)| {
        plan.topics.iter().any(|of| of.name == *topic && matches!(of.time_format, TimeFormat::Unix(_)))
    });
    seen.note("events with a Unix time", with_unix_time.count() as u64);
    let starts: BTreeSet<_> = outcome.rows.keys().map(|(window, start, group, _)| (window, start, group)).collect();
    seen.note("rows of two lives of a pipeline", (outcome.rows.len() - starts.len()) as u64);
    for ((window, ..), row) in &outcome.rows {
        let kind = plan.windows[*window].kind;
        seen.note("hopping rows", u64::from(matches!(kind, WindowKind::Hopping { .. })));
        seen.note("session rows", u64::from(kind.gap().is_some()));
        seen.note("entries of views", outcome.views.len() as u64);
        let partial = outcome.views.values().filter(|e| e.fields.values().any(|(at, _)| *at != e.newest));
        seen.note("fields that later events do not name", partial.count() as u64);
        seen.note("histories of views", outcome.history.len() as u64);
        seen.note("expression errors", outcome.expression_errors.iter().sum());
        seen.note("rows closed", u64::from(row.closed));
        seen.note("rows open", u64::from(!row.closed));
        seen.note("rows revised", u64::from(row.revision > 0));
        seen.note("session rows revised", u64::from(row.revision > 0 && kind.gap().is_some()));
    }
}

fn id(plan: &Plan, key: &Key) -> Uuid {
    let window = &plan.windows[key.0];
    let pipeline = identity(&plan.pipeline_of(window).name, key.3);
    metric_id(&pipeline, &window.name, Micros(key.1), &key.2)
}

/// By pipeline the epochs after which it was begun anew.
type Lives = Vec<BTreeSet<u64>>;

fn lives(log: &[Entry], plan: &Plan) -> Lives {
    let mut lives = vec![BTreeSet::new(); plan.pipelines.len()];
    for entry in log {
        let Entry::Config(_, shape) = entry else { continue };
        for (lives, &after) in lives.iter_mut().zip(&shape.lives) {
            lives.extend((after > 0).then_some(after));
        }
    }
    lives
}

/// The life of the window's pipeline in which the epoch lies.
fn life(lives: &Lives, plan: &Plan, window: usize, epoch: Epoch) -> u64 {
    let of_pipeline = lives.get(plan.windows[window].pipeline);
    of_pipeline.and_then(|lives| lives.range(..epoch.0).next_back().copied()).unwrap_or_default()
}

pub fn plain(row: &WindowRow) -> Row {
    Row {
        end: row.end.0,
        values: row.values.clone(),
        event_count: row.event_count,
        revision: row.revision,
        closed: row.closed,
        epoch: row.epoch.0,
    }
}

/// Rows as the model has them; their names and digests are checked on the way.
fn rows<'r>(plan: &Plan, lives: &Lives, rows: impl Iterator<Item = &'r WindowRow>) -> BTreeMap<Key, Row> {
    let modelled = |row: &WindowRow| {
        let key = (row.window, row.start.0, row.group.clone(), life(lives, plan, row.window, row.epoch));
        assert_eq!(row.metric_id, id(plan, &key));
        let expected = if row.closed { digest(row.metric_id, &row.values, row.event_count) } else { 0 };
        assert_eq!(row.digest, expected);
        (key, plain(row))
    };
    rows.map(modelled).collect()
}

fn letters<'l>(letters: impl Iterator<Item = &'l DeadLetter>) -> BTreeMap<u64, Letter> {
    let plain = |letter: &DeadLetter| {
        let found = Letter {
            topic: letter.topic.clone(),
            reason: letter.reason,
            body: letter.body.clone(),
            received_ms: letter.received.0,
        };
        (letter.offset.0, found)
    };
    letters.map(plain).collect()
}

pub fn compare(plan: &Plan, outcome: &Outcome, tables: &Tables) {
    compare_with(plan, &Lives::new(), outcome, tables);
}

fn compare_with(plan: &Plan, lives: &Lives, outcome: &Outcome, tables: &Tables) {
    assert!(tables.rows.iter().all(|(id, row)| *id == row.metric_id));
    same("rows", &outcome.rows, &rows(plan, lives, tables.rows.values()));

    let retried = |offset: &u64| tables.retried.get(&Offset(*offset)).map(|event| event.0);
    let stored = letters(tables.dead_letters.values()).into_iter();
    let stored = stored.map(|(offset, letter)| (offset, (letter, retried(&offset)))).collect();
    same("dead letters", &outcome.letters(), &stored);

    let events = tables.events.iter().map(|(offset, event)| {
        let mut metrics = event.metrics.clone();
        metrics.sort_unstable();
        (offset.0, (event.topic.clone(), event.event_id.clone(), event.time.0, metrics))
    });
    let expected = outcome.counted.iter().filter_map(|(offset, event)| {
        let (topic, text, time, keys) = event;
        let is_audited = |pipeline: &PipelinePlan| pipeline.audit == Audit::Full;
        outcome.audited.contains(offset).then_some(())?;
        let audited = keys.iter().filter(|key| is_audited(plan.pipeline_of(&plan.windows[key.0])));
        let mut metrics: Vec<_> = audited.map(|key| id(plan, key)).collect();
        metrics.sort_unstable();
        Some((*offset, (topic.clone(), text.clone().unwrap_or_else(|| offset.to_string()), *time, metrics)))
    });
    let mut expected: BTreeMap<u64, _> = expected.collect();
    for (offset, (topic, text, time, keys)) in &outcome.past {
        let event = || (topic.clone(), text.clone().unwrap_or_else(|| offset.to_string()), *time, Vec::new());
        let (.., metrics) = expected.entry(*offset).or_insert_with(event);
        metrics.extend(keys.iter().map(|key| id(plan, key)));
        metrics.sort_unstable();
        metrics.dedup();
    }
    same("events", &expected, &events.collect());

    let entry = |(view, key): &(usize, String), events: u64, at: (i64, u64), value: serde_json::Value, epoch: u64| {
        ((*view, key.clone()), (events, at, value.to_string(), epoch))
    };
    let expected = outcome.views.iter().map(|(place, e)| entry(place, e.events, e.newest, e.value(), e.epoch));
    let stored = tables.views.values().map(|row| {
        let value = model::json::parse(row.value.as_bytes()).unwrap().to_value();
        let place = (row.view, row.key.to_string());
        entry(&place, row.events, (row.time.0, row.offset.0), value, row.epoch.0)
    });
    same("entries of views", &expected.collect(), &stored.collect());
    let expected = outcome
        .history
        .iter()
        .map(|(place, (key, fields))| (*place, (key.clone(), serde_json::Value::from(fields.clone()).to_string())));
    let stored = tables.history.values().map(|change| {
        let value = model::json::parse(change.value.as_bytes()).unwrap().to_value();
        ((change.offset.0, change.view), (change.key.to_string(), value.to_string()))
    });
    same("histories of views", &expected.collect(), &stored.collect());

    let told = tables.alerts.values().map(|row| {
        let told = model::alert::Told {
            id: row.alert_id,
            alert: row.alert,
            key: row.key.clone(),
            from: row.from.0,
            to: row.to.0,
            raised: row.raised.0,
            cleared: row.cleared.map(|at| at.0),
            details: model::json::parse(row.details.as_bytes()).unwrap().to_value(),
            epoch: row.epoch.0,
        };
        (row.alert_id, told)
    });
    same("alerts", &outcome.alerts, &told.collect());

    let sent = tables.outbox.iter().map(|(id, (delivery, _))| {
        let body = model::json::parse(delivery.body.as_bytes()).unwrap().to_value();
        (*id, (delivery.webhook, body, delivery.epoch.0))
    });
    same("what webhooks are sent", &outcome.outbox, &sent.collect());

    let total = outcome.epochs.iter().fold(Counts::default(), |mut sum, counts| {
        sum += *counts;
        sum
    });
    let progress = tables.progress.unwrap_or_else(|| panic!("a store without progress"));
    assert_eq!((progress.epoch.0, progress.counts), (outcome.epochs.len() as u64, total));
}

/// A batch's rounds together have what the model has; a row's epoch means nothing there.
pub fn batch(plan: &Plan, outcome: &Outcome, results: &[Results]) {
    let without_epoch = |rows: BTreeMap<Key, Row>| -> BTreeMap<Key, Row> {
        rows.into_iter().map(|(key, row)| (key, Row { epoch: 0, ..row })).collect()
    };
    let found = rows(plan, &Lives::new(), results.iter().flat_map(|r| &r.rows));
    assert_eq!(found.len(), results.iter().map(|r| r.rows.len()).sum::<usize>(), "a row came twice");
    same("rows", &without_epoch(outcome.rows.clone()), &without_epoch(found));
    same("dead letters", &outcome.dead_letters, &letters(results.iter().flat_map(|r| &r.dead_letters)));
    assert!(results.iter().all(|r| r.removed.is_empty()), "nothing was published before");
    assert!(results.iter().all(|r| r.emitted.is_empty() && r.alerts.is_empty()), "a batch emits nothing");
    let offsets = |of: fn(&Results) -> &Vec<u64>| -> Vec<u64> {
        let mut offsets: Vec<u64> = results.iter().flat_map(|r| of(r).clone()).collect();
        offsets.sort_unstable();
        offsets
    };
    assert_eq!(offsets(|r| &r.duplicates), outcome.duplicates);
    assert_eq!(offsets(|r| &r.filtered), outcome.filtered);
    let mut errors = vec![0; plan.pipelines.len()];
    for (pipeline, more) in results.iter().flat_map(|r| r.expression_errors.iter().enumerate()) {
        errors[pipeline] += more;
    }
    assert_eq!(errors, outcome.expression_errors);
    let mut counts = Counts::default();
    for round in results {
        counts += round.counts;
    }
    assert_eq!(vec![counts], outcome.epochs);
}

/// Each row of a pipeline whose audit is compact has the events that went into it, and no others.
fn compare_lineage(world: &World, outcome: &Outcome) {
    let (plan, tables) = (&world.pipeline.plan, world.store.tables());
    let lives = lives(&world.log, plan);
    let before =
        |version: usize, pipeline: usize| world.versions[..version].iter().any(|v| v.shape.pipelines[pipeline]);
    // One that was there before it came with a past has made some rows twice.
    let twice = |pipeline: usize| {
        let mut versions = world.versions.iter().enumerate();
        versions.any(|(at, v)| v.shape.past.is_some_and(|(of, _)| of == pipeline) && before(at, pipeline))
    };
    let is_told = |window: usize| {
        let pipeline = plan.windows[window].pipeline;
        plan.pipelines[pipeline].audit == Audit::Compact
            && plan.windows[window].kind.slice().is_some()
            && !twice(pipeline)
    };
    let mut expected: BTreeMap<Uuid, BTreeSet<u64>> = BTreeMap::new();
    let counted = outcome.counted.iter().map(|(offset, (.., keys))| (offset, keys));
    for (offset, keys) in counted.chain(&outcome.past_keys) {
        for key in keys.iter().filter(|key| is_told(key.0)) {
            expected.entry(id(plan, key)).or_default().insert(*offset);
        }
    }
    let mut found: BTreeMap<Uuid, BTreeSet<u64>> = BTreeMap::new();
    for lineage in tables.lineage.values().filter(|lineage| is_told(lineage.window)) {
        let kind = plan.windows[lineage.window].kind;
        for start in kind.starts(lineage.slice).filter(|start| kind.end(*start) > lineage.late_to) {
            let life = life(&lives, plan, lineage.window, lineage.epoch);
            let key = (lineage.window, start.0, lineage.group.to_vec(), life);
            found.entry(id(plan, &key)).or_default().extend(offsets_of(lineage).map(|offset| offset.0));
        }
    }
    same("events of rows", &expected, &found);
}

/// Makes the past that a change waits for, of the log's entries.
fn fill(net: &mut Net, log: LogId, generation: Generation, entries: &[Entry], store: &mut MemoryStore) {
    let (until, change, backfill) = net.coordinator.backfill().unwrap();
    let keeps = Sealing { ids_in_memory_max: 5, ..Sealing::none() }.keeps(log.0 as u64);
    let mut filling = Filling::new(change.plan.clone(), &keeps, (log, generation), backfill);
    let stores = net.coordinator.stores_backfill();
    let slabs: Vec<&Slab> = entries.iter().filter_map(slab_of).collect();
    for cut in entries.iter().filter_map(cut_of).filter(|cut| (backfill.after.next()..=until).contains(&cut.epoch)) {
        let base = filling.at().1;
        let of_epoch = |slab: &&&Slab| (base..cut.end).contains(&slab.first_offset);
        let slabs: Vec<Slab> = slabs.iter().filter(of_epoch).map(|slab| (*slab).clone()).collect();
        let commit = filling.epoch(cut, &slabs, until).unwrap();
        if stores {
            store.commit(&commit).unwrap();
        }
    }
    net.adopt(&filling.past());
}

/// Compares to the bit, −0 with +0 too, and shows the first difference.
fn same<K: Ord + std::fmt::Debug, V: std::fmt::Debug>(what: &str, expected: &BTreeMap<K, V>, found: &BTreeMap<K, V>) {
    for (key, value) in expected {
        let found = found.get(key).unwrap_or_else(|| panic!("{what}: {key:?} is missing, it should be {value:?}"));
        assert_eq!(format!("{value:?}"), format!("{found:?}"), "{what}: {key:?}");
    }
    let more = found.iter().find(|(key, _)| !expected.contains_key(key));
    assert!(more.is_none(), "{what}: {more:?} should not be there");
}

/// Every `?ack=applied` that was answered tells the fates.
pub fn applied_answers_are_true(world: &mut World, outcome: &Outcome) {
    for request in &mut world.client.requests {
        let Some(fates) = request.fates.as_mut().and_then(|f| f.try_recv().ok()) else { continue };
        let Answer::Accepted(first) = request.answer else { continue };
        world.seen.note("requests that waited for their fates", 1);
        let offsets: Vec<u64> = (first..first + request.lines.len() as u64).collect();
        assert_eq!(fates.iter().map(|f| f.offset.0).collect::<Vec<_>>(), offsets);
        for Fate { offset, status, reason } in fates {
            let letter = outcome.dead_letters.get(&offset.0).map(|l| l.reason);
            let expected = match letter {
                Some(Reason::Late) => FateStatus::Late,
                Some(_) => FateStatus::Invalid,
                None if outcome.counted.contains_key(&offset.0) => FateStatus::Counted,
                None if outcome.filtered.contains(&offset.0) => FateStatus::Filtered,
                None => FateStatus::Duplicate,
            };
            assert_eq!(status, expected, "offset {offset}");
            assert_eq!(reason.is_some(), letter.is_some());
            assert!(reason.is_none_or(|r| r.starts_with(letter.unwrap().name())));
        }
    }
}

/// (c) The same log, with other workers, in other order, without a crash, gives the same store, to the bit.
pub fn another_run_is_identical(world: &World, rng: &mut ChaCha8Rng) {
    let workers = rng.random_range(1..=8);
    let found = world.store.tables();
    let id = found.progress.unwrap().log;
    let again = rerun(world, id, workers, rng).tables();
    same("rows of another run", &found.rows, &again.rows);
    same("dead letters of another run", &found.dead_letters, &again.dead_letters);
    same("retries of another run", &found.retried, &again.retried);
    same("events of another run", &found.events, &again.events);
    same("lineage of another run", &found.lineage, &again.lineage);
    same("entries of another run", &found.views, &again.views);
    same("histories of another run", &found.history, &again.history);
    same("alerts of another run", &found.alerts, &again.alerts);
    same("what webhooks are sent by another run", &found.outbox, &again.outbox);
    let (Some(a), Some(b)) = (found.progress, again.progress) else { panic!("a store without progress") };
    assert_eq!(Progress { generation: Generation(0), ..a }, Progress { generation: Generation(0), ..b });
}

fn rerun(world: &World, log: LogId, workers: usize, rng: &mut ChaCha8Rng) -> MemoryStore {
    let mut store = MemoryStore::new(world.pipeline.plan.clone());
    live_of(&world.versions, log, &world.log, workers, &mut store, None, rng);
    store
}

/// A job over a log that is there already, from what the store has: to the end, or until so many epochs are committed and everything else is lost.
pub fn live(
    plan: &Arc<Plan>,
    log: LogId,
    entries: &[Entry],
    workers: usize,
    store: &mut MemoryStore,
    until: Option<Epoch>,
    rng: &mut ChaCha8Rng,
) {
    let whole = Version { shape: Shape::whole(plan), plan: plan.clone(), backfill: None };
    live_of(&[whole], log, entries, workers, store, until, rng);
}

/// The same of a job whose pipelines change, from the first of these versions on.
pub fn live_of(
    versions: &[Version],
    log: LogId,
    entries: &[Entry],
    workers: usize,
    store: &mut MemoryStore,
    until: Option<Epoch>,
    rng: &mut ChaCha8Rng,
) {
    let plan = &versions[0].plan;
    let cuts: VecDeque<_> = entries.iter().filter_map(cut_of).collect();
    let mends = Mends { retries: retries_of(entries), discards: discards_of(entries) };
    let mut slabs = entries.iter().filter_map(slab_of);
    let (epoch, end, counts) = (Epoch(0), Offset(0), Counts::default());
    let generation = Generation(store.tables().generation.0 + 1);
    let stored = store.claim(generation).unwrap();
    let progress = stored.unwrap_or(Progress { log, generation, epoch, end, counts });
    let beginning = Beginning {
        progress: Progress { generation, ..progress },
        stored: stored.is_some(),
        checkpoint: (epoch, end),
        cuts,
        bundle: changes::text(0),
        changes: changes_of(entries).map(|(epoch, version)| (epoch, changes::change(versions, version))).collect(),
        emitted: Epoch(u64::MAX),
        emits: Vec::new(),
        mends,
        ingest: Millis(0),
        share: Share(0),
        totals: Totals::default(),
    };
    let mut net = Net::new(plan, workers, Limits::default(), log.0 as u64, beginning, None, &Sealing::none());
    let now = Now { unix: Millis(0), up: Millis(0), awake: Millis(0) };
    loop {
        let edges = net.ranks.busy_edges();
        if !edges.is_empty() && rng.random_bool(0.8) {
            net.deliver(edges[rng.random_range(0..edges.len())]);
            continue;
        }
        for worker in net.ranks.undecoded().into_iter().filter(|_| rng.random_bool(0.5)) {
            net.ranks.decode(worker);
        }
        let slab = if net.coordinator.wants_slab() { slabs.next() } else { None };
        if let Some(slab) = slab {
            net.dispatch(slab, now);
        }
        net.tick(now, false);
        if net.coordinator.takes_backfill() && net.commits.is_empty() && net.coordinator.has_stored_changes() {
            fill(&mut net, log, generation, entries, store);
        }
        let commits: Vec<_> = net.commits.drain(..).collect();
        for commit in commits {
            store.commit(&commit).unwrap();
            if until.is_some_and(|until| commit.to.epoch >= until) {
                return;
            }
            net.committed(commit.to);
        }
        if edges.is_empty()
            && net.ranks.busy_edges().is_empty()
            && net.ranks.undecoded().is_empty()
            && net.coordinator.at_rest()
        {
            return;
        }
    }
}
