//! What every store must do.

use std::ops::Range;

use caudal::core::columns::{GroupValue, Reason};
use caudal::core::identity::metric_id;
use caudal::core::lineage::Lineage;
use caudal::core::mend::{Mended, Retry};
use caudal::core::row::{AlertRow, AuditEvent, DeadLetter, Delivery, Value, ViewChange, ViewRow, WindowRow};
use caudal::core::units::{Epoch, Generation, LogId, Micros, Offset};
use caudal::store::writer::{Outcome, commit_once};
use caudal::store::{
    AlertQuery, Commit, DeadLetterQuery, DeliveryMend, DeliveryQuery, DeliveryState, GroupPosition, Leftover,
    OpenQuery, PastOf, Progress, Reader, Settled, Store, StoreError, StoredAlert, StoredChange, StoredDelivery,
    StoredEntry, StoredLetter, StoredRow, ViewQuery, WindowQuery,
};
use uuid::Uuid;

use super::{Bed, HOUR, LOG, all, commit, daily, dead_letter, event, first, plan, row, text};

const SECOND: i64 = 1_000_000;

pub type Case = (&'static str, fn(&Bed));

pub const CASES: &[Case] = &[
    ("an empty store has no progress and no rows", empty),
    ("what is committed is read back", read_back),
    ("progress moves from exactly `after`", mismatch),
    ("a newer generation fences off an older one", fencing),
    ("a commit happens once, however often it is tried", once),
    ("rows and dead letters are absolute values, audit is append-only", absolute),
    ("rows that are no more are removed, and may come back", removed),
    ("entries of views are absolute values, their history is append-only", views),
    ("an alert is raised, and cleared later; pages of them, the last raised first", alerts),
    ("what webhooks are sent comes once, and what becomes of it is noted", outbox),
    ("positions of consumer groups", groups),
    ("a refused commit changes nothing", refused_whole),
    ("text of every kind comes back, and is found", hostile_text),
    ("integers past 64 bits stay exact", huge),
    ("times from year 1 to 9999, bounds beyond them", times),
    ("filters", filters),
    ("pages over equal starts, in both directions", pages),
    ("lineage in pages, and back from an event", lineage),
    ("lineage as bitmaps, of tumbling and hopping windows, and back", compact_lineage),
    ("a pipeline's past moves no progress, and can be taken out", past),
    ("dead letters, newest first", dead_letters),
    ("readers see whole commits while the next is written", whole_commits),
    ("dead letters that were retried or discarded", mended),
];

fn ids(rows: &[StoredRow]) -> Vec<u128> {
    rows.iter().map(|row| row.metric_id.as_u128()).collect()
}

fn letters(limit: u32) -> DeadLetterQuery {
    DeadLetterQuery { limit, ..DeadLetterQuery::default() }
}

/// A letter that nobody has retried.
fn stored_letter(letter: DeadLetter) -> StoredLetter {
    StoredLetter { letter, retried_as: None }
}

fn empty(bed: &Bed) {
    let mut store = (bed.store)();
    assert_eq!(store.progress().unwrap(), None);
    assert_eq!(store.claim(Generation(1)).unwrap(), None);
    let mut reader = (bed.reader)();
    assert_eq!(reader.windows(&all()).unwrap(), []);
    assert_eq!(reader.window(Uuid::from_u128(1)).unwrap(), None);
    assert_eq!(reader.lineage(Uuid::from_u128(1), None, 10).unwrap(), []);
    assert_eq!(reader.event("nobody").unwrap(), []);
    assert_eq!(reader.dead_letters(&letters(10)).unwrap(), []);
}

fn read_back(bed: &Bed) {
    let mut store = (bed.store)();
    let row = row(1, 0, "RM");
    let topicless = DeadLetter { topic: None, body: vec![0, 255, 10], ..dead_letter(4, Reason::Json) };
    let events = vec![event(2, "a", &[1]), event(3, "b", &[])];
    let commit = Commit { dead_letters: vec![topicless.clone()], events: events.clone(), ..first(vec![row.clone()]) };
    store.commit(&commit).unwrap();

    assert_eq!(store.progress().unwrap(), Some(commit.to));
    assert_eq!((bed.store)().claim(Generation(1)).unwrap(), Some(commit.to));
    let mut reader = (bed.reader)();
    let stored = reader.window(row.metric_id).unwrap().unwrap();
    assert_eq!(stored.group, r#"{"region":"RM","code":7}"#);
    assert_eq!(stored.values, r#"{"n":3,"total":-12,"mean_age":1.5}"#);
    assert_eq!(stored, StoredRow::of(&plan(), &row));
    assert_eq!(reader.windows(&all()).unwrap(), [stored]);
    assert_eq!(reader.dead_letters(&letters(10)).unwrap(), [stored_letter(topicless)]);
    assert_eq!(reader.event("a").unwrap(), events[..1]);
    assert_eq!(reader.event("b").unwrap(), events[1..]);
}

fn mismatch(bed: &Bed) {
    let mut store = (bed.store)();
    let try_all = |store: &mut dyn Store, fits: &[Option<u64>]| {
        for after in [None, Some(0), Some(1), Some(2), Some(7)] {
            if !fits.contains(&after) {
                let refused = store.commit(&commit(after, 9));
                assert!(matches!(refused, Err(StoreError::Mismatch(_))), "after {after:?}: {refused:?}");
            }
        }
    };
    try_all(store.as_mut(), &[None]);
    assert_eq!(store.progress().unwrap(), None);
    store.commit(&commit(None, 2)).unwrap();
    try_all(store.as_mut(), &[Some(2)]);
    let mut other_log = commit(Some(2), 3);
    other_log.to.log = LogId(LOG.0 + 1);
    let refused = store.commit(&other_log);
    assert!(matches!(refused, Err(StoreError::Mismatch(_))), "{refused:?}");
    assert_eq!(store.progress().unwrap(), Some(commit(None, 2).to));
    store.commit(&commit(Some(2), 7)).unwrap();
    assert_eq!(store.progress().unwrap(), Some(commit(None, 7).to));
}

fn by_generation(generation: u64, commit: Commit) -> Commit {
    Commit { to: Progress { generation: Generation(generation), ..commit.to }, ..commit }
}

fn fencing(bed: &Bed) {
    let (mut old, mut new) = ((bed.store)(), (bed.store)());
    old.commit(&commit(None, 1)).unwrap();
    assert_eq!(new.claim(Generation(3)).unwrap(), Some(commit(None, 1).to));
    let fenced = |result: Result<(), StoreError>, by: u64| match result {
        Err(StoreError::Fenced { mine: Generation(1), theirs }) => assert_eq!(theirs, Generation(by)),
        other => panic!("not fenced: {other:?}"),
    };
    fenced(old.commit(&commit(Some(1), 2)), 3);
    fenced(old.claim(Generation(1)).map(drop), 3);
    // Fenced comes before a mismatch: the old one must not be told that its log is wrong.
    fenced(old.commit(&commit(Some(9), 10)), 3);
    assert_eq!(new.progress().unwrap(), Some(commit(None, 1).to));
    // A commit raises the generation by itself.
    new.commit(&by_generation(5, commit(Some(1), 2))).unwrap();
    fenced(old.commit(&commit(Some(2), 3)), 5);
    // What is refused raises nothing.
    let refused = new.commit(&by_generation(8, commit(Some(9), 10)));
    assert!(matches!(refused, Err(StoreError::Mismatch(_))), "{refused:?}");
    new.commit(&by_generation(6, commit(Some(2), 3))).unwrap();
}

fn once(bed: &Bed) {
    let mut store = (bed.store)();
    let commit = Commit { events: vec![event(1, "a", &[1])], ..first(vec![row(1, 0, "RM")]) };
    for _ in 0..3 {
        assert_eq!(commit_once(store.as_mut(), Generation(1), &commit).unwrap(), Outcome::Committed);
    }
    assert_eq!(store.progress().unwrap(), Some(commit.to));
    assert_eq!((bed.reader)().windows(&all()).unwrap().len(), 1);
    // Not mistaken for another commit that ends at the same epoch.
    let mut other = commit;
    other.to.counts.counted += 1;
    let refused = commit_once(store.as_mut(), Generation(1), &other);
    assert!(matches!(refused, Err(StoreError::Mismatch(_))), "{refused:?}");
}

fn absolute(bed: &Bed) {
    let mut store = (bed.store)();
    let letter = dead_letter(5, Reason::Late);
    let (open, kept) = (WindowRow { closed: false, digest: 0, ..row(1, 0, "RM") }, row(2, 0, "AP"));
    let event = event(1, "a", &[1]);
    store
        .commit(&Commit {
            dead_letters: vec![letter.clone()],
            events: vec![event.clone()],
            ..first(vec![open.clone(), kept.clone()])
        })
        .unwrap();
    // It closes, then comes a late revision; a replay by another generation brings the same letter and event again.
    let closed = WindowRow { closed: true, digest: 11, event_count: 4, epoch: Epoch(2), ..open };
    let values = vec![Value::Integer(5), Value::Null, Value::Number(1e300)];
    let revised = WindowRow { revision: 1, digest: 12, event_count: 5, epoch: Epoch(3), values, ..closed.clone() };
    let again = AuditEvent { body: b"another".to_vec(), ..event.clone() };
    store.commit(&Commit { rows: vec![closed], ..commit(Some(1), 2) }).unwrap();
    store
        .commit(&Commit {
            rows: vec![revised.clone()],
            dead_letters: vec![letter.clone()],
            events: vec![again],
            ..commit(Some(2), 3)
        })
        .unwrap();
    let mut reader = (bed.reader)();
    let stored = |row: &WindowRow| StoredRow::of(&plan(), row);
    assert_eq!(reader.windows(&all()).unwrap(), [stored(&revised), stored(&kept)]);
    assert_eq!(reader.dead_letters(&letters(10)).unwrap(), [stored_letter(letter)]);
    assert_eq!(reader.event("a").unwrap(), [event]);
}

fn views(bed: &Bed) {
    let mut store = (bed.store)();
    let row = |view, key: &str, value: &str, events, offset| ViewRow {
        view,
        key: key.into(),
        value: value.to_owned(),
        events,
        time: Micros(1_764_000_000_123_456),
        offset: Offset(offset),
        epoch: Epoch(1),
    };
    let change = |view, key: &str, value: &str, offset| ViewChange {
        view,
        key: key.into(),
        offset: Offset(offset),
        time: Micros(-1),
        value: value.to_owned(),
    };
    let entry = |row: &ViewRow| StoredEntry {
        key: row.key.to_string(),
        value: row.value.clone(),
        events: row.events,
        time: row.time,
        offset: row.offset,
    };
    let told =
        |change: &ViewChange| StoredChange { offset: change.offset, time: change.time, value: change.value.clone() };
    // The order is that of the bytes: Z before a, and ü last. The digits of a value stay as they are written.
    let rows = [
        row(0, "Z", r#"{"x":1.50,"y":{"z":[null,"ü\u0000"]}}"#, 2, 7),
        row(0, "a'%_", "{}", 1, 3),
        row(0, "ü", r#"{"x":123456789012345678901234567890}"#, 1, 4),
        row(1, "Z", r#"{"x":2}"#, 9, 9),
    ];
    let changes = [change(0, "Z", r#"{"x":1}"#, 2), change(0, "Z", r#"{"x":1.50}"#, 7), change(1, "Z", "{}", 7)];
    store.commit(&Commit { views: rows.to_vec(), history: changes.to_vec(), ..commit(None, 1) }).unwrap();

    let mut reader = (bed.reader)();
    let page = |view: &str, after: Option<&str>, limit| ViewQuery {
        view: view.to_owned(),
        after: after.map(str::to_owned),
        limit,
    };
    assert_eq!(reader.view(&page("current", None, 10)).unwrap(), rows[..3].iter().map(entry).collect::<Vec<_>>());
    assert_eq!(reader.view(&page("current", Some("Z"), 1)).unwrap(), [entry(&rows[1])]);
    assert_eq!(reader.view(&page("other", None, 10)).unwrap(), [entry(&rows[3])]);
    assert_eq!(reader.view_entry("current", "ü").unwrap(), Some(entry(&rows[2])));
    assert_eq!(reader.view_entry("other", "ü").unwrap(), None);
    let newest_first = [told(&changes[1]), told(&changes[0])];
    assert_eq!(reader.view_history("current", "Z", None, 10).unwrap(), newest_first);
    assert_eq!(reader.view_history("current", "Z", Some(Offset(7)), 10).unwrap(), newest_first[1..]);
    assert_eq!(reader.view_history("current", "Z", None, 1).unwrap(), newest_first[..1]);
    assert_eq!(reader.view_history("current", "a'%_", None, 10).unwrap(), []);

    let again = row(0, "Z", r#"{"x":3}"#, 3, 12);
    let history = vec![change(0, "Z", r#"{"x":3}"#, 12), change(0, "Z", r#"{"x":"never"}"#, 7)];
    store.commit(&Commit { views: vec![again.clone()], history, ..commit(Some(1), 2) }).unwrap();
    assert_eq!(reader.view_entry("current", "Z").unwrap(), Some(entry(&again)));
    let offsets: Vec<_> = reader.view_history("current", "Z", None, 10).unwrap();
    assert_eq!(offsets.iter().map(|told| told.offset.0).collect::<Vec<_>>(), [12, 7, 2]);
    assert_eq!(offsets[1], told(&changes[1]));

    // One that is gone takes its history along, and nothing of another.
    store.commit(&Commit { gone: vec![0], ..commit(Some(2), 3) }).unwrap();
    assert_eq!(reader.view(&page("current", None, 10)).unwrap(), []);
    assert_eq!(reader.view_history("current", "Z", None, 10).unwrap(), []);
    assert_eq!(reader.view(&page("other", None, 10)).unwrap(), [entry(&rows[3])]);
    assert_eq!(reader.view_history("other", "Z", None, 10).unwrap(), [told(&changes[2])]);
}

fn alerts(bed: &Bed) {
    let raised = |id, alert, raised, key: &str| AlertRow {
        alert_id: Uuid::from_u128(id),
        alert,
        key: vec![text(key), GroupValue::Integer(-7)],
        from: Micros(-HOUR),
        to: Micros(HOUR),
        raised: Micros(raised),
        cleared: None,
        details: r#"{"metrics":{"n":123456789012345678901234567890,"t":"\u0000'%"}}"#.to_owned(),
        epoch: Epoch(1),
    };
    // Of two raised at once the greater id comes first.
    let rows = [raised(9, 0, 5, "ü\0"), raised(2, 1, 5, "b"), raised(3, 0, 7, "c"), raised(4, 0, -1, "d")];
    let mut store = (bed.store)();
    store.commit(&Commit { alerts: rows.to_vec(), ..commit(None, 1) }).unwrap();
    let cleared = AlertRow { cleared: Some(Micros(8)), epoch: Epoch(2), ..rows[2].clone() };
    store.commit(&Commit { alerts: vec![cleared], ..commit(Some(1), 2) }).unwrap();

    let mut reader = (bed.reader)();
    let mut found = |query: AlertQuery| reader.alerts(&AlertQuery { limit: query.limit.max(1), ..query }).unwrap();
    let all = || AlertQuery { limit: 10, ..AlertQuery::default() };
    let ids = |alerts: &[StoredAlert]| alerts.iter().map(|alert| alert.alert_id.as_u128()).collect::<Vec<_>>();
    let stored = found(all());
    assert_eq!(ids(&stored), [3, 9, 2, 4]);
    let third = StoredAlert {
        alert_id: Uuid::from_u128(9),
        pipeline: "civic_safety".to_owned(),
        alert: "surge".to_owned(),
        key: r#"{"region":"ü␀","code":-7}"#.to_owned(),
        from: Micros(-HOUR),
        to: Micros(HOUR),
        raised: Micros(5),
        cleared: None,
        details: rows[0].details.clone(),
        epoch: Epoch(1),
    };
    assert_eq!(stored[1], third);
    assert_eq!((stored[0].cleared, stored[0].epoch), (Some(Micros(8)), Epoch(2)));
    assert_eq!(ids(&found(AlertQuery { active: Some(true), ..all() })), [9, 2, 4]);
    assert_eq!(ids(&found(AlertQuery { active: Some(false), ..all() })), [3]);
    assert_eq!(ids(&found(AlertQuery { alert: Some("surge".to_owned()), active: Some(true), ..all() })), [9, 4]);
    assert_eq!(ids(&found(AlertQuery { pipeline: Some("another".to_owned()), ..all() })), [0; 0]);
    assert_eq!(ids(&found(AlertQuery { limit: 2, ..all() })), [3, 9]);
    let after = Some((Micros(5), Uuid::from_u128(9)));
    assert_eq!(ids(&found(AlertQuery { after, ..all() })), [2, 4]);
}

fn outbox(bed: &Bed) {
    let delivery = |id, webhook, epoch| Delivery {
        id: Uuid::from_u128(id),
        webhook,
        body: r#"{"alert":"surge","n":1.50}"#.to_owned(),
        epoch: Epoch(epoch),
    };
    let mut store = (bed.store)();
    let outbox = vec![delivery(5, 0, 1), delivery(3, 0, 1), delivery(4, 1, 1)];
    store.commit(&Commit { outbox, ..commit(None, 1) }).unwrap();

    let mut reader = (bed.reader)();
    let mut found = |query: DeliveryQuery| reader.deliveries(&DeliveryQuery { limit: 10, ..query }).unwrap();
    let ids = |found: &[StoredDelivery]| found.iter().map(|delivery| delivery.id.as_u128()).collect::<Vec<_>>();
    let all = DeliveryQuery::default;
    let ops = || DeliveryQuery { webhook: Some("ops".to_owned()), ..all() };
    assert_eq!(ids(&found(all())), [3, 4, 5]);
    let first = StoredDelivery {
        id: Uuid::from_u128(3),
        pipeline: "civic_safety".to_owned(),
        webhook: "ops".to_owned(),
        body: r#"{"alert":"surge","n":1.50}"#.to_owned(),
        epoch: Epoch(1),
        state: DeliveryState::Waiting,
        attempts: 0,
        first: None,
        last: None,
        next: None,
        error: None,
    };
    assert_eq!(found(ops())[0], first);

    let failed = Settled {
        id: Uuid::from_u128(3),
        state: DeliveryState::Waiting,
        attempts: 1,
        first: Micros(100),
        last: Micros(100),
        next: Some(Micros(1_100)),
        error: Some("it answered 500 \0'".to_owned()),
    };
    store.settle(Generation(1), &failed).unwrap();
    let given_up = Settled { id: Uuid::from_u128(5), state: DeliveryState::GivenUp, next: None, ..failed.clone() };
    store.settle(Generation(1), &given_up).unwrap();
    // What nobody knows is passed over.
    store.settle(Generation(1), &Settled { id: Uuid::from_u128(77), ..failed.clone() }).unwrap();
    let after = found(ops());
    let noted = (after[0].attempts, after[0].first, after[0].last, after[0].next, after[0].error.as_deref());
    let time = |at| Some(Micros(at));
    let error = after[0].error.as_deref().unwrap();
    assert!(error.starts_with("it answered 500"), "{error:?}");
    assert_eq!(noted, (1, time(100), time(100), time(1_100), Some(error)));
    let due = |at| DeliveryQuery { state: Some(DeliveryState::Waiting), due_by: time(at), ..ops() };
    assert_eq!(ids(&found(due(1_099))), [0; 0]);
    assert_eq!(ids(&found(due(1_100))), [3]);
    assert_eq!(ids(&found(DeliveryQuery { due_by: time(1_100), ..all() })), [4, 3, 5], "what was tried least first");
    assert_eq!(ids(&found(DeliveryQuery { state: Some(DeliveryState::GivenUp), ..all() })), [5]);

    // A replay brings it again: it stays as it is.
    store.commit(&Commit { outbox: vec![delivery(3, 0, 2), delivery(9, 0, 2)], ..commit(Some(1), 2) }).unwrap();
    assert_eq!(found(ops())[0], after[0]);
    assert_eq!(ids(&found(DeliveryQuery { newest_first: true, ..all() })), [9, 5, 4, 3]);
    let place = Some((Epoch(1), Uuid::from_u128(4)));
    assert_eq!(ids(&found(DeliveryQuery { after: place, ..all() })), [5, 9]);
    assert_eq!(ids(&found(DeliveryQuery { after: place, newest_first: true, ..all() })), [3]);

    // Only what was given up is mended.
    let id = Uuid::from_u128;
    let mut mend = |of, mend| store.mend_delivery(Generation(1), id(of), mend).unwrap();
    assert_eq!([3, 4, 77].map(|of| mend(of, DeliveryMend::Retry)), [false; 3]);
    assert_eq!([3, 4, 77].map(|of| mend(of, DeliveryMend::Discard)), [false; 3]);
    assert!(mend(5, DeliveryMend::Retry));
    let again = found(DeliveryQuery { state: Some(DeliveryState::Waiting), due_by: time(0), ..ops() });
    let place = again.iter().position(|delivery| delivery.id == id(5)).unwrap();
    assert_eq!((again[place].attempts, again[place].first, again[place].next), (0, None, None));
    store.settle(Generation(1), &given_up).unwrap();
    assert!(store.mend_delivery(Generation(1), id(5), DeliveryMend::Discard).unwrap());
    assert_eq!(ids(&found(all())), [3, 4, 9]);

    store.claim(Generation(2)).unwrap();
    let stale = store.settle(Generation(1), &failed);
    assert!(matches!(stale, Err(StoreError::Fenced { .. })), "{stale:?}");
    let stale = store.mend_delivery(Generation(1), id(3), DeliveryMend::Discard);
    assert!(matches!(stale, Err(StoreError::Fenced { .. })), "{stale:?}");
}

fn groups(bed: &Bed) {
    let mut store = (bed.store)();
    let mut reader = (bed.reader)();
    let at = |topic: &str, group: &str, position| GroupPosition {
        topic: topic.to_owned(),
        group: group.to_owned(),
        position: Offset(position),
    };
    assert_eq!(reader.groups().unwrap(), []);
    for group in [at("b", "B", 7), at("b", "a", 1), at("a", "z", 0)] {
        store.move_group(Generation(1), &group).unwrap();
    }
    assert_eq!(reader.groups().unwrap(), [at("a", "z", 0), at("b", "B", 7), at("b", "a", 1)]);
    store.move_group(Generation(1), &at("b", "B", 1 << 60)).unwrap();
    // It may go back: somebody reads anew.
    store.move_group(Generation(1), &at("b", "a", 0)).unwrap();
    assert!(store.drop_group(Generation(1), "a", "z").unwrap());
    assert!(!store.drop_group(Generation(1), "a", "z").unwrap());
    assert!(!store.drop_group(Generation(1), "a", "B").unwrap());
    let left = [at("b", "B", 1 << 60), at("b", "a", 0)];
    assert_eq!(reader.groups().unwrap(), left);

    store.claim(Generation(2)).unwrap();
    let stale = store.move_group(Generation(1), &at("b", "B", 3));
    assert!(matches!(stale, Err(StoreError::Fenced { .. })), "{stale:?}");
    let stale = store.drop_group(Generation(1), "b", "B");
    assert!(matches!(stale, Err(StoreError::Fenced { .. })), "{stale:?}");
    assert_eq!(reader.groups().unwrap(), left);
    // A move is a transaction of its generation, as a commit is.
    store.move_group(Generation(3), &at("b", "B", 3)).unwrap();
    let stale = store.settle(
        Generation(2),
        &Settled {
            id: Uuid::from_u128(1),
            state: DeliveryState::Waiting,
            attempts: 1,
            first: Micros(1),
            last: Micros(1),
            next: None,
            error: None,
        },
    );
    assert!(matches!(stale, Err(StoreError::Fenced { .. })), "{stale:?}");
    // Results are none of its business.
    assert_eq!(store.progress().unwrap(), None);
}

fn removed(bed: &Bed) {
    let mut store = (bed.store)();
    let rows = || vec![row(1, 0, "RM"), row(2, 0, "AP"), daily(3, 0, "RM")];
    let remove = |removed: &[u128], rows, after, to| Commit {
        rows,
        removed: removed.iter().copied().map(Uuid::from_u128).collect(),
        ..commit(Some(after), to)
    };
    store.commit(&first(rows())).unwrap();
    let mut reader = (bed.reader)();
    let mut stand = |commit: Commit, expected: &[u128]| {
        store.commit(&commit).unwrap();
        assert_eq!(ids(&reader.windows(&all()).unwrap()), expected, "after {:?}", commit.to.epoch);
    };
    stand(remove(&[2, 3], vec![row(4, 1, "RM")], 1, 2), &[1, 4]);
    // One that never was, or is gone already, is no fault.
    stand(remove(&[2, 99], Vec::new(), 2, 3), &[1, 4]);
    stand(remove(&[1, 4], vec![rows().swap_remove(1)], 3, 4), &[2]);
    assert_eq!(reader.window(Uuid::from_u128(1)).unwrap(), None);
}

fn refused_whole(bed: &Bed) {
    let mut store = (bed.store)();
    let full = |after, to| Commit {
        rows: vec![row(1, 0, "RM")],
        dead_letters: vec![dead_letter(5, Reason::Late)],
        events: vec![event(1, "a", &[1])],
        ..commit(after, to)
    };
    assert!(store.commit(&full(Some(3), 4)).is_err());
    let mut reader = (bed.reader)();
    assert_eq!(reader.windows(&all()).unwrap(), []);
    assert_eq!(reader.dead_letters(&letters(10)).unwrap(), []);
    assert_eq!(reader.event("a").unwrap(), []);
    // The connection is as good as before.
    store.commit(&full(None, 1)).unwrap();
    assert_eq!(reader.windows(&all()).unwrap().len(), 1);
}

fn hostile_text(bed: &Bed) {
    let texts = [
        "",
        "'",
        "\"",
        "it's; DROP TABLE metrics_out; --",
        "100%",
        "_",
        "\\",
        "a\nb\tc\r",
        "\u{1}\u{1b}[31m",
        "\u{2028}",
        "👍🏽 ñandú",
        "مرحبا",
        "<script>alert(1)</script>",
        "$1",
        "null",
        "true",
        "5",
        "5.0",
        "-0",
        "{\"a\":1}",
        "\0",
        "a\0b",
        "\u{fffd}\u{ffff}",
        "$.region",
        "[0]",
    ];
    let long = "x".repeat(64 << 10);
    let texts: Vec<&str> = texts.into_iter().chain([long.as_str()]).collect();
    let rows = texts.iter().zip(1..).map(|(text, id)| row(id, 0, text)).collect();
    let numbered = || texts.iter().zip(1u64..);
    let commit = Commit {
        dead_letters: numbered()
            .map(|(text, n)| DeadLetter {
                detail: (*text).to_owned(),
                body: text.as_bytes().to_vec(),
                ..dead_letter(n, Reason::Schema)
            })
            .collect(),
        events: numbered()
            .map(|(text, n)| AuditEvent { body: text.as_bytes().to_vec(), ..event(n, text, &[u128::from(n)]) })
            .collect(),
        ..first(rows)
    };
    (bed.store)().commit(&commit).unwrap();
    let mut reader = (bed.reader)();
    let mut letters = reader.dead_letters(&letters(100)).unwrap();
    letters.reverse();
    assert_eq!(letters.len(), texts.len());
    for ((text, id), letter) in numbered().zip(&letters) {
        // U+0000, which PostgreSQL cannot keep in text, is shown as U+2400; a body is kept as it is.
        let shown = text.replace('\0', "\u{2400}");
        let query = WindowQuery { group: vec![("region".to_owned(), (*text).to_owned())], ..all() };
        assert_eq!(ids(&reader.windows(&query).unwrap()), [u128::from(id)], "{text:?}");
        let stored = reader.window(Uuid::from_u128(u128::from(id))).unwrap().unwrap();
        let group: serde_json::Value = serde_json::from_str(&stored.group).unwrap();
        assert_eq!(group["region"], shown);
        let letter = &letter.letter;
        assert_eq!((&letter.detail, letter.body.as_slice()), (&shown, text.as_bytes()));
        let events = reader.event(text).unwrap();
        assert_eq!(events.len(), 1, "{text:?}");
        assert_eq!((&events[0].event_id, events[0].body.as_slice()), (&shown, text.as_bytes()));
    }
}

fn huge(bed: &Bed) {
    let values = [i128::MAX, i128::MIN, i128::from(i64::MAX) + 1, i128::from(i64::MIN), (1 << 53) + 1];
    let mut rows = Vec::new();
    for (value, id) in values.into_iter().zip(1..) {
        rows.push(WindowRow {
            values: vec![Value::Integer(1), Value::Integer(value), Value::Number(5e-324)],
            event_count: i64::MAX as u64,
            ..row(id, 0, "RM")
        });
    }
    (bed.store)().commit(&first(rows)).unwrap();
    let stored = (bed.reader)().windows(&all()).unwrap();
    for (row, value) in stored.iter().zip(values) {
        assert_eq!(row.values, format!(r#"{{"n":1,"total":{value},"mean_age":5e-324}}"#));
        assert_eq!(row.event_count, i64::MAX as u64);
    }
    assert_eq!(stored.len(), values.len());
}

fn times(bed: &Bed) {
    let starts = [-62_135_596_800_000_000, -1, 0, 1, 253_402_300_799_999_999];
    let rows = starts.into_iter().zip(1..).map(|(start, id)| WindowRow { start: Micros(start), ..row(id, 0, "RM") });
    (bed.store)().commit(&first(rows.collect())).unwrap();
    let mut reader = (bed.reader)();
    let read: Vec<i64> = reader.windows(&all()).unwrap().iter().map(|row| row.start.0).collect();
    assert_eq!(read, starts);
    let bounds = [i64::MIN, i64::MIN + 1, -300_000_000_000_000_000, -1, 0, 2, 9_000_000_000_000_000_000, i64::MAX];
    for from in bounds {
        for to in bounds {
            let query = WindowQuery { from: Some(Micros(from)), to: Some(Micros(to)), ..all() };
            let expected = starts.iter().filter(|&&start| start >= from && start < to).count();
            assert_eq!(reader.windows(&query).unwrap().len(), expected, "{from} to {to}");
        }
        let after = WindowQuery { after: Some((Micros(from), "zzz".to_owned(), Uuid::max())), ..all() };
        let expected = starts.iter().filter(|&&start| start > from).count();
        assert_eq!(reader.windows(&after).unwrap().len(), expected, "after {from}");
    }
}

fn filters(bed: &Bed) {
    let grouped = |id, hour, group: [GroupValue; 2]| WindowRow { group: group.into(), ..row(id, hour, "") };
    let rows = vec![
        grouped(1, 0, [text("RM"), GroupValue::Integer(5)]),
        grouped(2, 1, [text("RM"), text("5")]),
        grouped(3, 2, [text("AP"), GroupValue::Bool(true)]),
        grouped(4, 3, [GroupValue::Null, GroupValue::Integer(-7)]),
        daily(5, 3, "RM"),
        grouped(6, 4, [text("null"), GroupValue::Null]),
        grouped(7, 5, [text("R%"), GroupValue::Bool(false)]),
    ];
    (bed.store)().commit(&first(rows)).unwrap();
    let mut reader = (bed.reader)();
    let group = |pairs: &[(&str, &str)]| WindowQuery {
        group: pairs.iter().map(|&(name, value)| (name.to_owned(), value.to_owned())).collect(),
        ..all()
    };
    let window = |name: &str| WindowQuery { window: Some(name.to_owned()), ..all() };
    let table: &[(WindowQuery, &[u128])] = &[
        (all(), &[1, 2, 3, 4, 5, 6, 7]),
        (window("by_region"), &[1, 2, 3, 4, 6, 7]),
        (window("daily"), &[5]),
        (window("' OR ''='"), &[]),
        (window("by\0region"), &[]),
        (WindowQuery { closed: Some(true), ..all() }, &[1, 2, 3, 4, 6, 7]),
        (WindowQuery { closed: Some(false), ..all() }, &[5]),
        (WindowQuery { from: Some(Micros(HOUR)), to: Some(Micros(3 * HOUR)), ..all() }, &[2, 3]),
        (WindowQuery { from: Some(Micros(3 * HOUR)), to: Some(Micros(3 * HOUR)), ..all() }, &[]),
        (WindowQuery { limit: 0, ..all() }, &[]),
        (WindowQuery { limit: 2, ..all() }, &[1, 2]),
        (WindowQuery { limit: 2, newest_first: true, ..all() }, &[7, 6]),
        (WindowQuery { limit: u32::MAX, newest_first: true, ..window("daily") }, &[5]),
        (group(&[("region", "RM")]), &[1, 2, 5]),
        (group(&[("region", "RM"), ("code", "5")]), &[1, 2]),
        (group(&[("region", "AP"), ("code", "5")]), &[]),
        (group(&[("code", "true")]), &[3]),
        (group(&[("code", "false")]), &[7]),
        (group(&[("code", "1")]), &[]),
        (group(&[("code", "-7")]), &[4]),
        (group(&[("code", "05")]), &[]),
        (group(&[("code", "5 ")]), &[]),
        (group(&[("region", "R%")]), &[7]),
        (group(&[("region", "R_")]), &[]),
        (group(&[("region", "rm")]), &[]),
        // An absent value never matches, not even the text that it is written as.
        (group(&[("region", "null")]), &[6]),
        (group(&[("region", "")]), &[]),
        (group(&[("code", "null")]), &[]),
        // A name that no window groups by, whatever it holds.
        (group(&[("nothing", "RM")]), &[]),
        (group(&[("n", "3")]), &[]),
        (group(&[("$[", "RM")]), &[]),
        (group(&[("region' OR '1'='1", "RM")]), &[]),
        (group(&[("", "")]), &[]),
    ];
    for (query, expected) in table {
        assert_eq!(ids(&reader.windows(query).unwrap()), *expected, "{query:?}");
    }
}

/// Walks a query in pages of a size, to its end.
fn walk(reader: &mut dyn Reader, query: &WindowQuery, size: u32) -> Vec<u128> {
    let (mut query, mut seen) = (WindowQuery { limit: size, ..query.clone() }, Vec::new());
    loop {
        let page = reader.windows(&query).unwrap();
        assert!(page.len() <= size as usize);
        let Some(last) = page.last() else { return seen };
        query.after = Some((last.start, last.window.clone(), last.metric_id));
        seen.extend(ids(&page));
    }
}

fn pages(bed: &Bed) {
    // Seven starts, each with three rows of either window; ids in no order, their top bit set and not.
    let mut rows = Vec::new();
    for n in 0..42u128 {
        let id = (n * 29 % 42) << 120 | n;
        let (hour, region) = ((n % 7) as i64, ["RM", "AP", "VS"][(n % 3) as usize]);
        rows.push(if n % 2 == 0 { row(id, hour, region) } else { daily(id, hour, region) });
    }
    let key = |row: &WindowRow| (row.start, plan().windows[row.window].name.clone(), row.metric_id);
    rows.sort_by_key(key);
    let expected: Vec<u128> = rows.iter().map(|row| row.metric_id.as_u128()).collect();
    (bed.store)().commit(&first(rows)).unwrap();
    let mut reader = (bed.reader)();
    for size in [1, 2, 5, 42, 100] {
        assert_eq!(walk(reader.as_mut(), &all(), size), expected, "pages of {size}");
        let newest = walk(reader.as_mut(), &WindowQuery { newest_first: true, ..all() }, size);
        assert!(newest.iter().rev().eq(&expected), "pages of {size}, newest first");
        let closed = WindowQuery { closed: Some(true), group: vec![("region".to_owned(), "RM".to_owned())], ..all() };
        assert_eq!(walk(reader.as_mut(), &closed, size).len(), 7);
    }
}

fn lineage(bed: &Bed) {
    let events: Vec<AuditEvent> =
        (0..25).map(|n| event(n, &format!("id {}", n % 24), if n % 5 == 0 { &[1, 2] } else { &[2] })).collect();
    let commit = Commit { events: events.clone(), ..first(vec![row(1, 0, "RM"), daily(2, 0, "RM")]) };
    (bed.store)().commit(&commit).unwrap();
    let mut reader = (bed.reader)();
    let of = |id: u128| events.iter().filter(|e| e.metrics.contains(&Uuid::from_u128(id))).cloned().collect::<Vec<_>>();
    for (id, size) in [(1, 1), (1, 2), (1, 100), (2, 7), (3, 10)] {
        let (mut after, mut seen) = (None, Vec::new());
        loop {
            let page = reader.lineage(Uuid::from_u128(id), after, size).unwrap();
            assert!(page.len() <= size as usize);
            let Some(last) = page.last() else { break };
            after = Some(last.offset);
            seen.extend(page);
        }
        assert_eq!(seen, of(id), "row {id} in pages of {size}");
    }
    assert_eq!(reader.lineage(Uuid::from_u128(1), Some(Offset(u64::MAX)), 10).unwrap(), []);
    assert_eq!(reader.event("id 0").unwrap(), [events[0].clone(), events[24].clone()]);
    assert_eq!(reader.event("id %").unwrap(), []);
}

/// What this epoch added to a slice, relative to its first offset.
fn slice(window: usize, seconds: i64, region: &str, (epoch, first): (u64, u64), bits: &[u32]) -> Lineage {
    Lineage {
        window,
        slice: Micros(seconds * SECOND),
        group: [text(region)].into(),
        epoch: Epoch(epoch),
        first: Offset(first),
        late_to: Micros::MIN,
        offsets: bits.iter().copied().collect(),
    }
}

/// A row of `daily` (1) or `sliding` (2).
fn of_window(window: usize, seconds: i64, region: &str) -> WindowRow {
    let (name, start) = (["by_region", "daily", "sliding"][window], Micros(seconds * SECOND));
    let id = metric_id("civic_safety", name, start, &[text(region)]);
    WindowRow { window, start, end: start.plus(Micros(HOUR)), ..daily(id.as_u128(), 0, region) }
}

fn compact_lineage(bed: &Bed) {
    let (day, early, late) = (of_window(1, 0, "RM"), of_window(2, 0, "RM"), of_window(2, 3598, "RM"));
    let (many, fine) = (of_window(1, 0, "AP"), of_window(2, 0, "XV"));
    let mut lineage = vec![slice(1, 0, "RM", (1, 0), &[0, 1, 5]), slice(2, 0, "RM", (1, 0), &[5, 0])];
    lineage.push(slice(2, 3599, "RM", (1, 0), &[1]));
    // In the second epoch events were late for the row that ends first.
    lineage.push(slice(1, 0, "RM", (2, 17), &[3]));
    lineage.push(Lineage { late_to: Micros(HOUR), ..slice(2, 3599, "RM", (2, 17), &[3]) });
    // Groups that read the same are two.
    let (nul, sign) = (of_window(1, 0, "\0"), of_window(1, 0, "\u{2400}"));
    let (nuls, signs) = (of_window(2, 0, "\0"), of_window(2, 0, "\u{2400}"));
    lineage.extend([slice(1, 0, "\0", (1, 0), &[2]), slice(1, 0, "\u{2400}", (1, 0), &[3, 4])]);
    lineage.extend([slice(2, 0, "\0", (1, 0), &[2]), slice(2, 0, "\u{2400}", (1, 0), &[3])]);
    // More than are read at once: of many epochs, and of one.
    lineage.extend((10..700).map(|epoch| slice(1, 0, "AP", (epoch, epoch * 1000), &[7])));
    lineage.extend((0..700).map(|second| slice(2, i64::from(second), "XV", (3, 500), &[699 - second])));
    // So many groups of a slice that they are in several rows.
    let crowd = |n: u32| format!("R{n}");
    lineage.extend([1, 2].iter().flat_map(|&at| (0..2000).map(move |n| slice(at, 0, &crowd(n), (4, 5000), &[n]))));
    let members = (0..2000).step_by(333).flat_map(|n| [1, 2].map(|at| of_window(at, 0, &crowd(n))));
    let mut rows = vec![
        day.clone(),
        early.clone(),
        late.clone(),
        many.clone(),
        fine.clone(),
        nul.clone(),
        sign.clone(),
        nuls.clone(),
        signs.clone(),
    ];
    rows.extend(members.clone());
    let mut store = (bed.store)();
    store.commit(&Commit { lineage, ..first(rows) }).unwrap();
    let mut reader = (bed.reader)();
    let mut check = |row: &WindowRow, expected: &[u64]| {
        let row = StoredRow::of(&plan(), row);
        for size in [1, 3, 600, 1000].into_iter().filter(|size| expected.len() < 10 || *size > 100) {
            let (mut after, mut seen) = (None, Vec::new());
            loop {
                let page = reader.compact_lineage(&row, after, size).unwrap();
                assert!(page.len() <= size as usize);
                let Some(last) = page.last() else { break };
                after = Some(*last);
                seen.extend(page.iter().map(|offset| offset.0));
            }
            assert_eq!(seen, expected, "{row:?} in pages of {size}");
        }
    };
    check(&day, &[0, 1, 5, 20]);
    check(&early, &[0, 1, 5]);
    check(&late, &[1, 20]);
    check(&many, &(10..700).map(|epoch| epoch * 1000 + 7).collect::<Vec<_>>());
    check(&fine, &(500..1200).collect::<Vec<_>>());
    check(&of_window(1, 0, "XV"), &[]);
    check(&nul, &[2]);
    check(&sign, &[3, 4]);
    check(&nuls, &[2]);
    check(&signs, &[3]);
    for (member, at) in members.zip(0..) {
        check(&member, &[5000 + at / 2 * 333]);
    }

    let offsets = [0, 1, 2, 7, 20, 500, 6234, 10_007];
    // Of `sliding` also those that the store does not have.
    let ids = |day: Option<&WindowRow>, region: &str, starts: Range<i64>| {
        let sliding = starts.filter(|start| start % 7 == 0).map(|start| of_window(2, start, region).metric_id);
        let mut ids: Vec<Uuid> = day.map(|row| row.metric_id).into_iter().chain(sliding).collect();
        ids.sort_unstable();
        ids
    };
    let expected = [
        ids(Some(&day), "RM", -3599..1),
        ids(Some(&day), "RM", 0..3600),
        ids(Some(&nul), "\0", -3599..1),
        ids(None, "RM", 0..0),
        ids(Some(&day), "RM", 1..3600),
        ids(None, "XV", -2900..700),
        ids(Some(&of_window(1, 0, &crowd(1234))), &crowd(1234), -3599..1),
        ids(Some(&many), "AP", 0..0),
    ];
    assert_eq!(reader.compact_metrics(&offsets.map(Offset)).unwrap(), expected);
}

fn past(bed: &Bed) {
    let mut store = (bed.store)();
    let mut reader = (bed.reader)();
    let entry = |view: usize, key: &str| ViewRow {
        view,
        key: key.into(),
        value: "{}".to_owned(),
        events: 1,
        time: Micros(1),
        offset: Offset(1),
        epoch: Epoch(1),
    };
    let change = |view: usize, key: &str| ViewChange {
        view,
        key: key.into(),
        offset: Offset(1),
        time: Micros(1),
        value: "{}".to_owned(),
    };
    let alert = AlertRow {
        alert_id: Uuid::from_u128(9),
        alert: 0,
        key: vec![text("RM"), GroupValue::Integer(7)],
        from: Micros(0),
        to: Micros(HOUR),
        raised: Micros(1),
        cleared: None,
        details: "{}".to_owned(),
        epoch: Epoch(1),
    };
    let past = Commit {
        past: Some(PastOf { pipeline: "civic_safety".to_owned(), last: Epoch(1) }),
        views: vec![entry(0, "a"), entry(1, "b")],
        history: vec![change(0, "a"), change(1, "b")],
        alerts: vec![alert],
        // The last is of rows that are not shown.
        lineage: vec![
            slice(1, 0, "RM", (1, 0), &[0]),
            slice(2, 0, "RM", (1, 0), &[0]),
            slice(2, 0, "AP", (1, 0), &[1]),
        ],
        // Of the last the row is removed before long.
        events: vec![event(1, "a", &[1]), event(2, "b", &[1]), event(3, "c", &[77])],
        ..first(vec![of_window(1, 0, "RM"), of_window(2, 0, "RM"), row(1, 0, "RM")])
    };
    // In an empty store too, and as often as may be.
    for _ in 0..2 {
        store.commit(&past).unwrap();
        assert_eq!(store.progress().unwrap(), None);
        assert_eq!(reader.windows(&all()).unwrap().len(), 3);
    }
    store.commit(&first(Vec::new())).unwrap();
    store.commit(&past).unwrap();
    assert_eq!(store.progress().unwrap(), Some(first(Vec::new()).to));
    // A store that has come beyond it has newer states.
    store.commit(&Commit { removed: vec![Uuid::from_u128(1)], ..commit(Some(1), 2) }).unwrap();
    store.commit(&past).unwrap();
    assert_eq!(reader.window(Uuid::from_u128(1)).unwrap(), None);
    let of = |last: u64| Some(PastOf { pipeline: "civic_safety".to_owned(), last: Epoch(last) });
    store.commit(&Commit { past: of(2), ..past.clone() }).unwrap();
    assert!(reader.window(Uuid::from_u128(1)).unwrap().is_some());
    // Some events are kept for the job too, whichever comes first.
    store.commit(&Commit { events: vec![event(2, "b", &[5]), event(4, "d", &[5])], ..commit(Some(2), 3) }).unwrap();
    store.commit(&Commit { past: of(3), events: vec![event(4, "d", &[1])], ..past.clone() }).unwrap();
    let kept = |reader: &mut dyn Reader, id: &str| -> Vec<Vec<Uuid>> {
        reader.event(id).unwrap().into_iter().map(|event| event.metrics).collect()
    };
    let [one, five] = [1, 5].map(Uuid::from_u128);
    for (id, metrics) in [("a", vec![one]), ("b", vec![one, five]), ("d", vec![one, five])] {
        assert_eq!(kept(reader.as_mut(), id), [metrics], "{id}");
    }
    store.claim(Generation(2)).unwrap();
    let stale = store.commit(&past);
    assert!(matches!(stale, Err(StoreError::Fenced { .. })), "{stale:?}");

    let left = Leftover { log: LOG, pipeline: "civic_safety".to_owned(), views: vec!["current".to_owned()] };
    let stale = store.forget(Generation(1), &left);
    assert!(matches!(stale, Err(StoreError::Fenced { .. })), "{stale:?}");
    let other = LogId(LOG.0 + 1);
    let foreign = store.forget(Generation(2), &Leftover { log: other, ..left.clone() });
    assert!(matches!(foreign, Err(StoreError::Mismatch(_))), "{foreign:?}");
    let to = Progress { log: other, generation: Generation(2), ..past.to };
    let foreign = store.commit(&Commit { to, ..past.clone() });
    assert!(matches!(foreign, Err(StoreError::Mismatch(_))), "{foreign:?}");
    let nothing = Leftover { log: LOG, pipeline: "another".to_owned(), views: Vec::new() };
    store.forget(Generation(2), &nothing).unwrap();
    assert_eq!(reader.windows(&all()).unwrap().len(), 3);
    assert!(reader.knows("civic_safety").unwrap() && !reader.knows("another").unwrap());
    let changes =
        |reader: &mut dyn Reader, view: &str, key: &str| reader.view_history(view, key, None, 10).unwrap().len();
    let alerts = AlertQuery { limit: 10, ..AlertQuery::default() };
    assert_eq!((changes(reader.as_mut(), "current", "a"), reader.alerts(&alerts).unwrap().len()), (1, 1));
    for _ in 0..2 {
        store.forget(Generation(2), &left).unwrap();
        assert_eq!(reader.windows(&all()).unwrap(), []);
        assert_eq!(reader.alerts(&alerts).unwrap(), []);
        assert_eq!(changes(reader.as_mut(), "current", "a"), 0);
        assert_eq!(changes(reader.as_mut(), "other", "b"), 1);
        assert_eq!(reader.lineage(Uuid::from_u128(1), None, 10).unwrap(), []);
        assert_eq!(reader.compact_metrics(&[Offset(0), Offset(1)]).unwrap(), [const { Vec::<Uuid>::new() }; 2]);
        assert_eq!(reader.view_entry("current", "a").unwrap(), None);
        assert!(reader.view_entry("other", "b").unwrap().is_some());
        for id in ["a", "c"] {
            assert!(kept(reader.as_mut(), id).is_empty(), "{id}");
        }
        for id in ["b", "d"] {
            assert_eq!(kept(reader.as_mut(), id), [[five]], "{id}");
        }
    }
    assert!(!reader.knows("civic_safety").unwrap(), "nothing is left of it");
    let row = StoredRow::of(&plan(), &of_window(2, 0, "RM"));
    assert_eq!(reader.compact_lineage(&row, None, 10).unwrap(), []);
}

fn dead_letters(bed: &Bed) {
    let mut expected: Vec<_> = (0..16).map(|n| dead_letter(n, Reason::ALL[n as usize % 8])).collect();
    expected[3].topic = None;
    expected[4].topic = Some("survey.victimization".to_owned());
    (bed.store)().commit(&Commit { dead_letters: expected.clone(), ..commit(None, 1) }).unwrap();
    let mut reader = (bed.reader)();
    let mut offsets = |query: &DeadLetterQuery| -> Vec<u64> {
        let found = reader.dead_letters(query).unwrap();
        assert!(found.iter().all(|stored| expected.contains(&stored.letter)));
        found.iter().map(|stored| stored.letter.offset.0).collect()
    };
    let topic = |name: &str| DeadLetterQuery { topic: Some(name.to_owned()), ..letters(100) };
    let table: &[(DeadLetterQuery, &[u64])] = &[
        (letters(3), &[15, 14, 13]),
        (letters(0), &[]),
        (DeadLetterQuery { before: Some(Offset(2)), ..letters(9) }, &[1, 0]),
        (DeadLetterQuery { before: Some(Offset(u64::MAX)), ..letters(1) }, &[15]),
        (DeadLetterQuery { before: Some(Offset(0)), ..letters(9) }, &[]),
        (DeadLetterQuery { reason: Some(Reason::Late), ..letters(9) }, &[15, 7]),
        (DeadLetterQuery { reason: Some(Reason::Late), before: Some(Offset(15)), ..letters(9) }, &[7]),
        (topic("survey.victimization"), &[4]),
        (topic("survey%"), &[]),
        (topic("'"), &[]),
    ];
    for (query, expected) in table {
        assert_eq!(offsets(query), *expected, "{query:?}");
    }
}

fn whole_commits(bed: &Bed) {
    const EPOCHS: u64 = 30;
    let (mut store, mut reader) = ((bed.store)(), (bed.reader)());
    std::thread::scope(|scope| {
        let writer = scope.spawn(|| {
            for epoch in 1..=EPOCHS {
                let row = |id| WindowRow { event_count: epoch, epoch: Epoch(epoch), ..row(id, 0, "RM") };
                let after = (epoch > 1).then_some(epoch - 1);
                store.commit(&Commit { rows: (0..50).map(row).collect(), ..commit(after, epoch) }).unwrap();
            }
        });
        let mut newest = 0;
        loop {
            let last_round = writer.is_finished();
            let rows = reader.windows(&all()).unwrap();
            let counts: Vec<u64> = rows.iter().map(|row| row.event_count).collect();
            assert!(counts.is_empty() || counts.len() == 50 && counts.iter().all(|n| *n == counts[0]), "{counts:?}");
            let seen = counts.first().copied().unwrap_or(0);
            assert!(seen >= newest, "{seen} after {newest}");
            newest = seen;
            if last_round {
                assert_eq!(newest, EPOCHS);
                break;
            }
        }
    });
}

/// A query and a limit → the offsets, and how many there are without the limit.
type Open = (OpenQuery, u32, &'static [u64], u64);

fn mended(bed: &Bed) {
    let mut store = (bed.store)();
    let retry = |letter, event| Retry { letter: Offset(letter), event: Offset(event) };
    let mends = |retried: &[(u64, u64)], discarded: &[u64]| Mended {
        retried: retried.iter().map(|&(letter, event)| retry(letter, event)).collect(),
        discarded: discarded.iter().copied().map(Offset).collect(),
    };
    let mut all: Vec<DeadLetter> = (0..10).map(|n| dead_letter(n, Reason::ALL[n as usize % 2])).collect();
    all[4].topic = None;
    all[6].topic = Some("emitted".to_owned());
    store.commit(&Commit { dead_letters: all.clone(), ..commit(None, 1) }).unwrap();
    // One comes and is retried and discarded at once, as merged epochs may have it; what is not there is left alone.
    let own = dead_letter(20, Reason::Late);
    let first = mends(&[(1, 30), (2, 31), (20, 32), (99, 33)], &[3, 20, 98]);
    let with_own = |mended| Commit { dead_letters: vec![own.clone()], mended, ..commit(Some(1), 2) };
    store.commit(&with_own(first)).unwrap();
    store.commit(&Commit { mended: mends(&[], &[1]), ..commit(Some(2), 3) }).unwrap();

    let mut reader = (bed.reader)();
    let mut found = |retried: Option<bool>| -> Vec<(u64, Option<u64>)> {
        let letters = reader.dead_letters(&DeadLetterQuery { retried, ..letters(100) }).unwrap();
        assert!(letters.iter().all(|stored| all.contains(&stored.letter)), "{letters:?}");
        letters.iter().map(|stored| (stored.letter.offset.0, stored.retried_as.map(|o| o.0))).collect()
    };
    let open = [9, 8, 7, 6, 5, 4, 0].map(|offset| (offset, None));
    assert_eq!(found(Some(false)), open);
    assert_eq!(found(Some(true)), [(2, Some(31))]);
    assert_eq!(found(None).len(), 8);
    let mut one = |offset| reader.dead_letter(Offset(offset)).unwrap().map(|stored| stored.retried_as.map(|o| o.0));
    assert_eq!([0, 1, 2, 3, 20, 99].map(&mut one), [Some(None), None, Some(Some(31)), None, None, None]);

    // Of the letters with the first reason 0, 4, 6 and 8 are open.
    let query = OpenQuery { reason: Reason::ALL[0], topic: None, not_topics: Vec::new(), before: None };
    let topic = |name: &str| Some(name.to_owned());
    let incident = topic("security.incident");
    let table: &[Open] = &[
        (query.clone(), 9, &[0, 4, 6, 8], 4),
        (query.clone(), 2, &[0, 4], 4),
        (query.clone(), 0, &[], 4),
        (OpenQuery { before: Some(Offset(8)), ..query.clone() }, 9, &[0, 4, 6], 3),
        (OpenQuery { topic: incident, ..query.clone() }, 9, &[0, 8], 2),
        (OpenQuery { not_topics: vec!["emitted".to_owned(), "other".to_owned()], ..query.clone() }, 9, &[0, 4, 8], 3),
        (OpenQuery { topic: topic("emitted"), not_topics: vec!["emitted".to_owned()], ..query.clone() }, 9, &[], 0),
        (OpenQuery { reason: Reason::Late, ..query }, 9, &[], 0),
    ];
    for (query, limit, expected, count) in table {
        let offsets = reader.open_letters(query, *limit).unwrap();
        assert_eq!(offsets.iter().map(|o| o.0).collect::<Vec<_>>(), *expected, "{query:?}");
        assert_eq!(reader.count_open_letters(query).unwrap(), *count, "{query:?}");
    }
}
